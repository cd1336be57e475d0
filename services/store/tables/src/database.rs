//! The indexed file `x.db` of `hash:` and `btree:` tables.
//!
//! The file is written once and never changed: a new table is a new file renamed over the old one. A reader therefore
//! sees one whole table or the other, keeps the one it has opened, and needs no lock.
//!
//! ```text
//!  0  "posthorn table 1"          16 bytes; byte 12 tells it from a Berkeley DB file
//! 16  length of the file          u64, all numbers little-endian
//! 24  offset of the index         u64
//! 32  slots in the index          u32, a power of two, at least twice the records
//! 36  records                     u32
//! 40  source: mtime seconds       i64
//! 48  source: mtime nanoseconds   u32
//! 52  source: length of its path  u32; 0 when the table was not built from a file
//! 56  source: size                u64
//! 64  source: path, then the records, sorted by key:
//!       length of key u32, length of value u32, key, value
//!     the index: slots of (hash u32, offset u64); offset 0 is an empty slot
//!     checksum                    u32, CRC-32 of everything before it
//! ```
//!
//! The hash is the CRC-32 of the key; slots are tried in turn from `hash % slots`. The checksum is verified when the file
//! is opened. Damage after that is caught by the bounds that every read checks, and is an error, never "not found".

use crc32fast::Hasher;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;

/// First bytes of the file, with the version of the format.
const MAGIC: &[u8; 16] = b"posthorn table 1";
/// Bytes before the path of the source.
const HEADER: usize = 64;
/// Bytes of one slot of the index.
const SLOT: u64 = 12;
/// The longest key and the longest value that a table holds, in bytes.
pub(crate) const KEY_LIMIT: usize = 1 << 16;
pub(crate) const VALUE_LIMIT: usize = 1 << 24;
/// The most records in one table.
pub(crate) const RECORD_LIMIT: usize = 1 << 28;

/// The text file that a table was built from, as it was then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    /// Its path, as given to `postmap`.
    pub path: String,
    /// Its modification time: seconds and nanoseconds.
    pub modified: (i64, u32),
    /// Its size in bytes.
    pub size: u64,
}

/// Writes a table. `records` are sorted by key and have no key twice.
///
/// # Errors
///
/// A key, a value or the number of records is over its limit, or the output fails.
pub(crate) fn write(output: &mut impl Write, source: Option<&Source>, records: &[(&[u8], &[u8])]) -> io::Result<()> {
    if records.len() > RECORD_LIMIT {
        return Err(io::Error::other("too many records"));
    }
    let path = source.map_or("", |source| &source.path);
    let slots = (records.len() * 2).next_power_of_two();
    let mut index = vec![(0u32, 0u64); slots];
    let mut offset = (HEADER + path.len()) as u64;
    for (key, value) in records {
        if key.len() > KEY_LIMIT || value.len() > VALUE_LIMIT {
            return Err(io::Error::other("record too long"));
        }
        let hash = crc32fast::hash(key);
        let mut slot = hash as usize % slots;
        while index[slot].1 != 0 {
            slot = (slot + 1) % slots;
        }
        index[slot] = (hash, offset);
        offset += 8 + (key.len() + value.len()) as u64;
    }

    let mut out = Checked { output, hasher: Hasher::new() };
    out.put(MAGIC)?;
    out.put(&(offset + slots as u64 * SLOT + 4).to_le_bytes())?;
    out.put(&offset.to_le_bytes())?;
    out.put(&(slots as u32).to_le_bytes())?;
    out.put(&(records.len() as u32).to_le_bytes())?;
    let (seconds, nanoseconds) = source.map_or((0, 0), |source| source.modified);
    out.put(&seconds.to_le_bytes())?;
    out.put(&nanoseconds.to_le_bytes())?;
    out.put(&(path.len() as u32).to_le_bytes())?;
    out.put(&source.map_or(0, |source| source.size).to_le_bytes())?;
    out.put(path.as_bytes())?;
    for (key, value) in records {
        out.put(&(key.len() as u32).to_le_bytes())?;
        out.put(&(value.len() as u32).to_le_bytes())?;
        out.put(key)?;
        out.put(value)?;
    }
    for (hash, offset) in index {
        out.put(&hash.to_le_bytes())?;
        out.put(&offset.to_le_bytes())?;
    }
    let checksum = out.hasher.clone().finalize();
    out.output.write_all(&checksum.to_le_bytes())
}

/// An output that sums up what goes through it.
struct Checked<'a, W> {
    output: &'a mut W,
    hasher: Hasher,
}

impl<W: Write> Checked<'_, W> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.output.write_all(bytes)
    }
}

/// A table opened for reading.
#[derive(Debug)]
pub(crate) struct Database {
    file: File,
    index: u64,
    slots: u32,
    records: u32,
    first_record: u64,
    source: Option<Source>,
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "damaged table: build it again with postmap or postalias")
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

impl Database {
    /// Opens and verifies a table; reads the whole file once.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or is not a whole table (`InvalidData`).
    pub fn open(file: File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        let mut header = [0; HEADER];
        read_at(&file, &mut header, 0)?;
        if &header[..16] != MAGIC || u64_at(&header, 16) != length {
            return Err(damaged());
        }
        verify(&file, length)?;
        let (index, slots, records) = (u64_at(&header, 24), u32_at(&header, 32), u32_at(&header, 36));
        let path_length = u64::from(u32_at(&header, 52));
        let first_record = HEADER as u64 + path_length;
        let fits = index.checked_add(u64::from(slots) * SLOT + 4) == Some(length);
        if !fits || first_record > index || !slots.is_power_of_two() || records >= slots {
            return Err(damaged());
        }
        let source = if path_length == 0 {
            None
        } else {
            let mut path = vec![0; path_length as usize];
            read_at(&file, &mut path, HEADER as u64)?;
            let path = String::from_utf8(path).map_err(|_| damaged())?;
            let modified = (u64_at(&header, 40).cast_signed(), u32_at(&header, 48));
            Some(Source { path, modified, size: u64_at(&header, 56) })
        };
        Ok(Self { file, index, slots, records, first_record, source })
    }

    /// The value of `key`.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or was damaged since it was opened.
    pub fn get(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let hash = crc32fast::hash(key);
        for probe in 0..self.slots {
            let slot = (hash.wrapping_add(probe)) & (self.slots - 1);
            let mut bytes = [0; SLOT as usize];
            read_at(&self.file, &mut bytes, self.index + u64::from(slot) * SLOT)?;
            let offset = u64_at(&bytes, 4);
            if offset == 0 {
                return Ok(None);
            }
            if u32_at(&bytes, 0) != hash {
                continue;
            }
            let (key_length, value_length) = self.lengths(offset)?;
            if key_length != key.len() {
                continue;
            }
            let mut record = vec![0; key_length + value_length];
            read_at(&self.file, &mut record, offset + 8)?;
            if &record[..key_length] == key {
                record.drain(..key_length);
                return Ok(Some(record));
            }
        }
        Err(damaged())
    }

    /// All records in the order of their keys.
    ///
    /// # Errors
    ///
    /// As [`Database::get`].
    pub fn records(&self) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let mut offset = self.first_record;
        let mut records = Vec::new();
        for _ in 0..self.records {
            let (key_length, value_length) = self.lengths(offset)?;
            let mut key = vec![0; key_length];
            let mut value = vec![0; value_length];
            read_at(&self.file, &mut key, offset + 8)?;
            read_at(&self.file, &mut value, offset + 8 + key_length as u64)?;
            offset += 8 + (key_length + value_length) as u64;
            records.push((key, value));
        }
        Ok(records)
    }

    /// The text file that the table was built from.
    pub fn source(&self) -> Option<&Source> {
        self.source.as_ref()
    }

    /// The lengths of key and value of the record at `offset`, checked before anything is allocated for them.
    fn lengths(&self, offset: u64) -> io::Result<(usize, usize)> {
        let mut bytes = [0; 8];
        read_at(&self.file, &mut bytes, offset)?;
        let (key, value) = (u32_at(&bytes, 0) as usize, u32_at(&bytes, 4) as usize);
        let end = offset + 8 + (key as u64) + (value as u64);
        if key > KEY_LIMIT || value > VALUE_LIMIT || end > self.index { Err(damaged()) } else { Ok((key, value)) }
    }
}

/// A read past the end means that the file is shorter than its header says.
fn read_at(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<()> {
    file.read_exact_at(bytes, offset).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => damaged(),
        _ => error,
    })
}

fn verify(file: &File, length: u64) -> io::Result<()> {
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; 1 << 16];
    let end = length - 4;
    let mut offset = 0;
    while offset < end {
        let size = (end - offset).min(buffer.len() as u64) as usize;
        read_at(file, &mut buffer[..size], offset)?;
        hasher.update(&buffer[..size]);
        offset += size as u64;
    }
    read_at(file, &mut buffer[..4], end)?;
    if u32_at(&buffer, 0) == hasher.finalize() { Ok(()) } else { Err(damaged()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn file_with(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn built(records: &BTreeMap<Vec<u8>, Vec<u8>>, source: Option<&Source>) -> Vec<u8> {
        let records: Vec<_> = records.iter().map(|(key, value)| (key.as_slice(), value.as_slice())).collect();
        let mut bytes = Vec::new();
        write(&mut bytes, source, &records).unwrap();
        bytes
    }

    /// Keys and values of every length from a fixed sequence of pseudo-random numbers.
    fn random_records(count: usize) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let mut state = 0x2545_f491_4f6c_dd1du64;
        let mut next = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let mut bytes = |most: u64| (0..next() % most).map(|_| next() as u8).collect::<Vec<u8>>();
        (0..count).map(|_| (bytes(20), bytes(60))).collect()
    }

    #[test]
    fn reads_back_what_was_written() {
        let source = Source { path: "/etc/postfix/virtual".into(), modified: (-5, 999_999_999), size: u64::MAX };
        for count in [0, 1, 2, 3, 1000] {
            let records = random_records(count);
            let database = Database::open(file_with(&built(&records, Some(&source)))).unwrap();
            assert_eq!(database.source(), Some(&source));
            for (key, value) in &records {
                assert_eq!(database.get(key).unwrap().as_ref(), Some(value));
            }
            for absent in random_records(200).keys().map(|key| [key, b"x".as_slice()].concat()) {
                assert_eq!(database.get(&absent).unwrap(), records.get(&absent).cloned());
            }
            assert_eq!(database.records().unwrap(), records.into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn every_truncation_and_every_changed_byte_is_noticed() {
        let bytes = built(&random_records(8), None);
        for length in 0..bytes.len() {
            assert!(Database::open(file_with(&bytes[..length])).is_err(), "cut to {length}");
        }
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x40;
            assert!(Database::open(file_with(&changed)).is_err(), "byte {at}");
        }
        assert!(Database::open(file_with(&[bytes.as_slice(), b"x"].concat())).is_err());
    }

    #[test]
    fn truncation_after_opening_is_an_error_not_an_absence() {
        let records = random_records(50);
        let file = file_with(&built(&records, None));
        let database = Database::open(file.try_clone().unwrap()).unwrap();
        file.set_len(HEADER as u64).unwrap();
        for key in records.keys() {
            assert_eq!(database.get(key).unwrap_err().kind(), io::ErrorKind::InvalidData);
        }
        assert!(database.records().is_err());
    }

    #[test]
    fn limits_hold() {
        let write_one = |key: &[u8], value: &[u8]| write(&mut io::sink(), None, &[(key, value)]);
        assert!(write_one(&vec![b'k'; KEY_LIMIT], b"v").is_ok());
        assert!(write_one(&vec![b'k'; KEY_LIMIT + 1], b"v").is_err());
        assert!(write_one(b"k", &vec![b'v'; VALUE_LIMIT + 1]).is_err());
    }
}
