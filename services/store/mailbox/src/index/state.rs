//! What the index knows of a mailbox, and the one function that changes it.
//!
//! Invariants: records ascend strictly by UID; every UID is below `next_uid`; every mod-sequence is at most
//! `highest_modseq`. [`State::apply`] keeps them whatever change it is given, so a log that lies makes a wrong cache,
//! never a panic.

use serde::{Deserialize, Serialize};

use crate::{
    fs::{Meta, Timestamp},
    message::Flags,
};

/// A change of a directory or file within this time of the look at it may have been missed by the look.
const SETTLE_SECONDS: i64 = 1;

/// What a file or directory looked like when it was last read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Stamp {
    inode: u64,
    size: u64,
    modified: Timestamp,
    /// When the look began.
    seen: Timestamp,
}

impl Stamp {
    pub fn new(meta: Meta, seen: Timestamp) -> Self {
        Self { inode: meta.inode, size: meta.size, modified: meta.modified, seen }
    }

    /// Whether it still looks the same.
    pub fn matches(&self, meta: &Meta) -> bool {
        (self.inode, self.size, self.modified) == (meta.inode, meta.size, meta.modified)
    }

    /// Whether a later change shows for certain in the time stamp.
    pub fn is_settled(&self) -> bool {
        self.modified.plus(SETTLE_SECONDS) < self.seen
    }

    /// Whether enough time has passed that another look settles it.
    pub fn can_settle(&self, now: Timestamp) -> bool {
        self.modified.plus(SETTLE_SECONDS) < now
    }
}

/// The stamps of all that a mailbox is read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Stamps {
    /// `dovecot-uidlist`; unused in sdbox.
    pub list: Stamp,
    /// `dovecot-keywords`; unused in sdbox.
    pub keywords: Stamp,
    /// `new/`; unused in sdbox.
    pub new: Stamp,
    /// `cur/`, or sdbox's folder of messages.
    pub cur: Stamp,
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Record {
    pub uid: u32,
    pub flags: Flags,
    /// Bit n is keyword n of the mailbox.
    pub keywords: u64,
    pub modseq: u64,
    /// Bytes on disk, of the message alone; `None` until somebody asked.
    pub physical: Option<u64>,
    /// Bytes with CRLF line ends (`RFC822.SIZE`).
    pub virtual_: Option<u64>,
    /// `INTERNALDATE`, seconds since 1970.
    pub date: Option<i64>,
    /// The file's name; empty in sdbox, where the UID names the file.
    pub name: Vec<u8>,
    /// Whether it is still in `new/`.
    pub in_new: bool,
}

/// A mailbox as last seen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct State {
    pub uid_validity: u32,
    pub next_uid: u32,
    /// Messages from this UID on are `\Recent` for the next session that selects the mailbox.
    pub first_recent: u32,
    pub highest_modseq: u64,
    pub guid: [u8; 16],
    /// Keyword n; an empty name is a free place.
    pub keywords: Vec<String>,
    pub stamps: Stamps,
    pub records: Vec<Record>,
}

/// One step of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// The mailbox's identity and its next UID.
    Head {
        uid_validity: u32,
        next_uid: u32,
        guid: [u8; 16],
    },
    /// A session has seen everything below as recent.
    Recent {
        first: u32,
    },
    Keywords(Vec<String>),
    Stamps(Stamps),
    /// A new message; its UID is above all others.
    Add(Record),
    Remove {
        uid: u32,
        modseq: u64,
    },
    Flags {
        uid: u32,
        flags: Flags,
        keywords: u64,
        modseq: u64,
    },
    /// The file has another name or place; that is no change for a client.
    Name {
        uid: u32,
        name: Vec<u8>,
        in_new: bool,
    },
    /// What was found out about a message.
    Facts {
        uid: u32,
        physical: Option<u64>,
        virtual_: Option<u64>,
        date: Option<i64>,
    },
}

impl State {
    /// The place of a UID in `records`, or where it would be.
    pub fn position(&self, uid: u32) -> Result<usize, usize> {
        self.records.binary_search_by_key(&uid, |r| r.uid)
    }

    pub fn find(&self, uid: u32) -> Option<&Record> {
        self.position(uid).ok().map(|at| &self.records[at])
    }

    /// Applies one change; one that does not fit (an unknown UID, a UID out of order) has no effect.
    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::Head { uid_validity, next_uid, guid } => {
                if self.uid_validity != *uid_validity {
                    self.records.clear();
                    self.first_recent = 1;
                    self.next_uid = 1;
                }
                self.uid_validity = *uid_validity;
                self.next_uid = self.next_uid.max(*next_uid);
                self.guid = *guid;
            }
            Change::Recent { first } => self.first_recent = self.first_recent.max(*first),
            Change::Keywords(names) => self.keywords.clone_from(names),
            Change::Stamps(stamps) => self.stamps = *stamps,
            Change::Add(record) => {
                if self.records.last().is_none_or(|last| last.uid < record.uid) && record.uid < u32::MAX {
                    self.next_uid = self.next_uid.max(record.uid + 1);
                    self.highest_modseq = self.highest_modseq.max(record.modseq);
                    self.records.push(record.clone());
                }
            }
            Change::Remove { uid, modseq } => {
                if let Ok(at) = self.position(*uid) {
                    self.records.remove(at);
                    self.highest_modseq = self.highest_modseq.max(*modseq);
                }
            }
            Change::Flags { uid, flags, keywords, modseq } => {
                if let Ok(at) = self.position(*uid) {
                    let record = &mut self.records[at];
                    (record.flags, record.keywords, record.modseq) = (*flags, *keywords, *modseq);
                    self.highest_modseq = self.highest_modseq.max(*modseq);
                }
            }
            Change::Name { uid, name, in_new } => {
                if let Ok(at) = self.position(*uid) {
                    self.records[at].name.clone_from(name);
                    self.records[at].in_new = *in_new;
                }
            }
            Change::Facts { uid, physical, virtual_, date } => {
                if let Ok(at) = self.position(*uid) {
                    let record = &mut self.records[at];
                    record.physical = physical.or(record.physical);
                    record.virtual_ = virtual_.or(record.virtual_);
                    record.date = date.or(record.date);
                }
            }
        }
    }

    /// Applies many changes. Removals are done together, so that expunging a whole mailbox is not quadratic.
    pub fn apply_all(&mut self, changes: &[Change]) {
        let mut gone = Vec::new();
        for change in changes {
            match change {
                Change::Remove { uid, modseq } => {
                    gone.push(*uid);
                    self.highest_modseq = self.highest_modseq.max(*modseq);
                }
                other => self.apply(other),
            }
        }
        if !gone.is_empty() {
            gone.sort_unstable();
            self.records.retain(|record| gone.binary_search(&record.uid).is_err());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(uid: u32) -> Change {
        Change::Add(Record { uid, modseq: u64::from(uid), ..Record::default() })
    }

    #[test]
    fn a_lying_log_cannot_break_the_order() {
        let mut state = State::default();
        state.apply_all(&[add(3), add(2), add(3), add(7), add(u32::MAX)]);
        assert_eq!(state.records.iter().map(|r| r.uid).collect::<Vec<_>>(), [3, 7]);
        assert_eq!((state.next_uid, state.highest_modseq), (8, 7));
        state.apply(&Change::Flags { uid: 5, flags: Flags::SEEN, keywords: 0, modseq: 9 });
        assert_eq!(state.highest_modseq, 7);
        state.apply(&Change::Head { uid_validity: 0, next_uid: 2, guid: [1; 16] });
        assert_eq!(state.next_uid, 8);
        state.apply(&Change::Head { uid_validity: 5, next_uid: 2, guid: [1; 16] });
        assert_eq!((state.records.len(), state.next_uid), (0, 2));
    }

    #[test]
    fn a_look_settles_after_a_second() {
        let at = |secs| Timestamp { secs, nanos: 5 };
        let meta = Meta {
            device: 1,
            inode: 2,
            size: 3,
            links: 1,
            mode: 0,
            modified: at(10),
            changed: at(10),
            kind: crate::fs::EntryKind::Directory,
        };
        assert!(!Stamp::new(meta, at(11)).is_settled());
        assert!(Stamp::new(meta, at(12)).is_settled());
        assert!(!Stamp::default().matches(&meta));
    }
}
