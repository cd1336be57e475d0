//! One instance of the system: its configuration, its state, and the master that runs it.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipc_config::diagnostic::Diagnostics;
use ipc_config::postfix::main_cf::MainCf;
use ipc_config::postfix::system::ThisHost;
use ipc_messages::admin::{HalfName, PID_FILE, Request};

use master::compile::{Files, SPOOL};
use nix::fcntl::{Flock, FlockArg};

use crate::console::{self, reason};
use crate::control::{self, Reply};
use crate::status::Status;

/// Where programs are when they are not beside this one.
const PROGRAMS: &str = "/usr/lib/posthorn";
/// How long a stop may take: the master gives work in hand less than that.
const STOP_PATIENCE: Duration = Duration::from_secs(60);
/// How often a stop looks whether it is over.
const STOP_INTERVAL: Duration = Duration::from_millis(20);

/// An instance.
#[derive(Debug, Clone)]
pub struct Instance {
    /// The folder that `-c` named.
    given: Option<PathBuf>,
    /// Its files.
    pub files: Files,
    /// Its state.
    pub spool: PathBuf,
}

/// How the master is to be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It detaches itself; the start ends when everything listens.
    Daemon,
    /// It stays in the foreground, and the start ends with it.
    Foreground,
}

impl Instance {
    /// The instance of a folder, else of the default place.
    pub fn new(given: Option<&str>) -> Instance {
        // The master leaves the folder that it is started in.
        let given = given.map(|folder| std::path::absolute(folder).unwrap_or_else(|_| folder.into()));
        let files = given.as_deref().map_or_else(Files::default_place, Files::in_folder);
        let spool = files.main_cf.as_deref().map_or_else(|| SPOOL.into(), spool);
        Instance { given, files, spool }
    }

    /// Asks its master.
    ///
    /// # Errors
    /// As for [`control::ask`].
    pub fn ask(&self, request: &Request) -> io::Result<Reply> {
        control::ask(&self.spool, request)
    }

    /// The halves that run; none when the master does not.
    ///
    /// # Errors
    /// The master runs and cannot be asked.
    pub fn running(&self) -> io::Result<Vec<HalfName>> {
        match self.ask(&Request::Services) {
            Ok(reply) => {
                let runs = |name: &str| reply.services.iter().any(|row| row.half == name);
                let halves = [(HalfName::Transport, "transport"), (HalfName::Mailbox, "mailbox")];
                Ok(halves.into_iter().filter(|(_, name)| runs(name)).map(|(half, _)| half).collect())
            }
            Err(error) if control::is_down(&error) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// The master's process id, as its pid file says.
    pub fn pid(&self) -> Option<i32> {
        pid(&self.spool.join(PID_FILE))
    }

    /// Runs the master; its diagnostics go where ours go. Its exit status says whether everything listens.
    pub fn start(&self, mode: Mode) -> Status {
        let program = program("master");
        let mut command = Command::new(&program);
        if let Some(folder) = &self.given {
            command.arg("-c").arg(folder);
        }
        command.arg(match mode {
            Mode::Daemon => "-d",
            Mode::Foreground => "-f",
        });
        match command.status() {
            Ok(status) => status.code().and_then(|code| u8::try_from(code).ok()).map_or(Status::OS_ERROR, Status),
            Err(error) => {
                console::complain(&format!("mailctl: cannot run {}: {}", program.display(), reason(&error)));
                Status::OS_ERROR
            }
        }
    }

    /// Starts one half: the master if it does not run, with all that the folder holds; else that half, as a reload does.
    ///
    /// # Errors
    /// As for [`control::ask`].
    pub fn start_half(&self, half: HalfName, mode: Mode) -> io::Result<Status> {
        match self.ask(&Request::Reload(Some(half))) {
            Ok(reply) => Ok(finish(&reply)),
            Err(error) if control::is_down(&error) => Ok(self.start(mode)),
            Err(error) => Err(error),
        }
    }

    /// Stops everything or a half, and returns when it has ended and its place is free for a new start.
    ///
    /// # Errors
    /// As for [`control::ask`]; `TimedOut` when it does not end.
    pub fn stop(&self, half: Option<HalfName>) -> io::Result<Reply> {
        let reply = self.ask(&Request::Stop(half))?;
        let end = Instant::now() + STOP_PATIENCE;
        while self.is_ending(half) {
            if Instant::now() > end {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "it was asked to stop and has not ended"));
            }
            std::thread::sleep(STOP_INTERVAL);
        }
        Ok(reply)
    }

    /// Whether what is being stopped is still there: the half, or the master, which holds the lock on its pid file until it
    /// has ended.
    fn is_ending(&self, half: Option<HalfName>) -> bool {
        match (self.running(), half) {
            (Ok(running), Some(half)) if !running.is_empty() => running.contains(&half),
            (Ok(running), _) if running.is_empty() => {
                let file = std::fs::File::open(self.spool.join(PID_FILE));
                file.is_ok_and(|file| Flock::lock(file, FlockArg::LockSharedNonblock).is_err())
            }
            // It goes away while it is asked.
            _ => true,
        }
    }
}

/// Shows how an order ended.
pub fn finish(reply: &Reply) -> Status {
    match &reply.result {
        None => Status::OK,
        Some(reason) => {
            console::complain(&format!("mailctl: {reason}"));
            Status::CONFIG
        }
    }
}

/// The number in a pid file.
pub fn pid(file: &Path) -> Option<i32> {
    std::fs::read_to_string(file).ok()?.split_whitespace().next()?.parse().ok()
}

/// `posthorn_directory` of a `main.cf`. What is wrong with the file is reported by whoever uses it.
fn spool(main_cf: &Path) -> PathBuf {
    let main = MainCf::read(&main_cf.to_string_lossy(), Arc::new(ThisHost), &mut Diagnostics::new());
    let value = main.expanded("posthorn_directory").unwrap_or_default().text;
    if value.is_empty() { SPOOL.into() } else { value.into() }
}

/// The path of one of our programs: beside this one when it stands in a build folder, else where they are installed.
pub fn program(name: &str) -> PathBuf {
    let beside = std::env::current_exe().ok().and_then(|path| Some(path.parent()?.join(name)));
    beside.filter(|path| path.is_file()).unwrap_or_else(|| Path::new(PROGRAMS).join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn main_cf_says_where_state_is() {
        let folder = tempfile::tempdir().unwrap();
        let name = folder.path().to_string_lossy().into_owned();
        assert_eq!(Instance::new(Some(&name)).spool, Path::new(SPOOL));
        std::fs::write(folder.path().join("main.cf"), "base = /x\nposthorn_directory = $base/spool\n").unwrap();
        assert_eq!(Instance::new(Some(&name)).spool, Path::new("/x/spool"));
    }

    #[test]
    fn nothing_runs_where_nobody_listens() {
        let folder = tempfile::tempdir().unwrap();
        let name = folder.path().to_string_lossy().into_owned();
        std::fs::write(folder.path().join("main.cf"), format!("posthorn_directory = {name}\n")).unwrap();
        let instance = Instance::new(Some(&name));
        assert_eq!((instance.running().unwrap(), instance.pid()), (vec![], None));
        std::fs::write(folder.path().join(PID_FILE), "     4711\n").unwrap();
        assert_eq!(instance.pid(), Some(4711));
    }
}
