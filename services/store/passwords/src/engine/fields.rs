//! What a database's fields do to a request: some are for the client or the mail process, some change the request itself.

use std::net::IpAddr;

use proto_sasl::dovecot::Fields;

use super::request::Request;
use super::{Engine, Environment};
use crate::config::Template;
use crate::log::Level;
use crate::passwd_file::{parse_gid, parse_uid};

/// Fields of passdbs.
#[derive(Clone, Debug, Default)]
pub(super) struct Extra {
    /// Those that the client is told.
    pub visible: Fields,
    /// Those that had their effect.
    hidden: Fields,
    /// What stood here, and what the passdbs had said for the userdbs, before the database that is being asked.
    saved: Option<Box<Saved>>,
}

#[derive(Clone, Debug)]
struct Saved {
    extra: Extra,
    userdb: Option<Fields>,
    prefetched: bool,
}

impl Extra {
    /// Remembers the state before a question.
    pub fn snapshot(&mut self, userdb: Option<&Fields>, prefetched: bool) {
        self.saved = None;
        self.saved = Some(Box::new(Saved { extra: self.clone(), userdb: userdb.cloned(), prefetched }));
    }

    /// Takes back what a database said that did not know the user; returns the fields for the userdbs from before.
    pub fn roll_back(&mut self) -> (Option<Fields>, bool) {
        let saved = self.saved.take().expect("a question was asked");
        *self = saved.extra;
        (saved.userdb, saved.prefetched)
    }

    pub fn contains(&self, name: &str) -> bool {
        self.visible.contains(name) || self.hidden.contains(name)
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.visible.get(name).or_else(|| self.hidden.get(name))
    }

    pub fn remove(&mut self, name: &str) {
        self.visible.remove(name);
        self.hidden.remove(name);
    }
}

impl Engine {
    /// Sets the fields of a template of a passdb.
    pub(super) fn export_to_passdb(
        &mut self,
        request: &mut Request,
        template: &Template,
        source: &str,
        environment: &dyn Environment,
    ) -> Result<(), String> {
        for (name, value) in template.iter() {
            let value = value.map_or(Ok(String::new()), |value| request.expand(value, environment))?;
            self.set_passdb_field(request, name, &value, source, environment);
        }
        Ok(())
    }

    /// Sets the fields of a template of a userdb.
    pub(super) fn export_to_userdb(
        &mut self,
        request: &mut Request,
        template: &Template,
        source: &str,
        environment: &dyn Environment,
    ) -> Result<(), String> {
        for (name, value) in template.iter() {
            let value = value.map_or(Ok(String::new()), |value| request.expand(value, environment))?;
            self.set_userdb_field(request, name, &value, source, environment);
        }
        Ok(())
    }

    /// Sets one field of a passdb; `source` is the database's name in log lines.
    pub(super) fn set_passdb_field(
        &mut self,
        request: &mut Request,
        name: &str,
        value: &str,
        source: &str,
        environment: &dyn Environment,
    ) {
        let name = match name.split_once(':') {
            Some((name, "protected")) if request.extra.contains(name) => return,
            Some((name, "protected")) => name,
            Some((name, "remove")) => return request.extra.remove(name),
            _ => name,
        };
        match name {
            "password" | "password_noscheme" => {
                return self.note(request, Level::Error, source, "Multiple password values not supported");
            }
            "user" | "username" | "domain" => self.change_user(request, name, value, source),
            "login_user" => request.login_user = Some(value.to_owned()),
            "allow_nets" => self.check_networks(request, name, value, request.parameters.remote_ip, source),
            "allow_real_nets" => {
                let address = request.parameters.real_remote_ip.or(request.parameters.remote_ip);
                self.check_networks(request, name, value, address, source);
            }
            "fail" => request.refused = true,
            // A time limit that cannot be kept must not be a hole.
            "delay_until" => {
                self.note(request, Level::Error, source, "delay_until is not supported, failing");
                request.refused = true;
            }
            "userdb_userdb_import" | "passdb_import" => {
                let prefix = if name == "passdb_import" { "" } else { "userdb_" };
                for field in value.split('\t').filter(|field| !field.is_empty()) {
                    let (name, value) = field.split_once('=').unwrap_or((field, ""));
                    // An import within an import is a field like any other: it ends here.
                    if name.ends_with("_import") {
                        continue;
                    }
                    self.set_passdb_field(request, &format!("{prefix}{name}"), value, source, environment);
                }
                return;
            }
            "noauthenticate" => request.extra.hidden.set("nopassword", None),
            "nopassword" => return request.extra.visible.set(name, None),
            _ => match name.strip_prefix("userdb_") {
                Some(field) => {
                    request.prefetched = true;
                    self.set_userdb_field(request, field, value, source, environment);
                }
                None => return request.extra.visible.set(name, Some(value).filter(|value| !value.is_empty())),
            },
        }
        request.extra.hidden.set(name, Some(value));
    }

    /// Sets one field of a userdb.
    pub(super) fn set_userdb_field(
        &mut self,
        request: &mut Request,
        name: &str,
        value: &str,
        source: &str,
        environment: &dyn Environment,
    ) {
        let fields = request.userdb.get_or_insert_default();
        let name = match name.split_once(':') {
            Some((name, "protected")) if fields.contains(name) => return,
            Some((name, "protected")) => name,
            Some((name, "remove")) => return fields.remove(name),
            _ => name,
        };
        let id = match name {
            "uid" => parse_uid(value, environment),
            "gid" => parse_gid(value, environment),
            "tempfail" => return request.temporary_failure = true,
            "user" | "username" | "domain" => return self.change_user(request, name, value, source),
            "uidgid_file" => Err(format!("{name} is not supported")),
            "userdb_import" => {
                for field in value.split('\t').filter(|field| !field.is_empty()) {
                    let (name, value) = field.split_once('=').unwrap_or((field, ""));
                    if name != "userdb_import" {
                        self.set_userdb_field(request, name, value, source, environment);
                    }
                }
                return;
            }
            "system_user" => return fields.set("system_groups_user", Some(value)),
            "" | " " => return,
            _ => return fields.set(name, Some(value)),
        };
        match id {
            Ok(id) => request.userdb.get_or_insert_default().set(name, Some(&id.to_string())),
            Err(reason) => {
                self.note(request, Level::Error, source, &reason);
                request.temporary_failure = true;
            }
        }
    }

    fn change_user(&mut self, request: &mut Request, name: &str, value: &str, source: &str) {
        let old = &request.user;
        let (local, domain) = old.split_once('@').map_or((old.as_str(), None), |(local, domain)| (local, Some(domain)));
        let new = match (name, domain) {
            ("username", Some(domain)) if !value.contains('@') => format!("{value}@{domain}"),
            ("domain", _) => format!("{local}@{value}"),
            _ => value.to_owned(),
        };
        if new.is_empty() {
            self.note(request, Level::Error, source, "username attempted to be changed to empty");
            request.refused = true;
        } else if new != request.user {
            let text = format!("username changed {} -> {new}", request.user);
            self.note(request, Level::Debug, source, &text);
            request.user = new;
        }
    }

    /// `allow_nets`: addresses and networks, and `local` for a client without an address.
    fn check_networks(&mut self, request: &mut Request, name: &str, list: &str, address: Option<IpAddr>, source: &str) {
        for network in list.split([',', ' ']).filter(|network| !network.is_empty()) {
            self.note(request, Level::Debug, source, &format!("{name}: Matching for network {network}"));
            let allowed = match (network, address) {
                ("local", None) => true,
                ("local", Some(_)) => false,
                (network, address) => match parse_network(network) {
                    Some(network) => address.is_some_and(|address| network.contains(&address.to_canonical())),
                    None => {
                        self.note(request, Level::Info, source, &format!("{name}: Invalid network '{network}'"));
                        false
                    }
                },
            };
            if allowed {
                return;
            }
        }
        request.refused = true;
        let text = match address {
            None => format!("{name} check failed: Remote IP not known and 'local' missing"),
            Some(address) => format!("{name} check failed: IP {address} not in allowed networks"),
        };
        self.note(request, Level::Info, source, &text);
    }
}

fn parse_network(text: &str) -> Option<ipnet::IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(ipnet::IpNet::from))
}
