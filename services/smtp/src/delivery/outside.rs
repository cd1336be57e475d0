//! Deliveries to other hosts, from the question for mail exchangers to the line in the log.

use std::net::IpAddr;

use ipc_messages::delivery::Verdict::{Bounced, Deferred, Sent};
use ipc_messages::dns::{Exchange, Failure, Found, FromResolver, Source};

use super::testing::{World, configured, job, outside};
use super::*;

const EXCHANGERS: &[(u16, &str)] = &[(10, "mx1.example.org"), (20, "mx2.example.org")];

/// A job for example.org.
fn abroad(name: u64) -> Job {
    Job { nexthop: "example.org".into(), ..job(name, &["a@example.org"]) }
}

impl World {
    /// The resolver answers the oldest question.
    fn resolve(&mut self, exchangers: Result<&[(u16, &str)], Failure>, hosts: Result<&[&str], Failure>) {
        let answer = match self.questions.pop_front().expect("a question") {
            ToResolver::Mx { corr, .. } => {
                let exchange =
                    |(preference, host): &(u16, &str)| Exchange { preference: *preference, host: (*host).into() };
                let answer = exchangers.map(|all| Found { records: all.iter().map(exchange).collect(), secure: false });
                FromResolver::Mx { corr, answer }
            }
            ToResolver::Host { corr, .. } => {
                let address = |address: &&str| address.parse::<IpAddr>().unwrap();
                let answer = hosts.map(|all| Found { records: all.iter().map(address).collect(), secure: false });
                FromResolver::Host { corr, answer }
            }
            other => panic!("{other:?}"),
        };
        self.delivery.answer(answer, self.now);
        self.turn();
    }

    /// Two exchangers with an address each.
    fn resolve_all(&mut self) {
        self.resolve(Ok(EXCHANGERS), Ok(&[]));
        self.resolve(Ok(&[]), Ok(&["192.0.2.10"]));
        self.resolve(Ok(&[]), Ok(&["192.0.2.20"]));
    }

    fn ehlo(&mut self, session: SessionId) {
        self.say(session, "220 mx ESMTP\r\n", 99);
        assert_eq!(self.heard(session), "EHLO mail.example.jp\r\n");
        self.say(session, "250-mx\r\n250 PIPELINING\r\n", 99);
    }
}

#[test]
fn a_message_goes_to_the_best_exchanger() {
    let mut world = World::new(outside());
    world.job(abroad(1));
    assert!(world.connects.is_empty(), "nothing is known yet");
    world.resolve_all();
    let session = world.connect();
    world.ehlo(session);
    assert_eq!(world.heard(session), "MAIL FROM:<x@example.com>\r\nRCPT TO:<a@example.org>\r\nDATA\r\n");
    world.say(session, "250 ok\r\n250 ok\r\n354 go\r\n", 99);
    world.heard(session);
    world.say(session, "250 2.0.0 Ok: queued as 4ZX\r\n", 99);
    let line = "relay=mx1.example.org[192.0.2.10]:25, delay=0.07, delays=0.06/0.01/0/0, dsn=2.0.0, status=sent (250 2.0.0 \
                Ok: queued as 4ZX)";
    assert_eq!(world.last_line(), line);
    assert_eq!((world.outcomes[0].1.verdict, world.finished[0].clone()), (Sent, (1, None)));
    // The next one takes the connection that is there.
    world.job(abroad(2));
    assert!(world.questions.is_empty() && world.connects.is_empty());
}

#[test]
fn exchangers_that_cannot_be_reached_are_passed_over() {
    let mut world = World::new(outside());
    world.job(abroad(1));
    world.resolve_all();
    world.refuse("Connection refused");
    assert_eq!(world.log, ["connect to mx1.example.org[192.0.2.10]:25: Connection refused"]);
    // The next connection does not begin with the one that is known to be dead.
    world.job(abroad(2));
    assert_eq!(world.addresses[2..], ["192.0.2.20:25".parse().unwrap()]);
    world.refuse("Connection timed out");
    world.refuse("Connection timed out");
    let text = "connect to mx2.example.org[192.0.2.20]:25: Connection timed out";
    assert_eq!(world.finished, [(1, Some(text.into())), (2, Some(text.into()))]);
    assert!(
        world.last_line().starts_with("relay=none, ")
            && world.last_line().contains("dsn=4.4.1, status=deferred (connect")
    );
    // Next time everything is looked for anew.
    world.job(abroad(3));
    assert_eq!(world.questions.len(), 1);
}

#[test]
fn an_exchanger_that_refuses_to_talk_is_passed_over() {
    let mut world = World::new(outside());
    world.job(abroad(1));
    world.resolve_all();
    let session = world.connect();
    world.say(session, "554 go away\r\n", 99);
    assert_eq!(world.log, ["4F2A: host mx1.example.org[192.0.2.10] refused to talk to me: 554 go away"]);
    assert_eq!(world.heard(session), "QUIT\r\n");
    let session = world.connect();
    assert_eq!(world.addresses[1], "192.0.2.20:25".parse().unwrap());
    world.ehlo(session);
    assert!(world.heard(session).starts_with("MAIL FROM"));
}

#[test]
fn mx_session_limit() {
    for (limit, servers) in [(1, 1), (2, 2), (0, 2)] {
        let text = format!("inet_protocols = ipv4\nsmtp_mx_session_limit = {limit}");
        let mut world = World::new(configured("smtp", &text));
        world.job(abroad(1));
        world.resolve_all();
        while !world.connects.is_empty() {
            let session = world.connect();
            world.say(session, "421 busy\r\n", 99);
        }
        assert_eq!(world.addresses.len(), servers, "{limit}");
        assert!(world.last_line().ends_with("refused to talk to me: 421 busy)"), "{}", world.last_line());
        assert_eq!(world.outcomes[0].1.verdict, Deferred);
    }
}

#[test]
fn host_lookup() {
    for (agent, name) in [("smtp", "smtp_host_lookup"), ("lmtp", "lmtp_host_lookup")] {
        for (value, expected) in [("dns", Source::Dns), ("native", Source::Native), ("dns, native", Source::Native)] {
            let mut world = World::new(configured(agent, &format!("inet_protocols = ipv4\n{name} = {value}")));
            world.job(Job { nexthop: "[mx1.example.org]".into(), ..abroad(1) });
            assert!(matches!(world.questions[0], ToResolver::Host { source, .. } if source == expected), "{value}");
        }
    }
}

#[test]
fn a_domain_without_servers_bounces_and_one_that_cannot_be_asked_for_waits() {
    let table = [
        (Failure::NotFound, Bounced, "5.4.4", "bounced", "type=A: Host not found)"),
        (Failure::Temporary("x".into()), Deferred, "4.4.3", "deferred", "type=MX: Host not found, try again)"),
    ];
    for (failure, verdict, dsn, status, end) in table {
        let mut world = World::new(outside());
        world.job(abroad(1));
        while !world.questions.is_empty() {
            world.resolve(Err(failure.clone()), Err(failure.clone()));
        }
        assert_eq!(world.outcomes[0].1.verdict, verdict);
        let whole = format!(
            "dsn={dsn}, status={status} (Host or domain name not found. Name service error for name=example.org {end}"
        );
        assert!(world.last_line().ends_with(&whole), "{}", world.last_line());
        assert!(world.delivery.pools.is_empty() && world.delivery.asked.is_empty());
    }
}

#[test]
fn servers_are_looked_for_once_for_all_jobs_and_again_after_a_while() {
    let mut world = World::new(outside());
    (1..=3).for_each(|name| world.job(abroad(name)));
    assert_eq!(world.questions.len(), 1);
    world.resolve_all();
    assert_eq!(world.connects.len(), 3);
    world.now += 61_000_000;
    world.job(abroad(4));
    assert_eq!((world.questions.len(), world.connects.len()), (1, 3));
}

#[test]
fn a_new_resolver_is_asked_again_and_late_answers_are_ignored() {
    let mut world = World::new(outside());
    world.job(abroad(1));
    let lost = world.questions.pop_front().unwrap();
    world.delivery.ask_again();
    world.turn();
    assert_eq!(world.questions, [lost]);
    // The queue manager goes, and comes back with the same job: this is another search.
    world.delivery.reset();
    world.job(abroad(1));
    assert_eq!(world.questions.len(), 2);
    world.resolve(Err(Failure::NotFound), Ok(&[]));
    assert!(world.outcomes.is_empty());
    world.resolve_all();
    assert_eq!(world.connects.len(), 1);
}
