//! The text of a stored message: its header, its structure, and its sections with the CRLF line ends of the wire.

use std::io;
use std::sync::Arc;

use proto_imap::command::{Section, SectionText};
use proto_mime::field::header_length;
use proto_mime::section::{self, CrlfCopy};
use proto_mime::{Scanner, Structure, limits};
use store_mailbox::fs::Fs;
use store_mailbox::mailbox::Content;

/// Bytes that are read of a file at a time.
const PIECE: usize = 64 * 1024;
/// Bytes in which most headers end.
const HEADER: usize = 8 * 1024;
/// Bytes of a message that are searched; what is beyond is not found.
pub const MAX_SEARCHED: u64 = 64 << 20;

/// An open message.
pub struct Text<F: Fs> {
    fs: Arc<F>,
    content: Content<F>,
}

impl<F: Fs> Text<F> {
    /// The message in `content`.
    pub fn new(fs: Arc<F>, content: Content<F>) -> Text<F> {
        Text { fs, content }
    }

    /// Bytes as they are stored.
    pub fn length(&self) -> u64 {
        self.content.length
    }

    /// Fills `buffer` from `offset` on, as far as the message goes. Returns how many bytes there were.
    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = buffer.len().min(self.content.length.saturating_sub(offset) as usize);
        let mut have = 0;
        while have < wanted {
            let at = self.content.offset + offset + have as u64;
            match self.fs.read_at(&self.content.file, &mut buffer[have..wanted], at) {
                Ok(0) => break,
                Ok(n) => have += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(have)
    }

    /// The whole message, of which [`MAX_SEARCHED`] bytes count, in `buffer`.
    pub fn whole<'b>(&self, buffer: &'b mut Vec<u8>) -> io::Result<&'b [u8]> {
        let length = self.content.length.min(MAX_SEARCHED) as usize;
        if buffer.len() < length {
            buffer.resize(length, 0);
        }
        let have = self.read(0, &mut buffer[..length])?;
        Ok(&buffer[..have])
    }

    /// The header with its blank line, at most [`limits::HEADERS`] bytes of it.
    pub fn header(&self) -> io::Result<Vec<u8>> {
        let mut header = vec![0; HEADER];
        loop {
            let have = self.read(0, &mut header)?;
            let ends = header_length(&header[..have]);
            // A header that ends with what was read may go on after it, unless that was the blank line or the end.
            let whole = ends < have || have < header.len() || ends_blank(&header[..ends]);
            if whole || have >= limits::HEADERS {
                header.truncate(ends);
                return Ok(header);
            }
            header.resize(header.len() * 4, 0);
        }
    }

    /// The parts of the message.
    pub fn structure(&self) -> io::Result<Structure> {
        let mut scanner = Scanner::new();
        let mut piece = vec![0; PIECE.min(self.content.length as usize)];
        let mut at = 0;
        while at < self.content.length {
            let have = self.read(at, &mut piece)?;
            if have == 0 {
                break;
            }
            scanner.push(&piece[..have]);
            at += have as u64;
        }
        Ok(scanner.finish())
    }

    /// The section of a message of this structure.
    pub fn section(self, wanted: &Section, structure: &Structure) -> io::Result<Part<F>> {
        let wanted = section::Section { path: wanted.part.clone(), text: section_text(&wanted.text) };
        if wanted.part(structure).is_none() {
            return Ok(Part::Ready(Vec::new()));
        }
        let extent = wanted.locate(structure);
        let of_part = !wanted.path.is_empty();
        match &wanted.text {
            section::Text::HeaderFields(names) => Ok(Part::Ready(section::select_fields(&self.range(extent)?, names))),
            section::Text::HeaderFieldsNot(names) => {
                Ok(Part::Ready(section::reject_fields(&self.range(extent)?, names, of_part)))
            }
            _ => Ok(self.stream(extent.start, extent.size.stored, extent.size.wire)),
        }
    }

    /// A section of the message itself that its header is enough for; `None` for any other.
    pub fn header_section(&self, wanted: &SectionText) -> io::Result<Option<Part<F>>> {
        let ready = match section_text(wanted) {
            section::Text::Header => {
                let mut out = Vec::new();
                CrlfCopy::new(0, u64::MAX).push(&self.header()?, &mut out);
                out
            }
            section::Text::HeaderFields(names) => section::select_fields(&self.header()?, &names),
            section::Text::HeaderFieldsNot(names) => section::reject_fields(&self.header()?, &names, false),
            section::Text::Whole | section::Text::Text | section::Text::Mime => return Ok(None),
        };
        Ok(Some(Part::Ready(ready)))
    }

    /// `stored` bytes from `start`, which are `wire` octets with CRLF line ends.
    pub fn stream(self, start: u64, stored: u64, wire: u64) -> Part<F> {
        Part::Stored(Stream {
            text: self,
            start,
            stored,
            wire,
            next: 0,
            at: 0,
            buffer: Vec::new(),
            copy: CrlfCopy::new(0, u64::MAX),
        })
    }

    /// The bytes of an extent, at most [`limits::HEADERS`] of them.
    fn range(&self, extent: section::Extent) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; extent.size.stored.min(limits::HEADERS as u64) as usize];
        let have = self.read(extent.start, &mut bytes)?;
        bytes.truncate(have);
        Ok(bytes)
    }
}

fn ends_blank(header: &[u8]) -> bool {
    header.ends_with(b"\n\n") || header.ends_with(b"\n\r\n") || matches!(header, b"\n" | b"\r\n")
}

fn section_text(text: &SectionText) -> section::Text {
    let names = |names: &[String]| names.iter().map(|name| name.clone().into_bytes()).collect();
    match text {
        SectionText::Whole => section::Text::Whole,
        SectionText::Header => section::Text::Header,
        SectionText::HeaderFields(fields) => section::Text::HeaderFields(names(fields)),
        SectionText::HeaderFieldsNot(fields) => section::Text::HeaderFieldsNot(names(fields)),
        SectionText::Text => section::Text::Text,
        SectionText::Mime => section::Text::Mime,
    }
}

/// A section that is to be sent.
pub enum Part<F: Fs> {
    /// It is in memory, as it goes out.
    Ready(Vec<u8>),
    /// It is read as it is sent.
    Stored(Stream<F>),
}

/// A part of a file, made to wire form on its way. Read from the front; going back starts over.
pub struct Stream<F: Fs> {
    text: Text<F>,
    start: u64,
    stored: u64,
    wire: u64,
    /// Stored bytes that were read.
    next: u64,
    /// The octet at which `buffer` begins.
    at: u64,
    buffer: Vec<u8>,
    copy: CrlfCopy,
}

impl<F: Fs> Part<F> {
    /// Octets on the wire.
    pub fn length(&self) -> u64 {
        match self {
            Part::Ready(octets) => octets.len() as u64,
            Part::Stored(stream) => stream.wire,
        }
    }

    /// Appends at most `limit` octets from `offset` on.
    pub fn read(&mut self, offset: u64, limit: usize, out: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Part::Ready(octets) => {
                let rest = octets.get(offset as usize..).unwrap_or_default();
                out.extend_from_slice(&rest[..rest.len().min(limit)]);
                Ok(())
            }
            Part::Stored(stream) => stream.read(offset, limit, out),
        }
    }
}

impl<F: Fs> Stream<F> {
    fn read(&mut self, offset: u64, limit: usize, out: &mut Vec<u8>) -> io::Result<()> {
        if offset < self.at {
            (self.next, self.at, self.copy) = (0, 0, CrlfCopy::new(0, u64::MAX));
            self.buffer.clear();
        }
        while self.at + self.buffer.len() as u64 <= offset {
            self.fill()?;
        }
        let rest = &self.buffer[(offset - self.at) as usize..];
        out.extend_from_slice(&rest[..rest.len().min(limit)]);
        Ok(())
    }

    /// Replaces the buffer by what comes next.
    fn fill(&mut self) -> io::Result<()> {
        let mut piece = vec![0; (self.stored - self.next).min(PIECE as u64) as usize];
        let have = self.text.read(self.start + self.next, &mut piece)?;
        if have == 0 {
            // The file is shorter than it was, or its recorded size is wrong.
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.next += have as u64;
        self.at += self.buffer.len() as u64;
        self.buffer.clear();
        self.copy.push(&piece[..have], &mut self.buffer);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use store_mailbox::fs::model::ModelFs;

    fn text(content: &[u8]) -> Text<ModelFs> {
        let fs = ModelFs::new();
        let file = fs.create(&fs.root(), b"m", 0o600).unwrap();
        fs.append(&file, content).unwrap();
        Text::new(Arc::new(fs), Content { file, offset: 0, length: content.len() as u64 })
    }

    fn read_all(part: &mut Part<ModelFs>, from: u64, limit: usize) -> Vec<u8> {
        let mut out = Vec::new();
        while from + (out.len() as u64) < part.length() {
            let at = from + out.len() as u64;
            part.read(at, limit, &mut out).unwrap();
        }
        out
    }

    #[test]
    fn sections_in_pieces_are_the_sections_at_once() {
        let mut message = b"Subject: x\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\n".to_vec();
        for n in 0..20_000 {
            message.extend_from_slice(format!("line {n}{}", if n % 3 == 0 { "\r\n" } else { "\n" }).as_bytes());
        }
        message.extend_from_slice(b"\n--b--\n");
        let structure = text(&message).structure().unwrap();
        assert_eq!(structure, Structure::scan(&message));
        for part in [vec![], vec![1]] {
            let wanted = Section { part: part.clone(), text: SectionText::Whole };
            let section = section::Section { path: part, text: section::Text::Whole };
            let whole = section::extract(&message, &structure, &section, None);
            for (from, limit) in [(0, 1 << 20), (0, 1000), (7, 333), (whole.len() as u64 - 3, 1), (70_001, 65_536)] {
                let mut part = text(&message).section(&wanted, &structure).unwrap();
                assert_eq!(part.length(), whole.len() as u64);
                assert_eq!(read_all(&mut part, from, limit), &whole[from as usize..], "{from} {limit}");
                // Going back starts over.
                assert_eq!(read_all(&mut part, 0, 5000), whole);
            }
        }
    }

    #[test]
    fn headers_of_every_size_are_found() {
        for lines in [0, 1, 80, 81, 82, 83, 1000] {
            let header = format!(
                "{}\n",
                "X-Long: 0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890\n"
                    .repeat(lines)
            );
            let message = format!("{header}body\n\nmore\n");
            assert_eq!(text(message.as_bytes()).header().unwrap(), header.as_bytes(), "{lines}");
        }
        assert_eq!(text(b"A: b").header().unwrap(), b"A: b");
        assert_eq!(text(b"").header().unwrap(), b"");
    }

    #[test]
    fn a_file_that_ends_early_is_an_error() {
        let mut part = text(b"abc").stream(0, 10, 10);
        let mut out = Vec::new();
        part.read(0, 100, &mut out).unwrap();
        assert_eq!(out, b"abc");
        assert!(part.read(3, 100, &mut out).is_err());
    }
}
