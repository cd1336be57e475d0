//! Sequence sets, and sets of UIDs.

use serde::{Deserialize, Serialize};

use crate::token;

/// A sequence set as it was sent, with its `*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SequenceSet {
    /// Both ends of each range; 0 stands for `*`.
    ranges: Vec<(u32, u32)>,
}

impl SequenceSet {
    /// Parses a set.
    ///
    /// ```text
    /// sequence-set = (seq-number / seq-range) *("," (seq-number / seq-range))
    /// seq-range    = seq-number ":" seq-number
    /// seq-number   = nz-number / "*"
    /// ```
    ///
    /// RFC 3501 section 9. `None` for anything else, numbers of more than 32 bits included.
    pub fn parse(text: &[u8]) -> Option<SequenceSet> {
        let mut ranges = Vec::new();
        for range in text.split(|byte| *byte == b',') {
            let mut ends = range.splitn(2, |byte| *byte == b':');
            let first = seq_number(ends.next()?)?;
            let last = match ends.next() {
                Some(last) => seq_number(last)?,
                None => first,
            };
            ranges.push((first, last));
        }
        Some(SequenceSet { ranges })
    }

    /// The set with `largest` for `*`. A range with its ends swapped is the same range.
    pub fn resolve(&self, largest: u32) -> UidSet {
        let end = |number| if number == 0 { largest } else { number };
        let ranges = self.ranges.iter().map(|(first, last)| (end(*first), end(*last)));
        UidSet::from_ranges(ranges.filter(|ends| *ends != (0, 0)).map(|(a, b)| (a.min(b).max(1), a.max(b))).collect())
    }

    /// Whether every number, `*` included, is one of `1..=count`.
    pub fn is_within(&self, count: u32) -> bool {
        count > 0 && self.ranges.iter().all(|(first, last)| *first <= count && *last <= count)
    }
}

fn seq_number(text: &[u8]) -> Option<u32> {
    if text == b"*" {
        return Some(0);
    }
    token::number32(text).filter(|number| *number != 0)
}

/// A set of numbers: sorted ranges that neither touch nor overlap.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct UidSet {
    ranges: Vec<(u32, u32)>,
}

impl UidSet {
    /// Sorts and merges ranges; each is `(first, last)` with `first <= last`.
    pub fn from_ranges(mut ranges: Vec<(u32, u32)>) -> UidSet {
        ranges.sort_unstable();
        ranges.dedup_by(|next, kept| {
            let joined = next.0 <= kept.1.saturating_add(1);
            if joined {
                kept.1 = kept.1.max(next.1);
            }
            joined
        });
        UidSet { ranges }
    }

    /// The set of numbers that ascend.
    pub fn from_ascending(numbers: impl IntoIterator<Item = u32>) -> UidSet {
        let mut set = UidSet::default();
        for number in numbers {
            set.push(number);
        }
        set
    }

    /// Adds a number not below any other.
    pub fn push(&mut self, number: u32) {
        match self.ranges.last_mut() {
            Some(last) if number <= last.1.saturating_add(1) => last.1 = last.1.max(number),
            _ => self.ranges.push((number, number)),
        }
    }

    /// The ranges, ascending.
    pub fn ranges(&self) -> &[(u32, u32)] {
        &self.ranges
    }

    /// Whether the set holds a number.
    pub fn contains(&self, number: u32) -> bool {
        let at = self.ranges.partition_point(|(_, last)| *last < number);
        self.ranges.get(at).is_some_and(|(first, _)| *first <= number)
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// How many it holds.
    pub fn count(&self) -> u64 {
        self.ranges.iter().map(|(first, last)| u64::from(last - first) + 1).sum()
    }

    /// All numbers, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.ranges.iter().flat_map(|(first, last)| *first..=*last)
    }

    /// Whether the ranges are sorted, apart from each other and without 0: what every set built here is,
    /// and one that was read from elsewhere has to be shown to be.
    pub fn is_well_formed(&self) -> bool {
        self.ranges.iter().all(|(first, last)| *first > 0 && first <= last)
            && self.ranges.windows(2).all(|pair| u64::from(pair[0].1) + 1 < u64::from(pair[1].0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(text: &str, largest: u32) -> Vec<(u32, u32)> {
        SequenceSet::parse(text.as_bytes()).unwrap().resolve(largest).ranges
    }

    #[test]
    fn sets_resolve() {
        for (text, largest, expected) in [
            ("1", 9, vec![(1, 1)]),
            ("5:3", 9, vec![(3, 5)]),
            ("*", 9, vec![(9, 9)]),
            ("20:*", 9, vec![(9, 20)]),
            ("1,3,2,7:8,8:*", 9, vec![(1, 3), (7, 9)]),
            ("*", 0, vec![]),
            ("1:*", 0, vec![(1, 1)]),
            ("4294967295", 9, vec![(u32::MAX, u32::MAX)]),
        ] {
            assert_eq!(resolved(text, largest), expected, "{text}");
        }
    }

    #[test]
    fn malformed_sets_are_refused() {
        for text in ["", "0", "1:", ":1", "1,,2", "1:2:3", "-1", "a", "4294967296", "1 2", "+1", ",1", "**"] {
            assert_eq!(SequenceSet::parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn membership_and_bounds() {
        let set = UidSet::from_ascending([1, 2, 3, 7, 9, 10]);
        assert_eq!(set.ranges(), [(1, 3), (7, 7), (9, 10)]);
        assert_eq!(set.count(), 6);
        assert_eq!((0..12).filter(|n| set.contains(*n)).collect::<Vec<_>>(), [1, 2, 3, 7, 9, 10]);
        assert!(set.is_well_formed());
        for bad in [vec![(0, 1)], vec![(2, 1)], vec![(1, 2), (3, 4)], vec![(5, 6), (1, 1)]] {
            assert!(!UidSet { ranges: bad }.is_well_formed());
        }
    }

    #[test]
    fn messages_must_exist() {
        let within = |text: &str, count| SequenceSet::parse(text.as_bytes()).unwrap().is_within(count);
        assert!(within("1:3,*", 3));
        assert!(!within("1:4", 3));
        assert!(!within("*", 0));
    }
}
