//! Whether a recipient exists (`reject_unlisted_recipient`, local_recipient_maps and its like), and who the recipients are
//! once `virtual_alias_maps` has been applied.

use ipc_messages::lookup::{Class, Known, Route};
use store_tables::find::Strategy;
use store_tables::virtual_alias::{self, ExpansionError};

use crate::policy::Policy;
use crate::tables::Failure;

impl Policy {
    /// The route of a recipient, and whether it exists as far as tables say. A class without tables takes everyone.
    ///
    /// # Errors
    /// A table could not be read.
    pub fn check(&self, address: &str) -> Result<(Route, Known), Failure> {
        let route = self.resolve(address)?;
        let known = if route.malformed { Known::Yes } else { self.known(&route)? };
        Ok((route, known))
    }

    fn known(&self, route: &Route) -> Result<Known, Failure> {
        let recipient = &route.recipient;
        if self.find(&self.virtual_alias_maps, recipient, Strategy::DEFAULT)?.is_some() {
            return Ok(Known::Yes);
        }
        if route.class == Class::VirtualAlias {
            return Ok(Known::No(self.user_unknown("virtual alias table")));
        }
        if matches!(route.transport.as_str(), "error" | "retry") {
            let default = if route.transport == "error" { "5.1.1" } else { "4.1.1" };
            let (status, text) = split_status(&route.nexthop).unwrap_or((default, &route.nexthop));
            return Ok(Known::Undeliverable { status: status.to_owned(), text: text.to_owned() });
        }
        let Some((list, table)) = self.recipients(route.class) else { return Ok(Known::Yes) };
        if list.is_empty || (route.class == Class::Local && self.is_own_name(recipient)) {
            return Ok(Known::Yes);
        }
        Ok(match self.find(list, recipient, Strategy::DEFAULT)? {
            Some(_) => Known::Yes,
            None => Known::No(self.user_unknown(table)),
        })
    }

    /// Names that exist on every host, whatever the tables say: what bounces come from, and whom to complain to.
    fn is_own_name(&self, recipient: &str) -> bool {
        let local = recipient.rfind('@').map_or(recipient, |at| &recipient[..at]);
        [&self.double_bounce, "postmaster", "MAILER-DAEMON"].iter().any(|name| local.eq_ignore_ascii_case(name))
    }

    /// The recipients that an address stands for: completed, and expanded by `virtual_alias_maps` until nothing changes.
    ///
    /// # Errors
    /// The warning for the log: a table could not be read, or a limit was reached.
    pub fn expand(&self, address: &str) -> Result<Vec<String>, String> {
        let address = if address.is_empty() { &self.empty_recipient } else { address };
        let address = self.rewriter.internal(address);
        if self.virtual_alias_maps.is_empty {
            return Ok(vec![address]);
        }
        let maps = self.virtual_alias_maps.maps().map_err(|failure| failure.0)?;
        let expanded = self.with_rules(|rules| {
            let complete = |target: &str| self.rewriter.internal(target);
            let settings = virtual_alias::Settings {
                rules,
                propagate_extension: self.propagate,
                complete: &complete,
                limits: self.limits,
            };
            virtual_alias::expand(maps, &address, &settings)
        });
        match expanded {
            Ok(recipients) => Ok(recipients.into_iter().map(|recipient| recipient.address).collect()),
            Err(problem) => {
                if let ExpansionError::Lookup { address, error, .. } = &problem {
                    self.tables.failed(error, address);
                }
                Err(problem.to_string())
            }
        }
    }
}

/// Splits `5.7.1 some text` (RFC 3463, section 2).
fn split_status(text: &str) -> Option<(&str, &str)> {
    let (status, rest) = text.split_once([' ', '\t'])?;
    let mut parts = status.split('.');
    let class = matches!(parts.next(), Some("2" | "4" | "5"));
    let number = |part: Option<&str>| {
        part.is_some_and(|part| (1..=3).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let whole = class && number(parts.next()) && number(parts.next()) && parts.next().is_none();
    whole.then(|| (status, rest.trim_start()))
}

#[cfg(test)]
mod tests;
