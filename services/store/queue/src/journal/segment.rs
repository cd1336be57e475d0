//! One segment of the ring: a file that is written full of zeros once, when it is made, and recycled ever after.
//!
//! ```text
//! segment = block0 records seal
//! seal    = one block: zeros, or a record that carries the freed point alone
//! block0  = "PHJS" version:u32 cookie:u64 crc:u32 zeros   ; 4096 bytes, written once
//! ```
//!
//! `fallocate` would not do instead of the zeros: the file system then notes at each write that an extent has become a
//! written one, and every sync pays for that.

use crate::error::{DiskError, During};
use crate::folder::{JOURNAL, keep_bytes, unlink_if_there};
use crate::fs::{Access, File, Fs, read_exact_at};

use super::record::BLOCK;
use super::{Damage, Sequence};

const MAGIC: &[u8; 4] = b"PHJS";
const VERSION: u32 = 1;
const HEAD: usize = 20;
const CHUNK: usize = 1024 * 1024;
/// Segments of the largest ring.
pub(super) const MAX_SEGMENTS: usize = 1024;

pub(super) struct Segment<F: Fs> {
    pub file: F::File,
    pub path: String,
    pub cookie: u64,
    /// Bytes of the file.
    pub size: u64,
    /// Records that may not be overwritten.
    pub live: usize,
    /// The highest sequence number in it.
    pub last: Sequence,
}

impl<F: Fs> Segment<F> {
    /// Opens the segment of this number, or makes it. Returns its bytes as well, empty if it is new.
    pub fn open(fs: &F, index: usize, size: u64, damage: &mut Vec<Damage>) -> Result<(Self, Vec<u8>), DiskError> {
        let path = path(index);
        let file = match fs.open(&path, Access::ReadWrite) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok((Self::make(fs, path, size)?, Vec::new()));
            }
            Err(error) => return Err(error).during("open", &path),
        };
        // If only the process stopped, what its last write left may be in the cache alone. Before it is taken for committed
        // it has to be.
        file.sync().during("sync", &path)?;
        let found_size = file.size().during("stat", &path)?;
        let bytes = read_exact_at(&file, 0, found_size as usize).during("read", &path)?;
        if let Some(cookie) = parse_head(&bytes) {
            return Ok((Segment { file, path, cookie, size: found_size, live: 0, last: 0 }, bytes));
        }
        let kept = keep_bytes(fs, &path.replace('/', "-"), &bytes)?;
        damage.push(Damage { segment: path.clone(), from: 0, to: found_size, kept });
        Ok((Self::make(fs, path, size)?, Vec::new()))
    }

    /// Makes a segment of zeros with a head. The name is made durable by the caller, for all segments at once.
    fn make(fs: &F, path: String, size: u64) -> Result<Self, DiskError> {
        let new = format!("{path}.new");
        unlink_if_there(fs, &new)?;
        let file = fs.create(&new).during("create", &new)?;
        let zeros = vec![0; CHUNK.min(size as usize)];
        let mut at = 0;
        while at < size {
            let len = zeros.len().min((size - at) as usize);
            file.write_at(&zeros[..len], at).during("write", &new)?;
            at += len as u64;
        }
        let cookie = getrandom::u64().map_err(std::io::Error::from).during("make cookie for", &new)?;
        file.write_at(&head(cookie), 0).during("write", &new)?;
        file.sync().during("sync", &new)?;
        // A crash before this leaves a file that the next start makes anew. What has the name of a segment is whole, also
        // when this sync failed: the kernel would go on to show a head that the disk does not have.
        fs.rename(&new, &path).during("rename", &path)?;
        Ok(Segment { file, path, cookie, size, live: 0, last: 0 })
    }

    /// Bytes of the longest write of messages.
    pub fn room(&self) -> u64 {
        self.seal_at().saturating_sub(BLOCK)
    }

    /// Where the last block starts, which takes the seal.
    pub fn seal_at(&self) -> u64 {
        (self.size / BLOCK).saturating_sub(1) * BLOCK
    }
}

/// How many segments there are; one that is missing in between counts.
pub(super) fn count<F: Fs>(fs: &F) -> Result<usize, DiskError> {
    let names = fs.list(JOURNAL).during("list", JOURNAL)?;
    let numbers = names.iter().filter_map(|name| name.parse::<usize>().ok());
    Ok(numbers.max().map_or(0, |last| last.min(MAX_SEGMENTS - 1) + 1))
}

fn path(index: usize) -> String {
    format!("{JOURNAL}/{index:02}")
}

fn head(cookie: u64) -> [u8; HEAD] {
    let mut bytes = [0; HEAD];
    bytes[..4].copy_from_slice(MAGIC);
    bytes[4..8].copy_from_slice(&VERSION.to_le_bytes());
    bytes[8..16].copy_from_slice(&cookie.to_le_bytes());
    let crc = crc32fast::hash(&bytes[..16]);
    bytes[16..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

fn parse_head(bytes: &[u8]) -> Option<u64> {
    let cookie = u64::from_le_bytes(bytes.get(8..16)?.try_into().ok()?);
    (bytes[..HEAD.min(bytes.len())] == head(cookie)).then_some(cookie)
}
