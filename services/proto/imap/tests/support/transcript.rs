//! Transcripts: dialogues as they would be seen on the wire.
//!
//! `C:` is a line of the client, `S:` one of the server, `#` a comment, `!` settings of the test; other markers stand before the lines of another
//! client (`C2:`, `S2:`). `<HEX>` in a client's line is a byte, and a line that ends in `<NOEOL>` has no line end.
//! `S: *** closed` says that the connection ends. Server lines are compared whole.

/// A step of a dialogue.
#[derive(Debug, Clone, PartialEq)]
pub enum Turn {
    /// Bytes from a client.
    Client(String, Vec<u8>),
    /// What the server says to it then.
    Server(String, Vec<String>),
}

/// Reads a transcript.
pub fn parse(text: &str) -> Vec<Turn> {
    let mut turns: Vec<Turn> = Vec::new();
    for line in text.lines() {
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        let (marker, rest) = line.split_once(':').unwrap_or_else(|| panic!("no marker: {line}"));
        let rest = rest.strip_prefix(' ').unwrap_or(rest);
        let (side, who) = marker.split_at(1);
        match (side, turns.last_mut()) {
            ("C", Some(Turn::Client(last, bytes))) if last == who => bytes.extend(client_bytes(rest)),
            ("C", _) => turns.push(Turn::Client(who.to_owned(), client_bytes(rest))),
            ("S", Some(Turn::Server(last, lines))) if last == who => lines.push(rest.to_owned()),
            ("S", _) => turns.push(Turn::Server(who.to_owned(), vec![rest.to_owned()])),
            _ => panic!("unknown marker: {line}"),
        }
    }
    turns
}

fn client_bytes(line: &str) -> Vec<u8> {
    let (line, end) = match line.strip_suffix("<NOEOL>") {
        Some(line) => (line, ""),
        None => (line, "\r\n"),
    };
    let mut bytes = Vec::new();
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        let hex = rest.get(1..3).filter(|_| first == '<' && rest.get(3..4) == Some(">"));
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &rest[4..];
            }
            None => {
                bytes.extend_from_slice(first.to_string().as_bytes());
                rest = &rest[first.len_utf8()..];
            }
        }
    }
    bytes.extend_from_slice(end.as_bytes());
    bytes
}

/// Server output as lines.
pub fn lines(output: &[u8], closed: bool) -> Vec<String> {
    let text = String::from_utf8_lossy(output);
    let mut lines: Vec<String> = text.split("\r\n").map(str::to_owned).collect();
    assert_eq!(lines.pop().as_deref(), Some(""), "output ends with a line end: {text:?}");
    if closed {
        lines.push("*** closed".to_owned());
    }
    lines
}
