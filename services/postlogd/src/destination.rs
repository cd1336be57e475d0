//! One place to write to: the system log, or a file.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::os::fd::OwnedFd;

use ipc_log::{render, syslog_level};
use ipc_messages::log::{Half, Record};
use nix::libc;

use crate::timestamp::timestamp;

/// What it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A datagram socket of the system log, and the facility.
    Syslog(u8),
    /// A file or standard output.
    File,
}

/// How lines are written, besides what syslog says of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Form {
    /// As JSON objects instead of text (`posthorn_log_format`).
    pub json: bool,
    /// What stands before each line of a file of Dovecot's (`log_timestamp`).
    pub timestamp: String,
}

/// The way to one place, and the lines that wait for it.
#[derive(Debug)]
pub struct Destination {
    kind: Kind,
    file: Option<File>,
    lines: VecDeque<Vec<u8>>,
    limit: usize,
    dropped: u64,
}

impl Destination {
    /// Nothing is open yet; at most `limit` lines wait.
    pub fn new(limit: usize) -> Destination {
        Destination { kind: Kind::File, file: None, lines: VecDeque::new(), limit, dropped: 0 }
    }

    /// What is to be opened. The old one stays in use until [`Destination::open`].
    pub fn set_kind(&mut self, kind: Kind) {
        self.kind = kind;
    }

    /// Writes to `fd` from now on.
    pub fn open(&mut self, fd: OwnedFd) {
        self.file = Some(fd.into());
    }

    /// It is gone; the lines wait.
    pub fn lose(&mut self) {
        self.file = None;
    }

    /// Whether there is something to write to.
    pub fn is_open(&self) -> bool {
        self.file.is_some()
    }

    /// Whether lines wait.
    pub fn waits(&self) -> bool {
        !self.lines.is_empty()
    }

    /// Takes one line.
    pub fn line(&mut self, record: &Record, pid: u32, form: &Form) {
        if self.lines.len() >= self.limit {
            self.lines.pop_front();
            self.dropped += 1;
        }
        let text = if form.json { as_json(record, pid) } else { render(record, pid) };
        let line = match self.kind {
            Kind::Syslog(facility) => {
                let priority = u16::from(facility) << 3 | u16::from(syslog_level(record.severity));
                format!("<{priority}>{} {text}", stamp(record.time))
            }
            Kind::File if form.json => format!("{text}\n"),
            Kind::File => match record.half {
                Half::Transport => format!("{} {} {text}\n", stamp(record.time), host()),
                // Dovecot's own files: no host, no `dovecot: `.
                Half::Mailbox => {
                    format!("{}{}\n", timestamp(&form.timestamp, record.time), with_level(record, &text))
                }
            },
        };
        self.lines.push_back(line.into_bytes());
    }

    /// Writes what waits, as far as it is taken.
    ///
    /// # Errors
    /// The destination is lost: it must be opened again.
    pub fn flush(&mut self) -> io::Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let result = match self.kind {
            Kind::Syslog(_) => send(file, &mut self.lines),
            Kind::File => append(file, &mut self.lines),
        };
        match result {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            other => other,
        }
    }
}

/// One datagram for each line.
fn send(socket: &mut File, lines: &mut VecDeque<Vec<u8>>) -> io::Result<()> {
    while let Some(line) = lines.front() {
        match socket.write(line) {
            Ok(_) => drop(lines.pop_front()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // A line that the system log will never take must not hold up those behind it.
            Err(error) if error.raw_os_error() == Some(libc::EMSGSIZE) => drop(lines.pop_front()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Many lines with one call; a line that was cut goes on where it stopped.
fn append(file: &mut File, lines: &mut VecDeque<Vec<u8>>) -> io::Result<()> {
    while !lines.is_empty() {
        let slices: Vec<IoSlice<'_>> = lines.iter().take(512).map(|line| IoSlice::new(line)).collect();
        let mut written = match file.write_vectored(&slices) {
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        while let Some(line) = lines.front_mut().filter(|_| written > 0) {
            let part = written.min(line.len());
            written -= part;
            if part == line.len() {
                lines.pop_front();
            } else {
                line.drain(..part);
            }
        }
    }
    Ok(())
}

/// Dovecot's own files name the level of each line, information included.
fn with_level(record: &Record, rendered: &str) -> String {
    let line = rendered.strip_prefix("dovecot: ").unwrap_or(rendered);
    match (record.severity, line.split_once(": ")) {
        (ipc_messages::log::Severity::Info, Some(_)) => {
            line.replacen(&format!("{}: ", record.tag), &format!("{}: Info: ", record.tag), 1)
        }
        _ => line.to_string(),
    }
}

fn as_json(record: &Record, pid: u32) -> String {
    serde_json::json!({
        "time": record.time,
        "program": record.tag,
        "pid": pid,
        "severity": format!("{:?}", record.severity).to_lowercase(),
        "text": record.text,
    })
    .to_string()
}

fn host() -> String {
    let name = nix::unistd::gethostname().unwrap_or_default();
    let name = name.to_string_lossy();
    name.split('.').next().unwrap_or_default().to_string()
}

fn stamp(time: u64) -> String {
    ipc_jail::sys::local_time(time as i64).log_stamp()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ipc_messages::log::Severity;
    use std::io::Read;
    use std::os::unix::net::UnixDatagram;

    fn text() -> Form {
        Form { json: false, timestamp: "%Y ".into() }
    }

    fn record(half: Half, severity: Severity, tag: &str) -> Record {
        Record { half, tag: tag.into(), severity, time: 0, text: "text".into() }
    }

    #[test]
    fn syslog_lines_and_their_loss() {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        let mut to = Destination::new(3);
        to.set_kind(Kind::Syslog(2));
        for n in 0..5 {
            to.line(&record(Half::Transport, Severity::Warning, &format!("postfix/smtpd{n}")), 9, &text());
        }
        assert!(to.flush().is_ok() && to.waits(), "nothing is lost while there is nowhere to write to");
        to.open(ours.into());
        to.flush().unwrap();
        let mut buffer = [0; 200];
        let n = theirs.recv(&mut buffer).unwrap();
        let line = String::from_utf8_lossy(&buffer[..n]).into_owned();
        assert!(line.starts_with("<20>") && line.ends_with(" postfix/smtpd2[9]: warning: text"), "{line}");
        drop(theirs);
        to.line(&record(Half::Transport, Severity::Info, "x"), 9, &text());
        assert!(to.flush().is_err());
        to.lose();
        assert!(to.waits() && !to.is_open());
    }

    #[test]
    fn file_lines_of_both_halves() {
        let path = std::env::temp_dir().join(format!("posthorn-log-{}", std::process::id()));
        let mut to = Destination::new(100);
        to.open(File::create(&path).unwrap().into());
        to.line(&record(Half::Mailbox, Severity::Info, "imap-login"), 9, &text());
        to.line(&record(Half::Mailbox, Severity::Error, "auth"), 9, &text());
        to.line(&record(Half::Transport, Severity::Info, "postfix/qmgr"), 9, &text());
        to.line(&record(Half::Transport, Severity::Info, "postfix/qmgr"), 9, &Form { json: true, ..text() });
        to.flush().unwrap();
        let mut text = String::new();
        File::open(&path).unwrap().read_to_string(&mut text).unwrap();
        std::fs::remove_file(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[..2], ["1970 imap-login: Info: text", "1970 auth: Error: text"]);
        assert!(lines[2].ends_with(" postfix/qmgr[9]: text"), "{text}");
        assert!(text.lines().last().unwrap().contains("\"severity\":\"info\""), "{text}");
    }
}
