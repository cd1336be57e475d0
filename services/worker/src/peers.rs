//! Channels to other processes.

use ipc_messages::control::{Hub, Peer};
use ipc_wire::Channel;

/// Names a channel. A number is not used again while the process lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId(pub(crate) usize);

impl PeerId {
    /// Any number as a channel, for tests of what a service keeps by channel.
    pub fn for_tests(number: usize) -> PeerId {
        PeerId(number)
    }
}

#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) id: PeerId,
    pub(crate) channel: Channel,
    pub(crate) peer: Peer,
    /// The master's name for a channel to a hub that it made.
    pub(crate) number: Option<u32>,
    /// Whether something waits that the next flush may send.
    pub(crate) dirty: bool,
    /// Whether the service waits until less than [`crate::outbox::HIGH`] bytes are queued.
    pub(crate) wants_room: bool,
    pub(crate) lost: bool,
    /// Whether the log says why it is lost.
    pub(crate) explained: bool,
}

/// All channels of this process. There are few, so a list serves.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    links: Vec<Link>,
    next: usize,
}

impl Peers {
    pub(crate) fn add(&mut self, channel: Channel, peer: Peer, number: Option<u32>) -> PeerId {
        let id = PeerId(self.next);
        self.next += 1;
        self.links.push(Link {
            id,
            channel,
            peer,
            number,
            dirty: false,
            wants_room: false,
            lost: false,
            explained: false,
        });
        id
    }

    pub(crate) fn get(&mut self, id: PeerId) -> Option<&mut Link> {
        self.links.iter_mut().find(|link| link.id == id)
    }

    pub(crate) fn hub(&self, hub: Hub) -> Option<PeerId> {
        self.links.iter().find(|link| link.peer == Peer::Hub(hub) && !link.lost).map(|link| link.id)
    }

    /// A channel to the hub, lost or not.
    pub(crate) fn any(&self, hub: Hub) -> Option<PeerId> {
        self.links.iter().find(|link| link.peer == Peer::Hub(hub)).map(|link| link.id)
    }

    pub(crate) fn remove(&mut self, id: PeerId) -> Option<Link> {
        let at = self.links.iter().position(|link| link.id == id)?;
        Some(self.links.remove(at))
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Link> {
        self.links.iter_mut()
    }

    /// How many processes ask this one.
    pub(crate) fn clients(&self) -> usize {
        self.links.iter().filter(|link| matches!(link.peer, Peer::Client { .. })).count()
    }
}
