//! The penalty of an address (anvil's, in Dovecot): who fails often waits before he is even heard.
//!
//! An address has a penalty of 0 to 4. Each failure adds one, unless the same user and password failed there before: that
//! is a client with an old password, not a guesser. A success forgets everything. A request of an address with penalty
//! *p* > 0 waits `min(2 · 2^p, 15)` seconds: 4, 8, 15, 15. After 15 seconds without a new guess the penalty is gone; the
//! attempts are remembered for an hour. (Dovecot means to let a penalty wear off point by point, but what it computes comes
//! to this.)

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

/// Highest penalty.
const MAX_PENALTY: u32 = 4;
/// Longest wait, in seconds.
const MAX_SECONDS: u64 = 15;
/// Wait at penalty 0, if it had one, in seconds; doubled for each point.
const BASE_SECONDS: u64 = 2;
/// Seconds after which an address is forgotten.
const EXPIRY: u64 = 3600;
/// Different user and password pairs that are remembered of an address.
const CHECKSUMS: usize = 10;
/// Network bits that count of an IPv6 address: whoever has one has as many of them as he likes.
const IPV6_BITS: u32 = 48;
/// Most addresses that are remembered; beyond it those that failed longest ago are forgotten.
pub const MAX_ADDRESSES: usize = 100_000;

/// A keyed checksum of user and password: equal for equal attempts, and useless to whoever reads our memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt(pub u64);

/// The penalties of all addresses. `now` is in seconds of one clock that does not go back.
#[derive(Debug, Default)]
pub struct Penalties {
    addresses: HashMap<IpAddr, Record>,
}

#[derive(Debug)]
struct Record {
    penalty: u32,
    /// When the penalty last rose.
    risen: u64,
    /// When a failure was last seen at all.
    last: u64,
    /// The newest first.
    attempts: Vec<Attempt>,
}

impl Penalties {
    /// Seconds that a request from `address` waits before it is looked at.
    pub fn wait(&self, address: IpAddr, now: u64) -> u64 {
        match self.current(network(address), now) {
            0 => 0,
            penalty => seconds(penalty),
        }
    }

    /// A login from `address` failed.
    pub fn failed(&mut self, address: IpAddr, attempt: Attempt, now: u64) {
        let address = network(address);
        let penalty = self.current(address, now);
        self.make_room(address, now);
        let record =
            self.addresses.entry(address).or_insert(Record { penalty: 0, risen: now, last: now, attempts: Vec::new() });
        record.last = now;
        if let Some(index) = record.attempts.iter().position(|known| *known == attempt) {
            record.attempts[..=index].rotate_right(1);
            record.penalty = penalty;
            return;
        }
        record.attempts.truncate(CHECKSUMS - 1);
        record.attempts.insert(0, attempt);
        record.penalty = (penalty + 1).min(MAX_PENALTY);
        record.risen = now;
    }

    /// A login from `address` succeeded.
    pub fn succeeded(&mut self, address: IpAddr) {
        self.addresses.remove(&network(address));
    }

    /// Addresses that are remembered.
    pub fn len(&self) -> usize {
        self.addresses.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty()
    }

    /// The penalty that is left of the recorded one.
    fn current(&self, network: IpAddr, now: u64) -> u32 {
        let Some(record) = self.addresses.get(&network) else { return 0 };
        if now.saturating_sub(record.risen) < MAX_SECONDS { record.penalty } else { 0 }
    }

    /// Forgets what has expired, and the oldest, if a new address would be one too many.
    fn make_room(&mut self, address: IpAddr, now: u64) {
        if self.addresses.len() < MAX_ADDRESSES || self.addresses.contains_key(&address) {
            return;
        }
        self.addresses.retain(|_, record| now.saturating_sub(record.last) < EXPIRY);
        if self.addresses.len() >= MAX_ADDRESSES {
            // A tenth at once, so that a flood of addresses does not make each of them a walk through all.
            let mut ages: Vec<u64> = self.addresses.values().map(|record| record.last).collect();
            let (_, cut, _) = ages.select_nth_unstable(MAX_ADDRESSES / 10);
            let cut = *cut;
            let older = self.addresses.values().filter(|record| record.last < cut).count();
            let mut of_that_age = MAX_ADDRESSES / 10 - older;
            self.addresses.retain(|_, record| {
                let goes = record.last < cut || record.last == cut && of_that_age > 0;
                of_that_age -= usize::from(goes && record.last == cut);
                !goes
            });
        }
    }
}

fn seconds(penalty: u32) -> u64 {
    (BASE_SECONDS << penalty).min(MAX_SECONDS)
}

fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << (128 - IPV6_BITS))).into(),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUESSER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 1, 1, 1));

    /// As Dovecot 2.3.19 was seen to do: four seconds after the first failure.
    #[test]
    fn each_new_guess_doubles_the_wait() {
        let mut penalties = Penalties::default();
        assert_eq!(penalties.wait(GUESSER, 0), 0);
        for (guess, expected) in [4, 8, 15, 15, 15].into_iter().enumerate() {
            penalties.failed(GUESSER, Attempt(guess as u64), 0);
            assert_eq!(penalties.wait(GUESSER, 0), expected);
        }
        penalties.succeeded(GUESSER);
        assert!(penalties.is_empty());
        assert_eq!(penalties.wait(GUESSER, 0), 0);
    }

    #[test]
    fn an_old_password_is_not_a_guess() {
        let mut penalties = Penalties::default();
        for now in 0..3 {
            penalties.failed(GUESSER, Attempt(7), now);
            assert_eq!(penalties.wait(GUESSER, now), 4);
        }
        penalties.failed(GUESSER, Attempt(8), 3);
        penalties.failed(GUESSER, Attempt(7), 3);
        assert_eq!(penalties.wait(GUESSER, 3), 8);
        // Only the last ten pairs are known.
        (100..110).for_each(|n| penalties.failed(GUESSER, Attempt(n), 4));
        penalties.failed(GUESSER, Attempt(7), 25);
        assert_eq!(penalties.wait(GUESSER, 25), 4);
    }

    #[test]
    fn penalties_wear_off() {
        let mut penalties = Penalties::default();
        (0..4).for_each(|n| penalties.failed(GUESSER, Attempt(n), 100));
        for (now, expected) in [(107, 15), (114, 15), (115, 0), (90, 15)] {
            assert_eq!(penalties.wait(GUESSER, now), expected, "{now}");
        }
        penalties.failed(GUESSER, Attempt(3), 120);
        assert_eq!(penalties.wait(GUESSER, 120), 0, "still no guess");
        penalties.failed(GUESSER, Attempt(9), 120);
        assert_eq!(penalties.wait(GUESSER, 120), 4);
    }

    #[test]
    fn addresses_are_grouped_and_bounded() {
        let mut penalties = Penalties::default();
        penalties.failed("2001:db8:1:2::3".parse().unwrap(), Attempt(1), 0);
        assert_eq!(penalties.wait("2001:db8:1:ffff::1".parse().unwrap(), 0), 4);
        assert_eq!(penalties.wait("2001:db8:2::1".parse().unwrap(), 0), 0);
        penalties.failed("::ffff:10.1.1.1".parse().unwrap(), Attempt(1), 0);
        assert_eq!(penalties.wait(GUESSER, 0), 4);

        for n in 0..MAX_ADDRESSES as u32 + 10 {
            penalties.failed(IpAddr::V4(n.into()), Attempt(1), 1);
            assert!(penalties.len() <= MAX_ADDRESSES);
        }
        assert_eq!(penalties.wait(GUESSER, 1), 0, "the oldest went first");
    }
}
