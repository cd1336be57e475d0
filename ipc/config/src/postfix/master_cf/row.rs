//! One row of `master.cf`.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::endpoint::{self, Endpoint, Ports};
use super::words::{unbraced, words};
use crate::diagnostic::{Diagnostics, Location};
use crate::postfix::logical::{LogicalLine, is_space};
use crate::postfix::main_cf::Setting;

/// The names of the eight columns, as Postfix has them in messages.
const COLUMNS: [&str; 8] =
    ["service", "transport type", "private", "unprivileged", "chroot", "wakeup_time", "max_proc", "command"];

/// What a row does not say itself.
pub(super) struct Context<'a> {
    /// The file, for diagnostics.
    pub path: &'a str,
    /// The names of ports.
    pub ports: Ports,
    /// What `-` in the chroot column means.
    pub chroot: bool,
}

/// The type column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Type {
    /// A TCP socket.
    Inet,
    /// A stream socket in the file system.
    Unix,
    /// A named pipe; served as a stream socket.
    Fifo,
    /// A stream socket over which connections are handed.
    Pass,
    /// A datagram socket in the file system.
    UnixDatagram,
}

impl Type {
    /// The word in the file.
    pub fn name(self) -> &'static str {
        match self {
            Type::Inet => "inet",
            Type::Unix => "unix",
            Type::Fifo => "fifo",
            Type::Pass => "pass",
            Type::UnixDatagram => "unix-dgram",
        }
    }

    fn parse(word: &str) -> Option<Type> {
        [Type::Inet, Type::Unix, Type::Fifo, Type::Pass, Type::UnixDatagram]
            .into_iter()
            .find(|kind| kind.name() == word)
    }
}

/// The wakeup column.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wakeup {
    /// The period in seconds; 0 is never.
    pub seconds: u32,
    /// Only once the service has been used: `?`.
    pub if_used: bool,
}

/// The chroot column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChrootColumn {
    /// `y`
    Yes,
    /// `n`
    No,
    /// `-`, which means `y` below compatibility level 1 and `n` from there on.
    Default {
        /// What it means here.
        yes: bool,
    },
}

impl ChrootColumn {
    /// Whether the service is to run chrooted.
    pub fn is_yes(self) -> bool {
        matches!(self, ChrootColumn::Yes | ChrootColumn::Default { yes: true })
    }
}

/// One service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The service's name as it is written.
    pub name: String,
    /// The type of its socket.
    pub kind: Type,
    /// Where it listens.
    pub endpoint: Endpoint,
    /// Whether only the mail system may connect.
    pub private: bool,
    /// Whether it runs with the rights of `mail_owner` instead of root's.
    pub unprivileged: bool,
    /// Whether it runs chrooted to the queue directory.
    pub chroot: ChrootColumn,
    /// When it is woken.
    pub wakeup: Wakeup,
    /// How many processes it may have: `None` is `default_process_limit`, 0 is no limit.
    pub max_processes: Option<u32>,
    /// The program.
    pub command: String,
    /// The arguments of the command, options first, in postconf's normal form: `-o` and its value apart, no braces.
    pub arguments: Vec<String>,
    /// The settings of `-o`, in the order of the row.
    pub overrides: Vec<Setting>,
    /// The eight columns as they are written.
    pub columns: [String; 8],
    /// Where the row begins.
    pub at: Location,
}

impl Row {
    /// The settings that apply to this service alone: `-o`, then the names that the service has of itself, which `-o`
    /// cannot change.
    pub fn settings(&self) -> Vec<Setting> {
        let own =
            |name: &str, value: &str| Setting { name: name.to_owned(), value: value.to_owned(), at: self.at.clone() };
        let process =
            Path::new(&self.command).file_name().map_or(self.command.as_str().into(), |n| n.to_string_lossy());
        let mut settings = self.overrides.clone();
        settings.extend([own("process_name", &process), own("service_name", &self.name)]);
        settings
    }

    /// The arguments behind the options: those of the command itself, as `flags=… user=… argv=…` of pipe(8).
    pub fn command_arguments(&self) -> &[String] {
        let mut index = 0;
        while let Some(argument) = self.arguments.get(index).filter(|word| word.starts_with('-') && *word != "--") {
            index += if argument == "-o" { 2 } else { 1 };
        }
        self.arguments.get(index..).unwrap_or_default()
    }

    /// Takes a logical line; `None` when the row cannot be used, which is then reported.
    pub(super) fn parse(line: &LogicalLine, context: &Context<'_>, found: &mut Diagnostics) -> Option<Row> {
        let words = words(&line.text);
        let mut reader = Reader { line, context, found, good: true };
        if words.len() < COLUMNS.len() {
            let field = COLUMNS[words.len()];
            let problem = format!("missing \"{field}\" field");
            reader.error(line.text.len() - 1, field, problem, "write all eight columns; \"-\" is a default");
            return None;
        }
        let column = |index: usize| words[index];
        let kind = reader.kind(column(1));
        let private = reader.yes_or_no(2, column(2), true);
        let endpoint = reader.endpoint(kind, private, column(0));
        let unprivileged = reader.yes_or_no(3, column(3), true);
        let chroot = match column(4).1 {
            "-" => ChrootColumn::Default { yes: context.chroot },
            _ if reader.yes_or_no(4, column(4), false) => ChrootColumn::Yes,
            _ => ChrootColumn::No,
        };
        let wakeup = reader.wakeup(column(5));
        let max_processes = reader.number(6, column(6), column(6).1);
        if column(7).1 == "-" {
            reader.error(column(7).0, "command", "field \"command\" has no default value", "name the program");
        }
        let (arguments, overrides) = reader.arguments(&words[COLUMNS.len()..]);
        let (true, Some(kind), Some(endpoint)) = (reader.good, kind, endpoint) else { return None };
        Some(Row {
            name: column(0).1.to_owned(),
            kind,
            endpoint,
            private,
            unprivileged,
            chroot,
            wakeup,
            max_processes,
            command: column(7).1.to_owned(),
            arguments,
            overrides,
            columns: std::array::from_fn(|index| column(index).1.to_owned()),
            at: line.at(context.path, 0),
        })
    }
}

/// Reads the fields of one row and notes whether one was bad.
struct Reader<'a> {
    line: &'a LogicalLine,
    context: &'a Context<'a>,
    found: &'a mut Diagnostics,
    good: bool,
}

/// A word and its offset in the line.
type Word<'t> = (usize, &'t str);

impl Reader<'_> {
    fn error(&mut self, offset: usize, field: &str, problem: impl Into<String>, mend: &str) {
        self.good = false;
        self.found.error(&self.line.at(self.context.path, offset), field, problem, mend);
    }

    fn bad_value(&mut self, index: usize, (offset, word): Word<'_>, mend: &str) {
        let field = COLUMNS[index];
        self.error(offset, field, format!("field \"{field}\": bad value: \"{word}\""), mend);
    }

    fn kind(&mut self, (offset, word): Word<'_>) -> Option<Type> {
        let kind = Type::parse(word);
        if word == "-" {
            self.error(offset, COLUMNS[1], "field \"transport type\" has no default value", "write the type");
        } else if kind.is_none() {
            let mend = "write inet, unix, fifo, pass or unix-dgram";
            self.error(offset, COLUMNS[1], format!("bad transport type: {word}"), mend);
        }
        kind
    }

    fn endpoint(&mut self, kind: Option<Type>, private: bool, (offset, name): Word<'_>) -> Option<Endpoint> {
        if kind? != Type::Inet {
            return Some(Endpoint::Local { path: format!("{}/{name}", if private { "private" } else { "public" }) });
        }
        if private {
            self.error(offset, COLUMNS[2], "inet service cannot be private", "write \"n\" in the third column");
        }
        match endpoint::inet(name, &self.context.ports) {
            Ok(endpoint) => Some(endpoint),
            Err(problem) => {
                let problem = format!("{problem} in \"{name}\"");
                self.error(offset, COLUMNS[0], problem, "write a port, or host:port");
                None
            }
        }
    }

    fn yes_or_no(&mut self, index: usize, word: Word<'_>, default: bool) -> bool {
        match word.1 {
            "-" => default,
            "y" => true,
            "n" => false,
            _ => {
                self.bad_value(index, word, "write \"y\", \"n\" or \"-\"");
                default
            }
        }
    }

    fn wakeup(&mut self, word: Word<'_>) -> Wakeup {
        let digits = word.1.strip_suffix('?').unwrap_or(word.1);
        let seconds = self.number(5, word, digits).unwrap_or(0);
        Wakeup { seconds, if_used: seconds > 0 && digits.len() < word.1.len() }
    }

    /// A number of at most 31 bits, which is `digits` of `word`; `None` for `-`.
    fn number(&mut self, index: usize, word: Word<'_>, digits: &str) -> Option<u32> {
        if word.1 == "-" {
            return None;
        }
        let number = digits.parse::<i32>().ok().filter(|_| digits.starts_with(|c: char| c.is_ascii_digit()));
        if number.is_none() {
            self.bad_value(index, word, "write a number or \"-\"");
        }
        number.and_then(|number| u32::try_from(number).ok())
    }

    /// The arguments in normal form, and the settings among them.
    fn arguments(&mut self, words: &[Word<'_>]) -> (Vec<String>, Vec<Setting>) {
        let (mut arguments, mut overrides) = (Vec::new(), Vec::new());
        let mut words = words.iter().copied().peekable();
        while let Some((offset, word)) = words.next_if(|(_, word)| word.starts_with('-') && *word != "--") {
            let Some(option) = word.find('o').filter(|index| *index > 0) else {
                arguments.push(word.to_owned());
                continue;
            };
            if option > 1 {
                arguments.push(word[..option].to_owned());
            }
            arguments.push("-o".to_owned());
            let glued = &word[option + 1..];
            let value = if glued.is_empty() { words.next() } else { Some((offset + option + 1, glued)) };
            let Some(value) = value else {
                self.error(offset, "-o", "option -o without name=value", "write -o name=value");
                break;
            };
            if let Some(setting) = self.setting(value) {
                arguments.push(format!("{}={}", setting.name, setting.value));
                overrides.push(setting);
            }
        }
        for (offset, word) in words {
            match unbraced(word) {
                Ok((_, text)) => arguments.push(text.to_owned()),
                Err(problem) => self.error(offset, "command", problem, "balance the braces"),
            }
        }
        (arguments, overrides)
    }

    /// The setting of an `-o`: `name=value`, or `{ name = value }`.
    fn setting(&mut self, (offset, word): Word<'_>) -> Option<Setting> {
        let mend = "write -o name=value, or -o { name = value }";
        let (inner, text) = match unbraced(word) {
            Ok(inner) => inner,
            Err(problem) => {
                self.error(offset, "-o", problem, mend);
                return None;
            }
        };
        let problem = match text.split_once('=') {
            Some((name, _)) if name.trim_matches(is_space).is_empty() => "missing attribute name",
            Some((name, value)) if !name.trim_matches(is_space).contains(is_space) => {
                let value_offset = text.len() - value.trim_start_matches(is_space).len();
                return Some(Setting {
                    name: name.trim_matches(is_space).to_owned(),
                    value: value.trim_matches(is_space).to_owned(),
                    at: self.line.at(self.context.path, offset + inner + value_offset.min(text.len() - 1)),
                });
            }
            _ => "missing '=' after attribute name",
        };
        self.error(offset, "-o", format!("{problem}: \"{text}\""), mend);
        None
    }
}
