//! Handing a client over to its mailbox process, and hearing which process took it.
//!
//! A packet goes to the inbox that came from `auth`. A full inbox is tried again every [`RETRY`], for [`PATIENCE`] at most.
//! The process that takes the client writes its process id; then the login is logged. One that closes that socket without a
//! word, or says nothing for [`PATIENCE`], is logged as a failure.

use std::collections::HashMap;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use ipc_messages::handoff::{Handoff, PID_LEN};
use ipc_wire::packet;
use worker::Cx;

use crate::line::Facts;

/// How often a full inbox is tried again.
pub const RETRY: Duration = Duration::from_millis(20);
/// How long the mailbox process has to take the client.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Clients that may be on their way at a time. Each holds up to four descriptors.
pub const MAX_PASSING: usize = 64;

/// A client on its way.
struct Passing {
    /// The packet and its descriptors, until they are sent.
    unsent: Option<Unsent>,
    facts: Facts,
    summary: String,
    retries: u32,
}

struct Unsent {
    inbox: OwnedFd,
    packet: Vec<u8>,
    client: OwnedFd,
    report: OwnedFd,
}

/// What became of a client.
#[derive(Debug)]
pub enum Passed {
    /// It has a session.
    Taken(Facts),
    /// It has none; why. The client's socket comes back if it was never sent.
    Lost { facts: Facts, why: String, client: Option<OwnedFd> },
}

/// All that are on their way, by the key of their watch and timer.
#[derive(Default)]
pub struct Passings {
    all: HashMap<u64, Passing>,
    next: u64,
}

impl Passings {
    /// Whether none is on its way.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Whether there is no room for one more.
    pub fn is_full(&self) -> bool {
        self.all.len() >= MAX_PASSING
    }

    /// Begins; the summary is for the log, should it fail. Returns what became of the client if that is known at once.
    pub fn begin(
        &mut self,
        cx: &mut Cx<()>,
        inbox: OwnedFd,
        handoff: &Handoff,
        client: OwnedFd,
        (facts, summary): (Facts, String),
    ) -> Option<Passed> {
        let watched = UnixStream::pair().and_then(|(ours, theirs)| {
            ours.set_nonblocking(true)?;
            self.next += 1;
            cx.watch(self.next, ours.into())?;
            Ok(theirs)
        });
        let report = match watched {
            Ok(theirs) => theirs.into(),
            Err(error) => return Some(Passed::Lost { facts, why: error.to_string(), client: Some(client) }),
        };
        // Numbers, addresses and short texts: postcard refuses none of them.
        let packet = postcard::to_stdvec(handoff).expect("a hand-off");
        let unsent = Some(Unsent { inbox, packet, client, report });
        let key = self.next;
        self.all.insert(key, Passing { unsent, facts, summary, retries: 0 });
        self.ring(cx, key)
    }

    /// Tries to send, or gives up: when the timer of this key rings.
    pub fn ring(&mut self, cx: &mut Cx<()>, key: u64) -> Option<Passed> {
        let passing = self.all.get_mut(&key)?;
        let Some(unsent) = &passing.unsent else {
            return self.lose(cx, key, "the mailbox process did not answer");
        };
        match unsent.send() {
            Ok(()) => {
                passing.unsent = None;
                cx.timer(PATIENCE, key);
                None
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && RETRY * passing.retries < PATIENCE => {
                passing.retries += 1;
                cx.timer(RETRY, key);
                None
            }
            Err(error) => self.lose(cx, key, &format!("hand-off: {error}")),
        }
    }

    /// Something was said on the socket of this key.
    pub fn readable(&mut self, cx: &mut Cx<()>, key: u64) -> Option<Passed> {
        let said = report(cx.watched(key)?);
        match said {
            Ok(pid) => {
                cx.unwatch(key);
                let Passing { facts, .. } = self.all.remove(&key)?;
                Some(Passed::Taken(Facts { mail_pid: Some(pid), ..facts }))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(_) => self.lose(cx, key, "the mailbox process ended"),
        }
    }

    fn lose(&mut self, cx: &mut Cx<()>, key: u64, why: &str) -> Option<Passed> {
        cx.unwatch(key);
        let Passing { unsent, facts, summary, .. } = self.all.remove(&key)?;
        let client = unsent.map(|unsent| unsent.client);
        Some(Passed::Lost { facts, why: format!("{why} {summary}"), client })
    }
}

impl Unsent {
    fn send(&self) -> io::Result<()> {
        packet::send(self.inbox.as_fd(), &self.packet, &[self.client.as_fd(), self.report.as_fd()])
    }
}

/// The process id that was reported. It is written in one piece.
fn report(fd: BorrowedFd<'_>) -> io::Result<u32> {
    let mut bytes = [0; PID_LEN];
    let mut stream = UnixStream::from(fd.try_clone_to_owned()?);
    stream.read_exact(&mut bytes)?;
    Ok(u32::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_report_is_a_number_or_an_end() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        assert_eq!(report(ours.as_fd()).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        theirs.write_all(&4711u32.to_le_bytes()).unwrap();
        assert_eq!(report(ours.as_fd()).unwrap(), 4711);
        drop(theirs);
        assert_eq!(report(ours.as_fd()).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_packet_carries_the_client_and_the_report() {
        let (reader, inbox) = packet::pair().unwrap();
        let (client, mut peer) = UnixStream::pair().unwrap();
        let (ours, report_end) = UnixStream::pair().unwrap();
        let unsent = Unsent { inbox, packet: b"x".to_vec(), client: client.into(), report: report_end.into() };
        unsent.send().unwrap();
        drop(unsent);
        let received = packet::receive(reader.as_fd(), 10).unwrap().unwrap();
        let [client, report_end] = <[OwnedFd; 2]>::try_from(received.fds).unwrap();
        UnixStream::from(client).write_all(b"hello").unwrap();
        let mut text = String::new();
        peer.read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello");
        UnixStream::from(report_end).write_all(&9u32.to_le_bytes()).unwrap();
        assert_eq!(report(ours.as_fd()).unwrap(), 9);
    }
}
