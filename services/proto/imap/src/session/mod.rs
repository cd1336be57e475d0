//! A session after login: bytes in, bytes out, over [`Mailboxes`].
//!
//! The caller hands in what it read with [`Session::process`], sends what [`Session::output`] holds, and
//! calls `process` again with the input that was left. A command whose answer is large yields when
//! [`limits::OUTPUT_HIGH_WATER`] is passed, and goes on when the output has been sent, so that a client which does not
//! read costs no memory.
//!
//! Invariants: one command at a time, answered in order. Sequence numbers change only at the moments RFC 3501 section
//! 7.4.1 allows: never during FETCH, STORE or SEARCH. After [`Session::is_closed`] nothing is read any more.

mod append;
mod fetch;
mod folders;
mod list;
mod messages;
mod outcome;
mod park;
mod search;
mod view;

pub use park::{Parked, ResumeError, STILL_HERE};

use std::borrow::Cow;

use crate::command::{self, Command};
use crate::frame::{Framer, Step};
use crate::mailbox::{self, Mailboxes};
use crate::sequence::UidSet;
use crate::{limits, response, token};
use outcome::{Done, Failure, NO_MAILBOX};
use view::View;

/// The time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Seconds since 1970 in UTC.
    pub unix: i64,
    /// Milliseconds since some moment, never set back.
    pub monotonic_ms: u64,
}

/// What the configuration says about sessions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// `imap_idle_notify_interval` in seconds: how often an idling client is told that the server lives. 0: never.
    pub idle_notify_seconds: u64,
    /// Whether the configuration gives any mailbox a special use.
    pub special_use: bool,
    /// Seconds that local time is ahead of UTC: in which INTERNALDATE is shown, and days begin and end.
    pub utc_offset: i32,
    /// `imap_id_send`: names and values of the reply to ID.
    pub id: Vec<(String, String)>,
    /// `imap_capability`: what is announced after login. Empty for all that is built; `+NAME …` adds names to it, anything
    /// else stands in its place.
    pub announced: String,
}

impl Settings {
    /// The capabilities of a session.
    pub fn capability(&self) -> Cow<'_, str> {
        let built = response::capability(self.special_use);
        match self.announced.strip_prefix('+') {
            Some(more) => Cow::Owned(format!("{built} {}", more.trim())),
            None if self.announced.is_empty() => Cow::Borrowed(built),
            None => Cow::Borrowed(&self.announced),
        }
    }
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            idle_notify_seconds: 120,
            special_use: false,
            utc_offset: 0,
            id: vec![("name".to_owned(), "Dovecot".to_owned())],
            announced: String::new(),
        }
    }
}

/// What Dovecot's `imap_logout_format` counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Statistics {
    /// Bytes read.
    pub bytes_in: u64,
    /// Bytes written.
    pub bytes_out: u64,
    /// Messages that got `\Deleted`.
    pub deleted: u64,
    /// Messages expunged by this session.
    pub expunged: u64,
    /// Headers sent, and their bytes.
    pub headers: u64,
    /// See `headers`.
    pub header_bytes: u64,
    /// Bodies sent, and their bytes.
    pub bodies: u64,
    /// See `bodies`.
    pub body_bytes: u64,
}

/// A session.
pub struct Session<M: Mailboxes> {
    settings: Settings,
    mailboxes: M,
    framer: Framer,
    out: Vec<u8>,
    running: Running<M>,
    /// When the command in progress, or the last one, began.
    started_ms: u64,
    /// When the client was last heard.
    heard_ms: u64,
    selected: Option<View<M::Selected>>,
    /// The client knows about mod-sequences (RFC 7162 section 3.1).
    condstore: bool,
    /// The saved search result `$`, in UIDs.
    saved: UidSet,
    bad_commands: u32,
    closed: bool,
    /// What the client was told when the session ended it.
    farewell: Option<&'static str>,
    statistics: Statistics,
    /// The name of the last command, as it was written, and when it was answered.
    last_command: Option<String>,
    finished_ms: u64,
}

/// The command in progress.
enum Running<M: Mailboxes> {
    Nothing,
    /// IDLE; when the client was last told that the server lives.
    Idle {
        tag: Vec<u8>,
        told_ms: u64,
    },
    Append(append::Append<M::Appending>),
    Fetch(Box<fetch::FetchProgress<<M::Selected as mailbox::Selected>::Content>>),
}

impl<M: Mailboxes> Session<M> {
    /// A session for the login command with this tag, which is answered.
    pub fn new(settings: Settings, mailboxes: M, tag: &[u8], now: Now) -> Session<M> {
        let mut session = Session::empty(settings, mailboxes, now);
        let text = format!("OK [CAPABILITY {}] Logged in", session.settings.capability());
        response::tagged(&mut session.out, tag, &text);
        session
    }

    fn empty(settings: Settings, mailboxes: M, now: Now) -> Session<M> {
        Session {
            settings,
            mailboxes,
            framer: Framer::new(limits::COMMAND),
            out: Vec::new(),
            running: Running::Nothing,
            started_ms: now.monotonic_ms,
            heard_ms: now.monotonic_ms,
            selected: None,
            condstore: false,
            saved: UidSet::default(),
            bad_commands: 0,
            closed: false,
            farewell: None,
            statistics: Statistics::default(),
            last_command: None,
            finished_ms: now.monotonic_ms,
        }
    }

    /// Reads commands and carries them out, and goes on with the one in progress. Returns how much of the input it has
    /// read; the rest is to be handed in again when output has been sent.
    pub fn process(&mut self, input: &[u8], now: Now) -> usize {
        let mut rest = input;
        while !self.closed {
            self.continue_fetch(now);
            if self.out.len() >= limits::OUTPUT_HIGH_WATER || self.closed {
                break;
            }
            if self.framer.is_empty() && matches!(self.running, Running::Nothing) {
                self.started_ms = now.monotonic_ms;
            }
            let before = rest.len();
            let step = self.framer.next(&mut rest);
            if before > rest.len() {
                self.heard_ms = now.monotonic_ms;
            }
            if step == Step::NeedInput {
                break;
            }
            self.step(step, now);
        }
        if self.closed {
            rest = &[];
        }
        let read = input.len() - rest.len();
        self.statistics.bytes_in += read as u64;
        read
    }

    /// What is to be sent.
    pub fn output(&self) -> &[u8] {
        &self.out
    }

    /// The first `count` bytes of the output are sent.
    pub fn sent(&mut self, count: usize) {
        self.out.drain(..count);
        self.statistics.bytes_out += count as u64;
        if self.out.is_empty() && self.out.capacity() > 2 * limits::OUTPUT_HIGH_WATER {
            self.out = Vec::new();
        }
    }

    /// Whether the connection is to be closed once the output is sent.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Why the session was closed, as the client was told, unless the client asked for it.
    pub fn farewell(&self) -> Option<&'static str> {
        self.farewell
    }

    /// Whether the client is in IDLE, so that news is to be told at once.
    pub fn is_idling(&self) -> bool {
        matches!(self.running, Running::Idle { .. })
    }

    /// Counters for the log.
    pub fn statistics(&self) -> Statistics {
        self.statistics
    }

    /// What the log says of a connection that ended without LOGOUT, in Dovecot's words.
    pub fn activity(&self, now: Now) -> String {
        let since = |start: u64| {
            let elapsed = now.monotonic_ms.saturating_sub(start);
            format!("{}.{:03} secs", elapsed / 1000, elapsed % 1000)
        };
        match &self.last_command {
            None => "No commands sent".to_owned(),
            Some(name) if matches!(self.running, Running::Nothing) => {
                format!("{name} finished {} ago", since(self.finished_ms))
            }
            Some(name) => format!("{name} running for {}", since(self.started_ms)),
        }
    }

    /// Something happened to the selected mailbox: an idling client is told.
    pub fn notify(&mut self) {
        if self.is_idling() && !self.closed {
            self.tell_news(true, false);
        }
    }

    /// How often an idling client is to be told [`STILL_HERE`]; `None` when it does not idle or is never told.
    pub fn reminder_ms(&self) -> Option<u64> {
        let told = self.is_idling() && self.settings.idle_notify_seconds > 0;
        told.then(|| self.settings.idle_notify_seconds * 1000)
    }

    /// When [`Session::tick`] has to be called, in [`Now::monotonic_ms`].
    pub fn deadline(&self) -> u64 {
        let timeout = self.heard_ms + limits::SESSION_IDLE_SECONDS * 1000;
        match &self.running {
            Running::Idle { told_ms, .. } if self.settings.idle_notify_seconds > 0 => {
                told_ms + self.settings.idle_notify_seconds * 1000
            }
            Running::Idle { .. } => u64::MAX,
            _ => timeout,
        }
    }

    /// Does what time demands: tells an idling client that the server lives, ends a session that was left.
    pub fn tick(&mut self, now: Now) {
        if now.monotonic_ms < self.deadline() || self.closed {
            return;
        }
        match &mut self.running {
            Running::Idle { told_ms, .. } => {
                *told_ms = now.monotonic_ms;
                self.out.extend_from_slice(STILL_HERE);
            }
            _ => self.bye("Disconnected for inactivity."),
        }
    }

    /// The server is being stopped: says so and closes.
    pub fn shut_down(&mut self) {
        self.bye("Server shutting down.");
    }

    fn bye(&mut self, text: &'static str) {
        if !self.closed {
            self.farewell = Some(text);
            if !self.is_inside_reply() {
                response::untagged(&mut self.out, &format!("BYE {text}"));
            }
            self.closed = true;
        }
    }

    fn step(&mut self, step: Step<'_>, now: Now) {
        if self.is_idling() {
            return self.end_idle(step, now);
        }
        match step {
            Step::NeedInput => {}
            Step::Continue => self.out.extend_from_slice(b"+ OK\r\n"),
            Step::LiteralTooLarge => self.bye("Literal size too large"),
            Step::Message(announced) => self.append_message(announced, now),
            Step::Data(octets) => self.append_data(octets, now),
            Step::MessageEnd => {}
            Step::TooLong => self.too_long(now),
            Step::Command if matches!(self.running, Running::Append(_)) => self.append_end(now),
            Step::Command => self.command(now),
        }
    }

    /// Anything but DONE ends IDLE, too (RFC 2177).
    fn end_idle(&mut self, step: Step<'_>, now: Now) {
        let done = step == Step::Command && self.framer.command().eq_ignore_ascii_case(b"DONE");
        match step {
            Step::Command => {}
            Step::Continue => self.framer.cancel(),
            _ => self.framer.discard(),
        }
        let Running::Idle { tag, .. } = std::mem::replace(&mut self.running, Running::Nothing) else {
            return;
        };
        if done {
            self.finish(&tag, "IDLE", Ok(Done::news("OK Idle completed")), now);
        } else {
            self.finish(&tag, "IDLE", Err(Failure::Bad("Expected DONE")), now);
        }
    }

    fn too_long(&mut self, now: Now) {
        if let Running::Append(append) = std::mem::replace(&mut self.running, Running::Nothing) {
            let tag = append.into_tag();
            return self.finish(&tag, "APPEND", Err(Failure::Syntax("Too long argument".into())), now);
        }
        let Some(line) = token::split(self.framer.command()) else {
            return self.no_tag(now);
        };
        let (tag, name) = (line.tag.to_vec(), command::display_name(&line));
        let failure = Failure::Syntax("Too long argument".into());
        self.finish(&tag, name.as_deref().unwrap_or_default(), Err(failure), now);
    }

    fn no_tag(&mut self, now: Now) {
        self.out.extend_from_slice(b"* BAD ");
        response::timed_line(&mut self.out, "Error in IMAP tag: Invalid tag", now.monotonic_ms - self.started_ms);
        self.count_bad_command();
    }

    fn count_bad_command(&mut self) {
        self.bad_commands += 1;
        if self.bad_commands >= limits::BAD_COMMANDS {
            self.bye("Too many invalid IMAP commands.");
        }
    }

    /// Carries out the command that the framer holds.
    fn command(&mut self, now: Now) {
        let Some(line) = token::split(self.framer.command()) else {
            return self.no_tag(now);
        };
        let tag = line.tag.to_vec();
        let Some(name) = command::display_name(&line) else {
            self.out.extend_from_slice(&tag);
            self.out.extend_from_slice(b" BAD ");
            let elapsed = now.monotonic_ms - self.started_ms;
            response::timed_line(&mut self.out, "Error in IMAP command: Invalid command name", elapsed);
            return self.count_bad_command();
        };
        self.last_command = Some(String::from_utf8_lossy(line.name.unwrap_or_default()).into_owned());
        if name == "APPEND" {
            return self.append_without_message(&tag, now);
        }
        let done = match command::parse(&name, line.rest) {
            Ok(command) => self.execute(&tag, command, now),
            Err(refusal) => Err(refusal.into()),
        };
        self.finish(&tag, &name, done, now);
    }

    fn execute(&mut self, tag: &[u8], command: Command, now: Now) -> Result<Done, Failure> {
        match command {
            Command::Capability => {
                let text = format!("CAPABILITY {}", self.settings.capability());
                response::untagged(&mut self.out, &text);
                Ok(Done::news("OK Capability completed"))
            }
            Command::Noop => Ok(Done::news("OK NOOP completed")),
            Command::Check if self.selected.is_none() => Err(NO_MAILBOX),
            Command::Check => Ok(Done::news("OK Check completed")),
            Command::Logout => {
                response::untagged(&mut self.out, "BYE Logging out");
                self.closed = true;
                Ok(Done::Plain("OK Logout completed".into()))
            }
            Command::Id => Ok(self.id()),
            Command::Enable { condstore } => Ok(self.enable(condstore)),
            Command::Namespace => Ok(self.namespace()),
            Command::Idle => {
                self.out.extend_from_slice(b"+ idling\r\n");
                self.running = Running::Idle { tag: tag.to_vec(), told_ms: now.monotonic_ms };
                self.notify();
                Ok(Done::Later)
            }
            Command::Select { mailbox, read_only, condstore } => self.select(&mailbox, read_only, condstore),
            Command::Close => self.close(true),
            Command::Unselect => self.close(false),
            Command::Create { mailbox, special_use } => self.create(&mailbox, &special_use),
            Command::Delete(mailbox) => self.delete(&mailbox),
            Command::Rename { from, to } => self.rename(&from, &to),
            Command::Subscribe(mailbox) => self.subscribe(&mailbox, true),
            Command::Unsubscribe(mailbox) => self.subscribe(&mailbox, false),
            Command::List(list) => self.list(&list),
            Command::Lsub(pattern) => self.lsub(&pattern),
            Command::Status { written, mailbox, items } => self.status(&written, &mailbox, items),
            Command::Expunge(set) => self.expunge(set.as_ref()),
            Command::Search(search) => self.search(tag, &search, now),
            Command::Fetch(fetch) => self.fetch(tag, fetch),
            Command::Store(store) => self.store(&store),
            Command::Copy { set, uid, mailbox, remove } => self.copy(&set, uid, &mailbox, remove),
        }
    }

    /// Tells the news if this is the moment, and answers the command.
    fn finish(&mut self, tag: &[u8], name: &str, done: Result<Done, Failure>, now: Now) {
        self.finished_ms = now.monotonic_ms;
        let text = match done {
            Ok(Done::Later) => return,
            Ok(Done::Plain(text)) => text,
            Ok(Done::Bye(text, bye)) => {
                response::tagged_timed(&mut self.out, tag, text, now.monotonic_ms - self.started_ms);
                return self.bye(bye);
            }
            Ok(Done::Sync { text, expunges, uid }) => {
                self.tell_news(expunges, uid);
                text
            }
            Err(Failure::Syntax(text)) => {
                let text = format!("BAD Error in IMAP command {name}: {text}");
                response::tagged_timed(&mut self.out, tag, &text, now.monotonic_ms - self.started_ms);
                return self.count_bad_command();
            }
            Err(Failure::Bad(text)) => format!("BAD {text}").into(),
            Err(Failure::No(text)) => {
                // Whoever learns that a message is gone has to be told which (RFC 2180 section 4.4).
                self.tell_news(!matches!(name, "FETCH" | "STORE" | "SEARCH"), name.starts_with("UID "));
                format!("NO {text}").into()
            }
            Err(Failure::Bye(text)) => return self.bye(text),
        };
        self.bad_commands = 0;
        let lost = self.closed && name != "LOGOUT";
        if !lost {
            response::tagged_timed(&mut self.out, tag, &text, now.monotonic_ms - self.started_ms);
        }
    }

    /// Writes what happened in the selected mailbox.
    fn tell_news(&mut self, expunges: bool, uid: bool) {
        let Some(view) = &mut self.selected else { return };
        let news = view::News { expunges, uid, condstore: self.condstore };
        if let Err(failure) = view.tell(&news, &mut self.out) {
            match failure {
                Failure::Bye(text) => self.bye(text),
                Failure::No(text) => response::untagged(&mut self.out, &format!("NO {text}")),
                Failure::Syntax(_) | Failure::Bad(_) => {}
            }
        }
    }

    /// ```text
    /// id-response = "ID" SP ("NIL" / "(" [string SP nstring *(SP string SP nstring)] ")")
    /// ```
    ///
    /// RFC 2971 section 4.
    fn id(&mut self) -> Done {
        write_id(&mut self.out, &self.settings.id);
        Done::Plain("OK ID completed".into())
    }

    fn enable(&mut self, condstore: bool) -> Done {
        if condstore {
            self.enable_condstore();
            response::untagged(&mut self.out, "ENABLED CONDSTORE");
        }
        Done::news("OK Enabled")
    }

    /// A command that shows knowledge of mod-sequences enables them (RFC 7162 section 3.1).
    fn enable_condstore(&mut self) {
        if self.condstore {
            return;
        }
        self.condstore = true;
        if let Some(view) = &self.selected {
            response::untagged(&mut self.out, &format!("OK [HIGHESTMODSEQ {}] Highest", view.highest_modseq()));
        }
    }
}

/// Writes the reply to ID, before login and after it.
pub(crate) fn write_id(out: &mut Vec<u8>, fields: &[(String, String)]) {
    if fields.is_empty() {
        return response::untagged(out, "ID NIL");
    }
    out.extend_from_slice(b"* ID ");
    for (index, (name, value)) in fields.iter().enumerate() {
        out.push(if index == 0 { b'(' } else { b' ' });
        response::string(out, name.as_bytes());
        out.push(b' ');
        response::string(out, value.as_bytes());
    }
    out.extend_from_slice(b")\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_as_configured() {
        let with = |announced: &str| Settings { announced: announced.into(), ..Settings::default() };
        let built = response::capability(false);
        assert_eq!(with("").capability(), built);
        assert_eq!(with("+XONE XTWO").capability(), format!("{built} XONE XTWO"));
        assert_eq!(with("IMAP4rev1 XONE").capability(), "IMAP4rev1 XONE");
    }
}
