//! Questions to the lookup service, and what its answers make of a message.

use super::*;

impl Core {
    /// The lookup service is there (again): it is asked everything that is open.
    pub fn lookup_up(&mut self) {
        self.lookup = true;
        self.actions.extend(self.questions.values().map(|(_, _, question)| Action::Ask(question.clone())));
    }

    /// It is gone; what it had answered in part is answered anew.
    pub fn lookup_down(&mut self) {
        self.lookup = false;
        for (token, about, _) in self.questions.values() {
            if let (About::Recipient(number), Some((_, _, message))) = (about, self.messages.get_mut(token)) {
                message.given[*number].expanded = None;
            }
        }
    }

    /// Asks about a message, which waits for the answer; now, or as soon as somebody is there who can answer.
    pub(super) fn ask(&mut self, token: Token, about: About, question: impl FnOnce(u32) -> ToLookup) {
        self.next_corr = self.next_corr.wrapping_add(1);
        let question = question(self.next_corr);
        if let Some((_, _, message)) = self.messages.get_mut(&token) {
            message.unanswered += 1;
        }
        if self.lookup {
            self.actions.push(Action::Ask(question.clone()));
        }
        self.questions.insert(self.next_corr, (token, about, question));
    }

    /// An answer. One to a question that nobody has any more is dropped.
    pub fn answer(&mut self, answer: FromLookup) {
        let (corr, result, more) = match answer {
            FromLookup::Expanded { corr, recipients, more } => (corr, recipients, more),
            FromLookup::Rewritten { corr, address } => (corr, Ok(vec![address]), false),
            FromLookup::Resolved { .. } | FromLookup::Checked { .. } | FromLookup::Value { .. } => return,
        };
        let Some(&(token, about, _)) = self.questions.get(&corr) else { return };
        let Some((_, _, message)) = self.messages.get_mut(&token) else { return };
        match (about, result) {
            (About::Recipient(number), Ok(addresses)) => {
                let expanded = message.given[number].expanded.get_or_insert_default();
                expanded.extend(addresses);
                if expanded.len() > recipients::MAX_RECIPIENTS {
                    return self.refuse(token, WRITE_ERROR);
                }
            }
            (About::Sender, Ok(addresses)) => message.envelope.sender = addresses.concat(),
            (_, Err(error)) => {
                let line = format!("{}: {error}", message.envelope.queue_id);
                let reply = if error.contains(LOOKUP_PROBLEM) { WRITE_ERROR } else { ALIAS_ERROR };
                self.log_warning(line);
                return self.refuse(token, reply);
            }
        }
        if !more {
            message.unanswered -= 1;
            self.questions.remove(&corr);
            self.advance(token);
        }
    }
}
