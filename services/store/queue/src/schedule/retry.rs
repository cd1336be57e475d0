//! When a deferred message is tried again, and when it is given up. Times are in seconds.
//!
//! ```text
//! next attempt = now + clamp(now - arrival, minimal_backoff_time, maximal_backoff_time)
//! expired      = now - arrival >= maximal_queue_lifetime     (bounce_queue_lifetime for the null sender)
//! ```
//!
//! As the delay is the age, retry times double without a counter. The deferred queue is looked at every `queue_run_delay`,
//! as Postfix does it, so that an attempt is made at the first run after it is due.

use std::collections::BTreeSet;

use ipc_messages::envelope::QueueId;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    pub minimal_backoff_time: u64,
    pub maximal_backoff_time: u64,
    pub maximal_queue_lifetime: u64,
    pub bounce_queue_lifetime: u64,
    pub queue_run_delay: u64,
}

impl Default for RetryPolicy {
    /// Postfix's defaults: 300 s, 4000 s, 5 d, 5 d, 300 s.
    fn default() -> RetryPolicy {
        RetryPolicy {
            minimal_backoff_time: 300,
            maximal_backoff_time: 4000,
            maximal_queue_lifetime: 5 * 86_400,
            bounce_queue_lifetime: 5 * 86_400,
            queue_run_delay: 300,
        }
    }
}

impl RetryPolicy {
    /// When a message that could not be delivered now is due again. A clock that went back makes its age 0.
    pub fn next_attempt(&self, now: u64, arrival: u64) -> u64 {
        let age = now.saturating_sub(arrival);
        // The maximum is applied first, as in Postfix: a minimum above it wins.
        now + age.min(self.maximal_backoff_time).max(self.minimal_backoff_time)
    }

    /// Whether a message that could not be delivered now goes back to its sender.
    pub fn is_expired(&self, now: u64, arrival: u64, null_sender: bool) -> bool {
        let lifetime = if null_sender { self.bounce_queue_lifetime } else { self.maximal_queue_lifetime };
        now >= arrival.saturating_add(lifetime)
    }
}

/// The deferred messages, by the time of their next attempt.
#[derive(Debug, Default)]
pub struct DeferredQueue {
    by_time: BTreeSet<(u64, QueueId)>,
    next_run: u64,
}

impl DeferredQueue {
    pub fn insert(&mut self, next_attempt: u64, id: QueueId) {
        self.by_time.insert((next_attempt, id));
    }

    /// Takes a message out that is held, deleted or tried at once; `next_attempt` is what it was put in with.
    pub fn remove(&mut self, next_attempt: u64, id: QueueId) {
        self.by_time.remove(&(next_attempt, id));
    }

    pub fn len(&self) -> usize {
        self.by_time.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_time.is_empty()
    }

    /// When [`DeferredQueue::run`] has something to do.
    pub fn next_run(&self) -> u64 {
        self.next_run
    }

    /// Takes out what is due, the longest waiting first, at most `room` messages. If there is more, the next run is at
    /// once, else after `queue_run_delay`; before that time a run does nothing.
    pub fn run(&mut self, now: u64, policy: &RetryPolicy, room: usize) -> Vec<QueueId> {
        if now < self.next_run {
            return Vec::new();
        }
        let due = self.take_due(now, room);
        let more = self.by_time.first().is_some_and(|(at, _)| *at <= now);
        self.next_run = if more { now } else { now + policy.queue_run_delay };
        due
    }

    /// Takes out the first messages, due or not: `postqueue -f`.
    pub fn flush(&mut self, room: usize) -> Vec<QueueId> {
        self.take_due(u64::MAX, room)
    }

    fn take_due(&mut self, now: u64, room: usize) -> Vec<QueueId> {
        let mut due = Vec::new();
        while due.len() < room && self.by_time.first().is_some_and(|(at, _)| *at <= now) {
            due.extend(self.by_time.pop_first().map(|(_, id)| id));
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_is_the_age_within_bounds() {
        let policy = RetryPolicy::default();
        let table = [(0, 300), (200, 500), (300, 600), (900, 1800), (3999, 7998), (4000, 8000), (100_000, 104_000)];
        for (age, expected) in table {
            assert_eq!(policy.next_attempt(1_000_000 + age, 1_000_000) - 1_000_000, expected, "age {age}");
        }
        assert_eq!(policy.next_attempt(1000, 2000), 1300, "the clock went back");
        let crossed = RetryPolicy { maximal_backoff_time: 100, ..policy };
        assert_eq!(crossed.next_attempt(5000, 0), 5300);
    }

    #[test]
    fn attempts_of_a_dead_destination_double() {
        let policy = RetryPolicy::default();
        let mut attempts = vec![0];
        while attempts.len() < 8 {
            attempts.push(policy.next_attempt(*attempts.last().unwrap(), 0));
        }
        assert_eq!(attempts, [0, 300, 600, 1200, 2400, 4800, 8800, 12_800]);
    }

    #[test]
    fn mail_and_bounces_expire_by_their_own_lifetime() {
        let policy = RetryPolicy { bounce_queue_lifetime: 0, ..RetryPolicy::default() };
        let day = 86_400;
        assert!(!policy.is_expired(5 * day - 1, 0, false));
        assert!(policy.is_expired(5 * day, 0, false));
        assert!(policy.is_expired(0, 0, true), "tried once");
    }

    #[test]
    fn runs_take_what_is_due_in_order_and_at_their_time() {
        let policy = RetryPolicy::default();
        let mut queue = DeferredQueue::default();
        let id = |number| QueueId::short(0, number);
        for (at, number) in [(500, 1), (400, 2), (400, 3), (2000, 4)] {
            queue.insert(at, id(number));
        }
        queue.remove(400, id(3));
        assert_eq!(queue.run(1000, &policy, 1), [id(2)]);
        assert_eq!(queue.next_run(), 1000, "there was no room for the other");
        assert_eq!(queue.run(1000, &policy, 9), [id(1)]);
        assert_eq!((queue.run(1299, &policy, 9), queue.next_run()), (vec![], 1300));
        assert_eq!(queue.run(2400, &policy, 9), [id(4)]);
        assert!(queue.is_empty());
        queue.insert(9000, id(5));
        assert_eq!(queue.flush(9), [id(5)]);
    }
}
