//! The parts of a message, and where they are.

use crate::content::Content;
use crate::envelope::Envelope;
use std::ops::{Add, Range, Sub};

/// A place in a message, or a distance between two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Bytes as the message is stored.
    pub stored: u64,
    /// Bytes with every line end as CRLF: what IMAP counts.
    pub wire: u64,
    /// Line ends.
    pub lines: u64,
}

impl Add for Position {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { stored: self.stored + other.stored, wire: self.wire + other.wire, lines: self.lines + other.lines }
    }
}

impl Sub for Position {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self { stored: self.stored - other.stored, wire: self.wire - other.wire, lines: self.lines - other.lines }
    }
}

/// The number of a part in its [`Structure`]; parts are in the order in which they begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PartId(pub(crate) u32);

/// What is in the body of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text: `text/…`, or no type given.
    Text,
    /// Anything else that has no parts.
    Other,
    /// `multipart/…`. It may still have no parts.
    Multipart {
        /// The parts are messages where they do not say otherwise.
        digest: bool,
    },
    /// `message/rfc822`: the one part in it is the message.
    Message,
}

/// A part of a message: the message itself, a part of a multipart, or the message in a `message/rfc822`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The part that this one is in.
    pub parent: Option<PartId>,
    /// The parts directly in this one.
    pub children: Vec<PartId>,
    /// What is in it.
    pub kind: Kind,
    /// Where its header starts.
    pub start: Position,
    /// Where its body starts, after the blank line.
    pub body: Position,
    /// Where it ends; the line end before a boundary belongs to the boundary.
    pub end: Position,
    /// Its `Content-…` fields.
    pub content: Content,
    /// The envelope of a message in a `message/rfc822`. (That of the outermost message is read from its header.)
    pub envelope: Option<Box<Envelope>>,
}

impl Part {
    /// The size of the header, blank line included.
    #[must_use]
    pub fn header_size(&self) -> Position {
        self.body - self.start
    }

    /// The size of the body, with all parts in it.
    #[must_use]
    pub fn body_size(&self) -> Position {
        self.end - self.body
    }

    /// The bytes of the header in the stored message.
    #[must_use]
    pub fn header_range(&self) -> Range<u64> {
        self.start.stored..self.body.stored
    }

    /// The bytes of the body in the stored message.
    #[must_use]
    pub fn body_range(&self) -> Range<u64> {
        self.body.stored..self.end.stored
    }
}

/// The tree of the parts of a message. There is always the message itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Structure {
    pub(crate) parts: Vec<Part>,
}

impl Structure {
    /// Scans a message that is in memory. [`crate::Scanner`] does the same in pieces.
    #[must_use]
    pub fn scan(message: &[u8]) -> Self {
        let mut scanner = crate::Scanner::new();
        scanner.push(message);
        scanner.finish()
    }

    /// The message itself.
    #[must_use]
    pub fn root(&self) -> &Part {
        &self.parts[0]
    }

    /// A part.
    #[must_use]
    pub fn part(&self, id: PartId) -> &Part {
        &self.parts[id.0 as usize]
    }

    /// All parts, in the order in which they begin.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The parts directly in a part.
    pub fn children<'a>(&'a self, part: &'a Part) -> impl Iterator<Item = &'a Part> {
        part.children.iter().map(|id| self.part(*id))
    }
}
