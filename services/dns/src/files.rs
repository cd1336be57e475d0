//! `/etc/resolv.conf` and `/etc/hosts`, reached through the folders that the master opened, and read again when they
//! change. One look a second at most.
//!
//! The kernel resolves a name beneath its folder. A link that leads out of it (`resolv.conf` often leads to `/run`) is
//! followed here, and must end beneath another of the folders.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2, readlinkat};
use worker::Folder;

/// How long a look at the files is good.
const LOOK: Duration = Duration::from_secs(1);
/// Links on the way to one file.
const MAX_LINKS: usize = 8;
/// Bytes that are read of a file.
const MAX_FILE: u64 = 4 * 1024 * 1024;

const RESOLV_CONF: &str = "/etc/resolv.conf";
const HOSTS: &str = "/etc/hosts";

/// What tells one state of a file from another; `None` for a file that is not there.
type Stamp = Option<(u64, u64, u64, i64, i64)>;

/// The two files.
pub struct Files {
    folders: Vec<Folder>,
    looked: Option<Instant>,
    resolv_conf: Stamp,
    hosts: Stamp,
}

/// New contents of the files that have changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// Of `/etc/resolv.conf`; empty for a file that is not there.
    pub resolv_conf: Option<String>,
    /// Of `/etc/hosts`, likewise.
    pub hosts: Option<String>,
}

impl Files {
    /// Files beneath these folders.
    pub fn new(folders: Vec<Folder>) -> Files {
        Files { folders, looked: None, resolv_conf: None, hosts: None }
    }

    /// What has changed since the last look.
    pub fn look(&mut self, now: Instant) -> Changed {
        if self.looked.is_some_and(|looked| now - looked < LOOK) {
            return Changed::default();
        }
        self.looked = Some(now);
        let mut changed = Changed::default();
        let folders = &self.folders;
        for (path, stamp, text) in [
            (RESOLV_CONF, &mut self.resolv_conf, &mut changed.resolv_conf),
            (HOSTS, &mut self.hosts, &mut changed.hosts),
        ] {
            let file = open(folders, Path::new(path)).ok();
            let found = file.as_ref().and_then(|file| stamp_of(file).ok());
            if found != *stamp {
                *stamp = found;
                *text = Some(file.and_then(|file| read(file).ok()).unwrap_or_default());
            }
        }
        changed
    }
}

fn stamp_of(file: &File) -> io::Result<(u64, u64, u64, i64, i64)> {
    let meta = file.metadata()?;
    Ok((meta.dev(), meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec()))
}

fn read(file: File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.take(MAX_FILE).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Opens a file beneath one of the folders.
fn open(folders: &[Folder], path: &Path) -> nix::Result<File> {
    let mut path = path.to_path_buf();
    for _ in 0..MAX_LINKS {
        let beneath = folders.iter().find_map(|folder| Some((folder, path.strip_prefix(&folder.path).ok()?)));
        let (folder, rest) = beneath.ok_or(Errno::EACCES)?;
        // Not blocking, so that a FIFO stops nothing.
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        let how =
            OpenHow::new().flags(flags).resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        match openat2(folder.fd.as_fd(), rest, how) {
            Err(Errno::EXDEV) => {
                let target = readlinkat(folder.fd.as_fd(), rest)?;
                path = normal(&path.with_file_name(target));
            }
            opened => return opened.map(File::from),
        }
    }
    Err(Errno::ELOOP)
}

/// The path without `.` and `..`.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(normal.pop()),
            Component::CurDir => {}
            part => normal.push(part),
        }
    }
    normal
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn folder(at: &Path, path: &str) -> Folder {
        fs::create_dir_all(at).unwrap();
        Folder { path: path.into(), fd: File::open(at).unwrap().into() }
    }

    #[test]
    fn changes_are_seen_through_links_and_nothing_outside_is_read() {
        let root = tempfile::tempdir().unwrap();
        let (etc, run) = (root.path().join("etc"), root.path().join("run"));
        let folders = vec![folder(&etc, "/etc"), folder(&run, "/run/resolve")];
        let mut files = Files::new(folders);
        let mut now = Instant::now();
        symlink("../run/./resolve/stub.conf", etc.join("resolv.conf")).unwrap();
        symlink("/secret", etc.join("hosts")).unwrap();
        fs::write(run.join("stub.conf"), "nameserver 192.0.2.1").unwrap();
        let text = |text: &str| Some(text.to_string());
        assert_eq!(files.look(now), Changed { resolv_conf: text("nameserver 192.0.2.1"), hosts: None });
        fs::write(run.join("stub.conf"), "").unwrap();
        fs::remove_file(etc.join("hosts")).unwrap();
        fs::write(etc.join("hosts"), "::1 localhost").unwrap();
        assert_eq!(files.look(now), Changed::default(), "one look a second");
        now += LOOK;
        assert_eq!(files.look(now), Changed { resolv_conf: text(""), hosts: text("::1 localhost") });
        now += LOOK;
        assert_eq!(files.look(now), Changed::default());
        fs::remove_file(etc.join("hosts")).unwrap();
        symlink("hosts", etc.join("hosts")).unwrap();
        now += LOOK;
        assert_eq!(files.look(now), Changed { resolv_conf: None, hosts: text("") }, "gone, or a loop");
    }
}
