//! The content of a message: collected in a memory file, without the `Return-Path` that its sender may have forged.

use std::fs::File;
use std::io::{self, Write};

use ipc_jail::sys::memory_file;

/// Most bytes of one message. Until it is filed it takes memory; Dovecot, which has no limit, takes as much of `/tmp`.
pub const MAX_SIZE: u64 = 1 << 30;

/// The message so far; what went wrong is told at its end.
pub struct Content {
    file: Result<File, Unkept>,
    size: u64,
    filter: Filter,
}

/// Why a message could not be kept.
#[derive(Debug)]
pub enum Unkept {
    /// It has more than [`MAX_SIZE`] bytes.
    TooLarge,
    /// There is no memory for it.
    Failed(io::Error),
}

impl Content {
    /// An empty message.
    pub fn new() -> Content {
        Content {
            file: memory_file(c"lmtp").map(File::from).map_err(Unkept::Failed),
            size: 0,
            filter: Filter::default(),
        }
    }

    /// Takes more of it, with LF line ends.
    pub fn push(&mut self, bytes: &[u8]) {
        let mut kept = Vec::new();
        self.filter.push(bytes, &mut kept);
        self.write(&kept);
    }

    /// The whole of it, and its size in bytes.
    ///
    /// # Errors
    /// Why it could not be kept.
    pub fn finish(mut self) -> Result<(File, u64), Unkept> {
        let filter = std::mem::take(&mut self.filter);
        self.write(filter.finish());
        Ok((self.file?, self.size))
    }

    fn write(&mut self, bytes: &[u8]) {
        let Ok(file) = &mut self.file else { return };
        self.size += bytes.len() as u64;
        if self.size > MAX_SIZE {
            self.file = Err(Unkept::TooLarge);
        } else if let Err(error) = file.write_all(bytes) {
            self.file = Err(Unkept::Failed(error));
        }
    }
}

const NAME: &[u8] = b"return-path";

/// Leaves `Return-Path` fields out of a header: only the server that delivers finally may write it (RFC 5321, section 4.4).
/// It holds no more than the name of one field.
#[derive(Debug, Default)]
struct Filter(Place);

/// Where the next byte stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Place {
    /// At the start of a line of the header.
    #[default]
    First,
    /// The same, behind a field that was left out and that may go on here.
    AfterForged,
    /// Behind `length` bytes that a forged field could begin with, held back.
    Name { held: [u8; NAME.len() + MAX_BLANKS], length: usize },
    /// In a line that is left out.
    Forged,
    /// In a line that stays.
    Honest,
    /// Behind the header.
    Body,
}

/// Blanks between the name of a field and its colon, which obsolete syntax allows (RFC 5322, section 4.5), that are looked
/// through.
const MAX_BLANKS: usize = 16;

impl Filter {
    /// Takes more of the message, and gives to `kept` what stays of it.
    fn push(&mut self, bytes: &[u8], kept: &mut Vec<u8>) {
        let mut rest = bytes;
        while let Some((&byte, after)) = rest.split_first() {
            if self.0 == Place::Body {
                kept.extend_from_slice(rest);
                return;
            }
            self.0 = self.0.after(byte, kept);
            rest = after;
        }
    }

    /// What was held back at the end of the message.
    fn finish(&self) -> &[u8] {
        match &self.0 {
            Place::Name { held, length } => &held[..*length],
            _ => &[],
        }
    }
}

impl Place {
    fn after(self, byte: u8, kept: &mut Vec<u8>) -> Place {
        match (self, byte) {
            (Place::AfterForged, b' ' | b'\t') | (Place::Forged, _) if byte != b'\n' => Place::Forged,
            (Place::Forged, _) => Place::AfterForged,
            (Place::First | Place::AfterForged, b'\n') => {
                kept.push(byte);
                Place::Body
            }
            (Place::First | Place::AfterForged, _) => Place::name([0; NAME.len() + MAX_BLANKS], 0, byte, kept),
            (Place::Name { held, length }, _) => Place::name(held, length, byte, kept),
            (Place::Honest | Place::Body, _) => {
                kept.push(byte);
                if byte == b'\n' { Place::First } else { Place::Honest }
            }
        }
    }

    /// One more byte of what may be the name, blanks behind it, and the colon.
    fn name(mut held: [u8; NAME.len() + MAX_BLANKS], length: usize, byte: u8, kept: &mut Vec<u8>) -> Place {
        let expected = match NAME.get(length) {
            Some(letter) => byte.to_ascii_lowercase() == *letter,
            None if byte == b':' => return Place::Forged,
            None => matches!(byte, b' ' | b'\t') && length < held.len(),
        };
        if expected {
            held[length] = byte;
            return Place::Name { held, length: length + 1 };
        }
        kept.extend_from_slice(&held[..length]);
        Place::Honest.after(byte, kept)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn a_forged_return_path_is_removed_whatever_the_pieces() {
        let blanks = |count| format!("Return-Path{}: <a>\n\n", " ".repeat(count));
        let (allowed, beyond) = (blanks(MAX_BLANKS), blanks(MAX_BLANKS + 1));
        for (input, expected) in [
            ("", ""),
            ("Return-Path: <a>\nA: b\n\nx\n", "A: b\n\nx\n"),
            ("A: b\nRETURN-path : <a>\n <b>\n\t<c>\nC: d\n e\n\n", "A: b\nC: d\n e\n\n"),
            ("Return-Path: <a>\nReturn-Path: <b>\n\nReturn-Path: <c>\n", "\nReturn-Path: <c>\n"),
            (
                "Return-Paths: <a>\nReturn-Pat: b\nX-Return-Path: c\n\n",
                "Return-Paths: <a>\nReturn-Pat: b\nX-Return-Path: c\n\n",
            ),
            ("A: b\n Return-Path: <a>\n\n", "A: b\n Return-Path: <a>\n\n"),
            ("Return-Path", "Return-Path"),
            ("Return-Path: <a>", ""),
            ("Return-\nPath: a\n", "Return-\nPath: a\n"),
            ("\nReturn-Path: <a>\n", "\nReturn-Path: <a>\n"),
            (&allowed, "\n"),
            (&beyond, &beyond),
        ] {
            for split in 0..=input.len() {
                let (mut filter, mut kept) = (Filter::default(), Vec::new());
                filter.push(&input.as_bytes()[..split], &mut kept);
                filter.push(&input.as_bytes()[split..], &mut kept);
                kept.extend_from_slice(filter.finish());
                assert_eq!(String::from_utf8(kept).unwrap(), expected, "{input:?} at {split}");
            }
        }
    }

    #[test]
    fn what_is_too_large_is_given_up_and_takes_no_memory() {
        let mut content = Content::new();
        content.size = MAX_SIZE - 2;
        content.push(b"\nx");
        assert!(content.file.is_ok());
        content.push(b"y");
        assert!(matches!(content.finish(), Err(Unkept::TooLarge)));
    }

    #[test]
    fn content_is_what_was_pushed() {
        let mut content = Content::new();
        content.push(b"Return-Path: <x>\nA: b\n");
        content.push(b"\nbody\0\n");
        let (file, size) = content.finish().unwrap();
        let mut read = vec![0; size as usize];
        file.read_exact_at(&mut read, 0).unwrap();
        assert_eq!(read, b"A: b\n\nbody\0\n");
    }
}
