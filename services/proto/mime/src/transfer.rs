//! Transfer encodings (RFC 2045 §6), decoded as far as they can be.

use crate::field::{is_blank, without_line_end};
use crate::lexer::Lexer;
use std::borrow::Cow;

/// A `Content-Transfer-Encoding`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// `7bit`, `8bit`, `binary`: the bytes are what they are. A part without the field is `7bit`.
    Identity,
    /// `base64`
    Base64,
    /// `quoted-printable`
    QuotedPrintable,
    /// Anything else.
    Unknown,
}

impl Encoding {
    /// The encoding that the value of a `Content-Transfer-Encoding` field names. Parameters, which the field cannot have,
    /// are let through; other text after the name makes it unknown.
    #[must_use]
    pub fn from_field(value: &[u8]) -> Self {
        let mut lexer = Lexer::new(value);
        let mut name = Vec::new();
        // A broken comment leaves the name to be read from where it broke.
        let _ = lexer.skip_white_space();
        if lexer.token(&mut name) == Ok(true) && lexer.peek() != Some(b';') {
            return Self::Unknown;
        }
        match name.to_ascii_lowercase().as_slice() {
            b"7bit" | b"8bit" | b"binary" => Self::Identity,
            b"base64" => Self::Base64,
            b"quoted-printable" => Self::QuotedPrintable,
            _ => Self::Unknown,
        }
    }

    /// The decoded body, or `None` if the encoding is unknown.
    #[must_use]
    pub fn decode(self, body: &[u8]) -> Option<Cow<'_, [u8]>> {
        match self {
            Self::Identity => Some(Cow::Borrowed(body)),
            Self::Base64 => Some(Cow::Owned(decode_base64(body))),
            Self::QuotedPrintable => Some(Cow::Owned(decode_quoted_printable(body))),
            Self::Unknown => None,
        }
    }
}

/// Not a digit of base64.
const NONE: u8 = 0xff;

/// Values of the digits of base64.
const DIGITS: [u8; 256] = {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut digits = [NONE; 256];
    let mut at = 0;
    while at < alphabet.len() {
        digits[alphabet[at] as usize] = at as u8;
        at += 1;
    }
    digits
};

/// Decodes base64 up to its padding or the first character that is neither a digit nor white space.
#[must_use]
pub fn decode_base64(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let mut bits = 0u32;
    let mut digits = 0;
    for byte in text {
        let value = DIGITS[usize::from(*byte)];
        if value == NONE {
            if matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
                continue;
            }
            break;
        }
        bits = bits << 6 | u32::from(value);
        digits += 1;
        if digits == 4 {
            out.extend_from_slice(&bits.to_be_bytes()[1..]);
            (bits, digits) = (0, 0);
        }
    }
    // Two digits hold one byte, three hold two.
    match digits {
        2 => out.push((bits >> 4) as u8),
        3 => out.extend_from_slice(&((bits >> 2) as u16).to_be_bytes()),
        _ => {}
    }
    out
}

/// Decodes quoted-printable: `=XY` is a byte, `=` at the end of a line joins it with the next, white space before a line
/// end goes. A `=` that is neither stays.
#[must_use]
pub fn decode_quoted_printable(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let (mut content, line_end) = line.split_at(without_line_end(line).len());
        if !line_end.is_empty() {
            let kept = content.iter().rposition(|byte| !is_blank(*byte)).map_or(0, |last| last + 1);
            content = &content[..kept];
        }
        if let [joined @ .., b'='] = content {
            decode_escapes(joined, &mut out);
        } else {
            decode_escapes(content, &mut out);
            out.extend_from_slice(line_end);
        }
    }
    out
}

/// Decodes `=XY`.
fn decode_escapes(text: &[u8], out: &mut Vec<u8>) {
    let mut rest = text;
    while let Some(at) = memchr::memchr(b'=', rest) {
        out.extend_from_slice(&rest[..at]);
        rest = &rest[at..];
        match rest {
            [_, high, low, after @ ..] if hex(*high).is_some() && hex(*low).is_some() => {
                out.push(hex(*high).unwrap_or(0) << 4 | hex(*low).unwrap_or(0));
                rest = after;
            }
            _ => {
                out.push(b'=');
                rest = &rest[1..];
            }
        }
    }
    out.extend_from_slice(rest);
}

/// Decodes the Q encoding of encoded words (RFC 2047 §4.2).
#[must_use]
pub fn decode_q(text: &[u8]) -> Vec<u8> {
    let spaced: Vec<u8> = text.iter().map(|byte| if *byte == b'_' { b' ' } else { *byte }).collect();
    let mut out = Vec::with_capacity(text.len());
    decode_escapes(&spaced, &mut out);
    out
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (value, encoding) in [
            ("Base64", Encoding::Base64),
            (" quoted-printable (c)", Encoding::QuotedPrintable),
            ("8bit; x=y", Encoding::Identity),
            ("8bit junk", Encoding::Unknown),
            ("\"base64\"", Encoding::Unknown),
            ("", Encoding::Unknown),
        ] {
            assert_eq!(Encoding::from_field(value.as_bytes()), encoding, "{value:?}");
        }
    }

    #[test]
    fn base64_table() {
        for (text, decoded) in [
            ("aGVsbG8=", "hello"),
            ("aGVs\r\nbG8h\r\n", "hello!"),
            ("aGVsbG8", "hello"),
            ("aGVsbA==aGVs", "hell"),
            ("aGVs!bG8=", "hel"),
            ("a", ""),
            ("", ""),
        ] {
            assert_eq!(decode_base64(text.as_bytes()), decoded.as_bytes(), "{text:?}");
        }
    }

    #[test]
    fn quoted_printable_table() {
        for (text, decoded) in [
            ("a=3Db=\r\nc=20\r\n", "a=bc \r\n"),
            ("a  \nb\t=\nc", "a\nb\tc"),
            ("=C3=A9 =zz =", "é =zz "),
            ("=4", "=4"),
            ("", ""),
        ] {
            assert_eq!(decode_quoted_printable(text.as_bytes()), decoded.as_bytes(), "{text:?}");
        }
        assert_eq!(decode_q(b"a_b=5F"), b"a b_");
    }
}
