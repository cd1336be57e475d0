//! Files of users: `user:password:uid:gid:gecos:home:shell:extra fields` (Dovecot's passwd-file).
//!
//! ```text
//! line  = user [ ":" password [ ":" [ uid ] [ ":" [ gid ] [ ":" gecos [ ":" [ home ] [ ":" shell [ ":" extra ]]]]]]]
//! extra = *( field " " )          ; "userdb_" before what is for the userdb
//! ```
//! A colon cannot be escaped. Empty lines, lines without a user and lines that begin with `#` are skipped. A line that has
//! no gid field has nothing to say as a userdb. A file is read again when its time, size or inode changes.
//!
//! Files are reached through an [`Opener`], because a jailed process has descriptors of directories and no paths.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use zeroize::Zeroizing;

/// Largest file that is read, in bytes: a hundred thousand users and more.
pub const MAX_FILE: u64 = 64 * 1024 * 1024;
/// Most files that are kept; with a path per domain there may be many.
pub const MAX_FILES: usize = 1024;

/// What tells whether a file has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Seconds and nanoseconds of the modification.
    pub modified: (i64, i64),
    /// Bytes.
    pub size: u64,
    /// The inode's number: a file that was renamed over the old one is another.
    pub inode: u64,
}

/// Why a file cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// There is no such file.
    Missing,
    /// Anything else, in the words of the system (`Permission denied`).
    Failed(String),
}

/// The way to files.
pub trait Opener {
    /// Looks at the file without opening it.
    ///
    /// # Errors
    /// Why it cannot be looked at.
    fn stamp(&self, path: &str) -> Result<Stamp, OpenError>;

    /// Reads the whole file, at most [`MAX_FILE`] bytes, and looks at what was read.
    ///
    /// # Errors
    /// Why it cannot be read.
    fn read(&self, path: &str) -> Result<(Stamp, Zeroizing<Vec<u8>>), OpenError>;
}

/// The way to the system's accounts.
pub trait Accounts {
    /// The uid of an account; `None` if there is no such account.
    ///
    /// # Errors
    /// It could not be looked up.
    fn uid(&self, name: &str) -> Result<Option<u32>, String>;

    /// The gid of a group; `None` if there is no such group.
    ///
    /// # Errors
    /// It could not be looked up.
    fn gid(&self, name: &str) -> Result<Option<u32>, String>;
}

/// Reads a uid: a number, or the name of an account.
///
/// # Errors
/// Dovecot's log line.
pub fn parse_uid(text: &str, accounts: &dyn Accounts) -> Result<u32, String> {
    id(text, "UID", "getpwnam", |name| accounts.uid(name))
}

/// Reads a gid: a number, or the name of a group.
///
/// # Errors
/// Dovecot's log line.
pub fn parse_gid(text: &str, accounts: &dyn Accounts) -> Result<u32, String> {
    id(text, "GID", "getgrnam", |name| accounts.gid(name))
}

fn id(text: &str, kind: &str, call: &str, find: impl Fn(&str) -> Result<Option<u32>, String>) -> Result<u32, String> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let found = if digits { Ok(text.parse().ok()) } else { find(text) };
    // The highest number stands for "none" in every system call.
    match found.map(|id| id.filter(|id| *id != u32::MAX)) {
        Ok(Some(id)) => Ok(id),
        Ok(None) => Err(format!("Invalid {kind} value '{text}'")),
        Err(reason) => Err(format!("{call}() failed: {reason}")),
    }
}

/// One line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// The second field, with its scheme; empty if there is none. A secret.
    pub password: Zeroizing<String>,
    /// Whether the line is complete enough for a userdb.
    pub in_userdb: bool,
    /// The uid, if one is given.
    pub uid: Option<u32>,
    /// The gid, if one is given.
    pub gid: Option<u32>,
    /// The home directory, taken literally: `%` is not special in it.
    pub home: Option<String>,
    /// `name[=value]`, with variables in the values.
    pub extra: Vec<String>,
}

/// What a file is read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Purpose {
    /// A userdb uses it too: uid, gid and home count, and must be right.
    pub userdb: bool,
    /// It is the only userdb: a line without userdb fields is worth a word.
    pub warn_missing: bool,
}

/// The users of a file, in its order.
#[derive(Debug, Default)]
pub struct PasswdFile {
    users: HashMap<String, User>,
    names: Vec<String>,
}

impl PasswdFile {
    /// Reads a file's content; the lines that are left out are told in Dovecot's words.
    pub fn parse(content: &[u8], purpose: Purpose, accounts: &dyn Accounts) -> (Self, Vec<String>) {
        let (mut file, mut problems) = (Self::default(), Vec::new());
        for line in content.split(|byte| *byte == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.is_empty() || matches!(line[0], b':' | b'#') {
                continue;
            }
            // Other fields may be in any encoding; a name must be exact.
            let text = Zeroizing::new(String::from_utf8_lossy(line).into_owned());
            let name = text.split(':').next().unwrap_or_default();
            if name.contains(char::REPLACEMENT_CHARACTER) {
                problems.push(format!("User {name} is not valid UTF-8"));
                continue;
            }
            match User::parse(&text[name.len()..], name, purpose, accounts, &mut problems) {
                Ok(user) => match file.users.entry(name.to_owned()) {
                    Entry::Vacant(entry) => {
                        entry.insert(user);
                        file.names.push(name.to_owned());
                    }
                    Entry::Occupied(_) => problems.push(format!("User {name} exists more than once")),
                },
                Err(problem) => problems.push(problem),
            }
        }
        (file, problems)
    }

    /// The user of that exact name.
    pub fn get(&self, name: &str) -> Option<&User> {
        self.users.get(name)
    }

    /// All names, in the file's order; with `userdb_only`, those with userdb fields.
    pub fn names(&self, userdb_only: bool) -> impl Iterator<Item = &str> {
        let counts = move |name: &&String| !userdb_only || self.users[name.as_str()].in_userdb;
        self.names.iter().filter(counts).map(String::as_str)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }
}

impl User {
    /// Reads what stands behind the name: nothing, or a colon and the rest.
    fn parse(
        rest: &str,
        name: &str,
        purpose: Purpose,
        accounts: &dyn Accounts,
        problems: &mut Vec<String>,
    ) -> Result<Self, String> {
        let mut fields = rest.splitn(8, ':').skip(1);
        let password = fields.next().unwrap_or_default();
        let fields: Vec<&str> = fields.collect();
        let given = |index: usize| fields.get(index).copied().filter(|field| purpose.userdb && !field.is_empty());
        let invalid = |kind: &str, value: &str| format!("User {name} has invalid {kind} '{value}'");

        let mut user = Self { password: password_of(password, name)?, in_userdb: fields.len() >= 2, ..Self::default() };
        if let Some(uid) = given(0) {
            user.uid = Some(parse_uid(uid, accounts).ok().filter(|uid| *uid != 0).ok_or_else(|| invalid("UID", uid))?);
        }
        if !user.in_userdb && purpose.userdb && purpose.warn_missing {
            problems.push(format!("User {name} is missing userdb info"));
        }
        if let Some(gid) = given(1) {
            user.gid = Some(parse_gid(gid, accounts).ok().filter(|gid| *gid != 0).ok_or_else(|| invalid("GID", gid))?);
        }
        user.home = given(3).map(str::to_owned);
        // Old files have an empty field here and the mail location in the next.
        user.extra = match fields.get(5) {
            None => Vec::new(),
            Some(extra) => match extra.strip_prefix(':') {
                Some(mail) if purpose.userdb && !mail.is_empty() => split_extra(&format!("userdb_mail={mail}")),
                Some(_) => Vec::new(),
                None => split_extra(extra),
            },
        };
        Ok(user)
    }
}

fn split_extra(text: &str) -> Vec<String> {
    text.split(' ').filter(|field| !field.is_empty()).map(str::to_owned).collect()
}

/// The password field; `password[13]` is libpam-pwdfile's way of naming a scheme (13 DES, 34 MD5, 56 Digest-MD5).
fn password_of(field: &str, name: &str) -> Result<Zeroizing<String>, String> {
    let bytes = field.as_bytes();
    let tagged =
        bytes.len() > 4 && !matches!(bytes[0], b'{' | b'$') && field.ends_with(']') && bytes[bytes.len() - 4] == b'[';
    if !tagged {
        return Ok(Zeroizing::new(field.to_owned()));
    }
    let (hash, tag) = field.split_at(field.len() - 4);
    let scheme = match tag {
        "[34]" => "PLAIN-MD5",
        "[56]" if hash.len() == 32 => "DIGEST-MD5",
        "[56]" => return Err(format!("User {name} has invalid password")),
        _ => "CRYPT",
    };
    Ok(Zeroizing::new(format!("{{{scheme}}}{hash}")))
}

/// What a lookup in a file may meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileError {
    /// The file is not there.
    Missing,
    /// It cannot be read; a log line.
    Failed(String),
}

/// The files in use, each read when it is first asked for and again when it has changed.
#[derive(Debug, Default)]
pub struct Files {
    files: HashMap<String, Loaded>,
    /// Counts lookups, to find the file that was not used for longest.
    clock: u64,
}

#[derive(Debug)]
struct Loaded {
    stamp: Stamp,
    used: u64,
    purpose: Purpose,
    file: PasswdFile,
}

impl Files {
    /// The users of the file at `path` as it is now. `log` takes what reading it has to tell: whether it is an error (else
    /// it is for debugging), and a line.
    ///
    /// # Errors
    /// The file is not there, or cannot be read.
    pub fn load(
        &mut self,
        path: &str,
        purpose: Purpose,
        opener: &dyn Opener,
        accounts: &dyn Accounts,
        log: &mut dyn FnMut(bool, String),
    ) -> Result<&PasswdFile, FileError> {
        self.clock += 1;
        let failed = |call: &str, error| match error {
            OpenError::Missing => FileError::Missing,
            OpenError::Failed(reason) => FileError::Failed(format!("{call}({path}) failed: {reason}")),
        };
        let stamp =
            opener.stamp(path).map_err(|error| failed("stat", error)).inspect_err(|_| _ = self.files.remove(path))?;
        let current = self.files.get(path).is_some_and(|loaded| loaded.stamp == stamp && loaded.purpose == purpose);
        if !current {
            self.files.remove(path);
            let (stamp, content) = opener.read(path).map_err(|error| failed("open", error))?;
            let (file, problems) = PasswdFile::parse(&content, purpose, accounts);
            problems.into_iter().for_each(|problem| log(true, format!("passwd-file {path}:{problem}")));
            log(false, format!("passwd-file {path}:Read {} users in 0 secs", file.len()));
            self.make_room();
            self.files.insert(path.to_owned(), Loaded { stamp, used: 0, purpose, file });
        }
        let loaded = self.files.get_mut(path).expect("it was there, or has just been put there");
        loaded.used = self.clock;
        Ok(&loaded.file)
    }

    /// Files that are kept.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    fn make_room(&mut self) {
        if self.files.len() >= MAX_FILES
            && let Some(oldest) = self.files.iter().min_by_key(|(_, loaded)| loaded.used).map(|(path, _)| path.clone())
        {
            self.files.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;

    struct Nobody;

    impl Accounts for Nobody {
        fn uid(&self, name: &str) -> Result<Option<u32>, String> {
            match name {
                "vmail" => Ok(Some(5000)),
                "root" => Ok(Some(0)),
                "broken" => Err("Input/output error".into()),
                _ => Ok(None),
            }
        }

        fn gid(&self, name: &str) -> Result<Option<u32>, String> {
            self.uid(name)
        }
    }

    const BOTH: Purpose = Purpose { userdb: true, warn_missing: true };
    const PASSDB: Purpose = Purpose { userdb: false, warn_missing: false };

    fn parse(text: &str, purpose: Purpose) -> (PasswdFile, Vec<String>) {
        PasswdFile::parse(text.as_bytes(), purpose, &Nobody)
    }

    #[test]
    fn every_field() {
        let (file, problems) =
            parse("u@d:{PLAIN}p:vmail:6:Full, Name:/h/%d/%n:/bin/sh:userdb_mail=sdbox:~/x a  b=c:d\n", BOTH);
        assert_eq!(problems, Vec::<String>::new());
        let user = file.get("u@d").unwrap();
        assert_eq!(
            (user.password.as_str(), user.uid, user.gid, user.in_userdb),
            ("{PLAIN}p", Some(5000), Some(6), true)
        );
        assert_eq!(user.home.as_deref(), Some("/h/%d/%n"));
        assert_eq!(user.extra, ["userdb_mail=sdbox:~/x", "a", "b=c:d"]);
        // The same line for a passdb alone: nothing but the password and the extra fields count.
        let (file, _) = parse("u@d:{PLAIN}p:nobody:0::/h::x\n", PASSDB);
        let user = file.get("u@d").unwrap();
        assert_eq!((user.uid, user.gid, user.home.as_deref(), user.extra.len()), (None, None, None, 1));
    }

    #[test]
    fn missing_fields_comments_and_blank_lines() {
        let text = "# c\n\n:x:1:1\nonly\nshort:p\nnogid:p:1\nfull:p::::::\r\nbare:p:::\nlast:p:::g";
        let (file, problems) = parse(text, BOTH);
        let all: Vec<&str> = file.names(false).collect();
        assert_eq!(all, ["only", "short", "nogid", "full", "bare", "last"]);
        assert_eq!(file.names(true).collect::<Vec<_>>(), ["full", "bare", "last"]);
        assert_eq!(problems, ["only", "short", "nogid"].map(|user| format!("User {user} is missing userdb info")));
        assert_eq!(file.get("only").unwrap().password.as_str(), "");
    }

    /// What Dovecot 2.3.19 leaves out, with its words.
    #[test]
    fn broken_lines() {
        let (file, problems) = parse(
            "bad@d:x:nouser:1\ng:x:1:nogroup\nroot:x:root:1\nz:x:0:1\nio:x:broken:1\nbig:x:4294967295:1\na:x:1:1\na:y:1:1\nesc\\:a\n",
            BOTH,
        );
        assert_eq!(
            problems,
            [
                "User bad@d has invalid UID 'nouser'",
                "User g has invalid GID 'nogroup'",
                "User root has invalid UID 'root'",
                "User z has invalid UID '0'",
                "User io has invalid UID 'broken'",
                "User big has invalid UID '4294967295'",
                "User a exists more than once",
                "User esc\\ is missing userdb info",
            ]
        );
        assert_eq!(file.names(false).collect::<Vec<_>>(), ["a", "esc\\"]);
        let (file, problems) = PasswdFile::parse(b"b\xe9:x\nc:x::::\xe9\n", PASSDB, &Nobody);
        assert_eq!((file.names(false).collect::<Vec<_>>(), problems.len()), (vec!["c"], 1), "gecos may be anything");
    }

    #[test]
    fn other_spellings() {
        let (file, _) = parse("old:x:1:2:g:/h:/s::maildir:/x y:z\nempty:x:1:2:g:/h:/s::\n", BOTH);
        assert_eq!(file.get("old").unwrap().extra, ["userdb_mail=maildir:/x", "y:z"]);
        assert_eq!(file.get("empty").unwrap().extra, Vec::<String>::new());
        let (file, problems) = parse("d:abcdefgh[13]\nm:0123[34]\nn:0123[56]\n", PASSDB);
        assert_eq!(file.get("d").unwrap().password.as_str(), "{CRYPT}abcdefgh");
        assert_eq!(file.get("m").unwrap().password.as_str(), "{PLAIN-MD5}0123");
        assert_eq!(problems, ["User n has invalid password"]);
    }

    #[test]
    fn numbers_and_names() {
        assert_eq!(parse_uid("12", &Nobody), Ok(12));
        assert_eq!(parse_gid("vmail", &Nobody), Ok(5000));
        assert_eq!(parse_uid("-1", &Nobody), Err("Invalid UID value '-1'".into()));
        assert_eq!(parse_uid("99999999999", &Nobody), Err("Invalid UID value '99999999999'".into()));
        assert_eq!(parse_gid("broken", &Nobody), Err("getgrnam() failed: Input/output error".into()));
    }

    /// One file, whose content, times and permissions a test changes.
    #[derive(Default)]
    struct OneFile {
        content: RefCell<String>,
        stamp: Cell<(i64, u64)>,
        error: RefCell<Option<OpenError>>,
        reads: Cell<u32>,
    }

    impl Opener for OneFile {
        fn stamp(&self, _: &str) -> Result<Stamp, OpenError> {
            let (modified, inode) = self.stamp.get();
            let stamp = Stamp { modified: (modified, 0), size: self.content.borrow().len() as u64, inode };
            self.error.borrow().clone().map_or(Ok(stamp), Err)
        }

        fn read(&self, path: &str) -> Result<(Stamp, Zeroizing<Vec<u8>>), OpenError> {
            self.reads.set(self.reads.get() + 1);
            Ok((self.stamp(path)?, Zeroizing::new(self.content.borrow().clone().into_bytes())))
        }
    }

    #[test]
    fn a_file_is_read_again_when_it_changes() {
        let (mut files, opener) = (Files::default(), OneFile::default());
        let mut load = |path: &str| {
            let loaded = files.load(path, PASSDB, &opener, &Nobody, &mut |_, _| {});
            loaded.map(|file| file.names(false).collect::<Vec<_>>().join(" "))
        };
        *opener.content.borrow_mut() = "a:x\n".into();
        assert_eq!((load("/f"), load("/f"), opener.reads.get()), (Ok("a".into()), Ok("a".into()), 1));
        *opener.content.borrow_mut() = "a:x\nb:x\n".into();
        assert_eq!((load("/f"), opener.reads.get()), (Ok("a b".into()), 2), "another size");
        *opener.content.borrow_mut() = "a:x\nc:x\n".into();
        opener.stamp.set((5, 0));
        assert_eq!((load("/f"), opener.reads.get()), (Ok("a c".into()), 3), "another time");
        opener.stamp.set((5, 1));
        assert_eq!((load("/f"), opener.reads.get()), (Ok("a c".into()), 4), "another inode");
        *opener.error.borrow_mut() = Some(OpenError::Missing);
        assert_eq!(load("/f"), Err(FileError::Missing));
        *opener.error.borrow_mut() = Some(OpenError::Failed("Permission denied".into()));
        assert_eq!(load("/f"), Err(FileError::Failed("stat(/f) failed: Permission denied".into())));
        *opener.error.borrow_mut() = None;
        assert_eq!((load("/f"), opener.reads.get()), (Ok("a c".into()), 5));
    }

    #[test]
    fn files_are_bounded() {
        let (mut files, opener) = (Files::default(), OneFile::default());
        for n in 0..=MAX_FILES {
            files.load(&format!("/{n}"), PASSDB, &opener, &Nobody, &mut |_, _| {}).unwrap();
            files.load("/0", PASSDB, &opener, &Nobody, &mut |_, _| {}).unwrap();
        }
        assert_eq!(files.len(), MAX_FILES);
        assert_eq!(opener.reads.get() as usize, MAX_FILES + 1, "the file in use stayed");
    }
}
