//! The accounts of the workers: the configured one, else `posthorn-NAME`, else a fixed uid of a reserved range.

use crate::program::PROGRAMS;
use crate::table::Account;

/// First uid and gid of the range for programs without an account: of those that Debian's policy (section 9.2.2) reserves
/// for packages. Each program has the one at its place in [`PROGRAMS`].
const FIRST: u32 = 64_200;
/// The group of the queue folder, when there is no group `posthorn-queue`.
const QUEUE: u32 = 64_199;

/// Accounts, as they are asked for.
pub struct Accounts {
    queue: u32,
}

impl Accounts {
    /// Looks up what all share.
    pub fn new() -> Accounts {
        Accounts { queue: group("posthorn-queue").unwrap_or(QUEUE) }
    }

    /// The account of a program for which nothing is configured.
    pub fn of(&mut self, program: &str) -> Account {
        let place = PROGRAMS.iter().position(|other| other.name == program).unwrap_or(PROGRAMS.len()) as u32;
        let (uid, gid) = user(&format!("posthorn-{program}")).unwrap_or((FIRST + place, FIRST + place));
        let queue = PROGRAMS.iter().any(|other| other.name == program && other.queue);
        Account { uid, gid, groups: if queue { vec![self.queue] } else { Vec::new() } }
    }

    /// The account `name` when the system has it, else that of the program.
    pub fn configured(&mut self, name: &str, program: &str) -> Account {
        match user(name) {
            Some((uid, gid)) if uid != 0 => Account { uid, gid, ..self.of(program) },
            _ => self.of(program),
        }
    }
}

/// uid and gid of an account.
pub fn user(name: &str) -> Option<(u32, u32)> {
    if let Ok(uid) = name.parse() {
        return Some((uid, uid));
    }
    ipc_jail::sys::account(name).ok().flatten()
}

/// gid of a group.
pub fn group(name: &str) -> Option<u32> {
    name.parse().ok().or_else(|| nix::unistd::Group::from_name(name).ok().flatten().map(|group| group.gid.as_raw()))
}
