//! Between the master and each worker, over a `SOCK_SEQPACKET` pair, one message a packet; and what a worker finds when it
//! starts ([`Boot`]).

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use ipc_jail::Jail;
use serde::{Deserialize, Serialize};

/// The largest control message. A configuration section travels as a sealed memory file beside it.
pub const MAX_CONTROL: usize = 4096;

/// The descriptor on which a worker finds its [`Boot`] (postcard, in a sealed memory file).
pub const BOOT_FD: i32 = 3;
/// The descriptor of the control channel.
pub const CONTROL_FD: i32 = 4;
/// The descriptor on which log records leave ([`crate::log`]).
pub const LOG_FD: i32 = 5;
/// The first descriptor of what [`Boot`] lists: listeners, then the hand-off inbox, then folders.
pub const FIRST_LISTED_FD: i32 = 6;

/// What this build is called; both ends of every channel must agree.
pub fn build() -> String {
    format!("{} {}", env!("CARGO_PKG_VERSION"), option_env!("POSTHORN_BUILD").unwrap_or("source"))
}

/// A service that others talk to over private channels: one process at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Hub {
    /// Takes messages in: the intake journal.
    Cleanup,
    /// The queue manager.
    Qmgr,
    /// Address resolution and tables (trivial-rewrite, proxymap).
    Lookup,
    /// passwd and group.
    NameService,
    /// DNS.
    Resolver,
    /// Connection and rate counts.
    Anvil,
    /// Signatures with private keys.
    Tlsmgr,
    /// Delivery status notifications.
    Bounce,
    /// passdb and userdb.
    Auth,
}

impl fmt::Display for Hub {
    /// The program's name, for the log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Hub::Cleanup => "cleanup",
            Hub::Qmgr => "qmgr",
            Hub::Lookup => "trivial-rewrite",
            Hub::NameService => "nss",
            Hub::Resolver => "dns",
            Hub::Anvil => "anvil",
            Hub::Tlsmgr => "tlsmgr",
            Hub::Bounce => "bounce",
            Hub::Auth => "auth",
        })
    }
}

/// Everything that a worker is given at its start.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Boot {
    /// Version and build; a worker of another build ends at once.
    pub build: String,
    /// The name in the master's table, e.g. `smtp` or `imap-login`.
    pub service: String,
    /// How this process signs its log lines.
    pub identity: crate::log::Identity,
    /// The worker's own configuration section (postcard of the type that the service names).
    pub section: Vec<u8>,
    /// Sockets that listen, in the order of their descriptors.
    pub listeners: Vec<Listener>,
    /// Whether a hand-off inbox ([`crate::handoff`]) follows the listeners.
    pub inbox: bool,
    /// Folders opened by the master for this worker, in the order of their descriptors, after the inbox.
    pub folders: Vec<Folder>,
    /// The jail to enter.
    pub jail: Jail,
    /// Connections that one process serves at once.
    pub client_limit: u32,
    /// Connections after which the process ends (Dovecot's `service_count`, Postfix's `max_use`); 0 for never.
    pub max_use: u32,
    /// Seconds without a connection after which the process ends; 0 for never.
    pub max_idle: u32,
}

/// A socket that listens, as the worker needs to know it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Listener {
    /// What the configuration calls it (`smtp`, `imaps`, `private/auth`).
    pub name: String,
    /// Where it listens.
    pub at: ListenAddress,
    /// TLS from the first byte.
    pub tls: bool,
}

/// Where a listener is bound.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum ListenAddress {
    /// An Internet address.
    Inet(SocketAddr),
    /// A path in the file system.
    Unix(PathBuf),
}

/// A folder that the master opened, and what may be done beneath it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Folder {
    /// The absolute path that names it in the configuration.
    pub path: PathBuf,
    /// What may be done there.
    pub access: FolderAccess,
}

/// [`ipc_jail::Access`] as it is written in a [`Boot`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FolderAccess {
    /// Read files and folders.
    Read,
    /// Read, write, create, rename and remove.
    Write,
}

/// From a worker to the master.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromWorker {
    /// How many connections the process serves and how many more it takes. The first one says that the process is in its
    /// jail and ready.
    Status {
        /// Connections served.
        clients: u32,
        /// Connections that it would still take.
        free: u32,
    },
    /// The channel to a hub is lost: its process has gone, or one of the two has given it up. The master makes a new one.
    Lost {
        /// Which hub.
        hub: Hub,
        /// As in [`ToWorker::Peer`]: a message about a channel that was replaced meanwhile means nothing.
        link: u32,
    },
    /// Connect to entry `index` of the worker's connector list (its section's foreign sockets).
    Connect {
        /// Position in the list that the master compiled for this service.
        index: u16,
    },
    /// From `qmgr` alone: mail waits for this delivery service, and no process of it has come.
    Wake {
        /// The service's name in `master.cf`, e.g. `lmtp`.
        service: String,
    },
    /// From `auth` alone: a process that acts for an account is needed.
    Acting {
        /// Names the request in the answer.
        corr: u32,
        /// Which program.
        program: Acting,
        /// Its uid.
        uid: u32,
        /// Its gid.
        gid: u32,
        /// Supplementary groups.
        groups: Vec<u32>,
        /// Folders that its users' mail lies beneath; the master opens them, or their nearest parent that is there.
        roots: Vec<PathBuf>,
    },
}

/// Programs that act for an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Acting {
    /// A mailbox template: serves IMAP sessions.
    Imap,
    /// Writes mailboxes.
    Deliver,
}

/// From the master to a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToWorker {
    /// A channel to or from another process comes with this packet. To a hub it names who is at the other end; to others,
    /// which hub is.
    Peer {
        /// What is at the other end.
        peer: Peer,
        /// Names the channel to a hub in [`FromWorker::Lost`]; 0 at the hub's end.
        link: u32,
    },
    /// A new configuration section comes with this packet, as a sealed memory file.
    Section,
    /// Take no new work; end when the work in hand is done.
    Drain,
    /// The connected socket that was asked for comes with this packet.
    Connected {
        /// As in [`FromWorker::Connect`].
        index: u16,
    },
    /// The connection could not be made.
    ConnectFailed {
        /// As in [`FromWorker::Connect`].
        index: u16,
        /// The system's error number.
        errno: i32,
    },
    /// The hand-off inbox of the process that was asked for comes with this packet.
    Inbox {
        /// As in [`FromWorker::Acting`].
        corr: u32,
    },
    /// The master refuses to start that process.
    ActingRefused {
        /// As in [`FromWorker::Acting`].
        corr: u32,
        /// Why, for the log.
        reason: String,
    },
    /// Write what is buffered and open log files anew.
    Reopen,
}

/// Who is at the other end of a channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Peer {
    /// A hub: this end asks.
    Hub(Hub),
    /// A process that asks: this end answers.
    Client {
        /// The program's name.
        program: String,
        /// Its process id, for the log.
        pid: u32,
        /// The uid that it runs as: which account a template acts for.
        uid: u32,
    },
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Hub(hub) => hub.fmt(f),
            Peer::Client { program, pid, .. } => write!(f, "{program}[{pid}]"),
        }
    }
}
