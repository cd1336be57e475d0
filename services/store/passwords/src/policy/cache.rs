//! The cache of authentications (`auth_cache_size`, `auth_cache_ttl`, `auth_cache_negative_ttl`).
//!
//! It remembers what a passdb answered for a user, so that an expensive hash or a slow lookup is not repeated for each
//! connection. Passwords are not kept: a right one is kept as HMAC-SHA256 under a key that dies with the process. The key
//! of an entry holds everything that the answer depends on.

use std::collections::{BTreeMap, HashMap};

use hmac::{Hmac, KeyInit, Mac};
use proto_sasl::dovecot::Fields;
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
    /// Seconds that a positive answer is used.
    pub ttl: u64,
    /// Seconds that "no such user" is used; 0 keeps none.
    pub negative_ttl: u64,
}

/// What is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cached {
    /// This password was right, with these fields.
    Right(Fields),
    /// There is no such user.
    Unknown,
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
    /// The HMAC of the right password; `None` for an unknown user.
    right: Option<([u8; 32], Fields)>,
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

    /// What is known of this user and password. Another password than the one that was right is not known to be wrong: it
    /// may be new.
    pub fn lookup(&self, key: &CacheKey, password: &[u8], now: u64) -> Option<Cached> {
        let entry = self.entries.get(key)?;
        let age = now.saturating_sub(entry.since);
        match &entry.right {
            None => (age < self.limits.negative_ttl).then_some(Cached::Unknown),
            Some((digest, fields)) => {
                // Mac::verify compares in constant time.
                let right = self.mac(password).verify_slice(digest).is_ok();
                (age < self.limits.ttl && right).then(|| Cached::Right(fields.clone()))
            }
        }
    }

    /// Remembers that `password` was right.
    pub fn insert_right(&mut self, key: CacheKey, password: &[u8], fields: Fields, now: u64) {
        let digest = self.mac(password).finalize().into_bytes().into();
        let texts: usize = fields.iter().map(|(name, value)| name.len() + value.map_or(0, str::len)).sum();
        self.insert(key, Some((digest, fields)), texts, now);
    }

    /// Remembers that there is no such user.
    pub fn insert_unknown(&mut self, key: CacheKey, now: u64) {
        if self.limits.negative_ttl > 0 {
            self.insert(key, None, 0, now);
        }
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

    fn insert(&mut self, key: CacheKey, right: Option<([u8; 32], Fields)>, texts: usize, now: u64) {
        self.remove(&key);
        let inputs: usize = key.inputs.iter().map(String::len).sum();
        let size = ENTRY_OVERHEAD + key.user.len() + inputs + texts;
        if size > self.limits.size || (right.is_some() && self.limits.ttl == 0) {
            return;
        }
        while self.used + size > self.limits.size {
            let Some((_, oldest)) = self.order.first_key_value() else { break };
            self.remove(&oldest.clone());
        }
        self.inserted += 1;
        self.order.insert(self.inserted, key.clone());
        self.entries.insert(key, Entry { order: self.inserted, since: now, size, right });
        self.used += size;
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

    fn cache(size: usize) -> Cache {
        Cache::new(Limits { size, ttl: 60, negative_ttl: 10 }, [7; 32])
    }

    #[test]
    fn only_the_right_password_is_known() {
        let mut cache = cache(10_000);
        let fields: Fields = [("a", Some("b"))].into_iter().collect();
        cache.insert_right(key("u"), b"secret", fields.clone(), 100);
        for (password, now, expected) in [
            (b"secret".as_slice(), 100, Some(Cached::Right(fields.clone()))),
            (b"secret", 159, Some(Cached::Right(fields))),
            (b"secret", 160, None),
            (b"other", 100, None),
            (b"", 100, None),
        ] {
            assert_eq!(cache.lookup(&key("u"), password, now), expected);
        }
        let elsewhere = CacheKey { inputs: vec!["smtp".into()], ..key("u") };
        assert_eq!(cache.lookup(&elsewhere, b"secret", 100), None);
        assert_eq!(cache.lookup(&CacheKey { database: 1, ..key("u") }, b"secret", 100), None);
        cache.remove(&key("u"));
        assert_eq!((cache.lookup(&key("u"), b"secret", 100), cache.used()), (None, 0));
    }

    #[test]
    fn unknown_users_are_known_for_a_while() {
        let mut cache = cache(10_000);
        cache.insert_unknown(key("u"), 0);
        assert_eq!(cache.lookup(&key("u"), b"x", 9), Some(Cached::Unknown));
        assert_eq!(cache.lookup(&key("u"), b"x", 10), None);
        let mut never = Cache::new(Limits { size: 10_000, ttl: 60, negative_ttl: 0 }, [7; 32]);
        never.insert_unknown(key("u"), 0);
        assert_eq!((never.lookup(&key("u"), b"x", 0), never.used()), (None, 0));
    }

    #[test]
    fn size_is_bounded_and_the_oldest_goes() {
        let mut cache = cache(3 * (ENTRY_OVERHEAD + 5));
        for user in ["a", "b", "c", "d"] {
            cache.insert_right(key(user), b"x", Fields::default(), 0);
            assert!(cache.used() <= 3 * (ENTRY_OVERHEAD + 5));
        }
        assert_eq!(cache.lookup(&key("a"), b"x", 0), None);
        assert!(cache.lookup(&key("d"), b"x", 0).is_some());
        cache.insert_right(key(&"e".repeat(1000)), b"x", Fields::default(), 0);
        assert!(cache.lookup(&key("d"), b"x", 0).is_some(), "what cannot fit displaces nothing");
        assert_eq!((cache.flush(&["b".into()]), cache.flush(&[]), cache.used()), (1, 2, 0));
        let mut off = Cache::new(Limits { size: 0, ttl: 60, negative_ttl: 60 }, [0; 32]);
        off.insert_right(key("a"), b"x", Fields::default(), 0);
        assert_eq!(off.lookup(&key("a"), b"x", 0), None);
    }
}
