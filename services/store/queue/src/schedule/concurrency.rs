//! How many deliveries to one destination may run at the same time, and when a destination counts as dead.
//!
//! Postfix 2.5's algorithm (SCHEDULER_README, "Concurrency scheduling"). With the window N, after a delivery that reached
//! the destination:
//!
//! ```text
//! fail_cohorts = 0
//! if N < limit and N < busy + initial:
//!     success += g(N);  while success >= 1 - g/2: N += 1, success -= 1, failure = 0;  N = min(N, limit)
//! ```
//!
//! and after one that did not (no connection, no handshake):
//!
//! ```text
//! fail_cohorts += 1/N;  if fail_cohorts >= failed_cohort_limit: dead
//! failure -= f(N);  while failure < f/2: N -= 1, failure += 1, success = 0;  N = max(N, 1)
//! ```
//!
//! So the window grows at the end of 1/g deliveries and shrinks at the start of 1/f failures. The halves are in Postfix's
//! code (`qmgr_queue.c`), against rounding, and not in its essay; with f = 1 they make the first failure cost two.

use std::str::FromStr;

/// g or f: `default_destination_concurrency_positive_feedback` and `…_negative_feedback`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Feedback {
    /// `1`, `0.25`, `1/8`
    Fixed(f64),
    /// `1/concurrency`: x/N.
    PerWindow(f64),
}

/// Not `number`, `number/number` or `number/concurrency` with a value from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadFeedback;

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ConcurrencyPolicy {
    /// `initial_destination_concurrency`; the limit, if that is lower.
    pub initial: usize,
    /// `transport_destination_concurrency_limit`; 0 for none.
    pub limit: usize,
    pub positive: Feedback,
    pub negative: Feedback,
    /// `transport_destination_concurrency_failed_cohort_limit`; 0 for never dead.
    pub failed_cohort_limit: f64,
}

/// The window of one destination.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Concurrency {
    window: usize,
    success: f64,
    failure: f64,
    fail_cohorts: f64,
}

/// What a failure makes of a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    Alive,
    Dead,
}

impl Default for ConcurrencyPolicy {
    /// Postfix's defaults.
    fn default() -> ConcurrencyPolicy {
        let feedback = Feedback::Fixed(1.0);
        ConcurrencyPolicy { initial: 5, limit: 20, positive: feedback, negative: feedback, failed_cohort_limit: 1.0 }
    }
}

impl ConcurrencyPolicy {
    fn first_window(&self) -> usize {
        let limit = if self.limit == 0 { usize::MAX } else { self.limit };
        self.initial.clamp(1, limit)
    }
}

impl Feedback {
    fn at(self, window: usize) -> f64 {
        match self {
            Feedback::Fixed(value) => value,
            Feedback::PerWindow(value) => value / window as f64,
        }
    }
}

impl FromStr for Feedback {
    type Err = BadFeedback;

    fn from_str(text: &str) -> Result<Feedback, BadFeedback> {
        let number = |text: &str| text.trim().parse::<f64>().map_err(|_| BadFeedback);
        let feedback = match text.split_once('/') {
            None => Feedback::Fixed(number(text)?),
            Some((value, below)) if below.trim() == "concurrency" => Feedback::PerWindow(number(value)?),
            Some((value, below)) => Feedback::Fixed(number(value)? / number(below)?),
        };
        let (Feedback::Fixed(value) | Feedback::PerWindow(value)) = feedback;
        if (0.0..=1.0).contains(&value) { Ok(feedback) } else { Err(BadFeedback) }
    }
}

impl Concurrency {
    pub fn new(policy: &ConcurrencyPolicy) -> Concurrency {
        Concurrency { window: policy.first_window(), success: 0.0, failure: 0.0, fail_cohorts: 0.0 }
    }

    /// The limit is another one.
    pub fn bound(&mut self, policy: &ConcurrencyPolicy) {
        if policy.limit > 0 {
            self.window = self.window.min(policy.limit);
        }
    }

    /// How many deliveries may run.
    pub fn window(&self) -> usize {
        self.window
    }

    /// A delivery reached the destination. `busy` are the running ones, this one included.
    pub fn reached(&mut self, policy: &ConcurrencyPolicy, busy: usize) {
        self.fail_cohorts = 0.0;
        let may_grow = policy.limit == 0 || self.window < policy.limit;
        if !may_grow || self.window >= busy + policy.first_window() {
            return;
        }
        let feedback = policy.positive.at(self.window);
        self.success += feedback;
        while feedback > 0.0 && self.success + feedback / 2.0 >= 1.0 {
            self.window += 1;
            self.success -= 1.0;
            self.failure = 0.0;
        }
        if policy.limit > 0 {
            self.window = self.window.min(policy.limit);
        }
    }

    /// A delivery did not reach the destination.
    pub fn failed(&mut self, policy: &ConcurrencyPolicy) -> Health {
        self.fail_cohorts += 1.0 / self.window as f64;
        if policy.failed_cohort_limit > 0.0 && self.fail_cohorts >= policy.failed_cohort_limit {
            return Health::Dead;
        }
        let feedback = policy.negative.at(self.window);
        self.failure -= feedback;
        while self.failure - feedback / 2.0 < 0.0 && feedback > 0.0 {
            self.window = self.window.saturating_sub(1);
            self.success = 0.0;
            self.failure += 1.0;
        }
        self.window = self.window.max(1);
        Health::Alive
    }

    /// A dead destination gets another chance: with what is still running there, or as a new one.
    pub fn revive(&mut self, policy: &ConcurrencyPolicy, busy: usize) {
        *self = Concurrency::new(policy);
        if busy > 0 {
            self.window = busy;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The windows after each delivery; `+` reached, `-` failed, `!` dead. All of the window is in use.
    fn windows(policy: &ConcurrencyPolicy, deliveries: &str) -> Vec<usize> {
        let mut concurrency = Concurrency::new(policy);
        let mut windows = Vec::new();
        for delivery in deliveries.chars() {
            match delivery {
                '+' => concurrency.reached(policy, concurrency.window()),
                '-' => assert_eq!(concurrency.failed(policy), Health::Alive),
                _ => assert_eq!(concurrency.failed(policy), Health::Dead),
            }
            windows.push(concurrency.window());
        }
        windows
    }

    #[test]
    fn the_default_grows_by_one_and_dies_after_a_cohort() {
        let policy = ConcurrencyPolicy::default();
        assert_eq!(windows(&policy, "+++"), [6, 7, 8]);
        assert_eq!(windows(&policy, &"+".repeat(30))[29], 20);
        // 1/5 + 1/3 + 1/2 is more than one cohort.
        assert_eq!(windows(&policy, "--!"), [3, 2, 2]);
        assert_eq!(windows(&policy, "--+-!"), [3, 2, 3, 1, 1], "a success starts a new cohort");
    }

    #[test]
    fn smaller_feedback_grows_late_and_shrinks_early() {
        let quarter = Feedback::Fixed(0.25);
        let policy = ConcurrencyPolicy {
            positive: quarter,
            negative: quarter,
            failed_cohort_limit: 10.0,
            ..ConcurrencyPolicy::default()
        };
        assert_eq!(windows(&policy, "++++++++"), [5, 5, 5, 6, 6, 6, 6, 7]);
        assert_eq!(windows(&policy, "--------"), [4, 4, 4, 3, 3, 3, 3, 2]);
        assert_eq!(windows(&policy, "++-++++"), [5, 5, 4, 4, 4, 4, 5], "a shrinking window starts to grow anew");
        let per_window = ConcurrencyPolicy { positive: Feedback::PerWindow(1.0), ..policy };
        assert_eq!(windows(&per_window, "+++++"), [5, 5, 5, 5, 6], "one cohort, one more");
    }

    #[test]
    fn a_limit_below_the_initial_window_wins() {
        let policy = ConcurrencyPolicy { limit: 2, ..ConcurrencyPolicy::default() };
        assert_eq!(Concurrency::new(&policy).window(), 2);
        assert_eq!(windows(&policy, "+++"), [2, 2, 2]);
    }

    #[test]
    fn an_unused_window_does_not_grow() {
        let policy = ConcurrencyPolicy::default();
        let mut concurrency = Concurrency::new(&policy);
        for _ in 0..10 {
            concurrency.reached(&policy, 1);
        }
        assert_eq!(concurrency.window(), 6, "busy + initial");
    }

    #[test]
    fn limits_of_zero_mean_none() {
        let policy = ConcurrencyPolicy { limit: 0, failed_cohort_limit: 0.0, ..ConcurrencyPolicy::default() };
        assert_eq!(windows(&policy, &"+".repeat(30))[29], 35);
        assert_eq!(windows(&policy, &"-".repeat(30))[29], 1);
        let still = ConcurrencyPolicy { positive: Feedback::Fixed(0.0), negative: Feedback::Fixed(0.0), ..policy };
        assert_eq!(windows(&still, "+-+-")[3], 5);
    }

    #[test]
    fn the_dead_come_back_with_what_runs() {
        let policy = ConcurrencyPolicy::default();
        let mut concurrency = Concurrency::new(&policy);
        while concurrency.failed(&policy) == Health::Alive {}
        concurrency.revive(&policy, 0);
        assert_eq!(concurrency.window(), 5);
        concurrency.revive(&policy, 3);
        assert_eq!(concurrency.window(), 3);
    }

    #[test]
    fn feedback_is_written_as_in_main_cf() {
        let table = [
            ("1", Ok(Feedback::Fixed(1.0))),
            ("1/4", Ok(Feedback::Fixed(0.25))),
            ("0.5", Ok(Feedback::Fixed(0.5))),
            ("1/concurrency", Ok(Feedback::PerWindow(1.0))),
            ("1 / 8", Ok(Feedback::Fixed(0.125))),
            ("2", Err(BadFeedback)),
            ("1/0", Err(BadFeedback)),
            ("-1", Err(BadFeedback)),
            ("NaN", Err(BadFeedback)),
            ("1/2/3", Err(BadFeedback)),
            ("", Err(BadFeedback)),
        ];
        for (text, expected) in table {
            assert_eq!(text.parse::<Feedback>(), expected, "{text:?}");
        }
    }
}
