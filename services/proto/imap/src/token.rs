//! Tokens: a whole command into tag, name and a tree of arguments.
//!
//! This is the lexical layer that every command shares. It borrows from the command's bytes, bounds depth and number of
//! arguments, and knows no command. What a command's arguments mean is decided in [`command`](crate::command).
//!
//! It is as tolerant as Dovecot where that harms nobody (several spaces between arguments, a space at the end), and
//! uses Dovecot's words for what it refuses.

use std::borrow::Cow;

use crate::limits;

/// What is wrong with the arguments, in Dovecot's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenError(pub &'static str);

/// One argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arg<'a> {
    /// A run of bytes without a delimiter: an atom, a number, a sequence set, a flag, a pattern.
    Atom(&'a [u8]),
    /// A quoted string, unescaped, or a literal. Holds no NUL.
    String(Cow<'a, [u8]>),
    /// A parenthesised list.
    List(Vec<Arg<'a>>),
}

/// The first two words of a command and the rest.
#[derive(Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// The tag, valid.
    pub tag: &'a [u8],
    /// The name as it was written; `None` when it is missing or malformed.
    pub name: Option<&'a [u8]>,
    /// What follows the name and its space.
    pub rest: &'a [u8],
}

/// Splits a command.
///
/// ```text
/// command    = tag SP command-name [SP arguments] CRLF
/// tag        = 1*<any ASTRING-CHAR except "+">
/// ASTRING-CHAR = ATOM-CHAR / "]"
/// ATOM-CHAR  = <any CHAR except "(" / ")" / "{" / SP / CTL / "%" / "*" / DQUOTE / "\" / "]">
/// ```
///
/// RFC 3501 section 9. `None` when there is no valid tag.
pub fn split(command: &[u8]) -> Option<Line<'_>> {
    let (tag, rest) = word(command);
    if tag.is_empty() || tag.len() > limits::TAG || !tag.iter().all(|byte| *byte != b'+' && is_astring_char(*byte)) {
        return None;
    }
    let (name, rest) = word(rest);
    let valid = !name.is_empty() && name.iter().all(|byte| is_astring_char(*byte));
    Some(Line { tag, name: valid.then_some(name), rest })
}

/// The bytes up to the first space, and those after it.
pub fn word(bytes: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memchr(b' ', bytes) {
        Some(at) => (&bytes[..at], &bytes[at + 1..]),
        None => (bytes, &[]),
    }
}

/// Whether the literal announced at the end of this APPEND comes after the mailbox name, and so is a message.
pub fn is_append_with_mailbox(command: &[u8]) -> bool {
    let Some(Line { name: Some(name), rest, .. }) = split(command) else {
        return false;
    };
    let rest = rest.trim_ascii_start();
    let literal_first = rest.starts_with(b"{") || rest.starts_with(b"~{");
    name.eq_ignore_ascii_case(b"APPEND") && (!literal_first || rest.contains(&b'\n'))
}

/// Whether a byte may stand in an `astring` without quotes.
pub fn is_astring_char(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'(' | b')' | b'{' | b'%' | b'*' | b'"' | b'\\')
}

/// The arguments of a command.
///
/// ```text
/// arguments = argument *(1*SP argument)
/// argument  = atom / string / "(" [arguments] ")"
/// string    = quoted / literal
/// ```
pub fn arguments(rest: &[u8]) -> Result<Vec<Arg<'_>>, TokenError> {
    let mut parser = Parser { input: rest, count: 0 };
    let args = parser.list(0)?;
    Ok(args)
}

struct Parser<'a> {
    input: &'a [u8],
    count: usize,
}

impl<'a> Parser<'a> {
    /// Arguments up to the end (depth 0) or to the closing parenthesis.
    fn list(&mut self, depth: usize) -> Result<Vec<Arg<'a>>, TokenError> {
        let mut args = Vec::new();
        loop {
            let Some((&first, rest)) = self.input.split_first() else {
                return if depth == 0 { Ok(args) } else { Err(TokenError("Missing ')'")) };
            };
            let arg = match first {
                b' ' => {
                    self.input = rest;
                    continue;
                }
                b')' if depth == 0 => return Err(TokenError("Unexpected ')'")),
                b')' => {
                    self.input = rest;
                    return Ok(args);
                }
                b'(' if depth == limits::DEPTH => return Err(TokenError("Too many '('")),
                b'(' => {
                    self.input = rest;
                    Arg::List(self.list(depth + 1)?)
                }
                b'"' => {
                    self.input = rest;
                    self.quoted()?
                }
                b'{' => {
                    self.input = rest;
                    self.literal()?
                }
                b'~' if rest.starts_with(b"{") => return Err(TokenError("literal8 not allowed here")),
                _ => self.atom()?,
            };
            self.count += 1;
            if self.count > limits::ARGUMENTS {
                return Err(TokenError("Too many arguments"));
            }
            args.push(arg);
        }
    }

    /// ```text
    /// quoted          = DQUOTE *QUOTED-CHAR DQUOTE
    /// QUOTED-CHAR     = <any TEXT-CHAR except quoted-specials> / "\" quoted-specials
    /// quoted-specials = DQUOTE / "\"
    /// ```
    ///
    /// Eight-bit characters are taken (RFC 6855 clients send them), and a backslash quotes any character.
    fn quoted(&mut self) -> Result<Arg<'a>, TokenError> {
        const MISSING: TokenError = TokenError("Missing '\"'");
        let end = memchr::memchr2(b'"', b'\\', self.input).ok_or(MISSING)?;
        let mut text = Cow::Borrowed(&self.input[..end]);
        let mut at = end;
        loop {
            match self.input.get(at..) {
                Some([b'"', rest @ ..]) => {
                    self.input = rest;
                    break;
                }
                Some([b'\\', escaped, ..]) => {
                    text.to_mut().push(*escaped);
                    at += 2;
                }
                Some([plain, ..]) => {
                    text.to_mut().push(*plain);
                    at += 1;
                }
                _ => return Err(MISSING),
            }
        }
        if text.contains(&0) {
            return Err(TokenError("NULs not allowed in strings"));
        }
        if text.contains(&b'\r') {
            return Err(TokenError("CR sent without LF"));
        }
        Ok(Arg::String(text))
    }

    /// ```text
    /// literal = "{" number64 ["+"] "}" CRLF *CHAR8
    /// ```
    ///
    /// The framer has collected the octets; what it did not take for a literal is malformed.
    fn literal(&mut self) -> Result<Arg<'a>, TokenError> {
        let digits = self.input.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let size = std::str::from_utf8(&self.input[..digits]).ok().and_then(|digits| digits.parse::<usize>().ok());
        let size = size.ok_or(TokenError("Invalid literal size"))?;
        let rest = match &self.input[digits..] {
            [b'+', b'}', rest @ ..] | [b'}', rest @ ..] => rest,
            [b'+', ..] => return Err(TokenError("Expecting '}' after '+'")),
            _ => return Err(TokenError("Invalid literal size")),
        };
        let rest = rest.strip_prefix(b"\r\n").ok_or(TokenError("Missing LF after literal size"))?;
        let (octets, rest) = rest.split_at_checked(size).ok_or(TokenError("Missing LF after literal size"))?;
        if octets.contains(&0) {
            return Err(TokenError("NULs not allowed in strings"));
        }
        self.input = rest;
        Ok(Arg::String(Cow::Borrowed(octets)))
    }

    /// Up to the next space or parenthesis. `%`, `*` and `\` are left to the commands: patterns and flags have them.
    fn atom(&mut self) -> Result<Arg<'a>, TokenError> {
        let end = self.input.iter().position(|byte| matches!(byte, b' ' | b'(' | b')')).unwrap_or(self.input.len());
        let (atom, rest) = self.input.split_at(end);
        for byte in atom {
            match byte {
                b'\r' => return Err(TokenError("CR sent without LF")),
                0x80.. => return Err(TokenError("8bit data in atom")),
                0x00..0x20 | 0x7f | b'"' | b'{' => return Err(TokenError("Invalid characters in atom")),
                _ => {}
            }
        }
        self.input = rest;
        Ok(Arg::Atom(atom))
    }
}

/// A cursor over arguments.
#[derive(Debug, Clone)]
pub struct Args<'t, 'a> {
    rest: &'t [Arg<'a>],
}

impl<'t, 'a> Args<'t, 'a> {
    /// A cursor at the first of `args`.
    pub fn new(args: &'t [Arg<'a>]) -> Self {
        Args { rest: args }
    }

    /// Whether all are read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next argument, which stays.
    pub fn peek(&self) -> Option<&'t Arg<'a>> {
        self.rest.first()
    }

    /// The next argument, if it is an atom or a string.
    ///
    /// ```text
    /// astring = 1*ASTRING-CHAR / string
    /// ```
    pub fn astring(&mut self) -> Option<&'t [u8]> {
        match self.peek()? {
            Arg::Atom(text) => self.advance(text),
            Arg::String(text) => self.advance(text),
            Arg::List(_) => None,
        }
    }

    /// The next argument, if it is an atom.
    pub fn atom(&mut self) -> Option<&'t [u8]> {
        match self.peek()? {
            Arg::Atom(text) => self.advance(text),
            _ => None,
        }
    }

    /// The next argument, if it is this atom, whatever its case.
    pub fn keyword(&mut self, word: &str) -> bool {
        let found = matches!(self.peek(), Some(Arg::Atom(text)) if text.eq_ignore_ascii_case(word.as_bytes()));
        if found {
            self.rest = &self.rest[1..];
        }
        found
    }

    /// The next argument, if it is a list.
    pub fn list(&mut self) -> Option<Args<'t, 'a>> {
        match self.peek()? {
            Arg::List(list) => self.advance(Args::new(list)),
            _ => None,
        }
    }

    fn advance<T>(&mut self, value: T) -> Option<T> {
        self.rest = &self.rest[1..];
        Some(value)
    }
}

/// A number of at most 64 bits.
///
/// ```text
/// number = 1*DIGIT
/// ```
pub fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// A number of at most 32 bits (RFC 3501: `number` and `nz-number` are unsigned 32-bit integers).
pub fn number32(digits: &[u8]) -> Option<u32> {
    u32::try_from(number(digits)?).ok()
}

/// The text in upper case, for replies that name what was sent. Bytes that are not ASCII were refused before.
pub fn upper(text: &[u8]) -> String {
    String::from_utf8_lossy(text).to_ascii_uppercase()
}
