//! trivial-rewrite: where mail goes, who exists, who an alias stands for, and every table lookup (Postfix's trivial-rewrite
//! and proxymap). It is one process, so that each table is open once and each answer is worked out once.
//!
//! It opens tables beneath the folders that the configuration names and nothing else, sees no network byte, and asks only
//! the name service. It never waits: a question that needs a name that is not known yet is put aside and evaluated anew
//! when the answer has come.
//!
//! The pure part is [`lookup`], over [`policy`], [`resolve`] and [`recipients`]; this file is the adapter to the channels.

mod files;
mod host;
mod lookup;
mod names;
mod policy;
mod recipients;
mod resolve;
mod rewrite;
mod tables;
#[cfg(test)]
mod testing;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use files::FolderFiles;
use ipc_config::section::Section;
use ipc_messages::lookup::{FromLookup, FromNameService, ToLookup, ToNameService};
use ipc_wire::SendError;
use lookup::{Lookup, refuse};
use names::{Database, Line, Name};
use policy::Host;
use tables::Note;
use worker::{Calls, Cx, Frame, Hub, Peer, PeerId, Service, Setup, StartError};

/// Questions that may wait for the name service at once.
const MAX_WAITING: usize = 4096;
/// How long they may.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often that is looked at.
const TICK: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    worker::run::<TrivialRewrite>()
}

struct TrivialRewrite {
    lookup: Lookup,
    /// Channels of those who ask; any other is the name service's.
    askers: BTreeSet<PeerId>,
    /// Names that were asked for, by the number of the request.
    asked: BTreeMap<u32, Name>,
    /// What waits for each of them.
    waiting: HashMap<Name, Waiting>,
    waiting_count: usize,
    next: u32,
    ticking: bool,
}

struct Waiting {
    since: Instant,
    questions: Vec<(PeerId, ToLookup)>,
}

impl Service for TrivialRewrite {
    const NAME: &'static str = "trivial-rewrite";
    const CALLS: Calls = Calls {
        accept: false,
        connect: false,
        files: true,
        threads: false,
        fork: false,
        memfd: false,
        notify: false,
        narrow: false,
    };
    type Section = Section;
    type Opened = Host;
    type Done = ();

    /// Finds out this host's addresses: the jail has no way to them.
    fn pre_jail(section: &Section, _: &mut Setup) -> Result<Host, StartError> {
        host::of(section)
    }

    fn start(section: Section, host: Host, setup: Setup, cx: &mut Cx<()>) -> Result<TrivialRewrite, StartError> {
        let files = Arc::new(FolderFiles::new(setup.folders));
        let mut lookup = Lookup::new(&section, host, files, cx.now());
        log(cx, lookup.take_notes());
        Ok(TrivialRewrite {
            lookup,
            askers: BTreeSet::new(),
            asked: BTreeMap::new(),
            waiting: HashMap::new(),
            waiting_count: 0,
            next: 0,
            ticking: false,
        })
    }

    fn peer_up(&mut self, cx: &mut Cx<()>, id: PeerId, peer: &Peer) {
        if let Peer::Client { .. } = peer {
            self.askers.insert(id);
            return;
        }
        // The name service, or the one in its place: what the old one was asked is asked again.
        self.asked.clear();
        let names: Vec<Name> = self.waiting.keys().cloned().collect();
        for name in names {
            self.ask_for(cx, name);
        }
    }

    fn peer_down(&mut self, _: &mut Cx<()>, id: PeerId, _: &Peer) {
        if self.askers.remove(&id) {
            for waiting in self.waiting.values_mut() {
                waiting.questions.retain(|(asker, _)| *asker != id);
            }
            self.waiting_count = self.waiting.values().map(|waiting| waiting.questions.len()).sum();
        }
    }

    fn frame(&mut self, cx: &mut Cx<()>, id: PeerId, frame: Frame) {
        self.lookup.set_now(cx.now());
        if !self.askers.contains(&id) {
            return match frame.decode() {
                Ok((FromNameService::Entry { corr, line }, _)) => {
                    // One that was not asked for comes from a name service that has been replaced, or too late.
                    if let Some(name) = self.asked.remove(&corr) {
                        self.known(cx, name, line);
                    }
                }
                Err(error) => cx.broken(id, error),
            };
        }
        match frame.decode() {
            Ok((question, _)) => self.question(cx, id, question),
            Err(error) => cx.broken(id, error),
        }
    }

    fn timer(&mut self, cx: &mut Cx<()>, _: u64) {
        self.ticking = false;
        self.lookup.set_now(cx.now());
        let late = |waiting: &Waiting| cx.now() - waiting.since >= PATIENCE;
        let names: Vec<Name> =
            self.waiting.iter().filter(|(_, waiting)| late(waiting)).map(|(name, _)| name.clone()).collect();
        for name in names {
            self.asked.retain(|_, asked| *asked != name);
            slog::warn!(cx.log(), "the name service does not answer for {:?}", name.1);
            self.known(cx, name, Err("the name service does not answer".into()));
        }
        self.tick(cx);
    }

    fn end_of_turn(&mut self, _: &mut Cx<()>) {
        self.lookup.end_of_turn();
    }

    fn reload(&mut self, cx: &mut Cx<()>, section: Section) {
        self.lookup.reload(&section);
        log(cx, self.lookup.take_notes());
    }

    fn idle(&self) -> bool {
        self.waiting.is_empty()
    }
}

impl TrivialRewrite {
    /// Answers a question, or puts it aside until a name is known.
    fn question(&mut self, cx: &mut Cx<()>, id: PeerId, question: ToLookup) {
        let answers = self.lookup.ask(&question);
        log(cx, self.lookup.take_notes());
        match answers {
            Ok(answers) => answers.iter().for_each(|answer| send(cx, id, answer, &question)),
            Err(_) if self.waiting_count >= MAX_WAITING => {
                send(cx, id, &refuse(&question, "too many questions wait for the name service"), &question);
            }
            Err(name) => {
                self.waiting_count += 1;
                match self.waiting.get_mut(&name) {
                    Some(waiting) => waiting.questions.push((id, question)),
                    None => {
                        let waiting = Waiting { since: cx.now(), questions: vec![(id, question)] };
                        self.waiting.insert(name.clone(), waiting);
                        self.ask_for(cx, name);
                        self.tick(cx);
                    }
                }
            }
        }
    }

    /// Asks the name service, if it is there; if not, it is asked when it comes.
    fn ask_for(&mut self, cx: &mut Cx<()>, name: Name) {
        let Some(hub) = cx.hub(Hub::NameService) else { return };
        self.next = self.next.wrapping_add(1);
        let corr = self.next;
        let request = match &name {
            (Database::User, name) => ToNameService::User { corr, name: name.clone() },
            (Database::Group, name) => ToNameService::Group { corr, name: name.clone() },
        };
        self.asked.insert(corr, name);
        if cx.send(hub, &request, Vec::new()).is_err() {
            // It does not read. What waits is answered when its time is over, or when the service has been replaced.
            cx.drop_peer(hub);
        }
    }

    /// Keeps what the name service says, and evaluates anew what waited for it.
    fn known(&mut self, cx: &mut Cx<()>, name: Name, line: Line) {
        let waiting = self.waiting.remove(&name);
        self.lookup.name(name, line);
        let questions = waiting.map(|waiting| waiting.questions).unwrap_or_default();
        self.waiting_count -= questions.len();
        for (id, question) in questions {
            self.question(cx, id, question);
        }
    }

    /// Has the timer called while something waits.
    fn tick(&mut self, cx: &mut Cx<()>) {
        if !self.ticking && !self.waiting.is_empty() {
            self.ticking = true;
            cx.timer(TICK, 0);
        }
    }
}

fn send(cx: &mut Cx<()>, id: PeerId, answer: &FromLookup, question: &ToLookup) {
    let sent = match cx.send(id, answer, Vec::new()) {
        Err(SendError::TooLarge) => cx.send(id, &refuse(question, "the answer is larger than a frame"), Vec::new()),
        sent => sent,
    };
    if sent.is_err() {
        // It does not read what it asked for.
        cx.drop_peer(id);
    }
}

fn log(cx: &Cx<()>, notes: Vec<Note>) {
    for note in notes {
        match note {
            Note::Error(text) => slog::error!(cx.log(), "{text}"),
            Note::Warning(text) => slog::warn!(cx.log(), "{text}"),
        }
    }
}
