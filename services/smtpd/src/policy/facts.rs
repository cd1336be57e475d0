//! What restrictions decide by: what the client has said, and what others know of it.

use std::collections::HashMap;
use std::net::IpAddr;

use ipc_messages::dns::{ClientName, Exchange, Failure, Family};
use ipc_messages::lookup::{Known, Route};
use proto_smtp::address::Address;

use crate::client::internal;

/// What is known of a client and its message so far.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    /// The client's address; `None` for a client on a unix socket, which counts as trusted.
    pub client: Option<IpAddr>,
    /// Whether that is one of this machine's own addresses.
    pub own: bool,
    /// The client as log lines name it.
    pub label: &'a str,
    /// What DNS says of the address.
    pub name: &'a ClientName,
    /// Who has logged in.
    pub user: Option<&'a str>,
    /// The HELO name.
    pub helo: Option<&'a str>,
    /// The sender; `None` before MAIL, `Some(None)` for the null sender.
    pub sender: Option<Option<&'a Address>>,
    /// The recipient in internal form; `None` outside RCPT, unless it is the only one.
    pub recipient: Option<&'a Address>,
    /// The domain of ETRN.
    pub etrn: Option<&'a str>,
    /// Whether the connection is under TLS.
    pub tls: bool,
    /// Recipients of the message, the one in question included.
    pub recipients: usize,
    /// Whether commands were sent ahead where that is not allowed.
    pub pipelining: bool,
    /// What others have said.
    pub answers: &'a Answers,
}

/// A question to another service.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Query {
    /// To trivial-rewrite: where mail to this address goes, and whether it is known.
    Address(String),
    /// To trivial-rewrite: what a table holds for a key.
    Value {
        /// `type:name`
        table: String,
        /// The key.
        key: String,
    },
    /// To the resolver: addresses of a host.
    Host(String, Family),
    /// To the resolver: mail exchangers of a domain.
    Exchanges(String),
    /// To the resolver: texts at a name.
    Texts(String),
}

/// What trivial-rewrite says of an address.
pub type AddressAnswer = Result<(Route, Known), String>;

/// The answer to a [`Query`]. An error is a temporary failure.
#[derive(Debug, Clone)]
pub enum Found {
    /// To [`Query::Address`].
    Address(AddressAnswer),
    /// To [`Query::Value`].
    Value(Result<Option<String>, String>),
    /// To [`Query::Host`].
    Host(Result<Vec<IpAddr>, Failure>),
    /// To [`Query::Exchanges`].
    Exchanges(Result<Vec<Exchange>, Failure>),
    /// To [`Query::Texts`].
    Texts(Result<Vec<String>, Failure>),
}

/// The answers so far. Asking for one that is missing is an error, which is the question to ask.
#[derive(Debug, Clone, Default)]
pub struct Answers(HashMap<Query, Found>);

impl Answers {
    /// Keeps an answer.
    pub fn insert(&mut self, query: Query, found: Found) {
        self.0.insert(query, found);
    }

    /// Where mail to `address` goes.
    pub fn address(&self, address: &Address) -> Result<&AddressAnswer, Query> {
        let query = Query::Address(internal(address));
        if let Some(Found::Address(answer)) = self.0.get(&query) { Ok(answer) } else { Err(query) }
    }

    /// What a table holds.
    pub fn value(&self, table: &str, key: &str) -> Result<&Result<Option<String>, String>, Query> {
        let query = Query::Value { table: table.into(), key: key.into() };
        if let Some(Found::Value(answer)) = self.0.get(&query) { Ok(answer) } else { Err(query) }
    }

    /// The addresses of a host in a family.
    pub fn host(&self, name: &str, family: Family) -> Result<Result<&[IpAddr], &Failure>, Query> {
        let query = Query::Host(name.into(), family);
        match self.0.get(&query) {
            Some(Found::Host(answer)) => Ok(answer.as_ref().map(Vec::as_slice)),
            _ => Err(query),
        }
    }

    /// The texts at a name.
    pub fn texts(&self, name: &str) -> Result<Result<&[String], &Failure>, Query> {
        let query = Query::Texts(name.into());
        match self.0.get(&query) {
            Some(Found::Texts(answer)) => Ok(answer.as_ref().map(Vec::as_slice)),
            _ => Err(query),
        }
    }

    /// The mail exchangers of a domain.
    pub fn exchanges(&self, name: &str) -> Result<Result<&[Exchange], &Failure>, Query> {
        let query = Query::Exchanges(name.into());
        match self.0.get(&query) {
            Some(Found::Exchanges(answer)) => Ok(answer.as_ref().map(Vec::as_slice)),
            _ => Err(query),
        }
    }
}
