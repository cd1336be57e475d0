//! smtpd: mail in by SMTP. Many sessions in one process; the protocol is `proto-smtp`'s, the decisions are [`policy`]'s,
//! and everything else is asked of others: the resolver (names and domains), anvil (counts), trivial-rewrite (recipients,
//! tables), the authentication server, cleanup (the queue).
//!
//! ```text
//! accepted ─► arrival ─► session ─► rates ─► check ─► transaction ─► intake ─► 250
//!             name,      protocol,  limits   restric- envelope,      cleanup
//!             counts     AUTH: login         tions    queue ID
//! ```
//!
//! A message gets its queue ID at its first accepted recipient, and its client hears `250` only when cleanup has it on
//! stable storage. No session waits for another: what has to be asked stands in [`client::Asked`] until it is answered.

mod arrival;
mod check;
mod client;
mod config;
mod intake;
mod limits;
mod login;
mod policy;
mod rates;
mod sasl;
mod session;
#[cfg(test)]
mod settings;
#[cfg(test)]
mod testing;
mod transaction;

use std::collections::{BTreeMap, HashMap};
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use arrival::Arriving;
use client::Client;
use config::Config;
use intake::Intake;
use ipc_config::section::Section;
use proto_smtp::server::Config as SessionConfig;
use rustls::ServerConfig;
use sasl::{Happened, Sasl};
use worker::{Calls, ConnId, Cx, Frame, Hub, Peer, PeerId, Remote, Secured, Service, Setup, StartError, Why};

fn main() -> ExitCode {
    worker::run::<Smtpd>()
}

struct Smtpd {
    config: Arc<Config>,
    session_config: Arc<SessionConfig>,
    section: Section,
    tls: Option<Arc<ServerConfig>>,
    wrapped: Vec<bool>,
    /// The service's name in master.cf.
    service: String,
    clients: HashMap<ConnId, Client>,
    /// Connected, and waiting for what the session needs before it begins.
    arriving: BTreeMap<ConnId, Arriving>,
    /// What is at the other end of each channel. A hub and its successor may both be there for a moment.
    hubs: BTreeMap<PeerId, Hub>,
    /// Whose restrictions wait for which answer of trivial-rewrite or the resolver.
    queries: BTreeMap<u32, ConnId>,
    /// Who waits for which name of the resolver.
    named: BTreeMap<u32, ConnId>,
    /// Who waits for which answer of anvil.
    counted: BTreeMap<u32, (ConnId, PeerId)>,
    numbers: Numbers,
    intake: Intake,
    /// Clients whose recipient waits for queue IDs, and since when.
    waiting: Vec<(ConnId, Instant)>,
    sasl: Sasl,
}

/// Numbers for questions: one that was used lately does not come again.
#[derive(Default)]
struct Numbers(u32);

impl Numbers {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_add(1);
        self.0
    }
}

impl Service for Smtpd {
    const NAME: &'static str = "smtpd";
    const CALLS: Calls = Calls {
        accept: true,
        connect: false,
        files: false,
        threads: false,
        fork: false,
        memfd: false,
        notify: false,
        narrow: false,
    };
    type Section = Section;
    type Opened = ();
    type Done = ();

    fn pre_jail(_: &Section, _: &mut Setup) -> Result<(), StartError> {
        Ok(())
    }

    fn start(section: Section, (): (), setup: Setup, cx: &mut Cx<()>) -> Result<Smtpd, StartError> {
        let config = Arc::new(Config::new(&section));
        let tls = match &section.tls {
            Some(offer) => {
                Some(worker::tls::server(offer, cx.signatures()).map_err(|error| StartError::new("TLS", error))?)
            }
            None => None,
        };
        Ok(Smtpd {
            session_config: Arc::new(config.session(&[])),
            config,
            section,
            tls,
            wrapped: setup.boot.listeners.iter().map(|listener| listener.tls).collect(),
            service: setup.boot.service.clone(),
            clients: HashMap::new(),
            arriving: BTreeMap::new(),
            hubs: BTreeMap::new(),
            queries: BTreeMap::new(),
            named: BTreeMap::new(),
            counted: BTreeMap::new(),
            numbers: Numbers::default(),
            intake: Intake::default(),
            waiting: Vec::new(),
            sasl: Sasl::default(),
        })
    }

    fn accepted(&mut self, cx: &mut Cx<()>, conn: ConnId, listener: usize, remote: Remote) {
        let handshaking = self.wrapped.get(listener).copied().unwrap_or(false);
        self.arrive(cx, conn, remote, handshaking);
        cx.deadline(conn, Some(if handshaking { self.config.tls_timeout } else { self.config.timeout }));
        match (handshaking, self.tls.clone()) {
            (true, Some(tls)) => cx.start_tls(conn, tls),
            (true, None) => {
                slog::warn!(cx.log(), "no TLS for a wrapped service: the certificate is missing");
                self.turn_back(cx, conn);
                cx.abort(conn);
            }
            (false, _) => self.begin(cx, conn),
        }
    }

    fn input(&mut self, cx: &mut Cx<()>, conn: ConnId) {
        if self.sasl.is(conn) {
            let bytes = cx.take_input(conn);
            for happened in self.sasl.input(&bytes) {
                self.authenticated(cx, happened);
            }
            return;
        }
        self.drive(cx, conn);
    }

    fn secured(&mut self, cx: &mut Cx<()>, conn: ConnId, how: Secured) {
        if let Some(arriving) = self.arriving.get_mut(&conn) {
            arriving.handshaking = false;
            arriving.secured = Some(how);
            cx.deadline(conn, Some(self.config.timeout));
            return self.begin(cx, conn);
        }
        self.secured_session(cx, conn, how);
    }

    fn closed(&mut self, cx: &mut Cx<()>, conn: ConnId, why: Why) {
        if self.sasl.is(conn) {
            let reason = if let Why::Error(error) = why { error } else { "the connection was closed".into() };
            let lost = self.sasl.lost();
            return self.authenticated(cx, Happened::Lost(reason, lost));
        }
        self.turn_back(cx, conn);
        self.lost(cx, conn, if let Why::Tls(error) = &why { Some(error) } else { None });
    }

    fn timeout(&mut self, cx: &mut Cx<()>, conn: ConnId) {
        if self.turn_back(cx, conn) {
            return cx.abort(conn);
        }
        if let Some(client) = self.clients.get_mut(&conn) {
            if client.handshaking {
                cx.abort(conn);
                return self.lost(cx, conn, Some("Connection timed out"));
            }
            client.session.timed_out();
            self.drive(cx, conn);
        }
    }

    fn timer(&mut self, cx: &mut Cx<()>, key: u64) {
        if self.waited_for_hubs(cx, key) {
            return;
        }
        if key == transaction::WAITING {
            return self.waited(cx);
        }
        let conn = self.clients.keys().copied().find(|conn| conn.number() == key);
        if let Some((conn, client)) = conn.and_then(|conn| Some((conn, self.clients.get_mut(&conn)?))) {
            client.session.resume();
            self.drive(cx, conn);
        }
    }

    fn peer_up(&mut self, cx: &mut Cx<()>, id: PeerId, peer: &Peer) {
        if let Peer::Hub(hub) = peer {
            self.hubs.insert(id, *hub);
        }
        match peer {
            Peer::Hub(Hub::Cleanup) => self.intake.connected(),
            Peer::Hub(Hub::Lookup) => self.ask_again(cx),
            Peer::Hub(Hub::Resolver | Hub::Anvil) => self.hub_is_up(cx),
            _ => {}
        }
    }

    fn peer_down(&mut self, cx: &mut Cx<()>, id: PeerId, peer: &Peer) {
        self.hubs.remove(&id);
        match peer {
            Peer::Hub(Hub::Cleanup) => self.cleanup_is_down(cx),
            Peer::Hub(Hub::Resolver) => {
                self.resolver_is_down(cx);
                self.hub_is_down(cx, id);
            }
            Peer::Hub(Hub::Anvil) => {
                self.anvil_is_down(cx, id);
                self.hub_is_down(cx, id);
            }
            _ => {}
        }
    }

    fn frame(&mut self, cx: &mut Cx<()>, id: PeerId, frame: Frame) {
        let result = match self.hubs.get(&id) {
            Some(Hub::Cleanup) => frame.decode().map(|(message, _)| self.queue(cx, message)),
            Some(Hub::Resolver) => frame.decode().map(|(answer, _)| self.resolved(cx, answer)),
            Some(Hub::Anvil) => frame.decode().map(|(answer, _)| self.anvil(cx, answer)),
            _ => frame.decode().map(|(answer, _)| self.looked_up(cx, answer)),
        };
        if let Err(error) = result {
            cx.broken(id, error);
        }
    }

    fn foreign(&mut self, cx: &mut Cx<()>, _: u16, result: Result<OwnedFd, i32>) {
        let adopted = result.map_err(std::io::Error::from_raw_os_error).and_then(|fd| cx.adopt(fd));
        match adopted {
            Ok(conn) => {
                let greeting = self.sasl.connected(conn, std::process::id());
                cx.write(conn, &greeting);
            }
            Err(error) => {
                let path = self.config.sasl.as_ref().map_or("", |sasl| sasl.path.as_str());
                let error = error.to_string();
                let why = error.split(" (os error ").next().unwrap_or_default();
                let text = format!("SASL: Connect to Dovecot auth socket '{path}' failed: {why}");
                let lost = self.sasl.lost();
                self.authenticated(cx, Happened::Lost(text, lost));
            }
        }
    }

    fn end_of_turn(&mut self, cx: &mut Cx<()>) {
        let Some(cleanup) = cx.hub(Hub::Cleanup) else { return };
        while let Some(message) = self.intake.out.pop_front() {
            if cx.send(cleanup, &message, Vec::new()).is_err() {
                // Credit bounds what is under way; a queue that is full all the same means that cleanup is stuck.
                slog::error!(cx.log(), "cleanup does not keep up: the channel to it is closed");
                return cx.drop_peer(cleanup);
            }
        }
    }

    fn reload(&mut self, cx: &mut Cx<()>, section: Section) {
        self.config = Arc::new(Config::new(&section));
        self.renew_session_config();
        self.tls = section.tls.as_ref().and_then(|offer| worker::tls::server(offer, cx.signatures()).ok());
        self.section = section;
    }
}
