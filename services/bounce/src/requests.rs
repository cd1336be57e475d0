//! The dialogues with `qmgr`, which asks, and with `cleanup`, which queues what was written. It knows no socket and no
//! clock: messages and the time come in, [`Order`]s go out.
//!
//! A request that is complete makes its notifications one after the other; each begins anew when `cleanup` is lost before
//! it said that the notification is queued. Invariant: every request that was committed is answered once, unless its asker
//! is lost; a notification has a queue ID of its own each time it begins.

use std::collections::{BTreeMap, VecDeque};

use ipc_messages::bounce::{FromBounce, Kind, Original, Report, ToBounce};
use ipc_messages::envelope::{BodyType, Envelope, Notify, Origin, Recipient, RewriteContext, Trace};
use ipc_messages::intake::{FromCleanup, INITIAL_CREDIT, MAX_PIECE, ToCleanup};
use ipc_messages::queue_id::{Ids, QueueId};

use crate::letters::{Letter, letters};
use crate::report::Notification;
use crate::returned::{self, Content, Returned};
use crate::settings::Settings;

/// Requests at once; more are refused for now.
pub const MAX_REQUESTS: usize = 200;
/// Recipients of one request (`virtual_alias_expansion_limit` allows a message 1,000, `default_recipient_limit` 20,000).
pub const MAX_REPORTS: usize = 50_000;
/// In place of what cannot be read.
const UNAVAILABLE: &str = "\t--- Undelivered message unavailable ---\n";

/// What is to be done, in order. `P` names a channel to an asker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order<P> {
    /// A message for `cleanup`.
    Intake(ToCleanup),
    /// An answer.
    Answer(P, FromBounce),
    /// A line for the log.
    Info(String),
    /// A warning for the log.
    Warning(String),
}

/// All requests.
#[derive(Debug)]
pub struct Requests<P, C> {
    settings: Settings,
    requests: BTreeMap<(P, u32), Request<C>>,
    /// Requests whose next notification waits for `cleanup`.
    waiting: VecDeque<(P, u32)>,
    /// By the number of a message at `cleanup`: whose notification it is.
    queueing: BTreeMap<u32, (P, u32)>,
    last_number: u32,
    /// `cleanup` is there.
    connected: bool,
    ids: Ids,
    long_ids: bool,
    asked_for_ids: bool,
    orders: VecDeque<Order<P>>,
}

#[derive(Debug)]
struct Request<C> {
    kind: Kind,
    original: Original,
    content: C,
    reports: Vec<Report>,
    /// Notifications that are not queued yet; the first may be on its way.
    letters: VecDeque<Letter>,
    committed: bool,
    /// The first notification, once queued.
    notification: Option<QueueId>,
    flight: Option<Flight>,
}

/// A notification on its way to `cleanup`.
#[derive(Debug)]
struct Flight {
    number: u32,
    queue_id: QueueId,
    head: Vec<u8>,
    returned: Option<Returned>,
    tail: Vec<u8>,
    /// Bytes of the three that were sent.
    sent: u64,
    credit: u64,
    committed: bool,
}

impl<P: Copy + Ord, C: Content> Requests<P, C> {
    /// Nothing is asked yet, and `cleanup` is not there.
    pub fn new(settings: Settings) -> Requests<P, C> {
        Requests {
            settings,
            requests: BTreeMap::new(),
            waiting: VecDeque::new(),
            queueing: BTreeMap::new(),
            last_number: 0,
            connected: false,
            ids: Ids { from: 0, to: 0 },
            long_ids: false,
            asked_for_ids: false,
            orders: VecDeque::new(),
        }
    }

    /// The next order.
    pub fn poll(&mut self) -> Option<Order<P>> {
        self.orders.pop_front()
    }

    /// Requests that are not answered.
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    /// Settings for notifications that begin from now on.
    pub fn reload(&mut self, settings: Settings) {
        self.settings = settings;
    }

    /// A request begins.
    pub fn begin(&mut self, peer: P, id: u32, kind: Kind, original: Original, content: C) {
        if self.requests.len() >= MAX_REQUESTS {
            let reason = format!("more than {MAX_REQUESTS} notifications at once");
            return self.orders.push_back(Order::Answer(peer, FromBounce::Failed { id, reason }));
        }
        let request = Request {
            kind,
            original,
            content,
            reports: Vec::new(),
            letters: VecDeque::new(),
            committed: false,
            notification: None,
            flight: None,
        };
        self.requests.insert((peer, id), request);
    }

    /// A message from an asker, but for the one that [`Requests::begin`] is for. What names a request that was refused is
    /// dropped.
    pub fn asked(&mut self, peer: P, message: ToBounce, now: u64) {
        match message {
            ToBounce::Begin { .. } => {}
            ToBounce::Recipients { id, reports } => {
                let Some(request) = self.requests.get_mut(&(peer, id)).filter(|request| !request.committed) else {
                    return;
                };
                request.reports.extend(reports);
                if request.reports.len() > MAX_REPORTS {
                    self.requests.remove(&(peer, id));
                    let reason = format!("more than {MAX_REPORTS} recipients");
                    self.orders.push_back(Order::Answer(peer, FromBounce::Failed { id, reason }));
                }
            }
            ToBounce::Commit { id } => {
                let Some(request) = self.requests.get_mut(&(peer, id)).filter(|request| !request.committed) else {
                    return;
                };
                request.committed = true;
                let Request { kind, original, reports, .. } = request;
                if original.sender.eq_ignore_ascii_case(&self.settings.double_bounce_address()) {
                    let line = format!("{}: undeliverable postmaster notification discarded", original.queue_id);
                    self.orders.push_back(Order::Warning(line));
                }
                request.letters = letters(&self.settings, *kind, original, reports).into();
                self.next_letter((peer, id), now);
            }
        }
    }

    /// An asker is gone, and asks again when it is back.
    pub fn asker_lost(&mut self, peer: P) {
        self.waiting.retain(|(asker, _)| *asker != peer);
        let lost = self.requests.extract_if(.., |(asker, _), _| *asker == peer);
        for flight in lost.filter_map(|(_, request)| request.flight) {
            self.queueing.remove(&flight.number);
            // One that is committed may be queued by now, so nothing is taken back.
            if !flight.committed {
                self.orders.push_back(Order::Intake(ToCleanup::Abort { id: flight.number }));
            }
        }
    }

    /// `cleanup` is there; its first block of queue IDs follows by itself.
    pub fn cleanup_up(&mut self) {
        self.connected = true;
        self.asked_for_ids = true;
    }

    /// `cleanup` is gone: what it did not confirm begins anew once it is back.
    pub fn cleanup_down(&mut self) {
        self.connected = false;
        self.ids = Ids { from: 0, to: 0 };
        for (_, key) in std::mem::take(&mut self.queueing) {
            if let Some(request) = self.requests.get_mut(&key) {
                request.flight = None;
                self.waiting.push_back(key);
            }
        }
    }

    /// A message from `cleanup`. `now` is in microseconds since 1970.
    pub fn cleanup_said(&mut self, message: FromCleanup, now: u64) {
        match message {
            FromCleanup::Ids { ids, long } => {
                (self.ids, self.long_ids, self.asked_for_ids) = (ids, long, false);
                self.start_waiting(now);
            }
            FromCleanup::Credit { id, bytes } => {
                let Some(&key) = self.queueing.get(&id) else { return };
                if let Some(flight) = self.requests.get_mut(&key).and_then(|request| request.flight.as_mut()) {
                    flight.credit = flight.credit.saturating_add(bytes);
                }
                self.send_body(key);
            }
            FromCleanup::Queued { id } => {
                let Some(key) = self.queueing.remove(&id) else { return };
                let Some(request) = self.requests.get_mut(&key) else { return };
                let queue_id = request.flight.take().map(|flight| flight.queue_id);
                request.letters.pop_front();
                request.notification = request.notification.or(queue_id);
                self.next_letter(key, now);
            }
            FromCleanup::Refused { id, reply } => {
                if let Some(key) = self.queueing.remove(&id) {
                    self.refused(key, reply, now);
                }
            }
        }
    }

    /// The first letter of a request is the one that must be queued; copies to the postmaster may be lost.
    fn refused(&mut self, key: (P, u32), reply: String, now: u64) {
        let Some(request) = self.requests.get_mut(&key) else { return };
        request.flight = None;
        let queue_id = request.original.queue_id;
        let Some(letter) = request.letters.pop_front() else { return };
        let line = if letter.is_copy {
            format!("{queue_id}: postmaster notification failed: {reply}")
        } else {
            format!("{queue_id}: sender notification failed to {}: {reply}", letter.recipient)
        };
        self.orders.push_back(Order::Warning(line));
        if request.notification.is_some() {
            return self.next_letter(key, now);
        }
        self.requests.remove(&key);
        self.orders.push_back(Order::Answer(key.0, FromBounce::Failed { id: key.1, reason: reply }));
    }

    /// The next notification of a request, or the answer.
    fn next_letter(&mut self, key: (P, u32), now: u64) {
        let Some(request) = self.requests.get(&key) else { return };
        if request.letters.is_empty() {
            let notification = request.notification;
            self.requests.remove(&key);
            return self.orders.push_back(Order::Answer(key.0, FromBounce::Told { id: key.1, notification }));
        }
        self.waiting.push_back(key);
        self.start_waiting(now);
    }

    fn start_waiting(&mut self, now: u64) {
        while self.connected && !self.waiting.is_empty() {
            let Some(number) = self.ids.take() else {
                if !std::mem::replace(&mut self.asked_for_ids, true) {
                    self.orders.push_back(Order::Intake(ToCleanup::MoreIds));
                }
                return;
            };
            let queue_id = if self.long_ids {
                QueueId::long(now / 1_000_000, (now % 1_000_000) as u32, number)
            } else {
                QueueId::short((now % 1_000_000) as u32, number)
            };
            if let Some(key) = self.waiting.pop_front() {
                self.start(key, queue_id, now);
            }
        }
    }

    /// Begins to send the first letter of a request to `cleanup`.
    fn start(&mut self, key: (P, u32), queue_id: QueueId, now: u64) {
        let Some(request) = self.requests.get_mut(&key) else { return };
        let Some(letter) = request.letters.front() else { return };
        self.last_number = self.last_number.wrapping_add(1);
        let number = self.last_number;
        let Original { offset, size, .. } = request.original;
        // A large message cut in the middle would break its MIME structure: its header alone is returned.
        let headers_only = letter.headers_only || size > self.settings.size_limit;
        let read = if headers_only { returned::header } else { returned::whole };
        let returned = read(&request.content, offset, size).ok();
        let date_of = |seconds: u64| ipc_jail::sys::local_time(seconds as i64).header_date();
        let notification = Notification {
            settings: &self.settings,
            kind: request.kind,
            original: &request.original,
            reports: &request.reports,
            letter,
            queue_id: queue_id.as_str(),
            now: now / 1_000_000,
            date: &date_of(now / 1_000_000),
        };
        let frame = notification.write(headers_only, date_of);
        let mut tail = frame.tail;
        match returned {
            Some(Returned { is_cut: true, .. }) => tail.insert(0, '\n'),
            Some(_) => {}
            None => tail.insert_str(0, UNAVAILABLE),
        }
        let whose = format!("{}: {}: {queue_id}", request.original.queue_id, letter.name(request.kind));
        self.orders.push_back(Order::Info(whose));
        let envelope = Box::new(envelope(&request.original, letter, queue_id, now));
        self.orders.push_back(Order::Intake(ToCleanup::Begin { id: number, envelope }));
        let recipient =
            Recipient { address: letter.recipient.clone(), original: None, dsn_orcpt: None, notify: Notify::NEVER };
        self.orders.push_back(Order::Intake(ToCleanup::Recipient { id: number, recipient }));
        request.flight = Some(Flight {
            number,
            queue_id,
            head: frame.head.into_bytes(),
            returned,
            tail: tail.into_bytes(),
            sent: 0,
            credit: INITIAL_CREDIT,
            committed: false,
        });
        self.queueing.insert(number, key);
        self.send_body(key);
    }

    /// Sends as much as there is credit for, and commits at the end.
    fn send_body(&mut self, key: (P, u32)) {
        let Some(request) = self.requests.get_mut(&key) else { return };
        let Some(flight) = request.flight.as_mut().filter(|flight| !flight.committed) else { return };
        let id = flight.number;
        while flight.credit > 0 {
            let limit = flight.credit.min(MAX_PIECE as u64) as usize;
            match flight.piece(&request.content, limit) {
                Ok(Some(bytes)) => {
                    flight.sent += bytes.len() as u64;
                    flight.credit -= bytes.len() as u64;
                    self.orders.push_back(Order::Intake(ToCleanup::Body { id, bytes }));
                }
                Ok(None) => {
                    flight.committed = true;
                    self.orders.push_back(Order::Intake(ToCleanup::Commit { id }));
                    return;
                }
                Err(error) => {
                    self.orders.push_back(Order::Intake(ToCleanup::Abort { id }));
                    self.queueing.remove(&id);
                    self.requests.remove(&key);
                    let reason = format!("reading the message: {error}");
                    self.orders.push_back(Order::Answer(key.0, FromBounce::Failed { id: key.1, reason }));
                    return;
                }
            }
        }
    }
}

impl Flight {
    /// The next bytes, at most `limit`; `None` at the end.
    fn piece<C: Content>(&self, content: &C, limit: usize) -> std::io::Result<Option<Vec<u8>>> {
        let (head, length) = (self.head.len() as u64, self.returned.map_or(0, |returned| returned.length));
        let part = |bytes: &[u8], from: u64| {
            let rest = &bytes[from as usize..];
            Some(rest[..rest.len().min(limit)].to_vec())
        };
        if self.sent < head {
            return Ok(part(&self.head, self.sent));
        }
        if let Some(returned) = self.returned.filter(|returned| self.sent - head < returned.length) {
            let from = self.sent - head;
            let mut bytes = vec![0; limit.min((returned.length - from).min(MAX_PIECE as u64) as usize)];
            let read = content.read_at(&mut bytes, returned.offset + from)?;
            bytes.truncate(read);
            return if read > 0 { Ok(Some(bytes)) } else { Err(std::io::ErrorKind::UnexpectedEof.into()) };
        }
        let from = self.sent - head - length;
        Ok(if from < self.tail.len() as u64 { part(&self.tail, from) } else { None })
    }
}

/// The envelope of a notification. Nobody is told of what becomes of it (RFC 3464 section 2.1).
fn envelope(original: &Original, letter: &Letter, queue_id: QueueId, now: u64) -> Envelope {
    Envelope {
        queue_id,
        arrival: now,
        sender: letter.sender.clone(),
        recipients: Vec::new(),
        size: 0,
        origin: Origin::Bounce,
        client: None,
        sasl: None,
        body: BodyType::EightBitMime,
        smtputf8: original.smtputf8,
        dsn_envid: None,
        dsn_ret: None,
        trace: Trace::None,
        message_id: None,
        rewrite: RewriteContext::Local,
        filter: None,
    }
}

#[cfg(test)]
mod tests;
