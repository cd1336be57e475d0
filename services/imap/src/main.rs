//! imap: the mailboxes of the users of one account (uid and gid).
//!
//! The master starts it in the account, with folders that the users' mail lies beneath. This process is the *template*: it
//! takes logged-in clients from the login processes, exchanges each one's ticket at `auth` for its user, and forks, without
//! exec, a process that serves this client and nothing else ([`user`]). It never reads a byte of a client's.
//!
//! A session that is quiet has no process: the one it had gives the client back, with its state in sealed memory that is
//! held here unread, and ends. It is forked again, for the user whom `auth` named at the login, when the client speaks, when
//! its mailbox changes, or when its time is over ([`lot`]).
//!
//! It has one thread and never gets another, because it forks.

mod appending;
mod conversation;
#[cfg(test)]
mod dialogue;
mod files;
mod flags;
mod lifeline;
mod logout;
mod lot;
mod message;
mod news;
mod places;
mod refusal;
mod selected;
mod settings;
#[cfg(test)]
mod speed;
mod user;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::ExitCode;
use std::time::Instant;

use inotify::WatchDescriptor;
use ipc_config::section::Section;
use ipc_messages::anvil::ToAnvil;
use ipc_messages::auth::{FromAuth, ToAuth, User};
use ipc_messages::handoff::Handoff;
use lifeline::{FromTemplate, MAX_FOLDERS, Quiet, ToTemplate};
use lot::{Action, Lot};
use news::News;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, send};
use nix::sys::stat::{Mode, umask};
use proto_imap::session::STILL_HERE;
use user::{How, Life, Who};
use worker::{Calls, Cx, Folder, Frame, Hub, Peer, PeerId, Service, Setup, StartError};

/// Clients that may wait for `auth` at once; it answers or is replaced, so that they are few.
const MAX_WAITING: usize = 1024;
/// Parked sessions that wake in one turn, so that many at once do not keep logins waiting.
const WAKES: usize = 16;
/// The key under which the notification instance is watched; parked clients are watched under the numbers of their sessions,
/// which begin with 1.
const NEWS: u64 = 0;

fn main() -> ExitCode {
    worker::run::<Template>()
}

struct Template {
    section: Section,
    folders: Vec<Folder>,
    /// Clients whose tickets are at `auth`.
    waiting: BTreeMap<u32, Waiting>,
    next: u32,
    lot: Lot<Who, WatchDescriptor>,
    news: News,
    /// It was said that folders cannot be watched.
    complained: bool,
    /// Parked sessions whose turn to wake is still to come.
    waking: VecDeque<u64>,
    /// For when the timer of parked sessions is set.
    armed: Option<Instant>,
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
        memfd: true,
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
        Ok(Template {
            section,
            folders: setup.folders,
            waiting: BTreeMap::new(),
            next: 0,
            lot: Lot::new(),
            news: News::default(),
            complained: false,
            waking: VecDeque::new(),
            armed: None,
        })
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
        if cx.hub(Hub::Anvil) == Some(id) {
            // How many sessions there are was asked before the login.
            return;
        }
        match frame.decode() {
            Ok((FromAuth::Redeemed { corr, user }, _)) => self.redeemed(cx, corr, user),
            Ok(_) => {}
            Err(error) => cx.broken(id, error),
        }
    }

    fn child_says(&mut self, cx: &mut Cx<()>, pid: i32, packet: &[u8], fds: Vec<OwnedFd>) {
        let Some(id) = self.lot.session(pid) else { return };
        match postcard::from_bytes(packet) {
            Ok(ToTemplate::Watch) => self.watch(cx, pid, id, &fds),
            Ok(ToTemplate::Park(quiet)) => self.park(cx, pid, quiet, fds),
            Err(error) => slog::error!(cx.log(), "session process {pid}: {error}"),
        }
    }

    fn child_ended(&mut self, cx: &mut Cx<()>, pid: i32) {
        let over = self.lot.ended(pid);
        self.over(cx, over);
    }

    fn readable(&mut self, cx: &mut Cx<()>, key: u64) {
        if key != NEWS {
            return self.waking.push_back(key);
        }
        let happened = self.news.take();
        let actions: Vec<Action> = match happened.lost {
            true => self.lot.changed(None),
            false => happened.folders.iter().flat_map(|folder| self.lot.changed(Some(folder))).collect(),
        };
        self.act(cx, actions);
    }

    fn timer(&mut self, cx: &mut Cx<()>, _: u64) {
        self.armed = None;
        let actions = self.lot.due(cx.now());
        self.act(cx, actions);
    }

    fn end_of_turn(&mut self, cx: &mut Cx<()>) {
        for id in self.waking.drain(..WAKES.min(self.waking.len())).collect::<Vec<_>>() {
            self.wake(cx, id);
        }
        let due = if self.waking.is_empty() { self.lot.next_due() } else { Some(cx.now()) };
        if let Some(due) = due.filter(|due| self.armed.is_none_or(|armed| *due < armed)) {
            self.armed = Some(due);
            cx.timer(due.saturating_duration_since(cx.now()), 0);
        }
    }

    fn reload(&mut self, _: &mut Cx<()>, section: Section) {
        self.section = section;
    }

    fn idle(&self) -> bool {
        self.waiting.is_empty() && self.lot.is_empty()
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
        let Waiting { handoff, client, report } = waiting;
        let who = Who { user, session: handoff.session, address: handoff.remote.map(|remote| remote.ip()) };
        let how = How::Login { tag: handoff.tag, input: handoff.input, report };
        match self.fork(cx, who.clone(), client, how) {
            Ok(pid) => {
                self.count(cx, &who, true);
                self.lot.begun(pid, who);
            }
            Err(error) => slog::error!(cx.log(), "fork: {error}"),
        }
    }

    fn fork(&self, cx: &mut Cx<()>, who: Who, client: OwnedFd, how: How) -> io::Result<i32> {
        let folder =
            |folder: &Folder| Ok((folder.path.as_os_str().as_encoded_bytes().to_vec(), folder.fd.try_clone()?));
        let folders = self.folders.iter().map(folder).collect::<io::Result<_>>()?;
        let life = Life { who, client, folders, how };
        let keep = life.descriptors();
        cx.detach(&keep, |detached| life.live(&self.section, detached))
    }

    /// Has `anvil` count a session that begins, or is over.
    fn count(&self, cx: &mut Cx<()>, who: &Who, begins: bool) {
        let (Some(anvil), Some(address)) = (cx.hub(Hub::Anvil), who.address) else { return };
        let (service, user) = ("imap".to_owned(), who.user.name.clone());
        let report = match begins {
            true => ToAnvil::Login { corr: 0, service, user, address },
            false => ToAnvil::Logout { service, user, address },
        };
        if cx.send(anvil, &report, Vec::new()).is_err() {
            cx.drop_peer(anvil);
        }
    }

    fn over(&mut self, cx: &mut Cx<()>, over: Option<(Who, Vec<WatchDescriptor>)>) {
        let Some((who, unwatched)) = over else { return };
        unwatched.into_iter().for_each(|folder| self.news.unwatch(folder));
        self.count(cx, &who, false);
    }

    /// A session wants to hear of changes in these folders.
    fn watch(&mut self, cx: &mut Cx<()>, pid: i32, id: u64, folders: &[OwnedFd]) {
        let watched: io::Result<Vec<WatchDescriptor>> = match folders.len() {
            0 => Ok(Vec::new()),
            1..=MAX_FOLDERS => self
                .begin_news(cx)
                .and_then(|()| folders.iter().map(|folder| self.news.watch(folder.as_fd())).collect()),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        };
        let answer = if watched.is_ok() { FromTemplate::Look } else { FromTemplate::Unwatched };
        if let Err(error) = &watched
            && !self.complained
        {
            self.complained = true;
            slog::warn!(
                cx.log(),
                "inotify: {error}: new mail is looked for every {} seconds; raise fs.inotify.max_user_instances and                  fs.inotify.max_user_watches",
                conversation::POLL.as_secs()
            );
        }
        for folder in self.lot.watch(id, watched.unwrap_or_default()) {
            self.news.unwatch(folder);
        }
        if !folders.is_empty() {
            self.tell(cx, pid, answer);
        }
    }

    fn begin_news(&mut self, cx: &mut Cx<()>) -> io::Result<()> {
        match self.news.begin()? {
            Some(readable) => cx.watch(NEWS, readable).map(drop),
            None => Ok(()),
        }
    }

    fn tell(&mut self, cx: &mut Cx<()>, pid: i32, what: FromTemplate) {
        // Who does not read has been told already.
        if cx.tell_child(pid, &what.bytes()) && what == FromTemplate::Look {
            self.lot.told(pid);
        }
    }

    /// A session is quiet; its process ends.
    fn park(&mut self, cx: &mut Cx<()>, pid: i32, quiet: Quiet, fds: Vec<OwnedFd>) {
        let Ok([client, state]) = <[OwnedFd; 2]>::try_from(fds) else {
            return slog::error!(cx.log(), "session process {pid}: a parked session without its client");
        };
        let Some((id, missed)) = self.lot.park(pid, quiet, state, cx.now()) else { return };
        if let Err(error) = cx.watch(id, client) {
            slog::error!(cx.log(), "a parked client: {error}");
            let over = self.lot.over(id);
            return self.over(cx, over);
        }
        if missed {
            self.waking.push_back(id);
        }
    }

    fn act(&mut self, cx: &mut Cx<()>, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Look(pid) => self.tell(cx, pid, FromTemplate::Look),
                Action::Wake(id) => self.waking.push_back(id),
                Action::Remind(id) => self.remind(cx, id),
            }
        }
    }

    /// Tells a parked client that the server lives. One that has not taken so little for so long is beyond it.
    fn remind(&mut self, cx: &mut Cx<()>, id: u64) {
        let Some(client) = cx.watched(id) else { return };
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        let sent = send(client.as_raw_fd(), STILL_HERE, flags);
        if sent != Ok(STILL_HERE.len()) {
            let why = sent.err().unwrap_or(Errno::EAGAIN).desc();
            if let Some(who) = self.lot.who(id) {
                slog::info!(cx.log_as(format!("imap({})<{}>", who.user.name, who.session)), "Disconnected: {why}");
            }
            drop(cx.unwatch(id));
            let over = self.lot.over(id);
            self.over(cx, over);
        }
    }

    /// A parked session has something to do: it gets a process again.
    fn wake(&mut self, cx: &mut Cx<()>, id: u64) {
        let Some(woken) = self.lot.wake(id, cx.now()) else { return };
        let (Some(client), Some(who)) = (cx.unwatch(id), self.lot.who(id).cloned()) else { return };
        match self.fork(cx, who, client, How::Wakes(woken)) {
            Ok(pid) => self.lot.woken(id, pid),
            Err(error) => {
                slog::error!(cx.log(), "fork: {error}");
                let over = self.lot.over(id);
                self.over(cx, over);
            }
        }
    }
}
