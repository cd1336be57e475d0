//! smtpd: mail in by SMTP. Many sessions in one process; the protocol is `proto-smtp`'s, the decisions are [`policy`]'s,
//! and everything else is asked of others: the resolver (client names), anvil (counts), trivial-rewrite (recipients), the
//! authentication server, cleanup (the queue).
//!
//! A message gets its queue ID at its first accepted recipient, and its client hears `250` only when cleanup has it on
//! stable storage.

mod arrival;
mod client;
mod config;
mod intake;
mod limits;
mod policy;
mod rates;
mod sasl;

use std::collections::{BTreeMap, HashMap};
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrival::Arriving;
use client::{Asked, Client};
use config::Config;
use intake::{Intake, Told};
use ipc_config::section::Section;
use ipc_messages::lookup::{FromLookup, Known, Route, ToLookup};
use policy::{Facts, Verdict, evaluate, lookup_failed};
use proto_smtp::address::Address;
use proto_smtp::params::{MailParameters, RcptParameters};
use proto_smtp::reply::Reply;
use proto_smtp::server::{Action, Answer, Config as SessionConfig, Level, Question};
use rustls::ServerConfig;
use sasl::{Happened, Sasl, Who};
use worker::{Calls, ConnId, Cx, Frame, Hub, Peer, PeerId, Remote, Secured, Service, Setup, StartError, Why};

/// How long a recipient may wait for `cleanup`.
const PATIENCE: Duration = Duration::from_secs(10);
/// The timer of those that wait; connections have other numbers.
const WAITING: u64 = 0;

fn main() -> ExitCode {
    worker::run::<Smtpd>()
}

struct Smtpd {
    config: Arc<Config>,
    session_config: Arc<SessionConfig>,
    section: Section,
    tls: Option<Arc<ServerConfig>>,
    wrapped: Vec<bool>,
    /// The service's name in master.cf.
    service: String,
    clients: HashMap<ConnId, Client>,
    /// Connected, and waiting for what the session needs before it begins.
    arriving: BTreeMap<ConnId, Arriving>,
    /// What is at the other end of each channel. A hub and its successor may both be there for a moment.
    hubs: BTreeMap<PeerId, Hub>,
    lookups: BTreeMap<u32, ConnId>,
    /// Who waits for which answer of the resolver.
    named: BTreeMap<u32, ConnId>,
    /// Who waits for which answer of anvil.
    counted: BTreeMap<u32, (ConnId, PeerId)>,
    numbers: Numbers,
    intake: Intake,
    /// Clients whose recipient waits for queue IDs, and since when.
    waiting: Vec<(ConnId, Instant)>,
    sasl: Sasl,
}

/// Numbers for questions: one that was used lately does not come again.
#[derive(Default)]
struct Numbers(u32);

impl Numbers {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_add(1);
        self.0
    }
}

impl Service for Smtpd {
    const NAME: &'static str = "smtpd";
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

    fn start(section: Section, (): (), setup: Setup, cx: &mut Cx<()>) -> Result<Smtpd, StartError> {
        let config = Arc::new(Config::new(&section));
        let tls = match &section.tls {
            Some(offer) => {
                Some(worker::tls::server(offer, cx.signatures()).map_err(|error| StartError::new("TLS", error))?)
            }
            None => None,
        };
        Ok(Smtpd {
            session_config: Arc::new(config.session(&[])),
            config,
            section,
            tls,
            wrapped: setup.boot.listeners.iter().map(|listener| listener.tls).collect(),
            service: setup.boot.service.clone(),
            clients: HashMap::new(),
            arriving: BTreeMap::new(),
            hubs: BTreeMap::new(),
            lookups: BTreeMap::new(),
            named: BTreeMap::new(),
            counted: BTreeMap::new(),
            numbers: Numbers::default(),
            intake: Intake::default(),
            waiting: Vec::new(),
            sasl: Sasl::default(),
        })
    }

    fn accepted(&mut self, cx: &mut Cx<()>, conn: ConnId, listener: usize, remote: Remote) {
        let handshaking = self.wrapped.get(listener).copied().unwrap_or(false);
        self.arrive(cx, conn, remote, handshaking);
        cx.deadline(conn, Some(self.config.timeout));
        match (handshaking, self.tls.clone()) {
            (true, Some(tls)) => cx.start_tls(conn, tls),
            (true, None) => {
                slog::warn!(cx.log(), "no TLS for a wrapped service: the certificate is missing");
                self.turn_back(cx, conn);
                cx.abort(conn);
            }
            (false, _) => self.begin(cx, conn),
        }
    }

    fn input(&mut self, cx: &mut Cx<()>, conn: ConnId) {
        if self.sasl.is(conn) {
            let bytes = cx.take_input(conn);
            for happened in self.sasl.input(&bytes) {
                self.authenticated(cx, happened);
            }
            return;
        }
        self.drive(cx, conn);
    }

    fn secured(&mut self, cx: &mut Cx<()>, conn: ConnId, how: Secured) {
        if let Some(arriving) = self.arriving.get_mut(&conn) {
            arriving.handshaking = false;
            arriving.secured = Some(how);
            return self.begin(cx, conn);
        }
        let Some(client) = self.clients.get_mut(&conn) else { return };
        log_tls(&self.config, cx, &client.label(), &how);
        client.secured = Some(how);
        client.session.tls_started();
        if let Some(mut client) = self.clients.remove(&conn) {
            self.count_tls(cx, conn, &mut client);
            self.clients.insert(conn, client);
        }
        self.drive(cx, conn);
    }

    fn closed(&mut self, cx: &mut Cx<()>, conn: ConnId, why: Why) {
        if self.sasl.is(conn) {
            let reason = if let Why::Error(error) = why { error } else { "the connection was closed".into() };
            let lost = self.sasl.lost();
            return self.authenticated(cx, Happened::Lost(reason, lost));
        }
        self.turn_back(cx, conn);
        let Some(mut client) = self.clients.remove(&conn) else { return };
        if let Why::Tls(error) = why {
            slog::info!(cx.log(), "SSL_accept error from {}: {error}", client.label());
        }
        client.session.disconnected();
        while let Some(action) = client.session.poll() {
            if let Action::Log(level, line) = action {
                log(cx, level, &line);
            }
        }
        self.over(cx, conn, client);
    }

    fn timeout(&mut self, cx: &mut Cx<()>, conn: ConnId) {
        if self.turn_back(cx, conn) {
            return cx.abort(conn);
        }
        if let Some(client) = self.clients.get_mut(&conn) {
            client.session.timed_out();
            self.drive(cx, conn);
        }
    }

    fn timer(&mut self, cx: &mut Cx<()>, key: u64) {
        if self.waited_for_hubs(cx, key) {
            return;
        }
        if key == WAITING {
            self.wake(cx);
            if !self.waiting.is_empty() {
                cx.timer(PATIENCE, WAITING);
            }
            return;
        }
        let conn = self.clients.keys().copied().find(|conn| conn.number() == key);
        if let Some((conn, client)) = conn.and_then(|conn| Some((conn, self.clients.get_mut(&conn)?))) {
            client.session.resume();
            self.drive(cx, conn);
        }
    }

    fn peer_up(&mut self, cx: &mut Cx<()>, id: PeerId, peer: &Peer) {
        if let Peer::Hub(hub) = peer {
            self.hubs.insert(id, *hub);
        }
        match peer {
            Peer::Hub(Hub::Cleanup) => self.intake.connected(),
            Peer::Hub(Hub::Lookup) => {
                // What was asked of its predecessor is asked again.
                for conn in std::mem::take(&mut self.lookups).into_values() {
                    self.look_up(cx, conn);
                }
            }
            Peer::Hub(Hub::Resolver | Hub::Anvil) => self.hub_is_up(cx),
            _ => {}
        }
    }

    fn peer_down(&mut self, cx: &mut Cx<()>, id: PeerId, peer: &Peer) {
        self.hubs.remove(&id);
        match peer {
            Peer::Hub(Hub::Cleanup) => {
                for conn in self.intake.disconnected() {
                    self.lose(cx, conn, Reply::new(451, "4.3.0 Error: queue file write error"));
                }
            }
            Peer::Hub(Hub::Resolver) => self.hub_is_down(cx, id),
            Peer::Hub(Hub::Anvil) => {
                self.anvil_is_down(cx, id);
                self.hub_is_down(cx, id);
            }
            _ => {}
        }
    }

    fn frame(&mut self, cx: &mut Cx<()>, id: PeerId, frame: Frame) {
        let result = match self.hubs.get(&id) {
            Some(Hub::Cleanup) => frame.decode().map(|(message, _)| self.queue(cx, message)),
            Some(Hub::Resolver) => frame.decode().map(|(answer, _)| self.resolved(cx, answer)),
            Some(Hub::Anvil) => frame.decode().map(|(answer, _)| self.anvil(cx, answer)),
            _ => frame.decode().map(|(message, _)| {
                if let FromLookup::Checked { corr, answer } = message {
                    self.looked_up(cx, corr, answer);
                }
            }),
        };
        if let Err(error) = result {
            cx.broken(id, error);
        }
    }

    fn foreign(&mut self, cx: &mut Cx<()>, _: u16, result: Result<OwnedFd, i32>) {
        let adopted = result.map_err(std::io::Error::from_raw_os_error).and_then(|fd| cx.adopt(fd));
        match adopted {
            Ok(conn) => {
                let greeting = self.sasl.connected(conn, std::process::id());
                cx.write(conn, &greeting);
            }
            Err(error) => {
                let path = self.config.sasl.as_ref().map_or("", |sasl| sasl.path.as_str());
                let error = error.to_string();
                let why = error.split(" (os error ").next().unwrap_or_default();
                let text = format!("SASL: Connect to Dovecot auth socket '{path}' failed: {why}");
                let lost = self.sasl.lost();
                self.authenticated(cx, Happened::Lost(text, lost));
            }
        }
    }

    fn end_of_turn(&mut self, cx: &mut Cx<()>) {
        let Some(cleanup) = cx.hub(Hub::Cleanup) else { return };
        while let Some(message) = self.intake.out.pop_front() {
            if cx.send(cleanup, &message, Vec::new()).is_err() {
                // Credit bounds what is under way; a queue that is full all the same means that cleanup is stuck.
                slog::error!(cx.log(), "cleanup does not keep up: the channel to it is closed");
                return cx.drop_peer(cleanup);
            }
        }
    }

    fn reload(&mut self, cx: &mut Cx<()>, section: Section) {
        self.config = Arc::new(Config::new(&section));
        self.session_config = Arc::new(self.config.session(&self.sasl.mechanisms));
        self.tls = section.tls.as_ref().and_then(|offer| worker::tls::server(offer, cx.signatures()).ok());
        self.section = section;
    }
}

impl Smtpd {
    /// Lets a session do what it can.
    fn drive(&mut self, cx: &mut Cx<()>, conn: ConnId) {
        let Some(mut client) = self.clients.remove(&conn) else { return };
        let mut over = false;
        while client.asked.is_none() && !client.held_back {
            let taken = client.session.input(cx.input(conn));
            if taken > 0 {
                cx.consume(conn, taken);
                cx.deadline(conn, Some(self.config.timeout));
            }
            let Some(action) = client.session.poll() else {
                if taken == 0 {
                    break;
                }
                continue;
            };
            over |= self.act(cx, conn, &mut client, action);
            if over {
                break;
            }
        }
        if over { self.over(cx, conn, client) } else { drop(self.clients.insert(conn, client)) }
    }

    /// Carries out one action; returns whether the session is over.
    fn act(&mut self, cx: &mut Cx<()>, conn: ConnId, client: &mut Client, action: Action) -> bool {
        match action {
            Action::Send(bytes) => cx.write(conn, &bytes),
            Action::Ask(question) => self.decide(cx, conn, client, question),
            Action::Body(bytes) => {
                if let Some(id) = client.mail.as_ref().and_then(|mail| mail.intake) {
                    client.held_back = !self.intake.body(id, &bytes);
                    cx.pause(conn, client.held_back);
                }
            }
            Action::Abandon => self.abandon(client),
            Action::Delay(pause) => cx.timer(pause, conn.number()),
            Action::StartTls => {
                if let Some(tls) = self.tls.clone() {
                    cx.start_tls(conn, tls);
                }
            }
            Action::Log(level, line) => log(cx, level, &line),
            Action::Close => {
                cx.close(conn);
                return true;
            }
        }
        false
    }

    fn abandon(&mut self, client: &mut Client) {
        if let Some(id) = client.mail.take().and_then(|mail| mail.intake) {
            self.intake.abort(id);
        }
    }

    /// The session has ended.
    fn over(&mut self, cx: &mut Cx<()>, conn: ConnId, mut client: Client) {
        self.abandon(&mut client);
        if matches!(client.asked, Some(Asked::Auth)) {
            self.cancel_auth(cx, conn);
        }
        self.lookups.retain(|_, other| *other != conn);
        if let Some(address) = client.address().filter(|_| client.counts.is_some()) {
            self.uncount(cx, address);
        }
        slog::info!(cx.log(), "disconnect from {} {}", client.label(), client.session.statistics());
    }

    fn decide_counted(&mut self, cx: &mut Cx<()>, conn: ConnId, client: &mut Client, question: Question) {
        let now = !self.config.delay_reject;
        let answer = match question {
            Question::Connect if now => self.early(cx, client, "CONNECT", "smtpd_client_restrictions", None, None),
            Question::Helo { name, .. } if now => {
                self.early(cx, client, "HELO", "smtpd_helo_restrictions", Some(&name), None)
            }
            Question::Connect | Question::Helo { .. } => Answer::Accept,
            Question::Mail { sender, parameters } => self.mail(cx, client, sender, parameters),
            Question::Rcpt { recipient, parameters, .. } => {
                client.asked = Some(Asked::Rcpt { recipient, parameters: Box::new(parameters), route: None });
                return self.recipient(cx, conn, client);
            }
            Question::Data => self.data(cx, client),
            Question::EndOfMessage { .. } => {
                let id = client.mail.as_ref().and_then(|mail| mail.intake);
                if id.is_some_and(|id| self.intake.commit(id)) {
                    client.asked = Some(Asked::EndOfMessage);
                    return;
                }
                let lost = client.mail.take().and_then(|mail| mail.lost);
                Answer::Reply(lost.unwrap_or_else(|| Reply::new(451, "4.3.0 Error: queue file write error")))
            }
            // As Postfix does where it cannot say more: the address is taken, and nothing is promised.
            Question::Vrfy(address) => Answer::Reply(Reply::new(252, &format!("2.0.0 {}", address.quoted()))),
            Question::Etrn(domain) => Answer::Reply(Reply::new(459, &format!("4.3.0 <{domain}>: service unavailable"))),
            Question::AuthStart { mechanism, initial } => {
                return self.auth(cx, conn, client, mechanism, initial.as_deref());
            }
            Question::AuthContinue(response) => return self.auth_continue(cx, conn, client, &response),
            Question::AuthAbort => {
                self.cancel_auth(cx, conn);
                Answer::Accept
            }
            Question::StartTls => match &self.tls {
                Some(_) => Answer::Accept,
                None => Answer::Reply(Reply::new(454, "4.7.0 TLS not available due to local problem")),
            },
            Question::Xclient(_) => Answer::Reply(Reply::new(550, "5.7.0 Error: insufficient authorization")),
        };
        client.session.answer(answer);
    }

    /// Restrictions that are not put off until RCPT (`smtpd_delay_reject = no`).
    fn early(
        &self,
        cx: &mut Cx<()>,
        client: &Client,
        stage: &str,
        list: &str,
        helo: Option<&str>,
        sender: Option<Option<&Address>>,
    ) -> Answer {
        let facts = Facts {
            client: client.address(),
            user: client.session.user(),
            helo: helo.or(client.session.helo_name()),
            sender,
            pipelining: client.session.is_unauthorized_pipelining(),
            ..Facts::default()
        };
        let outcome = evaluate([self.config.list(list)], &self.config.codes, &facts);
        let what = client.session.whatsup();
        for reply in outcome.warnings {
            slog::info!(
                cx.log(),
                "NOQUEUE: reject_warning: {stage} from {}: {};{what}",
                client.label(),
                reply.one_line()
            );
        }
        match outcome.verdict {
            Verdict::Refuse(reply) => {
                slog::info!(cx.log(), "NOQUEUE: reject: {stage} from {}: {};{what}", client.label(), reply.one_line());
                Answer::Reply(reply)
            }
            Verdict::Pass | Verdict::Need => Answer::Accept,
        }
    }

    fn mail(
        &self,
        cx: &mut Cx<()>,
        client: &mut Client,
        sender: Option<Address>,
        parameters: MailParameters,
    ) -> Answer {
        let answer = match self.config.delay_reject {
            true => Answer::Accept,
            false => self.early(cx, client, "MAIL", "smtpd_sender_restrictions", None, Some(sender.as_ref())),
        };
        if answer == Answer::Accept {
            client.mail(sender, parameters);
        }
        answer
    }

    /// Decides about the recipient in [`Asked::Rcpt`], as far as that is possible now.
    fn recipient(&mut self, cx: &mut Cx<()>, conn: ConnId, client: &mut Client) {
        let Some(Asked::Rcpt { recipient, parameters, route }) = client.asked.take() else { return };
        let verdict = self.judge(cx, client, &recipient, route.as_ref());
        let answer = match verdict {
            Verdict::Need => {
                client.asked = Some(Asked::Rcpt { recipient, parameters, route });
                return self.ask_lookup(cx, conn, client);
            }
            Verdict::Refuse(reply) => {
                self.log_refusal(cx, client, "reject", &recipient, &reply);
                Answer::Reply(reply)
            }
            Verdict::Pass
                if client.mail.as_ref().is_some_and(|mail| mail.intake.is_some()) || self.intake.is_ready() =>
            {
                self.accept_recipient(cx, conn, client, &recipient, &parameters)
            }
            Verdict::Pass => {
                // cleanup is starting, or has used up its numbers: the client waits a moment, not for a second attempt.
                client.asked = Some(Asked::Rcpt { recipient, parameters, route });
                if self.waiting.is_empty() {
                    cx.timer(PATIENCE, WAITING);
                }
                return self.waiting.push((conn, cx.now()));
            }
        };
        client.session.answer(answer);
    }

    /// Recipients that waited for queue IDs: taken up when there are some, refused after [`PATIENCE`].
    fn wake(&mut self, cx: &mut Cx<()>) {
        let ready = self.intake.is_ready();
        for (conn, since) in std::mem::take(&mut self.waiting) {
            let Some(mut client) = self.clients.remove(&conn) else { continue };
            if ready {
                self.recipient(cx, conn, &mut client);
            } else if cx.now() - since >= PATIENCE {
                client.asked = None;
                client.session.answer(Answer::Reply(Reply::new(451, "4.3.0 Error: queue file write error")));
            } else {
                self.waiting.push((conn, since));
            }
            self.clients.insert(conn, client);
            self.drive(cx, conn);
        }
    }

    fn judge(
        &self,
        cx: &mut Cx<()>,
        client: &Client,
        recipient: &Address,
        route: Option<&Result<(Route, Known), String>>,
    ) -> Verdict {
        let sender = client.mail.as_ref().map(|mail| mail.sender.as_ref());
        let facts = Facts {
            client: client.address(),
            user: client.session.user(),
            helo: client.session.helo_name(),
            sender,
            recipient: Some(recipient),
            route,
            pipelining: client.session.is_unauthorized_pipelining(),
        };
        let early: [&str; 3] = ["smtpd_client_restrictions", "smtpd_helo_restrictions", "smtpd_sender_restrictions"];
        let early = early.into_iter().filter(|_| self.config.delay_reject);
        let late = ["smtpd_relay_restrictions", "smtpd_recipient_restrictions"];
        let lists: Vec<_> = early.chain(late).map(|name| self.config.list(name)).collect();
        let outcome = evaluate(lists, &self.config.codes, &facts);
        for reply in &outcome.warnings {
            self.log_refusal(cx, client, "reject_warning", recipient, reply);
        }
        if outcome.verdict != Verdict::Pass || !self.config.reject_unlisted {
            return outcome.verdict;
        }
        let unlisted = [ipc_config::postfix::restrictions::Restriction::RejectUnlistedRecipient];
        evaluate([&unlisted[..]], &self.config.codes, &facts).verdict
    }

    fn log_refusal(&self, cx: &mut Cx<()>, client: &Client, kind: &str, recipient: &Address, reply: &Reply) {
        let mail = client.mail.as_ref();
        let queue_id = mail.and_then(|mail| mail.queue_id).map_or("NOQUEUE".into(), |id| id.as_str().to_string());
        let sender = mail.and_then(|mail| mail.sender.as_ref()).map(Address::quoted).unwrap_or_default();
        let mut what = format!("from=<{sender}> to=<{}> proto={}", recipient.quoted(), client.session.protocol());
        if let Some(helo) = client.session.helo_name() {
            what.push_str(&format!(" helo=<{helo}>"));
        }
        if let Some(user) = client.session.user() {
            what.push_str(&format!(" sasl_username=<{user}>"));
        }
        slog::info!(cx.log(), "{queue_id}: {kind}: RCPT from {}: {}; {what}", client.label(), reply.one_line());
    }

    fn accept_recipient(
        &mut self,
        cx: &mut Cx<()>,
        conn: ConnId,
        client: &mut Client,
        recipient: &Address,
        parameters: &RcptParameters,
    ) -> Answer {
        if client.mail.as_ref().is_some_and(|mail| mail.intake.is_none()) {
            let begun = self.intake.queue_id().and_then(|id| Some((id, client.envelope(id)?)));
            let Some((queue_id, envelope)) = begun else {
                return Answer::Reply(Reply::new(451, "4.3.0 Error: queue file write error"));
            };
            let sasl = envelope
                .sasl
                .as_ref()
                .map(|sasl| format!(", sasl_method={}, sasl_username={}", sasl.method, sasl.username));
            slog::info!(cx.log(), "{}: client={}{}", queue_id.as_str(), client.label(), sasl.unwrap_or_default());
            client.session.set_queue_id(queue_id.as_str());
            let id = self.intake.begin(conn, envelope);
            if let Some(mail) = &mut client.mail {
                (mail.intake, mail.queue_id) = (Some(id), Some(queue_id));
            }
        }
        let recipient = client.recipient(recipient, parameters);
        if let Some(id) = client.mail.as_ref().and_then(|mail| mail.intake) {
            self.intake.recipient(id, recipient);
        }
        Answer::Accept
    }

    /// The content begins: restrictions at DATA, then the Received header.
    fn data(&mut self, cx: &mut Cx<()>, client: &mut Client) -> Answer {
        let answer = self.early(cx, client, "DATA", "smtpd_data_restrictions", None, None);
        if answer == Answer::Accept {
            let received = client.received(&self.config);
            if let Some(id) = client.mail.as_ref().and_then(|mail| mail.intake) {
                // The first piece always fits the initial credit.
                self.intake.body(id, received.as_bytes());
            }
        }
        answer
    }

    // trivial-rewrite.

    fn ask_lookup(&mut self, cx: &mut Cx<()>, conn: ConnId, client: &Client) {
        let corr = self.numbers.next();
        self.lookups.insert(corr, conn);
        let (Some(lookup), Some(Asked::Rcpt { recipient, .. })) = (cx.hub(Hub::Lookup), &client.asked) else { return };
        let sender =
            client.mail.as_ref().and_then(|mail| mail.sender.as_ref()).map(client::internal).unwrap_or_default();
        let question = ToLookup::Check { corr, sender, address: client::internal(recipient) };
        if cx.send(lookup, &question, Vec::new()).is_err() {
            cx.drop_peer(lookup);
        }
    }

    fn look_up(&mut self, cx: &mut Cx<()>, conn: ConnId) {
        if let Some(client) = self.clients.remove(&conn) {
            self.ask_lookup(cx, conn, &client);
            self.clients.insert(conn, client);
        }
    }

    fn looked_up(&mut self, cx: &mut Cx<()>, corr: u32, answer: Result<(Route, Known), String>) {
        let Some(conn) = self.lookups.remove(&corr) else { return };
        let Some(mut client) = self.clients.remove(&conn) else { return };
        if let Some(Asked::Rcpt { recipient, route, .. }) = &mut client.asked {
            if let Err(error) = &answer {
                let reply = lookup_failed(recipient);
                slog::warn!(cx.log(), "{}: {error}", reply.one_line());
            }
            *route = Some(answer);
            self.recipient(cx, conn, &mut client);
        }
        self.clients.insert(conn, client);
        self.drive(cx, conn);
    }

    // cleanup.

    fn queue(&mut self, cx: &mut Cx<()>, message: ipc_messages::intake::FromCleanup) {
        let brings_ids = matches!(message, ipc_messages::intake::FromCleanup::Ids { .. });
        match self.intake.told(message) {
            Some(Told::Room(conn)) => {
                if let Some(client) = self.clients.get_mut(&conn) {
                    client.held_back = false;
                    cx.pause(conn, false);
                }
                self.drive(cx, conn);
            }
            Some(Told::Queued(conn)) => {
                let Some(client) = self.clients.get_mut(&conn) else { return };
                let queue_id = client.mail.take().and_then(|mail| mail.queue_id);
                client.asked = None;
                let name = queue_id.map(|id| id.as_str().to_string()).unwrap_or_default();
                client.session.answer(Answer::Queued(name));
                self.drive(cx, conn);
            }
            Some(Told::Refused(conn, reply)) => {
                let reply =
                    Reply::parse(&reply).unwrap_or_else(|| Reply::new(451, "4.3.0 Error: queue file write error"));
                self.lose(cx, conn, reply);
            }
            None if brings_ids => self.wake(cx),
            None => {}
        }
    }

    /// The message of a session will not be queued: the client hears it at the end of the message.
    fn lose(&mut self, cx: &mut Cx<()>, conn: ConnId, reply: Reply) {
        let Some(client) = self.clients.get_mut(&conn) else { return };
        if client.held_back {
            client.held_back = false;
            cx.pause(conn, false);
        }
        if matches!(client.asked, Some(Asked::EndOfMessage)) {
            client.asked = None;
            client.mail = None;
            client.session.answer(Answer::Reply(reply));
        } else if let Some(mail) = &mut client.mail {
            mail.intake = None;
            mail.lost = Some(reply);
        }
        self.drive(cx, conn);
    }

    // SASL.

    fn auth(&mut self, cx: &mut Cx<()>, conn: ConnId, client: &mut Client, mechanism: String, initial: Option<&[u8]>) {
        let Some(settings) = &self.config.sasl else { return client.session.answer(unavailable()) };
        let (remote, local) = (client.remote.map(|(remote, _)| remote), client.remote.map(|(_, local)| local));
        let who = Who { service: &settings.service, tls: client.secured.is_some(), remote, local };
        let started = self.sasl.start(conn, &mechanism, initial, &who);
        client.mechanism = mechanism;
        match started {
            Some((to, bytes)) => {
                cx.write(to, &bytes);
                client.asked = Some(Asked::Auth);
            }
            None => client.session.answer(unavailable()),
        }
    }

    fn auth_continue(&mut self, cx: &mut Cx<()>, conn: ConnId, client: &mut Client, response: &[u8]) {
        match self.sasl.proceed(conn, Some(response)) {
            Some((to, bytes)) => {
                cx.write(to, &bytes);
                client.asked = Some(Asked::Auth);
            }
            None => client.session.answer(unavailable()),
        }
    }

    fn cancel_auth(&mut self, cx: &mut Cx<()>, conn: ConnId) {
        if let Some((to, bytes)) = self.sasl.proceed(conn, None) {
            cx.write(to, &bytes);
        }
    }

    fn authenticated(&mut self, cx: &mut Cx<()>, happened: Happened) {
        match happened {
            Happened::Ready => {
                self.session_config = Arc::new(self.config.session(&self.sasl.mechanisms));
                self.begin_all(cx);
            }
            Happened::Answer(conn, answer) => {
                let realm = self.config.sasl.as_ref().map(|sasl| sasl.realm.clone()).unwrap_or_default();
                let answer = match answer {
                    sasl::Answer::Challenge(challenge) => Answer::Challenge(challenge),
                    sasl::Answer::Ok(user) if !realm.is_empty() && !user.contains('@') => {
                        Answer::Authenticated(format!("{user}@{realm}"))
                    }
                    sasl::Answer::Ok(user) => Answer::Authenticated(user),
                    sasl::Answer::Failed { reason, user, temporary: true } => Answer::AuthUnavailable { reason, user },
                    sasl::Answer::Failed { reason, user, .. } => Answer::AuthFailed { reason, user },
                };
                self.answer_auth(cx, conn, answer);
            }
            Happened::Lost(reason, conns) => {
                slog::warn!(cx.log(), "{reason}");
                for conn in conns {
                    self.answer_auth(cx, conn, unavailable());
                }
                let arriving = self.arriving.iter().filter(|(_, arriving)| !arriving.handshaking);
                let arriving: Vec<ConnId> = arriving.map(|(conn, _)| *conn).collect();
                if !arriving.is_empty() {
                    // As Postfix, which serves nobody then: a client would take the missing AUTH for an answer.
                    slog::crit!(cx.log(), "no SASL authentication mechanisms");
                }
                for conn in arriving {
                    self.turn_back(cx, conn);
                    cx.abort(conn);
                }
            }
        }
    }

    fn begin_all(&mut self, cx: &mut Cx<()>) {
        let all: Vec<ConnId> = self.arriving.keys().copied().collect();
        for conn in all {
            self.begin(cx, conn);
        }
    }

    fn answer_auth(&mut self, cx: &mut Cx<()>, conn: ConnId, answer: Answer) {
        let Some(client) = self.clients.get_mut(&conn) else { return };
        if matches!(client.asked, Some(Asked::Auth)) {
            client.asked = None;
            client.session.answer(answer);
        }
        self.drive(cx, conn);
    }
}

fn unavailable() -> Answer {
    Answer::AuthUnavailable { reason: "Connection lost to authentication server".into(), user: None }
}

fn log(cx: &Cx<()>, level: Level, line: &str) {
    match level {
        Level::Info => slog::info!(cx.log(), "{line}"),
        Level::Warning => slog::warn!(cx.log(), "{line}"),
    }
}

fn log_tls(config: &Config, cx: &Cx<()>, label: &str, how: &Secured) {
    if config.tls_log {
        slog::info!(
            cx.log(),
            "Anonymous TLS connection established from {label}: {} with cipher {} ({}/{} bits)",
            how.protocol,
            how.cipher,
            how.bits,
            how.bits
        );
    }
}
