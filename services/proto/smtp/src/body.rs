//! Message content on the wire: dots and CRLF outside, lines that end in LF inside.
//!
//! [`Decoder`] is the receiving side of DATA (dots) and BDAT (no dots), [`Encoder`] the sending side of DATA. Both work
//! on pieces of any size and keep a few bytes of state, never content.
//!
//! The security of the decoder is its end: with [`Newlines::Normalize`] and [`Newlines::Reject`] only CRLF "." CRLF ends
//! DATA, as no two programs agree about other ends (SMTP smuggling).

use std::num::NonZeroUsize;

use memchr::memchr;

/// `smtpd_forbid_bare_newline`: what to make of a LF without CR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Newlines {
    /// `no`: it ends a line like CRLF, the dot line included.
    Accept,
    /// `normalize`: it ends a line, but a dot line needs CRLF before and after; others are dropped.
    Normalize,
    /// `reject`: as `normalize`, and the decoder reports it, so that the message can be refused.
    Reject,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Position {
    LineStart,
    /// After a dot at the start of a line.
    Dot,
    /// After that dot and a CR.
    DotCr,
    Inside,
}

/// Turns the content of DATA or BDAT into lines that end in LF.
#[derive(Debug)]
pub struct Decoder {
    dots: bool,
    newlines: Newlines,
    position: Position,
    /// CRs that may belong to a line end.
    held: usize,
    /// The line before ended in a bare LF.
    after_bare: bool,
    saw_bare: bool,
    lines: u64,
    bytes: u64,
}

impl Decoder {
    /// For DATA: a dot at the start of a line is removed, a line of one dot ends the content.
    pub fn data(newlines: Newlines) -> Self {
        Self::new(true, newlines)
    }

    /// For BDAT: dots mean nothing and the chunk sizes say where the content ends.
    pub fn chunks(newlines: Newlines) -> Self {
        Self::new(false, newlines)
    }

    fn new(dots: bool, newlines: Newlines) -> Self {
        let position = Position::LineStart;
        Self { dots, newlines, position, held: 0, after_bare: false, saw_bare: false, lines: 0, bytes: 0 }
    }

    /// The size so far as Postfix counts it: the text of each line, and two for its end.
    pub fn size(&self) -> u64 {
        self.bytes + 2 * self.lines
    }

    /// Whether there was a LF without CR.
    pub fn saw_bare_newline(&self) -> bool {
        self.saw_bare
    }

    /// Decodes `input` into `out`. Returns how many bytes were used and whether the end was found; the bytes after the
    /// end are the next command's.
    pub fn decode(&mut self, input: &[u8], out: &mut Vec<u8>) -> (usize, bool) {
        out.reserve(input.len() + 4);
        let before = out.len() as u64;
        let lines = self.lines;
        let mut at = 0;
        let mut ended = false;
        while at < input.len() && !ended {
            match self.position {
                Position::LineStart if self.dots && input[at] == b'.' => {
                    self.position = Position::Dot;
                    at += 1;
                }
                Position::LineStart | Position::Inside => at += self.decode_line(&input[at..], out),
                Position::Dot | Position::DotCr => {
                    let (used, end) = self.decode_dot(input[at]);
                    at += used;
                    ended = end;
                }
            }
        }
        self.bytes += out.len() as u64 - before - (self.lines - lines);
        (at, ended)
    }

    /// Ends the content of BDAT: a last line without line end gets one.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        if self.position != Position::LineStart || self.held > 0 {
            self.bytes += self.held as u64;
            self.flush_held(out);
            self.end_line(out);
        }
    }

    /// Decodes up to the end of the line or of the input, and returns how many bytes that took.
    fn decode_line(&mut self, input: &[u8], out: &mut Vec<u8>) -> usize {
        let newline = memchr(b'\n', input);
        let text = &input[..newline.unwrap_or(input.len())];
        let kept = text.iter().rposition(|&byte| byte != b'\r').map_or(0, |last| last + 1);
        if kept > 0 {
            self.flush_held(out);
            out.extend_from_slice(&text[..kept]);
        }
        self.held += text.len() - kept;
        let Some(newline) = newline else {
            self.position = Position::Inside;
            // Only the last CR can belong to the line end, unless all of them are dropped.
            if self.newlines != Newlines::Accept && self.held > 1 {
                out.resize(out.len() + self.held - 1, b'\r');
                self.held = 1;
            }
            return input.len();
        };
        self.note_line_end(self.held == 0);
        if self.newlines == Newlines::Accept {
            self.held = 0;
        } else {
            self.held = self.held.saturating_sub(1);
            self.flush_held(out);
        }
        self.end_line(out);
        newline + 1
    }

    /// One byte after the dot of a line that so far is a dot alone. Returns whether it was used, and whether the
    /// content ends here.
    fn decode_dot(&mut self, byte: u8) -> (usize, bool) {
        match (self.position, byte) {
            (Position::Dot, b'\r') => {
                self.position = Position::DotCr;
                (1, false)
            }
            (_, b'\n') => {
                let bare = self.position == Position::Dot;
                let strict = self.newlines != Newlines::Accept;
                let ends = !(strict && (bare || self.after_bare));
                self.note_line_end(bare);
                self.position = Position::LineStart;
                (1, ends)
            }
            // The dot was for transparency; what follows it is text.
            (position, _) => {
                self.held = usize::from(position == Position::DotCr);
                self.position = Position::Inside;
                (0, false)
            }
        }
    }

    fn note_line_end(&mut self, bare: bool) {
        self.after_bare = bare;
        self.saw_bare |= bare;
    }

    fn end_line(&mut self, out: &mut Vec<u8>) {
        out.push(b'\n');
        self.lines += 1;
        self.position = Position::LineStart;
    }

    fn flush_held(&mut self, out: &mut Vec<u8>) {
        out.resize(out.len() + self.held, b'\r');
        self.held = 0;
    }
}

/// Turns lines that end in LF into the content of DATA.
#[derive(Debug)]
pub struct Encoder {
    /// Octets of the line so far, the doubled dot not counted.
    column: usize,
    line_limit: usize,
}

impl Encoder {
    /// At the start of a message. Lines of more than `line_limit` octets are broken (`smtp_line_length_limit`).
    pub fn new(line_limit: Option<NonZeroUsize>) -> Self {
        // A continued line holds the space that it begins with and something of the text.
        Self { column: 0, line_limit: line_limit.map_or(usize::MAX, |limit| limit.get().max(2)) }
    }

    /// Encodes `input` into `out`: each LF becomes CRLF, a dot at the start of a line is doubled, and a line that is too long
    /// goes on after CRLF and a space.
    pub fn encode(&mut self, mut input: &[u8], out: &mut Vec<u8>) {
        out.reserve(input.len() + input.len() / 16 + 4);
        while let Some(&first) = input.first() {
            if self.column == 0 && first == b'.' {
                out.push(b'.');
            }
            let newline = memchr(b'\n', input);
            let mut text = &input[..newline.unwrap_or(input.len())];
            while let Some((fits, rest)) = text.split_at_checked(self.line_limit - self.column)
                && !rest.is_empty()
            {
                out.extend_from_slice(fits);
                out.extend_from_slice(b"\r\n ");
                (text, self.column) = (rest, 1);
            }
            out.extend_from_slice(text);
            self.column += text.len();
            let Some(newline) = newline else { return };
            out.extend_from_slice(b"\r\n");
            self.column = 0;
            input = &input[newline + 1..];
        }
    }

    /// Ends the content; a last line without LF is ended first.
    pub fn finish(self, out: &mut Vec<u8>) {
        out.extend_from_slice(if self.column > 0 { b"\r\n.\r\n" } else { b".\r\n" });
    }
}

#[cfg(test)]
mod tests;
