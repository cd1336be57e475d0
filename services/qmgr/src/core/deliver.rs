//! Deliveries: from the scheduler to an agent that has room, and back.

use std::collections::BTreeSet;

use ipc_messages::delivery::{FromAgent, Job};
use ipc_messages::envelope::BodyType;
use store_queue::schedule::{Batch, Delivery, Verdict as Reach};

use super::*;

/// Seconds that deliveries wait for an agent to come.
const AGENT_PATIENCE: u64 = 10;
/// Agents that may die with a message before it waits for its next attempt.
const MAX_CRASHES: u32 = 2;
/// The most jobs that an agent may say it takes: each is a descriptor on its way.
const MAX_WINDOW: u32 = 1000;
/// Destinations whose last fault is remembered.
const MAX_FAULTS: usize = 10_000;

/// The agents of a transport.
#[derive(Debug, Default)]
pub(super) struct Transport {
    agents: Vec<Agent>,
    /// Deliveries that were selected and wait for an agent.
    stash: VecDeque<Delivery>,
    /// Since when there is no agent for them.
    lonely: Option<u64>,
}

#[derive(Debug)]
struct Agent {
    peer: PeerId,
    /// Jobs that it takes at once; 0 once it drains.
    window: u32,
    busy: u32,
}

impl Transport {
    /// Nobody takes jobs of it.
    fn is_deserted(&self) -> bool {
        self.agents.iter().all(|agent| agent.window == 0)
    }
}

/// A delivery that an agent has.
#[derive(Debug)]
pub(super) struct InFlight {
    peer: PeerId,
    delivery: Delivery,
    /// Recipients without an outcome.
    open: BTreeSet<u32>,
}

impl Core {
    /// Gives the scheduler a message's recipients.
    pub(super) fn enqueue(&mut self, id: QueueId) {
        let now = self.seconds();
        let Some(active) = self.active.get_mut(&id) else { return };
        for ((transport, destination), numbers) in std::mem::take(&mut active.groups) {
            if self.scheduler.enqueue(now, id, &transport, &destination, &numbers).is_err() {
                let batch = Batch { message: id, destination, recipients: numbers };
                self.give_up(&transport, vec![batch]);
            }
        }
    }

    /// Takes from the scheduler what may run, and gives it to agents.
    pub(super) fn dispatch(&mut self) {
        let now = self.seconds();
        while let Some(delivery) = self.scheduler.next(now) {
            if let Some(transport) = self.transports.get_mut(&delivery.transport) {
                transport.stash.push_back(delivery);
            }
        }
        let names: Vec<Arc<str>> =
            self.transports.iter().filter(|(_, t)| !t.stash.is_empty()).map(|(name, _)| name.clone()).collect();
        for name in names {
            self.dispatch_to(&name);
        }
    }

    fn dispatch_to(&mut self, name: &Arc<str>) {
        let now = self.seconds();
        loop {
            let Some(transport) = self.transports.get_mut(name) else { return };
            if transport.is_deserted() && !transport.stash.is_empty() && transport.lonely.is_none() {
                transport.lonely = Some(now);
                return self.actions.push(Action::Wake(name.to_string()));
            }
            let free = transport.agents.iter_mut().filter(|agent| agent.busy < agent.window);
            let Some(agent) = free.min_by_key(|agent| agent.busy) else { return };
            let Some(delivery) = transport.stash.pop_front() else { return };
            agent.busy += 1;
            let peer = agent.peer;
            self.start(peer, delivery);
        }
    }

    fn start(&mut self, peer: PeerId, delivery: Delivery) {
        let Some(active) = self.active.get_mut(&delivery.batch.message) else { return };
        self.next_job += 1;
        let numbers = &delivery.batch.recipients;
        let nexthop = numbers.first().and_then(|number| active.routes[*number as usize].as_ref());
        let envelope = &active.envelope;
        let job = Job {
            job: self.next_job,
            queue_id: active.id().to_string(),
            transport: delivery.transport.to_string(),
            nexthop: nexthop.map_or(String::new(), |(_, nexthop)| nexthop.to_string()),
            sender: envelope.sender.clone(),
            targets: numbers.iter().map(|number| active.target(*number)).collect(),
            size: envelope.size,
            offset: active.offset,
            arrived: envelope.arrival,
            intake: active.since.saturating_sub(envelope.arrival),
            active: active.since,
            eight_bit: envelope.body == BodyType::EightBitMime,
            smtputf8: envelope.smtputf8,
            dsn_envid: envelope.dsn_envid.clone(),
            dsn_ret: active::dsn_ret(envelope.dsn_ret),
        };
        active.in_flight += numbers.len();
        self.actions.push(Action::Agent(peer, ToAgent::Deliver(job), active.body.clone()));
        let open = numbers.iter().copied().collect();
        self.jobs.insert(self.next_job, InFlight { peer, delivery, open });
    }

    /// What an agent says. `Err` for what breaks the rules of this hop.
    pub fn agent(&mut self, peer: PeerId, message: FromAgent) -> Result<(), ()> {
        match message {
            FromAgent::Ready { transport, window } => {
                let known = self.transports.get_mut(transport.as_str()).ok_or(())?;
                let window = window.min(MAX_WINDOW);
                match known.agents.iter_mut().find(|agent| agent.peer == peer) {
                    Some(agent) => agent.window = window,
                    None => known.agents.push(Agent { peer, window, busy: 0 }),
                }
                if window > 0 {
                    known.lonely = None;
                }
            }
            FromAgent::Outcomes { job, outcomes } => {
                for outcome in outcomes {
                    let known = self.jobs.get_mut(&job).filter(|known| known.peer == peer).ok_or(())?;
                    if !known.open.remove(&outcome.index) {
                        return Err(());
                    }
                    let id = known.delivery.batch.message;
                    self.outcome(id, outcome);
                }
            }
            FromAgent::Finished { job, fault } => {
                self.jobs.get(&job).filter(|known| known.peer == peer).ok_or(())?;
                let Some(known) = self.jobs.remove(&job) else { return Err(()) };
                let Delivery { key, transport, batch } = known.delivery;
                if let Some(transport) = self.transports.get_mut(&transport) {
                    transport.agents.iter_mut().filter(|agent| agent.peer == peer).for_each(|agent| agent.busy -= 1);
                }
                for number in known.open {
                    self.left_alone(batch.message, number, "the delivery agent told no outcome");
                }
                let destination = (transport.clone(), batch.destination);
                let reach = if fault.is_some() { Reach::Unreachable } else { Reach::Reached };
                match fault {
                    Some(fault) if self.faults.len() < MAX_FAULTS => drop(self.faults.insert(destination, fault)),
                    Some(_) => {}
                    None => drop(self.faults.remove(&destination)),
                }
                let given_up = self.scheduler.finish(self.now.seconds(), key, reach);
                self.give_up(&transport, given_up);
            }
        }
        Ok(())
    }

    fn outcome(&mut self, id: QueueId, outcome: Outcome) {
        let Some(active) = self.active.get_mut(&id) else { return };
        let number = outcome.index as usize;
        active.queued -= 1;
        active.in_flight -= 1;
        active.recipients[number] = match outcome.verdict {
            Verdict::Sent => Recipient::Finished(outcome),
            Verdict::Deferred => Recipient::Deferred(outcome),
            Verdict::Bounced => Recipient::Bounced(outcome),
        };
        self.touched.insert(id);
    }

    /// A recipient that an agent had comes back without an outcome.
    fn left_alone(&mut self, id: QueueId, number: u32, reason: &str) {
        if let Some(active) = self.active.get_mut(&id) {
            active.queued -= 1;
            active.in_flight -= 1;
        }
        self.defer(id, number, "4.3.0", reason);
    }

    /// Recipients that the scheduler gave up, or never took.
    pub(super) fn give_up(&mut self, transport: &Arc<str>, batches: Vec<Batch>) {
        for Batch { message, destination, recipients } in batches {
            let fault = self.faults.get(&(transport.clone(), destination));
            let reason = fault.map_or("mail transport unavailable".to_string(), |fault| {
                format!("delivery temporarily suspended: {fault}")
            });
            for number in recipients {
                if let Some(active) = self.active.get_mut(&message) {
                    active.queued -= 1;
                }
                self.defer(message, number, "4.4.1", &reason);
            }
        }
    }

    /// An agent is gone: what it had is delivered by another one. Outcomes that it told count.
    pub fn agent_down(&mut self, peer: PeerId) {
        for transport in self.transports.values_mut() {
            transport.agents.retain(|agent| agent.peer != peer);
        }
        let lost: Vec<u64> = self.jobs.iter().filter(|(_, job)| job.peer == peer).map(|(job, _)| *job).collect();
        for job in lost {
            let Some(InFlight { delivery: Delivery { key, transport, batch }, open, .. }) = self.jobs.remove(&job)
            else {
                continue;
            };
            // The destination is not to blame.
            let given_up = self.scheduler.finish(self.now.seconds(), key, Reach::Reached);
            self.give_up(&transport, given_up);
            let id = batch.message;
            let Some(active) = self.active.get_mut(&id) else { continue };
            active.crashes += 1;
            if active.crashes > MAX_CRASHES || active.fate != Fate::Delivery {
                open.into_iter().for_each(|number| self.left_alone(id, number, "the delivery agent has failed"));
            } else if !open.is_empty() {
                active.in_flight -= open.len();
                let open: Vec<u32> = open.into_iter().collect();
                active.groups.entry((transport, batch.destination)).or_default().extend(open);
            }
            self.touched.insert(id);
        }
    }

    /// Takes back what is not under way of a message; its recipients wait.
    pub(super) fn withdraw(&mut self, id: QueueId) {
        let mut batches = self.scheduler.cancel(id);
        let mut keys = Vec::new();
        for transport in self.transports.values_mut() {
            let stash = std::mem::take(&mut transport.stash);
            let (mine, others): (VecDeque<Delivery>, _) = stash.into_iter().partition(|d| d.batch.message == id);
            transport.stash = others;
            for Delivery { key, batch, .. } in mine {
                keys.push(key);
                batches.push(batch);
            }
        }
        for key in keys {
            // Nothing was learnt of the destination.
            let given_up = self.scheduler.finish(self.now.seconds(), key, Reach::Reached);
            batches.extend(given_up.into_iter().filter(|batch| batch.message == id));
        }
        let Some(active) = self.active.get_mut(&id) else { return };
        let grouped = std::mem::take(&mut active.groups).into_values().flatten();
        for number in batches.into_iter().flat_map(|batch| batch.recipients).chain(grouped) {
            active.queued -= 1;
            active.recipients[number as usize] = Recipient::Waiting;
        }
        self.questions.retain(|_, (asked, _)| *asked != id);
        for recipient in active.recipients.iter_mut().filter(|recipient| **recipient == Recipient::Resolving) {
            *recipient = Recipient::Waiting;
        }
        active.resolving = 0;
        self.touched.insert(id);
    }

    /// Transports that have no agent: the master is asked again, and after a while what waits is deferred.
    pub(super) fn check_transports(&mut self) {
        let now = self.seconds();
        let lonely: Vec<(Arc<str>, u64)> = self
            .transports
            .iter()
            .filter(|(_, transport)| transport.is_deserted())
            .filter_map(|(name, transport)| Some((name.clone(), transport.lonely?)))
            .collect();
        for (name, since) in lonely {
            if now < since + AGENT_PATIENCE {
                self.actions.push(Action::Wake(name.to_string()));
                continue;
            }
            self.actions.push(Action::Warning(format!("connect to transport private/{name}: Connection refused")));
            let mut batches = self.scheduler.suspend_transport(&name, now + self.settings.transport_retry_time);
            let Some(transport) = self.transports.get_mut(&name) else { continue };
            transport.lonely = None;
            for Delivery { key, batch, .. } in std::mem::take(&mut transport.stash) {
                batches.push(batch);
                batches.extend(self.scheduler.finish(now, key, Reach::Reached));
            }
            self.give_up(&name, batches);
        }
    }
}
