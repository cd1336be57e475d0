//! The jail of a worker, and the few system calls that need `unsafe`.
//!
//! [`enter`] takes a process from "started by the master, nothing read yet" to "may do its work and nothing else". The
//! steps stand in [`STEPS`] in the order in which they are taken; a test holds that order. A step that fails ends the
//! process: a worker never runs in half a jail. Without root the steps that need it are left out, and [`enter`] says
//! which ones and why, so that an instance that a user runs for a trial can tell its layers.

mod enter;
mod filter;
#[cfg(feature = "misbehave")]
pub mod misbehave;
mod paths;
pub mod sys;

pub use enter::{Entered, JailError, STEPS, Step, enter, narrow};
pub use filter::{Calls, install as install_filter};
pub use paths::{Access, Grant};

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// What the master decides about a worker's jail. The worker adds what only it knows: the system calls and the folders it
/// has opened ([`enter`]'s other arguments).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jail {
    /// The folder that becomes `/`.
    pub root: PathBuf,
    /// The account: real, effective and saved ids.
    pub uid: u32,
    /// The only group, but for `groups`.
    pub gid: u32,
    /// Supplementary groups; empty for all but the processes that share the queue folder.
    pub groups: Vec<u32>,
    /// `RLIMIT_NOFILE`: descriptors that may be open at once.
    pub max_files: u64,
    /// `RLIMIT_AS` in bytes (Dovecot's `vsz_limit`); `None` for no limit.
    pub max_memory: Option<u64>,
    /// Whether a kernel without Landlock is accepted (a named setting allows it).
    pub without_landlock: bool,
    /// Whether it may make unix sockets and connect them by path, as modules of the system's name service do.
    pub local_sockets: bool,
}
