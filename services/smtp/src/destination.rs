//! Where a nexthop leads.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::settings::{Agent, Settings};

/// A server to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// A unix socket: the connector's index, and the path as the configuration has it.
    Unix { index: u16, path: String },
    /// An Internet host by its addresses, of which at least one is there; they are tried in order.
    Inet { host: String, addresses: Vec<SocketAddr> },
}

/// Why a nexthop leads nowhere now; the mail waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Enhanced status code.
    pub status: &'static str,
    /// For the log.
    pub reason: String,
}

impl Destination {
    /// The destination of a nexthop.
    ///
    /// ```text
    /// nexthop = "unix:" path / [ "inet:" ] ( host / "[" host "]" ) [ ":" port ]    ; lmtp(8), SMTP DESTINATION SYNTAX
    /// ```
    ///
    /// # Errors
    /// [`Refusal`]: a socket that no transport names, a host name that is not `localhost`, a port that is none.
    pub fn of(nexthop: &str, settings: &Settings) -> Result<Destination, Refusal> {
        if settings.agent == Agent::Smtp {
            let reason =
                format!("delivery to other hosts by SMTP is not built yet: mail for {nexthop} stays in the queue");
            return Err(Refusal { status: "4.3.5", reason });
        }
        if let Some(path) = nexthop.strip_prefix("unix:") {
            let index = settings.sockets.iter().position(|socket| socket == path).ok_or_else(|| Refusal {
                status: "4.3.5",
                reason: format!("no transport parameter of main.cf names the socket {path}, so it is out of reach"),
            })?;
            return Ok(Destination::Unix { index: index as u16, path: path.into() });
        }
        let text = nexthop.strip_prefix("inet:").unwrap_or(nexthop);
        let (host, port) = split(text, &settings.port);
        let refuse = |what: String| Refusal { status: "4.3.5", reason: format!("bad destination {nexthop}: {what}") };
        let port = port_number(port).ok_or_else(|| refuse(format!("unknown port {port}")))?;
        let addresses: Vec<IpAddr> = match host.parse() {
            Ok(address) => vec![address],
            Err(_) if host.eq_ignore_ascii_case("localhost") => {
                vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
            }
            Err(_) => return Err(refuse("host names cannot be looked up yet; name the server by its address".into())),
        };
        let addresses = addresses.into_iter().map(|address| SocketAddr::new(address, port)).collect();
        Ok(Destination::Inet { host: host.into(), addresses })
    }

    /// Names of the server at address number `address`: with the address, as texts have it, and with the port as well, as
    /// `relay=` has it.
    pub fn names(&self, address: usize, settings: &Settings) -> (String, String) {
        match self {
            Destination::Unix { path, .. } => {
                let name = format!("{}[{path}]", settings.my_hostname);
                (name.clone(), name)
            }
            Destination::Inet { host, addresses } => {
                let at = addresses[address];
                (format!("{host}[{}]", at.ip()), format!("{host}[{}]:{}", at.ip(), at.port()))
            }
        }
    }

    /// The server's host name, for `Remote-MTA`.
    pub fn host<'a>(&'a self, settings: &'a Settings) -> &'a str {
        match self {
            Destination::Unix { .. } => &settings.my_hostname,
            Destination::Inet { host, .. } => host,
        }
    }
}

/// Host and port; brackets around the host go away.
fn split<'a>(text: &'a str, default_port: &'a str) -> (&'a str, &'a str) {
    if let Some((host, rest)) = text.strip_prefix('[').and_then(|text| text.split_once(']')) {
        let host = host.strip_prefix("IPv6:").or_else(|| host.strip_prefix("ipv6:")).unwrap_or(host);
        return (host, rest.strip_prefix(':').unwrap_or(default_port));
    }
    // More than one colon is an IPv6 address without brackets.
    match text.split_once(':') {
        Some((host, port)) if !port.contains(':') => (host, port),
        _ => (text, default_port),
    }
}

/// A number, or the name of a service that carries mail (`/etc/services` is out of the agent's sight).
fn port_number(text: &str) -> Option<u16> {
    match text {
        "lmtp" => Some(24),
        "smtp" => Some(25),
        "submission" => Some(587),
        number => number.parse().ok().filter(|&port| port > 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::testing::settings;

    #[test]
    fn nexthops() {
        let inet = |host: &str, addresses: &[&str]| {
            let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
            Destination::Inet { host: host.into(), addresses }
        };
        let table = [
            ("unix:private/dovecot-lmtp", Destination::Unix { index: 1, path: "private/dovecot-lmtp".into() }),
            ("inet:127.0.0.1:2400", inet("127.0.0.1", &["127.0.0.1:2400"])),
            ("[192.0.2.7]:lmtp", inet("192.0.2.7", &["192.0.2.7:24"])),
            ("[::1]:2400", inet("::1", &["[::1]:2400"])),
            ("inet:[IPv6:2001:db8::1]", inet("2001:db8::1", &["[2001:db8::1]:24"])),
            ("2001:db8::1", inet("2001:db8::1", &["[2001:db8::1]:24"])),
            ("localhost:2400", inet("localhost", &["127.0.0.1:2400", "[::1]:2400"])),
            ("localhost", inet("localhost", &["127.0.0.1:24", "[::1]:24"])),
        ];
        for (nexthop, destination) in table {
            assert_eq!(Destination::of(nexthop, &settings()), Ok(destination), "{nexthop}");
        }
    }

    #[test]
    fn nexthops_that_lead_nowhere() {
        for nexthop in
            ["unix:private/other", "mail.example.jp", "127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:x", "", "["]
        {
            let refusal = Destination::of(nexthop, &settings()).unwrap_err();
            assert_eq!(refusal.status, "4.3.5", "{nexthop}");
        }
    }

    #[test]
    fn names_as_postfix_logs_them() {
        let unix = Destination::of("unix:private/dovecot-lmtp", &settings()).unwrap();
        let name = "mail.example.jp[private/dovecot-lmtp]".to_string();
        assert_eq!(unix.names(0, &settings()), (name.clone(), name));
        let inet = Destination::of("inet:localhost:2400", &settings()).unwrap();
        assert_eq!(inet.names(0, &settings()), ("localhost[127.0.0.1]".into(), "localhost[127.0.0.1]:2400".into()));
    }
}
