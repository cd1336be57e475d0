//! Logical lines of `main.cf` and `master.cf`.
//!
//! A line that begins with white space continues the one before it. Empty lines and lines whose first character other
//! than white space is `#` are skipped, also between a line and its continuation (postconf(5), master(5)). The text of a
//! logical line keeps the white space that a continuation begins with; its line ends are gone.

use crate::diagnostic::{Diagnostics, Location};

/// The characters that separate words in both files.
pub(super) const BLANKS: &[char] = &[' ', '\t', '\r', '\n'];

/// One logical line and where each of its parts stands.
pub(super) struct LogicalLine {
    /// The text without line ends; never empty, never beginning with white space.
    pub text: String,
    /// Offset in `text` at which each physical line begins, with its number from 1.
    starts: Vec<(usize, u32)>,
}

impl LogicalLine {
    /// The place of the byte at `offset` of the text.
    pub fn at(&self, file: &str, offset: usize) -> Location {
        let (start, line) = self.starts.iter().rev().find(|(start, _)| *start <= offset).copied().unwrap_or((0, 1));
        Location::new(file, line, u32::try_from(offset - start + 1).unwrap_or(u32::MAX))
    }
}

/// White space as C's `isspace` has it in the POSIX locale.
pub(super) fn is_space(character: char) -> bool {
    character.is_ascii_whitespace() || character == '\x0b'
}

/// Splits a file into its logical lines. A continuation of nothing is reported and skipped, as Postfix has it.
pub(super) fn logical_lines(text: &str, file: &str, found: &mut Diagnostics) -> Vec<LogicalLine> {
    let mut lines: Vec<LogicalLine> = Vec::new();
    let mut orphan = false;
    for (index, physical) in text.split('\n').enumerate() {
        let content = physical.trim_start_matches(is_space);
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        let number = u32::try_from(index + 1).unwrap_or(u32::MAX);
        if content.len() == physical.len() {
            orphan = false;
            lines.push(LogicalLine { text: physical.to_owned(), starts: vec![(0, number)] });
        } else if let (Some(line), false) = (lines.last_mut(), orphan) {
            line.starts.push((line.text.len(), number));
            line.text.push_str(physical);
        } else if !orphan {
            orphan = true;
            let at = Location::new(file, number, 1);
            let problem = format!("logical line must not start with whitespace: \"{}\"", content.trim_end());
            found.warning(&at, "", problem, "remove the white space, or the line");
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> (Vec<String>, Diagnostics) {
        let mut found = Diagnostics::new();
        let lines = logical_lines(text, "f", &mut found).into_iter().map(|line| line.text).collect();
        (lines, found)
    }

    #[test]
    fn continuations_comments_and_empty_lines() {
        let text = "# c\n  # indented\na = 1,\n# between\n\n  2\n\t3\nb = 4\r\n \n";
        assert_eq!(lines(text).0, ["a = 1,  2\t3", "b = 4\r"]);
        assert_eq!(lines("").0, [""; 0]);
        assert_eq!(lines("a = 1").0, ["a = 1"]);
    }

    #[test]
    fn a_continuation_of_nothing_is_reported_once() {
        let (text, found) = lines("  a = 1\n  b\nc = 2\n d\n");
        assert_eq!(text, ["c = 2 d"]);
        let said: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(said.len(), 1);
        assert!(said[0].starts_with("f:1:1: logical line must not start with whitespace: \"a = 1\""));
    }

    #[test]
    fn offsets_lead_back_to_line_and_column() {
        let mut found = Diagnostics::new();
        let lines = logical_lines("\na = 1\n#\n  2\n", "f", &mut found);
        let place = |offset| lines[0].at("f", offset).to_string();
        assert_eq!(place(0), "f:2:1");
        assert_eq!(place(4), "f:2:5");
        assert_eq!(place(5), "f:4:1");
        assert_eq!(place(7), "f:4:3");
    }
}
