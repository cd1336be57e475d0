//! A message that is coming in: its envelope, its recipients as tables answer for them, its content as it is filtered.

use std::sync::Arc;

use ipc_messages::envelope::{BodyType, Envelope, Origin, Recipient, RewriteContext};

use crate::header::{Added, Filter, Found};
use crate::recipients::Given;
use crate::settings::Settings;

/// Content above this goes into a queue file as it arrives.
pub const MAX_INLINE: usize = 256 * 1024;

/// What the client is told, without an ID, when a message is not taken.
pub const TOO_BIG: &str = "552 5.3.4 Message file too big";
pub const NO_SPACE: &str = "452 4.3.1 Insufficient system storage";
pub const WRITE_ERROR: &str = "451 4.3.0 Error: queue file write error";
pub const ALIAS_ERROR: &str = "451 4.6.0 Alias expansion error";
pub const TOO_MANY_HOPS: &str = "554 5.4.0 Error: too many hops";

/// See the module.
#[derive(Debug)]
pub struct Incoming {
    pub envelope: Envelope,
    pub given: Vec<Given>,
    /// Questions that are not answered.
    pub unanswered: usize,
    /// The sender has sent all of it.
    pub complete: bool,
    /// What its queue file has not been given yet, or all of the content if there is no file.
    pub content: Vec<u8>,
    /// There is a queue file, or one is about to be made.
    pub large: bool,
    /// A piece is being written.
    pub writing: bool,
    /// Its queue file is being completed.
    pub sealing: bool,
    /// Body bytes that were taken since credit was given last.
    pub owed: u64,
    settings: Arc<Settings>,
    filter: Option<Filter>,
    taken: u64,
}

/// How the content ends.
#[derive(Debug, Default)]
pub struct Ended {
    /// For the log, and whether each is a warning.
    pub lines: Vec<(String, bool)>,
    /// The message is not to be taken: the reply.
    pub refused: Option<&'static str>,
}

impl Incoming {
    /// A message begins; it keeps to these settings. `date` gives a time in seconds since 1970 as headers have it, and the same
    /// as `YYYYMMDDhhmmss` in UTC.
    pub fn new(envelope: Envelope, settings: Arc<Settings>, date: impl Fn(u64) -> (String, String)) -> Incoming {
        let ours = envelope.rewrite == RewriteContext::Local || envelope.origin != Origin::Network;
        let added = (ours || settings.always_add_missing_headers).then(|| added(&envelope, &settings, date));
        Incoming {
            envelope,
            given: Vec::new(),
            unanswered: 0,
            complete: false,
            content: Vec::new(),
            large: false,
            writing: false,
            sealing: false,
            owed: 0,
            filter: Some(Filter::new(settings.clone(), added)),
            settings,
            taken: 0,
        }
    }

    /// One more recipient; its number.
    pub fn recipient(&mut self, recipient: Recipient) -> usize {
        self.given.push(Given { recipient, expanded: None });
        self.given.len() - 1
    }

    /// The next piece of the content. Returns whether the message is within the limit.
    pub fn body(&mut self, mut bytes: Vec<u8>) -> bool {
        let settings = &self.settings;
        if !settings.message_strip_characters.is_empty() {
            bytes.retain(|byte| *byte == b'\n' || !settings.message_strip_characters.contains(byte));
        }
        if settings.cleanup_replace_stray_cr_lf {
            // Lines end in LF here: to a server that takes a CR for a line end, one could begin the end of the message.
            bytes.iter_mut().filter(|byte| **byte == b'\r').for_each(|byte| *byte = b' ');
        }
        let before = self.content.len();
        if let Some(filter) = &mut self.filter {
            filter.push(&bytes, &mut self.content);
        }
        self.grown(before)
    }

    /// The content is complete.
    pub fn end(&mut self) -> Ended {
        self.complete = true;
        let before = self.content.len();
        let found = self.filter.take().map_or_else(Found::default, |filter| filter.finish(&mut self.content));
        let mut ended = Ended::default();
        if !self.grown(before) {
            ended.refused = Some(TOO_BIG);
        }
        let id = self.envelope.queue_id;
        if let Some(value) = &found.resent_message_id {
            ended.lines.push((format!("{id}: resent-message-id={value}"), false));
        }
        ended.lines.push((format!("{id}: message-id={}", found.message_id.as_deref().unwrap_or("<>")), false));
        if let Some(text) = found.bad_witness {
            ended.lines.push((format!("bad undisclosed_recipients_header header text \"{text}\" -- ignored"), true));
        }
        if found.hops >= self.settings.hopcount_limit {
            ended.lines.push((format!("{id}: message rejected: hopcount exceeded"), true));
            ended.refused = Some(TOO_MANY_HOPS);
        }
        if found.eight_bit && self.settings.detect_8bit_encoding_header {
            self.envelope.body = BodyType::EightBitMime;
        }
        self.envelope.message_id = found.message_id;
        self.envelope.size = self.taken;
        ended
    }

    /// Bytes of the disk that mail from outside leaves free: more than `queue_minfree`, and room for another one and a half of the
    /// largest messages, as Postfix's smtpd wants it.
    pub fn reserve(&self) -> u64 {
        let Settings { queue_minfree, message_size_limit, .. } = *self.settings;
        match self.envelope.origin {
            Origin::Network => queue_minfree.max(message_size_limit.saturating_add(message_size_limit / 2)),
            _ => 0,
        }
    }

    fn grown(&mut self, before: usize) -> bool {
        self.taken += (self.content.len() - before) as u64;
        self.large |= self.content.len() > MAX_INLINE;
        let limit = self.settings.message_size_limit;
        limit == 0 || self.taken <= limit
    }
}

/// The fields that a message gets if it has none of the kind.
fn added(envelope: &Envelope, settings: &Settings, date: impl Fn(u64) -> (String, String)) -> Added {
    let id = envelope.queue_id;
    let (date, stamp) = date(envelope.arrival / 1_000_000);
    let unique = if settings.long_queue_ids { id.to_string() } else { format!("{stamp}.{id}") };
    let sender = if envelope.sender.is_empty() { "MAILER-DAEMON" } else { &envelope.sender };
    Added { message_id: format!("<{unique}@{}>", settings.myhostname), date, from: quoted(sender) }
}

/// An address as a header has it: the local part in quotes where RFC 5322 wants them.
fn quoted(address: &str) -> String {
    let (local, domain) = match address.rsplit_once('@') {
        Some((local, domain)) => (local, format!("@{domain}")),
        None => (address, String::new()),
    };
    let atom = |part: &str| {
        !part.is_empty()
            && part.chars().all(|c| c.is_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c) || !c.is_ascii())
    };
    if local.split('.').all(atom) {
        return address.into();
    }
    let escaped = local.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{escaped}\"{domain}")
}

#[cfg(test)]
mod tests {
    use ipc_messages::envelope::QueueId;
    use store_queue::testing::envelope;

    use super::*;

    fn incoming(settings: Settings) -> Incoming {
        let date = |_| ("now".into(), "20261121002002".into());
        Incoming::new(envelope(QueueId::short(1, 70_000), 0), Arc::new(settings), date)
    }

    #[test]
    fn the_log_names_the_message() {
        let mut message = incoming(Settings::default());
        assert!(message.body(b"Message-Id: <a@b>\n\nx\n".to_vec()));
        let ended = message.end();
        assert_eq!(ended.lines, [("0000111170: message-id=<a@b>".into(), false)]);
        assert_eq!((message.envelope.message_id.as_deref(), message.envelope.size), (Some("<a@b>"), 21));
        assert_eq!(incoming(Settings::default()).end().lines, [("0000111170: message-id=<>".into(), false)]);
    }

    #[test]
    fn our_own_mail_gets_an_id_of_the_style() {
        for (long, expected) in
            [(false, "<20261121002002.0000111170@mail.example.org>"), (true, "<0000111170@mail.example.org>")]
        {
            let settings = Settings { long_queue_ids: long, always_add_missing_headers: true, ..Settings::default() };
            let mut message = incoming(settings);
            message.end();
            assert_eq!(message.envelope.message_id.as_deref(), Some(expected));
        }
    }

    #[test]
    fn loops_and_giants_are_refused() {
        let settings = || Settings { hopcount_limit: 3, message_size_limit: 40, ..Settings::default() };
        let mut message = incoming(settings());
        assert!(message.body(b"Received: a\nReceived: b\nReceived: c\n".to_vec()));
        let ended = message.end();
        assert_eq!(ended.refused, Some(TOO_MANY_HOPS));
        assert_eq!(ended.lines[1], ("0000111170: message rejected: hopcount exceeded".into(), true));
        let mut message = incoming(settings());
        assert!(message.body(vec![b'x'; 39]), "it is not known yet what the line is");
        message.body(b"\n".to_vec());
        assert_eq!(message.end().refused, Some(TOO_BIG), "with the empty line it has 41");
    }

    #[test]
    fn an_address_is_quoted_where_it_must_be() {
        let table =
            [("a.b@c", "a.b@c"), ("MAILER-DAEMON", "MAILER-DAEMON"), ("a b@c", "\"a b\"@c"), ("a\"@c", "\"a\\\"\"@c")];
        for (address, expected) in table {
            assert_eq!(quoted(address), expected);
        }
    }
}
