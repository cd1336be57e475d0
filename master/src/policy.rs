//! When to start, poll, throttle, wake and end: the master's policy as a state machine without processes, sockets or a
//! clock. Events go in with the time at which they happened, [`Action`]s come out.
//!
//! The spawn rule is Postfix's (`master_avail.c`): a listener is watched while no process of its service has room, fewer than
//! the limit run, and the service is not throttled; when it becomes readable then, a process is started.
//!
//! A process that fails is replaced. When processes of a service fail in a row, the pause before the next one doubles from
//! [`FIRST_PAUSE`] to [`LONGEST_PAUSE`] (Dovecot's throttle); one that has lived for [`STABLE`] ends the row. Behind one that had
//! become ready the pause does not grow: a crash now and then, or a kill, must not stop the service for a minute.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The pause after the second failure in a row. The first one is mended at once.
pub const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause between two attempts, unless the service says otherwise (Postfix's `service_throttle_time`).
pub const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A process that has lived so long was not at fault by its start.
pub const STABLE: Duration = Duration::from_secs(10);

/// Names a service; numbers are not used again.
pub type ServiceId = u32;
/// A process id.
pub type Pid = i32;

/// What the policy needs to know of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Processes at once.
    pub limit: u32,
    /// Processes that are kept ready (`process_min_avail`); hubs that must always run have 1.
    pub prefork: u32,
    /// How often the service is woken, and whether only once it was used (Postfix's `wakeup`).
    pub wakeup: Option<(Duration, bool)>,
    /// When the limit is reached and a client waits, the processes are told to send others away.
    pub sheds: bool,
    /// The longest pause after failures.
    pub longest_pause: Duration,
}

/// What the master is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Start a process of this service.
    Spawn(ServiceId),
    /// Watch the service's listeners.
    Poll(ServiceId),
    /// Stop watching them: a process does, or none may be started.
    Unpoll(ServiceId),
    /// Tell the process to finish its work and end.
    Drain(Pid),
    /// Tell the process to send a client away for one that waits.
    Shed(Pid),
    /// Wake the service: connect to it, or start it.
    Wake(ServiceId),
    /// The pause of a service is over: whoever needs it may start it.
    Resumed(ServiceId),
    /// The service fails in a row and pauses.
    Throttled(ServiceId, Duration),
    /// The limit is reached while clients wait.
    Full(ServiceId),
}

#[derive(Debug)]
struct Service {
    rules: Rules,
    polled: bool,
    failures: u32,
    paused_until: Option<Instant>,
    stopped: bool,
    used: bool,
    wake_at: Option<Instant>,
    /// The limit is reached, which was told.
    full: bool,
    /// The process that was told last to send a client away.
    shed: Option<Pid>,
}

#[derive(Debug)]
struct Process {
    service: ServiceId,
    started: Instant,
    room: bool,
    draining: bool,
    /// It has said that it is in its jail and works.
    ready: bool,
}

/// The state machine.
#[derive(Debug, Default)]
pub struct Policy {
    services: BTreeMap<ServiceId, Service>,
    processes: BTreeMap<Pid, Process>,
}

impl Policy {
    /// A service is there from now on.
    pub fn add(&mut self, id: ServiceId, rules: Rules, now: Instant) -> Vec<Action> {
        let wake_at = rules.wakeup.map(|_| now);
        let service = Service {
            rules,
            polled: false,
            failures: 0,
            paused_until: None,
            stopped: false,
            used: false,
            wake_at,
            full: false,
            shed: None,
        };
        self.services.insert(id, service);
        self.balance(id)
    }

    /// The service's limits have changed.
    pub fn change(&mut self, id: ServiceId, rules: Rules, now: Instant) -> Vec<Action> {
        if let Some(service) = self.services.get_mut(&id) {
            service.wake_at = rules.wakeup.map(|_| now);
            service.rules = rules;
        }
        self.balance(id)
    }

    /// The service is to end: its processes finish their work, none is started again.
    pub fn remove(&mut self, id: ServiceId) -> Vec<Action> {
        let Some(service) = self.services.get_mut(&id) else { return Vec::new() };
        service.stopped = true;
        let mut actions = self.balance(id);
        actions.extend(self.drain(id));
        actions
    }

    /// Every process of the service finishes its work and ends; others take its place as the spawn rule has it.
    pub fn drain(&mut self, id: ServiceId) -> Vec<Action> {
        let mut actions = Vec::new();
        for (&pid, process) in self.processes.iter_mut().filter(|(_, process)| process.service == id) {
            if !process.draining {
                process.draining = true;
                process.room = false;
                actions.push(Action::Drain(pid));
            }
        }
        actions.extend(self.balance(id));
        actions
    }

    /// A process was started, as asked or for a reason of its own (a peer needs it).
    pub fn spawned(&mut self, id: ServiceId, pid: Pid, now: Instant) -> Vec<Action> {
        self.processes.insert(pid, Process { service: id, started: now, room: true, draining: false, ready: false });
        if let Some(service) = self.services.get_mut(&id) {
            service.used = true;
        }
        self.balance(id)
    }

    /// A process could not be started.
    pub fn spawn_failed(&mut self, id: ServiceId, now: Instant) -> Vec<Action> {
        let mut actions = self.fail(id, None, now);
        actions.extend(self.balance(id));
        actions
    }

    /// A process says whether it has room.
    pub fn status(&mut self, pid: Pid, room: bool) -> Vec<Action> {
        // A process that has gone, or was never ours, says nothing.
        let Some(process) = self.processes.get_mut(&pid) else { return Vec::new() };
        process.ready = true;
        process.room = room && !process.draining;
        let id = process.service;
        self.balance(id)
    }

    /// A listener that is watched has a client waiting.
    pub fn readable(&mut self, id: ServiceId) -> Vec<Action> {
        let Some(service) = self.services.get_mut(&id).filter(|service| service.polled) else { return Vec::new() };
        if !service.full {
            return vec![Action::Spawn(id)];
        }
        // Each in its turn, so that the clients of none have less time than those of others.
        let mine = self.processes.iter().filter(|(_, process)| process.service == id && !process.draining);
        let mine: Vec<Pid> = mine.map(|(&pid, _)| pid).collect();
        let next = mine.iter().find(|&&pid| Some(pid) > service.shed).or(mine.first()).copied();
        service.shed = next;
        next.map(Action::Shed).into_iter().collect()
    }

    /// A process has ended; `failed` unless it meant to.
    pub fn exited(&mut self, pid: Pid, failed: bool, now: Instant) -> Vec<Action> {
        let Some(process) = self.processes.remove(&pid) else { return Vec::new() };
        let id = process.service;
        let mut actions = Vec::new();
        // One that ends before it ever worked has failed, whatever its exit status: without this a broken program that is
        // to be kept ready would be started for ever.
        if failed || !(process.ready || process.draining) {
            actions.extend(self.fail(id, Some(&process), now));
        } else if let Some(service) = self.services.get_mut(&id) {
            service.failures = 0;
        }
        actions.extend(self.balance(id));
        actions
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant) -> Vec<Action> {
        let mut actions = Vec::new();
        let ids: Vec<ServiceId> = self.services.keys().copied().collect();
        for id in ids {
            let Some(service) = self.services.get_mut(&id) else { continue };
            if service.paused_until.is_some_and(|until| until <= now) {
                service.paused_until = None;
                // What is kept ready is started first: who then looks for a process finds that one and starts no second.
                actions.extend(self.balance(id));
                actions.push(Action::Resumed(id));
            }
            let Some(service) = self.services.get_mut(&id).filter(|service| !service.stopped) else { continue };
            let Some((period, only_used)) = service.rules.wakeup else { continue };
            if service.wake_at.is_some_and(|at| at <= now) {
                service.wake_at = Some(now + period);
                if service.used || !only_used {
                    actions.push(Action::Wake(id));
                }
            }
        }
        actions
    }

    /// When [`Policy::tick`] has something to do next.
    pub fn next_tick(&self) -> Option<Instant> {
        let times = self.services.values().filter(|service| !service.stopped);
        times.flat_map(|service| [service.paused_until, service.wake_at]).flatten().min()
    }

    /// The processes of a service.
    pub fn processes_of(&self, id: ServiceId) -> impl Iterator<Item = Pid> + '_ {
        self.processes.iter().filter(move |(_, process)| process.service == id).map(|(&pid, _)| pid)
    }

    /// The process of a hub that takes new peers.
    pub fn taking(&self, id: ServiceId) -> Option<Pid> {
        self.processes.iter().find(|(_, process)| process.service == id && !process.draining).map(|(&pid, _)| pid)
    }

    /// Whether the process has said that it is in its jail and works.
    pub fn is_ready(&self, pid: Pid) -> bool {
        self.processes.get(&pid).is_some_and(|process| process.ready)
    }

    /// The service of a process.
    pub fn service_of(&self, pid: Pid) -> Option<ServiceId> {
        self.processes.get(&pid).map(|process| process.service)
    }

    /// Whether the service pauses after failures.
    pub fn throttled(&self, id: ServiceId) -> bool {
        self.services.get(&id).is_some_and(|service| service.paused_until.is_some())
    }

    /// Whether no process is left.
    pub fn is_empty(&self) -> bool {
        self.processes.is_empty()
    }

    /// A process has failed, or none could be started.
    fn fail(&mut self, id: ServiceId, process: Option<&Process>, now: Instant) -> Vec<Action> {
        let Some(service) = self.services.get_mut(&id) else { return Vec::new() };
        if process.is_some_and(|process| now - process.started >= STABLE) {
            service.failures = 0;
        }
        service.failures += 1;
        // One that worked may work again: what ended it was its work or a signal, not its start.
        let longest =
            if process.is_some_and(|process| process.ready) { FIRST_PAUSE } else { service.rules.longest_pause };
        let pause = pause(service.failures).min(longest);
        if pause.is_zero() {
            return Vec::new();
        }
        service.paused_until = Some(now + pause);
        vec![Action::Throttled(id, pause)]
    }

    /// Watches or unwatches the service's listeners as the spawn rule has it, and starts what is to be kept ready.
    fn balance(&mut self, id: ServiceId) -> Vec<Action> {
        let mine = || self.processes.values().filter(|process| process.service == id);
        // A process that drains makes room for its successor, so that nothing stops while old work is finished.
        let running = mine().filter(|process| !process.draining).count() as u32;
        let with_room = mine().filter(|process| process.room).count() as u32;
        let Some(service) = self.services.get_mut(&id) else { return Vec::new() };
        let may_start = !service.stopped && service.paused_until.is_none() && running < service.rules.limit;
        let mut actions = Vec::new();
        if may_start {
            let missing = service.rules.prefork.saturating_sub(with_room).min(service.rules.limit - running);
            actions.extend((0..missing).map(|_| Action::Spawn(id)));
        }
        let full = !service.stopped && with_room == 0 && running >= service.rules.limit;
        if full && !service.full {
            actions.push(Action::Full(id));
        }
        service.full = full;
        let poll = if full { service.rules.sheds } else { may_start && with_room == 0 && actions.is_empty() };
        if poll != service.polled {
            service.polled = poll;
            actions.push(if poll { Action::Poll(id) } else { Action::Unpoll(id) });
        }
        actions
    }
}

/// The pause before the next start after `failures` in a row: none after the first, then 1, 2, 4, … seconds, at most
/// [`LONGEST_PAUSE`].
fn pause(failures: u32) -> Duration {
    match failures {
        0 | 1 => Duration::ZERO,
        n => FIRST_PAUSE.saturating_mul(1 << (n - 2).min(10)).min(LONGEST_PAUSE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: ServiceId = 1;

    fn rules(limit: u32, prefork: u32) -> Rules {
        Rules { limit, prefork, wakeup: None, longest_pause: LONGEST_PAUSE, sheds: false }
    }

    fn policy(limit: u32, prefork: u32) -> (Policy, Vec<Action>, Instant) {
        let (mut policy, now) = (Policy::default(), Instant::now());
        let actions = policy.add(S, rules(limit, prefork), now);
        (policy, actions, now)
    }

    #[test]
    fn the_spawn_rule() {
        let (mut policy, actions, now) = policy(2, 0);
        assert_eq!(actions, [Action::Poll(S)]);
        assert_eq!(policy.readable(S), [Action::Spawn(S)]);
        assert_eq!(policy.spawned(S, 10, now), [Action::Unpoll(S)], "the process itself watches now");
        assert_eq!(policy.readable(S), [], "an event that was under way");
        assert_eq!(policy.status(10, true), []);
        assert_eq!(policy.status(10, false), [Action::Poll(S)], "no room, so the master watches");
        assert_eq!(policy.readable(S), [Action::Spawn(S)]);
        assert_eq!(policy.spawned(S, 11, now), [Action::Unpoll(S)]);
        assert_eq!(policy.status(11, false), [Action::Full(S)], "the limit is told once");
        assert_eq!(policy.status(11, false), []);
        assert_eq!(policy.status(10, true), []);
        assert_eq!(policy.exited(11, false, now), []);
        assert_eq!(policy.exited(10, false, now), [Action::Poll(S)]);
        assert_eq!(policy.status(10, true), [], "gossip of a process that has gone");
    }

    #[test]
    fn a_full_service_that_sheds() {
        let (mut policy, now) = (Policy::default(), Instant::now());
        policy.add(S, Rules { sheds: true, ..rules(2, 0) }, now);
        policy.spawned(S, 10, now);
        assert_eq!(policy.status(10, false), [Action::Poll(S)]);
        policy.spawned(S, 11, now);
        assert_eq!(policy.status(11, false), [Action::Full(S), Action::Poll(S)], "the next client is seen");
        assert_eq!(policy.readable(S), [Action::Shed(10)]);
        assert_eq!(policy.readable(S), [Action::Shed(11)]);
        assert_eq!(policy.readable(S), [Action::Shed(10)]);
        assert_eq!(policy.status(11, true), [Action::Unpoll(S)]);
        assert_eq!(policy.readable(S), []);
    }

    #[test]
    fn prefork_keeps_processes_ready() {
        let (mut policy, actions, now) = policy(3, 2);
        assert_eq!(actions, [Action::Spawn(S), Action::Spawn(S)]);
        assert_eq!(policy.spawned(S, 1, now), [Action::Spawn(S)]);
        assert_eq!(policy.spawned(S, 2, now), []);
        assert_eq!(policy.exited(1, true, now), [Action::Spawn(S)]);
    }

    #[test]
    fn failures_in_a_row_pause_longer_and_longer() {
        let (mut policy, _, mut now) = policy(1, 0);
        let mut pauses = Vec::new();
        for pid in 0..9 {
            policy.spawned(S, pid, now);
            let pause = policy.exited(pid, true, now).into_iter().find_map(|action| match action {
                Action::Throttled(_, pause) => Some(pause.as_secs()),
                _ => None,
            });
            pauses.push(pause.unwrap_or(0));
            now += Duration::from_secs(pauses[pauses.len() - 1]);
            let resumed = policy.tick(now);
            assert_eq!(resumed.contains(&Action::Poll(S)), pid > 0, "after failure {pid}");
        }
        assert_eq!(pauses, [0, 1, 2, 4, 8, 16, 32, 60, 60]);
        policy.spawned(S, 100, now);
        assert_eq!(policy.exited(100, true, now + STABLE), [Action::Poll(S)], "a stable process ends the row");
    }

    #[test]
    fn behind_a_process_that_worked_the_pause_does_not_grow() {
        let (mut policy, _, mut now) = policy(1, 0);
        for pid in 0..6 {
            policy.spawned(S, pid, now);
            policy.status(pid, true);
            let actions = policy.exited(pid, true, now);
            assert_eq!(actions.contains(&Action::Throttled(S, FIRST_PAUSE)), pid > 0, "{actions:?}");
            now += FIRST_PAUSE;
            policy.tick(now);
        }
    }

    #[test]
    fn a_process_that_ends_before_it_works_has_failed() {
        let (mut policy, _, now) = policy(1, 1);
        policy.spawned(S, 1, now);
        assert_eq!(policy.exited(1, false, now), [Action::Spawn(S)]);
        policy.spawned(S, 2, now);
        assert_eq!(policy.exited(2, false, now), [Action::Throttled(S, FIRST_PAUSE)]);
    }

    #[test]
    fn a_paused_service_is_not_watched() {
        let (mut policy, _, now) = policy(1, 0);
        for pid in 0..2 {
            policy.spawned(S, pid, now);
            policy.exited(pid, true, now);
        }
        assert!(policy.throttled(S) && policy.readable(S).is_empty());
        assert_eq!(policy.next_tick(), Some(now + FIRST_PAUSE));
        assert_eq!(policy.tick(now + FIRST_PAUSE), [Action::Poll(S), Action::Resumed(S)]);
    }

    #[test]
    fn draining_processes_make_room_for_their_successors() {
        let (mut policy, _, now) = policy(1, 1);
        policy.spawned(S, 1, now);
        assert_eq!(policy.drain(S), [Action::Drain(1), Action::Spawn(S)]);
        assert_eq!(policy.spawned(S, 2, now), []);
        assert_eq!(policy.taking(S), Some(2));
        assert_eq!(policy.exited(1, false, now), []);
        assert_eq!(policy.remove(S), [Action::Drain(2)]);
        assert_eq!(policy.exited(2, false, now), []);
        assert!(policy.is_empty());
    }

    #[test]
    fn wakeups_come_on_time_and_only_to_the_used() {
        let now = Instant::now();
        let period = Duration::from_secs(60);
        let mut policy = Policy::default();
        policy.add(
            1,
            Rules { limit: 1, prefork: 0, wakeup: Some((period, false)), longest_pause: LONGEST_PAUSE, sheds: false },
            now,
        );
        policy.add(
            2,
            Rules { limit: 1, prefork: 0, wakeup: Some((period, true)), longest_pause: LONGEST_PAUSE, sheds: false },
            now,
        );
        assert_eq!(policy.tick(now), [Action::Wake(1)]);
        assert_eq!(policy.tick(now + period / 2), []);
        policy.spawned(2, 20, now);
        assert_eq!(policy.next_tick(), Some(now + period));
        assert_eq!(policy.tick(now + period), [Action::Wake(1), Action::Wake(2)]);
    }
}
