//! Restriction lists: the names that smtpd knows, and those that are built.
//!
//! ```text
//! list        = *( restriction [ separator ] )
//! restriction = name / name argument / class    ; postconf(5), SMTPD_ACCESS_README
//! ```
//!
//! A restriction that is not built is never skipped: [`parse`] reports it, which stops the start.

use serde::{Deserialize, Serialize};

use super::settings::Settings;

/// One restriction that smtpd evaluates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Refuses commands sent ahead where that is not allowed.
    RejectUnauthPipelining,
    /// Refuses a HELO name that is no host name.
    RejectInvalidHelo,
    /// Refuses a HELO name without a domain.
    RejectNonFqdnHelo,
    /// Refuses a sender without a full domain.
    RejectNonFqdnSender,
    /// Refuses a recipient without a full domain.
    RejectNonFqdnRecipient,
    /// The next restriction logs instead of refusing.
    WarnIfReject,
}

use Restriction::{
    Defer, DeferIfPermit, DeferIfReject, DeferUnauthDestination, Permit, PermitAuthDestination, PermitMynetworks,
    PermitSaslAuthenticated, Reject, RejectInvalidHelo, RejectNonFqdnHelo, RejectNonFqdnRecipient, RejectNonFqdnSender,
    RejectUnauthDestination, RejectUnauthPipelining, RejectUnlistedRecipient, WarnIfReject,
};

/// Names of what is built; old spellings beside the new ones.
const BUILT: &[(&str, Restriction)] = &[
    ("permit", Permit),
    ("reject", Reject),
    ("defer", Defer),
    ("defer_if_permit", DeferIfPermit),
    ("defer_if_reject", DeferIfReject),
    ("permit_mynetworks", PermitMynetworks),
    ("permit_sasl_authenticated", PermitSaslAuthenticated),
    ("permit_auth_destination", PermitAuthDestination),
    ("reject_unauth_destination", RejectUnauthDestination),
    ("defer_unauth_destination", DeferUnauthDestination),
    ("reject_unlisted_recipient", RejectUnlistedRecipient),
    ("check_recipient_maps", RejectUnlistedRecipient),
    ("reject_unauth_pipelining", RejectUnauthPipelining),
    ("reject_invalid_helo_hostname", RejectInvalidHelo),
    ("reject_invalid_hostname", RejectInvalidHelo),
    ("reject_non_fqdn_helo_hostname", RejectNonFqdnHelo),
    ("reject_non_fqdn_hostname", RejectNonFqdnHelo),
    ("reject_non_fqdn_sender", RejectNonFqdnSender),
    ("reject_non_fqdn_recipient", RejectNonFqdnRecipient),
    ("warn_if_reject", WarnIfReject),
];

/// Other names that Postfix 3.7 has, for a message that does not call them a spelling mistake.
const KNOWN: &[&str] = &[
    "check_ccert_access",
    "check_client_a_access",
    "check_client_access",
    "check_client_mx_access",
    "check_client_ns_access",
    "check_etrn_access",
    "check_helo_a_access",
    "check_helo_access",
    "check_helo_mx_access",
    "check_helo_ns_access",
    "check_policy_service",
    "check_recipient_a_access",
    "check_recipient_access",
    "check_recipient_mx_access",
    "check_recipient_ns_access",
    "check_relay_domains",
    "check_reverse_client_hostname_a_access",
    "check_reverse_client_hostname_access",
    "check_reverse_client_hostname_mx_access",
    "check_reverse_client_hostname_ns_access",
    "check_sasl_access",
    "check_sender_a_access",
    "check_sender_access",
    "check_sender_mx_access",
    "check_sender_ns_access",
    "permit_dnswl_client",
    "permit_inet_interfaces",
    "permit_mx_backup",
    "permit_naked_ip_address",
    "permit_rhswl_client",
    "permit_tls_all_clientcerts",
    "permit_tls_clientcerts",
    "reject_authenticated_sender_login_mismatch",
    "reject_known_sender_login_mismatch",
    "reject_maps_rbl",
    "reject_multi_recipient_bounce",
    "reject_plaintext_session",
    "reject_rbl_client",
    "reject_rhsbl_client",
    "reject_rhsbl_helo",
    "reject_rhsbl_recipient",
    "reject_rhsbl_reverse_client",
    "reject_rhsbl_sender",
    "reject_sender_login_mismatch",
    "reject_unauthenticated_sender_login_mismatch",
    "reject_unknown_address",
    "reject_unknown_client",
    "reject_unknown_client_hostname",
    "reject_unknown_forward_client_hostname",
    "reject_unknown_helo_hostname",
    "reject_unknown_hostname",
    "reject_unknown_recipient_domain",
    "reject_unknown_reverse_client_hostname",
    "reject_unknown_sender_domain",
    "reject_unlisted_sender",
    "reject_unverified_recipient",
    "reject_unverified_sender",
    "sleep",
];

/// The restriction of a name, in any case.
pub fn find(name: &str) -> Option<Restriction> {
    BUILT.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, restriction)| *restriction)
}

/// How deep restriction classes may name each other.
const DEPTH: usize = 16;

/// The restrictions of the list parameter `name`, classes replaced by what they hold. What cannot be evaluated is
/// reported as an error.
pub fn parse(settings: &mut Settings<'_>, name: &str) -> Vec<Restriction> {
    let classes = settings.list("smtpd_restriction_classes");
    let mut list = Vec::new();
    collect(settings, name, name, &classes, 0, &mut list);
    list
}

fn collect(
    settings: &mut Settings<'_>,
    parameter: &str,
    name: &str,
    classes: &[String],
    depth: usize,
    list: &mut Vec<Restriction>,
) {
    if depth > DEPTH {
        return settings.error(parameter, "restriction classes name each other", "remove the circle");
    }
    for word in settings.list(name) {
        if let Some(restriction) = find(&word) {
            list.push(restriction);
        } else if classes.contains(&word) {
            collect(settings, parameter, &word, classes, depth + 1, list);
        } else if KNOWN.iter().any(|known| known.eq_ignore_ascii_case(&word)) {
            let mend = "remove it; mail that it would have refused will be accepted";
            settings.error(parameter, format!("the restriction {word} is not built yet"), mend);
        } else {
            settings.error(parameter, format!("unknown smtpd restriction: \"{word}\""), "correct the name");
        }
    }
}

/// Reports an error when nothing keeps strangers from relaying, as smtpd does before it serves anybody.
pub fn check_guard(settings: &mut Settings<'_>) {
    let guards = [RejectUnauthDestination, DeferUnauthDestination, Reject, Defer, DeferIfPermit];
    let guarded = ["smtpd_relay_restrictions", "smtpd_recipient_restrictions"]
        .iter()
        .any(|name| settings.list(name).iter().any(|word| find(word).is_some_and(|found| guards.contains(&found))));
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

    #[test]
    fn names_are_found_in_any_case_and_old_spelling() {
        assert_eq!(find("Permit_Mynetworks"), Some(PermitMynetworks));
        assert_eq!(find("reject_invalid_hostname"), find("reject_invalid_helo_hostname"));
        assert_eq!(find("reject_rbl_client"), None);
    }

    #[test]
    fn no_name_is_both_built_and_not() {
        assert!(KNOWN.iter().all(|name| find(name).is_none()));
        assert!(KNOWN.is_sorted());
    }
}
