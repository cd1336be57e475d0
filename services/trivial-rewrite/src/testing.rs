//! What the tests of this program share: a configuration in the words of main.cf, and a host.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use ipc_config::diagnostic::Diagnostics;
use ipc_config::postfix::main_cf::MainCf;
use ipc_config::postfix::system::ThisHost;
use ipc_config::section::Section;
use store_tables::SystemFiles;

use crate::lookup::Lookup;
use crate::names::Names;
use crate::policy::{Host, Policy};
use crate::tables::Note;

/// The section that the master makes of this text.
pub fn section(main_cf: &str) -> Section {
    let base = "compatibility_level = 3.6\nmyhostname = mx.example.org\nmydomain = example.org\nmyorigin = $mydomain\n\
                virtual_alias_maps =\nalias_maps = inline:{{postmaster=root},{staff=joe}}\ninet_interfaces = 127.0.0.1\n";
    let mut found = Diagnostics::new();
    let text = format!("{base}{main_cf}");
    let main = MainCf::parse(&text, "main.cf", Arc::new(ThisHost), &mut found);
    Section::of_main_cf(&main, "trivial-rewrite", &mut found)
}

fn host() -> Host {
    let addresses = ["127.0.0.1", "203.0.113.9", "2001:db8::9"].map(|address| address.parse::<IpAddr>().unwrap());
    Host { addresses: addresses.to_vec(), nis: false }
}

/// The policy of a configuration, with every file of the system.
pub fn policy(main_cf: &str) -> Policy {
    Policy::new(&section(main_cf), &host(), Arc::new(SystemFiles), Arc::new(Names::new(Instant::now())))
}

/// The whole, likewise.
pub fn lookup(main_cf: &str) -> Lookup {
    Lookup::new(&section(main_cf), host(), Arc::new(SystemFiles), Instant::now())
}

/// Notes as they stand in the log.
pub fn lines(notes: Vec<Note>) -> Vec<String> {
    let line = |note| match note {
        Note::Error(text) => format!("error: {text}"),
        Note::Warning(text) => format!("warning: {text}"),
    };
    notes.into_iter().map(line).collect()
}
