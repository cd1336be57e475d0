//! One open mailbox, for one session.
//!
//! Every operation works on the mailbox as it is, and takes over what other sessions and programs did to it; the session
//! is told of that, and of its own new messages, as [`Events`] by [`Mailbox::sync`]: a client's numbering of messages
//! changes there and at its own EXPUNGE, nowhere else. An operation that returns `Ok` is durable unless `mail_fsync` is
//! `never`.
//!
//! Locks are taken in this order and never the other way round: `dovecot-uidlist.lock` (Maildir), then the index's lock.

use std::{collections::BTreeSet, io, mem, sync::Arc};

use crate::{
    error::{At, Error, Result},
    fs::{Fs, Timestamp},
    index::{
        Change, Index, Record, Refreshed, State,
        cache::{Cache, CacheKind},
    },
    location::{Format, Fsync, Location, MailboxName},
    maildir::{self, keywords, name::Names, uidlist::Uidlist},
    message::Flags,
    sdbox,
};

mod add;
mod change;
mod content;
mod maildir_list;
mod maildir_scan;
mod sdbox_scan;
mod stream;

pub use add::{Addition, Copied, Staged};
pub use change::{FlagUpdate, Stored, UpdateMode};
pub use content::{Content, Facts};
pub use stream::Incoming;

/// Keywords of one mailbox in a format that does not limit them itself.
pub const MAX_KEYWORDS: usize = 64;

/// What everything that opens mailboxes shares.
pub struct Environment<F: Fs> {
    pub fs: Arc<F>,
    pub names: Arc<Names>,
    pub fsync: Fsync,
}

impl<F: Fs> Clone for Environment<F> {
    fn clone(&self) -> Self {
        Self { fs: self.fs.clone(), names: self.names.clone(), fsync: self.fsync }
    }
}

/// What a session does with a mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// IMAP SELECT: takes `\Recent`, moves new mail out of `new/`.
    Select,
    /// EXAMINE and STATUS: changes nothing that another session could notice, except that new mail gets UIDs.
    Examine,
    /// Adds messages (APPEND, COPY, delivery); the list is not read.
    Add,
}

/// What happened to the mailbox behind the session's back.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Events {
    /// New messages, ascending.
    pub added: Vec<u32>,
    /// Messages whose flags are different.
    pub flags: BTreeSet<u32>,
    /// Messages that are gone.
    pub removed: BTreeSet<u32>,
    /// UIDVALIDITY is another one: everything the session knew is void.
    pub reset: bool,
}

impl Events {
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.flags.is_empty() && self.removed.is_empty() && !self.reset
    }

    fn note(&mut self, change: &Change) {
        match change {
            Change::Add(record) => self.added.push(record.uid),
            Change::Remove { uid, .. } => {
                let unheard = self.forget(*uid);
                self.removed.extend((!unheard).then_some(*uid));
            }
            Change::Flags { uid, .. } => drop(self.flags.insert(*uid)),
            _ => {}
        }
    }

    /// Drops what is noted about a message that is gone. Returns whether the client has not heard of it at all.
    fn forget(&mut self, uid: u32) -> bool {
        self.flags.remove(&uid);
        let before = self.added.len();
        self.added.retain(|added| *added != uid);
        before != self.added.len()
    }

    /// Notes what differs between two states.
    fn compare(&mut self, before: &State, after: &State) {
        if before.uid_validity != after.uid_validity {
            *self = Self { reset: true, ..Self::default() };
            return;
        }
        let mut old = before.records.iter().peekable();
        for record in &after.records {
            while let Some(gone) = old.next_if(|o| o.uid < record.uid) {
                self.note(&Change::Remove { uid: gone.uid, modseq: 0 });
            }
            match old.next_if(|o| o.uid == record.uid) {
                Some(same) if (same.flags, same.keywords) != (record.flags, record.keywords) => {
                    self.flags.insert(record.uid);
                }
                Some(_) => {}
                None => self.added.push(record.uid),
            }
        }
        old.for_each(|gone| self.note(&Change::Remove { uid: gone.uid, modseq: 0 }));
    }
}

/// The counters of STATUS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    pub messages: u32,
    pub recent: u32,
    pub unseen: u32,
    pub uid_next: u32,
    pub uid_validity: u32,
    pub highest_modseq: u64,
    pub guid: [u8; 16],
}

enum Folder<F: Fs> {
    Maildir(maildir::folder::Folder<F>),
    Sdbox(sdbox::folder::Folder<F>),
}

/// `dovecot-uidlist` as it was read.
struct ReadList {
    list: Uidlist,
    inode: u64,
    /// How much of the file was read.
    size: u64,
}

/// An open mailbox.
pub struct Mailbox<F: Fs> {
    environment: Environment<F>,
    location: Location<F>,
    name: MailboxName,
    access: Access,
    folder: Folder<F>,
    state: State,
    index: Index<F>,
    cache: Cache<F>,
    list: Option<ReadList>,
    pending: Events,
    recent: BTreeSet<u32>,
    /// Found out, not yet in the log.
    facts: Vec<Change>,
    /// The index of a Maildir cannot be written: this session does without.
    without_index: bool,
}

impl<F: Fs> Mailbox<F> {
    /// Opens a mailbox that exists; the inbox always does. With [`Access::Select`] and [`Access::Examine`] the list is
    /// read and is as new as the files.
    pub fn open(
        environment: &Environment<F>,
        location: &Location<F>,
        name: &MailboxName,
        access: Access,
    ) -> Result<Self> {
        let mut mailbox = Self::enter(environment, location, name, access, false)?;
        if access != Access::Add {
            mailbox.sync()?;
            mailbox.pending = Events::default();
        }
        if let (Folder::Maildir(folder), Access::Select) = (&mailbox.folder, access) {
            // What cannot be removed now is looked for again at the next opening.
            let _ = folder.sweep(&*environment.fs);
        }
        Ok(mailbox)
    }

    /// As [`Self::open`] with [`Access::Add`], making the mailbox when it is missing; its existence is durable with the
    /// first message.
    pub fn open_or_create(environment: &Environment<F>, location: &Location<F>, name: &MailboxName) -> Result<Self> {
        Self::enter(environment, location, name, Access::Add, true)
    }

    fn enter(
        environment: &Environment<F>,
        location: &Location<F>,
        name: &MailboxName,
        access: Access,
        create: bool,
    ) -> Result<Self> {
        let fs = &*environment.fs;
        let (folder, dir, mode) = match location.format {
            Format::Maildir => {
                let folder = maildir::folder::Folder::open(fs, location, name, create)?;
                if create && !name.is_inbox() {
                    folder.mark(fs)?;
                }
                let (dir, mode) = (folder.base.clone(), folder.modes.file);
                (Folder::Maildir(folder), dir, mode)
            }
            Format::Sdbox => {
                let folder = sdbox::folder::Folder::open(fs, location, name, create)?;
                let (dir, mode) = (folder.mails.clone(), folder.modes.file);
                (Folder::Sdbox(folder), dir, mode)
            }
        };
        let mut mailbox = Self {
            environment: environment.clone(),
            location: location.clone(),
            name: name.clone(),
            access,
            folder,
            state: State::default(),
            index: Index::new(dir.clone(), mode),
            cache: Cache::new(dir, mode, 0),
            list: None,
            pending: Events::default(),
            recent: BTreeSet::new(),
            facts: Vec::new(),
            without_index: false,
        };
        mailbox.refresh()?;
        Ok(mailbox)
    }

    /// The mailbox's name.
    pub fn name(&self) -> &MailboxName {
        &self.name
    }

    /// The messages, ascending by UID.
    pub fn messages(&self) -> &[Record] {
        &self.state.records
    }

    /// One message.
    pub fn message(&self, uid: u32) -> Option<&Record> {
        self.state.find(uid)
    }

    /// The names of the bits of [`Record::keywords`]; empty names are free places.
    pub fn keywords(&self) -> &[String] {
        &self.state.keywords
    }

    /// Whether another keyword can be made (`PERMANENTFLAGS (… \*)`).
    pub fn can_add_keyword(&self) -> bool {
        self.state.keywords.iter().filter(|name| !name.is_empty()).count() < self.keyword_limit()
    }

    /// Whether a message is `\Recent` in this session.
    pub fn is_recent(&self, uid: u32) -> bool {
        match self.access {
            Access::Select => self.recent.contains(&uid),
            Access::Examine | Access::Add => uid >= self.state.first_recent,
        }
    }

    /// UIDVALIDITY.
    pub fn uid_validity(&self) -> u32 {
        self.state.uid_validity
    }

    /// The UID that comes next.
    pub fn uid_next(&self) -> u32 {
        self.state.next_uid.max(1)
    }

    /// The highest mod-sequence that a message has, or had.
    pub fn highest_modseq(&self) -> u64 {
        self.state.highest_modseq.max(1)
    }

    /// The counters of the list as the session sees it.
    pub fn status(&self) -> Status {
        let count = |f: &dyn Fn(&Record) -> bool| self.state.records.iter().filter(|r| f(r)).count() as u32;
        Status {
            messages: self.state.records.len() as u32,
            recent: count(&|r| self.is_recent(r.uid)),
            unseen: count(&|r| !r.flags.contains(Flags::SEEN)),
            uid_next: self.uid_next(),
            uid_validity: self.uid_validity(),
            highest_modseq: self.highest_modseq(),
            guid: self.state.guid,
        }
    }

    /// The directories in which a change shows: set an inotify watch on each for entries that are created, deleted or
    /// renamed, and for files that are modified, and call [`Self::sync`] when one fires.
    pub fn watched(&self) -> Vec<F::Dir> {
        match &self.folder {
            Folder::Maildir(folder) => vec![folder.new.clone(), folder.cur.clone()],
            Folder::Sdbox(folder) => vec![folder.mails.clone()],
        }
    }

    /// Brings the list up to date with the files and returns what others did since the last call.
    pub fn sync(&mut self) -> Result<Events> {
        self.refresh()?;
        self.scan_if_changed(false)?;
        self.take_recent()?;
        Ok(mem::take(&mut self.pending))
    }

    /// Writes what was found out meanwhile to index and cache. Worth calling when the session becomes quiet.
    pub fn flush(&mut self) -> Result<()> {
        let changes = mem::take(&mut self.facts);
        let _lock = self.lock_index()?;
        self.commit(&changes)?;
        let state = &self.state;
        self.cache.write(&self.environment.fs, |uid| state.find(uid).is_some());
        self.cache.release();
        Ok(())
    }

    /// A prepared part of an answer.
    pub fn cached(&mut self, uid: u32, kind: CacheKind) -> Option<&[u8]> {
        self.cache.get(&self.environment.fs, uid, kind)
    }

    /// Remembers a prepared part of an answer; written by [`Self::flush`].
    pub fn put_cached(&mut self, uid: u32, kind: CacheKind, bytes: &[u8]) {
        self.cache.put(&self.environment.fs, uid, kind, bytes);
    }

    fn fs(&self) -> Arc<F> {
        self.environment.fs.clone()
    }

    fn syncs(&self) -> bool {
        self.environment.fsync != Fsync::Never
    }

    /// Whether the index itself must be durable.
    fn syncs_index(&self) -> bool {
        match self.environment.fsync {
            Fsync::Never => false,
            Fsync::Optimized => matches!(self.folder, Folder::Sdbox(_)),
            Fsync::Always => true,
        }
    }

    fn keyword_limit(&self) -> usize {
        match self.folder {
            Folder::Maildir(_) => keywords::MAX,
            Folder::Sdbox(_) => MAX_KEYWORDS,
        }
    }

    fn next_modseq(&self) -> u64 {
        self.state.highest_modseq + 1
    }

    /// Where mod-sequences start when there is no index: above any that a lost index can have had.
    fn first_modseq(now: Timestamp) -> u64 {
        (now.secs as u64) << 20
    }

    /// A file system error of the index of a Maildir is no error.
    fn tolerate<T>(&mut self, result: io::Result<T>) -> Result<Option<T>> {
        match (result, &self.folder) {
            (Ok(value), _) => Ok(Some(value)),
            (Err(_), Folder::Maildir(_)) => {
                self.without_index = true;
                Ok(None)
            }
            (Err(error), Folder::Sdbox(_)) => Err(error).at("write", b"posthorn.index"),
        }
    }

    fn lock_index(&mut self) -> Result<Option<F::File>> {
        if self.without_index {
            return Ok(None);
        }
        let lock = self.index.lock(&self.environment.fs);
        let lock = self.tolerate(lock)?;
        self.refresh()?;
        Ok(lock)
    }

    /// Takes over what other sessions wrote to the index.
    fn refresh(&mut self) -> Result<Refreshed> {
        if self.without_index {
            return Ok(Refreshed::Missing);
        }
        let refreshed = self.index.refresh(&self.environment.fs, &mut self.state);
        let refreshed = self.tolerate(refreshed)?.unwrap_or(Refreshed::Missing);
        if let Refreshed::Reloaded(before) = &refreshed
            && before.uid_validity == self.state.uid_validity
            && (before.next_uid > self.state.next_uid || before.highest_modseq > self.state.highest_modseq)
        {
            // The index was deleted and started again by a session that knew less: ours replaces it.
            self.state = (**before).clone();
            self.index.forget();
            return Ok(Refreshed::Missing);
        }
        match &refreshed {
            Refreshed::Applied(changes) => changes.iter().for_each(|change| self.pending.note(change)),
            Refreshed::Reloaded(before) if before.uid_validity != 0 => self.pending.compare(before, &self.state),
            _ => {}
        }
        self.cache.renew(self.state.uid_validity);
        Ok(refreshed)
    }

    /// Applies changes and appends them to the index. The index's lock is held.
    fn commit(&mut self, changes: &[Change]) -> Result<()> {
        self.state.apply_all(changes);
        self.cache.renew(self.state.uid_validity);
        // Without a next UID the list was never read: what is known is not worth keeping, and would mislead others.
        if self.without_index || self.state.next_uid == 0 {
            return Ok(());
        }
        let result = self.index.commit(&self.environment.fs, &self.state, changes, self.syncs_index());
        if result.is_err() {
            // What is on disk decides again.
            self.index.forget();
        }
        self.tolerate(result).map(drop)
    }

    /// As [`Self::commit`], for what may be lost: it is found out again, or matters to nobody after this session.
    fn commit_hint(&mut self, changes: &[Change]) -> Result<()> {
        match self.commit(changes) {
            Err(Error::Io { .. }) => {
                self.state.apply_all(changes);
                Ok(())
            }
            other => other,
        }
    }

    /// Looks at the files if something changed there, or in any case with `force`.
    fn scan_if_changed(&mut self, force: bool) -> Result<()> {
        match self.location.format {
            Format::Maildir => self.scan_maildir_if_changed(force),
            Format::Sdbox => self.scan_sdbox_if_changed(force),
        }
    }

    /// A session that selects the mailbox takes what is recent; the next one does not get it again.
    fn take_recent(&mut self) -> Result<()> {
        if self.access != Access::Select || self.state.first_recent >= self.state.next_uid {
            return Ok(());
        }
        let _lock = self.lock_index()?;
        let from = self.state.position(self.state.first_recent).unwrap_or_else(|at| at);
        self.recent.extend(self.state.records[from..].iter().map(|record| record.uid));
        self.commit_hint(&[Change::Recent { first: self.state.next_uid }])
    }

    /// A GUID of the kind Dovecot makes: unique, not secret.
    fn fresh_guid(&self) -> Result<[u8; 16]> {
        let mut guid = [0; 16];
        getrandom::fill(&mut guid).map_err(io::Error::other).at("getrandom", b"GUID")?;
        Ok(guid)
    }
}
