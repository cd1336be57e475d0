//! Where the mailboxes of a user are, and how a mailbox's name becomes a directory.

use crate::{
    error::{At, Error, Result},
    fs::{self, Fs},
    list::mutf7,
};

/// A name has at most this many levels.
pub const MAX_DEPTH: usize = 50;

/// A level has at most this many bytes on disk; Maildir++ joins all levels to one file name of at most as many.
pub const MAX_LEVEL: usize = 240;

/// How mailboxes are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Maildir++: `cur`, `new`, `tmp` in the root, other mailboxes in `.A.B` beside them.
    Maildir,
    /// Dovecot's sdbox: `mailboxes/A/B/dbox-Mails/u.<uid>`.
    Sdbox,
}

/// What must be durable before an operation is reported (`mail_fsync`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fsync {
    /// Nothing: a crash may lose mail that was acknowledged.
    Never,
    /// What was promised to somebody, batched per command.
    Optimized,
    /// In addition, what could be found out again: Posthorn's index of a Maildir.
    Always,
}

/// The place of one user's mail.
pub struct Location<F: Fs> {
    pub format: Format,
    /// A directory that the process holds.
    pub root: F::Dir,
    /// The components from there to the mail root (`~/Maildir`, `~/dbox`); made when they are missing.
    pub path: Vec<Vec<u8>>,
}

impl<F: Fs> Clone for Location<F> {
    fn clone(&self) -> Self {
        Self { format: self.format, root: self.root.clone(), path: self.path.clone() }
    }
}

/// The levels of a mailbox's name within its namespace. The first level `INBOX` is known in any case when it is alone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MailboxName(Vec<String>);

impl MailboxName {
    /// The user's inbox.
    pub fn inbox() -> Self {
        Self(vec!["INBOX".into()])
    }

    /// Splits a name at the namespace's separator. Refuses what no format can hold: empty levels, control characters,
    /// too many levels.
    pub fn new(name: &str, separator: char) -> Result<Self> {
        Self::from_levels(name.split(separator).map(str::to_owned).collect())
            .map_err(|reason| Error::BadName { name: name.to_owned(), reason })
    }

    /// A name by its levels; as [`Self::new`], with the reason why it cannot be.
    pub fn from_levels(levels: Vec<String>) -> std::result::Result<Self, &'static str> {
        if levels.iter().any(String::is_empty) {
            return Err("Begins or ends with the separator, or has adjacent ones");
        }
        if levels.len() > MAX_DEPTH {
            return Err("Too many levels");
        }
        if levels.iter().any(|level| level.chars().any(char::is_control)) {
            return Err("Control characters are not allowed");
        }
        match &levels[..] {
            [] => Err("Empty"),
            [only] if only.eq_ignore_ascii_case("INBOX") => Ok(Self::inbox()),
            _ => Ok(Self(levels)),
        }
    }

    /// The names above it, nearest last.
    pub fn ancestors(&self) -> impl Iterator<Item = Self> {
        (1..self.0.len()).map(|depth| Self(self.0[..depth].to_vec()))
    }

    /// The name with a separator.
    pub fn join(&self, separator: char) -> String {
        self.0.join(separator.encode_utf8(&mut [0; 4]))
    }

    pub fn levels(&self) -> &[String] {
        &self.0
    }

    pub fn is_inbox(&self) -> bool {
        self.0.len() == 1 && self.0[0] == "INBOX"
    }

    /// Whether it lies below `other`.
    pub fn is_below(&self, other: &Self) -> bool {
        self.0.len() > other.0.len() && self.0.starts_with(&other.0)
    }

    /// The name with the levels of `from`, which it equals or lies below, replaced by those of `to`.
    pub fn moved(&self, from: &Self, to: &Self) -> Self {
        Self(to.0.iter().chain(&self.0[from.0.len()..]).cloned().collect())
    }
}

impl Format {
    /// The components below the mail root of the directory that *is* the mailbox. In sdbox the messages are in
    /// `dbox-Mails` below it.
    pub fn folder(self, name: &MailboxName) -> Result<Vec<Vec<u8>>> {
        let bad = |reason| Error::BadName { name: name.join('/'), reason };
        let levels: Vec<Vec<u8>> = name.levels().iter().map(|level| mutf7::encode(level)).collect();
        let has = |forbidden: u8| levels.iter().any(|level| level.contains(&forbidden));
        if has(b'/') {
            return Err(bad("Name must not have '/' characters"));
        }
        if self == Self::Maildir && has(b'.') {
            return Err(bad("Name must not have '.' characters"));
        }
        match self {
            Self::Maildir if name.is_inbox() => Ok(Vec::new()),
            Self::Maildir => {
                let joined = levels.iter().flat_map(|level| [b".", &level[..]].concat()).collect::<Vec<u8>>();
                if joined.len() > MAX_LEVEL {
                    return Err(bad("Name is too long"));
                }
                Ok(vec![joined])
            }
            Self::Sdbox => {
                let reserved = [&b"."[..], b"..", Self::MESSAGES];
                if levels.iter().any(|level| level.len() > MAX_LEVEL || reserved.contains(&&level[..])) {
                    return Err(bad("Name is too long or reserved"));
                }
                Ok(std::iter::once(Self::MAILBOXES.to_vec()).chain(levels).collect())
            }
        }
    }

    pub(crate) const MAILBOXES: &'static [u8] = b"mailboxes";
    pub(crate) const MESSAGES: &'static [u8] = b"dbox-Mails";
}

/// The modes of what is made in a directory: those of the directory itself, as Dovecot takes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Modes {
    pub directory: u32,
    pub file: u32,
}

impl Modes {
    /// What is made where nothing exists yet.
    pub const PRIVATE: Self = Self { directory: 0o700, file: 0o600 };

    pub(crate) fn of<F: Fs>(fs: &F, dir: &F::Dir) -> Result<Self> {
        let mode = fs.stat_dir(dir).at("fstat", b"mailbox")?.mode & 0o777 | 0o700;
        Ok(Self { directory: mode, file: mode & 0o666 })
    }
}

impl<F: Fs> Location<F> {
    /// The mail root, if it exists.
    pub(crate) fn open(&self, fs: &F) -> std::io::Result<F::Dir> {
        fs::open_path(fs, &self.root, &self.path)
    }

    /// The mail root, made when it is missing, and all directories above it.
    pub(crate) fn make(&self, fs: &F) -> Result<(F::Dir, Vec<F::Dir>)> {
        fs::make_path(fs, &self.root, &self.path, Modes::PRIVATE.directory).at("mkdir", &self.path.join(&b'/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(format: Format, name: &str) -> Option<String> {
        let name = MailboxName::new(name, '/').ok()?;
        Some(String::from_utf8(format.folder(&name).ok()?.join(&b'/')).unwrap())
    }

    #[test]
    fn names_become_directories() {
        let long = "x".repeat(300);
        let table: &[(&str, Option<&str>, Option<&str>)] = &[
            ("inbox", Some(""), Some("mailboxes/INBOX")),
            ("A/Bé", Some(".A.B&AOk-"), Some("mailboxes/A/B&AOk-")),
            ("INBOX/x", Some(".INBOX.x"), Some("mailboxes/INBOX/x")),
            ("a.b", None, Some("mailboxes/a.b")),
            ("..", None, None),
            ("a/../b", None, None),
            ("a/dbox-Mails", Some(".a.dbox-Mails"), None),
            ("a//b", None, None),
            ("/a", None, None),
            ("a/", None, None),
            ("", None, None),
            ("a\nb", None, None),
            (&long, None, None),
        ];
        for (name, maildir, sdbox) in table {
            assert_eq!(path(Format::Maildir, name).as_deref(), *maildir, "{name}");
            assert_eq!(path(Format::Sdbox, name).as_deref(), *sdbox, "{name}");
        }
        assert!(MailboxName::new(&["x"; 51].join("/"), '/').is_err());
    }
}
