//! Postfix's and Dovecot's pid files: each names a small process of ours that stands for that half and passes its signals
//! on, so that `kill -HUP $(cat /var/run/dovecot/master.pid)` means what it always meant, and only that half.

use std::fs;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use ipc_messages::admin::HalfName;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::Pid;

/// A signal to one half.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signalled {
    /// Which half.
    pub half: HalfName,
    /// HUP, USR1 or TERM.
    pub signal: Signal,
}

/// The process that stands for a half, and its pid file.
#[derive(Debug)]
pub struct Standin {
    half: HalfName,
    pid: Pid,
    file: PathBuf,
    /// Whether Postfix's fixed-width form is written.
    wide: bool,
}

const SIGNALS: [Signal; 4] = [Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGTERM, Signal::SIGINT];

impl Standin {
    /// Starts the process for `half` and writes its pid file. Signals arrive as bytes on the other end of `to`.
    ///
    /// # Errors
    /// What the system says.
    pub fn start(half: HalfName, file: PathBuf, to: &UnixStream) -> io::Result<Standin> {
        let pid = match ipc_jail::sys::fork()? {
            Some(pid) => pid,
            None => stand_in(half, to),
        };
        let wide = half == HalfName::Transport;
        let standin = Standin { half, pid, file, wide };
        standin.write()?;
        Ok(standin)
    }

    /// Which half it stands for.
    pub fn half(&self) -> HalfName {
        self.half
    }

    fn write(&self) -> io::Result<()> {
        if let Some(folder) = self.file.parent() {
            fs::create_dir_all(folder)?;
        }
        // Postfix writes the number in a field of fixed width (master_vars.c); Dovecot as it is.
        let text = if self.wide { format!("{:>20}\n", self.pid) } else { format!("{}\n", self.pid) };
        fs::write(&self.file, text)
    }

    /// Ends the process and removes the pid file.
    pub fn end(self) {
        // One that has gone already is what is wanted.
        let _ = kill(self.pid, Signal::SIGKILL);
        let _ = nix::sys::wait::waitpid(self.pid, None);
        let _ = fs::remove_file(&self.file);
    }
}

/// The life of the stand-in: waits for signals until the master has gone.
fn stand_in(half: HalfName, to: &UnixStream) -> ! {
    // The master's listeners above all: a socket that is still open here would be taken when its half is started again.
    ipc_jail::sys::close_all_but(&[to.as_raw_fd()]);
    let set: SigSet = SIGNALS.into_iter().collect();
    // It must not outlive the master, whose end of the socket it would not notice while it waits.
    let _ = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL);
    let _ = set.thread_block();
    // It holds nothing that it could use them for; that it fails changes nothing.
    let _ = crate::privileges::keep_none();
    while let Ok(signal) = set.wait() {
        let mut to = to;
        if to.write_all(&[encode(half, signal)]).is_err() {
            break;
        }
    }
    ipc_jail::sys::exit(0)
}

fn encode(half: HalfName, signal: Signal) -> u8 {
    let half = if half == HalfName::Transport { 0 } else { 0x80 };
    half | signal as i32 as u8
}

/// The signals in bytes that came from stand-ins.
pub fn decode(bytes: &[u8]) -> impl Iterator<Item = Signalled> + '_ {
    bytes.iter().filter_map(|&byte| {
        let half = if byte & 0x80 == 0 { HalfName::Transport } else { HalfName::Mailbox };
        Some(Signalled { half, signal: Signal::try_from(i32::from(byte & 0x7f)).ok()? })
    })
}

/// The pid file of a half.
pub fn pid_file(folder: &Path) -> PathBuf {
    folder.join("master.pid")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_keep_their_half() {
        for half in [HalfName::Transport, HalfName::Mailbox] {
            for signal in SIGNALS {
                let decoded: Vec<Signalled> = decode(&[encode(half, signal)]).collect();
                assert_eq!(decoded, [Signalled { half, signal }]);
            }
        }
    }
}
