//! The name of a table in a configuration: `type:name`.

use crate::Folding;
use serde::{Deserialize, Serialize};
use std::fmt;

/// How deep `pipemap:{…}` and `unionmap:{…}` may nest.
pub const NESTING_LIMIT: usize = 16;

/// How a parameter wants its tables used; the administrator's text does not say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableFlags {
    /// How keys of fixed tables are folded (Postfix's `DICT_FLAG_FOLD_FIX`).
    pub folding: Folding,
    /// `regexp:` and `pcre:` results may not use `$1`: an attacker's text would become a command or a path.
    pub no_substitution: bool,
    /// What the text source of a `hash:` or `btree:` table looks like, needed only where the text stands in for a
    /// database in Berkeley DB format.
    pub alias_source: bool,
}

impl Default for TableFlags {
    fn default() -> Self {
        Self { folding: Folding::Unicode, no_substitution: false, alias_source: false }
    }
}

/// The type of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TableKind {
    /// Indexed file `name.db`.
    Hash,
    /// Indexed file `name.db`, listed in order.
    Btree,
    /// Indexed file `name.lmdb`.
    Lmdb,
    /// The text file itself.
    Texthash,
    /// Records in the name.
    Inline,
    /// One answer to everything.
    Static,
    /// Networks.
    Cidr,
    /// POSIX regular expressions.
    Regexp,
    /// Perl-compatible regular expressions.
    Pcre,
    /// Tables in a row, each asked with the answer of the one before.
    Pipemap,
    /// The answers of several tables, joined by commas.
    Unionmap,
    /// A random one of the values in the name.
    Randmap,
    /// Always a temporary failure.
    Fail,
    /// The system's users and groups.
    Unix,
}

/// Types by their name, in the order of `postconf -m`.
const KINDS: [(&str, TableKind); 14] = [
    ("btree", TableKind::Btree),
    ("cidr", TableKind::Cidr),
    ("fail", TableKind::Fail),
    ("hash", TableKind::Hash),
    ("inline", TableKind::Inline),
    ("lmdb", TableKind::Lmdb),
    ("pcre", TableKind::Pcre),
    ("pipemap", TableKind::Pipemap),
    ("randmap", TableKind::Randmap),
    ("regexp", TableKind::Regexp),
    ("static", TableKind::Static),
    ("texthash", TableKind::Texthash),
    ("unionmap", TableKind::Unionmap),
    ("unix", TableKind::Unix),
];

impl TableKind {
    /// The name in a configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        KINDS.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }

    fn from_name(name: &str) -> Option<Self> {
        let kind = KINDS.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind)?;
        (cfg!(feature = "lmdb") || kind != Self::Lmdb).then_some(kind)
    }

    /// The names of all types that can be opened, in alphabetical order, for `postconf -m`.
    pub fn names() -> impl Iterator<Item = &'static str> {
        KINDS.iter().map(|(name, _)| *name).filter(|name| Self::from_name(name).is_some())
    }
}

/// One table as configured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableSpec {
    /// The type. `proxy:` is taken off: every table here is already behind a lookup service.
    pub kind: TableKind,
    /// What follows the type: a path, or the text in braces.
    pub name: String,
    /// Use that the parameter makes of it.
    pub flags: TableFlags,
    /// The tables inside `pipemap:{…}` and `unionmap:{…}`; empty for the other types.
    pub parts: Vec<TableSpec>,
}

/// A table that can never be opened, whatever its files hold: an error of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecError(String);

impl SpecError {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for SpecError {}

impl TableSpec {
    /// Parses `type:name`.
    ///
    /// # Errors
    ///
    /// No `type:`, an empty name, an unknown type, or a malformed list in braces; the text is Postfix's.
    pub fn parse(text: &str, flags: TableFlags) -> Result<Self, SpecError> {
        Self::parse_nested(text, flags, 0)
    }

    /// Parses `type:name`, or a bare path, which then has the type `default` (`default_database_type`).
    ///
    /// # Errors
    ///
    /// As [`TableSpec::parse`].
    pub fn parse_or_path(text: &str, default: &str, flags: TableFlags) -> Result<Self, SpecError> {
        if text.contains(':') { Self::parse(text, flags) } else { Self::parse(&format!("{default}:{text}"), flags) }
    }

    /// Parses the value of a `…_maps` parameter: tables separated by white space or commas.
    ///
    /// # Errors
    ///
    /// As [`TableSpec::parse`], for the first table that is wrong.
    pub fn parse_list(text: &str, flags: TableFlags) -> Result<Vec<Self>, SpecError> {
        split_list(text).into_iter().map(|item| Self::parse(item, flags)).collect()
    }

    fn parse_nested(text: &str, flags: TableFlags, depth: usize) -> Result<Self, SpecError> {
        let expecting =
            || SpecError::new(format!("open dictionary: expecting \"type:name\" form instead of \"{text}\""));
        let (kind_name, name) = text.split_once(':').ok_or_else(expecting)?;
        if kind_name.is_empty() || name.is_empty() {
            return Err(expecting());
        }
        if depth >= NESTING_LIMIT {
            return Err(SpecError::new(format!("tables nest deeper than {NESTING_LIMIT}: \"{text}\"")));
        }
        if kind_name == "proxy" {
            return Self::parse_nested(name, flags, depth + 1);
        }
        let kind = TableKind::from_name(kind_name)
            .ok_or_else(|| SpecError::new(format!("unsupported dictionary type: {kind_name}")))?;
        let parts = match kind {
            TableKind::Pipemap | TableKind::Unionmap => Self::parse_parts(kind, name, flags, depth)?,
            TableKind::Unix if name != "passwd.byname" && name != "group.byname" => {
                return Err(SpecError::new(format!("unknown table: unix:{name}")));
            }
            _ => Vec::new(),
        };
        Ok(Self { kind, name: name.to_owned(), flags, parts })
    }

    fn parse_parts(kind: TableKind, name: &str, flags: TableFlags, depth: usize) -> Result<Vec<Self>, SpecError> {
        let kind = kind.name();
        let malformed = || SpecError::new(format!("bad syntax: \"{kind}:{name}\"; need \"{kind}:{{type:name...}}\""));
        let items = split_list(in_braces(name).ok_or_else(malformed)?);
        if items.is_empty() || items.iter().any(|item| !item.contains(':')) {
            return Err(malformed());
        }
        items.into_iter().map(|item| Self::parse_nested(item, flags, depth + 1)).collect()
    }
}

impl fmt::Display for TableSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind.name(), self.name)
    }
}

/// The text between a `{` at the start and its `}` at the end.
pub(crate) fn in_braces(text: &str) -> Option<&str> {
    (balanced(text)? == text.len()).then(|| &text[1..text.len() - 1])
}

/// The lines of a table of patterns whose rules stand in its name: `{{/pattern/ result}, …}` (regexp_table(5)). `None` for a
/// path.
pub(crate) fn inline_rules(name: &str) -> Option<String> {
    let rules = split_list(in_braces(name)?).into_iter().map(|rule| in_braces(rule).map(str::trim));
    rules.collect::<Option<Vec<_>>>().map(|rules| rules.join("\n"))
}

/// The length of the text in braces that `text` starts with, both braces included.
fn balanced(text: &str) -> Option<usize> {
    if !text.starts_with('{') {
        return None;
    }
    let mut depth = 0usize;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(at + 1);
        }
    }
    None
}

/// Splits at commas and white space outside braces, as Postfix's `mystrtokq`.
pub(crate) fn split_list(text: &str) -> Vec<&str> {
    let mut items = Vec::new();
    let mut depth = 0usize;
    let mut start = None;
    for (at, byte) in text.bytes().enumerate() {
        let separator = depth == 0 && matches!(byte, b',' | b' ' | b'\t' | b'\r' | b'\n');
        if separator {
            items.extend(start.take().map(|from: usize| &text[from..at]));
            continue;
        }
        start.get_or_insert(at);
        match byte {
            b'{' => depth += 1,
            b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    items.extend(start.map(|from| &text[from..]));
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<TableSpec, String> {
        TableSpec::parse(text, TableFlags::default()).map_err(|error| error.to_string())
    }

    #[test]
    fn names_what_postfix_names() {
        for (text, reason) in [
            ("foo:/etc/x", "unsupported dictionary type: foo"),
            ("environ:x", "unsupported dictionary type: environ"),
            ("static:", "open dictionary: expecting \"type:name\" form instead of \"static:\""),
            ("/etc/x", "open dictionary: expecting \"type:name\" form instead of \"/etc/x\""),
            ("pipemap:{foo}", "bad syntax: \"pipemap:{foo}\"; need \"pipemap:{type:name...}\""),
            ("unionmap:{}", "bad syntax: \"unionmap:{}\"; need \"unionmap:{type:name...}\""),
            ("unix:shadow.byname", "unknown table: unix:shadow.byname"),
            ("proxy:foo:x", "unsupported dictionary type: foo"),
        ] {
            assert_eq!(parse(text), Err(reason.to_owned()), "{text}");
        }
    }

    #[test]
    fn nests() {
        let spec = parse("pipemap:{inline:{a=b, {c = d e}}, proxy:hash:/etc/x}").unwrap();
        assert_eq!(spec.parts.len(), 2);
        assert_eq!(spec.parts[0].name, "{a=b, {c = d e}}");
        assert_eq!(spec.parts[1].to_string(), "hash:/etc/x");
    }

    #[test]
    fn nesting_has_a_limit() {
        let deep = |levels| "proxy:".repeat(levels) + "static:x";
        assert!(parse(&deep(NESTING_LIMIT - 1)).is_ok());
        assert!(parse(&deep(NESTING_LIMIT)).unwrap_err().starts_with("tables nest deeper"));
    }

    #[test]
    fn lists_split_outside_braces() {
        assert_eq!(split_list(" a:b, c:{d e,f}\tg:h "), ["a:b", "c:{d e,f}", "g:h"]);
        assert_eq!(split_list(""), Vec::<&str>::new());
        assert_eq!(split_list("a}b c"), ["a}b", "c"]);
    }

    #[test]
    fn bare_path_has_the_default_type() {
        let spec = TableSpec::parse_or_path("/etc/x", "btree", TableFlags::default()).unwrap();
        assert_eq!(spec.to_string(), "btree:/etc/x");
    }
}
