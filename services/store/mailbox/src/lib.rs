//! Mailboxes on disk: Maildir++ and sdbox as Dovecot keeps them, and Posthorn's own index.
//!
//! - [`deliver`] puts batches of new mail into mailboxes; it reads none.
//! - [`mailbox`] is one open mailbox for an IMAP session; [`list`] says which mailboxes there are.
//! - [`maildir`] and [`sdbox`] are the formats, [`index`] the cache of the one and the truth of the other.
//! - [`fs`] is the only way to a file.
//!
//! What an operation acknowledges is durable (`tests/crash.rs` stops after every single operation), a UID never names
//! two messages, and a Maildir can be used by Dovecot at the same time (`tests/interop.rs`). Dovecot's own index files
//! are never read or written: an sdbox that Posthorn has written to can be read again by Dovecot after
//! `doveadm force-resync`, without its flags. Nothing here logs, knows a protocol, or changes its user.

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
