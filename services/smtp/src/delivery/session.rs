//! One connection to a server, and the message that it carries.

use std::io;
use std::rc::Rc;

use proto_mime::downgrade::Downgrade;
use proto_smtp::client::{Action, Client, Config, Outcome, Tls};

use super::outcomes::Verdict;
use super::pool::Place;
use super::{Content, Delivery, IN_FLIGHT, Order, SessionId, verdict_of};
use crate::log_line::Times;
use crate::settings::{Reuse, Settings};

/// A session, from the order to connect on.
#[derive(Debug)]
pub(super) struct Session {
    pub nexthop: Rc<str>,
    /// Where it goes.
    pub place: Place,
    /// TLS is left out: the server has failed at it.
    pub clear: bool,
    /// Servers that were talked to and did not open the session.
    pub refusals: usize,
    /// The server with its address, for texts.
    pub server: String,
    /// The server as `relay=` has it.
    pub relay: String,
    /// The server's host name.
    pub host: String,
    /// Once the connection is made.
    pub client: Option<Client>,
    pub state: State,
    /// Messages that it took, the current one included.
    pub uses: u64,
    /// When it could take the first message, in microseconds since 1970.
    since: u64,
    /// Bytes that were sent since all had left.
    pub unsent: usize,
}

#[derive(Debug)]
pub(super) enum State {
    /// The connection is being made.
    Connecting,
    /// Greeting and LHLO.
    Greeting,
    /// Open, without a message.
    Idle,
    /// Delivers a message.
    Busy(Current),
    /// The server did not open the session; it closes, and the destination is told why.
    Refused(Verdict),
    /// The reply to QUIT is waited for. It belongs to no destination any more.
    Quitting,
}

/// The message that a session carries.
#[derive(Debug)]
pub(super) struct Current {
    pub job: u64,
    /// For each recipient of the envelope, its position in the job.
    pub positions: Vec<usize>,
    /// When the session took it.
    pub began: u64,
    /// While content is being sent: how much was read.
    pub content: Option<u64>,
    /// The server takes 7 bits only, and the content has more.
    pub downgrade: Option<Downgrade>,
}

impl Current {
    /// Gives what was read to the client machine, which is handed nothing after the `last` piece.
    fn pass_on(&mut self, client: &mut Client, text: &[u8], last: bool) {
        match &mut self.downgrade {
            None => client.content(text),
            Some(downgrade) => {
                let mut converted = Vec::with_capacity(text.len());
                downgrade.push(text, &mut converted);
                if last {
                    std::mem::take(downgrade).finish(&mut converted);
                }
                client.content(&converted);
            }
        }
        if last {
            client.end_of_content();
        }
    }
}

impl Session {
    pub fn new(nexthop: Rc<str>, place: Place, my_hostname: &str) -> Session {
        Session {
            nexthop,
            server: place.server(my_hostname),
            relay: place.relay(my_hostname),
            host: place.host(my_hostname).into(),
            place,
            clear: false,
            refusals: 0,
            client: None,
            state: State::Connecting,
            uses: 0,
            since: 0,
            unsent: 0,
        }
    }

    /// Takes another server in view.
    pub fn go_to(&mut self, place: Place, my_hostname: &str) {
        *self = Session { refusals: self.refusals, ..Session::new(self.nexthop.clone(), place, my_hostname) };
    }

    /// The connection is made: waits for the greeting.
    pub fn greet(&mut self, settings: &Settings) {
        let tls = if self.clear { Tls::None } else { settings.session.tls };
        self.client = Some(Client::new(Config { server: self.server.clone(), tls, ..settings.session.clone() }));
        self.state = State::Greeting;
    }

    /// Whether another message may begin on it.
    pub fn is_reusable(&self, reuse: &Reuse, now: u64) -> bool {
        self.uses == 0
            || reuse.allowed
                && reuse.count.is_none_or(|count| self.uses < count)
                && now.saturating_sub(self.since) < reuse.age.as_micros() as u64
    }
}

/// What is next for a session.
enum Next {
    /// The client machine's next action.
    Poll,
    /// It is open for a message.
    Message,
    /// It can take no more: ends politely.
    Quit,
    /// It was closed.
    Gone,
    /// It is to be closed in the middle.
    Abort,
}

impl<C: Content> Delivery<C> {
    /// Does what the client machine asks for until it waits. The session is not in the list meanwhile.
    pub(super) fn pump(&mut self, id: SessionId, mut session: Session, now: u64) {
        loop {
            let next = match session.client.as_mut().and_then(Client::poll) {
                Some(action) => self.act(id, &mut session, action, now),
                None => match self.feed(&mut session, now) {
                    Some(next) => next,
                    None => break,
                },
            };
            match next {
                Next::Poll => continue,
                Next::Message => return self.next_message(id, session, now),
                Next::Quit | Next::Gone | Next::Abort => {}
            }
            let Some(session) = self.refused_by_server(id, session) else { return };
            let nexthop = session.nexthop.clone();
            self.leave_pool(id, &session);
            match next {
                Next::Quit => self.quit(id, session),
                Next::Abort => self.orders.push_back(Order::Abort { session: id }),
                _ => {
                    if let State::Refused(verdict) = &session.state {
                        self.refuse_pool(&nexthop, verdict, now);
                    }
                }
            }
            return self.schedule(&nexthop, now);
        }
        if !matches!(session.state, State::Idle) {
            let step = session.client.as_ref().and_then(Client::step);
            let after = step.and_then(|step| self.settings.time_limits.of(step));
            self.orders.push_back(Order::Deadline { session: id, after });
        }
        self.sessions.insert(id, session);
    }

    fn act(&mut self, id: SessionId, session: &mut Session, action: Action, now: u64) -> Next {
        match action {
            Action::Send(bytes) => {
                session.unsent += bytes.len();
                self.orders.push_back(Order::Send { session: id, bytes });
            }
            Action::Ready => {
                session.since = now;
                if let Some(pool) = self.pools.get_mut(&session.nexthop) {
                    pool.connecting -= 1;
                }
                return Next::Message;
            }
            Action::NeedContent => {
                if let State::Busy(current) = &mut session.state {
                    current.content = Some(0);
                }
            }
            Action::Outcome(Outcome { recipient, result }) => {
                let verdict = match result {
                    Ok(reply) => Verdict::sent(reply.status.to_string(), reply.text).at(session),
                    Err(failure) => verdict_of(failure, session),
                };
                self.outcome(session, recipient, &verdict, now);
            }
            Action::Done { reusable } => {
                if let State::Busy(current) = &session.state {
                    self.finish(current.job, None);
                }
                session.state = State::Idle;
                return if reusable { Next::Message } else { Next::Quit };
            }
            Action::Failed(failure) => self.failed(session, verdict_of(failure, session), now),
            Action::Stale => {
                if let State::Busy(current) = std::mem::replace(&mut session.state, State::Idle)
                    && let Some(pool) = self.pools.get_mut(&session.nexthop)
                {
                    pool.waiting.push_front(current.job);
                }
            }
            Action::Close => {
                self.orders.push_back(Order::Close { session: id });
                return Next::Gone;
            }
            Action::StartTls => {
                self.orders.push_back(Order::StartTls { session: id, name: session.place.tls_name() });
            }
            Action::Authenticate(_) | Action::Challenge(_) => unreachable!("authentication was not asked for"),
        }
        Next::Poll
    }

    /// One recipient of the envelope is finished.
    fn outcome(&mut self, session: &Session, recipient: usize, verdict: &Verdict, now: u64) {
        let State::Busy(current) = &session.state else { return };
        let Some(work) = self.jobs.get(&current.job) else { return };
        let times = Times { handed: work.handed, connected: Some(current.began), done: now };
        self.record(current.job, current.positions[recipient], verdict, session.uses, times);
    }

    /// The server is no good now: its message fails, or the destination refused us before there was one.
    fn failed(&mut self, session: &mut Session, verdict: Verdict, now: u64) {
        match std::mem::replace(&mut session.state, State::Idle) {
            State::Busy(current) => {
                self.give_up(session, &current, &verdict, now);
                self.finish(current.job, verdict.fault());
            }
            _ => session.state = State::Refused(verdict),
        }
    }

    /// All recipients of the message that have no outcome get this one.
    fn give_up(&mut self, session: &Session, current: &Current, verdict: &Verdict, now: u64) {
        let Some(work) = self.jobs.get(&current.job) else { return };
        let times = Times { handed: work.handed, connected: Some(current.began), done: now };
        for position in work.open().collect::<Vec<_>>() {
            self.record(current.job, position, verdict, session.uses, times);
        }
    }

    /// Gives content to the client machine; `None` when there is none to give now.
    fn feed(&mut self, session: &mut Session, now: u64) -> Option<Next> {
        let State::Busy(current) = &mut session.state else { return None };
        let read = current.content?;
        let (client, work) = (session.client.as_mut()?, self.jobs.get(&current.job)?);
        if session.unsent >= IN_FLIGHT {
            return None;
        }
        let piece = usize::try_from(work.job.size - read).unwrap_or(usize::MAX).min(self.buffer.len());
        let length = match work.content.read_at(&mut self.buffer[..piece], work.job.offset + read) {
            Ok(0) if piece > 0 => None,
            Ok(length) => Some(length),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Some(0),
            Err(_) => None,
        };
        let Some(length) = length else {
            self.unreadable(session, now);
            return Some(Next::Abort);
        };
        let read = read + length as u64;
        current.content = Some(read).filter(|&read| read < work.job.size);
        let last = current.content.is_none();
        current.pass_on(client, &self.buffer[..length], last);
        Some(Next::Poll)
    }

    /// The content cannot be read to its end. Without the end the server takes nothing, so nothing is delivered by half.
    fn unreadable(&mut self, session: &mut Session, now: u64) {
        if let State::Busy(current) = std::mem::replace(&mut session.state, State::Idle) {
            let verdict = Verdict::deferred("4.3.0", "unreadable mail queue entry".into());
            self.give_up(session, &current, &verdict, now);
            self.finish(current.job, None);
        }
    }
}
