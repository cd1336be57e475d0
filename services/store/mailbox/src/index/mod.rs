//! Posthorn's own index of a mailbox: three files in the mailbox's directory.
//!
//! - `posthorn.index`: a snapshot, replaced by rename, never written in place.
//! - `posthorn.log`: the changes since, appended in frames. Its header carries the snapshot's generation; a log of an
//!   older generation is in the snapshot already.
//! - `posthorn.cache`: prepared answers by UID and kind (see [`cache`]).
//! - `posthorn.lock`: empty; writers hold `flock` on it. Readers need no lock.
//!
//! For Maildir all of it can be deleted at any time and is rebuilt from the Maildir; only mod-sequences are lost, and
//! they start again above all earlier ones. For sdbox the log is the truth for flags and UIDs, so it is synced.

use std::io;

use crate::{
    error::Maybe,
    fs::{Fs, read_range, read_whole},
};

pub mod cache;
mod frame;
mod snapshot;
mod state;

pub use state::{Change, Record, Stamp, Stamps, State};

const SNAPSHOT: &[u8] = b"posthorn.index";
const LOG: &[u8] = b"posthorn.log";
const LOCK: &[u8] = b"posthorn.lock";
const SNAPSHOT_NEW: &[u8] = b"posthorn.index.tmp";
const LOG_NEW: &[u8] = b"posthorn.log.tmp";

const LOG_MAGIC: &[u8; 8] = b"PHLOG001";
const LOG_HEADER: u64 = 16;

/// A snapshot or log beyond this is not read: the index starts again.
const MAX_FILE: u64 = 1 << 30;

/// The log is folded into a new snapshot when it is larger than this and than half the snapshot.
const FOLD_LOG: u64 = 64 * 1024;

/// A snapshot is replaced while we read: look again at most this often.
const RETRIES: usize = 8;

/// What [`Index::refresh`] did to the state.
#[derive(Debug, PartialEq, Eq)]
pub enum Refreshed {
    /// Nothing new.
    Same,
    /// The state was read anew; this is the one before.
    Reloaded(Box<State>),
    /// Others made these changes, which were applied.
    Applied(Vec<Change>),
    /// There is no usable index; the state was left as it is.
    Missing,
}

/// The open index of one mailbox.
pub struct Index<F: Fs> {
    dir: F::Dir,
    mode: u32,
    generation: u64,
    log: Option<F::File>,
    log_inode: u64,
    /// The end of the last whole frame that was applied.
    offset: u64,
    snapshot_size: u64,
}

impl<F: Fs> Index<F> {
    /// The index in `dir`; nothing is read yet. New files get `mode`.
    pub fn new(dir: F::Dir, mode: u32) -> Self {
        Self { dir, mode, generation: 0, log: None, log_inode: 0, offset: 0, snapshot_size: 0 }
    }

    /// Excludes other writers until the returned file is dropped.
    pub fn lock(&self, fs: &F) -> io::Result<F::File> {
        let file = loop {
            match fs.open_append(&self.dir, LOCK).maybe()? {
                Some(file) => break file,
                None => match fs.create(&self.dir, LOCK, self.mode) {
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                    other => break other?,
                },
            }
        };
        fs.lock(&file)?;
        Ok(file)
    }

    /// Brings `state` up to date with the files.
    pub fn refresh(&mut self, fs: &F, state: &mut State) -> io::Result<Refreshed> {
        let found = fs.stat_at(&self.dir, LOG).maybe()?;
        match (&self.log, found) {
            (Some(log), Some(meta)) if meta.inode == self.log_inode => {
                if meta.size <= self.offset {
                    return Ok(Refreshed::Same);
                }
                let (changes, end) = read_log(fs, log, self.offset)?;
                self.offset = end;
                state.apply_all(&changes);
                Ok(if changes.is_empty() { Refreshed::Same } else { Refreshed::Applied(changes) })
            }
            (None, None) => Ok(Refreshed::Missing),
            _ => self.reload(fs, state),
        }
    }

    fn reload(&mut self, fs: &F, state: &mut State) -> io::Result<Refreshed> {
        self.log = None;
        for _ in 0..RETRIES {
            let Some(file) = fs.open(&self.dir, SNAPSHOT).maybe()? else { return Ok(Refreshed::Missing) };
            let Some((mut loaded, generation)) = snapshot::decode(&read_whole(fs, &file, MAX_FILE)?) else {
                return Ok(Refreshed::Missing);
            };
            let Some(log) = fs.open_append(&self.dir, LOG).maybe()? else { return Ok(Refreshed::Missing) };
            let meta = fs.stat(&log)?;
            match log_generation(fs, &log)? {
                // Another process has just replaced both.
                Some(of_log) if of_log > generation => continue,
                Some(of_log) if of_log == generation => {
                    let (changes, end) = read_log(fs, &log, LOG_HEADER)?;
                    loaded.apply_all(&changes);
                    self.offset = end;
                }
                // The writer stopped between the two renames: the snapshot has it all, and the next writer folds.
                _ => self.offset = u64::MAX,
            }
            let before = std::mem::replace(state, loaded);
            self.generation = generation;
            self.log_inode = meta.inode;
            self.log = Some(log);
            self.snapshot_size = fs.stat(&file)?.size;
            return Ok(Refreshed::Reloaded(Box::new(before)));
        }
        Ok(Refreshed::Missing)
    }

    /// Appends changes that `state` already has. The caller holds the lock and has refreshed under it. With `sync` they
    /// are durable when this returns.
    pub fn commit(&mut self, fs: &F, state: &State, changes: &[Change], sync: bool) -> io::Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        let Some(log) = &self.log else { return self.fold(fs, state, sync) };
        let whole = fs.stat(log)?.size == self.offset;
        if !whole || self.offset > FOLD_LOG.max(self.snapshot_size / 2) {
            return self.fold(fs, state, sync);
        }
        let body = postcard::to_stdvec(changes).expect("plain values encode");
        if body.len() > frame::MAX_BODY {
            return self.fold(fs, state, sync);
        }
        let mut out = Vec::with_capacity(body.len() + frame::HEADER);
        frame::put(&mut out, &body);
        // A crash here leaves a torn frame, which ends the log for readers and makes the next writer fold.
        fs.append(log, &out)?;
        if sync {
            fs.sync_file(log)?;
        }
        self.offset += out.len() as u64;
        Ok(())
    }

    /// Reads everything anew at the next refresh.
    pub fn forget(&mut self) {
        self.log = None;
    }

    /// Replaces the snapshot, and the log with an empty one. The caller holds the lock.
    pub fn fold(&mut self, fs: &F, state: &State, sync: bool) -> io::Result<()> {
        let generation = self.generation.max(fs.now().secs as u64) + 1;
        let content = snapshot::encode(state, generation);
        let header = [&LOG_MAGIC[..], &generation.to_le_bytes()].concat();
        for (new, content) in [(SNAPSHOT_NEW, &content), (LOG_NEW, &header)] {
            fs.unlink(&self.dir, new).maybe()?;
            let file = fs.create(&self.dir, new, self.mode)?;
            fs.append(&file, content)?;
            if sync {
                fs.sync_file(&file)?;
            }
        }
        // A crash before the first rename changes nothing; between the two, the old log is of an older generation and
        // is ignored. The snapshot's name must be durable before the log's: the old snapshot with the new log would
        // have lost the old log's changes.
        self.log = None;
        fs.rename(&self.dir, SNAPSHOT_NEW, &self.dir, SNAPSHOT)?;
        if sync {
            fs.sync_dir(&self.dir)?;
        }
        fs.rename(&self.dir, LOG_NEW, &self.dir, LOG)?;
        if sync {
            fs.sync_dir(&self.dir)?;
        }
        let log = fs.open_append(&self.dir, LOG)?;
        self.log_inode = fs.stat(&log)?.inode;
        self.log = Some(log);
        self.generation = generation;
        self.offset = LOG_HEADER;
        self.snapshot_size = content.len() as u64;
        Ok(())
    }
}

fn log_generation<F: Fs>(fs: &F, log: &F::File) -> io::Result<Option<u64>> {
    let header = read_range(fs, log, 0, LOG_HEADER)?;
    let generation = header.strip_prefix(LOG_MAGIC).and_then(|g| g.try_into().ok());
    Ok(generation.map(u64::from_le_bytes))
}

/// The changes from `offset` on, and the end of the last whole frame.
fn read_log<F: Fs>(fs: &F, log: &F::File, offset: u64) -> io::Result<(Vec<Change>, u64)> {
    let size = fs.stat(log)?.size.min(MAX_FILE);
    let content = read_range(fs, log, offset, size.saturating_sub(offset))?;
    let (mut rest, mut changes) = (&content[..], Vec::new());
    while let Some((body, after)) = frame::next(rest) {
        let Ok(frame) = postcard::from_bytes::<Vec<Change>>(body) else { break };
        changes.extend(frame);
        rest = after;
    }
    Ok((changes, offset + (content.len() - rest.len()) as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        fs::model::{Keep, ModelDir, ModelFs},
        message::Flags,
    };

    fn add(uid: u32) -> Change {
        Change::Add(Record { uid, modseq: u64::from(uid), ..Record::default() })
    }

    fn open(fs: &ModelFs) -> (Index<ModelFs>, State, Refreshed) {
        let (mut index, mut state) = (Index::new(fs.root(), 0o600), State::default());
        let refreshed = index.refresh(fs, &mut state).unwrap();
        (index, state, refreshed)
    }

    fn commit(fs: &ModelFs, index: &mut Index<ModelFs>, state: &mut State, changes: &[Change]) -> io::Result<()> {
        let _lock = index.lock(fs)?;
        index.refresh(fs, state)?;
        state.apply_all(changes);
        index.commit(fs, state, changes, true)
    }

    #[test]
    fn two_sessions_follow_each_other() {
        let fs = ModelFs::new();
        let (mut a, mut a_state, found) = open(&fs);
        assert_eq!(found, Refreshed::Missing);
        commit(&fs, &mut a, &mut a_state, &[add(1)]).unwrap();
        let (mut b, mut b_state, found) = open(&fs);
        assert_eq!((found, b_state.records.len()), (Refreshed::Reloaded(Box::default()), 1));
        commit(&fs, &mut b, &mut b_state, &[add(2)]).unwrap();
        assert_eq!(a.refresh(&fs, &mut a_state).unwrap(), Refreshed::Applied(vec![add(2)]));
        assert_eq!(a.refresh(&fs, &mut a_state).unwrap(), Refreshed::Same);
        b.fold(&fs, &b_state, true).unwrap();
        assert!(matches!(a.refresh(&fs, &mut a_state).unwrap(), Refreshed::Reloaded(_)));
        assert_eq!(a_state, b_state);
        for uid in 3..4000 {
            commit(&fs, &mut a, &mut a_state, &[add(uid)]).unwrap();
        }
        assert!(a.offset < 2 * FOLD_LOG && a.snapshot_size > 1000);
        b.refresh(&fs, &mut b_state).unwrap();
        assert_eq!(a_state, b_state);
    }

    #[test]
    fn any_file_may_be_deleted_or_damaged() {
        for name in [SNAPSHOT, LOG, LOCK] {
            for damage in [false, true] {
                let fs = ModelFs::new();
                let (mut index, mut state, _) = open(&fs);
                commit(&fs, &mut index, &mut state, &[add(1)]).unwrap();
                commit(&fs, &mut index, &mut state, &[add(2)]).unwrap();
                if damage {
                    fs.write_at(&fs.open_append(&fs.root(), name).unwrap(), b"xxxxxxxxxxxxxxxxxxxxx", 0).unwrap();
                } else {
                    fs.unlink(&fs.root(), name).unwrap();
                }
                let (mut index, mut state, _) = open(&fs);
                let next = state.next_uid;
                commit(&fs, &mut index, &mut state, &[add(next.max(1))]).unwrap();
                let (_, again, found) = open(&fs);
                assert!(matches!(found, Refreshed::Reloaded(_)));
                assert_eq!(again, state);
            }
        }
    }

    /// A power cut at any operation: what was acknowledged is there, nothing else but the next change is.
    #[test]
    fn a_synced_commit_survives_a_crash_at_any_operation() {
        let changes = |n: u32| [add(n), Change::Flags { uid: n, flags: Flags::SEEN, keywords: 0, modseq: n.into() }];
        for stop in 0.. {
            let fs = ModelFs::new();
            fs.stop_after(stop);
            let (mut index, mut state) = (Index::new(fs.root(), 0o600), State::default());
            let mut acknowledged = 0;
            for n in 1..8 {
                let folded = if n == 4 { index.fold(&fs, &state, true) } else { Ok(()) };
                if folded.is_err() || commit(&fs, &mut index, &mut state, &changes(n)).is_err() {
                    break;
                }
                acknowledged = n;
            }
            for keep in [Keep::All, Keep::Nothing, Keep::Some(stop), Keep::Some(stop + 1000)] {
                let after = fs.crash(keep);
                let (mut index, mut state, _) = open(&after);
                let have = state.records.len() as u32;
                assert!(have == acknowledged || have == acknowledged + 1, "{stop} {keep:?} {have} {acknowledged}");
                commit(&after, &mut index, &mut state, &changes(have + 1)).unwrap();
                assert_eq!(open(&after).1.records.len() as u32, have + 1);
            }
            if acknowledged == 7 {
                break;
            }
        }
    }

    #[test]
    fn a_full_disk_fails_the_commit_and_keeps_the_index() {
        let fs = ModelFs::new();
        let (mut index, mut state, _) = open(&fs);
        commit(&fs, &mut index, &mut state, &[add(1)]).unwrap();
        fs.full_after(Some(0));
        let dir: ModelDir = fs.root();
        assert!(commit(&fs, &mut index, &mut state.clone(), &[add(2)]).is_err());
        fs.full_after(None);
        assert!(fs.stat_at(&dir, LOG).is_ok());
        assert_eq!(open(&fs).1.records.len(), 1);
    }
}
