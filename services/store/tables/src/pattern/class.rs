//! Bracket expressions of both dialects.

use super::{Dialect, Translator};
use std::fmt::Write;

/// The names that `[:name:]` may have; `word` is Perl's.
const NAMES: [&str; 13] = [
    "alnum", "alpha", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper", "xdigit", "word",
];

impl Translator<'_> {
    /// A bracket expression; the `[` was taken.
    pub(super) fn class(&mut self) -> Result<(), String> {
        let unmatched = || "Unmatched [, [^, [:, [., or [=".to_owned();
        let mut class = String::from("[");
        if self.skip('^') {
            class.push('^');
            // With REG_NEWLINE a list that does not hold the line end does not match it either.
            if self.options.dialect == Dialect::Posix && self.options.multi_line {
                class.push_str("\\n");
            }
        }
        let mut first = true;
        loop {
            let letter = self.next().ok_or_else(unmatched)?;
            match letter {
                ']' if !first => break,
                '[' if matches!(self.peek(), Some(':')) => class.push_str(&self.named_class()?),
                _ => {
                    let low = self.class_member(letter, &mut class)?;
                    let range = low.is_some() && self.peek() == Some('-') && self.input.get(self.at + 1) != Some(&']');
                    match low {
                        Some(low) if range => {
                            self.at += 1;
                            let letter = self.next().ok_or_else(unmatched)?;
                            let mut after = String::new();
                            match self.class_member(letter, &mut after)? {
                                Some(high) if low <= high => self.class_range(&mut class, low, high),
                                Some(_) => return Err("Invalid range end".to_owned()),
                                None => {
                                    self.class_character(&mut class, low);
                                    self.class_character(&mut class, '-');
                                    class.push_str(&after);
                                }
                            }
                        }
                        Some(low) => self.class_character(&mut class, low),
                        None => {}
                    }
                }
            }
            first = false;
        }
        class.push(']');
        self.push_atom(&class);
        Ok(())
    }

    /// One member of a class: its character, or `None` if it was a set, which then stands in `class`.
    fn class_member(&mut self, letter: char, class: &mut String) -> Result<Option<char>, String> {
        if letter == '[' && matches!(self.peek(), Some('.' | '=')) {
            let kind = self.next();
            let member = self.next().ok_or("Invalid collation character")?;
            if self.next() != kind || !self.skip(']') {
                return Err("Invalid collation character".to_owned());
            }
            return Ok(Some(member));
        }
        if letter != '\\' || self.options.dialect == Dialect::Posix {
            return Ok(Some(letter));
        }
        let escaped = self.next().ok_or("\\ at end of pattern")?;
        match escaped {
            'd' | 'D' | 'w' | 'W' | 's' | 'S' => {
                class.push('\\');
                class.push(escaped);
                Ok(None)
            }
            'h' => {
                class.push_str("\\t\\x20");
                Ok(None)
            }
            'b' => Ok(Some('\x08')),
            _ => self.character(escaped).map(Some),
        }
    }

    /// `[:name:]` inside a class; the first bracket was taken.
    fn named_class(&mut self) -> Result<String, String> {
        let rest: String = self.input[self.at..].iter().take(12).collect();
        let name = rest[1..].split_once(":]").map(|(name, _)| name).ok_or("Invalid character class name")?;
        let plain = name.strip_prefix('^').filter(|_| self.options.dialect == Dialect::Perl).unwrap_or(name);
        if !NAMES.contains(&plain) {
            return Err("Invalid character class name".to_owned());
        }
        self.at += name.len() + 3;
        Ok(format!("[:{name}:]"))
    }

    fn class_character(&self, class: &mut String, letter: char) {
        if self.bytes || letter.is_ascii() {
            for byte in letter.encode_utf8(&mut [0; 4]).bytes() {
                write!(class, "\\x{byte:02X}").expect("a String takes all that is written");
            }
        } else {
            class.push(letter);
        }
    }

    fn class_range(&self, class: &mut String, low: char, high: char) {
        if self.bytes && !high.is_ascii() {
            // Bytes have no order of characters: the two ends are members, and every byte between them.
            self.class_character(class, low);
            self.class_character(class, high);
            return;
        }
        self.class_character(class, low);
        class.push('-');
        self.class_character(class, high);
    }
}
