//! The header of a message on its way through: what is dropped, what is noted, what is added.
//!
//! A stream filter. Header fields are looked at one by one as their last line has come; behind the header everything passes
//! untouched. Lines end in LF. As in Postfix's cleanup(8):
//!
//! - a header ends at the first empty line, or before the first line that is neither a field nor the continuation of one:
//!   then the empty line is put in;
//! - fields of `message_drop_headers` are left out;
//! - of a field longer than `header_size_limit` the excess is dropped;
//! - missing `Message-Id`, `Date` and `From` are added at the end of the header, to mail of our own or with
//!   `always_add_missing_headers`; with a prefix `Resent-` where the message is resent. If nobody is named as a recipient,
//!   `undisclosed_recipients_header` is added as well.
//!
//! Never more than one field is in memory. Nothing here panics, whatever the content.

use std::sync::Arc;

use crate::settings::Settings;

/// The values of fields that are added where they are missing.
#[derive(Debug, Clone, Default)]
pub struct Added {
    /// `Message-Id`, with its angle brackets.
    pub message_id: String,
    pub date: String,
    pub from: String,
}

/// What was found in the header.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The value of `Message-Id`, found or added; unfolded.
    pub message_id: Option<String>,
    /// The value of `Resent-Message-Id`, found or added.
    pub resent_message_id: Option<String>,
    /// `Received` fields.
    pub hops: u64,
    /// `Content-Transfer-Encoding` is `8bit`.
    pub eight_bit: bool,
    /// `undisclosed_recipients_header` was wanted, and is no header field.
    pub bad_witness: Option<String>,
}

/// See the module.
#[derive(Debug)]
pub struct Filter {
    settings: Arc<Settings>,
    /// `None` when nothing is to be added.
    added: Option<Added>,
    found: Found,
    /// The fields of [`NOTED`] that were there.
    seen: Vec<&'static str>,
    /// The field that is not known to be complete, without its last line end; empty when there is none.
    field: Vec<u8>,
    /// The line that is not complete.
    line: Vec<u8>,
    in_body: bool,
}

impl Filter {
    /// At the start of a message, to which missing fields are added if their values are given.
    pub fn new(settings: Arc<Settings>, added: Option<Added>) -> Filter {
        Filter {
            settings,
            added,
            found: Found::default(),
            seen: Vec::new(),
            field: Vec::new(),
            line: Vec::new(),
            in_body: false,
        }
    }

    /// Takes the next bytes of the content, and appends to `out` what is sure to become of them.
    pub fn push(&mut self, mut input: &[u8], out: &mut Vec<u8>) {
        while !self.in_body && !input.is_empty() {
            let (piece, whole) = match input.iter().position(|byte| *byte == b'\n') {
                Some(end) => (&input[..=end], true),
                None => (input, false),
            };
            input = &input[piece.len()..];
            self.line.extend(&piece[..piece.len() - usize::from(whole)]);
            if whole {
                let line = std::mem::take(&mut self.line);
                self.take_line(&line, out);
            } else if self.line.len() > self.settings.header_size_limit {
                self.take_overlong(out);
            }
        }
        out.extend(input);
    }

    /// The content is complete.
    pub fn finish(mut self, out: &mut Vec<u8>) -> Found {
        if !self.in_body {
            let line = std::mem::take(&mut self.line);
            if !line.is_empty() {
                self.take_line(&line, out);
            }
            if !self.in_body {
                self.end_header(out);
            }
        }
        self.found
    }

    fn take_line(&mut self, line: &[u8], out: &mut Vec<u8>) {
        let continues = line.first().is_some_and(|first| matches!(first, b' ' | b'\t')) && !self.field.is_empty();
        if continues {
            self.field.push(b'\n');
            self.field.extend(line);
            self.field.truncate(self.settings.header_size_limit);
        } else if field_name(line).is_some() {
            self.end_field(out);
            self.field.extend(&line[..line.len().min(self.settings.header_size_limit)]);
        } else {
            self.end_header(out);
            out.push(b'\n');
            if !line.is_empty() {
                out.extend(line);
                out.push(b'\n');
            }
        }
    }

    /// A line that has no end within the limit: of a field the rest is dropped, anything else is the body.
    fn take_overlong(&mut self, out: &mut Vec<u8>) {
        let continues = self.line.first().is_some_and(|first| matches!(first, b' ' | b'\t')) && !self.field.is_empty();
        if continues || field_name(&self.line).is_some() {
            self.line.truncate(self.settings.header_size_limit);
        } else {
            self.end_header(out);
            out.push(b'\n');
            out.append(&mut self.line);
        }
    }

    fn end_field(&mut self, out: &mut Vec<u8>) {
        let field = std::mem::take(&mut self.field);
        let Some(length) = field_name(&field) else { return };
        let is = |name: &str| field[..length].eq_ignore_ascii_case(name.as_bytes());
        let colon = field.iter().position(|byte| *byte == b':').map_or(field.len(), |at| at + 1);
        if is("Received") {
            self.found.hops += 1;
        } else if let Some(name) = NOTED.into_iter().find(|name| is(name)) {
            match name {
                "Message-Id" => self.found.message_id = Some(unfold(&field[colon..])),
                "Resent-Message-Id" => self.found.resent_message_id = Some(unfold(&field[colon..])),
                "Content-Transfer-Encoding" => {
                    self.found.eight_bit = field[colon..].trim_ascii().eq_ignore_ascii_case(b"8bit");
                }
                _ => {}
            }
            if !self.seen.contains(&name) {
                self.seen.push(name);
            }
        }
        // What is left out counts as seen all the same, as in Postfix.
        if !self.settings.message_drop_headers.iter().any(|name| is(name)) {
            out.extend(field);
            out.push(b'\n');
        }
    }

    fn end_header(&mut self, out: &mut Vec<u8>) {
        self.end_field(out);
        self.in_body = true;
        let Some(Added { message_id, date, from }) = self.added.take() else { return };
        let resent = self.seen.iter().any(|name| name.starts_with("Resent-"));
        let names =
            if resent { ["Resent-Message-Id", "Resent-Date", "Resent-From"] } else { ["Message-Id", "Date", "From"] };
        for (name, value) in names.into_iter().zip([&message_id, &date, &from]) {
            if !self.seen.contains(&name) {
                out.extend(format!("{name}: {value}\n").into_bytes());
            }
        }
        match resent {
            true => self.found.resent_message_id.get_or_insert(message_id),
            false => self.found.message_id.get_or_insert(message_id),
        };
        let witness = &self.settings.undisclosed_recipients_header;
        if !witness.is_empty() && !self.seen.iter().any(|name| RECIPIENTS.contains(name)) {
            if field_name(witness.as_bytes()).is_some() {
                out.extend(witness.as_bytes());
                out.push(b'\n');
            } else {
                self.found.bad_witness = Some(witness.clone());
            }
        }
    }
}

/// Fields of which it matters whether they are there. Any that begins with `Resent-` makes the message a resent one (RFC 5322,
/// section 3.6.6).
const NOTED: [&str; 13] = [
    "Message-Id",
    "Date",
    "From",
    "To",
    "Cc",
    "Content-Transfer-Encoding",
    "Resent-Message-Id",
    "Resent-Date",
    "Resent-From",
    "Resent-Sender",
    "Resent-To",
    "Resent-Cc",
    "Resent-Bcc",
];

/// Those that show who gets the message.
const RECIPIENTS: [&str; 4] = ["To", "Cc", "Resent-To", "Resent-Cc"];

/// The length of the field name that the line starts with, if it is a field.
///
/// ```text
/// field-name = 1*%d33-57 / %d59-126    ; RFC 5322, section 3.6.8
/// obs-field  = field-name *WSP ":"     ; section 4.5
/// ```
fn field_name(line: &[u8]) -> Option<usize> {
    let length = line.iter().take_while(|byte| matches!(byte, 33..=57 | 59..=126)).count();
    let rest = line[length..].iter().find(|byte| !matches!(byte, b' ' | b'\t'));
    (length > 0 && rest == Some(&b':')).then_some(length)
}

/// A value on one line, without blanks around it; what is not printable becomes `?`, as in Postfix's log.
fn unfold(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value);
    let joined: Vec<&str> = text.split('\n').collect();
    joined.concat().trim().replace(|c: char| c.is_control(), "?")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings { header_size_limit: 64, ..Settings::default() }
    }

    fn added() -> Added {
        Added {
            message_id: "<20261121000000.A@h>".into(),
            date: "Sat, 21 Nov 2026 00:00:00 +0000 (UTC)".into(),
            from: "a@b".into(),
        }
    }

    fn run(content: &str, add_missing: bool, cut: usize) -> (String, Found) {
        run_with(settings(), content, add_missing, cut)
    }

    fn run_with(settings: Settings, content: &str, add_missing: bool, cut: usize) -> (String, Found) {
        let mut filter = Filter::new(Arc::new(settings), add_missing.then(added));
        let mut out = Vec::new();
        let (first, second) = content.as_bytes().split_at(cut);
        filter.push(first, &mut out);
        filter.push(second, &mut out);
        let found = filter.finish(&mut out);
        (String::from_utf8(out).unwrap(), found)
    }

    #[test]
    fn headers_are_kept_dropped_and_ended_as_postfix_does() {
        let table = [
            ("Subject: x\n\nbody\n", "Subject: x\n\nbody\n"),
            ("Test B\n", "\nTest B\n"),
            ("", ""),
            ("\nbody\n", "\nbody\n"),
            (" indented\n", "\n indented\n"),
            ("Subject: x\nnot a field\nBcc: y\n", "Subject: x\n\nnot a field\nBcc: y\n"),
            ("Bcc: a,\n b\nTo : c\nReturn-Path: <x>\nCONTENT-length: 4\n\nx\n", "To : c\n\nx\n"),
            ("A: 1\n folded\n\tmore\n\n", "A: 1\n folded\n\tmore\n\n"),
            (": no name\n", "\n: no name\n"),
            ("Subject: only a header\n", "Subject: only a header\n"),
        ];
        for (content, expected) in table {
            for cut in 0..=content.len() {
                assert_eq!(run(content, false, cut).0, expected, "{content:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn missing_fields_are_added_to_our_own_mail_alone() {
        let content = "Subject: x\n\nbody\n";
        assert_eq!(run(content, false, 0).1, Found::default());
        let (text, found) = run(content, true, 5);
        let added = "Message-Id: <20261121000000.A@h>\nDate: Sat, 21 Nov 2026 00:00:00 +0000 (UTC)\nFrom: a@b\n";
        assert_eq!(text, format!("Subject: x\n{added}\nbody\n"));
        assert_eq!(found.message_id.as_deref(), Some("<20261121000000.A@h>"));
        let (text, found) = run("Resent-To: x\nDate: y\n\n", true, 0);
        assert!(
            text.contains("Resent-Message-Id: ") && text.contains("Resent-From: a@b\n") && !text.contains("\nFrom:")
        );
        assert_eq!((found.message_id, found.resent_message_id.is_some()), (None, true));
    }

    #[test]
    fn what_is_noted() {
        assert!(run("content-transfer-encoding:  8BIT \n\n", false, 0).1.eight_bit);
        let (_, found) = run("Received: a\nreceived: b\nMessage-ID:\n <x@y>\nFrom: z\n\nReceived: c\n", false, 9);
        assert_eq!(found, Found { message_id: Some("<x@y>".into()), hops: 2, ..Found::default() });
    }

    #[test]
    fn hidden_recipients_are_spoken_of_if_that_is_wanted() {
        let with = |text: &str, content: &str, ours| {
            run_with(Settings { undisclosed_recipients_header: text.into(), ..settings() }, content, ours, 0)
        };
        let text = "To: undisclosed-recipients:;";
        let table = [
            ("", "", true, false),
            (text, "", true, true),
            (text, "", false, false),
            (text, "Bcc: x\n", true, true),
            (text, "cc: x\n", true, false),
            (text, "Resent-To: x\n", true, false),
        ];
        for (text, content, ours, expected) in table {
            assert_eq!(
                with(text, content, ours).0.contains("\nTo: undisclosed"),
                expected,
                "{text:?} {content:?} {ours}"
            );
        }
        let (content, found) = with("no field", "", true);
        assert!(!content.contains("no field") && found.bad_witness.as_deref() == Some("no field"));
    }

    #[test]
    fn the_excess_of_a_field_is_dropped_and_no_line_of_the_body() {
        let long = "x".repeat(200);
        let text = run(&format!("A: {long}\nB: y\n\n"), false, 100).0;
        assert_eq!(text, format!("A: {}\nB: y\n\n", "x".repeat(61)));
        let text = run(&format!("A: b\n {long}\n {long}\nC: d\n\n"), false, 150).0;
        assert_eq!(text.len(), 64 + 1 + 5 + 1);
        let body = format!("{long} {long}\n");
        for cut in 0..body.len() {
            assert_eq!(run(&body, false, cut).0, format!("\n{body}"));
        }
    }
}
