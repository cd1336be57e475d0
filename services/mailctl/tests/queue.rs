//! The commands of the queue and of control, against a master and a queue manager that the test plays: what they ask, and
//! what they print of the answers.

mod common;

use std::fs::File;
use std::io::{Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use common::{Bench, said};
use ipc_messages::admin::{Answer, HalfName, PID_FILE, Request, SOCKET, ServiceRow};
use ipc_messages::control::Hub;
use ipc_messages::queue::{Listed, QueueAnswer, QueueRequest};
use ipc_wire::{Channel, Filled};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::de::DeserializeOwned;

/// The next message; `None` when the other end has gone.
fn receive<T: DeserializeOwned>(channel: &mut Channel) -> Option<T> {
    let mut is_open = true;
    loop {
        if let Some(frame) = channel.next_frame().unwrap() {
            return Some(frame.decode().unwrap().0);
        }
        if !is_open {
            return None;
        }
        poll(&mut [PollFd::new(channel.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE).unwrap();
        is_open = channel.fill().unwrap() != Filled::Ended;
    }
}

fn send<T: serde::Serialize>(channel: &mut Channel, message: &T, fds: Vec<OwnedFd>) {
    channel.send(message, fds).unwrap();
    assert!(channel.flush().unwrap());
}

const REASON: &str = "connect to 127.0.0.1[127.0.0.1]:9: Connection refused";

fn message(queue: &str, id: &str, recipients: &[&str]) -> Listed {
    Listed {
        queue: queue.into(),
        queue_id: id.parse().unwrap(),
        arrival: 1_795_219_116,
        size: 255,
        sender: "me@a.test".into(),
        recipients: recipients.iter().map(|to| ((*to).to_owned(), Some(REASON.to_owned()))).collect(),
        offset: 0,
    }
}

/// A queue of two messages; it writes down what it is asked.
fn queue_manager(socket: UnixStream, asked: &Mutex<Vec<QueueRequest>>) {
    let mut channel = Channel::new(socket).unwrap();
    while let Some(request) = receive::<QueueRequest>(&mut channel) {
        asked.lock().unwrap().push(request.clone());
        let both = [
            message("hold", "69C4463", &["you@b.test"]),
            message("deferred", "6835060", &["you@b.test", "other@c.test"]),
        ];
        let count = match &request {
            QueueRequest::List => {
                both.iter().for_each(|one| send(&mut channel, &QueueAnswer::Message(one.clone()), vec![]));
                2
            }
            QueueRequest::Open(id) => {
                if id.as_str() != "69C4463" {
                    send(&mut channel, &QueueAnswer::Failed("no such message".into()), vec![]);
                    continue;
                }
                let mut file: File = tempfile::tempfile().unwrap();
                file.write_all(b"#####Subject: hi\n\nbody\n").unwrap();
                file.rewind().unwrap();
                let listed = Listed { offset: 5, size: 18, ..both[0].clone() };
                send(&mut channel, &QueueAnswer::Message(listed), vec![file.into()]);
                1
            }
            QueueRequest::Flush
            | QueueRequest::Delete(None)
            | QueueRequest::Hold(None)
            | QueueRequest::Release(None)
            | QueueRequest::Requeue(None) => 2,
            QueueRequest::FlushOne(id)
            | QueueRequest::Delete(Some(id))
            | QueueRequest::Hold(Some(id))
            | QueueRequest::Release(Some(id))
            | QueueRequest::Requeue(Some(id)) => u32::from(both.iter().any(|one| one.queue_id == *id)),
        };
        send(&mut channel, &QueueAnswer::End { count }, vec![]);
    }
}

fn row(half: &str, name: &str) -> ServiceRow {
    ServiceRow {
        half: half.into(),
        name: name.into(),
        program: name.into(),
        listeners: vec!["127.0.0.1:25".into()],
        pids: vec![4711],
        limit: 2,
        client_limit: 100,
        uid: 900,
        root: "/r".into(),
        throttled: false,
    }
}

/// A master that runs both halves; it writes down what it is asked, but for the services.
struct Master {
    bench: Bench,
    asked: Arc<Mutex<Vec<Request>>>,
    queue: Arc<Mutex<Vec<QueueRequest>>>,
    _thread: JoinHandle<()>,
}

impl Master {
    fn start() -> Master {
        let bench = Bench::new();
        bench.state_here("");
        bench.write(PID_FILE, "4712\n");
        let listener = UnixListener::bind(bench.path().join(SOCKET)).unwrap();
        let (asked, queue) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
        let (ours, queue_ours) = (Arc::clone(&asked), Arc::clone(&queue));
        let thread = std::thread::spawn(move || {
            let mut halves = vec![("transport", "smtp"), ("mailbox", "imap-login")];
            for socket in listener.incoming() {
                let mut channel = Channel::new(socket.unwrap()).unwrap();
                let request = receive::<Request>(&mut channel).unwrap();
                let mut fds = Vec::new();
                match &request {
                    Request::Services => {
                        halves.iter().for_each(|(half, name)| {
                            send(&mut channel, &Answer::Service(row(half, name)), vec![]);
                        });
                    }
                    Request::Visit(Hub::Qmgr) => {
                        let (near, far) = UnixStream::pair().unwrap();
                        fds.push(far.into());
                        let queue = Arc::clone(&queue_ours);
                        std::thread::spawn(move || queue_manager(near, &queue));
                    }
                    Request::Stop(Some(HalfName::Transport)) => halves.retain(|(half, _)| *half != "transport"),
                    Request::Stop(Some(HalfName::Mailbox)) => halves.retain(|(half, _)| *half != "mailbox"),
                    _ => {}
                }
                let is_bad = request == Request::Reload(Some(HalfName::Mailbox));
                let end = if is_bad { Err("dovecot.conf:2: bad".to_owned()) } else { Ok(()) };
                if !matches!(request, Request::Services | Request::Visit(_)) {
                    ours.lock().unwrap().push(request);
                }
                send(&mut channel, &Answer::End(end), fds);
            }
        });
        Master { bench, asked, queue, _thread: thread }
    }

    fn asked(&self) -> Vec<Request> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }

    fn queue_asked(&self) -> Vec<QueueRequest> {
        std::mem::take(&mut self.queue.lock().unwrap())
    }
}

#[test]
fn the_queue_is_listed() {
    let master = Master::start();
    let listed = master.bench.run("mailq", "");
    assert_eq!((listed.status, listed.errors.as_str()), (0, ""));
    let lines: Vec<&str> = listed.output.lines().collect();
    assert_eq!(lines[0], "-Queue ID-  --Size-- ----Arrival Time---- -Sender/Recipient-------");
    assert!(lines[1].starts_with("6835060         255 ") && lines[1].ends_with("  me@a.test"), "{}", lines[1]);
    assert_eq!(lines[2], format!("{:23}({REASON})", ""));
    assert_eq!(lines[3..6], [&format!("{:41}you@b.test", ""), &format!("{:41}other@c.test", ""), ""]);
    assert!(lines[6].starts_with("69C4463!        255 "));
    assert_eq!(lines.last(), Some(&"-- 0 Kbytes in 2 Requests."));
    assert_eq!(master.bench.environment("sendmail", &["-bp"]), listed);
    let json = master.bench.run("postqueue", "-j").output;
    assert!(
        json.starts_with("{\"queue_name\": \"deferred\", \"queue_id\": \"6835060\", \"arrival_time\": 1795219116, ")
    );
    assert_eq!(json.lines().count(), 2);
    let ours = master.bench.run("mailctl", "queue").output;
    assert!(ours.starts_with("6835060\tdeferred\t") && ours.lines().count() == 3, "{ours}");
    assert_eq!(master.bench.run("mailctl", "queue --json").output, json);
}

#[test]
fn mail_is_attempted() {
    let master = Master::start();
    let id = "6835060".parse().unwrap();
    for (words, expected) in [
        ("-f", vec![QueueRequest::Flush]),
        ("-i 6835060", vec![QueueRequest::FlushOne(id)]),
        ("-i xxx", vec![]),
        ("-s C.test", vec![QueueRequest::List, QueueRequest::FlushOne(id)]),
    ] {
        assert_eq!(master.bench.run("postqueue", words), said(0, ""), "{words}");
        assert_eq!(master.queue_asked(), expected, "{words}");
    }
    assert_eq!(master.bench.run("postfix", "flush"), said(0, ""));
    assert_eq!(master.bench.environment("sendmail", &["-q"]), said(0, ""));
    assert_eq!(master.queue_asked(), [QueueRequest::Flush, QueueRequest::Flush]);
    assert_eq!(master.bench.run("mailctl", "queue flush").output, "2 messages\n");
}

#[test]
fn messages_are_changed() {
    let master = Master::start();
    if !nix::unistd::getuid().is_root() {
        let refused = "postsuper: fatal: use of this command is reserved for the superuser\n";
        assert_eq!(master.bench.run("postsuper", "-d ALL"), said(1, refused));
        return;
    }
    let id = "69C4463".parse().unwrap();
    for (words, expected, errors) in [
        ("-d 69C4463", vec![QueueRequest::Delete(Some(id))], "69C4463: removed\nDeleted: 1 message\n"),
        ("-d 69C4464", vec![QueueRequest::Delete(Some("69C4464".parse().unwrap()))], "Deleted: 0 messages\n"),
        ("-h ALL", vec![QueueRequest::Hold(None)], "Placed on hold: 2 messages\n"),
        ("-d xxx", vec![], "Deleted: 0 messages\n"),
        ("-d ../x", vec![], "warning: invalid mail queue id: ../x\nDeleted: 0 messages\n"),
        (
            "-H 69C4463 -r 69C4463",
            vec![QueueRequest::Release(Some(id)), QueueRequest::Requeue(Some(id))],
            "69C4463: released from hold\n69C4463: requeued\nRequeued: 1 message\nReleased from hold: 1 message\n",
        ),
        ("-d ALL hold", vec![QueueRequest::List, QueueRequest::Delete(Some(id))], "Deleted: 1 message\n"),
    ] {
        let prefixed: String = errors.lines().map(|line| format!("postsuper: {line}\n")).collect();
        assert_eq!(master.bench.run("postsuper", words), said(0, &prefixed), "{words}");
        assert_eq!(master.queue_asked(), expected, "{words}");
    }
    assert_eq!(
        master.bench.run("postsuper", "-d ALL nosuch"),
        said(1, "postsuper: fatal: invalid directory name: nosuch\n")
    );
    assert_eq!(master.bench.run("postsuper", "-e ALL").status, 69);
    assert!(master.bench.read("log").contains("]: 69C4463: removed"));
}

#[test]
fn a_message_is_shown() {
    let master = Master::start();
    assert_eq!(master.bench.run("postcat", "-bhq 69C4463").output, "Subject: hi\n\nbody\n");
    assert_eq!(master.bench.run("postcat", "-hq 69C4463").output, "Subject: hi\n");
    let whole = master.bench.run("postcat", "-q 69C4463").output;
    assert!(whole.starts_with("*** ENVELOPE RECORDS hold/69C4463 ***\n"), "{whole}");
    assert_eq!(
        master.bench.run("postcat", "-q 6835060"),
        said(1, "postcat: fatal: open queue file 6835060: No such file or directory\n")
    );
    assert_eq!(master.bench.run("mailctl", "queue show 69C4463").output, "Subject: hi\n\nbody\n");
}

#[test]
fn the_system_is_controlled() {
    let master = Master::start();
    let run = |name: &str, words: &str| master.bench.run(name, words);
    assert_eq!(run("mailctl", "reload"), said(0, ""));
    assert_eq!(run("mailctl", "reload transport"), said(0, ""));
    assert_eq!(run("postfix", "reload"), said(0, ""));
    assert_eq!(run("mailctl", "reload mailbox"), said(78, "mailctl: dovecot.conf:2: bad\n"));
    assert_eq!(run("mailctl", "reopen"), said(0, ""));
    assert_eq!(run("postfix", "start"), said(1, ""));
    assert_eq!(run("mailctl", "start"), said(75, "mailctl: the mail system is already running\n"));
    assert_eq!(run("postfix", "status"), said(0, ""));
    let status = run("mailctl", "status").output;
    assert!(
        status.starts_with("the mail system is running: PID: 4712\ntransport: 1 services, 1 processes\n"),
        "{status}"
    );
    assert!(
        run("mailctl", "services").output.starts_with("transport\tsmtp\tsmtp\t127.0.0.1:25\t1/2\t100\t900\t/r\tok\n")
    );
    assert_eq!(run("mailctl", "services --json").output.lines().count(), 2);
    assert_eq!(run("postfix", "stop"), said(0, ""));
    assert_eq!(run("postfix", "stop"), said(1, ""));
    assert_eq!(
        master.asked(),
        [
            Request::Reload(None),
            Request::Reload(Some(HalfName::Transport)),
            Request::Reload(Some(HalfName::Transport)),
            Request::Reload(Some(HalfName::Mailbox)),
            Request::Reopen,
            Request::Stop(Some(HalfName::Transport)),
        ]
    );
    let log = master.bench.read("log");
    for line in [
        "refreshing the Postfix mail system",
        "fatal: the Postfix mail system is already running",
        "the Postfix mail system is running: PID: 4712",
        "stopping the Postfix mail system",
        "fatal: the Postfix mail system is not running",
    ] {
        assert!(
            log.lines().any(|said| said.contains("postfix/postfix-script[") && said.ends_with(line)),
            "{line}\n{log}"
        );
    }
    assert_eq!(log.matches("refreshing").count(), 3, "not for the mailbox half");
}
