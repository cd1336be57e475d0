//! The template as the master starts it, with the test in the place of the master, of `auth`, of the login process and of
//! the log.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ipc_config::dovecot::sections::{Auto, Listing, Mailbox, Namespace, Ownership};
use ipc_config::section::Section;
use ipc_jail::Jail;
use ipc_messages::auth::{FromAuth, ToAuth, User};
use ipc_messages::control::{Boot, Folder, FolderAccess, Hub, Peer, ToWorker, build};
use ipc_messages::handoff::{Handoff, PID_LEN};
use ipc_messages::log::{Half, Identity, MAX_PACKET, Record};
use ipc_wire::{Channel, packet};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{Gid, Pid, Uid};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The ticket that is good.
pub const TICKET: [u8; 16] = *b"a good ticket...";

/// A running template and everything around it.
pub struct World {
    pub folder: tempfile::TempDir,
    pub pid: Pid,
    control: OwnedFd,
    inbox: OwnedFd,
    log: OwnedFd,
    auth: Channel,
    lines: Vec<String>,
    account: (u32, u32),
}

/// A client that was handed over.
pub struct Client {
    pub socket: UnixStream,
    report: UnixStream,
}

/// The configuration of the tests: Debian's namespace and a mail location.
pub fn section(location: &str) -> Section {
    let mut section = Section::default();
    for (name, value) in [
        ("mail_location", location),
        ("mail_home", ""),
        ("mail_fsync", "optimized"),
        ("mail_log_prefix", "%s(%u)<%{pid}><%{session}>: "),
        ("mail_max_lock_timeout", "0"),
        ("mail_debug", "yes"),
        ("imap_idle_notify_interval", "120"),
        ("imap_hibernate_timeout", "1"),
        ("imap_id_send", "name *"),
        ("imap_capability", ""),
        ("imap_max_line_length", "65536"),
        ("imap_logout_format", "in=%i out=%o expunged=%{expunged}"),
    ] {
        section.mailbox.insert(name, value);
    }
    let mailbox = |name: &str, special_use: &str, auto| Mailbox {
        name: name.into(),
        auto,
        special_use: vec![special_use.into()],
        autoexpunge: 0,
        autoexpunge_max_mails: 0,
    };
    section.namespaces.push(Namespace {
        name: "inbox".into(),
        ownership: Ownership::Private,
        separator: None,
        prefix: String::new(),
        location: String::new(),
        inbox: true,
        hidden: false,
        list: Listing::Yes,
        subscriptions: true,
        ignore_on_failure: false,
        order: 0,
        mailboxes: vec![mailbox("Drafts", "\\Drafts", Auto::No), mailbox("Trash", "\\Trash", Auto::Subscribe)],
    });
    section
}

impl World {
    /// Starts a template for homes in a new folder.
    pub fn new(section: &Section) -> World {
        let folder = tempfile::tempdir().unwrap();
        let account = match Uid::effective().is_root() {
            true => (61_234, 61_234),
            false => (Uid::effective().as_raw(), Gid::effective().as_raw()),
        };
        let (jail, homes) = (folder.path().join("jail"), folder.path().join("homes"));
        for path in [&jail, &homes] {
            fs::create_dir(path).unwrap();
        }
        std::os::unix::fs::chown(&homes, Some(account.0), Some(account.1)).unwrap();
        let boot = Boot {
            build: build(),
            service: "imap".into(),
            identity: Identity { half: Half::Mailbox, tag: "imap".into() },
            section: postcard::to_stdvec(section).unwrap(),
            listeners: Vec::new(),
            inbox: true,
            folders: vec![Folder { path: homes.clone(), access: FolderAccess::Write }],
            jail: Jail {
                root: jail,
                uid: account.0,
                gid: account.1,
                groups: Vec::new(),
                max_files: 1024,
                max_memory: None,
                without_landlock: true,
                local_sockets: false,
            },
            client_limit: 100,
            max_use: 0,
            max_idle: 0,
        };
        let boot = ipc_jail::sys::sealed_memory(c"boot", &postcard::to_stdvec(&boot).unwrap()).unwrap();
        let (control, their_control) = packet::pair().unwrap();
        let (inbox, their_inbox) = packet::pair().unwrap();
        let (their_log, log) = packet::pair().unwrap();
        let program = File::open(env!("CARGO_BIN_EXE_imap")).unwrap();
        let homes = File::open(homes).unwrap();
        let fds = [boot.as_fd(), their_control.as_fd(), their_log.as_fd(), their_inbox.as_fd(), homes.as_fd()];
        let pid = ipc_jail::sys::spawn(program.as_fd(), &[CString::from(c"imap")], &[], &fds).unwrap();
        let (auth, theirs) = UnixStream::pair().unwrap();
        let peer = postcard::to_stdvec(&ToWorker::Peer { peer: Peer::Hub(Hub::Auth), link: 1 }).unwrap();
        packet::send(control.as_fd(), &peer, &[theirs.as_fd()]).unwrap();
        let auth = Channel::new(auth).unwrap();
        World { folder, pid, control, inbox, log, auth, lines: Vec::new(), account }
    }

    /// The folder that the homes are in.
    pub fn homes(&self) -> PathBuf {
        self.folder.path().join("homes")
    }

    /// A user with a home.
    pub fn user(&self, name: &str) -> User {
        User {
            name: name.into(),
            uid: Some(self.account.0),
            gid: Some(self.account.1),
            groups: Vec::new(),
            home: Some(self.homes().join(name).to_string_lossy().into_owned()),
            mail: None,
            extra: Vec::new(),
        }
    }

    /// Hands a client over and answers for its ticket.
    pub fn hand_over(&mut self, user: Option<User>) -> Client {
        let (socket, theirs) = UnixStream::pair().unwrap();
        let (report, their_report) = UnixStream::pair().unwrap();
        let handoff = Handoff {
            ticket: TICKET,
            session: "s1".into(),
            tag: b"a".to_vec(),
            remote: None,
            local: None,
            tls: false,
            input: b"a1 NOOP\r\n".to_vec(),
        };
        let packet = postcard::to_stdvec(&handoff).unwrap();
        packet::send(self.inbox.as_fd(), &packet, &[theirs.as_fd(), their_report.as_fd()]).unwrap();
        let corr = wait(|| {
            self.auth.fill().unwrap();
            let (question, _) = self.auth.next_frame().unwrap()?.decode::<ToAuth>().unwrap();
            match question {
                ToAuth::Redeem { corr, ticket: TICKET, session } if session == "s1" => Some(corr),
                other => panic!("{other:?}"),
            }
        });
        self.auth.send(&FromAuth::Redeemed { corr, user }, Vec::new()).unwrap();
        assert!(self.auth.flush().unwrap());
        for stream in [&socket, &report] {
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
        }
        Client { socket, report }
    }

    /// A client of a user with a home, past the greeting.
    pub fn log_in(&mut self, name: &str) -> Client {
        let mut client = self.hand_over(Some(self.user(name)));
        let greeting = client.until("a1 OK");
        assert!(greeting.starts_with("a OK [CAPABILITY IMAP4rev1 "), "{greeting}");
        client
    }

    /// Waits for a log line that holds `text`.
    pub fn log_line(&mut self, text: &str) -> String {
        let mut lines = std::mem::take(&mut self.lines);
        let found = wait(|| {
            while let Ok(Some(packet)) = packet::receive(self.log.as_fd(), MAX_PACKET) {
                let mut rest = &packet.bytes[..];
                while !rest.is_empty() {
                    let (record, after) = postcard::take_from_bytes::<Record>(rest).unwrap();
                    lines.push(ipc_log::render(&record, 0));
                    rest = after;
                }
            }
            lines.iter().find(|line| line.contains(text)).cloned()
        });
        self.lines = lines;
        found
    }

    /// Gives an order as the master does.
    pub fn order(&self, order: &ToWorker) {
        packet::send(self.control.as_fd(), &postcard::to_stdvec(order).unwrap(), &[]).unwrap();
    }

    /// Waits until every session is parked.
    pub fn parked(&self) {
        wait(|| self.children().is_empty().then_some(()));
    }

    /// The processes of sessions.
    pub fn children(&self) -> Vec<u32> {
        let children = format!("/proc/{0}/task/{0}/children", self.pid);
        let children = fs::read_to_string(children).unwrap();
        children.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
    }

    /// Waits for the template's end.
    pub fn ended(&self) {
        wait(|| {
            let flag = Some(nix::sys::wait::WaitPidFlag::WNOHANG);
            (waitpid(self.pid, flag).unwrap() != nix::sys::wait::WaitStatus::StillAlive).then_some(())
        });
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Gone already in the tests that end it.
        let _ = kill(self.pid, Signal::SIGKILL);
        let _ = waitpid(self.pid, None);
    }
}

impl Client {
    /// The process id that was reported; `None` when there was none.
    pub fn pid(&mut self) -> Option<u32> {
        let mut pid = [0; PID_LEN];
        self.report.read_exact(&mut pid).ok().map(|()| u32::from_le_bytes(pid))
    }

    pub fn send(&mut self, line: &str) {
        self.socket.write_all(format!("{line}\r\n").as_bytes()).unwrap();
    }

    /// Reads until there is a line that starts with `start`; returns all that was read.
    pub fn until(&mut self, start: &str) -> String {
        let mut all = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let text = String::from_utf8_lossy(&all);
            if text.ends_with("\r\n") && text.lines().any(|line| line.starts_with(start)) {
                return text.into_owned();
            }
            let read = self.socket.read(&mut buffer).unwrap_or_else(|error| panic!("{error} after {text}"));
            assert!(read > 0, "the connection ended after {text}");
            all.extend_from_slice(&buffer[..read]);
        }
    }

    /// Sends a command and reads its whole answer.
    pub fn command(&mut self, tag: &str, command: &str) -> String {
        self.send(&format!("{tag} {command}"));
        self.until(&format!("{tag} "))
    }

    /// Reads to the end of the connection.
    pub fn rest(&mut self) -> String {
        let mut rest = String::new();
        self.socket.read_to_string(&mut rest).unwrap();
        rest
    }
}

/// Waits until `done` says something.
pub fn wait<T>(mut done: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = done() {
            return value;
        }
        assert!(start.elapsed() < PATIENCE, "waited too long");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Delivers a message into a Maildir as any program does.
pub fn deliver(maildir: &Path, name: &str, text: &str) {
    fs::write(maildir.join("tmp").join(name), text).unwrap();
    fs::rename(maildir.join("tmp").join(name), maildir.join("new").join(name)).unwrap();
}
