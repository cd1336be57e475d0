//! Sessions that are parked and go on elsewhere.

#[path = "support/memory.rs"]
mod memory;

use memory::{ARRIVAL, Memory};
use proto_imap::limits;
use proto_imap::session::{Now, Parked, ResumeError, STILL_HERE, Session, Settings};

const NOW: Now = Now { unix: ARRIVAL, monotonic_ms: 0 };

fn say(session: &mut Session<Memory>, commands: &str) -> String {
    assert_eq!(session.process(commands.as_bytes(), NOW), commands.len());
    let output = String::from_utf8_lossy(session.output()).replace(" (0.001 + 0.000 secs)", "");
    let count = session.output().len();
    session.sent(count);
    output
}

fn login(memory: &Memory) -> Session<Memory> {
    let mut session = Session::new(Settings::default(), memory.clone(), b"L", NOW);
    say(&mut session, "");
    session
}

/// Through bytes, as between two processes.
fn resume(parked: &Parked, memory: &Memory) -> Result<Session<Memory>, ResumeError> {
    let bytes = postcard::to_stdvec(parked).unwrap();
    let parked: Parked = postcard::from_bytes(&bytes).unwrap();
    Session::resume(parked, 0, Settings::default(), memory.clone(), NOW)
}

fn with_messages(count: usize) -> (Memory, Session<Memory>) {
    let memory = Memory::new();
    let mut session = login(&memory);
    for _ in 0..count {
        say(&mut session, "a APPEND INBOX {2+}\r\nhi\r\n");
    }
    say(&mut session, "b SELECT INBOX (CONDSTORE)\r\n");
    (memory, session)
}

#[test]
fn an_idling_client_does_not_notice() {
    let (memory, mut session) = with_messages(3);
    say(&mut session, "c SEARCH RETURN (SAVE) 2\r\nd IDLE\r\n");
    let parked = session.park().expect("a quiet session");
    assert!(parked.is_idling());
    assert_eq!(parked.mailbox().map(|name| name.as_str()), Some("INBOX"));
    drop(session);

    let mut other = login(&memory);
    say(&mut other, "a SELECT INBOX\r\nb STORE 1 +FLAGS.SILENT (\\Deleted)\r\nc EXPUNGE\r\n");
    say(&mut other, "d STORE 1 +FLAGS (\\Flagged)\r\ne APPEND INBOX {2+}\r\nhi\r\n");

    let mut session = resume(&parked, &memory).expect("the same mailbox");
    assert!(session.is_idling());
    let news = "* 2 FETCH (MODSEQ (7) FLAGS (\\Flagged \\Recent))\r\n* 1 EXPUNGE\r\n* 3 EXISTS\r\n* 2 RECENT\r\n";
    assert_eq!(say(&mut session, ""), news);
    assert_eq!(say(&mut session, "DONE\r\n"), "d OK Idle completed.\r\n");
    assert_eq!(say(&mut session, "e FETCH $ UID\r\n"), "* 1 FETCH (UID 2)\r\ne OK Fetch completed.\r\n");
}

/// The clock and the counters go on: a reminder is due when it would have been, and the log tells the whole session.
#[test]
fn time_and_counters_go_on() {
    let (memory, mut session) = with_messages(1);
    let at = |seconds: u64| Now { monotonic_ms: seconds * 1000, ..NOW };
    session.process(b"d IDLE\r\n", at(10));
    session.sent(session.output().len());
    assert_eq!(session.deadline(), 130_000);
    let before = session.statistics();
    let parked = session.park().unwrap();
    let resumed = Session::resume(parked.clone(), 2, Settings::default(), memory.clone(), at(300)).unwrap();
    assert_eq!(resumed.deadline(), 370_000, "the third reminder");
    assert_eq!(resumed.statistics().bytes_out, before.bytes_out + 2 * STILL_HERE.len() as u64);
    assert_eq!(resumed.activity(at(301)), "IDLE running for 291.000 secs");

    let (memory, mut session) = with_messages(1);
    session.process(b"d NOOP\r\n", at(10));
    session.sent(session.output().len());
    let parked = session.park().unwrap();
    let mut resumed = Session::resume(parked, 0, Settings::default(), memory, at(1809)).unwrap();
    resumed.tick(at(1809));
    assert!(!resumed.is_closed());
    resumed.tick(at(10 + limits::SESSION_IDLE_SECONDS));
    assert_eq!(resumed.farewell(), Some("Disconnected for inactivity."));
}

#[test]
fn parking_twice_gives_the_same() {
    let (memory, mut session) = with_messages(5);
    say(&mut session, "c STORE 2 +FLAGS (\\Seen kw)\r\n");
    let parked = session.park().unwrap();
    let mut resumed = resume(&parked, &memory).unwrap();
    say(&mut resumed, "");
    assert_eq!(resumed.park().unwrap().mailbox(), parked.mailbox());
    assert_eq!(say(&mut resumed, "d NOOP\r\n"), "d OK NOOP completed.\r\n", "there is no news");
    let bytes = |parked: &Parked| postcard::to_stdvec(parked).unwrap();
    assert!(bytes(&parked).len() < 100, "{}", bytes(&parked).len());
}

#[test]
fn a_busy_session_is_not_parked() {
    let (_, mut session) = with_messages(1);
    assert!(session.park().is_some());
    say(&mut session, "a NO");
    assert!(session.park().is_none(), "a part of a command was read");
    say(&mut session, "OP\r\n");
    assert!(session.park().is_some());
    say(&mut session, "b APPEND INBOX {5}\r\n");
    assert!(session.park().is_none(), "a message is on its way");
    say(&mut session, "hello\r\n");
    session.process(b"c NOOP\r\n", NOW);
    assert!(session.park().is_none(), "output waits");
}

#[test]
fn a_mailbox_in_pieces_is_not_parked() {
    let (_, mut session) = with_messages(2 * limits::PARKED_RANGES + 2);
    let odd: Vec<String> = (0..=limits::PARKED_RANGES).map(|number| (2 * number + 1).to_string()).collect();
    for some in odd.chunks(1000) {
        say(&mut session, &format!("a UID STORE {} +FLAGS.SILENT (\\Deleted)\r\n", some.join(",")));
    }
    assert!(session.park().is_some());
    say(&mut session, "b EXPUNGE\r\n");
    session.sent(session.output().len());
    assert!(session.park().is_none());
}

#[test]
fn what_does_not_fit_is_refused() {
    let (memory, session) = with_messages(1);
    let parked = session.park().unwrap();
    let mut other = login(&memory);
    say(&mut other, "a CREATE x\r\nb RENAME x y\r\n");
    let folder = memory.0.borrow().folders.values().next().cloned().unwrap();
    folder.borrow_mut().validity += 1;
    assert_eq!(resume(&parked, &memory).err(), Some(ResumeError::UidValidity));
    memory.0.borrow_mut().folders.clear();
    assert!(matches!(resume(&parked, &memory).err(), Some(ResumeError::Mailbox(_))));

    // The serialised state is input like any other.
    let memory = Memory::new();
    let bytes = postcard::to_stdvec(&parked).unwrap();
    let mut resumed = 0;
    for at in 0..bytes.len() {
        for value in 0..=255 {
            let mut changed = bytes.clone();
            changed[at] = value;
            let Ok(parked) = postcard::from_bytes::<Parked>(&changed) else { continue };
            if let Ok(mut session) = Session::resume(parked, 0, Settings::default(), memory.clone(), NOW) {
                resumed += 1;
                session.process(b"DONE\r\nb UID FETCH 1:* FLAGS\r\nc FETCH 1 BODY[]\r\nd NOOP\r\n", NOW);
            }
        }
    }
    assert!(resumed > 0);
}
