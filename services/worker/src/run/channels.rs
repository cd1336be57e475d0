//! Channels to other processes, in the loop: they come from the master, are read, and end.

use super::*;

impl<S: Service> Worker<S> {
    pub(super) fn add_peer(&mut self, fd: OwnedFd, peer: Peer, link: u32) {
        if peer == Peer::Hub(Hub::Tlsmgr) {
            // Signatures are asked for in the middle of a handshake, not by the loop.
            return self.cx.keys_are_there(fd, link);
        }
        if let Peer::Hub(hub) = peer {
            self.end_predecessors(hub);
        }
        match self.cx.add_channel(fd, peer.clone(), Some(link)) {
            Ok(id) => self.service.peer_up(&mut self.cx, id, &peer),
            Err(error) => slog::error!(self.cx.logger, "channel: {error}"),
        }
    }

    /// Takes what a hub's old process still said and tells its end: a service never sees two of a kind, whether the end of
    /// the old one or the new one is noticed first.
    fn end_predecessors(&mut self, hub: Hub) {
        while let Some(id) = self.cx.peers.any(&Peer::Hub(hub)) {
            while let Some(link) = self.cx.peers.get(id).filter(|link| !link.lost) {
                let filled = link.channel.fill().unwrap_or(Filled::Ended);
                if !self.take_frames(id) || !matches!(filled, Filled::Full) {
                    break;
                }
            }
            self.pending(Pending::PeerLost(id));
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
    fn take_frames(&mut self, id: PeerId) -> bool {
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
                Ok(all) => link.dirty = !all,
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
}
