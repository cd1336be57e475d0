//! `doveadm auth test`, `doveadm auth lookup` and `doveadm user`: visits to the sockets of `service auth`, in Dovecot's auth
//! protocol (lines of fields between tabs).

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ipc_config::dovecot::variables::{Vars, expand};
use zeroize::Zeroizing;

use super::{ask, fatal};
use crate::console::{self, reason};
use crate::doveconf;
use crate::options::{self, Parsed};
use crate::status::Status;

/// How long the service may take: a failed login is answered late.
const PATIENCE: Duration = Duration::from_secs(60);
/// The width of names where a field stands in a line of its own.
const NAME_WIDTH: usize = 10;

const TEST_USAGE: &str = "auth test [-a <auth socket path>] [-x <auth info>] [-M <master user>] <user> [<password>]";
const LOOKUP_USAGE: &str = "auth lookup [-a <userdb socket path>] [-x <auth info>] [-f field] <user> [<user> [...]]";
const USER_USAGE: &str = "user [-a <userdb socket path>] [-x <auth info>] [-f field] [-e <value>] [-u] <user> [...]";

/// `doveadm auth test`: 0, or `EX_NOPERM` when the login fails.
pub fn test(file: Option<&str>, words: &[String]) -> Status {
    let parsed = match parse("a:x:M:", words, 2, TEST_USAGE) {
        Ok(parsed) => parsed,
        Err(status) => return status,
    };
    let path = match socket(file, &parsed, "auth-client") {
        Ok(path) => path,
        Err(status) => return status,
    };
    let user = &parsed.rest[0];
    let password = match parsed.rest.get(1) {
        Some(password) => Zeroizing::new(password.clone()),
        None => match ask("Password: ") {
            Ok(password) => password,
            Err(problem) => return fatal(Status::DOVECOT_FATAL, &problem),
        },
    };
    let authorization = parsed.value('M').map_or(("", user.as_str()), |master| (user.as_str(), master));
    match login(&path, authorization, &password, &info(&parsed)) {
        Ok(answer) => {
            let outcome = if answer.is_good { "succeeded" } else { "failed" };
            console::line(&format!("passdb: {user} auth {outcome}\nextra fields:"));
            answer.fields.iter().for_each(|field| console::line(&format!("  {field}")));
            if answer.is_good { Status::OK } else { Status::NO_PERMISSION }
        }
        Err(error) => {
            let problem = format!("auth-client: conn unix:{path}: connect({path}) failed: {}", reason(&error));
            console::complain(&format!("Error: {problem}"));
            Status::NO_PERMISSION
        }
    }
}

/// `doveadm auth lookup`: what the password databases say of users, without a password.
pub fn lookup(file: Option<&str>, words: &[String]) -> Status {
    each(file, words, "a:x:f:", LOOKUP_USAGE, |path, parsed, user| {
        let answer = request(path, "PASS", user, &info(parsed))?;
        Ok(show_fields("passdb", user, parsed, answer))
    })
}

/// `doveadm user`: what the user databases say.
pub fn user(file: Option<&str>, words: &[String]) -> Status {
    let conf = match doveconf::load(file) {
        Ok(conf) => conf,
        Err(status) => return status,
    };
    each(file, words, "a:x:f:u", USER_USAGE, |path, parsed, user| {
        let answer = request(path, "USER", user, &info(parsed))?;
        if parsed.has('u') {
            return Ok(show_fields("userdb", user, parsed, answer));
        }
        let is_whole = parsed.value('f').is_none();
        if is_whole {
            console::line("field\tvalue");
        }
        let Answer { is_good: true, fields } = answer else {
            console::complain(&format!("\nuserdb lookup: user {user} doesn't exist"));
            return Ok(Status::NO_USER);
        };
        for (name, value) in complete(fields, user, &|setting| conf.get(setting).to_owned()) {
            match parsed.value('f') {
                None => console::line(&format!("{name}\t{value}")),
                Some(wanted) if wanted == name => console::line(&value),
                Some(_) => {}
            }
        }
        Ok(Status::OK)
    })
}

/// Fields of a user, those first that every user has: where the database says nothing of them, settings do, with variables
/// put in as far as they are known here.
fn complete(fields: Vec<String>, user: &str, setting: &dyn Fn(&str) -> String) -> Vec<(String, String)> {
    let pair =
        |field: &String| field.split_once('=').map_or((field.clone(), String::new()), |(a, b)| (a.into(), b.into()));
    let mut rest: Vec<(String, String)> = fields.iter().map(pair).collect();
    let mut all: Vec<(String, String)> = Vec::new();
    for (name, fallback) in [("uid", "mail_uid"), ("gid", "mail_gid"), ("home", "mail_home"), ("mail", "mail_location")]
    {
        if let Some(place) = rest.iter().position(|(known, _)| known == name) {
            all.push(rest.remove(place));
            continue;
        }
        let home = all.iter().find(|(known, _)| known == "home").map(|(_, home)| home.clone());
        let value = |variable: &str| match variable {
            "user" => Some(user.to_owned()),
            "home" => home.clone(),
            _ => None,
        };
        let vars = Vars { value: &value, environment: &|_| None, md5: None };
        let template = setting(fallback);
        let value = expand(&template, &vars).unwrap_or(template);
        all.extend(Some((name.to_owned(), value)).filter(|(_, value)| !value.is_empty()));
    }
    all.extend(rest);
    all
}

/// Asks about every user that is named; the worst status counts.
fn each(
    file: Option<&str>,
    words: &[String],
    letters: &str,
    usage: &str,
    show: impl Fn(&str, &Parsed, &str) -> io::Result<Status>,
) -> Status {
    let parsed = match parse(letters, words, usize::MAX, usage) {
        Ok(parsed) => parsed,
        Err(status) => return status,
    };
    let path = match socket(file, &parsed, "auth-userdb") {
        Ok(path) => path,
        Err(status) => return status,
    };
    if let Some(mask) = parsed.rest.iter().find(|user| user.contains(['*', '?'])) {
        return fatal(Status::UNAVAILABLE, &format!("listing users ({mask}) is not built yet"));
    }
    let mut worst = Status::OK;
    for user in &parsed.rest {
        let status = show(&path, &parsed, user).unwrap_or_else(|error| {
            let problem = format!("userdb lookup({user}): connect({path}) failed: {}", reason(&error));
            console::complain(&format!("Error: auth-master: {problem}"));
            Status::TEMPORARY
        });
        if status != Status::OK {
            worst = status;
        }
    }
    worst
}

/// Fields in lines of their own.
fn show_fields(kind: &str, user: &str, parsed: &Parsed, answer: Answer) -> Status {
    if !answer.is_good {
        console::complain(&format!("{kind} lookup: user {user} doesn't exist"));
        return Status::NO_USER;
    }
    if parsed.value('f').is_none() {
        console::line(&format!("{kind}: {user}"));
    }
    let own = std::iter::once(format!("user={user}")).filter(|_| !answer.fields.iter().any(|f| f.starts_with("user=")));
    for field in own.chain(answer.fields.iter().cloned()) {
        let (name, value) = field.split_once('=').unwrap_or((&field, ""));
        match parsed.value('f') {
            None => console::line(&format!("  {name:NAME_WIDTH$}: {value}")),
            Some(wanted) if wanted == name => console::line(value),
            Some(_) => {}
        }
    }
    Status::OK
}

fn parse(letters: &str, words: &[String], most: usize, usage: &str) -> Result<Parsed, Status> {
    let usage = |mistake: Option<String>| {
        mistake.iter().for_each(|mistake| console::complain(&format!("doveadm: {mistake}")));
        console::complain(&format!("usage: doveadm [-Dv] [-c <config file>] {usage}"));
        Status::USAGE
    };
    match options::parse(letters, words) {
        Ok(parsed) if (1..=most).contains(&parsed.rest.len()) => Ok(parsed),
        Ok(_) => Err(usage(None)),
        Err(mistake) => Err(usage(Some(mistake))),
    }
}

/// The socket that `-a` names, else that of the name in `base_dir`.
fn socket(file: Option<&str>, parsed: &Parsed, name: &str) -> Result<String, Status> {
    match parsed.value('a') {
        Some(path) => Ok(path.to_owned()),
        None => Ok(format!("{}/{name}", doveconf::load(file)?.get("base_dir").trim_end_matches('/'))),
    }
}

/// The fields that `-x` gives, and the service that asks.
fn info(parsed: &Parsed) -> String {
    let given: Vec<&str> =
        parsed.options.iter().filter(|(letter, _)| *letter == 'x').filter_map(|(_, value)| value.as_deref()).collect();
    let service = if given.iter().any(|field| field.starts_with("service=")) { "" } else { "\tservice=doveadm" };
    let given: String = given.iter().map(|field| format!("\t{}", escaped(field))).collect();
    service.to_owned() + &given
}

/// What the service said of a user.
struct Answer {
    is_good: bool,
    /// `name=value`, or a name alone.
    fields: Vec<String>,
}

/// Logs in by PLAIN; `names` are the user to act for, if that is another, and the one that logs in.
fn login(path: &str, names: (&str, &str), password: &str, info: &str) -> io::Result<Answer> {
    let mut connection = Connection::open(path)?;
    let pid = std::process::id();
    connection.send(&format!("VERSION\t1\t2\nCPID\t{pid}\n"))?;
    while connection.line()? != "DONE" {}
    let response = Zeroizing::new(STANDARD.encode(format!("{}\0{}\0{password}", names.0, names.1)));
    connection.send(&format!("AUTH\t1\tPLAIN{info}\tresp={}\n", response.as_str()))?;
    connection.answer("OK")
}

/// Asks a database.
fn request(path: &str, command: &str, user: &str, info: &str) -> io::Result<Answer> {
    let mut connection = Connection::open(path)?;
    connection.send(&format!("VERSION\t1\t1\n{command}\t1\t{}{info}\n", escaped(user)))?;
    let mut answer = connection.answer(command)?;
    if command == "USER" && answer.is_good && !answer.fields.is_empty() {
        // The name of the user comes first, and bare.
        answer.fields.remove(0);
    }
    Ok(answer)
}

struct Connection(BufReader<UnixStream>);

impl Connection {
    fn open(path: &str) -> io::Result<Connection> {
        let socket = UnixStream::connect(path)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Connection(BufReader::new(socket)))
    }

    fn send(&mut self, lines: &str) -> io::Result<()> {
        self.0.get_mut().write_all(lines.as_bytes())
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        match self.0.read_line(&mut line)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(line.trim_end_matches('\n').to_owned()),
        }
    }

    /// The answer to request 1; what else the service says of itself is passed over.
    fn answer(&mut self, good: &str) -> io::Result<Answer> {
        loop {
            let line = self.line()?;
            let mut words = line.split('\t');
            let (Some(word), Some("1")) = (words.next(), words.next()) else { continue };
            if word == good || ["FAIL", "NOTFOUND"].contains(&word) {
                let fields = words.map(unescaped).collect();
                return Ok(Answer { is_good: word == good, fields });
            }
        }
    }
}

/// Dovecot's escapes for what would end a field: `\001` and a letter.
const ESCAPES: [(char, char); 4] = [('\u{1}', '1'), ('\t', 't'), ('\r', 'r'), ('\n', 'n')];

fn escaped(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    for c in text.chars() {
        match ESCAPES.iter().find(|(plain, _)| *plain == c) {
            Some((_, letter)) => result.extend(['\u{1}', *letter]),
            None => result.push(c),
        }
    }
    result
}

fn unescaped(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        let escape = if c == '\u{1}' { rest.next() } else { None };
        let plain = ESCAPES.iter().find(|(_, letter)| Some(*letter) == escape).map(|(plain, _)| *plain);
        result.push(plain.or(escape).unwrap_or(c));
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    /// A service that reads this many lines, then says these; what it read comes back.
    fn service(
        greeting: &'static str,
        lines: usize,
        answer: &'static str,
    ) -> (tempfile::TempDir, String, std::thread::JoinHandle<String>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("auth").to_string_lossy().into_owned();
        let listener = UnixListener::bind(&path).unwrap();
        let thread = std::thread::spawn(move || {
            let mut socket = BufReader::new(listener.accept().unwrap().0);
            socket.get_mut().write_all(greeting.as_bytes()).unwrap();
            let mut read = String::new();
            for _ in 0..lines {
                socket.read_line(&mut read).unwrap();
            }
            socket.get_mut().write_all(answer.as_bytes()).unwrap();
            read
        });
        (folder, path, thread)
    }

    #[test]
    fn a_login_is_dovecot_s_dialogue() {
        let greeting = "VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nSPID\t7\nCUID\t1\nCOOKIE\tab\nDONE\n";
        for (answer, is_good, field) in
            [("OK\t1\tuser=me\n", true, "user=me"), ("FAIL\t1\tuser=me\n", false, "user=me")]
        {
            let (_folder, path, thread) = service(greeting, 3, answer);
            let said = login(&path, ("", "me"), "secret", "\tservice=doveadm").unwrap();
            assert_eq!((said.is_good, said.fields), (is_good, vec![field.to_owned()]));
            let expected = format!(
                "VERSION\t1\t2\nCPID\t{}\nAUTH\t1\tPLAIN\tservice=doveadm\tresp=AG1lAHNlY3JldA==\n",
                std::process::id()
            );
            assert_eq!(thread.join().unwrap(), expected);
        }
    }

    #[test]
    fn a_user_is_looked_up() {
        let greeting = "VERSION\t1\t2\nSPID\t7\n";
        let (_folder, path, thread) = service(greeting, 2, "USER\t1\tme\tuid=5000\thome=/a\u{1}tb\n");
        let said = request(&path, "USER", "m\te", "").unwrap();
        assert_eq!((said.is_good, said.fields), (true, vec!["uid=5000".to_owned(), "home=/a\tb".to_owned()]));
        assert_eq!(thread.join().unwrap(), "VERSION\t1\t1\nUSER\t1\tm\u{1}te\n");
        let (_folder, path, _) = service(greeting, 2, "NOTFOUND\t1\n");
        assert!(!request(&path, "USER", "me", "").unwrap().is_good);
        let (_folder, path, _) = service(greeting, 2, "");
        assert!(request(&path, "USER", "me", "").is_err());
    }

    #[test]
    fn settings_say_what_the_database_does_not() {
        let setting = |name: &str| {
            match name {
                "mail_uid" => "vmail",
                "mail_home" => "/var/vmail/%d/%n",
                "mail_location" => "maildir:%h/mail:INDEX=/i/%u",
                _ => "",
            }
            .to_owned()
        };
        let shown = |fields: &[&str]| -> Vec<String> {
            let fields = fields.iter().map(|field| (*field).to_owned()).collect();
            complete(fields, "me@a.test", &setting).into_iter().map(|(name, value)| format!("{name} {value}")).collect()
        };
        let home = "home /var/vmail/a.test/me";
        assert_eq!(shown(&[]), ["uid vmail", home, "mail maildir:/var/vmail/a.test/me/mail:INDEX=/i/me@a.test"]);
        let fields = ["quota=1", "home=/h", "gid=7"];
        assert_eq!(
            shown(&fields),
            ["uid vmail", "gid 7", "home /h", "mail maildir:/h/mail:INDEX=/i/me@a.test", "quota 1"]
        );
    }

    #[test]
    fn fields_survive_what_would_end_them() {
        for text in ["plain", "a\tb", "a\nb\r", "\u{1}", "\u{1}t"] {
            assert_eq!(unescaped(&escaped(text)), text);
            assert!(!escaped(text).contains(['\t', '\n']));
        }
    }
}
