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
    use proto_imap::login::{Action, Login};
    use proto_imap::session::Now;

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

    /// What the machine says to a client at this address that sends `input`, with these values of parameters. There is a key
    /// pair.
    fn said(values: &[(&str, &str)], remote: &str, input: &str) -> String {
        let mut section = section();
        section.tls = Some(Offer { keys: vec![0], tls12: true, tls13: true });
        for (name, value) in values {
            section.mailbox.insert(*name, *value);
        }
        let (settings, now) = (Settings::read(&section), Now { unix: 0, monotonic_ms: 0 });
        let facts = facts(remote);
        let trusted = settings.trusts(facts.remote, facts.local);
        let mut login = Login::new(settings.login(&["PLAIN".into()], &facts), false, trusted, now);
        let (_, action) = login.process(input.as_bytes(), now);
        let mut said = String::from_utf8(login.output().to_vec()).unwrap();
        match action {
            Some(Action::Authenticate { .. }) => said.push_str("auth is asked"),
            Some(Action::StartTls) => said.push_str("TLS begins"),
            _ => {}
        }
        said
    }

    fn facts(remote: &str) -> Facts {
        Facts {
            user: "u".into(),
            mechanism: String::new(),
            remote: remote.parse().unwrap(),
            local: "192.0.2.1:143".parse().unwrap(),
            secured: String::new(),
            security: String::new(),
            session: String::new(),
            mail_pid: None,
            listener: String::new(),
        }
    }

    const STRANGER: &str = "203.0.113.9:5";

    #[test]
    fn greetings() {
        assert!(said(&[("login_greeting", "Hi %s from %l")], STRANGER, "").ends_with("] Hi imap from 192.0.2.1\r\n"));
        assert!(said(&[("login_greeting", "Dovecot ready.")], STRANGER, "").ends_with("] Dovecot ready.\r\n"));
    }

    #[test]
    fn fields_of_id_before_login() {
        let id = |value| said(&[("imap_id_send", value)], STRANGER, "a ID NIL\r\n");
        assert!(id("name * version * vendor X odd").contains("* ID (\"name\" \"Dovecot\" \"vendor\" \"X\")\r\n"));
        assert!(id("name Y").contains("* ID (\"name\" \"Y\")\r\n"));
    }

    #[test]
    fn passwords_in_clear() {
        let login = |name, value, remote| said(&[(name, value)], remote, "a LOGIN u p\r\n");
        assert!(login("disable_plaintext_auth", "yes", STRANGER).contains("a NO [PRIVACYREQUIRED] "));
        assert!(login("disable_plaintext_auth", "no", STRANGER).ends_with("auth is asked"));
        assert!(login("login_trusted_networks", "203.0.113.0/24", STRANGER).ends_with("auth is asked"));
        assert!(login("login_trusted_networks", "198.51.100.0/24", STRANGER).contains("a NO [PRIVACYREQUIRED] "));
    }

    #[test]
    fn tls_as_configured() {
        let starttls = |value| said(&[("ssl", value)], STRANGER, "a STARTTLS\r\n");
        for value in ["yes", "required"] {
            assert!(starttls(value).contains(" STARTTLS "), "{value}");
            assert!(starttls(value).ends_with("TLS begins"), "{value}");
        }
        assert!(starttls("no").contains("a BAD TLS support isn't enabled."));
        let mut open = section();
        open.mailbox.insert("disable_plaintext_auth", "no");
        assert_eq!(Settings::read(&open).login(&[], &facts(STRANGER)).tls, Tls::No, "without a key pair there is none");
        let login = |value| said(&[("ssl", value), ("disable_plaintext_auth", "no")], STRANGER, "a LOGIN u p\r\n");
        assert!(login("yes").ends_with("auth is asked"));
        assert!(login("required").contains("a NO [PRIVACYREQUIRED] "));
    }

    #[test]
    fn log_lines() {
        let line = |name: &str, value: &str| {
            let mut section = section();
            section.mailbox.insert(name, value);
            Settings::read(&section).format.line("Login", &facts(STRANGER))
        };
        assert_eq!(line("login_log_format", "%$: %s"), "Login: user=<u>");
        assert_eq!(line("login_log_format", "(%s) %$"), "(user=<u>) Login");
        assert_eq!(line("login_log_format_elements", "%u from=%r lport=%a"), "Login: u, from=203.0.113.9, lport=143");
    }
}
