//! Threads for work that blocks: a sync, a password hash. They are started inside the jail, on first use, and take their
//! jobs from a bounded channel; a full channel is told to the caller, who then takes less from its clients.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use mio::Waker;

type Job<D> = Box<dyn FnOnce() -> D + Send>;

/// Jobs that may wait for a thread.
pub(crate) const QUEUE: usize = 1024;

pub(crate) struct Pool<D> {
    threads: usize,
    started: usize,
    jobs: (Sender<Job<D>>, Receiver<Job<D>>),
    results: (Sender<D>, Receiver<D>),
    waker: Arc<Waker>,
    running: usize,
}

impl<D: Send + 'static> Pool<D> {
    pub(crate) fn new(waker: Arc<Waker>, threads: usize) -> Pool<D> {
        Pool { threads, started: 0, jobs: bounded(QUEUE), results: unbounded(), waker, running: 0 }
    }

    pub(crate) fn set_threads(&mut self, threads: usize) {
        self.threads = threads;
    }

    /// Whether a thread was started.
    pub(crate) fn has_threads(&self) -> bool {
        self.started > 0
    }

    /// Gives a job to a thread; gives it back when [`QUEUE`] jobs wait already.
    pub(crate) fn run(&mut self, job: Job<D>) -> Result<(), Job<D>> {
        self.jobs.0.try_send(job).map_err(crossbeam_channel::TrySendError::into_inner)?;
        self.running += 1;
        if self.started < self.threads.min(self.running) {
            self.started += 1;
            let (jobs, results, waker) = (self.jobs.1.clone(), self.results.0.clone(), self.waker.clone());
            // A worker whose thread cannot be started cannot do its work: it ends and is replaced.
            let thread = std::thread::Builder::new().stack_size(512 * 1024).name("pool".into());
            thread.spawn(move || work(&jobs, &results, &waker)).expect("a thread of the pool cannot be started");
        }
        Ok(())
    }

    /// Results that have come.
    pub(crate) fn take(&mut self) -> Option<D> {
        let done = self.results.1.try_recv().ok()?;
        self.running -= 1;
        Some(done)
    }

    /// Jobs that are not finished.
    pub(crate) fn running(&self) -> usize {
        self.running
    }
}

fn work<D>(jobs: &Receiver<Job<D>>, results: &Sender<D>, waker: &Waker) {
    while let Ok(job) = jobs.recv() {
        if results.send(job()).is_err() || waker.wake().is_err() {
            return;
        }
    }
}
