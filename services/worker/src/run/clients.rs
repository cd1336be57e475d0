//! Connections: from the listener to their end.

use std::time::Duration;

use mio::event::Event;

use super::Worker;
use crate::Service;
use crate::connection::ConnId;
use crate::cx::Pending;
use crate::socket::Why;

/// How long nobody is accepted after the system refused to.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);
/// Output a joined connection may have before its other half is read no further.
const JOINED_HIGH: usize = 256 * 1024;

impl<S: Service> Worker<S> {
    pub(super) fn accept(&mut self, index: usize) {
        loop {
            let room = self.cx.served_clients() < self.limits.clients && self.accept_again.is_none();
            if self.cx.draining || !room || self.spent() {
                return self.wait_for_room(index);
            }
            match self.listeners[index].accept() {
                Ok((socket, remote)) => match self.cx.add(socket, true) {
                    Ok(id) => {
                        self.crowded = false;
                        self.service.accepted(&mut self.cx, id, index, remote);
                        self.read(id);
                    }
                    Err(error) => return self.pause_accepting(index, &error),
                },
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
                Err(error) if client_has_gone(&error) => {}
                Err(error) => return self.pause_accepting(index, &error),
            }
        }
    }

    /// The system refuses to accept (no descriptor, no memory): who waits is tried again in a while. The log hears of it once,
    /// not once for each attempt.
    pub(super) fn pause_accepting(&mut self, index: usize, error: &std::io::Error) {
        if !std::mem::replace(&mut self.crowded, true) {
            slog::warn!(self.cx.logger, "accept connection: {error}: new clients wait");
        }
        self.accept_again = Some(self.cx.now + ACCEPT_PAUSE);
        self.wait_for_room(index);
    }

    pub(super) fn wait_for_room(&mut self, index: usize) {
        if !self.waiting.contains(&index) {
            self.waiting.push(index);
        }
    }

    pub(super) fn spent(&self) -> bool {
        self.limits.uses > 0 && self.cx.served >= self.limits.uses
    }

    pub(super) fn connection(&mut self, slot: usize, event: &Event) {
        let Some(connection) = self.cx.connections.get_mut(slot).and_then(Option::as_deref_mut) else { return };
        let id = connection.id;
        connection.ready(event.is_read_closed());
        if connection.connecting {
            match connection.connect_done() {
                Ok(true) => self.service.connected(&mut self.cx, id),
                Ok(false) => return,
                Err(why) => return self.over(id, why),
            }
        }
        let Some(connection) = self.cx.connection(id) else { return };
        if event.is_writable() && connection.pending() > 0 {
            self.flush(id);
        }
        self.read(id);
    }

    pub(super) fn read(&mut self, id: ConnId) {
        let Some(connection) = self.cx.connection(id) else { return };
        if connection.closing || connection.paused || connection.connecting {
            return;
        }
        let had = !connection.input.is_empty();
        let progress = connection.read(&mut self.scratch);
        let handshake = connection.is_tls() && !connection.eof;
        if handshake {
            // A handshake answers by itself.
            self.flush(id);
        }
        if let Some(how) = progress.secured {
            self.service.secured(&mut self.cx, id, how);
        }
        if progress.input || had {
            match self.cx.connection(id).and_then(|connection| connection.joined) {
                Some(to) => self.pass_on(id, to),
                None if self.cx.connection(id).is_some_and(|connection| !connection.input.is_empty()) => {
                    self.service.input(&mut self.cx, id);
                }
                None => {}
            }
        }
        if let Some(why) = progress.over {
            self.over(id, why);
        }
    }

    /// Input of a joined connection goes to its other half.
    pub(super) fn pass_on(&mut self, from: ConnId, to: ConnId) {
        let Some(connection) = self.cx.connection(from) else { return };
        let input = std::mem::take(&mut connection.input);
        self.cx.write(to, &input);
        let behind = self.cx.unsent(to) > JOINED_HIGH;
        if let Some(connection) = self.cx.connection(from) {
            connection.paused = behind;
            if !behind && connection.readable {
                self.cx.pending.push_back(Pending::Input(from));
            }
        }
    }

    pub(super) fn flush(&mut self, id: ConnId) {
        if !self.cx.flush_connection(id) {
            return;
        }
        let Some(connection) = self.cx.connection(id) else { return };
        if connection.closing {
            self.cx.abort(id);
            return;
        }
        match connection.joined {
            Some(other) => {
                if self.cx.connection(other).is_some_and(|other| other.paused) {
                    self.cx.pause(other, false);
                }
            }
            None => self.service.drained(&mut self.cx, id),
        }
    }

    pub(super) fn over(&mut self, id: ConnId, why: Why) {
        // What a service answers to input that came with the end still leaves, as far as the socket takes it.
        self.cx.flush_connection(id);
        let Some(connection) = self.cx.remove(id) else { return };
        if let Some(other) = connection.joined {
            self.cx.close(other);
            if let Some(other) = self.cx.connection(other) {
                other.joined = None;
            }
        }
        if !connection.closing {
            self.service.closed(&mut self.cx, id, why);
        }
    }
}

/// Whether an error of `accept` is about the client that was to be accepted (accept(2)), not about us.
fn client_has_gone(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{
        ConnectionAborted, ConnectionReset, HostUnreachable, NetworkUnreachable, NotConnected, TimedOut,
    };
    let kinds = [ConnectionAborted, ConnectionReset, HostUnreachable, NetworkUnreachable, NotConnected, TimedOut];
    kinds.contains(&error.kind())
}
