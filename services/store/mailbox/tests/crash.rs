//! The process dies, or the power goes, after every single operation of a session. What a client was told must hold:
//! acknowledged mail and flags are there, expunged mail is not, and no UID ever names two messages.

mod common;

use std::collections::BTreeMap;

use common::{Known, Messages, addition, contents, environment, location, name, open, update};
use store_mailbox::{
    Result,
    fs::model::{Keep, ModelFs},
    location::Format,
    mailbox::{Access, Mailbox, UpdateMode},
    message::Flags,
};

const INBOX: usize = 0;
const OTHER: usize = 1;
const NAMES: [&str; 2] = ["INBOX", "Other"];

/// What the client was told.
#[derive(Default)]
struct Told {
    /// By mailbox: what is there.
    there: [Messages; 2],
    /// Messages that the unfinished command is about: anything between before and after holds for them.
    doubt: Vec<(usize, u32)>,
    /// Content that the unfinished command may have added.
    may_be_new: Vec<Vec<u8>>,
    /// Mail that another program delivered and that the client has not seen; whether that was acknowledged.
    foreign: Vec<(Vec<u8>, bool)>,
    /// Every UID ever told, with UIDVALIDITY and the content it names.
    uids: BTreeMap<(usize, u32, u32), Vec<u8>>,
}

impl Told {
    fn added(&mut self, mailbox: usize, validity: u32, uid: u32, known: Known) {
        let before = self.uids.insert((mailbox, validity, uid), known.content.clone());
        assert!(before.is_none_or(|before| before == known.content), "UID {uid} of {mailbox} was given twice");
        self.there[mailbox].insert(uid, known);
    }
}

struct Session<'a> {
    fs: &'a ModelFs,
    inbox: Mailbox<ModelFs>,
    other: Mailbox<ModelFs>,
    told: &'a mut Told,
}

fn known(content: &str, flags: Flags, keywords: &[&str]) -> Known {
    let keywords = keywords.iter().map(|k| (*k).to_owned()).collect();
    Known { content: content.as_bytes().to_vec(), flags, keywords }
}

impl<'a> Session<'a> {
    fn start(fs: &'a ModelFs, format: Format, told: &'a mut Told) -> Result<Self> {
        let inbox = open(fs, format, "INBOX", Access::Select)?;
        let other = Mailbox::open_or_create(&environment(fs), &location(fs, format), &name("Other"))?;
        Ok(Self { fs, inbox, other, told })
    }

    fn append(&mut self, content: &str, flags: Flags, keywords: &[&str]) -> Result<u32> {
        let known = known(content, flags, keywords);
        self.told.may_be_new = vec![known.content.clone()];
        let (validity, uid) = self.inbox.append(&addition(content.as_bytes(), flags, keywords))?;
        self.told.may_be_new.clear();
        self.told.added(INBOX, validity, uid, known);
        Ok(uid)
    }

    fn store(&mut self, uids: &[u32], mode: UpdateMode, flags: Flags, keywords: &[&str]) -> Result<()> {
        self.told.doubt = uids.iter().map(|uid| (INBOX, *uid)).collect();
        let stored = self.inbox.store(uids, &update(mode, flags, keywords))?;
        self.told.doubt.clear();
        for uid in stored.changed {
            let now = common::flags_of(&self.inbox, uid);
            let known = self.told.there[INBOX].get_mut(&uid).unwrap();
            (known.flags, known.keywords) = (now.flags, now.keywords);
        }
        Ok(())
    }

    fn expunge(&mut self) -> Result<()> {
        let deleted = |m: &store_mailbox::index::Record| m.flags.contains(Flags::DELETED);
        self.told.doubt = self.inbox.messages().iter().filter(|m| deleted(m)).map(|m| (INBOX, m.uid)).collect();
        for uid in self.inbox.expunge(None)? {
            self.told.there[INBOX].remove(&uid);
        }
        self.told.doubt.clear();
        Ok(())
    }

    fn copy(&mut self, uids: &[u32], moves: bool) -> Result<()> {
        self.told.may_be_new = uids.iter().map(|uid| self.told.there[INBOX][uid].content.clone()).collect();
        if moves {
            self.told.doubt = uids.iter().map(|uid| (INBOX, *uid)).collect();
        }
        let copied =
            if moves { self.inbox.move_to(uids, &mut self.other)? } else { self.inbox.copy(uids, &mut self.other)? };
        for (old, new) in copied.uids {
            let known = self.told.there[INBOX][&old].clone();
            self.told.added(OTHER, copied.uid_validity, new, known);
            if moves {
                self.told.there[INBOX].remove(&old);
            }
        }
        self.told.doubt.clear();
        self.told.may_be_new.clear();
        Ok(())
    }

    /// New mail comes as a foreign program delivers it, synced; then the client looks.
    fn foreign_mail(&mut self, format: Format, content: &str) -> Result<()> {
        use store_mailbox::fs::Fs;
        if format == Format::Maildir {
            let base = [b"user".to_vec(), b"mail".to_vec()];
            let wrote = store_mailbox::fs::open_path(self.fs, &self.fs.root(), &base).and_then(|base| {
                let (tmp, new) = (self.fs.open_dir(&base, b"tmp")?, self.fs.open_dir(&base, b"new")?);
                let name = format!("{}.foreign", content.len());
                let file = self.fs.create(&tmp, name.as_bytes(), 0o600)?;
                self.fs.append(&file, content.as_bytes())?;
                self.fs.sync_file(&file)?;
                self.fs.rename(&tmp, name.as_bytes(), &new, name.as_bytes())?;
                self.fs.sync_dir(&new)
            });
            self.told.foreign.push((content.as_bytes().to_vec(), wrote.is_ok()));
            self.sync()?;
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        let events = self.inbox.sync()?;
        let validity = self.inbox.status().uid_validity;
        for uid in events.added {
            let content = self.inbox.content(uid)?;
            let content = content.read(self.fs, 0, content.length).unwrap_or_default();
            let known = Known { content, ..common::flags_of(&self.inbox, uid) };
            self.told.foreign.retain(|(content, _)| *content != known.content);
            self.told.added(INBOX, validity, uid, known);
        }
        Ok(())
    }
}

fn session(fs: &ModelFs, format: Format, told: &mut Told) -> Result<()> {
    let (seen, deleted) = (Flags::SEEN, Flags::DELETED);
    let mut s = Session::start(fs, format, told)?;
    let a = s.append("first\n", Flags::empty(), &[])?;
    let b = s.append("second\n", seen, &["$Forwarded", "work"])?;
    s.foreign_mail(format, "a third, from elsewhere\n")?;
    s.store(&[a, b], UpdateMode::Add, Flags::FLAGGED, &["later"])?;
    s.copy(&[a, b], false)?;
    let c = s.append("fourth\n", deleted, &[])?;
    s.expunge()?;
    let d = s.append("fifth\n", Flags::empty(), &[])?;
    assert!(d > c);
    s.copy(&[b], true)?;
    s.store(&[a], UpdateMode::Replace, deleted, &[])?;
    s.expunge()?;
    s.append("sixth\n", Flags::empty(), &["later"])?;
    s.sync()?;
    s.inbox.flush()?;
    s.append("seventh\n", Flags::DRAFT, &[])?;
    Ok(())
}

fn check(fs: &ModelFs, format: Format, told: &Told, what: &str) {
    for (mailbox, name) in NAMES.into_iter().enumerate() {
        let mut opened = match open(fs, format, name, Access::Select) {
            Ok(opened) => opened,
            Err(error) => {
                assert!(told.there[mailbox].is_empty(), "{what}: {name}: {error}");
                continue;
            }
        };
        let validity = opened.status().uid_validity;
        let mut found = contents(fs, &mut opened).unwrap();
        for (uid, known) in &found {
            if let Some(before) = told.uids.get(&(mailbox, validity, *uid)) {
                assert_eq!(*before, known.content, "{what}: UID {uid} names another message");
            }
        }
        for (uid, known) in &told.there[mailbox] {
            match found.remove(uid) {
                Some(now) if told.doubt.contains(&(mailbox, *uid)) => assert_eq!(now.content, known.content, "{what}"),
                Some(now) => assert_eq!(now, *known, "{what}: {name} {uid}"),
                None => assert!(told.doubt.contains(&(mailbox, *uid)), "{what}: {name} lost {uid} {known:?}"),
            }
        }
        for (content, _) in told.foreign.iter().filter(|(_, acknowledged)| *acknowledged && mailbox == INBOX) {
            assert!(found.values().any(|now| now.content == *content), "{what}: new mail was lost");
        }
        for (uid, extra) in found {
            let foreign = told.foreign.iter().any(|(content, _)| *content == extra.content);
            let allowed = foreign || told.may_be_new.contains(&extra.content);
            assert!(allowed, "{what}: {name} has {uid} {extra:?} that nobody was told of");
        }
        let largest = told.uids.keys().filter(|(m, v, _)| (*m, *v) == (mailbox, validity)).map(|(.., uid)| *uid).max();
        let (_, uid) = opened.append(&addition(b"after the crash\n", Flags::empty(), &[])).unwrap();
        assert!(largest.is_none_or(|largest| uid > largest), "{what}: UID {uid} was given before");
        opened.sync().unwrap();
        assert_eq!(contents(fs, &mut opened).unwrap()[&uid].content, b"after the crash\n");
    }
}

fn crash_everywhere(format: Format) {
    for stop in 0.. {
        let (fs, mut told) = (ModelFs::new(), Told::default());
        fs.stop_after(stop);
        let finished = session(&fs, format, &mut told).is_ok();
        for keep in [Keep::All, Keep::Nothing, Keep::Some(stop), Keep::Some(stop + 7777), Keep::Some(!stop)] {
            let log = fs.log();
            let last = log.last().map_or("nothing", String::as_str);
            let what = format!("{format:?} after {stop} operations ({last}), {keep:?}");
            check(&fs.crash(keep), format, &told, &what);
        }
        if finished {
            assert!(stop > 100, "the session is not worth the name");
            return;
        }
        assert!(stop < 1000, "the session never ends");
    }
}

#[test]
fn maildir_keeps_its_word() {
    crash_everywhere(Format::Maildir);
}

#[test]
fn sdbox_keeps_its_word() {
    crash_everywhere(Format::Sdbox);
}

/// Two crashes in a row, the second while the first is being mended.
#[test]
fn a_crash_during_recovery() {
    for format in [Format::Maildir, Format::Sdbox] {
        for first in (3..200).step_by(11) {
            for second in 0..12 {
                let (fs, mut told) = (ModelFs::new(), Told::default());
                fs.stop_after(first);
                let _ = session(&fs, format, &mut told);
                let fs = fs.crash(Keep::Some(first));
                fs.stop_after(second);
                for name in NAMES {
                    let _ = open(&fs, format, name, Access::Select);
                }
                check(&fs.crash(Keep::Some(second)), format, &told, &format!("{format:?} {first} {second}"));
            }
        }
    }
}

/// The list of UIDs is written anew when most of its lines are dead; a crash there must not bring UIDs back.
#[test]
fn rewriting_the_uidlist() {
    let run = |fs: &ModelFs, told: &mut Told| -> Result<()> {
        let mut s = Session::start(fs, Format::Maildir, told)?;
        for n in 0..8 {
            s.append(&format!("message {n}\n"), Flags::DELETED, &[])?;
        }
        s.expunge()?;
        // So that the next look reads everything.
        fs.advance(5);
        s.foreign_mail(Format::Maildir, "x\n")?;
        s.append("last\n", Flags::empty(), &[])?;
        Ok(())
    };
    for stop in 0.. {
        let (fs, mut told) = (ModelFs::new(), Told::default());
        fs.stop_after(stop);
        let finished = run(&fs, &mut told).is_ok();
        for keep in [Keep::All, Keep::Nothing, Keep::Some(stop), Keep::Some(stop + 99)] {
            check(&fs.crash(keep), Format::Maildir, &told, &format!("{stop} {keep:?}"));
        }
        if finished {
            assert!(fs.log().iter().filter(|line| *line == "rename dovecot-uidlist.tmp dovecot-uidlist").count() > 1);
            break;
        }
        assert!(stop < 1000, "the session never ends");
    }
}
