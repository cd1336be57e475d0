//! `postconf` (postconf(1)): the options, and what `ipc-config` makes of the files.
//!
//! Not built, and refused by name: the client's SASL types (`-A`), bounce templates (`-b`, `-t`), and facts of a TLS
//! library (`-T`).

use ipc_config::diagnostic::Diagnostics;
use ipc_config::postfix::postconf::{self, Classes, Report, edit, edit_master};
use store_tables::TableKind;

use crate::console::{self, reason};
use crate::files::{self, Transport, setting, tell};
use crate::log::Reporter;
use crate::options::{self, Parsed};
use crate::status::Status;

pub const USAGE: &str = "[-a (server SASL types)] [-c config_dir] [-C param_class] [-d (parameter defaults)] \
    [-e (edit configuration)] [-f (fold lines)] [-F (master.cf fields)] [-h (no names)] [-H (no values)] \
    [-l (lock types)] [-m (map types)] [-M (master.cf)] [-n (non-default parameters)] \
    [-o name=value (override parameter value)] [-p (main.cf, default)] [-P (master.cf parameters)] [-v (verbose)] \
    [-x (expand parameter values)] [-X (exclude)] [-# (comment-out)] [name...]";

/// All options, in the order in which Postfix names them when they do not go together.
const LETTERS: &str = "aAbCdefFhHlmMnopPtTxX#";
/// Of these, at most one.
const MODES: &str = "aAblmtpMFPT";
/// Sets of options of which at most one may be given.
const EXCLUSIVE: [&str; 6] = [MODES, "eX#dn", "eX#f", "eX#x", "eX#do", "eX#hH"];
/// Modes, and the options that go with each.
const ALONG: [(char, &str); 8] = [
    ('a', ""),
    ('A', ""),
    ('l', ""),
    ('m', ""),
    ('p', "eX#fhCxdnoH"),
    ('M', "eX#fox"),
    ('F', "efhoxH"),
    ('P', "eXfhoxH"),
];
const NOT_BUILT: [(char, &str); 4] = [
    ('A', "SASL on the client's side"),
    ('b', "bounce templates"),
    ('t', "bounce templates"),
    ('T', "the report about a TLS library"),
];
/// Mailbox locks that Postfix knows on Linux.
const LOCKS: [&str; 3] = ["flock", "fcntl", "dotlock"];
/// Kinds of SASL servers that `smtpd_sasl_type` may name.
const SASL_SERVERS: [&str; 1] = ["dovecot"];

/// Runs it.
pub fn run(words: &[String]) -> Status {
    let reporter = Reporter::new("postconf");
    match options::parse("aAbc:C:deEfFhHlmMno:pPqtT:vxX#", words) {
        Ok(parsed) => act(&reporter, parsed).unwrap_or_else(|problem| reporter.fatal(Status::FAILURE, &problem)),
        Err(mistake) => reporter.usage(Status::FAILURE, Some(&mistake), &format!("postconf {USAGE}")),
    }
}

fn act(reporter: &Reporter, mut parsed: Parsed) -> Result<Status, String> {
    if let Some((letter, what)) = NOT_BUILT.iter().find(|(letter, _)| parsed.has(*letter)) {
        return Ok(reporter.fatal(Status::UNAVAILABLE, &format!("-{letter} is not built yet: {what}")));
    }
    let mode = MODES.chars().find(|letter| parsed.has(*letter)).unwrap_or('p');
    let has_edit = ['e', 'X', '#'].into_iter().any(|letter| parsed.has(letter));
    if "pMFP".contains(mode)
        && !has_edit
        && !parsed.has('d')
        && parsed.rest.first().is_some_and(|word| word.contains('='))
    {
        // As in Postfix, an assignment is an edit.
        parsed.options.push(('e', None));
    }
    compatible(&parsed, mode)?;
    match mode {
        'a' => SASL_SERVERS.iter().for_each(|name| console::line(name)),
        'l' => LOCKS.iter().for_each(|name| console::line(name)),
        'm' => TableKind::names()
            .chain(["proxy"])
            .collect::<std::collections::BTreeSet<_>>()
            .iter()
            .for_each(|name| console::line(name)),
        _ if has_edit || parsed.has('e') => return change(reporter, &parsed, mode),
        _ => return show(reporter, &parsed, mode),
    }
    Ok(Status::OK)
}

/// The options go together; the words are Postfix's.
fn compatible(parsed: &Parsed, mode: char) -> Result<(), String> {
    let given = |set: &str| -> Vec<String> {
        let wanted = |letter: &char| set.contains(*letter) && parsed.has(*letter);
        LETTERS.chars().filter(wanted).map(|letter| format!("-{letter}")).collect()
    };
    for set in EXCLUSIVE {
        let both = given(set);
        if both.len() > 1 {
            return Err(format!("specify one of {}", both.join(" ")));
        }
    }
    for (letter, along) in ALONG {
        if letter != mode && !parsed.has(letter) {
            continue;
        }
        let others: String = LETTERS.chars().filter(|other| *other != letter && !along.contains(*other)).collect();
        let strangers = given(&others);
        if !strangers.is_empty() {
            return Err(format!("with option -{letter}, do not specify {}", strangers.join(" ")));
        }
    }
    Ok(())
}

/// Prints parameters or services.
fn show(reporter: &Reporter, parsed: &Parsed, mode: char) -> Result<Status, String> {
    let classes = classes(parsed)?;
    let mut overrides = Vec::new();
    for (_, value) in parsed.options.iter().filter(|(letter, _)| *letter == 'o') {
        let text = value.as_deref().unwrap_or_default();
        let (name, value) = text
            .split_once('=')
            .ok_or_else(|| format!("invalid parameter override: {text}: missing '=' after attribute name"))?;
        overrides.push(setting(name.trim(), value.trim()));
    }
    let mut transport = Transport::open(parsed.value('c'))?;
    if !parsed.has('d') {
        tell(&transport.found, reporter)?;
    }
    if !parsed.has('n') {
        // What this process is called, for `process_name` and `process_id`.
        overrides.push(setting("process_name", "postconf"));
        overrides.push(setting("process_id", &std::process::id().to_string()));
    }
    transport.main = transport.main.with_overrides(&overrides);
    let mut found = Diagnostics::new();
    let master = transport.master(&mut found);
    let options = postconf::Options {
        defaults: parsed.has('d'),
        set_only: parsed.has('n'),
        expand: parsed.has('x'),
        hide_name: parsed.has('h'),
        hide_value: parsed.has('H'),
        fold: parsed.has('f'),
    };
    let names: Vec<&str> = parsed.rest.iter().map(String::as_str).collect();
    let report = if mode == 'p' {
        if let Err(problem) = &master {
            reporter.warning(problem);
        }
        postconf::parameters(&transport.main, master.as_ref().ok(), options, classes, &names)
    } else {
        let master = master?;
        tell(&found, reporter)?;
        match mode {
            'M' => postconf::services(&transport.main, &master, options, &names),
            'F' => postconf::fields(&transport.main, &master, options, &names),
            _ => postconf::overrides(&transport.main, &master, options, &names),
        }
    };
    Ok(print(reporter, &report))
}

fn print(reporter: &Reporter, report: &Report) -> Status {
    report.lines.iter().for_each(|line| console::line(line));
    report.warnings.iter().for_each(|warning| reporter.warning(warning));
    report.fatal.as_ref().map_or(Status::OK, |problem| reporter.fatal(Status::FAILURE, problem))
}

fn classes(parsed: &Parsed) -> Result<Classes, String> {
    let named: Vec<&str> =
        parsed.options.iter().filter(|(letter, _)| *letter == 'C').filter_map(|(_, value)| value.as_deref()).collect();
    if named.is_empty() {
        return Ok(Classes::default());
    }
    let mut classes = Classes { builtin: false, service: false, user: false };
    for value in named {
        for word in value.split([',', ' ', '\t']).filter(|word| !word.is_empty()) {
            match word {
                "builtin" => classes.builtin = true,
                "service" => classes.service = true,
                "user" => classes.user = true,
                "all" => classes = Classes::default(),
                _ => return Err(format!("unknown -C option value \"{word}\" in \"{value}\"")),
            }
        }
    }
    Ok(classes)
}

/// Edits `main.cf`, or in the modes of `master.cf` that.
fn change(reporter: &Reporter, parsed: &Parsed, mode: char) -> Result<Status, String> {
    let arguments: Vec<&str> = parsed.rest.iter().map(String::as_str).collect();
    if arguments.is_empty() {
        return Err(if parsed.has('e') { "-e requires name=value argument" } else { "missing service argument" }.into());
    }
    let transport = Transport::open(parsed.value('c'))?;
    let path = transport.folder.join(if mode == 'p' { "main.cf" } else { "master.cf" });
    let name = path.display().to_string();
    let text = std::fs::read_to_string(&path).map_err(|error| format!("open {name}: {}", reason(&error)))?;
    let main = &transport.main;
    let edited = match (mode, parsed.has('e'), parsed.has('X')) {
        ('M', true, _) => edit_master::set_rows(&text, main, &arguments)?,
        ('M', false, has_x) => edit_master::end_rows(&text, main, &arguments, !has_x)?,
        ('F', ..) => edit_master::set_fields(&text, main, &arguments)?,
        ('P', true, _) => edit_master::set_overrides(&text, main, &arguments)?,
        ('P', ..) => edit_master::remove_overrides(&text, main, &arguments)?,
        (_, true, _) => edit::set(&text, &name, &arguments)?,
        (_, false, true) => edit::remove(&text, &name, &arguments)?,
        (_, false, false) => edit::comment_out(&text, &name, &arguments)?,
    };
    edited.warnings.iter().for_each(|warning| reporter.warning(warning));
    files::replace(&path, &edited.text).map_err(|error| format!("write {name}: {}", reason(&error)))?;
    Ok(Status::OK)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(line: &str) -> Result<(), String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let parsed = options::parse("aAbc:C:deEfFhHlmMno:pPqtT:vxX#", &words).unwrap();
        compatible(&parsed, MODES.chars().find(|letter| parsed.has(*letter)).unwrap_or('p'))
    }

    /// Recorded from Postfix 3.7.
    #[test]
    fn options_that_do_not_go_together() {
        for (line, expected) in [
            ("-n -d", "specify one of -d -n"),
            ("-n -e", "specify one of -e -n"),
            ("-e -X", "specify one of -e -X"),
            ("-M -F", "specify one of -F -M"),
            ("-m -l", "specify one of -l -m"),
            ("-Mn smtp/inet", "with option -M, do not specify -n"),
            ("-l -h", "with option -l, do not specify -h"),
        ] {
            assert_eq!(said(line), Err(expected.to_owned()), "{line}");
        }
        for line in ["-nxf", "-dh a", "-Mfx", "-P -h", "-e a=b", "-C user -h"] {
            assert_eq!(said(line), Ok(()), "{line}");
        }
    }

    #[test]
    fn classes_are_words() {
        let parsed = |line: &str| options::parse("C:", &[format!("-C{line}")]).unwrap();
        assert_eq!(classes(&parsed("user")), Ok(Classes { builtin: false, service: false, user: true }));
        assert_eq!(classes(&parsed("all")), Ok(Classes::default()));
        assert_eq!(classes(&parsed("foo")), Err("unknown -C option value \"foo\" in \"foo\"".into()));
    }
}
