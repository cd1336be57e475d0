//! The part of the original message that a notification returns.

use std::io;

/// Bytes of header that are looked at; a longer one is returned up to here.
pub const MAX_HEADER: u64 = 1024 * 1024;
const PIECE: usize = 32 * 1024;

/// Where the content of a message is read.
pub trait Content {
    /// As `pread`: bytes from `offset` on; 0 only at the end.
    ///
    /// # Errors
    /// What the system says.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
}

impl Content for std::fs::File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(self, buffer, offset)
    }
}

/// A range of the message's descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Returned {
    /// Where it begins.
    pub offset: u64,
    /// Its bytes.
    pub length: u64,
    /// It lacks the LF of its last line.
    pub is_cut: bool,
}

/// The whole content.
///
/// # Errors
/// What the system says; the descriptor ends before the content does.
pub fn whole(content: &impl Content, offset: u64, length: u64) -> io::Result<Returned> {
    let mut last = [b'\n'];
    if length > 0 && content.read_at(&mut last, offset + length - 1)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Returned { offset, length, is_cut: last != *b"\n" })
}

/// Its header alone: the lines before the first that is no header field.
///
/// # Errors
/// As for [`whole`].
pub fn header(content: &impl Content, offset: u64, length: u64) -> io::Result<Returned> {
    let limit = length.min(MAX_HEADER);
    let (mut text, mut ended) = (Vec::new(), 0);
    while (text.len() as u64) < limit {
        let start = text.len();
        text.resize(start + PIECE.min((limit - start as u64) as usize), 0);
        let read = content.read_at(&mut text[start..], offset + start as u64)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        text.truncate(start + read);
        while let Some(newline) = text[ended..].iter().position(|&byte| byte == b'\n') {
            if !is_header(&text[ended..ended + newline]) {
                return Ok(Returned { offset, length: ended as u64, is_cut: false });
            }
            ended += newline + 1;
        }
    }
    let rest = &text[ended..];
    let length = if is_header(rest) { text.len() } else { ended };
    Ok(Returned { offset, length: length as u64, is_cut: length > ended })
}

/// A field, or the next line of one.
///
/// ```text
/// field = field-name *WSP ":" ; RFC 5322 section 3.6.8, with the blanks of section 4.5.8
/// ```
fn is_header(line: &[u8]) -> bool {
    match line.first() {
        None => false,
        Some(b' ' | b'\t') => true,
        Some(_) => {
            let name = line.iter().take_while(|byte| matches!(byte, b'!'..=b'9' | b';'..=b'~')).count();
            let rest = line[name..].trim_ascii_start();
            name > 0 && rest.first() == Some(&b':')
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_ends_where_the_fields_end() {
        let table: [(&str, &str, bool); 9] = [
            ("A: b\n c\nB : d\n\nbody: no\n", "A: b\n c\nB : d\n", false),
            ("A: b\nno field\n", "A: b\n", false),
            ("A: b\n: c\n", "A: b\n", false),
            ("A: b", "A: b", true),
            ("A: b\nC", "A: b\n", false),
            ("A: b\n", "A: b\n", false),
            ("\nA: b\n", "", false),
            ("", "", false),
            ("A: b\nä: c\n", "A: b\n", false),
        ];
        for (text, expected, is_cut) in table {
            let shifted = [b"xyz", text.as_bytes()].concat();
            let found = header(&shifted, 3, text.len() as u64).unwrap();
            assert_eq!(found, Returned { offset: 3, length: expected.len() as u64, is_cut }, "{text:?}");
        }
    }

    #[test]
    fn long_headers_are_cut_and_short_descriptors_are_errors() {
        let long = [b"A: ".to_vec(), vec![b'x'; 2 * MAX_HEADER as usize]].concat();
        let found = header(&long, 0, long.len() as u64).unwrap();
        assert_eq!(found, Returned { offset: 0, length: MAX_HEADER, is_cut: true });
        assert!(header(&b"A: b\n".to_vec(), 0, 6).is_err());
        assert!(whole(&b"A: b\n".to_vec(), 0, 6).is_err());
        assert!(whole(&b"A: b\nx".to_vec(), 0, 6).unwrap().is_cut);
        assert!(!whole(&b"A: b\n".to_vec(), 0, 5).unwrap().is_cut);
    }
}
