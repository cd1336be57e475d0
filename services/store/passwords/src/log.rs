//! Log lines of `auth`, word for word as Dovecot 2.3 writes them.
//!
//! A line is what follows `auth: ` (the process' name and the time are the log service's). Passwords appear only where a
//! switch says so; the stored hash only with `auth_debug_passwords`.

use std::net::IpAddr;

use proto_sasl::dovecot::sanitize;
use sha1::{Digest, Sha1};

use crate::config::VerbosePasswords;

/// Longest user name in a prefix, in characters.
const MAX_USER: usize = 64;
/// What stands for a secret.
const HIDDEN: &str = "<hidden>";

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// With `auth_debug`.
    Debug,
    /// Failures of users, with `auth_verbose`.
    Info,
    /// Worth a look.
    Warning,
    /// To be mended.
    Error,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// How much it matters.
    pub level: Level,
    /// The text.
    pub text: String,
}

impl std::fmt::Display for Line {
    /// With Dovecot's mark of the level.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self.level {
            Level::Debug => "Debug: ",
            Level::Info => "",
            Level::Warning => "Warning: ",
            Level::Error => "Error: ",
        })?;
        out.write_str(&self.text)
    }
}

/// Whom a line is about.
#[derive(Clone, Copy, Debug, Default)]
pub struct Subject<'a> {
    /// The user, once there is one.
    pub user: Option<&'a str>,
    /// The client's address.
    pub remote_ip: Option<IpAddr>,
    /// The user is a master user logging in as another.
    pub master: bool,
    /// The session.
    pub session: Option<&'a str>,
}

impl Subject<'_> {
    /// `passwd-file(user,rip,<session>): `; `subsystem` is the database's name, a mechanism in lower case, or `auth`.
    pub fn prefix(&self, subsystem: &str) -> String {
        let mut out = format!("{subsystem}({}", self.user.map_or("?".to_owned(), |user| sanitize(user, MAX_USER)));
        if let Some(address) = self.remote_ip {
            out.push_str(&format!(",{address}"));
        }
        if self.master {
            out.push_str(",master");
        }
        if let Some(session) = self.session {
            out.push_str(&format!(",<{session}>"));
        }
        out.push_str("): ");
        out
    }
}

/// `Password mismatch` or `unknown user`, with the password that was given if `auth_verbose_passwords` wants it; then also
/// with which kind of database (`passdb`, `userdb`) is asked next, if one is.
pub fn login_failure(message: &str, given: Option<&[u8]>, show: VerbosePasswords, next: Option<&str>) -> String {
    let cut = |text: String, length| text.chars().take(length).collect::<String>();
    let shown = match (show, given) {
        (VerbosePasswords::No, _) => return message.to_owned(),
        (_, None) => String::new(),
        (VerbosePasswords::Plain(length), Some(given)) => {
            format!("(given password: {})", cut(String::from_utf8_lossy(given).into_owned(), length))
        }
        (VerbosePasswords::Sha1(length), Some(given)) => {
            let digest = Sha1::digest(given).iter().map(|byte| format!("{byte:02x}")).collect();
            format!("(SHA1 of given password: {})", cut(digest, length))
        }
    };
    let next = next.map_or(String::new(), |kind| format!(" - trying the next {kind}"));
    format!("{message} {shown}{next}")
}

/// `CRYPT(given) != 'stored'`, for `auth_debug_passwords` alone.
pub fn mismatch_detail(scheme: &str, given: &[u8], stored: &str) -> String {
    format!("{scheme}({}) != '{stored}'", String::from_utf8_lossy(given))
}

/// `client in: …`: a line of an authentication client. What follows `resp=`, or CONT, is hidden.
pub fn client_in(line: &str, show: bool) -> String {
    const SUFFIX: &str = " (previous base64 data may contain sensitive data)";
    let secret = match line.starts_with("CONT\t") {
        true => Some("CONT".len()),
        false => line.find("\tresp=").map(|at| at + "\tresp=".len()),
    };
    match secret {
        None => format!("client in: {line}"),
        Some(_) if show => format!("client in: {line}{SUFFIX}"),
        Some(start) => format!("client in: {}{HIDDEN}", &line[..start]),
    }
}

/// `client passdb out: …`: our reply to an authentication client.
pub fn client_out(line: &str, show: bool) -> String {
    format!("client passdb out: {}", hide_passwords(line, show))
}

/// `master in: …`: a line on a master or userdb socket.
pub fn master_in(line: &str) -> String {
    format!("master in: {line}")
}

/// `userdb out: …`: our reply to USER.
pub fn userdb_out(line: &str, show: bool) -> String {
    format!("userdb out: {}", hide_passwords(line, show))
}

/// `master userdb out: …`: our reply to REQUEST.
pub fn master_userdb_out(line: &str, show: bool) -> String {
    format!("master userdb out: {}", hide_passwords(line, show))
}

/// `passdb out: …`: our reply to PASS.
pub fn passdb_out(line: &str) -> String {
    format!("passdb out: {line}")
}

/// Hides the value of each field whose name has `pass` in it.
fn hide_passwords(line: &str, show: bool) -> String {
    if show {
        return line.to_owned();
    }
    let hide = |field: &str| match field.split_once('=') {
        Some((name, _)) if name.contains("pass") => format!("{name}={HIDDEN}"),
        _ => field.to_owned(),
    };
    line.split('\t').map(hide).collect::<Vec<_>>().join("\t")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Recorded from Dovecot 2.3.19.
    #[test]
    fn prefixes() {
        let ip = Some([127, 0, 0, 1].into());
        let user = Some("info@example.jp");
        for (subject, expected) in [
            (
                Subject { user, remote_ip: ip, session: Some("abc"), master: false },
                "x(info@example.jp,127.0.0.1,<abc>): ",
            ),
            (Subject { user, ..Subject::default() }, "x(info@example.jp): "),
            (Subject { remote_ip: ip, ..Subject::default() }, "x(?,127.0.0.1): "),
            (
                Subject { user: Some("boss\n"), master: true, session: Some("S"), remote_ip: None },
                "x(boss?,master,<S>): ",
            ),
        ] {
            assert_eq!(subject.prefix("x"), expected);
        }
        let long = "u".repeat(70);
        let prefix = Subject { user: Some(&long), ..Subject::default() }.prefix("x");
        assert_eq!(prefix, format!("x({}...): ", "u".repeat(61)));
    }

    #[test]
    fn given_passwords() {
        let given = Some(b"wrongpw".as_slice());
        for (show, next, expected) in [
            (VerbosePasswords::No, Some("passdb"), "Password mismatch"),
            (VerbosePasswords::Plain(1024), None, "Password mismatch (given password: wrongpw)"),
            (
                VerbosePasswords::Plain(3),
                Some("passdb"),
                "Password mismatch (given password: wro) - trying the next passdb",
            ),
            (VerbosePasswords::Sha1(6), None, "Password mismatch (SHA1 of given password: 911596)"),
        ] {
            assert_eq!(login_failure("Password mismatch", given, show, next), expected);
        }
        assert_eq!(mismatch_detail("CRYPT", b"bad", "$2y$"), "CRYPT(bad) != '$2y$'");
    }

    #[test]
    fn secrets_in_protocol_lines() {
        let auth = "AUTH\t1\tPLAIN\tservice=imap\tresp=AGE=";
        for (line, show, expected) in [
            (
                auth,
                true,
                "client in: AUTH\t1\tPLAIN\tservice=imap\tresp=AGE= (previous base64 data may contain sensitive data)",
            ),
            (auth, false, "client in: AUTH\t1\tPLAIN\tservice=imap\tresp=<hidden>"),
            ("AUTH\t2\tLOGIN\tservice=imap", true, "client in: AUTH\t2\tLOGIN\tservice=imap"),
            ("CONT\t2\tAGE=", false, "client in: CONT<hidden>"),
            ("CONT\t2\tAGE=", true, "client in: CONT\t2\tAGE= (previous base64 data may contain sensitive data)"),
            ("CANCEL\t2", false, "client in: CANCEL\t2"),
        ] {
            assert_eq!(client_in(line, show), expected);
        }
        assert_eq!(
            client_out("OK\t1\tuser=pass\tpass=x\ta", false),
            "client passdb out: OK\t1\tuser=pass\tpass=<hidden>\ta"
        );
        assert_eq!(client_out("OK\t1\tpass=x", true), "client passdb out: OK\t1\tpass=x");
        assert_eq!(userdb_out("USER\t1\tu\tuid=5", false), "userdb out: USER\t1\tu\tuid=5");
        assert_eq!(master_userdb_out("FAIL\t9", false), "master userdb out: FAIL\t9");
    }

    #[test]
    fn levels() {
        let line = |level| Line { level, text: "x".into() }.to_string();
        let all = [Level::Debug, Level::Info, Level::Warning, Level::Error].map(line);
        assert_eq!(all, ["Debug: x", "x", "Warning: x", "Error: x"]);
    }
}
