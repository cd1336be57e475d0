//! AUTH (RFC 4954) of the client: the caller runs the mechanism.

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{Action, Client, Failure, State, Step};
use crate::reply::{Received, Status};

impl Client {
    /// Begins a mechanism, with its initial response if it has one.
    ///
    /// # Panics
    /// If [`Action::Authenticate`] was not handed out.
    pub fn auth_start(&mut self, mechanism: &str, initial: Option<&[u8]>) {
        self.expect_authentication();
        let initial = match initial {
            None => String::new(),
            Some([]) => " =".into(),
            Some(response) => format!(" {}", STANDARD.encode(response)),
        };
        self.command(&format!("AUTH {mechanism}{initial}"));
        self.state = State::Handshake(Step::Auth);
    }

    /// None of the mechanisms will do; goes on without.
    ///
    /// # Panics
    /// If [`Action::Authenticate`] was not handed out.
    pub fn auth_skip(&mut self) {
        self.expect_authentication();
        self.authenticated = true;
        self.state = State::Ready;
        self.actions.push_back(Action::Ready);
    }

    /// Answers a challenge.
    ///
    /// # Panics
    /// If [`Action::Challenge`] was not handed out.
    pub fn auth_respond(&mut self, response: &[u8]) {
        self.expect_authentication();
        self.command(&STANDARD.encode(response));
        self.state = State::Handshake(Step::Auth);
    }

    /// Gives the exchange up; the server's reply ends the session.
    ///
    /// # Panics
    /// If [`Action::Challenge`] was not handed out.
    pub fn auth_cancel(&mut self) {
        self.expect_authentication();
        self.command("*");
        self.state = State::Handshake(Step::Auth);
    }

    fn expect_authentication(&self) {
        assert!(matches!(self.state, State::Authenticating), "no authentication now: {:?}", self.state);
    }

    pub(super) fn auth_reply(&mut self, reply: &Received) {
        match reply.code / 100 {
            2 => {
                self.authenticated = true;
                self.state = State::Ready;
                self.actions.push_back(Action::Ready);
            }
            3 => {
                let challenge = reply.lines.last().map_or("", |line| line.trim());
                match STANDARD.decode(challenge) {
                    Ok(challenge) => {
                        self.state = State::Authenticating;
                        self.actions.push_back(Action::Challenge(challenge));
                    }
                    Err(_) => {
                        let reason = "SASL authentication failed; cannot decode the challenge".to_owned();
                        let server = &self.config.server;
                        let failure = Failure::local(Status::new(4, 7, 0), format!("{reason} of server {server}"));
                        self.fail(failure);
                    }
                }
            }
            _ => {
                let server = &self.config.server;
                let reason = format!("SASL authentication failed; server {server} said: {}", reply.text);
                let failure = Failure { status: reply.status, reason, reply: Some(reply.text.clone()) };
                self.fail(failure);
            }
        }
    }
}
