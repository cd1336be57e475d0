//! Passwords and users, as Dovecot's `auth` knows them, without a socket, a clock or a file.

pub mod pw;
pub mod scheme;
