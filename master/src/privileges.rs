//! What the master keeps of root's capabilities: [`NEEDED`], in its permitted, effective and bounding sets. No process that it
//! starts can have another one, before its jail or by any exec; inside the jail a worker has none.

use std::io;

use caps::{CapSet, Capability, CapsHashSet};

/// Every capability that is kept, with what takes it.
pub const NEEDED: [Capability; 10] = [
    // Workers change to the uid and gid, and to the groups, of their account.
    Capability::CAP_SETUID,
    Capability::CAP_SETGID,
    // Workers empty their bounding set.
    Capability::CAP_SETPCAP,
    // Workers change their root.
    Capability::CAP_SYS_CHROOT,
    // Sockets and the queue folder belong to the accounts that the configuration names.
    Capability::CAP_CHOWN,
    // The queue folder is setgid for a group that the master is not in: without this chmod(2) clears the bit.
    Capability::CAP_FSETID,
    // Mail folders, password folders, keys and log files are opened for workers, whoever owns them and the way there; sockets
    // are made in folders of other accounts (`/var/spool/postfix/private`).
    Capability::CAP_DAC_OVERRIDE,
    // Ports below 1024, at a reload as well.
    Capability::CAP_NET_BIND_SERVICE,
    // Workers that do not answer are ended; they have other uids.
    Capability::CAP_KILL,
    // Workers that hold many connections or messages may have more descriptors than the master's own hard limit.
    Capability::CAP_SYS_RESOURCE,
];

/// Gives up all others. Without root there is nothing to give up.
///
/// # Errors
/// What the system says; the master must not go on then.
pub fn keep_needed() -> io::Result<()> {
    if nix::unistd::geteuid().is_root() { keep(&NEEDED) } else { Ok(()) }
}

/// Gives up every capability, for a process of the master's own that only waits for signals.
///
/// # Errors
/// As for [`keep_needed`].
pub fn keep_none() -> io::Result<()> {
    if nix::unistd::geteuid().is_root() { keep(&[]) } else { Ok(()) }
}

fn keep(needed: &[Capability]) -> io::Result<()> {
    let failed = |error: caps::errors::CapsError| io::Error::other(error.to_string());
    // The bounding set first: emptying it takes a capability that may go with the others.
    for capability in caps::read(None, CapSet::Bounding).map_err(failed)? {
        if !needed.contains(&capability) {
            caps::drop(None, CapSet::Bounding, capability).map_err(failed)?;
        }
    }
    // In a container root may have fewer than it needs; what then cannot be done says so where it is done.
    let held = caps::read(None, CapSet::Permitted).map_err(failed)?;
    let kept: CapsHashSet = held.into_iter().filter(|capability| needed.contains(capability)).collect();
    for (set, capabilities) in [
        (CapSet::Ambient, &CapsHashSet::new()),
        (CapSet::Inheritable, &CapsHashSet::new()),
        (CapSet::Effective, &kept),
        (CapSet::Permitted, &kept),
    ] {
        caps::set(None, set, capabilities).map_err(failed)?;
    }
    Ok(())
}
