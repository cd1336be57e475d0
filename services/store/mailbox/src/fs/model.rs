//! A file system in memory that forgets, on a crash, what POSIX allows it to forget.
//!
//! - The content of a file survives up to its last `sync_file` (or `sync_all`); what was written later vanishes, or
//!   survives in part, or as zeros of the right length.
//! - A name survives only when its directory was synced after the name was made; so does the removal of a name.
//! - [`ModelFs::stop_after`] lets a number of changing operations happen and then fails everything, as a process that
//!   dies; [`ModelFs::crash`] then returns what a machine finds when it comes up again.
//!
//! It has no permissions and no links. It is for tests, ours and those of the crates that use this one.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{Entry, EntryKind, Fs, Meta, Timestamp, checked};

/// What a crash keeps of the things that were not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Everything: only the process died.
    All,
    /// Nothing: the power went, and the disk had written nothing on its own.
    Nothing,
    /// Some names and some data, chosen by this seed: the disk had written some of it on its own. The two halves of a
    /// rename are kept or lost together.
    Some(u64),
}

const ROOT: u64 = 1;

#[derive(Debug, Clone, Default)]
struct Node {
    directory: bool,
    mode: u32,
    modified: Timestamp,
    changed: Timestamp,
    content: Vec<u8>,
    synced_content: Vec<u8>,
    names: BTreeMap<Vec<u8>, u64>,
    synced_names: BTreeMap<Vec<u8>, u64>,
    /// Changes of `names` since the last sync: the operation's number, the name, and what it names now.
    unsynced_names: Vec<(u64, Vec<u8>, Option<u64>)>,
    locked_by: Option<u64>,
}

impl Node {
    fn sync(&mut self) {
        self.synced_content = self.content.clone();
        self.synced_names = self.names.clone();
        self.unsynced_names.clear();
    }
}

#[derive(Debug, Default)]
struct World {
    nodes: HashMap<u64, Node>,
    next_node: u64,
    next_handle: u64,
    operations: u64,
    stop_after: Option<u64>,
    full_after: Option<u64>,
    log: Vec<String>,
    clock: Timestamp,
    booted: Timestamp,
    process: u32,
    running: Vec<u32>,
    longest_wait: Option<Duration>,
}

/// The file system. Clones share it.
#[derive(Debug, Clone)]
pub struct ModelFs(Arc<Mutex<World>>);

/// An open directory.
#[derive(Debug, Clone, Copy)]
pub struct ModelDir(u64);

/// An open file.
#[derive(Debug)]
pub struct ModelFile {
    node: u64,
    handle: u64,
    world: Arc<Mutex<World>>,
}

impl Drop for ModelFile {
    fn drop(&mut self) {
        if let Some(node) = locked(&self.world).nodes.get_mut(&self.node)
            && node.locked_by == Some(self.handle)
        {
            node.locked_by = None;
        }
    }
}

impl Default for ModelFs {
    fn default() -> Self {
        Self::new()
    }
}

impl ModelFs {
    /// An empty file system in the year 2023, seen by process 100.
    pub fn new() -> Self {
        let mut world = World { next_node: ROOT + 1, process: 100, running: vec![100], ..World::default() };
        world.booted = Timestamp { secs: 1_700_000_000, nanos: 0 };
        world.clock = world.booted.plus(1000);
        world.nodes.insert(ROOT, Node { directory: true, mode: 0o700, ..Node::default() });
        Self(Arc::new(Mutex::new(world)))
    }

    /// The root directory.
    pub fn root(&self) -> ModelDir {
        ModelDir(ROOT)
    }

    /// How many changing operations have happened.
    pub fn operations(&self) -> u64 {
        locked(&self.0).operations
    }

    /// The changing operations so far, one line each.
    pub fn log(&self) -> Vec<String> {
        locked(&self.0).log.clone()
    }

    /// Lets `count` more changing operations happen; after them everything fails.
    pub fn stop_after(&self, count: u64) {
        let mut world = locked(&self.0);
        world.stop_after = Some(world.operations + count);
    }

    /// Lets `count` more changing operations happen; after them nothing that needs space succeeds, until `None`.
    pub fn full_after(&self, count: Option<u64>) {
        let mut world = locked(&self.0);
        world.full_after = count.map(|count| world.operations + count);
    }

    /// Bounds the wait for locks.
    pub fn wait_at_most(&self, longest: Duration) {
        locked(&self.0).longest_wait = Some(longest);
    }

    /// Lets time pass.
    pub fn advance(&self, seconds: i64) {
        let mut world = locked(&self.0);
        world.clock = world.clock.plus(seconds);
    }

    /// Goes on as another process; the one before still runs when `runs` says so.
    pub fn become_process(&self, process: u32, runs: bool) {
        let mut world = locked(&self.0);
        let before = std::mem::replace(&mut world.process, process);
        world.running.retain(|p| runs || *p != before);
        world.running.push(process);
    }

    /// What is there when the machine comes up after a crash now, seen by a new process.
    pub fn crash(&self, keep: Keep) -> Self {
        let old = locked(&self.0);
        let mut world = World { next_node: old.next_node, next_handle: old.next_handle, ..World::default() };
        world.clock = old.clock.plus(60);
        world.booted = if keep == Keep::All { old.booted } else { old.clock.plus(30) };
        world.process = old.process + 1;
        world.running = vec![world.process];
        for (number, node) in &old.nodes {
            let mut node = node.clone();
            node.locked_by = None;
            match keep {
                Keep::All => {}
                Keep::Nothing => {
                    node.content = node.synced_content.clone();
                    node.names = node.synced_names.clone();
                }
                Keep::Some(seed) => {
                    node.content = torn(&node, mix(seed, *number));
                    node.names = node.synced_names.clone();
                    for (operation, name, target) in &node.unsynced_names {
                        match target {
                            _ if mix(seed, *operation) & 1 == 0 => {}
                            Some(target) => drop(node.names.insert(name.clone(), *target)),
                            None => drop(node.names.remove(name)),
                        }
                    }
                }
            }
            node.sync();
            world.nodes.insert(*number, node);
        }
        Self(Arc::new(Mutex::new(world)))
    }

    fn change<T>(&self, what: String, needs_space: bool, f: impl FnOnce(&mut World) -> io::Result<T>) -> io::Result<T> {
        let mut world = locked(&self.0);
        world.alive()?;
        if needs_space && world.full_after.is_some_and(|full| world.operations >= full) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let result = f(&mut world)?;
        world.operations += 1;
        world.clock.nanos += 1_000_000;
        if world.clock.nanos >= 1_000_000_000 {
            world.clock = Timestamp { secs: world.clock.secs + 1, nanos: 0 };
        }
        world.log.push(what);
        Ok(result)
    }

    fn look<T>(&self, f: impl FnOnce(&World) -> io::Result<T>) -> io::Result<T> {
        let world = locked(&self.0);
        world.alive()?;
        f(&world)
    }

    fn handle(&self, node: u64) -> ModelFile {
        let mut world = locked(&self.0);
        world.next_handle += 1;
        ModelFile { node, handle: world.next_handle, world: self.0.clone() }
    }
}

impl World {
    fn alive(&self) -> io::Result<()> {
        match self.stop_after {
            Some(stop) if self.operations >= stop => Err(io::Error::other("the process was stopped")),
            _ => Ok(()),
        }
    }

    fn node(&mut self, number: u64) -> &mut Node {
        self.nodes.get_mut(&number).expect("a handle names a node")
    }

    fn find(&self, dir: ModelDir, name: &[u8], directory: bool) -> io::Result<u64> {
        let number = *self.nodes[&dir.0].names.get(checked(name)?).ok_or(io::ErrorKind::NotFound)?;
        match (self.nodes[&number].directory, directory) {
            (true, false) => Err(io::ErrorKind::IsADirectory.into()),
            (false, true) => Err(io::ErrorKind::NotADirectory.into()),
            _ => Ok(number),
        }
    }

    fn set_name(&mut self, dir: ModelDir, name: &[u8], target: Option<u64>) {
        let (clock, operation) = (self.clock, self.operations);
        let node = self.node(dir.0);
        match target {
            Some(target) => drop(node.names.insert(name.to_vec(), target)),
            None => drop(node.names.remove(name)),
        }
        node.unsynced_names.push((operation, name.to_vec(), target));
        node.modified = clock;
        node.changed = clock;
    }

    /// Nothing can be made in a directory that was removed.
    fn attached(&self, dir: ModelDir) -> io::Result<()> {
        if dir.0 == ROOT || self.links(dir.0) > 0 { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    fn make(&mut self, dir: ModelDir, name: &[u8], directory: bool, mode: u32) -> io::Result<u64> {
        self.attached(dir)?;
        if self.nodes[&dir.0].names.contains_key(checked(name)?) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let number = self.next_node;
        self.next_node += 1;
        let (modified, changed) = (self.clock, self.clock);
        self.nodes.insert(number, Node { directory, mode, modified, changed, ..Node::default() });
        self.set_name(dir, name, Some(number));
        Ok(number)
    }

    fn links(&self, number: u64) -> u64 {
        self.nodes.values().flat_map(|n| n.names.values()).filter(|n| **n == number).count() as u64
    }

    fn meta(&self, number: u64) -> Meta {
        let node = &self.nodes[&number];
        Meta {
            device: 1,
            inode: number,
            size: node.content.len() as u64,
            links: self.links(number),
            mode: node.mode,
            modified: node.modified,
            changed: node.changed,
            kind: if node.directory { EntryKind::Directory } else { EntryKind::File },
        }
    }
}

impl Fs for ModelFs {
    type Dir = ModelDir;
    type File = ModelFile;

    fn open_dir(&self, at: &ModelDir, name: &[u8]) -> io::Result<ModelDir> {
        self.look(|w| w.find(*at, name, true)).map(ModelDir)
    }

    fn make_dir(&self, at: &ModelDir, name: &[u8], mode: u32) -> io::Result<()> {
        self.change(format!("mkdir {}", text(name)), true, |w| w.make(*at, name, true, mode)).map(drop)
    }

    fn remove_dir(&self, at: &ModelDir, name: &[u8]) -> io::Result<()> {
        self.change(format!("rmdir {}", text(name)), false, |w| {
            let number = w.find(*at, name, true)?;
            if !w.nodes[&number].names.is_empty() {
                return Err(io::ErrorKind::DirectoryNotEmpty.into());
            }
            w.set_name(*at, name, None);
            Ok(())
        })
    }

    fn list(&self, dir: &ModelDir) -> io::Result<Vec<Entry>> {
        self.look(|w| {
            let kind = |n: &u64| if w.nodes[n].directory { EntryKind::Directory } else { EntryKind::File };
            Ok(w.nodes[&dir.0].names.iter().map(|(name, n)| Entry { name: name.clone(), kind: kind(n) }).collect())
        })
    }

    fn stat_dir(&self, dir: &ModelDir) -> io::Result<Meta> {
        self.look(|w| Ok(w.meta(dir.0)))
    }

    fn sync_dir(&self, dir: &ModelDir) -> io::Result<()> {
        self.change("sync directory".into(), false, |w| {
            w.node(dir.0).sync();
            Ok(())
        })
    }

    fn sync_all(&self, _: &ModelDir) -> io::Result<()> {
        self.change("sync all".into(), false, |w| {
            w.nodes.values_mut().for_each(Node::sync);
            Ok(())
        })
    }

    fn open(&self, at: &ModelDir, name: &[u8]) -> io::Result<ModelFile> {
        let number = self.look(|w| w.find(*at, name, false))?;
        Ok(self.handle(number))
    }

    fn open_append(&self, at: &ModelDir, name: &[u8]) -> io::Result<ModelFile> {
        self.open(at, name)
    }

    fn create(&self, at: &ModelDir, name: &[u8], mode: u32) -> io::Result<ModelFile> {
        let number = self.change(format!("create {}", text(name)), true, |w| w.make(*at, name, false, mode))?;
        Ok(self.handle(number))
    }

    fn read_at(&self, file: &ModelFile, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.look(|w| {
            let content = &w.nodes[&file.node].content;
            let from = content.get(offset.min(content.len() as u64) as usize..).unwrap_or_default();
            let length = from.len().min(buffer.len());
            buffer[..length].copy_from_slice(&from[..length]);
            Ok(length)
        })
    }

    fn append(&self, file: &ModelFile, bytes: &[u8]) -> io::Result<()> {
        self.change(format!("append {} bytes", bytes.len()), true, |w| {
            let clock = w.clock;
            let node = w.node(file.node);
            node.content.extend_from_slice(bytes);
            (node.modified, node.changed) = (clock, clock);
            Ok(())
        })
    }

    fn write_at(&self, file: &ModelFile, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.change(format!("overwrite {} bytes", bytes.len()), true, |w| {
            let clock = w.clock;
            let node = w.node(file.node);
            let (from, to) = (offset as usize, offset as usize + bytes.len());
            node.content.resize(node.content.len().max(to), 0);
            node.content[from..to].copy_from_slice(bytes);
            (node.modified, node.changed) = (clock, clock);
            Ok(())
        })
    }

    fn sync_file(&self, file: &ModelFile) -> io::Result<()> {
        self.change("sync file".into(), false, |w| {
            w.node(file.node).sync();
            Ok(())
        })
    }

    fn stat(&self, file: &ModelFile) -> io::Result<Meta> {
        self.look(|w| Ok(w.meta(file.node)))
    }

    fn stat_at(&self, at: &ModelDir, name: &[u8]) -> io::Result<Meta> {
        self.look(|w| {
            let number = w.nodes[&at.0].names.get(checked(name)?).ok_or(io::ErrorKind::NotFound)?;
            Ok(w.meta(*number))
        })
    }

    fn set_modified(&self, file: &ModelFile, time: Timestamp) -> io::Result<()> {
        self.change("set time".into(), false, |w| {
            w.node(file.node).modified = time;
            Ok(())
        })
    }

    /// A test has one thread: a lock that is held is held for ever, which is reported.
    fn lock(&self, file: &ModelFile) -> io::Result<()> {
        self.look(|_| Ok(()))?;
        let mut world = locked(&self.0);
        let node = world.node(file.node);
        if node.locked_by.is_some_and(|handle| handle != file.handle) {
            return Err(io::ErrorKind::Deadlock.into());
        }
        node.locked_by = Some(file.handle);
        Ok(())
    }

    fn rename(&self, from_dir: &ModelDir, from: &[u8], to_dir: &ModelDir, to: &[u8]) -> io::Result<()> {
        self.change(format!("rename {} {}", text(from), text(to)), false, |w| {
            w.attached(*to_dir)?;
            let number = *w.nodes[&from_dir.0].names.get(checked(from)?).ok_or(io::ErrorKind::NotFound)?;
            let clock = w.clock;
            if w.nodes[&to_dir.0].names.get(checked(to)?) != Some(&number) {
                w.set_name(*from_dir, from, None);
                w.set_name(*to_dir, to, Some(number));
                w.node(number).changed = clock;
            }
            Ok(())
        })
    }

    fn link(&self, from_dir: &ModelDir, from: &[u8], to_dir: &ModelDir, to: &[u8]) -> io::Result<()> {
        self.change(format!("link {} {}", text(from), text(to)), true, |w| {
            w.attached(*to_dir)?;
            let number = w.find(*from_dir, from, false)?;
            if w.nodes[&to_dir.0].names.contains_key(checked(to)?) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            w.set_name(*to_dir, to, Some(number));
            Ok(())
        })
    }

    fn unlink(&self, at: &ModelDir, name: &[u8]) -> io::Result<()> {
        self.change(format!("unlink {}", text(name)), false, |w| {
            w.find(*at, name, false)?;
            w.set_name(*at, name, None);
            Ok(())
        })
    }

    fn now(&self) -> Timestamp {
        locked(&self.0).clock
    }

    fn booted(&self) -> Timestamp {
        locked(&self.0).booted
    }

    fn host(&self) -> &[u8] {
        b"model"
    }

    fn process(&self) -> u32 {
        locked(&self.0).process
    }

    fn process_exists(&self, process: u32) -> bool {
        locked(&self.0).running.contains(&process)
    }

    fn pause(&self, time: Duration) {
        let mut world = locked(&self.0);
        let nanos = u64::from(world.clock.nanos) + u64::from(time.subsec_nanos());
        world.clock = Timestamp {
            secs: world.clock.secs + time.as_secs() as i64 + (nanos / 1_000_000_000) as i64,
            nanos: (nanos % 1_000_000_000) as u32,
        };
    }

    fn longest_wait(&self) -> Duration {
        locked(&self.0).longest_wait.unwrap_or(Duration::MAX)
    }
}

fn locked(world: &Mutex<World>) -> MutexGuard<'_, World> {
    world.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Some of what was written after the last sync.
fn torn(node: &Node, chance: u64) -> Vec<u8> {
    let (old, new) = (&node.synced_content, &node.content);
    let mut content = old.clone();
    match chance % 4 {
        0 => {}
        1 => content = new.clone(),
        // The length was written before the data.
        2 => content.resize(new.len(), 0),
        _ => content.extend_from_slice(new.get(old.len()..(old.len() + new.len()) / 2).unwrap_or_default()),
    }
    content
}

/// Splitmix64.
fn mix(seed: u64, value: u64) -> u64 {
    let mut z = seed.wrapping_add(value.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn text(name: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unsynced_name_and_unsynced_data_vanish() {
        let fs = ModelFs::new();
        let root = fs.root();
        let synced = fs.create(&root, b"a", 0o600).unwrap();
        fs.append(&synced, b"one").unwrap();
        fs.sync_file(&synced).unwrap();
        fs.sync_dir(&root).unwrap();
        fs.append(&synced, b"two").unwrap();
        fs.create(&root, b"b", 0o600).unwrap();
        let after = fs.crash(Keep::Nothing);
        assert_eq!(after.list(&root).unwrap().len(), 1);
        let file = after.open(&root, b"a").unwrap();
        assert_eq!(super::super::read_whole(&after, &file, 100).unwrap(), b"one");
        assert_eq!(fs.crash(Keep::All).list(&root).unwrap().len(), 2);
    }

    #[test]
    fn a_rename_into_an_unsynced_directory_is_undone_or_lost() {
        let fs = ModelFs::new();
        let root = fs.root();
        for name in [b"x", b"y"] {
            fs.make_dir(&root, name, 0o700).unwrap();
        }
        let (x, y) = (fs.open_dir(&root, b"x").unwrap(), fs.open_dir(&root, b"y").unwrap());
        fs.create(&x, b"m", 0o600).unwrap();
        fs.sync_all(&root).unwrap();
        fs.rename(&x, b"m", &y, b"n").unwrap();
        assert!(fs.crash(Keep::Nothing).stat_at(&x, b"m").is_ok());
        fs.sync_dir(&x).unwrap();
        let lost = fs.crash(Keep::Nothing);
        assert!(lost.stat_at(&x, b"m").is_err() && lost.stat_at(&y, b"n").is_err());
        fs.sync_dir(&y).unwrap();
        assert!(fs.crash(Keep::Nothing).stat_at(&y, b"n").is_ok());
    }

    #[test]
    fn everything_fails_after_the_stop() {
        let fs = ModelFs::new();
        fs.stop_after(1);
        assert!(fs.create(&fs.root(), b"a", 0o600).is_ok());
        assert!(fs.create(&fs.root(), b"b", 0o600).is_err());
        assert!(fs.list(&fs.root()).is_err());
    }
}
