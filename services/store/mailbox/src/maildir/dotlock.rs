//! Dovecot's lock files: `NAME.lock` beside `NAME`, holding `pid:host`.
//!
//! A lock is overridden at once when its process is gone (same host), or when it was made before this machine started
//! and was not made by another host: a crash or a power cut delays nobody. Otherwise, as Dovecot does it, when neither
//! the lock nor the file it protects has changed for [`STALE_SECONDS`]. Another process's lock is waited for up to
//! [`TIMEOUT`], or less where the configuration says so ([`Fs::longest_wait`]).
//!
//! New content is written to a file of its own, never into the lock, so that the lock can always be judged.

use std::{io, time::Duration};

use crate::{
    error::{At, Error, Maybe, Result},
    fs::{Fs, Meta, Timestamp, read_range},
};

/// A lock without changes for so long is dead (`MAILDIR_UIDLIST_LOCK_STALE_TIMEOUT`).
pub const STALE_SECONDS: i64 = 120;

/// Longest wait for a lock.
pub const TIMEOUT: Duration = Duration::from_secs(STALE_SECONDS as u64 + 2);

const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

/// No lock's content is longer.
const MAX_CONTENT: u64 = 512;

/// A held lock; it ends when this is dropped.
pub struct Dotlock<'a, F: Fs> {
    fs: &'a F,
    dir: F::Dir,
    name: Vec<u8>,
    inode: u64,
}

impl<'a, F: Fs> Dotlock<'a, F> {
    /// Locks `file` in `dir`. The calling process must not hold this lock: its own lock is taken for one left behind by
    /// a process that had the same number.
    pub fn acquire(fs: &'a F, dir: &F::Dir, file: &[u8], mode: u32) -> Result<Self> {
        let name = [file, b".lock"].concat();
        let (mut waited, mut pause, mut seen) = (Duration::ZERO, FIRST_PAUSE, None);
        loop {
            match Self::create(fs, dir, &name, mode) {
                Ok(inode) => return Ok(Self { fs, dir: dir.clone(), name, inode }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error).at("open", &name),
            }
            if Self::is_dead(fs, dir, file, &name, &mut seen).at("stat", &name)? {
                fs.unlink(dir, &name).maybe().at("unlink", &name)?;
                continue;
            }
            if waited >= TIMEOUT.min(fs.longest_wait()) {
                return Err(Error::Locked { object: String::from_utf8_lossy(&name).into_owned() });
            }
            fs.pause(pause);
            waited += pause;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Makes the lock and returns its inode. It is linked into place with its content: a process that dies leaves a lock
    /// that says whose it was, or none.
    fn create(fs: &F, dir: &F::Dir, name: &[u8], mode: u32) -> io::Result<u64> {
        let process = fs.process().to_string();
        let draft = [b".temp.", fs.host(), b".", process.as_bytes(), b".", name].concat();
        // One that is there was left by a process that had our number.
        fs.unlink(dir, &draft).maybe()?;
        let file = fs.create(dir, &draft, mode)?;
        // A full disk leaves it empty, which Dovecot tolerates and so do we.
        let _ = fs.append(&file, &[process.as_bytes(), b":", fs.host()].concat());
        let linked = fs.stat(&file).and_then(|meta| fs.link(dir, &draft, dir, name).map(|()| meta.inode));
        fs.unlink(dir, &draft).maybe()?;
        linked
    }

    /// Judges the lock that is there. `seen` remembers it between calls, with the time of its last change.
    fn is_dead(
        fs: &F,
        dir: &F::Dir,
        file: &[u8],
        name: &[u8],
        seen: &mut Option<(Meta, Timestamp)>,
    ) -> io::Result<bool> {
        let Some(lock) = fs.open(dir, name).maybe()? else { return Ok(false) };
        let meta = fs.stat(&lock)?;
        let owner = read_range(fs, &lock, 0, MAX_CONTENT)?;
        let owner = std::str::from_utf8(&owner).ok().and_then(|text| text.trim_end().split_once(':'));
        let ours = owner.filter(|(_, host)| host.as_bytes() == fs.host()).and_then(|(pid, _)| pid.parse().ok());
        let gone = match (owner, ours) {
            (_, Some(process)) => process == fs.process() || !fs.process_exists(process),
            // A power cut may have left a part of what we write.
            (Some((_, host)), None) => fs.host().starts_with(host.as_bytes()) && meta.changed < fs.booted(),
            (None, None) => meta.changed < fs.booted(),
        };
        if gone || (ours.is_some() && meta.changed < fs.booted()) {
            // Only if it is still the one we judged.
            return Ok(fs.stat_at(dir, name).maybe()?.is_some_and(|now| now.inode == meta.inode));
        }
        let change = match seen {
            Some((before, change)) if *before == meta => *change,
            Some(_) => fs.now(),
            None => meta.changed.max(meta.modified).min(fs.now()),
        };
        *seen = Some((meta, change));
        if ours.is_some() || change.plus(STALE_SECONDS) >= fs.now() {
            return Ok(false);
        }
        let target = fs.stat_at(dir, file).maybe()?;
        Ok(target.is_none_or(|target| target.changed.plus(STALE_SECONDS) < fs.now()))
    }
}

impl<F: Fs> Drop for Dotlock<'_, F> {
    fn drop(&mut self) {
        // Somebody may have overridden it. A crash here leaves a lock whose process is gone.
        if self.fs.stat_at(&self.dir, &self.name).is_ok_and(|meta| meta.inode == self.inode) {
            let _ = self.fs.unlink(&self.dir, &self.name);
        }
    }
}

/// Replaces `file` with `content` by way of `file.tmp`. With `sync`, content and name are durable when this returns. The
/// modification time grows by at least a second when the file had one: readers compare seconds.
pub fn replace<F: Fs>(fs: &F, dir: &F::Dir, file: &[u8], content: &[u8], mode: u32, sync: bool) -> Result<Meta> {
    let new = [file, b".tmp"].concat();
    let before = fs.stat_at(dir, file).maybe().at("stat", file)?;
    fs.unlink(dir, &new).maybe().at("unlink", &new)?;
    let written = (|| {
        let handle = fs.create(dir, &new, mode)?;
        fs.append(&handle, content)?;
        let mut meta = fs.stat(&handle)?;
        if let Some(before) = before.filter(|before| before.modified.secs >= meta.modified.secs) {
            fs.set_modified(&handle, Timestamp { secs: before.modified.secs + 1, nanos: 0 })?;
            meta = fs.stat(&handle)?;
        }
        if sync {
            fs.sync_file(&handle)?;
        }
        // A crash before this line leaves the old file; one after it and before the directory is synced, either.
        fs.rename(dir, &new, dir, file)?;
        Ok(meta)
    })();
    match written {
        Ok(meta) => {
            if sync {
                fs.sync_dir(dir).at("fsync", file)?;
            }
            Ok(meta)
        }
        Err(error) => {
            let _ = fs.unlink(dir, &new);
            Err(error).at("write", &new)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::model::{Keep, ModelFs};

    const FILE: &[u8] = b"dovecot-uidlist";
    const LOCK: &[u8] = b"dovecot-uidlist.lock";

    /// The seconds until the lock was had.
    fn wait(fs: &ModelFs) -> Result<i64> {
        let before = fs.now().secs;
        Dotlock::acquire(fs, &fs.root(), FILE, 0o600).map(|_| fs.now().secs - before)
    }

    fn leave(fs: &ModelFs, content: &[u8]) {
        fs.append(&fs.create(&fs.root(), LOCK, 0o600).unwrap(), content).unwrap();
    }

    #[test]
    fn it_holds_our_process_and_host_and_goes_away() {
        let fs = ModelFs::new();
        let lock = Dotlock::acquire(&fs, &fs.root(), FILE, 0o600).unwrap();
        let file = fs.open(&fs.root(), LOCK).unwrap();
        assert_eq!(read_range(&fs, &file, 0, 100).unwrap(), b"100:model");
        drop(lock);
        assert!(fs.stat_at(&fs.root(), LOCK).is_err());
    }

    #[test]
    fn a_lock_left_by_a_crash_delays_nobody() {
        let fs = ModelFs::new();
        std::mem::forget(Dotlock::acquire(&fs, &fs.root(), FILE, 0o600).unwrap());
        for keep in [Keep::All, Keep::Nothing, Keep::Some(1), Keep::Some(2), Keep::Some(3), Keep::Some(4)] {
            let after = fs.crash(keep);
            assert_eq!(wait(&after).unwrap(), 0, "{keep:?}");
        }
    }

    #[test]
    fn others_are_waited_for() {
        // (content of the lock, the wait)
        let table: &[(&[u8], Option<i64>)] = &[
            (b"77:model", None),      // runs
            (b"78:model", Some(0)),   // does not
            (b"78:other", Some(120)), // who knows
            (b"", Some(120)),         // being written
        ];
        for (content, expected) in table {
            let fs = ModelFs::new();
            fs.become_process(77, false);
            fs.become_process(100, true);
            leave(&fs, content);
            match expected {
                Some(expected) => {
                    let waited = wait(&fs).unwrap();
                    assert!((*expected..=expected + 1).contains(&waited), "{waited} {content:?}");
                }
                None => assert!(matches!(wait(&fs), Err(Error::Locked { .. }))),
            }
        }
    }

    #[test]
    fn the_wait_ends_sooner_where_that_is_wanted() {
        let fs = ModelFs::new();
        fs.become_process(77, true);
        leave(&fs, b"100:model");
        for (longest, waited) in [(Duration::MAX, 122), (Duration::from_secs(7), 7)] {
            fs.wait_at_most(longest);
            let before = fs.now().secs;
            assert!(matches!(wait(&fs), Err(Error::Locked { .. })));
            assert!((waited..=waited + 1).contains(&(fs.now().secs - before)), "{longest:?}");
        }
    }

    #[test]
    fn replacing_makes_the_time_grow() {
        let fs = ModelFs::new();
        let mut last = 0;
        for _ in 0..3 {
            let meta = replace(&fs, &fs.root(), FILE, b"x", 0o600, true).unwrap();
            assert!(meta.modified.secs > last);
            last = meta.modified.secs;
        }
    }
}
