//! Flags and keywords.

use std::ops::{BitAnd, BitOr, Not};

use crate::limits;

/// A set of system flags (RFC 3501 section 2.3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Flags(u8);

impl Flags {
    /// No flag.
    pub const NONE: Flags = Flags(0);
    /// `\Answered`
    pub const ANSWERED: Flags = Flags(1);
    /// `\Flagged`
    pub const FLAGGED: Flags = Flags(2);
    /// `\Deleted`
    pub const DELETED: Flags = Flags(4);
    /// `\Seen`
    pub const SEEN: Flags = Flags(8);
    /// `\Draft`
    pub const DRAFT: Flags = Flags(16);
    /// `\Recent`: belongs to the session, and no client can set it.
    pub const RECENT: Flags = Flags(32);

    /// Names, in the order in which Dovecot writes them.
    pub const NAMES: [(Flags, &'static str); 6] = [
        (Flags::ANSWERED, "\\Answered"),
        (Flags::FLAGGED, "\\Flagged"),
        (Flags::DELETED, "\\Deleted"),
        (Flags::SEEN, "\\Seen"),
        (Flags::DRAFT, "\\Draft"),
        (Flags::RECENT, "\\Recent"),
    ];

    /// Whether all of `other` are set.
    pub fn contains(self, other: Flags) -> bool {
        self & other == other
    }

    /// The flag that a client may set by this name, whatever its case.
    ///
    /// ```text
    /// flag = "\Answered" / "\Flagged" / "\Deleted" / "\Seen" / "\Draft" / flag-keyword / flag-extension
    /// ```
    ///
    /// RFC 3501 section 9.
    pub fn parse(name: &[u8]) -> Option<Flags> {
        let settable = Flags::NAMES.iter().filter(|(flag, _)| *flag != Flags::RECENT);
        settable.clone().find(|(_, known)| name.eq_ignore_ascii_case(known.as_bytes())).map(|(flag, _)| *flag)
    }
}

impl BitOr for Flags {
    type Output = Flags;
    fn bitor(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }
}

impl BitAnd for Flags {
    type Output = Flags;
    fn bitand(self, other: Flags) -> Flags {
        Flags(self.0 & other.0)
    }
}

impl Not for Flags {
    type Output = Flags;
    fn not(self) -> Flags {
        Flags(!self.0 & 0b11_1111)
    }
}

/// A valid keyword.
///
/// ```text
/// flag-keyword = atom
/// ```
///
/// Compared without regard to case, written as first seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keyword(String);

/// Why a word is no keyword.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeywordError {
    /// A character that an atom cannot hold.
    Characters,
    /// Longer than [`limits::KEYWORD`].
    Length,
}

impl Keyword {
    /// Checks a word.
    pub fn parse(word: &[u8]) -> Result<Keyword, KeywordError> {
        let valid = |byte: &u8| {
            byte.is_ascii_graphic() && !matches!(byte, b'(' | b')' | b'{' | b'%' | b'*' | b'"' | b'\\' | b']')
        };
        if word.is_empty() || !word.iter().all(valid) {
            return Err(KeywordError::Characters);
        }
        if word.len() > limits::KEYWORD {
            return Err(KeywordError::Length);
        }
        Ok(Keyword(word.iter().map(|byte| char::from(*byte)).collect()))
    }

    /// The keyword as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Flags and keywords that a client named.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FlagList {
    /// System flags, never `\Recent`.
    pub flags: Flags,
    /// Keywords, each once.
    pub keywords: Vec<Keyword>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_whatever_their_case() {
        assert_eq!(Flags::parse(b"\\sEEN"), Some(Flags::SEEN));
        assert_eq!(Flags::parse(b"\\Recent"), None);
        assert_eq!(Flags::parse(b"\\Nope"), None);
    }

    #[test]
    fn keywords_are_atoms_of_bounded_length() {
        assert_eq!(Keyword::parse(b"$Junk").unwrap().as_str(), "$Junk");
        for bad in [&b""[..], b"a]b", b"a%b", b"\\x", b"a b", b"\xc3\xa4"] {
            assert_eq!(Keyword::parse(bad), Err(KeywordError::Characters));
        }
        assert!(Keyword::parse(&[b'x'; limits::KEYWORD]).is_ok());
        assert_eq!(Keyword::parse(&[b'x'; limits::KEYWORD + 1]), Err(KeywordError::Length));
    }
}
