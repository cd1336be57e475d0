//! The resolver without sockets and clocks: questions, messages and the time go in; packets and answers come out.
//!
//! A question is answered from `/etc/hosts` (where that is wanted), then from the cache, then by the servers. Equal questions that are on their way
//! are asked once. Every question is answered: what a server says, or [`Failure::Temporary`] after the time limits of
//! resolv.conf. Aliases are followed over several answers, at most [`message::MAX_ALIASES`] of them; at most [`MAX_ACTIVE`]
//! questions are on their way at once and at most [`MAX_WAITING`] askers wait.

mod cache;
mod exchange;
mod message;
#[cfg(test)]
mod random;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Instant;

use hickory_proto::rr::RecordType;
use ipc_messages::dns::{ClientName, Failure, Family, Found, FromResolver, Source, ToResolver};

use crate::hosts::Hosts;
use crate::resolv_conf::ResolvConf;
use cache::{Cache, Outcome};
pub use exchange::Packet;
use exchange::{Exchange, Next, Servers};
use message::{Data, MAX_ALIASES, Question, Told, What};

/// Questions that are on their way at once: each has a socket.
pub const MAX_ACTIVE: usize = 512;
/// Askers that wait for an answer; one more is told to try again later.
pub const MAX_WAITING: usize = 50_000;

/// What the caller has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output<A> {
    /// Send this from a new socket; the one that this flight had before is not needed any more.
    Send {
        /// Names the flight in what comes back.
        flight: u64,
        /// What to send.
        packet: Packet,
    },
    /// The socket of this flight is not needed any more.
    Close {
        /// Which.
        flight: u64,
    },
    /// Tell an asker.
    Answer {
        /// Whom.
        asker: A,
        /// What.
        answer: FromResolver,
    },
}

/// The resolver. `A` names askers.
pub struct Resolver<A> {
    hosts: Hosts,
    servers: Servers,
    cache: Cache,
    random: Box<dyn FnMut() -> u16>,
    flights: HashMap<u64, Flight<A>>,
    by_question: HashMap<Question, u64>,
    next_flight: u64,
    /// Flights that wait for others to end.
    queue: VecDeque<u64>,
    active: usize,
    waiting: usize,
    deadlines: BTreeSet<(Instant, u64)>,
    out: VecDeque<Output<A>>,
}

/// A question on its way, and who waits for it.
struct Flight<A> {
    question: Question,
    /// `None` until there is room.
    exchange: Option<Exchange>,
    waiters: Vec<Waiter<A>>,
    /// What the answers so far, which led to aliases, add to the last one.
    aliases: usize,
    ttl: u32,
    secure: bool,
}

struct Waiter<A> {
    asker: A,
    corr: u32,
    wants: Wants,
}

/// What an asker makes of an outcome.
enum Wants {
    Host,
    Mx,
    Txt,
    /// The name of this client.
    Pointer(IpAddr),
    /// Whether this name leads to this client.
    Forward(IpAddr, String),
}

impl<A: Copy> Resolver<A> {
    /// A resolver with an empty cache. `random` makes the identifiers of messages, and must not be predictable.
    pub fn new(conf: ResolvConf, hosts: Hosts, random: Box<dyn FnMut() -> u16>) -> Resolver<A> {
        Resolver {
            hosts,
            servers: Servers::new(conf),
            cache: Cache::default(),
            random,
            flights: HashMap::new(),
            by_question: HashMap::new(),
            next_flight: 0,
            queue: VecDeque::new(),
            active: 0,
            waiting: 0,
            deadlines: BTreeSet::new(),
            out: VecDeque::new(),
        }
    }

    /// What is to be done, in order.
    pub fn poll(&mut self) -> Option<Output<A>> {
        self.out.pop_front()
    }

    /// When [`Resolver::expire`] is to be called.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Whether nobody waits.
    pub fn is_idle(&self) -> bool {
        self.flights.is_empty()
    }

    /// Uses other servers from now on; what others have said is forgotten.
    pub fn set_servers(&mut self, conf: ResolvConf) {
        if *self.servers.conf() != conf {
            self.servers = Servers::new(conf);
            self.cache.clear();
        }
    }

    /// Uses another table of hosts.
    pub fn set_hosts(&mut self, hosts: Hosts) {
        self.hosts = hosts;
    }

    /// Takes a question.
    pub fn ask(&mut self, asker: A, question: ToResolver, now: Instant) {
        match question {
            ToResolver::Name { corr, address } => {
                let address = address.to_canonical();
                let waiter = Waiter { asker, corr, wants: Wants::Pointer(address) };
                match self.hosts.name(address) {
                    Some(name) => {
                        let name = Found { records: vec![Data::Name(name.to_string())], secure: false };
                        self.tell(waiter, &Ok(name), now);
                    }
                    None => self.look_up(Some(Question::pointer(address)), waiter, now),
                }
            }
            ToResolver::Host { corr, name, family, source } => {
                self.host(&name, family, source, Waiter { asker, corr, wants: Wants::Host }, now);
            }
            ToResolver::Mx { corr, name } => {
                let question = Question::new(&name, RecordType::MX);
                self.look_up(question, Waiter { asker, corr, wants: Wants::Mx }, now);
            }
            ToResolver::Txt { corr, name } => {
                let question = Question::new(&name, RecordType::TXT);
                self.look_up(question, Waiter { asker, corr, wants: Wants::Txt }, now);
            }
        }
    }

    fn host(&mut self, name: &str, family: Family, source: Source, waiter: Waiter<A>, now: Instant) {
        let listed = match source {
            Source::Native => self.hosts.addresses(name, family),
            Source::Dns => Vec::new(),
        };
        if !listed.is_empty() {
            let records = listed.into_iter().map(Data::Address).collect();
            return self.tell(waiter, &Ok(Found { records, secure: false }), now);
        }
        let kind = match family {
            Family::V4 => RecordType::A,
            Family::V6 => RecordType::AAAA,
        };
        self.look_up(Question::new(name, kind), waiter, now);
    }

    /// Answers from the cache, or has the waiter wait for a flight. A name that cannot be in DNS (`None`) does not exist.
    fn look_up(&mut self, question: Option<Question>, waiter: Waiter<A>, now: Instant) {
        let Some(question) = question else { return self.tell(waiter, &Err(Failure::NotFound), now) };
        if let Some(outcome) = self.cache.get(&question, now).cloned() {
            return self.tell(waiter, &outcome, now);
        }
        if self.waiting >= MAX_WAITING {
            return self.tell(waiter, &Err(Failure::Temporary("too many questions".into())), now);
        }
        self.waiting += 1;
        if let Some(flight) = self.by_question.get(&question).and_then(|number| self.flights.get_mut(number)) {
            return flight.waiters.push(waiter);
        }
        let number = self.next_flight;
        self.next_flight += 1;
        self.by_question.insert(question.clone(), number);
        let waiters = vec![waiter];
        let flight = Flight { question, exchange: None, waiters, aliases: 0, ttl: u32::MAX, secure: true };
        self.flights.insert(number, flight);
        self.queue.push_back(number);
        self.depart(now);
    }

    /// Starts flights while there is room.
    fn depart(&mut self, now: Instant) {
        while self.active < MAX_ACTIVE {
            let Some(number) = self.queue.pop_front() else { return };
            let Some(question) = self.flights.get(&number).map(|flight| flight.question.clone()) else { continue };
            self.active += 1;
            self.start(number, question, now);
        }
    }

    /// Asks the servers a question for a flight: its own, or one about an alias.
    fn start(&mut self, number: u64, question: Question, now: Instant) {
        let order = self.servers.order(now);
        let (exchange, packet) = Exchange::start(question, order, self.servers.conf(), (self.random)(), now);
        self.deadlines.insert((exchange.deadline(), number));
        if let Some(flight) = self.flights.get_mut(&number) {
            flight.exchange = Some(exchange);
        }
        self.out.push_back(Output::Send { flight: number, packet });
    }

    /// A message has come on the socket of a flight.
    pub fn received(&mut self, flight: u64, bytes: &[u8], now: Instant) {
        self.advance(flight, now, |exchange, id| exchange.received(bytes, id, now));
    }

    /// The socket of a flight has failed.
    pub fn failed(&mut self, flight: u64, why: String, now: Instant) {
        self.penalize(flight, now);
        self.advance(flight, now, |exchange, id| exchange.failed(why, id, now));
    }

    /// Gives up what has not been answered in time.
    pub fn expire(&mut self, now: Instant) {
        while let Some(&(at, flight)) = self.deadlines.first().filter(|(at, _)| *at <= now) {
            self.deadlines.remove(&(at, flight));
            self.penalize(flight, now);
            self.advance(flight, now, |exchange, id| exchange.expired(id, now));
        }
    }

    fn penalize(&mut self, flight: u64, now: Instant) {
        let exchange = self.flights.get(&flight).and_then(|flight| flight.exchange.as_ref());
        if let Some(server) = exchange.map(Exchange::server) {
            self.servers.penalize(server, now);
        }
    }

    fn advance(&mut self, number: u64, now: Instant, event: impl FnOnce(&mut Exchange, u16) -> Next) {
        let id = (self.random)();
        let Some(flight) = self.flights.get_mut(&number) else { return };
        let Some(exchange) = &mut flight.exchange else { return };
        let server = exchange.server();
        let before = exchange.deadline();
        let next = event(exchange, id);
        match next {
            Next::Wait => {}
            Next::Send(packet) => {
                self.deadlines.remove(&(before, number));
                self.deadlines.insert((exchange.deadline(), number));
                self.out.push_back(Output::Send { flight: number, packet });
            }
            Next::Done(result) => {
                self.deadlines.remove(&(before, number));
                let trusted = self.servers.conf().trusts(server);
                self.arrived(number, result, trusted, now);
            }
        }
    }

    /// A server has answered, or all have failed.
    fn arrived(&mut self, number: u64, result: Result<Told, String>, trusted: bool, now: Instant) {
        let Some(flight) = self.flights.get_mut(&number) else { return };
        let outcome = match result {
            Err(why) => Err(Failure::Temporary(why)),
            Ok(told) => {
                flight.aliases += told.aliases;
                flight.ttl = flight.ttl.min(told.ttl);
                flight.secure &= trusted && told.authentic;
                match told.what {
                    What::Alias(name) if flight.aliases <= MAX_ALIASES => {
                        let question = Question { name, kind: flight.question.kind };
                        return self.start(number, question, now);
                    }
                    What::Alias(_) => Err(Failure::Temporary("too many aliases".into())),
                    What::Records(records) if records.is_empty() => Err(Failure::NoData),
                    What::Records(records) => Ok(Found { records, secure: flight.secure }),
                    What::NotFound => Err(Failure::NotFound),
                    What::NoData => Err(Failure::NoData),
                }
            }
        };
        self.land(number, outcome, now);
    }

    fn land(&mut self, number: u64, outcome: Outcome, now: Instant) {
        let Some(flight) = self.flights.remove(&number) else { return };
        self.by_question.remove(&flight.question);
        self.active -= 1;
        self.waiting -= flight.waiters.len();
        self.out.push_back(Output::Close { flight: number });
        self.cache.put(flight.question, outcome.clone(), flight.ttl, now);
        for waiter in flight.waiters {
            self.tell(waiter, &outcome, now);
        }
        self.depart(now);
    }

    /// Gives a waiter what it wants, or goes on for it.
    fn tell(&mut self, waiter: Waiter<A>, outcome: &Outcome, now: Instant) {
        let Waiter { asker, corr, wants } = waiter;
        let answer = match wants {
            Wants::Host => FromResolver::Host { corr, answer: pick(outcome, address) },
            Wants::Mx => FromResolver::Mx {
                corr,
                answer: pick(outcome, |data| match data {
                    Data::Exchange(exchange) => Some(exchange.clone()),
                    _ => None,
                }),
            },
            Wants::Txt => FromResolver::Txt {
                corr,
                answer: pick(outcome, |data| match data {
                    Data::Text(text) => Some(text.clone()),
                    _ => None,
                }),
            },
            Wants::Pointer(client) => match pointed(outcome) {
                Ok(name) => {
                    let wants = Wants::Forward(client, name.clone());
                    return self.host(&name, Family::of(client), Source::Native, Waiter { asker, corr, wants }, now);
                }
                Err(name) => FromResolver::Name { corr, name },
            },
            Wants::Forward(client, name) => {
                let name = match pick(outcome, address) {
                    Ok(found) if found.records.contains(&client) => ClientName::Verified(name),
                    Ok(_) => ClientName::Unverified(name, None),
                    Err(failure) => ClientName::Unverified(name, Some(failure)),
                };
                FromResolver::Name { corr, name }
            }
        };
        self.out.push_back(Output::Answer { asker, answer });
    }
}

fn address(data: &Data) -> Option<IpAddr> {
    if let Data::Address(address) = data { Some(*address) } else { None }
}

/// The records of an outcome that are of the wanted kind.
fn pick<T>(outcome: &Outcome, of: impl Fn(&Data) -> Option<T>) -> Result<Found<T>, Failure> {
    let found = outcome.as_ref().map_err(Clone::clone)?;
    Ok(Found { records: found.records.iter().filter_map(of).collect(), secure: found.secure })
}

/// The name that an address leads to, if it is one that can be a host's; otherwise what is to be said of the client.
fn pointed(outcome: &Outcome) -> Result<String, ClientName> {
    let found = outcome.as_ref().map_err(|failure| ClientName::None(failure.clone()))?;
    let name = found.records.iter().find_map(|data| match data {
        Data::Name(name) => Some(name),
        _ => None,
    });
    match name {
        Some(name) if name.parse::<IpAddr>().is_ok() => Err(ClientName::Numeric(name.clone())),
        Some(name) if is_host_name(name) => Ok(name.clone()),
        _ => Err(ClientName::None(Failure::NotFound)),
    }
}

/// Whether the name may enter logs and headers: labels of letters, digits, `-` and `_` that neither begin nor end in `-`
/// (`valid_hostname` of Postfix). DNS itself allows any byte.
fn is_host_name(name: &str) -> bool {
    let fits = |label: &str| {
        let plain = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        (1..=63).contains(&label.len()) && plain && !label.starts_with('-') && !label.ends_with('-')
    };
    name.len() <= 255 && name.split('.').all(fits)
}
