//! Frames lines out of a byte stream in bounded memory.
//!
//! A line ends in LF; a CR before it belongs to the line end. A line longer than the limit is cut to the limit and the
//! rest is skipped, as Postfix does, so that the stream stays in step. The reader never holds more than
//! [`limits::INPUT_BUFFER`] bytes.

use crate::limits;

/// One framed line, without its line end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub bytes: Vec<u8>,
    /// The line was longer than the limit and was cut.
    pub cut: bool,
    /// The line ended in LF without CR.
    pub bare_newline: bool,
}

/// The input side of a session: what has arrived and is not consumed yet.
#[derive(Debug, Default)]
pub(crate) struct Input {
    buffer: Vec<u8>,
    start: usize,
    /// The head of a line over the limit, whose tail is being skipped.
    cut: Option<Vec<u8>>,
}

impl Input {
    /// Takes as many of `bytes` as fit and returns how many that were.
    pub fn push(&mut self, bytes: &[u8]) -> usize {
        let taken = bytes.len().min(limits::INPUT_BUFFER.saturating_sub(self.pending().len()));
        if self.start == self.buffer.len() {
            self.buffer.clear();
            self.start = 0;
        } else if self.buffer.len() + taken > limits::INPUT_BUFFER {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(&bytes[..taken]);
        taken
    }

    /// What has not been consumed.
    pub fn pending(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    pub fn consume(&mut self, count: usize) {
        self.start += count;
        debug_assert!(self.start <= self.buffer.len());
    }

    /// Gives back the memory of a session that waits, if nothing is in it.
    pub fn release(&mut self) {
        if self.pending().is_empty() {
            self.buffer = Vec::new();
            self.start = 0;
        }
    }

    /// Forgets everything, a half-read line included.
    pub fn discard(&mut self) {
        *self = Self::default();
    }

    /// The next line, cut to `limit` bytes (its line end does not count), or `None` until there is a whole one.
    pub fn line(&mut self, limit: usize) -> Option<Line> {
        let Some(newline) = memchr::memchr(b'\n', self.pending()) else {
            if self.cut.is_some() {
                self.consume(self.pending().len());
            } else if self.pending().len() > limit + usize::from(self.pending().last() == Some(&b'\r')) {
                self.cut = Some(self.pending()[..limit].to_vec());
                self.consume(self.pending().len());
            }
            return None;
        };
        let cut_line = self.cut.take();
        let whole = &self.pending()[..newline];
        let line = if let Some(head) = cut_line {
            Line { bytes: head, cut: true, bare_newline: false }
        } else {
            let text = whole.strip_suffix(b"\r").unwrap_or(whole);
            let cut = text.len() > limit;
            let bare_newline = text.len() == whole.len() && !cut;
            Line { bytes: text[..text.len().min(limit)].to_vec(), cut, bare_newline }
        };
        self.consume(newline + 1);
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(chunks: &[&[u8]], limit: usize) -> Vec<Line> {
        let mut input = Input::default();
        let mut found = Vec::new();
        for chunk in chunks {
            assert_eq!(input.push(chunk), chunk.len());
            while let Some(line) = input.line(limit) {
                found.push(line);
            }
        }
        found
    }

    fn line(text: &str, cut: bool, bare_newline: bool) -> Line {
        Line { bytes: text.as_bytes().to_vec(), cut, bare_newline }
    }

    #[test]
    fn line_ends() {
        let expected =
            [line("a", false, false), line("b", false, true), line("", false, false), line("c\rd\r", false, false)];
        assert_eq!(lines(&[b"a\r\nb\n\r\nc\rd\r\r\n"], 10), expected);
        assert_eq!(lines(&[b"a\r", b"\nb", b"\n\r\nc\r", b"d\r\r", b"\n"], 10), expected);
    }

    #[test]
    fn a_line_over_the_limit_is_cut_and_the_next_one_is_whole() {
        let expected = [line("01234567", true, false), line("x", false, false), line("01234567", false, false)];
        assert_eq!(lines(&[b"0123456789\r\nx\r\n01234567\r\n"], 8), expected);
        assert_eq!(lines(&[b"0123456789", b"abc\r", b"\nx\r\n01234567\r", b"\n"], 8), expected);
    }

    #[test]
    fn input_is_bounded() {
        let mut input = Input::default();
        assert_eq!(input.push(&vec![b'x'; limits::INPUT_BUFFER + 1]), limits::INPUT_BUFFER);
        assert_eq!(input.push(b"y"), 0);
        assert_eq!(input.line(10), None);
        assert!(input.pending().is_empty(), "the tail of a long line is not stored");
        assert_eq!(input.push(b"\nz\n"), 3);
        assert_eq!(input.line(10), Some(line("xxxxxxxxxx", true, false)));
        assert_eq!(input.line(10), Some(line("z", false, true)));
        input.release();
        assert_eq!(input.buffer.capacity(), 0);
    }
}
