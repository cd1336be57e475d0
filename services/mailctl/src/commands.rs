//! The names that this binary goes by: one table, and the choice by `argv[0]`.

use std::path::Path;

use crate::console;
use crate::status::Status;
use crate::{ctl, doveadm, doveconf, dovecot, postconf, postfix, postlog, postmap, queue, sendmail};

/// One name.
pub struct Command {
    /// The name.
    pub name: &'static str,
    /// How it is called, without the name.
    pub usage: &'static str,
    /// One line of help.
    pub help: &'static str,
    /// The section of its manual page.
    pub section: u8,
    /// Runs it with the words after the name.
    pub run: fn(&[String]) -> Status,
}

const fn command(
    name: &'static str,
    section: u8,
    usage: &'static str,
    help: &'static str,
    run: fn(&[String]) -> Status,
) -> Command {
    Command { name, usage, help, section, run }
}

/// All of them; the first is what an unknown name means.
pub const COMMANDS: [Command; 15] = [
    command("mailctl", 8, ctl::USAGE, "Control the mail system.", ctl::run),
    command("postfix", 1, postfix::USAGE, "Start, stop and reload the transport half.", postfix::run),
    command("postconf", 1, postconf::USAGE, "Show and edit main.cf; show master.cf.", postconf::run),
    command("postmap", 1, postmap::USAGE, "Build and query lookup tables.", postmap::postmap),
    command("postalias", 1, postmap::USAGE, "Build and query alias tables.", postmap::postalias),
    command("newaliases", 1, "", "Rebuild the tables of alias_database.", postmap::newaliases),
    command("mailq", 1, "", "List the mail queue.", queue::mailq),
    command("postqueue", 1, queue::POSTQUEUE_USAGE, "List the mail queue, or attempt delivery.", queue::postqueue),
    command("postsuper", 1, queue::POSTSUPER_USAGE, "Delete, hold, release and requeue mail.", queue::postsuper),
    command("postcat", 1, queue::POSTCAT_USAGE, "Show a message in the mail queue.", queue::postcat),
    command("postlog", 1, postlog::USAGE, "Write a line to the mail log.", postlog::run),
    command(
        "sendmail",
        1,
        sendmail::USAGE,
        "List the queue (-bp), attempt delivery (-q), rebuild aliases (-bi).",
        sendmail::run,
    ),
    command("doveadm", 1, doveadm::USAGE, "Reload and stop the mailbox half; hash passwords.", doveadm::run),
    command("doveconf", 1, doveconf::USAGE, "Show the settings of dovecot.conf.", doveconf::run),
    command("dovecot", 1, dovecot::USAGE, "Start the mailbox half, or show its settings.", dovecot::run),
];

/// Runs the command that the first word names.
pub fn run(words: &[String]) -> Status {
    let (name, rest) = words.split_first().map_or(("", &[][..]), |(name, rest)| (name.as_str(), rest));
    let command = find(name);
    match rest.first().map(String::as_str) {
        Some("--help") => console::print(&help(command)),
        // Tools ask Dovecot for its version in this way.
        Some("--version") if command.name != "dovecot" => console::line(&version(command)),
        _ => return (command.run)(rest),
    }
    Status::OK
}

fn find(argv0: &str) -> &'static Command {
    let name = Path::new(argv0).file_name().unwrap_or_default();
    COMMANDS.iter().find(|command| name == command.name).unwrap_or(&COMMANDS[0])
}

fn help(command: &Command) -> String {
    let Command { name, usage, help, section, .. } = command;
    let mut text = format!("{}\n{help}\n", format!("usage: {name} {usage}").trim_end());
    if *name == COMMANDS[0].name {
        text += &ctl::help();
    }
    text + &format!("See {name}({section}).\n")
}

fn version(command: &Command) -> String {
    format!("{} {} (Posthorn)", command.name, env!("CARGO_PKG_VERSION"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_decides() {
        for (argv0, name) in [("/usr/sbin/postconf", "postconf"), ("mailq", "mailq"), ("x", "mailctl"), ("", "mailctl")]
        {
            assert_eq!(find(argv0).name, name);
        }
    }

    #[test]
    fn every_name_has_help_and_a_manual_page() {
        let pages = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../etc/man");
        for command in &COMMANDS {
            assert!(help(command).starts_with(&format!("usage: {}", command.name)));
            assert!(!command.help.is_empty());
            let page = pages.join(format!("{}.{}", command.name, command.section));
            let text = std::fs::read_to_string(&page).unwrap_or_else(|error| panic!("{}: {error}", page.display()));
            let title = format!(".TH {} {}", command.name.to_uppercase(), command.section);
            assert!(text.lines().any(|line| line.starts_with(&title)), "{}", page.display());
        }
    }
}
