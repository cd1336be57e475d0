//! The envelope of a message as IMAP shows it (RFC 3501 §7.4.2).

use crate::address::{Address, parse_addresses};
use crate::content::text;
use crate::field::{Field, fields, is_blank};
use crate::imap_string::{append_for_humans, append_nstring, append_unfolded};
use crate::limits;
use std::borrow::Cow;

/// The fields that an envelope is made of, in its order.
pub const FIELDS: [&str; 10] =
    ["Date", "Subject", "From", "Sender", "Reply-To", "To", "Cc", "Bcc", "In-Reply-To", "Message-ID"];

/// Date, subject, people and message identifiers of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Envelope {
    /// `Date`, the last one.
    pub date: Option<Vec<u8>>,
    /// `Subject`, the last one.
    pub subject: Option<Vec<u8>>,
    /// The addresses of all `From` fields, and so on.
    pub from: Vec<Address>,
    /// `Sender`; where it is missing, `FETCH` shows `From`.
    pub sender: Vec<Address>,
    /// `Reply-To`; where it is missing, `FETCH` shows `From`.
    pub reply_to: Vec<Address>,
    /// `To`.
    pub to: Vec<Address>,
    /// `Cc`.
    pub cc: Vec<Address>,
    /// `Bcc`.
    pub bcc: Vec<Address>,
    /// `In-Reply-To`, the last one.
    pub in_reply_to: Option<Vec<u8>>,
    /// `Message-ID`, the last one.
    pub message_id: Option<Vec<u8>>,
}

impl Envelope {
    /// The envelope in the header of a message. What follows the blank line is not looked at.
    #[must_use]
    pub fn parse(header: &[u8]) -> Self {
        let mut envelope = Self::default();
        for field in fields(header) {
            let value = without_last_line_ends(&field.value[..field.value.len().min(limits::FIELD)]);
            envelope.add(&Field { value: &value, ..field });
        }
        envelope
    }

    /// Takes in a field, if it is one of the envelope's.
    pub(crate) fn add(&mut self, field: &Field<'_>) {
        if let Some(addresses) = self.addresses(field.name) {
            // Several fields of a name count as one: what a filter sees in the first, a reader sees too.
            addresses.extend(parse_addresses(field.value));
            return;
        }
        let place = match field.name.to_ascii_lowercase().as_slice() {
            b"date" => &mut self.date,
            b"subject" => &mut self.subject,
            b"in-reply-to" => &mut self.in_reply_to,
            b"message-id" => &mut self.message_id,
            _ => return,
        };
        *place = Some(text(field.value));
    }

    fn addresses(&mut self, name: &[u8]) -> Option<&mut Vec<Address>> {
        Some(match name.to_ascii_lowercase().as_slice() {
            b"from" => &mut self.from,
            b"sender" => &mut self.sender,
            b"reply-to" => &mut self.reply_to,
            b"to" => &mut self.to,
            b"cc" => &mut self.cc,
            b"bcc" => &mut self.bcc,
            _ => return None,
        })
    }

    /// Appends what stands between the parentheses of `ENVELOPE (…)`.
    pub fn write(&self, out: &mut Vec<u8>) {
        append_unfolded(out, self.date.as_deref());
        out.push(b' ');
        match &self.subject {
            Some(subject) => append_for_humans(out, subject),
            None => out.extend(b"NIL"),
        }
        let or_from = |addresses| if Vec::is_empty(addresses) { &self.from } else { addresses };
        for addresses in [&self.from, or_from(&self.sender), or_from(&self.reply_to), &self.to, &self.cc, &self.bcc] {
            out.push(b' ');
            write_addresses(out, addresses);
        }
        for text in [&self.in_reply_to, &self.message_id] {
            out.push(b' ');
            append_unfolded(out, text.as_deref());
        }
    }
}

/// A value without the line ends after its last visible character; blanks stay. Dovecot reads the outermost header, and
/// no other, in this way.
fn without_last_line_ends(value: &[u8]) -> Cow<'_, [u8]> {
    let visible = value.iter().rposition(|byte| !b" \t\r\n".contains(byte)).map_or(0, |last| last + 1);
    let (text, tail) = value.split_at(visible);
    if !tail.iter().any(|byte| matches!(byte, b'\r' | b'\n')) {
        return Cow::Borrowed(value);
    }
    Cow::Owned(text.iter().chain(tail.iter().filter(|byte| is_blank(**byte))).copied().collect())
}

fn write_addresses(out: &mut Vec<u8>, addresses: &[Address]) {
    if addresses.is_empty() {
        return out.extend(b"NIL");
    }
    out.push(b'(');
    for address in addresses {
        out.push(b'(');
        match &address.name {
            Some(name) => append_for_humans(out, name),
            None => out.extend(b"NIL"),
        }
        for part in [&address.route, &address.mailbox, &address.domain] {
            out.push(b' ');
            append_nstring(out, part.as_deref());
        }
        out.push(b')');
    }
    out.push(b')');
}
