//! The files of tables, reached through the folder descriptors that the master opened: no path is opened by itself, and
//! nothing outside these folders.
//!
//! The kernel resolves a name beneath its folder and refuses whatever leads out of it. A link that does (an absolute one, or
//! one through `..`) is followed here, step by step, and must end beneath one of the folders. [`MAX_LINKS`] bounds it.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2, readlinkat};
use store_tables::{Files, Stamp};
use worker::Folder;

/// How long a look at a file's time and size is good.
const LOOK: Duration = Duration::from_secs(1);
/// Links on the way to one file (Linux's own limit).
const MAX_LINKS: usize = 40;

/// The folders.
#[derive(Debug)]
pub struct FolderFiles {
    folders: Vec<Folder>,
    looks: Mutex<HashMap<String, Look>>,
}

/// When a file was looked at, and what was seen.
type Look = (Instant, Result<Stamp, Errno>);

impl FolderFiles {
    /// Files beneath `folders` and nowhere else.
    pub fn new(folders: Vec<Folder>) -> FolderFiles {
        FolderFiles { folders, looks: Mutex::new(HashMap::new()) }
    }

    fn look(&self, path: &str) -> Result<Stamp, Errno> {
        let file = self.open_path(Path::new(path))?;
        let meta =
            file.metadata().map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(Errno::EIO as i32)))?;
        Ok(Stamp::from(&meta))
    }

    fn open_path(&self, path: &Path) -> Result<File, Errno> {
        match self.beneath(path) {
            // It is a link that leads out of its folder, or through another.
            Err(Errno::EXDEV) => self.beneath(&self.without_links(path)?),
            opened => opened,
        }
    }

    /// Opens a path that stays beneath its folder.
    fn beneath(&self, path: &Path) -> Result<File, Errno> {
        let (folder, rest) = self.folder_of(path).ok_or(Errno::EACCES)?;
        // Not blocking, so that a FIFO in place of a table stops nothing.
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        let how =
            OpenHow::new().flags(flags).resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        openat2(folder, rest, how).map(File::from)
    }

    /// The folder that `path` lies beneath (the innermost of them) and the rest of the path.
    fn folder_of<'p>(&self, path: &'p Path) -> Option<(BorrowedFd<'_>, &'p Path)> {
        let candidates = (self.folders.iter())
            .filter_map(|folder| Some((folder, path.strip_prefix(&folder.path).ok()?)))
            .filter(|(_, rest)| *rest != Path::new(""));
        let (folder, rest) = candidates.max_by_key(|(folder, _)| folder.path.as_os_str().len())?;
        Some((folder.fd.as_fd(), rest))
    }

    /// The same path with every link in it replaced by what it points to.
    fn without_links(&self, path: &Path) -> Result<PathBuf, Errno> {
        let mut done = PathBuf::from("/");
        let mut todo: Vec<PathBuf> = parts(path);
        let mut links = 0;
        while let Some(part) = todo.pop() {
            if part == Path::new("..") {
                done.pop();
                continue;
            }
            let next = done.join(&part);
            // Above the folders there is nothing to read: the configuration's own path leads through there.
            let link = self.folder_of(&next).map(|(folder, rest)| readlinkat(folder, rest));
            match link {
                Some(Ok(target)) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(Errno::ELOOP);
                    }
                    let target = PathBuf::from(target);
                    if target.is_absolute() {
                        done = PathBuf::from("/");
                    }
                    todo.extend(parts(&target));
                }
                Some(Err(Errno::EINVAL)) | None => done = next,
                Some(Err(error)) => return Err(error),
            }
        }
        Ok(done)
    }
}

/// The components of a path that are to be walked, the last one first.
fn parts(path: &Path) -> Vec<PathBuf> {
    let walked = path.components().filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir));
    walked.rev().map(|part| PathBuf::from(part.as_os_str())).collect()
}

impl Files for FolderFiles {
    fn open(&self, path: &str) -> io::Result<File> {
        Ok(self.open_path(Path::new(path))?)
    }

    /// From memory for [`LOOK`]: a table is looked at once a second at most.
    fn stamp(&self, path: &str) -> io::Result<Stamp> {
        // A look is whole or absent, so a panic elsewhere while the lock was held does not matter.
        let mut looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        match looks.get(path) {
            Some((looked, stamp)) if now - *looked < LOOK => Ok((*stamp)?),
            _ => {
                // As many entries as there are tables in the configuration.
                let stamp = self.look(path);
                looks.insert(path.to_owned(), (now, stamp));
                Ok(stamp?)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn folder(path: &Path) -> Folder {
        Folder { path: path.to_owned(), fd: File::open(path).unwrap().into() }
    }

    fn read(files: &FolderFiles, path: &Path) -> Result<String, Option<i32>> {
        let file = files.open(path.to_str().unwrap()).map_err(|error| error.raw_os_error())?;
        Ok(io::read_to_string(file).unwrap())
    }

    #[test]
    fn only_what_lies_beneath_the_folders() {
        let root = tempfile::tempdir().unwrap();
        let (a, b) = (root.path().join("a"), root.path().join("a/sub/b"));
        fs::create_dir_all(&b).unwrap();
        fs::create_dir(root.path().join("c")).unwrap();
        for (path, text) in [("a/x", "ax"), ("a/sub/b/x", "bx"), ("c/x", "cx")] {
            fs::write(root.path().join(path), text).unwrap();
        }
        let link = |target: &str, name: &str| symlink(target, a.join(name)).unwrap();
        link("x", "near");
        link("sub/b/../b/x", "within");
        link("../a/x", "out and in");
        link(root.path().join("a/sub").to_str().unwrap(), "folder");
        link(root.path().join("c/x").to_str().unwrap(), "out");
        link("../c/x", "up");
        link("loop", "loop");
        link(a.join("absolute loop").to_str().unwrap(), "absolute loop");
        let files = FolderFiles::new(vec![folder(&a), folder(&b)]);
        let read = |name: &str| read(&files, &a.join(name));
        for (name, text) in [
            ("x", "ax"),
            ("sub/b/x", "bx"),
            ("near", "ax"),
            ("within", "bx"),
            ("out and in", "ax"),
            ("folder/b/x", "bx"),
        ] {
            assert_eq!(read(name).as_deref(), Ok(text), "{name}");
        }
        for (name, errno) in [
            ("missing", Errno::ENOENT),
            ("out", Errno::EACCES),
            ("up", Errno::EACCES),
            ("../c/x", Errno::EACCES),
            ("loop", Errno::ELOOP),
            ("absolute loop", Errno::ELOOP),
        ] {
            assert_eq!(read(name), Err(Some(errno as i32)), "{name}");
        }
        assert_eq!(super::tests::read(&files, &root.path().join("c/x")), Err(Some(Errno::EACCES as i32)));
    }

    #[test]
    fn a_change_is_seen_when_the_last_look_is_a_second_old() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("t");
        fs::write(&path, "1").unwrap();
        let files = FolderFiles::new(vec![folder(root.path())]);
        let stamp = || files.stamp(path.to_str().unwrap()).map(|stamp| stamp.size).map_err(|error| error.kind());
        assert_eq!(stamp(), Ok(1));
        fs::write(&path, "22").unwrap();
        assert_eq!(stamp(), Ok(1), "it was looked at just now");
        let age = |files: &FolderFiles| {
            files.looks.lock().unwrap().values_mut().for_each(|(looked, _)| *looked -= LOOK);
        };
        age(&files);
        assert_eq!(stamp(), Ok(2));
        fs::remove_file(&path).unwrap();
        age(&files);
        assert_eq!(stamp(), Err(io::ErrorKind::NotFound));
    }
}
