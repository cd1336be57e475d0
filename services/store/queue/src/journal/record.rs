//! The record of one message in the intake journal.
//!
//! ```text
//! record = "PHJR" crc:u32 version:u8 kind:u8 flags:u8 id-length:u8
//!          envelope-length:u32 content-length:u32 cookie:u64 generation:u64 sequence:u64 live-from:u64
//!          id envelope content
//! ```
//!
//! Numbers are little endian; the CRC32 covers everything behind it. The cookie is a random number that the segment got when
//! it was made and that never leaves the queue directory: what a sender puts into a message cannot pass for a record when
//! old content shows up at a place where a record could start.

use ipc_messages::envelope::QueueId;

use super::{Content, Entry, Sequence};

pub(super) const HEADER: usize = 52;
/// A write starts at a multiple of this and ends there, padded with zeros: no block that holds acknowledged mail is ever
/// written again, whatever a disk does to a block when its power goes.
pub(super) const BLOCK: u64 = 4096;

const MAGIC: &[u8; 4] = b"PHJR";
const VERSION: u8 = 1;
const KIND_MESSAGE: u8 = 1;
const KIND_FILE: u8 = 2;
const KIND_CHECKPOINT: u8 = 3;
const FLAG_FIRST: u8 = 1;

/// What the journal says of a record, the same for all records of one write but for `sequence` and `first`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    pub cookie: u64,
    pub generation: u64,
    pub sequence: Sequence,
    pub live_from: Sequence,
    /// The record starts a write.
    pub first: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Record<'a> {
    pub position: Position,
    /// `None` for a record that carries the freed point and nothing else.
    pub entry: Option<Entry<'a>>,
    /// Bytes of the record.
    pub length: u64,
}

/// Bytes of the record that [`write`] makes for `entry`.
pub(super) fn length(entry: &Entry<'_>) -> u64 {
    let content = match entry.content {
        Content::Inline(bytes) => bytes.len(),
        Content::File => 0,
    };
    (HEADER + entry.id.as_str().len() + entry.envelope.len() + content) as u64
}

/// Appends a record to `buffer`. The lengths have been checked against the segment.
pub(super) fn write(buffer: &mut Vec<u8>, position: Position, entry: Option<&Entry<'_>>) {
    let (kind, content) = match entry {
        Some(Entry { content: Content::Inline(bytes), .. }) => (KIND_MESSAGE, *bytes),
        Some(Entry { content: Content::File, .. }) => (KIND_FILE, &[][..]),
        None => (KIND_CHECKPOINT, &[][..]),
    };
    let id = entry.map_or("", |entry| entry.id.as_str());
    let envelope = entry.map_or(&[][..], |entry| entry.envelope);
    let start = buffer.len();
    buffer.extend(MAGIC);
    buffer.extend([0; 4]);
    buffer.extend([VERSION, kind, if position.first { FLAG_FIRST } else { 0 }, id.len() as u8]);
    buffer.extend((envelope.len() as u32).to_le_bytes());
    buffer.extend((content.len() as u32).to_le_bytes());
    for number in [position.cookie, position.generation, position.sequence, position.live_from] {
        buffer.extend(number.to_le_bytes());
    }
    buffer.extend(id.as_bytes());
    buffer.extend(envelope);
    buffer.extend(content);
    let crc = crc32fast::hash(&buffer[start + 8..]);
    buffer[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
}

/// The record at the start of `bytes`, if there is a whole one of this segment.
pub(super) fn parse(bytes: &[u8], cookie: u64) -> Option<Record<'_>> {
    let header = bytes.get(..HEADER)?;
    let [b'P', b'H', b'J', b'R', _, _, _, _, VERSION, kind, flags, id_length, ..] = *header else { return None };
    let u32_at = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("four bytes"));
    let u64_at = |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().expect("eight bytes"));
    let id_end = HEADER + usize::from(id_length);
    let envelope_end = id_end + u32_at(12) as usize;
    let end = envelope_end + u32_at(16) as usize;
    let record = bytes.get(..end)?;
    if u64_at(20) != cookie || u32_at(4) != crc32fast::hash(&record[8..]) {
        return None;
    }
    let position = Position {
        cookie,
        generation: u64_at(28),
        sequence: u64_at(36),
        live_from: u64_at(44),
        first: flags & FLAG_FIRST != 0,
    };
    let entry = match kind {
        KIND_CHECKPOINT => None,
        KIND_MESSAGE | KIND_FILE => {
            let id: QueueId = std::str::from_utf8(&record[HEADER..id_end]).ok()?.parse().ok()?;
            let content = if kind == KIND_FILE { Content::File } else { Content::Inline(&record[envelope_end..]) };
            Some(Entry { id, envelope: &record[id_end..envelope_end], content })
        }
        _ => return None,
    };
    Some(Record { position, entry, length: end as u64 })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const POSITION: Position = Position { cookie: 77, generation: 3, sequence: 12, live_from: 9, first: true };

    #[test]
    fn what_is_written_is_parsed() {
        let id = QueueId::short(5, 70_000);
        let entries = [
            Some(Entry { id, envelope: b"envelope", content: Content::Inline(b"content") }),
            Some(Entry { id, envelope: b"", content: Content::Inline(b"") }),
            Some(Entry { id, envelope: b"", content: Content::File }),
            None,
        ];
        for entry in entries {
            let mut buffer = Vec::new();
            write(&mut buffer, POSITION, entry.as_ref());
            if let Some(entry) = &entry {
                assert_eq!(length(entry), buffer.len() as u64);
            }
            let record = parse(&buffer, 77).unwrap();
            assert_eq!(record, Record { position: POSITION, entry, length: buffer.len() as u64 });
            assert_eq!(parse(&buffer, 78), None, "another segment's cookie");
            for at in 0..buffer.len() {
                let mut damaged = buffer.clone();
                damaged[at] ^= 0x10;
                assert_eq!(parse(&damaged, 77), None, "byte {at}");
                assert_eq!(parse(&buffer[..at], 77), None, "length {at}");
            }
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut record = b"PHJR".to_vec();
            record.extend(&bytes);
            if record.len() > 8 {
                record[8] = VERSION;
            }
            prop_assert_eq!(parse(&record, 0), None);
        }
    }
}
