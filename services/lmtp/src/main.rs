//! lmtp: mail in by LMTP (RFC 2033), as Dovecot serves it. Recipients are looked up at `auth` when they are named, so that an
//! unknown user is refused there; the message goes to the process that files for the recipient's account, and each
//! recipient gets the answer of that process.
//!
//! Content is collected in a memory file, never in this process's heap, and handed on as a descriptor.

mod client;
mod content;
mod filing;
mod lookup;
mod recipient;
mod session_id;
mod settings;
mod trace;

use std::collections::{BTreeMap, HashMap};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use ipc_config::section::Section;
use ipc_messages::auth::FromAuth;
use ipc_messages::delivery::FromDeliver;
use proto_smtp::body::Newlines;
use proto_smtp::reply::Reply;
use proto_smtp::server::{Action, Answer, Keywords, Level, Peer as SessionPeer, Question, Session};
use rustls::ServerConfig;
use worker::{Calls, ConnId, Cx, Frame, Hub, Peer, PeerId, Remote, Secured, Service, Setup, StartError, Why};

use client::{Asked, Client};
use content::Content;
use filing::Pending;
use recipient::Candidate;
use session_id::SessionIds;
use settings::Settings;

/// How long a client may be silent (Dovecot's `CLIENT_IDLE_TIMEOUT_MSECS`).
const IDLE: Duration = Duration::from_secs(300);

fn main() -> ExitCode {
    worker::run::<Lmtp>()
}

struct Lmtp {
    settings: Settings,
    tls: Option<Arc<ServerConfig>>,
    clients: HashMap<ConnId, Client>,
    /// Recipients that are being looked up, by the number of the question.
    lookups: BTreeMap<u32, ConnId>,
    /// Filings that are being written, by their numbers.
    filings: BTreeMap<u32, Pending>,
    next: u32,
    /// Channels to the processes that file, by the number of the account's process.
    deliverers: BTreeMap<u32, PeerId>,
    ids: SessionIds,
}

impl Service for Lmtp {
    const NAME: &'static str = "lmtp";
    const CALLS: Calls = Calls {
        accept: true,
        connect: false,
        files: false,
        threads: false,
        fork: false,
        memfd: true,
        notify: false,
        narrow: false,
    };
    type Section = Section;
    type Opened = ();
    type Done = ();

    fn pre_jail(_: &Section, _: &mut Setup) -> Result<(), StartError> {
        Ok(())
    }

    fn start(section: Section, (): (), _: Setup, cx: &mut Cx<()>) -> Result<Lmtp, StartError> {
        let tls = match &section.tls {
            Some(offer) => {
                Some(worker::tls::server(offer, cx.signatures()).map_err(|error| StartError::new("TLS", error))?)
            }
            None => None,
        };
        Ok(Lmtp {
            settings: Settings::read(&section, tls.is_some()),
            tls,
            clients: HashMap::new(),
            lookups: BTreeMap::new(),
            filings: BTreeMap::new(),
            next: 0,
            deliverers: BTreeMap::new(),
            ids: SessionIds::default(),
        })
    }

    fn accepted(&mut self, cx: &mut Cx<()>, conn: ConnId, _: usize, remote: Remote) {
        let (label, remote, queued) = match remote {
            Remote::Inet { peer, .. } => (peer.ip().to_string(), Some(peer), false),
            // The connector is the master, which connects for our own agents alone.
            Remote::Unix { uid, .. } => ("local".to_string(), None, uid == 0),
        };
        let peer = SessionPeer {
            name: label.clone(),
            tls: false,
            newlines: Newlines::Normalize,
            discard: Keywords::default(),
            announces_auth: true,
            trusted: false,
        };
        let client = Client {
            session: Session::new(self.settings.session.clone(), peer),
            label,
            remote,
            queued,
            id: self.ids.next(),
            sender: String::new(),
            began: cx.now(),
            named: 0,
            recipients: Vec::new(),
            asked: None,
            content: None,
        };
        slog::info!(own_log(cx), "Connect from {}", client.label);
        self.clients.insert(conn, client);
        cx.deadline(conn, Some(IDLE));
        self.drive(cx, conn);
    }

    fn input(&mut self, cx: &mut Cx<()>, conn: ConnId) {
        self.drive(cx, conn);
    }

    fn secured(&mut self, cx: &mut Cx<()>, conn: ConnId, _: Secured) {
        if let Some(client) = self.clients.get_mut(&conn) {
            client.session.tls_started();
        }
        self.drive(cx, conn);
    }

    fn closed(&mut self, cx: &mut Cx<()>, conn: ConnId, why: Why) {
        let Some(mut client) = self.clients.remove(&conn) else { return };
        client.session.disconnected();
        let why = match why {
            Why::Eof => "Connection closed".to_string(),
            Why::Error(error) | Why::Tls(error) => error,
        };
        slog::info!(own_log(cx), "Disconnect from {}: {why} (state={})", client.label, client.session.lmtp_state());
    }

    fn timeout(&mut self, cx: &mut Cx<()>, conn: ConnId) {
        if let Some(client) = self.clients.get_mut(&conn) {
            client.session.timed_out();
        }
        self.drive(cx, conn);
    }

    fn timer(&mut self, cx: &mut Cx<()>, key: u64) {
        let conn = self.clients.keys().copied().find(|conn| conn.number() == key);
        if let Some((conn, client)) = conn.and_then(|conn| Some((conn, self.clients.get_mut(&conn)?))) {
            client.session.resume();
            self.drive(cx, conn);
        }
    }

    fn peer_up(&mut self, cx: &mut Cx<()>, _: PeerId, peer: &Peer) {
        if *peer == Peer::Hub(Hub::Auth) {
            // Inboxes of account processes come with its answers.
            self.ask_again(cx);
        }
    }

    fn peer_down(&mut self, cx: &mut Cx<()>, id: PeerId, _: &Peer) {
        self.deliverer_lost(cx, id);
    }

    fn frame(&mut self, cx: &mut Cx<()>, id: PeerId, frame: Frame) {
        if cx.hub(Hub::Auth) == Some(id) {
            return match frame.decode() {
                Ok((FromAuth::Found { corr, user, template }, fds)) => self.found(cx, corr, user, template, fds),
                Ok(_) => {}
                Err(error) => cx.broken(id, error),
            };
        }
        match frame.decode() {
            Ok((FromDeliver::Filed { corr, position, result }, _)) => self.filed(cx, corr, position, result),
            Err(error) => cx.broken(id, error),
        }
    }

    fn reload(&mut self, cx: &mut Cx<()>, section: Section) {
        self.tls = section.tls.as_ref().and_then(|offer| worker::tls::server(offer, cx.signatures()).ok());
        self.settings = Settings::read(&section, self.tls.is_some());
    }
}

/// `lmtp(pid): `, as Dovecot signs lines that are about no user.
fn own_log(cx: &Cx<()>) -> slog::Logger {
    cx.log_as(format!("lmtp({})", std::process::id()))
}

impl Lmtp {
    /// A number for a question or a request.
    fn number(&mut self) -> u32 {
        self.next = self.next.wrapping_add(1);
        self.next
    }

    fn drive(&mut self, cx: &mut Cx<()>, conn: ConnId) {
        let Some(mut client) = self.clients.remove(&conn) else { return };
        while client.asked.is_none() {
            let taken = client.session.input(cx.input(conn));
            if taken > 0 {
                cx.consume(conn, taken);
                cx.deadline(conn, Some(IDLE));
            }
            let Some(action) = client.session.poll() else {
                if taken == 0 {
                    break;
                }
                continue;
            };
            if self.act(cx, conn, &mut client, action) {
                let state = client.session.lmtp_state();
                return slog::info!(own_log(cx), "Disconnect from {}: Logged out (state={state})", client.label);
            }
        }
        self.clients.insert(conn, client);
    }

    /// Carries out one action; returns whether the session is over.
    fn act(&mut self, cx: &mut Cx<()>, conn: ConnId, client: &mut Client, action: Action) -> bool {
        match action {
            Action::Send(bytes) => cx.write(conn, &bytes),
            Action::Ask(question) => self.decide(cx, conn, client, question),
            Action::Body(bytes) => {
                if let Some(content) = &mut client.content {
                    content.push(&bytes);
                }
            }
            Action::Abandon => client.reset(),
            Action::Delay(pause) => cx.timer(pause, conn.number()),
            Action::StartTls => {
                if let Some(tls) = self.tls.clone() {
                    cx.start_tls(conn, tls);
                }
            }
            Action::Log(Level::Info, line) => slog::info!(own_log(cx), "{line}"),
            Action::Log(Level::Warning, line) => slog::warn!(own_log(cx), "{line}"),
            Action::Close => {
                cx.close(conn);
                return true;
            }
        }
        false
    }

    fn decide(&mut self, cx: &mut Cx<()>, conn: ConnId, client: &mut Client, question: Question) {
        let answer = match question {
            Question::Mail { sender, .. } => {
                client.reset();
                client.sender = sender.map(|sender| sender.quoted()).unwrap_or_default();
                client.began = cx.now();
                Answer::Accept
            }
            Question::Rcpt { recipient, parameters, .. } => {
                client.named += 1;
                client.asked = Some(Asked::Rcpt(Candidate::new(recipient, parameters.orcpt, client.named)));
                return self.ask_auth(cx, conn, client);
            }
            Question::Data => {
                client.content = Some(Content::new());
                Answer::Accept
            }
            Question::EndOfMessage { .. } => return self.file(cx, conn, client),
            Question::StartTls if self.tls.is_none() => Answer::Reply(Reply::new(454, "4.7.0 TLS not available")),
            Question::AuthStart { .. } | Question::AuthContinue(_) | Question::Etrn(_) => {
                Answer::Reply(Reply::new(502, "5.5.2 Unknown command"))
            }
            Question::Xclient(_) => Answer::Reply(Reply::new(550, "5.7.14 You are not from trusted IP")),
            _ => Answer::Accept,
        };
        client.session.answer(answer);
    }
}
