//! Recipients on their way to `auth` and back, and the channels to the processes that file for them.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use ipc_messages::auth::{Origin, ToAuth, User};
use ipc_messages::delivery::Introduction;
use ipc_wire::packet;
use proto_smtp::reply::Reply;
use proto_smtp::server::Answer;
use worker::{ConnId, Cx, Hub, Peer};

use crate::client::{Asked, Client};
use crate::{Lmtp, own_log};

impl Lmtp {
    /// Asks about the recipient that this client waits for. Without an `auth` the question is asked when there is one.
    pub(crate) fn ask_auth(&mut self, cx: &mut Cx<()>, conn: ConnId, client: &Client) {
        let corr = self.number();
        self.lookups.insert(corr, conn);
        let (Some(auth), Some(Asked::Rcpt(candidate))) = (cx.hub(Hub::Auth), &client.asked) else { return };
        let (user, _) = candidate.user(&self.settings.delimiters);
        let origin = Origin {
            service: "lmtp".into(),
            session: client.id.clone(),
            remote: client.remote,
            local: None,
            secured: None,
        };
        if cx.send(auth, &ToAuth::User { corr, user, origin, inbox: true }, Vec::new()).is_err() {
            cx.drop_peer(auth);
        }
    }

    /// Asks a new `auth` what was asked of its predecessor.
    pub(crate) fn ask_again(&mut self, cx: &mut Cx<()>) {
        for conn in std::mem::take(&mut self.lookups).into_values() {
            if let Some(client) = self.clients.remove(&conn) {
                self.ask_auth(cx, conn, &client);
                self.clients.insert(conn, client);
            }
        }
    }

    /// An answer of `auth`, with the inbox of the user's process if it has not come before.
    pub(crate) fn found(
        &mut self,
        cx: &mut Cx<()>,
        corr: u32,
        user: Result<Option<User>, String>,
        template: u32,
        fds: Vec<OwnedFd>,
    ) {
        if let Some(inbox) = fds.into_iter().next() {
            self.introduce(cx, template, &inbox);
        }
        let Some(conn) = self.lookups.remove(&corr) else { return };
        let Some(client) = self.clients.get_mut(&conn) else { return };
        let Some(Asked::Rcpt(candidate)) = client.asked.take() else { return };
        let answer = match user {
            Ok(Some(_)) if self.deliverers.contains_key(&template) => {
                client.recipients.push(candidate.accept(&self.settings, &client.id, template));
                Answer::Accept
            }
            Ok(Some(_)) => Answer::Reply(temporary()),
            Ok(None) => {
                let (user, _) = candidate.user(&self.settings.delimiters);
                Answer::Reply(Reply::new(550, &format!("5.1.1 User doesn't exist: {user}")))
            }
            Err(error) => {
                slog::error!(own_log(cx), "{error}");
                Answer::Reply(not_looked_up(self.settings.verbose_replies, &error))
            }
        };
        client.session.answer(answer);
        self.drive(cx, conn);
    }

    /// Makes a channel to the process that files for an account, by way of its inbox.
    fn introduce(&mut self, cx: &mut Cx<()>, template: u32, inbox: &OwnedFd) {
        if self.deliverers.contains_key(&template) {
            return;
        }
        let introduction = Introduction { program: "lmtp".into(), pid: std::process::id() };
        let sent = UnixStream::pair().and_then(|(ours, theirs)| {
            let packet = postcard::to_stdvec(&introduction).map_err(std::io::Error::other)?;
            packet::send(inbox.as_fd(), &packet, &[theirs.as_fd()])?;
            // Nobody but this service looks at the name of the peer.
            cx.adopt_channel(ours.into(), Peer::Client { program: "deliver".into(), pid: 0, uid: 0 })
        });
        match sent {
            Ok(peer) => drop(self.deliverers.insert(template, peer)),
            Err(error) => slog::error!(own_log(cx), "no channel to deliver: {error}"),
        }
    }
}

/// The reply when something here is wrong that the client need not know.
pub(crate) fn temporary() -> Reply {
    Reply::new(451, "4.3.0 Temporary internal error")
}

/// The reply when a recipient cannot be looked up; `verbose` (`lmtp_verbose_replies`) says why.
fn not_looked_up(verbose: bool, error: &str) -> Reply {
    if verbose { Reply::new(451, &format!("4.3.0 {error}")) } else { temporary() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbose_replies_tell_what_is_wrong() {
        assert_eq!(not_looked_up(false, "Broken").one_line(), "451 4.3.0 Temporary internal error");
        assert_eq!(not_looked_up(true, "Broken").one_line(), "451 4.3.0 Broken");
    }
}
