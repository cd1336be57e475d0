//! What the caller's decisions mean for an SMTP session, command by command.

use crate::{
    body::Decoder,
    reply::Reply,
    server::{Action, Answer, Mode, Pending, Session, Smtp, content::Content},
};

impl Session {
    /// Goes on with the command that asked.
    pub(in crate::server) fn smtp_answer(&mut self, config: &Smtp, pending: Pending, answer: Answer) {
        match (pending, answer) {
            (Pending::Connect, answer) => self.greet(config, answer),
            (Pending::Auth { mechanism }, answer) => self.auth_answer(mechanism, answer),
            (Pending::AuthAborted(reply), _) => self.refuse(&reply),
            (Pending::EndOfMessage(content), answer) => self.end_of_message(&content, answer),
            (Pending::Chunk { size, last }, Answer::Reply(reply)) if !reply.is_positive() => {
                self.skip_chunk(size, last, reply);
            }
            (_, Answer::Reply(reply)) if !reply.is_positive() => self.refuse(&reply),
            (pending, Answer::Accept) => self.accepted(config, pending, None),
            (pending, Answer::Reply(reply)) => self.accepted(config, pending, Some(reply)),
            (pending, answer) => panic!("no answer to {pending:?}: {answer:?}"),
        }
    }

    /// The banner, or the refusal of the client (RFC 5321 section 3.1).
    fn greet(&mut self, config: &Smtp, answer: Answer) {
        if self.is_ill_pipelined(config) {
            return;
        }
        match answer {
            Answer::Accept => self.reply(&Reply::new(220, &config.banner)),
            Answer::Reply(reply) => {
                self.denied = !reply.is_positive();
                self.errors += u64::from(self.denied);
                self.reply(&reply);
            }
            other => panic!("no answer to a new connection: {other:?}"),
        }
        self.check_errors(config);
    }

    fn accepted(&mut self, config: &Smtp, pending: Pending, reply: Option<Reply>) {
        let standard = |code, text: &str| reply.clone().unwrap_or_else(|| Reply::new(code, text));
        let reply = match pending {
            Pending::Helo(hello) => {
                let extended = hello.extended;
                self.abandon();
                self.hello = Some(hello);
                if extended { self.ehlo_reply(config) } else { Reply::new(250, &self.config.hostname) }
            }
            Pending::Mail(transaction) => {
                self.transaction = Some(transaction);
                standard(250, "2.1.0 Ok")
            }
            Pending::Rcpt(recipient) => {
                if let Some(transaction) = &mut self.transaction {
                    transaction.recipients += 1;
                    transaction.first_recipient.get_or_insert(recipient);
                }
                standard(250, "2.1.5 Ok")
            }
            Pending::Data => {
                self.mode = Mode::Content(Box::new(Content::data(Decoder::data(self.peer.newlines))));
                self.reply(&standard(354, "End data with <CR><LF>.<CR><LF>"));
                return;
            }
            Pending::Chunk { size, last } => {
                let content = Content::chunks(Decoder::chunks(self.peer.newlines));
                return self.begin_chunk(Box::new(content), size, last);
            }
            Pending::Vrfy(text) => standard(252, &format!("2.0.0 {text}")),
            Pending::Etrn => standard(250, "Queuing started"),
            Pending::StartTls => {
                self.reply(&standard(220, "2.0.0 Ready to start TLS"));
                self.flush();
                self.reset();
                self.actions.push_back(Action::StartTls);
                self.mode = Mode::Tls;
                return;
            }
            other => panic!("cannot accept {other:?}"),
        };
        self.reply(&reply);
        self.finish(true);
    }

    fn end_of_message(&mut self, content: &Content, answer: Answer) {
        let reply = match answer {
            Answer::Queued(id) if content.is_chunked() => {
                Reply::new(250, &format!("2.0.0 Ok: {} bytes queued as {id}", content.size()))
            }
            Answer::Queued(id) => Reply::new(250, &format!("2.0.0 Ok: queued as {id}")),
            Answer::Reply(reply) => reply,
            other => panic!("no answer to the end of a message: {other:?}"),
        };
        self.reset_transaction();
        if reply.is_positive() {
            self.errors = 0;
            self.junk = 0;
        }
        self.reply(&reply);
        self.finish(reply.is_positive());
    }
}
