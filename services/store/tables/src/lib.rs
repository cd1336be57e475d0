//! Postfix lookup tables: reading them, building them, and the orders in which Postfix tries keys.
//!
//! A [`TableSpec`] (`hash:/etc/postfix/virtual`) is parsed once, when the configuration is compiled; [`open`] turns it into
//! a [`Table`], which answers lookups for as long as the worker lives and notices by itself that its file was replaced.
//! [`Maps`] is a list of tables, the value of one parameter; [`find`] and [`virtual_alias`] hold the key strategies, and
//! [`command`] is `postmap`, `postalias` and `newaliases`.
//!
//! Invariants:
//! - A table that cannot be read, is damaged or is badly configured answers [`TableError`], a temporary failure. "Not
//!   found" (`Ok(None)`) is said only when the table was read and does not hold the key.
//! - Files are reached through [`Files`], because a jailed process holds directory descriptors and no paths.
//! - Files are read with positioned reads and never mapped: one that shrinks under us is an error, not a signal.
//! - No table blocks on the network. Nothing here logs: warnings go to [`Context::warn`].

mod alias;
mod berkeley;
mod cidr;
mod combine;
pub mod command;
mod context;
mod database;
mod error;
pub mod find;
mod fold;
mod indexed;
#[cfg(feature = "lmdb")]
mod lmdb;
#[cfg(feature = "lmdb")]
mod lmdb_build;
mod maps;
mod open;
mod pattern;
mod regexp;
mod replace;
mod source;
mod spec;
mod system;
mod text;
pub mod tokens;
pub mod virtual_alias;
mod watched;

pub use context::{Context, Files, NameService, NoNameService, Stamp, SystemFiles};
pub use error::TableError;
pub use fold::{Folding, fold};
pub use maps::{Maps, Part};
pub use open::open;
pub use spec::{SpecError, TableFlags, TableKind, TableSpec};

/// Whether a table compares keys or matches patterns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Matching {
    /// The key is compared as a whole. Keys are folded to lower case as [`TableFlags::folding`] says.
    Fixed,
    /// The key is matched against patterns. It is never folded, and partial keys (a domain, a user without a domain) are
    /// not offered, because a pattern written for an address would match them by accident.
    Pattern,
}

/// One lookup table.
pub trait Table: Send + Sync {
    /// The value stored for `key`, or `None` if the table has no such key.
    ///
    /// # Errors
    ///
    /// The table could not be read now. The caller must treat this as a temporary failure.
    fn lookup(&self, key: &str) -> Result<Option<String>, TableError>;

    /// How keys are matched.
    fn matching(&self) -> Matching;

    /// All records, for `postmap -s`; `None` where the type cannot be listed.
    ///
    /// # Errors
    ///
    /// As for [`Table::lookup`].
    fn records(&self) -> Option<Result<Vec<(String, String)>, TableError>> {
        None
    }
}
