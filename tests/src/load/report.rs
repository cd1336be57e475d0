//! What a case found, as one line of JSON: names of our own and finite numbers, so nothing needs escaping.

use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};

/// Figures by name, in order.
pub struct Report {
    figures: Vec<(String, f64)>,
    began: Instant,
}

impl Report {
    /// Starts the clock.
    pub fn begin() -> Report {
        Report { figures: Vec::new(), began: Instant::now() }
    }

    /// Adds a figure.
    pub fn add(&mut self, name: &str, value: f64) {
        self.figures.push((name.to_owned(), value));
    }

    /// Adds the median and the 95th percentile of some durations, in milliseconds.
    pub fn spread(&mut self, name: &str, mut durations: Vec<Duration>) {
        durations.sort_unstable();
        for (suffix, percent) in [("median_ms", 50), ("p95_ms", 95)] {
            if let Some(value) = percentile(&durations, percent) {
                self.add(&format!("{name}_{suffix}"), value.as_secs_f64() * 1000.0);
            }
        }
    }

    /// Stops the clock: `count` things were done; how long they took, the rate, and this client's share of a core.
    pub fn finish(mut self, count: usize) -> Report {
        let seconds = self.began.elapsed().as_secs_f64();
        self.add("count", count as f64);
        self.add("seconds", seconds);
        self.add("per_second", count as f64 / seconds);
        if let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) {
            let (user, system) = (usage.user_time(), usage.system_time());
            let spent = (user.tv_sec() + system.tv_sec()) as f64 + (user.tv_usec() + system.tv_usec()) as f64 / 1e6;
            self.add("client_cores", spent / seconds);
        }
        self
    }

    /// The line.
    pub fn line(&self) -> String {
        let figures: Vec<String> = self.figures.iter().map(|(name, value)| format!("\"{name}\": {value:.6}")).collect();
        format!("{{{}}}", figures.join(", "))
    }
}

/// The value below which `percent` of the sorted durations lie (nearest rank).
fn percentile(sorted: &[Duration], percent: usize) -> Option<Duration> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_rank() {
        let some: Vec<Duration> = (1..=10).map(Duration::from_millis).collect();
        assert_eq!(percentile(&some, 50), Some(Duration::from_millis(5)));
        assert_eq!(percentile(&some, 95), Some(Duration::from_millis(10)));
        assert_eq!(percentile(&some[..1], 50), Some(Duration::from_millis(1)));
        assert_eq!(percentile(&[], 50), None);
    }

    #[test]
    fn a_line_is_json() {
        let mut report = Report::begin();
        report.add("messages", 2.5);
        report.spread("latency", vec![Duration::from_millis(3)]);
        assert_eq!(
            report.line(),
            r#"{"messages": 2.500000, "latency_median_ms": 3.000000, "latency_p95_ms": 3.000000}"#
        );
    }
}
