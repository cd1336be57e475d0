//! Each parameter makes a difference: the same dialogue with two values of it ends differently, as Postfix's would.

mod access;
mod login;

use crate::policy::{Found, Query};
use crate::session::tls_line;
use crate::testing::{Talk, section};
use ipc_messages::dns::ClientName;
use worker::Remote;

/// A session with this setting in which `commands` are given one by one; the last reply.
fn reply(main_cf: &str, commands: &[&str]) -> String {
    Talk::new(&format!("{main_cf}\n")).last(commands)
}

const TO: [&str; 3] = ["EHLO client.example.net", "MAIL FROM:<sender@example.net>", "RCPT TO:<rcpt@example.org>"];

#[test]
fn the_banner() {
    let greeting = |main_cf: &str| Talk::new(main_cf).heard();
    assert_eq!(greeting(""), "220 mx.example.org ESMTP Postfix");
    assert_eq!(greeting("smtpd_banner = $myhostname hello\n"), "220 mx.example.org hello");
}

#[test]
fn helo_is_required() {
    assert_eq!(reply("", &["MAIL FROM:<>"]), "250 2.1.0 Ok");
    assert_eq!(reply("smtpd_helo_required = yes", &["MAIL FROM:<>"]), "503 5.5.1 Error: send HELO/EHLO first");
}

#[test]
fn rejections_are_delayed() {
    let list = "smtpd_client_restrictions = reject\n";
    let greeting = |delay: &str| Talk::new(&format!("{list}smtpd_delay_reject = {delay}\n")).heard();
    assert_eq!(greeting("yes"), "220 mx.example.org ESMTP Postfix");
    assert_eq!(greeting("no"), "554 5.7.1 <client.example.net[192.0.2.7]>: Client host rejected: Access denied");
    let early = |list: &str, commands: &[&str]| {
        let mut talk = Talk::new(&format!("{list} = reject\nsmtpd_delay_reject = no\n"));
        (talk.last(commands), talk.log.join("\n"))
    };
    let (said, logged) = early("smtpd_helo_restrictions", &["EHLO c.example"]);
    assert_eq!(said, "554 5.7.1 <c.example>: Helo command rejected: Access denied");
    let line = "NOQUEUE: reject: EHLO from client.example.net[192.0.2.7]: 554 5.7.1 <c.example>: Helo command rejected: \
                Access denied; proto=SMTP helo=<c.example>";
    assert_eq!(logged, line);
    let (said, logged) = early("smtpd_sender_restrictions", &["EHLO c", "MAIL FROM:<a@b.example>"]);
    assert_eq!(said, "554 5.7.1 <a@b.example>: Sender address rejected: Access denied");
    assert!(logged.ends_with("; from=<a@b.example> proto=ESMTP helo=<c>"), "{logged}");
}

#[test]
fn the_limits_of_errors() {
    let errors = |main_cf: &str, number: usize| {
        let mut talk = Talk::new(main_cf);
        let replies: Vec<String> = (0..number).map(|_| talk.say("XYZZY")).collect();
        (replies.last().cloned().unwrap_or_default(), talk.waited)
    };
    let bad = "500 5.5.2 Error: command not recognized".to_string();
    assert_eq!(errors("", 10), (bad.clone(), 0));
    assert_eq!(errors("", 11), (bad.clone(), 1));
    assert_eq!(errors("smtpd_soft_error_limit = 3\n", 4), (bad.clone(), 1));
    assert_eq!(errors("smtpd_soft_error_limit = 3\nsmtpd_error_sleep_time = 7s\n", 4), (bad, 7));
    let over = "421 4.7.0 mx.example.org Error: too many errors";
    assert!(errors("", 20).0.ends_with(over) && !errors("", 19).0.ends_with(over));
    assert!(errors("smtpd_hard_error_limit = 2\n", 2).0.ends_with(over));
    assert!(errors("stress = yes\n", 1).0.ends_with(over), "the default depends on stress");
}

#[test]
fn the_length_of_commands() {
    let warned = |main_cf: &str| {
        let mut talk = Talk::new(main_cf);
        talk.say(&format!("NOOP {}", "x".repeat(1000)));
        talk.log.iter().any(|line| line.contains(": request longer than 512: NOOP xxx"))
    };
    assert!(!warned("") && warned("line_length_limit = 512\n"));
}

#[test]
fn the_limit_of_junk_commands() {
    let noops = |main_cf: &str, number: usize| {
        let mut talk = Talk::new(&format!("smtpd_hard_error_limit = 1\n{main_cf}"));
        (0..number).map(|_| talk.say("NOOP")).last().unwrap_or_default()
    };
    assert_eq!(noops("", 101), "250 2.0.0 Ok");
    assert!(noops("", 102).contains("421 4.7.0"));
    assert!(noops("smtpd_junk_command_limit = 2\n", 4).contains("421 4.7.0"));
    assert_eq!(noops("smtpd_junk_command_limit = 2\n", 3), "250 2.0.0 Ok");
}

#[test]
fn commands_that_do_nothing() {
    assert!(reply("", &["ONEX"]).starts_with("500"));
    assert_eq!(reply("smtpd_noop_commands = onex", &["ONEX"]), "250 2.0.0 Ok");
    assert_eq!(reply("smtpd_noop_commands = regexp:{{/^x-/ yes}}", &["X-Y"]), "250 2.0.0 Ok");
}

#[test]
fn commands_that_are_forbidden() {
    let bye = "221 2.7.0 Error: I can break rules, too. Goodbye.";
    for (main_cf, command, forbidden) in [
        ("", "GET / HTTP/1.0", true),
        ("", "\u{7}bell", true),
        ("", "STAT", false),
        ("smtpd_forbidden_commands = STAT", "STAT", true),
        ("smtpd_forbidden_commands = STAT", "GET / HTTP/1.0", false),
        ("smtpd_forbidden_commands = regexp:{{/^ST/ x}}", "STAT", true),
    ] {
        assert_eq!(reply(main_cf, &[command]) == bye, forbidden, "{main_cf} {command}");
    }
}

#[test]
fn bare_newlines() {
    let session = |main_cf: &str| {
        let mut talk = Talk::new(main_cf);
        talk.last(&[TO[0], TO[1], TO[2], "DATA"]);
        talk.send(b"one\ntwo\r\n.\r\n");
        (talk.heard(), talk.client.session.notes())
    };
    let queued = "250 2.0.0 Ok: queued as QUEUEID".to_string();
    assert_eq!(session(""), (queued.clone(), ""));
    assert_eq!(session("smtpd_forbid_bare_newline = note\n"), (queued.clone(), " notes=bare_lf"));
    let reject = "smtpd_forbid_bare_newline = reject\n";
    assert_eq!(session(reject).0, "550 5.5.2 mx.example.org Error: bare <LF> received");
    let code = format!("{reject}smtpd_forbid_bare_newline_reject_code = 521\n");
    assert_eq!(session(&code).0, "521 5.5.2 mx.example.org Error: bare <LF> received");
    let excluded = format!("{reject}smtpd_forbid_bare_newline_exclusions = 192.0.2.0/24\n");
    assert_eq!(session(&excluded).0, queued);
    // Only `no` lets LF.LF end a message.
    let ends = |main_cf: &str| {
        let mut talk = Talk::new(main_cf);
        talk.last(&[TO[0], TO[1], TO[2], "DATA"]);
        talk.send(b"one\n.\n");
        talk.heard()
    };
    assert_eq!((ends("smtpd_forbid_bare_newline = no\n"), ends("").as_str()), (queued, ""));
}

#[test]
fn commands_sent_ahead() {
    let ahead = |main_cf: &str| Talk::new(main_cf).say("HELO c\nMAIL FROM:<>");
    assert_eq!(ahead(""), "250 mx.example.org\n250 2.1.0 Ok");
    assert_eq!(ahead("smtpd_forbid_unauth_pipelining = yes\n"), "554 5.5.0 Error: SMTP protocol synchronization");
}

#[test]
fn the_limits_of_recipients() {
    let replies = |main_cf: &str| {
        let mut talk = Talk::new(&format!("smtpd_hard_error_limit = 2\n{main_cf}"));
        talk.say("EHLO c\nMAIL FROM:<>");
        (0..6).map(|_| talk.say("RCPT TO:<rcpt@example.org>")[..3].to_string()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(replies(""), "250 250 250 250 250 250");
    assert_eq!(replies("smtpd_recipient_limit = 3\n"), "250 250 250 452 452 452");
    let both = "smtpd_recipient_limit = 2\nsmtpd_recipient_overshoot_limit = 1\n";
    let mut talk = Talk::new(&format!("smtpd_hard_error_limit = 2\n{both}"));
    let commands = ["EHLO c", "MAIL FROM:<>", TO[2], TO[2], TO[2], TO[2], TO[2]];
    assert!(talk.last(&commands).ends_with("421 4.7.0 mx.example.org Error: too many errors"));
}

#[test]
fn keywords_that_are_not_announced() {
    let with = "smtpd_discard_ehlo_keywords = silent-discard, DSN, chunking";
    let keywords = reply(with, &["EHLO c"]);
    assert!(!keywords.contains("DSN") && !keywords.contains("CHUNKING") && keywords.contains("8BITMIME"));
    assert!(reply("", &["EHLO c"]).contains("DSN"));
    let notify = "RCPT TO:<rcpt@example.org> NOTIFY=NEVER";
    assert_eq!(reply(with, &[TO[0], TO[1], notify]), "501 5.7.1 DSN support is disabled");
}

#[test]
fn keywords_that_a_table_takes_back() {
    let ehlo = |main_cf: &str| {
        let mut talk = Talk::new(main_cf);
        let query = Query::Value { table: "cidr:/d".into(), key: "192.0.2.7".into() };
        talk.answers.insert(query, Found::Value(Ok(Some("silent-discard chunking nonsense".into()))));
        talk.say("EHLO c")
    };
    let maps = "smtpd_discard_ehlo_keyword_address_maps = hash:/none, cidr:/d\nsmtpd_discard_ehlo_keywords = dsn\n";
    let keywords = ehlo(maps);
    assert!(!keywords.contains("CHUNKING") && keywords.contains("DSN"), "the table replaces the list: {keywords}");
    assert!(ehlo("").contains("CHUNKING"));
}

#[test]
fn ports_are_logged() {
    assert_eq!(Talk::new("").client.label(), "client.example.net[192.0.2.7]");
    assert_eq!(Talk::new("smtpd_client_port_logging = yes\n").client.label(), "client.example.net[192.0.2.7]:4711");
}

#[test]
fn vrfy_is_disabled() {
    assert_eq!(reply("", &["VRFY rcpt@example.org"]), "252 2.0.0 rcpt@example.org");
    assert_eq!(reply("disable_vrfy_command = yes", &["VRFY rcpt@example.org"]), "502 5.5.1 VRFY command is disabled");
}

#[test]
fn strict_addresses() {
    let loose = ["HELO c", "MAIL FROM: sender@example.net"];
    assert_eq!(reply("", &loose), "250 2.1.0 Ok");
    assert_eq!(reply("strict_rfc821_envelopes = yes", &loose), "501 5.1.7 Bad sender address syntax");
}

#[test]
fn addresses_that_begin_with_a_minus_sign() {
    let sender = ["EHLO c", "MAIL FROM:<-a@b.example>"];
    assert_eq!(reply("", &sender), "501 5.1.7 Bad sender address syntax");
    assert_eq!(reply("allow_min_user = yes", &sender), "250 2.1.0 Ok");
}

#[test]
fn internationalized_mail() {
    let sender = ["EHLO c", "MAIL FROM:<é@example.net>"];
    assert_eq!(reply("strict_smtputf8 = no", &sender), "250 2.1.0 Ok");
    assert!(reply("strict_smtputf8 = yes", &sender).starts_with("553 5.6.7"));
    assert!(reply("", &["EHLO c"]).contains("SMTPUTF8"));
    assert!(!reply("smtputf8_enable = no", &["EHLO c"]).contains("SMTPUTF8"));
}

#[test]
fn the_size_of_a_message() {
    let size = ["EHLO c", "MAIL FROM:<> SIZE=1001"];
    assert_eq!(reply("", &size), "250 2.1.0 Ok");
    assert_eq!(reply("message_size_limit = 1000", &size), "552 5.3.4 Message size exceeds fixed limit");
    let mut talk = Talk::new("message_size_limit = 1000\n");
    talk.last(&[TO[0], TO[1], TO[2], "DATA"]);
    talk.send(format!("{}\r\n.\r\n", "x".repeat(1000)).as_bytes());
    assert_eq!(talk.heard(), "552 5.3.4 Error: message file too big");
}

#[test]
fn whose_headers_are_completed() {
    let rewrites = |main_cf: &str, peer: &str| {
        let remote = Remote::Inet { peer: peer.parse().unwrap(), local: "198.51.100.1:25".parse().unwrap() };
        let talk = Talk::from(section(main_cf), remote, ClientName::Verified("c".into()), None);
        talk.client.rewrites_headers(&talk.config)
    };
    let networks = "mynetworks = 192.0.2.0/24\n";
    let (stranger, neighbour, own) = ("203.0.113.1:9", "192.0.2.1:9", "198.51.100.1:9");
    assert!(!rewrites(networks, stranger) && !rewrites(networks, neighbour) && rewrites(networks, own));
    assert!(rewrites(&format!("{networks}local_header_rewrite_clients = permit_mynetworks\n"), neighbour));
    assert!(!rewrites(&format!("{networks}local_header_rewrite_clients = permit_mynetworks\n"), own));
    let mut talk = Talk::full("local_header_rewrite_clients = permit_sasl_authenticated\n", true);
    assert!(!talk.client.rewrites_headers(&talk.config));
    talk.last(&["EHLO c", "AUTH PLAIN AGEAYg=="]);
    assert!(talk.client.rewrites_headers(&talk.config));
}

#[test]
fn replies_are_softened() {
    let reject = "smtpd_recipient_restrictions = reject\n";
    assert!(Talk::new(reject).rcpt("rcpt@example.org").starts_with("554 5.7.1 "));
    let mut talk = Talk::new(&format!("{reject}soft_bounce = yes\n"));
    assert!(talk.rcpt("rcpt@example.org").starts_with("454 4.7.1 "));
    assert!(talk.log[0].contains(": 454 4.7.1 "), "the log has what was sent");
}

#[test]
fn tls_is_offered_or_required() {
    let ehlo = |main_cf: &str| Talk::full(main_cf, false).say("EHLO c").contains("STARTTLS");
    let mail = |main_cf: &str| Talk::full(main_cf, false).last(&["EHLO c", "MAIL FROM:<>"]);
    assert!(ehlo("") && !ehlo("smtpd_tls_security_level = none\n") && !ehlo("smtpd_tls_security_level =\n"));
    assert!(ehlo("smtpd_tls_security_level =\nsmtpd_use_tls = yes\n"));
    let must = "530 5.7.0 Must issue a STARTTLS command first";
    assert_eq!(mail(""), "250 2.1.0 Ok");
    assert_eq!(mail("smtpd_tls_security_level = encrypt\n"), must);
    assert_eq!(mail("smtpd_tls_security_level =\nsmtpd_enforce_tls = yes\n"), must);
}

#[test]
fn tls_in_the_log_and_in_received() {
    let line = |main_cf: &str| {
        let talk = Talk::full(main_cf, true);
        tls_line(&talk.config, talk.client.label(), talk.client.secured.as_ref().unwrap())
    };
    let established = "Anonymous TLS connection established from client.example.net[192.0.2.7]: TLSv1.3 with cipher \
                       TLS_AES_256_GCM_SHA384 (256/256 bits)";
    assert_eq!((line(""), line("smtpd_tls_loglevel = 1\n").as_deref()), (None, Some(established)));
    let received = |main_cf: &str| {
        let talk = Talk::full(main_cf, true);
        talk.client
            .received(&talk.config)
            .contains("\t(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits))")
    };
    assert!(!received("") && received("smtpd_tls_received_header = yes\n"));
}
