//! The RFC 822 address forms that clients put into envelopes, reduced to the one address in them.
//!
//! A scanner splits the text into tokens, then the tokens between the brackets (or all of them, if there are none) are
//! glued together. Two words side by side, or a list or group separator, mean that there is not one address here.

/// What was found: the address in internal form, empty if there is none.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub internal: String,
    /// There were comments, or words outside the brackets.
    pub decorated: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Token {
    /// An atom or a quoted string, without its quoting.
    Word(String),
    /// A domain literal, brackets included.
    Literal(String),
    Comment,
    Operator(char),
}

/// The single address in `text`; `None` if there are several or a NUL.
///
/// ```text
/// mailbox = addr-spec / phrase route-addr    ; RFC 822 section 6.1
/// ```
pub(super) fn single_address(text: &str) -> Option<Found> {
    let mut tokens = scan(text)?;
    let before = tokens.len();
    tokens.retain(|token| *token != Token::Comment);
    let mut decorated = tokens.len() != before;
    let position = |tokens: &[Token], wanted: char| tokens.iter().position(|token| *token == Token::Operator(wanted));
    if let Some(open) = position(&tokens, '<') {
        let close = position(&tokens, '>').unwrap_or(tokens.len());
        if close < open || tokens[(close + 1).min(tokens.len())..].iter().any(is_separator_or_word) {
            return None;
        }
        if tokens[..open].iter().any(|token| matches!(token, Token::Operator(',' | ';' | ':'))) {
            return None;
        }
        decorated |= open > 0;
        tokens.truncate(close);
        tokens.drain(..=open);
    } else if tokens.last() == Some(&Token::Operator('>')) {
        // Postfix overlooks a bracket that closes nothing.
        tokens.pop();
    }
    let mut internal = String::new();
    let mut after_word = false;
    for token in tokens {
        match token {
            Token::Word(text) | Token::Literal(text) => {
                if after_word {
                    return None;
                }
                internal.push_str(&text);
                after_word = true;
            }
            Token::Operator(',' | ';' | '<' | '>') => return None,
            Token::Operator(point) => {
                internal.push(point);
                after_word = false;
            }
            Token::Comment => {}
        }
    }
    Some(Found { internal, decorated })
}

fn is_separator_or_word(token: &Token) -> bool {
    matches!(token, Token::Word(_) | Token::Literal(_) | Token::Operator(',' | ';' | '<'))
}

/// Splits `text` into tokens; what is not closed ends at the end of the text.
fn scan(text: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut points = text.chars().peekable();
    while let Some(point) = points.next() {
        match point {
            '\0' => return None,
            ' ' | '\t' | '\r' | '\n' => {}
            '(' => {
                skip_comment(&mut points);
                tokens.push(Token::Comment);
            }
            '"' => tokens.push(Token::Word(until(&mut points, '"')?)),
            '[' => tokens.push(Token::Literal(format!("[{}]", until(&mut points, ']')?))),
            _ if is_operator(point) => tokens.push(Token::Operator(point)),
            _ => {
                let mut atom = String::new();
                let mut next = Some(point);
                while let Some(point) = next {
                    // A backslash takes the next character as it is.
                    atom.extend(if point == '\\' { points.next() } else { Some(point) });
                    next = points.next_if(|&point| !is_operator(point) && !matches!(point, ' ' | '\t' | '\r' | '\n'));
                }
                if atom.contains('\0') {
                    return None;
                }
                tokens.push(Token::Word(atom));
            }
        }
    }
    Some(tokens)
}

fn is_operator(point: char) -> bool {
    matches!(point, '|' | '%' | '!' | '<' | '>' | '(' | ')' | '@' | ',' | ';' | ':' | '"' | '.' | '[' | ']')
}

fn until(points: &mut impl Iterator<Item = char>, end: char) -> Option<String> {
    let mut text = String::new();
    while let Some(point) = points.next() {
        match point {
            '\0' => return None,
            '\\' => text.extend(points.next()),
            _ if point == end => break,
            _ => text.push(point),
        }
    }
    (!text.contains('\0')).then_some(text)
}

/// Comments nest; the depth is a count, so that no input can exhaust the stack.
fn skip_comment(points: &mut impl Iterator<Item = char>) {
    let mut depth = 1;
    while let Some(point) = points.next() {
        match point {
            '(' => depth += 1,
            ')' => depth -= 1,
            '\\' => drop(points.next()),
            _ => {}
        }
        if depth == 0 {
            return;
        }
    }
}
