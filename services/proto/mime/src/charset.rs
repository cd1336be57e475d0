//! Character sets (RFC 2045 §5.1, RFC 2152), turned into UTF-8.

use std::borrow::Cow;

/// A character set that can be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charset {
    /// UTF-7, in which mail may still be written.
    Utf7,
    /// Any other.
    Other(&'static encoding_rs::Encoding),
}

impl Charset {
    /// UTF-8, which stands for text that names no set: ASCII is part of it.
    pub const UTF_8: Self = Self::Other(encoding_rs::UTF_8);

    /// The set of this name, in any case, or `None` if it is not known.
    #[must_use]
    pub fn from_name(name: &[u8]) -> Option<Self> {
        if name.eq_ignore_ascii_case(b"utf-7") || name.eq_ignore_ascii_case(b"utf7") {
            return Some(Self::Utf7);
        }
        // Sets that browsers refuse for their safety are mapped to one that decodes nothing.
        encoding_rs::Encoding::for_label(name).filter(|set| *set != encoding_rs::REPLACEMENT).map(Self::Other)
    }

    /// Whether bytes below 128 are the characters of ASCII, whatever stands around them.
    #[must_use]
    pub fn is_ascii_compatible(self) -> bool {
        match self {
            Self::Utf7 => false,
            Self::Other(set) => set.is_ascii_compatible(),
        }
    }

    /// The text in UTF-8; what cannot be decoded is U+FFFD.
    #[must_use]
    pub fn decode(self, text: &[u8]) -> Cow<'_, str> {
        match self {
            Self::Utf7 => Cow::Owned(decode_utf7(text)),
            Self::Other(set) => set.decode_without_bom_handling(text).0,
        }
    }
}

/// ```text
/// utf-7 = *(direct / "+-" / "+" base64-of-utf-16 ["-"])
/// ```
fn decode_utf7(text: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.iter().position(|byte| *byte == b'+') {
        out.push_str(&String::from_utf8_lossy(&rest[..at]));
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix(b"-") {
            out.push('+');
            rest = after;
            continue;
        }
        let digits = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/')).count();
        let units: Vec<u16> = crate::transfer::decode_base64(&rest[..digits])
            .chunks_exact(2)
            .map(|unit| u16::from_be_bytes([unit[0], unit[1]]))
            .collect();
        out.push_str(&String::from_utf16_lossy(&units));
        rest = &rest[digits..];
        rest = rest.strip_prefix(b"-").unwrap_or(rest);
    }
    out.push_str(&String::from_utf8_lossy(rest));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (name, known) in [
            ("UTF-8", true),
            ("us-ascii", true),
            ("ISO-8859-15", true),
            ("utf-7", true),
            ("iso-2022-kr", false),
            ("x", false),
        ] {
            assert_eq!(Charset::from_name(name.as_bytes()).is_some(), known, "{name}");
        }
        assert!(!Charset::from_name(b"iso-2022-jp").unwrap().is_ascii_compatible());
    }

    #[test]
    fn decoding() {
        let decode = |name: &str, text: &[u8]| Charset::from_name(name.as_bytes()).unwrap().decode(text).into_owned();
        assert_eq!(decode("iso-8859-1", b"caf\xe9"), "café");
        assert_eq!(decode("utf-8", b"a\xffb"), "a\u{fffd}b");
        assert_eq!(decode("iso-2022-jp", b"\x1b$B%F\x1b(B"), "テ");
        for (text, expected) in
            [("Hi +Jjo--", "Hi ☺-"), ("1 +- 1", "1 + 1"), ("+2D3eAA", "😀"), ("+", ""), ("a+é", "aé")]
        {
            assert_eq!(decode("utf-7", text.as_bytes()), expected, "{text}");
        }
    }
}
