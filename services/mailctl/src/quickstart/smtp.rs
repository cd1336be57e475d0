//! As much of an SMTP client (RFC 5321) as sends one mail: STARTTLS, AUTH PLAIN, one recipient.

use std::io;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::ClientConfig;

use super::stream::{Clear, Lines};

/// One mail and how it is sent.
#[derive(Debug, Clone, Copy)]
pub struct Mail<'a> {
    pub from: &'a str,
    pub to: &'a str,
    pub password: &'a str,
    /// Header and body; lines end in LF.
    pub text: &'a str,
}

/// The name that the client says it has.
const NAME: &str = "localhost";

/// Sends a mail; returns the server's last reply: `250 2.0.0 Ok: queued as …`.
///
/// # Errors
/// What the system says, or the reply that was not expected, with the command.
pub fn send(
    address: &str,
    port: u16,
    server: &'static str,
    tls: &Arc<ClientConfig>,
    mail: Mail<'_>,
) -> io::Result<String> {
    let clear = Clear::connect(address, port)?;
    let mut lines = clear.lines()?;
    reply(&mut lines, "the greeting", '2')?;
    command(&mut lines, &format!("EHLO {NAME}"), '2')?;
    command(&mut lines, "STARTTLS", '2')?;
    // Nothing that was read in clear is carried over.
    drop(lines);
    let mut lines = clear.encrypt(server, tls)?;
    command(&mut lines, &format!("EHLO {NAME}"), '2')?;
    hand_over(&mut lines, mail)
}

/// The dialogue after EHLO.
fn hand_over(lines: &mut Lines, mail: Mail<'_>) -> io::Result<String> {
    let secret = STANDARD.encode(format!("\0{}\0{}", mail.from, mail.password));
    lines.send(&format!("AUTH PLAIN {secret}"))?;
    reply(lines, "AUTH PLAIN", '2')?;
    command(lines, &format!("MAIL FROM:<{}>", mail.from), '2')?;
    command(lines, &format!("RCPT TO:<{}>", mail.to), '2')?;
    command(lines, "DATA", '3')?;
    for line in mail.text.lines() {
        let stuffing = if line.starts_with('.') { "." } else { "" };
        lines.send(&format!("{stuffing}{line}"))?;
    }
    let queued = command(lines, ".", '2')?;
    command(lines, "QUIT", '2')?;
    Ok(queued)
}

fn command(lines: &mut Lines, command: &str, expected: char) -> io::Result<String> {
    lines.send(command)?;
    reply(lines, command, expected)
}

/// The last line of a reply, whose code begins with `expected`.
fn reply(lines: &mut Lines, command: &str, expected: char) -> io::Result<String> {
    loop {
        let line = lines.receive()?;
        if !line.starts_with(expected) {
            return Err(io::Error::other(format!("{command}: {line}")));
        }
        if line.as_bytes().get(3) != Some(&b'-') {
            return Ok(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::stream::script::server;
    use super::*;

    const MAIL: Mail<'_> = Mail { from: "a@x", to: "b@x", password: "p", text: "Subject: s\n\n.dot\n" };

    #[test]
    fn a_mail_is_handed_over() {
        let (port, thread) = server(
            "C: AUTH PLAIN AGFAeABw\nS: 235 2.7.0 ok\nC: MAIL FROM:<a@x>\nS: 250-more\nS: 250 ok\nC: RCPT TO:<b@x>\nS: 250 ok\n\
             C: DATA\nS: 354 go\nC: Subject: s\nC: \nC: ..dot\nC: .\nS: 250 2.0.0 Ok: queued as 1\nC: QUIT\nS: 221 bye",
        );
        let mut lines = Clear::connect("127.0.0.1", port).unwrap().lines().unwrap();
        assert_eq!(hand_over(&mut lines, MAIL).unwrap(), "250 2.0.0 Ok: queued as 1");
        thread.join().unwrap();
    }

    #[test]
    fn a_refusal_names_the_command_and_no_secret() {
        let (port, thread) = server("C: AUTH PLAIN AGFAeABw\nS: 535 5.7.8 no");
        let mut lines = Clear::connect("127.0.0.1", port).unwrap().lines().unwrap();
        assert_eq!(hand_over(&mut lines, MAIL).unwrap_err().to_string(), "AUTH PLAIN: 535 5.7.8 no");
        thread.join().unwrap();
    }
}
