//! Command lines: words and verbs, as Postfix's smtpd splits them.

use std::fmt;

use crate::limits;

/// One word of a command line. Quotes and brackets keep blanks inside a word, and stay in it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Word {
    pub text: String,
    /// A quote or bracket was not closed.
    pub broken: bool,
}

/// Splits a line into words; `None` if there are more than [`limits::COMMAND_WORDS`].
///
/// A word ends at a blank, or after `from:` and `to:`, so that `MAIL FROM: <a@b>` and `MAIL FROM:<a@b>` are the same.
pub(super) fn words(line: &str) -> Option<Vec<Word>> {
    let mut words = Vec::new();
    let mut points = line.chars().peekable();
    loop {
        while points.next_if(|&point| is_blank(point)).is_some() {}
        if points.peek().is_none() {
            return Some(words);
        }
        if words.len() == limits::COMMAND_WORDS {
            return None;
        }
        words.push(word(&mut points));
    }
}

fn word(points: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Word {
    let mut word = Word { text: String::new(), broken: false };
    while let Some(point) = points.next_if(|&point| !is_blank(point)) {
        word.text.push(point);
        match point {
            '<' => word.broken |= !quoted(points, &mut word.text, '>'),
            '"' => word.broken |= !quoted(points, &mut word.text, '"'),
            '\\' => word.text.extend(points.next()),
            ':' if word.text.eq_ignore_ascii_case("from:") || word.text.eq_ignore_ascii_case("to:") => break,
            _ => {}
        }
    }
    word
}

/// Copies up to the closing character. Brackets nest and may hold quoted strings. Returns whether it was closed.
fn quoted(points: &mut std::iter::Peekable<std::str::Chars<'_>>, text: &mut String, close: char) -> bool {
    let mut depth = 1;
    let mut in_quotes = close == '"';
    while let Some(point) = points.next() {
        text.push(point);
        match point {
            '\\' => text.extend(points.next()),
            '"' if in_quotes && close == '"' => return true,
            '"' => in_quotes = !in_quotes,
            '>' if !in_quotes => {
                depth -= 1;
                if depth == 0 {
                    return true;
                }
            }
            '<' if !in_quotes => depth += 1,
            _ => {}
        }
    }
    false
}

fn is_blank(point: char) -> bool {
    matches!(point, ' ' | '\t' | '\r' | '\n' | '\x0b' | '\x0c')
}

/// The commands, in the order in which the statistics list them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Helo,
    Ehlo,
    Lhlo,
    Xclient,
    Xforward,
    Starttls,
    Auth,
    Mail,
    Rcpt,
    Data,
    Bdat,
    Rset,
    Noop,
    Vrfy,
    Etrn,
    Quit,
    Unknown,
}

impl Verb {
    const NAMES: [&'static str; 17] = [
        "HELO", "EHLO", "LHLO", "XCLIENT", "XFORWARD", "STARTTLS", "AUTH", "MAIL", "RCPT", "DATA", "BDAT", "RSET",
        "NOOP", "VRFY", "ETRN", "QUIT", "UNKNOWN",
    ];

    /// The verbs that an SMTP server knows, in order.
    const SMTP: [Self; 15] = [
        Self::Helo,
        Self::Ehlo,
        Self::Xclient,
        Self::Xforward,
        Self::Starttls,
        Self::Auth,
        Self::Mail,
        Self::Rcpt,
        Self::Data,
        Self::Bdat,
        Self::Rset,
        Self::Noop,
        Self::Vrfy,
        Self::Etrn,
        Self::Quit,
    ];

    /// The verbs that an LMTP server knows.
    const LMTP: [Self; 12] = [
        Self::Lhlo,
        Self::Xclient,
        Self::Starttls,
        Self::Auth,
        Self::Mail,
        Self::Rcpt,
        Self::Data,
        Self::Bdat,
        Self::Rset,
        Self::Noop,
        Self::Vrfy,
        Self::Quit,
    ];

    pub(super) fn smtp(word: &str) -> Self {
        Self::among(&Self::SMTP, word)
    }

    pub(super) fn lmtp(word: &str) -> Self {
        Self::among(&Self::LMTP, word)
    }

    fn among(verbs: &[Self], word: &str) -> Self {
        verbs.iter().copied().find(|verb| verb.name().eq_ignore_ascii_case(word)).unwrap_or(Self::Unknown)
    }

    /// The command's name in upper case, as log lines have it; `UNKNOWN` for what is no command.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }

    /// It counts against `smtpd_junk_command_limit`.
    pub(super) fn is_junk(self) -> bool {
        matches!(self, Self::Helo | Self::Ehlo | Self::Rset | Self::Noop | Self::Vrfy | Self::Etrn)
    }

    /// It is allowed before STARTTLS where TLS is mandatory.
    pub(super) fn is_allowed_in_clear(self) -> bool {
        matches!(self, Self::Helo | Self::Ehlo | Self::Xclient | Self::Starttls | Self::Noop | Self::Quit)
    }

    /// It has to be the last of a pipelined group (RFC 2920 section 3.1).
    pub(super) fn ends_a_group(self) -> bool {
        matches!(self, Self::Helo | Self::Ehlo | Self::Data | Self::Noop | Self::Vrfy)
    }
}

/// How often each command was given and how often it succeeded, for the `disconnect from` line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    counts: [(u64, u64); Verb::NAMES.len()],
}

impl Statistics {
    pub(super) fn attempt(&mut self, verb: Verb) {
        self.counts[verb as usize].1 += 1;
    }

    pub(super) fn success(&mut self, verb: Verb) {
        self.counts[verb as usize].0 += 1;
    }

    /// How often `verb` succeeded, and how often it was given.
    pub fn get(&self, verb: Verb) -> (u64, u64) {
        self.counts[verb as usize]
    }
}

/// `ehlo=1 mail=1 rcpt=0/1 quit=1 commands=3/4`: successes, and after the slash attempts where they differ.
impl fmt::Display for Statistics {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut successes, mut attempts) = (0, 0);
        for (name, &(success, attempt)) in Verb::NAMES.iter().zip(&self.counts) {
            successes += success;
            attempts += attempt;
            if attempt > 0 {
                write!(out, "{}={success}", name.to_ascii_lowercase())?;
                if success != attempt {
                    write!(out, "/{attempt}")?;
                }
                out.write_str(" ")?;
            }
        }
        write!(out, "commands={successes}")?;
        if successes != attempts || attempts == 0 { write!(out, "/{attempts}") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(line: &str) -> Vec<(String, bool)> {
        words(line).unwrap().into_iter().map(|word| (word.text, word.broken)).collect()
    }

    #[test]
    fn lines_split_as_postfix_splits_them() {
        for (line, expected) in [
            ("", &[][..]),
            ("  noop ", &["noop"]),
            ("mail from:<a@b> size=1", &["mail", "from:", "<a@b>", "size=1"]),
            ("mail from: a@b", &["mail", "from:", "a@b"]),
            ("rcpt TO:<\"a b\"@c>", &["rcpt", "TO:", "<\"a b\"@c>"]),
            ("rcpt to:\"a b\"@c x", &["rcpt", "to:", "\"a b\"@c", "x"]),
            ("rcpt to:<a <b> c> x", &["rcpt", "to:", "<a <b> c>", "x"]),
            ("rcpt to:<\">\"@c> x", &["rcpt", "to:", "<\">\"@c>", "x"]),
            ("rcpt to:a\\ b x", &["rcpt", "to:", "a\\ b", "x"]),
        ] {
            let expected: Vec<(String, bool)> = expected.iter().map(|text| ((*text).to_owned(), false)).collect();
            assert_eq!(split(line), expected, "{line}");
        }
        assert_eq!(split("<a b"), [("<a b".to_owned(), true)]);
        assert_eq!(split("\"a"), [("\"a".to_owned(), true)]);
    }

    #[test]
    fn words_are_counted() {
        assert!(words(&"a ".repeat(limits::COMMAND_WORDS)).is_some());
        assert!(words(&"a ".repeat(limits::COMMAND_WORDS + 1)).is_none());
    }

    #[test]
    fn every_verb_has_its_name() {
        assert_eq!(Verb::Unknown as usize + 1, Verb::NAMES.len());
        for verb in Verb::SMTP {
            assert_eq!(Verb::smtp(&verb.name().to_ascii_lowercase()), verb);
        }
        for verb in Verb::LMTP {
            assert_eq!(Verb::lmtp(verb.name()), verb);
        }
        assert_eq!((Verb::smtp("LHLO"), Verb::lmtp("EHLO")), (Verb::Unknown, Verb::Unknown));
    }

    #[test]
    fn statistics_read_like_postfix() {
        let mut statistics = Statistics::default();
        assert_eq!(statistics.to_string(), "commands=0/0");
        for (verb, success) in [(Verb::Ehlo, true), (Verb::Mail, true), (Verb::Rcpt, true), (Verb::Quit, true)] {
            statistics.attempt(verb);
            if success {
                statistics.success(verb);
            }
        }
        assert_eq!(statistics.to_string(), "ehlo=1 mail=1 rcpt=1 quit=1 commands=4");
        statistics.attempt(Verb::Rcpt);
        statistics.attempt(Verb::Unknown);
        assert_eq!(statistics.to_string(), "ehlo=1 mail=1 rcpt=1/2 quit=1 unknown=0/1 commands=4/6");
    }
}
