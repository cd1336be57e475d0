//! Dovecot's single-dbox message file, `u.<uid>`.
//!
//! ```text
//! file     = "2 M1e C" created LF  header content metadata      ; numbers in hex
//! header   = %x01 %x02 "N" SP 8SP SP size LF                    ; 30 bytes; size: 16 hex digits
//! metadata = LF %x01 %x03 LF *(key value LF) LF
//! key      = "R" received / "V" virtual size / "Z" plain size / "G" GUID / "P" POP3 UIDL / "B" mailbox / …
//! ```
//! Unknown metadata is never rewritten: files are not changed once they have a name.

use std::io;

use crate::{
    fs::{Fs, read_range},
    message::Sizes,
};

const MAGIC_PRE: &[u8] = b"\x01\x02N ";
const MAGIC_POST: &[u8] = b"\n\x01\x03\n";
const MESSAGE_HEADER: usize = 30;

/// The first line and the message header together are no longer.
const MAX_HEAD: u64 = 1024;

/// The metadata is no longer.
const MAX_METADATA: u64 = 64 * 1024;

/// Most metadata is shorter than this.
const MOST_METADATA: u64 = 512;

/// Where the message is in the file, and what the metadata says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    pub offset: u64,
    pub length: u64,
    /// Seconds since 1970.
    pub received: Option<i64>,
    pub virtual_size: Option<u64>,
}

/// The bytes before the message, with a size of zero, and the offset at which [`size_field`] goes.
pub(crate) fn head(created: i64) -> (Vec<u8>, u64) {
    let mut head = format!("2 M{MESSAGE_HEADER:x} C{created:x}\n").into_bytes();
    head.extend_from_slice(MAGIC_PRE);
    head.extend_from_slice(b"         ");
    let at = head.len() as u64;
    head.extend_from_slice(&size_field(0));
    head.push(b'\n');
    (head, at)
}

/// The size in a message header.
pub(crate) fn size_field(size: u64) -> [u8; 16] {
    let digits = format!("{size:016X}");
    digits.as_bytes().try_into().expect("a u64 has sixteen hex digits")
}

/// The bytes after the message.
pub(crate) fn tail(sizes: Sizes, received: i64, guid: [u8; 16]) -> Vec<u8> {
    let guid: String = guid.iter().map(|b| format!("{b:02x}")).collect();
    let fields = format!("R{received:x}\nV{:x}\nG{guid}\n\n", sizes.virtual_);
    [MAGIC_POST, fields.as_bytes()].concat()
}

/// Reads head and metadata; `InvalidData` if the file is none of ours or Dovecot's.
pub(crate) fn parse<F: Fs>(fs: &F, file: &F::File) -> io::Result<Layout> {
    let broken = || io::Error::from(io::ErrorKind::InvalidData);
    let head = read_range(fs, file, 0, MAX_HEAD)?;
    let (offset, length) = parse_head(&head).ok_or_else(broken)?;
    let mut layout = Layout { offset, length, received: None, virtual_size: None };
    let end = offset.checked_add(length).ok_or_else(broken)?;
    let mut metadata = read_range(fs, file, end, MOST_METADATA)?;
    if metadata.len() as u64 == MOST_METADATA {
        metadata = read_range(fs, file, end, MAX_METADATA)?;
    }
    let metadata = metadata.strip_prefix(MAGIC_POST).ok_or_else(broken)?;
    for line in metadata.split(|b| *b == b'\n').take_while(|line| !line.is_empty()) {
        let value = std::str::from_utf8(&line[1..]).ok().and_then(|value| u64::from_str_radix(value, 16).ok());
        match line[0] {
            b'R' => layout.received = value.map(|seconds| seconds as i64),
            b'V' => layout.virtual_size = value,
            // Content that is stored in another form (compressed) cannot be served as it is.
            b'Z' if value != Some(length) => return Err(io::ErrorKind::Unsupported.into()),
            b'X' => return Err(io::ErrorKind::Unsupported.into()),
            _ => {}
        }
    }
    Ok(layout)
}

/// The offset and length of the message.
fn parse_head(head: &[u8]) -> Option<(u64, u64)> {
    let end = memchr::memchr(b'\n', head)?;
    let line = std::str::from_utf8(&head[..end]).ok()?.strip_prefix("2 ")?;
    let field = line.split(' ').find_map(|field| field.strip_prefix('M'))?;
    let header_size = usize::from_str_radix(field, 16).ok().filter(|size| *size >= MESSAGE_HEADER)?;
    let header = head.get(end + 1..(end + 1).checked_add(header_size)?)?;
    if !header.starts_with(MAGIC_PRE) || header.last() != Some(&b'\n') {
        return None;
    }
    let size = std::str::from_utf8(&header[13..29]).ok()?;
    Some(((end + 1 + header_size) as u64, u64::from_str_radix(size, 16).ok()?))
}

/// The file's name.
pub(crate) fn file_name(uid: u32) -> Vec<u8> {
    format!("u.{uid}").into_bytes()
}

/// The UID that a name carries.
pub(crate) fn uid(name: &[u8]) -> Option<u32> {
    let digits = std::str::from_utf8(name.strip_prefix(b"u.")?).ok()?;
    let uid = digits.parse().ok().filter(|uid| *uid != 0 && *uid != u32::MAX)?;
    (file_name(uid) == name).then_some(uid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::model::ModelFs;

    /// A file that Dovecot 2.3 wrote.
    const REAL: &[u8] = b"2 M1e C6b00d51d\n\x01\x02N          000000000000001C\nSubject: hi\nFrom: a@b\n\nbody\n\
        \n\x01\x03\nR6b00d51d\nV20\nGa151912e1dd5006b8339000083ecc375\n\n";

    fn layout(content: &[u8]) -> io::Result<Layout> {
        let fs = ModelFs::new();
        let file = fs.create(&fs.root(), b"u.1", 0o600)?;
        fs.append(&file, content)?;
        parse(&fs, &file)
    }

    #[test]
    fn the_real_file_is_read_and_written() {
        let expected = Layout { offset: 46, length: 28, received: Some(0x6b00_d51d), virtual_size: Some(32) };
        assert_eq!(layout(REAL).unwrap(), expected);
        let guid = [0xa1, 0x51, 0x91, 0x2e, 0x1d, 0xd5, 0x00, 0x6b, 0x83, 0x39, 0, 0, 0x83, 0xec, 0xc3, 0x75];
        let (mut ours, at) = head(0x6b00_d51d);
        ours[at as usize..at as usize + 16].copy_from_slice(&size_field(28));
        ours.extend_from_slice(b"Subject: hi\nFrom: a@b\n\nbody\n");
        ours.extend(tail(Sizes { physical: 28, virtual_: 32 }, 0x6b00_d51d, guid));
        assert_eq!(ours, REAL);
    }

    #[test]
    fn what_is_no_message_file() {
        for cut in 0..REAL.len() - 50 {
            assert!(layout(&REAL[..cut]).is_err(), "{cut}");
        }
        for (from, to) in [("M1e", "M1d"), ("2 M", "3 M"), ("00001C\n", "00001D\n"), ("V20", "Z20"), ("V20", "X1")] {
            let text = String::from_utf8(REAL.to_vec()).unwrap().replace(from, to);
            assert!(layout(text.as_bytes()).is_err(), "{from} {to}");
        }
        let huge = String::from_utf8(REAL.to_vec()).unwrap().replace("000000000000001C", "FFFFFFFFFFFFFFFF");
        assert!(layout(huge.as_bytes()).is_err());
    }

    #[test]
    fn names() {
        let table = [("u.1", Some(1)), ("u.4294967294", Some(u32::MAX - 1)), ("u.0", None), ("u.01", None)];
        for (name, expected) in table.into_iter().chain([("u.4294967295", None), ("u.", None), ("m.1", None)]) {
            assert_eq!(uid(name.as_bytes()), expected, "{name}");
        }
    }
}
