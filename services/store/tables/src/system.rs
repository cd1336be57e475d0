//! `unix:passwd.byname`, `unix:group.byname`, and `fail:`.

use crate::error::io_reason;
use crate::{Context, Matching, NameService, Table, TableError, TableSpec};
use std::sync::Arc;

/// The system's users or groups, answered by the name service of [`Context::names`].
pub(crate) struct Unix {
    spec: TableSpec,
    names: Arc<dyn NameService>,
}

impl Unix {
    /// `spec` names `passwd.byname` or `group.byname`; the parser lets nothing else through.
    pub fn new(spec: &TableSpec, context: &Context) -> Self {
        Self { spec: spec.clone(), names: Arc::clone(&context.names) }
    }
}

impl Table for Unix {
    fn lookup(&self, key: &str) -> Result<Option<String>, TableError> {
        let key = self.spec.flags.folding.apply(key);
        let answer = match self.spec.name.as_str() {
            "group.byname" => self.names.group_by_name(&key),
            _ => self.names.passwd_by_name(&key),
        };
        answer.map_err(|error| TableError::new(self.spec.to_string(), io_reason(&error)))
    }

    fn matching(&self) -> Matching {
        Matching::Fixed
    }
}

/// `fail:`: every lookup is a temporary failure.
pub(crate) struct Fail(pub TableSpec);

impl Table for Fail {
    fn lookup(&self, _key: &str) -> Result<Option<String>, TableError> {
        Err(TableError::new(self.0.to_string(), "Application error"))
    }

    fn matching(&self) -> Matching {
        Matching::Pattern
    }
}
