//! The statements of `dovecot.conf`, applied in order to a tree of blocks.
//!
//! Invariants: every value in the tree has passed [`value::normalise`] for its row in the table; a block of a unique
//! kind is there once for each name; the first filter is the whole configuration, the others are what `protocol`,
//! `local`, `remote` and `local_name` blocks change for some connections. Everything that Dovecot would stop at is
//! reported and skipped. Private keys are never read: their values stay paths.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use super::dialect::{self, Meaning};
use super::files::{Files, error_text};
use super::filter::Filter;
use super::parse::{Raw, Statement};
use super::table::{self, Child, Scope};
use super::value;
use crate::diagnostic::{Diagnostics, Location};

/// A value of a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// The value itself, with `$name` and `<file` replaced; empty for the file of a private key.
    pub text: String,
    /// As `doveconf` prints it: `</path` for a file.
    pub shown: String,
    /// The file that the value was read from, or names as a key.
    pub file: Option<PathBuf>,
    /// Where it was set; `None` for a default.
    pub at: Option<Location>,
}

/// A block of settings.
#[derive(Clone, Debug, Default)]
pub struct Block {
    /// Its name; empty if it has none.
    pub name: String,
    /// Where it was begun first; `None` for one that exists by default.
    pub at: Option<Location>,
    /// Its settings that were set.
    pub values: BTreeMap<&'static str, Value>,
    /// Its lists of free names (`plugin`, `dict`, `fields`), in order.
    pub strings: BTreeMap<&'static str, Vec<(String, Value)>>,
    /// The blocks in it, by kind, in order.
    pub blocks: BTreeMap<&'static str, Vec<Block>>,
}

/// The whole configuration: what holds for all connections, then each filter with what it changes.
#[derive(Clone, Debug)]
pub struct Tree {
    /// What holds for all connections.
    pub root: Block,
    /// What differs for some, in the order in which the filters were first opened.
    pub filters: Vec<(Filter, Block)>,
}

/// How deep blocks may be nested; Dovecot's own go to four.
const MAX_DEPTH: usize = 16;

/// Settings whose file holds a private key: it is checked to be readable, and never read.
const KEYS: [&str; 3] = ["ssl_key", "ssl_alt_key", "ssl_client_key"];

/// Applies statements to the defaults.
pub fn build(statements: Vec<Statement>, files: &dyn Files, found: &mut Diagnostics) -> Tree {
    let tree = Tree { root: defaults(), filters: Vec::new() };
    let base = Open {
        kind: String::new(),
        at: Location::default(),
        target: Target::Block(Scope::Root),
        cursor: Cursor::default(),
    };
    let mut builder = Builder { tree, files, found, open: vec![base], seen: HashMap::new() };
    for statement in statements {
        builder.apply(statement);
    }
    for open in &builder.open[1..] {
        let problem = format!("Missing '}}' (section started at {}:{})", open.at.file, open.at.line);
        builder.found.error(&open.at, open.kind.as_str(), problem, "close the block with '}'");
    }
    builder.tree
}

impl Block {
    /// A setting that was set here.
    pub fn value(&self, name: &str) -> Option<&Value> {
        self.values.get(name)
    }

    /// The blocks of a kind.
    pub fn children(&self, kind: &str) -> &[Block] {
        self.blocks.get(kind).map_or(&[], Vec::as_slice)
    }
}

/// The services that exist by default.
fn defaults() -> Block {
    let value = |text: &str| Value { text: text.to_owned(), shown: text.to_owned(), file: None, at: None };
    let listener = |(path, mode, user, group): &(&str, &str, &str, &str)| Block {
        name: (*path).to_owned(),
        values: BTreeMap::from([("mode", value(mode)), ("user", value(user)), ("group", value(group))]),
        ..Block::default()
    };
    let inet = |(name, port, ssl): &(&str, &str, bool)| Block {
        name: (*name).to_owned(),
        values: BTreeMap::from([("port", value(port)), ("ssl", value(if *ssl { "yes" } else { "no" }))]),
        ..Block::default()
    };
    let services = table::services().iter().map(|service| Block {
        name: service.name.to_owned(),
        values: service.set.iter().map(|(name, text)| (*name, value(text))).collect(),
        blocks: BTreeMap::from([
            ("unix_listener", service.unix.iter().map(listener).collect()),
            ("fifo_listener", service.fifo.iter().map(listener).collect()),
            ("inet_listener", service.inet.iter().map(inet).collect()),
        ]),
        ..Block::default()
    });
    Block { blocks: BTreeMap::from([("service", services.collect())]), ..Block::default() }
}

/// Where in the tree a block is: in which filter, and the way down from there.
#[derive(Clone, Debug, Default)]
struct Cursor {
    /// Index of the filter, from 1; 0 is the root.
    filter: usize,
    path: Vec<(&'static str, usize)>,
}

/// What an open block takes.
#[derive(Clone, Copy, Debug)]
enum Target {
    /// Settings of the table.
    Block(Scope),
    /// Free names.
    Strings(&'static str),
    /// Names that are on or off; those that are on become the setting of this name.
    Switches(&'static str),
    /// Nothing: the block itself was reported, so what is in it is not.
    Unknown,
}

struct Open {
    /// What was written before `{`; empty for a filter, which error messages leave out.
    kind: String,
    at: Location,
    target: Target,
    cursor: Cursor,
}

struct Builder<'a> {
    tree: Tree,
    files: &'a dyn Files,
    found: &'a mut Diagnostics,
    open: Vec<Open>,
    /// Where a setting was first changed inside a filter.
    seen: HashMap<String, Location>,
}

impl Builder<'_> {
    fn apply(&mut self, statement: Statement) {
        match statement {
            Statement::Setting { name, value, at } => self.setting(&name, value, at),
            Statement::Begin { kind, name, at } => self.begin(kind, name, at),
            Statement::End { at } => {
                if self.open.len() == 1 {
                    self.found.error(&at, "", "Unexpected '}'", "remove it, or add the block's first line");
                } else {
                    self.open.pop();
                }
            }
        }
    }

    fn current(&self) -> &Open {
        self.open.last().expect("the top level stays open")
    }

    fn block_mut(&mut self, cursor: &Cursor) -> &mut Block {
        let mut block = match cursor.filter {
            0 => &mut self.tree.root,
            filter => &mut self.tree.filters[filter - 1].1,
        };
        for (kind, index) in &cursor.path {
            block = &mut block.blocks.get_mut(kind).expect("a cursor leads to a block that exists")[*index];
        }
        block
    }

    /// A name with the blocks around it, as Dovecot's messages show it: `service { client_limits`.
    fn full_name(&self, name: &str) -> String {
        let open = self.open.iter().filter(|open| !open.kind.is_empty());
        open.map(|open| format!("{} {{ ", open.kind)).collect::<String>() + name
    }

    fn setting(&mut self, name: &str, raw: Raw, at: Location) {
        let cursor = self.current().cursor.clone();
        match self.current().target {
            Target::Unknown => {}
            Target::Block(scope) => self.known_setting(scope, name, raw, at),
            Target::Strings(list) => {
                if let Some(value) = self.resolve(name, raw, &at) {
                    let list = self.block_mut(&cursor).strings.entry(list).or_default();
                    match list.iter_mut().find(|(known, _)| known == name) {
                        Some((_, old)) => *old = value,
                        None => list.push((name.to_owned(), value)),
                    }
                }
            }
            Target::Switches(setting) => self.switch(setting, name, raw, at),
        }
    }

    fn known_setting(&mut self, scope: Scope, name: &str, raw: Raw, at: Location) {
        let (name, raw) = match dialect::meaning(scope, name, &raw) {
            Meaning::Same => (name, raw),
            Meaning::Becomes { name: new, value, obsolete } => {
                if let Some(obsolete) = obsolete {
                    let problem = format!("Obsolete setting in {}:{}: {obsolete}", at.file, at.line);
                    self.found.warning(&at, name, problem, format!("write {new}"));
                }
                (new, value)
            }
            Meaning::Nothing(why) => {
                let problem = format!("Obsolete setting in {}:{}: {why}", at.file, at.line);
                return self.found.warning(&at, name, problem, "remove it");
            }
            Meaning::Wrong(why) => return self.found.error(&at, name, why, ""),
        };
        let Some(row) = scope.find(name) else {
            let problem = format!("Unknown setting: {}", self.full_name(name));
            let mend = scope.nearest(name).map(|near| format!("did you mean {near}?")).unwrap_or_default();
            return self.found.error(&at, name, problem, mend);
        };
        if scope == Scope::Root {
            self.warn_about_order(row.name, &at);
        }
        let cursor = self.current().cursor.clone();
        let Some(mut value) = self.resolve(row.name, raw, &at) else { return };
        match value::normalise(row.kind, &value.text) {
            Ok(normal) => {
                if value.shown == value.text {
                    value.shown.clone_from(&normal);
                }
                value.text = normal;
            }
            Err(problem) => return self.found.error(&at, row.name, problem, ""),
        }
        if self.is_for_addresses(&cursor) && scope == Scope::Root && table::is_auth(row.name) {
            let problem = format!("Auth settings not supported inside local/remote blocks: {}", row.name);
            return self.found.error(&at, row.name, problem, "set it outside of the block");
        }
        self.block_mut(&cursor).values.insert(row.name, value);
    }

    /// Dovecot's warning about a setting that was changed in a filter before it was set for all.
    fn warn_about_order(&mut self, name: &str, at: &Location) {
        if self.open.len() > 1 {
            self.seen.entry(name.to_owned()).or_insert_with(|| at.clone());
        } else if let Some(first) = self.seen.get(name) {
            let earlier = format!("{} line {}", first.file, first.line);
            let problem =
                format!("Global setting {name} won't change the setting inside an earlier filter at {earlier}");
            let mend = format!("if this is intentional, move the global setting before {earlier}");
            self.found.warning(at, name, problem, mend);
        }
    }

    fn is_for_addresses(&self, cursor: &Cursor) -> bool {
        cursor.filter > 0 && {
            let filter = &self.tree.filters[cursor.filter - 1].0;
            filter.local.is_some() || filter.local_name.is_some() || filter.remote.is_some()
        }
    }

    /// `mail_plugins { acl = yes }` (2.4): adds a word to the setting, or takes it out.
    fn switch(&mut self, setting: &'static str, word: &str, raw: Raw, at: Location) {
        let on = match self.resolve(word, raw, &at) {
            Some(value) => match value::bool(&value.text) {
                Ok(on) => on,
                Err(problem) => return self.found.error(&at, setting, problem, ""),
            },
            None => return,
        };
        let cursor = self.current().cursor.clone();
        let text = self.variable(setting, cursor.filter).unwrap_or_default();
        let mut words: Vec<&str> = value::words(&text).filter(|known| *known != word).collect();
        if on {
            words.push(word);
        }
        let text = words.join(" ");
        let value = Value { shown: text.clone(), text, file: None, at: Some(at) };
        self.block_mut(&cursor).values.insert(setting, value);
    }

    /// Replaces `$name` and `<file`; reports what cannot be replaced.
    fn resolve(&mut self, name: &str, raw: Raw, at: &Location) -> Option<Value> {
        let at_value = Some(at.clone());
        match raw {
            Raw::Text(text) => Some(Value { shown: text.clone(), text, file: None, at: at_value }),
            Raw::Variable(written) => {
                let (variable, rest) = written.split_at(written.find(' ').unwrap_or(written.len()));
                let variable = variable.strip_prefix("SET:").unwrap_or(variable);
                let Some(value) = self.variable(variable, self.current().cursor.filter) else {
                    let mend = Scope::Root.nearest(variable).map(|near| format!("did you mean ${near}?"));
                    self.found.error(at, name, format!("Unknown variable: ${variable}"), mend.unwrap_or_default());
                    return None;
                };
                let text = value + rest;
                // Only a value that refers to itself is printed with what it stands for.
                let shown = if variable == name { text.clone() } else { format!("${written}") };
                Some(Value { text, shown, file: None, at: at_value })
            }
            Raw::File { written, path } => {
                let content = if KEYS.contains(&name) {
                    self.files.readable(Path::new(&path)).map(|()| Vec::new())
                } else {
                    self.files.read(Path::new(&path))
                };
                let text = match content {
                    Ok(content) => String::from_utf8_lossy(&content).into_owned(),
                    Err(error) => {
                        let problem = format!("{name}: Can't open file {path}: {}", error_text(&error));
                        self.found.error(at, name, problem, "make the file readable, or name another one");
                        String::new()
                    }
                };
                Some(Value { text, shown: format!("<{written}"), file: Some(path.into()), at: at_value })
            }
        }
    }

    /// What `$name` stands for: the value so far in this filter, else outside of it, else the default.
    fn variable(&self, name: &str, filter: usize) -> Option<String> {
        let row = Scope::Root.find(name)?;
        let inside = filter.checked_sub(1).and_then(|index| self.tree.filters[index].1.value(name));
        let value = inside.or_else(|| self.tree.root.value(name));
        Some(value.map_or_else(|| row.default.to_owned(), |value| value.text.clone()))
    }

    fn begin(&mut self, kind: String, name: String, at: Location) {
        let cursor = self.current().cursor.clone();
        let target = match self.current().target {
            Target::Unknown => Some((Target::Unknown, cursor)),
            _ if self.open.len() > MAX_DEPTH => {
                self.found.error(&at, kind.as_str(), format!("blocks are nested deeper than {MAX_DEPTH}"), "");
                None
            }
            Target::Block(Scope::Root) if matches!(kind.as_str(), "protocol" | "local" | "remote" | "local_name") => {
                if let Some(cursor) = self.filter(&kind, &name, &cursor, &at) {
                    let target = Target::Block(Scope::Root);
                    return self.open.push(Open { kind: String::new(), at, target, cursor });
                }
                None
            }
            Target::Block(scope) => self.child(scope, &kind, &name, cursor, &at),
            Target::Strings(_) | Target::Switches(_) => {
                self.found.error(&at, kind.as_str(), "Section not allowed here", "put it outside of this block");
                None
            }
        };
        let (target, cursor) = target.unwrap_or((Target::Unknown, Cursor::default()));
        self.open.push(Open { kind, at, target, cursor });
    }

    /// Opens a block that is no filter, and makes it if it is not there yet.
    fn child(
        &mut self,
        scope: Scope,
        kind: &str,
        name: &str,
        mut cursor: Cursor,
        at: &Location,
    ) -> Option<(Target, Cursor)> {
        let Some((known, child)) = scope.children().iter().find(|(known, _)| *known == kind).copied() else {
            let problem = format!("Unknown setting: {}{kind} {{ {kind}", self.full_name(""));
            let mend = scope.nearest(kind).map(|near| format!("did you mean {near}?")).unwrap_or_default();
            self.found.error(at, kind, problem, mend);
            return None;
        };
        let (scope, unique) = match child {
            Child::Strings => {
                self.block_mut(&cursor).strings.entry(known).or_default();
                return Some((Target::Strings(known), cursor));
            }
            Child::Switches => return Some((Target::Switches(known), cursor)),
            Child::Block { scope, unique } => (scope, unique),
        };
        if self.is_for_addresses(&cursor) && table::is_auth(kind) {
            let problem = format!("Auth settings not supported inside local/remote blocks: {kind}");
            self.found.error(at, kind, problem, "put it outside of the block");
            return None;
        }
        let blocks = self.block_mut(&cursor).blocks.entry(known).or_default();
        let existing = blocks.iter().position(|block| !name.is_empty() && block.name == name);
        if !unique && existing.is_some() {
            self.found.error(at, kind, format!("{kind}/{name} already exists"), "give it another name, or none");
            return None;
        }
        let index = existing.unwrap_or_else(|| {
            blocks.push(Block { name: name.to_owned(), ..Block::default() });
            blocks.len() - 1
        });
        blocks[index].at.get_or_insert_with(|| at.clone());
        cursor.path.push((known, index));
        Some((Target::Block(scope), cursor))
    }

    /// Opens a filter inside another one or the root.
    fn filter(&mut self, kind: &str, name: &str, parent: &Cursor, at: &Location) -> Option<Cursor> {
        let parent = match parent.filter {
            0 => Filter::default(),
            index => self.tree.filters[index - 1].0.clone(),
        };
        match parent.inside(kind, name) {
            Ok(filter) => {
                let existing = self.tree.filters.iter().position(|(known, _)| *known == filter);
                let index = existing.unwrap_or_else(|| {
                    self.tree.filters.push((filter, Block { at: Some(at.clone()), ..Block::default() }));
                    self.tree.filters.len() - 1
                });
                Some(Cursor { filter: index + 1, path: Vec::new() })
            }
            Err(problem) => {
                self.found.error(at, kind, problem, "");
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::files::memory::Memory;
    use super::super::parse;
    use super::*;

    fn tree(text: &str) -> (Tree, Vec<String>) {
        let files = Memory::new([("/c/d.conf", text), ("/c/text", "from a file")]);
        let mut found = Diagnostics::new();
        let statements = parse::read(Path::new("/c/d.conf"), &files, &mut found).unwrap();
        let tree = build(statements, &files, &mut found);
        (tree, found.iter().map(|one| format!("{}: {}", one.line, one.problem)).collect())
    }

    #[test]
    fn blocks_of_one_name_are_one_block() {
        let (tree, found) = tree(
            "namespace inbox {\n inbox = yes\n mailbox Sent {\n auto = create\n }\n}\n\
             namespace inbox {\n mailbox Sent {\n special_use = \\Sent\n }\n}\nnamespace {\n}\nnamespace {\n}\n",
        );
        assert_eq!(found, [""; 0]);
        let namespaces = tree.root.children("namespace");
        assert_eq!(namespaces.len(), 3);
        let sent = &namespaces[0].children("mailbox")[0];
        assert_eq!(sent.value("auto").unwrap().text, "create");
        assert_eq!(sent.value("special_use").unwrap().text, "\\Sent");
        assert_eq!(sent.at.as_ref().unwrap().line, 3);
    }

    #[test]
    fn services_start_from_their_defaults() {
        let (tree, _) = tree("service imap-login {\n inet_listener imap {\n port = 1143\n }\n}\n");
        let login = tree.root.children("service").iter().find(|block| block.name == "imap-login").unwrap();
        let ports: Vec<_> =
            login.children("inet_listener").iter().map(|block| &block.value("port").unwrap().text).collect();
        assert_eq!(ports, ["1143", "993"]);
        assert_eq!(login.value("user").unwrap().text, "$default_login_user");
    }

    #[test]
    fn variables_and_files_are_replaced() {
        let (tree, found) = tree(
            "mail_plugins = a\nprotocol imap {\n mail_plugins = $mail_plugins b\n}\n\
             hostname = $instance_name\nlogin_greeting = <text\nssl_key = <text\n",
        );
        assert_eq!(found, [""; 0]);
        let plugins = tree.filters[0].1.value("mail_plugins").unwrap();
        assert_eq!((plugins.text.as_str(), plugins.shown.as_str()), ("a b", "a b"));
        let hostname = tree.root.value("hostname").unwrap();
        assert_eq!((hostname.text.as_str(), hostname.shown.as_str()), ("dovecot", "$instance_name"));
        let greeting = tree.root.value("login_greeting").unwrap();
        assert_eq!((greeting.text.as_str(), greeting.shown.as_str()), ("from a file", "<text"));
        let key = tree.root.value("ssl_key").unwrap();
        assert_eq!((key.text.as_str(), key.file.as_deref()), ("", Some(Path::new("/c/text"))));
    }

    #[test]
    fn switches_of_2_4_make_a_list() {
        let (tree, found) = tree(
            "mail_plugins {\n acl = yes\n quota = yes\n acl = no\n}\nprotocol imap {\n mail_plugins {\n imap_quota = yes\n }\n}\n",
        );
        assert_eq!(found, [""; 0]);
        assert_eq!(tree.root.value("mail_plugins").unwrap().text, "quota");
        assert_eq!(tree.filters[0].1.value("mail_plugins").unwrap().text, "quota imap_quota");
    }

    #[test]
    fn filters_nest_in_the_order_that_dovecot_allows() {
        let (tree, found) = tree(
            "local 10.0.0.0/8 {\n protocol imap {\n ssl = no\n }\n}\nprotocol imap {\n local 10.0.0.1 {\n }\n}\n\
             remote ::1 {\n local_name x {\n }\n}\nlocal 10.0.0.0/8 {\n local 11.0.0.0/8 {\n }\n}\nlocal nohost {\n x = y\n}\n",
        );
        assert_eq!(tree.filters.len(), 4);
        assert_eq!(
            found,
            [
                "7: protocol { local { .. } } not allowed (use local { protocol { .. } } instead)",
                "11: remote { local_name { .. } } not allowed (use local_name { remote { .. } } instead)",
                "15: local net1 { local net2 { .. } } requires net2 to be inside net1",
                "18: local nohost: not an address; host names are not looked up",
            ]
        );
    }

    #[test]
    fn what_stands_in_an_unknown_block_is_not_reported_again() {
        let (_, found) =
            tree("servce imap {\n client_limit = 1\n x {\n }\n}\nservice imap {\n nope = 1\n}\n}\nplugin {\n");
        assert_eq!(
            found,
            [
                "1: Unknown setting: servce { servce",
                "7: Unknown setting: service { nope",
                "9: Unexpected '}'",
                "10: Missing '}' (section started at /c/d.conf:10)",
            ]
        );
    }
}
