//! Dialogues before login, replayed whole and split at every byte.

#[path = "support/transcript.rs"]
mod transcript;

use proto_imap::limits;
use proto_imap::login::{Action, Login, Mechanism, Rejection, Settings, Tls};
use proto_imap::session::Now;
use transcript::Turn;

fn now(seconds: u64) -> Now {
    Now { unix: 1_795_168_800 + seconds as i64, monotonic_ms: seconds * 1000 }
}

fn mechanism(name: &str, plaintext: bool) -> Mechanism {
    Mechanism { name: name.to_owned(), plaintext }
}

fn settings() -> Settings {
    Settings {
        greeting: "Dovecot (Debian) ready.".to_owned(),
        mechanisms: vec![mechanism("PLAIN", true)],
        disable_plaintext: true,
        tls: Tls::Yes,
        id: vec![("name".to_owned(), "Dovecot".to_owned())],
    }
}

/// A connection, and an auth service that knows `u` with the password `p`, and `down`, for whom it cannot look.
struct Connection {
    login: Login,
    steps: u32,
    output: Vec<u8>,
    closed: bool,
}

impl Connection {
    /// The words of the transcript's `!` line: `tls=no|yes|required`, `local`, `plaintext`, `login`, `noauth`.
    fn new(words: &str) -> Connection {
        let mut settings = settings();
        let mut local = false;
        let mut broken = false;
        for word in words.split_whitespace() {
            match word {
                "tls=no" => settings.tls = Tls::No,
                "tls=yes" => settings.tls = Tls::Yes,
                "tls=required" => settings.tls = Tls::Required,
                "plaintext" => settings.disable_plaintext = false,
                "login" => settings.mechanisms.push(mechanism("LOGIN", true)),
                "local" => local = true,
                "noauth" => broken = true,
                _ => panic!("unknown word {word}"),
            }
        }
        let login = Login::new(settings, false, local, now(0));
        let mut connection = Connection { login, steps: 0, output: Vec::new(), closed: false };
        if broken {
            // The greeting waits for auth in the real program.
            let greeting = connection.login.output().len();
            connection.login.sent(greeting);
            assert_eq!(connection.login.auth_broken(), Action::Close);
            connection.closed = true;
        }
        connection.send();
        connection
    }

    fn send(&mut self) {
        self.output.extend_from_slice(self.login.output());
        let count = self.login.output().len();
        self.login.sent(count);
    }

    fn feed(&mut self, mut input: &[u8]) {
        while !self.closed {
            let (read, action) = self.login.process(input, now(0));
            input = &input[read..];
            self.send();
            match action {
                None => break,
                Some(Action::Close) => self.closed = true,
                Some(Action::StartTls) => {
                    self.output.extend_from_slice(b"*** TLS\r\n");
                    self.login.tls_started();
                    break;
                }
                Some(Action::Cancel) => self.steps = 0,
                Some(Action::Authenticate { mechanism, initial }) => {
                    self.steps = u32::from(initial.is_some());
                    match (mechanism.as_str(), initial) {
                        ("PLAIN", Some(response)) => self.check(&response),
                        ("PLAIN", None) => self.login.challenge(b""),
                        ("LOGIN", None) => self.login.challenge(b"Username:"),
                        ("LOGIN", Some(_)) => self.login.challenge(b"Password:"),
                        _ => panic!("unknown mechanism {mechanism}"),
                    }
                }
                Some(Action::Respond(response)) if response.contains(&0) => self.check(&response),
                Some(Action::Respond(response)) => {
                    self.steps += 1;
                    if self.steps == 1 {
                        self.login.challenge(b"Password:");
                    } else {
                        self.check(&[b"\0u\0", response.as_slice()].concat());
                    }
                }
            }
            self.send();
        }
    }

    fn check(&mut self, response: &[u8]) {
        if response.starts_with(b"\0down\0") {
            let (host, time) = ("mx".to_owned(), "2026-11-20 23:26:52".to_owned());
            return self.login.rejected(&Rejection::Temporary { host, time });
        }
        if response.starts_with(b"\0expired\0") {
            return self.login.rejected(&Rejection::Reason("Password\r\n* BYE expired".to_owned()));
        }
        if response != b"\0u\0p" {
            return self.login.rejected(&Rejection::Failed);
        }
        let tag = self.login.authenticated();
        self.output.extend_from_slice(b"*** session for ");
        self.output.extend_from_slice(&tag);
        self.output.extend_from_slice(b"\r\n");
    }
}

fn replay(name: &str, words: &str, turns: &[Turn], feed: &dyn Fn(&mut Connection, &[u8])) {
    let mut connection = Connection::new(words);
    for turn in turns {
        match turn {
            Turn::Client(_, bytes) => feed(&mut connection, bytes),
            Turn::Server(_, expected) => {
                let lines = transcript::lines(&std::mem::take(&mut connection.output), connection.closed);
                assert_eq!(&lines, expected, "{name}");
            }
        }
    }
    assert!(connection.output.is_empty(), "{name}: left over");
}

fn dialogues() -> Vec<(String, String, Vec<Turn>)> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/transcripts/login.txt");
    let text = std::fs::read_to_string(path).unwrap();
    let dialogues: Vec<_> = text
        .split("\n! ")
        .skip(1)
        .map(|dialogue| {
            let (words, rest) = dialogue.split_once('\n').unwrap();
            (format!("{words} {:?}", rest.lines().next()), words.to_owned(), transcript::parse(rest))
        })
        .collect();
    assert!(dialogues.len() > 15, "dialogues are there");
    dialogues
}

#[test]
fn dialogues_replay_whole() {
    for (name, words, turns) in dialogues() {
        replay(&name, &words, &turns, &|connection, bytes| connection.feed(bytes));
    }
}

/// Input that STARTTLS throws away, or that is the session's, depends on how it is cut; dialogues with it replay whole.
#[test]
fn dialogues_replay_byte_by_byte() {
    for (name, words, turns) in dialogues() {
        if !name.contains("early") {
            replay(&name, &words, &turns, &|connection, bytes| {
                bytes.iter().for_each(|byte| connection.feed(std::slice::from_ref(byte)));
            });
        }
    }
}

#[test]
fn input_after_login_is_left_unread() {
    let mut login = Login::new(settings(), true, false, now(0));
    let input = b"a LOGIN u {1+}\r\np\r\nb NOOP\r\n";
    let (read, action) = login.process(input, now(0));
    assert_eq!(&input[read..], b"b NOOP\r\n");
    assert!(matches!(action, Some(Action::Authenticate { .. })));
    assert_eq!(login.process(&input[read..], now(0)), (0, None), "nothing is read while auth is asked");
    assert_eq!(login.authenticated(), b"a");
    assert_eq!(login.process(&input[read..], now(0)), (0, None));
    assert_eq!(login.internal_error(), Action::Close);
    let output = String::from_utf8_lossy(login.output()).into_owned();
    assert!(output.ends_with("* BYE Internal error occurred. Refer to server log for more information.\r\n"));
}

#[test]
fn input_before_tls_is_forgotten() {
    let mut login = Login::new(settings(), false, false, now(0));
    let greeting = login.output().len();
    login.sent(greeting);
    let input = b"a STARTTLS\r\nb NOOP\r\nc LOG";
    let (read, action) = login.process(input, now(0));
    assert_eq!((read, action), (12, Some(Action::StartTls)));
    assert_eq!(login.process(&input[read..], now(0)), (0, None), "nothing is read before TLS is on");
    login.tls_started();
    login.process(b"d CAPABILITY\r\n", now(0));
    let output = String::from_utf8_lossy(login.output()).into_owned();
    assert!(!output.contains("b OK") && output.contains("ENABLE IDLE LITERAL+ AUTH=PLAIN\r\nd OK"), "{output}");
}

#[test]
fn limits_hold() {
    let mut login = Login::new(settings(), true, false, now(0));
    let (_, action) = login.process(&vec![b'x'; limits::LOGIN_COMMAND + 1], now(0));
    assert_eq!(action, Some(Action::Close));
    assert!(login.output().ends_with(b"* BYE Input buffer full, aborting\r\n"));

    let mut login = Login::new(settings(), true, false, now(0));
    login.process(b"a AUTHENTICATE PLAIN\r\n", now(0));
    login.challenge(b"");
    let (_, action) = login.process(&vec![b'A'; limits::LOGIN_COMMAND + 1], now(0));
    assert_eq!(action, Some(Action::Close));
    assert!(login.output().ends_with(b"* BYE Authentication response too large\r\n"));

    let mut login = Login::new(settings(), true, false, now(0));
    let (_, action) = login.process(format!("a LOGIN {{{}}}\r\n", limits::LOGIN_COMMAND).as_bytes(), now(0));
    assert_eq!(action, Some(Action::Close));
    assert!(login.output().ends_with(b"* BYE Literal size too large\r\n"));
}

#[test]
fn id_takes_thirty_fields() {
    for (fields, expected) in
        [(limits::ID_FIELDS, "a OK ID completed."), (limits::ID_FIELDS + 1, "a BAD Invalid ID parameters")]
    {
        let mut login = Login::new(settings(), true, false, now(0));
        login.process(format!("a ID ({})\r\n", "\"x\" NIL ".repeat(fields)).as_bytes(), now(0));
        let output = String::from_utf8_lossy(login.output()).into_owned();
        assert!(output.ends_with(&format!("{expected}\r\n")), "{output}");
    }
}

#[test]
fn silence_ends_the_connection() {
    let mut login = Login::new(settings(), true, false, now(0));
    login.process(b"a NOOP\r\n", now(100));
    // Bytes that never become a command do not keep it open.
    login.process(b"b NO", now(200));
    assert_eq!(login.tick(now(100 + limits::LOGIN_SECONDS - 1)), None);
    assert_eq!(login.deadline(), (100 + limits::LOGIN_SECONDS) * 1000);
    assert_eq!(login.tick(now(100 + limits::LOGIN_SECONDS)), Some(Action::Close));
    assert!(login.output().ends_with(b"* BYE Disconnected for inactivity.\r\n"));
}

#[test]
fn random_bytes_never_panic() {
    random_bytes(0x2545_f491_4f6c_dd1d, 20_000);
}

#[test]
#[ignore = "long"]
fn random_bytes_never_panic_for_long() {
    random_bytes(0x0123_4567_89ab_cdef, 2_000_000);
}

fn random_bytes(mut seed: u64, rounds: usize) {
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    let words =
        ["a ", "LOGIN ", "AUTHENTICATE ", "PLAIN", " u p", "\r\n", "{3}", "{3+}\r\n", "\"", "(", "ID ", "=", "*", "\0"];
    for _ in 0..rounds {
        let mut connection = Connection::new("local login");
        for _ in 0..random() % 12 {
            match random() % 4 {
                0 => connection.feed(&random().to_le_bytes()[..(random() % 8) as usize]),
                _ => connection.feed(words[(random() % words.len() as u64) as usize].as_bytes()),
            }
        }
    }
}
