//! Queue IDs: the name of a message in every log line, reply and queue file.
//!
//! Two styles, both Postfix's (`enable_long_queue_ids`), so that what reads its logs reads ours:
//!
//! ```text
//! short = 5*5HEX          ; microseconds of the arrival, upper case
//!         1*HEX           ; number
//! long  = 6*SAFE52        ; seconds since 1970, base 52
//!         4*4SAFE52       ; microseconds, base 52
//!         "z" 1*SAFE51    ; number, base 51
//! ```
//!
//! SAFE52 is `0-9`, then the consonants in upper case, then those in lower case; SAFE51 is the same without `z`, so the
//! last `z` always separates. Where Postfix puts the inode number of the queue file, Posthorn puts a number that is never
//! given twice (`store-queue`, module `ids`): an ID is unique for ever in either style, whatever the clock does.
//!
//! A [`QueueId`] is always well-formed, and so always safe as the name of a file.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bytes of the longest queue ID: long style, with 64 bits of seconds and of number, takes 12 + 4 + 1 + 12.
pub const MAX_QUEUE_ID: usize = 29;

const SAFE: &[u8; 52] = b"0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz";
const SHORT_MICROS: usize = 5;
const LONG_SECONDS: usize = 6;
const LONG_MICROS: usize = 4;

/// A well-formed queue ID. Small and `Copy`: a million of them are held while a long queue waits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueId {
    bytes: [u8; MAX_QUEUE_ID],
    len: u8,
}

/// Numbers for queue IDs, `from` up to but not including `to`: `cleanup` gives `smtpd` a block of them, so that `smtpd` can
/// name a message at its first accepted recipient without asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ids {
    pub from: u64,
    pub to: u64,
}

/// The text is not a queue ID of either style.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadQueueId;

impl QueueId {
    /// The ID in short style. `micros` is the sub-second part of the arrival time, below 1,000,000; `number` is the
    /// message's own.
    pub fn short(micros: u32, number: u64) -> QueueId {
        let mut id = Builder::new();
        id.push_hex(u64::from(micros % 1_000_000), SHORT_MICROS);
        id.push_hex(number, 1);
        id.finish()
    }

    /// The ID in long style. `seconds` and `micros` are the arrival time; `number` is the message's own.
    pub fn long(seconds: u64, micros: u32, number: u64) -> QueueId {
        let mut id = Builder::new();
        id.push_base(seconds, 52, LONG_SECONDS);
        id.push_base(u64::from(micros % 1_000_000), 52, LONG_MICROS);
        id.push(b'z');
        id.push_base(number, 51, 1);
        id.finish()
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.len)]).expect("a queue ID is ASCII")
    }

    /// The number that makes this ID unique.
    pub fn number(&self) -> u64 {
        let text = self.as_str().as_bytes();
        match long_separator(text) {
            Some(at) => decode(&text[at + 1..], 51),
            None => decode_hex(&text[SHORT_MICROS..]),
        }
        .expect("a queue ID holds a number")
    }
}

impl Ids {
    /// Takes the next number, until there are none.
    pub fn take(&mut self) -> Option<u64> {
        let number = self.from;
        (number < self.to).then(|| {
            self.from += 1;
            number
        })
    }

    pub fn remaining(&self) -> u64 {
        self.to.saturating_sub(self.from)
    }
}

impl FromStr for QueueId {
    type Err = BadQueueId;

    fn from_str(text: &str) -> Result<QueueId, BadQueueId> {
        let bytes = text.as_bytes();
        if bytes.len() > MAX_QUEUE_ID {
            return Err(BadQueueId);
        }
        let valid = match long_separator(bytes) {
            Some(at) => {
                let (seconds, micros) = bytes[..at].split_at(at - LONG_MICROS);
                decode(seconds, 52).is_some()
                    && decode(micros, 52).is_some_and(|micros| micros < 1_000_000)
                    && decode(&bytes[at + 1..], 51).is_some()
            }
            None => {
                bytes.len() > SHORT_MICROS
                    && decode_hex(&bytes[..SHORT_MICROS]).is_some_and(|micros| micros < 1_000_000)
                    && decode_hex(&bytes[SHORT_MICROS..]).is_some()
            }
        };
        if !valid {
            return Err(BadQueueId);
        }
        let mut id = Builder::new();
        bytes.iter().for_each(|byte| id.push(*byte));
        Ok(id.finish())
    }
}

/// Where the `z` of a long ID stands: the last one, behind at least ten digits of time.
fn long_separator(bytes: &[u8]) -> Option<usize> {
    bytes.iter().rposition(|byte| *byte == b'z').filter(|at| *at >= LONG_SECONDS + LONG_MICROS)
}

fn decode(digits: &[u8], base: u64) -> Option<u64> {
    let value = |byte: &u8| SAFE.iter().position(|safe| safe == byte).map(|at| at as u64).filter(|at| *at < base);
    accumulate(digits, base, value)
}

fn decode_hex(digits: &[u8]) -> Option<u64> {
    let value = |byte: &u8| match byte {
        b'0'..=b'9' => Some(u64::from(byte - b'0')),
        b'A'..=b'F' => Some(u64::from(byte - b'A') + 10),
        _ => None,
    };
    accumulate(digits, 16, value)
}

fn accumulate(digits: &[u8], base: u64, value: impl Fn(&u8) -> Option<u64>) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |sum, byte| sum.checked_mul(base)?.checked_add(value(byte)?))
}

struct Builder(QueueId);

impl Builder {
    fn new() -> Builder {
        Builder(QueueId { bytes: [0; MAX_QUEUE_ID], len: 0 })
    }

    fn push(&mut self, byte: u8) {
        self.0.bytes[usize::from(self.0.len)] = byte;
        self.0.len += 1;
    }

    fn push_hex(&mut self, value: u64, width: usize) {
        self.push_digits(value, 16, width, b"0123456789ABCDEF");
    }

    fn push_base(&mut self, value: u64, base: u64, width: usize) {
        self.push_digits(value, base, width, SAFE);
    }

    fn push_digits(&mut self, mut value: u64, base: u64, width: usize, alphabet: &[u8]) {
        let start = usize::from(self.0.len);
        while value > 0 || usize::from(self.0.len) - start < width {
            self.push(alphabet[(value % base) as usize]);
            value /= base;
        }
        self.0.bytes[start..usize::from(self.0.len)].reverse();
    }

    fn finish(self) -> QueueId {
        self.0
    }
}

impl fmt::Display for QueueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for QueueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "QueueId({})", self.as_str())
    }
}

impl fmt::Display for BadQueueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a queue ID")
    }
}

impl std::error::Error for BadQueueId {}

impl Serialize for QueueId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for QueueId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<QueueId, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = QueueId;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a queue ID")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<QueueId, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_what_postfix_writes() {
        let table = [
            (QueueId::short(0, 1), "000001"),
            (QueueId::short(999_999, 0xABCDEF), "F423FABCDEF"),
            (QueueId::short(0x3A_D1F, 0x52_0F6), "3AD1F520F6"),
            (QueueId::long(0, 0, 0), "0000000000z0"),
            (QueueId::long(51, 51, 50), "00000z000zzy"),
            (QueueId::long(52, 52, 51), "0000100010z10"),
        ];
        for (id, text) in table {
            assert_eq!(id.as_str(), text);
            assert_eq!(text.parse(), Ok(id));
        }
    }

    #[test]
    fn the_number_comes_back() {
        for number in [0, 1, 50, 51, 52, 65_536, u64::MAX] {
            assert_eq!(QueueId::short(123_456, number).number(), number);
            assert_eq!(QueueId::long(u64::MAX, 999_999, number).number(), number);
        }
        assert_eq!(QueueId::long(u64::MAX, 999_999, u64::MAX).as_str().len(), MAX_QUEUE_ID);
    }

    #[test]
    fn takes_the_ids_of_postfix() {
        // The first two are in postconf(5) and in BDAT_README, from March 2011 and August 2018.
        let table = [
            ("3Pt2mN2VXxznjll", QueueId::long(1_300_631_508, 353_025, 5_536_956)),
            ("41yYhh41qmznjbD", QueueId::long(1_535_238_468, 567_412, 5_536_521)),
            ("4DA5B8A041F", QueueId::short(0x4_DA5B, 0x8A_041F)),
        ];
        for (text, id) in table {
            assert_eq!(id.as_str(), text);
            assert_eq!(text.parse(), Ok(id));
        }
    }

    #[test]
    fn a_block_is_used_up_once() {
        let mut ids = Ids { from: 7, to: 9 };
        assert_eq!(ids.remaining(), 2);
        assert_eq!([ids.take(), ids.take(), ids.take()], [Some(7), Some(8), None]);
        assert_eq!(Ids { from: 9, to: 7 }.take(), None);
    }

    #[test]
    fn refuses_what_is_no_id() {
        let bad = [
            "",
            "12345",
            "FFFFF1",
            "abcdef12",
            "../../etc",
            "12345/6",
            "12345 6",
            "0000000000z",
            "0000000000zE",
            "000000zzzzz1",
            "123456789012345678901234567890",
            "12345FFFFFFFFFFFFFFFFF",
            "12345\u{0}",
        ];
        for text in bad {
            assert_eq!(text.parse::<QueueId>(), Err(BadQueueId), "{text:?}");
        }
    }

    #[test]
    fn a_forged_id_does_not_decode() {
        let bytes = postcard::to_stdvec("../../x").unwrap();
        assert!(postcard::from_bytes::<QueueId>(&bytes).is_err());
        let id = QueueId::short(1, 2);
        assert_eq!(postcard::from_bytes::<QueueId>(&postcard::to_stdvec(&id).unwrap()), Ok(id));
    }
}
