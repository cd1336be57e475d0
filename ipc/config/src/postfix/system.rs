//! What the configuration takes from the host: its name, its addresses, its services file, and files that values name.
//!
//! Behind a trait, so that a test says what the host looks like.

use std::io;
use std::net::IpAddr;

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::SockaddrStorage;

/// An address of a network interface with the length of its network prefix in bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterfaceAddress {
    /// The address.
    pub address: IpAddr,
    /// Bits of the network part, at most 32 or 128.
    pub prefix: u8,
}

/// The host as the configuration sees it.
pub trait System: Send + Sync {
    /// The host's own name, as `hostname` prints it.
    fn hostname(&self) -> String;
    /// The addresses of the interfaces that are up: IPv4 before IPv6, each in the order of the interfaces.
    fn interfaces(&self) -> Vec<InterfaceAddress>;
    /// The TCP port of a service by its name, from the system's services file.
    fn tcp_port(&self, service: &str) -> Option<u16>;
    /// The text of a file.
    fn read(&self, path: &str) -> io::Result<String>;
}

/// The host that this process runs on.
#[derive(Clone, Copy, Debug, Default)]
pub struct ThisHost;

/// Where the names of ports are.
const SERVICES: &str = "/etc/services";

impl System for ThisHost {
    fn hostname(&self) -> String {
        // It fails only for a name that is no UTF-8, which no mail name may be.
        nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_else(|| "localhost".into())
    }

    fn interfaces(&self) -> Vec<InterfaceAddress> {
        let Ok(all) = getifaddrs() else { return Vec::new() };
        let mut addresses: Vec<InterfaceAddress> = all
            .filter(|interface| interface.flags.contains(nix::net::if_::InterfaceFlags::IFF_UP))
            .filter_map(|interface| {
                let address = ip_address(&interface.address?)?;
                let prefix = interface.netmask.and_then(|mask| ip_address(&mask)).map_or(0, prefix_length);
                Some(InterfaceAddress { address, prefix })
            })
            .collect();
        addresses.sort_by_key(|interface| interface.address.is_ipv6());
        addresses
    }

    fn tcp_port(&self, service: &str) -> Option<u16> {
        port_in(&self.read(SERVICES).ok()?, service)
    }

    fn read(&self, path: &str) -> io::Result<String> {
        Ok(String::from_utf8_lossy(&std::fs::read(path)?).into_owned())
    }
}

fn ip_address(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
}

fn prefix_length(mask: IpAddr) -> u8 {
    let ones = match mask {
        IpAddr::V4(mask) => mask.to_bits().leading_ones(),
        IpAddr::V6(mask) => mask.to_bits().leading_ones(),
    };
    u8::try_from(ones).unwrap_or(u8::MAX)
}

/// The TCP port of a service, by its name or an alias, in the text of services(5):
/// `name port/protocol *alias [# comment]`.
fn port_in(services: &str, service: &str) -> Option<u16> {
    services.lines().find_map(|line| {
        let mut fields = line.split('#').next().unwrap_or_default().split_ascii_whitespace();
        let name = fields.next()?;
        let port = fields.next()?.strip_suffix("/tcp")?;
        (name == service || fields.any(|alias| alias == service)).then(|| port.parse().ok())?
    })
}

#[cfg(test)]
pub(crate) mod fake {
    use super::*;

    /// A host for tests: `vm`, with a loopback and an Ethernet interface and a few files.
    #[derive(Clone, Debug)]
    pub(crate) struct FakeHost {
        pub name: &'static str,
        pub files: Vec<(&'static str, &'static str)>,
    }

    impl Default for FakeHost {
        fn default() -> FakeHost {
            FakeHost { name: "vm", files: Vec::new() }
        }
    }

    impl System for FakeHost {
        fn hostname(&self) -> String {
            self.name.to_owned()
        }

        fn interfaces(&self) -> Vec<InterfaceAddress> {
            [("127.0.0.1", 8), ("192.0.2.2", 24), ("::1", 128), ("fd00::2", 64), ("fe80::fc:ff:fe00:1", 64)]
                .map(|(address, prefix)| InterfaceAddress { address: address.parse().unwrap(), prefix })
                .to_vec()
        }

        fn tcp_port(&self, service: &str) -> Option<u16> {
            (service == "custom").then_some(10_025)
        }

        fn read(&self, path: &str) -> io::Result<String> {
            let file = self.files.iter().find(|(name, _)| *name == path);
            file.map(|(_, text)| (*text).to_owned()).ok_or_else(|| io::ErrorKind::NotFound.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_found_by_name_and_alias() {
        let services =
            "# c\nsmtp\t\t25/tcp\t\tmail\ntime 37/tcp\ntime 37/udp\nsubmission 587/tcp msa # mail\nx bad/tcp\n";
        assert_eq!(port_in(services, "smtp"), Some(25));
        assert_eq!(port_in(services, "msa"), Some(587));
        assert_eq!(port_in(services, "mail"), Some(25));
        assert_eq!(port_in(services, "x"), None);
        assert_eq!(port_in(services, "#"), None);
    }

    #[test]
    fn this_host_has_a_loopback_interface() {
        let loopback = ThisHost.interfaces().into_iter().find(|one| one.address.is_loopback());
        assert!(loopback.is_some_and(|one| one.prefix == 8 || one.prefix == 128));
        assert!(!ThisHost.hostname().is_empty());
    }

    #[test]
    fn prefixes_are_counted() {
        assert_eq!(prefix_length("255.255.255.0".parse().unwrap()), 24);
        assert_eq!(prefix_length("ffff:ffff:ffff:ffff::".parse().unwrap()), 64);
        assert_eq!(prefix_length("0.0.0.0".parse().unwrap()), 0);
    }
}
