//! AUTH.

use worker::ConnId;

use crate::login::who;
use crate::sasl::Sasl;
use crate::testing::{Talk, full_section};
use ipc_messages::dns::ClientName;

/// The mechanisms of EHLO.
fn mechanisms(main_cf: &str, tls: bool) -> String {
    let ehlo = Talk::full(&format!("{main_cf}\n"), tls).say("EHLO c");
    let auth = |line: &str| line.get(4..).and_then(|line| line.strip_prefix("AUTH ")).map(str::to_string);
    ehlo.lines().find_map(auth).unwrap_or_default()
}

#[test]
fn security_options() {
    assert_eq!((mechanisms("", false), mechanisms("", true)), ("PLAIN LOGIN".into(), "PLAIN LOGIN".into()));
    let clear = "smtpd_sasl_security_options = noplaintext, noanonymous";
    assert_eq!((mechanisms(clear, false), mechanisms(clear, true)), (String::new(), String::new()));
    let tls = format!("{clear}\nsmtpd_sasl_tls_security_options =");
    assert_eq!((mechanisms(&tls, false), mechanisms(&tls, true)), (String::new(), "PLAIN LOGIN ANONYMOUS".into()));
}

#[test]
fn the_filter_of_mechanisms() {
    assert_eq!(mechanisms("smtpd_sasl_mechanism_filter = !login, static:rest", true), "PLAIN");
    assert_eq!(mechanisms("smtpd_sasl_mechanism_filter = login", true), "LOGIN");
    let mut talk = Talk::full("smtpd_sasl_mechanism_filter = login\n", true);
    assert!(talk.last(&["EHLO c", "AUTH PLAIN AGEAYg=="]).starts_with("535 5.7.8"));
}

#[test]
fn only_under_tls() {
    let only = "smtpd_tls_auth_only = yes";
    assert_eq!((mechanisms(only, false), mechanisms(only, true)), (String::new(), "PLAIN LOGIN".into()));
    let mut talk = Talk::full("smtpd_tls_auth_only = yes\n", false);
    assert_eq!(talk.last(&["EHLO c", "AUTH PLAIN AGEAYg=="]), "503 5.5.1 Error: authentication not enabled");
}

#[test]
fn clients_to_which_it_is_not_announced() {
    let here = "smtpd_sasl_exceptions_networks = 192.0.2.0/24";
    assert_eq!(mechanisms(here, true), "");
    assert_eq!(mechanisms("smtpd_sasl_exceptions_networks = 192.0.3.0/24", true), "PLAIN LOGIN");
    let mut talk = Talk::full(&format!("{here}\n"), true);
    assert!(talk.last(&["EHLO c", "AUTH PLAIN AGEAYg=="]).starts_with("235"), "as in Postfix, it is not refused");
}

#[test]
fn broken_clients() {
    let ehlo = |main_cf: &str| Talk::full(main_cf, true).say("EHLO c");
    assert!(!ehlo("").contains("AUTH="));
    assert!(ehlo("broken_sasl_auth_clients = yes\n").contains("250-AUTH=PLAIN LOGIN"));
}

#[test]
fn the_limit_of_a_response() {
    let response = |main_cf: &str, length: usize| {
        let mut talk = Talk::full(main_cf, true);
        talk.last(&["EHLO c", "AUTH LOGIN", &"A".repeat(length)])
    };
    let too_long = "500 5.5.6 SASL response limit exceeded";
    assert!(response("", 12_288).starts_with("235"));
    assert_eq!(response("", 12_292), too_long);
    assert!(response("smtpd_sasl_response_limit = 20000\n", 20_000).starts_with("235"));
    assert_eq!(response("smtpd_sasl_response_limit = 20000\n", 20_004), too_long);
}

#[test]
fn the_name_of_the_service() {
    let asked = |main_cf: &str| {
        let section = full_section(main_cf);
        let talk = Talk::with(section, ClientName::Verified("c".into()), None);
        let (server, session) = (ConnId::for_tests(1), ConnId::for_tests(2));
        let mut sasl = Sasl::default();
        sasl.connected(server, 1);
        sasl.input(b"VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nSPID\t1\nCUID\t1\nCOOKIE\t0123456789abcdef0123456789abcdef\nDONE\n");
        let who = who(&talk.config, &talk.client).unwrap();
        let (_, bytes) = sasl.start(session, "PLAIN", Some(b"x"), &who).unwrap();
        String::from_utf8(bytes).unwrap()
    };
    assert!(asked("").contains("\tservice=smtp\t"));
    assert!(asked("smtpd_sasl_service = mail\n").contains("\tservice=mail\t"));
}

#[test]
fn the_user_in_received() {
    let received = |main_cf: &str| {
        let mut talk = Talk::full(main_cf, true);
        talk.last(&["EHLO c", "AUTH PLAIN AGEAYg=="]);
        talk.client.received(&talk.config).contains("(Authenticated sender: joe)")
    };
    assert!(!received("") && received("smtpd_sasl_authenticated_header = yes\n"));
}

#[test]
fn owners_of_senders() {
    let mut talk = Talk::full("smtpd_sender_restrictions = reject_sender_login_mismatch\n", true);
    let commands = ["EHLO c", "AUTH PLAIN AGEAYg==", "MAIL FROM:<a@b.example>", "RCPT TO:<rcpt@example.org>"];
    assert_eq!(talk.last(&commands), "250 2.1.5 Ok", "without tables nobody owns anything");
    let maps = "smtpd_sender_login_maps = hash:/o\nsmtpd_sender_restrictions = reject_sender_login_mismatch\n";
    assert!(Talk::full(maps, true).last(&commands).ends_with("not owned by user joe"));
}
