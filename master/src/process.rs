//! One worker process, as the master sees it: how it is started, and the control channel to it.

use std::collections::VecDeque;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use ipc_jail::Jail;
use ipc_messages::control::{Boot, Folder, FromWorker, ListenAddress, Listener, MAX_CONTROL, ToWorker, build};
use ipc_wire::packet;

use crate::listen;
use crate::policy::Pid;
use crate::table::{At, Spec};

/// Orders that may wait for a worker that does not read its control channel; then it is taken for stuck.
const ORDERS: usize = 4096;

/// A started worker.
#[derive(Debug)]
pub struct Process {
    /// Its process id.
    pub pid: Pid,
    /// Our end of its control channel.
    pub control: OwnedFd,
    orders: VecDeque<(Vec<u8>, Vec<OwnedFd>)>,
}

/// What all workers are started with.
#[derive(Debug)]
pub struct Base {
    /// The spool: each service's root is a folder in it.
    pub spool: PathBuf,
    /// The writing end of the log.
    pub log: OwnedFd,
    /// Whether a kernel without Landlock will do.
    pub without_landlock: bool,
}

impl Process {
    /// Starts a worker of `spec` from the open executable `program`, with its `listeners` and `inbox`.
    ///
    /// # Errors
    /// The step that failed, and what the system said.
    pub fn start(
        spec: &Spec,
        program: BorrowedFd<'_>,
        listeners: &[OwnedFd],
        inbox: Option<BorrowedFd<'_>>,
        base: &Base,
    ) -> Result<Process, String> {
        let step = |what: &'static str| move |error: io::Error| format!("{}: {what}: {error}", spec.name);
        let root = if spec.program.system { "/".into() } else { base.spool.join("jail").join(spec.program.name) };
        make_root(&root).map_err(step("making its root folder"))?;
        let mut folders = Vec::new();
        let mut told = Vec::new();
        for folder in &spec.folders {
            let (path, fd) = listen::open_folder(&folder.path)
                .map_err(|error| format!("{}: folder {}: {error}", spec.name, folder.path.display()))?;
            told.push(Folder { path, access: folder.access });
            folders.push(fd);
        }
        let boot = boot(spec, root, told, inbox.is_some(), base);
        let boot = postcard::to_stdvec(&boot).map_err(|error| format!("{}: boot: {error}", spec.name))?;
        let boot = ipc_jail::sys::sealed_memory(c"boot", &boot).map_err(step("boot"))?;
        let (ours, theirs) = packet::pair().map_err(step("control channel"))?;
        let mut fds = vec![boot.as_fd(), theirs.as_fd(), base.log.as_fd()];
        fds.extend(listeners.iter().map(AsFd::as_fd));
        fds.extend(inbox);
        fds.extend(folders.iter().map(AsFd::as_fd));
        let title = CString::new(spec.program.name).map_err(|error| format!("{}: {error}", spec.name))?;
        let service = CString::new(spec.name.as_str()).map_err(|error| format!("{}: {error}", spec.name))?;
        let pid = ipc_jail::sys::spawn(program, &[title, service], &[], &fds).map_err(step("fork"))?;
        Ok(Process { pid: pid.as_raw(), control: ours, orders: VecDeque::new() })
    }

    /// Queues an order and sends what can be sent. Returns false when the worker is stuck.
    pub fn order(&mut self, order: &ToWorker, fds: Vec<OwnedFd>) -> bool {
        // Orders are small and have no type that postcard refuses.
        let bytes = postcard::to_stdvec(order).expect("an order that cannot be encoded");
        self.orders.push_back((bytes, fds));
        self.flush();
        self.orders.len() < ORDERS
    }

    /// Sends what waits. Returns whether nothing waits any more.
    pub fn flush(&mut self) -> bool {
        while let Some((bytes, fds)) = self.orders.front() {
            let fds: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
            match packet::send(self.control.as_fd(), bytes, &fds) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                // A worker that has gone is noticed by its exit.
                Ok(()) | Err(_) => self.orders.pop_front(),
            };
        }
        true
    }

    /// The next message of the worker, if one is there.
    ///
    /// # Errors
    /// `Err` with text when the worker has sent nonsense.
    pub fn message(&self) -> Result<Option<FromWorker>, String> {
        match packet::receive(self.control.as_fd(), MAX_CONTROL) {
            Ok(Some(packet)) => match postcard::take_from_bytes(&packet.bytes) {
                Ok((message, [])) if packet.fds.is_empty() => Ok(Some(message)),
                _ => Err("a control message that the master does not know".into()),
            },
            Ok(None) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(error.to_string()),
            Err(_) => Ok(None),
        }
    }
}

fn boot(spec: &Spec, root: PathBuf, folders: Vec<Folder>, inbox: bool, base: &Base) -> Boot {
    let listeners = spec.listeners.iter().map(|listener| Listener {
        name: listener.name.clone(),
        at: match &listener.at {
            At::Inet(address) => ListenAddress::Inet(*address),
            At::Unix { path, .. } => ListenAddress::Unix(path.clone()),
        },
        tls: listener.tls,
    });
    Boot {
        build: build(),
        service: spec.name.clone(),
        identity: spec.identity.clone(),
        section: spec.section.clone(),
        listeners: listeners.collect(),
        inbox,
        folders,
        jail: Jail {
            root,
            uid: spec.account.uid,
            gid: spec.account.gid,
            groups: spec.account.groups.clone(),
            // Two for a client: its socket, and the other end to which its bytes go, or the state of its parked session.
            max_files: 2 * u64::from(spec.client_limit) + u64::from(spec.messages) + spec.program.files,
            max_memory: spec.max_memory,
            without_landlock: base.without_landlock,
            local_sockets: spec.program.system,
        },
        client_limit: spec.client_limit,
        max_use: spec.max_use,
        max_idle: spec.max_idle,
    }
}

/// A root folder is empty, root's own, and nobody may write there.
fn make_root(root: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    match std::fs::DirBuilder::new().recursive(true).mode(0o755).create(root) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Opens a worker binary once; every process of this instance is started from that descriptor, so that an instance is one
/// build whatever a package upgrade does to the files.
///
/// # Errors
/// What the system says.
pub fn open_program(folder: &Path, name: &str) -> io::Result<OwnedFd> {
    Ok(File::open(folder.join(name))?.into())
}
