//! The table of services: the rows of `master.cf` and the services that `dovecot.conf` implies, as the master runs them.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use ipc_messages::control::{Acting, Folder};
use ipc_messages::log::Identity;

use crate::policy::Rules;
use crate::program::Program;

/// Which of the two programs that Posthorn replaces a service belongs to. They start, reload and stop apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Half {
    /// Serves both: runs while either does.
    Common,
    /// Postfix's.
    Transport,
    /// Dovecot's.
    Mailbox,
}

/// An account: ids, and the groups beside the first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Other groups.
    pub groups: Vec<u32>,
}

/// A socket that the master opens for a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// What the configuration calls it.
    pub name: String,
    /// Where.
    pub at: At,
    /// TLS from the first byte.
    pub tls: bool,
}

/// Where a listener is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum At {
    /// An Internet address.
    Inet(SocketAddr),
    /// A path, its mode, its owner and group.
    Unix {
        /// Where.
        path: PathBuf,
        /// Permission bits.
        mode: u32,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
    },
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            At::Inet(address) => address.fmt(f),
            At::Unix { path, .. } => path.display().fmt(f),
        }
    }
}

/// What the connector opens for a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Foreign {
    /// A stream socket at a path.
    Unix(PathBuf),
    /// A datagram socket at a path (`/dev/log`).
    Datagram(PathBuf),
    /// A TCP connection.
    Inet(SocketAddr),
    /// A file to be read, which may be root's own (a private key).
    Read(PathBuf),
    /// A log file, opened for appending, made with this mode.
    Append(PathBuf, u32),
    /// The master's standard output.
    Stdout,
}

/// One service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// Names it across reloads: type and name, as `inet:25` or `dovecot:imap-login`.
    pub key: String,
    /// Whose it is.
    pub half: Half,
    /// What is started.
    pub program: &'static Program,
    /// The name in master.cf, or Dovecot's service name.
    pub name: String,
    /// How its lines are signed.
    pub identity: Identity,
    /// Its sockets.
    pub listeners: Vec<Listen>,
    /// How many processes, and when they are woken.
    pub rules: Rules,
    /// Connections of one process.
    pub client_limit: u32,
    /// Messages that one process may hold, each by a descriptor.
    pub messages: u32,
    /// Connections after which a process ends; 0 for never.
    pub max_use: u32,
    /// Idle seconds after which a process ends; 0 for never.
    pub max_idle: u32,
    /// Its configuration.
    pub section: Vec<u8>,
    /// Folders that it is handed.
    pub folders: Vec<Folder>,
    /// Its account.
    pub account: Account,
    /// What the connector opens for it, by index.
    pub foreign: Vec<Foreign>,
    /// Address space in bytes, if limited.
    pub max_memory: Option<u64>,
}

/// Which accounts a process may act for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountRules {
    /// Dovecot's `first_valid_uid`.
    pub first_uid: u32,
    /// `last_valid_uid`; 0 for no limit.
    pub last_uid: u32,
    /// `first_valid_gid`.
    pub first_gid: u32,
    /// `last_valid_gid`; 0 for no limit.
    pub last_gid: u32,
}

impl AccountRules {
    /// Why this account may not be acted for; the words are Dovecot's.
    pub fn refuse(&self, uid: u32, gid: u32, groups: &[u32]) -> Option<String> {
        if uid == 0 {
            return Some("Mail access not allowed for root".into());
        }
        if uid < self.first_uid || (self.last_uid != 0 && uid > self.last_uid) {
            return Some(format!(
                "Mail access for users with UID {uid} not permitted (see first_valid_uid in config file, uid from userdb lookup)."
            ));
        }
        let bad = |gid: u32| gid < self.first_gid || (self.last_gid != 0 && gid > self.last_gid);
        let gid = std::iter::once(gid).chain(groups.iter().copied()).find(|&gid| bad(gid))?;
        Some(format!(
            "Mail access for users with GID {gid} not permitted (see first_valid_gid in config file, gid from userdb lookup)."
        ))
    }
}

/// The whole table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Services that run under their own account.
    pub services: Vec<Spec>,
    /// What the processes that act for accounts are started from.
    pub acting: BTreeMap<Acting, Spec>,
    /// Which accounts those may be.
    pub accounts: AccountRules,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_that_may_not_be_acted_for() {
        let rules = AccountRules { first_uid: 500, last_uid: 0, first_gid: 1, last_gid: 0 };
        let refused = |uid, gid, groups: &[u32]| rules.refuse(uid, gid, groups).is_some();
        assert!(refused(0, 100, &[]) && refused(499, 100, &[]) && refused(1000, 0, &[]) && refused(1000, 100, &[0]));
        assert!(!refused(500, 1, &[2]));
        let rules = AccountRules { last_uid: 600, last_gid: 700, ..rules };
        assert!(rules.refuse(601, 100, &[]).is_some() && rules.refuse(600, 701, &[]).is_some());
        assert!(rules.refuse(600, 700, &[]).is_none());
    }
}
