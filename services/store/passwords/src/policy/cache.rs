//! The cache of passwords that were right (`auth_cache_size`, `auth_cache_ttl`), so that an expensive hash is not computed
//! again for each connection.
//!
//! Passwords are not kept: a right one is kept as HMAC-SHA256 under a key that dies with the process. The key of an entry
//! holds everything that the answer depends on. Unknown users are not kept: a lookup costs nothing.

use std::collections::{BTreeMap, HashMap};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

/// What an entry costs beside its texts, in bytes.
const ENTRY_OVERHEAD: usize = 128;

/// Everything that an answer depends on: two equal keys have equal answers.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CacheKey {
    /// Which passdb or userdb, by its place in the configuration.
    pub database: usize,
    /// The user's name, as the lookup has it.
    pub user: String,
    /// The values of every variable that the database's arguments and fields mention.
    pub inputs: Vec<String>,
}

/// How much is kept, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes; 0 switches the cache off.
    pub size: usize,
    /// Seconds that an entry is used.
    pub ttl: u64,
}

/// The cache. `now` is in seconds of one clock that does not go back.
pub struct Cache {
    limits: Limits,
    secret: Zeroizing<[u8; 32]>,
    entries: HashMap<CacheKey, Entry>,
    /// Entries by age of insertion, the oldest first.
    order: BTreeMap<u64, CacheKey>,
    inserted: u64,
    used: usize,
}

struct Entry {
    order: u64,
    since: u64,
    size: usize,
    /// The HMAC of the password.
    digest: [u8; 32],
}

impl Cache {
    /// `secret` is random and fresh for each process.
    pub fn new(limits: Limits, secret: [u8; 32]) -> Self {
        Self {
            limits,
            secret: Zeroizing::new(secret),
            entries: HashMap::new(),
            order: BTreeMap::new(),
            inserted: 0,
            used: 0,
        }
    }

    /// Whether this password is known to be right. Another one than that is not known to be wrong: it may be new.
    pub fn is_right(&self, key: &CacheKey, password: &[u8], now: u64) -> bool {
        let Some(entry) = self.entries.get(key) else { return false };
        // Mac::verify compares in constant time.
        let right = self.mac(password).verify_slice(&entry.digest).is_ok();
        now.saturating_sub(entry.since) < self.limits.ttl && right
    }

    /// Remembers that `password` was right.
    pub fn insert(&mut self, key: CacheKey, password: &[u8], now: u64) {
        self.remove(&key);
        let inputs: usize = key.inputs.iter().map(String::len).sum();
        let size = ENTRY_OVERHEAD + key.user.len() + inputs;
        if size > self.limits.size || self.limits.ttl == 0 {
            return;
        }
        while self.used + size > self.limits.size {
            let Some((_, oldest)) = self.order.first_key_value() else { break };
            self.remove(&oldest.clone());
        }
        self.inserted += 1;
        self.order.insert(self.inserted, key.clone());
        let digest = self.mac(password).finalize().into_bytes().into();
        self.entries.insert(key, Entry { order: self.inserted, since: now, size, digest });
        self.used += size;
    }

    /// Forgets an answer, because a login disproved it.
    pub fn remove(&mut self, key: &CacheKey) {
        if let Some(entry) = self.entries.remove(key) {
            self.order.remove(&entry.order);
            self.used -= entry.size;
        }
    }

    /// Forgets all entries of these users, or all if none is named; how many those were.
    pub fn flush(&mut self, users: &[String]) -> usize {
        let goes = |key: &&CacheKey| users.is_empty() || users.contains(&key.user);
        let keys: Vec<CacheKey> = self.entries.keys().filter(goes).cloned().collect();
        keys.iter().for_each(|key| self.remove(key));
        keys.len()
    }

    /// Bytes in use, at most [`Limits::size`].
    pub fn used(&self) -> usize {
        self.used
    }

    fn mac(&self, password: &[u8]) -> Hmac<Sha256> {
        let mac = <Hmac<Sha256> as KeyInit>::new_from_slice(self.secret.as_slice());
        mac.expect("HMAC takes a key of any length").chain_update(password)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(user: &str) -> CacheKey {
        CacheKey { database: 0, user: user.into(), inputs: vec!["imap".into()] }
    }

    fn cache(size: usize, ttl: u64) -> Cache {
        Cache::new(Limits { size, ttl }, [7; 32])
    }

    #[test]
    fn only_the_right_password_is_known() {
        let mut cache = cache(10_000, 60);
        cache.insert(key("u"), b"secret", 100);
        for (password, now, expected) in [
            (b"secret".as_slice(), 100, true),
            (b"secret", 159, true),
            (b"secret", 160, false),
            (b"other", 100, false),
            (b"", 100, false),
        ] {
            assert_eq!(cache.is_right(&key("u"), password, now), expected);
        }
        let elsewhere = CacheKey { inputs: vec!["smtp".into()], ..key("u") };
        assert!(!cache.is_right(&elsewhere, b"secret", 100));
        assert!(!cache.is_right(&CacheKey { database: 1, ..key("u") }, b"secret", 100));
        cache.remove(&key("u"));
        assert_eq!((cache.is_right(&key("u"), b"secret", 100), cache.used()), (false, 0));
    }

    #[test]
    fn size_is_bounded_and_the_oldest_goes() {
        let mut three = cache(3 * (ENTRY_OVERHEAD + 5), 60);
        for user in ["a", "b", "c", "d"] {
            three.insert(key(user), b"x", 0);
            assert!(three.used() <= 3 * (ENTRY_OVERHEAD + 5));
        }
        assert!(!three.is_right(&key("a"), b"x", 0) && three.is_right(&key("d"), b"x", 0));
        three.insert(key(&"e".repeat(1000)), b"x", 0);
        assert!(three.is_right(&key("d"), b"x", 0), "what cannot fit displaces nothing");
        assert_eq!((three.flush(&["b".into()]), three.flush(&[]), three.used()), (1, 2, 0));
        for mut off in [cache(0, 60), cache(10_000, 0)] {
            off.insert(key("a"), b"x", 0);
            assert_eq!((off.is_right(&key("a"), b"x", 0), off.used()), (false, 0));
        }
    }
}
