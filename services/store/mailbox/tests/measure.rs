//! Figures, not checks: `cargo test --release -p store-mailbox --test measure -- --ignored --nocapture`.

use std::{fs::File, os::unix::ffi::OsStrExt, path::Path, sync::Arc, time::Instant};

use store_mailbox::{
    deliver::{Deliverer, Delivery},
    fs::real::RealFs,
    location::{Format, Fsync, Location, MailboxName},
    mailbox::{Access, Environment, FlagUpdate, Mailbox, UpdateMode},
    message::{Flags, Source},
};

const MESSAGES: usize = 5000;
const BATCH: usize = 20;

fn environment(path: &Path) -> Environment<RealFs> {
    let root = File::open(path).unwrap();
    let fs = RealFs::new(vec![(path.as_os_str().as_bytes().to_vec(), root.into())], b"host").unwrap();
    Environment { fs: Arc::new(fs), names: Arc::default(), fsync: Fsync::Optimized }
}

fn timed<T>(what: &str, f: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let value = f();
    eprintln!("  {what}: {:.2} ms", start.elapsed().as_secs_f64() * 1000.0);
    value
}

#[test]
#[ignore = "measures"]
fn measure() {
    for format in [Format::Maildir, Format::Sdbox] {
        eprintln!("{format:?}");
        let temp = tempfile::tempdir_in(".").unwrap();
        let environment = environment(temp.path());
        let location = Location { format, root: environment.fs.root(0).unwrap(), path: vec![b"mail".to_vec()] };
        let content = "Subject: x\nFrom: a@example.org\n\nbody of a message\n".repeat(80);
        let mut deliverer = Deliverer::new(environment.clone(), true);
        timed(&format!("deliver {MESSAGES} of {} bytes, {BATCH} at a time", content.len()), || {
            for _ in 0..MESSAGES / BATCH {
                let one = || Delivery {
                    location: &location,
                    key: "mail",
                    mailbox: MailboxName::inbox(),
                    create: false,
                    prefix: b"Return-Path: <a@example.org>\n",
                    source: Source::Bytes(content.as_bytes()),
                };
                let batch: Vec<_> = (0..BATCH).map(|_| one()).collect();
                assert!(deliverer.deliver(&batch).iter().all(Result::is_ok));
            }
        });
        let open = || Mailbox::open(&environment, &location, &MailboxName::inbox(), Access::Select).unwrap();
        let mut inbox = timed("SELECT, first time", open);
        let uids: Vec<u32> = inbox.messages().iter().map(|m| m.uid).collect();
        assert_eq!(uids.len(), MESSAGES);
        timed("sizes and dates, first time", || assert!(uids.iter().all(|uid| inbox.facts(*uid).is_ok())));
        uids.iter().for_each(|uid| inbox.put_cached(*uid, 1, &content.as_bytes()[..300]));
        timed("flush", || inbox.flush().unwrap());
        std::thread::sleep(std::time::Duration::from_millis(2200));
        drop(timed("SELECT, after a second", open));
        let mut inbox = timed("SELECT, unchanged", open);
        let mut total = 0;
        timed("prepared answers of all", || {
            uids.iter().for_each(|uid| total += inbox.cached(*uid, 1).map_or(0, <[u8]>::len));
        });
        assert_eq!(total, MESSAGES * 300);
        let update = |flags| FlagUpdate { mode: UpdateMode::Add, flags, keywords: Vec::new(), unchanged_since: None };
        timed("STORE one", || inbox.store(&uids[..1], &update(Flags::SEEN)).unwrap());
        timed("STORE all", || inbox.store(&uids, &update(Flags::DELETED)).unwrap());
        timed("sync", || inbox.sync().unwrap());
        timed("EXPUNGE all", || inbox.expunge(None).unwrap());
    }
}
