//! The same messages asked of the real Dovecot. Where it is not installed, these tests say so and end.
//!
//! With `RECORD=1` in the environment its answers for the corpus are written beside the messages.

mod common;

use proto_mime::Structure;
use proto_mime::field::{fields, header_length};
use proto_mime::search::{Key, Scope, Scratch};
use proto_mime::section::{Section, Text, extract};
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// The user that Dovecot runs as where the tests run as root, which it does not serve.
const NOBODY: u32 = 65534;

/// A Maildir with messages, and Dovecot's `imap` on it.
struct Dovecot {
    folder: tempfile::TempDir,
    uid: u32,
}

impl Dovecot {
    fn new(messages: &[Vec<u8>]) -> Option<Self> {
        if Command::new("doveadm").arg("--version").output().is_err() {
            eprintln!("left out: the real Dovecot is not installed");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let root = &folder.path().to_path_buf();
        let own = fs::metadata(root).unwrap().uid();
        let uid = if own == 0 { NOBODY } else { own };
        let path = root.display();
        let conf = format!(
            "base_dir = {path}/run\nstate_dir = {path}/state\nlog_path = {path}/log\nmail_location = maildir:{path}/Maildir\n\
             mail_uid = {uid}\nmail_gid = {uid}\nfirst_valid_uid = 1\nfirst_valid_gid = 1\nssl = no\nprotocols = imap\n"
        );
        fs::write(root.join("dovecot.conf"), conf).unwrap();
        for name in ["Maildir", "Maildir/cur", "Maildir/new", "Maildir/tmp"] {
            fs::create_dir(root.join(name)).unwrap();
        }
        for (at, message) in messages.iter().enumerate() {
            fs::write(root.join(format!("Maildir/cur/{}.M1P1.x:2,", 1_000_000 + at)), message).unwrap();
        }
        let dovecot = Self { folder, uid };
        if own == 0 {
            dovecot.give(root);
        }
        Some(dovecot)
    }

    fn give(&self, path: &Path) {
        chown(path, Some(self.uid), Some(self.uid)).unwrap();
        if path.is_dir() {
            fs::read_dir(path).unwrap().for_each(|entry| self.give(&entry.unwrap().path()));
        }
    }

    /// What Dovecot answers for each message when it is asked a second time: its first answer may still differ.
    fn fetch_settled(&self, items: &str, count: usize) -> Vec<Vec<u8>> {
        self.fetch(items, count);
        self.fetch(items, count)
    }

    /// What Dovecot answers for each message: the items between the parentheses of `* n FETCH (…)`.
    fn fetch(&self, items: &str, count: usize) -> Vec<Vec<u8>> {
        let output = self.talk(&format!("b FETCH 1:* ({items})\r\n"));
        let find = |text: &[u8], what: &str| memchr::memmem::find(text, what.as_bytes());
        let mut rest = &output[..];
        (1..=count)
            .map(|number| {
                let start = format!("* {number} FETCH (");
                let at =
                    find(rest, &start).unwrap_or_else(|| panic!("no answer for message {number}: {}", tail(&output)));
                rest = &rest[at + start.len()..];
                let next =
                    if number < count { format!(")\r\n* {} FETCH (", number + 1) } else { ")\r\nb OK".to_owned() };
                let end = find(rest, &next).unwrap_or_else(|| panic!("message {number} has no end: {}", tail(rest)));
                rest[..end].to_vec()
            })
            .collect()
    }

    /// The numbers of the messages in which Dovecot finds each key.
    fn search(&self, what: &str, keys: &[&str]) -> Vec<Vec<usize>> {
        let command = |key: &&str| format!("b SEARCH CHARSET UTF-8 {what} {{{}+}}\r\n{key}\r\n", key.len());
        let output = self.talk(&keys.iter().map(command).collect::<String>());
        let output = String::from_utf8_lossy(&output).into_owned();
        let answers: Vec<_> = output.lines().filter_map(|line| line.strip_prefix("* SEARCH")).collect();
        assert_eq!(answers.len(), keys.len(), "{output}");
        answers.iter().map(|line| line.split_whitespace().map(|number| number.parse().unwrap()).collect()).collect()
    }

    /// All that Dovecot says to `requests` in the mailbox.
    fn talk(&self, requests: &str) -> Vec<u8> {
        let mut command = Command::new("doveadm");
        command
            .args(["-c", &self.folder.path().join("dovecot.conf").display().to_string(), "exec", "imap"])
            .env("USER", "nobody")
            .env("HOME", self.folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        if fs::metadata("/proc/self").unwrap().uid() == 0 {
            command.uid(self.uid).gid(self.uid);
        }
        let mut child = command.spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        input.write_all(format!("a SELECT INBOX\r\n{requests}c LOGOUT\r\n").as_bytes()).unwrap();
        // Dovecot ends as soon as its input does, so that stays open until all is read.
        let output = child.wait_with_output().unwrap().stdout;
        drop(input);
        output
    }
}

fn tail(text: &[u8]) -> String {
    String::from_utf8_lossy(&text[text.len().saturating_sub(300)..]).into_owned()
}

fn show(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}

/// Compares what we write of each message with what Dovecot does, and reports all differences at once.
fn compare(names: &[String], ours: &[Vec<u8>], theirs: &[Vec<u8>]) {
    let mut wrong = 0;
    for ((name, ours), theirs) in names.iter().zip(ours).zip(theirs) {
        if ours != theirs {
            wrong += 1;
            eprintln!("{name}\n  ours   {}\n  theirs {}", show(ours), show(theirs));
        }
    }
    assert_eq!(wrong, 0, "answers that differ, of {}", names.len());
}

#[test]
fn corpus() {
    let (names, messages): (Vec<_>, Vec<_>) = common::messages().into_iter().unzip();
    let Some(dovecot) = Dovecot::new(&messages) else { return };
    let theirs = dovecot.fetch_settled("ENVELOPE BODY BODYSTRUCTURE", messages.len());
    if std::env::var_os("RECORD").is_some() {
        for (name, answer) in names.iter().zip(&theirs) {
            fs::write(common::folder().join(format!("{name}.fetch")), answer).unwrap();
        }
    }
    let ours: Vec<_> = messages.iter().map(|message| common::fetch_items(message)).collect();
    compare(&names, &ours, &theirs);
}

/// The corpus with pieces cut, doubled and exchanged, the same every time.
fn mutations(count: usize) -> Vec<Vec<u8>> {
    let corpus: Vec<Vec<u8>> =
        common::messages().into_iter().map(|(_, message)| message).filter(|message| message.len() < 2000).collect();
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut below = move |limit: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % limit.max(1)
    };
    let mut messages = Vec::new();
    while messages.len() < count {
        let mut message = corpus[below(corpus.len())].clone();
        for _ in 0..=below(3) {
            let other = &corpus[below(corpus.len())];
            let (at, from) = (below(message.len() + 1), below(other.len() + 1));
            let end = (at + below(20)).min(message.len());
            let piece = other[from..(from + below(60)).min(other.len())].to_vec();
            match below(4) {
                0 => drop(message.splice(at..end, piece)),
                1 => drop(message.splice(at..at, piece)),
                2 => drop(message.drain(at..end)),
                _ => message.truncate(at.max(1)),
            }
        }
        messages.push(message);
    }
    messages
}

#[test]
fn mutated_corpus() {
    let count = std::env::var("MUTATIONS").map_or(1500, |count| count.parse().unwrap());
    let messages = mutations(count);
    let Some(dovecot) = Dovecot::new(&messages) else { return };
    let names: Vec<_> = messages.iter().map(|message| format!("{:?}", show(message))).collect();
    let ours: Vec<_> = messages.iter().map(|message| common::fetch_items(message)).collect();
    compare(&names, &ours, &dovecot.fetch_settled("ENVELOPE BODY BODYSTRUCTURE", messages.len()));
}

/// A section as a client names it, as we take it, and the range of it that is wanted.
type Request = (&'static str, Section, Option<(u64, u64)>);

fn sections() -> Vec<Request> {
    let names = |names: &[&str]| names.iter().map(|name| name.as_bytes().to_vec()).collect::<Vec<_>>();
    let section = |path: &[u32], text| Section { path: path.to_vec(), text };
    vec![
        ("", section(&[], Text::Whole), None),
        ("HEADER", section(&[], Text::Header), None),
        ("TEXT", section(&[], Text::Text), None),
        ("HEADER.FIELDS (SUBJECT TO)", section(&[], Text::HeaderFields(names(&["subject", "to"]))), None),
        ("HEADER.FIELDS.NOT (SUBJECT TO)", section(&[], Text::HeaderFieldsNot(names(&["subject", "to"]))), None),
        ("1", section(&[1], Text::Whole), None),
        ("2", section(&[2], Text::Whole), None),
        ("1.1", section(&[1, 1], Text::Whole), None),
        ("1.2", section(&[1, 2], Text::Whole), None),
        ("2.1", section(&[2, 1], Text::Whole), None),
        ("1.MIME", section(&[1], Text::Mime), None),
        ("2.MIME", section(&[2], Text::Mime), None),
        ("1.HEADER", section(&[1], Text::Header), None),
        ("2.HEADER", section(&[2], Text::Header), None),
        ("2.TEXT", section(&[2], Text::Text), None),
        ("1.HEADER.FIELDS (FROM)", section(&[1], Text::HeaderFields(names(&["from"]))), None),
        ("2.HEADER.FIELDS.NOT (FROM)", section(&[2], Text::HeaderFieldsNot(names(&["from"]))), None),
        ("", section(&[], Text::Whole), Some((10, 40))),
        ("TEXT", section(&[], Text::Text), Some((3, 7))),
        ("1", section(&[1], Text::Whole), Some((1, 1000))),
    ]
}

#[test]
fn sections_of_the_corpus() {
    let (names, messages): (Vec<_>, Vec<_>) = common::messages().into_iter().unzip();
    let Some(dovecot) = Dovecot::new(&messages) else { return };
    for (name, section, partial) in sections() {
        let (range, shown) = match partial {
            Some((skip, take)) => (format!("<{skip}.{take}>"), format!("<{skip}>")),
            None => (String::new(), String::new()),
        };
        let theirs = dovecot.fetch(&format!("BODY.PEEK[{name}]{range}"), messages.len());
        let ours: Vec<_> = messages
            .iter()
            .map(|message| {
                let text = extract(message, &Structure::scan(message), &section, partial);
                let mut answer = format!("BODY[{name}]{shown} {{{}}}\r\n", text.len()).into_bytes();
                answer.extend(text);
                answer
            })
            .collect();
        let names: Vec<_> = names.iter().map(|message| format!("{message} [{name}]{range}")).collect();
        compare(&names, &ours, &theirs);
    }
}

const KEYS: [&str; 40] = [
    "hello",
    "body",
    "x",
    "inner",
    "café",
    "cafe",
    "CAFÉ",
    "jörg",
    "jorg",
    "joe@example.com",
    "subject: plain",
    "two words",
    "a b",
    "a  b",
    "你好",
    "好",
    "<a@b>",
    "\"",
    "\\",
    "preamble",
    "epilogue",
    "--b",
    "html",
    "<b>",
    "needle",
    "aGVsbG8=",
    "text/html",
    "charset",
    "boundary",
    "Content-Type",
    "content-type: text",
    "r0lg",
    "inner body",
    "not a message",
    "reporting-mta",
    "nope",
    "j@x",
    "Joe <",
    "\"Joe Q. Public\"",
    "undisclosed",
];

#[test]
fn searches_of_the_corpus() {
    let (names, messages): (Vec<_>, Vec<_>) = common::messages().into_iter().unzip();
    let Some(dovecot) = Dovecot::new(&messages) else { return };
    let structures: Vec<_> = messages.iter().map(|message| Structure::scan(message)).collect();
    let mut scratch = Scratch::default();
    let mut wrong = Vec::new();
    for what in ["TEXT", "BODY", "FROM", "CC", "SUBJECT"] {
        for (key, theirs) in KEYS.iter().zip(dovecot.search(what, &KEYS)) {
            let prepared = Key::new(key).unwrap();
            for (at, message) in messages.iter().enumerate() {
                let ours = match what {
                    "TEXT" => prepared.matches(message, &structures[at], Scope::Text, &mut scratch),
                    "BODY" => prepared.matches(message, &structures[at], Scope::Body, &mut scratch),
                    _ => fields(&message[..header_length(message)])
                        .any(|field| field.is(what) && prepared.in_field(what, field.value, &mut scratch)),
                };
                let theirs = theirs.contains(&(at + 1));
                if ours != theirs {
                    wrong.push(format!("{what} {key:?} in {}: ours {ours}, theirs {theirs}", names[at]));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
