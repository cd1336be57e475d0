//! The services that `dovecot.conf` implies.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};

use ipc_config::diagnostic::{Diagnostics, Location};
use ipc_config::dovecot::services::{InetListener, Service};
use ipc_config::dovecot::settings::{DovecotConf, View};
use ipc_config::dovecot::table::{Kind, Scope};
use ipc_config::dovecot::variables::static_prefix;
use ipc_config::section::Section;
use ipc_config::uses;
use ipc_messages::control::{Acting, Folder, FolderAccess};
use ipc_messages::log::{Half as LogHalf, Identity};
use ipc_messages::tls::Offer;

use super::accounts::{self, Accounts};
use super::{Keys, encode, processes, share};
use crate::policy::{LONGEST_PAUSE, Rules};
use crate::program::{self, Program};
use crate::table::{Account, AccountRules, At, Half, Listen, Spec, Table};

/// Default listeners of `service auth` that foreign programs use; its others are between Dovecot's own processes.
const AUTH_SOCKETS: [&str; 3] = ["auth-client", "auth-userdb", "auth-master"];

/// Adds the services of the mailbox half to `table`.
pub(super) fn services(
    conf: &DovecotConf,
    accounts: &mut Accounts,
    keys: &mut Keys,
    table: &mut Table,
    found: &mut Diagnostics,
) {
    let mut builder = Builder { conf, accounts, keys, found };
    let (imap, lmtp) = (conf.serves("imap"), conf.serves("lmtp"));
    let mut add = |spec: Option<Spec>| table.services.extend(spec);
    if imap {
        add(builder.login("imap-login", "imap"));
    }
    if lmtp {
        add(builder.lmtp());
    }
    // A socket for other programs is reason enough: a real Postfix may authenticate here.
    let sockets =
        conf.service("auth").is_some_and(|auth| auth.unix_listeners.iter().any(|listener| listener.at.is_some()));
    if imap || lmtp || sockets {
        add(builder.auth());
    }
    if imap {
        table.acting.insert(Acting::Imap, builder.acting("imap", "imap"));
    }
    if lmtp {
        table.acting.insert(Acting::Deliver, builder.acting("deliver", "lmtp"));
    }
    let number = |name| conf.global().uint(name);
    table.accounts = AccountRules {
        first_uid: number("first_valid_uid"),
        last_uid: number("last_valid_uid"),
        first_gid: number("first_valid_gid"),
        last_gid: number("last_valid_gid"),
    };
}

/// Folders below which mail may lie, as the configuration has them: the parts before the first variable of homes and
/// locations.
fn mail_roots(conf: &DovecotConf) -> Vec<PathBuf> {
    let global = conf.global();
    let mut templates = vec![global.get("mail_home").to_string(), global.mail_location_text()];
    templates.extend(conf.namespaces().into_iter().map(|namespace| namespace.location));
    for database in conf.userdbs() {
        let fields = database.default_fields.iter().chain(&database.override_fields).chain(&database.args.options);
        templates.extend(fields.filter(|(name, _)| name == "home" || name == "mail").map(|(_, value)| value.clone()));
    }
    let mut roots: Vec<PathBuf> = Vec::new();
    for template in templates {
        // `driver:path:KEY=path`: every absolute path in it.
        let paths = template.split(':').map(|part| part.split_once('=').map_or(part, |(_, value)| value));
        for path in paths.filter(|path| path.starts_with('/')) {
            let prefix = Path::new(static_prefix(path));
            if prefix != Path::new("/") && !roots.iter().any(|root| root == prefix) {
                roots.push(prefix.into());
            }
        }
    }
    roots
}

struct Builder<'a> {
    conf: &'a DovecotConf,
    accounts: &'a mut Accounts,
    keys: &'a mut Keys,
    found: &'a mut Diagnostics,
}

impl Builder<'_> {
    fn service(&self, name: &str) -> Service {
        self.conf.service(name).unwrap_or_else(|| panic!("no service {name} in the table of defaults"))
    }

    /// The settings that the program uses, as they hold for `protocol`, in canonical form.
    fn section(&self, program: &str, protocol: &str) -> Section {
        let view = if protocol.is_empty() { self.conf.global() } else { self.conf.for_protocol(protocol) };
        let mut section = Section::default();
        for &name in uses::settings(program) {
            section.mailbox.insert(name, canonical(&view, name));
        }
        section.mailbox.insert("mail_location", view.mail_location_text());
        let roots: Vec<String> = mail_roots(self.conf).iter().map(|root| root.to_string_lossy().into_owned()).collect();
        section.mailbox.insert("mail roots", roots.join("\n"));
        if matches!(program, "imap" | "deliver" | "auth") {
            section.namespaces = self.conf.namespaces();
        }
        section
    }

    fn spec(
        &mut self,
        name: &str,
        program: &'static Program,
        service: &Service,
        account: Account,
        section: Section,
    ) -> Spec {
        Spec {
            key: format!("dovecot:{name}"),
            half: Half::Mailbox,
            program,
            name: name.into(),
            identity: Identity { half: LogHalf::Mailbox, tag: name.into() },
            listeners: self.listeners(service, name),
            rules: Rules {
                limit: 1,
                prefork: service.process_min_avail.min(processes()),
                wakeup: None,
                longest_pause: LONGEST_PAUSE,
                sheds: false,
            },
            client_limit: 1,
            messages: 0,
            passed_on: 0,
            full: format!(
                "service({name}): process_limit ({}) reached, client connections are being dropped",
                service.process_limit
            ),
            max_use: 0,
            max_idle: service.idle_kill,
            section: encode(&section),
            folders: Vec::new(),
            account,
            foreign: Vec::new(),
            max_memory: None,
        }
    }

    fn program(name: &str) -> &'static Program {
        program::find(name).unwrap_or_else(|| panic!("no program {name}"))
    }

    /// imap-login and its like. `service_count = 1`, the default, gives each connection a process in Dovecot; here it bounds
    /// the connections to `process_limit`.
    fn login(&mut self, name: &'static str, protocol: &str) -> Option<Spec> {
        let service = self.service(name);
        let mut section = self.section(name, protocol);
        section.tls = self.offer(name, protocol);
        let account = self.accounts.of(name);
        let mut spec = self.spec(name, Self::program(name), &service, account, section);
        let sessions = match service.service_count {
            1 => service.process_limit,
            _ => service.process_limit.saturating_mul(service.client_limit),
        };
        (spec.rules.limit, spec.client_limit) = share(sessions);
        // Whoever has not logged in gives way to the next one.
        spec.rules.sheds = true;
        // What it passes on for clients under TLS, as many as the mailbox service may have.
        let mailbox = self.service(protocol);
        spec.passed_on = mailbox.process_limit.saturating_mul(mailbox.client_limit.max(1));
        let (what, limit) = match service.service_count {
            1 => ("process_limit", service.process_limit),
            _ => ("client_limit", service.client_limit),
        };
        spec.full = format!("service({name}): {what} ({limit}) reached, client connections are being dropped");
        Some(spec)
    }

    fn lmtp(&mut self) -> Option<Spec> {
        let service = self.service("lmtp");
        let mut section = self.section("lmtp", "lmtp");
        section.tls = self.offer("lmtp", "lmtp");
        let account = self.accounts.of("lmtp");
        let mut spec = self.spec("lmtp", Self::program("lmtp"), &service, account, section);
        (spec.rules.limit, spec.client_limit) =
            share(service.process_limit.saturating_mul(service.client_limit.max(10)));
        Some(spec)
    }

    fn auth(&mut self) -> Option<Spec> {
        let mut service = self.service("auth");
        let ours = |path: &str| {
            AUTH_SOCKETS.contains(&Path::new(path).file_name().and_then(|n| n.to_str()).unwrap_or_default())
        };
        service.unix_listeners.retain(|listener| listener.at.is_some() || ours(&listener.path));
        let mut section = self.section("auth", "");
        section.passdbs = self.conf.passdbs();
        section.userdbs = self.conf.userdbs();
        let folders = self.database_folders(&section);
        // It reads the administrator's passwd-files, which may be readable for this account alone.
        let user = Some(service.user.as_str()).filter(|user| !user.is_empty()).unwrap_or("dovecot");
        let account = self.accounts.configured(user, "auth");
        let mut spec = self.spec("auth", Self::program("auth"), &service, account, section);
        spec.client_limit = service.client_limit.max(1000);
        spec.max_idle = 0;
        spec.folders = folders;
        Some(spec)
    }

    /// One folder for each passwd-file: the part of its path before the first variable.
    fn database_folders(&mut self, section: &Section) -> Vec<Folder> {
        let mut folders: Vec<Folder> = Vec::new();
        let databases = section.passdbs.iter().map(|passdb| &passdb.database).chain(&section.userdbs);
        for database in databases.filter(|database| database.driver == "passwd-file") {
            let path = static_prefix(&database.args.path);
            let whole = path == database.args.path;
            let folder = if whole { Path::new(path).parent().unwrap_or(Path::new("/")) } else { Path::new(path) };
            if folders.iter().all(|known| known.path != folder) {
                folders.push(Folder { path: folder.into(), access: FolderAccess::Read });
            }
        }
        folders.retain(|folder| folder.path.is_dir());
        folders
    }

    /// A program that acts for accounts. Its account and folders are those of each request.
    fn acting(&mut self, name: &'static str, protocol: &str) -> Spec {
        let service = self.service(if name == "deliver" { "lmtp" } else { name });
        let section = self.section(name, protocol);
        let nobody = self.accounts.of(name);
        let mut spec = self.spec(name, Self::program(name), &service, nobody, section);
        spec.listeners.clear();
        spec.identity.tag = if name == "deliver" { "lmtp".into() } else { name.into() };
        spec.client_limit = 10_000;
        spec.rules.prefork = 0;
        spec
    }

    /// TLS as the login services offer it.
    fn offer(&mut self, program: &'static str, protocol: &str) -> Option<Offer> {
        let view = self.conf.for_protocol(protocol);
        if view.get("ssl") == "no" {
            return None;
        }
        let certificate = view.file("ssl_cert")?.to_path_buf();
        let key = view.file("ssl_key")?.to_path_buf();
        let tls12 = !matches!(view.get("ssl_min_protocol"), "TLSv1.3");
        Some(Offer { keys: vec![self.keys.number(program, certificate, key)], tls12, tls13: true })
    }

    fn listeners(&mut self, service: &Service, name: &str) -> Vec<Listen> {
        let mut listeners = Vec::new();
        for unix in &service.unix_listeners {
            let mut id = |text: &str, what: &str, look: fn(&str) -> Option<u32>| match text {
                "" => 0,
                text => look(text).unwrap_or_else(|| {
                    let place = unix.at.clone().unwrap_or_else(|| Location::file(self.conf.path()));
                    self.found.error(
                        &place,
                        "unix_listener",
                        format!("{what} {text} does not exist"),
                        "name one that exists",
                    );
                    0
                }),
            };
            let uid = id(&unix.user, "user", |name| accounts::user(name).map(|(uid, _)| uid));
            let gid = id(&unix.group, "group", accounts::group);
            let at = At::Unix { path: PathBuf::from(&unix.path), mode: unix.mode, uid, gid };
            listeners.push(Listen { name: unix.path.clone(), at, tls: false });
        }
        for inet in &service.inet_listeners {
            // TLS from the first byte needs TLS; without it Dovecot leaves the port closed.
            if inet.ssl && self.conf.get("ssl") == "no" {
                continue;
            }
            let name = if inet.name.is_empty() { name } else { &inet.name };
            for address in self.addresses(inet) {
                let at = At::Inet(SocketAddr::new(address, inet.port));
                listeners.push(Listen { name: name.into(), at, tls: inet.ssl });
            }
        }
        listeners
    }

    fn addresses(&mut self, inet: &InetListener) -> Vec<IpAddr> {
        let mut addresses = Vec::new();
        for name in &inet.addresses {
            match name.as_str() {
                "*" => addresses.push(IpAddr::from(Ipv4Addr::UNSPECIFIED)),
                "::" | "[::]" => {
                    addresses.extend(super::transport::has_ipv6().then_some(IpAddr::from(Ipv6Addr::UNSPECIFIED)))
                }
                name => match (name.trim_matches(['[', ']']), 0).to_socket_addrs() {
                    Ok(all) => addresses.extend(all.map(|address| address.ip())),
                    Err(error) => {
                        let place = inet.at.clone().unwrap_or_else(|| Location::file(self.conf.path()));
                        self.found.error(
                            &place,
                            "address",
                            format!("{name} cannot be resolved: {error}"),
                            "write an address",
                        );
                    }
                },
            }
        }
        addresses
    }
}

fn canonical(view: &View<'_>, name: &str) -> String {
    match Scope::Root.find(name).map(|setting| setting.kind) {
        Some(Kind::Bool) => if view.bool(name) { "yes" } else { "no" }.into(),
        Some(Kind::Uint) => view.uint(name).to_string(),
        Some(Kind::Time) => view.time(name).to_string(),
        Some(Kind::TimeMsecs) => view.time_msecs(name).to_string(),
        Some(Kind::Size) => view.size(name).to_string(),
        _ => view.get(name).to_string(),
    }
}
