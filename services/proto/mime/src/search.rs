//! Searching in messages: `TEXT`, `BODY`, `HEADER` and their like (RFC 3501 §6.4.4), without regard to case.
//!
//! Keys and texts are compared after normalisation as in RFC 5051 (i;unicode-casemap): each letter in upper case and
//! taken apart into base letter and accents. An accent is then a character of its own: `cafe` finds `CAFÉ`, whose accent
//! comes last, but `jorg` does not find `Jörg`.
//!
//! What is searched, as in Dovecot: `TEXT` the header fields of every part, encoded words decoded, and the body of every
//! text or message part, transfer encoding and character set decoded; `BODY` the bodies alone. Preambles, boundaries and
//! attachments are not.
//!
//! Most messages do not hold the key, and most are ASCII without encodings. [`Key::may_match`] rules these out in one
//! pass over the raw bytes, without looking at their structure.

mod normalize;
mod raw;

use crate::address::{parse_addresses, write_addresses};
use crate::charset::Charset;
use crate::content::Content;
use crate::encoded_word;
use crate::field::{Field, fields, unfold, without_line_end};
use crate::part::{Kind, Structure};
use crate::transfer::Encoding;
use memchr::memmem::Finder;
use normalize::{fold_ascii, normalize};
use std::ops::Range;

/// Where to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// `TEXT`: headers and bodies.
    Text,
    /// `BODY`: bodies.
    Body,
}

/// What to look for, prepared once for many messages.
#[derive(Clone, Debug)]
pub struct Key {
    normalized: Finder<'static>,
    /// The key in ASCII has no white space, so that a fold cannot stand in it.
    raw: bool,
}

/// Buffers that are used again for each message.
#[derive(Debug, Default)]
pub struct Scratch {
    folded: Vec<u8>,
}

impl Key {
    /// Prepares a key. `None` if nothing of it is left to look for; such a key is found nowhere.
    #[must_use]
    pub fn new(key: &str) -> Option<Self> {
        let mut normalized = Vec::new();
        normalize(key, &mut normalized);
        let raw = !normalized.is_empty() && normalized.iter().all(u8::is_ascii_graphic);
        (!normalized.is_empty()).then(|| Self { normalized: Finder::new(&normalized).into_owned(), raw })
    }

    /// Whether the message may hold the key. `false` is certain; `true` has to be looked into.
    #[must_use]
    pub fn may_match(&self, message: &[u8], scratch: &mut Scratch) -> bool {
        if !self.raw || !message.is_ascii() {
            return true;
        }
        fold_ascii(message, &mut scratch.folded);
        self.normalized.find(&scratch.folded).is_some() || !raw::is_plain(&scratch.folded)
    }

    /// Whether the message holds the key in `scope`.
    #[must_use]
    pub fn matches(&self, message: &[u8], structure: &Structure, scope: Scope, scratch: &mut Scratch) -> bool {
        structure.parts().iter().any(|part| {
            let slice = |range: Range<u64>| message.get(range.start as usize..range.end as usize).unwrap_or_default();
            let header = slice(part.header_range());
            scope == Scope::Text && self.in_header(header, scratch)
                || !matches!(part.kind, Kind::Multipart { .. } | Kind::Message)
                    && self.in_body(header, slice(part.body_range()), scratch)
        })
    }

    /// Whether a text holds the key.
    #[must_use]
    pub fn in_text(&self, text: &str, scratch: &mut Scratch) -> bool {
        fold_ascii(text.as_bytes(), &mut scratch.folded);
        if self.normalized.find(&scratch.folded).is_some() {
            return true;
        }
        // A letter with an accent may still hold a letter of the key.
        if text.is_ascii() {
            return false;
        }
        scratch.folded.clear();
        normalize(text, &mut scratch.folded);
        self.normalized.find(&scratch.folded).is_some()
    }

    /// Whether a field holds the key. Fields with addresses are searched in a normal form of these, others without folds
    /// and with single spaces.
    #[must_use]
    pub fn in_field(&self, name: &str, value: &[u8], scratch: &mut Scratch) -> bool {
        let addresses = ["from", "to", "cc", "bcc"].iter().any(|known| name.eq_ignore_ascii_case(known));
        let value = if addresses { write_addresses(&parse_addresses(value)) } else { single_spaces(value) };
        self.in_text(&encoded_word::decode(&value), scratch)
    }

    fn in_header(&self, header: &[u8], scratch: &mut Scratch) -> bool {
        let mut text = String::with_capacity(header.len());
        for Field { name, value, raw } in fields(header) {
            let before_value = &raw[..without_line_end(raw).len() - value.len()];
            text.push_str(&String::from_utf8_lossy(name));
            text.push_str(&String::from_utf8_lossy(&before_value[name.len()..]));
            text.push_str(&encoded_word::decode(&one_line(value)));
            text.push_str("\r\n");
        }
        self.in_text(&text, scratch)
    }

    fn in_body(&self, header: &[u8], body: &[u8], scratch: &mut Scratch) -> bool {
        let reading = Reading::of(header);
        if !reading.searched {
            return false;
        }
        let Some(body) = reading.encoding.decode(body) else { return false };
        if reading.charset.is_ascii_compatible() && body.is_ascii() {
            fold_ascii(&body, &mut scratch.folded);
            return self.normalized.find(&scratch.folded).is_some();
        }
        self.in_text(&reading.charset.decode(&body), scratch)
    }
}

/// How a body is read for searching. It is taken from the header itself and not from [`crate::Content`], because it is more
/// lenient: the fields count without `MIME-Version`, and of several the last.
struct Reading {
    searched: bool,
    encoding: Encoding,
    charset: Charset,
}

impl Reading {
    fn of(header: &[u8]) -> Self {
        let mut reading = Self { searched: true, encoding: Encoding::Identity, charset: Charset::UTF_8 };
        let mut first_type = true;
        for field in fields(header) {
            if field.is("Content-Transfer-Encoding") {
                reading.encoding = Encoding::from_field(field.value);
            } else if field.is("Content-Type") {
                let mut content = Content::default();
                content.add(&field);
                let media_type = content.media_type.take().unwrap_or_default();
                let main = media_type.main.to_ascii_lowercase();
                reading.searched = !media_type.sub.is_empty() && matches!(main.as_slice(), b"text" | b"message");
                if std::mem::take(&mut first_type) {
                    reading.charset =
                        content.parameter("charset").and_then(Charset::from_name).unwrap_or(Charset::UTF_8);
                }
            }
        }
        reading
    }
}

/// Without line ends; a tab after one becomes a space.
fn one_line(value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len());
    for line in value.split_inclusive(|byte| *byte == b'\n') {
        let text = without_line_end(line);
        match text {
            [b'\t', rest @ ..] if !out.is_empty() => {
                out.push(b' ');
                out.extend_from_slice(rest);
            }
            _ => out.extend_from_slice(text),
        }
    }
    out
}

/// White space becomes single spaces; none stays at the start.
fn single_spaces(value: &[u8]) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::with_capacity(value.len());
    for byte in unfold(value) {
        match byte {
            b' ' | b'\t' if out.is_empty() || out.ends_with(b" ") => {}
            b'\t' => out.push(b' '),
            _ => out.push(byte),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(key: &str, message: &str, scope: Scope) -> bool {
        let mut scratch = Scratch::default();
        let key = Key::new(key).unwrap();
        let found = key.matches(message.as_bytes(), &Structure::scan(message.as_bytes()), scope, &mut scratch);
        assert!(!found || key.may_match(message.as_bytes(), &mut scratch), "what is there was ruled out");
        found
    }

    const PARTS: &str = "Subject: =?utf-8?q?caf=C3=A9?= talk\r\nFrom: =?iso-8859-1?q?J=F6rg?= <j@x>\r\n\
        Content-Type: multipart/mixed; boundary=bound\r\n\r\npreamble\r\n--bound\r\nContent-Type: text/plain; charset=iso-8859-1\r\n\
        Content-Transfer-Encoding: quoted-printable\r\n\r\nna=EFve so=\r\nft\r\n--bound\r\nContent-Type: image/png\r\n\r\npixels\r\n\
        --bound\r\nContent-Type: text/html\r\nContent-Transfer-Encoding: base64\r\nX-Inner: yes\r\n\r\naGlkZGVuIHRyZWFzdXJl\r\n--bound\r\n\
        Content-Type: message/rfc822\r\n\r\nSubject: attached\r\n\r\ninner body\r\n--bound--\r\n";

    #[test]
    fn scopes() {
        for (key, text, body) in [
            ("CAFE", true, false),
            ("café", true, false),
            ("jörg", true, false),
            ("jorg", false, false),
            ("naïve", true, true),
            ("NAÏVE SOFT", true, true),
            ("hidden treasure", true, true),
            ("x-inner: YES", true, false),
            ("inner body", true, true),
            ("attached", true, false),
            ("talk\r\nfrom", true, false),
            ("pixels", false, false),
            ("preamble", false, false),
            ("aGlkZGVu", false, false),
            ("nowhere", false, false),
        ] {
            assert_eq!((found(key, PARTS, Scope::Text), found(key, PARTS, Scope::Body)), (text, body), "{key}");
        }
    }

    #[test]
    fn accents_in_the_key_count() {
        assert!(!found("café", "\r\ncafe\r\n", Scope::Body));
        assert!(found("cafe", "\r\nCAFÉ\r\n", Scope::Body));
        assert!(found("ÄÖ", "\r\näö\r\n", Scope::Body));
        assert!(found("straße", "\r\nStraße\r\n", Scope::Body));
    }

    #[test]
    fn unknown_encodings_are_not_searched() {
        let message = |encoding| format!("Content-Type: text/plain\nContent-Transfer-Encoding: {encoding}\n\nneedle\n");
        assert!(found("needle", &message("7bit"), Scope::Text));
        assert!(!found("needle", &message("x-uuencode"), Scope::Text));
    }

    #[test]
    fn fields_are_searched_in_normal_form() {
        let mut scratch = Scratch::default();
        let mut has =
            |key: &str, name: &str, value: &str| Key::new(key).unwrap().in_field(name, value.as_bytes(), &mut scratch);
        assert!(has("a b c", "Subject", "a\r\n\tb   C"));
        assert!(has("<ann@x>", "to", "ann@x (Ann)"));
        assert!(has("\"d. f\" <", "From", "D. F <d@x>"));
        assert!(has("müller", "From", "=?utf-8?b?TcO8bGxlcg==?= <m@x>"));
        assert!(!has("x", "Subject", ""));
    }

    #[test]
    fn empty_keys_are_found_nowhere() {
        assert!(Key::new("").is_none());
    }

    #[test]
    fn a_fold_does_not_hide_a_key() {
        assert!(found("two words", "Subject: two\r\n words\r\n\r\n", Scope::Text));
    }
}
