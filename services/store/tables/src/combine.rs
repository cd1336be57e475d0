//! Tables made of tables: `pipemap:`, `unionmap:`, and the random choice of `randmap:`.

use crate::spec::{SpecError, in_braces, split_list};
use crate::{Matching, Table, TableError, TableSpec};
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

/// `pipemap:{a,b}`: `b` is asked with the answer of `a`; not found as soon as one has no answer.
pub(crate) struct Pipemap(pub Vec<Box<dyn Table>>);

impl Table for Pipemap {
    fn lookup(&self, key: &str) -> Result<Option<String>, TableError> {
        let mut value = key.to_owned();
        for table in &self.0 {
            match table.lookup(&value)? {
                Some(next) => value = next,
                None => return Ok(None),
            }
        }
        Ok(Some(value))
    }

    /// Of the first table, which sees the key.
    fn matching(&self) -> Matching {
        self.0.first().map_or(Matching::Fixed, |table| table.matching())
    }
}

/// `unionmap:{a,b}`: the answers of all, joined by commas.
pub(crate) struct Unionmap(pub Vec<Box<dyn Table>>);

impl Table for Unionmap {
    fn lookup(&self, key: &str) -> Result<Option<String>, TableError> {
        let mut values = Vec::new();
        for table in &self.0 {
            values.extend(table.lookup(key)?);
        }
        Ok((!values.is_empty()).then(|| values.join(",")))
    }

    /// Of the first table, as in Postfix.
    fn matching(&self) -> Matching {
        self.0.first().map_or(Matching::Fixed, |table| table.matching())
    }
}

/// `randmap:{a,b}`: one of the values, whatever the key.
pub(crate) struct Randmap(Vec<String>);

impl Randmap {
    pub fn new(spec: &TableSpec) -> Result<Self, SpecError> {
        let values: Vec<String> =
            in_braces(&spec.name).map(split_list).unwrap_or_default().into_iter().map(str::to_owned).collect();
        if values.is_empty() {
            return Err(SpecError::new(format!("bad syntax: \"{spec}\"; need \"randmap:{{value...}}\"")));
        }
        Ok(Self(values))
    }
}

impl Table for Randmap {
    fn lookup(&self, key: &str) -> Result<Option<String>, TableError> {
        // The seeds of each new `RandomState` differ, which is all the chance that sharing out needs.
        let choice = RandomState::new().hash_one(key) as usize % self.0.len();
        Ok(Some(self.0[choice].clone()))
    }

    fn matching(&self) -> Matching {
        Matching::Pattern
    }
}
