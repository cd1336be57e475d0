//! The text of a notification: a `multipart/report` (RFC 3462) of what people read, what programs read (RFC 3464) and what
//! is returned, in the layout and the words of Postfix's bounce(8).
//!
//! Lines end in LF. Control characters in what others said become `?`, so nothing that a server or a sender wrote begins a
//! line or a field of its own.

use std::fmt::Write;

use ipc_messages::bounce::{Kind, Original, Report};
use ipc_messages::delivery::Verdict;
use proto_smtp::address::Address;

use crate::letters::Letter;
use crate::settings::Settings;

/// Columns of a wrapped line, and blanks before its continuations.
const COLUMNS: usize = 79;
const INDENT: usize = 4;

/// What a notification is written from.
#[derive(Debug, Clone, Copy)]
pub struct Notification<'a> {
    pub settings: &'a Settings,
    pub kind: Kind,
    pub original: &'a Original,
    pub reports: &'a [Report],
    pub letter: &'a Letter,
    /// The queue ID of the notification.
    pub queue_id: &'a str,
    /// Seconds since 1970.
    pub now: u64,
    /// The same as headers have it.
    pub date: &'a str,
}

/// What stands around the returned part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Header and all before the returned text.
    pub head: String,
    /// All after it; it begins a line.
    pub tail: String,
}

impl Notification<'_> {
    /// Writes the notification. `date_of` gives a time in seconds since 1970 as headers have it.
    pub fn write(&self, headers_only: bool, date_of: impl Fn(u64) -> String) -> Frame {
        let boundary = format!("{}.{}/{}", self.original.queue_id, self.now, self.settings.my_hostname);
        let mut text = String::with_capacity(4096);
        // Writing to a String cannot fail.
        let _ = self.header(&mut text, &boundary);
        let _ = self.notification(&mut text, &boundary);
        let _ = self.status(&mut text, &boundary, date_of);
        let _ = self.returned_header(&mut text, &boundary, headers_only);
        Frame { head: text, tail: format!("\n--{boundary}--\n") }
    }

    /// `8bit` wherever an address or a text may be in UTF-8.
    fn encoding(&self) -> &'static str {
        if self.settings.utf8 || self.original.eight_bit { "8bit" } else { "7bit" }
    }

    fn header(&self, text: &mut String, boundary: &str) -> std::fmt::Result {
        let settings = self.settings;
        let subject = match (self.kind, self.letter.is_copy) {
            (Kind::Failure, false) => "Undelivered Mail Returned to Sender",
            (Kind::Failure, true) => "Postmaster Copy: Undelivered Mail",
            (Kind::Delay { .. }, false) => "Delayed Mail (still being retried)",
            (Kind::Delay { .. }, true) => "Postmaster Warning: Delayed Mail",
            (Kind::Success, _) => "Successful Mail Delivery Report",
        };
        writeln!(text, "Received: by {} ({})", settings.my_hostname, settings.mail_name)?;
        writeln!(text, "\tid {}; {}", self.queue_id, self.date)?;
        writeln!(text, "Date: {}", self.date)?;
        writeln!(text, "From: Mail Delivery System <MAILER-DAEMON@{}>", settings.my_origin)?;
        writeln!(text, "Subject: {subject}")?;
        writeln!(text, "To: {}", quoted(&self.letter.recipient))?;
        let submitted = if self.letter.is_copy { "auto-generated" } else { "auto-replied" };
        writeln!(text, "Auto-Submitted: {submitted}")?;
        writeln!(text, "MIME-Version: 1.0")?;
        writeln!(text, "Content-Type: multipart/report; report-type=delivery-status;")?;
        writeln!(text, "\tboundary=\"{boundary}\"")?;
        writeln!(text, "Content-Transfer-Encoding: {}", self.encoding())?;
        writeln!(text, "\nThis is a MIME-encapsulated message.")
    }

    fn notification(&self, text: &mut String, boundary: &str) -> std::fmt::Result {
        let is_eight_bit = self.encoding() == "8bit";
        writeln!(text, "\n--{boundary}\nContent-Description: Notification")?;
        writeln!(text, "Content-Type: text/plain; charset={}", if is_eight_bit { "utf-8" } else { "us-ascii" })?;
        self.part_encoding(text, is_eight_bit)?;
        writeln!(text)?;
        if !self.letter.is_copy {
            self.polite_words(text)?;
        }
        for report in self.told() {
            writeln!(text)?;
            let reason = printable(&report.outcome.text);
            let address = quoted(&report.address);
            let line = match &report.original {
                Some(original) => format!("<{address}> (expanded from <{}>): {reason}", quoted(original)),
                None => format!("<{address}>: {reason}"),
            };
            wrap(text, &line);
        }
        Ok(())
    }

    fn polite_words(&self, text: &mut String) -> std::fmt::Result {
        writeln!(text, "This is the mail system at host {}.\n", self.settings.my_hostname)?;
        match self.kind {
            Kind::Failure => text.push_str(
                "I'm sorry to have to inform you that your message could not\n\
                 be delivered to one or more recipients. It's attached below.\n\n",
            ),
            Kind::Delay { .. } => {
                let hours = self.settings.delay_warning.as_secs() / 3600;
                let days = self.settings.lifetime.as_secs() / 86_400;
                text.push_str(
                    "####################################################################\n\
                     # THIS IS A WARNING ONLY.  YOU DO NOT NEED TO RESEND YOUR MESSAGE. #\n\
                     ####################################################################\n\n",
                );
                writeln!(text, "Your message could not be delivered for more than {hours} hour(s).")?;
                writeln!(text, "It will be retried until it is {days} day(s) old.\n")?;
            }
            Kind::Success => text.push_str(
                "Your message was successfully delivered to the destination(s)\n\
                 listed below. If the message was delivered to mailbox you will\n\
                 receive no further notifications. Otherwise you may still receive\n\
                 notifications of mail delivery errors from other systems.\n\n",
            ),
        }
        if self.kind != Kind::Success {
            text.push_str(
                "For further assistance, please send mail to postmaster.\n\n\
                 If you do so, please include this problem report. You can\n\
                 delete your own text from the attached returned message.\n\n",
            );
        }
        text.push_str("                   The mail system\n");
        Ok(())
    }

    /// RFC 3464: fields of the message, then a group for each recipient.
    fn status(&self, text: &mut String, boundary: &str, date_of: impl Fn(u64) -> String) -> std::fmt::Result {
        let original = self.original;
        let global = if original.smtputf8 { "global-" } else { "" };
        writeln!(text, "\n--{boundary}\nContent-Description: Delivery report")?;
        writeln!(text, "Content-Type: message/{global}delivery-status")?;
        // Without SMTPUTF8 an encoding would make relays convert this part, which its type forbids.
        self.part_encoding(text, original.smtputf8 && self.encoding() == "8bit")?;
        writeln!(text, "\nReporting-MTA: dns; {}", self.settings.my_hostname)?;
        if let Some(envid) = original.dsn_envid.as_ref().filter(|envid| !envid.is_empty()) {
            let envid = proto_smtp::xtext::decode(envid).unwrap_or_else(|| envid.clone());
            writeln!(text, "Original-Envelope-Id: {}", printable(&envid))?;
        }
        let mail_name = self.mail_name();
        writeln!(text, "X-{mail_name}-Queue-ID: {}", original.queue_id)?;
        let sender = self.sender();
        writeln!(text, "X-{mail_name}-Sender: {}; {sender}", self.address_type(&sender))?;
        writeln!(text, "Arrival-Date: {}", date_of(original.arrived / 1_000_000))?;
        for report in self.told() {
            self.recipient(text, report, &mail_name, &date_of)?;
        }
        Ok(())
    }

    fn recipient(
        &self,
        text: &mut String,
        report: &Report,
        mail_name: &str,
        date_of: &impl Fn(u64) -> String,
    ) -> std::fmt::Result {
        let outcome = &report.outcome;
        let address = quoted(&report.address);
        writeln!(text, "\nFinal-Recipient: {}; {address}", self.address_type(&address))?;
        match (&report.dsn_orcpt, &report.original) {
            (Some(orcpt), _) => writeln!(text, "Original-Recipient: {}", printable(&decoded(orcpt)))?,
            (None, Some(original)) => {
                let original = quoted(original);
                writeln!(text, "Original-Recipient: {}; {original}", self.address_type(&original))?;
            }
            (None, None) => {}
        }
        let action = match (self.kind, outcome.verdict) {
            (Kind::Failure, _) | (_, Verdict::Bounced) => "failed",
            (_, Verdict::Deferred) => "delayed",
            (_, Verdict::Sent) => "delivered",
        };
        writeln!(text, "Action: {action}\nStatus: {}", outcome.dsn)?;
        if let Some(host) = &outcome.remote_mta {
            wrap(text, &format!("Remote-MTA: dns; {}", printable(host)));
        }
        match &outcome.remote_reply {
            Some(reply) => wrap(text, &format!("Diagnostic-Code: smtp; {}", printable(reply))),
            None => wrap(text, &format!("Diagnostic-Code: X-{mail_name}; {}", printable(&outcome.text))),
        }
        if let Kind::Delay { retry_until } = self.kind {
            writeln!(text, "Will-Retry-Until: {}", date_of(retry_until / 1_000_000))?;
        }
        Ok(())
    }

    fn returned_header(&self, text: &mut String, boundary: &str, headers_only: bool) -> std::fmt::Result {
        let undelivered = if self.kind == Kind::Success { "" } else { "Undelivered " };
        let headers = if headers_only { " Headers" } else { "" };
        writeln!(text, "\n--{boundary}\nContent-Description: {undelivered}Message{headers}")?;
        let content_type = match (self.original.smtputf8, headers_only) {
            (true, true) => "message/global-headers",
            (true, false) => "message/global",
            (false, true) => "text/rfc822-headers",
            (false, false) => "message/rfc822",
        };
        writeln!(text, "Content-Type: {content_type}")?;
        self.part_encoding(text, self.encoding() == "8bit")?;
        // The delivery agent would have put this first; cleanup removes what a sender forged.
        writeln!(text, "\nReturn-Path: <{}>", self.sender())
    }

    fn part_encoding(&self, text: &mut String, is_eight_bit: bool) -> std::fmt::Result {
        if is_eight_bit { writeln!(text, "Content-Transfer-Encoding: 8bit") } else { Ok(()) }
    }

    /// The recipients that this letter tells of.
    fn told(&self) -> impl Iterator<Item = &Report> {
        self.reports.iter().filter(|report| self.letter.reports(report))
    }

    fn sender(&self) -> String {
        match self.original.sender.as_str() {
            "" => format!("MAILER-DAEMON@{}", self.settings.my_hostname),
            sender => quoted(sender),
        }
    }

    /// `mail_name` as the atom that the names of fields take.
    fn mail_name(&self) -> String {
        let special = |c: char| c.is_control() || " ()<>@,;:\\\".[]".contains(c);
        self.settings.mail_name.chars().map(|c| if special(c) { '-' } else { c }).collect()
    }

    fn address_type(&self, address: &str) -> &'static str {
        if self.original.smtputf8 && !address.is_ascii() { "utf-8" } else { "rfc822" }
    }
}

/// An address as headers have it: quoted where it must be, and in one line.
fn quoted(address: &str) -> String {
    match Address::from_internal(address, true) {
        Ok(parsed) => printable(&parsed.quoted()),
        Err(_) => printable(address),
    }
}

/// `type;address` of an ORCPT in xtext, decoded.
fn decoded(orcpt: &str) -> String {
    let Some((kind, address)) = orcpt.split_once(';') else { return orcpt.into() };
    let is_utf8 = kind.eq_ignore_ascii_case("utf-8");
    let decode = if is_utf8 { proto_smtp::xtext::decode_utf8 } else { proto_smtp::xtext::decode };
    format!("{kind};{}", decode(address).unwrap_or_else(|| address.into()))
}

fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// Appends `line` in lines of at most [`COLUMNS`], broken at blanks where there are any.
fn wrap(text: &mut String, line: &str) {
    let (mut start, mut word, mut indent) = (0, 0, 0);
    loop {
        let next = line[word..].find([' ', '\t']).map_or(line.len(), |at| word + at);
        if word > start && line[start..next].len() > COLUMNS - indent {
            push_line(text, indent, &line[start..word]);
            word += line[word..].len() - line[word..].trim_start().len();
            (start, indent) = (word, INDENT);
        }
        if next >= line.len() {
            break;
        }
        word = word.max(next + 1);
    }
    push_line(text, indent, &line[start..]);
}

fn push_line(text: &mut String, indent: usize, line: &str) {
    text.extend(std::iter::repeat_n(' ', indent));
    text.push_str(line.trim_end());
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::letters::letters;
    use crate::testing::{original, report, settings};

    fn write(settings: &Settings, kind: Kind, original: &Original, reports: &[Report]) -> String {
        let letter = &letters(settings, kind, original, reports)[0];
        let writer = Notification {
            settings,
            kind,
            original,
            reports,
            letter,
            queue_id: "4BEEF",
            now: 1_700_000_009,
            date: "Tue, 14 Nov 2023 22:13:29 +0000",
        };
        let frame = writer.write(letter.headers_only, |seconds| format!("<{seconds}>"));
        format!("{}[returned]\n{}", frame.head, frame.tail)
    }

    #[test]
    fn a_failure_as_postfix_reports_it() {
        let failed = Report { original: Some("root@example.jp".into()), ..report("nobody@example.jp") };
        assert_eq!(
            write(&settings(), Kind::Failure, &original(), &[failed]),
            include_str!("../tests/failure.txt").replace("QUEUE-ID", original().queue_id.as_str())
        );
    }

    #[test]
    fn a_delay_and_a_success() {
        let mut late = report("a@example.jp");
        late.outcome.verdict = Verdict::Deferred;
        (late.outcome.remote_reply, late.outcome.remote_mta) = (None, None);
        let delay = Kind::Delay { retry_until: 1_700_432_000_000_000 };
        let text = write(&settings(), delay, &original(), std::slice::from_ref(&late));
        let expected = [
            "Subject: Delayed Mail (still being retried)\n",
            "could not be delivered for more than 4 hour(s).\nIt will be retried until it is 5 day(s) old.\n",
            "Action: delayed\nStatus: 5.1.1\nDiagnostic-Code: X-Postfix; host mail.example.jp[private/dovecot-lmtp] said:\n    550 5.1.1 ",
            "\nWill-Retry-Until: <1700432000>\n\n--",
            "Content-Description: Undelivered Message Headers\nContent-Type: text/rfc822-headers\n",
        ];
        for part in expected {
            assert!(text.contains(part), "{part:?} in {text}");
        }
        late.outcome.verdict = Verdict::Sent;
        let text = write(&settings(), Kind::Success, &original(), &[late]);
        for part in
            ["Subject: Successful Mail Delivery Report\n", "Action: delivered\n", "Description: Message Headers\n"]
        {
            assert!(text.contains(part), "{part:?} in {text}");
        }
    }

    #[test]
    fn utf8_is_announced() {
        let utf8 = Original { smtputf8: true, sender: "ä@example.com".into(), ..original() };
        let text = write(&settings(), Kind::Failure, &utf8, &[report("ö@example.jp")]);
        let expected = [
            "Content-Type: message/global-delivery-status\nContent-Transfer-Encoding: 8bit\n",
            "X-Postfix-Sender: utf-8; ä@example.com\n",
            "Final-Recipient: utf-8; ö@example.jp\n",
            "Content-Type: message/global\n",
        ];
        for part in expected {
            assert!(text.contains(part), "{part:?} in {text}");
        }
        let seven = Settings { utf8: false, ..settings() };
        let text = write(&seven, Kind::Failure, &original(), &[report("a@example.jp")]);
        assert!(text.contains("Content-Transfer-Encoding: 7bit\n\nThis is") && text.contains("charset=us-ascii\n\n"));
    }

    #[test]
    fn nothing_that_others_said_makes_a_field() {
        let mut evil = report("a\nX-Evil: 1@example.jp");
        evil.outcome.remote_reply = Some("550 no\nX-Evil: 2\r\n\r\nbody".into());
        evil.outcome.text = "no\nX-Evil: 3".into();
        evil.dsn_orcpt = Some("rfc822;a+0AX-Evil: 4".into());
        let sender = Original { dsn_envid: Some("a+0AX-Evil:+205".into()), ..original() };
        let text = write(&settings(), Kind::Failure, &sender, &[evil]);
        assert!(!text.contains("\nX-Evil") && text.contains("X-Evil: 5"), "{text}");
    }

    #[test]
    fn lines_are_wrapped_at_blanks() {
        let table = [
            ("short", "short\n".to_string()),
            ("", "\n".into()),
            (&"x".repeat(100), format!("{}\n", "x".repeat(100))),
            (&format!("{} b", "x".repeat(78)), format!("{}\n    b\n", "x".repeat(78))),
            (&format!("{} b", "x".repeat(77)), format!("{} b\n", "x".repeat(77))),
            (&format!("a {} b", "x".repeat(90)), format!("a\n    {}\n    b\n", "x".repeat(90))),
            ("ends   ", "ends\n".into()),
        ];
        for (line, expected) in table {
            let mut text = String::new();
            wrap(&mut text, line);
            assert_eq!(text, expected, "{line:?}");
        }
    }
}
