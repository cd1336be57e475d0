//! A list of tables, the value of one `…_maps` parameter.

use crate::{Context, Matching, SpecError, Table, TableError, TableFlags, TableSpec, open};

/// Whether a key is what the caller was asked about, or derived from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The whole address, name or number: offered to every table.
    Full,
    /// A part of it: not offered to pattern tables.
    Partial,
}

/// Tables that are asked in turn; the first answer counts.
pub struct Maps {
    title: String,
    tables: Vec<(String, Box<dyn Table>)>,
}

impl Maps {
    /// Opens `specs`; `title` is the parameter's name, for messages.
    ///
    /// # Errors
    ///
    /// As [`open`], for the first table that is wrong.
    pub fn open(title: &str, specs: &[TableSpec], context: &Context) -> Result<Self, SpecError> {
        let tables = specs.iter().map(|spec| Ok((spec.to_string(), open(spec, context)?))).collect::<Result<_, _>>()?;
        Ok(Self { title: title.to_owned(), tables })
    }

    /// Parses and opens the value of a parameter.
    ///
    /// # Errors
    ///
    /// As [`TableSpec::parse_list`] and [`open`].
    pub fn parse(title: &str, value: &str, flags: TableFlags, context: &Context) -> Result<Self, SpecError> {
        Self::open(title, &TableSpec::parse_list(value, flags)?, context)
    }

    /// The parameter's name.
    #[must_use]
    pub fn title(&self) -> &str {
        &self.title
    }

    /// Whether there is no table, so that nothing can be found.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }

    /// Asks the tables in turn. An empty key finds nothing.
    ///
    /// # Errors
    ///
    /// A table before the first answer could not be read, or answered with an empty value, which Postfix forbids.
    pub fn find(&self, key: &str, part: Part) -> Result<Option<String>, TableError> {
        if key.is_empty() {
            return Ok(None);
        }
        for (name, table) in &self.tables {
            if part == Part::Partial && table.matching() == Matching::Pattern {
                continue;
            }
            match table.lookup(key)? {
                Some(value) if value.is_empty() => {
                    let title = &self.title;
                    let reason = format!("{title} lookup of {key} returns an empty string result");
                    return Err(TableError::new(name.clone(), reason));
                }
                Some(value) => return Ok(Some(value)),
                None => {}
            }
        }
        Ok(None)
    }
}
