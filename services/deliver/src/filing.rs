//! What happens on the pool's threads: batches of messages into mailboxes.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ipc_messages::delivery::Filed;
use store_mailbox::deliver::{Delivered, Deliverer, Delivery};
use store_mailbox::error::{Error, Kind};
use store_mailbox::fs::real::RealFs;
use store_mailbox::list::Mailboxes;
use store_mailbox::location::{Location, MailboxName};
use store_mailbox::mailbox::Environment;
use store_mailbox::message::Source;
use worker::PeerId;

use crate::Message;
use crate::crowd::Place;
use crate::report::Report;
use crate::settings::Settings;

/// One recipient's copy, ready to be written.
pub struct Job {
    /// Who asked.
    pub peer: PeerId,
    /// Names the request.
    pub corr: u32,
    /// The recipient in it.
    pub position: u32,
    /// For the log.
    pub tag: String,
    /// The recipient's address, for the log.
    pub address: String,
    /// The user's mailboxes.
    pub location: Location<RealFs>,
    /// Their absolute path.
    pub root: String,
    /// The mailbox that the recipient named, if any.
    pub mailbox: Option<String>,
    /// What separates the levels of its name.
    pub separator: char,
    /// The content.
    pub message: Arc<Message>,
    /// Held until the job is answered.
    pub place: Place,
}

/// What became of a [`Job`].
pub struct Written {
    /// The job.
    pub job: Job,
    /// The answer.
    pub result: Filed,
    /// For the log, in order.
    pub lines: Vec<Line>,
}

/// A line for the log.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// What became of the mail.
    Report(String),
    /// What the administrator should mend.
    Error(String),
}

/// Writes batches. Clones share what is unique to the process; each thread keeps its own open folders.
#[derive(Clone)]
pub struct Desk {
    environment: Environment<RealFs>,
    settings: Arc<Settings>,
    /// A number that no desk before it had.
    number: u64,
}

thread_local! {
    /// The deliverers of this thread, by whether a sync may be shared, and the number of the desk that they belong to.
    static DELIVERERS: RefCell<(u64, [Option<Deliverer<RealFs>>; 2])> = const { RefCell::new((0, [None, None])) };
}

impl Desk {
    /// A desk for the folders of `fs`.
    pub fn new(fs: Arc<RealFs>, settings: Settings) -> Desk {
        static DESKS: AtomicU64 = AtomicU64::new(1);
        let environment = Environment { fs, names: Arc::default(), fsync: settings.fsync };
        Desk { environment, settings: Arc::new(settings), number: DESKS.fetch_add(1, Ordering::Relaxed) }
    }

    /// Writes a batch of one kind; all of it is durable when this returns, or has failed. What cannot be put into the
    /// mailbox that was named goes to INBOX, as in Dovecot.
    pub fn write(&self, batch: Vec<Job>) -> Vec<Written> {
        let mut filings: Vec<Filing> = batch.into_iter().map(|job| self.choose(job)).collect();
        self.deliver(&mut filings);
        for filing in &mut filings {
            filing.fall_back(&self.settings);
        }
        self.deliver(&mut filings);
        filings.into_iter().map(|filing| filing.written(&self.settings)).collect()
    }

    /// The mailbox of a job, made if it may be made.
    fn choose(&self, job: Job) -> Filing {
        let name = job.mailbox.clone().unwrap_or_else(|| "INBOX".into());
        let chosen = match &job.mailbox {
            None => Ok(MailboxName::inbox()),
            Some(_) => self.named(&job, &name),
        };
        let (mailbox, outcome) = match chosen {
            Ok(mailbox) => (mailbox, None),
            Err(error) => (MailboxName::inbox(), Some(Err(error))),
        };
        Filing { job, name, mailbox, outcome, lines: Vec::new() }
    }

    fn named(&self, job: &Job, name: &str) -> store_mailbox::Result<MailboxName> {
        let mailbox = MailboxName::new(name, job.separator)?;
        if self.settings.autocreate && !mailbox.is_inbox() {
            let mailboxes = Mailboxes::new(self.environment.clone(), job.location.clone());
            match mailboxes.create(&mailbox) {
                Ok(()) if self.settings.autosubscribe => {
                    // The mail is what counts: without a subscription it is there all the same.
                    let _ = mailboxes.subscribe(&mailbox, true);
                }
                Ok(()) | Err(Error::Exists { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(mailbox)
    }

    /// Delivers what has no outcome yet.
    fn deliver(&self, filings: &mut [Filing]) {
        let mut waiting: Vec<&mut Filing> = filings.iter_mut().filter(|filing| filing.outcome.is_none()).collect();
        let Some(first) = waiting.first() else { return };
        let shared = first.job.message.queued;
        let deliveries: Vec<Delivery<'_, RealFs>> = waiting.iter().map(|filing| filing.delivery()).collect();
        let outcomes = DELIVERERS.with_borrow_mut(|(number, deliverers)| {
            if *number != self.number {
                (*number, *deliverers) = (self.number, [None, None]);
            }
            let deliverer =
                deliverers[usize::from(shared)].get_or_insert_with(|| Deliverer::new(self.environment.clone(), shared));
            deliverer.deliver(&deliveries)
        });
        drop(deliveries);
        for (filing, outcome) in waiting.iter_mut().zip(outcomes) {
            filing.outcome = Some(outcome);
        }
    }
}

/// A job on its way.
struct Filing {
    job: Job,
    /// The mailbox's name for the log.
    name: String,
    mailbox: MailboxName,
    outcome: Option<store_mailbox::Result<Delivered>>,
    lines: Vec<Line>,
}

impl Filing {
    fn delivery(&self) -> Delivery<'_, RealFs> {
        let message = &self.job.message;
        Delivery {
            location: &self.job.location,
            key: &self.job.root,
            mailbox: self.mailbox.clone(),
            create: false,
            prefix: &message.prefix,
            source: Source::File { file: &message.file, offset: 0, length: message.size },
        }
    }

    /// Turns to INBOX where the mailbox that was named cannot be had, now or later.
    fn fall_back(&mut self, settings: &Settings) {
        let Some(Err(error)) = &self.outcome else { return };
        if self.job.mailbox.is_none() || error.is_temporary() {
            return;
        }
        let status = failure(&self.name, error);
        self.report(settings, &status, "");
        (self.name, self.mailbox, self.outcome) = ("INBOX".into(), MailboxName::inbox(), None);
    }

    fn written(mut self, settings: &Settings) -> Written {
        let result = match self.outcome.take() {
            Some(Ok(delivered)) => {
                let status = format!("saved mail to {}", self.name);
                self.report(settings, &status, &delivered.file);
                Filed::Saved
            }
            Some(Err(error)) => {
                self.lines.push(Line::Error(format!("Mailbox {}: {error}", self.name)));
                let status = failure(&self.name, &error);
                self.report(settings, &status, "");
                refusal(&error)
            }
            None => unreachable!("every filing has been tried"),
        };
        Written { job: self.job, result, lines: self.lines }
    }

    fn report(&mut self, settings: &Settings, status: &str, stored_as: &str) {
        let message = &self.job.message;
        let report = Report {
            file: &message.file,
            size: message.size,
            prefix: &message.prefix,
            sender: &message.sender,
            recipient: &self.job.address,
            stored_as,
            delivery: Instant::now() - message.arrived,
            session: message.session,
        };
        match report.line(&settings.log_format, status) {
            Ok(line) => self.lines.push(Line::Report(line)),
            Err(error) => {
                let problem = format!("Failed to expand deliver_log_format={}: {error}", settings.log_format);
                self.lines.extend([Line::Error(problem), Line::Report(status.to_owned())]);
            }
        }
    }
}

fn failure(mailbox: &str, error: &Error) -> String {
    match error.kind() {
        Kind::NotFound | Kind::Cannot => format!("save failed to open mailbox {mailbox}: {error}"),
        _ => format!("save failed to {mailbox}: {error}"),
    }
}

/// What the client is told: no more than it can use.
fn refusal(error: &Error) -> Filed {
    match error.kind() {
        Kind::NoSpace => Filed::Temporary("4.2.2 Not enough disk space".into()),
        _ if error.is_temporary() => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(Duration::ZERO, |now| now);
            let stamp = ipc_jail::sys::local_time(now.as_secs() as i64).iso_stamp();
            let text = "Internal error occurred. Refer to server log for more information.";
            Filed::Temporary(format!("4.2.0 {text} [{stamp}]"))
        }
        _ => Filed::Permanent("5.2.0 Internal error occurred".into()),
    }
}

#[cfg(test)]
mod tests;
