//! From the connection to the greeting. A client waits for TLS (where that comes first), for its name, for anvil's counts
//! and for the list of SASL mechanisms, all at the same time; then its session begins.
//!
//! The resolver and anvil answer within limits of their own. One that is not there is waited for [`HUB_WAIT`] long; then the
//! client goes on without a name, or uncounted.

use std::net::IpAddr;
use std::time::Duration;

use ipc_messages::anvil::{FromAnvil, ToAnvil};
use ipc_messages::dns::{ClientName, Failure, ToResolver};
use worker::{ConnId, Cx, Hub, PeerId, Remote, Secured};

use crate::Smtpd;
use crate::client::Client;
use crate::session::tls_line;

/// How long a client waits for a hub that is not there.
const HUB_WAIT: Duration = Duration::from_secs(2);
/// Tells the key of a timer for [`HUB_WAIT`] from others.
const HUB_TIMER: u64 = 1 << 63;

/// A client whose session has not begun.
pub struct Arriving<Id = PeerId> {
    /// Who it is.
    pub remote: Remote,
    /// What TLS agreed on.
    pub secured: Option<Secured>,
    /// TLS from the first byte, and the handshake is not over.
    pub handshaking: bool,
    name: Awaited<ClientName, Id>,
    /// Connections and their rate, when it is counted.
    counts: Awaited<Option<(u32, u32)>, Id>,
}

/// What a hub is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Awaited<T, Id = PeerId> {
    /// Not asked for yet.
    Wanted,
    /// Asked for under this number, there.
    Asked(u32, Id),
    /// Answered, or given up.
    Known(T),
}

impl<T, Id: PartialEq> Awaited<T, Id> {
    fn is_known(&self) -> bool {
        matches!(self, Awaited::Known(_))
    }

    /// The answer to question `corr` has come; one to another question is late.
    fn answer(&mut self, corr: u32, answer: T) {
        if matches!(self, Awaited::Asked(asked, _) if *asked == corr) {
            *self = Awaited::Known(answer);
        }
    }

    /// This process has gone: what it was asked for is wanted again.
    fn lose(&mut self, gone: Id) {
        if matches!(self, Awaited::Asked(_, asked) if *asked == gone) {
            *self = Awaited::Wanted;
        }
    }

    /// What is not even asked for is not waited for any longer.
    fn give_up(&mut self, instead: T) {
        if let Awaited::Wanted = self {
            *self = Awaited::Known(instead);
        }
    }

    fn known(self) -> Option<T> {
        if let Awaited::Known(answer) = self { Some(answer) } else { None }
    }
}

impl<Id: PartialEq> Arriving<Id> {
    /// `look_up` is `smtpd_peername_lookup`; `count` whether the client is counted.
    fn new(remote: Remote, handshaking: bool, look_up: bool, count: bool) -> Arriving<Id> {
        let inet = matches!(remote, Remote::Inet { .. });
        Arriving {
            remote,
            secured: None,
            handshaking,
            name: if inet && look_up { Awaited::Wanted } else { Awaited::Known(nameless()) },
            counts: if inet && count { Awaited::Wanted } else { Awaited::Known(None) },
        }
    }

    /// Whether nothing but the authentication server is to be waited for.
    fn is_ready(&self) -> bool {
        !self.handshaking && self.name.is_known() && self.counts.is_known()
    }

    fn give_up(&mut self) {
        self.name.give_up(nameless());
        self.counts.give_up(None);
    }

    /// The address, if anvil was told of this client.
    fn counted(&self) -> Option<IpAddr> {
        let told = matches!(self.counts, Awaited::Asked(..) | Awaited::Known(Some(_)));
        address(self.remote).filter(|_| told)
    }
}

/// A client that nobody was asked about.
fn nameless() -> ClientName {
    ClientName::None(Failure::NotFound)
}

fn address(remote: Remote) -> Option<IpAddr> {
    match remote {
        Remote::Inet { peer, .. } => Some(peer.ip()),
        Remote::Unix { .. } => None,
    }
}

impl Smtpd {
    /// A client has connected.
    pub(crate) fn arrive(&mut self, cx: &mut Cx<()>, conn: ConnId, remote: Remote, handshaking: bool) {
        let limits = &self.config.limits;
        let count = limits.is_any() && address(remote).is_some_and(|address| !limits.exempt(None, address));
        self.arriving.insert(conn, Arriving::new(remote, handshaking, self.config.look_up_names, count));
        self.ask_hubs(cx, conn);
        self.wait_for_hubs(cx, conn);
    }

    /// Asks the hubs that are there for what is wanted.
    fn ask_hubs(&mut self, cx: &mut Cx<()>, conn: ConnId) {
        let Some(arriving) = self.arriving.get_mut(&conn) else { return };
        let Some(address) = address(arriving.remote) else { return };
        if let (Awaited::Wanted, Some(resolver)) = (&arriving.name, cx.hub(Hub::Resolver)) {
            let corr = self.numbers.next();
            self.named.insert(corr, conn);
            arriving.name = Awaited::Asked(corr, resolver);
            if cx.send(resolver, &ToResolver::Name { corr, address }, Vec::new()).is_err() {
                cx.drop_peer(resolver);
            }
        }
        if let (Awaited::Wanted, Some(anvil)) = (&arriving.counts, cx.hub(Hub::Anvil)) {
            let corr = self.numbers.next();
            self.counted.insert(corr, (conn, anvil));
            arriving.counts = Awaited::Asked(corr, anvil);
            let question = ToAnvil::Connect { corr, service: self.service.clone(), address };
            if cx.send(anvil, &question, Vec::new()).is_err() {
                cx.drop_peer(anvil);
            }
        }
    }

    /// Sets the limit of time for a hub that is not there.
    fn wait_for_hubs(&self, cx: &mut Cx<()>, conn: ConnId) {
        let Some(arriving) = self.arriving.get(&conn) else { return };
        if arriving.name == Awaited::Wanted || arriving.counts == Awaited::Wanted {
            cx.timer(HUB_WAIT, conn.number() | HUB_TIMER);
        }
    }

    /// A timer has rung; returns whether it was one of an arrival.
    pub(crate) fn waited_for_hubs(&mut self, cx: &mut Cx<()>, key: u64) -> bool {
        if key & HUB_TIMER == 0 {
            return false;
        }
        let conn = self.arriving.keys().copied().find(|conn| conn.number() | HUB_TIMER == key);
        if let Some(conn) = conn {
            self.arriving.get_mut(&conn).into_iter().for_each(Arriving::give_up);
            self.begin(cx, conn);
        }
        true
    }

    /// A hub is there: all who wait for it ask it.
    pub(crate) fn hub_is_up(&mut self, cx: &mut Cx<()>) {
        let all: Vec<ConnId> = self.arriving.keys().copied().collect();
        for conn in all {
            self.ask_hubs(cx, conn);
        }
    }

    /// The resolver or anvil has gone: what it was asked for, its successor is asked for, when there is one.
    pub(crate) fn hub_is_down(&mut self, cx: &mut Cx<()>, gone: PeerId) {
        for arriving in self.arriving.values_mut() {
            arriving.name.lose(gone);
            arriving.counts.lose(gone);
        }
        let arriving = &self.arriving;
        self.named.retain(|_, conn| arriving.contains_key(conn));
        let all: Vec<ConnId> = self.arriving.keys().copied().collect();
        for conn in all {
            self.ask_hubs(cx, conn);
            self.wait_for_hubs(cx, conn);
        }
    }

    /// The resolver has told a name.
    pub(crate) fn named(&mut self, cx: &mut Cx<()>, corr: u32, name: ClientName) {
        let Some(conn) = self.named.remove(&corr) else { return };
        let Some(arriving) = self.arriving.get_mut(&conn) else { return };
        arriving.name.answer(corr, name);
        self.begin(cx, conn);
    }

    /// Anvil has answered.
    pub(crate) fn anvil(&mut self, cx: &mut Cx<()>, answer: FromAnvil) {
        match answer {
            FromAnvil::Connected { corr, count, rate } => {
                let Some((conn, _)) = self.counted.remove(&corr) else { return };
                let Some(arriving) = self.arriving.get_mut(&conn) else { return };
                arriving.counts.answer(corr, Some((count, rate)));
                self.begin(cx, conn);
            }
            FromAnvil::Rate { corr, rate } => self.rated(cx, corr, Some(rate)),
            FromAnvil::Sessions { .. } => {}
        }
    }

    /// A client goes before its session has begun; returns whether there was one.
    pub(crate) fn turn_back(&mut self, cx: &mut Cx<()>, conn: ConnId) -> bool {
        let Some(arriving) = self.arriving.remove(&conn) else { return false };
        if let Some(address) = arriving.counted() {
            self.uncount(cx, address);
        }
        true
    }

    /// Tells anvil that a client that was counted has gone.
    pub(crate) fn uncount(&self, cx: &mut Cx<()>, address: IpAddr) {
        let Some(anvil) = cx.hub(Hub::Anvil) else { return };
        if cx.send(anvil, &ToAnvil::Disconnect { service: self.service.clone(), address }, Vec::new()).is_err() {
            cx.drop_peer(anvil);
        }
    }

    /// Begins the session, unless something has to be waited for.
    pub(crate) fn begin(&mut self, cx: &mut Cx<()>, conn: ConnId) {
        let mechanisms_missing = self.config.sasl.is_some() && !self.sasl.is_open();
        if mechanisms_missing && self.sasl.wants_connection() {
            cx.connect_foreign(self.section.foreign("sasl").unwrap_or(0));
        }
        if !mechanisms_missing {
            self.greet(cx, conn, false);
        }
    }

    /// Begins the session of a client that waits for nothing else. `without_auth`: the mechanisms are not known.
    pub(crate) fn greet(&mut self, cx: &mut Cx<()>, conn: ConnId, without_auth: bool) {
        if !self.arriving.get(&conn).is_some_and(Arriving::is_ready) {
            return;
        }
        let Some(Arriving { remote, secured, name, counts, .. }) = self.arriving.remove(&conn) else { return };
        let (name, counts) = (name.known().unwrap_or_else(nameless), counts.known().flatten());
        let mut client = Client::new(&self.config, self.session_config.clone(), remote, secured, name);
        client.counts = counts;
        client.without_auth = without_auth;
        if let Some(warning) = client.address().and_then(|address| client.name.warning(address)) {
            slog::warn!(cx.log(), "{warning}");
        }
        slog::info!(cx.log(), "connect from {}", client.label());
        if let Some(how) = &client.secured {
            if let Some(line) = tls_line(&self.config, client.label(), how) {
                slog::info!(cx.log(), "{line}");
            }
            self.count_tls(cx, conn, &mut client);
        }
        self.clients.insert(conn, client);
        self.drive(cx, conn);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inet() -> Remote {
        let (peer, local) = ("198.51.100.10:4711".parse().unwrap(), "192.0.2.1:25".parse().unwrap());
        Remote::Inet { peer, local }
    }

    #[test]
    fn a_client_waits_for_everything_that_is_wanted() {
        let mut arriving = Arriving::<u8>::new(inet(), true, true, true);
        assert!(!arriving.is_ready());
        arriving.handshaking = false;
        (arriving.name, arriving.counts) = (Awaited::Asked(1, 7), Awaited::Asked(2, 8));
        arriving.name.answer(9, nameless());
        assert_eq!(arriving.name, Awaited::Asked(1, 7), "the answer to another question");
        let name = ClientName::Verified("exthost.example".into());
        arriving.name.answer(1, name.clone());
        assert!(!arriving.is_ready());
        arriving.counts.answer(2, Some((1, 1)));
        assert!(arriving.is_ready());
        assert_eq!(arriving.name.known(), Some(name));
    }

    #[test]
    fn without_name_lookups_and_limits_nothing_is_waited_for() {
        assert!(Arriving::<u8>::new(inet(), false, false, false).is_ready());
        assert!(Arriving::<u8>::new(Remote::Unix { uid: 0, pid: 1 }, false, true, true).is_ready());
        assert!(!Arriving::<u8>::new(inet(), false, true, false).is_ready());
        assert!(!Arriving::<u8>::new(inet(), false, false, true).is_ready());
    }

    #[test]
    fn a_hub_that_is_not_there_is_given_up_and_one_that_was_asked_is_not() {
        let mut arriving = Arriving::<u8>::new(inet(), false, true, true);
        arriving.name = Awaited::Asked(1, 7);
        arriving.give_up();
        assert_eq!((arriving.name.clone(), arriving.counts.clone()), (Awaited::Asked(1, 7), Awaited::Known(None)));
        arriving.name.lose(8);
        assert_eq!(arriving.name, Awaited::Asked(1, 7), "another process has gone");
        arriving.name.lose(7);
        arriving.give_up();
        assert!(arriving.is_ready());
        assert_eq!(arriving.name.known().map(|name| name.verified().to_string()).as_deref(), Some("unknown"));
    }

    #[test]
    fn who_was_reported_is_taken_back() {
        let mut arriving = Arriving::<u8>::new(inet(), false, true, true);
        let client = Some("198.51.100.10".parse().unwrap());
        assert_eq!(arriving.counted(), None);
        for (counts, counted) in
            [(Awaited::Asked(1, 7), client), (Awaited::Known(Some((1, 1))), client), (Awaited::Known(None), None)]
        {
            arriving.counts = counts;
            assert_eq!(arriving.counted(), counted);
        }
    }
}
