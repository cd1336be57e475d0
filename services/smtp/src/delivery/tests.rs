use ipc_messages::delivery::Verdict::{Bounced, Deferred, Sent};

use super::testing::{World, job, settings};
use super::*;
use crate::settings::Reuse;

const SERVER: &str = "relay=mail.example.jp[private/dovecot-lmtp]";
const COMMANDS: &str = "MAIL FROM:<x@example.com> SIZE=12\r\nRCPT TO:<a@example.jp>\r\nDATA\r\n";
const MESSAGE: &str = "A: b\r\n\r\n..dot\r\nx\r\n.\r\n";

/// A world with one open session, idle after one message.
fn idle(settings: Settings) -> (World, SessionId) {
    let mut world = World::new(settings);
    world.job(job(1, &["a@example.jp"]));
    let session = world.connect();
    world.greet(session);
    take_message(&mut world, session);
    world.outcomes.clear();
    world.finished.clear();
    (world, session)
}

/// The server takes a message for one recipient.
fn take_message(world: &mut World, session: SessionId) {
    assert!(world.heard(session).ends_with(COMMANDS));
    world.say(session, "250 2.1.0 ok\r\n250 2.1.5 ok\r\n354 go\r\n", 99);
    assert_eq!(world.heard(session), MESSAGE);
    world.say(session, "250 2.0.0 <a@example.jp> xyz Saved\r\n", 99);
}

#[test]
fn a_message_at_every_size_of_pieces() {
    for step in 1..40 {
        let mut world = World::new(settings());
        world.job(job(1, &["a@example.jp", "nobody@example.jp", "full@example.jp"]));
        world.now += 30_000;
        let session = world.connect();
        world.say(session, "220 ready\r\n", step);
        assert_eq!(world.heard(session), "LHLO mail.example.jp\r\n");
        world.say(session, "250-mail\r\n250 PIPELINING\r\n", step);
        assert!(world.heard(session).ends_with("RCPT TO:<full@example.jp>\r\nDATA\r\n"));
        world.say(
            session,
            "250 2.1.0 ok\r\n250 2.1.5 ok\r\n550 5.1.1 <nobody@example.jp> no\r\n250 2.1.5 ok\r\n",
            step,
        );
        world.say(session, "354 go\r\n", step);
        assert_eq!(world.heard(session), MESSAGE);
        world.now += 50_000;
        assert!(world.finished.is_empty());
        world.say(session, "250 2.0.0 <a@example.jp> xyz Saved\r\n452 4.2.2 quota\r\n", step);
        let got: Vec<_> = world.outcomes.iter().map(|(_, o)| (o.index, o.verdict, o.dsn.as_str())).collect();
        assert_eq!(got, [(11, Bounced, "5.1.1"), (10, Sent, "2.0.0"), (12, Deferred, "4.2.2")]);
        assert_eq!(world.finished, [(1, None)]);
        assert_eq!(world.outcomes[0].1.remote_reply.as_deref(), Some("550 5.1.1 <nobody@example.jp> no"));
        assert_eq!(world.outcomes[0].1.remote_mta.as_deref(), Some("mail.example.jp"));
        assert_eq!(world.delivery.jobs(), 0);
        let ends = [
            "dsn=5.1.1, status=bounced (host mail.example.jp[private/dovecot-lmtp] said: 550 5.1.1 <nobody@example.jp> \
             no (in reply to RCPT TO command))",
            "delay=0.15, delays=0.06/0.01/0.03/0.05, dsn=2.0.0, status=sent (250 2.0.0 <a@example.jp> xyz Saved)",
            "dsn=4.2.2, status=deferred (host mail.example.jp[private/dovecot-lmtp] said: 452 4.2.2 quota (in reply to \
             end of DATA command))",
        ];
        for (line, end) in world.log.iter().zip(ends) {
            assert!(line.starts_with("4F2A: to=<") && line.contains(SERVER) && line.ends_with(end), "{line}");
        }
    }
}

#[test]
fn a_connection_is_used_again_and_ends_when_it_is_idle() {
    let (mut world, session) = idle(settings());
    assert_eq!(world.deadlines[&session], Some(Duration::from_secs(2)));
    world.job(job(2, &["a@example.jp"]));
    assert!(world.connects.is_empty());
    assert_eq!(world.deadlines[&session], Some(Duration::from_secs(301)));
    take_message(&mut world, session);
    assert_eq!(world.finished, [(2, None)]);
    assert!(world.last_line().starts_with(&format!("{SERVER}, conn_use=2, delay=")), "{}", world.last_line());
    world.delivery.timed_out(session, world.now);
    world.turn();
    assert_eq!(world.heard(session), "QUIT\r\n");
    assert_eq!(world.closed, [session]);
    assert!(world.delivery.pools.is_empty() && world.delivery.sessions.is_empty());
}

#[test]
fn limits_of_reuse() {
    let count = Reuse { count: Some(1), ..settings().reuse };
    let never = Reuse { allowed: false, ..settings().reuse };
    let age = Reuse { age: Duration::ZERO, ..settings().reuse };
    for reuse in [count, never, age] {
        let (mut world, session) = idle(Settings { reuse, ..settings() });
        assert_eq!(world.closed, [session], "{reuse:?}");
        assert_eq!(world.heard(session), "QUIT\r\n");
        world.job(job(2, &["a@example.jp"]));
        assert_eq!(world.connects.len(), 1);
    }
}

#[test]
fn a_kept_connection_that_died_costs_the_message_nothing() {
    let (mut world, session) = idle(settings());
    world.job(job(2, &["a@example.jp"]));
    assert_eq!(world.heard(session), COMMANDS);
    world.delivery.closed(session, "Connection closed", world.now);
    world.turn();
    assert!(world.outcomes.is_empty() && world.finished.is_empty());
    let second = world.connect();
    world.greet(second);
    take_message(&mut world, second);
    assert_eq!(world.finished, [(2, None)]);
    // One that the server closes in silence is just gone.
    world.delivery.closed(second, "Connection closed", world.now);
    world.turn();
    assert!(world.delivery.pools.is_empty());
}

#[test]
fn no_socket_no_server() {
    for reason in ["No such file or directory", "Connection refused"] {
        let mut world = World::new(settings());
        world.job(job(1, &["a@example.jp", "b@example.jp"]));
        world.refuse(reason);
        let text = format!("connect to mail.example.jp[private/dovecot-lmtp]: {reason}");
        assert_eq!(world.outcomes.len(), 2);
        for (_, outcome) in &world.outcomes {
            assert_eq!((outcome.verdict, outcome.dsn.as_str(), outcome.relay.as_str()), (Deferred, "4.4.1", "none"));
            assert_eq!((&outcome.text, &outcome.remote_mta), (&text, &None));
        }
        assert_eq!(world.finished, [(1, Some(text.clone()))]);
        let end = format!("relay=none, delay=0.07, delays=0.06/0.01/0/0, dsn=4.4.1, status=deferred ({text})");
        assert_eq!(world.last_line(), end);
    }
}

#[test]
fn a_refusal_fails_nothing_while_another_connection_lives() {
    let mut world = World::new(settings());
    world.job(job(1, &["a@example.jp"]));
    world.job(job(2, &["a@example.jp"]));
    assert_eq!(world.connects.len(), 2);
    world.refuse("Resource temporarily unavailable");
    assert!(world.finished.is_empty());
    let session = world.connect();
    world.greet(session);
    take_message(&mut world, session);
    assert!(world.connects.is_empty(), "no further connection is tried for a while");
    take_message(&mut world, session);
    assert_eq!(world.finished, [(1, None), (2, None)]);
}

#[test]
fn a_server_that_refuses_to_talk() {
    let mut world = World::new(settings());
    world.job(job(1, &["a@example.jp"]));
    world.job(job(2, &["b@example.jp"]));
    let first = world.connect();
    let second = world.connect();
    world.say(first, "421 4.3.2 busy\r\n", 99);
    assert!(world.finished.is_empty(), "the other one may still do it");
    world.say(second, "421 4.3.2 busy\r\n", 99);
    let text = "host mail.example.jp[private/dovecot-lmtp] refused to talk to me: 421 4.3.2 busy";
    assert_eq!(world.finished, [(1, Some(text.into())), (2, Some(text.into()))]);
    assert!(world.last_line().starts_with(SERVER), "{}", world.last_line());
    assert_eq!(world.closed, [first, second]);
    assert!(world.delivery.pools.is_empty());
}

#[test]
fn a_server_that_dies_takes_only_its_own_message_with_it() {
    let mut world = World::new(settings());
    world.job(job(1, &["a@example.jp"]));
    world.job(job(2, &["a@example.jp"]));
    let first = world.connect();
    let second = world.connect();
    for session in [first, second] {
        world.greet(session);
        world.heard(session);
        world.say(session, "250 2.1.0 ok\r\n250 2.1.5 ok\r\n354 go\r\n", 99);
        world.heard(session);
    }
    world.delivery.closed(first, "Connection closed", world.now);
    world.turn();
    let text = "lost connection with mail.example.jp[private/dovecot-lmtp] while sending end of data -- message may be \
                sent more than once";
    assert_eq!(world.finished, [(1, Some(text.into()))]);
    assert!(world.last_line().ends_with(&format!("dsn=4.4.2, status=deferred ({text})")), "{}", world.last_line());
    world.say(second, "250 2.0.0 Saved\r\n", 99);
    assert_eq!(world.finished[1], (2, None));
}

#[test]
fn a_server_that_falls_silent_has_the_time_of_its_step() {
    let mut world = World::new(settings());
    world.job(job(1, &["a@example.jp"]));
    let session = world.connect();
    assert_eq!(world.deadlines[&session], Some(Duration::from_secs(300)));
    world.greet(session);
    world.heard(session);
    assert_eq!(world.deadlines[&session], Some(Duration::from_secs(301)));
    world.delivery.timed_out(session, world.now);
    world.turn();
    let text = "conversation with mail.example.jp[private/dovecot-lmtp] timed out while sending MAIL FROM";
    assert_eq!(world.finished, [(1, Some(text.into()))]);
    assert_eq!(world.closed, [session]);
}

#[test]
fn jobs_share_a_limited_number_of_connections() {
    let mut world = World::new(settings());
    for name in 0..WINDOW as u64 {
        world.job(job(name, &["a@example.jp"]));
    }
    assert_eq!(world.connects.len(), CONNECTIONS);
    let sessions: Vec<SessionId> = (0..CONNECTIONS).map(|_| world.connect()).collect();
    for &session in &sessions {
        world.greet(session);
    }
    while world.finished.len() < WINDOW {
        for &session in &sessions {
            take_message(&mut world, session);
        }
    }
    assert!(world.connects.is_empty() && world.outcomes.iter().all(|(_, outcome)| outcome.verdict == Sent));
}

#[test]
#[should_panic(expected = "more jobs than the window")]
fn the_window_holds() {
    let mut world = World::new(settings());
    for name in 0..=WINDOW as u64 {
        world.job(job(name, &["a@example.jp"]));
    }
}

#[test]
fn large_content_waits_for_the_server() {
    let mut world = World::new(settings());
    let content = b"0123456789\n".repeat(100_000);
    let large = Job { size: content.len() as u64 - 11, offset: 11, ..job(1, &["a@example.jp"]) };
    world.delivery.deliver(large, content, world.now);
    world.turn();
    let session = world.connect();
    world.greet(session);
    world.heard(session);
    world.say(session, "250 ok\r\n250 ok\r\n354 go\r\n", 99);
    let mut whole = Vec::new();
    while let Some(sent) = world.sent.get(&session).map(Vec::len) {
        assert!(sent <= IN_FLIGHT + 2 * PIECE, "{sent} bytes wait");
        whole.extend(world.heard(session).into_bytes());
    }
    assert_eq!(whole, [b"0123456789\r\n".repeat(99_999), b".\r\n".to_vec()].concat());
    assert_eq!(world.deadlines[&session], Some(Duration::from_secs(600)));
}

#[test]
fn content_that_ends_early_is_never_ended_for_the_server() {
    let mut world = World::new(settings());
    let short = Job { size: 1000, ..job(1, &["a@example.jp"]) };
    world.job(short);
    let session = world.connect();
    world.greet(session);
    world.heard(session);
    world.say(session, "250 ok\r\n250 ok\r\n354 go\r\n", 99);
    assert!(!world.heard(session).ends_with(".\r\n"));
    assert_eq!(world.aborted, [session]);
    assert_eq!(world.finished, [(1, None)]);
    assert!(world.last_line().ends_with("dsn=4.3.0, status=deferred (unreadable mail queue entry)"));
}

#[test]
fn without_the_queue_manager_its_jobs_are_forgotten() {
    let (mut world, kept) = idle(settings());
    world.job(job(2, &["a@example.jp"]));
    world.job(job(3, &["a@example.jp"]));
    assert_eq!(world.connects.len(), 1);
    world.delivery.reset();
    world.turn();
    assert_eq!(world.aborted, [kept]);
    assert_eq!(world.delivery.jobs(), 0);
    // The connection that was being made is there for whoever comes next.
    let second = world.connect();
    world.greet(second);
    world.job(job(2, &["a@example.jp"]));
    take_message(&mut world, second);
    assert_eq!(world.finished, [(2, None)]);
}

#[test]
fn draining_ends_with_the_work_in_hand() {
    let (mut world, session) = idle(settings());
    world.job(job(2, &["a@example.jp"]));
    world.delivery.drain();
    assert_eq!(world.delivery.ready(), FromAgent::Ready { transport: "lmtp".into(), window: 0 });
    world.turn();
    assert!(world.closed.is_empty());
    take_message(&mut world, session);
    assert_eq!((world.closed.as_slice(), world.finished.len()), ([session].as_slice(), 1));
}

#[test]
fn every_address_of_a_host_is_tried() {
    let mut world = World::new(settings());
    world.job(Job { nexthop: "inet:localhost:2400".into(), ..job(1, &["a@example.jp"]) });
    world.refuse("Connection refused");
    assert_eq!(world.log, ["connect to localhost[127.0.0.1]:2400: Connection refused"]);
    assert!(world.finished.is_empty());
    world.refuse("Connection refused");
    let text = "connect to localhost[::1]:2400: Connection refused";
    assert_eq!(world.log[1], text);
    assert_eq!(world.finished, [(1, Some(text.into()))]);
}

#[test]
fn what_cannot_be_delivered_to_is_deferred_at_once() {
    let unprotected = Settings { unprotected: Some("TLS is required"), ..settings() };
    let table = [
        (
            settings(),
            "unix:private/x",
            "4.3.5",
            "no transport parameter of main.cf names the socket private/x, so it is out of reach",
        ),
        (settings(), "[lmtp.example.org]:x", "4.3.5", "bad destination [lmtp.example.org]:x: unknown port x"),
        (unprotected, "unix:private/dovecot-lmtp", "4.7.5", "TLS is required"),
    ];
    for (settings, nexthop, status, text) in table {
        let mut world = World::new(settings);
        world.job(Job { nexthop: nexthop.into(), ..job(1, &["a@example.org", "b@example.org"]) });
        assert_eq!(world.outcomes.len(), 2);
        assert_eq!(world.finished, [(1, Some(text.into()))]);
        assert!(world.connects.is_empty());
        let end = format!("relay=none, delay=0.07, delays=0.06/0.01/0/0, dsn={status}, status=deferred ({text})");
        assert_eq!(world.last_line(), end);
    }
}

#[test]
fn what_no_server_would_take_bounces_alone() {
    let mut world = World::new(settings());
    world.job(Job { size: 2000, ..job(1, &["a@example.jp"]) });
    world.job(job(2, &["a@b c", "a@example.jp"]));
    let session = world.connect();
    world.refuse("Connection refused");
    world.say(session, "220 ready\r\n250-mail\r\n250-PIPELINING\r\n250 SIZE 1000\r\n", 99);
    assert_eq!(
        world.outcomes[0].1.text,
        "message size 2000 exceeds size limit 1000 of server mail.example.jp[private/dovecot-lmtp]"
    );
    assert_eq!((world.outcomes[0].1.verdict, world.outcomes[1].1.text.as_str()), (Bounced, "bad address syntax"));
    assert_eq!(world.finished, [(1, None)]);
    assert!(world.heard(session).ends_with("RCPT TO:<a@example.jp>\r\nDATA\r\n"));
}

#[test]
fn many_outcomes_take_several_frames() {
    let mut delivery = Delivery::new(settings());
    delivery.deliver(job(7, &["a@example.jp"; 100]), Vec::new(), 0);
    delivery.not_connected(SessionId(1), &"x".repeat(2000), 0);
    delivery.end_of_turn();
    let told = std::iter::from_fn(|| delivery.poll()).filter_map(|order| match order {
        Order::Tell(FromAgent::Outcomes { outcomes, .. }) => Some(outcomes),
        _ => None,
    });
    let frames: Vec<_> = told.collect();
    assert!(frames.len() > 1 && frames.iter().map(Vec::len).sum::<usize>() == 100);
    for frame in frames {
        let texts: usize = frame.iter().map(|outcome| outcome.text.len()).sum();
        assert!(texts < outcomes::FRAME, "{texts} bytes in a frame");
    }
}

#[test]
fn a_flood_while_nothing_is_asked_ends_the_connection() {
    let (mut world, session) = idle(settings());
    world.say(session, &"250 noise\r\n".repeat(10_000), 4096);
    assert_eq!(world.aborted, [session]);
    assert!(world.delivery.pools.is_empty());
}

#[test]
fn no_reply_of_a_server_panics() {
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed % below as u64) as usize
    };
    let replies = [
        "220 hi\r\n",
        "250 ok\r\n",
        "250-PIPELINING\r\n",
        "354 go\r\n",
        "421 bye\r\n",
        "452 4.2.2 full\r\n",
        "550 no\r\n",
        "junk\r\n",
        "503 what\r\n",
        "\r\n",
        "25",
    ];
    for round in 0..3000 {
        let mut world = World::new(settings());
        for name in 0..3 {
            world.job(job(name, &["a@example.jp", "b@example.jp"]));
        }
        for _ in 0..60 {
            let session = SessionId(random(5) as u64 + 1);
            match random(12) {
                0 if !world.connects.is_empty() => drop(world.connect()),
                1 if random(4) == 0 && !world.connects.is_empty() => world.refuse("no"),
                2 if random(9) == 0 => world.delivery.closed(session, "gone", world.now),
                3 if random(9) == 0 => world.delivery.timed_out(session, world.now),
                4 => drop(world.heard(session)),
                _ => world.delivery.received(session, replies[random(replies.len())].as_bytes(), world.now),
            }
            world.turn();
        }
        while !world.connects.is_empty() || !world.delivery.sessions.is_empty() {
            world.connects.clear();
            let open: Vec<SessionId> = world.delivery.sessions.keys().copied().collect();
            for session in open {
                world.delivery.closed(session, "gone", world.now);
                world.turn();
            }
        }
        assert_eq!(world.finished.len(), 3, "round {round}: every job ends");
        assert_eq!(world.outcomes.len(), 6, "round {round}: every recipient has one outcome");
        assert!(world.delivery.pools.is_empty() && world.delivery.jobs() == 0);
    }
}
