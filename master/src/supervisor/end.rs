//! The end of processes: of one that has exited, of a service that is stopped, of everything.

use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

use super::Supervisor;
use crate::policy::{Pid, ServiceId};

/// How long the log service may take to write its last lines.
const LOG_PATIENCE: Duration = Duration::from_secs(1);

impl Supervisor {
    pub(super) fn stop_service(&mut self, id: ServiceId) {
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

    pub(super) fn exited(&mut self, pid: Pid, failed: bool, how: &str) {
        let Some(process) = self.processes.remove(&pid) else { return };
        // It closes now and leaves the set by itself.
        let _ = self.registry.deregister(&mut SourceFd(&process.control.as_raw_fd()));
        let Some(id) = self.policy.service_of(pid) else { return };
        if failed && !self.ending {
            let name = self.services.get(&id).map_or("?", |service| service.spec.program.name);
            slog::warn!(self.log, "process {name} pid {pid} {how}");
        }
        self.links.ended(pid);
        let hub = self.program_of(pid).and_then(|program| program.hub);
        let actions = self.policy.exited(pid, failed, Instant::now());
        self.act(actions);
        if let Some(hub) = hub.filter(|_| !self.ending) {
            self.reconnect(hub);
        }
        self.forget_if_over(id);
    }
}
