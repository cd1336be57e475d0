//! A resolver and a server made of a table, with simulated time.

use std::time::Duration;

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, CNAME, MX, PTR, SOA, TXT};
use hickory_proto::rr::{Name, RData, Record};
use ipc_messages::dns::{Exchange as Host, MAX_RECORDS};

use super::*;

const CLIENT: &str = "198.51.100.10";
const POINTER: &str = "10.100.51.198.in-addr.arpa.";

struct Bench {
    resolver: Resolver<&'static str>,
    now: Instant,
    /// The newest packet of each flight that is open.
    sent: Vec<(u64, Packet)>,
    answers: Vec<(&'static str, FromResolver)>,
}

impl Bench {
    fn new(conf: &str, hosts: &str) -> Bench {
        // Not random, so that a test can guess what an attacker must not.
        let mut id = 0x1000;
        let random = Box::new(move || {
            id += 1;
            id
        });
        Bench {
            resolver: Resolver::new(ResolvConf::parse(conf), Hosts::parse(hosts), random),
            now: Instant::now(),
            sent: Vec::new(),
            answers: Vec::new(),
        }
    }

    fn local() -> Bench {
        Bench::new("nameserver 127.0.0.1", "")
    }

    fn settle(&mut self) {
        while let Some(output) = self.resolver.poll() {
            match output {
                Output::Send { flight, packet } => {
                    self.sent.retain(|(other, _)| *other != flight);
                    self.sent.push((flight, packet));
                }
                Output::Close { flight } => self.sent.retain(|(other, _)| *other != flight),
                Output::Answer { asker, answer } => self.answers.push((asker, answer)),
            }
        }
    }

    fn ask(&mut self, question: ToResolver) {
        self.resolver.ask("one", question, self.now);
        self.settle();
    }

    fn ask_name(&mut self) {
        self.ask(ToResolver::Name { corr: 1, address: CLIENT.parse().unwrap() });
    }

    fn ask_host(&mut self, name: &str) {
        self.ask(ToResolver::Host { corr: 1, name: name.into(), family: Family::V4, source: Source::Native });
    }

    /// The only packet that is under way.
    fn packet(&self) -> (u64, Packet) {
        assert_eq!(self.sent.len(), 1, "{:?}", self.sent);
        self.sent[0].clone()
    }

    /// The newest packet is answered by what `change` makes of an empty answer.
    fn reply(&mut self, change: impl FnOnce(&mut Message)) {
        let (flight, packet) = self.packet();
        let query = Message::from_vec(&packet.bytes).unwrap();
        let mut answer = Message::new(query.metadata.id, MessageType::Response, OpCode::Query);
        answer.add_queries(query.queries);
        change(&mut answer);
        self.receive(flight, &answer.to_vec().unwrap());
    }

    fn receive(&mut self, flight: u64, bytes: &[u8]) {
        self.resolver.received(flight, bytes, self.now);
        self.settle();
    }

    fn answer(&mut self, records: &[Record]) {
        self.reply(|message| message.answers = records.to_vec());
    }

    fn code(&mut self, code: ResponseCode) {
        self.reply(|message| message.metadata.response_code = code);
    }

    /// Lets time pass until the next deadline.
    fn wait(&mut self) {
        self.now = self.resolver.deadline().expect("nothing is waited for");
        self.resolver.expire(self.now);
        self.settle();
    }

    fn take(&mut self) -> FromResolver {
        assert_eq!(self.answers.len(), 1, "{:?}", self.answers);
        self.answers.remove(0).1
    }

    fn name(&mut self) -> ClientName {
        match self.take() {
            FromResolver::Name { corr: 1, name } => name,
            other => panic!("{other:?}"),
        }
    }

    fn hosts(&mut self) -> Result<Found<IpAddr>, Failure> {
        match self.take() {
            FromResolver::Host { corr: 1, answer } => answer,
            other => panic!("{other:?}"),
        }
    }
}

fn name(text: &str) -> Name {
    let labels = text.trim_end_matches('.').split('.').filter(|label| !label.is_empty());
    Name::from_labels(labels.map(str::as_bytes)).unwrap()
}

fn record(at: &str, data: RData) -> Record {
    Record::from_rdata(name(at), 60, data)
}

fn a(at: &str, address: [u8; 4]) -> Record {
    record(at, RData::A(A::from(std::net::Ipv4Addr::from(address))))
}

fn alias(at: &str, target: &str) -> Record {
    record(at, RData::CNAME(CNAME(name(target))))
}

fn pointer(to: &str) -> Record {
    record(POINTER, RData::PTR(PTR(name(to))))
}

fn soa(minimum: u32) -> Record {
    record("example.", RData::SOA(SOA::new(name("ns.example."), name("root.example."), 1, 2, 3, 4, minimum)))
}

fn addresses(list: &[&str]) -> Vec<IpAddr> {
    list.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn a_name_that_leads_back_is_verified() {
    let mut bench = Bench::local();
    bench.ask_name();
    bench.answer(&[pointer("Exthost.ext-domain.test.")]);
    bench.answer(&[a("exthost.ext-domain.test.", [192, 0, 2, 1]), a("exthost.ext-domain.test.", [198, 51, 100, 10])]);
    assert_eq!(bench.name(), ClientName::Verified("Exthost.ext-domain.test".into()));
    assert!(bench.resolver.is_idle() && bench.sent.is_empty());
    bench.ask_name();
    assert_eq!(bench.name(), ClientName::Verified("Exthost.ext-domain.test".into()), "from the cache");
}

#[test]
fn a_name_that_does_not_lead_back_is_not() {
    let mut bench = Bench::local();
    bench.ask_name();
    bench.answer(&[pointer("liar.test.")]);
    bench.answer(&[a("liar.test.", [192, 0, 2, 1])]);
    assert_eq!(bench.name(), ClientName::Unverified("liar.test".into(), None));
    let failures = [(ResponseCode::NXDomain, Failure::NotFound), (ResponseCode::NoError, Failure::NoData)];
    for (code, failure) in failures {
        let mut bench = Bench::local();
        bench.ask_name();
        bench.answer(&[pointer("liar.test.")]);
        bench.code(code);
        assert_eq!(bench.name(), ClientName::Unverified("liar.test".into(), Some(failure)));
    }
}

#[test]
fn names_that_no_host_has() {
    for (to, expected) in [
        ("192.0.2.1.", ClientName::Numeric("192.0.2.1".into())),
        ("evil\nname.test.", ClientName::None(Failure::NotFound)),
        ("-a.test.", ClientName::None(Failure::NotFound)),
        (".", ClientName::None(Failure::NotFound)),
    ] {
        let mut bench = Bench::local();
        bench.ask_name();
        bench.answer(&[pointer(to)]);
        assert_eq!(bench.name(), expected, "{to}");
    }
    let mut bench = Bench::local();
    bench.ask_name();
    bench.code(ResponseCode::NXDomain);
    assert_eq!(bench.name(), ClientName::None(Failure::NotFound));
}

#[test]
fn hosts_come_first() {
    let mut bench =
        Bench::new("", "127.0.0.1 localhost\n198.51.100.10 mail.test\n198.51.100.10 other\n192.0.2.9 half\n");
    bench.ask(ToResolver::Name { corr: 1, address: "::ffff:127.0.0.1".parse().unwrap() });
    assert_eq!(bench.name(), ClientName::Verified("localhost".into()));
    bench.ask_name();
    assert_eq!(bench.name(), ClientName::Verified("mail.test".into()));
    bench.ask_host("OTHER");
    assert_eq!(bench.hosts().unwrap().records, addresses(&[CLIENT]));
    bench.ask(ToResolver::Host { corr: 1, name: "half".into(), family: Family::V6, source: Source::Native });
    assert_eq!(bench.sent.len(), 1, "the other family may be in DNS");
    bench.ask(ToResolver::Host { corr: 1, name: "other".into(), family: Family::V4, source: Source::Dns });
    assert_eq!(bench.sent.len(), 2, "the file is not for everybody");
}

#[test]
fn equal_questions_are_asked_once() {
    let mut bench = Bench::local();
    bench.ask_host("a.example");
    bench.resolver.ask(
        "two",
        ToResolver::Host { corr: 7, name: "A.EXAMPLE.".into(), family: Family::V4, source: Source::Native },
        bench.now,
    );
    bench.settle();
    bench.answer(&[a("a.example.", [192, 0, 2, 1])]);
    let askers: Vec<&str> = bench.answers.iter().map(|(asker, _)| *asker).collect();
    assert_eq!(askers, ["one", "two"]);
    assert_eq!(bench.resolver.waiting, 0);
}

#[test]
fn forged_and_late_messages_are_passed_over() {
    let mut bench = Bench::local();
    bench.ask_host("a.example");
    let (flight, packet) = bench.packet();
    let query = Message::from_vec(&packet.bytes).unwrap();
    let answer = |change: &dyn Fn(&mut Message)| {
        let mut answer = Message::new(query.metadata.id, MessageType::Response, OpCode::Query);
        answer.add_queries(query.queries.clone());
        answer.add_answer(a("a.example.", [6, 6, 6, 6]));
        change(&mut answer);
        answer.to_vec().unwrap()
    };
    let forged: [&dyn Fn(&mut Message); 7] = [
        &|m| m.metadata.id ^= 1,
        &|m| m.queries = vec![Query::query(name("b.example."), RecordType::A)],
        &|m| m.queries = vec![Query::query(name("a.example."), RecordType::AAAA)],
        &|m| m.queries.push(Query::query(name("a.example."), RecordType::A)),
        &|m| m.queries.clear(),
        &|m| m.metadata.message_type = MessageType::Query,
        &|m| m.metadata.op_code = OpCode::Update,
    ];
    for change in forged {
        bench.receive(flight, &answer(change));
    }
    for bytes in [&b""[..], b"\x10", &packet.bytes[..2], &packet.bytes] {
        bench.receive(flight, bytes);
    }
    bench.receive(flight + 1, &answer(&|_| ()));
    assert_eq!((bench.answers.len(), bench.sent.len()), (0, 1));
    bench.receive(flight, &answer(&|m| m.answers = vec![a("a.example.", [192, 0, 2, 1])]));
    assert_eq!(bench.hosts().unwrap().records, addresses(&["192.0.2.1"]));
}

#[test]
fn identifiers_cannot_be_tried_one_by_one() {
    let mut bench = Bench::local();
    bench.ask_host("a.example");
    let (flight, first) = bench.packet();
    for guess in 0..=exchange::MAX_STRAYS as u8 {
        assert_eq!(bench.packet().1, first);
        bench.receive(flight, &[0, guess, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    }
    assert_ne!(bench.packet().1.bytes[..2], first.bytes[..2], "a new socket and a new identifier");
}

#[test]
fn records_about_other_names_are_not_believed() {
    let mut bench = Bench::local();
    bench.ask_host("a.example");
    bench.reply(|message| {
        message.add_answers([a("b.example.", [6, 6, 6, 6]), alias("a.example.", "c.example.")]);
        message.add_additional(a("c.example.", [6, 6, 6, 6]));
        message.add_authority(soa(60));
    });
    assert_eq!(bench.hosts(), Err(Failure::NoData));
    bench.ask_host("b.example");
    assert_eq!(bench.answers.len(), 0, "what came unasked is not in the cache");
}

#[test]
fn malformed_answers_never_panic() {
    let mut message = Message::new(0x1001, MessageType::Response, OpCode::Query);
    message.add_query(Query::query(name("a.example."), RecordType::A));
    message.add_answers([alias("a.example.", "b.example."), a("b.example.", [192, 0, 2, 1])]);
    let good = message.to_vec().unwrap();
    let question = Question::new("a.example", RecordType::A).unwrap();
    let mut read = 0;
    for at in 0..good.len() {
        message::read(&good[..at], &question, 0x1001);
        for bit in 0..8 {
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            read += usize::from(matches!(message::read(&bad, &question, 0x1001), message::Reply::Told(_)));
        }
    }
    assert!(read > 0, "some changes do not matter");
    // A compression pointer to itself.
    let mut looped = good[..12].to_vec();
    looped.extend([0xc0, 12, 0, 1, 0, 1]);
    assert!(matches!(message::read(&looped, &question, 0x1001), message::Reply::Failed(_)));
}

#[test]
fn aliases_are_followed_within_bounds() {
    let mut bench = Bench::local();
    bench.ask_host("a.example");
    bench.answer(&[alias("a.example.", "b.example."), alias("b.example.", "C.example.")]);
    let asked = Message::from_vec(&bench.packet().1.bytes).unwrap().queries[0].name.to_ascii();
    assert_eq!(asked, "c.example.", "the server left the rest to us");
    bench.answer(&[a("c.example.", [192, 0, 2, 1])]);
    assert_eq!(bench.hosts().unwrap().records, addresses(&["192.0.2.1"]));

    bench.ask_host("x.example");
    let circle = [alias("x.example.", "y.example."), alias("y.example.", "x.example.")];
    bench.answer(&circle);
    bench.answer(&circle);
    assert!(matches!(bench.hosts(), Err(Failure::Temporary(why)) if why.contains("aliases")));

    bench.ask_host("n0.example");
    for n in 0..=MAX_ALIASES {
        bench.answer(&[alias(&format!("n{n}.example."), &format!("n{}.example.", n + 1))]);
    }
    assert!(matches!(bench.hosts(), Err(Failure::Temporary(_))));
}

#[test]
fn a_truncated_answer_is_asked_for_by_tcp() {
    let mut bench = Bench::local();
    bench.ask_host("a.example");
    assert!(!bench.packet().1.tcp);
    bench.reply(|message| message.metadata.truncation = true);
    assert!(bench.packet().1.tcp);
    bench.answer(&[a("a.example.", [192, 0, 2, 1])]);
    assert_eq!(bench.hosts().unwrap().records.len(), 1);
}

#[test]
fn giant_answers_are_cut() {
    let mut bench = Bench::local();
    bench.ask_host("a.example");
    let many: Vec<Record> = (0..2000u16).map(|n| a("a.example.", [10, 0, n.to_be_bytes()[0], n as u8])).collect();
    bench.answer(&many);
    assert_eq!(bench.hosts().unwrap().records.len(), MAX_RECORDS);
    bench.ask(ToResolver::Txt { corr: 2, name: "a.example".into() });
    let text = |fill: u8| record("a.example.", RData::TXT(TXT::from_bytes(vec![&[fill; 200][..]; 100])));
    bench.answer(&[text(b'x'), text(b'y')]);
    let FromResolver::Txt { answer: Ok(found), .. } = bench.take() else { panic!() };
    assert_eq!(found.records, [vec![b'x'; 20_000]]);
}

#[test]
fn silent_and_failing_servers_are_passed() {
    let mut bench = Bench::new("nameserver 192.0.2.1\nnameserver 192.0.2.2\noptions timeout:1 attempts:2", "");
    let start = bench.now;
    bench.ask_host("a.example");
    let mut asked = Vec::new();
    while bench.answers.is_empty() {
        asked.push(bench.packet().1.server.ip().to_string());
        bench.wait();
    }
    assert_eq!(asked, ["192.0.2.1", "192.0.2.2", "192.0.2.1", "192.0.2.2"]);
    assert_eq!(bench.now - start, Duration::from_secs(4));
    assert_eq!(bench.hosts(), Err(Failure::Temporary("192.0.2.2: timeout".into())));
    bench.now += Duration::from_secs(60);
    bench.ask_host("a.example");
    bench.code(ResponseCode::ServFail);
    assert_eq!(bench.packet().1.server.ip(), addresses(&["192.0.2.2"])[0], "at once");
    let (flight, _) = bench.packet();
    bench.resolver.failed(flight, "Connection refused".into(), bench.now);
    bench.settle();
    bench.answer(&[a("a.example.", [192, 0, 2, 9])]);
    assert!(bench.hosts().is_ok());
    bench.now += Duration::from_secs(3600);
    bench.ask_host("a.example");
    bench.wait();
    bench.answer(&[a("a.example.", [192, 0, 2, 9])]);
    bench.hosts().unwrap();
    bench.ask_host("b.example");
    assert_eq!(bench.packet().1.server.ip(), addresses(&["192.0.2.2"])[0], "the silent one is asked last for a while");
}

#[test]
fn a_server_without_edns() {
    let mut bench = Bench::local();
    bench.ask_host("a.example");
    let edns = |bench: &Bench| Message::from_vec(&bench.packet().1.bytes).unwrap().edns.is_some();
    assert!(edns(&bench));
    bench.reply(|message| {
        message.metadata.response_code = ResponseCode::FormErr;
        message.queries.clear();
    });
    assert!(!edns(&bench));
    bench.answer(&[a("a.example.", [192, 0, 2, 1])]);
    assert!(bench.hosts().is_ok());
}

#[test]
fn absences_are_remembered_as_long_as_the_zone_says() {
    let mut bench = Bench::local();
    bench.ask_host("no.example");
    bench.reply(|message| {
        message.metadata.response_code = ResponseCode::NXDomain;
        message.add_authority(soa(30));
    });
    assert_eq!(bench.hosts(), Err(Failure::NotFound));
    bench.now += Duration::from_secs(29);
    bench.ask_host("no.example");
    assert_eq!(bench.hosts(), Err(Failure::NotFound));
    bench.now += Duration::from_secs(1);
    bench.ask_host("no.example");
    assert_eq!(bench.sent.len(), 1);
    bench.code(ResponseCode::NXDomain);
    bench.hosts().unwrap_err();
    bench.ask_host("no.example");
    assert_eq!(bench.sent.len(), 1, "without an SOA it is not remembered");
}

#[test]
fn only_a_trusted_server_makes_an_answer_secure() {
    let authentic = |message: &mut Message| {
        message.metadata.authentic_data = true;
        message.add_answer(record("a.example.", RData::MX(MX::new(10, name("mx.example.")))));
    };
    for (conf, flag, secure) in [
        ("nameserver 127.0.0.1", true, true),
        ("nameserver 127.0.0.1", false, false),
        ("nameserver 192.0.2.1", true, false),
        ("nameserver 192.0.2.1\noptions trust-ad", true, true),
    ] {
        let mut bench = Bench::new(conf, "");
        bench.ask(ToResolver::Mx { corr: 3, name: "a.example".into() });
        bench.reply(|message| {
            authentic(message);
            message.metadata.authentic_data = flag;
        });
        let records = vec![Host { preference: 10, host: "mx.example".into() }];
        let answer = Ok(Found { records, secure });
        assert_eq!(bench.take(), FromResolver::Mx { corr: 3, answer }, "{conf}");
    }
}

#[test]
fn flights_and_waiters_are_bounded() {
    let mut bench = Bench::local();
    for n in 0..MAX_ACTIVE + 10 {
        bench.ask_host(&format!("n{n}.example"));
    }
    assert_eq!((bench.sent.len(), bench.answers.len()), (MAX_ACTIVE, 0));
    for n in bench.resolver.waiting..MAX_WAITING {
        assert_eq!(bench.resolver.waiting, n);
        bench.ask_host("n0.example");
    }
    bench.ask_host("n0.example");
    assert!(matches!(bench.hosts(), Err(Failure::Temporary(why)) if why.contains("too many")));
    while !bench.resolver.is_idle() {
        bench.wait();
    }
    assert_eq!((bench.answers.len(), bench.resolver.waiting, bench.resolver.active), (MAX_WAITING, 0, 0));
    assert_eq!(bench.resolver.deadline(), None);
}

#[test]
fn names_that_cannot_be_in_dns_do_not_exist() {
    let mut bench = Bench::local();
    for bad in ["a..b".to_string(), "x".repeat(64), vec!["x".repeat(60); 5].join(".")] {
        bench.ask_host(&bad);
        assert_eq!(bench.hosts(), Err(Failure::NotFound), "{bad}");
    }
}

#[test]
fn other_servers_are_asked_anew() {
    let mut bench = Bench::local();
    bench.ask_host("a.example");
    bench.answer(&[a("a.example.", [192, 0, 2, 1])]);
    bench.hosts().unwrap();
    bench.resolver.set_servers(ResolvConf::parse("nameserver 127.0.0.1"));
    bench.ask_host("a.example");
    assert!(bench.hosts().is_ok(), "nothing has changed");
    bench.resolver.set_servers(ResolvConf::parse("nameserver 192.0.2.1"));
    bench.ask_host("a.example");
    assert_eq!(bench.packet().1.server.ip(), addresses(&["192.0.2.1"])[0]);
}
