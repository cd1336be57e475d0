//! Failures of the store, as the client and the log hear of them.

use std::fmt;

use proto_imap::mailbox::{Error, ErrorKind};
use slog::Logger;
use store_mailbox::Kind;

/// What the client hears of `error`. What is not of its making goes to the log, and the client hears only that.
pub fn refusal(log: &Logger, error: &store_mailbox::Error) -> Error {
    match error.kind() {
        Kind::NoSpace => {
            slog::error!(log, "{error}");
            Error::new(ErrorKind::OverQuota, "Not enough disk quota")
        }
        Kind::Temporary => internal(log, error),
        Kind::InUse => {
            slog::error!(log, "{error}");
            Error::new(ErrorKind::InUse, "Timeout while waiting for lock")
        }
        Kind::NotFound => Error::new(ErrorKind::NotFound, error.to_string()),
        Kind::AlreadyExists => Error::already_exists(),
        Kind::Cannot => match error {
            store_mailbox::Error::BadName { reason, .. } => {
                Error::new(ErrorKind::Cannot, format!("Invalid mailbox name: {reason}"))
            }
            other => Error::new(ErrorKind::Cannot, other.to_string()),
        },
        Kind::Limit => Error::new(ErrorKind::Limit, error.to_string()),
        Kind::Expunged => Error::expunged(),
    }
}

/// An error that is the server's: the log has it, the client the time under which it is found there.
pub fn internal(log: &Logger, error: impl fmt::Display) -> Error {
    slog::error!(log, "{error}");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let time = ipc_jail::sys::local_time(now as i64);
    let (year, month) = (time.year, time.month + 1);
    let stamp = format!("{year}-{month:02}-{:02} {:02}:{:02}:{:02}", time.day, time.hour, time.minute, time.second);
    Error::new(
        ErrorKind::Internal,
        format!("Internal error occurred. Refer to server log for more information. [{stamp}]"),
    )
}
