//! IMAP: logins, reading, appending, waiting for mail, and connections that do nothing.

use std::io::{self, BufRead};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::connection::Connection;
use crate::options::{Options, Problem};
use crate::report::Report;
use crate::smtp::{self, content, together};

/// When a connection goes over to TLS.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tls {
    No,
    Starttls,
    Yes,
}

impl Tls {
    fn of(options: &Options) -> Result<Tls, Problem> {
        match options.optional("tls").unwrap_or("yes") {
            "no" => Ok(Tls::No),
            "starttls" => Ok(Tls::Starttls),
            "yes" => Ok(Tls::Yes),
            other => Err(format!("tls={other}").into()),
        }
    }
}

/// An IMAP session that has logged in.
struct Session {
    connection: Connection,
}

impl Session {
    fn open(to: SocketAddr, tls: Tls, user: &str, password: &str) -> Result<Session, Problem> {
        let mut connection = Connection::open(to)?;
        if tls == Tls::Yes {
            connection = connection.start_tls()?;
        }
        let mut session = Session { connection };
        let greeting = session.connection.line()?;
        if !greeting.starts_with("* OK") {
            return Err(format!("greeted with {greeting}").into());
        }
        if tls == Tls::Starttls {
            session.command("STARTTLS", "")?;
            session = Session { connection: session.connection.start_tls()? };
        }
        session.command(&format!("LOGIN {user} {password}"), "")?;
        Ok(session)
    }

    /// Sends a command; it must succeed. Returns how many untagged responses had `wanted` in their first line.
    fn command(&mut self, line: &str, wanted: &str) -> Result<usize, Problem> {
        self.connection.send(format!("a {line}\r\n").as_bytes())?;
        self.finish(line, wanted)
    }

    fn finish(&mut self, line: &str, wanted: &str) -> Result<usize, Problem> {
        let mut count = 0;
        loop {
            let first = self.response()?;
            if let Some(result) = first.strip_prefix("a ") {
                return if result.starts_with("OK") { Ok(count) } else { Err(format!("{line}: {result}").into()) };
            }
            count += usize::from(first.contains(wanted));
        }
    }

    /// Reads one response with its literals; returns its first line.
    fn response(&mut self) -> Result<String, Problem> {
        let first = self.connection.line()?;
        let mut literal = literal(&first);
        while let Some(count) = literal {
            self.connection.skip(count)?;
            literal = self::literal(&self.connection.line()?);
        }
        Ok(first)
    }

    fn append(&mut self, mailbox: &str, text: &[u8]) -> Result<(), Problem> {
        // LITERAL+ (RFC 7888): the octets need no invitation.
        let mut data = format!("a APPEND {mailbox} {{{}+}}\r\n", text.len()).into_bytes();
        data.extend_from_slice(text);
        data.extend_from_slice(b"\r\n");
        self.connection.send(&data)?;
        self.finish("APPEND", "").map(drop)
    }
}

/// The count of a literal that a line ends with: `{` number `}`.
fn literal(line: &str) -> Option<usize> {
    line.strip_suffix('}')?.rsplit_once('{')?.1.parse().ok()
}

/// `count` logins over `sessions` sessions, each on a connection of its own.
pub fn logins(options: &Options) -> Result<Report, Problem> {
    let (to, count, sessions): (_, usize, usize) =
        (options.address("to")?, options.number("count")?, options.number("sessions")?);
    let (tls, password) = (Tls::of(options)?, options.text("password")?);
    let next = AtomicUsize::new(0);
    let report = Report::begin();
    let run = || -> Result<(), Problem> {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return Ok(());
            }
            Session::open(to, tls, &options.recipient(number)?, password)?.command("LOGOUT", "")?;
        }
    };
    together(sessions, &run)?;
    Ok(report.finish(count))
}

/// What a client reads, one command after the other, each timed; each must answer for every message.
pub fn fetch(options: &Options) -> Result<Report, Problem> {
    const COMMANDS: [(&str, &str, &str); 5] = [
        ("flags", "FETCH 1:* (FLAGS RFC822.SIZE)", " FETCH "),
        ("envelopes", "FETCH 1:* (ENVELOPE)", " FETCH "),
        ("headers", "FETCH 1:* (BODY.PEEK[HEADER.FIELDS (FROM TO SUBJECT DATE REFERENCES)])", " FETCH "),
        ("bodies", "FETCH 1:* (BODY.PEEK[])", " FETCH "),
        ("search", "SEARCH TEXT \"no such words anywhere\"", "* SEARCH"),
    ];
    let (to, expected): (_, usize) = (options.address("to")?, options.number("expect")?);
    let mut session = Session::open(to, Tls::of(options)?, options.text("user")?, options.text("password")?)?;
    let mut report = Report::begin();
    let began = Instant::now();
    session.command("SELECT INBOX", "")?;
    report.add("select_ms", began.elapsed().as_secs_f64() * 1000.0);
    for (name, command, wanted) in COMMANDS {
        let began = Instant::now();
        let answers = session.command(command, wanted)?;
        report.add(&format!("{name}_ms"), began.elapsed().as_secs_f64() * 1000.0);
        let due = if name == "search" { 1 } else { expected };
        if answers != due {
            return Err(format!("{command}: {answers} answers, expected {due}").into());
        }
    }
    session.command("LOGOUT", "")?;
    Ok(report.finish(expected))
}

/// `count` messages appended over `sessions` sessions, each to its own user's INBOX.
pub fn append(options: &Options) -> Result<Report, Problem> {
    let (to, count, sessions): (_, usize, usize) =
        (options.address("to")?, options.number("count")?, options.number("sessions")?);
    let (size, tls, password) = (options.number("size")?, Tls::of(options)?, options.text("password")?);
    let (next, user) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let report = Report::begin();
    let run = || -> Result<(), Problem> {
        let user = options.recipient(user.fetch_add(1, Ordering::Relaxed))?;
        let mut session = Session::open(to, tls, &user, password)?;
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return session.command("LOGOUT", "").map(drop);
            }
            session.append("INBOX", &content(number, size))?;
        }
    };
    together(sessions, &run)?;
    Ok(report.finish(count))
}

/// How long after SMTP's 250 an idling client hears of each message.
pub fn notify(options: &Options) -> Result<Report, Problem> {
    /// Mail comes to a client that has been idle for a moment.
    const BETWEEN: Duration = Duration::from_millis(700);
    let (imap, smtp, count): (_, _, usize) =
        (options.address("to")?, options.address("smtp")?, options.number("count")?);
    let user = options.text("user")?;
    let mut session = Session::open(imap, Tls::of(options)?, user, options.text("password")?)?;
    session.command("SELECT INBOX", "")?;
    session.connection.send(b"a IDLE\r\n")?;
    let invited = session.connection.line()?;
    if !invited.starts_with("+ ") {
        return Err(format!("IDLE: {invited}").into());
    }
    let (mut report, mut times) = (Report::begin(), Vec::new());
    for number in 0..count {
        std::thread::sleep(BETWEEN);
        smtp::Session::open(smtp, None)?.message(user, &content(number, 4096), true)?;
        let began = Instant::now();
        while !session.connection.line()?.ends_with(" EXISTS") {}
        times.push(began.elapsed());
    }
    report.spread("notify", times);
    Ok(report.finish(count))
}

/// Opens `sessions` connections of one kind, says `ready`, and holds them until standard input ends.
pub fn hold(options: &Options) -> Result<Report, Problem> {
    let sessions: usize = options.number("sessions")?;
    let (mut imap, mut smtp) = (Vec::new(), Vec::new());
    let report = Report::begin();
    for number in 0..sessions {
        if options.optional("kind") == Some("smtp") {
            smtp.push(smtp::Session::open(options.address("smtp")?, None)?);
            continue;
        }
        let mut session = Session::open(
            options.address("imap")?,
            Tls::of(options)?,
            &options.recipient(number)?,
            options.text("password")?,
        )?;
        session.command("SELECT INBOX", "")?;
        session.connection.send(b"a IDLE\r\n")?;
        session.connection.line()?;
        imap.push(session);
    }
    println!("ready");
    for line in io::stdin().lock().lines() {
        line?;
    }
    Ok(report.finish(imap.len() + smtp.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_end_a_line() {
        assert_eq!(literal("* 1 FETCH (BODY[] {12}"), Some(12));
        assert_eq!(literal("* 1 FETCH (FLAGS ())"), None);
        assert_eq!(literal("* 1 FETCH {x}"), None);
        assert_eq!(literal("}"), None);
    }
}
