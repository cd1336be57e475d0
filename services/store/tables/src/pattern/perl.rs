//! Perl patterns. The syntax is the regex crates' own but for what is named here.

use super::Translator;

impl Translator<'_> {
    pub(super) fn perl(&mut self) -> Result<(), String> {
        while let Some(letter) = self.next() {
            match letter {
                '\\' => self.perl_escape()?,
                '[' => self.class()?,
                '(' if self.input[self.at..].starts_with(&['?', '#']) => while self.next().is_some_and(|c| c != ')') {},
                '$' if self.options.multi_line => self.out.push('$'),
                '$' if self.options.dollar_end_only => self.out.push_str("\\z"),
                '$' => self.out.push_str("(?:\\n?\\z)"),
                '{' => match self.interval("}") {
                    Some(interval) => {
                        self.out.push_str(&interval);
                        self.possessive();
                    }
                    None => self.out.push_str("\\{"),
                },
                '*' | '+' | '?' if !self.out.ends_with('(') => {
                    self.out.push(letter);
                    self.possessive();
                }
                '}' | ']' => self.push_literal(letter),
                _ => self.out.push(letter),
            }
        }
        Ok(())
    }

    fn possessive(&mut self) {
        if self.skip('+') {
            self.needs_backtracking = true;
            self.out.push('+');
        } else if self.skip('?') {
            self.out.push('?');
        }
    }

    fn perl_escape(&mut self) -> Result<(), String> {
        let letter = self.next().ok_or("\\ at end of pattern")?;
        match letter {
            'Z' => self.out.push_str("(?:\\n?\\z)"),
            'h' => self.out.push_str("[\\t\\x20]"),
            'H' => self.out.push_str("[^\\t\\x20]"),
            'v' => self.out.push_str("[\\n\\x0B\\f\\r]"),
            'V' => self.out.push_str("[^\\n\\x0B\\f\\r]"),
            'N' => self.out.push_str("[^\\n]"),
            'R' => self.out.push_str("(?:\\r\\n|[\\n\\x0B\\f\\r])"),
            'Q' => {
                while self.at < self.input.len() && !self.input[self.at..].starts_with(&['\\', 'E']) {
                    let quoted = self.input[self.at];
                    self.at += 1;
                    self.push_literal(quoted);
                }
                self.at = (self.at + 2).min(self.input.len());
            }
            'E' => {}
            '1'..='9' => self.back_reference(letter),
            'k' | 'g' | 'K' => {
                self.needs_backtracking = true;
                self.out.push('\\');
                self.out.push(letter);
            }
            'd' | 'D' | 'w' | 'W' | 's' | 'S' | 'b' | 'B' | 'A' | 'z' | 'p' | 'P' => {
                self.out.push('\\');
                self.out.push(letter);
            }
            _ => {
                let literal = self.character(letter)?;
                self.push_literal(literal);
            }
        }
        Ok(())
    }

    /// The character that a Perl escape stands for, in a class or outside.
    pub(super) fn character(&mut self, letter: char) -> Result<char, String> {
        Ok(match letter {
            'a' => '\x07',
            'e' => '\x1b',
            'f' => '\x0c',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'c' => char::from(self.next().ok_or("\\c at end of pattern")?.to_ascii_uppercase() as u8 ^ 0x40),
            '0' => self.number(8, 2)?,
            'x' if self.skip('{') => {
                let value = self.number(16, 6)?;
                if !self.skip('}') {
                    return Err("missing terminating } for hexadecimal".to_owned());
                }
                value
            }
            'x' => self.number(16, 2)?,
            _ if letter.is_ascii_alphanumeric() => return Err("unrecognized character follows \\".to_owned()),
            _ => letter,
        })
    }

    fn number(&mut self, radix: u32, digits: usize) -> Result<char, String> {
        let mut value = 0;
        for _ in 0..digits {
            let Some(digit) = self.peek().and_then(|c| c.to_digit(radix)) else { break };
            value = value * radix + digit;
            self.at += 1;
        }
        char::from_u32(value).ok_or_else(|| "character code point value is too large".to_owned())
    }
}
