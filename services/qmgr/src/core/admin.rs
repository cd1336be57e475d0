//! What an administrator asks: lists, holds, releases, deletions, attempts at once.

use ipc_messages::queue::{Listed, QueueRequest};
use store_queue::outcome::Outcome as Logged;

use super::*;

/// Queue files that are read at a time for a list.
const LIST_PORTION: usize = 100;
/// Lists that are being made at once.
const MAX_LISTS: usize = 16;

/// A list that is being made.
#[derive(Debug)]
pub(super) struct List {
    number: u64,
    peer: PeerId,
    files: Vec<(QueueId, Folder)>,
    count: u32,
    /// With the descriptors of the messages.
    open: bool,
}

impl Core {
    /// A request of `mailctl` or `showq`.
    pub fn request(&mut self, peer: PeerId, request: QueueRequest) {
        match request {
            QueueRequest::List => self.list(peer),
            QueueRequest::Open(id) => self.open(peer, id),
            QueueRequest::Flush => {
                // Postfix, too, looks anew at what it believed to be dead.
                self.scheduler.wake(u64::MAX);
                let due = self.deferred.flush(usize::MAX);
                let count = due.len();
                self.incoming.extend(due);
                self.changed(peer, count);
            }
            QueueRequest::FlushOne(id) => {
                let count = self.chosen(Some(id)).into_iter().filter(|id| self.attempt(*id)).count();
                self.changed(peer, count);
            }
            QueueRequest::Delete(id) => {
                let count = self.chosen(id).into_iter().filter(|id| self.delete(*id)).count();
                self.changed(peer, count);
            }
            QueueRequest::Hold(id) => {
                let count = self.chosen(id).into_iter().filter(|id| self.hold(*id)).count();
                self.changed(peer, count);
            }
            QueueRequest::Release(id) => {
                let held = |core: &Core, id: &QueueId| core.stored.get(id).is_some_and(|s| s.folder == Folder::Hold);
                let chosen: Vec<QueueId> = self.chosen(id).into_iter().filter(|id| held(self, id)).collect();
                let count = chosen.into_iter().filter(|id| self.relocate(*id, Folder::Deferred)).count();
                self.changed(peer, count);
            }
            QueueRequest::Requeue(id) => {
                let count = self.chosen(id).into_iter().filter(|id| self.relocate(*id, Folder::Incoming)).count();
                self.changed(peer, count);
            }
        }
    }

    /// Who asked is gone.
    pub fn admin_down(&mut self, peer: PeerId) {
        self.lists.retain(|list| list.peer != peer);
    }

    /// Describes one message, in as many frames as it takes; the descriptor comes with the first.
    fn tell(&mut self, peer: PeerId, message: Listed, mut body: Option<Arc<OwnedFd>>) {
        let answers = message.into_answers().into_iter();
        self.actions.extend(answers.map(|answer| Action::Admin(peer, answer, body.take())));
    }

    fn changed(&mut self, peer: PeerId, count: usize) {
        self.actions.push(Action::Admin(peer, QueueAnswer::End { count: count as u32 }, None));
    }

    /// One message, if it is there, or all.
    fn chosen(&self, id: Option<QueueId>) -> Vec<QueueId> {
        match id {
            Some(id) => Some(id).into_iter().filter(|id| self.knows(*id)).collect(),
            None => self.active.keys().chain(self.stored.keys()).copied().collect(),
        }
    }

    /// Attempts a deferred message now.
    fn attempt(&mut self, id: QueueId) -> bool {
        let Some(stored) = self.stored.get(&id).filter(|stored| stored.folder == Folder::Deferred) else {
            return false;
        };
        self.deferred.remove(stored.due, id);
        self.incoming.push_front(id);
        true
    }

    fn delete(&mut self, id: QueueId) -> bool {
        if let Some(active) = self.active.get_mut(&id) {
            // What an agent has is not taken back from it.
            active.fate = Fate::Delete;
            if active.phase == Phase::Delivering {
                self.withdraw(id);
            }
            return true;
        }
        let Some(stored) = self.forget_stored(id) else { return false };
        self.outcomes.push(Logged::Removed { id, journal: stored.sequence });
        self.steps.push(Step::Unlink(id, stored.folder));
        self.settled.push(id);
        true
    }

    /// The log says that a stored message is deleted.
    pub(super) fn removed_stored(&mut self, id: QueueId) {
        self.actions.push(Action::Info(format!("{id}: removed")));
    }

    fn hold(&mut self, id: QueueId) -> bool {
        if let Some(active) = self.active.get_mut(&id) {
            if active.fate != Fate::Delivery || active.phase != Phase::Delivering {
                return false;
            }
            active.fate = Fate::Hold;
            self.withdraw(id);
            return true;
        }
        self.relocate(id, Folder::Hold)
    }

    /// Moves a stored message; it is due at once where it comes to.
    fn relocate(&mut self, id: QueueId, to: Folder) -> bool {
        if self.stored.get(&id).is_none_or(|stored| stored.folder == to || stored.loading) {
            return false;
        }
        let Some(stored) = self.forget_stored(id) else { return false };
        self.steps.push(Step::Move(id, stored.folder, to));
        self.store(id, Stored { folder: to, sequence: stored.sequence, due: 0, loading: false });
        true
    }

    fn forget_stored(&mut self, id: QueueId) -> Option<Stored> {
        let stored = self.stored.remove(&id)?;
        if stored.loading {
            self.loading -= 1;
        }
        self.deferred.remove(stored.due, id);
        self.incoming.retain(|waiting| *waiting != id);
        Some(stored)
    }

    fn list(&mut self, peer: PeerId) {
        if self.lists.len() >= MAX_LISTS {
            let busy = QueueAnswer::Failed("too many lists are asked for".into());
            return self.actions.push(Action::Admin(peer, busy, None));
        }
        let active: Vec<Listed> = self.active.values().map(describe).collect();
        let count = active.len() as u32;
        active.into_iter().for_each(|message| self.tell(peer, message, None));
        let mut files: Vec<(QueueId, Folder)> = self.stored.iter().map(|(id, stored)| (*id, stored.folder)).collect();
        files.sort_unstable_by_key(|(id, _)| std::cmp::Reverse(*id));
        self.start_list(peer, files, count, false);
    }

    fn start_list(&mut self, peer: PeerId, files: Vec<(QueueId, Folder)>, count: u32, open: bool) {
        self.next_list += 1;
        self.lists.push_back(List { number: self.next_list, peer, files, count, open });
    }

    /// The next files to read for a list.
    pub(super) fn next_list_portion(&mut self) -> Option<Work> {
        while let Some(list) = self.lists.front_mut() {
            if !list.files.is_empty() {
                let files = list.files.split_off(list.files.len().saturating_sub(LIST_PORTION));
                return Some(Work::List { number: list.number, files, open: list.open });
            }
            let (peer, count) = (list.peer, list.count);
            self.lists.pop_front();
            self.changed(peer, count as usize);
        }
        None
    }

    pub(super) fn listed(&mut self, number: u64, messages: Vec<(Listed, Option<OwnedFd>)>) {
        let Some(list) = self.lists.iter_mut().find(|list| list.number == number) else { return };
        list.count += messages.len() as u32;
        let peer = list.peer;
        for (message, body) in messages {
            self.tell(peer, message, body.map(Arc::new));
        }
    }

    fn open(&mut self, peer: PeerId, id: QueueId) {
        if let Some(active) = self.active.get(&id) {
            let (message, body) = (describe(active), active.body.clone());
            self.tell(peer, message, Some(body));
            return self.changed(peer, 1);
        }
        match self.stored.get(&id).map(|stored| stored.folder) {
            Some(folder) => self.start_list(peer, vec![(id, folder)], 0, true),
            None => {
                let failed = QueueAnswer::Failed(format!("{id}: no such message"));
                self.actions.push(Action::Admin(peer, failed, None));
            }
        }
    }
}

/// An active message as `mailq` shows it.
fn describe(active: &Active) -> Listed {
    let open = active.envelope.recipients.iter().zip(&active.recipients);
    let recipients = open.filter_map(|(recipient, state)| match state {
        Recipient::Done | Recipient::Finished(_) => None,
        Recipient::Deferred(outcome) | Recipient::Bounced(outcome) => {
            Some((recipient.address.clone(), Some(outcome.text.clone())))
        }
        Recipient::Waiting | Recipient::Resolving | Recipient::Queued => Some((recipient.address.clone(), None)),
    });
    Listed {
        queue: "active".into(),
        queue_id: active.id(),
        arrival: active.arrival(),
        size: active.envelope.size,
        sender: active.envelope.sender.clone(),
        recipients: recipients.collect(),
        offset: active.offset,
    }
}
