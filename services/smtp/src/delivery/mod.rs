//! Deliveries as a state machine: jobs, the connections of each destination, and what becomes of every recipient. It knows
//! no socket and no clock: events and the time come in, [`Order`]s go out.
//!
//! A job waits at its destination until a connection can take it; a connection carries one message at a time and is kept
//! for the next. Invariants: every recipient of a job has exactly one outcome, and [`FromAgent::Finished`] follows the
//! last of them, unless [`Delivery::reset`] forgets the job; a connection that was taken from `sessions` is closed; at a
//! destination that is not forgotten a job waits only while a connection is there or being made.
//!
//! Content is read from the message's descriptor a piece at a time, and not while [`IN_FLIGHT`] bytes wait for the server.

mod outcomes;
#[cfg(test)]
mod outside;
mod pool;
mod route;
mod session;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use ipc_messages::delivery::{FromAgent, Job};
use ipc_messages::dns::ToResolver;
use proto_mime::downgrade::Downgrade;
use proto_smtp::client::{Client, Failure, Step};

use self::outcomes::Work;
use self::pool::{Place, Pool, Route};
use self::route::Asked;
use self::session::{Current, Session, State};
use crate::destination::Destination;
use crate::envelope;
use crate::log_line::Times;
use crate::settings::Settings;

/// Jobs that an agent holds at once: descriptors on the way between processes are limited (`RLIMIT_NOFILE`).
pub const WINDOW: usize = 200;
/// Connections to one destination.
const CONNECTIONS: usize = 20;
/// Bytes of content that may wait for a server to read them.
const IN_FLIGHT: usize = 128 * 1024;
/// Bytes of content read at once.
const PIECE: usize = 32 * 1024;
/// For how long a destination that refused one connection and has others is not asked for more, in microseconds.
const PAUSE: u64 = 1_000_000;

/// Names a session with a server, from the order to connect on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// Where the content of a message is read.
pub trait Content {
    /// As `pread`: bytes from `offset` on; 0 only at the end.
    ///
    /// # Errors
    /// What the system says.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
}

impl Content for std::fs::File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(self, buffer, offset)
    }
}

/// What is to be done, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Have the connector connect to this entry; [`Delivery::connected`] or [`Delivery::not_connected`] follows.
    ConnectUnix { session: SessionId, index: u16 },
    /// Connect to this address, likewise.
    ConnectInet { session: SessionId, address: SocketAddr },
    /// Begin TLS with the server of this name; [`Delivery::secured`] or [`Delivery::closed`] follows.
    StartTls { session: SessionId, name: String },
    /// Send these bytes; [`Delivery::drained`] when they have left.
    Send { session: SessionId, bytes: Vec<u8> },
    /// Call [`Delivery::timed_out`] after this time; `None`: never.
    Deadline { session: SessionId, after: Option<Duration> },
    /// Close when all bytes have left. The session is over.
    Close { session: SessionId },
    /// Close now. The session is over.
    Abort { session: SessionId },
    /// A line for the log.
    Log(String),
    /// A message for the queue manager.
    Tell(FromAgent),
    /// A question for the resolver; [`Delivery::answer`] follows.
    Ask(ToResolver),
}

/// The deliveries of one agent.
#[derive(Debug)]
pub struct Delivery<C> {
    settings: Settings,
    jobs: BTreeMap<u64, Work<C>>,
    pools: BTreeMap<Rc<str>, Pool>,
    sessions: BTreeMap<SessionId, Session>,
    last_session: u64,
    /// Questions at the resolver, by the number that pairs the answer.
    asked: BTreeMap<u32, Asked>,
    last_question: u32,
    last_lookup: u64,
    orders: VecDeque<Order>,
    /// Jobs with outcomes that the queue manager was not told of.
    touched: Vec<u64>,
    /// For pieces of content.
    buffer: Vec<u8>,
    draining: bool,
}

impl<C: Content> Delivery<C> {
    /// No job, no connection.
    pub fn new(settings: Settings) -> Delivery<C> {
        Delivery {
            settings,
            jobs: BTreeMap::new(),
            pools: BTreeMap::new(),
            sessions: BTreeMap::new(),
            last_session: 0,
            asked: BTreeMap::new(),
            last_question: 0,
            last_lookup: 0,
            orders: VecDeque::new(),
            touched: Vec::new(),
            buffer: vec![0; PIECE],
            draining: false,
        }
    }

    /// The next order.
    pub fn poll(&mut self) -> Option<Order> {
        self.orders.pop_front()
    }

    /// What an agent says first on a channel to the queue manager.
    pub fn ready(&self) -> FromAgent {
        let window = if self.draining { 0 } else { WINDOW as u32 };
        FromAgent::Ready { transport: self.settings.transport.clone(), window }
    }

    /// Jobs in hand.
    pub fn jobs(&self) -> usize {
        self.jobs.len()
    }

    /// Settings for what begins from now on. Sockets of the connector are numbered anew, so destinations are found anew, and
    /// so are servers.
    pub fn reload(&mut self, settings: Settings) {
        self.settings = settings;
        for pool in self.pools.values_mut() {
            if let Ok(destination) = Destination::of(&pool.nexthop, &self.settings) {
                pool.destination = destination;
            }
            if let Route::Known { until, .. } = &mut pool.route {
                *until = 0;
            }
        }
    }

    /// No more jobs are to come: connections end with what they do.
    pub fn drain(&mut self) {
        self.draining = true;
        self.orders.push_back(Order::Tell(self.ready()));
        let idle: Vec<SessionId> = self.pools.values_mut().flat_map(|pool| std::mem::take(&mut pool.idle)).collect();
        for id in idle {
            if let Some(session) = self.take(id) {
                self.quit(id, session);
            }
        }
    }

    /// The queue manager is gone and will hand its messages out again: the jobs are forgotten, their connections closed.
    pub fn reset(&mut self) {
        self.jobs.clear();
        self.touched.clear();
        for pool in self.pools.values_mut() {
            pool.waiting.clear();
        }
        let busy = self.sessions.iter().filter(|(_, session)| matches!(session.state, State::Busy(_)));
        for id in busy.map(|(id, _)| *id).collect::<Vec<_>>() {
            drop(self.take(id));
            self.orders.push_back(Order::Abort { session: id });
        }
        self.pools.retain(|_, pool| !pool.is_empty());
    }

    /// A message is to be delivered. `now` is in microseconds since 1970, here and below.
    ///
    /// # Panics
    /// If there are [`WINDOW`] jobs already, or one of this name.
    pub fn deliver(&mut self, job: Job, content: C, now: u64) {
        assert!(self.jobs.len() < WINDOW, "more jobs than the window");
        let (name, nexthop) = (job.job, Rc::<str>::from(job.nexthop.as_str()));
        let known = self.jobs.insert(name, Work::new(job, content, now));
        assert!(known.is_none(), "a second job {name}");
        if let Some(reason) = self.settings.unprotected {
            return self.fail_job(name, &outcomes::Verdict::deferred("4.7.5", reason.into()), now);
        }
        if !self.pools.contains_key(&nexthop) {
            match Destination::of(&nexthop, &self.settings) {
                Ok(destination) => drop(self.pools.insert(nexthop.clone(), Pool::new(nexthop.clone(), destination))),
                Err(refusal) => return self.fail_job(name, &outcomes::Verdict::of(refusal), now),
            }
        }
        if let Some(pool) = self.pools.get_mut(&nexthop) {
            pool.waiting.push_back(name);
        }
        self.schedule(&nexthop, now);
    }

    /// The connection is made.
    pub fn connected(&mut self, id: SessionId, now: u64) {
        let Some(mut session) = self.sessions.remove(&id) else { return };
        session.greet(&self.settings);
        self.pump(id, session, now);
    }

    /// The connection cannot be made; `reason` is the system's text.
    pub fn not_connected(&mut self, id: SessionId, reason: &str, now: u64) {
        let Some(session) = self.sessions.remove(&id) else { return };
        let reason = format!("connect to {}: {reason}", session.relay);
        if let Place::Host { .. } = session.place {
            self.orders.push_back(Order::Log(reason.clone()));
        }
        if let Some(pool) = self.pools.get_mut(&session.nexthop) {
            pool.pass_over(&session.place);
        }
        let Some(session) = self.connect_to_next(id, session) else { return };
        self.leave_pool(id, &session);
        self.refuse_pool(&session.nexthop, &outcomes::Verdict::deferred("4.4.1", reason), now);
    }

    /// TLS is up.
    pub fn secured(&mut self, id: SessionId, now: u64) {
        self.end(id, now, |client| client.tls_started());
    }

    /// Bytes from the server.
    pub fn received(&mut self, id: SessionId, mut bytes: &[u8], now: u64) {
        while !bytes.is_empty() {
            let Some(mut session) = self.sessions.remove(&id) else { return };
            let taken = session.client.as_mut().map_or(0, |client| client.input(bytes));
            if taken == 0 {
                // It talks on and on while nothing is asked.
                self.leave_pool(id, &session);
                self.orders.push_back(Order::Abort { session: id });
                let nexthop = session.nexthop.clone();
                return self.schedule(&nexthop, now);
            }
            bytes = &bytes[taken..];
            self.pump(id, session, now);
        }
    }

    /// All bytes have left.
    pub fn drained(&mut self, id: SessionId, now: u64) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.unsent = 0;
        if matches!(&session.state, State::Busy(current) if current.content.is_some())
            && let Some(session) = self.sessions.remove(&id)
        {
            self.pump(id, session, now);
        }
    }

    /// The server has closed the connection, or it broke: `reason` is the system's text.
    pub fn closed(&mut self, id: SessionId, reason: &str, now: u64) {
        match self.sessions.get(&id).map(|session| &session.state) {
            Some(State::Connecting) => self.not_connected(id, reason, now),
            _ => self.lost(id, now, |client| client.disconnected()),
        }
    }

    /// The deadline has passed.
    pub fn timed_out(&mut self, id: SessionId, now: u64) {
        match self.sessions.get(&id).map(|session| &session.state) {
            Some(State::Connecting) => {
                self.orders.push_back(Order::Abort { session: id });
                self.not_connected(id, "Connection timed out", now);
            }
            Some(State::Idle) => {
                if let Some(session) = self.take(id) {
                    self.quit(id, session);
                }
            }
            _ => self.lost(id, now, |client| client.timed_out()),
        }
    }

    /// All events of a turn are told: what is to be said to the queue manager is said now, one frame for a job.
    pub fn end_of_turn(&mut self) {
        for name in std::mem::take(&mut self.touched) {
            let Some(work) = self.jobs.get_mut(&name) else { continue };
            let finished = work.tell(|message| self.orders.push_back(Order::Tell(message)));
            if finished {
                self.jobs.remove(&name);
            }
        }
    }

    fn end(&mut self, id: SessionId, now: u64, how: impl FnOnce(&mut Client)) {
        let Some(mut session) = self.sessions.remove(&id) else { return };
        if let Some(client) = &mut session.client {
            how(client);
        }
        self.pump(id, session, now);
    }

    /// Takes a session out of its pool, to close it.
    fn take(&mut self, id: SessionId) -> Option<Session> {
        let session = self.sessions.remove(&id)?;
        self.leave_pool(id, &session);
        Some(session)
    }

    fn leave_pool(&mut self, id: SessionId, session: &Session) {
        if matches!(session.state, State::Quitting) {
            return;
        }
        let Some(pool) = self.pools.get_mut(&session.nexthop) else { return };
        pool.leave(id, matches!(session.state, State::Connecting | State::Greeting | State::Refused(_)));
        if pool.is_empty() {
            self.pools.remove(&session.nexthop);
        }
    }

    /// Ends a session politely; it has left its pool.
    fn quit(&mut self, id: SessionId, mut session: Session) {
        if let Some(client) = &mut session.client {
            client.quit();
            while let Some(action) = client.poll() {
                if let proto_smtp::client::Action::Send(bytes) = action {
                    self.orders.push_back(Order::Send { session: id, bytes });
                }
            }
        }
        if self.settings.wait_for_quit {
            let after = self.settings.time_limits.of(Step::Quit);
            self.orders.push_back(Order::Deadline { session: id, after });
            session.state = State::Quitting;
            self.sessions.insert(id, session);
        } else {
            self.orders.push_back(Order::Close { session: id });
        }
    }

    /// Gives waiting jobs of a destination to connections, and has connections made for the rest.
    fn schedule(&mut self, nexthop: &Rc<str>, now: u64) {
        loop {
            let Some(pool) = self.pools.get_mut(nexthop) else { return };
            if pool.waiting.is_empty() {
                return;
            }
            let Some(id) = pool.idle.pop() else { break };
            if let Some(session) = self.sessions.remove(&id) {
                self.next_message(id, session, now);
            }
        }
        while let Some(pool) = self.pools.get_mut(nexthop).filter(|pool| pool.wants_connection(now)) {
            let Some(place) = pool.place(now) else { return self.look(nexthop, now) };
            pool.sessions += 1;
            pool.connecting += 1;
            self.last_session += 1;
            let session = Session::new(nexthop.clone(), place, &self.settings.my_hostname);
            self.connect(SessionId(self.last_session), session);
        }
    }

    /// The job that has waited longest for a connection.
    fn first_waiting(&self, nexthop: &Rc<str>) -> Option<&Work<C>> {
        self.pools.get(nexthop)?.waiting.front().and_then(|name| self.jobs.get(name))
    }

    /// An open session takes the next job of its destination, or waits for one, or ends. It is in no list at this time.
    fn next_message(&mut self, id: SessionId, mut session: Session, now: u64) {
        session.state = State::Idle;
        loop {
            let Some(pool) = self.pools.get_mut(&session.nexthop) else { return self.quit(id, session) };
            if !session.is_reusable(&self.settings.reuse, now) {
                let nexthop = session.nexthop.clone();
                self.leave_pool(id, &session);
                self.quit(id, session);
                return self.schedule(&nexthop, now);
            }
            let Some(name) = pool.waiting.pop_front() else {
                if self.draining {
                    self.leave_pool(id, &session);
                    return self.quit(id, session);
                }
                pool.idle.push(id);
                self.orders.push_back(Order::Deadline { session: id, after: Some(self.settings.reuse.idle) });
                self.sessions.insert(id, session);
                return;
            };
            if self.begin(name, &mut session, now) {
                return self.pump(id, session, now);
            }
        }
    }

    /// Begins to deliver a job on an open session. `false` when that was not needed: the job is finished already.
    fn begin(&mut self, name: u64, session: &mut Session, now: u64) -> bool {
        let Some(work) = self.jobs.get(&name) else { return false };
        let Some(client) = &mut session.client else { return false };
        if let Some(Some(limit)) = client.capabilities().size
            && limit < work.job.size
        {
            let size = work.job.size;
            let reason = format!("message size {size} exceeds size limit {limit} of server {}", session.server);
            self.fail_job(name, &outcomes::Verdict::bounced("5.3.4", reason).at(session), now);
            return false;
        }
        let translated = match envelope::translate(&work.job, work.open()) {
            Ok(translated) => translated,
            Err(reason) => {
                self.fail_job(name, &outcomes::Verdict::bounced("5.1.7", reason), now);
                return false;
            }
        };
        let narrow = work.job.eight_bit && !client.capabilities().eight_bit_mime && self.settings.convert;
        let times = Times { handed: work.handed, connected: Some(now), done: now };
        for position in translated.bad {
            let failure = outcomes::Verdict::bounced("5.1.3", "bad address syntax".into());
            self.record(name, position, &failure, 0, Times { connected: None, ..times });
        }
        if translated.positions.is_empty() {
            self.finish(name, None);
            return false;
        }
        session.uses += 1;
        session.state = State::Busy(Current {
            job: name,
            positions: translated.positions,
            began: now,
            content: None,
            downgrade: narrow.then(Downgrade::default),
        });
        client.deliver(translated.envelope);
        true
    }

    /// A destination has refused a connection. While it has others its jobs wait for them.
    fn refuse_pool(&mut self, nexthop: &Rc<str>, failure: &outcomes::Verdict, now: u64) {
        let Some(pool) = self.pools.get_mut(nexthop) else { return };
        if pool.sessions > 0 {
            pool.retry_at = now + PAUSE;
            return;
        }
        let waiting = std::mem::take(&mut pool.waiting);
        self.pools.remove(nexthop);
        for name in waiting {
            self.fail_job(name, failure, now);
        }
    }

    /// All recipients of a job that have no outcome get this one, and the job ends. It has no connection.
    fn fail_job(&mut self, name: u64, failure: &outcomes::Verdict, now: u64) {
        let Some(work) = self.jobs.get(&name) else { return };
        let times = Times { handed: work.handed, connected: None, done: now };
        for position in work.open().collect::<Vec<_>>() {
            self.record(name, position, failure, 0, times);
        }
        self.finish(name, failure.fault());
    }
}

/// What the client machine says about a failure, as a verdict over recipients.
fn verdict_of(failure: Failure, session: &Session) -> outcomes::Verdict {
    let verdict = if failure.is_temporary() {
        outcomes::Verdict::deferred(failure.status.to_string(), failure.reason)
    } else {
        outcomes::Verdict::bounced(failure.status.to_string(), failure.reason)
    };
    outcomes::Verdict { reply: failure.reply, ..verdict.at(session) }
}
