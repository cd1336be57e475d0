//! `bounce`: writes delivery status notifications (RFC 3464) in Postfix's words. `qmgr` asks for one with the message's
//! descriptor and the outcomes of its recipients, and is answered when the notification is on stable storage.
//!
//! [`report`] writes the text, [`letters`] says who gets one, [`requests`] keeps the dialogues with `qmgr` and `cleanup`
//! and knows no socket; [`service`] is the way to the outside.

mod letters;
mod report;
mod requests;
mod returned;
mod service;
mod settings;
#[cfg(test)]
mod testing;

use std::process::ExitCode;

fn main() -> ExitCode {
    worker::run::<service::Bounce>()
}
