//! What a configuration asks for and this system does not do, or does in another way.
//!
//! Nothing is ignored in silence: what is known but not built is a warning, and an error where leaving it out would
//! weaken security or change where mail goes. What needs nothing here is a note that says why.

use super::filter::Filter;
use super::location::{Driver, MailLocation};
use super::sections::{DRIVERS, Database};
use super::settings::{DovecotConf, get};
use super::table::{self, Child, Scope, Status};
use super::tree::{Block, Value};
use crate::diagnostic::{Diagnostic, Diagnostics, Location, Severity};

/// Services that have a counterpart here, or that need none.
const SERVICES: [&str; 12] = [
    "anvil",
    "auth",
    "auth-worker",
    "config",
    "imap",
    "imap-hibernate",
    "imap-login",
    "lmtp",
    "log",
    "master",
    "stats",
    "dns-client",
];

/// Mechanisms that are built.
const MECHANISMS: [&str; 2] = ["plain", "login"];

/// Mechanisms of Dovecot 2.3 that are not.
const OTHER_MECHANISMS: [&str; 17] = [
    "anonymous",
    "apop",
    "cram-md5",
    "digest-md5",
    "external",
    "gss-spnego",
    "gssapi",
    "ntlm",
    "oauthbearer",
    "otp",
    "rpa",
    "scram-sha-1",
    "scram-sha-256",
    "skey",
    "xoauth2",
    "scram-sha-1-plus",
    "scram-sha-256-plus",
];

/// Settings that may differ by address.
const BY_ADDRESS: [&str; 9] = [
    "disable_plaintext_auth",
    "login_greeting",
    "ssl",
    "ssl_alt_cert",
    "ssl_alt_key",
    "ssl_cert",
    "ssl_key",
    "ssl_min_protocol",
    "mail_max_userip_connections",
];

/// Reports all that is not built.
pub fn report(conf: &DovecotConf, found: &mut Diagnostics) {
    block(Scope::Root, &conf.tree.root, found);
    for (filter, body) in &conf.tree.filters {
        block(Scope::Root, body, found);
        in_filter(filter, body, found);
    }
    plugins(conf, found);
    authentication(conf, found);
    protocols_and_services(conf, found);
    locations(conf, found);
}

/// A finding about what is not built.
fn not_built(refuse: bool, at: &Location, name: &str, problem: String, mend: &str, found: &mut Diagnostics) {
    let severity = if refuse { Severity::Error } else { Severity::Warning };
    found.push(Diagnostic::new(severity, at, name, problem, mend));
}

/// The settings of a block and of the blocks in it, by their status.
fn block(scope: Scope, body: &Block, found: &mut Diagnostics) {
    for (name, value) in &body.values {
        let Some((row, at)) = scope.find(name).zip(value.at.as_ref()) else { continue };
        if value.text == row.default && value.file.is_none() {
            continue;
        }
        match row.status {
            Status::Supported { .. } => {}
            Status::Accepted { why } => found.note(at, *name, format!("{name} has no effect: {why}"), ""),
            Status::NotYet { refuse } => {
                let mend =
                    if refuse { "remove it: to leave it out in silence would not be safe" } else { "it is left out" };
                not_built(refuse, at, name, format!("{name} is not supported yet"), mend, found);
            }
        }
    }
    for (kind, children) in &body.blocks {
        if let Some(Child::Block { scope, .. }) = scope.child(kind) {
            children.iter().for_each(|child| block(scope, child, found));
        }
    }
}

/// What may stand in `protocol`, `local`, `remote` and `local_name` blocks.
fn in_filter(filter: &Filter, body: &Block, found: &mut Diagnostics) {
    for (kind, at) in body.blocks.iter().flat_map(|(kind, blocks)| blocks.iter().map(move |block| (kind, &block.at))) {
        let problem = format!("{kind} {{ }} for {filter} only is not supported yet");
        not_built(true, &at.clone().unwrap_or_default(), kind, problem, "put it outside of the block", found);
    }
    let by_address = filter.local.is_some() || filter.remote.is_some() || filter.local_name.is_some();
    for (name, value) in body.values.iter().filter(|(name, _)| by_address && !BY_ADDRESS.contains(name)) {
        let problem = format!("{name} for {filter} only is not supported yet");
        not_built(true, &place(value), name, problem, "set it for all", found);
    }
}

fn place(value: &Value) -> Location {
    value.at.clone().unwrap_or_default()
}

/// `mail_plugins`, and `plugin { }`.
fn plugins(conf: &DovecotConf, found: &mut Diagnostics) {
    for body in conf.tree.filters.iter().map(|(_, body)| body).chain([&conf.tree.root]) {
        if let Some(value) = body.value("mail_plugins") {
            for name in super::value::words(&value.text) {
                match table::plugin(name) {
                    Some(plugin) => {
                        let refuse = plugin.status == Status::NotYet { refuse: true };
                        let problem = format!("mail plugin {name} is not supported yet ({})", plugin.doc);
                        not_built(refuse, &place(value), "mail_plugins", problem, "remove it", found);
                    }
                    None => {
                        let problem = format!("mail plugin {name} is not known");
                        not_built(true, &place(value), "mail_plugins", problem, "remove it", found);
                    }
                }
            }
        }
        for (name, value) in body.strings.get("plugin").into_iter().flatten() {
            let reader =
                table::plugin_of_setting(name).map_or("no plugin".to_owned(), |plugin| format!("plugin {plugin}"));
            found.note(&place(value), name, format!("only {reader} reads this, which is not supported yet"), "");
        }
        for (name, value) in body.strings.get("dict").into_iter().flatten() {
            let problem = format!("dict {name} is not supported yet");
            not_built(false, &place(value), "dict", problem, "it is left out", found);
        }
    }
}

fn authentication(conf: &DovecotConf, found: &mut Diagnostics) {
    let at = conf.global().place("auth_mechanisms").cloned().unwrap_or_default();
    for name in conf.global().list("auth_mechanisms") {
        let lower = name.to_ascii_lowercase();
        if MECHANISMS.contains(&lower.as_str()) {
            continue;
        }
        let problem = if OTHER_MECHANISMS.contains(&lower.as_str()) {
            format!("mechanism {} is not supported yet and not offered", name.to_ascii_uppercase())
        } else {
            // Dovecot starts, and its auth process then stops with these words.
            format!("Unknown authentication mechanism '{}'", name.to_ascii_uppercase())
        };
        found.warning(&at, "auth_mechanisms", problem, "remove it");
    }
    for passdb in conf.passdbs() {
        driver("passdb", &passdb.database, passdb.deny, found);
    }
    for userdb in conf.userdbs() {
        driver("userdb", &userdb, false, found);
    }
}

/// A driver that is not built fails every lookup for the moment, as an unreachable database does; only a `deny` list
/// that nobody reads would let someone in.
fn driver(kind: &str, database: &Database, deny: bool, found: &mut Diagnostics) {
    let name = database.driver.as_str();
    let problem = match DRIVERS.iter().find(|(known, _)| *known == name) {
        // What a password database has fetched is for user databases alone.
        Some((_, true)) if name != "prefetch" || kind == "userdb" => return,
        _ if name.is_empty() => return,
        Some((_, false)) => format!("{kind} driver {name} is not supported yet: lookups in it fail"),
        _ => format!("Unknown {kind} driver '{name}'"),
    };
    not_built(deny, &database.at, "driver", problem, "use passwd-file or static", found);
}

fn protocols_and_services(conf: &DovecotConf, found: &mut Diagnostics) {
    let at = conf.global().place("protocols").cloned().unwrap_or_default();
    for protocol in conf.protocols() {
        if ["pop3", "submission", "sieve", "doveadm"].contains(&protocol) {
            found.warning(
                &at,
                "protocols",
                format!("protocol {protocol} is not supported yet: nothing listens for it"),
                "",
            );
        }
    }
    for body in conf.tree.root.children("service") {
        let runs = conf.service(&body.name).is_some_and(|service| conf.runs(&service));
        if let Some(at) = body.at.as_ref().filter(|_| runs && !SERVICES.contains(&body.name.as_str()) && is_set(body)) {
            let problem = format!("service {} is not supported yet and does not run", body.name);
            found.warning(at, "service", problem, "");
        }
    }
}

/// Whether anything was set in a block or in one inside it.
fn is_set(body: &Block) -> bool {
    body.values.values().any(|value| value.at.is_some()) || body.blocks.values().flatten().any(is_set)
}

/// Formats that are not built, where nothing else is said. A user's own `mail` field may say something else, so this
/// cannot stop the start.
fn locations(conf: &DovecotConf, found: &mut Diagnostics) {
    let global = conf.global();
    let names = ["mail_location", "mail_driver", "mail_path"];
    let at = names.iter().find_map(|name| global.place(name)).cloned().unwrap_or_default();
    location("mail_location", &at, &global.mail_location_text(), found);
    for body in conf.tree.root.children("namespace") {
        let at = body.value("location").and_then(|value| value.at.as_ref()).or(body.at.as_ref());
        let text =
            super::settings::compose(get(Scope::Namespace, body, "location"), |name| get(Scope::Namespace, body, name));
        location("location", &at.cloned().unwrap_or_default(), &text, found);
    }
}

fn location(name: &str, at: &Location, text: &str, found: &mut Diagnostics) {
    match MailLocation::parse(text) {
        Err(problem) => {
            found.warning(at, name, format!("{problem} in: {text}"), "users of this location cannot log in")
        }
        Ok(location) if !location.driver.is_built() => {
            let problem = format!("mailbox format {} is not supported yet", location.driver.name());
            found.warning(at, name, problem, "users whose userdb gives no mail location of its own cannot log in");
        }
        Ok(location) if location.unbuilt_part().is_some() => {
            let part = location.unbuilt_part().unwrap_or_default();
            let problem = format!("{part} in a mail location is not supported yet: {text}");
            found.warning(at, name, problem, "users of this location cannot log in and get no mail");
        }
        Ok(location) if location.driver == Driver::Sdbox => {
            let problem = "sdbox mailboxes move one way for now: Dovecot's own index in them is not read";
            found.warning(at, name, problem, "keep a copy of mailboxes that Dovecot made");
        }
        Ok(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::dovecot::files::memory::Memory;

    /// What is found in a configuration, each as its severity and what it is about.
    fn found(text: &str) -> Vec<(Severity, String)> {
        let files = Memory::new([("/c/d.conf", text)]);
        let (conf, mut found) = DovecotConf::read(Path::new("/c/d.conf"), &files).unwrap();
        report(&conf, &mut found);
        found.iter().map(|one| (one.severity, one.problem.clone())).collect()
    }

    #[test]
    fn what_is_not_built_is_reported_by_name() {
        for (text, severity, problem) in [
            ("mail_plugins = quota", Severity::Warning, "mail plugin quota is not supported yet (Limits of storage.)"),
            (
                "mail_plugins = acl",
                Severity::Error,
                "mail plugin acl is not supported yet (Access rights of mailboxes.)",
            ),
            ("mail_plugins = nonsense", Severity::Error, "mail plugin nonsense is not known"),
            (
                "auth_mechanisms = plain digest-md5",
                Severity::Warning,
                "mechanism DIGEST-MD5 is not supported yet and not offered",
            ),
            ("auth_mechanisms = x-y", Severity::Warning, "Unknown authentication mechanism 'X-Y'"),
            (
                "passdb {\n driver = pam\n}",
                Severity::Warning,
                "passdb driver pam is not supported yet: lookups in it fail",
            ),
            ("passdb {\n driver = prefetch\n}", Severity::Warning, "Unknown passdb driver 'prefetch'"),
            ("mail_chroot = /srv", Severity::Error, "mail_chroot is not supported yet"),
            ("mail_max_keyword_length = 9", Severity::Warning, "mail_max_keyword_length is not supported yet"),
            (
                "mail_location = maildir:~/m:INDEX=/i",
                Severity::Warning,
                "INDEX= in a mail location is not supported yet: maildir:~/m:INDEX=/i",
            ),
            (
                "mail_driver = maildir\nmail_path = ~/m\nmail_control_path = /c",
                Severity::Warning,
                "CONTROL= in a mail location is not supported yet: maildir:~/m:CONTROL=/c",
            ),
            ("namespace {\n location = mbox:~/m\n}", Severity::Warning, "mailbox format mbox is not supported yet"),
        ] {
            let found = found(&format!("{text}\n"));
            assert!(found.contains(&(severity, problem.to_owned())), "{text}: {found:?}");
        }
    }

    #[test]
    fn what_is_built_is_not_reported() {
        let text = "userdb {\n driver = prefetch\n}\npassdb {\n driver = static\n}\nlmtp_save_to_detail_mailbox = yes\n\
            mail_location = maildir:~/m:VOLATILEDIR=/v\n";
        assert_eq!(found(text), []);
    }
}
