//! The file system, reached beneath the directory descriptors that the process held when it entered its jail.
//!
//! Links are resolved here, component by component, and only where they stay beneath a held root; root never follows
//! one. Files are opened with `O_NOFOLLOW`: a message, a list or a lock is never a link.

use std::{
    fs::{File, FileTimes},
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::{FileExt, MetadataExt},
    },
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use nix::{
    errno::Errno,
    fcntl::{AtFlags, OFlag, openat, readlinkat, renameat},
    sys::{
        signal,
        stat::{FileStat, Mode, SFlag, fstat, fstatat, mkdirat},
    },
    time::{ClockId, clock_gettime},
    unistd::{Pid, UnlinkatFlags, fsync, geteuid, linkat, syncfs, unlinkat},
};

use super::{
    Entry, EntryKind, Fs, Meta, Timestamp, checked,
    resolve::{MAX_LINKS, Place, target},
};

const DIRECTORY: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);
const FILE: OFlag = OFlag::O_NOFOLLOW.union(OFlag::O_CLOEXEC).union(OFlag::O_NONBLOCK);

/// An open directory beneath a held root.
#[derive(Debug, Clone)]
pub struct RealDir {
    descriptor: Arc<OwnedFd>,
    place: Place,
}

impl AsFd for RealDir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_ref().as_fd()
    }
}

/// The file system beneath the held roots.
#[derive(Debug)]
pub struct RealFs {
    roots: Vec<(Vec<u8>, Arc<OwnedFd>)>,
    host: Vec<u8>,
    booted: Timestamp,
    process: u32,
    follows_links: bool,
    longest_wait: Duration,
}

impl RealFs {
    /// `roots` are the absolute paths and open descriptors of the directories that the process may reach, `host` the
    /// machine's name. Called in the process that uses it: the process number and the user are asked here.
    pub fn new(roots: Vec<(Vec<u8>, OwnedFd)>, host: &[u8]) -> io::Result<Self> {
        let up = clock_gettime(ClockId::CLOCK_BOOTTIME)?;
        let now = wall_clock();
        Ok(Self {
            roots: roots.into_iter().map(|(path, descriptor)| (path, Arc::new(descriptor))).collect(),
            host: escape_host(host),
            booted: now.plus(-up.tv_sec()),
            process: std::process::id(),
            follows_links: !geteuid().is_root(),
            longest_wait: Duration::MAX,
        })
    }

    /// The same, where locks of other programs are waited for no longer than `longest`.
    pub fn waiting_at_most(self, longest: Duration) -> Self {
        Self { longest_wait: longest, ..self }
    }

    /// The held root of that number.
    pub fn root(&self, number: usize) -> Option<RealDir> {
        let (_, descriptor) = self.roots.get(number)?;
        Some(RealDir { descriptor: descriptor.clone(), place: Place { root: number, components: Vec::new() } })
    }

    /// The longest held root that holds the absolute `path`, and the components of `path` below it.
    pub fn locate(&self, path: &[u8]) -> Option<(RealDir, Vec<Vec<u8>>)> {
        let nowhere = Place { root: 0, components: Vec::new() };
        let place = target(&self.root_paths(), &nowhere, path).filter(|_| path.first() == Some(&b'/'))?;
        Some((self.root(place.root)?, place.components))
    }

    /// Another descriptor of `dir`, to hold it as a root of its own.
    pub fn descriptor(&self, dir: &RealDir) -> io::Result<OwnedFd> {
        dir.descriptor.try_clone()
    }

    fn root_paths(&self) -> Vec<Vec<u8>> {
        self.roots.iter().map(|(path, _)| path.clone()).collect()
    }

    fn walk(&self, at: &RealDir, name: &[u8], links: usize) -> io::Result<RealDir> {
        match openat(&*at.descriptor, name, DIRECTORY, Mode::empty()) {
            Ok(descriptor) => {
                let mut place = at.place.clone();
                place.components.push(name.to_vec());
                Ok(RealDir { descriptor: Arc::new(descriptor), place })
            }
            Err(error @ (Errno::ELOOP | Errno::ENOTDIR)) => {
                let Ok(link) = readlinkat(&*at.descriptor, name) else { return Err(error.into()) };
                if !self.follows_links || links == MAX_LINKS {
                    return Err(Errno::ELOOP.into());
                }
                let link = std::os::unix::ffi::OsStrExt::as_bytes(link.as_os_str());
                let place = target(&self.root_paths(), &at.place, link).ok_or(Errno::EXDEV)?;
                let mut dir = self.root(place.root).ok_or(Errno::EXDEV)?;
                for component in &place.components {
                    dir = self.walk(&dir, component, links + 1)?;
                }
                Ok(dir)
            }
            Err(error) => Err(error.into()),
        }
    }
}

impl Fs for RealFs {
    type Dir = RealDir;
    type File = File;

    fn open_dir(&self, at: &RealDir, name: &[u8]) -> io::Result<RealDir> {
        self.walk(at, checked(name)?, 0)
    }

    fn make_dir(&self, at: &RealDir, name: &[u8], mode: u32) -> io::Result<()> {
        Ok(mkdirat(&*at.descriptor, checked(name)?, Mode::from_bits_truncate(mode))?)
    }

    fn remove_dir(&self, at: &RealDir, name: &[u8]) -> io::Result<()> {
        Ok(unlinkat(&*at.descriptor, checked(name)?, UnlinkatFlags::RemoveDir)?)
    }

    fn list(&self, dir: &RealDir) -> io::Result<Vec<Entry>> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut stream = nix::dir::Dir::openat(&*dir.descriptor, c".", flags, Mode::empty())?;
        let mut entries = Vec::new();
        for entry in stream.iter() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            use nix::dir::Type;
            let kind = match entry.file_type() {
                Some(Type::File) => EntryKind::File,
                Some(Type::Directory) => EntryKind::Directory,
                Some(Type::Symlink) => EntryKind::Link,
                Some(_) => EntryKind::Other,
                // Some file systems do not say: ask.
                None => match self.stat_at(dir, name) {
                    Ok(meta) => meta.kind,
                    Err(_) => continue,
                },
            };
            entries.push(Entry { name: name.to_vec(), kind });
        }
        Ok(entries)
    }

    fn stat_dir(&self, dir: &RealDir) -> io::Result<Meta> {
        Ok(meta(&fstat(&*dir.descriptor)?))
    }

    fn sync_dir(&self, dir: &RealDir) -> io::Result<()> {
        Ok(fsync(&*dir.descriptor)?)
    }

    fn sync_all(&self, dir: &RealDir) -> io::Result<()> {
        Ok(syncfs(&*dir.descriptor)?)
    }

    fn open(&self, at: &RealDir, name: &[u8]) -> io::Result<File> {
        regular(openat(&*at.descriptor, checked(name)?, FILE | OFlag::O_RDONLY, Mode::empty())?.into())
    }

    fn open_append(&self, at: &RealDir, name: &[u8]) -> io::Result<File> {
        let flags = FILE | OFlag::O_RDWR | OFlag::O_APPEND;
        regular(openat(&*at.descriptor, checked(name)?, flags, Mode::empty())?.into())
    }

    fn create(&self, at: &RealDir, name: &[u8], mode: u32) -> io::Result<File> {
        let flags = FILE | OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL;
        Ok(openat(&*at.descriptor, checked(name)?, flags, Mode::from_bits_truncate(mode))?.into())
    }

    fn read_at(&self, file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        file.read_at(buffer, offset)
    }

    fn append(&self, mut file: &File, bytes: &[u8]) -> io::Result<()> {
        io::Write::write_all(&mut file, bytes)
    }

    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        file.write_all_at(bytes, offset)
    }

    fn sync_file(&self, file: &File) -> io::Result<()> {
        file.sync_all()
    }

    fn stat(&self, file: &File) -> io::Result<Meta> {
        let found = file.metadata()?;
        Ok(Meta {
            device: found.dev(),
            inode: found.ino(),
            size: found.size(),
            links: found.nlink(),
            mode: found.mode() & 0o7777,
            modified: Timestamp { secs: found.mtime(), nanos: found.mtime_nsec() as u32 },
            changed: Timestamp { secs: found.ctime(), nanos: found.ctime_nsec() as u32 },
            kind: EntryKind::File,
        })
    }

    fn stat_at(&self, at: &RealDir, name: &[u8]) -> io::Result<Meta> {
        Ok(meta(&fstatat(&*at.descriptor, checked(name)?, AtFlags::AT_SYMLINK_NOFOLLOW)?))
    }

    fn set_modified(&self, file: &File, time: Timestamp) -> io::Result<()> {
        let since = Duration::new(time.secs.unsigned_abs(), 0);
        let moment = if time.secs < 0 { UNIX_EPOCH - since } else { UNIX_EPOCH + since };
        file.set_times(FileTimes::new().set_modified(moment + Duration::from_nanos(time.nanos.into())))
    }

    fn lock(&self, file: &File) -> io::Result<()> {
        file.lock()
    }

    fn rename(&self, from_dir: &RealDir, from: &[u8], to_dir: &RealDir, to: &[u8]) -> io::Result<()> {
        Ok(renameat(&*from_dir.descriptor, checked(from)?, &*to_dir.descriptor, checked(to)?)?)
    }

    fn link(&self, from_dir: &RealDir, from: &[u8], to_dir: &RealDir, to: &[u8]) -> io::Result<()> {
        let no_follow = AtFlags::empty();
        Ok(linkat(&*from_dir.descriptor, checked(from)?, &*to_dir.descriptor, checked(to)?, no_follow)?)
    }

    fn unlink(&self, at: &RealDir, name: &[u8]) -> io::Result<()> {
        Ok(unlinkat(&*at.descriptor, checked(name)?, UnlinkatFlags::NoRemoveDir)?)
    }

    fn now(&self) -> Timestamp {
        wall_clock()
    }

    fn booted(&self) -> Timestamp {
        self.booted
    }

    fn host(&self) -> &[u8] {
        &self.host
    }

    fn process(&self) -> u32 {
        self.process
    }

    fn process_exists(&self, process: u32) -> bool {
        let Ok(process) = i32::try_from(process) else { return false };
        // EPERM means that it runs as somebody else.
        signal::kill(Pid::from_raw(process), None) != Err(Errno::ESRCH)
    }

    fn pause(&self, time: Duration) {
        std::thread::sleep(time);
    }

    fn longest_wait(&self) -> Duration {
        self.longest_wait
    }
}

fn regular(file: File) -> io::Result<File> {
    if file.metadata()?.is_file() { Ok(file) } else { Err(Errno::EINVAL.into()) }
}

fn wall_clock() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp { secs: since.as_secs() as i64, nanos: since.subsec_nanos() }
}

/// A Maildir name may hold neither `/` nor `:`: the Maildir specification's escapes.
fn escape_host(host: &[u8]) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(host.len());
    for byte in host {
        match byte {
            b'/' => escaped.extend_from_slice(b"\\057"),
            b':' => escaped.extend_from_slice(b"\\072"),
            other => escaped.push(*other),
        }
    }
    escaped
}

fn meta(found: &FileStat) -> Meta {
    let kind = match SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT {
        SFlag::S_IFREG => EntryKind::File,
        SFlag::S_IFDIR => EntryKind::Directory,
        SFlag::S_IFLNK => EntryKind::Link,
        _ => EntryKind::Other,
    };
    Meta {
        device: found.st_dev,
        inode: found.st_ino,
        size: found.st_size as u64,
        links: found.st_nlink,
        mode: found.st_mode & 0o7777,
        modified: Timestamp { secs: found.st_mtime, nanos: found.st_mtime_nsec as u32 },
        changed: Timestamp { secs: found.st_ctime, nanos: found.st_ctime_nsec as u32 },
        kind,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn held(path: &std::path::Path) -> RealFs {
        let root = File::open(path).unwrap();
        let path = std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()).to_vec();
        RealFs::new(vec![(path, root.into())], b"a/b:c").unwrap()
    }

    #[test]
    fn links_are_followed_beneath_the_root_alone() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(temp.path().join("users/bob")).unwrap();
        std::fs::create_dir(temp.path().join("real")).unwrap();
        symlink("../../real", temp.path().join("users/bob/inside")).unwrap();
        symlink(temp.path().join("real"), temp.path().join("users/bob/absolute")).unwrap();
        symlink("../../..", temp.path().join("users/bob/above")).unwrap();
        symlink("/etc", temp.path().join("users/bob/outside")).unwrap();
        symlink("loop", temp.path().join("users/bob/loop")).unwrap();
        let mut fs = held(temp.path());
        let users = fs.open_dir(&fs.root(0).unwrap(), b"users").unwrap();
        let bob = fs.open_dir(&users, b"bob").unwrap();
        fs.follows_links = true;
        let real = fs.stat_dir(&fs.open_dir(&fs.root(0).unwrap(), b"real").unwrap()).unwrap().inode;
        for name in ["inside", "absolute"] {
            let dir = fs.open_dir(&bob, name.as_bytes()).unwrap();
            assert_eq!(fs.stat_dir(&dir).unwrap().inode, real, "{name}");
        }
        for name in ["above", "outside", "loop", "..", "a/b", ""] {
            assert!(fs.open_dir(&bob, name.as_bytes()).is_err(), "{name}");
        }
        fs.follows_links = false;
        assert!(fs.open_dir(&bob, b"inside").is_err());
    }

    #[test]
    fn files_are_never_links_nor_devices() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::write(temp.path().join("file"), "x").unwrap();
        symlink("file", temp.path().join("link")).unwrap();
        let fs = held(temp.path());
        let root = fs.root(0).unwrap();
        assert!(fs.open(&root, b"file").is_ok());
        assert!(fs.open(&root, b"link").is_err());
        assert!(fs.open(&root, b".").is_err());
        assert_eq!(fs.host(), b"a\\057b\\072c");
    }
}
