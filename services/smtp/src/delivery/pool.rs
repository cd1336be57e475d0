//! One destination: the way to it, its connections, and the jobs that wait for one.

use std::collections::VecDeque;
use std::rc::Rc;

use super::{CONNECTIONS, SessionId};
use crate::destination::Destination;
use crate::servers::{Lookup, Server};

/// A destination with jobs or connections.
#[derive(Debug)]
pub(super) struct Pool {
    pub nexthop: Rc<str>,
    pub destination: Destination,
    pub route: Route,
    /// Jobs that wait for a connection.
    pub waiting: VecDeque<u64>,
    /// Connections, those that are being made included.
    pub sessions: usize,
    /// Connections that have not yet been able to take a message.
    pub connecting: usize,
    /// Connections that wait for a message; the one used last is taken first, so that the others may end.
    pub idle: Vec<SessionId>,
    /// No connection is asked for before this time, in microseconds since 1970, while there is another.
    pub retry_at: u64,
}

/// What is known of the servers of a destination on the Internet.
#[derive(Debug)]
pub(super) enum Route {
    Unknown,
    /// They are looked for; `number` tells the answers to an earlier search apart.
    Sought {
        number: u64,
        lookup: Lookup,
    },
    /// These are they, until this time. Those before `first` could not be reached.
    Known {
        servers: Rc<[Server]>,
        first: usize,
        until: u64,
    },
}

/// Where a connection leads.
#[derive(Debug, Clone)]
pub(super) enum Place {
    /// A unix socket: the connector's index, and its path.
    Socket { index: u16, path: String },
    /// This one of the servers; those behind it are tried next.
    Host { servers: Rc<[Server]>, at: usize },
}

impl Place {
    /// The server that is tried next when this one is no good.
    pub fn next(&self) -> Option<Place> {
        match self {
            Place::Host { servers, at } if at + 1 < servers.len() => {
                Some(Place::Host { servers: servers.clone(), at: at + 1 })
            }
            _ => None,
        }
    }

    /// The server with its address, as texts have it.
    pub fn server(&self, my_hostname: &str) -> String {
        match self {
            Place::Socket { path, .. } => format!("{my_hostname}[{path}]"),
            Place::Host { servers, at } => servers[*at].to_string(),
        }
    }

    /// The same with the port, as `relay=` has it.
    pub fn relay(&self, my_hostname: &str) -> String {
        match self {
            Place::Socket { .. } => self.server(my_hostname),
            Place::Host { servers, at } => format!("{}:{}", servers[*at], servers[*at].address.port()),
        }
    }

    /// By which TLS keeps sessions apart; nothing is verified.
    pub fn tls_name(&self) -> String {
        match self {
            Place::Socket { .. } => "localhost".into(),
            Place::Host { servers, at } => servers[*at].address.ip().to_string(),
        }
    }

    /// The server's host name, for `Remote-MTA`.
    pub fn host<'a>(&'a self, my_hostname: &'a str) -> &'a str {
        match self {
            Place::Socket { .. } => my_hostname,
            Place::Host { servers, at } => &servers[*at].host,
        }
    }
}

impl Pool {
    pub fn new(nexthop: Rc<str>, destination: Destination) -> Pool {
        Pool {
            nexthop,
            destination,
            route: Route::Unknown,
            waiting: VecDeque::new(),
            sessions: 0,
            connecting: 0,
            idle: Vec::new(),
            retry_at: 0,
        }
    }

    /// Nothing is known of it that is worth keeping.
    pub fn is_empty(&self) -> bool {
        self.sessions == 0 && self.waiting.is_empty()
    }

    /// One connection is made for each job that waits, up to the limit.
    pub fn wants_connection(&self, now: u64) -> bool {
        self.connecting < self.waiting.len()
            && self.sessions < CONNECTIONS
            && (self.sessions == 0 || now >= self.retry_at)
    }

    /// Where the next connection leads; `None` while the servers are not known.
    pub fn place(&self, now: u64) -> Option<Place> {
        match (&self.destination, &self.route) {
            (Destination::Unix { index, path }, _) => Some(Place::Socket { index: *index, path: path.clone() }),
            (Destination::Inet(_), Route::Known { servers, first, until }) if now < *until => {
                Some(Place::Host { servers: servers.clone(), at: *first })
            }
            (Destination::Inet(_), _) => None,
        }
    }

    /// This server cannot be reached: the next connection begins with the one behind it.
    pub fn pass_over(&mut self, place: &Place) {
        if let (Route::Known { servers, first, .. }, Place::Host { servers: tried, at }) = (&mut self.route, place)
            && Rc::ptr_eq(servers, tried)
            && at + 1 < servers.len()
        {
            *first = (*first).max(at + 1);
        }
    }

    /// A connection is no more.
    pub fn leave(&mut self, id: SessionId, connecting: bool) {
        self.sessions -= 1;
        self.connecting -= usize::from(connecting);
        self.idle.retain(|&idle| idle != id);
    }
}
