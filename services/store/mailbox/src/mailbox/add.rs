//! APPEND, COPY and MOVE: messages that come into a mailbox.
//!
//! Every message is written, or linked, under a name that means nothing, made durable, given its place, and its place
//! made durable; only then does it get a UID that anybody hears of.

use std::{io, mem};

use super::{Folder, Mailbox, change::Touched};
use crate::{
    error::{At, Error, Result},
    fs::{Fs, Timestamp},
    index::{Change, Record, State},
    location::Format,
    maildir::{self, name},
    message::{Draft, Flags, Sizes, Source, draft},
    sdbox::{self, format},
};

/// A message to add.
#[derive(Debug, Clone)]
pub struct Addition<'a> {
    /// Header lines that go before the content.
    pub prefix: &'a [u8],
    pub source: Source<'a>,
    pub flags: Flags,
    pub keywords: Vec<String>,
    /// `INTERNALDATE`; now, if it is not given.
    pub date: Option<i64>,
}

/// A message that is written and has no UID yet. Dropped without [`Mailbox::place`], it leaves a file that is swept
/// later; [`Mailbox::discard`] removes it at once.
pub struct Staged<F: Fs> {
    pub(super) written: Written<F>,
    pub(super) flags: Flags,
    pub(super) keywords: Vec<String>,
    pub(super) date: Option<i64>,
}

pub(super) enum Written<F: Fs> {
    Maildir(maildir::folder::Staged<F>),
    Sdbox(sdbox::folder::Staged<F>),
    /// Content that is durable: a link to a message of another mailbox, or a file that was synced and closed.
    Durable {
        tmp: Vec<u8>,
        base: Vec<u8>,
        sizes: Sizes,
        received: i64,
    },
}

impl<F: Fs> Written<F> {
    fn tmp(&self) -> &[u8] {
        match self {
            Self::Maildir(staged) => &staged.tmp,
            Self::Sdbox(staged) => &staged.tmp,
            Self::Durable { tmp, .. } => tmp,
        }
    }

    fn file(&self) -> Option<&F::File> {
        match self {
            Self::Maildir(staged) => Some(&staged.file),
            Self::Sdbox(staged) => Some(&staged.file),
            Self::Durable { .. } => None,
        }
    }

    fn sizes(&self) -> Sizes {
        match self {
            Self::Maildir(staged) => staged.sizes,
            Self::Sdbox(staged) => staged.sizes,
            Self::Durable { sizes, .. } => *sizes,
        }
    }
}

impl<F: Fs> Staged<F> {
    /// The sizes of what was written.
    pub fn sizes(&self) -> Sizes {
        self.written.sizes()
    }
}

/// What COPY and MOVE did (RFC 4315 `COPYUID`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Copied {
    /// Of the destination.
    pub uid_validity: u32,
    /// Old and new UID of each message that was still there.
    pub uids: Vec<(u32, u32)>,
}

impl<F: Fs> Mailbox<F> {
    /// Adds one message and returns UIDVALIDITY and UID (RFC 4315 `APPENDUID`). Durable when it returns.
    pub fn append(&mut self, addition: &Addition<'_>) -> Result<(u32, u32)> {
        let mut staged = self.stage(addition)?;
        self.sync_staged(&mut staged)?;
        let uids = self.place(vec![staged])?;
        Ok((self.state.uid_validity, uids[0]))
    }

    /// Writes a message; nothing is durable yet.
    pub fn stage(&self, addition: &Addition<'_>) -> Result<Staged<F>> {
        let body = draft(b"", addition.prefix, addition.source);
        self.stage_draft(body, addition.flags, addition.keywords.clone(), addition.date)
    }

    fn stage_draft<R: Fn(&mut [u8], u64) -> io::Result<usize>>(
        &self,
        body: Draft<'_, R>,
        flags: Flags,
        keywords: Vec<String>,
        date: Option<i64>,
    ) -> Result<Staged<F>> {
        let fs = &*self.environment.fs;
        let unique = self.environment.names.next(fs);
        let written = match &self.folder {
            Folder::Maildir(folder) => {
                let staged = folder.stage(fs, unique, &body)?;
                if let Some(secs) = date {
                    fs.set_modified(&staged.file, Timestamp { secs, nanos: 0 }).at("utimensat", &staged.tmp)?;
                }
                Written::Maildir(staged)
            }
            Folder::Sdbox(folder) => {
                let received = date.unwrap_or(fs.now().secs);
                Written::Sdbox(folder.stage(fs, &unique, body, received, self.fresh_guid()?)?)
            }
        };
        Ok(Staged { written, flags, keywords, date })
    }

    /// Makes the content of a staged message durable and closes its file; on failure it is removed.
    pub fn sync_staged(&self, staged: &mut Staged<F>) -> Result<()> {
        let fs = &*self.environment.fs;
        if let Some(file) = staged.written.file().filter(|_| self.syncs()) {
            fs.sync_file(file).at("fsync", staged.written.tmp()).inspect_err(|_| self.discard(staged))?;
        }
        let date = staged.date;
        let (tmp, base, sizes, received) = match &mut staged.written {
            Written::Maildir(written) => (&mut written.tmp, mem::take(&mut written.base), written.sizes, date),
            Written::Sdbox(written) => (&mut written.tmp, Vec::new(), written.sizes, Some(written.received)),
            Written::Durable { .. } => return Ok(()),
        };
        staged.written = Written::Durable { tmp: mem::take(tmp), base, sizes, received: received.unwrap_or_default() };
        Ok(())
    }

    /// Removes a staged message.
    pub fn discard(&self, staged: &Staged<F>) {
        self.remove_staged(staged.written.tmp());
    }

    pub(super) fn remove_staged(&self, tmp: &[u8]) {
        // Nobody was told of it: if this fails, it is swept later.
        let _ = self.environment.fs.unlink(self.staging(), tmp);
    }

    pub(super) fn staging(&self) -> &F::Dir {
        match &self.folder {
            Folder::Maildir(folder) => &folder.tmp,
            Folder::Sdbox(folder) => &folder.mails,
        }
    }

    /// Gives staged messages, whose content is durable, their places and UIDs, all or none. Durable when it returns; the
    /// next [`Mailbox::sync`] tells of the new messages in their order.
    pub fn place(&mut self, staged: Vec<Staged<F>>) -> Result<Vec<u32>> {
        let placed = match self.location.format {
            Format::Maildir => self.place_in_maildir(&staged),
            Format::Sdbox => self.place_in_sdbox(&staged),
        };
        if placed.is_err() {
            staged.iter().for_each(|staged| self.discard(staged));
        }
        placed
    }

    fn place_in_maildir(&mut self, staged: &[Staged<F>]) -> Result<Vec<u32>> {
        let fs = self.fs();
        let _list = self.lock_list(&fs)?;
        let mut letters = Vec::new();
        for message in staged {
            letters.push(if message.keywords.is_empty() { 0 } else { self.keyword_letters(&message.keywords)? });
        }
        let _index = self.lock_index()?;
        let mut reset = Vec::new();
        self.load_list(&mut reset)?;
        if self.list.as_ref().is_some_and(|read| read.inode == 0) {
            // No list yet: what is there gets its UIDs first.
            self.scan_whole_maildir()?;
            reset.clear();
            self.load_list(&mut reset)?;
        }
        let started = fs.now();
        let unchanged = self.looks_unchanged()?;
        let Folder::Maildir(folder) = &self.folder else { unreachable!("a Maildir") };
        let (mut names, mut touched) = (Vec::new(), Touched::default());
        let moved = staged.iter().zip(letters).try_for_each(|(message, letters)| {
            let base = match &message.written {
                Written::Maildir(staged) => &staged.base,
                Written::Durable { base, .. } => base,
                Written::Sdbox(_) => unreachable!("staged in a Maildir"),
            };
            let in_new = message.flags.is_empty() && letters == 0;
            let (dir, name) = if in_new {
                (&folder.new, base.clone())
            } else {
                (&folder.cur, name::with_flags(base, message.flags, letters))
            };
            // A crash after this line, or before the list is written, leaves messages that nobody was told of; they get
            // UIDs as new mail does.
            fs.rename(&folder.tmp, message.written.tmp(), dir, &name).at("rename", &name)?;
            touched.new |= in_new;
            touched.cur |= !in_new;
            names.push((name, in_new, letters));
            Ok(())
        });
        let durable = moved.and_then(|()| if self.syncs() { self.sync_new_places(&touched) } else { Ok(()) });
        if let Err(error) = durable.and_then(|()| self.number_in_list(&names)) {
            self.take_back(&names);
            return Err(error);
        }
        self.note_placed(staged, names, reset, unchanged, started)
    }

    fn sync_new_places(&self, touched: &Touched) -> Result<()> {
        self.sync_touched(touched)?;
        self.sync_existence()
    }

    /// Makes a new mailbox durable.
    pub(crate) fn sync_creation(&self, fs: &F) -> Result<()> {
        match &self.folder {
            Folder::Maildir(folder) => folder.sync_existence(fs),
            Folder::Sdbox(folder) => folder.sync_existence(fs),
        }
    }

    /// Makes the mailbox itself durable before the first message in it is acknowledged.
    fn sync_existence(&self) -> Result<()> {
        if self.state.records.is_empty() { self.sync_creation(&self.environment.fs) } else { Ok(()) }
    }

    /// Gives UIDs to the last messages of the list and writes their lines.
    fn number_in_list(&mut self, names: &[(Vec<u8>, bool, u64)]) -> Result<()> {
        let next_uid = self.state.next_uid;
        let Some(read) = &mut self.list else { return Ok(()) };
        if read.list.uid_validity == self.state.uid_validity {
            read.list.next_uid = read.list.next_uid.max(next_uid);
        }
        for (name, ..) in names {
            if read.list.assign(name::base(name)).is_none() {
                return Err(Error::Corrupt { object: "dovecot-uidlist".into(), reason: "no UIDs are left" });
            }
        }
        self.append_to_list(names.len())
    }

    fn take_back(&mut self, names: &[(Vec<u8>, bool, u64)]) {
        let (fs, Folder::Maildir(folder)) = (self.fs(), &self.folder) else { return };
        for (name, in_new, _) in names {
            let _ = fs.unlink(if *in_new { &folder.new } else { &folder.cur }, name);
        }
        self.list = None;
    }

    /// Puts placed messages into the index, if it knows everything before them.
    fn note_placed(
        &mut self,
        staged: &[Staged<F>],
        names: Vec<(Vec<u8>, bool, u64)>,
        reset: Vec<Change>,
        unchanged: (bool, bool),
        started: Timestamp,
    ) -> Result<Vec<u32>> {
        let read = self.list.as_ref().expect("the list was written");
        let lines = &read.list.lines()[read.list.lines().len() - names.len()..];
        let uids: Vec<u32> = lines.iter().map(|line| line.uid).collect();
        let complete = reset.is_empty() && self.state.next_uid == uids[0] && self.state.uid_validity != 0;
        if !complete {
            // The next look finds them, with everything else that the index lacks.
            if let Some(Change::Head { uid_validity, .. }) = reset.first() {
                self.state = State { uid_validity: *uid_validity, ..State::default() };
                self.index.forget();
            }
            return Ok(uids);
        }
        let modseq = self.next_modseq();
        let mut changes: Vec<Change> = Vec::new();
        for ((staged, (name, in_new, keywords)), uid) in staged.iter().zip(names).zip(&uids) {
            let sizes = staged.written.sizes();
            changes.push(Change::Add(Record {
                uid: *uid,
                flags: staged.flags,
                keywords,
                modseq,
                physical: Some(sizes.physical),
                virtual_: Some(sizes.virtual_),
                date: staged.date,
                name,
                in_new,
            }));
        }
        changes.iter().for_each(|change| self.pending.note(change));
        changes.push(self.own_stamps(unchanged, started)?);
        self.commit(&changes)?;
        Ok(uids)
    }

    fn place_in_sdbox(&mut self, staged: &[Staged<F>]) -> Result<Vec<u32>> {
        let fs = self.fs();
        let _lock = self.lock_index()?;
        if self.state.uid_validity == 0 {
            self.scan_sdbox()?;
        }
        let modseq = self.next_modseq();
        let mut changes = Vec::new();
        for (staged, uid) in staged.iter().zip(self.state.next_uid..) {
            let sizes = staged.written.sizes();
            let date = match &staged.written {
                Written::Sdbox(written) => Some(written.received),
                Written::Durable { received, .. } => Some(*received),
                Written::Maildir(_) => staged.date,
            };
            let keywords = self.keyword_places(&staged.keywords)?;
            let (physical, virtual_) = (Some(sizes.physical), Some(sizes.virtual_));
            let flags = staged.flags;
            changes.push(Change::Add(Record {
                uid,
                flags,
                keywords,
                modseq,
                physical,
                virtual_,
                date,
                ..Record::default()
            }));
        }
        let uids: Vec<u32> = (self.state.next_uid..).take(staged.len()).collect();
        let mails = self.sdbox().mails.clone();
        let mut done = 0;
        let placed = staged.iter().zip(&uids).try_for_each(|(staged, uid)| {
            let name = format::file_name(*uid);
            if fs.stat_at(&mails, &name).is_ok() {
                // A file that the index does not know: look first, then the UIDs are others.
                return Err(Error::Corrupt {
                    object: String::from_utf8_lossy(&name).into_owned(),
                    reason: "the file exists already",
                });
            }
            // A crash after this line, or before the log is written, leaves messages that nobody was told of; the next
            // look finds them.
            fs.rename(&mails, staged.written.tmp(), &mails, &name).at("rename", &name)?;
            done += 1;
            Ok(())
        });
        let placed = placed.and_then(|()| {
            if self.syncs() {
                fs.sync_dir(&mails).at("fsync", b"mailbox")?;
                self.sync_existence()?;
            }
            self.commit(&changes)
        });
        if let Err(error) = placed {
            for uid in &uids[..done] {
                let _ = fs.unlink(&mails, &format::file_name(*uid));
            }
            return Err(error);
        }
        changes.iter().for_each(|change| self.pending.note(change));
        Ok(uids)
    }

    /// Copies messages to another mailbox (which may be the same one, opened again). Messages that are gone are passed
    /// over. Durable when it returns; all or none.
    pub fn copy(&mut self, uids: &[u32], to: &mut Self) -> Result<Copied> {
        let (mut from, mut staged) = (Vec::new(), Vec::new());
        for uid in uids {
            match self.stage_copy(*uid, to) {
                Ok(message) => {
                    from.push(*uid);
                    staged.push(message);
                }
                Err(Error::Expunged { .. }) => {}
                Err(error) => {
                    staged.iter().for_each(|message| to.discard(message));
                    return Err(error);
                }
            }
        }
        if staged.is_empty() {
            return Ok(Copied { uid_validity: to.state.uid_validity, uids: Vec::new() });
        }
        for at in 0..staged.len() {
            if let Err(error) = to.sync_staged(&mut staged[at]) {
                staged.iter().for_each(|message| to.discard(message));
                return Err(error);
            }
        }
        let placed = to.place(staged)?;
        Ok(Copied { uid_validity: to.state.uid_validity, uids: from.into_iter().zip(placed).collect() })
    }

    /// Moves messages: copies them, and removes the originals when the copies are durable.
    pub fn move_to(&mut self, uids: &[u32], to: &mut Self) -> Result<Copied> {
        let copied = self.copy(uids, to)?;
        // A crash here leaves both.
        let moved: Vec<u32> = copied.uids.iter().map(|(old, _)| *old).collect();
        self.remove(&moved, false)?;
        Ok(copied)
    }

    /// Links a message into the staging place of another mailbox, or writes it there where that is not possible.
    fn stage_copy(&mut self, uid: u32, to: &Self) -> Result<Staged<F>> {
        let fs = self.fs();
        let facts = self.facts(uid)?;
        let record = self.state.find(uid).ok_or(Error::Expunged { uid })?;
        let flags = record.flags;
        let bits = record.keywords;
        let names = self.state.keywords.iter().enumerate().filter(|(n, name)| bits & (1 << n) != 0 && !name.is_empty());
        let keywords: Vec<String> = names.map(|(_, name)| name.clone()).collect();
        let sizes = Sizes { physical: facts.physical, virtual_: facts.virtual_ };
        let unique = to.environment.names.next(&*fs);
        let (dir, name, tmp) = match (&self.folder, &to.folder) {
            (Folder::Maildir(from), Folder::Maildir(_)) => {
                (if record.in_new { &from.new } else { &from.cur }, record.name.clone(), unique.clone())
            }
            (Folder::Sdbox(from), Folder::Sdbox(_)) => {
                (&from.mails, format::file_name(uid), [sdbox::folder::TEMPORARY, &unique[..]].concat())
            }
            _ => return self.stage_content(uid, to, flags, keywords, facts.date),
        };
        match fs.link(dir, &name, to.staging(), &tmp) {
            Ok(()) => {
                let base = name::with_sizes(&unique, sizes);
                let written = Written::Durable { tmp, base, sizes, received: facts.date };
                Ok(Staged { written, flags, keywords, date: Some(facts.date) })
            }
            // Another file system, too many links, no links at all; or the file was renamed meanwhile.
            Err(_) => self.stage_content(uid, to, flags, keywords, facts.date),
        }
    }

    fn stage_content(
        &mut self,
        uid: u32,
        to: &Self,
        flags: Flags,
        keywords: Vec<String>,
        date: i64,
    ) -> Result<Staged<F>> {
        let (content, fs) = (self.content(uid)?, self.fs());
        let read = |buffer: &mut [u8], at: u64| fs.read_at(&content.file, buffer, content.offset + at);
        let body = Draft { before: b"", prefix: b"", length: content.length, read };
        to.stage_draft(body, flags, keywords, Some(date))
    }
}
