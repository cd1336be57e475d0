//! Restriction lists, reply codes, and what they depend on.

use ipc_messages::dns::{Exchange, Failure, Family};
use ipc_messages::lookup::{Class, Known};

use crate::policy::{Found, Query};
use crate::testing::{Talk, route};

const OK: &str = "250 2.1.5 Ok";

fn rcpt(main_cf: &str) -> String {
    Talk::new(&format!("{main_cf}\n")).rcpt("rcpt@example.org")
}

#[test]
fn every_list_is_evaluated() {
    for list in ["client", "helo", "sender", "relay", "recipient"] {
        let reply = rcpt(&format!("smtpd_{list}_restrictions = defer"));
        assert!(reply.starts_with("450 4.3.2"), "{list}: {reply}");
    }
    assert_eq!(rcpt(""), OK);
    let mut talk = Talk::new("smtpd_data_restrictions = defer\n");
    talk.rcpt("rcpt@example.org");
    assert!(talk.say("DATA").starts_with("450 4.3.2"));
    assert!(Talk::new("smtpd_etrn_restrictions = defer\n").say("ETRN a.example").starts_with("450 4.3.2"));
    assert_eq!(Talk::new("").say("ETRN a.example"), "250 Queuing started");
}

#[test]
fn relay_restrictions_come_first() {
    let lists = "smtpd_relay_restrictions = reject\nsmtpd_recipient_restrictions = defer\n";
    assert!(rcpt(lists).starts_with("554"));
    assert!(rcpt(&format!("{lists}smtpd_relay_before_recipient_restrictions = no")).starts_with("450"));
}

#[test]
fn classes_of_restrictions() {
    let class = "smtpd_restriction_classes = mine\nmine = defer\n";
    assert!(rcpt(&format!("{class}smtpd_recipient_restrictions = mine")).starts_with("450 4.3.2"));
    let mut talk = Talk::new(&format!("{class}smtpd_recipient_restrictions = hash:/t\n"));
    let query = Query::Value { table: "hash:/t".into(), key: "example.org".into() };
    talk.answers.insert(query, Found::Value(Ok(Some("mine".into()))));
    assert!(talk.rcpt("rcpt@example.org").starts_with("450 4.3.2"), "a table names the class");
}

#[test]
fn unlisted_addresses_are_refused_or_not() {
    let unknown = |main_cf: &str, address: &str| {
        let mut talk = Talk::new(&format!("{main_cf}\n"));
        let known = Known::No("User unknown in virtual mailbox table".into());
        talk.answers.insert(Query::Address(address.into()), Found::Address(Ok((route(address), known))));
        talk.rcpt("rcpt@example.org")
    };
    assert!(unknown("", "rcpt@example.org").starts_with("550 5.1.1"));
    assert_eq!(unknown("smtpd_reject_unlisted_recipient = no", "rcpt@example.org"), OK);
    assert_eq!(unknown("", "sender@example.net"), OK);
    assert!(unknown("smtpd_reject_unlisted_sender = yes", "sender@example.net").starts_with("550 5.1.0"));
    let early = "smtpd_delay_reject = no\nsmtpd_reject_unlisted_sender = yes";
    assert!(unknown(early, "sender@example.net").starts_with("503 5.5.1"), "MAIL was refused");
    let shown = unknown("show_user_unknown_table_name = no", "rcpt@example.org");
    assert_eq!(shown, "550 5.1.1 <rcpt@example.org>: Recipient address rejected: User unknown");
}

#[test]
fn routes_in_the_local_part() {
    let routed = |main_cf: &str| {
        let mut talk = Talk::new(&format!("smtpd_relay_restrictions = reject_unauth_destination\n{main_cf}\n"));
        let mut route = route("rcpt@example.org");
        route.routed = true;
        talk.answers.insert(Query::Address("rcpt@example.org".into()), Found::Address(Ok((route, Known::Yes))));
        talk.rcpt("rcpt@example.org")
    };
    assert!(routed("").starts_with("554 5.7.1"));
    assert_eq!(routed("allow_untrusted_routing = yes"), OK);
}

#[test]
fn the_key_of_the_null_sender() {
    let null = |main_cf: &str, key: &str| {
        let mut talk = Talk::new(&format!("smtpd_sender_restrictions = check_sender_access hash:/t\n{main_cf}\n"));
        let query = Query::Value { table: "hash:/t".into(), key: key.into() };
        talk.answers.insert(query, Found::Value(Ok(Some("REJECT".into()))));
        talk.last(&["HELO c", "MAIL FROM:<>", "RCPT TO:<rcpt@example.org>"])
    };
    assert!(null("", "<>").starts_with("554") && null("", "null").starts_with("250"));
    assert!(null("smtpd_null_access_lookup_key = null", "null").starts_with("554"));
}

#[test]
fn parents_and_extensions_in_access_tables() {
    let found = |main_cf: &str, key: &str| {
        let mut talk = Talk::new(&format!("smtpd_sender_restrictions = check_sender_access hash:/t\n{main_cf}\n"));
        let query = Query::Value { table: "hash:/t".into(), key: key.into() };
        talk.answers.insert(query, Found::Value(Ok(Some("REJECT".into()))));
        talk.last(&["HELO c", "MAIL FROM:<u+x@a.example.net>", "RCPT TO:<rcpt@example.org>"]).starts_with("554")
    };
    assert!(found("", "example.net") && !found("", ".example.net"));
    let dotted = "parent_domain_matches_subdomains =";
    assert!(!found(dotted, "example.net") && found(dotted, ".example.net"));
    assert!(!found("", "u@") && found("recipient_delimiter = +", "u@"));
}

#[test]
fn networks_that_are_trusted() {
    let foreign = |main_cf: &str| Talk::new(&format!("{main_cf}\n")).rcpt("a@b.example");
    assert_eq!(foreign("mynetworks = 192.0.2.7"), OK);
    assert!(foreign("mynetworks = 192.0.2.8").contains("Relay access denied"));
}

/// The code of the reply to RCPT, with the default and with this value of a parameter, whatever the other services say.
fn code(parameter: &str, default: u16, main_cf: &str, talk: impl Fn(&mut Talk) -> String) {
    for (value, setting) in [(default, String::new()), (571, format!("{parameter} = 571\n"))] {
        let reply = talk(&mut Talk::new(&format!("{main_cf}\n{setting}")));
        let class = value / 100;
        assert!(reply.starts_with(&format!("{value} {class}.")), "{parameter}: {reply}");
    }
}

fn ours(talk: &mut Talk) -> String {
    talk.rcpt("rcpt@example.org")
}

#[test]
fn reply_codes() {
    code("reject_code", 554, "smtpd_client_restrictions = reject", ours);
    code("defer_code", 450, "smtpd_client_restrictions = defer", ours);
    code("relay_domains_reject_code", 554, "smtpd_relay_restrictions = reject_unauth_destination", |talk| {
        talk.rcpt("a@b.example")
    });
    let access = |action: &'static str| {
        move |talk: &mut Talk| {
            let query = Query::Value { table: "hash:/t".into(), key: "192.0.2.7".into() };
            talk.answers.insert(query, Found::Value(Ok(Some(action.into()))));
            talk.rcpt("rcpt@example.org")
        }
    };
    code("access_map_reject_code", 554, "smtpd_client_restrictions = hash:/t", access("REJECT"));
    code("access_map_defer_code", 450, "smtpd_client_restrictions = hash:/t", access("DEFER"));
    code("unknown_client_reject_code", 450, "smtpd_client_restrictions = reject_unknown_client_hostname", |talk| {
        talk.client.name = ipc_messages::dns::ClientName::None(Failure::NotFound);
        talk.rcpt("rcpt@example.org")
    });
    code("maps_rbl_reject_code", 554, "smtpd_client_restrictions = reject_rbl_client bl.example", |talk| {
        let query = Query::Host("7.2.0.192.bl.example".into(), Family::V4);
        talk.answers.insert(query, Found::Host(Ok(vec!["127.0.0.2".parse().unwrap()])));
        talk.rcpt("rcpt@example.org")
    });
    let helo = |name: &'static str| {
        move |talk: &mut Talk| talk.last(&[&format!("HELO {name}"), "MAIL FROM:<>", "RCPT TO:<rcpt@example.org>"])
    };
    let list = |restriction: &str| format!("smtpd_recipient_restrictions = {restriction}");
    code("invalid_hostname_reject_code", 501, &list("reject_invalid_helo_hostname"), helo("a..b"));
    code("non_fqdn_reject_code", 504, &list("reject_non_fqdn_helo_hostname"), helo("host"));
    code("unknown_hostname_reject_code", 450, &list("reject_unknown_helo_hostname"), helo("host.example"));
    code("unknown_address_reject_code", 450, &list("reject_unknown_sender_domain"), ours);
    code("plaintext_reject_code", 450, &list("reject_plaintext_session"), ours);
    code(
        "multi_recipient_bounce_reject_code",
        550,
        "smtpd_data_restrictions = reject_multi_recipient_bounce",
        |talk| {
            let to = "RCPT TO:<rcpt@example.org>";
            talk.last(&["HELO c", "MAIL FROM:<>", to, to, "DATA"])
        },
    );
}

#[test]
fn codes_of_unknown_recipients() {
    for (parameter, class) in [
        ("unknown_local_recipient_reject_code", Class::Local),
        ("unknown_virtual_alias_reject_code", Class::VirtualAlias),
        ("unknown_virtual_mailbox_reject_code", Class::VirtualMailbox),
        ("unknown_relay_recipient_reject_code", Class::Relay),
    ] {
        code(parameter, 550, "", |talk| {
            let mut route = route("rcpt@example.org");
            route.class = class;
            let found = Found::Address(Ok((route, Known::No("User unknown".into()))));
            talk.answers.insert(Query::Address("rcpt@example.org".into()), found);
            talk.rcpt("rcpt@example.org")
        });
    }
}

#[test]
fn a_code_that_refuses_nothing_is_not_sent() {
    assert_eq!(rcpt("smtpd_client_restrictions = reject\nreject_code = 250"), "450 4.7.1 Service unavailable");
}

#[test]
fn what_a_failure_of_dns_does() {
    let temporary = || Failure::Temporary("timeout".into());
    let sender = |main_cf: &str| {
        let list = "smtpd_recipient_restrictions = reject_unknown_sender_domain, reject";
        let mut talk = Talk::new(&format!("{list}\n{main_cf}\n"));
        let exchanges = Found::Exchanges(Err::<Vec<Exchange>, _>(temporary()));
        talk.answers.insert(Query::Exchanges("example.net".into()), exchanges);
        talk.rcpt("rcpt@example.org")
    };
    assert!(sender("").starts_with("554 5.7.1"), "put off, then refused for another reason");
    assert!(sender("unknown_address_tempfail_action = defer").starts_with("450 4.1.8"));
    assert!(sender("reject_tempfail_action = defer").starts_with("450 4.1.8"));
    let helo = |main_cf: &str| {
        let list = "smtpd_recipient_restrictions = reject_unknown_helo_hostname, reject";
        let mut talk = Talk::new(&format!("{list}\n{main_cf}\n"));
        let name = "client.example.net".to_string();
        talk.answers.insert(Query::Host(name, Family::V4), Found::Host(Err(temporary())));
        talk.rcpt("rcpt@example.org")
    };
    assert!(helo("").starts_with("554 5.7.1"));
    assert!(helo("unknown_helo_hostname_tempfail_action = defer").starts_with("450 4.7.1"));
}
