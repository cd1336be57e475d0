use std::collections::VecDeque;

use super::*;
use crate::delivery::testing::{configured, outside};
use crate::settings::Outbound;

/// What name servers know: exchangers of domains, addresses of hosts. What they do not know does not exist.
struct World {
    exchangers: Result<Vec<(u16, &'static str)>, Failure>,
    hosts: &'static [(&'static str, &'static [&'static str])],
}

impl World {
    fn find(&self, site: Site, outbound: &Outbound) -> Result<Vec<String>, (&'static str, String)> {
        let (mut lookup, mut progress) = Lookup::start(site, outbound);
        let mut queries = VecDeque::new();
        loop {
            match progress {
                Progress::Ask(more) => queries.extend(more),
                Progress::Found(servers) => return Ok(servers.iter().map(Server::to_string).collect()),
                Progress::Refused(refusal) => return Err((refusal.status, refusal.reason)),
            }
            let query = queries.pop_front().expect("something is asked for");
            progress = match &query {
                Query::Exchangers(domain) => {
                    assert_eq!(domain, "example.com");
                    let exchange = |(preference, host): (u16, &str)| Exchange { preference, host: host.into() };
                    let records = self.exchangers.clone().map(|all| all.into_iter().map(exchange).collect());
                    lookup.exchangers(records.map(|records| Found { records, secure: false }), outbound)
                }
                Query::Addresses { host, v6, .. } => {
                    let answer = match self.hosts.iter().find(|(name, _)| name == host) {
                        None => Err(Failure::NotFound),
                        Some((_, ["later"])) => Err(Failure::Temporary("timeout".into())),
                        Some((_, addresses)) => {
                            let all = addresses.iter().map(|address| address.parse::<IpAddr>().unwrap());
                            let records: Vec<IpAddr> = all.filter(|address| address.is_ipv6() == *v6).collect();
                            if records.is_empty() { Err(Failure::NoData) } else { Ok(Found { records, secure: false }) }
                        }
                    };
                    lookup.addresses(query, answer, outbound, 7)
                }
            };
        }
    }
}

fn site(name: &str) -> Site {
    Site { name: name.into(), port: 25, exchangers: true }
}

const HOSTS: &[(&str, &[&str])] = &[
    ("a.example", &["192.0.2.10", "2001:db8::10"]),
    ("b.example", &["192.0.2.20", "192.0.2.21"]),
    ("c.example", &["192.0.2.30"]),
    ("example.com", &["192.0.2.40"]),
    ("us.example", &["192.0.2.1"]),
    ("slow.example", &["later"]),
];

#[test]
fn servers_of_a_domain() {
    let ok = |servers: &[&str]| Ok(servers.iter().map(|server| server.to_string()).collect::<Vec<String>>());
    let refused = |status: &'static str, reason: &str| Err((status, reason.to_string()));
    let name_error = "Host or domain name not found. Name service error for name=";
    let not_found = format!("{name_error}none.example type=A: Host not found");
    for (exchangers, expected) in [
        // The smaller preference first.
        (
            Ok(vec![(20, "c.example"), (10, "b.example")]),
            ok(&["b.example[192.0.2.20]", "b.example[192.0.2.21]", "c.example[192.0.2.30]"]),
        ),
        // One without an address is left out, one that is an address is taken.
        (Ok(vec![(10, "none.example"), (20, "192.0.2.99")]), ok(&["192.0.2.99[192.0.2.99]"])),
        // No exchanger: the domain is its own.
        (Err(Failure::NotFound), ok(&["example.com[192.0.2.40]"])),
        (Err(Failure::NoData), ok(&["example.com[192.0.2.40]"])),
        // The null exchanger counts when it is alone.
        (Ok(vec![(0, "")]), refused("5.1.0", "Domain example.com does not accept mail (nullMX)")),
        (Ok(vec![(0, ""), (10, "c.example")]), ok(&["c.example[192.0.2.30]"])),
        // Only those better than ourselves.
        (Ok(vec![(10, "c.example"), (20, "us.example"), (30, "b.example")]), ok(&["c.example[192.0.2.30]"])),
        (
            Ok(vec![(10, "us.example"), (20, "c.example")]),
            refused("5.4.6", "mail for example.com loops back to myself"),
        ),
        (
            Ok(vec![(5, "none.example"), (10, "us.example")]),
            refused("4.4.4", "unable to find primary relay for example.com"),
        ),
        // What the name servers cannot say now is no "no".
        (
            Err(Failure::Temporary("SERVFAIL".into())),
            refused("4.4.3", &format!("{name_error}example.com type=MX: Host not found, try again")),
        ),
        (
            Ok(vec![(10, "slow.example"), (20, "none.example")]),
            refused("4.4.3", &format!("{name_error}slow.example type=A: Host not found, try again")),
        ),
        (Ok(vec![(10, "none.example")]), refused("5.4.4", &not_found)),
    ] {
        let world = World { exchangers: exchangers.clone(), hosts: HOSTS };
        assert_eq!(world.find(site("example.com"), &outside().outbound), expected, "{exchangers:?}");
    }
}

#[test]
fn hosts_by_name_and_address() {
    let world = World { exchangers: Err(Failure::NotFound), hosts: HOSTS };
    let bracketed = |name: &str| Site { exchangers: false, ..site(name) };
    for (site, expected) in [
        (bracketed("b.example"), Ok(vec!["b.example[192.0.2.20]".to_string(), "b.example[192.0.2.21]".into()])),
        (bracketed("192.0.2.9"), Ok(vec!["192.0.2.9[192.0.2.9]".into()])),
        (bracketed("us.example"), Err(("5.4.6", "mail for us.example loops back to myself".into()))),
        (Site { port: 26, ..bracketed("us.example") }, Ok(vec!["us.example[192.0.2.1]".into()])),
        (Site { port: 26, ..bracketed("LocalHost") }, Ok(vec!["LocalHost[127.0.0.1]".into()])),
    ] {
        assert_eq!(world.find(site.clone(), &outside().outbound), expected, "{site:?}");
    }
}

/// Exchangers with four addresses of IPv4 and then one of IPv6.
const MANY: &[(u16, &str)] = &[(10, "b.example"), (10, "c.example"), (20, "a.example")];

/// The servers that a line of main.cf leads to, for SMTP and, where the parameter has a twin there, for LMTP as well.
fn chosen(line: &str) -> Vec<String> {
    let found = |agent: &str, line: &str| {
        let text =
            format!("inet_protocols = all\nsmtp_randomize_addresses = no\nlmtp_randomize_addresses = no\n{line}");
        let world = World { exchangers: Ok(MANY.to_vec()), hosts: HOSTS };
        world.find(site("example.com"), &configured(agent, &text).outbound).unwrap()
    };
    let servers = found("smtp", line);
    assert_eq!(servers, found("lmtp", &line.replace("smtp_", "lmtp_")), "{line}");
    servers
}

#[test]
fn inet_protocols() {
    assert_eq!(chosen("inet_protocols = all").last().unwrap(), "a.example[2001:db8::10]");
    assert_eq!(chosen("inet_protocols = ipv4").last().unwrap(), "a.example[192.0.2.10]");
    assert_eq!(chosen("inet_protocols = ipv6"), ["a.example[2001:db8::10]"]);
}

#[test]
fn address_preference() {
    assert_eq!(chosen("smtp_address_preference = ipv4").last().unwrap(), "a.example[2001:db8::10]");
    assert_eq!(chosen("smtp_address_preference = ipv6").last().unwrap(), "a.example[192.0.2.10]");
}

#[test]
fn mx_address_limit() {
    assert_eq!(chosen("smtp_mx_address_limit = 4").len(), 4);
    assert_eq!(chosen("smtp_mx_address_limit = 0").len(), 5);
}

#[test]
fn balance_inet_protocols() {
    for (balance, last) in [("yes", "a.example[2001:db8::10]"), ("no", "c.example[192.0.2.30]")] {
        let line = format!("smtp_mx_address_limit = 3\nsmtp_balance_inet_protocols = {balance}");
        assert_eq!(chosen(&line).last().unwrap(), last);
    }
}

#[test]
fn randomize_addresses() {
    let fixed = chosen("");
    let mixed = chosen("smtp_randomize_addresses = yes");
    assert_ne!(fixed, mixed);
    assert!(mixed[3].starts_with("a.") && mixed[4].starts_with("a."), "not across preferences: {mixed:?}");
}

#[test]
fn ignore_mx_lookup_error() {
    for (ignore, found) in [("yes", true), ("no", false)] {
        let world = World { exchangers: Err(Failure::Temporary("SERVFAIL".into())), hosts: HOSTS };
        let settings = configured("smtp", &format!("inet_protocols = ipv4\nignore_mx_lookup_error = {ignore}"));
        assert_eq!(world.find(site("example.com"), &settings.outbound).is_ok(), found);
    }
}

#[test]
fn defer_if_no_mx_address_found() {
    for (defer, status) in [("no", "5.4.4"), ("yes", "4.4.4")] {
        let world = World { exchangers: Ok(vec![(10, "none.example")]), hosts: HOSTS };
        let settings = configured("smtp", &format!("smtp_defer_if_no_mx_address_found = {defer}"));
        assert_eq!(world.find(site("example.com"), &settings.outbound).unwrap_err().0, status);
    }
}

#[test]
fn exchangers_beyond_the_limit_are_left_aside() {
    let all: Vec<(u16, &str)> = (0..=MAX_EXCHANGERS as u16).map(|preference| (preference, "c.example")).collect();
    let outbound = outside().outbound;
    let (mut lookup, _) = Lookup::start(site("example.com"), &outbound);
    let records = all.into_iter().map(|(preference, host)| Exchange { preference, host: host.into() }).collect();
    match lookup.exchangers(Ok(Found { records, secure: false }), &outbound) {
        Progress::Ask(queries) => assert_eq!(queries.len(), MAX_EXCHANGERS),
        other => panic!("{other:?}"),
    }
}
