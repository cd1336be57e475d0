//! Postfix's configuration: `main.cf`, `master.cf`, and what `postconf` shows and edits.
//!
//! Everything here is a function of the text of the files and of a [`system::System`]; nothing prints, writes or exits.
//! What is wrong is collected as [`Diagnostics`](crate::diagnostic::Diagnostics).

pub mod check;
pub mod expand;
mod logical;
pub mod main_cf;
pub mod master_cf;
pub mod match_list;
mod names;
pub mod network;
pub mod postconf;
pub mod restrictions;
pub mod settings;
pub mod smtpd;
pub mod system;
pub mod table;
pub mod value;
