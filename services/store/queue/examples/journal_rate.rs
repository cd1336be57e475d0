//! How many messages a second the intake journal commits: `cargo run --release --example journal_rate -- FOLDER`.
//!
//! Each message is 4 KiB and is released as soon as it is committed, so that the ring is recycled all the time.

use std::path::Path;
use std::time::{Duration, Instant};

use ipc_messages::envelope::QueueId;
use store_queue::fs::Directory;
use store_queue::journal::{Content, Entry, Geometry, Journal};

const RUN: Duration = Duration::from_secs(3);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args().nth(1).ok_or("usage: journal_rate FOLDER (an empty one, on the disk to measure)")?;
    let fs = Directory::open(Path::new(&folder))?;
    store_queue::prepare(&fs)?;
    let started = Instant::now();
    let (mut journal, _) = Journal::open(&fs, Geometry::default())?;
    println!("ring made or replayed in {:?}", started.elapsed());

    let content = vec![b'x'; 4096];
    let entry = Entry { id: QueueId::short(0, 70_000), envelope: &[0; 300], content: Content::Inline(&content) };
    for batch in [1, 7, 20] {
        let batch_entries = vec![entry; batch];
        let (mut records, mut writes) = (0u64, 0u64);
        let started = Instant::now();
        while started.elapsed() < RUN {
            let mut rest = &batch_entries[..];
            while !rest.is_empty() {
                let sequences = journal.append(rest)?;
                rest = &rest[(sequences.end - sequences.start) as usize..];
                records += sequences.end - sequences.start;
                writes += 1;
                sequences.for_each(|sequence| journal.release(sequence));
            }
        }
        let seconds = started.elapsed().as_secs_f64();
        println!(
            "batch {batch:2}: {:8.0} records/s, {:6.0} writes/s",
            records as f64 / seconds,
            writes as f64 / seconds
        );
    }
    Ok(())
}
