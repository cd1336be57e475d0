//! `lmdb:`: reads the file `x.lmdb` that Postfix's `postmap` builds.
//!
//! The LMDB library maps the file into memory, where a file cut short by somebody else is a signal that ends the process,
//! and for that reason its interface is unsafe. This reader knows the format (LMDB 0.9, 64 bits, little-endian) and uses
//! positioned reads with every offset checked.
//!
//! The file is a tree of pages in which a writer never overwrites what the last committed transaction can see. Pages 0
//! and 1 name the root; the one with the higher transaction number counts. A writer may reuse the pages of a snapshot
//! only two transactions later, so a lookup during which the transaction number did not change saw one whole state.

use crate::error::io_reason;
use crate::watched::Watched;
use crate::{Context, Matching, Table, TableError, TableSpec};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// Bytes before the content of a page.
pub(crate) const PAGE_HEADER: usize = 16;
/// Bytes before the key of a node.
pub(crate) const NODE_HEADER: usize = 8;
/// First number of a meta page, after its page header.
pub(crate) const MAGIC: u32 = 0xBEEF_C0DE;
/// The version of the format.
pub(crate) const VERSION: u32 = 1;
/// Kinds of pages.
pub(crate) const BRANCH: u16 = 0x01;
pub(crate) const LEAF: u16 = 0x02;
pub(crate) const OVERFLOW: u16 = 0x04;
pub(crate) const META: u16 = 0x08;
/// The value of a node is on pages of its own.
pub(crate) const BIG_VALUE: u16 = 0x01;
/// The root of an empty tree.
pub(crate) const NO_PAGE: u64 = u64::MAX;
/// Levels of a tree that are followed; LMDB itself has the same limit.
const DEPTH_LIMIT: usize = 32;
/// The longest value that is read, in bytes.
const VALUE_LIMIT: usize = 1 << 24;
/// How often a lookup starts again because a writer committed meanwhile.
const ATTEMPTS: usize = 10;
/// The most records that a listing returns.
const RECORD_LIMIT: usize = 1 << 28;

pub(crate) struct Lmdb {
    spec: TableSpec,
    file: Watched<File>,
}

impl Lmdb {
    pub fn new(spec: &TableSpec, context: &Context) -> Self {
        let file = Watched::new(context, spec.to_string(), "open database", format!("{}.lmdb", spec.name));
        Self { spec: spec.clone(), file }
    }

    fn file(&self) -> Result<Arc<File>, TableError> {
        self.file.get(|context, file| {
            self.warn_if_stale(context, &file);
            Ok(file)
        })
    }

    fn warn_if_stale(&self, context: &Context, file: &File) {
        let name = &self.spec.name;
        if let (Ok(database), Ok(source)) = (file.metadata(), context.files.stamp(name)) {
            crate::indexed::warn_if_older(context, name, ".lmdb", crate::Stamp::from(&database).modified, source);
        }
    }

    fn fail(&self, error: &io::Error) -> TableError {
        TableError::new(self.spec.to_string(), io_reason(error))
    }

    fn text(&self, bytes: Vec<u8>) -> Result<String, TableError> {
        String::from_utf8(bytes).map_err(|_| TableError::new(self.spec.to_string(), "non-UTF-8 value"))
    }
}

impl Table for Lmdb {
    fn lookup(&self, key: &str) -> Result<Option<String>, TableError> {
        let file = self.file()?;
        let key = self.spec.flags.folding.apply(key);
        // Postfix writes keys and values with a NUL at the end, or without, and reads both.
        let terminated = [key.as_bytes(), b"\0"].concat();
        let find = |snapshot: &Snapshot| match snapshot.get(&terminated)? {
            None => snapshot.get(key.as_bytes()),
            value => Ok(value),
        };
        let value = consistent(&file, find).map_err(|error| self.fail(&error))?;
        value.map(|value| self.text(unterminated(value))).transpose()
    }

    fn matching(&self) -> Matching {
        Matching::Fixed
    }

    fn records(&self) -> Option<Result<Vec<(String, String)>, TableError>> {
        let list = || {
            let records =
                consistent(&*self.file()?, |snapshot| snapshot.records()).map_err(|error| self.fail(&error))?;
            let text = |bytes| self.text(unterminated(bytes));
            records.into_iter().map(|(key, value)| Ok((text(key)?, text(value)?))).collect()
        };
        Some(list())
    }
}

fn unterminated(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.pop_if(|last| *last == 0);
    bytes
}

/// Reads with one state of the file, however many writers commit.
fn consistent<T>(file: &File, read: impl Fn(&Snapshot) -> io::Result<T>) -> io::Result<T> {
    for _ in 0..ATTEMPTS {
        let snapshot = Snapshot::open(file)?;
        let result = read(&snapshot);
        if Snapshot::open(file)?.transaction == snapshot.transaction {
            return result;
        }
    }
    Err(io::Error::new(io::ErrorKind::WouldBlock, "table is being rewritten"))
}

/// The tree as one transaction left it.
struct Snapshot<'a> {
    file: &'a File,
    page_size: usize,
    last_page: u64,
    root: u64,
    transaction: u64,
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "not a whole LMDB file")
}

/// A page in memory, with its numbers checked as they are read.
struct Page(Vec<u8>);

impl Page {
    fn bytes(&self, at: usize, length: usize) -> io::Result<&[u8]> {
        self.0.get(at..).and_then(|rest| rest.get(..length)).ok_or_else(damaged)
    }

    fn u16(&self, at: usize) -> io::Result<u16> {
        Ok(u16::from_le_bytes(self.bytes(at, 2)?.try_into().map_err(|_| damaged())?))
    }

    fn u32(&self, at: usize) -> io::Result<u32> {
        Ok(u32::from_le_bytes(self.bytes(at, 4)?.try_into().map_err(|_| damaged())?))
    }

    fn u64(&self, at: usize) -> io::Result<u64> {
        Ok(u64::from_le_bytes(self.bytes(at, 8)?.try_into().map_err(|_| damaged())?))
    }

    fn flags(&self) -> io::Result<u16> {
        self.u16(10)
    }

    fn nodes(&self) -> io::Result<usize> {
        Ok(usize::from(self.u16(12)?).checked_sub(PAGE_HEADER).ok_or_else(damaged)? / 2)
    }

    fn node(&self, index: usize) -> io::Result<usize> {
        self.u16(PAGE_HEADER + 2 * index).map(usize::from)
    }

    fn key(&self, node: usize) -> io::Result<&[u8]> {
        self.bytes(node + NODE_HEADER, usize::from(self.u16(node + 6)?))
    }

    /// The page below a node of a branch page.
    fn child(&self, node: usize) -> io::Result<u64> {
        Ok(u64::from(self.u32(node)?) | u64::from(self.u16(node + 4)?) << 32)
    }

    /// The first node whose key is not below `key`, and whether it is equal. The first key of a branch page stands for
    /// everything below the second.
    fn search(&self, key: &[u8], first: usize) -> io::Result<(usize, bool)> {
        let (mut low, mut high) = (first, self.nodes()?);
        while low < high {
            let middle = usize::midpoint(low, high);
            match self.key(self.node(middle)?)?.cmp(key) {
                std::cmp::Ordering::Equal => return Ok((middle, true)),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Ok((low, false))
    }
}

impl<'a> Snapshot<'a> {
    fn open(file: &'a File) -> io::Result<Self> {
        let first = Self::meta(file, 0)?;
        // The second meta page is where the first one says that pages are.
        match Self::meta(file, first.page_size as u64) {
            Ok(second) if second.transaction > first.transaction => Ok(second),
            _ => Ok(first),
        }
    }

    fn meta(file: &'a File, offset: u64) -> io::Result<Self> {
        let mut page = Page(vec![0; PAGE_HEADER + 136]);
        read_at(file, &mut page.0, offset)?;
        let meta = PAGE_HEADER;
        let page_size = page.u32(meta + 24)? as usize;
        let valid = page.u32(meta)? == MAGIC && page.u32(meta + 4)? == VERSION && page.flags()? & META != 0;
        if !valid || !page_size.is_power_of_two() || !(512..=65536).contains(&page_size) {
            return Err(damaged());
        }
        // Two trees of 48 bytes, free pages and records; the root is the last number of each.
        let (root, last_page, transaction) = (page.u64(meta + 112)?, page.u64(meta + 120)?, page.u64(meta + 128)?);
        Ok(Self { file, page_size, last_page, root, transaction })
    }

    fn page(&self, number: u64, kinds: u16) -> io::Result<Page> {
        if number > self.last_page {
            return Err(damaged());
        }
        let mut page = Page(vec![0; self.page_size]);
        read_at(self.file, &mut page.0, number.checked_mul(self.page_size as u64).ok_or_else(damaged)?)?;
        if page.flags()? & kinds == 0 { Err(damaged()) } else { Ok(page) }
    }

    fn get(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        if self.root == NO_PAGE {
            return Ok(None);
        }
        let mut number = self.root;
        for _ in 0..DEPTH_LIMIT {
            let page = self.page(number, BRANCH | LEAF)?;
            if page.flags()? & LEAF != 0 {
                let (index, equal) = page.search(key, 0)?;
                return if equal { self.value(&page, page.node(index)?).map(Some) } else { Ok(None) };
            }
            let (index, equal) = page.search(key, 1)?;
            number = page.child(page.node(if equal { index } else { index - 1 })?)?;
        }
        Err(damaged())
    }

    fn value(&self, page: &Page, node: usize) -> io::Result<Vec<u8>> {
        let size = page.u32(node)? as usize;
        let start = node + NODE_HEADER + page.key(node)?.len();
        if page.u16(node + 4)? & BIG_VALUE == 0 {
            return page.bytes(start, size).map(<[u8]>::to_vec);
        }
        let number = page.u64(start)?;
        self.page(number, OVERFLOW)?;
        if size > VALUE_LIMIT {
            return Err(damaged());
        }
        let mut value = vec![0; size];
        read_at(self.file, &mut value, number * self.page_size as u64 + PAGE_HEADER as u64)?;
        Ok(value)
    }

    fn records(&self) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let mut records = Vec::new();
        let mut visited = 0;
        let mut pending: Vec<u64> = (self.root != NO_PAGE).then_some(self.root).into_iter().collect();
        while let Some(number) = pending.pop() {
            let page = self.page(number, BRANCH | LEAF)?;
            visited += 1;
            // A tree has no more pages than the file; more means a circle.
            if visited > self.last_page || records.len() > RECORD_LIMIT {
                return Err(damaged());
            }
            let nodes = (0..page.nodes()?).map(|index| page.node(index)).collect::<io::Result<Vec<_>>>()?;
            if page.flags()? & LEAF != 0 {
                for node in nodes {
                    records.push((page.key(node)?.to_vec(), self.value(&page, node)?));
                }
            } else {
                for node in nodes.into_iter().rev() {
                    pending.push(page.child(node)?);
                }
            }
        }
        Ok(records)
    }
}

fn read_at(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<()> {
    file.read_exact_at(bytes, offset).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => damaged(),
        _ => error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lmdb_build::write;
    use std::collections::BTreeMap;
    use std::io::Write;

    fn file_with(records: &BTreeMap<Vec<u8>, Vec<u8>>) -> (File, Vec<u8>) {
        let records: Vec<_> = records.iter().map(|(key, value)| (key.as_slice(), value.as_slice())).collect();
        let mut bytes = Vec::new();
        write(&mut bytes, &records).unwrap();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        (file, bytes)
    }

    fn numbered(count: usize) -> BTreeMap<Vec<u8>, Vec<u8>> {
        (0..count).map(|n| (format!("user{n}@example.com").into_bytes(), vec![b'v'; n * 37 % 5000 + 1])).collect()
    }

    #[test]
    fn reads_back_trees_of_every_depth() {
        for count in [0, 1, 10, 300, 20_000] {
            let records = numbered(count);
            let (file, _) = file_with(&records);
            let snapshot = Snapshot::open(&file).unwrap();
            for (key, value) in records.iter().step_by(7) {
                let key = [key, b"\0".as_slice()].concat();
                assert_eq!(snapshot.get(&key).unwrap().map(unterminated).as_ref(), Some(value));
            }
            for absent in [b"".as_slice(), b"a\0", b"user\0", b"zzz\0"] {
                assert_eq!(snapshot.get(absent).unwrap(), None);
            }
            let read: BTreeMap<_, _> = snapshot
                .records()
                .unwrap()
                .into_iter()
                .map(|(key, value)| (unterminated(key), unterminated(value)))
                .collect();
            assert_eq!(read, records);
        }
    }

    #[test]
    fn truncation_is_an_error() {
        let (file, bytes) = file_with(&numbered(300));
        let key = b"user7@example.com\0";
        for length in (0..bytes.len() as u64).step_by(1024).filter(|length| *length < 2 * 4096 || length % 4096 == 0) {
            file.set_len(length).unwrap();
            let answer = Snapshot::open(&file).and_then(|snapshot| snapshot.records().map(drop).and(snapshot.get(key)));
            assert!(answer.is_err(), "cut to {length}");
            file.write_all_at(&bytes, 0).unwrap();
        }
    }

    #[test]
    fn damage_never_panics_or_runs_on() {
        let (file, bytes) = file_with(&numbered(12));
        for at in (0..bytes.len()).step_by(11) {
            file.write_all_at(&[bytes[at] ^ 0xa5], at as u64).unwrap();
            if let Ok(snapshot) = Snapshot::open(&file) {
                let _ = (snapshot.get(b"user7@example.com\0"), snapshot.records());
            }
            file.write_all_at(&bytes[at..=at], at as u64).unwrap();
        }
    }
}
