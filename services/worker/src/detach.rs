//! Children of a worker that is a template: copies without exec, each with a life of its own.
//!
//! A worker that detaches has one thread: its pool is never used. The child takes nothing along but its log and what it
//! names; it must not return to the loop, and does not. Between the two there is one socket pair, the *lifeline*, on which
//! nothing is ever said: its end tells the template that the child is gone, and the child that the template is.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use ipc_log::Sender as LogSender;
use ipc_messages::log::Severity;
use mio::unix::SourceFd;
use mio::{Interest, Registry};
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::cx::{Cx, Source};

/// What a child has, beside what it was given by name.
#[derive(Debug)]
pub struct Detached {
    /// The way to the log, in no other tag than the template's until the child takes one of its own.
    pub log: LogSender,
    /// Readable once the template is gone: the service is being stopped.
    pub lifeline: OwnedFd,
}

/// The children of a template.
#[derive(Debug, Default)]
pub(crate) struct Children {
    living: Vec<(Pid, OwnedFd)>,
    /// Their lifeline has ended; their status is still to come.
    ending: Vec<Pid>,
}

impl Children {
    /// Children that live, or whose end has not been seen to.
    pub(crate) fn count(&self) -> u32 {
        (self.living.len() + self.ending.len()) as u32
    }

    /// Whether some have to be asked for their status.
    pub(crate) fn ending(&self) -> bool {
        !self.ending.is_empty()
    }

    /// A lifeline has ended.
    pub(crate) fn ended(&mut self, registry: &Registry, pid: i32) {
        let Some(at) = self.living.iter().position(|(child, _)| child.as_raw() == pid) else { return };
        let (child, lifeline) = self.living.swap_remove(at);
        // It closes now and leaves the set by itself.
        let _ = registry.deregister(&mut SourceFd(&lifeline.as_raw_fd()));
        self.ending.push(child);
    }

    /// Takes the status of those that are gone; returns the ones that were killed, with their signals.
    pub(crate) fn reap(&mut self) -> Vec<(Pid, i32)> {
        let mut killed = Vec::new();
        self.ending.retain(|&child| match waitpid(child, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) | Err(Errno::EINTR) => true,
            Ok(WaitStatus::Signaled(_, signal, _)) => {
                killed.push((child, signal as i32));
                false
            }
            Ok(_) | Err(_) => false,
        });
        killed
    }
}

impl<D: Send + 'static> Cx<D> {
    /// Forks a child that lives `life` and ends with it. It keeps the descriptors numbered in `keep`, which `life` owns, and
    /// closes all others; in this process `life` is dropped, and with it what it owns. Needs `fork` of the service's calls.
    ///
    /// # Errors
    /// What the system says; there is no child then.
    ///
    /// # Panics
    /// When the pool was used: the child would miss its threads.
    pub fn detach(&mut self, keep: &[RawFd], life: impl FnOnce(Detached)) -> io::Result<Pid> {
        assert!(!self.pool.has_threads(), "a worker with threads forks");
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::Stream, None, flags)?;
        let log = self.log.apart()?;
        match ipc_jail::sys::fork()? {
            Some(pid) => {
                let token = Source::Child(pid.as_raw()).token();
                self.registry.register(&mut SourceFd(&ours.as_raw_fd()), token, Interest::READABLE)?;
                self.children.living.push((pid, ours));
                Ok(pid)
            }
            None => {
                let own = [theirs.as_raw_fd(), log.descriptor()];
                ipc_jail::sys::close_all_but(&[keep, &own[..]].concat());
                on_panic(&log);
                life(Detached { log: log.clone(), lifeline: theirs });
                log.flush();
                ipc_jail::sys::exit(0)
            }
        }
    }
}

/// Our own inconsistency ends the process; its last log line says where.
pub(crate) fn on_panic(log: &LogSender) {
    let log = log.clone();
    std::panic::set_hook(Box::new(move |panic| {
        log.line(None, Severity::Panic, panic.to_string().replace('\n', ": "));
        log.flush();
    }));
}
