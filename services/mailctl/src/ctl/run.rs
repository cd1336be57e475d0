//! `start`, `stop`, `restart`, `reload`, `reopen`, `foreground`.

use std::io;

use ipc_messages::admin::{HalfName, Request};
use ipc_messages::log::Severity;

use super::{Context, usage};
use crate::console::{self, reason};
use crate::control::{self, Reply};
use crate::instance::{Mode, finish};
use crate::postfix;
use crate::status::Status;

/// Starts everything, or a half.
pub fn start(context: &Context, words: &[String]) -> Status {
    let half = match half(words) {
        Ok(half) => half,
        Err(status) => return status,
    };
    let running = match context.instance.running() {
        Ok(running) => running,
        Err(error) => return unreachable(&error),
    };
    if half.map_or(!running.is_empty(), |half| running.contains(&half)) {
        console::complain("mailctl: the mail system is already running");
        return Status::TEMPORARY;
    }
    log(context, half, "starting the Postfix mail system");
    let status = match half {
        Some(half) => context.instance.start_half(half, Mode::Daemon),
        None => Ok(context.instance.start(Mode::Daemon)),
    };
    status.unwrap_or_else(|error| unreachable(&error))
}

/// Runs the master in the foreground.
pub fn foreground(context: &Context, words: &[String]) -> Status {
    if !words.is_empty() {
        return usage("foreground takes no argument");
    }
    log(context, None, "starting the Postfix mail system");
    context.instance.start(Mode::Foreground)
}

/// Stops everything, or a half.
pub fn stop(context: &Context, words: &[String]) -> Status {
    match half(words) {
        Ok(half) => begin(context, half, "stopping the Postfix mail system", || context.instance.stop(half)),
        Err(status) => status,
    }
}

/// Stops if it runs, then starts.
pub fn restart(context: &Context, words: &[String]) -> Status {
    let half = match half(words) {
        Ok(half) => half,
        Err(status) => return status,
    };
    let runs = match context.instance.running() {
        Ok(running) => half.map_or(!running.is_empty(), |half| running.contains(&half)),
        Err(error) => return unreachable(&error),
    };
    match runs.then(|| stop(context, words)) {
        None | Some(Status::OK) => start(context, words),
        Some(status) => status,
    }
}

/// Takes over a changed configuration.
pub fn reload(context: &Context, words: &[String]) -> Status {
    let ask = |half| context.instance.ask(&Request::Reload(half));
    match half(words) {
        Ok(half) => begin(context, half, "refreshing the Postfix mail system", || ask(half)),
        Err(status) => status,
    }
}

/// Opens log files anew.
pub fn reopen(context: &Context, words: &[String]) -> Status {
    match words {
        [] => ended(context.instance.ask(&Request::Reopen)),
        _ => usage("reopen takes no argument"),
    }
}

/// Has something done that Postfix's own command logs; the line is not logged when the transport half does not run.
fn begin(context: &Context, half: Option<HalfName>, line: &str, act: impl FnOnce() -> io::Result<Reply>) -> Status {
    match context.instance.running() {
        Ok(running) if running.is_empty() => return not_running(),
        Ok(running) if running.contains(&HalfName::Transport) => log(context, half, line),
        Ok(_) => {}
        Err(error) => return unreachable(&error),
    }
    ended(act())
}

fn ended(result: io::Result<Reply>) -> Status {
    match result {
        Ok(reply) => finish(&reply),
        Err(error) if control::is_down(&error) => not_running(),
        Err(error) => unreachable(&error),
    }
}

/// What `postfix` logs when it does this to the transport half.
fn log(context: &Context, half: Option<HalfName>, line: &str) {
    if half != Some(HalfName::Mailbox) && context.instance.files.main_cf.is_some() {
        postfix::script_log(context.folder.as_deref()).quiet(Severity::Info, line);
    }
}

fn half(words: &[String]) -> Result<Option<HalfName>, Status> {
    match words {
        [] => Ok(None),
        [word] if word == "transport" => Ok(Some(HalfName::Transport)),
        [word] if word == "mailbox" => Ok(Some(HalfName::Mailbox)),
        _ => Err(usage("the argument is transport or mailbox")),
    }
}

/// Complains that nothing runs.
pub fn not_running() -> Status {
    console::complain("mailctl: the mail system is not running");
    Status::UNAVAILABLE
}

/// Complains that the master cannot be asked.
pub fn unreachable(error: &io::Error) -> Status {
    console::complain(&format!("mailctl: the running mail system cannot be asked: {}", reason(error)));
    match error.kind() {
        io::ErrorKind::PermissionDenied => Status::NO_PERMISSION,
        io::ErrorKind::TimedOut => Status::TEMPORARY,
        _ => Status::UNAVAILABLE,
    }
}
