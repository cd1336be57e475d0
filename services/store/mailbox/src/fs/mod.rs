//! All input and output of the mailbox formats.
//!
//! Every operation is relative to a directory handle and takes one file name, never a path: a name with `/`, an empty
//! one, `.` and `..` are refused with `InvalidInput`. [`real::RealFs`] does it with `*at` system calls beneath the
//! directory descriptors that the process holds; [`model::ModelFs`] keeps an operation log and can crash after any
//! operation, keeping only what POSIX promises. Nothing else in the crate may touch a file.

use std::{io, time::Duration};

pub mod model;
pub mod real;
mod resolve;

/// A point in time of the file system or the wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, serde::Serialize, serde::Deserialize)]
pub struct Timestamp {
    /// Seconds since 1970.
    pub secs: i64,
    /// 0 to 999,999,999.
    pub nanos: u32,
}

impl Timestamp {
    /// `self + seconds`.
    pub fn plus(self, seconds: i64) -> Self {
        Self { secs: self.secs + seconds, ..self }
    }
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    File,
    Directory,
    Link,
    Other,
}

/// One entry of a directory. `.` and `..` are never listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub name: Vec<u8>,
    pub kind: EntryKind,
}

/// What `stat` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta {
    pub device: u64,
    pub inode: u64,
    pub size: u64,
    pub links: u64,
    /// Permission bits.
    pub mode: u32,
    pub modified: Timestamp,
    pub changed: Timestamp,
    pub kind: EntryKind,
}

/// The operations. Files and directories that are created get exactly `mode` under a umask of 0.
///
/// Errors are those of the system call. Nothing is durable before `sync_file` (the data of a file), `sync_dir` (the
/// names in a directory) or `sync_all` (both, for the whole file system).
pub trait Fs {
    /// An open directory. Cheap to clone.
    type Dir: Clone;
    /// An open file. Locks end with it.
    type File;

    /// Opens a directory; a link is followed where it stays beneath a root the process holds.
    fn open_dir(&self, at: &Self::Dir, name: &[u8]) -> io::Result<Self::Dir>;
    fn make_dir(&self, at: &Self::Dir, name: &[u8], mode: u32) -> io::Result<()>;
    fn remove_dir(&self, at: &Self::Dir, name: &[u8]) -> io::Result<()>;
    /// All entries, in no order. An entry that is renamed meanwhile may be missing or there twice.
    fn list(&self, dir: &Self::Dir) -> io::Result<Vec<Entry>>;
    fn stat_dir(&self, dir: &Self::Dir) -> io::Result<Meta>;
    /// Makes the names in `dir` durable.
    fn sync_dir(&self, dir: &Self::Dir) -> io::Result<()>;
    /// Makes everything on the file system of `dir` durable (`syncfs`).
    fn sync_all(&self, dir: &Self::Dir) -> io::Result<()>;

    /// Opens for reading; never follows a link.
    fn open(&self, at: &Self::Dir, name: &[u8]) -> io::Result<Self::File>;
    /// Opens an existing file for reading and appending; never follows a link.
    fn open_append(&self, at: &Self::Dir, name: &[u8]) -> io::Result<Self::File>;
    /// Creates for reading and writing; the name must be free.
    fn create(&self, at: &Self::Dir, name: &[u8], mode: u32) -> io::Result<Self::File>;
    /// Reads up to `buffer.len()` bytes; 0 is the end.
    fn read_at(&self, file: &Self::File, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Appends all of `bytes`.
    fn append(&self, file: &Self::File, bytes: &[u8]) -> io::Result<()>;
    /// Overwrites within the file.
    fn write_at(&self, file: &Self::File, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Makes the content durable.
    fn sync_file(&self, file: &Self::File) -> io::Result<()>;
    fn stat(&self, file: &Self::File) -> io::Result<Meta>;
    /// Of the entry itself, not of what a link points to.
    fn stat_at(&self, at: &Self::Dir, name: &[u8]) -> io::Result<Meta>;
    fn set_modified(&self, file: &Self::File, time: Timestamp) -> io::Result<()>;
    /// Takes an exclusive lock on an open file (`flock`), waiting for it; it ends when the file is dropped.
    fn lock(&self, file: &Self::File) -> io::Result<()>;

    /// Replaces `to` in one step.
    fn rename(&self, from_dir: &Self::Dir, from: &[u8], to_dir: &Self::Dir, to: &[u8]) -> io::Result<()>;
    fn link(&self, from_dir: &Self::Dir, from: &[u8], to_dir: &Self::Dir, to: &[u8]) -> io::Result<()>;
    fn unlink(&self, at: &Self::Dir, name: &[u8]) -> io::Result<()>;

    /// The wall clock.
    fn now(&self) -> Timestamp;
    /// When this machine started.
    fn booted(&self) -> Timestamp;
    /// The name by which other programs on this machine call it in lock files and message names.
    fn host(&self) -> &[u8];
    fn process(&self) -> u32;
    /// Whether a process of that number runs on this machine, whoever owns it.
    fn process_exists(&self, process: u32) -> bool;
    fn pause(&self, time: Duration);
    /// The longest that a lock of another program is waited for, where the format does not say less
    /// (`mail_max_lock_timeout`).
    fn longest_wait(&self) -> Duration;
}

/// Whether `name` may name one entry of a directory.
pub fn is_entry_name(name: &[u8]) -> bool {
    !name.is_empty()
        && name.len() <= 255
        && name != b"."
        && name != b".."
        && !name.iter().any(|b| matches!(b, 0 | b'/'))
}

fn checked(name: &[u8]) -> io::Result<&[u8]> {
    if is_entry_name(name) {
        return Ok(name);
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "not a file name"))
}

/// Reads a whole file of at most `limit` bytes; a larger one is `InvalidData`.
pub fn read_whole<F: Fs>(fs: &F, file: &F::File, limit: u64) -> io::Result<Vec<u8>> {
    let size = fs.stat(file)?.size;
    if size > limit {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the file is larger than its limit"));
    }
    read_range(fs, file, 0, size)
}

/// Reads up to `length` bytes from `offset`; shorter where the file ends. The caller bounds `length`.
pub fn read_range<F: Fs>(fs: &F, file: &F::File, offset: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut content = vec![0; length as usize];
    let mut have = 0;
    while have < content.len() {
        match fs.read_at(file, &mut content[have..], offset + have as u64) {
            Ok(0) => break,
            Ok(n) => have += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    content.truncate(have);
    Ok(content)
}

/// Opens `path` component by component, making what is missing with `mode`. Returns the directory and its parents,
/// outermost first: until these are synced, a new directory's name may vanish, whoever made it.
pub fn make_path<F: Fs>(fs: &F, root: &F::Dir, path: &[Vec<u8>], mode: u32) -> io::Result<(F::Dir, Vec<F::Dir>)> {
    let (mut dir, mut parents) = (root.clone(), Vec::with_capacity(path.len()));
    for name in path {
        let next = open_or_make(fs, &dir, name, mode)?;
        parents.push(std::mem::replace(&mut dir, next));
    }
    Ok((dir, parents))
}

/// Opens a directory, making it with `mode` if it is missing.
pub fn open_or_make<F: Fs>(fs: &F, at: &F::Dir, name: &[u8], mode: u32) -> io::Result<F::Dir> {
    match fs.open_dir(at, name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => match fs.make_dir(at, name, mode) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => fs.open_dir(at, name),
        },
        other => other,
    }
}

/// Opens `path` component by component.
pub fn open_path<F: Fs>(fs: &F, root: &F::Dir, path: &[Vec<u8>]) -> io::Result<F::Dir> {
    path.iter().try_fold(root.clone(), |dir, name| fs.open_dir(&dir, name))
}
