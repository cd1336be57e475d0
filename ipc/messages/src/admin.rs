//! Between `mailctl` and the master, over the control socket (mode 0600, root or the instance's owner): [`ipc_wire`] frames.
//! A request is answered by any number of [`Answer::Line`]s and one [`Answer::End`].

use serde::{Deserialize, Serialize};

use crate::control::Hub;

/// The control socket's name in the spool.
pub const SOCKET: &str = "control";
/// The master's process id, in the spool; locked by the master while it runs.
pub const PID_FILE: &str = "posthorn.pid";

/// The folder in the spool where sockets stand that every user may ask at (`showq`, `flush`).
pub const PUBLIC: &str = "public";

/// Which half of the system a request is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum HalfName {
    /// What `main.cf` and `master.cf` describe.
    Transport,
    /// What `dovecot.conf` describes.
    Mailbox,
}

/// A request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Finish the work in hand and end; one half or, without a name, everything. Answered when the processes have ended.
    Stop(Option<HalfName>),
    /// Read the configuration anew. Answered when it was refused, or when what it started works.
    Reload(Option<HalfName>),
    /// Open log files anew.
    Reopen,
    /// What runs: the table in effect, with processes. Answered by [`Answer::Service`]s.
    Services,
    /// A channel to a hub (`qmgr` for the queue); it comes as a descriptor with the `End`.
    Visit(Hub),
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// What is waited for, for people.
    Line(String),
    /// One service of the table.
    Service(ServiceRow),
    /// No more comes. `Err` says why the request was not carried out.
    End(Result<(), String>),
}

/// A service as `mailctl services` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceRow {
    /// `transport`, `mailbox` or `common`.
    pub half: String,
    /// The name in `master.cf`, or Dovecot's service name.
    pub name: String,
    /// The program.
    pub program: String,
    /// Where it listens.
    pub listeners: Vec<String>,
    /// Its process ids.
    pub pids: Vec<i32>,
    /// Processes at most.
    pub limit: u32,
    /// Connections of one process.
    pub client_limit: u32,
    /// Account.
    pub uid: u32,
    /// The folder that is its root.
    pub root: String,
    /// Whether it pauses after failures.
    pub throttled: bool,
}
