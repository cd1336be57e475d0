//! Messages that are not active: a queue file each, and a place in the order in which they are taken up.

use super::*;

impl Core {
    pub(super) fn knows(&self, id: QueueId) -> bool {
        self.active.contains_key(&id) || self.stored.contains_key(&id) || self.parked.contains_key(&id)
    }

    /// A queue file that waits: by its folder for room, for its time, or for the administrator.
    pub(super) fn store(&mut self, id: QueueId, stored: Stored) {
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

    pub(super) fn loaded(&mut self, id: QueueId, result: Result<Loaded, LoadError>) {
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
            Ok(Loaded { envelope, body, offset, pending, warned }) => {
                if kept.folder == Folder::Hold {
                    return;
                }
                if self.window.admit(pending.len()) {
                    self.stored.remove(&id);
                    let place = (kept.sequence, Some(kept.folder));
                    let active = Active::new(envelope, (body, offset), place, &pending, self.now.micros);
                    self.activate(Active { warned, ..active });
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
    pub(super) fn choose(&mut self) -> Vec<(QueueId, Folder)> {
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
}
