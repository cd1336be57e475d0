//! One message: MAIL, RCPT and DATA, pipelined where the server can do that, content, and the replies to it all.
//!
//! Commands go out in order and each has one reply, so a queue of steps says what the next reply is for. The last
//! command of a group is DATA; content follows its reply. LMTP gives one reply for each accepted recipient at the end.

use std::collections::VecDeque;

use super::{Action, Capabilities, Client, Config, Outcome, State, Step};
use crate::{
    address::Address,
    body::Encoder,
    limits,
    params::{MailParameters, RcptParameters},
    reply::Received,
};

/// A message's envelope.
#[derive(Clone, Debug)]
pub struct Envelope {
    /// `None` is the null sender.
    pub sender: Option<Address>,
    /// Parameters whose extension the server lacks are left out.
    pub parameters: MailParameters,
    pub recipients: Vec<Recipient>,
    /// The message cannot go to a server without SMTPUTF8.
    pub requires_smtputf8: bool,
}

/// One recipient of a message.
#[derive(Clone, Debug)]
pub struct Recipient {
    pub address: Address,
    pub parameters: RcptParameters,
}

/// A message on its way.
#[derive(Debug)]
pub(super) struct Transaction {
    lmtp: bool,
    pipelining: bool,
    /// MAIL, RCPTs and DATA that are not sent yet.
    commands: VecDeque<(Step, String)>,
    /// Commands whose replies are to come, with the bytes they took.
    sent: VecDeque<(Step, usize)>,
    next_recipient: usize,
    recipients: usize,
    /// Recipients that the server took and that have no outcome yet, in order.
    accepted: VecDeque<usize>,
    mail_refused: bool,
    /// The connection was kept from an earlier message, and the server has not said a word since.
    unproven: bool,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Waiting,
    Sending(Encoder),
    /// The final dot went out.
    Sent,
}

impl Transaction {
    /// `kept` of a connection that has carried a message before.
    pub fn new(envelope: Envelope, config: &Config, capabilities: &Capabilities, kept: bool) -> Self {
        let written = |address: &Address| if config.quote_envelope { address.quoted() } else { address.to_string() };
        let mut commands = VecDeque::with_capacity(envelope.recipients.len() + 2);
        let given = envelope.parameters;
        let parameters = MailParameters {
            size: given.size.filter(|_| capabilities.size.is_some()),
            body: given.body.filter(|_| capabilities.eight_bit_mime),
            smtputf8: given.smtputf8 && capabilities.smtputf8,
            auth: None,
            ret: given.ret.filter(|_| capabilities.dsn),
            envid: given.envid.filter(|_| capabilities.dsn),
        };
        let sender = envelope.sender.as_ref().map_or(String::new(), written);
        commands.push_back((Step::Mail, format!("MAIL FROM:<{sender}>{parameters}\r\n")));
        for recipient in &envelope.recipients {
            let parameters = if capabilities.dsn { recipient.parameters.to_string() } else { String::new() };
            commands.push_back((Step::Rcpt, format!("RCPT TO:<{}>{parameters}\r\n", written(&recipient.address))));
        }
        commands.push_back((Step::Data, "DATA\r\n".into()));
        Self {
            lmtp: config.lmtp,
            pipelining: capabilities.pipelining,
            commands,
            sent: VecDeque::new(),
            next_recipient: 0,
            recipients: envelope.recipients.len(),
            accepted: VecDeque::new(),
            mail_refused: false,
            unproven: kept,
            content: Content::Waiting,
        }
    }

    /// What is waited for.
    pub fn step(&self) -> Step {
        match (&self.content, self.sent.front()) {
            (Content::Sending(_), None) => Step::Content,
            (_, Some((step, _))) => *step,
            (_, None) => self.commands.front().map_or(Step::Dot, |(step, _)| *step),
        }
    }

    /// Sends the commands that need not wait for a reply.
    pub fn send(&mut self, output: &mut Vec<u8>) {
        let mut under_way: usize = self.sent.iter().map(|(_, bytes)| bytes).sum();
        // Not one command for each reply: the next group waits until half of the last one is answered.
        if under_way > limits::PIPELINE / 2 {
            return;
        }
        while let Some((step, command)) = self.commands.front() {
            let fits = self.pipelining && under_way + command.len() <= limits::PIPELINE;
            if !self.sent.is_empty() && !fits {
                return;
            }
            output.extend_from_slice(command.as_bytes());
            under_way += command.len();
            self.sent.push_back((*step, command.len()));
            self.commands.pop_front();
        }
    }

    /// Whether the end of the connection says nothing about this message: a server may end a kept one at any time.
    pub fn is_unproven(&self) -> bool {
        self.unproven
    }

    pub fn expects_reply(&self) -> bool {
        !self.sent.is_empty()
    }

    pub fn content(&mut self, text: &[u8], output: &mut Vec<u8>) {
        match &mut self.content {
            Content::Sending(encoder) => encoder.encode(text, output),
            other => panic!("no content now: {other:?}"),
        }
    }

    pub fn end_of_content(&mut self, output: &mut Vec<u8>) {
        match std::mem::replace(&mut self.content, Content::Sent) {
            Content::Sending(encoder) => encoder.finish(output),
            other => panic!("no content now: {other:?}"),
        }
        let replies = if self.lmtp { self.accepted.len() } else { 1 };
        self.sent.extend(std::iter::repeat_n((Step::Dot, 0), replies));
    }

    /// Nothing that is not sent yet is worth sending.
    fn has_failed(&self) -> bool {
        self.mail_refused || (self.next_recipient == self.recipients && self.accepted.is_empty())
    }
}

impl Client {
    /// Takes the reply to the oldest command of the transaction.
    pub(super) fn transaction_reply(&mut self, mut transaction: Box<Transaction>, reply: Received) {
        let step = transaction.sent.pop_front().map_or(Step::Dot, |(step, _)| step);
        transaction.unproven = false;
        match step {
            Step::Mail if reply.code / 100 != 2 => {
                transaction.mail_refused = true;
                self.all_failed(0..transaction.recipients, &reply, step);
            }
            Step::Rcpt => self.recipient_reply(&mut transaction, reply),
            Step::Data if reply.code / 100 == 3 => {
                if transaction.accepted.is_empty() {
                    // An empty message for nobody gets the connection back in step.
                    Encoder::new(None).finish(&mut self.output);
                    transaction.content = Content::Sent;
                    transaction.sent.push_back((Step::Dot, 0));
                    self.spoiled = true;
                } else {
                    transaction.content = Content::Sending(Encoder::new(self.config.line_limit));
                    self.actions.push_back(Action::NeedContent);
                }
            }
            Step::Data => {
                let accepted = std::mem::take(&mut transaction.accepted);
                // Without recipients the refusal is what was to be expected.
                if !accepted.is_empty() {
                    self.all_failed(accepted, &reply, step);
                }
                return self.abort();
            }
            Step::Dot if transaction.lmtp => {
                if let Some(recipient) = transaction.accepted.pop_front() {
                    self.outcome(recipient, reply, step);
                }
            }
            Step::Dot => {
                for recipient in std::mem::take(&mut transaction.accepted) {
                    self.outcome(recipient, reply.clone(), step);
                }
            }
            _ => {}
        }
        self.go_on(transaction);
    }

    fn recipient_reply(&mut self, transaction: &mut Transaction, reply: Received) {
        let recipient = transaction.next_recipient;
        transaction.next_recipient += 1;
        if transaction.mail_refused {
            return;
        }
        if reply.code / 100 == 2 {
            transaction.accepted.push_back(recipient);
        } else {
            let failure = self.refusal(&reply, Step::Rcpt);
            self.actions.push_back(Action::Outcome(Outcome { recipient, result: Err(failure) }));
        }
    }

    fn outcome(&mut self, recipient: usize, reply: Received, step: Step) {
        let result = if reply.code / 100 == 2 { Ok(reply) } else { Err(self.refusal(&reply, step)) };
        self.actions.push_back(Action::Outcome(Outcome { recipient, result }));
    }

    fn all_failed(&mut self, recipients: impl IntoIterator<Item = usize>, reply: &Received, step: Step) {
        let failure = self.refusal(reply, step);
        for recipient in recipients {
            self.actions.push_back(Action::Outcome(Outcome { recipient, result: Err(failure.clone()) }));
        }
    }

    /// Ends the transaction if nothing more is to come.
    fn go_on(&mut self, mut transaction: Box<Transaction>) {
        if transaction.has_failed() && transaction.sent.is_empty() && matches!(transaction.content, Content::Waiting) {
            transaction.commands.clear();
            return self.abort();
        }
        if transaction.mail_refused {
            transaction.commands.clear();
        }
        if matches!(transaction.content, Content::Sent) && transaction.sent.is_empty() {
            self.actions.push_back(Action::Done { reusable: !self.spoiled });
            return;
        }
        self.state = State::Transaction(transaction);
    }

    /// Leaves a transaction that has no message.
    fn abort(&mut self) {
        if self.spoiled {
            self.actions.push_back(Action::Done { reusable: false });
        } else {
            self.command("RSET");
            self.state = State::Abort;
        }
    }
}
