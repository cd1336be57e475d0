//! To `auth`, from the login processes, the mailbox templates, `lmtp` and `deliver`.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// What a login is about: who connects to which service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// `imap`, `pop3`, `lmtp`, `smtp`.
    pub service: String,
    /// The session name in the log.
    pub session: String,
    /// The client.
    pub remote: Option<SocketAddr>,
    /// The address it connected to.
    pub local: Option<SocketAddr>,
    /// `Some("TLS")`, `Some("")` for a trusted plain connection (`secured`), `None` otherwise.
    pub secured: Option<String>,
}

/// A question to `auth`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToAuth {
    /// Begin a SASL exchange.
    Start {
        /// Names the exchange on this channel.
        corr: u32,
        /// `PLAIN`, `LOGIN`.
        mechanism: String,
        /// The initial response, decoded.
        initial: Option<Vec<u8>>,
        /// Who asks for what.
        origin: Origin,
    },
    /// The client's next answer, decoded.
    Continue {
        /// Of [`ToAuth::Start`].
        corr: u32,
        /// The answer.
        data: Vec<u8>,
    },
    /// The client gave up.
    Cancel {
        /// Of [`ToAuth::Start`].
        corr: u32,
    },
    /// Exchange a ticket for its user. Only a template may ask.
    Redeem {
        /// Pairs the answer.
        corr: u32,
        /// The ticket.
        ticket: [u8; 16],
        /// As in the hand-off; must be the one the ticket was given for.
        session: String,
    },
    /// userdb lookup by name, for deliveries.
    User {
        /// Pairs the answer.
        corr: u32,
        /// The name as the recipient address gives it.
        user: String,
        /// Who asks for what.
        origin: Origin,
        /// Whether the asker will hand over to the process that acts for this account, and needs its inbox.
        inbox: bool,
    },
}

/// How a login failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Failure {
    /// Wrong name or password.
    Credentials,
    /// Internal failure; try again.
    Temporary,
    /// The account is disabled.
    Disabled,
    /// The password is right, but the database does not let this user log in (`nologin`).
    Barred,
    /// The password has expired.
    Expired,
    /// Logged in, but not allowed to act for the name asked for.
    Authorization,
    /// The mechanism is not offered.
    Mechanism,
    /// What the client sent is not what the mechanism has.
    Malformed,
    /// No passdb is configured, or none of the configured ones can be used.
    Broken,
}

/// An account as the userdb has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The name after `auth_username_format` and what the databases changed.
    pub name: String,
    /// uid, or why there is none (`User is missing UID (see mail_uid setting)`).
    pub uid: Option<u32>,
    /// gid.
    pub gid: Option<u32>,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// The home folder, variables expanded.
    pub home: Option<String>,
    /// `mail_location` for this user when the userdb has one, variables expanded but `~`.
    pub mail: Option<String>,
    /// All other fields, in order.
    pub extra: Vec<(String, String)>,
}

/// An answer of `auth`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromAuth {
    /// First on each channel, and again when it has changed: what can be offered. Empty when there is no usable passdb.
    Mechanisms {
        /// Names in the configured order.
        names: Vec<String>,
        /// Whether auth can work at all; if not, logins end with `Auth process broken`.
        broken: bool,
    },
    /// The server's next challenge, not encoded.
    Challenge {
        /// Of the exchange.
        corr: u32,
        /// The challenge.
        data: Vec<u8>,
    },
    /// The exchange failed.
    Failed {
        /// Of the exchange.
        corr: u32,
        /// How.
        failure: Failure,
        /// The name that was tried, for the log.
        user: Option<String>,
        /// Text for the client from the database (`reason=`).
        reason: Option<String>,
    },
    /// The password is right, but no process can be started for the account. The login ends with Dovecot's `Internal error
    /// occurred`.
    Refused {
        /// Of the exchange.
        corr: u32,
        /// The name.
        user: String,
        /// Why, for the log of the session: `Couldn't drop privileges: User is missing UID (see mail_uid setting)`.
        error: String,
    },
    /// The exchange succeeded. A descriptor of the template's inbox comes with this frame, each time.
    Succeeded {
        /// Of the exchange.
        corr: u32,
        /// The name.
        user: String,
        /// For the hand-off.
        ticket: [u8; 16],
        /// Number of the account's process.
        template: u32,
    },
    /// To [`ToAuth::Redeem`].
    Redeemed {
        /// Of the question.
        corr: u32,
        /// The user, or none when the ticket is not good (any more).
        user: Option<User>,
    },
    /// To [`ToAuth::User`]. With `inbox` the inbox of the process that acts for the account comes with this frame.
    Found {
        /// Of the question.
        corr: u32,
        /// The user; `Ok(None)` when there is none; `Err` is a temporary failure with text for the log.
        user: Result<Option<User>, String>,
        /// Number of the account's process, for caching its inbox.
        template: u32,
    },
}
