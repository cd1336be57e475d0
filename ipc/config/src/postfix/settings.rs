//! Typed values of `main.cf`.
//!
//! A getter reports what is wrong with a value and then returns something harmless: what was reported as an error stops
//! the start, so that it is never used. To ask for a name that the table does not have, or for another kind than the
//! table says, is a bug of ours, and panics.

use std::time::Duration;

use super::main_cf::{MainCf, kind};
use super::table::{self, Kind};
use super::value;
use crate::diagnostic::{Diagnostics, Location};

/// The values of one [`MainCf`], and the collector for what is wrong with them.
pub struct Settings<'a> {
    main: &'a MainCf,
    found: &'a mut Diagnostics,
}

impl<'a> Settings<'a> {
    pub(super) fn new(main: &'a MainCf, found: &'a mut Diagnostics) -> Settings<'a> {
        Settings { main, found }
    }

    /// The file that the values come from.
    pub fn main_cf(&self) -> &'a MainCf {
        self.main
    }

    /// The collector.
    pub fn found(&mut self) -> &mut Diagnostics {
        self.found
    }

    /// The expanded value of any parameter, one that the administrator made up included; empty for an unknown name.
    /// `myorigin` may name a file whose first line is the value, as on Debian.
    pub fn text(&mut self, name: &str) -> String {
        let text = match self.main.expanded(name) {
            Ok(expansion) => expansion.text,
            Err(problem) => {
                self.error(name, problem, "correct the expression");
                return String::new();
            }
        };
        if text.is_empty() && table::find(name).is_some_and(|row| row.filled) {
            self.error(name, format!("bad string length 0 < 1: {name} ="), "give it a value, or remove the line");
        }
        if name == "myorigin" && text.starts_with('/') { self.first_line(name, &text) } else { text }
    }

    /// `yes` or `no`.
    pub fn boolean(&mut self, name: &str) -> bool {
        let Kind::Boolean = known(name) else { wrong_kind(name) };
        let parsed = value::boolean(name, &self.text(name));
        self.or_report(name, parsed, "write \"yes\" or \"no\"")
    }

    /// A number; 0 is no limit for most limits.
    pub fn integer(&mut self, name: &str) -> i32 {
        let Kind::Integer { min, max } = known(name) else { wrong_kind(name) };
        let parsed = value::integer(name, &self.text(name), min, max);
        self.or_report(name, parsed, "write a decimal number")
    }

    /// A number of bytes.
    pub fn size(&mut self, name: &str) -> i64 {
        let Kind::Size { min, max } = known(name) else { wrong_kind(name) };
        let parsed = value::size(name, &self.text(name), min, max);
        self.or_report(name, parsed, "write a number of bytes")
    }

    /// A time, in whole seconds.
    pub fn time(&mut self, name: &str) -> Duration {
        let Kind::Time { min, max } = known(name) else { wrong_kind(name) };
        let default = self.expanded_default(name);
        let parsed = value::time(name, &self.text(name), &default, min, max);
        self.or_report(name, parsed, "write a number with one of the units s, m, h, d, w")
    }

    /// One of the words that the table lists, or the empty text where that is the default.
    pub fn choice(&mut self, name: &str) -> &'static str {
        let Kind::Choice(words) = known(name) else { wrong_kind(name) };
        let text = self.text(name);
        if text.is_empty() && self.expanded_default(name).is_empty() {
            return "";
        }
        let parsed = value::choice(name, &text, words);
        self.or_report(name, parsed, &format!("write one of {}", words.join(", ")))
    }

    /// The words of a list, of whatever kind. A word in braces keeps them.
    pub fn list(&mut self, name: &str) -> Vec<String> {
        value::words(&self.text(name))
    }

    /// Reads the value as what the table says it is, to have everything reported that is wrong with it.
    pub fn validate(&mut self, name: &str) {
        match known(name) {
            Kind::Boolean => drop(self.boolean(name)),
            Kind::Integer { .. } => drop(self.integer(name)),
            Kind::Size { .. } => drop(self.size(name)),
            Kind::Time { .. } => drop(self.time(name)),
            Kind::Choice(_) => drop(self.choice(name)),
            Kind::Text
            | Kind::Raw
            | Kind::List
            | Kind::Maps
            | Kind::Networks
            | Kind::Domains
            | Kind::Strings
            | Kind::Restrictions => drop(self.text(name)),
        }
    }

    /// Reports an error in the value of a parameter, at its place.
    pub fn error(&mut self, name: &str, problem: impl Into<String>, mend: &str) {
        self.found.error(&self.main.location(name), name, problem, mend);
    }

    fn expanded_default(&self, name: &str) -> String {
        let default = self.main.default(name).unwrap_or_default();
        self.main.expand(&default).unwrap_or_default().text
    }

    /// The first line of the file that a value names.
    fn first_line(&mut self, name: &str, path: &str) -> String {
        match self.main.system().read(path) {
            Ok(text) => {
                let line = text.lines().next().unwrap_or_default().trim().to_owned();
                if line.is_empty() {
                    self.found.error(&Location::file(path), name, "the first line is empty", "write the name there");
                }
                line
            }
            Err(error) => {
                self.error(name, format!("{path}: {error}"), "make the file, or write the value itself");
                String::new()
            }
        }
    }

    fn or_report<T: Default>(&mut self, name: &str, parsed: Result<T, String>, mend: &str) -> T {
        parsed.unwrap_or_else(|problem| {
            self.error(name, problem, mend);
            T::default()
        })
    }
}

fn known(name: &str) -> Kind {
    kind(name).unwrap_or_else(|| panic!("no such parameter: {name}"))
}

fn wrong_kind(name: &str) -> ! {
    panic!("parameter of another kind: {name}: {:?}", known(name))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::postfix::system::fake::FakeHost;

    fn main(text: &str) -> MainCf {
        let files = vec![("/etc/mailname", "mail.example.org \n# x\n"), ("/etc/empty", "\n")];
        MainCf::parse(text, "main.cf", Arc::new(FakeHost { files, ..FakeHost::default() }), &mut Diagnostics::new())
    }

    fn said(text: &str, name: &str) -> Vec<String> {
        let mut found = Diagnostics::new();
        main(text).settings(&mut found).validate(name);
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn values_have_the_type_of_the_table() {
        let mut found = Diagnostics::new();
        let main = main(
            "smtpd_helo_required = Yes\nsmtpd_timeout = 5m\nmaximal_queue_lifetime = 2\nmessage_size_limit = 5000000000\n\
             smtpd_tls_security_level = MAY\nmydestination = $myhostname, localhost\nstress = yes\n",
        );
        let mut settings = main.settings(&mut found);
        assert!(settings.boolean("smtpd_helo_required"));
        assert!(!settings.boolean("smtpd_tls_auth_only"));
        assert_eq!(settings.time("smtpd_timeout"), Duration::from_secs(300));
        assert_eq!(settings.time("maximal_queue_lifetime"), Duration::from_secs(2 * 86_400));
        assert_eq!(settings.time("smtpd_starttls_timeout"), Duration::from_secs(10));
        assert_eq!(settings.size("message_size_limit"), 5_000_000_000);
        assert_eq!(settings.integer("smtpd_hard_error_limit"), 1);
        assert_eq!(settings.integer("lmtp_destination_concurrency_limit"), 20);
        assert_eq!(settings.choice("smtpd_tls_security_level"), "may");
        assert_eq!(settings.choice("lmtp_tls_security_level"), "");
        assert_eq!(settings.list("mydestination"), ["vm.localdomain", "localhost"]);
        assert!(found.is_empty(), "{found:?}");
    }

    #[test]
    fn bad_values_are_reported_where_they_stand() {
        for (text, name, expected) in [
            (
                "biff = maybe\n",
                "biff",
                "main.cf:1:8: biff: bad boolean configuration: biff = maybe: write \"yes\" or \"no\"",
            ),
            (
                "\nmax_use = 1k\n",
                "max_use",
                "main.cf:2:11: max_use: bad numerical configuration: max_use = 1k: write a decimal number",
            ),
            (
                "smtpd_timeout = 5x\n",
                "smtpd_timeout",
                "main.cf:1:17: smtpd_timeout: parameter smtpd_timeout: bad time value or unit: 5x: \
                 write a number with one of the units s, m, h, d, w",
            ),
            (
                "mail_owner =\n",
                "mail_owner",
                "main.cf:1:12: mail_owner: bad string length 0 < 1: mail_owner =: give it a value, or remove the line",
            ),
            (
                "mynetworks_style = all\n",
                "mynetworks_style",
                "main.cf:1:20: mynetworks_style: bad value: mynetworks_style = all: write one of class, subnet, host",
            ),
            (
                "mydestination = ${a\n",
                "mydestination",
                "main.cf:1:17: mydestination: truncated macro reference: \"${a\": correct the expression",
            ),
        ] {
            assert_eq!(said(text, name), [expected]);
        }
    }

    #[test]
    fn myorigin_may_name_a_file() {
        let mut found = Diagnostics::new();
        assert_eq!(main("myorigin = /etc/mailname\n").settings(&mut found).text("myorigin"), "mail.example.org");
        assert!(found.is_empty());
        assert_eq!(
            said("myorigin = /etc/empty\n", "myorigin"),
            ["/etc/empty: myorigin: the first line is empty: write the name there"]
        );
        assert!(said("myorigin = /none\n", "myorigin")[0].starts_with("main.cf:1:12: myorigin: /none: "));
    }

    #[test]
    #[should_panic(expected = "parameter of another kind")]
    fn another_kind_is_our_bug() {
        main("").settings(&mut Diagnostics::new()).boolean("smtpd_timeout");
    }
}
