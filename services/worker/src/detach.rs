//! Children of a worker that is a template: copies without exec, each with a life of its own.
//!
//! A worker that detaches has one thread: its pool is never used. The child takes nothing along but its log and what it
//! names; it must not return to the loop, and does not. Between the two there is one pair of packet sockets, the *lifeline*:
//! its end tells the template that the child is gone, and the child that the template is. What a child says on it is input
//! like any other ([`crate::Service::child_says`]); a template never waits for a child.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use ipc_jail::{Calls, Grant, JailError};
use ipc_log::Sender as LogSender;
use ipc_messages::log::Severity;
use ipc_wire::packet::{self, Packet};
use mio::unix::SourceFd;
use mio::{Interest, Registry};
use nix::errno::Errno;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use slog::Logger;

use crate::cx::{Cx, Source};

/// The largest packet of a child.
const MAX_PACKET: usize = 4096;

/// What a child has, beside what it was given by name.
#[derive(Debug)]
pub struct Detached {
    /// The way to the log, in no other tag than the template's until the child takes one of its own.
    pub log: LogSender,
    /// A packet socket to the template. At its end the template is gone: the service is being stopped.
    pub lifeline: OwnedFd,
}

/// Makes the jail of a child narrower ([`ipc_jail::narrow`]); `log` is the child's.
///
/// # Errors
/// The step that failed; the child must end then.
#[cfg_attr(not(feature = "misbehave"), expect(unused_variables, reason = "a child that misbehaves logs what it tried"))]
pub fn narrow(grants: &[Grant], calls: Calls, log: &Logger) -> Result<(), JailError> {
    ipc_jail::narrow(grants, calls)?;
    #[cfg(feature = "misbehave")]
    crate::misbehave::act(log, "a child");
    Ok(())
}

/// The children of a template.
#[derive(Debug, Default)]
pub(crate) struct Children {
    living: BTreeMap<i32, OwnedFd>,
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

    /// What a child says; `None` when its lifeline has ended, or anything but a packet comes.
    pub(crate) fn receive(&self, pid: i32) -> io::Result<Option<Packet>> {
        self.living.get(&pid).map_or(Ok(None), |lifeline| packet::receive(lifeline.as_fd(), MAX_PACKET))
    }

    /// A lifeline has ended, or is to end. Returns whether it was there.
    pub(crate) fn ended(&mut self, registry: &Registry, pid: i32) -> bool {
        let Some(lifeline) = self.living.remove(&pid) else { return false };
        // It closes now and leaves the set by itself.
        let _ = registry.deregister(&mut SourceFd(&lifeline.as_raw_fd()));
        self.ending.push(Pid::from_raw(pid));
        true
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
    pub fn detach(&mut self, keep: &[RawFd], life: impl FnOnce(Detached)) -> io::Result<i32> {
        assert!(!self.pool.has_threads(), "a worker with threads forks");
        let (ours, theirs) = packet::pair()?;
        let log = self.log.apart()?;
        match ipc_jail::sys::fork()? {
            Some(pid) => {
                let token = Source::Child(pid.as_raw()).token();
                self.registry.register(&mut SourceFd(&ours.as_raw_fd()), token, Interest::READABLE)?;
                self.children.living.insert(pid.as_raw(), ours);
                Ok(pid.as_raw())
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

    /// Says something to a child, now. False when it was not said: the child is gone, or reads nothing and has much to read.
    pub fn tell_child(&self, pid: i32, bytes: &[u8]) -> bool {
        self.children.living.get(&pid).is_some_and(|lifeline| packet::send(lifeline.as_fd(), bytes, &[]).is_ok())
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
