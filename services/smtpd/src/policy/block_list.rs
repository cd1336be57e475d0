//! Block lists in DNS (RFC 5782): a name made of the client's address, or of a domain, exists in the list's zone. A list
//! that does not answer blocks nobody, as in Postfix.

use std::net::IpAddr;

use ipc_config::postfix::restrictions::{ListZone, Party};
use ipc_messages::dns::{Failure, Family};
use proto_smtp::address::is_host_name;

use super::{Decision, Evaluation, Note, Query, Subject, reject};

/// Refuses what a list has an address for, with the text that it gives as the reason.
pub(super) fn check(evaluation: &mut Evaluation<'_>, party: Party, zone: &ListZone) -> Result<Decision, Query> {
    let facts = evaluation.facts;
    let known = |name: &str| Some(name.to_owned()).filter(|name| name != "unknown");
    let (about, what, label) = match party {
        Party::Client if zone.by_name => (Subject::Client, known(facts.name.verified()), None),
        Party::ReverseClient => (Subject::ReverseClient, known(facts.name.reverse()), None),
        Party::Helo => (Subject::Helo, facts.helo.map(str::to_owned), None),
        Party::Sender => (Subject::Sender, facts.sender.flatten().map(|address| address.quoted()), None),
        Party::Recipient => (Subject::Recipient, facts.recipient.map(|address| address.quoted()), None),
        _ => (Subject::Client, facts.client.map(|address| address.to_string()), facts.client.map(reversed)),
    };
    let Some(what) = what else { return Ok(Decision::Next) };
    let Some(label) = label.or_else(|| listed_domain(&what)) else { return Ok(Decision::Next) };
    let name = format!("{label}.{}", zone.name);
    match facts.answers.host(&name, Family::V4)? {
        Ok(addresses) if addresses.iter().any(|address| zone.counts(*address)) => {}
        Err(Failure::Temporary(error)) => {
            let error = error.clone();
            evaluation.notes.push(Note::Warning(format!("{name}: RBL lookup error: {error}")));
            return Ok(Decision::Next);
        }
        _ => return Ok(Decision::Next),
    }
    let reason = facts.answers.texts(&name)?.unwrap_or_default().join(" / ");
    let reason = if reason.is_empty() { reason } else { format!("; {reason}") };
    let text = format!("Service unavailable; {} [{what}] blocked using {}{reason}", about.title(), zone.name);
    Ok(reject(evaluation.policy.codes.block_list, "7.1", &text))
}

/// `192.0.2.7` is `7.2.0.192`; of an IPv6 address each half byte is a label.
fn reversed(address: IpAddr) -> String {
    let labels: Vec<String> = match address {
        IpAddr::V4(address) => address.octets().iter().rev().map(u8::to_string).collect(),
        IpAddr::V6(address) => {
            address.octets().iter().rev().map(|byte| format!("{:x}.{:x}", byte & 15, byte >> 4)).collect()
        }
    };
    labels.join(".")
}

/// The domain of an address, or the name itself. What ends in a number is an address: no list of domains is asked for it.
fn listed_domain(what: &str) -> Option<String> {
    let domain = what.rsplit_once('@').map_or(what, |(_, domain)| domain);
    let last = domain.rsplit('.').next().unwrap_or_default();
    let numeric = last.bytes().all(|byte| byte.is_ascii_digit());
    (!numeric && is_host_name(domain, false)).then(|| domain.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_a_list() {
        assert_eq!(reversed("192.0.2.7".parse().unwrap()), "7.2.0.192");
        let six = reversed("2001:db8::1".parse().unwrap());
        assert!(six.starts_with("1.0.0.0.") && six.ends_with(".8.b.d.0.1.0.0.2"), "{six}");
        assert_eq!(listed_domain("a@b.example").as_deref(), Some("b.example"));
        assert_eq!((listed_domain("a@[192.0.2.1]"), listed_domain("192.0.2.1"), listed_domain("")), (None, None, None));
    }
}
