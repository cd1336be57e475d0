//! Hostile input: nothing panics, and time grows no faster than size.

use proto_mime::address::parse_addresses;
use proto_mime::date::Date;
use proto_mime::encoded_word;
use proto_mime::envelope::Envelope;
use proto_mime::search::{Key, Scope, Scratch};
use proto_mime::section::{Section, Text, extract};
use proto_mime::transfer::{decode_base64, decode_quoted_printable};
use proto_mime::{Scanner, Structure, bodystructure};
use std::time::{Duration, Instant};

/// Everything that is done with a message.
fn exercise(message: &[u8]) -> Structure {
    let structure = Structure::scan(message);
    let mut out = Vec::new();
    bodystructure::write(&structure, true, &mut out);
    Envelope::parse(message).write(&mut out);
    let names = vec![b"subject".to_vec()];
    for text in [Text::Whole, Text::HeaderFields(names.clone()), Text::HeaderFieldsNot(names), Text::Mime] {
        for path in [&[][..], &[1], &[2, 1]] {
            let section = Section { path: path.to_vec(), text: text.clone() };
            let _ = extract(message, &structure, &section, Some((1, 1000)));
        }
    }
    let mut scratch = Scratch::default();
    let key = Key::new("kéy").unwrap();
    let _ = (key.matches(message, &structure, Scope::Text, &mut scratch), key.may_match(message, &mut scratch));
    structure
}

#[test]
fn random_messages_never_panic() {
    random_messages(88_172_645_463_325_252, 20_000);
}

#[test]
#[ignore = "long"]
fn random_messages_never_panic_for_long() {
    random_messages(0x0123_4567_89ab_cdef, 2_000_000);
}

fn random_messages(mut state: u64, rounds: usize) {
    let pieces: [&[u8]; 28] = [
        b"\n",
        b"\r\n",
        b"--b",
        b"--b\n",
        b"--b--\n",
        b"Content-Type: ",
        b"multipart/mixed; boundary=b\n",
        b"message/rfc822\n",
        b"text/plain; charset=utf-7\n",
        b"\n\n",
        b"From: ",
        b"<a@b>",
        b"\"",
        b"(",
        b")",
        b"\\",
        b"=?utf-8?q?",
        b"?=",
        b":",
        b";",
        b",",
        b"*0*=",
        b"\0",
        b"\xff",
        b" ",
        b"Content-Transfer-Encoding: base64\n",
        b"Date: 1 Jan 2000 00:00\n",
        b"+AGE-",
    ];
    let mut below = move |limit: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as usize % limit
    };
    for _ in 0..rounds {
        let message: Vec<u8> = (0..below(40)).flat_map(|_| pieces[below(pieces.len())].to_vec()).collect();
        let structure = exercise(&message);
        let mut scanner = Scanner::new();
        let size = 1 + below(9);
        message.chunks(size).for_each(|piece| scanner.push(piece));
        assert_eq!(scanner.finish(), structure, "in pieces of {size}: {:?}", String::from_utf8_lossy(&message));
        let _ = (parse_addresses(&message), Date::parse(&message), encoded_word::decode(&message));
        let _ = (decode_base64(&message), decode_quoted_printable(&message));
    }
}

/// The shortest of a few runs, so that what else the machine does counts little.
fn time(message: &[u8]) -> Duration {
    (0..3)
        .map(|_| {
            let start = Instant::now();
            exercise(message);
            start.elapsed()
        })
        .min()
        .unwrap()
}

#[test]
fn time_is_linear_in_size() {
    let multipart = "Content-Type: multipart/mixed; boundary=b\n\n";
    for (what, head, piece) in [
        ("parts", multipart, "--b\n\n"),
        ("near boundaries", multipart, "--a\n-\n--\n"),
        ("nested multiparts", "", "Content-Type: multipart/mixed; boundary=b\n\n--b\n"),
        ("nested messages", "", "Content-Type: message/rfc822\n\n"),
        ("folds", "Subject: x", "\n x"),
        ("fields", "", "To: a@b\n"),
        ("comments", "From: ", "("),
        ("quotes", "From: ", "\"a "),
        ("groups", "From: ", "a:"),
        ("parameters", "Content-Type: text/plain", "; a*0=b"),
        ("encoded words", "Subject: ", "=?utf-8?q?"),
        ("line ends in a comment", "From: (", "\n "),
    ] {
        let sized = |count| time(&[head.as_bytes(), piece.repeat(count).as_bytes()].concat());
        let (small, large) = (sized(4_000), sized(64_000));
        // Sixteen times the size; a quadratic step would take 256 times the time.
        let limit = (small * 16 * 5).max(Duration::from_millis(300));
        assert!(large < limit, "{what}: {small:?} and then {large:?}");
    }
}
