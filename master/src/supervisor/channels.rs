//! Channels between workers, and what the connector opens for them.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Instant;

use ipc_messages::control::{Hub, Peer, ToWorker};

use super::{Service, Supervisor};
use crate::links::Loss;
use crate::listen;
use crate::policy::{Pid, ServiceId};

impl Supervisor {
    /// Connects processes to hubs that came into the table after them.
    pub(super) fn introduce_to_late_hubs(&mut self) {
        let mut lacking = Vec::new();
        for &pid in self.processes.keys() {
            let talks = self.program_of(pid).map_or(&[][..], |program| program.talks);
            lacking.extend(talks.iter().filter(|&&hub| !self.links.knows(pid, hub)).map(|&hub| (pid, hub)));
        }
        for (pid, hub) in lacking {
            self.introduce(pid, hub);
        }
    }

    /// A process has lost its channel to a hub; it gets a new one after a pause.
    pub(super) fn lost(&mut self, pid: Pid, hub: Hub, number: u32) {
        let Some(Loss { hub: hub_pid, pause }) = self.links.lost(pid, hub, number, Instant::now()) else { return };
        // The end of a hub's process, of which its peers may hear first, is told by the line about that process.
        if self.processes.contains_key(&hub_pid) && !self.ending {
            let name = self.program_of(pid).map_or("?", |program| program.name);
            let pause = pause.as_millis();
            slog::warn!(
                self.log,
                "channel {number} from {name}[{pid}] to {hub}[{hub_pid}] is lost: made anew in {pause} ms"
            );
        }
    }

    /// Makes the channels anew whose pause is over.
    pub(super) fn restore(&mut self, now: Instant) {
        for (pid, hub) in self.links.due(now) {
            self.introduce(pid, hub);
        }
    }

    /// A hub has gone, or may be started again: if anybody talks to it, a successor is started, which everybody is connected to.
    pub(super) fn reconnect(&mut self, hub: Hub) {
        let talks = |pid: Pid| self.program_of(pid).is_some_and(|program| program.talks.contains(&hub));
        if let Some(pid) = self.processes.keys().copied().find(|&pid| talks(pid)) {
            self.introduce(pid, hub);
        }
    }

    /// Gives `pid` a channel to a hub, which is started if need be; a hub that starts is connected to all who talk to it. A hub
    /// that is not in the table (its half does not run) is left out: the worker sees that it has no such channel.
    pub(super) fn introduce(&mut self, pid: Pid, hub: Hub) {
        let Some(id) = self.hub(hub) else { return };
        match self.policy.taking(id) {
            Some(hub_pid) => self.connect(pid, hub_pid, hub),
            None if self.policy.throttled(id) => {}
            None => self.spawn(id),
        }
    }

    /// The service that is this hub.
    pub(super) fn hub(&self, hub: Hub) -> Option<ServiceId> {
        let live = self.services.iter().filter(|(_, service)| !service.spec.key.is_empty());
        live.into_iter().find(|(_, service)| service.spec.program.hub == Some(hub)).map(|(&id, _)| id)
    }

    /// Connects everybody who talks to `hub` to its new process.
    pub(super) fn introduce_all(&mut self, hub_pid: Pid, hub: Hub) {
        let talks = |pid: Pid| self.program_of(pid).is_some_and(|program| program.talks.contains(&hub));
        let all: Vec<Pid> = self.processes.keys().copied().filter(|&pid| talks(pid)).collect();
        for pid in all {
            self.connect(pid, hub_pid, hub);
        }
    }

    fn connect(&mut self, pid: Pid, hub_pid: Pid, hub: Hub) {
        if self.links.leads_to(pid, hub) == Some(hub_pid) {
            return;
        }
        let Ok((asks, answers)) = UnixStream::pair() else {
            slog::error!(self.log, "no socket pair for {pid} and {hub}");
            return;
        };
        let link = self.links.made(pid, hub, hub_pid, Instant::now());
        let program = self.program_of(pid).map_or("?", |program| program.name).to_string();
        let service = self.policy.service_of(pid).and_then(|id| self.services.get(&id));
        let uid = service.map_or(u32::MAX, |service| service.spec.account.uid);
        let client = Peer::Client { program, pid: pid as u32, uid };
        self.order(hub_pid, &ToWorker::Peer { peer: client, link: 0 }, vec![answers.into()]);
        self.order(pid, &ToWorker::Peer { peer: Peer::Hub(hub), link }, vec![asks.into()]);
    }

    pub(super) fn connect_foreign(&mut self, pid: Pid, index: u16) {
        let service = self.policy.service_of(pid).and_then(|id| self.services.get(&id));
        let Some(foreign) = service.and_then(|service| service.spec.foreign.get(index as usize)) else { return };
        let (order, fds) = match listen::connect_foreign(foreign) {
            Ok(fd) => (ToWorker::Connected { index }, vec![fd]),
            Err(error) => (ToWorker::ConnectFailed { index, errno: error.raw_os_error().unwrap_or(0) }, Vec::new()),
        };
        self.order(pid, &order, fds);
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
        let peer = Peer::Client { program: "mailctl".into(), pid, uid: 0 };
        self.order(hub_pid, &ToWorker::Peer { peer, link: 0 }, vec![answers.into()]);
        Ok(asks.into())
    }

    /// Starts a delivery agent, if none of its processes takes work. Only `qmgr` may ask.
    pub(super) fn wake(&mut self, pid: Pid, name: &str) {
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
}
