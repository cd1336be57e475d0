//! The master protocol: who a user is (`auth-userdb`), and who logged in (`auth-master`). Both ends.
//!
//! ```text
//! USER TAB id TAB user *( TAB parameter )        -> USER TAB id TAB user *( TAB field ) / NOTFOUND TAB id / FAIL TAB id
//! PASS TAB id TAB user *( TAB parameter )        -> PASS TAB id TAB "user=" user *( TAB field ) / NOTFOUND / FAIL
//! LIST TAB id *( TAB parameter )                 -> *( LIST TAB id TAB user ) DONE TAB id TAB [ "fail" ]
//! REQUEST TAB id TAB pid TAB request TAB cookie  -> USER / NOTFOUND / FAIL             ; auth-master only
//! CACHE-FLUSH TAB id *( TAB user )               -> OK TAB id TAB count                ; auth-master only
//! ```

use std::collections::BTreeSet;

use super::lines::Lines;
use super::{
    Broken, Cookie, Fields, Id, MASTER_VERSION, MAX_CLIENT_LINE, MAX_MASTER_LINE, MAX_REQUESTS, Parameters, fields,
    hex, parse_cookie, parse_number, sanitize,
};

/// Which socket a connection came in on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Socket {
    /// `auth-userdb`: lookups only.
    Userdb,
    /// `auth-master`: also the fetching of logins.
    Master,
}

/// What a client of the socket asks. Every request has the number that its reply repeats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Who is this user?
    User {
        /// The number of the request.
        id: Id,
        /// The name as given.
        user: String,
        /// For whom.
        parameters: Box<Parameters>,
    },
    /// What does the passdb say of this user?
    Pass {
        /// The number of the request.
        id: Id,
        /// The name as given.
        user: String,
        /// For whom.
        parameters: Box<Parameters>,
    },
    /// Which users are there?
    List {
        /// The number of the request.
        id: Id,
        /// A pattern with `*` and `?`; empty for all.
        mask: String,
        /// For whom; the service may be empty.
        parameters: Box<Parameters>,
    },
    /// Who logged in there?
    Login {
        /// The number of the request.
        id: Id,
        /// The login process that authenticated the client.
        client_pid: u32,
        /// Its request.
        client_request: Id,
        /// The cookie of its connection: compare in constant time.
        cookie: Cookie,
        /// The process that asks, if it says so.
        session_pid: Option<u32>,
        /// Whether it wants a token for further services.
        wants_token: bool,
    },
    /// Forget what is cached of these users; of all, if none is named.
    CacheFlush {
        /// The number of the request.
        id: Id,
        /// User names.
        users: Vec<String>,
    },
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The user exists; the fields of the userdb (`uid`, `gid`, `home`, …).
    User(String, Fields),
    /// The user exists; the fields of the passdb.
    Pass(String, Fields),
    /// There is no such user.
    NotFound,
    /// It cannot be told now.
    Fail {
        /// A text for the log of the one who asked.
        reason: Option<String>,
    },
    /// One user of a list.
    Listed(String),
    /// The list is over; whether it is whole.
    ListDone {
        /// Nothing went wrong.
        complete: bool,
    },
    /// So many entries were flushed.
    Flushed(u32),
}

impl Request {
    /// The number that the reply repeats.
    pub fn id(&self) -> Id {
        match self {
            Self::User { id, .. } | Self::Pass { id, .. } | Self::List { id, .. } => *id,
            Self::Login { id, .. } | Self::CacheFlush { id, .. } => *id,
        }
    }

    /// The line, without its newline.
    pub fn line(&self) -> String {
        let mut out;
        match self {
            Self::User { id, user, parameters } | Self::Pass { id, user, parameters } => {
                let command = if matches!(self, Self::User { .. }) { "USER" } else { "PASS" };
                out = format!("{command}\t{id}\t");
                fields::escape(&mut out, user);
                parameters.write(&mut out);
            }
            Self::List { id, mask, parameters } => {
                out = format!("LIST\t{id}");
                if !mask.is_empty() {
                    out.push_str("\tuser=");
                    fields::escape(&mut out, mask);
                }
                parameters.write(&mut out);
            }
            Self::Login { id, client_pid, client_request, cookie, session_pid, wants_token } => {
                out = format!("REQUEST\t{id}\t{client_pid}\t{client_request}\t{}", hex(cookie));
                if let Some(pid) = session_pid {
                    out.push_str(&format!("\tsession_pid={pid}"));
                }
                if *wants_token {
                    out.push_str("\trequest_auth_token");
                }
            }
            Self::CacheFlush { id, users } => {
                out = format!("CACHE-FLUSH\t{id}");
                for user in users {
                    out.push('\t');
                    fields::escape(&mut out, user);
                }
            }
        }
        out
    }

    /// Reads a line of a client; the error is Dovecot's.
    fn parse(line: &str, socket: Socket) -> Result<Self, String> {
        let (command, rest) = line.split_once('\t').unwrap_or((line, ""));
        let full = socket == Socket::Master;
        match command {
            _ if !line.contains('\t') => {}
            "USER" | "PASS" => return lookup(command, rest),
            "LIST" => return list(rest),
            "REQUEST" if full => return login(rest),
            "CACHE-FLUSH" if full => {
                let mut texts = fields::split(rest);
                let id = texts.next().and_then(|id| parse_number(&id)).ok_or("BUG: doveadm sent broken CACHE-FLUSH")?;
                return Ok(Self::CacheFlush { id, users: texts.collect() });
            }
            "CPID" if full => return Err("Authentication client trying to connect to master socket".into()),
            _ => {}
        }
        let name = if full { "master" } else { "userdb" };
        Err(format!("BUG: Unknown command in {name} socket: {}", sanitize(line, 80)))
    }
}

fn lookup(command: &str, rest: &str) -> Result<Request, String> {
    let mut texts = fields::split(rest);
    let id = texts.next().and_then(|id| parse_number(&id));
    let (Some(id), Some(user)) = (id, texts.next()) else {
        return Err(format!("BUG: Master sent broken {command}"));
    };
    let (parameters, _) = parameters(texts);
    if parameters.service.is_empty() {
        return Err(format!("BUG: Master sent {command} request without service"));
    }
    Ok(match command {
        "USER" => Request::User { id, user, parameters },
        _ => Request::Pass { id, user, parameters },
    })
}

fn list(rest: &str) -> Result<Request, String> {
    let mut texts = fields::split(rest);
    let id = texts.next().and_then(|id| parse_number(&id)).ok_or("BUG: Master sent broken LIST")?;
    let (parameters, mask) = parameters(texts);
    Ok(Request::List { id, mask: mask.unwrap_or_default(), parameters })
}

/// The parameters, and the `user=` that only LIST has.
fn parameters(texts: impl Iterator<Item = String>) -> (Box<Parameters>, Option<String>) {
    let (mut parameters, mut mask) = (Box::<Parameters>::default(), None);
    for text in texts {
        let (name, value) = text.split_once('=').unwrap_or((&text, ""));
        if !parameters.set(name, value) && name == "user" {
            mask = Some(value.to_owned());
        }
    }
    (parameters, mask)
}

fn login(rest: &str) -> Result<Request, String> {
    let texts: Vec<String> = fields::split(rest).collect();
    let [id, client_pid, client_request, cookie, rest @ ..] = &texts[..] else {
        return Err("BUG: Master sent broken REQUEST".into());
    };
    let numbers = (parse_number(id), parse_number(client_pid), parse_number(client_request));
    let (Some(id), Some(client_pid), Some(client_request)) = numbers else {
        return Err("BUG: Master sent broken REQUEST".into());
    };
    let cookie = parse_cookie(cookie).ok_or("BUG: Master sent broken REQUEST cookie")?;
    let session_pid = rest.iter().find_map(|text| parse_number(text.strip_prefix("session_pid=")?));
    let wants_token = rest.iter().any(|text| text == "request_auth_token");
    Ok(Request::Login { id, client_pid, client_request, cookie, session_pid, wants_token })
}

impl Reply {
    /// The line, without its newline.
    pub fn line(&self, id: Id) -> String {
        let mut out;
        match self {
            Self::User(user, fields) => {
                out = format!("USER\t{id}\t");
                fields::escape(&mut out, user);
                fields.write(&mut out);
            }
            Self::Pass(user, fields) => {
                out = format!("PASS\t{id}\tuser=");
                fields::escape(&mut out, user);
                fields.write(&mut out);
            }
            Self::NotFound => out = format!("NOTFOUND\t{id}"),
            Self::Fail { reason } => {
                out = format!("FAIL\t{id}");
                if let Some(reason) = reason {
                    out.push_str("\treason=");
                    fields::escape(&mut out, reason);
                }
            }
            Self::Listed(user) => {
                out = format!("LIST\t{id}\t");
                fields::escape(&mut out, user);
            }
            Self::ListDone { complete } => out = format!("DONE\t{id}\t{}", if *complete { "" } else { "fail" }),
            Self::Flushed(count) => out = format!("OK\t{id}\t{count}"),
        }
        out
    }

    fn parse(line: &str) -> Option<(Id, Self)> {
        let mut texts = fields::split(line);
        let command = texts.next()?;
        let id = parse_number(&texts.next()?)?;
        let reply = match command.as_str() {
            "USER" => Self::User(texts.next()?, Fields::parse(texts)),
            "PASS" => {
                let mut fields = Fields::parse(texts);
                let user = fields.get("user")?.to_owned();
                fields.remove("user");
                Self::Pass(user, fields)
            }
            "NOTFOUND" => Self::NotFound,
            "FAIL" => Self::Fail { reason: Fields::parse(texts).get("reason").map(str::to_owned) },
            "LIST" => Self::Listed(texts.next()?),
            "DONE" => Self::ListDone { complete: texts.next().is_none_or(|text| text.is_empty()) },
            "OK" => Self::Flushed(parse_number(&texts.next()?)?),
            _ => return None,
        };
        Some((id, reply))
    }

    /// Whether more may follow for the same request.
    fn is_partial(&self) -> bool {
        matches!(self, Self::Listed(_))
    }
}

/// The server's end. Requests are not tracked: the caller answers each, and what comes too late is the client's to drop.
pub struct Server {
    socket: Socket,
    lines: Lines,
    state: State,
    output: Vec<u8>,
}

#[derive(PartialEq, Eq)]
enum State {
    Version,
    Open,
    Broken,
}

impl Server {
    /// Greets a client; `pid` is ours.
    pub fn new(socket: Socket, pid: u32) -> Self {
        let (major, minor) = MASTER_VERSION;
        Self {
            socket,
            lines: Lines::new(MAX_MASTER_LINE),
            state: State::Version,
            output: format!("VERSION\t{major}\t{minor}\nSPID\t{pid}\n").into_bytes(),
        }
    }

    /// Takes what was read; then drain [`Server::poll`] before reading more.
    pub fn receive(&mut self, bytes: &[u8]) {
        if self.state != State::Broken {
            self.lines.push(bytes);
        }
    }

    /// The next request, or what to log before closing.
    pub fn poll(&mut self) -> Option<Result<Request, Broken>> {
        let request = loop {
            if self.state == State::Broken {
                return None;
            }
            match self.lines.next() {
                Ok(None) => return None,
                Ok(Some(line)) if self.state == State::Version => match version(&line) {
                    Ok(()) => self.state = State::Open,
                    Err(reason) => break Err(reason),
                },
                Ok(Some(line)) => break Request::parse(&line, self.socket),
                Err(_) => break Err(format!("BUG: Master sent us more than {MAX_MASTER_LINE} bytes")),
            }
        };
        if request.is_err() {
            self.state = State::Broken;
        }
        Some(request.map_err(Broken))
    }

    /// Answers; returns the line that was queued, for the debug log.
    pub fn reply(&mut self, id: Id, reply: &Reply) -> String {
        let line = reply.line(id);
        self.output.extend_from_slice(line.as_bytes());
        self.output.push(b'\n');
        line
    }

    /// What is to be written; empty if nothing is.
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }
}

fn version(line: &str) -> Result<(), String> {
    let major = line.strip_prefix("VERSION\t").and_then(|rest| parse_number(rest.split('\t').next()?));
    if major == Some(MASTER_VERSION.0) {
        return Ok(());
    }
    Err("Master not compatible with this server (mixed old and new binaries?)".into())
}

/// The client's end.
pub struct Client {
    lines: Lines,
    next: Id,
    broken: bool,
    greeted: bool,
    /// Requests in progress.
    requests: BTreeSet<Id>,
    output: Vec<u8>,
}

impl Default for Client {
    fn default() -> Self {
        let (major, minor) = MASTER_VERSION;
        Self {
            // A server's lines are not limited by Dovecot; ours have room for every field that a user may have.
            lines: Lines::new(MAX_CLIENT_LINE),
            next: 1,
            broken: false,
            greeted: false,
            requests: BTreeSet::new(),
            output: format!("VERSION\t{major}\t{minor}\n").into_bytes(),
        }
    }
}

impl Client {
    /// Sends what `request` makes of a fresh number; `None` while [`MAX_REQUESTS`] are in progress, or if the line would
    /// be longer than a server accepts.
    pub fn request(&mut self, request: impl FnOnce(Id) -> Request) -> Option<Id> {
        let request = request(self.next);
        let (id, line) = (request.id(), request.line());
        if self.requests.len() >= MAX_REQUESTS || line.len() >= MAX_MASTER_LINE {
            return None;
        }
        self.next = self.next.checked_add(1).unwrap_or(1);
        self.requests.insert(id);
        self.output.extend_from_slice(line.as_bytes());
        self.output.push(b'\n');
        Some(id)
    }

    /// Takes what was read; then drain [`Client::poll`] before reading more.
    pub fn receive(&mut self, bytes: &[u8]) {
        if !self.broken {
            self.lines.push(bytes);
        }
    }

    /// The next reply, or what to log before closing.
    pub fn poll(&mut self) -> Option<Result<(Id, Reply), Broken>> {
        while !self.broken {
            let handled = match self.lines.next() {
                Ok(None) => return None,
                Ok(Some(line)) => self.line(&line),
                Err(_) => Err(format!("BUG: Received more than {MAX_CLIENT_LINE} bytes")),
            };
            match handled {
                Ok(None) => {}
                Ok(Some(reply)) => return Some(Ok(reply)),
                Err(reason) => {
                    self.broken = true;
                    return Some(Err(Broken(reason)));
                }
            }
        }
        None
    }

    /// What is to be written; empty if nothing is.
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    /// The requests without a final reply: they fail for now if the connection is lost.
    pub fn pending(&self) -> impl Iterator<Item = Id> {
        self.requests.iter().copied()
    }

    fn line(&mut self, line: &str) -> Result<Option<(Id, Reply)>, String> {
        if !self.greeted {
            version(line).map_err(|_| "Auth server not compatible with this client (mixed old and new binaries?)")?;
            self.greeted = true;
            return Ok(None);
        }
        if line.starts_with("SPID\t") {
            return Ok(None);
        }
        if line.starts_with("MECH\t") {
            return Err("This is an auth client socket. It should be a master socket.".into());
        }
        let (id, reply) = Reply::parse(line).ok_or_else(|| format!("BUG: Unexpected input: {}", sanitize(line, 80)))?;
        let known = if reply.is_partial() { self.requests.contains(&id) } else { self.requests.remove(&id) };
        Ok(Some((id, reply)).filter(|_| known))
    }
}
