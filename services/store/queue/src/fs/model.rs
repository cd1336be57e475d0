//! A disk that forgets: it keeps after a crash only what POSIX promises, and breaks when it is told to.
//!
//! Every operation that changes something has a number. A test runs its history once, sees how many there were, and runs
//! it again with a [`Fault`] at each of them. [`Model::crash`] then yields the disk as a restart would find it:
//!
//! - each write that was not synced is there, is missing, or is there in some of its 512-byte sectors only;
//! - each name that changed since its directory was synced is what it was at any moment since then;
//! - which of these, the seed decides.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Access, File, Fs};

const SECTOR: usize = 512;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The machine stops: the operation and all after it fail. A write may have happened in part.
    Stop,
    /// ENOSPC for what needs space. A write may have happened in part.
    Full,
    /// EROFS for everything that changes the disk.
    ReadOnly,
    /// EIO from `sync`, which drops what was in doubt, as the kernel does; writes work.
    Sync,
}

/// See the module. A clone is another handle on the same disk.
#[derive(Clone, Default)]
pub struct Model(Arc<Mutex<Disk>>);

pub struct ModelFile {
    model: Model,
    inode: usize,
    access: Access,
}

#[derive(Default)]
struct Disk {
    inodes: Vec<Inode>,
    dirs: BTreeMap<String, Dir>,
    operations: usize,
    fault: Option<(Fault, std::ops::Range<usize>)>,
    random: Random,
    /// Bytes that somebody else takes up of a disk of `u64::MAX`.
    occupied: u64,
}

#[derive(Default, Clone)]
struct Inode {
    /// What a reader sees.
    now: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Truncate(usize),
}

#[derive(Default, Clone)]
struct Dir {
    now: BTreeMap<String, usize>,
    durable: BTreeMap<String, usize>,
    /// All that a name has stood for since the last sync, in order.
    unsynced: BTreeMap<String, Vec<Option<usize>>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    NeedsSpace,
    Sync,
    Other,
}

impl Model {
    /// An empty queue directory.
    pub fn new() -> Model {
        let model = Model::default();
        model.disk().dirs.insert(".".into(), Dir::default());
        model
    }

    /// How many operations there have been.
    pub fn operations(&self) -> usize {
        self.disk().operations
    }

    /// Lets the operations of these numbers fail; `seed` decides what a failed write leaves.
    pub fn fail(&self, fault: Fault, operations: std::ops::Range<usize>, seed: u64) {
        let mut disk = self.disk();
        disk.fault = Some((fault, operations));
        disk.random = Random::new(seed);
    }

    /// Leaves so many bytes free, as far as the disk tells: no write fails of it.
    pub fn leave_free(&self, bytes: u64) {
        self.disk().occupied = u64::MAX - bytes;
    }

    /// The disk after a crash at this moment and a restart, without faults.
    pub fn crash(&self, seed: u64) -> Model {
        let mut random = Random::new(seed);
        let disk = self.disk();
        let inodes = disk.inodes.iter().map(|inode| inode.after_crash(&mut random)).collect();
        let dirs = disk.dirs.iter().map(|(name, dir)| (name.clone(), dir.after_crash(&mut random))).collect();
        Model(Arc::new(Mutex::new(Disk { inodes, dirs, ..Disk::default() })))
    }

    /// Overwrites bytes of a file, durably: the disk that rots.
    pub fn damage(&self, path: &str, offset: usize, bytes: &[u8]) {
        let mut disk = self.disk();
        let inode = disk.find(path).expect("the file to damage exists");
        let inode = &mut disk.inodes[inode];
        inode.now[offset..offset + bytes.len()].copy_from_slice(bytes);
        inode.durable = inode.now.clone();
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file(&self, inode: usize, access: Access) -> ModelFile {
        ModelFile { model: self.clone(), inode, access }
    }
}

impl Disk {
    /// Counts an operation and says whether it happens.
    fn operation(&mut self, kind: Kind) -> io::Result<()> {
        let number = self.operations;
        self.operations += 1;
        let errno = match &self.fault {
            Some((Fault::Stop, range)) if number >= range.start => nix::Error::ESHUTDOWN,
            Some((fault, range)) if range.contains(&number) => match (fault, kind) {
                (Fault::Full, Kind::NeedsSpace) => nix::Error::ENOSPC,
                (Fault::ReadOnly, _) => nix::Error::EROFS,
                (Fault::Sync, Kind::Sync) => nix::Error::EIO,
                _ => return Ok(()),
            },
            _ => return Ok(()),
        };
        Err(errno.into())
    }

    fn is_read_only(&self) -> bool {
        matches!(&self.fault, Some((Fault::ReadOnly, range)) if range.contains(&self.operations))
    }

    fn find(&self, path: &str) -> io::Result<usize> {
        let (dir, name) = split(path);
        let inode = self.dirs.get(dir).and_then(|dir| dir.now.get(name));
        inode.copied().ok_or_else(|| nix::Error::ENOENT.into())
    }

    fn dir(&mut self, dir: &str) -> io::Result<&mut Dir> {
        self.dirs.get_mut(dir).ok_or_else(|| nix::Error::ENOENT.into())
    }
}

impl Dir {
    fn set(&mut self, name: &str, inode: Option<usize>) {
        match inode {
            Some(inode) => self.now.insert(name.into(), inode),
            None => self.now.remove(name),
        };
        self.unsynced.entry(name.into()).or_default().push(inode);
    }

    fn after_crash(&self, random: &mut Random) -> Dir {
        let mut names = self.durable.clone();
        for (name, values) in &self.unsynced {
            // The value before the first change is one of the choices, too.
            match random.below(values.len() + 1) {
                0 => {}
                choice => match values[choice - 1] {
                    Some(inode) => drop(names.insert(name.clone(), inode)),
                    None => drop(names.remove(name)),
                },
            }
        }
        Dir { now: names.clone(), durable: names, unsynced: BTreeMap::new() }
    }
}

impl Inode {
    fn change(&mut self, change: Change) {
        change.apply(&mut self.now, |_| true);
        self.unsynced.push(change);
    }

    fn sync(&mut self) {
        for change in self.unsynced.drain(..) {
            change.apply(&mut self.durable, |_| true);
        }
    }

    /// Each change in doubt happens, does not, or happens in part.
    fn forget(&mut self, random: &mut Random) {
        for change in self.unsynced.drain(..) {
            match random.below(3) {
                0 => {}
                1 => change.apply(&mut self.durable, |_| true),
                _ => change.apply(&mut self.durable, |_| random.below(2) == 0),
            }
        }
    }

    fn after_crash(&self, random: &mut Random) -> Inode {
        let mut inode = self.clone();
        inode.forget(random);
        Inode { now: inode.durable.clone(), ..inode }
    }
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>, mut reaches_disk: impl FnMut(usize) -> bool) {
        match self {
            Change::Truncate(len) => {
                if reaches_disk(0) {
                    content.resize(*len, 0);
                }
            }
            Change::Write { offset, bytes } => {
                let end = offset + bytes.len();
                let mut at = *offset;
                while at < end {
                    let sector_end = end.min((at / SECTOR + 1) * SECTOR);
                    if reaches_disk(at / SECTOR) {
                        if content.len() < sector_end {
                            content.resize(sector_end, 0);
                        }
                        content[at..sector_end].copy_from_slice(&bytes[at - offset..sector_end - offset]);
                    }
                    at = sector_end;
                }
            }
        }
    }
}

impl Fs for Model {
    type File = ModelFile;

    fn create(&self, path: &str) -> io::Result<ModelFile> {
        let mut disk = self.disk();
        disk.operation(Kind::NeedsSpace)?;
        if disk.find(path).is_ok() {
            return Err(nix::Error::EEXIST.into());
        }
        let inode = disk.inodes.len();
        let (dir, name) = split(path);
        disk.dir(dir)?.set(name, Some(inode));
        disk.inodes.push(Inode::default());
        Ok(self.file(inode, Access::ReadWrite))
    }

    fn open(&self, path: &str, access: Access) -> io::Result<ModelFile> {
        let disk = self.disk();
        if access == Access::ReadWrite && disk.is_read_only() {
            return Err(nix::Error::EROFS.into());
        }
        Ok(self.file(disk.find(path)?, access))
    }

    fn link(&self, from: &str, to: &str) -> io::Result<()> {
        let mut disk = self.disk();
        disk.operation(Kind::NeedsSpace)?;
        let inode = disk.find(from)?;
        if disk.find(to).is_ok() {
            return Err(nix::Error::EEXIST.into());
        }
        let (dir, name) = split(to);
        disk.dir(dir)?.set(name, Some(inode));
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut disk = self.disk();
        disk.operation(Kind::NeedsSpace)?;
        let inode = disk.find(from)?;
        let ((from_dir, from), (to_dir, to)) = (split(from), split(to));
        assert_eq!(from_dir, to_dir, "a rename between folders can lose the file");
        let dir = disk.dir(to_dir)?;
        dir.set(to, Some(inode));
        dir.set(from, None);
        Ok(())
    }

    fn unlink(&self, path: &str) -> io::Result<()> {
        let mut disk = self.disk();
        disk.operation(Kind::Other)?;
        disk.find(path)?;
        let (dir, name) = split(path);
        disk.dir(dir)?.set(name, None);
        Ok(())
    }

    fn make_dir(&self, path: &str) -> io::Result<()> {
        let mut disk = self.disk();
        disk.operation(Kind::NeedsSpace)?;
        if disk.dirs.contains_key(path) {
            return Err(nix::Error::EEXIST.into());
        }
        // Folders are made before the first message and synced then: that they can vanish is not modelled.
        disk.dirs.insert(path.into(), Dir::default());
        Ok(())
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        let mut disk = self.disk();
        let result = disk.operation(Kind::Sync);
        let dir = disk.dir(path)?;
        result?;
        dir.durable = dir.now.clone();
        dir.unsynced.clear();
        Ok(())
    }

    fn free(&self) -> io::Result<u64> {
        Ok(u64::MAX - self.disk().occupied)
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        Ok(self.disk().dir(path)?.now.keys().cloned().collect())
    }
}

impl ModelFile {
    fn change(&self, kind: Kind, change: Change) -> io::Result<()> {
        let mut disk = self.model.disk();
        assert_eq!(self.access, Access::ReadWrite, "the file is open for reading");
        let result = disk.operation(kind);
        if result.is_ok() {
            disk.inodes[self.inode].change(change);
        } else if let (Change::Write { offset, bytes }, false) = (change, disk.is_read_only()) {
            let part = disk.random.below(bytes.len() + 1);
            disk.inodes[self.inode].change(Change::Write { offset, bytes: bytes[..part].to_vec() });
        }
        result
    }
}

impl File for ModelFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.change(Kind::NeedsSpace, Change::Write { offset: offset as usize, bytes: bytes.to_vec() })
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let disk = self.model.disk();
        let content = &disk.inodes[self.inode].now;
        let from = content.len().min(offset as usize);
        let len = buffer.len().min(content.len() - from);
        buffer[..len].copy_from_slice(&content[from..from + len]);
        Ok(len)
    }

    fn sync(&self) -> io::Result<()> {
        let mut disk = self.model.disk();
        let result = disk.operation(Kind::Sync);
        let Disk { inodes, random, fault, .. } = &mut *disk;
        match (&result, fault) {
            (Ok(()), _) => inodes[self.inode].sync(),
            (Err(_), Some((Fault::Sync, _))) => inodes[self.inode].forget(random),
            _ => {}
        }
        result
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.model.disk().inodes[self.inode].now.len() as u64)
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.change(Kind::Other, Change::Truncate(len as usize))
    }
}

fn split(path: &str) -> (&str, &str) {
    path.split_once('/').unwrap_or((".", path))
}

/// A small deterministic generator (splitmix64): the same seed leaves the same ruins.
#[derive(Default)]
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Random {
        Random(seed)
    }

    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcomes(prepare: impl Fn(&Model)) -> std::collections::BTreeSet<Option<Vec<u8>>> {
        let model = Model::new();
        prepare(&model);
        let read = |disk: Model| {
            let file = disk.open("a", Access::Read).ok()?;
            super::super::read_exact_at(&file, 0, file.size().unwrap() as usize).ok()
        };
        (0..200).map(|seed| read(model.crash(seed))).collect()
    }

    #[test]
    fn an_unsynced_name_may_vanish_and_a_synced_one_stays() {
        let unsynced = outcomes(|model| {
            let file = model.create("a").unwrap();
            file.write_at(b"x", 0).unwrap();
            file.sync().unwrap();
        });
        assert_eq!(unsynced, [None, Some(b"x".to_vec())].into());
        let synced = outcomes(|model| {
            let file = model.create("a").unwrap();
            file.write_at(b"x", 0).unwrap();
            file.sync().unwrap();
            model.sync_dir(".").unwrap();
        });
        assert_eq!(synced, [Some(b"x".to_vec())].into());
    }

    #[test]
    fn an_unsynced_write_may_be_torn_by_sectors() {
        let states = outcomes(|model| {
            let file = model.create("a").unwrap();
            file.write_at(&[0; 1024], 0).unwrap();
            file.sync().unwrap();
            model.sync_dir(".").unwrap();
            file.write_at(&[1; 1024], 0).unwrap();
        });
        let sectors = |first: u8, second: u8| Some([[first; 512], [second; 512]].concat());
        assert_eq!(states, [sectors(0, 0), sectors(0, 1), sectors(1, 0), sectors(1, 1)].into());
    }

    #[test]
    fn a_failed_sync_forgets_for_good() {
        let states = outcomes(|model| {
            let file = model.create("a").unwrap();
            model.sync_dir(".").unwrap();
            file.write_at(b"x", 0).unwrap();
            model.fail(Fault::Sync, model.operations()..model.operations() + 1, 2);
            assert!(file.sync().is_err());
            file.sync().unwrap();
        });
        assert_eq!(states.len(), 1, "the second sync changes nothing");
        assert!(states.contains(&Some(Vec::new())) || states.contains(&Some(b"x".to_vec())));
    }
}
