//! What ordinary users may ask of the queue: its list, and an attempt at delivery.
//!
//! [`protocol`] is Postfix's own, so that programs that read its `public/showq` socket (exporters of statistics, its
//! `postqueue`) read ours; `mailctl` asks through the same sockets when it is not root's.

pub mod protocol;

/// What a uid without an account is called.
pub const UNKNOWN: &str = "unknown";
