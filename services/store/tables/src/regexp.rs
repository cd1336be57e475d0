//! `regexp:` and `pcre:`: patterns, tried in order.
//!
//! ```text
//! /pattern/flags  text with $1 ${2} $(3) $$     flags toggle: POSIX i m x, Perl i m s x A E U X
//! !/pattern/      text                          matches what the pattern does not
//! /one/!/two/     text                          regexp: alone: matches one and not two
//! if /pattern/                                  the rules up to endif apply to what matches
//! endif
//! ```
//!
//! The delimiter is whatever character stands first, unless it is a letter or digit.

use crate::cidr::{keyword, negations};
use crate::pattern::{Dialect, Options, translate};
use crate::source::{LogicalLine, logical_lines, trim, utf8_line};
use crate::spec::inline_rules;
use crate::watched::{Rules, Watched};
use crate::{Context, Matching, Table, TableError, TableSpec};
use std::fs::File;
use std::io::Read;
use std::sync::Arc;

/// The most memory that one compiled pattern may take, in bytes.
const COMPILED_LIMIT: usize = 10 << 20;
/// The most steps of a backtracking match before it counts as failed.
const BACKTRACK_LIMIT: usize = 1_000_000;

pub(crate) struct Regexp {
    spec: TableSpec,
    dialect: Dialect,
    rules: Rules<Vec<Rule>>,
}

impl Regexp {
    pub fn new(spec: &TableSpec, context: &Context, dialect: Dialect) -> Self {
        let rules = match inline_rules(&spec.name) {
            Some(text) => Rules::Name(Arc::new(parser(spec, dialect, context).rules(text.as_bytes()))),
            None => Rules::File(Watched::new(context, spec.to_string(), "open", spec.name.clone())),
        };
        Self { spec: spec.clone(), dialect, rules }
    }

    fn load(&self, context: &Context, mut file: File) -> Result<Vec<Rule>, TableError> {
        let mut text = Vec::new();
        let name = &self.spec.name;
        file.read_to_end(&mut text).map_err(|error| TableError::io(&self.spec.to_string(), "read", name, &error))?;
        Ok(parser(&self.spec, self.dialect, context).rules(&text))
    }
}

fn parser<'a>(spec: &'a TableSpec, dialect: Dialect, context: &'a Context) -> Parser<'a> {
    let (kind, name) = (spec.kind.name(), spec.name.as_str());
    Parser { kind, name, dialect, substitution: !spec.flags.no_substitution, warn: &*context.warn }
}

impl Table for Regexp {
    fn lookup(&self, key: &str) -> Result<Option<String>, TableError> {
        let rules = self.rules.get(|context, file| self.load(context, file))?;
        search(&rules, key).map_err(|reason| TableError::new(self.spec.to_string(), reason))
    }

    fn matching(&self) -> Matching {
        Matching::Pattern
    }
}

/// A compiled pattern, and whether the rule wants it to match.
struct Pattern {
    engine: Engine,
    wanted: bool,
}

enum Engine {
    Linear(regex::bytes::Regex),
    Backtracking(Box<fancy_regex::Regex>),
}

enum Rule {
    Match {
        line: usize,
        first: Pattern,
        second: Option<Pattern>,
        replacement: Vec<Piece>,
    },
    /// Where the pattern does not match, the search goes on at the rule with this number.
    If {
        line: usize,
        pattern: Pattern,
        end: usize,
    },
}

/// A piece of a replacement.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Group(usize),
}

fn search(rules: &[Rule], key: &str) -> Result<Option<String>, String> {
    let mut at = 0;
    while let Some(rule) = rules.get(at) {
        at += 1;
        match rule {
            Rule::If { line, pattern, end } => {
                if !pattern.holds(key, *line)? {
                    at = *end;
                }
            }
            Rule::Match { line, first, second, replacement } => {
                if first.holds(key, *line)? && second.as_ref().map_or(Ok(true), |second| second.holds(key, *line))? {
                    return expand(&first.engine, replacement, key, *line).map(Some);
                }
            }
        }
    }
    Ok(None)
}

impl Pattern {
    fn holds(&self, key: &str, line: usize) -> Result<bool, String> {
        let matched = match &self.engine {
            Engine::Linear(regex) => regex.is_match(key.as_bytes()),
            Engine::Backtracking(regex) => regex.is_match(key).map_err(|error| format!("line {line}: {error}"))?,
        };
        Ok(matched == self.wanted)
    }
}

/// The replacement with the groups of the match put in; a group that did not take part is empty.
fn expand(engine: &Engine, replacement: &[Piece], key: &str, line: usize) -> Result<String, String> {
    if let [] | [Piece::Text(_)] = replacement {
        return Ok(replacement.iter().map(|piece| if let Piece::Text(text) = piece { text } else { "" }).collect());
    }
    let mut result = Vec::new();
    let mut add = |group: &dyn Fn(usize) -> Option<(usize, usize)>| {
        for piece in replacement {
            match piece {
                Piece::Text(text) => result.extend_from_slice(text.as_bytes()),
                Piece::Group(number) => {
                    result.extend(group(*number).map_or(&[][..], |(start, end)| &key.as_bytes()[start..end]));
                }
            }
        }
    };
    match engine {
        Engine::Linear(regex) => {
            let captures = regex.captures(key.as_bytes()).ok_or("no match")?;
            add(&|number| captures.get(number).map(|group| (group.start(), group.end())));
        }
        Engine::Backtracking(regex) => {
            let captures = regex.captures(key).map_err(|error| format!("line {line}: {error}"))?.ok_or("no match")?;
            add(&|number| captures.get(number).map(|group| (group.start(), group.end())));
        }
    }
    // A group may have cut a character of several bytes; what is left of it cannot be looked up or sent anyhow.
    Ok(String::from_utf8_lossy(&result).into_owned())
}

fn compile(pattern: &str, options: Options) -> Result<Engine, String> {
    let translated = translate(pattern, options, true)?;
    if !translated.needs_backtracking {
        let linear = regex::bytes::RegexBuilder::new(&translated.text)
            .unicode(false)
            .case_insensitive(options.ignore_case)
            .multi_line(options.multi_line)
            .dot_matches_new_line(options.dot_all)
            .ignore_whitespace(options.verbose)
            .swap_greed(options.ungreedy)
            .size_limit(COMPILED_LIMIT)
            .build();
        if let Ok(regex) = linear {
            return Ok(Engine::Linear(regex));
        }
    }
    if options.ungreedy {
        return Err("flag U with a pattern that needs backtracking is not supported".to_owned());
    }
    let mut text = String::from("(?");
    text.extend(
        [(options.ignore_case, 'i'), (options.multi_line, 'm'), (options.dot_all, 's'), (options.verbose, 'x')]
            .into_iter()
            .filter_map(|(on, letter)| on.then_some(letter)),
    );
    text.push_str(if text.len() > 2 { ")" } else { ":)" });
    text.push_str(&translate(pattern, options, false)?.text);
    fancy_regex::RegexBuilder::new(&text)
        .backtrack_limit(BACKTRACK_LIMIT)
        .delegate_size_limit(COMPILED_LIMIT)
        .build()
        .map(|regex| Engine::Backtracking(Box::new(regex)))
        .map_err(|error| error.to_string())
}

impl Engine {
    fn groups(&self) -> usize {
        match self {
            Self::Linear(regex) => regex.captures_len() - 1,
            Self::Backtracking(regex) => regex.captures_len() - 1,
        }
    }
}

/// A pattern as written: between its delimiters, its options, and whether it is wanted to match.
struct Written<'a> {
    pattern: &'a str,
    options: Options,
    wanted: bool,
}

struct Parser<'a> {
    kind: &'static str,
    name: &'a str,
    dialect: Dialect,
    substitution: bool,
    warn: &'a dyn Fn(&str),
}

impl Parser<'_> {
    fn warn(&self, line: usize, text: &str) {
        (self.warn)(&format!("{} map {}, line {line}: {text}", self.kind, self.name));
    }

    fn rules(&self, text: &[u8]) -> Vec<Rule> {
        let mut rules = Vec::new();
        let mut open: Vec<usize> = Vec::new();
        for LogicalLine { number, text } in logical_lines(self.name, text, self.warn) {
            let Some(text) = utf8_line(self.name, number, text, self.warn) else { continue };
            let text = trim(&text);
            if !text.starts_with(|letter: char| letter.is_ascii_alphanumeric()) {
                rules.extend(self.match_rule(number, text));
            } else if let Some(rest) = keyword(text, "IF") {
                if let Some(rule) = self.if_rule(number, rest) {
                    open.push(rules.len());
                    rules.push(rule);
                }
            } else if let Some(rest) = keyword(text, "ENDIF") {
                self.close(number, rest, &mut open, &mut rules);
            } else {
                self.warn(number, "ignoring unrecognized request");
            }
        }
        for place in open.iter().rev() {
            if let Rule::If { line, .. } = &rules[*place] {
                self.warn(*line, "IF has no matching ENDIF");
            }
        }
        rules
    }

    fn close(&self, number: usize, rest: &str, open: &mut Vec<usize>, rules: &mut [Rule]) {
        let next = rules.len();
        match open.pop().map(|place| &mut rules[place]) {
            Some(Rule::If { end, .. }) => *end = next,
            _ => return self.warn(number, "ignoring ENDIF without matching IF"),
        }
        if !trim(rest).is_empty() {
            self.warn(number, "ignoring extra text after ENDIF");
        }
    }

    fn match_rule(&self, line: usize, text: &str) -> Option<Rule> {
        let (first, mut rest) = self.written(line, text)?;
        let mut second = None;
        if self.dialect == Dialect::Posix && rest.starts_with('!') {
            let (written, after) = self.written(line, rest)?;
            second = Some(written);
            rest = after;
        }
        let replacement = trim(rest);
        if replacement.is_empty() {
            self.warn(line, "no replacement text: using empty string");
        }
        let replacement = self.replacement(line, replacement, first.wanted)?;
        let first = self.compiled(line, first)?;
        let highest =
            replacement.iter().filter_map(|piece| if let Piece::Group(n) = piece { Some(*n) } else { None }).max();
        if let Some(highest) = highest.filter(|highest| *highest > first.engine.groups()) {
            self.warn(line, &format!("out of range replacement index \"{highest}\": skipping this rule"));
            return None;
        }
        let second = match second {
            Some(written) => Some(self.compiled(line, written)?),
            None => None,
        };
        Some(Rule::Match { line, first, second, replacement })
    }

    fn if_rule(&self, line: usize, text: &str) -> Option<Rule> {
        let (written, rest) = self.written(line, text)?;
        let extra = trim(rest);
        if !extra.is_empty() {
            self.warn(line, &format!("ignoring extra text after IF statement: \"{extra}\""));
            self.warn(line, "do not prepend whitespace to statements between IF and ENDIF");
        }
        Some(Rule::If { line, pattern: self.compiled(line, written)?, end: usize::MAX })
    }

    fn compiled(&self, line: usize, written: Written) -> Option<Pattern> {
        match compile(written.pattern, written.options) {
            Ok(engine) => Some(Pattern { engine, wanted: written.wanted }),
            Err(reason) => {
                self.warn(line, &reason);
                None
            }
        }
    }

    /// Takes `!/pattern/options` off the start of `text`.
    fn written<'t>(&self, line: usize, text: &'t str) -> Option<(Written<'t>, &'t str)> {
        let (text, wanted) = negations(text);
        let Some(delimiter) = text.chars().next() else {
            self.warn(line, "no regexp: skipping this rule");
            return None;
        };
        let body = &text[delimiter.len_utf8()..];
        let mut letters = body.char_indices();
        let end = loop {
            match letters.next() {
                Some((_, '\\')) => drop(letters.next()),
                Some((at, letter)) if letter == delimiter => break at,
                Some(_) => {}
                None => {
                    let fate = if self.dialect == Dialect::Perl { "ignoring" } else { "skipping" };
                    self.warn(line, &format!("no closing regexp delimiter \"{delimiter}\": {fate} this rule"));
                    return None;
                }
            }
        };
        let (pattern, rest) = (&body[..end], &body[end + delimiter.len_utf8()..]);
        let stop = |letter: char| letter.is_ascii_whitespace() || letter == '!' && self.dialect == Dialect::Posix;
        let letters = &rest[..rest.find(stop).unwrap_or(rest.len())];
        let mut options = Options::new(self.dialect);
        for letter in letters.chars() {
            if !options.toggle(letter) {
                self.warn(line, &format!("unknown regexp option \"{letter}\": skipping this rule"));
                return None;
            }
        }
        Some((Written { pattern, options, wanted }, &rest[letters.len()..]))
    }

    fn replacement(&self, line: usize, text: &str, wanted: bool) -> Option<Vec<Piece>> {
        let pieces = match parse_replacement(text) {
            Ok(pieces) => pieces,
            Err(reason) => {
                self.warn(line, &reason);
                self.warn(line, "bad replacement syntax: skipping this rule");
                return None;
            }
        };
        if !pieces.iter().any(|piece| matches!(piece, Piece::Group(_))) {
            return Some(pieces);
        }
        if !wanted {
            self.warn(line, "$number found in negative match replacement text: skipping this rule");
            return None;
        }
        if !self.substitution {
            self.warn(line, "regular expression substitution is not allowed: skipping this rule");
            return None;
        }
        Some(pieces)
    }
}

/// Splits a replacement at `$1`, `${1}` and `$(1)`; `$$` is a dollar.
fn parse_replacement(text: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        literal.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            literal.push('$');
            rest = after;
            continue;
        }
        let name;
        (name, rest) = if let Some(inside) = rest.strip_prefix('{') {
            inside.split_once('}').ok_or_else(|| format!("truncated macro reference: \"{text}\""))?
        } else if let Some(inside) = rest.strip_prefix('(') {
            inside.split_once(')').ok_or_else(|| format!("truncated macro reference: \"{text}\""))?
        } else {
            rest.split_at(rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len()))
        };
        if name.is_empty() {
            return Err(format!("empty macro name: \"{text}\""));
        }
        if !name.bytes().all(|digit| digit.is_ascii_digit()) {
            return Err(format!("non-numeric replacement index \"{name}\""));
        }
        let number = name.parse().ok().filter(|number| *number > 0);
        if !literal.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut literal)));
        }
        pieces.push(Piece::Group(number.ok_or_else(|| format!("out of range replacement index \"{name}\""))?));
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        pieces.push(Piece::Text(literal));
    }
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Maps, Part, TableFlags};
    use std::cell::RefCell;

    fn rules(dialect: Dialect, text: &str) -> (Vec<Rule>, Vec<String>) {
        let seen = RefCell::new(Vec::new());
        let kind = if dialect == Dialect::Perl { "pcre" } else { "regexp" };
        let warn = |warning: &str| seen.borrow_mut().push(warning.to_owned());
        let rules = Parser { kind, name: "x", dialect, substitution: true, warn: &warn }.rules(text.as_bytes());
        (rules, seen.into_inner())
    }

    fn answer(dialect: Dialect, text: &str, key: &str) -> Option<String> {
        search(&rules(dialect, text).0, key).unwrap()
    }

    #[test]
    fn rules_in_the_name() {
        for kind in ["regexp", "pcre"] {
            let spec = format!("{kind}:{{{{/^[^A-Z]/ bogus}}, {{ /^ST(.*)/ $1 }}}}");
            let maps = Maps::parse("x", &spec, TableFlags::default(), &Context::system()).unwrap();
            let find = |key| maps.find(key, Part::Full).unwrap();
            assert_eq!(
                (find("1x").as_deref(), find("start").as_deref(), find("x")),
                (Some("bogus"), Some("art"), None)
            );
        }
    }

    #[test]
    fn both_dialects() {
        let text = "/^(.*)@old\\.example$/ ${1}@new.example\n!/@/ no-at\nif /^admin/\n/\\+(x|y)@/ tag $(1) for $$5\nendif\n%a/b% slash\n/CASE/i exact\n";
        for dialect in [Dialect::Posix, Dialect::Perl] {
            for (key, expected) in [
                ("joe@OLD.example", Some("joe@new.example")),
                ("joe", Some("no-at")),
                ("admin+y@z", Some("tag y for $5")),
                ("joe+y@z", None),
                ("a/b@", Some("slash")),
                ("case@", None),
                ("CASE@", Some("exact")),
            ] {
                assert_eq!(answer(dialect, text, key).as_deref(), expected, "{dialect:?} {key}");
            }
        }
    }

    #[test]
    fn backtracking_patterns() {
        assert_eq!(answer(Dialect::Perl, r"/^(?!ok)(.)\1/ $1 twice", "aab").as_deref(), Some("a twice"));
        assert_eq!(answer(Dialect::Perl, r"/^(?!ok)(.)\1/ $1 twice", "oko"), None);
        assert_eq!(answer(Dialect::Posix, r"/(..)\1/ $1", "xabab").as_deref(), Some("ab"));
        assert_eq!(answer(Dialect::Posix, "/one/!/two/ x", "one two"), None);
        assert_eq!(answer(Dialect::Posix, "/one/!/two/ x", "one").as_deref(), Some("x"));
    }

    #[test]
    fn runaway_backtracking_is_a_temporary_failure() {
        let (rules, _) = rules(Dialect::Perl, r"/(a|b|ab)*(?>c)/ y");
        assert!(search(&rules, &"ab".repeat(60)).is_err());
    }

    #[test]
    fn groups_that_did_not_match_are_empty() {
        assert_eq!(answer(Dialect::Perl, "/(a)|(b)/ <$1$2>", "b").as_deref(), Some("<b>"));
    }

    #[test]
    fn mistakes_are_named_and_skipped() {
        let text = "/a/q x\n/a x\n/a/ $x\n/a/ ${1\n/a/ $0\n/a/ $1\n!/a/ $1\n/(/ x\n/a/\nendif\nif /a/ b\nwhat\n";
        let (parsed, warnings) = rules(Dialect::Posix, text);
        assert_eq!(parsed.len(), 2);
        let expected = [
            "1: unknown regexp option \"q\": skipping this rule",
            "2: no closing regexp delimiter \"/\": skipping this rule",
            "3: non-numeric replacement index \"x\"",
            "3: bad replacement syntax: skipping this rule",
            "4: truncated macro reference: \"${1\"",
            "4: bad replacement syntax: skipping this rule",
            "5: out of range replacement index \"0\"",
            "5: bad replacement syntax: skipping this rule",
            "6: out of range replacement index \"1\": skipping this rule",
            "7: $number found in negative match replacement text: skipping this rule",
            "8: Unmatched ( or \\(",
            "9: no replacement text: using empty string",
            "10: ignoring ENDIF without matching IF",
            "11: ignoring extra text after IF statement: \"b\"",
            "11: do not prepend whitespace to statements between IF and ENDIF",
            "12: ignoring unrecognized request",
            "11: IF has no matching ENDIF",
        ];
        let expected: Vec<_> = expected.iter().map(|warning| format!("regexp map x, line {warning}")).collect();
        assert_eq!(warnings, expected);
    }
}
