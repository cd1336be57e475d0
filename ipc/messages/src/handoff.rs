//! From a login process to a mailbox template, over a `SOCK_SEQPACKET` pair: the client's descriptor travels with one
//! packet. The template redeems the ticket at `auth`; what the login process says beside it is only about the connection.
//!
//! Two descriptors come with a packet: the client (or, under TLS, the login process's socket pair in its place), and one
//! end of a stream socket on which the process that takes the client over writes its process id, [`PID_LEN`] bytes, little
//! end first. The login process logs it (`mpid=`). An end without a word means that the session did not come to be.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// The largest packet.
pub const MAX_HANDOFF: usize = 4096;

/// Bytes of the process id that is reported back.
pub const PID_LEN: usize = 4;

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
