//! Timers: what is due when. A heap with lazy removal, so that moving a connection's deadline forward costs nothing.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

/// What a timer is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Due {
    /// A connection may have reached its deadline; the connection knows.
    Connection(usize),
    /// A timer of the service.
    Service(u64),
}

#[derive(Debug, Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, Due)>>,
}

impl Timers {
    pub(crate) fn set(&mut self, at: Instant, due: Due) {
        self.heap.push(Reverse((at, due)));
    }

    /// How long until the first timer.
    pub(crate) fn wait(&self, now: Instant) -> Option<Duration> {
        self.heap.peek().map(|Reverse((at, _))| at.saturating_duration_since(now))
    }

    /// Takes one timer that is due.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<Due> {
        if self.heap.peek().is_some_and(|Reverse((at, _))| *at <= now) {
            return self.heap.pop().map(|Reverse((_, due))| due);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_come_in_order_and_not_early() {
        let (mut timers, now) = (Timers::default(), Instant::now());
        timers.set(now + Duration::from_secs(2), Due::Service(2));
        timers.set(now + Duration::from_secs(1), Due::Connection(1));
        assert_eq!(timers.pop(now), None);
        assert_eq!(timers.wait(now), Some(Duration::from_secs(1)));
        let later = now + Duration::from_secs(3);
        assert_eq!(
            (timers.pop(later), timers.pop(later), timers.pop(later)),
            (Some(Due::Connection(1)), Some(Due::Service(2)), None)
        );
    }
}
