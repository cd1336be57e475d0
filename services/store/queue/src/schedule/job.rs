//! The jobs of one transport, in the order in which they get their turn.
//!
//! A job is what one message has for one transport. The list is ordered by the time at which the messages were queued; a job
//! that preempts another stands right before it, and is its child on a stack. Jobs are kept in slots that are used again;
//! a key is valid until its job is freed.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use ipc_messages::envelope::QueueId;

pub(super) type JobKey = usize;
pub(super) type EntryKey = u64;

#[derive(Debug)]
pub(super) struct Job {
    pub message: QueueId,
    /// When it was queued, in seconds.
    pub queued: u64,
    /// The entries to be selected, by destination.
    pub peers: HashMap<Arc<str>, VecDeque<EntryKey>>,
    /// The destinations in `peers`, in turns.
    pub turns: VecDeque<Arc<str>>,
    /// Entries ever.
    pub total: usize,
    /// Entries selected, or given up without.
    pub selected: usize,
    /// Entries not finished.
    pub open: usize,
    /// What this job has used of its parent's slots, less what it was expected to use.
    pub slots_used: i64,
    /// Slots, times the slot cost, that others may use to preempt this job.
    pub slots_available: i64,
    /// Equal to the transport's tag: its destinations have no room.
    pub blocker: u64,
    pub level: usize,
    pub parent: Option<JobKey>,
    pub children: Vec<JobKey>,
    pub linked: bool,
    pub previous: Option<JobKey>,
    pub next: Option<JobKey>,
}

#[derive(Debug, Default)]
pub(super) struct Jobs {
    slots: Vec<Option<Job>>,
    free: Vec<JobKey>,
    first: Option<JobKey>,
    last: Option<JobKey>,
}

impl Job {
    /// Whether there is something to select.
    pub fn has_entries(&self) -> bool {
        self.selected < self.total
    }
}

impl std::ops::Index<JobKey> for Jobs {
    type Output = Job;

    fn index(&self, key: JobKey) -> &Job {
        self.slots[key].as_ref().expect("the job is not freed")
    }
}

impl std::ops::IndexMut<JobKey> for Jobs {
    fn index_mut(&mut self, key: JobKey) -> &mut Job {
        self.slots[key].as_mut().expect("the job is not freed")
    }
}

impl Jobs {
    pub fn first(&self) -> Option<JobKey> {
        self.first
    }

    /// Makes a job that is not in the list.
    pub fn create(&mut self, message: QueueId, queued: u64) -> JobKey {
        let job = Job {
            message,
            queued,
            peers: HashMap::new(),
            turns: VecDeque::new(),
            total: 0,
            selected: 0,
            open: 0,
            slots_used: 0,
            slots_available: 0,
            blocker: 0,
            level: 0,
            parent: None,
            children: Vec::new(),
            linked: false,
            previous: None,
            next: None,
        };
        match self.free.pop() {
            Some(key) => {
                self.slots[key] = Some(job);
                key
            }
            None => {
                self.slots.push(Some(job));
                self.slots.len() - 1
            }
        }
    }

    /// Frees a job that is not in the list.
    pub fn free(&mut self, key: JobKey) {
        assert!(!self[key].linked, "the job is in the list");
        self.slots[key] = None;
        self.free.push(key);
    }

    /// Puts a job into the list, behind the last one that was not queued later. Jobs that preempt another count only once
    /// that other is gone. Returns whether it stands before `current`, or there is no current one.
    pub fn insert(&mut self, key: JobKey, current: Option<JobKey>) -> bool {
        let queued = self[key].queued;
        let mut passed_current = current.is_none();
        let mut next = None;
        let mut candidate = self.last;
        while let Some(other) = candidate {
            if self[other].parent.is_none() && self[other].queued <= queued {
                break;
            }
            passed_current |= current == Some(other);
            next = Some(other);
            candidate = self[other].previous;
        }
        self.link_before(key, next);
        passed_current
    }

    /// Lets `key` preempt `current`: moves it right before `current`, as its child.
    pub fn push_on_stack(&mut self, key: JobKey, current: JobKey) {
        self.unlink(key);
        self.link_before(key, Some(current));
        let level = self[current].level + 1;
        self[current].children.push(key);
        let job = &mut self[key];
        (job.parent, job.level) = (Some(current), level);
    }

    /// Takes a job off its stack, not out of the list. Its children become its parent's. Returns the parent, if it is the one
    /// that was preempted.
    pub fn pop_off_stack(&mut self, key: JobKey) -> Option<JobKey> {
        let (parent, level) = (self[key].parent.take(), self[key].level);
        self.orphan(key, parent);
        self[key].level = 0;
        let parent = parent?;
        self[parent].children.retain(|child| *child != key);
        (level == self[parent].level + 1).then_some(parent)
    }

    /// Takes a job that is on no stack out of the list. Its children go on without a parent.
    pub fn remove(&mut self, key: JobKey) {
        self.orphan(key, None);
        self.unlink(key);
    }

    fn orphan(&mut self, key: JobKey, parent: Option<JobKey>) {
        for child in std::mem::take(&mut self[key].children) {
            self[child].parent = parent;
            if let Some(parent) = parent {
                self[parent].children.push(child);
            }
        }
    }

    fn link_before(&mut self, key: JobKey, next: Option<JobKey>) {
        let previous = next.map_or(self.last, |next| self[next].previous);
        match previous {
            Some(previous) => self[previous].next = Some(key),
            None => self.first = Some(key),
        }
        match next {
            Some(next) => self[next].previous = Some(key),
            None => self.last = Some(key),
        }
        let job = &mut self[key];
        (job.previous, job.next, job.linked) = (previous, next, true);
    }

    fn unlink(&mut self, key: JobKey) {
        let job = &mut self[key];
        let (previous, next) = (job.previous.take(), job.next.take());
        job.linked = false;
        match previous {
            Some(previous) => self[previous].next = next,
            None => self.first = next,
        }
        match next {
            Some(next) => self[next].previous = previous,
            None => self.last = previous,
        }
    }
}
