//! Passwords and users: everything of Dovecot's `auth` that needs no socket, no clock and no process.
//!
//! [`engine`] decides logins and lookups over the databases that [`config`] names; [`scheme`] compares passwords,
//! [`passwd_file`] reads files of users, [`policy`] holds what slows guessers down and what a login is handed on with,
//! [`log`] has Dovecot's log lines, [`pw`] is `doveadm pw`. Files, accounts and variable expansion are reached through
//! traits, so that the same code runs in a jail and in a test.

pub mod config;
pub mod engine;
pub mod log;
pub mod passwd_file;
pub mod policy;
pub mod pw;
mod record;
pub mod scheme;

pub use record::UserRecord;
