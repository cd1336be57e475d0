//! A worker's slice of the configuration: what its program uses, validated and expanded by the master, and nothing else.
//!
//! The master writes values in one canonical form (`yes` and `no`, seconds, bytes), so that a worker's getter cannot fail: a
//! value that is not what the getter asks for, or a name that was not handed over, is a bug of ours and panics. Which
//! parameters a program is handed is what the parameter table says of each.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::diagnostic::Diagnostics;
use crate::dovecot::sections::{Database, Namespace, Passdb};
use crate::postfix::main_cf::MainCf;
use crate::postfix::match_list::{MatchList, NetworkList};
use crate::postfix::restrictions::{self, Rule};
use crate::postfix::smtpd;
use crate::postfix::table::transport::Owner;
use crate::postfix::table::{self, Kind};
use crate::uses;
use ipc_messages::tls::Offer;
use serde::{Deserialize, Serialize};

/// Values by name, in canonical form.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Values(BTreeMap<String, String>);

impl Values {
    /// No value.
    pub fn new() -> Values {
        Values::default()
    }

    /// Adds a value in canonical form.
    pub fn insert(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.0.insert(name.into(), value.into());
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The text of a value.
    pub fn text(&self, name: &str) -> &str {
        self.get(name).unwrap_or_else(|| panic!("the setting {name} was not handed to this program"))
    }

    /// The text of a value, if the name is there: for names that the administrator makes up.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A value of the kind yes or no.
    pub fn boolean(&self, name: &str) -> bool {
        match self.text(name) {
            "yes" => true,
            "no" => false,
            other => panic!("the setting {name} is neither yes nor no: {other}"),
        }
    }

    /// A number: a count, a limit, bytes.
    pub fn number(&self, name: &str) -> u64 {
        self.text(name).parse().unwrap_or_else(|_| panic!("the setting {name} is no number"))
    }

    /// A time in whole seconds.
    pub fn time(&self, name: &str) -> Duration {
        Duration::from_secs(self.number(name))
    }

    /// The words of a list, separated by blanks and commas; a group in braces is one word, braces included.
    pub fn list(&self, name: &str) -> Vec<&str> {
        words(self.text(name))
    }
}

/// What a worker is handed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Section {
    /// Parameters of `main.cf`, with the `-o` options of the service's row applied.
    pub transport: Values,
    /// Settings of `dovecot.conf`, as they hold for the service's protocol.
    pub mailbox: Values,
    /// The parameters of `transport` that are lists of clients.
    pub networks: BTreeMap<String, NetworkList>,
    /// The parameters of `transport` that are lists of names.
    pub domains: BTreeMap<String, MatchList>,
    /// The parameters of `transport` that are lists of words to be matched.
    pub strings: BTreeMap<String, MatchList>,
    /// The parameters of `transport` that are restriction lists; for `smtpd` alone.
    pub restrictions: BTreeMap<String, Vec<Rule>>,
    /// The restriction lists that the administrator has named, for access tables that refer to them; for `smtpd` alone.
    pub classes: BTreeMap<String, Vec<Rule>>,
    /// Values of `plugin { }`.
    pub plugin: Values,
    /// Password databases, in the order in which they are asked; for `auth` alone.
    pub passdbs: Vec<Passdb>,
    /// User databases; for `auth` alone.
    pub userdbs: Vec<Database>,
    /// Namespaces; for programs that open mailboxes.
    pub namespaces: Vec<Namespace>,
    /// Delivery agents by their names in `master.cf`, and their programs; for `qmgr` alone.
    pub transports: Vec<(String, String)>,
    /// TLS as the service offers it to its clients; `None` when it offers none.
    pub tls: Option<Offer>,
    /// What the connector opens for this service: names of ours, whose positions are the indexes.
    pub foreign: Vec<String>,
}

impl Section {
    /// The parameters of `main.cf` that `program` uses, in canonical form. What is wrong with one is added to `found`.
    pub fn of_main_cf(main: &MainCf, program: &str, found: &mut Diagnostics) -> Section {
        let mut section = Section::default();
        for &name in uses::parameters(program) {
            let Some(parameter) = table::find(name) else { continue };
            let mut settings = main.settings(found);
            let value = match parameter.kind {
                Kind::Boolean => if settings.boolean(name) { "yes" } else { "no" }.to_string(),
                Kind::Integer { .. } => settings.integer(name).to_string(),
                Kind::Size { .. } => settings.size(name).to_string(),
                Kind::Time { .. } => settings.time(name).as_secs().to_string(),
                Kind::Choice(_) => settings.choice(name).to_string(),
                Kind::Networks => {
                    section.networks.insert(name.into(), NetworkList::from_settings(&mut settings, name));
                    settings.text(name)
                }
                Kind::Domains => {
                    section.domains.insert(name.into(), MatchList::domains(&mut settings, name));
                    settings.text(name)
                }
                Kind::Strings => {
                    section.strings.insert(name.into(), MatchList::inline_strings(&mut settings, name));
                    settings.text(name)
                }
                Kind::Restrictions => {
                    section.restrictions.insert(name.into(), restrictions::parse(&mut settings, name));
                    settings.text(name)
                }
                _ => settings.text(name),
            };
            section.transport.insert(name, value);
        }
        if program == "smtpd" {
            smtpd::check(&mut main.settings(found));
            section.classes = restrictions::classes(&mut main.settings(found));
        }
        section
    }

    /// Adds delivery agents (their names in `master.cf`, and their programs), with what `main` sets for each of them alone
    /// (`lmtp_destination_concurrency_limit`). What is wrong with it is added to `found`.
    pub fn add_transports(&mut self, transports: Vec<(String, String)>, main: &MainCf, found: &mut Diagnostics) {
        let agents = || table::transport::PARAMETERS.iter().filter(|parameter| parameter.owner == Owner::Agents);
        for (transport, _) in &transports {
            for parameter in agents() {
                let name = format!("{transport}{}", parameter.suffix);
                if !main.is_set(&name) {
                    continue;
                }
                let mut settings = main.settings(found);
                let value = match parameter.kind {
                    Kind::Integer { .. } => settings.integer(&name).to_string(),
                    Kind::Time { .. } => settings.time(&name).as_secs().to_string(),
                    _ => settings.text(&name),
                };
                self.transport.insert(name, value);
            }
        }
        self.transports = transports;
    }

    /// The connector's index of a name.
    pub fn foreign(&self, name: &str) -> Option<u16> {
        self.foreign.iter().position(|other| other == name).map(|index| index as u16)
    }
}

/// Splits at blanks and commas outside braces.
fn words(text: &str) -> Vec<&str> {
    let (mut words, mut depth, mut start) = (Vec::new(), 0usize, None);
    for (at, c) in text.char_indices() {
        let separates = depth == 0 && (c.is_ascii_whitespace() || c == ',');
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        match (separates, start) {
            (true, Some(from)) => {
                words.push(&text[from..at]);
                start = None;
            }
            (false, None) => start = Some(at),
            _ => {}
        }
    }
    words.extend(start.map(|from| &text[from..]));
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_back() {
        let mut values = Values::new();
        for (name, value) in [("b", "yes"), ("n", "12"), ("l", "a, b\tc { d, e } f")] {
            values.insert(name, value);
        }
        assert!(values.boolean("b"));
        assert_eq!((values.number("n"), values.time("n")), (12, Duration::from_secs(12)));
        assert_eq!(values.list("l"), ["a", "b", "c", "{ d, e }", "f"]);
        assert_eq!(values.get("x"), None);
    }

    #[test]
    #[should_panic(expected = "was not handed")]
    fn a_name_that_was_not_handed_over_is_a_bug() {
        Values::new().text("x");
    }
}
