//! A message that is coming in: its envelope, its recipients as tables answer for them, its content as it is filtered.

use ipc_messages::envelope::{Envelope, Origin, Recipient, RewriteContext};

use crate::header::{Filter, Found, Rules};
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
    filter: Option<Filter>,
    taken: u64,
}

/// How the content ends.
#[derive(Debug, Default)]
pub struct Ended {
    /// For the log.
    pub lines: Vec<String>,
    /// The message is not to be taken: the reply.
    pub refused: Option<&'static str>,
}

impl Incoming {
    /// A message begins. `date` is its arrival as headers have it, `stamp` the same as `YYYYMMDDhhmmss` in UTC.
    pub fn new(envelope: Envelope, settings: &Settings, date: String, stamp: &str) -> Incoming {
        let id = envelope.queue_id;
        let ours = envelope.rewrite == RewriteContext::Local || envelope.origin != Origin::Network;
        let unique = if settings.long_queue_ids { id.to_string() } else { format!("{stamp}.{id}") };
        let sender = if envelope.sender.is_empty() { "MAILER-DAEMON" } else { &envelope.sender };
        let rules = Rules {
            drop: settings.message_drop_headers.clone(),
            size_limit: settings.header_size_limit,
            add_missing: ours || settings.always_add_missing_headers,
            message_id: format!("<{unique}@{}>", settings.myhostname),
            date,
            from: quoted(sender),
        };
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
            filter: Some(Filter::new(rules)),
            taken: 0,
        }
    }

    /// One more recipient; its number.
    pub fn recipient(&mut self, recipient: Recipient) -> usize {
        self.given.push(Given { recipient, expanded: None });
        self.given.len() - 1
    }

    /// The next piece of the content. Returns whether the message is within the limit.
    pub fn body(&mut self, bytes: &[u8], settings: &Settings) -> bool {
        let before = self.content.len();
        if let Some(filter) = &mut self.filter {
            filter.push(bytes, &mut self.content);
        }
        self.grown(before, settings)
    }

    /// The content is complete.
    pub fn end(&mut self, settings: &Settings) -> Ended {
        self.complete = true;
        let before = self.content.len();
        let found = self.filter.take().map_or_else(Found::default, |filter| filter.finish(&mut self.content));
        let mut ended = Ended::default();
        if !self.grown(before, settings) {
            ended.refused = Some(TOO_BIG);
        }
        let id = self.envelope.queue_id;
        if let Some(value) = &found.resent_message_id {
            ended.lines.push(format!("{id}: resent-message-id={value}"));
        }
        ended.lines.push(format!("{id}: message-id={}", found.message_id.as_deref().unwrap_or("<>")));
        if found.hops >= settings.hopcount_limit {
            ended.refused = Some(TOO_MANY_HOPS);
        }
        self.envelope.message_id = found.message_id;
        self.envelope.size = self.taken;
        ended
    }

    fn grown(&mut self, before: usize, settings: &Settings) -> bool {
        self.taken += (self.content.len() - before) as u64;
        self.large |= self.content.len() > MAX_INLINE;
        settings.message_size_limit == 0 || self.taken <= settings.message_size_limit
    }
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

    fn incoming() -> Incoming {
        Incoming::new(envelope(QueueId::short(1, 70_000), 0), &Settings::default(), "now".into(), "20261121002002")
    }

    #[test]
    fn the_log_names_the_message() {
        let mut message = incoming();
        assert!(message.body(b"Message-Id: <a@b>\n\nx\n", &Settings::default()));
        let ended = message.end(&Settings::default());
        assert_eq!(ended.lines, ["0000111170: message-id=<a@b>"]);
        assert_eq!((message.envelope.message_id.as_deref(), message.envelope.size), (Some("<a@b>"), 21));
        assert_eq!(incoming().end(&Settings::default()).lines, ["0000111170: message-id=<>"]);
    }

    #[test]
    fn our_own_mail_gets_an_id_of_the_style() {
        for (long, expected) in
            [(false, "<20261121002002.0000111170@mail.example.org>"), (true, "<0000111170@mail.example.org>")]
        {
            let settings = Settings { long_queue_ids: long, always_add_missing_headers: true, ..Settings::default() };
            let mut message = Incoming::new(incoming().envelope, &settings, "now".into(), "20261121002002");
            message.end(&settings);
            assert_eq!(message.envelope.message_id.as_deref(), Some(expected));
        }
    }

    #[test]
    fn loops_and_giants_are_refused() {
        let settings = Settings { hopcount_limit: 3, message_size_limit: 40, ..Settings::default() };
        let mut message = incoming();
        assert!(message.body(b"Received: a\nReceived: b\nReceived: c\n", &settings));
        assert_eq!(message.end(&settings).refused, Some(TOO_MANY_HOPS));
        let mut message = incoming();
        assert!(message.body(&[b'x'; 39], &settings), "it is not known yet what the line is");
        message.body(b"\n", &settings);
        assert_eq!(message.end(&settings).refused, Some(TOO_BIG), "with the empty line it has 41");
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
