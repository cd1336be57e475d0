//! An address, or a network of addresses, as lists and `cidr:` tables write them.
//!
//! ```text
//! network = address [ "/" bits ] / "[" address "]" [ "/" bits ] / "[" address "/" bits "]"
//! ```

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

/// The addresses that share their first bits; all bits of the network address behind these are 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// The network of `prefix` bits that holds the address; more bits than the address has count as all of them.
    pub fn containing(address: IpAddr, prefix: u8) -> Network {
        match address {
            IpAddr::V4(address) => {
                let prefix = prefix.min(32);
                let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
                Network { address: Ipv4Addr::from_bits(address.to_bits() & mask).into(), prefix }
            }
            IpAddr::V6(address) => {
                let prefix = prefix.min(128);
                let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
                Network { address: Ipv6Addr::from_bits(address.to_bits() & mask).into(), prefix }
            }
        }
    }

    /// The network that the text stands for; `None` when it has not the form of one, but may be a host name. The error
    /// says in Postfix's words what is wrong with it.
    pub fn parse(text: &str) -> Result<Option<Network>, String> {
        let bracketed = text.strip_prefix('[');
        let v4_only = text.chars().all(|c| c.is_ascii_digit() || c == '.');
        let numeric = text.chars().all(|c| c.is_ascii_hexdigit() || ".:[]/".contains(c));
        if !numeric || (bracketed.is_none() && !v4_only && !text.contains(['/', ':'])) {
            return Ok(None);
        }
        if v4_only {
            // Postfix compares such text as it stands, so that what is no address matches nothing.
            return Ok(text.parse().ok().map(|address| Network::containing(address, 32)));
        }
        let (address, bits) = match bracketed {
            None => split_mask(text),
            Some(rest) => {
                let (inner, rest) =
                    rest.split_once(']').ok_or_else(|| format!("missing ']' character after \"{text}\""))?;
                match rest.strip_prefix('/') {
                    Some(bits) => (inner, Some(bits)),
                    None if rest.is_empty() => split_mask(inner),
                    None => return Err(format!("garbage after \"[{inner}]\"")),
                }
            }
        };
        let Some(bits) = bits else {
            let parsed = address.parse::<IpAddr>().map_err(|_| format!("bad address pattern: \"{address}\""))?;
            return Ok(Some(Network::containing(parsed, 128)));
        };
        let length = if address.contains(':') { 128 } else { 32 };
        let in_place = |problem: &str| format!("{problem} in \"{address}/{bits}\"");
        if bits.is_empty() || !bits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(in_place("bad mask value"));
        }
        let prefix = bits.parse().ok().filter(|bits| *bits <= length).ok_or_else(|| in_place("bad mask length"))?;
        let parsed: IpAddr = address.parse().map_err(|_| in_place("bad network value"))?;
        let network = Network::containing(parsed, prefix);
        if network.address != parsed {
            let problem = in_place("non-null host address bits");
            let right = format!("{}/{prefix}", network.address);
            return Err(format!("{problem}, perhaps you should use \"{right}\" instead"));
        }
        Ok(Some(network))
    }

    /// The first address.
    pub fn address(self) -> IpAddr {
        self.address
    }

    /// How many bits its addresses share.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// Whether it holds the address. An IPv4 address in IPv6 form is an IPv4 address.
    pub fn contains(self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.address.is_ipv4() && Network::containing(address, self.prefix) == self
    }
}

impl fmt::Display for Network {
    /// As `mynetworks` writes it: `192.0.2.0/24`, `[2001:db8::]/32`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            IpAddr::V4(address) => write!(f, "{address}/{}", self.prefix),
            IpAddr::V6(address) => write!(f, "[{address}]/{}", self.prefix),
        }
    }
}

fn split_mask(text: &str) -> (&str, Option<&str>) {
    text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> String {
        match Network::parse(text) {
            Ok(Some(network)) => network.to_string(),
            Ok(None) => "none".to_owned(),
            Err(error) => format!("error: {error}"),
        }
    }

    #[test]
    fn networks_are_read_as_postfix_reads_them() {
        for (text, expected) in [
            ("192.0.2.0/24", "192.0.2.0/24"),
            ("192.0.2.1", "192.0.2.1/32"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("[::1]", "[::1]/128"),
            ("[::1]/128", "[::1]/128"),
            ("[2001:db8::/32]", "[2001:db8::]/32"),
            ("[::ffff:127.0.0.0]/104", "[::ffff:127.0.0.0]/104"),
            ("[192.0.2.1]", "192.0.2.1/32"),
            ("::/0", "[::]/0"),
            ("example.org", "none"),
            ("1.2.3", "none"),
            ("dead.beef", "none"),
            ("a/b.example", "none"),
            ("[::1", "error: missing ']' character after \"[::1\""),
            ("[::1]1", "error: garbage after \"[::1]\""),
            ("[::g]", "none"),
            ("[:::1]", "error: bad address pattern: \":::1\""),
            ("10.0.0.0/", "error: bad mask value in \"10.0.0.0/\""),
            ("10.0.0.0/33", "error: bad mask length in \"10.0.0.0/33\""),
            ("10.0.0.0/999999999999", "error: bad mask length in \"10.0.0.0/999999999999\""),
            ("10.0.0/8", "error: bad network value in \"10.0.0/8\""),
            (
                "10.0.0.1/8",
                "error: non-null host address bits in \"10.0.0.1/8\", perhaps you should use \"10.0.0.0/8\" instead",
            ),
        ] {
            assert_eq!(parsed(text), expected, "{text}");
        }
    }

    #[test]
    fn a_network_holds_addresses_of_its_own_family() {
        let everything = Network::parse("0.0.0.0/0").unwrap().unwrap();
        assert!(everything.contains("255.255.255.255".parse().unwrap()));
        assert!(everything.contains("::ffff:1.2.3.4".parse().unwrap()));
        assert!(!everything.contains("::1".parse().unwrap()));
        let half = Network::parse("[8000::]/1").unwrap().unwrap();
        assert!(half.contains("ffff::1".parse().unwrap()) && !half.contains("7fff::".parse().unwrap()));
    }
}
