//! Answers that still hold. Bounded in number and in bytes; what would expire first makes room.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use ipc_messages::dns::{Failure, Found};

use super::message::{Data, Question};

/// Answers at most.
pub const MAX_ENTRIES: usize = 20_000;
/// Bytes of all answers at most.
pub const MAX_BYTES: usize = 16 * 1024 * 1024;
/// Seconds that an answer is remembered at most, whatever its lifetime.
pub const MAX_TTL: u32 = 3600;
/// Seconds that an absence is remembered at most.
pub const MAX_NEGATIVE_TTL: u32 = 300;

/// What a question comes to.
pub type Outcome = Result<Found<Data>, Failure>;

/// The cache.
#[derive(Debug, Default)]
pub struct Cache {
    entries: HashMap<Question, Entry>,
    /// By the time at which they expire; the number tells entries of one instant apart.
    expiry: BTreeMap<(Instant, u64), Question>,
    next: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    until: (Instant, u64),
    outcome: Outcome,
    size: usize,
}

impl Cache {
    /// The answer, if it is known.
    pub fn get(&self, question: &Question, now: Instant) -> Option<&Outcome> {
        self.entries.get(question).filter(|entry| entry.until.0 > now).map(|entry| &entry.outcome)
    }

    /// Remembers an answer for `ttl` seconds. A temporary failure is not remembered.
    pub fn put(&mut self, question: Question, outcome: Outcome, ttl: u32, now: Instant) {
        let ttl = match &outcome {
            Ok(_) => ttl.min(MAX_TTL),
            Err(Failure::NotFound | Failure::NoData) => ttl.min(MAX_NEGATIVE_TTL),
            Err(Failure::Temporary(_)) => 0,
        };
        self.remove(&question);
        if ttl == 0 {
            return;
        }
        let records = outcome.as_ref().map_or(&[][..], |found| &found.records);
        let size = size_of::<Entry>() + 2 * question.name.len() + records.iter().map(Data::size).sum::<usize>();
        let until = (now + Duration::from_secs(ttl.into()), self.next);
        self.next += 1;
        self.bytes += size;
        self.expiry.insert(until, question.clone());
        self.entries.insert(question, Entry { until, outcome, size });
        while self.entries.len() > MAX_ENTRIES || self.bytes > MAX_BYTES {
            let Some((_, first)) = self.expiry.first_key_value() else { break };
            let first = first.clone();
            self.remove(&first);
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Cache { next: self.next, ..Cache::default() };
    }

    fn remove(&mut self, question: &Question) {
        if let Some(entry) = self.entries.remove(question) {
            self.expiry.remove(&entry.until);
            self.bytes -= entry.size;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::rr::RecordType;

    fn question(name: &str) -> Question {
        Question::new(name, RecordType::TXT).unwrap()
    }

    fn text(size: usize) -> Outcome {
        Ok(Found { records: vec![Data::Text(vec![b'x'; size])], secure: false })
    }

    #[test]
    fn answers_expire() {
        let (mut cache, now) = (Cache::default(), Instant::now());
        let after = |seconds: u32| now + Duration::from_secs(seconds.into());
        cache.put(question("a"), text(1), 10, now);
        assert_eq!(cache.get(&question("A"), after(9)), Some(&text(1)), "the case of a name does not matter");
        assert_eq!(cache.get(&question("a"), after(10)), None);
        cache.put(question("a"), text(1), u32::MAX, now);
        assert!(cache.get(&question("a"), after(MAX_TTL - 1)).is_some());
        assert_eq!(cache.get(&question("a"), after(MAX_TTL)), None);
        cache.put(question("a"), Err(Failure::NotFound), u32::MAX, now);
        assert_eq!(cache.get(&question("a"), after(MAX_NEGATIVE_TTL)), None);
        cache.put(question("a"), text(1), 0, now);
        cache.put(question("b"), Err(Failure::Temporary("timeout".into())), 60, now);
        assert_eq!((cache.get(&question("a"), now), cache.get(&question("b"), now)), (None, None));
    }

    #[test]
    fn the_first_to_expire_makes_room() {
        let (mut cache, now) = (Cache::default(), Instant::now());
        cache.put(question("long"), text(1), 100, now);
        cache.put(question("short"), text(1), 1, now);
        for n in 0..MAX_ENTRIES - 1 {
            cache.put(question(&format!("n{n}")), text(1), 50, now);
        }
        assert_eq!(cache.entries.len(), MAX_ENTRIES);
        assert!(cache.get(&question("short"), now).is_none() && cache.get(&question("long"), now).is_some());
        for n in 0..1000 {
            cache.put(question(&format!("big{n}")), text(32 * 1024), 60, now);
        }
        assert!(cache.bytes <= MAX_BYTES && cache.entries.len() == cache.expiry.len());
        assert!(cache.get(&question("long"), now).is_some());
    }
}
