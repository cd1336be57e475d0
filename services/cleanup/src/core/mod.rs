//! cleanup without sockets, disk and clock: what peers say and what the disk has done go in, [`Action`]s come out.
//!
//! - A sender hears `Queued` only after the journal's sync, and `qmgr` hears of the message at the same moment.
//! - A record is released only on the order of `qmgr`, or when this process has published the message's queue file.
//! - While there is a `qmgr`, queue files are made on its order alone. When one comes, it is told of everything that the
//!   journal holds; that begins only when no queue file is being made any more.
//! - What waits is bounded by the windows of the senders and by [`MAX_LIVE`]: above it nothing is committed until something
//!   is released.

mod intake;
mod questions;
mod queue_manager;
mod stored;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use ipc_messages::envelope::QueueId;
use ipc_messages::intake::{FromCleanup, ToCleanup};
use ipc_messages::lookup::{FromLookup, ToLookup};
use ipc_messages::queue::{FromQmgr, MAX_LIVE, MAX_PIECE, Place, ToQmgr};
use ipc_messages::queue_id::Ids;
use store_queue::journal::{Live as Recovered, Sequence};
use worker::PeerId;

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
    settings: Arc<Settings>,
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
            settings: Arc::new(settings),
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

    /// New settings, for messages that begin from now on.
    pub fn reload(&mut self, settings: Settings) {
        self.settings = Arc::new(settings);
    }

    /// Whether nothing is in the journal or on its way into it.
    pub fn is_idle(&self) -> bool {
        self.messages.is_empty()
            && self.committing.is_empty()
            && self.live.is_empty()
            && self.release.is_empty()
            && self.busy == [false; LANES]
    }

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

    fn work(&mut self, work: Work) {
        self.busy[work.lane() as usize] = true;
        self.actions.push(Action::Work(work));
    }
}

#[cfg(test)]
pub mod testing;
#[cfg(test)]
mod tests;
