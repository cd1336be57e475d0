//! What a request says about the client it is for.

use std::net::IpAddr;

use super::fields::escape;

/// How a client's connection is protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Secured {
    /// Not at all.
    #[default]
    No,
    /// By where it comes from (the same host, a trusted network).
    Trusted,
    /// By TLS.
    Tls,
}

/// The parameters of AUTH, USER, PASS and LIST.
///
/// Unknown names are ignored, as the protocol demands, and so are addresses and ports that are none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameters {
    /// The service that asks (`imap`, `smtp`, `lmtp`, …): required.
    pub service: String,
    /// The mechanism may send data with its success.
    pub final_response: bool,
    /// How the client's connection is protected.
    pub secured: Secured,
    /// The service authenticates only; nobody will take the login over (sent by Postfix).
    pub no_login: bool,
    /// The client presented a valid certificate.
    pub valid_certificate: bool,
    /// Failures of this client do not delay it.
    pub no_penalty: bool,
    /// Debug logging for this request.
    pub debug: bool,
    /// The session's identifier.
    pub session: Option<String>,
    /// The user name in the client's certificate.
    pub certificate_user: Option<String>,
    /// Our address, as the client meant it.
    pub local_ip: Option<IpAddr>,
    /// The client's address.
    pub remote_ip: Option<IpAddr>,
    /// Our port.
    pub local_port: Option<u16>,
    /// The client's port.
    pub remote_port: Option<u16>,
    /// Our address on the connection itself, if a proxy stands between.
    pub real_local_ip: Option<IpAddr>,
    /// The proxy's address.
    pub real_remote_ip: Option<IpAddr>,
    /// Our port on the connection itself.
    pub real_local_port: Option<u16>,
    /// The proxy's port.
    pub real_remote_port: Option<u16>,
    /// The name that the client asked for by TLS' SNI.
    pub local_name: Option<String>,
    /// What the client said of itself (IMAP ID).
    pub client_id: Option<String>,
    /// Fields that a proxy passes on, themselves an escaped list.
    pub forward: Option<String>,
}

impl Parameters {
    /// Parameters of a service that says nothing more.
    pub fn new(service: &str) -> Self {
        Self { service: service.to_owned(), ..Self::default() }
    }

    /// Takes one `name=value` (or bare) parameter; whether its name is known.
    pub(super) fn set(&mut self, name: &str, value: &str) -> bool {
        let text = || Some(value.to_owned());
        match name {
            "service" => self.service = value.to_owned(),
            "final-resp-ok" => self.final_response = true,
            "secured" => self.secured = if value == "tls" { Secured::Tls } else { Secured::Trusted },
            "nologin" => self.no_login = true,
            "valid-client-cert" => self.valid_certificate = true,
            "no-penalty" => self.no_penalty = true,
            "debug" => self.debug = true,
            "session" => self.session = text(),
            "cert_username" => self.certificate_user = text().filter(|user| !user.is_empty()),
            "lip" => self.local_ip = value.parse().ok(),
            "rip" => self.remote_ip = value.parse().ok(),
            "lport" => self.local_port = port(value),
            "rport" => self.remote_port = port(value),
            "real_lip" => self.real_local_ip = value.parse().ok(),
            "real_rip" => self.real_remote_ip = value.parse().ok(),
            "real_lport" => self.real_local_port = port(value),
            "real_rport" => self.real_remote_port = port(value),
            "local_name" => self.local_name = text(),
            "client_id" => self.client_id = text(),
            "forward_fields" => self.forward = text(),
            _ => return false,
        }
        true
    }

    /// Appends the parameters, each with a tab before it, in the order in which Dovecot's own clients write them.
    pub fn write(&self, out: &mut String) {
        fn flag(out: &mut String, name: &str, set: bool) {
            if set {
                out.push('\t');
                out.push_str(name);
            }
        }
        fn value(out: &mut String, name: &str, value: Option<impl ToString>) {
            if let Some(value) = value {
                out.push('\t');
                out.push_str(name);
                out.push('=');
                escape(out, &value.to_string());
            }
        }
        value(out, "service", Some(&self.service));
        flag(out, "final-resp-ok", self.final_response);
        match self.secured {
            Secured::No => {}
            Secured::Trusted => out.push_str("\tsecured"),
            Secured::Tls => out.push_str("\tsecured=tls"),
        }
        flag(out, "nologin", self.no_login);
        flag(out, "no-penalty", self.no_penalty);
        flag(out, "valid-client-cert", self.valid_certificate);
        flag(out, "debug", self.debug);
        value(out, "session", self.session.as_ref());
        value(out, "cert_username", self.certificate_user.as_ref());
        value(out, "lip", self.local_ip);
        value(out, "rip", self.remote_ip);
        value(out, "lport", self.local_port);
        value(out, "rport", self.remote_port);
        value(out, "real_lip", self.real_local_ip);
        value(out, "real_rip", self.real_remote_ip);
        value(out, "real_lport", self.real_local_port);
        value(out, "real_rport", self.real_remote_port);
        value(out, "local_name", self.local_name.as_ref());
        value(out, "client_id", self.client_id.as_ref());
        value(out, "forward_fields", self.forward.as_ref());
    }
}

fn port(value: &str) -> Option<u16> {
    value.parse().ok().filter(|port| *port != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dovecot::fields;

    #[test]
    fn every_parameter_round_trips() {
        let full = Parameters {
            service: "imap".into(),
            final_response: true,
            secured: Secured::Tls,
            no_login: true,
            valid_certificate: true,
            no_penalty: true,
            debug: true,
            session: Some("a\tb".into()),
            certificate_user: Some("c".into()),
            local_ip: Some([127, 0, 0, 1].into()),
            remote_ip: Some("::1".parse().unwrap()),
            local_port: Some(143),
            remote_port: Some(5),
            real_local_ip: Some([1, 2, 3, 4].into()),
            real_remote_ip: Some([1, 2, 3, 5].into()),
            real_local_port: Some(6),
            real_remote_port: Some(7),
            local_name: Some("n".into()),
            client_id: Some("i=j".into()),
            forward: Some("k".into()),
        };
        for parameters in
            [full, Parameters::new("smtp"), Parameters { secured: Secured::Trusted, ..Parameters::new("x") }]
        {
            let mut line = String::new();
            parameters.write(&mut line);
            let mut read = Parameters::default();
            for field in fields::split(&line[1..]) {
                let (name, value) = field.split_once('=').unwrap_or((&field, ""));
                assert!(read.set(name, value), "{name}");
            }
            assert_eq!(read, parameters);
        }
    }

    #[test]
    fn nonsense_is_ignored() {
        let mut read = Parameters::default();
        assert!(!read.set("colour", "blue"));
        for (name, value) in [("lip", "x"), ("rport", "70000"), ("lport", "0"), ("cert_username", "")] {
            assert!(read.set(name, value));
        }
        assert_eq!(read, Parameters::default());
    }
}
