//! ESMTP parameters of MAIL and RCPT, as Postfix reads and writes them (RFC 1870, 3461, 4954, 6152, 6531).
//!
//! [`MailParameters::parse`] and [`RcptParameters::parse`] return the reply to send when a parameter is wrong, so that
//! the wording stands in one place.

use std::fmt;

use crate::{reply::Reply, xtext};

/// BODY= of MAIL (RFC 6152).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// `7BIT`
    SevenBit,
    /// `8BITMIME`
    EightBitMime,
}

/// RET= of MAIL (RFC 3461 section 4.3): what of the message a bounce returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Return {
    /// `FULL`
    Full,
    /// `HDRS`
    Headers,
}

/// NOTIFY= of RCPT (RFC 3461 section 4.1). All false is `NEVER`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Notify {
    pub success: bool,
    pub failure: bool,
    pub delay: bool,
}

/// ORCPT= of RCPT (RFC 3461 section 4.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginalRecipient {
    /// `rfc822`, `utf-8` or another type, as the client wrote it.
    pub kind: String,
    /// The address, decoded.
    pub address: String,
}

/// The parameters of a MAIL command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MailParameters {
    /// SIZE= in bytes.
    pub size: Option<u64>,
    pub body: Option<Body>,
    pub smtputf8: bool,
    /// AUTH=, not decoded, as Postfix logs it; `None` for `<>`.
    pub auth: Option<String>,
    pub ret: Option<Return>,
    /// ENVID=, decoded.
    pub envid: Option<String>,
}

/// The parameters of a RCPT command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RcptParameters {
    pub notify: Option<Notify>,
    pub orcpt: Option<OriginalRecipient>,
}

/// What the server supports; a parameter of an extension that is off is refused.
#[derive(Clone, Copy, Debug)]
pub struct Supported {
    pub dsn: bool,
    pub smtputf8: bool,
    pub auth: bool,
}

impl MailParameters {
    /// Reads the words after the address.
    ///
    /// ```text
    /// Mail-parameters = esmtp-param *( SP esmtp-param )
    /// esmtp-param = esmtp-keyword [ "=" esmtp-value ]    ; RFC 5321 section 4.1.2
    /// ```
    ///
    /// # Errors
    /// Postfix's reply to the first parameter that is wrong.
    pub fn parse(words: &[String], supported: Supported) -> Result<Self, Reply> {
        let mut parameters = Self::default();
        for word in words {
            let (name, value) = word.split_once('=').map_or((word.as_str(), None), |(name, value)| (name, Some(value)));
            match (name.to_ascii_uppercase().as_str(), value) {
                ("BODY", Some(value)) if value.eq_ignore_ascii_case("8BITMIME") => {
                    parameters.body = Some(Body::EightBitMime);
                }
                ("BODY", Some(value)) if value.eq_ignore_ascii_case("7BIT") => parameters.body = Some(Body::SevenBit),
                ("SIZE", Some(value)) => parameters.size = Some(size(value)?),
                ("SMTPUTF8", None) if supported.smtputf8 => parameters.smtputf8 = true,
                ("AUTH", Some(value)) if supported.auth => {
                    if parameters.auth.is_some() {
                        return Err(Reply::new(503, "5.5.4 Error: multiple AUTH= options"));
                    }
                    parameters.auth = Some(value.to_owned()).filter(|value| value != "<>");
                }
                ("RET" | "ENVID", Some(_)) if !supported.dsn => return Err(dsn_is_disabled()),
                ("RET", Some(value)) => {
                    let ret = match value.to_ascii_uppercase().as_str() {
                        "FULL" => Some(Return::Full),
                        "HDRS" => Some(Return::Headers),
                        _ => None,
                    };
                    if ret.is_none() || parameters.ret.is_some() {
                        return Err(Reply::new(501, "5.5.4 Bad RET parameter syntax"));
                    }
                    parameters.ret = ret;
                }
                ("ENVID", Some(value)) => {
                    let envid =
                        xtext::decode(value).filter(|text| text.bytes().all(|byte| matches!(byte, b' '..=b'~')));
                    if envid.is_none() || parameters.envid.is_some() {
                        return Err(Reply::new(501, "5.5.4 Bad ENVID parameter syntax"));
                    }
                    parameters.envid = envid;
                }
                _ => return Err(unsupported(word)),
            }
        }
        Ok(parameters)
    }
}

/// Each parameter with a space before it; the AUTH parameter is never passed on.
impl fmt::Display for MailParameters {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(size) = self.size {
            write!(out, " SIZE={size}")?;
        }
        match self.body {
            Some(Body::SevenBit) => out.write_str(" BODY=7BIT")?,
            Some(Body::EightBitMime) => out.write_str(" BODY=8BITMIME")?,
            None => {}
        }
        if let Some(envid) = &self.envid {
            write!(out, " ENVID={}", xtext::encode(envid))?;
        }
        match self.ret {
            Some(Return::Full) => out.write_str(" RET=FULL")?,
            Some(Return::Headers) => out.write_str(" RET=HDRS")?,
            None => {}
        }
        if self.smtputf8 { out.write_str(" SMTPUTF8") } else { Ok(()) }
    }
}

impl RcptParameters {
    /// Reads the words after the address.
    ///
    /// # Errors
    /// Postfix's reply to the first parameter that is wrong.
    pub fn parse(words: &[String], supported: Supported) -> Result<Self, Reply> {
        let mut parameters = Self::default();
        for word in words {
            let (name, value) = word.split_once('=').ok_or_else(|| unsupported(word))?;
            match name.to_ascii_uppercase().as_str() {
                "NOTIFY" | "ORCPT" if !supported.dsn => return Err(dsn_is_disabled()),
                "NOTIFY" => {
                    let notify = Notify::parse(value);
                    if notify.is_none() || parameters.notify.is_some() {
                        return Err(Reply::new(501, "5.5.4 Error: Bad NOTIFY parameter syntax"));
                    }
                    parameters.notify = notify;
                }
                "ORCPT" => {
                    let orcpt = OriginalRecipient::parse(value);
                    if orcpt.is_none() || parameters.orcpt.is_some() {
                        return Err(Reply::new(501, "5.5.4 Error: Bad ORCPT parameter syntax"));
                    }
                    parameters.orcpt = orcpt;
                }
                _ => return Err(unsupported(word)),
            }
        }
        Ok(parameters)
    }
}

/// Each parameter with a space before it.
impl fmt::Display for RcptParameters {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(notify) = self.notify {
            write!(out, " NOTIFY={notify}")?;
        }
        match &self.orcpt {
            Some(orcpt) => write!(out, " ORCPT={};{}", orcpt.kind, xtext::encode(&orcpt.address)),
            None => Ok(()),
        }
    }
}

impl Notify {
    /// ```text
    /// notify-esmtp-value = "NEVER" / ( notify-list-element *( "," notify-list-element ) )
    /// notify-list-element = "SUCCESS" / "FAILURE" / "DELAY"    ; RFC 3461 section 4.1
    /// ```
    fn parse(value: &str) -> Option<Self> {
        let mut notify = Self::default();
        if value.eq_ignore_ascii_case("NEVER") {
            return Some(notify);
        }
        for element in value.split(',') {
            match element.to_ascii_uppercase().as_str() {
                "SUCCESS" => notify.success = true,
                "FAILURE" => notify.failure = true,
                "DELAY" => notify.delay = true,
                _ => return None,
            }
        }
        Some(notify)
    }
}

impl fmt::Display for Notify {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [(self.success, "SUCCESS"), (self.failure, "FAILURE"), (self.delay, "DELAY")];
        let wanted: Vec<&str> = names.iter().filter(|(wanted, _)| *wanted).map(|(_, name)| *name).collect();
        out.write_str(if wanted.is_empty() { "NEVER".into() } else { wanted.join(",") }.as_str())
    }
}

impl OriginalRecipient {
    /// ```text
    /// original-recipient-address = addr-type ";" xtext    ; RFC 3461 section 4.2
    /// ```
    fn parse(value: &str) -> Option<Self> {
        let (kind, address) = value.split_once(';').filter(|(kind, _)| !kind.is_empty())?;
        let decode = if kind.eq_ignore_ascii_case("utf-8") { xtext::decode_utf8 } else { xtext::decode };
        Some(Self { kind: kind.to_owned(), address: decode(address)? })
    }
}

/// The number of a SIZE parameter; what no file can hold is refused for good.
fn size(value: &str) -> Result<u64, Reply> {
    if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Reply::new(501, "5.5.4 Bad message size syntax"));
    }
    let size = value.parse::<i64>().ok().and_then(|size| u64::try_from(size).ok());
    size.ok_or_else(|| Reply::new(552, "5.3.4 Message size exceeds file system imposed limit"))
}

fn dsn_is_disabled() -> Reply {
    Reply::new(501, "5.7.1 DSN support is disabled")
}

fn unsupported(word: &str) -> Reply {
    Reply::new(555, &format!("5.5.4 Unsupported option: {word}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL: Supported = Supported { dsn: true, smtputf8: true, auth: true };
    const NONE: Supported = Supported { dsn: false, smtputf8: false, auth: false };

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    /// The replies are those of Postfix 3.7.11.
    #[test]
    fn replies_to_bad_parameters() {
        for (text, expected) in [
            ("foo=bar", "555 5.5.4 Unsupported option: foo=bar"),
            ("body=foo", "555 5.5.4 Unsupported option: body=foo"),
            ("smtputf8=yes", "555 5.5.4 Unsupported option: smtputf8=yes"),
            ("size=x", "501 5.5.4 Bad message size syntax"),
            ("size=", "501 5.5.4 Bad message size syntax"),
            ("size=9223372036854775808", "552 5.3.4 Message size exceeds file system imposed limit"),
            ("ret=x", "501 5.5.4 Bad RET parameter syntax"),
            ("ret=full ret=full", "501 5.5.4 Bad RET parameter syntax"),
            ("envid=a+1", "501 5.5.4 Bad ENVID parameter syntax"),
            ("envid=+01", "501 5.5.4 Bad ENVID parameter syntax"),
            ("auth=x auth=y", "503 5.5.4 Error: multiple AUTH= options"),
        ] {
            let reply = MailParameters::parse(&words(text), ALL).unwrap_err();
            assert_eq!(reply.one_line(), expected, "{text}");
        }
        for (text, expected) in [
            ("notify=x", "501 5.5.4 Error: Bad NOTIFY parameter syntax"),
            ("notify=never,delay", "501 5.5.4 Error: Bad NOTIFY parameter syntax"),
            ("orcpt=x", "501 5.5.4 Error: Bad ORCPT parameter syntax"),
            ("orcpt=;x", "501 5.5.4 Error: Bad ORCPT parameter syntax"),
            ("orcpt=utf-8;\\x{0}", "501 5.5.4 Error: Bad ORCPT parameter syntax"),
            ("foo", "555 5.5.4 Unsupported option: foo"),
        ] {
            assert_eq!(RcptParameters::parse(&words(text), ALL).unwrap_err().one_line(), expected, "{text}");
        }
    }

    #[test]
    fn an_extension_that_is_off_takes_no_parameter() {
        for text in ["ret=full", "envid=x"] {
            let reply = MailParameters::parse(&words(text), NONE).unwrap_err();
            assert_eq!(reply.one_line(), "501 5.7.1 DSN support is disabled");
        }
        for text in ["smtputf8", "auth=x"] {
            assert_eq!(MailParameters::parse(&words(text), NONE).unwrap_err().code(), 555, "{text}");
        }
        assert_eq!(RcptParameters::parse(&words("notify=never"), NONE).unwrap_err().code(), 501);
    }

    #[test]
    fn parameters_are_written_as_they_are_read() {
        for text in [" SIZE=100 BODY=8BITMIME ENVID=a+20b RET=HDRS SMTPUTF8", " SIZE=0 BODY=7BIT RET=FULL", ""] {
            assert_eq!(MailParameters::parse(&words(text), ALL).unwrap().to_string(), text);
        }
        for text in [" NOTIFY=NEVER ORCPT=rfc822;a+2Bb@c", " NOTIFY=SUCCESS,FAILURE,DELAY", ""] {
            assert_eq!(RcptParameters::parse(&words(text), ALL).unwrap().to_string(), text);
        }
    }

    proptest! {
        #[test]
        fn any_input(text in "(SIZE|BODY|RET|ENVID|NOTIFY|ORCPT|AUTH|SMTPUTF8)?=?.{0,40}") {
            let _ = MailParameters::parse(&words(&text), ALL);
            let _ = RcptParameters::parse(&words(&text), ALL);
        }
    }
}
