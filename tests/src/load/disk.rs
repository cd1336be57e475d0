//! What this disk allows anybody: the limits that figures are a share of.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use crate::options::{Options, Problem};
use crate::report::Report;
use crate::smtp::together;

const PAGE: [u8; 4096] = [b'x'; 4096];

/// With so many threads, each of these, `count` times in all: a new 4 KB file and its sync; a delivery (create, sync, rename,
/// sync of the directory); an append and its sync, one file a thread; and appends that share their syncs.
pub fn limits(options: &Options) -> Result<Report, Problem> {
    let (threads, count): (usize, usize) = (options.number("threads")?, options.number("count")?);
    let folder = Path::new(options.text("in")?);
    let mut report = Report::begin();
    for (name, work) in
        [("new_file", new_file as fn(&Path, usize) -> Result<(), Problem>), ("delivery", delivery), ("append", append)]
    {
        let place = folder.join(name);
        fs::create_dir_all(&place)?;
        rate(&mut report, name, threads, count, &|number| work(&place, number))?;
    }
    let group = Group::new(&folder.join("group"))?;
    rate(&mut report, "group_commit", threads, count, &|_| group.append())?;
    Ok(report.finish(count))
}

fn rate(
    report: &mut Report,
    name: &str,
    threads: usize,
    count: usize,
    work: &(dyn Fn(usize) -> Result<(), Problem> + Sync),
) -> Result<(), Problem> {
    let next = AtomicUsize::new(0);
    let began = Instant::now();
    together(threads, &|| {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return Ok(());
            }
            work(number)?;
        }
    })?;
    report.add(&format!("{name}_per_second"), count as f64 / began.elapsed().as_secs_f64());
    Ok(())
}

fn new_file(place: &Path, number: usize) -> Result<(), Problem> {
    let mut file = File::create_new(place.join(number.to_string()))?;
    file.write_all(&PAGE)?;
    Ok(file.sync_data()?)
}

fn delivery(place: &Path, number: usize) -> Result<(), Problem> {
    let (before, after) = (place.join(format!("tmp.{number}")), place.join(number.to_string()));
    let mut file = File::create_new(&before)?;
    file.write_all(&PAGE)?;
    file.sync_all()?;
    fs::rename(before, after)?;
    Ok(File::open(place)?.sync_all()?)
}

fn append(place: &Path, _: usize) -> Result<(), Problem> {
    let name = format!("{:?}", std::thread::current().id());
    let mut file = OpenOptions::new().create(true).append(true).open(place.join(name))?;
    file.write_all(&PAGE)?;
    Ok(file.sync_data()?)
}

/// One file to which all append; who holds the sync lock syncs for everybody that has written before.
struct Group {
    file: Mutex<(File, u64)>,
    synced: Mutex<u64>,
}

impl Group {
    fn new(path: &Path) -> Result<Group, Problem> {
        Ok(Group { file: Mutex::new((File::create_new(path)?, 0)), synced: Mutex::new(0) })
    }

    fn append(&self) -> Result<(), Problem> {
        let mine = {
            let mut file = self.file.lock().map_err(|_| "poisoned")?;
            file.0.write_all(&PAGE)?;
            file.1 += 1;
            file.1
        };
        let mut synced = self.synced.lock().map_err(|_| "poisoned")?;
        if *synced >= mine {
            return Ok(());
        }
        let (file, written) = {
            let file = self.file.lock().map_err(|_| "poisoned")?;
            (file.0.try_clone()?, file.1)
        };
        file.sync_data()?;
        *synced = written;
        Ok(())
    }
}
