//! `dovecot-uidvalidity`: the last UIDVALIDITY given to a mailbox beneath a mail root.
//!
//! The value is the name of an empty file, `dovecot-uidvalidity.<8 hex>`, which is renamed to the next value: two
//! programs cannot take the same. `dovecot-uidvalidity` itself holds the same eight digits, as a hint.

use std::io;

use crate::{
    error::{At, Maybe, Result},
    fs::{Fs, read_range},
};

const NAME: &[u8] = b"dovecot-uidvalidity";

/// How often a value may be taken before our eyes.
const RETRIES: usize = 10;

/// Takes the next value. With `sync`, no later call gives it again, whatever crashes.
pub fn next<F: Fs>(fs: &F, root: &F::Dir, mode: u32, sync: bool) -> Result<u32> {
    let value = match take(fs, root)? {
        Some(value) => value,
        None => start(fs, root)?,
    };
    // The hint may be torn or lost in a crash: then the directory is searched.
    fs.unlink(root, NAME).maybe().at("unlink", NAME)?;
    if let Ok(file) = fs.create(root, NAME, mode) {
        let _ = fs.append(&file, format!("{value:08x}").as_bytes());
    }
    if sync {
        fs.sync_dir(root).at("fsync", NAME)?;
    }
    Ok(value)
}

/// Renames the file of the current value, if there is one.
fn take<F: Fs>(fs: &F, root: &F::Dir) -> Result<Option<u32>> {
    let hint = fs.open(root, NAME).and_then(|file| read_range(fs, &file, 0, 8));
    let hint = hint.ok().and_then(|text| parse(&text));
    for attempt in 0..RETRIES {
        let current = match hint.filter(|_| attempt == 0) {
            Some(current) => current,
            None => match newest(fs, root)? {
                Some(current) => current,
                None => return Ok(None),
            },
        };
        let next = current.checked_add(1).unwrap_or(1);
        // If it is not there, somebody else took it, or the hint is old.
        let taken = fs.rename(root, &file_name(current), root, &file_name(next)).maybe().at("rename", NAME)?;
        if taken.is_some() {
            return Ok(Some(next));
        }
    }
    Ok(None)
}

/// The highest value; older files are leftovers of a race and go.
fn newest<F: Fs>(fs: &F, root: &F::Dir) -> Result<Option<u32>> {
    let entries = fs.list(root).at("readdir", NAME)?;
    let values = entries.iter().filter_map(|e| parse(e.name.strip_prefix(NAME)?.strip_prefix(b".")?));
    let mut values: Vec<u32> = values.collect();
    values.sort_unstable();
    let newest = values.pop();
    for old in values {
        fs.unlink(root, &file_name(old)).maybe().at("unlink", NAME)?;
    }
    Ok(newest)
}

/// The first value is the time.
fn start<F: Fs>(fs: &F, root: &F::Dir) -> Result<u32> {
    let mut value = (fs.now().secs as u32).max(1);
    for _ in 0..RETRIES {
        match fs.create(root, &file_name(value), 0o444) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => value += 1,
            other => {
                other.at("open", NAME)?;
                break;
            }
        }
    }
    Ok(value)
}

fn file_name(value: u32) -> Vec<u8> {
    [NAME, format!(".{value:08x}").as_bytes()].concat()
}

fn parse(hex: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(hex).ok().filter(|t| t.len() == 8 && t.bytes().all(|b| b.is_ascii_hexdigit()))?;
    u32::from_str_radix(text, 16).ok().filter(|value| *value != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::model::{Keep, ModelFs};

    #[test]
    fn values_grow_whatever_is_lost() {
        let fs = ModelFs::new();
        let root = fs.root();
        let first = next(&fs, &root, 0o600, true).unwrap();
        assert_eq!(i64::from(first), fs.booted().secs + 1000);
        assert_eq!(next(&fs, &root, 0o600, true).unwrap(), first + 1);
        for hint in [&b"00000000"[..], b"xyz", b"00000001", b""] {
            let file = fs.open(&root, NAME).unwrap();
            fs.write_at(&file, hint, 0).unwrap();
            let before = newest(&fs, &root).unwrap().unwrap();
            assert_eq!(next(&fs, &root, 0o600, true).unwrap(), before + 1);
        }
        fs.create(&root, &file_name(5), 0o444).unwrap();
        fs.unlink(&root, NAME).unwrap();
        assert_eq!(next(&fs, &root, 0o600, true).unwrap(), first + 6);
        assert!(fs.stat_at(&root, &file_name(5)).is_err());
    }

    #[test]
    fn no_value_twice_after_a_crash() {
        for stop in 0..30 {
            for keep in [Keep::Nothing, Keep::All, Keep::Some(stop)] {
                let fs = ModelFs::new();
                fs.stop_after(stop);
                let given: Vec<u32> = (0..6).map_while(|_| next(&fs, &fs.root(), 0o600, true).ok()).collect();
                let after = fs.crash(keep);
                let again = next(&after, &after.root(), 0o600, true).unwrap();
                assert!(!given.contains(&again), "{stop} {keep:?}");
            }
        }
    }
}
