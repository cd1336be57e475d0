//! `posthorn.cache`: prepared parts of answers (ENVELOPE, BODYSTRUCTURE, chosen headers) in wire form.
//!
//! ```text
//! "PHCACHE1"  u32 UIDVALIDITY  u32 0  frames of: u32 uid  u16 kind  bytes
//! ```
//! The bytes are opaque here. A later frame for the same UID and kind wins. It is a cache in every format: a miss is
//! never an error, nothing is synced, and any doubt starts it anew.

use std::{collections::HashMap, io, ops::Range};

use super::frame;
use crate::{
    error::Maybe,
    fs::{Fs, read_whole},
};

const CACHE: &[u8] = b"posthorn.cache";
const CACHE_NEW: &[u8] = b"posthorn.cache.tmp";
const MAGIC: &[u8; 8] = b"PHCACHE1";
const HEADER: usize = 16;
const KEY: usize = 6;

/// The cache is dropped and starts again beyond this size.
pub const MAX_CACHE: u64 = 64 << 20;

/// What the bytes are; the user of the cache numbers its own kinds.
pub type CacheKind = u16;

/// The cache of one mailbox, in memory from the first look until [`Cache::release`].
pub struct Cache<F: Fs> {
    dir: F::Dir,
    mode: u32,
    uid_validity: u32,
    loaded: Option<Loaded>,
    unwritten: Vec<u8>,
}

#[derive(Default)]
struct Loaded {
    content: Vec<u8>,
    /// Whether the file on disk ends with a whole frame of this mailbox.
    whole: bool,
    places: HashMap<(u32, CacheKind), (Range<usize>, u32)>,
}

impl<F: Fs> Cache<F> {
    /// The cache in `dir`; nothing is read yet.
    pub fn new(dir: F::Dir, mode: u32, uid_validity: u32) -> Self {
        Self { dir, mode, uid_validity, loaded: None, unwritten: Vec::new() }
    }

    /// The bytes for a message, if they are known.
    pub fn get(&mut self, fs: &F, uid: u32, kind: CacheKind) -> Option<&[u8]> {
        let loaded = Self::loaded(&mut self.loaded, fs, &self.dir, self.uid_validity);
        let (place, crc) = loaded.places.get(&(uid, kind))?;
        let body = &loaded.content[place.clone()];
        (crc32fast::hash(body) == *crc).then(|| &body[KEY..])
    }

    /// Remembers bytes; they reach the file with [`Cache::write`].
    pub fn put(&mut self, fs: &F, uid: u32, kind: CacheKind, bytes: &[u8]) {
        if bytes.len() > frame::MAX_BODY - KEY {
            return;
        }
        let loaded = Self::loaded(&mut self.loaded, fs, &self.dir, self.uid_validity);
        let body = [&uid.to_le_bytes()[..], &kind.to_le_bytes(), bytes].concat();
        frame::put(&mut self.unwritten, &body);
        let at = loaded.content.len();
        loaded.content.extend_from_slice(&body);
        loaded.places.insert((uid, kind), (at..at + body.len(), crc32fast::hash(&body)));
    }

    /// Appends what is new to the file. The caller holds the index's lock; `is_live` says which messages still exist,
    /// for when the file is written anew. A failure costs the cache, nothing else.
    pub fn write(&mut self, fs: &F, is_live: impl Fn(u32) -> bool) {
        if self.unwritten.is_empty() {
            return;
        }
        if self.try_write(fs, is_live).is_err() {
            self.loaded = None;
        }
        self.unwritten.clear();
    }

    /// Forgets everything if the mailbox has another UIDVALIDITY.
    pub fn renew(&mut self, uid_validity: u32) {
        if self.uid_validity != uid_validity {
            self.uid_validity = uid_validity;
            self.unwritten.clear();
            self.loaded = None;
        }
    }

    /// Frees the memory.
    pub fn release(&mut self) {
        if self.unwritten.is_empty() {
            self.loaded = None;
        }
    }

    fn try_write(&mut self, fs: &F, is_live: impl Fn(u32) -> bool) -> io::Result<()> {
        let Some(loaded) = &mut self.loaded else { return Ok(()) };
        let file = fs.open_append(&self.dir, CACHE).maybe()?;
        if let Some(file) = file.filter(|_| loaded.whole)
            && fs.stat(&file)?.size + self.unwritten.len() as u64 <= MAX_CACHE
        {
            return fs.append(&file, &self.unwritten);
        }
        let mut content = header(self.uid_validity);
        for ((uid, _), (place, crc)) in &loaded.places {
            let body = &loaded.content[place.clone()];
            if is_live(*uid) && crc32fast::hash(body) == *crc && content.len() < MAX_CACHE as usize / 2 {
                frame::put(&mut content, body);
            }
        }
        fs.unlink(&self.dir, CACHE_NEW).maybe()?;
        fs.append(&fs.create(&self.dir, CACHE_NEW, self.mode)?, &content)?;
        // Not synced: a crash leaves the old cache, the new one, or rubbish that the checksums show.
        fs.rename(&self.dir, CACHE_NEW, &self.dir, CACHE)?;
        loaded.whole = true;
        Ok(())
    }

    fn loaded<'a>(slot: &'a mut Option<Loaded>, fs: &F, dir: &F::Dir, uid_validity: u32) -> &'a mut Loaded {
        slot.get_or_insert_with(|| load(fs, dir, uid_validity).unwrap_or_default())
    }
}

fn header(uid_validity: u32) -> Vec<u8> {
    [&MAGIC[..], &uid_validity.to_le_bytes(), &[0; 4]].concat()
}

fn load<F: Fs>(fs: &F, dir: &F::Dir, uid_validity: u32) -> io::Result<Loaded> {
    let content = read_whole(fs, &fs.open(dir, CACHE)?, MAX_CACHE)?;
    if !content.starts_with(&header(uid_validity)) {
        return Ok(Loaded::default());
    }
    let mut places = HashMap::new();
    let mut at = HEADER;
    while let Some((body, crc, _)) = frame::peek(&content[at..]) {
        let Some((key, _)) = body.split_first_chunk::<KEY>() else { break };
        let uid = u32::from_le_bytes([key[0], key[1], key[2], key[3]]);
        let kind = u16::from_le_bytes([key[4], key[5]]);
        let start = at + frame::HEADER;
        places.insert((uid, kind), (start..start + body.len(), crc));
        at = start + body.len();
    }
    Ok(Loaded { whole: at == content.len(), content, places })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::model::ModelFs;

    fn cache(fs: &ModelFs, uid_validity: u32) -> Cache<ModelFs> {
        Cache::new(fs.root(), 0o600, uid_validity)
    }

    #[test]
    fn what_was_put_is_found_by_the_next_session() {
        let fs = ModelFs::new();
        let mut first = cache(&fs, 9);
        assert_eq!(first.get(&fs, 1, 1), None);
        for round in 0..3 {
            for uid in 1..50 {
                first.put(&fs, uid, 1, format!("envelope {uid} {round}").as_bytes());
            }
            first.put(&fs, 7, 2, b"");
            first.write(&fs, |_| true);
        }
        let mut second = cache(&fs, 9);
        assert_eq!(second.get(&fs, 33, 1), Some(&b"envelope 33 2"[..]));
        assert_eq!(second.get(&fs, 7, 2), Some(&b""[..]));
        assert_eq!(second.get(&fs, 33, 2), None);
        assert_eq!(cache(&fs, 10).get(&fs, 33, 1), None);
    }

    #[test]
    fn a_torn_end_is_dropped_and_damage_is_a_miss() {
        let fs = ModelFs::new();
        let mut first = cache(&fs, 9);
        first.put(&fs, 1, 1, b"one");
        first.write(&fs, |_| true);
        let file = fs.open_append(&fs.root(), CACHE).unwrap();
        fs.append(&file, &[40, 0, 0, 0, 1, 2]).unwrap();
        let mut second = cache(&fs, 9);
        assert_eq!(second.get(&fs, 1, 1), Some(&b"one"[..]));
        second.put(&fs, 2, 1, b"two");
        second.put(&fs, 3, 1, b"gone");
        second.write(&fs, |uid| uid != 3);
        let mut third = cache(&fs, 9);
        assert_eq!(third.get(&fs, 1, 1), Some(&b"one"[..]));
        assert_eq!(third.get(&fs, 2, 1), Some(&b"two"[..]));
        assert_eq!(third.get(&fs, 3, 1), None);
        let file = fs.open_append(&fs.root(), CACHE).unwrap();
        let size = fs.stat(&file).unwrap().size;
        fs.write_at(&file, b"X", size - 1).unwrap();
        let (mut fourth, all) = (cache(&fs, 9), [1, 2]);
        assert_eq!(all.iter().filter(|uid| fourth.get(&fs, **uid, 1).is_some()).count(), 1);
    }
}
