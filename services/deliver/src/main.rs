//! deliver: files mail for the users of one account (uid and gid). It acts for them, so the master started it in that
//! account; it reads no network byte, and what it is told about a recipient is a name: everything else it asks of `auth`.
//!
//! Filings form batches by themselves: what comes while a batch is being written is the next one. Mail that our own queue
//! still holds may share one `syncfs`; mail from others is synced file by file, side by side on the pool's threads, so that
//! its client waits for nobody else's data.

mod filing;

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::sync::Arc;

use filing::{Desk, Job, Written};
use ipc_config::section::Section;
use ipc_messages::auth::{FromAuth, Origin, ToAuth, User};
use ipc_messages::delivery::{Filed, Filing, FromDeliver, Introduction, ToDeliver};
use mail_user::{Context, Places};
use store_mailbox::fs::real::RealFs;
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
    fs: Arc<RealFs>,
    desk: Desk,
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
}

/// What the recipients of one request share.
struct Message {
    file: File,
    size: u64,
    sender: String,
    prefix: Vec<u8>,
    queued: bool,
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
        let fs = RealFs::new(roots.collect(), mail_user::host().as_bytes());
        let fs = Arc::new(fs.map_err(|error| StartError::new("mail folders", error))?);
        cx.set_threads(THREADS);
        let desk = Desk::new(fs.clone(), mail_user::fsync(&section));
        Ok(Deliver { section, fs, desk, lookups: BTreeMap::new(), next_lookup: 0, ready: VecDeque::new(), shared: 0 })
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
            Ok((ToDeliver::File { corr, sender, recipients, size, prefix, queued }, fds)) => {
                let Some(fd) = fds.into_iter().next() else { return cx.drop_peer(id) };
                let message = Arc::new(Message { file: fd.into(), size, sender, prefix, queued });
                for (position, filing) in (0u32..).zip(recipients) {
                    self.look_up(cx, Recipient { peer: id, corr, position, filing, message: message.clone() });
                }
            }
            Err(error) => cx.broken(id, error),
        }
    }

    fn done(&mut self, cx: &mut Cx<Vec<Written>>, written: Vec<Written>) {
        if written.first().is_some_and(|written| written.queued) {
            self.shared -= 1;
        }
        for written in written {
            let log = cx.log_as(written.tag);
            match &written.result {
                Filed::Saved => slog::info!(log, "msgid={}: saved mail to {}", written.message_id, written.mailbox),
                Filed::Temporary(_) | Filed::Permanent(_) => {
                    slog::error!(
                        log,
                        "msgid={}: save failed to {}: {}",
                        written.message_id,
                        written.mailbox,
                        written.error
                    );
                }
            }
            let (corr, position, result) = (written.corr, written.position, written.result);
            answer(cx, written.peer, &FromDeliver::Filed { corr, position, result });
        }
    }

    fn end_of_turn(&mut self, cx: &mut Cx<Vec<Written>>) {
        // One batch at a time where a sync is shared: the next one forms meanwhile. Others go to a thread each.
        let alone: Vec<Job> = {
            let (shared, alone): (VecDeque<Job>, VecDeque<Job>) = self.ready.drain(..).partition(|job| job.queued);
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
        self.desk = Desk::new(self.fs.clone(), mail_user::fsync(&section));
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
        let user = match user {
            Ok(Some(user)) => user,
            Ok(None) => {
                let text = format!("5.1.1 User doesn't exist: {}", recipient.filing.user);
                return refuse(cx, &recipient, Filed::Permanent(text));
            }
            Err(_) => return refuse(cx, &recipient, internal_error()),
        };
        let context = Context { service: "lmtp", session: &recipient.filing.session };
        let fs = &self.fs;
        let places = Places::find(&user, &self.section, context, |path| mail_user::exists(fs, path));
        let located = places.and_then(|places| Ok((places.location(fs)?, places)));
        match located {
            Ok((location, places)) => self.ready.push_back(Job {
                peer: recipient.peer,
                corr: recipient.corr,
                position: recipient.position,
                queued: recipient.message.queued,
                tag: tag(&user.name, &recipient.filing.session),
                prefix: prefix(&recipient),
                location,
                root: places.root,
                message: recipient.message,
            }),
            Err(error) => {
                let log = cx.log_as(tag(&user.name, &recipient.filing.session));
                slog::error!(log, "Failed to initialize user: {error}");
                refuse(cx, &recipient, internal_error());
            }
        }
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

fn refuse(cx: &mut Cx<Vec<Written>>, recipient: &Recipient, result: Filed) {
    let (corr, position) = (recipient.corr, recipient.position);
    answer(cx, recipient.peer, &FromDeliver::Filed { corr, position, result });
}

fn answer(cx: &mut Cx<Vec<Written>>, peer: PeerId, message: &FromDeliver) {
    if cx.send(peer, message, Vec::new()).is_err() {
        cx.drop_peer(peer);
    }
}

/// `lmtp(user)<pid><session>`
fn tag(user: &str, session: &str) -> String {
    format!("lmtp({user})<{}><{session}>", std::process::id())
}

/// The header lines that only this recipient gets, before those that all share.
fn prefix(recipient: &Recipient) -> Vec<u8> {
    let message = &recipient.message;
    let mut lines =
        format!("Return-Path: <{}>\nDelivered-To: {}\n", message.sender, recipient.filing.address).into_bytes();
    lines.extend_from_slice(&message.prefix);
    lines
}
