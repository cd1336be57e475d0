//! `main.cf`: reading, overrides, and what a name is worth.
//!
//! ```text
//! line = name *WSP "=" *WSP value
//! ```
//!
//! (postconf(5); [`super::logical`] says how lines are joined.) A later line wins over an earlier one. Each value keeps
//! its place for diagnostics. A [`MainCf`] is a value: overrides of a `master.cf` row give another one.
//!
//! Where `compatibility_level` is not set, the defaults of level 3.6 apply, and mail for foreign destinations is refused
//! for good (`reject_unauth_destination`) instead of deferred.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::expand::{Expansion, expand};
use super::logical::{LogicalLine, is_space, logical_lines};
use super::network::Network;
use super::settings::Settings;
use super::system::{InterfaceAddress, System};
use super::table::{self, Kind, transport};
use super::value;
use crate::diagnostic::{Diagnostics, Location};

/// The domain of a host whose name has none.
const DEFAULT_DOMAIN: &str = "localdomain";

/// The relay guard where `compatibility_level` is not set.
const RELAY_GUARD: &str = "permit_mynetworks, permit_sasl_authenticated, reject_unauth_destination";

/// A value that somebody has set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The parameter.
    pub name: String,
    /// Its value, unexpanded.
    pub value: String,
    /// Where the value begins; the end of the line where it is empty.
    pub at: Location,
}

/// The parameters of one `main.cf`, perhaps with overrides.
#[derive(Clone)]
pub struct MainCf {
    path: String,
    settings: BTreeMap<String, Setting>,
    system: Arc<dyn System>,
}

impl MainCf {
    /// Reads the file at `path`. A file that cannot be read is an error, and stands for an empty one.
    pub fn read(path: &str, system: Arc<dyn System>, found: &mut Diagnostics) -> MainCf {
        let text = system.read(path).unwrap_or_else(|error| {
            found.error(&Location::file(path), "", format!("cannot be read: {error}"), "");
            String::new()
        });
        MainCf::parse(&text, path, system, found)
    }

    /// Takes the text of a `main.cf`; `path` is its name in diagnostics.
    pub fn parse(text: &str, path: &str, system: Arc<dyn System>, found: &mut Diagnostics) -> MainCf {
        let mut settings: BTreeMap<String, Setting> = BTreeMap::new();
        for line in logical_lines(text, path, found) {
            match setting(&line, path) {
                Ok(setting) => {
                    if let Some(earlier) = settings.get(&setting.name) {
                        let problem = format!("overriding earlier entry: {}={}", earlier.name, earlier.value);
                        let mend = format!("keep one of it and {}", earlier.at);
                        found.warning(&setting.at, &setting.name, problem, mend);
                    }
                    settings.insert(setting.name.clone(), setting);
                }
                Err(problem) => {
                    let problem = format!("{problem}: \"{}\"", line.text.trim_end());
                    found.error(&line.at(path, 0), "", problem, "write \"name = value\"");
                }
            }
        }
        MainCf { path: path.to_owned(), settings, system }
    }

    /// The same with some settings replaced, as by `-o name=value`; later ones win.
    pub fn with_overrides(&self, overrides: &[Setting]) -> MainCf {
        let mut result = self.clone();
        result.settings.extend(overrides.iter().map(|setting| (setting.name.clone(), setting.clone())));
        result
    }

    /// The same without any setting: all defaults.
    pub fn defaults(&self) -> MainCf {
        MainCf { settings: BTreeMap::new(), ..self.clone() }
    }

    /// The typed values; what is wrong with them goes to `found`.
    pub fn settings<'a>(&'a self, found: &'a mut Diagnostics) -> Settings<'a> {
        Settings::new(self, found)
    }

    /// The host that defaults and files are taken from.
    pub fn system(&self) -> &Arc<dyn System> {
        &self.system
    }

    /// The file's name.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What is set, in the order of the names.
    pub fn set(&self) -> impl Iterator<Item = &Setting> {
        self.settings.values()
    }

    /// Whether the parameter is set, to whatever value.
    pub fn is_set(&self, name: &str) -> bool {
        self.settings.contains_key(name)
    }

    /// Where the parameter is set, else the file as a whole.
    pub fn location(&self, name: &str) -> Location {
        self.settings.get(name).map_or_else(|| Location::file(&self.path), |setting| setting.at.clone())
    }

    /// The unexpanded value: as it is set, else the default; `None` for a name that is neither set nor known.
    pub fn raw(&self, name: &str) -> Option<String> {
        self.lookup(name, &[])
    }

    /// The unexpanded default, whatever is set; `None` for a name that is not known. The defaults of `myhostname`,
    /// `mydomain` and `mynetworks` depend on other settings.
    pub fn default(&self, name: &str) -> Option<String> {
        self.default_hiding(name, &[])
    }

    /// The value with `$name` expanded, where the kind of the parameter wants that; empty for an unknown name. The error
    /// is that of [`expand`].
    pub fn expanded(&self, name: &str) -> Result<Expansion, String> {
        let raw = self.raw(name).unwrap_or_default();
        if table::find(name).is_some_and(|row| !row.kind.is_expanded()) {
            return Ok(Expansion { text: raw, ..Expansion::default() });
        }
        self.expand(&raw)
    }

    /// Expands `$name` in any text.
    pub fn expand(&self, text: &str) -> Result<Expansion, String> {
        self.expand_hiding(text, &[])
    }

    /// As [`MainCf::expand`], with the `hidden` names undefined: a computed default does not depend on itself.
    fn expand_hiding(&self, text: &str, hidden: &[&str]) -> Result<Expansion, String> {
        expand(text, &|name| self.lookup(name, hidden))
    }

    fn lookup(&self, name: &str, hidden: &[&str]) -> Option<String> {
        if hidden.contains(&name) {
            return None;
        }
        match self.settings.get(name) {
            Some(setting) => Some(setting.value.clone()),
            None => self.default_hiding(name, hidden),
        }
    }

    fn default_hiding(&self, name: &str, hidden: &[&str]) -> Option<String> {
        let hidden = &[hidden, &[name]].concat();
        match name {
            "myhostname" => Some(self.default_hostname(hidden)),
            "mydomain" => Some(self.default_domain(hidden)),
            "mynetworks" => Some(self.default_networks(hidden)),
            "smtpd_relay_restrictions" if !self.is_set("compatibility_level") => Some(RELAY_GUARD.to_owned()),
            _ => match table::find(name) {
                Some(row) => Some(row.default.to_owned()),
                None => transport::split(name).map(|(_, parameter)| transport::default(name, parameter).to_owned()),
            },
        }
    }

    /// The host's name; where that has no domain, `mydomain` is appended if it is set.
    fn default_hostname(&self, hidden: &[&str]) -> String {
        let name = self.system.hostname();
        if name.contains('.') {
            return name;
        }
        let domain = self.settings.get("mydomain").filter(|_| !hidden.contains(&"mydomain"));
        let domain = domain.and_then(|setting| self.expand_hiding(&setting.value, hidden).ok());
        format!("{name}.{}", domain.map_or_else(|| DEFAULT_DOMAIN.to_owned(), |expansion| expansion.text))
    }

    /// `myhostname` without its first label.
    fn default_domain(&self, hidden: &[&str]) -> String {
        let name = self.expand_hiding("$myhostname", hidden).unwrap_or_default().text;
        name.split_once('.').map_or(DEFAULT_DOMAIN, |(_, domain)| domain).to_owned()
    }

    /// The networks of the interfaces that mail is received at, as `mynetworks_style` has it.
    fn default_networks(&self, hidden: &[&str]) -> String {
        let value =
            |name: &str| self.expand_hiding(&format!("${name}"), hidden).unwrap_or_default().text.to_ascii_lowercase();
        let (style, receiving) = (value("mynetworks_style"), value("inet_interfaces"));
        let protocols = value::words(&value("inet_protocols"));
        let mut networks: Vec<String> = Vec::new();
        for interface in self.system.interfaces() {
            let protocol = if interface.address.is_ipv4() { "ipv4" } else { "ipv6" };
            let spoken = protocols.iter().any(|word| word == "all" || word == protocol);
            if spoken && is_receiving(&receiving, interface.address) {
                let network = network(interface, &style).to_string();
                if !networks.contains(&network) {
                    networks.push(network);
                }
            }
        }
        networks.join(" ")
    }
}

/// Splits a logical line into name and value.
fn setting(line: &LogicalLine, path: &str) -> Result<Setting, &'static str> {
    let text = &line.text;
    let name_end = text.find(|c| is_space(c) || c == '=').unwrap_or(text.len());
    if name_end == 0 {
        return Err("missing attribute name");
    }
    let equals = text.len() - text[name_end..].trim_start_matches(is_space).len();
    if !text[equals..].starts_with('=') {
        return Err("missing '=' after attribute name");
    }
    let value = text[equals + 1..].trim_start_matches(is_space);
    let offset = (text.len() - value.len()).min(text.len().saturating_sub(1));
    Ok(Setting {
        name: text[..name_end].to_owned(),
        value: value.trim_end_matches(is_space).to_owned(),
        at: line.at(path, offset),
    })
}

/// Whether `inet_interfaces` holds the address. Host names in it are resolved when the sockets are opened; here they
/// stand for no network.
fn is_receiving(inet_interfaces: &str, address: IpAddr) -> bool {
    match inet_interfaces {
        "all" => true,
        "loopback-only" => address.is_loopback(),
        list => value::words(list).iter().any(|word| match word.as_str() {
            "localhost" => address.is_loopback(),
            word => word.trim_matches(['[', ']']).parse() == Ok(address),
        }),
    }
}

/// The network of an interface in the given style.
fn network(interface: InterfaceAddress, style: &str) -> Network {
    let bits = match (style, interface.address) {
        ("host", _) => 128,
        ("class", IpAddr::V4(address)) => match address.octets()[0] {
            0..128 => 8,
            128..192 => 16,
            192..224 => 24,
            _ => 4,
        },
        _ => interface.prefix,
    };
    Network::containing(interface.address, bits)
}

/// The kind of a parameter that Postfix knows, by its own name or as one of a transport.
pub(super) fn kind(name: &str) -> Option<Kind> {
    match table::find(name) {
        Some(row) => Some(row.kind),
        None => transport::split(name).map(|(_, parameter)| parameter.kind),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postfix::system::fake::FakeHost;

    fn parse(text: &str) -> (MainCf, Vec<String>) {
        let mut found = Diagnostics::new();
        let main = MainCf::parse(text, "main.cf", Arc::new(FakeHost::default()), &mut found);
        (main, found.iter().map(ToString::to_string).collect())
    }

    fn value(text: &str, name: &str) -> String {
        parse(text).0.expanded(name).map(|expansion| expansion.text).unwrap_or_else(|error| format!("error: {error}"))
    }

    #[test]
    fn values_keep_their_place() {
        let (main, said) = parse("# c\na=1\n\nb  =\n  2,\n# c\n  3  \nempty =\n");
        assert!(said.is_empty(), "{said:?}");
        let set: Vec<(String, String)> = main.set().map(|one| (one.value.clone(), one.at.to_string())).collect();
        let expected = [("1", "main.cf:2:3"), ("2,  3", "main.cf:5:3"), ("", "main.cf:8:7")];
        assert_eq!(set, expected.map(|(value, at)| (value.to_owned(), at.to_owned())));
        assert!(main.is_set("empty") && !main.is_set("c"));
        assert_eq!(main.raw("nope"), None);
    }

    #[test]
    fn later_wins_and_is_reported() {
        let (main, said) = parse("myhostname=a.example\nmyhostname = b.example  \n");
        assert_eq!(main.raw("myhostname").as_deref(), Some("b.example"));
        assert_eq!(
            said,
            [
                "main.cf:2:14: myhostname: overriding earlier entry: myhostname=a.example: keep one of it and main.cf:1:12"
            ]
        );
    }

    #[test]
    fn lines_that_are_no_settings_are_reported() {
        let (main, said) = parse("myhostname\n= 3\nbiff = no\n");
        assert_eq!(
            said,
            [
                "main.cf:1:1: missing '=' after attribute name: \"myhostname\": write \"name = value\"",
                "main.cf:2:1: missing attribute name: \"= 3\": write \"name = value\"",
            ]
        );
        assert_eq!(main.raw("biff").as_deref(), Some("no"));
    }

    #[test]
    fn a_missing_file_is_an_error() {
        let mut found = Diagnostics::new();
        let main = MainCf::read("/none/main.cf", Arc::new(FakeHost::default()), &mut found);
        assert!(found.is_fatal() && main.set().next().is_none());
    }

    #[test]
    fn host_and_domain_derive_from_each_other() {
        for (text, hostname, domain) in [
            ("", "vm.localdomain", "localdomain"),
            ("mydomain = example.org\n", "vm.example.org", "example.org"),
            ("myhostname = mail.example.org\n", "mail.example.org", "example.org"),
            ("myhostname = mail\n", "mail", "localdomain"),
            ("mydomain = example.org\nmyhostname = mail.$mydomain\n", "mail.example.org", "example.org"),
            ("myhostname = mail.$mydomain\n", "mail.", ""),
            ("mydomain = $myhostname\n", "vm.", "vm."),
        ] {
            assert_eq!(value(text, "myhostname"), hostname, "{text}");
            assert_eq!(value(text, "mydomain"), domain, "{text}");
        }
    }

    #[test]
    fn networks_derive_from_the_interfaces() {
        for (text, networks) in [
            ("", "127.0.0.1/32 192.0.2.2/32 [::1]/128 [fd00::2]/128 [fe80::fc:ff:fe00:1]/128"),
            ("compatibility_level = 1\n", "127.0.0.0/8 192.0.2.0/24 [::1]/128 [fd00::]/64 [fe80::]/64"),
            ("mynetworks_style = class\ninet_protocols = ipv4\n", "127.0.0.0/8 192.0.2.0/24"),
            ("inet_interfaces = loopback-only\n", "127.0.0.1/32 [::1]/128"),
            ("inet_interfaces = localhost, 192.0.2.2\n", "127.0.0.1/32 192.0.2.2/32 [::1]/128"),
            ("inet_interfaces = $mynetworks\n", ""),
        ] {
            assert_eq!(value(text, "mynetworks"), networks, "{text}");
        }
    }

    #[test]
    fn the_version_is_what_the_file_says() {
        let banner = |text: &str| value(&format!("{text}smtpd_banner = $mail_name $mail_version\n"), "smtpd_banner");
        assert_eq!(banner(""), "Postfix 3.7.11");
        assert_eq!(banner("mail_version = 9\n"), "Postfix 9");
    }

    #[test]
    fn the_compatibility_level_chooses_defaults() {
        for (level, dots, relay_domains, guard) in [
            (None, "no", "", "permit_mynetworks, permit_sasl_authenticated, reject_unauth_destination"),
            (Some("0"), "yes", "vm.localdomain, localhost.localdomain, localhost", ""),
            (
                Some("1"),
                "no",
                "vm.localdomain, localhost.localdomain, localhost",
                "permit_mynetworks, permit_sasl_authenticated, defer_unauth_destination",
            ),
            (Some("2"), "no", "", "permit_mynetworks, permit_sasl_authenticated, defer_unauth_destination"),
            (Some("3.6"), "no", "", "permit_mynetworks, permit_sasl_authenticated, defer_unauth_destination"),
        ] {
            let text = level.map_or_else(String::new, |level| format!("compatibility_level = {level}\n"));
            assert_eq!(value(&text, "append_dot_mydomain"), dots, "{text}");
            assert_eq!(value(&text, "relay_domains"), relay_domains, "{text}");
            assert_eq!(value(&text, "smtpd_relay_restrictions"), guard, "{text}");
        }
        assert_eq!(value("", "smtpd_relay_before_recipient_restrictions"), "yes");
        assert_eq!(value("compatibility_level = 2\n", "smtpd_relay_before_recipient_restrictions"), "no");
    }

    #[test]
    fn overrides_win_for_one_service() {
        let (main, _) = parse("syslog_name = mail\n");
        let at = Location::new("master.cf", 3, 5);
        let over = |name: &str, value: &str| Setting { name: name.into(), value: value.into(), at: at.clone() };
        let relay = main.with_overrides(&[over("service_name", "relay"), over("syslog_name", "postfix/$service_name")]);
        assert_eq!(relay.expanded("syslog_name").unwrap().text, "postfix/relay");
        assert_eq!(relay.location("syslog_name"), at);
        assert_eq!(main.expanded("syslog_name").unwrap().text, "mail");
        assert_eq!(main.defaults().expanded("syslog_name").unwrap().text, "postfix");
    }

    #[test]
    fn transports_have_parameters_of_their_own() {
        assert_eq!(value("default_destination_concurrency_limit = 7\n", "lmtp_destination_concurrency_limit"), "7");
        assert_eq!(value("", "local_destination_recipient_limit"), "1");
    }

    #[test]
    fn raw_parameters_are_not_expanded() {
        assert!(value("", "default_rbl_reply").starts_with("$rbl_code Service unavailable"));
    }

    #[test]
    fn every_default_expands_to_a_legal_value() {
        let (main, _) = parse("");
        let mut found = Diagnostics::new();
        let mut settings = main.settings(&mut found);
        table::all().iter().for_each(|row| settings.validate(row.name));
        assert!(found.is_empty(), "{found:?}");
    }
}
