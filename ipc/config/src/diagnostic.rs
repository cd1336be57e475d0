//! What is wrong with a configuration, where, and how to mend it.
//!
//! A reader never stops at the first mistake: it reports each one here and goes on, so that one `check` lists all of
//! them. Whether a start is refused is decided afterwards, by [`Diagnostics::is_fatal`]. Nothing in this module prints
//! or exits.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a finding means for a start or a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Severity {
    /// Worth knowing; nothing has to be done.
    Note,
    /// Probably not what the administrator wanted; the start goes on, as the real program's does.
    Warning,
    /// The start or the reload of this half is refused.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
        })
    }
}

/// A place in a configuration file, from 1. A line of 0 means that no line of the file is to blame: a default value, or
/// a file that could not be read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Location {
    /// The file as it was named to the reader.
    pub file: String,
    /// Line, from 1; 0 for the file as a whole.
    pub line: u32,
    /// Column in bytes, from 1; 0 for the line as a whole.
    pub column: u32,
}

impl Location {
    /// A place in a file; both numbers count from 1.
    pub fn new(file: impl Into<String>, line: u32, column: u32) -> Location {
        Location { file: file.into(), line, column }
    }

    /// A file as a whole.
    pub fn file(file: impl Into<String>) -> Location {
        Location::new(file, 0, 0)
    }
}

impl fmt::Display for Location {
    /// `file:line:column`, without the numbers that are 0.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
            if self.column > 0 {
                write!(f, ":{}", self.column)?;
            }
        }
        Ok(())
    }
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostic {
    /// Whether it stops the start.
    pub severity: Severity,
    /// The file, as it was named to the reader.
    pub file: String,
    /// Line, from 1; 0 for the file as a whole.
    pub line: u32,
    /// Column in bytes, from 1; 0 for the line as a whole.
    pub column: u32,
    /// The parameter, or the field of a table row.
    pub parameter: String,
    /// What is wrong, with the bad value; where the real program is fatal here, in its words.
    pub problem: String,
    /// How to mend it; may be empty where the problem says all.
    pub mend: String,
}

impl Diagnostic {
    /// A finding about `parameter` at `location`.
    pub fn new(
        severity: Severity,
        location: &Location,
        parameter: impl Into<String>,
        problem: impl Into<String>,
        mend: impl Into<String>,
    ) -> Diagnostic {
        Diagnostic {
            severity,
            file: location.file.clone(),
            line: location.line,
            column: location.column,
            parameter: parameter.into(),
            problem: problem.into(),
            mend: mend.into(),
        }
    }

    /// Where it is.
    pub fn location(&self) -> Location {
        Location::new(self.file.clone(), self.line, self.column)
    }
}

impl fmt::Display for Diagnostic {
    /// `file:line:column: parameter: what is wrong: how to mend it`, leaving out what is empty. A control character in
    /// a value that is quoted cannot forge a second line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for part in [&self.location().to_string(), &self.parameter, &self.problem, &self.mend] {
            if part.is_empty() {
                continue;
            }
            f.write_str(separator)?;
            for character in part.chars() {
                if character.is_control() {
                    write!(f, "{}", character.escape_default())?;
                } else {
                    write!(f, "{character}")?;
                }
            }
            separator = ": ";
        }
        Ok(())
    }
}

/// The findings of one compilation, in the order in which they were met.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostics(Vec<Diagnostic>);

impl Diagnostics {
    /// No findings yet.
    pub fn new() -> Diagnostics {
        Diagnostics::default()
    }

    /// Adds a finding. One that is there already is not added again: a value may be read by several services.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        if !self.0.contains(&diagnostic) {
            self.0.push(diagnostic);
        }
    }

    /// Adds what stops the start.
    pub fn error(
        &mut self,
        location: &Location,
        parameter: impl Into<String>,
        problem: impl Into<String>,
        mend: impl Into<String>,
    ) {
        self.push(Diagnostic::new(Severity::Error, location, parameter, problem, mend));
    }

    /// Adds what does not stop the start.
    pub fn warning(
        &mut self,
        location: &Location,
        parameter: impl Into<String>,
        problem: impl Into<String>,
        mend: impl Into<String>,
    ) {
        self.push(Diagnostic::new(Severity::Warning, location, parameter, problem, mend));
    }

    /// Adds what is worth knowing.
    pub fn note(
        &mut self,
        location: &Location,
        parameter: impl Into<String>,
        problem: impl Into<String>,
        mend: impl Into<String>,
    ) {
        self.push(Diagnostic::new(Severity::Note, location, parameter, problem, mend));
    }

    /// Takes over the findings of another collector.
    pub fn append(&mut self, other: Diagnostics) {
        other.0.into_iter().for_each(|diagnostic| self.push(diagnostic));
    }

    /// Whether a start or a reload is refused.
    pub fn is_fatal(&self) -> bool {
        self.0.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
    }

    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many findings there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The findings in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.0.iter()
    }
}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_reads_as_place_parameter_problem_mend() {
        let at = Location::new("/etc/postfix/main.cf", 12, 20);
        let finding = Diagnostic::new(
            Severity::Error,
            &at,
            "biff",
            "bad boolean configuration: biff = maybe",
            "write \"yes\" or \"no\"",
        );
        assert_eq!(
            finding.to_string(),
            "/etc/postfix/main.cf:12:20: biff: bad boolean configuration: biff = maybe: write \"yes\" or \"no\""
        );
    }

    #[test]
    fn what_is_unknown_is_left_out() {
        let finding = Diagnostic::new(Severity::Note, &Location::file("main.cf"), "", "not found", "");
        assert_eq!(finding.to_string(), "main.cf: not found");
        let line = Diagnostic::new(Severity::Note, &Location::new("main.cf", 3, 0), "x", "odd", "");
        assert_eq!(line.to_string(), "main.cf:3: x: odd");
    }

    #[test]
    fn a_quoted_value_cannot_forge_a_line() {
        let finding = Diagnostic::new(Severity::Error, &Location::file("f"), "x", "bad: a\nf:1: y: fine", "");
        assert_eq!(finding.to_string(), "f: x: bad: a\\nf:1: y: fine");
    }

    #[test]
    fn only_errors_are_fatal_and_nothing_is_said_twice() {
        let at = Location::file("f");
        let mut found = Diagnostics::new();
        found.warning(&at, "a", "odd", "");
        found.note(&at, "a", "known", "");
        assert!(!found.is_fatal());
        found.error(&at, "b", "bad", "");
        found.error(&at, "b", "bad", "");
        assert!(found.is_fatal());
        assert_eq!(
            found.iter().map(|one| one.severity).collect::<Vec<_>>(),
            [Severity::Warning, Severity::Note, Severity::Error]
        );
    }
}
