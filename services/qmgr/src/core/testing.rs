//! The state machine on a real queue folder; cleanup, lookup, agents and bounce are the test.

use std::io::Write;

use ipc_config::diagnostic::Diagnostics;
use ipc_config::postfix::main_cf::MainCf;
use ipc_config::postfix::system::ThisHost;
use ipc_config::section::Section;
use ipc_messages::delivery::{FromAgent, Job};
use ipc_messages::lookup::Class;
use ipc_messages::queue::{Listed, QueueRequest};
use store_queue::body;
use store_queue::fs::{Directory, Fs};
use store_queue::queue_file::{Draft, publish};
use store_queue::testing::envelope;

use super::*;
use crate::disk::Disk;

pub const CONTENT: &[u8] = b"Subject: x\n\nbody\n";
pub const START: u64 = 1_700_000_000_000_000;

pub fn id(number: u64) -> QueueId {
    QueueId::short(1, 70_000 + number)
}

pub fn agent() -> PeerId {
    PeerId::for_tests(1)
}

pub fn admin() -> PeerId {
    PeerId::for_tests(2)
}

/// The settings that this main.cf makes, with a transport `lmtp`, and one that has no agent.
pub fn settings(main_cf: &str) -> Settings {
    let mut found = Diagnostics::new();
    let main = MainCf::parse(&format!("{main_cf}\n"), "main.cf", Arc::new(ThisHost), &mut found);
    let mut section = Section::of_main_cf(&main, "qmgr", &mut found);
    let transports = [("lmtp", "lmtp"), ("maildrop", "pipe")];
    let transports = transports.map(|(name, command)| (name.to_string(), command.to_string()));
    section.add_transports(transports.to_vec(), &main, &mut found);
    Settings::of(&section)
}

/// qmgr with everybody around it.
pub struct Bench {
    pub core: Core,
    pub disk: Disk<Directory>,
    pub fs: Directory,
    _folder: tempfile::TempDir,
    /// Seconds since the start.
    pub time: u64,
    pub transport: String,
    /// Where all mail goes.
    pub nexthop: String,
    pub malformed: bool,
    /// `cleanup` makes queue files when it is asked.
    pub files: bool,
    pub journal: HashMap<QueueId, Envelope>,
    pub jobs: VecDeque<Job>,
    pub orders: Vec<FromQmgr>,
    pub bounces: Vec<ToBounce>,
    pub answers: Vec<QueueAnswer>,
    pub opened: usize,
    pub wakes: usize,
    pub log: Vec<String>,
}

impl Bench {
    /// With an agent that has room, and an empty queue.
    pub fn new() -> Bench {
        Bench::with("qmgr_message_active_limit = 100\nqmgr_message_recipient_limit = 1000")
    }

    /// The same by these settings.
    pub fn with(main_cf: &str) -> Bench {
        let mut bench = Bench::in_folder(tempfile::tempdir().unwrap(), settings(main_cf));
        bench.up();
        bench
    }

    pub fn in_folder(folder: tempfile::TempDir, settings: Settings) -> Bench {
        let fs = Directory::open(folder.path()).unwrap();
        let (disk, damage) = Disk::open(fs.clone()).unwrap();
        assert!(damage.is_empty());
        Bench {
            core: Core::new(settings, Now { micros: START }),
            disk,
            fs,
            _folder: folder,
            time: 0,
            transport: "lmtp".into(),
            nexthop: "unix:x".into(),
            malformed: false,
            files: true,
            journal: HashMap::new(),
            jobs: VecDeque::new(),
            orders: Vec::new(),
            bounces: Vec::new(),
            answers: Vec::new(),
            opened: 0,
            wakes: 0,
            log: Vec::new(),
        }
    }

    pub fn up(&mut self) {
        self.core.lookup_up();
        self.core.bounce_up();
        self.core.cleanup_up();
        self.core.agent(agent(), FromAgent::Ready { transport: "lmtp".into(), window: 10 }).unwrap();
        self.core.cleanup(ToQmgr::Replayed, None).unwrap();
        self.settle();
    }

    /// The process is replaced; `cleanup` lives on and tells what it has.
    pub fn restart(self) -> Bench {
        self.restart_with("")
    }

    /// The same, by these settings.
    pub fn restart_with(self, main_cf: &str) -> Bench {
        let Bench { _folder, journal, core, disk, .. } = self;
        drop((core, disk));
        let mut bench = Bench::in_folder(_folder, settings(main_cf));
        bench.core.cleanup_up();
        for envelope in journal.values() {
            bench.tell(envelope.clone());
        }
        bench.journal = journal;
        bench.up_after_news();
        bench
    }

    pub fn up_after_news(&mut self) {
        self.core.lookup_up();
        self.core.bounce_up();
        self.core.agent(agent(), FromAgent::Ready { transport: "lmtp".into(), window: 10 }).unwrap();
        self.core.cleanup(ToQmgr::Replayed, None).unwrap();
        self.settle();
    }

    pub fn settle(&mut self) {
        loop {
            let actions = self.core.end_of_turn();
            if actions.is_empty() {
                return;
            }
            for action in actions {
                self.act(action);
            }
        }
    }

    pub fn act(&mut self, action: Action) {
        match action {
            Action::Cleanup(order) => {
                self.orders.push(order.clone());
                match order {
                    FromQmgr::Done { queue_id } => drop(self.journal.remove(&queue_id)),
                    FromQmgr::Spill { queue_id, place } if self.files => self.file(queue_id, place),
                    FromQmgr::Spill { .. } => {}
                }
            }
            Action::Ask(ToLookup::Resolve { corr, address, .. }) => {
                let transport = self.transport.clone();
                let route = Route {
                    recipient: address,
                    class: Class::Local,
                    transport,
                    nexthop: self.nexthop.clone(),
                    routed: false,
                    malformed: self.malformed,
                };
                self.core.answer(FromLookup::Resolved { corr, route: Ok(route) });
            }
            Action::Ask(question) => panic!("{question:?}"),
            Action::Bounce(message, _) => self.bounces.push(message),
            Action::Agent(peer, ToAgent::Deliver(job), _) => {
                assert_eq!(peer, agent());
                self.jobs.push_back(job);
            }
            Action::Admin(_, answer, fd) => {
                self.opened += usize::from(fd.is_some());
                self.answers.push(answer);
            }
            Action::Wake(_) => self.wakes += 1,
            Action::Work(work) => {
                let done = self.disk.perform(work);
                self.core.done(done);
            }
            Action::Info(line) | Action::Warning(line) | Action::Error(line) => self.log.push(line),
        }
    }

    /// What `cleanup` does on an order.
    pub fn file(&mut self, queue_id: QueueId, place: Place) {
        let envelope = self.journal.remove(&queue_id).expect("the journal has it");
        let mut draft = Draft::create(&self.fs, queue_id).unwrap();
        draft.push(CONTENT).unwrap();
        draft.seal(&envelope.encode().unwrap()).unwrap();
        publish(&self.fs, folder(place), &[queue_id]).unwrap();
        self.core.cleanup(ToQmgr::Spilled { queue_id, result: Ok(place) }, None).unwrap();
    }

    pub fn arrive(&mut self, number: u64, recipients: usize) {
        self.take(envelope(id(number), recipients));
    }

    /// A message of this sender for one recipient.
    pub fn arrive_from(&mut self, number: u64, sender: &str) {
        self.take(Envelope { sender: sender.into(), ..envelope(id(number), 1) });
    }

    fn take(&mut self, envelope: Envelope) {
        self.journal.insert(envelope.queue_id, envelope.clone());
        self.tell(envelope);
        self.settle();
    }

    pub fn tell(&mut self, envelope: Envelope) {
        let mut draft = body::Draft::new().unwrap();
        draft.write_all(CONTENT).unwrap();
        let body = draft.seal().unwrap();
        let fd = std::os::fd::AsFd::as_fd(&body).try_clone_to_owned().unwrap();
        let queue_id = envelope.queue_id;
        let bytes = envelope.encode().unwrap();
        let (first, rest) = bytes.split_at(bytes.len() / 2);
        let new = ToQmgr::New { queue_id, sequence: 7, in_file: false, envelope: first.to_vec(), more: true };
        self.core.cleanup(new, Some(fd)).unwrap();
        self.core.cleanup(ToQmgr::More { envelope: rest.to_vec(), more: false }, None).unwrap();
    }

    /// The agent does its next job, with this verdict for all.
    pub fn deliver(&mut self, verdict: Verdict, fault: Option<&str>) {
        let job = self.jobs.pop_front().expect("there is a job");
        let outcome = |target: &ipc_messages::delivery::Target| outcome(target.index, verdict);
        let outcomes = job.targets.iter().map(outcome).collect();
        self.core.agent(agent(), FromAgent::Outcomes { job: job.job, outcomes }).unwrap();
        self.core.agent(agent(), FromAgent::Finished { job: job.job, fault: fault.map(String::from) }).unwrap();
        self.settle();
    }

    pub fn wait(&mut self, seconds: u64) {
        self.time += seconds;
        self.core.set_now(Now { micros: START + self.time * 1_000_000 });
        self.core.tick();
        self.settle();
    }

    pub fn ask(&mut self, request: QueueRequest) -> Vec<QueueAnswer> {
        self.core.request(admin(), request);
        self.settle();
        std::mem::take(&mut self.answers)
    }

    pub fn listed(&mut self) -> Vec<Listed> {
        let answers = self.ask(QueueRequest::List);
        let listed = |answer| if let QueueAnswer::Message(listed) = answer { Some(listed) } else { None };
        answers.into_iter().filter_map(listed).collect()
    }

    pub fn files(&self, folder: &str) -> Vec<String> {
        self.fs.list(folder).unwrap()
    }

    pub fn logged(&self, text: &str) -> usize {
        self.log.iter().filter(|line| line.contains(text)).count()
    }
}

pub fn outcome(index: u32, verdict: Verdict) -> Outcome {
    let (dsn, text) = match verdict {
        Verdict::Sent => ("2.0.0", "ok"),
        Verdict::Deferred => ("4.2.0", "later"),
        Verdict::Bounced => ("5.1.1", "no such user"),
    };
    let relay = "none".into();
    Outcome { index, verdict, dsn: dsn.into(), relay, text: text.into(), remote_reply: None, remote_mta: None }
}
