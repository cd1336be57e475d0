//! The server side: one session of an SMTP or LMTP server as a state machine.
//!
//! ```text
//! bytes ─► input() ─► poll() ─► Send, Body, Log, Delay, StartTls, Close
//!                        └────► Ask(question) ─► caller decides ─► answer()
//! ```
//!
//! [`Session::poll`] is called until it returns `None`; then the session needs input, an answer, or the end of a delay.
//!
//! Invariants: while a question is open no input is parsed; replies are collected and sent when the input is used up, so
//! that a pipelined group gets its replies in one piece; message content is never buffered beyond one piece; nothing
//! that came before STARTTLS is used after it; each transaction that [`Question::Mail`] opened ends in an answer to
//! [`Question::EndOfMessage`] or in [`Action::Abandon`].
//!
//! The session must not decide policy, and must not know time: the caller has the clock and calls
//! [`Session::timed_out`].

mod action;
mod command;
mod config;
mod content;
mod lmtp;
mod sasl;
mod smtp;

use std::{collections::VecDeque, sync::Arc};

use content::Content;

pub use self::{
    action::{Action, Answer, Level, Question},
    command::{Statistics, Verb},
    config::{Config, Dialect, Keywords, Lmtp, Matcher, Peer, Smtp, TlsLevel},
};
use crate::{
    limits,
    line::Input,
    reply::{Reply, printable},
};

/// One session with one client.
#[derive(Debug)]
pub struct Session {
    config: Arc<Config>,
    peer: Peer,
    input: Input,
    output: Vec<u8>,
    actions: VecDeque<Action>,
    mode: Mode,
    /// A delay was handed out and is not over.
    delayed: bool,
    tls: bool,
    hello: Option<Hello>,
    user: Option<String>,
    transaction: Option<Transaction>,
    /// A BDAT failed; its followers are skipped up to BDAT LAST or RSET.
    chunks_failed: bool,
    /// The reply that refused the client at connect; only QUIT works.
    denied: bool,
    errors: u64,
    junk: u64,
    pipelining_noticed: bool,
    /// A line ended in a bare LF.
    bare_newline_noticed: bool,
    hanging_up: bool,
    verb: Verb,
    stage: &'static str,
    statistics: Statistics,
}

/// What the session is doing.
#[derive(Debug)]
enum Mode {
    Start,
    Command,
    AuthResponse {
        mechanism: String,
    },
    Content(Box<Content>),
    /// The rest of a BDAT chunk that is not wanted, and the reply that follows it.
    Skip {
        left: u64,
        last: bool,
        reply: Reply,
    },
    /// Waiting for an answer to this.
    Asked(Pending),
    Tls,
    Closed,
}

/// What an answer is for.
#[derive(Debug)]
enum Pending {
    Connect,
    Helo(Hello),
    Mail(Transaction),
    Rcpt(String),
    Data,
    Chunk { size: u64, last: bool },
    EndOfMessage(Box<Content>),
    Vrfy(String),
    Etrn,
    Auth { mechanism: String },
    AuthAborted(Reply),
    StartTls,
    Xclient,
}

#[derive(Clone, Debug)]
struct Hello {
    name: String,
    extended: bool,
}

/// From the MAIL command that was accepted to the end of its message.
#[derive(Debug, Default)]
struct Transaction {
    sender: String,
    first_recipient: Option<String>,
    queue_id: Option<String>,
    smtputf8: bool,
    recipients: usize,
    overshoot: usize,
    /// LMTP answers for each recipient by its path.
    paths: Vec<String>,
    /// BDAT content between two chunks.
    content: Option<Box<Content>>,
}

impl Session {
    /// A session with a client that has just connected. The first [`Self::poll`] asks [`Question::Connect`].
    pub fn new(config: Arc<Config>, peer: Peer) -> Self {
        Self {
            tls: peer.tls,
            config,
            peer,
            input: Input::default(),
            output: Vec::new(),
            actions: VecDeque::new(),
            mode: Mode::Start,
            delayed: false,
            hello: None,
            user: None,
            transaction: None,
            chunks_failed: false,
            denied: false,
            errors: 0,
            junk: 0,
            pipelining_noticed: false,
            bare_newline_noticed: false,
            hanging_up: false,
            verb: Verb::Unknown,
            stage: "CONNECT",
            statistics: Statistics::default(),
        }
    }

    /// Takes bytes from the client and returns how many fitted; offer the rest again after [`Self::poll`]. At most
    /// [`limits::INPUT_BUFFER`] bytes wait here.
    pub fn input(&mut self, bytes: &[u8]) -> usize {
        match self.mode {
            Mode::Closed => bytes.len(),
            Mode::Tls => 0,
            _ => self.input.push(bytes),
        }
    }

    /// The next action; `None` when the session waits for something.
    pub fn poll(&mut self) -> Option<Action> {
        loop {
            if self.delayed {
                return None;
            }
            if let Some(action) = self.actions.pop_front() {
                self.delayed = matches!(action, Action::Delay(_));
                return Some(action);
            }
            if self.output.len() >= limits::OUTPUT_BUFFER {
                self.flush();
            } else if !self.step() {
                if self.output.is_empty() || matches!(self.mode, Mode::Asked(_)) {
                    if matches!(self.mode, Mode::Command) {
                        self.input.release();
                    }
                    return None;
                }
                self.flush();
            }
        }
    }

    /// Gives the decision that the last [`Action::Ask`] wanted.
    ///
    /// # Panics
    /// If no question is open, or the answer does not fit it: that is a mistake of the caller.
    pub fn answer(&mut self, answer: Answer) {
        let pending = match std::mem::replace(&mut self.mode, Mode::Command) {
            Mode::Asked(pending) => pending,
            // The client went away while the caller was deciding.
            Mode::Closed => return self.mode = Mode::Closed,
            other => panic!("an answer without a question: {answer:?} in {other:?}"),
        };
        match &self.config.clone().dialect {
            Dialect::Smtp(config) => self.smtp_answer(config, pending, answer),
            Dialect::Lmtp(config) => self.lmtp_answer(config, pending, answer),
        }
    }

    /// The delay of the last [`Action::Delay`] is over.
    pub fn resume(&mut self) {
        self.delayed = false;
    }

    /// TLS is up. The session is new but for its counters: HELO, AUTH and mail are forgotten (RFC 3207 section 4.2).
    ///
    /// # Panics
    /// If [`Action::StartTls`] was not handed out.
    pub fn tls_started(&mut self) {
        assert!(matches!(self.mode, Mode::Tls), "TLS without STARTTLS");
        self.mode = Mode::Command;
        self.tls = true;
        self.statistics.success(Verb::Starttls);
    }

    /// The client was silent for too long.
    pub fn timed_out(&mut self) {
        if matches!(self.mode, Mode::Closed) {
            return;
        }
        let hostname = &self.config.hostname;
        let text = match self.config.dialect {
            Dialect::Smtp(_) => format!("4.4.2 {hostname} Error: timeout exceeded"),
            Dialect::Lmtp(_) => format!("4.4.2 {hostname} Disconnected for inactivity"),
        };
        Reply::new(421, &text).write(&mut self.output);
        self.lost("timeout");
    }

    /// The client closed the connection.
    pub fn disconnected(&mut self) {
        if !matches!(self.mode, Mode::Closed) {
            // Nobody reads them any more.
            self.output.clear();
            self.lost("lost connection");
        }
    }

    /// What was counted, for the `disconnect from` line.
    pub fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    /// These EHLO keywords are not announced from now on, and what is behind them is refused.
    pub fn set_discarded(&mut self, keywords: Keywords) {
        self.peer.discard = keywords;
    }

    /// What was odd about the session, for the end of the `disconnect from` line: ` notes=bare_lf` or nothing.
    pub fn notes(&self) -> &'static str {
        let wanted = matches!(&self.config.dialect, Dialect::Smtp(config) if config.note_bare_newline);
        if wanted && self.bare_newline_noticed { " notes=bare_lf" } else { "" }
    }

    /// The name the client gave in HELO, EHLO or LHLO, without characters that are special in headers and log lines.
    pub fn helo_name(&self) -> Option<&str> {
        self.hello.as_ref().map(|hello| hello.name.as_str())
    }

    /// The user that AUTH named.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// `SMTP`, `ESMTP` or `LMTP`, as log lines have it (`proto=`).
    pub fn protocol(&self) -> &'static str {
        match (&self.config.dialect, &self.hello) {
            (Dialect::Lmtp(_), _) => "LMTP",
            (_, Some(Hello { extended: true, .. })) => "ESMTP",
            _ => "SMTP",
        }
    }

    /// The protocol for a Received header: `ESMTPSA`, `UTF8SMTP`, `UTF8LMTP`, … (RFC 3848 section 2, RFC 6531 section 4.3).
    pub fn received_protocol(&self) -> String {
        let smtputf8 = self.transaction.as_ref().is_some_and(|transaction| transaction.smtputf8);
        let mut protocol = match (smtputf8, self.protocol()) {
            (true, "LMTP") => "UTF8LMTP".to_owned(),
            (true, _) => "UTF8SMTP".to_owned(),
            (false, protocol) => protocol.to_owned(),
        };
        if self.protocol() != "SMTP" {
            protocol.push_str(if self.tls { "S" } else { "" });
            protocol.push_str(if self.user.is_some() { "A" } else { "" });
        }
        protocol
    }

    /// The open transaction has this queue ID from now on; log lines begin with it.
    pub fn set_queue_id(&mut self, id: &str) {
        if let Some(transaction) = &mut self.transaction {
            transaction.queue_id = Some(id.to_owned());
        }
    }

    /// What is known of the mail, as Postfix's reject lines end: ` from=<…> to=<…> proto=… helo=<…> sasl_username=<…>`.
    pub fn whatsup(&self) -> String {
        let transaction = self.transaction.as_ref();
        let sender = transaction.map(|transaction| transaction.sender.as_str());
        self.whatsup_from(sender, transaction.and_then(|transaction| transaction.first_recipient.as_deref()))
    }

    fn whatsup_from(&self, sender: Option<&str>, recipient: Option<&str>) -> String {
        let mut text = String::new();
        let mut append = |name: &str, open: &str, value: Option<&str>, close: &str| {
            if let Some(value) = value {
                text.push_str(&format!(" {name}={open}{}{close}", printable(value.as_bytes())));
            }
        };
        append("from", "<", sender, ">");
        append("to", "<", recipient, ">");
        append("proto", "", Some(self.protocol()), "");
        append("helo", "<", self.helo_name(), ">");
        append("sasl_username", "<", self.user(), ">");
        text
    }

    /// The queue ID of the open transaction, as log lines begin.
    fn queue_id(&self) -> &str {
        self.transaction.as_ref().and_then(|transaction| transaction.queue_id.as_deref()).unwrap_or("NOQUEUE")
    }

    /// Whether commands were sent ahead where the client had to wait for us (`reject_unauth_pipelining`).
    pub fn is_unauthorized_pipelining(&self) -> bool {
        self.pipelining_noticed
    }

    /// Where the session is, for log lines: a command, `END-OF-MESSAGE` or `CONNECT`.
    pub fn stage(&self) -> &'static str {
        self.stage
    }

    /// Does what the input allows; `false` if it allows nothing.
    fn step(&mut self) -> bool {
        let config = self.config.clone();
        match &mut self.mode {
            Mode::Start => {
                self.ask(Question::Connect, Pending::Connect);
                true
            }
            Mode::Command => match &config.dialect {
                Dialect::Smtp(smtp) => self.smtp_command(smtp),
                Dialect::Lmtp(lmtp) => self.lmtp_command(lmtp),
            },
            Mode::AuthResponse { .. } => match &config.dialect {
                Dialect::Smtp(smtp) => self.auth_response(smtp),
                Dialect::Lmtp(_) => unreachable!("the LMTP server has no AUTH"),
            },
            Mode::Content(_) => self.content_step(),
            Mode::Skip { left, .. } => {
                let skipped = usize::try_from(*left).unwrap_or(usize::MAX).min(self.input.pending().len());
                *left -= skipped as u64;
                self.input.consume(skipped);
                if matches!(self.mode, Mode::Skip { left: 0, .. }) {
                    self.end_of_skip();
                    return true;
                }
                skipped > 0
            }
            Mode::Asked(_) | Mode::Tls | Mode::Closed => false,
        }
    }

    fn end_of_skip(&mut self) {
        if let Mode::Skip { last, reply, .. } = std::mem::replace(&mut self.mode, Mode::Command) {
            self.reply(&reply);
            if last {
                self.abandon();
            }
            self.chunks_failed = !last;
            self.finish(false);
        }
    }

    fn ask(&mut self, question: Question, pending: Pending) {
        self.actions.push_back(Action::Ask(question));
        self.mode = Mode::Asked(pending);
    }

    fn log(&mut self, level: Level, text: String) {
        self.actions.push_back(Action::Log(level, text));
    }

    fn flush(&mut self) {
        if !self.output.is_empty() {
            self.actions.push_back(Action::Send(std::mem::take(&mut self.output)));
        }
    }

    /// Queues a reply, after a delay if the client has made too many errors.
    fn reply(&mut self, reply: &Reply) {
        let mut reply = reply.clone();
        if let Dialect::Smtp(config) = &self.config.clone().dialect {
            if self.errors >= config.soft_error_limit && !config.error_sleep_time.is_zero() {
                self.flush();
                self.actions.push_back(Action::Delay(config.error_sleep_time));
            }
            if config.soft_bounce {
                reply = reply.softened();
            }
        }
        reply.write(&mut self.output);
        self.hanging_up |= reply.hangs_up();
    }

    /// Replies, counts and ends a command that failed.
    fn fail(&mut self, code: u16, text: &str) {
        self.reply(&Reply::new(code, text));
        self.finish(false);
    }

    /// Replies, counts and ends a command that succeeded.
    fn succeed(&mut self, code: u16, text: &str) {
        self.reply(&Reply::new(code, text));
        self.finish(true);
    }

    /// Ends the command in progress.
    fn finish(&mut self, success: bool) {
        if success {
            self.statistics.success(self.verb);
        }
        match &self.config.clone().dialect {
            Dialect::Smtp(config) => {
                self.errors += u64::from(!success);
                if self.verb.is_junk() {
                    self.count_junk(config);
                }
                self.check_errors(config);
            }
            Dialect::Lmtp(_) => {
                if self.hanging_up {
                    self.close();
                }
            }
        }
    }

    /// The transaction is over, in whatever way.
    fn reset_transaction(&mut self) {
        self.transaction = None;
        self.chunks_failed = false;
    }

    /// Forgets the transaction, if there is one, without its message.
    fn abandon(&mut self) {
        if self.transaction.is_some() {
            self.actions.push_back(Action::Abandon);
        }
        self.reset_transaction();
    }

    /// Forgets everything the client said; for STARTTLS.
    fn reset(&mut self) {
        self.abandon();
        self.hello = None;
        self.user = None;
        self.input.discard();
    }

    fn close(&mut self) {
        match self.mode {
            Mode::Closed => return,
            // The message is in the caller's hands and may be safe already.
            Mode::Asked(Pending::EndOfMessage(_)) => self.reset_transaction(),
            _ => self.abandon(),
        }
        self.flush();
        self.actions.push_back(Action::Close);
        self.mode = Mode::Closed;
    }

    /// The connection is gone or given up for `reason`.
    fn lost(&mut self, reason: &str) {
        self.delayed = false;
        if matches!(self.config.dialect, Dialect::Smtp(_)) {
            self.log_lost(reason);
        }
        self.close();
    }

    /// Postfix's line about a session that did not end with QUIT; silence after a message is no loss.
    fn log_lost(&mut self, reason: &str) {
        let client = &self.peer.name;
        let line = match (&self.mode, self.stage) {
            (Mode::Content(content), stage) => {
                format!("{reason} after {stage} ({} bytes) from {client}", content.size())
            }
            (_, "END-OF-MESSAGE") if reason == "lost connection" => return,
            (_, stage) => format!("{reason} after {stage} from {client}"),
        };
        self.log(Level::Info, line);
    }
}
