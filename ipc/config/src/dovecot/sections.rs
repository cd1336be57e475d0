//! User and password databases, and namespaces, as typed values.

use serde::{Deserialize, Serialize};

use super::location::MailLocation;
use super::settings::{DovecotConf, compose, get, valid};
use super::table::Scope;
use super::tree::Block;
use super::value;
use crate::diagnostic::Location;

/// Arguments of a database driver: `scheme=CRYPT username_format=%u /etc/dovecot/users`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Args {
    /// The `k=v` words in front.
    pub options: Vec<(String, String)>,
    /// The rest: a path, or the name of a PAM service. It may contain `%`-variables.
    pub path: String,
}

/// A `passdb` block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passdb {
    /// What both kinds of database have.
    pub database: Database,
    /// Users found here are refused.
    pub deny: bool,
    /// Users found here may log in as others.
    pub master: bool,
    /// The old way to say that `result_success` is `continue`.
    pub pass: bool,
    /// Mechanisms for which it is asked; empty means all.
    pub mechanisms: Vec<String>,
    /// Patterns of user names for which it is asked, those with `!` before them excepted; empty means all.
    pub username_filter: Vec<String>,
}

/// What a `passdb` and a `userdb` block have in common; all of a `userdb`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Database {
    /// Name for logs; may be empty.
    pub name: String,
    /// `passwd-file`, `static`, …
    pub driver: String,
    /// The driver's arguments.
    pub args: Args,
    /// Fields that are added where the database does not give them.
    pub default_fields: Vec<(String, String)>,
    /// Fields that replace what the database gives.
    pub override_fields: Vec<(String, String)>,
    /// When it is not asked: `never`, `authenticated`, `unauthenticated`, `found`, `notfound`.
    pub skip: String,
    /// What follows a success: `return-ok`, `continue`, …
    pub result_success: String,
    /// What follows a failure.
    pub result_failure: String,
    /// What follows when it cannot be asked.
    pub result_internalfail: String,
    /// Overrides `auth_verbose`.
    pub auth_verbose: Option<bool>,
    /// Where the block begins.
    pub at: Location,
}

/// Whose mailboxes a namespace holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ownership {
    /// The user's own.
    Private,
    /// Other users'.
    Shared,
    /// Nobody's.
    Public,
}

/// Whether the mailboxes of a namespace appear in LIST.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Listing {
    /// They do.
    Yes,
    /// They do not.
    No,
    /// Only those below its prefix, not the prefix itself.
    Children,
}

/// A `namespace` block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespace {
    /// Name of the block; may be empty.
    pub name: String,
    /// `type`
    pub ownership: Ownership,
    /// Character between levels; `None` is the format's own.
    pub separator: Option<char>,
    /// What mailbox names begin with.
    pub prefix: String,
    /// Where its mail is, with variables in place; empty means `mail_location`.
    pub location: String,
    /// It holds INBOX.
    pub inbox: bool,
    /// It is not announced.
    pub hidden: bool,
    /// `list`
    pub list: Listing,
    /// It keeps its own subscriptions.
    pub subscriptions: bool,
    /// It is left out when its location cannot be used.
    pub ignore_on_failure: bool,
    /// Place among those that are announced.
    pub order: u32,
    /// Mailboxes with attributes of their own.
    pub mailboxes: Vec<Mailbox>,
}

/// How a mailbox comes to be when it is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Auto {
    /// It does not.
    No,
    /// It is made when it is used.
    Create,
    /// It is made and subscribed to.
    Subscribe,
}

/// A `mailbox` block of a namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mailbox {
    /// Its name below the namespace's prefix; may have `*` and `?`.
    pub name: String,
    /// `auto`
    pub auto: Auto,
    /// Special-use attributes, with their `\`.
    pub special_use: Vec<String>,
    /// Age in seconds at which mail is removed; 0 is never.
    pub autoexpunge: u32,
    /// Number of mails above which the oldest are removed; 0 is no limit.
    pub autoexpunge_max_mails: u32,
}

impl DovecotConf {
    /// The password databases, in the order in which they are asked.
    pub fn passdbs(&self) -> Vec<Passdb> {
        let read = |block: &Block| {
            let text = |name| get(Scope::Passdb, block, name);
            let flag = |name| valid(name, value::bool(text(name)));
            let mut database = database(Scope::Passdb, block);
            database.args.add("scheme", text("default_password_scheme"));
            database.args.add("password", text("static_password"));
            Passdb {
                database,
                deny: flag("deny"),
                master: flag("master"),
                pass: flag("pass"),
                mechanisms: value::words(text("mechanisms")).map(str::to_owned).collect(),
                username_filter: value::words(text("username_filter")).map(str::to_owned).collect(),
            }
        };
        self.tree.root.children("passdb").iter().map(read).collect()
    }

    /// The user databases, in the order in which they are asked.
    pub fn userdbs(&self) -> Vec<Database> {
        let read = |block: &Block| {
            let mut database = database(Scope::Userdb, block);
            if get(Scope::Userdb, block, "static_allow_all_users") == "yes" {
                database.args.add("allow_all_users", "yes");
            }
            database
        };
        self.tree.root.children("userdb").iter().map(read).collect()
    }

    /// The namespaces that are not disabled. Without a `namespace` block there is one, which holds INBOX.
    pub fn namespaces(&self) -> Vec<Namespace> {
        let blocks = self.tree.root.children("namespace");
        if blocks.is_empty() {
            return vec![Namespace { inbox: true, ..namespace(&Block::default()) }];
        }
        blocks.iter().filter(|block| get(Scope::Namespace, block, "disabled") == "no").map(namespace).collect()
    }
}

impl Namespace {
    /// Where its mail is, if it is not in `mail_location`.
    pub fn mail_location(&self) -> Option<Result<MailLocation, String>> {
        (!self.location.is_empty()).then(|| MailLocation::parse(&self.location))
    }
}

impl Args {
    /// Splits arguments: `k=v` words until something else comes, which is the path with all that follows.
    pub fn parse(text: &str) -> Args {
        let mut args = Args::default();
        let mut rest = text.trim_start();
        while !rest.is_empty() {
            let (word, after) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
            match word.split_once('=') {
                Some((key, value)) if !key.starts_with(['/', '~', '.', '%']) => {
                    args.options.push((key.to_owned(), value.to_owned()));
                }
                _ => {
                    rest.trim_end().clone_into(&mut args.path);
                    break;
                }
            }
            rest = after.trim_start();
        }
        args
    }

    /// The value of an option; of several the last.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.options.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn add(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            self.options.push((name.to_owned(), value.to_owned()));
        }
    }
}

/// `uid=vmail home=/home/%u` in its parts; a word without `=` has an empty value.
pub fn fields(text: &str) -> Vec<(String, String)> {
    let words = text.split_whitespace().map(|word| word.split_once('=').unwrap_or((word, "")));
    words.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// Drivers of the databases of Dovecot, each with whether it is built.
pub const DRIVERS: [(&str, bool); 14] = [
    ("passwd-file", true),
    ("static", true),
    ("bsdauth", false),
    ("checkpassword", false),
    ("dict", false),
    ("imap", false),
    ("ldap", false),
    ("lua", false),
    ("oauth2", false),
    ("pam", false),
    ("passwd", false),
    ("prefetch", true),
    ("shadow", false),
    ("sql", false),
];

fn database(scope: Scope, block: &Block) -> Database {
    let text = |name| get(scope, block, name);
    // In 2.4 the name of the block is the driver if it is one.
    let named = DRIVERS.iter().any(|(driver, _)| *driver == block.name);
    let driver = if text("driver").is_empty() && named { block.name.as_str() } else { text("driver") };
    let mut args = Args::parse(text("args"));
    args.add("username_format", text("auth_username_format"));
    if !text("passwd_file_path").is_empty() {
        text("passwd_file_path").clone_into(&mut args.path);
    }
    let mut default_fields = fields(text("default_fields"));
    let mut override_fields = fields(text("override_fields"));
    for (name, value) in block.strings.get("fields").into_iter().flatten() {
        match name.strip_suffix(":default") {
            Some(name) => default_fields.push((name.to_owned(), value.text.clone())),
            None => override_fields.push((name.clone(), value.text.clone())),
        }
    }
    Database {
        name: if text("name").is_empty() { block.name.clone() } else { text("name").to_owned() },
        driver: driver.to_owned(),
        args,
        default_fields,
        override_fields,
        skip: text("skip").to_owned(),
        result_success: text("result_success").to_owned(),
        result_failure: text("result_failure").to_owned(),
        result_internalfail: text("result_internalfail").to_owned(),
        auth_verbose: match text("auth_verbose") {
            "default" => None,
            answer => Some(answer == "yes"),
        },
        at: block.at.clone().unwrap_or_default(),
    }
}

fn namespace(block: &Block) -> Namespace {
    let text = |name: &'static str| get(Scope::Namespace, block, name);
    let flag = |name| valid(name, value::bool(text(name)));
    Namespace {
        name: block.name.clone(),
        ownership: match text("type") {
            "shared" => Ownership::Shared,
            "public" => Ownership::Public,
            _ => Ownership::Private,
        },
        separator: text("separator").chars().next(),
        prefix: text("prefix").to_owned(),
        location: compose(text("location"), text),
        inbox: flag("inbox"),
        hidden: flag("hidden"),
        list: match text("list") {
            "no" => Listing::No,
            "children" => Listing::Children,
            _ => Listing::Yes,
        },
        subscriptions: flag("subscriptions"),
        ignore_on_failure: flag("ignore_on_failure"),
        order: valid("order", value::uint(text("order"))),
        mailboxes: block.children("mailbox").iter().map(mailbox).collect(),
    }
}

fn mailbox(block: &Block) -> Mailbox {
    let text = |name| get(Scope::Mailbox, block, name);
    Mailbox {
        name: block.name.clone(),
        auto: match text("auto") {
            "create" => Auto::Create,
            "subscribe" => Auto::Subscribe,
            _ => Auto::No,
        },
        special_use: text("special_use").split_whitespace().map(str::to_owned).collect(),
        autoexpunge: valid("autoexpunge", value::time(text("autoexpunge"))),
        autoexpunge_max_mails: valid("autoexpunge_max_mails", value::uint(text("autoexpunge_max_mails"))),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::files::memory::Memory;
    use super::*;

    fn conf(text: &str) -> DovecotConf {
        let files = Memory::new([("/c/d.conf", text)]);
        let (conf, found) = DovecotConf::read(Path::new("/c/d.conf"), &files).unwrap();
        assert!(found.is_empty(), "{found:?}");
        conf
    }

    fn pairs(list: &[(String, String)]) -> Vec<(&str, &str)> {
        list.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect()
    }

    #[test]
    fn arguments_are_options_and_a_path() {
        for (text, options, path) in [
            ("", vec![], ""),
            ("/etc/users", vec![], "/etc/users"),
            (
                "scheme=CRYPT username_format=%u /etc/a b/%d",
                vec![("scheme", "CRYPT"), ("username_format", "%u")],
                "/etc/a b/%d",
            ),
            ("uid=vmail  home=/h/%u=x", vec![("uid", "vmail"), ("home", "/h/%u=x")], ""),
            ("session=yes dovecot", vec![("session", "yes")], "dovecot"),
            ("/var/a=b", vec![], "/var/a=b"),
        ] {
            let args = Args::parse(text);
            assert_eq!((pairs(&args.options), args.path.as_str()), (options, path), "{text}");
        }
    }

    #[test]
    fn databases_of_both_dialects_are_the_same() {
        let old = conf(
            "passdb {\n driver = passwd-file\n args = scheme=CRYPT /u\n deny = yes\n mechanisms = plain login\n}\n\
             userdb {\n driver = passwd-file\n args = username_format=%n /u\n default_fields = uid=vmail gid=vmail\n \
             override_fields = home=/h/%u\n}\n",
        );
        let new = conf(
            "passdb passwd-file {\n passwd_file_path = /u\n default_password_scheme = CRYPT\n passdb_deny = yes\n \
             mechanisms = plain login\n}\nuserdb x {\n driver = passwd-file\n auth_username_format = %n\n \
             passwd_file_path = /u\n fields {\n uid:default = vmail\n gid:default = vmail\n home = /h/%u\n }\n}\n",
        );
        for conf in [old, new] {
            let passdb = &conf.passdbs()[0];
            assert_eq!(passdb.database.driver, "passwd-file");
            assert_eq!((passdb.database.args.get("scheme"), passdb.database.args.path.as_str()), (Some("CRYPT"), "/u"));
            assert_eq!((passdb.deny, passdb.mechanisms.len()), (true, 2));
            let userdb = &conf.userdbs()[0];
            assert_eq!((userdb.args.get("username_format"), userdb.args.path.as_str()), (Some("%n"), "/u"));
            assert_eq!(pairs(&userdb.default_fields), [("uid", "vmail"), ("gid", "vmail")]);
            assert_eq!(pairs(&userdb.override_fields), [("home", "/h/%u")]);
        }
    }

    #[test]
    fn without_a_block_there_is_one_namespace() {
        let namespaces = conf("").namespaces();
        assert_eq!(namespaces.len(), 1);
        assert!(namespaces[0].inbox && namespaces[0].prefix.is_empty());
    }

    #[test]
    fn namespaces_have_their_mailboxes() {
        let conf = conf(
            "namespace inbox {\n inbox = yes\n separator = /\n mailbox \"Sent Items\" {\n  auto = subscribe\n  \
             special_use = \\Sent \\Archive\n  autoexpunge = 30d\n }\n}\nnamespace {\n type = public\n prefix = Public/\n \
             mail_driver = maildir\n mail_path = /p\n list = children\n}\nnamespace off {\n disabled = yes\n}\n",
        );
        let namespaces = conf.namespaces();
        assert_eq!(namespaces.len(), 2);
        let sent = &namespaces[0].mailboxes[0];
        assert_eq!((sent.name.as_str(), sent.auto, sent.autoexpunge), ("Sent Items", Auto::Subscribe, 30 * 86_400));
        assert_eq!(sent.special_use, ["\\Sent", "\\Archive"]);
        assert_eq!(namespaces[1].ownership, Ownership::Public);
        assert_eq!(namespaces[1].list, Listing::Children);
        assert_eq!(namespaces[1].mail_location().unwrap().unwrap().path, "/p");
    }
}
