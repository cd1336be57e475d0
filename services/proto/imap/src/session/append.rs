//! APPEND: messages go straight from the input to the store.

use super::{Done, Failure, Now, Running, Session};
use crate::command::{AppendPart, parse_append};
use crate::frame::Announced;
use crate::mailbox::{Appending, Mailboxes};
use crate::name::MailboxName;
use crate::{response, token};

/// An APPEND of which a message was accepted.
pub(super) struct Append<A> {
    tag: Vec<u8>,
    appending: A,
}

impl<A> Append<A> {
    /// Gives the messages up; whose command it was.
    pub fn into_tag(self) -> Vec<u8> {
        self.tag
    }
}

impl<M: Mailboxes> Session<M> {
    /// A message is announced, the first of the command or a further one.
    pub(super) fn append_message(&mut self, announced: Announced, now: Now) {
        let (tag, result) = match std::mem::replace(&mut self.running, Running::Nothing) {
            Running::Append(append) => {
                let part = parse_append(self.framer.command(), false, true);
                let result = part.map_err(Failure::from).and_then(|part| begin(part, append.appending, announced));
                (append.tag, result)
            }
            _ => {
                let Some(line) = token::split(self.framer.command()) else {
                    return self.framer.discard();
                };
                self.last_command = Some("APPEND".to_owned());
                let part = parse_append(line.rest, true, true).map_err(Failure::from);
                (line.tag.to_vec(), part.and_then(|part| self.begin_first(part, announced)))
            }
        };
        match result {
            Ok(appending) => {
                self.running = Running::Append(Append { tag, appending });
                self.framer.accept();
                if announced.waits {
                    self.out.extend_from_slice(b"+ OK\r\n");
                }
            }
            Err(failure) => {
                self.framer.discard();
                self.finish(&tag, "APPEND", Err(failure), now);
            }
        }
    }

    fn begin_first(&mut self, part: AppendPart, announced: Announced) -> Result<M::Appending, Failure> {
        let AppendPart::Message(Some(mailbox), message) = part else {
            return Err(Failure::Syntax("Missing arguments".into()));
        };
        let appending = self.open_append(&mailbox)?;
        begin(AppendPart::Message(None, message), appending, announced)
    }

    fn open_append(&mut self, mailbox: &MailboxName) -> Result<M::Appending, Failure> {
        let levels = mailbox.check_levels(self.mailboxes.separator());
        levels.map_err(|text| Failure::No(format!("[CANNOT] {text}").into()))?;
        self.mailboxes.append(mailbox).map_err(|error| Failure::with_missing(error, "TRYCREATE"))
    }

    /// Octets of the accepted message.
    pub(super) fn append_data(&mut self, octets: &[u8], now: Now) {
        let Running::Append(append) = &mut self.running else { return };
        if let Err(error) = append.appending.write(octets) {
            let tag = std::mem::take(&mut append.tag);
            self.running = Running::Nothing;
            self.framer.discard();
            self.finish(&tag, "APPEND", Err(error.into()), now);
        }
    }

    /// The line after a message ended without another message.
    pub(super) fn append_end(&mut self, now: Now) {
        let Running::Append(append) = std::mem::replace(&mut self.running, Running::Nothing) else { return };
        let done = match parse_append(self.framer.command(), false, false) {
            Ok(_) => commit(append.appending),
            Err(refusal) => Err(refusal.into()),
        };
        self.finish(&append.tag, "APPEND", done, now);
    }

    /// An APPEND without any message is always wrong; in which way, its parser says.
    pub(super) fn append_without_message(&mut self, tag: &[u8], now: Now) {
        let rest = token::split(self.framer.command()).map_or(&b""[..], |line| line.rest);
        let failure = match parse_append(rest, true, false) {
            Ok(_) => Failure::Syntax("Invalid arguments".into()),
            Err(refusal) => refusal.into(),
        };
        self.finish(tag, "APPEND", Err(failure), now);
    }
}

/// Begins a message.
fn begin<A: Appending>(part: AppendPart, mut appending: A, announced: Announced) -> Result<A, Failure> {
    let AppendPart::Message(_, message) = part else {
        return Err(Failure::Syntax("Invalid arguments".into()));
    };
    check(announced)?;
    appending.begin(&message, announced.size)?;
    Ok(appending)
}

fn check(announced: Announced) -> Result<(), Failure> {
    if announced.binary {
        return Err(Failure::Syntax("literal8 not allowed here".into()));
    }
    if announced.size == 0 {
        // RFC 3502 section 6.3.11: a client gives up an APPEND in this way.
        return Err(Failure::No("Can't save a zero byte message".into()));
    }
    Ok(())
}

fn commit<A: Appending>(appending: A) -> Result<Done, Failure> {
    let appended = appending.commit()?;
    let mut text = format!("OK [APPENDUID {} ", appended.uid_validity).into_bytes();
    response::uid_set(&mut text, &appended.uids);
    text.extend_from_slice(b"] Append completed");
    Ok(Done::news(String::from_utf8_lossy(&text).into_owned()))
}
