//! Dialogues after login, replayed whole and split at every byte.

#[path = "support/memory.rs"]
mod memory;
#[path = "support/transcript.rs"]
mod transcript;

use std::collections::BTreeMap;

use memory::{ARRIVAL, Memory};
use proto_imap::limits;
use proto_imap::session::{Now, Session, Settings};
use transcript::Turn;

const NOW: Now = Now { unix: ARRIVAL + 60, monotonic_ms: 0 };

/// The time in tagged lines, which is the same in every dialogue here.
const TIMING: &str = " (0.001 + 0.000 secs)";

fn login(memory: &Memory) -> Session<Memory> {
    let settings = Settings { special_use: true, ..Settings::default() };
    let mut session = Session::new(settings, memory.clone(), b"L", NOW);
    let greeting = session.output().len();
    session.sent(greeting);
    session
}

/// Hands in all of the input and takes all of the output.
fn exchange(session: &mut Session<Memory>, mut input: &[u8]) -> Vec<u8> {
    let mut output = Vec::new();
    loop {
        let read = session.process(input, NOW);
        input = &input[read..];
        let written = session.output().len();
        output.extend_from_slice(session.output());
        session.sent(written);
        if written == 0 && (read == 0 || input.is_empty()) {
            return output;
        }
    }
}

/// Hands a turn's bytes to the session in some way, and returns what it says.
type Feed<'f> = &'f dyn Fn(&mut Session<Memory>, &[u8]) -> Vec<u8>;

fn replay(name: &str, turns: &[Turn], feed: Feed<'_>) {
    let memory = Memory::new();
    let mut sessions: BTreeMap<String, (Session<Memory>, Vec<u8>)> = BTreeMap::new();
    for turn in turns {
        match turn {
            Turn::Client(who, bytes) => {
                let (session, output) = sessions.entry(who.clone()).or_insert_with(|| (login(&memory), Vec::new()));
                output.extend(feed(session, bytes));
                for (session, output) in sessions.values_mut().filter(|(session, _)| session.is_idling()) {
                    session.notify();
                    output.extend(exchange(session, b""));
                }
            }
            Turn::Server(who, expected) => {
                let (session, output) = sessions.get_mut(who).expect("a client that spoke");
                let output = String::from_utf8_lossy(&std::mem::take(output)).replace(TIMING, "");
                let lines = transcript::lines(output.as_bytes(), session.is_closed());
                assert_eq!(&lines, expected, "{name}, before {turn:?}");
            }
        }
    }
    for (_, output) in sessions.values() {
        assert!(output.is_empty(), "{name}: left over {:?}", String::from_utf8_lossy(output));
    }
}

fn dialogues() -> Vec<(String, Vec<Turn>)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/transcripts/session");
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 8, "transcripts are there");
    paths
        .iter()
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, transcript::parse(&std::fs::read_to_string(path).unwrap()))
        })
        .collect()
}

#[test]
fn dialogues_replay_whole() {
    for (name, turns) in dialogues() {
        replay(&name, &turns, &exchange);
    }
}

#[test]
fn dialogues_replay_byte_by_byte() {
    for (name, turns) in dialogues() {
        replay(&name, &turns, &|session, bytes| {
            bytes.iter().flat_map(|byte| exchange(session, std::slice::from_ref(byte))).collect()
        });
    }
}

#[test]
fn dialogues_replay_split_anywhere() {
    for (name, turns) in dialogues() {
        let longest = turns.iter().map(|turn| match turn {
            Turn::Client(_, bytes) => bytes.len(),
            Turn::Server(..) => 0,
        });
        for at in 1..longest.max().unwrap_or(0) {
            replay(&name, &turns, &|session, bytes| {
                let (first, second) = bytes.split_at(at.min(bytes.len()));
                [exchange(session, first), exchange(session, second)].concat()
            });
        }
    }
}

/// Logs in and says something, for tests that look at more than the words.
fn session_with(memory: &Memory, commands: &str) -> Session<Memory> {
    let mut session = login(memory);
    exchange(&mut session, commands.as_bytes());
    session
}

fn say(session: &mut Session<Memory>, commands: &str) -> String {
    String::from_utf8_lossy(&exchange(session, commands.as_bytes())).replace(TIMING, "")
}

#[test]
fn a_session_begins_by_answering_the_login() {
    let session = Session::new(Settings::default(), Memory::new(), b"x1", NOW);
    let greeting = String::from_utf8_lossy(session.output()).into_owned();
    assert!(greeting.starts_with("x1 OK [CAPABILITY IMAP4rev1 SASL-IR "), "{greeting}");
    assert!(greeting.ends_with(" LIST-STATUS MOVE STATUS=SIZE LITERAL+] Logged in\r\n"), "{greeting}");
}

#[test]
fn tagged_lines_show_the_time() {
    let mut session = login(&Memory::new());
    session.process(b"a IDLE\r\n", Now { monotonic_ms: 1000, ..NOW });
    session.process(b"DONE\r\n", Now { monotonic_ms: 6127, ..NOW });
    let output = String::from_utf8_lossy(session.output()).into_owned();
    assert!(output.ends_with("a OK Idle completed (0.001 + 5.127 secs).\r\n"), "{output}");
}

#[test]
fn the_log_learns_what_was_going_on() {
    let mut session = login(&Memory::new());
    let at = |monotonic_ms| Now { unix: ARRIVAL, monotonic_ms };
    assert_eq!(session.activity(at(5)), "No commands sent");
    session.process(b"a noop\r\n", at(1000));
    assert_eq!(session.activity(at(1400)), "noop finished 0.400 secs ago");
    session.process(b"b IDLE\r\n", at(2000));
    assert_eq!(session.activity(at(5126)), "IDLE running for 3.126 secs");
}

#[test]
fn patience_with_bad_commands_ends() {
    let mut session = login(&Memory::new());
    let bad = "a FOO\r\n".repeat(limits::BAD_COMMANDS as usize - 1);
    say(&mut session, &bad);
    assert!(!session.is_closed());
    say(&mut session, "b NOOP\r\n");
    say(&mut session, &bad);
    assert!(!session.is_closed(), "a good command starts the count again");
    assert!(say(&mut session, "c FOO\r\n").ends_with("* BYE Too many invalid IMAP commands.\r\n"));
    assert!(session.is_closed());
    assert_eq!(say(&mut session, "d NOOP\r\n"), "", "nothing is read any more");
}

#[test]
fn long_commands_are_refused_and_skipped() {
    let mut session = login(&Memory::new());
    let name = "x".repeat(limits::COMMAND);
    let expected = "a BAD Error in IMAP command CREATE: Too long argument.\r\nb OK NOOP completed.\r\n";
    assert_eq!(say(&mut session, &format!("a CREATE {name}\r\nb NOOP\r\n")), expected);
    // The same in pieces, and with a literal at the end that is not waited for.
    let mut output = String::new();
    for piece in format!("a CREATE {name}{name} {{6+}}\r\nc NOOP\r\nb NOOP\r\n").as_bytes().chunks(1000) {
        output += &String::from_utf8_lossy(&exchange(&mut session, piece)).replace(TIMING, "");
    }
    assert_eq!(output, expected);
    let long = format!("a CREATE {}\r\n", "y".repeat(limits::MAILBOX_NAME + 1));
    assert_eq!(say(&mut session, &long), "a NO [CANNOT] Mailbox name too long.\r\n");
    let long = format!("a CREATE {}\r\n", "y".repeat(limits::MAILBOX_LEVEL + 1));
    assert_eq!(say(&mut session, &long), "a NO [CANNOT] Mailbox name too long.\r\n");
    let tag = "t".repeat(limits::TAG + 1);
    assert_eq!(say(&mut session, &format!("{tag} NOOP\r\n")), "* BAD Error in IMAP tag: Invalid tag.\r\n");
}

#[test]
fn nesting_and_numbers_are_bounded() {
    let mut session = session_with(&Memory::new(), "a SELECT INBOX\r\n");
    let cases = [
        (format!("SEARCH {}ALL{}", "(".repeat(limits::DEPTH + 1), ")".repeat(limits::DEPTH + 1)), "Too many '('"),
        (format!("SEARCH {} ALL", "NOT ".repeat(limits::DEPTH + 1)), "Too many nested search keys"),
        (format!("SEARCH {}", "1 ".repeat(limits::ARGUMENTS + 1)), "Too many arguments"),
        (format!("UID FETCH 1 BODY[1{}]", ".1".repeat(limits::SECTION_DEPTH)), "Invalid BODY[..] section"),
    ];
    for (command, complaint) in cases {
        let reply = say(&mut session, &format!("a {command}\r\n"));
        assert!(reply.ends_with(&format!(": {complaint}.\r\n")), "{reply}");
    }
    let deep = limits::DEPTH - 1;
    let reply = say(&mut session, &format!("a SEARCH {}ALL{}\r\n", "(".repeat(deep), ")".repeat(deep)));
    assert_eq!(reply, "* SEARCH\r\na OK Search completed.\r\n");
    let keywords: Vec<String> = (0..=limits::KEYWORDS).map(|number| format!("k{number}")).collect();
    let reply = say(&mut session, &format!("a UID STORE 1 FLAGS ({})\r\n", keywords.join(" ")));
    assert_eq!(reply, "a NO [LIMIT] Too many keywords.\r\n");
    let reply = say(&mut session, &format!("a UID STORE 1 FLAGS ({})\r\n", "k".repeat(limits::KEYWORD + 1)));
    assert_eq!(reply, "a NO [CANNOT] Keyword length too long.\r\n");
}

#[test]
fn a_large_fetch_waits_for_the_client() {
    let memory = Memory::new();
    let mut session = login(&memory);
    let body = "x".repeat(1_000_000);
    say(&mut session, &format!("a APPEND INBOX {{{}+}}\r\n{body}\r\nb SELECT INBOX\r\n", body.len()));
    let mut input = &b"c FETCH 1 BODY.PEEK[]\r\nd NOOP\r\n"[..];
    let mut output = Vec::new();
    let mut rounds = 0;
    loop {
        input = &input[session.process(input, NOW)..];
        let waiting = session.output().len();
        assert!(waiting < limits::OUTPUT_HIGH_WATER + limits::CONTENT_STEP, "{waiting} bytes wait");
        if waiting == 0 {
            break;
        }
        // A slow client takes a part of it.
        let taken = waiting.min(50_000);
        output.extend_from_slice(&session.output()[..taken]);
        session.sent(taken);
        rounds += 1;
    }
    assert!(rounds >= 20);
    let expected =
        format!("* 1 FETCH (BODY[] {{1000000}}\r\n{body})\r\nc OK Fetch completed.\r\nd OK NOOP completed.\r\n");
    assert!(String::from_utf8(output).unwrap().replace(TIMING, "") == expected);
    assert_eq!(session.statistics().body_bytes, 1_000_000);
}

#[test]
fn a_message_that_cannot_be_read() {
    let memory = Memory::new();
    let mut session = login(&memory);
    say(&mut session, "a APPEND INBOX {12+}\r\nbad sector\r\n\r\nb SELECT INBOX\r\n");
    let reply = say(&mut session, "c FETCH 1 BODY.PEEK[]<0.5>\r\n");
    assert_eq!(reply, "* 1 FETCH (BODY[]<0> {5}\r\nbad s)\r\nc OK Fetch completed.\r\n");
    // Octets that were promised and cannot be had: the connection ends in the middle.
    let reply = say(&mut session, "c FETCH 1 BODY.PEEK[]<1>\r\n");
    assert_eq!(reply, "* 1 FETCH (BODY[]<1> {11}\r\n");
    assert!(session.is_closed());

    let mut session = session_with(&memory, "a SELECT INBOX\r\n");
    memory.0.borrow_mut().broken = true;
    let reply = say(&mut session, "c FETCH 1 (UID RFC822.SIZE)\r\nd FETCH 1 (UID BODY[])\r\n");
    let error = "NO [SERVERBUG] Internal error occurred.\r\n";
    assert_eq!(reply, format!("c {error}* 1 FETCH (UID 1 FLAGS (\\Seen) BODY[] NIL)\r\nd {error}"));
}

#[test]
fn time_ends_a_silent_session_and_feeds_an_idle_one() {
    let mut session = login(&Memory::new());
    let at = |seconds: u64| Now { unix: ARRIVAL, monotonic_ms: seconds * 1000 };
    session.process(b"a IDLE\r\n", at(10));
    assert_eq!(session.deadline(), 130_000);
    session.tick(at(129));
    session.tick(at(130));
    session.tick(at(131));
    assert_eq!(session.output(), b"+ idling\r\n* OK Still here\r\n");
    session.process(b"DONE\r\n", at(140));
    session.tick(at(140 + limits::SESSION_IDLE_SECONDS - 1));
    assert!(!session.is_closed());
    session.tick(at(140 + limits::SESSION_IDLE_SECONDS));
    assert!(session.is_closed() && session.output().ends_with(b"* BYE Disconnected for inactivity.\r\n"));
}
