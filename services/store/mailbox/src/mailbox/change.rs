//! STORE and EXPUNGE.

use super::{Folder, Mailbox};
use crate::{
    error::{At, Maybe, Result},
    fs::Fs,
    index::{Change, Record},
    location::Format,
    maildir::{keywords, name},
    message::Flags,
    sdbox,
};

/// What STORE does with the flags it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpdateMode {
    /// `FLAGS`: these and no others.
    Replace,
    /// `+FLAGS`
    Add,
    /// `-FLAGS`
    Remove,
}

/// A STORE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlagUpdate {
    pub mode: UpdateMode,
    pub flags: Flags,
    pub keywords: Vec<String>,
    /// `UNCHANGEDSINCE` (RFC 7162 §3.1.3).
    pub unchanged_since: Option<u64>,
}

/// What STORE did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stored {
    /// Messages whose flags are different now; they have a new mod-sequence.
    pub changed: Vec<u32>,
    /// Messages that had changed since `UNCHANGEDSINCE` and were left alone.
    pub modified: Vec<u32>,
}

impl FlagUpdate {
    fn apply(&self, record: &Record, keywords: u64) -> (Flags, u64) {
        match self.mode {
            UpdateMode::Replace => (self.flags, keywords),
            UpdateMode::Add => (record.flags | self.flags, record.keywords | keywords),
            UpdateMode::Remove => (record.flags.without(self.flags), record.keywords & !keywords),
        }
    }
}

/// Which directories an operation changed.
#[derive(Default)]
pub(super) struct Touched {
    pub new: bool,
    pub cur: bool,
}

impl<F: Fs> Mailbox<F> {
    /// Changes flags; messages that are gone are passed over. Durable when it returns.
    pub fn store(&mut self, uids: &[u32], update: &FlagUpdate) -> Result<Stored> {
        let keywords = self.keyword_bits(&update.keywords, update.mode != UpdateMode::Remove)?;
        let mut stored = Stored::default();
        let lost = self.store_once(uids, update, keywords, &mut stored)?;
        if !lost.is_empty() {
            // Another program renamed them: look where they are.
            self.scan_if_changed(true)?;
            self.store_once(&lost, update, keywords, &mut stored)?;
        }
        stored.changed.sort_unstable();
        stored.modified.sort_unstable();
        Ok(stored)
    }

    /// Returns the messages whose files were not where they were last seen.
    fn store_once(
        &mut self,
        uids: &[u32],
        update: &FlagUpdate,
        keywords: u64,
        stored: &mut Stored,
    ) -> Result<Vec<u32>> {
        let fs = self.fs();
        let _lock = self.lock_index()?;
        let started = fs.now();
        let unchanged = self.looked_at()?;
        let modseq = self.next_modseq();
        let (mut changes, mut lost, mut touched) = (Vec::new(), Vec::new(), Touched::default());
        let mut failure = None;
        for uid in uids {
            let Some(record) = self.state.find(*uid) else { continue };
            if update.unchanged_since.is_some_and(|since| record.modseq > since) {
                stored.modified.push(*uid);
                continue;
            }
            let (flags, keywords) = update.apply(record, keywords);
            if (flags, keywords) == (record.flags, record.keywords) {
                continue;
            }
            match self.rename_for_flags(record, flags, keywords, &mut touched) {
                Ok(Some(renamed)) => changes.extend(renamed),
                Ok(None) => {
                    lost.push(*uid);
                    continue;
                }
                Err(error) => {
                    failure = Some(error);
                    break;
                }
            }
            changes.push(Change::Flags { uid: *uid, flags, keywords, modseq });
            stored.changed.push(*uid);
        }
        self.finish_change(changes, &touched, unchanged, started)?;
        failure.map_or(Ok(lost), Err)
    }

    /// Gives the file the name that the flags demand. `None` if it is not there.
    fn rename_for_flags(
        &self,
        record: &Record,
        flags: Flags,
        keywords: u64,
        touched: &mut Touched,
    ) -> Result<Option<Option<Change>>> {
        let Folder::Maildir(folder) = &self.folder else { return Ok(Some(None)) };
        let fs = &*self.environment.fs;
        let renamed = name::with_flags(&record.name, flags, keywords);
        let from = if record.in_new { &folder.new } else { &folder.cur };
        let done = fs.rename(from, &record.name, &folder.cur, &renamed).maybe().at("rename", &record.name)?;
        touched.new |= record.in_new;
        touched.cur = true;
        Ok(done.map(|()| Some(Change::Name { uid: record.uid, name: renamed, in_new: false })))
    }

    /// Removes those of the messages (of all, for `None`) that are `\Deleted`. Returns the UIDs that are gone; messages
    /// that somebody else removed come as [`super::Events`]. Durable when it returns.
    pub fn expunge(&mut self, uids: Option<&[u32]>) -> Result<Vec<u32>> {
        let chosen: Vec<u32> = match uids {
            Some(uids) => uids.to_vec(),
            None => self.state.records.iter().map(|record| record.uid).collect(),
        };
        self.remove(&chosen, true)
    }

    /// Removes messages, with `deleted` only those that are `\Deleted`.
    pub(super) fn remove(&mut self, uids: &[u32], deleted: bool) -> Result<Vec<u32>> {
        let mut removed = Vec::new();
        let lost = self.remove_once(uids, deleted, &mut removed)?;
        if !lost.is_empty() {
            self.scan_if_changed(true)?;
            self.remove_once(&lost, deleted, &mut removed)?;
        }
        removed.sort_unstable();
        Ok(removed)
    }

    fn remove_once(&mut self, uids: &[u32], deleted: bool, removed: &mut Vec<u32>) -> Result<Vec<u32>> {
        let fs = self.fs();
        let _lock = self.lock_index()?;
        let started = fs.now();
        let unchanged = self.looked_at()?;
        let modseq = self.next_modseq();
        let (mut changes, mut lost, mut touched, mut failure) = (Vec::new(), Vec::new(), Touched::default(), None);
        for uid in uids {
            let Some(record) = self.state.find(*uid) else { continue };
            if deleted && !record.flags.contains(Flags::DELETED) {
                continue;
            }
            let (dir, file) = match &self.folder {
                Folder::Maildir(f) if record.in_new => (&f.new, record.name.clone()),
                Folder::Maildir(f) => (&f.cur, record.name.clone()),
                Folder::Sdbox(f) => (&f.mails, sdbox::format::file_name(*uid)),
            };
            match fs.unlink(dir, &file).maybe().at("unlink", &file) {
                Ok(Some(())) => {
                    touched.new |= record.in_new;
                    touched.cur |= !record.in_new;
                    changes.push(Change::Remove { uid: *uid, modseq });
                    self.pending.forget(*uid);
                    removed.push(*uid);
                }
                Ok(None) => lost.push(*uid),
                Err(error) => {
                    failure = Some(error);
                    break;
                }
            }
        }
        self.finish_change(changes, &touched, unchanged, started)?;
        failure.map_or(Ok(lost), Err)
    }

    /// Makes a change of files durable and notes it. The index's lock is held.
    fn finish_change(
        &mut self,
        mut changes: Vec<Change>,
        touched: &Touched,
        unchanged: (bool, bool),
        started: crate::fs::Timestamp,
    ) -> Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        if self.syncs() {
            self.sync_touched(touched)?;
        }
        if matches!(self.folder, Folder::Maildir(_)) {
            changes.push(self.own_stamps(unchanged, started)?);
        }
        self.commit(&changes)
    }

    /// A crash before this leaves some of the files under their old names; none is lost. `cur/` goes first: a file that
    /// was moved there from `new/` must not lose its old name before its new one is durable.
    pub(super) fn sync_touched(&self, touched: &Touched) -> Result<()> {
        let fs = &*self.environment.fs;
        let (cur, new) = match &self.folder {
            Folder::Maildir(folder) => (&folder.cur, Some(&folder.new)),
            Folder::Sdbox(folder) => (&folder.mails, None),
        };
        if touched.cur {
            fs.sync_dir(cur).at("fsync", b"cur")?;
        }
        match new.filter(|_| touched.new) {
            Some(new) => fs.sync_dir(new).at("fsync", b"new"),
            None => Ok(()),
        }
    }

    pub(super) fn looked_at(&self) -> Result<(bool, bool)> {
        match self.location.format {
            Format::Maildir => self.looks_unchanged(),
            Format::Sdbox => Ok((false, false)),
        }
    }

    /// The bits of keywords. With `make`, unknown ones get a place; without, they have none.
    pub(super) fn keyword_bits(&mut self, wanted: &[String], make: bool) -> Result<u64> {
        let find = |names: &[String], name: &String| keywords::find(names, name).map(|number| 1u64 << number);
        let known: Vec<Option<u64>> = wanted.iter().map(|name| find(&self.state.keywords, name)).collect();
        if !make || known.iter().all(Option::is_some) {
            return Ok(known.into_iter().flatten().fold(0, |all, bit| all | bit));
        }
        match self.location.format {
            Format::Maildir => {
                let fs = self.fs();
                let _list = self.lock_list(&fs)?;
                self.keyword_letters(wanted)
            }
            Format::Sdbox => {
                let _lock = self.lock_index()?;
                self.keyword_places(wanted)
            }
        }
    }

    /// The bits of keywords of sdbox, whose names are in the index. Its lock is held.
    pub(super) fn keyword_places(&mut self, wanted: &[String]) -> Result<u64> {
        let mut names = self.state.keywords.clone();
        let mut bits = 0;
        for keyword in wanted {
            let number = keywords::find_or_add(&mut names, keyword, super::MAX_KEYWORDS)
                .ok_or(crate::error::Error::TooManyKeywords)?;
            bits |= 1 << number;
        }
        if names != self.state.keywords {
            self.commit(&[Change::Keywords(names)])?;
        }
        Ok(bits)
    }
}
