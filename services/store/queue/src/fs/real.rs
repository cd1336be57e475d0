//! The disk: paths are resolved beneath one directory descriptor, and links are never followed.

use std::fs::File as StdFile;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use nix::dir::Dir;
use nix::fcntl::{AtFlags, OFlag, open, openat, renameat};
use nix::sys::stat::{Mode, fchmod, mkdirat};
use nix::sys::statfs::fstatfs;
use nix::unistd::{UnlinkatFlags, fsync, linkat, unlinkat};

use super::{Access, File, Fs};
use crate::folder::TMP;

/// The queue directory, by descriptor: it works the same before and behind a chroot.
///
/// Queue files, which start in `tmp/`, are `rw-rw----` and folders `rwxrwx---`, whatever the umask: `cleanup` and `qmgr` share
/// them by their common group, and the kernel (`fs.protected_hardlinks`) lets `qmgr` give another name to a file of
/// `cleanup` only where it could write it, too. Every other file is its maker's alone. Delivery agents are not in that
/// group; they get a descriptor that was opened for reading.
#[derive(Debug, Clone)]
pub struct Directory(Arc<OwnedFd>);

const PRIVATE_MODE: Mode = Mode::from_bits_truncate(0o600);
const SHARED_MODE: Mode = Mode::from_bits_truncate(0o660);
/// With setgid, as their parent: what either program makes in a folder belongs to the group, whatever its own.
const DIR_MODE: Mode = Mode::from_bits_truncate(0o2770);

impl Directory {
    pub fn open(path: &Path) -> io::Result<Directory> {
        let fd = open(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
        Ok(Directory::from(fd))
    }

    fn open_at(&self, path: &str, flags: OFlag) -> io::Result<OwnedFd> {
        Ok(openat(&self.0, path, flags | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW, PRIVATE_MODE)?)
    }
}

impl From<OwnedFd> for Directory {
    fn from(fd: OwnedFd) -> Directory {
        Directory(Arc::new(fd))
    }
}

impl Fs for Directory {
    type File = StdFile;

    fn create(&self, path: &str) -> io::Result<StdFile> {
        let fd = self.open_at(path, OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL)?;
        if path.starts_with(TMP) {
            fchmod(&fd, SHARED_MODE)?;
        }
        Ok(fd.into())
    }

    fn open(&self, path: &str, access: Access) -> io::Result<StdFile> {
        let flags = match access {
            Access::Read => OFlag::O_RDONLY,
            Access::ReadWrite => OFlag::O_RDWR,
        };
        Ok(self.open_at(path, flags | OFlag::O_NONBLOCK)?.into())
    }

    fn link(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(linkat(&self.0, from, &self.0, to, AtFlags::empty())?)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(renameat(&self.0, from, &self.0, to)?)
    }

    fn unlink(&self, path: &str) -> io::Result<()> {
        Ok(unlinkat(&self.0, path, UnlinkatFlags::NoRemoveDir)?)
    }

    fn make_dir(&self, path: &str) -> io::Result<()> {
        mkdirat(&self.0, path, DIR_MODE)?;
        Ok(fchmod(self.open_at(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY)?, DIR_MODE)?)
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        Ok(fsync(self.open_at(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY)?)?)
    }

    fn free(&self) -> io::Result<u64> {
        let disk = fstatfs(&self.0)?;
        Ok(disk.blocks_available().saturating_mul(disk.block_size().unsigned_abs()))
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        let mut dir = Dir::from_fd(self.open_at(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY)?)?;
        let mut names = Vec::new();
        for entry in dir.iter() {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name != "." && name != ".." {
                names.push(name);
            }
        }
        Ok(names)
    }
}

impl File for StdFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match FileExt::read_at(self, &mut buffer[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.set_len(len)
    }
}
