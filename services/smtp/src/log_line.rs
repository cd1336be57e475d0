//! The line that tells what became of a recipient, field for field as Postfix's delivery agents write it.

use std::fmt::{self, Write};

use ipc_messages::delivery::{Job, Outcome, Target, Verdict};
use proto_smtp::address::Address;

use crate::settings::Settings;

/// Digits of `delay=` that say something.
const SIGNIFICANT: u32 = 2;
const MILLION: u64 = 1_000_000;

/// When the stages of a delivery began, in microseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// The agent was handed the message.
    pub handed: u64,
    /// The connection could take it; `None` if there was never one.
    pub connected: Option<u64>,
    /// The recipient is finished.
    pub done: u64,
}

/// The line for one recipient. `uses` counts the messages of the connection, this one included.
pub fn line(settings: &Settings, job: &Job, target: &Target, outcome: &Outcome, uses: u64, times: Times) -> String {
    let mut line = String::with_capacity(256);
    // Writing to a String cannot fail.
    let _ = write(&mut line, settings, job, target, outcome, uses, times);
    line
}

fn write(
    line: &mut String,
    settings: &Settings,
    job: &Job,
    target: &Target,
    outcome: &Outcome,
    uses: u64,
    times: Times,
) -> fmt::Result {
    write!(line, "{}: to=<{}>", job.queue_id, shown(&target.address, settings))?;
    if let Some(original) = &target.original
        && !original.is_empty()
        && original.to_lowercase() != target.address.to_lowercase()
    {
        write!(line, ", orig_to=<{}>", shown(original, settings))?;
    }
    write!(line, ", relay={}", outcome.relay)?;
    if uses > 1 {
        write!(line, ", conn_use={uses}")?;
    }
    let (set_up, transfer) = match times.connected {
        Some(connected) => (connected.saturating_sub(times.handed), times.done.saturating_sub(connected)),
        None => (0, times.done.saturating_sub(times.handed)),
    };
    let stages = [
        times.done.saturating_sub(job.arrived),
        job.active.saturating_sub(job.arrived),
        times.handed.saturating_sub(job.active),
        set_up,
        transfer,
    ];
    for (before, stage) in [", delay=", ", delays=", "/", "/", "/"].into_iter().zip(stages) {
        line.push_str(before);
        delay(line, stage, settings.delay_digits)?;
    }
    let status = match outcome.verdict {
        Verdict::Sent => "sent",
        Verdict::Deferred => "deferred",
        Verdict::Bounced if settings.soft_bounce => "SOFTBOUNCE",
        Verdict::Bounced => "bounced",
    };
    let dsn = match outcome.dsn.strip_prefix('5') {
        Some(rest) if settings.soft_bounce => format!("4{rest}"),
        _ => outcome.dsn.clone(),
    };
    write!(line, ", dsn={dsn}, status={status} ({})", outcome.text)
}

/// An address as the log has it.
fn shown(address: &str, settings: &Settings) -> String {
    match Address::from_internal(address, true) {
        Ok(address) if settings.quote_addresses => address.quoted(),
        _ => address.to_string(),
    }
}

/// Appends a time in seconds: two significant digits, at most `digits` behind the point, none for large times, and no
/// trailing zeros.
fn delay(line: &mut String, micros: u64, digits: u32) -> fmt::Result {
    let (mut seconds, mut rest) = (micros / MILLION, micros % MILLION);
    let width = 10u64.pow(SIGNIFICANT);
    let mut unit = MILLION / 10u64.pow(digits.min(6));
    if unit < MILLION {
        if seconds > 0 {
            let mut n = 1;
            while seconds >= n && n <= width / 10 {
                n *= 10;
            }
            unit = MILLION / width * n;
        } else {
            while rest >= width * unit {
                unit *= 10;
            }
        }
    }
    if unit > 1 {
        rest += unit / 2;
        if rest >= MILLION {
            seconds += 1;
            rest -= MILLION;
        }
    }
    write!(line, "{seconds}")?;
    if rest >= unit {
        line.push('.');
        let mut place = MILLION / 10;
        while rest >= unit && place > 0 {
            line.push(char::from(b'0' + (rest / place) as u8));
            rest %= place;
            place /= 10;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::testing::{job, settings};

    #[test]
    fn delays_as_postfix_writes_them() {
        let table: [(u64, u32, &str); 18] = [
            (0, 2, "0"),
            (4_999, 2, "0"),
            (5_000, 2, "0.01"),
            (12_345, 2, "0.01"),
            (99_999, 2, "0.1"),
            (150_000, 2, "0.15"),
            (949_999, 2, "0.95"),
            (999_999, 2, "1"),
            (1_000_000, 2, "1"),
            (1_234_567, 2, "1.2"),
            (9_960_000, 2, "10"),
            (10_499_999, 2, "10"),
            (10_500_000, 2, "11"),
            (123_456_789, 2, "123"),
            (1_234_567, 0, "1"),
            (12_345, 6, "0.012"),
            (123, 6, "0.00012"),
            (7, 6, "0.000007"),
        ];
        for (micros, digits, text) in table {
            let mut line = String::new();
            delay(&mut line, micros, digits).unwrap();
            assert_eq!(line, text, "{micros} with {digits} digits");
        }
    }

    #[test]
    fn the_line_of_the_tutorial() {
        let job = job(1, &["info@example.jp"]);
        let mut target = job.targets[0].clone();
        target.original = Some("root@mail.example.jp".into());
        let outcome = Outcome {
            index: 0,
            verdict: Verdict::Sent,
            dsn: "2.0.0".into(),
            relay: "mail.example.jp[private/dovecot-lmtp]".into(),
            text: "250 2.0.0 <info@example.jp> xyz Saved".into(),
            remote_reply: None,
            remote_mta: None,
        };
        let handed = job.active + 10_000;
        let times = Times { handed, connected: Some(handed + 30_000), done: handed + 80_000 };
        assert_eq!(
            line(&settings(), &job, &target, &outcome, 1, times),
            "4F2A: to=<info@example.jp>, orig_to=<root@mail.example.jp>, relay=mail.example.jp[private/dovecot-lmtp], \
             delay=0.15, delays=0.06/0.01/0.03/0.05, dsn=2.0.0, status=sent (250 2.0.0 <info@example.jp> xyz Saved)"
        );
        let refused = Outcome { verdict: Verdict::Bounced, dsn: "5.1.1".into(), ..outcome.clone() };
        let soft = Settings { soft_bounce: true, ..settings() };
        for (settings, end) in
            [(settings(), ", dsn=5.1.1, status=bounced ("), (soft, ", dsn=4.1.1, status=SOFTBOUNCE (")]
        {
            assert!(line(&settings, &job, &target, &refused, 1, times).contains(end));
        }
        target.original = Some("INFO@example.jp".into());
        target.address = "in fo@example.jp".into();
        let none = Times { connected: None, ..times };
        assert_eq!(
            line(&settings(), &job, &target, &Outcome { relay: "none".into(), ..outcome }, 3, none),
            "4F2A: to=<\"in fo\"@example.jp>, orig_to=<INFO@example.jp>, relay=none, conn_use=3, delay=0.15, \
             delays=0.06/0.01/0/0.08, dsn=2.0.0, status=sent (250 2.0.0 <info@example.jp> xyz Saved)"
        );
    }
}
