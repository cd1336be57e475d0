//! What cleanup does to the disk. All of it blocks, so none of it runs in the loop.
//!
//! Work is divided into three lanes, and in each lane one piece of work runs at a time: what becomes ready meanwhile is the next
//! piece. So commits group by themselves, and neither a queue file that is being synced nor a large message that is being
//! written keeps a commit waiting: the journal is locked for an append, or to read one record.
//!
//! | lane | work |
//! |---|---|
//! | [`Lane::Journal`] | commits and releases records, reads them back, reserves numbers for queue IDs |
//! | [`Lane::Files`] | gives queue files to messages of the journal, and large mail its place in `incoming/` |
//! | [`Lane::Drafts`] | writes large mail as it arrives |

use std::collections::HashMap;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ipc_messages::envelope::QueueId;
use ipc_messages::queue::Place;
use ipc_messages::queue_id::Ids;
use store_queue::body;
use store_queue::fs::Fs;
use store_queue::ids::IdAllocator;
use store_queue::journal::{AppendError, Content, Damage, Entry, Geometry, Journal, Live, Sequence};
use store_queue::queue_file::{Draft, discard, publish, settle};
use store_queue::recover::sweep;
use store_queue::{DiskError, Folder, prepare};

/// Numbers for queue IDs that one sender gets at a time.
const ID_BLOCK: u64 = 4096;

/// Names a message that is not committed yet; a number is not used again.
pub type Token = u64;

/// Where work runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    Journal,
    Files,
    Drafts,
}

/// Lanes there are, and so threads.
pub const LANES: usize = 3;

/// A message to commit.
#[derive(Debug)]
pub struct Commit {
    pub token: Token,
    pub queue_id: QueueId,
    /// As it is encoded; empty for mail that has a queue file.
    pub envelope: Vec<u8>,
    /// `None` for mail that has a queue file, which is sealed and settled.
    pub content: Option<Vec<u8>>,
    /// Bytes above which there must be room on the disk.
    pub reserve: u64,
}

/// A committed message of the journal.
#[derive(Debug)]
pub struct Stored {
    pub queue_id: QueueId,
    pub envelope: Vec<u8>,
    /// Its content, sealed; `None` when it has a queue file.
    pub body: Option<OwnedFd>,
}

/// A piece of a large message.
#[derive(Debug)]
pub enum Piece {
    /// Content to append. The first piece makes the file.
    Content(QueueId, Vec<u8>),
    /// The encoded envelope: the message is complete.
    Seal(QueueId, Vec<u8>),
    /// It is not to be, complete or not.
    Discard(QueueId),
}

/// What is to be done.
#[derive(Debug)]
pub enum Work {
    /// Releases records, then commits messages; `checkpoint` makes the freed point durable without a message.
    Commit { release: Vec<Sequence>, commit: Vec<Commit>, checkpoint: bool },
    /// Reads messages back for a new `qmgr`.
    Read(Vec<Sequence>),
    /// Takes numbers for so many senders.
    Numbers(usize),
    /// Gives queue files to messages of the journal, and their place to those in `tmp/` (without a sequence number).
    File(Vec<(QueueId, Option<Sequence>, Place)>),
    /// Writes pieces of large mail.
    Draft(Vec<(Token, Piece)>),
}

/// Why a message was not committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// No room on the disk.
    Full(String),
    /// Anything else.
    Other(String),
}

/// A message's record, and what `qmgr` is told; or why there is none.
pub type Committed = Result<(Sequence, Stored), Failure>;

/// What was done.
#[derive(Debug)]
pub enum Done {
    Committed { results: Vec<(Token, Committed)>, freed: Sequence, free_segments: usize },
    Read(Vec<(Sequence, Result<Stored, String>)>),
    Numbers(Result<Vec<Ids>, String>),
    Filed(Vec<(QueueId, Result<Place, String>)>),
    Drafted(Vec<(Token, Result<Drafted, Failure>)>),
}

/// What became of a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drafted {
    Written,
    /// Synced, with its name in `tmp/`: a record may commit it.
    Sealed,
    Discarded,
}

impl Work {
    /// Where it belongs.
    pub fn lane(&self) -> Lane {
        match self {
            Work::Commit { .. } | Work::Read(_) | Work::Numbers(_) => Lane::Journal,
            Work::File(_) => Lane::Files,
            Work::Draft(_) => Lane::Drafts,
        }
    }
}

impl Done {
    /// Which lane is free again.
    pub fn lane(&self) -> Lane {
        match self {
            Done::Committed { .. } | Done::Read(_) | Done::Numbers(_) => Lane::Journal,
            Done::Filed(_) => Lane::Files,
            Done::Drafted(_) => Lane::Drafts,
        }
    }
}

/// A queue that was opened.
pub struct Opened<F: Fs> {
    pub disk: Disk<F>,
    /// What the journal holds.
    pub live: Vec<Live>,
    /// What of it cannot be read.
    pub damage: Vec<Damage>,
}

/// The disk of one queue directory.
pub struct Disk<F: Fs> {
    fs: F,
    journal: Mutex<Journal<F>>,
    ids: Mutex<IdAllocator<F>>,
    drafts: Mutex<HashMap<Token, Draft<F>>>,
}

impl<F: Fs> Disk<F> {
    /// Opens the queue or makes it, and brings it in order after a crash. `now` is in microseconds since 1970.
    ///
    /// # Errors
    /// What the disk refuses.
    pub fn open(fs: F, geometry: Geometry, now: u64) -> Result<Opened<F>, DiskError> {
        prepare(&fs)?;
        let ids = IdAllocator::open(&fs, now)?;
        let (journal, damage) = Journal::open(&fs, geometry)?;
        let live: Vec<Live> = journal.live().collect();
        sweep(&fs, &live)?;
        let disk = Disk { fs, journal: Mutex::new(journal), ids: Mutex::new(ids), drafts: Mutex::new(HashMap::new()) };
        Ok(Opened { disk, live, damage })
    }

    /// Does it; blocks.
    pub fn perform(&self, work: Work) -> Done {
        match work {
            Work::Commit { release, commit, checkpoint } => self.commit(&release, commit, checkpoint),
            Work::Read(sequences) => {
                Done::Read(sequences.into_iter().map(|sequence| (sequence, self.read(sequence))).collect())
            }
            Work::Numbers(senders) => {
                let mut ids = lock(&self.ids);
                let blocks = (0..senders).map(|_| ids.block(ID_BLOCK)).collect::<Result<_, _>>();
                Done::Numbers(blocks.map_err(|error: DiskError| error.to_string()))
            }
            Work::File(orders) => self.file(orders),
            Work::Draft(pieces) => self.draft(pieces),
        }
    }

    fn commit(&self, release: &[Sequence], commit: Vec<Commit>, checkpoint: bool) -> Done {
        let mut journal = lock(&self.journal);
        release.iter().for_each(|sequence| journal.release(*sequence));
        let mut results = Vec::with_capacity(commit.len());
        // Without an answer of the disk a write will tell.
        let free = self.fs.free().unwrap_or(u64::MAX);
        let (commit, late): (Vec<Commit>, Vec<Commit>) = commit.into_iter().partition(|commit| free > commit.reserve);
        results.extend(late.into_iter().map(|commit| (commit.token, Err(too_little(free, commit.reserve)))));
        let mut waiting = commit.into_iter();
        while !waiting.as_slice().is_empty() {
            match journal.append(&waiting.as_slice().iter().map(entry).collect::<Vec<_>>()) {
                Ok(sequences) => {
                    for (sequence, commit) in sequences.zip(&mut waiting) {
                        let body = commit.content.as_deref().map(seal).and_then(Result::ok);
                        let stored = Stored { queue_id: commit.queue_id, envelope: commit.envelope, body };
                        results.push((commit.token, Ok((sequence, stored))));
                    }
                }
                Err(error) => {
                    // None of the rest is committed; each client is told to come again.
                    let failure = failure(&error);
                    results.extend((&mut waiting).map(|commit| (commit.token, Err(failure.clone()))));
                }
            }
        }
        if checkpoint {
            // Only an outcome log that could be shorter depends on it; the next commit carries the point as well.
            let _ = journal.checkpoint();
        }
        Done::Committed { results, freed: journal.freed(), free_segments: journal.free_segments() }
    }

    fn read(&self, sequence: Sequence) -> Result<Stored, String> {
        let message = lock(&self.journal).read(sequence).map_err(|error| error.to_string())?;
        let body = message.content.as_deref().map(seal).transpose();
        let body = body.map_err(|error| format!("memory file: {error}"))?;
        Ok(Stored { queue_id: message.id, envelope: message.envelope, body })
    }

    fn file(&self, orders: Vec<(QueueId, Option<Sequence>, Place)>) -> Done {
        let mut results = Vec::with_capacity(orders.len());
        for place in [Place::Incoming, Place::Deferred, Place::Hold] {
            let mut written = Vec::new();
            for (id, sequence, _) in orders.iter().filter(|order| order.2 == place) {
                match sequence.map_or(Ok(()), |sequence| self.copy(*id, sequence)) {
                    Ok(()) => written.push(*id),
                    Err(error) => results.push((*id, Err(error))),
                }
            }
            if written.is_empty() {
                continue;
            }
            let published = publish(&self.fs, folder(place), &written).map(|()| place);
            let published = published.map_err(|error| error.to_string());
            results.extend(written.into_iter().map(|id| (id, published.clone())));
        }
        Done::Filed(results)
    }

    /// Writes the queue file of a message of the journal, synced, in `tmp/`.
    fn copy(&self, id: QueueId, sequence: Sequence) -> Result<(), String> {
        let message = lock(&self.journal).read(sequence).map_err(|error| error.to_string())?;
        let mut draft = Draft::create(&self.fs, id).map_err(|error| error.to_string())?;
        let written = draft.push(message.content.as_deref().unwrap_or_default());
        let sealed = written.and_then(|()| draft.seal(&message.envelope)).map(drop);
        // What there is of it would take room away from others until the next attempt.
        sealed.inspect_err(|_| drop(discard(&self.fs, id))).map_err(|error| error.to_string())
    }

    fn draft(&self, pieces: Vec<(Token, Piece)>) -> Done {
        let mut results: Vec<(Token, Result<Drafted, Failure>)> = Vec::with_capacity(pieces.len());
        let mut sealed = Vec::new();
        for (token, piece) in pieces {
            let result = self.piece(token, piece);
            if matches!(result, Ok(Drafted::Sealed)) {
                sealed.push(results.len());
            }
            results.push((token, result.map_err(|error| disk_failure(&error))));
        }
        // One sync of the folder for all of them; after it, journal records may commit them.
        if !sealed.is_empty()
            && let Err(error) = settle(&self.fs)
        {
            sealed.into_iter().for_each(|at| results[at].1 = Err(disk_failure(&error)));
        }
        Done::Drafted(results)
    }

    fn piece(&self, token: Token, piece: Piece) -> Result<Drafted, DiskError> {
        let taken = lock(&self.drafts).remove(&token);
        let (id, result) = match (piece, taken) {
            (Piece::Content(id, bytes), taken) => {
                let draft = taken.map_or_else(|| Draft::create(&self.fs, id), Ok);
                let grown = draft.and_then(|mut draft| draft.push(&bytes).map(|()| draft));
                (id, grown.map(|draft| drop(lock(&self.drafts).insert(token, draft))).map(|()| Drafted::Written))
            }
            (Piece::Seal(id, envelope), Some(draft)) => (id, draft.seal(&envelope).map(|_| Drafted::Sealed)),
            (Piece::Discard(id), _) => (id, discard(&self.fs, id).map(|()| Drafted::Discarded)),
            // It has failed before, and that was told.
            (Piece::Seal(..), None) => return Ok(Drafted::Discarded),
        };
        // The disk may be full of it. If this fails as well, the next start removes the file.
        result.inspect_err(|_| drop(discard(&self.fs, id)))
    }
}

fn entry(commit: &Commit) -> Entry<'_> {
    let content = commit.content.as_deref().map_or(Content::File, Content::Inline);
    let envelope = if commit.content.is_some() { &commit.envelope[..] } else { &[] };
    Entry { id: commit.queue_id, envelope, content }
}

/// The content in a memory file that nobody can change.
fn seal(content: &[u8]) -> std::io::Result<OwnedFd> {
    let mut draft = body::Draft::new()?;
    draft.write_all(content)?;
    draft.seal().map(OwnedFd::from)
}

fn folder(place: Place) -> Folder {
    match place {
        Place::Deferred => Folder::Deferred,
        Place::Hold => Folder::Hold,
        Place::Incoming | Place::Corrupt => Folder::Incoming,
    }
}

fn failure(error: &AppendError) -> Failure {
    match error {
        AppendError::Disk(error) => disk_failure(error),
        AppendError::Full => Failure::Full(error.to_string()),
        AppendError::TooLarge { .. } => Failure::Other(error.to_string()),
    }
}

fn too_little(free: u64, reserve: u64) -> Failure {
    Failure::Full(format!("not enough free space in mail queue: {free} bytes, and {reserve} are to stay free"))
}

fn disk_failure(error: &DiskError) -> Failure {
    if error.is_full() { Failure::Full(error.to_string()) } else { Failure::Other(error.to_string()) }
}

/// What a thread held that panicked is not used again: a panic ends the process.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
