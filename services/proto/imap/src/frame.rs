//! Framing: bytes into whole commands.
//!
//! A command is a line, continued after each literal. The framer knows line ends, literals and
//! sizes, and nothing of what a command means, with one exception: a literal of APPEND that comes after the
//! mailbox name is a message, and is streamed, not collected.
//!
//! Invariants: at most [`Framer::new`]'s limit is buffered, whatever the peer announces; a
//! refused literal is skipped only if the client sends it unasked (`{n+}`); input is consumed exactly up
//! to the end of a step, so that what follows (the first TLS byte, say) stays with the caller.
//!
//! A line ends with CRLF; a bare LF is taken as one too, as Dovecot does, because people type
//! IMAP by hand. A bare CR is left in the command and refused by the [tokens](crate::token).

use zeroize::Zeroize;

use crate::token;

/// What the framer found in the input.
#[derive(Debug, PartialEq, Eq)]
pub enum Step<'i> {
    /// All input is consumed and more is needed.
    NeedInput,
    /// The client waits for `+ OK` before it sends a literal. [`Framer::cancel`] when it does not get it.
    Continue,
    /// [`Framer::command`] is a whole command, without its line end.
    Command,
    /// A message of an APPEND is announced; [`Framer::command`] is what stands before it. The caller
    /// answers with [`Framer::accept`] or [`Framer::discard`].
    Message(Announced),
    /// Octets of an accepted message.
    Data(&'i [u8]),
    /// The accepted message is complete; what follows it on its line comes as another step.
    MessageEnd,
    /// The command is longer than the limit. [`Framer::command`] is its beginning; the rest is skipped.
    TooLong,
    /// A literal cannot be taken nor skipped: the connection has to end.
    LiteralTooLarge,
}

/// The announcement of a literal: `{size}`, `{size+}`, `~{size}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announced {
    /// Octets.
    pub size: u64,
    /// Whether the client waits for `+ OK` (RFC 7888 calls it synchronising).
    pub waits: bool,
    /// Whether it is a literal8 (RFC 3516).
    pub binary: bool,
}

/// The largest size a literal may state (RFC 3501: `number` is 32 bits).
const LITERAL_MAX: u64 = u32::MAX as u64;

/// Bytes at the end of a line that can hold a literal's announcement: `~{4294967295+}` and CR.
const ANNOUNCEMENT: usize = 24;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Line,
    /// In a literal that belongs to the command.
    Literal(u64),
    /// A message is announced and not yet answered for.
    Announced(Announced),
    /// In an accepted message.
    Message(u64),
    /// In a literal of a discarded command.
    Skip(u64),
    /// The caller has seen the whole command by the next call.
    Finished,
}

/// Collects one command at a time.
#[derive(Debug)]
pub struct Framer {
    buffer: Vec<u8>,
    limit: usize,
    state: State,
    /// Where the current line starts in `buffer`, after the last literal.
    line: usize,
    /// Set when the command is refused already: its end is looked for, and only the end of its current
    /// line is kept, where a literal may be announced.
    discarding: Option<Vec<u8>>,
    /// A message of this APPEND was complete: `buffer` starts after it.
    appending: bool,
}

impl Framer {
    /// A framer that buffers `limit` bytes of a command at most.
    pub fn new(limit: usize) -> Self {
        Framer { buffer: Vec::new(), limit, state: State::Line, line: 0, discarding: None, appending: false }
    }

    /// The command so far; whole after [`Step::Command`]. Literals stand in it as they came.
    pub fn command(&self) -> &[u8] {
        &self.buffer
    }

    /// Whether no part of a command was read, so that nothing is lost when the session is parked.
    pub fn is_empty(&self) -> bool {
        match self.state {
            State::Finished => true,
            State::Line => self.buffer.is_empty() && self.discarding.is_none() && !self.appending,
            _ => false,
        }
    }

    /// Takes the announced message: its octets come as [`Step::Data`].
    pub fn accept(&mut self) {
        let State::Announced(announced) = self.state else {
            panic!("no message is announced");
        };
        self.buffer.clear();
        self.line = 0;
        self.appending = true;
        self.state = State::Message(announced.size);
    }

    /// Gives the current command up. What the client sends of it without being asked is skipped.
    pub fn discard(&mut self) {
        self.discarding.get_or_insert_default();
        self.state = match self.state {
            State::Announced(announced) if announced.waits => State::Finished,
            State::Announced(announced) => State::Skip(announced.size),
            State::Message(rest) | State::Literal(rest) => State::Skip(rest),
            other => other,
        };
    }

    /// Gives up a command whose literal the client does not send, because it gets no `+ OK`.
    pub fn cancel(&mut self) {
        self.state = State::Finished;
    }

    /// Overwrites the finished command, which held a secret.
    pub fn wipe(&mut self) {
        self.buffer.zeroize();
    }

    /// Reads on. Consumes from the front of `input` what belongs to the returned step.
    pub fn next<'i>(&mut self, input: &mut &'i [u8]) -> Step<'i> {
        loop {
            match self.state {
                State::Finished => self.reset(),
                State::Line => {
                    if let Some(step) = self.read_line(input) {
                        return step;
                    }
                }
                State::Announced(_) => panic!("the announced message was neither accepted nor discarded"),
                State::Literal(0) | State::Skip(0) => self.state = State::Line,
                State::Message(0) => {
                    self.state = State::Line;
                    return Step::MessageEnd;
                }
                _ if input.is_empty() => return Step::NeedInput,
                State::Literal(rest) => {
                    let taken = take(input, rest);
                    self.buffer.extend_from_slice(taken);
                    self.line = self.buffer.len();
                    self.state = State::Literal(rest - taken.len() as u64);
                }
                State::Skip(rest) => self.state = State::Skip(rest - take(input, rest).len() as u64),
                State::Message(rest) => {
                    let taken = take(input, rest);
                    self.state = State::Message(rest - taken.len() as u64);
                    return Step::Data(taken);
                }
            }
        }
    }

    fn reset(&mut self) {
        // A session that once saw a large command does not keep its memory.
        if self.buffer.capacity() > 4096 {
            self.buffer = Vec::new();
        }
        self.buffer.clear();
        self.line = 0;
        self.discarding = None;
        self.appending = false;
        self.state = State::Line;
    }

    /// Reads up to the end of the line; `None` when the state changed and reading goes on.
    fn read_line<'i>(&mut self, input: &mut &'i [u8]) -> Option<Step<'i>> {
        let end = memchr::memchr(b'\n', input);
        let part = take(input, end.map_or(input.len(), |at| at + 1) as u64);
        if let Some(tail) = &mut self.discarding {
            keep_tail(tail, part);
        } else if self.buffer.len() + part.len() > self.limit {
            let mut tail = Vec::new();
            keep_tail(&mut tail, &self.buffer[self.line..]);
            keep_tail(&mut tail, part);
            self.buffer.extend_from_slice(&part[..self.limit - self.buffer.len()]);
            self.discarding = Some(tail);
            if end.is_some() {
                self.end_discarded_line();
            }
            return Some(Step::TooLong);
        } else {
            self.buffer.extend_from_slice(part);
        }
        match (end, &self.discarding) {
            (None, _) => Some(Step::NeedInput),
            (Some(_), Some(_)) => {
                self.end_discarded_line();
                None
            }
            (Some(_), None) => self.end_line(),
        }
    }

    /// The line in `buffer` is complete.
    fn end_line<'i>(&mut self) -> Option<Step<'i>> {
        trim_line_end(&mut self.buffer, self.line);
        let Some(announced) = announcement(&self.buffer[self.line..]) else {
            self.state = State::Finished;
            return Some(Step::Command);
        };
        if self.appending || token::is_append_with_mailbox(&self.buffer) {
            if announced.size > LITERAL_MAX {
                return Some(Step::LiteralTooLarge);
            }
            self.state = State::Announced(announced);
            return Some(Step::Message(announced));
        }
        if announced.binary && announced.waits {
            // Refused with the tokens, before it is sent.
            self.state = State::Finished;
            return Some(Step::Command);
        }
        // What comes after the literal needs room as well, at least its line end.
        if announced.size > (self.limit - self.buffer.len()).saturating_sub(4) as u64 {
            return Some(Step::LiteralTooLarge);
        }
        self.buffer.extend_from_slice(b"\r\n");
        self.line = self.buffer.len();
        self.state = State::Literal(announced.size);
        announced.waits.then_some(Step::Continue)
    }

    /// The current line of a discarded command is complete.
    fn end_discarded_line(&mut self) {
        let tail = self.discarding.get_or_insert_default();
        trim_line_end(tail, 0);
        self.state = match announcement(tail) {
            Some(Announced { waits: false, size, .. }) => State::Skip(size),
            // A client that waits for `+ OK` takes the tagged reply as the end.
            Some(_) | None => State::Finished,
        };
        tail.clear();
    }
}

fn take<'i>(input: &mut &'i [u8], at_most: u64) -> &'i [u8] {
    let count = usize::try_from(at_most).unwrap_or(usize::MAX).min(input.len());
    let (taken, rest) = input.split_at(count);
    *input = rest;
    taken
}

/// Appends `part` and keeps no more of the line than can hold an announcement.
fn keep_tail(tail: &mut Vec<u8>, part: &[u8]) {
    tail.extend_from_slice(&part[part.len().saturating_sub(ANNOUNCEMENT)..]);
    tail.drain(..tail.len().saturating_sub(ANNOUNCEMENT));
}

/// Removes LF or CRLF; what stands before `start` belongs to a literal.
fn trim_line_end(buffer: &mut Vec<u8>, start: usize) {
    buffer.pop_if(|byte| *byte == b'\n');
    if buffer.len() > start {
        buffer.pop_if(|byte| *byte == b'\r');
    }
}

/// The literal that a line announces at its end.
///
/// ```text
/// literal  = "{" number64 ["+"] "}" CRLF *CHAR8          RFC 3501, RFC 7888
/// literal8 = "~{" number64 ["+"] "}" CRLF *OCTET         RFC 3516
/// ```
///
/// Anything else that ends with `}` stays in the line and is refused with it. A size of more digits than 32 bits
/// need saturates: it is refused by every limit.
fn announcement(line: &[u8]) -> Option<Announced> {
    let inner = line.strip_suffix(b"}")?;
    let (inner, waits) = match inner.strip_suffix(b"+") {
        Some(inner) => (inner, false),
        None => (inner, true),
    };
    let open = memchr::memrchr(b'{', inner)?;
    let digits = &inner[open + 1..];
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let size =
        digits.iter().fold(0u64, |value, digit| value.saturating_mul(10).saturating_add(u64::from(digit - b'0')));
    let (before, binary) = match inner[..open].strip_suffix(b"~") {
        Some(before) => (before, true),
        None => (&inner[..open], false),
    };
    matches!(before.last(), Some(b' ' | b'(')).then_some(Announced { size, waits, binary })
}
