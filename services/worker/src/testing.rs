//! A worker binary under test, started as the master starts it: under its real jail when the test is root, without the
//! layers that need root otherwise. A failure of the test's own means panics.

use std::ffi::CString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipc_jail::Jail;
use ipc_messages::control::{Boot, Folder, FolderAccess, FromWorker, MAX_CONTROL, Peer, ToWorker, build};
use ipc_messages::log::{Half, Identity, Record};
use ipc_wire::{HEADER_LEN, blocking, packet};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
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
    control: OwnedFd,
    log: OwnedFd,
}

impl Started {
    /// Starts the executable `program` and waits until it is in its jail and ready. It may read beneath `folders`.
    pub fn new(program: &str, section: &impl Serialize, folders: &[PathBuf], jail: Jail) -> Started {
        let told = folders.iter().map(|path| Folder { path: path.clone(), access: FolderAccess::Read });
        Started::with_folders(program, section, told.collect(), jail)
    }

    /// As [`Started::new`], with folders of any access.
    pub fn with_folders(program: &str, section: &impl Serialize, told: Vec<Folder>, jail: Jail) -> Started {
        let folders: Vec<File> = told.iter().map(|folder| File::open(&folder.path).expect("folder")).collect();
        let boot = Boot {
            build: build(),
            service: "test".into(),
            identity: Identity { half: Half::Transport, tag: "test".into() },
            section: postcard::to_stdvec(section).expect("section"),
            listeners: Vec::new(),
            inbox: false,
            folders: told,
            jail,
            client_limit: 1,
            max_use: 0,
            max_idle: 0,
        };
        let boot = postcard::to_stdvec(&boot).expect("boot");
        let boot = ipc_jail::sys::sealed_memory(c"boot", &boot).expect("sealed memory");
        let (control, theirs) = packet::pair().expect("control channel");
        let (log, their_log) = packet::pair().expect("log");
        let mut fds = vec![boot.as_fd(), theirs.as_fd(), their_log.as_fd()];
        fds.extend(folders.iter().map(AsFd::as_fd));
        let title = CString::new("test").expect("title");
        let program = File::open(program).expect("program");
        let pid = ipc_jail::sys::spawn(program.as_fd(), &[title], &[], &fds).expect("spawn");
        // Their ends are the worker's alone, so that its death is seen.
        drop((theirs, their_log));
        let started = Started { pid, control, log };
        match started.control() {
            Some(FromWorker::Status { .. }) => started,
            other => panic!("the worker said {other:?} before it was ready; its log: {:?}", started.log_lines()),
        }
    }

    /// A channel to the worker, which takes it for one to `peer`.
    pub fn channel(&self, peer: Peer) -> Asker {
        let (ours, theirs) = UnixStream::pair().expect("socket pair");
        ours.set_read_timeout(Some(PATIENCE)).expect("timeout");
        let order = postcard::to_stdvec(&ToWorker::Peer { peer, link: 0 }).expect("order");
        packet::send(self.control.as_fd(), &order, &[theirs.as_fd()]).expect("control channel");
        Asker(ours)
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

    fn control(&self) -> Option<FromWorker> {
        let mut fds = [PollFd::new(self.control.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::try_from(PATIENCE).expect("a time")).expect("poll");
        let packet = packet::receive(self.control.as_fd(), MAX_CONTROL).expect("a message from the worker")?;
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
