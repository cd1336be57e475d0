//! Everything that is wrong with the configuration, at once, with place, reason and mend.

use ipc_config::diagnostic::{Diagnostic, Diagnostics, Severity};
use master::compile::{Configuration, Files};
use serde_json::json;

use crate::console::{self, Colour, paint};
use crate::ctl::{Context, usage};
use crate::status::Status;

/// `mailctl check`: 0, or `EX_CONFIG` when a half would not start.
pub fn run(context: &Context, words: &[String]) -> Status {
    if !words.is_empty() {
        return usage("check takes no argument");
    }
    let files = &context.instance.files;
    if files.main_cf.is_none() && files.dovecot_conf.is_none() {
        console::complain("mailctl: there is no main.cf and no dovecot.conf in the configuration folder");
        return Status::CONFIG;
    }
    let (mut found, mailbox) = find(files);
    found.append(mailbox);
    for finding in &found {
        console::line(&shown(finding, context.json, console::has_colours()));
    }
    if found.is_fatal() { Status::CONFIG } else { Status::OK }
}

/// What is wrong with each half: `main.cf` and `master.cf`, then `dovecot.conf`. It is what the master finds when it starts.
pub fn find(files: &Files) -> (Diagnostics, Diagnostics) {
    let mut configuration = Configuration::read(files);
    // What only the table of services brings up (a missing account, say) is added to what was found.
    configuration.table();
    (configuration.transport_found, configuration.mailbox_found)
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
    use ipc_config::diagnostic::Location;

    #[test]
    fn both_halves_are_checked_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("main.cf", "compatibility_level = 3.6\nbiff = maybe\nmydestinaton = x\n");
        write("dovecot.conf", "protocols = imap\nfoo = bar\n");
        let files = Files::in_folder(folder.path());
        let lines = |found: Diagnostics| found.iter().map(|one| shown(one, false, false)).collect::<Vec<_>>();
        let (transport, mailbox) = find(&files);
        let (transport, mailbox) = (lines(transport), lines(mailbox));
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

    #[test]
    fn the_installed_files_are_clean() {
        let files = Files::in_folder(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../etc"));
        let (transport, mailbox) = find(&files);
        let said: Vec<String> = transport.iter().map(ToString::to_string).collect();
        assert_eq!(said, [""; 0]);
        // The accounts that Dovecot's defaults name are the package's to make.
        let said = mailbox.iter().map(ToString::to_string).filter(|line| !line.contains("doesn't exist"));
        assert_eq!(said.collect::<Vec<_>>(), [""; 0]);
    }
}
