//! The queue: where a message is between the `250` to its client and its last recipient, and what is next.
//!
//! Two processes work on one queue directory (the list of its files is in `folder.rs`). `cleanup` owns the numbers for queue
//! IDs ([`ids`]) and the intake [`journal`], and writes queue files ([`queue_file`]). `qmgr` owns the [`outcome`] log, reads,
//! moves and unlinks queue files, and decides with [`schedule`]. Delivery agents get the content of one message by
//! descriptor ([`body`]), and nothing of this.
//!
//! ```text
//! smtpd ─► journal ──► 250                       the message is in the journal, and in a sealed memfd for the agents
//!             │
//!             ├─ all recipients done ─► Removed in the outcome log ─► record released
//!             └─ deferred, held, or a second or two old ─► queue file, synced ─► record released
//! mail over 256 KiB ─► queue file in tmp/, synced ─► record that commits it ─► 250 ─► incoming/ ─► record released
//! ```
//!
//! What survives a crash, and why, stands with each module and before each sync, link, rename and unlink. [`recover`] puts
//! the pieces together. The tests stop all of it at every operation ([`fs`]).
//!
//! Nothing here knows a socket, a clock or a thread: times are given, and what blocks says so by taking an [`fs::Fs`].

pub mod body;
mod error;
mod folder;
pub mod fs;
pub mod ids;
pub mod journal;
pub mod outcome;
pub mod queue_file;
pub mod recover;
pub mod schedule;
#[cfg(feature = "crash-model")]
pub mod testing;

pub use error::DiskError;
pub use folder::{Folder, prepare, quarantine, relocate};
