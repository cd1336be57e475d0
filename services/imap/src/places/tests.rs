//! What `namespace { }` and `mailbox { }` blocks change for a client, from the text of the configuration on.

use std::fs::{self, File};
use std::path::Path;

use ipc_config::dovecot::files::Machine;
use ipc_config::dovecot::settings::DovecotConf;
use proto_imap::session::Session;
use slog::{Discard, Logger, o};

use super::*;
use crate::dialogue::{NOW, say};
use crate::files::Files;

/// A user whose home is a folder of the test.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Home {
        Home(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &str {
        self.0.path().to_str().unwrap()
    }

    /// The user's mail under this configuration, in which `HOME` is the home.
    fn hold(&self, conf: &str) -> Result<Held, Unreachable> {
        let file = self.0.path().join("dovecot.conf");
        fs::write(&file, conf.replace("HOME", self.path())).unwrap();
        let (conf, found) = DovecotConf::read(&file, &Machine).unwrap();
        assert!(found.is_empty(), "{found:?}");
        let mut section = Section { namespaces: conf.namespaces(), ..Section::default() };
        for (name, value) in [("mail_location", "maildir:~/mail"), ("mail_home", ""), ("mail_max_lock_timeout", "0")] {
            section.mailbox.insert(name, value);
        }
        let user = User {
            name: "ann@x.org".into(),
            uid: Some(1),
            gid: Some(1),
            groups: Vec::new(),
            home: Some(self.path().into()),
            mail: None,
            extra: Vec::new(),
        };
        let root = (self.path().as_bytes().to_vec(), File::open(self.0.path()).unwrap().into());
        let all = RealFs::new(vec![root], b"host").unwrap();
        hold(&user, &section, Context::default(), &all, true)
    }

    /// What the user's session answers to each of these commands.
    fn says(&self, conf: &str, commands: &[&str]) -> Vec<String> {
        let held = self.hold(conf).unwrap();
        let log = Logger::root(Discard, o!());
        let files = Files::new(held.fs, held.namespaces, held.automatic, log);
        let settings = proto_imap::session::Settings { special_use: true, ..Default::default() };
        let mut session = Session::new(settings, files, b"a", NOW);
        session.sent(session.output().len());
        let mut answer = |command: &&str| {
            let answer = String::from_utf8(say(&mut session, format!("b {command}\r\n").as_bytes())).unwrap();
            let untagged = answer.lines().filter_map(|line| line.strip_prefix("* "));
            let lines: Vec<&str> = untagged.chain(answer.lines().filter(|line| line.starts_with("b NO"))).collect();
            lines.join(" | ")
        };
        commands.iter().map(&mut answer).collect()
    }
}

fn one(conf: &str, command: &str) -> String {
    Home::new().says(conf, &[command]).remove(0)
}

const INBOX: &str = "namespace inbox {\n inbox = yes\n separator = /\n}\n";

/// The inbox, and another namespace with these settings.
fn beside(settings: &str) -> String {
    format!("{INBOX}namespace {{\n separator = /\n{settings}\n}}\n")
}

#[test]
fn namespaces_are_announced_with_type_prefix_and_separator_unless_hidden_or_disabled() {
    let dots = "namespace {\n inbox = yes\n prefix = INBOX.\n separator = .\n}\n";
    assert_eq!(one(dots, "NAMESPACE"), r#"NAMESPACE (("INBOX." ".")) NIL NIL"#);
    let other =
        |settings: &str| one(&beside(&format!(" prefix = P/\n location = maildir:HOME/p\n{settings}")), "NAMESPACE");
    assert_eq!(other(""), r#"NAMESPACE (("" "/")("P/" "/")) NIL NIL"#);
    assert_eq!(other(" type = shared"), r#"NAMESPACE (("" "/")) (("P/" "/")) NIL"#);
    assert_eq!(other(" type = public"), r#"NAMESPACE (("" "/")) NIL (("P/" "/"))"#);
    assert_eq!(other(" hidden = yes"), r#"NAMESPACE (("" "/")) NIL NIL"#);
    assert_eq!(other(" disabled = yes"), r#"NAMESPACE (("" "/")) NIL NIL"#);
}

#[test]
fn namespaces_are_announced_in_their_order() {
    let conf = |first: u32, second: u32| {
        let other = |name: &str, order| {
            format!(
                "namespace {{\n prefix = {name}/\n separator = /\n location = maildir:HOME/{name}\n order = {order}\n}}\n"
            )
        };
        format!("{INBOX}{}{}", other("A", first), other("B", second))
    };
    assert_eq!(one(&conf(1, 2), "NAMESPACE"), r#"NAMESPACE (("" "/")("A/" "/")("B/" "/")) NIL NIL"#);
    assert_eq!(one(&conf(2, 1), "NAMESPACE"), r#"NAMESPACE (("" "/")("B/" "/")("A/" "/")) NIL NIL"#);
}

#[test]
fn mail_is_where_the_namespace_says() {
    for (settings, folder) in [
        (" location = maildir:HOME/shared", "shared/.box"),
        (" mail_driver = maildir\n mail_path = HOME/new", "new/.box"),
        (" location = sdbox:HOME/d", "d/mailboxes/box/dbox-Mails"),
    ] {
        let home = Home::new();
        let answers = home.says(&beside(&format!(" prefix = P/\n{settings}")), &["CREATE P/box"]);
        assert_eq!((answers[0].as_str(), home.0.path().join(folder).is_dir()), ("", true), "{settings}");
    }
}

#[test]
fn parts_of_a_location_that_are_not_built_are_refused_by_name() {
    for (setting, key) in [
        ("mail_control_path = HOME/c", "CONTROL="),
        ("mail_index_path = HOME/i", "INDEX="),
        ("mail_inbox_path = HOME/b", "INBOX="),
        ("mailbox_list_layout = fs", "LAYOUT="),
    ] {
        let conf = beside(&format!(" prefix = P/\n mail_driver = maildir\n mail_path = HOME/p\n {setting}"));
        let error = Home::new().hold(&conf).err().expect(setting).to_string();
        assert!(error.contains(key) && error.contains("is not built yet"), "{setting}: {error}");
    }
}

#[test]
fn the_inbox_is_in_the_namespace_that_says_so() {
    let conf = |first: &str, second: &str| {
        format!(
            "namespace {{\n separator = /\n location = maildir:HOME/a\n inbox = {first}\n}}\n\
             namespace {{\n prefix = P/\n separator = /\n location = maildir:HOME/b\n inbox = {second}\n}}\n"
        )
    };
    for (conf, place) in [(conf("yes", "no"), "a/cur"), (conf("no", "yes"), "b/cur")] {
        let home = Home::new();
        home.says(&conf, &["SELECT INBOX"]);
        let places: Vec<&str> =
            ["a/cur", "b/cur"].into_iter().filter(|place| home.0.path().join(place).exists()).collect();
        assert_eq!(places, [place]);
    }
}

#[test]
fn what_is_not_to_be_listed_is_not_listed() {
    for (list, shown) in [("yes", true), ("children", true), ("no", false)] {
        let conf = beside(&format!(" prefix = P/\n location = maildir:HOME/p\n list = {list}"));
        let answers = Home::new().says(&conf, &["CREATE P/box", "LIST \"\" *"]);
        assert_eq!(answers[1].contains("P/box"), shown, "{list}: {answers:?}");
    }
}

#[test]
fn subscriptions_are_kept_where_the_namespace_says() {
    for (keeps, file) in [("yes", "p/subscriptions"), ("no", "mail/subscriptions")] {
        let home = Home::new();
        let conf = beside(&format!(" prefix = P/\n location = maildir:HOME/p\n subscriptions = {keeps}"));
        home.says(&conf, &["CREATE P/box", "SUBSCRIBE P/box"]);
        let there = |file: &&str| home.0.path().join(file).exists();
        let files: Vec<&str> = ["p/subscriptions", "mail/subscriptions"].into_iter().filter(there).collect();
        assert_eq!(files, [file]);
    }
}

#[test]
fn a_namespace_that_cannot_be_used_is_left_out_only_where_that_is_allowed() {
    let conf = |ignore| beside(&format!(" prefix = P/\n location = mdbox:HOME/p\n ignore_on_failure = {ignore}"));
    assert!(Home::new().hold(&conf("no")).is_err());
    assert_eq!(one(&conf("yes"), "NAMESPACE"), r#"NAMESPACE (("" "/")) NIL NIL"#);
}

#[test]
fn mailboxes_make_themselves_and_have_their_uses() {
    let conf = |auto: &str| {
        format!("namespace {{\n inbox = yes\n mailbox Junk {{\n  auto = {auto}\n  special_use = \\Junk\n }}\n}}\n")
    };
    let folder = |home: &Home| Path::new(home.path()).join("mail/.Junk").exists();
    for (auto, made, subscribed) in [("no", false, false), ("create", true, false), ("subscribe", true, true)] {
        let home = Home::new();
        let answers = home.says(&conf(auto), &["STATUS Junk (MESSAGES)", "LIST \"\" Junk", "LSUB \"\" Junk"]);
        assert_eq!((folder(&home), answers[1].contains("\\Junk")), (made, made), "{auto}: {answers:?}");
        assert_eq!(!answers[2].is_empty(), subscribed, "{auto}: {answers:?}");
    }
}
