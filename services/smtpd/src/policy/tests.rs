//! Restrictions, each in a session, with Postfix's replies.

use ipc_messages::dns::{ClientName, Exchange, Failure, Family};
use ipc_messages::lookup::{Class, Known};

use super::{Found, Query};
use crate::testing::{Talk, route, section};
use worker::Remote;

/// The reply to a recipient, with these recipient restrictions and what the other services say.
fn rcpt(restrictions: &str, answers: &[(Query, Found)]) -> String {
    let mut talk = Talk::new(&format!("smtpd_relay_restrictions =\nsmtpd_recipient_restrictions = {restrictions}\n"));
    answers.iter().for_each(|(query, found)| talk.answers.insert(query.clone(), found.clone()));
    talk.rcpt("rcpt@example.org")
}

const OK: &str = "250 2.1.5 Ok";

fn value(table: &str, key: &str, value: &str) -> (Query, Found) {
    (Query::Value { table: table.into(), key: key.into() }, Found::Value(Ok(Some(value.into()))))
}

fn host(name: &str, family: Family, answer: Result<&str, Failure>) -> (Query, Found) {
    (Query::Host(name.into(), family), Found::Host(answer.map(|address| vec![address.parse().unwrap()])))
}

fn exchanges(name: &str, answer: Result<&str, Failure>) -> (Query, Found) {
    let records = answer.map(|host| vec![Exchange { preference: 10, host: host.into() }]);
    (Query::Exchanges(name.into()), Found::Exchanges(records))
}

fn temporary() -> Failure {
    Failure::Temporary("timeout".into())
}

#[test]
fn the_relay_guard() {
    let guard = "permit_mynetworks, permit_sasl_authenticated, reject_unauth_destination";
    assert_eq!(rcpt(guard, &[]), OK);
    let foreign = |restrictions: &str| {
        let mut talk = Talk::new(&format!("smtpd_relay_restrictions = {restrictions}\n"));
        talk.rcpt("a@b.example")
    };
    assert_eq!(foreign(guard), "554 5.7.1 <a@b.example>: Relay access denied");
    assert_eq!(foreign("defer_unauth_destination"), "454 4.7.1 <a@b.example>: Relay access denied");
    assert_eq!(
        foreign("permit_auth_destination, reject"),
        "554 5.7.1 <a@b.example>: Recipient address rejected: Access denied"
    );
    assert_eq!(rcpt("permit_auth_destination, reject", &[]), OK);
    let failed = (Query::Address("rcpt@example.org".into()), Found::Address(Err("table".into())));
    assert_eq!(rcpt(guard, &[failed]), "451 4.3.0 <rcpt@example.org>: Temporary lookup failure");
    let mut routed = route("rcpt@example.org");
    routed.routed = true;
    let routed = (Query::Address("rcpt@example.org".into()), Found::Address(Ok((routed, Known::Yes))));
    assert_eq!(
        rcpt(guard, &[routed]),
        "554 5.7.1 <rcpt@example.org>: Relay access denied",
        "a route in the local part"
    );
}

#[test]
fn a_client_in_mynetworks() {
    let mut talk = Talk::new("mynetworks = 192.0.2.0/24\n");
    assert_eq!(talk.rcpt("a@b.example"), OK);
    let mut talk = Talk::new("mynetworks = hash:/n\n");
    talk.answers.insert(value("hash:/n", "192.0.2.7", "").0, value("", "", "").1);
    assert_eq!(talk.rcpt("a@b.example"), OK, "a table of networks is asked");
    let mut talk = Talk::new("mynetworks = hash:/n\n");
    talk.answers.insert(value("hash:/n", "client.example.net", "").0, Found::Value(Err("gone".into())));
    let failed = "451 4.3.0 <client.example.net[192.0.2.7]>: Temporary lookup failure";
    assert_eq!(talk.rcpt("a@b.example"), failed);
}

#[test]
fn a_permit_ends_its_own_list_only() {
    let mut talk = Talk::new("smtpd_client_restrictions = permit, reject\n");
    assert_eq!(talk.rcpt("rcpt@example.org"), OK);
    let mut talk = Talk::new("smtpd_client_restrictions = permit\nsmtpd_sender_restrictions = reject\n");
    assert_eq!(talk.rcpt("rcpt@example.org"), "554 5.7.1 <sender@example.net>: Sender address rejected: Access denied");
}

#[test]
fn each_list_names_what_it_is_about() {
    for (list, reply) in [
        ("client", "<client.example.net[192.0.2.7]>: Client host rejected"),
        ("helo", "<client.example.net>: Helo command rejected"),
        ("sender", "<sender@example.net>: Sender address rejected"),
        ("recipient", "<rcpt@example.org>: Recipient address rejected"),
    ] {
        let mut talk = Talk::new(&format!("smtpd_{list}_restrictions = reject\n"));
        assert_eq!(talk.rcpt("rcpt@example.org"), format!("554 5.7.1 {reply}: Access denied"));
        let line = format!(
            "NOQUEUE: reject: RCPT from client.example.net[192.0.2.7]: 554 5.7.1 {reply}: Access denied; \
             from=<sender@example.net> to=<rcpt@example.org> proto=ESMTP helo=<client.example.net>"
        );
        assert_eq!(talk.log, [line]);
    }
    let mut talk = Talk::new("smtpd_data_restrictions = reject\n");
    assert_eq!(talk.rcpt("rcpt@example.org"), OK);
    assert_eq!(talk.say("DATA"), "554 5.7.1 <DATA>: Data command rejected: Access denied");
    let mut talk = Talk::new("smtpd_etrn_restrictions = reject\n");
    assert_eq!(talk.say("ETRN example.com"), "554 5.7.1 <example.com>: Etrn command rejected: Access denied");
}

#[test]
fn vrfy_is_judged_as_a_recipient() {
    let mut talk = Talk::new("smtpd_recipient_restrictions = reject\n");
    assert_eq!(talk.say("VRFY a@example.org"), "554 5.7.1 <a@example.org>: Recipient address rejected: Access denied");
    let line = "NOQUEUE: reject: VRFY from client.example.net[192.0.2.7]: 554 5.7.1 <a@example.org>: Recipient address \
                rejected: Access denied; to=<a@example.org> proto=SMTP";
    assert_eq!(talk.log, [line]);
}

#[test]
fn postmaster_is_always_accepted() {
    let mut talk = Talk::new("smtpd_recipient_restrictions = reject\n");
    assert_eq!(talk.rcpt("Postmaster"), OK);
    assert!(talk.say("RCPT TO:<postmaster@example.org>").starts_with("554"));
}

#[test]
fn unlisted_addresses() {
    let unknown = |address: &str| {
        let known = Known::No("User unknown in virtual mailbox table".into());
        (Query::Address(address.into()), Found::Address(Ok((route(address), known))))
    };
    let refused = "550 5.1.1 <rcpt@example.org>: Recipient address rejected: User unknown in virtual mailbox table";
    assert_eq!(rcpt("", &[unknown("rcpt@example.org")]), refused);
    assert_eq!(rcpt("reject_unlisted_recipient", &[unknown("rcpt@example.org")]), refused);
    let looked = rcpt("warn_if_reject reject_unlisted_recipient", &[unknown("rcpt@example.org")]);
    assert_eq!(looked, OK, "once is enough");
    let sender = "550 5.1.0 <sender@example.net>: Sender address rejected: User unknown in virtual mailbox table";
    assert_eq!(rcpt("reject_unlisted_sender", &[unknown("sender@example.net")]), sender);
    assert_eq!(rcpt("", &[unknown("sender@example.net")]), OK);
    let known = Known::Undeliverable { status: "5.1.1".into(), text: "moved".into() };
    let moved = (Query::Address("rcpt@example.org".into()), Found::Address(Ok((route("rcpt@example.org"), known))));
    assert_eq!(rcpt("", &[moved]), "550 5.1.1 <rcpt@example.org>: Recipient address rejected: moved");
}

#[test]
fn refusals_that_only_warn_and_those_that_wait() {
    let mut talk = Talk::new("smtpd_recipient_restrictions = warn_if_reject reject, permit\n");
    assert_eq!(talk.rcpt("rcpt@example.org"), OK);
    assert!(talk.log[0].starts_with("NOQUEUE: reject_warning: RCPT from client.example.net[192.0.2.7]: 554 5.7.1 "));
    let if_reject = "450 4.7.0 <rcpt@example.org>: Recipient address rejected: defer_if_reject requested";
    assert_eq!(rcpt("defer_if_reject, reject", &[]), if_reject);
    assert_eq!(rcpt("defer_if_reject", &[]), OK);
    let if_permit = "450 4.7.0 <rcpt@example.org>: Recipient address rejected: defer_if_permit requested";
    assert_eq!(rcpt("defer_if_permit, permit", &[]), if_permit);
    assert!(rcpt("defer_if_permit, reject", &[]).starts_with("554 5.7.1"));
    assert_eq!(rcpt("defer", &[]), "450 4.3.2 <rcpt@example.org>: Recipient address rejected: Try again later");
}

#[test]
fn what_was_put_off_early_counts_at_rcpt() {
    let mut talk = Talk::new("smtpd_delay_reject = no\nsmtpd_helo_restrictions = defer_if_permit\n");
    let put_off = "450 4.7.0 <client.example.net>: Helo command rejected: defer_if_permit requested";
    assert_eq!(talk.rcpt("rcpt@example.org"), put_off);
    let mut talk = Talk::new("smtpd_delay_reject = no\nsmtpd_sender_restrictions = defer_if_permit\n");
    assert_eq!(talk.say("EHLO c\nMAIL FROM:<>").lines().last(), Some("250 2.1.0 Ok"));
    assert!(talk.say("RCPT TO:<rcpt@example.org>").starts_with("450 4.7.0 <>: Sender"));
}

#[test]
fn helo_names() {
    let with = |restriction: &str, name: &str, answers: &[(Query, Found)]| {
        let mut talk = Talk::new(&format!("smtpd_recipient_restrictions = {restriction}\n"));
        answers.iter().for_each(|(query, found)| talk.answers.insert(query.clone(), found.clone()));
        talk.last(&[&format!("HELO {name}"), "MAIL FROM:<>", "RCPT TO:<rcpt@example.org>"])
    };
    let invalid = "reject_invalid_helo_hostname";
    for (name, reply) in [
        ("host", OK),
        ("host.example.", OK),
        ("192.0.2.1", OK),
        ("[192.0.2.1]", OK),
        ("a..b", "501 5.5.2 <a..b>: Helo command rejected: Invalid name"),
        ("[a]", "501 5.5.2 <[a]>: Helo command rejected: invalid ip address"),
    ] {
        assert_eq!(with(invalid, name, &[]), reply);
    }
    let full = "reject_non_fqdn_helo_hostname";
    assert_eq!(with(full, "host", &[]), "504 5.5.2 <host>: Helo command rejected: need fully-qualified hostname");
    assert_eq!((with(full, "host.example", &[]), with(full, "[192.0.2.1]", &[])), (OK.into(), OK.into()));
    let (unknown, name) = ("reject_unknown_helo_hostname", "host.example");
    assert_eq!(with(unknown, name, &[]), "450 4.7.1 <host.example>: Helo command rejected: Host not found");
    assert_eq!(with(unknown, name, &[host(name, Family::V6, Ok("2001:db8::1"))]), OK);
    assert_eq!(with(unknown, name, &[exchanges(name, Ok(""))]), OK, "a host may take no mail");
    let failed = [host(name, Family::V4, Err(temporary()))];
    assert!(with(unknown, name, &failed).starts_with("450 4.7.1"), "put off, and then permitted by nobody");
    let reject = with(&format!("{unknown}, reject"), name, &failed);
    assert!(reject.starts_with("554 5.7.1 <rcpt@example.org>"), "put off, and refused for another reason: {reject}");
}

#[test]
fn domains_that_take_no_mail() {
    let sender = "reject_unknown_sender_domain";
    let refused = "450 4.1.8 <sender@example.net>: Sender address rejected: Domain not found";
    assert_eq!(rcpt(sender, &[]), refused);
    assert_eq!(rcpt(sender, &[exchanges("example.net", Ok("mx.example.net"))]), OK);
    assert_eq!(rcpt(sender, &[host("example.net", Family::V6, Ok("2001:db8::1"))]), OK);
    let null =
        "550 5.7.27 <sender@example.net>: Sender address rejected: Domain example.net does not accept mail (nullMX)";
    assert_eq!(rcpt(sender, &[exchanges("example.net", Ok(""))]), null);
    assert_eq!(rcpt(sender, &[exchanges("example.net", Err(temporary()))]), refused);
    let reject = rcpt(&format!("{sender}, reject"), &[exchanges("example.net", Err(temporary()))]);
    assert!(reject.starts_with("554"), "a failure of DNS only puts off: {reject}");
    let mut talk = Talk::new("smtpd_sender_restrictions = reject_unknown_sender_domain\n");
    assert_eq!(talk.last(&["HELO c", "MAIL FROM:<>", "RCPT TO:<rcpt@example.org>"]), OK);
    let recipient = "reject_unknown_recipient_domain";
    assert_eq!(rcpt(recipient, &[]), OK, "our own domain needs no DNS");
    let mut talk = Talk::new(&format!("smtpd_relay_restrictions = {recipient}, reject\n"));
    assert_eq!(talk.rcpt("a@b.example"), "450 4.1.2 <a@b.example>: Recipient address rejected: Domain not found");
    let (query, found) = exchanges("b.example", Ok(""));
    talk.answers.insert(query, found);
    let null = "556 5.1.10 <a@b.example>: Recipient address rejected: Domain b.example does not accept mail (nullMX)";
    assert_eq!(talk.say("RCPT TO:<a@b.example>"), null);
}

#[test]
fn addresses_without_a_full_domain() {
    let short = |restriction: &str, from: &str, to: &str| {
        let mut talk = Talk::new(&format!("smtpd_relay_restrictions = {restriction}\n"));
        talk.last(&["HELO c", &format!("MAIL FROM:<{from}>"), &format!("RCPT TO:<{to}>")])
    };
    let sender = short("reject_non_fqdn_sender", "a@host", "rcpt@example.org");
    assert_eq!(sender, "504 5.5.2 <a@host>: Sender address rejected: need fully-qualified address");
    assert_eq!(short("reject_non_fqdn_sender", "", "rcpt@example.org"), OK);
    assert_eq!(short("reject_non_fqdn_sender", "a@[192.0.2.1]", "rcpt@example.org"), OK);
    let recipient = short("reject_non_fqdn_recipient", "", "root");
    assert_eq!(recipient, "504 5.5.2 <root>: Recipient address rejected: need fully-qualified address");
}

#[test]
fn clients_without_a_name() {
    let reply = |restriction: &str, name: ClientName| {
        let section =
            section(&format!("smtpd_client_restrictions = {restriction}\nunknown_client_reject_code = 550\n"));
        Talk::with(section, name, None).rcpt("rcpt@example.org")
    };
    let verified = || ClientName::Verified("c.example".into());
    let unverified = |why| ClientName::Unverified("liar.example".into(), why);
    let none = |why| ClientName::None(why);
    let (name, reverse) = ("reject_unknown_client_hostname", "reject_unknown_reverse_client_hostname");
    let refused =
        |class| format!("{class}50 {class}.7.25 Client host rejected: cannot find your hostname, [192.0.2.7]");
    assert_eq!(reply(name, verified()), OK);
    assert_eq!(reply(name, unverified(None)), refused(5));
    assert_eq!(reply(name, none(Failure::NotFound)), refused(5));
    assert_eq!(reply(name, none(temporary())), refused(4));
    assert_eq!(reply(name, unverified(Some(temporary()))), refused(4));
    let refused =
        |class| format!("{class}50 {class}.7.1 Client host rejected: cannot find your reverse hostname, [192.0.2.7]");
    assert_eq!((reply(reverse, verified()), reply(reverse, unverified(None))), (OK.into(), OK.into()));
    assert_eq!(reply(reverse, none(Failure::NotFound)), refused(5));
    assert_eq!(reply(reverse, none(temporary())), refused(4));
}

#[test]
fn improper_sessions() {
    let mut talk = Talk::new("smtpd_recipient_restrictions = reject_unauth_pipelining\n");
    talk.say("HELO c\nMAIL FROM:<>");
    let ahead = "503 5.5.0 <rcpt@example.org>: Recipient address rejected: Improper use of SMTP command pipelining";
    assert_eq!(talk.say("RCPT TO:<rcpt@example.org>"), ahead);
    assert_eq!(rcpt("reject_plaintext_session", &[]), "450 4.7.1 Session encryption is required");
    let mut talk = Talk::new("smtpd_data_restrictions = reject_multi_recipient_bounce\n");
    talk.say("EHLO c\nMAIL FROM:<>\nRCPT TO:<a@example.org>\nRCPT TO:<b@example.org>");
    assert_eq!(talk.say("DATA"), "550 5.5.3 <DATA>: Data command rejected: Multi-recipient bounce");
}

#[test]
fn access_tables() {
    let check = |what: &str, key: &str, result: &str| {
        let table = format!("check_{what}_access hash:/t");
        rcpt(&table, &[value("hash:/t", key, result)])
    };
    let refused = |what: &str| format!("554 5.7.1 {what} rejected: Access denied");
    for (what, key, about) in [
        ("client", "192.0.2", "<client.example.net[192.0.2.7]>: Client host"),
        ("client", "example.net", "<client.example.net[192.0.2.7]>: Client host"),
        ("reverse_client_hostname", "net", "<client.example.net>: Unverified Client host"),
        ("helo", "client.example.net", "<client.example.net>: Helo command"),
        ("sender", "sender@", "<sender@example.net>: Sender address"),
        ("recipient", "example.org", "<rcpt@example.org>: Recipient address"),
    ] {
        assert_eq!(check(what, key, "REJECT"), refused(about), "{what}");
    }
    for (result, reply) in [
        ("OK", OK),
        ("20260101", OK),
        ("DUNNO", OK),
        ("WARN look", OK),
        ("REJECT No way", "554 5.7.1 <sender@example.net>: Sender address rejected: No way"),
        ("REJECT 5.1.1 No way", "554 5.1.0 <sender@example.net>: Sender address rejected: No way"),
        ("DEFER", "450 4.7.1 <sender@example.net>: Sender address rejected: Access denied"),
        ("defer_if_permit", "450 4.7.1 <sender@example.net>: Sender address rejected: Service unavailable"),
        ("521 Go away", "521 5.7.1 <sender@example.net>: Sender address rejected: Go away"),
        ("450 4.7.9 Later", "450 4.7.9 <sender@example.net>: Sender address rejected: Later"),
        ("reject", "554 5.7.1 <sender@example.net>: Sender address rejected: Access denied"),
        ("permit_mynetworks, defer", "450 4.3.2 <sender@example.net>: Sender address rejected: Try again later"),
        ("HOLD", "451 4.3.5 Server configuration error"),
        ("nonsense", "451 4.3.5 Server configuration error"),
    ] {
        assert_eq!(check("sender", "sender@example.net", result), reply, "{result}");
    }
    let (query, _) = value("hash:/t", "sender@example.net", "");
    let failed = rcpt("check_sender_access hash:/t", &[(query, Found::Value(Err("gone".into())))]);
    assert_eq!(failed, "451 4.3.5 <sender@example.net>: Sender address rejected: Server configuration error");
    let partial = rcpt("check_sender_access pcre:/t", &[value("pcre:/t", "example.net", "REJECT")]);
    assert_eq!(partial, OK, "patterns are not compared with parts");
}

#[test]
fn headers_before_the_message() {
    let mut talk = Talk::new("smtpd_sender_restrictions = check_sender_access hash:/t\n");
    let (query, found) = value("hash:/t", "sender@example.net", "PREPEND X-Mark: yes");
    talk.answers.insert(query, found);
    assert_eq!(talk.rcpt("rcpt@example.org"), OK);
    assert!(talk.client.headers(&talk.config).starts_with("X-Mark: yes\nReceived: from client.example.net "));
    let mut talk = Talk::new("smtpd_sender_restrictions = check_sender_access hash:/t\n");
    let (query, found) = value("hash:/t", "sender@example.net", "PREPEND nothing");
    talk.answers.insert(query, found);
    talk.rcpt("rcpt@example.org");
    assert_eq!(talk.log, ["access table hash:/t entry requires header: text"]);
    assert!(talk.client.headers(&talk.config).starts_with("Received: "));
}

#[test]
fn clients_on_this_machine() {
    let own = |peer: &str| {
        let remote = Remote::Inet { peer: peer.parse().unwrap(), local: "198.51.100.1:25".parse().unwrap() };
        let section = section("smtpd_recipient_restrictions = permit_inet_interfaces, defer\n");
        Talk::from(section, remote, ClientName::Verified("c".into()), None).rcpt("rcpt@example.org") == OK
    };
    assert!(own("198.51.100.1:9") && own("127.0.0.1:9") && !own("198.51.100.2:9"));
}

#[test]
fn a_table_that_says_ok_permits_no_route() {
    let mut routed = route("rcpt@example.org");
    (routed.routed, routed.class) = (true, Class::Default);
    let mut talk = Talk::new("smtpd_relay_restrictions = check_recipient_access hash:/t, reject_unauth_destination\n");
    talk.answers.insert(Query::Address("rcpt@example.org".into()), Found::Address(Ok((routed, Known::Yes))));
    let (query, found) = value("hash:/t", "rcpt@example.org", "OK");
    talk.answers.insert(query, found);
    assert_eq!(talk.rcpt("rcpt@example.org"), "554 5.7.1 <rcpt@example.org>: Relay access denied");
}

#[test]
fn a_table_that_names_itself_ends() {
    let text =
        "smtpd_restriction_classes = again\nagain = check_sender_access hash:/t\nsmtpd_sender_restrictions = again\n";
    let mut talk = Talk::new(text);
    let (query, found) = value("hash:/t", "sender@example.net", "again");
    talk.answers.insert(query, found);
    assert_eq!(talk.rcpt("rcpt@example.org"), "451 4.3.5 Server configuration error");
    assert_eq!(talk.log[0], "access table hash:/t entry again causes unreasonable recursion");
}

#[test]
fn block_lists() {
    let (by_address, by_name) = ("7.2.0.192.bl.example", "example.net.bl.example");
    let listed = |name: &str, address| host(name, Family::V4, Ok(address));
    let client = "reject_rbl_client bl.example";
    let refused = "554 5.7.1 Service unavailable; Client host [192.0.2.7] blocked using bl.example";
    assert_eq!(rcpt(client, &[]), OK);
    assert_eq!(rcpt(client, &[listed(by_address, "127.0.0.2")]), refused);
    let texts = (Query::Texts(by_address.into()), Found::Texts(Ok(vec!["see".into(), "there".into()])));
    assert_eq!(rcpt(client, &[listed(by_address, "127.0.0.2"), texts]), format!("{refused}; see / there"));
    for (restriction, listed_as, is_refused) in [
        ("reject_rbl_client bl.example=127.0.0.2", "127.0.0.2", true),
        ("reject_rbl_client bl.example=127.0.0.2", "127.0.0.3", false),
        ("reject_rbl_client bl.example=127.0.0.[2;4..8]", "127.0.0.7", true),
        ("reject_rbl_client bl.example=127.0.0.[2;4..8]", "127.0.0.3", false),
    ] {
        assert_eq!(
            rcpt(restriction, &[listed(by_address, listed_as)]) == refused,
            is_refused,
            "{restriction} {listed_as}"
        );
    }
    let sender = rcpt("reject_rhsbl_sender bl.example", &[listed(by_name, "127.0.0.2")]);
    let refused = "554 5.7.1 Service unavailable; Sender address [sender@example.net] blocked using bl.example";
    assert_eq!(sender, refused);
    let name = [listed("client.example.net.bl.example", "127.0.0.2")];
    for (restriction, what) in [
        ("reject_rhsbl_client", "Client host [client.example.net]"),
        ("reject_rhsbl_reverse_client", "Unverified Client host [client.example.net]"),
        ("reject_rhsbl_helo", "Helo command [client.example.net]"),
    ] {
        let reply = rcpt(&format!("{restriction} bl.example"), &name);
        assert_eq!(reply, format!("554 5.7.1 Service unavailable; {what} blocked using bl.example"));
    }
    assert_eq!(rcpt(client, &[host(by_address, Family::V4, Err(temporary()))]), OK, "a dead list blocks nobody");
}

#[test]
fn users_and_their_addresses() {
    let reply = |restriction: &str, user: Option<&'static str>, owners: Option<&str>| {
        let main_cf = format!("smtpd_sender_login_maps = hash:/o\nsmtpd_sender_restrictions = {restriction}\n");
        let mut talk = Talk::full(&main_cf, true);
        if let Some(owners) = owners {
            let (query, found) = value("hash:/o", "sender@example.net", owners);
            talk.answers.insert(query, found);
        }
        talk.say("EHLO c");
        if let Some(user) = user {
            talk.user = user;
            assert!(talk.say("AUTH PLAIN AGEAYg==").starts_with("235"));
        }
        talk.last(&["MAIL FROM:<sender@example.net>", "RCPT TO:<rcpt@example.org>"])
    };
    let foreign = "553 5.7.1 <sender@example.net>: Sender address rejected: not owned by user joe";
    let anonymous = "553 5.7.1 <sender@example.net>: Sender address rejected: not logged in";
    let both = "reject_sender_login_mismatch";
    assert_eq!(reply(both, Some("joe"), Some("ann, Joe")), OK);
    assert_eq!(reply(both, Some("joe"), Some("ann")), foreign);
    assert_eq!(reply(both, Some("joe"), None), foreign);
    assert_eq!(reply(both, None, Some("ann")), anonymous);
    assert_eq!(reply(both, None, None), OK);
    assert_eq!(reply("reject_known_sender_login_mismatch", Some("joe"), None), OK);
    assert_eq!(reply("reject_authenticated_sender_login_mismatch", None, Some("ann")), OK);
    assert_eq!(reply("reject_unauthenticated_sender_login_mismatch", Some("joe"), Some("ann")), OK);
}
