use super::*;
use crate::fs::model::{Fault, Model};

const GEOMETRY: Geometry = Geometry { segments: 3, segment_size: 5 * 4096 };

fn disk() -> Model {
    let fs = Model::new();
    crate::prepare(&fs).unwrap();
    fs
}

fn id(number: u64) -> QueueId {
    QueueId::short(0, number)
}

fn content(number: u64) -> Vec<u8> {
    format!("message {number}\n").repeat(1 + number as usize % 90).into_bytes()
}

fn append(journal: &mut Journal<Model>, numbers: &[u64]) -> Result<Range<Sequence>, AppendError> {
    let contents: Vec<Vec<u8>> = numbers.iter().map(|number| content(*number)).collect();
    let batch: Vec<Entry<'_>> = numbers
        .iter()
        .zip(&contents)
        .map(|(number, content)| Entry { id: id(*number), envelope: b"envelope", content: Content::Inline(content) })
        .collect();
    journal.append(&batch)
}

fn live(journal: &Journal<Model>) -> Vec<u64> {
    journal.live().map(|live| live.id.number()).collect()
}

#[test]
fn what_is_committed_is_replayed_until_it_is_released() {
    let fs = disk();
    let (mut journal, _) = Journal::open(&fs, GEOMETRY).unwrap();
    assert_eq!(append(&mut journal, &[10, 11]).unwrap(), 1..3);
    assert_eq!(append(&mut journal, &[12]).unwrap(), 3..4);
    let (replayed, damage) = Journal::open(&fs, GEOMETRY).unwrap();
    assert_eq!((live(&replayed), damage), (vec![10, 11, 12], vec![]));
    let expected = Message { id: id(11), envelope: b"envelope".to_vec(), content: Some(content(11)) };
    assert_eq!(replayed.read(2).unwrap(), expected);

    journal.release(1);
    assert_eq!((live(&journal), journal.freed()), (vec![11, 12], 1));
    journal.checkpoint().unwrap();
    assert_eq!(journal.freed(), 2);
    assert_eq!(live(&Journal::open(&fs, GEOMETRY).unwrap().0), [11, 12]);
    assert!(matches!(journal.read(1), Err(ReadError::Unknown(1))));
}

#[test]
fn a_file_record_carries_the_name_alone() {
    let fs = disk();
    let (mut journal, _) = Journal::open(&fs, GEOMETRY).unwrap();
    journal.append(&[Entry { id: id(7), envelope: b"", content: Content::File }]).unwrap();
    let (replayed, _) = Journal::open(&fs, GEOMETRY).unwrap();
    assert_eq!(replayed.live().collect::<Vec<_>>(), [Live { sequence: 1, id: id(7), in_file: true }]);
    assert_eq!(replayed.read(1).unwrap().content, None);
}

#[test]
fn a_full_ring_takes_nothing_and_loses_nothing() {
    let fs = disk();
    let (mut journal, _) = Journal::open(&fs, GEOMETRY).unwrap();
    let mut number = 0;
    let full = loop {
        match append(&mut journal, &[number]) {
            Ok(_) => number += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(full, AppendError::Full));
    assert_eq!(number, 9, "three segments of three blocks each");
    assert_eq!(journal.free_segments(), 0);
    assert_eq!(live(&Journal::open(&fs, GEOMETRY).unwrap().0), (0..9).collect::<Vec<_>>());

    // The oldest segment is the one that is waited for, whichever others are free.
    (4..10).for_each(|sequence| journal.release(sequence));
    assert!(matches!(append(&mut journal, &[9]), Err(AppendError::Full)));
    (1..4).for_each(|sequence| journal.release(sequence));
    append(&mut journal, &[9]).unwrap();
    assert_eq!(live(&Journal::open(&fs, GEOMETRY).unwrap().0), [9]);
}

#[test]
fn many_laps_keep_only_what_is_live() {
    let fs = disk();
    let (mut journal, _) = Journal::open(&fs, GEOMETRY).unwrap();
    for number in 0..200 {
        let sequences = append(&mut journal, &[number, number + 1000]).unwrap();
        assert_eq!(sequences.end - sequences.start, 2);
        journal.release(sequences.start);
        if sequences.start > 3 {
            journal.release(sequences.start - 3);
        }
        if number % 7 == 0 {
            let (replayed, damage) = Journal::open(&fs, GEOMETRY).unwrap();
            let replayed = live(&replayed);
            assert!(damage.is_empty() && live(&journal).iter().all(|number| replayed.contains(number)));
            assert!(replayed.len() <= 6, "{replayed:?}");
        }
    }
}

#[test]
fn a_message_that_is_too_large_is_told_apart() {
    let fs = disk();
    let (mut journal, _) = Journal::open(&fs, GEOMETRY).unwrap();
    let limit = journal.largest_record();
    assert_eq!(limit, 3 * 4096);
    let header = record::length(&Entry { id: id(1), envelope: b"", content: Content::File });
    let fits = vec![b'x'; (limit - header) as usize];
    let entry = |content| Entry { id: id(1), envelope: b"", content: Content::Inline(content) };
    journal.append(&[entry(&fits)]).unwrap();
    let larger = [&fits[..], b"x"].concat();
    assert!(matches!(journal.append(&[entry(&larger)]), Err(AppendError::TooLarge { .. })));
    assert_eq!(journal.append(&[entry(b"small"), entry(&larger)]).unwrap(), 2..3, "what is in front is committed");
}

#[test]
fn damage_in_the_middle_is_reported_and_kept() {
    let fs = disk();
    let (mut journal, _) = Journal::open(&fs, GEOMETRY).unwrap();
    for number in 1..=3 {
        append(&mut journal, &[number]).unwrap();
    }
    fs.damage("journal/00", 2 * 4096 + 60, b"rot");
    let (replayed, damage) = Journal::open(&fs, GEOMETRY).unwrap();
    assert_eq!(live(&replayed), [1, 3]);
    assert_eq!(damage.len(), 1);
    assert_eq!(damage[0].segment, "journal/00");
    let kept = fs.open(&damage[0].kept, crate::fs::Access::Read).unwrap();
    let bytes = read_exact_at(&kept, 0, kept.size().unwrap() as usize).unwrap();
    assert!(bytes.windows(3).any(|window| window == b"rot"));
    assert!(bytes.windows(9).any(|window| window == b"message 2"));
}

#[test]
fn a_damaged_segment_head_keeps_the_whole_segment_aside() {
    let fs = disk();
    let (mut journal, _) = Journal::open(&fs, GEOMETRY).unwrap();
    for number in 1..=4 {
        append(&mut journal, &[number]).unwrap();
    }
    fs.damage("journal/00", 0, b"rot");
    let (mut replayed, damage) = Journal::open(&fs, GEOMETRY).unwrap();
    assert_eq!(live(&replayed), [4]);
    assert_eq!((damage[0].from, damage[0].to), (0, 5 * 4096));
    append(&mut replayed, &[5]).unwrap();
    assert_eq!(live(&Journal::open(&fs, GEOMETRY).unwrap().0), [4, 5]);
}

/// Old content that shows up at a block boundary is not taken for a record, even if its sender wrote one.
#[test]
fn a_forged_record_in_old_content_is_not_replayed() {
    let fs = disk();
    let (mut journal, _) = Journal::open(&fs, GEOMETRY).unwrap();
    let mut forged = Vec::new();
    let entry = Entry { id: id(666), envelope: b"forged", content: Content::Inline(b"forged") };
    let position = Position { cookie: 0, generation: 4, sequence: 5, live_from: 1, first: true };
    record::write(&mut forged, position, Some(&entry));
    // The forged record starts exactly at the second block of the carrier.
    let carrier = record::length(&Entry { id: id(1), envelope: b"", content: Content::File }) as usize;
    let content = [vec![0; 4096 - carrier], forged].concat();
    journal.append(&[Entry { id: id(1), envelope: b"", content: Content::Inline(&content) }]).unwrap();
    journal.release(1);
    // Once around the ring: the carrier's first block is overwritten, its second is not.
    for number in 2..=8 {
        let sequences = append(&mut journal, &[number]).unwrap();
        journal.release(sequences.start);
    }
    append(&mut journal, &[9]).unwrap();
    let (replayed, damage) = Journal::open(&fs, GEOMETRY).unwrap();
    assert_eq!((live(&replayed), damage), (vec![9], vec![]));
}

#[test]
fn a_failed_write_or_sync_commits_nothing_and_the_next_one_works() {
    for fault in [Fault::Full, Fault::Sync] {
        for seed in 0..16 {
            let fs = disk();
            let (mut journal, _) = Journal::open(&fs, GEOMETRY).unwrap();
            append(&mut journal, &[1]).unwrap();
            fs.fail(fault, fs.operations()..fs.operations() + 2, seed);
            assert!(matches!(append(&mut journal, &[2, 3, 4]), Err(AppendError::Disk(_))));
            fs.fail(fault, 0..0, seed);
            append(&mut journal, &[5]).unwrap();
            let (replayed, damage) = Journal::open(&fs.crash(seed), GEOMETRY).unwrap();
            assert_eq!((live(&replayed), damage), (vec![1, 5], vec![]), "{fault:?} {seed}");
        }
    }
}

/// All records are one block long, so that the end of the failed write stands right behind the next one.
#[test]
fn the_end_of_a_failed_write_does_not_continue_the_next_one() {
    let bare = Entry { id: id(1), envelope: b"", content: Content::File };
    let content = vec![b'x'; (BLOCK - record::length(&bare)) as usize];
    let entry = |number| Entry { id: id(number), envelope: b"", content: Content::Inline(&content) };
    for seed in 0..16 {
        let fs = disk();
        let (mut journal, _) = Journal::open(&fs, GEOMETRY).unwrap();
        fs.fail(Fault::Sync, fs.operations()..fs.operations() + 2, seed);
        assert!(journal.append(&[entry(1), entry(2)]).is_err());
        fs.fail(Fault::Sync, 0..0, seed);
        journal.append(&[entry(3)]).unwrap();
        assert_eq!(live(&Journal::open(&fs.crash(seed), GEOMETRY).unwrap().0), [3], "seed {seed}");
    }
}

/// Nothing was written since the oldest segment became free, so no record has told that it is.
#[test]
fn a_torn_write_over_a_segment_that_was_just_freed_is_not_taken_for_damage() {
    for seed in 0..32 {
        let fs = disk();
        let (mut journal, _) = Journal::open(&fs, GEOMETRY).unwrap();
        for number in 1..=9 {
            append(&mut journal, &[number]).unwrap();
        }
        (1..=3).for_each(|sequence| journal.release(sequence));
        fs.fail(Fault::Stop, fs.operations() + seed as usize % 4..usize::MAX, seed);
        let _ = append(&mut journal, &[10]);
        let (replayed, damage) = Journal::open(&fs.crash(seed), GEOMETRY).unwrap();
        assert_eq!(damage, [], "seed {seed}");
        assert!((4..=9).all(|number| live(&replayed).contains(&number)), "seed {seed}");
    }
}

#[test]
fn a_read_only_disk_is_an_error_at_open() {
    let fs = disk();
    Journal::open(&fs, GEOMETRY).unwrap();
    fs.fail(Fault::ReadOnly, fs.operations()..usize::MAX, 1);
    assert!(Journal::open(&fs, GEOMETRY).is_err());
}

/// Stops a history of several laps, restarts included, at every operation.
#[test]
fn whatever_stops_nothing_acknowledged_is_missing_and_nothing_freed_comes_back() {
    #[derive(Default)]
    struct Truth {
        /// Committed and not released.
        live: Vec<u64>,
        /// Below the freed point when the journal last said so.
        gone: Vec<u64>,
        next: u64,
    }
    /// `lag` is how many messages are in flight: up to a ring that is full but for the segment in use.
    fn history(fs: &Model, truth: &mut Truth, lag: u64) -> Result<(), AppendError> {
        let (mut journal, damage) = Journal::open(fs, GEOMETRY).map_err(AppendError::Disk)?;
        assert_eq!(damage, []);
        for step in 0..16 {
            let batch: Vec<u64> = (truth.next..truth.next + 1 + step % 3).collect();
            truth.next += batch.len() as u64;
            let sequences = append(&mut journal, &batch)?;
            truth.live.extend(&batch[..(sequences.end - sequences.start) as usize]);
            let old: Vec<Live> = journal.live().filter(|live| live.sequence + lag < sequences.end).collect();
            for live in old {
                journal.release(live.sequence);
                truth.live.retain(|number| *number != live.id.number());
            }
            if step % 5 == 0 && lag < 6 {
                journal.checkpoint()?;
                let live = live(&journal);
                truth.gone.extend((0..truth.next).filter(|number| !live.contains(number)));
            }
        }
        Ok(())
    }
    let count = {
        let fs = disk();
        history(&fs, &mut Truth::default(), 0).unwrap();
        fs.operations()
    };
    for stop in 0..=count {
        for seed in 0..20 {
            let fs = disk();
            let mut truth = Truth::default();
            fs.fail(Fault::Stop, stop..stop + 1, seed);
            let _ = history(&fs, &mut truth, seed % 10);
            let fs = fs.crash(seed);
            let (journal, damage) = Journal::open(&fs, GEOMETRY).unwrap();
            let replayed = live(&journal);
            assert_eq!(damage, [], "stop at {stop}, seed {seed}");
            assert!(truth.live.iter().all(|number| replayed.contains(number)), "stop at {stop}: {replayed:?}");
            assert!(truth.gone.iter().all(|number| !replayed.contains(number)), "stop at {stop}: {replayed:?}");
            // And again from there, with a second crash.
            fs.fail(Fault::Stop, fs.operations() + stop % 20..usize::MAX, seed);
            truth.live = replayed;
            let _ = history(&fs, &mut truth, seed % 10);
            let (journal, damage) = Journal::open(&fs.crash(seed + 1), GEOMETRY).unwrap();
            let replayed = live(&journal);
            assert_eq!(damage, [], "second stop after {stop}, seed {seed}");
            assert!(truth.live.iter().all(|number| replayed.contains(number)), "second stop after {stop}");
        }
    }
}
