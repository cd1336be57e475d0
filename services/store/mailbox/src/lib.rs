//! Mailboxes on disk.
pub mod error;
pub mod fs;
pub mod index;
pub mod list;
pub mod location;
pub mod maildir;
pub mod message;
pub use error::{Error, Kind, Result};
