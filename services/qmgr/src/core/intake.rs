//! What `cleanup` tells: new messages, queue files, and, when it comes, everything that its journal holds.

use super::*;

impl Core {
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
    pub(super) fn take(&mut self, envelope: Envelope, body: OwnedFd, sequence: Sequence, done: Vec<u32>) {
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

    fn start_recovery(&mut self) {
        if let Some(heard) = self.heard.as_mut().filter(|heard| !heard.recovering) {
            heard.recovering = true;
        }
    }

    pub(super) fn recovered(&mut self, recovered: Result<Recovered, String>) {
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
}
