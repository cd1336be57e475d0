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

/// Of what a parked session looks like.
const VERSION: u16 = 1;

/// A session without a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parked {
    version: u16,
    /// The tag of the IDLE in progress.
    idle: Option<Vec<u8>>,
    selected: Option<ParkedView>,
    condstore: bool,
    saved: UidSet,
    bad_commands: u32,
    statistics: Statistics,
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
        if self.idle.as_ref().is_some_and(|tag| crate::token::split(tag).is_none_or(|line| line.tag != tag)) {
            return Err(ResumeError::Malformed("idle"));
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
            Running::Idle { tag, .. } => Some(tag.clone()),
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
        };
        parked.check().is_ok().then_some(parked)
    }

    /// A session that goes on where another left off. News of the meantime is told at the next moment that allows it: at
    /// once if the client idles.
    pub fn resume(parked: Parked, settings: Settings, mut mailboxes: M, now: Now) -> Result<Session<M>, ResumeError> {
        parked.check()?;
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
        if let Some(tag) = parked.idle {
            session.running = Running::Idle { tag, told_ms: now.monotonic_ms };
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
            idle: Some(b"a1".to_vec()),
            selected: Some(view),
            condstore: false,
            saved: UidSet::default(),
            bad_commands: 0,
            statistics: Statistics::default(),
        }
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
        assert_eq!(refused(|parked, _| parked.idle = Some(b"a\r\n* BYE".to_vec())), malformed("idle"));
        assert_eq!(refused(|parked, _| parked.idle = Some(b"a b".to_vec())), malformed("idle"));
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
