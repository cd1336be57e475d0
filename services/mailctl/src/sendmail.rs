//! `sendmail` (sendmail(1)), as far as it is about the queue and the aliases. Submission of mail is not built yet, and is
//! refused with `EX_UNAVAILABLE`, so that a program that sends mail keeps it and tries again.

use crate::console;
use crate::status::Status;
use crate::{postmap, queue};

pub const USAGE: &str = "-bp | sendmail -bi | sendmail -q";

/// Runs it.
pub fn run(words: &[String]) -> Status {
    match words.iter().map(String::as_str).find(|word| ["-bp", "-bi", "-I", "-q"].contains(word)) {
        Some("-bp") => queue::mailq(&[]),
        Some("-q") => queue::flush(None),
        Some(_) => postmap::newaliases(&[]),
        None => {
            console::complain("sendmail: fatal: submission of mail is not built yet; -bp, -bi and -q are");
            Status::UNAVAILABLE
        }
    }
}
