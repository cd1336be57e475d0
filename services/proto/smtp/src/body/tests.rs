use super::*;
use proptest::prelude::*;

/// Decodes `input` whole and split at every byte, and returns the text, the rest after the end, and the size.
fn decode(newlines: Newlines, input: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let run = |pieces: &[&[u8]]| {
        let mut decoder = Decoder::data(newlines);
        let (mut out, mut rest, mut ended) = (Vec::new(), Vec::new(), false);
        for piece in pieces {
            let used = if ended {
                0
            } else {
                let (used, end) = decoder.decode(piece, &mut out);
                ended = end;
                used
            };
            rest.extend_from_slice(&piece[used..]);
        }
        let lines = out.iter().filter(|&&byte| byte == b'\n').count();
        ended.then(|| {
            assert_eq!(decoder.size(), (out.len() + lines) as u64);
            (out, rest)
        })
    };
    let whole = run(&[input]);
    for at in 0..=input.len() {
        assert_eq!(run(&[&input[..at], &input[at..]]), whole, "{input:?} split at {at}");
    }
    let bytes: Vec<&[u8]> = input.chunks(1).collect();
    assert_eq!(run(&bytes), whole, "{input:?} byte by byte");
    whole
}

#[test]
fn only_crlf_dot_crlf_ends_the_content() {
    for (input, strict, lax) in [
        ("a\r\n.\r\nQ", Some(("a\n", "Q")), Some(("a\n", "Q"))),
        (".\r\nQ", Some(("", "Q")), Some(("", "Q"))),
        ("a\n.\r\nb\r\n.\r\nQ", Some(("a\nb\n", "Q")), Some(("a\n", "b\r\n.\r\nQ"))),
        ("a\r\n.\nb\r\n.\r\nQ", Some(("a\nb\n", "Q")), Some(("a\n", "b\r\n.\r\nQ"))),
        ("a\n.\nb\r\n.\r\nQ", Some(("a\nb\n", "Q")), Some(("a\n", "b\r\n.\r\nQ"))),
        ("a\r\n.\rb\r\n.\r\nQ", Some(("a\n\rb\n", "Q")), Some(("a\n\rb\n", "Q"))),
        ("a\r.\r\nb\r\n.\r\n", Some(("a\r.\nb\n", "")), Some(("a\r.\nb\n", ""))),
        ("a\r\n.\r\r\nb\r\n.\r\n", Some(("a\n\r\nb\n", "")), Some(("a\n\nb\n", ""))),
        ("..\r\n..a\r\n.b\r\n.\r\n", Some((".\n.a\nb\n", "")), Some((".\n.a\nb\n", ""))),
        ("a\r\r\nb\r\n.\r\n", Some(("a\r\nb\n", "")), Some(("a\nb\n", ""))),
        ("\0\r\n.\r\n", Some(("\0\n", "")), Some(("\0\n", ""))),
        ("a.\r\n", None, None),
        ("a\r\n.\r", None, None),
    ] {
        let text = |found: Option<(&str, &str)>| found.map(|(a, b)| (a.as_bytes().to_vec(), b.as_bytes().to_vec()));
        assert_eq!(decode(Newlines::Normalize, input.as_bytes()), text(strict), "{input:?}");
        assert_eq!(decode(Newlines::Reject, input.as_bytes()), text(strict), "{input:?}");
        assert_eq!(decode(Newlines::Accept, input.as_bytes()), text(lax), "{input:?}");
    }
}

#[test]
fn bare_newlines_are_noticed() {
    for (input, expected) in [("a\r\n.\r\n", false), ("a\nb\r\n.\r\n", true), ("a\r\n.\nb\r\n.\r\n", true)] {
        let mut decoder = Decoder::data(Newlines::Reject);
        decoder.decode(input.as_bytes(), &mut Vec::new());
        assert_eq!(decoder.saw_bare_newline(), expected, "{input:?}");
    }
}

#[test]
fn chunks() {
    for (pieces, expected, size) in [
        (&["abcde", "x\r\n"][..], "abcdex\n", 8),
        (&[".\r\n", "..\r", "\n", "\r\n.\r\n"], ".\n..\n\n.\n", 3 + 4 + 2 + 3),
        (&["a"], "a\n", 3),
        (&["a\r"], "a\r\n", 4),
        (&[], "", 0),
    ] {
        let mut decoder = Decoder::chunks(Newlines::Normalize);
        let mut out = Vec::new();
        for piece in pieces {
            assert_eq!(decoder.decode(piece.as_bytes(), &mut out), (piece.len(), false));
        }
        decoder.finish(&mut out);
        assert_eq!((String::from_utf8(out).unwrap().as_str(), decoder.size()), (expected, size));
    }
}

fn encode(pieces: &[&[u8]]) -> Vec<u8> {
    let mut encoder = Encoder::new(None);
    let mut out = Vec::new();
    for piece in pieces {
        encoder.encode(piece, &mut out);
    }
    encoder.finish(&mut out);
    out
}

#[test]
fn encoding() {
    assert_eq!(encode(&[b""]), b".\r\n");
    assert_eq!(encode(&[b"a"]), b"a\r\n.\r\n");
    assert_eq!(encode(&[b".\n..\n", b".", b".\n", b"a.\n"]), b"..\r\n...\r\n...\r\na.\r\n.\r\n");
}

#[test]
fn long_lines_go_on_behind_a_space() {
    for (limit, wire) in [
        (0, "abcdefgh\r\n..23\r\n\r\nx\r\n.\r\n"),
        (8, "abcdefgh\r\n..23\r\n\r\nx\r\n.\r\n"),
        (4, "abcd\r\n efg\r\n h\r\n..23\r\n\r\nx\r\n.\r\n"),
        (3, "abc\r\n de\r\n fg\r\n h\r\n..23\r\n\r\nx\r\n.\r\n"),
        (1, "ab\r\n c\r\n d\r\n e\r\n f\r\n g\r\n h\r\n..2\r\n 3\r\n\r\nx\r\n.\r\n"),
    ] {
        for step in 1..=16 {
            let (mut encoder, mut out) = (Encoder::new(NonZeroUsize::new(limit)), Vec::new());
            b"abcdefgh\n.23\n\nx".chunks(step).for_each(|piece| encoder.encode(piece, &mut out));
            encoder.finish(&mut out);
            assert_eq!(String::from_utf8(out).unwrap(), wire, "limit {limit}, pieces of {step}");
        }
    }
}

proptest! {
    #[test]
    fn what_is_encoded_decodes_to_itself(text in "([a.\r]{0,3}\n){0,8}", at in 0usize..32) {
        let at = at.min(text.len());
        let wire = encode(&[&text.as_bytes()[..at], &text.as_bytes()[at..]]);
        prop_assert_eq!(decode(Newlines::Normalize, &wire), Some((text.into_bytes(), Vec::new())));
    }

    #[test]
    fn any_input(input in "[a.\r\n]{0,24}") {
        for newlines in [Newlines::Accept, Newlines::Normalize, Newlines::Reject] {
            let found = decode(newlines, input.as_bytes());
            let end = format!("\r\n{input}").contains("\r\n.\r\n");
            prop_assert!(found.is_none() || end || newlines == Newlines::Accept);
        }
    }
}
