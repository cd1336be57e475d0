//! Tickets: what a login process hands on in place of a user.
//!
//! After a login, `auth` gives the login process a ticket of 16 random bytes. Whoever starts a session redeems it, once
//! and within 30 seconds, and learns the user from `auth` alone. A ticket is good only for the service and session it was
//! issued for, and only together with the number of the peer to whom it was issued. A resume ticket does the same for a
//! parked session: it lives until it is redeemed or withdrawn, and yields the user it was issued for, nobody else.

use std::collections::{HashMap, VecDeque};

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Seconds that a login has to become a session.
const LOGIN_SECONDS: u64 = 30;
/// Most tickets of each kind that may be out.
pub const MAX_TICKETS: usize = 65_536;

/// A ticket as it travels. It is a secret: not shown by `Debug`, wiped when dropped.
#[derive(Clone)]
pub struct Ticket(Zeroizing<[u8; 16]>);

impl Ticket {
    /// From what a peer sent.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// To send it.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The half that finds the entry; the other half proves that it was not guessed.
    fn index(&self) -> u64 {
        u64::from_le_bytes(std::array::from_fn(|index| self.0[index]))
    }
}

impl std::fmt::Debug for Ticket {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Ticket(..)")
    }
}

/// What a ticket is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bearer {
    /// The service that the session is of (`imap`, `pop3`, …).
    pub service: String,
    /// The session's identifier.
    pub session: String,
    /// The number of the peer to whom it was issued, as `auth` counts its peers.
    pub peer: u64,
}

/// Why a ticket is worth nothing. Peers are told only that it failed; this is for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TicketError {
    /// Never issued, redeemed before, withdrawn, or expired.
    Unknown,
    /// Issued for another service, session or peer. It is void now.
    NotTheBearer,
    /// As many are out as may be: the login fails for now.
    TooMany,
}

impl std::fmt::Display for TicketError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Self::Unknown => "ticket is unknown, expired or already redeemed",
            Self::NotTheBearer => "ticket was issued for another service, session or peer",
            Self::TooMany => "too many tickets are waiting to be redeemed",
        })
    }
}

impl std::error::Error for TicketError {}

/// The tickets that are out. `G` is what a ticket grants. `now` is in seconds of one clock that does not go back.
pub struct Tickets<G> {
    entries: HashMap<u64, Entry<G>>,
    /// Tickets that expire, the oldest first; what is redeemed is skipped when its time comes.
    expiry: VecDeque<(u64, u64)>,
}

struct Entry<G> {
    ticket: Ticket,
    bearer: Bearer,
    /// `None` for a resume ticket.
    expires: Option<u64>,
    grant: G,
}

impl<G> Default for Tickets<G> {
    fn default() -> Self {
        Self { entries: HashMap::new(), expiry: VecDeque::new() }
    }
}

impl<G> Tickets<G> {
    /// Issues a ticket for a login. `random` is fresh.
    ///
    /// # Errors
    /// [`TicketError::TooMany`].
    pub fn issue(&mut self, random: [u8; 16], bearer: Bearer, grant: G, now: u64) -> Result<Ticket, TicketError> {
        self.add(random, bearer, grant, now, Some(now + LOGIN_SECONDS))
    }

    /// Issues a ticket for a session that is parked: it does not expire.
    ///
    /// # Errors
    /// [`TicketError::TooMany`].
    pub fn issue_resume(
        &mut self,
        random: [u8; 16],
        bearer: Bearer,
        grant: G,
        now: u64,
    ) -> Result<Ticket, TicketError> {
        self.add(random, bearer, grant, now, None)
    }

    /// Takes a ticket back, for what it grants. Whatever comes of it, the ticket is void afterwards.
    ///
    /// # Errors
    /// [`TicketError::Unknown`] or [`TicketError::NotTheBearer`].
    pub fn redeem(&mut self, ticket: &Ticket, bearer: &Bearer, now: u64) -> Result<G, TicketError> {
        self.expire(now);
        let known =
            self.entries.get(&ticket.index()).is_some_and(|entry| entry.ticket.0.ct_eq(ticket.0.as_slice()).into());
        let entry = self.entries.remove(&ticket.index()).filter(|_| known).ok_or(TicketError::Unknown)?;
        if entry.bearer == *bearer { Ok(entry.grant) } else { Err(TicketError::NotTheBearer) }
    }

    /// Voids every ticket of a peer that is gone.
    pub fn withdraw(&mut self, peer: u64) {
        self.entries.retain(|_, entry| entry.bearer.peer != peer);
    }

    /// Tickets that are out.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn add(
        &mut self,
        random: [u8; 16],
        bearer: Bearer,
        grant: G,
        now: u64,
        expires: Option<u64>,
    ) -> Result<Ticket, TicketError> {
        self.expire(now);
        let ticket = Ticket::from_bytes(random);
        if self.entries.len() >= MAX_TICKETS || self.entries.contains_key(&ticket.index()) {
            return Err(TicketError::TooMany);
        }
        if let Some(expires) = expires {
            self.expiry.push_back((expires, ticket.index()));
        }
        self.entries.insert(ticket.index(), Entry { ticket: ticket.clone(), bearer, expires, grant });
        Ok(ticket)
    }

    fn expire(&mut self, now: u64) {
        while let Some((expires, index)) = self.expiry.front().copied().filter(|(expires, _)| *expires <= now) {
            self.expiry.pop_front();
            if self.entries.get(&index).is_some_and(|entry| entry.expires == Some(expires)) {
                self.entries.remove(&index);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(session: &str) -> Bearer {
        Bearer { service: "imap".into(), session: session.into(), peer: 1 }
    }

    fn random(seed: u8) -> [u8; 16] {
        std::array::from_fn(|index| seed ^ index as u8)
    }

    #[test]
    fn a_ticket_is_good_once() {
        let mut tickets = Tickets::default();
        let ticket = tickets.issue(random(1), bearer("s"), "user", 100).unwrap();
        assert_eq!(tickets.redeem(&ticket, &bearer("s"), 129), Ok("user"));
        assert_eq!(tickets.redeem(&ticket, &bearer("s"), 129), Err(TicketError::Unknown));
        assert!(!format!("{ticket:?}").contains('1'));
    }

    #[test]
    fn a_ticket_expires() {
        let mut tickets = Tickets::default();
        let ticket = tickets.issue(random(1), bearer("s"), (), 100).unwrap();
        assert_eq!(tickets.redeem(&ticket, &bearer("s"), 130), Err(TicketError::Unknown));
        assert!(tickets.is_empty());
        let resume = tickets.issue_resume(random(2), bearer("s"), (), 100).unwrap();
        assert_eq!(tickets.redeem(&resume, &bearer("s"), 1_000_000), Ok(()));
    }

    /// A stolen ticket is void after the thief has shown it.
    #[test]
    fn a_ticket_is_bound() {
        for wrong in
            [bearer("other"), Bearer { service: "pop3".into(), ..bearer("s") }, Bearer { peer: 2, ..bearer("s") }]
        {
            let mut tickets = Tickets::default();
            let ticket = tickets.issue(random(1), bearer("s"), (), 0).unwrap();
            assert_eq!(tickets.redeem(&ticket, &wrong, 0), Err(TicketError::NotTheBearer));
            assert_eq!(tickets.redeem(&ticket, &bearer("s"), 0), Err(TicketError::Unknown));
        }
        let mut tickets = Tickets::default();
        tickets.issue(random(1), bearer("s"), (), 0).unwrap();
        let mut guess = random(1);
        guess[15] ^= 1;
        assert_eq!(tickets.redeem(&Ticket::from_bytes(guess), &bearer("s"), 0), Err(TicketError::Unknown));
    }

    #[test]
    fn tickets_are_bounded_and_go_with_their_peer() {
        let mut tickets = Tickets::default();
        for n in 0..MAX_TICKETS as u128 {
            tickets.issue(n.to_le_bytes(), bearer("s"), n, 0).unwrap();
        }
        let more = || ((MAX_TICKETS + 1) as u128).to_le_bytes();
        assert_eq!(tickets.issue(more(), bearer("s"), 0, 29).unwrap_err(), TicketError::TooMany);
        assert!(tickets.issue(more(), Bearer { peer: 2, ..bearer("s") }, 0, 30).is_ok(), "all others have expired");
        tickets.withdraw(1);
        assert_eq!(tickets.len(), 1);
        tickets.withdraw(2);
        assert!(tickets.is_empty());
    }
}
