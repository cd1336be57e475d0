//! Between a session's process and its template: what is said on the lifeline.
//!
//! A session asks for news of its folders, because the kernel allows an account only so many notification instances
//! (`fs.inotify.max_user_instances`): the template has the one of its account. And a session that is quiet asks to be
//! parked: its client and its state go to the template, and its process ends.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use ipc_wire::packet;
use serde::{Deserialize, Serialize};

/// Folders that one session may have watched: a Maildir's `new` and `cur` are two.
pub const MAX_FOLDERS: usize = 4;

/// Bytes of what a child is told.
const MAX_TOLD: usize = 64;

/// A session to its template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToTemplate {
    /// Tell of changes in the folders that come with this, in place of those of before; with none, of nothing. For some it
    /// is answered at once: [`FromTemplate::Look`], so that nothing is missed that happened just before, or
    /// [`FromTemplate::Unwatched`].
    Watch,
    /// The client, and then its state, come with this: the session goes on when something happens.
    Park(Quiet),
}

/// What has to be known to wake a parked session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quiet {
    /// How often it was told to look, since its process began. If it is more by now, it has missed something.
    pub looks: u32,
    /// Milliseconds until time demands something of it.
    pub due_ms: Option<u64>,
    /// That is to be reminded that the server lives, which needs no process, and again each time that so many milliseconds
    /// have passed.
    pub remind_ms: Option<u64>,
}

/// A template to a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromTemplate {
    /// A folder has changed, perhaps.
    Look,
    /// The kernel does not watch these folders.
    Unwatched,
}

impl FromTemplate {
    /// As it travels.
    pub fn bytes(self) -> Vec<u8> {
        postcard::to_stdvec(&self).expect("a variant without fields")
    }
}

/// The session's end.
#[derive(Debug)]
pub struct Lifeline {
    socket: OwnedFd,
    looks: u32,
}

/// What was heard.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// Nothing more for now.
    Nothing,
    /// Something.
    Said(FromTemplate),
    /// The template is gone.
    End,
}

impl Lifeline {
    /// Over this socket.
    pub fn new(socket: OwnedFd) -> Lifeline {
        Lifeline { socket, looks: 0 }
    }

    /// Takes what has come, one at a time.
    pub fn hear(&mut self) -> Heard {
        match packet::receive(self.socket.as_fd(), MAX_TOLD) {
            Ok(Some(packet)) => match postcard::from_bytes(&packet.bytes) {
                Ok(said) => {
                    self.looks = self.looks.wrapping_add(u32::from(said == FromTemplate::Look));
                    Heard::Said(said)
                }
                Err(_) => Heard::End,
            },
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Heard::Nothing,
            Ok(None) | Err(_) => Heard::End,
        }
    }

    /// Asks for news of `folders`.
    ///
    /// # Errors
    /// What the system says.
    pub fn watch(&self, folders: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.say(&ToTemplate::Watch, folders)
    }

    /// Gives the client away, with its state. `due_ms` and `remind_ms` as in [`Quiet`].
    ///
    /// # Errors
    /// What the system says; the session goes on then.
    pub fn park(
        &self,
        client: BorrowedFd<'_>,
        state: BorrowedFd<'_>,
        due_ms: Option<u64>,
        remind_ms: Option<u64>,
    ) -> io::Result<()> {
        self.say(&ToTemplate::Park(Quiet { looks: self.looks, due_ms, remind_ms }), &[client, state])
    }

    fn say(&self, message: &ToTemplate, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let bytes = postcard::to_stdvec(message).expect("numbers alone");
        packet::send(self.socket.as_fd(), &bytes, fds)
    }
}

impl AsRawFd for Lifeline {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_are_counted_and_told_with_the_client() {
        let (ours, theirs) = packet::pair().unwrap();
        let mut lifeline = Lifeline::new(theirs);
        assert_eq!(lifeline.hear(), Heard::Nothing);
        for said in [FromTemplate::Look, FromTemplate::Unwatched, FromTemplate::Look] {
            packet::send(ours.as_fd(), &said.bytes(), &[]).unwrap();
            assert_eq!(lifeline.hear(), Heard::Said(said));
        }
        let null = std::fs::File::open("/dev/null").unwrap();
        lifeline.park(null.as_fd(), null.as_fd(), Some(5), None).unwrap();
        let packet = packet::receive(ours.as_fd(), 100).unwrap().unwrap();
        let quiet = Quiet { looks: 2, due_ms: Some(5), remind_ms: None };
        assert_eq!(postcard::from_bytes(&packet.bytes), Ok(ToTemplate::Park(quiet)));
        assert_eq!(packet.fds.len(), 2);
        drop(ours);
        assert_eq!(lifeline.hear(), Heard::End);
    }
}
