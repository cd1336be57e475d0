//! qmgr without sockets, disk and clock: what peers say and what the disk has done go in, [`Action`]s come out.
//!
//! A message is *active* (in memory, being attempted) or *stored* (a queue file; a few bytes here). The life of an active one:
//!
//! ```text
//! activate ─► routes ─► scheduler ─► agents ─► attempt over
//!    ▲                                            │ notifications (bounce) ─► outcomes synced
//!    │                                            ├─ all done:  removed; `Done` to cleanup
//!    └──── due, flushed ◄── stored ◄── queue file ┴─ else:      deferred
//! ```
//!
//! - A recipient is called done only when the log says so, synced, and its bounce, if any, is queued.
//! - `Removed` is not written while `cleanup` is making a queue file of the message.
//! - No message is forgotten before the disk holds its outcome; none is given to more agents at once.
//! - Memory is bounded by the active window and by the windows of the agents; what does not fit gets a queue file.

mod active;
mod admin;
mod deliver;
mod finish;
mod intake;
mod routes;
mod stored;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use ipc_messages::bounce::ToBounce;
use ipc_messages::delivery::{Outcome, ToAgent, Verdict};
use ipc_messages::envelope::Envelope;
use ipc_messages::lookup::{FromLookup, Route, ToLookup};
use ipc_messages::queue::{FromQmgr, Place, QueueAnswer, ToQmgr};
use ipc_messages::queue_id::QueueId;
use store_queue::Folder;
use store_queue::journal::{Live, Sequence};
use store_queue::outcome;
use store_queue::schedule::Scheduler;
use store_queue::schedule::retry::DeferredQueue;
use store_queue::schedule::window::ActiveWindow;
use worker::PeerId;

use crate::disk::{Done, Found, LANES, Lane, LoadError, Loaded, Recovered, Step, Work};
use crate::settings::Settings;
use active::{Active, Fate, Phase, Recipient};
use deliver::{InFlight, Transport};

/// Seconds after which a message of the journal gets a queue file, delivered or not.
const SPILL_AGE: u64 = 2;
/// Queue files that are opened at a time.
const LOAD_PORTION: usize = 100;
/// Seconds after which a queue file that the disk refused is asked for again.
const FILING_RETRY: u64 = 10;

/// What is to be done.
#[derive(Debug)]
pub enum Action {
    Cleanup(FromQmgr),
    Ask(ToLookup),
    Bounce(ToBounce, Option<Arc<OwnedFd>>),
    Agent(PeerId, ToAgent, Arc<OwnedFd>),
    Admin(PeerId, QueueAnswer, Option<Arc<OwnedFd>>),
    /// The master is to start the agents of this transport.
    Wake(String),
    Work(Work),
    Info(String),
    Warning(String),
    /// A line about a recipient that no agent tried; Postfix's `error` signs it.
    Error(String),
}

/// The time, as it is needed here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Microseconds since 1970.
    pub micros: u64,
}

impl Now {
    pub fn seconds(self) -> u64 {
        self.micros / 1_000_000
    }
}

/// A message that is not active.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stored {
    folder: Folder,
    sequence: Sequence,
    /// For what is in `deferred/`: its place in the order.
    due: u64,
    /// It is being read.
    loading: bool,
}

/// What `cleanup` tells while it is being heard for the first time.
#[derive(Debug, Default)]
struct Heard {
    journal: Vec<Live>,
    news: HashMap<QueueId, (Envelope, OwnedFd)>,
    recovering: bool,
}

/// See the module.
pub struct Core {
    settings: Settings,
    now: Now,
    actions: Vec<Action>,
    busy: [bool; LANES],
    /// `Some` until the queue is known again after `cleanup` came.
    heard: Option<Heard>,
    /// A message whose envelope comes in pieces.
    partial: Option<(QueueId, Sequence, Vec<u8>, OwnedFd)>,
    freed: Sequence,
    active: HashMap<QueueId, Active>,
    stored: HashMap<QueueId, Stored>,
    /// Messages of the journal for which there was no room; they are getting a queue file.
    parked: HashMap<QueueId, Sequence>,
    /// Stored messages that are to be attempted as soon as there is room.
    incoming: VecDeque<QueueId>,
    deferred: DeferredQueue,
    window: ActiveWindow,
    loading: usize,
    scheduler: Scheduler,
    transports: BTreeMap<Arc<str>, Transport>,
    jobs: HashMap<u64, InFlight>,
    next_job: u64,
    /// Active messages that have just got a queue file, which takes the place of the memory file.
    reopen: Vec<(QueueId, Folder)>,
    /// Why a destination was not reached the last time.
    faults: HashMap<(Arc<str>, Arc<str>), String>,
    questions: BTreeMap<u32, (QueueId, u32)>,
    next_corr: u32,
    lookup: bool,
    bounce: bool,
    notifications: BTreeMap<u32, finish::Notification>,
    next_notification: u32,
    /// Outcomes to sync, with the steps after them and the messages that wait for it.
    outcomes: Vec<outcome::Outcome>,
    steps: Vec<Step>,
    settled: Vec<QueueId>,
    /// The log was refused: not before this time again.
    log_retry: u64,
    /// Messages whose attempt may be over.
    touched: BTreeSet<QueueId>,
    filing_retry: Vec<(u64, QueueId, Place)>,
    lists: VecDeque<admin::List>,
    next_list: u64,
    draining: bool,
}

impl Core {
    pub fn new(settings: Settings, now: Now) -> Core {
        let mut scheduler = Scheduler::default();
        let mut transports = BTreeMap::new();
        for (name, transport) in settings.transports.iter().filter(|(_, transport)| transport.is_built()) {
            scheduler.add_transport(name, transport.policy);
            transports.insert(name.as_str().into(), Transport::default());
        }
        Core {
            window: ActiveWindow::new(settings.active_messages, settings.active_recipients),
            settings,
            now,
            actions: Vec::new(),
            busy: [false; LANES],
            heard: Some(Heard::default()),
            partial: None,
            freed: 0,
            active: HashMap::new(),
            stored: HashMap::new(),
            parked: HashMap::new(),
            incoming: VecDeque::new(),
            deferred: DeferredQueue::default(),
            loading: 0,
            scheduler,
            transports,
            jobs: HashMap::new(),
            next_job: 0,
            reopen: Vec::new(),
            faults: HashMap::new(),
            questions: BTreeMap::new(),
            next_corr: 0,
            lookup: false,
            bounce: false,
            notifications: BTreeMap::new(),
            next_notification: 0,
            outcomes: Vec::new(),
            steps: Vec::new(),
            settled: Vec::new(),
            log_retry: 0,
            touched: BTreeSet::new(),
            filing_retry: Vec::new(),
            lists: VecDeque::new(),
            next_list: 0,
            draining: false,
        }
    }

    /// New settings, for what begins from now on. Transports that are new are taken up.
    pub fn reload(&mut self, settings: Settings) {
        for (name, transport) in settings.transports.iter().filter(|(_, transport)| transport.is_built()) {
            if self.transports.contains_key(name.as_str()) {
                self.scheduler.set_policy(name, transport.policy);
            } else {
                self.scheduler.add_transport(name, transport.policy);
                self.transports.insert(name.as_str().into(), Transport::default());
            }
        }
        self.window.set_limits(settings.active_messages, settings.active_recipients);
        self.settings = settings;
    }

    /// Whether the process may end: no delivery is under way, and nothing that is known is not on the disk.
    pub fn is_idle(&self) -> bool {
        let quiet = self.jobs.is_empty() && self.outcomes.is_empty() && self.busy == [false; LANES];
        quiet && (self.draining || self.active.is_empty())
    }

    /// No new deliveries. What waits is in the journal or in its file, and stays there.
    pub fn drain(&mut self) {
        self.draining = true;
    }

    /// The time of this turn.
    pub fn set_now(&mut self, now: Now) {
        self.now = now;
    }

    fn seconds(&self) -> u64 {
        self.now.seconds()
    }

    /// Something is done.
    pub fn done(&mut self, done: Done) {
        self.busy[done.lane() as usize] = false;
        match done {
            Done::Committed { result, settled, complaints } => {
                self.actions.extend(complaints.into_iter().map(Action::Warning));
                self.committed(result, settled);
            }
            Done::Recovered(recovered) => self.recovered(recovered),
            Done::Loaded(loaded) => loaded.into_iter().for_each(|(id, result)| self.loaded(id, result)),
            Done::Listed { number, messages } => self.listed(number, messages),
        }
    }

    /// Called about once a second.
    pub fn tick(&mut self) {
        let now = self.seconds();
        self.scheduler.wake(now);
        let old = |active: &&mut Active| {
            active.folder.is_none() && !active.spilling && active.since / 1_000_000 + SPILL_AGE <= now
        };
        if self.heard.is_none() {
            for active in self.active.values_mut().filter(old).filter(|active| active.phase == Phase::Delivering) {
                active.spilling = true;
                let spill = FromQmgr::Spill { queue_id: active.id(), place: Place::Incoming };
                self.actions.push(Action::Cleanup(spill));
            }
            let (due, waiting) = std::mem::take(&mut self.filing_retry).into_iter().partition(|(at, ..)| *at <= now);
            self.filing_retry = waiting;
            let due: Vec<(u64, QueueId, Place)> = due;
            due.into_iter().for_each(|(_, id, place)| self.order_file(id, place));
        }
        self.check_transports();
    }

    /// The end of a turn: starts what can be started, and returns what is to be done.
    pub fn end_of_turn(&mut self) -> Vec<Action> {
        let now = self.seconds();
        for id in std::mem::take(&mut self.touched) {
            self.advance(id);
        }
        if !self.draining {
            self.dispatch();
        }
        // What dispatching gave up may end attempts.
        for id in std::mem::take(&mut self.touched) {
            self.advance(id);
        }
        if !self.busy[Lane::Log as usize] && self.log_retry <= now {
            let recovery = self.heard.as_ref().filter(|heard| heard.recovering);
            if !self.outcomes.is_empty() || !self.steps.is_empty() || !self.settled.is_empty() {
                let (outcomes, steps) = (std::mem::take(&mut self.outcomes), std::mem::take(&mut self.steps));
                let settled = std::mem::take(&mut self.settled);
                self.work(Work::Commit { outcomes, steps, settled, freed: self.freed });
            } else if let Some(heard) = recovery {
                let journal = heard.journal.clone();
                self.work(Work::Recover(journal));
            }
        }
        if !self.busy[Lane::Read as usize] {
            if let Some(work) = self.next_list_portion() {
                self.work(work);
            } else if self.heard.is_none() && !self.draining {
                let mut files = self.choose();
                files.append(&mut self.reopen);
                if !files.is_empty() {
                    self.work(Work::Load(files));
                }
            }
        }
        std::mem::take(&mut self.actions)
    }

    fn work(&mut self, work: Work) {
        self.busy[work.lane() as usize] = true;
        self.actions.push(Action::Work(work));
    }
}

/// The folder of a place.
fn folder(place: Place) -> Folder {
    match place {
        Place::Deferred => Folder::Deferred,
        Place::Hold => Folder::Hold,
        Place::Incoming | Place::Corrupt => Folder::Incoming,
    }
}

#[cfg(test)]
pub mod testing;
#[cfg(test)]
mod tests;
