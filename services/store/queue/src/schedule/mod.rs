//! The scheduler of `qmgr`: which delivery is next, how many run, when a message is tried again.
//!
//! Pure: no disk, no socket, no clock; `now` is given, in seconds. The algorithms are Postfix's, each in a module with its
//! formula: [`concurrency`] (the window of a destination, dead destinations), `transport` (preemption by delivery slots,
//! recipient limits, rate delay), [`retry`] (backoff, lifetimes, queue runs), [`window`] (how much is in flight).
//!
//! A message's recipients are given to the [`Scheduler`] by transport and destination. It hands out deliveries, each a
//! message and some recipients for one destination, in turns over the transports, and takes back how they ended. What it
//! gives up, because its destination or its transport is dead, the caller defers with the reason that it got.

pub mod concurrency;
mod job;
pub mod retry;
mod transport;
pub mod window;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use ipc_messages::envelope::QueueId;

use concurrency::ConcurrencyPolicy;
use transport::{Entry, Transport};

/// The settings of one transport.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Policy {
    pub concurrency: ConcurrencyPolicy,
    pub slots: SlotPolicy,
    /// `transport_destination_recipient_limit`: recipients of one delivery, 0 for no limit. Where it is 1, the name of a
    /// destination is to be the recipient, as in Postfix.
    pub recipient_limit: usize,
    /// `transport_destination_rate_delay`: seconds between two deliveries to a destination, which then go one by one.
    pub rate_delay: u64,
    /// `transport_transport_rate_delay`: seconds between two deliveries of the transport, which then go one by one.
    pub transport_rate_delay: u64,
    /// Seconds that a dead destination is left alone: `minimal_backoff_time`.
    pub dead_time: u64,
    /// Deliveries that the agents of this transport may have: their descriptors are limited.
    pub in_flight: usize,
}

/// The settings of preemption (`transport_delivery_slot_cost`, `…_loan`, `…_discount`, `transport_minimum_delivery_slots`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotPolicy {
    /// Entries that must be selected to earn a slot; below 2 there is no preemption.
    pub cost: i64,
    /// Slots that may be used before they are earned.
    pub loan: i64,
    /// Percent of the slots that must be there when a job preempts.
    pub discount: i64,
    /// Slots that a job must be able to earn to be preempted at all.
    pub minimum: i64,
}

impl Default for SlotPolicy {
    /// Postfix's defaults.
    fn default() -> SlotPolicy {
        SlotPolicy { cost: 5, loan: 3, discount: 50, minimum: 3 }
    }
}

impl Default for Policy {
    /// Postfix's defaults, and 200 deliveries in flight.
    fn default() -> Policy {
        Policy {
            concurrency: ConcurrencyPolicy::default(),
            slots: SlotPolicy::default(),
            recipient_limit: 50,
            rate_delay: 0,
            transport_rate_delay: 0,
            dead_time: 300,
            in_flight: window::AGENT_WINDOW,
        }
    }
}

/// How a delivery ended, as far as the scheduler cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The destination answered, whatever it said of the message.
    Reached,
    /// There was no connection, or no handshake.
    Unreachable,
}

/// Names a delivery that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DeliveryKey(u64);

/// A delivery to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    pub key: DeliveryKey,
    pub transport: Arc<str>,
    pub batch: Batch,
}

/// Some recipients of one message for one destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    pub message: QueueId,
    pub destination: Arc<str>,
    /// Their numbers in the envelope.
    pub recipients: Vec<u32>,
}

/// The destination or the transport is dead: the recipients are to be deferred at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dead {
    pub until: u64,
}

/// See the module.
#[derive(Default)]
pub struct Scheduler {
    transports: HashMap<Arc<str>, Transport>,
    turns: VecDeque<Arc<str>>,
    /// Which transport a delivery under way belongs to.
    under_way: HashMap<DeliveryKey, Arc<str>>,
    next_key: u64,
}

impl Scheduler {
    /// Takes a transport up. It must be there before anything is enqueued for it.
    pub fn add_transport(&mut self, name: &str, policy: Policy) {
        let name: Arc<str> = name.into();
        self.transports.insert(name.clone(), Transport::new(policy));
        self.turns.push_back(name);
    }

    /// Changes the settings of a transport that was added, for what is selected from now on.
    pub fn set_policy(&mut self, name: &str, policy: Policy) {
        self.transports.get_mut(name).expect("the transport was added").set_policy(policy);
    }

    /// Takes recipients of a message for a destination of a transport.
    pub fn enqueue(
        &mut self,
        now: u64,
        message: QueueId,
        transport: &str,
        destination: &str,
        recipients: &[u32],
    ) -> Result<(), Dead> {
        let transport = self.transports.get_mut(transport).expect("the transport was added");
        transport.wake(now);
        if let Some(until) = transport.dead_until(destination) {
            return Err(Dead { until });
        }
        let next_key = &mut self.next_key;
        let mut keys = std::iter::repeat_with(|| {
            *next_key += 1;
            *next_key
        });
        transport.enqueue(now, message, destination, recipients, &mut keys);
        Ok(())
    }

    /// The next delivery; the transports take turns. `None` until something is enqueued, finishes or wakes.
    pub fn next(&mut self, now: u64) -> Option<Delivery> {
        for turn in 0..self.turns.len() {
            let name = self.turns[turn].clone();
            let transport = self.transports.get_mut(&name).expect("it has a turn");
            if let Some(entry) = transport.select(now) {
                self.turns.rotate_left(turn + 1);
                let key = DeliveryKey(entry);
                self.under_way.insert(key, name.clone());
                let entry = transport.entry(entry);
                let batch = Batch {
                    message: entry.message,
                    destination: entry.destination.clone(),
                    recipients: entry.recipients.clone(),
                };
                return Some(Delivery { key, transport: name, batch });
            }
        }
        None
    }

    /// A delivery has ended. Returns what is given up because its destination is dead now.
    pub fn finish(&mut self, now: u64, key: DeliveryKey, verdict: Verdict) -> Vec<Batch> {
        let name = self.under_way.remove(&key).expect("the delivery is under way");
        let transport = self.transports.get_mut(&name).expect("it has a delivery");
        batches(transport.finish(now, key.0, verdict))
    }

    /// The agents of a transport do not work: it is left alone until `until` (Postfix: `transport_retry_time`, 60 s).
    /// Returns all that waits for it. Deliveries that are under way are to be finished as well.
    pub fn suspend_transport(&mut self, transport: &str, until: u64) -> Vec<Batch> {
        batches(self.transports.get_mut(transport).expect("the transport was added").suspend(until))
    }

    /// Takes out what is not under way of a message: it is deleted, or held.
    pub fn cancel(&mut self, message: QueueId) -> Vec<Batch> {
        self.transports.values_mut().flat_map(|transport| batches(transport.cancel(message))).collect()
    }

    /// Brings back destinations and transports that have waited long enough.
    pub fn wake(&mut self, now: u64) {
        self.transports.values_mut().for_each(|transport| transport.wake(now));
    }

    /// When [`Scheduler::wake`] has something to do.
    pub fn next_wake(&self) -> Option<u64> {
        self.transports.values().filter_map(Transport::next_wake).min()
    }
}

fn batches(entries: Vec<Entry>) -> Vec<Batch> {
    let batch =
        |entry: Entry| Batch { message: entry.message, destination: entry.destination, recipients: entry.recipients };
    entries.into_iter().map(batch).collect()
}

#[cfg(test)]
mod tests;
