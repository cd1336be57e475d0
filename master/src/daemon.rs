//! Becoming a daemon.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

/// Which of the two processes this is.
pub(crate) enum Daemon {
    /// The daemon, and where it tells its exit status or success.
    Child(UnixStream),
    /// The command, and its exit status.
    Parent(ExitCode),
}

/// Forks; the parent waits until the daemon says how its start went.
pub(crate) fn daemonise() -> io::Result<Daemon> {
    let (mut ours, theirs) = UnixStream::pair()?;
    match ipc_jail::sys::fork()? {
        Some(_) => {
            drop(theirs);
            let mut code = [crate::run::EX_OSERR];
            // A daemon that dies before it says anything leaves the code as it is.
            let _ = ours.read_exact(&mut code);
            Ok(Daemon::Parent(ExitCode::from(code[0])))
        }
        None => {
            drop(ours);
            nix::unistd::setsid()?;
            std::env::set_current_dir("/")?;
            Ok(Daemon::Child(theirs))
        }
    }
}

/// A daemon has no terminal: what it says goes to the log.
pub(crate) fn quiet() {
    let Ok(null) = OpenOptions::new().read(true).write(true).open("/dev/null") else { return };
    for number in 0..3 {
        ipc_jail::sys::replace(&null, number);
    }
}
