//! From a question to its answer, or to the name that must be known first. It knows no channel.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use ipc_config::section::Section;
use ipc_messages::lookup::{FromLookup, Known, Route, ToLookup};
use store_tables::Files;

use crate::names::{Line, Name, Names};
use crate::policy::{Host, Policy};
use crate::tables::Note;

/// Bytes of recipients in one answer; more of them go into another one. A frame holds 64 KiB.
pub const PIECE: usize = 32 * 1024;

/// Answers questions.
pub struct Lookup {
    policy: Policy,
    names: Arc<Names>,
    files: Arc<dyn Files>,
    host: Host,
    /// Answers of this turn: a burst of mail asks for the same things.
    answers: HashMap<(Kind, String), Answer>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Resolve,
    Check,
    Expand,
}

/// An answer, before it has the number of its question.
#[derive(Debug, Clone)]
enum Answer {
    Resolved(Result<Route, String>),
    Checked(Result<(Route, Known), String>),
    Expanded(Result<Vec<String>, String>),
}

impl Lookup {
    /// Answers by this configuration; `files` opens tables.
    pub fn new(section: &Section, host: Host, files: Arc<dyn Files>, now: Instant) -> Lookup {
        let names = Arc::new(Names::new(now));
        let policy = Policy::new(section, &host, Arc::clone(&files), Arc::clone(&names));
        Lookup { policy, names, files, host, answers: HashMap::new() }
    }

    /// From now on by another configuration.
    pub fn reload(&mut self, section: &Section) {
        self.policy = Policy::new(section, &self.host, Arc::clone(&self.files), Arc::clone(&self.names));
        self.answers.clear();
    }

    /// Sets the time.
    pub fn set_now(&mut self, now: Instant) {
        self.names.set_now(now);
    }

    /// What is to be logged since the last call.
    pub fn take_notes(&mut self) -> Vec<Note> {
        self.policy.tables.take_notes()
    }

    /// Forgets the answers of the turn that ends.
    pub fn end_of_turn(&mut self) {
        self.answers.clear();
    }

    /// The name service has answered.
    pub fn name(&mut self, name: Name, line: Line) {
        self.names.answer(name, line);
    }

    /// The frames that answer a question.
    ///
    /// # Errors
    /// The name that the name service must be asked for first; then the question is to be put again.
    pub fn ask(&mut self, question: &ToLookup) -> Result<Vec<FromLookup>, Name> {
        let answer = match question {
            ToLookup::Resolve { corr, address, .. } => self.cached(Kind::Resolve, address)?.with(*corr),
            ToLookup::Check { corr, address, .. } => self.cached(Kind::Check, address)?.with(*corr),
            ToLookup::Expand { corr, address } => self.cached(Kind::Expand, address)?.with(*corr),
            ToLookup::Rewrite { corr, address, local } => {
                let rewriter = &self.policy.rewriter;
                let completion = if *local { &rewriter.local } else { &rewriter.remote };
                vec![FromLookup::Rewritten { corr: *corr, address: rewriter.external(address, completion) }]
            }
            ToLookup::Table { corr, table, key } => {
                let value = self.policy.tables.find(table, key).map_err(|failure| failure.0);
                self.complete(())?;
                vec![FromLookup::Value { corr: *corr, value }]
            }
        };
        Ok(answer)
    }

    fn cached(&mut self, kind: Kind, address: &str) -> Result<Answer, Name> {
        let subject = (kind, address.to_owned());
        if let Some(answer) = self.answers.get(&subject) {
            return Ok(answer.clone());
        }
        let policy = &self.policy;
        let answer = match kind {
            Kind::Resolve => Answer::Resolved(policy.resolve(address).map_err(|failure| failure.0)),
            Kind::Check => Answer::Checked(policy.check(address).map_err(|failure| failure.0)),
            Kind::Expand => Answer::Expanded(policy.expand(address)),
        };
        let answer = self.complete(answer)?;
        self.answers.insert(subject, answer.clone());
        Ok(answer)
    }

    /// The answer, unless a name was missing on the way to it.
    fn complete<A>(&self, answer: A) -> Result<A, Name> {
        match self.names.take_missing() {
            Some(name) => {
                self.policy.tables.forget_notes();
                Err(name)
            }
            None => Ok(answer),
        }
    }
}

impl Answer {
    fn with(self, corr: u32) -> Vec<FromLookup> {
        match self {
            Answer::Resolved(route) => vec![FromLookup::Resolved { corr, route }],
            Answer::Checked(answer) => vec![FromLookup::Checked { corr, answer }],
            Answer::Expanded(Err(error)) => {
                vec![FromLookup::Expanded { corr, recipients: Err(error), more: false }]
            }
            Answer::Expanded(Ok(recipients)) => {
                let mut pieces = pieces(recipients);
                let last = pieces.pop();
                let piece = |more| move |piece| FromLookup::Expanded { corr, recipients: Ok(piece), more };
                pieces.into_iter().map(piece(true)).chain(last.into_iter().map(piece(false))).collect()
            }
        }
    }
}

/// Recipients in pieces of [`PIECE`] bytes, at least one piece.
fn pieces(recipients: Vec<String>) -> Vec<Vec<String>> {
    let (mut pieces, mut bytes) = (vec![Vec::new()], 0);
    for recipient in recipients {
        bytes += recipient.len();
        if bytes > PIECE && pieces.last().is_some_and(|piece| !piece.is_empty()) {
            bytes = recipient.len();
            pieces.push(Vec::new());
        }
        if let Some(piece) = pieces.last_mut() {
            piece.push(recipient);
        }
    }
    pieces
}

/// A question that cannot be answered, with the reason.
pub fn refuse(question: &ToLookup, reason: &str) -> FromLookup {
    let reason = reason.to_owned();
    match *question {
        ToLookup::Resolve { corr, .. } => FromLookup::Resolved { corr, route: Err(reason) },
        ToLookup::Check { corr, .. } => FromLookup::Checked { corr, answer: Err(reason) },
        ToLookup::Expand { corr, .. } => FromLookup::Expanded { corr, recipients: Err(reason), more: false },
        ToLookup::Table { corr, .. } => FromLookup::Value { corr, value: Err(reason) },
        // It asks no table, so it never waits; as it is, it is the best there is.
        ToLookup::Rewrite { corr, ref address, .. } => FromLookup::Rewritten { corr, address: address.clone() },
    }
}

#[cfg(test)]
mod tests;
