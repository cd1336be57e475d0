//! `dovecot-uidlist` and `dovecot-keywords` of an open Maildir: reading, extending and rewriting them under the list's
//! lock.

use std::collections::BTreeSet;

use super::{Folder, Mailbox, ReadList};
use crate::{
    error::{At, Error, Maybe, Result},
    fs::{Fs, Timestamp, read_range, read_whole},
    index::{Change, Stamp, Stamps},
    maildir::{
        dotlock::{self, Dotlock},
        folder, keywords,
        uidlist::{self, Uidlist},
        uidvalidity,
    },
};

pub(super) const UIDLIST: &[u8] = b"dovecot-uidlist";
const KEYWORDS: &[u8] = b"dovecot-keywords";

impl<F: Fs> Mailbox<F> {
    pub(super) fn maildir(&self) -> &folder::Folder<F> {
        match &self.folder {
            Folder::Maildir(folder) => folder,
            Folder::Sdbox(_) => unreachable!("called for a Maildir"),
        }
    }

    /// Writes what was added to the list; drops dead lines when the whole Maildir was seen and enough of them are dead.
    pub(super) fn write_list(&mut self, appended: usize, full: bool, reset: bool, changes: &[Change]) -> Result<()> {
        let Some(read) = &mut self.list else { return Ok(()) };
        if full {
            let before = self.state.records.iter().filter(|_| !reset).map(|r| r.uid);
            let mut live: BTreeSet<u32> = before.collect();
            for change in changes {
                match change {
                    Change::Add(record) => drop(live.insert(record.uid)),
                    Change::Remove { uid, .. } => drop(live.remove(uid)),
                    _ => {}
                }
            }
            if read.inode == 0 || read.list.wants_rewrite(live.len()) {
                read.list.retain(|uid| live.contains(&uid));
                return self.rewrite_list();
            }
        }
        if appended > 0 { self.append_to_list(appended) } else { Ok(()) }
    }

    /// Replaces the list's file with what is in memory. The list's lock is held.
    fn rewrite_list(&mut self) -> Result<()> {
        let fresh = self.fresh_guid()?;
        let (fs, base, mode, sync) = (self.fs(), self.maildir().base.clone(), self.maildir().modes.file, self.syncs());
        let Some(read) = &mut self.list else { return Ok(()) };
        let content = read.list.encode(fresh);
        match dotlock::replace(&*fs, &base, UIDLIST, &content, mode, sync) {
            Ok(meta) => (read.inode, read.size) = (meta.inode, meta.size),
            Err(error) => {
                // UIDs that are not durable are not used.
                self.list = None;
                return Err(error);
            }
        }
        Ok(())
    }

    /// Appends the last `count` lines. The list's lock is held.
    pub(super) fn append_to_list(&mut self, count: usize) -> Result<()> {
        let Some(read) = &self.list else { return Ok(()) };
        if read.inode == 0 || read.list.must_rewrite() {
            return self.rewrite_list();
        }
        let (fs, base, sync) = (self.fs(), self.maildir().base.clone(), self.syncs());
        let lines = read.list.lines();
        let content = uidlist::encode_lines(&lines[lines.len() - count..]);
        let written = (|| {
            let file = fs.open_append(&base, UIDLIST)?;
            // A crash here leaves a torn line, which makes the next writer write the list anew.
            fs.append(&file, &content)?;
            if sync {
                fs.sync_file(&file)?;
            }
            Ok(())
        })();
        if written.is_err() {
            self.list = None;
        } else if let Some(read) = &mut self.list {
            read.size += content.len() as u64;
        }
        written.at("write", UIDLIST)
    }

    /// Reads the list, or what was appended to it, or starts one. Puts a new identity of the mailbox into `changes`.
    pub(super) fn load_list(&mut self, changes: &mut Vec<Change>) -> Result<()> {
        let (fs, base) = (self.fs(), self.maildir().base.clone());
        let file = fs.open(&base, UIDLIST).maybe().at("open", UIDLIST)?;
        let mut loaded = None;
        if let Some(file) = file {
            let meta = fs.stat(&file).at("fstat", UIDLIST)?;
            loaded = match self.list.take() {
                Some(mut read) if read.inode == meta.inode && meta.size >= read.size => {
                    let more = read_range(&*fs, &file, read.size, meta.size - read.size).at("read", UIDLIST)?;
                    read.list.extend(&more).is_ok().then_some(ReadList { size: meta.size, ..read })
                }
                _ => {
                    let content = read_whole(&*fs, &file, uidlist::MAX_FILE).at("read", UIDLIST)?;
                    let parsed = Uidlist::parse(&content).ok();
                    parsed.map(|list| ReadList { list, inode: meta.inode, size: meta.size })
                }
            };
        }
        let mut read = match loaded {
            Some(read) => read,
            None => ReadList { list: self.start_list()?, inode: 0, size: 0 },
        };
        let guid = *read.list.guid.get_or_insert(self.fresh_guid()?);
        if read.list.uid_validity != self.state.uid_validity || guid != self.state.guid {
            let (uid_validity, next_uid) = (read.list.uid_validity, read.list.next_uid);
            if uid_validity != self.state.uid_validity {
                self.pending.reset |= self.state.uid_validity != 0;
                changes.push(Change::Head { uid_validity, next_uid, guid });
            } else {
                self.state.guid = guid;
            }
        }
        self.list = Some(read);
        Ok(())
    }

    /// A list for a mailbox that has none, or a broken one. What the index knows of it still holds: its UIDVALIDITY, and
    /// that UIDs up to some number were given.
    fn start_list(&self) -> Result<Uidlist> {
        let fs = &*self.environment.fs;
        let uid_validity = match self.state.uid_validity {
            0 => {
                let (root, _) = self.location.make(fs)?;
                uidvalidity::next(fs, &root, self.maildir().modes.file, self.syncs())?
            }
            known => known,
        };
        Ok(Uidlist::new(uid_validity, self.state.next_uid.max(1), self.fresh_guid()?))
    }

    /// The keyword names, if the file is another one than at the last look.
    pub(super) fn read_keywords(&self, now: Timestamp) -> Result<Option<(Vec<String>, Stamp)>> {
        let (fs, base) = (&*self.environment.fs, &self.maildir().base);
        let Some(file) = fs.open(base, KEYWORDS).maybe().at("open", KEYWORDS)? else { return Ok(None) };
        let meta = fs.stat(&file).at("fstat", KEYWORDS)?;
        if self.state.stamps.keywords.matches(&meta) {
            return Ok(None);
        }
        let content = read_whole(fs, &file, keywords::MAX_FILE).at("read", KEYWORDS)?;
        Ok(Some((keywords::parse(&content), Stamp::new(meta, now))))
    }

    pub(super) fn name_unknown_keywords(&self, changes: &mut Vec<Change>) {
        let mut names = self.state.keywords.clone();
        let mut used = self.state.records.iter().fold(0, |all, record| all | record.keywords);
        for change in changes.iter() {
            match change {
                Change::Keywords(read) => names.clone_from(read),
                Change::Add(record) => used |= record.keywords,
                Change::Flags { keywords, .. } => used |= keywords,
                _ => {}
            }
        }
        let before = names.clone();
        keywords::name_unknown(&mut names, used);
        if names != before {
            changes.push(Change::Keywords(names));
        }
    }

    /// The numbers of keywords; new ones get letters, written to `dovecot-keywords`. The list's lock is held.
    pub(super) fn keyword_letters(&mut self, wanted: &[String]) -> Result<u64> {
        let (fs, base, mode) = (self.fs(), self.maildir().base.clone(), self.maildir().modes.file);
        let mut names = match self.read_keywords(fs.now())? {
            Some((names, _)) => names,
            None => self.state.keywords.clone(),
        };
        let before = names.clone();
        let mut letters = 0;
        for keyword in wanted {
            let number = keywords::find_or_add(&mut names, keyword, keywords::MAX).ok_or(Error::TooManyKeywords)?;
            letters |= 1 << number;
        }
        if names != before {
            let meta = dotlock::replace(&*fs, &base, KEYWORDS, &keywords::encode(&names), mode, self.syncs())?;
            let stamps = Stamps { keywords: Stamp::new(meta, fs.now()), ..self.state.stamps };
            let _index = self.lock_index()?;
            self.commit(&[Change::Keywords(names), Change::Stamps(stamps)])?;
        } else if names != self.state.keywords {
            let _index = self.lock_index()?;
            self.commit(&[Change::Keywords(names)])?;
        }
        Ok(letters)
    }

    /// Locks the list.
    pub(super) fn lock_list<'a>(&self, fs: &'a F) -> Result<Dotlock<'a, F>> {
        Dotlock::acquire(fs, &self.maildir().base, UIDLIST, self.maildir().modes.file)
    }
}
