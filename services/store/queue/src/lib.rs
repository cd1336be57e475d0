//! The intake journal, the queue files and the outcome log.

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
