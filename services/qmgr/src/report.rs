//! Log lines about recipients that no agent has tried, as Postfix's `error` and `retry` write them.

use ipc_messages::delivery::{Outcome, Target};

use crate::core::Now;

/// `QID: to=<…>, orig_to=<…>, relay=none, delay=…, delays=a/b/0/0, dsn=…, status=… (…)`. `arrival` and `active` are in
/// microseconds since 1970.
pub fn untried(
    queue_id: &str,
    target: &Target,
    outcome: &Outcome,
    status: &str,
    (arrival, active): (u64, u64),
    now: Now,
) -> String {
    let original = target.original.as_ref().map_or(String::new(), |original| format!(" orig_to=<{original}>,"));
    let (intake, queued) = (active.saturating_sub(arrival), now.micros.saturating_sub(active));
    format!(
        "{queue_id}: to=<{}>,{original} relay={}, delay={}, delays={}/{}/0/0, dsn={}, status={status} ({})",
        target.address,
        outcome.relay,
        seconds(now.micros.saturating_sub(arrival)),
        seconds(intake),
        seconds(queued),
        outcome.dsn,
        outcome.text
    )
}

/// Microseconds as seconds with two digits that count, at most two of them behind the point (`delay_logging_resolution_limit`).
fn seconds(micros: u64) -> String {
    let decimals = match micros {
        0..=999_999 => 2,
        1_000_000..=9_999_999 => 1,
        _ => 0,
    };
    let text = format!("{:.decimals$}", micros as f64 / 1e6);
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_string() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_have_two_digits_that_count() {
        let table = [(0, "0"), (4_000, "0"), (20_000, "0.02"), (250_000, "0.25"), (1_000_000, "1"), (3_140_000, "3.1")];
        for (micros, expected) in table.into_iter().chain([(42_400_000, "42"), (3_600_000_000, "3600")]) {
            assert_eq!(seconds(micros), expected);
        }
    }
}
