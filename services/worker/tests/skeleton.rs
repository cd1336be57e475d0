//! What every worker does by its skeleton, shown on the example `echo`, started as the master starts it.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ipc_messages::control::FromWorker;
use tempfile::TempDir;
use worker::testing::{Given, Started, jail};
use worker::{Hub, Peer};

/// The example, which cargo builds beside the tests.
fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().and_then(Path::parent).unwrap().join("examples/echo")
}

struct World {
    worker: Started,
    folder: TempDir,
}

impl World {
    fn new(client_limit: u32, max_files: u64) -> World {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("socket")).unwrap();
        let given = Given { listeners: vec![listener], client_limit, ..Given::default() };
        let jail = ipc_jail::Jail { max_files, ..jail(folder.path()) };
        World { worker: Started::with(program().to_str().unwrap(), &(), given, jail), folder }
    }

    fn client(&self) -> UnixStream {
        let client = UnixStream::connect(self.folder.path().join("socket")).unwrap();
        client.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        client
    }
}

/// Whether the worker serves this client, within the client's patience.
fn served(client: &mut UnixStream) -> bool {
    client.write_all(b"x").unwrap();
    match client.read(&mut [0]) {
        Ok(n) => n == 1,
        Err(error) if error.kind() == ErrorKind::WouldBlock => false,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn the_master_hears_of_a_channel_that_its_hub_gave_up() {
    let world = World::new(1, 256);
    let mut hub = world.worker.link(Peer::Hub(Hub::Qmgr), 7);
    assert_eq!(hub.receive::<String>().as_deref(), Some("hello"));
    drop(hub);
    assert_eq!(world.worker.said(), Some(FromWorker::Lost { hub: Hub::Qmgr, link: 7 }));
    let mut again = world.worker.link(Peer::Hub(Hub::Qmgr), 8);
    assert_eq!(again.receive::<String>().as_deref(), Some("hello"), "the new one is used");
}

#[test]
fn the_master_hears_of_a_channel_that_its_asker_gave_up_and_the_log_says_why() {
    let world = World::new(1, 256);
    let mut hub = world.worker.link(Peer::Hub(Hub::Qmgr), 7);
    assert_eq!(hub.receive::<String>().as_deref(), Some("hello"));
    hub.send_raw(&[0xff; 8]);
    assert_eq!(hub.receive::<String>(), None);
    assert_eq!(world.worker.said(), Some(FromWorker::Lost { hub: Hub::Qmgr, link: 7 }));
    let mut hub = world.worker.link(Peer::Hub(Hub::Qmgr), 8);
    hub.send(&"nonsense");
    assert_eq!(world.worker.said(), Some(FromWorker::Lost { hub: Hub::Qmgr, link: 8 }));
    let log = world.worker.log_lines();
    assert!(
        log.iter().any(|line| line.contains("channel to qmgr: a frame of 4294967295 bytes is over the limit")),
        "{log:?}"
    );
    assert!(log.iter().any(|line| line.ends_with("channel to qmgr: given up")), "{log:?}");
}

#[test]
fn the_end_of_a_hub_is_told_before_its_successor() {
    let world = World::new(1, 256);
    for round in 1..20 {
        let mut first = world.worker.link(Peer::Hub(Hub::Qmgr), 2 * round);
        assert_eq!(first.receive::<String>().as_deref(), Some("hello"));
        // Both pieces of news are there at once, in either order; in every other round the first process has not even ended.
        let kept = if round % 2 == 0 { Some(first) } else { None };
        let mut second = world.worker.link(Peer::Hub(Hub::Qmgr), 2 * round + 1);
        assert_eq!(second.receive::<String>().as_deref(), Some("hello"));
        drop((kept, second));
        for link in [2 * round, 2 * round + 1] {
            assert_eq!(world.worker.said(), Some(FromWorker::Lost { hub: Hub::Qmgr, link }));
        }
        let log = world.worker.log_lines();
        let news: Vec<&str> = log.iter().filter_map(|line| line.strip_prefix("Info: qmgr is ")).collect();
        assert_eq!(news, ["there", "gone", "there", "gone"], "round {round}");
    }
}

#[test]
fn a_flood_goes_through_a_channel_that_cannot_hold_it() {
    let world = World::new(1, 256);
    let mut asker = world.worker.client();
    asker.send(&"flood");
    for number in 0..100 {
        assert_eq!(
            asker.receive::<String>().unwrap().trim_start_matches('0'),
            number.to_string().trim_start_matches('0')
        );
    }
    assert_eq!(world.worker.log_lines(), ["Info: test[".to_string() + &std::process::id().to_string() + "] is there"]);
}

#[test]
fn a_client_that_breaks_its_channel_is_named_and_is_no_matter_for_the_master() {
    let world = World::new(1, 256);
    let mut asker = world.worker.client();
    asker.send_raw(&[0xff; 8]);
    assert_eq!(asker.receive::<String>(), None);
    drop(world.worker.link(Peer::Hub(Hub::Qmgr), 3));
    assert_eq!(world.worker.said(), Some(FromWorker::Lost { hub: Hub::Qmgr, link: 3 }), "nothing came before it");
    let log = world.worker.log_lines();
    assert!(log.iter().any(|line| line.contains(&format!("channel to test[{}]: ", std::process::id()))), "{log:?}");
}

#[test]
fn without_descriptors_new_clients_wait_and_the_log_says_so_once() {
    let world = World::new(100, 20);
    let mut clients: Vec<UnixStream> = (0..30).map(|_| world.client()).collect();
    let count = |clients: &mut Vec<UnixStream>| clients.iter_mut().map(served).filter(|served| *served).count();
    let first = count(&mut clients);
    assert!((1..20).contains(&first), "{first} clients are served");
    let complaints = |lines: Vec<String>| lines.into_iter().filter(|line| line.contains("Too many open files")).count();
    assert_eq!(complaints(world.worker.log_lines()), 1, "however often it is tried");
    // Those that are served leave, and the others come in.
    clients.drain(..first);
    let since = Instant::now();
    while !served(&mut clients[0]) {
        assert!(since.elapsed() < Duration::from_secs(10), "nobody is accepted any more");
    }
}

#[test]
fn above_the_client_limit_clients_wait_for_room() {
    let world = World::new(2, 256);
    let mut clients: Vec<UnixStream> = (0..3).map(|_| world.client()).collect();
    assert_eq!(clients.iter_mut().map(served).collect::<Vec<_>>(), [true, true, false]);
    drop(clients.remove(0));
    clients[1].set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    assert_eq!(clients[1].read(&mut [0]).unwrap(), 1, "its byte of before is answered");
}

#[test]
fn a_worker_whose_master_is_gone_ends_at_once_or_after_a_while_with_a_client() {
    let mut idle = World::new(1, 256);
    assert!(idle.worker.orphan() < Duration::from_secs(2));
    let mut busy = World::new(1, 256);
    let mut client = busy.client();
    assert!(served(&mut client));
    let outlived = busy.worker.orphan();
    assert!((Duration::from_secs(4)..Duration::from_secs(8)).contains(&outlived), "{outlived:?}");
    let log = busy.worker.log_lines();
    assert!(log.iter().any(|line| line.contains("the master is gone")), "{log:?}");
}
