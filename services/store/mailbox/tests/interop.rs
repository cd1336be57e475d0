//! The real Dovecot reads what we wrote, and we read what it wrote. Needs `doveadm` and root (to act as another user);
//! without them the tests say what they left out.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::{ffi::OsStrExt, fs as unix, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
};

use store_mailbox::{
    deliver::{Deliverer, Delivery},
    fs::real::RealFs,
    list::Mailboxes,
    location::{Format, Fsync, Location, MailboxName},
    mailbox::{Access, Addition, Environment, FlagUpdate, Mailbox, UpdateMode},
    message::{Flags, Source},
};

const USER: u32 = 65534;

struct Interop {
    temp: tempfile::TempDir,
    environment: Environment<RealFs>,
    location: Location<RealFs>,
}

/// UID to flags with keywords, as one sorted list, and the subject.
type Listing = BTreeMap<u32, (BTreeSet<String>, String)>;

impl Interop {
    fn start(test: &str, format: Format) -> Option<Self> {
        let missing = match Command::new("doveadm").arg("help").stdin(Stdio::null()).output() {
            Err(_) => Some("doveadm is not installed"),
            Ok(_) if fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) != 0) => {
                Some("not root")
            }
            Ok(_) => None,
        };
        if let Some(missing) = missing {
            eprintln!("left out: {test}: {missing}");
            return None;
        }
        let temp = tempfile::tempdir().unwrap();
        let home = temp.path().join("home");
        fs::create_dir(&home).unwrap();
        let mut permissions = fs::metadata(temp.path()).unwrap().permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o755);
        fs::set_permissions(temp.path(), permissions).unwrap();
        let place = if format == Format::Maildir { "maildir:~/mail" } else { "sdbox:~/mail" };
        let base = temp.path().display();
        let configuration = format!(
            "protocols = imap\nbase_dir = {base}/run\nlog_path = /dev/stderr\nssl = no\nfirst_valid_uid = 0\n\
             mail_location = {place}\nnamespace inbox {{\n inbox = yes\n separator = /\n}}\n"
        );
        fs::write(temp.path().join("dovecot.conf"), configuration).unwrap();
        let root = fs::File::open(&home).unwrap();
        let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        let fs = RealFs::new(vec![(home.as_os_str().as_bytes().to_vec(), root.into())], host.trim().as_bytes());
        let fs = Arc::new(fs.unwrap());
        let location = Location { format, root: fs.root(0).unwrap(), path: vec![b"mail".to_vec()] };
        let environment = Environment { fs, names: Arc::default(), fsync: Fsync::Optimized };
        Some(Self { temp, environment, location })
    }

    fn home(&self) -> PathBuf {
        self.temp.path().join("home")
    }

    fn doveadm_with(&self, arguments: &[&str], input: &str) -> String {
        give(&self.home());
        let mut child = Command::new("doveadm")
            .args(["-c", self.temp.path().join("dovecot.conf").to_str().unwrap(), "-f", "tab"])
            .args(arguments)
            .env("HOME", self.home())
            .env("USER", "somebody")
            .uid(USER)
            .gid(USER)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "doveadm {arguments:?}: {errors}");
        assert!(!errors.contains("Error:"), "doveadm {arguments:?}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn doveadm(&self, arguments: &[&str]) -> String {
        self.doveadm_with(arguments, "")
    }

    /// The rows of a table without its heading.
    fn rows(&self, arguments: &[&str]) -> Vec<Vec<String>> {
        let lines = self.doveadm(arguments);
        lines.lines().skip(1).map(|line| line.split('\t').map(str::to_owned).collect()).collect()
    }

    fn theirs(&self, mailbox: &str) -> Listing {
        let rows = self.rows(&["fetch", "uid flags hdr.subject", "mailbox", mailbox, "all"]);
        let listed = rows.into_iter().map(|row| {
            let flags = row[1].split(' ').filter(|f| !f.is_empty() && *f != "\\Recent").map(str::to_owned).collect();
            (row[0].parse().unwrap(), (flags, row[2].clone()))
        });
        listed.collect()
    }

    fn their_status(&self, mailbox: &str) -> Vec<u32> {
        let items = "messages uidnext uidvalidity unseen";
        self.rows(&["mailbox", "status", items, mailbox])[0][1..].iter().map(|n| n.parse().unwrap()).collect()
    }

    fn open(&self, mailbox: &str, access: Access) -> Mailbox<RealFs> {
        Mailbox::open(&self.environment, &self.location, &name(mailbox), access).unwrap()
    }

    fn mailboxes(&self) -> Mailboxes<RealFs> {
        Mailboxes::new(self.environment.clone(), self.location.clone())
    }

    fn ours(&self, mailbox: &mut Mailbox<RealFs>) -> Listing {
        let uids: Vec<u32> = mailbox.messages().iter().map(|m| m.uid).collect();
        let listed = uids.into_iter().map(|uid| {
            let content = mailbox.content(uid).unwrap();
            let content = content.read(&self.environment.fs, 0, 1000).unwrap();
            let text = String::from_utf8(content).unwrap();
            let subject = text.lines().find_map(|line| line.strip_prefix("Subject: ")).unwrap_or_default().to_owned();
            (uid, (flag_names(mailbox, uid), subject))
        });
        listed.collect()
    }

    fn compare(&self, mailbox: &str, what: &str) {
        let mut opened = self.open(mailbox, Access::Examine);
        assert_eq!(self.ours(&mut opened), self.theirs(mailbox), "{what}");
        let status = opened.status();
        let ours = vec![status.messages, status.uid_next, status.uid_validity, status.unseen];
        assert_eq!(ours, self.their_status(mailbox), "{what}");
    }
}

fn name(name: &str) -> MailboxName {
    MailboxName::new(name, '/').unwrap()
}

fn flag_names(mailbox: &Mailbox<RealFs>, uid: u32) -> BTreeSet<String> {
    let record = mailbox.message(uid).unwrap();
    let system = [
        (Flags::SEEN, "\\Seen"),
        (Flags::ANSWERED, "\\Answered"),
        (Flags::FLAGGED, "\\Flagged"),
        (Flags::DELETED, "\\Deleted"),
        (Flags::DRAFT, "\\Draft"),
    ];
    let system = system.iter().filter(|(flag, _)| record.flags.contains(*flag)).map(|(_, name)| (*name).to_owned());
    let keywords = mailbox.keywords().iter().enumerate().filter(|(n, _)| record.keywords & (1 << n) != 0);
    system.chain(keywords.map(|(_, name)| name.clone())).collect()
}

/// Both write as their own user: everything is given to Dovecot's before it looks; root may do all.
fn give(path: &Path) {
    unix::lchown(path, Some(USER), Some(USER)).unwrap();
    if path.is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| give(&entry.unwrap().path()));
    }
}

fn text(n: usize) -> String {
    format!("Subject: number {n}\nFrom: a@example.org\n\nbody {n}\n")
}

fn add<'a>(content: &'a str, flags: Flags, keywords: &[&str]) -> Addition<'a> {
    let keywords = keywords.iter().map(|k| (*k).to_owned()).collect();
    Addition { prefix: b"", source: Source::Bytes(content.as_bytes()), flags, keywords, date: Some(1_600_000_000) }
}

fn deliver(interop: &Interop, texts: &[String]) {
    let mut deliverer = Deliverer::new(interop.environment.clone(), false);
    let batch: Vec<_> = texts
        .iter()
        .map(|content| Delivery {
            location: &interop.location,
            key: "mail",
            mailbox: MailboxName::inbox(),
            create: false,
            prefix: b"Return-Path: <a@example.org>\r\n",
            source: Source::Bytes(content.as_bytes()),
        })
        .collect();
    assert!(deliverer.deliver(&batch).iter().all(Result::is_ok));
}

#[test]
fn dovecot_reads_our_maildir() {
    let Some(interop) = Interop::start("dovecot_reads_our_maildir", Format::Maildir) else { return };
    deliver(&interop, &[text(1), text(2)]);
    let mut inbox = interop.open("INBOX", Access::Select);
    inbox.append(&add(&text(3), Flags::SEEN | Flags::ANSWERED, &["$Forwarded", "work"])).unwrap();
    inbox.append(&add(&text(4), Flags::empty(), &[])).unwrap();
    let update = FlagUpdate {
        mode: UpdateMode::Add,
        flags: Flags::FLAGGED,
        keywords: vec!["later".into()],
        unchanged_since: None,
    };
    inbox.store(&[1, 3], &update).unwrap();
    let mailboxes = interop.mailboxes();
    mailboxes.create(&name("A/Bé")).unwrap();
    mailboxes.subscribe(&name("A/Bé"), true).unwrap();
    mailboxes.subscribe(&name("INBOX"), true).unwrap();
    let mut copies = mailboxes.open(&name("A/Bé"), Access::Select).unwrap();
    assert_eq!(inbox.copy(&[1, 3], &mut copies).unwrap().uids, [(1, 1), (3, 2)]);
    interop.compare("INBOX", "after our writing");
    interop.compare("A/Bé", "after our copying");
    let list = |extra: &[&str]| {
        let rows = interop.rows(&[&["mailbox", "list"], extra].concat());
        rows.into_iter().map(|row| row[0].clone()).collect::<BTreeSet<_>>()
    };
    assert_eq!(list(&["-s"]), BTreeSet::from(["A/Bé".into(), "INBOX".into()]));
    assert!(list(&[]).is_superset(&BTreeSet::from(["A/Bé".into(), "INBOX".into()])));
    let facts =
        interop.rows(&["fetch", "size.physical size.virtual date.received.unixtime", "mailbox", "INBOX", "uid", "3"]);
    let ours = inbox.facts(3).unwrap();
    let expected = [ours.physical.to_string(), ours.virtual_.to_string(), ours.date.to_string()];
    assert_eq!(facts[0], expected);
}

#[test]
fn we_read_dovecots_maildir() {
    let Some(interop) = Interop::start("we_read_dovecots_maildir", Format::Maildir) else { return };
    for n in 1..=4 {
        interop.doveadm_with(&["save", "-m", "INBOX"], &text(n));
    }
    interop.doveadm(&["flags", "add", "\\Seen $Forwarded work", "mailbox", "INBOX", "uid", "2:3"]);
    interop.doveadm(&["expunge", "mailbox", "INBOX", "uid", "4"]);
    interop.doveadm(&["mailbox", "create", "-s", "A/Bé", "C"]);
    interop.doveadm(&["copy", "C", "mailbox", "INBOX", "uid", "3"]);
    interop.compare("INBOX", "after their writing");
    interop.compare("C", "after their copying");
    let mailboxes = interop.mailboxes();
    let mut subscribed = mailboxes.subscriptions().unwrap();
    subscribed.sort();
    assert_eq!(subscribed, [name("A/Bé"), name("C")]);
    let tree: Vec<String> =
        mailboxes.tree().unwrap().into_iter().filter(|(_, n)| n.exists).map(|(n, _)| n.join('/')).collect();
    assert_eq!(tree, ["A/Bé", "C", "INBOX"]);
    // The UID of the expunged message is not given again.
    let mut inbox = interop.open("INBOX", Access::Select);
    assert_eq!(inbox.append(&add(&text(5), Flags::empty(), &[])).unwrap().1, 5);
    interop.compare("INBOX", "after our appending to it");
}

/// Both in turn, many times; after each step both see the same.
#[test]
fn both_in_turn() {
    let Some(interop) = Interop::start("both_in_turn", Format::Maildir) else { return };
    let mut held = interop.open("INBOX", Access::Select);
    let mut seed = 12345u32;
    let mut random = |below: u32| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 16) % below
    };
    for step in 0..60 {
        let uids: Vec<u32> = held.messages().iter().map(|m| m.uid).collect();
        let chosen = uids.get(random(uids.len().max(1) as u32) as usize).copied();
        let keyword = ["a", "b", "c", "d"][random(4) as usize];
        let action = random(8);
        match (action, chosen) {
            (0 | 5, Some(uid)) => {
                let update = FlagUpdate {
                    mode: [UpdateMode::Add, UpdateMode::Remove, UpdateMode::Replace][random(3) as usize],
                    flags: Flags::from_bits(random(32) as u8).without(Flags::DELETED),
                    keywords: vec![keyword.into()],
                    unchanged_since: None,
                };
                held.store(&[uid], &update).unwrap();
            }
            (1 | 6, Some(uid)) => {
                let mode = ["add", "remove"][random(2) as usize];
                let flags = format!("\\Flagged {keyword}");
                interop.doveadm(&["flags", mode, &flags, "mailbox", "INBOX", "uid", &uid.to_string()]);
            }
            (2, Some(uid)) => {
                let flags = Flags::DELETED;
                let update = FlagUpdate { mode: UpdateMode::Add, flags, keywords: Vec::new(), unchanged_since: None };
                held.store(&[uid], &update).unwrap();
                assert_eq!(held.expunge(None).unwrap(), [uid]);
            }
            (3, Some(uid)) => drop(interop.doveadm(&["expunge", "mailbox", "INBOX", "uid", &uid.to_string()])),
            (4, _) => drop(interop.doveadm_with(&["save", "-m", "INBOX"], &text(step))),
            (7, _) => deliver(&interop, &[text(step)]),
            _ => drop(held.append(&add(&text(step), Flags::empty(), &[keyword])).unwrap()),
        }
        held.sync().unwrap();
        let what = format!("step {step}, action {action} on {chosen:?}");
        let theirs = interop.theirs("INBOX");
        held.sync().unwrap();
        assert_eq!(interop.ours(&mut held), theirs, "{what}: the session");
        interop.compare("INBOX", &what);
    }
}

#[test]
fn dovecot_rebuilds_our_sdbox() {
    let Some(interop) = Interop::start("dovecot_rebuilds_our_sdbox", Format::Sdbox) else { return };
    deliver(&interop, &[text(1), text(2)]);
    let mut inbox = interop.open("INBOX", Access::Select);
    inbox.append(&add(&text(3), Flags::empty(), &[])).unwrap();
    interop.doveadm(&["force-resync", "INBOX"]);
    assert_eq!(interop.ours(&mut inbox), interop.theirs("INBOX"));
    let items = "uid size.physical size.virtual date.received.unixtime text";
    let rows = interop.rows(&["fetch", items, "mailbox", "INBOX", "uid", "3"]);
    let ours = inbox.facts(3).unwrap();
    let numbers = ["3".into(), ours.physical.to_string(), ours.virtual_.to_string(), "1600000000".into()];
    assert_eq!(rows[0][..4], numbers);
}

#[test]
fn we_read_dovecots_sdbox() {
    let Some(interop) = Interop::start("we_read_dovecots_sdbox", Format::Sdbox) else { return };
    for n in 1..=3 {
        interop.doveadm_with(&["save", "-m", "INBOX"], &text(n));
    }
    interop.doveadm(&["mailbox", "create", "-s", "A/Bé"]);
    let mut inbox = interop.open("INBOX", Access::Select);
    assert_eq!(interop.ours(&mut inbox), interop.theirs("INBOX"));
    let mailboxes = interop.mailboxes();
    assert_eq!(mailboxes.subscriptions().unwrap(), [name("A/Bé")]);
    let tree = mailboxes.tree().unwrap();
    assert!(tree[&name("A/Bé")].exists && !tree[&name("A")].exists);
}
