//! What the disk has done.

use super::*;

impl Core {
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
                    self.pieces.push((token, Piece::Discard(queue_id)));
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
                let reserve = message.reserve();
                self.enter_journal(token, Commit { token, queue_id, envelope: Vec::new(), content: None, reserve });
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

    pub(super) fn log_warning(&mut self, line: String) {
        self.actions.push(Action::Log(line, true));
    }
}
