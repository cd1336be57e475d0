//! Places, signatures, locks and syncs as the configuration says.

use std::fs::File;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use slog::{Drain, OwnedKVList, Record, o};
use store_mailbox::deliver::{Deliverer, Delivery};
use store_mailbox::fs::model::{Keep, ModelFs};
use store_mailbox::list::Mailboxes;
use store_mailbox::location::MailboxName;
use store_mailbox::mailbox::{Access, Environment, Mailbox};
use store_mailbox::message::Source;

use super::*;

fn user(home: Option<&str>, mail: Option<&str>) -> User {
    User {
        name: "info@example.jp".into(),
        uid: Some(1001),
        gid: Some(1001),
        groups: Vec::new(),
        home: home.map(str::to_string),
        mail: mail.map(str::to_string),
        extra: Vec::new(),
    }
}

/// A section with one more setting.
fn with(name: &str, value: &str) -> Section {
    let mut section = section("", "");
    section.mailbox.insert(name, value);
    section
}

fn section(home: &str, location: &str) -> Section {
    let mut section = Section::default();
    section.mailbox.insert("mail_home", home);
    section.mailbox.insert("mail_location", location);
    section
}

fn root(user: &User, section: &Section) -> String {
    match Places::find(user, section, Context::default(), |_| false) {
        Ok(places) => format!("{:?} {}", places.format, places.root),
        Err(error) => error.to_string(),
    }
}

#[test]
fn places_of_the_tutorials() {
    let stock = section("", "mbox:~/mail:INBOX=/var/mail/%u");
    let one = user(Some("/home/vmail/example.jp/info"), Some("sdbox:~/dbox"));
    assert_eq!(root(&one, &stock), "Sdbox /home/vmail/example.jp/info/dbox");
    let three = section("/var/vmail/%d/%n", "maildir:~/mail");
    assert_eq!(root(&user(None, None), &three), "Maildir /var/vmail/example.jp/info/mail");
}

#[test]
fn failures_in_dovecots_words() {
    let unset = root(&user(None, None), &section("", ""));
    assert_eq!(
        unset,
        "mail_location not set and autodetection failed: Mail storage autodetection failed with home=(not set)"
    );
    assert!(root(&user(None, None), &section("", "maildir:~/Maildir")).starts_with("Home directory not set"));
    assert!(root(&user(Some("/h"), None), &section("", "mdbox:~/m")).contains("mdbox is not built"));
    assert!(root(&user(Some("/h"), None), &section("", "maildir:~/m:INDEX=/i")).contains("INDEX= is not built"));
}

/// A log in memory.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl Drain for Lines {
    type Ok = ();
    type Err = slog::Never;

    fn log(&self, record: &Record<'_>, _: &OwnedKVList) -> Result<(), slog::Never> {
        self.0.lock().unwrap().push(format!("{}: {}", record.level(), record.msg()));
        Ok(())
    }
}

impl Lines {
    fn logger(&self) -> Logger {
        Logger::root(self.clone(), o!())
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

#[test]
fn log_lines_are_signed_as_the_setting_says() {
    let pid = std::process::id();
    let lines = Lines::default();
    let tag = |prefix: &str| {
        let context = Context { service: "lmtp", session: "S" };
        log_tag(&with("mail_log_prefix", prefix), &user(None, None), context, &lines.logger())
    };
    let default = format!("lmtp(info@example.jp)<{pid}><S>");
    assert_eq!(tag("%s(%u)<%{pid}><%{session}>: "), default);
    assert_eq!(tag("%Us %n at %d, %{session}: "), "LMTP info at example.jp, S");
    assert_eq!(tag("mail on %{hostname} "), format!("mail on {} ", host()));
    assert_eq!(lines.take(), Vec::<String>::new());
    assert_eq!(tag("%s %h: "), default, "what is not known yet cannot be a part of it");
    assert!(matches!(&lines.take()[..], [line] if line.starts_with("ERRO: mail_log_prefix: ")));
}

#[test]
fn the_identity_is_logged_where_that_is_wanted() {
    let lines = Lines::default();
    log_identity(&with("mail_debug", "no"), &user(Some("/h"), None), &lines.logger());
    assert_eq!(lines.take(), Vec::<String>::new());
    log_identity(&with("mail_debug", "yes"), &user(Some("/h"), None), &lines.logger());
    let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
    assert_eq!(lines.take(), [format!("DEBG: Effective uid={uid}, gid={gid}, home=/h")]);
}

#[test]
fn a_lock_is_waited_for_as_long_as_the_setting_says() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap().as_bytes().to_vec();
    // Process 1 of this machine runs for as long as the test.
    std::fs::write(folder.path().join("subscriptions.lock"), format!("1:{}", host())).unwrap();
    let section = with("mail_max_lock_timeout", "1");
    let fs = Arc::new(files(&section, vec![(path.clone(), File::open(folder.path()).unwrap().into())]).unwrap());
    let (location, path) = fs.locate(&path).unwrap();
    let location = Location { format: Format::Maildir, root: location, path };
    let mailboxes = Mailboxes::new(Environment { fs, names: Arc::default(), fsync: Fsync::Optimized }, location);
    let began = Instant::now();
    let refused = mailboxes.subscribe(&MailboxName::new("a", '.').unwrap(), true).unwrap_err();
    assert_eq!(refused.kind(), store_mailbox::Kind::InUse);
    assert!((1..30).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
}

#[test]
fn mail_that_was_not_synced_is_lost_in_a_power_cut() {
    for (setting, left) in [("always", 1), ("optimized", 1), ("never", 0)] {
        let fs = ModelFs::new();
        let environment = |fs: &ModelFs| Environment {
            fs: Arc::new(fs.clone()),
            names: Arc::default(),
            fsync: fsync(&with("mail_fsync", setting)),
        };
        let location = |fs: &ModelFs| Location { format: Format::Maildir, root: fs.root(), path: Vec::new() };
        let place = location(&fs);
        let source = Source::Bytes(b"Subject: x\n\n");
        let (mailbox, create) = (MailboxName::inbox(), true);
        let delivery = Delivery { location: &place, key: "u", mailbox, create, prefix: b"", source };
        assert!(Deliverer::new(environment(&fs), false).deliver(&[delivery])[0].is_ok());
        let after = fs.crash(Keep::Nothing);
        let inbox = Mailbox::open(&environment(&after), &location(&after), &MailboxName::inbox(), Access::Examine);
        assert_eq!(inbox.unwrap().messages().len(), left, "{setting}");
    }
}
