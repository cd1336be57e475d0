//! showq: what users who are not root may ask of the queue, on Postfix's public sockets: the list (`showq` in `master.cf`)
//! and an attempt at delivery (`flush`).
//!
//! The kernel says who asks; [`access`] says who may. It reads a request of at most [`showq::protocol::MAX_REQUEST`] bytes from a user and
//! nothing else, and `qmgr` takes from it only what leaves every message where it is.

mod access;
mod visits;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use access::Access;
use ipc_config::section::Section;
use ipc_messages::lookup::{FromLookup, FromNameService, ToLookup, ToNameService};
use visits::{Action, Purpose, Visits};
use worker::{Calls, ConnId, Cx, Frame, Hub, Outbox, Peer, PeerId, Remote, Service, Setup, StartError, Why};

/// How long a visit may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// Bytes of a list that wait for a visitor to read them; who is further behind is left.
const MAX_UNSENT: usize = 64 * 1024 * 1024;

fn main() -> ExitCode {
    worker::run::<Showq>()
}

struct Showq {
    purpose: Purpose,
    visits: Visits,
    /// Which table each question is about.
    tables: BTreeMap<u32, String>,
    /// Questions that wait until whom they are for is there.
    to_names: Outbox<ToNameService>,
    to_lookup: Outbox<ToLookup>,
}

impl Service for Showq {
    const NAME: &'static str = "showq";
    const CALLS: Calls = Calls {
        accept: true,
        connect: false,
        files: false,
        threads: false,
        fork: false,
        memfd: false,
        notify: false,
        narrow: false,
    };
    type Section = Section;
    type Opened = ();
    type Done = ();

    fn pre_jail(_: &Section, _: &mut Setup) -> Result<(), StartError> {
        Ok(())
    }

    fn start(section: Section, (): (), _: Setup, _: &mut Cx<()>) -> Result<Showq, StartError> {
        let purpose = match section.transport.text("command") {
            "flush" => Purpose::Flush,
            _ => Purpose::List,
        };
        let visits = Visits::new(purpose, access(&section, purpose));
        Ok(Showq {
            purpose,
            visits,
            tables: BTreeMap::new(),
            to_names: Outbox::default(),
            to_lookup: Outbox::default(),
        })
    }

    fn accepted(&mut self, cx: &mut Cx<()>, conn: ConnId, _: usize, remote: Remote) {
        let Remote::Unix { uid, .. } = remote else { return cx.abort(conn) };
        cx.deadline(conn, Some(PATIENCE));
        self.visits.arrived(conn, uid);
    }

    fn input(&mut self, cx: &mut Cx<()>, conn: ConnId) {
        match self.purpose {
            Purpose::Flush => self.visits.input(conn, cx.input(conn)),
            Purpose::List => drop(cx.take_input(conn)),
        }
    }

    fn closed(&mut self, _: &mut Cx<()>, conn: ConnId, _: Why) {
        self.visits.gone(conn);
    }

    fn timeout(&mut self, cx: &mut Cx<()>, conn: ConnId) {
        cx.abort(conn);
        self.visits.gone(conn);
    }

    fn peer_up(&mut self, _: &mut Cx<()>, _: PeerId, peer: &Peer) {
        if *peer == Peer::Hub(Hub::Qmgr) {
            self.visits.queue_up();
        }
    }

    fn peer_down(&mut self, cx: &mut Cx<()>, _: PeerId, peer: &Peer) {
        match peer {
            Peer::Hub(Hub::Qmgr) => {
                self.visits.queue_down();
                // The successor may have come before the end of the old one was noticed: it was not asked yet.
                if cx.hub(Hub::Qmgr).is_some() {
                    self.visits.queue_up();
                }
            }
            _ => {
                self.to_names.clear();
                self.to_lookup.clear();
                self.visits.questions_lost();
            }
        }
    }

    fn frame(&mut self, cx: &mut Cx<()>, id: PeerId, frame: Frame) {
        let taken = if cx.hub(Hub::Qmgr) == Some(id) {
            frame.decode().map(|(answer, _)| self.visits.answered(answer))
        } else if cx.hub(Hub::NameService) == Some(id) {
            frame.decode().map(|(FromNameService::Entry { corr, line }, _)| self.visits.named(corr, line))
        } else if cx.hub(Hub::Lookup) == Some(id) {
            frame.decode().map(|(answer, _)| {
                if let FromLookup::Value { corr, value } = answer
                    && let Some(table) = self.tables.remove(&corr)
                {
                    self.visits.looked_up(corr, table, value);
                }
            })
        } else {
            return;
        };
        if let Err(error) = taken {
            cx.broken(id, error);
        }
    }

    fn end_of_turn(&mut self, cx: &mut Cx<()>) {
        for action in self.visits.actions() {
            self.act(cx, action);
        }
        self.to_names.pump_to_hub(cx, Hub::NameService);
        self.to_lookup.pump_to_hub(cx, Hub::Lookup);
    }

    fn reload(&mut self, _: &mut Cx<()>, section: Section) {
        self.visits.set_access(access(&section, self.purpose));
    }
}

impl Showq {
    fn act(&mut self, cx: &mut Cx<()>, action: Action) {
        match action {
            Action::Name { corr, uid } => self.to_names.push(ToNameService::Account { corr, uid }, Vec::new()),
            Action::Table { corr, table, key } => {
                self.tables.insert(corr, table.clone());
                self.to_lookup.push(ToLookup::Table { corr, table, key }, Vec::new());
            }
            // One request at a time: the channel has room, or it is gone and that is told by itself.
            Action::Queue(request) => {
                if cx.hub(Hub::Qmgr).is_some_and(|peer| cx.send(peer, &request, Vec::new()).is_err()) {
                    self.visits.queue_down();
                }
            }
            Action::Write(conn, bytes) => {
                cx.write(conn, &bytes);
                if cx.unsent(conn) > MAX_UNSENT {
                    cx.abort(conn);
                    self.visits.gone(conn);
                }
            }
            Action::Close(conn) => cx.close(conn),
            Action::Abort(conn) => cx.abort(conn),
            Action::Warn(problem) => slog::warn!(cx.log(), "{problem}"),
        }
    }
}

fn access(section: &Section, purpose: Purpose) -> Access {
    let name = match purpose {
        Purpose::List => "authorized_mailq_users",
        Purpose::Flush => "authorized_flush_users",
    };
    let list = section.domains.get(name).unwrap_or_else(|| panic!("the list {name} was not handed to this program"));
    Access::new(list.clone(), section.transport.text("mail_owner"))
}
