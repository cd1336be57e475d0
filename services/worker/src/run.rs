//! The life of a worker: start, loop, end.

mod clients;
mod orders;
mod peers;

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipc_messages::control::{BOOT_FD, Boot, CONTROL_FD, LOG_FD};
use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Waker};

use crate::boot::{Setup, StartError};
use crate::connection::READ_SIZE;
use crate::cx::{Cx, Pending, Source};
use crate::detach::on_panic;
use crate::peers::Peers;
use crate::pool::Pool;
use crate::socket::Acceptor;
use crate::timers::{Due, Timers};
use crate::tls::Signatures;
use crate::{Calls, Service};

/// sysexits(3): the configuration.
const EX_CONFIG: u8 = 78;
/// Seconds in which a turn of the loop must end (Postfix's `daemon_timeout`); then the process is ended and replaced.
const WATCHDOG: u32 = 18_000;
/// How often the watchdog is told that all is well.
const WATCHDOG_PERIOD: Duration = Duration::from_secs(60);
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
        #[cfg(feature = "misbehave")]
        crate::misbehave::prepare();
        let entered =
            ipc_jail::enter(&setup.boot.jail, &grants, calls).map_err(|error| StartError(error.to_string()))?;
        let logger = log.logger();
        #[cfg(feature = "misbehave")]
        crate::misbehave::act(&logger, S::NAME);
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
            joined: 0,
            served: 0,
            peers: Peers::default(),
            timers: Timers::default(),
            pool: Pool::new(waker, THREADS),
            log,
            logger,
            control: Default::default(),
            pending: Default::default(),
            again: false,
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
        if !self.cx.pending.is_empty() || !self.cx.dirty.is_empty() || self.cx.again {
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
            self.cx.again = false;
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
            if self.cx.pending.is_empty() && self.cx.dirty.is_empty() && !self.cx.again {
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
