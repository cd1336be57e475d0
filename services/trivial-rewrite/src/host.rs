//! This host's addresses and NIS domain, found out before the jail.

use std::net::{IpAddr, ToSocketAddrs};

use ipc_config::postfix::system::{System, ThisHost};
use ipc_config::section::Section;
use nix::sys::utsname::uname;
use worker::StartError;

use crate::policy::Host;

/// What address resolution needs to know of the host.
///
/// # Errors
/// A name in `inet_interfaces` or `proxy_interfaces` has no address.
pub fn of(section: &Section) -> Result<Host, StartError> {
    let mut addresses = Vec::new();
    for parameter in ["inet_interfaces", "proxy_interfaces"] {
        for word in section.transport.list(parameter) {
            match word {
                "all" => addresses.extend(interfaces()),
                "loopback-only" => addresses.extend(interfaces().filter(IpAddr::is_loopback)),
                name => {
                    let name = name.trim_start_matches('[').trim_end_matches(']');
                    let found = (name, 0).to_socket_addrs();
                    let found = found
                        .map_err(|error| StartError::new(format!("{parameter}: host not found: {name}"), error))?;
                    addresses.extend(found.map(|found| found.ip().to_canonical()));
                }
            }
        }
    }
    addresses.sort_unstable();
    addresses.dedup();
    Ok(Host { addresses, nis: has_nis_domain() })
}

/// The addresses of all network interfaces.
fn interfaces() -> impl Iterator<Item = IpAddr> {
    ThisHost.interfaces().into_iter().map(|interface| interface.address)
}

fn has_nis_domain() -> bool {
    let domain = uname().ok().map(|name| name.domainname().to_owned()).unwrap_or_default();
    !domain.is_empty() && domain != "(none)"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(interfaces: &str, proxies: &str) -> Vec<String> {
        let mut section = Section::default();
        section.transport.insert("inet_interfaces", interfaces);
        section.transport.insert("proxy_interfaces", proxies);
        of(&section).unwrap().addresses.iter().map(IpAddr::to_string).collect()
    }

    #[test]
    fn interfaces_and_proxies_are_this_host() {
        assert_eq!(addresses("192.0.2.1, [2001:db8::1]", "203.0.113.5"), ["192.0.2.1", "203.0.113.5", "2001:db8::1"]);
        assert!(addresses("loopback-only", "").iter().all(|address| address == "::1" || address.starts_with("127.")));
        assert!(addresses("all", "").len() >= addresses("loopback-only", "").len());
    }

    #[test]
    fn a_name_without_an_address_keeps_the_service_from_starting() {
        let mut section = Section::default();
        section.transport.insert("inet_interfaces", "host.invalid");
        section.transport.insert("proxy_interfaces", "");
        assert!(of(&section).unwrap_err().0.starts_with("inet_interfaces: host not found: host.invalid"));
    }
}
