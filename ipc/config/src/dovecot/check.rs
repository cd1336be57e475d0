//! What Dovecot refuses at start, once all of the configuration is known.
//!
//! Every problem is in Dovecot's own words. It is an error where Dovecot does not start, and a warning where it starts
//! and fails later: a missing passdb, say, is no error here, because the real server starts with it and answers
//! `* BYE Auth process broken`. What Dovecot can do and we cannot is in [`super::support`].

use super::files::Accounts;
use super::sections::Database;
use super::services::{FileListener, Service};
use super::settings::{DovecotConf, get};
use super::support;
use super::table::Scope;
use super::value;
use crate::diagnostic::{Diagnostics, Location};

/// Reports everything that is wrong with a configuration as a whole.
pub fn check(conf: &DovecotConf, accounts: &dyn Accounts, found: &mut Diagnostics) {
    let mut checker = Checker { conf, accounts, found };
    checker.limits();
    checker.words();
    checker.tls();
    checker.protocols();
    checker.services();
    checker.client_limits();
    checker.duplicate_listeners();
    checker.authentication();
    checker.namespaces();
    support::report(conf, checker.found);
}

/// Services of which Dovecot allows one process only.
const SINGLE: [&str; 8] = ["anvil", "auth", "director", "indexer", "ipc", "log", "old-stats", "replicator"];

/// Facilities of syslog.
const FACILITIES: [&str; 20] = [
    "auth", "authpriv", "cron", "daemon", "ftp", "kern", "local0", "local1", "local2", "local3", "local4", "local5",
    "local6", "local7", "lpr", "mail", "news", "syslog", "user", "uucp",
];

/// Special-use attributes of mailboxes.
const SPECIAL_USES: [&str; 8] =
    ["\\All", "\\Archive", "\\Drafts", "\\Flagged", "\\Important", "\\Junk", "\\Sent", "\\Trash"];

struct Checker<'a> {
    conf: &'a DovecotConf,
    accounts: &'a dyn Accounts,
    found: &'a mut Diagnostics,
}

impl Checker<'_> {
    /// Where a global setting was set, or the file as a whole.
    fn at(&self, name: &str) -> Location {
        self.conf.global().place(name).cloned().unwrap_or_else(|| Location::file(self.conf.path()))
    }

    fn error(&mut self, name: &str, problem: impl Into<String>, mend: &str) {
        let at = self.at(name);
        self.found.error(&at, name, problem, mend);
    }

    fn limits(&mut self) {
        let global = self.conf.global();
        if global.get("listen").is_empty() {
            self.error("listen", "listen can't be set empty", "name the addresses, or * and ::");
        }
        for kind in ["uid", "gid"] {
            let (first, last) = (format!("first_valid_{kind}"), format!("last_valid_{kind}"));
            if global.uint(&last) != 0 && global.uint(&first) > global.uint(&last) {
                self.error(&first, format!("{first} can't be larger than {last}"), "make it smaller");
            }
        }
        for name in ["default_login_user", "default_internal_user"] {
            let user = global.get(name);
            if !self.accounts.has_user(user) {
                self.error(name, format!("{name} doesn't exist: {user}"), "make that user, or name another one");
            }
        }
        if global.uint("auth_worker_max_count") == 0 {
            self.error("auth_worker_max_count", "auth_worker_max_count must be above zero", "");
        }
        if global.time("mailbox_idle_check_interval") == 0 {
            self.error("mailbox_idle_check_interval", "mailbox_idle_check_interval must not be 0", "");
        }
        if global.bool("mail_nfs_index") && !global.bool("mmap_disable") {
            self.error("mail_nfs_index", "mail_nfs_index=yes requires mmap_disable=yes", "");
        } else if global.bool("mail_nfs_index") && global.get("mail_fsync") != "always" {
            self.error("mail_nfs_index", "mail_nfs_index=yes requires mail_fsync=always", "");
        }
    }

    /// Settings that are made of known words.
    fn words(&mut self) {
        const WORKAROUNDS: [(&str, &[&str]); 3] = [
            ("imap_client_workarounds", &["delay-newmail", "tb-extra-mailbox-sep", "tb-lsub-flags"]),
            ("lmtp_client_workarounds", &["whitespace-before-path", "mailbox-for-path"]),
            ("pop3_client_workarounds", &["outlook-no-nuls", "oe-ns-eoh"]),
        ];
        let global = self.conf.global();
        for (name, known) in WORKAROUNDS {
            for word in global.list(name) {
                if !known.iter().any(|known| known.eq_ignore_ascii_case(word)) {
                    let mend = format!("known ones are {}", known.join(", "));
                    self.error(name, format!("{name}: Unknown workaround: {word}"), &mend);
                }
            }
        }
        let facility = global.get("syslog_facility");
        if !FACILITIES.contains(&facility) {
            let mend = format!("known ones are {}", FACILITIES.join(", "));
            self.error("syslog_facility", format!("Unknown syslog_facility: {facility}"), &mend);
        }
        let verbose = global.get("auth_verbose_passwords");
        let (how, length) = verbose.split_once(':').map_or((verbose, None), |(how, length)| (how, Some(length)));
        if let Some(length) = length.filter(|length| !value::uint(length).is_ok_and(|length| length > 0)) {
            let problem = format!("auth_verbose_passwords: Invalid truncation number: '{length}'");
            self.error("auth_verbose_passwords", problem, "write a number above 0 after ':'");
        } else if !["no", "yes", "plain", "sha1"].contains(&how) {
            self.error("auth_verbose_passwords", "auth_verbose_passwords: Invalid value", "write no, plain or sha1");
        }
    }

    fn tls(&mut self) {
        let global = self.conf.global();
        if global.get("ssl") == "no" {
            for (filter, block) in &self.conf.tree.filters {
                if let Some(ssl) = block.value("ssl").filter(|ssl| ssl.text != "no") {
                    let problem =
                        format!("SSL is disabled because global ssl=no, ignoring ssl={} for subsection", ssl.text);
                    let at = ssl.at.clone().unwrap_or_default();
                    let mend = format!("set ssl = yes for all, and ssl = no where {filter} does not hold");
                    self.found.warning(&at, "ssl", problem, mend);
                }
            }
            return;
        }
        if global.bool("ssl_verify_client_cert") && global.get("ssl_ca").is_empty() {
            self.error("ssl_verify_client_cert", "ssl_verify_client_cert set, but ssl_ca not", "set ssl_ca");
        }
        for flag in global.list("ssl_options") {
            let known = ["compression", "no_compression", "no_ticket"];
            if !known.iter().any(|known| known.eq_ignore_ascii_case(flag)) {
                self.error("ssl_options", format!("ssl_options: unknown flag: '{flag}'"), "remove it");
            }
        }
        let login = self.conf.services().into_iter().find(|service| service.kind == "login");
        for name in ["ssl_cert", "ssl_key"] {
            if login.is_some() && global.get(name).is_empty() && global.file(name).is_none() {
                let at = self.at("ssl");
                let problem = format!("ssl enabled, but {name} not set");
                self.found.warning(
                    &at,
                    name,
                    problem,
                    format!("set {name} = </path, or ssl = no; until then TLS fails"),
                );
            }
        }
    }

    fn protocols(&mut self) {
        for protocol in self.conf.protocols() {
            if !self
                .conf
                .tree
                .root
                .children("service")
                .iter()
                .any(|block| get(Scope::Service, block, "protocol") == protocol)
            {
                let mend = "known ones are imap, lmtp, pop3 and submission";
                self.error("protocols", format!("protocols: Unknown protocol: {protocol}"), mend);
            }
        }
    }

    fn services(&mut self) {
        for block in self.conf.tree.root.children("service") {
            let at = block.at.clone().unwrap_or_else(|| Location::file(self.conf.path()));
            let kind = get(Scope::Service, block, "type");
            if !["", "log", "config", "anvil", "login", "startup", "worker"].contains(&kind) {
                self.found.error(&at, "type", format!("Unknown service type: {kind}"), "");
            }
            if block.name.is_empty() {
                self.found.error(&at, "service", "Service is missing name", "write service NAME {");
            }
        }
        let services: Vec<Service> =
            self.conf.tree.root.children("service").iter().filter_map(|block| self.conf.service(&block.name)).collect();
        for service in services {
            if service.protocol.is_empty() || self.conf.serves(&service.protocol) {
                self.service(&service);
            }
        }
    }

    fn service(&mut self, service: &Service) {
        let at = service.at.clone().unwrap_or_else(|| Location::file(self.conf.path()));
        let name = &service.name;
        let mut wrong = |wrong: bool, setting: &str, problem: &str, mend: &str| {
            if wrong {
                self.found.error(&at, setting, format!("service({name}): {problem}"), mend);
            }
        };
        let chrooted_late = service.drop_priv_before_exec && !service.chroot.is_empty();
        wrong(chrooted_late, "chroot", "drop_priv_before_exec=yes can't be used with chroot", "remove one of them");
        let too_many = service.process_min_avail > service.process_limit;
        wrong(too_many, "process_min_avail", "process_min_avail is higher than process_limit", "lower it");
        let small = service.vsz_limit != 0 && service.vsz_limit < 1 << 20;
        wrong(small, "vsz_limit", "vsz_limit is too low", "allow 1 M at least");
        let single = SINGLE.contains(&name.as_str()) && service.process_limit > 1;
        wrong(single, "process_limit", "process_limit must be 1", "remove it");
        self.empty_paths(service);
        if !service.executable.is_empty() {
            self.accounts_of(service, &at);
            for (kind, listeners) in [("unix", &service.unix_listeners), ("fifo", &service.fifo_listeners)] {
                listeners.iter().for_each(|listener| self.listener(service, kind, listener));
            }
        }
    }

    fn empty_paths(&mut self, service: &Service) {
        let Some(block) = self.conf.tree.root.children("service").iter().find(|block| block.name == service.name)
        else {
            return;
        };
        let base_dir = self.conf.get("base_dir").trim_end_matches('/');
        for kind in ["unix_listener", "fifo_listener"] {
            for listener in block.children(kind) {
                let at = listener.at.clone().unwrap_or_default();
                let path = &listener.name;
                if path.is_empty() {
                    let problem = format!("service({}): {kind}: path must not be empty", service.name);
                    self.found.error(&at, kind, problem, format!("write {kind} PATH {{"));
                } else if path.strip_prefix(base_dir).is_some_and(|rest| rest.starts_with('/')) {
                    let problem = format!("You should remove base_dir prefix from unix_listener: {path}");
                    self.found.warning(&at, kind, problem, "");
                }
            }
        }
    }

    fn accounts_of(&mut self, service: &Service, at: &Location) {
        let mut names = vec![("user", service.user.as_str()), ("group", &service.group)];
        names.push(("privileged_group", &service.privileged_group));
        names.extend(service.extra_groups.iter().map(|group| ("extra_groups", group.as_str())));
        for (setting, name) in names {
            let see = format!("service {} {{ {setting} }}", service.name);
            self.account(&service.name, setting, name, at, &see);
        }
    }

    fn listener(&mut self, service: &Service, kind: &str, listener: &FileListener) {
        let at = listener.at.clone().unwrap_or_else(|| Location::file(self.conf.path()));
        for (setting, name) in [("user", &listener.user), ("group", &listener.group)] {
            let see = format!("service {} {{ {kind}_listener {} {{ {setting} }} }}", service.name, listener.path);
            self.account(&service.name, setting, name, &at, &see);
        }
    }

    /// Reports a user or group that does not exist. The default users were looked at once for all services.
    fn account(&mut self, service: &str, setting: &str, name: &str, at: &Location, see: &str) {
        let defaults = [self.conf.get("default_internal_user"), self.conf.get("default_login_user")];
        let is_number = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit());
        if name.is_empty() || is_number || (setting == "user" && defaults.contains(&name)) {
            return;
        }
        let (exists, kind) = match setting {
            "user" => (self.accounts.has_user(name), "User"),
            _ => (self.accounts.has_group(name), "Group"),
        };
        if !exists {
            let problem = format!("service({service}) {kind} doesn't exist: {name} (See {see} setting)");
            self.found.error(at, setting, problem, format!("make {name}, or name another one"));
        }
    }

    /// Dovecot's warnings about services that all connections pass through.
    fn client_limits(&mut self) {
        // Dovecot counts them from the last to the first.
        let services: Vec<_> = self.conf.services().into_iter().rev().collect();
        let limit = |name: &str| {
            let block = self.conf.tree.root.children("service").iter().find(|block| block.name == name);
            let limit = block.and_then(|block| value::uint(get(Scope::Service, block, "client_limit")).ok());
            limit.filter(|limit| *limit > 0).unwrap_or_else(|| self.conf.global().uint("default_client_limit"))
        };
        let to_auth = services.iter().filter(|service| {
            !service.protocol.is_empty()
                && (service.service_count != 1 || service.kind == "login")
                && service.name != "imap-hibernate"
        });
        let to_anvil = services.iter().filter(|service| service.kind == "login" || service.name == "auth");
        let auth = required(to_auth, 0);
        let anvil = required(to_anvil, 2);
        let counted = [
            ("auth", auth, "Counted for protocol services with service_count != 1:"),
            ("anvil", anvil, "Counted with:"),
        ];
        for (name, (needed, reason), text) in counted {
            let limit = limit(name);
            if u64::from(limit) < needed {
                let at = self.at("default_client_limit");
                let problem = format!(
                    "service {name} {{ client_limit={limit} }} is lower than required under max. load ({needed}). {text} {reason}"
                );
                self.found.warning(&at, "client_limit", problem, format!("raise it to {needed}"));
            }
        }
    }

    fn duplicate_listeners(&mut self) {
        let mut seen: Vec<(String, Option<Location>)> = Vec::new();
        let enabled = |service: &Service| service.protocol.is_empty() || self.conf.serves(&service.protocol);
        let blocks = self.conf.tree.root.children("service").iter();
        for service in blocks.filter_map(|block| self.conf.service(&block.name)).filter(enabled) {
            for listener in service.unix_listeners.iter().chain(&service.fifo_listeners) {
                seen.push((listener.path.clone(), listener.at.clone()));
            }
        }
        for service in self.conf.tree.root.children("service") {
            let protocol = get(Scope::Service, service, "protocol");
            if protocol.is_empty() || self.conf.serves(protocol) {
                for listener in service.children("inet_listener") {
                    let text = |name| get(Scope::InetListener, listener, name);
                    if text("port") != "0" {
                        seen.push((format!("{}:{}", text("port"), text("address")), listener.at.clone()));
                    }
                }
            }
        }
        seen.sort_by(|one, other| one.0.cmp(&other.0));
        for pair in seen.windows(2).filter(|pair| pair[0].0 == pair[1].0) {
            let at = pair[1].1.clone().or_else(|| pair[0].1.clone()).unwrap_or_default();
            self.found.error(&at, "service", format!("duplicate listener: {}", pair[0].0), "remove one of the two");
        }
    }

    fn authentication(&mut self) {
        let passdbs = self.conf.passdbs();
        for passdb in &passdbs {
            self.driver("passdb", &passdb.database);
            if passdb.pass && passdb.database.result_success != "return-ok" {
                let problem = "Obsolete pass=yes setting mixed with non-default result_success";
                self.found.error(&passdb.database.at, "pass", problem, "remove pass");
            }
        }
        for userdb in self.conf.userdbs() {
            self.driver("userdb", &userdb);
        }
        let plain = self.conf.global().list("auth_mechanisms").iter().any(|name| name.eq_ignore_ascii_case("plain"));
        if passdbs.is_empty() && plain && !self.conf.protocols().is_empty() {
            let at = Location::file(self.conf.path());
            let problem = "No passdbs specified in configuration file. PLAIN mechanism needs one";
            self.found.warning(&at, "passdb", problem, "add passdb { }; until then every login is refused");
        }
    }

    fn driver(&mut self, kind: &str, database: &Database) {
        if database.driver.is_empty() {
            self.found.error(
                &database.at,
                kind,
                format!("{kind} is missing driver"),
                "write driver = passwd-file, say",
            );
        }
    }

    fn namespaces(&mut self) {
        let blocks = self.conf.tree.root.children("namespace");
        for block in blocks {
            let at = block.at.clone().unwrap_or_default();
            let text = |name| get(Scope::Namespace, block, name);
            let prefix = text("prefix");
            if text("separator").chars().count() > 1 {
                let problem = format!("Namespace '{prefix}': Hierarchy separator must be only one character long");
                self.found.error(&at, "separator", problem, "write one character");
            }
            let target = text("alias_for");
            let is_alias = block.value("alias_for").is_some() && text("disabled") == "no";
            if is_alias && !blocks.iter().any(|other| get(Scope::Namespace, other, "prefix") == target) {
                let problem = format!("Namespace '{prefix}': alias_for points to unknown namespace: {target}");
                self.found.error(&at, "alias_for", problem, "name the prefix of another namespace");
            }
            for mailbox in block.children("mailbox") {
                let at = mailbox.at.clone().unwrap_or_default();
                for special_use in get(Scope::Mailbox, mailbox, "special_use").split_whitespace() {
                    if !SPECIAL_USES.contains(&special_use) {
                        let problem = format!("mailbox {}: unknown special_use: {special_use}", mailbox.name);
                        let mend = format!("known ones are {}", SPECIAL_USES.join(" "));
                        self.found.error(&at, "special_use", problem, mend);
                    }
                }
            }
        }
    }
}

/// How many processes connect, and how Dovecot lists them.
fn required<'a>(services: impl Iterator<Item = &'a Service>, base: u64) -> (u64, String) {
    let mut total = base;
    let mut reasons = Vec::new();
    for service in services {
        total += u64::from(service.process_limit);
        reasons.push(format!("service {} {{ process_limit={} }}", service.name, service.process_limit));
    }
    (total, reasons.join(" + "))
}
