//! The flow of a session: what comes from the client goes to the protocol, what the protocol wants is done or asked.

use proto_smtp::reply::Reply;
use proto_smtp::server::{Action, Answer, Level, Question};
use worker::{ConnId, Cx, Secured};

use crate::Smtpd;
use crate::client::{Asked, Client};
use crate::config::Config;
use crate::login::{self, NO_MECHANISMS};
use crate::policy::Answers;

impl Smtpd {
    /// Lets a session do what it can.
    pub(crate) fn drive(&mut self, cx: &mut Cx<()>, conn: ConnId) {
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
                    client.handshaking = true;
                    cx.deadline(conn, Some(self.config.tls_timeout));
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

    /// Decides about a question that is counted, or that nobody counts.
    pub(crate) fn decide_counted(&mut self, cx: &mut Cx<()>, conn: ConnId, client: &mut Client, question: Question) {
        match question {
            Question::Connect
            | Question::Helo { .. }
            | Question::Mail { .. }
            | Question::Rcpt { .. }
            | Question::Data
            | Question::Vrfy(_)
            | Question::Etrn(_) => self.check(cx, conn, client, question, Answers::default()),
            question => self.permitted(cx, conn, client, question),
        }
    }

    /// No restriction is against it: the question is answered, or waits for whom it concerns.
    pub(crate) fn permitted(&mut self, cx: &mut Cx<()>, conn: ConnId, client: &mut Client, question: Question) {
        let answer = match question {
            Question::Connect | Question::Helo { .. } => Answer::Accept,
            Question::Mail { sender, parameters } => {
                client.mail(sender, parameters);
                Answer::Accept
            }
            Question::Rcpt { recipient, parameters, .. } => {
                return self.recipient(cx, conn, client, recipient, Box::new(parameters));
            }
            Question::Data => {
                self.begin_content(client);
                Answer::Accept
            }
            Question::EndOfMessage { .. } => return self.end_of_message(client),
            // As Postfix does where it cannot say more: the address is taken, and nothing is promised.
            Question::Vrfy(address) => Answer::Reply(Reply::new(252, &format!("2.0.0 {}", address.quoted()))),
            Question::Etrn(domain) => {
                // No domain is in `fast_flush_domains`: that is not built.
                slog::warn!(cx.log(), "reject: ETRN {domain:.100}... from {}", client.label());
                Answer::Reply(Reply::new(459, &format!("<{domain}>: service unavailable")))
            }
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

    /// The session has ended.
    pub(crate) fn over(&mut self, cx: &mut Cx<()>, conn: ConnId, mut client: Client) {
        self.abandon(&mut client);
        if matches!(client.asked, Some(Asked::Auth)) {
            self.cancel_auth(cx, conn);
        }
        self.queries.retain(|_, other| *other != conn);
        if let Some(address) = client.address().filter(|_| client.counts.is_some()) {
            self.uncount(cx, address);
        }
        let session = &client.session;
        slog::info!(cx.log(), "disconnect from {} {}{}", client.label(), session.statistics(), session.notes());
    }

    /// TLS is up, after STARTTLS.
    pub(crate) fn secured_session(&mut self, cx: &mut Cx<()>, conn: ConnId, how: Secured) {
        let Some(mut client) = self.clients.remove(&conn) else { return };
        if client.without_auth {
            // In TLS it expects AUTH. The mechanisms may be known to whoever comes next.
            slog::crit!(cx.log(), "{NO_MECHANISMS}");
            self.clients.insert(conn, client);
            self.lost(cx, conn, None);
            return cx.abort(conn);
        }
        if let Some(line) = tls_line(&self.config, client.label(), &how) {
            log(cx, Level::Info, &line);
        }
        cx.deadline(conn, Some(self.config.timeout));
        (client.handshaking, client.secured) = (false, Some(how));
        client.session.tls_started();
        self.count_tls(cx, conn, &mut client);
        self.clients.insert(conn, client);
        self.drive(cx, conn);
    }

    /// The connection is gone.
    pub(crate) fn lost(&mut self, cx: &mut Cx<()>, conn: ConnId, tls_error: Option<&str>) {
        let Some(mut client) = self.clients.remove(&conn) else { return };
        if let Some(error) = tls_error {
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

    /// The settings of sessions to come have changed, or the mechanisms have.
    pub(crate) fn renew_session_config(&mut self) {
        self.session_config = login::session_config(&self.config, &self.sasl);
    }
}

/// Writes a line of a session to the log.
pub(crate) fn log(cx: &Cx<()>, level: Level, line: &str) {
    match level {
        Level::Info => slog::info!(cx.log(), "{line}"),
        Level::Warning => slog::warn!(cx.log(), "{line}"),
    }
}

/// Postfix's line about a handshake, where `smtpd_tls_loglevel` wants it.
pub(crate) fn tls_line(config: &Config, label: &str, how: &Secured) -> Option<String> {
    let Secured { protocol, cipher, bits, .. } = how;
    config.tls_log.then(|| {
        format!(
            "Anonymous TLS connection established from {label}: {protocol} with cipher {cipher} ({bits}/{bits} bits)"
        )
    })
}
