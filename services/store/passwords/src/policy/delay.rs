//! The delay of failures (`auth_failure_delay`).
//!
//! A failed login is answered late, so that guessing is slow, and many at once and in random order, so that neither time
//! nor order tells what failed. Dovecot looks every half second for failures that are old enough in whole seconds of the
//! clock; with the default of 2 s a client waits 1.5 to 2.5 s.

use std::collections::VecDeque;
use std::time::Duration;

/// How often the queue is looked at while it is not empty.
pub const TICK: Duration = Duration::from_millis(500);

/// Failures that wait to be told. `T` is what the caller needs to answer one.
#[derive(Debug)]
pub struct FailureQueue<T> {
    delay: u64,
    waiting: VecDeque<(u64, T)>,
}

impl<T> FailureQueue<T> {
    /// `delay` in seconds; 0 answers at the next tick.
    pub fn new(delay: u64) -> Self {
        Self { delay, waiting: VecDeque::new() }
    }

    /// Adds a failure that happened at `now`, in whole seconds of any clock that does not go back.
    pub fn push(&mut self, now: u64, failure: T) {
        self.waiting.push_back((now, failure));
    }

    /// Whether the next tick has something to look at.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// What is due at `now`, in random order. `random(n)` returns a number below `n`.
    pub fn tick(&mut self, now: u64, mut random: impl FnMut(usize) -> usize) -> Vec<T> {
        let due = self.waiting.iter().take_while(|(since, _)| now.saturating_sub(*since) >= self.delay).count();
        let mut batch: Vec<T> = self.waiting.drain(..due).map(|(_, failure)| failure).collect();
        for index in 0..batch.len() {
            let other = index + random(batch.len() - index).min(batch.len() - index - 1);
            batch.swap(index, other);
        }
        batch
    }

    /// Everything, for the end of the process.
    pub fn flush(&mut self) -> impl Iterator<Item = T> {
        self.waiting.drain(..).map(|(_, failure)| failure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_wait_and_leave_together() {
        let mut queue = FailureQueue::new(2);
        for (now, name) in [(10, "a"), (10, "b"), (11, "c")] {
            queue.push(now, name);
        }
        for (now, expected) in [(10, vec![]), (11, vec![]), (12, vec!["b", "a"]), (12, vec![]), (13, vec!["c"])] {
            assert_eq!(queue.tick(now, |n| n - 1), expected, "{now}");
        }
        assert!(queue.is_empty());
        queue.push(20, "d");
        assert_eq!(queue.tick(19, |_| 0), Vec::<&str>::new(), "a clock that went back answers later, not earlier");
        assert_eq!(queue.flush().collect::<Vec<_>>(), ["d"]);
    }

    /// Every order is possible, and nothing is lost or doubled.
    #[test]
    fn order_is_random() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..6 {
            let mut queue = FailureQueue::new(0);
            (0..3).for_each(|n| queue.push(0, n));
            let mut choices = [seed / 2, seed % 2, 0].into_iter();
            let batch = queue.tick(0, |_| choices.next().unwrap());
            let mut sorted = batch.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 1, 2]);
            seen.insert(batch);
        }
        assert_eq!(seen.len(), 6);
    }
}
