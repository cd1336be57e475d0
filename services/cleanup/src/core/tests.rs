//! The state machine with a disk that forgets: what a sender has heard is there after every crash.

use std::collections::BTreeSet;

use ipc_messages::envelope::{Envelope, Origin};
use ipc_messages::intake::INITIAL_CREDIT;
use store_queue::fs::Fs;
use store_queue::fs::model::{Fault, Model};
use store_queue::queue_file::QueueFile;
use store_queue::testing::envelope;
use store_queue::{DiskError, Folder};

use super::testing::{Bench, id, peer};
use super::*;
use crate::message::{MAX_INLINE, TOO_BIG};

#[test]
fn numbers_come_unasked_and_again_when_asked_for() {
    let mut bench = Bench::new();
    bench.settle();
    bench.say(ToCleanup::MoreIds);
    bench.settle();
    let blocks: Vec<&Ids> = bench
        .told
        .iter()
        .map(|(_, message)| if let FromCleanup::Ids { ids, .. } = message { ids } else { panic!("{message:?}") })
        .collect();
    assert_eq!(blocks.len(), 2);
    assert!(blocks[0].to <= blocks[1].from || blocks[1].to <= blocks[0].from);
}

#[test]
fn a_message_is_queued_when_its_recipients_are_known() {
    let mut bench = Bench::new();
    bench.core.qmgr_up();
    bench.begin(1);
    bench.say(ToCleanup::Body { id: 1, bytes: b"Subject: x\n\nbody\n".to_vec() });
    bench.say(ToCleanup::Commit { id: 1 });
    bench.settle();
    assert!(bench.queued().is_empty() && bench.log == ["0000111171: message-id=<>"]);
    let ToLookup::Expand { corr, .. } = bench.asked[0] else { panic!() };
    for (address, more) in [("b@example.net", true), ("c@example.net", false)] {
        assert!(bench.queued().is_empty());
        bench.core.answer(FromLookup::Expanded { corr, recipients: Ok(vec![address.into()]), more });
        bench.settle();
    }
    assert_eq!(bench.queued(), [1]);
    let Some(ToQmgr::New { envelope, sequence: 1, in_file: false, more: false, .. }) =
        bench.qmgr.iter().find(|message| matches!(message, ToQmgr::New { .. }))
    else {
        panic!("{:?}", bench.qmgr)
    };
    let envelope = Envelope::decode(envelope).unwrap();
    assert_eq!((envelope.size, bench.contents.len()), (17, 1));
    let recipients: Vec<_> = envelope.recipients.iter().map(|r| (r.address.as_str(), r.original.as_deref())).collect();
    assert_eq!(recipients, [("b@example.net", Some("a@example.net")), ("c@example.net", Some("a@example.net"))]);
    assert!(!bench.core.is_idle());

    bench.core.order(FromQmgr::Done { queue_id: id(70_001) });
    bench.core.tick(1, false);
    bench.settle();
    assert!(bench.core.is_idle());
    assert_eq!(bench.qmgr.last(), Some(&ToQmgr::Freed { sequence: 2 }));
}

#[test]
fn questions_are_asked_again_and_a_failure_refuses() {
    let mut bench = Bench::new();
    bench.core.lookup_down();
    bench.begin(1);
    bench.settle();
    assert!(bench.asked.is_empty());
    bench.core.lookup_up();
    bench.core.lookup_up();
    bench.settle();
    assert_eq!(bench.asked.len(), 2, "each time it comes");
    let ToLookup::Expand { corr, .. } = bench.asked[0] else { panic!() };
    for _ in 0..2 {
        bench.core.answer(FromLookup::Expanded {
            corr,
            recipients: Err("virtual_alias_maps map lookup problem for x".into()),
            more: false,
        });
    }
    bench.say(ToCleanup::Body { id: 1, bytes: b"x\n".to_vec() });
    bench.say(ToCleanup::Commit { id: 1 });
    bench.settle();
    assert_eq!(bench.refused(), [WRITE_ERROR]);
    assert!(bench.core.is_idle());
}

#[test]
fn a_sender_that_goes_takes_its_open_messages_with_it() {
    let mut bench = Bench::new();
    bench.begin(1);
    bench.begin(2);
    bench.say(ToCleanup::Abort { id: 1 });
    bench.begin(1);
    let again = ToCleanup::Begin { id: 1, envelope: Box::new(envelope(id(9), 0)) };
    assert!(bench.core.intake(peer(), again, |_| Default::default()).is_err());
    bench.core.client_down(peer());
    bench.settle();
    assert!(bench.core.is_idle());
}

#[test]
fn large_mail_is_paced_written_as_it_comes_and_told_with_its_file() {
    let mut bench = Bench::new();
    bench.core.qmgr_up();
    bench.settle();
    bench.message(1, 3 * MAX_INLINE);
    assert_eq!(bench.queued(), [1]);
    let credit: u64 =
        bench.told.iter().map(|(_, m)| if let FromCleanup::Credit { bytes, .. } = m { *bytes } else { 0 }).sum();
    assert!(credit + INITIAL_CREDIT >= 3 * MAX_INLINE as u64 - CREDIT_PORTION);
    let told = bench.qmgr.iter().find(|message| matches!(message, ToQmgr::New { .. }));
    assert!(matches!(told, Some(ToQmgr::New { in_file: true, envelope, .. }) if envelope.is_empty()));
    assert_eq!(bench.contents.len(), 0);
    bench.core.tick(1, false);
    bench.settle();
    assert!(bench.core.is_idle());
}

#[test]
fn what_is_too_large_is_refused_at_once_and_leaves_nothing() {
    let fs = Model::new();
    let mut bench = Bench::open(&fs).unwrap();
    bench.core.reload(Settings { message_size_limit: 2 * MAX_INLINE as u64, ..Settings::default() });
    bench.begin(1);
    for _ in 0..40 {
        bench.say(ToCleanup::Body { id: 1, bytes: vec![b'x'; MAX_PIECE] });
        bench.settle();
    }
    assert_eq!(bench.refused(), [TOO_BIG]);
    assert!(bench.core.is_idle() && fs.list("tmp").unwrap().is_empty());
}

#[test]
fn a_new_qmgr_is_told_of_everything_once() {
    let mut bench = Bench::new();
    for number in 1..=200 {
        bench.message(number, 10);
    }
    assert!(bench.qmgr.is_empty());
    bench.core.qmgr_up();
    bench.settle();
    let told: Vec<QueueId> = bench
        .qmgr
        .iter()
        .filter_map(|message| if let ToQmgr::New { queue_id, .. } = message { Some(*queue_id) } else { None })
        .collect();
    assert_eq!(told, (1..=200).map(|number| id(70_000 + number)).collect::<Vec<_>>());
    assert_eq!((bench.qmgr.last(), bench.contents.len()), (Some(&ToQmgr::Replayed), 200));
}

#[test]
fn queue_files_are_made_on_order_and_without_a_qmgr_by_age() {
    let fs = Model::new();
    let mut bench = Bench::open(&fs).unwrap();
    bench.core.lookup_up();
    bench.message(1, 10);
    bench.core.tick(SPILL_AGE - 1, false);
    bench.settle();
    assert!(QueueFile::open(&fs, Folder::Incoming, id(70_001)).is_err());
    bench.core.tick(SPILL_AGE, false);
    bench.settle();
    QueueFile::open(&fs, Folder::Incoming, id(70_001)).unwrap().verify_content().unwrap();

    // Its record is released, but a crash would bring it back: the next qmgr hears of it.
    bench.core.qmgr_up();
    bench.settle();
    assert!(bench.qmgr.contains(&ToQmgr::New {
        queue_id: id(70_001),
        sequence: 1,
        in_file: true,
        envelope: vec![],
        more: false
    }));
    bench.message(2, 10);
    bench.core.tick(100, false);
    bench.settle();
    assert!(QueueFile::open(&fs, Folder::Incoming, id(70_002)).is_err(), "not behind the back of qmgr");
    let spill = || FromQmgr::Spill { queue_id: id(70_002), place: Place::Deferred };
    bench.core.order(spill());
    bench.settle();
    assert_eq!(bench.qmgr.last(), Some(&ToQmgr::Spilled { queue_id: id(70_002), result: Ok(Place::Deferred) }));
    QueueFile::open(&fs, Folder::Deferred, id(70_002)).unwrap().verify_content().unwrap();
    bench.core.order(spill());
    bench.settle();
    assert!(matches!(bench.qmgr.last(), Some(ToQmgr::Spilled { result: Err(_), .. })));
}

#[test]
fn commits_wait_while_too_much_is_in_flight() {
    let mut bench = Bench::new();
    bench.core.free_segments = MIN_FREE_SEGMENTS - 1;
    bench.message(1, 10);
    assert!(bench.queued().is_empty() && bench.refused().is_empty());
    bench.core.free_segments = MIN_FREE_SEGMENTS;
    bench.settle();
    assert_eq!(bench.queued(), [1]);
}

#[test]
fn a_full_disk_is_told_and_nothing_is_half_queued() {
    for size in [10, 2 * MAX_INLINE] {
        let fs = Model::new();
        let mut bench = Bench::open(&fs).unwrap();
        bench.core.lookup_up();
        fs.fail(Fault::Full, fs.operations()..usize::MAX, 1);
        bench.message(1, size);
        assert_eq!((bench.queued(), bench.refused()), (vec![], vec![NO_SPACE]));
        assert!(fs.list("tmp").unwrap().is_empty(), "what was written of it is gone");
        fs.fail(Fault::Full, 0..0, 1);
        bench.message(2, size);
        assert_eq!(bench.queued(), [2]);
    }
}

/// A message stays in the journal for as long as there is no room for its queue file, whoever comes and goes meanwhile.
#[test]
fn a_queue_file_that_finds_no_room_loses_nothing() {
    let fs = Model::new();
    let mut bench = Bench::open(&fs).unwrap();
    bench.core.lookup_up();
    bench.core.qmgr_up();
    bench.message(1, 1000);
    fs.fail(Fault::Full, fs.operations()..usize::MAX, 1);
    for _ in 0..3 {
        bench.core.order(FromQmgr::Spill { queue_id: id(70_001), place: Place::Deferred });
        bench.settle();
        assert!(matches!(bench.qmgr.last(), Some(ToQmgr::Spilled { result: Err(_), .. })));
        assert!(fs.list("tmp").unwrap().is_empty() && fs.list("deferred").unwrap().is_empty());
    }
    bench.core.qmgr_down();
    bench.core.tick(100, false);
    bench.settle();
    bench.core.qmgr_up();
    bench.settle();
    let told = |message: &&ToQmgr| matches!(message, ToQmgr::New { in_file: false, .. });
    assert_eq!(bench.qmgr.iter().filter(told).count(), 2, "when it came, and to the new qmgr");
    fs.fail(Fault::Full, 0..0, 1);
    bench.core.order(FromQmgr::Spill { queue_id: id(70_001), place: Place::Deferred });
    bench.settle();
    QueueFile::open(&fs, Folder::Deferred, id(70_001)).unwrap().verify_content().unwrap();
}

#[test]
fn room_on_the_disk_is_kept_from_strangers_alone() {
    let limit = Settings::default().message_size_limit;
    for (free, minfree, expected) in [
        (limit / 2 * 3, 0, vec![NO_SPACE; 2]),
        (limit / 2 * 3 + 1, 0, vec![]),
        (2 * limit, 2 * limit, vec![NO_SPACE; 2]),
        (2 * limit + 1, 2 * limit, vec![]),
    ] {
        let fs = Model::new();
        let mut bench = Bench::open(&fs).unwrap();
        bench.core.reload(Settings { queue_minfree: minfree, ..Settings::default() });
        bench.core.lookup_up();
        fs.leave_free(free);
        bench.message(1, 10);
        bench.message(2, 2 * MAX_INLINE);
        let bounce = Envelope { origin: Origin::Bounce, ..envelope(id(70_003), 0) };
        bench.begin_with(3, bounce);
        bench.end(3);
        assert_eq!(bench.refused(), expected, "{free} bytes free, queue_minfree = {minfree}");
        assert_eq!(bench.queued().len(), 3 - expected.len());
        assert!(fs.list("tmp").unwrap().is_empty());
    }
}

/// Small and large mail, a spill, a release, and the end without a `qmgr`.
fn history(fs: &Model) -> Result<BTreeSet<u32>, DiskError> {
    let mut bench = Bench::open(fs)?;
    bench.core.lookup_up();
    bench.core.qmgr_up();
    bench.message(1, 10);
    bench.message(2, MAX_INLINE + 10);
    bench.core.order(FromQmgr::Spill { queue_id: id(70_001), place: Place::Deferred });
    bench.settle();
    bench.message(3, 10);
    bench.core.qmgr_down();
    bench.core.tick(50, true);
    bench.settle();
    bench.message(4, 10);
    Ok(bench.queued().into_iter().collect())
}

#[test]
fn what_was_queued_is_there_after_every_crash() {
    let fs = Model::new();
    history(&fs).unwrap();
    for stop in 0..fs.operations() {
        for seed in 0..4 {
            let fs = Model::new();
            fs.fail(Fault::Stop, stop..stop + 1, seed);
            let Ok(queued) = history(&fs) else { continue };
            let fs = fs.crash(seed);
            let mut bench = Bench::open(&fs).unwrap();
            bench.core.qmgr_up();
            bench.settle();
            for number in queued {
                let id = id(70_000 + u64::from(number));
                let told = bench
                    .qmgr
                    .iter()
                    .any(|message| matches!(message, ToQmgr::New { queue_id, in_file: false, .. } if *queue_id == id));
                let filed = Folder::ALL
                    .iter()
                    .any(|folder| QueueFile::open(&fs, *folder, id).is_ok_and(|file| file.verify_content().is_ok()));
                assert!(told || filed, "stop at {stop}, seed {seed}: message {number}");
            }
        }
    }
}
