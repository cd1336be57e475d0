//! The life of messages, with everybody around.

use ipc_messages::bounce::{FromBounce, Kind};
use ipc_messages::delivery::FromAgent;
use ipc_messages::queue::QueueRequest;
use store_queue::fs::Fs;
use store_queue::testing::envelope;

use super::testing::*;
use super::*;

#[test]
fn a_message_is_delivered_logged_and_forgotten() {
    let mut bench = Bench::new();
    bench.arrive(1, 2);
    assert_eq!(bench.jobs[0].targets.len(), 2);
    assert!(bench.orders.is_empty() && !bench.core.is_idle());
    bench.deliver(Verdict::Sent, None);
    assert_eq!(bench.orders, [FromQmgr::Done { queue_id: id(1) }]);
    let expected = ["from=<sender@example.org>, size=100, nrcpt=2 (queue active)", "removed"];
    assert_eq!(bench.log, expected.map(|text| format!("{}: {text}", id(1))));
    assert!(bench.core.is_idle());
    assert_eq!(bench.core.window.room(), 100);
    bench.tell(envelope(id(1), 2));
    assert_eq!(bench.restart().jobs, [], "the log knows that it is removed");
}

#[test]
fn what_is_deferred_waits_in_its_file_and_is_tried_when_due() {
    let mut bench = Bench::new();
    bench.arrive(1, 1);
    bench.deliver(Verdict::Deferred, None);
    assert_eq!(bench.orders, [FromQmgr::Spill { queue_id: id(1), place: Place::Deferred }]);
    assert!(bench.files("deferred").len() == 1 && bench.core.active.is_empty());
    bench.wait(299);
    assert!(bench.jobs.is_empty());
    bench.wait(301);
    assert_eq!(bench.jobs[0].offset, store_queue::queue_file::CONTENT_OFFSET);
    bench.deliver(Verdict::Sent, None);
    assert!(bench.files("deferred").is_empty());
    assert_eq!(bench.logged("removed"), 1);
}

#[test]
fn a_restart_goes_on_where_the_log_says() {
    let mut bench = Bench::new();
    bench.arrive(1, 1);
    bench.deliver(Verdict::Deferred, None);
    bench.arrive(2, 1);
    bench.arrive(3, 3);
    let job = bench.jobs.pop_back().unwrap();
    let two = vec![outcome(0, Verdict::Sent), outcome(2, Verdict::Deferred)];
    bench.core.agent(agent(), FromAgent::Outcomes { job: job.job, outcomes: two }).unwrap();
    bench.settle();
    let mut bench = bench.restart();
    let mut targets: Vec<(String, Vec<u32>)> = bench
        .jobs
        .iter()
        .map(|job| (job.queue_id.clone(), job.targets.iter().map(|target| target.index).collect()))
        .collect();
    targets.sort();
    assert_eq!(targets, [(id(2).to_string(), vec![0]), (id(3).to_string(), vec![1, 2])]);
    assert!(bench.jobs.iter().all(|job| job.queue_id != id(1).as_str()), "not before its time");
    bench.wait(1_000);
    assert_eq!(bench.jobs.back().unwrap().queue_id, id(1).as_str());
}

#[test]
fn a_bounce_is_queued_before_its_recipient_is_finished() {
    let mut bench = Bench::new();
    bench.arrive(1, 1);
    bench.deliver(Verdict::Bounced, None);
    let [ToBounce::Begin { id: number, kind: Kind::Failure, .. }, ToBounce::Recipients { reports, .. }, _] =
        &bench.bounces[..]
    else {
        panic!("{:?}", bench.bounces)
    };
    assert_eq!(reports[0].outcome.text, "no such user");
    assert!(bench.orders.is_empty());
    let number = *number;
    bench.core.bounce_down();
    bench.core.bounce_up();
    bench.settle();
    assert_eq!(bench.bounces.len(), 6, "it is asked again");
    bench.core.told(FromBounce::Told { id: number, notification: Some(id(9)) });
    bench.settle();
    assert_eq!(bench.orders, [FromQmgr::Done { queue_id: id(1) }]);
}

#[test]
fn a_bounce_that_fails_is_tried_later() {
    let mut bench = Bench::new();
    bench.arrive(1, 1);
    bench.deliver(Verdict::Bounced, None);
    let ToBounce::Begin { id: number, .. } = bench.bounces[0] else { panic!() };
    bench.core.told(FromBounce::Failed { id: number, reason: "disk full".into() });
    bench.settle();
    assert_eq!(bench.files("deferred").len(), 1);
}

#[test]
fn what_is_too_old_goes_back() {
    let mut bench = Bench::new();
    bench.arrive(1, 1);
    bench.wait(5 * 86_400);
    bench.deliver(Verdict::Deferred, None);
    assert_eq!(bench.logged("from=<sender@example.org>, status=expired, returned to sender"), 1);
    assert!(matches!(bench.bounces[0], ToBounce::Begin { .. }));
}

#[test]
fn success_is_told_to_who_wants_to_hear_of_it() {
    let mut bench = Bench::new();
    let mut envelope = envelope(id(1), 2);
    envelope.recipients[1].notify = ipc_messages::envelope::Notify::SUCCESS;
    bench.journal.insert(id(1), envelope.clone());
    bench.tell(envelope);
    bench.settle();
    bench.deliver(Verdict::Sent, None);
    let ToBounce::Recipients { reports, id: number } = &bench.bounces[1] else { panic!() };
    assert_eq!((reports.len(), reports[0].outcome.index), (1, 1));
    let number = *number;
    bench.core.told(FromBounce::Told { id: number, notification: None });
    bench.settle();
    assert_eq!(bench.orders, [FromQmgr::Done { queue_id: id(1) }]);
}

#[test]
fn without_an_agent_the_master_is_asked_and_then_mail_waits() {
    let mut bench = Bench::new();
    bench.core.agent_down(agent());
    bench.arrive(1, 1);
    bench.wait(1);
    assert_eq!((bench.jobs.len(), bench.wakes), (0, 2));
    bench.wait(30);
    assert_eq!(bench.logged("connect to transport private/lmtp: Connection refused"), 1);
    assert_eq!(
        bench.logged("relay=none, delay=31, delays=0/31/0/0, dsn=4.4.1, status=deferred (mail transport unavail"),
        1
    );
    assert!(bench.core.active.is_empty());
    bench.core.agent(agent(), FromAgent::Ready { transport: "lmtp".into(), window: 1 }).unwrap();
    bench.wait(1_000);
    assert_eq!(bench.jobs.len(), 1);
}

#[test]
fn transports_that_are_not_there_are_named() {
    for (transport, reason) in [
        ("maildrop", "dsn=4.3.0, status=deferred (mail transport unavailable: maildrop (pipe) is not built yet)"),
        ("nowhere", "dsn=4.3.0, status=deferred (mail transport unavailable: nowhere is not in master.cf)"),
    ] {
        let mut bench = Bench::new();
        bench.transport = transport.into();
        bench.arrive(1, 1);
        assert_eq!((bench.logged(reason), bench.files("deferred").len()), (1, 1), "{:?}", bench.log);
        let listed = bench.listed();
        assert!(listed[0].queue == "deferred" && listed[0].recipients[0].1.as_ref().unwrap().contains(transport));
    }
}

#[test]
fn an_address_that_cannot_be_one_goes_back() {
    let mut bench = Bench::new();
    bench.malformed = true;
    bench.arrive(1, 1);
    assert_eq!(bench.logged("dsn=5.1.3, status=bounced (bad address syntax)"), 1);
    assert!(matches!(bench.bounces[0], ToBounce::Begin { kind: Kind::Failure, .. }));
}

#[test]
fn what_an_agent_leaves_behind_is_delivered_by_the_next() {
    let mut bench = Bench::new();
    bench.arrive(1, 2);
    for _ in 0..2 {
        let job = bench.jobs.pop_front().unwrap();
        assert!(bench.jobs.is_empty());
        if job.targets.len() == 2 {
            let outcomes = vec![outcome(0, Verdict::Sent)];
            bench.core.agent(agent(), FromAgent::Outcomes { job: job.job, outcomes }).unwrap();
        }
        bench.core.agent_down(agent());
        bench.core.agent(agent(), FromAgent::Ready { transport: "lmtp".into(), window: 1 }).unwrap();
        bench.settle();
    }
    assert_eq!(bench.jobs[0].targets.len(), 1, "the first recipient has an outcome");
    bench.core.agent_down(agent());
    bench.settle();
    assert_eq!((bench.logged("the delivery agent has failed"), bench.files("deferred").len()), (1, 1));
}

#[test]
fn an_agent_may_not_speak_of_what_it_does_not_have() {
    let mut bench = Bench::new();
    bench.arrive(1, 1);
    let job = bench.jobs[0].job;
    let core = &mut bench.core;
    assert!(core.agent(admin(), FromAgent::Finished { job, fault: None }).is_err());
    assert!(core.agent(agent(), FromAgent::Finished { job: job + 1, fault: None }).is_err());
    let stranger = FromAgent::Outcomes { job, outcomes: vec![outcome(5, Verdict::Sent)] };
    assert!(core.agent(agent(), stranger).is_err());
    assert!(core.agent(agent(), FromAgent::Ready { transport: "x".into(), window: 1 }).is_err());
}

#[test]
fn agents_have_no_more_than_they_take() {
    let mut bench = Bench::new();
    for number in 0..30 {
        let mut envelope = envelope(id(number), 1);
        envelope.recipients[0].address = format!("a@{number}");
        bench.journal.insert(id(number), envelope.clone());
        bench.tell(envelope);
        bench.settle();
    }
    // The first window of a destination is 5; the agent's is 10.
    assert_eq!(bench.jobs.len(), 5);
    for _ in 0..20 {
        bench.deliver(Verdict::Sent, None);
    }
    assert_eq!(bench.jobs.len(), 10);
}

#[test]
fn a_draining_agent_finishes_what_it_has_and_gets_no_more() {
    let mut bench = Bench::new();
    bench.arrive(1, 1);
    bench.core.agent(agent(), FromAgent::Ready { transport: "lmtp".into(), window: 0 }).unwrap();
    bench.arrive(2, 1);
    assert_eq!((bench.jobs.len(), bench.wakes), (1, 1), "the second message waits for another agent");
    bench.deliver(Verdict::Sent, None);
    assert_eq!((bench.jobs.len(), bench.core.active.len()), (0, 1));
    bench.core.agent_down(agent());
    bench.core.agent(agent(), FromAgent::Ready { transport: "lmtp".into(), window: 1 }).unwrap();
    bench.settle();
    bench.deliver(Verdict::Sent, None);
    assert!(bench.core.active.is_empty());
}

#[test]
fn a_dead_destination_is_left_alone() {
    let mut bench = Bench::new();
    for number in 0..8 {
        bench.arrive(number, 1);
    }
    while !bench.jobs.is_empty() {
        bench.deliver(Verdict::Deferred, Some("connect to x: refused"));
    }
    assert!(bench.logged("status=deferred (delivery temporarily suspended: connect to x: refused)") > 0);
    assert_eq!(bench.files("deferred").len(), 8);
}

#[test]
fn old_mail_gets_a_file_and_removal_waits_for_it() {
    let mut bench = Bench::new();
    bench.files = false;
    bench.arrive(1, 1);
    bench.wait(2);
    assert_eq!(bench.orders, [FromQmgr::Spill { queue_id: id(1), place: Place::Incoming }]);
    bench.deliver(Verdict::Sent, None);
    assert_eq!(bench.logged("removed"), 0);
    bench.file(id(1), Place::Incoming);
    bench.settle();
    assert!(bench.logged("removed") == 1 && bench.files("incoming").is_empty());
}

#[test]
fn a_queue_file_that_cannot_be_made_is_asked_for_again() {
    let mut bench = Bench::new();
    bench.files = false;
    bench.arrive(1, 1);
    bench.deliver(Verdict::Deferred, None);
    bench.core.cleanup(ToQmgr::Spilled { queue_id: id(1), result: Err("full".into()) }, None).unwrap();
    bench.files = true;
    bench.wait(FILING_RETRY);
    assert!(bench.files("deferred").len() == 1 && bench.core.active.is_empty());
}

#[test]
fn mail_for_which_there_is_no_room_waits_in_files() {
    let mut bench = Bench::in_folder(tempfile::tempdir().unwrap(), settings("qmgr_message_active_limit = 2"));
    bench.up();
    for number in 0..6 {
        bench.arrive(number, 1);
    }
    assert_eq!((bench.core.active.len(), bench.files("incoming").len()), (2, 4));
    for _ in 0..6 {
        bench.deliver(Verdict::Sent, None);
    }
    assert!(bench.files("incoming").is_empty() && bench.logged("removed") == 6);
}

#[test]
fn a_broken_queue_file_is_kept_aside() {
    let mut bench = Bench::new();
    bench.arrive(1, 1);
    bench.deliver(Verdict::Deferred, None);
    let path = Folder::Deferred.path(id(1));
    let file = bench.fs.open(&path, store_queue::fs::Access::ReadWrite).unwrap();
    store_queue::fs::File::write_at(&file, b"X", 30).unwrap();
    bench.wait(1_000);
    assert_eq!((bench.files("corrupt"), bench.files("deferred")), (vec![id(1).to_string()], vec![]));
    assert_eq!(bench.logged("wrong checksum"), 1);
}

#[test]
fn the_administrator_holds_releases_flushes_and_deletes() {
    let mut bench = Bench::new();
    let end = |count| vec![QueueAnswer::End { count }];
    for number in 1..=3 {
        bench.arrive(number, 1);
    }
    bench.deliver(Verdict::Deferred, None);
    assert_eq!(bench.ask(QueueRequest::Hold(Some(id(1)))), end(1));
    assert_eq!(bench.files("hold").len(), 1);
    bench.wait(100_000);
    assert!(bench.jobs.iter().all(|job| job.queue_id != id(1).as_str()));
    let queues: BTreeSet<String> = bench.listed().into_iter().map(|listed| listed.queue).collect();
    assert_eq!(queues, ["active".to_string(), "hold".to_string()].into());
    assert_eq!(bench.ask(QueueRequest::Release(None)), end(1));
    assert_eq!(bench.ask(QueueRequest::FlushOne(id(1))), end(1));
    assert_eq!(bench.jobs.back().unwrap().queue_id, id(1).as_str());

    bench.ask(QueueRequest::Open(id(1)));
    assert_eq!(bench.opened, 1);
    assert_eq!(bench.ask(QueueRequest::Delete(Some(id(2)))), end(1));
    while !bench.jobs.is_empty() {
        bench.deliver(Verdict::Deferred, None);
    }
    assert_eq!(bench.files("deferred").len(), 2, "the deleted one is not");
    bench.ask(QueueRequest::Open(id(1)));
    assert_eq!(bench.opened, 2);
    assert_eq!(bench.ask(QueueRequest::Flush), end(2));
    assert_eq!(bench.jobs.len(), 2);
    while !bench.jobs.is_empty() {
        bench.deliver(Verdict::Deferred, None);
    }
    assert_eq!(bench.ask(QueueRequest::Requeue(Some(id(1)))), end(1));
    assert_eq!(bench.jobs.len(), 1);
    bench.deliver(Verdict::Deferred, None);
    assert_eq!(bench.ask(QueueRequest::Delete(None)), end(2));
    assert!(bench.files("deferred").is_empty() && bench.listed().is_empty());
    assert!(matches!(&bench.ask(QueueRequest::Open(id(1)))[..], [QueueAnswer::Failed(_)]));
}

#[test]
fn a_message_that_is_held_before_it_is_tried_keeps_its_recipients() {
    let mut bench = Bench::new();
    bench.core.agent_down(agent());
    bench.arrive(1, 2);
    bench.ask(QueueRequest::Hold(Some(id(1))));
    assert_eq!(bench.files("hold").len(), 1);
    bench.core.agent(agent(), FromAgent::Ready { transport: "lmtp".into(), window: 1 }).unwrap();
    bench.ask(QueueRequest::Release(Some(id(1))));
    bench.ask(QueueRequest::Flush);
    assert_eq!(bench.jobs[0].targets.len(), 2);
}

#[test]
fn nonsense_of_cleanup_is_refused() {
    let mut bench = Bench::new();
    let core = &mut bench.core;
    assert!(core.cleanup(ToQmgr::More { envelope: vec![1], more: false }, None).is_err());
    let new = |more| ToQmgr::New { queue_id: id(1), sequence: 1, in_file: false, envelope: vec![1, 2, 3], more };
    assert!(core.cleanup(new(false), None).is_err(), "without a descriptor");
    let fd = || Some(std::fs::File::open("/dev/null").unwrap().into());
    assert!(core.cleanup(new(false), fd()).is_err(), "no envelope");
    core.cleanup(new(true), fd()).unwrap();
    let piece = || ToQmgr::More { envelope: vec![0; 1024 * 1024], more: true };
    assert!((0..17).any(|_| core.cleanup(piece(), None).is_err()), "an envelope without an end");
}
