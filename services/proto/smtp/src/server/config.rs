//! What a server session is told: settings shared by all sessions of a service, and what is known of one client.

use std::{fmt, sync::Arc, time::Duration};

use crate::body::Newlines;

/// The settings of a service. Defaults are those of Postfix 3.7 and Dovecot 2.3.
#[derive(Clone, Debug)]
pub struct Config {
    /// `myhostname`, or Dovecot's `hostname`.
    pub hostname: String,
    pub dialect: Dialect,
}

/// Which server this is.
#[derive(Clone, Debug)]
pub enum Dialect {
    /// Postfix's smtpd.
    Smtp(Smtp),
    /// Dovecot's LMTP server.
    Lmtp(Lmtp),
}

/// Settings of the SMTP server, by the names of main.cf.
#[derive(Clone, Debug)]
pub struct Smtp {
    /// `smtpd_banner`, expanded.
    pub banner: String,
    /// `message_size_limit` in bytes; `None` for 0, no limit.
    pub message_size_limit: Option<u64>,
    /// `line_length_limit` in bytes; longer command lines are cut there.
    pub line_length_limit: usize,
    /// `smtpd_sasl_response_limit` in bytes.
    pub sasl_response_limit: usize,
    /// `smtpd_recipient_limit`; 0 for none.
    pub recipient_limit: usize,
    /// `smtpd_recipient_overshoot_limit`
    pub recipient_overshoot_limit: usize,
    /// `smtpd_soft_error_limit`: from here on each reply is delayed.
    pub soft_error_limit: u64,
    /// `smtpd_hard_error_limit`: here the session ends.
    pub hard_error_limit: u64,
    /// `smtpd_error_sleep_time`
    pub error_sleep_time: Duration,
    /// `smtpd_junk_command_limit`: commands without mail before each counts as an error.
    pub junk_command_limit: u64,
    /// `smtpd_helo_required`
    pub helo_required: bool,
    /// `disable_vrfy_command`
    pub disable_vrfy: bool,
    /// `strict_rfc821_envelopes`
    pub strict_envelopes: bool,
    /// `allow_min_user`: an address may begin with a minus sign, and be taken for an option of a command somewhere.
    pub allow_min_user: bool,
    /// `smtputf8_enable`
    pub smtputf8: bool,
    /// `strict_smtputf8`
    pub strict_smtputf8: bool,
    /// `smtpd_tls_security_level`
    pub tls: TlsLevel,
    /// The SASL mechanisms in clear; empty turns AUTH off there (as `smtpd_tls_auth_only` does).
    pub mechanisms_in_clear: Vec<String>,
    /// The SASL mechanisms under TLS.
    pub mechanisms_under_tls: Vec<String>,
    /// `broken_sasl_auth_clients`
    pub broken_auth_clients: bool,
    /// `smtpd_forbid_bare_newline_reject_code`
    pub bare_newline_code: u16,
    /// `smtpd_forbid_bare_newline = note`: lines that end in a bare LF are noted in [`Session::notes`](super::Session::notes).
    pub note_bare_newline: bool,
    /// `smtpd_forbid_unauth_pipelining`
    pub forbid_unauth_pipelining: bool,
    /// `smtpd_forbidden_commands`
    pub forbidden_commands: Matcher,
    /// `smtpd_noop_commands`
    pub noop_commands: Matcher,
    /// `soft_bounce`
    pub soft_bounce: bool,
}

impl Default for Smtp {
    fn default() -> Self {
        Self {
            banner: "localhost ESMTP Postfix".into(),
            message_size_limit: Some(10_240_000),
            line_length_limit: 2048,
            sasl_response_limit: 12_288,
            recipient_limit: 1000,
            recipient_overshoot_limit: 1000,
            soft_error_limit: 10,
            hard_error_limit: 20,
            error_sleep_time: Duration::from_secs(1),
            junk_command_limit: 100,
            helo_required: false,
            disable_vrfy: false,
            strict_envelopes: false,
            allow_min_user: false,
            smtputf8: true,
            strict_smtputf8: false,
            tls: TlsLevel::None,
            mechanisms_in_clear: Vec::new(),
            mechanisms_under_tls: Vec::new(),
            broken_auth_clients: false,
            bare_newline_code: 550,
            note_bare_newline: false,
            forbid_unauth_pipelining: false,
            forbidden_commands: Matcher::new(|word| {
                ["CONNECT", "GET", "POST"].iter().any(|name| name.eq_ignore_ascii_case(word))
                    || !word.starts_with(|point: char| point.is_ascii_alphabetic())
            }),
            noop_commands: Matcher::new(|_| false),
            soft_bounce: false,
        }
    }
}

/// Settings of the LMTP server, by the names of dovecot.conf.
#[derive(Clone, Debug)]
pub struct Lmtp {
    /// `login_greeting`
    pub greeting: String,
    /// STARTTLS is offered (`ssl`).
    pub tls: bool,
    /// SMTPUTF8 is offered, which Dovecot 2.3 cannot do.
    pub smtputf8: bool,
    /// Recipients of one message. Dovecot has no limit; here each one takes memory until the message is delivered.
    pub recipient_limit: usize,
    /// Bytes of a command line; longer ones are refused.
    pub line_length_limit: usize,
    /// Bad commands in a row before the session ends.
    pub bad_command_limit: u64,
    /// `lmtp_client_workarounds`: blanks before the path of MAIL and RCPT are passed over.
    pub whitespace_before_path: bool,
    /// `lmtp_client_workarounds`: a path of MAIL and RCPT may lack its `<` and `>`.
    pub mailbox_for_path: bool,
}

impl Default for Lmtp {
    fn default() -> Self {
        Self {
            greeting: "Dovecot ready.".into(),
            tls: false,
            smtputf8: false,
            recipient_limit: 10_000,
            line_length_limit: 4096,
            bad_command_limit: 10,
            whitespace_before_path: false,
            mailbox_for_path: false,
        }
    }
}

/// `smtpd_tls_security_level`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsLevel {
    None,
    /// `may`
    May,
    /// `encrypt`: nothing of a mail transaction before STARTTLS.
    Encrypt,
}

/// A list of command words that the caller matches, so that it can name tables.
#[derive(Clone)]
pub struct Matcher(Arc<dyn Fn(&str) -> bool + Send + Sync>);

impl Matcher {
    /// `matches` is called with the first word of a command line.
    pub fn new(matches: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(matches))
    }

    pub(super) fn matches(&self, word: &str) -> bool {
        (self.0)(word)
    }
}

impl fmt::Debug for Matcher {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Matcher")
    }
}

/// What is known of one client.
#[derive(Clone, Debug)]
pub struct Peer {
    /// `name[address]` for log lines and replies.
    pub name: String,
    /// The connection began under TLS (`smtpd_tls_wrappermode`).
    pub tls: bool,
    /// `smtpd_forbid_bare_newline`, after its exclusions.
    pub newlines: Newlines,
    /// `smtpd_discard_ehlo_keywords` or the entry of `smtpd_discard_ehlo_keyword_address_maps`.
    pub discard: Keywords,
    /// AUTH is announced, where there is any. A client that uses it unannounced is served.
    pub announces_auth: bool,
    /// LMTP: the client is in `login_trusted_networks` and may use XCLIENT.
    pub trusted: bool,
}

impl Peer {
    /// A client in clear, with all extensions and without trust.
    pub fn new(name: impl Into<String>) -> Self {
        let discard = Keywords::default();
        Self {
            name: name.into(),
            tls: false,
            newlines: Newlines::Normalize,
            discard,
            announces_auth: true,
            trusted: false,
        }
    }
}

/// EHLO keywords not to announce; the commands and parameters behind them are refused as well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keywords {
    bits: u16,
}

impl Keywords {
    const NAMES: [&'static str; 14] = [
        "8BITMIME",
        "AUTH",
        "ETRN",
        "PIPELINING",
        "SIZE",
        "STARTTLS",
        "VERP",
        "VRFY",
        "XCLIENT",
        "XFORWARD",
        "ENHANCEDSTATUSCODES",
        "DSN",
        "SMTPUTF8",
        "CHUNKING",
    ];

    /// Reads a list of keywords, separated by blanks and commas; `silent-discard` is the caller's.
    ///
    /// # Errors
    /// The first word that is no keyword.
    pub fn parse(list: &str) -> Result<Self, String> {
        let mut bits = 0;
        for word in list.split([' ', '\t', '\n', ',']).filter(|word| !word.is_empty()) {
            if !word.eq_ignore_ascii_case("silent-discard") {
                bits |= 1 << Self::index(word).ok_or_else(|| word.to_owned())?;
            }
        }
        Ok(Self { bits })
    }

    /// Reads a list of keywords as [`Self::parse`] does, and overlooks words that are none.
    pub fn known(list: &str) -> Self {
        let words = list.split([' ', '\t', '\n', ',']).filter_map(Self::index);
        Self { bits: words.fold(0, |bits, index| bits | 1 << index) }
    }

    pub(super) fn contains(self, keyword: &str) -> bool {
        Self::index(keyword).is_some_and(|index| self.bits & (1 << index) != 0)
    }

    fn index(word: &str) -> Option<usize> {
        Self::NAMES.iter().position(|name| name.eq_ignore_ascii_case(word))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords() {
        let keywords = Keywords::parse("chunking, Silent-Discard\n dsn").unwrap();
        assert!(keywords.contains("CHUNKING") && keywords.contains("DSN") && !keywords.contains("SIZE"));
        assert_eq!(Keywords::parse("dsn foo"), Err("foo".to_owned()));
    }
}
