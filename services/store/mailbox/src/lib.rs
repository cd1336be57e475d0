//! Mailboxes on disk.
pub mod deliver;
pub mod error;
pub mod fs;
pub mod index;
pub mod list;
pub mod location;
pub mod mailbox;
pub mod maildir;
pub mod message;
pub mod sdbox;
pub use error::{Error, Kind, Result};
