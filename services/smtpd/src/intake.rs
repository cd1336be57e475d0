//! Messages on their way to `cleanup`: queue IDs from its blocks, and bodies paced by its credit.

use std::collections::{BTreeMap, VecDeque};
use std::time::{SystemTime, UNIX_EPOCH};

use ipc_messages::envelope::{Envelope, Recipient};
use ipc_messages::intake::{FromCleanup, INITIAL_CREDIT, MAX_PIECE, ToCleanup};
use ipc_messages::queue_id::{Ids, QueueId};
use worker::ConnId;

/// When fewer numbers are left, more are asked for.
const LOW: u64 = 64;

/// The hop to `cleanup`. Messages to send are collected in [`Intake::out`].
#[derive(Default)]
pub struct Intake {
    connected: bool,
    ids: Option<Ids>,
    long: bool,
    asked: bool,
    next: u32,
    open: BTreeMap<u32, Message>,
    /// What the caller is to send, in order.
    pub out: VecDeque<ToCleanup>,
}

struct Message {
    conn: ConnId,
    credit: u64,
    waiting: VecDeque<Vec<u8>>,
    complete: bool,
}

/// What `cleanup` said about a session's message.
#[derive(Debug, PartialEq, Eq)]
pub enum Told {
    /// The body may go on.
    Room(ConnId),
    /// On stable storage.
    Queued(ConnId),
    /// Not taken; the reply for the client.
    Refused(ConnId, String),
}

impl Intake {
    /// Whether messages can begin: `cleanup` is there and has given numbers.
    pub fn is_ready(&self) -> bool {
        self.connected && self.ids.as_ref().is_some_and(|ids| ids.remaining() > 0)
    }

    /// `cleanup` is there; it sends numbers unasked.
    pub fn connected(&mut self) {
        self.connected = true;
        self.ids = None;
        self.asked = true;
    }

    /// `cleanup` has gone. Returns the sessions whose messages are lost.
    pub fn disconnected(&mut self) -> Vec<ConnId> {
        self.connected = false;
        self.ids = None;
        self.out.clear();
        std::mem::take(&mut self.open).into_values().map(|message| message.conn).collect()
    }

    /// A name for a new message; `None` while no numbers are there.
    pub fn queue_id(&mut self) -> Option<QueueId> {
        let ids = self.ids.as_mut()?;
        let number = ids.take()?;
        if ids.remaining() < LOW && !self.asked {
            self.asked = true;
            self.out.push_back(ToCleanup::MoreIds);
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let micros = now.subsec_micros();
        Some(if self.long { QueueId::long(now.as_secs(), micros, number) } else { QueueId::short(micros, number) })
    }

    /// Begins a message; its number here.
    pub fn begin(&mut self, conn: ConnId, envelope: Envelope) -> u32 {
        let id = self.next;
        self.next = self.next.wrapping_add(1);
        self.open.insert(id, Message { conn, credit: INITIAL_CREDIT, waiting: VecDeque::new(), complete: false });
        self.out.push_back(ToCleanup::Begin { id, envelope: Box::new(envelope) });
        id
    }

    /// Adds a recipient.
    pub fn recipient(&mut self, id: u32, recipient: Recipient) {
        if self.open.contains_key(&id) {
            self.out.push_back(ToCleanup::Recipient { id, recipient });
        }
    }

    /// Adds content. Returns whether more is welcome now; if not, [`Told::Room`] comes.
    pub fn body(&mut self, id: u32, bytes: &[u8]) -> bool {
        let Some(message) = self.open.get_mut(&id) else { return true };
        message.waiting.extend(bytes.chunks(MAX_PIECE).map(<[u8]>::to_vec));
        send(id, message, &mut self.out);
        message.waiting.is_empty()
    }

    /// The content is complete. Returns whether the message was still open.
    pub fn commit(&mut self, id: u32) -> bool {
        let Some(message) = self.open.get_mut(&id) else { return false };
        message.complete = true;
        send(id, message, &mut self.out);
        true
    }

    /// The message is not to be.
    pub fn abort(&mut self, id: u32) {
        if self.open.remove(&id).is_some() {
            self.out.push_back(ToCleanup::Abort { id });
        }
    }

    /// Takes what `cleanup` says.
    pub fn told(&mut self, message: FromCleanup) -> Option<Told> {
        match message {
            FromCleanup::Ids { ids, long } => {
                self.asked = false;
                self.long = long;
                // What is left of the old block is given up: a block is large, a number is never used twice.
                self.ids = Some(ids);
                None
            }
            FromCleanup::Credit { id, bytes } => {
                let message = self.open.get_mut(&id)?;
                message.credit = message.credit.saturating_add(bytes);
                let waited = !message.waiting.is_empty();
                send(id, message, &mut self.out);
                (waited && message.waiting.is_empty()).then_some(Told::Room(message.conn))
            }
            FromCleanup::Queued { id } => Some(Told::Queued(self.open.remove(&id)?.conn)),
            FromCleanup::Refused { id, reply } => Some(Told::Refused(self.open.remove(&id)?.conn, reply)),
        }
    }
}

/// Sends what credit allows; the commit follows the last piece.
fn send(id: u32, message: &mut Message, out: &mut VecDeque<ToCleanup>) {
    while let Some(piece) = message.waiting.front() {
        let length = piece.len() as u64;
        if length > message.credit {
            return;
        }
        message.credit -= length;
        out.extend(message.waiting.pop_front().map(|bytes| ToCleanup::Body { id, bytes }));
    }
    if message.complete {
        message.complete = false;
        out.push_back(ToCleanup::Commit { id });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn intake() -> Intake {
        let mut intake = Intake::default();
        intake.connected();
        intake.told(FromCleanup::Ids { ids: Ids { from: 10, to: 200 }, long: false });
        intake
    }

    fn conn() -> ConnId {
        ConnId::for_tests(7)
    }

    #[test]
    fn numbers_run_low_and_are_asked_for_once() {
        let mut intake = intake();
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..190 {
            assert!(seen.insert(intake.queue_id().unwrap().number()));
        }
        assert_eq!(intake.queue_id(), None);
        assert_eq!(intake.out, [ToCleanup::MoreIds]);
        assert!(!intake.is_ready());
    }

    #[test]
    fn bodies_wait_for_credit_and_the_commit_for_the_body() {
        let mut intake = intake();
        let id = 0;
        intake
            .open
            .insert(id, Message { conn: conn(), credit: INITIAL_CREDIT, waiting: VecDeque::new(), complete: false });
        assert!(intake.body(id, &[1; 1000]));
        assert!(!intake.body(id, &vec![1; INITIAL_CREDIT as usize]));
        assert!(intake.commit(id));
        assert!(!intake.out.iter().any(|message| matches!(message, ToCleanup::Commit { .. })));
        assert_eq!(intake.told(FromCleanup::Credit { id, bytes: 100_000 }), Some(Told::Room(conn())));
        assert!(matches!(intake.out.back(), Some(ToCleanup::Commit { .. })));
        let sent: usize =
            intake.out.iter().map(|m| if let ToCleanup::Body { bytes, .. } = m { bytes.len() } else { 0 }).sum();
        assert_eq!(sent, 1000 + INITIAL_CREDIT as usize);
        assert_eq!(intake.told(FromCleanup::Queued { id }), Some(Told::Queued(conn())));
        assert_eq!(intake.told(FromCleanup::Queued { id }), None);
    }

    #[test]
    fn a_lost_cleanup_fails_its_messages() {
        let mut intake = intake();
        intake.open.insert(3, Message { conn: conn(), credit: 0, waiting: VecDeque::new(), complete: false });
        assert_eq!(intake.disconnected(), [conn()]);
        assert!(!intake.is_ready() && !intake.commit(3));
    }
}
