//! `dovecot.conf`: the reader, the table of settings, typed access, and what `doveconf` prints.
//!
//! The way of a file: [`parse`] makes statements of its lines, [`tree`] applies them to the defaults of [`table`],
//! [`settings`] gives typed access, [`check`] finds what Dovecot would refuse and `support` what is not built here, [`doveconf`]
//! prints. Everything but [`files::Machine`] is pure. Nothing here holds a private key.

pub mod check;
pub mod dialect;
pub mod doveconf;
pub mod files;
pub mod filter;
pub mod glob;
pub mod location;
pub mod parse;
pub mod sections;
pub mod services;
pub mod settings;
mod support;
pub mod table;
pub mod tree;
pub mod value;
pub mod variables;
