//! One client: what is known of it, and its message.

use std::net::{IpAddr, SocketAddr};
use std::time::{SystemTime, UNIX_EPOCH};

use ipc_jail::sys::local_time;
use ipc_messages::anvil::Event;
use ipc_messages::envelope::{
    BodyType, Client as EnvelopeClient, Envelope, Notify, Origin, Recipient, Return, RewriteContext, Sasl, Trace,
};
use ipc_messages::lookup::{Known, Route};
use ipc_messages::queue_id::QueueId;
use proto_smtp::address::Address;
use proto_smtp::params::{self, MailParameters, RcptParameters};
use proto_smtp::reply::Reply;
use proto_smtp::server::{Question, Session};
use proto_smtp::xtext;
use worker::Secured;

use crate::config::Config;

/// A client and its session.
pub struct Client {
    /// The protocol.
    pub session: Session,
    /// The client's address and ours; `None` on a unix socket.
    pub remote: Option<(SocketAddr, SocketAddr)>,
    /// Verified name, or `unknown`.
    pub name: String,
    /// The name that the address leads to, verified or not, or `unknown`.
    pub reverse_name: String,
    /// Open connections from its address and their rate when it came, if it is counted.
    pub counts: Option<(u32, u32)>,
    /// What TLS agreed on, when it is on.
    pub secured: Option<Secured>,
    /// The mechanism of a login in progress, or of the one that succeeded.
    pub mechanism: String,
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
    only: Option<String>,
    /// Why the message is lost already.
    pub lost: Option<Reply>,
}

/// A question that waits.
pub enum Asked {
    /// RCPT, until its recipient is looked up.
    Rcpt {
        /// The recipient.
        recipient: Address,
        /// Its parameters.
        parameters: Box<RcptParameters>,
        /// What trivial-rewrite said.
        route: Option<Result<(Route, Known), String>>,
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
    /// The client's address.
    pub fn address(&self) -> Option<IpAddr> {
        self.remote.map(|(remote, _)| remote.ip())
    }

    /// The name, if it is verified.
    pub fn verified_name(&self) -> Option<&str> {
        Some(self.name.as_str()).filter(|name| *name != "unknown")
    }

    /// `name[address]`, as log lines have it.
    pub fn label(&self) -> String {
        label(&self.name, self.address())
    }

    /// A new transaction.
    pub fn mail(&mut self, sender: Option<Address>, parameters: MailParameters) {
        self.mail =
            Some(Mail { sender, parameters, intake: None, queue_id: None, recipients: 0, only: None, lost: None });
    }

    /// The envelope at the first accepted recipient.
    pub fn envelope(&self, queue_id: QueueId) -> Option<Envelope> {
        let mail = self.mail.as_ref()?;
        let arrival = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as u64;
        let sasl = self.session.user().map(|user| Sasl {
            method: self.mechanism.clone(),
            username: user.to_string(),
            sender: mail.parameters.auth.clone(),
        });
        // `local_header_rewrite_clients = permit_inet_interfaces`: a connection between two addresses of this machine.
        let inside = self.remote.is_none_or(|(remote, local)| remote.ip().is_loopback() || remote.ip() == local.ip());
        Some(Envelope {
            queue_id,
            arrival,
            sender: mail.sender.as_ref().map(internal).unwrap_or_default(),
            recipients: Vec::new(),
            size: 0,
            origin: Origin::Network,
            client: Some(EnvelopeClient {
                name: self.name.clone(),
                reverse_name: self.reverse_name.clone(),
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
            rewrite: if inside { RewriteContext::Local } else { RewriteContext::Remote },
            filter: None,
        })
    }

    /// A recipient that was accepted, as the envelope has it.
    pub fn recipient(&mut self, recipient: &Address, parameters: &RcptParameters) -> Recipient {
        if let Some(mail) = &mut self.mail {
            mail.recipients += 1;
            mail.only = (mail.recipients == 1).then(|| recipient.quoted());
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

    /// The Received header (RFC 5321 section 4.4), as Postfix writes it.
    pub fn received(&self, config: &Config) -> String {
        let helo = self.session.helo_name().unwrap_or("unknown");
        let address = self.address().map(literal).unwrap_or_else(|| "unknown".into());
        let mut header = format!("Received: from {helo} ({} [{address}])\n", self.name);
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
            Some(recipient) => header.push_str(&format!("{by}\n\tfor <{recipient}>; {date}\n")),
            None => header.push_str(&format!("{by};\n\t{date}\n")),
        }
        header
    }
}

/// `name[address]`.
pub fn label(name: &str, address: Option<IpAddr>) -> String {
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
