//! How long a client waits in a mailbox of 5,000 messages. Run with
//! `cargo test --release -p imap speed -- --ignored --nocapture`.

use std::time::Instant;

use store_mailbox::location::Format;

use crate::dialogue::{disk, files, say, session};

const MESSAGES: usize = 5000;

/// A message of 4 KiB of 7-bit text.
fn message(number: usize) -> String {
    let mut message = format!(
        "Return-Path: <joe{number}@example.com>\r\nReceived: from a.example by b.example; Fri, 21 Nov 1997 09:55:06 -0600\r\n\
         Date: Fri, 21 Nov 1997 09:55:06 -0600\r\nFrom: Joe <joe@example.com>\r\nTo: Ann <ann@example.org>\r\n\
         Subject: message {number}\r\nMessage-ID: <{number}@example.com>\r\nMIME-Version: 1.0\r\n\
         Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 7bit\r\n\r\n"
    );
    while message.len() < 4096 {
        message.push_str("The quick brown fox jumps over the lazy dog, and the dog does not mind at all.\r\n");
    }
    message
}

#[test]
#[ignore = "measures; needs a release build and a quiet machine"]
fn speed_of_5000_messages() {
    for format in [Format::Maildir, Format::Sdbox] {
        let (_folder, fs) = disk();
        let open = || session(files(fs.clone(), fs.root(0).unwrap(), format));
        let mut writer = open();
        let mut append = b"a APPEND INBOX".to_vec();
        for number in 0..MESSAGES {
            let message = message(number);
            append.extend_from_slice(format!(" {{{}+}}\r\n{message}", message.len()).as_bytes());
        }
        append.extend_from_slice(b"\r\n");
        let start = Instant::now();
        say(&mut writer, &append);
        println!("{format:?}: MULTIAPPEND {:?}", start.elapsed());
        for round in ["cold", "warm"] {
            let mut reader = open();
            for (command, size) in [
                ("SELECT INBOX", 300),
                ("FETCH 1:* ENVELOPE", MESSAGES * 200),
                ("FETCH 1:* ENVELOPE", MESSAGES * 200),
                ("FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE BODYSTRUCTURE)", MESSAGES * 150),
                ("FETCH 1:* (UID FLAGS)", MESSAGES * 20),
                ("SEARCH TEXT nowhere", 10),
                ("SEARCH TEXT \"lazy dog\"", MESSAGES * 3),
                ("SEARCH SUBJECT \"message 49\"", 100),
                ("FETCH 1:* BODY.PEEK[HEADER.FIELDS (SUBJECT FROM)]", MESSAGES * 60),
                ("FETCH 1:* BODY.PEEK[]", MESSAGES * 4096),
                ("NOOP", 10),
            ] {
                let start = Instant::now();
                let answer = say(&mut reader, format!("b {command}\r\n").as_bytes());
                println!("{format:?} {round}: {command}: {:?}", start.elapsed());
                assert!(answer.len() > size, "{}", String::from_utf8_lossy(&answer[..answer.len().min(300)]));
            }
        }
    }
}
