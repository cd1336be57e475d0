//! What `postconf` prints: a function of the files.
//!
//! White space in values is shown as single spaces; `-f` folds lines at 80 columns. Parameters are printed in the order of
//! their names, or of the arguments. Editing is in [`edit`] and [`edit_master`].

pub mod edit;
pub mod edit_master;

use super::expand::Expansion;
use super::main_cf::{MainCf, Setting};
use super::master_cf::{MasterCf, Row};
use super::names::Names;
use super::table;

/// Where `-f` folds lines.
const LINE_LIMIT: usize = 80;
/// What a folded line begins with.
const INDENT: &str = "    ";
/// The column at which each field of `-M` begins, where the fields before leave room.
const COLUMNS: [usize; 8] = [0, 11, 17, 25, 33, 41, 49, 57];
/// The names of the fields of `-F`.
const FIELDS: [&str; 8] =
    ["service", "type", "private", "unprivileged", "chroot", "wakeup", "process_limit", "command"];

/// How to print.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `-d`: defaults, whatever is set.
    pub defaults: bool,
    /// `-n`: only what is set.
    pub set_only: bool,
    /// `-x`: with `$name` expanded.
    pub expand: bool,
    /// `-h`: values without names.
    pub hide_name: bool,
    /// `-H`: names without values.
    pub hide_value: bool,
    /// `-f`: fold long lines.
    pub fold: bool,
}

/// The classes of `-C`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Classes {
    /// Parameters that Postfix knows.
    pub builtin: bool,
    /// Parameters of the services of `master.cf`.
    pub service: bool,
    /// Parameters of the administrator's own.
    pub user: bool,
}

impl Default for Classes {
    fn default() -> Classes {
        Classes { builtin: true, service: true, user: true }
    }
}

/// What to print.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Lines for standard output; a folded one holds line ends.
    pub lines: Vec<String>,
    /// Lines for standard error, without `postconf: warning: ` in front.
    pub warnings: Vec<String>,
    /// The last line for standard error, without `postconf: fatal: `; the exit status is 1 then.
    pub fatal: Option<String>,
}

/// `postconf [-C class] [name…]`: parameters of `main.cf`. `master` gives the names of services.
pub fn parameters(
    main: &MainCf,
    master: Option<&MasterCf>,
    options: Options,
    classes: Classes,
    arguments: &[&str],
) -> Report {
    let names = Names::new(main, master);
    let mut report = Report::default();
    if !options.defaults {
        report.warnings =
            names.undefined.iter().map(|(at, name)| format!("{}: undefined parameter: {name}", at.file)).collect();
    }
    let mut known: Vec<&str> = Vec::new();
    if classes.builtin {
        known.extend(table::all().iter().map(|row| row.name));
    }
    if classes.service {
        known.extend(names.service.iter().map(String::as_str));
    }
    if classes.user && !options.defaults {
        known.extend(names.user.iter().map(String::as_str));
    }
    if arguments.is_empty() {
        known.sort_unstable();
        known.iter().for_each(|name| parameter(main, options, name, &mut report));
    }
    for name in arguments {
        if known.contains(name) {
            parameter(main, options, name, &mut report);
        } else {
            report.warnings.push(format!("{name}: unknown parameter"));
        }
    }
    if !options.defaults {
        let unused = names.unused.iter();
        report
            .warnings
            .extend(unused.map(|one| format!("{}: unused parameter: {}={}", one.at.file, one.name, one.value)));
    }
    report
}

/// `postconf -M [service[/type]…]`: rows of `master.cf`.
pub fn services(main: &MainCf, master: &MasterCf, options: Options, arguments: &[&str]) -> Report {
    rows(master, arguments, 2, |row, _, report| report.lines.push(service(main, row, options)))
}

/// `postconf -F [service[/type[/field]]…]`: fields of `master.cf`.
pub fn fields(main: &MainCf, master: &MasterCf, options: Options, arguments: &[&str]) -> Report {
    rows(master, arguments, 3, |row, pattern, report| {
        for (index, name) in FIELDS.iter().enumerate() {
            if pattern.is_none_or(|pattern| pattern == "*" || pattern == *name) {
                report.lines.push(field(main, row, options, index, name));
            }
        }
    })
}

/// `postconf -P [service[/type[/parameter]]…]`: settings of `-o` in `master.cf`.
pub fn overrides(main: &MainCf, master: &MasterCf, options: Options, arguments: &[&str]) -> Report {
    let mut matched = vec![false; arguments.len()];
    let mut report = Report::default();
    for row in &master.rows {
        let scope = main.with_overrides(&row.settings());
        let mut settings: Vec<&Setting> = Vec::new();
        for setting in &row.overrides {
            settings.retain(|earlier| earlier.name != setting.name);
            settings.push(setting);
        }
        settings.sort_by(|a, b| a.name.cmp(&b.name));
        let print = |setting: &Setting, report: &mut Report| {
            let name = format!("{}/{}/{}", row.name, row.kind.name(), setting.name);
            match value(&scope, options, &setting.name, &setting.value) {
                Ok(value) => report.lines.push(line(options, &name, &value)),
                Err(problem) => report.fail(problem),
            }
        };
        if arguments.is_empty() {
            settings.iter().for_each(|setting| print(setting, &mut report));
        }
        for (argument, matched) in arguments.iter().zip(&mut matched) {
            let pattern: Vec<&str> = argument.splitn(3, '/').collect();
            for setting in
                settings.iter().filter(|setting| row_matches(row, &pattern) && part(&pattern, 2, &setting.name))
            {
                *matched = true;
                print(setting, &mut report);
            }
        }
    }
    report.unmatched(arguments, &matched);
    report
}

impl Report {
    fn fail(&mut self, problem: String) {
        self.warnings.push(problem);
        self.fatal = Some("macro processing error".to_owned());
    }

    fn unmatched(&mut self, arguments: &[&str], matched: &[bool]) {
        let unmatched = arguments.iter().zip(matched).filter(|(_, matched)| !**matched);
        self.warnings.extend(unmatched.map(|(argument, _)| format!("unmatched request: \"{argument}\"")));
    }
}

/// Prints what `print` makes of each row that an argument names, or of all rows; the pattern that it is handed is the last
/// part of an argument of `parts` parts.
fn rows(
    master: &MasterCf,
    arguments: &[&str],
    parts: usize,
    mut print: impl FnMut(&Row, Option<&str>, &mut Report),
) -> Report {
    let mut report = Report::default();
    let mut matched = vec![false; arguments.len()];
    for row in &master.rows {
        if arguments.is_empty() {
            print(row, None, &mut report);
        }
        for (argument, matched) in arguments.iter().zip(&mut matched) {
            let pattern: Vec<&str> = argument.splitn(parts, '/').collect();
            if row_matches(row, &pattern) {
                *matched = true;
                print(row, pattern.get(2).copied(), &mut report);
            }
        }
    }
    report.unmatched(arguments, &matched);
    report
}

fn row_matches(row: &Row, pattern: &[&str]) -> bool {
    part(pattern, 0, &row.name) && part(pattern, 1, row.kind.name())
}

fn part(pattern: &[&str], index: usize, text: &str) -> bool {
    pattern.get(index).is_none_or(|part| *part == "*" || *part == text)
}

/// Prints one parameter of `main.cf`.
fn parameter(main: &MainCf, options: Options, name: &str, report: &mut Report) {
    let defaults = options.defaults.then(|| main.defaults());
    let scope = defaults.as_ref().unwrap_or(main);
    if options.set_only && !scope.is_set(name) {
        return;
    }
    let raw = scope.raw(name).unwrap_or_default();
    match value(scope, options, name, &raw) {
        Ok(value) => report.lines.push(line(options, name, &value)),
        Err(problem) => report.fail(problem),
    }
}

/// The value as `-x` wants it.
fn value(scope: &MainCf, options: Options, name: &str, raw: &str) -> Result<String, String> {
    if !options.expand || table::find(name).is_some_and(|row| !row.kind.is_expanded()) {
        return Ok(raw.to_owned());
    }
    scope.expand(raw).map(|Expansion { text, .. }| text)
}

/// `name = value` with single spaces, folded where that is asked for.
fn line(options: Options, name: &str, value: &str) -> String {
    let text = match (options.hide_name, options.hide_value) {
        (_, true) => name.to_owned(),
        (true, false) => value.to_owned(),
        (false, false) => format!("{name} = {value}"),
    };
    let mut line = Line { text: String::new(), length: 0, fold: options.fold };
    text.split([' ', '\t', '\r', '\n']).filter(|word| !word.is_empty()).for_each(|word| line.word(word, 0));
    line.text
}

/// Text that is put together word by word.
struct Line {
    text: String,
    length: usize,
    fold: bool,
}

impl Line {
    /// Adds a word behind a space, or in a new line when it would not fit. `slack` is what belongs to the word besides.
    fn word(&mut self, word: &str, slack: usize) {
        if self.length > 0 {
            if self.fold && self.length + slack + word.len() >= LINE_LIMIT {
                self.text.push('\n');
                self.text.push_str(INDENT);
                self.length = INDENT.len();
            } else {
                self.text.push(' ');
                self.length += 1;
            }
        }
        self.text.push_str(word);
        self.length += word.len();
    }
}

/// One row as `-M` prints it.
fn service(main: &MainCf, row: &Row, options: Options) -> String {
    let mut text = String::new();
    for (column, goal) in row.columns.iter().zip(COLUMNS) {
        if goal > 0 {
            text.push(' ');
        }
        let missing = goal.saturating_sub(text.len());
        text.extend(std::iter::repeat_n(' ', missing));
        text.push_str(column);
    }
    let length = text.len();
    arguments(main, row, options, Line { text, length, fold: options.fold })
}

/// One field as `-F` prints it.
fn field(main: &MainCf, row: &Row, options: Options, index: usize, name: &str) -> String {
    let name = format!("{}/{}/{name}", row.name, row.kind.name());
    if options.hide_value {
        return name;
    }
    let value = &row.columns[index];
    let text = if options.hide_name { value.clone() } else { format!("{name} = {value}") };
    let length = text.len();
    let text = Line { text, length, fold: options.fold };
    if index == FIELDS.len() - 1 { arguments(main, row, options, text) } else { text.text }
}

/// Appends the arguments of a row's command. An option with a value stands in a line of its own when lines are folded.
fn arguments(main: &MainCf, row: &Row, options: Options, mut line: Line) -> String {
    let scope = main.with_overrides(&row.settings());
    let own = row.command_arguments().len();
    let mut options_left = row.arguments[..row.arguments.len() - own].iter();
    while let Some(argument) = options_left.next() {
        if argument != "-o" {
            line.word(argument, 1);
            continue;
        }
        let setting = options_left.next().map_or("", String::as_str);
        let setting = if options.expand {
            scope.expand(setting).map_or_else(|_| setting.to_owned(), |Expansion { text, .. }| text)
        } else {
            setting.to_owned()
        };
        line.length = line.length.max(LINE_LIMIT);
        line.word(&format!("-o {}", braced(&setting)), 1);
        line.length = LINE_LIMIT;
    }
    row.command_arguments().iter().for_each(|argument| line.word(&braced(argument), 1));
    line.text
}

/// In braces when there is white space in it.
fn braced(text: &str) -> String {
    if text.contains([' ', '\t', '\r', '\n']) { format!("{{{text}}}") } else { text.to_owned() }
}

#[cfg(test)]
mod tests;
