//! Random input: no byte of a client's panics, and what the session says stays well formed.

#[path = "support/memory.rs"]
mod memory;

use memory::{ARRIVAL, Memory};
use proto_imap::frame::{Framer, Step};
use proto_imap::limits;
use proto_imap::session::{Now, Session, Settings};

const NOW: Now = Now { unix: ARRIVAL, monotonic_ms: 0 };

/// xorshift: the same numbers in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }

    fn pick<'w>(&mut self, words: &[&'w str]) -> &'w str {
        words[self.below(words.len())]
    }
}

const COMMANDS: [&str; 30] = [
    "SELECT",
    "EXAMINE",
    "FETCH",
    "UID FETCH",
    "STORE",
    "UID STORE",
    "SEARCH",
    "UID SEARCH",
    "COPY",
    "UID COPY",
    "MOVE",
    "UID MOVE",
    "EXPUNGE",
    "UID EXPUNGE",
    "LIST",
    "LSUB",
    "STATUS",
    "APPEND",
    "CREATE",
    "DELETE",
    "RENAME",
    "SUBSCRIBE",
    "UNSUBSCRIBE",
    "CLOSE",
    "UNSELECT",
    "NOOP",
    "IDLE",
    "ENABLE",
    "NAMESPACE",
    "ID",
];

const WORDS: [&str; 73] = [
    "INBOX",
    "foo",
    "foo.bar",
    "\"\"",
    "*",
    "%",
    "1",
    "1:*",
    "2,4:5",
    "$",
    "*:3",
    "0",
    "4294967295",
    "4294967296",
    "FLAGS",
    "+FLAGS",
    "-FLAGS.SILENT",
    "(\\Seen)",
    "(\\Deleted kw)",
    "\\Flagged",
    "(FLAGS UID)",
    "ALL",
    "FULL",
    "BODY[]",
    "BODY.PEEK[TEXT]<0.5>",
    "BODY[HEADER.FIELDS (a",
    "b)]",
    "RFC822.SIZE",
    "ENVELOPE",
    "(MODSEQ)",
    "(CHANGEDSINCE 1)",
    "(UNCHANGEDSINCE 2)",
    "RETURN",
    "(MIN MAX)",
    "(SAVE)",
    "(ALL COUNT)",
    "NOT",
    "OR",
    "SEEN",
    "SUBJECT",
    "x",
    "TEXT",
    "hi",
    "SINCE",
    "1-Jan-2020",
    "31-Feb-2020",
    "OLDER",
    "10",
    "LARGER",
    "KEYWORD",
    "CHARSET",
    "UTF-8",
    "(MESSAGES UNSEEN)",
    "(",
    ")",
    "\"",
    "{2+}\r\nhi",
    "{2}\r\n",
    "{0+}\r\n",
    "~{2+}\r\nhi",
    "{x}",
    "&AOQ-",
    "&AA0ACg-",
    "&",
    "\\",
    "\0",
    "\r",
    "\u{e4}",
    "DONE",
    "(SUBSCRIBED)",
    "(STATUS (MESSAGES))",
    "\"20-Nov-2026 10:00:00 +0100\"",
    "",
];

/// Whatever is said consists of lines, each tagged, untagged or a continuation, with literals of the stated sizes.
fn assert_well_formed(mut output: &[u8]) {
    while !output.is_empty() {
        let second = output.splitn(3, |byte| *byte == b' ').nth(1).unwrap_or_default();
        let tagged = [&b"OK"[..], b"NO", b"BAD"].contains(&second);
        assert!(
            tagged || output.starts_with(b"* ") || output.starts_with(b"+ "),
            "{}",
            String::from_utf8_lossy(output)
        );
        loop {
            let end = output.windows(2).position(|pair| pair == b"\r\n").expect("a line end");
            let line = &output[..end];
            output = &output[end + 2..];
            let size = line.strip_suffix(b"}").and_then(|line| line.rsplit(|byte| *byte == b'{').next());
            let Some(size) = size.and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<usize>().ok()) else {
                break;
            };
            output = &output[size..];
        }
    }
}

fn run(session: &mut Session<Memory>, mut input: &[u8], output: &mut Vec<u8>) {
    loop {
        let read = session.process(input, NOW);
        input = &input[read..];
        let written = session.output().len();
        output.extend_from_slice(session.output());
        session.sent(written);
        if written == 0 && (read == 0 || input.is_empty()) {
            return;
        }
    }
}

#[test]
fn random_commands() {
    commands(0x9e37_79b9_7f4a_7c15, 3_000);
}

#[test]
#[ignore = "long"]
fn random_commands_for_long() {
    commands(0x0123_4567_89ab_cdef, 300_000);
}

fn commands(seed: u64, rounds: usize) {
    let mut random = Random(seed);
    for _ in 0..rounds {
        let memory = Memory::new();
        let login = || Session::new(Settings::default(), memory.clone(), b"a", NOW);
        let mut clients = [(login(), Vec::new()), (login(), Vec::new())];
        for (session, output) in &mut clients {
            run(session, b"a APPEND INBOX {4+}\r\nA: b {4+}\r\nC: d {4+}\r\nE: f\r\na SELECT INBOX\r\n", output);
        }
        for _ in 0..12 {
            let (session, output) = &mut clients[random.below(2)];
            let mut input = format!("a {}", random.pick(&COMMANDS));
            for _ in 0..random.below(5) {
                input.push(' ');
                input.push_str(random.pick(&WORDS));
            }
            input.push_str("\r\n");
            let cut = random.below(input.len());
            run(session, &input.as_bytes()[..cut], output);
            if let Some(parked) = session.park() {
                assert!(Session::resume(parked, 0, Settings::default(), memory.clone(), NOW).is_ok());
            }
            run(session, &input.as_bytes()[cut..], output);
        }
        for (_, output) in &clients {
            assert_well_formed(output);
        }
    }
}

#[test]
fn random_bytes() {
    bytes(0x1234_5678_9abc_def1, 5_000);
}

#[test]
#[ignore = "long"]
fn random_bytes_for_long() {
    bytes(0x0fed_cba9_8765_4321, 500_000);
}

fn bytes(seed: u64, rounds: usize) {
    let mut random = Random(seed);
    for _ in 0..rounds {
        let mut session = Session::new(Settings::default(), Memory::new(), b"a", NOW);
        let mut output = Vec::new();
        for _ in 0..20 {
            let bytes: Vec<u8> = (0..random.below(40)).map(|_| random.below(256) as u8).collect();
            run(&mut session, &bytes, &mut output);
            run(&mut session, [&b"a"[..], b" ", b"\r\n", b"{3}", b"(", b"\""][random.below(6)], &mut output);
        }
    }
}

/// What the framer makes of input does not depend on how it was cut.
#[test]
fn random_cuts() {
    let mut random = Random(0xdead_beef_cafe_f00d);
    let frames = |pieces: &[&[u8]]| {
        let mut framer = Framer::new(200);
        let mut seen: Vec<(u8, Vec<u8>)> = Vec::new();
        for piece in pieces {
            let mut input = *piece;
            loop {
                let (kind, bytes) = match framer.next(&mut input) {
                    Step::NeedInput => break,
                    Step::Continue => (1, Vec::new()),
                    Step::Command => (2, framer.command().to_vec()),
                    Step::Message(announced) => {
                        let kind = if announced.size % 2 == 0 { 3 } else { 4 };
                        if kind == 3 {
                            framer.accept()
                        } else {
                            framer.discard()
                        }
                        (kind, Vec::new())
                    }
                    Step::Data(octets) => (5, octets.to_vec()),
                    Step::MessageEnd => (6, Vec::new()),
                    Step::TooLong => (7, framer.command().to_vec()),
                    Step::LiteralTooLarge => return seen,
                };
                match seen.last_mut() {
                    Some((5, octets)) if kind == 5 => octets.extend(bytes),
                    _ => seen.push((kind, bytes)),
                }
            }
            assert!(framer.command().len() <= 200);
        }
        seen
    };
    let words = [
        "a ",
        "APPEND ",
        "INBOX ",
        "x ",
        "{4}",
        "{5+}",
        "{6+}",
        "\r\n",
        "\n",
        "\r",
        "\"",
        "{",
        "}",
        "(",
        "y",
        "abcdefghijklmno",
    ];
    for _ in 0..30_000 {
        let input: String = (0..random.below(40)).map(|_| random.pick(&words)).collect();
        let whole = frames(&[input.as_bytes()]);
        let at = random.below(input.len() + 1);
        let (first, second) = input.as_bytes().split_at(at);
        assert_eq!(frames(&[first, second]), whole, "{input:?} at {at}");
        let single: Vec<&[u8]> = input.as_bytes().chunks(1).collect();
        assert_eq!(frames(&single), whole, "{input:?} byte by byte");
    }
}

#[test]
fn no_more_is_held_than_the_limit() {
    let mut framer = Framer::new(limits::COMMAND);
    let line = vec![b'x'; 1000];
    let mut refused = 0;
    for _ in 0..1_000 {
        let mut input = line.as_slice();
        if framer.next(&mut input) == Step::TooLong {
            refused += 1;
            assert_eq!(framer.next(&mut input), Step::NeedInput);
        }
        assert!(input.is_empty() && framer.command().len() <= limits::COMMAND);
    }
    assert_eq!(refused, 1, "it is said once");
    assert_eq!(framer.next(&mut &b"\r\n"[..]), Step::NeedInput);
    assert!(framer.is_empty(), "the next command begins");
}
