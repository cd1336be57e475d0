//! `service` blocks, with the defaults and the `$default_…` names filled in.

use super::settings::{DovecotConf, get, valid};
use super::table::Scope;
use super::tree::Block;
use super::value;
use crate::diagnostic::Location;

/// A `service` block.
#[derive(Clone, Debug)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// The protocol that must be enabled for it; empty for none.
    pub protocol: String,
    /// `login`, `worker`, …; may be empty.
    pub kind: String,
    /// The program with its arguments; without one the service does not exist.
    pub executable: String,
    /// User of the process; empty means root.
    pub user: String,
    /// Group of the process; empty means the user's.
    pub group: String,
    /// Additional groups.
    pub extra_groups: Vec<String>,
    /// A group that the process may take for a moment.
    pub privileged_group: String,
    /// The configured root folder, absolute; empty means none.
    pub chroot: String,
    /// Whether privileges go before the program is run.
    pub drop_priv_before_exec: bool,
    /// Connections of one process.
    pub client_limit: u32,
    /// Processes at most.
    pub process_limit: u32,
    /// Processes kept waiting.
    pub process_min_avail: u32,
    /// Connections after which a process ends; 0 is no limit.
    pub service_count: u32,
    /// Seconds of idleness after which a process ends.
    pub idle_kill: u32,
    /// Bytes of memory of a process; 0 is no limit.
    pub vsz_limit: u64,
    /// Unix sockets that are not disabled.
    pub unix_listeners: Vec<FileListener>,
    /// Fifos that are not disabled.
    pub fifo_listeners: Vec<FileListener>,
    /// TCP sockets that are not disabled.
    pub inet_listeners: Vec<InetListener>,
    /// Where the block begins; `None` for a default.
    pub at: Option<Location>,
}

/// A socket in the file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileListener {
    /// Its path, absolute.
    pub path: String,
    /// Permission bits, never 0.
    pub mode: u32,
    /// Owner; empty means root.
    pub user: String,
    /// Group; empty means root's.
    pub group: String,
    /// Where the block begins; `None` for a default.
    pub at: Option<Location>,
}

/// A TCP socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InetListener {
    /// Name of the block.
    pub name: String,
    /// Addresses to listen on: `*`, `::`, or an address or host name.
    pub addresses: Vec<String>,
    /// The port, never 0.
    pub port: u16,
    /// TLS begins at once.
    pub ssl: bool,
    /// Clients come through HAProxy.
    pub haproxy: bool,
    /// Where the block begins; `None` for a default.
    pub at: Option<Location>,
}

/// The `vsz_limit` that stands for `default_vsz_limit`.
const UNSET_VSZ_LIMIT: u64 = u64::MAX;

impl DovecotConf {
    /// A service, enabled or not.
    pub fn service(&self, name: &str) -> Option<Service> {
        self.tree.root.children("service").iter().find(|block| block.name == name).map(|block| self.read_service(block))
    }

    /// The services that run: those with a program, whose protocol is served.
    pub fn services(&self) -> Vec<Service> {
        let all = self.tree.root.children("service").iter().map(|block| self.read_service(block));
        all.filter(|service| self.runs(service)).collect()
    }

    /// Whether a service runs in this configuration.
    pub fn runs(&self, service: &Service) -> bool {
        !service.executable.is_empty() && (service.protocol.is_empty() || self.serves(&service.protocol))
    }

    fn read_service(&self, block: &Block) -> Service {
        let text = |name| get(Scope::Service, block, name);
        let uint = |name| valid(name, value::uint(text(name)));
        let or = |limit: u32, default| if limit == 0 { self.global().uint(default) } else { limit };
        let service_count = uint("service_count");
        let client_limit = or(uint("client_limit"), "default_client_limit");
        let idle_kill = valid("idle_kill", value::time(text("idle_kill")));
        let vsz_limit = valid("vsz_limit", value::size(text("vsz_limit")));
        let files = |kind| block.children(kind).iter().filter_map(|block| self.file_listener(block)).collect();
        Service {
            name: block.name.clone(),
            protocol: text("protocol").to_owned(),
            kind: text("type").to_owned(),
            executable: text("executable").to_owned(),
            user: self.account(text("user")),
            group: self.account(text("group")),
            extra_groups: value::words(text("extra_groups")).map(|group| self.account(group)).collect(),
            privileged_group: text("privileged_group").to_owned(),
            chroot: self.in_base_dir(text("chroot")),
            drop_priv_before_exec: valid("drop_priv_before_exec", value::bool(text("drop_priv_before_exec"))),
            client_limit: if service_count > 0 { client_limit.min(service_count) } else { client_limit },
            process_limit: or(uint("process_limit"), "default_process_limit"),
            process_min_avail: uint("process_min_avail"),
            service_count,
            idle_kill: if idle_kill == 0 { self.global().time("default_idle_kill") } else { idle_kill },
            vsz_limit: if vsz_limit == UNSET_VSZ_LIMIT { self.global().size("default_vsz_limit") } else { vsz_limit },
            unix_listeners: files("unix_listener"),
            fifo_listeners: files("fifo_listener"),
            inet_listeners: block
                .children("inet_listener")
                .iter()
                .filter_map(|block| self.inet_listener(block))
                .collect(),
            at: block.at.clone(),
        }
    }

    fn file_listener(&self, block: &Block) -> Option<FileListener> {
        let text = |name| get(Scope::FileListener, block, name);
        let mode = valid("mode", value::octal(text("mode")));
        (mode != 0 && !block.name.is_empty()).then(|| FileListener {
            path: self.in_base_dir(&block.name),
            mode,
            user: self.account(text("user")),
            group: self.account(text("group")),
            at: block.at.clone(),
        })
    }

    /// A TCP listener, unless its port is 0, or it begins with TLS and TLS is off.
    fn inet_listener(&self, block: &Block) -> Option<InetListener> {
        let text = |name| get(Scope::InetListener, block, name);
        let flag = |name| valid(name, value::bool(text(name)));
        let port = valid("port", value::port(text("port")));
        let ssl = flag("ssl");
        if port == 0 || (ssl && self.get("ssl") == "no") {
            return None;
        }
        let addresses = if text("address").is_empty() { self.get("listen") } else { text("address") };
        Some(InetListener {
            name: block.name.clone(),
            addresses: value::words(addresses).map(str::to_owned).collect(),
            port,
            ssl,
            haproxy: flag("haproxy"),
            at: block.at.clone(),
        })
    }

    /// A path relative to `base_dir`; an empty one stays empty.
    fn in_base_dir(&self, path: &str) -> String {
        match path {
            "" => String::new(),
            absolute if absolute.starts_with('/') => absolute.to_owned(),
            relative => format!("{}/{relative}", self.get("base_dir").trim_end_matches('/')),
        }
    }

    /// A user or group, with `$default_internal_user` and its like replaced.
    fn account(&self, name: &str) -> String {
        match name {
            "$default_internal_user" => self.get("default_internal_user").to_owned(),
            "$default_internal_group" => self.get("default_internal_group").to_owned(),
            "$default_login_user" => self.get("default_login_user").to_owned(),
            other => other.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::files::memory::Memory;
    use super::*;

    fn conf(text: &str) -> DovecotConf {
        let files = Memory::new([("/c/d.conf", text)]);
        let (conf, found) = DovecotConf::read(Path::new("/c/d.conf"), &files).unwrap();
        assert!(found.is_empty(), "{found:?}");
        conf
    }

    #[test]
    fn defaults_are_filled_in() {
        let conf = conf("protocols = imap\n");
        let login = conf.service("imap-login").unwrap();
        assert_eq!(
            (login.user.as_str(), login.kind.as_str(), login.chroot.as_str()),
            ("dovenull", "login", "/run/dovecot/login")
        );
        assert_eq!((login.client_limit, login.process_limit, login.service_count), (1, 100, 1));
        assert_eq!((login.idle_kill, login.vsz_limit), (60, 256 << 20));
        let ports: Vec<_> = login.inet_listeners.iter().map(|l| (l.port, l.ssl, l.addresses.join(" "))).collect();
        assert_eq!(ports, [(143, false, "* ::".to_owned()), (993, true, "* ::".to_owned())]);
        assert_eq!(conf.service("imap").unwrap().extra_groups, ["dovecot"]);
        assert!(conf.service("none").is_none());
    }

    #[test]
    fn a_service_runs_with_its_protocol() {
        let running = |text: &str| conf(text).services().iter().map(|s| s.name.clone()).collect::<Vec<_>>();
        assert!(!running("").contains(&"imap-login".to_owned()));
        assert!(running("").contains(&"auth".to_owned()));
        assert!(running("protocols = imap\n").contains(&"imap-login".to_owned()));
    }

    #[test]
    fn listeners_are_where_they_were_written() {
        let conf = conf(
            "ssl = no\nbase_dir = /b/\nservice auth {\n unix_listener /var/spool/postfix/private/auth {\n  mode = 0660\n  \
             user = postfix\n }\n unix_listener auth-client {\n  mode = 0\n }\n unix_listener x {\n  \
             group = $default_internal_group\n }\n}\nservice imap-login {\n inet_listener imap {\n  address = 192.0.2.1, ::1\n }\n}\n",
        );
        let auth = conf.service("auth").unwrap();
        let find = |path: &str| auth.unix_listeners.iter().find(|listener| listener.path == path);
        let postfix = find("/var/spool/postfix/private/auth").unwrap();
        assert_eq!((postfix.mode, postfix.user.as_str(), postfix.group.as_str()), (0o660, "postfix", ""));
        assert_eq!(find("/b/auth-client"), None);
        assert_eq!(find("/b/x").unwrap().group, "dovecot");
        let login = conf.service("imap-login").unwrap();
        assert_eq!(login.inet_listeners.len(), 1, "TLS is off");
        assert_eq!(login.inet_listeners[0].addresses, ["192.0.2.1", "::1"]);
    }
}
