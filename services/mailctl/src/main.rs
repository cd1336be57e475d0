//! Control of Posthorn, and every classic command name of Postfix and Dovecot: one binary, whose name in `argv[0]` decides
//! what it does ([`commands`]).
//!
//! Invariants:
//! - It never touches the queue or a mailbox by itself: what a command does to them, it asks of the running system over the
//!   control socket ([`control`]). Only `postmap` and its kin, `postconf -e` and `quickstart` write files.
//! - Standard output holds results, standard error everything else. Colour and column layout are for terminals; `--json` is
//!   for programs.
//! - A classic name keeps the options, the words and the exit status of the real program; an option or command that is not
//!   built is refused by name.

mod check;
mod commands;
mod console;
mod control;
mod ctl;
mod doveadm;
mod doveconf;
mod dovecot;
mod files;
mod instance;
mod log;
mod logrotate;
mod options;
mod postconf;
mod postfix;
mod postlog;
mod postmap;
mod queue;
mod quickstart;
mod sendmail;
mod status;

use std::process::ExitCode;

use status::Status;

fn main() -> ExitCode {
    let words: Result<Vec<String>, _> = std::env::args_os().map(std::ffi::OsString::into_string).collect();
    let status = match words {
        Ok(words) => commands::run(&words),
        Err(word) => {
            console::complain(&format!("not valid UTF-8: {}", word.to_string_lossy()));
            Status::USAGE
        }
    };
    ExitCode::from(status.0)
}
