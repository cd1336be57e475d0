//! Signals, as bytes on sockets that the event loop watches.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;

use mio::{Interest, Poll, Token};
use nix::libc::{SIGCHLD, SIGHUP, SIGINT, SIGTERM, SIGUSR1};

/// Signals to the master, each on a socket of its own, and to the stand-ins of the halves.
pub(crate) struct Signals {
    own: Vec<(i32, mio::net::UnixStream)>,
    standins: mio::net::UnixStream,
    /// Where stand-ins write.
    pub(crate) outbox: UnixStream,
}

impl Signals {
    /// Catches the signals that mean something; `token` is that of all sockets.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn new(poll: &Poll, token: Token) -> io::Result<Signals> {
        let watched = || -> io::Result<(mio::net::UnixStream, UnixStream)> {
            let (ours, theirs) = UnixStream::pair()?;
            ours.set_nonblocking(true)?;
            theirs.set_nonblocking(true)?;
            let mut ours = mio::net::UnixStream::from_std(ours);
            poll.registry().register(&mut ours, token, Interest::READABLE)?;
            Ok((ours, theirs))
        };
        let mut own = Vec::new();
        for signal in [SIGCHLD, SIGTERM, SIGINT, SIGHUP, SIGUSR1] {
            let (ours, theirs) = watched()?;
            signal_hook::low_level::pipe::register(signal, theirs)?;
            own.push((signal, ours));
        }
        let (standins, outbox) = watched()?;
        Ok(Signals { own, standins, outbox })
    }

    /// The signals that have come: the master's own, once each, and the bytes of the stand-ins.
    pub(crate) fn take(&mut self) -> (Vec<i32>, Vec<u8>) {
        let own =
            self.own.iter_mut().filter_map(|(signal, socket)| (!drain(socket).is_empty()).then_some(*signal)).collect();
        (own, drain(&mut self.standins))
    }
}

fn drain(socket: &mut mio::net::UnixStream) -> Vec<u8> {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 256]);
    while let Ok(n @ 1..) = socket.read(&mut buffer) {
        bytes.extend_from_slice(&buffer[..n]);
    }
    bytes
}
