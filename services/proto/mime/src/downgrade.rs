//! Messages for servers without 8BITMIME: a part that is declared `8bit` or `binary` becomes quoted-printable, and is declared
//! as that (RFC 6152 section 3, RFC 2045 section 6.7). What is not declared passes as it is, as Postfix's does.
//!
//! Lines that end in LF go in and come out, in pieces of any size. At any time it holds one line, one header field and the
//! boundaries of the multiparts around the current part, each within a limit.

use crate::content::Content;
use crate::field::Field;
use crate::limits;

/// Bytes of a line that are looked at as one; the rest of a longer one is text of its part, whatever it says.
pub const LINE: usize = 64 * 1024;
/// Characters of an encoded line after which it is broken: with the next character and the `=` it has at most 76.
const SOFT_BREAK: usize = 72;

/// A message on its way.
#[derive(Debug)]
pub struct Downgrade {
    /// What came of the current line.
    line: Vec<u8>,
    state: State,
    /// Of the multiparts around the current part, with their dashes.
    boundaries: Vec<Vec<u8>>,
    /// Something of the current line has left.
    inside_line: bool,
    /// Characters of the encoded line.
    column: usize,
}

#[derive(Debug)]
enum State {
    /// The field that may go on with the next line, and what the header has said so far.
    Header { field: Vec<u8>, content: Box<Content> },
    /// Text that leaves as it is.
    Copied,
    /// Text that is encoded.
    Encoded,
}

impl State {
    fn header() -> State {
        State::Header { field: Vec::new(), content: Box::default() }
    }
}

impl Default for Downgrade {
    fn default() -> Downgrade {
        Downgrade { line: Vec::new(), state: State::header(), boundaries: Vec::new(), inside_line: false, column: 0 }
    }
}

impl Downgrade {
    /// Takes the next piece of the message, and appends to `out` what can leave.
    pub fn push(&mut self, mut text: &[u8], out: &mut Vec<u8>) {
        while !text.is_empty() {
            let length = memchr::memchr(b'\n', text).map_or(text.len(), |at| at + 1);
            let (now, rest) = text.split_at(length.min(LINE + 1 - self.line.len()));
            self.line.extend_from_slice(now);
            text = rest;
            if self.line.ends_with(b"\n") {
                self.end_of_line(out);
            } else if self.line.len() > LINE {
                self.overlong(out);
            }
        }
    }

    /// Ends the message; a last line without LF is part of it.
    pub fn finish(mut self, out: &mut Vec<u8>) {
        if !self.line.is_empty() {
            self.line.push(b'\n');
            self.end_of_line(out);
        }
        self.end_of_header(out);
    }

    fn end_of_line(&mut self, out: &mut Vec<u8>) {
        let line = std::mem::take(&mut self.line);
        if std::mem::replace(&mut self.inside_line, false) {
            self.text(&line, out);
        } else if let Some(at) = self.boundary(&line) {
            self.boundary_line(&line, at, out);
        } else if matches!(self.state, State::Header { .. }) {
            self.header_line(&line, out);
        } else {
            self.text(&line, out);
        }
        // The buffer is kept for the next line.
        self.line = line;
        self.line.clear();
    }

    /// The line is longer than any that means something. Its last byte stays: a space there may have to be encoded.
    fn overlong(&mut self, out: &mut Vec<u8>) {
        self.end_of_header(out);
        let last = self.line.split_off(LINE);
        let line = std::mem::replace(&mut self.line, last);
        self.inside_line = true;
        self.text(&line, out);
    }

    /// The innermost boundary that the line begins with.
    fn boundary(&self, line: &[u8]) -> Option<usize> {
        line.starts_with(b"--").then(|| self.boundaries.iter().rposition(|boundary| line.starts_with(boundary)))?
    }

    fn boundary_line(&mut self, line: &[u8], at: usize, out: &mut Vec<u8>) {
        self.end_of_header(out);
        out.extend_from_slice(line);
        let closes = line[self.boundaries[at].len()..].starts_with(b"--");
        self.boundaries.truncate(if closes { at } else { at + 1 });
        self.state = if closes { State::Copied } else { State::header() };
    }

    fn header_line(&mut self, line: &[u8], out: &mut Vec<u8>) {
        let State::Header { field, content } = &mut self.state else { return };
        let goes_on = line.starts_with(b" ") || line.starts_with(b"\t");
        if goes_on && !field.is_empty() && field.len() + line.len() <= limits::FIELD {
            return field.extend_from_slice(line);
        }
        end_of_field(field, content, out);
        field.clear();
        if line == b"\n" {
            self.end_of_header(out);
            out.push(b'\n');
        } else {
            field.extend_from_slice(line);
        }
    }

    /// The header is over, if there is one: what comes is of the kind that it has said.
    fn end_of_header(&mut self, out: &mut Vec<u8>) {
        let State::Header { field, content } = &mut self.state else { return };
        end_of_field(field, content, out);
        let main = content.media_type.as_ref().map(|kind| kind.main.to_ascii_lowercase()).unwrap_or_default();
        let composite = matches!(main.as_slice(), b"multipart" | b"message");
        let wide = is_wide(content);
        if wide {
            let encoding = if composite { "7bit" } else { "quoted-printable" };
            out.extend_from_slice(format!("Content-Transfer-Encoding: {encoding}\n").as_bytes());
        }
        if main == b"multipart"
            && self.boundaries.len() < limits::DEPTH
            && let Some(boundary) = content.parameter("boundary")
        {
            let text = &boundary[..boundary.len().min(limits::BOUNDARY)];
            self.boundaries.push([b"--", text].concat());
        }
        let message = content.media_type.as_ref().is_some_and(|kind| kind.is("message", "rfc822"));
        self.state = match (message, wide && !composite) {
            (true, _) => State::header(),
            (false, true) => State::Encoded,
            (false, false) => State::Copied,
        };
    }

    /// A line of a body, or a piece of one.
    fn text(&mut self, text: &[u8], out: &mut Vec<u8>) {
        if !matches!(self.state, State::Encoded) {
            return out.extend_from_slice(text);
        }
        let (text, ends) = text.strip_suffix(b"\n").map_or((text, false), |text| (text, true));
        for (at, &byte) in text.iter().enumerate() {
            if self.column > SOFT_BREAK {
                out.extend_from_slice(b"=\n");
                self.column = 0;
            }
            let at_end = ends && at + 1 == text.len();
            match byte {
                b'=' | 0..=8 | 10..=31 | 127.. => self.escaped(byte, out),
                b' ' | b'\t' if at_end => self.escaped(byte, out),
                _ => {
                    out.push(byte);
                    self.column += 1;
                }
            }
        }
        if ends {
            out.push(b'\n');
            self.column = 0;
        }
    }

    fn escaped(&mut self, byte: u8, out: &mut Vec<u8>) {
        const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
        out.extend_from_slice(&[b'=', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        self.column += 3;
    }
}

/// The header says that what comes has more than 7 bits.
fn is_wide(content: &Content) -> bool {
    let encoding = content.transfer_encoding.as_deref().unwrap_or_default();
    encoding.eq_ignore_ascii_case(b"8bit") || encoding.eq_ignore_ascii_case(b"binary")
}

/// A field is whole: it is taken in, and leaves unless it is to be replaced.
fn end_of_field(field: &mut Vec<u8>, content: &mut Content, out: &mut Vec<u8>) {
    let raw = std::mem::take(field);
    let parsed = Field::parse(&raw);
    let mut alone = Content::default();
    alone.add(&parsed);
    content.add(&parsed);
    if !(is_wide(&alone) && is_wide(content)) {
        out.extend_from_slice(&raw);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn downgraded(message: &[u8], step: usize) -> String {
        let (mut downgrade, mut out) = (Downgrade::default(), Vec::new());
        message.chunks(step.max(1)).for_each(|piece| downgrade.push(piece, &mut out));
        downgrade.finish(&mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn parts_that_are_declared_wide_are_encoded() {
        let table = [
            // A single part; the declaration moves to the end of the header, as Postfix's does.
            (
                "Content-Transfer-Encoding: 8BIT\nSubject: x\n\nä = b \n\t\nlast",
                "Subject: x\nContent-Transfer-Encoding: quoted-printable\n\n=C3=A4 =3D b=20\n=09\nlast\n",
            ),
            (
                "Content-Transfer-Encoding:\n binary\n\n\u{7}x\n",
                "Content-Transfer-Encoding: quoted-printable\n\n=07x\n",
            ),
            // Not declared, or declared as something else.
            ("Subject: x\n\nä\n", "Subject: x\n\nä\n"),
            ("Content-Transfer-Encoding: base64\n\nw6Q=\n", "Content-Transfer-Encoding: base64\n\nw6Q=\n"),
            (
                "Content-Transfer-Encoding: 7bit\nContent-Transfer-Encoding: 8bit\n\nä\n",
                "Content-Transfer-Encoding: 7bit\nContent-Transfer-Encoding: 8bit\n\nä\n",
            ),
            // A header alone, and nothing at all.
            ("Content-Transfer-Encoding: 8bit", "Content-Transfer-Encoding: quoted-printable\n"),
            ("", ""),
            // Parts within parts; preamble and epilogue are nobody's.
            (
                "Content-Type: multipart/mixed; boundary=a\nContent-Transfer-Encoding: 8bit\n\n=\n--a\n\
                 Content-Transfer-Encoding: 8bit\n\nä\n--a\n\n=\n--a--\n=\n",
                "Content-Type: multipart/mixed; boundary=a\nContent-Transfer-Encoding: 7bit\n\n=\n--a\n\
                 Content-Transfer-Encoding: quoted-printable\n\n=C3=A4\n--a\n\n=\n--a--\n=\n",
            ),
            // The end of the outer multipart ends the inner one.
            (
                "Content-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\
                 Content-Transfer-Encoding: 8bit\n\n=\n--a\n\n=\n--b\n=\n",
                "Content-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\
                 Content-Transfer-Encoding: quoted-printable\n\n=3D\n--a\n\n=\n--b\n=\n",
            ),
            // A boundary in the middle of a header.
            (
                "Content-Type: multipart/mixed; boundary=a\n\n--a\nContent-Transfer-Encoding: 8bit\n--a\n\nä\n",
                "Content-Type: multipart/mixed; boundary=a\n\n--a\nContent-Transfer-Encoding: quoted-printable\n--a\n\nä\n",
            ),
            // A message within the message.
            (
                "Content-Type: message/rfc822\nContent-Transfer-Encoding: 8bit\n\nContent-Transfer-Encoding: 8bit\n\nä\n",
                "Content-Type: message/rfc822\nContent-Transfer-Encoding: 7bit\n\nContent-Transfer-Encoding: \
                 quoted-printable\n\n=C3=A4\n",
            ),
        ];
        for (message, expected) in table {
            for step in 1..=message.len().max(1) {
                assert_eq!(downgraded(message.as_bytes(), step), expected, "pieces of {step}");
            }
        }
    }

    #[test]
    fn encoded_lines_are_short_and_mean_the_same() {
        let text = "ä b\t=.~ ".repeat(3 * LINE / 8) + " ";
        let message = format!("Content-Transfer-Encoding: 8bit\n\n{text}\n");
        for step in [1000, LINE, message.len()] {
            let out = downgraded(message.as_bytes(), step);
            let (header, body) = out.split_once("\n\n").unwrap();
            assert_eq!(header, "Content-Transfer-Encoding: quoted-printable");
            assert!(body.lines().all(|line| line.len() <= 76 && !line.ends_with(' ')));
            let mut bytes = Vec::new();
            let joined = body.strip_suffix('\n').unwrap().replace("=\n", "");
            let mut rest = joined.bytes();
            while let Some(byte) = rest.next() {
                let hex = |rest: &mut std::str::Bytes<'_>| (rest.next().unwrap() as char).to_digit(16).unwrap() as u8;
                bytes.push(if byte == b'=' { hex(&mut rest) << 4 | hex(&mut rest) } else { byte });
            }
            assert_eq!(String::from_utf8(bytes).unwrap(), text, "pieces of {step}");
        }
    }

    #[test]
    fn limits_hold() {
        // A line that is too long for a header ends it.
        let long = "x".repeat(LINE + 10);
        let message = format!("Content-Transfer-Encoding: 8bit\n{long}\nä\n");
        let end = format!("Content-Transfer-Encoding: quoted-printable\n{}", &long[..SOFT_BREAK + 1]);
        assert!(downgraded(message.as_bytes(), 999).starts_with(&end));
        // Multiparts beyond the depth are text.
        let nested: String = (0..=limits::DEPTH)
            .map(|at| format!("Content-Type: multipart/mixed; boundary=b{at:03}\n\n--b{at:03}\n"))
            .collect();
        let mut downgrade = Downgrade::default();
        downgrade.push(nested.as_bytes(), &mut Vec::new());
        assert_eq!(downgrade.boundaries.len(), limits::DEPTH);
        // A field beyond its length is several.
        let mut downgrade = Downgrade::default();
        let line = format!(" {}\n", "x".repeat(1000));
        downgrade.push(b"A: b\n", &mut Vec::new());
        (0..2 * limits::FIELD / line.len()).for_each(|_| downgrade.push(line.as_bytes(), &mut Vec::new()));
        assert!(matches!(&downgrade.state, State::Header { field, .. } if field.len() <= limits::FIELD));
    }
}
