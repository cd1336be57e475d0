//! The configuration compiler.
//!
//! Reads `main.cf`, `master.cf` and `dovecot.conf` into typed values. It is linked by the privileged master: it reads
//! files of the administrator only, never a byte from the network.

pub mod diagnostic;
pub mod dovecot;
pub mod postfix;
pub mod section;
pub mod uses;
