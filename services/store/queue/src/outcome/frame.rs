//! The frames of the outcome log.
//!
//! ```text
//! log   = "PHOUTCM" version:u8 cookie:u64 first:u64 crc:u32 *frame
//! frame = crc:u32 length:u16 starts:u8 0 sequence:u64 body      ; body = postcard of `Outcome`, `length` bytes
//! ```
//!
//! Numbers are little endian. The CRC32 of a frame covers the log's cookie and everything behind the CRC: a reason is what a
//! remote server said, and what it said cannot pass for a frame. `starts` is 1 for the first frame of a write.

use serde::{Deserialize, Serialize};

use ipc_messages::envelope::QueueId;

use crate::journal::Sequence;

/// Bytes of a reason that are kept; the rest is cut.
pub const MAX_REASON: usize = 4096;
/// Bytes of a status code that are kept.
const MAX_STATUS: usize = 32;

pub(super) const HEADER: usize = 16;
/// Bytes of the longest frame.
pub(super) const MAX_FRAME: usize = HEADER + MAX_REASON + 256;
/// Bytes before the first frame.
pub(super) const HEAD: usize = 28;

const MAGIC: &[u8; 8] = b"PHOUTCM\x02";

/// What became of a recipient, or of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Delivered, or bounced with the bounce in the queue: never tried again.
    Done { id: QueueId, recipient: u32 },
    /// To be tried again.
    Deferred { id: QueueId, recipient: u32, deferral: Deferral },
    /// Nothing of the message is needed any more. `journal` is its record, 0 if it has none that can be replayed.
    Removed { id: QueueId, journal: Sequence },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deferral {
    /// Seconds since 1970.
    pub next_attempt: u64,
    /// How many attempts there have been.
    pub attempt: u32,
    /// The sender has been told that the message is delayed.
    pub warned: bool,
    /// Enhanced status code (RFC 3463).
    pub dsn: String,
    /// What the log line of the attempt said in parentheses.
    pub reason: String,
}

/// What the head of a log says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub cookie: u64,
    /// The sequence number of the first frame.
    pub first: u64,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub outcome: Outcome,
    pub sequence: u64,
    pub starts: bool,
    /// Bytes of the frame.
    pub length: usize,
}

impl Outcome {
    /// The outcome with texts that a frame can take.
    pub(super) fn bounded(mut self) -> Outcome {
        if let Outcome::Deferred { deferral, .. } = &mut self {
            deferral.reason.truncate(deferral.reason.floor_char_boundary(MAX_REASON));
            deferral.dsn.truncate(deferral.dsn.floor_char_boundary(MAX_STATUS));
        }
        self
    }
}

impl Head {
    pub fn bytes(self) -> [u8; HEAD] {
        let mut bytes = [0; HEAD];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..16].copy_from_slice(&self.cookie.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.first.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..24]);
        bytes[24..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub fn parse(bytes: &[u8]) -> Option<Head> {
        let number = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        let head = Head { cookie: number(8)?, first: number(16)? };
        bytes.starts_with(&head.bytes()).then_some(head)
    }
}

/// Appends the frame of a bounded outcome to `buffer` and returns its length.
pub(super) fn write(buffer: &mut Vec<u8>, cookie: u64, sequence: u64, starts: bool, outcome: &Outcome) -> usize {
    let body = postcard::to_stdvec(outcome).expect("outcomes are plain data");
    let start = buffer.len();
    buffer.extend([0; 4]);
    buffer.extend((body.len() as u16).to_le_bytes());
    buffer.extend([u8::from(starts), 0]);
    buffer.extend(sequence.to_le_bytes());
    buffer.extend(body);
    let crc = checksum(cookie, &buffer[start + 4..]);
    buffer[start..start + 4].copy_from_slice(&crc.to_le_bytes());
    buffer.len() - start
}

/// The frame at the start of `bytes`, if there is a whole one.
pub(super) fn parse(bytes: &[u8], cookie: u64) -> Option<Frame> {
    let header = bytes.get(..HEADER)?;
    let length = HEADER + usize::from(u16::from_le_bytes([header[4], header[5]]));
    let frame = bytes.get(..length)?;
    if length > MAX_FRAME || header[..4] != checksum(cookie, &frame[4..]).to_le_bytes() {
        return None;
    }
    let (outcome, []) = postcard::take_from_bytes(&frame[HEADER..]).ok()? else { return None };
    let sequence = u64::from_le_bytes(header[8..].try_into().expect("eight bytes"));
    Some(Frame { outcome, sequence, starts: header[6] == 1, length })
}

fn checksum(cookie: u64, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&cookie.to_le_bytes());
    hasher.update(bytes);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn deferred(reason: &str) -> Outcome {
        let deferral = Deferral {
            next_attempt: 1_700_000_300,
            attempt: 1,
            warned: false,
            dsn: "4.4.1".into(),
            reason: reason.into(),
        };
        Outcome::Deferred { id: QueueId::short(1, 70_000), recipient: 3, deferral }
    }

    #[test]
    fn frames_round_trip_and_damage_shows() {
        let id = QueueId::short(1, 70_000);
        for outcome in
            [Outcome::Done { id, recipient: 0 }, deferred("connection refused"), Outcome::Removed { id, journal: 9 }]
        {
            let mut bytes = Vec::new();
            let length = write(&mut bytes, 5, 42, true, &outcome);
            assert_eq!(parse(&bytes, 5), Some(Frame { outcome, sequence: 42, starts: true, length }));
            assert_eq!(parse(&bytes, 6), None, "the cookie of another log");
            for at in 0..bytes.len() {
                let mut damaged = bytes.clone();
                damaged[at] ^= 4;
                assert_eq!(parse(&damaged, 5), None, "byte {at}");
                assert_eq!(parse(&bytes[..at], 5), None, "length {at}");
            }
        }
        let head = Head { cookie: 5, first: 42 };
        assert_eq!(Head::parse(&head.bytes()), Some(head));
        assert_eq!(Head::parse(&head.bytes()[..HEAD - 1]), None);
    }

    #[test]
    fn the_longest_reason_fits() {
        let outcome = deferred(&"\u{1F4EC}".repeat(MAX_REASON)).bounded();
        let mut bytes = Vec::new();
        assert!(write(&mut bytes, 0, 0, false, &outcome) <= MAX_FRAME);
        assert_eq!(parse(&bytes, 0).unwrap().outcome, outcome);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = Head::parse(&bytes);
            prop_assert_eq!(parse(&bytes, 1), None);
        }
    }
}
