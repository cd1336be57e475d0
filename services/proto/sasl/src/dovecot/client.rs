//! The client's end of an authentication socket: what `smtpd` and the login services speak to a foreign `auth`.
//!
//! Requests are numbered here. The reply to a request that was cancelled is dropped. When the connection is lost, the
//! caller fails what [`Client::pending`] still names as a temporary failure.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::lines::Lines;
use super::server::FailCode;
use super::{Broken, CLIENT_VERSION, Cookie, Fields, Id, MAX_CLIENT_LINE, MAX_REQUESTS, Parameters, fields};

/// Most mechanisms that a server may list.
pub const MAX_MECHANISMS: usize = 64;

/// What the server says.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// The handshake is complete; requests may be sent.
    Ready(Handshake),
    /// Success.
    Ok {
        /// The request.
        id: Id,
        /// The user's name, which may differ from the one given.
        user: String,
        /// All fields, `user` included.
        fields: Fields,
    },
    /// A challenge for the client.
    Continue(Id, Vec<u8>),
    /// Failure.
    Fail {
        /// The request.
        id: Id,
        /// Why, if the server says so in a known word.
        code: Option<FailCode>,
        /// All fields, `code` and `reason` included.
        fields: Fields,
    },
    /// Log this as an error and close; requests in progress fail for now.
    Broken(Broken),
}

/// What the server said of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Handshake {
    /// Names and properties (`plaintext`, `mutual-auth`, …) of the mechanisms, in its order.
    pub mechanisms: Vec<(String, Vec<String>)>,
    /// The server's process id.
    pub server_pid: Option<u32>,
    /// The connection's number at the server.
    pub connection: Option<u32>,
    /// What proves to a third process that a login came through this connection.
    pub cookie: Option<Cookie>,
}

/// One connection to a server.
pub struct Client {
    lines: Lines,
    state: State,
    next: Id,
    requests: BTreeSet<Id>,
    output: Zeroizing<Vec<u8>>,
}

enum State {
    Handshake { seen: Handshake, version: bool },
    Open,
    Broken,
}

impl Client {
    /// Greets a server. `pid` is ours, or any number but 0 that is unique at this server.
    pub fn new(pid: u32) -> Self {
        let (major, minor) = CLIENT_VERSION;
        Self {
            lines: Lines::new(MAX_CLIENT_LINE),
            state: State::Handshake { seen: Handshake::default(), version: false },
            next: 1,
            requests: BTreeSet::new(),
            output: Zeroizing::new(format!("VERSION\t{major}\t{minor}\nCPID\t{pid}\n").into_bytes()),
        }
    }

    /// Begins a request; its number, or `None` while [`MAX_REQUESTS`] are in progress.
    pub fn authenticate(&mut self, mechanism: &str, parameters: &Parameters, initial: Option<&[u8]>) -> Option<Id> {
        if self.requests.len() >= MAX_REQUESTS {
            return None;
        }
        let id = self.next;
        // 0 is no number; after four billion requests the first are long over.
        self.next = self.next.checked_add(1).unwrap_or(1);
        let mut line = Zeroizing::new(format!("AUTH\t{id}\t"));
        fields::escape(&mut line, mechanism);
        parameters.write(&mut line);
        if let Some(initial) = initial {
            let response = Zeroizing::new(STANDARD.encode(initial));
            line.push_str("\tresp=");
            line.push_str(&response);
        }
        self.requests.insert(id);
        self.send(&line);
        Some(id)
    }

    /// Answers a challenge.
    pub fn proceed(&mut self, id: Id, response: &[u8]) {
        if self.requests.contains(&id) {
            let response = Zeroizing::new(STANDARD.encode(response));
            let line = Zeroizing::new(format!("CONT\t{id}\t{}", response.as_str()));
            self.send(&line);
        }
    }

    /// Gives a request up.
    pub fn cancel(&mut self, id: Id) {
        if self.requests.remove(&id) {
            self.send(&format!("CANCEL\t{id}"));
        }
    }

    /// Takes what was read; then drain [`Client::poll`] before reading more.
    pub fn receive(&mut self, bytes: &[u8]) {
        if !matches!(self.state, State::Broken) {
            self.lines.push(bytes);
        }
    }

    /// The next event.
    pub fn poll(&mut self) -> Option<Event> {
        while !matches!(self.state, State::Broken) {
            let handled = match self.lines.next() {
                Ok(Some(line)) => self.line(&line),
                Ok(None) => return None,
                Err(_) => Err(format!("BUG: Auth server sent us more than {MAX_CLIENT_LINE} bytes of data")),
            };
            match handled {
                Ok(None) => {}
                Ok(event) => return event,
                Err(reason) => {
                    self.state = State::Broken;
                    self.lines.clear();
                    return Some(Event::Broken(Broken(reason)));
                }
            }
        }
        None
    }

    /// What is to be written; it may hold passwords.
    pub fn take_output(&mut self) -> Zeroizing<Vec<u8>> {
        std::mem::take(&mut self.output)
    }

    /// The requests that have no final reply yet.
    pub fn pending(&self) -> impl Iterator<Item = Id> {
        self.requests.iter().copied()
    }

    fn send(&mut self, line: &str) {
        self.output.extend_from_slice(line.as_bytes());
        self.output.push(b'\n');
    }

    fn line(&mut self, line: &str) -> Result<Option<Event>, String> {
        let mut list = fields::split(line);
        let command = list.next().unwrap_or_default();
        let arguments: Vec<String> = list.collect();
        match &mut self.state {
            State::Handshake { seen, version } => {
                if !handshake(seen, version, &command, &arguments, line)? {
                    return Ok(None);
                }
                let seen = std::mem::take(seen);
                self.state = State::Open;
                Ok(Some(Event::Ready(seen)))
            }
            State::Open => self.answer(&command, arguments),
            State::Broken => Ok(None),
        }
    }

    /// An answer to a request that was cancelled before it arrived is no event.
    fn answer(&mut self, command: &str, arguments: Vec<String>) -> Result<Option<Event>, String> {
        if !matches!(command, "OK" | "CONT" | "FAIL") {
            return Err(format!("Auth server sent unknown response: {}", super::sanitize(command, 80)));
        }
        let id = arguments.first().and_then(|id| super::parse_number(id));
        let id = id.ok_or("BUG: Authentication server input missing ID")?;
        if command == "CONT" {
            let challenge = arguments.get(1).and_then(|text| STANDARD.decode(text).ok());
            let challenge = challenge.ok_or("BUG: Authentication server sent broken CONT line")?;
            return Ok(Some(Event::Continue(id, challenge)).filter(|_| self.requests.contains(&id)));
        }
        if !self.requests.remove(&id) {
            return Ok(None);
        }
        let fields = Fields::parse(arguments.into_iter().skip(1));
        Ok(Some(if command == "OK" {
            let user = fields.get("user").unwrap_or_default().to_owned();
            Event::Ok { id, user, fields }
        } else {
            Event::Fail { id, code: fields.get("code").and_then(FailCode::from_name), fields }
        }))
    }
}

/// Takes one line of the server's greeting; whether it was the last.
fn handshake(
    seen: &mut Handshake,
    version: &mut bool,
    command: &str,
    arguments: &[String],
    line: &str,
) -> Result<bool, String> {
    let first = arguments.first().map(String::as_str);
    let number = first.and_then(super::parse_number);
    match (command, first) {
        ("VERSION", Some(_)) => {
            if number != Some(CLIENT_VERSION.0) {
                return Err("Auth server not compatible with this client (mixed old and new binaries?)".into());
            }
            *version = true;
        }
        ("MECH", Some(name)) if seen.mechanisms.len() < MAX_MECHANISMS => {
            seen.mechanisms.push((name.to_owned(), arguments[1..].to_vec()));
        }
        ("MECH", _) => return Err("BUG: Authentication server sent broken MECH line".into()),
        ("SPID", _) => seen.server_pid = Some(number.ok_or("BUG: Authentication server sent invalid PID")?),
        ("CUID", _) => seen.connection = Some(number.ok_or("BUG: Authentication server sent broken CUID line")?),
        ("COOKIE", _) if seen.cookie.is_some() => {
            return Err("BUG: Authentication server already sent cookie".into());
        }
        ("COOKIE", Some(text)) => {
            seen.cookie = Some(super::parse_cookie(text).ok_or("BUG: Authentication server sent a broken cookie")?);
        }
        ("DONE", _) => {
            if !*version {
                return Err("Auth server sent no version".into());
            }
            if seen.mechanisms.is_empty() {
                return Err("BUG: Authentication server returned no mechanisms".into());
            }
            if seen.cookie.is_none() {
                return Err("BUG: Authentication server didn't send a cookie".into());
            }
            return Ok(true);
        }
        _ => return Err(format!("Auth server sent unknown handshake: {}", super::sanitize(line, 80))),
    }
    Ok(false)
}
