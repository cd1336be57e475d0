//! The intake journal: where a message is when its client is told `250`.
//!
//! A ring of segments, each a file of zeros that is written from its start to its end, and again from its start when all
//! its messages have gone elsewhere. [`Journal::append`] commits all messages that are ready with one positioned write and
//! one sync; there are no timers: what arrives while a sync runs makes the next batch. One thread owns the journal.
//!
//! # What a crash leaves
//!
//! - *While a write or its sync runs:* the write is torn at some record. Nobody was told of its messages. Replay cuts it
//!   off at the first broken record ([`replay`](self), rule 1); those in front of it may be delivered although their
//!   clients come again. The blocks before the write are not touched by it, because writes start at block boundaries.
//! - *After the sync:* the messages are committed. They are replayed until their records are freed.
//! - *After [`Journal::release`]:* nothing on the disk has changed. A message may be released only when the disk holds
//!   proof that the journal is not needed for it: its queue file is synced under a synced name, or the outcome log says
//!   synced that it is removed. If it is replayed all the same, that proof meets it: recovery finds one message in two
//!   places, or a removed one. This is why the freed point needs no sync of its own.
//! - *The freed point:* every record says `live-from`, the lowest sequence number that was live when it was written.
//!   [`Journal::freed`] is the newest of these that is synced. Below it nothing is ever replayed, and the outcome log may
//!   forget that such a message was removed; above it, it may not.
//! - *When a segment is used again:* only when all its records are released, when the freed point that says so is synced
//!   (if no message carried it, in the block that each segment keeps for this, its seal), and always the one that was used
//!   longest ago. So whatever is left of the old records, whole or torn, rule 3 hides it.
//! - *When a write fails* (the disk is full, or broken): its messages get a temporary failure. What part of them is on the
//!   disk, or will be, nobody knows, so the rest of the segment is left alone, and the next write starts the next one with
//!   the same sequence numbers: rule 2 drops the failed ones. If the machine stops before that, they are replayed, which
//!   delivers mail whose client comes again, and loses none.
//! - *At start:* writing begins with a fresh segment, so that nothing a torn write left can continue a new one.

mod record;
mod replay;
mod segment;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use ipc_messages::envelope::QueueId;

use crate::error::{DiskError, During};
use crate::folder::{JOURNAL, keep_bytes};
use crate::fs::{File, Fs, read_exact_at};
use record::{BLOCK, Position};
use segment::Segment;

/// The place of a record in the order of all commits. The first is 1.
pub type Sequence = u64;

/// The size of a new ring. An existing one keeps its segments and only ever gets more of them.
#[derive(Debug, Clone, Copy)]
pub struct Geometry {
    /// From 2 to 1,024.
    pub segments: usize,
    /// Bytes, a multiple of 4096, at least 12,288.
    pub segment_size: u64,
}

impl Default for Geometry {
    /// 64 MiB: at 5,000 messages of 4 KiB a second, two seconds of mail in flight, three times.
    fn default() -> Geometry {
        Geometry { segments: 16, segment_size: 4 * 1024 * 1024 }
    }
}

/// A message to commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    pub id: QueueId,
    /// An encoded envelope; empty for [`Content::File`].
    pub envelope: &'a [u8],
    pub content: Content<'a>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content<'a> {
    Inline(&'a [u8]),
    /// Envelope and content are in the message's queue file, which is sealed and settled ([`crate::queue_file`]): this
    /// record is what makes it a message.
    File,
}

/// A committed message that is not released.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Live {
    pub sequence: Sequence,
    pub id: QueueId,
    /// Its content is in a queue file.
    pub in_file: bool,
}

/// A message as [`Journal::read`] returns it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub id: QueueId,
    pub envelope: Vec<u8>,
    /// `None` if it is in a queue file.
    pub content: Option<Vec<u8>>,
}

/// Committed records that cannot be read. Their bytes are in `corrupt/`; whether they were of messages that are still
/// needed, nobody can say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    pub segment: String,
    pub from: u64,
    pub to: u64,
    /// Where the bytes are kept.
    pub kept: String,
}

#[derive(Debug)]
pub enum AppendError {
    /// The ring is full of live messages: 452 4.3.1, and spill the oldest.
    Full,
    /// The first message of the batch belongs into a queue file.
    TooLarge {
        length: u64,
        limit: u64,
    },
    Disk(DiskError),
}

#[derive(Debug)]
pub enum ReadError {
    /// Not live, or never committed.
    Unknown(Sequence),
    /// The record is not what was written.
    Damaged(Sequence),
    Disk(DiskError),
}

pub struct Journal<F: Fs> {
    segments: Vec<Segment<F>>,
    live: BTreeMap<Sequence, Location>,
    /// Where the next write goes; `None` if that is a fresh segment.
    current: Option<Cursor>,
    last_segment: usize,
    last_generation: u64,
    next_sequence: Sequence,
    freed: Sequence,
    buffer: Vec<u8>,
}

#[derive(Clone, Copy)]
struct Cursor {
    segment: usize,
    at: u64,
}

#[derive(Clone, Copy)]
struct Location {
    id: QueueId,
    in_file: bool,
    segment: usize,
    at: u64,
    length: u64,
}

impl<F: Fs> Journal<F> {
    /// Opens the ring and replays it, or makes it. [`Journal::live`] then has what is committed and not freed.
    pub fn open(fs: &F, geometry: Geometry) -> Result<(Journal<F>, Vec<Damage>), DiskError> {
        let mut damage = Vec::new();
        let mut segments = Vec::new();
        let mut found = Vec::new();
        let count = segment::count(fs)?;
        for index in 0..count.max(geometry.segments.clamp(2, segment::MAX_SEGMENTS)) {
            let size = geometry.segment_size.max(3 * BLOCK).next_multiple_of(BLOCK);
            let (segment, bytes) = Segment::open(fs, index, size, &mut damage)?;
            let records = replay::scan(&bytes, index, segment.cookie);
            let last = records.iter().map(|record| record.sequence).max().unwrap_or(0);
            segments.push(Segment { last, ..segment });
            found.extend(records);
        }
        fs.sync_dir(JOURNAL).during("sync folder", JOURNAL)?;

        let newest = found.iter().max_by_key(|record| record.generation);
        let (last_segment, last_generation) =
            newest.map_or((segments.len() - 1, 0), |record| (record.segment, record.generation));
        let ordered = replay::order(found);
        for hole in &ordered.holes {
            damage.extend(keep_hole(fs, &segments[hole.segment], hole)?);
        }
        let mut live = BTreeMap::new();
        for found in ordered.live {
            if let Some((id, in_file)) = found.message {
                segments[found.segment].live += 1;
                let location = Location { id, in_file, segment: found.segment, at: found.at, length: found.length };
                live.insert(found.sequence, location);
            }
        }
        let journal = Journal {
            segments,
            live,
            current: None,
            last_segment,
            last_generation,
            next_sequence: ordered.next_sequence,
            freed: ordered.live_from,
            buffer: Vec::new(),
        };
        Ok((journal, damage))
    }

    /// Commits as many messages from the front of `batch` as one write takes, at least one, and returns their sequence
    /// numbers; they are on stable storage then. Call again with the rest. After an error none of `batch` is committed.
    pub fn append(&mut self, batch: &[Entry<'_>]) -> Result<Range<Sequence>, AppendError> {
        let Some(first) = batch.first() else {
            return Ok(self.next_sequence..self.next_sequence);
        };
        let length = record::length(first);
        let limit = self.largest_record();
        if length > limit {
            return Err(AppendError::TooLarge { length, limit });
        }
        let cursor = self.make_room(length)?;
        let room = self.segments[cursor.segment].seal_at() - cursor.at;
        let mut locations = Vec::new();
        self.buffer.clear();
        for entry in batch {
            let (at, length) = (self.buffer.len() as u64, record::length(entry));
            if at + length > room {
                break;
            }
            let position = self.position(cursor, locations.len() as u64);
            record::write(&mut self.buffer, position, Some(entry));
            let in_file = entry.content == Content::File;
            locations.push(Location { id: entry.id, in_file, segment: cursor.segment, at: cursor.at + at, length });
        }
        let from = self.next_sequence;
        self.commit(cursor, locations.len() as u64)?;
        self.segments[cursor.segment].live += locations.len();
        self.live.extend((from..).zip(locations));
        Ok(from..self.next_sequence)
    }

    /// The journal is not needed for this message any more: see the module for when that is true. A message that is not
    /// live is none of the journal's business.
    pub fn release(&mut self, sequence: Sequence) {
        if let Some(location) = self.live.remove(&sequence) {
            self.segments[location.segment].live -= 1;
        }
    }

    /// Makes the freed point durable without waiting for the next message: before the outcome log is compacted, and at the
    /// end of a quiet shutdown.
    pub fn checkpoint(&mut self) -> Result<(), AppendError> {
        if self.freed == self.live_from() {
            return Ok(());
        }
        let cursor = self.make_room(record::HEADER as u64)?;
        self.write_checkpoint(cursor)
    }

    /// The lowest sequence number that can still be replayed after a crash at this moment.
    pub fn freed(&self) -> Sequence {
        self.freed
    }

    /// The committed messages that are not released, oldest first.
    pub fn live(&self) -> impl Iterator<Item = Live> + '_ {
        self.live.iter().map(|(sequence, location)| Live {
            sequence: *sequence,
            id: location.id,
            in_file: location.in_file,
        })
    }

    /// Segments that can take mail when the one in use is full: slow the intake before this is 0.
    pub fn free_segments(&self) -> usize {
        let in_use = self.current.map(|cursor| cursor.segment);
        let others = self.segments.iter().enumerate().filter(|(index, _)| Some(*index) != in_use);
        others.filter(|(_, segment)| segment.live == 0).count()
    }

    /// Bytes of the longest record (a queue ID, an envelope, a content, and 52 more).
    pub fn largest_record(&self) -> u64 {
        self.segments.iter().map(Segment::room).min().unwrap_or(0)
    }

    /// Reads a live message back: when a peer lost what it was handed, and at start.
    pub fn read(&self, sequence: Sequence) -> Result<Message, ReadError> {
        let location = self.live.get(&sequence).ok_or(ReadError::Unknown(sequence))?;
        let segment = &self.segments[location.segment];
        let bytes = read_exact_at(&segment.file, location.at, location.length as usize)
            .during("read", &segment.path)
            .map_err(ReadError::Disk)?;
        let record = record::parse(&bytes, segment.cookie).filter(|record| record.position.sequence == sequence);
        let entry = record.and_then(|record| record.entry).ok_or(ReadError::Damaged(sequence))?;
        let content = match entry.content {
            Content::Inline(bytes) => Some(bytes.to_vec()),
            Content::File => None,
        };
        Ok(Message { id: entry.id, envelope: entry.envelope.to_vec(), content })
    }

    fn live_from(&self) -> Sequence {
        self.live.keys().next().copied().unwrap_or(self.next_sequence)
    }

    fn position(&self, cursor: Cursor, number: u64) -> Position {
        Position {
            cookie: self.segments[cursor.segment].cookie,
            generation: self.last_generation,
            sequence: self.next_sequence + number,
            live_from: self.live_from(),
            first: number == 0,
        }
    }

    /// A place for a record of this length: in the segment in use, or in the next one if that is free.
    fn make_room(&mut self, length: u64) -> Result<Cursor, AppendError> {
        if let Some(cursor) = self.current
            && self.segments[cursor.segment].seal_at().saturating_sub(cursor.at) >= length
        {
            return Ok(cursor);
        }
        let next = (self.last_segment + 1) % self.segments.len();
        if self.segments[next].live > 0 {
            return Err(AppendError::Full);
        }
        if self.segments[next].last >= self.freed {
            self.seal()?;
        }
        if self.segments[next].last >= self.freed {
            return Err(AppendError::Full);
        }
        let cursor = Cursor { segment: next, at: BLOCK };
        self.last_segment = next;
        self.last_generation += 1;
        self.current = Some(cursor);
        Ok(cursor)
    }

    /// Makes the freed point durable in the last block of the segment used last. It is a generation of its own, so that it
    /// supersedes what a failed write may have left in that segment.
    fn seal(&mut self) -> Result<(), AppendError> {
        let cursor = Cursor { segment: self.last_segment, at: self.segments[self.last_segment].seal_at() };
        self.last_generation += 1;
        self.write_checkpoint(cursor)
    }

    fn write_checkpoint(&mut self, cursor: Cursor) -> Result<(), AppendError> {
        self.buffer.clear();
        let position = self.position(cursor, 0);
        record::write(&mut self.buffer, position, None);
        self.commit(cursor, 1)
    }

    /// Writes the buffer, which holds `records`, and syncs it.
    fn commit(&mut self, cursor: Cursor, records: u64) -> Result<(), AppendError> {
        self.buffer.resize(self.buffer.len().next_multiple_of(BLOCK as usize), 0);
        let live_from = self.live_from();
        let segment = &mut self.segments[cursor.segment];
        // A crash from here to the end of the sync tears the write; see the module.
        let written = segment.file.write_at(&self.buffer, cursor.at).during("write", &segment.path);
        let synced = written.and_then(|()| segment.file.sync().during("sync", &segment.path));
        if let Err(error) = synced {
            self.current = None;
            return Err(AppendError::Disk(error));
        }
        self.next_sequence += records;
        segment.last = self.next_sequence - 1;
        self.current = Some(Cursor { at: cursor.at + self.buffer.len() as u64, ..cursor });
        self.freed = live_from;
        Ok(())
    }
}

fn keep_hole<F: Fs>(fs: &F, segment: &Segment<F>, hole: &replay::Hole) -> Result<Option<Damage>, DiskError> {
    let to = hole.to.unwrap_or(segment.size);
    let mut bytes = read_exact_at(&segment.file, hole.from, (to - hole.from) as usize).during("read", &segment.path)?;
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    bytes.truncate(used);
    if bytes.is_empty() {
        return Ok(None);
    }
    let name = format!("{}-{}", segment.path.replace('/', "-"), hole.from);
    let kept = keep_bytes(fs, &name, &bytes)?;
    Ok(Some(Damage { segment: segment.path.clone(), from: hole.from, to: hole.from + used as u64, kept }))
}

impl fmt::Display for AppendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AppendError::Full => f.write_str("the intake journal is full of undelivered mail"),
            AppendError::TooLarge { length, limit } => {
                write!(f, "a record of {length} bytes does not fit into the intake journal ({limit})")
            }
            AppendError::Disk(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for AppendError {}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadError::Unknown(sequence) => write!(f, "journal record {sequence} is not live"),
            ReadError::Damaged(sequence) => write!(f, "journal record {sequence} is damaged"),
            ReadError::Disk(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ReadError {}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: bytes {} to {} are damaged, kept as {}", self.segment, self.from, self.to, self.kept)
    }
}

#[cfg(all(test, feature = "crash-model"))]
mod tests;
