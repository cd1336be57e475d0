//! The commands of Postfix 3.7's smtpd, with its replies and its log lines.

mod answer;

use super::{
    Hello, Level, Mode, Pending, Question, Session, Smtp, TlsLevel, Transaction, Verb,
    command::{self, Word},
    content::Content,
};
use crate::{
    address::{self, Syntax},
    body::Newlines,
    params::{MailParameters, RcptParameters, Supported},
    reply::{Reply, printable},
};

impl Session {
    /// Reads one command line; `false` if there is none.
    pub(super) fn smtp_command(&mut self, config: &Smtp) -> bool {
        let Some(line) = self.input.line(config.line_length_limit) else { return false };
        if line.cut {
            let head = printable(&line.bytes).chars().take(30).collect::<String>();
            let limit = config.line_length_limit;
            let warning = format!("{}: request longer than {limit}: {head}...", self.peer.name);
            self.log(Level::Warning, warning);
        }
        self.verb = Verb::Unknown;
        self.bare_newline_noticed |= line.bare_newline && self.peer.newlines != Newlines::Accept;
        if line.bare_newline && self.peer.newlines == Newlines::Reject {
            self.log_bare_newline();
            let text = format!("5.5.2 {} Error: bare <LF> received", self.config.hostname);
            self.reply(&Reply::new(config.bare_newline_code, &text));
            self.close();
            return true;
        }
        let Ok(text) = String::from_utf8(line.bytes) else {
            self.fail(500, "5.5.2 Error: bad UTF-8 syntax");
            return true;
        };
        match command::words(&text) {
            Some(words) if !words.is_empty() => self.smtp_words(config, &text, &words),
            _ => self.fail(500, "5.5.2 Error: bad syntax"),
        }
        true
    }

    fn smtp_words(&mut self, config: &Smtp, line: &str, words: &[Word]) {
        let name = &words[0].text;
        if config.noop_commands.matches(name) {
            self.verb = Verb::Noop;
            self.reply(&Reply::new(250, "2.0.0 Ok"));
            self.count_junk(config);
            return self.check_errors(config);
        }
        self.verb = Verb::smtp(name);
        self.statistics.attempt(self.verb);
        if self.verb == Verb::Unknown {
            self.stage = self.verb.name();
            if is_header(name) || config.forbidden_commands.matches(name) {
                let warning = format!("non-SMTP command from {}: {:.100}", self.peer.name, escape(line.as_bytes()));
                self.log(Level::Warning, warning);
                self.reply(&Reply::new(221, "2.7.0 Error: I can break rules, too. Goodbye."));
                return self.close();
            }
        }
        if self.denied && self.verb != Verb::Quit {
            let text = format!("5.7.0 Error: access denied for {}", self.peer.name);
            self.verb = Verb::Unknown;
            return self.fail(503, &text);
        }
        if self.verb == Verb::Unknown {
            return self.fail(500, "5.5.2 Error: command not recognized");
        }
        if config.tls == TlsLevel::Encrypt && !self.tls && !self.verb.is_allowed_in_clear() {
            self.reply(&Reply::new(530, "5.7.0 Must issue a STARTTLS command first"));
            self.errors += 1;
            return self.check_errors(config);
        }
        self.stage = self.verb.name();
        if (self.protocol() != "ESMTP" || self.verb.ends_a_group()) && self.is_ill_pipelined(config) {
            return;
        }
        self.smtp_verb(config, &words[1..]);
    }

    fn smtp_verb(&mut self, config: &Smtp, words: &[Word]) {
        if config.helo_required && self.hello.is_none() {
            match self.verb {
                Verb::Mail | Verb::Auth => return self.fail(503, "5.5.1 Error: send HELO/EHLO first"),
                Verb::Etrn => return self.fail(503, "Error: send HELO/EHLO first"),
                _ => {}
            }
        }
        match self.verb {
            Verb::Helo | Verb::Ehlo => self.helo_command(words),
            Verb::Xclient | Verb::Xforward => self.fail(550, "5.7.0 Error: insufficient authorization"),
            Verb::Starttls => self.starttls_command(config, words),
            Verb::Auth => self.auth_command(config, words),
            Verb::Mail => self.mail_command(config, words),
            Verb::Rcpt => self.rcpt_command(config, words),
            Verb::Data => self.data_command(words),
            Verb::Bdat => self.bdat_command(config, words),
            Verb::Rset if !words.is_empty() => self.fail(501, "5.5.4 Syntax: RSET"),
            Verb::Rset => {
                self.abandon();
                self.succeed(250, "2.0.0 Ok");
            }
            Verb::Noop => self.succeed(250, "2.0.0 Ok"),
            Verb::Vrfy => self.vrfy_command(config, words),
            Verb::Etrn => self.etrn_command(words),
            Verb::Quit => {
                self.succeed(221, "2.0.0 Bye");
                self.close();
            }
            Verb::Lhlo | Verb::Unknown => unreachable!("not among the verbs of SMTP"),
        }
    }

    fn helo_command(&mut self, words: &[Word]) {
        let extended = self.verb == Verb::Ehlo;
        if words.is_empty() {
            return self.fail(501, &format!("Syntax: {} hostname", self.verb.name()));
        }
        let name = words.iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join(" ");
        let special = |point: char| matches!(point, ' ' | '<' | '>' | '(' | ')' | '\\' | '"' | ';' | '@');
        let clean = printable(name.as_bytes()).replace(special, "?");
        self.ask(Question::Helo { name, extended }, Pending::Helo(Hello { name: clean, extended }));
    }

    fn ehlo_reply(&self, config: &Smtp) -> Reply {
        let mut lines = vec![self.config.hostname.clone()];
        let mut announce = |keyword: &str, wanted: bool, parameter: &str| {
            if wanted && !self.peer.discard.contains(keyword) {
                lines.push(format!("{keyword}{parameter}"));
            }
        };
        announce("PIPELINING", true, "");
        announce("SIZE", true, &config.message_size_limit.map_or(String::new(), |limit| format!(" {limit}")));
        announce("VRFY", !config.disable_vrfy, "");
        announce("ETRN", true, "");
        announce("STARTTLS", config.tls != TlsLevel::None && !self.tls, "");
        let mechanisms = self.mechanisms(config).join(" ");
        let auth = !mechanisms.is_empty() && self.peer.announces_auth;
        announce("AUTH", auth, &format!(" {mechanisms}"));
        announce("AUTH", auth && config.broken_auth_clients, &format!("={mechanisms}"));
        for keyword in ["ENHANCEDSTATUSCODES", "8BITMIME", "DSN"] {
            announce(keyword, true, "");
        }
        announce("SMTPUTF8", config.smtputf8, "");
        announce("CHUNKING", true, "");
        Reply::new(250, &lines.join("\n"))
    }

    fn starttls_command(&mut self, config: &Smtp, words: &[Word]) {
        if !words.is_empty() {
            self.fail(501, "5.5.4 Syntax: STARTTLS");
        } else if self.tls {
            self.fail(554, "5.5.1 Error: TLS already active");
        } else if config.tls == TlsLevel::None || self.peer.discard.contains("STARTTLS") {
            self.fail(502, "5.5.1 Error: command not implemented");
        } else {
            self.ask(Question::StartTls, Pending::StartTls);
        }
    }

    /// ```text
    /// mail = "MAIL FROM:" Reverse-path [SP Mail-parameters] CRLF    ; RFC 5321 section 4.1.1.2
    /// ```
    fn mail_command(&mut self, config: &Smtp, words: &[Word]) {
        if self.transaction.is_some() {
            return self.fail(503, "5.5.1 Error: nested MAIL command");
        }
        if self.chunks_failed {
            return self.fail(503, "5.5.1 Error: MAIL after BDAT");
        }
        let Some((path, rest)) = path_words(words, "from:") else {
            return self.fail(501, "5.5.4 Syntax: MAIL FROM:<address>");
        };
        let supported = self.supported(config);
        let smtputf8 = supported.smtputf8 && rest.iter().any(|word| word.eq_ignore_ascii_case("SMTPUTF8"));
        let sender = match self.envelope_address(config, path, smtputf8) {
            Some(sender) => sender,
            None => return self.fail(501, "5.1.7 Bad sender address syntax"),
        };
        let parameters = match MailParameters::parse(&rest, supported) {
            Ok(parameters) => parameters,
            Err(reply) => return self.refuse(&reply),
        };
        let sender_text = sender.as_ref().map_or(String::new(), ToString::to_string);
        if config.message_size_limit.zip(parameters.size).is_some_and(|(limit, size)| size > limit) {
            let reply = Reply::new(552, "5.3.4 Message size exceeds fixed limit");
            let whatsup = self.whatsup_from(Some(&sender_text), None);
            let line = format!("NOQUEUE: reject: MAIL from {}: {reply};{whatsup}", self.peer.name);
            self.log(Level::Info, line);
            return self.refuse(&reply);
        }
        if config.strict_smtputf8 && !smtputf8 && sender.as_ref().is_some_and(|sender| !sender.is_ascii()) {
            return self.fail(553, "5.6.7 Must declare SMTPUTF8 to send unicode address");
        }
        let transaction = Transaction { sender: sender_text, smtputf8, ..Transaction::default() };
        self.ask(Question::Mail { sender, parameters }, Pending::Mail(transaction));
    }

    /// ```text
    /// rcpt = "RCPT TO:" ( "<Postmaster@" Domain ">" / "<Postmaster>" / Forward-path ) [SP Rcpt-parameters] CRLF
    ///     ; RFC 5321 section 4.1.1.3
    /// ```
    fn rcpt_command(&mut self, config: &Smtp, words: &[Word]) {
        let Some(transaction) = &self.transaction else {
            return self.fail(503, "5.5.1 Error: need MAIL command");
        };
        if transaction.content.is_some() || self.chunks_failed {
            return self.fail(503, "5.5.1 Error: RCPT after BDAT");
        }
        let smtputf8 = transaction.smtputf8;
        let (count, overshoot) = (transaction.recipients, transaction.overshoot);
        let Some((path, rest)) = path_words(words, "to:") else {
            return self.fail(501, "5.5.4 Syntax: RCPT TO:<address>");
        };
        let Some(Some(recipient)) = self.envelope_address(config, path, smtputf8) else {
            return self.fail(501, "5.1.3 Bad recipient address syntax");
        };
        let parameters = match RcptParameters::parse(&rest, self.supported(config)) {
            Ok(parameters) => parameters,
            Err(reply) => return self.refuse(&reply),
        };
        if config.recipient_limit > 0 && count >= config.recipient_limit {
            if let Some(transaction) = &mut self.transaction {
                transaction.overshoot += 1;
            }
            self.reply(&Reply::new(452, "4.5.3 Error: too many recipients"));
            return self.finish(overshoot < config.recipient_overshoot_limit);
        }
        if config.strict_smtputf8 && !smtputf8 && !recipient.is_ascii() {
            return self.fail(553, "5.6.7 Must declare SMTPUTF8 to send unicode address");
        }
        let inner = path.text.strip_prefix('<').and_then(|text| text.strip_suffix('>'));
        let written = inner.unwrap_or(&path.text).to_owned();
        let pending = Pending::Rcpt(recipient.to_string());
        self.ask(Question::Rcpt { recipient, written, parameters }, pending);
    }

    fn data_command(&mut self, words: &[Word]) {
        match &self.transaction {
            Some(Transaction { content: Some(_), .. }) => self.fail(503, "5.5.1 Error: DATA after BDAT"),
            _ if self.chunks_failed => self.fail(503, "5.5.1 Error: DATA after BDAT"),
            None => self.fail(503, "5.5.1 Error: need RCPT command"),
            Some(Transaction { recipients: 0, .. }) => self.fail(554, "5.5.1 Error: no valid recipients"),
            Some(_) if !words.is_empty() => self.fail(501, "5.5.4 Syntax: DATA"),
            Some(_) => self.ask(Question::Data, Pending::Data),
        }
    }

    /// ```text
    /// bdat-cmd = "BDAT" SP chunk-size [ SP end-marker ] CR LF
    /// end-marker = "LAST"    ; RFC 3030 section 2
    /// ```
    fn bdat_command(&mut self, config: &Smtp, words: &[Word]) {
        if self.peer.discard.contains("CHUNKING") {
            return self.fail(521, "5.5.1 Error: command not implemented");
        }
        let Some((size, last)) = chunk(words) else {
            let (queue_id, client) = (self.queue_id(), &self.peer.name);
            let given = words.iter().map(|word| word.text.as_str());
            let command = std::iter::once(self.verb.name()).chain(given).collect::<Vec<_>>().join(" ");
            let command = printable(command.as_bytes());
            let warning = format!("{queue_id}: malformed BDAT command syntax from {client}: {command:.100}");
            self.log(Level::Warning, warning);
            return self.fail(521, "5.5.4 Syntax: BDAT count [LAST]");
        };
        let refusal = match &self.transaction {
            _ if size == 0 && !last => Some("551 5.7.1 Null BDAT request".into()),
            _ if self.chunks_failed => Some(format!("551 5.0.0 Discarded {size} bytes after earlier error")),
            None => Some("503 5.5.1 Error: need RCPT command".into()),
            Some(Transaction { recipients: 0, .. }) => Some("554 5.5.1 Error: no valid recipients".into()),
            Some(transaction) => {
                let before = transaction.content.as_ref().map_or(0, |content| content.size());
                let fits = config.message_size_limit.is_none_or(|limit| before.saturating_add(size) <= limit);
                (!fits).then(|| "552 5.3.4 Chunk exceeds message size limit".into())
            }
        };
        if let Some(reply) = refusal.as_deref().and_then(Reply::parse) {
            self.log_refused_chunk(&reply);
            return self.skip_chunk(size, last, reply);
        }
        match self.transaction.as_mut().and_then(|transaction| transaction.content.take()) {
            Some(content) => self.begin_chunk(content, size, last),
            None => self.ask(Question::Data, Pending::Chunk { size, last }),
        }
    }

    fn log_refused_chunk(&mut self, reply: &Reply) {
        let (queue_id, client) = (self.queue_id(), &self.peer.name);
        let warning = match reply.code() {
            551 if !self.chunks_failed => format!("{queue_id}: null BDAT request from {client}"),
            552 => format!("{queue_id}: BDAT request from {client} exceeds message size limit"),
            _ => return,
        };
        self.log(Level::Warning, warning);
    }

    fn begin_chunk(&mut self, mut content: Box<Content>, size: u64, last: bool) {
        content.begin_chunk(size, last);
        self.stage = Verb::Bdat.name();
        self.mode = Mode::Content(content);
    }

    fn vrfy_command(&mut self, config: &Smtp, words: &[Word]) {
        if config.disable_vrfy {
            return self.fail(502, "5.5.1 VRFY command is disabled");
        }
        let supported = self.supported(config);
        let (words, smtputf8) = match words {
            [rest @ .., last] if supported.smtputf8 && last.text.eq_ignore_ascii_case("SMTPUTF8") => (rest, true),
            _ => (words, false),
        };
        if words.is_empty() {
            let hint = if config.smtputf8 { " [SMTPUTF8]" } else { "" };
            return self.fail(501, &format!("5.5.4 Syntax: VRFY address{hint}"));
        }
        let text = words.iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join(" ");
        match address::parse(&text, Syntax { strict: false, smtputf8 }) {
            Ok(Some(address)) => self.ask(Question::Vrfy(address), Pending::Vrfy(text)),
            _ => self.fail(501, "5.1.3 Bad recipient address syntax"),
        }
    }

    fn etrn_command(&mut self, words: &[Word]) {
        if self.transaction.is_some() {
            return self.fail(503, "Error: MAIL transaction in progress");
        }
        let [domain] = words else { return self.fail(500, "Syntax: ETRN domain") };
        let domain = domain.text.strip_prefix(['@', '#']).unwrap_or(&domain.text);
        if address::is_mail_host(domain, false) {
            self.ask(Question::Etrn(domain.to_owned()), Pending::Etrn);
        } else {
            self.fail(501, "Error: invalid parameter syntax");
        }
    }

    /// Counts a command that moves no mail; each one over the limit is an error.
    pub(super) fn count_junk(&mut self, config: &Smtp) {
        self.junk += 1;
        self.errors += u64::from(self.junk > config.junk_command_limit + 1);
    }

    /// Ends the session if a reply or the number of errors says so.
    pub(super) fn check_errors(&mut self, config: &Smtp) {
        if matches!(self.mode, Mode::Closed) {
            return;
        }
        if self.hanging_up {
            return self.close();
        }
        if self.errors >= config.hard_error_limit {
            let text = format!("4.7.0 {} Error: too many errors", self.config.hostname);
            self.reply(&Reply::new(421, &text));
            self.lost("too many errors");
        }
    }

    /// Postfix's line about a client that breaks lines in its own way.
    pub(super) fn log_bare_newline(&mut self) {
        let (queue_id, stage, client) = (self.queue_id(), self.stage, &self.peer.name);
        let line = format!("{queue_id}: reject: {stage} from {client}: bare <LF> received;{}", self.whatsup());
        self.log(Level::Info, line);
    }

    fn refuse(&mut self, reply: &Reply) {
        self.reply(reply);
        self.finish(false);
    }

    /// Whether input waits where the client had to wait for us; logs that once. Ends the session if it is forbidden,
    /// and returns whether it did.
    fn is_ill_pipelined(&mut self, config: &Smtp) -> bool {
        if self.pipelining_noticed || self.input.pending().is_empty() {
            return false;
        }
        self.pipelining_noticed = true;
        let head = &self.input.pending()[..self.input.pending().len().min(100)];
        let line =
            format!("improper command pipelining after {} from {}: {}", self.stage, self.peer.name, escape(head));
        self.log(Level::Info, line);
        if config.forbid_unauth_pipelining {
            self.reply(&Reply::new(554, "5.5.0 Error: SMTP protocol synchronization"));
            self.close();
        }
        config.forbid_unauth_pipelining
    }

    fn supported(&self, config: &Smtp) -> Supported {
        let discard = self.peer.discard;
        let smtputf8 = config.smtputf8 && !discard.contains("SMTPUTF8");
        Supported { dsn: !discard.contains("DSN"), smtputf8, auth: true }
    }

    /// The address of MAIL or RCPT; `None`, with a warning, if it is bad.
    fn envelope_address(&mut self, config: &Smtp, path: &Word, smtputf8: bool) -> Option<Option<address::Address>> {
        if path.broken {
            return None;
        }
        let syntax = Syntax { strict: config.strict_envelopes, smtputf8 };
        let found = address::parse(&path.text, syntax).ok();
        let found = found.filter(|found| match found {
            Some(address) => config.allow_min_user || !address.local().starts_with('-'),
            None => self.verb != Verb::Rcpt,
        });
        if found.is_none() {
            let text = printable(path.text.as_bytes());
            let (client, verb) = (&self.peer.name, self.verb.name());
            let warning = format!("Illegal address syntax from {client} in {verb} command: {text}");
            self.log(Level::Warning, warning);
        }
        found
    }
}

/// `from:` or `to:`, the address, and the parameters.
fn path_words<'a>(words: &'a [Word], keyword: &str) -> Option<(&'a Word, Vec<String>)> {
    match words {
        [first, path, rest @ ..] if first.text.eq_ignore_ascii_case(keyword) => {
            Some((path, rest.iter().map(|word| word.text.clone()).collect()))
        }
        _ => None,
    }
}

/// The size of a chunk and whether it is the last.
pub(super) fn chunk(words: &[Word]) -> Option<(u64, bool)> {
    let (size, last) = match words {
        [size] => (size, false),
        [size, last] if last.text.eq_ignore_ascii_case("LAST") => (size, true),
        _ => return None,
    };
    let digits = !size.text.is_empty() && size.text.bytes().all(|byte| byte.is_ascii_digit());
    let size = size.text.parse::<i64>().ok().and_then(|size| u64::try_from(size).ok());
    size.filter(|_| digits).map(|size| (size, last))
}

/// `Subject:` and the like: somebody sends a message where commands belong.
fn is_header(word: &str) -> bool {
    word.split_once(':').is_some_and(|(name, _)| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic()))
}

/// Control and 8-bit characters as C escapes, for the log.
fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        match byte {
            b'\r' => text.push_str("\\r"),
            b'\n' => text.push_str("\\n"),
            b'\t' => text.push_str("\\t"),
            b'\\' => text.push_str("\\\\"),
            b' '..=b'~' => text.push(char::from(byte)),
            _ => text.push_str(&format!("\\{byte:03o}")),
        }
    }
    text
}
