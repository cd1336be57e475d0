//! A job and the outcomes of its recipients, on their way to the log and the queue manager.

use ipc_messages::delivery::{self, FromAgent, Job, Outcome};

use super::session::Session;
use super::{Content, Delivery, Order};
use crate::log_line::{self, Times};

/// Bytes of text in one frame of outcomes: a frame takes 64 KiB.
pub(super) const FRAME: usize = 48 * 1024;
/// Bytes that an outcome takes beside its texts, generously.
const OVERHEAD: usize = 64;

/// One message for one destination, until its last outcome was told.
#[derive(Debug)]
pub(super) struct Work<C> {
    pub job: Job,
    pub content: C,
    /// When it came, in microseconds since 1970.
    pub handed: u64,
    /// By position: whether the recipient has its outcome.
    done: Vec<bool>,
    /// Outcomes that were not told yet.
    outcomes: Vec<Outcome>,
    /// The job is over, and this is wrong with the destination.
    finished: Option<Option<String>>,
    /// It is in the list of jobs to tell of.
    touched: bool,
}

impl<C> Work<C> {
    pub fn new(job: Job, content: C, handed: u64) -> Work<C> {
        let done = vec![false; job.targets.len()];
        Work { job, content, handed, done, outcomes: Vec::new(), finished: None, touched: false }
    }

    /// Positions of recipients without an outcome.
    pub fn open(&self) -> impl Iterator<Item = usize> {
        self.done.iter().enumerate().filter(|(_, done)| !**done).map(|(position, _)| position)
    }

    /// Says what was not said yet. Returns whether the job is over.
    pub fn tell(&mut self, mut say: impl FnMut(FromAgent)) -> bool {
        self.touched = false;
        let job = self.job.job;
        let (mut frame, mut bytes) = (Vec::new(), 0);
        for outcome in std::mem::take(&mut self.outcomes) {
            let texts = [Some(&outcome.dsn), Some(&outcome.relay), Some(&outcome.text)];
            let more = [outcome.remote_reply.as_ref(), outcome.remote_mta.as_ref()];
            let length = texts.into_iter().chain(more).flatten().map(String::len).sum::<usize>() + OVERHEAD;
            if bytes + length > FRAME && !frame.is_empty() {
                say(FromAgent::Outcomes { job, outcomes: std::mem::take(&mut frame) });
                bytes = 0;
            }
            bytes += length;
            frame.push(outcome);
        }
        if !frame.is_empty() {
            say(FromAgent::Outcomes { job, outcomes: frame });
        }
        match self.finished.take() {
            Some(fault) => {
                say(FromAgent::Finished { job, fault });
                true
            }
            None => false,
        }
    }
}

/// What becomes of recipients, and who says so.
#[derive(Debug, Clone)]
pub(super) struct Verdict {
    pub verdict: delivery::Verdict,
    pub dsn: String,
    pub text: String,
    pub relay: String,
    /// The server's reply.
    pub reply: Option<String>,
    /// The server's host name.
    pub host: Option<String>,
}

impl Verdict {
    /// Delivered: `text` is the server's reply.
    pub fn sent(dsn: String, text: String) -> Verdict {
        Verdict { reply: Some(text.clone()), ..Verdict::new(delivery::Verdict::Sent, dsn, text) }
    }

    /// To be tried again.
    pub fn deferred(dsn: impl Into<String>, text: String) -> Verdict {
        Verdict::new(delivery::Verdict::Deferred, dsn.into(), text)
    }

    /// Given up.
    pub fn bounced(dsn: impl Into<String>, text: String) -> Verdict {
        Verdict::new(delivery::Verdict::Bounced, dsn.into(), text)
    }

    fn new(verdict: delivery::Verdict, dsn: String, text: String) -> Verdict {
        Verdict { verdict, dsn, text, relay: "none".into(), reply: None, host: None }
    }

    /// It came up in a session with a server.
    #[must_use]
    pub fn at(self, session: &Session) -> Verdict {
        Verdict { relay: session.relay.clone(), host: Some(session.host.clone()), ..self }
    }

    /// What the queue manager hears about the destination when no message gets through for this reason.
    pub fn fault(&self) -> Option<String> {
        (self.verdict == delivery::Verdict::Deferred).then(|| self.text.clone())
    }
}

impl<C: Content> Delivery<C> {
    /// A recipient is finished: it is logged, and kept for the queue manager. `uses` counts the connection's messages.
    pub(super) fn record(&mut self, name: u64, position: usize, verdict: &Verdict, uses: u64, times: Times) {
        let Some(work) = self.jobs.get_mut(&name) else { return };
        if std::mem::replace(&mut work.done[position], true) {
            return;
        }
        let target = &work.job.targets[position];
        let outcome = Outcome {
            index: target.index,
            verdict: verdict.verdict,
            dsn: verdict.dsn.clone(),
            relay: verdict.relay.clone(),
            text: verdict.text.clone(),
            // Only what a server said makes it the reporting one.
            remote_mta: verdict.host.clone().filter(|_| verdict.reply.is_some()),
            remote_reply: verdict.reply.clone(),
        };
        let line = log_line::line(&self.settings, &work.job, target, &outcome, uses, times);
        work.outcomes.push(outcome);
        self.orders.push_back(Order::Log(line));
        self.touch(name);
    }

    /// The job is over: every recipient has its outcome.
    pub(super) fn finish(&mut self, name: u64, fault: Option<String>) {
        let Some(work) = self.jobs.get_mut(&name) else { return };
        work.finished = Some(fault);
        self.touch(name);
    }

    fn touch(&mut self, name: u64) {
        let Some(work) = self.jobs.get_mut(&name) else { return };
        if !std::mem::replace(&mut work.touched, true) {
            self.touched.push(name);
        }
    }
}
