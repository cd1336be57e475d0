//! A quiet session as a value, so that another process can hold it and go on with it.
//!
//! What is serialised is input to whoever resumes it: versioned, bounded and checked, and it says nothing about whose
//! session it is.

use serde::{Deserialize, Serialize};

use super::view::View;
use super::{Now, Running, Session, Settings, Statistics};
use crate::limits;
use crate::mailbox::{Access, Mailboxes, Selected};
use crate::name::MailboxName;
use crate::sequence::UidSet;

/// What an idling client is told now and then, so that it and what lies between know that the server lives.
pub const STILL_HERE: &[u8] = b"* OK Still here\r\n";

/// Of what a parked session looks like.
const VERSION: u16 = 2;

/// A session without a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parked {
    version: u16,
    idle: Option<ParkedIdle>,
    selected: Option<ParkedView>,
    condstore: bool,
    saved: UidSet,
    bad_commands: u32,
    statistics: Statistics,
    last_command: Option<String>,
    times: Times,
}

/// The IDLE in progress.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct ParkedIdle {
    tag: Vec<u8>,
    told_ms: u64,
}

/// Moments of the session's clock ([`Now::monotonic_ms`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Times {
    started_ms: u64,
    heard_ms: u64,
    finished_ms: u64,
}

/// The selected mailbox of a parked session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ParkedView {
    pub name: MailboxName,
    pub read_only: bool,
    pub uid_validity: u32,
    pub told_modseq: u64,
    pub told_keywords: u32,
    pub told_recent: u32,
    pub uids: UidSet,
    pub recent: UidSet,
}

/// Why a session cannot go on. The client is told [`ResumeError::BYE`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResumeError {
    /// Made by another version.
    Version(u16),
    /// Not what [`Session::park`] makes; the field.
    Malformed(&'static str),
    /// The mailbox cannot be opened.
    Mailbox(crate::mailbox::Error),
    /// The mailbox is another one under the same name.
    UidValidity,
}

impl ResumeError {
    /// What the client is told, as Dovecot tells it.
    pub const BYE: &'static str = "* BYE IMAP session state is inconsistent, please relogin.\r\n";
}

impl Parked {
    /// The selected mailbox, whose changes have to wake the session if it [idles](Parked::is_idling).
    pub fn mailbox(&self) -> Option<&MailboxName> {
        self.selected.as_ref().map(|view| &view.name)
    }

    /// Whether the client is in IDLE and waits for news.
    pub fn is_idling(&self) -> bool {
        self.idle.is_some()
    }

    fn check(&self) -> Result<(), ResumeError> {
        if self.version != VERSION {
            return Err(ResumeError::Version(self.version));
        }
        let is_tag = |tag: &Vec<u8>| crate::token::split(tag).is_some_and(|line| line.tag == tag);
        if self.idle.as_ref().is_some_and(|idle| !is_tag(&idle.tag)) {
            return Err(ResumeError::Malformed("idle"));
        }
        if self.last_command.as_ref().is_some_and(|name| name.len() > limits::COMMAND) {
            return Err(ResumeError::Malformed("last command"));
        }
        let well_formed = |set: &UidSet| set.is_well_formed() && set.ranges().len() <= limits::PARKED_RANGES;
        if !well_formed(&self.saved) {
            return Err(ResumeError::Malformed("saved"));
        }
        if let Some(view) = &self.selected {
            // A message has a UID below UIDNEXT, and there are never more of them than a store can hold.
            if !well_formed(&view.uids) || view.uids.count() > limits::MAILBOX_MESSAGES {
                return Err(ResumeError::Malformed("uids"));
            }
            if !well_formed(&view.recent) {
                return Err(ResumeError::Malformed("recent"));
            }
            if view.told_keywords as usize > limits::KEYWORDS {
                return Err(ResumeError::Malformed("keywords"));
            }
        }
        Ok(())
    }
}

impl<M: Mailboxes> Session<M> {
    /// Takes the session's state out of it. `None` when something is in progress (a command, a part of one, output) or
    /// when the state is too large to be worth it; the session goes on then. What comes out is to be resumed once.
    pub fn park(&self) -> Option<Parked> {
        let idle = match &self.running {
            Running::Nothing => None,
            Running::Idle { tag, told_ms } => Some(ParkedIdle { tag: tag.clone(), told_ms: *told_ms }),
            Running::Append(_) | Running::Fetch(_) => return None,
        };
        if self.closed || !self.out.is_empty() || !self.framer.is_empty() {
            return None;
        }
        let parked = Parked {
            version: VERSION,
            idle,
            selected: self.selected.as_ref().map(View::park),
            condstore: self.condstore,
            saved: self.saved.clone(),
            bad_commands: self.bad_commands,
            statistics: self.statistics,
            last_command: self.last_command.clone(),
            times: Times { started_ms: self.started_ms, heard_ms: self.heard_ms, finished_ms: self.finished_ms },
        };
        parked.check().is_ok().then_some(parked)
    }

    /// A session that goes on where another left off, on the same clock. News of the meantime is told at the next moment that
    /// allows it: at once if the client idles. An idling client was sent [`STILL_HERE`] `reminders` times meanwhile, each
    /// when it was due.
    ///
    /// # Errors
    /// [`ResumeError`]; what was serialised is not trusted.
    pub fn resume(
        parked: Parked,
        reminders: u64,
        settings: Settings,
        mut mailboxes: M,
        now: Now,
    ) -> Result<Session<M>, ResumeError> {
        parked.check()?;
        let reminded_ms = reminders.saturating_mul(settings.idle_notify_seconds).saturating_mul(1000);
        let selected = match parked.selected {
            None => None,
            Some(view) => {
                let access = Access { read_only: view.read_only, recent: view.recent.clone() };
                let selected = mailboxes.select(&view.name, &access).map_err(ResumeError::Mailbox)?;
                if selected.uid_validity() != view.uid_validity {
                    return Err(ResumeError::UidValidity);
                }
                Some(View::resumed(selected, view))
            }
        };
        let mut session = Session::empty(settings, mailboxes, now);
        session.selected = selected;
        session.condstore = parked.condstore;
        session.saved = parked.saved;
        session.bad_commands = parked.bad_commands;
        session.statistics = parked.statistics;
        let sent = reminders.saturating_mul(STILL_HERE.len() as u64);
        session.statistics.bytes_out = session.statistics.bytes_out.saturating_add(sent);
        session.last_command = parked.last_command;
        // What is not of the past is not from this clock.
        let past = |moment: u64| moment.min(now.monotonic_ms);
        session.started_ms = past(parked.times.started_ms);
        session.heard_ms = past(parked.times.heard_ms);
        session.finished_ms = past(parked.times.finished_ms);
        if let Some(ParkedIdle { tag, told_ms }) = parked.idle {
            session.running = Running::Idle { tag, told_ms: past(told_ms.saturating_add(reminded_ms)) };
            session.notify();
        }
        Ok(session)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parked() -> Parked {
        let uids = UidSet::from_ascending([1, 2, 5]);
        let view = ParkedView {
            name: MailboxName::inbox(),
            read_only: false,
            uid_validity: 7,
            told_modseq: 3,
            told_keywords: 0,
            told_recent: 0,
            uids,
            recent: UidSet::default(),
        };
        Parked {
            version: VERSION,
            idle: Some(ParkedIdle { tag: b"a1".to_vec(), told_ms: 0 }),
            selected: Some(view),
            condstore: false,
            saved: UidSet::default(),
            bad_commands: 0,
            statistics: Statistics::default(),
            last_command: Some("IDLE".into()),
            times: Times { started_ms: 0, heard_ms: 0, finished_ms: 0 },
        }
    }

    fn idle(tag: &[u8]) -> Option<ParkedIdle> {
        Some(ParkedIdle { tag: tag.to_vec(), told_ms: 0 })
    }

    #[test]
    fn every_field_is_checked() {
        assert_eq!(parked().check(), Ok(()));
        let refused = |change: fn(&mut Parked, &mut ParkedView)| {
            let mut parked = parked();
            let mut view = parked.selected.take().unwrap();
            change(&mut parked, &mut view);
            parked.selected = Some(view);
            parked.check().unwrap_err()
        };
        assert_eq!(refused(|parked, _| parked.version = 0), ResumeError::Version(0));
        let malformed = ResumeError::Malformed;
        assert_eq!(refused(|parked, _| parked.idle = idle(b"a\r\n* BYE")), malformed("idle"));
        assert_eq!(refused(|parked, _| parked.idle = idle(b"a b")), malformed("idle"));
        let long =
            |parked: &mut Parked, _: &mut ParkedView| parked.last_command = Some("x".repeat(limits::COMMAND + 1));
        assert_eq!(refused(long), malformed("last command"));
        let scattered = |count: usize| UidSet::from_ascending((1..=count as u32).map(|number| 2 * number));
        assert_eq!(scattered(limits::PARKED_RANGES).ranges().len(), limits::PARKED_RANGES);
        let mut most = parked();
        most.saved = scattered(limits::PARKED_RANGES);
        assert_eq!(most.check(), Ok(()));
        most.saved = scattered(limits::PARKED_RANGES + 1);
        assert_eq!(most.check(), Err(malformed("saved")));
        let many = |_: &mut Parked, view: &mut ParkedView| {
            view.uids = UidSet::from_ranges(vec![(1, limits::MAILBOX_MESSAGES as u32 + 1)]);
        };
        assert_eq!(refused(many), malformed("uids"));
        assert_eq!(refused(|_, view| view.recent = UidSet::from_ranges(vec![(0, 3)])), malformed("recent"));
        assert_eq!(refused(|_, view| view.told_keywords = limits::KEYWORDS as u32 + 1), malformed("keywords"));
    }
}
