//! The commands `postmap`, `postalias` and `newaliases`: options, exit status and wording of the real ones.
//!
//! What differs: tables are replaced as a whole, so `-i` and `-d` write a new file with the change in it; `-n` and `-N`
//! (a NUL after each key or not) make no difference to a format that stores lengths; and the marks that `postalias` adds
//! for NIS (`@`, `YP_…`) are left out.

mod build;
mod options;

use crate::text::Duplicates;
use crate::{Context, Files, NameService, Table, TableFlags, TableKind, TableSpec, open};
pub use options::{Action, Options, Program};
use std::io::{self, BufRead, Write};
use std::sync::Arc;

/// What the commands need of the program that they run in.
pub struct Environment {
    /// Opens tables for queries.
    pub files: Arc<dyn Files>,
    /// Answers for `unix:` tables.
    pub names: Arc<dyn NameService>,
    /// `default_database_type`.
    pub default_type: String,
    /// Whether files can be made in the name of others; then a table is built with the rights of the owner of its source.
    pub privileged: bool,
    /// Takes on the rights of this uid and gid for the files that are made next; called only if `privileged`.
    pub become_owner: Arc<dyn Fn(u32, u32) -> io::Result<()>>,
    /// Takes one line for the standard error: `postmap: warning: …`.
    pub report: Arc<dyn Fn(&str) + Send + Sync>,
}

/// Why a command ends early. The text follows `fatal: `.
pub(crate) struct Fatal(String);

impl Fatal {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub(crate) fn io(step: &str, path: &str, error: &io::Error) -> Self {
        Self(format!("{step} {path}: {}", crate::error::io_reason(error)))
    }
}

/// Runs `postmap` or `postalias` with parsed options and returns its exit status: 0, or 1 if nothing was found or done.
pub fn run(options: &Options, environment: &Environment, input: &mut dyn BufRead, output: &mut dyn Write) -> u8 {
    let program = options.program.name();
    let command = Command { options, environment, context: context(program, environment) };
    match command.act(input, output) {
        Ok(true) => 0,
        Ok(false) => 1,
        Err(Fatal(reason)) => {
            (environment.report)(&format!("{program}: fatal: {reason}"));
            1
        }
    }
}

/// Runs `newaliases`: builds each table of `alias_database`, and returns the exit status.
pub fn new_aliases(alias_database: &str, environment: &Environment) -> u8 {
    let mut arguments: Vec<&str> = alias_database.split([',', ' ', '\t', '\r', '\n']).collect();
    arguments.retain(|table| !table.is_empty());
    let options = Options::for_tables(Program::Postalias, arguments);
    run(&options, environment, &mut io::empty(), &mut io::sink())
}

fn context(program: &'static str, environment: &Environment) -> Context {
    let report = Arc::clone(&environment.report);
    Context {
        files: Arc::clone(&environment.files),
        names: Arc::clone(&environment.names),
        warn: Arc::new(move |text| report(&format!("{program}: warning: {text}"))),
    }
}

struct Command<'a> {
    options: &'a Options,
    environment: &'a Environment,
    context: Context,
}

/// A table of the command line that is opened when it is first needed.
struct Lazy<'a> {
    spec: TableSpec,
    table: Option<Box<dyn Table>>,
    command: &'a Command<'a>,
}

impl Lazy<'_> {
    fn get(&mut self) -> Result<&dyn Table, Fatal> {
        if self.table.is_none() {
            let opened = open(&self.spec, &self.command.context).map_err(|error| Fatal::new(error.to_string()))?;
            self.table = Some(opened);
        }
        Ok(&**self.table.as_ref().expect("it was opened above"))
    }

    fn find(&mut self, key: &str) -> Result<Option<String>, Fatal> {
        let spec = self.spec.to_string();
        let value = self.get()?.lookup(key).map_err(|error| match self.spec.kind {
            TableKind::Fail | TableKind::Unix => Fatal::new(format!("table {spec}: query error: {}", error.reason())),
            _ => Fatal::new(error.reason()),
        })?;
        if value.as_deref() == Some("") {
            self.command.warn(&format!("table {spec}: key {key}: empty string result is not allowed"));
            self.command.warn(&format!("table {spec} should return NO RESULT in case of NOT FOUND"));
        }
        Ok(value)
    }
}

impl Command<'_> {
    fn act(&self, input: &mut dyn BufRead, output: &mut dyn Write) -> Result<bool, Fatal> {
        match &self.options.action {
            Action::Query(key) if key == "-" => self.query_many(input, output),
            Action::Query(key) => self.query(key, output),
            Action::Delete(key) if key == "-" => self.delete_many(input),
            Action::Delete(key) => self.delete(std::slice::from_ref(key)),
            Action::List => self.list(output),
            Action::Build | Action::Add => {
                for table in &self.options.tables {
                    self.build(table, input)?;
                }
                Ok(true)
            }
        }
    }

    fn warn(&self, text: &str) {
        (self.context.warn)(text);
    }

    /// How lines are printed: `postalias` puts a colon after a name.
    fn separator(&self) -> &'static str {
        match self.options.program {
            Program::Postmap => "\t",
            Program::Postalias => ":\t",
        }
    }

    fn flags(&self) -> TableFlags {
        TableFlags {
            folding: self.options.folding,
            alias_source: self.options.program == Program::Postalias,
            ..TableFlags::default()
        }
    }

    fn spec(&self, table: &str) -> Result<TableSpec, Fatal> {
        let spec = TableSpec::parse_or_path(table, &self.environment.default_type, self.flags());
        let spec = spec.map_err(|error| Fatal::new(error.to_string()))?;
        if self.options.verbose {
            (self.environment.report)(&format!("{}: dict_open: {spec}", self.options.program.name()));
        }
        Ok(spec)
    }

    fn lazy(&self, table: &str) -> Result<Lazy<'_>, Fatal> {
        Ok(Lazy { spec: self.spec(table)?, table: None, command: self })
    }

    fn query(&self, key: &str, output: &mut dyn Write) -> Result<bool, Fatal> {
        for table in &self.options.tables {
            if let Some(value) = self.lazy(table)?.find(key)? {
                print(output, &value)?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn query_many(&self, input: &mut dyn BufRead, output: &mut dyn Write) -> Result<bool, Fatal> {
        let mut tables = self.options.tables.iter().map(|table| self.lazy(table)).collect::<Result<Vec<_>, _>>()?;
        let mut found = false;
        for key in lines(input)? {
            for table in &mut tables {
                if let Some(value) = table.find(&key)? {
                    print(output, &format!("{key}{}{value}", self.separator()))?;
                    found = true;
                    break;
                }
            }
        }
        Ok(found)
    }

    fn list(&self, output: &mut dyn Write) -> Result<bool, Fatal> {
        let Some(first) = self.options.tables.first() else { return Ok(false) };
        let mut table = self.lazy(first)?;
        let unsupported = format!("table {}: sequence operation is not supported", table.spec);
        let records = table.get()?.records().ok_or_else(|| Fatal::new(unsupported))?;
        for (key, value) in records.map_err(|error| Fatal::new(error.reason()))? {
            print(output, &format!("{key}{}{value}", self.separator()))?;
        }
        Ok(true)
    }

    fn delete_many(&self, input: &mut dyn BufRead) -> Result<bool, Fatal> {
        self.delete(&lines(input)?)
    }

    fn duplicates(&self, database: &str) -> Duplicates {
        self.options.duplicates.clone().unwrap_or_else(|| Duplicates::Warn { place: database.to_owned(), lines: false })
    }
}

fn print(output: &mut dyn Write, line: &str) -> Result<(), Fatal> {
    writeln!(output, "{line}").map_err(|error| Fatal::io("write", "stdout", &error))
}

fn lines(input: &mut dyn BufRead) -> Result<Vec<String>, Fatal> {
    let mut text = Vec::new();
    input.read_to_end(&mut text).map_err(|error| Fatal::io("read", "stdin", &error))?;
    Ok(String::from_utf8_lossy(&text).lines().map(str::to_owned).collect())
}
