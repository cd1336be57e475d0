//! The client side: one session with an SMTP or LMTP server, as Postfix's smtp(8) and lmtp(8) hold it.
//!
//! ```text
//! deliver(envelope) ─► poll() ─► Send …, NeedContent ─► content()…, end_of_content() ─► Outcome per recipient, Done
//! bytes ─► input() ──────┘  ├──► StartTls ─► tls_started()        Authenticate ─► auth_start() …
//!                           └──► Failed, Close
//! ```
//!
//! Invariants: every recipient of an envelope gets exactly one [`Outcome`], unless [`Action::Failed`] comes, which is for
//! all that have none, or [`Action::Stale`]; a recipient is delivered only after a 2yz reply to the end of its message; after a reply that
//! is no SMTP the connection is not used again.
//!
//! The client must not know time ([`Client::step`] names the limit that applies) and must not choose what to do about a
//! failure: its class says whether it is temporary.

mod capability;
mod sasl;
mod step;
mod transaction;

use std::{collections::VecDeque, num::NonZeroUsize};

use transaction::Transaction;

pub use self::{
    capability::Capabilities,
    step::Step,
    transaction::{Envelope, Recipient},
};
use crate::{
    line::Input,
    reply::{Received, ReplyParser, Status},
};

/// The settings of one connection.
#[derive(Clone, Debug)]
pub struct Config {
    /// LMTP instead of SMTP.
    pub lmtp: bool,
    /// `smtp_helo_name` or `lmtp_lhlo_name`.
    pub helo_name: String,
    /// `name[address]` of the server, for logs and bounces.
    pub server: String,
    pub tls: Tls,
    /// TLS is up already (`smtp_tls_wrappermode`).
    pub tls_active: bool,
    /// Authenticate if the server offers it.
    pub authenticate: bool,
    /// `smtp_discard_ehlo_keywords`
    pub discard: Vec<String>,
    /// `smtp_skip_5xx_greeting`: a 5yz greeting is temporary.
    pub skip_5xx_greeting: bool,
    /// How SMTP begins; LMTP has LHLO alone.
    pub hello: Hello,
    /// `smtp_quote_rfc821_envelope`: addresses in commands are quoted where RFC 5321 wants it.
    pub quote_envelope: bool,
    /// `smtp_line_length_limit`: longer lines of the content are broken.
    pub line_limit: Option<NonZeroUsize>,
}

impl Config {
    /// Postfix's defaults for a connection in clear.
    pub fn new(lmtp: bool, helo_name: &str, server: &str) -> Self {
        Self {
            lmtp,
            helo_name: helo_name.into(),
            server: server.into(),
            tls: Tls::None,
            tls_active: false,
            authenticate: false,
            discard: Vec::new(),
            skip_5xx_greeting: true,
            hello: Hello::Ehlo,
            quote_envelope: true,
            line_limit: NonZeroUsize::new(998),
        }
    }
}

/// Which command follows the greeting of an SMTP server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hello {
    /// EHLO, and HELO if that is refused.
    Ehlo,
    /// EHLO if the greeting has the word `ESMTP` (`smtp_always_send_ehlo = no`).
    AsGreeted,
    /// HELO (`smtp_never_send_ehlo`).
    Helo,
}

/// `smtp_tls_security_level`, as far as the protocol sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    None,
    /// If the server offers it.
    May,
    /// Or no mail.
    Required,
}

/// What the caller has to do, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send these bytes to the server.
    Send(Vec<u8>),
    /// Start TLS, then call [`Client::tls_started`] or [`Client::tls_failed`].
    StartTls,
    /// Choose one of these mechanisms and call [`Client::auth_start`], or [`Client::auth_skip`].
    Authenticate(Vec<String>),
    /// Answer this SASL challenge with [`Client::auth_respond`] or [`Client::auth_cancel`].
    Challenge(Vec<u8>),
    /// The session is open and a message can be delivered.
    Ready,
    /// Give the content with [`Client::content`] and [`Client::end_of_content`].
    NeedContent,
    /// A recipient is done.
    Outcome(Outcome),
    /// All recipients are done. The connection can take another message if `reusable`; else call [`Client::quit`].
    Done { reusable: bool },
    /// The server is no good now: all recipients without an outcome have failed for this reason.
    Failed(Failure),
    /// The kept connection has ended before it answered MAIL, so nothing of the message was tried: deliver it over another.
    Stale,
    /// Close the connection; nothing follows.
    Close,
}

/// The end of one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Its index in [`Envelope::recipients`].
    pub recipient: usize,
    /// The reply that took the message, or why there was none.
    pub result: Result<Received, Failure>,
}

/// Why mail was not delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// For the log and the bounce; class 4 means try again.
    pub status: Status,
    /// In Postfix's words.
    pub reason: String,
    /// The server's reply, if it was the server that refused.
    pub reply: Option<String>,
}

impl Failure {
    fn local(status: Status, reason: String) -> Self {
        Self { status, reason, reply: None }
    }

    /// Whether to try again later.
    pub fn is_temporary(&self) -> bool {
        self.status.class() == 4
    }
}

/// One session with one server.
#[derive(Debug)]
pub struct Client {
    config: Config,
    state: State,
    input: Input,
    parser: ReplyParser,
    output: Vec<u8>,
    actions: VecDeque<Action>,
    capabilities: Capabilities,
    tls: bool,
    /// The authentication exchange is over or not wanted.
    authenticated: bool,
    /// A message has been through this connection.
    used: bool,
    /// No second message: the server is out of step or going away.
    spoiled: bool,
}

#[derive(Debug)]
enum State {
    Handshake(Step),
    TlsHandshake,
    /// Waiting for the caller's next SASL response.
    Authenticating,
    Ready,
    Transaction(Box<Transaction>),
    /// RSET after a transaction without a message.
    Abort,
    Quit,
    Closed,
}

impl Client {
    /// A session over a connection that has just been made.
    pub fn new(config: Config) -> Self {
        Self {
            tls: config.tls_active,
            authenticated: !config.authenticate,
            config,
            state: State::Handshake(Step::Greeting),
            input: Input::default(),
            parser: ReplyParser::default(),
            output: Vec::new(),
            actions: VecDeque::new(),
            capabilities: Capabilities::default(),
            used: false,
            spoiled: false,
        }
    }

    /// Takes bytes from the server and returns how many fitted; offer the rest again after [`Self::poll`].
    pub fn input(&mut self, bytes: &[u8]) -> usize {
        match self.state {
            State::Closed => bytes.len(),
            State::TlsHandshake => 0,
            _ => self.input.push(bytes),
        }
    }

    /// The next action; `None` when the client waits for something.
    pub fn poll(&mut self) -> Option<Action> {
        loop {
            if let Some(action) = self.actions.pop_front() {
                return Some(action);
            }
            if !self.step_forward() {
                return None;
            }
        }
    }

    /// What is going on, and so which time limit applies; `None` when nothing is waited for.
    pub fn step(&self) -> Option<Step> {
        match &self.state {
            State::Handshake(step) => Some(*step),
            State::TlsHandshake => Some(Step::StartTls),
            State::Authenticating => Some(Step::Auth),
            State::Transaction(transaction) => Some(transaction.step()),
            State::Abort => Some(Step::Abort),
            State::Quit => Some(Step::Quit),
            State::Ready | State::Closed => None,
        }
    }

    /// What the server announced.
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// Begins the delivery of a message.
    ///
    /// # Panics
    /// If the session is not open ([`Action::Ready`]), a delivery is in progress, or the last one ended in
    /// [`Action::Done`] that is not `reusable`.
    pub fn deliver(&mut self, envelope: Envelope) {
        let usable = matches!(self.state, State::Ready) && !(self.used && self.spoiled);
        assert!(usable, "no delivery now: {:?}", self.state);
        if envelope.requires_smtputf8 && !self.capabilities.smtputf8 {
            let reason = format!("SMTPUTF8 is required, but was not offered by host {}", self.config.server);
            let failure = Failure::local(Status::new(5, 6, 7), reason);
            for recipient in 0..envelope.recipients.len() {
                self.actions.push_back(Action::Outcome(Outcome { recipient, result: Err(failure.clone()) }));
            }
            self.actions.push_back(Action::Done { reusable: true });
            return;
        }
        let transaction = Transaction::new(envelope, &self.config, &self.capabilities, self.used);
        self.state = State::Transaction(Box::new(transaction));
        self.used = true;
    }

    /// Gives the next piece of the content, lines that end in LF.
    ///
    /// # Panics
    /// If [`Action::NeedContent`] was not handed out.
    pub fn content(&mut self, text: &[u8]) {
        match &mut self.state {
            State::Transaction(transaction) => transaction.content(text, &mut self.output),
            // The connection broke while the caller was reading the message.
            State::Closed => {}
            other => panic!("no content now: {other:?}"),
        }
    }

    /// The content is complete.
    ///
    /// # Panics
    /// As [`Self::content`].
    pub fn end_of_content(&mut self) {
        match &mut self.state {
            State::Transaction(transaction) => transaction.end_of_content(&mut self.output),
            State::Closed => {}
            other => panic!("no content now: {other:?}"),
        }
    }

    /// Ends the session politely.
    pub fn quit(&mut self) {
        if matches!(self.state, State::Ready) {
            self.command("QUIT");
            self.state = State::Quit;
        }
    }

    /// TLS is up; what the server said in clear is forgotten.
    ///
    /// # Panics
    /// If [`Action::StartTls`] was not handed out.
    pub fn tls_started(&mut self) {
        assert!(matches!(self.state, State::TlsHandshake), "TLS without STARTTLS");
        self.tls = true;
        self.capabilities = Capabilities::default();
        self.input.discard();
        self.parser = ReplyParser::default();
        self.say_hello();
    }

    /// Whether [`Action::StartTls`] was handed out and its end is waited for.
    pub fn is_starting_tls(&self) -> bool {
        matches!(self.state, State::TlsHandshake)
    }

    /// The handshake has failed, and the connection with it.
    pub fn tls_failed(&mut self) {
        let reason = "Cannot start TLS: handshake failure".into();
        self.actions.push_back(Action::Failed(Failure::local(Status::new(4, 7, 5), reason)));
        self.close();
    }

    /// The server closed the connection.
    pub fn disconnected(&mut self) {
        self.break_off("lost connection with", "");
    }

    /// The time limit of [`Self::step`] has passed.
    pub fn timed_out(&mut self) {
        self.break_off("conversation with", "timed out ");
    }

    fn break_off(&mut self, what: &str, how: &str) {
        match (&self.state, self.step()) {
            (State::Transaction(transaction), _) if transaction.is_unproven() => self.actions.push_back(Action::Stale),
            (State::Abort, _) => self.actions.push_back(Action::Done { reusable: false }),
            (State::Quit, _) | (_, None) => {}
            (_, Some(step)) => {
                let reason = format!("{what} {} {how}while {}", self.config.server, step.description());
                self.actions.push_back(Action::Failed(Failure::local(Status::new(4, 4, 2), reason)));
            }
        }
        self.close();
    }

    /// Sends what can be sent and reads a reply; `false` if there is neither.
    fn step_forward(&mut self) -> bool {
        if let State::Transaction(transaction) = &mut self.state {
            transaction.send(&mut self.output);
        }
        // What was sent last goes out before its reply is looked at.
        if !self.output.is_empty() {
            self.flush();
            return true;
        }
        let expects = match &self.state {
            State::Transaction(transaction) => transaction.expects_reply(),
            State::Ready | State::TlsHandshake | State::Authenticating | State::Closed => false,
            _ => true,
        };
        if !expects {
            return false;
        }
        match self.parser.next(&mut self.input) {
            Ok(Some(reply)) => self.reply(reply),
            Ok(None) => return false,
            Err(_) => {
                let reason = format!("host {} sent a reply of too many lines", self.config.server);
                self.fail(Failure::local(Status::new(4, 5, 0), reason));
            }
        }
        true
    }

    fn reply(&mut self, reply: Received) {
        self.spoiled |= reply.garbage || reply.code == 421;
        match std::mem::replace(&mut self.state, State::Ready) {
            State::Handshake(step) => self.handshake(step, reply),
            State::Transaction(transaction) if transaction.is_unproven() && reply.code == 421 => {
                self.actions.push_back(Action::Stale);
                self.close();
            }
            State::Transaction(transaction) => self.transaction_reply(transaction, reply),
            State::Abort => {
                self.spoiled |= !reply.is_positive();
                self.actions.push_back(Action::Done { reusable: !self.spoiled });
            }
            State::Quit => self.close(),
            other => unreachable!("no reply is read in {other:?}"),
        }
    }

    fn handshake(&mut self, step: Step, mut reply: Received) {
        match step {
            Step::Greeting if reply.code / 100 == 2 => match self.config.hello {
                _ if self.config.lmtp => self.say_hello(),
                Hello::Ehlo => self.say_hello(),
                Hello::AsGreeted if offers_esmtp(&reply.text) => self.say_hello(),
                Hello::AsGreeted | Hello::Helo => self.say_helo(),
            },
            Step::Ehlo if reply.code / 100 != 2 && reply.code != 421 => {
                self.capabilities = Capabilities::default();
                self.say_helo();
            }
            Step::Ehlo | Step::Lhlo if reply.code / 100 == 2 => {
                self.capabilities = Capabilities::parse(&reply, &self.config.discard);
                self.after_hello();
            }
            Step::Helo if reply.code / 100 == 2 => self.after_hello(),
            Step::StartTls if reply.code / 100 == 2 => {
                self.flush();
                self.input.discard();
                self.actions.push_back(Action::StartTls);
                self.state = State::TlsHandshake;
            }
            Step::StartTls => {
                self.capabilities.starttls = false;
                if self.config.tls == Tls::Required {
                    let server = &self.config.server;
                    let reason = format!("TLS is required, but host {server} refused to start TLS: {}", reply.text);
                    self.fail(Failure { status: reply.status, reason, reply: Some(reply.text) });
                } else {
                    self.after_hello();
                }
            }
            Step::Auth => self.auth_reply(&reply),
            _ => {
                if step == Step::Greeting && reply.code / 100 == 5 && self.config.skip_5xx_greeting {
                    reply.status = reply.status.temporary();
                }
                let reason = format!("host {} refused to talk to me: {}", self.config.server, reply.text);
                self.fail(protocol_error(&reply, reason));
            }
        }
    }

    fn say_hello(&mut self) {
        let (verb, step) = if self.config.lmtp { ("LHLO", Step::Lhlo) } else { ("EHLO", Step::Ehlo) };
        self.command(&format!("{verb} {}", self.config.helo_name));
        self.state = State::Handshake(step);
    }

    fn say_helo(&mut self) {
        self.command(&format!("HELO {}", self.config.helo_name));
        self.state = State::Handshake(Step::Helo);
    }

    /// TLS first, then authentication, then mail.
    fn after_hello(&mut self) {
        if self.config.tls != Tls::None && !self.tls {
            if self.capabilities.starttls {
                self.command("STARTTLS");
                self.state = State::Handshake(Step::StartTls);
                return;
            }
            if self.config.tls == Tls::Required {
                let reason = format!("TLS is required, but was not offered by host {}", self.config.server);
                return self.fail(Failure::local(Status::new(4, 7, 4), reason));
            }
        }
        if !self.authenticated && !self.capabilities.mechanisms.is_empty() {
            self.actions.push_back(Action::Authenticate(self.capabilities.mechanisms.clone()));
            self.state = State::Authenticating;
            return;
        }
        self.state = State::Ready;
        self.actions.push_back(Action::Ready);
    }

    /// The failure that a reply means.
    fn refusal(&mut self, reply: &Received, step: Step) -> Failure {
        self.spoiled |= is_out_of_step(reply.code);
        let reason = format!("host {} said: {} (in reply to {})", self.config.server, reply.text, step.command());
        protocol_error(reply, reason)
    }

    /// Gives the session up.
    fn fail(&mut self, failure: Failure) {
        self.actions.push_back(Action::Failed(failure));
        if !self.spoiled {
            self.output.extend_from_slice(b"QUIT\r\n");
        }
        self.flush();
        self.close();
    }

    fn command(&mut self, command: &str) {
        self.output.extend_from_slice(command.as_bytes());
        self.output.extend_from_slice(b"\r\n");
    }

    fn flush(&mut self) {
        if !self.output.is_empty() {
            self.actions.push_back(Action::Send(std::mem::take(&mut self.output)));
        }
    }

    fn close(&mut self) {
        if !matches!(self.state, State::Closed) {
            self.output.clear();
            self.actions.push_back(Action::Close);
            self.state = State::Closed;
        }
    }
}

fn offers_esmtp(greeting: &str) -> bool {
    greeting.split([' ', '\t', '-']).any(|word| word.eq_ignore_ascii_case("ESMTP"))
}

/// A refusal of the command as such, not of the mail: client and server do not understand each other.
fn is_out_of_step(code: u16) -> bool {
    !(400..600).contains(&code) || code == 555 || (500..510).contains(&code)
}

/// A reply that neither accepts nor refuses is an error of the protocol, and that is permanent.
fn protocol_error(reply: &Received, reason: String) -> Failure {
    let reply_text = Some(reply.text.clone());
    if matches!(reply.status.class(), 4 | 5) && reply.code >= 400 && reply.code < 600 {
        return Failure { status: reply.status, reason, reply: reply_text };
    }
    Failure { status: Status::new(5, 5, 0), reason: format!("Protocol error: {reason}"), reply: reply_text }
}
