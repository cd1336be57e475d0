//! The input and output of the queue, narrow enough to be replaced by a disk that forgets.
//!
//! Everything in this crate reaches the disk through [`Fs`] and [`File`] and through nothing else. What they promise is
//! what POSIX promises, and no more:
//!
//! - bytes are on stable storage once [`File::sync`] has returned; until then each of them may or may not be there after a
//!   crash, in any order;
//! - a name is on stable storage once [`Fs::sync_dir`] of its directory has returned; until then it may be there, be
//!   missing, or name what it named before. Two names in two directories have nothing to do with each other: a rename
//!   between directories may lose both. Hence the queue moves a file by [`Fs::link`], `sync_dir`, [`Fs::unlink`].
//!
//! Paths are relative to the queue directory, at most one folder deep, and chosen by us.

#[cfg(feature = "crash-model")]
pub mod model;
mod real;

use std::io;

pub use real::Directory;

/// The queue directory. A clone is another handle on the same directory.
pub trait Fs: Clone {
    type File: File;

    /// Makes a file that does not exist yet, for reading and writing.
    fn create(&self, path: &str) -> io::Result<Self::File>;

    /// Opens an existing file.
    fn open(&self, path: &str, access: Access) -> io::Result<Self::File>;

    /// Gives the file `from` the second name `to`, which must be free.
    fn link(&self, from: &str, to: &str) -> io::Result<()>;

    /// Moves the name `from` over `to` in the same folder; `to` is the old file or the new one at every moment.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    fn unlink(&self, path: &str) -> io::Result<()>;

    fn make_dir(&self, path: &str) -> io::Result<()>;

    /// Makes the names in a folder durable. The queue directory itself is `.`.
    fn sync_dir(&self, path: &str) -> io::Result<()>;

    /// Bytes that may still be written to this disk by who is not privileged.
    fn free(&self) -> io::Result<u64>;

    /// The names in a folder, in no order, without `.` and `..`.
    fn list(&self, path: &str) -> io::Result<Vec<String>>;
}

pub trait File {
    /// Writes all of `bytes`; after an error any part of them may be there.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Fills `buffer` as far as the file reaches and returns how far that is.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Makes content and length durable. After an error the bytes written since the last success are in doubt for good:
    /// the kernel may have dropped them and the next `sync` will not tell.
    fn sync(&self) -> io::Result<()>;

    fn size(&self) -> io::Result<u64>;

    fn truncate(&self, len: u64) -> io::Result<()>;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    Read,
    ReadWrite,
}

/// Reads `len` bytes at `offset`, or fails with `UnexpectedEof`. The caller has checked `len` against a limit.
pub fn read_exact_at(file: &impl File, offset: u64, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    if file.read_at(&mut bytes, offset)? < len {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(bytes)
}
