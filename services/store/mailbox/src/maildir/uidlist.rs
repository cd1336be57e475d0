//! `dovecot-uidlist`: which message has which UID.
//!
//! ```text
//! file   = header *line
//! header = "3" *(SP key value) LF           ; version 3. Keys: V UIDVALIDITY, N next UID, G mailbox GUID (32 hex)
//!        / "1" SP uidvalidity SP next-uid LF            ; version 1, also Courier's courierimapuiddb
//! line   = uid *(SP key value) SP ":" base LF           ; version 3: keys A-Z, unknown ones are kept
//!        / uid SP base LF                               ; version 1
//! ```
//! UIDs ascend strictly. Lines may name messages that are gone. The next UID is the larger of `N` and the last UID + 1:
//! lines are appended without changing the header. A last line without LF was being appended when its writer stopped.

use std::collections::HashMap;

use super::name;

/// No list is larger than this.
pub(crate) const MAX_FILE: u64 = 1 << 30;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub uid: u32,
    /// `key value` pairs, joined with spaces, as found.
    pub extensions: Vec<u8>,
    /// The name without its flags.
    pub base: Vec<u8>,
}

/// The file's content.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Uidlist {
    pub uid_validity: u32,
    pub next_uid: u32,
    /// Missing in version 1.
    pub guid: Option<[u8; 16]>,
    header_extensions: Vec<u8>,
    version: u8,
    lines: Vec<Line>,
    uids: HashMap<Vec<u8>, u32>,
    /// The file cannot be appended to: it is old, torn, or has lines that should not be there.
    must_rewrite: bool,
}

/// Why the content is no list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broken(pub &'static str);

impl Uidlist {
    /// An empty list.
    pub fn new(uid_validity: u32, next_uid: u32, guid: [u8; 16]) -> Self {
        Self { uid_validity, next_uid, guid: Some(guid), version: 3, must_rewrite: true, ..Self::default() }
    }

    /// Reads a whole file.
    pub fn parse(content: &[u8]) -> Result<Self, Broken> {
        let end = memchr::memchr(b'\n', content).ok_or(Broken("no header"))?;
        let mut list = Self::parse_header(&content[..end])?;
        list.extend(&content[end + 1..])?;
        Ok(list)
    }

    fn parse_header(header: &[u8]) -> Result<Self, Broken> {
        let text = std::str::from_utf8(header).map_err(|_| Broken("the header is not text"))?;
        let mut list = Self { version: 3, ..Self::default() };
        let mut fields = text.split(' ').filter(|f| !f.is_empty());
        match fields.next() {
            Some("3") => {
                for field in fields {
                    let (key, value) = field.split_at_checked(1).ok_or(Broken("a key that is not ASCII"))?;
                    match key {
                        "V" => list.uid_validity = value.parse().map_err(|_| Broken("invalid UIDVALIDITY"))?,
                        "N" => list.next_uid = value.parse().map_err(|_| Broken("invalid next UID"))?,
                        "G" => list.guid = Some(guid(value).ok_or(Broken("invalid GUID"))?),
                        _ => list.header_extensions.extend([b" ", field.as_bytes()].concat()),
                    }
                }
            }
            Some("1") => {
                list.version = 1;
                let mut number = || fields.next().and_then(|f| f.parse().ok());
                list.uid_validity = number().ok_or(Broken("invalid UIDVALIDITY"))?;
                list.next_uid = number().ok_or(Broken("invalid next UID"))?;
            }
            _ => return Err(Broken("unsupported version")),
        }
        if list.uid_validity == 0 || list.next_uid == 0 {
            return Err(Broken("the header lacks UIDVALIDITY or the next UID"));
        }
        list.must_rewrite = list.version != 3 || list.guid.is_none();
        Ok(list)
    }

    /// Reads lines that were appended since.
    pub fn extend(&mut self, mut content: &[u8]) -> Result<(), Broken> {
        while let Some(end) = memchr::memchr(b'\n', content) {
            self.read_line(&content[..end])?;
            content = &content[end + 1..];
        }
        self.must_rewrite |= !content.is_empty();
        Ok(())
    }

    fn read_line(&mut self, line: &[u8]) -> Result<(), Broken> {
        let digits = line.iter().take_while(|b| b.is_ascii_digit()).count();
        let uid = std::str::from_utf8(&line[..digits]).ok().and_then(|d| d.parse().ok()).unwrap_or(0);
        let mut rest = line[digits..].strip_prefix(b" ").ok_or(Broken("invalid line"))?;
        if uid == 0 || uid == u32::MAX {
            return Err(Broken("invalid UID"));
        }
        if self.lines.last().is_some_and(|last| last.uid >= uid) {
            return Err(Broken("UIDs are not ascending"));
        }
        if self.version == 1 && uid >= self.next_uid {
            return Err(Broken("a UID above the next UID"));
        }
        let mut extensions = Vec::new();
        while self.version == 3 && !rest.starts_with(b":") {
            let end = memchr::memchr(b' ', rest).ok_or(Broken("a line without a name"))?;
            match rest[0] {
                b'A'..=b'Z' => extensions.extend([b" ", &rest[..end]].concat()),
                b' ' => {}
                _ => self.must_rewrite = true,
            }
            rest = &rest[end + 1..];
        }
        let base = name::base(if self.version == 3 { &rest[1..] } else { rest });
        if base.is_empty() || base.contains(&b'/') {
            return Err(Broken("invalid file name"));
        }
        self.push(Line { uid, extensions, base: base.to_vec() });
        Ok(())
    }

    /// Adds a line at the end; the UID is above all others. A name that is there already moves to the new UID.
    fn push(&mut self, line: Line) {
        if let Some(old) = self.uids.insert(line.base.clone(), line.uid) {
            self.lines.retain(|l| l.uid != old);
            self.must_rewrite = true;
        }
        self.next_uid = self.next_uid.max(line.uid + 1);
        self.lines.push(line);
    }

    /// The UID of a message by the base of its name.
    pub fn uid(&self, base: &[u8]) -> Option<u32> {
        self.uids.get(base).copied()
    }

    /// All lines, ascending by UID.
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// Gives the next UID to a new message. `None` when all UIDs are used up.
    pub fn assign(&mut self, base: &[u8]) -> Option<u32> {
        let uid = self.next_uid;
        if uid == u32::MAX {
            return None;
        }
        self.push(Line { uid, extensions: Vec::new(), base: base.to_vec() });
        Some(uid)
    }

    /// Whether the file cannot be appended to.
    pub fn must_rewrite(&self) -> bool {
        self.must_rewrite
    }

    /// Whether the file should be written anew: it cannot be appended to, or the `live` messages are less than three
    /// quarters of its lines.
    pub fn wants_rewrite(&self, live: usize) -> bool {
        self.must_rewrite || self.lines.len() * 3 / 4 > live
    }

    /// Drops the lines of messages that are gone.
    pub fn retain(&mut self, is_live: impl Fn(u32) -> bool) {
        self.lines.retain(|line| is_live(line.uid));
        self.uids.retain(|_, uid| is_live(*uid));
    }

    /// The whole file, version 3. A list without a GUID gets `fresh`.
    pub fn encode(&mut self, fresh: [u8; 16]) -> Vec<u8> {
        let guid = *self.guid.get_or_insert(fresh);
        (self.version, self.must_rewrite) = (3, false);
        let hex: String = guid.iter().map(|b| format!("{b:02x}")).collect();
        let mut out = format!("3 V{} N{} G{hex}", self.uid_validity, self.next_uid).into_bytes();
        out.extend_from_slice(&self.header_extensions);
        out.push(b'\n');
        out.extend(encode_lines(&self.lines));
        out
    }
}

/// Lines as they stand in the file.
pub fn encode_lines(lines: &[Line]) -> Vec<u8> {
    let mut out = Vec::new();
    for line in lines {
        out.extend_from_slice(line.uid.to_string().as_bytes());
        out.extend_from_slice(&line.extensions);
        out.extend_from_slice(b" :");
        out.extend_from_slice(&line.base);
        out.push(b'\n');
    }
    out
}

fn guid(hex: &str) -> Option<[u8; 16]> {
    let number = u128::from_str_radix(hex, 16).ok().filter(|_| hex.len() == 32 && !hex.starts_with('+'))?;
    Some(number.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const V3: &[u8] = b"3 V1795216463 N1 G45d3f9294fd4006bee2b000083ecc375 Xkept\n\
        1 :1795216463.M704088P11246.vm,S=28,W=32\n\
        3 G1234 P0:weird W11 :1795216464.M1P2.vm\n";

    #[test]
    fn version_3_round_trip() {
        let mut list = Uidlist::parse(V3).unwrap();
        assert_eq!((list.uid_validity, list.next_uid), (1_795_216_463, 4));
        assert_eq!(list.uid(b"1795216464.M1P2.vm"), Some(3));
        assert_eq!(list.lines()[1].extensions, b" G1234 P0:weird W11");
        assert!(!list.wants_rewrite(2));
        assert_eq!(list.assign(b"new"), Some(4));
        let written = list.encode([0; 16]);
        let text = String::from_utf8(written.clone()).unwrap();
        assert!(text.starts_with("3 V1795216463 N5 G45d3f9294fd4006bee2b000083ecc375 Xkept\n1 :1795"), "{text}");
        assert!(text.ends_with("3 G1234 P0:weird W11 :1795216464.M1P2.vm\n4 :new\n"), "{text}");
        assert_eq!(Uidlist::parse(&written).unwrap(), list);
    }

    #[test]
    fn version_1_is_read_and_wants_a_rewrite() {
        let list = Uidlist::parse(b"1 1234 10\n1 a\n9 b:2,S\n").unwrap();
        assert_eq!((list.uid_validity, list.next_uid, list.uid(b"b")), (1234, 10, Some(9)));
        assert!(list.wants_rewrite(2));
    }

    #[test]
    fn what_is_no_list() {
        let table: &[&[u8]] = &[
            b"",
            b"3 V1 N1",
            b"2 V1 N1\n",
            b"3 N1\n",
            b"3 V0 N1\n",
            b"3 V1 N1 Gxyz\n",
            b"3 V1 N1 G+0000000000000000000000000000000\n",
            b"1 5\n",
            b"3 V1 N1\n2 :a\n2 :b\n",
            b"3 V1 N1\n0 :a\n",
            b"3 V1 N1\n4294967295 :a\n",
            b"3 V1 N1\n1 a\n",
            b"3 V1 N1\n1 :a/b\n",
            b"3 V1 N1\n1 :\n",
            b"3 V1 N1\n1:a\n",
            b"1 1 5\n5 a\n",
        ];
        for content in table {
            assert!(Uidlist::parse(content).is_err(), "{}", String::from_utf8_lossy(content));
        }
    }

    #[test]
    fn a_torn_or_doubtful_end_is_written_anew() {
        let torn = Uidlist::parse(b"3 V1 N1 G45d3f9294fd4006bee2b000083ecc375\n1 :a\n2 :b").unwrap();
        assert_eq!((torn.lines().len(), torn.next_uid), (1, 2));
        assert!(torn.wants_rewrite(1));
        let mut moved = Uidlist::parse(b"3 V1 N1 G45d3f9294fd4006bee2b000083ecc375\n1 :a\n2 :b\n3 :a\n").unwrap();
        assert_eq!((moved.uid(b"a"), moved.lines().len()), (Some(3), 2));
        assert!(moved.wants_rewrite(2));
        moved.retain(|uid| uid != 2);
        assert_eq!((moved.uid(b"b"), moved.next_uid), (None, 4));
    }

    #[test]
    fn no_content_panics() {
        for cut in 0..V3.len() {
            drop(Uidlist::parse(&V3[..cut]));
            let mut bad = V3.to_vec();
            for byte in [0, b' ', b'\n', b':', 0xff] {
                bad[cut] = byte;
                drop(Uidlist::parse(&bad));
            }
        }
    }
}
