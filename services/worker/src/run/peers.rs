//! Other processes: hubs and those who ask, hand-offs, children.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use ipc_messages::control::{FromWorker, Hub, Peer};
use ipc_messages::handoff::MAX_HANDOFF;
use ipc_wire::{Filled, packet};
use mio::event::Event;
use mio::unix::SourceFd;

use super::{ROUNDS, Worker};
use crate::Service;
use crate::cx::Pending;
use crate::outbox::HIGH;
use crate::peers::PeerId;

impl<S: Service> Worker<S> {
    pub(super) fn add_peer(&mut self, fd: OwnedFd, peer: Peer, link: u32) {
        if peer == Peer::Hub(Hub::Tlsmgr) {
            // Signatures are asked for in the middle of a handshake, not by the loop.
            return self.cx.keys_are_there(fd, link);
        }
        while let Peer::Hub(hub) = peer
            && let Some(old) = self.cx.peers.any(hub)
        {
            self.retire(old);
        }
        match self.cx.add_channel(fd, peer.clone(), Some(link)) {
            Ok(id) => self.service.peer_up(&mut self.cx, id, &peer),
            Err(error) => slog::error!(self.cx.logger, "channel: {error}"),
        }
    }

    /// A successor is there: what the old channel has brought is taken, and it ends.
    pub(super) fn retire(&mut self, id: PeerId) {
        while let Some(link) = self.cx.peers.get(id).filter(|link| !link.lost) {
            link.explained = true;
            // What cannot be read is lost with the channel.
            let filled = link.channel.fill().unwrap_or(Filled::Ended);
            if !self.take_frames(id) || filled != Filled::Full {
                break;
            }
        }
        self.remove_peer(id);
    }

    pub(super) fn remove_peer(&mut self, id: PeerId) {
        let Some(link) = self.cx.peers.remove(id) else { return };
        // It closes now and leaves the set by itself.
        let _ = self.cx.registry.deregister(&mut SourceFd(&link.channel.as_raw_fd()));
        self.service.peer_down(&mut self.cx, id, &link.peer);
        if let (Peer::Hub(hub), Some(link)) = (link.peer, link.number) {
            self.cx.control.push_back(FromWorker::Lost { hub, link });
        }
    }

    pub(super) fn peer(&mut self, id: PeerId, event: &Event) {
        loop {
            let Some(link) = self.cx.peers.get(id).filter(|link| !link.lost) else { return };
            if link.channel.queued() > 0 {
                link.dirty = true;
            }
            let filled = link.channel.fill();
            if !self.take_frames(id) {
                return;
            }
            match filled {
                Ok(Filled::Ended) => return self.cx.peer_ended(id, None),
                Err(error) => return self.cx.peer_ended(id, Some(error).filter(|error| !has_gone(error))),
                Ok(Filled::Emptied) if !event.is_read_closed() => return,
                // Behind the last frames stands the end, of which no further event tells.
                Ok(Filled::Emptied | Filled::Full) => {}
            }
        }
    }

    /// Gives the service what has come from a peer. Returns whether the channel is still there.
    pub(super) fn take_frames(&mut self, id: PeerId) -> bool {
        loop {
            let Some(link) = self.cx.peers.get(id).filter(|link| !link.lost) else { return false };
            match link.channel.next_frame() {
                Ok(Some(frame)) => self.service.frame(&mut self.cx, id, frame),
                Ok(None) => return true,
                Err(error) => {
                    self.cx.broken(id, error);
                    return false;
                }
            }
        }
    }

    pub(super) fn flush_peers(&mut self) {
        let mut ended = Vec::new();
        for link in self.cx.peers.iter_mut().filter(|link| link.dirty && !link.lost) {
            // What does not leave now leaves in a later turn: the socket, or one whose descriptors are in its way, makes one
            // when it is read.
            match link.channel.flush() {
                Ok(all) => {
                    link.dirty = !all;
                    if link.wants_room && link.channel.queued() < HIGH {
                        link.wants_room = false;
                        self.cx.again = true;
                    }
                }
                Err(error) => ended.push((link.id, error)),
            }
        }
        for (id, error) in ended {
            self.cx.peer_ended(id, Some(error).filter(|error| !has_gone(error)));
        }
        if let Some((link, why)) = self.cx.signatures.take_lost() {
            slog::error!(self.cx.logger, "channel to tlsmgr: {why}; the channel is closed");
            self.cx.control.push_back(FromWorker::Lost { hub: Hub::Tlsmgr, link });
        }
    }

    pub(super) fn inbox(&mut self) {
        while let Some(inbox) = self.inbox.as_ref().filter(|_| !self.cx.draining) {
            match packet::receive(inbox.as_fd(), MAX_HANDOFF) {
                Ok(Some(packet)) => self.service.handoff(&mut self.cx, packet.bytes, packet.fds),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                    slog::warn!(self.cx.logger, "hand-off: {error}");
                }
                Ok(None) | Err(_) => return,
            }
        }
    }

    /// A child says something, or is gone. One that talks without end does not keep the loop from others.
    pub(super) fn child(&mut self, pid: i32) {
        for _ in 0..ROUNDS {
            match self.cx.children.receive(pid) {
                Ok(Some(packet)) => self.service.child_says(&mut self.cx, pid, &packet.bytes, packet.fds),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
                Ok(None) | Err(_) => {
                    if self.cx.children.ended(&self.cx.registry, pid) {
                        self.service.child_ended(&mut self.cx, pid);
                    }
                    return;
                }
            }
        }
        self.cx.pending.push_back(Pending::Child(pid));
    }
}

/// Whether an error of a channel says that the process at its other end has ended, which nobody is to blame for here.
fn has_gone(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::BrokenPipe | std::io::ErrorKind::ConnectionReset)
}
