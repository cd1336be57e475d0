//! The commands of the mail queue: `mailq`, `postqueue`, `postsuper`, `postcat`.
//!
//! All of them ask the running queue manager. Postfix's own read the queue folders when the system is down; ours do not,
//! because a message may still be in the intake journal.

pub mod client;
pub mod listing;
mod postcat;
mod postqueue;
mod postsuper;
mod public;

pub use postcat::{USAGE as POSTCAT_USAGE, run as postcat};
pub use postqueue::{USAGE as POSTQUEUE_USAGE, flush, mailq, run as postqueue};
pub use postsuper::{USAGE as POSTSUPER_USAGE, run as postsuper};
