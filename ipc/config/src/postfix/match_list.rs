//! Match lists: lists of strings, domains, or clients, as `mydestination`, `relay_domains` and `mynetworks` are.
//!
//! ```text
//! list    = *( item separator )            ; separators are commas and white space
//! item    = *"!" ( "/" file / type ":" table / pattern )
//! ```
//!
//! (postconf(5), match_list(3).) The first item that matches decides; `!` makes it decide for no. A file holds a list of
//! its own, without comments but for lines that begin with `#`. Letters match in either case.
//!
//! Tables are not opened here: who evaluates a list passes a function that looks a key up. What cannot be evaluated is a
//! [`Failure`], never "does not match": the caller answers with a temporary error, as Postfix does.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::network::Network;
use super::settings::Settings;
use super::value::words;

/// How deep a file may name files.
pub const MAX_FILE_DEPTH: usize = 16;

/// What an item is compared with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Pattern {
    /// Text in lower case: a word, a domain, a host name.
    Text(String),
    /// An address, or a network.
    Network(Network),
    /// A lookup table, `type:name`.
    Table(String),
    /// Something that could not be read; the text says what.
    Unusable(String),
}

/// One item of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// Whether the item decides for no.
    pub negated: bool,
    /// What it is compared with.
    pub pattern: Pattern,
}

/// How text is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Style {
    /// As a whole: `mydestination`, `virtual_mailbox_domains`.
    Strings,
    /// As a domain: `.example.org` matches every name below it, and where `parents` is set `example.org` does as well.
    Domains {
        /// `parent_domain_matches_subdomains` lists the parameter.
        parents: bool,
    },
}

/// A list of names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MatchList {
    /// How text is compared.
    pub style: Style,
    /// The items in order.
    pub items: Vec<Item>,
}

/// A list of clients, each known by its name and its address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkList {
    /// Whether a host name in the list stands for the names below it as well.
    pub parents: bool,
    /// The items in order.
    pub items: Vec<Item>,
}

/// What a list asks a table for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query<'a> {
    /// The table, `type:name`.
    pub table: &'a str,
    /// The key, in lower case.
    pub key: &'a str,
    /// The key is a part of the name that is looked for: tables of patterns (regexp, pcre, cidr, …) are not asked.
    pub partial: bool,
}

/// Why a list could not be evaluated: a temporary error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure<E> {
    /// An item could not be read; the text says what is wrong with it.
    Item(String),
    /// A lookup failed.
    Lookup(E),
}

impl<E: fmt::Display> fmt::Display for Failure<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Item(problem) => f.write_str(problem),
            Failure::Lookup(error) => error.fmt(f),
        }
    }
}

impl MatchList {
    /// The list of strings that a parameter holds.
    pub fn strings(settings: &mut Settings<'_>, name: &str) -> MatchList {
        MatchList { style: Style::Strings, items: items(settings, name, false) }
    }

    /// The same for a program that opens no file. A table that is not written out in the list is an error.
    pub fn inline_strings(settings: &mut Settings<'_>, name: &str) -> MatchList {
        let list = MatchList::strings(settings, name);
        let is_inline = |table: &&str| table.starts_with("static:") || table.contains(":{");
        let others: Vec<String> = list.tables().filter(|table| !is_inline(table)).map(str::to_owned).collect();
        for table in others {
            let problem = format!("the table {table} is not built in here");
            settings.error(name, problem, "write its entries into the list: inline:{ key = value }");
        }
        list
    }

    /// The list of domains that a parameter holds.
    pub fn domains(settings: &mut Settings<'_>, name: &str) -> MatchList {
        let style = Style::Domains { parents: parents_match(settings, name) };
        MatchList { style, items: items(settings, name, false) }
    }

    /// Whether the list holds `name`. `lookup` says whether a table has a key.
    pub fn matches<E>(
        &self,
        name: &str,
        mut lookup: impl FnMut(Query<'_>) -> Result<bool, E>,
    ) -> Result<bool, Failure<E>> {
        let name = name.to_lowercase();
        for item in &self.items {
            let matched = match (&item.pattern, self.style) {
                (Pattern::Text(text), Style::Strings) => *text == name,
                (Pattern::Text(text), Style::Domains { parents }) => is_within(&name, text, parents),
                (Pattern::Table(table), Style::Strings) => {
                    lookup(Query { table, key: &name, partial: false }).map_err(Failure::Lookup)?
                }
                (Pattern::Table(table), Style::Domains { parents }) => has_domain(table, &name, parents, &mut lookup)?,
                (Pattern::Unusable(problem), _) => return Err(Failure::Item(problem.clone())),
                (Pattern::Network(_), _) => false,
            };
            if matched {
                return Ok(!item.negated);
            }
        }
        Ok(false)
    }

    /// The tables that the list asks, in order.
    pub fn tables(&self) -> impl Iterator<Item = &str> {
        tables(&self.items)
    }
}

impl NetworkList {
    /// The list of clients that a parameter holds.
    pub fn from_settings(settings: &mut Settings<'_>, name: &str) -> NetworkList {
        NetworkList { parents: parents_match(settings, name), items: items(settings, name, true) }
    }

    /// Whether the list holds the address, for a list without tables. A table, or what could not be read, before the item
    /// that matches makes the answer no.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.matches(None, address, |_| Err(())).unwrap_or(false)
    }

    /// Whether the list holds the client. A name that DNS did not confirm is `None`. `lookup` says whether a table has a
    /// key.
    pub fn matches<E>(
        &self,
        name: Option<&str>,
        address: IpAddr,
        mut lookup: impl FnMut(Query<'_>) -> Result<bool, E>,
    ) -> Result<bool, Failure<E>> {
        let name = name.map(str::to_lowercase);
        let address = address.to_canonical();
        let numeric = address.to_string();
        for item in &self.items {
            let matched = match &item.pattern {
                Pattern::Network(network) => network.contains(address),
                Pattern::Text(text) => name.as_deref().is_some_and(|name| is_within(name, text, self.parents)),
                Pattern::Table(table) => {
                    let named = match &name {
                        Some(name) => has_domain(table, name, self.parents, &mut lookup)?,
                        None => false,
                    };
                    named || lookup(Query { table, key: &numeric, partial: false }).map_err(Failure::Lookup)?
                }
                Pattern::Unusable(problem) => return Err(Failure::Item(problem.clone())),
            };
            if matched {
                return Ok(!item.negated);
            }
        }
        Ok(false)
    }

    /// The tables that the list asks, in order.
    pub fn tables(&self) -> impl Iterator<Item = &str> {
        tables(&self.items)
    }
}

fn tables(items: &[Item]) -> impl Iterator<Item = &str> {
    items.iter().filter_map(|item| match &item.pattern {
        Pattern::Table(table) => Some(table.as_str()),
        _ => None,
    })
}

/// Whether `name` is `domain`, or below it: below `.domain`, or below `domain` where `parents` is set.
fn is_within(name: &str, domain: &str, parents: bool) -> bool {
    if name == domain {
        return true;
    }
    match name.strip_suffix(domain) {
        Some(rest) if parents => rest.len() > 1 && rest.ends_with('.'),
        Some(rest) => domain.starts_with('.') && !rest.is_empty(),
        None => false,
    }
}

/// Whether a table has the name, or a domain that it is below, which is looked up with its dot unless `parents` is set.
fn has_domain<E>(
    table: &str,
    name: &str,
    parents: bool,
    lookup: &mut impl FnMut(Query<'_>) -> Result<bool, E>,
) -> Result<bool, Failure<E>> {
    let mut key = name;
    loop {
        let partial = key.len() < name.len();
        if !key.is_empty() && lookup(Query { table, key, partial }).map_err(Failure::Lookup)? {
            return Ok(true);
        }
        let Some(dot) = key.char_indices().skip(1).find(|(_, c)| *c == '.').map(|(dot, _)| dot) else {
            return Ok(false);
        };
        key = &key[if parents { dot + 1 } else { dot }..];
    }
}

/// Whether `parent_domain_matches_subdomains` lists the parameter.
fn parents_match(settings: &mut Settings<'_>, name: &str) -> bool {
    let styles = MatchList::strings(settings, "parent_domain_matches_subdomains");
    // A table cannot be asked while the configuration is read; it lists nothing then.
    styles.matches(name, |_| Ok::<_, ()>(false)).unwrap_or(false)
}

/// The items of a parameter's value.
fn items(settings: &mut Settings<'_>, name: &str, networks: bool) -> Vec<Item> {
    let value = settings.text(name);
    let mut items = Vec::new();
    Reader { settings, name, networks, items: &mut items }.read(&value, false, 0);
    items
}

struct Reader<'r, 's> {
    settings: &'r mut Settings<'s>,
    name: &'r str,
    networks: bool,
    items: &'r mut Vec<Item>,
}

impl Reader<'_, '_> {
    fn read(&mut self, list: &str, negated: bool, depth: usize) {
        for word in words(list) {
            if word.starts_with('#') {
                let problem = format!("comment at end of line is not supported: {word}");
                self.warning(&problem, "put the comment on a line of its own");
                return;
            }
            let text = word.trim_start_matches('!');
            let negated = negated ^ !(word.len() - text.len()).is_multiple_of(2);
            if text.is_empty() {
                self.settings.error(self.name, "no pattern after '!'", "remove the '!'");
            } else if text.starts_with('/') {
                self.file(text, negated, depth);
            } else {
                let pattern = self.pattern(text);
                self.items.push(Item { negated, pattern });
            }
        }
    }

    fn pattern(&mut self, text: &str) -> Pattern {
        let without_mask = text.split_once('/').map_or(text, |(address, _)| address);
        if self.networks && without_mask.parse::<std::net::Ipv6Addr>().is_ok() {
            let problem = format!("unsupported dictionary type in \"{text}\"");
            let (mask, bracketed) = (&text[without_mask.len()..], format!("[{without_mask}]"));
            self.settings.error(self.name, problem, &format!("write {bracketed}{mask}"));
        } else if !text.starts_with('[') && text.contains(':') {
            return Pattern::Table(text.to_owned());
        }
        if self.networks {
            match Network::parse(text) {
                Ok(Some(network)) => return Pattern::Network(network),
                Ok(None) => {}
                Err(problem) => {
                    self.warning(&problem, "until then, clients that get as far as this are deferred");
                    return Pattern::Unusable(problem);
                }
            }
        }
        Pattern::Text(text.to_lowercase())
    }

    /// Takes the items of a file in place of its name.
    fn file(&mut self, path: &str, negated: bool, depth: usize) {
        if depth == MAX_FILE_DEPTH {
            let problem = format!("files are nested more than {MAX_FILE_DEPTH} deep: {path}");
            self.settings.error(self.name, problem, "a file must not name itself");
            return;
        }
        match self.settings.main_cf().system().read(path) {
            Ok(text) => {
                for line in text.lines().filter(|line| !line.starts_with('#')) {
                    self.read(line, negated, depth + 1);
                }
            }
            Err(error) => {
                let problem = format!("open file {path}: {error}");
                self.warning(&problem, "make the file, or remove it from the list");
                self.items.push(Item { negated, pattern: Pattern::Unusable(problem) });
            }
        }
    }

    fn warning(&mut self, problem: &str, mend: &str) {
        let at = self.settings.main_cf().location(self.name);
        self.settings.found().warning(&at, self.name, problem, mend);
    }
}

#[cfg(test)]
mod tests;
