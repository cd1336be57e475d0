//! Builds an LMDB file in one go, for `postmap lmdb:x`; Postfix reads it as one of its own.
//!
//! The records are known and sorted, so the tree is written from the leaves up, with full pages and no free list.

use crate::lmdb::{BIG_VALUE, BRANCH, LEAF, MAGIC, META, NO_PAGE, NODE_HEADER, OVERFLOW, PAGE_HEADER, VERSION};
use std::io::{self, Write};

const PAGE_SIZE: usize = 4096;
/// The longest key that LMDB takes, in bytes, the NUL at the end included.
const KEY_LIMIT: usize = 511;
/// A node that is longer than this has its value on pages of its own: two nodes must fit a page.
const NODE_LIMIT: usize = (PAGE_SIZE - PAGE_HEADER) / 2 - 2;
/// The size of the map that a reader prepares at least: Postfix's `lmdb_map_size`.
const MAP_SIZE: u64 = 16 << 20;
/// The flags that LMDB keeps with the tree of free pages: keys are numbers, the file has no directory of its own.
const FREE_TREE_FLAGS: u16 = 0x4008;

/// Writes a file with `records`, which are sorted by key and have no key twice.
///
/// # Errors
///
/// A key is empty or too long for the format, or the output fails.
pub(crate) fn write(output: &mut impl Write, records: &[(&[u8], &[u8])]) -> io::Result<()> {
    let mut tree = Builder { pages: Vec::new(), branches: 0, leaves: 0, overflow: 0 };
    let (root, depth) = tree.build(records)?;
    for number in 0..2 {
        output.write_all(&tree.meta_page(number, root, depth, records.len()))?;
    }
    tree.pages.iter().try_for_each(|page| output.write_all(page))
}

struct Builder {
    /// The pages from number 2 on; one with several page sizes of bytes is that many pages.
    pages: Vec<Vec<u8>>,
    branches: u64,
    leaves: u64,
    overflow: u64,
}

/// A page under construction: nodes grow down from the end, their offsets up from the header.
struct Open {
    nodes: Vec<Vec<u8>>,
    size: usize,
    /// The first key in it, and in what is below it.
    first: Vec<u8>,
}

impl Open {
    fn new() -> Self {
        Self { nodes: Vec::new(), size: PAGE_HEADER, first: Vec::new() }
    }

    fn fits(&self, node: &[u8]) -> bool {
        self.size + 2 + node.len().next_multiple_of(2) <= PAGE_SIZE
    }

    fn push(&mut self, key: &[u8], mut node: Vec<u8>) {
        if self.nodes.is_empty() {
            self.first = key.to_vec();
        }
        node.resize(node.len().next_multiple_of(2), 0);
        self.size += 2 + node.len();
        self.nodes.push(node);
    }
}

impl Builder {
    fn next_number(&self) -> u64 {
        2 + self.branches + self.leaves + self.overflow
    }

    /// The root and the number of levels.
    fn build(&mut self, records: &[(&[u8], &[u8])]) -> io::Result<(u64, u16)> {
        if records.is_empty() {
            return Ok((NO_PAGE, 0));
        }
        let mut level = Vec::new();
        let mut open = Open::new();
        for (key, value) in records {
            let key = [key, b"\0".as_slice()].concat();
            if key.len() == 1 || key.len() > KEY_LIMIT {
                return Err(io::Error::other("key is empty or too long for this type of table"));
            }
            let node = self.leaf_node(&key, &[value, b"\0".as_slice()].concat());
            if !open.fits(&node) {
                level.push(self.finish(std::mem::replace(&mut open, Open::new()), LEAF));
            }
            open.push(&key, node);
        }
        level.push(self.finish(open, LEAF));
        let mut depth = 1;
        while level.len() > 1 {
            level = self.branch_level(level);
            depth += 1;
        }
        Ok((level[0].1, depth))
    }

    fn branch_level(&mut self, below: Vec<(Vec<u8>, u64)>) -> Vec<(Vec<u8>, u64)> {
        let mut level = Vec::new();
        let mut open = Open::new();
        for (key, number) in below {
            let full = !open.fits(&branch_node(number, &key));
            if full {
                level.push(self.finish(std::mem::replace(&mut open, Open::new()), BRANCH));
            }
            // The first node of a page stands for all that is below the second and has no key.
            let node = if open.nodes.is_empty() { branch_node(number, b"") } else { branch_node(number, &key) };
            open.push(&key, node);
        }
        level.push(self.finish(open, BRANCH));
        level
    }

    fn leaf_node(&mut self, key: &[u8], value: &[u8]) -> Vec<u8> {
        let big = NODE_HEADER + key.len() + value.len() > NODE_LIMIT;
        let mut node = Vec::with_capacity(NODE_HEADER + key.len() + value.len());
        node.extend((value.len() as u32).to_le_bytes());
        node.extend(if big { BIG_VALUE } else { 0 }.to_le_bytes());
        node.extend((key.len() as u16).to_le_bytes());
        node.extend(key);
        if big {
            node.extend(self.overflow_pages(value).to_le_bytes());
        } else {
            node.extend(value);
        }
        node
    }

    fn overflow_pages(&mut self, value: &[u8]) -> u64 {
        let number = self.next_number();
        let count = (PAGE_HEADER + value.len()).div_ceil(PAGE_SIZE);
        let mut bytes = page_header(number, OVERFLOW);
        bytes.extend((count as u32).to_le_bytes());
        bytes.extend(value);
        bytes.resize(count * PAGE_SIZE, 0);
        self.pages.push(bytes);
        self.overflow += count as u64;
        number
    }

    /// Lays a page out: its first key and its number.
    fn finish(&mut self, open: Open, kind: u16) -> (Vec<u8>, u64) {
        let number = self.next_number();
        let mut page = page_header(number, kind);
        let lower = PAGE_HEADER + 2 * open.nodes.len();
        let mut upper = PAGE_SIZE;
        let mut offsets = Vec::new();
        for node in &open.nodes {
            upper -= node.len();
            offsets.extend((upper as u16).to_le_bytes());
        }
        page.extend((lower as u16).to_le_bytes());
        page.extend((upper as u16).to_le_bytes());
        page.extend(offsets);
        page.resize(upper, 0);
        for node in open.nodes.iter().rev() {
            page.extend(node);
        }
        self.pages.push(page);
        if kind == LEAF {
            self.leaves += 1
        } else {
            self.branches += 1
        }
        (open.first, number)
    }

    fn meta_page(&self, number: u64, root: u64, depth: u16, entries: usize) -> Vec<u8> {
        let mut page = page_header(number, META);
        page.resize(PAGE_HEADER, 0);
        page.extend(MAGIC.to_le_bytes());
        page.extend(VERSION.to_le_bytes());
        page.extend(0u64.to_le_bytes());
        page.extend((self.next_number() * PAGE_SIZE as u64).max(MAP_SIZE).to_le_bytes());
        tree(&mut page, PAGE_SIZE as u32, FREE_TREE_FLAGS, 0, [0, 0, 0, 0, NO_PAGE]);
        tree(&mut page, 0, 0, depth, [self.branches, self.leaves, self.overflow, entries as u64, root]);
        page.extend((self.next_number() - 1).to_le_bytes());
        // The number of the transaction: the second meta page counts.
        page.extend(number.to_le_bytes());
        page.resize(PAGE_SIZE, 0);
        page
    }
}

fn page_header(number: u64, kind: u16) -> Vec<u8> {
    let mut header = number.to_le_bytes().to_vec();
    header.extend([0, 0]);
    header.extend(kind.to_le_bytes());
    header
}

fn tree(page: &mut Vec<u8>, pad: u32, flags: u16, depth: u16, numbers: [u64; 5]) {
    page.extend(pad.to_le_bytes());
    page.extend(flags.to_le_bytes());
    page.extend(depth.to_le_bytes());
    page.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
}

/// A node of a branch page: the number of the page below in its first six bytes.
fn branch_node(number: u64, key: &[u8]) -> Vec<u8> {
    let mut node = number.to_le_bytes()[..6].to_vec();
    node.extend((key.len() as u16).to_le_bytes());
    node.extend(key);
    node
}
