//! POSIX patterns, as glibc reads them.

use super::Translator;

/// glibc's words for a quantifier with nothing before it.
const NOTHING: &str = "Invalid preceding regular expression";
/// … and for braces that do not hold a number of repetitions.
const UNMATCHED: &str = "Unmatched \\{";

impl Translator<'_> {
    /// POSIX extended syntax, as glibc reads it.
    pub(super) fn extended(&mut self) -> Result<(), String> {
        while let Some(letter) = self.next() {
            match letter {
                '\\' => self.posix_escape()?,
                '[' => self.class()?,
                '(' => self.open_group("("),
                ')' if !self.groups.is_empty() => self.close_group(),
                '|' | '^' | '$' => self.push_operator(letter.encode_utf8(&mut [0; 4])),
                '.' => self.push_atom("."),
                '*' | '+' | '?' => self.push_quantifier(letter.encode_utf8(&mut [0; 4]))?,
                '{' => {
                    let interval = self.interval("}").ok_or(if self.atom.is_some() { UNMATCHED } else { NOTHING })?;
                    self.push_quantifier(&interval)?;
                }
                _ => self.push_literal(letter),
            }
        }
        if self.groups.is_empty() { Ok(()) } else { Err("Unmatched ( or \\(".to_owned()) }
    }

    /// POSIX basic syntax with the GNU operators `\+ \? \|`.
    pub(super) fn basic(&mut self) -> Result<(), String> {
        let mut start = true;
        while let Some(letter) = self.next() {
            let at_start = std::mem::replace(&mut start, false);
            match letter {
                '\\' => match self.peek() {
                    Some('(') => {
                        self.at += 1;
                        self.open_group("(");
                        start = true;
                    }
                    Some(')') => {
                        self.at += 1;
                        if self.groups.is_empty() {
                            return Err("Unmatched ) or \\)".to_owned());
                        }
                        self.close_group();
                    }
                    Some('|') => {
                        self.at += 1;
                        self.push_operator("|");
                        start = true;
                    }
                    Some(operator @ ('+' | '?')) if self.atom.is_some() => {
                        self.at += 1;
                        self.push_quantifier(operator.encode_utf8(&mut [0; 4]))?;
                    }
                    Some('{') => {
                        self.at += 1;
                        let interval =
                            self.interval("\\}").ok_or(if self.atom.is_some() { UNMATCHED } else { NOTHING })?;
                        self.push_quantifier(&interval)?;
                    }
                    _ => self.posix_escape()?,
                },
                '[' => self.class()?,
                '^' if at_start => {
                    self.push_operator("^");
                    start = true;
                }
                '$' if self.at_basic_end() => self.push_operator("$"),
                '.' => self.push_atom("."),
                '*' if !at_start => self.push_quantifier("*")?,
                _ => self.push_literal(letter),
            }
        }
        if self.groups.is_empty() { Ok(()) } else { Err("Unmatched ( or \\(".to_owned()) }
    }

    fn at_basic_end(&self) -> bool {
        matches!(&self.input[self.at..], [] | ['\\', ')' | '|', ..])
    }

    fn posix_escape(&mut self) -> Result<(), String> {
        let letter = self.next().ok_or("Trailing backslash")?;
        match letter {
            'w' | 'W' | 's' | 'S' => self.push_atom(&format!("\\{letter}")),
            'b' | 'B' => self.push_operator(&format!("\\{letter}")),
            '<' => self.push_operator("\\b{start}"),
            '>' => self.push_operator("\\b{end}"),
            '`' => self.push_operator("\\A"),
            '\'' => self.push_operator("\\z"),
            '1'..='9' => self.back_reference(letter),
            _ => self.push_literal(letter),
        }
        Ok(())
    }

    /// POSIX: a quantifier after a quantifier repeats the whole, and does not make it lazy.
    fn push_quantifier(&mut self, text: &str) -> Result<(), String> {
        let Some(start) = self.atom else { return Err(NOTHING.to_owned()) };
        if self.quantified {
            self.out.insert_str(start, "(?:");
            self.out.push(')');
        }
        self.out.push_str(text);
        self.quantified = true;
        Ok(())
    }
}
