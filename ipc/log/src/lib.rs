//! The way of a log line out of a process: a [`slog`] drain that keeps the lines of one turn of the loop and sends them in
//! one packet ([`ipc_messages::log`]).
//!
//! It never waits. While the log service is stuck the lines pile up to [`BACKLOG_LIMIT`]; what comes after that is dropped
//! and counted, and the count is the first line that gets through.

use std::fmt::Write as _;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use ipc_messages::log::{Half, Identity, MAX_PACKET, Record, Severity};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, send};
use slog::{Drain, Level, Logger, Never, OwnedKVList};

/// Bytes of lines that wait while the log service does not read.
pub const BACKLOG_LIMIT: usize = 1024 * 1024;
/// Bytes of one line; what is longer is cut, as Postfix and syslog do.
pub const LINE_LIMIT: usize = 8 * 1024;

/// Where the lines of this process go. Clones share one backlog.
#[derive(Clone, Debug)]
pub struct Sender(Arc<Mutex<Backlog>>);

#[derive(Debug)]
struct Backlog {
    socket: OwnedFd,
    identity: Identity,
    /// Encoded records, one after the other, and where each ends.
    bytes: Vec<u8>,
    ends: Vec<usize>,
    dropped: u64,
}

impl Sender {
    /// Lines signed with `identity` leave through `socket`.
    pub fn new(socket: OwnedFd, identity: Identity) -> Sender {
        Sender(Arc::new(Mutex::new(Backlog { socket, identity, bytes: Vec::new(), ends: Vec::new(), dropped: 0 })))
    }

    /// Another sender through the same socket, with nothing waiting: for a process that is about to be forked, whose lines
    /// must not be its parent's once more.
    ///
    /// # Errors
    /// What the system says when no descriptor is left.
    pub fn apart(&self) -> std::io::Result<Sender> {
        let backlog = self.backlog();
        Ok(Sender::new(backlog.socket.try_clone()?, backlog.identity.clone()))
    }

    /// The descriptor through which the lines leave.
    pub fn descriptor(&self) -> RawFd {
        self.backlog().socket.as_raw_fd()
    }

    /// A logger whose lines are signed with the process's own tag.
    pub fn logger(&self) -> Logger {
        Logger::root(Lines { sender: self.clone(), tag: None }, slog::o!())
    }

    /// A logger whose lines are signed with `tag`, e.g. `imap(user)<123><session>`.
    pub fn tagged(&self, tag: String) -> Logger {
        Logger::root(Lines { sender: self.clone(), tag: Some(tag) }, slog::o!())
    }

    /// Sends what waits, as far as the log service takes it. A worker calls it at the end of each turn, before the frames
    /// to its peers leave: what was logged first is written first.
    pub fn flush(&self) {
        self.backlog().flush();
    }

    /// Whether lines wait because the log service does not read.
    pub fn waits(&self) -> bool {
        !self.backlog().ends.is_empty()
    }

    /// Queues one line.
    pub fn line(&self, tag: Option<&str>, severity: Severity, text: String) {
        self.backlog().push(None, tag, severity, text);
    }

    /// Queues one line in the style of `half`, for the process that serves both.
    pub fn line_as(&self, half: Half, tag: &str, severity: Severity, text: String) {
        self.backlog().push(Some(half), Some(tag), severity, text);
    }

    /// A line is whole or absent, so a panic elsewhere while the lock was held leaves the backlog usable.
    fn backlog(&self) -> MutexGuard<'_, Backlog> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Backlog {
    fn push(&mut self, half: Option<Half>, tag: Option<&str>, severity: Severity, mut text: String) {
        if self.bytes.len() > BACKLOG_LIMIT {
            self.dropped += 1;
            return;
        }
        text.truncate(text.floor_char_boundary(LINE_LIMIT));
        let tag = tag.unwrap_or(&self.identity.tag).to_string();
        let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        let record = Record { half: half.unwrap_or(self.identity.half), tag, severity, time, text };
        if let Ok(encoded) = postcard::to_stdvec(&record) {
            self.bytes.extend_from_slice(&encoded);
            self.ends.push(self.bytes.len());
        }
    }

    fn flush(&mut self) {
        if self.dropped > 0 && self.bytes.len() < BACKLOG_LIMIT / 2 {
            let count = std::mem::take(&mut self.dropped);
            self.push(
                None,
                None,
                Severity::Warning,
                format!("{count} log lines were dropped: the log service did not keep up"),
            );
        }
        let (mut sent, mut records) = (0, 0);
        while records < self.ends.len() {
            let fits = self.ends[records..].partition_point(|&end| end - sent <= MAX_PACKET).max(1);
            let end = self.ends[records + fits - 1];
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
            match send(self.socket.as_raw_fd(), &self.bytes[sent..end], flags) {
                Ok(_) => (sent, records) = (end, records + fits),
                Err(Errno::EINTR) => {}
                // Full: the rest waits. Anything else cannot be told to anybody; the master replaces the log service.
                Err(_) => break,
            }
        }
        self.bytes.drain(..sent);
        self.ends.drain(..records);
        self.ends.iter_mut().for_each(|end| *end -= sent);
    }
}

/// The drain behind [`Sender::logger`] and [`Sender::tagged`].
struct Lines {
    sender: Sender,
    tag: Option<String>,
}

impl Drain for Lines {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &slog::Record<'_>, _: &OwnedKVList) -> Result<(), Never> {
        let severity = match record.level() {
            Level::Critical => Severity::Fatal,
            Level::Error => Severity::Error,
            Level::Warning => Severity::Warning,
            Level::Info => Severity::Info,
            Level::Debug | Level::Trace => Severity::Debug,
        };
        let mut text = String::new();
        // Formatting into a String fails only when a Display does; what was written until then is still worth logging.
        let _ = write!(text, "{}", record.msg());
        self.sender.line(self.tag.as_deref(), severity, text);
        Ok(())
    }
}

/// What a writer does to a line: `dovecot: ` or `postfix/smtpd[pid]: ` before it, the severity in the words of its half, and
/// control characters replaced.
pub fn render(record: &Record, pid: u32) -> String {
    let mut line = String::with_capacity(record.text.len() + record.tag.len() + 32);
    let _ = match record.half {
        Half::Transport => write!(line, "{}[{pid}]: ", record.tag),
        Half::Mailbox => write!(line, "dovecot: {}: ", record.tag),
    };
    line.push_str(match (record.half, record.severity) {
        (_, Severity::Info) | (Half::Transport, Severity::Debug) => "",
        (Half::Transport, Severity::Warning) => "warning: ",
        (Half::Transport, Severity::Error) => "error: ",
        (Half::Transport, Severity::Fatal) => "fatal: ",
        (Half::Transport, Severity::Panic) => "panic: ",
        (Half::Mailbox, Severity::Debug) => "Debug: ",
        (Half::Mailbox, Severity::Warning) => "Warning: ",
        (Half::Mailbox, Severity::Error) => "Error: ",
        (Half::Mailbox, Severity::Fatal) => "Fatal: ",
        (Half::Mailbox, Severity::Panic) => "Panic: ",
    });
    line.extend(record.text.chars().map(|c| if c.is_control() && c != '\t' { '?' } else { c }));
    line
}

/// syslog's number for a severity (RFC 5424, section 6.2.1).
pub fn syslog_level(severity: Severity) -> u8 {
    match severity {
        Severity::Debug => 7,
        Severity::Info => 6,
        Severity::Warning => 4,
        Severity::Error => 3,
        Severity::Fatal | Severity::Panic => 2,
    }
}

/// syslog's number for the facility `mail`, which both programs have as their default.
pub const MAIL: u8 = 2;

/// syslog's number of a facility (RFC 5424, section 6.2.1), by the name that both programs use.
pub fn syslog_facility(name: &str) -> Option<u8> {
    const NAMES: [&str; 12] =
        ["kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp"];
    let local = name.strip_prefix("local").and_then(|n| n.parse::<u8>().ok()).filter(|&n| n < 8).map(|n| 16 + n);
    local.or_else(|| NAMES.iter().position(|known| *known == name).map(|at| at as u8))
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, recv, socketpair};

    fn pair() -> (Sender, OwnedFd) {
        let (a, b) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_NONBLOCK).unwrap();
        (Sender::new(a, Identity { half: Half::Transport, tag: "postfix/smtpd".into() }), b)
    }

    fn lines(socket: &OwnedFd) -> Vec<String> {
        let mut lines = Vec::new();
        let mut packet = vec![0; MAX_PACKET];
        while let Ok(n) = recv(socket.as_raw_fd(), &mut packet, MsgFlags::empty()) {
            let mut rest = &packet[..n];
            while !rest.is_empty() {
                let (record, after) = postcard::take_from_bytes::<Record>(rest).unwrap();
                lines.push(render(&record, 7));
                rest = after;
            }
        }
        lines
    }

    #[test]
    fn facilities_have_syslogs_numbers() {
        let known = [("mail", 2), ("daemon", 3), ("ftp", 11), ("local0", 16), ("local7", 23)];
        assert!(known.iter().all(|(name, number)| syslog_facility(name) == Some(*number)));
        assert!(["local8", "", "Mail"].iter().all(|name| syslog_facility(name).is_none()));
    }

    #[test]
    fn lines_of_both_halves() {
        let (sender, socket) = pair();
        let log = sender.logger();
        slog::info!(log, "connect from {}", "a\nb");
        slog::warn!(log, "odd");
        slog::info!(sender.tagged("postfix/smtp".into()), "x");
        assert!(lines(&socket).is_empty(), "nothing leaves before the flush");
        sender.flush();
        assert_eq!(
            lines(&socket),
            ["postfix/smtpd[7]: connect from a?b", "postfix/smtpd[7]: warning: odd", "postfix/smtp[7]: x"]
        );
        let record = |severity| Record { half: Half::Mailbox, tag: "auth".into(), severity, time: 0, text: "t".into() };
        assert_eq!(render(&record(Severity::Debug), 7), "dovecot: auth: Debug: t");
        assert_eq!(render(&record(Severity::Info), 7), "dovecot: auth: t");
    }

    #[test]
    fn a_stuck_log_service_costs_lines_and_never_time() {
        let (sender, socket) = pair();
        let text = "x".repeat(LINE_LIMIT * 2);
        for _ in 0..1000 {
            sender.line(None, Severity::Info, text.clone());
            sender.flush();
        }
        assert!(sender.waits());
        let mut seen = Vec::new();
        while sender.waits() {
            seen.extend(lines(&socket));
            sender.flush();
        }
        seen.extend(lines(&socket));
        assert!(seen.len() < 1000 && seen.iter().all(|line| line.len() < LINE_LIMIT + 100));
        sender.flush();
        assert!(seen.iter().chain(&lines(&socket)).any(|line| line.contains("log lines were dropped")));
    }
}
