//! The program itself, in its jail: what a sender, the lookup service and qmgr hear of it.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipc_config::diagnostic::Diagnostics;
use ipc_config::postfix::main_cf::MainCf;
use ipc_config::postfix::system::ThisHost;
use ipc_config::section::Section;
use ipc_messages::control::{Folder, FolderAccess, Hub, Peer};
use ipc_messages::envelope::Recipient;
use ipc_messages::intake::{FromCleanup, ToCleanup};
use ipc_messages::lookup::{FromLookup, ToLookup};
use ipc_messages::queue::ToQmgr;
use ipc_messages::queue_id::QueueId;
use store_queue::fs::Directory;
use store_queue::queue_file::QueueFile;
use store_queue::testing::envelope;
use worker::testing::{Asker, Started, jail};

fn section() -> Section {
    let mut found = Diagnostics::new();
    let main = MainCf::parse("myhostname = mail.example.org\n", "main.cf", Arc::new(ThisHost), &mut found);
    Section::of_main_cf(&main, "cleanup", &mut found)
}

fn start(queue: &Path) -> Started {
    let folders = vec![Folder { path: queue.into(), access: FolderAccess::Write }];
    let mut jail = jail(&std::env::temp_dir());
    if nix::unistd::geteuid().is_root() {
        nix::unistd::chown(queue, Some(jail.uid.into()), Some(jail.gid.into())).unwrap();
    } else {
        (jail.uid, jail.gid) = (nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw());
    }
    Started::with_folders(env!("CARGO_BIN_EXE_cleanup"), &section(), folders, jail)
}

/// Sends a message and answers the lookup service's question. Returns its queue ID, once it is queued.
fn queue(sender: &mut Asker, lookup: &mut Asker) -> QueueId {
    let Some(FromCleanup::Ids { mut ids, long: false }) = sender.receive() else { panic!("no numbers") };
    let queue_id = QueueId::short(5, ids.take().unwrap());
    sender.send(&ToCleanup::Begin { id: 1, envelope: Box::new(envelope(queue_id, 0)) });
    let recipient =
        Recipient { address: "a@example.net".into(), original: None, dsn_orcpt: None, notify: Default::default() };
    sender.send(&ToCleanup::Recipient { id: 1, recipient });
    sender.send(&ToCleanup::Body { id: 1, bytes: b"Subject: x\n\nbody\n".to_vec() });
    sender.send(&ToCleanup::Commit { id: 1 });
    let Some(ToLookup::Expand { corr, address }) = lookup.receive() else { panic!("no question") };
    lookup.send(&FromLookup::Expanded { corr, recipients: Ok(vec![address]), more: false });
    assert_eq!(sender.receive(), Some(FromCleanup::Queued { id: 1 }));
    queue_id
}

#[test]
fn a_message_survives_the_process_and_gets_a_file_when_nobody_comes_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let first = start(folder.path());
    let (mut lookup, mut sender) = (first.channel(Peer::Hub(Hub::Lookup)), first.client());
    let queue_id = queue(&mut sender, &mut lookup);
    assert!(first.log_lines().contains(&format!("Info: {queue_id}: message-id=<>")));
    drop(first);

    let second = start(folder.path());
    let queue = Directory::open(folder.path()).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    let file = loop {
        match QueueFile::open(&queue, store_queue::Folder::Incoming, queue_id) {
            Ok(file) => break file,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    file.verify_content().unwrap();
    assert_eq!(file.envelope.recipients[0].address, "a@example.net");

    let mut qmgr = second.channel(Peer::Hub(Hub::Qmgr));
    let told = |message: Option<ToQmgr>| match message {
        Some(ToQmgr::New { queue_id: told, in_file: true, .. }) => Some(told),
        Some(ToQmgr::Freed { .. } | ToQmgr::Replayed) => None,
        other => panic!("{other:?}"),
    };
    assert_eq!(told(qmgr.receive()), Some(queue_id), "its record is released and may still come back");
}

#[test]
fn a_sender_that_breaks_the_rules_is_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let cleanup = start(folder.path());
    let mut sender = cleanup.client();
    let begin = || ToCleanup::Begin { id: 1, envelope: Box::new(envelope(QueueId::short(1, 70_000), 0)) };
    sender.send(&begin());
    sender.send(&begin());
    while let Some(message) = sender.receive() {
        assert!(matches!(message, FromCleanup::Ids { .. }));
    }
    let mut next = cleanup.client();
    assert!(matches!(next.receive(), Some(FromCleanup::Ids { .. })), "the others are served");
}
