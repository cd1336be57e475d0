//! The tokens of structured header fields: RFC 5322 §3.2 and §4, RFC 2045 §5.1.
//!
//! ```text
//! CFWS          = 1*(WSP / line-end / comment)
//! atom          = 1*atext [CFWS]
//! dot-atom      = atom *("." [CFWS] atom)          white space around dots is obsolete and accepted
//! quoted-string = DQUOTE *(qtext / "\" any) DQUOTE [CFWS]
//! phrase        = (atom / "." / quoted-string) *(…)
//! domain        = "@" [CFWS] (dot-atom / "[" *dtext "]")
//! token         = *(any but space, controls, tspecials) [CFWS]
//! ```
//!
//! Each function adds what it reads to an output and leaves the cursor after the white space that follows. What was read
//! before a mistake stays in the output, as Dovecot leaves it: its answers for broken fields depend on that.

/// What stands for a NUL, which the strings of an answer cannot hold: U+FFFD.
pub(crate) const NUL_REPLACEMENT: &[u8] = "\u{fffd}".as_bytes();

/// A malformed token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Whether there is more input after a token.
pub(crate) type More = Result<bool, Malformed>;

/// A position in the value of a field.
#[derive(Clone, Debug)]
pub(crate) struct Lexer<'a> {
    rest: &'a [u8],
    /// The text of the last comment that was skipped, without its parentheses.
    pub comment: Vec<u8>,
}

/// Any character that an atom may hold; bytes above ASCII are let through.
pub(crate) fn is_atext(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte >= 0x80 || b"!#$%&'*+-/=?^_`{|}~".contains(&byte)
}

/// Any character that a MIME token may hold, but for the dot.
fn is_token(byte: u8) -> bool {
    is_atext(byte) && !matches!(byte, b'/' | b'=' | b'?')
}

impl<'a> Lexer<'a> {
    pub fn new(value: &'a [u8]) -> Self {
        Self { rest: value, comment: Vec::new() }
    }

    /// The next byte.
    pub fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// What is left.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Goes back to a place that [`Lexer::rest`] gave.
    pub fn rewind(&mut self, rest: &'a [u8]) {
        self.rest = rest;
    }

    /// Takes one byte, if there is one.
    pub fn advance(&mut self) {
        self.rest = self.rest.get(1..).unwrap_or_default();
    }

    /// Takes the byte if it is the next one.
    pub fn take(&mut self, byte: u8) -> bool {
        let here = self.peek() == Some(byte);
        if here {
            self.advance();
        }
        here
    }

    /// Whether there is input left.
    fn more(&self) -> bool {
        !self.rest.is_empty()
    }

    fn take_while(&mut self, out: &mut Vec<u8>, accept: impl Fn(u8) -> bool) -> usize {
        let length = self.rest.iter().take_while(|byte| accept(**byte)).count();
        let (taken, rest) = self.rest.split_at(length);
        out.extend_from_slice(taken);
        self.rest = rest;
        length
    }

    /// Skips white space, line ends and comments.
    pub fn skip_white_space(&mut self) -> More {
        while let Some(byte) = self.peek() {
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' => self.advance(),
                b'(' => drop(self.skip_comment()?),
                _ => break,
            }
        }
        Ok(self.more())
    }

    /// Skips a comment and keeps its text; of one that is never closed, what stands before its last quoted character or
    /// line end.
    fn skip_comment(&mut self) -> More {
        self.comment.clear();
        self.advance();
        let mut text = Vec::new();
        let mut kept = 0;
        let mut depth = 1usize;
        while let Some(byte) = self.peek() {
            match byte {
                b'(' => depth += 1,
                b')' => depth -= 1,
                _ => kept = self.kept(byte, text.len()).unwrap_or(kept),
            }
            if depth == 0 {
                self.advance();
                self.comment = text;
                return Ok(self.more());
            }
            if self.quoted_byte(byte, &mut text, false).is_err() {
                break;
            }
        }
        text.truncate(kept);
        self.comment = text;
        Err(Malformed)
    }

    /// Of a quoted text that is never closed, the part before this byte stays, if it is one that quoting changes: the
    /// length of that part, after `length` bytes.
    fn kept(&self, byte: u8, length: usize) -> Option<usize> {
        match byte {
            b'\\' if !matches!(self.rest.get(1), None | Some(b'\r' | b'\n' | 0)) => Some(length),
            b'\n' => Some(length),
            0 => Some(length + NUL_REPLACEMENT.len()),
            _ => None,
        }
    }

    /// Takes one byte of a quoted text: a backslash quotes the next byte, line ends go, a NUL is replaced.
    fn quoted_byte(&mut self, byte: u8, text: &mut Vec<u8>, keep_backslash: bool) -> Result<(), Malformed> {
        self.advance();
        match byte {
            b'\\' => match self.peek() {
                None => return Err(Malformed),
                // A quoted line end or NUL is obsolete; it counts as if it were not quoted.
                Some(b'\r' | b'\n' | 0) => text.push(b'\\'),
                Some(quoted) => {
                    if keep_backslash {
                        text.push(b'\\');
                    }
                    text.push(quoted);
                    self.advance();
                }
            },
            b'\r' if self.peek() == Some(b'\n') => {}
            b'\n' => {}
            0 => text.extend_from_slice(NUL_REPLACEMENT),
            _ => text.push(byte),
        }
        Ok(())
    }

    pub fn atom(&mut self, out: &mut Vec<u8>) -> More {
        if self.take_while(out, is_atext) == 0 {
            return Err(Malformed);
        }
        if self.more() { self.skip_white_space() } else { Ok(false) }
    }

    pub fn dot_atom(&mut self, out: &mut Vec<u8>) -> More {
        loop {
            if self.take_while(out, is_atext) == 0 {
                return Err(Malformed);
            }
            if !self.skip_white_space()? {
                return Ok(false);
            }
            if !self.take(b'.') {
                return Ok(true);
            }
            out.push(b'.');
            if !self.skip_white_space()? {
                return Err(Malformed);
            }
        }
    }

    /// A MIME token; an empty one is no mistake.
    pub fn token(&mut self, out: &mut Vec<u8>) -> More {
        self.take_while(out, |byte| is_token(byte) || byte == b'.');
        if self.more() { self.skip_white_space() } else { Ok(false) }
    }

    /// A quoted string; the next byte is its first quote.
    pub fn quoted_string(&mut self, out: &mut Vec<u8>) -> More {
        self.advance();
        let mut text = Vec::new();
        let mut kept = 0;
        while let Some(byte) = self.peek() {
            if byte == b'"' {
                self.advance();
                out.append(&mut text);
                return self.skip_white_space();
            }
            kept = self.kept(byte, text.len()).unwrap_or(kept);
            if self.quoted_byte(byte, &mut text, false).is_err() {
                break;
            }
        }
        out.extend_from_slice(&text[..kept]);
        Err(Malformed)
    }

    pub fn phrase(&mut self, out: &mut Vec<u8>) -> More {
        match self.peek() {
            None => return Ok(false),
            Some(b'.') => return Err(Malformed),
            Some(_) => {}
        }
        loop {
            let more = if self.peek() == Some(b'"') {
                self.quoted_string(out)?
            } else {
                self.take_while(out, |byte| is_atext(byte) || byte == b'.');
                self.skip_white_space()?
            };
            if !more {
                return Ok(false);
            }
            if !self.peek().is_some_and(|byte| is_atext(byte) || matches!(byte, b'"' | b'.')) {
                return self.skip_white_space();
            }
            out.push(b' ');
        }
    }

    /// A domain; the next byte is the `@`.
    pub fn domain(&mut self, out: &mut Vec<u8>) -> More {
        self.advance();
        if !self.skip_white_space()? {
            return Err(Malformed);
        }
        if self.peek() == Some(b'[') { self.domain_literal(out) } else { self.dot_atom(out) }
    }

    fn domain_literal(&mut self, out: &mut Vec<u8>) -> More {
        self.advance();
        let mut text = vec![b'['];
        while let Some(byte) = self.peek() {
            match byte {
                b'[' => return Err(Malformed),
                b']' => {
                    self.advance();
                    out.append(&mut text);
                    out.push(b']');
                    return self.skip_white_space();
                }
                _ => self.quoted_byte(byte, &mut text, true)?,
            }
        }
        Err(Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Read = fn(&mut Lexer, &mut Vec<u8>) -> More;

    fn run(value: &str, read: Read) -> (More, String, String) {
        let mut lexer = Lexer::new(value.as_bytes());
        let mut out = Vec::new();
        let more = read(&mut lexer, &mut out);
        (more, String::from_utf8(out).unwrap(), String::from_utf8_lossy(lexer.rest()).into_owned())
    }

    fn check(table: &[(&str, More, &str, &str)], read: Read) {
        for (value, more, out, rest) in table {
            assert_eq!(run(value, read), (*more, (*out).to_owned(), (*rest).to_owned()), "{value:?}");
        }
    }

    #[test]
    fn atoms() {
        check(
            &[("ab (c) d", Ok(true), "ab", "d"), ("ab", Ok(false), "ab", ""), ("(a", Err(Malformed), "", "(a")],
            |lexer, out| lexer.atom(out),
        );
        check(
            &[
                ("a.b . c d", Ok(true), "a.b.c", "d"),
                ("a..b", Err(Malformed), "a.", ".b"),
                ("a.", Err(Malformed), "a.", ""),
                ("a (x", Err(Malformed), "a", ""),
            ],
            |lexer, out| lexer.dot_atom(out),
        );
    }

    #[test]
    fn quoted_strings() {
        check(
            &[
                (r#""a\"b" c"#, Ok(true), "a\"b", "c"),
                ("\"a\r\n b\"", Ok(false), "a b", ""),
                ("\"a\0b\"", Ok(false), "a\u{fffd}b", ""),
                ("\"a\\\nb\"", Ok(false), "a\\b", ""),
                ("\"open", Err(Malformed), "", ""),
                ("\"\\", Err(Malformed), "", ""),
            ],
            |lexer, out| lexer.quoted_string(out),
        );
    }

    #[test]
    fn phrases_and_domains() {
        check(
            &[
                ("A. \"B C\"  d<", Ok(true), "A. B C d", "<"),
                ("(only) <", Ok(true), "", "<"),
                (".a", Err(Malformed), "", ".a"),
                ("", Ok(false), "", ""),
            ],
            |lexer, out| lexer.phrase(out),
        );
        check(
            &[
                ("@ a . b >", Ok(true), "a.b", ">"),
                ("@[1\\]2] x", Ok(true), "[1\\]2]", "x"),
                ("@[1[", Err(Malformed), "", "["),
                ("@", Err(Malformed), "", ""),
            ],
            |lexer, out| lexer.domain(out),
        );
    }

    #[test]
    fn the_last_comment_is_kept() {
        let mut lexer = Lexer::new(b"(one) (t(w)\\)o) x");
        assert_eq!(lexer.skip_white_space(), Ok(true));
        assert_eq!(lexer.comment, b"t(w))o");
    }
}
