//! `doveconf` (doveconf(1)).
//!
//! What differs: `-f` is for named settings, and there is one table of settings, so that `-m` and `-N` have no meaning and
//! are refused, as are `-p`, `-x` and `-S`, which serve Dovecot's own programs.

use std::net::IpAddr;

use ipc_config::diagnostic::{Diagnostics, Severity};
use ipc_config::dovecot::check;
use ipc_config::dovecot::doveconf::{Header, What, complaint, print, print_one};
use ipc_config::dovecot::files::Machine;
use ipc_config::dovecot::settings::{Connection, DovecotConf};
use ipc_config::dovecot::table::Scope;

use crate::console::{self, reason};
use crate::files::dovecot_conf;
use crate::log::Reporter;
use crate::options::{self, Parsed};
use crate::status::Status;

pub const USAGE: &str = "[-adnhP] [-c <config file>] [-f <filter>] [<setting>...]";

/// The version of Dovecot whose settings these are, and who reads them.
pub fn version() -> String {
    format!("2.3.19.1 (Posthorn {})", env!("CARGO_PKG_VERSION"))
}

/// Runs it.
pub fn run(words: &[String]) -> Status {
    let parsed = match options::parse("ac:df:hm:nNpPSx", words) {
        Ok(parsed) => parsed,
        Err(mistake) => {
            console::complain(&format!("doveconf: {mistake}"));
            return Status::DOVECOT_FATAL;
        }
    };
    if let Some(letter) = "mNpSx".chars().find(|letter| parsed.has(*letter)) {
        return fatal(&format!("-{letter} is not built"));
    }
    show(&parsed).unwrap_or_else(|status| status)
}

/// What `dovecot -n` and `dovecot -a` print.
pub fn whole(what: What, file: Option<&str>) -> Status {
    let letter = if what == What::Changed { 'n' } else { 'a' };
    let mut parsed = Parsed { options: vec![(letter, None)], rest: Vec::new() };
    parsed.options.extend(file.map(|file| ('c', Some(file.to_owned()))));
    show(&parsed).unwrap_or_else(|status| status)
}

/// Reads and checks a configuration. What it warns of is what Dovecot warns of: the rest is for `mailctl check`.
///
/// # Errors
/// Why it is refused has been said.
pub fn load(file: Option<&str>) -> Result<DovecotConf, Status> {
    let path = dovecot_conf(file);
    let (conf, found) = DovecotConf::read(&path, &Machine)
        .map_err(|error| fatal(&format!("open({}) failed: {}", path.display(), reason(&error))))?;
    let mut all = Diagnostics::new();
    found.iter().filter(|finding| finding.severity == Severity::Warning).for_each(|finding| all.push(finding.clone()));
    if found.is_fatal() {
        all = found;
    } else {
        let mut errors = Diagnostics::new();
        check::check(&conf, &Machine, &mut errors);
        errors.iter().filter(|one| one.severity == Severity::Error).for_each(|one| all.push(one.clone()));
    }
    all.iter().filter(|finding| finding.severity != Severity::Note).for_each(|one| console::complain(&complaint(one)));
    if all.is_fatal() { Err(Status::DOVECOT_FATAL) } else { Ok(conf) }
}

fn show(parsed: &Parsed) -> Result<Status, Status> {
    let file = parsed.value('c');
    let what = if parsed.has('n') { What::Changed } else { What::All };
    let conf = || if parsed.has('d') { defaults() } else { load(file) };
    if !parsed.rest.is_empty() {
        return named(parsed, &conf()?, what);
    }
    if parsed.has('f') {
        return Err(fatal("-f is built for named settings only"));
    }
    let (version, system) = (version(), system());
    let conf = conf().inspect_err(|_| console::line(&format!("# {version}: {}", dovecot_conf(file).display())))?;
    let host = nix::unistd::gethostname().unwrap_or_default().to_string_lossy().into_owned();
    let header = Header { program: &version, system: &system, hostname: &host };
    console::print(&print(&conf, what, &header, parsed.has('P')));
    Ok(Status::OK)
}

/// Prints single settings or blocks.
fn named(parsed: &Parsed, conf: &DovecotConf, what: What) -> Result<Status, Status> {
    let filters = parsed.options.iter().filter(|(letter, _)| *letter == 'f');
    let filters: Vec<&str> = filters.filter_map(|(_, value)| value.as_deref()).collect();
    let connection = connection(&filters).map_err(|problem| fatal(&problem))?;
    for name in &parsed.rest {
        let line = match (filters.is_empty(), Scope::Root.find(name)) {
            (false, Some(_)) => {
                let value = conf.for_connection(&connection).get(name);
                if parsed.has('h') { format!("{value}\n") } else { format!("{name} = {value}\n") }
            }
            _ => print_one(conf, name, what, parsed.has('h')),
        };
        console::print(&line);
    }
    Ok(Status::OK)
}

/// The connection that filters describe: `protocol=imap`, `lname=host`, `local=address`, `remote=address`.
fn connection<'a>(filters: &[&'a str]) -> Result<Connection<'a>, String> {
    let mut connection = Connection::default();
    for filter in filters {
        let unknown = || format!("Unknown filter argument: {filter}");
        let (name, value) = filter.split_once('=').ok_or_else(unknown)?;
        let address = || value.parse::<IpAddr>().map_err(|_| format!("Invalid IP address: {value}"));
        match name {
            "protocol" | "service" => connection.protocol = Some(value),
            "lname" => connection.local_name = Some(value),
            "local" => connection.local = Some(address()?),
            "remote" => connection.remote = Some(address()?),
            _ => return Err(unknown()),
        }
    }
    Ok(connection)
}

/// A configuration in which nothing is set.
fn defaults() -> Result<DovecotConf, Status> {
    let empty = std::path::Path::new("/dev/null");
    let (conf, _) = DovecotConf::read(empty, &Machine).map_err(|error| fatal(&reason(&error)))?;
    Ok(conf)
}

fn fatal(text: &str) -> Status {
    Reporter::new("doveconf").dovecot_fatal(text)
}

/// What `doveconf` says of the machine: `Linux 6.1.0 x86_64 Debian 12.11`.
fn system() -> String {
    let Ok(name) = nix::sys::utsname::uname() else { return String::new() };
    let word = |text: &std::ffi::OsStr| text.to_string_lossy().into_owned();
    let debian = std::fs::read_to_string("/etc/debian_version").map(|text| format!(" Debian {}", text.trim_end()));
    format!("{} {} {}{}", word(name.sysname()), word(name.release()), word(name.machine()), debian.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_describe_a_connection() {
        let made = connection(&["protocol=imap", "remote=10.0.0.1", "lname=a.example"]).unwrap();
        assert_eq!((made.protocol, made.local_name, made.local), (Some("imap"), Some("a.example"), None));
        assert_eq!(made.remote, "10.0.0.1".parse().ok());
        assert_eq!(connection(&["foo"]).err(), Some("Unknown filter argument: foo".into()));
        assert_eq!(connection(&["local=x"]).err(), Some("Invalid IP address: x".into()));
    }
}
