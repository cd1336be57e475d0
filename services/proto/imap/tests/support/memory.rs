//! Mailboxes in memory, shared by the sessions of a test.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use proto_imap::command::{AppendMessage, Section, SectionText, SpecialUse, StatusItems, StoreMode, TextField};
use proto_imap::date::Day;
use proto_imap::flag::{FlagList, Flags};
use proto_imap::mailbox::{
    Access, Appended, Appending, Content, Copied, Error, ErrorKind, FlagChange, Listed, Mailboxes, Message, Namespace,
    NamespaceClass, Selected, Status, Stored,
};
use proto_imap::name::MailboxName;
use proto_imap::sequence::UidSet;

/// The instant at which messages without a date arrive.
pub const ARRIVAL: i64 = 1_795_168_800;

#[derive(Clone, Debug)]
pub struct Mail {
    pub text: Rc<Vec<u8>>,
    pub date: i64,
    pub message: Message,
}

#[derive(Debug)]
pub struct Folder {
    pub validity: u32,
    pub next: u32,
    pub modseq: u64,
    pub keywords: Vec<String>,
    pub mails: Vec<Mail>,
    pub special_use: Vec<SpecialUse>,
    /// Counts changes.
    pub version: u64,
    pub deleted: bool,
}

type Shared = Rc<RefCell<Folder>>;

#[derive(Debug)]
pub struct World {
    pub folders: BTreeMap<MailboxName, Shared>,
    pub subscriptions: Vec<MailboxName>,
    next_validity: u32,
    /// Calls of the store fail from now on.
    pub broken: bool,
}

#[derive(Clone, Debug)]
pub struct Memory(pub Rc<RefCell<World>>);

impl Memory {
    pub fn new() -> Memory {
        let memory = Memory(Rc::new(RefCell::new(World {
            folders: BTreeMap::new(),
            subscriptions: Vec::new(),
            next_validity: 1000,
            broken: false,
        })));
        memory.add_folder(&MailboxName::inbox(), &[]);
        memory
    }

    fn add_folder(&self, name: &MailboxName, special_use: &[SpecialUse]) {
        let mut world = self.0.borrow_mut();
        world.next_validity += 1;
        let folder = Folder {
            validity: world.next_validity,
            next: 1,
            modseq: 1,
            keywords: Vec::new(),
            mails: Vec::new(),
            special_use: special_use.to_vec(),
            version: 0,
            deleted: false,
        };
        world.folders.insert(name.clone(), Rc::new(RefCell::new(folder)));
    }

    fn folder(&self, name: &MailboxName) -> Result<Shared, Error> {
        let world = self.0.borrow();
        if world.broken {
            return Err(Error::new(ErrorKind::Internal, "Internal error occurred."));
        }
        world.folders.get(name).cloned().ok_or_else(|| Error::not_found(name))
    }
}

impl Folder {
    fn touch(&mut self) -> u64 {
        self.version += 1;
        self.modseq += 1;
        self.modseq
    }

    fn add(&mut self, text: Vec<u8>, date: i64, flags: &FlagList) -> u32 {
        let keywords = self.keyword_bits(flags.keywords.iter().map(|keyword| keyword.as_str()));
        let modseq = self.touch();
        let uid = self.next;
        self.next += 1;
        let flags = flags.flags | Flags::RECENT;
        self.mails.push(Mail { text: Rc::new(text), date, message: Message { uid, flags, keywords, modseq } });
        uid
    }

    fn keyword_bits<'k>(&mut self, names: impl Iterator<Item = &'k str>) -> u64 {
        let mut bits = 0;
        for name in names {
            let known = self.keywords.iter().position(|known| known.eq_ignore_ascii_case(name));
            let at = known.unwrap_or_else(|| {
                self.keywords.push(name.to_owned());
                self.keywords.len() - 1
            });
            bits |= 1 << at;
        }
        bits
    }
}

impl Mailboxes for Memory {
    type Selected = Open;
    type Appending = Draft;

    fn separator(&self) -> char {
        '.'
    }

    fn namespaces(&self) -> &[Namespace] {
        // The tests have one, and it never changes.
        static PERSONAL: std::sync::LazyLock<Vec<Namespace>> =
            std::sync::LazyLock::new(|| vec![Namespace { class: NamespaceClass::Personal, prefix: String::new() }]);
        &PERSONAL
    }

    fn list(&mut self) -> Result<Vec<Listed>, Error> {
        let world = self.0.borrow();
        let listed = |(name, folder): (&MailboxName, &Shared)| Listed {
            name: name.clone(),
            selectable: true,
            special_use: folder.borrow().special_use.clone(),
        };
        Ok(world.folders.iter().map(listed).collect())
    }

    fn subscriptions(&mut self) -> Result<Vec<MailboxName>, Error> {
        Ok(self.0.borrow().subscriptions.clone())
    }

    fn subscribe(&mut self, name: &MailboxName, subscribed: bool) -> Result<(), Error> {
        let mut world = self.0.borrow_mut();
        world.subscriptions.retain(|known| known != name);
        if subscribed {
            world.subscriptions.push(name.clone());
        }
        Ok(())
    }

    fn exists(&mut self, name: &MailboxName) -> Result<bool, Error> {
        Ok(self.0.borrow().folders.contains_key(name))
    }

    fn create(&mut self, name: &MailboxName, special_use: &[SpecialUse]) -> Result<(), Error> {
        if self.exists(name)? {
            return Err(Error::already_exists());
        }
        self.add_folder(name, special_use);
        Ok(())
    }

    fn delete(&mut self, name: &MailboxName) -> Result<(), Error> {
        let folder = self.0.borrow_mut().folders.remove(name).ok_or_else(|| Error::not_found(name))?;
        folder.borrow_mut().deleted = true;
        Ok(())
    }

    fn rename(&mut self, from: &MailboxName, to: &MailboxName) -> Result<(), Error> {
        let mut world = self.0.borrow_mut();
        let names: Vec<_> =
            world.folders.keys().filter_map(|old| Some((old.clone(), old.renamed(from, to, '.')?))).collect();
        if !names.iter().any(|(old, _)| old == from) {
            return Err(Error::not_found(from));
        }
        for (old, new) in names {
            let folder = world.folders.remove(&old).unwrap();
            world.folders.insert(new, folder);
        }
        Ok(())
    }

    fn status(&mut self, name: &MailboxName, _items: StatusItems) -> Result<Status, Error> {
        let folder = self.folder(name)?;
        let folder = folder.borrow();
        let with = |flag| folder.mails.iter().filter(|mail| mail.message.flags.contains(flag)).count() as u32;
        Ok(Status {
            messages: folder.mails.len() as u32,
            recent: with(Flags::RECENT),
            uid_next: folder.next,
            uid_validity: folder.validity,
            unseen: folder.mails.len() as u32 - with(Flags::SEEN),
            highest_modseq: folder.modseq,
            size: folder.mails.iter().map(|mail| mail.text.len() as u64).sum(),
        })
    }

    fn select(&mut self, name: &MailboxName, access: &Access) -> Result<Open, Error> {
        let mut open = Open {
            folder: self.folder(name)?,
            world: self.clone(),
            messages: Vec::new(),
            keywords: Vec::new(),
            recent: access.recent.iter().collect(),
            read_only: access.read_only,
            version: 0,
        };
        open.load();
        Ok(open)
    }

    fn append(&mut self, name: &MailboxName) -> Result<Draft, Error> {
        Ok(Draft { folder: self.folder(name)?, messages: Vec::new() })
    }

    fn copy(&mut self, from: &mut Open, uids: &[u32], to: &MailboxName, remove: bool) -> Result<Copied, Error> {
        let target = self.folder(to)?;
        let mails: Vec<Mail> = {
            let source = from.folder.borrow();
            uids.iter().filter_map(|uid| source.mails.iter().find(|mail| mail.message.uid == *uid)).cloned().collect()
        };
        if mails.len() < uids.len() {
            return Err(Error::expunged());
        }
        let names = from.folder.borrow().keywords.clone();
        let mut copied = UidSet::default();
        for mail in mails {
            let mut target = target.borrow_mut();
            let uid = target.add(mail.text.to_vec(), mail.date, &FlagList::default());
            copied.push(uid);
            let kept = names.iter().enumerate().filter(|(bit, _)| mail.message.keywords & 1 << bit != 0);
            let bits = target.keyword_bits(kept.map(|(_, name)| name.as_str()));
            let new = &mut target.mails.last_mut().unwrap().message;
            new.flags = mail.message.flags | Flags::RECENT;
            new.keywords = bits;
        }
        if remove {
            let mut source = from.folder.borrow_mut();
            source.mails.retain(|mail| !uids.contains(&mail.message.uid));
            source.touch();
        }
        let from = UidSet::from_ascending(uids.iter().copied());
        Ok(Copied { uid_validity: target.borrow().validity, from, to: copied })
    }
}

pub struct Draft {
    folder: Shared,
    messages: Vec<(AppendMessage, Vec<u8>)>,
}

impl Appending for Draft {
    fn begin(&mut self, message: &AppendMessage, size: u64) -> Result<(), Error> {
        if size > 10_000_000 {
            return Err(Error::new(ErrorKind::OverQuota, "Quota exceeded (mailbox for user is full)"));
        }
        self.messages.push((message.clone(), Vec::new()));
        Ok(())
    }

    fn write(&mut self, octets: &[u8]) -> Result<(), Error> {
        let (_, text) = self.messages.last_mut().unwrap();
        text.extend_from_slice(octets);
        if text.ends_with(b"full disk") {
            return Err(Error::new(ErrorKind::Internal, "Internal error occurred."));
        }
        Ok(())
    }

    fn commit(self) -> Result<Appended, Error> {
        let mut folder = self.folder.borrow_mut();
        let mut uids = UidSet::default();
        for (message, text) in self.messages {
            uids.push(folder.add(text, message.internal_date.unwrap_or(ARRIVAL), &message.flags));
        }
        Ok(Appended { uid_validity: folder.validity, uids })
    }
}

pub struct Open {
    folder: Shared,
    world: Memory,
    messages: Vec<Message>,
    keywords: Vec<String>,
    recent: Vec<u32>,
    read_only: bool,
    version: u64,
}

impl Open {
    fn load(&mut self) {
        let mut folder = self.folder.borrow_mut();
        for mail in &mut folder.mails {
            if mail.message.flags.contains(Flags::RECENT) && !self.read_only {
                mail.message.flags = mail.message.flags & !Flags::RECENT;
                self.recent.push(mail.message.uid);
            }
        }
        self.messages = folder.mails.iter().map(|mail| mail.message).collect();
        for message in &mut self.messages {
            message.flags = message.flags & !Flags::RECENT;
            if self.recent.contains(&message.uid) {
                message.flags = message.flags | Flags::RECENT;
            }
        }
        self.keywords = folder.keywords.clone();
        self.version = folder.version;
    }

    fn text(&self, index: usize) -> Result<(Rc<Vec<u8>>, i64), Error> {
        if self.world.0.borrow().broken {
            return Err(Error::new(ErrorKind::Internal, "Internal error occurred."));
        }
        let uid = self.messages[index].uid;
        let folder = self.folder.borrow();
        let mail = folder.mails.iter().find(|mail| mail.message.uid == uid).ok_or_else(Error::expunged)?;
        Ok((mail.text.clone(), mail.date))
    }

    fn subject(&self, index: usize) -> Result<Option<String>, Error> {
        let (text, _) = self.text(index)?;
        let text = String::from_utf8_lossy(&text).into_owned();
        Ok(text.lines().find_map(|line| line.strip_prefix("Subject: ").map(str::to_owned)))
    }
}

/// Where the body begins.
fn body_start(text: &[u8]) -> usize {
    text.windows(4).position(|window| window == b"\r\n\r\n").map_or(text.len(), |at| at + 4)
}

impl Selected for Open {
    type Content = Slice;
    type Needle = String;

    fn uid_validity(&self) -> u32 {
        self.folder.borrow().validity
    }

    fn uid_next(&self) -> u32 {
        self.folder.borrow().next
    }

    fn highest_modseq(&self) -> u64 {
        self.messages.iter().map(|message| message.modseq).max().unwrap_or(1)
    }

    fn keywords(&self) -> &[String] {
        &self.keywords
    }

    fn can_create_keywords(&self) -> bool {
        true
    }

    fn messages(&self) -> &[Message] {
        &self.messages
    }

    fn sync(&mut self) -> Result<bool, Error> {
        if self.folder.borrow().deleted {
            return Err(Error::new(ErrorKind::Lost, ""));
        }
        let changed = self.version != self.folder.borrow().version;
        if changed {
            self.load();
        }
        Ok(changed)
    }

    fn store(&mut self, uids: &[u32], change: &FlagChange<'_>) -> Result<Stored, Error> {
        let mut folder = self.folder.borrow_mut();
        let bits = folder.keyword_bits(change.keywords.iter().map(|keyword| keyword.as_str()));
        let modseq = folder.modseq + 1;
        let mut stored = Stored::default();
        for mail in folder.mails.iter_mut().filter(|mail| uids.contains(&mail.message.uid)) {
            let message = &mut mail.message;
            if change.unchanged_since.is_some_and(|since| message.modseq > since) {
                stored.conflicts.push(message.uid);
                continue;
            }
            let before = (message.flags, message.keywords);
            (message.flags, message.keywords) = match change.mode {
                StoreMode::Add => (message.flags | change.flags, message.keywords | bits),
                StoreMode::Remove => (message.flags & !change.flags, message.keywords & !bits),
                StoreMode::Replace => (message.flags & Flags::RECENT | change.flags, bits),
            };
            if before != (message.flags, message.keywords) {
                message.modseq = modseq;
                stored.modseq = modseq;
            }
        }
        if stored.modseq > 0 {
            folder.touch();
        }
        Ok(stored)
    }

    fn expunge(&mut self, only: Option<&UidSet>) -> Result<(), Error> {
        let mut folder = self.folder.borrow_mut();
        let before = folder.mails.len();
        folder.mails.retain(|mail| {
            let meant = only.is_none_or(|only| only.contains(mail.message.uid));
            !(meant && mail.message.flags.contains(Flags::DELETED))
        });
        if folder.mails.len() < before {
            folder.touch();
        }
        Ok(())
    }

    fn internal_date(&mut self, index: usize) -> Result<i64, Error> {
        Ok(self.text(index)?.1)
    }

    fn size(&mut self, index: usize) -> Result<u64, Error> {
        Ok(self.text(index)?.0.len() as u64)
    }

    fn envelope(&mut self, index: usize, out: &mut Vec<u8>) -> Result<(), Error> {
        let subject = self.subject(index)?;
        out.extend_from_slice(b"(NIL ");
        match subject {
            Some(subject) => proto_imap::response::string(out, subject.as_bytes()),
            None => out.extend_from_slice(b"NIL"),
        }
        out.extend_from_slice(b" NIL NIL NIL NIL NIL NIL NIL NIL)");
        Ok(())
    }

    fn body_structure(&mut self, index: usize, extended: bool, out: &mut Vec<u8>) -> Result<(), Error> {
        let (text, _) = self.text(index)?;
        let body = &text[body_start(&text)..];
        let lines = body.iter().filter(|byte| **byte == b'\n').count();
        let more = if extended { " NIL NIL NIL NIL" } else { "" };
        let structure =
            format!("(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" {} {lines}{more})", body.len());
        out.extend_from_slice(structure.as_bytes());
        Ok(())
    }

    fn content(&mut self, index: usize, section: &Section) -> Result<Slice, Error> {
        let (text, _) = self.text(index)?;
        let start = body_start(&text);
        let (header, body) = text.split_at(start);
        let fields = |keep: &dyn Fn(&str) -> bool| {
            let header = String::from_utf8_lossy(header).into_owned();
            let kept = header.split_inclusive("\r\n").filter(|line| {
                let field = line.split(':').next().unwrap_or_default().to_ascii_uppercase();
                *line == "\r\n" || keep(&field)
            });
            kept.collect::<String>().into_bytes()
        };
        let bytes = match (section.part.as_slice(), &section.text) {
            ([], SectionText::Whole) => text.to_vec(),
            ([], SectionText::Header) | ([1], SectionText::Mime) => header.to_vec(),
            ([], SectionText::Text) | ([1], SectionText::Whole) => body.to_vec(),
            ([], SectionText::HeaderFields(names)) => fields(&|field| names.iter().any(|name| name == field)),
            ([], SectionText::HeaderFieldsNot(names)) => fields(&|field| !names.iter().any(|name| name == field)),
            _ => Vec::new(),
        };
        Ok(Slice(bytes))
    }

    fn sent_day(&mut self, index: usize) -> Result<Option<Day>, Error> {
        let (text, _) = self.text(index)?;
        let text = String::from_utf8_lossy(&text).into_owned();
        let date = text.lines().find_map(|line| line.strip_prefix("Date: ").map(|date| date.replace(' ', "-")));
        Ok(date.and_then(|date| Day::parse(date.as_bytes())))
    }

    fn needle(&self, text: &str) -> String {
        text.to_lowercase()
    }

    fn search(&mut self, index: usize, field: &TextField, needle: &String) -> Result<bool, Error> {
        let (text, _) = self.text(index)?;
        let start = body_start(&text);
        let lower = |bytes: &[u8]| String::from_utf8_lossy(bytes).to_lowercase();
        Ok(match field {
            TextField::Text => lower(&text).contains(needle),
            TextField::Body => lower(&text[start..]).contains(needle),
            TextField::Header(name) => lower(&text[..start])
                .lines()
                .filter_map(|line| line.split_once(": "))
                .any(|(field, value)| field.eq_ignore_ascii_case(name) && value.contains(needle.as_str())),
        })
    }
}

pub struct Slice(Vec<u8>);

impl Content for Slice {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn read(&mut self, offset: u64, limit: usize, out: &mut Vec<u8>) -> Result<(), Error> {
        if self.0.ends_with(b"bad sector\r\n") && offset > 0 {
            return Err(Error::new(ErrorKind::Internal, "Internal error occurred."));
        }
        let rest = &self.0[offset as usize..];
        out.extend_from_slice(&rest[..rest.len().min(limit)]);
        Ok(())
    }
}
