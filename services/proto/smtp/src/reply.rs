//! Replies: typed, written by the server side and parsed by the client side.
//!
//! A [`Reply`] always has a code from 200 to 599 and at least one line, and no line holds a CR or LF, so that nothing
//! that a caller puts into a reply can end it early.

use std::fmt;

use crate::{limits, line::Input};

/// An enhanced status code (RFC 3463): class 2, 4 or 5, subject and detail of one to three digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Status {
    class: u8,
    subject: u16,
    detail: u16,
}

impl Status {
    /// `class` is 2, 4 or 5; `subject` and `detail` are below 1000.
    pub const fn new(class: u8, subject: u16, detail: u16) -> Self {
        assert!(matches!(class, 2 | 4 | 5) && subject < 1000 && detail < 1000);
        Self { class, subject, detail }
    }

    /// The code at the start of `text`, and what follows it and its blanks.
    ///
    /// ```text
    /// status-code = class "." subject "." detail    ; RFC 3463 section 2
    /// ```
    pub fn split(text: &str) -> Option<(Self, &str)> {
        let end = text.find([' ', '\t', '\n', '\r']).unwrap_or(text.len());
        let mut parts = text[..end].split('.');
        let mut number = |digits: std::ops::RangeInclusive<usize>| {
            parts.next().filter(|part| digits.contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit()))
        };
        let class = number(1..=1)?.parse().ok().filter(|class| matches!(class, 2 | 4 | 5))?;
        let (subject, detail) = (number(1..=3)?.parse().ok()?, number(1..=3)?.parse().ok()?);
        parts.next().is_none().then(|| (Self { class, subject, detail }, text[end..].trim_start()))
    }

    /// The same subject and detail as a temporary failure.
    #[must_use]
    pub fn temporary(self) -> Self {
        Self { class: 4, ..self }
    }

    /// 2 (success), 4 (try again) or 5 (never).
    pub fn class(self) -> u8 {
        self.class
    }
}

impl fmt::Display for Status {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{}.{}", self.class, self.subject, self.detail)
    }
}

/// One reply of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    code: u16,
    status: Option<Status>,
    lines: Vec<String>,
}

impl Reply {
    /// A reply of one line; `text` may begin with an enhanced status code. A text with line ends becomes several
    /// lines; other control characters become `?`.
    ///
    /// # Panics
    /// If `code` is not from 200 to 599: replies are made by us.
    pub fn new(code: u16, text: &str) -> Self {
        assert!((200..600).contains(&code), "reply code {code}");
        let (status, text) = match Status::split(text) {
            Some((status, rest)) if u16::from(status.class) == code / 100 => (Some(status), rest),
            _ => (None, text),
        };
        let clean = |line: &str| line.chars().map(|point| if point.is_control() { '?' } else { point }).collect();
        let lines: Vec<String> = text.lines().map(clean).collect();
        Self { code, status, lines: if lines.is_empty() { vec![String::new()] } else { lines } }
    }

    /// Parses `550 5.1.1 text` as policies, tables and milters write it; several lines are separated by LF.
    pub fn parse(text: &str) -> Option<Self> {
        let code = text.get(..3)?.parse().ok().filter(|code| (200..600).contains(code))?;
        let rest = text[3..].strip_prefix([' ', '-']).or_else(|| text[3..].is_empty().then_some(""))?;
        Some(Self::new(code, rest))
    }

    /// The three-digit code.
    pub fn code(&self) -> u16 {
        self.code
    }

    /// The enhanced status code, if there is one.
    pub fn status(&self) -> Option<Status> {
        self.status
    }

    /// The enhanced status code, or class.0.0 where the server sent none.
    pub fn status_or_default(&self) -> Status {
        let class = match self.code / 100 {
            4 => 4,
            5 => 5,
            _ => 2,
        };
        self.status.unwrap_or(Status::new(class, 0, 0))
    }

    /// The lines of text, without codes.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    /// The command was accepted: 2yz or 3yz.
    pub fn is_positive(&self) -> bool {
        self.code < 400
    }

    /// The server will close the connection after this reply (421, 521).
    pub fn hangs_up(&self) -> bool {
        matches!(self.code, 421 | 521)
    }

    /// Turns a permanent rejection into a temporary one (`soft_bounce`).
    #[must_use]
    pub fn softened(mut self) -> Self {
        if self.code >= 500 {
            self.code -= 100;
            self.status = self.status.map(Status::temporary);
        }
        self
    }

    /// The reply in one line, codes included, as it stands in logs and in bounces.
    pub fn one_line(&self) -> String {
        let mut text = String::new();
        for (number, line) in self.lines.iter().enumerate() {
            if number > 0 {
                text.push(' ');
            }
            text.push_str(&self.line_text(line));
        }
        text
    }

    fn line_text(&self, line: &str) -> String {
        match (self.status, line) {
            (Some(status), "") => format!("{} {status}", self.code),
            (Some(status), line) => format!("{} {status} {line}", self.code),
            (None, line) => format!("{} {line}", self.code),
        }
    }

    /// Appends the reply as it goes over the wire.
    ///
    /// ```text
    /// Reply-line = *( Reply-code "-" [ textstring ] CRLF ) Reply-code [ SP textstring ] CRLF    ; RFC 5321 section 4.2
    /// ```
    pub fn write(&self, out: &mut Vec<u8>) {
        for (number, line) in self.lines.iter().enumerate() {
            let start = out.len();
            out.extend_from_slice(self.line_text(line).as_bytes());
            if number + 1 < self.lines.len() {
                out[start + 3] = b'-';
            }
            out.extend_from_slice(b"\r\n");
        }
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.one_line())
    }
}

/// A reply as a client received it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The three-digit code; 0 if the reply had none.
    pub code: u16,
    /// The enhanced status code whose class fits the code; class.0.0 where the server sent none; 5.5.0 where the reply
    /// is no SMTP.
    pub status: Status,
    /// All lines with their codes, joined by spaces, for logs and bounces.
    pub text: String,
    /// The text of each line, without the code.
    pub lines: Vec<String>,
    /// Lines without a code came before the reply: the connection is out of step and must not be used again.
    pub garbage: bool,
}

impl Received {
    /// The command was accepted: 2yz or 3yz.
    pub fn is_positive(&self) -> bool {
        (200..400).contains(&self.code)
    }
}

/// Why a server's reply cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyError {
    /// More than [`limits::REPLY_LINES`] lines.
    TooManyLines,
}

/// Collects the lines of one reply.
#[derive(Debug, Default)]
pub(crate) struct ReplyParser {
    text: String,
    lines: Vec<String>,
    count: usize,
    garbage: bool,
}

impl ReplyParser {
    /// The next whole reply in `input`, `None` until there is one.
    pub fn next(&mut self, input: &mut Input) -> Result<Option<Received>, ReplyError> {
        while let Some(line) = input.line(limits::REPLY_LINE) {
            self.count += 1;
            if self.count > limits::REPLY_LINES {
                return Err(ReplyError::TooManyLines);
            }
            let line = printable(&line.bytes);
            let code = line.get(..3).filter(|code| code.bytes().all(|byte| byte.is_ascii_digit()));
            let separator = line.as_bytes().get(3).copied().unwrap_or(b' ');
            if self.text.len() < limits::REPLY_TEXT {
                if !self.text.is_empty() {
                    self.text.push(' ');
                }
                self.text.push_str(&line);
                if code.is_some() {
                    self.lines.push(line.get(4..).unwrap_or("").to_owned());
                }
            }
            match (code.and_then(|code| code.parse().ok()), separator) {
                (Some(_), b'-') => {}
                (Some(code), b' ') => return Ok(Some(std::mem::take(self).finish(code, &line))),
                _ => self.garbage = true,
            }
        }
        Ok(None)
    }

    fn finish(self, code: u16, last: &str) -> Received {
        let class = u8::try_from(code / 100).unwrap_or(0);
        let given = last.get(4..).and_then(|text| Status::split(text.trim_start())).map(|(status, _)| status);
        let status = match class {
            2 | 4 | 5 => given.filter(|status| status.class == class).unwrap_or(Status::new(class, 0, 0)),
            // 354 and 334 succeed; anything else is not SMTP, and that is permanent.
            3 => Status::new(2, 0, 0),
            _ => Status::new(5, 5, 0),
        };
        Received { code, status, text: self.text, lines: self.lines, garbage: self.garbage }
    }
}

/// A peer's bytes as text that can stand in a log: invalid UTF-8 and control characters become `?`.
pub(crate) fn printable(bytes: &[u8]) -> String {
    let replace = |point: char| if point.is_control() || point == char::REPLACEMENT_CHARACTER { '?' } else { point };
    String::from_utf8_lossy(bytes).chars().map(replace).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(bytes: &[u8]) -> Result<Option<Received>, ReplyError> {
        let mut input = Input::default();
        assert_eq!(input.push(bytes), bytes.len());
        ReplyParser::default().next(&mut input)
    }

    #[test]
    fn a_reply_is_written_with_its_code_on_every_line() {
        let mut out = Vec::new();
        Reply::new(250, "a\nb\nc").write(&mut out);
        assert_eq!(out, b"250-a\r\n250-b\r\n250 c\r\n");
        let reply = Reply::new(550, "5.1.1 no\r\nway\x07");
        assert_eq!(reply.one_line(), "550 5.1.1 no 550 5.1.1 way?");
        assert_eq!(reply.softened().one_line(), "450 4.1.1 no 450 4.1.1 way?");
        assert_eq!(Reply::new(550, "4.1.1 no").status(), None, "the class has to fit");
    }

    #[test]
    fn replies_from_policies() {
        assert_eq!(Reply::parse("554 5.7.1 go away"), Some(Reply::new(554, "5.7.1 go away")));
        assert_eq!(Reply::parse("450"), Some(Reply::new(450, "")));
        for wrong in ["", "55", "550x", "100 x", "600 x", "5é0 x"] {
            assert_eq!(Reply::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn statuses() {
        assert_eq!(Status::split("5.1.1 x"), Some((Status::new(5, 1, 1), "x")));
        assert_eq!(Status::split("4.999.999"), Some((Status::new(4, 999, 999), "")));
        for wrong in ["3.1.1", "5.1", "5.1.1.1", "5.1.1x", "5..1", "5.1234.1", "", "a"] {
            assert_eq!(Status::split(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn received_replies() {
        let reply = received(b"550-5.1.1 one\r\n550 5.1.1 two\r\n").unwrap().unwrap();
        assert_eq!((reply.code, reply.status, reply.garbage), (550, Status::new(5, 1, 1), false));
        assert_eq!(reply.text, "550-5.1.1 one 550 5.1.1 two");
        assert_eq!(received(b"450 x\r\n").unwrap().unwrap().status, Status::new(4, 0, 0));
        assert_eq!(received(b"450 5.1.1 x\r\n").unwrap().unwrap().status, Status::new(4, 0, 0));
        assert_eq!(received(b"950 x\r\n").unwrap().unwrap().status, Status::new(5, 5, 0));
        assert_eq!(received(b"250\n").unwrap().unwrap().lines, [""]);
        assert!(received(b"hello\r\n250 ok\r\n").unwrap().unwrap().garbage);
        assert_eq!(received(b"250-x\r\n250").unwrap(), None);
    }

    #[test]
    fn a_reply_is_bounded() {
        let long = "250-x\r\n".repeat(limits::REPLY_LINES + 1);
        assert_eq!(received(long.as_bytes()), Err(ReplyError::TooManyLines));
        let wide = format!("250-{}\r\n", "y".repeat(1000)).repeat(20) + "250 z\r\n";
        let reply = received(wide.as_bytes()).unwrap().unwrap();
        assert!(reply.text.len() < limits::REPLY_TEXT + limits::REPLY_LINE, "{}", reply.text.len());
    }
}
