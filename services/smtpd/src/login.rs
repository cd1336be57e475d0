//! AUTH: the exchange between a client and the authentication server, and who waits for that server.

use std::sync::Arc;

use proto_smtp::server::{Answer, Config as SessionConfig};
use worker::{ConnId, Cx};

use crate::Smtpd;
use crate::client::{Asked, Client};
use crate::config::Config;
use crate::sasl::{self, Happened, Sasl, Who};

/// What the log says when there is nobody to say what mechanisms there are.
pub(crate) const NO_MECHANISMS: &str = "no SASL authentication mechanisms";

/// The settings of sessions, with the mechanisms that the authentication server offers.
pub(crate) fn session_config(config: &Config, sasl: &Sasl) -> Arc<SessionConfig> {
    Arc::new(config.session(&sasl.mechanisms))
}

/// What the authentication server is told of a client.
pub(crate) fn who<'a>(config: &'a Config, client: &Client) -> Option<Who<'a>> {
    let (remote, local) = (client.remote.map(|(remote, _)| remote), client.remote.map(|(_, local)| local));
    let service = &config.sasl.as_ref()?.service;
    Some(Who { service, tls: client.secured.is_some(), remote, local })
}

fn unavailable() -> Answer {
    Answer::AuthUnavailable { reason: "Connection lost to authentication server".into(), user: None }
}

impl Smtpd {
    /// Begins an exchange.
    pub(crate) fn auth(
        &mut self,
        cx: &mut Cx<()>,
        conn: ConnId,
        client: &mut Client,
        mechanism: String,
        initial: Option<&[u8]>,
    ) {
        let Some(who) = who(&self.config, client) else { return client.session.answer(unavailable()) };
        let started = self.sasl.start(conn, &mechanism, initial, &who);
        client.mechanism = mechanism;
        pass_on(cx, client, started);
    }

    /// The client has answered a challenge.
    pub(crate) fn auth_continue(&mut self, cx: &mut Cx<()>, conn: ConnId, client: &mut Client, response: &[u8]) {
        let proceeded = self.sasl.proceed(conn, Some(response));
        pass_on(cx, client, proceeded);
    }

    /// The client has given up, or is gone.
    pub(crate) fn cancel_auth(&mut self, cx: &mut Cx<()>, conn: ConnId) {
        if let Some((to, bytes)) = self.sasl.proceed(conn, None) {
            cx.write(to, &bytes);
        }
    }

    /// The authentication server has said something, or is gone.
    pub(crate) fn authenticated(&mut self, cx: &mut Cx<()>, happened: Happened) {
        match happened {
            Happened::Ready => {
                self.renew_session_config();
                self.begin_all(cx);
            }
            Happened::Answer(conn, answer) => {
                let answer = match answer {
                    sasl::Answer::Challenge(challenge) => Answer::Challenge(challenge),
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
                self.arrive_without_mechanisms(cx);
            }
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

    fn begin_all(&mut self, cx: &mut Cx<()>) {
        let all: Vec<ConnId> = self.arriving.keys().copied().collect();
        for conn in all {
            self.begin(cx, conn);
        }
    }

    /// As Postfix, which serves nobody to whom it would announce AUTH without its mechanisms: a client would take the missing
    /// AUTH for an answer. Where AUTH needs TLS, a client in clear is served.
    fn arrive_without_mechanisms(&mut self, cx: &mut Cx<()>) {
        let arriving = self.arriving.iter().filter(|(_, arriving)| !arriving.handshaking);
        let in_clear = |secured: bool| self.config.tls_auth_only && !secured;
        let arriving: Vec<(ConnId, bool)> =
            arriving.map(|(conn, arriving)| (*conn, in_clear(arriving.secured.is_some()))).collect();
        if arriving.iter().any(|(_, served)| !served) {
            slog::crit!(cx.log(), "{NO_MECHANISMS}");
        }
        for (conn, served) in arriving {
            if served {
                self.greet(cx, conn, true);
            } else {
                self.turn_back(cx, conn);
                cx.abort(conn);
            }
        }
    }
}

/// Sends on what a step of the exchange made, and has the client wait for the answer.
fn pass_on(cx: &mut Cx<()>, client: &mut Client, step: Option<(ConnId, Vec<u8>)>) {
    match step {
        Some((to, bytes)) => {
            cx.write(to, &bytes);
            client.asked = Some(Asked::Auth);
        }
        None => client.session.answer(unavailable()),
    }
}
