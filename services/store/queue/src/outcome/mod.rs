//! The outcome log: what became of each recipient of each message, owned by `qmgr`.
//!
//! Queue files and journal records never change; that a recipient is done, when the next attempt is due, and that a message
//! is not needed any more, is written here. One [`OutcomeLog::commit`] is one write and one sync for all outcomes that are
//! there. A frame that is lost costs a repeated delivery, never a message, so frames are packed and the last block of the
//! log is written again and again.
//!
//! # What must be true, and what a crash leaves
//!
//! - A recipient is tried again until its `Done` is synced. A crash between the delivery and that sync repeats the delivery,
//!   once, for the recipients that were in flight.
//! - A bounce is committed to the queue before the `Done` of the recipient that it is about. A crash between the two bounces
//!   it twice.
//! - `Removed` is synced before the message's queue file is unlinked and before its journal record is released; and `qmgr`
//!   does not write it while `cleanup` is giving the message a queue file. A crash after the sync may bring file and record
//!   back; [`crate::recover`] meets them with the `Removed`, and removes them again.
//! - `Removed` is forgotten only when neither can come back: [`OutcomeLog::compact`] does it when no folder has the file,
//!   the folders are synced since, and the record is below the journal's freed point.
//! - A write or a sync that fails leaves outcomes that are true and may or may not be there. `qmgr` keeps them and commits
//!   them again; until then their recipients are neither reported nor tried.

mod frame;
mod index;

use ipc_messages::envelope::QueueId;

use crate::error::{DiskError, During};
use crate::folder::{Folder, keep_bytes, quarantine, unlink_if_there};
use crate::fs::{Access, File, Fs, read_exact_at};
use crate::journal::Sequence;
pub use frame::{Deferral, MAX_REASON, Outcome};
use frame::{Frame, HEAD, Head, MAX_FRAME};
pub use index::RecipientState;
use index::{Index, Place};

const PATH: &str = "outcomes";
const NEW_PATH: &str = "outcomes.new";
/// Reading and rewriting go in pieces of this size.
const CHUNK: usize = 1024 * 1024;
/// A log below this size is not worth rewriting.
const SMALL: u64 = 1024 * 1024;
/// A log is rewritten when it has this many times the bytes that a new one would have.
const SLACK: u64 = 4;

pub struct OutcomeLog<F: Fs> {
    fs: F,
    file: F::File,
    head: Head,
    end: u64,
    next_frame: u64,
    index: Index,
    /// There may be something behind `end`.
    tail_in_doubt: bool,
    /// The folder was not synced since the log got its name.
    name_in_doubt: bool,
}

/// Frames that were synced and cannot be read: their recipients may be tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    pub from: u64,
    pub to: u64,
    /// Where the bytes are kept.
    pub kept: String,
}

impl<F: Fs> OutcomeLog<F> {
    /// Opens the log and reads it, or makes it.
    pub fn open(fs: &F) -> Result<(OutcomeLog<F>, Vec<Damage>), DiskError> {
        let file = match fs.open(PATH, Access::ReadWrite) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok((Self::create(fs)?, Vec::new())),
            Err(error) => return Err(error).during("open", PATH),
        };
        // If only the process stopped, the end of the log may be in the cache alone. Before it is believed it has to be.
        file.sync().during("sync", PATH)?;
        let size = file.size().during("stat", PATH)?;
        let head_bytes = read_exact_at(&file, 0, HEAD.min(size as usize)).during("read", PATH)?;
        let Some(head) = Head::parse(&head_bytes) else {
            let kept = quarantine(fs, PATH)?;
            return Ok((Self::create(fs)?, vec![Damage { from: 0, to: size, kept }]));
        };
        let (fs, index, next_frame) = (fs.clone(), Index::default(), head.first);
        let mut log = OutcomeLog {
            fs,
            file,
            head,
            end: HEAD as u64,
            next_frame,
            index,
            tail_in_doubt: true,
            name_in_doubt: true,
        };
        let damage = log.read(size)?;
        Ok((log, damage))
    }

    /// Makes the outcomes durable, in this order. After an error they are to be committed again.
    pub fn commit(&mut self, outcomes: &[Outcome]) -> Result<(), DiskError> {
        if outcomes.is_empty() {
            return Ok(());
        }
        self.settle_name()?;
        if self.tail_in_doubt {
            // What a failed or interrupted write left would, in part, pass for the end of the next one.
            self.file.truncate(self.end).during("truncate", PATH)?;
        }
        self.tail_in_doubt = true;
        let mut buffer = Vec::new();
        let mut applied = Vec::with_capacity(outcomes.len());
        for (number, outcome) in outcomes.iter().enumerate() {
            let outcome = outcome.clone().bounded();
            let at = self.end + buffer.len() as u64;
            let sequence = self.next_frame + number as u64;
            let length = frame::write(&mut buffer, self.head.cookie, sequence, number == 0, &outcome) as u32;
            applied.push((outcome, Place { at, length }));
        }
        // A crash before the end of the sync leaves some of the frames, cut at the first one that is broken.
        self.file.write_at(&buffer, self.end).during("write", PATH)?;
        self.file.sync().during("sync", PATH)?;
        self.tail_in_doubt = false;
        self.end += buffer.len() as u64;
        self.next_frame += outcomes.len() as u64;
        applied.iter().for_each(|(outcome, place)| self.index.apply(outcome, *place));
        Ok(())
    }

    pub fn is_removed(&self, id: QueueId) -> bool {
        self.index.is_removed(id)
    }

    pub fn recipient(&self, id: QueueId, number: u32) -> RecipientState {
        self.index.recipient(id, number)
    }

    /// The recipients, of a message that has `count`, that are not done.
    pub fn pending(&self, id: QueueId, count: usize) -> Vec<u32> {
        let numbers = 0..u32::try_from(count).expect("an envelope is bounded");
        numbers.filter(|number| self.recipient(id, *number) != RecipientState::Done).collect()
    }

    /// The recipients that are done, as far as the log knows.
    pub fn done(&self, id: QueueId) -> Vec<u32> {
        self.index.done(id)
    }

    /// When the first deferred recipient of the message is due, in seconds since 1970; `None` if none is deferred.
    pub fn next_attempt(&self, id: QueueId) -> Option<u64> {
        self.index.next_attempt(id)
    }

    /// Why a recipient is deferred, from the disk; `None` if it is not.
    pub fn deferral(&self, id: QueueId, number: u32) -> Result<Option<Deferral>, DiskError> {
        let Some(place) = self.index.place(id, number) else { return Ok(None) };
        let bytes = read_exact_at(&self.file, place.at, place.length as usize).during("read", PATH)?;
        match frame::parse(&bytes, self.head.cookie).map(|frame| frame.outcome) {
            Some(Outcome::Deferred { deferral, .. }) => Ok(Some(deferral)),
            _ => Ok(None),
        }
    }

    /// Whether most of the log is about things that are over.
    pub fn wants_compaction(&self) -> bool {
        self.end > SMALL && self.end > SLACK * (self.index.live_bytes() + HEAD as u64)
    }

    /// Rewrites the log with what still counts. `freed` is the journal's freed point ([`crate::journal::Journal::freed`]).
    pub fn compact(&mut self, freed: Sequence) -> Result<(), DiskError> {
        self.forget_removed(freed)?;
        unlink_if_there(&self.fs, NEW_PATH)?;
        let file = self.fs.create(NEW_PATH).during("create", NEW_PATH)?;
        let head = Head { cookie: new_cookie()?, first: self.next_frame };
        let mut index = Index::default();
        let mut buffer = head.bytes().to_vec();
        let (mut end, mut next_frame) = (0, head.first);
        let mut old = Window::new(&self.file, self.end);
        for place in self.index.places() {
            // Frames that the disk no longer gives back cost a repeated delivery; the message stays.
            let Some(frame) = frame::parse(old.bytes(place.at)?, self.head.cookie) else { continue };
            let at = end + buffer.len() as u64;
            let length = frame::write(&mut buffer, head.cookie, next_frame, true, &frame.outcome);
            index.apply(&frame.outcome, Place { at, length: length as u32 });
            next_frame += 1;
            if buffer.len() >= CHUNK {
                file.write_at(&buffer, end).during("write", NEW_PATH)?;
                end += buffer.len() as u64;
                buffer.clear();
            }
        }
        file.write_at(&buffer, end).during("write", NEW_PATH)?;
        end += buffer.len() as u64;
        file.sync().during("sync", NEW_PATH)?;
        // A crash before the folder is synced leaves the old log or the new one. They say the same of all messages that
        // there are.
        self.fs.rename(NEW_PATH, PATH).during("rename", PATH)?;
        let fs = self.fs.clone();
        *self = OutcomeLog { fs, file, head, end, next_frame, index, tail_in_doubt: false, name_in_doubt: true };
        self.settle_name()
    }

    fn settle_name(&mut self) -> Result<(), DiskError> {
        if self.name_in_doubt {
            self.fs.sync_dir(".").during("sync folder", ".")?;
            self.name_in_doubt = false;
        }
        Ok(())
    }

    fn create(fs: &F) -> Result<OutcomeLog<F>, DiskError> {
        unlink_if_there(fs, NEW_PATH)?;
        let file = fs.create(NEW_PATH).during("create", NEW_PATH)?;
        let head = Head { cookie: new_cookie()?, first: 1 };
        file.write_at(&head.bytes(), 0).during("write", NEW_PATH)?;
        file.sync().during("sync", NEW_PATH)?;
        // A crash here leaves no log, and nothing has been committed to it.
        fs.rename(NEW_PATH, PATH).during("rename", PATH)?;
        let (fs, index, end) = (fs.clone(), Index::default(), HEAD as u64);
        Ok(OutcomeLog { fs, file, head, end, next_frame: 1, index, tail_in_doubt: false, name_in_doubt: true })
    }

    /// Drops every `Removed` that nothing can contradict any more.
    fn forget_removed(&mut self, freed: Sequence) -> Result<(), DiskError> {
        let mut gone = Vec::new();
        for (id, journal) in self.index.removed() {
            if journal < freed && !has_file(&self.fs, id)? {
                gone.push(id);
            }
        }
        if gone.is_empty() {
            return Ok(());
        }
        // The files are unlinked; this makes it final. A crash before it may bring them back, and the log, which still is
        // the old one, knows them.
        for folder in Folder::ALL {
            self.fs.sync_dir(folder.name()).during("sync folder", folder.name())?;
        }
        gone.into_iter().for_each(|id| self.index.forget(id));
        Ok(())
    }

    /// Reads the frames up to the torn end, over damaged places.
    fn read(&mut self, size: u64) -> Result<Vec<Damage>, DiskError> {
        let cookie = self.head.cookie;
        let mut damage = Vec::new();
        let mut window = Window::new(&self.file, size);
        let mut at = HEAD as u64;
        while at < size {
            let frame = frame::parse(window.bytes(at)?, cookie).filter(|frame| frame.sequence == self.next_frame);
            if let Some(frame) = frame {
                self.index.apply(&frame.outcome, Place { at, length: frame.length as u32 });
                self.next_frame += 1;
                at += frame.length as u64;
                continue;
            }
            // The frames of an interrupted write may be broken in any place. But a write is begun only when the one before
            // is synced: the start of a later one proves that what is broken was whole.
            let Some((next_at, next)) = next_start(&mut window, at, size, cookie, self.next_frame)? else { break };
            let bytes = read_exact_at(&self.file, at, (next_at - at) as usize).during("read", PATH)?;
            let kept = keep_bytes(&self.fs, &format!("outcomes-{at}"), &bytes)?;
            damage.push(Damage { from: at, to: next_at, kept });
            at = next_at;
            self.next_frame = next.sequence;
        }
        self.end = at;
        Ok(damage)
    }
}

/// The next frame behind `at` that starts a write later than the one that frame number `expected` belongs to.
fn next_start<D: File>(
    window: &mut Window<'_, D>,
    at: u64,
    size: u64,
    cookie: u64,
    expected: u64,
) -> Result<Option<(u64, Frame)>, DiskError> {
    for candidate in at + 1..size {
        let frame = frame::parse(window.bytes(candidate)?, cookie);
        if let Some(frame) = frame.filter(|frame| frame.starts && frame.sequence > expected) {
            return Ok(Some((candidate, frame)));
        }
    }
    Ok(None)
}

fn has_file<F: Fs>(fs: &F, id: QueueId) -> Result<bool, DiskError> {
    for folder in Folder::ALL {
        let path = folder.path(id);
        match fs.open(&path, Access::Read).during("open", &path) {
            Ok(_) => return Ok(true),
            Err(error) if error.is_missing() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

fn new_cookie() -> Result<u64, DiskError> {
    getrandom::u64().map_err(std::io::Error::from).during("make cookie for", PATH)
}

/// A part of the log in memory, moved along as it is read.
struct Window<'a, D: File> {
    file: &'a D,
    size: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl<'a, D: File> Window<'a, D> {
    fn new(file: &'a D, size: u64) -> Window<'a, D> {
        Window { file, size, start: 0, bytes: Vec::new() }
    }

    /// At least the longest frame's bytes from `at` on, or all there are.
    fn bytes(&mut self, at: u64) -> Result<&[u8], DiskError> {
        let wanted = self.size.min(at + MAX_FRAME as u64);
        if at < self.start || wanted > self.start + self.bytes.len() as u64 {
            let len = (self.size - at).min(CHUNK as u64) as usize;
            self.bytes = read_exact_at(self.file, at, len).during("read", PATH)?;
            self.start = at;
        }
        Ok(&self.bytes[(at - self.start) as usize..])
    }
}

#[cfg(all(test, feature = "crash-model"))]
mod tests;
