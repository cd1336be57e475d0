//! auth: who may log in, and who is who. The only process that reads password databases; it has no network.
//!
//! Two kinds of askers: our own services, over channels ([`ipc_messages::auth`]), each program with the questions that are
//! its own; and whoever may open the sockets that `service auth` names, in the Dovecot protocol (a real Postfix, our own
//! `smtpd`). A socket whose name begins with `auth-master` or `auth-userdb` speaks the protocol of lookups, every other one
//! that of authentication.
//!
//! Passwords are compared on threads. The decisions are the [`desk`]'s; here is only how they come in and go out.

mod account;
mod desk;
mod environment;
mod files;
mod login;
mod names;
mod peers;
mod roots;
mod session;
mod settings;
mod sockets;
mod work;

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use ipc_config::section::Section;
use ipc_messages::lookup::ToNameService;
use proto_sasl::dovecot::userdb::Socket;
use store_passwords::engine::Verdict;
use store_passwords::log::{Level, Line};
use worker::{Calls, ConnId, Cx, Frame, Hub, Peer, PeerId, Remote, Service, Setup, StartError, Why};

use desk::{Alarm, Desk, Effect};
use files::Folders;
use peers::Client;
use settings::Configuration;
use sockets::Connection;

/// Passwords that may wait to be compared; with the slowest scheme this is some seconds' work.
const MAX_HASHES: usize = 256;

fn main() -> ExitCode {
    worker::run::<Auth>()
}

/// The way to an asker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Channel {
    Connection(ConnId),
    Peer(PeerId),
}

/// What is told at the end of a job: the task and the verdict.
type Hashed = (u64, Verdict);

struct Auth {
    desk: Desk<Channel>,
    processors: usize,
    /// What each listener speaks; `None` is the protocol of authentication.
    speaks: Vec<Option<Socket>>,
    connections: HashMap<ConnId, Connection>,
    clients: HashMap<PeerId, Client>,
    /// Timers that run.
    alarms: HashMap<u64, Alarm>,
    next_alarm: u64,
    started: Instant,
}

impl Service for Auth {
    const NAME: &'static str = "auth";
    const CALLS: Calls = Calls {
        accept: true,
        connect: false,
        files: true,
        threads: true,
        fork: false,
        memfd: false,
        notify: false,
        narrow: false,
    };
    type Section = Section;
    /// The number of processors.
    type Opened = usize;
    type Done = Hashed;

    fn pre_jail(_: &Section, _: &mut Setup) -> Result<usize, StartError> {
        Ok(std::thread::available_parallelism().map_or(1, usize::from))
    }

    fn start(section: Section, processors: usize, setup: Setup, cx: &mut Cx<Hashed>) -> Result<Auth, StartError> {
        let configuration = Configuration::read(&section);
        cx.set_threads(threads(&configuration, processors));
        let speaks = setup.boot.listeners.iter().map(|listener| speaks(&listener.name)).collect();
        let desk = Desk::new(configuration, Box::new(Folders(setup.folders)));
        let auth = Auth {
            desk,
            processors,
            speaks,
            connections: HashMap::new(),
            clients: HashMap::new(),
            alarms: HashMap::new(),
            next_alarm: 0,
            started: cx.now(),
        };
        auth.tell_if_broken(cx);
        Ok(auth)
    }

    fn accepted(&mut self, cx: &mut Cx<Hashed>, conn: ConnId, listener: usize, _: Remote) {
        self.clock(cx);
        self.accept(cx, conn, listener);
    }

    fn input(&mut self, cx: &mut Cx<Hashed>, conn: ConnId) {
        self.clock(cx);
        self.read(cx, conn);
    }

    fn closed(&mut self, _: &mut Cx<Hashed>, conn: ConnId, _: Why) {
        self.forget_connection(conn);
    }

    fn peer_up(&mut self, cx: &mut Cx<Hashed>, id: PeerId, peer: &Peer) {
        match peer {
            Peer::Hub(_) => self.desk.name_service_up(),
            Peer::Client { program, pid, uid } => {
                let client = Client { program: program.clone(), pid: *pid, uid: *uid };
                self.introduce(cx, id, client);
            }
        }
    }

    fn peer_down(&mut self, _: &mut Cx<Hashed>, id: PeerId, _: &Peer) {
        self.clients.remove(&id);
        self.desk.gone(Channel::Peer(id));
    }

    fn frame(&mut self, cx: &mut Cx<Hashed>, id: PeerId, frame: Frame) {
        self.clock(cx);
        if !self.clients.contains_key(&id) {
            return match frame.decode() {
                Ok((answer, _)) => self.desk.named(answer),
                Err(error) => cx.broken(id, error),
            };
        }
        match frame.decode() {
            Ok((question, _)) => self.peer(cx, id, question),
            Err(error) => cx.broken(id, error),
        }
    }

    fn acting(&mut self, cx: &mut Cx<Hashed>, corr: u32, inbox: Result<OwnedFd, String>) {
        self.clock(cx);
        self.desk.acting(corr, inbox);
    }

    fn timer(&mut self, cx: &mut Cx<Hashed>, key: u64) {
        self.clock(cx);
        if let Some(alarm) = self.alarms.remove(&key) {
            self.desk.ring(alarm);
        }
    }

    fn done(&mut self, cx: &mut Cx<Hashed>, (number, verdict): Hashed) {
        self.clock(cx);
        self.desk.hashed(number, verdict);
    }

    fn end_of_turn(&mut self, cx: &mut Cx<Hashed>) {
        while let Some(effect) = self.desk.effect() {
            self.carry_out(cx, effect);
        }
    }

    fn reload(&mut self, cx: &mut Cx<Hashed>, section: Section) {
        let configuration = Configuration::read(&section);
        cx.set_threads(threads(&configuration, self.processors));
        self.desk.configure(configuration);
        self.tell_if_broken(cx);
        let ids: Vec<PeerId> = self.clients.keys().copied().collect();
        ids.into_iter().for_each(|id| self.tell_mechanisms(cx, id));
    }

    fn idle(&self) -> bool {
        self.desk.is_idle()
    }
}

impl Auth {
    fn clock(&mut self, cx: &Cx<Hashed>) {
        self.desk.clock((cx.now() - self.started).as_secs());
    }

    fn tell_if_broken(&self, cx: &Cx<Hashed>) {
        if let Some(reason) = self.desk.broken() {
            slog::crit!(cx.log(), "{reason}");
        }
    }

    fn carry_out(&mut self, cx: &mut Cx<Hashed>, effect: Effect<Channel>) {
        match effect {
            Effect::Answer(asker, answer) => match asker.channel {
                Channel::Connection(conn) => self.answer_connection(cx, conn, asker.id, answer),
                Channel::Peer(id) => self.answer_peer(cx, id, asker.id, answer),
            },
            Effect::Hash(number, job) => {
                let full = cx.running() >= MAX_HASHES;
                if full || cx.run(Box::new(move || (number, job.run()))).is_err() {
                    self.desk.no_thread(number);
                }
            }
            Effect::Ask(question) => self.ask(cx, &question),
            Effect::Acting(request) => cx.acting(request),
            Effect::Wake(after, alarm) => {
                self.next_alarm += 1;
                self.alarms.insert(self.next_alarm, alarm);
                cx.timer(after, self.next_alarm);
            }
            Effect::Log(line) => log(cx, &line),
        }
    }

    /// Without a name service the question waits at the desk until there is one.
    fn ask(&mut self, cx: &mut Cx<Hashed>, question: &ToNameService) {
        if let Some(id) = cx.hub(Hub::NameService)
            && cx.send(id, question, Vec::new()).is_err()
        {
            cx.drop_peer(id);
        }
    }
}

/// How many threads compare passwords: more than one for each processor would gain nothing.
fn threads(configuration: &Configuration, processors: usize) -> usize {
    configuration.threads.min(processors)
}

/// What a listener of this name speaks.
fn speaks(name: &str) -> Option<Socket> {
    let base = Path::new(name).file_name().and_then(|base| base.to_str()).unwrap_or_default();
    match base {
        base if base.starts_with("auth-master") => Some(Socket::Master),
        base if base.starts_with("auth-userdb") => Some(Socket::Userdb),
        _ => None,
    }
}

fn log(cx: &Cx<Hashed>, line: &Line) {
    match line.level {
        Level::Debug => slog::debug!(cx.log(), "{}", line.text),
        Level::Info => slog::info!(cx.log(), "{}", line.text),
        Level::Warning => slog::warn!(cx.log(), "{}", line.text),
        Level::Error => slog::error!(cx.log(), "{}", line.text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_bounded_by_the_setting_and_the_processors() {
        for (setting, processors, expected) in [("30", 4, 4), ("2", 4, 2), ("30", 64, 30)] {
            let mut section = settings::tests::section();
            section.mailbox.insert("auth_worker_max_count", setting);
            assert_eq!(threads(&Configuration::read(&section), processors), expected);
        }
    }

    #[test]
    fn sockets_speak_by_their_names() {
        for (name, expected) in [
            ("/var/spool/postfix/private/auth", None),
            ("auth-client", None),
            ("auth-userdb", Some(Socket::Userdb)),
            ("/run/dovecot/auth-master", Some(Socket::Master)),
            ("auth-master/x", None),
        ] {
            assert_eq!(speaks(name), expected, "{name}");
        }
    }
}
