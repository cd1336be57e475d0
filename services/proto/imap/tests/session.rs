//! Dialogues after login, replayed whole and split at every byte.

#[path = "support/memory.rs"]
mod memory;
#[path = "support/transcript.rs"]
mod transcript;

use std::collections::BTreeMap;

use memory::{ARRIVAL, Memory};
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

/// Replays a dialogue. `feed` hands a turn's bytes to the session in its own way.
fn replay(name: &str, turns: &[Turn], feed: &dyn Fn(&mut Session<Memory>, &[u8]) -> Vec<u8>) {
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
    for (session, output) in sessions.values() {
        assert!(output.is_empty(), "{name}: left over {:?}", String::from_utf8_lossy(output));
        drop(session);
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
