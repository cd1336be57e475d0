//! The way to a destination: the search for its servers, and one after the other of them.

use std::rc::Rc;

use ipc_messages::dns::{FromResolver, ToResolver};
use proto_smtp::client::{Client, Tls};

use super::outcomes::{Verdict, Work};
use super::pool::{Place, Route};
use super::session::{Session, State};
use super::{Content, Delivery, Order, SessionId};
use crate::destination::{Destination, Refusal};
use crate::servers::{Lookup, Progress, Query};
use crate::settings::limited;

/// For how long servers that were found are used for new connections, in microseconds.
const ROUTE_AGE: u64 = 60_000_000;

/// A question at the resolver.
#[derive(Debug)]
pub(super) struct Asked {
    nexthop: Rc<str>,
    /// Of the search.
    number: u64,
    query: Query,
}

impl<C: Content> Delivery<C> {
    /// The resolver's answer to [`Order::Ask`].
    pub fn answer(&mut self, answer: FromResolver, now: u64) {
        let (FromResolver::Name { corr, .. }
        | FromResolver::Host { corr, .. }
        | FromResolver::Mx { corr, .. }
        | FromResolver::Txt { corr, .. }) = &answer;
        let Some(Asked { nexthop, number, query }) = self.asked.remove(corr) else { return };
        let Some(pool) = self.pools.get_mut(&nexthop) else { return };
        let Route::Sought { number: current, lookup } = &mut pool.route else { return };
        if number != *current {
            return;
        }
        let outbound = &self.settings.outbound;
        let progress = match (answer, &query) {
            (FromResolver::Mx { answer, .. }, Query::Exchangers(_)) => lookup.exchangers(answer, outbound),
            (FromResolver::Host { answer, .. }, Query::Addresses { .. }) => {
                lookup.addresses(query, answer, outbound, now)
            }
            (answer, query) => panic!("the resolver answers {query:?} with {answer:?}"),
        };
        self.progress(&nexthop, progress, now);
    }

    /// The resolver was replaced: what it has not answered is asked again.
    pub fn ask_again(&mut self) {
        for (&corr, asked) in &self.asked {
            self.orders.push_back(Order::Ask(self.question(corr, &asked.query)));
        }
    }

    /// Looks for the servers of a destination, unless that is being done.
    pub(super) fn look(&mut self, nexthop: &Rc<str>, now: u64) {
        let Some(pool) = self.pools.get_mut(nexthop) else { return };
        let Destination::Inet(site) = &pool.destination else { return };
        if matches!(pool.route, Route::Sought { .. }) {
            return;
        }
        self.last_lookup += 1;
        let (lookup, progress) = Lookup::start(site.clone(), &self.settings.outbound);
        pool.route = Route::Sought { number: self.last_lookup, lookup };
        self.progress(nexthop, progress, now);
    }

    fn progress(&mut self, nexthop: &Rc<str>, progress: Progress, now: u64) {
        let Some(pool) = self.pools.get_mut(nexthop) else { return };
        match progress {
            Progress::Ask(queries) => {
                for query in queries {
                    self.last_question = self.last_question.wrapping_add(1);
                    let question = self.question(self.last_question, &query);
                    self.orders.push_back(Order::Ask(question));
                    let asked = Asked { nexthop: nexthop.clone(), number: self.last_lookup, query };
                    self.asked.insert(self.last_question, asked);
                }
            }
            Progress::Found(servers) => {
                pool.route = Route::Known { servers: servers.into(), first: 0, until: now + ROUTE_AGE };
                self.schedule(nexthop, now);
            }
            Progress::Refused(refusal) => {
                pool.route = Route::Unknown;
                self.refuse_pool(nexthop, &Verdict::of(refusal), now);
            }
        }
    }

    fn question(&self, corr: u32, query: &Query) -> ToResolver {
        match query {
            Query::Exchangers(domain) => ToResolver::Mx { corr, name: domain.clone() },
            Query::Addresses { host, .. } => {
                let source = self.settings.outbound.source;
                ToResolver::Host { corr, name: host.clone(), family: query.family(), source }
            }
        }
    }

    /// Has the connection of a session made.
    pub(super) fn connect(&mut self, id: SessionId, session: Session) {
        self.orders.push_back(match &session.place {
            Place::Socket { index, .. } => Order::ConnectUnix { session: id, index: *index },
            Place::Host { servers, at } => Order::ConnectInet { session: id, address: servers[*at].address },
        });
        self.sessions.insert(id, session);
        let after = limited(self.settings.time_limits.connect);
        if after.is_some() {
            self.orders.push_back(Order::Deadline { session: id, after });
        }
    }

    /// Tries the next server of the destination; gives the session back if there is none.
    pub(super) fn connect_to_next(&mut self, id: SessionId, mut session: Session) -> Option<Session> {
        let Some(next) = session.place.next() else { return Some(session) };
        session.go_to(next, &self.settings.my_hostname);
        session.state = State::Connecting;
        self.connect(id, session);
        None
    }

    /// The connection is no more. A server that fails at TLS which need not be is tried again without, for mail that has
    /// waited for `minimal_backoff_time`: what was wrong may have been mended by then, as Postfix has it.
    pub(super) fn lost(&mut self, id: SessionId, now: u64, how: impl FnOnce(&mut Client)) {
        let starting = |session: &Session| session.client.as_ref().is_some_and(Client::is_starting_tls);
        if !self.sessions.get(&id).is_some_and(starting) {
            return self.end(id, now, how);
        }
        let Some(mut session) = self.sessions.remove(&id) else { return };
        let has_waited =
            |work: &Work<C>| work.job.active.saturating_sub(work.job.arrived) >= self.settings.tls_patience;
        let patient = self.first_waiting(&session.nexthop).is_some_and(has_waited);
        if self.settings.session.tls == Tls::Required || !patient {
            self.sessions.insert(id, session);
            return self.end(id, now, Client::tls_failed);
        }
        self.orders.push_back(Order::Abort { session: id });
        session.go_to(session.place.clone(), &self.settings.my_hostname);
        session.clear = true;
        self.connect(id, session);
    }

    /// The server did not open the session. Another one may, within `mx_session_limit`; gives the session back if none is
    /// tried.
    pub(super) fn refused_by_server(&mut self, id: SessionId, mut session: Session) -> Option<Session> {
        let State::Refused(verdict) = &session.state else { return Some(session) };
        session.refusals += 1;
        if self.settings.outbound.session_limit.is_some_and(|limit| session.refusals >= limit) {
            return Some(session);
        }
        if session.place.next().is_some()
            && let Some(work) = self.first_waiting(&session.nexthop)
        {
            let line = format!("{}: {}", work.job.queue_id, verdict.text);
            self.orders.push_back(Order::Log(line));
        }
        self.connect_to_next(id, session)
    }
}

impl Verdict {
    /// Nothing can be delivered there, now or ever.
    pub(super) fn of(Refusal { status, reason }: Refusal) -> Verdict {
        if status.starts_with('5') { Verdict::bounced(status, reason) } else { Verdict::deferred(status, reason) }
    }
}
