//! Mail in, as Postfix's own client sends it: envelope and DATA in one write, the content and its end in another.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::connection::Connection;
use crate::options::{Options, Problem};
use crate::report::Report;

/// A message that is not visible after so long is lost.
const VISIBLE_WITHIN: Duration = Duration::from_secs(60);

/// How often the folder is looked at: well below any latency worth telling.
const LOOK: Duration = Duration::from_micros(100);

const SENDER: &str = "extuser@extdomain.test";

/// An SMTP session past EHLO, in TLS and logged in if the options name a user.
pub struct Session {
    connection: Connection,
}

impl Session {
    /// Connects, greets, and logs in if `login` names a user and a password.
    pub fn open(to: SocketAddr, login: Option<(&str, &str)>) -> Result<Session, Problem> {
        let mut session = Session { connection: Connection::open(to)? };
        session.expect("220")?;
        session.command("EHLO client.extdomain.test", "250")?;
        let Some((user, password)) = login else { return Ok(session) };
        session.command("STARTTLS", "220")?;
        session = Session { connection: session.connection.start_tls()? };
        session.command("EHLO client.extdomain.test", "250")?;
        let token = base64(format!("\0{user}\0{password}").as_bytes());
        session.command(&format!("AUTH PLAIN {token}"), "235")?;
        Ok(session)
    }

    /// Sends one message; `last` pipelines QUIT behind it. Returns when it was acknowledged.
    pub fn message(&mut self, recipient: &str, content: &[u8], last: bool) -> Result<(), Problem> {
        let envelope = format!("MAIL FROM:<{SENDER}> SIZE={}\r\nRCPT TO:<{recipient}>\r\nDATA\r\n", content.len());
        self.connection.send(envelope.as_bytes())?;
        for code in ["250", "250", "354"] {
            self.expect(code)?;
        }
        let mut data = Vec::with_capacity(content.len() + 16);
        data.extend_from_slice(content);
        data.extend_from_slice(if last { b".\r\nQUIT\r\n" } else { b".\r\n" });
        self.connection.send(&data)?;
        self.expect("250")?;
        if last {
            self.expect("221")?;
        }
        Ok(())
    }

    fn command(&mut self, line: &str, code: &str) -> Result<(), Problem> {
        self.connection.send(format!("{line}\r\n").as_bytes())?;
        self.expect(code)
    }

    /// Reads one reply, whose last line must begin with `code`.
    fn expect(&mut self, code: &str) -> Result<(), Problem> {
        loop {
            let line = self.connection.line()?;
            if !line.starts_with(code) {
                return Err(format!("expected {code}, got {line}").into());
            }
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(());
            }
        }
    }
}

/// `messages` messages over `sessions` sessions to `recipients` recipients in turn.
pub fn load(options: &Options) -> Result<Report, Problem> {
    let (to, messages, sessions): (_, usize, usize) =
        (options.address("to")?, options.number("messages")?, options.number("sessions")?);
    let size = options.number("size")?;
    let keep = options.optional("keep") == Some("yes");
    let login =
        options.optional("user").map(|user| options.text("password").map(|password| (user, password))).transpose()?;
    let (next, times) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(messages)));
    let mut report = Report::begin();
    let run = || -> Result<(), Problem> {
        let (mut own, mut open) = (Vec::new(), None);
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= messages {
                break;
            }
            let began = Instant::now();
            let mut session = match open.take() {
                Some(session) => session,
                None => Session::open(to, login)?,
            };
            session.message(&options.recipient(number)?, &content(number, size), !keep)?;
            own.push(began.elapsed());
            if keep {
                open = Some(session);
            }
        }
        times.lock().map_err(|_| "a session failed")?.append(&mut own);
        Ok(())
    };
    together(sessions, &run)?;
    report.spread("accept", times.into_inner()?);
    Ok(report.finish(messages))
}

/// One message at a time: from connecting to 250, and to the message's name in `maildir`/new.
pub fn latency(options: &Options) -> Result<Report, Problem> {
    let (to, messages, size): (_, usize, usize) =
        (options.address("to")?, options.number("messages")?, options.number("size")?);
    let folder = Path::new(options.text("maildir")?).join("new");
    let recipient = format!("user0@{}", options.domain());
    let (mut accepted, mut visible) = (Vec::new(), Vec::new());
    let mut report = Report::begin();
    for number in 0..messages {
        let before = names(&folder);
        let began = Instant::now();
        Session::open(to, None)?.message(&recipient, &content(number, size), true)?;
        accepted.push(began.elapsed());
        while names(&folder) == before {
            if began.elapsed() > VISIBLE_WITHIN {
                return Err("a message did not become visible".into());
            }
            thread::sleep(LOOK);
        }
        visible.push(began.elapsed());
    }
    report.spread("accept", accepted);
    report.spread("visible", visible);
    Ok(report.finish(messages))
}

/// How many names the folder has; none if it is not there yet.
fn names(folder: &Path) -> usize {
    std::fs::read_dir(folder).map_or(0, Iterator::count)
}

/// Runs the same work in so many threads and returns the first problem.
pub fn together(sessions: usize, work: &(dyn Fn() -> Result<(), Problem> + Sync)) -> Result<(), Problem> {
    thread::scope(|scope| {
        let threads: Vec<_> = (0..sessions).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| "a session panicked")?)
    })
}

/// A message of about `size` bytes, its lines ended and no line a dot.
pub fn content(number: usize, size: usize) -> Vec<u8> {
    let mut text = format!(
        "From: {SENDER}\r\nTo: somebody@maildomain.test\r\nSubject: message {number}\r\n\
         Message-Id: <{number}.load@extdomain.test>\r\nDate: Sat, 21 Nov 2026 00:00:00 +0000\r\n\r\n"
    )
    .into_bytes();
    while text.len() < size {
        text.extend_from_slice(b"The quick brown fox jumps over the lazy dog, and over the next one, too.\r\n");
    }
    text
}

/// RFC 4648 section 4.
pub fn base64(data: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(data.len().div_ceil(3) * 4);
    for chunk in data.chunks(3) {
        let group = chunk.iter().fold(0_u32, |sum, &byte| sum << 8 | u32::from(byte)) << (8 * (3 - chunk.len()));
        for index in 0..4 {
            let sextet = (group >> (18 - 6 * index) & 63) as usize;
            text.push(if index <= chunk.len() { char::from(ALPHABET[sextet]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_vectors_of_rfc_4648() {
        for (plain, coded) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }

    #[test]
    fn content_is_lines_without_dots() {
        let text = content(7, 4096);
        assert!((4096..4200).contains(&text.len()));
        assert!(text.ends_with(b"\r\n") && !text.windows(3).any(|window| window == b"\n.\r"));
        assert!(!text.split(|&byte| byte == b'\n').any(|line| !line.is_empty() && !line.ends_with(b"\r")));
    }
}
