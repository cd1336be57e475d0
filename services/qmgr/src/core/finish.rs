//! How an attempt ends: notifications, then outcomes, then the queue file or the end of the message.

use ipc_messages::bounce::{FromBounce, Kind, MAX_PIECE, Report, ToBounce};
use ipc_messages::delivery::{Outcome as Told, Verdict};
use ipc_messages::envelope::Notify;
use store_queue::outcome::{Deferral, Outcome};

use super::*;

/// Something that a sender is to be told; asked for until it is answered.
#[derive(Debug)]
pub(super) struct Notification {
    message: QueueId,
    kind: Kind,
    reports: Vec<Report>,
}

impl Core {
    /// Looks whether a message can go on.
    pub(super) fn advance(&mut self, id: QueueId) {
        let Some(active) = self.active.get_mut(&id).filter(|active| active.phase == Phase::Delivering) else { return };
        if active.resolving == 0 && !active.groups.is_empty() {
            self.enqueue(id);
        }
        let Some(active) = self.active.get_mut(&id) else { return };
        if active.attempt_is_over() {
            return self.end_attempt(id);
        }
        // Others of the message are still on their way: what is finished is not to be repeated. Of whom a report is due at the
        // end of the attempt, the outcome is kept until then.
        for number in active.finished() {
            if !active.envelope.recipients[number as usize].notify.contains(Notify::SUCCESS) {
                active.recipients[number as usize] = Recipient::Done;
                self.outcomes.push(Outcome::Done { id, recipient: number });
            }
        }
    }

    fn end_attempt(&mut self, id: QueueId) {
        let now = self.seconds();
        let Some(active) = self.active.get_mut(&id) else { return };
        if active.fate == Fate::Delete {
            return self.settle(id);
        }
        if self.settings.soft_bounce {
            active.replace(soften);
        }
        let null_sender = active.envelope.sender.is_empty();
        let deferred = active.recipients.iter().any(|recipient| matches!(recipient, Recipient::Deferred(_)));
        if deferred && self.settings.retry.is_expired(now, active.arrival(), null_sender) {
            let line = format!("{id}: from=<{}>, status=expired, returned to sender", active.envelope.sender);
            self.actions.push(Action::Info(line));
            active.replace(|recipient| match recipient {
                Recipient::Deferred(outcome) => Recipient::Bounced(outcome),
                other => other,
            });
        }
        let failures = active.reports(|recipient| match recipient {
            Recipient::Bounced(outcome) => Some(outcome),
            _ => None,
        });
        let late = self.settings.delay_warning_time > 0 && now >= active.arrival() + self.settings.delay_warning_time;
        let delays = active.reports(|recipient| match recipient {
            Recipient::Deferred(outcome) if late && !active.warned => Some(outcome),
            _ => None,
        });
        let retry_until = (active.arrival() + self.settings.retry.maximal_queue_lifetime) * 1_000_000;
        let mut successes = active.reports(|recipient| match recipient {
            Recipient::Finished(outcome) if outcome.verdict == Verdict::Sent => Some(outcome),
            _ => None,
        });
        successes.retain(|report| report.dsn_notify & Notify::SUCCESS.bits() != 0);
        let wanted = [(Kind::Failure, failures), (Kind::Delay { retry_until }, delays), (Kind::Success, successes)];
        let wanted: Vec<_> = wanted.into_iter().filter(|(_, reports)| !reports.is_empty()).collect();
        if wanted.is_empty() {
            return self.settle(id);
        }
        active.phase = Phase::Telling(wanted.len());
        for (kind, reports) in wanted {
            self.next_notification = self.next_notification.wrapping_add(1);
            let number = self.next_notification;
            self.notifications.insert(number, Notification { message: id, kind, reports });
            self.ask_bounce(number);
        }
    }

    /// Asks `bounce` for a notification, if it is there.
    fn ask_bounce(&mut self, number: u32) {
        let Some(Notification { message, kind, reports }) = self.notifications.get(&number).filter(|_| self.bounce)
        else {
            return;
        };
        let Some(active) = self.active.get(message) else { return };
        let original = Box::new(active.original());
        let begin = ToBounce::Begin { id: number, kind: *kind, original };
        self.actions.push(Action::Bounce(begin, Some(active.body.clone())));
        let mut piece = Vec::new();
        let mut size = 0;
        for report in reports {
            let length = text_length(report);
            if size + length > MAX_PIECE && !piece.is_empty() {
                let recipients = ToBounce::Recipients { id: number, reports: std::mem::take(&mut piece) };
                self.actions.push(Action::Bounce(recipients, None));
                size = 0;
            }
            size += length;
            piece.push(report.clone());
        }
        self.actions.push(Action::Bounce(ToBounce::Recipients { id: number, reports: piece }, None));
        self.actions.push(Action::Bounce(ToBounce::Commit { id: number }, None));
    }

    /// `bounce` is there (again): it is asked for everything that it has not answered.
    pub fn bounce_up(&mut self) {
        self.bounce = true;
        let open: Vec<u32> = self.notifications.keys().copied().collect();
        open.into_iter().for_each(|number| self.ask_bounce(number));
    }

    /// It is gone.
    pub fn bounce_down(&mut self) {
        self.bounce = false;
    }

    /// An answer of `bounce`.
    pub fn told(&mut self, answer: FromBounce) {
        let (number, failed) = match answer {
            FromBounce::Told { id, .. } => (id, None),
            FromBounce::Failed { id, reason } => (id, Some(reason)),
        };
        let Some(Notification { message, kind, .. }) = self.notifications.remove(&number) else { return };
        let Some(active) = self.active.get_mut(&message) else { return };
        if let Some(reason) = &failed {
            self.actions.push(Action::Warning(format!("{message}: no notification: {reason}")));
        }
        match kind {
            Kind::Failure => active.replace(|recipient| match recipient {
                Recipient::Bounced(outcome) if failed.is_some() => Recipient::Deferred(outcome),
                Recipient::Bounced(outcome) => Recipient::Finished(outcome),
                other => other,
            }),
            // The next attempt asks again for one that was not to be had.
            Kind::Delay { .. } => active.warned = failed.is_none(),
            Kind::Success => {}
        }
        if let Phase::Telling(open) = active.phase {
            active.phase = Phase::Telling(open - 1);
            if open == 1 {
                self.settle(message);
            }
        }
    }

    /// Hands the outcomes of an attempt to the log.
    fn settle(&mut self, id: QueueId) {
        let now = self.seconds();
        let Some(active) = self.active.get_mut(&id) else { return };
        active.phase = Phase::Settling;
        self.settled.push(id);
        if active.is_removed() {
            // Nothing else needs to be said of it.
            self.outcomes.push(Outcome::Removed { id, journal: active.sequence });
            self.steps.extend(active.folder.map(|folder| Step::Unlink(id, folder)));
            return;
        }
        active.due = self.settings.retry.next_attempt(now, active.arrival());
        for (number, recipient) in (0u32..).zip(&active.recipients) {
            match recipient {
                Recipient::Finished(_) | Recipient::Bounced(_) => {
                    self.outcomes.push(Outcome::Done { id, recipient: number });
                }
                Recipient::Deferred(Told { dsn, text, .. }) => {
                    let attempt = active.attempts[number as usize] + 1;
                    let (next_attempt, warned) = (active.due, active.warned);
                    let deferral = Deferral { next_attempt, attempt, warned, dsn: dsn.clone(), reason: text.clone() };
                    self.outcomes.push(Outcome::Deferred { id, recipient: number, deferral });
                }
                Recipient::Done | Recipient::Waiting | Recipient::Resolving | Recipient::Queued => {}
            }
        }
        let target = active.target_folder();
        self.steps.extend(active.folder.filter(|folder| *folder != target).map(|from| Step::Move(id, from, target)));
    }

    pub(super) fn committed(&mut self, result: Result<(), (String, Vec<Outcome>, Vec<Step>)>, settled: Vec<QueueId>) {
        if let Err((error, outcomes, steps)) = result {
            // They are true, and are committed again before anything newer.
            self.actions.push(Action::Warning(format!("outcome log: {error}")));
            self.outcomes.splice(..0, outcomes);
            self.steps.splice(..0, steps);
            self.settled.splice(..0, settled);
            self.log_retry = self.seconds() + 1;
            return;
        }
        for id in settled {
            let Some(active) = self.active.get_mut(&id) else {
                self.removed_stored(id);
                continue;
            };
            if active.is_removed() {
                self.removed(id);
            } else if active.folder.is_none() {
                active.phase = Phase::Filing;
                self.order_file(id, Place::Deferred);
            } else {
                active.folder = Some(active.target_folder());
                self.set_aside(id);
            }
        }
    }

    /// The log says that the message is over.
    fn removed(&mut self, id: QueueId) {
        let Some(active) = self.active.remove(&id) else { return };
        self.window.leave(active.admitted);
        self.actions.push(Action::Info(format!("{id}: removed")));
        if active.sequence > 0 {
            self.actions.push(Action::Cleanup(FromQmgr::Done { queue_id: id }));
        }
    }

    /// An active message that has its queue file in the right folder waits there.
    fn set_aside(&mut self, id: QueueId) {
        let Some(active) = self.active.remove(&id) else { return };
        self.window.leave(active.admitted);
        let folder = active.folder.unwrap_or(Folder::Deferred);
        self.store(id, Stored { folder, sequence: active.sequence, due: active.due, loading: false });
    }

    /// Orders a queue file, unless one is under way. For an active message that waits for it alone, its folder is what became
    /// of it.
    pub(super) fn order_file(&mut self, id: QueueId, place: Place) {
        let place = match self.active.get_mut(&id) {
            Some(active) if active.spilling || active.folder.is_some() => return,
            Some(active) => {
                active.spilling = true;
                if active.phase != Phase::Filing {
                    Place::Incoming
                } else if active.fate == Fate::Hold {
                    Place::Hold
                } else {
                    Place::Deferred
                }
            }
            None if self.parked.contains_key(&id) => place,
            None => return,
        };
        self.actions.push(Action::Cleanup(FromQmgr::Spill { queue_id: id, place }));
    }

    /// `cleanup` has made a queue file, or not.
    pub(super) fn spilled(&mut self, id: QueueId, result: Result<Place, String>) {
        if let Some(active) = self.active.get_mut(&id) {
            active.spilling = false;
        }
        match result {
            Ok(place) => {
                let parked = self.parked.remove(&id);
                self.filed(id, folder(place), parked.unwrap_or(0));
                if let Some(sequence) = parked {
                    self.store(id, Stored { folder: folder(place), sequence, due: 0, loading: false });
                }
            }
            Err(error) => {
                self.actions.push(Action::Warning(format!("{id}: no queue file: {error}")));
                self.filing_retry.push((self.seconds() + FILING_RETRY, id, Place::Incoming));
            }
        }
        self.touched.insert(id);
    }

    /// An active message has a queue file.
    pub(super) fn filed(&mut self, id: QueueId, folder: Folder, sequence: Sequence) {
        let Some(active) = self.active.get_mut(&id) else { return };
        active.folder = Some(folder);
        active.sequence = active.sequence.max(sequence);
        match active.phase {
            // It was to lie elsewhere: recovery found a file that was made before.
            Phase::Filing if folder != active.target_folder() => {
                active.phase = Phase::Settling;
                self.steps.push(Step::Move(id, folder, active.target_folder()));
                self.settled.push(id);
            }
            Phase::Filing => self.set_aside(id),
            // The memory file is not needed any more.
            _ => self.reopen.push((id, folder)),
        }
    }
}

/// `soft_bounce`: what failed for good failed for now.
fn soften(recipient: Recipient) -> Recipient {
    match recipient {
        Recipient::Bounced(outcome) => Recipient::Deferred(softened(outcome)),
        other => other,
    }
}

/// The outcome with a status of the class 4, as Postfix's agents report it under `soft_bounce`.
pub(super) fn softened(mut outcome: Told) -> Told {
    if outcome.verdict == Verdict::Bounced {
        outcome.verdict = Verdict::Deferred;
        outcome.dsn.replace_range(..outcome.dsn.len().min(1), "4");
    }
    outcome
}

/// Bytes of text in a report, as [`MAX_PIECE`] counts them.
fn text_length(report: &Report) -> usize {
    let Told { dsn, relay, text, remote_reply, remote_mta, .. } = &report.outcome;
    let optional = [&report.original, &report.dsn_orcpt, remote_reply, remote_mta];
    let optional: usize = optional.into_iter().flatten().map(String::len).sum();
    report.address.len() + dsn.len() + relay.len() + text.len() + optional + 64
}
