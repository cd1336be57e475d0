//! The queue manager: what it is told, what it orders, and how a new one hears of everything.

use super::*;

impl Core {
    /// It is there (again).
    pub fn qmgr_up(&mut self) {
        self.qmgr = Qmgr::Settling;
    }

    /// It is gone. What it ordered goes on, for nobody.
    pub fn qmgr_down(&mut self) {
        self.qmgr = Qmgr::Away;
        self.live.values_mut().for_each(|live| live.filing = live.filing.map(|_| false));
    }

    /// An order.
    pub fn order(&mut self, order: FromQmgr) {
        match order {
            FromQmgr::Done { queue_id } => self.released(queue_id),
            FromQmgr::Spill { queue_id, place } => match self.live.get_mut(&queue_id) {
                Some(live) if live.filing.is_none() && !live.in_file => {
                    live.filing = Some(true);
                    self.filings.push((queue_id, Some(live.sequence), place));
                }
                _ => {
                    let result = Err("the journal does not have it, or its queue file is under way".into());
                    self.tell_qmgr(ToQmgr::Spilled { queue_id, result });
                }
            },
        }
    }

    pub(super) fn tell_qmgr(&mut self, message: ToQmgr) {
        if self.qmgr != Qmgr::Away {
            self.actions.push(Action::Qmgr(message, Vec::new()));
        }
    }

    /// Tells of a message. Mail in a queue file comes without its envelope.
    pub(super) fn tell_new(&mut self, queue_id: QueueId, sequence: Sequence, stored: Option<Stored>) {
        if matches!(self.qmgr, Qmgr::Away | Qmgr::Settling) {
            return;
        }
        let in_file = stored.is_none();
        let (envelope, body) = stored.map_or((Vec::new(), None), |stored| (stored.envelope, stored.body));
        let first = envelope.len().min(MAX_PIECE);
        let more = envelope.len() > first;
        let new = ToQmgr::New { queue_id, sequence, in_file, envelope: envelope[..first].to_vec(), more };
        self.actions.push(Action::Qmgr(new, body.into_iter().collect()));
        let mut rest = envelope[first..].chunks(MAX_PIECE).peekable();
        while let Some(piece) = rest.next() {
            let more = ToQmgr::More { envelope: piece.to_vec(), more: rest.peek().is_some() };
            self.actions.push(Action::Qmgr(more, Vec::new()));
        }
    }

    pub(super) fn released(&mut self, queue_id: QueueId) {
        if let Some(live) = self.live.remove(&queue_id) {
            self.release.push(live.sequence);
            self.checkpoint = true;
        }
    }

    /// Tells a new `qmgr` of what the journal holds, as fast as it takes it.
    pub(super) fn replay(&mut self, room: bool) {
        if self.qmgr == Qmgr::Settling && !self.busy[Lane::Files as usize] {
            // No file is being written at this moment. What was about to be is not needed any more, but for large mail, whose
            // place it is and which is told when it has it.
            self.filings.retain(|(_, sequence, _)| sequence.is_none());
            let mut told = Vec::new();
            for live in self.live.values_mut().filter(|live| !live.in_file) {
                live.filing = None;
                told.push(live.sequence);
            }
            told.sort_unstable_by(|a, b| b.cmp(a));
            self.qmgr = Qmgr::Replaying(told);
            let published: Vec<(Sequence, QueueId)> =
                self.published.iter().map(|(sequence, id)| (*sequence, *id)).collect();
            published.into_iter().for_each(|(sequence, id)| self.tell_new(id, sequence, None));
            self.tell_qmgr(ToQmgr::Freed { sequence: self.freed });
        }
        let Qmgr::Replaying(waiting) = &mut self.qmgr else { return };
        if !room || self.busy[Lane::Journal as usize] {
            return;
        }
        if waiting.is_empty() {
            self.qmgr = Qmgr::Ready;
            self.tell_qmgr(ToQmgr::Replayed);
            return;
        }
        let mut next = waiting.split_off(waiting.len().saturating_sub(REPLAY_PORTION));
        next.reverse();
        self.work(Work::Read(next));
    }
}
