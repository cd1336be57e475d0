//! The rows of `master.cf` as services.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipc_config::diagnostic::Diagnostics;
use ipc_config::postfix::main_cf::MainCf;
use ipc_config::postfix::master_cf::{Endpoint, Host, MasterCf, Row};
use ipc_config::postfix::restrictions;
use ipc_config::postfix::table::{self, Kind};
use ipc_config::section::Section;
use ipc_messages::control::{Folder, FolderAccess};
use ipc_messages::log::{Half as LogHalf, Identity};
use ipc_messages::queue::MAX_LIVE;
use ipc_messages::tls::Offer;

use super::accounts::Accounts;
use super::{Keys, encode, share};
use crate::policy::Rules;
use crate::program::{self, Program};
use crate::table::{At, Foreign, Half, Listen, Spec, Table};

/// What becomes of a command of `master.cf`.
enum Command {
    /// A worker, with the connections that its process limit stands for.
    Runs(&'static str),
    /// Part of another service that runs anyway.
    PartOfAnother,
    /// Known, and not built: its mail waits, its socket is not there.
    NotYet,
}

fn command(name: &str) -> Command {
    match name {
        "smtpd" => Command::Runs("smtpd"),
        "cleanup" => Command::Runs("cleanup"),
        "qmgr" | "nqmgr" | "oqmgr" => Command::Runs("qmgr"),
        "bounce" => Command::Runs("bounce"),
        "trivial-rewrite" => Command::Runs("trivial-rewrite"),
        "smtp" | "lmtp" => Command::Runs("smtp"),
        "showq" | "flush" => Command::Runs("showq"),
        "proxymap" | "tlsmgr" | "scache" | "anvil" | "postlogd" => Command::PartOfAnother,
        _ => Command::NotYet,
    }
}

/// Adds the services of the transport half to `table`.
pub(super) fn services(
    main: &MainCf,
    master: &MasterCf,
    spool: &Path,
    accounts: &mut Accounts,
    keys: &mut Keys,
    table: &mut Table,
    found: &mut Diagnostics,
) {
    let tables = tables_named(main, master);
    let mut transports = Vec::new();
    let mut done: Vec<&str> = Vec::new();
    for row in master.enabled(main) {
        let name =
            Path::new(&row.command).file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let is_local = matches!(row.endpoint, Endpoint::Local { .. });
        match command(&name) {
            Command::Runs(program) => {
                let Some(program) = program::find(program) else { continue };
                // Several rows may name a hub (`bounce`, `defer`, `trace`); it is one process.
                if program.hub.is_some() && done.contains(&program.name) {
                    continue;
                }
                done.push(program.name);
                let is_agent = program.name == "smtp";
                if is_agent {
                    transports.push((row.name.clone(), name.clone()));
                }
                let scope = main.with_overrides(&row.settings());
                let mut builder = Builder { main: &scope, row, program, spool, tables: &tables, accounts, keys, found };
                let called = (is_agent || program.name == "showq").then_some(name.as_str());
                let spec = builder.spec(called);
                table.services.push(spec);
            }
            Command::PartOfAnother => {}
            Command::NotYet => {
                if is_local {
                    transports.push((row.name.clone(), name.clone()));
                }
                let mend = "mail for it waits in the queue; remove the row if you do not use it";
                found.note(&row.at, "command", format!("{name} is not built yet"), mend);
            }
        }
    }
    for spec in &mut table.services {
        if spec.program.name == "qmgr" {
            let mut section: Section = postcard::from_bytes(&spec.section).expect("our own section");
            section.add_transports(transports.clone(), main, found);
            spec.section = encode(&section);
        }
    }
}

/// One row on its way to a service.
struct Builder<'a> {
    main: &'a MainCf,
    row: &'a Row,
    program: &'static Program,
    spool: &'a Path,
    tables: &'a [String],
    accounts: &'a mut Accounts,
    keys: &'a mut Keys,
    found: &'a mut Diagnostics,
}

impl Builder<'_> {
    fn text(&self, name: &str) -> String {
        self.main.expanded(name).map(|expansion| expansion.text).unwrap_or_default()
    }

    /// `called` is the command of a program that serves several.
    fn spec(&mut self, called: Option<&str>) -> Spec {
        let mut section = Section::of_main_cf(self.main, self.program.name, self.found);
        let mut foreign = Vec::new();
        let mut folders = Vec::new();
        match self.program.name {
            "smtpd" => {
                restrictions::check_guard(&mut self.main.settings(self.found));
                section.tls = self.offer(&mut section);
                self.sasl(&mut section, &mut foreign);
            }
            "smtp" => {
                section.transport.insert("service_name", self.row.name.clone());
                section.transport.insert("agent", called.unwrap_or("smtp"));
                section.transport.insert("own_addresses", self.own_addresses());
                self.note_verification(called.unwrap_or("smtp"));
                self.destinations(&mut section, &mut foreign);
            }
            "cleanup" | "qmgr" => {
                folders.push(Folder { path: self.spool.join("queue"), access: FolderAccess::Write });
            }
            "showq" => section.transport.insert("command", called.unwrap_or("showq")),
            "trivial-rewrite" => {
                section.transport.insert("tables", self.tables.join(" "));
                folders = table_folders(self.tables);
            }
            _ => {}
        }
        let limit = self.row.max_processes.unwrap_or_else(|| self.text("default_process_limit").parse().unwrap_or(100));
        // In Postfix a process of these serves one client: the limit bounds sessions.
        let (processes, client_limit) = match self.program.hub {
            Some(_) => (1, 1),
            None if self.program.name == "smtp" => (1, 1000),
            None => share(limit),
        };
        // No client wakes these: the queue is theirs to serve, and an agent that is not there is given no work.
        let always = matches!(self.program.name, "qmgr" | "cleanup" | "smtp");
        let wakeup = Some(self.row.wakeup).filter(|wakeup| wakeup.seconds > 0 && !always);
        let rules = Rules {
            limit: processes,
            prefork: u32::from(always),
            wakeup: wakeup.map(|wakeup| (Duration::from_secs(wakeup.seconds.into()), wakeup.if_used)),
            sheds: false,
            longest_pause: Duration::from_secs(self.seconds("service_throttle_time").into()),
        };
        // Each message in the journal is a memory file on its way to qmgr, each active one is open there.
        let messages = match self.program.queue {
            true => {
                MAX_LIVE as u32 + self.main.settings(self.found).integer("qmgr_message_active_limit").unsigned_abs()
            }
            false => 0,
        };
        let syslog_name = self.text("syslog_name");
        let tag = format!("{syslog_name}/{}", called.unwrap_or(self.program.name));
        let account = match self.program.name {
            // It reads the administrator's tables, which may be readable for this account alone.
            "trivial-rewrite" => self.accounts.configured(&self.text("mail_owner"), "trivial-rewrite"),
            name => self.accounts.of(name),
        };
        Spec {
            key: format!("{}:{}", self.row.kind.name(), self.row.endpoint),
            half: Half::Transport,
            program: self.program,
            name: self.row.name.clone(),
            identity: Identity { half: LogHalf::Transport, tag },
            listeners: self.listeners(&section),
            rules,
            client_limit,
            messages,
            passed_on: 0,
            full: format!(
                "service \"{}\" ({}) has reached its process limit \"{limit}\": new clients may experience noticeable delays",
                self.row.name, self.row.endpoint
            ),
            max_use: 0,
            max_idle: if always { 0 } else { self.seconds("max_idle") },
            section: {
                section.foreign.shrink_to_fit();
                encode(&section)
            },
            folders,
            account,
            foreign,
            max_memory: None,
        }
    }

    fn seconds(&mut self, name: &str) -> u32 {
        self.main.settings(self.found).time(name).as_secs() as u32
    }

    /// TLS as smtpd offers it; `None` when it is off or has no certificate.
    fn offer(&mut self, section: &mut Section) -> Option<Offer> {
        let level = self.text("smtpd_tls_security_level");
        let wanted = !matches!(level.as_str(), "" | "none")
            || self.text("smtpd_use_tls") == "yes"
            || self.text("smtpd_enforce_tls") == "yes";
        let certificate = self.text("smtpd_tls_cert_file");
        let chains = self.text("smtpd_tls_chain_files");
        let mut numbers = Vec::new();
        for file in ipc_config::postfix::value::words(&chains) {
            numbers.push(self.keys.number(self.program.name, PathBuf::from(&file), PathBuf::from(&file)));
        }
        if numbers.is_empty() && !matches!(certificate.as_str(), "" | "none") {
            let key = Some(self.text("smtpd_tls_key_file"))
                .filter(|key| !key.is_empty())
                .unwrap_or_else(|| certificate.clone());
            numbers.push(self.keys.number(self.program.name, certificate.into(), key.into()));
        }
        if !wanted || numbers.is_empty() {
            return None;
        }
        let parameter = if level == "encrypt" { "smtpd_tls_mandatory_protocols" } else { "smtpd_tls_protocols" };
        let (tls12, tls13) = protocols(&self.text(parameter));
        section.transport.insert("tls_offered", "yes");
        Some(Offer { keys: numbers, tls12, tls13 })
    }

    /// The socket of the authentication server.
    fn sasl(&mut self, section: &mut Section, foreign: &mut Vec<Foreign>) {
        if self.text("smtpd_sasl_auth_enable") != "yes" {
            return;
        }
        let path = self.text("smtpd_sasl_path");
        let place = match path.strip_prefix("inet:") {
            Some(address) => address.to_socket_addrs().ok().and_then(|mut all| all.next()).map(Foreign::Inet),
            None => Some(Foreign::Unix(self.in_queue_directory(path.strip_prefix("unix:").unwrap_or(&path)))),
        };
        match place {
            Some(place) => {
                section.foreign.push("sasl".into());
                foreign.push(place);
            }
            None => self.found.error(
                &self.main.location("smtpd_sasl_path"),
                "smtpd_sasl_path",
                format!("{path} cannot be resolved"),
                "write inet:host:port",
            ),
        }
    }

    /// Unix sockets that transports name (`lmtp:unix:private/dovecot-lmtp`): the agent may connect to these and no others.
    fn destinations(&mut self, section: &mut Section, foreign: &mut Vec<Foreign>) {
        const TRANSPORTS: [&str; 6] = [
            "virtual_transport",
            "local_transport",
            "relay_transport",
            "default_transport",
            "mailbox_transport",
            "fallback_transport",
        ];
        for name in TRANSPORTS {
            let text = self.text(name);
            let Some((service, nexthop)) = text.split_once(':') else { continue };
            let Some(path) = nexthop.strip_prefix("unix:").filter(|_| service == self.row.name) else { continue };
            if section.foreign.iter().all(|known| known != path) {
                section.foreign.push(path.into());
                foreign.push(Foreign::Unix(self.in_queue_directory(path)));
            }
        }
    }

    fn in_queue_directory(&self, path: &str) -> PathBuf {
        Path::new(&self.text("queue_directory")).join(path)
    }

    fn listeners(&mut self, section: &Section) -> Vec<Listen> {
        let (host, port) = match &self.row.endpoint {
            Endpoint::Inet { host, port } => (host, port),
            Endpoint::Local { path } if self.program.name == "showq" && !self.row.private => return self.public(path),
            Endpoint::Local { .. } => return Vec::new(),
        };
        let tls = section.transport.get("smtpd_tls_wrappermode") == Some("yes");
        let addresses = match host {
            Some(Host::Address(address)) => vec![*address],
            Some(Host::Name(name)) => self.resolve(name),
            None => self.interfaces(),
        };
        let listen =
            |address| Listen { name: self.row.name.clone(), at: At::Inet(SocketAddr::new(address, *port)), tls };
        addresses.into_iter().map(listen).collect()
    }

    /// A socket that every user may ask at: among our own state, because Postfix's folder is closed to those who have not the
    /// group of its commands. The list stands there as well, for programs that read it (exporters of statistics).
    fn public(&self, path: &str) -> Vec<Listen> {
        let (uid, gid) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
        let at =
            |path| Listen { name: self.row.name.clone(), at: At::Unix { path, mode: 0o666, uid, gid }, tls: false };
        let postfix = self.in_queue_directory(path);
        let is_list = uid == 0 && self.row.command.ends_with("showq") && postfix.parent().is_some_and(Path::is_dir);
        std::iter::once(self.spool.join(path)).chain(is_list.then_some(postfix)).map(at).collect()
    }

    /// The addresses of `inet_interfaces`, of the families of `inet_protocols`.
    fn interfaces(&mut self) -> Vec<IpAddr> {
        let (any4, any6) = (IpAddr::from(Ipv4Addr::UNSPECIFIED), IpAddr::from(Ipv6Addr::UNSPECIFIED));
        let protocols = self.text("inet_protocols");
        let (four, six) = (
            protocols.contains("ipv4") || protocols.contains("all"),
            protocols.contains("ipv6") || protocols.contains("all"),
        );
        let six = six && (protocols.contains("ipv6") && !four || has_ipv6());
        let mut addresses = Vec::new();
        for word in self.main.settings(self.found).list("inet_interfaces") {
            match word.as_str() {
                "all" => addresses.extend([any4, any6]),
                "loopback-only" => {
                    addresses.extend([IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)])
                }
                name => addresses.extend(self.resolve(name)),
            }
        }
        addresses.retain(|address| if address.is_ipv4() { four } else { six });
        addresses.dedup();
        addresses
    }

    /// Servers cannot be verified yet; mail that has to be sent to such waits, and this says so beforehand.
    fn note_verification(&mut self, agent: &str) {
        let name = format!("{agent}_tls_security_level");
        let level = self.text(&name);
        if !matches!(level.as_str(), "" | "none" | "may" | "encrypt") {
            let problem = format!("servers cannot be verified yet: at level {level} mail of {} waits", self.row.name);
            self.found.warning(&self.main.location(&name), name, problem, "set may or encrypt");
        }
    }

    /// Where mail comes to this system: the addresses that it listens on, those of the machine where that is all of them, and
    /// those of proxies in front of it.
    fn own_addresses(&mut self) -> String {
        let mut addresses = self.interfaces();
        if addresses.iter().any(IpAddr::is_unspecified) {
            addresses.extend(machine_addresses());
        }
        for proxy in self.main.settings(self.found).list("proxy_interfaces") {
            addresses.extend(self.resolve(&proxy));
        }
        addresses.retain(|address| !address.is_unspecified());
        addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(" ")
    }

    fn resolve(&mut self, name: &str) -> Vec<IpAddr> {
        let bare = name.trim_start_matches('[').trim_end_matches(']');
        let found: Vec<IpAddr> = match bare.parse() {
            Ok(address) => vec![address],
            Err(_) => {
                (bare, 0).to_socket_addrs().map(|all| all.map(|address| address.ip()).collect()).unwrap_or_default()
            }
        };
        if found.is_empty() {
            self.found.error(
                &self.row.at,
                "service",
                format!("host name {name} cannot be resolved"),
                "write an address",
            );
        }
        found
    }
}

/// Every table (`type:name`) that a parameter of any service names, options of rows included.
fn tables_named(main: &MainCf, master: &MasterCf) -> Vec<String> {
    let rows = master.enabled(main).map(|row| row.settings()).filter(|settings| !settings.is_empty());
    let scopes = std::iter::once(main.clone()).chain(rows.map(|settings| main.with_overrides(&settings)));
    let mut names = BTreeSet::new();
    let naming = |kind| matches!(kind, Kind::Maps | Kind::Domains | Kind::Networks | Kind::Restrictions);
    let parameters: Vec<&str> = table::all().iter().filter(|row| naming(row.kind)).map(|row| row.name).collect();
    for scope in scopes {
        let value = |name: &str| scope.expanded(name).map(|expansion| expansion.text).unwrap_or_default();
        let classes = ipc_config::postfix::value::words(&value("smtpd_restriction_classes"));
        let values = parameters.iter().copied().chain(classes.iter().map(String::as_str)).map(value);
        names.extend(values.flat_map(|value| tables_in(&value)));
    }
    names.into_iter().collect()
}

/// The tables among the words of a value.
fn tables_in(value: &str) -> Vec<String> {
    let is_type = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase());
    let words =
        ipc_config::postfix::value::words(value).into_iter().map(|word| word.trim_start_matches('!').to_owned());
    words.filter(|word| word.split_once(':').is_some_and(|(kind, _)| is_type(kind))).collect()
}

/// One folder for each folder in which a table lies.
fn table_folders(tables: &[String]) -> Vec<Folder> {
    let mut paths = BTreeSet::new();
    for table in tables {
        // Tables made of tables have more than one.
        for (at, _) in table.match_indices(":/") {
            let path = table[at + 1..].split([',', ' ', '}']).next().unwrap_or_default();
            paths.extend(Path::new(path).parent().filter(|folder| folder.is_dir()).map(PathBuf::from));
        }
    }
    paths.into_iter().map(|path| Folder { path, access: FolderAccess::Read }).collect()
}

/// Whether TLS 1.2 and 1.3 are in a list of protocols (`>=TLSv1`, `!SSLv3`, `TLSv1.2 TLSv1.3`).
fn protocols(text: &str) -> (bool, bool) {
    const NAMES: [&str; 6] = ["SSLv2", "SSLv3", "TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"];
    let place = |name: &str| NAMES.iter().position(|known| known.eq_ignore_ascii_case(name));
    let (mut least, mut most, mut excluded, mut included) = (0, NAMES.len() - 1, Vec::new(), Vec::new());
    for word in text.split([' ', ',', '\t', ':']).filter(|word| !word.is_empty()) {
        if let Some(at) = word.strip_prefix(">=").and_then(place) {
            least = at;
        } else if let Some(at) = word.strip_prefix("<=").and_then(place) {
            most = at;
        } else if let Some(at) = word.strip_prefix('!').and_then(place) {
            excluded.push(at);
        } else if let Some(at) = place(word) {
            included.push(at);
        }
    }
    let allowed = |at: usize| {
        (least..=most).contains(&at) && !excluded.contains(&at) && (included.is_empty() || included.contains(&at))
    };
    (allowed(4), allowed(5))
}

pub(super) fn has_ipv6() -> bool {
    std::net::TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).is_ok()
}

/// The addresses of this machine's interfaces.
fn machine_addresses() -> Vec<IpAddr> {
    let Ok(interfaces) = nix::ifaddrs::getifaddrs() else { return Vec::new() };
    let addresses = interfaces.filter_map(|interface| interface.address);
    addresses
        .filter_map(|address| {
            let v4 = address.as_sockaddr_in().map(|address| IpAddr::from(address.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::from(address.ip())))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocol_lists() {
        assert_eq!(protocols(">=TLSv1"), (true, true));
        assert_eq!(protocols("!SSLv2, !SSLv3, !TLSv1.3"), (true, false));
        assert_eq!(protocols(">=TLSv1.3"), (false, true));
        assert_eq!(protocols("TLSv1.2"), (true, false));
        assert_eq!(protocols("<=TLSv1.2"), (true, false));
        assert_eq!(protocols(""), (true, true));
    }

    #[test]
    fn tables_and_their_folders() {
        let value = "hash:/etc/aliases, proxy:unix:passwd.byname !cidr:/usr/share/x /etc/x 192.0.2.1 [::1]/128 \
                     pipemap:{hash:/etc/a,texthash:/usr/b} hash:/nonexistent/x";
        let tables = tables_in(value);
        assert_eq!(tables[..3], ["hash:/etc/aliases", "proxy:unix:passwd.byname", "cidr:/usr/share/x"]);
        assert_eq!(tables.len(), 5, "{tables:?}");
        let folders: Vec<PathBuf> = table_folders(&tables).into_iter().map(|folder| folder.path).collect();
        assert_eq!(folders, ["/etc", "/usr", "/usr/share"].map(PathBuf::from));
    }
}
