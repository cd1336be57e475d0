//! The tokens of an RFC 822 address, as Postfix splits addresses and puts them together again.
//!
//! Two forms are written: the *external* one, with quotes, which headers and tables hold, and the *internal* one without,
//! in which addresses travel between services. Any text has tokens; none is refused.

/// Characters that stand for themselves as a token.
const OPERATORS: &str = "|%!()<>@,;:\\\".[]";

/// A piece of an address line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    /// A word without special characters.
    Atom(String),
    /// A word that needs quotes, without them.
    Quoted(String),
    /// A comment, with its parentheses.
    Comment(String),
    /// A domain literal, without its brackets.
    Literal(String),
    /// One of ``|%!()<>@,;:\".[]``.
    Operator(char),
}

impl Token {
    pub(crate) fn is_word(&self) -> bool {
        !matches!(self, Self::Operator(_))
    }
}

/// Splits text in external form.
#[must_use]
pub fn tokenize(text: &str) -> Vec<Token> {
    let blank = |c: char| matches!(c, ' ' | '\t' | '\r' | '\n');
    let mut tokens = Vec::new();
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            _ if blank(c) => {}
            '(' => tokens.push(Token::Comment(comment(&mut rest))),
            '[' => tokens.push(Token::Literal(delimited(&mut rest, ']'))),
            '"' => tokens.push(Token::Quoted(delimited(&mut rest, '"'))),
            _ if c != '\\' && OPERATORS.contains(c) => tokens.push(Token::Operator(c)),
            _ => {
                let mut word = String::new();
                let mut next = Some(c);
                while let Some(c) = next {
                    word.extend(if c == '\\' { rest.next() } else { Some(c) });
                    next = rest.next_if(|c| *c == '\\' || !(blank(*c) || OPERATORS.contains(*c)));
                }
                let special = word.chars().any(|c| c == ' ' || c.is_ascii_control() || OPERATORS.contains(c));
                tokens.push(if special { Token::Quoted(word) } else { Token::Atom(word) });
            }
        }
    }
    tokens
}

/// The text up to `end`, which is taken off; a backslash takes the next character as it is.
fn delimited(rest: &mut impl Iterator<Item = char>, end: char) -> String {
    let mut text = String::new();
    while let Some(c) = rest.next() {
        match c {
            '\\' => text.extend(rest.next()),
            _ if c == end => break,
            '\t' | '\r' | '\n' => text.push(' '),
            _ => text.push(c),
        }
    }
    text
}

/// A comment in external form, parentheses included.
fn comment(rest: &mut impl Iterator<Item = char>) -> String {
    let mut text = String::from("(");
    let mut depth = 1usize;
    while let Some(c) = rest.next() {
        text.push(c);
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            '\\' => text.extend(rest.next()),
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    text
}

/// Without quotes, as names are looked up.
#[must_use]
pub fn internal(tokens: &[Token]) -> String {
    render(tokens, |text, token| match token {
        Token::Atom(word) | Token::Quoted(word) | Token::Comment(word) => text.push_str(word),
        Token::Literal(word) => text.extend(["[", word, "]"]),
        Token::Operator(c) => text.push(*c),
    })
}

/// With quotes, as values are parsed again after the lookup.
#[must_use]
pub fn external(tokens: &[Token]) -> String {
    render(tokens, |text, token| match token {
        Token::Atom(word) | Token::Comment(word) => text.push_str(word),
        Token::Quoted(word) => {
            text.push('"');
            escape(text, word, "\"\\\r\n");
            text.push('"');
        }
        Token::Literal(word) => {
            text.push('[');
            escape(text, word, "\\\r\n");
            text.push(']');
        }
        Token::Operator(',') => text.push_str(", "),
        Token::Operator(c) => text.push(*c),
    })
}

fn escape(text: &mut String, word: &str, set: &str) {
    for c in word.chars() {
        if set.contains(c) {
            text.push('\\');
        }
        text.push(c);
    }
}

fn render(tokens: &[Token], push: impl Fn(&mut String, &Token)) -> String {
    let mut text = String::new();
    for (at, token) in tokens.iter().enumerate() {
        push(&mut text, token);
        if let Some(next) = tokens.get(at + 1)
            && *token != Token::Operator(',')
            && (*next == Token::Operator('<') || token.is_word() && next.is_word())
        {
            text.push(' ');
        }
    }
    text
}
