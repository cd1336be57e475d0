//! Something loaded from a file, loaded again when the file changes.

use crate::{Context, Stamp, TableError};
use std::fs::File;
use std::sync::{Arc, Mutex, PoisonError};

/// The loaded form of the file at `path`, kept while the file's stamp stays the same.
///
/// A file that disappears or becomes unreadable is an error at once: an old answer would hide the mistake until the next
/// restart, when the mail that depends on it is long gone.
pub(crate) struct Watched<T> {
    context: Context,
    table: String,
    step: &'static str,
    path: String,
    loaded: Mutex<Option<(Stamp, Arc<T>)>>,
}

impl<T> Watched<T> {
    /// `table` is the `type:name` and `step` the verb (`open`, `open database`) for errors.
    pub fn new(context: &Context, table: String, step: &'static str, path: String) -> Self {
        Self { context: context.clone(), table, step, path, loaded: Mutex::new(None) }
    }

    /// The current content. `load` parses the open file.
    pub fn get(&self, load: impl FnOnce(&Context, File) -> Result<T, TableError>) -> Result<Arc<T>, TableError> {
        // A panic while holding the lock cannot leave half a value behind, so a poisoned lock is as good as any.
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = self.context.files.stamp(&self.path).map_err(|error| self.unopened(&error))?;
        if let Some((known, content)) = &*loaded
            && *known == stamp
        {
            return Ok(Arc::clone(content));
        }
        let file = self.context.files.open(&self.path).map_err(|error| self.unopened(&error))?;
        // The stamp of what was opened, which a rename since the first look may have made a different file.
        let stamp = file.metadata().map(|meta| Stamp::from(&meta)).map_err(|error| self.unopened(&error))?;
        let content = Arc::new(load(&self.context, file)?);
        *loaded = Some((stamp, Arc::clone(&content)));
        Ok(content)
    }

    fn unopened(&self, error: &std::io::Error) -> TableError {
        TableError::io(&self.table, self.step, &self.path, error)
    }
}
/// What a table holds, wherever that stands.
pub(crate) enum Rules<T> {
    /// In a file.
    File(Watched<T>),
    /// In the table's name.
    Name(Arc<T>),
}

impl<T> Rules<T> {
    /// As [`Watched::get`].
    pub fn get(&self, load: impl FnOnce(&Context, File) -> Result<T, TableError>) -> Result<Arc<T>, TableError> {
        match self {
            Rules::File(watched) => watched.get(load),
            Rules::Name(rules) => Ok(rules.clone()),
        }
    }
}
