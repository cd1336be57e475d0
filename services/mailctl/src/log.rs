//! Log lines of commands, as Postfix's `postlog` writes them: to the system log, or to `maillog_file`.
//!
//! A command never waits long for its log: what cannot be written within [`PATIENCE`] is lost, and the command goes on.

use std::io::{IsTerminal, Write};
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ipc_log::{MAIL, render, syslog_facility, syslog_level};
use ipc_messages::log::{Half, Record, Severity};

use crate::console;
use crate::files::Transport;
use crate::status::Status;

/// How long the system log may take for a line.
const PATIENCE: Duration = Duration::from_secs(1);
/// Where the system log listens.
const SYSLOG: &str = "/dev/log";

/// Where the lines of one command go, and how they are signed.
#[derive(Debug, Clone)]
pub struct Log {
    tag: String,
    facility: u8,
    file: String,
}

impl Log {
    /// For the command `name`, as `main.cf` says: `syslog_name`, `syslog_facility`, `maillog_file`.
    pub fn new(name: &str, transport: Option<&Transport>) -> Log {
        let value = |parameter: &str| transport.map(|transport| transport.value(parameter)).unwrap_or_default();
        let prefix = Some(value("syslog_name")).filter(|name| !name.is_empty()).unwrap_or_else(|| "postfix".into());
        Log {
            tag: format!("{prefix}/{name}"),
            facility: syslog_facility(&value("syslog_facility")).unwrap_or(MAIL),
            file: value("maillog_file"),
        }
    }

    /// The same with another signature.
    pub fn tagged(self, tag: &str) -> Log {
        Log { tag: tag.to_owned(), ..self }
    }

    /// Writes a line, on standard error as well when that is a terminal: what `postlog` does.
    pub fn line(&self, severity: Severity, text: &str) {
        let record = self.record(severity, text);
        if std::io::stderr().is_terminal() {
            let signed = render(&record, 0);
            console::complain(&signed.replacen("[0]: ", ": ", 1));
        }
        self.write(&record);
    }

    /// Writes a line to the log alone.
    pub fn quiet(&self, severity: Severity, text: &str) {
        self.write(&self.record(severity, text));
    }

    fn record(&self, severity: Severity, text: &str) -> Record {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        Record { half: Half::Transport, tag: self.tag.clone(), severity, time, text: text.to_owned() }
    }

    /// Nobody can be told when this fails: the log is what would tell it.
    fn write(&self, record: &Record) {
        let stamp = ipc_jail::sys::local_time(record.time as i64).log_stamp();
        let text = render(record, std::process::id());
        let host = || nix::unistd::gethostname().unwrap_or_default().to_string_lossy().into_owned();
        let _ = match self.file.as_str() {
            "" => send(u16::from(self.facility) << 3 | u16::from(syslog_level(record.severity)), &text),
            "/dev/stdout" => {
                console::line(&format!("{stamp} {} {text}", host()));
                Ok(())
            }
            path => {
                let line = format!("{stamp} {} {text}\n", host());
                let file = std::fs::OpenOptions::new().append(true).create(true).open(path);
                file.and_then(|mut file| file.write_all(line.as_bytes()))
            }
        };
    }
}

/// Sends a line to the system log, with its priority (RFC 3164, section 4.1.1).
///
/// # Errors
/// What the system says; `TimedOut` after [`PATIENCE`].
pub fn send(priority: u16, text: &str) -> std::io::Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let line = format!("<{priority}>{} {text}", ipc_jail::sys::local_time(now as i64).log_stamp());
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(PATIENCE))?;
    socket.send_to(line.as_bytes(), SYSLOG).map(drop)
}

/// What a command says on standard error, and in the log as well once it has one: `postsuper: warning: …`.
#[derive(Debug)]
pub struct Reporter {
    name: &'static str,
    log: Option<Log>,
}

impl Reporter {
    /// A command that is known as `name`, without a log.
    pub fn new(name: &'static str) -> Reporter {
        Reporter { name, log: None }
    }

    /// From now on the log is told as well.
    pub fn log_as(&mut self, transport: &Transport) {
        self.log = Some(Log::new(self.name, Some(transport)));
    }

    /// Worth knowing.
    pub fn info(&self, text: &str) {
        self.say(Severity::Info, "", text);
    }

    /// Probably not what was wanted.
    pub fn warning(&self, text: &str) {
        self.say(Severity::Warning, "warning: ", text);
    }

    /// Why the command ends; it ends with `status`.
    pub fn fatal(&self, status: Status, text: &str) -> Status {
        self.say(Severity::Fatal, "fatal: ", text);
        status
    }

    /// As getopt(3) complains, then the usage.
    pub fn usage(&self, status: Status, mistake: Option<&str>, usage: &str) -> Status {
        if let Some(mistake) = mistake {
            console::complain(&format!("{}: {mistake}", self.name));
        }
        self.fatal(status, &format!("usage: {usage}"))
    }

    /// As Dovecot's programs end: `doveconf: Fatal: …`, and from `dovecot` itself `Fatal: …`.
    pub fn dovecot_fatal(&self, text: &str) -> Status {
        let name = if self.name == "dovecot" { String::new() } else { format!("{}: ", self.name) };
        console::complain(&format!("{name}Fatal: {text}"));
        Status::DOVECOT_FATAL
    }

    fn say(&self, severity: Severity, word: &str, text: &str) {
        console::complain(&format!("{}: {word}{text}", self.name));
        if let Some(log) = &self.log {
            log.quiet(severity, text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_reach_maillog_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("log");
        let conf = format!("maillog_file = {}\nsyslog_name = ours\n", file.display());
        std::fs::write(folder.path().join("main.cf"), conf).unwrap();
        let transport = Transport::open(Some(&folder.path().to_string_lossy())).unwrap();
        let log = Log::new("postfix-script", Some(&transport));
        log.quiet(Severity::Info, "refreshing");
        log.tagged("own").quiet(Severity::Warning, "a\nb");
        let text = std::fs::read_to_string(file).unwrap();
        let pid = std::process::id();
        let ends: Vec<&str> = text.lines().map(|line| line.splitn(5, ' ').last().unwrap_or_default()).collect();
        assert!(ends[0].ends_with(&format!("ours/postfix-script[{pid}]: refreshing")), "{text}");
        assert!(ends[1].ends_with(&format!("own[{pid}]: warning: a?b")), "{text}");
    }
}
