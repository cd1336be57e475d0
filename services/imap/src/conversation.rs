//! The talk with one client: its socket, the session, and a loop of its own.
//!
//! The client is read only while what it was answered has left, so that one that does not read costs no memory.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{setsockopt, sockopt};
use proto_imap::limits;
use proto_imap::session::{Now, Session};
use slog::Logger;
use store_mailbox::fs::real::{RealDir, RealFs};

use crate::files::{Files, Notes};
use crate::news::News;

const CLIENT: Token = Token(0);
const NEWS: Token = Token(1);
const TEMPLATE: Token = Token(2);

/// Bytes read at a time.
const READ: usize = 16 * 1024;
/// How long a client has to take the last of what it is told.
const LINGER: Duration = Duration::from_secs(10);

/// A client and its session.
pub struct Conversation {
    session: Session<Files<RealFs>>,
    notes: std::rc::Rc<Notes<RealDir>>,
    fs: Arc<RealFs>,
    socket: File,
    poll: Poll,
    started: Instant,
    input: Vec<u8>,
    /// The socket may have more to read.
    readable: bool,
    news: News,
    /// Until when the last output may leave.
    linger: Option<Instant>,
    /// Held for its end alone.
    _lifeline: OwnedFd,
    /// Where the lines of `log` wait for the end of a turn.
    lines: ipc_log::Sender,
    log: Logger,
}

/// The clock of a session that began at `started`.
pub fn clock(started: Instant) -> Now {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs() as i64);
    Now { unix, monotonic_ms: started.elapsed().as_millis() as u64 }
}

impl Conversation {
    /// A talk over `socket` that begins with `input`, which the client sent already. It ends when `lifeline` does.
    ///
    /// # Errors
    /// What the system says of the descriptors.
    pub fn new(
        session: Session<Files<RealFs>>,
        notes: std::rc::Rc<Notes<RealDir>>,
        fs: Arc<RealFs>,
        (socket, lifeline): (OwnedFd, OwnedFd),
        input: Vec<u8>,
        started: Instant,
        (lines, log): (ipc_log::Sender, Logger),
    ) -> io::Result<Conversation> {
        fcntl(&socket, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        // Replies are written whole. A unix socket, as under TLS, has no such option.
        let _ = setsockopt(&socket, sockopt::TcpNoDelay, &true);
        let poll = Poll::new()?;
        let both = Interest::READABLE | Interest::WRITABLE;
        poll.registry().register(&mut SourceFd(&socket.as_raw_fd()), CLIENT, both)?;
        poll.registry().register(&mut SourceFd(&lifeline.as_raw_fd()), TEMPLATE, Interest::READABLE)?;
        Ok(Conversation {
            session,
            notes,
            fs,
            socket: socket.into(),
            poll,
            started,
            input,
            readable: true,
            news: News::default(),
            linger: None,
            _lifeline: lifeline,
            lines,
            log,
        })
    }

    /// The session, once the talk is over or before it begins.
    pub fn session(&self) -> &Session<Files<RealFs>> {
        &self.session
    }

    /// Talks until the end; returns why it ended, in the words of the log.
    pub fn run(&mut self) -> String {
        let mut events = Events::with_capacity(8);
        loop {
            if let Some(reason) = self.turn() {
                return reason;
            }
            self.lines.flush();
            let wait = self.wait();
            match self.poll.poll(&mut events, wait) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => panic!("the event loop failed: {error}"),
            }
            // Without an event it is time to look for oneself, or for the session to say something.
            let mut look = events.is_empty();
            for event in &events {
                match event.token() {
                    CLIENT => self.readable = true,
                    TEMPLATE => self.session.shut_down(),
                    _ => {
                        self.news.take();
                        look = true;
                    }
                }
            }
            if look {
                self.session.notify();
            }
            self.session.tick(clock(self.started));
        }
    }

    /// Does all there is to do without waiting. Returns why the talk is over, if it is.
    fn turn(&mut self) -> Option<String> {
        loop {
            let used = self.session.process(&self.input, clock(self.started));
            self.input.drain(..used);
            let sent = match self.send() {
                Ok(sent) => sent,
                Err(error) => return Some(self.closed(&error)),
            };
            let left = !self.session.output().is_empty();
            if self.session.is_closed() {
                return self.last_words(left);
            }
            if left {
                return None;
            }
            if sent > 0 || used > 0 {
                continue;
            }
            self.watch();
            if !self.session.output().is_empty() {
                continue;
            }
            if !self.readable || self.input.len() >= limits::COMMAND {
                return None;
            }
            match self.read() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => return Some(self.closed(&error)),
            }
        }
    }

    /// The session is over; what it said last may still be on its way.
    fn last_words(&mut self, left: bool) -> Option<String> {
        let linger = *self.linger.get_or_insert_with(|| Instant::now() + LINGER);
        if left && Instant::now() < linger {
            return None;
        }
        Some(match self.session.farewell() {
            None => "Logged out".to_owned(),
            Some("Disconnected for inactivity.") => {
                format!("Inactivity - no input for {} secs", limits::SESSION_IDLE_SECONDS)
            }
            Some(text) => text.trim_end_matches('.').to_owned(),
        })
    }

    /// Sends what the socket takes; returns how much that was.
    fn send(&mut self) -> io::Result<usize> {
        let mut sent = 0;
        while !self.session.output().is_empty() {
            match self.socket.write(self.session.output()) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    self.session.sent(n);
                    sent += n;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(sent)
    }

    /// Reads once. False when nothing is there; the end of the stream is an error.
    fn read(&mut self) -> io::Result<bool> {
        let had = self.input.len();
        self.input.resize(had + READ, 0);
        let read = self.socket.read(&mut self.input[had..]);
        self.input.truncate(had + *read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.readable = false;
                Ok(false)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Watches the selected mailbox exactly while the client idles.
    fn watch(&mut self) {
        match (self.session.is_idling(), self.news.is_active()) {
            (true, false) => {
                let folders = self.notes.watched.borrow().clone();
                self.news.begin(&self.fs, &folders, self.poll.registry(), NEWS, &self.log);
                self.session.notify();
            }
            (false, true) => self.news.end(),
            _ => {}
        }
    }

    fn wait(&self) -> Option<Duration> {
        if let Some(linger) = self.linger {
            return Some(linger.saturating_duration_since(Instant::now()));
        }
        let now = clock(self.started).monotonic_ms;
        let deadline = self.session.deadline();
        let due = (deadline != u64::MAX).then(|| Duration::from_millis(deadline.saturating_sub(now)));
        due.into_iter().chain(self.news.wait()).min()
    }

    /// The client is gone without LOGOUT.
    fn closed(&self, error: &io::Error) -> String {
        let activity = self.session.activity(clock(self.started));
        match error.raw_os_error() {
            None => format!("Connection closed ({activity})"),
            Some(number) => format!("Connection closed: {} ({activity})", Errno::from_raw(number).desc()),
        }
    }
}
