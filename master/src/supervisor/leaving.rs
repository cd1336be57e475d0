//! Who is waited for: processes of stopped services that finish their work, and those that have just been started.

use nix::sys::signal::{Signal, kill};

use super::{Service, Supervisor};
use crate::policy::Pid;
use crate::table::Half;

impl Supervisor {
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
}
