//! Names of other releases: those of 2.4, and those that were replaced before 2.3.
//!
//! Each one is turned into the 2.3 setting that means the same, so that nothing behind this module knows of dialects.
//! What 2.4 splits into several settings (`mail_driver` and `mail_path`) has rows of its own in the table.

use super::parse::Raw;
use super::table::Scope;

/// What a written setting is in 2.3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// Itself.
    Same,
    /// Another one, and Dovecot's warning if it is obsolete in 2.3.
    Becomes {
        /// The 2.3 name.
        name: &'static str,
        /// The value there.
        value: Raw,
        /// The warning.
        obsolete: Option<String>,
    },
    /// Nothing: it was removed, as the warning says.
    Nothing(String),
    /// A value that has no counterpart, as the error says.
    Wrong(String),
}

/// What the setting `name` in such a block is in 2.3.
pub fn meaning(scope: Scope, name: &str, value: &Raw) -> Meaning {
    let found = match scope {
        Scope::Root => newer(name, value).or_else(|| older(name, value)),
        Scope::Service => {
            renamed(name, value, &[("restart_request_count", "service_count"), ("idle_kill_interval", "idle_kill")])
        }
        Scope::InetListener => renamed(name, value, &[("listen", "address")]),
        _ => None,
    };
    found.or_else(|| without_prefix(scope, name, value)).unwrap_or(Meaning::Same)
}

/// 2.4 allows a setting in a block to be written with the block's name before it: `passdb_driver` in `passdb { }`.
fn without_prefix(scope: Scope, name: &str, value: &Raw) -> Option<Meaning> {
    let prefix = match scope {
        Scope::Passdb => "passdb_",
        Scope::Userdb => "userdb_",
        Scope::Namespace => "namespace_",
        Scope::Mailbox => "mailbox_",
        Scope::Service => "service_",
        Scope::FileListener => "unix_listener_",
        Scope::InetListener => "inet_listener_",
        Scope::Root => return None,
    };
    let row = scope.find(name.strip_prefix(prefix)?)?;
    // `service_count` is a name of its own.
    scope.find(name).is_none().then(|| becomes(row.name, value.clone()))
}

fn renamed(name: &str, value: &Raw, names: &[(&str, &'static str)]) -> Option<Meaning> {
    let (_, new) = names.iter().find(|(old, _)| *old == name)?;
    Some(becomes(new, value.clone()))
}

fn becomes(name: &'static str, value: Raw) -> Meaning {
    Meaning::Becomes { name, value, obsolete: None }
}

/// Settings of 2.4 at the top level.
fn newer(name: &str, value: &Raw) -> Option<Meaning> {
    const RENAMED: &[(&str, &str)] = &[
        ("auth_default_domain", "auth_default_realm"),
        ("default_idle_kill_interval", "default_idle_kill"),
        ("mail_ext_attachment_path", "mail_attachment_dir"),
        ("ssl_server_key_password", "ssl_key_password"),
        ("ssl_server_cert_username_field", "ssl_cert_username_field"),
        ("ssl_server_require_crl", "ssl_require_crl"),
    ];
    const FILES: &[(&str, &str)] = &[
        ("ssl_server_cert_file", "ssl_cert"),
        ("ssl_server_key_file", "ssl_key"),
        ("ssl_server_ca_file", "ssl_ca"),
        ("ssl_server_alt_cert_file", "ssl_alt_cert"),
        ("ssl_server_alt_key_file", "ssl_alt_key"),
        ("ssl_server_dh_file", "ssl_dh"),
        ("ssl_client_cert_file", "ssl_client_cert"),
        ("ssl_client_key_file", "ssl_client_key"),
    ];
    if let Some((_, new)) = FILES.iter().find(|(old, _)| *old == name) {
        return Some(becomes(new, as_file(value)));
    }
    let words = |name, words: &[(&str, &str)]| {
        let Raw::Text(written) = value else { return becomes(name, value.clone()) };
        match words.iter().find(|(word, _)| word.eq_ignore_ascii_case(written)) {
            Some((_, meaning)) => becomes(name, Raw::Text((*meaning).to_owned())),
            None => Meaning::Wrong(format!("Invalid value: {written}")),
        }
    };
    match name {
        "auth_allow_cleartext" => Some(words("disable_plaintext_auth", &[("yes", "no"), ("no", "yes")])),
        "ssl_server_prefer_ciphers" => Some(words("ssl_prefer_server_ciphers", &[("client", "no"), ("server", "yes")])),
        "ssl_server_request_client_cert" => {
            Some(words("ssl_verify_client_cert", &[("no", "no"), ("yes", "yes"), ("any-cert", "yes")]))
        }
        _ => renamed(name, value, RENAMED),
    }
}

/// Settings that 2.3 still reads under an older name, with its warning.
fn older(name: &str, value: &Raw) -> Option<Meaning> {
    let Raw::Text(text) = value else { return None };
    let warned = |new: &'static str, value: Raw, how: &str| {
        Some(Meaning::Becomes { name: new, value, obsolete: Some(format!("{name} {how}")) })
    };
    let rename =
        |new: &'static str, text: &str| warned(new, Raw::Text(text.to_owned()), &format!("has been renamed to {new}"));
    match name {
        "ssl_cert_file" | "ssl_key_file" | "ssl_ca_file" if text.is_empty() => {
            Some(Meaning::Nothing(format!("{name} is empty")))
        }
        "ssl_cert_file" => warned("ssl_cert", as_file(value), "has been replaced by ssl_cert = <file"),
        "ssl_key_file" => warned("ssl_key", as_file(value), "has been replaced by ssl_key = <file"),
        "ssl_ca_file" => warned("ssl_ca", as_file(value), "has been replaced by ssl_ca = <file"),
        "ssl_disable" => rename("ssl", if text.eq_ignore_ascii_case("yes") { "no" } else { "yes" }),
        "ssl_protocols" => Some(match lowest_protocol(text) {
            Ok(lowest) => {
                let obsolete = Some("ssl_protocols has been replaced by ssl_min_protocol".to_owned());
                Meaning::Becomes { name: "ssl_min_protocol", value: Raw::Text(lowest.to_owned()), obsolete }
            }
            Err(why) => Meaning::Nothing(format!(
                "Could not find a minimum ssl_min_protocol setting from ssl_protocols = {text}: {why}"
            )),
        }),
        "fsync_disable" => rename("mail_fsync", if text.eq_ignore_ascii_case("yes") { "never" } else { "optimized" }),
        "dbox_rotate_size" => rename("mdbox_rotate_size", text),
        "ssl_parameters_regenerate" | "ssl_dh_parameters_length" => {
            Some(Meaning::Nothing(format!("{name} is no longer needed")))
        }
        "login_dir"
        | "dbox_rotate_min_size"
        | "dbox_rotate_days"
        | "director_consistent_hashing"
        | "mail_log_max_lines_per_sec"
        | "maildir_copy_preserve_filename" => Some(Meaning::Nothing(format!("{name} has been removed"))),
        "protocols" => older_protocols(text),
        _ => None,
    }
}

/// `imaps`, `pop3s` and `managesieve` in `protocols`.
fn older_protocols(text: &str) -> Option<Meaning> {
    let mut warnings = Vec::new();
    let mut words = Vec::new();
    for word in text.split(' ') {
        match word {
            "imaps" | "pop3s" => {
                let plain = &word[..word.len() - 1];
                if !text.split(' ').any(|other| other == plain) {
                    // Dovecot serves the TLS port alone then; to serve both would open a port that nobody asked for.
                    return Some(Meaning::Wrong(format!(
                        "'{word}' protocol can no longer be specified (use protocols={plain}). to disable non-ssl \
                         {plain}, use service {plain}-login {{ inet_listener {plain} {{ port=0 }} }}"
                    )));
                }
                warnings.push(format!("'{word}' protocol is no longer necessary, remove it"));
            }
            "managesieve" => {
                warnings.push("protocols=managesieve has been renamed to protocols=sieve".to_owned());
                words.push("sieve");
            }
            _ => words.push(word),
        }
    }
    let value = Raw::Text(words.join(" "));
    (!warnings.is_empty()).then(|| Meaning::Becomes { name: "protocols", value, obsolete: Some(warnings.join("; ")) })
}

/// The lowest version that a list such as `!SSLv2 !SSLv3` or `TLSv1.2` leaves enabled.
fn lowest_protocol(text: &str) -> Result<&'static str, String> {
    const VERSIONS: [&str; 4] = ["SSLv3", "TLSv1", "TLSv1.1", "TLSv1.2"];
    let mut enabled = [None; VERSIONS.len()];
    for word in super::value::words(text) {
        let name = word.strip_prefix('!').unwrap_or(word);
        let at = VERSIONS.iter().position(|known| *known == name);
        enabled[at.ok_or_else(|| format!("Unrecognized protocol '{name}'"))?] = Some(!word.starts_with('!'));
    }
    let wanted = if enabled.contains(&Some(true)) { Some(true) } else { None };
    let lowest = enabled.iter().position(|state| *state == wanted);
    lowest.map(|at| VERSIONS[at]).ok_or_else(|| "All protocols disabled".to_owned())
}

/// A path that names a file by itself, as `<path` would.
fn as_file(value: &Raw) -> Raw {
    match value {
        Raw::Text(path) if !path.is_empty() => Raw::File { written: path.clone(), path: path.clone() },
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Raw {
        Raw::Text(text.to_owned())
    }

    #[test]
    fn names_of_2_4_have_their_counterparts() {
        let file = Raw::File { written: "/x".to_owned(), path: "/x".to_owned() };
        for (scope, name, value, expected) in [
            (Scope::Root, "auth_allow_cleartext", "yes", becomes("disable_plaintext_auth", text("no"))),
            (Scope::Root, "ssl_server_cert_file", "/x", becomes("ssl_cert", file)),
            (Scope::Root, "mail_location", "x", Meaning::Same),
            (Scope::Passdb, "passdb_driver", "static", becomes("driver", text("static"))),
            (Scope::Service, "service_count", "1", Meaning::Same),
            (Scope::Service, "restart_request_count", "1", becomes("service_count", text("1"))),
            (Scope::Root, "auth_allow_cleartext", "x", Meaning::Wrong("Invalid value: x".to_owned())),
        ] {
            assert_eq!(meaning(scope, name, &text(value)), expected, "{name}");
        }
    }

    #[test]
    fn older_names_are_read_with_dovecots_warning() {
        for (name, value, new, meaning_there, warning) in [
            (
                "ssl_protocols",
                "!SSLv3",
                "ssl_min_protocol",
                "TLSv1",
                "ssl_protocols has been replaced by ssl_min_protocol",
            ),
            (
                "ssl_protocols",
                "TLSv1.2 TLSv1.1",
                "ssl_min_protocol",
                "TLSv1.1",
                "ssl_protocols has been replaced by ssl_min_protocol",
            ),
            ("ssl_disable", "no", "ssl", "yes", "ssl_disable has been renamed to ssl"),
            ("protocols", "imap imaps", "protocols", "imap", "'imaps' protocol is no longer necessary, remove it"),
            ("fsync_disable", "yes", "mail_fsync", "never", "fsync_disable has been renamed to mail_fsync"),
        ] {
            let expected =
                Meaning::Becomes { name: new, value: text(meaning_there), obsolete: Some(warning.to_owned()) };
            assert_eq!(meaning(Scope::Root, name, &text(value)), expected, "{name}");
        }
        assert_eq!(
            meaning(Scope::Root, "login_dir", &text("x")),
            Meaning::Nothing("login_dir has been removed".to_owned())
        );
        assert!(matches!(meaning(Scope::Root, "ssl_protocols", &text("!SSLv2")), Meaning::Nothing(_)));
    }
}
