//! The control socket: what `mailctl` asks of the master. Only root, or the owner of the instance, can reach it.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use ipc_messages::admin::{Answer, Request, SOCKET};
use ipc_wire::{Channel, Filled};
use mio::net::UnixListener;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

use crate::listen;
use crate::table::{At, Listen};

/// Administrators connected at once.
const CLIENTS: usize = 16;

/// The socket and who is connected to it.
pub struct Admin {
    listener: UnixListener,
    clients: BTreeMap<usize, Client>,
    next: usize,
    base: usize,
}

struct Client {
    channel: Channel,
    pid: u32,
    /// Close when what was answered has left.
    over: bool,
}

/// A request, and who made it.
pub struct Asked {
    /// Names the client in [`Admin::answer`].
    pub client: usize,
    /// The process that asks.
    pub pid: u32,
    /// What it asks.
    pub request: Request,
}

impl Admin {
    /// Opens the socket in the spool. Its tokens are `base` and what follows.
    ///
    /// # Errors
    /// What the system says.
    pub fn new(spool: &Path, registry: &Registry, base: usize) -> io::Result<Admin> {
        let (uid, gid) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
        let at = At::Unix { path: spool.join(SOCKET), mode: 0o600, uid, gid };
        let fd = listen::open(&Listen { name: SOCKET.into(), at, tls: false })?;
        let mut listener = UnixListener::from_std(fd.into());
        registry.register(&mut listener, Token(base), Interest::READABLE)?;
        Ok(Admin { listener, clients: BTreeMap::new(), next: 1, base })
    }

    /// Handles an event on one of this module's tokens; returns the requests that have come.
    pub fn ready(&mut self, registry: &Registry, token: Token) -> Vec<Asked> {
        if token.0 == self.base {
            self.accept(registry);
        }
        let numbers: Vec<usize> = self.clients.keys().copied().collect();
        numbers.into_iter().flat_map(|number| self.read(registry, number)).collect()
    }

    fn accept(&mut self, registry: &Registry) {
        while let Ok((stream, _)) = self.listener.accept() {
            let pid = nix::sys::socket::getsockopt(&stream, nix::sys::socket::sockopt::PeerCredentials)
                .map_or(0, |peer| peer.pid());
            let Ok(channel) = Channel::new(OwnedFd::from(stream).into()) else { continue };
            let token = Token(self.base + self.next);
            let interest = Interest::READABLE | Interest::WRITABLE;
            if self.clients.len() >= CLIENTS
                || registry.register(&mut SourceFd(&channel.as_raw_fd()), token, interest).is_err()
            {
                continue;
            }
            self.clients.insert(self.next, Client { channel, pid: pid as u32, over: false });
            self.next += 1;
        }
    }

    fn read(&mut self, registry: &Registry, number: usize) -> Vec<Asked> {
        let Some(client) = self.clients.get_mut(&number) else { return Vec::new() };
        let mut asked = Vec::new();
        let open = matches!(client.channel.fill(), Ok(Filled::Emptied | Filled::Full));
        let broken = loop {
            match client.channel.next_frame().and_then(|frame| frame.map(|frame| frame.decode::<Request>()).transpose())
            {
                Ok(Some((request, _))) => asked.push(Asked { client: number, pid: client.pid, request }),
                Ok(None) => break false,
                Err(_) => break true,
            }
        };
        let sent = client.channel.flush().unwrap_or(true);
        if broken || (!open && asked.is_empty()) || (client.over && sent) {
            self.drop(registry, number);
        }
        asked
    }

    /// Answers a client; what does not fit its queue is dropped with the client.
    pub fn answer(&mut self, registry: &Registry, number: usize, answer: &Answer, fds: Vec<OwnedFd>) {
        let Some(client) = self.clients.get_mut(&number) else { return };
        client.over |= matches!(answer, Answer::End(_));
        let sent = client.channel.send(answer, fds).is_ok() && client.channel.flush().is_ok();
        if !sent {
            self.drop(registry, number);
        }
    }

    fn drop(&mut self, registry: &Registry, number: usize) {
        if let Some(client) = self.clients.remove(&number) {
            // It closes now and leaves the set by itself.
            let _ = registry.deregister(&mut SourceFd(&client.channel.as_fd().as_raw_fd()));
        }
    }
}
