//! The dialogue with a client: bytes to the machine, and what it wants done.

use std::time::Duration;

use ipc_messages::auth::ToAuth;
use proto_imap::limits;
use proto_imap::login::{Action, Login};
use worker::{ConnId, Cx, Hub};

use crate::{AUTH_WARNING, Auth, ImapLogin};

impl ImapLogin {
    /// Begins the dialogue, once auth has spoken and the handshake is done.
    pub(crate) fn greet(&mut self, cx: &mut Cx<()>, conn: ConnId) {
        let now = self.now(cx);
        let Some(client) = self.clients.get_mut(&conn).filter(|client| client.login.is_none() && client.is_ready())
        else {
            return;
        };
        let mechanisms: &[String] = match &self.auth {
            Auth::Unknown => return,
            Auth::Broken => &[],
            Auth::Offers(names) => names,
        };
        let settings = self.settings.login(mechanisms, &client.facts(None));
        let mut login = Login::new(settings, cx.is_tls(conn), client.trusted, now);
        if self.auth == Auth::Broken {
            login.sent(login.output().len());
            let action = login.auth_broken();
            client.login = Some(login);
            return self.act(cx, conn, action);
        }
        client.history.auth_is_ready();
        client.login = Some(login);
        self.process(cx, conn);
    }

    /// Reads what has come, up to what needs somebody else.
    pub(crate) fn process(&mut self, cx: &mut Cx<()>, conn: ConnId) {
        let now = self.now(cx);
        let seconds = self.seconds(cx);
        let Some(client) = self.clients.get_mut(&conn) else { return };
        let Some(login) = &mut client.login else { return };
        let (read, action) = login.process(cx.input(conn), now);
        cx.consume(conn, read);
        if let Some(refused) = login.take_refused() {
            client.history.refused(&refused, seconds);
        }
        match action {
            Some(action) => self.act(cx, conn, action),
            None => self.send(cx, conn),
        }
    }

    /// Sends what the machine has written, and sets the time at which it wants to be asked again.
    pub(crate) fn send(&mut self, cx: &mut Cx<()>, conn: ConnId) {
        let now = self.now(cx).monotonic_ms;
        let Some(login) = self.clients.get_mut(&conn).and_then(|client| client.login.as_mut()) else { return };
        cx.write(conn, login.output());
        login.sent(login.output().len());
        let wait = match login.deadline() {
            // While auth is asked.
            u64::MAX => Duration::from_secs(limits::LOGIN_SECONDS),
            at => Duration::from_millis(at.saturating_sub(now)),
        };
        cx.deadline(conn, Some(wait));
    }

    /// Does what the machine wants.
    pub(crate) fn act(&mut self, cx: &mut Cx<()>, conn: ConnId, action: Action) {
        self.send(cx, conn);
        match action {
            Action::Authenticate { mechanism, initial } => {
                self.next_exchange = self.next_exchange.wrapping_add(1);
                let corr = self.next_exchange;
                let seconds = self.seconds(cx);
                let Some(client) = self.clients.get_mut(&conn) else { return };
                client.exchange = Some(corr);
                client.history.asked(&mechanism, seconds);
                let origin = client.origin();
                self.exchanges.insert(corr, conn);
                let initial = initial.map(|initial| initial.to_vec());
                self.ask(cx, corr, &ToAuth::Start { corr, mechanism, initial, origin });
            }
            Action::Respond(data) => {
                let Some(client) = self.clients.get_mut(&conn) else { return };
                client.history.challenged(false);
                if let Some(corr) = client.exchange {
                    self.ask(cx, corr, &ToAuth::Continue { corr, data: data.to_vec() });
                }
            }
            Action::Cancel => {
                if let Some(client) = self.clients.get_mut(&conn) {
                    client.history.cancelled();
                }
                self.cancel(cx, conn);
                self.process(cx, conn);
            }
            Action::StartTls => {
                cx.take_input(conn);
                self.start_tls(cx, conn);
            }
            Action::Close => {
                let login = self.clients.get(&conn).and_then(|client| client.login.as_ref());
                let reason = reason(login.and_then(Login::farewell).unwrap_or_default());
                self.end(cx, conn, reason);
            }
        }
    }

    /// Asks auth; when it is not there, the exchange fails for now.
    fn ask(&mut self, cx: &mut Cx<()>, corr: u32, question: &ToAuth) {
        let sent = cx.hub(Hub::Auth).is_some_and(|hub| cx.send(hub, question, Vec::new()).is_ok());
        if !sent {
            self.exchange_lost(cx, corr);
        }
    }

    /// Gives an exchange up, if there is one.
    pub(crate) fn cancel(&mut self, cx: &mut Cx<()>, conn: ConnId) {
        let Some(corr) = self.clients.get_mut(&conn).and_then(|client| client.exchange.take()) else { return };
        self.exchanges.remove(&corr);
        if let Some(hub) = cx.hub(Hub::Auth)
            && cx.send(hub, &ToAuth::Cancel { corr }, Vec::new()).is_err()
        {
            // It does not read: its answers are not waited for any more.
            cx.drop_peer(hub);
        }
    }

    /// The time of a connection has come.
    pub(crate) fn out_of_time(&mut self, cx: &mut Cx<()>, conn: ConnId) {
        let now = self.now(cx);
        let Some(client) = self.clients.get_mut(&conn) else { return };
        let Some(login) = &mut client.login else {
            return self.still_waiting(cx, conn);
        };
        if client.exchange.is_some() && login.deadline() == u64::MAX {
            cx.write(conn, b"* BYE Disconnected for inactivity during authentication.\r\n");
            return self.end(cx, conn, "Inactivity during authentication");
        }
        match login.tick(now) {
            Some(action) => self.act(cx, conn, action),
            None => self.send(cx, conn),
        }
    }

    /// A client that is not greeted: auth is not there, or its handshake goes on.
    fn still_waiting(&mut self, cx: &mut Cx<()>, conn: ConnId) {
        let Some(client) = self.clients.get_mut(&conn) else { return };
        if client.told_to_wait {
            if client.is_ready() {
                cx.write(conn, b"* BYE Disconnected for inactivity.\r\n");
            }
            return self.end(cx, conn, "Inactivity");
        }
        client.told_to_wait = true;
        if client.is_ready() {
            cx.write(conn, b"* OK Waiting for authentication process to respond..\r\n");
            slog::warn!(cx.log(), "Auth process not responding, delayed sending initial response (greeting)");
        }
        cx.deadline(conn, Some(Duration::from_secs(limits::LOGIN_SECONDS) - AUTH_WARNING));
    }
}

/// What is logged for what a client was told at the end.
fn reason(farewell: &str) -> &str {
    match farewell {
        "Logging out" => "Aborted login by logging out",
        "Too many invalid IMAP commands." => "Too many invalid commands",
        "Input buffer full, aborting" => "Input buffer full",
        "Disconnected for inactivity." => "Inactivity",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use proto_imap::login::{Settings, Tls};
    use proto_imap::session::Now;

    use super::*;

    /// What the machine says and what is logged belong together; recorded from Dovecot 2.3.19.
    #[test]
    fn every_end_has_its_reason() {
        for (input, expected) in [
            (&b"a LOGOUT\r\n"[..], "Aborted login by logging out"),
            (b"x\r\nx\r\nx\r\n", "Too many invalid commands"),
            (b"a LOGIN u {100000}\r\n", "Literal size too large"),
            (&[b'x'; 20_000], "Input buffer full"),
        ] {
            let settings = Settings {
                greeting: String::new(),
                mechanisms: Vec::new(),
                disable_plaintext: false,
                tls: Tls::No,
                id: Vec::new(),
            };
            let mut login = Login::new(settings, false, false, Now { unix: 0, monotonic_ms: 0 });
            let (_, action) = login.process(input, Now { unix: 0, monotonic_ms: 0 });
            assert_eq!(action, Some(Action::Close));
            assert_eq!(reason(login.farewell().unwrap()), expected);
        }
    }
}
