//! Writing what the server says.
//!
//! Everything is appended to one buffer; nothing is allocated for an item. Words and order are Dovecot 2.3's.

use crate::flag::Flags;
use crate::sequence::UidSet;

/// What is announced before login, without STARTTLS and the mechanisms (Dovecot 2.3's order).
pub const PRE_LOGIN_CAPABILITY: &str = "IMAP4rev1 SASL-IR LOGIN-REFERRALS ID ENABLE IDLE LITERAL+";

/// What is announced after login, in Dovecot 2.3's order: what is built, and nothing else.
///
/// Dovecot has SPECIAL-USE there if the configuration gives a mailbox a special use.
pub fn capability(special_use: bool) -> &'static str {
    if special_use {
        "IMAP4rev1 SASL-IR LOGIN-REFERRALS ID ENABLE IDLE MULTIAPPEND UNSELECT CHILDREN NAMESPACE UIDPLUS \
         LIST-EXTENDED CONDSTORE ESEARCH SEARCHRES WITHIN LIST-STATUS SPECIAL-USE MOVE STATUS=SIZE LITERAL+"
    } else {
        "IMAP4rev1 SASL-IR LOGIN-REFERRALS ID ENABLE IDLE MULTIAPPEND UNSELECT CHILDREN NAMESPACE UIDPLUS \
         LIST-EXTENDED CONDSTORE ESEARCH SEARCHRES WITHIN LIST-STATUS MOVE STATUS=SIZE LITERAL+"
    }
}

/// Appends a number.
pub fn number(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Appends text for people. What is in it may come from anywhere; a reply is one line all the same.
fn text_line(out: &mut Vec<u8>, text: &str) {
    out.extend(text.bytes().map(|byte| if byte.is_ascii_control() { b'?' } else { byte }));
}

/// Appends an untagged line: `* TEXT`.
pub fn untagged(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(b"* ");
    text_line(out, text);
    out.extend_from_slice(b"\r\n");
}

/// Appends an untagged line with a number: `* N TEXT`.
pub fn untagged_number(out: &mut Vec<u8>, value: u64, text: &str) {
    out.extend_from_slice(b"* ");
    number(out, value);
    out.push(b' ');
    out.extend_from_slice(text.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Appends a tagged line: `TAG TEXT`.
pub fn tagged(out: &mut Vec<u8>, tag: &[u8], text: &str) {
    out.extend_from_slice(tag);
    out.push(b' ');
    text_line(out, text);
    out.extend_from_slice(b"\r\n");
}

/// Appends a tagged line that ends as Dovecot's do after login: `TAG TEXT (0.001 + 0.250 secs).`
///
/// The first figure is the time of the work itself, which is not measured here and shown as Dovecot shows little work; the
/// second is how long the command took as a whole.
pub fn tagged_timed(out: &mut Vec<u8>, tag: &[u8], text: &str, elapsed_ms: u64) {
    out.extend_from_slice(tag);
    out.push(b' ');
    timed_line(out, text, elapsed_ms);
}

/// Appends the rest of a line and the time.
pub fn timed_line(out: &mut Vec<u8>, text: &str, elapsed_ms: u64) {
    text_line(out, text.strip_suffix('.').unwrap_or(text));
    out.extend_from_slice(b" (0.001 + ");
    number(out, elapsed_ms / 1000);
    let thousandths = elapsed_ms % 1000;
    out.push(b'.');
    out.extend([thousandths / 100, thousandths / 10 % 10, thousandths % 10].map(|digit| b'0' + digit as u8));
    out.extend_from_slice(b" secs).\r\n");
}

/// Appends text as an atom where it can be one, as a string where it cannot.
///
/// ```text
/// astring = 1*ASTRING-CHAR / string
/// ```
///
/// The word NIL is quoted, so that no client takes it for nothing.
pub fn astring(out: &mut Vec<u8>, text: &[u8]) {
    let atom = |byte: &u8| crate::token::is_astring_char(*byte) && *byte != b']';
    if !text.is_empty() && text.iter().all(atom) && !text.eq_ignore_ascii_case(b"NIL") {
        out.extend_from_slice(text);
    } else {
        string(out, text);
    }
}

/// Appends a string: quoted if it is short and printable, else a literal.
pub fn string(out: &mut Vec<u8>, text: &[u8]) {
    let quotable = text.len() <= 1024 && text.iter().all(|byte| (b' '..=b'~').contains(byte));
    if !quotable {
        out.push(b'{');
        number(out, text.len() as u64);
        out.extend_from_slice(b"}\r\n");
        out.extend_from_slice(text);
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

/// Appends flags and keywords with a space between each, `names[n]` for bit `n`.
pub fn flags(out: &mut Vec<u8>, flags: Flags, keywords: u64, names: &[String]) {
    let start = out.len();
    for (flag, name) in Flags::NAMES {
        if flags.contains(flag) {
            word(out, start, name);
        }
    }
    let mut left = keywords;
    while left != 0 {
        let bit = left.trailing_zeros() as usize;
        left &= left - 1;
        if let Some(name) = names.get(bit) {
            word(out, start, name);
        }
    }
}

/// Appends a word, with a space before it unless the output stands at `start`.
pub fn word(out: &mut Vec<u8>, start: usize, word: &str) {
    if out.len() > start {
        out.push(b' ');
    }
    out.extend_from_slice(word.as_bytes());
}

/// Appends a set of numbers.
///
/// ```text
/// uid-set = (uniqueid / uid-range) *("," uid-set)
/// ```
///
/// RFC 4315 section 4.
pub fn uid_set(out: &mut Vec<u8>, set: &UidSet) {
    let mut separator = &b""[..];
    for (first, last) in set.ranges() {
        out.extend_from_slice(separator);
        separator = b",";
        number(out, u64::from(*first));
        if first != last {
            out.push(b':');
            number(out, u64::from(*last));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers() {
        for value in [0, 1, 9, 10, 12345, u64::MAX] {
            assert_eq!(written(|out| number(out, value)), value.to_string());
        }
    }

    #[test]
    fn strings_take_the_shortest_safe_form() {
        for (text, expected) in [
            ("INBOX", "INBOX"),
            ("a&AOQ-", "a&AOQ-"),
            ("two words", "\"two words\""),
            ("a\\b\"", "\"a\\\\b\\\"\""),
            ("", "\"\""),
            ("nil", "\"nil\""),
            ("*", "\"*\""),
            ("x\r\ny", "{4}\r\nx\r\ny"),
            ("ä", "{2}\r\nä"),
        ] {
            assert_eq!(written(|out| astring(out, text.as_bytes())), expected);
        }
    }

    #[test]
    fn flags_in_dovecots_order() {
        let names = ["foo".to_owned(), "bar".to_owned()];
        let all = Flags::SEEN | Flags::RECENT | Flags::DELETED;
        assert_eq!(written(|out| flags(out, all, 0b10, &names)), "\\Deleted \\Seen \\Recent bar");
        assert_eq!(written(|out| flags(out, Flags::NONE, 0b111, &names)), "foo bar");
    }

    #[test]
    fn time_is_shown_as_dovecot_shows_it() {
        assert_eq!(written(|out| tagged_timed(out, b"a", "OK Done.", 5127)), "a OK Done (0.001 + 5.127 secs).\r\n");
    }
}
