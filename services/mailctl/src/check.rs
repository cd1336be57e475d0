//! Everything that is wrong with the configuration, at once, with place, reason and mend.

use std::sync::Arc;

use ipc_config::diagnostic::{Diagnostic, Diagnostics, Location, Severity};
use ipc_config::dovecot::files::Machine;
use ipc_config::dovecot::settings::DovecotConf;
use ipc_config::postfix::main_cf::MainCf;
use ipc_config::postfix::master_cf::MasterCf;
use ipc_config::postfix::system::ThisHost;
use serde_json::json;

use crate::console::{self, Colour, paint, reason};
use crate::ctl::{Context, usage};
use crate::files::Files;
use crate::status::Status;

/// `mailctl check`: 0, or `EX_CONFIG` when a half would not start.
pub fn run(context: &Context, words: &[String]) -> Status {
    if !words.is_empty() {
        return usage("check takes no argument");
    }
    let files = &context.instance.files;
    if *files == (Files { main_cf: None, master_cf: None, dovecot_conf: None }) {
        console::complain("mailctl: there is no main.cf and no dovecot.conf in the configuration folder");
        return Status::CONFIG;
    }
    let mut found = transport(files);
    found.append(mailbox(files));
    for finding in &found {
        console::line(&shown(finding, context.json, console::has_colours()));
    }
    if found.is_fatal() { Status::CONFIG } else { Status::OK }
}

/// What is wrong with `main.cf` and `master.cf`.
pub fn transport(files: &Files) -> Diagnostics {
    let mut found = Diagnostics::new();
    let Some(path) = &files.main_cf else { return found };
    let main = MainCf::read(&path.to_string_lossy(), Arc::new(ThisHost), &mut found);
    let master = match &files.master_cf {
        Some(path) => MasterCf::read(&path.to_string_lossy(), &main, &mut found),
        None => {
            let place = Location::file(path.with_file_name("master.cf").to_string_lossy());
            found.error(&place, "", "is missing", "put Postfix's master.cf there, or a link to it");
            MasterCf::default()
        }
    };
    ipc_config::postfix::check::check(&main, Some(&master), &mut found);
    found
}

/// What is wrong with `dovecot.conf`.
pub fn mailbox(files: &Files) -> Diagnostics {
    let Some(path) = &files.dovecot_conf else { return Diagnostics::new() };
    DovecotConf::load(path, &Machine, &Machine).map_or_else(
        |error| {
            let mut found = Diagnostics::new();
            let place = Location::file(path.to_string_lossy());
            found.error(&place, "", format!("cannot be read: {}", reason(&error)), "");
            found
        },
        |(_, found)| found,
    )
}

fn shown(finding: &Diagnostic, as_json: bool, colours: bool) -> String {
    if as_json {
        return json!({
            "severity": finding.severity.to_string(), "file": finding.file, "line": finding.line,
            "column": finding.column, "parameter": finding.parameter, "problem": finding.problem, "mend": finding.mend,
        })
        .to_string();
    }
    let colour = match finding.severity {
        Severity::Error => Colour::Red,
        Severity::Warning => Colour::Yellow,
        Severity::Note => Colour::Green,
    };
    format!("{}: {finding}", paint(&finding.severity.to_string(), colour, colours))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_halves_are_checked_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("main.cf", "compatibility_level = 3.6\nbiff = maybe\nmydestinaton = x\n");
        write("dovecot.conf", "protocols = imap\nfoo = bar\n");
        let files = Files::in_folder(folder.path());
        let lines = |found: Diagnostics| found.iter().map(|one| shown(one, false, false)).collect::<Vec<_>>();
        let (transport, mailbox) = (lines(transport(&files)), lines(mailbox(&files)));
        let any =
            |lines: &[String], parts: &[&str]| lines.iter().any(|line| parts.iter().all(|part| line.contains(part)));
        assert!(any(&transport, &["error: ", "main.cf:2:8: biff: "]), "{transport:?}");
        assert!(any(&transport, &["warning: ", "main.cf:3:16: mydestinaton: ", "did you mean \"mydestination\""]));
        assert!(any(&transport, &["error: ", "master.cf: is missing"]));
        assert!(any(&mailbox, &["error: ", "dovecot.conf:2", "Unknown setting: foo"]), "{mailbox:?}");
    }

    #[test]
    fn programs_get_fields() {
        let mut found = Diagnostics::new();
        found.error(&Location::new("f", 1, 2), "p", "bad", "mend it");
        let line = shown(found.iter().next().unwrap(), true, true);
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(
            (&value["line"], &value["severity"], &value["mend"]),
            (&json!(1), &json!("error"), &json!("mend it"))
        );
    }
}
