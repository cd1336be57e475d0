//! cleanup without sockets, disk and clock: what peers say and what the disk has done go in, [`Action`]s come out.
//!
//! - A sender hears `Queued` only after the journal's sync, and `qmgr` hears of the message at the same moment.
//! - A record is released only on the order of `qmgr`, or when this process has published the message's queue file.
//! - While there is a `qmgr`, queue files are made on its order alone. When one comes, it is told of everything that the
//!   journal holds; that begins only when no queue file is being made any more.
//! - What waits is bounded by the windows of the senders and by [`MAX_LIVE`]: above it nothing is committed until something
//!   is released.

use std::collections::{BTreeMap, HashMap, VecDeque};

use ipc_messages::envelope::QueueId;
use ipc_messages::intake::{FromCleanup, ToCleanup};
use ipc_messages::lookup::{FromLookup, ToLookup};
use ipc_messages::queue::{FromQmgr, MAX_LIVE, MAX_PIECE, Place, ToQmgr};
use ipc_messages::queue_id::Ids;
use store_queue::journal::{Live as Recovered, Sequence};
use worker::PeerId;

use std::os::fd::OwnedFd;

use crate::disk::{Commit, Done, Drafted, Failure, LANES, Lane, Piece, Stored, Token, Work};
use crate::message::{ALIAS_ERROR, Incoming, NO_SPACE, WRITE_ERROR};
use crate::recipients;
use crate::settings::Settings;

/// Free segments of the journal below which no more are committed.
const MIN_FREE_SEGMENTS: usize = 2;
/// Envelopes above this go into a queue file with their content: a record must fit into a segment.
const MAX_INLINE_ENVELOPE: usize = 1024 * 1024;
/// Credit is given in portions of this size, so that small mail costs no frame for it.
const CREDIT_PORTION: u64 = 64 * 1024;
/// Records that are read back at a time for a new `qmgr`.
const REPLAY_PORTION: usize = 64;
/// Released records that are told to the journal without a commit.
const RELEASE_PORTION: usize = 256;
/// Seconds after which a message gets a queue file while there is no `qmgr`.
const SPILL_AGE: u64 = 2;
/// What Postfix's warning says when a table did not answer; all others are about what it answered.
const LOOKUP_PROBLEM: &str = "map lookup problem";
/// Blocks of numbers that are kept for senders to come.
const SPARE_BLOCKS: usize = 2;

/// What is to be done.
#[derive(Debug)]
pub enum Action {
    /// To a sender of messages.
    Tell(PeerId, FromCleanup),
    /// To the lookup service.
    Ask(ToLookup),
    /// To `qmgr`.
    Qmgr(ToQmgr, Vec<OwnedFd>),
    /// A line for the log, and whether it is a warning.
    Log(String, bool),
    /// For the disk.
    Work(Work),
}

/// What a question was about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum About {
    Sender,
    Recipient(usize),
}

/// A message on its way into the journal, of which its sender wants to hear.
#[derive(Debug)]
struct Committing {
    client: (PeerId, u32),
    queue_id: QueueId,
    in_file: bool,
}

/// A committed message whose record is not released.
#[derive(Debug)]
struct Live {
    sequence: Sequence,
    in_file: bool,
    /// Seconds since 1970.
    since: u64,
    /// A queue file is being made; `Some(true)` if `qmgr` ordered it.
    filing: Option<bool>,
}

/// See the module.
pub struct Core {
    pub settings: Settings,
    now: u64,
    next_token: Token,
    next_corr: u32,
    clients: HashMap<(PeerId, u32), Token>,
    messages: HashMap<Token, (PeerId, u32, Incoming)>,
    questions: BTreeMap<u32, (Token, About, ToLookup)>,
    /// The lookup service is there.
    lookup: bool,
    ready: Vec<Commit>,
    committing: HashMap<Token, Committing>,
    live: BTreeMap<QueueId, Live>,
    release: Vec<Sequence>,
    /// Records that were released because the message has a queue file, and that a crash would bring back: a new `qmgr` must know
    /// them, for the day when it removes the message.
    published: BTreeMap<Sequence, QueueId>,
    filings: Vec<(QueueId, Option<Sequence>, Place)>,
    pieces: Vec<(Token, Piece)>,
    busy: [bool; LANES],
    numbers: Vec<Ids>,
    waiting_for_numbers: VecDeque<PeerId>,
    qmgr: Qmgr,
    freed: Sequence,
    free_segments: usize,
    checkpoint: bool,
    actions: Vec<Action>,
}

#[derive(Debug, PartialEq, Eq)]
enum Qmgr {
    Away,
    /// It is there; queue files that were begun without it are being finished.
    Settling,
    /// It is being told of these.
    Replaying(Vec<Sequence>),
    Ready,
}

impl Core {
    /// With what the journal holds at the start. `now` is in seconds since 1970.
    pub fn new(settings: Settings, journal: &[Recovered], now: u64) -> Core {
        // Large mail got its place before this.
        let (in_file, inline): (Vec<&Recovered>, Vec<&Recovered>) = journal.iter().partition(|live| live.in_file);
        let live =
            |live: &Recovered| (live.id, Live { sequence: live.sequence, in_file: false, since: now, filing: None });
        Core {
            settings,
            now,
            next_token: 0,
            next_corr: 0,
            clients: HashMap::new(),
            messages: HashMap::new(),
            questions: BTreeMap::new(),
            lookup: false,
            ready: Vec::new(),
            committing: HashMap::new(),
            live: inline.into_iter().map(live).collect(),
            release: in_file.iter().map(|live| live.sequence).collect(),
            published: in_file.iter().map(|live| (live.sequence, live.id)).collect(),
            filings: Vec::new(),
            pieces: Vec::new(),
            busy: [false; LANES],
            numbers: Vec::new(),
            waiting_for_numbers: VecDeque::new(),
            qmgr: Qmgr::Away,
            freed: 0,
            free_segments: usize::MAX,
            checkpoint: !journal.is_empty(),
            actions: Vec::new(),
        }
    }

    /// Whether nothing is in the journal or on its way into it.
    pub fn is_idle(&self) -> bool {
        self.messages.is_empty()
            && self.committing.is_empty()
            && self.live.is_empty()
            && self.release.is_empty()
            && self.busy == [false; LANES]
    }

    // Senders.

    /// A sender is there: it gets numbers.
    pub fn client_up(&mut self, peer: PeerId) {
        self.waiting_for_numbers.push_back(peer);
    }

    /// A sender is gone, and what it had not completed with it. What is complete is taken: it may have been told so.
    pub fn client_down(&mut self, peer: PeerId) {
        self.waiting_for_numbers.retain(|waiting| *waiting != peer);
        let open: Vec<(PeerId, u32)> = self.clients.keys().copied().filter(|(client, _)| *client == peer).collect();
        open.into_iter().for_each(|client| self.abort(client));
    }

    /// A message of a sender. `date` and `stamp` give the time of arrival, see [`Incoming::new`]. `Err` for one that breaks the
    /// rules of this hop.
    pub fn intake(
        &mut self,
        peer: PeerId,
        message: ToCleanup,
        date: impl Fn(u64) -> (String, String),
    ) -> Result<(), ()> {
        match message {
            ToCleanup::MoreIds => self.waiting_for_numbers.push_back(peer),
            ToCleanup::Begin { id, envelope } => {
                if self.clients.contains_key(&(peer, id)) || !envelope.recipients.is_empty() {
                    return Err(());
                }
                self.begin((peer, id), *envelope, date);
            }
            ToCleanup::Recipient { id, recipient } => {
                let Some((token, message)) = self.open((peer, id)) else { return Ok(()) };
                if message.given.len() >= recipients::MAX_RECIPIENTS {
                    self.refuse(token, WRITE_ERROR);
                    return Ok(());
                }
                let address = recipient.address.clone();
                let number = message.recipient(recipient);
                self.ask(token, About::Recipient(number), |corr| ToLookup::Expand { corr, address });
            }
            ToCleanup::Body { id, bytes } => {
                let settings = self.settings.clone();
                let Some((token, message)) = self.open((peer, id)) else { return Ok(()) };
                if !message.body(&bytes, &settings) {
                    self.refuse(token, crate::message::TOO_BIG);
                    return Ok(());
                }
                message.owed += bytes.len() as u64;
                self.write(token);
                self.give_credit(token);
            }
            ToCleanup::Commit { id } => {
                let settings = self.settings.clone();
                let Some((token, message)) = self.open((peer, id)) else { return Ok(()) };
                let ended = message.end(&settings);
                let queue_id = message.envelope.queue_id;
                self.actions.extend(ended.lines.into_iter().map(|line| Action::Log(line, false)));
                if let Some(reply) = ended.refused {
                    if reply == crate::message::TOO_MANY_HOPS {
                        self.log_warning(format!("{queue_id}: message rejected: hopcount exceeded"));
                    }
                    self.refuse(token, reply);
                }
                self.advance(token);
            }
            ToCleanup::Abort { id } => self.abort((peer, id)),
        }
        Ok(())
    }

    /// A message of this sender that still grows. One that was refused is not known any more; what was sent after the refusal is
    /// dropped.
    fn open(&mut self, client: (PeerId, u32)) -> Option<(Token, &mut Incoming)> {
        let token = *self.clients.get(&client)?;
        let (_, _, message) = self.messages.get_mut(&token)?;
        (!message.complete).then_some((token, message))
    }

    fn begin(
        &mut self,
        client: (PeerId, u32),
        envelope: ipc_messages::envelope::Envelope,
        date: impl Fn(u64) -> (String, String),
    ) {
        self.next_token += 1;
        let token = self.next_token;
        let (header_date, stamp) = date(envelope.arrival / 1_000_000);
        let sender = envelope.sender.clone();
        let message = Incoming::new(envelope, &self.settings, header_date, &stamp);
        self.clients.insert(client, token);
        self.messages.insert(token, (client.0, client.1, message));
        let is_complete = sender.rsplit_once('@').is_some_and(|(_, domain)| domain.contains(['.', '[']));
        if !sender.is_empty() && !is_complete {
            self.ask(token, About::Sender, |corr| ToLookup::Rewrite { corr, address: sender, local: true });
        }
    }

    fn ask(&mut self, token: Token, about: About, question: impl FnOnce(u32) -> ToLookup) {
        self.next_corr = self.next_corr.wrapping_add(1);
        let question = question(self.next_corr);
        if let Some((_, _, message)) = self.messages.get_mut(&token) {
            message.unanswered += 1;
        }
        if self.lookup {
            self.actions.push(Action::Ask(question.clone()));
        }
        self.questions.insert(self.next_corr, (token, about, question));
    }

    fn abort(&mut self, client: (PeerId, u32)) {
        if let Some(token) = self.clients.remove(&client) {
            self.forget(token);
        }
    }

    fn refuse(&mut self, token: Token, reply: &str) {
        let Some((peer, id, _)) = self.messages.get(&token) else { return };
        let (peer, id) = (*peer, *id);
        self.clients.remove(&(peer, id));
        self.actions.push(Action::Tell(peer, FromCleanup::Refused { id, reply: reply.into() }));
        self.forget(token);
    }

    fn forget(&mut self, token: Token) {
        self.questions.retain(|_, (asked, ..)| *asked != token);
        if self.messages.remove(&token).is_some_and(|(_, _, message)| message.large) {
            self.pieces.push((token, Piece::Discard));
        }
    }

    /// Gives the drafts' lane what a large message has, one piece at a time.
    fn write(&mut self, token: Token) {
        let Some((_, _, message)) = self.messages.get_mut(&token) else { return };
        if message.large && !message.writing && !message.content.is_empty() {
            message.writing = true;
            let content = std::mem::take(&mut message.content);
            self.pieces.push((token, Piece::Content(message.envelope.queue_id, content)));
        }
    }

    /// What is in memory pays back at once, what goes to a file when it is written.
    fn give_credit(&mut self, token: Token) {
        let Some((peer, id, message)) = self.messages.get_mut(&token) else { return };
        if message.owed >= CREDIT_PORTION && !message.writing && !message.complete {
            let bytes = std::mem::take(&mut message.owed);
            self.actions.push(Action::Tell(*peer, FromCleanup::Credit { id: *id, bytes }));
        }
    }

    /// Takes a message one step further, if it is complete and nothing is awaited.
    fn advance(&mut self, token: Token) {
        let Some((_, _, message)) = self.messages.get_mut(&token) else { return };
        if !message.complete || message.unanswered > 0 || message.writing {
            return;
        }
        if message.large && !message.content.is_empty() {
            return self.write(token);
        }
        let given = std::mem::take(&mut message.given);
        let (keep, limit) = (self.settings.enable_original_recipient, self.settings.duplicate_filter_limit);
        let Some(recipients) = recipients::expand(given, keep, limit) else { return self.refuse(token, WRITE_ERROR) };
        message.envelope.recipients = recipients;
        let Ok(envelope) = message.envelope.encode() else { return self.refuse(token, WRITE_ERROR) };
        let queue_id = message.envelope.queue_id;
        if envelope.len() > MAX_INLINE_ENVELOPE && !message.large {
            message.large = true;
            let content = std::mem::take(&mut message.content);
            self.pieces.push((token, Piece::Content(queue_id, content)));
        }
        if message.large {
            (message.writing, message.sealing) = (true, true);
            self.pieces.push((token, Piece::Seal(envelope)));
            return;
        }
        let content = std::mem::take(&mut message.content);
        self.enter_journal(token, Commit { token, queue_id, envelope, content: Some(content) });
    }

    /// From here on the sender waits for the journal alone; if it goes away the message is taken all the same.
    fn enter_journal(&mut self, token: Token, commit: Commit) {
        let Some((peer, id, _)) = self.messages.remove(&token) else { return };
        self.clients.remove(&(peer, id));
        let in_file = commit.content.is_none();
        self.committing.insert(token, Committing { client: (peer, id), queue_id: commit.queue_id, in_file });
        self.ready.push(commit);
    }

    // Lookup.

    /// The lookup service is there (again): it is asked everything that is open.
    pub fn lookup_up(&mut self) {
        self.lookup = true;
        self.actions.extend(self.questions.values().map(|(_, _, question)| Action::Ask(question.clone())));
    }

    /// It is gone; what it had answered in part is answered anew.
    pub fn lookup_down(&mut self) {
        self.lookup = false;
        for (token, about, _) in self.questions.values() {
            if let (About::Recipient(number), Some((_, _, message))) = (about, self.messages.get_mut(token)) {
                message.given[*number].expanded = None;
            }
        }
    }

    /// An answer. One to a question that nobody has any more is dropped.
    pub fn answer(&mut self, answer: FromLookup) {
        let (corr, result, more) = match answer {
            FromLookup::Expanded { corr, recipients, more } => (corr, recipients, more),
            FromLookup::Rewritten { corr, address } => (corr, Ok(vec![address]), false),
            FromLookup::Resolved { .. } | FromLookup::Checked { .. } | FromLookup::Value { .. } => return,
        };
        let Some(&(token, about, _)) = self.questions.get(&corr) else { return };
        let Some((_, _, message)) = self.messages.get_mut(&token) else { return };
        match (about, result) {
            (About::Recipient(number), Ok(addresses)) => {
                let expanded = message.given[number].expanded.get_or_insert_default();
                expanded.extend(addresses);
                if expanded.len() > recipients::MAX_RECIPIENTS {
                    return self.refuse(token, WRITE_ERROR);
                }
            }
            (About::Sender, Ok(addresses)) => message.envelope.sender = addresses.concat(),
            (_, Err(error)) => {
                let line = format!("{}: {error}", message.envelope.queue_id);
                let reply = if error.contains(LOOKUP_PROBLEM) { WRITE_ERROR } else { ALIAS_ERROR };
                self.log_warning(line);
                return self.refuse(token, reply);
            }
        }
        if !more {
            message.unanswered -= 1;
            self.questions.remove(&corr);
            self.advance(token);
        }
    }

    // The queue manager.

    /// It is there (again).
    pub fn qmgr_up(&mut self) {
        self.qmgr = Qmgr::Settling;
    }

    /// It is gone. What it ordered goes on, for nobody.
    pub fn qmgr_down(&mut self) {
        self.qmgr = Qmgr::Away;
        self.live.values_mut().for_each(|live| live.filing = live.filing.map(|_| false));
    }

    /// An order.
    pub fn order(&mut self, order: FromQmgr) {
        match order {
            FromQmgr::Done { queue_id } => self.released(queue_id),
            FromQmgr::Spill { queue_id, place } => match self.live.get_mut(&queue_id) {
                Some(live) if live.filing.is_none() && !live.in_file => {
                    live.filing = Some(true);
                    self.filings.push((queue_id, Some(live.sequence), place));
                }
                _ => {
                    let result = Err("the journal does not have it, or its queue file is under way".into());
                    self.tell_qmgr(ToQmgr::Spilled { queue_id, result });
                }
            },
        }
    }

    fn tell_qmgr(&mut self, message: ToQmgr) {
        if self.qmgr != Qmgr::Away {
            self.actions.push(Action::Qmgr(message, Vec::new()));
        }
    }

    /// Tells of a message. Mail in a queue file comes without its envelope.
    fn tell_new(&mut self, queue_id: QueueId, sequence: Sequence, stored: Option<Stored>) {
        if matches!(self.qmgr, Qmgr::Away | Qmgr::Settling) {
            return;
        }
        let in_file = stored.is_none();
        let (envelope, body) = stored.map_or((Vec::new(), None), |stored| (stored.envelope, stored.body));
        let first = envelope.len().min(MAX_PIECE);
        let more = envelope.len() > first;
        let new = ToQmgr::New { queue_id, sequence, in_file, envelope: envelope[..first].to_vec(), more };
        self.actions.push(Action::Qmgr(new, body.into_iter().collect()));
        let mut rest = envelope[first..].chunks(MAX_PIECE).peekable();
        while let Some(piece) = rest.next() {
            let more = ToQmgr::More { envelope: piece.to_vec(), more: rest.peek().is_some() };
            self.actions.push(Action::Qmgr(more, Vec::new()));
        }
    }

    fn released(&mut self, queue_id: QueueId) {
        if let Some(live) = self.live.remove(&queue_id) {
            self.release.push(live.sequence);
            self.checkpoint = true;
        }
    }

    // The disk.

    /// Something is done.
    pub fn done(&mut self, done: Done) {
        self.busy[done.lane() as usize] = false;
        match done {
            Done::Committed { results, freed, free_segments } => {
                self.free_segments = free_segments;
                results.into_iter().for_each(|(token, result)| self.committed(token, result));
                if self.freed != freed {
                    self.freed = freed;
                    self.published = self.published.split_off(&freed);
                    self.tell_qmgr(ToQmgr::Freed { sequence: freed });
                }
            }
            Done::Read(results) => {
                for (sequence, result) in results {
                    match result {
                        Ok(stored) => self.tell_new(stored.queue_id, sequence, Some(stored)),
                        Err(error) => self.log_warning(error),
                    }
                }
            }
            Done::Numbers(Ok(blocks)) => self.numbers.extend(blocks),
            Done::Numbers(Err(error)) => self.log_warning(format!("no numbers for queue IDs: {error}")),
            Done::Filed(results) => results.into_iter().for_each(|(id, result)| self.filed(id, result)),
            Done::Drafted(results) => results.into_iter().for_each(|(token, result)| self.drafted(token, result)),
        }
    }

    fn committed(&mut self, token: Token, result: Result<(Sequence, Stored), Failure>) {
        let Some(Committing { client: (peer, id), queue_id, in_file }) = self.committing.remove(&token) else { return };
        let (sequence, stored) = match result {
            Ok(committed) => committed,
            Err(failure) => {
                let reply = self.failed(queue_id, failure);
                self.actions.push(Action::Tell(peer, FromCleanup::Refused { id, reply: reply.into() }));
                if in_file {
                    self.pieces.push((token, Piece::Discard));
                }
                return;
            }
        };
        self.actions.push(Action::Tell(peer, FromCleanup::Queued { id }));
        let mut live = Live { sequence, in_file, since: self.now, filing: None };
        if in_file {
            live.filing = Some(false);
            self.filings.push((queue_id, None, Place::Incoming));
        } else if stored.body.is_none() {
            // No memory file could be made of it: it is delivered from a queue file.
            live.filing = Some(false);
            self.filings.push((queue_id, Some(sequence), Place::Incoming));
        } else {
            self.tell_new(queue_id, sequence, Some(stored));
        }
        self.live.insert(queue_id, live);
    }

    fn filed(&mut self, queue_id: QueueId, result: Result<Place, String>) {
        let Some(live) = self.live.get_mut(&queue_id) else { return };
        let ordered = live.filing.take() == Some(true);
        let sequence = live.sequence;
        if let Err(error) = &result {
            self.actions.push(Action::Log(format!("{queue_id}: queue file: {error}"), true));
        }
        if result.is_ok() {
            if !ordered {
                self.tell_new(queue_id, sequence, None);
            }
            self.released(queue_id);
            self.published.insert(sequence, queue_id);
        }
        if ordered {
            self.tell_qmgr(ToQmgr::Spilled { queue_id, result });
        }
    }

    fn drafted(&mut self, token: Token, result: Result<Drafted, Failure>) {
        let Some((_, _, message)) = self.messages.get_mut(&token) else { return };
        let queue_id = message.envelope.queue_id;
        match result {
            Ok(Drafted::Written) => {
                // Of one that is being sealed nothing more is to come but that.
                message.writing = message.sealing;
                self.give_credit(token);
                self.write(token);
                self.advance(token);
            }
            Ok(Drafted::Sealed) => {
                self.enter_journal(token, Commit { token, queue_id, envelope: Vec::new(), content: None });
            }
            Ok(Drafted::Discarded) => {}
            Err(failure) => {
                let reply = self.failed(queue_id, failure);
                self.refuse(token, reply);
            }
        }
    }

    /// Logs why, and says what the client is told.
    fn failed(&mut self, queue_id: QueueId, failure: Failure) -> &'static str {
        let (error, reply) = match failure {
            Failure::Full(error) => (error, NO_SPACE),
            Failure::Other(error) => (error, WRITE_ERROR),
        };
        self.log_warning(format!("{queue_id}: {error}"));
        reply
    }

    fn log_warning(&mut self, line: String) {
        self.actions.push(Action::Log(line, true));
    }

    // Time.

    /// Called about once a second. `alone` says that nobody will come for the messages (the system ends).
    pub fn tick(&mut self, now: u64, alone: bool) {
        self.now = now;
        if self.qmgr == Qmgr::Away {
            let age = if alone { 0 } else { SPILL_AGE };
            for (id, live) in &mut self.live {
                if live.filing.is_none() && now >= live.since + age {
                    live.filing = Some(false);
                    self.filings.push((*id, Some(live.sequence), Place::Incoming));
                }
            }
        }
        if self.busy[Lane::Journal as usize] || !self.ready.is_empty() {
            return;
        }
        let checkpoint = self.checkpoint && self.live.is_empty() && self.committing.is_empty();
        if checkpoint || !self.release.is_empty() {
            self.checkpoint &= !checkpoint;
            let release = std::mem::take(&mut self.release);
            self.work(Work::Commit { release, commit: Vec::new(), checkpoint });
        }
    }

    /// The end of a turn: starts what can be started, and returns what is to be done. `room` is how many more messages `qmgr`'s
    /// channel should be given.
    pub fn end_of_turn(&mut self, room: bool) -> Vec<Action> {
        while self.waiting_for_numbers.front().is_some() && !self.numbers.is_empty() {
            let (peer, ids) = (self.waiting_for_numbers.pop_front(), self.numbers.pop());
            let long = self.settings.long_queue_ids;
            let tell = peer.zip(ids).map(|(peer, ids)| Action::Tell(peer, FromCleanup::Ids { ids, long }));
            self.actions.extend(tell);
        }
        let wanted = self.waiting_for_numbers.len() + SPARE_BLOCKS.saturating_sub(self.numbers.len());
        if !self.busy[Lane::Journal as usize] {
            let room = self.live.len() < MAX_LIVE && self.free_segments >= MIN_FREE_SEGMENTS;
            if !self.waiting_for_numbers.is_empty() {
                self.work(Work::Numbers(wanted));
            } else if (room && !self.ready.is_empty()) || self.release.len() >= RELEASE_PORTION {
                let release = std::mem::take(&mut self.release);
                let commit = if room { std::mem::take(&mut self.ready) } else { Vec::new() };
                self.work(Work::Commit { release, commit, checkpoint: false });
            }
        }
        self.replay(room);
        if !self.busy[Lane::Files as usize] && !self.filings.is_empty() {
            let filings = std::mem::take(&mut self.filings);
            self.work(Work::File(filings));
        }
        if !self.busy[Lane::Drafts as usize] && !self.pieces.is_empty() {
            let pieces = std::mem::take(&mut self.pieces);
            self.work(Work::Draft(pieces));
        }
        std::mem::take(&mut self.actions)
    }

    /// Tells a new `qmgr` of what the journal holds, as fast as it takes it.
    fn replay(&mut self, room: bool) {
        if self.qmgr == Qmgr::Settling && !self.busy[Lane::Files as usize] {
            // No file is being written at this moment. What was about to be is not needed any more, but for large mail, whose
            // place it is and which is told when it has it.
            self.filings.retain(|(_, sequence, _)| sequence.is_none());
            let mut told = Vec::new();
            for live in self.live.values_mut().filter(|live| !live.in_file) {
                live.filing = None;
                told.push(live.sequence);
            }
            told.sort_unstable_by(|a, b| b.cmp(a));
            self.qmgr = Qmgr::Replaying(told);
            let published: Vec<(Sequence, QueueId)> =
                self.published.iter().map(|(sequence, id)| (*sequence, *id)).collect();
            published.into_iter().for_each(|(sequence, id)| self.tell_new(id, sequence, None));
            self.tell_qmgr(ToQmgr::Freed { sequence: self.freed });
        }
        let Qmgr::Replaying(waiting) = &mut self.qmgr else { return };
        if !room || self.busy[Lane::Journal as usize] {
            return;
        }
        if waiting.is_empty() {
            self.qmgr = Qmgr::Ready;
            self.tell_qmgr(ToQmgr::Replayed);
            return;
        }
        let mut next = waiting.split_off(waiting.len().saturating_sub(REPLAY_PORTION));
        next.reverse();
        self.work(Work::Read(next));
    }

    fn work(&mut self, work: Work) {
        self.busy[work.lane() as usize] = true;
        self.actions.push(Action::Work(work));
    }
}

#[cfg(test)]
mod tests;
