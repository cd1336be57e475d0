//! Restriction lists: the names that smtpd knows, and those that are built.
//!
//! ```text
//! list        = *( [ "warn_if_reject" ] restriction [ separator ] )
//! restriction = name / name argument / type ":" table / class    ; postconf(5), SMTPD_ACCESS_README
//! ```
//!
//! A restriction that is not built is never skipped: [`parse`] reports it, which stops the start.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::settings::Settings;
use super::value::words;

/// One step of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// What is evaluated.
    pub restriction: Restriction,
    /// `warn_if_reject` stands before it: a refusal is logged and not carried out.
    pub warn: bool,
}

/// What an access table is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Party {
    /// The client's verified name and its address.
    Client,
    /// The client's name, verified or not, and its address.
    ReverseClient,
    /// The HELO name.
    Helo,
    /// The envelope sender.
    Sender,
    /// The recipient.
    Recipient,
    /// The domain of ETRN.
    Etrn,
    /// The user that has logged in.
    Login,
}

/// A list in DNS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListZone {
    /// Its domain.
    pub name: String,
    /// Names are looked up, not the client's address.
    pub by_name: bool,
    /// The addresses that count, as ranges for each of their bytes; all do where there are none.
    pub answers: Option<[Vec<(u8, u8)>; 4]>,
}

impl ListZone {
    /// Reads `domain` or `domain=d.d.d.d`, where each `d` is a number or a list as `[2;4..8]`.
    fn parse(text: &str, by_name: bool) -> Option<ListZone> {
        let (name, answers) = match text.split_once('=') {
            Some((name, answers)) => (name, Some(byte_ranges(answers)?)),
            None => (text, None),
        };
        Some(ListZone { name: name.to_owned(), by_name, answers })
    }

    /// Whether an address that the list gives counts.
    pub fn counts(&self, address: IpAddr) -> bool {
        let (IpAddr::V4(address), Some(answers)) = (address, &self.answers) else { return self.answers.is_none() };
        let within =
            |(byte, ranges): (u8, &Vec<(u8, u8)>)| ranges.iter().any(|(from, to)| (*from..=*to).contains(&byte));
        address.octets().into_iter().zip(answers).all(within)
    }
}

/// ```text
/// answers = byte 3*3( "." byte )
/// byte    = number / "[" range *( ";" range ) "]"
/// range   = number [ ".." number ]    ; postconf(5), reject_rbl_client
/// ```
fn byte_ranges(text: &str) -> Option<[Vec<(u8, u8)>; 4]> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = match rest.strip_prefix('[') {
            Some(list) => list.find(']')? + 2,
            None => rest.find('.').unwrap_or(rest.len()),
        };
        let range = |range: &str| match range.split_once("..") {
            Some((from, to)) => Some((from.parse().ok()?, to.parse().ok()?)),
            None => range.parse().ok().map(|byte| (byte, byte)),
        };
        bytes.push(rest[..end].trim_matches(['[', ']']).split(';').map(range).collect::<Option<Vec<_>>>()?);
        rest = &rest[end..];
        rest = if rest.is_empty() { rest } else { rest.strip_prefix('.').filter(|rest| !rest.is_empty())? };
    }
    bytes.try_into().ok()
}

/// One restriction that smtpd evaluates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Restriction {
    /// Ends this list: permitted.
    Permit,
    /// Refuses with `reject_code`.
    Reject,
    /// Refuses for now.
    Defer,
    /// Refuses for now what would be permitted.
    DeferIfPermit,
    /// Makes a later refusal temporary.
    DeferIfReject,
    /// Permits clients in `mynetworks`.
    PermitMynetworks,
    /// Permits clients on this machine.
    PermitInetInterfaces,
    /// Permits clients that have logged in.
    PermitSaslAuthenticated,
    /// Permits recipients of domains that we serve.
    PermitAuthDestination,
    /// Refuses recipients of domains that we do not serve.
    RejectUnauthDestination,
    /// The same, for now.
    DeferUnauthDestination,
    /// Refuses recipients that the tables of their domain do not list.
    RejectUnlistedRecipient,
    /// Refuses senders that the tables of their domain do not list.
    RejectUnlistedSender,
    /// Refuses commands sent ahead where that is not allowed.
    RejectUnauthPipelining,
    /// Refuses clients without TLS.
    RejectPlaintextSession,
    /// Refuses a null sender with several recipients.
    RejectMultiRecipientBounce,
    /// Refuses clients whose address has no name that leads back to it.
    RejectUnknownClient,
    /// Refuses clients whose address has no name.
    RejectUnknownReverseClient,
    /// Refuses a HELO name that is no host name.
    RejectInvalidHelo,
    /// Refuses a HELO name without a domain.
    RejectNonFqdnHelo,
    /// Refuses a HELO name that has neither address nor mail exchanger.
    RejectUnknownHelo,
    /// Refuses a sender without a full domain.
    RejectNonFqdnSender,
    /// Refuses a sender whose domain takes no mail.
    RejectUnknownSenderDomain,
    /// Refuses a recipient without a full domain.
    RejectNonFqdnRecipient,
    /// Refuses a recipient whose domain takes no mail.
    RejectUnknownRecipientDomain,
    /// Refuses a sender that the user who has logged in does not own; one without an owner as well, unless `known`.
    RejectForeignSender {
        /// Only senders that have an owner.
        known: bool,
    },
    /// Refuses a sender that has an owner to clients that have not logged in.
    RejectOwnedSender,
    /// Refuses what a block list in DNS has.
    RejectListed(Party, ListZone),
    /// Does what an access table (`type:name`) says.
    CheckAccess(Party, String),
}

use Restriction::{
    CheckAccess, Defer, DeferIfPermit, DeferIfReject, DeferUnauthDestination, Permit, PermitAuthDestination,
    PermitInetInterfaces, PermitMynetworks, PermitSaslAuthenticated, Reject, RejectForeignSender, RejectInvalidHelo,
    RejectListed, RejectMultiRecipientBounce, RejectNonFqdnHelo, RejectNonFqdnRecipient, RejectNonFqdnSender,
    RejectOwnedSender, RejectPlaintextSession, RejectUnauthDestination, RejectUnauthPipelining, RejectUnknownClient,
    RejectUnknownHelo, RejectUnknownRecipientDomain, RejectUnknownReverseClient, RejectUnknownSenderDomain,
    RejectUnlistedRecipient, RejectUnlistedSender,
};

/// Names of what is built and takes no argument; old spellings beside the new ones.
const BUILT: &[(&str, &[Restriction])] = &[
    ("permit", &[Permit]),
    ("reject", &[Reject]),
    ("defer", &[Defer]),
    ("defer_if_permit", &[DeferIfPermit]),
    ("defer_if_reject", &[DeferIfReject]),
    ("permit_mynetworks", &[PermitMynetworks]),
    ("permit_inet_interfaces", &[PermitInetInterfaces]),
    ("permit_sasl_authenticated", &[PermitSaslAuthenticated]),
    ("permit_auth_destination", &[PermitAuthDestination]),
    ("reject_unauth_destination", &[RejectUnauthDestination]),
    ("defer_unauth_destination", &[DeferUnauthDestination]),
    ("reject_unlisted_recipient", &[RejectUnlistedRecipient]),
    ("check_recipient_maps", &[RejectUnlistedRecipient]),
    ("reject_unlisted_sender", &[RejectUnlistedSender]),
    ("reject_unauth_pipelining", &[RejectUnauthPipelining]),
    ("reject_plaintext_session", &[RejectPlaintextSession]),
    ("reject_multi_recipient_bounce", &[RejectMultiRecipientBounce]),
    ("reject_unknown_client_hostname", &[RejectUnknownClient]),
    ("reject_unknown_client", &[RejectUnknownClient]),
    ("reject_unknown_reverse_client_hostname", &[RejectUnknownReverseClient]),
    ("reject_invalid_helo_hostname", &[RejectInvalidHelo]),
    ("reject_invalid_hostname", &[RejectInvalidHelo]),
    ("reject_non_fqdn_helo_hostname", &[RejectNonFqdnHelo]),
    ("reject_non_fqdn_hostname", &[RejectNonFqdnHelo]),
    ("reject_unknown_helo_hostname", &[RejectUnknownHelo]),
    ("reject_unknown_hostname", &[RejectUnknownHelo]),
    ("reject_non_fqdn_sender", &[RejectNonFqdnSender]),
    ("reject_unknown_sender_domain", &[RejectUnknownSenderDomain]),
    ("reject_unknown_address", &[RejectUnknownSenderDomain]),
    ("reject_non_fqdn_recipient", &[RejectNonFqdnRecipient]),
    ("reject_unknown_recipient_domain", &[RejectUnknownRecipientDomain]),
    ("reject_sender_login_mismatch", &[RejectForeignSender { known: false }, RejectOwnedSender]),
    ("reject_authenticated_sender_login_mismatch", &[RejectForeignSender { known: false }]),
    ("reject_known_sender_login_mismatch", &[RejectForeignSender { known: true }, RejectOwnedSender]),
    ("reject_unauthenticated_sender_login_mismatch", &[RejectOwnedSender]),
];

/// Restrictions whose argument is an access table.
const ACCESS: &[(&str, Party)] = &[
    ("check_client_access", Party::Client),
    ("check_reverse_client_hostname_access", Party::ReverseClient),
    ("check_helo_access", Party::Helo),
    ("check_sender_access", Party::Sender),
    ("check_recipient_access", Party::Recipient),
    ("check_etrn_access", Party::Etrn),
    ("check_sasl_access", Party::Login),
];

/// Restrictions whose argument is a list in DNS, and whether names are looked up in it.
const LISTED: &[(&str, Party, bool)] = &[
    ("reject_rbl_client", Party::Client, false),
    ("reject_rbl", Party::Client, false),
    ("reject_rhsbl_client", Party::Client, true),
    ("reject_rhsbl_reverse_client", Party::ReverseClient, true),
    ("reject_rhsbl_helo", Party::Helo, true),
    ("reject_rhsbl_sender", Party::Sender, true),
    ("reject_rhsbl_recipient", Party::Recipient, true),
];

/// What a table without a restriction before it is asked for.
const BARE: &[(&str, Party)] = &[
    ("smtpd_client_restrictions", Party::Client),
    ("smtpd_helo_restrictions", Party::Helo),
    ("smtpd_sender_restrictions", Party::Sender),
    ("smtpd_relay_restrictions", Party::Recipient),
    ("smtpd_recipient_restrictions", Party::Recipient),
    ("smtpd_etrn_restrictions", Party::Etrn),
];

/// Other names that Postfix 3.7 has, for a message that does not call them a spelling mistake.
const KNOWN: &[&str] = &[
    "check_ccert_access",
    "check_client_a_access",
    "check_client_mx_access",
    "check_client_ns_access",
    "check_helo_a_access",
    "check_helo_mx_access",
    "check_helo_ns_access",
    "check_policy_service",
    "check_recipient_a_access",
    "check_recipient_mx_access",
    "check_recipient_ns_access",
    "check_relay_domains",
    "check_reverse_client_hostname_a_access",
    "check_reverse_client_hostname_mx_access",
    "check_reverse_client_hostname_ns_access",
    "check_sender_a_access",
    "check_sender_mx_access",
    "check_sender_ns_access",
    "permit_dnswl_client",
    "permit_mx_backup",
    "permit_naked_ip_address",
    "permit_rhswl_client",
    "permit_tls_all_clientcerts",
    "permit_tls_clientcerts",
    "reject_maps_rbl",
    "reject_unknown_forward_client_hostname",
    "reject_unverified_recipient",
    "reject_unverified_sender",
    "sleep",
];

/// Whether a restriction of [`KNOWN`] is followed by a table, a server or a domain.
fn takes_argument(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let is_check = name.starts_with("check_") && name != "check_relay_domains";
    is_check || ["_dnswl_", "_rhswl_", "sleep"].iter().any(|part| name.contains(part))
}

/// What a name without an argument stands for, in any case.
fn find(name: &str) -> Option<&'static [Restriction]> {
    BUILT.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, found)| *found)
}

fn access(name: &str) -> Option<Party> {
    ACCESS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, party)| *party)
}

fn listed(name: &str) -> Option<&'static (&'static str, Party, bool)> {
    LISTED.iter().find(|(known, ..)| known.eq_ignore_ascii_case(name))
}

/// How deep restriction classes may name each other.
const DEPTH: usize = 16;

/// The restrictions of the list parameter `name`, classes replaced by what they hold. What cannot be evaluated is
/// reported as an error.
pub fn parse(settings: &mut Settings<'_>, name: &str) -> Vec<Rule> {
    let classes = settings.list("smtpd_restriction_classes");
    let mut reader = Reader { settings, parameter: name, classes: &classes, list: Vec::new() };
    reader.read(name, false, 0);
    reader.list
}

/// The lists of `smtpd_restriction_classes`, by name, for access tables that name one.
pub fn classes(settings: &mut Settings<'_>) -> BTreeMap<String, Vec<Rule>> {
    let names = settings.list("smtpd_restriction_classes");
    names.into_iter().map(|name| (name.clone(), parse(settings, &name))).collect()
}

struct Reader<'r, 's> {
    settings: &'r mut Settings<'s>,
    parameter: &'r str,
    classes: &'r [String],
    list: Vec<Rule>,
}

impl Reader<'_, '_> {
    fn read(&mut self, name: &str, warn_all: bool, depth: usize) {
        if depth > DEPTH {
            return self.error("restriction classes name each other", "remove the circle");
        }
        let words = self.settings.list(name);
        let mut words = words.iter();
        let mut warn = warn_all;
        while let Some(word) = words.next() {
            if word.eq_ignore_ascii_case("warn_if_reject") {
                warn = true;
                continue;
            }
            if word.contains(':') {
                match BARE.iter().find(|(list, _)| *list == self.parameter) {
                    Some((_, party)) => self.push(CheckAccess(*party, word.clone()), warn),
                    None => self.error(
                        format!("the table {word} stands without a restriction"),
                        "write check_client_access, check_sender_access or the like before it",
                    ),
                }
            } else if let Some(party) = access(word) {
                match words.next() {
                    Some(table) if table.contains(':') => self.push(CheckAccess(party, table.clone()), warn),
                    _ => self.error(format!("the restriction {word} must be followed by a table"), "write type:name"),
                }
            } else if let Some((_, party, by_name)) = listed(word) {
                match words.next().and_then(|zone| ListZone::parse(zone, *by_name)) {
                    Some(zone) => self.push(RejectListed(*party, zone), warn),
                    None => self.error(
                        format!("the restriction {word} must be followed by a domain, or by domain=d.d.d.d"),
                        "write the domain of the list",
                    ),
                }
            } else if let Some(found) = find(word) {
                found.iter().for_each(|restriction| self.push(restriction.clone(), warn));
            } else if self.classes.contains(word) {
                self.read(word, warn, depth + 1);
            } else {
                self.unknown(word);
                if takes_argument(word) {
                    words.next();
                }
            }
            warn = warn_all;
        }
    }

    fn push(&mut self, restriction: Restriction, warn: bool) {
        self.list.push(Rule { restriction, warn });
    }

    /// Reports a word that cannot be evaluated.
    fn unknown(&mut self, word: &str) {
        if KNOWN.iter().any(|known| known.eq_ignore_ascii_case(word)) {
            let mend = "remove it; mail that it would have refused will be accepted";
            self.error(format!("the restriction {word} is not built yet"), mend);
        } else {
            self.error(format!("unknown smtpd restriction: \"{word}\""), "correct the name");
        }
    }

    fn error(&mut self, problem: impl Into<String>, mend: &str) {
        self.settings.error(self.parameter, problem, mend);
    }
}

/// The restrictions that an access table names as its result. Tables have no place there, as in Postfix.
///
/// # Errors
/// The first word that is neither a restriction without an argument nor one of `classes`.
pub fn from_table(value: &str, classes: &BTreeMap<String, Vec<Rule>>) -> Result<Vec<Rule>, String> {
    let mut list = Vec::new();
    let mut warn = false;
    for word in words(value) {
        if word.eq_ignore_ascii_case("warn_if_reject") {
            warn = true;
            continue;
        }
        let rules = match (find(&word), classes.get(&word)) {
            (Some(found), _) => {
                found.iter().map(|restriction| Rule { restriction: restriction.clone(), warn: false }).collect()
            }
            (None, Some(class)) => class.clone(),
            (None, None) => return Err(word),
        };
        list.extend(rules.into_iter().map(|rule| Rule { warn: rule.warn || warn, ..rule }));
        warn = false;
    }
    Ok(list)
}

/// Reports an error when nothing keeps strangers from relaying, as smtpd does before it serves anybody.
pub fn check_guard(settings: &mut Settings<'_>) {
    let guards = [RejectUnauthDestination, DeferUnauthDestination, Reject, Defer, DeferIfPermit];
    let guarded = ["smtpd_relay_restrictions", "smtpd_recipient_restrictions"]
        .iter()
        .any(|name| settings.list(name).iter().any(|word| find(word).is_some_and(|found| guards.contains(&found[0]))));
    if !guarded {
        settings.error(
            "smtpd_relay_restrictions",
            "in parameter smtpd_relay_restrictions or smtpd_recipient_restrictions, specify at least one working instance \
             of: reject_unauth_destination, defer_unauth_destination, reject, defer, defer_if_permit or check_relay_domains",
            "add reject_unauth_destination",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::Diagnostics;
    use crate::postfix::main_cf::MainCf;
    use crate::postfix::system::fake::FakeHost;
    use std::sync::Arc;

    fn parsed(text: &str, name: &str) -> (Vec<Rule>, Vec<String>) {
        let mut found = Diagnostics::new();
        let main = MainCf::parse(text, "main.cf", Arc::new(FakeHost::default()), &mut found);
        let rules = parse(&mut main.settings(&mut found), name);
        (rules, found.iter().map(ToString::to_string).collect())
    }

    fn rule(restriction: Restriction) -> Rule {
        Rule { restriction, warn: false }
    }

    #[test]
    fn names_are_found_in_any_case_and_old_spelling() {
        assert_eq!(find("Permit_Mynetworks"), Some(&[PermitMynetworks][..]));
        assert_eq!(find("reject_invalid_hostname"), find("reject_invalid_helo_hostname"));
        assert_eq!(find("reject_unverified_recipient"), None);
    }

    #[test]
    fn no_name_is_both_built_and_not() {
        assert!(KNOWN.iter().all(|name| find(name).is_none() && access(name).is_none() && listed(name).is_none()));
        assert!(KNOWN.is_sorted());
    }

    #[test]
    fn tables_are_arguments_or_stand_alone() {
        let text = "smtpd_sender_restrictions = check_client_access cidr:/x, hash:/y inline:{ a=b, c=d } permit\n";
        let (rules, problems) = parsed(text, "smtpd_sender_restrictions");
        let access = |party, table: &str| rule(CheckAccess(party, table.into()));
        let sender = Party::Sender;
        let expected =
            [access(Party::Client, "cidr:/x"), access(sender, "hash:/y"), access(sender, "inline:{ a=b, c=d }")];
        assert_eq!((&rules[..3], rules.len(), problems.len()), (&expected[..], 4, 0), "{problems:?}");
        for (value, problem) in [
            ("check_client_access permit", "must be followed by a table"),
            ("reject_rbl_client bl.example=127.0.0", "must be followed by a domain"),
            ("reject_rbl_client bl.example=127.0.0.[1;x]", "must be followed by a domain"),
            ("permit_dnswl_client wl.example", "permit_dnswl_client is not built yet"),
            ("check_policy_service inet:127.0.0.1:1", "check_policy_service is not built yet"),
            ("permti", "unknown smtpd restriction"),
        ] {
            let (_, problems) = parsed(&format!("smtpd_sender_restrictions = {value}\n"), "smtpd_sender_restrictions");
            assert!(problems.len() == 1 && problems[0].contains(problem), "{value}: {problems:?}");
        }
        let (_, problems) = parsed("smtpd_data_restrictions = hash:/y\n", "smtpd_data_restrictions");
        assert!(problems[0].contains("without a restriction"));
    }

    #[test]
    fn classes_are_replaced_by_what_they_hold() {
        let text = "smtpd_restriction_classes = strict, loop\nstrict = reject_non_fqdn_sender, reject\nloop = loop\n\
            smtpd_sender_restrictions = warn_if_reject strict, permit\nsmtpd_helo_restrictions = loop\n";
        let (rules, _) = parsed(text, "smtpd_sender_restrictions");
        let warned = |restriction| Rule { restriction, warn: true };
        assert_eq!(rules, [warned(RejectNonFqdnSender), warned(Reject), rule(Permit)]);
        assert!(parsed(text, "smtpd_helo_restrictions").1[0].contains("name each other"));
    }

    #[test]
    fn a_table_names_restrictions_and_classes() {
        let classes = BTreeMap::from([("strict".to_owned(), vec![rule(Reject)])]);
        assert_eq!(from_table("permit_mynetworks, strict", &classes), Ok(vec![rule(PermitMynetworks), rule(Reject)]));
        assert_eq!(from_table("warn_if_reject strict", &classes), Ok(vec![Rule { restriction: Reject, warn: true }]));
        assert_eq!(from_table("check_sender_access hash:/x", &classes), Err("check_sender_access".into()));
    }
}
