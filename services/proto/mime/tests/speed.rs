//! How fast 5,000 messages are searched. Run with `cargo test --release -p proto-mime --test speed -- --ignored --nocapture`.

use proto_mime::Structure;
use proto_mime::search::{Key, Scope, Scratch};
use std::time::Instant;

/// A message of 4 KiB of 7-bit text.
fn message(number: usize) -> Vec<u8> {
    let header = format!(
        "Return-Path: <joe{number}@example.com>\r\nReceived: from a.example by b.example; Fri, 21 Nov 1997 09:55:06 -0600\r\n\
         From: Joe <joe@example.com>\r\nTo: Ann <ann@example.org>\r\nSubject: message {number}\r\nMIME-Version: 1.0\r\n\
         Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 7bit\r\n\r\n"
    );
    let line = "The quick brown fox jumps over the lazy dog, and the dog does not mind at all.\r\n";
    let mut message = header.into_bytes();
    while message.len() < 4096 {
        message.extend_from_slice(line.as_bytes());
    }
    message
}

fn search(messages: &[Vec<u8>], key: &str) -> (usize, u128) {
    let key = Key::new(key).unwrap();
    let mut scratch = Scratch::default();
    let start = Instant::now();
    let found = messages
        .iter()
        .filter(|message| {
            key.may_match(message, &mut scratch)
                && key.matches(message, &Structure::scan(message), Scope::Text, &mut scratch)
        })
        .count();
    (found, start.elapsed().as_micros())
}

#[test]
#[ignore = "measures; needs a release build and a quiet machine"]
fn search_text_in_5000_messages() {
    let messages: Vec<_> = (0..5000).map(message).collect();
    for (key, expected) in [("nowhere", 0), ("Subject: message 49", 111), ("two  spaces", 0), ("lazy dog", 5000)] {
        let best = (0..5).map(|_| search(&messages, key)).min_by_key(|(_, time)| *time).unwrap();
        println!("{key:?}: {} found in {} µs", best.0, best.1);
        assert_eq!(best.0, expected, "{key}");
    }
}
