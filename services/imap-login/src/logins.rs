//! What `auth` says: challenges, refusals, and logins, whose clients are handed over.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use ipc_jail::sys::local_time;
use ipc_messages::anvil::{FromAnvil, ToAnvil};
use ipc_messages::auth::{Failure, FromAuth};
use ipc_messages::handoff::Handoff;
use proto_imap::login::Rejection;
use worker::{ConnId, Cx, Hub};

use crate::client::{Client, Protection};
use crate::passing::Passed;
use crate::{Auth, ImapLogin};

/// Clients that wait for their hand-over at a time; one more fails for now.
const MAX_READY: usize = 128;
/// Bytes that a hand-off may carry behind the login. A client that has sent more keeps this process between itself and its
/// session, which then reads them in their turn.
const MAX_INPUT: usize = 2048;

/// A login whose client waits until there is room to hand it over.
pub(crate) struct Ready {
    conn: ConnId,
    user: String,
    ticket: [u8; 16],
    inbox: OwnedFd,
}

impl ImapLogin {
    pub(crate) fn auth_says(&mut self, cx: &mut Cx<()>, answer: FromAuth, fds: Vec<OwnedFd>) {
        match answer {
            FromAuth::Mechanisms { names, broken } => {
                self.auth = if broken { Auth::Broken } else { Auth::Offers(names) };
                let waiting: Vec<ConnId> = self.clients.keys().copied().collect();
                waiting.into_iter().for_each(|conn| self.greet(cx, conn));
            }
            FromAuth::Challenge { corr, data } => {
                let Some(conn) = self.exchanges.get(&corr).copied() else { return };
                let Some(client) = self.clients.get_mut(&conn) else { return };
                client.history.challenged(true);
                if let Some(login) = &mut client.login {
                    login.challenge(&data);
                }
                self.process(cx, conn);
            }
            FromAuth::Failed { corr, failure, user, reason } => {
                let Some(conn) = self.take_exchange(corr) else { return };
                self.failed(cx, conn, failure, user.as_deref(), reason);
            }
            FromAuth::Refused { corr, user, error } => {
                let Some(conn) = self.take_exchange(corr) else { return };
                self.refused(cx, conn, &user, &error);
            }
            FromAuth::Succeeded { corr, user, ticket, .. } => {
                let Some(inbox) = fds.into_iter().next() else {
                    return slog::error!(cx.log(), "auth sent a ticket without an inbox");
                };
                // The client may have left meanwhile: the ticket expires.
                let Some(conn) = self.take_exchange(corr) else { return };
                self.count_sessions(cx, corr, Ready { conn, user, ticket, inbox });
            }
            FromAuth::Redeemed { .. } | FromAuth::Found { .. } => {
                slog::error!(cx.log(), "auth answered what was not asked");
            }
        }
    }

    fn take_exchange(&mut self, corr: u32) -> Option<ConnId> {
        let conn = self.exchanges.remove(&corr)?;
        self.clients.get_mut(&conn)?.exchange = None;
        Some(conn)
    }

    /// Auth is gone: what it worked on fails for now.
    pub(crate) fn auth_lost(&mut self, cx: &mut Cx<()>) {
        let lost: Vec<u32> = self.exchanges.keys().copied().collect();
        lost.into_iter().for_each(|corr| self.exchange_lost(cx, corr));
    }

    pub(crate) fn exchange_lost(&mut self, cx: &mut Cx<()>, corr: u32) {
        if let Some(conn) = self.take_exchange(corr) {
            self.failed(cx, conn, Failure::Temporary, None, None);
        }
    }

    fn failed(&mut self, cx: &mut Cx<()>, conn: ConnId, failure: Failure, user: Option<&str>, reason: Option<String>) {
        let rejection = self.rejection(cx, failure, reason);
        let Some(client) = self.clients.get_mut(&conn) else { return };
        client.history.failed(failure, user);
        if let Some(login) = &mut client.login {
            login.rejected(&rejection);
        }
        self.process(cx, conn);
    }

    /// The words for the client.
    fn rejection(&self, cx: &Cx<()>, failure: Failure, reason: Option<String>) -> Rejection {
        let coded =
            |code: &str, text: &str| Rejection::Reason(format!("[{code}] {}", reason.as_deref().unwrap_or(text)));
        match failure {
            Failure::Temporary | Failure::Broken => {
                let time = local_time(self.now(cx).unix);
                let time = format!(
                    "{:04}-{:02}-{:02} {:02}:{:02}:{:02}",
                    time.year,
                    time.month + 1,
                    time.day,
                    time.hour,
                    time.minute,
                    time.second
                );
                Rejection::Temporary { host: self.host.clone(), time }
            }
            Failure::Authorization => coded("AUTHORIZATIONFAILED", "Authorization failed"),
            Failure::Expired => coded("EXPIRED", "Authentication failed."),
            Failure::Barred => match reason {
                Some(reason) => Rejection::Reason(reason),
                None => coded("CONTACTADMIN", "Login disabled for this user"),
            },
            Failure::Mechanism => Rejection::Reason("Unsupported authentication mechanism.".into()),
            Failure::Credentials | Failure::Disabled | Failure::Malformed => match reason {
                Some(reason) => Rejection::Reason(reason),
                None => Rejection::Failed,
            },
        }
    }

    /// The password is right, but no process can act for the account: Dovecot logs the login, then why its process could
    /// not go on, and the client gets its tag back before it is told goodbye.
    fn refused(&mut self, cx: &mut Cx<()>, conn: ConnId, user: &str, error: &str) {
        let Some(mut client) = self.clients.remove(&conn) else { return };
        client.history.succeeded(user);
        let pid = std::process::id();
        let mut facts = client.facts(None);
        facts.mail_pid = Some(pid);
        slog::info!(cx.log(), "{}", self.settings.format.line("Login", &facts));
        slog::error!(cx.log_as(format!("imap({pid})")), "{error}");
        if let Some(login) = &mut client.login {
            let mut text = login.authenticated();
            text.extend_from_slice(b" OK Logged in, but initialization failed.\r\n");
            cx.write(conn, &text);
            // Its only action is to close.
            let _ = login.internal_error();
            cx.write(conn, login.output());
        }
        cx.close(conn);
    }

    /// Asks how many sessions the user has from this address, if there is a limit and somebody who counts.
    fn count_sessions(&mut self, cx: &mut Cx<()>, corr: u32, ready: Ready) {
        let client = self.clients.get(&ready.conn).filter(|_| self.settings.max_sessions > 0);
        let (Some(client), Some(anvil)) = (client, cx.hub(Hub::Anvil)) else { return self.logged_in(cx, ready) };
        let (user, address) = (ready.user.clone(), client.remote.ip());
        let question = ToAnvil::Sessions { corr, service: "imap".into(), user, address };
        if cx.send(anvil, &question, Vec::new()).is_err() {
            cx.drop_peer(anvil);
        }
        self.counting.insert(corr, ready);
    }

    pub(crate) fn anvil_says(&mut self, cx: &mut Cx<()>, answer: FromAnvil) {
        let FromAnvil::Sessions { corr, count } = answer else {
            return slog::error!(cx.log(), "anvil answered what was not asked");
        };
        let Some(ready) = self.counting.remove(&corr) else { return };
        match u64::from(count) < self.settings.max_sessions {
            true => self.logged_in(cx, ready),
            false => self.too_many(cx, ready),
        }
    }

    /// Nobody counts any more: whoever waited for it gets in.
    pub(crate) fn anvil_lost(&mut self, cx: &mut Cx<()>) {
        let counting: Vec<Ready> = self.counting.drain().map(|(_, ready)| ready).collect();
        counting.into_iter().for_each(|ready| self.logged_in(cx, ready));
    }

    /// The user has as many sessions from this address as it may have; words and log line are Dovecot's.
    fn too_many(&mut self, cx: &mut Cx<()>, Ready { conn, user, .. }: Ready) {
        let Some(mut client) = self.clients.remove(&conn) else { return };
        let limit = self.settings.max_sessions;
        let text = format!("Maximum number of connections from user+IP exceeded (mail_max_userip_connections={limit})");
        client.history.succeeded(&user);
        let event = format!("Disconnected: {text}");
        slog::info!(cx.log(), "{}", self.settings.format.line(&event, &client.facts(None)));
        if let Some(login) = &mut client.login {
            login.rejected(&Rejection::Reason(format!("[LIMIT] {text}")));
            cx.write(conn, login.output());
        }
        cx.close(conn);
    }

    /// A client goes to its mailbox process, or waits for those before it.
    fn logged_in(&mut self, cx: &mut Cx<()>, ready: Ready) {
        if !self.passings.is_full() {
            self.hand_over(cx, ready);
        } else if self.ready.len() < MAX_READY {
            self.ready.push_back(ready);
        } else {
            slog::error!(cx.log(), "Too many clients wait for their mailbox processes, failing one for now");
            self.failed(cx, ready.conn, Failure::Temporary, Some(&ready.user), None);
        }
    }

    /// Goes on with those who wait.
    pub(crate) fn hand_over_waiting(&mut self, cx: &mut Cx<()>) {
        while !self.passings.is_full() {
            let Some(ready) = self.ready.pop_front() else { return };
            self.hand_over(cx, ready);
        }
    }

    fn hand_over(&mut self, cx: &mut Cx<()>, Ready { conn, user, ticket, inbox }: Ready) {
        let seconds = self.seconds(cx);
        let Some(mut client) = self.clients.remove(&conn) else { return };
        client.history.succeeded(&user);
        let facts = (client.facts(None), client.history.summary(seconds));
        let Some(login) = &mut client.login else { return };
        let tag = login.authenticated();
        let given = match give_away(cx, conn, &client) {
            Ok(Some(given)) => given,
            // The client left in this moment.
            Ok(None) => return,
            Err(error) => {
                let why = format!("{error} {}", facts.1);
                self.passed(cx, Some(Passed::Lost { facts: facts.0, why, client: None }));
                return cx.abort(conn);
            }
        };
        let (fd, input) = given;
        let handoff = Handoff {
            ticket,
            session: client.session,
            tag,
            remote: Some(client.remote),
            local: Some(client.local),
            tls: matches!(client.protection, Protection::Tls(_)),
            input,
        };
        let passed = self.passings.begin(cx, inbox, &handoff, fd, facts);
        self.passed(cx, passed);
    }
}

/// The descriptor that goes to the mailbox process, and what the client has sent behind its login: its own socket, or one
/// end of a pair whose other end this process joins to the client.
fn give_away(cx: &mut Cx<()>, conn: ConnId, client: &Client) -> std::io::Result<Option<(OwnedFd, Vec<u8>)>> {
    let clear = matches!(client.protection, Protection::Clear);
    if clear && cx.input(conn).len() <= MAX_INPUT {
        return Ok(cx.release(conn));
    }
    let (ours, theirs) = UnixStream::pair()?;
    let inner = cx.adopt(ours.into())?;
    cx.join(conn, inner);
    Ok(Some((theirs.into(), Vec::new())))
}
