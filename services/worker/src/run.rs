//! The life of a worker: start, loop, end.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipc_messages::control::{BOOT_FD, Boot, CONTROL_FD, FromWorker, Hub, LOG_FD, MAX_CONTROL, Peer, ToWorker};
use ipc_messages::handoff::MAX_HANDOFF;
use ipc_wire::{Filled, packet};
use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Waker};

use crate::boot::{Setup, StartError};
use crate::connection::{ConnId, READ_SIZE};
use crate::cx::{Cx, Pending, Source};
use crate::detach::on_panic;
use crate::peers::{PeerId, Peers};
use crate::pool::Pool;
use crate::socket::{Acceptor, Why};
use crate::timers::{Due, Timers};
use crate::tls::Signatures;
use crate::{Calls, Service};

/// sysexits(3): the configuration.
const EX_CONFIG: u8 = 78;
/// Seconds in which a turn of the loop must end (Postfix's `daemon_timeout`); then the process is ended and replaced.
const WATCHDOG: u32 = 18_000;
/// How often the watchdog is told that all is well.
const WATCHDOG_PERIOD: Duration = Duration::from_secs(60);
/// Output a joined connection may have before its other half is read no further.
const JOINED_HIGH: usize = 256 * 1024;
/// How long a worker whose master is gone finishes what it has in hand: as long as the master gives its workers at a stop.
const ORPHANED: Duration = Duration::from_secs(5);
/// How long nobody is accepted after the system refused to.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);
/// Rounds of work in one turn before the sockets are asked again.
const ROUNDS: usize = 16;
/// How soon a child whose lifeline has ended is asked for its status again.
const ENDING: Duration = Duration::from_millis(50);
/// Threads of the pool, unless the service says otherwise.
const THREADS: usize = 4;

/// Runs a service: the whole of a worker's `main`.
pub fn run<S: Service>() -> ExitCode {
    let (setup, log) = match begin() {
        Ok(begun) => begun,
        Err(error) => {
            eprintln!("{}: {error}; this program is started by the master", S::NAME);
            return ExitCode::from(EX_CONFIG);
        }
    };
    on_panic(&log);
    let logger = log.logger();
    match Worker::<S>::start(setup, log.clone()) {
        Ok(mut worker) => {
            worker.turns();
            ExitCode::SUCCESS
        }
        Err(error) => {
            slog::crit!(logger, "{error}");
            log.flush();
            ExitCode::FAILURE
        }
    }
}

/// Takes what the master prepared.
fn begin() -> Result<(Setup, ipc_log::Sender), StartError> {
    let inherited = |fd, what: &str| {
        ipc_jail::sys::inherited(fd).map_err(|error| StartError::new(format!("descriptor of {what}"), error))
    };
    let mut bytes = Vec::new();
    let mut file = File::from(inherited(BOOT_FD, "boot")?);
    std::io::Read::read_to_end(&mut file, &mut bytes).map_err(|error| StartError::new("boot", error))?;
    let boot: Boot = postcard::from_bytes(&bytes).map_err(|error| StartError::new("boot", error))?;
    if boot.build != ipc_messages::control::build() {
        return Err(StartError(format!("the running master is of another build ({}): restart it", boot.build)));
    }
    let log = ipc_log::Sender::new(inherited(LOG_FD, "log")?, boot.identity.clone());
    Ok((Setup::new(boot)?, log))
}

struct Worker<S: Service> {
    service: S,
    cx: Cx<S::Done>,
    poll: Poll,
    control: OwnedFd,
    inbox: Option<OwnedFd>,
    listeners: Vec<Acceptor>,
    /// Listeners on which clients may wait that were not accepted for want of room.
    waiting: Vec<usize>,
    /// Until when nobody is accepted, for want of descriptors or memory.
    accept_again: Option<Instant>,
    /// Whether the log says that the last attempt to accept has failed.
    crowded: bool,
    /// When the process ends in any case, because its master is gone.
    orphaned: Option<Instant>,
    limits: Limits,
    /// Whether the master was told that there is room.
    told_room: bool,
    idle_since: Instant,
    alive_told: Instant,
    scratch: Vec<u8>,
    over: bool,
}

struct Limits {
    clients: u32,
    uses: u64,
    idle: Option<Duration>,
}

impl<S: Service> Worker<S> {
    fn start(mut setup: Setup, log: ipc_log::Sender) -> Result<Worker<S>, StartError> {
        let section = postcard::from_bytes(&setup.boot.section).map_err(|error| StartError::new("section", error))?;
        let control =
            ipc_jail::sys::inherited(CONTROL_FD).map_err(|error| StartError::new("descriptor of control", error))?;
        // Reads the time zone, which lies outside the jail.
        ipc_jail::sys::local_time(0);
        // Before the service takes its folders.
        let grants = setup.grants()?;
        let opened = S::pre_jail(&section, &mut setup)?;
        let calls = Calls { accept: S::CALLS.accept || !setup.listeners.is_empty(), ..S::CALLS };
        let entered =
            ipc_jail::enter(&setup.boot.jail, &grants, calls).map_err(|error| StartError(error.to_string()))?;
        let logger = log.logger();
        for (step, why) in &entered.left_out {
            slog::debug!(logger, "jail: {step:?} is left out: {why}");
        }
        let failed = |error: std::io::Error| StartError::new("event loop", error);
        let poll = Poll::new().map_err(failed)?;
        let waker = Arc::new(Waker::new(poll.registry(), Source::Waker.token()).map_err(failed)?);
        let now = Instant::now();
        let mut cx = Cx {
            registry: poll.registry().try_clone().map_err(failed)?,
            now,
            connections: Vec::new(),
            free: Vec::new(),
            generation: 0,
            dirty: Vec::new(),
            clients: 0,
            served: 0,
            peers: Peers::default(),
            timers: Timers::default(),
            pool: Pool::new(waker, THREADS),
            log,
            logger,
            control: Default::default(),
            pending: Default::default(),
            draining: false,
            watches: Default::default(),
            signatures: Signatures::default(),
            children: Default::default(),
        };
        let limits = Limits {
            clients: setup.boot.client_limit.max(1),
            uses: setup.boot.max_use.into(),
            idle: Some(Duration::from_secs(setup.boot.max_idle.into())).filter(|idle| !idle.is_zero()),
        };
        let unix: Vec<bool> = (0..setup.listeners.len()).map(|index| setup.is_unix(index)).collect();
        let listeners = std::mem::take(&mut setup.listeners);
        let mut listeners: Vec<Acceptor> =
            listeners.into_iter().zip(unix).map(|(fd, unix)| Acceptor::new(fd, unix)).collect();
        for (index, listener) in listeners.iter_mut().enumerate() {
            let token = Source::Listener(index).token();
            poll.registry().register(listener.source(), token, Interest::READABLE).map_err(failed)?;
        }
        let inbox = setup.inbox.take();
        for (fd, source) in [(Some(&control), Source::Control), (inbox.as_ref(), Source::Inbox)] {
            if let Some(fd) = fd {
                let mut fd = SourceFd(&fd.as_raw_fd());
                poll.registry().register(&mut fd, source.token(), Interest::READABLE).map_err(failed)?;
            }
        }
        let service = S::start(section, opened, setup, &mut cx)?;
        let waiting = (0..listeners.len()).collect();
        Ok(Worker {
            service,
            cx,
            poll,
            control,
            inbox,
            listeners,
            waiting,
            accept_again: None,
            crowded: false,
            orphaned: None,
            limits,
            told_room: false,
            idle_since: now,
            alive_told: now - WATCHDOG_PERIOD,
            scratch: vec![0; READ_SIZE],
            over: false,
        })
    }

    fn turns(&mut self) {
        let mut events = Events::with_capacity(256);
        self.settle();
        while !self.over {
            let wait = self.wait();
            match self.poll.poll(&mut events, wait) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => panic!("the event loop failed: {error}"),
            }
            self.cx.now = Instant::now();
            if self.cx.now - self.alive_told >= WATCHDOG_PERIOD {
                self.alive_told = self.cx.now;
                ipc_jail::sys::watchdog(WATCHDOG);
            }
            for event in &events {
                self.dispatch(event);
            }
            while let Some(due) = self.cx.timers.pop(self.cx.now) {
                self.due(due);
            }
            while let Some(done) = self.cx.pool.take() {
                self.service.done(&mut self.cx, done);
            }
            self.settle();
        }
        self.cx.log.flush();
    }

    /// How long to wait for events.
    fn wait(&self) -> Option<Duration> {
        if !self.cx.pending.is_empty() || !self.cx.dirty.is_empty() {
            return Some(Duration::ZERO);
        }
        let now = Instant::now();
        let mut wait = self.cx.timers.wait(now);
        let mut at_most = |limit: Duration| wait = Some(wait.map_or(limit, |wait| wait.min(limit)));
        if self.cx.log.waits() {
            at_most(Duration::from_millis(100));
        }
        if self.cx.children.ending() {
            at_most(ENDING);
        }
        for at in [self.accept_again, self.orphaned].into_iter().flatten() {
            at_most(at.saturating_duration_since(now));
        }
        if let Some(idle) = self.limits.idle.filter(|_| self.quiet() && self.cx.peers.clients() == 0) {
            at_most((self.idle_since + idle).saturating_duration_since(now));
        }
        wait
    }

    fn dispatch(&mut self, event: &Event) {
        match Source::of(event.token()) {
            Source::Control => self.control(),
            Source::Waker => {}
            Source::Inbox => self.inbox(),
            Source::Listener(index) => self.accept(index),
            Source::Peer(id) => self.peer(id, event),
            Source::Connection(slot) => self.connection(slot, event),
            Source::Watch(key) => self.service.readable(&mut self.cx, key),
            Source::Child(pid) => self.child(pid),
        }
    }

    /// Tells the service what happened meanwhile, then lets all output of the turn leave: log, peers, clients, master.
    fn settle(&mut self) {
        for _ in 0..ROUNDS {
            while let Some(pending) = self.cx.pending.pop_front() {
                self.pending(pending);
            }
            self.service.end_of_turn(&mut self.cx);
            self.cx.log.flush();
            self.flush_peers();
            let dirty = std::mem::take(&mut self.cx.dirty);
            for id in dirty {
                if let Some(connection) = self.cx.connection(id) {
                    connection.in_dirty_list = false;
                    self.flush(id);
                }
            }
            if self.cx.pending.is_empty() && self.cx.dirty.is_empty() {
                break;
            }
        }
        for (pid, signal) in self.cx.children.reap() {
            slog::error!(self.cx.logger, "child {pid} killed with signal {signal}");
        }
        self.room();
        self.flush_control();
        self.end_if_done();
    }

    fn pending(&mut self, pending: Pending) {
        match pending {
            Pending::Over(id, why) => self.over(id, why),
            Pending::Input(id) => self.read(id),
            Pending::Child(pid) => self.child(pid),
            Pending::PeerLost(id) => self.remove_peer(id),
        }
    }

    // Connections.

    fn accept(&mut self, index: usize) {
        loop {
            let room = self.cx.clients < self.limits.clients && self.accept_again.is_none();
            if self.cx.draining || !room || self.spent() {
                return self.wait_for_room(index);
            }
            match self.listeners[index].accept() {
                Ok((socket, remote)) => match self.cx.add(socket, true) {
                    Ok(id) => {
                        self.crowded = false;
                        self.service.accepted(&mut self.cx, id, index, remote);
                        self.read(id);
                    }
                    Err(error) => return self.pause_accepting(index, &error),
                },
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
                Err(error) if client_has_gone(&error) => {}
                Err(error) => return self.pause_accepting(index, &error),
            }
        }
    }

    /// The system refuses to accept (no descriptor, no memory): who waits is tried again in a while. The log hears of it once,
    /// not once for each attempt.
    fn pause_accepting(&mut self, index: usize, error: &std::io::Error) {
        if !std::mem::replace(&mut self.crowded, true) {
            slog::warn!(self.cx.logger, "accept connection: {error}: new clients wait");
        }
        self.accept_again = Some(self.cx.now + ACCEPT_PAUSE);
        self.wait_for_room(index);
    }

    fn wait_for_room(&mut self, index: usize) {
        if !self.waiting.contains(&index) {
            self.waiting.push(index);
        }
    }

    fn spent(&self) -> bool {
        self.limits.uses > 0 && self.cx.served >= self.limits.uses
    }

    fn connection(&mut self, slot: usize, event: &Event) {
        let Some(connection) = self.cx.connections.get_mut(slot).and_then(Option::as_deref_mut) else { return };
        let id = connection.id;
        connection.ready(event.is_read_closed());
        if connection.connecting {
            match connection.connect_done() {
                Ok(true) => self.service.connected(&mut self.cx, id),
                Ok(false) => return,
                Err(why) => return self.over(id, why),
            }
        }
        let Some(connection) = self.cx.connection(id) else { return };
        if event.is_writable() && connection.pending() > 0 {
            self.flush(id);
        }
        self.read(id);
    }

    fn read(&mut self, id: ConnId) {
        let Some(connection) = self.cx.connection(id) else { return };
        if connection.closing || connection.paused || connection.connecting {
            return;
        }
        let had = !connection.input.is_empty();
        let progress = connection.read(&mut self.scratch);
        let handshake = connection.is_tls() && !connection.eof;
        if handshake {
            // A handshake answers by itself.
            self.flush(id);
        }
        if let Some(how) = progress.secured {
            self.service.secured(&mut self.cx, id, how);
        }
        if progress.input || had {
            match self.cx.connection(id).and_then(|connection| connection.joined) {
                Some(to) => self.pass_on(id, to),
                None if self.cx.connection(id).is_some_and(|connection| !connection.input.is_empty()) => {
                    self.service.input(&mut self.cx, id);
                }
                None => {}
            }
        }
        if let Some(why) = progress.over {
            self.over(id, why);
        }
    }

    /// Input of a joined connection goes to its other half.
    fn pass_on(&mut self, from: ConnId, to: ConnId) {
        let Some(connection) = self.cx.connection(from) else { return };
        let input = std::mem::take(&mut connection.input);
        self.cx.write(to, &input);
        let behind = self.cx.unsent(to) > JOINED_HIGH;
        if let Some(connection) = self.cx.connection(from) {
            connection.paused = behind;
            if !behind && connection.readable {
                self.cx.pending.push_back(Pending::Input(from));
            }
        }
    }

    fn flush(&mut self, id: ConnId) {
        if !self.cx.flush_connection(id) {
            return;
        }
        let Some(connection) = self.cx.connection(id) else { return };
        if connection.closing {
            self.cx.abort(id);
            return;
        }
        match connection.joined {
            Some(other) => {
                if self.cx.connection(other).is_some_and(|other| other.paused) {
                    self.cx.pause(other, false);
                }
            }
            None => self.service.drained(&mut self.cx, id),
        }
    }

    fn over(&mut self, id: ConnId, why: Why) {
        // What a service answers to input that came with the end still leaves, as far as the socket takes it.
        self.cx.flush_connection(id);
        let Some(connection) = self.cx.remove(id) else { return };
        if let Some(other) = connection.joined {
            self.cx.close(other);
            if let Some(other) = self.cx.connection(other) {
                other.joined = None;
            }
        }
        if !connection.closing {
            self.service.closed(&mut self.cx, id, why);
        }
    }

    fn due(&mut self, due: Due) {
        match due {
            Due::Service(key) => self.service.timer(&mut self.cx, key),
            Due::Connection(slot) => {
                let now = self.cx.now;
                let Some(connection) = self.cx.connections.get_mut(slot).and_then(Option::as_deref_mut) else { return };
                connection.armed = None;
                let id = connection.id;
                match connection.deadline {
                    Some(deadline) if deadline <= now => {
                        connection.deadline = None;
                        self.service.timeout(&mut self.cx, id);
                    }
                    Some(deadline) => {
                        connection.armed = Some(deadline);
                        self.cx.timers.set(deadline, due);
                    }
                    None => {}
                }
            }
        }
    }

    /// A child says something, or is gone. One that talks without end does not keep the loop from others.
    fn child(&mut self, pid: i32) {
        for _ in 0..ROUNDS {
            match self.cx.children.receive(pid) {
                Ok(Some(packet)) => self.service.child_says(&mut self.cx, pid, &packet.bytes, packet.fds),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
                Ok(None) | Err(_) => {
                    if self.cx.children.ended(&self.cx.registry, pid) {
                        self.service.child_ended(&mut self.cx, pid);
                    }
                    return;
                }
            }
        }
        self.cx.pending.push_back(Pending::Child(pid));
    }

    // Peers.

    fn add_peer(&mut self, fd: OwnedFd, peer: Peer, link: u32) {
        if peer == Peer::Hub(Hub::Tlsmgr) {
            // Signatures are asked for in the middle of a handshake, not by the loop.
            return self.cx.keys_are_there(fd, link);
        }
        while let Peer::Hub(hub) = peer
            && let Some(old) = self.cx.peers.any(hub)
        {
            self.retire(old);
        }
        match self.cx.add_channel(fd, peer.clone(), Some(link)) {
            Ok(id) => self.service.peer_up(&mut self.cx, id, &peer),
            Err(error) => slog::error!(self.cx.logger, "channel: {error}"),
        }
    }

    /// A successor is there: what the old channel has brought is taken, and it ends.
    fn retire(&mut self, id: PeerId) {
        if let Some(link) = self.cx.peers.get(id).filter(|link| !link.lost) {
            link.explained = true;
            // What cannot be read is lost with the channel.
            let _ = link.channel.fill();
            self.take_frames(id);
        }
        self.remove_peer(id);
    }

    fn remove_peer(&mut self, id: PeerId) {
        let Some(link) = self.cx.peers.remove(id) else { return };
        // It closes now and leaves the set by itself.
        let _ = self.cx.registry.deregister(&mut SourceFd(&link.channel.as_raw_fd()));
        self.service.peer_down(&mut self.cx, id, &link.peer);
        if let (Peer::Hub(hub), Some(link)) = (link.peer, link.number) {
            self.cx.control.push_back(FromWorker::Lost { hub, link });
        }
    }

    fn peer(&mut self, id: PeerId, event: &Event) {
        loop {
            let Some(link) = self.cx.peers.get(id).filter(|link| !link.lost) else { return };
            if link.channel.queued() > 0 {
                link.dirty = true;
            }
            let filled = link.channel.fill();
            if !self.take_frames(id) {
                return;
            }
            match filled {
                Ok(Filled::Ended) => return self.cx.peer_ended(id, None),
                Err(error) => return self.cx.peer_ended(id, Some(error).filter(|error| !has_gone(error))),
                Ok(Filled::Emptied) if !event.is_read_closed() => return,
                // Behind the last frames stands the end, of which no further event tells.
                Ok(Filled::Emptied | Filled::Full) => {}
            }
        }
    }

    /// Gives the service what has come from a peer. Returns whether the channel is still there.
    fn take_frames(&mut self, id: PeerId) -> bool {
        loop {
            let Some(link) = self.cx.peers.get(id).filter(|link| !link.lost) else { return false };
            match link.channel.next_frame() {
                Ok(Some(frame)) => self.service.frame(&mut self.cx, id, frame),
                Ok(None) => return true,
                Err(error) => {
                    self.cx.broken(id, error);
                    return false;
                }
            }
        }
    }

    fn flush_peers(&mut self) {
        let mut ended = Vec::new();
        for link in self.cx.peers.iter_mut().filter(|link| link.dirty && !link.lost) {
            // What does not leave now leaves in a later turn: the socket, or one whose descriptors are in its way, makes one
            // when it is read.
            match link.channel.flush() {
                Ok(all) => link.dirty = !all,
                Err(error) => ended.push((link.id, error)),
            }
        }
        for (id, error) in ended {
            self.cx.peer_ended(id, Some(error).filter(|error| !has_gone(error)));
        }
        if let Some((link, why)) = self.cx.signatures.take_lost() {
            slog::error!(self.cx.logger, "channel to tlsmgr: {why}; the channel is closed");
            self.cx.control.push_back(FromWorker::Lost { hub: Hub::Tlsmgr, link });
        }
    }

    fn inbox(&mut self) {
        while let Some(inbox) = self.inbox.as_ref().filter(|_| !self.cx.draining) {
            match packet::receive(inbox.as_fd(), MAX_HANDOFF) {
                Ok(Some(packet)) => self.service.handoff(&mut self.cx, packet.bytes, packet.fds),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                    slog::warn!(self.cx.logger, "hand-off: {error}");
                }
                Ok(None) | Err(_) => return,
            }
        }
    }

    // The master.

    fn control(&mut self) {
        loop {
            match packet::receive(self.control.as_fd(), MAX_CONTROL) {
                Ok(Some(packet)) => {
                    // The master is us; what it says is never nonsense unless a bug is at work.
                    let message = postcard::from_bytes(&packet.bytes).expect("a control message that does not decode");
                    self.order(message, packet.fds);
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
                Ok(None) | Err(_) => {
                    // The master is gone: finish what is in hand.
                    let control = self.control.as_raw_fd();
                    let _ = self.cx.registry.deregister(&mut SourceFd(&control));
                    self.orphaned = Some(self.cx.now + ORPHANED);
                    return self.drain();
                }
            }
        }
    }

    fn order(&mut self, message: ToWorker, fds: Vec<OwnedFd>) {
        let mut fds = fds.into_iter();
        match (message, fds.next()) {
            (ToWorker::Peer { peer, link }, Some(fd)) => self.add_peer(fd, peer, link),
            (ToWorker::Section, Some(fd)) => self.reload(fd.as_fd()),
            (ToWorker::Drain, _) => self.drain(),
            (ToWorker::Connected { index }, Some(fd)) => self.service.foreign(&mut self.cx, index, Ok(fd)),
            (ToWorker::ConnectFailed { index, errno }, _) => self.service.foreign(&mut self.cx, index, Err(errno)),
            (ToWorker::Inbox { corr }, Some(fd)) => self.service.acting(&mut self.cx, corr, Ok(fd)),
            (ToWorker::ActingRefused { corr, reason }, _) => self.service.acting(&mut self.cx, corr, Err(reason)),
            (ToWorker::Reopen, _) => self.service.reopen(&mut self.cx),
            (message, None) => panic!("the master sent {message:?} without its descriptor"),
        }
    }

    fn reload(&mut self, fd: BorrowedFd<'_>) {
        use std::io::{Read, Seek};
        let mut bytes = Vec::new();
        let section = fd.try_clone_to_owned().and_then(|fd| {
            let mut file = File::from(fd);
            file.rewind()?;
            file.read_to_end(&mut bytes)
        });
        match section
            .map_err(|error| error.to_string())
            .and_then(|_| postcard::from_bytes(&bytes).map_err(|error| error.to_string()))
        {
            Ok(section) => self.service.reload(&mut self.cx, section),
            Err(error) => slog::error!(self.cx.logger, "the new configuration cannot be read: {error}"),
        }
    }

    fn drain(&mut self) {
        if !self.cx.draining {
            self.cx.draining = true;
            // Closed at once: while a draining process held them, nobody else could listen there. What waits in their
            // queues is accepted by those who share them.
            for mut listener in self.listeners.drain(..) {
                let _ = self.poll.registry().deregister(listener.source());
            }
            self.waiting.clear();
            self.service.drain(&mut self.cx);
        }
    }

    /// Accepts who waits when there is room again, and tells the master when that changes: a listener nobody has room
    /// for makes it start another process.
    fn room(&mut self) {
        self.accept_again = self.accept_again.filter(|&again| again > self.cx.now);
        let room = self.limits.clients.saturating_sub(self.cx.all_clients());
        let room = if self.cx.draining || self.spent() { 0 } else { room };
        if room > 0 && self.accept_again.is_none() {
            for index in std::mem::take(&mut self.waiting) {
                self.accept(index);
            }
        }
        if (room > 0) != self.told_room {
            self.told_room = room > 0;
            self.cx.control.push_back(FromWorker::Status { clients: self.cx.all_clients(), free: room });
        }
    }

    fn flush_control(&mut self) {
        while let Some(message) = self.cx.control.front() {
            // A control message is small and has no type that postcard refuses.
            let bytes = postcard::to_stdvec(message).expect("a control message");
            match packet::send(self.control.as_fd(), &bytes, &[]) {
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
                // Gone: the read side notices.
                Ok(()) | Err(_) => self.cx.control.pop_front(),
            };
        }
    }

    /// Whether nothing keeps this process.
    fn quiet(&self) -> bool {
        self.cx.all_clients() == 0 && self.cx.pool.running() == 0 && self.service.idle()
    }

    fn end_if_done(&mut self) {
        if self.orphaned.is_some_and(|until| until <= self.cx.now) {
            slog::warn!(self.cx.logger, "the master is gone: what is in hand is given up");
            self.over = true;
        }
        if !self.quiet() {
            self.idle_since = self.cx.now;
            return;
        }
        let unsent = self.cx.peers.iter_mut().any(|link| link.channel.queued() > 0);
        let since = self.cx.now - self.idle_since;
        let idle = self.cx.peers.clients() == 0 && self.limits.idle.is_some_and(|limit| since >= limit);
        if !unsent && (self.cx.draining || self.spent() || idle) {
            self.over = true;
        }
    }
}

/// Whether an error of a channel says that the process at its other end has ended, which nobody is to blame for here.
fn has_gone(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::BrokenPipe | std::io::ErrorKind::ConnectionReset)
}

/// Whether an error of `accept` is about the client that was to be accepted (accept(2)), not about us.
fn client_has_gone(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{
        ConnectionAborted, ConnectionReset, HostUnreachable, NetworkUnreachable, NotConnected, TimedOut,
    };
    let kinds = [ConnectionAborted, ConnectionReset, HostUnreachable, NetworkUnreachable, NotConnected, TimedOut];
    kinds.contains(&error.kind())
}
