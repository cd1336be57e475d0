//! `mailctl [-c DIR] COMMAND`: control of both halves.

mod config;
mod queue;
mod run;
mod services;

use lexopt::Arg::{Long, Short, Value};
use lexopt::ValueExt;

use crate::console;
use crate::instance::Instance;
use crate::status::Status;
use crate::{check, quickstart};

pub const USAGE: &str = "[-c DIR] [--json] COMMAND [ARGUMENT...]";

/// What the words before the command say.
pub struct Context {
    /// The instance.
    pub instance: Instance,
    /// The folder that `-c` names.
    pub folder: Option<String>,
    /// Results are for programs.
    pub json: bool,
}

struct Subcommand {
    name: &'static str,
    arguments: &'static str,
    help: &'static str,
    run: fn(&Context, &[String]) -> Status,
}

const fn subcommand(
    name: &'static str,
    arguments: &'static str,
    help: &'static str,
    run: fn(&Context, &[String]) -> Status,
) -> Subcommand {
    Subcommand { name, arguments, help, run }
}

const SUBCOMMANDS: [Subcommand; 12] = [
    subcommand("start", "[HALF]", "Start, and return when everything listens.", run::start),
    subcommand("stop", "[HALF]", "Finish the work in hand and stop.", run::stop),
    subcommand("restart", "[HALF]", "Stop, then start.", run::restart),
    subcommand("reload", "[HALF]", "Take over a changed configuration; no connection is dropped.", run::reload),
    subcommand("reopen", "", "Open log files anew.", run::reopen),
    subcommand("foreground", "", "Run in the foreground until stopped.", run::foreground),
    subcommand("status", "", "Say what runs; exit status 0 if anything does.", services::status),
    subcommand("services", "", "Show the table of services in effect.", services::services),
    subcommand("check", "", "List everything that is wrong with the configuration.", check::run),
    subcommand("config", "[NAME...]", "Show the configuration in effect, as RON.", config::run),
    subcommand(
        "queue",
        "[flush|delete|hold|release|requeue|show] [ID...]",
        "List or change the mail queue.",
        queue::run,
    ),
    subcommand("quickstart", "[DIR]", "Make a complete instance in a folder, start it and try it.", quickstart::run),
];

/// Runs `mailctl` with the words after the name.
pub fn run(words: &[String]) -> Status {
    let mut parser = lexopt::Parser::from_args(words);
    let (mut folder, mut json) = (None, false);
    loop {
        let argument = match parser.next() {
            Ok(argument) => argument,
            Err(error) => return usage(&error.to_string()),
        };
        match argument {
            Some(Short('c')) => match parser.value().and_then(ValueExt::string) {
                Ok(value) => folder = Some(value),
                Err(error) => return usage(&error.to_string()),
            },
            Some(Long("json")) => json = true,
            Some(Value(word)) => {
                let rest: Result<Vec<String>, _> = match parser.raw_args() {
                    Ok(rest) => rest.map(ValueExt::string).collect(),
                    Err(error) => Err(error),
                };
                let Ok(mut rest) = rest else { return usage("an argument is not valid UTF-8") };
                let before = rest.len();
                rest.retain(|word| word != "--json");
                json |= rest.len() < before;
                return command(&word.to_string_lossy(), folder, json, &rest);
            }
            Some(other) => return usage(&other.unexpected().to_string()),
            None => return usage("which command?"),
        }
    }
}

fn command(name: &str, folder: Option<String>, json: bool, rest: &[String]) -> Status {
    match SUBCOMMANDS.iter().find(|known| known.name == name) {
        Some(known) => (known.run)(&Context { instance: Instance::new(folder.as_deref()), folder, json }, rest),
        None => usage(&format!("unknown command: {name}")),
    }
}

/// Complains about the command line.
pub fn usage(mistake: &str) -> Status {
    console::complain(&format!("mailctl: {mistake}\nusage: mailctl {USAGE}\nTry mailctl --help."));
    Status::USAGE
}

/// The commands with their help.
pub fn help() -> String {
    let width = SUBCOMMANDS.iter().map(|known| known.name.len()).max().unwrap_or(0);
    let lines = SUBCOMMANDS.iter().map(|known| match known.arguments {
        "" => format!("  {:width$}  {}\n", known.name, known.help),
        arguments => format!("  {:width$}  {} Arguments: {arguments}\n", known.name, known.help),
    });
    let lines: String = lines.collect();
    format!("Commands:\n{lines}HALF is transport or mailbox; without it, both. Results for programs: --json.\n")
}
