//! What the tests of this program share: a configuration in the words of main.cf, and a session that is driven without
//! sockets, with answers of the other services at hand.

use std::sync::Arc;

use ipc_config::diagnostic::Diagnostics;
use ipc_config::postfix::main_cf::MainCf;
use ipc_config::postfix::system::ThisHost;
use ipc_config::section::Section;
use ipc_messages::dns::ClientName;
use ipc_messages::lookup::{Class, Known, Route};
use ipc_messages::queue_id::QueueId;
use ipc_messages::tls::Offer;
use proto_smtp::server::{Action, Answer, Keywords, Question};
use worker::{Remote, Secured};

use crate::check::{discard, judge, lines};
use crate::client::Client;
use crate::config::Config;
use crate::policy::{Answers, Found, Query, Verdict};

/// Parameters that no test wants to depend on the machine.
const BASE: &str = "compatibility_level = 3.6\nmyhostname = mx.example.org\nmydomain = example.org\nmyorigin = $mydomain\n\
    mynetworks = 127.0.0.0/8\ninet_interfaces = 127.0.0.1\n";

/// The section that the master makes of this text; what it reports is a mistake of the test's.
pub fn section(main_cf: &str) -> Section {
    let mut found = Diagnostics::new();
    let main = MainCf::parse(&format!("{BASE}{main_cf}"), "main.cf", Arc::new(ThisHost), &mut found);
    let section = Section::of_main_cf(&main, "smtpd", &mut found);
    assert!(!found.is_fatal(), "{found:?}");
    section
}

/// A section of a service that offers TLS and SASL.
pub fn full_section(main_cf: &str) -> Section {
    let mut section = section(&format!(
        "smtpd_tls_security_level = may\nsmtpd_sasl_auth_enable = yes\nsmtpd_sasl_type = dovecot\n{main_cf}"
    ));
    section.tls = Some(Offer { keys: Vec::new(), tls12: true, tls13: true });
    section.foreign.push("sasl".into());
    section
}

/// One session, from the greeting on.
pub struct Talk {
    pub config: Config,
    pub client: Client,
    /// What the other services answer; an address that is not here is a known one of ours if its domain is `example.org`.
    pub answers: Answers,
    /// The lines of the log.
    pub log: Vec<String>,
    /// Seconds that the session made the client wait.
    pub waited: u64,
    pub closed: bool,
    /// The user that AUTH leads to.
    pub user: &'static str,
    said: String,
}

impl Talk {
    /// A client from outside, with a name, who has been greeted. Read the greeting with [`Talk::heard`].
    pub fn new(main_cf: &str) -> Talk {
        Talk::with(section(main_cf), ClientName::Verified("client.example.net".into()), None)
    }

    /// The same with TLS and SASL (PLAIN, LOGIN and ANONYMOUS) on offer, after STARTTLS if `tls`.
    pub fn full(main_cf: &str, tls: bool) -> Talk {
        let secured = tls.then(|| Secured {
            protocol: "TLSv1.3".into(),
            cipher: "TLS_AES_256_GCM_SHA384".into(),
            bits: 256,
            resumed: false,
            server_name: None,
        });
        Talk::with(full_section(main_cf), ClientName::Verified("client.example.net".into()), secured)
    }

    pub fn with(section: Section, name: ClientName, secured: Option<Secured>) -> Talk {
        let (peer, local) = ("192.0.2.7:4711".parse().unwrap(), "198.51.100.1:25".parse().unwrap());
        Talk::from(section, Remote::Inet { peer, local }, name, secured)
    }

    pub fn from(section: Section, remote: Remote, name: ClientName, secured: Option<Secured>) -> Talk {
        let config = Config::new(&section);
        let mechanisms = [("PLAIN", "plaintext"), ("LOGIN", "plaintext"), ("ANONYMOUS", "anonymous")];
        let mechanisms = mechanisms.map(|(name, property)| (name.to_string(), vec![property.to_string()]));
        let session = Arc::new(config.session(&mechanisms));
        let client = Client::new(&config, session, remote, secured, name);
        let mut talk = Talk {
            config,
            client,
            answers: Answers::default(),
            log: Vec::new(),
            waited: 0,
            closed: false,
            user: "joe",
            said: String::new(),
        };
        talk.pump();
        talk
    }

    /// What the server has said since the last time.
    pub fn heard(&mut self) -> String {
        std::mem::take(&mut self.said).trim_end().replace("\r\n", "\n")
    }

    /// Sends lines, separated by LF, together; returns the replies.
    pub fn say(&mut self, lines: &str) -> String {
        self.said.clear();
        self.send(format!("{}\r\n", lines.replace('\n', "\r\n")).as_bytes());
        self.heard()
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.closed {
            let taken = self.client.session.input(bytes);
            bytes = &bytes[taken..];
            self.pump();
        }
    }

    /// The reply to the last of these commands, one after the other.
    pub fn last(&mut self, commands: &[&str]) -> String {
        commands.iter().map(|command| self.say(command)).last().unwrap_or_default()
    }

    /// The reply to RCPT in a session that says nothing odd.
    pub fn rcpt(&mut self, recipient: &str) -> String {
        let recipient = format!("RCPT TO:<{recipient}>");
        self.last(&["EHLO client.example.net", "MAIL FROM:<sender@example.net>", &recipient])
    }

    fn pump(&mut self) {
        while let Some(action) = self.client.session.poll() {
            match action {
                Action::Send(bytes) => self.said.push_str(&String::from_utf8(bytes).unwrap()),
                Action::Ask(question) => {
                    let answer = self.answer(question);
                    self.client.session.answer(answer);
                }
                Action::Abandon => self.client.mail = None,
                Action::Delay(pause) => {
                    self.waited += pause.as_secs();
                    self.client.session.resume();
                }
                Action::Log(_, line) => self.log.push(line),
                Action::Close => self.closed = true,
                Action::Body(_) => {}
                Action::StartTls => self.client.session.tls_started(),
            }
        }
    }

    fn keywords(&mut self) -> Option<Keywords> {
        loop {
            match discard(&self.config, &self.client, &self.answers) {
                Ok(keywords) => return keywords,
                Err(query) => self.answers.insert(query.clone(), unless_told(&query)),
            }
        }
    }

    fn answer(&mut self, question: Question) -> Answer {
        let outcome = loop {
            let outcome = judge(&self.config, &self.client, &question, &self.answers);
            let Verdict::Need(query) = outcome.verdict else { break outcome };
            let found = unless_told(&query);
            self.answers.insert(query, found);
        };
        let logged = lines(&self.config, &self.client, &question, &outcome);
        self.log.extend(logged.into_iter().map(|(_, line)| line));
        self.client.prepend(&outcome.notes);
        if let Verdict::Refuse(reply) = outcome.verdict {
            return Answer::Reply(reply);
        }
        self.client.defer(&question, outcome.deferred);
        if let Question::Helo { .. } = question
            && let Some(keywords) = self.keywords()
        {
            self.client.session.set_discarded(keywords);
        }
        match question {
            Question::Mail { sender, parameters } => self.client.mail(sender, parameters),
            Question::Rcpt { recipient, parameters, .. } => {
                self.client.recipient(&recipient, &parameters);
                if let Some(mail) = &mut self.client.mail {
                    mail.queue_id = Some(QueueId::short(1, 2));
                }
            }
            Question::EndOfMessage { .. } => {
                self.client.mail = None;
                return Answer::Queued("QUEUEID".into());
            }
            Question::AuthStart { initial: None, .. } => return Answer::Challenge(b"User Name".to_vec()),
            Question::AuthStart { .. } | Question::AuthContinue(_) => return Answer::Authenticated(self.user.into()),
            _ => {}
        }
        Answer::Accept
    }
}

/// What the other services know without being told by a test: `example.org` is ours, and nothing else exists.
fn unless_told(query: &Query) -> Found {
    use ipc_messages::dns::Failure::NotFound;
    match query {
        Query::Address(address) => Found::Address(Ok((route(address), Known::Yes))),
        Query::Value { .. } => Found::Value(Ok(None)),
        Query::Host(..) => Found::Host(Err(NotFound)),
        Query::Exchanges(_) => Found::Exchanges(Err(NotFound)),
        Query::Texts(_) => Found::Texts(Err(NotFound)),
    }
}

/// Where mail to an address goes: `example.org` is a virtual mailbox domain.
pub fn route(address: &str) -> Route {
    let ours = address.ends_with("@example.org");
    let recipient = if address.contains('@') { address.to_string() } else { format!("{address}@example.org") };
    let class = if ours { Class::VirtualMailbox } else { Class::Default };
    Route { recipient, class, transport: "t".into(), nexthop: "n".into(), routed: false, malformed: false }
}
