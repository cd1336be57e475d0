//! Exchanges recorded between real peers (Postfix 3.7, doveadm and Dovecot 2.3.19), replayed split at every byte.
//!
//! `|` stands for a tab. `C:` is what the client wrote, `S:` what Dovecot answered.

use std::collections::HashMap;

use super::*;
use crate::mechanism::{Exchange, Mechanism, Step};

const COOKIE: Cookie = [0x75, 0xfa, 0x1f, 0x3f, 0x9e, 0x2d, 0x26, 0xf0, 0x04, 0xf2, 0x7e, 0x16, 0x29, 0xad, 0xe6, 0x3d];

/// Postfix 3.7's smtpd, twice right and twice wrong, PLAIN and LOGIN.
const POSTFIX: &str = "
C: VERSION|1|0
C: CPID|437
S: VERSION|1|2
S: MECH|PLAIN|plaintext
S: MECH|LOGIN|plaintext
S: SPID|441
S: CUID|1
S: COOKIE|75fa1f3f9e2d26f004f27e1629ade63d
S: DONE
C: AUTH|1|PLAIN|service=smtp|nologin|lip=127.0.0.1|rip=127.0.0.1|resp=AGluZm9AZXhhbXBsZS5qcABzZWNyZXQ=
S: OK|1|user=info@example.jp
C: AUTH|2|LOGIN|service=smtp|nologin|lip=127.0.0.1|rip=127.0.0.1
S: CONT|2|VXNlcm5hbWU6
C: CONT|2|aW5mb0BleGFtcGxlLmpw
S: CONT|2|UGFzc3dvcmQ6
C: CONT|2|c2VjcmV0
S: OK|2|user=info@example.jp
C: AUTH|3|PLAIN|service=smtp|nologin|lip=127.0.0.1|rip=127.0.0.1|resp=AGluZm9AZXhhbXBsZS5qcABiYWQ=
S: FAIL|3|user=info@example.jp
C: AUTH|4|LOGIN|service=smtp|nologin|lip=127.0.0.1|rip=127.0.0.1
S: CONT|4|VXNlcm5hbWU6
C: CONT|4|aW5mb0BleGFtcGxlLmpw
S: CONT|4|UGFzc3dvcmQ6
C: CONT|4|YmFk
S: FAIL|4|user=info@example.jp
";

/// Every reply that does not end the connection.
const ODDITIES: &str = "
C: VERSION|1|2
C: CPID|4711
S: VERSION|1|2
S: MECH|PLAIN|plaintext
S: MECH|LOGIN|plaintext
S: SPID|441
S: CUID|1
S: COOKIE|75fa1f3f9e2d26f004f27e1629ade63d
S: DONE
C: AUTH|6|PLAIN|service=smtp|lip=127.0.0.1|rip=127.0.0.1|secured|session=abc|no-penalty
S: CONT|6|
C: CONT|6|AGluZm9AZXhhbXBsZS5qcABzZWNyZXQ=
S: OK|6|user=info@example.jp
C: AUTH|7|LOGIN|service=smtp|resp=aW5mb0BleGFtcGxlLmpw
S: CONT|7|UGFzc3dvcmQ6
C: CANCEL|7
C: CONT|7|AAAA
S: FAIL|7|reason=Authentication request timed out
C: AUTH|8|PLAIN|service=smtp|resp=!!!
S: FAIL|8|code=invalid_base64|reason=Invalid base64 data in initial response
C: AUTH|9|PLAIN|service=smtp|resp=b25seQ==
S: FAIL|9
C: AUTH|15|LOGIN|service=smtp|resp=aW4AZm9AZXhhbXBsZS5qcA==
S: FAIL|15
C: AUTH|16|PLAIN|service=smtp|resp=
S: FAIL|16
C: AUTH|17|PLAIN|service=smtp|resp==
S: FAIL|17
C: AUTH|18|PLAIN|service=smtp
S: CONT|18|
C: CONT|18|!!
S: FAIL|18|code=invalid_base64|reason=Invalid base64 data in continued response
";

fn lines(transcript: &str, side: &str) -> String {
    let lines = transcript.lines().filter_map(|line| line.strip_prefix(side)?.strip_prefix(": "));
    lines.map(|line| format!("{}\n", line.replace('|', "\t"))).collect()
}

/// A server with one user, who logs in with `secret`; it answers what is wrong at once.
struct Toy {
    server: server::Server,
    exchanges: HashMap<Id, Exchange>,
    broken: Option<String>,
}

impl Toy {
    fn new() -> Self {
        let server = server::Server::new(&Mechanism::ALL, 441, 1, &COOKIE);
        Self { server, exchanges: HashMap::new(), broken: None }
    }

    fn receive(&mut self, bytes: &[u8]) {
        self.server.receive(bytes);
        while let Some(event) = self.server.poll() {
            match event {
                server::Event::Authenticate(request) => {
                    let initial = request.initial.as_ref().map(|initial| initial.as_slice());
                    self.step(request.id, Exchange::begin(request.mechanism, initial));
                }
                server::Event::Continue(id, response) => {
                    let exchange = self.exchanges.remove(&id).expect("a continuation follows a challenge");
                    self.step(id, exchange.respond(&response));
                }
                server::Event::Cancel(id) | server::Event::Refused(id, _) => _ = self.exchanges.remove(&id),
                server::Event::Broken(broken) => self.broken = Some(broken.to_string()),
                server::Event::Connected(_) | server::Event::Line(_) => {}
            }
        }
    }

    fn step(&mut self, id: Id, step: Step) {
        let reply = match step {
            Step::Challenge(exchange, text) => {
                self.exchanges.insert(id, exchange);
                server::Reply::Continue(text.to_vec())
            }
            Step::Verify(credentials) if credentials.password.as_slice() == b"secret" => {
                server::Reply::Ok { user: credentials.user, fields: Fields::default() }
            }
            Step::Verify(credentials) => server::Reply::fail(Some(&credentials.user), None),
            Step::Fail(_) => server::Reply::fail(None, None),
        };
        assert!(self.server.reply(id, &reply).is_some());
    }
}

#[test]
fn server_answers_as_recorded_whatever_the_pieces() {
    for transcript in [POSTFIX, ODDITIES] {
        let (input, expected) = (lines(transcript, "C"), lines(transcript, "S"));
        for cut in 0..=input.len() {
            let mut toy = Toy::new();
            toy.receive(&input.as_bytes()[..cut]);
            toy.receive(&input.as_bytes()[cut..]);
            assert_eq!(String::from_utf8(toy.server.take_output()).unwrap(), expected, "cut at {cut}");
            assert_eq!((toy.server.pending(), toy.broken), (0, None));
        }
        let mut toy = Toy::new();
        input.as_bytes().iter().for_each(|byte| toy.receive(std::slice::from_ref(byte)));
        assert_eq!(String::from_utf8(toy.server.take_output()).unwrap(), expected);
    }
}

/// What ends a connection, in the words that Dovecot logs.
#[test]
fn server_drops_broken_clients() {
    let long = format!("VERSION|1|1\nCPID|12\n{}", "x".repeat(MAX_CLIENT_LINE + 1));
    for (input, expected) in [
        (
            "AUTH|1|CRAM-MD5|service=smtp\n",
            "BUG: Authentication client 12 requested unsupported authentication mechanism CRAM-MD5",
        ),
        ("AUTH|1|PLAIN\n", "BUG: Authentication client 12 didn't specify service in request"),
        ("AUTH|0|PLAIN|service=smtp\n", "BUG: Authentication client 12 sent broken AUTH request"),
        ("AUTH|x\n", "BUG: Authentication client 12 sent broken AUTH request"),
        ("AUTH|+1|PLAIN|service=smtp\n", "BUG: Authentication client 12 sent broken AUTH request"),
        (
            "AUTH|1|PLAIN|service=smtp|resp=AAAA|lip=1.2.3.4\n",
            "BUG: Authentication client 12 sent AUTH parameters after 'resp'",
        ),
        ("AUTH|1|PLAIN|service=x\nAUTH|1|PLAIN|service=x\n", "BUG: Authentication client 12 sent a duplicate ID 1"),
        ("FOO|x\n", "BUG: Authentication client sent unknown command: FOO?x"),
        ("\n", "BUG: Authentication client sent unknown command: "),
        ("AUTH\n", "BUG: Authentication client sent unknown command: AUTH"),
        ("CONT|x\n", "BUG: Authentication client sent broken CONT request"),
        ("CANCEL|x\n", "BUG: Authentication client sent broken CANCEL"),
    ] {
        assert_broken(&format!("VERSION|1|1\nCPID|12\n{input}"), expected);
    }
    for (input, expected) in [
        ("VERSION|2|0\n", "Authentication client not compatible with this server (mixed old and new binaries?)"),
        ("FOO\n", "Authentication client sent invalid VERSION line: FOO"),
        ("VERSION|1\n", "Authentication client sent invalid VERSION line: VERSION?1"),
        ("VERSION|1|1\nCPID|0\n", "BUG: Authentication client said it's PID 0"),
        ("VERSION|1|1\nAUTH|1\n", "BUG: Authentication client sent unknown handshake command: AUTH?1"),
        (&long, "BUG: Auth client 12 sent us more than 16384 bytes"),
    ] {
        assert_broken(input, expected);
    }
    // One byte less is a line, if a senseless one.
    let line = format!("VERSION|1|1\nCPID|12\nAUTH|1|PLAIN|service=x|y={}\n", "x".repeat(MAX_CLIENT_LINE - 27));
    let mut toy = Toy::new();
    toy.receive(line.replace('|', "\t").as_bytes());
    assert_eq!((toy.broken, toy.server.pending()), (None, 1));
}

fn assert_broken(input: &str, expected: &str) {
    let mut toy = Toy::new();
    toy.receive(input.replace('|', "\t").as_bytes());
    assert_eq!(toy.broken.as_deref(), Some(expected), "{input}");
    toy.server.take_output();
    toy.receive(b"VERSION\t1\t2\nCPID\t1\nAUTH\t9\tPLAIN\tservice=x\n");
    assert!(toy.server.take_output().is_empty(), "nothing after the end: {input}");
}

#[test]
fn requests_in_progress_are_bounded() {
    let mut toy = Toy::new();
    toy.receive(b"VERSION\t1\t2\nCPID\t1\n");
    for id in 1..=MAX_REQUESTS {
        toy.receive(format!("AUTH\t{id}\tPLAIN\tservice=x\n").as_bytes());
    }
    assert_eq!((toy.broken.clone(), toy.server.pending()), (None, MAX_REQUESTS));
    toy.receive(b"AUTH\t99999\tPLAIN\tservice=x\n");
    assert_eq!(toy.broken.as_deref(), Some("BUG: Authentication client 1 has more than 4096 requests in progress"));
}

/// An answer while the client was not asked, and one after the cancellation.
#[test]
fn turns_are_kept() {
    let mut server = server::Server::new(&Mechanism::ALL, 1, 1, &COOKIE);
    server.receive(b"VERSION\t1\t2\nCPID\t1\nAUTH\t1\tPLAIN\tservice=x\tresp=AAAA\nCONT\t1\tAAAA\n");
    server.take_output();
    assert!(server.reply(1, &server::Reply::fail(None, None)).is_none(), "already refused");
    server.receive(b"AUTH\t2\tPLAIN\tservice=x\nCANCEL\t2\n");
    assert!(server.reply(2, &server::Reply::Continue(Vec::new())).is_none());
    assert!(server.take_output().is_empty());
}

#[test]
fn client_reads_what_dovecot_wrote() {
    let greeting = &lines(POSTFIX, "S")[..lines(POSTFIX, "S").find("OK\t").unwrap()];
    let answers = "OK\t1\tuser=info\toriginal_user=Info\t\nCONT\t2\tUGFzc3dvcmQ6\nFAIL\t2\tuser=a\tcode=temp_fail\treason=b\u{1}tc\nOK\t9\tuser=x\n";
    let input = format!("{greeting}{answers}");
    for cut in 0..=input.len() {
        let mut client = client::Client::new(7);
        client.authenticate("PLAIN", &Parameters::new("smtp"), Some(b"\0u\0p"));
        client.authenticate("LOGIN", &Parameters::new("smtp"), None);
        client.proceed(2, b"u");
        let written = client.take_output();
        assert_eq!(
            std::str::from_utf8(&written).unwrap(),
            "VERSION\t1\t2\nCPID\t7\nAUTH\t1\tPLAIN\tservice=smtp\tresp=AHUAcA==\nAUTH\t2\tLOGIN\tservice=smtp\nCONT\t2\tdQ==\n"
        );
        client.receive(&input.as_bytes()[..cut]);
        client.receive(&input.as_bytes()[cut..]);
        let Some(client::Event::Ready(handshake)) = client.poll() else { panic!("no handshake") };
        assert_eq!(handshake.mechanisms[1], ("LOGIN".into(), vec!["plaintext".into()]));
        assert_eq!((handshake.server_pid, handshake.connection, handshake.cookie), (Some(441), Some(1), Some(COOKIE)));
        match client.poll() {
            Some(client::Event::Ok { id: 1, user, fields }) => {
                assert_eq!((user.as_str(), fields.get("original_user")), ("info", Some("Info")));
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(client.poll(), Some(client::Event::Continue(2, b"Password:".to_vec())));
        match client.poll() {
            Some(client::Event::Fail { id: 2, code: Some(server::FailCode::TemporaryFailure), fields }) => {
                assert_eq!(fields.get("reason"), Some("b\tc"));
            }
            other => panic!("{other:?}"),
        }
        assert_eq!((client.poll(), client.pending().count()), (None, 0));
    }
}

#[test]
fn client_drops_broken_servers() {
    let ready = lines(POSTFIX, "S")[..lines(POSTFIX, "S").find("OK\t").unwrap()].to_owned();
    let long = "x".repeat(MAX_CLIENT_LINE + 1);
    let many = format!("VERSION\t1\t1\n{}", "MECH\tX\n".repeat(client::MAX_MECHANISMS + 1));
    for input in [
        "VERSION\t2\t1\n".to_owned(),
        "HELLO\n".to_owned(),
        "VERSION\t1\t1\nDONE\n".to_owned(),
        "VERSION\t1\t1\nMECH\tPLAIN\nDONE\n".to_owned(),
        "MECH\tPLAIN\nCOOKIE\t00112233445566778899aabbccddeeff\nDONE\n".to_owned(),
        "VERSION\t1\t1\nCOOKIE\tzz\n".to_owned(),
        "VERSION\t1\t1\nSPID\tx\n".to_owned(),
        long.clone(),
        many,
        format!("{ready}WHAT\t1\n"),
        format!("{ready}OK\n"),
        format!("{ready}CONT\t1\n"),
        format!("{ready}{long}"),
    ] {
        let mut client = client::Client::new(7);
        client.receive(input.as_bytes());
        let last = std::iter::from_fn(|| client.poll()).last();
        assert!(matches!(last, Some(client::Event::Broken(_))), "{input:.40}");
    }
}

/// The two ends understand each other, cancellation included.
#[test]
fn ends_meet() {
    let (mut client, mut toy) = (client::Client::new(9), Toy::new());
    let parameters = Parameters { session: Some("a\tb".into()), secured: Secured::Tls, ..Parameters::new("imap") };
    let plain = client.authenticate("PLAIN", &parameters, Some(b"\0info\0secret")).unwrap();
    let login = client.authenticate("LOGIN", &parameters, None).unwrap();
    let given_up = client.authenticate("LOGIN", &parameters, None).unwrap();
    client.cancel(given_up);
    let mut seen = Vec::new();
    for _ in 0..6 {
        toy.receive(&client.take_output());
        client.receive(&toy.server.take_output());
        while let Some(event) = client.poll() {
            if let client::Event::Continue(id, challenge) = &event {
                client.proceed(*id, if challenge.starts_with(b"User") { b"info" } else { b"secret" });
            }
            seen.push(event);
        }
    }
    let user = |id| {
        seen.iter().find_map(|event| match event {
            client::Event::Ok { id: other, user, .. } if *other == id => Some(user.as_str()),
            _ => None,
        })
    };
    assert_eq!((user(plain), user(login), user(given_up)), (Some("info"), Some("info"), None));
    assert_eq!((toy.server.pending(), toy.broken), (0, None));
}

/// `doveadm user`, LMTP, `doveadm auth cache flush`, and a login process' REQUEST, with Dovecot's answers.
const USERDB: &str = "
C: VERSION|1|0
S: VERSION|1|1
S: SPID|419
C: USER|1|info@example.jp|service=lmtp
S: USER|1|info@example.jp|uid=1001|gid=1001|home=/home/vmail/example.jp/info|mail=sdbox:~/dbox
C: USER|9|nobody@example.jp|service=lmtp
S: NOTFOUND|9
C: PASS|51|info@example.jp|service=lmtp
S: PASS|51|user=info@example.jp
C: LIST|99|service=doveadm
S: LIST|99|info@example.jp
S: LIST|99|full@example.jp
S: DONE|99|
C: CACHE-FLUSH|8|x@y
S: OK|8|0
C: REQUEST|10|777|4|2792eea4a3cf4af5fa884bfc7cd7571c|session_pid=23|request_auth_token
S: FAIL|10
";

#[test]
fn userdb_server_answers_as_recorded() {
    let (input, expected) = (lines(USERDB, "C"), lines(USERDB, "S"));
    for cut in 0..=input.len() {
        let mut server = userdb::Server::new(userdb::Socket::Master, 419);
        for part in [&input[..cut], &input[cut..]] {
            server.receive(part.as_bytes());
            while let Some(request) = server.poll() {
                let request = request.unwrap();
                for reply in answer(&request) {
                    server.reply(request.id(), &reply);
                }
            }
        }
        assert_eq!(String::from_utf8(server.take_output()).unwrap(), expected, "cut at {cut}");
    }
}

fn answer(request: &userdb::Request) -> Vec<userdb::Reply> {
    use userdb::{Reply, Request};
    match request {
        Request::User { user, parameters, .. } if user.starts_with("info") && parameters.service == "lmtp" => {
            let fields = [
                ("uid", Some("1001")),
                ("gid", Some("1001")),
                ("home", Some("/home/vmail/example.jp/info")),
                ("mail", Some("sdbox:~/dbox")),
            ];
            vec![Reply::User(user.clone(), fields.into_iter().collect())]
        }
        Request::User { .. } => vec![Reply::NotFound],
        Request::Pass { user, .. } => vec![Reply::Pass(user.clone(), Fields::default())],
        Request::List { mask, .. } => {
            assert_eq!(mask, "");
            let users = ["info@example.jp", "full@example.jp"].map(|user| Reply::Listed(user.into()));
            users.into_iter().chain([Reply::ListDone { complete: true }]).collect()
        }
        Request::CacheFlush { users, .. } => {
            assert_eq!(users, &["x@y"]);
            vec![Reply::Flushed(0)]
        }
        Request::Login {
            client_pid: 777, client_request: 4, session_pid: Some(23), wants_token: true, cookie, ..
        } => {
            assert_eq!(cookie[..2], [0x27, 0x92]);
            vec![Reply::Fail { reason: None }]
        }
        Request::Login { .. } => panic!("{request:?}"),
    }
}

#[test]
fn userdb_client_reads_what_dovecot_wrote() {
    let answers = lines(USERDB, "S");
    for cut in 0..=answers.len() {
        let mut client = userdb::Client::default();
        let parameters = || Box::new(Parameters::new("lmtp"));
        let id = client.request(|_| userdb::Request::User { id: 1, user: "a\tb".into(), parameters: parameters() });
        assert_eq!(id, Some(1));
        client.request(|_| userdb::Request::User { id: 9, user: "c".into(), parameters: parameters() });
        client.request(|_| userdb::Request::Pass { id: 51, user: "c".into(), parameters: parameters() });
        client.request(|_| userdb::Request::List { id: 99, mask: "*@d".into(), parameters: parameters() });
        client.request(|_| userdb::Request::CacheFlush { id: 8, users: vec!["x".into()] });
        let written = String::from_utf8(client.take_output()).unwrap();
        assert_eq!(
            written,
            "VERSION\t1\t1\nUSER\t1\ta\u{1}tb\tservice=lmtp\nUSER\t9\tc\tservice=lmtp\nPASS\t51\tc\tservice=lmtp\n\
             LIST\t99\tuser=*@d\tservice=lmtp\nCACHE-FLUSH\t8\tx\n"
        );
        client.receive(&answers.as_bytes()[..cut]);
        client.receive(&answers.as_bytes()[cut..]);
        let replies: Vec<_> = std::iter::from_fn(|| client.poll()).map(Result::unwrap).collect();
        assert_eq!(replies.len(), 7, "the reply to request 10 is nobody's");
        match &replies[0] {
            (1, userdb::Reply::User(user, fields)) => {
                assert_eq!((user.as_str(), fields.get("uid")), ("info@example.jp", Some("1001")));
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(replies[1], (9, userdb::Reply::NotFound));
        assert_eq!(replies[5], (99, userdb::Reply::ListDone { complete: true }));
        assert_eq!(client.pending().count(), 0);
    }
}

#[test]
fn userdb_ends_drop_broken_peers() {
    use userdb::Socket::{Master, Userdb};
    let long = "x".repeat(MAX_MASTER_LINE + 1);
    for (socket, line, expected) in [
        (Userdb, "USER\t1\tx\n", "BUG: Master sent USER request without service"),
        (Userdb, "USER\tx\n", "BUG: Master sent broken USER"),
        (Userdb, "LIST\tx\n", "BUG: Master sent broken LIST"),
        (Userdb, "REQUEST\t1\t2\t3\tabcd\n", "BUG: Unknown command in userdb socket: REQUEST?1?2?3?abcd"),
        (Userdb, "FOO\n", "BUG: Unknown command in userdb socket: FOO"),
        (Master, "REQUEST\t1\t2\t3\tabcd\n", "BUG: Master sent broken REQUEST cookie"),
        (Master, "REQUEST\t1\t2\n", "BUG: Master sent broken REQUEST"),
        (Master, "CACHE-FLUSH\tx\n", "BUG: doveadm sent broken CACHE-FLUSH"),
        (Master, "CPID\t1\n", "Authentication client trying to connect to master socket"),
        (Master, &long, "BUG: Master sent us more than 1024 bytes"),
    ] {
        let mut server = userdb::Server::new(socket, 1);
        server.receive(format!("VERSION\t1\t0\n{line}").as_bytes());
        assert_eq!(server.poll(), Some(Err(Broken(expected.to_owned()))));
        server.receive(b"USER\t1\tx\tservice=y\n");
        assert_eq!(server.poll(), None);
    }
    let mut server = userdb::Server::new(Userdb, 1);
    server.receive(b"VERSION\t2\t0\n");
    assert!(matches!(server.poll(), Some(Err(_))));

    for input in
        ["VERSION\t2\t1\n", "VERSION\t1\t1\nMECH\tPLAIN\n", "VERSION\t1\t1\nWHAT\n", "VERSION\t1\t1\nUSER\t1\n"]
    {
        let mut client = userdb::Client::default();
        client.receive(input.as_bytes());
        assert!(matches!(client.poll(), Some(Err(_))), "{input}");
    }
    let mut client = userdb::Client::default();
    let user = "x".repeat(MAX_MASTER_LINE);
    let parameters = Box::new(Parameters::new("lmtp"));
    assert_eq!(client.request(|id| userdb::Request::User { id, user, parameters }), None, "no server would read it");
}

proptest::proptest! {
    /// No bytes make an end panic, and a server says at most one last word.
    #[test]
    fn no_input_panics(input in "(VERSION|CPID|AUTH|CONT|CANCEL|USER|LIST|REQUEST|OK|FAIL|MECH|COOKIE|DONE|\t|\n|1|2|PLAIN|LOGIN|service=|resp=|=|A|\u{1}|\\PC){0,80}") {
        for prefix in ["", "VERSION\t1\t1\nCPID\t1\n"] {
            let mut toy = Toy::new();
            toy.receive(prefix.as_bytes());
            toy.receive(input.as_bytes());
        }
        for prefix in ["", "VERSION\t1\t1\n"] {
            let mut server = userdb::Server::new(userdb::Socket::Master, 1);
            server.receive(prefix.as_bytes());
            server.receive(input.as_bytes());
            let broken = std::iter::from_fn(|| server.poll()).filter(Result::is_err).count();
            proptest::prop_assert!(broken <= 1);
            let mut client = userdb::Client::default();
            client.receive(input.as_bytes());
            let mut client = client::Client::new(1);
            client.receive(input.as_bytes());
        }
    }
}
