//! `subscriptions`: the mailboxes a user has subscribed to, in the mail root.
//!
//! ```text
//! version 2 = "V" TAB "2" LF LF *(level *(TAB level) LF)   ; levels tab-escaped, modified UTF-7
//! version 1 = *(name LF)                                   ; levels joined with the format's own separator
//! ```
//! A file keeps its version; a new one gets version 2. Changed under `subscriptions.lock`, replaced by rename.

use crate::{
    error::{At, Maybe, Result},
    fs::{Fs, read_whole},
    list::mutf7,
    location::{Format, MailboxName, Modes},
    maildir::dotlock::{self, Dotlock},
};

const FILE: &[u8] = b"subscriptions";
const VERSION_2: &[u8] = b"V\t2\n\n";

/// No file is larger.
const MAX_FILE: u64 = 16 << 20;

/// The subscribed names, in the order of the file. What is not a possible name is passed over.
pub fn read<F: Fs>(fs: &F, root: &F::Dir, format: Format) -> Result<Vec<MailboxName>> {
    let content = content(fs, root)?;
    let (version_2, lines) = lines(&content);
    Ok(lines.filter_map(|line| parse(line, version_2, format)).collect())
}

/// Subscribes or unsubscribes; the mailbox need not exist. Returns whether that changed anything. With `sync`, durable
/// when it returns.
pub fn set<F: Fs>(
    fs: &F,
    root: &F::Dir,
    format: Format,
    name: &MailboxName,
    subscribed: bool,
    sync: bool,
) -> Result<bool> {
    let mode = Modes::of(fs, root)?.file;
    let _lock = Dotlock::acquire(fs, root, FILE, mode)?;
    let old = content(fs, root)?;
    let (version_2, lines) = lines(&old);
    let same = |line: &&[u8]| parse(line, version_2, format).as_ref() == Some(name);
    let mut kept: Vec<&[u8]> = lines.collect();
    let before = kept.len();
    let is_there = kept.iter().any(&same);
    if is_there == subscribed {
        return Ok(false);
    }
    kept.retain(|line| !same(line));
    let line = encode(name, version_2, format);
    if subscribed {
        kept.push(&line);
    }
    let mut new = if version_2 { VERSION_2.to_vec() } else { Vec::new() };
    for line in &kept {
        new.extend_from_slice(line);
        new.push(b'\n');
    }
    dotlock::replace(fs, root, FILE, &new, mode, sync)?;
    Ok(before != kept.len())
}

fn content<F: Fs>(fs: &F, root: &F::Dir) -> Result<Vec<u8>> {
    match fs.open(root, FILE).maybe().at("open", FILE)? {
        Some(file) => read_whole(fs, &file, MAX_FILE).at("read", FILE),
        None => Ok(VERSION_2.to_vec()),
    }
}

/// Whether the content is version 2, and its lines.
fn lines(content: &[u8]) -> (bool, impl Iterator<Item = &[u8]>) {
    let body = content.strip_prefix(VERSION_2);
    (body.is_some(), body.unwrap_or(content).split(|b| *b == b'\n').filter(|line| !line.is_empty()))
}

/// What separates levels in version 1.
fn separator(format: Format) -> u8 {
    match format {
        Format::Maildir => b'.',
        Format::Sdbox => b'/',
    }
}

fn parse(line: &[u8], version_2: bool, format: Format) -> Option<MailboxName> {
    let by = if version_2 { b'\t' } else { separator(format) };
    let levels: Option<Vec<String>> = line
        .split(|b| *b == by)
        .map(|level| if version_2 { mutf7::decode(&unescape(level)) } else { mutf7::decode(level) })
        .collect();
    MailboxName::from_levels(levels?).ok()
}

fn encode(name: &MailboxName, version_2: bool, format: Format) -> Vec<u8> {
    let levels = name.levels().iter().map(|level| mutf7::encode(level));
    if version_2 {
        levels.map(|level| escape(&level)).collect::<Vec<_>>().join(&b'\t')
    } else {
        levels.collect::<Vec<_>>().join(&separator(format))
    }
}

/// Dovecot's tab escaping: `\x01` and a digit.
const ESCAPES: [(u8, u8); 5] = [(0, b'0'), (1, b'1'), (b'\t', b't'), (b'\r', b'r'), (b'\n', b'n')];

fn escape(level: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(level.len());
    for byte in level {
        match ESCAPES.iter().find(|(plain, _)| plain == byte) {
            Some((_, code)) => out.extend([1, *code]),
            None => out.push(*byte),
        }
    }
    out
}

fn unescape(level: &[u8]) -> Vec<u8> {
    let (mut out, mut bytes) = (Vec::with_capacity(level.len()), level.iter());
    while let Some(byte) = bytes.next() {
        if *byte != 1 {
            out.push(*byte);
        } else if let Some(code) = bytes.next() {
            out.push(ESCAPES.iter().find(|(_, known)| known == code).map_or(*code, |(plain, _)| *plain));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::model::ModelFs;

    fn name(text: &str) -> MailboxName {
        MailboxName::new(text, '/').unwrap()
    }

    fn stored(fs: &ModelFs) -> String {
        String::from_utf8(content(fs, &fs.root()).unwrap()).unwrap()
    }

    #[test]
    fn a_new_file_is_version_2() {
        let fs = ModelFs::new();
        let set = |text, on| set(&fs, &fs.root(), Format::Maildir, &name(text), on, true).unwrap();
        assert!(set("A", true) && set("A/Bé", true) && set("inbox", true));
        assert!(!set("A", true) && !set("C", false));
        assert_eq!(stored(&fs), "V\t2\n\nA\nA\tB&AOk-\nINBOX\n");
        assert!(set("A", false));
        let names = read(&fs, &fs.root(), Format::Maildir).unwrap();
        assert_eq!(names, [name("A/Bé"), name("INBOX")]);
    }

    #[test]
    fn version_1_stays_version_1() {
        for (format, old, new) in
            [(Format::Maildir, "A.B\nC", "A.B\nC\nA.D\n"), (Format::Sdbox, "A/B\nC.d\n\n", "A/B\nC.d\nA/D\n")]
        {
            let fs = ModelFs::new();
            fs.append(&fs.create(&fs.root(), FILE, 0o600).unwrap(), old.as_bytes()).unwrap();
            assert_eq!(read(&fs, &fs.root(), format).unwrap()[0], name("A/B"));
            assert!(set(&fs, &fs.root(), format, &name("A/D"), true, true).unwrap());
            assert_eq!(stored(&fs), new);
        }
    }

    #[test]
    fn levels_are_tab_escaped() {
        assert_eq!(unescape(&escape(b"a\0\x01\t\r\nb")), b"a\0\x01\t\r\nb");
        assert_eq!(unescape(b"a\x01"), b"a");
        assert_eq!(unescape(b"\x01x"), b"x");
    }
}
