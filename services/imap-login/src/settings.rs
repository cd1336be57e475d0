//! The section of `imap-login`.

use std::net::{IpAddr, SocketAddr};

use ipc_config::dovecot::variables::{Vars, expand};
use ipc_config::section::Section;
use ipc_messages::tls::Offer;
use ipnet::IpNet;
use proto_imap::login::{self, Mechanism, Tls};

use crate::line::{Facts, Format};

/// Everything that the process is told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `login_greeting`, with variables.
    greeting: String,
    /// `disable_plaintext_auth`.
    disable_plaintext: bool,
    /// `ssl`.
    tls: Tls,
    /// `imap_id_send`.
    id: Vec<(String, String)>,
    /// `mail_max_userip_connections`; 0 for no limit.
    pub max_sessions: u64,
    /// `login_trusted_networks`.
    trusted: Vec<IpNet>,
    /// Key pairs, if TLS can be had.
    pub offer: Option<Offer>,
    /// `login_log_format` and its elements.
    pub format: Format,
}

impl Settings {
    /// Reads the section.
    pub fn read(section: &Section) -> Settings {
        let text = |name| section.mailbox.text(name);
        Settings {
            greeting: text("login_greeting").to_owned(),
            disable_plaintext: section.mailbox.boolean("disable_plaintext_auth"),
            tls: match (text("ssl"), &section.tls) {
                ("no", _) => Tls::No,
                ("required", _) => Tls::Required,
                (_, None) => Tls::No,
                (_, Some(_)) => Tls::Yes,
            },
            id: id_fields(text("imap_id_send")),
            max_sessions: section.mailbox.number("mail_max_userip_connections"),
            trusted: section.mailbox.list("login_trusted_networks").into_iter().filter_map(network).collect(),
            offer: section.tls.clone(),
            format: Format::new(text("login_log_format"), text("login_log_format_elements")),
        }
    }

    /// Whether nobody can listen: the client is on this host, or in a network that is trusted.
    pub fn trusts(&self, remote: SocketAddr, local: SocketAddr) -> bool {
        remote.ip() == local.ip() || self.trusted.iter().any(|network| network.contains(&remote.ip()))
    }

    /// What the machine is told for one connection.
    pub fn login(&self, mechanisms: &[String], facts: &Facts) -> login::Settings {
        let vars = Vars { value: &|name| facts.value(name), environment: &|_| None, md5: None };
        // The names are those that auth has, and both show the password.
        let mechanism = |name: &String| Mechanism { name: name.clone(), plaintext: true };
        login::Settings {
            greeting: expand(&self.greeting, &vars).unwrap_or_else(|_| self.greeting.clone()),
            mechanisms: mechanisms.iter().map(mechanism).collect(),
            disable_plaintext: self.disable_plaintext,
            tls: self.tls,
            id: self.id.clone(),
        }
    }
}

/// A network, or one address.
fn network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

/// ```text
/// imap_id_send = *( name value )      ; "*" as a value is our own
/// ```
/// Of our own values there is the name; a field without a value is left out.
fn id_fields(text: &str) -> Vec<(String, String)> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let field = |pair: &[&str]| match pair {
        ["name", "*"] => Some(("name".to_owned(), "Dovecot".to_owned())),
        [_, "*"] => None,
        [name, value] => Some(((*name).to_owned(), (*value).to_owned())),
        _ => None,
    };
    words.chunks(2).filter_map(field).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section() -> Section {
        let mut section = Section::default();
        for (name, value) in [
            ("login_greeting", "Hi %s from %l"),
            ("disable_plaintext_auth", "yes"),
            ("ssl", "yes"),
            ("mail_max_userip_connections", "10"),
            ("imap_id_send", "name * version * vendor Posthorn odd"),
            ("login_trusted_networks", "10.0.0.0/8 192.0.2.7"),
            ("login_log_format", "%$: %s"),
            ("login_log_format_elements", "user=<%u>"),
        ] {
            section.mailbox.insert(name, value);
        }
        section
    }

    #[test]
    fn who_is_trusted() {
        let settings = Settings::read(&section());
        for (remote, local, expected) in [
            ("10.1.2.3:5", "192.0.2.1:143", true),
            ("192.0.2.7:5", "192.0.2.1:143", true),
            ("192.0.2.8:5", "192.0.2.1:143", false),
            ("192.0.2.1:5", "192.0.2.1:143", true),
            ("[::1]:5", "[::1]:143", true),
        ] {
            assert_eq!(settings.trusts(remote.parse().unwrap(), local.parse().unwrap()), expected, "{remote}");
        }
    }

    #[test]
    fn a_greeting_has_variables_and_the_machine_its_settings() {
        let facts = Facts {
            user: String::new(),
            mechanism: String::new(),
            remote: "10.1.2.3:5".parse().unwrap(),
            local: "192.0.2.1:143".parse().unwrap(),
            secured: String::new(),
            security: String::new(),
            session: String::new(),
            mail_pid: None,
            listener: String::new(),
        };
        let login = Settings::read(&section()).login(&["PLAIN".into()], &facts);
        assert_eq!(login.greeting, "Hi imap from 192.0.2.1");
        assert_eq!(login.tls, Tls::No, "without a key pair there is none");
        let fields: Vec<_> = login.id.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(fields, [("name", "Dovecot"), ("vendor", "Posthorn")]);
    }
}
