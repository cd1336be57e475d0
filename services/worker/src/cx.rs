//! The orders that a service gives: all of its ways to the outside.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipc_log::Sender as LogSender;
use ipc_messages::control::{Acting, FromWorker, Hub, Peer};
use ipc_wire::{Broken, Channel, SendError};
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustls::{ClientConfig, ServerConfig};
use serde::Serialize;
use slog::Logger;

use crate::connection::{ConnId, Connection};
use crate::detach::Children;
use crate::peers::{PeerId, Peers};
use crate::pool::Pool;
use crate::socket::{Socket, Why};
use crate::timers::{Due, Timers};
use crate::tls::Signatures;

/// What a mio token stands for: the kind in the upper bits, a number below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    Control,
    Waker,
    Inbox,
    Listener(usize),
    Peer(PeerId),
    Connection(usize),
    Watch(u64),
    Child(i32),
}

const KIND_SHIFT: u32 = 56;

impl Source {
    pub(crate) fn token(self) -> Token {
        let (kind, number) = match self {
            Source::Control => (0usize, 0usize),
            Source::Waker => (1, 0),
            Source::Inbox => (2, 0),
            Source::Listener(index) => (3, index),
            Source::Peer(id) => (4, id.0),
            Source::Connection(slot) => (5, slot),
            Source::Watch(key) => (6, key as usize),
            Source::Child(pid) => (7, pid as usize),
        };
        Token(kind << KIND_SHIFT | number)
    }

    pub(crate) fn of(token: Token) -> Source {
        let number = token.0 & ((1 << KIND_SHIFT) - 1);
        match token.0 >> KIND_SHIFT {
            0 => Source::Control,
            1 => Source::Waker,
            2 => Source::Inbox,
            3 => Source::Listener(number),
            4 => Source::Peer(PeerId(number)),
            5 => Source::Connection(number),
            6 => Source::Watch(number as u64),
            _ => Source::Child(number as i32),
        }
    }
}

/// Things that happened while the service gave orders, to be told to it when it has returned.
#[derive(Debug)]
pub(crate) enum Pending {
    Over(ConnId, Why),
    Input(ConnId),
    PeerLost(PeerId),
    Child(i32),
}

/// A process that acts for an account, as `auth` asks for it ([`FromWorker::Acting`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActingRequest {
    /// Names the request in the answer.
    pub corr: u32,
    /// Which program.
    pub program: Acting,
    /// Its uid.
    pub uid: u32,
    /// Its gid.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Folders that its users' mail lies beneath.
    pub roots: Vec<PathBuf>,
}

/// The outside, as a service sees it.
pub struct Cx<D> {
    pub(crate) registry: Registry,
    pub(crate) now: Instant,
    pub(crate) connections: Vec<Option<Box<Connection>>>,
    pub(crate) free: Vec<usize>,
    pub(crate) generation: u64,
    /// Connections with output to flush.
    pub(crate) dirty: Vec<ConnId>,
    /// Connections that were accepted and are open.
    pub(crate) clients: u32,
    /// Of these, connections that are joined: they are nobody's work any more.
    pub(crate) joined: u32,
    /// All that were accepted.
    pub(crate) served: u64,
    pub(crate) peers: Peers,
    pub(crate) timers: Timers,
    pub(crate) pool: Pool<D>,
    pub(crate) log: LogSender,
    pub(crate) logger: Logger,
    pub(crate) control: VecDeque<FromWorker>,
    pub(crate) pending: VecDeque<Pending>,
    /// Whether a channel has room for what waited for it: another round is due.
    pub(crate) again: bool,
    pub(crate) draining: bool,
    pub(crate) watches: BTreeMap<u64, OwnedFd>,
    pub(crate) signatures: Signatures,
    pub(crate) children: Children,
}

impl<D: Send + 'static> Cx<D> {
    /// The time at which this turn began. Services take time from here, so that a turn has one `now`.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// The process's own logger.
    pub fn log(&self) -> &Logger {
        &self.logger
    }

    /// A logger that signs with `tag` in place of the process's own name, e.g. `imap(user)<123><session>`.
    pub fn log_as(&self, tag: String) -> Logger {
        self.log.tagged(tag)
    }

    /// Sends waiting log lines at once. For a process that is about to end or to fork.
    pub fn flush_log(&self) {
        self.log.flush();
    }

    /// Whether no new work is to be taken.
    pub fn draining(&self) -> bool {
        self.draining
    }

    /// Clients whose connections are open.
    pub fn clients(&self) -> u32 {
        self.clients
    }

    /// Clients of this process and of the children that it has detached, one each.
    pub(crate) fn all_clients(&self) -> u32 {
        self.clients + self.children.count()
    }

    /// Clients that count towards the limit: all but those whose bytes are only passed on.
    pub(crate) fn served_clients(&self) -> u32 {
        self.all_clients() - self.joined
    }

    // Connections.

    /// Takes over a connected stream socket. Like one that the service asks for with [`Cx::connect`] it is no client: it does
    /// not keep the process, which ends with its clients and [`crate::Service::idle`].
    ///
    /// # Errors
    /// What the system says when the descriptor is not a stream socket.
    pub fn adopt(&mut self, fd: OwnedFd) -> std::io::Result<ConnId> {
        let socket = Socket::from_fd(fd)?;
        self.add(socket, false)
    }

    /// Begins to connect to an Internet address; [`crate::Service::connected`] is called when the connection is made,
    /// `closed` when it cannot be. A [`Cx::deadline`] limits the time. Needs `connect` of the service's calls.
    ///
    /// # Errors
    /// What the system says at once, e.g. that the network is unreachable.
    pub fn connect(&mut self, address: SocketAddr) -> std::io::Result<ConnId> {
        let id = self.add(Socket::connect(address)?, false)?;
        if let Some(connection) = self.connection(id) {
            connection.connecting = true;
        }
        Ok(id)
    }

    pub(crate) fn add(&mut self, socket: Socket, client: bool) -> std::io::Result<ConnId> {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.connections.push(None);
            self.connections.len() - 1
        });
        self.generation += 1;
        let id = ConnId(self.generation << 32 | slot as u64);
        let mut connection = Box::new(Connection::new(id, socket));
        connection.client = client;
        let interest = Interest::READABLE | Interest::WRITABLE;
        let registered = self.registry.register(connection.socket.source(), Source::Connection(slot).token(), interest);
        if let Err(error) = registered {
            self.free.push(slot);
            return Err(error);
        }
        self.connections[slot] = Some(connection);
        self.clients += u32::from(client);
        self.served += u64::from(client);
        Ok(id)
    }

    pub(crate) fn connection(&mut self, id: ConnId) -> Option<&mut Connection> {
        self.connections.get_mut(id.slot())?.as_deref_mut().filter(|connection| connection.id == id)
    }

    /// Bytes that have come and were not consumed. Empty for a connection that is gone.
    pub fn input(&mut self, id: ConnId) -> &[u8] {
        self.connection(id).map_or(&[], |connection| &connection.input)
    }

    /// Marks the first `n` bytes of the input as used. Reading goes on if it was held back.
    pub fn consume(&mut self, id: ConnId, n: usize) {
        let Some(connection) = self.connection(id) else { return };
        if n >= connection.input.len() {
            connection.input = Vec::new();
        } else {
            connection.input.drain(..n);
        }
        if connection.readable {
            self.pending.push_back(Pending::Input(id));
        }
    }

    /// All input, consumed.
    pub fn take_input(&mut self, id: ConnId) -> Vec<u8> {
        let Some(connection) = self.connection(id) else { return Vec::new() };
        let input = std::mem::take(&mut connection.input);
        if connection.readable {
            self.pending.push_back(Pending::Input(id));
        }
        input
    }

    /// Holds reading back (`true`), or goes on with it.
    pub fn pause(&mut self, id: ConnId, pause: bool) {
        let Some(connection) = self.connection(id) else { return };
        connection.paused = pause;
        if !pause && (connection.readable || !connection.input.is_empty()) {
            self.pending.push_back(Pending::Input(id));
        }
    }

    /// Queues bytes for the client; they leave at the end of the turn.
    pub fn write(&mut self, id: ConnId, bytes: &[u8]) {
        let Some(connection) = self.connection(id) else { return };
        connection.output.extend_from_slice(bytes);
        self.mark(id);
    }

    /// Bytes that have not left yet. A service that produces much keeps this under a mark of its own and goes on when
    /// [`crate::Service::drained`] is called.
    pub fn unsent(&mut self, id: ConnId) -> usize {
        self.connection(id).map_or(0, |connection| connection.pending())
    }

    fn mark(&mut self, id: ConnId) {
        let Some(connection) = self.connection(id) else { return };
        if !connection.in_dirty_list {
            connection.in_dirty_list = true;
            self.dirty.push(id);
        }
    }

    /// Begins TLS as the server. Input that was read in clear is dropped; output queued before leaves in clear first, so
    /// call this after the reply that invites the handshake. Until `tlsmgr` is there the handshake waits; what limits that
    /// is the connection's own deadline.
    pub fn start_tls(&mut self, id: ConnId, config: Arc<ServerConfig>) {
        self.flush_connection(id);
        let keyless = !self.signatures.connected();
        let Some(connection) = self.connection(id) else { return };
        match connection.start_server(config) {
            Ok(()) => connection.keyless = keyless,
            Err(why) => self.pending.push_back(Pending::Over(id, why)),
        }
    }

    /// `tlsmgr` is there: handshakes that waited for it go on.
    pub(crate) fn keys_are_there(&mut self, fd: OwnedFd, link: u32) {
        self.signatures.connect(fd, link);
        for connection in self.connections.iter_mut().flatten().filter(|connection| connection.keyless) {
            connection.keyless = false;
            self.pending.push_back(Pending::Input(connection.id));
        }
    }

    /// Begins TLS as the client, towards `name`.
    pub fn start_tls_client(&mut self, id: ConnId, config: Arc<ClientConfig>, name: &str) {
        self.flush_connection(id);
        let Some(connection) = self.connection(id) else { return };
        match connection.start_client(config, name) {
            Ok(()) => self.mark(id),
            Err(why) => self.pending.push_back(Pending::Over(id, why)),
        }
    }

    /// Whether the connection is under TLS.
    pub fn is_tls(&mut self, id: ConnId) -> bool {
        self.connection(id).is_some_and(|connection| connection.is_tls())
    }

    /// Closes the connection when its output has left.
    pub fn close(&mut self, id: ConnId) {
        let Some(connection) = self.connection(id) else { return };
        connection.closing = true;
        connection.paused = true;
        connection.say_goodbye();
        self.mark(id);
    }

    /// Closes the connection now.
    pub fn abort(&mut self, id: ConnId) {
        drop(self.remove(id));
    }

    /// Gives the socket away, with the input that was not consumed. Not for a connection under TLS. `None` when the
    /// connection is gone.
    pub fn release(&mut self, id: ConnId) -> Option<(OwnedFd, Vec<u8>)> {
        self.flush_connection(id);
        let connection = self.remove(id)?;
        Some((connection.socket.into_fd(), connection.input))
    }

    pub(crate) fn remove(&mut self, id: ConnId) -> Option<Box<Connection>> {
        self.connection(id)?;
        let mut connection = self.connections[id.slot()].take()?;
        // A descriptor that is about to close leaves the set by itself; a failure changes nothing.
        let _ = self.registry.deregister(connection.socket.source());
        self.free.push(id.slot());
        self.clients -= u32::from(connection.client);
        self.joined -= u32::from(connection.client && connection.passed_on);
        Some(connection)
    }

    /// From now on input of either connection is output of the other, with back-pressure; the end of one ends both. The
    /// service hears `closed` for `a`. The two do not count towards the limit of clients any more.
    pub fn join(&mut self, a: ConnId, b: ConnId) {
        for (from, to) in [(a, b), (b, a)] {
            let Some(connection) = self.connection(from) else { continue };
            connection.joined = Some(to);
            connection.deadline = None;
            let first = !std::mem::replace(&mut connection.passed_on, true);
            let client = first && connection.client;
            self.joined += u32::from(client);
            self.pending.push_back(Pending::Input(from));
        }
    }

    /// Sets the time at which [`crate::Service::timeout`] is called, or none.
    pub fn deadline(&mut self, id: ConnId, after: Option<Duration>) {
        let at = after.map(|after| self.now + after);
        let Some(connection) = self.connection(id) else { return };
        connection.deadline = at;
        // An earlier alarm finds the new deadline when it rings.
        if let Some(at) = at.filter(|&at| connection.armed.is_none_or(|armed| at < armed)) {
            connection.armed = Some(at);
            self.timers.set(at, Due::Connection(id.slot()));
        }
    }

    /// Sends what a connection has, as far as its socket takes it.
    pub(crate) fn flush_connection(&mut self, id: ConnId) -> bool {
        let Some(connection) = self.connection(id) else { return false };
        match connection.write() {
            Ok(done) => done,
            Err(why) => {
                self.pending.push_back(Pending::Over(id, why));
                false
            }
        }
    }

    // Peers.

    /// The channel to a hub, if it is there.
    pub fn hub(&self, hub: Hub) -> Option<PeerId> {
        self.peers.hub(hub)
    }

    /// Queues a message; it leaves at the end of the turn.
    ///
    /// # Errors
    /// [`SendError`], which the log tells; a channel that is gone takes messages and drops them, its end is told by
    /// `peer_down`.
    pub fn send<T: Serialize>(&mut self, id: PeerId, message: &T, fds: Vec<OwnedFd>) -> Result<(), SendError> {
        let Some(link) = self.peers.get(id) else { return Ok(()) };
        link.dirty = true;
        let sent = link.channel.send(message, fds);
        if let Err(error) = sent
            && !std::mem::replace(&mut link.explained, true)
        {
            slog::error!(self.logger, "channel to {}: {error}", link.peer);
        }
        sent
    }

    /// Bytes that wait for a peer to read them.
    pub fn queued(&mut self, id: PeerId) -> usize {
        self.peers.get(id).map_or(0, |link| link.channel.queued())
    }

    /// Asks for another turn once the channel has room.
    pub(crate) fn wait_for_room(&mut self, id: PeerId) {
        if let Some(link) = self.peers.get(id) {
            link.wants_room = true;
        }
    }

    /// A peer has sent nonsense: it is logged, and the channel ends.
    pub fn broken(&mut self, id: PeerId, error: Broken) {
        let Some(link) = self.peers.get(id) else { return };
        link.explained = true;
        slog::error!(self.logger, "channel to {}: {error}; the channel is closed", link.peer);
        self.drop_peer(id);
    }

    /// Takes one end of a stream socket pair as a channel to `peer`; `peer_up` is not called for it.
    ///
    /// # Errors
    /// What the system says.
    pub fn adopt_channel(&mut self, fd: OwnedFd, peer: Peer) -> std::io::Result<PeerId> {
        self.add_channel(fd, peer, None)
    }

    pub(crate) fn add_channel(&mut self, fd: OwnedFd, peer: Peer, number: Option<u32>) -> std::io::Result<PeerId> {
        let channel = Channel::new(fd.into())?;
        let raw = channel.as_raw_fd();
        let id = self.peers.add(channel, peer, number);
        let interest = Interest::READABLE | Interest::WRITABLE;
        let registered = self.registry.register(&mut SourceFd(&raw), Source::Peer(id).token(), interest);
        if registered.is_err() {
            self.peers.remove(id);
        }
        registered.map(|()| id)
    }

    /// Ends a channel. If it led to a hub, the master makes a new one in a while.
    pub fn drop_peer(&mut self, id: PeerId) {
        let Some(link) = self.peers.get(id).filter(|link| !link.lost) else { return };
        link.lost = true;
        if !std::mem::replace(&mut link.explained, true) {
            slog::warn!(self.logger, "channel to {}: given up", link.peer);
        }
        self.pending.push_back(Pending::PeerLost(id));
    }

    /// A channel has ended: what is to be told to the service and the master. `why` when the log is to say it.
    pub(crate) fn peer_ended(&mut self, id: PeerId, why: Option<std::io::Error>) {
        let Some(link) = self.peers.get(id) else { return };
        if let Some(why) = why {
            slog::error!(self.logger, "channel to {}: {why}", link.peer);
        }
        link.explained = true;
        self.drop_peer(id);
    }

    // The master.

    /// The way to `tlsmgr`, for [`crate::tls::server`].
    pub fn signatures(&self) -> Signatures {
        self.signatures.clone()
    }

    /// Asks for a connection to entry `index` of this service's foreign sockets; `foreign` is called with it.
    pub fn connect_foreign(&mut self, index: u16) {
        self.control.push_back(FromWorker::Connect { index });
    }

    /// From `auth`: asks for the process that acts for an account; `acting` is called with its inbox.
    pub fn acting(&mut self, request: ActingRequest) {
        let ActingRequest { corr, program, uid, gid, groups, roots } = request;
        self.control.push_back(FromWorker::Acting { corr, program, uid, gid, groups, roots });
    }

    /// From `qmgr`: has the delivery service of this name started, if it does not run.
    pub fn wake(&mut self, service: String) {
        self.control.push_back(FromWorker::Wake { service });
    }

    // Time, work, files.

    /// Calls [`crate::Service::timer`] with `key` once `after` has passed.
    pub fn timer(&mut self, after: Duration, key: u64) {
        self.timers.set(self.now + after, Due::Service(key));
    }

    /// How many threads the pool may have. Before the first job.
    pub fn set_threads(&mut self, threads: usize) {
        self.pool.set_threads(threads);
    }

    /// Runs a blocking job on the pool; its result comes through [`crate::Service::done`].
    ///
    /// # Errors
    /// The job, when too many wait: take less from the clients until some are done.
    pub fn run(&mut self, job: Box<dyn FnOnce() -> D + Send>) -> Result<(), Box<dyn FnOnce() -> D + Send>> {
        self.pool.run(job)
    }

    /// Jobs that are not finished.
    pub fn running(&self) -> usize {
        self.pool.running()
    }

    /// Calls [`crate::Service::readable`] with `key` when `fd` is readable (an inotify descriptor, a datagram socket).
    /// Edge-triggered: read until it would block. A descriptor that was watched under this key is closed.
    ///
    /// # Errors
    /// What the system says.
    pub fn watch(&mut self, key: u64, fd: OwnedFd) -> std::io::Result<RawFd> {
        self.unwatch(key);
        let raw = fd.as_raw_fd();
        self.registry.register(&mut SourceFd(&raw), Source::Watch(key).token(), Interest::READABLE)?;
        self.watches.insert(key, fd);
        Ok(raw)
    }

    /// The descriptor given to [`Cx::watch`].
    pub fn watched(&self, key: u64) -> Option<std::os::fd::BorrowedFd<'_>> {
        self.watches.get(&key).map(|fd| fd.as_fd())
    }

    /// Ends [`Cx::watch`] and gives the descriptor back.
    pub fn unwatch(&mut self, key: u64) -> Option<OwnedFd> {
        let fd = self.watches.remove(&key)?;
        // It was in the set, or the service would not have it here.
        let _ = self.registry.deregister(&mut SourceFd(&fd.as_raw_fd()));
        Some(fd)
    }
}
