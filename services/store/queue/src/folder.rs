//! The folders of the queue directory, and how a file gets from one to another.
//!
//! ```text
//! ids                      which numbers queue IDs have used            cleanup
//! journal/00 …             the intake journal: a ring of segments       cleanup
//! tmp/ID                   a queue file that is being written, or large mail whose commit is in the journal
//! incoming/ID              large or old mail that has not failed yet    cleanup writes,
//! deferred/ID              mail that waits for its next attempt         qmgr moves and
//! hold/ID                  mail that waits for the administrator        unlinks
//! corrupt/…                what could not be read, byte for byte
//! outcomes                 what became of each recipient                qmgr
//! ```

use ipc_messages::queue_id::QueueId;

use crate::error::{DiskError, During};
use crate::fs::{File, Fs};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Folder {
    Incoming,
    Deferred,
    Hold,
}

impl Folder {
    /// In the order of precedence: where a crash left one message in two folders, the first is where it is. (Holding a
    /// message is confirmed only when both folders are synced, so that the administrator has not been told otherwise.)
    pub const ALL: [Folder; 3] = [Folder::Hold, Folder::Deferred, Folder::Incoming];

    pub fn name(self) -> &'static str {
        match self {
            Folder::Incoming => "incoming",
            Folder::Deferred => "deferred",
            Folder::Hold => "hold",
        }
    }

    pub fn path(self, id: QueueId) -> String {
        format!("{}/{id}", self.name())
    }
}

pub(crate) const TMP: &str = "tmp";
pub(crate) const CORRUPT: &str = "corrupt";
pub(crate) const JOURNAL: &str = "journal";

pub(crate) fn tmp_path(id: QueueId) -> String {
    format!("{TMP}/{id}")
}

/// Makes the folders that do not exist yet, durably.
pub fn prepare<F: Fs>(fs: &F) -> Result<(), DiskError> {
    let folders = Folder::ALL.map(Folder::name).into_iter().chain([TMP, CORRUPT, JOURNAL]);
    for folder in folders {
        match fs.make_dir(folder) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            result => result.during("make folder", folder)?,
        }
    }
    fs.sync_dir(".").during("sync folder", ".")
}

/// Moves a queue file: `mailctl hold`, `release`, `requeue`.
pub fn relocate<F: Fs>(fs: &F, id: QueueId, from: Folder, to: Folder) -> Result<(), DiskError> {
    let (old, new) = (from.path(id), to.path(id));
    // A crash before the sync leaves the old name, the new one, or both; never none, which a rename between two folders
    // could.
    link_or_keep(fs, &old, &new)?;
    fs.sync_dir(to.name()).during("sync folder", to.name())?;
    // A crash here may bring the old name back: then the message is in two folders and `Folder::ALL` decides. The second
    // sync makes the move final before anybody is told of it.
    fs.unlink(&old).during("unlink", &old)?;
    fs.sync_dir(from.name()).during("sync folder", from.name())
}

/// Puts a file that cannot be read out of the way, into `corrupt/NAME` or `corrupt/NAME.1` …, byte for byte. Returns the
/// new path.
pub fn quarantine<F: Fs>(fs: &F, path: &str) -> Result<String, DiskError> {
    let name = path.rsplit('/').next().unwrap_or(path);
    let kept = free_corrupt_path(fs, name)?;
    // As above: at no moment is the file without a name.
    fs.link(path, &kept).during("link", &kept)?;
    fs.sync_dir(CORRUPT).during("sync folder", CORRUPT)?;
    fs.unlink(path).during("unlink", path)?;
    Ok(kept)
}

/// Keeps bytes that could not be read, cut out of a longer file, in `corrupt/NAME`. Returns the path.
pub(crate) fn keep_bytes<F: Fs>(fs: &F, name: &str, bytes: &[u8]) -> Result<String, DiskError> {
    let kept = free_corrupt_path(fs, name)?;
    let file = fs.create(&kept).during("create", &kept)?;
    file.write_at(bytes, 0).during("write", &kept)?;
    file.sync().during("sync", &kept)?;
    fs.sync_dir(CORRUPT).during("sync folder", CORRUPT)?;
    Ok(kept)
}

fn free_corrupt_path<F: Fs>(fs: &F, name: &str) -> Result<String, DiskError> {
    let taken = fs.list(CORRUPT).during("list", CORRUPT)?;
    let numbered = (1u64..).map(|number| format!("{name}.{number}"));
    let free = std::iter::once(name.to_string()).chain(numbered).find(|candidate| !taken.contains(candidate));
    Ok(format!("{CORRUPT}/{}", free.expect("numbers do not end")))
}

/// Links; a name that is there is left from an attempt that a crash or an error cut short, and names the same message.
pub(crate) fn link_or_keep<F: Fs>(fs: &F, from: &str, to: &str) -> Result<(), DiskError> {
    match fs.link(from, to) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        result => result.during("link", to),
    }
}

/// Unlinks; a name that is gone is what was wanted.
pub(crate) fn unlink_if_there<F: Fs>(fs: &F, path: &str) -> Result<(), DiskError> {
    match fs.unlink(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        result => result.during("unlink", path),
    }
}
