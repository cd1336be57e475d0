//! The table of Dovecot's settings: name, type, default, status and meaning of each, declared once.
//!
//! Names, types and defaults are those that `doveconf -d` of Dovecot 2.3.19 prints; only `login_greeting` is the
//! original one and not Debian's. Reading, `doveconf`, the check and the manual all derive from these rows. Names of
//! other releases are mapped onto them in [`super::dialect`]. Nothing here reads a file.

mod auth;
mod delivery;
mod login;
mod mail;
mod master;
mod plugins;
mod protocols;
mod remote;
mod sections;
mod services;
mod ssl;

use std::collections::HashMap;
use std::sync::LazyLock;

pub use plugins::{Plugin, plugin, plugin_of_setting};

/// What a value may look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `yes` or `no`, in any case; `y` and `1` mean yes.
    Bool,
    /// A number of up to 32 bits.
    Uint,
    /// A number that is octal when it begins with 0: file modes.
    Octal,
    /// A TCP port; 0 disables.
    Port,
    /// A time in seconds, with a unit: `2 mins`.
    Time,
    /// A time in milliseconds, with a unit.
    TimeMsecs,
    /// A number of bytes, with a unit: `256 M`.
    Size,
    /// Text.
    Str,
    /// Text in which `%`-variables are expanded when it is used.
    Vars,
    /// Words, separated by white space or commas.
    List,
    /// One of these words; the first one is the default.
    Enum(&'static [&'static str]),
}

/// What becomes of a setting here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It does what it does in Dovecot; `test` names what shows that.
    Supported {
        /// The test that shows it; empty while there is none.
        test: &'static str,
    },
    /// It needs nothing here, for this reason.
    Accepted {
        /// Why nothing is lost.
        why: &'static str,
    },
    /// It is known and not built.
    NotYet {
        /// Whether a start is refused: to ignore it would weaken security or change where mail goes.
        refuse: bool,
    },
}

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Its name, without the blocks around it.
    pub name: &'static str,
    /// What a value may look like.
    pub kind: Kind,
    /// The value without a configuration, as `doveconf -d` prints it.
    pub default: &'static str,
    /// What becomes of it.
    pub status: Status,
    /// What it means, in one line.
    pub doc: &'static str,
}

/// A kind of block, which decides what may stand in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Outside of all blocks, or directly in a `protocol`, `local`, `remote` or `local_name` block.
    Root,
    /// `passdb { }`
    Passdb,
    /// `userdb { }`
    Userdb,
    /// `namespace { }`
    Namespace,
    /// `namespace { mailbox { } }`
    Mailbox,
    /// `service { }`
    Service,
    /// `service { unix_listener { } }` and `fifo_listener`
    FileListener,
    /// `service { inet_listener { } }`
    InetListener,
}

/// What a block inside another one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Child {
    /// A block of settings. Blocks of the same name are one block if `unique`; otherwise each one is another entry.
    Block {
        /// What may stand in it.
        scope: Scope,
        /// Whether its name identifies it.
        unique: bool,
    },
    /// A list of `name = value` with free names.
    Strings,
    /// A list of `name = yes|no` (2.4), which is the 2.3 setting of that name with the names that are `yes`.
    Switches,
}

/// A service that exists without being configured.
#[derive(Debug)]
pub struct ServiceDefault {
    /// Its name.
    pub name: &'static str,
    /// Settings that differ from those of an empty `service` block.
    pub set: &'static [(&'static str, &'static str)],
    /// Its unix listeners: path, mode, user, group.
    pub unix: &'static [(&'static str, &'static str, &'static str, &'static str)],
    /// Its fifos: path, mode, user, group.
    pub fifo: &'static [(&'static str, &'static str, &'static str, &'static str)],
    /// Its TCP listeners: name, port, whether TLS begins at once.
    pub inet: &'static [(&'static str, &'static str, bool)],
}

/// Rows of the table, one a line: `name: Kind = "default", status, "meaning";`.
macro_rules! settings {
    ($(#[$meta:meta])* pub(super) static $rows:ident;
     $($name:ident: $kind:ident $(($($word:literal),+))? = $default:literal, $status:ident $(($text:literal))?,
       $doc:literal;)*) => {
        $(#[$meta])*
        pub(super) static $rows: &[super::Setting] = &[$(super::Setting {
            name: stringify!($name),
            kind: super::Kind::$kind $((&[$($word),+]))?,
            default: $default,
            status: super::$status($($text)?),
            doc: $doc,
        }),*];
    };
}
use settings;

/// The status of a row that does what it does in Dovecot.
const fn built(test: &'static str) -> Status {
    Status::Supported { test }
}

/// The status of a row that needs nothing here.
const fn accepted(why: &'static str) -> Status {
    Status::Accepted { why }
}

/// The status of a row that is not built and may be left out.
const fn later() -> Status {
    Status::NotYet { refuse: false }
}

/// The status of a row that is not built and must not be left out in silence.
const fn refused() -> Status {
    Status::NotYet { refuse: true }
}

impl Scope {
    const ALL: [Scope; 8] = [
        Scope::Root,
        Scope::Passdb,
        Scope::Userdb,
        Scope::Namespace,
        Scope::Mailbox,
        Scope::Service,
        Scope::FileListener,
        Scope::InetListener,
    ];

    /// The settings of such a block, in no order.
    pub fn settings(self) -> impl Iterator<Item = &'static Setting> {
        let groups: &[&'static [Setting]] = match self {
            Scope::Root => &[
                auth::ROWS,
                delivery::ROWS,
                login::ROWS,
                mail::ROWS,
                master::ROWS,
                protocols::ROWS,
                remote::ROWS,
                ssl::ROWS,
                sections::DIALECT,
            ],
            Scope::Passdb => &[sections::PASSDB],
            Scope::Userdb => &[sections::USERDB],
            Scope::Namespace => &[sections::NAMESPACE],
            Scope::Mailbox => &[sections::MAILBOX],
            Scope::Service => &[sections::SERVICE],
            Scope::FileListener => &[sections::FILE_LISTENER],
            Scope::InetListener => &[sections::INET_LISTENER],
        };
        groups.iter().flat_map(|rows| rows.iter()).collect::<Vec<_>>().into_iter()
    }

    /// The row of a setting in such a block.
    pub fn find(self, name: &str) -> Option<&'static Setting> {
        static INDEX: LazyLock<HashMap<(Scope, &'static str), &'static Setting>> = LazyLock::new(|| {
            Scope::ALL.into_iter().flat_map(|scope| scope.settings().map(move |row| ((scope, row.name), row))).collect()
        });
        // The index borrows names for ever, a name that is looked up does not live that long.
        INDEX.get(&(self, name) as &(Scope, &str)).copied()
    }

    /// The blocks that may stand in such a block, with their kinds.
    pub fn children(self) -> &'static [(&'static str, Child)] {
        match self {
            Scope::Root => &[
                ("passdb", Child::Block { scope: Scope::Passdb, unique: false }),
                ("userdb", Child::Block { scope: Scope::Userdb, unique: false }),
                ("namespace", Child::Block { scope: Scope::Namespace, unique: true }),
                ("service", Child::Block { scope: Scope::Service, unique: true }),
                ("plugin", Child::Strings),
                ("dict", Child::Strings),
                ("mail_plugins", Child::Switches),
                ("protocols", Child::Switches),
                ("auth_mechanisms", Child::Switches),
            ],
            Scope::Passdb | Scope::Userdb => &[("fields", Child::Strings)],
            Scope::Namespace => &[("mailbox", Child::Block { scope: Scope::Mailbox, unique: true })],
            Scope::Service => &[
                ("unix_listener", Child::Block { scope: Scope::FileListener, unique: true }),
                ("fifo_listener", Child::Block { scope: Scope::FileListener, unique: true }),
                ("inet_listener", Child::Block { scope: Scope::InetListener, unique: true }),
            ],
            Scope::Mailbox | Scope::FileListener | Scope::InetListener => &[],
        }
    }

    /// What a block of that name is inside such a block.
    pub fn child(self, name: &str) -> Option<Child> {
        self.children().iter().find(|(known, _)| *known == name).map(|(_, child)| *child)
    }

    /// The known name nearest to one that is unknown, if any is near enough to have been meant.
    pub fn nearest(self, name: &str) -> Option<&'static str> {
        let names = self.settings().map(|row| row.name).chain(self.children().iter().map(|(known, _)| *known));
        let filters: &[&str] = if self == Scope::Root { &["protocol", "local", "remote", "local_name"] } else { &[] };
        names
            .chain(filters.iter().copied())
            .map(|known| (distance(name, known), known))
            .filter(|(distance, known)| *distance <= 1 + known.len() / 5)
            .min()
            .map(|(_, known)| known)
    }
}

/// Whether a setting belongs to the authentication service, which cannot differ by address.
pub fn is_auth(name: &str) -> bool {
    const SHARED: &[&str] = &["base_dir", "verbose_proctitle", "ssl_client_ca_dir", "ssl_client_ca_file"];
    const LIMITS: &[&str] = &["first_valid_uid", "last_valid_uid", "first_valid_gid", "last_valid_gid"];
    (name != "auth_socket_path" && auth::ROWS.iter().any(|row| row.name == name))
        || SHARED.contains(&name)
        || LIMITS.contains(&name)
        || matches!(name, "passdb" | "userdb")
}

/// Whether a setting is of 2.4 only; it is printed only where it is set.
pub fn is_dialect(scope: Scope, name: &str) -> bool {
    match scope {
        Scope::Root => sections::DIALECT.iter().any(|row| row.name == name),
        Scope::Namespace => name.starts_with("mail_") || name.starts_with("mailbox_"),
        Scope::Passdb | Scope::Userdb => {
            let of_2_4 = ["auth_username_format", "default_password_scheme", "passwd_file_path"];
            of_2_4.contains(&name) || name.starts_with("static_")
        }
        _ => false,
    }
}

/// The services that exist without being configured.
pub fn services() -> &'static [ServiceDefault] {
    services::SERVICES
}

/// Each supported setting with the test that fails when its value is ignored (empty while none is named).
pub fn proofs() -> Vec<(String, &'static str)> {
    let rows = Scope::ALL.into_iter().flat_map(|scope| scope.settings().map(move |row| (scope, row)));
    rows.filter_map(|(scope, row)| match row.status {
        Status::Supported { test } if scope == Scope::Root => Some((row.name.to_string(), test)),
        Status::Supported { test } => Some((format!("{scope:?} {{ {} }}", row.name), test)),
        _ => None,
    })
    .collect()
}

/// The number of single-byte changes that make one name of another (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in other.bytes().enumerate() {
            let changed = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dovecot::value;

    #[test]
    fn every_name_is_declared_once_in_its_block() {
        for scope in Scope::ALL {
            let mut names: Vec<_> = scope.settings().map(|row| row.name).collect();
            let count = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), count, "{scope:?}");
        }
    }

    #[test]
    fn every_default_is_a_valid_value_and_printed_as_it_stands() {
        for scope in Scope::ALL {
            for row in scope.settings() {
                assert_eq!(value::normalise(row.kind, row.default).as_deref(), Ok(row.default), "{}", row.name);
            }
        }
    }

    #[test]
    fn service_defaults_name_known_settings() {
        for service in services() {
            for (name, value) in service.set {
                let row = Scope::Service.find(name).unwrap_or_else(|| panic!("{}: {name}", service.name));
                assert_eq!(value::normalise(row.kind, value).as_deref(), Ok(*value), "{}: {name}", service.name);
            }
        }
    }

    #[test]
    fn a_mistyped_name_finds_the_one_that_was_meant() {
        assert_eq!(Scope::Root.nearest("mail_locaton"), Some("mail_location"));
        assert_eq!(Scope::Root.nearest("servce"), Some("service"));
        assert_eq!(Scope::Service.nearest("client_limits"), Some("client_limit"));
        assert_eq!(Scope::Root.nearest("quite_another_thing"), None);
    }

    #[test]
    fn proofs_are_asked_of_supported_rows_alone() {
        let proofs = proofs();
        let has = |wanted: &str| proofs.iter().any(|(name, _)| name == wanted);
        assert!(has("auth_verbose") && has("Service { client_limit }"));
        assert!(!has("director_servers"));
    }

    #[test]
    fn distances_count_changes() {
        for (one, other, expected) in [("", "abc", 3), ("abc", "abc", 0), ("kitten", "sitting", 3), ("ab", "ba", 2)] {
            assert_eq!(distance(one, other), expected, "{one} {other}");
        }
    }
}
