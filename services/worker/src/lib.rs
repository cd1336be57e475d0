//! The skeleton of every worker: one event loop, connections with TLS, channels to other services, timers, a pool for
//! blocking work, the log, the jail, and the way a process starts, drains and ends. A service implements [`Service`] and
//! calls [`run`] from `main`; it sees events and gives orders to its [`Cx`], and touches no descriptor of its own.
//!
//! Phases: [`run`] reads what the master prepared, `pre_jail` is the only place that may open paths, then the jail, then
//! `start` and the loop. No network byte is read before the jail.
//!
//! All output of a turn leaves at its end: log lines first, then frames to peers, then bytes to clients, so that a peer
//! never acts on something before it is in the log, and a burst costs one system call for each socket.

mod boot;
mod connection;
mod cx;
mod detach;
#[cfg(feature = "misbehave")]
mod misbehave;
mod outbox;
mod peers;
mod pool;
mod run;
mod socket;
#[cfg(feature = "testing")]
pub mod testing;
mod timers;
pub mod tls;

pub use boot::{Folder, Setup, StartError};
pub use connection::{ConnId, Secured};
pub use cx::{ActingRequest, Cx};
pub use detach::{Detached, narrow};
pub use ipc_jail::Calls;
pub use ipc_messages::control::{Boot, Hub, Listener, Peer};
pub use ipc_wire::Frame;
pub use outbox::Outbox;
pub use peers::PeerId;
pub use run::run;
pub use socket::{Remote, Why};

use std::os::fd::OwnedFd;

use serde::de::DeserializeOwned;

/// One kind of worker. Every method but `start` and `NAME` has a default that fits a service without that kind of event.
pub trait Service: Sized {
    /// The program's name.
    const NAME: &'static str;
    /// The system calls it needs beside the loop's own.
    const CALLS: Calls;
    /// Its slice of the configuration, compiled and validated by the master.
    type Section: DeserializeOwned;
    /// What `pre_jail` opened.
    type Opened;
    /// What a job on the blocking pool brings back.
    type Done: Send + 'static;

    /// Opens what must be opened by path. Still privileged; must not read from the network.
    ///
    /// # Errors
    /// What keeps the service from starting; logged as fatal.
    fn pre_jail(section: &Self::Section, setup: &mut Setup) -> Result<Self::Opened, StartError>;

    /// Builds the service, inside the jail.
    ///
    /// # Errors
    /// As for `pre_jail`.
    fn start(
        section: Self::Section,
        opened: Self::Opened,
        setup: Setup,
        cx: &mut Cx<Self::Done>,
    ) -> Result<Self, StartError>;

    /// A client has connected to listener number `listener` of the [`Setup`].
    fn accepted(&mut self, _cx: &mut Cx<Self::Done>, _conn: ConnId, _listener: usize, _remote: Remote) {}
    /// The connection that was asked for with [`Cx::connect`] is made.
    fn connected(&mut self, _cx: &mut Cx<Self::Done>, _conn: ConnId) {}
    /// There is new input ([`Cx::input`]).
    fn input(&mut self, _cx: &mut Cx<Self::Done>, _conn: ConnId) {}
    /// All output of this connection has left.
    fn drained(&mut self, _cx: &mut Cx<Self::Done>, _conn: ConnId) {}
    /// The TLS handshake that was asked for is complete.
    fn secured(&mut self, _cx: &mut Cx<Self::Done>, _conn: ConnId, _how: Secured) {}
    /// The connection is over; what it had is gone. Not called for a connection that the service closed itself.
    fn closed(&mut self, _cx: &mut Cx<Self::Done>, _conn: ConnId, _why: Why) {}
    /// The time set with [`Cx::deadline`] has come.
    fn timeout(&mut self, _cx: &mut Cx<Self::Done>, _conn: ConnId) {}
    /// A channel to another process is there. `peer` says who. There is one channel to a hub at a time: `peer_down` has been
    /// called for its predecessor.
    fn peer_up(&mut self, _cx: &mut Cx<Self::Done>, _id: PeerId, _peer: &Peer) {}
    /// A frame from a peer. An error in it is told with [`Cx::broken`].
    fn frame(&mut self, _cx: &mut Cx<Self::Done>, _id: PeerId, _frame: Frame) {}
    /// The channel is gone; a hub comes back by itself with `peer_up`, which is never called before this.
    fn peer_down(&mut self, _cx: &mut Cx<Self::Done>, _id: PeerId, _peer: &Peer) {}
    /// A hand-off packet has come, with its descriptors.
    fn handoff(&mut self, _cx: &mut Cx<Self::Done>, _packet: Vec<u8>, _fds: Vec<OwnedFd>) {}
    /// The descriptor that was asked for with [`Cx::connect_foreign`] (a stream socket is then given to [`Cx::adopt`]), or
    /// the error number.
    fn foreign(&mut self, _cx: &mut Cx<Self::Done>, _index: u16, _result: Result<OwnedFd, i32>) {}
    /// Log files are to be opened anew.
    fn reopen(&mut self, _cx: &mut Cx<Self::Done>) {}
    /// A client waits for which no process has room: another one may be sent away.
    fn shed(&mut self, _cx: &mut Cx<Self::Done>) {}
    /// An answer of the master to [`Cx::acting`]: the inbox, or why not.
    fn acting(&mut self, _cx: &mut Cx<Self::Done>, _corr: u32, _inbox: Result<OwnedFd, String>) {}
    /// A timer set with [`Cx::timer`].
    fn timer(&mut self, _cx: &mut Cx<Self::Done>, _key: u64) {}
    /// A descriptor registered with [`Cx::watch`] is readable.
    fn readable(&mut self, _cx: &mut Cx<Self::Done>, _key: u64) {}
    /// A job on the pool is done.
    fn done(&mut self, _cx: &mut Cx<Self::Done>, _done: Self::Done) {}
    /// A child that this process detached says something, with its descriptors.
    fn child_says(&mut self, _cx: &mut Cx<Self::Done>, _pid: i32, _packet: &[u8], _fds: Vec<OwnedFd>) {}
    /// A child is gone.
    fn child_ended(&mut self, _cx: &mut Cx<Self::Done>, _pid: i32) {}
    /// After all events of a turn, before its output leaves.
    fn end_of_turn(&mut self, _cx: &mut Cx<Self::Done>) {}
    /// A new configuration section: for work that begins from now on.
    fn reload(&mut self, cx: &mut Cx<Self::Done>, section: Self::Section);
    /// No new work is to be taken. The loop ends by itself when no connection is left and [`Service::idle`] agrees.
    fn drain(&mut self, _cx: &mut Cx<Self::Done>) {}
    /// Whether the process may end: it has no work but its connections.
    fn idle(&self) -> bool {
        true
    }
}
