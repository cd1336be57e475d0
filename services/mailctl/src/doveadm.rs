//! `doveadm` (doveadm(1)): `reload`, `stop`, `pw`, `config`, `log reopen`, `service status`. Every other command of Dovecot's
//! is refused by its name.

use std::io::{self, IsTerminal, Read};
use std::os::fd::AsFd;

use ipc_messages::admin::{HalfName, Request};
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use store_passwords::pw;
use zeroize::Zeroizing;

use crate::console::{self, reason};
use crate::control::Reply;
use crate::doveconf;
use crate::dovecot::instance_folder;
use crate::instance::Instance;
use crate::options;
use crate::status::Status;

pub const USAGE: &str = "[-Dv] [-c <config file>] <command> [<args>]";

const HELP: &str = "usage: doveadm [-Dv] [-c <config file>] <command> [<args>]

  config       [doveconf parameters]
  log          reopen
  pw           [-l] [-p password] [-r rounds] [-s scheme] [-t hash] [-V]
  reload
  service      status
  stop
";

/// Commands of Dovecot that are not built.
const NOT_BUILT: [&str; 25] = [
    "acl",
    "altmove",
    "auth",
    "backup",
    "batch",
    "copy",
    "deduplicate",
    "dict",
    "director",
    "dump",
    "exec",
    "expunge",
    "fetch",
    "flags",
    "force-resync",
    "fs",
    "import",
    "index",
    "instance",
    "kick",
    "mailbox",
    "move",
    "purge",
    "quota",
    "search",
];
/// The longest password that is read.
const MAX_PASSWORD: usize = 4096;

/// Runs it.
pub fn run(words: &[String]) -> Status {
    let parsed = match options::parse("Dvc:f:o:", words) {
        Ok(parsed) => parsed,
        Err(mistake) => return usage(Some(&mistake)),
    };
    if let Some(letter) = ['f', 'o'].into_iter().find(|letter| parsed.has(*letter)) {
        return fatal(Status::UNAVAILABLE, &format!("-{letter} is not built yet"));
    }
    let file = parsed.value('c');
    let words: Vec<&str> = parsed.rest.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["pw", ..] => password(&parsed.rest[1..]),
        ["config", ..] => doveconf::run(&parsed.rest[1..]),
        ["reload"] => act(file, |instance| instance.ask(&Request::Reload(Some(HalfName::Mailbox)))),
        ["stop"] => act(file, |instance| instance.stop(Some(HalfName::Mailbox))),
        ["log", "reopen"] => act(file, |instance| instance.ask(&Request::Reopen)),
        ["service", "status", names @ ..] => services(file, names),
        [name, ..] if NOT_BUILT.contains(name) || ["log", "service"].contains(name) => {
            fatal(Status::UNAVAILABLE, &format!("the command '{}' is not built yet", words.join(" ")))
        }
        _ => usage(None),
    }
}

fn usage(mistake: Option<&str>) -> Status {
    if let Some(mistake) = mistake {
        console::complain(&format!("doveadm: {mistake}"));
    }
    console::complain(HELP.trim_end());
    Status::USAGE
}

fn fatal(status: Status, text: &str) -> Status {
    console::complain(&format!("Fatal: {text}"));
    status
}

/// The instance, if its mailbox half runs.
fn running(file: Option<&str>) -> Result<Instance, Status> {
    let folder = instance_folder(file).map_err(|problem| fatal(Status::DOVECOT_FATAL, &problem))?;
    let conf = doveconf::load(file)?;
    let instance = Instance::new(folder.as_deref());
    match instance.running() {
        Ok(halves) if halves.contains(&HalfName::Mailbox) => Ok(instance),
        Ok(_) => {
            let folder = conf.get("base_dir").trim_end_matches('/');
            Err(fatal(Status::TEMPORARY, &format!("Dovecot is not running (read from {folder}/master.pid)")))
        }
        Err(error) => Err(fatal(Status::TEMPORARY, &reason(&error))),
    }
}

fn act(file: Option<&str>, act: impl FnOnce(&Instance) -> io::Result<Reply>) -> Status {
    let instance = match running(file) {
        Ok(instance) => instance,
        Err(status) => return status,
    };
    match act(&instance) {
        Ok(reply) => reply.result.map_or(Status::OK, |reason| fatal(Status::TEMPORARY, &reason)),
        Err(error) => fatal(Status::TEMPORARY, &reason(&error)),
    }
}

/// `doveadm service status [name...]`, with the fields that there are here.
fn services(file: Option<&str>, names: &[&str]) -> Status {
    let instance = match running(file) {
        Ok(instance) => instance,
        Err(status) => return status,
    };
    let reply = match instance.ask(&Request::Services) {
        Ok(reply) => reply,
        Err(error) => return fatal(Status::TEMPORARY, &reason(&error)),
    };
    let wanted = |name: &str| names.is_empty() || names.contains(&name);
    let blocks: Vec<String> = reply
        .services
        .iter()
        .filter(|row| row.half == "mailbox" && wanted(&row.name))
        .map(|row| {
            format!(
                "name: {}\nprocess_count: {}\nprocess_limit: {}\nclient_limit: {}\nlistening: {}\n",
                row.name,
                row.pids.len(),
                row.limit,
                row.client_limit,
                if row.throttled { 'n' } else { 'y' }
            )
        })
        .collect();
    console::print(&blocks.join("\n"));
    Status::OK
}

/// `doveadm pw`.
fn password(words: &[String]) -> Status {
    let parsed = match options::parse("lp:r:s:t:u:V", words) {
        Ok(parsed) => parsed,
        Err(mistake) => {
            console::complain(&format!("pw: {mistake}"));
            return Status::USAGE;
        }
    };
    if !parsed.rest.is_empty() {
        console::complain(&format!("Error: Extraneous arguments found: {}", parsed.rest.join(" ")));
        return Status::USAGE;
    }
    let rounds = match parsed.value('r').map_or(Ok(0), str::parse) {
        Ok(rounds) => rounds,
        Err(_) => return fatal(Status::USAGE, "pw: -r wants a number"),
    };
    let options = pw::Options {
        list: parsed.has('l'),
        plaintext: parsed.value('p').map(|text| Zeroizing::new(text.to_owned())),
        rounds,
        scheme: parsed.value('s').map(str::to_owned),
        test_hash: parsed.value('t').map(str::to_owned),
        reverse_verify: parsed.has('V'),
    };
    match pw::run(&options, &mut ask) {
        Ok(line) => {
            console::line(&line);
            Status::OK
        }
        Err(problem) => fatal(Status::TEMPORARY, &problem),
    }
}

/// Reads one line without echo where a terminal is; the prompt is for a terminal only.
fn ask(prompt: &str) -> Result<Zeroizing<String>, String> {
    let silent = Silent::new();
    if silent.is_some() {
        eprint!("{prompt}");
    }
    let mut line = Zeroizing::new(Vec::with_capacity(MAX_PASSWORD));
    // Byte by byte: what follows the line belongs to whoever reads next.
    for byte in std::io::stdin().lock().bytes() {
        match byte.map_err(|error| format!("read(stdin) failed: {}", reason(&error)))? {
            b'\n' | b'\r' => break,
            _ if line.len() == MAX_PASSWORD => return Err("Password is too long".into()),
            byte => line.push(byte),
        }
    }
    if silent.is_some() {
        console::complain("");
    }
    String::from_utf8(line.to_vec()).map(Zeroizing::new).map_err(|_| "Password is not valid UTF-8".into())
}

/// A terminal that does not echo, for as long as this lives.
struct Silent(Termios);

impl Silent {
    /// `None` when standard input is no terminal.
    fn new() -> Option<Silent> {
        let input = std::io::stdin();
        if !input.is_terminal() {
            return None;
        }
        let before = tcgetattr(input.as_fd()).ok()?;
        let mut quiet = before.clone();
        quiet.local_flags.remove(LocalFlags::ECHO);
        tcsetattr(input.as_fd(), SetArg::TCSAFLUSH, &quiet).ok()?;
        Some(Silent(before))
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        // The terminal has gone when this fails, and with it whoever could miss the echo.
        let _ = tcsetattr(std::io::stdin().as_fd(), SetArg::TCSANOW, &self.0);
    }
}
