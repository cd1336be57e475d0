//! Stream sockets of both families behind one face.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use mio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use nix::sys::socket::{AddressFamily, SockaddrLike, SockaddrStorage, getsockname};

/// Who is at the other end of an accepted connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remote {
    /// An Internet client, and the address that it connected to.
    Inet {
        /// The client.
        peer: SocketAddr,
        /// Our address.
        local: SocketAddr,
    },
    /// A process on this machine, with its credentials.
    Unix {
        /// Its user.
        uid: u32,
        /// Its process.
        pid: i32,
    },
}

/// Why a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// The peer closed it.
    Eof,
    /// The system reported an error, e.g. a reset.
    Error(String),
    /// The TLS handshake or a TLS record failed.
    Tls(String),
}

#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    /// Wraps a stream socket of either family, non-blocking from now on.
    pub(crate) fn from_fd(fd: OwnedFd) -> io::Result<Socket> {
        nix::fcntl::fcntl(fd.as_fd(), nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK))?;
        let address: SockaddrStorage = getsockname(fd.as_raw_fd())?;
        Ok(match address.family() {
            Some(AddressFamily::Unix) => Socket::Unix(UnixStream::from_std(fd.into())),
            _ => Socket::Tcp(TcpStream::from_std(fd.into())),
        })
    }

    /// Begins to connect to an Internet address.
    pub(crate) fn connect(address: SocketAddr) -> io::Result<Socket> {
        TcpStream::connect(address).map(Socket::Tcp)
    }

    /// Whether the connection is made: there is no error and the socket has a peer.
    pub(crate) fn connect_done(&self) -> io::Result<bool> {
        let Socket::Tcp(stream) = self else { return Ok(true) };
        if let Some(error) = stream.take_error()? {
            return Err(error);
        }
        match stream.peer_addr() {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn into_fd(self) -> OwnedFd {
        match self {
            Socket::Tcp(stream) => stream.into(),
            Socket::Unix(stream) => stream.into(),
        }
    }

    pub(crate) fn source(&mut self) -> &mut dyn mio::event::Source {
        match self {
            Socket::Tcp(stream) => stream,
            Socket::Unix(stream) => stream,
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Socket::Tcp(stream) => stream.as_fd(),
            Socket::Unix(stream) => stream.as_fd(),
        }
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => stream.read(buffer),
            Socket::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => stream.write(bytes),
            Socket::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A socket that listens.
#[derive(Debug)]
pub(crate) enum Acceptor {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Acceptor {
    pub(crate) fn new(fd: OwnedFd, unix: bool) -> Acceptor {
        if unix {
            Acceptor::Unix(UnixListener::from_std(fd.into()))
        } else {
            Acceptor::Tcp(TcpListener::from_std(fd.into()))
        }
    }

    /// The next connection; `WouldBlock` when there is none.
    pub(crate) fn accept(&self) -> io::Result<(Socket, Remote)> {
        match self {
            Acceptor::Tcp(listener) => {
                let (stream, peer) = listener.accept()?;
                let local = stream.local_addr()?;
                Ok((Socket::Tcp(stream), Remote::Inet { peer: plain(peer), local: plain(local) }))
            }
            Acceptor::Unix(listener) => {
                let (stream, _) = listener.accept()?;
                let credentials = nix::sys::socket::getsockopt(&stream, nix::sys::socket::sockopt::PeerCredentials)?;
                Ok((Socket::Unix(stream), Remote::Unix { uid: credentials.uid(), pid: credentials.pid() }))
            }
        }
    }

    pub(crate) fn source(&mut self) -> &mut dyn mio::event::Source {
        match self {
            Acceptor::Tcp(listener) => listener,
            Acceptor::Unix(listener) => listener,
        }
    }
}

/// `::ffff:192.0.2.1` as the address it stands for.
fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
