//! imap: the mailboxes of the users of one account (uid and gid).
//!
//! The master starts it in the account, with folders that the users' mail lies beneath. This process is the *template*: it
//! takes logged-in clients from the login processes, exchanges each one's ticket at `auth` for its user, and forks, without
//! exec, a process that serves this client and nothing else ([`user`]). It never reads a byte of a client's.
//!
//! It has one thread and never gets another, because it forks.

mod appending;
mod conversation;
#[cfg(test)]
mod dialogue;
mod files;
mod flags;
mod logout;
mod message;
mod news;
mod places;
mod refusal;
mod selected;
mod settings;
#[cfg(test)]
mod speed;
mod user;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::process::ExitCode;

use ipc_config::section::Section;
use ipc_messages::auth::{FromAuth, ToAuth, User};
use ipc_messages::handoff::Handoff;
use nix::sys::stat::{Mode, umask};
use user::Login;
use worker::{Calls, Cx, Folder, Frame, Hub, Peer, PeerId, Service, Setup, StartError};

/// Clients that may wait for `auth` at once; it answers or is replaced, so that they are few.
const MAX_WAITING: usize = 1024;

fn main() -> ExitCode {
    worker::run::<Template>()
}

struct Template {
    section: Section,
    folders: Vec<Folder>,
    /// Clients whose tickets are at `auth`.
    waiting: BTreeMap<u32, Waiting>,
    next: u32,
}

struct Waiting {
    handoff: Handoff,
    client: OwnedFd,
    report: Option<OwnedFd>,
}

impl Service for Template {
    const NAME: &'static str = "imap";
    const CALLS: Calls = Calls {
        accept: false,
        connect: false,
        files: true,
        threads: false,
        fork: true,
        memfd: false,
        notify: true,
        narrow: true,
    };
    type Section = Section;
    type Opened = ();
    type Done = ();

    fn pre_jail(_: &Section, _: &mut Setup) -> Result<(), StartError> {
        Ok(())
    }

    fn start(section: Section, (): (), setup: Setup, _: &mut Cx<()>) -> Result<Template, StartError> {
        // The store says which modes files get.
        umask(Mode::empty());
        Ok(Template { section, folders: setup.folders, waiting: BTreeMap::new(), next: 0 })
    }

    fn handoff(&mut self, cx: &mut Cx<()>, packet: Vec<u8>, fds: Vec<OwnedFd>) {
        let mut fds = fds.into_iter();
        let (Ok(handoff), Some(client)) = (postcard::from_bytes::<Handoff>(&packet), fds.next()) else {
            return slog::warn!(cx.log(), "a hand-off that cannot be read");
        };
        if self.waiting.len() >= MAX_WAITING {
            return slog::warn!(cx.log(), "session {}: too many clients wait for auth", handoff.session);
        }
        let corr = self.next;
        self.next = self.next.wrapping_add(1);
        self.waiting.insert(corr, Waiting { handoff, client, report: fds.next() });
        self.redeem(cx, corr);
    }

    fn peer_up(&mut self, cx: &mut Cx<()>, _: PeerId, peer: &Peer) {
        if *peer == Peer::Hub(Hub::Auth) {
            for corr in self.waiting.keys().copied().collect::<Vec<_>>() {
                self.redeem(cx, corr);
            }
        }
    }

    fn frame(&mut self, cx: &mut Cx<()>, id: PeerId, frame: Frame) {
        match frame.decode() {
            Ok((FromAuth::Redeemed { corr, user }, _)) => self.redeemed(cx, corr, user),
            Ok(_) => {}
            Err(error) => cx.broken(id, error),
        }
    }

    fn reload(&mut self, _: &mut Cx<()>, section: Section) {
        self.section = section;
    }

    fn idle(&self) -> bool {
        self.waiting.is_empty()
    }
}

impl Template {
    /// Asks `auth` whose a ticket is; without `auth`, later.
    fn redeem(&self, cx: &mut Cx<()>, corr: u32) {
        let (Some(auth), Some(waiting)) = (cx.hub(Hub::Auth), self.waiting.get(&corr)) else { return };
        let handoff = &waiting.handoff;
        let question = ToAuth::Redeem { corr, ticket: handoff.ticket, session: handoff.session.clone() };
        if cx.send(auth, &question, Vec::new()).is_err() {
            cx.drop_peer(auth);
        }
    }

    fn redeemed(&mut self, cx: &mut Cx<()>, corr: u32, user: Option<User>) {
        let Some(waiting) = self.waiting.remove(&corr) else { return };
        let session = &waiting.handoff.session;
        let Some(user) = user else {
            return slog::error!(cx.log(), "session {session}: the ticket is not good; the client is dropped");
        };
        // auth sends each user to the process of its account; whoever comes here with another's ticket goes no further.
        let here = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
        if (user.uid, user.gid) != (Some(here.0), Some(here.1)) {
            return slog::error!(cx.log(), "session {session}: user {} is not of this account", user.name);
        }
        if let Err(error) = self.fork(cx, waiting, user) {
            slog::error!(cx.log(), "fork: {error}");
        }
    }

    fn fork(&self, cx: &mut Cx<()>, waiting: Waiting, user: User) -> std::io::Result<()> {
        let folder =
            |folder: &Folder| Ok((folder.path.as_os_str().as_encoded_bytes().to_vec(), folder.fd.try_clone()?));
        let folders = self.folders.iter().map(folder).collect::<std::io::Result<_>>()?;
        let Waiting { handoff, client, report } = waiting;
        let login = Login { handoff, user, client, report, folders };
        let keep = login.descriptors();
        cx.detach(&keep, |detached| login.live(&self.section, detached)).map(drop)
    }
}
