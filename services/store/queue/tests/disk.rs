//! The queue on a real file system.

use std::io::Read;
use std::os::unix::fs::PermissionsExt;

use ipc_messages::envelope::QueueId;
use store_queue::body::Body;
use store_queue::fs::{Directory, Fs};
use store_queue::ids::IdAllocator;
use store_queue::journal::{Content, Entry, Geometry, Journal, Live};
use store_queue::outcome::{Outcome, OutcomeLog};
use store_queue::queue_file::{self, CONTENT_OFFSET, Draft, QueueFile};
use store_queue::recover::{Place, recover, sweep};
use store_queue::testing::envelope;
use store_queue::{Folder, prepare, relocate};

const GEOMETRY: Geometry = Geometry { segments: 2, segment_size: 64 * 1024 };

#[test]
fn a_message_goes_all_the_way() {
    let folder = tempfile::tempdir().unwrap();
    let fs = Directory::open(folder.path()).unwrap();
    prepare(&fs).unwrap();
    prepare(&fs).unwrap();
    let number = IdAllocator::open(&fs, 1).unwrap().block(1).unwrap().from;
    let id = QueueId::short(99, number);
    let encoded = envelope(id, 2).encode().unwrap();
    {
        let (mut journal, _) = Journal::open(&fs, GEOMETRY).unwrap();
        let entry = Entry { id, envelope: &encoded, content: Content::Inline(b"Subject: x\n\nbody\n") };
        journal.append(&[entry]).unwrap();
        let (mut log, _) = OutcomeLog::open(&fs).unwrap();
        log.commit(&[Outcome::Done { id, recipient: 1 }]).unwrap();
    }
    let (mut journal, damage) = Journal::open(&fs, GEOMETRY).unwrap();
    assert_eq!(damage, []);
    let replayed: Vec<Live> = journal.live().collect();
    sweep(&fs, &replayed).unwrap();
    let (mut log, _) = OutcomeLog::open(&fs).unwrap();
    let survivor = recover(&fs, &replayed, &log).unwrap().messages[0];
    assert_eq!((survivor.id, survivor.place), (id, Place::Journal));
    assert_eq!(log.pending(id, 2), [0]);

    let message = journal.read(survivor.journal).unwrap();
    let mut draft = Draft::create(&fs, id).unwrap();
    draft.push(&message.content.unwrap()).unwrap();
    draft.seal(&message.envelope).unwrap();
    queue_file::publish(&fs, Folder::Deferred, &[id]).unwrap();
    journal.release(survivor.journal);
    relocate(&fs, id, Folder::Deferred, Folder::Hold).unwrap();
    let mode = |path: &str| std::fs::metadata(folder.path().join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&Folder::Hold.path(id)), 0o660, "cleanup and qmgr share it");
    assert_eq!([mode("ids"), mode("journal/00"), mode("outcomes")], [0o600; 3]);
    assert_eq!(mode("deferred"), 0o770);

    let file = QueueFile::open(&fs, Folder::Hold, id).unwrap();
    let mut body = Body::new(file.file.into(), CONTENT_OFFSET, file.content_length);
    let mut text = String::new();
    body.read_to_string(&mut text).unwrap();
    assert_eq!(text, "Subject: x\n\nbody\n");

    log.commit(&[Outcome::Done { id, recipient: 0 }, Outcome::Removed { id, journal: survivor.journal }]).unwrap();
    fs.unlink(&Folder::Hold.path(id)).unwrap();
    journal.checkpoint().unwrap();
    log.compact(journal.freed()).unwrap();
    assert!(!log.is_removed(id));
    let (journal, _) = Journal::open(&fs, GEOMETRY).unwrap();
    assert_eq!(journal.live().count(), 0);
}

#[test]
fn links_are_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    let fs = Directory::open(folder.path()).unwrap();
    std::fs::write(folder.path().join("target"), "secret").unwrap();
    std::os::unix::fs::symlink("target", folder.path().join("link")).unwrap();
    assert!(fs.open("link", store_queue::fs::Access::Read).is_err());
    assert!(fs.create("link").is_err());
}
