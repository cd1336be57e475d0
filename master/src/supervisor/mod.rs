//! Carries out what the policy decides: processes, listeners, channels between workers, the connector.

mod accounts;
mod channels;
mod end;
mod leaving;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::time::Instant;

use ipc_messages::control::{Acting, FromWorker, ToWorker};
use ipc_wire::packet;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use nix::sys::signal::{Signal, kill};
use slog::Logger;

use crate::links::Links;
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
    base: Base,
    binaries: PathBuf,
    programs: BTreeMap<&'static str, OwnedFd>,
    services: BTreeMap<ServiceId, Service>,
    next_service: ServiceId,
    policy: Policy,
    processes: BTreeMap<Pid, Process>,
    links: Links,
    acting_specs: BTreeMap<Acting, Spec>,
    accounts: AccountRules,
    /// The end of the log that the log service reads.
    log_inbox: OwnedFd,
    ending: bool,
}

impl Supervisor {
    /// Nothing runs yet. `log_inbox` is the reading end of `base.log`.
    pub fn new(registry: Registry, log: Logger, base: Base, log_inbox: OwnedFd, binaries: PathBuf) -> Supervisor {
        // The default of some 200 KB is little for a burst; without the right to raise it the default stays.
        let _ = nix::sys::socket::setsockopt(&base.log, nix::sys::socket::sockopt::SndBufForce, &LOG_BUFFER);
        let _ = nix::sys::socket::setsockopt(&log_inbox, nix::sys::socket::sockopt::PassCred, &true);
        Supervisor {
            registry,
            log,
            base,
            binaries,
            programs: BTreeMap::new(),
            services: BTreeMap::new(),
            next_service: 1,
            policy: Policy::default(),
            processes: BTreeMap::new(),
            links: Links::default(),
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
        self.restore(now);
        for process in self.processes.values_mut() {
            process.flush();
        }
    }

    /// When [`Supervisor::tick`] has something to do.
    pub fn next_tick(&self) -> Option<Instant> {
        [self.policy.next_tick(), self.links.next()].into_iter().flatten().min()
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
                Action::Drain(pid) => self.order(pid, &ToWorker::Drain, Vec::new()),
                Action::Wake(id) => {
                    if self.policy.processes_of(id).next().is_none() && !self.policy.throttled(id) {
                        self.spawn(id);
                    }
                }
                Action::Resumed(id) => {
                    if let Some(hub) = self.services.get(&id).and_then(|service| service.spec.program.hub) {
                        self.reconnect(hub);
                    }
                }
                Action::Throttled(id, pause) => {
                    let name = self.services.get(&id).map_or("?", |service| service.spec.program.name);
                    slog::warn!(self.log, "{name}: bad command startup -- throttling for {} s", pause.as_secs());
                }
                Action::Full(id) => {
                    if let Some(Service { spec, .. }) = self.services.get(&id) {
                        slog::warn!(
                            self.log,
                            "service \"{}\" has reached its process limit \"{}\": new clients may experience noticeable delays",
                            spec.name,
                            spec.rules.limit
                        );
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
            FromWorker::Lost { hub, link } => self.lost(pid, hub, link),
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

    /// The table in effect, for `mailctl services`: each service with its processes.
    pub fn rows(&self) -> impl Iterator<Item = (&Spec, Vec<Pid>, bool)> {
        let live = self.services.iter().filter(|(_, service)| !service.spec.key.is_empty());
        live.map(|(&id, service)| (&service.spec, self.policy.processes_of(id).collect(), self.policy.throttled(id)))
    }

    /// Which halves run.
    pub fn runs(&self, half: Half) -> bool {
        self.services.values().any(|service| service.spec.half == half && !service.spec.key.is_empty())
    }
}
