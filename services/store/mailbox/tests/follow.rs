//! Two sessions, deliveries and a foreign program on one mailbox, at random, against a model of what a client must see.

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::{Known, Messages, addition, contents, environment, location, open, update};
use store_mailbox::{
    Kind,
    deliver::{Deliverer, Delivery},
    fs::{Fs, model::ModelFs, open_path},
    index::Record,
    location::{Format, MailboxName},
    mailbox::{Access, Mailbox, UpdateMode},
    message::{Flags, Source},
};

struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit.max(1)
    }
}

/// What one client was shown: it changes with the events it is sent and its own commands.
struct Client {
    mailbox: Mailbox<ModelFs>,
    seen: BTreeSet<u32>,
}

impl Client {
    fn new(fs: &ModelFs, format: Format, access: Access) -> Self {
        let mailbox = open(fs, format, "INBOX", access).unwrap();
        let seen = mailbox.messages().iter().map(|m| m.uid).collect();
        Self { mailbox, seen }
    }

    fn sync(&mut self) {
        let before = self.mailbox.status();
        let events = self.mailbox.sync().unwrap();
        assert!(!events.reset, "UIDVALIDITY changed");
        assert!(self.mailbox.status().highest_modseq >= before.highest_modseq);
        let largest = self.seen.iter().max().copied();
        for uid in events.added {
            assert!(largest.is_none_or(|largest| uid > largest), "UID {uid} is not above {largest:?}");
            assert!(self.seen.insert(uid), "UID {uid} was added twice");
        }
        for uid in events.removed {
            self.seen.remove(&uid);
        }
        let there: BTreeSet<u32> = self.mailbox.messages().iter().map(|m| m.uid).collect();
        assert_eq!(self.seen, there, "the events do not add up to the list");
    }

    fn choose(&self, random: &mut Random) -> Vec<u32> {
        let uids: Vec<u32> = self.mailbox.messages().iter().map(|m| m.uid).collect();
        let count = random.below(3) + 1;
        let chosen: BTreeSet<u32> = (0..count).filter_map(|_| uids.get(random.below(uids.len())).copied()).collect();
        chosen.into_iter().collect()
    }
}

/// A foreign Maildir program changes a file behind everybody's back.
fn meddle(fs: &ModelFs, random: &mut Random) {
    let base = open_path(fs, &fs.root(), &[b"user".to_vec(), b"mail".to_vec()]).unwrap();
    let cur = fs.open_dir(&base, b"cur").unwrap();
    let entries = fs.list(&cur).unwrap();
    let Some(entry) = entries.get(random.below(entries.len())) else { return };
    match random.below(4) {
        0 => fs.unlink(&cur, &entry.name).unwrap(),
        1 => {
            let keywords = 1 << random.below(2);
            let flags = Flags::from_bits(random.below(32) as u8).without(Flags::DELETED);
            let renamed = store_mailbox::maildir::name::with_flags(&entry.name, flags, keywords);
            fs.rename(&cur, &entry.name, &cur, &renamed).unwrap();
        }
        2 => {
            let index = [&b"posthorn.index"[..], b"posthorn.log", b"posthorn.cache"][random.below(3)];
            let _ = fs.unlink(&base, index);
        }
        _ => fs.advance(random.below(3) as i64),
    }
}

fn deliver(fs: &ModelFs, format: Format, content: &[u8]) {
    let (location, mailbox) = (location(fs, format), MailboxName::inbox());
    let mut deliverer = Deliverer::new(environment(fs), false);
    let source = Source::Bytes(content);
    let delivery = Delivery { location: &location, key: "mail", mailbox, create: false, prefix: b"", source };
    deliverer.deliver(&[delivery]).remove(0).unwrap();
}

fn visible(messages: &Messages) -> Vec<(u32, Vec<u8>, Flags, BTreeSet<String>)> {
    let one = |(uid, known): (&u32, &Known)| (*uid, known.content.clone(), known.flags, known.keywords.clone());
    messages.iter().map(one).collect()
}

fn run(format: Format, seed: u64) {
    let (fs, mut random) = (ModelFs::new(), Random(seed));
    let mut clients = [Client::new(&fs, format, Access::Select), Client::new(&fs, format, Access::Examine)];
    let mut given: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
    for step in 0..150 {
        let content = format!("message {seed} {step}\n").into_bytes();
        let at = random.below(2);
        let client = &mut clients[at];
        let uids = client.choose(&mut random);
        let flags = Flags::from_bits(random.below(32) as u8);
        let keyword = ["work", "$Later"][random.below(2)];
        match random.below(9) {
            0 => deliver(&fs, format, &content),
            1 => {
                let (_, uid) = client.mailbox.append(&addition(&content, flags, &[keyword])).unwrap();
                assert!(given.keys().all(|before| uid > *before), "UID {uid} is not above all others");
            }
            2 | 3 => {
                let mode = [UpdateMode::Add, UpdateMode::Remove, UpdateMode::Replace][random.below(3)];
                let stored = client.mailbox.store(&uids, &update(mode, flags, &[keyword])).unwrap();
                assert!(stored.changed.iter().all(|uid| uids.contains(uid)));
            }
            4 => {
                for uid in client.mailbox.expunge(Some(&uids)).unwrap() {
                    client.seen.remove(&uid);
                }
            }
            5 if format == Format::Maildir => meddle(&fs, &mut random),
            6 => {
                let mut same = open(&fs, format, "INBOX", Access::Add).unwrap();
                let copied = client.mailbox.copy(&uids, &mut same).unwrap();
                assert!(copied.uids.len() <= uids.len());
            }
            7 => client.mailbox.flush().unwrap(),
            _ => client.sync(),
        }
        if random.below(4) == 0 {
            // Everybody looks, after the clock has settled all directories: all see the same.
            fs.advance(3);
            let shown: Vec<Messages> = clients
                .iter_mut()
                .map(|client| {
                    client.sync();
                    client.sync();
                    contents(&fs, &mut client.mailbox).unwrap()
                })
                .collect();
            let mut fresh = open(&fs, format, "INBOX", Access::Examine).unwrap();
            let fresh = contents(&fs, &mut fresh).unwrap();
            assert_eq!(visible(&shown[0]), visible(&fresh), "{format:?} {seed} {step}");
            assert_eq!(visible(&shown[1]), visible(&fresh), "{format:?} {seed} {step}");
            for (uid, known) in fresh {
                let before = given.insert(uid, known.content.clone());
                assert!(before.is_none_or(|before| before == known.content), "UID {uid} was given twice");
            }
        }
    }
}

#[test]
fn maildir_sessions_agree() {
    (0..25).for_each(|seed| run(Format::Maildir, seed));
}

#[test]
fn sdbox_sessions_agree() {
    (0..25).for_each(|seed| run(Format::Sdbox, seed));
}

#[test]
fn recent_is_shown_to_one_session() {
    for format in [Format::Maildir, Format::Sdbox] {
        let fs = ModelFs::new();
        deliver(&fs, format, b"one\n");
        let examined = open(&fs, format, "INBOX", Access::Examine).unwrap();
        assert_eq!(examined.status().recent, 1);
        let mut first = open(&fs, format, "INBOX", Access::Select).unwrap();
        assert_eq!(first.status().recent, 1);
        assert_eq!(open(&fs, format, "INBOX", Access::Select).unwrap().status().recent, 0);
        deliver(&fs, format, b"two\n");
        assert_eq!(first.sync().unwrap().added, [2]);
        assert!(first.is_recent(1) && first.is_recent(2));
    }
}

#[test]
fn a_store_that_is_too_late_changes_nothing() {
    for format in [Format::Maildir, Format::Sdbox] {
        let fs = ModelFs::new();
        let mut inbox = open(&fs, format, "INBOX", Access::Select).unwrap();
        for _ in 0..2 {
            inbox.append(&addition(b"x\n", Flags::empty(), &[])).unwrap();
        }
        inbox.sync().unwrap();
        let since = inbox.status().highest_modseq;
        inbox.store(&[1], &update(UpdateMode::Add, Flags::SEEN, &[])).unwrap();
        let conditional = store_mailbox::mailbox::FlagUpdate {
            unchanged_since: Some(since),
            ..update(UpdateMode::Add, Flags::FLAGGED, &[])
        };
        let stored = inbox.store(&[1, 2, 99], &conditional).unwrap();
        assert_eq!((stored.changed, stored.modified), (vec![2], vec![1]));
        assert!(inbox.message(2).unwrap().modseq > since);
    }
}

#[test]
fn a_full_disk_still_lets_the_user_read_and_delete() {
    for format in [Format::Maildir, Format::Sdbox] {
        let fs = ModelFs::new();
        let mut inbox = open(&fs, format, "INBOX", Access::Select).unwrap();
        inbox.append(&addition(b"x\n", Flags::DELETED, &[])).unwrap();
        inbox.flush().unwrap();
        fs.full_after(Some(0));
        assert_eq!(inbox.append(&addition(b"y\n", Flags::empty(), &[])).unwrap_err().kind(), Kind::NoSpace);
        let mut again = open(&fs, format, "INBOX", Access::Select).unwrap();
        assert_eq!(contents(&fs, &mut again).unwrap().len(), 1);
        if format == Format::Maildir {
            assert_eq!(again.expunge(None).unwrap(), [1]);
            assert!(again.messages().is_empty());
        }
    }
}

#[test]
fn the_twenty_seventh_keyword_is_refused_and_changes_nothing() {
    let fs = ModelFs::new();
    let mut inbox = open(&fs, Format::Maildir, "INBOX", Access::Select).unwrap();
    inbox.append(&addition(b"x\n", Flags::empty(), &[])).unwrap();
    for n in 0..26 {
        assert!(inbox.can_add_keyword());
        inbox.store(&[1], &update(UpdateMode::Add, Flags::empty(), &[&format!("k{n}")])).unwrap();
    }
    assert!(!inbox.can_add_keyword());
    let refused = inbox.store(&[1], &update(UpdateMode::Add, Flags::SEEN, &["one-too-many"]));
    assert_eq!(refused.unwrap_err().kind(), Kind::Limit);
    assert!(!inbox.message(1).unwrap().flags.contains(Flags::SEEN));
}

#[test]
fn what_is_cached_is_there_for_the_next_session_and_gone_with_the_message() {
    for format in [Format::Maildir, Format::Sdbox] {
        let fs = ModelFs::new();
        let mut inbox = open(&fs, format, "INBOX", Access::Select).unwrap();
        let (_, uid) = inbox.append(&addition(b"x\n", Flags::empty(), &[])).unwrap();
        inbox.put_cached(uid, 1, b"ENVELOPE");
        let virtual_ = inbox.facts(uid).unwrap().virtual_;
        inbox.flush().unwrap();
        let mut again = open(&fs, format, "INBOX", Access::Select).unwrap();
        assert_eq!(again.cached(uid, 1), Some(&b"ENVELOPE"[..]));
        assert_eq!(again.cached(uid, 2), None);
        assert_eq!(again.message(uid).and_then(|m: &Record| m.virtual_), Some(virtual_));
    }
}
