//! What the name service has said of users and groups, for `unix:passwd.byname` and `unix:group.byname`.
//!
//! A table cannot wait for another process. So a lookup that finds no answer here fails, and leaves the name in
//! [`Names::take_missing`]: who evaluated the question puts it aside, has the name service asked, and evaluates it anew
//! when the answer is here. Answers are kept for [`KEPT`], failures for [`KEPT_FAILURE`], which is long enough for the
//! questions that waited; never more than [`MAX_KEPT`].

use std::collections::HashMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use store_tables::NameService;

/// How long an answer, yes or no, is good.
pub const KEPT: Duration = Duration::from_secs(10);
/// How long a failure is.
pub const KEPT_FAILURE: Duration = Duration::from_secs(1);
/// Answers that are kept at once. A stranger who tries names cannot make it more.
pub const MAX_KEPT: usize = 10_000;
/// The longest name that is asked for, in bytes; no system has longer ones (`LOGIN_NAME_MAX` is 256 with its NUL).
pub const MAX_NAME: usize = 255;

/// Which of the two databases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Database {
    /// passwd
    User,
    /// group
    Group,
}

/// A name in one of them.
pub type Name = (Database, String);
/// The line of a name, none, or why that is not known.
pub type Line = Result<Option<String>, String>;

/// The answers.
#[derive(Debug)]
pub struct Names(Mutex<State>);

#[derive(Debug)]
struct State {
    now: Instant,
    kept: HashMap<Name, (Instant, Line)>,
    missing: Option<Name>,
}

impl Names {
    /// Nothing is known yet.
    pub fn new(now: Instant) -> Names {
        Names(Mutex::new(State { now, kept: HashMap::new(), missing: None }))
    }

    /// Sets the time of the lookups that follow.
    pub fn set_now(&self, now: Instant) {
        self.state().now = now;
    }

    /// The name that a lookup since the last call did not find here.
    pub fn take_missing(&self) -> Option<Name> {
        self.state().missing.take()
    }

    /// Keeps an answer.
    pub fn answer(&self, name: Name, line: Line) {
        let mut state = self.state();
        let now = state.now;
        if state.kept.len() >= MAX_KEPT {
            state.kept.retain(|_, (until, _)| *until > now);
        }
        if state.kept.len() >= MAX_KEPT {
            state.kept.clear();
        }
        let until = now + if line.is_ok() { KEPT } else { KEPT_FAILURE };
        state.kept.insert(name, (until, line));
    }

    fn line(&self, database: Database, name: &str) -> io::Result<Option<String>> {
        if name.is_empty() || name.len() > MAX_NAME || name.starts_with('@') || name.contains(['\0', ':', '\n']) {
            return Ok(None);
        }
        let mut state = self.state();
        let name = (database, name.to_owned());
        match state.kept.get(&name) {
            Some((until, line)) if *until > state.now => line.clone().map_err(io::Error::other),
            _ => {
                state.missing = Some(name);
                Err(io::Error::other("the name service has not answered yet"))
            }
        }
    }

    /// Every change leaves the state whole, so a panic elsewhere while the lock was held does not matter.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl NameService for Names {
    fn passwd_by_name(&self, user: &str) -> io::Result<Option<String>> {
        self.line(Database::User, user)
    }

    fn group_by_name(&self, group: &str) -> io::Result<Option<String>> {
        self.line(Database::Group, group)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_asked_for_once_while_its_answer_is_good() {
        let start = Instant::now();
        let names = Names::new(start);
        let root = || (Database::User, "root".to_owned());
        assert!(names.passwd_by_name("root").is_err());
        assert_eq!((names.take_missing(), names.take_missing()), (Some(root()), None));
        names.answer(root(), Ok(Some("root:x:0:0".into())));
        assert_eq!(names.passwd_by_name("root").unwrap().as_deref(), Some("root:x:0:0"));
        assert!(names.group_by_name("root").is_err());
        names.set_now(start + KEPT);
        assert!(names.passwd_by_name("root").is_err());
    }

    #[test]
    fn a_failure_is_told_to_who_waited_and_forgotten() {
        let start = Instant::now();
        let names = Names::new(start);
        names.answer((Database::Group, "g".into()), Err("no answer".into()));
        assert_eq!(names.group_by_name("g").unwrap_err().to_string(), "no answer");
        assert_eq!(names.take_missing(), None);
        names.set_now(start + KEPT_FAILURE);
        assert!(names.group_by_name("g").is_err() && names.take_missing().is_some());
    }

    #[test]
    fn names_that_no_system_has_are_not_asked_for() {
        let names = Names::new(Instant::now());
        for name in ["", "@x", "a:b", "a\0", "a\nb", &"x".repeat(MAX_NAME + 1)] {
            assert_eq!(names.passwd_by_name(name).unwrap(), None, "{name:?}");
        }
        assert_eq!(names.take_missing(), None);
        assert!(names.passwd_by_name(&"x".repeat(MAX_NAME)).is_err());
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let names = Names::new(Instant::now());
        for n in 0..MAX_KEPT + 1 {
            names.answer((Database::User, n.to_string()), Ok(None));
        }
        assert_eq!(names.state().kept.len(), 1);
    }
}
