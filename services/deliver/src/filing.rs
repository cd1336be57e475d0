//! What happens on the pool's threads: batches of messages into mailboxes.

use std::cell::RefCell;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use ipc_messages::delivery::Filed;
use store_mailbox::deliver::{Deliverer, Delivery};
use store_mailbox::error::Kind;
use store_mailbox::fs::real::RealFs;
use store_mailbox::location::{Fsync, Location, MailboxName};
use store_mailbox::mailbox::Environment;
use store_mailbox::message::Source;
use worker::PeerId;

use crate::Message;

/// Bytes at the start of a message in which its Message-ID is looked for.
const HEADER: usize = 16 * 1024;

/// One recipient's copy, ready to be written.
pub struct Job {
    /// Who asked.
    pub peer: PeerId,
    /// Names the request.
    pub corr: u32,
    /// The recipient in it.
    pub position: u32,
    /// Whether a sync may be shared.
    pub queued: bool,
    /// For the log.
    pub tag: String,
    /// Lines before the content.
    pub prefix: Vec<u8>,
    /// The mailboxes.
    pub location: Location<RealFs>,
    /// Their absolute path.
    pub root: String,
    /// The content.
    pub message: Arc<Message>,
}

/// What became of a [`Job`].
pub struct Written {
    /// As in the job.
    pub peer: PeerId,
    /// As in the job.
    pub corr: u32,
    /// As in the job.
    pub position: u32,
    /// As in the job.
    pub queued: bool,
    /// As in the job.
    pub tag: String,
    /// `<…>`, or `unspecified`.
    pub message_id: String,
    /// Where it went.
    pub mailbox: &'static str,
    /// The answer.
    pub result: Filed,
    /// What went wrong, for the log.
    pub error: String,
}

/// Writes batches. Clones share what is unique to the process; each thread keeps its own open folders.
#[derive(Clone)]
pub struct Desk {
    environment: Environment<RealFs>,
}

thread_local! {
    /// The deliverers of this thread, by whether a sync may be shared.
    static DELIVERERS: RefCell<[Option<Deliverer<RealFs>>; 2]> = const { RefCell::new([None, None]) };
}

impl Desk {
    /// A desk for the folders of `fs`.
    pub fn new(fs: Arc<RealFs>, fsync: Fsync) -> Desk {
        Desk { environment: Environment { fs, names: Arc::default(), fsync } }
    }

    /// Writes a batch of one kind; all of it is durable when this returns, or has failed.
    pub fn write(&self, batch: Vec<Job>) -> Vec<Written> {
        let shared = batch.first().is_some_and(|job| job.queued);
        let deliveries: Vec<Delivery<'_, RealFs>> = batch.iter().map(delivery).collect();
        let outcomes = DELIVERERS.with_borrow_mut(|deliverers| {
            let deliverer =
                deliverers[usize::from(shared)].get_or_insert_with(|| Deliverer::new(self.environment.clone(), shared));
            deliverer.deliver(&deliveries)
        });
        drop(deliveries);
        batch.into_iter().zip(outcomes).map(|(job, outcome)| written(job, outcome)).collect()
    }
}

fn delivery(job: &Job) -> Delivery<'_, RealFs> {
    Delivery {
        location: &job.location,
        key: &job.root,
        mailbox: MailboxName::inbox(),
        create: true,
        prefix: &job.prefix,
        source: Source::File { file: &job.message.file, offset: 0, length: job.message.size },
    }
}

fn written(job: Job, outcome: store_mailbox::Result<store_mailbox::deliver::Delivered>) -> Written {
    let (result, error) = match outcome {
        Ok(_) => (Filed::Saved, String::new()),
        Err(error) => {
            let answer = match error.kind() {
                Kind::NoSpace => Filed::Temporary("4.2.2 Not enough disk space".into()),
                _ if error.is_temporary() => Filed::Temporary("4.2.0 Temporary internal error".into()),
                _ => Filed::Permanent("5.2.0 Internal error occurred".into()),
            };
            (answer, error.to_string())
        }
    };
    Written {
        peer: job.peer,
        corr: job.corr,
        position: job.position,
        queued: job.queued,
        tag: job.tag,
        message_id: message_id(&job.message),
        mailbox: "INBOX",
        result,
        error,
    }
}

/// The Message-ID header's value, for the log.
fn message_id(message: &Message) -> String {
    let mut start = vec![0; HEADER.min(message.size as usize)];
    let read = message.file.read_at(&mut start, 0).unwrap_or(0);
    find_message_id(&start[..read]).unwrap_or_else(|| "unspecified".into())
}

fn find_message_id(header: &[u8]) -> Option<String> {
    const NAME: &[u8] = b"message-id:";
    let mut lines = header.split(|&byte| byte == b'\n').take_while(|line| !line.is_empty());
    let line = lines.find(|line| line.len() > NAME.len() && line[..NAME.len()].eq_ignore_ascii_case(NAME))?;
    let value = String::from_utf8_lossy(&line[NAME.len()..]).trim().to_string();
    (!value.is_empty()).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_ids_in_the_header_only() {
        assert_eq!(find_message_id(b"Subject: x\nMESSAGE-ID:  <a@b>\n\nbody"), Some("<a@b>".into()));
        assert_eq!(find_message_id(b"Subject: x\n\nMessage-ID: <a@b>\n"), None);
        assert_eq!(find_message_id(b"Message-ID: \n\n"), None);
        assert_eq!(find_message_id(b""), None);
    }
}
