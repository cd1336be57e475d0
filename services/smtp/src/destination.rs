//! Where a nexthop leads, as the administrator or the recipient's domain names it.

use std::net::IpAddr;

use crate::settings::{Agent, Settings};

/// What a nexthop names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// A unix socket: the connector's index, and the path as the configuration has it.
    Unix { index: u16, path: String },
    /// Servers on the Internet, whose addresses are to be found.
    Inet(Site),
}

/// A domain that has mail exchangers, or a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// Without brackets.
    pub name: String,
    pub port: u16,
    /// Its mail exchangers are looked for; else it is the host itself.
    pub exchangers: bool,
}

/// Why mail cannot go anywhere; whether it waits for better times is what the class of the status says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Enhanced status code.
    pub status: &'static str,
    /// For the log.
    pub reason: String,
}

impl Site {
    /// The address, if it is named by that.
    pub fn literal(&self) -> Option<IpAddr> {
        self.name.parse().ok()
    }
}

impl Destination {
    /// The destination of a nexthop.
    ///
    /// ```text
    /// nexthop = "unix:" path                                            ; lmtp(8)
    ///         / [ "inet:" ] ( host / "[" host "]" ) [ ":" port ]        ; lmtp(8), smtp(8): brackets turn off MX
    /// ```
    ///
    /// # Errors
    /// [`Refusal`]: a socket that no transport names, a port that is none.
    pub fn of(nexthop: &str, settings: &Settings) -> Result<Destination, Refusal> {
        if let Some(path) = nexthop.strip_prefix("unix:").filter(|_| settings.agent == Agent::Lmtp) {
            let index = settings.sockets.iter().position(|socket| socket == path).ok_or_else(|| Refusal {
                status: "4.3.5",
                reason: format!("no transport parameter of main.cf names the socket {path}, so it is out of reach"),
            })?;
            return Ok(Destination::Unix { index: index as u16, path: path.into() });
        }
        let text = nexthop.strip_prefix("inet:").unwrap_or(nexthop);
        let (name, port, bracketed) = split(text, &settings.port);
        let refuse = |what: String| Refusal { status: "4.3.5", reason: format!("bad destination {nexthop}: {what}") };
        let port = port_number(port).ok_or_else(|| refuse(format!("unknown port {port}")))?;
        if name.is_empty() {
            return Err(refuse("it names no host".into()));
        }
        let exchangers = settings.agent == Agent::Smtp && !bracketed;
        Ok(Destination::Inet(Site { name: name.into(), port, exchangers }))
    }
}

/// Host, port, and whether brackets stood around the host.
fn split<'a>(text: &'a str, default_port: &'a str) -> (&'a str, &'a str, bool) {
    if let Some((host, rest)) = text.strip_prefix('[').and_then(|text| text.split_once(']')) {
        let host = host.strip_prefix("IPv6:").or_else(|| host.strip_prefix("ipv6:")).unwrap_or(host);
        return (host, rest.strip_prefix(':').unwrap_or(default_port), true);
    }
    // More than one colon is an IPv6 address without brackets.
    match text.split_once(':') {
        Some((host, port)) if !port.contains(':') => (host, port, false),
        _ => (text, default_port, false),
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
    use crate::delivery::testing::{outside, settings};

    fn inet(name: &str, port: u16, exchangers: bool) -> Destination {
        Destination::Inet(Site { name: name.into(), port, exchangers })
    }

    #[test]
    fn nexthops_of_lmtp() {
        for (nexthop, destination) in [
            ("unix:private/dovecot-lmtp", Destination::Unix { index: 1, path: "private/dovecot-lmtp".into() }),
            ("inet:127.0.0.1:2400", inet("127.0.0.1", 2400, false)),
            ("[192.0.2.7]:lmtp", inet("192.0.2.7", 24, false)),
            ("[::1]:2400", inet("::1", 2400, false)),
            ("inet:[IPv6:2001:db8::1]", inet("2001:db8::1", 24, false)),
            ("2001:db8::1", inet("2001:db8::1", 24, false)),
            ("localhost:2400", inet("localhost", 2400, false)),
            ("mail.example.jp", inet("mail.example.jp", 24, false)),
        ] {
            assert_eq!(Destination::of(nexthop, &settings()), Ok(destination), "{nexthop}");
        }
    }

    #[test]
    fn nexthops_of_smtp() {
        for (nexthop, destination) in [
            ("example.com", inet("example.com", 25, true)),
            ("example.com:submission", inet("example.com", 587, true)),
            ("[example.com]", inet("example.com", 25, false)),
            ("[192.0.2.7]:2525", inet("192.0.2.7", 2525, false)),
        ] {
            assert_eq!(Destination::of(nexthop, &outside()), Ok(destination), "{nexthop}");
        }
        assert!(Destination::of("unix:private/dovecot-lmtp", &outside()).is_err(), "SMTP knows no sockets");
    }

    #[test]
    fn the_port_of_the_settings() {
        let settings = Settings { port: "2525".into(), ..outside() };
        assert_eq!(Destination::of("example.com", &settings), Ok(inet("example.com", 2525, true)));
    }

    #[test]
    fn nexthops_that_lead_nowhere() {
        for nexthop in ["unix:private/other", "127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:x", "", "[]"] {
            let refusal = Destination::of(nexthop, &settings()).unwrap_err();
            assert_eq!(refusal.status, "4.3.5", "{nexthop}");
        }
    }
}
