//! The talk with one client: its socket, the session, and a loop of its own.
//!
//! The client is read only while what it was answered has left, so that one that does not read costs no memory. One that
//! is quiet for a while is parked: the template has it from then on, and this process ends.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{setsockopt, sockopt};
use proto_imap::limits;
use proto_imap::session::{Now, Session};
use store_mailbox::fs::real::{RealDir, RealFs};

use crate::files::{Files, Notes};
use crate::lifeline::{FromTemplate, Heard, Lifeline};
use crate::user::{MAX_STATE, State};

const CLIENT: Token = Token(0);
const TEMPLATE: Token = Token(1);

/// Bytes read at a time.
const READ: usize = 16 * 1024;
/// How long a client has to take the last of what it is told.
const LINGER: Duration = Duration::from_secs(10);

/// How often the folders are looked at when the kernel does not tell.
pub const POLL: Duration = Duration::from_secs(15);

/// How the talk ended.
pub enum End {
    /// The session is over; why, in the words of the log.
    Over(String),
    /// The template has the client.
    Parked,
}

/// Whether the selected mailbox is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Watched {
    /// The client does not idle.
    No,
    /// The template was asked.
    Asked,
    /// It tells.
    Yes,
    /// It cannot: the folders are looked at every [`POLL`].
    Never,
}

/// The clock of a session, which goes on while it is parked.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    began: Instant,
    before_ms: u64,
}

impl Clock {
    /// One that shows this now.
    pub fn starting_at(ms: u64) -> Clock {
        Clock { began: Instant::now(), before_ms: ms }
    }

    /// What it shows.
    pub fn now(&self) -> Now {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs() as i64);
        Now { unix, monotonic_ms: self.before_ms.saturating_add(self.began.elapsed().as_millis() as u64) }
    }
}

/// A client and its session.
pub struct Conversation {
    session: Session<Files<RealFs>>,
    notes: std::rc::Rc<Notes<RealDir>>,
    socket: File,
    poll: Poll,
    clock: Clock,
    input: Vec<u8>,
    /// The socket may have more to read.
    readable: bool,
    watched: Watched,
    /// When something was last heard or said.
    active: Instant,
    park_after: Duration,
    /// Until when the last output may leave.
    linger: Option<Instant>,
    lifeline: Lifeline,
    /// Where log lines wait for the end of a turn.
    lines: ipc_log::Sender,
}

impl Conversation {
    /// A talk over `socket` that begins with `input`, which the client sent already. It ends when `lifeline` does.
    ///
    /// # Errors
    /// What the system says of the descriptors.
    pub fn new(
        session: Session<Files<RealFs>>,
        notes: std::rc::Rc<Notes<RealDir>>,
        (socket, lifeline): (OwnedFd, Lifeline),
        input: Vec<u8>,
        (clock, park_after): (Clock, Duration),
        lines: ipc_log::Sender,
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
            socket: socket.into(),
            poll,
            clock,
            input,
            readable: true,
            watched: Watched::No,
            active: Instant::now(),
            park_after,
            linger: None,
            lifeline,
            lines,
        })
    }

    /// The session, once the talk is over or before it begins.
    pub fn session(&self) -> &Session<Files<RealFs>> {
        &self.session
    }

    /// Talks until the end.
    pub fn run(&mut self) -> End {
        let mut events = Events::with_capacity(8);
        loop {
            if let Some(reason) = self.turn() {
                return End::Over(reason);
            }
            self.lines.flush();
            if self.park() {
                return End::Parked;
            }
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
                    _ => look |= self.hear(),
                }
            }
            if look {
                self.session.notify();
            }
            self.session.tick(self.clock.now());
        }
    }

    /// Takes what the template says; whether there is something to look for.
    fn hear(&mut self) -> bool {
        let mut look = false;
        loop {
            match self.lifeline.hear() {
                Heard::Nothing => return look,
                Heard::Said(FromTemplate::Look) => {
                    look = true;
                    if self.watched == Watched::Asked {
                        self.watched = Watched::Yes;
                    }
                }
                Heard::Said(FromTemplate::Unwatched) => {
                    if self.watched == Watched::Asked {
                        self.watched = Watched::Never;
                    }
                }
                Heard::End => {
                    self.session.shut_down();
                    return look;
                }
            }
        }
    }

    /// Gives a client that has been quiet for long enough to the template. When that cannot be, it is tried again after
    /// another while.
    fn park(&mut self) -> bool {
        if self.active.elapsed() < self.park_after || !self.is_quiet() {
            return false;
        }
        self.active = Instant::now();
        let Some(parked) = self.session.park() else { return false };
        let now = self.clock.now().monotonic_ms;
        let state = State { parked, clock_ms: now, trashed: self.notes.trashed.get() };
        // Numbers and short texts: postcard refuses none of them.
        let state = postcard::to_stdvec(&state).expect("a parked session");
        if state.len() as u64 > MAX_STATE {
            return false;
        }
        let deadline = self.session.deadline();
        let due = (deadline != u64::MAX).then(|| deadline.saturating_sub(now));
        let given = ipc_jail::sys::sealed_memory(c"parked", &state)
            .and_then(|state| self.lifeline.park(self.socket.as_fd(), state.as_fd(), due, self.session.reminder_ms()));
        given.is_ok()
    }

    /// Whether nothing is under way, and whoever is to be told of new mail would be.
    fn is_quiet(&self) -> bool {
        let told = if self.session.is_idling() { self.watched == Watched::Yes } else { true };
        told && self.linger.is_none() && self.input.is_empty() && self.session.output().is_empty()
    }

    /// Does all there is to do without waiting. Returns why the talk is over, if it is.
    fn turn(&mut self) -> Option<String> {
        loop {
            let used = self.session.process(&self.input, self.clock.now());
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
                self.active = Instant::now();
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

    /// Has the selected mailbox watched exactly while the client idles.
    fn watch(&mut self) {
        match (self.session.is_idling(), self.watched) {
            (true, Watched::No) => {
                self.watched = self.ask_for_news();
                self.session.notify();
            }
            (false, Watched::Asked | Watched::Yes) => {
                self.watched = Watched::No;
                // If the template does not read, it tells too much, which is no harm.
                let _ = self.lifeline.watch(&[]);
            }
            (false, Watched::Never) => self.watched = Watched::No,
            _ => {}
        }
    }

    fn ask_for_news(&self) -> Watched {
        let folders = self.notes.watched.borrow();
        if folders.is_empty() {
            return Watched::Yes;
        }
        let folders: Vec<BorrowedFd<'_>> = folders.iter().map(AsFd::as_fd).collect();
        if self.lifeline.watch(&folders).is_ok() { Watched::Asked } else { Watched::Never }
    }

    fn wait(&self) -> Option<Duration> {
        if let Some(linger) = self.linger {
            return Some(linger.saturating_duration_since(Instant::now()));
        }
        let now = self.clock.now().monotonic_ms;
        let deadline = self.session.deadline();
        let due = (deadline != u64::MAX).then(|| Duration::from_millis(deadline.saturating_sub(now)));
        let poll = (self.watched == Watched::Never).then_some(POLL);
        let park = self.is_quiet().then(|| self.park_after.saturating_sub(self.active.elapsed()));
        due.into_iter().chain(poll).chain(park).min()
    }

    /// The client is gone without LOGOUT.
    fn closed(&self, error: &io::Error) -> String {
        let activity = self.session.activity(self.clock.now());
        match error.raw_os_error() {
            None => format!("Connection closed ({activity})"),
            Some(number) => format!("Connection closed: {} ({activity})", Errno::from_raw(number).desc()),
        }
    }
}
