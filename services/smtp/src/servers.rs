//! From a site to the servers that take its mail, in the order in which they are tried (RFC 5321 section 5.1, smtp(8)).
//!
//! A [`Lookup`] asks for mail exchangers and addresses and is given the answers, in any order; it knows no channel. What a
//! name server cannot say now is never taken for "there is none": such mail waits.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipc_messages::dns::{Exchange, Failure, Family, Found};

use crate::destination::{Refusal, Site};
use crate::settings::{Outbound, Preference};

/// Mail exchangers of one domain whose addresses are looked for; the rest, which are the worst, are left aside.
pub const MAX_EXCHANGERS: usize = 50;
/// The port on which mail to ourselves would go round in circles.
const SMTP_PORT: u16 = 25;

/// A server to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// The host's name, or its address where that is how the nexthop names it.
    pub host: String,
    pub address: SocketAddr,
}

/// What has to be asked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Query {
    /// The mail exchangers of a domain.
    Exchangers(String),
    /// The addresses of a host; `preference` is that of the exchanger.
    Addresses { preference: u16, host: String, v6: bool },
}

impl Query {
    /// Which addresses are asked for.
    pub fn family(&self) -> Family {
        if matches!(self, Query::Addresses { v6: true, .. }) { Family::V6 } else { Family::V4 }
    }

    fn refusal(&self, failure: &Failure) -> Refusal {
        let (name, kind) = match self {
            Query::Exchangers(domain) => (domain, "MX"),
            Query::Addresses { host, v6: false, .. } => (host, "A"),
            Query::Addresses { host, v6: true, .. } => (host, "AAAA"),
        };
        let (status, what) = match failure {
            Failure::NotFound => ("5.4.4", "Host not found"),
            Failure::NoData => ("5.4.4", "Host found but no data record of requested type"),
            Failure::Temporary(_) => ("4.4.3", "Host not found, try again"),
        };
        let reason = format!("Host or domain name not found. Name service error for name={name} type={kind}: {what}");
        Refusal { status, reason }
    }
}

/// How far a lookup has come.
#[derive(Debug, PartialEq, Eq)]
pub enum Progress {
    /// These are to be asked as well; none when answers are still to come.
    Ask(Vec<Query>),
    /// Never empty.
    Found(Vec<Server>),
    /// There is nobody to deliver to.
    Refused(Refusal),
}

/// The search for the servers of one site.
#[derive(Debug)]
pub struct Lookup {
    site: Site,
    /// The best preference that the domain has.
    best: Option<u16>,
    /// Questions without an answer.
    open: usize,
    found: Vec<(u16, Server)>,
    /// By question, so that which one is told does not hang on which answer came first.
    failures: BTreeMap<Query, Failure>,
}

impl Lookup {
    /// Begins to look.
    pub fn start(site: Site, outbound: &Outbound) -> (Lookup, Progress) {
        let mut lookup = Lookup { site, best: None, open: 0, found: Vec::new(), failures: BTreeMap::new() };
        let progress = if let Some(address) = lookup.site.literal() {
            lookup.add(0, lookup.site.name.clone(), address);
            lookup.end(outbound, 0)
        } else if lookup.site.exchangers {
            lookup.open = 1;
            Progress::Ask(vec![Query::Exchangers(lookup.site.name.clone())])
        } else {
            lookup.ask_for_hosts(vec![(0, lookup.site.name.clone())], outbound)
        };
        (lookup, progress)
    }

    /// Takes the answer to [`Query::Exchangers`].
    pub fn exchangers(&mut self, answer: Result<Found<Exchange>, Failure>, outbound: &Outbound) -> Progress {
        self.open -= 1;
        let domain = &self.site.name;
        let mut exchangers = match answer {
            Ok(found) => found.records,
            // A domain without exchangers is its own (RFC 5321 section 5.1).
            Err(Failure::NotFound | Failure::NoData) => {
                return self.ask_for_hosts(vec![(0, domain.clone())], outbound);
            }
            Err(Failure::Temporary(_)) if outbound.ignore_mx_error => {
                return self.ask_for_hosts(vec![(0, domain.clone())], outbound);
            }
            Err(failure) => return Progress::Refused(Query::Exchangers(domain.clone()).refusal(&failure)),
        };
        if let [Exchange { host, .. }] = exchangers.as_slice()
            && host.is_empty()
        {
            let reason = format!("Domain {domain} does not accept mail (nullMX)");
            return Progress::Refused(Refusal { status: "5.1.0", reason });
        }
        exchangers.retain(|exchanger| !exchanger.host.is_empty());
        exchangers.sort();
        exchangers.truncate(MAX_EXCHANGERS);
        self.best = exchangers.first().map(|exchanger| exchanger.preference);
        let hosts = exchangers.into_iter().map(|Exchange { preference, host }| (preference, host)).collect();
        self.ask_for_hosts(hosts, outbound)
    }

    /// Takes the answer to [`Query::Addresses`]. `random` decides between servers that are equally good.
    pub fn addresses(
        &mut self,
        query: Query,
        answer: Result<Found<IpAddr>, Failure>,
        outbound: &Outbound,
        random: u64,
    ) -> Progress {
        self.open -= 1;
        match (answer, &query) {
            (Ok(found), Query::Addresses { preference, host, .. }) => {
                for address in found.records {
                    self.add(*preference, host.clone(), address);
                }
            }
            (Err(failure), _) => drop(self.failures.insert(query, failure)),
            (Ok(_), Query::Exchangers(_)) => {}
        }
        if self.open > 0 { Progress::Ask(Vec::new()) } else { self.end(outbound, random) }
    }

    fn ask_for_hosts(&mut self, hosts: Vec<(u16, String)>, outbound: &Outbound) -> Progress {
        let mut queries = Vec::new();
        for (preference, host) in hosts {
            match host.parse() {
                // An exchanger must have a name, but some have an address.
                Ok(address) => self.add(preference, host, address),
                // No name server is asked for this one (RFC 6761 section 6.3).
                Err(_) if host.eq_ignore_ascii_case("localhost") => {
                    self.add(preference, host.clone(), Ipv4Addr::LOCALHOST.into());
                    self.add(preference, host, Ipv6Addr::LOCALHOST.into());
                }
                Err(_) => {
                    for (v6, wanted) in [(false, outbound.ipv4), (true, outbound.ipv6)] {
                        if wanted {
                            queries.push(Query::Addresses { preference, host: host.clone(), v6 });
                        }
                    }
                }
            }
        }
        self.open += queries.len();
        if self.open == 0 { self.end(outbound, 0) } else { Progress::Ask(queries) }
    }

    fn add(&mut self, preference: u16, host: String, address: IpAddr) {
        let address = SocketAddr::new(address.to_canonical(), self.site.port);
        self.found.push((preference, Server { host, address }));
    }

    /// All answers are there.
    fn end(&mut self, outbound: &Outbound, random: u64) -> Progress {
        let mut found = std::mem::take(&mut self.found);
        found.retain(|(_, server)| if server.address.is_ipv4() { outbound.ipv4 } else { outbound.ipv6 });
        if found.is_empty() {
            return Progress::Refused(self.nobody(outbound));
        }
        if outbound.randomize {
            shuffle(&mut found, random);
        }
        found.sort_by_key(|(preference, server)| (*preference, outbound.preference.rank(server.address.ip())));
        // A server that is us has had its turn: only better ones are left (RFC 5321 section 5.1).
        let best_found = found[0].0;
        if self.site.port == SMTP_PORT && outbound.loop_detection {
            let ourselves = found.iter().find(|(_, server)| outbound.own_addresses.contains(&server.address.ip()));
            if let Some(&(ours, _)) = ourselves {
                found.retain(|(preference, _)| *preference < ours);
            }
        }
        if found.is_empty() {
            let name = &self.site.name;
            return Progress::Refused(match self.best {
                Some(best) if best != best_found => {
                    Refusal { status: "4.4.4", reason: format!("unable to find primary relay for {name}") }
                }
                _ => Refusal { status: "5.4.6", reason: format!("mail for {name} loops back to myself") },
            });
        }
        let limit = outbound.address_limit.unwrap_or(usize::MAX);
        if outbound.balance && outbound.preference == Preference::Any {
            balance(&mut found, limit);
        }
        found.truncate(limit);
        Progress::Found(found.into_iter().map(|(_, server)| server).collect())
    }

    /// Why no server has an address: what may be different next time goes first.
    fn nobody(&self, outbound: &Outbound) -> Refusal {
        let temporary = self.failures.iter().find(|(_, failure)| matches!(failure, Failure::Temporary(_)));
        let Some((query, failure)) = temporary.or(self.failures.last_key_value()) else {
            let reason =
                format!("no server of {} has an address of a family that inet_protocols names", self.site.name);
            return Refusal { status: "4.4.4", reason };
        };
        let mut refusal = query.refusal(failure);
        if self.best.is_some() && outbound.defer_if_no_mx_address && refusal.status.starts_with('5') {
            refusal.status = "4.4.4";
        }
        refusal
    }
}

impl Preference {
    fn rank(self, address: IpAddr) -> u8 {
        match self {
            Preference::Any => 0,
            Preference::Ipv4 => u8::from(address.is_ipv6()),
            Preference::Ipv6 => u8::from(address.is_ipv4()),
        }
    }
}

/// Exchanges the last of the first `limit` servers for the best one of a family that would not be tried at all
/// (`smtp_balance_inet_protocols`).
fn balance(found: &mut [(u16, Server)], limit: usize) {
    let Some(first) = found.first().map(|(_, server)| server.address.is_ipv4()) else { return };
    if limit < 2 || found.len() <= limit {
        return;
    }
    let other = |(_, server): &(u16, Server)| server.address.is_ipv4() != first;
    if !found[..limit].iter().any(other)
        && let Some(at) = found.iter().position(other)
    {
        found.swap(limit - 1, at);
    }
}

/// Fisher and Yates. It spreads load, so it need not be unpredictable.
fn shuffle<T>(items: &mut [T], seed: u64) {
    let mut state = seed;
    for at in (1..items.len()).rev() {
        // splitmix64
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        items.swap(at, ((mixed ^ mixed >> 31) % (at as u64 + 1)) as usize);
    }
}

impl fmt::Display for Server {
    /// As texts name it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.host, self.address.ip())
    }
}

#[cfg(test)]
mod tests;
