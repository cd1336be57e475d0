//! Postfix's protocols `mail_queue_list_protocol` and `queue_flush_protocol`: attributes as text, each name and each value
//! ended by NUL, a group of them by one NUL more.
//!
//! ```text
//! list      = announcement *message NUL
//! message   = "queue_name" "queue_id" "time" "size" "forced_expire" "sender" *( "recipient" "reason" ) NUL
//! flush     = request announcement "status" NUL
//! request   = "request" ( "send_file" "queue_id" / "send_site" "site" / "send_all" ) NUL
//! ```
//!
//! Recorded from Postfix 3.7.11; `send_all` is ours (Postfix writes one byte to its queue manager instead). Addresses are in
//! external form (RFC 5321), the null sender is `MAILER-DAEMON`, an unknown reason is empty.

use std::borrow::Cow;

use ipc_messages::queue::{Listed, Waiting};
use ipc_messages::queue_id::QueueId;

/// The longest request, in bytes: a host name has at most 255.
pub const MAX_REQUEST: usize = 1024;

const LIST: &str = "mail_queue_list_protocol";
const FLUSH: &str = "queue_flush_protocol";
/// The sender of mail without one.
const NULL_SENDER: &str = "MAILER-DAEMON";

/// What is to be attempted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Every deferred message (`postqueue -f`).
    All,
    /// One message (`postqueue -i`).
    File(QueueId),
    /// The messages that have a recipient in this domain (`postqueue -s`).
    Site(String),
}

/// What is no request, or is longer than [`MAX_REQUEST`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nonsense;

/// What comes before the messages of a list.
pub fn list_begin() -> Vec<u8> {
    group(&[("protocol", LIST)])
}

/// A message and its first recipients, without the end of its group.
pub fn message(message: &Listed) -> Vec<u8> {
    let sender = if message.sender.is_empty() { NULL_SENDER.into() } else { external(&message.sender) };
    let mut bytes = attributes(&[
        ("queue_name", &message.queue),
        ("queue_id", message.queue_id.as_str()),
        ("time", &message.arrival.to_string()),
        ("size", &message.size.to_string()),
        ("forced_expire", "0"),
        ("sender", &sender),
    ]);
    bytes.extend(recipients(&message.recipients));
    bytes
}

/// More recipients of that message.
pub fn recipients(waiting: &[Waiting]) -> Vec<u8> {
    let one = |(address, reason): &Waiting| {
        let reason = printable(reason.as_deref().unwrap_or_default());
        attributes(&[("recipient", &external(address)), ("reason", &reason)])
    };
    waiting.iter().flat_map(one).collect()
}

/// The end of a message, and after the last one the end of the list.
pub const END: &[u8] = b"\0";

/// Reads a whole list. Addresses stay in external form, the null sender stays `MAILER-DAEMON`.
///
/// # Errors
/// `None` when it is not such a list, or when its end is missing.
pub fn read_list(bytes: &[u8]) -> Option<Vec<Listed>> {
    let mut words = Words(bytes);
    words.announced(LIST)?;
    let mut messages = Vec::new();
    loop {
        let mut name = words.next()?;
        if name.is_empty() {
            return words.0.is_empty().then_some(messages);
        }
        let (mut queue, mut queue_id, mut sender) = (None, None, None);
        let (mut arrival, mut size, mut recipients) = (None, None, Vec::<Waiting>::new());
        while !name.is_empty() {
            let value = words.next()?.to_owned();
            match name {
                "queue_name" => queue = Some(value),
                "queue_id" => queue_id = value.parse().ok(),
                "time" => arrival = value.parse().ok(),
                "size" => size = value.parse().ok(),
                "sender" => sender = Some(value),
                "recipient" => recipients.push((value, None)),
                "reason" => recipients.last_mut()?.1 = Some(value).filter(|reason| !reason.is_empty()),
                _ => {}
            }
            name = words.next()?;
        }
        let (queue, queue_id, sender) = (queue?, queue_id?, sender?);
        messages.push(Listed { queue, queue_id, sender, arrival: arrival?, size: size?, recipients, offset: 0 });
    }
}

/// What comes before the answer to a flush request.
pub fn flush_begin() -> Vec<u8> {
    group(&[("protocol", FLUSH)])
}

/// The answer to a flush request that was carried out.
pub fn flush_done() -> Vec<u8> {
    group(&[("status", "0")])
}

/// Whether these are [`flush_begin`] and [`flush_done`].
///
/// # Errors
/// `None` when it is something else, or when the end is missing.
pub fn read_flushed(bytes: &[u8]) -> Option<()> {
    let mut words = Words(bytes);
    words.announced(FLUSH)?;
    (words.next()? == "status" && words.next()? == "0").then_some(())
}

impl Request {
    /// As it travels.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Request::All => group(&[("request", "send_all")]),
            Request::File(id) => group(&[("request", "send_file"), ("queue_id", id.as_str())]),
            Request::Site(site) => group(&[("request", "send_site"), ("site", site)]),
        }
    }

    /// Reads a request; `Ok(None)` while its end has not come.
    ///
    /// # Errors
    /// [`Nonsense`].
    pub fn decode(bytes: &[u8]) -> Result<Option<Request>, Nonsense> {
        if bytes.len() > MAX_REQUEST {
            return Err(Nonsense);
        }
        if !bytes.ends_with(b"\0\0") {
            return Ok(None);
        }
        let mut words = Words(bytes);
        let mut pair = || Some((words.next()?, words.next()?));
        let request = match pair() {
            Some(("request", "send_all")) => Some(Request::All),
            Some(("request", "send_file")) => {
                pair().filter(|(name, _)| *name == "queue_id").and_then(|(_, id)| id.parse().ok()).map(Request::File)
            }
            Some(("request", "send_site")) => {
                pair().filter(|(name, _)| *name == "site").map(|(_, site)| Request::Site(site.to_owned()))
            }
            _ => None,
        };
        request.filter(|_| words.0 == END).map(Some).ok_or(Nonsense)
    }
}

/// A message as it is shown to people: addresses in external form, `MAILER-DAEMON` for the null sender.
pub fn shown(mut message: Listed) -> Listed {
    message.sender = match message.sender.as_str() {
        "" => NULL_SENDER.to_owned(),
        sender => external(sender).into_owned(),
    };
    for (recipient, reason) in &mut message.recipients {
        *recipient = external(recipient).into_owned();
        *reason = reason.as_deref().map(printable);
    }
    message
}

/// Control characters as `?`: what a peer sent does not reach a terminal, and no text ends an attribute.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// An address as RFC 5321 has it: the local part in quotes where it needs them.
///
/// ```text
/// Local-part = Dot-string / Quoted-string
/// ```
pub fn external(address: &str) -> Cow<'_, str> {
    let (local, domain) = address.rsplit_once('@').map_or((address, None), |(local, domain)| (local, Some(domain)));
    let atom =
        |part: &str| !part.is_empty() && !part.chars().any(|c| c.is_ascii_control() || " \"(),:;<>@[\\]".contains(c));
    let printed = printable(address);
    if local.split('.').all(atom) || local.is_empty() {
        return if printed == address { address.into() } else { printed.into() };
    }
    let mut quoted = String::from('"');
    for c in printable(local).chars() {
        if matches!(c, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    domain.map_or_else(|| quoted.clone(), |domain| format!("{quoted}@{}", printable(domain))).into()
}

fn attributes(pairs: &[(&str, &str)]) -> Vec<u8> {
    pairs.iter().flat_map(|(name, value)| format!("{name}\0{value}\0").into_bytes()).collect()
}

fn group(pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = attributes(pairs);
    bytes.extend(END);
    bytes
}

/// Names and values, in their order.
struct Words<'a>(&'a [u8]);

impl<'a> Words<'a> {
    fn next(&mut self) -> Option<&'a str> {
        let end = self.0.iter().position(|byte| *byte == 0)?;
        let word = std::str::from_utf8(&self.0[..end]).ok()?;
        self.0 = &self.0[end + 1..];
        Some(word)
    }

    fn announced(&mut self, protocol: &str) -> Option<()> {
        (self.next()? == "protocol" && self.next()? == protocol && self.next()?.is_empty()).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Recorded from the socket of Postfix 3.7.11.
    const RECORDED: &[u8] = b"protocol\0mail_queue_list_protocol\0\0\
        queue_name\0deferred\0queue_id\x000ABE540\0time\x001795227654\0size\x00255\0forced_expire\x000\0\
        sender\0me@a.test\0recipient\0you@b.test\0reason\0connect to 127.0.0.1[127.0.0.1]:9: Connection refused\0\
        recipient\0\"a b\"@c.test\0reason\0\0\0\
        queue_name\0hold\0queue_id\x001506051\0time\x001795227654\0size\x002101\0forced_expire\x000\0\
        sender\0MAILER-DAEMON\0recipient\0me@a.test\0reason\0late\0\0\0";

    fn listed(queue: &str, id: &str, size: u64, sender: &str, recipients: &[(&str, Option<&str>)]) -> Listed {
        Listed {
            queue: queue.into(),
            queue_id: id.parse().unwrap(),
            arrival: 1_795_227_654,
            size,
            sender: sender.into(),
            recipients: recipients.iter().map(|(to, why)| ((*to).into(), why.map(str::to_owned))).collect(),
            offset: 0,
        }
    }

    fn queue() -> [Listed; 2] {
        let why = Some("connect to 127.0.0.1[127.0.0.1]:9: Connection refused");
        [
            listed("deferred", "0ABE540", 255, "me@a.test", &[("you@b.test", why), ("a b@c.test", None)]),
            listed("hold", "1506051", 2101, "", &[("me@a.test", Some("late"))]),
        ]
    }

    #[test]
    fn a_list_is_what_postfix_writes() {
        let mut bytes = list_begin();
        for one in queue() {
            bytes.extend([&message(&one), END].concat());
        }
        bytes.extend(END);
        assert_eq!(bytes, RECORDED);
        assert_eq!(read_list(RECORDED), Some(queue().map(shown).to_vec()));
    }

    #[test]
    fn a_list_that_is_cut_is_no_list() {
        for end in 0..RECORDED.len() {
            assert_eq!(read_list(&RECORDED[..end]), None, "{end}");
        }
    }

    #[test]
    fn requests_come_whole_or_not_at_all() {
        for request in [Request::All, Request::File("0ABE540".parse().unwrap()), Request::Site("b.test".into())] {
            let bytes = request.encode();
            for end in 0..bytes.len() {
                assert_eq!(Request::decode(&bytes[..end]), Ok(None), "{request:?} {end}");
            }
            assert_eq!(Request::decode(&bytes), Ok(Some(request)));
        }
        for bad in ["request\0nonsense\0\0", "request\0send_file\0queue_id\0../x\0\0", "request\0send_site\0\0", "\0\0"]
        {
            assert_eq!(Request::decode(bad.as_bytes()), Err(Nonsense), "{bad:?}");
        }
        assert_eq!(Request::decode(&[b'x'; MAX_REQUEST]), Ok(None));
        assert_eq!(Request::decode(&[b'x'; MAX_REQUEST + 1]), Err(Nonsense));
    }

    #[test]
    fn an_attempt_is_answered() {
        assert_eq!(flush_begin(), b"protocol\0queue_flush_protocol\0\0");
        assert_eq!(read_flushed(&[flush_begin(), flush_done()].concat()), Some(()));
        assert_eq!(read_flushed(&flush_begin()), None);
        assert_eq!(read_flushed(b"protocol\0queue_flush_protocol\0\0status\x004\0\0"), None);
    }

    #[test]
    fn addresses_are_quoted_and_harmless() {
        for (address, expected) in [
            ("a.b@c.example", "a.b@c.example"),
            ("root", "root"),
            ("a b@c.example", "\"a b\"@c.example"),
            ("a\"b\\@c.example", "\"a\\\"b\\\\\"@c.example"),
            ("a..b@c.example", "\"a..b\"@c.example"),
            ("a@b@c.example", "\"a@b\"@c.example"),
            ("\u{1b}[31m@c\u{7}", "\"?[31m\"@c?"),
            ("a\0b@c", "\"a?b\"@c"),
            ("ü@c.example", "ü@c.example"),
        ] {
            assert_eq!(external(address), expected, "{address:?}");
        }
    }
}
