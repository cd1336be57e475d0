//! Between `qmgr` and a delivery agent (`smtp`, `lmtp`, `error`, …), and from `lmtp` to `deliver`.

use serde::{Deserialize, Serialize};

/// One recipient of a delivery request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Position among the message's recipients; names it in the outcome.
    pub index: u32,
    /// The address to deliver to.
    pub address: String,
    /// The address that the client gave, when it differs (`orig_to=`).
    pub original: Option<String>,
    /// `ORCPT`, as given.
    pub dsn_orcpt: Option<String>,
    /// `NOTIFY` as a bit set of RFC 3461: 1 never, 2 success, 4 failure, 8 delay; 0 when not given.
    pub dsn_notify: u8,
}

/// From `qmgr` to an agent. The descriptor of the message comes with [`ToAgent::Deliver`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToAgent {
    /// Deliver this message to these recipients.
    Deliver(Job),
}

/// One message for one destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Names the job in its outcomes.
    pub job: u64,
    /// The queue ID, for the log.
    pub queue_id: String,
    /// The service in master.cf through which it goes.
    pub transport: String,
    /// Where to.
    pub nexthop: String,
    /// The envelope sender; empty for bounces.
    pub sender: String,
    /// The recipients.
    pub targets: Vec<Target>,
    /// Bytes of the content.
    pub size: u64,
    /// Where the content begins in the descriptor.
    pub offset: u64,
    /// Microseconds since 1970 at which the message arrived.
    pub arrived: u64,
    /// Microseconds that it took to be in the queue (`delays=a`).
    pub intake: u64,
    /// Microseconds since 1970 at which it became active.
    pub active: u64,
    /// `BODY=8BITMIME`.
    pub eight_bit: bool,
    /// `SMTPUTF8`.
    pub smtputf8: bool,
    /// `ENVID`.
    pub dsn_envid: Option<String>,
    /// `RET`: 0 not given, 1 full, 2 headers.
    pub dsn_ret: u8,
}

/// What became of a recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// Delivered, or passed on.
    Sent,
    /// Try again later.
    Deferred,
    /// Never.
    Bounced,
}

/// The whole story of one recipient, as the log and a DSN tell it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Position of the recipient.
    pub index: u32,
    /// What became of it.
    pub verdict: Verdict,
    /// Enhanced status code, `2.0.0`.
    pub dsn: String,
    /// `relay=`, `none` when no connection was made.
    pub relay: String,
    /// What stands in brackets in the log line.
    pub text: String,
    /// The remote's own reply, for `Diagnostic-Code: smtp;`.
    pub remote_reply: Option<String>,
    /// The remote's name, for `Remote-MTA: dns;`.
    pub remote_mta: Option<String>,
}

/// From an agent to `qmgr`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromAgent {
    /// First, and when it changes: which transport this agent serves, and how many jobs it takes at once.
    Ready {
        /// The service in master.cf.
        transport: String,
        /// Jobs in flight; 0 from an agent that drains: it finishes what it has.
        window: u32,
    },
    /// Outcomes of some recipients of a job.
    Outcomes {
        /// The job.
        job: u64,
        /// One for each recipient that is finished.
        outcomes: Vec<Outcome>,
    },
    /// No more outcomes come: every recipient of the job has had one. `fault` tells that the destination itself could not be
    /// reached, which is what slows a destination down.
    Finished {
        /// The job.
        job: u64,
        /// Why the destination is in trouble, if it is.
        fault: Option<String>,
    },
}

/// From `lmtp` to `deliver`, with the descriptor of the message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToDeliver {
    /// File this message for these users.
    File {
        /// Names the request.
        corr: u32,
        /// `MAIL FROM`, for the log.
        sender: String,
        /// Users and the recipient addresses they were named by.
        recipients: Vec<Filing>,
        /// Bytes of the content.
        size: u64,
        /// `Return-Path:` and what else stands before the content, with LF line ends.
        prefix: Vec<u8>,
        /// Milliseconds from the MAIL command to the end of the message, for the log.
        session_millis: u32,
        /// Whether the sender's own queue holds the mail until it is answered, so that one sync may serve a whole batch.
        queued: bool,
    },
}

/// The first packet on the inbox of `deliver`: who the descriptor, one end of a channel, leads to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Introduction {
    /// The program.
    pub program: String,
    /// Its process.
    pub pid: u32,
}

/// One user to file for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filing {
    /// The name to look up at `auth`.
    pub user: String,
    /// The recipient address as given, for the log.
    pub address: String,
    /// The mailbox to file into, if it is not INBOX.
    pub mailbox: Option<String>,
    /// The session name of this recipient in the log, e.g. `x1Y/AAAB:R2`.
    pub session: String,
}

/// From `deliver` to `lmtp`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromDeliver {
    /// What became of one recipient.
    Filed {
        /// Of the request.
        corr: u32,
        /// Position of the recipient in the request.
        position: u32,
        /// How it went.
        result: Filed,
    },
}

/// How a filing went. Texts are the reply without its code and address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Filed {
    /// On stable storage.
    Saved,
    /// Try again: `4.2.0 Internal error occurred. …`, or `4.2.2 …` for a full disk.
    Temporary(String),
    /// Never: `5.2.0 …`.
    Permanent(String),
}
