//! `postconf -M`, `-F` and `-P` with `-e`, `-X` or `-#`: editing the text of `master.cf` in place.
//!
//! Rows that no argument names stay as they are, with the comments between them; a row that is changed is written as `-Mf`
//! prints it. Where a comment stands within or behind a row, `-M` leaves it behind the new row and `-F` and `-P` before it,
//! as Postfix does. Writing the file is the caller's work.

use super::edit::Edited;
use super::{FIELDS, Options, part, service};
use crate::diagnostic::Diagnostics;
use crate::postfix::logical::is_space;
use crate::postfix::main_cf::MainCf;
use crate::postfix::master_cf::{MasterCf, Row};

/// How a row is written.
const FOLDED: Options =
    Options { defaults: false, set_only: false, expand: false, hide_name: false, hide_value: false, fold: true };
/// The field of `-F` that is a command and its arguments.
const COMMAND: usize = 7;

/// What becomes of a row.
enum Fate {
    Keep,
    Drop,
    CommentOut,
    /// This in its place, comments behind.
    Replace(String),
    /// This in its place, comments before.
    Update(String),
}

/// `-Me service/type=row…`: replaces rows; one that is not there is appended.
///
/// # Errors
/// What Postfix ends with; nothing is to be written then.
pub fn set_rows(text: &str, main: &MainCf, arguments: &[&str]) -> Result<Edited, String> {
    let mut requests = Vec::new();
    for argument in arguments {
        let (pattern, entry) = assignment(argument)?;
        let row = row(entry, main)?.ok_or_else(|| format!("bad field count: \"{argument}\""))?;
        requests.push((row_pattern(pattern)?, service(main, &row, FOLDED) + "\n", false));
    }
    let mut result = walk(text, main, |row| {
        let request = requests.iter_mut().rfind(|(pattern, ..)| matches(pattern, row));
        Ok(request.map_or(Fate::Keep, |(_, row, found)| {
            *found = true;
            Fate::Replace(row.clone())
        }))
    })?;
    if !result.is_empty() && !result.ends_with('\n') {
        result.push('\n');
    }
    result.extend(requests.into_iter().filter(|(.., found)| !found).map(|(_, row, _)| row));
    Ok(Edited { text: result, warnings: Vec::new() })
}

/// `-MX service/type…` and `-M# service/type…`: removes rows, or comments them out.
///
/// # Errors
/// As for [`set_rows`].
pub fn end_rows(text: &str, main: &MainCf, arguments: &[&str], comment_out: bool) -> Result<Edited, String> {
    let patterns = arguments.iter().map(|argument| row_pattern(argument)).collect::<Result<Vec<_>, _>>()?;
    let text = walk(text, main, |row| {
        let chosen = patterns.iter().any(|pattern| matches(pattern, row));
        Ok(match (chosen, comment_out) {
            (false, _) => Fate::Keep,
            (true, true) => Fate::CommentOut,
            (true, false) => Fate::Drop,
        })
    })?;
    Ok(Edited { text, warnings: Vec::new() })
}

/// `-Fe service/type/field=value…`: sets single fields.
///
/// # Errors
/// As for [`set_rows`].
pub fn set_fields(text: &str, main: &MainCf, arguments: &[&str]) -> Result<Edited, String> {
    let mut requests = Vec::new();
    for argument in arguments {
        let (pattern, value) = assignment(argument)?;
        let pattern = pattern_of(pattern, 3, "-Fe requires service_name/type/field_name")?;
        let field = FIELDS.iter().position(|field| *field == pattern[2]);
        let field = field.ok_or_else(|| format!("invalid service attribute name: \"{}\"", pattern[2]))?;
        if field != COMMAND && value.contains(is_space) {
            return Err("-Fe does not accept whitespace in non-command field".to_owned());
        }
        requests.push((pattern, (field, value)));
    }
    update(text, main, arguments, &requests, |row, &(field, value)| {
        if field < COMMAND {
            row.columns[field] = value.to_owned();
            return Ok(());
        }
        let entry = format!("{} {value}", row.columns[..COMMAND].join(" "));
        *row = self::row(&entry, main)?.ok_or("empty command")?;
        Ok(())
    })
}

/// `-Pe service/type/parameter=value…`: sets parameters of single services.
///
/// # Errors
/// As for [`set_rows`].
pub fn set_overrides(text: &str, main: &MainCf, arguments: &[&str]) -> Result<Edited, String> {
    let mut requests = Vec::new();
    for argument in arguments {
        let (pattern, value) = assignment(argument)?;
        let pattern = pattern_of(pattern, 3, OVERRIDE_WANTED)?;
        if value.contains(is_space) {
            return Err("-Pe does not accept whitespace in parameter value".to_owned());
        }
        requests.push((pattern.clone(), format!("{}={value}", pattern[2])));
    }
    update(text, main, arguments, &requests, |row, assignment| {
        let name = assignment.split('=').next().unwrap_or_default();
        let place = override_places(row, name);
        if place.is_empty() {
            let end = row.arguments.len() - row.command_arguments().len();
            row.arguments.splice(end..end, ["-o".to_owned(), assignment.clone()]);
        }
        place.into_iter().for_each(|at| row.arguments[at + 1].clone_from(assignment));
        Ok(())
    })
}

/// `-PX service/type/parameter…`: removes parameters of single services.
///
/// # Errors
/// As for [`set_rows`].
pub fn remove_overrides(text: &str, main: &MainCf, arguments: &[&str]) -> Result<Edited, String> {
    let mut requests = Vec::new();
    for argument in arguments {
        let pattern = pattern_of(argument, 3, OVERRIDE_WANTED)?;
        requests.push((pattern.clone(), pattern[2].clone()));
    }
    update(text, main, arguments, &requests, |row, name| {
        for at in override_places(row, name).into_iter().rev() {
            row.arguments.drain(at..at + 2);
        }
        Ok(())
    })
}

const OVERRIDE_WANTED: &str = "-Pe or -PX requires service_name/type/parameter";

/// Changes every row that a request names.
fn update<T>(
    text: &str,
    main: &MainCf,
    arguments: &[&str],
    requests: &[(Vec<String>, T)],
    change: impl Fn(&mut Row, &T) -> Result<(), String>,
) -> Result<Edited, String> {
    let mut found = vec![false; requests.len()];
    let text = walk(text, main, |row| {
        let mut changed = None;
        for ((_, request), found) in requests.iter().zip(&mut found).filter(|((pattern, _), _)| matches(pattern, row)) {
            *found = true;
            change(changed.get_or_insert_with(|| row.clone()), request)?;
        }
        Ok(changed.map_or(Fate::Keep, |row| Fate::Update(service(main, &row, FOLDED) + "\n")))
    })?;
    let unmatched = arguments.iter().zip(found).filter(|(_, found)| !found);
    let warnings = unmatched.map(|(argument, _)| format!("unmatched service_name/type: \"{argument}\"")).collect();
    Ok(Edited { text, warnings })
}

/// Goes through the rows with their continuation lines and the comments within and behind them.
fn walk(text: &str, main: &MainCf, mut fate: impl FnMut(&Row) -> Result<Fate, String>) -> Result<String, String> {
    let is_comment = |line: &str| matches!(line.trim_start_matches(is_space).chars().next(), None | Some('#'));
    let mut lines = text.split_inclusive('\n').peekable();
    let mut result = String::with_capacity(text.len());
    while let Some(first) = lines.next() {
        if is_comment(first) || first.starts_with(is_space) {
            result.push_str(first);
            continue;
        }
        let mut all = vec![first];
        while let Some(more) = lines.next_if(|line| is_comment(line) || line.starts_with(is_space)) {
            all.push(more);
        }
        let comments = || all.iter().filter(|line| is_comment(line)).copied();
        let entry: String = all.iter().filter(|line| !is_comment(line)).copied().collect();
        // A row that cannot be read is named by nothing.
        let fate = row(&entry, main).ok().flatten().map_or(Ok(Fate::Keep), |row| fate(&row))?;
        match fate {
            Fate::Keep => result.extend(all),
            Fate::Drop => result.extend(comments()),
            Fate::CommentOut => {
                for line in &all {
                    result.push_str(if is_comment(line) { "" } else { "#" });
                    result.push_str(line);
                }
            }
            Fate::Replace(row) => result.extend(std::iter::once(row.as_str()).chain(comments())),
            Fate::Update(row) => result.extend(comments().chain([row.as_str()])),
        }
    }
    Ok(result)
}

/// The row in a text; `None` when fields are missing.
fn row(entry: &str, main: &MainCf) -> Result<Option<Row>, String> {
    let mut found = Diagnostics::new();
    let row = MasterCf::parse(entry, "", main, &mut found).rows.into_iter().next();
    match found.iter().find(|one| row.is_none() && !one.problem.starts_with("missing ")) {
        Some(bad) => Err(bad.problem.clone()),
        None => Ok(row),
    }
}

/// Where the `-o` of a parameter stand among the arguments.
fn override_places(row: &Row, name: &str) -> Vec<usize> {
    let options = row.arguments.len() - row.command_arguments().len();
    let is_it = |at: &usize| {
        let value = row.arguments.get(at + 1).and_then(|text| text.split_once('='));
        row.arguments[*at] == "-o" && value.is_some_and(|(other, _)| other.trim() == name)
    };
    (0..options).filter(is_it).collect()
}

fn assignment<'t>(argument: &&'t str) -> Result<(&'t str, &'t str), String> {
    let missing = || format!("missing '=' after attribute name: \"{argument}\"");
    let (name, value) = argument.split_once('=').ok_or_else(missing)?;
    Ok((name.trim_matches(is_space), value.trim_matches(is_space)))
}

fn row_pattern(text: &str) -> Result<Vec<String>, String> {
    pattern_of(text, 2, "-Me, -MX or -M# requires service_name/type")
}

fn pattern_of(text: &str, parts: usize, wanted: &str) -> Result<Vec<String>, String> {
    let pattern: Vec<String> = text.splitn(parts, '/').map(str::to_owned).collect();
    if pattern.len() == parts { Ok(pattern) } else { Err(wanted.to_owned()) }
}

fn matches(pattern: &[String], row: &Row) -> bool {
    let pattern: Vec<&str> = pattern.iter().map(String::as_str).collect();
    part(&pattern, 0, &row.name) && part(&pattern, 1, row.kind.name())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::postfix::system::fake::FakeHost;

    const BEFORE: &str = "\
# head
smtp      inet  n       -       y       -       -       smtpd
  -o a=b
#submission inet n       -       y       -       -       smtpd
relay     unix  -       -       y       -       -       smtp
        -o syslog_name=postfix/$service_name
#       -o smtp_helo_timeout=5
virtual   unix  -       n       n       -       -       virtual
";
    const SMTP: &str = "smtp      inet  n       -       y       -       -       smtpd\n  -o a=b\n";
    const RELAY: &str =
        "relay     unix  -       -       y       -       -       smtp\n        -o syslog_name=postfix/$service_name\n";

    fn main_cf() -> MainCf {
        MainCf::parse("", "main.cf", Arc::new(FakeHost::default()), &mut Diagnostics::new())
    }

    type Edit = fn(&str, &MainCf, &[&str]) -> Result<Edited, String>;

    fn removed(text: &str, main: &MainCf, arguments: &[&str]) -> Result<Edited, String> {
        end_rows(text, main, arguments, false)
    }

    fn commented(text: &str, main: &MainCf, arguments: &[&str]) -> Result<Edited, String> {
        end_rows(text, main, arguments, true)
    }

    /// Recorded from Postfix 3.7.11: which text becomes which.
    #[test]
    fn each_edit_gives_what_postconf_writes() {
        let comment = "#submission inet n       -       y       -       -       smtpd\n";
        let updated = |row: &str| (format!("{SMTP}{comment}"), format!("{comment}{row}"));
        let row = |chroot: &str, rest: &str| {
            format!("smtp       inet  n       -       {chroot}       -       -       smtpd\n{rest}")
        };
        let edits: [(Edit, &str, (String, String)); 10] = [
            (set_rows, "smtp/inet=smtp inet n - n - 5 smtpd", {
                (SMTP.into(), "smtp       inet  n       -       n       -       5       smtpd\n".into())
            }),
            (removed, "relay/unix", (RELAY.into(), String::new())),
            (removed, "nosuch/unix", (String::new(), String::new())),
            (commented, "relay/unix", (RELAY.into(), { RELAY.lines().map(|line| format!("#{line}\n")).collect() })),
            (set_fields, "smtp/inet/chroot=n", updated(&row("n", "    -o a=b\n"))),
            (set_fields, "smtp/inet/command=smtpd -o q=r -v", updated(&row("y", "    -o q=r\n    -v\n"))),
            (set_overrides, "smtp/inet/a=c", updated(&row("y", "    -o a=c\n"))),
            (set_overrides, "smtp/inet/new=1", updated(&row("y", "    -o a=b\n    -o new=1\n"))),
            (remove_overrides, "smtp/inet/a", updated(&row("y", ""))),
            (remove_overrides, "smtp/inet/nosuch", updated(&row("y", "    -o a=b\n"))),
        ];
        for (edit, argument, (old, new)) in edits {
            let edited = edit(BEFORE, &main_cf(), &[argument]).unwrap();
            assert_eq!(edited, Edited { text: BEFORE.replacen(&old, &new, 1), warnings: vec![] }, "{argument}");
        }
        let row = "submission inet n - y - - smtpd -o x=y -o smtpd_tls_security_level=encrypt";
        let added = set_rows(BEFORE, &main_cf(), &[&format!("submission/inet={row}")]).unwrap().text;
        let new = "submission inet  n       -       y       -       -       smtpd\n    -o x=y\n    -o smtpd_tls_security_level=encrypt\n";
        assert_eq!(added, format!("{BEFORE}{new}"));
    }

    #[test]
    fn patterns_name_many_rows() {
        let edited = set_fields(BEFORE, &main_cf(), &["*/unix/chroot=n", "*/*/process_limit=3"]).unwrap();
        assert_eq!(edited.text.matches("       n       -       3       ").count(), 2, "{}", edited.text);
        assert_eq!(edited.text.matches("       3       ").count(), 3);
        let edited = set_fields(BEFORE, &main_cf(), &["nosuch/inet/chroot=n"]).unwrap();
        assert_eq!(
            (edited.text.as_str(), edited.warnings),
            (BEFORE, { vec!["unmatched service_name/type: \"nosuch/inet/chroot=n\"".to_owned()] })
        );
    }

    /// Recorded from Postfix 3.7.11.
    #[test]
    fn what_is_no_edit_is_refused() {
        let edits: [(Edit, &str, &str); 9] = [
            (set_rows, "smtp/inet=smtp inet n", "bad field count: \"smtp/inet=smtp inet n\""),
            (set_rows, "smtp=smtp inet n - n - 5 smtpd", "-Me, -MX or -M# requires service_name/type"),
            (set_rows, "smtp/inet", "missing '=' after attribute name: \"smtp/inet\""),
            (removed, "relay", "-Me, -MX or -M# requires service_name/type"),
            (set_fields, "smtp/inet/bogus=n", "invalid service attribute name: \"bogus\""),
            (set_fields, "smtp/inet/chroot", "missing '=' after attribute name: \"smtp/inet/chroot\""),
            (set_overrides, "smtp/inet/a=with space", "-Pe does not accept whitespace in parameter value"),
            (set_overrides, "smtp/inet=c", "-Pe or -PX requires service_name/type/parameter"),
            (remove_overrides, "smtp/inet", "-Pe or -PX requires service_name/type/parameter"),
        ];
        for (edit, argument, problem) in edits {
            assert_eq!(edit(BEFORE, &main_cf(), &[argument]), Err(problem.to_owned()), "{argument}");
        }
    }
}
