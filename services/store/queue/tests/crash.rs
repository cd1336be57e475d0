//! Histories of the whole queue, stopped at every operation of the disk.
//!
//! Each history is a script of what `cleanup` and `qmgr` do to messages, drawn from a seed. It runs on a disk that stops at
//! one operation and forgets what was not synced (`fs::model`). Then the queue starts again, everything that is live is
//! delivered, and the books are compared: every acknowledged message is where it should be and reaches each of its
//! recipients, and nobody gets it twice but those whose delivery was under way at a stop, once more for each stop.

use std::collections::{BTreeMap, BTreeSet};

use ipc_messages::envelope::QueueId;
use store_queue::fs::model::{Fault, Model};
use store_queue::fs::{Fs, read_exact_at};
use store_queue::ids::IdAllocator;
use store_queue::journal::{AppendError, Content, Entry, Geometry, Journal, Live, Sequence};
use store_queue::outcome::{Deferral, Outcome, OutcomeLog};
use store_queue::queue_file::{self, CONTENT_OFFSET, Draft, QueueFile};
use store_queue::recover::{Place, Problem, publish_large, recover, sweep};
use store_queue::testing::envelope;
use store_queue::{DiskError, Folder, prepare, relocate};

const GEOMETRY: Geometry = Geometry { segments: 3, segment_size: 6 * 4096 };
const NOW: u64 = 1_700_000_000_000_000;
const STEPS: usize = 24;

type Delivery = (QueueId, u32);

/// What the world outside knows.
#[derive(Default)]
struct Books {
    /// Messages whose client was told 250, with the number of their recipients.
    acknowledged: BTreeMap<QueueId, usize>,
    delivered: BTreeMap<Delivery, usize>,
    /// Deliveries whose `Done` is committed.
    settled: BTreeSet<Delivery>,
    /// Deliveries that a stop caught between the two.
    in_flight: BTreeMap<Delivery, usize>,
    /// What the administrator was told is held.
    held: BTreeSet<QueueId>,
    /// What the administrator was told is not held any more.
    released: BTreeSet<QueueId>,
    /// The disk has reported that a sync failed: then what was written before may be in the cache, be read, and be gone
    /// later, and the queue is right to report damage.
    sync_failed: bool,
}

#[derive(Clone, Copy)]
struct Message {
    id: QueueId,
    place: Place,
    journal: Sequence,
    in_file: bool,
    recipients: usize,
}

struct Queue {
    fs: Model,
    ids: IdAllocator<Model>,
    journal: Journal<Model>,
    log: OutcomeLog<Model>,
    messages: Vec<Message>,
}

/// The disk does not go on: the history ends here.
#[derive(Debug)]
struct Stopped;

impl From<DiskError> for Stopped {
    fn from(_: DiskError) -> Stopped {
        Stopped
    }
}

fn content(id: QueueId) -> Vec<u8> {
    format!("Subject: {id}\n\n").repeat(1 + id.number() as usize * 37 % 200).into_bytes()
}

/// Between one and three, fixed for each message.
fn recipients(id: QueueId) -> usize {
    1 + id.number() as usize % 3
}

impl Queue {
    fn start(fs: &Model, books: &Books) -> Result<Queue, Stopped> {
        prepare(fs)?;
        let ids = IdAllocator::open(fs, NOW)?;
        let (mut journal, damage) = Journal::open(fs, GEOMETRY)?;
        assert!(damage.is_empty() || books.sync_failed, "{damage:?}");
        let replayed: Vec<Live> = journal.live().collect();
        sweep(fs, &replayed)?;
        let (log, damage) = OutcomeLog::open(fs)?;
        assert!(damage.is_empty() || books.sync_failed, "{damage:?}");
        let recovered = recover(fs, &replayed, &log)?;
        assert!(recovered.problems.is_empty(), "{:?}", recovered.problems);
        recovered.finished.iter().for_each(|sequence| journal.release(*sequence));
        let message = |survivor: store_queue::recover::Survivor| Message {
            id: survivor.id,
            place: survivor.place,
            journal: survivor.journal,
            in_file: false,
            recipients: recipients(survivor.id),
        };
        let messages = recovered.messages.into_iter().map(message).collect();
        Ok(Queue { fs: fs.clone(), ids, journal, log, messages })
    }

    fn next_id(&mut self) -> Result<QueueId, Stopped> {
        Ok(QueueId::short(7, self.ids.block(1)?.from))
    }

    /// Commits messages; those that find the ring full are refused.
    fn append(&mut self, ids: &[QueueId], in_file: bool, books: &mut Books) -> Result<(), Stopped> {
        let envelopes: Vec<Vec<u8>> = ids.iter().map(|id| envelope(*id, recipients(*id)).encode().unwrap()).collect();
        let contents: Vec<Vec<u8>> = ids.iter().map(|id| content(*id)).collect();
        let entries: Vec<Entry<'_>> = (0..ids.len())
            .map(|at| match in_file {
                true => Entry { id: ids[at], envelope: b"", content: Content::File },
                false => Entry { id: ids[at], envelope: &envelopes[at], content: Content::Inline(&contents[at]) },
            })
            .collect();
        let mut rest = &entries[..];
        while !rest.is_empty() {
            let sequences = match self.journal.append(rest) {
                Ok(sequences) => sequences,
                Err(AppendError::Full) => return Ok(()),
                Err(_) => return Err(Stopped),
            };
            for (entry, journal) in rest.iter().zip(sequences.clone()) {
                let (id, recipients) = (entry.id, recipients(entry.id));
                books.acknowledged.insert(id, recipients);
                self.messages.push(Message { id, place: Place::Journal, journal, in_file, recipients });
            }
            rest = &rest[(sequences.end - sequences.start) as usize..];
        }
        Ok(())
    }

    fn accept(&mut self, count: usize, books: &mut Books) -> Result<(), Stopped> {
        let ids = (0..count).map(|_| self.next_id()).collect::<Result<Vec<_>, _>>()?;
        self.append(&ids, false, books)
    }

    fn write_file(&self, id: QueueId) -> Result<(), Stopped> {
        let mut draft = Draft::create(&self.fs, id)?;
        content(id).chunks(700).try_for_each(|chunk| draft.push(chunk))?;
        draft.seal(&envelope(id, recipients(id)).encode().unwrap())?;
        Ok(())
    }

    fn accept_large(&mut self, books: &mut Books) -> Result<(), Stopped> {
        let id = self.next_id()?;
        self.write_file(id)?;
        queue_file::settle(&self.fs)?;
        self.append(&[id], true, books)
    }

    /// Gives the message a queue file, if it has none.
    fn spill(&mut self, at: usize, folder: Folder) -> Result<(), Stopped> {
        let message = self.messages[at];
        if message.place != Place::Journal {
            return Ok(());
        }
        let folder = if message.in_file {
            publish_large(&self.fs, &[Live { sequence: message.journal, id: message.id, in_file: true }])?;
            Folder::Incoming
        } else {
            let stored = self.journal.read(message.journal).unwrap();
            assert_eq!(stored.content.unwrap(), content(message.id));
            self.write_file(message.id)?;
            queue_file::publish(&self.fs, folder, &[message.id])?;
            folder
        };
        self.journal.release(message.journal);
        self.messages[at].place = Place::File(folder);
        Ok(())
    }

    /// Delivers to the first `count` pending recipients.
    fn deliver(&mut self, at: usize, count: usize, books: &mut Books) -> Result<(), Stopped> {
        let Message { id, recipients, .. } = self.messages[at];
        let now: Vec<u32> = self.log.pending(id, recipients).into_iter().take(count).collect();
        for recipient in &now {
            assert!(!books.settled.contains(&(id, *recipient)), "{id} is delivered again to {recipient}");
            *books.delivered.entry((id, *recipient)).or_default() += 1;
        }
        let done: Vec<Outcome> = now.iter().map(|recipient| Outcome::Done { id, recipient: *recipient }).collect();
        self.log.commit(&done)?;
        books.settled.extend(now.iter().map(|recipient| (id, *recipient)));
        Ok(())
    }

    /// Lets one recipient fail for good: the bounce is in the queue before its recipient is done.
    fn bounce(&mut self, at: usize, books: &mut Books) -> Result<(), Stopped> {
        let before = books.acknowledged.len();
        self.accept(1, books)?;
        if books.acknowledged.len() == before { Ok(()) } else { self.deliver(at, 1, books) }
    }

    fn defer(&mut self, at: usize) -> Result<(), Stopped> {
        let Message { id, recipients, .. } = self.messages[at];
        let deferral =
            Deferral { next_attempt: 300, attempt: 1, warned: false, dsn: "4.4.1".into(), reason: "refused".into() };
        let pending = self.log.pending(id, recipients).into_iter();
        let outcomes: Vec<Outcome> =
            pending.map(|recipient| Outcome::Deferred { id, recipient, deferral: deferral.clone() }).collect();
        self.log.commit(&outcomes)?;
        self.spill(at, Folder::Deferred)
    }

    /// Holds the message, or releases it if it is held.
    fn hold_or_release(&mut self, at: usize, books: &mut Books) -> Result<(), Stopped> {
        self.spill(at, Folder::Deferred)?;
        let message = &mut self.messages[at];
        let Place::File(from) = message.place else { unreachable!("it has been spilled") };
        let (to, told, untold) = match from {
            Folder::Hold => (Folder::Deferred, &mut books.released, &mut books.held),
            _ => (Folder::Hold, &mut books.held, &mut books.released),
        };
        untold.remove(&message.id);
        relocate(&self.fs, message.id, from, to)?;
        message.place = Place::File(to);
        told.insert(message.id);
        Ok(())
    }

    fn finish(&mut self, at: usize, books: &mut Books) -> Result<(), Stopped> {
        let message = self.messages[at];
        self.deliver(at, usize::MAX, books)?;
        self.log.commit(&[Outcome::Removed { id: message.id, journal: message.journal }])?;
        books.held.remove(&message.id);
        self.messages.swap_remove(at);
        self.journal.release(message.journal);
        match (message.place, message.in_file) {
            (Place::File(folder), _) => self.fs.unlink(&folder.path(message.id)).map_err(|_| Stopped),
            (Place::Journal, true) => self.fs.unlink(&format!("tmp/{}", message.id)).map_err(|_| Stopped),
            (Place::Journal, false) => Ok(()),
        }
    }

    fn step(&mut self, random: &mut Random, books: &mut Books) -> Result<(), Stopped> {
        let at = if self.messages.is_empty() { None } else { Some(random.below(self.messages.len())) };
        match (random.below(16), at) {
            (0..=3, _) | (_, None) => self.accept(1 + random.below(3), books),
            (4, _) => self.accept_large(books),
            (5..=7, Some(at)) => self.finish(at, books),
            (8, Some(at)) => self.deliver(at, 1, books),
            (9, Some(at)) => self.bounce(at, books),
            (10, Some(at)) => self.spill(at, Folder::Incoming),
            (11, Some(at)) => self.defer(at),
            (12, Some(at)) => self.hold_or_release(at, books),
            (13, Some(_)) => Ok(self.log.compact(self.journal.freed())?),
            (14, Some(_)) => match self.journal.checkpoint() {
                Ok(()) | Err(AppendError::Full) => Ok(()),
                Err(_) => Err(Stopped),
            },
            (_, Some(_)) => {
                // The processes die, the machine does not.
                *self = Queue::start(&self.fs, books)?;
                Ok(())
            }
        }
    }

    /// The message is where it should be, with its content.
    fn check(&self, message: &Message, books: &Books) {
        if books.held.contains(&message.id) {
            assert_eq!(message.place, Place::File(Folder::Hold), "{}", message.id);
        }
        if books.released.contains(&message.id) {
            assert_ne!(message.place, Place::File(Folder::Hold), "{}", message.id);
        }
        let stored = match message.place {
            Place::Journal => self.journal.read(message.journal).unwrap().content.unwrap(),
            Place::File(folder) => {
                let file = QueueFile::open(&self.fs, folder, message.id).unwrap();
                assert_eq!(file.envelope.recipients.len(), message.recipients);
                read_exact_at(&file.file, CONTENT_OFFSET, file.content_length as usize).unwrap()
            }
        };
        assert!(stored == content(message.id), "{} has another content", message.id);
    }
}

fn history(fs: &Model, script: u64, books: &mut Books) -> Result<(), Stopped> {
    let mut random = Random(script);
    let mut queue = Queue::start(fs, books)?;
    for _ in 0..STEPS {
        queue.step(&mut random, books)?;
    }
    Ok(())
}

/// Starts what is left of the queue and delivers it all.
fn drain(fs: &Model, books: &mut Books) {
    let mut queue = Queue::start(fs, books).unwrap();
    queue.messages.iter().for_each(|message| queue.check(message, books));
    let live: BTreeSet<QueueId> = queue.messages.iter().map(|message| message.id).collect();
    assert_eq!(live.len(), queue.messages.len(), "a message is there twice");
    while !queue.messages.is_empty() {
        queue.finish(0, books).unwrap();
    }
    for (id, recipients) in &books.acknowledged {
        for recipient in 0..*recipients as u32 {
            let times = books.delivered.get(&(*id, recipient)).copied().unwrap_or(0);
            let repeats = books.in_flight.get(&(*id, recipient)).copied().unwrap_or(0);
            assert!((1..=1 + repeats).contains(&times), "{id} reached recipient {recipient} {times} times");
        }
    }
}

fn stop(books: &mut Books) {
    for delivery in books.delivered.keys().filter(|delivery| !books.settled.contains(delivery)) {
        *books.in_flight.entry(*delivery).or_default() += 1;
    }
}

#[test]
fn whatever_stops_each_acknowledged_message_is_where_it_should_be() {
    for script in 0..12 {
        let fs = Model::new();
        history(&fs, script, &mut Books::default()).unwrap();
        for at in 0..=fs.operations() {
            for seed in 0..3 {
                let fs = Model::new();
                let mut books = Books::default();
                fs.fail(Fault::Stop, at..at + 1, seed);
                let _ = history(&fs, script, &mut books);
                stop(&mut books);
                drain(&fs.crash(seed * 1000 + at as u64), &mut books);
            }
        }
    }
}

/// Each other time only the processes stop at first, and what they wrote is there without being on the disk.
#[test]
fn a_stop_during_the_recovery_from_a_stop_loses_nothing() {
    for script in 20..32 {
        let fs = Model::new();
        history(&fs, script, &mut Books::default()).unwrap();
        for at in (0..=fs.operations()).step_by(3) {
            for second in 0..12 {
                let seed = (at + second) as u64;
                let fs = Model::new();
                let mut books = Books::default();
                fs.fail(Fault::Stop, at..at + 1, seed);
                let _ = history(&fs, script, &mut books);
                stop(&mut books);
                let fs = if second % 2 == 0 { fs.crash(seed) } else { fs };
                let later = if second % 2 == 0 { second * 3 } else { fs.operations() + second * 5 };
                fs.fail(Fault::Stop, later..later + 1, seed);
                let _ = history(&fs, script + 1, &mut books);
                stop(&mut books);
                drain(&fs.crash(seed + 1), &mut books);
            }
        }
    }
}

/// The disk is full, read-only or failing for a while: the queue goes on afterwards, and has lost nothing.
#[test]
fn a_disk_that_fails_for_a_while_loses_nothing() {
    for fault in [Fault::Full, Fault::ReadOnly, Fault::Sync] {
        for script in 40..44 {
            let fs = Model::new();
            history(&fs, script, &mut Books::default()).unwrap();
            for at in (0..fs.operations()).step_by(2) {
                let fs = Model::new();
                let mut books = Books { sync_failed: fault == Fault::Sync, ..Books::default() };
                fs.fail(fault, at..at + 1 + at % 4, at as u64);
                // What failed is given up; a client would come again, `qmgr` would try again. Everything else goes on.
                let _ = history(&fs, script, &mut books);
                stop(&mut books);
                fs.fail(fault, 0..0, 0);
                let _ = history(&fs, script + 1, &mut books);
                stop(&mut books);
                drain(&fs.crash(at as u64), &mut books);
            }
        }
    }
}

#[test]
fn a_broken_queue_file_is_kept_aside_and_its_message_comes_from_the_journal() {
    let fs = Model::new();
    let mut books = Books::default();
    let mut queue = Queue::start(&fs, &books).unwrap();
    queue.accept(1, &mut books).unwrap();
    queue.accept_large(&mut books).unwrap();
    let [small, large] = [queue.messages[0].id, queue.messages[1].id];
    queue.write_file(small).unwrap();
    queue_file::publish(&fs, Folder::Incoming, &[small]).unwrap();
    drop(queue);
    for id in [small, large] {
        let path = if id == small { Folder::Incoming.path(id) } else { format!("tmp/{id}") };
        fs.damage(&path, CONTENT_OFFSET as usize + 3, b"rot");
    }
    fs.create("deferred/README").unwrap();

    let (journal, _) = Journal::open(&fs, GEOMETRY).unwrap();
    let replayed: Vec<Live> = journal.live().collect();
    sweep(&fs, &replayed).unwrap();
    let (log, _) = OutcomeLog::open(&fs).unwrap();
    let recovered = recover(&fs, &replayed, &log).unwrap();
    let places: Vec<_> = recovered.messages.iter().map(|survivor| (survivor.id, survivor.place)).collect();
    assert_eq!(places, [(small, Place::Journal)]);
    let told: Vec<_> = recovered
        .problems
        .iter()
        .map(|problem| match problem {
            Problem::Corrupt { id, kept, saved, .. } => (kept.clone(), *id == small && *saved),
            Problem::Foreign { folder, name } => (folder.name().to_string() + "/" + name, false),
            Problem::Missing(id) => panic!("{id} is not missing"),
        })
        .collect();
    let expected = [
        ("deferred/README".to_string(), false),
        (format!("corrupt/{small}"), true),
        (format!("corrupt/{large}"), false),
    ];
    assert_eq!(told, expected);
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }
}
