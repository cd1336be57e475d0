//! Typed access to a configuration that was read.
//!
//! A name that is asked for must be in the table: to ask for another one is our own mistake and panics. A value is
//! valid because [`super::tree`] lets no other in, so reading it does not fail.

use std::io;
use std::net::IpAddr;
use std::path::Path;

use super::check;
use super::files::{Accounts, Files};
use super::location::{self, MailLocation};
use super::parse;
use super::table::Scope;
use super::tree::{self, Block, Tree, Value};
use super::value;
use crate::diagnostic::{Diagnostics, Location};

/// A configuration.
#[derive(Clone, Debug)]
pub struct DovecotConf {
    pub(super) path: String,
    pub(super) tree: Tree,
}

/// The connection that settings are asked for; what is not known is `None` and matches no filter that names it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Connection<'a> {
    /// The protocol: `imap`, `pop3`, `lmtp`, `lda`, `doveadm`, …
    pub protocol: Option<&'a str>,
    /// The address that was connected to.
    pub local: Option<IpAddr>,
    /// The name that the client's TLS hello says.
    pub local_name: Option<&'a str>,
    /// The client's address.
    pub remote: Option<IpAddr>,
}

/// The settings as they hold for one connection.
#[derive(Clone, Debug)]
pub struct View<'a> {
    /// The blocks that hold, the one that decides first, the whole configuration last.
    layers: Vec<&'a Block>,
}

impl DovecotConf {
    /// Reads and checks the configuration at `path`.
    ///
    /// An error means that the file cannot be opened. Otherwise all that is wrong is in the diagnostics, in the order
    /// of the files; if they are fatal, the configuration must not be started with, but can be printed.
    pub fn load(path: &Path, files: &dyn Files, accounts: &dyn Accounts) -> io::Result<(DovecotConf, Diagnostics)> {
        let (conf, mut found) = DovecotConf::read(path, files)?;
        check::check(&conf, accounts, &mut found);
        Ok((conf, found))
    }

    /// Reads the configuration at `path` without the checks that look at all of it.
    pub fn read(path: &Path, files: &dyn Files) -> io::Result<(DovecotConf, Diagnostics)> {
        let mut found = Diagnostics::new();
        let statements = parse::read(path, files, &mut found)?;
        let tree = tree::build(statements, files, &mut found);
        Ok((DovecotConf { path: path.to_string_lossy().into_owned(), tree }, found))
    }

    /// The file that was read.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The settings that hold for every connection.
    pub fn global(&self) -> View<'_> {
        View { layers: vec![&self.tree.root] }
    }

    /// The settings of a protocol: those of its `protocol` blocks, then the global ones.
    pub fn for_protocol(&self, protocol: &str) -> View<'_> {
        self.for_connection(&Connection { protocol: Some(protocol), ..Connection::default() })
    }

    /// The settings of a connection. Of several filters that hold, the most specific one decides: by `local_name`, then
    /// by the length of the `local` network, of the `remote` one, then by protocol; of equal ones the first.
    pub fn for_connection(&self, connection: &Connection<'_>) -> View<'_> {
        let mut holding: Vec<_> = self.tree.filters.iter().filter(|(filter, _)| filter.holds_for(connection)).collect();
        holding.sort_by_key(|(filter, _)| std::cmp::Reverse(filter.rank()));
        let filtered = holding.into_iter().map(|(_, block)| block);
        View { layers: filtered.chain([&self.tree.root]).collect() }
    }

    /// A global setting as text.
    pub fn get(&self, name: &str) -> &str {
        self.global().get(name)
    }

    /// The protocols to serve; `none` alone is no protocol.
    pub fn protocols(&self) -> Vec<&str> {
        let protocols: Vec<_> = self.get("protocols").split(' ').filter(|word| !word.is_empty()).collect();
        if protocols == ["none"] { Vec::new() } else { protocols }
    }

    /// Whether a protocol is to be served.
    pub fn serves(&self, protocol: &str) -> bool {
        self.protocols().contains(&protocol)
    }
}

impl<'a> View<'a> {
    /// A setting as text: as it was set, else its default.
    pub fn get(&self, name: &str) -> &'a str {
        let default = row(Scope::Root, name).default;
        self.value(name).map_or(default, |value| value.text.as_str())
    }

    /// The value that was set, with its file and place.
    pub fn value(&self, name: &str) -> Option<&'a Value> {
        self.layers.iter().find_map(|block| block.value(name))
    }

    /// Where a setting was set; `None` for its default.
    pub fn place(&self, name: &str) -> Option<&'a Location> {
        self.value(name).and_then(|value| value.at.as_ref())
    }

    /// A setting of yes and no.
    pub fn bool(&self, name: &str) -> bool {
        valid(name, value::bool(self.get(name)))
    }

    /// A number.
    pub fn uint(&self, name: &str) -> u32 {
        valid(name, value::uint(self.get(name)))
    }

    /// A time in seconds.
    pub fn time(&self, name: &str) -> u32 {
        valid(name, value::time(self.get(name)))
    }

    /// A time in milliseconds.
    pub fn time_msecs(&self, name: &str) -> u32 {
        valid(name, value::time_msecs(self.get(name)))
    }

    /// A number of bytes.
    pub fn size(&self, name: &str) -> u64 {
        valid(name, value::size(self.get(name)))
    }

    /// The words of a list.
    pub fn list(&self, name: &str) -> Vec<&'a str> {
        value::words(self.get(name)).collect()
    }

    /// The file of a setting that names one by `</path`: the certificate or key, say, which is not read here.
    pub fn file(&self, name: &str) -> Option<&'a Path> {
        self.value(name).and_then(|value| value.file.as_deref())
    }

    /// A setting of `plugin { }`.
    pub fn plugin(&self, name: &str) -> Option<&'a str> {
        let mut lists = self.layers.iter().filter_map(|block| block.strings.get("plugin"));
        lists.find_map(|list| list.iter().find(|(known, _)| known == name)).map(|(_, value)| value.text.as_str())
    }

    /// Where mail is stored: `mail_location`, with the settings of 2.4 that say the same in parts.
    pub fn mail_location(&self) -> Result<MailLocation, String> {
        MailLocation::parse(&self.mail_location_text())
    }

    /// The same as one text, with its variables in place.
    pub fn mail_location_text(&self) -> String {
        compose(self.get("mail_location"), |name| self.get(name))
    }
}

/// Puts the 2.4 settings of a location together; without `mail_driver` and `mail_path` it is `whole`.
pub(super) fn compose<'a>(whole: &str, get: impl Fn(&'static str) -> &'a str) -> String {
    const PARTS: [(&str, &str); 4] = [
        ("mail_inbox_path", "INBOX"),
        ("mail_index_path", "INDEX"),
        ("mail_control_path", "CONTROL"),
        ("mailbox_list_layout", "LAYOUT"),
    ];
    let mut text = match (get("mail_driver"), get("mail_path")) {
        ("", "") => whole.to_owned(),
        ("", path) => location::escape(path),
        (driver, path) => format!("{driver}:{}", location::escape(path)),
    };
    for (name, key) in PARTS {
        let value = get(name);
        if !value.is_empty() {
            text += &format!(":{key}={}", location::escape(value));
        }
    }
    text
}

/// A setting of a block as text, else its default.
pub(super) fn get<'a>(scope: Scope, block: &'a Block, name: &str) -> &'a str {
    let default = row(scope, name).default;
    block.value(name).map_or(default, |value| value.text.as_str())
}

pub(super) fn row(scope: Scope, name: &str) -> &'static super::table::Setting {
    scope.find(name).unwrap_or_else(|| panic!("{name} is not in the table of settings"))
}

/// What a valid value reads as.
pub(super) fn valid<T>(name: &str, value: Result<T, String>) -> T {
    value.unwrap_or_else(|why| panic!("{name} was let in with a bad value: {why}"))
}

#[cfg(test)]
mod tests {
    use super::super::files::memory::Memory;
    use super::super::location::Driver;
    use super::*;

    fn conf(text: &str) -> DovecotConf {
        let files = Memory::new([("/c/d.conf", text), ("/c/cert", "CERT")]);
        let (conf, found) = DovecotConf::read(Path::new("/c/d.conf"), &files).unwrap();
        assert!(!found.is_fatal(), "{found:?}");
        conf
    }

    #[test]
    fn values_have_their_types() {
        let conf = conf("auth_debug = yes\ndefault_vsz_limit = 1G\nlisten = 127.0.0.1, ::1\nssl_cert = <cert\n");
        let global = conf.global();
        assert!(global.bool("auth_debug"));
        assert_eq!(global.size("default_vsz_limit"), 1 << 30);
        assert_eq!(global.time("auth_failure_delay"), 2);
        assert_eq!(global.time_msecs("login_proxy_timeout"), 30_000);
        assert_eq!(global.uint("first_valid_uid"), 500);
        assert_eq!(global.list("listen"), ["127.0.0.1", "::1"]);
        assert_eq!((global.get("ssl_cert"), global.file("ssl_cert")), ("CERT", Some(Path::new("/c/cert"))));
        assert_eq!(global.place("auth_debug").unwrap().line, 1);
        assert_eq!(global.place("first_valid_uid"), None);
    }

    #[test]
    fn protocols_are_words() {
        for (text, expected) in
            [("", vec![]), ("protocols = none", vec![]), ("protocols = \" imap  lmtp\"", vec!["imap", "lmtp"])]
        {
            assert_eq!(conf(text).protocols(), expected, "{text}");
        }
    }

    #[test]
    fn a_protocol_sees_its_own_settings_first() {
        let conf = conf(
            "mail_plugins = a\nprotocol imap {\n mail_plugins = $mail_plugins b\n plugin {\n  x = 1\n }\n}\n\
             protocol !lmtp {\n mail_debug = yes\n}\nplugin {\n y = 2\n}\n",
        );
        assert_eq!(conf.for_protocol("imap").get("mail_plugins"), "a b");
        assert_eq!(conf.for_protocol("pop3").get("mail_plugins"), "a");
        assert!(conf.for_protocol("pop3").bool("mail_debug"));
        assert!(!conf.for_protocol("lmtp").bool("mail_debug"));
        assert!(!conf.global().bool("mail_debug"));
        assert_eq!(conf.for_protocol("imap").plugin("x"), Some("1"));
        assert_eq!(conf.for_protocol("imap").plugin("y"), Some("2"));
        assert_eq!(conf.for_protocol("lmtp").plugin("x"), None);
    }

    #[test]
    fn the_most_specific_address_decides() {
        let conf = conf(
            "remote 10.0.0.0/8 {\n disable_plaintext_auth = no\n}\nremote 10.1.0.0/16 {\n disable_plaintext_auth = yes\n}\n\
             local_name \"a.example.org *.b.org\" {\n login_greeting = a\n}\n",
        );
        let from = |remote: &str| Connection { remote: remote.parse().ok(), ..Connection::default() };
        assert!(!conf.for_connection(&from("10.2.0.1")).bool("disable_plaintext_auth"));
        assert!(conf.for_connection(&from("10.1.0.1")).bool("disable_plaintext_auth"));
        assert!(conf.for_connection(&from("192.0.2.1")).bool("disable_plaintext_auth"));
        for (name, expected) in
            [("A.example.org", "a"), ("x.b.org", "a"), ("b.org", "Dovecot ready."), ("x.y.b.org", "Dovecot ready.")]
        {
            let connection = Connection { local_name: Some(name), ..Connection::default() };
            assert_eq!(conf.for_connection(&connection).get("login_greeting"), expected, "{name}");
        }
    }

    #[test]
    fn both_dialects_say_where_mail_is() {
        for text in [
            "mail_location = sdbox:~/m:INDEX=/i/%u:LAYOUT=fs:CONTROL=/c:INBOX=/b\n",
            "mail_driver = sdbox\nmail_path = ~/m\nmail_index_path = /i/%u\nmailbox_list_layout = fs\n\
             mail_control_path = /c\nmail_inbox_path = /b\n",
        ] {
            let location = conf(text).global().mail_location().unwrap();
            assert_eq!(location.driver, Driver::Sdbox);
            assert_eq!(
                (location.path.as_str(), location.index.as_str(), location.layout.as_str()),
                ("~/m", "/i/%u", "fs")
            );
            assert_eq!((location.control.as_str(), location.inbox.as_str()), ("/c", "/b"));
        }
    }
}
