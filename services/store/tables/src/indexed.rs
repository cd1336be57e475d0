//! `hash:` and `btree:`: a file `x.db` that `postmap` or `postalias` built.

use crate::alias::{alias_records, looks_like_aliases};
use crate::berkeley::is_berkeley_db;
use crate::database::Database;
use crate::error::io_reason;
use crate::source::map_records;
use crate::text::{Duplicates, collect};
use crate::watched::Watched;
use crate::{Context, Matching, Stamp, Table, TableError, TableSpec};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::time::{SystemTime, UNIX_EPOCH};

/// How many seconds old a change of the source must be before it is reported.
const SETTLED_SECONDS: i64 = 100;

/// The content of `x.db`.
enum Content {
    Ours(Database),
    /// Postfix's format. The text that it was built from stands in for it.
    BerkeleyDb,
}

pub(crate) struct Indexed {
    spec: TableSpec,
    database: Watched<Content>,
    text: Watched<BTreeMap<String, String>>,
}

impl Indexed {
    pub fn new(spec: &TableSpec, context: &Context) -> Self {
        let table = spec.to_string();
        Self {
            spec: spec.clone(),
            database: Watched::new(context, table.clone(), "open database", format!("{}.db", spec.name)),
            text: Watched::new(context, table, "open", spec.name.clone()),
        }
    }

    fn load(&self, context: &Context, file: File) -> Result<Content, TableError> {
        let fail =
            |error| TableError::io(&self.spec.to_string(), "open database", &format!("{}.db", self.spec.name), &error);
        if is_berkeley_db(&file).map_err(fail)? {
            return Ok(Content::BerkeleyDb);
        }
        let database = Database::open(file).map_err(fail)?;
        self.warn_if_stale(context, &database);
        Ok(Content::Ours(database))
    }

    /// The source counts as newer when it is not the file that the table was built from.
    fn warn_if_stale(&self, context: &Context, database: &Database) {
        let Some(built_from) = database.source() else { return };
        let Ok(source) = context.files.stamp(&self.spec.name) else { return };
        let then = (built_from.modified.0, i64::from(built_from.modified.1));
        if (then, built_from.size) != (source.modified, source.size) {
            warn_if_settled(context, &self.spec.name, ".db", source);
        }
    }

    fn load_text(&self, context: &Context, mut file: File) -> Result<BTreeMap<String, String>, TableError> {
        let name = &self.spec.name;
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(|error| TableError::io(&self.spec.to_string(), "read", name, &error))?;
        let aliases = self.spec.flags.alias_source || looks_like_aliases(&text);
        let records = if aliases {
            alias_records(name, &text, &*context.warn)
        } else {
            map_records(name, &text, "", &*context.warn)
        };
        let mut duplicates = Duplicates::Warn { place: format!("{name}.db"), lines: false };
        collect(&self.spec, records, &mut duplicates, &*context.warn)
    }

    fn error(&self, error: &std::io::Error) -> TableError {
        TableError::new(self.spec.to_string(), io_reason(error))
    }

    fn utf8(&self, bytes: Vec<u8>) -> Result<String, TableError> {
        String::from_utf8(bytes).map_err(|_| TableError::new(self.spec.to_string(), "non-UTF-8 value"))
    }
}

/// Warns that the database is older than its source, by the times of the two files.
#[cfg(feature = "lmdb")]
pub(crate) fn warn_if_older(context: &Context, name: &str, suffix: &str, database: (i64, i64), source: Stamp) {
    if source.modified.0 > database.0 {
        warn_if_settled(context, name, suffix, source);
    }
}

/// A source that changed seconds ago is not worth a warning: the rebuild may be under way.
fn warn_if_settled(context: &Context, name: &str, suffix: &str, source: Stamp) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs().cast_signed());
    if source.modified.0 < now - SETTLED_SECONDS {
        (context.warn)(&format!("database {name}{suffix} is older than source file {name}"));
    }
}

impl Table for Indexed {
    fn lookup(&self, key: &str) -> Result<Option<String>, TableError> {
        let key = self.spec.flags.folding.apply(key);
        match &*self.database.get(|context, file| self.load(context, file))? {
            Content::Ours(database) => {
                let value = database.get(key.as_bytes()).map_err(|error| self.error(&error))?;
                value.map(|value| self.utf8(value)).transpose()
            }
            Content::BerkeleyDb => {
                let text = self.text.get(|context, file| self.load_text(context, file))?;
                Ok(text.get(&*key).cloned())
            }
        }
    }

    fn matching(&self) -> Matching {
        Matching::Fixed
    }

    fn records(&self) -> Option<Result<Vec<(String, String)>, TableError>> {
        let list = || match &*self.database.get(|context, file| self.load(context, file))? {
            Content::Ours(database) => {
                let records = database.records().map_err(|error| self.error(&error))?;
                records.into_iter().map(|(key, value)| Ok((self.utf8(key)?, self.utf8(value)?))).collect()
            }
            Content::BerkeleyDb => {
                let text = self.text.get(|context, file| self.load_text(context, file))?;
                Ok(text.iter().map(|(key, value)| (key.clone(), value.clone())).collect())
            }
        };
        Some(list())
    }
}
