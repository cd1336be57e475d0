//! qmgr: decides what becomes of every message until its last recipient is finished.
//!
//! It hears of new mail from `cleanup`, asks the lookup service for routes, gives deliveries to agents, has senders told by
//! `bounce`, and writes what became of each recipient to the outcome log. [`core`] decides; [`disk`] does what blocks, on the
//! pool; this module connects them. It never reads what a message says: agents get its descriptor.

mod core;
mod disk;
mod report;
mod settings;

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ipc_config::section::Section;
use ipc_messages::bounce::ToBounce;
use ipc_messages::lookup::ToLookup;
use ipc_messages::queue::{FromQmgr, QueueAnswer, QueueRequest};
use store_queue::fs::Directory;
use worker::{Calls, Cx, Frame, Hub, Outbox, Peer, PeerId, Service, Setup, StartError};

use crate::core::{Action, Core, Now};
use crate::disk::{Disk, Done, LANES};
use crate::settings::Settings;

/// How often time is looked at.
const TICK: Duration = Duration::from_secs(1);

const TICK_TIMER: u64 = 0;

fn main() -> ExitCode {
    worker::run::<Qmgr>()
}

struct Qmgr {
    core: Core,
    disk: Arc<Disk<Directory>>,
    to_cleanup: Outbox<FromQmgr>,
    to_lookup: Outbox<ToLookup>,
    to_bounce: Outbox<ToBounce>,
    cleanup: Option<PeerId>,
    clients: HashMap<PeerId, Client>,
    /// How Postfix's `error` signs its lines.
    error_tag: String,
}

/// Who asks.
#[derive(Debug)]
enum Client {
    Agent,
    /// With the answers that wait for it.
    Administrator(Outbox<QueueAnswer>),
    /// `showq`, for users who are not root: it may not change anything.
    Users(Outbox<QueueAnswer>),
}

impl Client {
    fn answers(&mut self) -> Option<&mut Outbox<QueueAnswer>> {
        match self {
            Client::Agent => None,
            Client::Administrator(answers) | Client::Users(answers) => Some(answers),
        }
    }
}

impl Service for Qmgr {
    const NAME: &'static str = "qmgr";
    const CALLS: Calls = Calls {
        accept: false,
        connect: false,
        files: true,
        threads: true,
        fork: false,
        memfd: false,
        notify: false,
        narrow: false,
    };
    type Section = Section;
    type Opened = Directory;
    type Done = Done;

    fn pre_jail(_: &Section, setup: &mut Setup) -> Result<Directory, StartError> {
        setup.only_folder().map(Directory::from)
    }

    fn start(section: Section, queue: Directory, setup: Setup, cx: &mut Cx<Done>) -> Result<Qmgr, StartError> {
        cx.set_threads(LANES);
        let (disk, damage) = Disk::open(queue).map_err(|error| StartError::new("queue", error))?;
        for damage in damage {
            let (from, to, kept) = (damage.from, damage.to, damage.kept);
            slog::warn!(cx.log(), "outcome log: bytes {from} to {to} are damaged, kept as {kept}");
        }
        cx.timer(TICK, TICK_TIMER);
        let tag = setup.boot.identity.tag;
        let syslog_name = tag.rsplit_once('/').map_or("postfix", |(name, _)| name);
        Ok(Qmgr {
            core: Core::new(Settings::of(&section), now()),
            disk: Arc::new(disk),
            to_cleanup: Outbox::default(),
            to_lookup: Outbox::default(),
            to_bounce: Outbox::default(),
            cleanup: None,
            clients: HashMap::new(),
            error_tag: format!("{syslog_name}/error"),
        })
    }

    fn peer_up(&mut self, cx: &mut Cx<Done>, id: PeerId, peer: &Peer) {
        self.core.set_now(now());
        match peer {
            Peer::Hub(Hub::Lookup) => {
                self.to_lookup.clear();
                self.core.lookup_up();
            }
            Peer::Hub(Hub::Bounce) => {
                self.to_bounce.clear();
                self.core.bounce_up();
            }
            Peer::Hub(_) => {}
            Peer::Client { program, .. } => match program.as_str() {
                "cleanup" => {
                    self.to_cleanup.clear();
                    if let Some(old) = self.cleanup.replace(id) {
                        cx.drop_peer(old);
                    }
                    self.core.cleanup_up();
                }
                "mailctl" => drop(self.clients.insert(id, Client::Administrator(Outbox::default()))),
                "showq" => drop(self.clients.insert(id, Client::Users(Outbox::default()))),
                _ => drop(self.clients.insert(id, Client::Agent)),
            },
        }
    }

    fn peer_down(&mut self, cx: &mut Cx<Done>, id: PeerId, peer: &Peer) {
        self.core.set_now(now());
        match peer {
            // The successor may have come before the end of the old one was noticed.
            Peer::Hub(Hub::Lookup) if cx.hub(Hub::Lookup).is_none() => self.core.lookup_down(),
            Peer::Hub(Hub::Bounce) if cx.hub(Hub::Bounce).is_none() => self.core.bounce_down(),
            Peer::Hub(_) => {}
            Peer::Client { .. } => match self.clients.remove(&id) {
                Some(Client::Agent) => self.core.agent_down(id),
                Some(Client::Administrator(_) | Client::Users(_)) => self.core.admin_down(id),
                None => self.cleanup = self.cleanup.filter(|cleanup| *cleanup != id),
            },
        }
    }

    fn frame(&mut self, cx: &mut Cx<Done>, id: PeerId, frame: Frame) {
        self.core.set_now(now());
        let taken = match self.source(cx, id) {
            Some(Source::Lookup) => frame.decode().map(|(answer, _)| {
                self.core.answer(answer);
                Ok(())
            }),
            Some(Source::Bounce) => frame.decode().map(|(answer, _)| {
                self.core.told(answer);
                Ok(())
            }),
            Some(Source::Cleanup) => frame.decode().map(|(message, fds)| self.core.cleanup(message, first(fds))),
            Some(Source::Agent) => frame.decode().map(|(message, _)| self.core.agent(id, message)),
            Some(Source::Administrator) => frame.decode().map(|(request, _)| {
                self.core.request(id, request);
                Ok(())
            }),
            Some(Source::Users) => frame.decode::<QueueRequest>().map(|(request, _)| {
                let harmless = request.is_harmless();
                harmless.then(|| self.core.request(id, request)).ok_or(())
            }),
            None => return,
        };
        match taken {
            Ok(Ok(())) => {}
            Ok(Err(())) => {
                slog::error!(cx.log(), "a peer says what it may not say; its channel is closed");
                cx.drop_peer(id);
            }
            Err(error) => cx.broken(id, error),
        }
    }

    fn done(&mut self, _: &mut Cx<Done>, done: Done) {
        self.core.set_now(now());
        self.core.done(done);
    }

    fn timer(&mut self, cx: &mut Cx<Done>, _: u64) {
        self.core.set_now(now());
        cx.timer(TICK, TICK_TIMER);
        self.core.tick();
    }

    fn end_of_turn(&mut self, cx: &mut Cx<Done>) {
        for action in self.core.end_of_turn() {
            self.act(cx, action);
        }
        self.to_cleanup.pump(cx, self.cleanup);
        self.to_lookup.pump_to_hub(cx, Hub::Lookup);
        self.to_bounce.pump_to_hub(cx, Hub::Bounce);
        for (&peer, client) in &mut self.clients {
            if let Some(answers) = client.answers() {
                answers.pump(cx, Some(peer));
            }
        }
    }

    fn reload(&mut self, _: &mut Cx<Done>, section: Section) {
        self.core.reload(Settings::of(&section));
    }

    fn drain(&mut self, _: &mut Cx<Done>) {
        self.core.drain();
    }

    fn idle(&self) -> bool {
        self.core.is_idle()
    }
}

/// Who has sent a frame.
enum Source {
    Cleanup,
    Lookup,
    Bounce,
    Agent,
    Administrator,
    Users,
}

impl Qmgr {
    fn source(&self, cx: &Cx<Done>, id: PeerId) -> Option<Source> {
        match self.clients.get(&id) {
            Some(Client::Agent) => Some(Source::Agent),
            Some(Client::Administrator(_)) => Some(Source::Administrator),
            Some(Client::Users(_)) => Some(Source::Users),
            None if self.cleanup == Some(id) => Some(Source::Cleanup),
            None if cx.hub(Hub::Lookup) == Some(id) => Some(Source::Lookup),
            None if cx.hub(Hub::Bounce) == Some(id) => Some(Source::Bounce),
            None => None,
        }
    }

    fn act(&mut self, cx: &mut Cx<Done>, action: Action) {
        match action {
            Action::Cleanup(order) => self.to_cleanup.push(order, Vec::new()),
            Action::Ask(question) => self.to_lookup.push(question, Vec::new()),
            Action::Bounce(message, body) => match body.as_deref().map(copy).transpose() {
                Ok(fds) => self.to_bounce.push(message, fds.into_iter().collect()),
                Err(error) => slog::error!(cx.log(), "descriptor for bounce: {error}"),
            },
            // An agent that cannot be told is ended; what it has comes back then.
            Action::Agent(peer, message, body) => {
                let sent = copy(&body).is_ok_and(|fd| cx.send(peer, &message, vec![fd]).is_ok());
                if !sent {
                    cx.drop_peer(peer);
                }
            }
            Action::Admin(peer, answer, body) => {
                let Some(answers) = self.clients.get_mut(&peer).and_then(Client::answers) else { return };
                match body.as_deref().map(copy).transpose() {
                    Ok(fds) => answers.push(answer, fds.into_iter().collect()),
                    Err(_) => cx.drop_peer(peer),
                }
            }
            Action::Wake(service) => cx.wake(service),
            Action::Work(work) => {
                let disk = self.disk.clone();
                let taken = cx.run(Box::new(move || disk.perform(work)));
                assert!(taken.is_ok(), "no more than one piece of work is in each lane");
            }
            Action::Info(line) => slog::info!(cx.log(), "{line}"),
            Action::Warning(line) => slog::warn!(cx.log(), "{line}"),
            Action::Error(line) => slog::info!(cx.log_as(self.error_tag.clone()), "{line}"),
        }
    }
}

fn copy(fd: &OwnedFd) -> std::io::Result<OwnedFd> {
    fd.as_fd().try_clone_to_owned()
}

fn first(fds: Vec<OwnedFd>) -> Option<OwnedFd> {
    fds.into_iter().next()
}

fn now() -> Now {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Now { micros: since.as_micros() as u64 }
}
