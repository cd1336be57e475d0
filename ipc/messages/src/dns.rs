//! To `dns`, the resolver of all services. All questions of a turn leave together and may be answered in any order; `corr`
//! pairs them. Names are absolute: search lists do not apply, as in Postfix.
//!
//! A question that cannot be answered yet is answered within the resolver's own time limits ([`Failure::Temporary`]), so an
//! asker needs no clock of its own.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// Records of one answer at most, so that an answer fits a frame; a larger answer is cut.
pub const MAX_RECORDS: usize = 128;
/// Bytes of all texts of one [`FromResolver::Txt`] at most; the texts that do not fit are left out.
pub const MAX_TEXT: usize = 32 * 1024;

/// The kind of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Family {
    /// A.
    V4,
    /// AAAA.
    V6,
}

impl Family {
    /// The family of an address.
    pub fn of(address: IpAddr) -> Family {
        if address.is_ipv4() { Family::V4 } else { Family::V6 }
    }
}

/// Where the addresses of a host are looked for (`smtp_host_lookup`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// In DNS alone.
    Dns,
    /// In `/etc/hosts`, then in DNS, as the system itself does.
    Native,
}

/// A question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToResolver {
    /// The name of a client: the one that its address leads to, if that leads back to the address. Answered by
    /// [`FromResolver::Name`].
    Name {
        /// Pairs the answer.
        corr: u32,
        /// The client.
        address: IpAddr,
    },
    /// Addresses of a host. Answered by [`FromResolver::Host`].
    Host {
        /// Pairs the answer.
        corr: u32,
        /// The host.
        name: String,
        /// Which addresses.
        family: Family,
        /// Where they are looked for.
        source: Source,
    },
    /// Mail exchangers of a domain. Answered by [`FromResolver::Mx`].
    Mx {
        /// Pairs the answer.
        corr: u32,
        /// The domain.
        name: String,
    },
    /// Texts at a name. Answered by [`FromResolver::Txt`].
    Txt {
        /// Pairs the answer.
        corr: u32,
        /// The name.
        name: String,
    },
}

/// Records that were found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found<T> {
    /// Never empty.
    pub records: Vec<T>,
    /// A name server that the administrator trusts (on this machine, or `trust-ad` in resolv.conf) has validated all of it
    /// with DNSSEC.
    pub secure: bool,
}

/// Why there are no records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Failure {
    /// The name does not exist (NXDOMAIN).
    NotFound,
    /// The name exists and has no record of this type.
    NoData,
    /// It cannot be said now: no server answered, SERVFAIL, a loop of aliases. The text is for the log.
    Temporary(String),
}

impl fmt::Display for Failure {
    /// The words of gai_strerror(3), which Postfix logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Failure::NotFound => "Name or service not known",
            Failure::NoData => "No address associated with hostname",
            Failure::Temporary(_) => "Temporary failure in name resolution",
        })
    }
}

/// A host that takes mail for a domain.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Exchange {
    /// Smaller is better.
    pub preference: u16,
    /// The host; empty for the null MX of RFC 7505.
    pub host: String,
}

/// The name of a client (`smtpd_peer.c` of Postfix).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClientName {
    /// The name leads back to the address.
    Verified(String),
    /// The address has this name, which does not lead back to it: it has other addresses, or none for the given reason.
    Unverified(String, Option<Failure>),
    /// The address has a "name" that is itself an address.
    Numeric(String),
    /// The address has no name.
    None(Failure),
}

impl ClientName {
    /// The name that may be used: verified, or `unknown`.
    pub fn verified(&self) -> &str {
        if let ClientName::Verified(name) = self { name } else { "unknown" }
    }

    /// The name that the address leads to, verified or not, or `unknown`.
    pub fn reverse(&self) -> &str {
        match self {
            ClientName::Verified(name) | ClientName::Unverified(name, _) => name,
            ClientName::Numeric(_) | ClientName::None(_) => "unknown",
        }
    }

    /// What Postfix warns of.
    pub fn warning(&self, address: IpAddr) -> Option<String> {
        match self {
            ClientName::Verified(_) | ClientName::None(_) => None,
            ClientName::Numeric(name) => Some(format!("numeric hostname: {name}")),
            ClientName::Unverified(name, why) => {
                let why = why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
                Some(format!("hostname {name} does not resolve to address {address}{why}"))
            }
        }
    }
}

/// An answer; `corr` is that of the question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromResolver {
    /// To [`ToResolver::Name`].
    Name {
        /// Of the question.
        corr: u32,
        /// The name.
        name: ClientName,
    },
    /// To [`ToResolver::Host`].
    Host {
        /// Of the question.
        corr: u32,
        /// The addresses.
        answer: Result<Found<IpAddr>, Failure>,
    },
    /// To [`ToResolver::Mx`].
    Mx {
        /// Of the question.
        corr: u32,
        /// The hosts, in no order.
        answer: Result<Found<Exchange>, Failure>,
    },
    /// To [`ToResolver::Txt`].
    Txt {
        /// Of the question.
        corr: u32,
        /// The texts, the strings of each joined (RFC 7208 section 3.3).
        answer: Result<Found<Vec<u8>>, Failure>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_those_of_postfix() {
        let address = "198.51.100.67".parse().unwrap();
        let unverified = |why| ClientName::Unverified("liar.example".into(), why);
        for (name, warning) in [
            (unverified(None), Some("hostname liar.example does not resolve to address 198.51.100.67")),
            (
                unverified(Some(Failure::NotFound)),
                Some("hostname liar.example does not resolve to address 198.51.100.67: Name or service not known"),
            ),
            (
                unverified(Some(Failure::Temporary("timeout".into()))),
                Some(
                    "hostname liar.example does not resolve to address 198.51.100.67: Temporary failure in name resolution",
                ),
            ),
            (ClientName::Numeric("192.0.2.1".into()), Some("numeric hostname: 192.0.2.1")),
            (ClientName::Verified("honest.example".into()), None),
            (ClientName::None(Failure::NotFound), None),
        ] {
            assert_eq!(name.warning(address).as_deref(), warning, "{name:?}");
        }
        assert_eq!((unverified(None).verified(), unverified(None).reverse()), ("unknown", "liar.example"));
    }
}
