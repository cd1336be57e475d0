//! What `quickstart` writes: a pure function of the folder, the ports, the account and the passwords.

use std::path::Path;

/// The domain of the two users; it is reserved (RFC 2606), so no mail for it ever leaves.
pub const DOMAIN: &str = "example.test";
/// The address that everything listens at.
pub const ADDRESS: &str = "127.0.0.1";
/// Who sends, and who receives.
pub const USERS: [&str; 2] = ["alice", "bob"];
/// The longest path of a folder: the sockets in it must fit into `sun_path` (unix(7)).
pub const MAX_FOLDER: usize = 80;

/// Ports, all above 1023.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    pub smtp: u16,
    pub submission: u16,
    pub imap: u16,
    pub imaps: u16,
}

impl Ports {
    /// The well-known ports, moved up.
    pub fn above(base: u16) -> Ports {
        Ports { smtp: base + 25, submission: base + 587, imap: base + 143, imaps: base + 993 }
    }

    /// Each of them.
    pub fn all(self) -> [u16; 4] {
        [self.smtp, self.submission, self.imap, self.imaps]
    }
}

/// An account of the system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    pub user: String,
    pub group: String,
    pub uid: u32,
    pub gid: u32,
}

/// What the files depend on.
#[derive(Debug)]
pub struct Plan<'a> {
    /// An absolute path.
    pub folder: &'a Path,
    pub ports: Ports,
    /// Whose the processes are where nothing else is said.
    pub owner: Account,
    /// Whose the mail is.
    pub mail: (u32, u32),
    /// The kernel has no Landlock.
    pub without_landlock: bool,
}

impl Plan<'_> {
    /// The configuration files: name and text.
    pub fn configuration(&self) -> [(&'static str, String); 3] {
        [
            ("main.cf", self.fill(include_str!("templates/main.cf"))),
            ("master.cf", self.fill(include_str!("templates/master.cf"))),
            ("dovecot.conf", self.fill(include_str!("templates/dovecot.conf"))),
        ]
    }

    /// The passwd-file: a line for each user and hash.
    pub fn users(&self, hashes: &[String]) -> String {
        let (uid, gid) = self.mail;
        let folder = self.folder.display();
        let lines = USERS.iter().zip(hashes);
        lines.map(|(user, hash)| format!("{user}@{DOMAIN}:{hash}:{uid}:{gid}::{folder}/mail/{user}::\n")).collect()
    }

    /// The addresses that mail is taken for.
    pub fn mailboxes(&self) -> String {
        USERS.iter().map(|user| format!("{user}@{DOMAIN}  {user}/\n")).collect()
    }

    fn fill(&self, template: &str) -> String {
        let Ports { smtp, submission, imap, imaps } = self.ports;
        let values = [
            ("@FOLDER@", self.folder.display().to_string()),
            ("@DOMAIN@", DOMAIN.to_owned()),
            ("@ADDRESS@", ADDRESS.to_owned()),
            ("@SMTP@", smtp.to_string()),
            ("@SUBMISSION@", submission.to_string()),
            ("@IMAP@", imap.to_string()),
            ("@IMAPS@", imaps.to_string()),
            ("@OWNER@", self.owner.user.clone()),
            ("@GROUP@", self.owner.group.clone()),
            ("@UID@", self.mail.0.to_string()),
            ("@WITHOUT_LANDLOCK@", if self.without_landlock { "yes" } else { "no" }.to_owned()),
        ];
        values.iter().fold(template.to_owned(), |text, (name, value)| text.replace(name, value))
    }
}

/// The folder can stand in every file and its sockets have room.
///
/// # Errors
/// Why it cannot.
pub fn usable(folder: &Path) -> Result<(), String> {
    let text = folder.to_str().ok_or("its path is not valid UTF-8")?;
    if text.len() > MAX_FOLDER {
        return Err(format!("its path is longer than {MAX_FOLDER} bytes, and sockets in it would not fit"));
    }
    // What the three formats would read as something else.
    if text.contains(|c: char| c.is_whitespace() || c.is_control() || "$,:;#%\"'{}=<>\\@".contains(c)) {
        return Err("its path holds a character that configuration files read as something else".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use master::compile::{Configuration, Files};

    fn plan(folder: &Path) -> Plan<'_> {
        let owner = Account { user: "root".into(), group: "root".into(), uid: 0, gid: 0 };
        Plan { folder, ports: Ports::above(10_000), owner, mail: (5000, 5000), without_landlock: false }
    }

    #[test]
    fn nothing_is_wrong_with_what_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let plan = plan(folder.path());
        for place in ["tls", "tables", "auth"] {
            std::fs::create_dir(folder.path().join(place)).unwrap();
        }
        for (name, text) in plan.configuration() {
            assert!(!text.contains('@'), "{name}: {text}");
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        for (name, text) in [("tls/cert.pem", "x"), ("tls/key.pem", "x"), ("tables/mailboxes", ""), ("auth/users", "")]
        {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let mut configuration = Configuration::read(&Files::in_folder(folder.path()));
        let table = configuration.table();
        let found: Vec<String> = configuration.all_found().map(ToString::to_string).collect();
        assert_eq!(found, [""; 0]);
        let listeners: Vec<String> =
            table.services.iter().flat_map(|spec| &spec.listeners).map(|listener| listener.at.to_string()).collect();
        for port in plan.ports.all() {
            assert!(listeners.contains(&format!("127.0.0.1:{port}")), "{port}: {listeners:?}");
        }
    }

    #[test]
    fn users_have_a_home_and_a_hash() {
        let folder = Path::new("/tmp/q");
        let users = plan(folder).users(&["{PLAIN}a".into(), "{PLAIN}b".into()]);
        assert_eq!(users.lines().count(), 2);
        assert!(users.starts_with("alice@example.test:{PLAIN}a:5000:5000::/tmp/q/mail/alice::\n"));
    }

    #[test]
    fn folders_that_cannot_be_written_down() {
        assert_eq!(usable(Path::new("/tmp/q-1.x_y")), Ok(()));
        for bad in ["/tmp/a b", "/tmp/$x", "/tmp/a:b", "/tmp/a%n"] {
            assert!(usable(Path::new(bad)).is_err(), "{bad}");
        }
        assert!(usable(Path::new(&format!("/{}", "x".repeat(MAX_FOLDER)))).is_err());
    }
}
