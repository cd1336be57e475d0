//! Header fields (RFC 5322 §2.2), and the forgiving of what is not quite one.
//!
//! ```text
//! fields     = *(field) [blank-line]
//! field      = name *WSP ":" *WSP value line-end *(WSP value line-end)
//! line-end   = LF / CRLF
//! ```

use crate::limits;
use memchr::{memchr, memchr_iter};

/// A header field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// The name without white space before the colon; empty for a line without a colon.
    pub name: &'a [u8],
    /// The value without the white space before it and the last line end. Folds are still in it.
    pub value: &'a [u8],
    /// The whole field with its last line end.
    pub raw: &'a [u8],
}

impl<'a> Field<'a> {
    /// Takes a field apart.
    #[must_use]
    pub fn parse(raw: &'a [u8]) -> Self {
        let text = without_line_end(raw);
        let first_line = memchr(b'\n', text).map_or(text, |end| &text[..end]);
        let Some(colon) = memchr(b':', first_line) else { return Self { name: b"", value: text, raw } };
        let name = trim_end(&text[..colon]);
        if name.len() > limits::FIELD_NAME {
            return Self { name: b"", value: text, raw };
        }
        let first = without_line_end(&first_line[colon + 1..]);
        let blanks = first.iter().take_while(|byte| is_blank(**byte)).count();
        // A first line of nothing but white space keeps it, less one.
        let skip = if blanks == first.len() { blanks.min(1) } else { blanks };
        Self { name, value: &text[colon + 1 + skip..], raw }
    }

    /// Whether the field has this name, in any case.
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }
}

/// The fields of a header, up to the blank line that ends it or the end of the bytes.
#[must_use]
pub fn fields(header: &[u8]) -> Fields<'_> {
    Fields { rest: header }
}

/// Iterator over the fields of a header.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() || is_blank_line(self.rest) {
            return None;
        }
        let end = memchr_iter(b'\n', self.rest)
            .map(|at| at + 1)
            .find(|next| !self.rest.get(*next).copied().is_some_and(is_blank))
            .unwrap_or(self.rest.len());
        let (raw, rest) = self.rest.split_at(end);
        self.rest = rest;
        Some(Field::parse(raw))
    }
}

/// The length of the header of a message, its blank line included.
#[must_use]
pub fn header_length(message: &[u8]) -> usize {
    let mut start = 0;
    for end in memchr_iter(b'\n', message) {
        if is_blank_line(&message[start..=end]) {
            return end + 1;
        }
        start = end + 1;
    }
    message.len()
}

/// Removes folds: line ends go, the white space after them stays.
#[must_use]
pub fn unfold(value: &[u8]) -> Vec<u8> {
    value.iter().copied().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect()
}

/// Space or tab.
pub(crate) fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Whether the text starts with an empty line.
pub(crate) fn is_blank_line(text: &[u8]) -> bool {
    text.starts_with(b"\n") || text.starts_with(b"\r\n")
}

pub(crate) fn without_line_end(line: &[u8]) -> &[u8] {
    match line {
        [text @ .., b'\r', b'\n'] | [text @ .., b'\n'] => text,
        _ => line,
    }
}

fn trim_end(name: &[u8]) -> &[u8] {
    let kept = name.iter().rposition(|byte| !is_blank(*byte)).map_or(0, |last| last + 1);
    &name[..kept]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(header: &str) -> Vec<(String, String)> {
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        fields(header.as_bytes()).map(|field| (text(field.name), text(field.value))).collect()
    }

    #[test]
    fn fields_table() {
        for (header, expected) in [
            ("A: b\r\nC:d\r\n\r\nE: f\r\n", vec![("A", "b"), ("C", "d")]),
            ("A: b\n c\n\td\nE \t:f\n\nbody", vec![("A", "b\n c\n\td"), ("E", "f")]),
            ("A:\r\n b\r\n", vec![("A", "\r\n b")]),
            ("A:   \r\n", vec![("A", "  ")]),
            ("no colon\nB: c", vec![("", "no colon"), ("B", "c")]),
            (" lead: x\nB: c\n", vec![(" lead", "x"), ("B", "c")]),
            ("A: b\n \nC: d\n", vec![("A", "b\n "), ("C", "d")]),
            ("", vec![]),
            ("\nA: b\n", vec![]),
            (": v\n", vec![("", "v")]),
        ] {
            let expected: Vec<_> = expected.into_iter().map(|(a, b)| (a.to_owned(), b.to_owned())).collect();
            assert_eq!(pairs(header), expected, "{header:?}");
        }
    }

    #[test]
    fn header_lengths() {
        for (message, length) in [("A: b\n\nx", 6), ("A: b\r\n\r\nx", 8), ("\nx", 1), ("A: b\n", 5), ("", 0)] {
            assert_eq!(header_length(message.as_bytes()), length, "{message:?}");
        }
    }

    #[test]
    fn overlong_names_are_no_names() {
        let fits = "n".repeat(limits::FIELD_NAME);
        assert_eq!(Field::parse(format!("{fits}: v").as_bytes()).name.len(), limits::FIELD_NAME);
        assert_eq!(Field::parse(format!("{fits}n: v").as_bytes()).name, b"");
    }
}
