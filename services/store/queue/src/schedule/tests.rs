use super::*;

fn id(number: u64) -> QueueId {
    QueueId::short(0, number)
}

fn scheduler(policy: Policy) -> Scheduler {
    let mut scheduler = Scheduler::default();
    scheduler.add_transport("smtp", policy);
    scheduler
}

/// One recipient for each delivery, and no limit on destinations: only the order counts.
fn one_by_one() -> Policy {
    let concurrency = ConcurrencyPolicy { initial: 1000, limit: 0, ..ConcurrencyPolicy::default() };
    Policy { concurrency, recipient_limit: 1, in_flight: 1, ..Policy::default() }
}

fn enqueue(scheduler: &mut Scheduler, now: u64, message: u64, destination: &str, count: u32) {
    let recipients: Vec<u32> = (0..count).collect();
    scheduler.enqueue(now, id(message), "smtp", destination, &recipients).unwrap();
}

/// Delivers one by one, and returns the numbers of the messages in the order of their deliveries.
fn order(scheduler: &mut Scheduler, now: u64) -> Vec<u64> {
    std::iter::from_fn(|| {
        let delivery = scheduler.next(now)?;
        assert_eq!(scheduler.finish(now, delivery.key, Verdict::Reached), []);
        Some(delivery.batch.message.number())
    })
    .collect()
}

#[test]
fn messages_get_their_turn_in_order() {
    let mut scheduler = scheduler(one_by_one());
    for message in 1..=3 {
        enqueue(&mut scheduler, message, message, "example.net", 2);
    }
    assert_eq!(order(&mut scheduler, 10), [1, 1, 2, 2, 3, 3]);
    assert_eq!(scheduler.next(10), None);
}

#[test]
fn recipients_of_one_destination_travel_together() {
    let mut scheduler = scheduler(Policy { recipient_limit: 2, ..Policy::default() });
    enqueue(&mut scheduler, 0, 1, "example.net", 5);
    let batches: Vec<Vec<u32>> =
        std::iter::from_fn(|| scheduler.next(0)).map(|delivery| delivery.batch.recipients).collect();
    assert_eq!(batches, [vec![0, 1], vec![2, 3], vec![4]]);
}

#[test]
fn a_small_message_overtakes_a_big_one() {
    let mut scheduler = scheduler(one_by_one());
    enqueue(&mut scheduler, 0, 1, "example.net", 1000);
    enqueue(&mut scheduler, 0, 2, "example.org", 1);
    let order = order(&mut scheduler, 1);
    let position = order.iter().position(|message| *message == 2).unwrap();
    assert_eq!(position, 1, "on loan, as soon as the big one has had one delivery");
}

#[test]
fn a_bigger_message_waits_until_enough_slots_are_earned() {
    let mut scheduler = scheduler(one_by_one());
    enqueue(&mut scheduler, 0, 1, "example.net", 1000);
    enqueue(&mut scheduler, 0, 2, "example.org", 20);
    let order = order(&mut scheduler, 1);
    // available / 5 + 3 >= 20 * 50 %
    assert_eq!(order.iter().position(|message| *message == 2), Some(35));
    assert!(order[35..55].iter().all(|message| *message == 2), "once it has the turn it keeps it");
}

#[test]
fn what_cannot_pay_does_not_preempt() {
    // 1: too few deliveries to be preempted; 2: more than the first can earn slots for.
    for (first, second) in [(14, 1), (1000, 201)] {
        let mut scheduler = scheduler(one_by_one());
        enqueue(&mut scheduler, 0, 1, "example.net", first);
        enqueue(&mut scheduler, 0, 2, "example.org", second);
        assert!(order(&mut scheduler, 1)[..first as usize].iter().all(|message| *message == 1));
    }
    let mut scheduler = scheduler(Policy { slots: SlotPolicy { cost: 1, ..SlotPolicy::default() }, ..one_by_one() });
    enqueue(&mut scheduler, 0, 1, "example.net", 100);
    enqueue(&mut scheduler, 0, 2, "example.org", 1);
    assert_eq!(order(&mut scheduler, 1)[100], 2, "a cost of one disables preemption");
}

/// However many small messages there are, the big one takes at most cost / (cost - 1) times as long.
#[test]
fn the_delay_of_a_big_message_is_bounded() {
    let mut scheduler = scheduler(one_by_one());
    enqueue(&mut scheduler, 0, 1, "example.net", 1000);
    for message in 2..2000 {
        enqueue(
            &mut scheduler,
            message / 100,
            message,
            &format!("{}.example.org", message % 7),
            1 + message as u32 % 4,
        );
    }
    let order = order(&mut scheduler, 30);
    let last = order.iter().rposition(|message| *message == 1).unwrap();
    assert!(last <= 1000 * 5 / 4 + 10, "{last}");
    assert!(last > 1150, "the others had their part: {last}");
    assert_eq!(order.len(), 1000 + (2..2000).map(|message| 1 + message % 4).sum::<usize>());
}

#[test]
fn the_best_candidate_is_not_the_first_one() {
    let mut scheduler = scheduler(one_by_one());
    enqueue(&mut scheduler, 0, 1, "example.net", 1000);
    enqueue(&mut scheduler, 0, 2, "example.org", 15);
    enqueue(&mut scheduler, 5, 3, "example.org", 1);
    assert_eq!(order(&mut scheduler, 10)[..3], [1, 3, 1], "6/1 is more than 11/15");
}

#[test]
fn slots_that_were_not_used_come_back() {
    let mut scheduler = scheduler(one_by_one());
    let deliver = |scheduler: &mut Scheduler, count: usize| {
        for _ in 0..count {
            let delivery = scheduler.next(1).unwrap();
            scheduler.finish(1, delivery.key, Verdict::Reached);
        }
    };
    enqueue(&mut scheduler, 0, 1, "example.net", 1000);
    enqueue(&mut scheduler, 0, 2, "example.org", 20);
    deliver(&mut scheduler, 40);
    assert_eq!(scheduler.cancel(id(2)).len(), 15, "five are delivered");
    enqueue(&mut scheduler, 0, 3, "example.org", 20);
    // 35 earned, 20 * 5 taken, 15 * 5 given back: 10, and 35 are needed.
    assert_eq!(order(&mut scheduler, 1).iter().position(|message| *message == 3), Some(25));
}

#[test]
fn more_recipients_of_a_blocked_message_go_at_once() {
    let concurrency = ConcurrencyPolicy { initial: 1, limit: 1, ..ConcurrencyPolicy::default() };
    let mut scheduler = scheduler(Policy { concurrency, recipient_limit: 1, ..Policy::default() });
    enqueue(&mut scheduler, 0, 1, "slow.example", 2);
    enqueue(&mut scheduler, 0, 2, "slow.example", 1);
    enqueue(&mut scheduler, 0, 3, "other.example", 1);
    assert_eq!(
        [scheduler.next(0).is_some(), scheduler.next(0).is_some(), scheduler.next(0).is_some()],
        [true, true, false]
    );
    enqueue(&mut scheduler, 0, 1, "fast.example", 1);
    assert_eq!(&*scheduler.next(0).unwrap().batch.destination, "fast.example");
}

#[test]
fn a_message_that_comes_back_gets_its_old_place() {
    let mut scheduler = scheduler(Policy { in_flight: 10, ..one_by_one() });
    enqueue(&mut scheduler, 0, 1, "a.example", 1);
    enqueue(&mut scheduler, 5, 2, "b.example", 5);
    let messages = [scheduler.next(6).unwrap(), scheduler.next(6).unwrap()].map(|next| next.batch.message.number());
    assert_eq!(messages, [1, 2]);
    enqueue(&mut scheduler, 6, 1, "c.example", 1);
    assert_eq!(scheduler.next(6).unwrap().batch.message, id(1));
}

#[test]
fn destinations_of_one_message_take_turns() {
    let mut scheduler = scheduler(one_by_one());
    enqueue(&mut scheduler, 0, 1, "a.example", 2);
    enqueue(&mut scheduler, 0, 1, "b.example", 2);
    let destinations: Vec<_> = std::iter::from_fn(|| {
        let delivery = scheduler.next(0)?;
        scheduler.finish(0, delivery.key, Verdict::Reached);
        Some(delivery.batch.destination.to_string())
    })
    .collect();
    assert_eq!(destinations, ["a.example", "b.example", "a.example", "b.example"]);
}

#[test]
fn a_full_destination_blocks_nobody_else() {
    let concurrency = ConcurrencyPolicy { initial: 2, limit: 2, ..ConcurrencyPolicy::default() };
    let mut scheduler = scheduler(Policy { concurrency, recipient_limit: 1, ..Policy::default() });
    enqueue(&mut scheduler, 0, 1, "slow.example", 4);
    enqueue(&mut scheduler, 0, 2, "fast.example", 1);
    let started: Vec<Delivery> = std::iter::from_fn(|| scheduler.next(0)).collect();
    let messages: Vec<u64> = started.iter().map(|delivery| delivery.batch.message.number()).collect();
    assert_eq!(messages, [1, 1, 2]);
    scheduler.finish(1, started[2].key, Verdict::Reached);
    assert_eq!(scheduler.next(1), None);
    scheduler.finish(1, started[0].key, Verdict::Reached);
    assert_eq!(scheduler.next(1).unwrap().batch.recipients, [2], "there is room again");
    assert_eq!(scheduler.next(1), None);
}

#[test]
fn no_more_is_in_flight_than_the_agents_take() {
    let mut scheduler = scheduler(Policy { in_flight: 3, recipient_limit: 1, ..Policy::default() });
    enqueue(&mut scheduler, 0, 1, "example.net", 5);
    let started: Vec<Delivery> = std::iter::from_fn(|| scheduler.next(0)).collect();
    assert_eq!(started.len(), 3);
    scheduler.finish(0, started[1].key, Verdict::Reached);
    assert!(scheduler.next(0).is_some() && scheduler.next(0).is_none());
}

#[test]
fn a_dead_destination_gives_up_what_waits_and_comes_back() {
    let concurrency = ConcurrencyPolicy { initial: 2, ..ConcurrencyPolicy::default() };
    let mut scheduler = scheduler(Policy { concurrency, recipient_limit: 1, ..Policy::default() });
    enqueue(&mut scheduler, 100, 1, "dead.example", 3);
    enqueue(&mut scheduler, 100, 2, "dead.example", 1);
    enqueue(&mut scheduler, 100, 3, "alive.example", 1);
    let started: Vec<Delivery> = std::iter::from_fn(|| scheduler.next(100)).collect();
    assert_eq!(started.len(), 3);
    assert_eq!(scheduler.finish(130, started[0].key, Verdict::Unreachable), []);
    let given_up = scheduler.finish(130, started[1].key, Verdict::Unreachable);
    let given_up: Vec<(u64, Vec<u32>)> =
        given_up.into_iter().map(|batch| (batch.message.number(), batch.recipients)).collect();
    assert_eq!(given_up, [(1, vec![2]), (2, vec![0])]);

    let dead = Err(Dead { until: 430 });
    assert_eq!(scheduler.enqueue(429, id(4), "smtp", "dead.example", &[0]), dead);
    assert_eq!(scheduler.next_wake(), Some(430));
    assert_eq!(scheduler.enqueue(430, id(4), "smtp", "dead.example", &[0]), Ok(()));
    assert_eq!(scheduler.next(430).unwrap().batch.message, id(4));
    assert_eq!(scheduler.next_wake(), None);
}

#[test]
fn a_late_success_revives_a_destination() {
    let concurrency = ConcurrencyPolicy { initial: 3, ..ConcurrencyPolicy::default() };
    let mut scheduler = scheduler(Policy { concurrency, recipient_limit: 1, ..Policy::default() });
    enqueue(&mut scheduler, 0, 1, "example.net", 3);
    let started: Vec<Delivery> = std::iter::from_fn(|| scheduler.next(0)).collect();
    scheduler.finish(0, started[0].key, Verdict::Unreachable);
    scheduler.finish(0, started[1].key, Verdict::Unreachable);
    assert!(scheduler.enqueue(0, id(2), "smtp", "example.net", &[0]).is_err());
    assert_eq!(scheduler.finish(0, started[2].key, Verdict::Reached), []);
    assert!(scheduler.enqueue(0, id(2), "smtp", "example.net", &[0]).is_ok());
    assert_eq!(scheduler.next(0).unwrap().batch.message, id(2));
}

#[test]
fn a_rate_delay_makes_deliveries_go_one_by_one() {
    let mut scheduler = scheduler(Policy { rate_delay: 10, recipient_limit: 1, ..Policy::default() });
    enqueue(&mut scheduler, 0, 1, "example.net", 4);
    for (recipient, now) in [(0, 0), (1, 15), (2, 30)] {
        scheduler.wake(now);
        let delivery = scheduler.next(now).unwrap();
        assert_eq!((delivery.batch.recipients, scheduler.next(now)), (vec![recipient], None));
        scheduler.finish(now + 5, delivery.key, Verdict::Reached);
        assert_eq!((scheduler.next(now + 5), scheduler.next_wake()), (None, Some(now + 15)));
        scheduler.wake(now + 14);
        assert_eq!(scheduler.next(now + 14), None);
    }
}

#[test]
fn a_broken_transport_is_left_alone_and_the_others_go_on() {
    let mut scheduler = scheduler(Policy { recipient_limit: 1, ..Policy::default() });
    scheduler.add_transport("lmtp", Policy::default());
    enqueue(&mut scheduler, 0, 1, "example.net", 2);
    scheduler.enqueue(0, id(2), "lmtp", "store", &[0]).unwrap();
    let first = scheduler.next(0).unwrap();
    assert_eq!(scheduler.suspend_transport("smtp", 60).len(), 1);
    assert_eq!(&*scheduler.next(0).unwrap().transport, "lmtp");
    scheduler.finish(0, first.key, Verdict::Reached);
    assert_eq!(scheduler.enqueue(59, id(3), "smtp", "example.net", &[0]), Err(Dead { until: 60 }));
    scheduler.wake(60);
    assert_eq!(scheduler.enqueue(60, id(3), "smtp", "example.net", &[0]), Ok(()));
}

#[test]
fn transports_take_turns() {
    let mut scheduler = scheduler(Policy { recipient_limit: 1, ..Policy::default() });
    scheduler.add_transport("lmtp", Policy { recipient_limit: 1, ..Policy::default() });
    enqueue(&mut scheduler, 0, 1, "example.net", 2);
    scheduler.enqueue(0, id(1), "lmtp", "store", &[2, 3]).unwrap();
    let turns: Vec<_> = std::iter::from_fn(|| scheduler.next(0)).map(|delivery| delivery.transport).collect();
    assert_eq!(turns.iter().map(|name| &**name).collect::<Vec<_>>(), ["smtp", "lmtp", "smtp", "lmtp"]);
}

#[test]
fn a_cancelled_message_leaves_the_others() {
    let mut scheduler = scheduler(one_by_one());
    enqueue(&mut scheduler, 0, 1, "example.net", 3);
    enqueue(&mut scheduler, 0, 2, "example.net", 1);
    let first = scheduler.next(0).unwrap();
    assert_eq!(scheduler.cancel(id(1)).len(), 2);
    scheduler.finish(0, first.key, Verdict::Reached);
    assert_eq!(order(&mut scheduler, 0), [2]);
}

/// A deterministic storm of everything: each recipient that goes in comes out once, and nothing gets stuck.
#[test]
fn whatever_happens_every_recipient_comes_out_once() {
    for seed in 0..40u64 {
        let mut random = seed;
        let mut below = |bound: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % bound
        };
        let mut scheduler = scheduler(Policy { recipient_limit: 2, in_flight: 20, ..Policy::default() });
        let (mut given, mut taken) = (0, 0);
        let mut under_way: Vec<Delivery> = Vec::new();
        let mut message = 0;
        for now in 0..600 {
            scheduler.wake(now);
            match below(8) {
                0..=2 => {
                    message += 1;
                    for destination in 0..1 + below(3) {
                        let recipients: Vec<u32> = (0..1 + below(40) as u32).collect();
                        let destination = format!("{}.example", destination + below(4));
                        let count = recipients.len();
                        given += count;
                        if scheduler.enqueue(now, id(message), "smtp", &destination, &recipients).is_err() {
                            taken += count;
                        }
                    }
                }
                3 if message > 0 => {
                    let gone = scheduler.cancel(id(1 + below(message)));
                    taken += gone.iter().map(|batch| batch.recipients.len()).sum::<usize>();
                }
                _ => {}
            }
            under_way.extend(std::iter::from_fn(|| scheduler.next(now)));
            for _ in 0..below(8) {
                if under_way.is_empty() {
                    break;
                }
                let delivery = under_way.swap_remove(below(under_way.len() as u64) as usize);
                taken += delivery.batch.recipients.len();
                let verdict = if below(3) == 0 { Verdict::Unreachable } else { Verdict::Reached };
                let gone = scheduler.finish(now, delivery.key, verdict);
                taken += gone.iter().map(|batch| batch.recipients.len()).sum::<usize>();
            }
        }
        loop {
            scheduler.wake(10_000);
            under_way.extend(std::iter::from_fn(|| scheduler.next(10_000)));
            let Some(delivery) = under_way.pop() else { break };
            taken += delivery.batch.recipients.len();
            assert_eq!(scheduler.finish(10_000, delivery.key, Verdict::Reached), []);
        }
        assert_eq!(given, taken, "seed {seed}");
    }
}

#[test]
#[ignore = "measures: run it in release mode with --nocapture"]
fn rate() {
    let report = |what: &str, count: usize, started: std::time::Instant| {
        let each = started.elapsed().as_secs_f64() * 1e6 / count as f64;
        println!("{what}: {each:.2} us for each of {count} deliveries");
    };
    let drain = |scheduler: &mut Scheduler| {
        let mut under_way = VecDeque::new();
        let mut count = 0;
        loop {
            under_way.extend(std::iter::from_fn(|| scheduler.next(0)));
            let Some(delivery) = under_way.pop_front() else { break count };
            scheduler.finish(0, delivery.key, Verdict::Reached);
            count += 1;
        }
    };
    let policy = Policy { recipient_limit: 1, ..Policy::default() };

    let mut one = scheduler(policy);
    let started = std::time::Instant::now();
    (0..20_000).for_each(|message| enqueue(&mut one, 0, message, "example.net", 1));
    report("20,000 messages, one destination", drain(&mut one), started);

    let mut many = scheduler(policy);
    let started = std::time::Instant::now();
    for recipient in 0..50_000 {
        many.enqueue(0, id(1), "smtp", &format!("user{recipient}@example.net"), &[recipient]).unwrap();
    }
    report("one message, 50,000 destinations", drain(&mut many), started);

    let mut mixed = scheduler(policy);
    let started = std::time::Instant::now();
    (0..20_000).for_each(|message| {
        enqueue(&mut mixed, message / 1000, message, &format!("{}.example", message % 100), 1 + message as u32 % 5);
    });
    report("20,000 messages, 100 destinations", drain(&mut mixed), started);
}
