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
//!   `always_add_missing_headers`; with a prefix `Resent-` where the message is resent.
//!
//! Never more than one field is in memory. Nothing here panics, whatever the content.

/// What the filter needs to know. The same for all messages but for the last four.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// `message_drop_headers`, in lower case.
    pub drop: Vec<String>,
    /// `header_size_limit`.
    pub size_limit: usize,
    /// Whether missing fields are added.
    pub add_missing: bool,
    /// The value of an added `Message-Id`, with its angle brackets.
    pub message_id: String,
    /// The value of an added `Date`.
    pub date: String,
    /// The value of an added `From`.
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
}

/// See the module.
#[derive(Debug)]
pub struct Filter {
    rules: Rules,
    found: Found,
    seen: Vec<String>,
    /// The field that is not known to be complete, without its last line end; empty when there is none.
    field: Vec<u8>,
    /// The line that is not complete.
    line: Vec<u8>,
    in_body: bool,
}

impl Filter {
    /// At the start of a message.
    pub fn new(rules: Rules) -> Filter {
        Filter { rules, found: Found::default(), seen: Vec::new(), field: Vec::new(), line: Vec::new(), in_body: false }
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
            } else if self.line.len() > self.rules.size_limit {
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
            self.field.truncate(self.rules.size_limit);
        } else if field_name(line).is_some() {
            self.end_field(out);
            self.field.extend(&line[..line.len().min(self.rules.size_limit)]);
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
            self.line.truncate(self.rules.size_limit);
        } else {
            self.end_header(out);
            out.push(b'\n');
            out.append(&mut self.line);
        }
    }

    fn end_field(&mut self, out: &mut Vec<u8>) {
        let field = std::mem::take(&mut self.field);
        let Some(length) = field_name(&field) else { return };
        let name = String::from_utf8_lossy(&field[..length]).to_ascii_lowercase();
        if self.rules.drop.contains(&name) {
            return;
        }
        let colon = field.iter().position(|byte| *byte == b':').map_or(field.len(), |at| at + 1);
        match name.as_str() {
            "received" => self.found.hops += 1,
            "message-id" => self.found.message_id = Some(unfold(&field[colon..])),
            "resent-message-id" => self.found.resent_message_id = Some(unfold(&field[colon..])),
            _ => {}
        }
        let known = ["message-id", "date", "from"].contains(&name.as_str()) || name.starts_with("resent-");
        if known && !self.seen.contains(&name) {
            self.seen.push(name);
        }
        out.extend(field);
        out.push(b'\n');
    }

    fn end_header(&mut self, out: &mut Vec<u8>) {
        self.end_field(out);
        self.in_body = true;
        if !self.rules.add_missing {
            return;
        }
        let resent = self.seen.iter().any(|name| RESENT.contains(&name.as_str()));
        let prefix = if resent { "Resent-" } else { "" };
        let added = [("Message-Id", &self.rules.message_id), ("Date", &self.rules.date), ("From", &self.rules.from)];
        for (name, value) in added {
            let name = format!("{prefix}{name}");
            if self.seen.iter().any(|seen| seen.eq_ignore_ascii_case(&name)) {
                continue;
            }
            out.extend(format!("{name}: {value}\n").into_bytes());
            match name.as_str() {
                "Message-Id" => self.found.message_id = Some(value.clone()),
                "Resent-Message-Id" => self.found.resent_message_id = Some(value.clone()),
                _ => {}
            }
        }
    }
}

/// Fields that make a message a resent one (RFC 5322, section 3.6.6).
const RESENT: [&str; 7] =
    ["resent-date", "resent-from", "resent-sender", "resent-to", "resent-cc", "resent-bcc", "resent-message-id"];

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

    fn rules(add_missing: bool) -> Rules {
        Rules {
            drop: ["bcc", "content-length", "resent-bcc", "return-path"].map(String::from).to_vec(),
            size_limit: 64,
            add_missing,
            message_id: "<20261121000000.A@h>".into(),
            date: "Sat, 21 Nov 2026 00:00:00 +0000 (UTC)".into(),
            from: "a@b".into(),
        }
    }

    fn run(content: &str, add_missing: bool, cut: usize) -> (String, Found) {
        let mut filter = Filter::new(rules(add_missing));
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
        let (_, found) = run("Received: a\nreceived: b\nMessage-ID:\n <x@y>\nFrom: z\n\nReceived: c\n", false, 9);
        assert_eq!(found, Found { message_id: Some("<x@y>".into()), resent_message_id: None, hops: 2 });
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
