//! `/etc/resolv.conf` (resolv.conf(5)): name servers and how they are asked. What a resolver of absolute names has no use
//! for (`search`, `ndots`, `sortlist`, …) is passed over, and so is a line that cannot be read, as in the system's own.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// Servers that are used (MAXNS).
pub const MAX_SERVERS: usize = 3;
/// RES_MAXRETRANS, in seconds.
const MAX_TIMEOUT: u64 = 30;
/// RES_MAXRETRY
const MAX_ATTEMPTS: u32 = 5;
const PORT: u16 = 53;

/// How names are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvConf {
    /// From one to [`MAX_SERVERS`], in the order in which they are asked.
    pub servers: Vec<SocketAddr>,
    /// How long one server may take to answer.
    pub timeout: Duration,
    /// How often each server is asked.
    pub attempts: u32,
    /// Whether the first question goes to another server each time.
    pub rotate: bool,
    /// Whether UDP is not used at all.
    pub tcp: bool,
    /// Whether the servers' word on DNSSEC counts although they are not on this machine.
    pub trust_ad: bool,
}

impl Default for ResolvConf {
    /// What holds without a file.
    fn default() -> ResolvConf {
        ResolvConf {
            servers: vec![(Ipv4Addr::LOCALHOST, PORT).into()],
            timeout: Duration::from_secs(5),
            attempts: 2,
            rotate: false,
            tcp: false,
            trust_ad: false,
        }
    }
}

impl ResolvConf {
    /// Reads the text of the file.
    pub fn parse(text: &str) -> ResolvConf {
        let mut conf = ResolvConf { servers: Vec::new(), ..ResolvConf::default() };
        for line in text.lines().filter(|line| !line.starts_with(['#', ';'])) {
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") => conf.servers.extend(words.next().and_then(server)),
                Some("options") => words.for_each(|word| conf.option(word)),
                _ => {}
            }
        }
        conf.servers.truncate(MAX_SERVERS);
        if conf.servers.is_empty() {
            conf.servers = ResolvConf::default().servers;
        }
        conf
    }

    fn option(&mut self, word: &str) {
        match word.split_once(':').unwrap_or((word, "")) {
            ("timeout", n) => {
                let seconds = n.parse::<u64>().unwrap_or(5).clamp(1, MAX_TIMEOUT);
                self.timeout = Duration::from_secs(seconds);
            }
            ("attempts", n) => self.attempts = n.parse().unwrap_or(2).clamp(1, MAX_ATTEMPTS),
            ("rotate", _) => self.rotate = true,
            ("use-vc", _) => self.tcp = true,
            ("trust-ad", _) => self.trust_ad = true,
            _ => {}
        }
    }

    /// Whether the server's AD flag may be believed.
    pub fn trusts(&self, server: SocketAddr) -> bool {
        self.trust_ad || server.ip().is_loopback()
    }
}

/// An address. A zone (`fe80::1%eth0`) would need the names of interfaces, which the jail does not have.
fn server(word: &str) -> Option<SocketAddr> {
    word.parse::<IpAddr>().ok().map(|address| SocketAddr::new(address, PORT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_and_options() {
        let conf = ResolvConf::parse(
            "# by hand\nsearch example.org\nnameserver 192.0.2.1\nnameserver junk\n nameserver 2001:db8::1 # second\n\
             nameserver 192.0.2.2\nnameserver 192.0.2.3\noptions timeout:99 attempts:0 rotate edns0\n",
        );
        let expected: Vec<SocketAddr> =
            ["192.0.2.1:53", "[2001:db8::1]:53", "192.0.2.2:53"].map(|server| server.parse().unwrap()).into();
        assert_eq!(conf.servers, expected, "the fourth is one too many");
        assert_eq!((conf.timeout, conf.attempts, conf.rotate), (Duration::from_secs(30), 1, true));
        assert!(!conf.trusts(expected[0]));
    }

    #[test]
    fn an_empty_file_means_this_machine() {
        let conf = ResolvConf::parse("");
        assert_eq!(conf, ResolvConf::default());
        assert!(conf.trusts(conf.servers[0]), "what a local server has validated is validated");
        assert!(ResolvConf::parse("options trust-ad").trusts("192.0.2.1:53".parse().unwrap()));
    }
}
