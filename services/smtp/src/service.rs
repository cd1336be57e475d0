//! The agent as a worker: sockets, the connector, the channels to `qmgr` and `dns`, and the clock for [`Delivery`].

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use ipc_config::section::Section;
use ipc_messages::delivery::{FromAgent, ToAgent};
use ipc_messages::dns::ToResolver;
use rustls::ClientConfig;
use worker::{Calls, ConnId, Cx, Frame, Hub, Outbox, Peer, PeerId, Secured, Service, Setup, StartError, Why};

use crate::delivery::{Delivery, Order, SessionId};
use crate::settings::Settings;

/// The service.
pub struct Agent {
    delivery: Delivery<File>,
    connections: BTreeMap<SessionId, ConnId>,
    sessions: BTreeMap<ConnId, SessionId>,
    /// By index of the connector: sessions that wait for its answer, in the order in which they asked.
    asked: BTreeMap<u16, VecDeque<SessionId>>,
    qmgr: Option<PeerId>,
    tls: Arc<ClientConfig>,
    to_resolver: Outbox<ToResolver>,
}

impl Service for Agent {
    const NAME: &'static str = "smtp";
    const CALLS: Calls = Calls {
        accept: false,
        connect: true,
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

    fn start(section: Section, (): (), _: Setup, _: &mut Cx<()>) -> Result<Agent, StartError> {
        Ok(Agent {
            delivery: Delivery::new(Settings::new(&section)),
            connections: BTreeMap::new(),
            sessions: BTreeMap::new(),
            asked: BTreeMap::new(),
            qmgr: None,
            tls: worker::tls::opportunistic().map_err(StartError)?,
            to_resolver: Outbox::default(),
        })
    }

    fn peer_up(&mut self, cx: &mut Cx<()>, id: PeerId, peer: &Peer) {
        match peer {
            Peer::Hub(Hub::Qmgr) => {
                self.qmgr = Some(id);
                let ready = self.delivery.ready();
                self.tell(cx, &ready);
            }
            Peer::Hub(Hub::Resolver) => {
                self.to_resolver.clear();
                self.delivery.ask_again();
            }
            _ => {}
        }
    }

    fn peer_down(&mut self, _: &mut Cx<()>, id: PeerId, _: &Peer) {
        if self.qmgr == Some(id) {
            self.qmgr = None;
            self.delivery.reset();
        }
    }

    fn frame(&mut self, cx: &mut Cx<()>, id: PeerId, frame: Frame) {
        if cx.hub(Hub::Resolver) == Some(id) {
            match frame.decode() {
                Ok((answer, _)) => self.delivery.answer(answer, now()),
                Err(error) => cx.broken(id, error),
            }
            return;
        }
        match frame.decode() {
            Ok((ToAgent::Deliver(job), fds)) => match fds.into_iter().next() {
                Some(fd) => self.delivery.deliver(job, File::from(fd), now()),
                None => panic!("qmgr sent job {} without its descriptor", job.job),
            },
            Err(error) => cx.broken(id, error),
        }
    }

    fn foreign(&mut self, cx: &mut Cx<()>, index: u16, result: Result<OwnedFd, i32>) {
        let Some(session) = self.asked.get_mut(&index).and_then(VecDeque::pop_front) else { return };
        let adopted = result.map_err(std::io::Error::from_raw_os_error).and_then(|fd| cx.adopt(fd));
        self.opened(session, adopted, true);
    }

    fn connected(&mut self, _: &mut Cx<()>, conn: ConnId) {
        if let Some(&session) = self.sessions.get(&conn) {
            self.delivery.connected(session, now());
        }
    }

    fn secured(&mut self, _: &mut Cx<()>, conn: ConnId, _: Secured) {
        if let Some(&session) = self.sessions.get(&conn) {
            self.delivery.secured(session, now());
        }
    }

    fn input(&mut self, cx: &mut Cx<()>, conn: ConnId) {
        let bytes = cx.take_input(conn);
        if let Some(&session) = self.sessions.get(&conn) {
            self.delivery.received(session, &bytes, now());
        }
    }

    fn drained(&mut self, cx: &mut Cx<()>, conn: ConnId) {
        if let Some(&session) = self.sessions.get(&conn) {
            self.delivery.drained(session, now());
            // The output of this turn has left; more of the content makes another round.
            self.obey_all(cx);
        }
    }

    fn closed(&mut self, _: &mut Cx<()>, conn: ConnId, why: Why) {
        let Some(session) = self.sessions.remove(&conn) else { return };
        self.connections.remove(&session);
        let reason = match &why {
            Why::Error(text) | Why::Tls(text) => text,
            Why::Eof => "Connection closed",
        };
        self.delivery.closed(session, system_text(reason), now());
    }

    fn timeout(&mut self, _: &mut Cx<()>, conn: ConnId) {
        if let Some(&session) = self.sessions.get(&conn) {
            self.delivery.timed_out(session, now());
        }
    }

    fn end_of_turn(&mut self, cx: &mut Cx<()>) {
        self.obey_all(cx);
        // What could not be obeyed (an address that cannot be connected to) may have finished jobs: until nothing is left.
        loop {
            self.delivery.end_of_turn();
            if !self.obey_all(cx) {
                break;
            }
        }
        self.to_resolver.pump_to_hub(cx, Hub::Resolver);
    }

    fn reload(&mut self, _: &mut Cx<()>, section: Section) {
        self.delivery.reload(Settings::new(&section));
    }

    fn drain(&mut self, _: &mut Cx<()>) {
        self.delivery.drain();
    }

    fn idle(&self) -> bool {
        self.delivery.jobs() == 0
    }
}

impl Agent {
    /// Obeys all orders. Returns whether there was one.
    fn obey_all(&mut self, cx: &mut Cx<()>) -> bool {
        let mut any = false;
        while let Some(order) = self.delivery.poll() {
            self.obey(cx, order);
            any = true;
        }
        any
    }

    fn obey(&mut self, cx: &mut Cx<()>, order: Order) {
        match order {
            Order::ConnectUnix { session, index } => {
                self.asked.entry(index).or_default().push_back(session);
                cx.connect_foreign(index);
            }
            Order::ConnectInet { session, address } => {
                let begun = cx.connect(address);
                self.opened(session, begun, false);
            }
            Order::StartTls { session, name } => {
                if let Some(&conn) = self.connections.get(&session) {
                    cx.start_tls_client(conn, self.tls.clone(), &name);
                }
            }
            Order::Send { session, bytes } => {
                if let Some(&conn) = self.connections.get(&session) {
                    cx.write(conn, &bytes);
                }
            }
            Order::Deadline { session, after } => {
                if let Some(&conn) = self.connections.get(&session) {
                    cx.deadline(conn, after);
                }
            }
            Order::Close { session } => {
                if let Some(conn) = self.forget(session) {
                    cx.close(conn);
                }
            }
            Order::Abort { session } => {
                if let Some(conn) = self.forget(session) {
                    cx.abort(conn);
                }
            }
            Order::Log(line) => slog::info!(cx.log(), "{line}"),
            Order::Tell(message) => self.tell(cx, &message),
            Order::Ask(question) => self.to_resolver.push(question, Vec::new()),
        }
    }

    /// A socket is there for a session, connected or on its way to be; or there is none.
    fn opened(&mut self, session: SessionId, result: std::io::Result<ConnId>, connected: bool) {
        match result {
            Ok(conn) => {
                self.connections.insert(session, conn);
                self.sessions.insert(conn, session);
                if connected {
                    self.delivery.connected(session, now());
                }
            }
            Err(error) => self.delivery.not_connected(session, system_text(&error.to_string()), now()),
        }
    }

    fn forget(&mut self, session: SessionId) -> Option<ConnId> {
        let conn = self.connections.remove(&session)?;
        self.sessions.remove(&conn);
        Some(conn)
    }

    fn tell(&self, cx: &mut Cx<()>, message: &FromAgent) {
        let Some(qmgr) = self.qmgr else { return };
        // A queue manager that reads nothing hears of its messages again on a new channel.
        if cx.send(qmgr, message, Vec::new()).is_err() {
            cx.drop_peer(qmgr);
        }
    }
}

/// Microseconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}

/// `Connection refused` of `Connection refused (os error 111)`.
fn system_text(text: &str) -> &str {
    text.split(" (os error ").next().unwrap_or(text)
}
