//! The parameters of smtpd, taken from its section once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ipc_config::postfix::match_list::{MatchList, NetworkList, Query, Style};
use ipc_config::postfix::restrictions::Rule;
use ipc_config::section::Section;
use proto_smtp::body::Newlines;
use proto_smtp::server::{Config as SessionConfig, Dialect, Keywords, Matcher, Smtp, TlsLevel};
use store_tables::{Context, Maps, Part, TableFlags};

use crate::limits::Limits;
use crate::policy::{Codes, Policy, Unlisted};

/// What all sessions of this process share, but for the SASL mechanisms, which the authentication server tells.
pub struct Config {
    /// `myhostname`
    pub hostname: String,
    /// `mail_name`
    pub mail_name: String,
    /// `smtpd_timeout`
    pub timeout: Duration,
    /// `smtpd_starttls_timeout`
    pub tls_timeout: Duration,
    /// `smtpd_peername_lookup`
    pub look_up_names: bool,
    /// `smtpd_client_port_logging`
    pub log_ports: bool,
    /// `smtpd_client_*_limit`
    pub limits: Limits,
    /// `smtpd_delay_reject`
    pub delay_reject: bool,
    /// `smtpd_relay_before_recipient_restrictions`
    pub relay_first: bool,
    /// `smtpd_reject_unlisted_recipient`, `smtpd_reject_unlisted_sender`
    pub unlisted: Unlisted,
    /// The lists, by parameter.
    pub restrictions: BTreeMap<String, Vec<Rule>>,
    /// What their restrictions depend on.
    pub policy: Policy,
    /// `soft_bounce`
    pub soft_bounce: bool,
    /// `smtpd_forbid_bare_newline`
    pub newlines: Newlines,
    /// `smtpd_forbid_bare_newline_exclusions`
    pub newline_exclusions: NetworkList,
    /// `smtpd_discard_ehlo_keywords`
    pub discard: Keywords,
    /// `smtpd_discard_ehlo_keyword_address_maps`
    pub discard_maps: Vec<String>,
    /// SASL, when it is on.
    pub sasl: Option<Sasl>,
    /// `smtpd_sasl_exceptions_networks`: clients to which AUTH is not announced.
    pub sasl_exceptions: NetworkList,
    /// `smtpd_tls_auth_only`, or implied by `smtpd_tls_security_level = encrypt`.
    pub tls_auth_only: bool,
    /// `smtpd_tls_loglevel`
    pub tls_log: bool,
    /// `smtpd_tls_received_header`
    pub tls_header: bool,
    /// `local_header_rewrite_clients`
    pub rewrite_clients: Vec<String>,
    /// `smtpd_sasl_authenticated_header`
    pub sasl_header: bool,
    session: Smtp,
}

/// SASL parameters.
pub struct Sasl {
    /// `smtpd_sasl_path`, for the log.
    pub path: String,
    /// `smtpd_sasl_service`
    pub service: String,
    /// `smtpd_sasl_security_options`
    options: Vec<String>,
    /// `smtpd_sasl_tls_security_options`
    tls_options: Vec<String>,
    /// `smtpd_sasl_mechanism_filter`
    filter: Words,
}

impl Config {
    /// Reads the section.
    pub fn new(section: &Section) -> Config {
        let values = &section.transport;
        let code = |name: &str| values.number(name) as u16;
        let words = |name: &str| values.list(name).into_iter().map(str::to_string).collect::<Vec<_>>();
        let level = values.text("smtpd_tls_security_level");
        let level = match (level, values.boolean("smtpd_enforce_tls"), values.boolean("smtpd_use_tls")) {
            _ if section.tls.is_none() => TlsLevel::None,
            ("encrypt", ..) | ("", true, _) => TlsLevel::Encrypt,
            ("may", ..) | ("", _, true) => TlsLevel::May,
            _ => TlsLevel::None,
        };
        Config {
            hostname: values.text("myhostname").into(),
            mail_name: values.text("mail_name").into(),
            timeout: values.time("smtpd_timeout"),
            tls_timeout: values.time("smtpd_starttls_timeout"),
            look_up_names: values.boolean("smtpd_peername_lookup"),
            log_ports: values.boolean("smtpd_client_port_logging"),
            limits: Limits::new(section),
            delay_reject: values.boolean("smtpd_delay_reject"),
            relay_first: values.boolean("smtpd_relay_before_recipient_restrictions"),
            unlisted: Unlisted {
                sender: values.boolean("smtpd_reject_unlisted_sender"),
                recipient: values.boolean("smtpd_reject_unlisted_recipient"),
            },
            restrictions: section.restrictions.clone(),
            policy: policy(section),
            soft_bounce: values.boolean("soft_bounce"),
            newlines: match values.text("smtpd_forbid_bare_newline") {
                "no" => Newlines::Accept,
                "reject" => Newlines::Reject,
                _ => Newlines::Normalize,
            },
            newline_exclusions: networks(section, "smtpd_forbid_bare_newline_exclusions"),
            // A word that is no keyword is reported when the configuration is checked.
            discard: Keywords::parse(values.text("smtpd_discard_ehlo_keywords")).unwrap_or_default(),
            discard_maps: words("smtpd_discard_ehlo_keyword_address_maps"),
            sasl: section.foreign("sasl").map(|_| Sasl {
                path: values.text("smtpd_sasl_path").into(),
                service: values.text("smtpd_sasl_service").into(),
                options: words("smtpd_sasl_security_options"),
                tls_options: words("smtpd_sasl_tls_security_options"),
                filter: Words::new(section, "smtpd_sasl_mechanism_filter"),
            }),
            sasl_exceptions: networks(section, "smtpd_sasl_exceptions_networks"),
            tls_auth_only: values.boolean("smtpd_tls_auth_only") || level == TlsLevel::Encrypt,
            tls_log: values.number("smtpd_tls_loglevel") > 0,
            tls_header: values.boolean("smtpd_tls_received_header"),
            rewrite_clients: words("local_header_rewrite_clients"),
            sasl_header: values.boolean("smtpd_sasl_authenticated_header"),
            session: Smtp {
                banner: values.text("smtpd_banner").into(),
                message_size_limit: Some(values.number("message_size_limit")).filter(|&limit| limit > 0),
                line_length_limit: values.number("line_length_limit") as usize,
                sasl_response_limit: values.number("smtpd_sasl_response_limit") as usize,
                recipient_limit: values.number("smtpd_recipient_limit") as usize,
                recipient_overshoot_limit: values.number("smtpd_recipient_overshoot_limit") as usize,
                soft_error_limit: values.number("smtpd_soft_error_limit"),
                hard_error_limit: values.number("smtpd_hard_error_limit"),
                error_sleep_time: values.time("smtpd_error_sleep_time"),
                junk_command_limit: values.number("smtpd_junk_command_limit"),
                helo_required: values.boolean("smtpd_helo_required"),
                disable_vrfy: values.boolean("disable_vrfy_command"),
                strict_envelopes: values.boolean("strict_rfc821_envelopes"),
                allow_min_user: values.boolean("allow_min_user"),
                smtputf8: values.boolean("smtputf8_enable"),
                strict_smtputf8: values.boolean("strict_smtputf8"),
                tls: level,
                broken_auth_clients: values.boolean("broken_sasl_auth_clients"),
                bare_newline_code: code("smtpd_forbid_bare_newline_reject_code"),
                note_bare_newline: values.text("smtpd_forbid_bare_newline") == "note",
                forbid_unauth_pipelining: values.boolean("smtpd_forbid_unauth_pipelining"),
                forbidden_commands: matcher(Words::new(section, "smtpd_forbidden_commands")),
                noop_commands: matcher(Words::new(section, "smtpd_noop_commands")),
                soft_bounce: values.boolean("soft_bounce"),
                ..Smtp::default()
            },
        }
    }

    /// The settings of a session, with the mechanisms that the authentication server offers.
    pub fn session(&self, mechanisms: &[(String, Vec<String>)]) -> SessionConfig {
        let mut smtp = self.session.clone();
        if let Some(sasl) = &self.sasl {
            let allowed = |options: &[String]| -> Vec<String> {
                let fits = |(_, properties): &&(String, Vec<String>)| suits(properties, options);
                let fitting = mechanisms.iter().filter(fits).map(|(name, _)| name.clone());
                fitting.filter(|name| sasl.filter.contain(name)).collect()
            };
            smtp.mechanisms_under_tls = allowed(&sasl.tls_options);
            smtp.mechanisms_in_clear = if self.tls_auth_only { Vec::new() } else { allowed(&sasl.options) };
        }
        SessionConfig { hostname: self.hostname.clone(), dialect: Dialect::Smtp(smtp) }
    }
}

/// What restrictions depend on.
fn policy(section: &Section) -> Policy {
    let values = &section.transport;
    let code = |name: &str| values.number(name) as u16;
    let text = |name: &str| values.text(name).to_string();
    let parents = values.list("parent_domain_matches_subdomains");
    Policy {
        networks: networks(section, "mynetworks"),
        classes: section.classes.clone(),
        sender_login_maps: values.list("smtpd_sender_login_maps").into_iter().map(str::to_string).collect(),
        null_key: text("smtpd_null_access_lookup_key"),
        delimiter: text("recipient_delimiter"),
        origin: text("myorigin"),
        parents: parents.contains(&"smtpd_access_maps"),
        show_table: values.boolean("show_user_unknown_table_name"),
        allow_routing: values.boolean("allow_untrusted_routing"),
        defer_unknown_address: values.text("unknown_address_tempfail_action") == "defer",
        defer_unknown_helo: values.text("unknown_helo_hostname_tempfail_action") == "defer",
        codes: Codes {
            reject: code("reject_code"),
            defer: code("defer_code"),
            relay: code("relay_domains_reject_code"),
            access_reject: code("access_map_reject_code"),
            access_defer: code("access_map_defer_code"),
            block_list: code("maps_rbl_reject_code"),
            invalid_hostname: code("invalid_hostname_reject_code"),
            non_fqdn: code("non_fqdn_reject_code"),
            unknown_hostname: code("unknown_hostname_reject_code"),
            unknown_client: code("unknown_client_reject_code"),
            unknown_address: code("unknown_address_reject_code"),
            plaintext: code("plaintext_reject_code"),
            multi_recipient_bounce: code("multi_recipient_bounce_reject_code"),
            unknown_local: code("unknown_local_recipient_reject_code"),
            unknown_virtual_alias: code("unknown_virtual_alias_reject_code"),
            unknown_virtual_mailbox: code("unknown_virtual_mailbox_reject_code"),
            unknown_relay: code("unknown_relay_recipient_reject_code"),
        },
    }
}

fn networks(section: &Section, name: &str) -> NetworkList {
    section.networks.get(name).cloned().unwrap_or(NetworkList { parents: false, items: Vec::new() })
}

/// Whether a mechanism with these properties is allowed by `noplaintext`, `noanonymous`, … (postconf(5),
/// `smtpd_sasl_security_options`).
fn suits(properties: &[String], options: &[String]) -> bool {
    let has = |name: &str| properties.iter().any(|property| property == name);
    options.iter().all(|option| match option.as_str() {
        "noplaintext" => !has("plaintext"),
        "noanonymous" => !has("anonymous"),
        "noactive" => !has("active"),
        "nodictionary" => !has("dictionary"),
        "forward_secrecy" => has("forward-secrecy"),
        "mutual_auth" => has("mutual-auth"),
        _ => true,
    })
}

/// A list of words. Its tables hold their entries themselves (the compiler sees to that), so that none can fail.
#[derive(Clone)]
struct Words {
    list: MatchList,
    tables: BTreeMap<String, Arc<Maps>>,
}

impl Words {
    fn new(section: &Section, name: &str) -> Words {
        let list = section.strings.get(name).cloned().unwrap_or(MatchList { style: Style::Strings, items: Vec::new() });
        let open = |table: &str| {
            let maps = Maps::parse(name, table, TableFlags::default(), &Context::system()).ok()?;
            Some((table.to_string(), Arc::new(maps)))
        };
        let tables = list.tables().filter_map(open).collect();
        Words { list, tables }
    }

    fn contain(&self, word: &str) -> bool {
        let lookup = |query: Query<'_>| match self.tables.get(query.table) {
            Some(maps) => maps.find(query.key, Part::Full).map(|value| value.is_some()).map_err(drop),
            None => Err(()),
        };
        self.list.matches(word, lookup).unwrap_or(false)
    }
}

fn matcher(words: Words) -> Matcher {
    Matcher::new(move |command| words.contain(command))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mechanisms_are_filtered_by_their_properties() {
        let has = |properties: &[&str], options: &[&str]| {
            let strings = |words: &[&str]| words.iter().map(|word| word.to_string()).collect::<Vec<_>>();
            suits(&strings(properties), &strings(options))
        };
        assert!(has(&["plaintext"], &["noanonymous"]));
        assert!(!has(&["plaintext"], &["noplaintext"]));
        assert!(!has(&["anonymous"], &["noanonymous"]));
        assert!(has(&["mutual-auth"], &["mutual_auth"]) && !has(&[], &["mutual_auth"]));
    }
}
