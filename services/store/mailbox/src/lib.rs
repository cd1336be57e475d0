//! Mailboxes on disk.
pub mod error;
pub mod fs;
pub use error::{Error, Kind, Result};
