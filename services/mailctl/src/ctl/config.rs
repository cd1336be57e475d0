//! `config`: the configuration in effect, with defaults and `$name` put in, as RON. Secrets are hidden as `doveconf` does.

use std::collections::BTreeMap;
use std::sync::Arc;

use ipc_config::diagnostic::Diagnostics;
use ipc_config::dovecot::doveconf::{self, Header, What};
use ipc_config::dovecot::files::Machine;
use ipc_config::dovecot::settings::DovecotConf;
use ipc_config::postfix::main_cf::MainCf;
use ipc_config::postfix::master_cf::{MasterCf, Row};
use ipc_config::postfix::system::ThisHost;
use ipc_config::postfix::table;
use master::compile::Files;
use ron::ser::PrettyConfig;
use serde::Serialize;

use super::Context;
use crate::console::{self, reason};
use crate::status::Status;

/// Both halves.
#[derive(Debug, Serialize)]
struct Snapshot {
    transport: Option<Transport>,
    mailbox: Option<Mailbox>,
}

#[derive(Debug, Serialize)]
struct Transport {
    main_cf: String,
    parameters: BTreeMap<String, String>,
    services: Vec<Service>,
}

#[derive(Debug, Serialize)]
struct Service {
    service: String,
    kind: &'static str,
    listens: String,
    private: bool,
    unprivileged: bool,
    chroot: bool,
    wakeup: u32,
    max_processes: Option<u32>,
    command: String,
    arguments: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Mailbox {
    dovecot_conf: String,
    /// Settings outside blocks.
    settings: BTreeMap<String, String>,
    /// Blocks, as `doveconf -a` prints them.
    blocks: Vec<String>,
}

/// Prints all of it, or the named parameters and settings.
pub fn run(context: &Context, names: &[String]) -> Status {
    let mut snapshot = match Snapshot::read(&context.instance.files) {
        Ok(snapshot) => snapshot,
        Err(problem) => {
            console::complain(&format!("mailctl: {problem}"));
            return Status::CONFIG;
        }
    };
    let unknown = snapshot.keep(names);
    unknown.iter().for_each(|name| console::complain(&format!("mailctl: no such parameter or setting: {name}")));
    let text = match context.json {
        true => serde_json::to_string(&snapshot).map_err(|error| error.to_string()),
        false => ron::ser::to_string_pretty(&snapshot, PrettyConfig::default()).map_err(|error| error.to_string()),
    };
    match text {
        Ok(text) => console::line(&text),
        Err(problem) => {
            console::complain(&format!("mailctl: {problem}"));
            return Status::SOFTWARE;
        }
    }
    if unknown.is_empty() { Status::OK } else { Status::FAILURE }
}

impl Snapshot {
    /// What is wrong with the files does not matter here: `check` says that.
    fn read(files: &Files) -> Result<Snapshot, String> {
        let mut found = Diagnostics::new();
        let transport = files.main_cf.as_ref().map(|path| {
            let main = MainCf::read(&path.to_string_lossy(), Arc::new(ThisHost), &mut found);
            let master =
                files.master_cf.as_ref().map(|path| MasterCf::read(&path.to_string_lossy(), &main, &mut found));
            Transport::new(&main, &master.unwrap_or_default())
        });
        let mailbox = match &files.dovecot_conf {
            Some(path) => match DovecotConf::read(path, &Machine) {
                Ok((conf, _)) => Some(Mailbox::new(&conf)),
                Err(error) => return Err(format!("{}: {}", path.display(), reason(&error))),
            },
            None => None,
        };
        Ok(Snapshot { transport, mailbox })
    }

    /// Leaves only the named values, if any are named; returns the names that are not there.
    fn keep<'a>(&mut self, names: &'a [String]) -> Vec<&'a str> {
        if names.is_empty() {
            return Vec::new();
        }
        let mut known = Vec::new();
        if let Some(transport) = &mut self.transport {
            transport.parameters.retain(|name, _| names.contains(name));
            known.extend(transport.parameters.keys().cloned());
            transport.services.clear();
        }
        if let Some(mailbox) = &mut self.mailbox {
            mailbox.settings.retain(|name, _| names.contains(name));
            known.extend(mailbox.settings.keys().cloned());
            mailbox.blocks.clear();
        }
        names.iter().filter(|name| !known.contains(name)).map(String::as_str).collect()
    }
}

impl Transport {
    fn new(main: &MainCf, master: &MasterCf) -> Transport {
        let names = table::all().iter().map(|row| row.name).chain(main.set().map(|setting| setting.name.as_str()));
        let value = |name: &str| main.expanded(name).unwrap_or_default().text;
        Transport {
            main_cf: main.path().to_owned(),
            parameters: names.map(|name| (name.to_owned(), value(name))).collect(),
            services: master.enabled(main).map(Service::new).collect(),
        }
    }
}

impl Service {
    fn new(row: &Row) -> Service {
        Service {
            service: row.name.clone(),
            kind: row.kind.name(),
            listens: row.endpoint.to_string(),
            private: row.private,
            unprivileged: row.unprivileged,
            chroot: row.chroot.is_yes(),
            wakeup: row.wakeup.seconds,
            max_processes: row.max_processes,
            command: row.command.clone(),
            arguments: row.arguments.clone(),
        }
    }
}

impl Mailbox {
    /// What `doveconf -a` prints, which hides secrets, taken apart at its first level.
    fn new(conf: &DovecotConf) -> Mailbox {
        let header = Header { program: "", system: "", hostname: "" };
        let text = doveconf::print(conf, What::All, &header, false);
        let mut mailbox =
            Mailbox { dovecot_conf: conf.path().to_owned(), settings: BTreeMap::new(), blocks: Vec::new() };
        let mut block: Option<String> = None;
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            match (&mut block, line.split_once(" = ")) {
                (Some(lines), _) => {
                    *lines += &format!("\n{line}");
                    if line == "}" {
                        mailbox.blocks.extend(block.take());
                    }
                }
                (None, Some((name, value))) => drop(mailbox.settings.insert(name.to_owned(), value.to_owned())),
                (None, None) if line.ends_with('{') => block = Some(line.to_owned()),
                (None, None) => drop(mailbox.settings.insert(line.trim_end_matches(" =").to_owned(), String::new())),
            }
        }
        mailbox
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_halves_are_shown_without_secrets() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("main.cf", "mydomain = a.example\nmyhostname = mail.$mydomain\nmine = 1\n");
        write("master.cf", "smtp inet n - y - 3 smtpd -o biff=no\n");
        write("dovecot.conf", "doveadm_password = geheim\nprotocols = imap\nservice auth {\n  user = x\n}\n");
        let mut snapshot = Snapshot::read(&Files::in_folder(folder.path())).unwrap();
        let transport = snapshot.transport.as_ref().unwrap();
        assert_eq!(transport.parameters["myhostname"], "mail.a.example");
        assert_eq!(transport.parameters["mine"], "1");
        assert_eq!((transport.services[0].max_processes, transport.services[0].chroot), (Some(3), true));
        let mailbox = snapshot.mailbox.as_ref().unwrap();
        assert_eq!(mailbox.settings["protocols"], "imap");
        assert!(mailbox.blocks.iter().any(|block| block.starts_with("service auth {\n") && block.ends_with("\n}")));
        let text = ron::ser::to_string_pretty(&snapshot, PrettyConfig::default()).unwrap();
        assert!(!text.contains("geheim"), "{text}");

        assert_eq!(snapshot.keep(&["protocols".into(), "biff".into(), "nosuch".into()]), ["nosuch"]);
        assert_eq!(snapshot.transport.unwrap().parameters.len(), 1);
        assert_eq!(snapshot.mailbox.unwrap().settings.len(), 1);
    }
}
