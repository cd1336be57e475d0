//! What the journal holds at start: which records are committed and not freed, and what is damaged.
//!
//! Four rules, each of which follows from the order in which the journal writes (`journal`, module text):
//!
//! 1. A record counts only where one can start: at a block boundary if it is the first of a write, else right behind the
//!    record before it, of the same generation and with the next sequence number. A write that a crash tore is so cut off
//!    at its first broken record, and what follows that record is not looked at.
//! 2. A generation supersedes, in all older ones, the records with its own first sequence number and after it: they were
//!    written by a write that failed or by one that a crash interrupted, and nobody was told that they are committed.
//! 3. Records below the greatest `live-from` are freed.
//! 4. A write is only begun when the one before it is synced. So if, after the first three rules, a sequence number is
//!    missing before one that is there, then committed mail is damaged: that is reported, and the bytes are kept.

use std::collections::BTreeMap;

use ipc_messages::envelope::QueueId;

use super::Sequence;
use super::record::{BLOCK, parse};

/// A record as the scan finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    pub segment: usize,
    pub at: u64,
    pub length: u64,
    pub generation: u64,
    pub sequence: Sequence,
    pub live_from: Sequence,
    /// The message, and whether its content is in a queue file; `None` for a checkpoint.
    pub message: Option<(QueueId, bool)>,
}

/// A part of a segment that must have held committed mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hole {
    pub segment: usize,
    pub from: u64,
    /// `None` for the rest of the segment.
    pub to: Option<u64>,
}

#[derive(Debug, Default)]
pub(super) struct Ordered {
    /// By sequence number, the live ones and the checkpoints among them.
    pub live: Vec<Found>,
    pub holes: Vec<Hole>,
    pub live_from: Sequence,
    pub next_sequence: Sequence,
}

/// Rule 1, for one segment.
pub(super) fn scan(bytes: &[u8], segment: usize, cookie: u64) -> Vec<Found> {
    let mut found: Vec<Found> = Vec::new();
    let mut at = BLOCK;
    let mut follows = None;
    while at < bytes.len() as u64 {
        let record = parse(&bytes[at as usize..], cookie).filter(|record| {
            let position = record.position;
            follows == Some((position.generation, position.sequence)) || (position.first && at.is_multiple_of(BLOCK))
        });
        let Some(record) = record else {
            follows = None;
            at = (at / BLOCK + 1) * BLOCK;
            continue;
        };
        let position = record.position;
        found.push(Found {
            segment,
            at,
            length: record.length,
            generation: position.generation,
            sequence: position.sequence,
            live_from: position.live_from,
            message: record.entry.map(|entry| (entry.id, entry.content == super::Content::File)),
        });
        follows = position.sequence.checked_add(1).map(|next| (position.generation, next));
        at += record.length;
    }
    found
}

/// Rules 2 to 4, for the records of all segments.
pub(super) fn order(mut found: Vec<Found>) -> Ordered {
    found.sort_by_key(|record| std::cmp::Reverse(record.generation));
    let mut committed = BTreeMap::new();
    let mut superseded_from = Sequence::MAX;
    for generation in found.chunk_by(|a, b| a.generation == b.generation) {
        for record in generation.iter().filter(|record| record.sequence < superseded_from) {
            committed.insert(record.sequence, *record);
        }
        let first = generation.iter().map(|record| record.sequence).min();
        superseded_from = superseded_from.min(first.unwrap_or(Sequence::MAX));
    }
    let live_from = committed.values().map(|record| record.live_from).max().unwrap_or(1);
    let next_sequence = committed.last_key_value().map_or(1, |(last, _)| last + 1);
    let live: Vec<Found> = committed.range(live_from..).map(|(_, record)| *record).collect();
    let before = committed.range(..live_from).next_back().map(|(_, record)| *record);
    Ordered { holes: holes(before, live_from, &live), live, live_from, next_sequence }
}

/// Where the missing records must have been: between their neighbours. `before` is the record before the first live one.
fn holes(before: Option<Found>, live_from: Sequence, live: &[Found]) -> Vec<Hole> {
    let mut holes = Vec::new();
    let mut expected = live_from;
    let mut previous = before;
    for record in live {
        if record.sequence != expected {
            let head = Hole { segment: record.segment, from: BLOCK, to: Some(record.at) };
            match previous.map(|previous| (previous.segment, previous.at + previous.length)) {
                Some((segment, end)) if segment == record.segment && end <= record.at => {
                    holes.push(Hole { segment, from: end, to: Some(record.at) });
                }
                Some((segment, end)) => holes.extend([Hole { segment, from: end, to: None }, head]),
                None => holes.push(head),
            }
        }
        expected = record.sequence + 1;
        previous = Some(*record);
    }
    holes.retain(|hole| hole.to != Some(hole.from));
    holes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(segment: usize, at: u64, generation: u64, sequence: u64, live_from: u64) -> Found {
        Found { segment, at, length: 4096, generation, sequence, live_from, message: None }
    }

    fn sequences(ordered: &Ordered) -> Vec<(u64, u64)> {
        ordered.live.iter().map(|record| (record.generation, record.sequence)).collect()
    }

    #[test]
    fn an_empty_ring_starts_at_one() {
        let ordered = order(Vec::new());
        assert_eq!((ordered.live_from, ordered.next_sequence), (1, 1));
        assert!(ordered.live.is_empty() && ordered.holes.is_empty());
    }

    #[test]
    fn freed_records_are_not_live() {
        let found = vec![record(0, 4096, 1, 1, 1), record(0, 8192, 1, 2, 1), record(1, 4096, 2, 3, 2)];
        let ordered = order(found);
        assert_eq!(sequences(&ordered), [(1, 2), (2, 3)]);
        assert_eq!((ordered.live_from, ordered.next_sequence), (2, 4));
        assert!(ordered.holes.is_empty());
    }

    #[test]
    fn a_failed_write_is_superseded_by_the_next_generation() {
        let found = vec![
            record(0, 4096, 1, 1, 1),
            record(0, 8192, 1, 2, 1),
            record(0, 12_288, 1, 3, 1),
            record(1, 4096, 2, 2, 1),
        ];
        assert_eq!(sequences(&order(found)), [(1, 1), (2, 2)]);
    }

    #[test]
    fn a_gap_is_damage_and_says_where() {
        let found = vec![record(0, 4096, 1, 1, 1), record(0, 16_384, 1, 3, 1), record(1, 8192, 2, 5, 1)];
        let ordered = order(found);
        assert_eq!(sequences(&ordered), [(1, 1), (1, 3), (2, 5)]);
        let expected = [
            Hole { segment: 0, from: 8192, to: Some(16_384) },
            Hole { segment: 0, from: 20_480, to: None },
            Hole { segment: 1, from: 4096, to: Some(8192) },
        ];
        assert_eq!(ordered.holes, expected);
    }

    #[test]
    fn damage_at_the_oldest_live_record_is_found_too() {
        let ordered = order(vec![record(0, 8192, 1, 2, 1)]);
        assert_eq!(ordered.holes, [Hole { segment: 0, from: 4096, to: Some(8192) }]);
    }
}
