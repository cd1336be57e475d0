//! The numbers in queue IDs: each is given once, for ever.
//!
//! A counter that grows, reserved in blocks: `ids` says up to which number nothing may be given any more, and is synced
//! before the first number of a block is given. After a crash the rest of that block is skipped.
//!
//! The file has two slots of a block each, written in turns, so that a torn write leaves the older one:
//!
//! ```text
//! slot = "PHID" version:u32 next:u64 crc:u32      ; little endian, CRC32 of what is before it, at 0 and 4096
//! ```
//!
//! If both are unreadable, or the file is missing while the queue is not empty, counting goes on from the number of
//! microseconds since 1970: more than any counter can have reached.

use ipc_messages::queue_id::Ids;

use crate::error::{DiskError, During};
use crate::folder::{CORRUPT, Folder, JOURNAL, TMP, quarantine, unlink_if_there};
use crate::fs::{Access, File, Fs, read_exact_at};

/// Five hexadecimal digits, so that short IDs have the ten that readers of Postfix's logs expect at least.
pub const FIRST_NUMBER: u64 = 0x1_0000;
/// Numbers for each write of the state file.
pub const RESERVE: u64 = 65_536;

const PATH: &str = "ids";
const NEW_PATH: &str = "ids.new";
const MAGIC: &[u8; 4] = b"PHID";
const VERSION: u32 = 1;
const SLOT: u64 = 4096;
const SLOT_BYTES: usize = 20;

/// Owned by `cleanup`; there is one.
pub struct IdAllocator<F: Fs> {
    file: F::File,
    next: u64,
    /// Numbers below this are ours to give.
    reserved: u64,
    newest_slot: u64,
}

impl<F: Fs> IdAllocator<F> {
    /// To be called before the journal is opened: an empty `journal/` is one of the signs of a first start. `now` is in
    /// microseconds since 1970.
    pub fn open(fs: &F, now: u64) -> Result<IdAllocator<F>, DiskError> {
        let file = match fs.open(PATH, Access::ReadWrite) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let first = if is_first_start(fs)? { FIRST_NUMBER } else { now };
                return Self::create(fs, first);
            }
            Err(error) => return Err(error).during("open", PATH),
        };
        let mut newest = None;
        for slot in 0..2 {
            match read_exact_at(&file, slot * SLOT, SLOT_BYTES) {
                Ok(bytes) => newest = newest.max(parse_slot(&bytes).map(|next| (next, slot))),
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {}
                Err(error) => return Err(error).during("read", PATH),
            }
        }
        // The start that made the file may not have got to syncing its name.
        fs.sync_dir(".").during("sync folder", ".")?;
        match newest {
            Some((next, newest_slot)) => Ok(IdAllocator { file, next, reserved: next, newest_slot }),
            None => {
                quarantine(fs, PATH)?;
                Self::create(fs, now)
            }
        }
    }

    /// Gives `count` numbers, at most [`RESERVE`].
    pub fn block(&mut self, count: u64) -> Result<Ids, DiskError> {
        let to = self.next + count.min(RESERVE);
        if to > self.reserved {
            let reserved = to + RESERVE;
            let slot = 1 - self.newest_slot;
            // A crash before the sync leaves this slot torn or old, and the other one: it covers all that was given so far.
            self.file.write_at(&slot_bytes(reserved), slot * SLOT).during("write", PATH)?;
            self.file.sync().during("sync", PATH)?;
            (self.reserved, self.newest_slot) = (reserved, slot);
        }
        let from = std::mem::replace(&mut self.next, to);
        Ok(Ids { from, to })
    }

    fn create(fs: &F, next: u64) -> Result<IdAllocator<F>, DiskError> {
        unlink_if_there(fs, NEW_PATH)?;
        let file = fs.create(NEW_PATH).during("create", NEW_PATH)?;
        let mut bytes = slot_bytes(next).to_vec();
        bytes.resize(2 * SLOT as usize, 0);
        file.write_at(&bytes, 0).during("write", NEW_PATH)?;
        file.sync().during("sync", NEW_PATH)?;
        // A crash here leaves no `ids`, and no number has been given. Afterwards `ids` is there and whole.
        fs.rename(NEW_PATH, PATH).during("rename", PATH)?;
        fs.sync_dir(".").during("sync folder", ".")?;
        Ok(IdAllocator { file, next, reserved: next, newest_slot: 0 })
    }
}

fn is_first_start<F: Fs>(fs: &F) -> Result<bool, DiskError> {
    for folder in Folder::ALL.map(Folder::name).into_iter().chain([TMP, CORRUPT, JOURNAL]) {
        if !fs.list(folder).during("list", folder)?.is_empty() {
            return Ok(false);
        }
    }
    Ok(true)
}

fn slot_bytes(next: u64) -> [u8; SLOT_BYTES] {
    let mut bytes = [0; SLOT_BYTES];
    bytes[..4].copy_from_slice(MAGIC);
    bytes[4..8].copy_from_slice(&VERSION.to_le_bytes());
    bytes[8..16].copy_from_slice(&next.to_le_bytes());
    let crc = crc32fast::hash(&bytes[..16]);
    bytes[16..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

fn parse_slot(bytes: &[u8]) -> Option<u64> {
    let next = u64::from_le_bytes(bytes.get(8..16)?.try_into().ok()?);
    (bytes == slot_bytes(next)).then_some(next)
}

#[cfg(all(test, feature = "crash-model"))]
mod tests {
    use super::*;
    use crate::folder::prepare;
    use crate::fs::model::{Fault, Model};

    const NOW: u64 = 1_700_000_000_000_000;

    fn disk() -> Model {
        let fs = Model::new();
        prepare(&fs).unwrap();
        fs
    }

    #[test]
    fn no_number_is_given_twice_whatever_stops() {
        let history = |fs: &Model, given: &mut Vec<Ids>| -> Result<(), DiskError> {
            for _ in 0..3 {
                let mut ids = IdAllocator::open(fs, NOW)?;
                for _ in 0..4 {
                    given.push(ids.block(RESERVE / 2)?);
                }
            }
            Ok(())
        };
        let fs = disk();
        history(&fs, &mut Vec::new()).unwrap();
        for stop in 0..fs.operations() {
            for seed in 0..8 {
                let fs = disk();
                fs.fail(Fault::Stop, stop..stop + 1, seed);
                let mut given = Vec::new();
                let _ = history(&fs, &mut given);
                history(&fs.crash(seed), &mut given).unwrap();
                assert!((FIRST_NUMBER..NOW).contains(&given[0].from));
                assert!(given.windows(2).all(|pair| pair[0].to <= pair[1].from), "{given:?}");
            }
        }
    }

    #[test]
    fn a_lost_or_broken_file_jumps_ahead() {
        let fs = disk();
        IdAllocator::open(&fs, NOW).unwrap().block(1).unwrap();
        for slot in 0..2 {
            fs.damage(PATH, slot * SLOT as usize, b"X");
        }
        assert_eq!(IdAllocator::open(&fs, NOW).unwrap().block(1).unwrap().from, NOW);
        assert!(fs.list(CORRUPT).unwrap().contains(&"ids".to_string()));

        fs.unlink(PATH).unwrap();
        assert_eq!(IdAllocator::open(&fs, NOW + 1).unwrap().block(1).unwrap().from, NOW + 1);
    }

    #[test]
    fn a_full_disk_gives_no_number() {
        let fs = disk();
        let mut ids = IdAllocator::open(&fs, NOW).unwrap();
        fs.fail(Fault::Full, fs.operations()..usize::MAX, 1);
        assert!(ids.block(1).unwrap_err().is_full());
        fs.fail(Fault::Full, 0..0, 1);
        assert_eq!(ids.block(1).unwrap().from, FIRST_NUMBER);
    }
}
