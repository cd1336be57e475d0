//! One client: what is known of it, and its message.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use ipc_config::postfix::match_list::NetworkList;
use ipc_jail::sys::local_time;
use ipc_messages::anvil::Event;
use ipc_messages::dns::ClientName;
use ipc_messages::envelope::{
    BodyType, Client as EnvelopeClient, Envelope, Notify, Origin, Recipient, Return, RewriteContext, Sasl, Trace,
};
use ipc_messages::queue_id::QueueId;
use proto_smtp::address::Address;
use proto_smtp::body::Newlines;
use proto_smtp::params::{self, MailParameters, RcptParameters};
use proto_smtp::reply::Reply;
use proto_smtp::server::{Config as SessionConfig, Peer, Question, Session};
use proto_smtp::xtext;
use worker::{Remote, Secured};

use crate::config::Config;
use crate::policy::{Answers, Note, Query};

/// A client and its session.
pub struct Client {
    /// The protocol.
    pub session: Session,
    /// The client's address and ours; `None` on a unix socket.
    pub remote: Option<(SocketAddr, SocketAddr)>,
    /// What DNS says of the address.
    pub name: ClientName,
    label: String,
    /// Open connections from its address and their rate when it came, if it is counted.
    pub counts: Option<(u32, u32)>,
    /// STARTTLS was answered, and the handshake is not over.
    pub handshaking: bool,
    /// It began in clear while the authentication server was not there.
    pub without_auth: bool,
    /// What TLS agreed on, when it is on.
    pub secured: Option<Secured>,
    /// The mechanism of a login in progress, or of the one that succeeded.
    pub mechanism: String,
    /// What the restrictions at connect, HELO and MAIL have put off (`defer_if_permit`), where `smtpd_delay_reject` does not
    /// have them evaluated at RCPT.
    pub deferred: [Option<Reply>; 3],
    /// The open transaction.
    pub mail: Option<Mail>,
    /// The question that waits for somebody else.
    pub asked: Option<Asked>,
    /// Content waits for credit: the session is not driven.
    pub held_back: bool,
}

/// From MAIL to the end of the message.
pub struct Mail {
    /// The sender; `None` is the null sender.
    pub sender: Option<Address>,
    parameters: MailParameters,
    /// The number of the message at [`crate::intake::Intake`], once a recipient was accepted.
    pub intake: Option<u32>,
    /// The name of the message, likewise.
    pub queue_id: Option<QueueId>,
    /// Accepted recipients.
    pub recipients: usize,
    /// The recipient, while there is one only.
    pub only: Option<Address>,
    /// Headers that access tables put before the message.
    headers: Vec<String>,
    /// Why the message is lost already.
    pub lost: Option<Reply>,
}

/// A question that waits.
pub enum Asked {
    /// A command, until its restrictions can be evaluated.
    Check {
        /// The command.
        question: Box<Question>,
        /// What was asked.
        query: Query,
        /// What was answered so far.
        answers: Answers,
    },
    /// RCPT, until there are queue IDs.
    QueueId {
        /// The recipient.
        recipient: Address,
        /// Its parameters.
        parameters: Box<RcptParameters>,
    },
    /// The end of the message, until it is on stable storage.
    EndOfMessage,
    /// AUTH, until the authentication server has said something.
    Auth,
    /// A command, or a TLS session that was just made (`None`), until it is counted.
    Rate {
        /// What it counts as.
        event: Event,
        /// The command.
        question: Option<Question>,
    },
}

impl Client {
    /// A client whose session begins.
    pub fn new(
        config: &Config,
        session: Arc<SessionConfig>,
        remote: Remote,
        secured: Option<Secured>,
        name: ClientName,
    ) -> Client {
        let remote = match remote {
            Remote::Inet { peer, local } => Some((peer, local)),
            Remote::Unix { .. } => None,
        };
        let address = remote.map(|(peer, _)| peer.ip());
        let mut label = label(name.verified(), address);
        if let Some((peer, _)) = remote.filter(|_| config.log_ports) {
            label.push_str(&format!(":{}", peer.port()));
        }
        let listed = |list: &NetworkList| address.is_none_or(|address| list.contains(address));
        let peer = Peer {
            name: label.clone(),
            tls: secured.is_some(),
            newlines: if listed(&config.newline_exclusions) { Newlines::Accept } else { config.newlines },
            discard: config.discard,
            announces_auth: address.is_none_or(|address| !config.sasl_exceptions.contains(address)),
            trusted: false,
        };
        Client {
            session: Session::new(session, peer),
            remote,
            name,
            label,
            deferred: [const { None }; 3],
            counts: None,
            handshaking: false,
            without_auth: false,
            secured,
            mechanism: String::new(),
            mail: None,
            asked: None,
            held_back: false,
        }
    }

    /// The client's address.
    pub fn address(&self) -> Option<IpAddr> {
        self.remote.map(|(remote, _)| remote.ip())
    }

    /// The name, if it is verified.
    pub fn verified_name(&self) -> Option<&str> {
        Some(self.name.verified()).filter(|name| *name != "unknown")
    }

    /// `name[address]`, or `name[address]:port`, as log lines have it.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// A new transaction.
    pub fn mail(&mut self, sender: Option<Address>, parameters: MailParameters) {
        self.mail = Some(Mail {
            sender,
            parameters,
            intake: None,
            queue_id: None,
            recipients: 0,
            only: None,
            headers: Vec::new(),
            lost: None,
        });
    }

    /// The envelope at the first accepted recipient.
    pub fn envelope(&self, config: &Config, queue_id: QueueId) -> Option<Envelope> {
        let mail = self.mail.as_ref()?;
        let arrival = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as u64;
        let sasl = self.session.user().map(|user| Sasl {
            method: self.mechanism.clone(),
            username: user.to_string(),
            sender: mail.parameters.auth.clone(),
        });
        let trusted = self.rewrites_headers(config);
        Some(Envelope {
            queue_id,
            arrival,
            sender: mail.sender.as_ref().map(internal).unwrap_or_default(),
            recipients: Vec::new(),
            size: 0,
            origin: Origin::Network,
            client: Some(EnvelopeClient {
                name: self.name.verified().into(),
                reverse_name: self.name.reverse().into(),
                address: self.address(),
                port: self.remote.map(|(remote, _)| remote.port()),
                helo: self.session.helo_name().map(str::to_string),
                protocol: self.session.protocol().into(),
            }),
            sasl,
            body: match mail.parameters.body {
                Some(params::Body::EightBitMime) => BodyType::EightBitMime,
                _ => BodyType::SevenBit,
            },
            smtputf8: mail.parameters.smtputf8,
            dsn_envid: mail.parameters.envid.as_deref().map(xtext::encode),
            dsn_ret: mail.parameters.ret.map(|ret| match ret {
                params::Return::Full => Return::Full,
                params::Return::Headers => Return::Headers,
            }),
            trace: Trace::None,
            message_id: None,
            rewrite: if trusted { RewriteContext::Local } else { RewriteContext::Remote },
            filter: None,
        })
    }

    /// Whether the client is on this machine: the system gives a connection to one of its own addresses that same address at
    /// both ends.
    pub fn is_own(&self) -> bool {
        self.remote.is_none_or(|(peer, local)| peer.ip() == local.ip() || peer.ip().is_loopback())
    }

    /// Whether the client's headers are completed as our own (`local_header_rewrite_clients`).
    pub fn rewrites_headers(&self, config: &Config) -> bool {
        let Some(address) = self.address() else { return true };
        config.rewrite_clients.iter().any(|word| match word.as_str() {
            "permit_inet_interfaces" => self.is_own(),
            "permit_mynetworks" => config.policy.networks.contains(address),
            "permit_sasl_authenticated" => self.session.user().is_some(),
            _ => false,
        })
    }

    /// A recipient that was accepted, as the envelope has it.
    pub fn recipient(&mut self, recipient: &Address, parameters: &RcptParameters) -> Recipient {
        if let Some(mail) = &mut self.mail {
            mail.recipients += 1;
            mail.only = (mail.recipients == 1).then(|| recipient.clone());
        }
        let notify = parameters.notify.map_or(Notify::default(), |given| {
            let chosen =
                [(given.success, Notify::SUCCESS), (given.failure, Notify::FAILURE), (given.delay, Notify::DELAY)];
            let set = chosen.into_iter().filter(|(on, _)| *on).fold(Notify::default(), |set, (_, one)| set.with(one));
            if set.is_given() { set } else { Notify::NEVER }
        });
        Recipient {
            address: internal(recipient),
            original: None,
            dsn_orcpt: parameters
                .orcpt
                .as_ref()
                .map(|orcpt| format!("{};{}", orcpt.kind, xtext::encode(&orcpt.address))),
            notify,
        }
    }

    /// Keeps the headers that an access table wants before the message.
    pub fn prepend(&mut self, notes: &[Note]) {
        let headers =
            notes.iter().filter_map(|note| if let Note::Header(text) = note { Some(text.clone()) } else { None });
        if let Some(mail) = &mut self.mail {
            mail.headers.extend(headers);
        }
    }

    /// What goes before the message: the headers of access tables, then our own.
    pub fn headers(&self, config: &Config) -> String {
        let given = self.mail.iter().flat_map(|mail| &mail.headers);
        given.map(|header| format!("{header}\n")).collect::<String>() + &self.received(config)
    }

    /// The Received header (RFC 5321 section 4.4), as Postfix writes it.
    pub fn received(&self, config: &Config) -> String {
        let helo = self.session.helo_name().unwrap_or("unknown");
        let address = self.address().map(literal).unwrap_or_else(|| "unknown".into());
        let mut header = format!("Received: from {helo} ({} [{address}])\n", self.name.verified());
        if let Some(tls) = self.secured.as_ref().filter(|_| config.tls_header) {
            header.push_str(&format!(
                "\t(using {} with cipher {} ({}/{} bits))\n\t(No client certificate requested)\n",
                tls.protocol, tls.cipher, tls.bits, tls.bits
            ));
        }
        if let Some(user) = self.session.user().filter(|_| config.sasl_header) {
            header.push_str(&format!("\t(Authenticated sender: {user})\n"));
        }
        let mail = self.mail.as_ref();
        let queue_id = mail.and_then(|mail| mail.queue_id).map(|id| id.as_str().to_string()).unwrap_or_default();
        let by = format!(
            "\tby {} ({}) with {} id {queue_id}",
            config.hostname,
            config.mail_name,
            self.session.received_protocol()
        );
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let time = local_time(now as i64);
        // Postfix adds the zone's name as a comment.
        let date = format!("{} ({})", time.header_date(), time.zone);
        match mail.and_then(|mail| mail.only.as_ref()) {
            Some(recipient) => header.push_str(&format!("{by}\n\tfor <{}>; {date}\n", recipient.quoted())),
            None => header.push_str(&format!("{by};\n\t{date}\n")),
        }
        header
    }
}

/// `name[address]`.
fn label(name: &str, address: Option<IpAddr>) -> String {
    format!("{name}[{}]", address.map_or_else(|| "unknown".into(), |address| address.to_string()))
}

/// An address in a header's brackets (RFC 5321 section 4.1.3).
fn literal(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("IPv6:{address}"),
    }
}

/// Internal form: unquoted, `local@domain`.
pub fn internal(address: &Address) -> String {
    match address.domain() {
        Some(domain) => format!("{}@{domain}", address.local()),
        None => address.local().to_string(),
    }
}
