//! The envelope of a message in the queue: all that is known of it besides its content.
//!
//! `cleanup` makes it when the message is complete and nothing changes it afterwards: what happens to a recipient is the
//! outcome log's business. One encoding serves the intake journal, the hand-over to `qmgr` and the queue file:
//! [`Envelope::encode`] writes a version byte and the fields in postcard, [`Envelope::decode`] takes exactly that.
//!
//! Addresses are in internal form (no quotes, no angle brackets), as Postfix keeps them in a queue file.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

pub use crate::queue_id::QueueId;

/// Version that [`Envelope::encode`] writes, and the only one that [`Envelope::decode`] takes.
pub const VERSION: u8 = 1;

/// Bytes of the longest encoded envelope: 50,000 recipients (`virtual_alias_expansion_limit` is 1,000) of 320 bytes.
pub const MAX_ENVELOPE: usize = 16 * 1024 * 1024;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    pub queue_id: QueueId,
    /// When the message arrived, in microseconds since 1970.
    pub arrival: u64,
    /// Empty for the null sender.
    pub sender: String,
    /// A recipient's place in this list is its name in the outcome log.
    pub recipients: Vec<Recipient>,
    /// Bytes of the content as it is stored (lines end in LF).
    pub size: u64,
    pub origin: Origin,
    pub client: Option<Client>,
    pub sasl: Option<Sasl>,
    pub body: BodyType,
    /// The sender asked for SMTPUTF8 (RFC 6531).
    pub smtputf8: bool,
    /// ENVID of RFC 3461, in xtext as it was received.
    pub dsn_envid: Option<String>,
    pub dsn_ret: Option<Return>,
    pub trace: Trace,
    /// The `Message-ID:` with its angle brackets.
    pub message_id: Option<String>,
    pub rewrite: RewriteContext,
    /// `transport:nexthop` of a content filter, which then takes the place of the recipients' own.
    pub filter: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipient {
    /// Where the message goes, after aliases and rewriting.
    pub address: String,
    /// What the sender wrote (`orig_to=`), where that is something else.
    pub original: Option<String>,
    /// ORCPT of RFC 3461, `type;xtext`.
    pub dsn_orcpt: Option<String>,
    pub notify: Notify,
}

/// NOTIFY of RFC 3461: a set; the empty one means that the sender did not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Notify(u8);

impl Notify {
    pub const NEVER: Notify = Notify(1);
    pub const SUCCESS: Notify = Notify(2);
    pub const FAILURE: Notify = Notify(4);
    pub const DELAY: Notify = Notify(8);

    #[must_use]
    pub fn with(self, other: Notify) -> Notify {
        Notify(self.0 | other.0)
    }

    pub fn contains(self, other: Notify) -> bool {
        self.0 & other.0 == other.0
    }

    pub fn is_given(self) -> bool {
        self.0 != 0
    }

    /// As `crate::delivery::Target` has it.
    pub fn bits(self) -> u8 {
        self.0
    }
}

/// Who made the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Origin {
    /// A client of `smtpd`.
    Network,
    /// `sendmail`, by way of `pickup`.
    Local,
    /// A delivery status notification.
    Bounce,
    /// A report to the postmaster.
    Notification,
    /// `local`, for an alias or a `.forward` file.
    Forward,
    /// A probe: delivered up to the point where content would be sent.
    Verify,
}

/// The client as it is logged and as headers name it. With XFORWARD or XCLIENT, what those said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Client {
    /// Verified name, or `unknown`.
    pub name: String,
    /// Name by the address alone, or `unknown`.
    pub reverse_name: String,
    /// `None` for a client on a unix socket.
    pub address: Option<IpAddr>,
    pub port: Option<u16>,
    pub helo: Option<String>,
    /// `SMTP`, `ESMTP`, …
    pub protocol: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sasl {
    pub method: String,
    pub username: String,
    /// AUTH= of MAIL FROM (RFC 4954).
    pub sender: Option<String>,
}

/// BODY= of MAIL FROM (RFC 6152).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum BodyType {
    SevenBit,
    EightBitMime,
}

/// RET= of MAIL FROM (RFC 3461).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Return {
    Full,
    Headers,
}

/// Whether the sender gets a report of the delivery (`sendmail -v`) or of what would be delivered (`sendmail -bv`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Trace {
    None,
    Record,
    Verify,
}

/// By which rules incomplete addresses were completed (`local_header_rewrite_clients`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RewriteContext {
    Local,
    Remote,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnvelopeError {
    /// More than [`MAX_ENVELOPE`] bytes.
    TooLarge(usize),
    /// Not [`VERSION`]; `None` for no bytes at all.
    Version(Option<u8>),
    /// Not the fields of an envelope, or something behind them.
    Malformed,
}

impl Envelope {
    /// The bytes that [`Envelope::decode`] takes.
    pub fn encode(&self) -> Result<Vec<u8>, EnvelopeError> {
        let bytes = postcard::to_extend(self, vec![VERSION]).map_err(|_| EnvelopeError::Malformed)?;
        if bytes.len() > MAX_ENVELOPE { Err(EnvelopeError::TooLarge(bytes.len())) } else { Ok(bytes) }
    }

    /// Takes the whole of `bytes`, or nothing.
    pub fn decode(bytes: &[u8]) -> Result<Envelope, EnvelopeError> {
        if bytes.len() > MAX_ENVELOPE {
            return Err(EnvelopeError::TooLarge(bytes.len()));
        }
        let Some((&VERSION, fields)) = bytes.split_first() else {
            return Err(EnvelopeError::Version(bytes.first().copied()));
        };
        match postcard::take_from_bytes(fields) {
            Ok((envelope, [])) => Ok(envelope),
            _ => Err(EnvelopeError::Malformed),
        }
    }
}

impl fmt::Display for EnvelopeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EnvelopeError::TooLarge(len) => write!(f, "envelope of {len} bytes, at most {MAX_ENVELOPE} are taken"),
            EnvelopeError::Version(Some(version)) => write!(f, "envelope of version {version}, this is {VERSION}"),
            EnvelopeError::Version(None) => f.write_str("empty envelope"),
            EnvelopeError::Malformed => f.write_str("malformed envelope"),
        }
    }
}

impl std::error::Error for EnvelopeError {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn envelope() -> Envelope {
        Envelope {
            queue_id: QueueId::short(12, 65_536),
            arrival: 1_700_000_000_000_000,
            sender: "alice@example.org".into(),
            recipients: vec![Recipient {
                address: "bob@example.net".into(),
                original: Some("robert@example.net".into()),
                dsn_orcpt: Some("rfc822;robert@example.net".into()),
                notify: Notify::SUCCESS.with(Notify::DELAY),
            }],
            size: 4096,
            origin: Origin::Network,
            client: Some(Client {
                name: "mail.example.org".into(),
                reverse_name: "mail.example.org".into(),
                address: Some("2001:db8::1".parse().unwrap()),
                port: Some(40_000),
                helo: Some("mail.example.org".into()),
                protocol: "ESMTP".into(),
            }),
            sasl: Some(Sasl { method: "PLAIN".into(), username: "alice".into(), sender: None }),
            body: BodyType::EightBitMime,
            smtputf8: true,
            dsn_envid: Some("QQ314159".into()),
            dsn_ret: Some(Return::Headers),
            trace: Trace::None,
            message_id: Some("<1@example.org>".into()),
            rewrite: RewriteContext::Remote,
            filter: None,
        }
    }

    #[test]
    fn round_trip_and_every_cut() {
        let bytes = envelope().encode().unwrap();
        assert_eq!(Envelope::decode(&bytes), Ok(envelope()));
        for cut in 0..bytes.len() {
            assert!(Envelope::decode(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert_eq!(Envelope::decode(&longer), Err(EnvelopeError::Malformed));
    }

    #[test]
    fn other_versions_and_sizes_are_refused() {
        let mut bytes = envelope().encode().unwrap();
        bytes[0] = VERSION + 1;
        assert_eq!(Envelope::decode(&bytes), Err(EnvelopeError::Version(Some(VERSION + 1))));
        assert_eq!(Envelope::decode(&[]), Err(EnvelopeError::Version(None)));
        let long = vec![VERSION; MAX_ENVELOPE + 1];
        assert_eq!(Envelope::decode(&long), Err(EnvelopeError::TooLarge(MAX_ENVELOPE + 1)));
        let sender = "x".repeat(MAX_ENVELOPE);
        assert!(matches!(Envelope { sender, ..envelope() }.encode(), Err(EnvelopeError::TooLarge(_))));
    }

    #[test]
    fn notify_is_a_set() {
        let set = Notify::SUCCESS.with(Notify::FAILURE);
        assert!(set.contains(Notify::SUCCESS) && set.contains(Notify::FAILURE) && !set.contains(Notify::DELAY));
        assert!(set.is_given() && !Notify::default().is_given());
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let mut versioned = vec![VERSION];
            versioned.extend(&bytes);
            let _ = Envelope::decode(&versioned);
        }

        #[test]
        fn one_changed_byte_never_panics(at in 1usize..300, value in any::<u8>()) {
            let mut bytes = envelope().encode().unwrap();
            if at < bytes.len() {
                bytes[at] = value;
                if let Ok(decoded) = Envelope::decode(&bytes) {
                    prop_assert!(decoded.encode().is_ok());
                }
            }
        }
    }
}
