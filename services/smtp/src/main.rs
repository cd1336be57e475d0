//! `smtp`: the delivery agent behind the rows `smtp`, `relay` and `lmtp` of master.cf. It takes jobs from `qmgr`, speaks
//! LMTP to the server that the nexthop names or SMTP to its mail exchangers, and answers what became of each recipient.
//!
//! [`delivery`] decides everything and knows no socket; [`service`] is its way to the outside.

mod delivery;
mod destination;
mod envelope;
mod log_line;
mod servers;
mod service;
mod settings;

use std::process::ExitCode;

fn main() -> ExitCode {
    worker::run::<service::Agent>()
}
