//! The log line of a delivery (`deliver_log_format`).

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use ipc_config::dovecot::variables::{Error, Vars, expand, uses};
use proto_mime::address::parse_addresses;
use proto_mime::encoded_word;
use proto_mime::field::{fields, unfold};

/// Bytes at the start of a message in which the fields of the log line are looked for.
const HEADER: usize = 16 * 1024;
/// Longest Message-ID in a log line, in bytes, as in Dovecot.
const MAX_MESSAGE_ID: usize = 200;
/// Longest subject or sender in a log line, in bytes, as in Dovecot.
const MAX_TEXT: usize = 80;

/// What a log line says of a delivery.
#[derive(Debug, Clone, Copy)]
pub struct Report<'a> {
    /// The message's content.
    pub file: &'a File,
    /// Bytes of it.
    pub size: u64,
    /// What stands before it in the mailbox.
    pub prefix: &'a [u8],
    /// `MAIL FROM`.
    pub sender: &'a str,
    /// The recipient's address.
    pub recipient: &'a str,
    /// The name of the message in its mailbox; empty if it is in none.
    pub stored_as: &'a str,
    /// Since it was handed to this process.
    pub delivery: Duration,
    /// From its MAIL command to its end.
    pub session: Duration,
}

impl Report<'_> {
    /// The line, with `status` for what became of the message.
    ///
    /// # Errors
    /// What is wrong with the template; there is no line then.
    pub fn line(&self, template: &str, status: &str) -> Result<String, Error> {
        let mut header = vec![0; HEADER.min(usize::try_from(self.size).unwrap_or(HEADER))];
        let read = self.file.read_at(&mut header, 0).unwrap_or(0);
        let header = &header[..read];
        // The letters m, s, e, p and w have other long names elsewhere, by which they arrive here.
        let value = |name: &str| {
            Some(match name {
                "$" => status.to_owned(),
                "mech" | "msgid" => message_id(header),
                "service" | "subject" => subject(header),
                "f" | "from" => from(header),
                "mail_pid" | "from_envelope" => self.sender.to_owned(),
                "pid" | "size" => (self.prefix.len() as u64 + self.size).to_string(),
                "password" | "vsize" => self.virtual_size(template).to_string(),
                "to_envelope" => self.recipient.to_owned(),
                "delivery_time" => self.delivery.as_millis().to_string(),
                "session_time" => self.session.as_millis().to_string(),
                "storage_id" => self.stored_as.to_owned(),
                _ => return None,
            })
        };
        expand(template, &Vars { value: &value, environment: &|_| None, md5: None })
    }

    /// The size with CRLF line ends. It costs a read of the whole message, and only those pay who ask.
    fn virtual_size(&self, template: &str) -> u64 {
        if !uses(template, 'w', "vsize") {
            return 0;
        }
        let mut ends = line_ends(self.prefix);
        let (mut piece, mut at) = (vec![0; HEADER], 0);
        while let Ok(read @ 1..) = self.file.read_at(&mut piece, at) {
            ends += line_ends(&piece[..read]);
            at += read as u64;
        }
        self.prefix.len() as u64 + self.size + ends
    }
}

fn line_ends(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|&&byte| byte == b'\n').count() as u64
}

fn field(header: &[u8], name: &str) -> Option<Vec<u8>> {
    let value = fields(header).find(|field| field.is(name))?.value;
    Some(unfold(value).trim_ascii().to_vec()).filter(|value| !value.is_empty())
}

fn message_id(header: &[u8]) -> String {
    let id = field(header, "Message-ID").map(|id| String::from_utf8_lossy(&id).into_owned());
    shortened(id.unwrap_or_else(|| "unspecified".into()), MAX_MESSAGE_ID)
}

fn subject(header: &[u8]) -> String {
    shortened(field(header, "Subject").map_or_else(String::new, |subject| encoded_word::decode(&subject)), MAX_TEXT)
}

/// The first address of `From`, if it is a whole one.
fn from(header: &[u8]) -> String {
    let address = field(header, "From").and_then(|from| parse_addresses(&from).into_iter().next());
    let parts = address.and_then(|address| address.mailbox.zip(address.domain));
    let text = |part: &[u8]| String::from_utf8_lossy(part).into_owned();
    shortened(parts.map_or_else(String::new, |(name, domain)| format!("{}@{}", text(&name), text(&domain))), MAX_TEXT)
}

/// A text cut at `most` bytes, with dots that say so.
fn shortened(mut text: String, most: usize) -> String {
    const DOTS: &str = "...";
    if text.len() > most {
        let end = (0..=most - DOTS.len()).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
        text.truncate(end);
        text += DOTS;
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// A message that Dovecot 2.3.19 logged as the table below says.
    const MESSAGE: &str = "From: Ann <ann@extdomain.test>\nSubject: =?utf-8?q?h=C3=A9?= two\n words\n\
        Message-Id:  <1@x>\n\nhello\n";

    fn line(message: &str, template: &str) -> Result<String, String> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(message.as_bytes()).unwrap();
        let report = Report {
            file: &file,
            size: message.len() as u64,
            prefix: b"Return-Path: <a@b>\n",
            sender: "a@b",
            recipient: "bob@x.org",
            stored_as: "u.7",
            delivery: Duration::from_millis(12),
            session: Duration::from_micros(3999),
        };
        report.line(template, "saved mail to INBOX").map_err(|error| error.to_string())
    }

    #[test]
    fn every_variable_of_the_format() {
        for (template, expected) in [
            ("msgid=%m: %$", "msgid=<1@x>: saved mail to INBOX"),
            ("%s|%f|%e", "hé two words|ann@extdomain.test|a@b"),
            ("%{msgid}|%{subject}|%{from}|%{from_envelope}", "<1@x>|hé two words|ann@extdomain.test|a@b"),
            ("%p %{size}", "116 116"),
            ("%w %{vsize}", "123 123"),
            ("%{to_envelope} %{storage_id}", "bob@x.org u.7"),
            ("%{delivery_time} %{session_time}", "12 3"),
            ("%Us 100%%", "Hé TWO WORDS 100%"),
        ] {
            assert_eq!(line(MESSAGE, template), Ok(expected.into()), "{template}");
        }
        assert_eq!(line(MESSAGE, "%{session}"), Err("Unknown variable '%session'".into()));
    }

    #[test]
    fn fields_are_looked_for_in_the_header_alone() {
        for (message, expected) in [
            ("Subject: x\nMESSAGE-ID:  <a@b>\n\nbody", "<a@b>"),
            ("Subject: x\n\nMessage-ID: <a@b>\n", "unspecified"),
            ("Message-ID: \n\n", "unspecified"),
            ("", "unspecified"),
        ] {
            assert_eq!(line(message, "%m"), Ok(expected.into()), "{message}");
        }
    }

    #[test]
    fn long_values_are_cut() {
        let id = "x".repeat(MAX_MESSAGE_ID);
        assert_eq!(line(&format!("Message-ID: {id}\n\n"), "%m"), Ok(id.clone()));
        let cut = format!("{}...", &id[3..]);
        assert_eq!(line(&format!("Message-ID: {id}y\n\n"), "%m"), Ok(cut));
        let subject = "é".repeat(MAX_TEXT / 2 + 1);
        assert_eq!(line(&format!("Subject: {subject}\n\n"), "%s"), Ok(format!("{}...", "é".repeat(MAX_TEXT / 2 - 2))));
        let far = format!("X: {}\nSubject: y\n\n", "x".repeat(HEADER));
        assert_eq!(line(&far, "%s"), Ok(String::new()));
    }
}
