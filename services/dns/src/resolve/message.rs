//! DNS messages (RFC 1035 section 4): a question as it is sent, and what an answer says about it.
//!
//! An answer is believed only as far as it is about the question: its identifier and its question section must be those
//! that were sent, and records count only along the chain of aliases from the name that was asked for. What a server
//! adds beside that is never looked at, so that it cannot poison the cache.

use std::net::IpAddr;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use ipc_messages::dns::{Exchange, MAX_RECORDS, MAX_TEXT};

/// Aliases on the way from a name to its records, over all answers.
pub const MAX_ALIASES: usize = 12;
/// What is offered for answers by UDP: fits without fragments nearly everywhere (DNS flag day 2020).
const UDP_SIZE: u16 = 1232;
/// RFC 1035 section 4.1.1
const HEADER: usize = 12;

/// What is asked: records of one type at one name. Equal whatever the case of its letters.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Question {
    /// The name, absolute.
    pub name: Name,
    /// The type.
    pub kind: RecordType,
}

impl Question {
    /// A question for a host or domain name, with or without the last dot. `None` for what cannot be in DNS.
    pub fn new(name: &str, kind: RecordType) -> Option<Question> {
        let name = Name::from_ascii(format!("{}.", name.trim_end_matches('.'))).ok()?;
        Some(Question { name: name.to_lowercase(), kind })
    }

    /// The question for the name of an address (RFC 1035 section 3.5, RFC 3596 section 2.5).
    pub fn pointer(address: IpAddr) -> Question {
        Question { name: Name::from(address), kind: RecordType::PTR }
    }
}

/// What one record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    /// A, AAAA
    Address(IpAddr),
    /// PTR, without the last dot
    Name(String),
    /// MX
    Exchange(Exchange),
    /// TXT, its strings joined
    Text(Vec<u8>),
}

impl Data {
    /// Bytes that it takes in memory, roughly.
    pub fn size(&self) -> usize {
        let text = match self {
            Data::Address(_) => 0,
            Data::Name(name) => name.len(),
            Data::Exchange(exchange) => exchange.host.len(),
            Data::Text(text) => text.len(),
        };
        size_of::<Data>() + text
    }

    fn of(record: &RData) -> Option<Data> {
        Some(match record {
            RData::A(address) => Data::Address(IpAddr::V4(address.0)),
            RData::AAAA(address) => Data::Address(IpAddr::V6(address.0)),
            RData::PTR(name) => Data::Name(text(&name.0)),
            RData::MX(mx) => Data::Exchange(Exchange { preference: mx.preference, host: text(&mx.exchange) }),
            RData::TXT(txt) => Data::Text(txt.txt_data.concat()),
            _ => return None,
        })
    }
}

fn text(name: &Name) -> String {
    let text = name.to_ascii();
    text.strip_suffix('.').unwrap_or(&text).to_string()
}

/// What an answer says about the question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// What.
    pub what: What,
    /// Seconds for which it holds; 0 when it must not be remembered.
    pub ttl: u32,
    /// The server says that DNSSEC has validated it.
    pub authentic: bool,
    /// Aliases that were followed to come to this.
    pub aliases: usize,
}

/// See [`Told`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// The records, at least one and at most [`MAX_RECORDS`].
    Records(Vec<Data>),
    /// The name is an alias of this one, whose records the server did not add.
    Alias(Name),
    /// NXDOMAIN
    NotFound,
    /// No record of this type.
    NoData,
}

/// What a datagram or a message on a stream is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Not the answer that is waited for: late, or forged.
    Stray,
    /// The answer did not fit: ask by TCP.
    Truncated,
    /// The server may not know EDNS: ask without.
    Misunderstood,
    /// The server cannot or will not say.
    Failed(String),
    /// The answer.
    Told(Told),
}

/// The message that asks `question`. AD asks for the AD flag in the answer (RFC 6840 section 5.7).
pub fn query(question: &Question, id: u16, edns: bool) -> Vec<u8> {
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.metadata.authentic_data = true;
    message.add_query(Query::query(question.name.clone(), question.kind));
    if edns {
        let mut options = Edns::new();
        options.set_max_payload(UDP_SIZE);
        message.set_edns(options);
    }
    message.to_vec().expect("one question with a valid name")
}

/// Reads a message that came where the answer to `question`, sent with `id`, was expected.
pub fn read(bytes: &[u8], question: &Question, id: u16) -> Reply {
    if bytes.len() < HEADER || bytes[..2] != id.to_be_bytes() {
        return Reply::Stray;
    }
    let message = match Message::from_vec(bytes) {
        Ok(message) => message,
        Err(error) => return Reply::Failed(format!("malformed answer: {error}")),
    };
    let head = &message.metadata;
    if head.message_type != MessageType::Response || head.op_code != OpCode::Query {
        return Reply::Stray;
    }
    let misunderstood =
        matches!(head.response_code, ResponseCode::FormErr | ResponseCode::NotImp | ResponseCode::BADVERS);
    match message.queries.as_slice() {
        [query] if query.query_type == question.kind && query.query_class == DNSClass::IN => {
            if query.name != question.name {
                return Reply::Stray;
            }
        }
        // A server that could not read the question does not repeat it.
        [] if misunderstood => {}
        _ => return Reply::Stray,
    }
    if head.truncation {
        return Reply::Truncated;
    }
    match head.response_code {
        ResponseCode::NoError | ResponseCode::NXDomain => tell(&message, question),
        _ if misunderstood => Reply::Misunderstood,
        code => Reply::Failed(format!("{code}")),
    }
}

/// Follows the aliases from the question's name to its records.
fn tell(message: &Message, question: &Question) -> Reply {
    let answers: Vec<&Record> = message.answers.iter().filter(|record| record.dns_class == DNSClass::IN).collect();
    let (mut name, mut ttl, mut aliases) = (&question.name, u32::MAX, 0);
    let what = loop {
        let here = answers.iter().filter(|record| record.name == *name);
        let records: Vec<&Record> = here.clone().filter(|r| r.record_type() == question.kind).copied().collect();
        if !records.is_empty() {
            ttl = records.iter().map(|record| record.ttl).fold(ttl, u32::min);
            break What::Records(bounded(&records));
        }
        let alias = here.clone().find_map(|record| match &record.data {
            RData::CNAME(target) => Some((&target.0, record.ttl)),
            _ => None,
        });
        let Some((target, lives)) = alias else {
            let (what, lives) = nothing(message, name, aliases > 0);
            ttl = ttl.min(lives);
            break what;
        };
        aliases += 1;
        if aliases > MAX_ALIASES {
            return Reply::Failed("too many aliases".into());
        }
        (name, ttl) = (target, ttl.min(lives));
    };
    // RFC 2181 section 8: a lifetime with the highest bit set is zero.
    let ttl = if ttl > i32::MAX as u32 { 0 } else { ttl };
    Reply::Told(Told { what, ttl, authentic: message.metadata.authentic_data, aliases })
}

/// What it means that there are no records at `name`, and for how long (RFC 2308 sections 2 and 5): without an SOA nothing
/// may be remembered, and an alias may have been left for the asker to follow.
fn nothing(message: &Message, name: &Name, is_alias: bool) -> (What, u32) {
    let soa = message.authorities.iter().find_map(|record| match &record.data {
        RData::SOA(soa) => Some(record.ttl.min(soa.minimum)),
        _ => None,
    });
    match (message.metadata.response_code, soa) {
        (ResponseCode::NXDomain, soa) => (What::NotFound, soa.unwrap_or(0)),
        (_, None) if is_alias => (What::Alias(name.to_lowercase()), u32::MAX),
        (_, soa) => (What::NoData, soa.unwrap_or(0)),
    }
}

/// The records as data, at most as many as an answer may have.
fn bounded(records: &[&Record]) -> Vec<Data> {
    let mut left = MAX_TEXT;
    let all = records.iter().filter_map(|record| Data::of(&record.data));
    all.filter(|data| match data {
        Data::Text(text) if text.len() > left => false,
        Data::Text(text) => {
            left -= text.len();
            true
        }
        _ => true,
    })
    .take(MAX_RECORDS)
    .collect()
}
