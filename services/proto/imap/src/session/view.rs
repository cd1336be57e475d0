//! The selected mailbox as the client knows it, and how the client learns of changes.
//!
//! The view holds the UIDs behind the client's sequence numbers. The store's messages may be ahead of it: messages that
//! others expunged stay in the view until a moment at which the client may be told.

use std::borrow::Cow;

use super::Failure;
use crate::command::MessageSet;
use crate::flag::Flags;
use crate::mailbox::{Message, Selected};
use crate::name::MailboxName;
use crate::response;
use crate::sequence::UidSet;

/// A selected mailbox.
pub(super) struct View<S> {
    pub selected: S,
    pub name: MailboxName,
    pub read_only: bool,
    uid_validity: u32,
    /// The UID of each sequence number, which is its index and one.
    uids: Vec<u32>,
    /// Changes up to this mod-sequence were told.
    told_modseq: u64,
    told_keywords: usize,
    told_recent: u32,
    /// Something is known and not told yet.
    owing: bool,
    /// Messages whose flags the client knows by its own doing, and the mod-sequence that it gave them.
    own: Vec<u32>,
    own_modseq: u64,
}

/// What may be told.
pub(super) struct News {
    /// Messages that are gone.
    pub expunges: bool,
    /// FETCH replies with UIDs, as the answer to a UID command has them.
    pub uid: bool,
    /// FETCH replies with mod-sequences.
    pub condstore: bool,
}

impl<S: Selected> View<S> {
    /// A view in which all is told.
    pub fn new(selected: S, name: MailboxName, read_only: bool) -> View<S> {
        let uids: Vec<u32> = selected.messages().iter().map(|message| message.uid).collect();
        let mut view = View {
            uid_validity: selected.uid_validity(),
            told_modseq: selected.highest_modseq(),
            told_keywords: selected.keywords().len(),
            told_recent: 0,
            owing: false,
            own: Vec::new(),
            own_modseq: 0,
            uids,
            selected,
            name,
            read_only,
        };
        view.told_recent = view.recent();
        view
    }

    /// A view as another process had it.
    pub fn resumed(selected: S, parked: super::park::ParkedView) -> View<S> {
        View {
            uid_validity: parked.uid_validity,
            told_modseq: parked.told_modseq,
            told_keywords: parked.told_keywords as usize,
            told_recent: parked.told_recent,
            owing: true,
            own: Vec::new(),
            own_modseq: 0,
            uids: parked.uids.iter().collect(),
            selected,
            name: parked.name,
            read_only: parked.read_only,
        }
    }

    /// What another process needs to go on.
    pub fn park(&self) -> super::park::ParkedView {
        let recent = self.selected.messages().iter().filter(|message| message.flags.contains(Flags::RECENT));
        super::park::ParkedView {
            name: self.name.clone(),
            read_only: self.read_only,
            uid_validity: self.uid_validity,
            told_modseq: self.told_modseq,
            told_keywords: self.told_keywords as u32,
            told_recent: self.told_recent,
            uids: UidSet::from_ascending(self.uids.iter().copied()),
            recent: UidSet::from_ascending(recent.map(|message| message.uid)),
        }
    }

    /// How many messages the client knows.
    pub fn count(&self) -> u32 {
        self.uids.len() as u32
    }

    /// The UID behind a sequence number, which has to be in the view.
    pub fn uid(&self, sequence: u32) -> u32 {
        self.uids[sequence as usize - 1]
    }

    pub fn highest_modseq(&self) -> u64 {
        self.selected.highest_modseq()
    }

    /// The store's message behind a sequence number, with its index; `None` if it is expunged.
    pub fn message(&self, sequence: u32) -> Option<(usize, Message)> {
        let uid = self.uid(sequence);
        let messages = self.selected.messages();
        let guess = sequence as usize - 1;
        let index = match messages.get(guess) {
            Some(message) if message.uid == uid => guess,
            _ => messages.binary_search_by_key(&uid, |message| message.uid).ok()?,
        };
        Some((index, messages[index]))
    }

    /// How many messages in the view are `\Recent`.
    pub fn recent(&self) -> u32 {
        let last = self.uids.last().copied().unwrap_or(0);
        let messages = self.selected.messages().iter().take_while(|message| message.uid <= last);
        messages.filter(|message| message.flags.contains(Flags::RECENT)).count() as u32
    }

    /// The first message without `\Seen`.
    pub fn first_unseen(&self) -> Option<u32> {
        let unseen =
            |sequence: &u32| self.message(*sequence).is_some_and(|(_, message)| !message.flags.contains(Flags::SEEN));
        (1..=self.count()).find(unseen)
    }

    /// The sequence numbers that a command means. With `uid`, numbers without a message mean nothing; without, they are
    /// an error.
    pub fn sequences(&self, set: &MessageSet, uid: bool, saved: &UidSet) -> Result<UidSet, Failure> {
        match set {
            MessageSet::Saved => Ok(self.sequences_of(saved)),
            MessageSet::Numbers(set) if uid => {
                Ok(self.sequences_of(&set.resolve(self.uids.last().copied().unwrap_or(0))))
            }
            MessageSet::Numbers(set) if set.is_within(self.count()) => Ok(set.resolve(self.count())),
            MessageSet::Numbers(_) => Err(Failure::Syntax(Cow::Borrowed("Invalid messageset"))),
        }
    }

    /// The sequence numbers of the UIDs in the view.
    pub fn sequences_of(&self, uids: &UidSet) -> UidSet {
        let below = |uid: u32| self.uids.partition_point(|known| *known < uid) as u32;
        let through = |uid: u32| self.uids.partition_point(|known| *known <= uid) as u32;
        let ranges = uids.ranges().iter().map(|(first, last)| (below(*first) + 1, through(*last)));
        UidSet::from_ranges(ranges.filter(|(first, last)| first <= last).collect())
    }

    /// The client changed flags itself and knows the result: only a later change by somebody else is news.
    pub fn keep_silent(&mut self, uids: Vec<u32>, modseq: u64) {
        self.own = uids;
        self.own_modseq = modseq;
    }

    /// Brings the store up to date and writes what may be told, in this order: keywords, flags, expunges, new messages.
    pub fn tell(&mut self, news: &News, out: &mut Vec<u8>) -> Result<(), Failure> {
        let changed = self.selected.sync()?;
        if !changed && !self.owing {
            return Ok(());
        }
        if self.selected.uid_validity() != self.uid_validity {
            return Err(Failure::Bye("IMAP session state is inconsistent, please relogin."));
        }
        if self.selected.keywords().len() > self.told_keywords {
            self.told_keywords = self.selected.keywords().len();
            self.write_flags(out);
        }
        let gone = self.tell_flags(news, out);
        self.owing = !gone.is_empty() && !news.expunges;
        if news.expunges {
            self.tell_expunges(&gone, out);
        }
        self.tell_new(out);
        self.told_modseq = self.selected.highest_modseq();
        self.own = Vec::new();
        Ok(())
    }

    /// Writes FETCH for every message that changed; returns the sequence numbers of those that are gone.
    fn tell_flags(&self, news: &News, out: &mut Vec<u8>) -> Vec<u32> {
        let mut gone = Vec::new();
        let mut messages = self.selected.messages().iter().peekable();
        for (sequence, uid) in (1..).zip(&self.uids) {
            while messages.next_if(|message| message.uid < *uid).is_some() {}
            let Some(message) = messages.next_if(|message| message.uid == *uid) else {
                gone.push(sequence);
                continue;
            };
            if message.modseq <= self.told_modseq {
                continue;
            }
            let silent = message.modseq == self.own_modseq && self.own.binary_search(uid).is_ok();
            if !silent || news.condstore {
                self.write_fetch(sequence, message, !silent, news, out);
            }
        }
        gone
    }

    fn write_fetch(&self, sequence: u32, message: &Message, flags: bool, news: &News, out: &mut Vec<u8>) {
        out.extend_from_slice(b"* ");
        response::number(out, u64::from(sequence));
        out.extend_from_slice(b" FETCH (");
        let start = out.len();
        if news.uid {
            response::word(out, start, "UID ");
            response::number(out, u64::from(message.uid));
        }
        if news.condstore {
            response::word(out, start, "MODSEQ (");
            response::number(out, message.modseq);
            out.push(b')');
        }
        if flags {
            response::word(out, start, "FLAGS (");
            response::flags(out, message.flags, message.keywords, self.selected.keywords());
            out.push(b')');
        }
        out.extend_from_slice(b")\r\n");
    }

    /// From the last to the first, so that every number is still the one the client knows.
    fn tell_expunges(&mut self, gone: &[u32], out: &mut Vec<u8>) {
        if gone.is_empty() {
            return;
        }
        for sequence in gone.iter().rev() {
            response::untagged_number(out, u64::from(*sequence), "EXPUNGE");
        }
        let mut sequence = 0;
        let mut gone = gone.iter().peekable();
        self.uids.retain(|_| {
            sequence += 1;
            gone.next_if(|number| **number == sequence).is_none()
        });
    }

    fn tell_new(&mut self, out: &mut Vec<u8>) {
        let last = self.uids.last().copied().unwrap_or(0);
        let before = self.uids.len();
        let messages = self.selected.messages();
        let new = &messages[messages.partition_point(|message| message.uid <= last)..];
        self.uids.extend(new.iter().map(|message| message.uid));
        if self.uids.len() > before {
            response::untagged_number(out, u64::from(self.count()), "EXISTS");
        }
        // A message that is gone still counts as long as the client knows it.
        let recent = self.recent();
        if recent != self.told_recent && !self.owing {
            self.told_recent = recent;
            response::untagged_number(out, u64::from(recent), "RECENT");
        }
    }

    /// Writes FLAGS and PERMANENTFLAGS.
    pub fn write_flags(&self, out: &mut Vec<u8>) {
        const SETTABLE: &str = "\\Answered \\Flagged \\Deleted \\Seen \\Draft";
        let keywords = self.selected.keywords();
        let write = |out: &mut Vec<u8>| {
            out.extend_from_slice(SETTABLE.as_bytes());
            for keyword in keywords {
                out.push(b' ');
                out.extend_from_slice(keyword.as_bytes());
            }
        };
        out.extend_from_slice(b"* FLAGS (");
        write(out);
        out.extend_from_slice(b")\r\n");
        if self.read_only {
            return response::untagged(out, "OK [PERMANENTFLAGS ()] Read-only mailbox.");
        }
        out.extend_from_slice(b"* OK [PERMANENTFLAGS (");
        write(out);
        if self.selected.can_create_keywords() {
            out.extend_from_slice(b" \\*");
        }
        out.extend_from_slice(b")] Flags permitted.\r\n");
    }
}
