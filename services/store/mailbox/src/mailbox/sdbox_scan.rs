//! Following an sdbox mailbox. The index is the truth; the files are looked at to find what it lacks: messages that a
//! crash left without an entry, or that somebody put there or took away, or all of them when there is no index.

use std::collections::BTreeSet;

use super::{Folder, Mailbox};
use crate::{
    error::{At, Maybe, Result},
    fs::Fs,
    index::{Change, Record, Stamp, Stamps},
    maildir::uidvalidity,
    sdbox::{folder, format},
};

impl<F: Fs> Mailbox<F> {
    pub(super) fn sdbox(&self) -> &folder::Folder<F> {
        match &self.folder {
            Folder::Sdbox(folder) => folder,
            Folder::Maildir(_) => unreachable!("called for sdbox"),
        }
    }

    pub(super) fn scan_sdbox_if_changed(&mut self, force: bool) -> Result<()> {
        if force || self.sdbox_changed()? {
            let _lock = self.lock_index()?;
            if force || self.sdbox_changed()? {
                self.scan_sdbox()?;
            }
        }
        Ok(())
    }

    fn sdbox_changed(&self) -> Result<bool> {
        let meta = self.environment.fs.stat_dir(&self.sdbox().mails).at("fstat", b"mailbox")?;
        let stamp = &self.state.stamps.cur;
        let settle = !stamp.is_settled() && stamp.can_settle(self.environment.fs.now());
        Ok(self.state.uid_validity == 0 || !stamp.matches(&meta) || settle)
    }

    /// Compares index and files. The index's lock is held.
    pub(super) fn scan_sdbox(&mut self) -> Result<()> {
        let fs = self.fs();
        if self.state.uid_validity == 0 {
            self.start_sdbox()?;
        }
        let started = fs.now();
        let meta = fs.stat_dir(&self.sdbox().mails).at("fstat", b"mailbox")?;
        let files: BTreeSet<u32> = self.sdbox().sweep(&fs)?.into_iter().collect();
        let modseq = self.next_modseq();
        let mut changes: Vec<Change> = self
            .state
            .records
            .iter()
            .filter(|record| !files.contains(&record.uid))
            .map(|record| Change::Remove { uid: record.uid, modseq })
            .collect();
        let unknown: Vec<u32> = files.into_iter().filter(|uid| self.state.find(*uid).is_none()).collect();
        let mut next = self.state.next_uid.max(unknown.last().map_or(1, |last| last + 1));
        let mut renamed = false;
        for uid in unknown {
            let uid = if uid >= self.state.next_uid {
                uid
            } else {
                // A UID that was given before is not given again, but nothing is thrown away either.
                let (from, to) = (format::file_name(uid), format::file_name(next));
                fs.rename(&self.sdbox().mails, &from, &self.sdbox().mails, &to).at("rename", &from)?;
                renamed = true;
                next += 1;
                next - 1
            };
            if let Some(record) = self.read_record(uid, modseq)? {
                changes.push(Change::Add(record));
            }
        }
        if renamed && self.syncs() {
            fs.sync_dir(&self.sdbox().mails).at("fsync", b"mailbox")?;
        }
        let cur = if renamed { Stamp::default() } else { Stamp::new(meta, started) };
        changes.sort_by_key(|change| if let Change::Add(record) = change { record.uid } else { 0 });
        changes.iter().for_each(|change| self.pending.note(change));
        if !changes.is_empty() {
            self.commit(&changes)?;
        }
        self.commit_hint(&[Change::Stamps(Stamps { cur, ..self.state.stamps })])
    }

    /// A mailbox without an index gets a new UIDVALIDITY: UIDs that were expunged are not known any more.
    fn start_sdbox(&mut self) -> Result<()> {
        let fs = self.fs();
        let (root, _) = self.location.make(&fs)?;
        let uid_validity = uidvalidity::next(&*fs, &root, self.sdbox().modes.file, self.syncs())?;
        self.state.highest_modseq = Self::first_modseq(fs.now());
        let guid = self.fresh_guid()?;
        self.commit(&[Change::Head { uid_validity, next_uid: 1, guid }])?;
        // The index's own files changed the directory.
        Ok(())
    }

    /// What a message file says. `None` if it is gone or none: it is left alone.
    fn read_record(&self, uid: u32, modseq: u64) -> Result<Option<Record>> {
        let (fs, name) = (&*self.environment.fs, format::file_name(uid));
        let Some(file) = fs.open(&self.sdbox().mails, &name).maybe().at("open", &name)? else { return Ok(None) };
        let Ok(layout) = format::parse(fs, &file) else { return Ok(None) };
        let date = match layout.received {
            Some(date) => date,
            None => fs.stat(&file).at("fstat", &name)?.modified.secs,
        };
        Ok(Some(Record {
            uid,
            modseq,
            physical: Some(layout.length),
            virtual_: layout.virtual_size,
            date: Some(date),
            ..Record::default()
        }))
    }
}
