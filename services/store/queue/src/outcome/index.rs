//! What the outcome log says, by message: small, because a long queue has a million of them. Texts stay on the disk.

use std::collections::HashMap;

use ipc_messages::envelope::QueueId;

use super::frame::{Deferral, Outcome};
use crate::journal::Sequence;

/// Where a frame is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub at: u64,
    pub length: u32,
}

/// What is known of a recipient; one that is not mentioned is pending since the message arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecipientState {
    Pending,
    /// Due at `next_attempt`, in seconds since 1970.
    Deferred {
        next_attempt: u64,
        attempt: u32,
        /// The sender knows of it.
        warned: bool,
    },
    Done,
}

#[derive(Debug)]
enum Message {
    /// By recipient number.
    Live(Vec<Recipient>),
    Removed {
        journal: Sequence,
        place: Place,
    },
}

#[derive(Debug)]
struct Recipient {
    number: u32,
    state: RecipientState,
    place: Place,
}

#[derive(Debug, Default)]
pub(super) struct Index {
    messages: HashMap<QueueId, Message>,
    live_bytes: u64,
}

impl Index {
    /// Takes the next frame of the log. A removed message and a done recipient stay that, whatever follows.
    pub fn apply(&mut self, outcome: &Outcome, place: Place) {
        let (id, number, state) = match outcome {
            Outcome::Done { id, recipient } => (*id, *recipient, RecipientState::Done),
            Outcome::Deferred { id, recipient, deferral } => {
                let Deferral { next_attempt, attempt, warned, .. } = *deferral;
                let state = RecipientState::Deferred { next_attempt, attempt, warned };
                (*id, *recipient, state)
            }
            Outcome::Removed { id, journal } => return self.remove(*id, *journal, place),
        };
        let message = self.messages.entry(id).or_insert_with(|| Message::Live(Vec::new()));
        let Message::Live(recipients) = message else { return };
        match recipients.binary_search_by_key(&number, |recipient| recipient.number) {
            Ok(at) if recipients[at].state == RecipientState::Done => return,
            Ok(at) => {
                self.live_bytes -= u64::from(recipients[at].place.length);
                recipients[at] = Recipient { number, state, place };
            }
            Err(at) => recipients.insert(at, Recipient { number, state, place }),
        }
        self.live_bytes += u64::from(place.length);
    }

    fn remove(&mut self, id: QueueId, journal: Sequence, place: Place) {
        if self.is_removed(id) {
            return;
        }
        if let Some(Message::Live(recipients)) = self.messages.insert(id, Message::Removed { journal, place }) {
            self.live_bytes -= recipients.iter().map(|recipient| u64::from(recipient.place.length)).sum::<u64>();
        }
        self.live_bytes += u64::from(place.length);
    }

    pub fn is_removed(&self, id: QueueId) -> bool {
        matches!(self.messages.get(&id), Some(Message::Removed { .. }))
    }

    pub fn recipient(&self, id: QueueId, number: u32) -> RecipientState {
        self.find(id, number).map_or(RecipientState::Pending, |recipient| recipient.state)
    }

    pub fn place(&self, id: QueueId, number: u32) -> Option<Place> {
        self.find(id, number).map(|recipient| recipient.place)
    }

    /// The recipients of the message that the log knows to be done.
    pub fn done(&self, id: QueueId) -> Vec<u32> {
        let Some(Message::Live(recipients)) = self.messages.get(&id) else { return Vec::new() };
        let done = recipients.iter().filter(|recipient| recipient.state == RecipientState::Done);
        done.map(|recipient| recipient.number).collect()
    }

    /// The earliest next attempt of any recipient of the message that the log knows to be deferred.
    pub fn next_attempt(&self, id: QueueId) -> Option<u64> {
        let Some(Message::Live(recipients)) = self.messages.get(&id) else { return None };
        let due = |recipient: &Recipient| match recipient.state {
            RecipientState::Deferred { next_attempt, .. } => Some(next_attempt),
            _ => None,
        };
        recipients.iter().filter_map(due).min()
    }

    /// Bytes of the frames that a new log would need.
    pub fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    /// The removed messages, with their journal records.
    pub fn removed(&self) -> impl Iterator<Item = (QueueId, Sequence)> + '_ {
        self.messages.iter().filter_map(|(id, message)| match message {
            Message::Removed { journal, .. } => Some((*id, *journal)),
            Message::Live(_) => None,
        })
    }

    /// Forgets that a message was removed.
    pub fn forget(&mut self, id: QueueId) {
        if let Some(Message::Removed { place, .. }) = self.messages.get(&id) {
            self.live_bytes -= u64::from(place.length);
            self.messages.remove(&id);
        }
    }

    /// Where the frames are that count, in the order of the log.
    pub fn places(&self) -> Vec<Place> {
        let mut places: Vec<Place> = Vec::new();
        for message in self.messages.values() {
            match message {
                Message::Live(recipients) => places.extend(recipients.iter().map(|recipient| recipient.place)),
                Message::Removed { place, .. } => places.push(*place),
            }
        }
        places.sort_by_key(|place| place.at);
        places
    }

    fn find(&self, id: QueueId, number: u32) -> Option<&Recipient> {
        let Some(Message::Live(recipients)) = self.messages.get(&id) else { return None };
        let at = recipients.binary_search_by_key(&number, |recipient| recipient.number).ok()?;
        Some(&recipients[at])
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::Deferral;
    use super::*;

    fn deferred(id: QueueId, recipient: u32, next_attempt: u64) -> Outcome {
        let deferral = Deferral { next_attempt, attempt: 1, warned: false, dsn: String::new(), reason: String::new() };
        Outcome::Deferred { id, recipient, deferral }
    }

    #[test]
    fn done_and_removed_are_final() {
        let id = QueueId::short(0, 1);
        let mut index = Index::default();
        let place = |at| Place { at, length: 10 };
        index.apply(&deferred(id, 1, 300), place(0));
        index.apply(&deferred(id, 2, 200), place(10));
        assert_eq!((index.next_attempt(id), index.live_bytes()), (Some(200), 20));
        index.apply(&deferred(id, 2, 500), place(20));
        assert_eq!((index.next_attempt(id), index.live_bytes()), (Some(300), 20));
        index.apply(&Outcome::Done { id, recipient: 1 }, place(30));
        index.apply(&deferred(id, 1, 100), place(40));
        assert_eq!(index.recipient(id, 1), RecipientState::Done);
        assert_eq!(index.recipient(id, 0), RecipientState::Pending);
        assert_eq!(index.done(id), [1]);
        assert_eq!(index.places(), [place(20), place(30)]);

        index.apply(&Outcome::Removed { id, journal: 7 }, place(50));
        index.apply(&Outcome::Done { id, recipient: 2 }, place(60));
        assert_eq!((index.places(), index.live_bytes()), (vec![place(50)], 10));
        assert_eq!(index.removed().collect::<Vec<_>>(), [(id, 7)]);
        index.forget(id);
        assert!(!index.is_removed(id) && index.live_bytes() == 0);
    }
}
