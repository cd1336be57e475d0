//! How services end: what is left of those that were stopped, and the log service last of all.

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};

use super::{Service, Supervisor};
use crate::policy::{Pid, ServiceId};
use crate::table::Half;

/// How long the log service may take to write its last lines.
const LOG_PATIENCE: Duration = Duration::from_secs(1);

impl Supervisor {
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

    /// The processes of a half's stopped services that have not ended.
    fn leaving(&self, half: Half) -> impl Iterator<Item = Pid> {
        let stopped = move |service: &Service| service.spec.key.is_empty() && service.spec.half == half;
        let service = |pid| self.policy.service_of(pid).and_then(|id| self.services.get(&id));
        self.processes.keys().copied().filter(move |&pid| service(pid).is_some_and(stopped))
    }

    /// The same as people read them: `imap[123]`.
    pub fn names_leaving(&self, half: Half) -> Vec<String> {
        self.leaving(half).map(|pid| self.name(pid)).collect()
    }

    /// Every process, as people read them.
    pub fn names_left(&self) -> Vec<String> {
        self.processes.keys().map(|&pid| self.name(pid)).collect()
    }

    /// The processes that have not said yet that they work.
    pub fn names_starting(&self) -> Vec<String> {
        let starting = self.processes.keys().copied().filter(|&pid| !self.policy.is_ready(pid));
        starting.map(|pid| self.name(pid)).collect()
    }

    /// Ends the processes of a half's stopped services.
    pub fn kill_leaving(&self, half: Half) {
        for pid in self.leaving(half) {
            slog::warn!(self.log, "process {} has not finished its work: it is ended", self.name(pid));
            // One that has just ended is reaped in its turn.
            let _ = kill(nix::unistd::Pid::from_raw(pid), Signal::SIGTERM);
        }
    }

    fn name(&self, pid: Pid) -> String {
        format!("{}[{pid}]", self.program_of(pid).map_or("?", |program| program.name))
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
}
