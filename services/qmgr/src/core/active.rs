//! A message that is active: everything about it is in memory, and each recipient is somewhere on its way.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use ipc_messages::bounce::{Original, Report};
use ipc_messages::delivery::{Outcome, Target};
use ipc_messages::envelope::{BodyType, Envelope, Return};
use ipc_messages::queue_id::QueueId;
use store_queue::Folder;
use store_queue::journal::Sequence;

/// Where a recipient is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recipient {
    /// Finished in an earlier attempt, or in this one and in the log.
    Done,
    /// Delivered, or its sender is told; the log does not have it yet.
    Finished(Outcome),
    /// Its route is asked for.
    Resolving,
    /// Taken back before it was tried.
    Waiting,
    /// It waits for its delivery, or the delivery is under way.
    Queued,
    /// Not now.
    Deferred(Outcome),
    /// Never; its sender is to be told.
    Bounced(Outcome),
}

/// What is being done with the message as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Recipients are on their way.
    Delivering,
    /// So many notifications are asked for.
    Telling(usize),
    /// The outcomes of this attempt are being synced.
    Settling,
    /// It waits for its queue file, and then for its next attempt.
    Filing,
}

/// What an administrator wants of it once its deliveries have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fate {
    #[default]
    Delivery,
    Delete,
    Hold,
}

/// See the module.
#[derive(Debug)]
pub struct Active {
    pub envelope: Envelope,
    /// Its journal record; 0 if it has none that can be replayed.
    pub sequence: Sequence,
    /// `None` while it is in the journal alone.
    pub folder: Option<Folder>,
    pub body: Arc<OwnedFd>,
    /// Where the content begins in it.
    pub offset: u64,
    /// When it became active, in microseconds since 1970.
    pub since: u64,
    pub recipients: Vec<Recipient>,
    /// Completed attempts of each recipient.
    pub attempts: Vec<u32>,
    /// The address to deliver to and the next hop, once they are known.
    pub routes: Vec<Option<(String, Arc<str>)>>,
    /// Recipients for the scheduler, by transport and destination.
    pub groups: BTreeMap<(Arc<str>, Arc<str>), Vec<u32>>,
    /// Recipients that the active window counts.
    pub admitted: usize,
    /// When it is due again, in seconds since 1970.
    pub due: u64,
    /// Recipients whose route is asked for.
    pub resolving: usize,
    /// Recipients that wait or are being delivered.
    pub queued: usize,
    /// Those of `queued` that an agent has.
    pub in_flight: usize,
    pub phase: Phase,
    pub fate: Fate,
    /// A queue file is being made by `cleanup`.
    pub spilling: bool,
    /// The sender has been told that it is delayed.
    pub warned: bool,
    /// Agents that died with it.
    pub crashes: u32,
}

impl Active {
    /// With these recipients to try (number, attempts so far).
    pub fn new(
        envelope: Envelope,
        (body, offset): (OwnedFd, u64),
        (sequence, folder): (Sequence, Option<Folder>),
        pending: &[(u32, u32)],
        since: u64,
    ) -> Active {
        let count = envelope.recipients.len();
        let mut recipients = vec![Recipient::Done; count];
        let mut attempts = vec![0; count];
        for (number, tried) in pending {
            recipients[*number as usize] = Recipient::Resolving;
            attempts[*number as usize] = *tried;
        }
        Active {
            envelope,
            sequence,
            folder,
            body: Arc::new(body),
            offset,
            since,
            recipients,
            attempts,
            routes: vec![None; count],
            groups: BTreeMap::new(),
            admitted: pending.len(),
            due: 0,
            resolving: pending.len(),
            queued: 0,
            in_flight: 0,
            phase: Phase::Delivering,
            fate: Fate::Delivery,
            spilling: false,
            warned: false,
            crashes: 0,
        }
    }

    pub fn id(&self) -> QueueId {
        self.envelope.queue_id
    }

    /// Seconds since 1970.
    pub fn arrival(&self) -> u64 {
        self.envelope.arrival / 1_000_000
    }

    /// Whether nothing of this attempt is open.
    pub fn attempt_is_over(&self) -> bool {
        self.phase == Phase::Delivering && self.resolving == 0 && self.queued == 0 && !self.spilling
    }

    /// A recipient as an agent gets it.
    pub fn target(&self, number: u32) -> Target {
        let recipient = &self.envelope.recipients[number as usize];
        let address = self.routes[number as usize].as_ref().map_or(&recipient.address, |(address, _)| address);
        Target {
            index: number,
            address: address.clone(),
            original: recipient.original.clone(),
            dsn_orcpt: recipient.dsn_orcpt.clone(),
            dsn_notify: recipient.notify.bits(),
        }
    }

    /// The message as a notification describes it.
    pub fn original(&self) -> Original {
        Original {
            queue_id: self.id(),
            sender: self.envelope.sender.clone(),
            arrived: self.envelope.arrival,
            offset: self.offset,
            size: self.envelope.size,
            eight_bit: self.envelope.body == BodyType::EightBitMime,
            smtputf8: self.envelope.smtputf8,
            dsn_envid: self.envelope.dsn_envid.clone(),
            dsn_ret: dsn_ret(self.envelope.dsn_ret),
        }
    }

    /// What a notification tells of the recipients for which `choose` gives an outcome.
    pub fn reports(&self, choose: impl Fn(&Recipient) -> Option<&Outcome>) -> Vec<Report> {
        let report = |(number, recipient): (u32, &Recipient)| {
            let outcome = choose(recipient)?.clone();
            let Target { address, original, dsn_orcpt, dsn_notify, .. } = self.target(number);
            Some(Report { address, original, dsn_orcpt, dsn_notify, outcome })
        };
        (0..).zip(&self.recipients).filter_map(report).collect()
    }

    /// Changes every recipient of one kind.
    pub fn replace(&mut self, change: impl Fn(Recipient) -> Recipient) {
        for recipient in &mut self.recipients {
            *recipient = change(std::mem::replace(recipient, Recipient::Done));
        }
    }

    /// Whether nothing of the message is needed any more, at the end of an attempt.
    pub fn is_removed(&self) -> bool {
        let over = |recipient: &Recipient| matches!(recipient, Recipient::Done | Recipient::Finished(_));
        self.fate == Fate::Delete || self.recipients.iter().all(over)
    }

    /// The recipients that are finished and that the log does not have.
    pub fn finished(&self) -> Vec<u32> {
        let finished = (0..).zip(&self.recipients).filter(|(_, recipient)| matches!(recipient, Recipient::Finished(_)));
        finished.map(|(number, _)| number).collect()
    }

    /// Where its queue file is to lie after this attempt.
    pub fn target_folder(&self) -> Folder {
        if self.fate == Fate::Hold { Folder::Hold } else { Folder::Deferred }
    }
}

/// `RET` as a number on this hop.
pub fn dsn_ret(ret: Option<Return>) -> u8 {
    match ret {
        None => 0,
        Some(Return::Full) => 1,
        Some(Return::Headers) => 2,
    }
}
