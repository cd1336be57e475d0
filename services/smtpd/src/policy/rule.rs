//! One restriction.

use ipc_config::postfix::match_list::Failure as ListFailure;
use ipc_config::postfix::restrictions::{Restriction, Rule};
use ipc_messages::dns::{ClientName, Failure, Family};
use ipc_messages::lookup::{Class, Known, Route};
use proto_smtp::address::{Address, is_host_name, is_mail_host};

use super::access::{self, owners};
use super::block_list;
use super::{Decision, Evaluation, Facts, Query, Subject, lookup_failed, reject, server_error};

/// Evaluates a restriction in a list about `subject`. An error is what has to be asked first.
pub(super) fn one(evaluation: &mut Evaluation<'_>, rule: &Rule, subject: Subject) -> Result<Decision, Query> {
    let (facts, codes) = (evaluation.facts, &evaluation.policy.codes);
    let rejected = || subject.rejected(facts);
    Ok(match &rule.restriction {
        Restriction::Permit => Decision::Permit,
        Restriction::Reject => reject(codes.reject, "7.1", &format!("{}: Access denied", rejected())),
        Restriction::Defer => reject(codes.defer, "3.2", &format!("{}: Try again later", rejected())),
        Restriction::DeferIfPermit => {
            let text = format!("{}: defer_if_permit requested", rejected());
            evaluation.tempfail(rule, false, "7.0", &text)
        }
        Restriction::DeferIfReject => {
            let text = format!("{}: defer_if_reject requested", rejected());
            evaluation.if_reject.get_or_insert_with(|| super::compose(450, "7.0", &text));
            Decision::Next
        }
        Restriction::PermitMynetworks => return mynetworks(evaluation),
        Restriction::PermitInetInterfaces => permit_if(facts.own),
        Restriction::PermitSaslAuthenticated => permit_if(facts.user.is_some()),
        Restriction::PermitAuthDestination
        | Restriction::RejectUnauthDestination
        | Restriction::DeferUnauthDestination => return destination(evaluation, &rule.restriction),
        Restriction::RejectUnlistedRecipient => {
            evaluation.recipient_checked = true;
            return facts.recipient.map_or(Ok(Decision::Next), |to| unlisted(evaluation, to, Subject::Recipient));
        }
        Restriction::RejectUnlistedSender => {
            evaluation.sender_checked = true;
            let sender = facts.sender.flatten();
            return sender.map_or(Ok(Decision::Next), |from| unlisted(evaluation, from, Subject::Sender));
        }
        Restriction::RejectUnauthPipelining => {
            let text = format!("{}: Improper use of SMTP command pipelining", rejected());
            reject_if(facts.pipelining, 503, "5.0", &text)
        }
        Restriction::RejectPlaintextSession => {
            reject_if(!facts.tls, codes.plaintext, "7.1", "Session encryption is required")
        }
        Restriction::RejectMultiRecipientBounce => {
            let text = format!("{}: Multi-recipient bounce", rejected());
            let many = facts.sender == Some(None) && facts.recipients > 1;
            reject_if(many, codes.multi_recipient_bounce, "5.3", &text)
        }
        Restriction::RejectUnknownClient => unknown_client(facts, codes.unknown_client),
        Restriction::RejectUnknownReverseClient => unknown_reverse_client(facts, codes.unknown_client),
        Restriction::RejectInvalidHelo | Restriction::RejectNonFqdnHelo | Restriction::RejectUnknownHelo => {
            return facts.helo.map_or(Ok(Decision::Next), |name| helo(evaluation, rule, name));
        }
        Restriction::RejectNonFqdnSender => non_fqdn(evaluation, facts.sender.flatten(), Subject::Sender),
        Restriction::RejectNonFqdnRecipient => non_fqdn(evaluation, facts.recipient, Subject::Recipient),
        Restriction::RejectUnknownSenderDomain => {
            return unknown_domain(evaluation, rule, facts.sender.flatten(), Subject::Sender);
        }
        Restriction::RejectUnknownRecipientDomain => {
            return unknown_domain(evaluation, rule, facts.recipient, Subject::Recipient);
        }
        Restriction::RejectForeignSender { known } => return foreign_sender(evaluation, *known),
        Restriction::RejectOwnedSender => return owned_sender(evaluation),
        Restriction::RejectListed(party, zone) => return block_list::check(evaluation, *party, zone),
        Restriction::CheckAccess(party, table) => return access::check(evaluation, rule, *party, table),
    })
}

fn permit_if(yes: bool) -> Decision {
    if yes { Decision::Permit } else { Decision::Next }
}

fn reject_if(yes: bool, code: u16, detail: &str, text: &str) -> Decision {
    if yes { reject(code, detail, text) } else { Decision::Next }
}

fn mynetworks(evaluation: &Evaluation<'_>) -> Result<Decision, Query> {
    let facts = evaluation.facts;
    let Some(client) = facts.client else { return Ok(Decision::Permit) };
    let name = Some(facts.name.verified()).filter(|name| *name != "unknown");
    let found = evaluation.policy.networks.matches(name, client, |query| {
        if query.partial && access::is_pattern(query.table) {
            return Ok(false);
        }
        let value = facts.answers.value(query.table, query.key).map_err(Some)?;
        value.as_ref().map(Option::is_some).map_err(|_| None)
    });
    match found {
        Ok(found) => Ok(permit_if(found)),
        Err(ListFailure::Lookup(Some(query))) => Err(query),
        Err(ListFailure::Lookup(None)) => Ok(lookup_failed(&Subject::Client.value(facts))),
        Err(ListFailure::Item(_)) => Ok(server_error()),
    }
}

/// Decides by whether the recipient's domain is one that we serve. A domain that cannot be looked up is not known to be
/// foreign: try again.
fn destination(evaluation: &Evaluation<'_>, restriction: &Restriction) -> Result<Decision, Query> {
    let Some(recipient) = evaluation.facts.recipient else { return Ok(Decision::Next) };
    let Ok((route, _)) = evaluation.facts.answers.address(recipient)? else {
        return Ok(lookup_failed(&recipient.quoted()));
    };
    // `user%foreign@ours` and the like would be sent on by us after all .
    let ours = route.class != Class::Default && (!route.routed || evaluation.policy.allow_routing);
    let text = format!("<{}>: Relay access denied", recipient.quoted());
    let code = evaluation.policy.codes.relay;
    Ok(match restriction {
        Restriction::PermitAuthDestination => permit_if(ours),
        Restriction::DeferUnauthDestination => reject_if(!ours, code.saturating_sub(100), "7.1", &text),
        _ => reject_if(!ours, code, "7.1", &text),
    })
}

/// Refuses an address that the tables of its class do not list.
fn unlisted(evaluation: &Evaluation<'_>, address: &Address, subject: Subject) -> Result<Decision, Query> {
    let (quoted, policy) = (address.quoted(), evaluation.policy);
    let Ok((route, known)) = evaluation.facts.answers.address(address)? else {
        return Ok(lookup_failed(&quoted));
    };
    let text = |what: &str| format!("<{quoted}>: {} rejected: {what}", subject.title());
    Ok(match known {
        _ if route.malformed && subject == Subject::Recipient => {
            reject(501, "1.3", &text("Bad recipient address syntax"))
        }
        Known::Yes => Decision::Next,
        Known::Undeliverable { status, text: reason } => {
            let code = if status.starts_with('4') { 450 } else { 550 };
            reject(code, access::fix_status(status, subject), &text(reason))
        }
        Known::No(reason) => {
            let codes = &policy.codes;
            let code = match route.class {
                Class::VirtualAlias => codes.unknown_virtual_alias,
                Class::VirtualMailbox => codes.unknown_virtual_mailbox,
                Class::Relay => codes.unknown_relay,
                Class::Local | Class::Default => codes.unknown_local,
            };
            let reason = if policy.show_table { reason.as_str() } else { "User unknown" };
            reject(code, if subject == Subject::Sender { "1.0" } else { "1.1" }, &text(reason))
        }
    })
}

fn unknown_client(facts: &Facts<'_>, code: u16) -> Decision {
    let code = match facts.name {
        ClientName::Verified(_) => return Decision::Next,
        ClientName::Unverified(_, Some(Failure::Temporary(_))) | ClientName::None(Failure::Temporary(_)) => 450,
        _ => code,
    };
    let Some(address) = facts.client else { return Decision::Next };
    reject(code, "7.25", &format!("Client host rejected: cannot find your hostname, [{address}]"))
}

fn unknown_reverse_client(facts: &Facts<'_>, code: u16) -> Decision {
    let code = match facts.name {
        ClientName::Verified(_) | ClientName::Unverified(..) => return Decision::Next,
        ClientName::None(Failure::Temporary(_)) => 450,
        _ => code,
    };
    let Some(address) = facts.client else { return Decision::Next };
    reject(code, "7.1", &format!("Client host rejected: cannot find your reverse hostname, [{address}]"))
}

/// A name that ends in one dot is the same name.
fn without_dot(name: &str) -> &str {
    name.strip_suffix('.').filter(|rest| !rest.is_empty() && !rest.ends_with('.')).unwrap_or(name)
}

fn helo(evaluation: &mut Evaluation<'_>, rule: &Rule, name: &str) -> Result<Decision, Query> {
    let codes = &evaluation.policy.codes;
    let text = |what: &str| format!("<{name}>: {} rejected: {what}", Subject::Helo.title());
    if name.starts_with('[') {
        // Every one of these restrictions takes an address for a name.
        let valid = is_mail_host(name, false);
        return Ok(reject_if(!valid, codes.invalid_hostname, "5.2", &text("invalid ip address")));
    }
    let bare = without_dot(name);
    Ok(match rule.restriction {
        Restriction::RejectInvalidHelo => {
            let valid = is_host_name(bare, false) || bare.parse::<std::net::IpAddr>().is_ok();
            reject_if(!valid, codes.invalid_hostname, "5.2", &text("Invalid name"))
        }
        Restriction::RejectNonFqdnHelo => {
            let full = is_host_name(bare, true) && bare.contains('.');
            reject_if(!full, codes.non_fqdn, "5.2", &text("need fully-qualified hostname"))
        }
        _ => {
            let absent = match reachable(evaluation.facts, name)? {
                Ok(()) => return Ok(Decision::Next),
                Err(absent) => absent,
            };
            // A host that takes no mail (null MX) exists as well.
            match (absent, evaluation.facts.answers.exchanges(name)?) {
                (_, Ok(_)) => Decision::Next,
                (Absent::Not, Err(Failure::NotFound | Failure::NoData)) => {
                    reject(codes.unknown_hostname, "7.1", &text("Host not found"))
                }
                _ => {
                    let at_once = evaluation.policy.defer_unknown_helo;
                    evaluation.tempfail(rule, at_once, "7.1", &text("Host not found"))
                }
            }
        }
    })
}

/// Why a name has no address.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Absent {
    /// It has none.
    Not,
    /// That cannot be said now.
    Unknown,
}

/// Whether a name has an address of any family.
fn reachable(facts: &Facts<'_>, name: &str) -> Result<Result<(), Absent>, Query> {
    let mut absent = Absent::Not;
    for family in [Family::V4, Family::V6] {
        match facts.answers.host(name, family)? {
            Ok(_) => return Ok(Ok(())),
            Err(Failure::Temporary(_)) => absent = Absent::Unknown,
            Err(Failure::NotFound | Failure::NoData) => {}
        }
    }
    Ok(Err(absent))
}

fn non_fqdn(evaluation: &Evaluation<'_>, address: Option<&Address>, subject: Subject) -> Decision {
    let Some(address) = address else { return Decision::Next };
    let domain = address.domain().unwrap_or_default();
    let full =
        domain.starts_with('[') || (without_dot(domain).contains('.') && is_host_name(without_dot(domain), true));
    let text = format!("<{}>: {} rejected: need fully-qualified address", address.quoted(), subject.title());
    reject_if(!full, evaluation.policy.codes.non_fqdn, "5.2", &text)
}

/// Refuses an address whose domain is not ours and takes no mail: it has neither mail exchanger nor address, or says so
/// (RFC 7505).
fn unknown_domain(
    evaluation: &mut Evaluation<'_>,
    rule: &Rule,
    address: Option<&Address>,
    subject: Subject,
) -> Result<Decision, Query> {
    let Some(address) = address else { return Ok(Decision::Next) };
    let (facts, quoted) = (evaluation.facts, address.quoted());
    let Ok((route, _)) = facts.answers.address(address)? else { return Ok(lookup_failed(&quoted)) };
    let is_final = matches!(route.class, Class::Local | Class::VirtualAlias | Class::VirtualMailbox);
    let domain = domain_of(route);
    if is_final || domain.is_empty() || domain.starts_with('[') {
        return Ok(Decision::Next);
    }
    let is_sender = subject == Subject::Sender;
    let text = |what: &str| format!("<{quoted}>: {} rejected: {what}", subject.title());
    let mut absent = Absent::Not;
    match facts.answers.exchanges(domain)? {
        Ok([exchange]) if exchange.host.is_empty() => {
            let (code, detail) = if is_sender { (550, "7.27") } else { (556, "1.10") };
            return Ok(reject(code, detail, &text(&format!("Domain {domain} does not accept mail (nullMX)"))));
        }
        Ok(_) => return Ok(Decision::Next),
        Err(Failure::Temporary(_)) => absent = Absent::Unknown,
        Err(Failure::NotFound | Failure::NoData) => {}
    }
    match reachable(facts, domain)? {
        Ok(()) => return Ok(Decision::Next),
        Err(Absent::Unknown) => absent = Absent::Unknown,
        Err(Absent::Not) => {}
    }
    let detail = if is_sender { "1.8" } else { "1.2" };
    let text = text("Domain not found");
    Ok(match absent {
        Absent::Not => reject(evaluation.policy.codes.unknown_address, detail, &text),
        Absent::Unknown => {
            let at_once = evaluation.policy.defer_unknown_address;
            evaluation.tempfail(rule, at_once, detail, &text)
        }
    })
}

/// The domain of the address, completed.
fn domain_of(route: &Route) -> &str {
    route.recipient.rsplit_once('@').map_or("", |(_, domain)| domain)
}

fn foreign_sender(evaluation: &Evaluation<'_>, known: bool) -> Result<Decision, Query> {
    let facts = evaluation.facts;
    let (Some(sender), Some(user)) = (facts.sender.flatten(), facts.user) else { return Ok(Decision::Next) };
    if evaluation.policy.sender_login_maps.is_empty() {
        return Ok(Decision::Next);
    }
    let owns = match owners(evaluation, sender)? {
        Err(failure) => return Ok(failure),
        Ok(None) => known,
        Ok(Some(owners)) => owners.split([',', ' ', '\t', '\r', '\n']).any(|owner| owner.eq_ignore_ascii_case(user)),
    };
    let text = format!("<{}>: Sender address rejected: not owned by user {user}", sender.quoted());
    Ok(reject_if(!owns, 553, "7.1", &text))
}

fn owned_sender(evaluation: &Evaluation<'_>) -> Result<Decision, Query> {
    let facts = evaluation.facts;
    let (Some(sender), None) = (facts.sender.flatten(), facts.user) else { return Ok(Decision::Next) };
    let text = format!("<{}>: Sender address rejected: not logged in", sender.quoted());
    Ok(match owners(evaluation, sender)? {
        Err(failure) => failure,
        Ok(owners) => reject_if(owners.is_some(), 553, "7.1", &text),
    })
}
