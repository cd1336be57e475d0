//! Every table of the configuration, opened once, and what is logged when one does not answer.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use ipc_config::postfix::match_list::{self, MatchList, Query};
use store_tables::{Context, Files, Folding, Maps, Matching, Table, TableError, TableFlags, TableSpec, open};

use crate::names::Names;

/// A temporary failure: the question has no answer now. The text is for the asker's log; the details are in [`Note`]s.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure(pub String);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A line for our own log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// With `error: ` before it.
    Error(String),
    /// With `warning: ` before it.
    Warning(String),
}

/// The tables, and the notes that lookups leave.
pub struct Tables {
    context: Context,
    flags: TableFlags,
    /// Tables of lists, and those that other services name, by `type:name`. One that cannot be opened says why.
    by_name: HashMap<String, Result<Box<dyn Table>, String>>,
    notes: RefCell<Vec<Note>>,
    /// What was noted as an error already: Postfix says it once for each table.
    told: RefCell<HashSet<String>>,
    /// Warnings that loading a table gave, which come by another way.
    loading: Arc<Mutex<Vec<String>>>,
}

impl Tables {
    /// No table yet; files come from `files`, users and groups from `names`. `utf8` is `smtputf8_enable`.
    pub fn new(files: Arc<dyn Files>, names: Arc<Names>, utf8: bool) -> Tables {
        let loading = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&loading);
        let warn = move |text: &str| sink.lock().unwrap_or_else(PoisonError::into_inner).push(text.to_owned());
        let folding = if utf8 { Folding::Unicode } else { Folding::Ascii };
        Tables {
            context: Context { files, names, warn: Arc::new(warn) },
            flags: TableFlags { folding, ..TableFlags::default() },
            by_name: HashMap::new(),
            notes: RefCell::default(),
            told: RefCell::default(),
            loading,
        }
    }

    /// Opens the value of a `…_maps` parameter. `aliases` are its tables whose text is that of an alias file; `regsub` is
    /// whether patterns may put parts of the key into their result.
    ///
    /// # Errors
    /// What is wrong with the value; each question that needs it fails then.
    pub fn maps(&self, title: &str, tables: &[&str], aliases: &[&str], regsub: bool) -> Result<Maps, Failure> {
        let spec = |table: &&str| {
            let alias_source = aliases.contains(table);
            TableSpec::parse(table, TableFlags { alias_source, no_substitution: !regsub, ..self.flags })
        };
        let specs = tables.iter().map(spec).collect::<Result<Vec<_>, _>>();
        let maps = specs.and_then(|specs| Maps::open(title, &specs, &self.context));
        maps.map_err(|error| Failure(format!("{title}: {error}")))
    }

    /// Opens tables that are asked by name.
    pub fn add<'t>(&mut self, tables: impl IntoIterator<Item = &'t str>) {
        for table in tables {
            if !self.by_name.contains_key(table) {
                let opened = TableSpec::parse(table, self.flags).and_then(|spec| open(&spec, &self.context));
                self.by_name.insert(table.to_owned(), opened.map_err(|error| error.to_string()));
            }
        }
    }

    /// One key in one table that was [added](Tables::add).
    ///
    /// # Errors
    /// The table cannot answer, or it is none of the configuration's.
    pub fn find(&self, table: &str, key: &str) -> Result<Option<String>, Failure> {
        match self.by_name.get(table) {
            Some(Ok(opened)) => opened.lookup(key).map_err(|error| self.failed(&error, key)),
            Some(Err(reason)) => Err(Failure(reason.clone())),
            None => Err(Failure(format!("the configuration names no table {table}"))),
        }
    }

    /// Whether a list (the value of `title`) holds a domain.
    ///
    /// # Errors
    /// An item before the one that decides cannot be evaluated.
    pub fn lists(&self, title: &str, list: &MatchList, domain: &str) -> Result<bool, Failure> {
        let matched = list.matches(domain, |query: Query<'_>| match self.by_name.get(query.table) {
            Some(Ok(table)) if query.partial && table.matching() == Matching::Pattern => Ok(false),
            Some(Ok(table)) => match table.lookup(query.key) {
                Ok(value) => Ok(value.is_some()),
                Err(error) => {
                    self.unavailable(&error);
                    self.warn(format!("{title}: {}: table lookup problem", query.table));
                    Err(())
                }
            },
            Some(Err(reason)) => {
                self.warn(format!("{title}: {reason}"));
                Err(())
            }
            None => panic!("{title} has the table {}, which was not opened", query.table),
        });
        matched.map_err(|failure| {
            if let match_list::Failure::Item(problem) = failure {
                self.warn(format!("{title}: {problem}"));
            }
            self.warn(format!("{title} lookup failure"));
            Failure(format!("{title} lookup failure"))
        })
    }

    /// Notes that a table did not answer.
    pub fn failed(&self, error: &TableError, key: &str) -> Failure {
        self.unavailable(error);
        self.warn(format!("{} lookup error for \"{key}\"", error.table()));
        Failure(error.to_string())
    }

    fn unavailable(&self, error: &TableError) {
        let reason = error.reason();
        if !reason.starts_with("open ") {
            return self.warn(format!("{}: {reason}", error.table()));
        }
        // As Postfix does: a table that cannot be opened is an error once, and a warning each time that it is needed.
        if self.told.borrow_mut().insert(reason.to_owned()) {
            self.notes.borrow_mut().push(Note::Error(reason.to_owned()));
        }
        self.warn(error.to_string());
    }

    /// Leaves a warning.
    pub fn warn(&self, text: String) {
        self.notes.borrow_mut().push(Note::Warning(text));
    }

    /// Drops the notes of an evaluation that is to be done again, but for what loading a table gave: that is not said twice.
    pub fn forget_notes(&self) {
        self.notes.borrow_mut().clear();
    }

    /// Takes the notes that evaluations since the last call have left.
    pub fn take_notes(&self) -> Vec<Note> {
        let loading = std::mem::take(&mut *self.loading.lock().unwrap_or_else(PoisonError::into_inner));
        let mut notes: Vec<Note> = loading.into_iter().map(Note::Warning).collect();
        notes.append(&mut self.notes.borrow_mut());
        notes
    }
}
