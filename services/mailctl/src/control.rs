//! The way to the running system: requests to the master over its control socket, and channels to its hubs.
//!
//! One request, any number of answers, one end; every wait has a time limit.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use ipc_messages::admin::{Answer, Request, SOCKET, ServiceRow};
use ipc_messages::control::Hub;
use ipc_wire::{Channel, Filled};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::console;

/// How long the other end may take for each message.
const PATIENCE: Duration = Duration::from_secs(60);

/// A channel that is written and read with waiting.
#[derive(Debug)]
pub struct Waiting(Channel);

impl Waiting {
    /// Takes a connected socket.
    ///
    /// # Errors
    /// What `fcntl` says.
    pub fn new(socket: UnixStream) -> io::Result<Waiting> {
        Channel::new(socket).map(Waiting)
    }

    /// Sends one message.
    ///
    /// # Errors
    /// What the system says; `TimedOut` when the peer does not read.
    pub fn send<T: Serialize>(&mut self, message: &T) -> io::Result<()> {
        let full = |_| io::Error::new(io::ErrorKind::InvalidInput, "the request is too long");
        self.0.send(message, Vec::new()).map_err(full)?;
        let end = Instant::now() + PATIENCE;
        while !self.0.flush()? {
            self.wait(PollFlags::POLLOUT, end)?;
        }
        Ok(())
    }

    /// Receives one message with its descriptors.
    ///
    /// # Errors
    /// What the system says; `InvalidData` for a frame that is broken, `UnexpectedEof` when the peer has gone, `TimedOut`
    /// when it does not answer.
    pub fn receive<T: DeserializeOwned>(&mut self) -> io::Result<(T, Vec<OwnedFd>)> {
        let broken = |broken| io::Error::new(io::ErrorKind::InvalidData, broken);
        let end = Instant::now() + PATIENCE;
        let mut is_open = true;
        loop {
            if let Some(frame) = self.0.next_frame().map_err(broken)? {
                return frame.decode().map_err(broken);
            }
            if !is_open {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the connection was closed"));
            }
            self.wait(PollFlags::POLLIN, end)?;
            is_open = self.0.fill()? != Filled::Ended;
        }
    }

    fn wait(&self, events: PollFlags, end: Instant) -> io::Result<()> {
        let left = end.saturating_duration_since(Instant::now());
        let limit = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(self.0.as_fd(), events)], limit) {
            Ok(0) => Err(io::Error::new(io::ErrorKind::TimedOut, "no answer")),
            Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// What came of a request.
#[derive(Debug, Default)]
pub struct Reply {
    /// Services, where they were asked for.
    pub services: Vec<ServiceRow>,
    /// `Err` says why the request was not carried out.
    pub result: Option<String>,
    /// What came with the end.
    pub fds: Vec<OwnedFd>,
}

/// Asks the master of the instance whose state is in `spool`, and shows what it waits for until it answers.
///
/// # Errors
/// What the system says: `NotFound` or `ConnectionRefused` when no master runs there.
pub fn ask(spool: &Path, request: &Request) -> io::Result<Reply> {
    let mut channel = Waiting::new(UnixStream::connect(spool.join(SOCKET))?)?;
    channel.send(request)?;
    let mut reply = Reply::default();
    loop {
        let (answer, fds) = channel.receive::<Answer>()?;
        match answer {
            Answer::Line(line) => console::progress(&line),
            Answer::Service(row) => reply.services.push(row),
            Answer::End(result) => {
                reply.result = result.err();
                reply.fds = fds;
                return Ok(reply);
            }
        }
    }
}

/// A channel to a hub.
///
/// # Errors
/// As for [`ask`]; what the master says when it refuses.
pub fn visit(spool: &Path, hub: Hub) -> io::Result<Waiting> {
    let reply = ask(spool, &Request::Visit(hub))?;
    match (reply.result, reply.fds.into_iter().next()) {
        (None, Some(fd)) => Waiting::new(UnixStream::from(fd)),
        (None, None) => Err(io::Error::new(io::ErrorKind::InvalidData, "the master gave no channel")),
        (Some(reason), _) => Err(io::Error::other(reason)),
    }
}

/// Whether an error means that no master runs.
pub fn is_down(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ipc_messages::admin::HalfName;
    use std::os::unix::net::UnixListener;

    /// A master that answers one request with these.
    fn master(folder: &Path, expected: Request, answers: Vec<(Answer, Vec<OwnedFd>)>) -> std::thread::JoinHandle<()> {
        let listener = UnixListener::bind(folder.join(SOCKET)).unwrap();
        std::thread::spawn(move || {
            let mut channel = Waiting::new(listener.accept().unwrap().0).unwrap();
            assert_eq!(channel.receive::<Request>().unwrap().0, expected);
            for (answer, fds) in answers {
                channel.0.send(&answer, fds).unwrap();
            }
            channel.0.flush().unwrap();
        })
    }

    #[test]
    fn answers_are_collected_until_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let request = Request::Reload(Some(HalfName::Mailbox));
        let answers =
            vec![(Answer::Line("waiting for smtpd[7]".into()), vec![]), (Answer::End(Err("refused".into())), vec![])];
        let thread = master(folder.path(), request.clone(), answers);
        let reply = ask(folder.path(), &request).unwrap();
        assert_eq!(reply.result, Some("refused".to_owned()));
        thread.join().unwrap();
    }

    #[test]
    fn a_visit_brings_a_channel() {
        let folder = tempfile::tempdir().unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let answers = vec![(Answer::End(Ok(())), vec![theirs.into()])];
        let thread = master(folder.path(), Request::Visit(Hub::Qmgr), answers);
        let mut channel = visit(folder.path(), Hub::Qmgr).unwrap();
        thread.join().unwrap();
        channel.send(&7u32).unwrap();
        assert_eq!(Waiting::new(ours).unwrap().receive::<u32>().unwrap().0, 7);
    }

    #[test]
    fn a_master_that_goes_away_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(is_down(&ask(folder.path(), &Request::Services).unwrap_err()));
        let thread = master(folder.path(), Request::Services, vec![]);
        let error = ask(folder.path(), &Request::Services).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        thread.join().unwrap();
        assert!(is_down(&ask(folder.path(), &Request::Services).unwrap_err()), "a socket that nobody listens at");
    }
}
