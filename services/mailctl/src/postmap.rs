//! `postmap`, `postalias` and `newaliases`: the library's commands with the machine behind them.

use std::io::{self, Write};
use std::sync::Arc;

use nix::unistd::{Gid, Group, Uid, User, getuid, setegid, seteuid, setgroups};
use store_tables::command::{self, Action, Environment, Options, Program};
use store_tables::{NameService, SystemFiles};

use crate::console;
use crate::files::Transport;
use crate::log::Reporter;
use crate::status::Status;

pub const USAGE: &str = "[-Nfinoprsuvw] [-c config_dir] [-d key] [-q key] [map_type:]file...";

/// `postmap`.
pub fn postmap(words: &[String]) -> Status {
    run(Program::Postmap, words)
}

/// `postalias`.
pub fn postalias(words: &[String]) -> Status {
    run(Program::Postalias, words)
}

/// `newaliases`: all tables of `alias_database`.
pub fn newaliases(words: &[String]) -> Status {
    let reporter = Reporter::new("newaliases");
    if !words.is_empty() {
        return reporter.fatal(Status::TEMPORARY, "alias initialization mode requires no recipient");
    }
    match Transport::read(None, &reporter) {
        Ok(transport) => {
            let tables = transport.value("alias_database");
            let tables = tables.split([',', ' ', '\t', '\r', '\n']).filter(|table| !table.is_empty()).collect();
            build(&Options::for_tables(Program::Postalias, tables), &environment(&transport))
        }
        Err(problem) => reporter.fatal(Status::FAILURE, &problem),
    }
}

fn run(program: Program, words: &[String]) -> Status {
    let options = match Options::parse(program, words) {
        Ok(options) => options,
        Err(lines) => {
            lines.iter().for_each(|line| console::complain(line));
            return Status::FAILURE;
        }
    };
    let reporter = Reporter::new(program.name());
    let transport = match Transport::read(options.config_dir.as_deref(), &reporter) {
        Ok(transport) => transport,
        Err(problem) => return reporter.fatal(Status::FAILURE, &problem),
    };
    match options.action {
        Action::Build => build(&options, &environment(&transport)),
        _ => Status(command::run(&options, &environment(&transport), &mut io::stdin().lock(), &mut Output)),
    }
}

/// Builds the tables one by one, each with the rights of its own source's owner: what the one before took on is given back
/// in between. The first that cannot be built ends it.
fn build(options: &Options, environment: &Environment) -> Status {
    for table in &options.tables {
        let mut one = options.clone();
        one.tables = vec![table.clone()];
        let status = command::run(&one, environment, &mut io::empty(), &mut Output);
        if status != 0 {
            return Status(status);
        }
        if environment.privileged
            && let Err(error) = become_root()
        {
            return Reporter::new(options.program.name())
                .fatal(Status::FAILURE, &format!("set effective uid 0: {error}"));
        }
    }
    Status::OK
}

fn environment(transport: &Transport) -> Environment {
    Environment {
        files: Arc::new(SystemFiles),
        names: Arc::new(Accounts),
        default_type: transport.value("default_database_type"),
        privileged: getuid().is_root(),
        become_owner: Arc::new(become_owner),
        report: Arc::new(console::complain),
    }
}

/// Goes on with the rights of an account: what is created then is theirs, and can only be where they may create it. The
/// real uid stays root's, because the next table may have another owner.
fn become_owner(uid: u32, gid: u32) -> io::Result<()> {
    setgroups(&[Gid::from_raw(gid)])?;
    setegid(Gid::from_raw(gid))?;
    seteuid(Uid::from_raw(uid))?;
    Ok(())
}

/// Takes the rights of root back.
fn become_root() -> io::Result<()> {
    seteuid(Uid::from_raw(0))?;
    setegid(Gid::from_raw(0))?;
    Ok(())
}

/// Standard output, which ends the process quietly when its reader has gone.
struct Output;

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        console::print_bytes(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The machine's users and groups, in the form of passwd(5) and group(5).
struct Accounts;

impl NameService for Accounts {
    fn passwd_by_name(&self, user: &str) -> io::Result<Option<String>> {
        let line = |user: User| {
            let (gecos, passwd) =
                (user.gecos.to_string_lossy().into_owned(), user.passwd.to_string_lossy().into_owned());
            let (home, shell) = (user.dir.display().to_string(), user.shell.display().to_string());
            format!("{}:{passwd}:{}:{}:{gecos}:{home}:{shell}", user.name, user.uid, user.gid)
        };
        Ok(User::from_name(user)?.map(line))
    }

    fn group_by_name(&self, group: &str) -> io::Result<Option<String>> {
        let line = |group: Group| {
            let passwd = group.passwd.to_string_lossy().into_owned();
            format!("{}:{passwd}:{}:{}", group.name, group.gid, group.mem.join(","))
        };
        Ok(Group::from_name(group)?.map(line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_have_the_form_of_their_files() {
        let line = Accounts.passwd_by_name("root").unwrap().unwrap();
        assert!(line.starts_with("root:") && line.contains(":0:0:") && line.split(':').count() == 7, "{line}");
        assert!(Accounts.group_by_name("root").unwrap().unwrap().starts_with("root:"));
        assert_eq!(Accounts.passwd_by_name("no such user").unwrap(), None);
    }
}
