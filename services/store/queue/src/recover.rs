//! What is in the queue after a crash: the journal, the queue files and the outcome log put together.
//!
//! Two steps, because two processes own the pieces. `cleanup` replays its journal and calls [`sweep`]; `qmgr` opens its
//! outcome log and calls [`recover`] with what the journal has. When `qmgr` alone was replaced, `cleanup` does not sweep
//! again but calls [`publish_large`]; when `cleanup` alone was, `qmgr` calls [`recover`] again for what it does not have.
//!
//! | in the journal | in a folder | in the outcome log | is |
//! |---|---|---|---|
//! | any | any | removed | over: files are unlinked, the record is released |
//! | message | no | | in the journal |
//! | message | yes | | in its file, if that is whole; the record is released. Else in the journal; the file goes to `corrupt/` |
//! | large, in a file | yes | | in its file |
//! | large, in a file | no | | missing: reported (the disk lost a synced name) |
//! | no | yes | | in its file |
//! | no | `tmp/` only | | nothing: its client was never told 250 |
//!
//! Which of its recipients are pending, [`OutcomeLog::pending`] says. A message with none is live all the same: `qmgr` was
//! about to remove it.

use std::collections::HashMap;

use ipc_messages::envelope::QueueId;

use crate::error::{DiskError, During};
use crate::folder::{Folder, TMP, quarantine, unlink_if_there};
use crate::fs::Fs;
use crate::journal::{Live, Sequence};
use crate::outcome::OutcomeLog;
use crate::queue_file::{self, OpenError, QueueFile};

/// A live message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Survivor {
    pub id: QueueId,
    pub place: Place,
    /// Its journal record, for the `Removed` of the outcome log: a released one can be replayed until it is freed. 0 if
    /// there is none.
    pub journal: Sequence,
}

/// Where a live message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Journal,
    File(Folder),
}

/// Something that a person should know of.
#[derive(Debug)]
pub enum Problem {
    /// A queue file that cannot be read. If `saved` the message is live, from the journal.
    Corrupt { id: QueueId, kept: String, error: OpenError, saved: bool },
    /// The file of a large message is gone.
    Missing(QueueId),
    /// A name in a folder that no queue file can have. It is left alone.
    Foreign { folder: Folder, name: String },
}

#[derive(Debug, Default)]
pub struct Recovered {
    pub messages: Vec<Survivor>,
    /// Journal records to release.
    pub finished: Vec<Sequence>,
    pub problems: Vec<Problem>,
}

/// The first step, in `cleanup`: gives the large mail that the journal commits its place in `incoming/`, and removes what
/// else is in `tmp/`. `journal` is what the replay found, all of it.
pub fn sweep<F: Fs>(fs: &F, journal: &[Live]) -> Result<(), DiskError> {
    publish_large(fs, journal)?;
    // What is left was never acknowledged, or has its message in the journal or another name. A crash here leaves the
    // rest for the next start.
    for name in fs.list(TMP).during("list", TMP)? {
        unlink_if_there(fs, &format!("{TMP}/{name}"))?;
    }
    Ok(())
}

/// Gives large mail that is committed, and still in `tmp/`, its place in `incoming/`. Its journal records may be released
/// afterwards.
pub fn publish_large<F: Fs>(fs: &F, journal: &[Live]) -> Result<(), DiskError> {
    let waiting = fs.list(TMP).during("list", TMP)?;
    let waiting: Vec<QueueId> = waiting.iter().filter_map(|name| name.parse().ok()).collect();
    let large = journal.iter().filter(|live| live.in_file).map(|live| live.id);
    let large: Vec<QueueId> = large.filter(|id| waiting.contains(id)).collect();
    if large.is_empty() { Ok(()) } else { queue_file::publish(fs, Folder::Incoming, &large) }
}

/// The second step, in `qmgr`. `journal` is what `cleanup` has.
pub fn recover<F: Fs>(fs: &F, journal: &[Live], log: &OutcomeLog<F>) -> Result<Recovered, DiskError> {
    let mut recovered = Recovered::default();
    // What is seen here need not be on the disk, if only a process stopped and not the machine. Before one of two names is
    // unlinked, or a journal record released, the name that stays has to be.
    for folder in Folder::ALL {
        fs.sync_dir(folder.name()).during("sync folder", folder.name())?;
    }
    let mut files = scan(fs, log, &mut recovered.problems)?;
    for live in journal {
        let survives = |place| Survivor { id: live.id, place, journal: live.sequence };
        if log.is_removed(live.id) {
            recovered.finished.push(live.sequence);
            continue;
        }
        let file = files.remove(&live.id);
        let whole = match file {
            Some(folder) => verify(fs, live, folder, &mut recovered.problems)?.then_some(folder),
            None => None,
        };
        match whole {
            Some(folder) => {
                recovered.messages.push(survives(Place::File(folder)));
                recovered.finished.push(live.sequence);
            }
            None if !live.in_file => recovered.messages.push(survives(Place::Journal)),
            None => {
                if file.is_none() {
                    recovered.problems.push(Problem::Missing(live.id));
                }
                recovered.finished.push(live.sequence);
            }
        }
    }
    let from_file = |(id, folder)| Survivor { id, place: Place::File(folder), journal: 0 };
    recovered.messages.extend(files.into_iter().map(from_file));
    Ok(recovered)
}

/// The queue files, each in one folder. Those of removed messages are unlinked, again if need be.
fn scan<F: Fs>(
    fs: &F,
    log: &OutcomeLog<F>,
    problems: &mut Vec<Problem>,
) -> Result<HashMap<QueueId, Folder>, DiskError> {
    let mut files = HashMap::new();
    for folder in Folder::ALL {
        for name in fs.list(folder.name()).during("list", folder.name())? {
            let Ok(id) = name.parse::<QueueId>() else {
                problems.push(Problem::Foreign { folder, name });
                continue;
            };
            // A crash before or after an unlink leaves the same: the log says that the message is removed, or the message
            // has its name in the folder that comes first.
            if log.is_removed(id) || files.contains_key(&id) {
                unlink_if_there(fs, &folder.path(id))?;
            } else {
                files.insert(id, folder);
            }
        }
    }
    Ok(files)
}

/// Whether the queue file of a message that the journal has, too, is whole. If it is not it is kept aside.
fn verify<F: Fs>(fs: &F, live: &Live, folder: Folder, problems: &mut Vec<Problem>) -> Result<bool, DiskError> {
    match QueueFile::open(fs, folder, live.id).and_then(|file| file.verify_content()) {
        Ok(()) => Ok(true),
        Err(OpenError::Disk(error)) => Err(error),
        Err(error) => {
            let kept = quarantine(fs, &folder.path(live.id))?;
            problems.push(Problem::Corrupt { id: live.id, kept, error, saved: !live.in_file });
            Ok(false)
        }
    }
}
