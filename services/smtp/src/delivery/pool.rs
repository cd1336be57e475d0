//! One destination: its connections, and the jobs that wait for one.

use std::collections::VecDeque;
use std::rc::Rc;

use super::{CONNECTIONS, SessionId};
use crate::destination::Destination;

/// A destination with jobs or connections.
#[derive(Debug)]
pub(super) struct Pool {
    pub nexthop: Rc<str>,
    pub destination: Destination,
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

impl Pool {
    pub fn new(nexthop: Rc<str>, destination: Destination) -> Pool {
        Pool {
            nexthop,
            destination,
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

    /// A connection is no more.
    pub fn leave(&mut self, id: SessionId, connecting: bool) {
        self.sessions -= 1;
        self.connecting -= usize::from(connecting);
        self.idle.retain(|&idle| idle != id);
    }
}
