//! Dialogue files: what a client sends, what a server answers, and what is decided outside of the protocol.
//!
//! ```text
//! # a comment
//! @ name value      a setting of the machine under test
//! C: text           a line of the client, CRLF added
//! C~ text           bytes of the client, nothing added; \r \n \0 \\ \xHH are escapes
//! S: text           a line of the server
//! A: question => answer        what the caller decides, in order
//! L: text           a log line
//! B: text           a line of message content that comes out
//! O: text           the outcome of a delivery
//! E: eof            the peer closes the connection here; or `timeout`
//! T:                STARTTLS takes place
//! X:                the connection is closed by the machine under test
//! ```
//!
//! The C and S lines alone are a dialogue that can be replayed against a live server or client: consecutive C lines are
//! sent together, then as many S lines are read as follow. `QUEUEID` and `SESSION` stand for what differs each time.

use std::{fs, path::Path};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Client(Vec<u8>),
    Server(Vec<u8>),
    Answer(String, String),
    Log(String),
    Body(String),
    Outcome(String),
    Event(String),
    Tls,
    Close,
}

/// One dialogue.
#[derive(Debug)]
pub struct Transcript {
    pub name: String,
    pub settings: Vec<(String, String)>,
    pub steps: Vec<Step>,
}

impl Transcript {
    /// All dialogues of a folder under `tests/transcripts`, sorted by name.
    pub fn all(folder: &str) -> Vec<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts").join(folder);
        let mut paths: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        assert!(!paths.is_empty(), "no transcripts in {}", folder.display());
        paths.iter().map(|path| Self::read(path)).collect()
    }

    fn read(path: &Path) -> Self {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let mut transcript = Self { name, settings: Vec::new(), steps: Vec::new() };
        for line in fs::read_to_string(path).unwrap().lines() {
            let (mark, text) = line.split_at_checked(2).unwrap_or((line, ""));
            let text = text.strip_prefix(' ').unwrap_or(text);
            let step = match mark {
                "" => continue,
                _ if mark.starts_with('#') => continue,
                "@ " => {
                    let (name, value) = text.split_once(' ').unwrap_or((text, ""));
                    transcript.settings.push((name.to_owned(), value.to_owned()));
                    continue;
                }
                "C:" => Step::Client([unescape(text), b"\r\n".to_vec()].concat()),
                "C~" => Step::Client(unescape(text)),
                "S:" => Step::Server([unescape(text), b"\r\n".to_vec()].concat()),
                "S~" => Step::Server(unescape(text)),
                "A:" => {
                    let (question, answer) = text.split_once(" => ").expect("question => answer");
                    Step::Answer(question.to_owned(), answer.to_owned())
                }
                "L:" => Step::Log(text.to_owned()),
                "B:" => Step::Body(text.to_owned()),
                "O:" => Step::Outcome(text.to_owned()),
                "E:" => Step::Event(text.to_owned()),
                "T:" => Step::Tls,
                "X:" => Step::Close,
                _ => panic!("{}: what is {line:?}?", path.display()),
            };
            transcript.steps.push(step);
        }
        transcript
    }
}

pub fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'\\' => match rest.next() {
                Some(b'r') => b'\r',
                Some(b'n') => b'\n',
                Some(b'0') => 0,
                Some(b'\\') => b'\\',
                Some(b'x') => {
                    let digits = [rest.next().unwrap(), rest.next().unwrap()];
                    u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
                }
                other => panic!("no escape: {other:?} in {text}"),
            },
            _ => byte,
        });
    }
    bytes
}
