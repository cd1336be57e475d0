//! Dialogues with a session over real formats: on the model file system, where each is replayed split at every byte, and on
//! a disk. What Dovecot 2.3 said to the same client stands in `transcripts/`.
//!
//! `C:` is a line of the client, `S:` one of the server, `#` a comment. `<HEX>` in a client's line is a byte. Times and
//! UIDVALIDITY are left out of account.

use std::sync::Arc;

use proto_imap::session::{Now, Session, Settings};
use slog::{Discard, Logger, o};
use store_mailbox::fs::Fs;
use store_mailbox::fs::model::ModelFs;
use store_mailbox::fs::real::RealFs;
use store_mailbox::list::Mailboxes;
use store_mailbox::list::namespace::{Namespace, NamespaceKind, Namespaces};
use store_mailbox::location::{Format, Fsync, Location, MailboxName};
use store_mailbox::mailbox::Environment;

use crate::files::{Automatic, Files};

pub const NOW: Now = Now { unix: 1_795_200_000, monotonic_ms: 1000 };

/// The mailboxes of a user with Debian's namespace, in `root`.
pub fn files<F: Fs>(fs: Arc<F>, root: F::Dir, format: Format) -> Files<F> {
    let environment = Environment { fs: fs.clone(), names: Arc::default(), fsync: Fsync::Optimized };
    let location = Location { format, root, path: vec![b"mail".to_vec()] };
    let name = |name| MailboxName::new(name, '/').unwrap();
    let namespace = Namespace {
        kind: NamespaceKind::Personal,
        prefix: String::new(),
        separator: if format == Format::Maildir { '.' } else { '/' },
        inbox: true,
        list: true,
        hidden: false,
        subscriptions: true,
        special_use: [(name("Drafts"), "\\Drafts".into()), (name("Trash"), "\\Trash".into())].into(),
        mailboxes: Mailboxes::new(environment, location),
    };
    let automatic = vec![Automatic { name: "Trash".into(), subscribed: true }];
    Files::new(fs, Namespaces::new(vec![namespace]).unwrap(), automatic, Logger::root(Discard, o!()))
}

/// A session that has said its greeting.
pub fn session<F: Fs>(files: Files<F>) -> Session<Files<F>> {
    let settings = Settings { special_use: true, ..Settings::default() };
    let mut session = Session::new(settings, files, b"a", NOW);
    session.sent(session.output().len());
    session
}

/// Says `input` and returns the answer.
pub fn say<F: Fs>(session: &mut Session<Files<F>>, input: &[u8]) -> Vec<u8> {
    let (mut input, mut out) = (input, Vec::new());
    loop {
        let used = session.process(input, NOW);
        input = &input[used..];
        let answer = session.output().to_vec();
        out.extend_from_slice(&answer);
        session.sent(answer.len());
        if answer.is_empty() && (input.is_empty() || used == 0) {
            return out;
        }
    }
}

/// What the client says at once, and the lines of the answer.
fn turns(transcript: &str) -> Vec<(Vec<u8>, Vec<String>)> {
    let mut turns: Vec<(Vec<u8>, Vec<String>)> = Vec::new();
    for line in transcript.lines().filter(|line| !line.starts_with('#')) {
        let (side, rest) = line.split_at(2);
        let rest = rest.strip_prefix(' ').unwrap_or(rest);
        match (side, turns.last_mut()) {
            ("C:", Some((said, answer))) if answer.is_empty() => said.extend(bytes(rest)),
            ("C:", _) => turns.push((bytes(rest), Vec::new())),
            ("S:", Some((_, answer))) => answer.push(rest.to_owned()),
            _ => panic!("{line}"),
        }
    }
    turns
}

fn bytes(line: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), line.as_bytes());
    while let Some((first, after)) = rest.split_first() {
        let hex = rest.get(1..3).filter(|_| *first == b'<' && rest.get(3) == Some(&b'>'));
        match hex.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &rest[4..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    bytes.extend_from_slice(b"\r\n");
    bytes
}

/// A line without what differs each time.
fn shown(line: &str) -> String {
    let mut line = line.to_owned();
    if let Some(at) = line.rfind(" (0.0") {
        line.truncate(at);
        line.push_str(" (TIME)");
    }
    for code in ["UIDVALIDITY ", "APPENDUID ", "COPYUID "] {
        if let Some(at) = line.find(code) {
            let digits = line[at + code.len()..].bytes().take_while(u8::is_ascii_digit).count();
            line.replace_range(at + code.len()..at + code.len() + digits, "V");
        }
    }
    line
}

/// Replays a transcript; what the client says at once comes in two pieces, cut after `cut` bytes.
fn replay<F: Fs>(mut session: Session<Files<F>>, transcript: &str, cut: usize) {
    for (said, expected) in turns(transcript) {
        let (first, second) = said.split_at(cut.min(said.len()));
        let mut answer = say(&mut session, first);
        answer.extend(say(&mut session, second));
        let text = String::from_utf8_lossy(&answer);
        let mut lines: Vec<String> = text.split("\r\n").map(shown).collect();
        assert_eq!(lines.pop().as_deref(), Some(""), "{text}");
        if session.is_closed() {
            lines.push("*** closed".into());
        }
        assert_eq!(lines, expected, "after {:?} cut at {cut}", String::from_utf8_lossy(&said));
    }
}

const MAIL: &str = include_str!("transcripts/mail.txt");
const RECORDED: [(Format, &[&str]); 2] = [
    (
        Format::Maildir,
        &[MAIL, include_str!("transcripts/list.maildir.txt"), include_str!("transcripts/tree.maildir.txt")],
    ),
    (Format::Sdbox, &[MAIL, include_str!("transcripts/list.sdbox.txt"), include_str!("transcripts/tree.sdbox.txt")]),
];

#[test]
fn recorded_dialogues_split_at_every_byte() {
    for (format, transcripts) in RECORDED {
        for transcript in transcripts {
            let longest = turns(transcript).iter().map(|(said, _)| said.len()).max().unwrap();
            for cut in 0..longest {
                let fs = ModelFs::new();
                replay(session(files(Arc::new(fs.clone()), fs.root(), format)), transcript, cut);
            }
        }
    }
}

#[test]
fn recorded_dialogues_on_a_disk() {
    for (format, transcripts) in RECORDED {
        for transcript in transcripts {
            let (_folder, fs) = disk();
            let root = fs.root(0).unwrap();
            replay(session(files(fs, root, format)), transcript, usize::MAX);
        }
    }
}

/// A folder of its own on the disk.
pub fn disk() -> (tempfile::TempDir, Arc<RealFs>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap().as_bytes().to_vec();
    let root = std::fs::File::open(folder.path()).unwrap();
    let fs = RealFs::new(vec![(path, root.into())], b"host").unwrap();
    (folder, Arc::new(fs))
}

/// One file for each message, named by its UID: what is expunged goes, what stays keeps its name.
#[test]
fn sdbox_files_are_numbered_by_uid() {
    let (folder, fs) = disk();
    let root = fs.root(0).unwrap();
    let mut session = session(files(fs, root, Format::Sdbox));
    for _ in 0..3 {
        say(&mut session, b"a APPEND INBOX {17+}\r\nSubject: x\r\n\r\nabc\r\n");
    }
    let mut ask = |command: &str| String::from_utf8(say(&mut session, format!("b {command}\r\n").as_bytes())).unwrap();
    assert!(ask("SELECT INBOX").contains("* 3 EXISTS\r\n"));
    assert!(ask("STORE 2 +FLAGS (\\Deleted)").starts_with("* 2 FETCH (FLAGS (\\Deleted \\Recent))\r\n"));
    assert!(ask("EXPUNGE").starts_with("* 2 EXPUNGE\r\n"));
    assert!(ask("UID SEARCH ALL").starts_with("* SEARCH 1 3\r\n"));
    let mails = std::fs::read_dir(folder.path().join("mail/mailboxes/INBOX/dbox-Mails")).unwrap();
    let mut names: Vec<String> = mails.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name.starts_with("u."));
    names.sort();
    assert_eq!(names, ["u.1", "u.3"]);
}
