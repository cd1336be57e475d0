//! What qmgr does to the disk. All of it blocks, so none of it runs in the loop.
//!
//! Two lanes, in each of which one piece of work runs at a time. In the lane of the log run all changes, in order: outcomes are
//! synced, then files move or go, then the log is compacted; recovery runs there as well, so nothing changes under it. In the
//! other lane queue files are read.

use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ipc_messages::envelope::{Envelope, QueueId};
use ipc_messages::queue::Listed;
use store_queue::fs::Fs;
use store_queue::journal::{Live, Sequence};
use store_queue::outcome::{Damage, Outcome, OutcomeLog, RecipientState};
use store_queue::queue_file::{CONTENT_OFFSET, OpenError, QueueFile};
use store_queue::recover::{Place, Problem, recover};
use store_queue::{DiskError, Folder, prepare, quarantine, relocate};

/// Where work runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    Log,
    Read,
}

/// Lanes there are, and so threads.
pub const LANES: usize = 2;

/// A step of a queue file after the outcomes are synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The message is removed: its file goes.
    Unlink(QueueId, Folder),
    /// To another folder.
    Move(QueueId, Folder, Folder),
}

/// What is to be done.
#[derive(Debug)]
pub enum Work {
    /// Syncs outcomes, then takes the steps. `freed` is the journal's freed point.
    Commit { outcomes: Vec<Outcome>, steps: Vec<Step>, settled: Vec<QueueId>, freed: Sequence },
    /// Finds what is in the queue, with what `cleanup` told of its journal.
    Recover(Vec<Live>),
    /// Opens queue files.
    Load(Vec<(QueueId, Folder)>),
    /// Reads queue files for a list, which `number` names; with `open` their descriptors come back as well.
    List { number: u64, files: Vec<(QueueId, Folder)>, open: bool },
}

/// A message that is ready to be delivered.
#[derive(Debug)]
pub struct Loaded {
    pub envelope: Envelope,
    pub body: OwnedFd,
    pub offset: u64,
    /// The recipients that are not done, each with the attempts so far.
    pub pending: Vec<(u32, u32)>,
    /// The sender has been told that it is delayed.
    pub warned: bool,
}

/// A message that recovery found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub id: QueueId,
    /// `None` in the journal.
    pub folder: Option<Folder>,
    pub sequence: Sequence,
    /// When it is due, in seconds since 1970; `None` if it was never deferred.
    pub next_attempt: Option<u64>,
    /// For a message of the journal, as in [`Loaded`]; all recipients if it is empty and so is the log.
    pub done: Vec<u32>,
}

/// Why a queue file was not loaded.
#[derive(Debug)]
pub enum LoadError {
    /// To be tried again.
    Disk(String),
    /// It is in `corrupt/` now, or gone: the line for the log.
    Lost(String),
}

/// What was done.
#[derive(Debug)]
pub enum Done {
    /// With an error the outcomes come back, to be committed again, and no step was taken.
    Committed {
        result: Result<(), (String, Vec<Outcome>, Vec<Step>)>,
        settled: Vec<QueueId>,
        complaints: Vec<String>,
    },
    Recovered(Result<Recovered, String>),
    Loaded(Vec<(QueueId, Result<Loaded, LoadError>)>),
    Listed {
        number: u64,
        messages: Vec<(Listed, Option<OwnedFd>)>,
    },
}

/// The queue after a start.
#[derive(Debug, Default)]
pub struct Recovered {
    pub messages: Vec<Found>,
    /// Their journal records are not needed.
    pub finished: Vec<QueueId>,
    /// For the log.
    pub complaints: Vec<String>,
}

impl Work {
    pub fn lane(&self) -> Lane {
        match self {
            Work::Commit { .. } | Work::Recover(_) => Lane::Log,
            Work::Load(_) | Work::List { .. } => Lane::Read,
        }
    }
}

impl Done {
    pub fn lane(&self) -> Lane {
        match self {
            Done::Committed { .. } | Done::Recovered(_) => Lane::Log,
            Done::Loaded(_) | Done::Listed { .. } => Lane::Read,
        }
    }
}

/// The disk of one queue directory.
pub struct Disk<F: Fs> {
    fs: F,
    log: Mutex<OutcomeLog<F>>,
}

impl<F: Fs> Disk<F>
where
    F::File: Into<OwnedFd>,
{
    /// Opens the outcome log or makes it.
    ///
    /// # Errors
    /// What the disk refuses.
    pub fn open(fs: F) -> Result<(Disk<F>, Vec<Damage>), DiskError> {
        prepare(&fs)?;
        let (log, damage) = OutcomeLog::open(&fs)?;
        Ok((Disk { fs, log: Mutex::new(log) }, damage))
    }

    /// Does it; blocks.
    pub fn perform(&self, work: Work) -> Done {
        match work {
            Work::Commit { outcomes, steps, settled, freed } => self.commit(outcomes, steps, settled, freed),
            Work::Recover(journal) => Done::Recovered(self.recover(&journal).map_err(|error| error.to_string())),
            Work::Load(files) => {
                Done::Loaded(files.into_iter().map(|(id, folder)| (id, self.load(id, folder))).collect())
            }
            Work::List { number, files, open } => {
                let messages = files.into_iter().filter_map(|(id, folder)| self.list(id, folder, open)).collect();
                Done::Listed { number, messages }
            }
        }
    }

    fn commit(&self, outcomes: Vec<Outcome>, steps: Vec<Step>, settled: Vec<QueueId>, freed: Sequence) -> Done {
        let mut log = self.log();
        let mut complaints = Vec::new();
        if let Err(error) = log.commit(&outcomes) {
            return Done::Committed { result: Err((error.to_string(), outcomes, steps)), settled, complaints };
        }
        for step in steps {
            let taken = match step {
                // A crash before this leaves a file that recovery unlinks: the log has its `Removed`.
                Step::Unlink(id, folder) => self.unlink(&folder.path(id)),
                Step::Move(id, from, to) => relocate(&self.fs, id, from, to).map_err(|error| error.to_string()),
            };
            complaints.extend(taken.err());
        }
        if log.wants_compaction()
            && let Err(error) = log.compact(freed)
        {
            complaints.push(format!("the outcome log stays as long as it is: {error}"));
        }
        Done::Committed { result: Ok(()), settled, complaints }
    }

    fn unlink(&self, path: &str) -> Result<(), String> {
        match self.fs.unlink(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(format!("unlink {path}: {error}")),
            _ => Ok(()),
        }
    }

    fn recover(&self, journal: &[Live]) -> Result<Recovered, DiskError> {
        let log = self.log();
        let recovered = recover(&self.fs, journal, &log)?;
        let found = |survivor: &store_queue::recover::Survivor| {
            let folder = match survivor.place {
                Place::Journal => None,
                Place::File(folder) => Some(folder),
            };
            let (id, sequence) = (survivor.id, survivor.journal);
            Found { id, folder, sequence, next_attempt: log.next_attempt(id), done: log.done(id) }
        };
        let finished = recovered.finished.iter();
        let name = |sequence: &Sequence| journal.iter().find(|live| live.sequence == *sequence).map(|live| live.id);
        Ok(Recovered {
            messages: recovered.messages.iter().map(found).collect(),
            finished: finished.filter_map(name).collect(),
            complaints: recovered.problems.iter().map(complaint).collect(),
        })
    }

    fn load(&self, id: QueueId, folder: Folder) -> Result<Loaded, LoadError> {
        let opened = QueueFile::open(&self.fs, folder, id).and_then(|file| file.verify_content().map(|()| file));
        let file = match opened {
            Ok(file) => file,
            Err(OpenError::Disk(error)) if error.is_missing() => return Err(LoadError::Lost(format!("{id}: {error}"))),
            Err(OpenError::Disk(error)) => return Err(LoadError::Disk(format!("{id}: {error}"))),
            Err(OpenError::Broken(flaw)) => {
                let kept = quarantine(&self.fs, &folder.path(id));
                let kept = kept.map_err(|error| LoadError::Disk(format!("{id}: {flaw}: {error}")))?;
                return Err(LoadError::Lost(format!("{id}: {flaw}; the file is kept as {kept}")));
            }
        };
        let log = self.log();
        let mut told = false;
        let mut attempts = |number: u32| match log.recipient(id, number) {
            RecipientState::Deferred { attempt, warned, .. } => {
                told |= warned;
                attempt
            }
            RecipientState::Pending | RecipientState::Done => 0,
        };
        let pending = log.pending(id, file.envelope.recipients.len());
        let pending = pending.into_iter().map(|number| (number, attempts(number))).collect();
        let (body, offset) = (file.file.into(), CONTENT_OFFSET);
        Ok(Loaded { envelope: file.envelope, body, offset, pending, warned: told })
    }

    /// `None` for a file that is gone or cannot be read; its next attempt will tell.
    fn list(&self, id: QueueId, folder: Folder, open: bool) -> Option<(Listed, Option<OwnedFd>)> {
        let QueueFile { envelope, file, .. } = QueueFile::open(&self.fs, folder, id).ok()?;
        let log = self.log();
        let pending = log.pending(id, envelope.recipients.len());
        let recipients = pending.into_iter().map(|number| {
            // A reason that cannot be read is not shown.
            let deferral = log.deferral(id, number).ok().flatten();
            (envelope.recipients[number as usize].address.clone(), deferral.map(|deferral| deferral.reason))
        });
        let listed = Listed {
            queue: folder.name().into(),
            queue_id: id,
            arrival: envelope.arrival / 1_000_000,
            size: envelope.size,
            sender: envelope.sender.clone(),
            recipients: recipients.collect(),
            offset: CONTENT_OFFSET,
        };
        Some((listed, open.then(|| file.into())))
    }

    /// What a thread held that panicked is not used again: a panic ends the process.
    fn log(&self) -> MutexGuard<'_, OutcomeLog<F>> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn complaint(problem: &Problem) -> String {
    match problem {
        Problem::Corrupt { id, kept, error, saved } => {
            let rest = if *saved { "the message is in the journal" } else { "the message is lost" };
            format!("{id}: {error}; the file is kept as {kept}, {rest}")
        }
        Problem::Missing(id) => format!("{id}: the queue file is missing"),
        Problem::Foreign { folder, name } => format!("{}/{name} is no queue file; it is left alone", folder.name()),
    }
}
