//! lmtp: mail in by LMTP (RFC 2033), as Dovecot serves it. Recipients are looked up at `auth` when they are named, so that an
//! unknown user is refused there; the message goes to the process that files for the recipient's account, and each
//! recipient gets the answer of that process.
//!
//! Content is collected in a memory file, never in this process's heap, and handed on as a descriptor.

mod session_id;

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ipc_config::section::Section;
use ipc_jail::sys::{local_time, memory_file};
use ipc_messages::auth::{FromAuth, Origin, ToAuth, User};
use ipc_messages::delivery::{Filed, Filing, FromDeliver, Introduction, ToDeliver};
use ipc_wire::packet;
use proto_smtp::address::Address;
use proto_smtp::body::Newlines;
use proto_smtp::reply::Reply;
use proto_smtp::server::{
    Action, Answer, Config as SessionConfig, Dialect, Keywords, Level, Lmtp as LmtpConfig, Peer as SessionPeer,
    Question, Session,
};
use rustls::ServerConfig;
use session_id::SessionIds;
use worker::{Calls, ConnId, Cx, Frame, Hub, Peer, PeerId, Remote, Secured, Service, Setup, StartError, Why};

/// How long a client may be silent (Dovecot's `CLIENT_IDLE_TIMEOUT_MSECS`).
const IDLE: Duration = Duration::from_secs(300);

fn main() -> ExitCode {
    worker::run::<Lmtp>()
}

struct Lmtp {
    section: Section,
    session: Arc<SessionConfig>,
    tls: Option<Arc<ServerConfig>>,
    clients: HashMap<ConnId, Client>,
    /// Recipients that are being looked up, by the number of the question.
    lookups: BTreeMap<u32, ConnId>,
    /// Filings that are being written: whose, and which recipients of the transaction.
    filings: BTreeMap<u32, Pending>,
    next: u32,
    /// Channels to the processes that file, by the number of the account's process.
    deliverers: BTreeMap<u32, PeerId>,
    ids: SessionIds,
}

struct Pending {
    conn: ConnId,
    peer: PeerId,
    /// Positions in the transaction of the recipients of this filing.
    positions: Vec<usize>,
}

struct Client {
    session: Session,
    label: String,
    remote: Option<SocketAddr>,
    /// Our own delivery agent is at the other end, whose queue holds the mail until it is answered.
    queued: bool,
    /// The session's name in the log and in `Received`.
    id: String,
    sender: String,
    recipients: Vec<Recipient>,
    asked: Option<Asked>,
    content: Option<Content>,
}

enum Asked {
    Rcpt(Address),
    Filing { replies: Vec<Option<Reply>>, open: usize },
}

struct Recipient {
    address: String,
    user: String,
    detail: Option<String>,
    template: u32,
}

/// The message so far; a failed write is told at its end.
struct Content {
    file: Result<File, std::io::Error>,
    size: u64,
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
            session: Arc::new(session_config(&section, tls.is_some())),
            section,
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
            session: Session::new(self.session.clone(), peer),
            label,
            remote,
            queued,
            id: self.ids.next(),
            sender: String::new(),
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
            // What was asked of its predecessor is asked again; inboxes of account processes come with the answers.
            for conn in std::mem::take(&mut self.lookups).into_values() {
                self.look_up(cx, conn);
            }
        }
    }

    fn peer_down(&mut self, cx: &mut Cx<()>, id: PeerId, _: &Peer) {
        self.deliverers.retain(|_, peer| *peer != id);
        let lost: Vec<u32> =
            self.filings.iter().filter(|(_, filing)| filing.peer == id).map(|(corr, _)| *corr).collect();
        for corr in lost {
            let positions = self.filings.get(&corr).map_or(0, |filing| filing.positions.len());
            for position in 0..positions as u32 {
                self.filed(cx, corr, position, Filed::Temporary("4.2.0 Temporary internal error".into()));
            }
        }
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
        self.session = Arc::new(session_config(&section, self.tls.is_some()));
        self.section = section;
    }
}

fn session_config(section: &Section, tls: bool) -> SessionConfig {
    let greeting = section.mailbox.text("login_greeting").to_string();
    let dialect = Dialect::Lmtp(LmtpConfig { greeting, tls, smtputf8: true, ..LmtpConfig::default() });
    SessionConfig { hostname: hostname(section), dialect }
}

/// `hostname`, else the system's.
fn hostname(section: &Section) -> String {
    match section.mailbox.text("hostname") {
        "" => nix::unistd::gethostname()
            .ok()
            .and_then(|name| name.into_string().ok())
            .unwrap_or_else(|| "localhost".into()),
        name => name.to_string(),
    }
}

/// `lmtp(pid): `, as Dovecot signs lines that are about no user.
fn own_log(cx: &Cx<()>) -> slog::Logger {
    cx.log_as(format!("lmtp({})", std::process::id()))
}

impl Lmtp {
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
                Answer::Accept
            }
            Question::Rcpt { recipient, .. } => {
                client.asked = Some(Asked::Rcpt(recipient));
                return self.ask_auth(cx, conn, client);
            }
            Question::Data => {
                client.content = Some(Content { file: memory_file(c"lmtp").map(File::from), size: 0 });
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

    // auth.

    fn ask_auth(&mut self, cx: &mut Cx<()>, conn: ConnId, client: &Client) {
        let corr = self.next;
        self.next = self.next.wrapping_add(1);
        self.lookups.insert(corr, conn);
        let (Some(auth), Some(Asked::Rcpt(recipient))) = (cx.hub(Hub::Auth), &client.asked) else { return };
        let (user, _) = self.user_of(recipient);
        let origin = Origin {
            service: "lmtp".into(),
            session: client.id.clone(),
            remote: client.remote,
            local: None,
            secured: None,
        };
        if cx.send(auth, &ToAuth::User { corr, user, origin, inbox: true }, Vec::new()).is_err() {
            cx.drop_peer(auth);
        }
    }

    fn look_up(&mut self, cx: &mut Cx<()>, conn: ConnId) {
        if let Some(client) = self.clients.remove(&conn) {
            self.ask_auth(cx, conn, &client);
            self.clients.insert(conn, client);
        }
    }

    /// The user that an address names, and the detail after the delimiter.
    fn user_of(&self, address: &Address) -> (String, Option<String>) {
        let delimiters = self.section.mailbox.text("recipient_delimiter");
        let (local, detail) = match address.local().find(|c| delimiters.contains(c)).filter(|&at| at > 0) {
            Some(at) => (&address.local()[..at], Some(address.local()[at + 1..].to_string())),
            None => (address.local(), None),
        };
        let user = address.domain().map_or_else(|| local.to_string(), |domain| format!("{local}@{domain}"));
        (user, detail)
    }

    fn found(
        &mut self,
        cx: &mut Cx<()>,
        corr: u32,
        user: Result<Option<User>, String>,
        template: u32,
        fds: Vec<OwnedFd>,
    ) {
        if let Some(inbox) = fds.into_iter().next() {
            self.introduce(cx, template, &inbox);
        }
        let Some(conn) = self.lookups.remove(&corr) else { return };
        let Some(client) = self.clients.get_mut(&conn) else { return };
        let Some(Asked::Rcpt(address)) = client.asked.take() else { return };
        let quoted = address.quoted();
        let (name, detail) = self.user_of(&address);
        let answer = match user {
            Ok(Some(_)) if !self.deliverers.contains_key(&template) => temporary(),
            Ok(Some(_)) => {
                let Some(client) = self.clients.get_mut(&conn) else { return };
                client.recipients.push(Recipient { address: quoted, user: name, detail, template });
                Answer::Accept
            }
            Ok(None) => Answer::Reply(Reply::new(550, &format!("5.1.1 User doesn't exist: {name}"))),
            Err(error) => {
                slog::error!(own_log(cx), "{error}");
                temporary()
            }
        };
        if let Some(client) = self.clients.get_mut(&conn) {
            client.session.answer(answer);
        }
        self.drive(cx, conn);
    }

    /// Makes a channel to the process that files for an account, by way of its inbox.
    fn introduce(&mut self, cx: &mut Cx<()>, template: u32, inbox: &OwnedFd) {
        if self.deliverers.contains_key(&template) {
            return;
        }
        let introduction = Introduction { program: "lmtp".into(), pid: std::process::id() };
        let sent = UnixStream::pair().and_then(|(ours, theirs)| {
            let packet = postcard::to_stdvec(&introduction).map_err(std::io::Error::other)?;
            packet::send(inbox.as_fd(), &packet, &[theirs.as_fd()])?;
            // Nobody but this service looks at the name of the peer.
            cx.adopt_channel(ours.into(), Peer::Client { program: "deliver".into(), pid: 0, uid: 0 })
        });
        match sent {
            Ok(peer) => drop(self.deliverers.insert(template, peer)),
            Err(error) => slog::error!(own_log(cx), "no channel to deliver: {error}"),
        }
    }

    // deliver.

    /// Hands the message to the processes of its recipients' accounts.
    fn file(&mut self, cx: &mut Cx<()>, conn: ConnId, client: &mut Client) {
        let Some(content) = client.content.take() else { return };
        let size = content.size;
        let file = match content.file {
            Ok(file) => file,
            Err(error) => {
                slog::error!(own_log(cx), "message content: {error}");
                let replies = client.recipients.iter().map(|_| temporary_reply()).collect();
                return client.session.answer(Answer::Delivered(replies));
            }
        };
        let prefix = self.received(client).into_bytes();
        let mut groups: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for (position, recipient) in client.recipients.iter().enumerate() {
            groups.entry(recipient.template).or_default().push(position);
        }
        let mut replies: Vec<Option<Reply>> = client.recipients.iter().map(|_| None).collect();
        let mut open = 0;
        for (template, positions) in groups {
            let corr = self.next;
            self.next = self.next.wrapping_add(1);
            let filing = |&position: &usize| {
                let recipient = &client.recipients[position];
                Filing {
                    user: recipient.user.clone(),
                    address: recipient.address.clone(),
                    detail: recipient.detail.clone(),
                    session: recipient_id(&client.id, position),
                }
            };
            let request = ToDeliver::File {
                corr,
                sender: client.sender.clone(),
                recipients: positions.iter().map(filing).collect(),
                size,
                prefix: prefix.clone(),
                queued: client.queued,
            };
            let sent = self.deliverers.get(&template).copied().and_then(|peer| {
                let fd = file.as_fd().try_clone_to_owned().ok()?;
                cx.send(peer, &request, vec![fd]).ok().map(|()| peer)
            });
            match sent {
                Some(peer) => {
                    open += positions.len();
                    self.filings.insert(corr, Pending { conn, peer, positions });
                }
                None => positions.iter().for_each(|&at| replies[at] = Some(temporary_reply())),
            }
        }
        client.asked = Some(Asked::Filing { replies, open });
        finish(client);
    }

    fn filed(&mut self, cx: &mut Cx<()>, corr: u32, position: u32, result: Filed) {
        let Some(filing) = self.filings.get_mut(&corr) else { return };
        let Some(&at) = filing.positions.get(position as usize) else { return };
        let conn = filing.conn;
        let Some(client) = self.clients.get_mut(&conn) else {
            self.filings.remove(&corr);
            return;
        };
        // The session adds each recipient's address to its reply.
        let reply = match result {
            Filed::Saved => Reply::new(250, &format!("2.0.0 {} Saved", recipient_id(&client.id, at))),
            Filed::Temporary(text) => Reply::new(if text.starts_with("4.2.2") { 452 } else { 451 }, &text),
            Filed::Permanent(text) => Reply::new(550, &text),
        };
        if let Some(Asked::Filing { replies, open }) = &mut client.asked {
            if replies[at].replace(reply).is_none() {
                *open -= 1;
            }
            if finish(client) {
                self.filings.retain(|_, filing| filing.conn != conn);
                if let Some(client) = self.clients.get_mut(&conn) {
                    client.id = self.ids.next();
                }
                self.drive(cx, conn);
            }
        }
    }

    /// Dovecot's Received header.
    fn received(&self, client: &Client) -> String {
        let helo = client.session.helo_name().unwrap_or("unknown");
        let from = client.remote.map_or_else(|| helo.to_string(), |remote| format!("{helo} ([{}])", remote.ip()));
        let mut header =
            format!("Received: from {from}\n\tby {} with LMTP\n\tid {}\n", hostname(&self.section), client.id);
        header.push_str(&format!("\t(envelope-from <{}>)\n", client.sender));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let date = local_time(now as i64).header_date();
        match &client.recipients[..] {
            [only] => header.push_str(&format!("\tfor <{}>; {date}\n", only.address)),
            _ => header = format!("{}; {date}\n", header.trim_end_matches('\n')),
        }
        header
    }
}

/// Answers the session when every recipient has its reply; returns whether it did.
fn finish(client: &mut Client) -> bool {
    let Some(Asked::Filing { replies, open: 0 }) = &mut client.asked else { return false };
    let replies = std::mem::take(replies).into_iter().flatten().collect();
    client.asked = None;
    client.session.answer(Answer::Delivered(replies));
    true
}

/// The name of one recipient's delivery: the session's, and a number from the second one on.
fn recipient_id(session: &str, position: usize) -> String {
    if position == 0 { session.to_string() } else { format!("{session}:{}", position + 1) }
}

fn temporary_reply() -> Reply {
    Reply::new(451, "4.3.0 Temporary internal error")
}

fn temporary() -> Answer {
    Answer::Reply(temporary_reply())
}

impl Client {
    fn reset(&mut self) {
        self.sender.clear();
        self.recipients.clear();
        self.content = None;
    }
}

impl Content {
    fn push(&mut self, bytes: &[u8]) {
        let Ok(file) = &mut self.file else { return };
        match file.write_all(bytes) {
            Ok(()) => self.size += bytes.len() as u64,
            Err(error) => self.file = Err(error),
        }
    }
}
