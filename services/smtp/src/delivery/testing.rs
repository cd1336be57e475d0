//! What tests of this crate share: settings, jobs, and a scripted world around a [`Delivery`].

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use ipc_config::diagnostic::Diagnostics;
use ipc_config::postfix::main_cf::MainCf;
use ipc_config::postfix::system::ThisHost;
use ipc_config::section::Section;
use ipc_messages::delivery::{Job, Outcome, Target};
use ipc_messages::dns::Source;
use proto_smtp::client::Config;

use super::*;
use crate::settings::{Agent, Outbound, Preference, Reuse, TimeLimits};

pub const CONTENT: &[u8] = b"A: b\n\n.dot\nx";

impl Content for Vec<u8> {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = self.get(offset as usize..).unwrap_or_default();
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }
}

/// The settings of a transport whose `main.cf` has these lines beside the host's name.
pub fn configured(agent: &str, text: &str) -> Settings {
    let mut found = Diagnostics::new();
    let text = format!("myhostname = mail.example.jp\ncompatibility_level = 3.6\n{text}\n");
    let main = MainCf::parse(&text, "main.cf", Arc::new(ThisHost), &mut found);
    let mut section = Section::of_main_cf(&main, "smtp", &mut found);
    assert!(!found.is_fatal(), "{found:?}");
    for (name, value) in [("agent", agent), ("service_name", agent), ("own_addresses", "192.0.2.1")] {
        section.transport.insert(name, value);
    }
    section.foreign = vec!["private/dovecot-lmtp".into()];
    Settings::new(&section)
}

pub fn settings() -> Settings {
    let time_limits = TimeLimits {
        connect: Duration::ZERO,
        hello: Duration::from_secs(300),
        starttls: Duration::from_secs(300),
        mail: Duration::from_secs(301),
        rcpt: Duration::from_secs(302),
        data_init: Duration::from_secs(120),
        data_xfer: Duration::from_secs(180),
        data_done: Duration::from_secs(600),
        rset: Duration::from_secs(20),
        quit: Duration::from_secs(303),
    };
    let reuse = Reuse { allowed: true, idle: Duration::from_secs(2), count: None, age: Duration::from_secs(300) };
    Settings {
        transport: "lmtp".into(),
        agent: Agent::Lmtp,
        my_hostname: "mail.example.jp".into(),
        port: "24".into(),
        sockets: vec!["private/first".into(), "private/dovecot-lmtp".into()],
        delay_digits: 2,
        quote_addresses: true,
        soft_bounce: false,
        session: Config::new(true, "mail.example.jp", ""),
        convert: true,
        wait_for_quit: false,
        unprotected: None,
        tls_patience: 0,
        reuse,
        time_limits,
        outbound: outbound(false),
    }
}

fn outbound(smtp: bool) -> Outbound {
    Outbound {
        ipv4: true,
        ipv6: !smtp,
        preference: Preference::Any,
        balance: true,
        randomize: false,
        address_limit: Some(5),
        session_limit: Some(2),
        ignore_mx_error: false,
        defer_if_no_mx_address: false,
        source: Source::Dns,
        own_addresses: vec!["192.0.2.1".parse().unwrap()],
        loop_detection: smtp,
    }
}

/// Settings of the transport `smtp`, with IPv4 alone.
pub fn outside() -> Settings {
    Settings {
        transport: "smtp".into(),
        agent: Agent::Smtp,
        port: "smtp".into(),
        session: Config::new(false, "mail.example.jp", ""),
        outbound: outbound(true),
        ..settings()
    }
}

/// A job that arrived 60 ms before it became active.
pub fn job(name: u64, recipients: &[&str]) -> Job {
    let target = |(index, address): (usize, &&str)| Target {
        index: index as u32 + 10,
        address: address.to_string(),
        original: None,
        dsn_orcpt: None,
        dsn_notify: 0,
    };
    Job {
        job: name,
        queue_id: "4F2A".into(),
        transport: "lmtp".into(),
        nexthop: "unix:private/dovecot-lmtp".into(),
        sender: "x@example.com".into(),
        targets: recipients.iter().enumerate().map(target).collect(),
        size: CONTENT.len() as u64,
        offset: 0,
        arrived: 1_000_000,
        intake: 60_000,
        active: 1_060_000,
        eight_bit: false,
        smtputf8: false,
        dsn_envid: None,
        dsn_ret: 0,
    }
}

/// The world around a delivery: keeps what it was ordered to do.
pub struct World {
    pub delivery: Delivery<Vec<u8>>,
    pub now: u64,
    pub log: Vec<String>,
    pub outcomes: Vec<(u64, Outcome)>,
    pub finished: Vec<(u64, Option<String>)>,
    /// Connections that were asked for and not yet made or refused.
    pub connects: Vec<SessionId>,
    /// What was sent to each server and not yet looked at.
    pub sent: BTreeMap<SessionId, Vec<u8>>,
    pub deadlines: BTreeMap<SessionId, Option<Duration>>,
    pub closed: Vec<SessionId>,
    pub aborted: Vec<SessionId>,
    /// Sessions that began TLS.
    pub tls: Vec<SessionId>,
    /// Addresses that connections were asked to, in order.
    pub addresses: Vec<SocketAddr>,
    /// What the resolver was asked and has not answered.
    pub questions: VecDeque<ToResolver>,
}

impl World {
    pub fn new(settings: Settings) -> World {
        World {
            delivery: Delivery::new(settings),
            now: 1_070_000,
            log: Vec::new(),
            outcomes: Vec::new(),
            finished: Vec::new(),
            connects: Vec::new(),
            sent: BTreeMap::new(),
            deadlines: BTreeMap::new(),
            closed: Vec::new(),
            aborted: Vec::new(),
            tls: Vec::new(),
            addresses: Vec::new(),
            questions: VecDeque::new(),
        }
    }

    pub fn job(&mut self, job: Job) {
        self.delivery.deliver(job, CONTENT.to_vec(), self.now);
        self.turn();
    }

    /// Ends the turn and does what was ordered.
    pub fn turn(&mut self) {
        self.delivery.end_of_turn();
        while let Some(order) = self.delivery.poll() {
            match order {
                Order::ConnectUnix { session, .. } => self.connects.push(session),
                Order::ConnectInet { session, address } => {
                    self.connects.push(session);
                    self.addresses.push(address);
                }
                Order::Ask(question) => self.questions.push_back(question),
                Order::StartTls { session, .. } => self.tls.push(session),
                Order::Send { session, bytes } => self.sent.entry(session).or_default().extend(bytes),
                Order::Deadline { session, after } => drop(self.deadlines.insert(session, after)),
                Order::Close { session } => self.closed.push(session),
                Order::Abort { session } => self.aborted.push(session),
                Order::Log(line) => self.log.push(line),
                Order::Tell(FromAgent::Outcomes { job, outcomes }) => {
                    self.outcomes.extend(outcomes.into_iter().map(|outcome| (job, outcome)));
                }
                Order::Tell(FromAgent::Finished { job, fault }) => self.finished.push((job, fault)),
                Order::Tell(FromAgent::Ready { .. }) => {}
            }
        }
    }

    /// The oldest connection that was asked for is made.
    pub fn connect(&mut self) -> SessionId {
        let session = self.connects.remove(0);
        self.delivery.connected(session, self.now);
        self.turn();
        session
    }

    pub fn refuse(&mut self, reason: &str) {
        let session = self.connects.remove(0);
        self.delivery.not_connected(session, reason, self.now);
        self.turn();
    }

    /// What was sent to the server since the last look.
    pub fn heard(&mut self, session: SessionId) -> String {
        let bytes = self.sent.remove(&session).unwrap_or_default();
        self.delivery.drained(session, self.now);
        self.turn();
        String::from_utf8(bytes).unwrap()
    }

    /// The server says `text`, in pieces of `step` bytes.
    pub fn say(&mut self, session: SessionId, text: &str, step: usize) {
        for piece in text.as_bytes().chunks(step) {
            self.delivery.received(session, piece, self.now);
            self.turn();
        }
    }

    /// Greeting and LHLO of a session.
    pub fn greet(&mut self, session: SessionId) {
        self.say(session, "220 ready\r\n", 99);
        assert_eq!(self.heard(session), "LHLO mail.example.jp\r\n");
        self.say(session, "250-mail\r\n250-PIPELINING\r\n250-SIZE\r\n250-8BITMIME\r\n250 DSN\r\n", 99);
    }

    /// The last part of the last line of the log, from `relay=` on.
    pub fn last_line(&self) -> &str {
        let line = self.log.last().expect("a line in the log");
        &line[line.find("relay=").expect("relay=")..]
    }
}
