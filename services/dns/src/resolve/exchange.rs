//! One question on its way: which server is asked next, how, and when the answer is given up.
//!
//! Each server is asked once, then each of them again (`options attempts` of resolv.conf). One that does not answer in
//! time is passed; one that answers with a failure is passed at once. An answer that does not fit a datagram is asked for
//! by TCP at the same server; one that did not understand EDNS is asked without it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::message::{self, Question, Reply, Told};
use crate::resolv_conf::ResolvConf;

/// Servers that did not answer are asked last for so long.
const PENALTY: Duration = Duration::from_secs(30);
/// Messages that are not the answer, after which a server is passed: an attacker who has found the port does not get to try
/// all identifiers.
pub const MAX_STRAYS: usize = 32;

/// A message for a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// Where to.
    pub server: SocketAddr,
    /// By TCP, which needs the length in front (RFC 1035 section 4.2.2).
    pub tcp: bool,
    /// The message.
    pub bytes: Vec<u8>,
}

/// What follows from an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Nothing: the answer is still to come.
    Wait,
    /// Ask (again).
    Send(Packet),
    /// It is over.
    Done(Result<Told, String>),
}

/// One question at several servers.
#[derive(Debug)]
pub struct Exchange {
    question: Question,
    servers: Vec<SocketAddr>,
    timeout: Duration,
    /// How often a server was passed, and how often one may be.
    passed: usize,
    limit: usize,
    id: u16,
    strays: usize,
    tcp: bool,
    edns: bool,
    deadline: Instant,
}

impl Exchange {
    /// Asks `servers`, of which there is at least one, in their order; returns the first packet.
    pub fn start(
        question: Question,
        servers: Vec<SocketAddr>,
        conf: &ResolvConf,
        id: u16,
        now: Instant,
    ) -> (Exchange, Packet) {
        let limit = servers.len() * conf.attempts as usize;
        let (timeout, tcp) = (conf.timeout, conf.tcp);
        let mut exchange =
            Exchange { question, servers, timeout, passed: 0, limit, id, strays: 0, tcp, edns: true, deadline: now };
        let packet = exchange.packet(id, now);
        (exchange, packet)
    }

    /// When [`Exchange::expired`] is to be called.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The server that is being asked.
    pub fn server(&self) -> SocketAddr {
        self.servers[self.passed % self.servers.len()]
    }

    /// A message has come from the server. `id` is for the question that may follow.
    pub fn received(&mut self, bytes: &[u8], id: u16, now: Instant) -> Next {
        match message::read(bytes, &self.question, self.id) {
            Reply::Stray if self.strays < MAX_STRAYS => {
                self.strays += 1;
                Next::Wait
            }
            Reply::Stray => self.pass("too many stray messages".into(), id, now),
            Reply::Told(told) => Next::Done(Ok(told)),
            Reply::Truncated if !self.tcp => {
                self.tcp = true;
                Next::Send(self.packet(id, now))
            }
            Reply::Truncated => self.pass("truncated answer by TCP".into(), id, now),
            Reply::Misunderstood if self.edns => {
                self.edns = false;
                Next::Send(self.packet(id, now))
            }
            Reply::Misunderstood => self.pass("the server does not understand".into(), id, now),
            Reply::Failed(why) => self.pass(why, id, now),
        }
    }

    /// The server has not answered in time.
    pub fn expired(&mut self, id: u16, now: Instant) -> Next {
        self.pass("timeout".into(), id, now)
    }

    /// The server could not be reached.
    pub fn failed(&mut self, why: String, id: u16, now: Instant) -> Next {
        self.pass(why, id, now)
    }

    fn pass(&mut self, why: String, id: u16, now: Instant) -> Next {
        let server = self.server().ip();
        self.passed += 1;
        if self.passed >= self.limit {
            return Next::Done(Err(format!("{server}: {why}")));
        }
        self.edns = true;
        Next::Send(self.packet(id, now))
    }

    fn packet(&mut self, id: u16, now: Instant) -> Packet {
        (self.id, self.strays) = (id, 0);
        self.deadline = now + self.timeout;
        Packet { server: self.server(), tcp: self.tcp, bytes: message::query(&self.question, id, self.edns) }
    }
}

/// The configured servers, and which of them have not answered of late.
#[derive(Debug)]
pub struct Servers {
    conf: ResolvConf,
    silent: Vec<(SocketAddr, Instant)>,
    turn: usize,
}

impl Servers {
    /// Servers that are all thought to be well.
    pub fn new(conf: ResolvConf) -> Servers {
        Servers { conf, silent: Vec::new(), turn: 0 }
    }

    /// How they are asked.
    pub fn conf(&self) -> &ResolvConf {
        &self.conf
    }

    /// The order for the next question.
    pub fn order(&mut self, now: Instant) -> Vec<SocketAddr> {
        let mut order = self.conf.servers.clone();
        if self.conf.rotate {
            let by = self.turn % order.len();
            order.rotate_left(by);
            self.turn = self.turn.wrapping_add(1);
        }
        self.silent.retain(|(_, until)| *until > now);
        order.sort_by_key(|server| self.silent.iter().any(|(silent, _)| silent == server));
        order
    }

    /// The server was silent, or unreachable.
    pub fn penalize(&mut self, server: SocketAddr, now: Instant) {
        self.silent.retain(|(silent, _)| *silent != server);
        self.silent.push((server, now + PENALTY));
    }
}
