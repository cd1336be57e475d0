//! imap-login: the network's side of IMAP up to the login. It holds TLS and nothing else: what a client may is decided by
//! `auth`, which gives a ticket for the session, and the mailbox process redeems it. Nothing that this process can say
//! makes it another user.
//!
//! The dialogue is [`proto_imap::login`]; here it meets sockets, TLS, `auth` and the log. A client without TLS is handed
//! over and forgotten; for one with TLS this process goes on to pass bytes between the client and a socket pair.

mod client;
mod dialogue;
mod history;
mod line;
mod logins;
mod passing;
mod settings;

use std::collections::{HashMap, VecDeque};
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ipc_config::section::Section;
use ipc_messages::auth::FromAuth;
use proto_imap::session::Now;
use rustls::ServerConfig;
use worker::{Calls, ConnId, Cx, Frame, Hub, Peer, PeerId, Remote, Secured, Service, Setup, StartError, Why};

use client::{Client, Protection};
use history::History;
use logins::Ready;
use passing::{Passed, Passings};
use settings::Settings;

/// What Dovecot logs for a TLS session without a certificate.
const NO_CERTIFICATE: &str = "Can't load SSL certificate (ssl_cert setting): The certificate is empty";

/// How long a client waits for its greeting before it is told why.
const AUTH_WARNING: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    worker::run::<ImapLogin>()
}

/// What is known of `auth`.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Auth {
    /// It has not spoken yet.
    Unknown,
    /// It cannot work: the configuration has nothing to ask for passwords.
    Broken,
    /// It offers these mechanisms.
    Offers(Vec<String>),
}

struct ImapLogin {
    settings: Settings,
    /// Each listener's name, and whether TLS begins at once.
    listeners: Vec<(String, bool)>,
    host: String,
    auth: Auth,
    clients: HashMap<ConnId, Client>,
    /// Exchanges that auth works on.
    exchanges: HashMap<u32, ConnId>,
    next_exchange: u32,
    passings: Passings,
    /// Logins whose clients wait until there is room to hand them over.
    ready: VecDeque<Ready>,
    tls: Option<Arc<ServerConfig>>,
    started: Instant,
}

impl Service for ImapLogin {
    const NAME: &'static str = "imap-login";
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

    fn start(section: Section, (): (), setup: Setup, cx: &mut Cx<()>) -> Result<ImapLogin, StartError> {
        let host = nix::unistd::gethostname().map_err(|error| StartError::new("host name", error))?;
        Ok(ImapLogin {
            settings: Settings::read(&section),
            listeners: setup.boot.listeners.iter().map(|listener| (listener.name.clone(), listener.tls)).collect(),
            host: host.to_string_lossy().into_owned(),
            auth: Auth::Unknown,
            clients: HashMap::new(),
            exchanges: HashMap::new(),
            next_exchange: 0,
            passings: Passings::default(),
            ready: VecDeque::new(),
            tls: None,
            started: cx.now(),
        })
    }

    fn accepted(&mut self, cx: &mut Cx<()>, conn: ConnId, listener: usize, remote: Remote) {
        // Every listener of a login service is an Internet one.
        let Remote::Inet { peer, local } = remote else { return cx.abort(conn) };
        let (listener, tls) = self.listeners[listener].clone();
        let mut history = History::new(self.seconds(cx));
        if matches!(self.auth, Auth::Offers(_)) {
            history.auth_is_ready();
        }
        let micros = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_micros() as u64);
        let client = Client {
            remote: peer,
            local,
            listener,
            session: line::session_name(micros, peer),
            trusted: self.settings.trusts(peer, local),
            protection: Protection::Clear,
            login: None,
            history,
            exchange: None,
            told_to_wait: false,
        };
        self.clients.insert(conn, client);
        cx.deadline(conn, Some(AUTH_WARNING));
        if tls { self.start_tls(cx, conn) } else { self.greet(cx, conn) }
    }

    fn input(&mut self, cx: &mut Cx<()>, conn: ConnId) {
        self.process(cx, conn);
    }

    fn secured(&mut self, cx: &mut Cx<()>, conn: ConnId, how: Secured) {
        let Some(client) = self.clients.get_mut(&conn) else { return };
        client.protection = Protection::Tls(how);
        match &mut client.login {
            Some(login) => login.tls_started(),
            None => self.greet(cx, conn),
        }
    }

    fn closed(&mut self, cx: &mut Cx<()>, conn: ConnId, why: Why) {
        let Some(client) = self.clients.get(&conn) else { return };
        let (reason, error) = match why {
            Why::Eof => ("Connection closed".to_owned(), "Connection closed".to_owned()),
            Why::Error(error) => (format!("Connection closed: read failed: {error}"), format!("read failed: {error}")),
            Why::Tls(error) => {
                let call = if client.is_ready() { "SSL_read()" } else { "SSL_accept()" };
                let error = format!("{call} failed: {error}");
                (format!("Connection closed: {error}"), error)
            }
        };
        let end = matches!(client.protection, Protection::Tls(_)) && reason == "Connection closed";
        self.forget(cx, conn, &reason, Some(error.as_str()).filter(|_| !end));
    }

    fn timeout(&mut self, cx: &mut Cx<()>, conn: ConnId) {
        self.out_of_time(cx, conn);
    }

    fn peer_down(&mut self, cx: &mut Cx<()>, _: PeerId, peer: &Peer) {
        if *peer == Peer::Hub(Hub::Auth) {
            self.auth = Auth::Unknown;
            self.auth_lost(cx);
        }
    }

    fn frame(&mut self, cx: &mut Cx<()>, id: PeerId, frame: Frame) {
        match frame.decode::<FromAuth>() {
            Ok((answer, fds)) => self.auth_says(cx, answer, fds),
            Err(error) => cx.broken(id, error),
        }
    }

    fn timer(&mut self, cx: &mut Cx<()>, key: u64) {
        let passed = self.passings.ring(cx, key);
        self.passed(cx, passed);
        self.hand_over_waiting(cx);
    }

    fn readable(&mut self, cx: &mut Cx<()>, key: u64) {
        let passed = self.passings.readable(cx, key);
        self.passed(cx, passed);
        self.hand_over_waiting(cx);
    }

    fn reload(&mut self, _: &mut Cx<()>, section: Section) {
        self.settings = Settings::read(&section);
        self.tls = None;
    }

    fn idle(&self) -> bool {
        self.passings.is_empty()
    }
}

impl ImapLogin {
    fn now(&self, cx: &Cx<()>) -> Now {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs() as i64);
        Now { unix, monotonic_ms: (cx.now() - self.started).as_millis() as u64 }
    }

    fn seconds(&self, cx: &Cx<()>) -> u64 {
        (cx.now() - self.started).as_secs()
    }

    /// Begins TLS. The configuration is made for the first client that wants it.
    fn start_tls(&mut self, cx: &mut Cx<()>, conn: ConnId) {
        if self.tls.is_none() {
            let made = match &self.settings.offer {
                Some(offer) => worker::tls::server(offer, cx.signatures()),
                None => Err(NO_CERTIFICATE.into()),
            };
            match made {
                Ok(config) => self.tls = Some(config),
                Err(error) => slog::error!(cx.log(), "Failed to initialize SSL server context: {error}"),
            }
        }
        let Some(config) = self.tls.clone() else {
            return self.end(cx, conn, "TLS initialization failed.");
        };
        if let Some(client) = self.clients.get_mut(&conn) {
            client.protection = Protection::Handshake;
        }
        cx.start_tls(conn, config);
    }

    /// Closes a connection when its output has left, and logs why.
    fn end(&mut self, cx: &mut Cx<()>, conn: ConnId, reason: &str) {
        self.forget(cx, conn, reason, None);
        cx.close(conn);
    }

    /// Logs the end of a connection that did not log in.
    fn forget(&mut self, cx: &mut Cx<()>, conn: ConnId, reason: &str, error: Option<&str>) {
        self.cancel(cx, conn);
        let Some(client) = self.clients.remove(&conn) else { return };
        let event = format!("Disconnected: {reason} {}", client.history.summary(self.seconds(cx)));
        slog::info!(cx.log(), "{}", self.settings.format.line(&event, &client.facts(error)));
    }

    fn passed(&mut self, cx: &mut Cx<()>, passed: Option<Passed>) {
        match passed {
            None => {}
            Some(Passed::Taken(facts)) => slog::info!(cx.log(), "{}", self.settings.format.line("Login", &facts)),
            Some(Passed::Lost { facts, why, client }) => {
                let event = format!("Disconnected: Internal login failure: {why}");
                slog::error!(cx.log(), "{}", self.settings.format.line(&event, &facts));
                // Whoever was not sent away is told; a socket that cannot be written to any more hears nothing.
                if let Some(Ok(conn)) = client.map(|client: OwnedFd| cx.adopt(client)) {
                    cx.write(conn, b"* BYE Internal error occurred. Refer to server log for more information.\r\n");
                    cx.close(conn);
                }
            }
        }
    }
}
