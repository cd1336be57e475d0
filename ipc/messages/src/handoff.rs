//! From a login process to a mailbox template, over a `SOCK_SEQPACKET` pair: the client's descriptor travels with one
//! packet. The template redeems the ticket at `auth`; what the login process says beside it is only about the connection.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// The largest packet.
pub const MAX_HANDOFF: usize = 4096;

/// A client that has logged in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handoff {
    /// What `auth` gave for this login: 16 random bytes, good once.
    pub ticket: [u8; 16],
    /// The session name in the log, e.g. `0Zq6cQFYzLmsHC3U`.
    pub session: String,
    /// The tag of the command that logged in, for the tagged reply.
    pub tag: Vec<u8>,
    /// The client's address.
    pub remote: Option<SocketAddr>,
    /// The address it connected to.
    pub local: Option<SocketAddr>,
    /// Whether the connection is under TLS (the login process keeps the keys and passes bytes on).
    pub tls: bool,
    /// Bytes that came after the login command.
    pub input: Vec<u8>,
}
