//! The way to passwd-files: beneath the folders that the master opened, one for each path of the configuration (the part
//! before its first variable).
//!
//! A path is opened relative to its folder by one system call that cannot leave it (`openat2`, `RESOLVE_BENEATH`): neither
//! `..` nor a relative link leads out. A file that is itself a link with an absolute target is looked for again under the
//! folder that holds the target, if there is one. Nothing is opened that is no regular file.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2, readlinkat};
use nix::sys::stat::{FileStat, SFlag, fstat};
use store_passwords::passwd_file::{MAX_FILE, OpenError, Opener, Stamp};
use worker::Folder;
use zeroize::Zeroizing;

/// Absolute links that are followed one after the other.
const MAX_LINKS: usize = 8;

/// The folders.
pub struct Folders(pub Vec<Folder>);

impl Folders {
    fn open(&self, path: &str, flags: OFlag) -> Result<OwnedFd, Errno> {
        let mut path = PathBuf::from(path);
        for _ in 0..MAX_LINKS {
            let (folder, rest) = self.folder_of(&path).ok_or(Errno::ENOENT)?;
            let how = OpenHow::new()
                .flags(flags | OFlag::O_CLOEXEC)
                .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS);
            match openat2(folder.fd.as_fd(), rest, how) {
                // What leads out of the folder may be a link into another one.
                Err(Errno::EXDEV) => match readlinkat(folder.fd.as_fd(), rest) {
                    Ok(target) if Path::new(&target).is_absolute() => path = target.into(),
                    Ok(_) | Err(_) => return Err(Errno::EXDEV),
                },
                opened => return opened,
            }
        }
        Err(Errno::ELOOP)
    }

    /// The innermost folder that the path lies in, and the path below it.
    fn folder_of<'p>(&self, path: &'p Path) -> Option<(&Folder, &'p Path)> {
        let candidates = self.0.iter().filter_map(|folder| Some((folder, path.strip_prefix(&folder.path).ok()?)));
        candidates.max_by_key(|(folder, _)| folder.path.as_os_str().len())
    }
}

impl Opener for Folders {
    fn stamp(&self, path: &str) -> Result<Stamp, OpenError> {
        let fd = self.open(path, OFlag::O_PATH).map_err(told)?;
        regular(&fd)
    }

    fn read(&self, path: &str) -> Result<(Stamp, Zeroizing<Vec<u8>>), OpenError> {
        // A pipe that somebody put there is not waited for.
        let fd = self.open(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK).map_err(told)?;
        let stamp = regular(&fd)?;
        if stamp.size > MAX_FILE {
            return Err(OpenError::Failed(format!("larger than {MAX_FILE} bytes")));
        }
        // With room for the whole file nothing is moved while it grows, and no copy stays behind unwiped.
        let mut content = Zeroizing::new(Vec::with_capacity(stamp.size as usize + 1));
        let read = File::from(fd).take(stamp.size).read_to_end(&mut content);
        read.map_err(|error| OpenError::Failed(error.to_string()))?;
        Ok((stamp, content))
    }
}

fn regular(fd: &OwnedFd) -> Result<Stamp, OpenError> {
    let stat = fstat(fd).map_err(told)?;
    if SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT != SFlag::S_IFREG {
        return Err(OpenError::Failed("Not a regular file".into()));
    }
    Ok(stamp(&stat))
}

fn stamp(stat: &FileStat) -> Stamp {
    Stamp { modified: (stat.st_mtime, stat.st_mtime_nsec), size: stat.st_size as u64, inode: stat.st_ino }
}

fn told(errno: Errno) -> OpenError {
    match errno {
        Errno::ENOENT | Errno::ENOTDIR => OpenError::Missing,
        other => OpenError::Failed(other.desc().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn folder(path: &Path) -> Folder {
        Folder { path: path.into(), fd: File::open(path).unwrap().into() }
    }

    #[test]
    fn links_stay_beneath_the_folders() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        for name in ["a", "a/sub", "b", "out"] {
            std::fs::create_dir(at(name)).unwrap();
        }
        for name in ["a/users", "b/users", "out/secret"] {
            std::fs::write(at(name), name).unwrap();
        }
        symlink("../users", at("a/sub/near")).unwrap();
        symlink(at("b/users"), at("a/far")).unwrap();
        symlink(at("out/secret"), at("a/leak")).unwrap();
        symlink("../out/secret", at("a/climb")).unwrap();
        symlink(at("a/loop"), at("a/loop")).unwrap();
        let folders = Folders(vec![folder(&at("a")), folder(&at("b"))]);
        let read = |name: &str| {
            let (stamp, content) = folders.read(at(name).to_str().unwrap())?;
            assert_eq!(folders.stamp(at(name).to_str().unwrap())?, stamp);
            Ok::<_, OpenError>(String::from_utf8(content.to_vec()).unwrap())
        };
        assert_eq!(read("a/users").unwrap(), "a/users");
        assert_eq!(read("a/sub/near").unwrap(), "a/users");
        assert_eq!(read("a/far").unwrap(), "b/users");
        for name in ["out/secret", "a/leak", "a/none", "a/users/x"] {
            assert_eq!(read(name), Err(OpenError::Missing), "{name}");
        }
        for name in ["a/climb", "a/../out/secret", "a/sub", "a/loop"] {
            assert!(matches!(read(name), Err(OpenError::Failed(_))), "{name}");
        }
    }

    #[test]
    fn a_changed_file_has_another_stamp() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("users");
        std::fs::write(&path, "a").unwrap();
        let folders = Folders(vec![folder(root.path())]);
        let before = folders.stamp(path.to_str().unwrap()).unwrap();
        std::fs::write(root.path().join("new"), "b").unwrap();
        std::fs::rename(root.path().join("new"), &path).unwrap();
        assert_ne!(folders.stamp(path.to_str().unwrap()).unwrap(), before);
    }
}
