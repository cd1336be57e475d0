//! From the configuration files to the table of services: reading, checking, and what each worker is handed.
//!
//! The two halves are read and judged apart: an error in one does not keep the other from running.

mod accounts;
mod mailbox;
#[cfg(test)]
mod settings;
mod transport;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ipc_config::diagnostic::{Diagnostic, Diagnostics, Location};
use ipc_config::dovecot::files::Machine;
use ipc_config::dovecot::settings::DovecotConf;
use ipc_config::postfix::main_cf::MainCf;
use ipc_config::postfix::master_cf::MasterCf;
use ipc_config::postfix::system::ThisHost;
use ipc_config::section::Section;
use ipc_messages::control::{Folder, FolderAccess, Hub};
use ipc_messages::log::{Half as LogHalf, Identity};

use crate::policy::{LONGEST_PAUSE, Rules};
use crate::program;
use crate::table::{Account, AccountRules, Foreign, Half, Spec, Table};
use accounts::Accounts;

/// Where state is kept unless `posthorn_directory` says otherwise.
pub const SPOOL: &str = "/var/spool/posthorn";

/// The files of an instance.
#[derive(Debug, Clone)]
pub struct Files {
    /// `main.cf`, if there is one.
    pub main_cf: Option<PathBuf>,
    /// `master.cf`, if there is one.
    pub master_cf: Option<PathBuf>,
    /// `dovecot.conf`, if there is one.
    pub dovecot_conf: Option<PathBuf>,
}

impl Files {
    /// The files in a configuration folder. A link stands for its target, so that what the file includes is looked for
    /// beside the target; one that leads nowhere counts as there: its target is missed loudly.
    pub fn in_folder(folder: &Path) -> Files {
        let there = |name: &str| {
            let path = Some(folder.join(name)).filter(|path| path.symlink_metadata().is_ok())?;
            Some(path.canonicalize().unwrap_or(path))
        };
        Files { main_cf: there("main.cf"), master_cf: there("master.cf"), dovecot_conf: there("dovecot.conf") }
    }

    /// The files of the default folder: `/etc/posthorn`, else Postfix's and Dovecot's own.
    pub fn default_place() -> Files {
        if Path::new("/etc/posthorn").is_dir() {
            return Files::in_folder(Path::new("/etc/posthorn"));
        }
        let dovecot = Path::new("/etc/dovecot/dovecot.conf");
        let dovecot_conf = dovecot.exists().then(|| dovecot.to_path_buf());
        Files { dovecot_conf, ..Files::in_folder(Path::new("/etc/postfix")) }
    }
}

/// What the configuration files say.
pub struct Configuration {
    /// `main.cf` and `master.cf`, when that half is configured.
    pub transport: Option<(MainCf, MasterCf)>,
    /// `dovecot.conf`, when that half is configured.
    pub mailbox: Option<DovecotConf>,
    /// All that was found in the first half.
    pub transport_found: Diagnostics,
    /// All that was found in the second half.
    pub mailbox_found: Diagnostics,
}

impl Configuration {
    /// Reads and checks everything.
    pub fn read(files: &Files) -> Configuration {
        let mut transport_found = Diagnostics::new();
        let mut mailbox_found = Diagnostics::new();
        let transport = files.main_cf.as_ref().map(|path| {
            let main = MainCf::read(&path.to_string_lossy(), Arc::new(ThisHost), &mut transport_found);
            let master = match &files.master_cf {
                Some(path) => MasterCf::read(&path.to_string_lossy(), &main, &mut transport_found),
                None => {
                    let place = Location::file(path.with_file_name("master.cf").to_string_lossy());
                    transport_found.error(&place, "", "is missing", "put Postfix's master.cf there, or a link to it");
                    MasterCf::default()
                }
            };
            ipc_config::postfix::check::check(&main, Some(&master), &mut transport_found);
            (main, master)
        });
        let mailbox = files.dovecot_conf.as_ref().and_then(|path| match DovecotConf::load(path, &Machine, &Machine) {
            Ok((conf, found)) => {
                mailbox_found.append(found);
                Some(conf)
            }
            Err(error) => {
                mailbox_found.error(
                    &Location::file(path.to_string_lossy()),
                    "",
                    format!("cannot be read: {error}"),
                    "",
                );
                None
            }
        });
        Configuration { transport, mailbox, transport_found, mailbox_found }
    }

    /// All findings of both halves.
    pub fn all_found(&self) -> impl Iterator<Item = &Diagnostic> {
        self.transport_found.iter().chain(self.mailbox_found.iter())
    }

    /// The folder of Postfix's pid file; empty without that half.
    pub fn pid_folder(&self) -> PathBuf {
        let [queue, below] = ["queue_directory", "process_id_directory"].map(|name| self.parameter(name));
        queue.map(PathBuf::from).unwrap_or_default().join(below.unwrap_or_default())
    }

    /// Dovecot's `base_dir`; empty without that half.
    pub fn base_dir(&self) -> String {
        self.mailbox.as_ref().map(|conf| conf.get("base_dir").to_string()).unwrap_or_default()
    }

    /// The folder of our state.
    pub fn spool(&self) -> PathBuf {
        self.parameter("posthorn_directory").unwrap_or_else(|| SPOOL.into()).into()
    }

    /// The expanded value of a parameter of `main.cf`, when there is one.
    pub fn parameter(&self, name: &str) -> Option<String> {
        let (main, _) = self.transport.as_ref()?;
        main.expanded(name).ok().map(|expansion| expansion.text)
    }

    /// The table of what is to run. Findings that only come up here (an account that does not exist, a file that is not
    /// there) are added to those of the half.
    pub fn table(&mut self) -> Table {
        let spool = self.spool();
        let mut table = Table {
            services: Vec::new(),
            acting: BTreeMap::new(),
            accounts: AccountRules { first_uid: 1, last_uid: 0, first_gid: 1, last_gid: 0 },
        };
        let mut accounts = Accounts::new();
        let mut keys = Keys::default();
        if let Some((main, master)) = self.transport.as_ref().filter(|_| !self.transport_found.is_fatal()) {
            transport::services(main, master, &spool, &mut accounts, &mut keys, &mut table, &mut self.transport_found);
        }
        if let Some(conf) = self.mailbox.as_ref().filter(|_| !self.mailbox_found.is_fatal()) {
            mailbox::services(conf, &mut accounts, &mut keys, &mut table, &mut self.mailbox_found);
        }
        if !table.services.is_empty() {
            let postlogd = self.postlogd(&mut accounts);
            table.services.insert(0, postlogd);
            if let Some(tlsmgr) = keys.tlsmgr(&mut accounts) {
                table.services.push(tlsmgr);
            }
            let talks = |hub| table.services.iter().any(|spec| spec.program.talks.contains(&hub));
            let (names, resolver, anvil) = (talks(Hub::NameService), talks(Hub::Resolver), talks(Hub::Anvil));
            table.services.extend(names.then(|| nss(accounts.of("nss"))));
            table.services.extend(resolver.then(|| dns(&mut accounts)));
            table.services.extend(anvil.then(|| self.anvil(&mut accounts)));
        }
        if let Some(syslog_name) = self.parameter("syslog_name") {
            for spec in table.services.iter_mut().filter(|spec| spec.half == Half::Common) {
                spec.identity.tag = format!("{syslog_name}/{}", spec.name);
            }
        }
        table
    }

    /// The service that counts connections and rates.
    fn anvil(&mut self, accounts: &mut Accounts) -> Spec {
        let mut spec = common("anvil", accounts.of("anvil"));
        let mut section = Section::default();
        for (name, default) in [("anvil_rate_time_unit", 60), ("anvil_status_update_time", 600)] {
            let found = &mut self.transport_found;
            let configured = self.transport.as_ref().map(|(main, _)| main.settings(found).time(name).as_secs());
            section.transport.insert(name, configured.unwrap_or(default).to_string());
        }
        spec.section = encode(&section);
        spec
    }

    /// The log service: where each half's lines go.
    fn postlogd(&self, accounts: &mut Accounts) -> Spec {
        let mut spec = common("postlogd", accounts.of("postlogd"));
        spec.rules.prefork = 1;
        let mut section = Section::default();
        let mut place = |name: &str, foreign: Foreign| {
            let syslog = matches!(foreign, Foreign::Datagram(_));
            section.transport.insert(format!("{name} is syslog"), if syslog { "yes" } else { "no" });
            section.foreign.push(name.into());
            spec.foreign.push(foreign);
        };
        let syslog = || Foreign::Datagram("/dev/log".into());
        let file = |path: String, mode| match path.as_str() {
            "" | "syslog" => syslog(),
            "/dev/stdout" | "/dev/stderr" => Foreign::Stdout,
            _ => Foreign::Append(path.into(), mode),
        };
        place("transport", file(self.parameter("maillog_file").unwrap_or_default(), 0o644));
        let setting = |name: &str| self.mailbox.as_ref().map(|conf| conf.get(name).to_string()).unwrap_or_default();
        let error = setting("log_path");
        let or = |path: String, other: &str| if path.is_empty() { other.to_string() } else { path };
        let info = or(setting("info_log_path"), &error);
        let debug = or(setting("debug_log_path"), &info);
        for (name, path) in [("error", error), ("info", info), ("debug", debug)] {
            place(name, file(path, 0o600));
        }
        for name in ["syslog_facility", "posthorn_log_format"] {
            if let Some(value) = self.parameter(name) {
                section.transport.insert(name, value);
            }
        }
        if self.mailbox.is_some() {
            for name in ["syslog_facility", "log_timestamp"] {
                section.mailbox.insert(name, setting(name));
            }
        }
        spec.section = encode(&section);
        spec
    }
}

/// The resolver, with the folders of its files: `/etc`, and where a link in place of `resolv.conf` leads.
fn dns(accounts: &mut Accounts) -> Spec {
    let mut spec = common("dns", accounts.of("dns"));
    let etc = Path::new("/etc");
    let target = etc.join("resolv.conf").canonicalize().ok();
    let elsewhere = target.as_deref().and_then(Path::parent).filter(|folder| !folder.starts_with(etc));
    let folder = |path: &Path| Folder { path: path.into(), access: FolderAccess::Read };
    spec.folders = [etc].into_iter().chain(elsewhere).map(folder).collect();
    // A question that is on its way takes a descriptor.
    spec.client_limit = 1000;
    spec
}

/// The name service, with what the modules of libc read: files of accounts, configuration, and what systemd, sssd and
/// libnss-extrausers keep.
fn nss(account: Account) -> Spec {
    const FOLDERS: [&str; 8] = [
        "/etc",
        "/run/systemd/userdb",
        "/run/userdb",
        "/run/host/userdb",
        "/usr/lib/userdb",
        "/usr/local/lib/userdb",
        "/var/lib/extrausers",
        "/var/lib/sss/mc",
    ];
    let there = FOLDERS.into_iter().map(PathBuf::from).filter(|path| path.is_dir());
    let folders = there.map(|path| Folder { path, access: FolderAccess::Read }).collect();
    Spec { folders, ..common("nss", account) }
}

/// Private keys that are in use: which program uses which files, numbered for each program.
#[derive(Default)]
struct Keys {
    files: Vec<(&'static str, PathBuf, PathBuf)>,
}

impl Keys {
    /// The number of a key pair for `program`.
    fn number(&mut self, program: &'static str, certificate: PathBuf, key: PathBuf) -> u16 {
        let mine = |files: &[(&'static str, PathBuf, PathBuf)]| files.iter().filter(|file| file.0 == program).count();
        let known = self.files.iter().filter(|file| file.0 == program).position(|f| f.1 == certificate && f.2 == key);
        known.unwrap_or_else(|| {
            self.files.push((program, certificate, key));
            mine(&self.files) - 1
        }) as u16
    }

    /// The service that holds them, when there are any.
    fn tlsmgr(&self, accounts: &mut Accounts) -> Option<Spec> {
        if self.files.is_empty() {
            return None;
        }
        let mut spec = common("tlsmgr", accounts.of("tlsmgr"));
        let mut section = Section::default();
        let mut counts: BTreeMap<&str, u16> = BTreeMap::new();
        for (program, certificate, key) in &self.files {
            let number = counts.entry(program).or_default();
            for (kind, path) in [("cert", certificate), ("key", key)] {
                section.foreign.push(format!("{kind} {program} {number}"));
                spec.foreign.push(Foreign::Read(path.clone()));
            }
            *number += 1;
        }
        spec.section = encode(&section);
        Some(spec)
    }
}

/// A service of both halves, with an empty section.
fn common(name: &'static str, account: Account) -> Spec {
    let program = program::find(name).unwrap_or_else(|| panic!("no program {name}"));
    Spec {
        key: format!("common:{name}"),
        half: Half::Common,
        program,
        name: name.into(),
        identity: Identity { half: LogHalf::Transport, tag: format!("postfix/{name}") },
        listeners: Vec::new(),
        rules: Rules { limit: 1, prefork: 0, wakeup: None, longest_pause: LONGEST_PAUSE, sheds: false },
        client_limit: 1,
        messages: 0,
        passed_on: 0,
        full: String::new(),
        max_use: 0,
        max_idle: 0,
        section: encode(&Section::default()),
        folders: Vec::new(),
        account,
        foreign: Vec::new(),
        max_memory: None,
    }
}

/// A section as it travels.
fn encode(section: &Section) -> Vec<u8> {
    postcard::to_stdvec(section).expect("a section that cannot be encoded")
}

/// Processes of an event-driven service: about as many as there are cores.
fn processes() -> u32 {
    std::thread::available_parallelism().map_or(1, |n| n.get() as u32)
}

/// How a bound on sessions is shared by processes: their number, and the sessions of each. 0 is no bound.
fn share(sessions: u32) -> (u32, u32) {
    /// Sessions of one process when there is no bound.
    const UNBOUNDED: u32 = 20_000;
    match sessions {
        0 => (processes(), UNBOUNDED),
        n => {
            let processes = processes().min(n);
            (processes, n.div_ceil(processes))
        }
    }
}

#[cfg(test)]
mod tests;
