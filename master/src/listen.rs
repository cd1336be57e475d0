//! Sockets that the master opens: listeners, and what the connector connects to.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt, PermissionsExt, chown};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, connect, listen, setsockopt, socket, sockopt,
};

use crate::table::{At, Foreign, Listen};

/// Clients that may wait to be accepted. The kernel's `somaxconn` bounds it further.
const BACKLOG: i32 = 4096;
/// How long an address may still be taken before that is an error.
pub const PATIENCE: Duration = Duration::from_millis(500);

/// Opens a listener.
///
/// # Errors
/// What the system says.
pub fn open(listener: &Listen) -> io::Result<OwnedFd> {
    match &listener.at {
        At::Inet(address) => {
            let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
            let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
            let fd = socket(family, SockType::Stream, flags, None)?;
            setsockopt(&fd, sockopt::ReuseAddr, &true)?;
            // Inherited by every accepted connection, which saves a call for each.
            setsockopt(&fd, sockopt::TcpNoDelay, &true)?;
            if address.is_ipv6() {
                setsockopt(&fd, sockopt::Ipv6V6Only, &true)?;
            }
            bind_patiently(&fd, &SockaddrStorage::from(*address))?;
            listen(&fd, Backlog::new(BACKLOG)?)?;
            Ok(fd)
        }
        At::Unix { path, mode, uid, gid } => open_unix(path, *mode, *uid, *gid),
    }
}

/// Binds to an address that processes of an instance that was stopped just now may hold for a moment longer.
fn bind_patiently(fd: &OwnedFd, address: &SockaddrStorage) -> io::Result<()> {
    let start = Instant::now();
    loop {
        match bind(fd.as_raw_fd(), address) {
            Err(nix::errno::Errno::EADDRINUSE) if start.elapsed() < PATIENCE => std::thread::sleep(PATIENCE / 20),
            result => return Ok(result?),
        }
    }
}

/// Binds beside the final name and renames onto it: a stale socket is replaced, nobody finds the socket with the wrong mode,
/// and somebody else's file at that name (anything but a socket) is left alone.
fn open_unix(path: &Path, mode: u32, uid: u32, gid: u32) -> io::Result<OwnedFd> {
    if fs::symlink_metadata(path).is_ok_and(|metadata| !metadata.file_type().is_socket()) {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "something that is no socket has this name"));
    }
    if let Some(folder) = path.parent() {
        // `/run/dovecot` and the like are gone after each boot.
        fs::DirBuilder::new().recursive(true).mode(0o755).create(folder)?;
    }
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_os_string();
    name.push(".new");
    let fresh = path.with_file_name(name);
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&fresh)?;
    listener.set_nonblocking(true)?;
    fs::set_permissions(&fresh, fs::Permissions::from_mode(mode))?;
    if nix::unistd::Uid::effective().is_root() {
        chown(&fresh, Some(uid), Some(gid))?;
    }
    fs::rename(&fresh, path)?;
    Ok(listener.into())
}

/// Whether somebody else already listens there, for a clear message at the start.
pub fn in_use(listener: &Listen) -> bool {
    match &listener.at {
        At::Inet(address) => {
            matches!(TcpListener::bind(address), Err(error) if error.kind() == io::ErrorKind::AddrInUse)
        }
        At::Unix { path, .. } => UnixStream::connect(path).is_ok(),
    }
}

/// Opens what a worker may not open itself.
///
/// # Errors
/// What the system says.
pub fn connect_foreign(foreign: &Foreign) -> io::Result<OwnedFd> {
    match foreign {
        Foreign::Unix(path) => {
            let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
            let fd = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
            // Not blocking: a listener whose backlog is full answers EAGAIN, and the master waits for nobody.
            connect(fd.as_raw_fd(), &nix::sys::socket::UnixAddr::new(path)?)?;
            Ok(fd)
        }
        Foreign::Datagram(path) => {
            let socket = UnixDatagram::unbound()?;
            socket.set_nonblocking(true)?;
            socket.connect(path)?;
            Ok(socket.into())
        }
        Foreign::Inet(address) => {
            let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
            let fd = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)?;
            match connect(fd.as_raw_fd(), &SockaddrStorage::from(*address)) {
                // The worker sees the outcome when it writes.
                Ok(()) | Err(nix::errno::Errno::EINPROGRESS) => Ok(fd),
                Err(error) => Err(error.into()),
            }
        }
        Foreign::Read(path) => Ok(File::open(path)?.into()),
        Foreign::Append(path, mode) => {
            let file = OpenOptions::new()
                .append(true)
                .create(true)
                .mode(*mode)
                .custom_flags(nix::libc::O_NOFOLLOW)
                .open(path)?;
            Ok(file.into())
        }
        Foreign::Stdout => io::stdout().as_fd().try_clone_to_owned(),
    }
}

/// Opens a folder, or its nearest parent that is there, for a worker to work beneath.
///
/// # Errors
/// What the system says.
pub fn open_folder(path: &Path) -> io::Result<(std::path::PathBuf, OwnedFd)> {
    let mut at = path;
    loop {
        match OpenOptions::new().read(true).custom_flags(nix::libc::O_DIRECTORY | nix::libc::O_CLOEXEC).open(at) {
            Ok(file) => return Ok((at.to_path_buf(), File::into(file))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => match at.parent() {
                Some(parent) if parent != Path::new("/") && !parent.as_os_str().is_empty() => at = parent,
                _ => return Err(error),
            },
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unix(path: &Path) -> Listen {
        let (uid, gid) = (nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw());
        Listen { name: "s".into(), at: At::Unix { path: path.into(), mode: 0o600, uid, gid }, tls: false }
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_file_is_not() {
        let folder = std::env::temp_dir().join(format!("posthorn-listen-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("s");
        drop(open(&unix(&path)).unwrap());
        assert!(!in_use(&unix(&path)), "left behind, nobody listens");
        let listener = open(&unix(&path)).unwrap();
        assert!(in_use(&unix(&path)));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        drop(listener);
        fs::remove_file(&path).unwrap();
        fs::write(&path, "mine").unwrap();
        assert_eq!(open(&unix(&path)).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        let (opened, _) = open_folder(&folder.join("not/there")).unwrap();
        assert_eq!(opened, folder);
        fs::remove_dir_all(&folder).unwrap();
    }
}
