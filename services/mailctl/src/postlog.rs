//! `postlog` (postlog(1)): writes lines to the mail log.

use std::io::BufRead;

use ipc_messages::log::Severity;

use crate::files::Transport;
use crate::log::{Log, Reporter};
use crate::options;
use crate::status::Status;

pub const USAGE: &str = "[-iv] [-c config_dir] [-p priority] [-t tag] [text...]";

/// Runs it: the arguments are one line; without any, each line of standard input is one.
pub fn run(words: &[String]) -> Status {
    let reporter = Reporter::new("postlog");
    let parsed = match options::parse("c:ip:t:v", words) {
        Ok(parsed) => parsed,
        Err(mistake) => return reporter.usage(Status::FAILURE, Some(&mistake), &format!("postlog {USAGE}")),
    };
    let name = parsed.value('p').unwrap_or("info");
    let Some(severity) = severity(name) else {
        return reporter.fatal(Status::FAILURE, &format!("unknown priority: \"{name}\""));
    };
    let transport = match Transport::open(parsed.value('c')) {
        Ok(transport) => transport,
        Err(problem) => return reporter.fatal(Status::FAILURE, &problem),
    };
    let log = Log::new("postlog", Some(&transport));
    let log = match parsed.value('t') {
        Some(tag) => log.tagged(tag),
        None => log,
    };
    if !parsed.rest.is_empty() {
        log.line(severity, &parsed.rest.join(" "));
        return Status::OK;
    }
    for line in std::io::stdin().lock().lines() {
        match line {
            Ok(line) => log.line(severity, &line),
            Err(error) => return reporter.fatal(Status::FAILURE, &format!("read stdin: {error}")),
        }
    }
    Status::OK
}

fn severity(name: &str) -> Option<Severity> {
    match name {
        "info" => Some(Severity::Info),
        "warn" | "warning" => Some(Severity::Warning),
        "error" => Some(Severity::Error),
        "fatal" => Some(Severity::Fatal),
        "panic" => Some(Severity::Panic),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priorities_are_postfix_s() {
        assert_eq!(severity("warn"), Some(Severity::Warning));
        assert_eq!(severity("warning"), Some(Severity::Warning));
        assert_eq!(severity("notice"), None);
    }
}
