//! Parameters of MIME fields (RFC 2045 §5.1), and those in pieces (RFC 2231).
//!
//! ```text
//! parameters = *(";" [CFWS] token "=" [CFWS] (token / quoted-string))
//! token      = name ["*" number] ["*"]
//! ```
//!
//! The pieces `name*0`, `name*1*`, … become one parameter `name`, or `name*` if one of them is encoded (`name*1*`); the
//! encoding stays in the value, for the client to undo. Pieces with a gap between their numbers stay as they are.

use crate::lexer::{Lexer, Malformed};
use crate::limits;

/// A parameter. A value is as the client gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// The name as written.
    pub name: Vec<u8>,
    /// The value without quotes.
    pub value: Vec<u8>,
}

/// A piece of a parameter.
struct Piece {
    name: Vec<u8>,
    number: u32,
    encoded: bool,
    value: Vec<u8>,
}

/// Reads parameters up to the end of the field. Text that is no parameter is skipped.
pub(crate) fn parameters(lexer: &mut Lexer<'_>) -> Vec<Parameter> {
    let mut whole = Vec::new();
    let mut pieces: Vec<Piece> = Vec::new();
    let mut number = 0;
    while lexer.peek().is_some() && whole.len() + pieces.len() < limits::PARAMETERS {
        let Ok(parameter) = parameter(lexer) else {
            lexer.advance();
            continue;
        };
        match split_name(&parameter.name) {
            Some((name, own_number, encoded)) => {
                // Without a number of its own a piece has that of the piece before it. This is Dovecot's doing, and
                // nobody else's; it shows only where parameters with and without numbers are mixed.
                number = own_number.unwrap_or(number);
                pieces.push(Piece { name: name.to_vec(), number, encoded, value: parameter.value });
            }
            None => whole.push(parameter),
        }
    }
    pieces.sort_by(|a, b| (&a.name, a.number).cmp(&(&b.name, b.number)));
    for pieces in pieces.chunk_by(|a, b| a.name.eq_ignore_ascii_case(&b.name)) {
        join(pieces, &mut whole);
    }
    whole
}

fn parameter(lexer: &mut Lexer<'_>) -> Result<Parameter, Malformed> {
    if !lexer.take(b';') || !lexer.skip_white_space()? {
        return Err(Malformed);
    }
    let mut name = Vec::new();
    if !lexer.token(&mut name)? || !lexer.take(b'=') {
        return Err(Malformed);
    }
    let mut value = Vec::new();
    if lexer.skip_white_space()? {
        match lexer.peek() {
            Some(b'"') => drop(lexer.quoted_string(&mut value)?),
            // An encoded word outside quotes is wrong and common.
            Some(b'=') => {
                while let Some(byte) = lexer.peek().filter(|byte| !b"; \t\r\n".contains(byte)) {
                    value.push(byte);
                    lexer.advance();
                }
                value.truncate(memchr::memchr(0, &value).unwrap_or(value.len()));
            }
            _ => drop(lexer.token(&mut value)?),
        }
    }
    Ok(Parameter { name, value })
}

/// Splits `name*2*`: the name, the number if there is one, and whether the value is encoded.
fn split_name(name: &[u8]) -> Option<(&[u8], Option<u32>, bool)> {
    let star = name.iter().position(|byte| *byte == b'*')?;
    let (base, suffix) = name.split_at(star);
    let digits = suffix[1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let number = suffix[1..=digits]
        .iter()
        .fold(0u32, |number, digit| number.wrapping_mul(10).wrapping_add(u32::from(digit - b'0')));
    match (&suffix[1 + digits..], suffix.len()) {
        (b"", 1) => Some((base, None, true)),
        (b"*", _) => Some((base, Some(number), true)),
        (b"", _) => Some((base, Some(number), false)),
        _ => None,
    }
}

fn join(pieces: &[Piece], whole: &mut Vec<Parameter>) {
    let complete = pieces.iter().zip(0u32..).all(|(piece, number)| piece.number == number);
    if !complete {
        for piece in pieces {
            let mut name = piece.name.clone();
            name.extend(format!("*{}{}", piece.number, if piece.encoded { "*" } else { "" }).bytes());
            whole.push(Parameter { name, value: piece.value.clone() });
        }
        return;
    }
    let encoded = pieces.iter().any(|piece| piece.encoded);
    let mut value = Vec::new();
    if encoded && !pieces[0].encoded {
        // No charset and no language.
        value.extend(b"''");
    }
    for piece in pieces {
        if encoded && !piece.encoded {
            value.extend(
                piece
                    .value
                    .iter()
                    .flat_map(|byte| if *byte == b'%' { &b"%25"[..] } else { std::slice::from_ref(byte) }),
            );
        } else {
            value.extend(&piece.value);
        }
    }
    let mut name = pieces[0].name.clone();
    if encoded {
        name.push(b'*');
    }
    whole.push(Parameter { name, value });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Vec<(String, String)> {
        let utf8 = |bytes| String::from_utf8(bytes).unwrap();
        parameters(&mut Lexer::new(text.as_bytes())).into_iter().map(|p| (utf8(p.name), utf8(p.value))).collect()
    }

    #[test]
    fn parameter_table() {
        for (text, expected) in [
            ("; a=b; C=\"d e\"", vec![("a", "b"), ("C", "d e")]),
            ("; a=b junk ; c=d", vec![("a", "b"), ("c", "d")]),
            ("; a=; b=c", vec![("a", ""), ("b", "c")]),
            ("; name==?utf-8?b?abc?= ; x=y", vec![("name", "=?utf-8?b?abc?="), ("x", "y")]),
            ("; f*1=b; f*0=a; f*2=c", vec![("f", "abc")]),
            ("; f*0*=utf-8''a%20; f*1=b%; x=y", vec![("x", "y"), ("f*", "utf-8''a%20b%25")]),
            ("; f*0=a; f*1*=%20", vec![("f*", "''a%20")]),
            ("; f*0=a; f*2=c", vec![("f*0", "a"), ("f*2", "c")]),
            ("; f*=utf-8''x", vec![("f*", "utf-8''x")]),
            ("; f*x=y", vec![("f*x", "y")]),
            ("; a", vec![]),
        ] {
            let expected: Vec<_> = expected.into_iter().map(|(a, b)| (a.to_owned(), b.to_owned())).collect();
            assert_eq!(parse(text), expected, "{text}");
        }
    }

    #[test]
    fn number_of_parameters_is_limited() {
        assert_eq!(parse(&"; a=b".repeat(limits::PARAMETERS)).len(), limits::PARAMETERS);
        assert_eq!(parse(&"; a=b".repeat(limits::PARAMETERS + 1)).len(), limits::PARAMETERS);
    }
}
