use super::*;
use crate::fs::model::{Fault, Model};

fn disk() -> Model {
    let fs = Model::new();
    crate::prepare(&fs).unwrap();
    fs
}

fn id(number: u64) -> QueueId {
    QueueId::short(0, number)
}

fn done(number: u64, recipient: u32) -> Outcome {
    Outcome::Done { id: id(number), recipient }
}

fn deferred(number: u64, recipient: u32, reason: &str) -> Outcome {
    let deferral =
        Deferral { next_attempt: 1000 + number, attempt: 1, warned: false, dsn: "4.4.1".into(), reason: reason.into() };
    Outcome::Deferred { id: id(number), recipient, deferral }
}

fn removed(number: u64, journal: Sequence) -> Outcome {
    Outcome::Removed { id: id(number), journal }
}

fn reopen(fs: &Model) -> OutcomeLog<Model> {
    let (log, damage) = OutcomeLog::open(fs).unwrap();
    assert_eq!(damage, []);
    log
}

#[test]
fn what_is_committed_is_known_after_a_restart() {
    let fs = disk();
    let mut log = reopen(&fs);
    log.commit(&[done(1, 0), deferred(1, 2, "connect to mx: refused")]).unwrap();
    log.commit(&[deferred(2, 0, "x"), removed(3, 9)]).unwrap();
    for log in [log, reopen(&fs)] {
        assert_eq!(log.pending(id(1), 4), [1, 2, 3]);
        assert_eq!(log.recipient(id(1), 2), RecipientState::Deferred { next_attempt: 1001, attempt: 1, warned: false });
        assert_eq!(log.deferral(id(1), 2).unwrap().unwrap().reason, "connect to mx: refused");
        assert_eq!(log.deferral(id(1), 0).unwrap(), None);
        assert_eq!(log.next_attempt(id(2)), Some(1002));
        assert!(log.is_removed(id(3)) && !log.is_removed(id(1)));
    }
}

#[test]
fn compaction_keeps_what_counts_and_forgets_what_is_over() {
    let fs = disk();
    let mut log = reopen(&fs);
    for round in 0..50 {
        log.commit(&[deferred(1, 0, &format!("round {round}")), done(2, round)]).unwrap();
    }
    log.commit(&[removed(3, 4), removed(4, 5), removed(5, 1)]).unwrap();
    fs.create(&Folder::Hold.path(id(5))).unwrap();
    let before = fs.open(PATH, Access::Read).unwrap().size().unwrap();
    log.compact(5).unwrap();
    log.commit(&[done(1, 1)]).unwrap();
    assert!(fs.open(PATH, Access::Read).unwrap().size().unwrap() < before);
    for log in [log, reopen(&fs)] {
        assert_eq!(log.deferral(id(1), 0).unwrap().unwrap().reason, "round 49");
        assert_eq!(log.pending(id(1), 2), [0]);
        assert_eq!(log.pending(id(2), 51), [50]);
        assert!(!log.is_removed(id(3)), "freed in the journal, and no file");
        assert!(log.is_removed(id(4)), "the journal may still replay it");
        assert!(log.is_removed(id(5)), "its file is still there");
    }
}

#[test]
fn a_log_asks_for_compaction_at_four_times_its_live_size() {
    let fs = disk();
    let mut log = reopen(&fs);
    let batch: Vec<Outcome> = (0..100).map(|recipient| deferred(1, recipient, &"x".repeat(3000))).collect();
    let mut commits = 0;
    while !log.wants_compaction() {
        log.commit(&batch).unwrap();
        commits += 1;
    }
    assert_eq!(commits, 5, "300 KB each: above 1 MiB, and above four times the live size");
    log.compact(1).unwrap();
    assert!(!log.wants_compaction());
}

#[test]
fn a_torn_end_is_cut_and_a_damaged_middle_is_reported() {
    let fs = disk();
    let mut log = reopen(&fs);
    (0..4).for_each(|number| log.commit(&[done(number, 0), done(number, 1)]).unwrap());
    let file = fs.open(PATH, Access::ReadWrite).unwrap();
    let size = file.size().unwrap();

    file.truncate(size - 1).unwrap();
    let mut torn = reopen(&fs);
    assert_eq!(torn.pending(id(3), 2), [1]);
    torn.commit(&[done(3, 1)]).unwrap();
    assert_eq!(reopen(&fs).pending(id(3), 2), [0u32; 0]);

    // The second frame of the second write.
    let frame_length = (size as usize - HEAD) / 8;
    fs.damage(PATH, HEAD + 3 * frame_length + 9, b"!");
    let (log, damage) = OutcomeLog::open(&fs).unwrap();
    assert_eq!(damage.len(), 1);
    assert_eq!((damage[0].to - damage[0].from) as usize, frame_length);
    assert_eq!([0, 1, 2, 3].map(|number| log.pending(id(number), 2).len()), [0, 1, 0, 0]);
}

#[test]
fn an_unreadable_head_keeps_the_log_aside() {
    let fs = disk();
    reopen(&fs).commit(&[done(1, 0)]).unwrap();
    fs.damage(PATH, 0, b"X");
    let (log, damage) = OutcomeLog::open(&fs).unwrap();
    assert_eq!(damage[0].kept, "corrupt/outcomes");
    assert_eq!(log.pending(id(1), 1), [0]);
}

#[test]
fn a_failed_commit_can_be_repeated() {
    for fault in [Fault::Full, Fault::Sync, Fault::ReadOnly] {
        for seed in 0..16 {
            let fs = disk();
            let mut log = reopen(&fs);
            log.commit(&[done(1, 0)]).unwrap();
            fs.fail(fault, fs.operations()..fs.operations() + 2, seed);
            let error = log.commit(&[done(2, 0), done(2, 1)]).unwrap_err();
            assert_eq!(error.is_full(), fault == Fault::Full);
            fs.fail(fault, 0..0, seed);
            log.commit(&[done(3, 0)]).unwrap();
            let log = reopen(&fs.crash(seed));
            assert_eq!([1, 3].map(|number| log.pending(id(number), 1).len()), [0, 0], "{fault:?} {seed}");
            assert_eq!(log.pending(id(2), 2).len(), 2, "what failed is not there behind what did not");
        }
    }
}

#[test]
fn whatever_stops_what_was_committed_is_known() {
    fn history(fs: &Model, committed: &mut Vec<u64>) -> Result<(), DiskError> {
        let (mut log, damage) = OutcomeLog::open(fs)?;
        assert_eq!(damage, []);
        for number in 0..12 {
            log.commit(&[done(number, 0), deferred(number, 1, "later"), removed(100 + number, number)])?;
            committed.push(number);
            if number % 4 == 3 {
                log.compact(number)?;
            }
        }
        Ok(())
    }
    let fs = disk();
    history(&fs, &mut Vec::new()).unwrap();
    for stop in 0..=fs.operations() {
        for seed in 0..8 {
            let fs = disk();
            fs.fail(Fault::Stop, stop..stop + 1, seed);
            let mut committed = Vec::new();
            let _ = history(&fs, &mut committed);
            let log = reopen(&fs.crash(seed));
            for number in &committed {
                assert_eq!(log.pending(id(*number), 2), [1], "stop at {stop}, seed {seed}");
                assert_eq!(log.deferral(id(*number), 1).unwrap().unwrap().reason, "later");
            }
            let freed = committed.iter().filter(|number| **number % 4 == 3).max().copied().unwrap_or(0);
            let kept = committed.iter().filter(|number| **number >= freed);
            kept.for_each(|number| assert!(log.is_removed(id(100 + number)), "stop at {stop}, seed {seed}"));
        }
    }
}

#[test]
fn a_compaction_that_fails_anywhere_loses_no_later_commit() {
    for fault in [Fault::Full, Fault::Sync] {
        for failing in 0..12 {
            for seed in 0..8 {
                let fs = disk();
                let mut log = reopen(&fs);
                log.commit(&[done(1, 0), removed(2, 1)]).unwrap();
                fs.fail(fault, fs.operations() + failing..fs.operations() + failing + 1, seed);
                let _ = log.compact(2);
                fs.fail(fault, 0..0, seed);
                log.commit(&[done(3, 0)]).unwrap();
                let log = reopen(&fs.crash(seed));
                assert_eq!([1, 3].map(|number| log.pending(id(number), 1).len()), [0, 0], "{fault:?} at {failing}");
            }
        }
    }
}
