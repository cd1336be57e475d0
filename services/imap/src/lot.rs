//! The sessions of a template: which has a process, which is parked, and what wakes one. No descriptor is used here and no
//! clock read: events come in with the time, what is to be done goes out.
//!
//! Invariants: a session has a process or is parked, never both. Whoever it is for stands here from the fork to the end, so
//! that nothing that a process of it says can make it anybody else's. A parked session wakes once.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use crate::lifeline::Quiet;

/// The shortest time between two reminders, whatever a process says.
const LEAST_REMINDER: Duration = Duration::from_secs(1);

/// What a session is for, as far as the template has to know. `W` is who it serves, `D` names a folder that is watched.
pub struct Lot<W, D> {
    seats: HashMap<u64, Seat<W, D>>,
    processes: BTreeMap<i32, u64>,
    watchers: HashMap<D, BTreeSet<u64>>,
    due: BTreeSet<(Instant, u64)>,
    next: u64,
}

struct Seat<W, D> {
    who: W,
    folders: Vec<D>,
    place: Place,
}

enum Place {
    /// Its process, and how often that was told to look.
    Process(i32, u32),
    Parked(Parked),
    /// Between the two.
    Waking,
}

struct Parked {
    state: OwnedFd,
    since: Instant,
    due: Option<Instant>,
    remind: Option<Duration>,
    reminders: u64,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Tell this process to look.
    Look(i32),
    /// Wake this session.
    Wake(u64),
    /// Remind this session's client that the server lives.
    Remind(u64),
}

/// A session that wakes.
#[derive(Debug)]
pub struct Woken {
    /// What its process left behind.
    pub state: OwnedFd,
    /// How long ago.
    pub parked: Duration,
    /// Reminders of the meantime.
    pub reminders: u64,
}

impl<W, D: Clone + Eq + Hash> Lot<W, D> {
    /// Without a session.
    pub fn new() -> Lot<W, D> {
        Lot {
            seats: HashMap::new(),
            processes: BTreeMap::new(),
            watchers: HashMap::new(),
            due: BTreeSet::new(),
            next: 0,
        }
    }

    /// Whether no session is parked.
    pub fn is_empty(&self) -> bool {
        self.seats.len() == self.processes.len()
    }

    /// A process has begun a session. Sessions are numbered from 1.
    pub fn begun(&mut self, pid: i32, who: W) -> u64 {
        self.next += 1;
        self.seats.insert(self.next, Seat { who, folders: Vec::new(), place: Place::Process(pid, 0) });
        self.processes.insert(pid, self.next);
        self.next
    }

    /// Who a session is for.
    pub fn who(&self, id: u64) -> Option<&W> {
        self.seats.get(&id).map(|seat| &seat.who)
    }

    /// The session of a process.
    pub fn session(&self, pid: i32) -> Option<u64> {
        self.processes.get(&pid).copied()
    }

    /// A session is to hear of `folders` and no others. Returns those that nobody watches any more.
    pub fn watch(&mut self, id: u64, folders: Vec<D>) -> Vec<D> {
        let Some(seat) = self.seats.get_mut(&id) else { return Vec::new() };
        for folder in &folders {
            self.watchers.entry(folder.clone()).or_default().insert(id);
        }
        let before = std::mem::replace(&mut seat.folders, folders.clone());
        before.into_iter().filter(|folder| !folders.contains(folder) && self.let_go(folder, id)).collect()
    }

    /// Takes a watcher away; whether it was the last.
    fn let_go(&mut self, folder: &D, id: u64) -> bool {
        let Some(watchers) = self.watchers.get_mut(folder) else { return false };
        watchers.remove(&id);
        if watchers.is_empty() {
            self.watchers.remove(folder);
            return true;
        }
        false
    }

    /// A folder has changed; without one, any may have.
    pub fn changed(&self, folder: Option<&D>) -> Vec<Action> {
        let ids: Vec<u64> = match folder {
            Some(folder) => self.watchers.get(folder).into_iter().flatten().copied().collect(),
            None => self.seats.iter().filter(|(_, seat)| !seat.folders.is_empty()).map(|(id, _)| *id).collect(),
        };
        let action = |id: &u64| match self.seats.get(id)?.place {
            Place::Process(pid, _) => Some(Action::Look(pid)),
            Place::Parked(_) => Some(Action::Wake(*id)),
            Place::Waking => None,
        };
        ids.iter().filter_map(action).collect()
    }

    /// A process was told to look.
    pub fn told(&mut self, pid: i32) {
        let seat = self.processes.get(&pid).and_then(|id| self.seats.get_mut(id));
        if let Some(Seat { place: Place::Process(_, looks), .. }) = seat {
            *looks = looks.wrapping_add(1);
        }
    }

    /// The session of this process is parked from now on; the process is about to end. Returns the session, and whether it
    /// is to wake at once because it has missed something.
    pub fn park(&mut self, pid: i32, quiet: Quiet, state: OwnedFd, now: Instant) -> Option<(u64, bool)> {
        let id = self.processes.remove(&pid)?;
        let seat = self.seats.get_mut(&id)?;
        let Place::Process(_, looks) = seat.place else { return None };
        let due = quiet.due_ms.and_then(|due| now.checked_add(Duration::from_millis(due)));
        let remind = quiet.remind_ms.map(|remind| Duration::from_millis(remind).max(LEAST_REMINDER));
        seat.place = Place::Parked(Parked { state, since: now, due, remind, reminders: 0 });
        self.due.extend(due.map(|due| (due, id)));
        Some((id, looks != quiet.looks))
    }

    /// When [`Lot::due`] has something to say.
    pub fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// What time demands.
    pub fn due(&mut self, now: Instant) -> Vec<Action> {
        let mut actions = Vec::new();
        while let Some((at, id)) = self.due.first().copied().filter(|(at, _)| *at <= now) {
            self.due.pop_first();
            let Some(Seat { place: Place::Parked(parked), .. }) = self.seats.get_mut(&id) else { continue };
            parked.due = None;
            match parked.remind {
                None => actions.push(Action::Wake(id)),
                Some(every) => {
                    parked.reminders += 1;
                    parked.due = at.checked_add(every);
                    self.due.extend(parked.due.map(|due| (due, id)));
                    actions.push(Action::Remind(id));
                }
            }
        }
        actions
    }

    /// Takes what is needed to wake a session; `None` if it has a process. It is nowhere until [`Lot::woken`].
    pub fn wake(&mut self, id: u64, now: Instant) -> Option<Woken> {
        let seat = self.seats.get_mut(&id).filter(|seat| matches!(seat.place, Place::Parked(_)))?;
        let Place::Parked(parked) = std::mem::replace(&mut seat.place, Place::Waking) else { return None };
        if let Some(due) = parked.due {
            self.due.remove(&(due, id));
        }
        Some(Woken { state: parked.state, parked: now - parked.since, reminders: parked.reminders })
    }

    /// The session that woke has this process.
    pub fn woken(&mut self, id: u64, pid: i32) {
        if let Some(seat) = self.seats.get_mut(&id) {
            seat.place = Place::Process(pid, 0);
            self.processes.insert(pid, id);
        }
    }

    /// A process is gone. Returns who it served, if its session is over, with the folders that nobody watches any more.
    pub fn ended(&mut self, pid: i32) -> Option<(W, Vec<D>)> {
        let id = self.processes.remove(&pid)?;
        self.over(id)
    }

    /// A session is over.
    pub fn over(&mut self, id: u64) -> Option<(W, Vec<D>)> {
        let unwatched = self.watch(id, Vec::new());
        let seat = self.seats.remove(&id)?;
        if let Place::Parked(Parked { due: Some(due), .. }) = seat.place {
            self.due.remove(&(due, id));
        }
        Some((seat.who, unwatched))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> OwnedFd {
        std::fs::File::open("/dev/null").unwrap().into()
    }

    fn quiet(looks: u32, due_ms: Option<u64>, remind_ms: Option<u64>) -> Quiet {
        Quiet { looks, due_ms, remind_ms }
    }

    /// Two sessions in processes 100 and 200.
    fn two() -> (Lot<&'static str, u32>, u64, u64) {
        let mut lot = Lot::new();
        let (ann, joe) = (lot.begun(100, "ann"), lot.begun(200, "joe"));
        (lot, ann, joe)
    }

    #[test]
    fn a_session_moves_between_process_and_place() {
        let (mut lot, ann, joe) = two();
        let now = Instant::now();
        assert!(lot.is_empty());
        assert_eq!(lot.park(100, quiet(0, None, None), state(), now), Some((ann, false)));
        assert!(!lot.is_empty());
        assert!(lot.park(100, quiet(0, None, None), state(), now).is_none(), "it has no process any more");
        assert!(lot.ended(100).is_none(), "the end of that process is not the end of the session");
        assert_eq!(lot.who(ann), Some(&"ann"));
        let woken = lot.wake(ann, now + Duration::from_secs(5)).unwrap();
        assert_eq!((woken.parked, woken.reminders), (Duration::from_secs(5), 0));
        assert!(lot.wake(ann, now).is_none(), "it wakes once");
        lot.woken(ann, 300);
        assert_eq!(lot.ended(300).map(|(who, _)| who), Some("ann"));
        assert_eq!(lot.ended(200).map(|(who, _)| who), Some("joe"));
        assert!(lot.who(ann).is_none() && lot.who(joe).is_none() && lot.is_empty());
    }

    #[test]
    fn news_wake_the_parked_and_reach_the_others() {
        let (mut lot, ann, joe) = two();
        assert_eq!(lot.watch(ann, vec![1, 2]), []);
        assert_eq!(lot.watch(joe, vec![2, 3]), []);
        assert_eq!(lot.park(100, quiet(0, None, None), state(), Instant::now()), Some((ann, false)));
        assert_eq!(lot.changed(Some(&1)), [Action::Wake(ann)]);
        assert_eq!(lot.changed(Some(&2)), [Action::Wake(ann), Action::Look(200)]);
        assert_eq!(lot.changed(Some(&4)), []);
        assert_eq!(lot.changed(None).len(), 2, "events were lost: everybody looks");
        assert_eq!(lot.watch(joe, vec![3]), [], "somebody else watches 2");
        assert_eq!(lot.over(ann), Some(("ann", vec![1, 2])));
        assert_eq!(lot.watch(joe, Vec::new()), [3]);
        assert_eq!(lot.changed(None), []);
    }

    #[test]
    fn what_was_told_on_the_way_wakes_at_once() {
        let (mut lot, ann, joe) = two();
        lot.told(100);
        lot.told(100);
        lot.told(200);
        assert_eq!(lot.park(100, quiet(1, None, None), state(), Instant::now()), Some((ann, true)));
        assert_eq!(lot.park(200, quiet(1, None, None), state(), Instant::now()), Some((joe, false)));
    }

    #[test]
    fn time_reminds_or_wakes() {
        let (mut lot, ann, joe) = two();
        let now = Instant::now();
        let after = |seconds| now + Duration::from_secs(seconds);
        lot.park(100, quiet(0, Some(5_000), Some(10_000)), state(), now);
        lot.park(200, quiet(0, Some(20_000), None), state(), now);
        assert_eq!(lot.next_due(), Some(after(5)));
        assert_eq!(lot.due(after(4)), []);
        assert_eq!(lot.due(after(5)), [Action::Remind(ann)]);
        assert_eq!(lot.due(after(20)), [Action::Remind(ann), Action::Wake(joe)]);
        assert_eq!(lot.wake(ann, after(21)).unwrap().reminders, 2);
        assert_eq!(lot.next_due(), None);
        lot.woken(ann, 101);
        // A process that says nonsense does not make its template busy.
        lot.park(101, quiet(0, Some(0), Some(0)), state(), now);
        assert_eq!(lot.due(now).len(), 1);
        assert_eq!(lot.next_due(), Some(after(1)));
        lot.over(ann);
        assert_eq!(lot.next_due(), None);
        assert!(lot.begun(1, "x") > joe);
        lot.park(1, quiet(0, Some(u64::MAX), None), state(), now);
        assert_eq!(lot.due(after(1000)), []);
    }
}
