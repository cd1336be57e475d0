//! Carries out what the policy decides: processes, listeners, channels between workers, the connector.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use ipc_messages::control::{Acting, Folder, FolderAccess, FromWorker, Hub, Peer, ToWorker};
use ipc_messages::log::{Half as LogHalf, Severity};
use ipc_wire::packet;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use slog::Logger;

use crate::listen;
use crate::policy::{Action, Pid, Policy, ServiceId};
use crate::process::{self, Base, Process};
use crate::program::Program;
use crate::table::{AccountRules, Half, Spec, Table};

/// Tokens of listeners and inboxes: the service, and which of its sockets.
const LISTENER: usize = 1 << 60;
/// Tokens of control channels: the process id.
const CONTROL: usize = 2 << 60;
/// Sockets of one service, for its tokens.
const SOCKETS: usize = 1 << 16;
/// Bytes of log lines that may wait for the log service.
const LOG_BUFFER: usize = 4 * 1024 * 1024;
/// How long the log service may take to write its last lines.
const LOG_PATIENCE: Duration = Duration::from_secs(1);

/// A service that runs.
#[derive(Debug)]
struct Service {
    spec: Spec,
    listeners: Vec<OwnedFd>,
    /// The hand-off inbox: the end that its processes read, and the one that is given to senders.
    inbox: Option<(OwnedFd, OwnedFd)>,
    /// For a service of an account: which.
    acting: Option<ActingKey>,
}

/// Names the service of an account.
type ActingKey = (Acting, u32, u32, Vec<u32>, Vec<PathBuf>);

/// Everything that runs.
pub struct Supervisor {
    registry: Registry,
    log: Logger,
    sender: ipc_log::Sender,
    base: Base,
    binaries: PathBuf,
    programs: BTreeMap<&'static str, OwnedFd>,
    services: BTreeMap<ServiceId, Service>,
    next_service: ServiceId,
    policy: Policy,
    processes: BTreeMap<Pid, Process>,
    acting_specs: BTreeMap<Acting, Spec>,
    accounts: AccountRules,
    /// The end of the log that the log service reads.
    log_inbox: OwnedFd,
    ending: bool,
}

impl Supervisor {
    /// Nothing runs yet. `log_inbox` is the reading end of `base.log`.
    pub fn new(
        registry: Registry,
        sender: ipc_log::Sender,
        base: Base,
        log_inbox: OwnedFd,
        binaries: PathBuf,
    ) -> Supervisor {
        // The default of some 200 KB is little for a burst; without the right to raise it the default stays.
        let _ = nix::sys::socket::setsockopt(&base.log, nix::sys::socket::sockopt::SndBufForce, &LOG_BUFFER);
        let _ = nix::sys::socket::setsockopt(&log_inbox, nix::sys::socket::sockopt::PassCred, &true);
        Supervisor {
            registry,
            log: sender.logger(),
            sender,
            base,
            binaries,
            programs: BTreeMap::new(),
            services: BTreeMap::new(),
            next_service: 1,
            policy: Policy::default(),
            processes: BTreeMap::new(),
            acting_specs: BTreeMap::new(),
            accounts: AccountRules { first_uid: 1, last_uid: 0, first_gid: 1, last_gid: 0 },
            log_inbox,
            ending: false,
        }
    }

    /// Opens every executable that the table needs, once.
    fn open_programs(&mut self, table: &Table) -> Result<(), Vec<String>> {
        let mut errors = Vec::new();
        for program in table.services.iter().chain(table.acting.values()).map(|spec| spec.program) {
            if self.programs.contains_key(program.name) {
                continue;
            }
            match process::open_program(&self.binaries, program.name) {
                Ok(fd) => drop(self.programs.insert(program.name, fd)),
                Err(error) => errors.push(format!("{}: {error}", self.binaries.join(program.name).display())),
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// Makes what runs agree with `table`: services that are new are started, those that are gone finish their work,
    /// those that changed keep the listeners that did not and get their new settings. All listeners are opened before
    /// anything else changes.
    ///
    /// # Errors
    /// Every listener that cannot be opened, every program that is missing; nothing has changed then.
    pub fn apply(&mut self, table: Table) -> Result<(), Vec<String>> {
        self.open_programs(&table)?;
        let mut plan = Vec::new();
        let mut errors = Vec::new();
        for spec in table.services {
            let old = self.services.iter().find(|(_, service)| service.spec.key == spec.key).map(|(&id, _)| id);
            match self.listeners_for(old, &spec) {
                Ok(listeners) => plan.push((old, spec, listeners)),
                Err(mut failed) => errors.append(&mut failed),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let kept: Vec<ServiceId> = plan.iter().filter_map(|(old, ..)| *old).collect();
        let gone: Vec<ServiceId> = self
            .services
            .iter()
            .filter(|(id, s)| s.acting.is_none() && !kept.contains(id))
            .map(|(&id, _)| id)
            .collect();
        for id in gone {
            self.stop_service(id);
        }
        self.accounts = table.accounts;
        self.apply_acting(table.acting);
        for (old, spec, listeners) in plan {
            match old {
                Some(id) => self.change(id, spec, listeners),
                None => self.add(spec, listeners, None),
            }
        }
        self.introduce_to_late_hubs();
        Ok(())
    }

    /// Connects processes to hubs that came into the table after them.
    fn introduce_to_late_hubs(&mut self) {
        let mut lacking = Vec::new();
        for (&pid, process) in &self.processes {
            let talks = self.program_of(pid).map_or(&[][..], |program| program.talks);
            lacking.extend(talks.iter().filter(|&hub| !process.links.contains_key(hub)).map(|&hub| (pid, hub)));
        }
        for (pid, hub) in lacking {
            self.introduce(pid, hub);
        }
    }

    /// The listeners of `spec`: those of the running service `old` that are the same, new ones otherwise.
    fn listeners_for(&self, old: Option<ServiceId>, spec: &Spec) -> Result<Vec<OwnedFd>, Vec<String>> {
        let (mut listeners, mut errors) = (Vec::new(), Vec::new());
        let old = old.and_then(|id| self.services.get(&id));
        for listener in &spec.listeners {
            let same = old.and_then(|old| {
                let at = old.spec.listeners.iter().position(|other| other.at == listener.at)?;
                old.listeners[at].as_fd().try_clone_to_owned().ok()
            });
            match same.map_or_else(|| listen::open(listener), Ok) {
                Ok(fd) => listeners.push(fd),
                Err(error) => errors.push(format!("{}: listen on {}: {error}", spec.name, listener.at)),
            }
        }
        if errors.is_empty() { Ok(listeners) } else { Err(errors) }
    }

    fn add(&mut self, spec: Spec, listeners: Vec<OwnedFd>, acting: Option<ActingKey>) {
        let id = self.next_service;
        self.next_service += 1;
        let rules = spec.rules.clone();
        let inbox = match (&acting, spec.program.name) {
            (Some(_), _) => packet::pair().ok(),
            (None, "postlogd") => {
                let ends =
                    self.log_inbox.as_fd().try_clone_to_owned().and_then(|a| Ok((a, self.base.log.try_clone()?)));
                ends.ok()
            }
            _ => None,
        };
        self.services.insert(id, Service { spec, listeners, inbox, acting });
        let actions = self.policy.add(id, rules, Instant::now());
        self.act(actions);
    }

    /// New settings for a running service. Its processes finish their connections under the old ones; processes that have
    /// no connections of their own (hubs) take the new section over.
    fn change(&mut self, id: ServiceId, spec: Spec, listeners: Vec<OwnedFd>) {
        let Some(service) = self.services.get_mut(&id) else { return };
        if service.spec == spec {
            return;
        }
        let live = service.spec.program.hub.is_some()
            && Spec { section: Vec::new(), ..service.spec.clone() } == Spec { section: Vec::new(), ..spec.clone() };
        let rules = spec.rules.clone();
        let section = spec.section.clone();
        let unpolled = self.unpoll(id);
        let Some(service) = self.services.get_mut(&id) else { return };
        service.spec = spec;
        service.listeners = listeners;
        if unpolled {
            self.poll(id);
        }
        if live {
            let pids: Vec<Pid> = self.policy.processes_of(id).collect();
            for pid in pids {
                if let Ok(memory) = ipc_jail::sys::sealed_memory(c"section", &section) {
                    self.order(pid, &ToWorker::Section, vec![memory]);
                }
            }
        }
        let mut actions = self.policy.change(id, rules, Instant::now());
        if !live {
            actions.extend(self.policy.drain(id));
        }
        self.act(actions);
    }

    /// New settings for the programs that act for accounts. A service that runs keeps its inbox, which `auth` and the login
    /// processes hold; its processes finish their sessions under the old settings.
    fn apply_acting(&mut self, specs: BTreeMap<Acting, Spec>) {
        let changed: Vec<Acting> = self
            .acting_specs
            .iter()
            .filter(|(acting, spec)| specs.get(acting) != Some(spec))
            .map(|(&acting, _)| acting)
            .collect();
        self.acting_specs = specs;
        let stale = |service: &Service| service.acting.clone().filter(|key| changed.contains(&key.0));
        let stale: Vec<(ServiceId, ActingKey)> =
            self.services.iter().filter_map(|(&id, service)| Some((id, stale(service)?))).collect();
        for (id, key) in stale {
            match self.acting_spec(&key) {
                Some(spec) => self.change(id, spec, Vec::new()),
                None => self.stop_service(id),
            }
        }
    }

    /// What a process that acts for an account is started from.
    fn acting_spec(&self, key: &ActingKey) -> Option<Spec> {
        let (acting, uid, gid, groups, roots) = key;
        let mut spec = self.acting_specs.get(acting)?.clone();
        spec.key = format!("{}:{uid}:{gid}:{groups:?}:{roots:?}", spec.key);
        spec.account = crate::table::Account { uid: *uid, gid: *gid, groups: groups.clone() };
        let folder = |path: &PathBuf| Folder { path: path.clone(), access: FolderAccess::Write };
        spec.folders.extend(roots.iter().map(folder));
        Some(spec)
    }

    fn stop_service(&mut self, id: ServiceId) {
        self.unpoll(id);
        let actions = self.policy.remove(id);
        self.act(actions);
        if let Some(service) = self.services.get_mut(&id) {
            service.spec.key.clear();
            for (listener, fd) in service.spec.listeners.iter().zip(service.listeners.drain(..)) {
                if let crate::table::At::Unix { path, .. } = &listener.at {
                    // The name goes with the listener, so that clients see that nobody is there.
                    let _ = std::fs::remove_file(path);
                }
                drop(fd);
            }
            service.spec.listeners.clear();
        }
        self.forget_if_over(id);
    }

    /// Drops a stopped service whose last process has ended.
    fn forget_if_over(&mut self, id: ServiceId) {
        let stopped = self.services.get(&id).is_some_and(|service| service.spec.key.is_empty());
        if stopped && self.policy.processes_of(id).next().is_none() {
            self.services.remove(&id);
        }
    }

    /// Everything finishes its work and ends.
    pub fn end(&mut self) {
        self.ending = true;
        let mut ids: Vec<ServiceId> = self.services.keys().copied().collect();
        // The log service stays to the last.
        ids.retain(|id| self.services[id].spec.program.name != "postlogd");
        for id in ids {
            self.stop_service(id);
        }
    }

    /// Whether only the log service is left (while ending).
    pub fn ended(&self) -> bool {
        self.ending
            && self.processes.keys().all(|&pid| self.program_of(pid).is_some_and(|program| program.name == "postlogd"))
    }

    /// Sends a signal to every process that is left but the log service.
    pub fn kill_all_but_log(&self, signal: Signal) {
        for &pid in
            self.processes.keys().filter(|&&pid| self.program_of(pid).is_none_or(|program| program.name != "postlogd"))
        {
            // One that has just ended is reaped in its turn.
            let _ = kill(nix::unistd::Pid::from_raw(pid), signal);
        }
    }

    /// Lets the log service write what it has, and waits for it a moment.
    pub fn end_log(&mut self) {
        let mut ids: Vec<ServiceId> = self.services.keys().copied().collect();
        ids.retain(|id| self.services[id].spec.program.name == "postlogd");
        ids.into_iter().for_each(|id| self.stop_service(id));
        let start = Instant::now();
        while !self.processes.is_empty() && start.elapsed() < LOG_PATIENCE {
            std::thread::sleep(Duration::from_millis(5));
            self.reap();
        }
    }

    /// `table` with the running services of halves whose configuration is `bad` in place of their new ones, and then with
    /// those that serve both halves as they run: the new ones would know one half alone (its keys, its log files).
    pub fn keep(&self, mut table: Table, bad: &[(Half, bool)]) -> Table {
        let bad: Vec<Half> = bad.iter().filter(|(_, bad)| *bad).map(|(half, _)| *half).collect();
        let common = (!bad.is_empty()).then_some(Half::Common);
        for half in bad.into_iter().chain(common) {
            table.services.retain(|spec| spec.half != half);
            let running =
                self.services.values().filter(|s| s.spec.half == half && s.acting.is_none() && !s.spec.key.is_empty());
            table.services.extend(running.map(|service| service.spec.clone()));
            if half == Half::Mailbox {
                table.acting = self.acting_specs.clone();
                table.accounts = self.accounts.clone();
            }
        }
        table
    }

    /// Log files of a half are opened anew.
    pub fn reopen_logs(&mut self) {
        let pids: Vec<Pid> = self
            .processes
            .keys()
            .copied()
            .filter(|&pid| self.program_of(pid).is_some_and(|p| p.name == "postlogd"))
            .collect();
        for pid in pids {
            self.order(pid, &ToWorker::Reopen, Vec::new());
        }
    }

    /// Something with one of this module's tokens is readable.
    pub fn ready(&mut self, token: Token) {
        if token.0 & CONTROL == CONTROL {
            return self.messages((token.0 & !CONTROL) as Pid);
        }
        let id = ((token.0 & !LISTENER) / SOCKETS) as ServiceId;
        let actions = self.policy.readable(id);
        self.act(actions);
    }

    /// Whether a token is one of this module's.
    pub fn owns(token: Token) -> bool {
        token.0 & (LISTENER | CONTROL) != 0
    }

    /// Time has passed: throttles end, services are woken, orders that waited are sent.
    pub fn tick(&mut self, now: Instant) {
        let actions = self.policy.tick(now);
        self.act(actions);
        for process in self.processes.values_mut() {
            process.flush();
        }
    }

    /// When [`Supervisor::tick`] has something to do.
    pub fn next_tick(&self) -> Option<Instant> {
        self.policy.next_tick()
    }

    /// Reaps every process that has ended.
    pub fn reap(&mut self) {
        while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            let (pid, failed, how) = match status {
                WaitStatus::Exited(pid, code) => (pid, code != 0, format!("exit status {code}")),
                WaitStatus::Signaled(pid, signal, _) => (pid, true, format!("killed by {signal}")),
                WaitStatus::StillAlive => return,
                _ => continue,
            };
            self.exited(pid.as_raw(), failed, &how);
        }
    }

    fn exited(&mut self, pid: Pid, failed: bool, how: &str) {
        let Some(process) = self.processes.remove(&pid) else { return };
        // It closes now and leaves the set by itself.
        let _ = self.registry.deregister(&mut SourceFd(&process.control.as_raw_fd()));
        let Some(id) = self.policy.service_of(pid) else { return };
        if failed && !self.ending {
            let name = self.services.get(&id).map_or("?", |service| service.spec.program.name);
            slog::warn!(self.log, "process {name} pid {pid} {how}");
        }
        let hub = self.program_of(pid).and_then(|program| program.hub);
        let actions = self.policy.exited(pid, failed, Instant::now());
        self.act(actions);
        if let Some(hub) = hub.filter(|_| !self.ending) {
            self.reconnect(hub);
        }
        self.forget_if_over(id);
    }

    /// A hub has gone: if anybody talks to it, a successor is started, which everybody is connected to.
    fn reconnect(&mut self, hub: Hub) {
        let talks = |pid: Pid| self.program_of(pid).is_some_and(|program| program.talks.contains(&hub));
        if let Some(pid) = self.processes.keys().copied().find(|&pid| talks(pid)) {
            self.introduce(pid, hub);
        }
    }

    fn program_of(&self, pid: Pid) -> Option<&'static Program> {
        self.policy.service_of(pid).and_then(|id| self.services.get(&id)).map(|service| service.spec.program)
    }

    fn act(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Spawn(id) => self.spawn(id),
                Action::Poll(id) => self.poll(id),
                Action::Unpoll(id) => drop(self.unpoll(id)),
                Action::Shed(pid) => self.order(pid, &ToWorker::Shed, Vec::new()),
                Action::Drain(pid) => self.order(pid, &ToWorker::Drain, Vec::new()),
                Action::Wake(id) => {
                    if self.policy.processes_of(id).next().is_none() && !self.policy.throttled(id) {
                        self.spawn(id);
                    }
                }
                Action::Throttled(id, pause) => {
                    let name = self.services.get(&id).map_or("?", |service| service.spec.program.name);
                    slog::warn!(self.log, "{name}: bad command startup -- throttling for {} s", pause.as_secs());
                }
                Action::Full(id) => {
                    if let Some(Service { spec, .. }) = self.services.get(&id) {
                        match spec.half {
                            Half::Mailbox => {
                                let (half, severity) = (LogHalf::Mailbox, Severity::Warning);
                                self.sender.line_as(half, "master", severity, spec.full.clone());
                            }
                            Half::Common | Half::Transport => slog::warn!(self.log, "{}", spec.full),
                        }
                    }
                }
            }
        }
    }

    fn poll(&mut self, id: ServiceId) {
        self.with_sockets(id, |registry, fd, token| registry.register(&mut SourceFd(&fd), token, Interest::READABLE));
    }

    /// Returns whether the sockets were watched.
    fn unpoll(&mut self, id: ServiceId) -> bool {
        self.with_sockets(id, |registry, fd, _| registry.deregister(&mut SourceFd(&fd)))
    }

    /// Does something with each socket by which the service is called; returns whether all of it went well.
    fn with_sockets(&self, id: ServiceId, act: impl Fn(&Registry, i32, Token) -> io::Result<()>) -> bool {
        let Some(service) = self.services.get(&id) else { return false };
        let inbox = service.inbox.as_ref().map(|(inbox, _)| inbox);
        let mut fine = true;
        for (index, fd) in service.listeners.iter().chain(inbox).enumerate() {
            let token = Token(LISTENER | (id as usize * SOCKETS + index));
            fine &= act(&self.registry, fd.as_raw_fd(), token).is_ok();
        }
        fine
    }

    fn spawn(&mut self, id: ServiceId) {
        let now = Instant::now();
        let Some(service) = self.services.get(&id) else { return };
        let program = service.spec.program;
        let Some(binary) = self.programs.get(program.name) else { return };
        let inbox = service.inbox.as_ref().map(|(inbox, _)| inbox.as_fd());
        let process = match Process::start(&service.spec, binary.as_fd(), &service.listeners, inbox, &self.base) {
            Ok(process) => process,
            Err(error) => {
                slog::error!(self.log, "{error}");
                let actions = self.policy.spawn_failed(id, now);
                return self.act(actions);
            }
        };
        let pid = process.pid;
        let token = Token(CONTROL | pid as usize);
        if let Err(error) =
            self.registry.register(&mut SourceFd(&process.control.as_raw_fd()), token, Interest::READABLE)
        {
            // Without its control channel the process ends by itself.
            slog::error!(self.log, "{}: control channel: {error}", program.name);
        }
        self.processes.insert(pid, process);
        let actions = self.policy.spawned(id, pid, now);
        for &hub in program.talks {
            self.introduce(pid, hub);
        }
        if let Some(hub) = program.hub {
            self.introduce_all(pid, hub);
        }
        self.act(actions);
    }

    /// Gives `pid` a channel to a hub, which is started if need be; a hub that starts is connected to all who talk to it. A hub
    /// that is not in the table (its half does not run) is left out: the worker sees that it has no such channel.
    fn introduce(&mut self, pid: Pid, hub: Hub) {
        let Some(id) = self.hub(hub) else { return };
        match self.policy.taking(id) {
            Some(hub_pid) => self.connect(pid, hub_pid, hub),
            None if self.policy.throttled(id) => {}
            None => self.spawn(id),
        }
    }

    /// The service that is this hub.
    fn hub(&self, hub: Hub) -> Option<ServiceId> {
        let live = self.services.iter().filter(|(_, service)| !service.spec.key.is_empty());
        live.into_iter().find(|(_, service)| service.spec.program.hub == Some(hub)).map(|(&id, _)| id)
    }

    /// Connects everybody who talks to `hub` to its new process.
    fn introduce_all(&mut self, hub_pid: Pid, hub: Hub) {
        let talks = |pid: Pid| self.program_of(pid).is_some_and(|program| program.talks.contains(&hub));
        let all: Vec<Pid> = self.processes.keys().copied().filter(|&pid| talks(pid)).collect();
        for pid in all {
            self.connect(pid, hub_pid, hub);
        }
    }

    fn connect(&mut self, pid: Pid, hub_pid: Pid, hub: Hub) {
        let Some(process) = self.processes.get_mut(&pid).filter(|process| process.links.get(&hub) != Some(&hub_pid))
        else {
            return;
        };
        let Ok((asks, answers)) = UnixStream::pair() else {
            slog::error!(self.log, "no socket pair for {pid} and {hub:?}");
            return;
        };
        process.links.insert(hub, hub_pid);
        let program = self.program_of(pid).map_or("?", |program| program.name).to_string();
        let service = self.policy.service_of(pid).and_then(|id| self.services.get(&id));
        let uid = service.map_or(u32::MAX, |service| service.spec.account.uid);
        let client = Peer::Client { program, pid: pid as u32, uid };
        self.order(hub_pid, &ToWorker::Peer { peer: client }, vec![answers.into()]);
        self.order(pid, &ToWorker::Peer { peer: Peer::Hub(hub) }, vec![asks.into()]);
    }

    fn order(&mut self, pid: Pid, order: &ToWorker, fds: Vec<OwnedFd>) {
        let Some(process) = self.processes.get_mut(&pid) else { return };
        if !process.order(order, fds) {
            slog::error!(self.log, "process {pid} does not read its orders: it is ended");
            let _ = kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL);
        }
    }

    /// What a worker says. Nonsense ends the worker, never the master.
    fn messages(&mut self, pid: Pid) {
        loop {
            let Some(process) = self.processes.get_mut(&pid) else { return };
            process.flush();
            match process.message() {
                Ok(Some(message)) => self.message(pid, message),
                Ok(None) => return,
                Err(error) => {
                    slog::error!(self.log, "process {pid}: {error}: it is ended");
                    let _ = kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL);
                    return;
                }
            }
        }
    }

    fn message(&mut self, pid: Pid, message: FromWorker) {
        match message {
            FromWorker::Status { free, .. } => {
                let actions = self.policy.status(pid, free > 0);
                self.act(actions);
            }
            FromWorker::Connect { index } => self.connect_foreign(pid, index),
            FromWorker::Wake { service } => self.wake(pid, &service),
            FromWorker::Acting { corr, program, uid, gid, groups, roots } => {
                let answer = self.acting(pid, (program, uid, gid, groups, roots));
                let (order, fds) = match answer {
                    Ok(inbox) => (ToWorker::Inbox { corr }, vec![inbox]),
                    Err(reason) => (ToWorker::ActingRefused { corr, reason }, Vec::new()),
                };
                self.order(pid, &order, fds);
            }
        }
    }

    /// Starts a delivery agent, if none of its processes takes work. Only `qmgr` may ask.
    fn wake(&mut self, pid: Pid, name: &str) {
        if self.program_of(pid).and_then(|program| program.hub) != Some(Hub::Qmgr) {
            return;
        }
        let live = self.services.iter().filter(|(_, service)| !service.spec.key.is_empty());
        let agent = |service: &Service| service.spec.program.name == "smtp" && service.spec.name == name;
        let found = live.into_iter().find(|(_, service)| agent(service)).map(|(&id, _)| id);
        if let Some(id) = found.filter(|&id| self.policy.taking(id).is_none() && !self.policy.throttled(id)) {
            self.spawn(id);
        }
    }

    fn connect_foreign(&mut self, pid: Pid, index: u16) {
        let service = self.policy.service_of(pid).and_then(|id| self.services.get(&id));
        let Some(foreign) = service.and_then(|service| service.spec.foreign.get(index as usize)) else { return };
        let (order, fds) = match listen::connect_foreign(foreign) {
            Ok(fd) => (ToWorker::Connected { index }, vec![fd]),
            Err(error) => (ToWorker::ConnectFailed { index, errno: error.raw_os_error().unwrap_or(0) }, Vec::new()),
        };
        self.order(pid, &order, fds);
    }

    /// The inbox of the process that acts for an account, which is made if need be. Only `auth` may ask.
    fn acting(&mut self, pid: Pid, key: ActingKey) -> Result<OwnedFd, String> {
        if self.program_of(pid).and_then(|program| program.hub) != Some(Hub::Auth) {
            return Err("only auth may ask for this".into());
        }
        let (_, uid, gid, groups, _) = &key;
        if let Some(reason) = self.accounts.refuse(*uid, *gid, groups) {
            return Err(reason);
        }
        let running = |service: &&Service| service.acting.as_ref() == Some(&key) && !service.spec.key.is_empty();
        if !self.services.values().any(|service| running(&service)) {
            let spec = self.acting_spec(&key).ok_or("the service is not configured")?;
            self.add(spec, Vec::new(), Some(key.clone()));
        }
        let service = self
            .services
            .values()
            .find(|service| service.acting.as_ref() == Some(&key) && !service.spec.key.is_empty());
        let inbox = service.and_then(|service| service.inbox.as_ref()).ok_or("its inbox could not be made")?;
        inbox.1.try_clone().map_err(|error| error.to_string())
    }

    /// The table in effect, for `mailctl services`: each service with its processes.
    pub fn rows(&self) -> impl Iterator<Item = (&Spec, Vec<Pid>, bool)> {
        let live = self.services.iter().filter(|(_, service)| !service.spec.key.is_empty());
        live.map(|(&id, service)| (&service.spec, self.policy.processes_of(id).collect(), self.policy.throttled(id)))
    }

    /// Which halves run.
    pub fn runs(&self, half: Half) -> bool {
        self.services.values().any(|service| service.spec.half == half && !service.spec.key.is_empty())
    }

    /// Gives `mailctl` a channel to a hub.
    ///
    /// # Errors
    /// Why there is none.
    pub fn visit(&mut self, hub: Hub, pid: u32) -> Result<OwnedFd, String> {
        let Some(id) = self.hub(hub) else { return Err("the mail system is not running".into()) };
        if self.policy.taking(id).is_none() {
            self.spawn(id);
        }
        let hub_pid = self.policy.taking(id).ok_or("the service cannot be started")?;
        let (asks, answers) = UnixStream::pair().map_err(|error| error.to_string())?;
        self.order(
            hub_pid,
            &ToWorker::Peer { peer: Peer::Client { program: "mailctl".into(), pid, uid: 0 } },
            vec![answers.into()],
        );
        Ok(asks.into())
    }
}
