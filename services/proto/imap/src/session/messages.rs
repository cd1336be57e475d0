//! Commands that change messages: STORE, EXPUNGE, COPY, MOVE.

use super::{Done, Failure, NO_MAILBOX, Session};
use crate::command::{MessageSet, Store, StoreMode};
use crate::flag::Flags;
use crate::mailbox::{FlagChange, Mailboxes, Selected};
use crate::name::MailboxName;
use crate::response;
use crate::sequence::UidSet;

impl<M: Mailboxes> Session<M> {
    /// The answer to STORE is the news about the messages that really changed, as in Dovecot.
    pub(super) fn store(&mut self, store: &Store) -> Result<Done, Failure> {
        let view = self.selected.as_mut().ok_or(NO_MAILBOX)?;
        let sequences = view.sequences(&store.set, store.uid, &self.saved)?;
        if view.read_only {
            return Ok(Done::Plain("OK Store ignored with read-only mailbox".into()));
        }
        if store.unchanged_since.is_some() {
            self.enable_condstore();
        }
        let view = self.selected.as_mut().ok_or(NO_MAILBOX)?;
        let change = FlagChange {
            mode: store.mode,
            flags: store.flags.flags,
            keywords: &store.flags.keywords,
            unchanged_since: store.unchanged_since,
        };
        let uids: Vec<u32> = sequences.iter().map(|sequence| view.uid(sequence)).collect();
        let stored = view.selected.store(&uids, &change)?;
        if store.mode != StoreMode::Remove && store.flags.flags.contains(Flags::DELETED) {
            self.statistics.deleted += (uids.len() - stored.conflicts.len()) as u64;
        }
        let mut text = b"OK ".to_vec();
        if !stored.conflicts.is_empty() {
            // The numbers are of the kind that the command used (RFC 7162 section 3.1.3).
            let conflicts = UidSet::from_ascending(stored.conflicts);
            let named = if store.uid { conflicts } else { view.sequences_of(&conflicts) };
            text.extend_from_slice(b"[MODIFIED ");
            response::uid_set(&mut text, &named);
            text.extend_from_slice(b"] Conditional store failed");
        } else {
            text.extend_from_slice(b"Store completed");
        }
        if store.silent {
            view.keep_silent(uids, stored.modseq);
        }
        let text = String::from_utf8_lossy(&text).into_owned();
        Ok(Done::Sync { text: text.into(), expunges: store.uid, uid: store.uid })
    }

    pub(super) fn expunge(&mut self, set: Option<&MessageSet>) -> Result<Done, Failure> {
        let view = self.selected.as_mut().ok_or(NO_MAILBOX)?;
        let only = match set {
            None => None,
            Some(set) => {
                let sequences = view.sequences(set, true, &self.saved)?;
                Some(UidSet::from_ascending(sequences.iter().map(|sequence| view.uid(sequence))))
            }
        };
        if !view.read_only {
            let before = view.count();
            view.selected.expunge(only.as_ref())?;
            self.tell_news(true, set.is_some());
            let after = self.selected.as_ref().map_or(before, |view| view.count());
            self.statistics.expunged += u64::from(before.saturating_sub(after));
        }
        Ok(Done::Sync { text: "OK Expunge completed".into(), expunges: true, uid: set.is_some() })
    }

    /// COPY answers with COPYUID at its end, MOVE before the messages go (RFC 4315, RFC 6851 section 4.3).
    pub(super) fn copy(
        &mut self,
        set: &MessageSet,
        uid: bool,
        to: &MailboxName,
        remove: bool,
    ) -> Result<Done, Failure> {
        let view = self.selected.as_mut().ok_or(NO_MAILBOX)?;
        let sequences = view.sequences(set, uid, &self.saved)?;
        if remove && view.read_only {
            return Err(Failure::No("[READ-ONLY] Mailbox is read-only".into()));
        }
        if sequences.is_empty() {
            return Ok(Done::Sync { text: "OK No messages found".into(), expunges: true, uid });
        }
        to.check_levels(self.mailboxes.separator()).map_err(|text| Failure::No(format!("[CANNOT] {text}").into()))?;
        let uids: Vec<u32> = sequences.iter().map(|sequence| view.uid(sequence)).collect();
        let copied = self.mailboxes.copy(&mut view.selected, &uids, to, remove);
        let copied = copied.map_err(|error| Failure::with_missing(error, "TRYCREATE"))?;
        let mut code = format!("[COPYUID {} ", copied.uid_validity).into_bytes();
        response::uid_set(&mut code, &copied.from);
        code.push(b' ');
        response::uid_set(&mut code, &copied.to);
        code.push(b']');
        let code = String::from_utf8_lossy(&code);
        let text = if remove {
            self.statistics.expunged += copied.from.count();
            response::untagged(&mut self.out, &format!("OK {code} Moved UIDs."));
            "OK Move completed".to_owned()
        } else {
            format!("OK {code} Copy completed")
        };
        Ok(Done::Sync { text: text.into(), expunges: true, uid })
    }
}
