//! Landlock: which folders a worker may touch, and how.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use landlock::Access as _;
use landlock::{
    ABI, AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetStatus, Scope,
};

/// The Landlock version that the rules are written for; older kernels enforce what they know of it.
const VERSION: ABI = ABI::V6;

/// What may be done beneath a granted folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Read files and folders.
    Read,
    /// Read, write, create, rename, link and remove files and folders.
    Write,
}

/// A folder that was opened before the jail, and what may be done beneath it.
#[derive(Debug)]
pub struct Grant {
    /// The folder (or a single file).
    pub folder: OwnedFd,
    /// What may be done there.
    pub access: Access,
}

impl Access {
    fn flags(self) -> BitFlags<AccessFs> {
        let read = AccessFs::ReadFile | AccessFs::ReadDir;
        let write = AccessFs::WriteFile
            | AccessFs::ReadDir
            | AccessFs::MakeDir
            | AccessFs::MakeReg
            | AccessFs::RemoveDir
            | AccessFs::RemoveFile
            | AccessFs::Refer
            | AccessFs::Truncate;
        match self {
            Access::Read => read,
            Access::Write => read | write,
        }
    }
}

/// Denies every access to files that `grants` do not allow, every TCP bind and connect that needs a port rule left aside
/// (seccomp decides about sockets), and signals and abstract sockets outside the process's own domain. Returns whether the
/// kernel has Landlock.
pub(crate) fn restrict(grants: &[Grant]) -> io::Result<bool> {
    let rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(VERSION))
        .and_then(|rules| rules.scope(Scope::AbstractUnixSocket | Scope::Signal))
        .and_then(Ruleset::create)
        .map_err(io::Error::other)?;
    let mut rules = rules;
    for grant in grants {
        let mut flags = grant.access.flags();
        if !is_folder(grant)? {
            flags &= AccessFs::from_file(VERSION);
        }
        rules = rules.add_rule(PathBeneath::new(grant.folder.as_fd(), flags)).map_err(io::Error::other)?;
    }
    let status = rules.restrict_self().map_err(io::Error::other)?;
    Ok(status.ruleset != RulesetStatus::NotEnforced)
}

fn is_folder(grant: &Grant) -> io::Result<bool> {
    let stat = nix::sys::stat::fstat(grant.folder.as_fd())?;
    Ok(nix::sys::stat::SFlag::from_bits_truncate(stat.st_mode & nix::libc::S_IFMT) == nix::sys::stat::SFlag::S_IFDIR)
}
