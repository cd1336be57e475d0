//! nss: passwd and group, through the system's libc and whatever modules `/etc/nsswitch.conf` names. It sees no network
//! byte; its callers (`trivial-rewrite`, `auth`) send names, at most [`MAX_NAME`] bytes each, and get lines.
//!
//! Its jail differs from every other in two things, because the modules of libc open files and sockets by path wherever
//! they like: its root is the system's, and it may make unix sockets (nscd, sssd, nslcd, systemd-userdbd). Landlock lets it
//! read beneath `/etc` and the modules' own folders and nothing else, write nowhere; its account owns no file, so
//! `/etc/shadow` and its like stay closed; it has no Internet socket, so a module that itself speaks to a directory server
//! (the old nss_ldap, NIS) does not work: nslcd or sssd do that. Memory that is both new and executable stays forbidden:
//! the modules are loaded before the jail, by one look-up of a name that nobody has. A module that is added to
//! nsswitch.conf later is taken up when this process is started anew.
//!
//! A look-up may wait for another process, so each runs on the pool; nothing is cached here. When more wait than the pool
//! takes, the answer is a temporary failure.

use std::collections::BTreeSet;
use std::process::ExitCode;

use ipc_config::section::Section;
use ipc_messages::lookup::{FromNameService, ToNameService};
use nix::unistd::{Group, User};
use worker::{Calls, Cx, Frame, Peer, PeerId, Service, Setup, StartError};

/// The longest name that is looked up, in bytes; a longer one is nobody's.
const MAX_NAME: usize = 255;
/// The longest line of an answer: a group of thousands would not fit a frame.
const MAX_LINE: usize = 32 * 1024;
/// Look-ups at once.
const THREADS: usize = 4;

fn main() -> ExitCode {
    worker::run::<NameService>()
}

struct NameService {
    askers: BTreeSet<PeerId>,
}

/// A finished look-up.
struct Found {
    asker: PeerId,
    corr: u32,
    line: Result<Option<String>, String>,
}

impl Service for NameService {
    const NAME: &'static str = "nss";
    const CALLS: Calls = Calls {
        accept: false,
        connect: false,
        files: true,
        threads: true,
        fork: false,
        memfd: false,
        notify: false,
        narrow: false,
    };
    type Section = Section;
    type Opened = ();
    type Done = Found;

    /// Has libc load its modules. What the look-ups find does not matter, and an error comes again with the first question.
    fn pre_jail(_: &Section, _: &mut Setup) -> Result<(), StartError> {
        let nobody = "posthorn name of nobody";
        let _ = (User::from_name(nobody), Group::from_name(nobody));
        Ok(())
    }

    fn start(_: Section, (): (), _: Setup, cx: &mut Cx<Found>) -> Result<NameService, StartError> {
        cx.set_threads(THREADS);
        Ok(NameService { askers: BTreeSet::new() })
    }

    fn peer_up(&mut self, _: &mut Cx<Found>, id: PeerId, _: &Peer) {
        self.askers.insert(id);
    }

    fn peer_down(&mut self, _: &mut Cx<Found>, id: PeerId, _: &Peer) {
        self.askers.remove(&id);
    }

    fn frame(&mut self, cx: &mut Cx<Found>, asker: PeerId, frame: Frame) {
        let question = match frame.decode() {
            Ok((question, _)) => question,
            Err(error) => return cx.broken(asker, error),
        };
        let (ToNameService::User { corr, .. }
        | ToNameService::Account { corr, .. }
        | ToNameService::Group { corr, .. }) = question;
        let job = Box::new(move || Found { asker, corr, line: line(&question) });
        if cx.run(job).is_err() {
            self.answer(cx, Found { asker, corr, line: Err("too many look-ups wait for the name service".into()) });
        }
    }

    fn done(&mut self, cx: &mut Cx<Found>, found: Found) {
        self.answer(cx, found);
    }

    /// Nothing is configured here.
    fn reload(&mut self, _: &mut Cx<Found>, _: Section) {}
}

impl NameService {
    fn answer(&self, cx: &mut Cx<Found>, found: Found) {
        if !self.askers.contains(&found.asker) {
            return;
        }
        let answer = FromNameService::Entry { corr: found.corr, line: found.line };
        if cx.send(found.asker, &answer, Vec::new()).is_err() {
            // It does not read what it asked for.
            cx.drop_peer(found.asker);
        }
    }
}

/// Looks a name up. Blocks.
fn line(question: &ToNameService) -> Result<Option<String>, String> {
    let is_name = |name: &str| !name.is_empty() && name.len() <= MAX_NAME && !name.contains('\0');
    let line = match question {
        ToNameService::User { name, .. } if is_name(name) => User::from_name(name).map(|user| user.map(user_line)),
        ToNameService::Group { name, .. } if is_name(name) => Group::from_name(name).map(|group| group.map(group_line)),
        ToNameService::Account { uid, .. } => User::from_uid((*uid).into()).map(|user| user.map(user_line)),
        ToNameService::User { .. } | ToNameService::Group { .. } => return Ok(None),
    };
    match line {
        Ok(Some(line)) if line.len() > MAX_LINE => Err(format!("an entry is longer than {MAX_LINE} bytes")),
        Ok(line) => Ok(line),
        Err(error) => Err(error.desc().to_owned()),
    }
}

/// `passwd(5)`, without the password.
fn user_line(user: User) -> String {
    let (uid, gid) = (user.uid, user.gid);
    let (gecos, home, shell) = (user.gecos.to_string_lossy(), user.dir.display(), user.shell.display());
    format!("{}:x:{uid}:{gid}:{gecos}:{home}:{shell}", user.name)
}

/// `group(5)`, without the password.
fn group_line(group: Group) -> String {
    format!("{}:x:{}:{}", group.name, group.gid, group.mem.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> Result<Option<String>, String> {
        line(&ToNameService::User { corr: 0, name: name.into() })
    }

    #[test]
    fn lines_of_the_systems_own_accounts() {
        let root = user("root").unwrap().unwrap();
        assert!(root.starts_with("root:x:0:0:"), "{root}");
        assert_eq!(root.split(':').count(), 7, "{root}");
        let group = line(&ToNameService::Group { corr: 0, name: "root".into() }).unwrap().unwrap();
        assert!(group.starts_with("root:x:0:"), "{group}");
    }

    #[test]
    fn names_that_nobody_has() {
        for name in ["", "no\0body", "nobody of this name", &"x".repeat(MAX_NAME + 1)] {
            assert_eq!(user(name), Ok(None), "{name:?}");
        }
    }
}
