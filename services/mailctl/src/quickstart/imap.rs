//! As much of an IMAP client (RFC 3501) as reads the newest mail with a given subject: LOGIN, SELECT, SEARCH, FETCH.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConfig;

use super::stream::{Clear, Lines};

/// How often the mailbox is looked into.
const INTERVAL: Duration = Duration::from_millis(100);
/// How long the mail may take to get there.
const PATIENCE: Duration = Duration::from_secs(20);

/// Logs in over TLS and waits for a mail; returns its text.
///
/// # Errors
/// What the system says, the answer that was not expected, `TimedOut` when the mail does not come.
pub fn read(
    (address, port): (&str, u16),
    server: &'static str,
    tls: &Arc<ClientConfig>,
    (user, password): (&str, &str),
    subject: &str,
) -> io::Result<String> {
    let mut lines = Clear::connect(address, port)?.encrypt(server, tls)?;
    wait_for(&mut lines, user, password, subject, Instant::now() + PATIENCE)
}

fn wait_for(lines: &mut Lines, user: &str, password: &str, subject: &str, end: Instant) -> io::Result<String> {
    let greeting = lines.receive()?;
    if !greeting.starts_with("* OK") {
        return Err(io::Error::other(greeting));
    }
    command(lines, "LOGIN", &format!("LOGIN {user} {password}"))?;
    command(lines, "SELECT", "SELECT INBOX")?;
    loop {
        // NOOP brings what has arrived since into view.
        command(lines, "NOOP", "NOOP")?;
        let found = command(lines, "SEARCH", &format!("SEARCH SUBJECT {subject}"))?;
        let number = found.text.iter().find_map(|line| line.strip_prefix("* SEARCH ")?.split(' ').next_back());
        if let Some(number) = number {
            let fetched = command(lines, "FETCH", &format!("FETCH {number} BODY.PEEK[]"))?;
            lines.send("x LOGOUT")?;
            let literal = fetched.literal.ok_or(io::Error::other("FETCH: no text came"))?;
            return Ok(String::from_utf8_lossy(&literal).replace("\r\n", "\n"));
        }
        if Instant::now() > end {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the mail has not arrived"));
        }
        std::thread::sleep(INTERVAL);
    }
}

/// What came before the tagged answer.
#[derive(Debug, Default)]
struct Answer {
    text: Vec<String>,
    /// The last literal.
    literal: Option<Vec<u8>>,
}

/// One command and its answer; `name` stands for it in an error, without its secrets.
fn command(lines: &mut Lines, name: &str, command: &str) -> io::Result<Answer> {
    lines.send(&format!("x {command}"))?;
    let mut answer = Answer::default();
    loop {
        let line = lines.receive()?;
        if let Some(result) = line.strip_prefix("x ") {
            let is_ok = result.starts_with("OK");
            return if is_ok { Ok(answer) } else { Err(io::Error::other(format!("{name}: {result}"))) };
        }
        // literal = "{" number "}" CRLF *CHAR8 (RFC 3501, section 9)
        let literal = line.strip_suffix('}').and_then(|line| line.rsplit_once('{')).and_then(|(_, n)| n.parse().ok());
        if let Some(number) = literal {
            answer.literal = Some(lines.receive_bytes(number)?);
        }
        answer.text.push(line);
    }
}

#[cfg(test)]
mod tests {
    use super::super::stream::script::server;
    use super::*;

    #[test]
    fn the_mail_is_waited_for_and_read() {
        let (port, thread) = server(
            "S: * OK ready\nC: x LOGIN b@x p\nS: x OK in\nC: x SELECT INBOX\nS: * 0 EXISTS\nS: x OK\nC: x NOOP\nS: x OK\n\
             C: x SEARCH SUBJECT s\nS: * SEARCH\nS: x OK\nC: x NOOP\nS: * 2 EXISTS\nS: x OK\nC: x SEARCH SUBJECT s\n\
             S: * SEARCH 1 2\nS: x OK\nC: x FETCH 2 BODY.PEEK[]\nS: * 2 FETCH (BODY[] {10}\nS: A: b\nS: \nS: te)\nS: x OK\nC: x LOGOUT",
        );
        let mut lines = Clear::connect("127.0.0.1", port).unwrap().lines().unwrap();
        let end = Instant::now() + PATIENCE;
        assert_eq!(wait_for(&mut lines, "b@x", "p", "s", end).unwrap(), "A: b\n\nte");
        thread.join().unwrap();
    }

    #[test]
    fn a_refused_login_is_told_without_the_password() {
        let (port, thread) = server("S: * OK ready\nC: x LOGIN b@x geheim\nS: x NO [AUTHENTICATIONFAILED] no");
        let mut lines = Clear::connect("127.0.0.1", port).unwrap().lines().unwrap();
        let error = wait_for(&mut lines, "b@x", "geheim", "s", Instant::now()).unwrap_err();
        assert_eq!(error.to_string(), "LOGIN: NO [AUTHENTICATIONFAILED] no");
        thread.join().unwrap();
    }
}
