//! The authentication server, ours or a real Dovecot's: one connection for all sessions of this process, made by the
//! master's connector and made again when it is lost.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use proto_sasl::dovecot::client::{Client, Event};
use proto_sasl::dovecot::server::FailCode;
use proto_sasl::dovecot::{Parameters, Secured};
use worker::ConnId;

/// The state of the connection.
#[derive(Default)]
enum State {
    /// None, and nobody has asked for one.
    #[default]
    Closed,
    /// The connector was asked.
    Asked,
    /// The server has not finished its greeting.
    Greeting(ConnId, Box<Client>),
    /// Requests can be made.
    Open(ConnId, Box<Client>),
}

/// The connection, and whose requests are in progress.
#[derive(Default)]
pub struct Sasl {
    state: State,
    requests: BTreeMap<u32, ConnId>,
    /// What the server offers: names and properties.
    pub mechanisms: Vec<(String, Vec<String>)>,
}

/// What a server said about one session.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// Send this challenge.
    Challenge(Vec<u8>),
    /// Logged in under this name.
    Ok(String),
    /// Not logged in: why, the name, and whether trying again may help.
    Failed {
        /// For the log and the client.
        reason: String,
        /// The name, as far as the server tells it.
        user: Option<String>,
        /// The server could not say.
        temporary: bool,
    },
}

/// What happened on the connection.
#[derive(Debug, PartialEq, Eq)]
pub enum Happened {
    /// It is ready: mechanisms are known.
    Ready,
    /// An answer for this session.
    Answer(ConnId, Answer),
    /// It is lost, for this reason; these sessions get no answer.
    Lost(String, Vec<ConnId>),
}

impl Sasl {
    /// Whether requests can be made.
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Open(..))
    }

    /// Whether the connector must be asked for a connection; it is taken for asked from then on.
    pub fn wants_connection(&mut self) -> bool {
        let wants = matches!(self.state, State::Closed);
        if wants {
            self.state = State::Asked;
        }
        wants
    }

    /// Whether `conn` is this connection.
    pub fn is(&self, conn: ConnId) -> bool {
        matches!(&self.state, State::Greeting(id, _) | State::Open(id, _) if *id == conn)
    }

    /// The connection is there. Returns the greeting to send.
    pub fn connected(&mut self, conn: ConnId, pid: u32) -> Vec<u8> {
        let mut client = Box::new(Client::new(pid));
        let greeting = client.take_output().to_vec();
        self.state = State::Greeting(conn, client);
        greeting
    }

    /// The connection could not be made, or is gone.
    pub fn lost(&mut self) -> Vec<ConnId> {
        self.state = State::Closed;
        std::mem::take(&mut self.requests).into_values().collect()
    }

    /// Bytes from the server.
    pub fn input(&mut self, bytes: &[u8]) -> Vec<Happened> {
        let mut happened = Vec::new();
        let (State::Greeting(_, client) | State::Open(_, client)) = &mut self.state else { return happened };
        client.receive(bytes);
        while let Some(event) = match &mut self.state {
            State::Greeting(_, client) | State::Open(_, client) => client.poll(),
            State::Closed | State::Asked => None,
        } {
            happened.extend(self.event(event));
        }
        happened
    }

    fn event(&mut self, event: Event) -> Option<Happened> {
        match event {
            Event::Ready(handshake) => {
                self.mechanisms = handshake.mechanisms;
                if let State::Greeting(conn, client) = std::mem::take(&mut self.state) {
                    self.state = State::Open(conn, client);
                }
                Some(Happened::Ready)
            }
            Event::Continue(id, challenge) => {
                Some(Happened::Answer(*self.requests.get(&id)?, Answer::Challenge(challenge)))
            }
            Event::Ok { id, user, .. } => Some(Happened::Answer(self.requests.remove(&id)?, Answer::Ok(user))),
            Event::Fail { id, code, fields } => {
                let reason = fields.get("reason").unwrap_or("(reason unavailable)").to_string();
                let user = fields.get("user").map(str::to_string);
                let temporary = code == Some(FailCode::TemporaryFailure);
                Some(Happened::Answer(self.requests.remove(&id)?, Answer::Failed { reason, user, temporary }))
            }
            Event::Broken(broken) => Some(Happened::Lost(broken.0, self.lost())),
        }
    }

    /// Begins an exchange for a session. Returns the connection and what to send on it.
    pub fn start(
        &mut self,
        session: ConnId,
        mechanism: &str,
        initial: Option<&[u8]>,
        who: &Who<'_>,
    ) -> Option<(ConnId, Vec<u8>)> {
        let State::Open(conn, client) = &mut self.state else { return None };
        let parameters = Parameters {
            service: who.service.to_string(),
            no_login: true,
            secured: if who.tls { Secured::Tls } else { Secured::No },
            local_ip: who.local.map(|address| address.ip()),
            remote_ip: who.remote.map(|address| address.ip()),
            local_port: who.local.map(|address| address.port()),
            remote_port: who.remote.map(|address| address.port()),
            ..Parameters::default()
        };
        let id = client.authenticate(mechanism, &parameters, initial)?;
        self.requests.insert(id, session);
        Some((*conn, client.take_output().to_vec()))
    }

    /// The client's next answer, or `None` when it gave up.
    pub fn proceed(&mut self, session: ConnId, response: Option<&[u8]>) -> Option<(ConnId, Vec<u8>)> {
        let id = self.requests.iter().find(|(_, conn)| **conn == session).map(|(id, _)| *id)?;
        let State::Open(conn, client) = &mut self.state else { return None };
        match response {
            Some(response) => client.proceed(id, response),
            None => {
                client.cancel(id);
                self.requests.remove(&id);
            }
        }
        Some((*conn, client.take_output().to_vec()))
    }
}

/// Who logs in to what.
#[derive(Debug, Clone, Copy)]
pub struct Who<'a> {
    /// `smtpd_sasl_service`
    pub service: &'a str,
    /// Whether the connection is under TLS.
    pub tls: bool,
    /// The client.
    pub remote: Option<SocketAddr>,
    /// Our end.
    pub local: Option<SocketAddr>,
}
