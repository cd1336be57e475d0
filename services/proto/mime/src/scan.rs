//! Finds the parts of a message (RFC 2046 §5) as its bytes come in.
//!
//! The scanner goes from line to line. Of a line in a body it looks at the first bytes alone, to see whether it is a
//! boundary; a line in a header is kept until its field is complete. At any time it holds one field, the boundaries of the
//! multiparts that are open, and the tree.
//!
//! Where a message breaks the rules, the tree is what Dovecot makes of it: a line is a boundary when it *starts* with
//! one, the longest that fits counts; a boundary of an outer multipart ends all that is in it, in a header as well; the
//! line end before a boundary belongs to the boundary; a boundary with a line end after it opens a part even at the end
//! of the message.

use crate::content::Content;
use crate::field::{Field, is_blank, is_blank_line, without_line_end};
use crate::limits;
use crate::part::{Kind, Part, PartId, Position, Structure};
use memchr::memchr;

/// As much of a line as says whether it is a boundary, and of which kind: dashes, boundary, dashes, and whether it goes on.
const PREFIX: usize = 2 + limits::BOUNDARY + 2 + 1;

/// Scans a message.
#[derive(Debug)]
pub struct Scanner {
    parts: Vec<Part>,
    /// The part that the next line is in.
    current: PartId,
    /// Parts around the current one.
    depth: usize,
    state: State,
    /// The boundaries of the open multiparts, the innermost last.
    boundaries: Vec<Boundary>,
    /// Where the next line starts.
    here: Position,
    /// Where the line end before it is.
    before_line_end: Position,
    /// In a body: nothing but a header or a boundary line came before the next line.
    fresh: bool,
    /// The start of a line that has not ended yet; in a header all of it, as far as it is kept.
    partial: Vec<u8>,
    /// Bytes of that line, kept or not.
    partial_length: u64,
    last_byte: u8,
    header: Header,
    /// Bytes of header fields that were kept so far.
    kept: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Header,
    Body,
}

#[derive(Debug)]
struct Boundary {
    text: Vec<u8>,
    part: PartId,
}

/// What was read of the header of the current part.
#[derive(Debug, Default)]
struct Header {
    /// The field that may still be continued.
    field: Vec<u8>,
    any_line: bool,
    /// Its blank line was read. The header ends with the next line, because a boundary there takes the blank line away.
    ended: bool,
    is_mime: bool,
    kind: Option<Kind>,
    boundary: Option<Vec<u8>>,
}

impl Default for Scanner {
    fn default() -> Self {
        Self::new()
    }
}

impl Scanner {
    /// A scanner at the start of a message.
    #[must_use]
    pub fn new() -> Self {
        let here = Position::default();
        Self {
            parts: vec![new_part(None, here)],
            current: PartId(0),
            depth: 0,
            state: State::Header,
            boundaries: Vec::new(),
            here,
            before_line_end: here,
            fresh: true,
            partial: Vec::new(),
            partial_length: 0,
            last_byte: 0,
            header: Header::default(),
            kept: 0,
        }
    }

    /// Takes in the next bytes.
    pub fn push(&mut self, mut bytes: &[u8]) {
        while let Some(end) = memchr(b'\n', bytes) {
            let (line, rest) = bytes.split_at(end + 1);
            bytes = rest;
            if self.partial_length == 0 {
                self.line(line, line.len() as u64);
            } else {
                self.keep(line);
                let line = std::mem::take(&mut self.partial);
                self.line(&line, self.partial_length);
                self.partial_length = 0;
                self.partial = line;
                self.partial.clear();
            }
            self.last_byte = b'\n';
        }
        if !bytes.is_empty() {
            self.keep(bytes);
        }
    }

    /// Ends the message.
    #[must_use]
    pub fn finish(mut self) -> Structure {
        if self.partial_length > 0 {
            let line = std::mem::take(&mut self.partial);
            self.line(&line, self.partial_length);
        }
        while self.state == State::Header {
            self.end_header(self.here);
        }
        self.close_parts(None, self.here);
        Structure { parts: self.parts }
    }

    /// Adds to the line that has not ended yet.
    fn keep(&mut self, bytes: &[u8]) {
        let limit = if self.state == State::Header { limits::FIELD } else { PREFIX };
        let room = limit.saturating_sub(self.partial.len()).min(bytes.len());
        self.partial.extend_from_slice(&bytes[..room]);
        self.partial_length += bytes.len() as u64;
        // Of a line that is not kept whole, the line end is.
        if room < bytes.len() && bytes.ends_with(b"\n") {
            let crlf = bytes.ends_with(b"\r\n") || bytes.len() == 1 && self.last_byte == b'\r';
            self.partial.extend_from_slice(if crlf { b"\r\n" } else { b"\n" });
        }
        self.last_byte = bytes[bytes.len() - 1];
    }

    /// One line, with its line end if it has one. `length` is its whole length where `line` is only its start and its line
    /// end.
    fn line(&mut self, line: &[u8], length: u64) {
        let start = self.here;
        let ended = line.ends_with(b"\n");
        let crlf = line.ends_with(b"\r\n");
        self.here.stored += length;
        self.here.wire += length + u64::from(ended && !crlf);
        self.here.lines += u64::from(ended);
        self.line_in_state(line, start);
        if ended {
            let line_end = Position { stored: if crlf { 2 } else { 1 }, wire: 2, lines: 1 };
            self.before_line_end = self.here - line_end;
        }
    }

    fn line_in_state(&mut self, line: &[u8], start: Position) {
        match self.state {
            State::Header => self.header_line(line, start),
            State::Body => self.body_line(line, start),
        }
    }

    fn body_line(&mut self, line: &[u8], start: Position) {
        match self.boundary(line) {
            Some(found) => {
                let end = if self.fresh { start } else { self.before_line_end };
                self.boundary_line(line, found, end);
            }
            None => self.fresh = false,
        }
    }

    /// The place in `boundaries` of the boundary that the line starts with.
    fn boundary(&self, line: &[u8]) -> Option<usize> {
        if !line.starts_with(b"--") || self.parts.len() >= limits::PARTS {
            return None;
        }
        let text = without_line_end(&line[2..]);
        let dashes = text.len() > 2 && text.ends_with(b"--");
        let mut best: Option<usize> = None;
        for (at, boundary) in self.boundaries.iter().enumerate().rev() {
            let length = boundary.text.len();
            if text.starts_with(&boundary.text) && best.is_none_or(|best| self.boundaries[best].text.len() < length) {
                best = Some(at);
                if length == text.len() || dashes && length == text.len() - 2 {
                    break;
                }
            }
        }
        best
    }

    /// Ends the parts in the multipart whose boundary this is, and opens the next part or the epilogue.
    fn boundary_line(&mut self, line: &[u8], found: usize, end: Position) {
        let Boundary { text, part } = &self.boundaries[found];
        let (part, last) = (*part, line[2..].get(text.len()..).is_some_and(|rest| rest.starts_with(b"--")));
        self.close_parts(Some(part), end);
        self.boundaries.truncate(if last { found } else { found + 1 });
        self.state = State::Body;
        self.fresh = true;
        if line.ends_with(b"\n") && !last {
            self.open_part(self.here);
        }
    }

    fn header_line(&mut self, line: &[u8], start: Position) {
        let blank = is_blank_line(line) && !self.header.ended;
        if blank {
            self.end_field();
            self.open_multipart();
        }
        if let Some(found) = self.boundary(line).filter(|found| self.boundaries[*found].part != self.current) {
            return self.boundary_in_header(line, found, start);
        }
        if self.header.ended {
            self.end_header(start);
            return self.line_in_state(line, start);
        }
        self.header.any_line = true;
        self.header.ended = blank;
        if blank {
            return;
        }
        if !line.first().copied().is_some_and(is_blank) || self.header.field.is_empty() {
            self.end_field();
        }
        let room =
            limits::FIELD.saturating_sub(self.header.field.len()).min(limits::HEADERS - self.kept).min(line.len());
        self.header.field.extend_from_slice(&line[..room]);
        self.kept += room;
    }

    /// A boundary of a multipart around this part stands where a field should.
    fn boundary_in_header(&mut self, line: &[u8], found: usize, start: Position) {
        // The line end before a boundary is not the part's; after a boundary line there is none to give.
        let end = if self.header.any_line { self.before_line_end } else { start };
        let cut_short = self.current;
        while self.state == State::Header {
            self.end_header(end);
        }
        self.close_parts(self.part(cut_short).parent, end);
        self.boundary_line(line, found, start);
    }

    /// Parses the field that is complete now.
    fn end_field(&mut self) {
        let raw = std::mem::take(&mut self.header.field);
        if raw.is_empty() {
            return;
        }
        let field = Field::parse(&raw);
        let current = &self.parts[self.current.0 as usize];
        let parent_is_message = current.parent.is_some_and(|id| self.part(id).kind == Kind::Message);
        let part = &mut self.parts[self.current.0 as usize];
        part.content.add(&field);
        if parent_is_message {
            part.envelope.get_or_insert_default().add(&field);
        }
        if field.is("MIME-Version") {
            self.header.is_mime = true;
        } else if field.is("Content-Type") {
            self.header.is_mime = true;
            if self.header.kind.is_none() {
                self.header.kind = Some(kind(&part.content));
                self.header.boundary = boundary_parameter(&part.content);
            }
        }
    }

    /// Opens the multipart whose header ends now, if it is one and not too deep.
    fn open_multipart(&mut self) {
        let Some(text) = self.header.boundary.take() else { return };
        if self.too_deep() {
            self.header.kind = Some(Kind::Other);
        } else {
            self.boundaries.push(Boundary { text, part: self.current });
        }
    }

    fn too_deep(&self) -> bool {
        self.depth + 1 >= limits::DEPTH
    }

    /// Ends the header; the body of the part starts at `body`.
    fn end_header(&mut self, body: Position) {
        self.end_field();
        let header = std::mem::take(&mut self.header);
        let parent = self.part(self.current).parent;
        let in_digest = parent.is_some_and(|id| self.part(id).kind == Kind::Multipart { digest: true });
        let mut kind = header.kind.unwrap_or(if in_digest { Kind::Message } else { Kind::Text });
        let opens = kind == Kind::Message && !self.too_deep() && self.parts.len() < limits::PARTS;
        if kind == Kind::Message && !opens {
            kind = Kind::Other;
        }
        let part = &mut self.parts[self.current.0 as usize];
        part.kind = kind;
        part.body = body;
        if !header.is_mime {
            // Content fields mean nothing in a message that does not say that it is MIME.
            part.content = Content::default();
        }
        if opens {
            self.open_part(body);
        } else {
            self.state = State::Body;
            self.fresh = true;
        }
    }

    fn open_part(&mut self, start: Position) {
        let id = PartId(self.parts.len() as u32);
        let parent = self.current;
        self.parts[parent.0 as usize].children.push(id);
        let mut part = new_part(Some(parent), start);
        // The message in a message always has an envelope, if an empty one.
        let in_message = self.part(parent).kind == Kind::Message;
        part.envelope = in_message.then(Box::default);
        self.parts.push(part);
        self.current = id;
        self.depth += 1;
        self.state = State::Header;
        // A part of a multipart is MIME without saying so.
        self.header = Header { is_mime: !in_message, ..Header::default() };
    }

    /// Ends the current part and those around it at `end`, up to `until`, which stays open; all of them if that is `None`.
    fn close_parts(&mut self, until: Option<PartId>, end: Position) {
        while until != Some(self.current) {
            let part = &mut self.parts[self.current.0 as usize];
            part.end = end;
            let Some(parent) = part.parent else { return };
            self.current = parent;
            self.depth -= 1;
        }
    }

    fn part(&self, id: PartId) -> &Part {
        &self.parts[id.0 as usize]
    }
}

fn new_part(parent: Option<PartId>, start: Position) -> Part {
    Part {
        parent,
        children: Vec::new(),
        kind: Kind::Text,
        start,
        body: start,
        end: start,
        content: Content::default(),
        envelope: None,
    }
}

fn kind(content: &Content) -> Kind {
    let Some(media_type) = &content.media_type else { return Kind::Other };
    let main = media_type.main.to_ascii_lowercase();
    match main.as_slice() {
        b"text" => Kind::Text,
        b"multipart" if !media_type.sub.is_empty() => {
            Kind::Multipart { digest: media_type.sub.eq_ignore_ascii_case(b"digest") }
        }
        b"message" if media_type.sub.eq_ignore_ascii_case(b"rfc822") => Kind::Message,
        _ => Kind::Other,
    }
}

/// The boundary of a multipart, as far as it is compared.
fn boundary_parameter(content: &Content) -> Option<Vec<u8>> {
    let Kind::Multipart { .. } = kind(content) else { return None };
    let boundary = content.parameter("boundary")?;
    Some(boundary[..boundary.len().min(limits::BOUNDARY)].to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One line for each part: depth, kind, and stored and wire sizes with line counts of header and body.
    fn shown(message: &[u8]) -> Vec<String> {
        let structure = Structure::scan(message);
        let depth = |part: &Part| std::iter::successors(part.parent, |id| structure.part(*id).parent).count();
        let size = |p: Position| format!("{}/{}/{}", p.stored, p.wire, p.lines);
        let name = |kind| match kind {
            Kind::Text => "text",
            Kind::Other => "other",
            Kind::Multipart { .. } => "multipart",
            Kind::Message => "message",
        };
        structure
            .parts()
            .iter()
            .map(|p| format!("{} {} {} {}", depth(p), name(p.kind), size(p.header_size()), size(p.body_size())))
            .collect()
    }

    const MIXED: &str = "Content-Type: multipart/mixed; boundary=b\n\npreamble\n--b\n\none\n--b\nContent-Type: image/x\n\ntwo\n\n--b--\nepilogue\n";

    #[test]
    fn multiparts() {
        assert_eq!(
            shown(MIXED.as_bytes()),
            ["0 multipart 43/45/2 65/76/11", "1 text 1/2/1 3/3/0", "1 other 23/25/2 4/5/1"]
        );
        let crlf = MIXED.replace('\n', "\r\n");
        assert_eq!(
            shown(crlf.as_bytes()),
            ["0 multipart 45/45/2 76/76/11", "1 text 2/2/1 3/3/0", "1 other 25/25/2 5/5/1"]
        );
    }

    #[test]
    fn messages_in_messages() {
        let inner = "Subject: x\n\nbody\n";
        let outer = format!("Content-Type: message/rfc822\n\n{inner}");
        assert_eq!(shown(outer.as_bytes()), ["0 message 30/32/2 17/20/3", "1 text 12/14/2 5/6/1"]);
    }

    #[test]
    fn odd_ends() {
        for (message, expected) in [
            ("", vec!["0 text 0/0/0 0/0/0"]),
            ("a", vec!["0 text 1/1/0 0/0/0"]),
            ("\n", vec!["0 text 1/2/1 0/0/0"]),
            ("Content-Type: multipart/x; boundary=b\n\n--b", vec!["0 multipart 39/41/2 3/3/0"]),
            ("Content-Type: multipart/x; boundary=b\n\n--b\n", vec!["0 multipart 39/41/2 4/5/1", "1 text 0/0/0 0/0/0"]),
            (
                "Content-Type: multipart/x; boundary=b\n\n--b\nA: b\n--b--\n",
                vec!["0 multipart 39/41/2 15/18/3", "1 text 4/4/0 0/0/0"],
            ),
            ("Content-Type: message/rfc822\n", vec!["0 message 29/30/1 0/0/0", "1 text 0/0/0 0/0/0"]),
        ] {
            assert_eq!(shown(message.as_bytes()), expected, "{message:?}");
        }
    }

    #[test]
    fn pieces_make_no_difference() {
        let nested = format!(
            "Content-Type: multipart/mixed;\r\n boundary=\"outer\"\r\n\r\n--outer\r\nContent-Type: message/rfc822\r\n\r\n{MIXED}--outer--\r\nend\r"
        );
        for message in [MIXED.as_bytes(), nested.as_bytes()] {
            let whole = Structure::scan(message);
            for size in 1..40 {
                let mut scanner = Scanner::new();
                message.chunks(size).for_each(|piece| scanner.push(piece));
                assert_eq!(scanner.finish(), whole, "pieces of {size}");
            }
        }
    }

    #[test]
    fn depth_is_limited() {
        let message = "Content-Type: message/rfc822\n\n".repeat(limits::DEPTH + 20);
        let structure = Structure::scan(message.as_bytes());
        assert_eq!(structure.parts().len(), limits::DEPTH);
        assert_eq!(structure.parts().last().unwrap().kind, Kind::Other);
        let nested: String = (0..limits::DEPTH + 20)
            .map(|n| format!("Content-Type: multipart/mixed; boundary=b{n}x\n\n--b{n}x\n"))
            .collect();
        assert_eq!(Structure::scan(nested.as_bytes()).parts().len(), limits::DEPTH);
    }

    #[test]
    fn number_of_parts_is_limited() {
        let message = format!("Content-Type: multipart/mixed; boundary=b\n\n{}", "--b\n".repeat(limits::PARTS + 5));
        assert_eq!(Structure::scan(message.as_bytes()).parts().len(), limits::PARTS);
    }

    #[test]
    fn what_is_kept_of_headers_is_limited() {
        let field = format!("Content-Description: {}\n", "x".repeat(limits::FIELD));
        let part = format!("--b\n{field}\n\n");
        let count = 2 * limits::HEADERS / field.len();
        let mut scanner = Scanner::new();
        scanner.push(b"Content-Type: multipart/mixed; boundary=b\n\n");
        (0..count).for_each(|_| scanner.push(part.as_bytes()));
        let structure = scanner.finish();
        assert_eq!(structure.parts().len(), count + 1);
        let kept: usize = structure.parts().iter().filter_map(|p| p.content.description.as_ref()).map(Vec::len).sum();
        assert!(kept <= limits::HEADERS, "{kept}");
    }
}
