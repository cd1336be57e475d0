//! The scheduler of one transport: which delivery is next.
//!
//! Postfix's preemptive scheduler (SCHEDULER_README, "Preemptive scheduling"). Messages get their turn in the order in which
//! they came. But for each `cost` entries of a message that are selected, another message may select one: a smaller one
//! takes the turn when it can be done within the slots that the bigger one has or will have.
//!
//! ```text
//! max_slots = (entries to select + slots_available) / cost     what the current job can ever earn
//! candidate = the later job with entries <= max_slots, no children, and the best score
//! score     = (now - queued + 1) / total entries
//! preempt if slots_available > 0, total entries of the current >= minimum * cost, and
//!            slots_available / cost + loan >= entries of the candidate * discount / 100
//! ```
//!
//! A preempting job uses up slots of the one it preempts, and earns slots itself, so the delay of the big message is bounded
//! by cost / (cost - 1), however many small ones there are. Unlike Postfix, which reads recipients bit by bit, we have the
//! envelope whole: the number of entries of a job is known when it starts.
//!
//! A job whose destinations all have no room is a blocker and is passed over until one of them has room again.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use ipc_messages::envelope::QueueId;

use super::concurrency::{Concurrency, Health};
use super::job::{EntryKey, JobKey, Jobs};
use super::{Policy, Verdict};

/// Above this many destinations, dead ones that nothing waits for are forgotten early: memory before memory of the dead.
const MAX_DESTINATIONS: usize = 40_000;

pub(super) struct Transport {
    policy: Policy,
    jobs: Jobs,
    by_message: HashMap<QueueId, JobKey>,
    destinations: HashMap<Arc<str>, Destination>,
    /// The destinations that are dead or suspended, by the time when they wake.
    asleep: BTreeSet<(u64, Arc<str>)>,
    entries: HashMap<EntryKey, Entry>,
    current: Option<JobKey>,
    /// What marks a blocker; a new value unmarks all.
    blocker: u64,
    busy: usize,
    /// How many destinations have both room and something to do: without one there is no need to look.
    open: usize,
    dead_until: Option<u64>,
    /// `transport_rate_delay` runs.
    paused_until: Option<u64>,
}

/// Some recipients of one message for one destination: what an agent gets in one go.
pub(super) struct Entry {
    pub message: QueueId,
    pub destination: Arc<str>,
    pub recipients: Vec<u32>,
    job: JobKey,
    selected: bool,
}

struct Destination {
    concurrency: Concurrency,
    todo: usize,
    busy: usize,
    state: State,
    blocker: u64,
    /// It is counted in the transport's `open`.
    open: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Ready,
    /// Too many deliveries in a row did not reach it.
    DeadUntil(u64),
    /// `destination_rate_delay` runs.
    SuspendedUntil(u64),
}

impl State {
    fn wakes_at(self) -> Option<u64> {
        match self {
            State::Ready => None,
            State::DeadUntil(time) | State::SuspendedUntil(time) => Some(time),
        }
    }
}

impl Destination {
    fn has_room(&self) -> bool {
        self.state == State::Ready && self.concurrency.window() > self.busy
    }
}

impl Transport {
    pub fn new(policy: Policy) -> Transport {
        Transport {
            policy: effective(policy),
            jobs: Jobs::default(),
            by_message: HashMap::new(),
            destinations: HashMap::new(),
            asleep: BTreeSet::new(),
            entries: HashMap::new(),
            current: None,
            blocker: 1,
            busy: 0,
            open: 0,
            dead_until: None,
            paused_until: None,
        }
    }

    /// Other settings; what is under way stays.
    pub fn set_policy(&mut self, policy: Policy) {
        self.policy = effective(policy);
        let names: Vec<Arc<str>> = self.destinations.keys().cloned().collect();
        for name in names {
            if let Some(destination) = self.destinations.get_mut(&name) {
                destination.concurrency.bound(&self.policy.concurrency);
            }
            self.recount(&name);
        }
    }

    /// Until when the destination, or the transport, takes nothing.
    pub fn dead_until(&self, destination: &str) -> Option<u64> {
        let dead = self.destinations.get(destination).and_then(|destination| match destination.state {
            State::DeadUntil(time) => Some(time),
            _ => None,
        });
        self.dead_until.max(dead)
    }

    /// Takes recipients of a message, in entries of as many as one delivery may have. `keys` are free.
    pub fn enqueue(
        &mut self,
        now: u64,
        message: QueueId,
        destination: &str,
        recipients: &[u32],
        keys: &mut impl Iterator<Item = EntryKey>,
    ) {
        if recipients.is_empty() {
            return;
        }
        let key = self.obtain_job(now, message);
        let destination = self.obtain_destination(destination);
        let size = if self.policy.recipient_limit == 0 { recipients.len() } else { self.policy.recipient_limit };
        for (recipients, entry) in recipients.chunks(size).zip(keys) {
            let (recipients, destination) = (recipients.to_vec(), destination.clone());
            self.put_todo(entry, Entry { message, destination, recipients, job: key, selected: false });
        }
    }

    /// Selects the next delivery, if there is one and the agents have room for it.
    pub fn select(&mut self, now: u64) -> Option<EntryKey> {
        let in_flight = if self.policy.transport_rate_delay > 0 { 1 } else { self.policy.in_flight };
        if self.open == 0 || self.dead_until.or(self.paused_until).is_some() || self.busy >= in_flight {
            return None;
        }
        let mut job = self.current;
        if let Some(current) = job
            && self.policy.slots.cost >= 2
        {
            job = Some(self.preempt(now, current));
        }
        while let Some(key) = job {
            job = self.jobs[key].next;
            if self.jobs[key].blocker == self.blocker {
                continue;
            }
            if let Some(entry) = self.select_entry(key) {
                self.current = Some(key);
                let selected = &mut self.jobs[key];
                selected.slots_available += 1;
                selected.slots_used += 1;
                if !selected.has_entries() {
                    self.retire(key);
                }
                return Some(entry);
            }
            self.block(key);
        }
        self.current = None;
        None
    }

    pub fn entry(&self, key: EntryKey) -> &Entry {
        &self.entries[&key]
    }

    /// A selected delivery has ended. Returns what is given up because its destination is dead now.
    pub fn finish(&mut self, now: u64, key: EntryKey, verdict: Verdict) -> Vec<Entry> {
        let entry = self.entries.remove(&key).filter(|entry| entry.selected).expect("the delivery was selected");
        let name = &entry.destination;
        let policy = self.policy;
        let destination = self.destinations.get_mut(name).expect("it is busy");
        let mut state = destination.state;
        match (verdict, state) {
            (Verdict::Reached, State::DeadUntil(_)) => {
                destination.concurrency.revive(&policy.concurrency, destination.busy);
                state = State::Ready;
            }
            (Verdict::Reached, _) => destination.concurrency.reached(&policy.concurrency, destination.busy),
            (Verdict::Unreachable, State::Ready) => {
                if destination.concurrency.failed(&policy.concurrency) == Health::Dead {
                    state = State::DeadUntil(now + policy.dead_time);
                }
            }
            (Verdict::Unreachable, _) => {}
        }
        destination.busy -= 1;
        self.busy -= 1;
        if policy.rate_delay > 0 && state == State::Ready {
            state = State::SuspendedUntil(now + policy.rate_delay);
        }
        if policy.transport_rate_delay > 0 {
            self.paused_until = Some(now + policy.transport_rate_delay);
        }
        let waiting = destination.todo;
        self.set_state(name, state);
        let given_up = match state {
            State::DeadUntil(_) if waiting > 0 => self.give_up_destination(name),
            _ => Vec::new(),
        };
        self.unblock(name);
        self.forget_if_idle(name);
        self.close(entry.job);
        given_up
    }

    /// The agents of this transport do not work: nothing is selected until `until`. Returns all that waits.
    pub fn suspend(&mut self, until: u64) -> Vec<Entry> {
        self.dead_until = Some(until);
        let jobs: Vec<JobKey> = self.by_message.values().copied().collect();
        jobs.into_iter().flat_map(|job| self.give_up_job(job)).collect()
    }

    /// Takes out what is not selected yet of a message.
    pub fn cancel(&mut self, message: QueueId) -> Vec<Entry> {
        self.by_message.get(&message).copied().map_or(Vec::new(), |job| self.give_up_job(job))
    }

    /// Brings back what has waited long enough.
    pub fn wake(&mut self, now: u64) {
        self.dead_until = self.dead_until.filter(|until| *until > now);
        self.paused_until = self.paused_until.filter(|until| *until > now);
        while let Some((_, name)) = self.asleep.first().filter(|(time, _)| *time <= now).cloned() {
            let destination = self.destinations.get_mut(&name).expect("it is asleep");
            if matches!(destination.state, State::DeadUntil(_)) {
                destination.concurrency.revive(&self.policy.concurrency, destination.busy);
            }
            self.set_state(&name, State::Ready);
            self.unblock(&name);
            self.forget_if_idle(&name);
        }
    }

    /// When [`Transport::wake`] has something to do.
    pub fn next_wake(&self) -> Option<u64> {
        let first = self.asleep.first().map(|(time, _)| *time);
        [first, self.dead_until, self.paused_until].into_iter().flatten().min()
    }

    fn set_state(&mut self, name: &Arc<str>, state: State) {
        let destination = self.destinations.get_mut(name).expect("it is known");
        if let Some(time) = destination.state.wakes_at() {
            self.asleep.remove(&(time, name.clone()));
        }
        if let Some(time) = state.wakes_at() {
            self.asleep.insert((time, name.clone()));
        }
        destination.state = state;
        self.recount(name);
    }

    /// Keeps `open` right after a change to a destination.
    fn recount(&mut self, name: &str) {
        let destination = self.destinations.get_mut(name).expect("it is known");
        let open = destination.has_room() && destination.todo > 0;
        match (std::mem::replace(&mut destination.open, open), open) {
            (false, true) => self.open += 1,
            (true, false) => self.open -= 1,
            _ => {}
        }
    }

    /// The job of this message, in the list.
    fn obtain_job(&mut self, now: u64, message: QueueId) -> JobKey {
        let jobs = &mut self.jobs;
        let key = *self.by_message.entry(message).or_insert_with(|| jobs.create(message, now));
        if !self.jobs[key].linked && self.jobs.insert(key, self.current) {
            self.current = Some(key);
        }
        if self.jobs[key].blocker == self.blocker {
            self.jobs[key].blocker = 0;
            self.current = self.jobs.first();
        }
        key
    }

    fn obtain_destination(&mut self, name: &str) -> Arc<str> {
        if let Some((name, _)) = self.destinations.get_key_value(name) {
            return name.clone();
        }
        let name: Arc<str> = name.into();
        let concurrency = Concurrency::new(&self.policy.concurrency);
        let destination = Destination { concurrency, todo: 0, busy: 0, state: State::Ready, blocker: 0, open: false };
        self.destinations.insert(name.clone(), destination);
        name
    }

    fn put_todo(&mut self, key: EntryKey, entry: Entry) {
        let job = &mut self.jobs[entry.job];
        job.total += 1;
        job.open += 1;
        let (peers, turns) = (&mut job.peers, &mut job.turns);
        let peer = peers.entry(entry.destination.clone()).or_insert_with(|| {
            turns.push_back(entry.destination.clone());
            VecDeque::new()
        });
        peer.push_back(key);
        self.destinations.get_mut(&entry.destination).expect("it was obtained").todo += 1;
        self.recount(&entry.destination);
        self.entries.insert(key, entry);
    }

    /// Takes an entry of the job's next destination that has room.
    fn select_entry(&mut self, key: JobKey) -> Option<EntryKey> {
        let destinations = &mut self.destinations;
        let job = &mut self.jobs[key];
        let at = job.turns.iter().position(|name| destinations[name].has_room())?;
        let name = job.turns[at].clone();
        let entries = job.peers.get_mut(&name).expect("who has a turn has entries");
        let entry = entries.pop_front().expect("who has a turn has entries");
        if entries.is_empty() {
            job.peers.remove(&name);
            job.turns.remove(at);
        } else {
            job.turns.rotate_left(at + 1);
        }
        let destination = destinations.get_mut(&name).expect("it has entries");
        destination.todo -= 1;
        destination.busy += 1;
        job.selected += 1;
        self.busy += 1;
        self.recount(&name);
        self.entries.get_mut(&entry).expect("it is in the queue").selected = true;
        Some(entry)
    }

    /// Marks a job, and the destinations it waits for, so that it is passed over until one of them has room.
    fn block(&mut self, key: JobKey) {
        let job = &mut self.jobs[key];
        job.blocker = self.blocker;
        for name in &job.turns {
            self.destinations.get_mut(name).expect("it has entries").blocker = self.blocker;
        }
    }

    /// If jobs have waited for this destination and it has room now, all blockers are looked at again.
    fn unblock(&mut self, name: &str) {
        let Some(destination) = self.destinations.get_mut(name) else { return };
        if destination.blocker != self.blocker || !destination.has_room() {
            return;
        }
        destination.blocker = 0;
        if destination.todo > 0 {
            self.blocker += 1;
            self.current = self.jobs.first();
        }
    }

    fn preempt(&mut self, now: u64, current: JobKey) -> JobKey {
        let slots = self.policy.slots;
        let job = &self.jobs[current];
        if job.slots_available <= 0 || (job.total as i64) < slots.minimum * slots.cost {
            return current;
        }
        let Some(candidate) = self.candidate(now, current) else { return current };
        let expected = (self.jobs[candidate].total - self.jobs[candidate].selected) as i64;
        let earned = self.jobs[current].slots_available / slots.cost + slots.loan;
        if earned * 100 < expected * slots.discount {
            return current;
        }
        self.pop_off_stack(candidate);
        self.jobs.push_on_stack(candidate, current);
        self.jobs[current].slots_available -= expected * slots.cost;
        self.jobs[candidate].slots_used = -expected;
        self.current = Some(candidate);
        candidate
    }

    /// The best of the later jobs that the current one can ever make room for.
    fn candidate(&self, now: u64, current: JobKey) -> Option<JobKey> {
        let job = &self.jobs[current];
        let max_slots = ((job.total - job.selected) as i64 + job.slots_available) / self.policy.slots.cost;
        if max_slots <= 0 {
            return None;
        }
        let mut best = None;
        let mut best_score = 0.0;
        let mut next = job.next;
        while let Some(key) = next {
            let job = &self.jobs[key];
            next = job.next;
            if !job.children.is_empty() || job.blocker == self.blocker {
                continue;
            }
            let needed = (job.total - job.selected) as i64;
            let delay = (now + 1).saturating_sub(job.queued) as f64;
            let score = delay / job.total as f64;
            if needed > 0 && needed <= max_slots && score > best_score {
                best_score = score;
                best = Some(key);
            }
            // Later jobs on the ground level have waited less: none of them can be better.
            if delay <= best_score && job.level == 0 {
                break;
            }
        }
        best
    }

    /// Takes a job off its stack; the slots that it did not need go back to the job that it preempted.
    fn pop_off_stack(&mut self, key: JobKey) {
        if self.jobs[key].level == 0 {
            return;
        }
        let used = self.jobs[key].slots_used;
        if let Some(parent) = self.jobs.pop_off_stack(key) {
            self.jobs[parent].slots_available -= used * self.policy.slots.cost;
        }
    }

    /// Takes a job that has nothing left to select out of the list.
    fn retire(&mut self, key: JobKey) {
        self.pop_off_stack(key);
        if self.current == Some(key) {
            self.current = self.jobs[key].next;
        }
        self.jobs.remove(key);
    }

    /// An entry of the job is gone.
    fn close(&mut self, key: JobKey) {
        self.jobs[key].open -= 1;
        if self.jobs[key].open == 0 {
            self.by_message.remove(&self.jobs[key].message);
            self.jobs.free(key);
        }
    }

    /// Takes out what waits for a destination.
    fn give_up_destination(&mut self, name: &Arc<str>) -> Vec<Entry> {
        let jobs = self.by_message.values().copied().filter(|job| self.jobs[*job].peers.contains_key(name));
        let mut jobs: Vec<JobKey> = jobs.collect();
        jobs.sort_by_key(|job| (self.jobs[*job].queued, self.jobs[*job].message));
        jobs.into_iter().flat_map(|job| self.give_up_peer(job, name)).collect()
    }

    /// Takes out what waits of a job.
    fn give_up_job(&mut self, key: JobKey) -> Vec<Entry> {
        let names = self.jobs[key].turns.clone();
        names.iter().flat_map(|name| self.give_up_peer(key, name)).collect()
    }

    fn give_up_peer(&mut self, key: JobKey, name: &Arc<str>) -> Vec<Entry> {
        let job = &mut self.jobs[key];
        let keys = job.peers.remove(name).unwrap_or_default();
        job.turns.retain(|other| other != name);
        job.selected += keys.len();
        if !job.has_entries() && job.linked {
            self.retire(key);
        }
        self.destinations.get_mut(name).expect("it has entries").todo -= keys.len();
        self.recount(name);
        self.forget_if_idle(name);
        let entries: Vec<Entry> =
            keys.iter().map(|entry| self.entries.remove(entry).expect("it is in the queue")).collect();
        entries.iter().for_each(|_| self.close(key));
        entries
    }

    /// A destination that is neither dead nor suspended, and has nothing to do, is a new one the next time.
    fn forget_if_idle(&mut self, name: &Arc<str>) {
        let Some(destination) = self.destinations.get(name) else { return };
        let crowded = self.destinations.len() > MAX_DESTINATIONS;
        let forgettable = destination.state == State::Ready || crowded;
        if forgettable && destination.todo == 0 && destination.busy == 0 {
            if let Some(time) = destination.state.wakes_at() {
                self.asleep.remove(&(time, name.clone()));
            }
            self.destinations.remove(name);
        }
    }
}

/// With a pause between deliveries to a destination, there is one at a time.
fn effective(mut policy: Policy) -> Policy {
    if policy.rate_delay > 0 {
        policy.concurrency.limit = 1;
    }
    policy
}
