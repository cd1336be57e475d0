//! Sections of a message (`BODY[…]`, RFC 3501 §6.4.5), partial ranges, and CRLF line ends while copying.

use crate::field::{Field, fields};
use crate::part::{Kind, Part, Position, Structure};
use std::ops::Range;

/// What of a part is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Text {
    /// `[]`, `[1.2]`: the message, or the body of a part.
    Whole,
    /// `[HEADER]`, `[1.2.HEADER]`
    Header,
    /// `[HEADER.FIELDS (…)]`
    HeaderFields(Vec<Vec<u8>>),
    /// `[HEADER.FIELDS.NOT (…)]`
    HeaderFieldsNot(Vec<Vec<u8>>),
    /// `[TEXT]`, `[1.2.TEXT]`
    Text,
    /// `[1.2.MIME]`
    Mime,
}

/// A section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// The numbers of parts within parts; empty for the message itself.
    pub path: Vec<u32>,
    /// What of it.
    pub text: Text,
}

/// Where a section stands in the stored message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// Its first byte.
    pub start: u64,
    /// Its size, stored and on the wire.
    pub size: Position,
}

impl Extent {
    fn between(start: Position, end: Position) -> Self {
        Self { start: start.stored, size: end - start }
    }

    /// The bytes in the stored message.
    #[must_use]
    pub fn range(&self) -> Range<u64> {
        self.start..self.start + self.size.stored
    }

    /// Whether all line ends are CRLF already, so that the stored bytes are those on the wire.
    #[must_use]
    pub fn is_wire_format(&self) -> bool {
        self.size.stored == self.size.wire
    }
}

impl Section {
    /// Where the section is; an empty extent if the message has no such part. For `HeaderFields` and `HeaderFieldsNot`
    /// it is the header in which [`select_fields`] or [`reject_fields`] chooses.
    #[must_use]
    pub fn locate(&self, structure: &Structure) -> Extent {
        let Some(part) = self.part(structure) else { return Extent::default() };
        match self.text {
            Text::Whole if self.path.is_empty() => Extent::between(part.start, part.end),
            Text::Whole | Text::Text => Extent::between(part.body, part.end),
            Text::Header | Text::HeaderFields(_) | Text::HeaderFieldsNot(_) | Text::Mime => {
                Extent::between(part.start, part.body)
            }
        }
    }

    /// The part that the section is about: for `HEADER` and `TEXT` with a path, the message in a `message/rfc822`.
    #[must_use]
    pub fn part<'a>(&self, structure: &'a Structure) -> Option<&'a Part> {
        let part = find(structure, &self.path)?;
        if self.path.is_empty() || matches!(self.text, Text::Whole | Text::Mime) {
            return Some(part);
        }
        // A part that is no message has no header or text of its own.
        (part.kind == Kind::Message).then(|| structure.children(part).next()).flatten()
    }
}

/// The part at a path of numbers, counted from 1. What is not a multipart has one part, itself; a path goes through a
/// `message/rfc822` into the message.
#[must_use]
pub fn find<'a>(structure: &'a Structure, path: &[u32]) -> Option<&'a Part> {
    let mut part = structure.root();
    for (at, number) in path.iter().enumerate() {
        let goes_on = at + 1 < path.len();
        if let Kind::Multipart { .. } = part.kind {
            part = structure.children(part).nth((*number as usize).checked_sub(1)?)?;
        } else if *number != 1 || goes_on && part.kind != Kind::Message {
            return None;
        }
        if goes_on && part.kind == Kind::Message {
            part = structure.children(part).next()?;
        }
    }
    Some(part)
}

/// The fields of a header that are named in `names`, in their order and with CRLF line ends, and a blank line.
#[must_use]
pub fn select_fields(header: &[u8], names: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut copy = CrlfCopy::new(0, u64::MAX);
    for field in fields(header).filter(|field| is_named(field, names)) {
        copy.push(field.raw, &mut out);
        if !field.raw.ends_with(b"\n") {
            copy.push(b"\n", &mut out);
        }
    }
    out.extend(b"\r\n");
    out
}

/// A header without the fields that are named in `names`, with CRLF line ends. It ends with a blank line if it has one in
/// the message; that of a part always does, as in Dovecot.
#[must_use]
pub fn reject_fields(header: &[u8], names: &[Vec<u8>], of_part: bool) -> Vec<u8> {
    let mut out = Vec::new();
    let mut copy = CrlfCopy::new(0, u64::MAX);
    let mut length = 0;
    for field in fields(header) {
        length += field.raw.len();
        if !is_named(&field, names) {
            copy.push(field.raw, &mut out);
        }
    }
    let blank_line = &header[length..];
    copy.push(if of_part && blank_line.is_empty() { b"\n" } else { blank_line }, &mut out);
    out
}

fn is_named(field: &Field<'_>, names: &[Vec<u8>]) -> bool {
    names.iter().any(|name| name.eq_ignore_ascii_case(field.name))
}

/// Copies bytes with CRLF line ends, and of them a partial range: the bytes from `skip` on, at most `take`.
///
/// A NUL, which a literal cannot hold, becomes 0x80.
#[derive(Clone, Debug)]
pub struct CrlfCopy {
    skip: u64,
    take: u64,
    after_cr: bool,
}

impl CrlfCopy {
    /// A copy of the range of `take` bytes from `skip`, counted on the wire.
    #[must_use]
    pub fn new(skip: u64, take: u64) -> Self {
        Self { skip, take, after_cr: false }
    }

    /// Whether the range is complete, so that nothing more would be copied.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.take == 0
    }

    /// Appends what of `bytes` is in the range.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let mut rest = bytes;
        while !rest.is_empty() && self.take > 0 {
            let line = memchr::memchr(b'\n', rest).map_or(rest.len(), |end| end);
            let (text, after) = rest.split_at(line);
            self.copy(text, out);
            if let Some(last) = text.last() {
                self.after_cr = *last == b'\r';
            }
            if !after.is_empty() {
                let line_end: &[u8] = if self.after_cr { b"\n" } else { b"\r\n" };
                self.copy(line_end, out);
                self.after_cr = false;
            }
            rest = after.get(1..).unwrap_or_default();
        }
    }

    fn copy(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let skipped = self.skip.min(bytes.len() as u64);
        self.skip -= skipped;
        let bytes = &bytes[skipped as usize..];
        let taken = self.take.min(bytes.len() as u64);
        self.take -= taken;
        let start = out.len();
        out.extend_from_slice(&bytes[..taken as usize]);
        if memchr::memchr(0, &out[start..]).is_some() {
            out[start..].iter_mut().filter(|byte| **byte == 0).for_each(|byte| *byte = 0x80);
        }
    }
}

/// A section of a message that is in memory, with CRLF line ends, limited to the partial range `(first byte, length)`.
#[must_use]
pub fn extract(message: &[u8], structure: &Structure, section: &Section, partial: Option<(u64, u64)>) -> Vec<u8> {
    let (skip, take) = partial.unwrap_or((0, u64::MAX));
    let extent = section.locate(structure).range();
    let stored = message.get(extent.start as usize..extent.end as usize).unwrap_or_default();
    let mut out = Vec::new();
    let mut copy = CrlfCopy::new(skip, take);
    match &section.text {
        _ if section.part(structure).is_none() => {}
        Text::HeaderFields(names) => copy.push(&select_fields(stored, names), &mut out),
        Text::HeaderFieldsNot(names) => copy.push(&reject_fields(stored, names, !section.path.is_empty()), &mut out),
        _ => copy.push(stored, &mut out),
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &str = "Subject: outer\nContent-Type: multipart/mixed; boundary=b\n\npre\n--b\nX: 1\n\none\n--b\n\
        Content-Type: message/rfc822\n\nSubject: inner\nContent-Type: multipart/x; boundary=c\n\n--c\n\ndeep\n--c--\n--b--\n";

    fn get(path: &[u32], text: Text, partial: Option<(u64, u64)>) -> String {
        let structure = Structure::scan(MESSAGE.as_bytes());
        let section = Section { path: path.to_vec(), text };
        String::from_utf8(extract(MESSAGE.as_bytes(), &structure, &section, partial)).unwrap()
    }

    #[test]
    fn sections() {
        let names = |names: &[&str]| names.iter().map(|name| name.as_bytes().to_vec()).collect::<Vec<_>>();
        for (path, text, expected) in [
            (&[][..], Text::Whole, MESSAGE.replace('\n', "\r\n")),
            (&[1], Text::Whole, "one".into()),
            (&[1], Text::Mime, "X: 1\r\n\r\n".into()),
            (&[1, 1], Text::Whole, "one".into()),
            (&[1, 1, 1], Text::Whole, String::new()),
            (&[1], Text::Header, String::new()),
            (&[2], Text::Header, "Subject: inner\r\nContent-Type: multipart/x; boundary=c\r\n\r\n".into()),
            (&[2], Text::HeaderFields(names(&["subject"])), "Subject: inner\r\n\r\n".into()),
            (&[2, 1], Text::Whole, "deep".into()),
            (&[2, 1, 1], Text::Whole, "deep".into()),
            (&[3], Text::Whole, String::new()),
            (&[0], Text::Whole, String::new()),
            (&[], Text::HeaderFieldsNot(names(&["Content-Type"])), "Subject: outer\r\n\r\n".into()),
            (&[], Text::HeaderFields(names(&["none"])), "\r\n".into()),
            (&[1], Text::HeaderFields(names(&["X"])), String::new()),
        ] {
            assert_eq!(get(path, text.clone(), None), expected, "{path:?} {text:?}");
        }
    }

    #[test]
    fn partial_ranges_count_wire_bytes() {
        let whole = MESSAGE.replace('\n', "\r\n");
        for (skip, take) in [(0, 5), (13, 4), (14, 1), (15, 1), (16, 100), (1000, 5), (0, 0)] {
            let end = (skip + take).min(whole.len());
            let expected = whole.get(skip.min(end)..end).unwrap_or_default();
            assert_eq!(get(&[], Text::Whole, Some((skip as u64, take as u64))), expected, "{skip} {take}");
        }
    }

    #[test]
    fn copying_in_pieces_makes_no_difference() {
        let text = b"a\r\nb\nc\r\r\n\n\0d\r";
        let expected = b"a\r\nb\r\nc\r\r\n\r\n\x80d\r";
        for size in 1..text.len() {
            let mut copy = CrlfCopy::new(0, u64::MAX);
            let mut out = Vec::new();
            text.chunks(size).for_each(|piece| copy.push(piece, &mut out));
            assert_eq!(out, expected, "pieces of {size}");
        }
    }
}
