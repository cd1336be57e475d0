//! The state machine on a disk in memory, with everybody around it.

use std::fs::File;
use std::io::Seek;

use ipc_messages::envelope::{Envelope, Recipient};
use store_queue::DiskError;
use store_queue::fs::model::Model;
use store_queue::journal::Geometry;
use store_queue::testing::envelope;

use super::*;
use crate::disk::{Disk, Opened};

const GEOMETRY: Geometry = Geometry { segments: 4, segment_size: 1024 * 1024 };

/// cleanup with its disk; peers are the test.
pub struct Bench {
    pub core: Core,
    pub fs: Model,
    pub disk: Disk<Model>,
    pub told: Vec<(PeerId, FromCleanup)>,
    pub asked: Vec<ToLookup>,
    pub qmgr: Vec<ToQmgr>,
    /// What came to `qmgr` in memory files.
    pub contents: Vec<String>,
    pub log: Vec<String>,
}

pub fn peer() -> PeerId {
    PeerId::for_tests(1)
}

pub fn id(number: u64) -> QueueId {
    QueueId::short(1, number)
}

impl Bench {
    pub fn open(fs: &Model) -> Result<Bench, DiskError> {
        let Opened { disk, live, damage } = Disk::open(fs.clone(), GEOMETRY, 1_700_000_000_000_000)?;
        assert!(damage.is_empty());
        let core = Core::new(Settings::default(), &live, 0);
        Ok(Bench {
            core,
            fs: fs.clone(),
            disk,
            told: vec![],
            asked: vec![],
            qmgr: vec![],
            contents: vec![],
            log: vec![],
        })
    }

    pub fn new() -> Bench {
        let mut bench = Bench::open(&Model::new()).unwrap();
        bench.core.lookup_up();
        bench.core.client_up(peer());
        bench
    }

    /// Turns, until there is nothing to do.
    pub fn settle(&mut self) {
        loop {
            let actions = self.core.end_of_turn(true);
            if actions.is_empty() {
                return;
            }
            for action in actions {
                match action {
                    Action::Tell(peer, message) => self.told.push((peer, message)),
                    Action::Ask(question) => self.asked.push(question),
                    Action::Qmgr(message, fds) => {
                        self.contents.extend(fds.into_iter().map(|fd| read(File::from(fd))));
                        self.qmgr.push(message);
                    }
                    Action::Log(line, _) => self.log.push(line),
                    Action::Work(work) => {
                        let done = self.disk.perform(work);
                        self.core.done(done);
                    }
                }
            }
        }
    }

    pub fn say(&mut self, message: ToCleanup) {
        self.core.intake(peer(), message, |_| ("date".into(), "stamp".into())).unwrap();
    }

    /// Answers every question with the address itself.
    pub fn answer(&mut self) {
        for question in std::mem::take(&mut self.asked) {
            let ToLookup::Expand { corr, address } = question else { panic!("{question:?}") };
            self.core.answer(FromLookup::Expanded { corr, recipients: Ok(vec![address]), more: false });
        }
        self.settle();
    }

    pub fn begin(&mut self, number: u32) {
        self.begin_with(number, envelope(id(70_000 + u64::from(number)), 0));
    }

    pub fn begin_with(&mut self, number: u32, envelope: Envelope) {
        let envelope = Box::new(Envelope { size: 0, ..envelope });
        self.say(ToCleanup::Begin { id: number, envelope });
        let recipient =
            Recipient { address: "a@example.net".into(), original: None, dsn_orcpt: None, notify: Default::default() };
        self.say(ToCleanup::Recipient { id: number, recipient });
    }

    /// A whole message with a body of about so many bytes.
    pub fn message(&mut self, number: u32, size: usize) {
        self.begin(number);
        for piece in vec![b'x'; size].chunks(MAX_PIECE) {
            self.say(ToCleanup::Body { id: number, bytes: piece.to_vec() });
            self.settle();
        }
        self.end(number);
    }

    /// The message is complete, and its recipients stand for themselves.
    pub fn end(&mut self, number: u32) {
        self.say(ToCleanup::Commit { id: number });
        self.settle();
        self.answer();
    }

    pub fn queued(&self) -> Vec<u32> {
        let queued = |(_, message): &(PeerId, FromCleanup)| match message {
            FromCleanup::Queued { id } => Some(*id),
            _ => None,
        };
        self.told.iter().filter_map(queued).collect()
    }

    pub fn refused(&self) -> Vec<&str> {
        let refused = |(_, message): &'_ (PeerId, FromCleanup)| matches!(message, FromCleanup::Refused { .. });
        let refused = self.told.iter().filter(|told| refused(told));
        refused.map(|(_, m)| if let FromCleanup::Refused { reply, .. } = m { reply.as_str() } else { "" }).collect()
    }
}

fn read(mut file: File) -> String {
    file.rewind().unwrap();
    std::io::read_to_string(file).unwrap()
}
