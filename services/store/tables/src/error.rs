//! Why a lookup has no answer.

use std::fmt;
use std::io;

/// A table that cannot answer now. Always a temporary failure, never "not found".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableError {
    table: String,
    reason: String,
}

impl TableError {
    /// `table` is the `type:name` as configured, `reason` what is wrong, in Postfix's words where it has some.
    pub fn new(table: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { table: table.into(), reason: reason.into() }
    }

    /// A file that cannot be opened or read, in the form `open database /etc/x.db: No such file or directory`.
    pub(crate) fn io(table: &str, step: &str, path: &str, error: &io::Error) -> Self {
        Self::new(table, format!("{step} {path}: {}", io_reason(error)))
    }

    /// The table's `type:name`.
    #[must_use]
    pub fn table(&self) -> &str {
        &self.table
    }

    /// What is wrong, without the name of the table.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

impl fmt::Display for TableError {
    /// Postfix's text for a table that could not be opened: `hash:/etc/x is unavailable. open database /etc/x.db: …`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is unavailable. {}", self.table, self.reason)
    }
}

impl std::error::Error for TableError {}

/// The text that `strerror` gives, without the number that the standard library adds.
pub(crate) fn io_reason(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => nix::errno::Errno::from_raw(number).desc().to_owned(),
        None => error.to_string(),
    }
}
