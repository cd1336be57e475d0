//! What a server announces in its EHLO or LHLO reply.

use crate::reply::Received;

/// The extensions of a server that a client uses (RFC 5321 section 4.1.1.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    pub pipelining: bool,
    /// SIZE; the limit, if one is named and is not 0.
    pub size: Option<Option<u64>>,
    pub eight_bit_mime: bool,
    pub starttls: bool,
    pub dsn: bool,
    pub smtputf8: bool,
    /// The SASL mechanisms, in upper case.
    pub mechanisms: Vec<String>,
}

impl Capabilities {
    /// Reads the reply. Keywords in `discard` are not seen (`smtp_discard_ehlo_keywords`).
    ///
    /// ```text
    /// ehlo-line = ehlo-keyword *( SP ehlo-param )    ; also AUTH=… of broken servers
    /// ```
    pub(super) fn parse(reply: &Received, discard: &[String]) -> Self {
        let mut found = Self::default();
        for line in reply.lines.iter().skip(1) {
            let mut words = line.split([' ', '\t', '=']).filter(|word| !word.is_empty());
            let keyword = words.next().unwrap_or_default().to_ascii_uppercase();
            if discard.iter().any(|word| word.eq_ignore_ascii_case(&keyword)) {
                continue;
            }
            match keyword.as_str() {
                "PIPELINING" => found.pipelining = true,
                "SIZE" => {
                    let limit = words.next().and_then(|word| word.parse().ok());
                    found.size = Some(limit.filter(|&limit| limit > 0));
                }
                "8BITMIME" => found.eight_bit_mime = true,
                "STARTTLS" => found.starttls = true,
                "DSN" => found.dsn = true,
                "SMTPUTF8" => found.smtputf8 = true,
                "AUTH" => {
                    for mechanism in words.map(str::to_ascii_uppercase) {
                        if !found.mechanisms.contains(&mechanism) {
                            found.mechanisms.push(mechanism);
                        }
                    }
                }
                _ => {}
            }
        }
        found
    }
}
