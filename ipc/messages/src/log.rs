//! Log records, over one `SOCK_SEQPACKET` pair that all workers share, so that the order in which lines were logged is the
//! order in which they are written. The kernel tells `postlogd` the true process id of each sender.
//!
//! A packet holds any number of records of one turn of a worker's loop. Writing never waits: when the log service is stuck,
//! a worker keeps a bounded backlog and then counts what it had to drop.

use serde::{Deserialize, Serialize};

/// The largest packet; a worker splits its backlog at record boundaries.
pub const MAX_PACKET: usize = 60 * 1024;

/// Whose style the lines have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Half {
    /// `postfix/smtpd[123]: text`
    Transport,
    /// `dovecot: imap(user)<123><session>: text`
    Mailbox,
}

/// How a process signs its lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The style, and which half's destination.
    pub half: Half,
    /// `postfix/smtpd` (then `[pid]` follows), or `imap-login` (then `dovecot: ` stands before).
    pub tag: String,
}

/// How severe a line is: syslog's levels as the two programs use them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Severity {
    /// `LOG_DEBUG`; Dovecot writes `Debug: `.
    Debug,
    /// `LOG_INFO`.
    Info,
    /// `LOG_WARNING`; both write `warning: ` or `Warning: `.
    Warning,
    /// `LOG_ERR`; `error: ` or `Error: `.
    Error,
    /// `LOG_CRIT`; `fatal: ` or `Fatal: `.
    Fatal,
    /// `LOG_CRIT`; `panic: ` or `Panic: `.
    Panic,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The style, and which half's destination.
    pub half: Half,
    /// See [`Identity::tag`]. For the mailbox half the whole prefix, e.g. `imap(user)<123><session>`.
    pub tag: String,
    /// How severe.
    pub severity: Severity,
    /// Seconds since 1970 at which it was logged.
    pub time: u64,
    /// The text, without control characters: the writer replaces them by `?`, as Postfix and Dovecot do.
    pub text: String,
}
