//! Envelope addresses: from the form they have in MAIL and RCPT to local part and domain, and back.
//!
//! Two readers: [`parse`] takes what Postfix takes (RFC 822 forms included unless `strict_rfc821_envelopes`),
//! [`parse_path`] takes what Dovecot's LMTP server takes (RFC 5321 paths alone). An [`Address`] is in internal form: no
//! quotes, no backslashes, no comments, no source route. It never holds a NUL, so that no later step can cut it there.

mod rfc822;

use std::{fmt, net};

use crate::limits;

/// An address without its quoting. The local part may be empty (`<@example.com>` is legal to Postfix) and may hold any
/// character but NUL; the domain is a valid host name or an address literal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    local: String,
    domain: Option<String>,
}

/// Why an address is refused. The text is Dovecot's, for the reply of its LMTP server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressError(&'static str);

impl fmt::Display for AddressError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.0)
    }
}

/// What of Postfix's tolerance is wanted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Syntax {
    /// `strict_rfc821_envelopes`: brackets are needed, comments and phrases are not taken.
    pub strict: bool,
    /// The client asked for SMTPUTF8, so that the domain may be non-ASCII (the local part always may).
    pub smtputf8: bool,
}

impl Address {
    /// An address from its internal form; the last `@` separates the domain.
    ///
    /// # Errors
    /// A NUL, or a domain that is neither a host name nor an address literal.
    pub fn from_internal(text: &str, smtputf8: bool) -> Result<Self, AddressError> {
        if text.contains('\0') {
            return Err(AddressError("Invalid character in path"));
        }
        let Some((local, domain)) = text.rsplit_once('@') else {
            return Ok(Self { local: text.to_owned(), domain: None });
        };
        let domain = domain.strip_suffix('.').unwrap_or(domain);
        if !is_mail_host(domain, smtputf8) {
            return Err(AddressError("Invalid domain"));
        }
        Ok(Self { local: local.to_owned(), domain: Some(domain.to_owned()) })
    }

    /// The local part, unquoted.
    pub fn local(&self) -> &str {
        &self.local
    }

    /// The domain or `[literal]`, if there is one.
    pub fn domain(&self) -> Option<&str> {
        self.domain.as_deref()
    }

    /// Whether the address is ASCII, so that it can be sent without SMTPUTF8.
    pub fn is_ascii(&self) -> bool {
        self.local.is_ascii() && self.domain().is_none_or(str::is_ascii)
    }

    /// The address for a command line, without brackets: the local part is a dot-string where it can be one, else a
    /// quoted string (Postfix: `quote_821_local`, 8-bit clean).
    ///
    /// ```text
    /// Local-part = Dot-string / Quoted-string    ; RFC 5321 section 4.1.2
    /// ```
    pub fn quoted(&self) -> String {
        let mut quoted = String::with_capacity(self.local.len() + self.domain.as_ref().map_or(0, String::len) + 3);
        if is_dot_string(&self.local) {
            quoted.push_str(&self.local);
        } else {
            quoted.push('"');
            for point in self.local.chars() {
                if matches!(point, '"' | '\\' | '\r' | '\n') {
                    quoted.push('\\');
                }
                quoted.push(point);
            }
            quoted.push('"');
        }
        if let Some(domain) = &self.domain {
            quoted.push('@');
            quoted.push_str(domain);
        }
        quoted
    }
}

/// The internal form.
impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.local)?;
        self.domain.as_ref().map_or(Ok(()), |domain| write!(out, "@{domain}"))
    }
}

/// Reads an address as Postfix's SMTP server does: with or without brackets, with a source route (dropped), a trailing
/// dot (dropped), comments and phrases. `None` is the null address `<>`.
///
/// # Errors
/// More than one address, a bad domain, or what `syntax` forbids.
pub fn parse(text: &str, syntax: Syntax) -> Result<Option<Address>, AddressError> {
    let inner = text.strip_prefix('<').and_then(|rest| rest.strip_suffix('>'));
    if syntax.strict && inner.is_none() {
        return Err(AddressError("Missing '<' at beginning of path"));
    }
    let inner = inner.unwrap_or(text);
    // A route is dropped up to its first colon.
    let inner = if inner.starts_with('@') { inner.split_once(':').map_or(inner, |(_, rest)| rest) } else { inner };
    let found = rfc822::single_address(inner).ok_or(AddressError("Invalid character in path"))?;
    if syntax.strict && (found.decorated || found.internal.starts_with('@')) {
        return Err(AddressError("Invalid character in path"));
    }
    if found.internal.is_empty() {
        return Ok(None);
    }
    Address::from_internal(&found.internal, syntax.smtputf8).map(Some)
}

/// Reads a path at the start of `text` and returns what follows it. `None` is the null path.
///
/// ```text
/// Path = "<" [ A-d-l ":" ] Mailbox ">"
/// Mailbox = Local-part [ "@" ( Domain / address-literal ) ]    ; RFC 5321 section 4.1.2, domain optional
/// ```
///
/// # Errors
/// Anything else, with Dovecot's words.
pub fn parse_path(text: &str, smtputf8: bool) -> Result<(Option<Address>, &str), AddressError> {
    let inner = text.strip_prefix('<').ok_or(AddressError("Missing '<' at beginning of path"))?;
    if let Some(rest) = inner.strip_prefix('>') {
        return Ok((None, rest));
    }
    let inner = match inner.strip_prefix('@') {
        Some(route) => route.split_once(':').ok_or(AddressError("Missing ':' at end of source route"))?.1,
        None => inner,
    };
    let (local, rest) = local_part(inner)?;
    if local.len() > limits::LOCAL_PART {
        return Err(AddressError("Localpart is too long"));
    }
    let (domain, rest) = match rest.strip_prefix('@') {
        Some(rest) => {
            let end = rest.find('>').ok_or(AddressError("Missing '>' at end of path"))?;
            (Some(rest[..end].to_owned()), &rest[end..])
        }
        None => (None, rest),
    };
    let rest = rest.strip_prefix('>').ok_or(AddressError("Missing '>' at end of path"))?;
    if domain.as_deref().is_some_and(|domain| !is_mail_host(domain, smtputf8)) {
        return Err(AddressError("Invalid domain"));
    }
    let address = Address { local, domain };
    if !smtputf8 && !address.is_ascii() {
        return Err(AddressError("Invalid character in path"));
    }
    Ok((Some(address), rest))
}

/// The local part at the start of `text`, unquoted.
///
/// ```text
/// Quoted-string = DQUOTE *( qtextSMTP / quoted-pairSMTP ) DQUOTE
/// Dot-string = Atom *( "." Atom )    ; RFC 5321 section 4.1.2; Dovecot takes any run of dots
/// ```
fn local_part(text: &str) -> Result<(String, &str), AddressError> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(|point| !is_dot_string_character(point)).unwrap_or(text.len());
        if end == 0 {
            return Err(AddressError("Invalid character in localpart"));
        }
        return Ok((text[..end].to_owned(), &text[end..]));
    };
    let mut local = String::new();
    let mut points = quoted.char_indices();
    while let Some((at, point)) = points.next() {
        match point {
            '"' => return Ok((local, &quoted[at + 1..])),
            '\\' => local.extend(points.next().map(|(_, point)| point)),
            _ => local.push(point),
        }
        if local.ends_with(|point: char| point.is_control()) {
            return Err(AddressError("Invalid character in localpart"));
        }
    }
    Err(AddressError("Missing '\"' at end of quoted string in localpart"))
}

fn is_dot_string(local: &str) -> bool {
    !local.is_empty()
        && !local.starts_with('.')
        && !local.ends_with('.')
        && !local.contains("..")
        && local.chars().all(is_dot_string_character)
}

fn is_dot_string_character(point: char) -> bool {
    !point.is_control()
        && !matches!(point, ' ' | '<' | '>' | '(' | ')' | '[' | ']' | '\\' | ',' | ';' | ':' | '@' | '"')
}

/// Whether `domain` can stand after the `@`: a host name or `[address]`.
///
/// ```text
/// address-literal = "[" ( IPv4-address-literal / IPv6-address-literal ) "]"    ; RFC 5321 section 4.1.3
/// ```
pub fn is_mail_host(domain: &str, smtputf8: bool) -> bool {
    let Some(literal) = domain.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) else {
        return is_host_name(domain, smtputf8);
    };
    match literal.get(..5) {
        Some(tag) if tag.eq_ignore_ascii_case("ipv6:") => literal[5..].parse::<net::Ipv6Addr>().is_ok(),
        _ => literal.parse::<net::Ipv4Addr>().is_ok(),
    }
}

/// Whether `name` is a host name as Postfix has it: labels of letters, digits, `_` and inner `-`, not all of it numeric.
pub fn is_host_name(name: &str, smtputf8: bool) -> bool {
    let is_label = |label: &str| {
        (1..=limits::LABEL).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|point| {
                point.is_ascii_alphanumeric() || matches!(point, '-' | '_') || (smtputf8 && point.is_alphanumeric())
            })
    };
    name.len() <= limits::DOMAIN
        && name.split('.').all(is_label)
        && !name.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
}

#[cfg(test)]
mod tests;
