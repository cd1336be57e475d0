//! `posthorn.index`: a mailbox at one moment.
//!
//! ```text
//! "PHINDEX1"  u32 length of the head  head (postcard)  records  names  u32 CRC-32 of all before
//! record (64 bytes, little-endian, ascending by UID):
//!   u32 uid  u8 flags  u8 bits (1: in new/)  u16 length of the name  u64 keywords  u64 modseq
//!   u64 size on disk  u64 virtual size (all ones: unknown)  i64 internal date (least value: unknown)
//!   u32 offset of the name  u32 0  u64 0
//! ```
//! The last sixteen bytes of a record are room for a later version; the version is in the magic.

use serde::{Deserialize, Serialize};

use super::state::{Record, Stamps, State};
use crate::message::Flags;

const MAGIC: &[u8; 8] = b"PHINDEX1";
const RECORD: usize = 64;
const UNKNOWN: u64 = u64::MAX;
const NO_DATE: i64 = i64::MIN;

#[derive(Serialize, Deserialize)]
struct Head {
    generation: u64,
    uid_validity: u32,
    next_uid: u32,
    first_recent: u32,
    highest_modseq: u64,
    guid: [u8; 16],
    keywords: Vec<String>,
    stamps: Stamps,
    records: u32,
}

/// The file's content.
pub(super) fn encode(state: &State, generation: u64) -> Vec<u8> {
    let head = Head {
        generation,
        uid_validity: state.uid_validity,
        next_uid: state.next_uid,
        first_recent: state.first_recent,
        highest_modseq: state.highest_modseq,
        guid: state.guid,
        keywords: state.keywords.clone(),
        stamps: state.stamps,
        records: state.records.len() as u32,
    };
    let head = postcard::to_stdvec(&head).expect("plain values encode");
    let mut out = Vec::with_capacity(16 + head.len() + state.records.len() * (RECORD + 80));
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&(head.len() as u32).to_le_bytes());
    out.extend_from_slice(&head);
    let mut offset = 0u32;
    for record in &state.records {
        out.extend_from_slice(&record.uid.to_le_bytes());
        out.extend_from_slice(&[record.flags.bits(), u8::from(record.in_new)]);
        out.extend_from_slice(&(record.name.len() as u16).to_le_bytes());
        for value in [
            record.keywords,
            record.modseq,
            record.physical.unwrap_or(UNKNOWN),
            record.virtual_.unwrap_or(UNKNOWN),
            record.date.unwrap_or(NO_DATE) as u64,
            u64::from(offset),
            0,
        ] {
            out.extend_from_slice(&value.to_le_bytes());
        }
        offset += record.name.len() as u32;
    }
    state.records.iter().for_each(|record| out.extend_from_slice(&record.name));
    out.extend_from_slice(&crc32fast::hash(&out).to_le_bytes());
    out
}

/// The state and its generation, or `None` if the content is not a whole snapshot.
pub(super) fn decode(content: &[u8]) -> Option<(State, u64)> {
    let (content, crc) = content.split_last_chunk::<4>()?;
    if crc32fast::hash(content) != u32::from_le_bytes(*crc) {
        return None;
    }
    let (length, rest) = content.strip_prefix(MAGIC)?.split_first_chunk::<4>()?;
    let (head, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    let head: Head = postcard::from_bytes(head).ok()?;
    let (records, names) = rest.split_at_checked((head.records as usize).checked_mul(RECORD)?)?;
    let mut state = State {
        uid_validity: head.uid_validity,
        next_uid: head.next_uid,
        first_recent: head.first_recent,
        highest_modseq: head.highest_modseq,
        guid: head.guid,
        keywords: head.keywords,
        stamps: head.stamps,
        records: Vec::with_capacity(head.records as usize),
    };
    for bytes in records.chunks_exact(RECORD) {
        let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let known = |at: usize| Some(number(at)).filter(|value| *value != UNKNOWN);
        let length = usize::from(u16::from_le_bytes([bytes[6], bytes[7]]));
        let offset = number(48) as usize;
        let record = Record {
            uid: u32::from_le_bytes(bytes[..4].try_into().expect("four bytes")),
            flags: Flags::from_bits(bytes[4]),
            in_new: bytes[5] & 1 != 0,
            keywords: number(8),
            modseq: number(16),
            physical: known(24),
            virtual_: known(32),
            date: Some(number(40) as i64).filter(|date| *date != NO_DATE),
            name: names.get(offset..offset.checked_add(length)?)?.to_vec(),
        };
        if state.records.last().is_some_and(|last| last.uid >= record.uid) || record.uid >= state.next_uid {
            return None;
        }
        state.records.push(record);
    }
    Some((state, head.generation))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        let record = |uid| Record {
            uid,
            flags: Flags::SEEN,
            keywords: 5,
            modseq: u64::from(uid) * 10,
            physical: (uid % 2 == 0).then_some(100),
            virtual_: Some(110),
            date: (uid % 3 == 0).then_some(-5),
            name: format!("{uid}.name").into_bytes(),
            in_new: uid % 2 == 1,
        };
        State {
            uid_validity: 77,
            next_uid: 1000,
            first_recent: 5,
            highest_modseq: 9999,
            guid: [9; 16],
            keywords: vec!["$Forwarded".into(), String::new()],
            stamps: Stamps::default(),
            records: (1..200).map(record).collect(),
        }
    }

    #[test]
    fn round_trip() {
        assert_eq!(decode(&encode(&state(), 42)), Some((state(), 42)));
        assert_eq!(decode(&encode(&State::default(), 0)), Some((State::default(), 0)));
    }

    #[test]
    fn damage_is_noticed_and_never_panics() {
        let good = encode(&state(), 1);
        for at in (0..good.len()).step_by(7) {
            assert_eq!(decode(&good[..at]), None);
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            assert_eq!(decode(&bad), None);
            // A CRC that fits does not make a lie safe.
            let end = bad.len() - 4;
            let crc = crc32fast::hash(&bad[..end]).to_le_bytes();
            bad[end..].copy_from_slice(&crc);
            drop(decode(&bad));
        }
    }
}
