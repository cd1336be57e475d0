//! Reader of the lines of `dovecot.conf`: comments, continuation, quotes, blocks and includes.
//!
//! It turns files into a flat list of [`Statement`]s and knows no setting by name; [`super::tree`] gives them meaning.
//! A mistake is reported and the line left out, so that all mistakes are found at once. Included files are read through
//! [`Files`]; a value such as `</path` stays a path here.
//!
//! ```text
//! line     = [ws] [ setting / include / begin / end ] [ws] [ "#" comment ]
//! setting  = name [ws] "=" [ws] ( "<" [ws] path / "$" name [" " text] / quoted / text )
//! include  = ( "!include" / "!include_try" ) ws pattern
//! begin    = kind [ ws ( word / quoted ) ] ws "{"
//! end      = "}"
//! quoted   = DQUOTE *( char / "\" char ) DQUOTE / "'" *( char / "\" char ) "'"
//! ```
//!
//! A `\` at the end of a line joins the next line to it with one space. A comment line in between ends the joined line
//! and drops what came before, as in Dovecot 2.3.

use std::io;
use std::path::Path;

use super::files::{Files, error_text};
use super::glob;
use crate::diagnostic::{Diagnostics, Location};

/// How deep files may include files.
pub const MAX_INCLUDE_DEPTH: usize = 32;
/// How many files one configuration may consist of.
pub const MAX_FILES: usize = 2000;

/// A value as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Raw {
    /// Text, with its quotes removed.
    Text(String),
    /// The content of a file: `<path`. A relative path is already joined to the folder of the file that names it.
    File {
        /// As it was written, for dumps.
        written: String,
        /// Where the file is.
        path: String,
    },
    /// The value of another setting, and what follows it: `$name text`, without the `$`.
    Variable(String),
}

/// One line that says something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statement {
    /// `name = value`
    Setting {
        /// Name of the setting.
        name: String,
        /// Its value.
        value: Raw,
        /// Where the value stands.
        at: Location,
    },
    /// `kind name {`
    Begin {
        /// Kind of the block.
        kind: String,
        /// Its name; empty if it has none.
        name: String,
        /// Where it stands.
        at: Location,
    },
    /// `}`
    End {
        /// Where it stands.
        at: Location,
    },
}

/// Reads a file and what it includes, in the order in which Dovecot reads them.
///
/// An error means that the file itself cannot be opened; everything else goes to `found`.
pub fn read(path: &Path, files: &dyn Files, found: &mut Diagnostics) -> io::Result<Vec<Statement>> {
    let content = files.read(path)?;
    let mut reader = Reader { files, found, statements: Vec::new(), stack: Vec::new(), count: 0 };
    reader.file(path.to_string_lossy().into_owned(), &content);
    Ok(reader.statements)
}

/// What one logical line is.
#[derive(Debug, PartialEq, Eq)]
enum Parsed<'a> {
    Setting { name: &'a str, value: &'a str },
    Include { pattern: &'a str, must_exist: bool },
    Begin { kind: &'a str, name: String },
    End,
    Wrong(&'static str),
}

struct Reader<'a> {
    files: &'a dyn Files,
    found: &'a mut Diagnostics,
    statements: Vec<Statement>,
    /// The files that are being read, outermost first.
    stack: Vec<String>,
    /// Files read so far.
    count: usize,
}

/// A logical line that is being put together, with the place of each physical piece in it.
#[derive(Default)]
struct Joined {
    text: String,
    pieces: Vec<(usize, u32, u32)>,
}

impl Joined {
    fn push(&mut self, piece: &str, line: u32, column: usize) {
        self.pieces.push((self.text.len(), line, column as u32));
        self.text.push_str(piece);
    }

    /// Line and column of a byte of the joined text.
    fn place(&self, offset: usize) -> (u32, u32) {
        let piece = self.pieces.iter().rev().find(|(start, _, _)| *start <= offset);
        piece.map_or((0, 0), |(start, line, column)| (*line, column + (offset - start) as u32))
    }
}

impl Reader<'_> {
    fn file(&mut self, path: String, content: &[u8]) {
        self.count += 1;
        let text = String::from_utf8_lossy(content);
        if let std::borrow::Cow::Owned(_) = text {
            let at = Location::file(path.as_str());
            self.found.warning(&at, "", "the file is not UTF-8", "what is not UTF-8 in it was replaced");
        }
        self.stack.push(path);
        let mut joined = Joined::default();
        let mut number = 0;
        for line in text.lines() {
            number += 1;
            self.physical_line(line, number, &mut joined);
        }
        if !joined.text.is_empty() {
            self.dropped(number);
        }
        self.stack.pop();
    }

    fn here(&self, line: u32, column: u32) -> Location {
        Location::new(self.stack.last().map_or("", String::as_str), line, column)
    }

    fn physical_line(&mut self, line: &str, number: u32, joined: &mut Joined) {
        let content = line.trim_start_matches(is_white);
        if content.is_empty() || content.starts_with('#') {
            if !joined.text.is_empty() {
                self.dropped(number);
                *joined = Joined::default();
            }
            return;
        }
        let column = line.len() - content.len() + 1;
        let (content, ambiguous) = without_comment(content);
        if let Some(offset) = ambiguous {
            let at = self.here(number, (column + offset) as u32);
            let problem = "Ambiguous '#' character in line, treating it as comment";
            self.found.warning(&at, "", problem, "Add a space before it to remove this warning");
        }
        let content = content.trim_end_matches(is_white);
        if let Some(continued) = content.strip_suffix('\\') {
            let continued = continued.trim_end_matches(is_white);
            if !continued.is_empty() {
                joined.push(continued, number, column);
                joined.text.push(' ');
            }
            return;
        }
        joined.push(content, number, column);
        let line = std::mem::take(joined);
        self.logical_line(&line, number);
    }

    /// What a continued line said before a comment, an empty line or the end of the file is lost.
    fn dropped(&mut self, line: u32) {
        let at = self.here(line, 1);
        let problem = "the line continued by \\ before this one is dropped";
        self.found.warning(&at, "", problem, "remove the comment or empty line between the two");
    }

    fn logical_line(&mut self, line: &Joined, last: u32) {
        let (first, column) = line.place(0);
        match parse_line(&line.text) {
            Parsed::Setting { name, value } => {
                let offset = value.as_ptr() as usize - line.text.as_ptr() as usize;
                let (number, column) = line.place(offset);
                let at = self.here(number, column);
                let value = self.value(value);
                self.statements.push(Statement::Setting { name: name.to_owned(), value, at });
            }
            Parsed::Begin { kind, name } => {
                let at = self.here(first, column);
                self.statements.push(Statement::Begin { kind: kind.to_owned(), name, at });
            }
            Parsed::End => {
                let at = self.here(first, column);
                self.statements.push(Statement::End { at });
            }
            Parsed::Include { pattern, must_exist } => self.include(pattern, must_exist, last),
            Parsed::Wrong(problem) => {
                let at = self.here(last, column);
                let name = line.text.split([' ', '\t', '=', '{']).next().unwrap_or_default();
                let mend = match problem {
                    GARBAGE => "put what follows '{', and '}', on lines of their own",
                    _ => "write \"name = value\", or \"name {\" where a block begins",
                };
                self.found.error(&at, name, problem, mend);
            }
        }
    }

    fn value(&self, text: &str) -> Raw {
        if let Some(path) = text.strip_prefix('<') {
            let path = path.trim_start_matches(is_white);
            return Raw::File { written: path.to_owned(), path: self.relative(path) };
        }
        match text.strip_prefix('$') {
            Some(name) => Raw::Variable(name.to_owned()),
            None => Raw::Text(unquote(text)),
        }
    }

    /// A path relative to the file that names it.
    fn relative(&self, path: &str) -> String {
        let file = self.stack.last().map_or("", String::as_str);
        match file.rfind('/') {
            Some(end) if !path.starts_with('/') => format!("{}{path}", &file[..=end]),
            _ => path.to_owned(),
        }
    }

    fn include(&mut self, pattern: &str, must_exist: bool, line: u32) {
        let at = self.here(line, 1);
        let keyword = if must_exist { "!include" } else { "!include_try" };
        let Some(paths) = glob::expand(&self.relative(pattern), self.files) else {
            self.found.error(&at, keyword, "glob() failed: too many matches", "name fewer files");
            return;
        };
        if paths.is_empty() && must_exist {
            self.found.error(&at, keyword, "No matches", format!("make {pattern}, or write !include_try"));
        }
        for path in paths {
            if self.stack.contains(&path) {
                self.found.error(&at, keyword, format!("Recursive include file: {path}"), "remove one of the includes");
            } else if self.stack.len() >= MAX_INCLUDE_DEPTH || self.count >= MAX_FILES {
                let problem = format!("{path} is not read: more than {MAX_INCLUDE_DEPTH} levels or {MAX_FILES} files");
                self.found.error(&at, keyword, problem, "include fewer files");
            } else {
                match self.files.read(Path::new(&path)) {
                    Ok(content) => self.file(path, &content),
                    Err(_) if !must_exist => {}
                    Err(error) => {
                        let problem = format!("Couldn't open include file {path}: {}", error_text(&error));
                        self.found.error(&at, keyword, problem, "make it readable");
                    }
                }
            }
        }
    }
}

const BRACE: &str = "Expecting '{'";
const GARBAGE: &str = "Garbage after '{'";

fn is_white(character: char) -> bool {
    character == ' ' || character == '\t'
}

/// The line without its comment, and where a `#` stands that no white space precedes. A `#` in quotes is no comment.
fn without_comment(line: &str) -> (&str, Option<usize>) {
    let bytes = line.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            quote @ (b'"' | b'\'') => {
                at += 1;
                while at < bytes.len() && bytes[at] != quote {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
            }
            b'#' => {
                let ambiguous = at > 0 && !is_white(bytes[at - 1] as char);
                return (&line[..at], ambiguous.then_some(at));
            }
            _ => {}
        }
        at += 1;
    }
    (line, None)
}

/// Reads one logical line, which is neither empty nor a comment.
fn parse_line(line: &str) -> Parsed<'_> {
    let end = line.find(|c| is_white(c) || c == '=').unwrap_or(line.len());
    let (key, rest) = line.split_at(end);
    let rest = rest.trim_start_matches(is_white);
    match key {
        "!include" => return Parsed::Include { pattern: rest, must_exist: true },
        "!include_try" => return Parsed::Include { pattern: rest, must_exist: false },
        "}" if rest.is_empty() => return Parsed::End,
        _ => {}
    }
    if let Some(value) = rest.strip_prefix('=') {
        return match key {
            "" => Parsed::Wrong("Missing key name ('=' at the beginning of line)"),
            _ => Parsed::Setting { name: key, value: value.trim_start_matches(is_white) },
        };
    }
    let (name, rest) = match rest.strip_prefix('"') {
        _ if rest.starts_with('{') => (String::new(), rest),
        None => {
            let end = rest.find(is_white).unwrap_or(rest.len());
            (rest[..end].to_owned(), rest[end..].trim_start_matches(is_white))
        }
        // A `"` cannot stand in a quoted name, not even after `\`.
        Some(quoted) => match quoted.split_once('"') {
            Some((name, rest)) => (unescape(name), rest.trim_start_matches(is_white)),
            None => (String::new(), ""),
        },
    };
    match rest.strip_prefix('{') {
        None => Parsed::Wrong(BRACE),
        Some("") => Parsed::Begin { kind: key, name },
        Some(_) => Parsed::Wrong(GARBAGE),
    }
}

/// A value without the quotes around it.
fn unquote(text: &str) -> String {
    for quote in ['"', '\''] {
        if let Some(inner) = text.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote)) {
            return unescape(inner);
        }
    }
    text.to_owned()
}

/// `\x` becomes `x`; a `\` at the end goes.
fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => plain.extend(characters.next()),
            _ => plain.push(character),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::super::files::memory::Memory;
    use super::*;

    fn statements(files: &Memory) -> (Vec<Statement>, Vec<String>) {
        let mut found = Diagnostics::new();
        let statements = read(Path::new("/c/d.conf"), files, &mut found).unwrap();
        (statements, found.iter().map(ToString::to_string).collect())
    }

    fn one(line: &str) -> Statement {
        let (statements, found) = statements(&Memory::new([("/c/d.conf", line)]));
        assert_eq!((statements.len(), found), (1, vec![]), "{line}");
        statements[0].clone()
    }

    fn setting(name: &str, value: Raw, line: u32, column: u32) -> Statement {
        Statement::Setting { name: name.to_owned(), value, at: Location::new("/c/d.conf", line, column) }
    }

    #[test]
    fn values_in_all_their_forms() {
        let text = |text: &str| Raw::Text(text.to_owned());
        let file = |written: &str, path: &str| Raw::File { written: written.to_owned(), path: path.to_owned() };
        for (line, value, column) in [
            ("a = b", text("b"), 5),
            ("a=b", text("b"), 3),
            ("  a\t=  b c  ", text("b c"), 8),
            ("a =", text(""), 4),
            ("a = b # c", text("b"), 5),
            ("a = \"b # c\" # d", text("b # c"), 5),
            ("a = 'b \\' c'", text("b ' c"), 5),
            ("a = \"\\\\x\"", text("\\x"), 5),
            ("a = \\\\x", text("\\\\x"), 5),
            ("a = b\"c\"", text("b\"c\""), 5),
            ("a = </x y", file("/x y", "/x y"), 5),
            ("a = <  x", file("x", "/c/x"), 5),
            ("a = $a b", Raw::Variable("a b".to_owned()), 5),
            ("a = {", text("{"), 5),
            ("a = b=c", text("b=c"), 5),
            ("a = b\r\n", text("b"), 5),
        ] {
            assert_eq!(one(line), setting("a", value, 1, column), "{line}");
        }
    }

    #[test]
    fn a_continued_value_keeps_the_place_of_its_beginning() {
        let value = Raw::Text("one two".to_owned());
        assert_eq!(one("a = \\\n   one \\\n  two\n"), setting("a", value, 2, 4));
    }

    #[test]
    fn a_comment_drops_a_continued_line_as_in_dovecot() {
        let (statements, found) = statements(&Memory::new([("/c/d.conf", "a = b \\\n# c\n d\n")]));
        assert_eq!(statements, []);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[1].starts_with("/c/d.conf:3:2: d: Expecting '{'"), "{found:?}");
    }

    #[test]
    fn blocks_with_and_without_names() {
        for (line, kind, name) in [
            ("passdb {", "passdb", ""),
            ("passdb  db1   {", "passdb", "db1"),
            ("mailbox \"Sent \\Messages\" {", "mailbox", "Sent Messages"),
            ("unix_listener /a/b {", "unix_listener", "/a/b"),
        ] {
            let expected =
                Statement::Begin { kind: kind.to_owned(), name: name.to_owned(), at: Location::new("/c/d.conf", 1, 1) };
            assert_eq!(one(line), expected, "{line}");
        }
        assert_eq!(one(" } # end"), Statement::End { at: Location::new("/c/d.conf", 1, 2) });
    }

    #[test]
    fn mistakes_are_all_reported() {
        let text = "passdb{\nservice imap { }\n= x\nfoo\n} x\nmailbox \"a {\n!include none\nok = 1#2\n";
        let (statements, found) = statements(&Memory::new([("/c/d.conf", text)]));
        assert_eq!(statements, [setting("ok", Raw::Text("1".to_owned()), 8, 6)]);
        let expected = [
            (1, BRACE),
            (2, GARBAGE),
            (3, "Missing key name ('=' at the beginning of line)"),
            (4, BRACE),
            (5, BRACE),
            (6, BRACE),
            (7, "No matches"),
            (8, "Ambiguous '#' character"),
        ];
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (found, (line, problem)) in found.iter().zip(expected) {
            assert!(found.starts_with(&format!("/c/d.conf:{line}:")) && found.contains(problem), "{found}");
        }
    }

    #[test]
    fn includes_are_read_in_place_and_in_order() {
        let files = Memory::new([
            ("/c/d.conf", "a = 1\n!include e/*.conf\n!include_try none\nd = </x\n"),
            ("/c/e/2.conf", "c = <y\n"),
            ("/c/e/1.conf", "b = 1\n!include_try ../d.conf\n"),
        ]);
        let (statements, found) = statements(&files);
        let names: Vec<_> = statements
            .iter()
            .map(|statement| match statement {
                Statement::Setting { name, value: Raw::File { path, .. }, .. } => format!("{name}={path}"),
                Statement::Setting { name, .. } => name.clone(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(names, ["a", "b", "c=/c/e/y", "d=/x"]);
        assert_eq!(found, [""; 0]);
    }

    #[test]
    fn a_file_that_includes_itself_is_reported() {
        let (_, found) = statements(&Memory::new([("/c/d.conf", "!include d.conf\n")]));
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("Recursive include file: /c/d.conf"), "{found:?}");
    }

    #[test]
    fn includes_have_a_depth() {
        let mut files = Memory::default();
        for level in 0..=MAX_INCLUDE_DEPTH {
            let name = if level == 0 { "/c/d.conf".to_owned() } else { format!("/c/{level}") };
            files.files.insert(name.into(), format!("!include {}\n", level + 1).into_bytes());
        }
        let (_, found) = statements(&files);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("is not read"), "{found:?}");
    }

    #[test]
    fn no_text_makes_it_panic() {
        let pieces = ["a", " ", "=", "\"", "'", "\\", "#", "{", "}", "\n", "<", "$", "é", "!include ", "\t"];
        let mut state = 1_u64;
        for _ in 0..20_000 {
            let mut text = String::new();
            for _ in 0..12 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                text.push_str(pieces[(state >> 33) as usize % pieces.len()]);
            }
            statements(&Memory::new([("/c/d.conf", text.as_str())]));
        }
    }
}
