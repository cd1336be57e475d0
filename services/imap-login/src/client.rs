//! One connection that is not logged in.

use std::net::SocketAddr;

use ipc_messages::auth::Origin;
use proto_imap::login::Login;
use worker::Secured;

use crate::history::History;
use crate::line::Facts;

/// How a connection is protected.
#[derive(Debug)]
pub enum Protection {
    /// By nothing, or by where it comes from.
    Clear,
    /// The handshake is going on.
    Handshake,
    /// By TLS.
    Tls(Secured),
}

/// A connection.
pub struct Client {
    /// The client.
    pub remote: SocketAddr,
    /// The address it connected to.
    pub local: SocketAddr,
    /// The listener's name.
    pub listener: String,
    /// Its name in the log.
    pub session: String,
    /// Nobody can listen, even without TLS.
    pub trusted: bool,
    /// TLS.
    pub protection: Protection,
    /// The dialogue, once it has begun.
    pub login: Option<Login>,
    /// What happened.
    pub history: History,
    /// The exchange that auth works on.
    pub exchange: Option<u32>,
    /// Whether it was told to wait for auth.
    pub told_to_wait: bool,
}

impl Client {
    /// Whether the dialogue can begin as far as TLS is concerned.
    pub fn is_ready(&self) -> bool {
        !matches!(self.protection, Protection::Handshake)
    }

    /// For a log line; `error` is what went wrong in TLS.
    pub fn facts(&self, error: Option<&str>) -> Facts {
        let (state, security) = match &self.protection {
            Protection::Clear if self.trusted => ("secured", String::new()),
            Protection::Clear => ("", String::new()),
            Protection::Handshake => ("TLS handshaking", String::new()),
            Protection::Tls(how) => {
                let Secured { protocol, cipher, bits, .. } = how;
                ("TLS", format!("{protocol} with cipher {cipher} ({bits}/{bits} bits)"))
            }
        };
        let error = error.filter(|_| !matches!(self.protection, Protection::Clear));
        Facts {
            user: self.history.user.clone(),
            mechanism: self.history.mechanism.clone(),
            remote: self.remote,
            local: self.local,
            secured: error.map_or_else(|| state.to_owned(), |error| format!("{state}: {error}")),
            security,
            session: self.session.clone(),
            mail_pid: None,
            listener: self.listener.clone(),
        }
    }

    /// For auth.
    pub fn origin(&self) -> Origin {
        Origin {
            service: "imap".into(),
            session: self.session.clone(),
            remote: Some(self.remote),
            local: Some(self.local),
            secured: match self.protection {
                Protection::Tls(_) => Some("TLS".into()),
                _ => self.trusted.then(String::new),
            },
        }
    }
}
