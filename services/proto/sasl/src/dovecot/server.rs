//! The server's end of an authentication socket.
//!
//! Keeps which requests are in progress and whose turn each is, so that what reaches the caller is in order: an id that is
//! new, a continuation only after a challenge. The caller runs the mechanism and answers with [`Server::reply`]. A reply
//! to a request that was cancelled is dropped.

use std::collections::{HashMap, VecDeque};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::lines::Lines;
use super::{Broken, CLIENT_VERSION, Cookie, Fields, Id, MAX_CLIENT_LINE, MAX_REQUESTS, Parameters, fields, sanitize};
use crate::mechanism::Mechanism;

/// What a client wants.
#[derive(Debug)]
pub enum Event {
    /// The handshake is complete; this is the client's process id.
    Connected(u32),
    /// A line arrived, for the debug log; the flag says whether it holds a secret after its last `resp=` or id.
    Line(String),
    /// A new request.
    Authenticate(Box<Request>),
    /// The answer to the challenge of that request.
    Continue(Id, Zeroizing<Vec<u8>>),
    /// The request is over; do not answer it.
    Cancel(Id),
    /// A request that failed before any mechanism saw it: already answered. Logged by Dovecot for the request's user.
    Refused(Id, &'static str),
    /// Log this as an error and close.
    Broken(Broken),
}

/// `AUTH`.
#[derive(Debug, PartialEq, Eq)]
pub struct Request {
    /// Its number on this connection.
    pub id: Id,
    /// One of those that the handshake offered.
    pub mechanism: Mechanism,
    /// What is known of the client.
    pub parameters: Parameters,
    /// The client's first message, if it came with the request.
    pub initial: Option<Zeroizing<Vec<u8>>>,
}

/// What a client is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Success.
    Ok {
        /// The user's name after all changes.
        user: String,
        /// Extra fields of the passdb.
        fields: Fields,
    },
    /// The mechanism goes on with this challenge.
    Continue(Vec<u8>),
    /// Failure.
    Fail {
        /// The user, as far as one is known.
        user: Option<String>,
        /// Why, if the client may know.
        code: Option<FailCode>,
        /// A text for the client.
        reason: Option<String>,
        /// Extra fields of the passdb.
        fields: Fields,
    },
}

impl Reply {
    /// A failure that says nothing but who it was.
    pub fn fail(user: Option<&str>, code: Option<FailCode>) -> Self {
        Self::Fail { user: user.map(str::to_owned), code, reason: None, fields: Fields::default() }
    }

    /// The line, without its newline.
    pub fn line(&self, id: Id) -> String {
        match self {
            Self::Ok { user, fields } => {
                let mut out = format!("OK\t{id}\tuser=");
                fields::escape(&mut out, user);
                fields.write(&mut out);
                out
            }
            Self::Continue(challenge) => format!("CONT\t{id}\t{}", STANDARD.encode(challenge)),
            Self::Fail { user, code, reason, fields } => {
                let mut all = Fields::default();
                if let Some(user) = user {
                    all.set("user", Some(user));
                }
                if let Some(code) = code {
                    all.set("code", Some(code.name()));
                }
                if let Some(reason) = reason {
                    all.set("reason", Some(reason));
                }
                let mut out = format!("FAIL\t{id}");
                all.write(&mut out);
                fields.write(&mut out);
                out
            }
        }
    }
}

/// Why a request failed: the `code=` of FAIL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailCode {
    /// The password may be right, but nothing could be looked up: try again later.
    TemporaryFailure,
    /// The password was right, but this user may not act as the one named.
    AuthorizationFailed,
    /// The account is disabled.
    UserDisabled,
    /// The password has expired.
    PasswordExpired,
    /// The response was not base64.
    InvalidBase64,
    /// Wrong user or password, where a service says so explicitly.
    AuthenticationFailed,
}

impl FailCode {
    /// All codes.
    pub const ALL: [Self; 6] = [
        Self::TemporaryFailure,
        Self::AuthorizationFailed,
        Self::UserDisabled,
        Self::PasswordExpired,
        Self::InvalidBase64,
        Self::AuthenticationFailed,
    ];

    /// As the protocol writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::TemporaryFailure => "temp_fail",
            Self::AuthorizationFailed => "authz_fail",
            Self::UserDisabled => "user_disabled",
            Self::PasswordExpired => "pass_expired",
            Self::InvalidBase64 => "invalid_base64",
            Self::AuthenticationFailed => "authfail",
        }
    }

    /// The code of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.name() == name)
    }
}

/// One client's connection.
pub struct Server {
    mechanisms: Vec<Mechanism>,
    lines: Lines,
    state: State,
    /// Whether each request in progress waits for the client.
    requests: HashMap<Id, Turn>,
    events: VecDeque<Event>,
    output: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    Server,
    Client,
}

enum State {
    Version,
    Pid { minor: u32 },
    Open { minor: u32, pid: u32 },
    Broken,
}

impl Server {
    /// Greets a client. `pid` is ours, `connection` a number that was never used before, `cookie` random.
    pub fn new(mechanisms: &[Mechanism], pid: u32, connection: u32, cookie: &Cookie) -> Self {
        let (major, minor) = CLIENT_VERSION;
        let mut greeting = format!("VERSION\t{major}\t{minor}\n");
        for mechanism in mechanisms {
            greeting.push_str(&format!("MECH\t{}", mechanism.name()));
            mechanism.properties().iter().for_each(|property| greeting.push_str(&format!("\t{property}")));
            greeting.push('\n');
        }
        greeting.push_str(&format!("SPID\t{pid}\nCUID\t{connection}\nCOOKIE\t{}\nDONE\n", super::hex(cookie)));
        Self {
            mechanisms: mechanisms.to_vec(),
            lines: Lines::new(MAX_CLIENT_LINE),
            state: State::Version,
            requests: HashMap::new(),
            events: VecDeque::new(),
            output: greeting.into_bytes(),
        }
    }

    /// Takes what was read; then drain [`Server::poll`] before reading more.
    pub fn receive(&mut self, bytes: &[u8]) {
        if !matches!(self.state, State::Broken) {
            self.lines.push(bytes);
        }
    }

    /// The next event. Lines are looked at one by one, so that an answer given before the next call comes before what the
    /// client sent behind the question.
    pub fn poll(&mut self) -> Option<Event> {
        while self.events.is_empty() && !matches!(self.state, State::Broken) {
            let handled = match self.lines.next() {
                Ok(Some(line)) => self.line(&line),
                Ok(None) => return None,
                Err(_) => Err(format!("BUG: Auth client {} sent us more than {MAX_CLIENT_LINE} bytes", self.pid())),
            };
            if let Err(reason) = handled {
                self.state = State::Broken;
                self.lines.clear();
                self.requests.clear();
                self.events.push_back(Event::Broken(Broken(reason)));
            }
        }
        self.events.pop_front()
    }

    /// Answers a request; returns the line that was queued, for the debug log, or `None` if the request is gone.
    pub fn reply(&mut self, id: Id, reply: &Reply) -> Option<String> {
        match (self.requests.get_mut(&id)?, reply) {
            (turn, Reply::Continue(_)) => *turn = Turn::Client,
            _ => _ = self.requests.remove(&id),
        }
        let line = reply.line(id);
        self.output.extend_from_slice(line.as_bytes());
        self.output.push(b'\n');
        Some(line)
    }

    /// What is to be written; empty if nothing is.
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    /// Requests in progress: if the client goes away now, Dovecot logs their number.
    pub fn pending(&self) -> usize {
        self.requests.len()
    }

    fn pid(&self) -> u32 {
        if let State::Open { pid, .. } = self.state { pid } else { 0 }
    }

    fn line(&mut self, line: &str) -> Result<(), String> {
        match self.state {
            State::Version => self.version(line),
            State::Pid { minor } => {
                let pid = line.strip_prefix("CPID\t").ok_or_else(|| {
                    format!("BUG: Authentication client sent unknown handshake command: {}", sanitize(line, 80))
                })?;
                let pid = super::parse_number(pid)
                    .filter(|pid| *pid != 0)
                    .ok_or("BUG: Authentication client said it's PID 0")?;
                self.state = State::Open { minor, pid };
                self.events.push_back(Event::Connected(pid));
                Ok(())
            }
            State::Open { minor, .. } => self.command(line, minor),
            State::Broken => Ok(()),
        }
    }

    fn version(&mut self, line: &str) -> Result<(), String> {
        let numbers = line.strip_prefix("VERSION\t").and_then(|rest| rest.split_once('\t'));
        let numbers =
            numbers.and_then(|(major, minor)| Some((super::parse_number(major)?, super::parse_number(minor)?)));
        let (major, minor) = numbers
            .ok_or_else(|| format!("Authentication client sent invalid VERSION line: {}", sanitize(line, 80)))?;
        if major != CLIENT_VERSION.0 {
            return Err("Authentication client not compatible with this server (mixed old and new binaries?)".into());
        }
        self.state = State::Pid { minor };
        Ok(())
    }

    fn command(&mut self, line: &str, minor: u32) -> Result<(), String> {
        let (command, arguments) = line.split_once('\t').unwrap_or((line, ""));
        if line.contains('\t') && matches!(command, "AUTH" | "CONT" | "CANCEL") {
            self.events.push_back(Event::Line(line.to_owned()));
            match command {
                "AUTH" => self.authenticate(arguments, minor),
                "CONT" => self.proceed(arguments),
                _ => self.cancel(arguments),
            }
        } else {
            Err(format!("BUG: Authentication client sent unknown command: {}", sanitize(line, 80)))
        }
    }

    /// ```text
    /// AUTH TAB id TAB mechanism *( TAB name [ "=" value ] ) [ TAB "resp=" base64 ]
    /// ```
    fn authenticate(&mut self, arguments: &str, minor: u32) -> Result<(), String> {
        let bug = |what: String| format!("BUG: Authentication client {} {what}", self.pid());
        let mut list = fields::split(arguments);
        let id = list.next().and_then(|id| super::parse_number(&id)).filter(|id| *id != 0);
        let (Some(id), Some(name)) = (id, list.next()) else {
            return Err(bug("sent broken AUTH request".into()));
        };
        let mechanism = Mechanism::from_name(&name).filter(|mechanism| self.mechanisms.contains(mechanism));
        let mechanism = mechanism
            .ok_or_else(|| bug(format!("requested unsupported authentication mechanism {}", sanitize(&name, 20))))?;
        let mut parameters = Parameters::default();
        let mut response = None;
        for field in list.by_ref() {
            let (name, value) = field.split_once('=').unwrap_or((&field, ""));
            if !parameters.set(name, value) && name == "resp" {
                response = Some(Zeroizing::new(value.to_owned()));
                break;
            }
        }
        if list.next().is_some() {
            return Err(bug("sent AUTH parameters after 'resp'".into()));
        }
        if parameters.service.is_empty() {
            return Err(bug("didn't specify service in request".into()));
        }
        if self.requests.contains_key(&id) {
            return Err(bug(format!("sent a duplicate ID {id}")));
        }
        if self.requests.len() >= MAX_REQUESTS {
            return Err(bug(format!("has more than {MAX_REQUESTS} requests in progress")));
        }
        self.requests.insert(id, Turn::Server);
        // Old clients (Exim) write an empty response where they have none; a lone `=` is an empty one.
        let initial = match response.as_deref().map(String::as_str) {
            None => None,
            Some("") if minor < 2 => None,
            Some("" | "=") => Some(Zeroizing::default()),
            Some(text) => match STANDARD.decode(text) {
                Ok(bytes) => Some(Zeroizing::new(bytes)),
                Err(_) => {
                    self.refuse(id, Some(FailCode::InvalidBase64), "Invalid base64 data in initial response");
                    return Ok(());
                }
            },
        };
        self.events.push_back(Event::Authenticate(Box::new(Request { id, mechanism, parameters, initial })));
        Ok(())
    }

    /// ```text
    /// CONT TAB id TAB base64
    /// ```
    fn proceed(&mut self, arguments: &str) -> Result<(), String> {
        let broken = "BUG: Authentication client sent broken CONT request";
        let (id, data) = arguments.split_once('\t').ok_or(broken)?;
        let id = super::parse_number(id).ok_or(broken)?;
        match self.requests.get_mut(&id) {
            // It was never ours, or it is long over: the client is told the same.
            None => {
                let reason = "Authentication request timed out".to_owned();
                let reply = Reply::Fail { user: None, code: None, reason: Some(reason), fields: Fields::default() };
                self.output.extend_from_slice(reply.line(id).as_bytes());
                self.output.push(b'\n');
            }
            Some(Turn::Server) => self.refuse(id, None, "Unexpected continuation"),
            Some(turn @ Turn::Client) => {
                *turn = Turn::Server;
                match STANDARD.decode(data) {
                    Ok(bytes) => self.events.push_back(Event::Continue(id, Zeroizing::new(bytes))),
                    Err(_) => {
                        self.refuse(id, Some(FailCode::InvalidBase64), "Invalid base64 data in continued response");
                    }
                }
            }
        }
        Ok(())
    }

    fn cancel(&mut self, arguments: &str) -> Result<(), String> {
        let id = super::parse_number(arguments).ok_or("BUG: Authentication client sent broken CANCEL")?;
        if self.requests.remove(&id).is_some() {
            self.events.push_back(Event::Cancel(id));
        }
        Ok(())
    }

    /// Fails a request for its syntax. Whatever worked on it before is told that it is over.
    fn refuse(&mut self, id: Id, code: Option<FailCode>, reason: &'static str) {
        let reply = Reply::Fail { user: None, code, reason: Some(reason.to_owned()), fields: Fields::default() };
        self.reply(id, &reply);
        self.events.push_back(Event::Refused(id, reason));
    }
}
