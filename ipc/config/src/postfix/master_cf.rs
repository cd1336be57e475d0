//! `master.cf`: the table of services.
//!
//! ```text
//! row     = service 1*WSP type 7( 1*WSP field ) *( 1*WSP argument )
//! service = [ host ":" ] port / name            ; for type inet / for the others
//! type    = "inet" / "unix" / "fifo" / "pass" / "unix-dgram"
//! field   = private unprivileged chroot wakeup maxproc command, of which "-" is the default but for the command
//! ```
//!
//! (master(5); [`super::logical`] says how lines are joined.) The arguments begin with options: `-v`, `-D`,
//! `-o name=value`, `-o { name = value }`; the rest belongs to the command. A row that cannot be used is reported and left
//! out, so that one check finds all of them.

mod endpoint;
mod row;
mod words;

pub use endpoint::{Endpoint, Host};
pub use row::{ChrootColumn, Row, Type, Wakeup};

use super::logical::logical_lines;
use super::main_cf::MainCf;
use super::{expand::Level, table, value};
use crate::diagnostic::{Diagnostics, Location};

/// The daemons that Postfix 3.7 comes with.
pub const COMMANDS: &[&str] = &[
    "anvil",
    "bounce",
    "cleanup",
    "discard",
    "dnsblog",
    "error",
    "flush",
    "lmtp",
    "local",
    "nqmgr",
    "oqmgr",
    "pickup",
    "pipe",
    "postlogd",
    "postscreen",
    "proxymap",
    "qmgr",
    "qmqpd",
    "scache",
    "showq",
    "smtp",
    "smtpd",
    "spawn",
    "tlsmgr",
    "tlsproxy",
    "trivial-rewrite",
    "verify",
    "virtual",
];

/// The rows of one `master.cf`, in the order of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MasterCf {
    /// The usable rows, disabled ones included.
    pub rows: Vec<Row>,
}

impl MasterCf {
    /// Reads the file at `path`; `main` gives defaults, port names and the host.
    pub fn read(path: &str, main: &MainCf, found: &mut Diagnostics) -> MasterCf {
        match main.system().read(path) {
            Ok(text) => MasterCf::parse(&text, path, main, found),
            Err(error) => {
                found.error(&Location::file(path), "", format!("cannot be read: {error}"), "");
                MasterCf::default()
            }
        }
    }

    /// Takes the text of a `master.cf`; `path` is its name in diagnostics.
    pub fn parse(text: &str, path: &str, main: &MainCf, found: &mut Diagnostics) -> MasterCf {
        let context = row::Context {
            path,
            ports: endpoint::Ports::new(&value::words(&expanded(main, "known_tcp_ports")), main.system()),
            chroot: Level::parse(&expanded(main, "compatibility_level"))
                .is_ok_and(|level| level < Level::parse("1").unwrap_or(level)),
        };
        let mut rows: Vec<Row> = Vec::new();
        for line in logical_lines(text, path, found) {
            let Some(row) = Row::parse(&line, &context, found) else { continue };
            if let Some(first) = rows.iter().find(|first| first.kind == row.kind && first.endpoint == row.endpoint) {
                let problem = format!("duplicate master.cf entry for service \"{}\" ({})", row.name, row.endpoint);
                found.warning(&row.at, "service", problem, format!("keep one of it and {}", first.at));
            }
            rows.push(row);
        }
        MasterCf { rows }
    }

    /// The rows that `master_service_disable` leaves.
    pub fn enabled<'a>(&'a self, main: &MainCf) -> impl Iterator<Item = &'a Row> {
        let patterns = value::words(&expanded(main, "master_service_disable"));
        self.rows.iter().filter(move |row| !is_disabled(&patterns, row))
    }

    /// Reports the commands that nobody knows.
    pub fn check_commands(&self, found: &mut Diagnostics) {
        for row in self.rows.iter().filter(|row| !COMMANDS.contains(&row.command.as_str())) {
            let mend = table::nearest(&row.command, COMMANDS.iter().copied())
                .map_or_else(|| "remove the row".to_owned(), |near| format!("did you mean \"{near}\"?"));
            found.warning(&row.at, "command", format!("unknown command \"{}\"", row.command), mend);
        }
    }
}

/// Whether the first matching pattern of `master_service_disable` turns the row off: `type`, `name/type` or the older
/// `name.type`, negated by `!`.
fn is_disabled(patterns: &[String], row: &Row) -> bool {
    let (kind, service) = (row.kind.name(), format!("{}/{}", row.name, row.kind.name()));
    for pattern in patterns {
        let bare = pattern.trim_start_matches('!');
        let normal = match bare.rsplit_once('.') {
            Some((name, kind)) if !bare.contains('/') => format!("{name}/{kind}"),
            _ => bare.to_owned(),
        };
        let subject = if normal.contains('/') { service.as_str() } else { kind };
        if subject.eq_ignore_ascii_case(&normal) {
            return (pattern.len() - bare.len()).is_multiple_of(2);
        }
    }
    false
}

/// The expanded value, empty where it is broken: that is reported where the parameter itself is checked.
fn expanded(main: &MainCf, name: &str) -> String {
    main.expanded(name).unwrap_or_default().text
}

#[cfg(test)]
pub(crate) mod tests;
