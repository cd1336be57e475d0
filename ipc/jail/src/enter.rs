//! The steps into the jail, one function each.

use std::fmt;
use std::io;

use caps::CapSet;
use nix::sys::resource::{Resource, setrlimit};
use nix::unistd::{Gid, Uid};

use crate::filter::{self, Calls};
use crate::paths::{self, Grant};
use crate::{Jail, sys};

/// One step into the jail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Limits on memory, descriptors and core files.
    Limits,
    /// The process's own folder becomes its root.
    Chroot,
    /// The bounding set is emptied while the capability to do so is still there.
    BoundingSet,
    /// Supplementary groups, gid, then uid: each needs what the next one gives away.
    Ids,
    /// Every capability set is empty.
    Capabilities,
    /// No `ptrace`, no core file, `/proc/PID` owned by root.
    Undumpable,
    /// No exec can gain anything; Landlock and seccomp ask for it.
    NoNewPrivileges,
    /// Files: only beneath the granted folders.
    Landlock,
    /// System calls: only those of the service. Last, for the steps above need more.
    Seccomp,
}

/// The order in which [`enter`] takes the steps.
pub const STEPS: [Step; 9] = [
    Step::Limits,
    Step::Chroot,
    Step::BoundingSet,
    Step::Ids,
    Step::Capabilities,
    Step::Undumpable,
    Step::NoNewPrivileges,
    Step::Landlock,
    Step::Seccomp,
];

/// A step that failed, and why.
#[derive(Debug)]
pub struct JailError {
    /// The step.
    pub step: Step,
    /// What the system said.
    pub source: io::Error,
}

impl fmt::Display for JailError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "jail: {:?}: {}", self.step, self.source)
    }
}

impl std::error::Error for JailError {}

/// What [`enter`] left out, and why. Empty under root on a kernel that has every layer.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Entered {
    /// The steps left out, each with its reason.
    pub left_out: Vec<(Step, &'static str)>,
}

/// Takes every step, in the order of [`STEPS`]. `grants` are folders that the process has opened, `calls` the system calls
/// that its service needs.
///
/// # Errors
/// The first step that failed; the process must end then, since it is in half a jail.
pub fn enter(jail: &Jail, grants: &[Grant], calls: Calls) -> Result<Entered, JailError> {
    let root = Uid::effective().is_root();
    let mut entered = Entered::default();
    for step in STEPS {
        let needs_root = matches!(step, Step::Chroot | Step::BoundingSet | Step::Ids);
        if needs_root && !root {
            entered.left_out.push((step, "it needs root"));
            continue;
        }
        let result = match step {
            Step::Limits => limits(jail),
            Step::Chroot => {
                nix::unistd::chroot(&jail.root).and_then(|()| nix::unistd::chdir("/")).map_err(io::Error::from)
            }
            Step::BoundingSet => caps::clear(None, CapSet::Bounding).map_err(io::Error::other),
            Step::Ids => ids(jail),
            Step::Capabilities => capabilities(),
            Step::Undumpable => nix::sys::prctl::set_dumpable(false).map_err(io::Error::from),
            Step::NoNewPrivileges => nix::sys::prctl::set_no_new_privs().map_err(io::Error::from),
            Step::Landlock => {
                let restricted = paths::restrict(grants);
                restricted.and_then(|done| landlock(done, jail.without_landlock)).map(|left_out| {
                    entered.left_out.extend(left_out.map(|why| (step, why)));
                })
            }
            Step::Seccomp => filter::install_with(calls, jail.local_sockets),
        };
        result.map_err(|source| JailError { step, source })?;
    }
    Ok(entered)
}

/// Whether the kernel's answer to the Landlock step will do: `Some` reason for which it is left out.
fn landlock(done: bool, without: bool) -> io::Result<Option<&'static str>> {
    match (done, without) {
        (true, _) => Ok(None),
        (false, true) => Ok(Some("this kernel has no Landlock, and the configuration allows that")),
        (false, false) => Err(io::Error::new(io::ErrorKind::Unsupported, "this kernel has no Landlock")),
    }
}

/// Makes the jail of this process narrower: of the files it may touch only those beneath `grants` remain, and of the system
/// calls only `calls`. For the child of a template, which has [`Calls::narrow`]; what was forbidden before stays forbidden,
/// and `calls` without `narrow` make this the last time. A kernel without Landlock was accepted when the template entered.
///
/// # Errors
/// The step that failed; the process must end then.
pub fn narrow(grants: &[Grant], calls: Calls) -> Result<(), JailError> {
    paths::restrict(grants).map_err(|source| JailError { step: Step::Landlock, source })?;
    filter::install(calls).map_err(|source| JailError { step: Step::Seccomp, source })
}

fn limits(jail: &Jail) -> io::Result<()> {
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    // Raising a hard limit needs a capability that even root may lack (in a container); what there is must do then.
    let (_, hard) = nix::sys::resource::getrlimit(Resource::RLIMIT_NOFILE)?;
    if setrlimit(Resource::RLIMIT_NOFILE, jail.max_files, jail.max_files).is_err() {
        let files = jail.max_files.min(hard);
        setrlimit(Resource::RLIMIT_NOFILE, files, files)?;
    }
    if let Some(bytes) = jail.max_memory {
        setrlimit(Resource::RLIMIT_AS, bytes, bytes)?;
    }
    Ok(())
}

/// Root's own mailbox is the one case in which a worker keeps uid 0; it has no capability then.
fn ids(jail: &Jail) -> io::Result<()> {
    let groups: Vec<Gid> = jail.groups.iter().map(|&gid| Gid::from_raw(gid)).collect();
    let (uid, gid) = (Uid::from_raw(jail.uid), Gid::from_raw(jail.gid));
    nix::unistd::setgroups(&groups)?;
    nix::unistd::setresgid(gid, gid, gid)?;
    nix::unistd::setresuid(uid, uid, uid)?;
    let back = jail.uid != 0 && sys::can_become_root();
    if back { Err(io::Error::other("root could be had back after the uid was changed")) } else { Ok(()) }
}

fn capabilities() -> io::Result<()> {
    for set in [CapSet::Ambient, CapSet::Effective, CapSet::Permitted, CapSet::Inheritable] {
        caps::clear(None, set).map_err(io::Error::other)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_without_landlock_will_do_only_where_the_configuration_says_so() {
        assert_eq!(landlock(true, false).unwrap(), None);
        assert!(landlock(false, true).unwrap().is_some());
        assert_eq!(landlock(false, false).unwrap_err().kind(), io::ErrorKind::Unsupported);
    }

    /// Each step needs what a later one takes away, so their order is part of the contract.
    #[test]
    fn the_order_of_the_steps() {
        let at = |step| STEPS.iter().position(|&s| s == step).unwrap();
        assert!(at(Step::Limits) < at(Step::Ids), "raising a hard limit needs root");
        assert!(at(Step::Chroot) < at(Step::Ids), "chroot needs CAP_SYS_CHROOT");
        assert!(at(Step::BoundingSet) < at(Step::Ids), "emptying the bounding set needs CAP_SETPCAP");
        assert!(at(Step::Ids) < at(Step::Capabilities), "setuid needs CAP_SETUID");
        assert!(at(Step::Ids) < at(Step::Undumpable), "a change of uid sets the dumpable flag anew");
        assert!(at(Step::NoNewPrivileges) < at(Step::Landlock));
        assert_eq!(STEPS.last(), Some(&Step::Seccomp));
    }
}
