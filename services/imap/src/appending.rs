//! APPEND: messages are written as they come, and all get their places at the end.

use proto_imap::command::AppendMessage;
use proto_imap::mailbox::{Appended, Appending, Error};
use proto_imap::sequence::UidSet;
use slog::Logger;
use store_mailbox::fs::Fs;
use store_mailbox::mailbox::{Incoming, Mailbox, Staged};

use crate::flags;
use crate::refusal::refusal;

/// Messages that are written before they are made durable; no more files are open.
const TOGETHER: usize = 64;

/// Messages on their way into a mailbox. Dropped without a commit, it leaves nothing behind.
pub struct Draft<F: Fs> {
    mailbox: Mailbox<F>,
    incoming: Option<Incoming<F>>,
    staged: Vec<Staged<F>>,
    /// How many of `staged` are durable.
    durable: usize,
    log: Logger,
}

impl<F: Fs> Draft<F> {
    /// Messages for `mailbox`.
    pub fn new(mailbox: Mailbox<F>, log: Logger) -> Draft<F> {
        Draft { mailbox, incoming: None, staged: Vec::new(), durable: 0, log }
    }

    /// The message that came last is complete.
    fn end_message(&mut self) -> Result<(), Error> {
        let Some(incoming) = self.incoming.take() else { return Ok(()) };
        self.staged.push(self.mailbox.end(incoming).map_err(|error| refusal(&self.log, &error))?);
        if self.staged.len() - self.durable >= TOGETHER { self.sync() } else { Ok(()) }
    }

    /// Makes the content of what is written durable.
    fn sync(&mut self) -> Result<(), Error> {
        for staged in &mut self.staged[self.durable..] {
            self.mailbox.sync_staged(staged).map_err(|error| refusal(&self.log, &error))?;
        }
        self.durable = self.staged.len();
        Ok(())
    }
}

impl<F: Fs> Appending for Draft<F> {
    fn begin(&mut self, message: &AppendMessage, _size: u64) -> Result<(), Error> {
        self.end_message()?;
        let keywords = message.flags.keywords.iter().map(|keyword| keyword.as_str().to_owned()).collect();
        let begun = self.mailbox.begin(flags::to_store(message.flags.flags), keywords, message.internal_date);
        self.incoming = Some(begun.map_err(|error| refusal(&self.log, &error))?);
        Ok(())
    }

    fn write(&mut self, octets: &[u8]) -> Result<(), Error> {
        let Some(incoming) = &mut self.incoming else { return Ok(()) };
        self.mailbox.take(incoming, octets).map_err(|error| refusal(&self.log, &error))
    }

    fn commit(mut self) -> Result<Appended, Error> {
        self.end_message()?;
        self.sync()?;
        let placed = self.mailbox.place(std::mem::take(&mut self.staged));
        let uids = placed.map_err(|error| refusal(&self.log, &error))?;
        let uid_validity = self.mailbox.uid_validity();
        Ok(Appended { uid_validity, uids: UidSet::from_ascending(uids) })
    }
}

impl<F: Fs> Drop for Draft<F> {
    fn drop(&mut self) {
        if let Some(incoming) = &self.incoming {
            self.mailbox.give_up(incoming);
        }
        self.staged.iter().for_each(|staged| self.mailbox.discard(staged));
    }
}
