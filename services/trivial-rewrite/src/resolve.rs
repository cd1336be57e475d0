//! Where mail to an address goes: its address class, transport and next hop (Postfix's ADDRESS_CLASS_README, transport(5)).
//!
//! First the address is stripped of every domain that is this host, as often as it takes: what is left may name a further
//! destination (`user%elsewhere@here`). The domain that remains decides the class, the class's parameter the transport,
//! and `transport_maps` may override both. A list or table that cannot be read fails the question; it never makes the
//! address one of another class.

use ipc_messages::lookup::{Class, Route};
use store_tables::Part;
use store_tables::find::{Strategy, quote_address};
use store_tables::tokens::{Token, internal, tokenize};

use crate::policy::{Policy, address_literal};
use crate::rewrite::{AT, is_complete};
use crate::tables::Failure;

/// Rounds of stripping beyond one for each byte of the address; each round makes it shorter, or is a last one.
const SPARE_ROUNDS: usize = 100;
/// The longest domain name (RFC 1035, section 2.3.4) and label.
const MAX_DOMAIN: usize = 255;
const MAX_LABEL: usize = 63;

/// An address without the domains that are this host.
struct Stripped {
    /// `user@domain`, in internal form.
    recipient: String,
    /// Whether its domain is this host.
    local: bool,
}

impl Policy {
    /// The route of an envelope recipient in internal form.
    ///
    /// # Errors
    /// A temporary failure: a table could not be read, or the configuration names no transport.
    pub fn resolve(&self, address: &str) -> Result<Route, Failure> {
        let Stripped { mut recipient, mut local } = self.strip(address)?;
        let at = recipient.rfind('@').map_or(recipient.len(), |at| at + 1);
        let mut domain = recipient.split_off(at);
        if self.numeric_domain && domain.parse::<std::net::IpAddr>().is_ok() {
            domain = format!("[{domain}]");
            local = self.is_local(&domain)?;
        }
        recipient.push_str(&domain);
        if !self.is_domain(&domain) {
            return Ok(Route { malformed: true, ..route(recipient, Class::Default, "", "") });
        }
        let class = if local { Class::Local } else { self.class(&domain)? };
        if self.helpful_warnings {
            self.warn_of_two_lists(class, &domain)?;
        }
        let (transport, nexthop) = self.default_route(class, &domain)?;
        let mut route = route(recipient, class, &transport, &nexthop);
        if class != Class::VirtualAlias {
            self.override_route(&mut route, &domain)?;
        }
        let first = route.recipient.find(['@', '!', '%']).map_or("", |first| &route.recipient[first + 1..]);
        route.routed = first != domain;
        // A command could take it for an option.
        route.malformed = !self.min_user && route.recipient.starts_with('-');
        Ok(route)
    }

    /// Takes off every domain that is this host, and completes what comes to light.
    fn strip(&self, address: &str) -> Result<Stripped, Failure> {
        if is_complete(address) {
            let (_, domain) = address.split_at(address.rfind('@').map_or(0, |at| at + 1));
            return Ok(Stripped { recipient: address.to_owned(), local: self.is_local(domain)? });
        }
        let mut tokens = tokenize(&quote_address(address));
        let mut taken: Vec<Token> = Vec::new();
        for _ in 0..address.len() + SPARE_ROUNDS {
            self.trim(&mut tokens);
            if let Some(at) = tokens.iter().rposition(|token| *token == AT) {
                if at + 1 < tokens.len() && !self.is_local(&internal(&tokens[at + 1..]))? {
                    return Ok(Stripped { recipient: internal(&tokens), local: false });
                }
                taken = tokens.split_off(at);
            }
            if self.rewriter.has_route(&tokens) {
                self.rewriter.complete(&mut tokens, &self.rewriter.local);
            } else if let Some(opened) = self.within_quotes(&tokens) {
                tokens = opened;
                self.rewriter.complete(&mut tokens, &self.rewriter.local);
            } else if matches!(tokens.as_slice(), [] | [Token::Quoted(_)]) && internal(&tokens).is_empty() {
                tokens = tokenize(&self.empty_recipient);
            } else if taken.is_empty() {
                tokens.push(AT);
                tokens.extend_from_slice(&self.myhostname);
            } else {
                tokens.append(&mut taken);
                return Ok(Stripped { recipient: internal(&tokens), local: true });
            }
        }
        let rounds = address.len() + SPARE_ROUNDS;
        self.tables.warn(format!("resolve_addr: <{address}>: giving up after {rounds} iterations"));
        Err(Failure(format!("<{address}> does not come to an end")))
    }

    /// Takes off a dot at the end of a domain, and an `@` with nothing behind it.
    fn trim(&self, tokens: &mut Vec<Token>) {
        let dot = Token::Operator('.');
        if let [start @ .., before, last] = tokens.as_slice()
            && *last == dot
            && *before != dot
            && *before != AT
            && start.contains(&AT)
        {
            tokens.pop();
        }
        if self.null_domain && tokens.last() == Some(&AT) {
            tokens.pop();
        }
    }

    /// The tokens of a quoted user in which a further destination hides (`"user@elsewhere"@here`).
    fn within_quotes(&self, tokens: &[Token]) -> Option<Vec<Token>> {
        let [Token::Quoted(text)] = tokens else { return None };
        if !self.dequoted {
            return None;
        }
        if text.contains('@') {
            return Some(tokenize(&quote_address(text)));
        }
        if let Some(percent) = text.rfind('%').filter(|_| self.rewriter.percent_hack) {
            let text = format!("{}@{}", &text[..percent], &text[percent + 1..]);
            return Some(tokenize(&quote_address(&text)));
        }
        (self.rewriter.swap_bangpath && text.contains('!')).then(|| tokenize(text))
    }

    /// Whether the text is a domain name or an address in brackets.
    fn is_domain(&self, domain: &str) -> bool {
        if domain.starts_with('[') {
            return address_literal(domain).is_some();
        }
        let letter = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-' || (self.utf8 && !c.is_ascii());
        let label = |label: &str| {
            !label.is_empty()
                && label.len() <= MAX_LABEL
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.chars().all(letter)
        };
        let numeric = domain.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        !numeric && domain.len() <= MAX_DOMAIN && domain.split('.').all(label)
    }

    /// The class of a domain that is not this host.
    fn class(&self, domain: &str) -> Result<Class, Failure> {
        for class in [Class::VirtualAlias, Class::VirtualMailbox, Class::Relay] {
            if self.is_listed(class, domain)? {
                return Ok(class);
            }
        }
        Ok(Class::Default)
    }

    /// Warns of a domain in two lists, of which only the first counts.
    fn warn_of_two_lists(&self, class: Class, domain: &str) -> Result<(), Failure> {
        let others: &[Class] = match class {
            Class::Local => &[Class::VirtualAlias, Class::VirtualMailbox],
            Class::VirtualAlias => &[Class::VirtualMailbox, Class::Relay],
            Class::VirtualMailbox => &[Class::Relay],
            Class::Relay | Class::Default => &[],
        };
        let title = |class| self.list(class).map_or("", |list| list.title);
        for &other in others {
            if self.is_listed(other, domain)? {
                let (first, second) = (title(class), title(other));
                self.tables.warn(format!("do not list domain {domain} in BOTH {first} and {second}"));
            }
        }
        Ok(())
    }

    /// Transport and next hop by the class alone.
    fn default_route(&self, class: Class, domain: &str) -> Result<(String, String), Failure> {
        let Some(destination) = self.destination(class) else {
            return Ok(("error".into(), format!("5.1.1 {}", self.user_unknown("virtual alias table"))));
        };
        if destination.transport.is_empty() {
            let text = format!("parameter {}: null transport is not allowed", destination.title);
            self.tables.warn(text.clone());
            return Err(Failure(text));
        }
        let relayed = matches!(class, Class::Relay | Class::Default) && !self.relayhost.is_empty();
        let nexthop = match destination.nexthop.as_str() {
            "" if relayed => &self.relayhost,
            "" => domain,
            nexthop => nexthop,
        };
        Ok((destination.transport.clone(), nexthop.to_owned()))
    }

    /// Applies `transport_maps`.
    fn override_route(&self, route: &mut Route, domain: &str) -> Result<(), Failure> {
        if self.transport_maps.is_empty {
            return Ok(());
        }
        let strategy = Strategy {
            local_part_if_local: false,
            at_domain: false,
            domain: Some(self.transport_parents),
            local_part_at: false,
        };
        let found = self.find(&self.transport_maps, &route.recipient, strategy).and_then(|found| match found {
            Some(found) => Ok(Some(found.value)),
            None => {
                let wildcard = self.transport_maps.maps()?.find("*", Part::Full);
                wildcard.map_err(|error| self.tables.failed(&error, "*"))
            }
        });
        let found = found.inspect_err(|_| self.tables.warn("transport_maps lookup failure".into()))?;
        if let Some(value) = found {
            apply(&value, route, domain);
        }
        Ok(())
    }

    /// `User unknown`, with the table unless `show_user_unknown_table_name` forbids it.
    pub fn user_unknown(&self, table: &str) -> String {
        if self.show_table { format!("User unknown in {table}") } else { "User unknown".into() }
    }
}

/// Applies a value of `transport_maps`: `transport:nexthop`, either of which may be missing (transport(5)).
fn apply(value: &str, route: &mut Route, domain: &str) {
    let (transport, nexthop) = value.split_once(':').unwrap_or((value, ""));
    if !transport.is_empty() {
        route.transport = transport.to_owned();
        // Without a next hop of its own the new transport does not get that of the old one.
        let is_text = matches!(transport, "error" | "retry");
        route.nexthop = if is_text { "Address is undeliverable" } else { domain }.to_owned();
    }
    if !nexthop.is_empty() {
        route.nexthop = nexthop.to_owned();
    }
}

fn route(recipient: String, class: Class, transport: &str, nexthop: &str) -> Route {
    let (transport, nexthop) = (transport.to_owned(), nexthop.to_owned());
    Route { recipient, class, transport, nexthop, routed: false, malformed: false }
}

#[cfg(test)]
mod tests;
