//! `/etc/hosts` (hosts(5)), which is asked before DNS for names and for addresses. Its first line for an address names it.

use std::collections::HashMap;
use std::net::IpAddr;

use ipc_messages::dns::Family;

/// Lines that are read at most.
pub const MAX_LINES: usize = 100_000;

/// The table, both ways.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hosts {
    names: HashMap<IpAddr, String>,
    addresses: HashMap<String, Vec<IpAddr>>,
}

impl Hosts {
    /// Reads the text of the file. What is no address and a name is passed over.
    pub fn parse(text: &str) -> Hosts {
        let mut hosts = Hosts::default();
        for line in text.lines().take(MAX_LINES) {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_ascii_whitespace();
            let Some(address) = words.next().and_then(|word| word.parse::<IpAddr>().ok()) else { continue };
            let mut names = words.peekable();
            if let Some(first) = names.peek() {
                hosts.names.entry(address).or_insert_with(|| first.to_string());
            }
            for name in names {
                let addresses = hosts.addresses.entry(name.to_ascii_lowercase()).or_default();
                if !addresses.contains(&address) {
                    addresses.push(address);
                }
            }
        }
        hosts
    }

    /// The name of an address.
    pub fn name(&self, address: IpAddr) -> Option<&str> {
        self.names.get(&address).map(String::as_str)
    }

    /// Addresses of a name, of one family.
    pub fn addresses(&self, name: &str, family: Family) -> Vec<IpAddr> {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let all = self.addresses.get(&name).map_or(&[][..], Vec::as_slice);
        all.iter().copied().filter(|&address| Family::of(address) == family).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways() {
        let hosts = Hosts::parse(
            "127.0.0.1 localhost\n::1 localhost ip6-localhost # loop\n192.0.2.1\tMail.Example mail\n\
             192.0.2.2 mail\n192.0.2.1 late\nnonsense name\n192.0.2.9\n",
        );
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(hosts.name(address("127.0.0.1")), Some("localhost"));
        assert_eq!(hosts.name(address("192.0.2.1")), Some("Mail.Example"), "the first line counts");
        assert_eq!(hosts.name(address("192.0.2.9")), None);
        assert_eq!(hosts.addresses("MAIL", Family::V4), [address("192.0.2.1"), address("192.0.2.2")]);
        assert_eq!(hosts.addresses("localhost.", Family::V6), [address("::1")]);
        assert!(hosts.addresses("name", Family::V4).is_empty());
    }
}
