//! Passwords and users, as Dovecot's `auth` knows them, without a socket, a clock or a file.

pub mod policy;
pub mod pw;
pub mod scheme;
