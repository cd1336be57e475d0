//! Names of message files.
//!
//! ```text
//! name = base [":2," flags ["," other]]
//! base = seconds ".M" microseconds "P" process "." host [",S=" size] [",W=" virtual-size]    ; ours and Dovecot's
//! flags = sorted letters: D F R S T, a-z for keywords; others are unknown and preserved
//! ```

use std::{
    cmp::Ordering,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use crate::{
    fs::Fs,
    message::{Flags, Sizes},
};

/// The letters of the system flags, in the order of the file name.
const LETTERS: [(u8, Flags); 5] = [
    (b'D', Flags::DRAFT),
    (b'F', Flags::FLAGGED),
    (b'R', Flags::ANSWERED),
    (b'S', Flags::SEEN),
    (b'T', Flags::DELETED),
];

/// Makes names that are unique on this host: no two calls of a process give the same microsecond.
#[derive(Debug, Default)]
pub struct Names(AtomicU64);

impl Names {
    /// `seconds.MmicrosecondsPprocess.host`. May be shared between threads, never between processes.
    pub fn next<F: Fs>(&self, fs: &F) -> Vec<u8> {
        let now = fs.now();
        let now = now.secs as u64 * 1_000_000 + u64::from(now.nanos / 1000);
        // The closure always returns a value, so both arms hold the value before.
        let before = match self.0.fetch_update(Relaxed, Relaxed, |last| Some(now.max(last + 1))) {
            Ok(before) | Err(before) => before,
        };
        let micros = now.max(before + 1);
        let mut name = format!("{}.M{}P{}.", micros / 1_000_000, micros % 1_000_000, fs.process()).into_bytes();
        name.extend_from_slice(fs.host());
        name
    }
}

/// Adds the sizes to a base name.
pub fn with_sizes(name: &[u8], sizes: Sizes) -> Vec<u8> {
    [name, format!(",S={},W={}", sizes.physical, sizes.virtual_).as_bytes()].concat()
}

/// The part that never changes while the message exists.
pub fn base(name: &[u8]) -> &[u8] {
    &name[..memchr::memchr(b':', name).unwrap_or(name.len())]
}

/// The size that follows `,S=` or `,W=` in the base.
pub fn size(name: &[u8], key: u8) -> Option<u64> {
    let base = base(name);
    let at = base.windows(3).position(|w| w == [b',', key, b'='])? + 3;
    let digits = base[at..].iter().take_while(|b| b.is_ascii_digit()).count();
    match base.get(at + digits) {
        None | Some(b',') => std::str::from_utf8(&base[at..at + digits]).ok()?.parse().ok(),
        Some(_) => None,
    }
}

/// The flags and the keyword letters (bit 0 is `a`) that a name carries.
pub fn flags(name: &[u8]) -> (Flags, u64) {
    let (mut flags, mut keywords) = (Flags::empty(), 0);
    for letter in info(name) {
        match letter {
            b',' => break,
            b'a'..=b'z' => keywords |= 1 << (letter - b'a'),
            _ => LETTERS.iter().filter(|(l, _)| l == letter).for_each(|(_, flag)| flags |= *flag),
        }
    }
    (flags, keywords)
}

/// The name with these flags; letters that mean nothing to us, and other flag sets, stay.
pub fn with_flags(name: &[u8], flags: Flags, keywords: u64) -> Vec<u8> {
    let info = info(name);
    let (own, other) = info.split_at(memchr::memchr(b',', info).unwrap_or(info.len()));
    let known = |b: &u8| b.is_ascii_lowercase() || LETTERS.iter().any(|(l, _)| l == b);
    let mut letters: Vec<u8> = own.iter().copied().filter(|b| !known(b)).collect();
    letters.extend(LETTERS.iter().filter(|(_, flag)| flags.contains(*flag)).map(|(letter, _)| letter));
    letters.extend((b'a'..=b'z').filter(|letter| keywords & (1 << (letter - b'a')) != 0));
    letters.sort_unstable();
    [base(name), b":2,", &letters, other].concat()
}

fn info(name: &[u8]) -> &[u8] {
    let info = memchr::memrchr(b':', name).map(|colon| &name[colon + 1..]);
    info.and_then(|info| info.strip_prefix(b"2,")).unwrap_or_default()
}

/// The order in which new messages get their UIDs: by seconds, then microseconds where both names have them, then name.
pub fn by_arrival(a: &[u8], b: &[u8]) -> Ordering {
    let (a_seconds, a_rest) = number(a);
    let (b_seconds, b_rest) = number(b);
    let micros = match (microseconds(a_rest), microseconds(b_rest)) {
        (Some(a), Some(b)) => a.cmp(&b),
        _ => Ordering::Equal,
    };
    a_seconds.cmp(&b_seconds).then(micros).then_with(|| base(a_rest).cmp(base(b_rest)))
}

fn number(text: &[u8]) -> (u64, &[u8]) {
    let digits = text.iter().take_while(|b| b.is_ascii_digit()).count();
    let (number, rest) = text.split_at(digits);
    (number.iter().fold(0u64, |n, d| n.saturating_mul(10).saturating_add(u64::from(d - b'0'))), rest)
}

/// `.…M<digits>` in the second component.
fn microseconds(rest: &[u8]) -> Option<u64> {
    let unique = base(rest.strip_prefix(b".")?).split(|b| *b == b'.').next()?;
    let at = memchr::memchr(b'M', unique)? + 1;
    Some(number(&unique[at..]).0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::model::ModelFs;

    #[test]
    fn names_are_unique_and_ascending_within_one_process() {
        let (fs, names) = (ModelFs::new(), Names::default());
        let made: Vec<_> = (0..1000).map(|_| names.next(&fs)).collect();
        assert!(made.windows(2).all(|w| by_arrival(&w[0], &w[1]) == Ordering::Less));
        assert!(made[0].ends_with(b"P100.model"));
    }

    #[test]
    fn flags_are_sorted_and_unknown_letters_stay() {
        let table = [
            ("1.M2P3.h", "", 0u64, "1.M2P3.h:2,"),
            ("1.M2P3.h:2,S", "SD", 0, "1.M2P3.h:2,DS"),
            ("1.M2P3.h:2,DFRST", "", 0, "1.M2P3.h:2,"),
            ("1.h:2,PSXa", "F", 0b110, "1.h:2,FPXbc"),
            ("1.h:2,S,weird", "SR", 1, "1.h:2,RSa,weird"),
            ("1.h:1,broken", "S", 0, "1.h:2,S"),
        ];
        for (name, set, keywords, expected) in table {
            let set = LETTERS.iter().filter(|(l, _)| set.contains(char::from(*l)));
            let set = set.fold(Flags::empty(), |all, (_, flag)| all | *flag);
            let renamed = with_flags(name.as_bytes(), set, keywords);
            assert_eq!(String::from_utf8_lossy(&renamed), expected);
            assert_eq!(flags(&renamed), (set, keywords));
        }
    }

    #[test]
    fn sizes_are_read_where_they_are_whole() {
        let table = [
            ("1.h,S=28,W=32:2,S", Some(28), Some(32)),
            ("1.h,S=28", Some(28), None),
            ("1.h,W=3x,S=9", Some(9), None),
            ("1.h:2,S=1", None, None),
            ("1.h,S=99999999999999999999", None, None),
        ];
        for (name, physical, virtual_) in table {
            assert_eq!((size(name.as_bytes(), b'S'), size(name.as_bytes(), b'W')), (physical, virtual_), "{name}");
        }
    }

    #[test]
    fn arrival_order() {
        let sorted = ["9.x.h", "10.M5P1.h", "10.M40P1.h", "10.M40P2.h", "11.V1.h"];
        for pair in sorted.windows(2) {
            assert_eq!(by_arrival(pair[0].as_bytes(), pair[1].as_bytes()), Ordering::Less, "{pair:?}");
        }
    }
}
