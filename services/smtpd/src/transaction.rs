//! A message on its way from its first accepted recipient to its reply: queue ID, envelope and content go to cleanup, and
//! what cleanup says goes to the client.

use std::time::Duration;

use ipc_messages::intake::FromCleanup;
use proto_smtp::address::Address;
use proto_smtp::params::RcptParameters;
use proto_smtp::reply::Reply;
use proto_smtp::server::Answer;
use worker::{ConnId, Cx};

use crate::Smtpd;
use crate::client::{Asked, Client};
use crate::intake::Told;

/// How long a recipient may wait for queue IDs.
const PATIENCE: Duration = Duration::from_secs(10);
/// The timer of those that wait; connections have other numbers.
pub(crate) const WAITING: u64 = 0;

/// What the client hears when its message cannot be taken to the queue.
fn no_queue() -> Reply {
    Reply::new(451, "4.3.0 Error: queue file write error")
}

impl Smtpd {
    /// A recipient that no restriction is against.
    pub(crate) fn recipient(
        &mut self,
        cx: &mut Cx<()>,
        conn: ConnId,
        client: &mut Client,
        recipient: Address,
        parameters: Box<RcptParameters>,
    ) {
        let has_number = client.mail.as_ref().is_some_and(|mail| mail.intake.is_some() || mail.lost.is_some());
        if has_number || self.intake.is_ready() {
            let answer = self.accept_recipient(cx, conn, client, &recipient, &parameters);
            return client.session.answer(answer);
        }
        // cleanup is starting, or has used up its numbers: the client waits a moment, not for a second attempt.
        client.asked = Some(Asked::QueueId { recipient, parameters });
        if self.waiting.is_empty() {
            cx.timer(PATIENCE, WAITING);
        }
        self.waiting.push((conn, cx.now()));
    }

    /// Recipients that waited for queue IDs: taken up when there are some, refused after [`PATIENCE`].
    pub(crate) fn wake(&mut self, cx: &mut Cx<()>) {
        let ready = self.intake.is_ready();
        for (conn, since) in std::mem::take(&mut self.waiting) {
            let Some(mut client) = self.clients.remove(&conn) else { continue };
            match client.asked.take() {
                Some(Asked::QueueId { recipient, parameters }) if ready => {
                    self.recipient(cx, conn, &mut client, recipient, parameters);
                }
                Some(Asked::QueueId { .. }) if cx.now() - since >= PATIENCE => {
                    client.session.answer(Answer::Reply(no_queue()));
                }
                other => {
                    if matches!(other, Some(Asked::QueueId { .. })) {
                        self.waiting.push((conn, since));
                    }
                    client.asked = other;
                }
            }
            self.clients.insert(conn, client);
            self.drive(cx, conn);
        }
    }

    /// The timer of those that wait has rung.
    pub(crate) fn waited(&mut self, cx: &mut Cx<()>) {
        self.wake(cx);
        if !self.waiting.is_empty() {
            cx.timer(PATIENCE, WAITING);
        }
    }

    fn accept_recipient(
        &mut self,
        cx: &mut Cx<()>,
        conn: ConnId,
        client: &mut Client,
        recipient: &Address,
        parameters: &RcptParameters,
    ) -> Answer {
        if client.mail.as_ref().is_some_and(|mail| mail.intake.is_none() && mail.lost.is_none()) {
            let begun = self.intake.queue_id().and_then(|id| Some((id, client.envelope(&self.config, id)?)));
            let Some((queue_id, envelope)) = begun else { return Answer::Reply(no_queue()) };
            let sasl = envelope.sasl.as_ref();
            let sasl = sasl.map(|sasl| format!(", sasl_method={}, sasl_username={}", sasl.method, sasl.username));
            slog::info!(cx.log(), "{}: client={}{}", queue_id.as_str(), client.label(), sasl.unwrap_or_default());
            client.session.set_queue_id(queue_id.as_str());
            let id = self.intake.begin(conn, envelope);
            if let Some(mail) = &mut client.mail {
                (mail.intake, mail.queue_id) = (Some(id), Some(queue_id));
            }
        }
        let recipient = client.recipient(recipient, parameters);
        if let Some(id) = client.mail.as_ref().and_then(|mail| mail.intake) {
            self.intake.recipient(id, recipient);
        }
        Answer::Accept
    }

    /// The content begins with our headers.
    pub(crate) fn begin_content(&mut self, client: &Client) {
        let headers = client.headers(&self.config);
        if let Some(id) = client.mail.as_ref().and_then(|mail| mail.intake) {
            self.intake.body(id, headers.as_bytes());
        }
    }

    /// The content is complete: the client waits until it is on stable storage.
    pub(crate) fn end_of_message(&mut self, client: &mut Client) {
        let id = client.mail.as_ref().and_then(|mail| mail.intake);
        if id.is_some_and(|id| self.intake.commit(id)) {
            client.asked = Some(Asked::EndOfMessage);
            return;
        }
        let lost = client.mail.take().and_then(|mail| mail.lost);
        client.session.answer(Answer::Reply(lost.unwrap_or_else(no_queue)));
    }

    /// The transaction is over without a message.
    pub(crate) fn abandon(&mut self, client: &mut Client) {
        if let Some(id) = client.mail.take().and_then(|mail| mail.intake) {
            self.intake.abort(id);
        }
    }

    /// cleanup has said something.
    pub(crate) fn queue(&mut self, cx: &mut Cx<()>, message: FromCleanup) {
        let brings_ids = matches!(message, FromCleanup::Ids { .. });
        match self.intake.told(message) {
            Some(Told::Room(conn)) => {
                if let Some(client) = self.clients.get_mut(&conn) {
                    client.held_back = false;
                    cx.pause(conn, false);
                }
                self.drive(cx, conn);
            }
            Some(Told::Queued(conn)) => {
                let Some(client) = self.clients.get_mut(&conn) else { return };
                let queue_id = client.mail.take().and_then(|mail| mail.queue_id);
                client.asked = None;
                let name = queue_id.map(|id| id.as_str().to_string()).unwrap_or_default();
                client.session.answer(Answer::Queued(name));
                self.drive(cx, conn);
            }
            Some(Told::Refused(conn, reply)) => self.lose(cx, conn, Reply::parse(&reply).unwrap_or_else(no_queue)),
            None if brings_ids => self.wake(cx),
            None => {}
        }
    }

    /// cleanup has gone: so have the messages that it had not committed.
    pub(crate) fn cleanup_is_down(&mut self, cx: &mut Cx<()>) {
        for conn in self.intake.disconnected() {
            self.lose(cx, conn, no_queue());
        }
    }

    /// The message of a session will not be queued: the client hears it at the end of the message.
    fn lose(&mut self, cx: &mut Cx<()>, conn: ConnId, reply: Reply) {
        let Some(client) = self.clients.get_mut(&conn) else { return };
        if client.held_back {
            client.held_back = false;
            cx.pause(conn, false);
        }
        if matches!(client.asked, Some(Asked::EndOfMessage)) {
            client.asked = None;
            client.mail = None;
            client.session.answer(Answer::Reply(reply));
        } else if let Some(mail) = &mut client.mail {
            mail.intake = None;
            mail.lost = Some(reply);
        }
        self.drive(cx, conn);
    }
}
