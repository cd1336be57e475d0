//! Every parameter by what it changes: each test plays the same scene for both agents under two values.

use std::time::Duration;

use ipc_messages::delivery::{Job, Verdict};

use super::*;
use crate::delivery::SessionId;
use crate::delivery::testing::{World, configured, job};

/// A line about a parameter of both agents: `X_` is its prefix, and what is about EHLO is about LHLO for LMTP.
fn line(agent: &str, text: &str) -> String {
    let text = text.replace("X_", &format!("{agent}_"));
    if agent == "lmtp" { text.replace("helo_", "lhlo_").replace("ehlo_", "lhlo_") } else { text }
}

/// Calls `scene` with a fresh world of each agent under these lines.
fn each(text: &str, mut scene: impl FnMut(World, &str)) {
    for agent in ["lmtp", "smtp"] {
        scene(World::new(configured(agent, &line(agent, text))), if agent == "lmtp" { "LHLO" } else { "EHLO" });
    }
}

fn message(name: u64) -> Job {
    Job { nexthop: "[192.0.2.7]".into(), ..job(name, &["a@example.jp"]) }
}

impl World {
    /// A connection that was greeted for a message; the server announces all that matters.
    fn open(&mut self) -> SessionId {
        self.job(message(1));
        let session = self.connect();
        self.say(session, "220 ready ESMTP\r\n", 99);
        self.heard(session);
        self.say(session, "250-ready\r\n250-PIPELINING\r\n250 SIZE\r\n", 99);
        session
    }

    /// The same once more; the reply to the greeting is still to come.
    fn open_again(&mut self) -> SessionId {
        self.job(message(2));
        let session = self.connect();
        self.say(session, "220 ready ESMTP\r\n", 99);
        session
    }

    /// The server takes what it is given.
    fn take(&mut self, session: SessionId) {
        self.heard(session);
        self.say(session, "250 ok\r\n250 ok\r\n354 go\r\n", 99);
        self.heard(session);
        self.say(session, "250 ok\r\n", 99);
    }

    fn limit(&self, session: SessionId) -> u64 {
        self.deadlines[&session].map_or(0, |limit| limit.as_secs())
    }
}

#[test]
fn helo_name() {
    each("X_helo_name = other.example.jp", |mut world, verb| {
        world.job(message(1));
        let session = world.connect();
        world.say(session, "220 ready\r\n", 99);
        assert_eq!(world.heard(session), format!("{verb} other.example.jp\r\n"));
    });
}

#[test]
fn always_and_never_send_ehlo() {
    for (text, greeting, verb) in [
        ("smtp_always_send_ehlo = yes", "220 ready", "EHLO"),
        ("smtp_always_send_ehlo = no", "220 ready", "HELO"),
        ("smtp_always_send_ehlo = no", "220 ready ESMTP", "EHLO"),
        ("smtp_never_send_ehlo = yes", "220 ready ESMTP", "HELO"),
    ] {
        let mut world = World::new(configured("smtp", text));
        world.job(message(1));
        let session = world.connect();
        world.say(session, &format!("{greeting}\r\n"), 99);
        assert_eq!(world.heard(session), format!("{verb} mail.example.jp\r\n"), "{text}");
    }
}

#[test]
fn discard_ehlo_keywords() {
    for (text, commands) in [("", 3), ("X_discard_ehlo_keywords = pipelining, dsn", 1)] {
        each(text, |mut world, _| {
            let session = world.open();
            assert_eq!(world.heard(session).lines().count(), commands);
        });
    }
}

#[test]
fn skip_5xx_greeting() {
    for (value, verdict) in [("yes", Verdict::Deferred), ("no", Verdict::Bounced)] {
        each(&format!("X_skip_5xx_greeting = {value}"), |mut world, _| {
            world.job(message(1));
            let session = world.connect();
            world.say(session, "554 go away\r\n", 99);
            assert_eq!(world.outcomes[0].1.verdict, verdict);
        });
    }
}

#[test]
fn skip_quit_response() {
    for (value, at_once) in [("yes", true), ("no", false)] {
        each(&format!("X_skip_quit_response = {value}\nX_connection_cache_on_demand = no"), |mut world, _| {
            let session = world.open();
            world.take(session);
            assert_eq!(world.heard(session), "QUIT\r\n");
            assert_eq!(!world.closed.is_empty(), at_once);
            world.say(session, "221 bye\r\n", 99);
            assert_eq!(world.closed, [session]);
        });
    }
}

#[test]
fn a_server_that_does_not_answer_quit_is_left() {
    each("X_skip_quit_response = no\nX_connection_cache_on_demand = no\nX_quit_timeout = 7", |mut world, _| {
        let session = world.open();
        world.take(session);
        assert_eq!(world.limit(session), 7);
        world.delivery.timed_out(session, world.now);
        world.turn();
        assert_eq!(world.closed, [session]);
    });
}

#[test]
fn quote_rfc821_envelope() {
    for (value, command) in [("yes", "RCPT TO:<\"a b\"@example.jp>"), ("no", "RCPT TO:<a b@example.jp>")] {
        each(&format!("X_quote_rfc821_envelope = {value}"), |mut world, _| {
            world.job(Job { nexthop: "[192.0.2.7]".into(), ..job(1, &["a b@example.jp"]) });
            let session = world.connect();
            world.say(session, "220 ready\r\n", 99);
            world.heard(session);
            world.say(session, "250-ready\r\n250 PIPELINING\r\n", 99);
            assert_eq!(world.heard(session).lines().nth(1), Some(command));
        });
    }
}

#[test]
fn line_length_limit() {
    for (value, content) in [(0, "A: b\r\n\r\n..dot\r\nx\r\n.\r\n"), (3, "A: \r\n b\r\n\r\n..do\r\n t\r\nx\r\n.\r\n")] {
        each(&format!("X_line_length_limit = {value}"), |mut world, _| {
            let session = world.open();
            world.heard(session);
            world.say(session, "250 ok\r\n250 ok\r\n354 go\r\n", 99);
            assert_eq!(world.heard(session), content);
        });
    }
}

#[test]
fn disable_mime_output_conversion() {
    const WIDE: &str = "Content-Transfer-Encoding: 8bit\r\n\r\n\u{e4}\r\n.\r\n";
    const NARROW: &str = "Content-Transfer-Encoding: quoted-printable\r\n\r\n=C3=A4\r\n.\r\n";
    for (value, extension, body, content) in
        [("no", "8BITMIME", " BODY=8BITMIME", WIDE), ("no", "HELP", "", NARROW), ("yes", "HELP", "", WIDE)]
    {
        each(&format!("disable_mime_output_conversion = {value}"), |mut world, _| {
            let text = "Content-Transfer-Encoding: 8bit\n\n\u{e4}".as_bytes().to_vec();
            let job = Job { eight_bit: true, size: text.len() as u64, ..message(1) };
            world.delivery.deliver(job, text, world.now);
            world.turn();
            let session = world.connect();
            world.say(session, "220 ready ESMTP\r\n", 99);
            world.heard(session);
            world.say(session, &format!("250-ready\r\n250-PIPELINING\r\n250 {extension}\r\n"), 99);
            assert_eq!(world.heard(session).lines().next(), Some(format!("MAIL FROM:<x@example.com>{body}").as_str()));
            world.say(session, "250 ok\r\n250 ok\r\n354 go\r\n", 99);
            assert_eq!(world.heard(session), content);
        });
    }
}

#[test]
fn time_limits() {
    let text = "X_connect_timeout = 11\nX_helo_timeout = 12\nX_mail_timeout = 13\nX_rcpt_timeout = 14\nX_data_init_timeout = \
                15\nX_data_xfer_timeout = 16\nX_data_done_timeout = 17\nX_rset_timeout = 18\n";
    each(text, |mut world, _| {
        world.job(message(1));
        let session = world.connects[0];
        assert_eq!(world.limit(session), 11);
        let session = world.connect();
        assert_eq!(world.limit(session), 12);
        world.say(session, "220 ready\r\n", 99);
        assert_eq!(world.limit(session), 12);
        world.heard(session);
        world.say(session, "250 ready\r\n", 99);
        for (limit, reply) in [(13, "250"), (14, "250"), (15, "354")] {
            assert_eq!(world.limit(session), limit);
            world.say(session, &format!("{reply} ok\r\n"), 99);
        }
        assert_eq!(world.limit(session), 17);
        world.say(session, "250 ok\r\n", 99);
        world.job(message(2));
        world.say(session, "250 ok\r\n", 99);
        world.say(session, "550 no\r\n", 99);
        assert_eq!(world.limit(session), 18);
    });
}

#[test]
fn data_xfer_timeout() {
    each("X_data_xfer_timeout = 16", |mut world, _| {
        // More than may be under way at once: the server does not read it.
        let content = vec![b'x'; 500_000];
        let job = Job { size: content.len() as u64, ..message(1) };
        world.delivery.deliver(job, content, world.now);
        world.turn();
        let session = world.connect();
        world.say(session, "220 ready\r\n250-ready\r\n250 PIPELINING\r\n250 ok\r\n250 ok\r\n354 go\r\n", 999);
        assert_eq!(world.limit(session), 16);
    });
}

#[test]
fn tcp_port() {
    each("X_tcp_port = 2626", |mut world, _| {
        world.job(message(1));
        assert_eq!(world.addresses, ["192.0.2.7:2626".parse().unwrap()]);
    });
}

#[test]
fn connection_cache_on_demand() {
    for (value, closed) in [("yes", 0), ("no", 1)] {
        each(&format!("X_connection_cache_on_demand = {value}"), |mut world, _| {
            let session = world.open();
            world.take(session);
            world.heard(session);
            world.say(session, "221 bye\r\n", 99);
            assert_eq!(world.closed.len(), closed);
        });
    }
}

#[test]
fn connection_cache_time_limit() {
    each("X_connection_cache_time_limit = 9", |mut world, _| {
        let session = world.open();
        world.take(session);
        assert_eq!(world.limit(session), 9);
    });
}

#[test]
fn connection_reuse_limits() {
    for (text, messages) in
        [("", 3), ("X_connection_reuse_count_limit = 2", 2), ("X_connection_reuse_time_limit = 15", 2)]
    {
        each(text, |mut world, _| {
            let session = world.open();
            for name in 2..=5 {
                world.take(session);
                world.now += 10_000_000;
                if name <= 3 {
                    world.job(message(name));
                }
            }
            assert_eq!(world.finished.len(), messages, "{text}");
        });
    }
}

/// A session whose server offers STARTTLS, after its reply to the greeting.
fn with_starttls(world: &mut World, job: Job) -> SessionId {
    world.job(job);
    let session = world.connect();
    world.say(session, "220 ready ESMTP\r\n", 99);
    world.heard(session);
    world.say(session, "250-ready\r\n250 STARTTLS\r\n", 99);
    session
}

#[test]
fn tls_security_level() {
    let lines = [
        "",
        "X_tls_security_level = none",
        "X_tls_security_level = may",
        "X_tls_security_level = encrypt",
        "X_use_tls = yes",
    ];
    for (text, tls) in lines.into_iter().zip([false, false, true, true, true]) {
        each(text, |mut world, verb| {
            let session = with_starttls(&mut world, message(1));
            assert_eq!(world.heard(session).starts_with("STARTTLS\r\n"), tls, "{text}");
            if tls {
                world.say(session, "220 go\r\n", 99);
                assert_eq!(world.tls, [session]);
                world.delivery.secured(session, world.now);
                world.turn();
                assert!(world.heard(session).starts_with(verb), "what was said in clear is forgotten");
                world.say(session, "250 ready\r\n", 99);
                assert!(world.heard(session).starts_with("MAIL FROM"));
            }
        });
    }
}

#[test]
fn encryption_that_is_required_is_not_left_out() {
    each("X_tls_security_level = encrypt", |mut world, _| {
        let session = with_starttls(&mut world, message(1));
        world.say(session, "220 go\r\n", 99);
        world.delivery.closed(session, "tls", world.now);
        world.turn();
        let end = "dsn=4.7.5, status=deferred (Cannot start TLS: handshake failure)";
        assert!(world.last_line().ends_with(end), "{}", world.last_line());
        // Another server does not offer it.
        let session = world.open_again();
        world.say(session, "250 ready\r\n", 99);
        assert!(world.last_line().contains("dsn=4.7.4, status=deferred (TLS is required, but was not offered by host"));
    });
}

#[test]
fn opportunistic_tls_that_fails_is_left_out_for_mail_that_has_waited() {
    // The message became active 5 s after it had come.
    for (patience, in_clear) in [(5, true), (6, false)] {
        each(&format!("X_tls_security_level = may\nminimal_backoff_time = {patience}"), |mut world, _| {
            let session = with_starttls(&mut world, Job { active: 6_000_000, ..message(1) });
            world.say(session, "220 go\r\n", 99);
            world.heard(session);
            world.delivery.closed(session, "tls", world.now);
            world.turn();
            assert_eq!(world.connects.is_empty(), !in_clear);
            if !in_clear {
                let end = "dsn=4.7.5, status=deferred (Cannot start TLS: handshake failure)";
                return assert!(world.last_line().ends_with(end), "{}", world.last_line());
            }
            let session = world.connect();
            world.say(session, "220 ready ESMTP\r\n", 99);
            world.heard(session);
            world.say(session, "250-ready\r\n250 STARTTLS\r\n", 99);
            assert!(world.heard(session).starts_with("MAIL FROM"));
        });
    }
}

#[test]
fn mail_for_verified_servers_waits() {
    each("X_tls_security_level = verify", |mut world, _| {
        world.job(message(1));
        assert!(world.connects.is_empty());
        let end = "dsn=4.7.5, status=deferred (TLS is required, but our TLS engine is unavailable)";
        assert!(world.last_line().ends_with(end), "{}", world.last_line());
    });
}

#[test]
fn starttls_timeout() {
    each("X_tls_security_level = may\nX_starttls_timeout = 19", |mut world, _| {
        let session = with_starttls(&mut world, message(1));
        assert_eq!(world.limit(session), 19);
        world.say(session, "220 go\r\n", 99);
        assert_eq!(world.limit(session), 19);
    });
}

#[test]
fn delay_logging_resolution_limit() {
    for (digits, delay) in [(2, "delay=0.07, "), (0, "delay=0, ")] {
        each(&format!("delay_logging_resolution_limit = {digits}"), |mut world, _| {
            let session = world.open();
            world.take(session);
            assert!(world.last_line().contains(delay), "{}", world.last_line());
        });
    }
}

#[test]
fn info_log_address_format() {
    for (value, address) in [("external", "to=<\"a b\"@example.jp>"), ("internal", "to=<a b@example.jp>")] {
        each(&format!("info_log_address_format = {value}"), |mut world, _| {
            world.job(Job { nexthop: "[192.0.2.7]".into(), ..job(1, &["a b@example.jp"]) });
            world.refuse("Connection refused");
            assert!(world.log.last().unwrap().contains(address));
        });
    }
}

#[test]
fn no_limit_is_no_deadline() {
    assert_eq!(limited(Duration::ZERO), None);
    each("X_connect_timeout = 0", |mut world, _| {
        world.job(message(1));
        assert!(world.deadlines.is_empty());
    });
}
