//! Senders: from the first frame of a message to the moment when it waits for the journal alone.

use super::*;

impl Core {
    /// A sender is there: it gets numbers.
    pub fn client_up(&mut self, peer: PeerId) {
        self.waiting_for_numbers.push_back(peer);
    }

    /// A sender is gone, and what it had not completed with it. What is complete is taken: it may have been told so.
    pub fn client_down(&mut self, peer: PeerId) {
        self.waiting_for_numbers.retain(|waiting| *waiting != peer);
        let open: Vec<(PeerId, u32)> = self.clients.keys().copied().filter(|(client, _)| *client == peer).collect();
        open.into_iter().for_each(|client| self.abort(client));
    }

    /// A message of a sender. `date` gives times as [`Incoming::new`] takes them. `Err` for one that breaks the
    /// rules of this hop.
    pub fn intake(
        &mut self,
        peer: PeerId,
        message: ToCleanup,
        date: impl Fn(u64) -> (String, String),
    ) -> Result<(), ()> {
        match message {
            ToCleanup::MoreIds => self.waiting_for_numbers.push_back(peer),
            ToCleanup::Begin { id, envelope } => {
                if self.clients.contains_key(&(peer, id)) || !envelope.recipients.is_empty() {
                    return Err(());
                }
                self.begin((peer, id), *envelope, date);
            }
            ToCleanup::Recipient { id, recipient } => {
                let Some((token, message)) = self.open((peer, id)) else { return Ok(()) };
                if message.given.len() >= recipients::MAX_RECIPIENTS {
                    self.refuse(token, WRITE_ERROR);
                    return Ok(());
                }
                let address = recipient.address.clone();
                let number = message.recipient(recipient);
                self.ask(token, About::Recipient(number), |corr| ToLookup::Expand { corr, address });
            }
            ToCleanup::Body { id, bytes } => {
                let Some((token, message)) = self.open((peer, id)) else { return Ok(()) };
                message.owed += bytes.len() as u64;
                if !message.body(bytes) {
                    self.refuse(token, crate::message::TOO_BIG);
                    return Ok(());
                }
                self.write(token);
                self.give_credit(token);
            }
            ToCleanup::Commit { id } => {
                let Some((token, message)) = self.open((peer, id)) else { return Ok(()) };
                let ended = message.end();
                self.actions.extend(ended.lines.into_iter().map(|(line, is_warning)| Action::Log(line, is_warning)));
                if let Some(reply) = ended.refused {
                    self.refuse(token, reply);
                }
                self.advance(token);
            }
            ToCleanup::Abort { id } => self.abort((peer, id)),
        }
        Ok(())
    }

    /// A message of this sender that still grows. One that was refused is not known any more; what was sent after the refusal is
    /// dropped.
    fn open(&mut self, client: (PeerId, u32)) -> Option<(Token, &mut Incoming)> {
        let token = *self.clients.get(&client)?;
        let (_, _, message) = self.messages.get_mut(&token)?;
        (!message.complete).then_some((token, message))
    }

    fn begin(
        &mut self,
        client: (PeerId, u32),
        envelope: ipc_messages::envelope::Envelope,
        date: impl Fn(u64) -> (String, String),
    ) {
        self.next_token += 1;
        let token = self.next_token;
        let sender = envelope.sender.clone();
        let message = Incoming::new(envelope, self.settings.clone(), date);
        self.clients.insert(client, token);
        self.messages.insert(token, (client.0, client.1, message));
        let is_complete = sender.rsplit_once('@').is_some_and(|(_, domain)| domain.contains(['.', '[']));
        if !sender.is_empty() && !is_complete {
            self.ask(token, About::Sender, |corr| ToLookup::Rewrite { corr, address: sender, local: true });
        }
    }

    fn abort(&mut self, client: (PeerId, u32)) {
        if let Some(token) = self.clients.remove(&client) {
            self.forget(token);
        }
    }

    pub(super) fn refuse(&mut self, token: Token, reply: &str) {
        let Some((peer, id, _)) = self.messages.get(&token) else { return };
        let (peer, id) = (*peer, *id);
        self.clients.remove(&(peer, id));
        self.actions.push(Action::Tell(peer, FromCleanup::Refused { id, reply: reply.into() }));
        self.forget(token);
    }

    fn forget(&mut self, token: Token) {
        self.questions.retain(|_, (asked, ..)| *asked != token);
        if let Some((_, _, message)) = self.messages.remove(&token).filter(|(_, _, message)| message.large) {
            self.pieces.push((token, Piece::Discard(message.envelope.queue_id)));
        }
    }

    /// Gives the drafts' lane what a large message has, one piece at a time.
    pub(super) fn write(&mut self, token: Token) {
        let Some((_, _, message)) = self.messages.get_mut(&token) else { return };
        if message.large && !message.writing && !message.content.is_empty() {
            message.writing = true;
            let content = std::mem::take(&mut message.content);
            self.pieces.push((token, Piece::Content(message.envelope.queue_id, content)));
        }
    }

    /// What is in memory pays back at once, what goes to a file when it is written.
    pub(super) fn give_credit(&mut self, token: Token) {
        let Some((peer, id, message)) = self.messages.get_mut(&token) else { return };
        if message.owed >= CREDIT_PORTION && !message.writing && !message.complete {
            let bytes = std::mem::take(&mut message.owed);
            self.actions.push(Action::Tell(*peer, FromCleanup::Credit { id: *id, bytes }));
        }
    }

    /// Takes a message one step further, if it is complete and nothing is awaited.
    pub(super) fn advance(&mut self, token: Token) {
        let Some((_, _, message)) = self.messages.get_mut(&token) else { return };
        if !message.complete || message.unanswered > 0 || message.writing {
            return;
        }
        if message.large && !message.content.is_empty() {
            return self.write(token);
        }
        let given = std::mem::take(&mut message.given);
        let (keep, limit) = (self.settings.enable_original_recipient, self.settings.duplicate_filter_limit);
        let Some(recipients) = recipients::expand(given, keep, limit) else { return self.refuse(token, WRITE_ERROR) };
        message.envelope.recipients = recipients;
        let Ok(envelope) = message.envelope.encode() else { return self.refuse(token, WRITE_ERROR) };
        let queue_id = message.envelope.queue_id;
        if envelope.len() > MAX_INLINE_ENVELOPE && !message.large {
            message.large = true;
            let content = std::mem::take(&mut message.content);
            self.pieces.push((token, Piece::Content(queue_id, content)));
        }
        if message.large {
            (message.writing, message.sealing) = (true, true);
            self.pieces.push((token, Piece::Seal(queue_id, envelope)));
            return;
        }
        let (content, reserve) = (std::mem::take(&mut message.content), message.reserve());
        self.enter_journal(token, Commit { token, queue_id, envelope, content: Some(content), reserve });
    }

    /// From here on the sender waits for the journal alone; if it goes away the message is taken all the same.
    pub(super) fn enter_journal(&mut self, token: Token, commit: Commit) {
        let Some((peer, id, _)) = self.messages.remove(&token) else { return };
        self.clients.remove(&(peer, id));
        let in_file = commit.content.is_none();
        self.committing.insert(token, Committing { client: (peer, id), queue_id: commit.queue_id, in_file });
        self.ready.push(commit);
    }
}
