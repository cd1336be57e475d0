//! Filters: for which connections a `protocol`, `local`, `remote` or `local_name` block holds.

use std::fmt;
use std::net::IpAddr;

use super::settings::Connection;

/// Addresses that have their first bits in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// An address of it.
    pub address: IpAddr,
    /// How many bits count.
    pub bits: u8,
}

/// For which connections a part of the configuration holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of this protocol, or with `!` before it of every other.
    pub protocol: Option<String>,
    /// To these addresses.
    pub local: Option<Network>,
    /// To these names, separated by spaces, as TLS clients say them.
    pub local_name: Option<String>,
    /// From these addresses.
    pub remote: Option<Network>,
}

impl Network {
    /// Reads `address` or `address/bits`. Host names are not looked up.
    pub fn parse(text: &str) -> Option<Network> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.trim_start_matches('[').trim_end_matches(']').parse().ok()?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Some(width), |bits| bits.parse().ok().filter(|bits| *bits <= width))?;
        Some(Network { address, bits })
    }

    /// Whether an address is in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        let same = |one: u128, other: u128, width: u8| {
            let shift = u32::from(width - self.bits);
            one.checked_shr(shift).unwrap_or(0) == other.checked_shr(shift).unwrap_or(0)
        };
        match (self.address, address) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => same(u32::from(net).into(), u32::from(ip).into(), 32),
            (IpAddr::V6(net), IpAddr::V6(ip)) => same(net.into(), ip.into(), 128),
            _ => false,
        }
    }
}

impl fmt::Display for Network {
    /// `address/bits`, without the bits where all of them count.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.address)?;
        let width = if self.address.is_ipv4() { 32 } else { 128 };
        if self.bits == width { Ok(()) } else { write!(f, "/{}", self.bits) }
    }
}

impl fmt::Display for Filter {
    /// The blocks that make it, outermost first: `local 10.0.0.1 { protocol imap`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.headers().join(" { "))
    }
}

impl Filter {
    /// The first lines of the blocks that make it, outermost first, without `{`.
    pub fn headers(&self) -> Vec<String> {
        let mut headers = Vec::new();
        headers.extend(self.local.map(|network| format!("local {network}")));
        headers.extend(self.local_name.as_ref().map(|name| format!("local_name {name}")));
        headers.extend(self.remote.map(|network| format!("remote {network}")));
        headers.extend(self.protocol.as_ref().map(|name| format!("protocol {name}")));
        headers
    }

    /// The filter that such a block makes inside this one.
    pub(super) fn inside(mut self, kind: &str, name: &str) -> Result<Filter, String> {
        let network = || {
            Network::parse(name).ok_or_else(|| format!("{kind} {name}: not an address; host names are not looked up"))
        };
        let narrower = |outer: Option<Network>, inner: Network| {
            outer.is_none_or(|outer| outer.bits <= inner.bits && outer.contains(inner.address))
        };
        match kind {
            "protocol" if self.protocol.is_some() => {
                return Err("Nested protocol { protocol { .. } } block not allowed".to_owned());
            }
            "protocol" => self.protocol = Some(name.to_owned()),
            _ if self.protocol.is_some() => {
                return Err(format!(
                    "protocol {{ {kind} {{ .. }} }} not allowed (use {kind} {{ protocol {{ .. }} }} instead)"
                ));
            }
            "local" | "local_name" if self.remote.is_some() => {
                return Err(format!(
                    "remote {{ {kind} {{ .. }} }} not allowed (use {kind} {{ remote {{ .. }} }} instead)"
                ));
            }
            "local" if self.local_name.is_some() => {
                return Err(
                    "local_name { local { .. } } not allowed (use local { local_name { .. } } instead)".to_owned()
                );
            }
            "local" => {
                let inner = network()?;
                if !narrower(self.local, inner) {
                    return Err("local net1 { local net2 { .. } } requires net2 to be inside net1".to_owned());
                }
                self.local = Some(inner);
            }
            "local_name" => self.local_name = Some(name.to_owned()),
            _ => {
                let inner = network()?;
                if !narrower(self.remote, inner) {
                    return Err("remote net1 { remote net2 { .. } } requires net2 to be inside net1".to_owned());
                }
                self.remote = Some(inner);
            }
        }
        Ok(self)
    }

    /// How specific it is: of two that hold for a connection, the greater one decides.
    pub fn rank(&self) -> impl Ord + use<> {
        (
            self.local_name.is_some(),
            self.local.map(|net| net.bits),
            self.remote.map(|net| net.bits),
            self.protocol.is_some(),
        )
    }
}

impl Filter {
    /// Whether it holds for a connection.
    pub fn holds_for(&self, connection: &Connection<'_>) -> bool {
        let protocol = self.protocol.as_deref().is_none_or(|wanted| {
            connection.protocol.is_some_and(|protocol| match wanted.strip_prefix('!') {
                Some(other) => protocol != other,
                None => protocol == wanted,
            })
        });
        let within = |network: Option<Network>, address: Option<IpAddr>| {
            network.is_none_or(|network| address.is_some_and(|address| network.contains(address)))
        };
        let name = self.local_name.as_deref().is_none_or(|names| {
            connection.local_name.is_some_and(|said| names.split(' ').any(|name| matches_name(name, said)))
        });
        protocol && name && within(self.local, connection.local) && within(self.remote, connection.remote)
    }
}

/// Whether a host name matches one whose first label may be `*`.
fn matches_name(wanted: &str, said: &str) -> bool {
    match (wanted.strip_prefix("*."), said.split_once('.')) {
        (Some(wanted), Some((_, rest))) => wanted.eq_ignore_ascii_case(rest),
        (None, _) => wanted.eq_ignore_ascii_case(said),
        (Some(_), None) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_contain_what_they_should() {
        for (network, address, expected) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("0.0.0.0/0", "1.2.3.4", true),
            ("10.0.0.1", "10.0.0.1", true),
            ("::/0", "::1", true),
            ("::/0", "1.2.3.4", false),
            ("[::1]", "::1", true),
        ] {
            let network = Network::parse(network).unwrap();
            assert_eq!(network.contains(address.parse().unwrap()), expected, "{network:?} {address}");
        }
        for bad in ["10.0.0.0/33", "x", "", "10.0.0.1/", "::1/129"] {
            assert_eq!(Network::parse(bad), None, "{bad}");
        }
    }
}
