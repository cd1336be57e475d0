//! The commands of Dovecot 2.3's LMTP server, with its replies.

use super::{
    Action, Answer, Dialect, Hello, Lmtp, Mode, Pending, Question, Session, Transaction, Verb,
    command::{self, Word},
    content::Content,
};
use crate::{
    address,
    body::{Decoder, Newlines},
    params::{MailParameters, RcptParameters, Supported},
    reply::{Reply, Status, printable},
};

/// The attributes of XCLIENT that a trusted client may set.
const XCLIENT: [&str; 8] = ["ADDR", "PORT", "PROTO", "HELO", "LOGIN", "SESSION", "TTL", "TIMEOUT"];

impl Session {
    /// Reads one command line; `false` if there is none.
    pub(super) fn lmtp_command(&mut self, config: &Lmtp) -> bool {
        let Some(line) = self.input.line(config.line_length_limit) else { return false };
        self.verb = Verb::Unknown;
        let text = String::from_utf8(line.bytes).ok().filter(|text| !text.contains('\0'));
        match text {
            _ if line.cut => self.lmtp_fail(500, "5.5.2 Line too long"),
            None => self.lmtp_fail(500, "5.5.2 Invalid command syntax"),
            Some(text) => self.lmtp_line(config, &text),
        }
        true
    }

    /// Where the session is, in the words of Dovecot's `Disconnect from` lines.
    pub fn lmtp_state(&self) -> &'static str {
        match (&self.mode, &self.transaction) {
            (Mode::Start, _) => "GREETING",
            (Mode::Content(_), _) => "DATA",
            (_, None) => "READY",
            (_, Some(transaction)) if transaction.recipients == 0 => "MAIL FROM",
            (_, Some(_)) => "RCPT TO",
        }
    }

    fn lmtp_line(&mut self, config: &Lmtp, line: &str) {
        let (name, rest) = line.split_once(' ').unwrap_or((line, ""));
        self.verb = Verb::lmtp(name);
        self.statistics.attempt(self.verb);
        self.stage = self.verb.name();
        match self.verb {
            Verb::Lhlo => self.lhlo_command(rest),
            Verb::Mail => self.lmtp_mail(config, rest),
            Verb::Rcpt => self.lmtp_rcpt(config, rest),
            Verb::Data => self.lmtp_data(rest),
            Verb::Bdat => self.lmtp_bdat(rest),
            Verb::Xclient => self.xclient_command(rest),
            Verb::Vrfy if rest.is_empty() => self.lmtp_fail(501, "5.5.4 Invalid parameters"),
            Verb::Vrfy => self.lmtp_succeed(252, "2.3.3 Try RCPT instead"),
            Verb::Noop => self.lmtp_succeed(250, "2.0.0 OK"),
            Verb::Auth => self.lmtp_fail(502, "5.5.1 Unsupported command"),
            Verb::Rset | Verb::Quit | Verb::Starttls if !rest.is_empty() => {
                self.lmtp_fail(501, "5.5.4 Invalid parameters");
            }
            Verb::Rset => {
                self.abandon();
                self.lmtp_succeed(250, "2.0.0 OK");
            }
            Verb::Quit => {
                self.lmtp_succeed(221, "2.0.0 Bye");
                self.close();
            }
            Verb::Starttls if self.tls => self.lmtp_fail(502, "5.5.1 TLS is already active."),
            Verb::Starttls if !config.tls => self.lmtp_fail(502, "5.5.1 TLS support is not enabled."),
            Verb::Starttls => self.ask(Question::StartTls, Pending::StartTls),
            _ => self.lmtp_fail(500, "5.5.1 Unknown command"),
        }
    }

    fn lhlo_command(&mut self, name: &str) {
        if name.is_empty() {
            return self.lmtp_fail(501, "Missing hostname");
        }
        let hello = Hello { name: printable(name.as_bytes()), extended: true };
        self.ask(Question::Helo { name: name.to_owned(), extended: true }, Pending::Helo(hello));
    }

    fn lhlo_reply(&self, config: &Lmtp) -> Reply {
        let mut lines =
            vec![self.config.hostname.as_str(), "8BITMIME", "CHUNKING", "ENHANCEDSTATUSCODES", "PIPELINING"];
        if config.smtputf8 {
            lines.push("SMTPUTF8");
        }
        if config.tls && !self.tls {
            lines.push("STARTTLS");
        }
        let xclient = format!("XCLIENT {}", XCLIENT.join(" "));
        if self.peer.trusted {
            lines.push(&xclient);
        }
        Reply::new(250, &lines.join("\n"))
    }

    fn lmtp_mail(&mut self, config: &Lmtp, rest: &str) {
        if self.transaction.is_some() {
            return self.lmtp_fail(503, "5.5.0 MAIL already given");
        }
        let (path, words) = match path_and_words(config, rest, "FROM:") {
            Ok(found) => found,
            Err(text) => return self.lmtp_fail(501, &text),
        };
        let supported = Supported { dsn: false, smtputf8: config.smtputf8, auth: false };
        let parameters = match MailParameters::parse(&words, supported) {
            Ok(parameters) if parameters.size.is_none() => parameters,
            _ if words.iter().any(|word| is_bad_body(word)) => {
                return self.lmtp_fail(555, "5.5.4 Unsupported mail BODY type");
            }
            _ => return self.lmtp_fail(555, "5.5.4 Unsupported parameters"),
        };
        if !parameters.smtputf8 && path.as_ref().is_some_and(|path| !path.is_ascii()) {
            return self.lmtp_fail(501, "5.5.4 Invalid FROM: Invalid character in path");
        }
        let transaction = Transaction { smtputf8: parameters.smtputf8, ..Transaction::default() };
        self.ask(Question::Mail { sender: path, parameters }, Pending::Mail(transaction));
    }

    fn lmtp_rcpt(&mut self, config: &Lmtp, rest: &str) {
        let Some(transaction) = &self.transaction else {
            return self.lmtp_fail(503, "5.5.0 MAIL needed first");
        };
        if transaction.recipients >= config.recipient_limit {
            return self.lmtp_fail(451, "4.5.3 Too many recipients");
        }
        let smtputf8 = transaction.smtputf8;
        let (path, words) = match path_and_words(config, rest, "TO:") {
            Ok(found) => found,
            Err(text) => return self.lmtp_fail(501, &text),
        };
        let Some(recipient) = path else {
            return self.lmtp_fail(501, "5.5.4 Invalid TO: Null path not allowed");
        };
        if !smtputf8 && !recipient.is_ascii() {
            return self.lmtp_fail(501, "5.5.4 Invalid TO: Invalid character in path");
        }
        let supported = Supported { dsn: true, smtputf8: false, auth: false };
        let parameters = match RcptParameters::parse(&words, supported) {
            Ok(parameters) if parameters.notify.is_none() => parameters,
            _ => return self.lmtp_fail(555, "5.5.4 Unsupported parameters"),
        };
        let written = recipient.quoted();
        self.ask(Question::Rcpt { recipient, written: written.clone(), parameters }, Pending::Rcpt(written));
    }

    fn lmtp_data(&mut self, rest: &str) {
        match &self.transaction {
            _ if !rest.is_empty() => self.lmtp_fail(501, "5.5.4 Invalid parameters"),
            Some(Transaction { content: Some(_), .. }) => self.lmtp_fail(503, "5.5.0 Previous data chunk not finished"),
            None => self.lmtp_fail(503, "5.5.0 MAIL needed first"),
            Some(Transaction { recipients: 0, .. }) => self.lmtp_fail(503, "5.5.0 No valid recipients"),
            Some(_) => self.ask(Question::Data, Pending::Data),
        }
    }

    fn lmtp_bdat(&mut self, rest: &str) {
        let words = command::words(rest).unwrap_or_default();
        let Some((size, last)) = super::smtp::chunk(&words) else {
            return self.lmtp_fail(501, "5.5.4 Invalid chunk size parameter");
        };
        let refusal = match &self.transaction {
            _ if self.chunks_failed => Some("5.5.0 Previous data chunk failed, issue RSET first"),
            None => Some("5.5.0 MAIL needed first"),
            Some(Transaction { recipients: 0, .. }) => Some("5.5.0 No valid recipients"),
            Some(_) => None,
        };
        if let Some(text) = refusal {
            return self.skip_chunk(size, last, Reply::new(503, text));
        }
        match self.transaction.as_mut().and_then(|transaction| transaction.content.take()) {
            Some(content) => self.lmtp_chunk(content, size, last),
            None => self.ask(Question::Data, Pending::Chunk { size, last }),
        }
    }

    fn lmtp_chunk(&mut self, mut content: Box<Content>, size: u64, last: bool) {
        content.begin_chunk(size, last);
        self.mode = Mode::Content(content);
    }

    /// ```text
    /// xclient-command = XCLIENT 1*( SP attribute-name "=" attribute-value )    ; values are xtext
    /// ```
    fn xclient_command(&mut self, rest: &str) {
        if self.transaction.is_some() {
            return self.lmtp_fail(503, "5.5.0 XCLIENT not permitted during a mail transaction");
        }
        if !self.peer.trusted {
            return self.lmtp_fail(550, "5.7.14 You are not from trusted IP");
        }
        let mut attributes = Vec::new();
        for word in rest.split(' ').filter(|word| !word.is_empty()) {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            let Some(value) = crate::xtext::decode(value) else {
                return self.lmtp_fail(501, &format!("5.5.4 Invalid {name} parameter"));
            };
            // Unknown attributes are ignored, as Dovecot does.
            if let Some(known) = XCLIENT.iter().find(|known| known.eq_ignore_ascii_case(name)) {
                attributes.push(((*known).to_owned(), value));
            }
        }
        self.ask(Question::Xclient(attributes), Pending::Xclient);
    }

    /// What an answer means, command by command.
    pub(super) fn lmtp_answer(&mut self, config: &Lmtp, pending: Pending, answer: Answer) {
        let reply = match (pending, answer) {
            (Pending::EndOfMessage(_), answer) => return self.delivered(answer),
            (Pending::Rcpt(path), Answer::Reply(reply)) if !reply.is_positive() => for_recipient(&path, &reply),
            (Pending::Chunk { size, last }, Answer::Reply(reply)) if !reply.is_positive() => {
                return self.skip_chunk(size, last, reply);
            }
            (Pending::Connect, Answer::Reply(reply)) if !reply.is_positive() => {
                self.reply(&reply);
                return self.close();
            }
            (_, Answer::Reply(reply)) if !reply.is_positive() => reply,
            (pending, Answer::Accept) => return self.lmtp_accepted(config, pending),
            (pending, answer) => panic!("no answer to {pending:?}: {answer:?}"),
        };
        self.lmtp_refuse(&reply);
    }

    fn lmtp_accepted(&mut self, config: &Lmtp, pending: Pending) {
        let greeting = format!("{} {}", self.config.hostname, config.greeting);
        match pending {
            Pending::Connect => self.reply(&Reply::new(220, &greeting)),
            Pending::Helo(hello) => {
                self.abandon();
                self.hello = Some(hello);
                let reply = self.lhlo_reply(config);
                self.reply(&reply);
                self.errors = 0;
                self.finish(true);
            }
            Pending::Mail(transaction) => {
                self.transaction = Some(transaction);
                self.lmtp_succeed(250, "2.1.0 OK");
            }
            Pending::Rcpt(path) => {
                if let Some(transaction) = &mut self.transaction {
                    transaction.recipients += 1;
                    transaction.paths.push(path.clone());
                }
                self.lmtp_succeed(250, "2.1.5 OK");
            }
            Pending::Data => {
                self.mode = Mode::Content(Box::new(Content::data(Decoder::data(Newlines::Normalize))));
                self.reply(&Reply::new(354, "OK"));
            }
            Pending::Chunk { size, last } => {
                let content = Content::chunks(Decoder::chunks(Newlines::Normalize));
                self.lmtp_chunk(Box::new(content), size, last);
            }
            Pending::StartTls => {
                self.reply(&Reply::new(220, "2.0.0 Begin TLS negotiation now."));
                self.flush();
                self.reset();
                self.actions.push_back(Action::StartTls);
                self.mode = Mode::Tls;
            }
            // The session starts again as the client that was named.
            Pending::Xclient => {
                self.hello = None;
                self.lmtp_succeed(220, &greeting);
            }
            other => panic!("cannot accept {other:?}"),
        }
    }

    /// One reply for each recipient (RFC 2033 section 4.2).
    fn delivered(&mut self, answer: Answer) {
        let paths = self.transaction.take().map(|transaction| transaction.paths).unwrap_or_default();
        self.reset_transaction();
        match answer {
            Answer::Delivered(replies) => {
                assert_eq!(replies.len(), paths.len(), "one reply for each recipient");
                for (path, reply) in paths.iter().zip(&replies) {
                    self.reply(&for_recipient(path, reply));
                }
            }
            Answer::Reply(reply) => {
                for path in &paths {
                    self.reply(&for_recipient(path, &reply));
                }
            }
            other => panic!("no answer to the end of a message: {other:?}"),
        }
        self.errors = 0;
        self.finish(true);
    }

    fn lmtp_succeed(&mut self, code: u16, text: &str) {
        self.errors = 0;
        self.succeed(code, text);
    }

    fn lmtp_fail(&mut self, code: u16, text: &str) {
        self.lmtp_refuse(&Reply::new(code, text));
    }

    /// Replies, or ends the session after too many bad commands in a row.
    fn lmtp_refuse(&mut self, reply: &Reply) {
        let bad = matches!(reply.code(), 500 | 501 | 503);
        self.errors = if bad { self.errors + 1 } else { 0 };
        let limit = match &self.config.dialect {
            Dialect::Lmtp(config) => config.bad_command_limit,
            Dialect::Smtp(_) => unreachable!("called for LMTP alone"),
        };
        if self.errors > limit {
            let text = format!("4.7.0 {} Too many invalid commands.", self.config.hostname);
            self.reply(&Reply::new(421, &text));
        } else {
            self.reply(reply);
        }
        self.finish(false);
    }
}

/// The reply with the recipient's path in front of its text, as Dovecot writes it.
fn for_recipient(path: &str, reply: &Reply) -> Reply {
    let status = reply.status().map_or(String::new(), |status: Status| format!("{status} "));
    Reply::new(reply.code(), &format!("{status}<{path}> {}", reply.lines().join("\n")))
}

/// The path after `keyword` and the parameters after it, or the text of the 501 reply.
fn path_and_words(config: &Lmtp, rest: &str, keyword: &str) -> Result<(Option<address::Address>, Vec<String>), String> {
    let named = rest.get(..keyword.len()).is_some_and(|name| name.eq_ignore_ascii_case(keyword));
    if !named {
        return Err("5.5.4 Invalid parameters".into());
    }
    let side = &keyword[..keyword.len() - 1];
    let mut text = &rest[keyword.len()..];
    if config.whitespace_before_path {
        text = text.trim_start_matches([' ', '\t']);
    } else if text.starts_with([' ', '\t']) {
        return Err(format!("5.5.4 Invalid {side}: Unexpected whitespace before path"));
    }
    let bracketed;
    if config.mailbox_for_path && !text.starts_with('<') {
        let (mailbox, rest) = text.split_at(text.find(' ').unwrap_or(text.len()));
        bracketed = format!("<{mailbox}>{rest}");
        text = &bracketed;
    }
    let (path, rest) = address::parse_path(text, true).map_err(|error| format!("5.5.4 Invalid {side}: {error}"))?;
    if !rest.is_empty() && !rest.starts_with(' ') {
        return Err(format!("5.5.4 Invalid {side}: Invalid character in path"));
    }
    let words = command::words(rest).ok_or("5.5.4 Invalid parameters")?;
    Ok((path, words.into_iter().map(|Word { text, .. }| text).collect()))
}

fn is_bad_body(word: &str) -> bool {
    word.get(..5).is_some_and(|name| name.eq_ignore_ascii_case("BODY="))
        && !["BODY=7BIT", "BODY=8BITMIME"].iter().any(|known| known.eq_ignore_ascii_case(word))
}
