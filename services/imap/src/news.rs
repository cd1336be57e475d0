//! News of folders, for all sessions of an account: one notification instance, because the kernel allows an account only so
//! many (`fs.inotify.max_user_instances`). It is made for the first session that asks.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use inotify::{EventMask, Inotify, WatchDescriptor, WatchMask};
use nix::unistd::fchdir;

/// Bytes for events that are read at a time.
const BUFFER: usize = 4096;

/// Folders that are watched.
#[derive(Default)]
pub struct News {
    inotify: Option<Inotify>,
}

/// What has happened.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Happened {
    /// Folders that changed, each once.
    pub folders: Vec<WatchDescriptor>,
    /// Events were lost: any folder may have changed.
    pub lost: bool,
}

impl News {
    /// Begins. The descriptor becomes readable when something has happened.
    ///
    /// # Errors
    /// What the system says, e.g. that the account has as many instances as it may.
    pub fn begin(&mut self) -> io::Result<Option<OwnedFd>> {
        if self.inotify.is_some() {
            return Ok(None);
        }
        let inotify = Inotify::init()?;
        let readable = inotify.as_fd().try_clone_to_owned()?;
        self.inotify = Some(inotify);
        Ok(Some(readable))
    }

    /// Watches a folder. A folder that is watched already has the same descriptor again.
    ///
    /// # Errors
    /// What the system says, e.g. that there are as many watches as may be.
    pub fn watch(&mut self, folder: BorrowedFd<'_>) -> io::Result<WatchDescriptor> {
        let inotify = self.inotify.as_mut().ok_or(io::ErrorKind::NotFound)?;
        let mask = WatchMask::CREATE | WatchMask::DELETE | WatchMask::MOVE | WatchMask::MODIFY | WatchMask::ONLYDIR;
        // A watch is set on a path, and this is the only one that always leads there. Nothing else here has a relative path.
        fchdir(folder)?;
        inotify.watches().add(".", mask)
    }

    /// Watches a folder no longer.
    pub fn unwatch(&mut self, folder: WatchDescriptor) {
        if let Some(inotify) = &mut self.inotify {
            // One that was deleted is not watched any more.
            let _ = inotify.watches().remove(folder);
        }
    }

    /// Takes what has happened so far.
    pub fn take(&mut self) -> Happened {
        let mut happened = Happened::default();
        let Some(inotify) = &mut self.inotify else { return happened };
        let mut buffer = [0; BUFFER];
        while let Ok(events) = inotify.read_events(&mut buffer) {
            let mut any = false;
            for event in events {
                any = true;
                happened.lost |= event.mask.contains(EventMask::Q_OVERFLOW);
                if happened.folders.last() != Some(&event.wd) {
                    happened.folders.push(event.wd);
                }
            }
            if !any {
                break;
            }
        }
        happened.folders.sort_unstable();
        happened.folders.dedup();
        happened
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn folders_tell_of_what_happens_in_them() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        for path in [&a, &b] {
            fs::create_dir(path).unwrap();
        }
        let open = |path: &std::path::PathBuf| fs::File::open(path).unwrap();
        let mut news = News::default();
        assert!(news.watch(open(&a).as_fd()).is_err(), "nothing has begun");
        assert!(news.begin().unwrap().is_some());
        assert!(news.begin().unwrap().is_none());
        let (first, second) = (news.watch(open(&a).as_fd()).unwrap(), news.watch(open(&b).as_fd()).unwrap());
        assert_eq!(news.watch(open(&a).as_fd()).unwrap(), first);
        assert!(news.watch(open(&"/dev/null".into()).as_fd()).is_err());
        assert_eq!(news.take(), Happened::default());

        fs::write(a.join("x"), "x").unwrap();
        fs::rename(a.join("x"), b.join("x")).unwrap();
        let Happened { folders, lost } = news.take();
        assert!(folders.contains(&first) && folders.contains(&second) && folders.len() == 2 && !lost);
        news.unwatch(second);
        fs::remove_dir_all(&a).unwrap();
        news.take();
        news.unwatch(first);
        fs::write(b.join("y"), "y").unwrap();
        news.take();
        fs::write(b.join("z"), "z").unwrap();
        assert_eq!(news.take(), Happened::default());
    }
}
