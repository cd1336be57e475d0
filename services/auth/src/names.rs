//! Names of accounts and groups, as the name service tells them.
//!
//! Nobody waits here: what is not known is noted as wanted and answered with an error; the caller asks the name service and
//! does its work once more when the answer has come. Answers are kept for [`TTL`] seconds, at most [`MAX_NAMES`] of them.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use ipc_messages::lookup::{FromNameService, ToNameService};
use store_passwords::passwd_file::Accounts;

/// Seconds for which an answer is good.
pub const TTL: u64 = 60;
/// Seconds for which a failure is.
pub const FAILURE_TTL: u64 = 2;
/// Most names that are known or asked for at a time.
pub const MAX_NAMES: usize = 4096;

/// A name in one of the two databases.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    /// Of passwd.
    User(String),
    /// Of group.
    Group(String),
}

/// What is known.
#[derive(Default)]
pub struct Names {
    known: BTreeMap<Name, (u64, Result<Option<u32>, String>)>,
    /// Questions that are on their way.
    asked: BTreeMap<u32, Name>,
    /// What was looked for and not found since [`Names::take_wanted`].
    wanted: RefCell<BTreeSet<Name>>,
    next: u32,
}

impl Names {
    fn look(&self, name: Name) -> Result<Option<u32>, String> {
        match self.known.get(&name) {
            Some((_, answer)) => answer.clone(),
            None => {
                self.wanted.borrow_mut().insert(name);
                Err("the name service has not answered yet".into())
            }
        }
    }

    /// Forgets answers that are too old at `now`, in seconds. Between two calls every name keeps its meaning.
    pub fn expire(&mut self, now: u64) {
        let ttl = |answer: &Result<_, _>| if answer.is_ok() { TTL } else { FAILURE_TTL };
        self.known.retain(|_, (since, answer)| now.saturating_sub(*since) < ttl(answer));
    }

    /// What was looked for and is not known, since the last call.
    pub fn take_wanted(&mut self) -> Vec<Name> {
        std::mem::take(self.wanted.get_mut()).into_iter().collect()
    }

    /// Whether a question for this name is on its way.
    pub fn is_asked(&self, name: &Name) -> bool {
        self.asked.values().any(|asked| asked == name)
    }

    /// The questions for these names, as far as they are not on their way already.
    pub fn ask(&mut self, names: &[Name]) -> Vec<ToNameService> {
        let mut questions = Vec::new();
        for name in names {
            if self.is_asked(name) || self.asked.len() >= MAX_NAMES {
                continue;
            }
            self.next = self.next.wrapping_add(1);
            self.asked.insert(self.next, name.clone());
            questions.push(question(self.next, name));
        }
        questions
    }

    /// Everything that is on its way, once more: for a name service that has been replaced.
    pub fn ask_again(&self) -> Vec<ToNameService> {
        self.asked.iter().map(|(&corr, name)| question(corr, name)).collect()
    }

    /// Takes an answer; whether it was to a question of ours.
    pub fn answer(&mut self, answer: FromNameService, now: u64) -> bool {
        let FromNameService::Entry { corr, line } = answer;
        let Some(name) = self.asked.remove(&corr) else { return false };
        if self.known.len() >= MAX_NAMES {
            self.known.clear();
        }
        let id = line.and_then(|line| line.map(|line| number(&line)).transpose());
        self.known.insert(name, (now, id));
        true
    }
}

fn question(corr: u32, name: &Name) -> ToNameService {
    match name.clone() {
        Name::User(name) => ToNameService::User { corr, name },
        Name::Group(name) => ToNameService::Group { corr, name },
    }
}

/// The third field of a line of passwd(5) or group(5).
fn number(line: &str) -> Result<u32, String> {
    let field = line.split(':').nth(2).and_then(|field| field.parse().ok());
    field.ok_or_else(|| "the name service's answer has no number".into())
}

impl Accounts for Names {
    fn uid(&self, name: &str) -> Result<Option<u32>, String> {
        self.look(Name::User(name.to_owned()))
    }

    fn gid(&self, name: &str) -> Result<Option<u32>, String> {
        self.look(Name::Group(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(corr: u32, line: Result<Option<&str>, &str>) -> FromNameService {
        FromNameService::Entry { corr, line: line.map(|line| line.map(str::to_owned)).map_err(str::to_owned) }
    }

    #[test]
    fn a_name_is_asked_for_once_and_then_known_for_a_while() {
        let mut names = Names::default();
        assert!(names.uid("vmail").is_err() && names.gid("vmail").is_err());
        let wanted = names.take_wanted();
        let questions = names.ask(&wanted);
        assert_eq!(
            questions,
            [
                ToNameService::User { corr: 1, name: "vmail".into() },
                ToNameService::Group { corr: 2, name: "vmail".into() }
            ]
        );
        assert!(names.ask(&wanted).is_empty());
        assert_eq!(names.ask_again(), questions);
        assert!(names.answer(entry(1, Ok(Some("vmail::5000:5001::/:"))), 10));
        assert!(names.answer(entry(2, Ok(None)), 10));
        assert!(!names.answer(entry(2, Ok(None)), 10), "an answer that nobody waits for");
        assert_eq!((names.uid("vmail"), names.gid("vmail")), (Ok(Some(5000)), Ok(None)));
        assert!(names.take_wanted().is_empty());
        names.expire(10 + TTL - 1);
        assert_eq!(names.uid("vmail"), Ok(Some(5000)));
        names.expire(10 + TTL);
        assert!(names.uid("vmail").is_err());
        assert_eq!(names.take_wanted(), [Name::User("vmail".into())]);
    }

    #[test]
    fn failures_and_nonsense_are_told() {
        let mut names = Names::default();
        names.ask(&[Name::User("a".into()), Name::User("b".into())]);
        names.answer(entry(1, Err("timed out")), 0);
        names.answer(entry(2, Ok(Some("b:x"))), 0);
        assert_eq!(names.uid("a"), Err("timed out".into()));
        assert!(names.uid("b").unwrap_err().contains("no number"));
        names.expire(FAILURE_TTL);
        assert!(names.known.is_empty(), "soon it is tried again");
    }

    #[test]
    fn names_are_bounded() {
        let mut names = Names::default();
        for n in 0..=MAX_NAMES {
            names.ask(&[Name::User(n.to_string())]);
        }
        assert_eq!(names.ask_again().len(), MAX_NAMES);
        for corr in 1..=MAX_NAMES as u32 {
            names.answer(entry(corr, Ok(None)), 0);
        }
        names.ask(&[Name::User("more".into())]);
        names.answer(entry(MAX_NAMES as u32 + 1, Ok(Some("more::1:1:::"))), 0);
        assert_eq!(names.uid("more"), Ok(Some(1)));
        assert!(names.known.len() <= MAX_NAMES);
    }
}
