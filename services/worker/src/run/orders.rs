//! The master: its orders, what it is told, and what happens when it is gone.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use ipc_messages::control::{FromWorker, MAX_CONTROL, ToWorker};
use ipc_wire::packet;
use mio::unix::SourceFd;

use super::Worker;
use crate::Service;

/// How long a worker whose master is gone finishes what it has in hand: as long as the master gives its workers at a stop.
const ORPHANED: Duration = Duration::from_secs(5);

impl<S: Service> Worker<S> {
    pub(super) fn control(&mut self) {
        loop {
            match packet::receive(self.control.as_fd(), MAX_CONTROL) {
                Ok(Some(packet)) => {
                    // The master is us; what it says is never nonsense unless a bug is at work.
                    let message = postcard::from_bytes(&packet.bytes).expect("a control message that does not decode");
                    self.order(message, packet.fds);
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
                Ok(None) | Err(_) => {
                    // The master is gone: finish what is in hand.
                    let control = self.control.as_raw_fd();
                    let _ = self.cx.registry.deregister(&mut SourceFd(&control));
                    self.orphaned = Some(self.cx.now + ORPHANED);
                    return self.drain();
                }
            }
        }
    }

    pub(super) fn order(&mut self, message: ToWorker, fds: Vec<OwnedFd>) {
        let mut fds = fds.into_iter();
        match (message, fds.next()) {
            (ToWorker::Peer { peer, link }, Some(fd)) => self.add_peer(fd, peer, link),
            (ToWorker::Section, Some(fd)) => self.reload(fd.as_fd()),
            (ToWorker::Drain, _) => self.drain(),
            (ToWorker::Connected { index }, Some(fd)) => self.service.foreign(&mut self.cx, index, Ok(fd)),
            (ToWorker::ConnectFailed { index, errno }, _) => self.service.foreign(&mut self.cx, index, Err(errno)),
            (ToWorker::Inbox { corr }, Some(fd)) => self.service.acting(&mut self.cx, corr, Ok(fd)),
            (ToWorker::ActingRefused { corr, reason }, _) => self.service.acting(&mut self.cx, corr, Err(reason)),
            (ToWorker::Reopen, _) => self.service.reopen(&mut self.cx),
            (ToWorker::Shed, _) => self.service.shed(&mut self.cx),
            (message, None) => panic!("the master sent {message:?} without its descriptor"),
        }
    }

    pub(super) fn reload(&mut self, fd: BorrowedFd<'_>) {
        use std::io::{Read, Seek};
        let mut bytes = Vec::new();
        let section = fd.try_clone_to_owned().and_then(|fd| {
            let mut file = File::from(fd);
            file.rewind()?;
            file.read_to_end(&mut bytes)
        });
        match section
            .map_err(|error| error.to_string())
            .and_then(|_| postcard::from_bytes(&bytes).map_err(|error| error.to_string()))
        {
            Ok(section) => self.service.reload(&mut self.cx, section),
            Err(error) => slog::error!(self.cx.logger, "the new configuration cannot be read: {error}"),
        }
    }

    pub(super) fn drain(&mut self) {
        if !self.cx.draining {
            self.cx.draining = true;
            // Closed at once: while a draining process held them, nobody else could listen there. What waits in their
            // queues is accepted by those who share them.
            for mut listener in self.listeners.drain(..) {
                let _ = self.poll.registry().deregister(listener.source());
            }
            self.waiting.clear();
            self.service.drain(&mut self.cx);
        }
    }

    /// Accepts who waits when there is room again, and tells the master when that changes: a listener nobody has room
    /// for makes it start another process.
    pub(super) fn room(&mut self) {
        self.accept_again = self.accept_again.filter(|&again| again > self.cx.now);
        let room = self.limits.clients.saturating_sub(self.cx.served_clients());
        let room = if self.cx.draining || self.spent() { 0 } else { room };
        if room > 0 && self.accept_again.is_none() {
            for index in std::mem::take(&mut self.waiting) {
                self.accept(index);
            }
        }
        if (room > 0) != self.told_room {
            self.told_room = room > 0;
            self.cx.control.push_back(FromWorker::Status { clients: self.cx.all_clients(), free: room });
        }
    }

    pub(super) fn flush_control(&mut self) {
        while let Some(message) = self.cx.control.front() {
            // A control message is small and has no type that postcard refuses.
            let bytes = postcard::to_stdvec(message).expect("a control message");
            match packet::send(self.control.as_fd(), &bytes, &[]) {
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
                // Gone: the read side notices.
                Ok(()) | Err(_) => self.cx.control.pop_front(),
            };
        }
    }
}
