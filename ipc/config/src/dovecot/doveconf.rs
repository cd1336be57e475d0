//! What `doveconf` and `dovecot -n` print.
//!
//! Pure: the machine's name and system come from the caller. Blocks and settings stand in the order of Dovecot's own
//! output, which is that of their full paths, and secrets are hidden as there. Only the first lines differ, because
//! they say which program this is.

use super::settings::DovecotConf;
use super::table::{self, Child, Scope};
use super::tree::Block;
use crate::diagnostic::{Diagnostic, Severity};

/// Which settings to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// All of them: `doveconf -a`, and `doveconf` alone.
    All,
    /// Those that differ from their defaults: `doveconf -n`, `dovecot -n`.
    Changed,
}

/// The lines before the settings.
#[derive(Clone, Copy, Debug)]
pub struct Header<'a> {
    /// What prints: name and version.
    pub program: &'a str,
    /// The system: `Linux 6.1.0 x86_64 Debian 12.11`; empty leaves the line out.
    pub system: &'a str,
    /// The host's name.
    pub hostname: &'a str,
}

/// Everything that `doveconf -n` or `doveconf -a` prints. With `show_secrets` it is what `-P` adds.
pub fn print(conf: &DovecotConf, what: What, header: &Header<'_>, show_secrets: bool) -> String {
    let mut out = format!("# {}: {}\n", header.program, conf.path());
    if !header.system.is_empty() {
        out += &format!("# OS: {}\n", header.system);
    }
    out += &format!("# Hostname: {}\n", header.hostname);
    if what == What::All {
        out += "# NOTE: Send doveconf -n output instead when asking for help.\n";
    }
    let mut printer = Printer { out, show_secrets };
    printer.lines(&entries(Scope::Root, &conf.tree.root, what, false), 0);
    let mut filters: Vec<_> = conf.tree.filters.iter().collect();
    filters.sort_by_key(|(filter, _)| filter.rank());
    for (filter, body) in filters {
        let headers = filter.headers();
        let lines = entries(Scope::Root, body, What::Changed, true);
        if !lines.is_empty() {
            for (depth, header) in headers.iter().enumerate() {
                printer.line(depth, &format!("{header} {{"));
            }
            printer.lines(&lines, headers.len());
            for depth in (0..headers.len()).rev() {
                printer.line(depth, "}");
            }
        }
    }
    printer.out
}

/// What `doveconf NAME` prints, and with `hide_name` what `doveconf -h NAME` does: the value of a setting, all blocks of
/// a kind, or what `/`-separated names lead to. Nothing for a name that is not known. One setting is printed as it is,
/// a secret included, as Dovecot does.
pub fn print_one(conf: &DovecotConf, name: &str, what: What, hide_name: bool) -> String {
    let lines = entries(Scope::Root, &conf.tree.root, what, false);
    if let Some(value) = find(&lines, name) {
        return if hide_name { format!("{value}\n") } else { format!("{name} = {value}\n") };
    }
    let mut printer = Printer { out: String::new(), show_secrets: false };
    printer.lines(&below(lines, name), 0);
    printer.out
}

/// A finding as `doveconf` words it.
pub fn complaint(finding: &Diagnostic) -> String {
    let severity = match finding.severity {
        Severity::Error => "Fatal",
        Severity::Warning => "Warning",
        Severity::Note => "Info",
    };
    match (finding.severity, finding.line) {
        (Severity::Error, 0) => {
            format!("doveconf: {severity}: Error in configuration file {}: {}", finding.file, finding.problem)
        }
        (Severity::Error, line) => {
            format!(
                "doveconf: {severity}: Error in configuration file {} line {line}: {}",
                finding.file, finding.problem
            )
        }
        _ => format!("doveconf: {severity}: {}", finding.problem),
    }
}

/// A line or block that is printed.
#[derive(Clone, Debug)]
enum Entry {
    Setting { name: String, value: String },
    Block { kind: String, name: String, key: String, lines: Vec<Entry> },
}

impl Entry {
    /// What entries of one block are sorted by. Dovecot sorts whole paths, in which a name ends with `=` before all
    /// other bytes, and a block's with `/`.
    fn key(&self) -> Vec<u8> {
        match self {
            Entry::Setting { name, .. } => [name.as_bytes(), &[0]].concat(),
            Entry::Block { kind, key, .. } => [kind.as_bytes(), b"/", key.as_bytes(), b"/"].concat(),
        }
    }
}

/// The entries of a block, in order. In a filter everything that was set is shown.
fn entries(scope: Scope, body: &Block, what: What, in_filter: bool) -> Vec<Entry> {
    let unique = !matches!(scope, Scope::Root | Scope::Passdb | Scope::Userdb);
    let mut lines = Vec::new();
    for row in scope.settings() {
        let value = body.value(row.name);
        let was_set = value.is_some_and(|value| value.at.is_some());
        let shown = value.map_or(row.default, |value| value.shown.as_str());
        let wanted = match what {
            What::All => was_set || !(in_filter || table::is_dialect(scope, row.name) || is_unset_alias(row.name)),
            // Dovecot always finds these two different from their defaults.
            What::Changed if scope == Scope::Namespace && ["location", "prefix"].contains(&row.name) => true,
            What::Changed if unique || in_filter => was_set,
            What::Changed => shown != row.default,
        };
        if wanted {
            lines.push(Entry::Setting { name: row.name.to_owned(), value: shown.to_owned() });
        }
    }
    if matches!(scope, Scope::Passdb | Scope::Userdb) && !body.name.is_empty() {
        lines.retain(|line| !matches!(line, Entry::Setting { name, .. } if name == "name"));
        lines.push(Entry::Setting { name: "name".to_owned(), value: body.name.clone() });
    }
    for (kind, list) in &body.strings {
        let settings =
            list.iter().map(|(name, value)| Entry::Setting { name: name.clone(), value: value.shown.clone() });
        let mut settings: Vec<Entry> = settings.collect();
        settings.sort_by_cached_key(Entry::key);
        lines.push(Entry::Block { kind: (*kind).to_owned(), name: String::new(), key: String::new(), lines: settings });
    }
    for (kind, blocks) in &body.blocks {
        let Some(Child::Block { scope, unique }) = scope.child(kind) else { continue };
        for (index, block) in blocks.iter().enumerate() {
            let named = unique && !block.name.is_empty();
            let key = if named { escape_name(&block.name) } else { index.to_string() };
            let name = if named { block.name.clone() } else { String::new() };
            let inner = entries(scope, block, what, in_filter);
            lines.push(Entry::Block { kind: (*kind).to_owned(), name, key, lines: inner });
        }
    }
    lines.retain(|line| !matches!(line, Entry::Block { lines, .. } if lines.is_empty()));
    lines.sort_by_cached_key(Entry::key);
    lines
}

/// A setting whose default is no value at all, which is not printed until it is set.
fn is_unset_alias(name: &str) -> bool {
    name == "alias_for"
}

/// A name of a block as it stands in a path.
fn escape_name(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for character in name.chars() {
        match character {
            '=' => escaped.push_str("\\e"),
            '/' => escaped.push_str("\\s"),
            '\\' => escaped.push_str("\\\\"),
            ' ' => escaped.push_str("\\_"),
            ',' => escaped.push_str("\\+"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// The part of a path after an entry's name, if the entry is on it.
fn after<'a>(entry: &Entry, path: &'a str) -> Option<&'a str> {
    let (kind, key) = match entry {
        Entry::Setting { .. } => return None,
        Entry::Block { kind, key, .. } => (kind, key),
    };
    let rest = path.strip_prefix(kind.as_str())?.strip_prefix('/')?;
    if key.is_empty() { Some(rest) } else { rest.strip_prefix(key.as_str())?.strip_prefix('/') }
}

/// The value of the setting that a path leads to.
fn find<'a>(lines: &'a [Entry], path: &str) -> Option<&'a str> {
    lines.iter().find_map(|line| match line {
        Entry::Setting { name, value } => (name == path).then_some(value.as_str()),
        Entry::Block { lines, .. } => after(line, path).and_then(|rest| find(lines, rest)),
    })
}

/// What stands below a path, with the blocks on the way there.
fn below(lines: Vec<Entry>, path: &str) -> Vec<Entry> {
    let wanted = |line: Entry| match line {
        Entry::Setting { .. } => None,
        Entry::Block { ref kind, ref key, .. } if kind == path || format!("{kind}/{key}") == path => Some(line),
        Entry::Block { .. } => {
            let rest = after(&line, path)?.to_owned();
            let Entry::Block { kind, name, key, lines } = line else { return None };
            let lines = below(lines, &rest);
            (!lines.is_empty()).then_some(Entry::Block { kind, name, key, lines })
        }
    };
    lines.into_iter().filter_map(wanted).collect()
}

struct Printer {
    out: String,
    show_secrets: bool,
}

impl Printer {
    fn lines(&mut self, lines: &[Entry], depth: usize) {
        for line in lines {
            match line {
                Entry::Setting { name, value } => {
                    let hidden = (!self.show_secrets).then(|| hide(name, value)).flatten();
                    let value = hidden.unwrap_or_else(|| quote(value));
                    self.line(depth, &format!("{name} = {value}"));
                }
                Entry::Block { kind, name, lines, .. } => {
                    let header = match name.as_str() {
                        "" => format!("{kind} {{"),
                        name if name.contains(' ') => format!("{kind} \"{}\" {{", escape(name)),
                        name => format!("{kind} {name} {{"),
                    };
                    self.line(depth, &header);
                    self.lines(lines, depth + 1);
                    self.line(depth, "}");
                }
            }
        }
    }

    fn line(&mut self, depth: usize, line: &str) {
        self.out += &format!("{:width$}{line}\n", "", width = depth * 2);
    }
}

/// Whether a value must stand in quotes to be read back.
fn needs_quotes(value: &str) -> bool {
    value.contains('#') || value.starts_with([' ', '\t']) || value.ends_with([' ', '\t'])
}

fn quote(value: &str) -> String {
    if needs_quotes(value) { format!("\"{}\"", escape(value)) } else { value.to_owned() }
}

/// `"`, `'` and `\` with a `\` before them.
pub(in crate::dovecot) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if matches!(character, '"' | '\'' | '\\') {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

const HIDDEN: &str = "#hidden_use-P_to_show#";

/// The value with its secrets hidden, or `None` if it has none: passwords, keys and nonces as a whole, and within
/// other values what follows `pass…=`, `secret…=` and `key…=`, or stands before the `@` of a web address.
fn hide(name: &str, value: &str) -> Option<String> {
    let secret_name = ["_password", "_key", "_nonce"].iter().any(|end| name.len() > end.len() && name.ends_with(end));
    if !value.is_empty() && (secret_name || name.starts_with("ssl_dh")) {
        return Some("# hidden, use -P to show it".to_owned());
    }
    let escaped = |text: &str| if needs_quotes(value) { escape(text) } else { text.to_owned() };
    let mut out = String::new();
    let mut rest = value;
    let mut from = 0;
    let mut any = false;
    while let Some((at, word)) = next_secret(rest, from) {
        any = true;
        if word.ends_with("://") {
            let start = at + word.len();
            let end = rest[start..].find(|c: char| c.is_ascii_whitespace() || c == '/' || c == '@');
            let end = end.map_or(rest.len(), |end| start + end);
            out += &escaped(&rest[..start]);
            let user = end > start && rest[end..].starts_with('@');
            out += &if user { HIDDEN.to_owned() } else { escaped(&rest[start..end]) };
            (rest, from) = (&rest[end..], 0);
        } else if rest[..at].ends_with(|c: char| c.is_ascii_alphanumeric())
            || (at == 0 && out.ends_with(|c: char| c.is_ascii_alphanumeric()))
        {
            // `nopassword` is no password.
            from = at + 1;
        } else {
            let end = rest[at..].find(|c: char| c == '=' || c.is_ascii_whitespace()).map_or(rest.len(), |end| at + end);
            let end = rest.len() - rest[end..].trim_start_matches(|c: char| c.is_ascii_whitespace()).len();
            out += &escaped(&rest[..end]);
            rest = &rest[end..];
            if rest.starts_with('=') {
                out += &format!("={HIDDEN}");
                let end = rest.find(|c: char| c.is_ascii_whitespace() || c == ';' || c == ':').unwrap_or(rest.len());
                rest = &rest[end..];
            }
            from = 0;
        }
    }
    any.then(|| out + &escaped(rest))
}

/// The next word that may begin a secret.
fn next_secret(text: &str, from: usize) -> Option<(usize, &'static str)> {
    const WORDS: [&str; 6] = ["key", "secret", "pass", "http://", "https://", "ftp://"];
    let found = WORDS.iter().filter_map(|word| text.get(from..)?.find(word).map(|at| (from + at, *word)));
    found.min_by_key(|(at, _)| *at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_hidden_as_dovecot_hides_them() {
        for (name, value, expected) in [
            ("ssl_key", "</etc/key", Some("# hidden, use -P to show it")),
            ("doveadm_password", "x", Some("# hidden, use -P to show it")),
            ("doveadm_password", "", None),
            ("ssl_dh", "</dh", Some("# hidden, use -P to show it")),
            ("args", "password=abc nopassword=y", Some("password=#hidden_use-P_to_show# nopassword=y")),
            ("args", "nopassword=y", Some("nopassword=y")),
            ("args", "uid=vmail home=/h", None),
            (
                "args",
                "host=x:pass=1;secret = 2",
                Some("host=x:pass=#hidden_use-P_to_show#;secret =#hidden_use-P_to_show# 2"),
            ),
            ("url", "http://user:pw@host/x", Some("http://#hidden_use-P_to_show#@host/x")),
            ("url", "https://host/x", Some("https://host/x")),
        ] {
            assert_eq!(hide(name, value).as_deref(), expected, "{name} = {value}");
        }
    }

    #[test]
    fn values_are_quoted_where_they_must_be() {
        for (value, expected) in
            [("", ""), (" x", "\" x\""), ("a # \"b\"", "\"a # \\\"b\\\"\""), ("a \"b\"", "a \"b\"")]
        {
            assert_eq!(quote(value), expected);
        }
    }
}
