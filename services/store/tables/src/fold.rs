//! Folding of lookup keys.

use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// What happens to a key before it is stored or compared in a fixed table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Folding {
    /// Nothing.
    Exact,
    /// Lower case of ASCII letters: `smtputf8_enable = no`.
    Ascii,
    /// Full Unicode case folding: `smtputf8_enable = yes`.
    Unicode,
}

impl Folding {
    /// The key as it is stored.
    #[must_use]
    pub fn apply(self, key: &str) -> Cow<'_, str> {
        match self {
            Self::Exact => Cow::Borrowed(key),
            Self::Ascii => Cow::Owned(key.to_ascii_lowercase()),
            Self::Unicode => Cow::Owned(fold(key)),
        }
    }
}

/// Folds as Postfix does with `smtputf8_enable = yes`.
///
/// The standard library maps to lower case; the letters whose folding differs from that are named here.
#[must_use]
pub fn fold(key: &str) -> String {
    if key.is_ascii() {
        return key.to_ascii_lowercase();
    }
    let mut folded = String::with_capacity(key.len());
    for letter in key.chars() {
        match letter {
            'ß' | 'ẞ' => folded.push_str("ss"),
            'ς' => folded.push('σ'),
            'ſ' => folded.push('s'),
            _ => folded.extend(letter.to_lowercase()),
        }
    }
    folded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folds_as_unicode_does() {
        for (key, folded) in [
            ("User@Example.COM", "user@example.com"),
            ("STRAẞE", "strasse"),
            ("ΧΑΟΣ", "χαοσ"),
            ("χάος", "χάοσ"),
            ("", ""),
        ] {
            assert_eq!(Folding::Unicode.apply(key), folded);
        }
        assert_eq!(Folding::Ascii.apply("JÖrg"), "jÖrg");
        assert_eq!(Folding::Exact.apply("JÖrg"), "JÖrg");
    }
}
