use super::*;
use crate::testing::{lines, policy};
use ipc_messages::lookup::Class::{Default, Local, Relay, VirtualAlias, VirtualMailbox};

const MAIN_CF: &str = "\
mydestination = $myhostname, localhost, localhost.$mydomain, local.example, both.example
recipient_delimiter = +
virtual_alias_domains = alias.example, two.example
virtual_mailbox_domains = box.example, two.example, both.example, sub.example
relay_domains = relay.example, two.example, .dots.example
virtual_transport = lmtp:unix:private/dovecot-lmtp
relayhost = [smart.example]:587
append_dot_mydomain = yes
transport_maps = inline:{joe@box.example=slow:,box2.example=smtp:[b],noop@relay.example=:,
  hop@relay.example=:hop.example,e@relay.example=error:,{e2@relay.example=error:5.7.1 gone away},r@relay.example=retry:,
  child.example=x:y,.child.example=z:,user@alias.example=never:,j+k@relay.example=plus:,j@relay.example=bare:}
";

/// Address, recipient, class, `transport:nexthop`, and flags, as the real trivial-rewrite answers on its socket with this
/// configuration.
#[rustfmt::skip]
const ANSWERS: &[(&str, &str, Class, &str, &str)] = &[
    ("u@box.example", "u@box.example", VirtualMailbox, "lmtp:unix:private/dovecot-lmtp", ""),
    ("joe@box.example", "joe@box.example", VirtualMailbox, "slow:box.example", ""),
    ("joe+x@box.example", "joe+x@box.example", VirtualMailbox, "slow:box.example", ""),
    ("x@box2.example", "x@box2.example", Default, "smtp:[b]", ""),
    ("noop@relay.example", "noop@relay.example", Relay, "relay:[smart.example]:587", ""),
    ("hop@relay.example", "hop@relay.example", Relay, "relay:hop.example", ""),
    ("e@relay.example", "e@relay.example", Relay, "error:Address is undeliverable", ""),
    ("r@relay.example", "r@relay.example", Relay, "retry:Address is undeliverable", ""),
    ("j+k@relay.example", "j+k@relay.example", Relay, "plus:relay.example", ""),
    ("j+l@relay.example", "j+l@relay.example", Relay, "bare:relay.example", ""),
    ("x@child.example", "x@child.example", Default, "x:y", ""),
    ("x@sub.child.example", "x@sub.child.example", Default, "z:sub.child.example", ""),
    ("x@a.sub.child.example", "x@a.sub.child.example", Default, "z:a.sub.child.example", ""),
    ("user@alias.example", "user@alias.example", VirtualAlias, "error:5.1.1 User unknown in virtual alias table", ""),
    ("user@two.example", "user@two.example", VirtualAlias, "error:5.1.1 User unknown in virtual alias table", ""),
    ("user@both.example", "user@both.example", Local, "local:mx.example.org", ""),
    ("user@relay.example", "user@relay.example", Relay, "relay:[smart.example]:587", ""),
    ("user@sub.relay.example", "user@sub.relay.example", Relay, "relay:[smart.example]:587", ""),
    ("user@a.dots.example", "user@a.dots.example", Default, "smtp:[smart.example]:587", ""),
    ("user@dots.example", "user@dots.example", Default, "smtp:[smart.example]:587", ""),
    ("user@x.sub.example", "user@x.sub.example", Default, "smtp:[smart.example]:587", ""),
    ("user@other.example", "user@other.example", Default, "smtp:[smart.example]:587", ""),
    ("user@LOCAL.Example", "user@LOCAL.Example", Local, "local:mx.example.org", ""),
    ("User@BOX.example", "User@BOX.example", VirtualMailbox, "lmtp:unix:private/dovecot-lmtp", ""),
    ("root", "root@mx.example.org", Local, "local:mx.example.org", ""),
    ("", "MAILER-DAEMON@mx.example.org", Local, "local:mx.example.org", ""),
    ("@", "MAILER-DAEMON@", Default, "", "malformed"),
    ("@@", "MAILER-DAEMON@", Default, "", "malformed"),
    ("@a.", "@a", Default, "smtp:[smart.example]:587", ""),
    ("@..", "@..", Default, "", "malformed"),
    ("@.@.", "@.@.", Default, "", "malformed"),
    ("!", "MAILER-DAEMON@", Default, "", "malformed"),
    ("a!", "@a.example.org", Default, "smtp:[smart.example]:587", ""),
    ("!b", "b@", Default, "", "malformed"),
    ("a!b", "b@a.example.org", Default, "smtp:[smart.example]:587", ""),
    ("!@", "MAILER-DAEMON@", Default, "", "malformed"),
    ("a!@", "@a.example.org", Default, "smtp:[smart.example]:587", ""),
    ("!b@", "b@", Default, "", "malformed"),
    ("a!b@", "b@a.example.org", Default, "smtp:[smart.example]:587", ""),
    ("%", "MAILER-DAEMON@", Default, "", "malformed"),
    ("a%", "a@", Default, "", "malformed"),
    ("%b", "@b.example.org", Default, "smtp:[smart.example]:587", ""),
    ("a%b", "a@b.example.org", Default, "smtp:[smart.example]:587", ""),
    ("a%@", "a@", Default, "", "malformed"),
    ("a%b@mx.example.org", "a@b.example.org", Default, "smtp:[smart.example]:587", ""),
    ("a!b@mx.example.org", "b@a.example.org", Default, "smtp:[smart.example]:587", ""),
    ("a@b@mx.example.org", "a@b.example.org", Default, "smtp:[smart.example]:587", ""),
    ("a[b]@mx.example.org@mx.example.org", "a[b]@mx.example.org", Local, "local:mx.example.org", ""),
    ("a[b]%mx.example.org@mx.example.org", "a[b]@mx.example.org", Local, "local:mx.example.org", ""),
    ("mx.example.org!a[b]%mx.example.org", "a [b]@mx.example.org", Local, "local:mx.example.org", ""),
    ("mx.example.org!mx.example.org!a[b]", "a [b]@mx.example.org", Local, "local:mx.example.org", ""),
    ("user@dom.ain1@dom.ain2", "user@dom.ain1@dom.ain2", Default, "smtp:[smart.example]:587", "routed"),
    ("user%dom.ain1@dom.ain2", "user%dom.ain1@dom.ain2", Default, "smtp:[smart.example]:587", "routed"),
    ("dom.ain1!user@dom.ain2", "dom.ain1!user@dom.ain2", Default, "smtp:[smart.example]:587", "routed"),
    ("user@[1.2.3.4]@dom.ain2", "user@[1.2.3.4]@dom.ain2", Default, "smtp:[smart.example]:587", "routed"),
    ("[1.2.3.4]!user@dom.ain2", "[1.2.3.4]!user@dom.ain2", Default, "smtp:[smart.example]:587", "routed"),
    ("user@localhost", "user@localhost", Local, "local:mx.example.org", ""),
    ("user@localhost.example.org", "user@localhost.example.org", Local, "local:mx.example.org", ""),
    ("user@[321.1.2.3]", "user@[321.1.2.3]", Default, "", "malformed"),
    ("user@[127.0.0.1]", "user@[127.0.0.1]", Local, "local:mx.example.org", ""),
    ("user@[203.0.113.9]", "user@[203.0.113.9]", Local, "local:mx.example.org", ""),
    ("user@[IPv6:2001:db8::1]", "user@[IPv6:2001:db8::1]", Default, "smtp:[smart.example]:587", ""),
    ("user@[2001:db8::1]", "user@[2001:db8::1]", Default, "", "malformed"),
    ("user@1.2.3", "user@1.2.3", Default, "", "malformed"),
    ("user@1.2.3.4", "user@1.2.3.4", Default, "", "malformed"),
    ("user@host:port", "user@host:port", Default, "", "malformed"),
    ("user@host", "user@host", Default, "smtp:[smart.example]:587", ""),
    ("user@local.example.", "user@local.example", Local, "local:mx.example.org", ""),
    ("user@local.example..", "user@local.example..", Default, "", "malformed"),
    ("user@box.example.", "user@box.example", VirtualMailbox, "lmtp:unix:private/dovecot-lmtp", ""),
    ("a b@local.example", "a b@local.example", Local, "local:mx.example.org", ""),
    ("a@b@local.example", "a@b.example.org", Default, "smtp:[smart.example]:587", ""),
    ("a%b@local.example", "a@b.example.org", Default, "smtp:[smart.example]:587", ""),
    ("a!b@local.example", "b@a.example.org", Default, "smtp:[smart.example]:587", ""),
    ("a%box.example@local.example", "a@box.example", VirtualMailbox, "lmtp:unix:private/dovecot-lmtp", ""),
    ("a%relay.example%box.example@local.example", "a%relay.example@box.example", VirtualMailbox, "lmtp:unix:private/dovecot-lmtp", "routed"),
    ("user@-bad.example", "user@-bad.example", Default, "", "malformed"),
    ("user@bad-.example", "user@bad-.example", Default, "", "malformed"),
    ("user@a_b.example", "user@a_b.example", Default, "smtp:[smart.example]:587", ""),
    ("-user@box.example", "-user@box.example", VirtualMailbox, "lmtp:unix:private/dovecot-lmtp", "malformed"),
    ("\"quoted\"@local.example", "\"quoted\"@local.example", Local, "local:mx.example.org", ""),
    (".dot@local.example", ".dot@local.example", Local, "local:mx.example.org", ""),
    ("user+ext@local.example", "user+ext@local.example", Local, "local:mx.example.org", ""),
    ("user@local.example@local.example", "user@local.example", Local, "local:mx.example.org", ""),
    ("@local.example", "MAILER-DAEMON@local.example", Local, "local:mx.example.org", ""),
    ("@box.example", "@box.example", VirtualMailbox, "lmtp:unix:private/dovecot-lmtp", ""),
    ("user@bücher.example", "user@bücher.example", Default, "smtp:[smart.example]:587", ""),
    ("e2@relay.example", "e2@relay.example", Relay, "error:5.7.1 gone away", ""),
];

#[test]
fn resolves_as_the_real_one() {
    let policy = policy(MAIN_CF);
    for &(address, recipient, class, place, flags) in ANSWERS {
        let (transport, nexthop) = place.split_once(':').unwrap_or_default();
        let mut expected = route(recipient.to_owned(), class, transport, nexthop);
        (expected.routed, expected.malformed) = (flags == "routed", flags == "malformed");
        assert_eq!(policy.resolve(address), Ok(expected), "{address}");
    }
}

#[test]
fn a_domain_in_two_lists_is_warned_of() {
    let policy = policy(MAIN_CF);
    policy.resolve("u@both.example").unwrap();
    policy.resolve("u@two.example").unwrap();
    assert_eq!(
        lines(policy.tables.take_notes()),
        [
            "warning: do not list domain both.example in BOTH mydestination and virtual_mailbox_domains",
            "warning: do not list domain two.example in BOTH virtual_alias_domains and virtual_mailbox_domains",
            "warning: do not list domain two.example in BOTH virtual_alias_domains and relay_domains",
        ]
    );
    let silent = crate::testing::policy(&format!("{MAIN_CF}helpful_warnings = no\n"));
    silent.resolve("u@both.example").unwrap();
    assert_eq!(silent.tables.take_notes(), []);
}

#[test]
fn each_setting_has_its_effect() {
    let resolve = |main_cf: &str, address: &str| {
        let route = policy(main_cf).resolve(address).unwrap();
        format!("{} {:?} {}:{}", route.recipient, route.class, route.transport, route.nexthop)
    };
    for (main_cf, address, expected) in [
        ("", "joe", "joe@mx.example.org Local local:mx.example.org"),
        ("local_transport = error:no local mail", "joe@localhost", "joe@localhost Local error:no local mail"),
        ("default_transport = x", "joe@o.example", "joe@o.example Default x:o.example"),
        ("relay_domains = r.example\nrelay_transport = y:z", "joe@r.example", "joe@r.example Relay y:z"),
        ("relay_domains = r.example\nrelayhost = h", "joe@r.example", "joe@r.example Relay relay:h"),
        ("relayhost = h\ndefault_transport = x:y", "joe@o.example", "joe@o.example Default x:y"),
        ("empty_address_recipient = null", "", "null@mx.example.org Local local:mx.example.org"),
        ("empty_address_recipient = a@o.example", "", "a@o.example Default smtp:o.example"),
        ("swap_bangpath = no", "a!b@localhost", "a!b@localhost Local local:mx.example.org"),
        ("allow_percent_hack = no", "a%b@localhost", "a%b@localhost Local local:mx.example.org"),
        ("resolve_dequoted_address = no", "a@b.example@localhost", "a@b.example@localhost Local local:mx.example.org"),
        ("resolve_numeric_domain = yes", "a@192.0.2.1", "a@[192.0.2.1] Default smtp:[192.0.2.1]"),
        ("resolve_numeric_domain = yes", "a@127.0.0.1", "a@[127.0.0.1] Local local:mx.example.org"),
        ("resolve_null_domain = yes", "a@", "a@mx.example.org Local local:mx.example.org"),
        ("allow_min_user = yes", "-a@o.example", "-a@o.example Default smtp:o.example"),
        (
            "show_user_unknown_table_name = no\nvirtual_alias_domains = v.example",
            "a@v.example",
            "a@v.example VirtualAlias error:5.1.1 User unknown",
        ),
        (
            "parent_domain_matches_subdomains = transport_maps\ntransport_maps = inline:{o.example=t:}",
            "a@b.o.example",
            "a@b.o.example Default t:b.o.example",
        ),
        ("transport_maps = inline:{*=t:u}", "a@o.example", "a@o.example Default t:u"),
        (
            "virtual_alias_maps = inline:{v.example=x}",
            "a@v.example",
            "a@v.example VirtualAlias error:5.1.1 User unknown in virtual alias table",
        ),
        ("virtual_mailbox_maps = inline:{v.example=x}", "a@v.example", "a@v.example VirtualMailbox virtual:v.example"),
        ("mydestination = !x.example, static:all", "a@x.example", "a@x.example Default smtp:x.example"),
        ("mydestination = !x.example, static:all", "a@y.example", "a@y.example Local local:mx.example.org"),
    ] {
        assert_eq!(resolve(main_cf, address), expected, "{main_cf} {address}");
    }
    assert!(policy("resolve_null_domain = no").resolve("a@").unwrap().malformed);
    assert!(policy("smtputf8_enable = no").resolve("a@b\u{fc}cher.example").unwrap().malformed);
    assert!(!policy("allow_min_user = yes").resolve("-a@o.example").unwrap().malformed);
}

#[test]
fn what_cannot_be_read_is_a_failure_with_postfixs_lines() {
    let failed = |main_cf: &str| {
        let policy = policy(main_cf);
        assert!(policy.resolve("a@o.example").is_err(), "{main_cf}");
        lines(policy.tables.take_notes())
    };
    let open = "open database /nonexistent/x.db: No such file or directory";
    let lines = failed("virtual_mailbox_domains = hash:/nonexistent/x");
    assert_eq!(
        lines,
        [
            format!("error: {open}"),
            format!("warning: hash:/nonexistent/x is unavailable. {open}"),
            "warning: virtual_mailbox_domains: hash:/nonexistent/x: table lookup problem".into(),
            "warning: virtual_mailbox_domains lookup failure".into(),
        ]
    );
    let lines = failed("transport_maps = hash:/nonexistent/x");
    assert_eq!(lines[0], format!("error: {open}"));
    assert_eq!(
        lines[2..],
        ["warning: hash:/nonexistent/x lookup error for \"a@o.example\"", "warning: transport_maps lookup failure"]
    );
    for list in ["mydestination", "virtual_alias_domains", "relay_domains"] {
        assert_eq!(
            failed(&format!("{list} = mysql:/etc/x")).last().unwrap(),
            &format!("warning: {list} lookup failure")
        );
    }
    assert_eq!(
        failed("default_transport = :x"),
        ["warning: parameter default_transport: null transport is not allowed"]
    );
    let lines = failed("empty_address_recipient = \nmydestination = /nonexistent/list");
    assert!(lines[0].contains("open file /nonexistent/list"), "{lines:?}");
}

#[test]
fn an_error_is_told_once_and_warned_of_each_time() {
    let policy = policy("relay_domains = hash:/nonexistent/x");
    for (round, count) in [(1, 4), (2, 3)] {
        policy.resolve("a@o.example").unwrap_err();
        assert_eq!(policy.tables.take_notes().len(), count, "round {round}");
    }
}

/// The short cut of complete addresses says what the long way says, and no address of a stranger ends the process.
#[test]
fn any_address_has_an_answer() {
    let policy = policy(MAIN_CF);
    let mut seed = 7u64;
    let words =
        ["a", "@", "@", "%", "!", ".", "\"", "\\", "[", "]", ":", " ", "(", "local.example", "box.example", "+", "\0"];
    for _ in 0..30_000 {
        let mut address = String::new();
        for _ in 0..8 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            address.push_str(words[(seed >> 33) as usize % words.len()]);
        }
        let route = policy.resolve(&address).unwrap_or_else(|error| panic!("{address:?}: {error}"));
        assert!(route.malformed || !route.transport.is_empty() && !route.nexthop.is_empty(), "{address:?}");
    }
}

#[test]
fn an_address_of_many_layers_comes_to_an_end() {
    let policy = policy(MAIN_CF);
    let layers = format!("a{}@local.example", "%local.example".repeat(500));
    assert_eq!(policy.resolve(&layers).unwrap().recipient, "a@local.example");
    let endless = crate::testing::policy("empty_address_recipient = \"\"\n");
    assert_eq!(endless.resolve("").unwrap_err().0, "<> does not come to an end");
}
