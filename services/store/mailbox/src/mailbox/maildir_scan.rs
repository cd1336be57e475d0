//! Following a Maildir that others change.
//!
//! A look at the directories is needed when the modification time of one differs from that of the last look, or when it
//! was so fresh at the last look that a later change would not show (Dovecot's essay at the top of `maildir-sync.c` has
//! the reasons). `new/` is read at once in the second case, `cur/` when a second has passed. While looking,
//! `dovecot-uidlist` is locked, so that nobody else gives UIDs to the messages we see.

use std::{
    collections::{HashMap, hash_map::Entry as Slot},
    io,
};

use super::{Access, Mailbox, maildir_list::UIDLIST};
use crate::{
    error::{At, Error, Maybe, Result},
    fs::{Entry, Fs, Meta, Timestamp},
    index::{Change, Record, Stamp, Stamps},
    maildir::{dotlock::Dotlock, name},
    message::Flags,
};

/// Two links to one file that are older than this are no rename in progress: one of them goes.
const OLD_LINK_SECONDS: i64 = 30;

/// What has to be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Look {
    list: bool,
    new: bool,
    cur: bool,
}

/// A message file that was seen.
struct Found {
    name: Vec<u8>,
    in_new: bool,
    /// It is in `new/`, or we have just moved it from there: no session has shown it yet.
    recent: bool,
}

/// The files by the base of their names.
type Files = HashMap<Vec<u8>, Found>;

impl<F: Fs> Mailbox<F> {
    pub(super) fn scan_maildir_if_changed(&mut self, force: bool) -> Result<()> {
        let look = if force { Look { list: true, new: true, cur: true } } else { self.maildir_changes()? };
        if look == Look::default() {
            return Ok(());
        }
        let (fs, base, mode) = (self.fs(), self.maildir().base.clone(), self.maildir().modes.file);
        let _list = match Dotlock::acquire(&*fs, &base, UIDLIST, mode) {
            Ok(lock) => lock,
            // No space for a lock, or a read-only file system: the messages that are known can be read and deleted.
            Err(Error::Io { .. }) if self.state.uid_validity != 0 && !force => return Ok(()),
            Err(error) => return Err(error),
        };
        let _index = self.lock_index()?;
        let look = if force { look } else { self.maildir_changes()? };
        self.scan_maildir(look)
    }

    /// Looks at everything. Both locks are held.
    pub(super) fn scan_whole_maildir(&mut self) -> Result<()> {
        self.scan_maildir(Look { list: true, new: true, cur: true })
    }

    fn maildir_changes(&self) -> Result<Look> {
        let (fs, folder, stamps) = (&*self.environment.fs, self.maildir(), &self.state.stamps);
        if self.state.uid_validity == 0 {
            return Ok(Look { list: true, new: true, cur: true });
        }
        let new = fs.stat_dir(&folder.new).at("fstat", b"new")?;
        let cur = fs.stat_dir(&folder.cur).at("fstat", b"cur")?;
        let list = fs.stat_at(&folder.base, UIDLIST).maybe().at("stat", UIDLIST)?;
        let left_in_new = || self.access == Access::Select && self.state.records.iter().any(|r| r.in_new);
        Ok(Look {
            list: !list.is_some_and(|list| stamps.list.matches(&list)),
            new: !stamps.new.matches(&new) || !stamps.new.is_settled() || left_in_new(),
            cur: !stamps.cur.matches(&cur) || (!stamps.cur.is_settled() && stamps.cur.can_settle(fs.now())),
        })
    }

    /// Reads the directories and brings list and index up to date. Both locks are held.
    fn scan_maildir(&mut self, look: Look) -> Result<()> {
        let fs = self.fs();
        let started = fs.now();
        let mut files = self.take_new()?;
        let cur_meta = fs.stat_dir(&self.maildir().cur).at("fstat", b"cur")?;
        let lost_from_new = self.state.records.iter().any(|r| r.in_new && !files.contains_key(name::base(&r.name)));
        let full = look.cur || look.list || lost_from_new;
        if full {
            self.read_cur(&mut files)?;
            if self.state.records.iter().any(|r| !files.contains_key(name::base(&r.name))) {
                // A file that is renamed while a directory is read may be missed: only what two looks miss is gone.
                files.extend(self.take_new()?);
                self.read_cur(&mut files)?;
            }
        }
        let keywords = self.read_keywords(started)?;
        let mut changes = self.match_files(files, full, look.list)?;
        let keyword_changes = keywords.map(|(names, stamp)| (Change::Keywords(names), stamp));
        let mut stamps = self.stamps_after(started, full.then_some(cur_meta))?;
        if let Some((change, stamp)) = keyword_changes {
            stamps.keywords = stamp;
            changes.push(change);
        }
        self.name_unknown_keywords(&mut changes);
        changes.push(Change::Stamps(stamps));
        changes.iter().for_each(|change| self.pending.note(change));
        self.commit(&changes)
    }

    /// Reads `new/`; a session that selected the mailbox moves what is there to `cur/`.
    fn take_new(&mut self) -> Result<Files> {
        let (fs, folder) = (self.fs(), self.maildir());
        let (mut files, mut moved) = (Files::new(), false);
        let mut can_move = self.access == Access::Select;
        for Entry { name, .. } in fs.list(&folder.new).at("readdir", b"new")? {
            if !is_message(&name) {
                continue;
            }
            let mut found = Found { name: name.clone(), in_new: true, recent: true };
            if can_move {
                let target = if name.contains(&b':') { name.clone() } else { [&name[..], b":2,"].concat() };
                match fs.rename(&folder.new, &name, &folder.cur, &target) {
                    Ok(()) => moved = true,
                    // Another session moved it.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    // No space, no permission: it stays where it is, and is served from there.
                    Err(_) => can_move = false,
                }
                if can_move {
                    found = Found { name: target, in_new: false, recent: true };
                }
            }
            files.insert(name::base(&name).to_vec(), found);
        }
        if moved && self.syncs() {
            // A crash before this line finds the messages in new/ again. Their new names must be durable before any
            // delivery syncs new/, and with it the loss of the old names.
            fs.sync_dir(&folder.cur).at("fsync", b"cur")?;
        }
        Ok(files)
    }

    /// Adds the files of `cur/`.
    fn read_cur(&self, files: &mut Files) -> Result<()> {
        let (fs, folder) = (&*self.environment.fs, self.maildir());
        for Entry { name, .. } in fs.list(&folder.cur).at("readdir", b"cur")? {
            if name.starts_with(b":") {
                // It has no base: give it one.
                let fresh = self.environment.names.next(fs);
                fs.rename(&folder.cur, &name, &folder.new, &fresh).maybe().at("rename", &name)?;
                continue;
            }
            if !is_message(&name) {
                continue;
            }
            match files.entry(name::base(&name).to_vec()) {
                Slot::Vacant(slot) => drop(slot.insert(Found { name, in_new: false, recent: false })),
                Slot::Occupied(slot) if slot.get().name == name && !slot.get().in_new => {}
                Slot::Occupied(mut slot) => {
                    let other = slot.get();
                    let other_dir = if other.in_new { &folder.new } else { &folder.cur };
                    if self.other_is_stale(other_dir, &other.name, &name)? {
                        slot.insert(Found { name, in_new: false, recent: false });
                    }
                }
            }
        }
        Ok(())
    }

    /// Two names with one base. Says whether the second is the message's name now.
    fn other_is_stale(&self, first_dir: &F::Dir, first: &[u8], second: &[u8]) -> Result<bool> {
        let (fs, folder) = (&*self.environment.fs, self.maildir());
        let Some(one) = fs.stat_at(first_dir, first).maybe().at("stat", first)? else { return Ok(true) };
        let Some(two) = fs.stat_at(&folder.cur, second).maybe().at("stat", second)? else { return Ok(false) };
        if (one.device, one.inode) != (two.device, two.inode) {
            // Two messages: the second gets a base of its own.
            let mut fresh = self.environment.names.next(fs);
            if let Some(at) = memchr::memchr(b',', name::base(second)) {
                fresh.extend_from_slice(&name::base(second)[at..]);
            }
            fs.rename(&folder.cur, second, &folder.new, &fresh).maybe().at("rename", second)?;
            return Ok(false);
        }
        if one.links > 1 && one.changed.plus(OLD_LINK_SECONDS) < fs.now() {
            // One message with two links, as a crash between link and unlink leaves them.
            fs.unlink(first_dir, first).maybe().at("unlink", first)?;
        }
        Ok(true)
    }

    /// Compares what is known with what was found: the heart of following a Maildir.
    fn match_files(&mut self, mut files: Files, full: bool, list_changed: bool) -> Result<Vec<Change>> {
        let modseq = match self.state.highest_modseq {
            0 => Self::first_modseq(self.environment.fs.now()),
            _ => self.next_modseq(),
        };
        let known: HashMap<Vec<u8>, u32> =
            self.state.records.iter().map(|r| (name::base(&r.name).to_vec(), r.uid)).collect();
        let mut changes = Vec::new();
        let loaded = list_changed || files.keys().any(|base| !known.contains_key(base));
        if loaded {
            self.load_list(&mut changes)?;
        }
        let reset = !changes.is_empty();
        let list = self.list.as_ref().filter(|_| list_changed || reset);
        for record in self.state.records.iter().filter(|_| !reset) {
            let base = name::base(&record.name);
            let renumbered = list.is_some_and(|read| read.list.uid(base) != Some(record.uid));
            if renumbered || (full && !files.contains_key(base)) {
                changes.push(Change::Remove { uid: record.uid, modseq });
            } else if let Some(found) = files.remove(base) {
                changes.extend(difference(record, found, modseq));
            }
        }
        let appended = if files.is_empty() { 0 } else { self.add_found(files, reset, modseq, &mut changes)? };
        if loaded {
            // Only now: a list that was read earlier may be older than the file.
            self.write_list(appended, full, reset, &changes)?;
        }
        Ok(changes)
    }

    /// Gives UIDs to the files that are new to us, some of which the list may know. Returns how many lines the list got.
    fn add_found(&mut self, files: Files, reset: bool, modseq: u64, changes: &mut Vec<Change>) -> Result<usize> {
        let first_new = if reset { 1 } else { self.state.next_uid.max(1) };
        let mut first_recent = if reset { 1 } else { self.state.first_recent.max(1) };
        // Whether no message before the next one is recent.
        let mut leading = first_recent >= first_new;
        let read = self.list.as_mut().expect("the list was loaded for the files it has to name");
        read.list.next_uid = read.list.next_uid.max(first_new);
        let (mut adds, mut fresh) = (Vec::new(), Vec::new());
        for (base, found) in files {
            match read.list.uid(&base) {
                Some(uid) if uid >= first_new => adds.push((uid, found, false)),
                // Not in the list, or a message that was gone and came back: a UID is never given twice.
                _ => fresh.push((base, found)),
            }
        }
        fresh.sort_by(|(a, _), (b, _)| name::by_arrival(a, b));
        let appended = fresh.len();
        for (base, found) in fresh {
            let uid = read.list.assign(&base).ok_or(Error::Corrupt {
                object: String::from_utf8_lossy(UIDLIST).into_owned(),
                reason: "no UIDs are left",
            })?;
            adds.push((uid, found, true));
        }
        adds.sort_by_key(|(uid, ..)| *uid);
        for (uid, found, assigned) in adds {
            // Another program has shown a message to its user when it is in cur/ and had a UID.
            leading &= !(assigned || found.recent);
            if leading {
                first_recent = uid + 1;
            }
            changes.push(Change::Add(record(uid, found, modseq)));
        }
        changes.push(Change::Recent { first: first_recent });
        Ok(appended)
    }

    /// The stamps after a look that began at `started`. `cur` is what `cur/` looked like before it was read, if it was.
    fn stamps_after(&self, started: Timestamp, cur: Option<Meta>) -> Result<Stamps> {
        let (fs, folder, before) = (&*self.environment.fs, self.maildir(), self.state.stamps);
        let list = fs.stat_at(&folder.base, UIDLIST).maybe().at("stat", UIDLIST)?;
        let new = fs.stat_dir(&folder.new).at("fstat", b"new")?;
        let cur_now = fs.stat_dir(&folder.cur).at("fstat", b"cur")?;
        let cur = match cur {
            Some(cur) => Stamp::new(cur, started),
            // We moved files there ourselves: fresh, so it will be read again soon.
            None if !before.cur.matches(&cur_now) => Stamp::new(cur_now, started),
            None => before.cur,
        };
        let list = list.map_or_else(Stamp::default, |meta| Stamp::new(meta, started));
        Ok(Stamps { list, keywords: before.keywords, new: Stamp::new(new, started), cur })
    }

    /// Notes that we changed `new/` or `cur/` ourselves, when they looked as expected before. The index's lock is held.
    pub(super) fn own_stamps(&self, before: (bool, bool), started: Timestamp) -> Result<Change> {
        let (fs, folder) = (&*self.environment.fs, self.maildir());
        let mut stamps = self.state.stamps;
        if before.0 {
            stamps.new = Stamp::new(fs.stat_dir(&folder.new).at("fstat", b"new")?, started);
        }
        if before.1 {
            stamps.cur = Stamp::new(fs.stat_dir(&folder.cur).at("fstat", b"cur")?, started);
        }
        if let Some(list) = fs.stat_at(&folder.base, UIDLIST).maybe().at("stat", UIDLIST)?
            && before.0
            && before.1
        {
            stamps.list = Stamp::new(list, started);
        }
        Ok(Change::Stamps(stamps))
    }

    /// Whether `new/` and `cur/` look as at the last look.
    pub(super) fn looks_unchanged(&self) -> Result<(bool, bool)> {
        let (fs, folder, stamps) = (&*self.environment.fs, self.maildir(), &self.state.stamps);
        let new = fs.stat_dir(&folder.new).at("fstat", b"new")?;
        let cur = fs.stat_dir(&folder.cur).at("fstat", b"cur")?;
        Ok((stamps.new.matches(&new), stamps.cur.matches(&cur)))
    }
}

/// Whether a name in `new/` or `cur/` is a message's.
fn is_message(name: &[u8]) -> bool {
    !matches!(name.first(), None | Some(b'.' | b':')) && !name.iter().any(|b| matches!(b, b'\r' | b'\n'))
}

fn record(uid: u32, found: Found, modseq: u64) -> Record {
    let (flags, keywords) = name::flags(&found.name);
    let (physical, virtual_) = (name::size(&found.name, b'S'), name::size(&found.name, b'W'));
    Record { uid, flags, keywords, modseq, physical, virtual_, date: None, name: found.name, in_new: found.in_new }
}

/// What a file's present name says differently.
fn difference(record: &Record, found: Found, modseq: u64) -> Vec<Change> {
    let uid = record.uid;
    let mut changes = Vec::new();
    let (flags, keywords): (Flags, u64) = name::flags(&found.name);
    if (flags, keywords) != (record.flags, record.keywords) {
        changes.push(Change::Flags { uid, flags, keywords, modseq });
    }
    if found.in_new != record.in_new || found.name != record.name {
        changes.push(Change::Name { uid, name: found.name, in_new: found.in_new });
    }
    changes
}
