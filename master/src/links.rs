//! Which process has a channel to which hub, and when one that was lost is made anew: a pure state machine, without a socket
//! or a clock.
//!
//! When the process of a hub ends, its channels wait for the successor, which is connected to everybody at once. A channel
//! that was lost between two live processes (either of them met a frame that it could not read, or gave up on a peer that did
//! not read) is made anew after a pause, so that a pair that breaks each time does not spin: [`FIRST_PAUSE`], doubled with
//! each loss in a row up to [`LONGEST_PAUSE`]. A channel that has held for [`STABLE`] ends the row.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ipc_messages::control::Hub;

use crate::policy::{LONGEST_PAUSE, Pid, STABLE};

/// The pause after the first loss. The end of the hub's process is known by then, if that was the reason.
pub const FIRST_PAUSE: Duration = Duration::from_millis(100);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Up {
        hub: Pid,
        number: u32,
        since: Instant,
    },
    /// Lost between live processes.
    Lost {
        again: Instant,
    },
    /// Until the hub has a process that takes peers.
    Waits,
}

#[derive(Debug)]
struct Link {
    state: State,
    losses: u32,
}

/// A channel that was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loss {
    /// The process that it led to.
    pub hub: Pid,
    /// After which it is made anew.
    pub pause: Duration,
}

/// All channels from processes to hubs.
#[derive(Debug, Default)]
pub struct Links {
    links: BTreeMap<(Pid, Hub), Link>,
    last: u32,
}

impl Links {
    /// The hub's process that `pid` has a channel to.
    pub fn leads_to(&self, pid: Pid, hub: Hub) -> Option<Pid> {
        match self.links.get(&(pid, hub))?.state {
            State::Up { hub, .. } => Some(hub),
            State::Lost { .. } | State::Waits => None,
        }
    }

    /// Whether `pid` was ever introduced to the hub: its channel is there, or comes by itself.
    pub fn knows(&self, pid: Pid, hub: Hub) -> bool {
        self.links.contains_key(&(pid, hub))
    }

    /// A channel from `pid` to process `to` of `hub` is made, in place of an earlier one. Returns its number.
    pub fn made(&mut self, pid: Pid, hub: Hub, to: Pid, now: Instant) -> u32 {
        self.last = self.last.wrapping_add(1);
        let state = State::Up { hub: to, number: self.last, since: now };
        self.links.entry((pid, hub)).or_insert(Link { state, losses: 0 }).state = state;
        self.last
    }

    /// `pid` says that its channel `number` to `hub` is lost. `None` when that one was replaced already.
    pub fn lost(&mut self, pid: Pid, hub: Hub, number: u32, now: Instant) -> Option<Loss> {
        let link = self.links.get_mut(&(pid, hub))?;
        let State::Up { hub, since, .. } = link.state else { return None };
        if !matches!(link.state, State::Up { number: known, .. } if known == number) {
            return None;
        }
        link.losses = if now - since >= STABLE { 1 } else { link.losses + 1 };
        let pause = FIRST_PAUSE.saturating_mul(1 << (link.losses - 1).min(16)).min(LONGEST_PAUSE);
        link.state = State::Lost { again: now + pause };
        Some(Loss { hub, pause })
    }

    /// A process has ended.
    pub fn ended(&mut self, pid: Pid) {
        self.links.retain(|(asker, _), _| *asker != pid);
        for link in self.links.values_mut() {
            if matches!(link.state, State::Up { hub, .. } if hub == pid) {
                link.state = State::Waits;
            }
        }
    }

    /// The channels whose pause is over, each once.
    pub fn due(&mut self, now: Instant) -> Vec<(Pid, Hub)> {
        let mut due = Vec::new();
        for (&between, link) in &mut self.links {
            if matches!(link.state, State::Lost { again } if again <= now) {
                link.state = State::Waits;
                due.push(between);
            }
        }
        due
    }

    /// When [`Links::due`] has something to tell next.
    pub fn next(&self) -> Option<Instant> {
        let again = |link: &Link| match link.state {
            State::Lost { again } => Some(again),
            State::Up { .. } | State::Waits => None,
        };
        self.links.values().filter_map(again).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKER: Pid = 10;
    const HUB: Pid = 20;

    #[test]
    fn a_pair_that_breaks_each_time_is_joined_more_and_more_slowly() {
        let (mut links, mut now) = (Links::default(), Instant::now());
        let mut pauses = Vec::new();
        for _ in 0..12 {
            let number = links.made(ASKER, Hub::Qmgr, HUB, now);
            let loss = links.lost(ASKER, Hub::Qmgr, number, now).unwrap();
            assert_eq!(links.leads_to(ASKER, Hub::Qmgr), None);
            pauses.push(loss.pause.as_millis());
            assert!(links.due(now + loss.pause - Duration::from_millis(1)).is_empty());
            assert_eq!(links.next(), Some(now + loss.pause));
            now += loss.pause;
            assert_eq!(links.due(now), [(ASKER, Hub::Qmgr)]);
            assert!(links.due(now).is_empty() && links.next().is_none(), "told once");
        }
        assert_eq!(
            pauses,
            [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 51_200, 60_000, 60_000],
            "milliseconds"
        );
        let number = links.made(ASKER, Hub::Qmgr, HUB, now);
        let loss = links.lost(ASKER, Hub::Qmgr, number, now + STABLE).unwrap();
        assert_eq!(loss, Loss { hub: HUB, pause: FIRST_PAUSE }, "one that has held ends the row");
    }

    #[test]
    fn news_of_a_channel_that_was_replaced_mean_nothing() {
        let (mut links, now) = (Links::default(), Instant::now());
        let old = links.made(ASKER, Hub::Auth, HUB, now);
        links.ended(HUB);
        assert_eq!(links.leads_to(ASKER, Hub::Auth), None);
        assert_eq!(links.lost(ASKER, Hub::Auth, old, now), None, "it waits for the successor");
        links.made(ASKER, Hub::Auth, HUB + 1, now);
        assert_eq!(links.lost(ASKER, Hub::Auth, old, now), None);
        assert_eq!(links.leads_to(ASKER, Hub::Auth), Some(HUB + 1));
        assert_eq!(links.lost(ASKER, Hub::Qmgr, old, now), None, "a channel that it never had");
    }

    #[test]
    fn a_process_that_has_ended_is_joined_to_nobody() {
        let (mut links, now) = (Links::default(), Instant::now());
        let number = links.made(ASKER, Hub::Auth, HUB, now);
        links.lost(ASKER, Hub::Auth, number, now).unwrap();
        links.ended(ASKER);
        assert!(links.next().is_none() && links.due(now + LONGEST_PAUSE).is_empty());
    }
}
