//! The content of a message as its delivery agent gets it: one descriptor, and where in it the content is.
//!
//! Behind the descriptor is a memfd that `cleanup` filled and sealed (the content alone, from 0 to its end; the envelope
//! travels by IPC), or a queue file opened for reading (the content at [`crate::queue_file::CONTENT_OFFSET`]). Agents that
//! hold the same descriptor share its position, so everything here reads with pread.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

/// A message in memory that is being filled.
pub struct Draft {
    file: File,
    len: u64,
}

/// Content that can be read, from its start with [`Read`] or anywhere with [`Body::read_at`].
pub struct Body {
    file: File,
    offset: u64,
    len: u64,
    position: u64,
}

impl Draft {
    pub fn new() -> io::Result<Draft> {
        let fd = memfd_create(c"message", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?;
        Ok(Draft { file: File::from(fd), len: 0 })
    }

    /// Ends the writing for good: nobody who ever holds the descriptor can change the message, us included.
    pub fn seal(self) -> io::Result<Body> {
        fcntl(&self.file, FcntlArg::F_ADD_SEALS(all_seals()))?;
        Ok(Body::new(self.file.into(), 0, self.len))
    }
}

impl Write for Draft {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.len += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn all_seals() -> SealFlag {
    SealFlag::F_SEAL_SEAL | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_WRITE
}

impl Body {
    /// `len` bytes of content at `offset` of what `fd` names.
    pub fn new(fd: OwnedFd, offset: u64, len: u64) -> Body {
        Body { file: File::from(fd), offset, len, position: 0 }
    }

    /// A memfd from a peer; fails unless it is sealed against every change.
    pub fn sealed(fd: OwnedFd) -> io::Result<Body> {
        let seals = fcntl(&fd, FcntlArg::F_GET_SEALS)?;
        if !SealFlag::from_bits_truncate(seals).contains(all_seals()) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the message is not sealed"));
        }
        let file = File::from(fd);
        let len = file.metadata()?.len();
        Ok(Body { file, offset: 0, len, position: 0 })
    }

    pub fn len(&self) -> u64 {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where the content starts in the file, for the one to whom the descriptor is sent.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Reads some bytes of the content at `at`; 0 at its end.
    pub fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let rest = self.len.saturating_sub(at);
        let len = usize::try_from(rest).unwrap_or(usize::MAX).min(buffer.len());
        FileExt::read_at(&self.file, &mut buffer[..len], self.offset + at.min(self.len))
    }
}

impl From<Body> for OwnedFd {
    /// The descriptor alone, for the one to whom it is sent.
    fn from(body: Body) -> OwnedFd {
        body.file.into()
    }
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.read_at(buffer, self.position)?;
        self.position += read as u64;
        Ok(read)
    }
}

impl AsFd for Body {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_message_cannot_change() {
        let mut draft = Draft::new().unwrap();
        draft.write_all(b"Subject: x\n\nbody\n").unwrap();
        let unsealed = draft.file.as_fd().try_clone_to_owned().unwrap();
        assert!(Body::sealed(unsealed).is_err());

        let body = draft.seal().unwrap();
        let fd = body.as_fd().try_clone_to_owned().unwrap();
        let mut received = Body::sealed(fd).unwrap();
        let mut text = String::new();
        received.read_to_string(&mut text).unwrap();
        assert_eq!(text, "Subject: x\n\nbody\n");
        assert_eq!(received.len(), 17);

        let file = File::from(body.as_fd().try_clone_to_owned().unwrap());
        assert!(file.write_all_at(b"X", 0).is_err());
        assert!(file.set_len(0).is_err());
        assert!(file.set_len(100).is_err());
    }

    #[test]
    fn two_readers_of_one_descriptor_do_not_disturb_each_other() {
        let mut draft = Draft::new().unwrap();
        draft.write_all(b"0123456789").unwrap();
        let mut first = draft.seal().unwrap();
        let mut second = Body::new(first.as_fd().try_clone_to_owned().unwrap(), 2, 5);
        let mut buffer = [0; 3];
        assert_eq!(first.read(&mut buffer).unwrap(), 3);
        assert_eq!(second.read(&mut buffer).unwrap(), 3);
        assert_eq!(&buffer, b"234");
        assert_eq!(second.read(&mut buffer).unwrap(), 2);
        assert_eq!(second.read(&mut buffer).unwrap(), 0);
        assert_eq!(second.read_at(&mut buffer, u64::MAX).unwrap(), 0);
    }
}
