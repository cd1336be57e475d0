//! Where a service listens, in one form for each way to write it.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::postfix::system::System;

/// Ports that need no services file, besides `known_tcp_ports`.
const BUILT_IN: &[(&str, u16)] =
    &[("smtp", 25), ("submission", 587), ("smtps", 465), ("submissions", 465), ("lmtp", 24), ("qmqp", 628)];

/// Where a service listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Endpoint {
    /// A TCP port, on one host address or on those of `inet_interfaces`.
    Inet {
        /// The host that the row names.
        host: Option<Host>,
        /// The port, never 0.
        port: u16,
    },
    /// A socket in the queue directory: `private/NAME` or `public/NAME`.
    Local {
        /// The path, relative to `queue_directory`.
        path: String,
    },
}

/// The host in a service name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Host {
    /// A numeric address.
    Address(IpAddr),
    /// A name, to be resolved when the socket is opened.
    Name(String),
}

impl fmt::Display for Endpoint {
    /// Postfix's canonical name: `25`, `[127.0.0.1]:25`, `private/bounce`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Inet { host: None, port } => write!(f, "{port}"),
            Endpoint::Inet { host: Some(Host::Address(address)), port } => write!(f, "[{address}]:{port}"),
            Endpoint::Inet { host: Some(Host::Name(name)), port } => write!(f, "[{name}]:{port}"),
            Endpoint::Local { path } => f.write_str(path),
        }
    }
}

/// The names of ports.
pub(super) struct Ports {
    known: Vec<(String, u16)>,
    system: Arc<dyn System>,
}

impl Ports {
    /// The ports of `known_tcp_ports`, whose words are `name=number` or `name=other=number`, before all others.
    pub fn new(known_tcp_ports: &[String], system: &Arc<dyn System>) -> Ports {
        let mut known = Vec::new();
        for word in known_tcp_ports {
            let parts: Vec<&str> = word.split('=').collect();
            if let Some((Ok(port), names)) = parts.split_last().map(|(last, names)| (last.parse(), names)) {
                known.extend(names.iter().map(|name| ((*name).to_owned(), port)));
            }
        }
        Ports { known, system: Arc::clone(system) }
    }

    fn find(&self, service: &str) -> Option<u16> {
        let known = self.known.iter().find(|(name, _)| name == service).map(|(_, port)| *port);
        known
            .or_else(|| BUILT_IN.iter().find(|(name, _)| *name == service).map(|(_, port)| *port))
            .or_else(|| self.system.tcp_port(service))
    }
}

/// The endpoint of a service of type inet, or what is wrong with its name in Postfix's words.
///
/// ```text
/// service = "[" [ "ipv6:" ] host "]" [ ":" port ] / [ host ] ":" port / port
/// ```
pub(super) fn inet(service: &str, ports: &Ports) -> Result<Endpoint, String> {
    let (host, port) = if let Some(rest) = service.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or("missing \"]\"")?;
        let rest = if rest.is_empty() { rest } else { rest.strip_prefix(':').ok_or("garbage after \"]\"")? };
        (host, rest)
    } else {
        service.rsplit_once(':').unwrap_or(("", service))
    };
    let host = if host.is_empty() && !service.starts_with('[') { None } else { Some(parse_host(host)?) };
    if port.is_empty() {
        return Err("missing service information".to_owned());
    }
    if port.starts_with(|c: char| c.is_ascii_digit()) {
        if !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err("garbage after numerical service".to_owned());
        }
        return match port.parse() {
            Ok(port @ 1..) => Ok(Endpoint::Inet { host, port }),
            _ => Err("port number out of range".to_owned()),
        };
    }
    let port = ports.find(port).ok_or_else(|| format!("unknown service \"{port}\""))?;
    Ok(Endpoint::Inet { host, port })
}

fn parse_host(host: &str) -> Result<Host, String> {
    let is_v6 = host.get(..5).is_some_and(|tag| tag.eq_ignore_ascii_case("ipv6:"));
    if is_v6 {
        let address = host[5..].parse().map_err(|_| "malformed IPv6 address")?;
        return Ok(Host::Address(IpAddr::V6(address)));
    }
    if let Ok(address) = host.parse() {
        return Ok(Host::Address(address));
    }
    let is_label = |label: &str| {
        let inner = label.trim_matches('-');
        let legal = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_' || !c.is_ascii();
        !label.is_empty() && label.len() <= 63 && inner.len() == label.len() && label.chars().all(legal)
    };
    let numeric = host.chars().all(|c| c.is_ascii_digit() || c == '.');
    if host.len() <= 255 && !numeric && host.split('.').all(is_label) {
        Ok(Host::Name(host.to_ascii_lowercase()))
    } else {
        Err("valid hostname or network address required".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postfix::system::fake::FakeHost;

    fn canonical(service: &str) -> String {
        let known = ["lmtp=24", "smtps=submissions=465", "mine=26"].map(str::to_owned);
        let system: Arc<dyn System> = Arc::new(FakeHost::default());
        inet(service, &Ports::new(&known, &system)).map_or_else(|error| format!("error: {error}"), |e| e.to_string())
    }

    #[test]
    fn each_service_has_one_name() {
        for (service, name) in [
            ("smtp", "25"),
            ("25", "25"),
            (":25", "25"),
            ("submissions", "465"),
            ("mine", "26"),
            ("custom", "10025"),
            ("127.0.0.1:smtp", "[127.0.0.1]:25"),
            ("[127.0.0.1]:25", "[127.0.0.1]:25"),
            ("[::1]:25", "[::1]:25"),
            ("[ipv6:0:0::1]:25", "[::1]:25"),
            ("::1:25", "[::1]:25"),
            ("Mail.Example.org:587", "[mail.example.org]:587"),
            ("nosuch", "error: unknown service \"nosuch\""),
            ("25x", "error: garbage after numerical service"),
            ("0", "error: port number out of range"),
            ("65536", "error: port number out of range"),
            ("[::1", "error: missing \"]\""),
            ("[::1]25", "error: garbage after \"]\""),
            ("[::1]", "error: missing service information"),
            ("a:", "error: missing service information"),
            ("[ipv6:1.2.3.4]:25", "error: malformed IPv6 address"),
            ("a..b:25", "error: valid hostname or network address required"),
            ("1.2.3:25", "error: valid hostname or network address required"),
            ("[]:25", "error: valid hostname or network address required"),
        ] {
            assert_eq!(canonical(service), name, "{service}");
        }
    }
}
