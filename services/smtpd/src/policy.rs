//! The restriction lists, evaluated as Postfix does (`smtpd_check.c`), without waiting: what a restriction needs to know
//! stands in [`Facts`]; where a fact is missing the verdict is [`Verdict::Need`], and the caller evaluates again when it has
//! it. A list ends at the first restriction that decides; a permit ends its own list only.

use std::net::IpAddr;

use ipc_config::postfix::match_list::NetworkList;
use ipc_config::postfix::restrictions::Restriction;
use ipc_messages::lookup::{Class, Known, Route};
use proto_smtp::address::{Address, is_host_name};
use proto_smtp::reply::Reply;

/// What is known of a client and its message so far.
#[derive(Debug, Default)]
pub struct Facts<'a> {
    /// The client's address; `None` for a client on a unix socket, which counts as trusted.
    pub client: Option<IpAddr>,
    /// Who has logged in.
    pub user: Option<&'a str>,
    /// The HELO name.
    pub helo: Option<&'a str>,
    /// The sender; `None` before MAIL, `Some(None)` for the null sender.
    pub sender: Option<Option<&'a Address>>,
    /// The recipient as the client wrote it, in internal form.
    pub recipient: Option<&'a Address>,
    /// What trivial-rewrite says of the recipient.
    pub route: Option<&'a Result<(Route, Known), String>>,
    /// Whether commands were sent ahead where that is not allowed.
    pub pipelining: bool,
}

/// Parameters that replies depend on.
#[derive(Debug, Clone)]
pub struct Codes {
    /// `mynetworks`
    pub networks: NetworkList,
    /// `reject_code`
    pub reject: u16,
    /// `relay_domains_reject_code`
    pub relay: u16,
    /// `unknown_local_recipient_reject_code`
    pub unknown_local: u16,
    /// `unknown_virtual_alias_reject_code`
    pub unknown_virtual_alias: u16,
    /// `unknown_virtual_mailbox_reject_code`
    pub unknown_virtual_mailbox: u16,
    /// `unknown_relay_recipient_reject_code`
    pub unknown_relay: u16,
    /// `show_user_unknown_table_name`
    pub show_table: bool,
}

/// What a list decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing against it.
    Pass,
    /// Refused with this reply; `warnings` are refusals that `warn_if_reject` made harmless.
    Refuse(Reply),
    /// What trivial-rewrite says of the recipient is needed.
    Need,
}

/// The outcome of a list, and what is to be logged as `reject_warning`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The decision.
    pub verdict: Verdict,
    /// Replies that `warn_if_reject` held back.
    pub warnings: Vec<Reply>,
}

/// State that spans the lists of one evaluation (Postfix's `defer_if_permit` and `defer_if_reject`).
#[derive(Debug, Default)]
struct Pending {
    defer_if_permit: Option<Reply>,
    defer_if_reject: Option<Reply>,
}

/// Evaluates lists in their order, e.g. client, helo, sender, relay and recipient restrictions at RCPT.
pub fn evaluate<'r>(lists: impl IntoIterator<Item = &'r [Restriction]>, codes: &Codes, facts: &Facts<'_>) -> Outcome {
    let mut pending = Pending::default();
    let mut warnings = Vec::new();
    for list in lists {
        match one_list(list, codes, facts, &mut pending, &mut warnings) {
            Decision::Next | Decision::Permit => {}
            Decision::Refuse(reply) => {
                let verdict =
                    Verdict::Refuse(pending.defer_if_reject.filter(|_| reply.code() / 100 == 5).unwrap_or(reply));
                return Outcome { verdict, warnings };
            }
            Decision::Need => return Outcome { verdict: Verdict::Need, warnings: Vec::new() },
        }
    }
    let verdict = pending.defer_if_permit.map_or(Verdict::Pass, Verdict::Refuse);
    Outcome { verdict, warnings }
}

enum Decision {
    Next,
    Permit,
    Refuse(Reply),
    Need,
}

fn one_list(
    list: &[Restriction],
    codes: &Codes,
    facts: &Facts<'_>,
    pending: &mut Pending,
    warnings: &mut Vec<Reply>,
) -> Decision {
    let mut warn = false;
    for &restriction in list {
        if restriction == Restriction::WarnIfReject {
            warn = true;
            continue;
        }
        match one(restriction, codes, facts, pending) {
            Decision::Next => {}
            Decision::Refuse(reply) if warn => warnings.push(reply),
            decision => return decision,
        }
        warn = false;
    }
    Decision::Next
}

fn one(restriction: Restriction, codes: &Codes, facts: &Facts<'_>, pending: &mut Pending) -> Decision {
    let permit_if = |yes: bool| if yes { Decision::Permit } else { Decision::Next };
    let refuse_if = |yes: bool, code: u16, text: String| {
        if yes { Decision::Refuse(Reply::new(code, &text)) } else { Decision::Next }
    };
    let what = subject(facts);
    match restriction {
        Restriction::Permit => Decision::Permit,
        Restriction::Reject => refuse_if(true, codes.reject, format!("5.7.1 {what}: Access denied")),
        Restriction::Defer => refuse_if(true, 450, format!("4.3.2 {what}: Try again later")),
        Restriction::DeferIfPermit => {
            pending
                .defer_if_permit
                .get_or_insert_with(|| Reply::new(450, &format!("4.3.2 {what}: Service unavailable")));
            Decision::Next
        }
        Restriction::DeferIfReject => {
            pending
                .defer_if_reject
                .get_or_insert_with(|| Reply::new(450, &format!("4.3.2 {what}: Service unavailable")));
            Decision::Next
        }
        Restriction::PermitMynetworks => permit_if(facts.client.is_none_or(|client| codes.networks.contains(client))),
        Restriction::PermitSaslAuthenticated => permit_if(facts.user.is_some()),
        Restriction::PermitAuthDestination => destination(facts, permit_if),
        Restriction::RejectUnauthDestination => {
            destination(facts, |ours| refuse_if(!ours, codes.relay, format!("5.7.1 {what}: Relay access denied")))
        }
        Restriction::DeferUnauthDestination => {
            destination(facts, |ours| refuse_if(!ours, 454, format!("4.7.1 {what}: Relay access denied")))
        }
        Restriction::RejectUnlistedRecipient => unlisted(codes, facts),
        Restriction::RejectUnauthPipelining => {
            refuse_if(facts.pipelining, 503, format!("5.5.0 {what}: Improper use of SMTP command pipelining"))
        }
        Restriction::RejectInvalidHelo => match facts.helo {
            Some(name) if !is_helo(name) => {
                refuse_if(true, 501, format!("5.5.2 <{name}>: Helo command rejected: Invalid name"))
            }
            _ => Decision::Next,
        },
        Restriction::RejectNonFqdnHelo => match facts.helo {
            Some(name) if !is_helo(name) || (!name.starts_with('[') && !name.trim_end_matches('.').contains('.')) => {
                let text = format!("5.5.2 <{name}>: Helo command rejected: need fully-qualified hostname");
                refuse_if(true, 504, text)
            }
            _ => Decision::Next,
        },
        Restriction::RejectNonFqdnSender => match facts.sender {
            Some(Some(sender)) if !is_fqdn(sender) => {
                let text =
                    format!("5.5.2 <{}>: Sender address rejected: need fully-qualified address", sender.quoted());
                refuse_if(true, 504, text)
            }
            _ => Decision::Next,
        },
        Restriction::RejectNonFqdnRecipient => match facts.recipient {
            Some(recipient) if !is_fqdn(recipient) => {
                let text =
                    format!("5.5.2 <{}>: Recipient address rejected: need fully-qualified address", recipient.quoted());
                refuse_if(true, 504, text)
            }
            _ => Decision::Next,
        },
        Restriction::WarnIfReject => Decision::Next,
    }
}

/// Decides by whether the recipient's domain is one that we serve. A domain that cannot be looked up is not known to be
/// foreign: try again.
fn destination(facts: &Facts<'_>, decide: impl FnOnce(bool) -> Decision) -> Decision {
    let Some(recipient) = facts.recipient else { return Decision::Next };
    match facts.route {
        None => Decision::Need,
        Some(Err(_)) => Decision::Refuse(lookup_failed(recipient)),
        // `user%foreign@ours` and the like would be sent on by us after all (`allow_untrusted_routing = no`).
        Some(Ok((route, _))) => decide(route.class != Class::Default && !route.routed),
    }
}

fn unlisted(codes: &Codes, facts: &Facts<'_>) -> Decision {
    let Some(recipient) = facts.recipient else { return Decision::Next };
    match facts.route {
        None => Decision::Need,
        Some(Err(_)) => Decision::Refuse(lookup_failed(recipient)),
        Some(Ok((route, _))) if route.malformed => {
            let text =
                format!("5.1.3 <{}>: Recipient address rejected: Bad recipient address syntax", recipient.quoted());
            Decision::Refuse(Reply::new(501, &text))
        }
        Some(Ok((_, Known::Yes))) => Decision::Next,
        Some(Ok((_, Known::Undeliverable { status, text }))) => {
            let code = if status.starts_with('4') { 450 } else { 550 };
            let text = format!("{status} <{}>: Recipient address rejected: {text}", recipient.quoted());
            Decision::Refuse(Reply::new(code, &text))
        }
        Some(Ok((route, Known::No(text)))) => {
            let code = match route.class {
                Class::VirtualAlias => codes.unknown_virtual_alias,
                Class::VirtualMailbox => codes.unknown_virtual_mailbox,
                Class::Relay => codes.unknown_relay,
                Class::Local | Class::Default => codes.unknown_local,
            };
            let class = code / 100;
            let text = if codes.show_table { text.as_str() } else { "User unknown" };
            let address = recipient.quoted();
            Decision::Refuse(Reply::new(code, &format!("{class}.1.1 <{address}>: Recipient address rejected: {text}")))
        }
    }
}

/// The reply when a table cannot be asked: never "not found".
pub fn lookup_failed(recipient: &Address) -> Reply {
    Reply::new(451, &format!("4.3.0 <{}>: Temporary lookup failure", recipient.quoted()))
}

/// What a reply is about: the newest thing that the client has said.
fn subject(facts: &Facts<'_>) -> String {
    if let Some(recipient) = facts.recipient {
        return format!("<{}>", recipient.quoted());
    }
    match (facts.sender, facts.helo) {
        (Some(sender), _) => format!("<{}>", sender.map(Address::quoted).unwrap_or_default()),
        (None, Some(helo)) => format!("<{helo}>"),
        (None, None) => format!("<{}>", facts.client.map(|client| client.to_string()).unwrap_or_default()),
    }
}

fn is_helo(name: &str) -> bool {
    match name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(literal) => {
            literal.parse::<IpAddr>().is_ok()
                || literal.to_ascii_lowercase().strip_prefix("ipv6:").is_some_and(|v6| v6.parse::<IpAddr>().is_ok())
        }
        None => is_host_name(name, true),
    }
}

fn is_fqdn(address: &Address) -> bool {
    address.domain().is_some_and(|domain| domain.starts_with('[') || domain.contains('.'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use Restriction::*;
    use ipc_config::postfix::match_list::{Item, Pattern};
    use ipc_config::postfix::network::Network;
    use proto_smtp::address::{Syntax, parse};

    fn codes() -> Codes {
        let network =
            |text: &str| Item { negated: false, pattern: Pattern::Network(Network::parse(text).unwrap().unwrap()) };
        Codes {
            networks: NetworkList { parents: false, items: vec![network("127.0.0.0/8")] },
            reject: 554,
            relay: 554,
            unknown_local: 550,
            unknown_virtual_alias: 550,
            unknown_virtual_mailbox: 550,
            unknown_relay: 550,
            show_table: true,
        }
    }

    fn address(text: &str) -> Address {
        parse(text, Syntax::default()).unwrap().unwrap()
    }

    fn route(class: Class, known: Known) -> Result<(Route, Known), String> {
        let (transport, nexthop) = ("t".into(), "n".into());
        Ok((Route { recipient: "r@x".into(), class, transport, nexthop, routed: false, malformed: false }, known))
    }

    fn decide(lists: &[&[Restriction]], facts: &Facts<'_>) -> String {
        match evaluate(lists.iter().copied(), &codes(), facts).verdict {
            Verdict::Pass => "pass".into(),
            Verdict::Need => "need".into(),
            Verdict::Refuse(reply) => reply.one_line(),
        }
    }

    #[test]
    fn the_relay_guard() {
        let recipient = address("<a@b.example>");
        let (foreign, ours) = (route(Class::Default, Known::Yes), route(Class::VirtualMailbox, Known::Yes));
        let facts = |client: &str, user, route| Facts {
            client: Some(client.parse().unwrap()),
            user,
            recipient: Some(&recipient),
            route,
            ..Facts::default()
        };
        let guard: &[Restriction] = &[PermitMynetworks, PermitSaslAuthenticated, RejectUnauthDestination];
        assert_eq!(decide(&[guard], &facts("127.0.0.1", None, None)), "pass");
        assert_eq!(decide(&[guard], &facts("192.0.2.1", Some("u"), None)), "pass");
        assert_eq!(decide(&[guard], &facts("192.0.2.1", None, None)), "need");
        assert_eq!(decide(&[guard], &facts("192.0.2.1", None, Some(&ours))), "pass");
        let refused = decide(&[guard], &facts("192.0.2.1", None, Some(&foreign)));
        assert_eq!(refused, "554 5.7.1 <a@b.example>: Relay access denied");
        let deferred = decide(&[&[DeferUnauthDestination]], &facts("192.0.2.1", None, Some(&foreign)));
        assert_eq!(deferred, "454 4.7.1 <a@b.example>: Relay access denied");
        let failed = Err("table".to_string());
        let failed = decide(&[guard], &facts("192.0.2.1", None, Some(&failed)));
        assert_eq!(failed, "451 4.3.0 <a@b.example>: Temporary lookup failure");
    }

    #[test]
    fn a_route_in_the_local_part_is_not_ours() {
        let recipient = address("<user%foreign.example@ours.example>");
        let mut ours = route(Class::Local, Known::Yes);
        ours.as_mut().unwrap().0.routed = true;
        let facts = Facts {
            client: Some("192.0.2.1".parse().unwrap()),
            recipient: Some(&recipient),
            route: Some(&ours),
            ..Facts::default()
        };
        assert!(decide(&[&[RejectUnauthDestination]], &facts).contains("Relay access denied"));
    }

    #[test]
    fn a_permit_ends_its_own_list_only() {
        let facts = Facts { client: Some("127.0.0.1".parse().unwrap()), ..Facts::default() };
        assert_eq!(decide(&[&[Permit, Reject], &[]], &facts), "pass");
        assert_eq!(decide(&[&[PermitMynetworks], &[Reject]], &facts), "554 5.7.1 <127.0.0.1>: Access denied");
    }

    #[test]
    fn unlisted_recipients() {
        let recipient = address("<nobody@ours.example>");
        let unknown = route(Class::VirtualMailbox, Known::No("User unknown in virtual mailbox table".into()));
        let facts = Facts { recipient: Some(&recipient), route: Some(&unknown), ..Facts::default() };
        assert_eq!(
            decide(&[&[RejectUnlistedRecipient]], &facts),
            "550 5.1.1 <nobody@ours.example>: Recipient address rejected: User unknown in virtual mailbox table"
        );
    }

    #[test]
    fn refusals_that_only_warn_and_those_that_wait() {
        let facts = Facts { helo: Some("bad_name!"), client: Some("192.0.2.1".parse().unwrap()), ..Facts::default() };
        let outcome = evaluate([&[WarnIfReject, RejectInvalidHelo, Permit][..]], &codes(), &facts);
        assert_eq!((outcome.verdict, outcome.warnings.len()), (Verdict::Pass, 1));
        assert!(decide(&[&[RejectInvalidHelo]], &facts).starts_with("501 5.5.2"));
        assert!(decide(&[&[DeferIfReject, Reject]], &facts).starts_with("450 4.3.2"));
        assert!(decide(&[&[DeferIfPermit], &[Permit]], &facts).starts_with("450 4.3.2"));
    }

    #[test]
    fn names_that_are_not_full() {
        let (sender, recipient) = (address("<user@host>"), address("root"));
        let facts =
            Facts { helo: Some("host"), sender: Some(Some(&sender)), recipient: Some(&recipient), ..Facts::default() };
        for (restriction, code) in
            [(RejectNonFqdnHelo, "504"), (RejectNonFqdnSender, "504"), (RejectNonFqdnRecipient, "504")]
        {
            assert!(decide(&[&[restriction]], &facts).starts_with(code), "{restriction:?}");
        }
        let null = Facts { sender: Some(None), ..Facts::default() };
        assert_eq!(decide(&[&[RejectNonFqdnSender]], &null), "pass");
    }
}
