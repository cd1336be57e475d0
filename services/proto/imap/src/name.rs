//! Mailbox names and list patterns.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{limits, mutf7};

/// The name of a mailbox as it stands on the wire, which is also how Maildir++ writes it: modified UTF-7, with
/// `INBOX` in capitals. Well formed, but what a store allows is the store's to say.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MailboxName(String);

/// The name is not modified UTF-7, or longer than [`limits::MAILBOX_NAME`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameError {
    /// Not modified UTF-7.
    Encoding,
    /// Too long.
    Length,
}

impl fmt::Display for NameError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            NameError::Encoding => "Mailbox name is not valid mUTF-7",
            NameError::Length => "Mailbox name too long",
        })
    }
}

impl MailboxName {
    /// Checks a name.
    ///
    /// ```text
    /// mailbox = "INBOX" / astring
    /// ```
    ///
    /// RFC 3501 section 9: INBOX is case-insensitive. A NUL or any other control character is no mUTF-7.
    pub fn parse(name: &[u8]) -> Result<MailboxName, NameError> {
        if name.len() > limits::MAILBOX_NAME {
            return Err(NameError::Length);
        }
        if name.eq_ignore_ascii_case(b"INBOX") {
            return Ok(MailboxName::inbox());
        }
        mutf7::decode(name).ok_or(NameError::Encoding)?;
        String::from_utf8(name.to_vec()).map(MailboxName).map_err(|_| NameError::Encoding)
    }

    /// The INBOX.
    pub fn inbox() -> MailboxName {
        MailboxName("INBOX".to_owned())
    }

    /// Whether it is the INBOX.
    pub fn is_inbox(&self) -> bool {
        self.0 == "INBOX"
    }

    /// The name on the wire.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as people read it.
    pub fn to_display(&self) -> String {
        mutf7::decode(self.0.as_bytes()).unwrap_or_default()
    }

    /// What makes the name impossible in a hierarchy with this separator, in Dovecot's words; for every command that
    /// takes a name, so that no store sees an empty level.
    pub fn check_levels(&self, separator: char) -> Result<(), &'static str> {
        if self.0.is_empty() {
            return Err("Invalid mailbox name: Name is empty");
        }
        if self.0.starts_with(separator) {
            return Err("Invalid mailbox name: Begins with hierarchy separator");
        }
        if self.0.ends_with(separator) {
            return Err("Invalid mailbox name: Ends with hierarchy separator");
        }
        for level in self.0.split(separator) {
            if level.is_empty() {
                return Err("Invalid mailbox name: Has adjacent hierarchy separators");
            }
            if level.len() > limits::MAILBOX_LEVEL {
                return Err("Mailbox name too long");
            }
        }
        Ok(())
    }

    /// The name without one trailing separator: CREATE takes `foo/` for `foo` (RFC 3501 section 6.3.3).
    pub fn without_trailing(&self, separator: char) -> MailboxName {
        MailboxName(self.0.strip_suffix(separator).unwrap_or(&self.0).to_owned())
    }

    /// The names above this one, the nearest first.
    pub fn ancestors(&self, separator: char) -> impl Iterator<Item = MailboxName> + '_ {
        self.0.rmatch_indices(separator).map(|(at, _)| MailboxName(self.0[..at].to_owned()))
    }

    /// Whether this name is below `parent`.
    pub fn is_below(&self, parent: &MailboxName, separator: char) -> bool {
        self.0.strip_prefix(parent.as_str()).is_some_and(|rest| rest.starts_with(separator))
    }

    /// What this name becomes when `from` is renamed to `to`, if it is that mailbox or below it.
    pub fn renamed(&self, from: &MailboxName, to: &MailboxName, separator: char) -> Option<MailboxName> {
        let rest = self.0.strip_prefix(from.as_str())?;
        (rest.is_empty() || rest.starts_with(separator)).then(|| MailboxName(format!("{to}{rest}")))
    }
}

impl TryFrom<String> for MailboxName {
    type Error = NameError;
    fn try_from(name: String) -> Result<MailboxName, NameError> {
        MailboxName::parse(name.as_bytes())
    }
}

impl From<MailboxName> for String {
    fn from(name: MailboxName) -> String {
        name.0
    }
}

impl fmt::Display for MailboxName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A pattern of LIST: reference and mailbox in one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(Vec<u8>);

impl Pattern {
    /// Joins reference and pattern.
    ///
    /// ```text
    /// list-mailbox   = 1*list-char / string
    /// list-wildcards = "%" / "*"
    /// ```
    ///
    /// RFC 3501 section 6.3.8 leaves to the server how: here, as in Dovecot, one is put after the other. Runs of
    /// wildcards are shortened, which keeps matching cheap.
    pub fn new(reference: &[u8], pattern: &[u8]) -> Pattern {
        let mut joined: Vec<u8> = Vec::with_capacity(reference.len() + pattern.len());
        for byte in reference.iter().chain(pattern) {
            match (joined.last(), byte) {
                (Some(b'*'), b'*' | b'%') | (Some(b'%'), b'%') => {}
                (Some(b'%'), b'*') => {
                    joined.pop();
                    joined.push(b'*');
                }
                _ => joined.push(*byte),
            }
        }
        Pattern(joined)
    }

    /// Whether a name matches. `%` stops at the separator; INBOX matches in any case.
    ///
    /// The time is at most the product of both lengths: the set of reachable positions is carried along.
    pub fn matches(&self, name: &MailboxName, separator: char) -> bool {
        let pattern = if name.is_inbox() { Cow::Owned(self.0.to_ascii_uppercase()) } else { Cow::Borrowed(&self.0) };
        let pattern: &[u8] = &pattern;
        let mut reachable = vec![false; pattern.len() + 1];
        reachable[0] = true;
        skip_wildcards(pattern, &mut reachable);
        for character in name.as_str().bytes() {
            let mut next = vec![false; pattern.len() + 1];
            for (at, expected) in pattern.iter().enumerate().filter(|(at, _)| reachable[*at]) {
                match expected {
                    b'*' => next[at] = true,
                    b'%' if char::from(character) != separator => next[at] = true,
                    b'%' => {}
                    _ if *expected == character => next[at + 1] = true,
                    _ => {}
                }
            }
            skip_wildcards(pattern, &mut next);
            reachable = next;
        }
        reachable[pattern.len()]
    }
}

/// A wildcard matches nothing as well.
fn skip_wildcards(pattern: &[u8], reachable: &mut [bool]) {
    for (at, expected) in pattern.iter().enumerate() {
        if reachable[at] && matches!(expected, b'*' | b'%') {
            reachable[at + 1] = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_the_rfc_says() {
        for (pattern, name, expected) in [
            ("*", "a.b.c", true),
            ("%", "a", true),
            ("%", "a.b", false),
            ("a.%", "a.b", true),
            ("a.%", "a.b.c", false),
            ("%.c", "a.b.c", false),
            ("*.c", "a.b.c", true),
            ("%.%.c", "a.b.c", true),
            ("inbox", "INBOX", true),
            ("inb%", "INBOX", true),
            ("inbox", "inbox2", false),
            ("a%b", "ab", true),
            ("a*b*c", "a.x.b.y.c", true),
            ("%%%**%%", "a.b", true),
            ("", "a", false),
        ] {
            let name = MailboxName::parse(name.as_bytes()).unwrap();
            assert_eq!(Pattern::new(b"", pattern.as_bytes()).matches(&name, '.'), expected, "{pattern} {name}");
        }
        assert!(Pattern::new(b"a.", b"%").matches(&MailboxName::parse(b"a.b").unwrap(), '.'));
    }

    #[test]
    fn a_hostile_pattern_is_matched_in_bounded_time() {
        let pattern = b"*a".repeat(limits::MAILBOX_NAME);
        let name = MailboxName::parse(&b"a".repeat(limits::MAILBOX_NAME)).unwrap();
        assert!(!Pattern::new(b"", &[pattern, b"b".to_vec()].concat()).matches(&name, '.'));
    }

    #[test]
    fn names_are_checked() {
        assert!(MailboxName::parse(b"inBox").unwrap().is_inbox());
        assert_eq!(MailboxName::parse(b"a\0b"), Err(NameError::Encoding));
        assert!(MailboxName::parse(&[b'x'; limits::MAILBOX_NAME]).is_ok());
        assert_eq!(MailboxName::parse(&[b'x'; limits::MAILBOX_NAME + 1]), Err(NameError::Length));
        for (name, good) in [("a.b", true), ("a..b", false), (".a", false), ("a.", false), ("", false)] {
            assert_eq!(MailboxName::parse(name.as_bytes()).unwrap().check_levels('.').is_ok(), good, "{name}");
        }
        let level = "x".repeat(limits::MAILBOX_LEVEL);
        assert!(MailboxName::parse(level.as_bytes()).unwrap().check_levels('.').is_ok());
        assert!(MailboxName::parse(format!("{level}x").as_bytes()).unwrap().check_levels('.').is_err());
    }

    #[test]
    fn relations() {
        let name = MailboxName::parse(b"a.b.c").unwrap();
        assert_eq!(name.ancestors('.').map(String::from).collect::<Vec<_>>(), ["a.b", "a"]);
        assert!(name.is_below(&MailboxName::parse(b"a.b").unwrap(), '.'));
        assert!(!name.is_below(&MailboxName::parse(b"a.").unwrap(), '.'));
    }
}
