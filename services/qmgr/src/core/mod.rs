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
            if !self.transports.contains_key(name.as_str()) {
                self.scheduler.add_transport(name, transport.policy);
                self.transports.insert(name.as_str().into(), Transport::default());
            }
        }
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

    // cleanup.

    /// It is there (again), and will tell all that its journal holds.
    pub fn cleanup_up(&mut self) {
        self.heard = Some(Heard::default());
        self.partial = None;
        // It does not know any more what was ordered. What it has not done, it is asked again when it has told all.
        for (id, active) in &mut self.active {
            active.spilling = false;
            self.touched.insert(*id);
            if active.phase == Phase::Filing {
                self.filing_retry.push((0, *id, Place::Incoming));
            }
        }
        self.filing_retry.extend(self.parked.keys().map(|id| (0, *id, Place::Incoming)));
    }

    /// What it says. `Err` for what breaks the rules of this hop.
    pub fn cleanup(&mut self, message: ToQmgr, fd: Option<OwnedFd>) -> Result<(), ()> {
        match message {
            ToQmgr::New { queue_id, sequence, in_file: true, .. } => self.new_file(queue_id, sequence),
            ToQmgr::New { queue_id, sequence, in_file: false, envelope, more } => {
                self.partial = Some((queue_id, sequence, envelope, fd.ok_or(())?));
                if !more {
                    self.new_message()?;
                }
            }
            ToQmgr::More { envelope, more } => {
                let (_, _, bytes, _) = self.partial.as_mut().ok_or(())?;
                bytes.extend(envelope);
                if bytes.len() > ipc_messages::envelope::MAX_ENVELOPE {
                    return Err(());
                }
                if !more {
                    self.new_message()?;
                }
            }
            ToQmgr::Spilled { queue_id, result } => self.spilled(queue_id, result),
            ToQmgr::Replayed => self.start_recovery(),
            ToQmgr::Freed { sequence } => self.freed = sequence,
        }
        Ok(())
    }

    fn new_message(&mut self) -> Result<(), ()> {
        let (id, sequence, bytes, body) = self.partial.take().ok_or(())?;
        let envelope = Envelope::decode(&bytes).ok().filter(|envelope| envelope.queue_id == id).ok_or(())?;
        match &mut self.heard {
            Some(heard) if !heard.recovering => {
                heard.journal.push(Live { sequence, id, in_file: false });
                heard.news.insert(id, (envelope, body));
            }
            _ => self.take(envelope, body, sequence, Vec::new()),
        }
        Ok(())
    }

    /// A message with a queue file in `incoming/`.
    fn new_file(&mut self, id: QueueId, sequence: Sequence) {
        match &mut self.heard {
            Some(heard) if !heard.recovering => heard.journal.push(Live { sequence, id, in_file: true }),
            _ => self.store(id, Stored { folder: Folder::Incoming, sequence, due: 0, loading: false }),
        }
    }

    /// Takes a message of the journal up. `done` are the recipients that need no delivery.
    fn take(&mut self, envelope: Envelope, body: OwnedFd, sequence: Sequence, done: Vec<u32>) {
        let id = envelope.queue_id;
        if self.knows(id) {
            return;
        }
        let numbers = 0..envelope.recipients.len() as u32;
        let pending: Vec<(u32, u32)> = numbers.filter(|number| !done.contains(number)).map(|n| (n, 0)).collect();
        if self.draining || !self.window.admit(pending.len()) {
            self.parked.insert(id, sequence);
            return self.actions.push(Action::Cleanup(FromQmgr::Spill { queue_id: id, place: Place::Incoming }));
        }
        self.activate(Active::new(envelope, (body, 0), (sequence, None), &pending, self.now.micros));
    }

    fn knows(&self, id: QueueId) -> bool {
        self.active.contains_key(&id) || self.stored.contains_key(&id) || self.parked.contains_key(&id)
    }

    /// A queue file that waits: by its folder for room, for its time, or for the administrator.
    fn store(&mut self, id: QueueId, stored: Stored) {
        if self.knows(id) {
            return;
        }
        self.stored.insert(id, stored);
        match stored.folder {
            Folder::Incoming => self.incoming.push_back(id),
            Folder::Deferred => self.deferred.insert(stored.due, id),
            Folder::Hold => {}
        }
    }

    fn start_recovery(&mut self) {
        if let Some(heard) = self.heard.as_mut().filter(|heard| !heard.recovering) {
            heard.recovering = true;
        }
    }

    fn recovered(&mut self, recovered: Result<Recovered, String>) {
        let Some(mut heard) = self.heard.take() else { return };
        let recovered = match recovered {
            Ok(recovered) => recovered,
            Err(error) => {
                self.actions.push(Action::Warning(format!("the queue cannot be read: {error}")));
                self.log_retry = self.seconds() + 1;
                self.heard = Some(heard);
                return;
            }
        };
        self.actions.extend(recovered.complaints.into_iter().map(Action::Warning));
        for Found { id, folder, sequence, next_attempt, done } in recovered.messages {
            match (folder, heard.news.remove(&id)) {
                (None, Some((envelope, body))) => self.take(envelope, body, sequence, done),
                (Some(folder), _) => {
                    if let Some(active) = self.active.get_mut(&id).filter(|active| active.sequence == 0) {
                        active.sequence = sequence;
                    }
                    // A queue file that was being made when its maker went.
                    if self.parked.remove(&id).is_some() || self.active.get(&id).is_some_and(|a| a.folder.is_none()) {
                        self.filing_retry.retain(|(_, waiting, _)| *waiting != id);
                        self.filed(id, folder, sequence);
                    }
                    self.store(id, Stored { folder, sequence, due: next_attempt.unwrap_or(0), loading: false });
                }
                (None, None) => {}
            }
        }
        let done = recovered.finished.into_iter().map(|queue_id| Action::Cleanup(FromQmgr::Done { queue_id }));
        self.actions.extend(done);
    }

    /// Takes a message up: its routes are asked for.
    fn activate(&mut self, active: Active) {
        let (id, envelope) = (active.id(), &active.envelope);
        let (size, count) = (envelope.size, active.resolving);
        self.actions
            .push(Action::Info(format!("{id}: from=<{}>, size={size}, nrcpt={count} (queue active)", envelope.sender)));
        let numbers: Vec<u32> =
            (0..).zip(&active.recipients).filter(|(_, r)| **r == Recipient::Resolving).map(|(n, _)| n).collect();
        self.touched.insert(id);
        self.active.insert(id, active);
        for number in numbers {
            self.next_corr = self.next_corr.wrapping_add(1);
            self.questions.insert(self.next_corr, (id, number));
            self.ask(self.next_corr);
        }
    }

    fn ask(&mut self, corr: u32) {
        let Some((id, number)) = self.questions.get(&corr).filter(|_| self.lookup) else { return };
        let Some(active) = self.active.get(id) else { return };
        let (sender, address) =
            (active.envelope.sender.clone(), active.envelope.recipients[*number as usize].address.clone());
        self.actions.push(Action::Ask(ToLookup::Resolve { corr, sender, address }));
    }

    // Lookup.

    /// The lookup service is there (again): it is asked everything that is open.
    pub fn lookup_up(&mut self) {
        self.lookup = true;
        let open: Vec<u32> = self.questions.keys().copied().collect();
        open.into_iter().for_each(|corr| self.ask(corr));
    }

    /// It is gone.
    pub fn lookup_down(&mut self) {
        self.lookup = false;
    }

    /// An answer. One to a question that nobody has any more is dropped.
    pub fn answer(&mut self, answer: FromLookup) {
        let FromLookup::Resolved { corr, route } = answer else { return };
        let Some((id, number)) = self.questions.remove(&corr) else { return };
        let Some(active) = self.active.get_mut(&id) else { return };
        active.resolving -= 1;
        match route {
            Ok(route) => self.route(id, number, route),
            Err(error) => self.defer(id, number, "4.3.0", &error),
        }
        self.touched.insert(id);
    }

    /// A recipient has its route; deliveries are made of a message's recipients when all of them have.
    fn route(&mut self, id: QueueId, number: u32, route: Route) {
        let Route { recipient, transport, nexthop, malformed, .. } = route;
        if malformed {
            return self.fail(id, number, Verdict::Bounced, "5.1.3", "bad address syntax");
        }
        if let Some(reason) = self.unavailable(&transport) {
            return self.defer(id, number, "4.3.0", &reason);
        }
        if self.settings.defer_transports.contains(&transport) {
            return self.defer(id, number, "4.3.2", "deferred transport");
        }
        // Where a delivery has one recipient, each is a destination of its own.
        let limit = self.settings.transports.get(&transport).map_or(0, |known| known.policy.recipient_limit);
        let destination = if limit == 1 { recipient.clone() } else { nexthop.clone() };
        let Some(active) = self.active.get_mut(&id) else { return };
        active.routes[number as usize] = Some((recipient, nexthop.as_str().into()));
        active.recipients[number as usize] = Recipient::Queued;
        active.queued += 1;
        active.groups.entry((transport.into(), destination.into())).or_default().push(number);
    }

    /// Why nothing can be delivered by this transport, if that is so.
    fn unavailable(&mut self, transport: &str) -> Option<String> {
        match self.settings.transports.get(transport) {
            Some(known) if known.is_built() => None,
            Some(known) => {
                Some(format!("mail transport unavailable: {transport} ({}) is not built yet", known.command))
            }
            None => {
                let complaint = format!("connect to transport private/{transport}: No such file or directory");
                self.actions.push(Action::Warning(complaint));
                Some(format!("mail transport unavailable: {transport} is not in master.cf"))
            }
        }
    }

    /// Defers a recipient that no agent has tried.
    fn defer(&mut self, id: QueueId, number: u32, dsn: &str, reason: &str) {
        self.fail(id, number, Verdict::Deferred, dsn, reason);
    }

    /// What becomes of a recipient that no agent has tried.
    fn fail(&mut self, id: QueueId, number: u32, verdict: Verdict, dsn: &str, reason: &str) {
        let Some(active) = self.active.get_mut(&id) else { return };
        let outcome = Outcome {
            index: number,
            verdict,
            dsn: dsn.into(),
            relay: "none".into(),
            text: reason.into(),
            remote_reply: None,
            remote_mta: None,
        };
        let times = (active.envelope.arrival, active.since);
        let line = crate::report::untried(id.as_str(), &active.target(number), &outcome, times, self.now);
        active.recipients[number as usize] = match verdict {
            Verdict::Bounced => Recipient::Bounced(outcome),
            Verdict::Deferred | Verdict::Sent => Recipient::Deferred(outcome),
        };
        self.actions.push(Action::Error(line));
        self.touched.insert(id);
    }

    // The disk.

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

    fn loaded(&mut self, id: QueueId, result: Result<Loaded, LoadError>) {
        let Some(stored) = self.stored.get_mut(&id).filter(|stored| stored.loading) else {
            // An active message that has just got its queue file: the memory file goes.
            if let (Some(active), Ok(loaded)) = (self.active.get_mut(&id), result) {
                (active.body, active.offset) = (Arc::new(loaded.body), loaded.offset);
            }
            return;
        };
        self.loading -= 1;
        stored.loading = false;
        let kept = *stored;
        match result {
            Ok(Loaded { envelope, body, offset, pending }) => {
                if kept.folder == Folder::Hold {
                    return;
                }
                if self.window.admit(pending.len()) {
                    self.stored.remove(&id);
                    let place = (kept.sequence, Some(kept.folder));
                    self.activate(Active::new(envelope, (body, offset), place, &pending, self.now.micros));
                } else {
                    self.incoming.push_front(id);
                }
            }
            Err(LoadError::Lost(line)) => {
                self.stored.remove(&id);
                self.actions.push(Action::Warning(line));
            }
            Err(LoadError::Disk(line)) => {
                self.actions.push(Action::Warning(line));
                let due = self.seconds() + self.settings.retry.minimal_backoff_time;
                self.stored.insert(id, Stored { due, ..kept });
                self.deferred.insert(due, id);
            }
        }
    }

    /// Chooses stored messages for which there is room: new mail first.
    fn choose(&mut self) -> Vec<(QueueId, Folder)> {
        let room = self.window.room().saturating_sub(self.loading).min(LOAD_PORTION);
        let mut chosen: Vec<QueueId> = Vec::new();
        while chosen.len() < room
            && let Some(id) = self.incoming.pop_front()
        {
            chosen.push(id);
        }
        let due = self.deferred.run(self.seconds(), &self.settings.retry, room - chosen.len());
        chosen.extend(due);
        let mut files = Vec::new();
        for id in chosen {
            // Others may have been deleted or held since.
            if let Some(stored) = self.stored.get_mut(&id).filter(|s| !s.loading && s.folder != Folder::Hold) {
                stored.loading = true;
                files.push((id, stored.folder));
            }
        }
        self.loading += files.len();
        files
    }

    // Time.

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
mod tests;
