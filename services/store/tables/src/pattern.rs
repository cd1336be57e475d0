//! POSIX and Perl patterns, translated to the syntax of the regex crates.
//!
//! What is the same: operators, groups, classes, anchors, back-references, look-around, the GNU extensions `\w \< \>`.
//! What differs, and why it is accepted:
//! - POSIX takes the longest of several alternatives, this engine the first that matches. Whether a line matches is the
//!   same; only the text of `$1` can differ, as in `(a|ab)(c|bcd)`.
//! - Patterns see bytes, as in Postfix's C locale. A pattern that needs backtracking (back-references, look-around,
//!   possessive quantifiers) sees characters instead, which differs for `.` and letters outside ASCII alone.
//! - Recursion, callouts, conditionals and `\G` of PCRE are refused: the rule is skipped with a warning, as Postfix does
//!   with a pattern that it cannot compile.

use std::fmt::Write;

/// Which language a table is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// `regexp:`
    Posix,
    /// `pcre:`
    Perl,
}

/// The options of one pattern, after the defaults of the table's dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub dialect: Dialect,
    /// Letters match in either case (`i` turns it off).
    pub ignore_case: bool,
    /// `^` and `$` match at line ends within the text (`m`).
    pub multi_line: bool,
    /// `.` matches a line end (Perl: `s` turns it off; POSIX: off with `m`).
    pub dot_all: bool,
    /// POSIX: basic instead of extended syntax (`x`).
    pub basic: bool,
    /// Perl: white space and comments are left out (`x`).
    pub verbose: bool,
    /// Perl: matches only at the start (`A`).
    pub anchored: bool,
    /// Perl: `$` does not match before a line end at the end (`E`).
    pub dollar_end_only: bool,
    /// Perl: greedy and lazy quantifiers swapped (`U`).
    pub ungreedy: bool,
}

impl Options {
    /// Postfix's defaults.
    pub fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            ignore_case: true,
            multi_line: false,
            dot_all: true,
            basic: false,
            verbose: false,
            anchored: false,
            dollar_end_only: false,
            ungreedy: false,
        }
    }

    /// Applies one option letter; `false` if the dialect has no such option.
    pub fn toggle(&mut self, letter: char) -> bool {
        match (letter, self.dialect) {
            ('i', _) => self.ignore_case ^= true,
            ('m', Dialect::Posix) => {
                self.multi_line ^= true;
                self.dot_all ^= true;
            }
            ('m', Dialect::Perl) => self.multi_line ^= true,
            ('x', Dialect::Posix) => self.basic ^= true,
            ('x', Dialect::Perl) => self.verbose ^= true,
            ('s', Dialect::Perl) => self.dot_all ^= true,
            ('A', Dialect::Perl) => self.anchored ^= true,
            ('E', Dialect::Perl) => self.dollar_end_only ^= true,
            ('U', Dialect::Perl) => self.ungreedy ^= true,
            // PCRE2 has no such option any more, and Postfix ignores it.
            ('X', Dialect::Perl) => {}
            _ => return false,
        }
        true
    }
}

/// A pattern in the syntax of the regex crates.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Translated {
    pub text: String,
    /// The linear-time engine would read it as something else.
    pub needs_backtracking: bool,
}

/// Translates `pattern`. `bytes` chooses how characters outside ASCII stand in a class: as bytes or as characters.
///
/// # Errors
///
/// The reason why the pattern is malformed, in the words of the C library.
pub(crate) fn translate(pattern: &str, options: Options, bytes: bool) -> Result<Translated, String> {
    let input: Vec<char> = pattern.chars().collect();
    let mut translator = Translator {
        input: &input,
        at: 0,
        options,
        bytes,
        out: String::with_capacity(pattern.len() + 8),
        atom: None,
        quantified: false,
        groups: Vec::new(),
        needs_backtracking: false,
    };
    if options.anchored {
        translator.out.push_str("\\A(?:");
    }
    match (options.dialect, options.basic) {
        (Dialect::Perl, _) => translator.perl()?,
        (Dialect::Posix, false) => translator.extended()?,
        (Dialect::Posix, true) => translator.basic()?,
    }
    if options.anchored {
        translator.out.push(')');
    }
    Ok(Translated { text: translator.out, needs_backtracking: translator.needs_backtracking })
}

struct Translator<'a> {
    input: &'a [char],
    at: usize,
    options: Options,
    bytes: bool,
    out: String,
    /// Where the last atom starts in `out`.
    atom: Option<usize>,
    /// The last atom has a quantifier already.
    quantified: bool,
    /// Where the open groups start in `out`.
    groups: Vec<usize>,
    needs_backtracking: bool,
}

impl Translator<'_> {
    fn next(&mut self) -> Option<char> {
        let next = self.input.get(self.at).copied();
        self.at += usize::from(next.is_some());
        next
    }

    fn peek(&self) -> Option<char> {
        self.input.get(self.at).copied()
    }

    fn skip(&mut self, expected: char) -> bool {
        let here = self.peek() == Some(expected);
        self.at += usize::from(here);
        here
    }

    /// A piece that a quantifier may follow.
    fn push_atom(&mut self, text: &str) {
        self.atom = Some(self.out.len());
        self.quantified = false;
        self.out.push_str(text);
    }

    fn push_literal(&mut self, letter: char) {
        self.atom = Some(self.out.len());
        self.quantified = false;
        if letter.is_ascii() && !letter.is_ascii_alphanumeric() {
            write!(self.out, "\\x{:02X}", letter as u32).expect("a String takes all that is written");
        } else {
            self.out.push(letter);
        }
    }

    /// A piece that no quantifier may follow.
    fn push_operator(&mut self, text: &str) {
        self.atom = None;
        self.quantified = false;
        self.out.push_str(text);
    }

    fn open_group(&mut self, text: &str) {
        self.groups.push(self.out.len());
        self.push_operator(text);
    }

    fn close_group(&mut self) {
        let start = self.groups.pop();
        self.out.push(')');
        self.atom = start;
        self.quantified = false;
    }

    /// POSIX: a quantifier after a quantifier repeats the whole, and does not make it lazy.
    fn push_quantifier(&mut self, text: &str) -> Result<(), String> {
        let Some(start) = self.atom else { return Err("Invalid preceding regular expression".to_owned()) };
        if self.quantified {
            self.out.insert_str(start, "(?:");
            self.out.push(')');
        }
        self.out.push_str(text);
        self.quantified = true;
        Ok(())
    }

    /// POSIX extended syntax, as glibc reads it.
    fn extended(&mut self) -> Result<(), String> {
        while let Some(letter) = self.next() {
            match letter {
                '\\' => self.posix_escape()?,
                '[' => self.class()?,
                '(' => self.open_group("("),
                ')' if !self.groups.is_empty() => self.close_group(),
                '|' | '^' | '$' => self.push_operator(letter.encode_utf8(&mut [0; 4])),
                '.' => self.push_atom("."),
                '*' | '+' | '?' => self.push_quantifier(letter.encode_utf8(&mut [0; 4]))?,
                '{' => match self.interval("}") {
                    Some(interval) => self.push_quantifier(&interval)?,
                    None => self.push_literal('{'),
                },
                _ => self.push_literal(letter),
            }
        }
        if self.groups.is_empty() { Ok(()) } else { Err("Unmatched ( or \\(".to_owned()) }
    }

    /// POSIX basic syntax with the GNU operators `\+ \? \|`.
    fn basic(&mut self) -> Result<(), String> {
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
                    Some(operator @ ('+' | '?')) => {
                        self.at += 1;
                        self.push_quantifier(operator.encode_utf8(&mut [0; 4]))?;
                    }
                    Some('{') => {
                        self.at += 1;
                        let interval = self.interval("\\}").ok_or("Invalid content of \\{\\}")?;
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

    fn back_reference(&mut self, digit: char) {
        self.needs_backtracking = true;
        self.push_atom(&format!("(?:\\{digit})"));
    }

    /// The rest of `{n}`, `{n,}`, `{n,m}` or `{,m}`; nothing is taken when it is none.
    fn interval(&mut self, end: &str) -> Option<String> {
        let rest: String = self.input[self.at..].iter().take(16).collect();
        let (body, _) = rest.split_once(end)?;
        let (least, most) = body.split_once(',').map_or((body, None), |(least, most)| (least, Some(most)));
        let number = |text: &str| text.bytes().all(|digit| digit.is_ascii_digit());
        if !number(least) || !number(most.unwrap_or("")) || least.is_empty() && most.is_none_or(str::is_empty) {
            return None;
        }
        // Perl reads `{,m}` as text.
        if least.is_empty() && self.options.dialect == Dialect::Perl {
            return None;
        }
        self.at += body.chars().count() + end.len();
        let least = if least.is_empty() { "0" } else { least };
        Some(most.map_or_else(|| format!("{{{least}}}"), |most| format!("{{{least},{most}}}")))
    }

    /// Perl's syntax is the regex crates' own but for what is named here.
    fn perl(&mut self) -> Result<(), String> {
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
    fn character(&mut self, letter: char) -> Result<char, String> {
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

    /// A bracket expression; the `[` was taken.
    fn class(&mut self) -> Result<(), String> {
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
        let known = [
            "alnum", "alpha", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper",
            "xdigit", "word",
        ];
        if !known.contains(&plain) {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn posix(pattern: &str, options: &str) -> Result<String, String> {
        let mut parsed = Options::new(Dialect::Posix);
        assert!(options.chars().all(|letter| parsed.toggle(letter)));
        translate(pattern, parsed, true).map(|translated| translated.text)
    }

    fn perl(pattern: &str, options: &str) -> Result<String, String> {
        let mut parsed = Options::new(Dialect::Perl);
        assert!(options.chars().all(|letter| parsed.toggle(letter)));
        translate(pattern, parsed, true).map(|translated| translated.text)
    }

    #[test]
    fn posix_extended() {
        for (pattern, expected) in [
            ("^a(b|c)*$", "^a(b|c)*$"),
            ("a+?b", "(?:a+)?b"),
            ("(ab)**", "(?:(ab)*)*"),
            ("a{2,3}b{,4}c{x", "a{2,3}b{0,4}c\\x7Bx"),
            ("a)b", "a\\x29b"),
            (r"[\d]\.\<w\>", r"[\x5C\x64]\x2E\b{start}w\b{end}"),
            ("[]a-c[:digit:]-]", "[\\x5D\\x61-\\x63[:digit:]\\x2D]"),
            ("[[.-.]a[=b=]]", "[\\x2D\\x61\\x62]"),
            ("[a&&b]", "[\\x61\\x26\\x26\\x62]"),
            ("é", "é"),
        ] {
            assert_eq!(posix(pattern, "").as_deref(), Ok(expected), "{pattern}");
        }
        for pattern in ["*a", "(a", "[a", "a\\", "[[:nope:]]", "[b-a]", "|*"] {
            assert!(posix(pattern, "").is_err(), "{pattern}");
        }
    }

    #[test]
    fn posix_basic_and_newline() {
        for (pattern, expected) in [
            (r"*a\(b\)\{2\}", r"\x2Aa(b){2}"),
            (r"a|b+(c)", r"a\x7Cb\x2B\x28c\x29"),
            (r"a^b$c$", r"a\x5Eb\x24c$"),
            (r"\(^a$\|^*b\)", r"(^a$|^\x2Ab)"),
            (r"a\+b\?", "a+b?"),
        ] {
            assert_eq!(posix(pattern, "x").as_deref(), Ok(expected), "{pattern}");
        }
        assert_eq!(posix("[^a].", "m").as_deref(), Ok("[^\\n\\x61]."));
    }

    #[test]
    fn perl_table() {
        for (pattern, options, expected) in [
            ("^a$", "", r"^a(?:\n?\z)"),
            ("^a$", "E", r"^a\z"),
            ("^a$", "m", "^a$"),
            ("a", "A", r"\A(?:a)"),
            (r"\<\/a\-\@", "", r"\x3C\x2Fa\x2D\x40"),
            (r"\Qa.b\Ec.", "", r"a\x2Ebc."),
            ("a{,3}{x}b{2,}", "", r"a\{,3\x7D\{x\x7Db{2,}"),
            (r"[\w\-.]+?\h", "", r"[\w\x2D\x2E]+?[\t\x20]"),
            (r"a(?#no)b\e\x41\x{e9}", "", r"ab\x1BAé"),
        ] {
            assert_eq!(perl(pattern, options).as_deref(), Ok(expected), "{pattern}");
        }
    }

    #[test]
    fn what_needs_backtracking() {
        for (pattern, needs) in [("a++", true), (r"(a)\1", true), ("a+", false), ("(?=a)", false)] {
            let translated = translate(pattern, Options::new(Dialect::Perl), true).unwrap();
            assert_eq!(translated.needs_backtracking, needs, "{pattern}");
        }
    }

    #[test]
    fn nothing_panics() {
        let alphabet: Vec<char> = "ab\\[](){}^$*+?|.-:=,129QEcx<éwd".chars().collect();
        let mut state = 1u32;
        for _ in 0..50_000 {
            let pattern: String = (0..state % 12)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    alphabet[(state >> 8) as usize % alphabet.len()]
                })
                .collect();
            state = state.wrapping_add(1);
            let _ = (posix(&pattern, ""), posix(&pattern, "x"), perl(&pattern, ""));
        }
    }
}
