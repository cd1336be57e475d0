//! How much a client may do (`smtpd_client_*_limit`), in Postfix's words. The counts are anvil's; what they mean is here.
//!
//! Clients in `smtpd_client_event_limit_exceptions` have no limit, and neither has anybody while anvil does not answer.

use std::net::IpAddr;

use ipc_config::postfix::match_list::NetworkList;
use ipc_config::section::Section;
use ipc_messages::anvil::Event;
use proto_smtp::reply::Reply;
use proto_smtp::server::Question;

/// The limits; 0 is none.
#[derive(Debug)]
pub struct Limits {
    connections: u32,
    connection_rate: u32,
    messages: u32,
    recipients: u32,
    auths: u32,
    tls_sessions: u32,
    exceptions: NetworkList,
}

/// A client as replies and warnings name it.
#[derive(Debug, Clone, Copy)]
pub struct Who<'a> {
    /// `name[address]`
    pub label: &'a str,
    /// The address.
    pub address: IpAddr,
    /// Our service, as master.cf names it.
    pub service: &'a str,
    /// `myhostname`
    pub hostname: &'a str,
}

/// A client that does too much.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// For the log.
    pub warning: String,
    /// For the client.
    pub reply: Reply,
}

impl Limits {
    /// Reads the section.
    pub fn new(section: &Section) -> Limits {
        let number = |name: &str| section.transport.number(name).try_into().unwrap_or(u32::MAX);
        let exceptions = section.networks.get("smtpd_client_event_limit_exceptions").cloned();
        Limits {
            connections: number("smtpd_client_connection_count_limit"),
            connection_rate: number("smtpd_client_connection_rate_limit"),
            messages: number("smtpd_client_message_rate_limit"),
            recipients: number("smtpd_client_recipient_rate_limit"),
            auths: number("smtpd_client_auth_rate_limit"),
            tls_sessions: number("smtpd_client_new_tls_session_rate_limit"),
            exceptions: exceptions.unwrap_or(NetworkList { parents: false, items: Vec::new() }),
        }
    }

    /// Whether anything is limited: otherwise nothing is counted.
    pub fn is_any(&self) -> bool {
        let rates = self.messages | self.recipients | self.auths | self.tls_sessions;
        self.connections | self.connection_rate | rates > 0
    }

    /// Whether the client has no limits. Its name counts if it is verified.
    pub fn exempt(&self, name: Option<&str>, address: IpAddr) -> bool {
        self.exceptions.matches(name, address, |_| Err(())).unwrap_or(false)
    }

    /// The event that a command is, if that is limited.
    pub fn event(&self, question: &Question) -> Option<Event> {
        let event = match question {
            Question::Mail { .. } => Event::Message,
            Question::Rcpt { .. } => Event::Recipient,
            Question::AuthStart { .. } => Event::Auth,
            Question::StartTls => Event::NewTls,
            _ => return None,
        };
        self.is_limited(event).then_some(event)
    }

    /// Whether there is a limit for these events.
    pub fn is_limited(&self, event: Event) -> bool {
        self.limit(event) > 0
    }

    fn limit(&self, event: Event) -> u32 {
        match event {
            Event::Message => self.messages,
            Event::Recipient => self.recipients,
            Event::Auth => self.auths,
            Event::NewTls => self.tls_sessions,
        }
    }

    /// Judges a new connection.
    pub fn connection(&self, count: u32, rate: u32, who: Who<'_>) -> Option<Refusal> {
        let (what, value) = if self.connections > 0 && count > self.connections {
            ("concurrency", count)
        } else if self.connection_rate > 0 && rate > self.connection_rate {
            ("rate", rate)
        } else {
            return None;
        };
        let Who { label, address, service, hostname } = who;
        Some(Refusal {
            warning: format!("Connection {what} limit exceeded: {value} from {label} for service {service}"),
            reply: Reply::new(421, &format!("4.7.0 {hostname} Error: too many connections from {address}")),
        })
    }

    /// Judges a command, which is itself counted but for STARTTLS: there the sessions before it are.
    pub fn command(&self, event: Event, rate: u32, who: Who<'_>) -> Option<Refusal> {
        let limit = self.limit(event);
        if limit == 0 || rate <= limit {
            return None;
        }
        let Who { label, address, service, .. } = who;
        let (what, code, text) = match event {
            Event::Message => ("Message delivery request", 450, format!("4.7.1 Error: too much mail from {address}")),
            Event::Recipient => ("Recipient address", 450, format!("4.7.1 Error: too many recipients from {address}")),
            Event::Auth => ("AUTH command", 450, format!("4.7.1 Error: too many AUTH commands from {address}")),
            Event::NewTls => {
                let warning = format!("Refusing STARTTLS request from {label} for service {service}");
                let text = format!("4.7.0 Error: too many new TLS sessions from {label}");
                return Some(Refusal { warning, reply: Reply::new(454, &text) });
            }
        };
        let warning = format!("{what} rate limit exceeded: {rate} from {label} for service {service}");
        Some(Refusal { warning, reply: Reply::new(code, &text) })
    }

    /// Judges a TLS session that was just made.
    pub fn tls_session(&self, rate: u32, who: Who<'_>) -> Option<Refusal> {
        if self.tls_sessions == 0 || rate <= self.tls_sessions {
            return None;
        }
        let Who { label, service, hostname, .. } = who;
        Some(Refusal {
            warning: format!("New TLS session rate limit exceeded: {rate} from {label} for service {service}"),
            reply: Reply::new(421, &format!("4.7.0 {hostname} Error: too many new TLS sessions from {label}")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ipc_config::postfix::match_list::{Item, Pattern};
    use ipc_config::postfix::network::Network;

    fn limits() -> Limits {
        let network = Pattern::Network(Network::parse("192.0.2.0/24").unwrap().unwrap());
        let item = |pattern| Item { negated: false, pattern };
        let items = vec![item(network), item(Pattern::Text("friend.example".into()))];
        Limits {
            connections: 2,
            connection_rate: 5,
            messages: 1,
            recipients: 3,
            auths: 4,
            tls_sessions: 6,
            exceptions: NetworkList { parents: false, items },
        }
    }

    fn none() -> Limits {
        let exceptions = NetworkList { parents: false, items: Vec::new() };
        Limits { connections: 0, connection_rate: 0, messages: 0, recipients: 0, auths: 0, tls_sessions: 0, exceptions }
    }

    fn who() -> Who<'static> {
        let address = "198.51.100.1".parse().unwrap();
        Who { label: "c.example[198.51.100.1]", address, service: "smtp", hostname: "mx.example" }
    }

    fn said(refusal: Option<Refusal>) -> (String, String) {
        refusal.map(|refusal| (refusal.warning, refusal.reply.one_line())).unwrap_or_default()
    }

    fn both(warning: &str, reply: &str) -> (String, String) {
        (warning.into(), reply.into())
    }

    #[test]
    fn connections() {
        let limits = limits();
        assert_eq!(limits.connection(2, 5, who()), None);
        let reply = "421 4.7.0 mx.example Error: too many connections from 198.51.100.1";
        assert_eq!(
            said(limits.connection(3, 6, who())),
            both("Connection concurrency limit exceeded: 3 from c.example[198.51.100.1] for service smtp", reply)
        );
        assert_eq!(
            said(limits.connection(1, 6, who())),
            both("Connection rate limit exceeded: 6 from c.example[198.51.100.1] for service smtp", reply)
        );
        assert_eq!(none().connection(1000, 1000, who()), None);
    }

    #[test]
    fn commands() {
        let limits = limits();
        for (event, limit, what, text) in [
            (Event::Message, 1, "Message delivery request", "too much mail"),
            (Event::Recipient, 3, "Recipient address", "too many recipients"),
            (Event::Auth, 4, "AUTH command", "too many AUTH commands"),
        ] {
            assert_eq!(limits.command(event, limit, who()), None);
            let rate = limit + 1;
            let warning = format!("{what} rate limit exceeded: {rate} from c.example[198.51.100.1] for service smtp");
            let reply = format!("450 4.7.1 Error: {text} from 198.51.100.1");
            assert_eq!(said(limits.command(event, rate, who())), (warning, reply));
            assert_eq!(none().command(event, 1000, who()), None);
        }
    }

    #[test]
    fn tls_sessions() {
        let limits = limits();
        assert_eq!((limits.command(Event::NewTls, 6, who()), limits.tls_session(6, who())), (None, None));
        assert_eq!(
            said(limits.command(Event::NewTls, 7, who())),
            both(
                "Refusing STARTTLS request from c.example[198.51.100.1] for service smtp",
                "454 4.7.0 Error: too many new TLS sessions from c.example[198.51.100.1]"
            )
        );
        assert_eq!(
            said(limits.tls_session(7, who())),
            both(
                "New TLS session rate limit exceeded: 7 from c.example[198.51.100.1] for service smtp",
                "421 4.7.0 mx.example Error: too many new TLS sessions from c.example[198.51.100.1]"
            )
        );
        assert_eq!(none().tls_session(1000, who()), None);
    }

    #[test]
    fn only_what_is_limited_is_counted() {
        let auth = Question::AuthStart { mechanism: "PLAIN".into(), initial: None };
        assert_eq!(limits().event(&auth), Some(Event::Auth));
        assert_eq!(limits().event(&Question::StartTls), Some(Event::NewTls));
        assert_eq!((limits().event(&Question::Data), none().event(&auth)), (None, None));
        assert!(limits().is_any() && !none().is_any());
    }

    #[test]
    fn exceptions() {
        let limits = limits();
        let exempt = |name, address: &str| limits.exempt(name, address.parse().unwrap());
        assert!(exempt(None, "192.0.2.7") && exempt(Some("friend.example"), "198.51.100.1"));
        assert!(!exempt(None, "198.51.100.1") && !exempt(Some("other.example"), "198.51.100.1"));
    }
}
