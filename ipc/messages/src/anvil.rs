//! To `anvil`, which counts what clients do, for limits. Questions of a turn leave together; `corr` pairs the answers.
//!
//! What a process has reported as connected or logged in ends with its channel. After a new `anvil` has started, counts
//! begin again; nothing is reported a second time.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// Something that is counted for each client of a service, per `anvil_rate_time_unit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// A message is begun (MAIL).
    Message,
    /// A recipient is named (RCPT).
    Recipient,
    /// A TLS session was negotiated, not resumed.
    NewTls,
    /// A login is tried (AUTH).
    Auth,
}

/// A report or a question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToAnvil {
    /// A client has connected. Answered by [`FromAnvil::Connected`], itself counted.
    Connect {
        /// Pairs the answer.
        corr: u32,
        /// The service, as master.cf names it.
        service: String,
        /// The client.
        address: IpAddr,
    },
    /// A client that was reported has gone.
    Disconnect {
        /// As reported.
        service: String,
        /// As reported.
        address: IpAddr,
    },
    /// An event. Answered by [`FromAnvil::Rate`], itself counted.
    Count {
        /// Pairs the answer.
        corr: u32,
        /// The service.
        service: String,
        /// The client.
        address: IpAddr,
        /// What happened.
        event: Event,
    },
    /// How many of these events there were. Answered by [`FromAnvil::Rate`].
    Rate {
        /// Pairs the answer.
        corr: u32,
        /// The service.
        service: String,
        /// The client.
        address: IpAddr,
        /// Which event.
        event: Event,
    },
    /// How many sessions a user has from an address, for Dovecot's `mail_max_userip_connections`. Answered by
    /// [`FromAnvil::Sessions`].
    Sessions {
        /// Pairs the answer.
        corr: u32,
        /// The protocol (`imap`).
        service: String,
        /// The user, as `auth` names it.
        user: String,
        /// Where from.
        address: IpAddr,
    },
    /// A session has begun. Reported by whoever knows when it ends.
    Login {
        /// The protocol (`imap`).
        service: String,
        /// The user, as `auth` names it.
        user: String,
        /// Where from.
        address: IpAddr,
    },
    /// The session is over.
    Logout {
        /// As reported.
        service: String,
        /// As reported.
        user: String,
        /// As reported.
        address: IpAddr,
    },
}

/// An answer; `corr` is that of the question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromAnvil {
    /// To [`ToAnvil::Connect`].
    Connected {
        /// Of the question.
        corr: u32,
        /// Connections of this client that are open.
        count: u32,
        /// Connections of this client in the present time unit.
        rate: u32,
    },
    /// To [`ToAnvil::Count`] and [`ToAnvil::Rate`].
    Rate {
        /// Of the question.
        corr: u32,
        /// Events of this client in the present time unit.
        rate: u32,
    },
    /// To [`ToAnvil::Sessions`].
    Sessions {
        /// Of the question.
        corr: u32,
        /// Sessions of this user from this address.
        count: u32,
    },
}
