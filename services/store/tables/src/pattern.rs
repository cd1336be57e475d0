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

mod class;
mod perl;
mod posix;

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
            ("a{2,3}b{,4}", "a{2,3}b{0,4}"),
            ("a)b", "a\\x29b"),
            (r"[\d]\.\<w\>", r"[\x5C\x64]\x2E\b{start}w\b{end}"),
            ("[]a-c[:digit:]-]", "[\\x5D\\x61-\\x63[:digit:]\\x2D]"),
            ("[[.-.]a[=b=]]", "[\\x2D\\x61\\x62]"),
            ("[a&&b]", "[\\x61\\x26\\x26\\x62]"),
            ("é", "é"),
        ] {
            assert_eq!(posix(pattern, "").as_deref(), Ok(expected), "{pattern}");
        }
        for pattern in ["*a", "(a", "[a", "a\\", "[[:nope:]]", "[b-a]", "|*", "{x", "a{x"] {
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
