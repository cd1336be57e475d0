//! Messages for one hub, in order, that wait until the hub is there and keeps up.
//!
//! A service with few messages sends them at once ([`Cx::send`]). One whose peer may be away or slow while thousands of messages
//! are for it puts them here, and calls [`Outbox::pump`] at the end of each turn; there is another turn when the channel has
//! room again.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;

use ipc_messages::control::Hub;
use ipc_wire::SendError;
use serde::Serialize;

use crate::cx::Cx;
use crate::peers::PeerId;

/// Bytes in a channel above which it gets no more for now.
pub(crate) const HIGH: usize = 1024 * 1024;

/// See the module.
#[derive(Debug)]
pub struct Outbox<T> {
    waiting: VecDeque<(T, Vec<OwnedFd>)>,
}

impl<T> Default for Outbox<T> {
    fn default() -> Outbox<T> {
        Outbox { waiting: VecDeque::new() }
    }
}

impl<T: Serialize> Outbox<T> {
    /// Adds a message with its descriptors.
    pub fn push(&mut self, message: T, fds: Vec<OwnedFd>) {
        self.waiting.push_back((message, fds));
    }

    /// Messages that wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Drops what waits: its receiver is gone, and its successor is told anew.
    pub fn clear(&mut self) {
        self.waiting.clear();
    }

    /// [`Outbox::pump`] for the channel to a hub.
    pub fn pump_to_hub<D: Send + 'static>(&mut self, cx: &mut Cx<D>, hub: Hub) {
        let peer = cx.hub(hub);
        self.pump(cx, peer);
    }

    /// Gives the channel what it takes for now; nothing when it is not there.
    pub fn pump<D: Send + 'static>(&mut self, cx: &mut Cx<D>, peer: Option<PeerId>) {
        let Some(peer) = peer else { return };
        while cx.queued(peer) < HIGH {
            let Some((message, fds)) = self.waiting.pop_front() else { return };
            // Room was made sure of; what does not fit into a frame is our own mistake.
            assert_ne!(cx.send(peer, &message, fds), Err(SendError::TooLarge), "a message larger than a frame");
        }
        if !self.waiting.is_empty() {
            cx.wait_for_room(peer);
        }
    }
}
