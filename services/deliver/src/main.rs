//! deliver: files mail for the users of one account (uid and gid). It acts for them, so the master started it in that
//! account; it reads no network byte, and what it is told about a recipient is a name: everything else it asks of `auth`.
//!
//! Filings form batches by themselves: what comes while a batch is being written is the next one. Mail that our own queue
//! still holds may share one `syncfs`; mail from others is synced file by file, side by side on the pool's threads, so that
//! its client waits for nobody else's data.

mod crowd;
mod filing;
mod report;
mod settings;

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crowd::{Crowd, Place};
use filing::{Desk, Job, Line, Written};
use ipc_config::section::Section;
use ipc_messages::auth::{FromAuth, Origin, ToAuth, User};
use ipc_messages::delivery::{Filed, Filing, FromDeliver, Introduction, ToDeliver};
use mail_user::{Context, Places, Unreachable};
use settings::Settings;
use store_mailbox::fs::real::RealFs;
use store_mailbox::location::{Format, Location};
use worker::{Calls, Cx, Frame, Hub, Peer, PeerId, Service, Setup, StartError};

/// Threads that write side by side when each message is synced by itself.
const THREADS: usize = 16;
/// Recipients in one batch.
const BATCH: usize = 256;

fn main() -> ExitCode {
    worker::run::<Deliver>()
}

struct Deliver {
    section: Section,
    settings: Settings,
    fs: Arc<RealFs>,
    desk: Desk,
    /// Deliveries in progress.
    crowd: Crowd,
    /// Recipients whose user is being looked up.
    lookups: BTreeMap<u32, Recipient>,
    next_lookup: u32,
    /// Recipients that wait for the batch that is being written.
    ready: VecDeque<Job>,
    /// Batches under way that may share a sync.
    shared: usize,
}

/// One recipient of one request.
struct Recipient {
    peer: PeerId,
    corr: u32,
    position: u32,
    filing: Filing,
    message: Arc<Message>,
    place: Place,
}

/// What the recipients of one request share.
struct Message {
    file: File,
    size: u64,
    sender: String,
    prefix: Vec<u8>,
    queued: bool,
    arrived: Instant,
    /// How long its client took for it.
    session: Duration,
}

/// Where a user's mail goes.
struct Spot {
    location: Location<RealFs>,
    root: String,
    separator: char,
}

impl Service for Deliver {
    const NAME: &'static str = "deliver";
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
    type Opened = ();
    type Done = Vec<Written>;

    fn pre_jail(_: &Section, _: &mut Setup) -> Result<(), StartError> {
        Ok(())
    }

    fn start(section: Section, (): (), setup: Setup, cx: &mut Cx<Vec<Written>>) -> Result<Deliver, StartError> {
        let roots =
            setup.folders.into_iter().map(|folder| (folder.path.into_os_string().into_encoded_bytes(), folder.fd));
        let fs = mail_user::files(&section, roots.collect());
        let fs = Arc::new(fs.map_err(|error| StartError::new("mail folders", error))?);
        cx.set_threads(THREADS);
        let settings = Settings::read(&section);
        Ok(Deliver {
            desk: Desk::new(fs.clone(), settings.clone()),
            section,
            settings,
            fs,
            crowd: Crowd::default(),
            lookups: BTreeMap::new(),
            next_lookup: 0,
            ready: VecDeque::new(),
            shared: 0,
        })
    }

    /// A peer hands over one end of a channel.
    fn handoff(&mut self, cx: &mut Cx<Vec<Written>>, packet: Vec<u8>, fds: Vec<OwnedFd>) {
        let (Ok(peer), Some(fd)) = (postcard::from_bytes::<Introduction>(&packet), fds.into_iter().next()) else {
            return slog::warn!(cx.log(), "an introduction that cannot be read");
        };
        if let Err(error) = cx.adopt_channel(fd, Peer::Client { program: peer.program, pid: peer.pid, uid: 0 }) {
            slog::error!(cx.log(), "channel: {error}");
        }
    }

    fn peer_up(&mut self, cx: &mut Cx<Vec<Written>>, _: PeerId, peer: &Peer) {
        if *peer == Peer::Hub(Hub::Auth) {
            // What was asked of its predecessor is asked again.
            for recipient in std::mem::take(&mut self.lookups).into_values() {
                self.look_up(cx, recipient);
            }
        }
    }

    fn peer_down(&mut self, _: &mut Cx<Vec<Written>>, id: PeerId, peer: &Peer) {
        if matches!(peer, Peer::Client { .. }) {
            // Nobody waits for these any more; whoever sent them tries again.
            self.lookups.retain(|_, recipient| recipient.peer != id);
            self.ready.retain(|job| job.peer != id);
        }
    }

    fn frame(&mut self, cx: &mut Cx<Vec<Written>>, id: PeerId, frame: Frame) {
        if cx.hub(Hub::Auth) == Some(id) {
            return match frame.decode() {
                Ok((FromAuth::Found { corr, user, .. }, _)) => self.found(cx, corr, user),
                Ok(_) => {}
                Err(error) => cx.broken(id, error),
            };
        }
        match frame.decode() {
            Ok((ToDeliver::File { corr, sender, recipients, size, prefix, session_millis, queued }, fds)) => {
                let Some(fd) = fds.into_iter().next() else { return cx.drop_peer(id) };
                let session = Duration::from_millis(session_millis.into());
                let arrived = cx.now();
                let message = Arc::new(Message { file: fd.into(), size, sender, prefix, queued, arrived, session });
                for (position, filing) in (0u32..).zip(recipients) {
                    match self.crowd.enter(&filing.user, self.settings.concurrency) {
                        Some(place) => {
                            let message = message.clone();
                            self.look_up(cx, Recipient { peer: id, corr, position, filing, message, place });
                        }
                        None => {
                            let text = "4.3.0 Too many concurrent deliveries for user";
                            refuse(cx, (id, corr, position), Filed::Temporary(text.into()));
                        }
                    }
                }
            }
            Err(error) => cx.broken(id, error),
        }
    }

    fn done(&mut self, cx: &mut Cx<Vec<Written>>, written: Vec<Written>) {
        if written.first().is_some_and(|written| written.job.message.queued) {
            self.shared -= 1;
        }
        for Written { job, result, lines } in written {
            let log = cx.log_as(job.tag);
            for line in lines {
                match line {
                    Line::Report(text) => slog::info!(log, "{text}"),
                    Line::Error(text) => slog::error!(log, "{text}"),
                }
            }
            // From here on another delivery to this user may begin.
            drop(job.place);
            answer(cx, job.peer, &FromDeliver::Filed { corr: job.corr, position: job.position, result });
        }
    }

    fn end_of_turn(&mut self, cx: &mut Cx<Vec<Written>>) {
        // One batch at a time where a sync is shared: the next one forms meanwhile. Others go to a thread each.
        let alone: Vec<Job> = {
            let (shared, alone): (VecDeque<Job>, VecDeque<Job>) =
                self.ready.drain(..).partition(|job| job.message.queued);
            self.ready = shared;
            alone.into_iter().collect()
        };
        for job in alone {
            self.write(cx, vec![job]);
        }
        if self.shared == 0 && !self.ready.is_empty() {
            let batch: Vec<Job> = self.ready.drain(..self.ready.len().min(BATCH)).collect();
            self.shared += 1;
            self.write(cx, batch);
        }
    }

    fn reload(&mut self, _: &mut Cx<Vec<Written>>, section: Section) {
        self.settings = Settings::read(&section);
        self.desk = Desk::new(self.fs.clone(), self.settings.clone());
        self.section = section;
    }

    fn idle(&self) -> bool {
        self.lookups.is_empty() && self.ready.is_empty()
    }
}

impl Deliver {
    fn look_up(&mut self, cx: &mut Cx<Vec<Written>>, recipient: Recipient) {
        let corr = self.next_lookup;
        self.next_lookup = self.next_lookup.wrapping_add(1);
        if let Some(auth) = cx.hub(Hub::Auth) {
            let origin = Origin {
                service: "lmtp".into(),
                session: recipient.filing.session.clone(),
                remote: None,
                local: None,
                secured: None,
            };
            let question = ToAuth::User { corr, user: recipient.filing.user.clone(), origin, inbox: false };
            if cx.send(auth, &question, Vec::new()).is_err() {
                cx.drop_peer(auth);
            }
        }
        self.lookups.insert(corr, recipient);
    }

    fn found(&mut self, cx: &mut Cx<Vec<Written>>, corr: u32, user: Result<Option<User>, String>) {
        let Some(recipient) = self.lookups.remove(&corr) else { return };
        let asked = (recipient.peer, recipient.corr, recipient.position);
        let user = match user {
            Ok(Some(user)) => user,
            Ok(None) => {
                let text = format!("5.1.1 User doesn't exist: {}", recipient.filing.user);
                return refuse(cx, asked, Filed::Permanent(text));
            }
            Err(_) => return refuse(cx, asked, internal_error()),
        };
        let context = Context { service: "lmtp", session: &recipient.filing.session };
        let tag = mail_user::log_tag(&self.section, &user, context, cx.log());
        mail_user::log_identity(&self.section, &user, &cx.log_as(tag.clone()));
        match self.spot(&user, context) {
            Ok(Spot { location, root, separator }) => self.ready.push_back(Job {
                peer: recipient.peer,
                corr: recipient.corr,
                position: recipient.position,
                tag,
                address: recipient.filing.address,
                location,
                root,
                mailbox: recipient.filing.mailbox,
                separator,
                message: recipient.message,
                place: recipient.place,
            }),
            Err(error) => {
                slog::error!(cx.log_as(tag), "Failed to initialize user: {error}");
                refuse(cx, asked, internal_error());
            }
        }
    }

    /// Where the namespace that holds INBOX is.
    fn spot(&self, user: &User, context: Context<'_>) -> Result<Spot, Unreachable> {
        let exists = |path: &str| mail_user::exists(&self.fs, path);
        let namespace = self.section.namespaces.iter().find(|namespace| namespace.inbox);
        let places = match namespace {
            Some(namespace) => Places::of_namespace(namespace, user, &self.section, context, exists)?,
            None => Places::find(user, &self.section, context, exists)?,
        };
        let own = match places.format {
            Format::Maildir => '.',
            Format::Sdbox => '/',
        };
        let separator = namespace.and_then(|namespace| namespace.separator).unwrap_or(own);
        Ok(Spot { location: places.location(&self.fs)?, root: places.root, separator })
    }

    fn write(&mut self, cx: &mut Cx<Vec<Written>>, batch: Vec<Job>) {
        let desk = self.desk.clone();
        if let Err(job) = cx.run(Box::new(move || desk.write(batch))) {
            // More waits than the pool's queue holds: written here, which is the back-pressure.
            let written = job();
            self.done(cx, written);
        }
    }
}

fn internal_error() -> Filed {
    Filed::Temporary("4.2.0 Temporary internal error".into())
}

/// Answers one recipient of a request, which is named by the peer, the request's number and the position in it.
fn refuse(cx: &mut Cx<Vec<Written>>, (peer, corr, position): (PeerId, u32, u32), result: Filed) {
    answer(cx, peer, &FromDeliver::Filed { corr, position, result });
}

fn answer(cx: &mut Cx<Vec<Written>>, peer: PeerId, message: &FromDeliver) {
    if cx.send(peer, message, Vec::new()).is_err() {
        cx.drop_peer(peer);
    }
}
