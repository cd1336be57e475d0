//! System flags of the protocol and of the store.

use proto_imap::flag::Flags as Wire;
use store_mailbox::message::Flags as Stored;

const PAIRS: [(Wire, Stored); 5] = [
    (Wire::ANSWERED, Stored::ANSWERED),
    (Wire::FLAGGED, Stored::FLAGGED),
    (Wire::DELETED, Stored::DELETED),
    (Wire::SEEN, Stored::SEEN),
    (Wire::DRAFT, Stored::DRAFT),
];

/// As the store has them; `\Recent` is not stored.
pub fn to_store(flags: Wire) -> Stored {
    let set = PAIRS.iter().filter(|(wire, _)| flags.contains(*wire));
    set.fold(Stored::empty(), |all, (_, stored)| all | *stored)
}

/// As the protocol has them.
pub fn to_wire(flags: Stored) -> Wire {
    let set = PAIRS.iter().filter(|(_, stored)| flags.contains(*stored));
    set.fold(Wire::NONE, |all, (wire, _)| all | *wire)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_comes_back() {
        for bits in 0..32 {
            let stored = Stored::from_bits(bits);
            assert_eq!(to_store(to_wire(stored)), stored);
            assert_eq!(to_store(to_wire(stored) | Wire::RECENT), stored);
        }
    }
}
