//! Strings in IMAP answers (RFC 3501 §4.3), chosen between quoted and literal as Dovecot chooses.
//!
//! ```text
//! nstring = "NIL" / quoted / literal
//! quoted  = DQUOTE *(any 7-bit character but CR, LF; `"` and `\` after a `\`) DQUOTE
//! literal = "{" number "}" CRLF *octet
//! ```

/// More characters than this that need a backslash make a literal.
const ESCAPES: usize = 4;

/// Appends a string or `NIL`.
pub fn append_nstring(out: &mut Vec<u8>, text: Option<&[u8]>) {
    match text {
        Some(text) => append_string(out, text),
        None => out.extend(b"NIL"),
    }
}

/// Appends a string.
pub fn append_string(out: &mut Vec<u8>, text: &[u8]) {
    let escapes = text.iter().filter(|byte| matches!(byte, b'"' | b'\\')).count();
    if escapes > ESCAPES || text.iter().any(|byte| matches!(byte, b'\r' | b'\n') || *byte >= 0x80) {
        append_literal(out, text);
        return;
    }
    out.push(b'"');
    for byte in text {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(*byte);
    }
    out.push(b'"');
}

/// Appends a string or `NIL` without line ends; where one is not followed by white space it becomes a space.
pub fn append_unfolded(out: &mut Vec<u8>, text: Option<&[u8]>) {
    let Some(text) = text else { return out.extend(b"NIL") };
    if memchr::memchr2(b'\r', b'\n', text).is_none() {
        return append_string(out, text);
    }
    let mut unfolded = Vec::with_capacity(text.len());
    for (at, byte) in text.iter().enumerate() {
        if !matches!(byte, b'\r' | b'\n') {
            unfolded.push(*byte);
        } else if text.get(at + 1).is_some_and(|next| !b" \t\r\n".contains(next)) {
            unfolded.push(b' ');
        }
    }
    append_string(out, &unfolded);
}

/// Appends a string that people read: runs of white space become one space, none stays at either end, and whatever
/// quoting would have to change makes it a literal.
pub fn append_for_humans(out: &mut Vec<u8>, text: &[u8]) {
    let as_it_is = text.iter().all(|byte| byte.is_ascii() && !b"\0\r\n\t\"\\".contains(byte))
        && !text.starts_with(b" ")
        && !text.ends_with(b" ")
        && memchr::memmem::find(text, b"  ").is_none();
    if as_it_is {
        out.push(b'"');
        out.extend(text);
        out.push(b'"');
        return;
    }
    let mut compressed: Vec<u8> = Vec::with_capacity(text.len());
    for byte in text {
        match byte {
            b'\r' | b'\n' | b'\t' | b' ' => {
                if !compressed.is_empty() && !compressed.ends_with(b" ") {
                    compressed.push(b' ');
                }
            }
            0 => compressed.push(0x80),
            _ => compressed.push(*byte),
        }
    }
    if compressed.ends_with(b" ") {
        compressed.pop();
    }
    if compressed.is_empty() {
        out.extend(b"\"\"");
    } else {
        append_literal(out, &compressed);
    }
}

/// Appends a literal.
pub fn append_literal(out: &mut Vec<u8>, text: &[u8]) {
    out.extend(format!("{{{}}}\r\n", text.len()).bytes());
    out.extend(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(append: impl Fn(&mut Vec<u8>, &[u8]), table: &[(&str, &str)]) {
        for (text, expected) in table {
            let mut out = Vec::new();
            append(&mut out, text.as_bytes());
            assert_eq!(String::from_utf8_lossy(&out), *expected, "{text:?}");
        }
    }

    #[test]
    fn strings() {
        check(
            append_string,
            &[
                ("", "\"\""),
                ("a\"b\\", "\"a\\\"b\\\\\""),
                ("\"\"\"\"", "\"\\\"\\\"\\\"\\\"\""),
                ("\"\"\"\"\"", "{5}\r\n\"\"\"\"\""),
                ("é", "{2}\r\né"),
                ("a\nb", "{3}\r\na\nb"),
            ],
        );
        check(
            |out, text| append_unfolded(out, Some(text)),
            &[("a\r\n b", "\"a b\""), ("a\nb", "\"a b\""), ("a\r\nb\n", "\"a b\""), ("a\n\n b", "\"a b\"")],
        );
    }

    #[test]
    fn for_humans() {
        check(
            append_for_humans,
            &[
                ("plain text", "\"plain text\""),
                ("a  b", "{3}\r\na b"),
                (" a", "{1}\r\na"),
                ("a\r\n\tb ", "{3}\r\na b"),
                ("say \"x\"", "{7}\r\nsay \"x\""),
                (" \t ", "\"\""),
                ("", "\"\""),
                ("é", "{2}\r\né"),
            ],
        );
        let mut out = Vec::new();
        append_for_humans(&mut out, b"a\0b");
        assert_eq!(out, b"{3}\r\na\x80b");
    }
}
