//! `postconf -e`, `-X` and `-#`: editing the text of `main.cf` in place.
//!
//! Comments and all other lines stay as they are; each entry of a parameter is replaced where it stands, and one that is
//! new is appended. Writing the file is the caller's work: under a temporary name, synced, and renamed.

use std::collections::BTreeSet;

use crate::postfix::logical::is_space;

/// What to do with the entries of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Set,
    CommentOut,
    Remove,
}

/// The result of an edit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edited {
    /// The new text.
    pub text: String,
    /// Lines for standard error, without `postconf: warning: ` in front.
    pub warnings: Vec<String>,
}

/// `-e name=value…`: sets parameters. The error is what Postfix ends with, and nothing is to be written then. `path` is
/// the file's name in warnings.
pub fn set(text: &str, path: &str, assignments: &[&str]) -> Result<Edited, String> {
    let mut requests = Requests::default();
    for assignment in assignments {
        let assignment = legal(assignment)?;
        let name_end = assignment.find(|c| is_space(c) || c == '=').unwrap_or(assignment.len());
        let (name, rest) = assignment.split_at(name_end);
        if name.is_empty() {
            return Err(format!("missing attribute name: \"{assignment}\""));
        }
        let value = rest
            .trim_start_matches(is_space)
            .strip_prefix('=')
            .ok_or_else(|| format!("missing '=' after attribute name: \"{assignment}\""))?;
        requests.add(name, value.trim_matches(is_space));
    }
    Ok(requests.apply(Action::Set, text, path))
}

/// `-# name…`: comments parameters out.
pub fn comment_out(text: &str, path: &str, names: &[&str]) -> Result<Edited, String> {
    Ok(Requests::of_names(names)?.apply(Action::CommentOut, text, path))
}

/// `-X name…`: removes parameters.
pub fn remove(text: &str, path: &str, names: &[&str]) -> Result<Edited, String> {
    Ok(Requests::of_names(names)?.apply(Action::Remove, text, path))
}

/// An argument that can stand in one line of the file, without the white space in front.
fn legal(argument: &str) -> Result<&str, String> {
    if argument.contains('\n') {
        return Err("-e, -X, or -# accepts no multi-line input".to_owned());
    }
    let argument = argument.trim_start_matches(is_space);
    if argument.starts_with('#') {
        return Err("-e, -X, or -# accepts no comment input".to_owned());
    }
    Ok(argument)
}

/// Names and new values, in the order of the arguments.
#[derive(Default)]
struct Requests {
    values: Vec<(String, String)>,
    warnings: Vec<String>,
}

impl Requests {
    fn of_names(names: &[&str]) -> Result<Requests, String> {
        let mut requests = Requests::default();
        for name in names {
            let name = legal(name)?.trim_end_matches(is_space);
            if name.is_empty() {
                return Err("-X or -# requires non-blank parameter names".to_owned());
            }
            if name.contains('=') {
                return Err("-X or -# requires parameter names without value".to_owned());
            }
            requests.add(name, "");
        }
        Ok(requests)
    }

    fn add(&mut self, name: &str, value: &str) {
        if let Some(index) = self.values.iter().position(|(earlier, _)| earlier == name) {
            let (name, value) = self.values.remove(index);
            self.warnings.push(format!("ignoring earlier request: '{name} = {value}'"));
        }
        self.values.push((name.to_owned(), value.to_owned()));
    }

    fn apply(self, action: Action, text: &str, path: &str) -> Edited {
        let Requests { values, mut warnings } = self;
        let mut result = String::with_capacity(text.len());
        let mut found: BTreeSet<&str> = BTreeSet::new();
        let mut warned: BTreeSet<&str> = BTreeSet::new();
        // Whether the lines that follow continue an entry that is being replaced.
        let mut chosen = false;
        for line in text.split_inclusive('\n') {
            let content = line.trim_start_matches(is_space);
            if content.is_empty() || content.starts_with('#') {
                result.push_str(line);
                continue;
            }
            let is_start = content.len() == line.len();
            let mut entry = None;
            if is_start {
                let name = &line[..line.find(|c| is_space(c) || c == '=').unwrap_or(line.len())];
                entry = values.iter().find(|(wanted, _)| wanted == name);
                chosen = entry.is_some();
            }
            if let Some((name, value)) = entry {
                if !found.insert(name) && warned.insert(name) {
                    warnings.push(format!("{path}: multiple entries for \"{name}\""));
                }
                if action == Action::Set {
                    result.push_str(&setting(name, value));
                }
            }
            match (chosen, action) {
                (false, _) => result.push_str(line),
                (true, Action::CommentOut) => {
                    result.push('#');
                    result.push_str(line);
                }
                (true, Action::Set | Action::Remove) => {}
            }
        }
        if action == Action::Set {
            let new: String = values
                .iter()
                .filter(|(name, _)| !found.contains(name.as_str()))
                .map(|(name, value)| setting(name, value))
                .collect();
            if !new.is_empty() && !result.is_empty() && !result.ends_with('\n') {
                result.push('\n');
            }
            result.push_str(&new);
        }
        Edited { text: result, warnings }
    }
}

fn setting(name: &str, value: &str) -> String {
    format!("{name} = {value}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str =
        "# top\nmyhostname = a.example\n  # inner\nmydestination = a,\n# mid\n  b\nbiff = no\nbiff = yes\n";

    #[test]
    fn each_edit_gives_what_postconf_writes() {
        let text = |edited: Result<Edited, String>| edited.unwrap().text;
        let head = "# top\nmyhostname = a.example\n  # inner\n";
        let kept = "mydestination = a,\n# mid\n  b\n";
        for (edited, expected) in [
            (set(BEFORE, "f", &["biff=no"]), format!("{head}{kept}biff = no\nbiff = no\n")),
            (
                set(BEFORE, "f", &["mydestination = x"]),
                format!("{head}mydestination = x\n# mid\nbiff = no\nbiff = yes\n"),
            ),
            (
                comment_out(BEFORE, "f", &["mydestination"]),
                format!("{head}#mydestination = a,\n# mid\n#  b\nbiff = no\nbiff = yes\n"),
            ),
            (remove(BEFORE, "f", &["mydestination", "biff "]), format!("{head}# mid\n")),
            (set(BEFORE, "f", &["new=1", "old = "]), format!("{BEFORE}new = 1\nold = \n")),
            (remove(BEFORE, "f", &["nosuch"]), BEFORE.to_owned()),
        ] {
            assert_eq!(text(edited), expected);
        }
    }

    #[test]
    fn a_file_without_a_final_line_end_is_not_spoiled() {
        assert_eq!(set("a = 1", "f", &["b=2"]).unwrap().text, "a = 1\nb = 2\n");
        assert_eq!(set("", "f", &["b=2"]).unwrap().text, "b = 2\n");
    }

    #[test]
    fn repeated_entries_and_requests_are_reported() {
        let edited = set(&format!("{BEFORE}biff=x\n"), "main.cf", &["biff=no", "biff = maybe"]).unwrap();
        assert_eq!(
            edited.warnings,
            ["ignoring earlier request: 'biff = no'", "main.cf: multiple entries for \"biff\""]
        );
        assert!(edited.text.ends_with("biff = maybe\nbiff = maybe\nbiff = maybe\n"));
    }

    #[test]
    fn what_is_no_edit_is_refused() {
        let error = |result: Result<Edited, String>| result.unwrap_err();
        assert_eq!(error(set("", "f", &["foo"])), "missing '=' after attribute name: \"foo\"");
        assert_eq!(error(set("", "f", &["=1"])), "missing attribute name: \"=1\"");
        assert_eq!(error(set("", "f", &["a=1\nb=2"])), "-e, -X, or -# accepts no multi-line input");
        assert_eq!(error(set("", "f", &[" #a=1"])), "-e, -X, or -# accepts no comment input");
        assert_eq!(error(remove("", "f", &["a=1"])), "-X or -# requires parameter names without value");
        assert_eq!(error(comment_out("", "f", &[" "])), "-X or -# requires non-blank parameter names");
    }
}
