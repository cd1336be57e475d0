//! What a start needs in the file system: the binaries, the spool and its lock, sockets that nobody else holds.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Instant;

use ipc_messages::admin::PID_FILE;
use nix::fcntl::{Flock, FlockArg};

use crate::run::{EX_CANTCREAT, EX_TEMPFAIL, StartError};
use crate::table::Table;

/// Where the worker binaries are: beside this one.
pub(crate) fn binaries() -> PathBuf {
    let beside = std::env::current_exe().ok().and_then(|path| path.parent().map(Path::to_path_buf));
    beside.filter(|folder| folder.join("postlogd").exists()).unwrap_or_else(|| "/usr/lib/posthorn".into())
}

pub(crate) fn make_spool(spool: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o755).create(spool)?;
    fs::DirBuilder::new().recursive(true).mode(0o755).create(spool.join("jail"))
}

/// The queue folder belongs to root and the queue's group: `cleanup` and `qmgr` share it, nobody else sees it.
pub(crate) fn make_queue(spool: &Path, table: &Table) -> io::Result<()> {
    use std::os::unix::fs::{PermissionsExt, chown};
    let Some(spec) = table.services.iter().find(|spec| spec.program.queue) else { return Ok(()) };
    let queue = spool.join("queue");
    fs::DirBuilder::new().recursive(true).mode(0o770).create(&queue)?;
    if nix::unistd::geteuid().is_root() {
        chown(&queue, Some(0), spec.account.groups.first().copied())?;
    }
    // setgid: what either makes belongs to the group. No sticky bit: each removes what the other made.
    fs::set_permissions(&queue, fs::Permissions::from_mode(0o2770))
}

/// One master for a spool: the lock on the pid file is held until the process ends, however it ends.
pub(crate) fn lock(spool: &Path) -> Result<Flock<File>, StartError> {
    let path = spool.join(PID_FILE);
    let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o644).open(&path);
    let file = opened.map_err(|error| (EX_CANTCREAT, vec![format!("master: {}: {error}", path.display())]))?;
    let mut lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(mut file, _)| {
        let mut pid = String::new();
        // The number is for the message only.
        let _ = file.read_to_string(&mut pid);
        (EX_TEMPFAIL, vec![format!("master: the mail system is already running as process {}", pid.trim())])
    })?;
    let written = lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id()));
    written.map_err(|error| (EX_CANTCREAT, vec![format!("master: {}: {error}", path.display())]))?;
    Ok(lock)
}

/// Says which sockets somebody else (the real Postfix or Dovecot, say) holds, all at once and before anything is opened.
pub(crate) fn check_free(table: &Table) -> Result<(), StartError> {
    let taken = || -> Vec<String> {
        (table.services.iter().flat_map(|spec| &spec.listeners))
            .filter(|listener| crate::listen::in_use(listener))
            .map(|listener| {
                format!("master: somebody already listens on {} ({}): stop it first", listener.at, listener.name)
            })
            .collect()
    };
    // An instance that was stopped just now lets go in a moment.
    let start = Instant::now();
    while start.elapsed() < crate::listen::PATIENCE && !taken().is_empty() {
        std::thread::sleep(crate::listen::PATIENCE / 20);
    }
    let taken = taken();
    if taken.is_empty() { Ok(()) } else { Err((EX_TEMPFAIL, taken)) }
}
