//! Encoded words in header fields (RFC 2047).
//!
//! ```text
//! encoded-word = "=?" charset "?" ("Q" / "B") "?" text "?="
//! ```
//!
//! White space between two of them goes, and so does white space before the first if nothing else is there. One that is
//! malformed stays as it is.

use crate::charset::Charset;
use crate::transfer::{decode_base64, decode_q};
use memchr::{memchr, memmem};

/// Decodes the value of a field into UTF-8. Line ends stay where they are.
#[must_use]
pub fn decode(value: &[u8]) -> String {
    let mut out = String::with_capacity(value.len());
    let mut plain = 0;
    let mut at = 0;
    while let Some(found) = memmem::find(&value[at..], b"=?") {
        let start = at + found;
        let Some((word, length)) = parse(&value[start + 2..]) else {
            at = start + 2;
            continue;
        };
        let before = &value[plain..start];
        if !before.iter().all(u8::is_ascii_whitespace) {
            out.push_str(&String::from_utf8_lossy(before));
        }
        out.push_str(&word);
        at = start + 2 + length;
        plain = at;
    }
    out.push_str(&String::from_utf8_lossy(&value[plain..]));
    out
}

/// Decodes what follows `=?`: the text, and the length of what was read.
fn parse(rest: &[u8]) -> Option<(String, usize)> {
    let charset = memchr(b'?', rest)?;
    let encoding = charset + 1;
    let text = encoding + memchr(b'?', &rest[encoding..])? + 1;
    let end = text + memchr(b'?', &rest[text..])?;
    if rest.get(end + 1) != Some(&b'=') {
        return None;
    }
    let bytes = match rest[encoding..text - 1].first()? {
        b'q' | b'Q' => decode_q(&rest[text..end]),
        b'b' | b'B' => decode_base64(&rest[text..end]),
        _ => return None,
    };
    // A language may follow the set: "utf-8*en" (RFC 2231 §5).
    let name = rest[..charset].split(|byte| *byte == b'*').next().unwrap_or_default();
    let charset = Charset::from_name(name).unwrap_or(Charset::UTF_8);
    Some((charset.decode(&bytes).into_owned(), end + 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decoding_table() {
        for (value, decoded) in [
            ("plain", "plain"),
            ("=?utf-8?q?caf=C3=A9_x?=", "café x"),
            ("=?ISO-8859-1?B?Y2Fm6Q==?= au lait", "café au lait"),
            ("a =?utf-8?q?b?=\r\n =?utf-8?q?c?= d", "a bc d"),
            ("  =?utf-8*en?q?b?=", "b"),
            ("=?utf-8?x?b?= =?utf-8?q?ok?=", "=?utf-8?x?b?= ok"),
            ("=?utf-8?q?open", "=?utf-8?q?open"),
            ("=?utf-8?q?a?b=?=", "=?utf-8?q?a?b=?="),
            ("=?nosuch?q?abc?=", "abc"),
            ("=?=?utf-8?q?x?=", "=?x"),
            ("caf\u{e9}", "café"),
        ] {
            assert_eq!(decode(value.as_bytes()), decoded, "{value:?}");
        }
    }

    #[test]
    fn many_false_starts_take_linear_time() {
        let start = std::time::Instant::now();
        let _ = decode("=?".repeat(500_000).as_bytes());
        let _ = decode("=?a?".repeat(250_000).as_bytes());
        assert!(start.elapsed().as_secs() < 5);
    }
}
