//! Each parameter changes what becomes of messages: the same history under two settings.

use ipc_messages::bounce::{FromBounce, Kind, ToBounce};
use ipc_messages::delivery::{FromAgent, Verdict};
use ipc_messages::queue::QueueRequest;

use crate::core::testing::{Bench, agent, id, settings};

/// qmgr with an agent that takes all it may have.
fn bench(main_cf: &str) -> Bench {
    let mut bench = Bench::with(main_cf);
    bench.core.agent(agent(), FromAgent::Ready { transport: "lmtp".into(), window: 1000 }).unwrap();
    bench
}

/// So many messages of one recipient.
fn full(main_cf: &str, messages: u64) -> Bench {
    let mut bench = bench(main_cf);
    (1..=messages).for_each(|number| bench.arrive(number, 1));
    bench
}

/// After how many seconds a message that came at the start, and was deferred then, is tried again.
fn pause(main_cf: &str) -> u64 {
    let mut bench = full(main_cf, 1);
    bench.deliver(Verdict::Deferred, None);
    next_attempt(&mut bench)
}

/// Seconds since the start at the next attempt.
fn next_attempt(bench: &mut Bench) -> u64 {
    while bench.jobs.is_empty() {
        assert!(bench.time < 100_000, "it is never tried again");
        bench.wait(1);
    }
    bench.time
}

#[test]
fn minimal_backoff_time() {
    assert_eq!((pause("queue_run_delay = 1"), pause("queue_run_delay = 1\nminimal_backoff_time = 70")), (300, 70));
}

#[test]
fn maximal_backoff_time() {
    let second = |main_cf: &str| {
        let mut bench = full(&format!("queue_run_delay = 1\n{main_cf}"), 1);
        bench.wait(1000);
        bench.deliver(Verdict::Deferred, None);
        next_attempt(&mut bench)
    };
    assert_eq!((second(""), second("maximal_backoff_time = 400")), (2000, 1400));
}

#[test]
fn queue_run_delay() {
    let table = [("", 300), ("queue_run_delay = 40", 40), ("queue_run_delay = 7", 14)];
    for (main_cf, expected) in table {
        assert_eq!(pause(&format!("minimal_backoff_time = 10\n{main_cf}")), expected, "{main_cf}");
    }
}

#[test]
fn lifetimes() {
    let day = 86_400;
    for (main_cf, sender, expected) in [
        ("", "a@example.org", 5 * day),
        ("maximal_queue_lifetime = 1d\nbounce_queue_lifetime = 2d", "a@example.org", day),
        ("maximal_queue_lifetime = 1d\nbounce_queue_lifetime = 2d", "", 2 * day),
    ] {
        for (age, returned) in [(expected - 1, 0), (expected, 1)] {
            let mut bench = bench(main_cf);
            bench.arrive_from(1, sender);
            bench.wait(age);
            bench.deliver(Verdict::Deferred, None);
            assert_eq!(bench.logged("status=expired, returned to sender"), returned, "{main_cf} <{sender}> {age}");
        }
    }
}

#[test]
fn defer_transports() {
    let mut bench = full("defer_transports = lmtp", 1);
    assert!(bench.jobs.is_empty());
    assert_eq!(bench.logged("dsn=4.3.2, status=deferred (deferred transport)"), 1);
    assert_eq!(bench.listed()[0].queue, "deferred");
}

#[test]
fn transport_retry_time() {
    for (main_cf, expected) in [("", 60), ("transport_retry_time = 20", 20)] {
        let mut bench = bench(main_cf);
        bench.core.agent_down(agent());
        bench.arrive(1, 1);
        bench.wait(10);
        assert_eq!(bench.logged("connect to transport private/lmtp: Connection refused"), 1);
        let wakes = bench.wakes;
        for (seconds, tries) in [(expected - 1, 0), (1, 1)] {
            bench.wait(seconds);
            bench.arrive(10 + bench.time, 1);
            assert_eq!(bench.wakes - wakes, tries, "{main_cf} {}", bench.time);
        }
    }
}

#[test]
fn soft_bounce() {
    let mut hard = full("", 1);
    hard.deliver(Verdict::Bounced, None);
    assert!(!hard.bounces.is_empty() && hard.files("deferred").is_empty());

    let mut soft = full("soft_bounce = yes", 1);
    soft.deliver(Verdict::Bounced, None);
    assert!(soft.bounces.is_empty());
    assert_eq!(soft.listed()[0].recipients[0].1.as_deref(), Some("no such user"));
    assert_eq!(soft.files("deferred").len(), 1);
    let mut late = full("soft_bounce = yes\ndelay_warning_time = 1s", 1);
    late.wait(10);
    late.deliver(Verdict::Bounced, None);
    let Some(ToBounce::Recipients { reports, .. }) = late.bounces.get(1) else { panic!("{:?}", late.bounces) };
    assert_eq!((reports[0].outcome.verdict, &reports[0].outcome.dsn[..]), (Verdict::Deferred, "4.1.1"));
    soft.malformed = true;
    soft.arrive(2, 1);
    assert_eq!(soft.logged("dsn=4.1.3, status=SOFTBOUNCE (bad address syntax)"), 1);
    soft.wait(5 * 86_400);
    assert_eq!(soft.logged("returned to sender"), 2, "what is too old goes back all the same");
}

/// The notifications of delay that have been asked for.
fn warnings(bench: &Bench) -> Vec<(u32, u64)> {
    let warning = |message: &ToBounce| match message {
        ToBounce::Begin { id, kind: Kind::Delay { retry_until }, .. } => Some((*id, *retry_until)),
        _ => None,
    };
    bench.bounces.iter().filter_map(warning).collect()
}

#[test]
fn delay_warning_time() {
    let mut silent = full("", 1);
    silent.wait(100_000);
    silent.deliver(Verdict::Deferred, None);
    assert!(warnings(&silent).is_empty());

    let mut bench = full("delay_warning_time = 1h", 1);
    bench.wait(1000);
    bench.deliver(Verdict::Deferred, None);
    assert!(warnings(&bench).is_empty() && bench.files("deferred").len() == 1);
    bench.wait(2600);
    bench.deliver(Verdict::Deferred, None);
    let [(first, retry_until)] = warnings(&bench)[..] else { panic!("{:?}", bench.bounces) };
    assert_eq!(retry_until, crate::core::testing::START + 5 * 86_400 * 1_000_000);

    // It could not be queued: the next attempt asks again, and then nobody does.
    bench.core.told(FromBounce::Failed { id: first, reason: "no room".into() });
    bench.settle();
    bench.ask(QueueRequest::Flush);
    bench.deliver(Verdict::Deferred, None);
    let [_, (second, _)] = warnings(&bench)[..] else { panic!("{:?}", bench.bounces) };
    bench.core.told(FromBounce::Told { id: second, notification: None });
    bench.settle();
    let mut bench = bench.restart_with("delay_warning_time = 1h");
    for _ in 0..2 {
        bench.wait(10_000);
        bench.deliver(Verdict::Deferred, None);
    }
    assert!(warnings(&bench).is_empty(), "the log knows that the sender has been told");
}

#[test]
fn active_limits() {
    let active = |main_cf: &str| full(main_cf, 3).jobs.len();
    assert_eq!(active(""), 3);
    assert_eq!(active("qmgr_message_active_limit = 2"), 2);
    assert_eq!(active("qmgr_message_recipient_limit = 1"), 1);
}

#[test]
fn initial_destination_concurrency() {
    let first = |main_cf: &str| full(main_cf, 10).jobs.len();
    assert_eq!(first(""), 5);
    assert_eq!(first("initial_destination_concurrency = 2"), 2);
    assert_eq!(first("initial_destination_concurrency = 2\nlmtp_initial_destination_concurrency = 3"), 3);
}

/// How many deliveries to one destination run after so many that reached it.
fn window(main_cf: &str, delivered: usize) -> usize {
    let mut bench = full(main_cf, 120);
    (0..delivered).for_each(|_| bench.deliver(Verdict::Sent, None));
    bench.jobs.len()
}

#[test]
fn destination_concurrency_limit() {
    assert_eq!(window("", 60), 20);
    assert_eq!(window("default_destination_concurrency_limit = 8", 60), 8);
    assert_eq!(window("default_destination_concurrency_limit = 8\nlmtp_destination_concurrency_limit = 9", 60), 9);
}

#[test]
fn destination_concurrency_positive_feedback() {
    let positive = |scope: &str| format!("{scope}_destination_concurrency_positive_feedback = 0");
    assert_eq!([window("", 5), window(&positive("default"), 5), window(&positive("lmtp"), 5)], [10, 5, 5]);
}

/// How many deliveries run after one that did not reach its destination.
fn after_a_failure(main_cf: &str) -> usize {
    let mut bench = full(main_cf, 20);
    bench.deliver(Verdict::Deferred, Some("connection refused"));
    bench.jobs.len()
}

#[test]
fn destination_concurrency_negative_feedback() {
    let negative = |scope: &str| format!("{scope}_destination_concurrency_negative_feedback = 0");
    assert_eq!(after_a_failure(""), 4);
    assert_eq!([after_a_failure(&negative("default")), after_a_failure(&negative("lmtp"))], [5, 5]);
}

#[test]
fn destination_concurrency_failed_cohort_limit() {
    let suspended = |main_cf: &str| {
        let mut bench = full(main_cf, 20);
        for _ in 0..10 {
            if bench.jobs.is_empty() {
                break;
            }
            bench.deliver(Verdict::Deferred, Some("connection refused"));
        }
        bench.logged("delivery temporarily suspended: connection refused") > 0
    };
    assert!(suspended(""));
    assert!(!suspended("default_destination_concurrency_failed_cohort_limit = 0"));
    assert!(!suspended("lmtp_destination_concurrency_failed_cohort_limit = 100"));
}

#[test]
fn destination_recipient_limit() {
    let sizes = |main_cf: &str| {
        let mut bench = bench(main_cf);
        bench.arrive(1, 60);
        bench.jobs.iter().map(|job| job.targets.len()).collect::<Vec<_>>()
    };
    assert_eq!(sizes(""), [50, 10]);
    assert_eq!(sizes("default_destination_recipient_limit = 25"), [25, 25, 10]);
    assert_eq!(sizes("default_destination_recipient_limit = 25\nlmtp_destination_recipient_limit = 0"), [60]);
}

/// Deliveries of two messages for one destination and two for another: how many run at once, and the seconds from the end of
/// all that ran at first to the start of the next.
fn pace(main_cf: &str) -> (usize, u64) {
    let mut bench = bench(&format!("lmtp_destination_concurrency_limit = 1\n{main_cf}"));
    for number in 1..=4 {
        bench.nexthop = format!("unix:{}", number % 2);
        bench.arrive(number, 1);
    }
    let at_once = bench.jobs.len();
    (0..at_once).for_each(|_| bench.deliver(Verdict::Sent, None));
    (at_once, next_attempt(&mut bench))
}

#[test]
fn rate_delays() {
    assert_eq!(pace(""), (2, 0));
    assert_eq!(pace("default_destination_rate_delay = 5"), (2, 5));
    assert_eq!(pace("lmtp_destination_rate_delay = 6"), (2, 6));
    assert_eq!(pace("default_transport_rate_delay = 7"), (1, 7));
    assert_eq!(pace("lmtp_transport_rate_delay = 8"), (1, 8));
}

/// A message of 40 deliveries runs, one at a time, when one of `small` comes: how many of the large one come before it.
fn overtaken(main_cf: &str, small: usize) -> usize {
    let serial = "lmtp_destination_concurrency_limit = 1\nlmtp_destination_recipient_limit = 2";
    let mut bench = bench(&format!("{serial}\n{main_cf}"));
    bench.arrive(1, 80);
    bench.arrive(2, 2 * small);
    let mut before = 0;
    while bench.jobs[0].queue_id == id(1).as_str() {
        bench.deliver(Verdict::Sent, None);
        before += 1;
    }
    before
}

/// Each for all transports, and for one. The small message of 5 deliveries takes the turn once a loan of 3 slots and one for each
/// 5 deliveries make half of 5.
#[test]
fn preemption() {
    assert_eq!((overtaken("", 5), overtaken("", 7)), (1, 5));
    for scope in ["default", "lmtp"] {
        let with = |suffix: &str, value: u64, small| overtaken(&format!("{scope}_{suffix} = {value}"), small);
        assert_eq!(with("delivery_slot_cost", 0, 5), 40);
        assert_eq!(with("delivery_slot_cost", 2, 7), 2);
        assert_eq!(with("delivery_slot_loan", 0, 5), 15);
        assert_eq!(with("delivery_slot_discount", 100, 5), 10);
        assert_eq!(with("delivery_slot_discount", 0, 7), 1);
        let minimum = format!("{scope}_minimum_delivery_slots = 9");
        assert_eq!(overtaken(&minimum, 5), 40);
    }
}

#[test]
fn a_reload_changes_what_is_under_way() {
    let mut bench = full("", 120);
    (0..60).for_each(|_| bench.deliver(Verdict::Sent, None));
    assert_eq!(bench.jobs.len(), 20);
    bench.core.reload(settings("lmtp_destination_concurrency_limit = 3\nqmgr_message_active_limit = 60"));
    (0..20).for_each(|_| bench.deliver(Verdict::Sent, None));
    assert_eq!(bench.jobs.len(), 3);
    (200..260).for_each(|number| bench.arrive(number, 1));
    assert_eq!(bench.files("incoming").len(), 40, "of 100 messages");
}
