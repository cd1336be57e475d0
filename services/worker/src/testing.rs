//! A worker binary under test, started as the master starts it: under its real jail when the test is root, without the
//! layers that need root otherwise. A failure of the test's own means panics.

use std::ffi::CString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ipc_jail::Jail;
use ipc_messages::control::{
    Boot, Folder, FolderAccess, FromWorker, ListenAddress, Listener, MAX_CONTROL, Peer, ToWorker, build,
};
use ipc_messages::log::{Half, Identity, Record};
use ipc_wire::{HEADER_LEN, blocking, packet};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// How long a test waits for something that must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// A jail with `root` as its root folder, under an account that owns nothing.
pub fn jail(root: &Path) -> Jail {
    Jail {
        root: root.to_owned(),
        uid: 64_099,
        gid: 64_099,
        groups: Vec::new(),
        max_files: 256,
        max_memory: None,
        without_landlock: true,
        local_sockets: false,
    }
}

/// A running worker. It is killed when this is dropped.
pub struct Started {
    pid: Pid,
    control: Option<OwnedFd>,
    log: OwnedFd,
}

/// What a worker is started with, beside its section and its jail.
#[derive(Default)]
pub struct Given {
    /// Folders of any access.
    pub folders: Vec<Folder>,
    /// Unix sockets that listen.
    pub listeners: Vec<UnixListener>,
    /// Connections that it serves at once; 0 for one.
    pub client_limit: u32,
}

impl Started {
    /// Starts the executable `program` and waits until it is in its jail and ready. It may read beneath `folders`.
    pub fn new(program: &str, section: &impl Serialize, folders: &[PathBuf], jail: Jail) -> Started {
        let told = folders.iter().map(|path| Folder { path: path.clone(), access: FolderAccess::Read });
        Started::with_folders(program, section, told.collect(), jail)
    }

    /// As [`Started::new`], with folders of any access.
    pub fn with_folders(program: &str, section: &impl Serialize, folders: Vec<Folder>, jail: Jail) -> Started {
        Started::with(program, section, Given { folders, ..Given::default() }, jail)
    }

    /// As [`Started::new`], with all that can be given.
    pub fn with(program: &str, section: &impl Serialize, given: Given, jail: Jail) -> Started {
        let Given { folders: told, listeners, client_limit } = given;
        let folders: Vec<File> = told.iter().map(|folder| File::open(&folder.path).expect("folder")).collect();
        let listener =
            |_: &UnixListener| Listener { name: "test".into(), at: ListenAddress::Unix("test".into()), tls: false };
        let boot = Boot {
            build: build(),
            service: "test".into(),
            identity: Identity { half: Half::Transport, tag: "test".into() },
            section: postcard::to_stdvec(section).expect("section"),
            listeners: listeners.iter().map(listener).collect(),
            inbox: false,
            folders: told,
            jail,
            client_limit: client_limit.max(1),
            max_use: 0,
            max_idle: 0,
        };
        let boot = postcard::to_stdvec(&boot).expect("boot");
        let boot = ipc_jail::sys::sealed_memory(c"boot", &boot).expect("sealed memory");
        let (control, theirs) = packet::pair().expect("control channel");
        let (log, their_log) = packet::pair().expect("log");
        let mut fds = vec![boot.as_fd(), theirs.as_fd(), their_log.as_fd()];
        listeners.iter().for_each(|listener| listener.set_nonblocking(true).expect("listener"));
        fds.extend(listeners.iter().map(AsFd::as_fd));
        fds.extend(folders.iter().map(AsFd::as_fd));
        let title = CString::new("test").expect("title");
        let program = File::open(program).expect("program");
        let pid = ipc_jail::sys::spawn(program.as_fd(), &[title], &[], &fds).expect("spawn");
        // Their ends are the worker's alone, so that its death is seen.
        drop((theirs, their_log));
        let started = Started { pid, control: Some(control), log };
        match started.said() {
            Some(FromWorker::Status { .. }) => started,
            other => panic!("the worker said {other:?} before it was ready; its log: {:?}", started.log_lines()),
        }
    }

    /// A channel to the worker, which takes it for one to `peer`.
    pub fn channel(&self, peer: Peer) -> Asker {
        self.link(peer, 0)
    }

    /// As [`Started::channel`], with the number that the master gives it.
    pub fn link(&self, peer: Peer, link: u32) -> Asker {
        let (ours, theirs) = UnixStream::pair().expect("socket pair");
        ours.set_read_timeout(Some(PATIENCE)).expect("timeout");
        let order = postcard::to_stdvec(&ToWorker::Peer { peer, link }).expect("order");
        let control = self.control.as_ref().expect("the master is there");
        packet::send(control.as_fd(), &order, &[theirs.as_fd()]).expect("control channel");
        Asker(ours)
    }

    /// The master dies. Returns how long the worker outlived it.
    pub fn orphan(&mut self) -> Duration {
        let since = Instant::now();
        drop(self.control.take());
        while matches!(
            waitid(Id::Pid(self.pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT),
            Ok(WaitStatus::StillAlive)
        ) {
            assert!(since.elapsed() < PATIENCE, "the worker outlives its master");
            std::thread::sleep(Duration::from_millis(10));
        }
        since.elapsed()
    }

    /// A channel of a process that asks.
    pub fn client(&self) -> Asker {
        self.channel(Peer::Client {
            program: "test".into(),
            pid: std::process::id(),
            uid: nix::unistd::getuid().as_raw(),
        })
    }

    /// What the worker has logged, as it stands in the log behind the tag.
    pub fn log_lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        while let Ok(Some(packet)) = packet::receive(self.log.as_fd(), ipc_messages::log::MAX_PACKET) {
            let mut rest = packet.bytes.as_slice();
            while !rest.is_empty() {
                let (record, after) = postcard::take_from_bytes::<Record>(rest).expect("a log record");
                lines.push(format!("{:?}: {}", record.severity, record.text));
                rest = after;
            }
        }
        lines
    }

    /// Text of `/proc/PID/` of the worker.
    pub fn proc(&self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.pid)).expect("proc")
    }

    /// What the worker says to its master next; `None` when it has ended.
    pub fn said(&self) -> Option<FromWorker> {
        let control = self.control.as_ref().expect("the master is there");
        let mut fds = [PollFd::new(control.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::try_from(PATIENCE).expect("a time")).expect("poll");
        let packet = packet::receive(control.as_fd(), MAX_CONTROL).expect("a message from the worker")?;
        Some(postcard::from_bytes(&packet.bytes).expect("a control message"))
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = kill(self.pid, Signal::SIGKILL);
        let _ = waitpid(self.pid, None);
    }
}

/// One end of a channel, read and written with waiting.
pub struct Asker(UnixStream);

impl Asker {
    /// Sends a message.
    pub fn send(&mut self, message: &impl Serialize) {
        let frame = blocking::encode(message).expect("a message that fits a frame");
        self.0.write_all(&frame).expect("channel");
    }

    /// Sends bytes as they are.
    pub fn send_raw(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).expect("channel");
    }

    /// The next message; `None` when the worker has closed the channel.
    pub fn receive<T: DeserializeOwned>(&mut self) -> Option<T> {
        let mut header = [0; HEADER_LEN];
        match self.0.read_exact(&mut header) {
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return None,
            read => read.expect("a message within the time"),
        }
        let mut body = vec![0; blocking::body_len(&header).expect("a frame header")];
        self.0.read_exact(&mut body).expect("a whole message");
        Some(blocking::decode(body).expect("a message of this hop"))
    }
}
