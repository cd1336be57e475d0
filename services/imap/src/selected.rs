//! A selected mailbox: the store's list as the session numbers it, answers that were prepared once, and searching.
//!
//! The session's messages change in [`Selected::sync`] alone; the store may know more in between. What is found out about a
//! message (its envelope, its structure, its dates) is kept in the mailbox's cache in the form in which it goes out.

use std::rc::Rc;
use std::sync::Arc;

use proto_imap::command::{Section, SectionText, StoreMode, TextField};
use proto_imap::date::Day;
use proto_imap::flag::Flags;
use proto_imap::mailbox::{self, Error, FlagChange, Message, Selected, Stored};
use proto_imap::sequence::UidSet;
use proto_mime::date::Date;
use proto_mime::envelope::Envelope;
use proto_mime::field::fields;
use proto_mime::search::{Key, Scope, Scratch};
use proto_mime::{Structure, bodystructure};
use slog::Logger;
use store_mailbox::fs::Fs;
use store_mailbox::index::Record;
use store_mailbox::index::cache::CacheKind;
use store_mailbox::mailbox::{Copied, FlagUpdate, Mailbox, UpdateMode};

use crate::files::Notes;
use crate::flags;
use crate::message::{Part, Text};
use crate::refusal::{internal, refusal};

/// What the cache holds, by number. A number is never used for anything else: caches outlive versions.
const ENVELOPE: CacheKind = 1;
const BODY: CacheKind = 2;
const BODYSTRUCTURE: CacheKind = 3;
/// The day of the Date field: empty, or four bytes, little end first.
const SENT: CacheKind = 4;

/// A selected mailbox.
pub struct Open<F: Fs> {
    fs: Arc<F>,
    mailbox: Mailbox<F>,
    messages: Vec<Message>,
    /// Names of keywords, each at the place it got when it was first seen.
    keywords: Vec<String>,
    /// `\Recent` since before the session was resumed.
    recent: UidSet,
    /// This session changed the list.
    changed: bool,
    /// Something is known that index or cache do not have yet.
    unwritten: bool,
    /// The message whose structure was needed last: a client asks for its parts one after the other.
    structure: Option<(u32, Arc<Structure>)>,
    buffer: Vec<u8>,
    scratch: Scratch,
    notes: Rc<Notes<F::Dir>>,
    log: Logger,
}

/// A string to be searched for.
pub struct Needle {
    /// Nothing to look for, which is in every text.
    empty: bool,
    /// None for a string of which nothing is left to be compared, which is found nowhere.
    key: Option<Key>,
}

/// A section, with the log for when it cannot be read.
pub struct Sending<F: Fs> {
    part: Part<F>,
    log: Logger,
}

impl<F: Fs> Open<F> {
    /// The session's view of `mailbox`. The folders of `notes` are emptied when it is closed.
    pub fn new(fs: Arc<F>, mailbox: Mailbox<F>, recent: UidSet, notes: Rc<Notes<F::Dir>>, log: Logger) -> Open<F> {
        let mut open = Open {
            fs,
            mailbox,
            messages: Vec::new(),
            keywords: Vec::new(),
            recent,
            changed: false,
            unwritten: false,
            structure: None,
            buffer: Vec::new(),
            scratch: Scratch::default(),
            notes,
            log,
        };
        open.renumber();
        open
    }

    /// Copies messages that exist, or moves them. One that is gone makes a copy fail.
    pub fn copy(&mut self, uids: &[u32], to: &mut Mailbox<F>, remove: bool) -> Result<Copied, Error> {
        if !remove && uids.iter().any(|uid| self.mailbox.message(*uid).is_none()) {
            return Err(Error::expunged());
        }
        self.changed |= remove;
        let copied = if remove { self.mailbox.move_to(uids, to) } else { self.mailbox.copy(uids, to) };
        copied.map_err(|error| self.refuse(&error))
    }

    fn refuse(&self, error: &store_mailbox::Error) -> Error {
        refusal(&self.log, error)
    }

    /// Takes over the store's list.
    fn renumber(&mut self) {
        // The places of the store's keywords among ours.
        let places: Vec<Option<usize>> =
            self.mailbox.keywords().iter().map(|name| place(&mut self.keywords, name)).collect();
        let moved = places.iter().enumerate().any(|(bit, place)| *place != Some(bit));
        let keywords = |bits: u64| match moved {
            false => bits,
            true => (places.iter().enumerate())
                .filter(|(bit, _)| bits & 1 << bit != 0)
                .fold(0, |all, (_, place)| all | place.map_or(0, |place| 1 << place)),
        };
        let message = |record: &Record| {
            let recent = self.mailbox.is_recent(record.uid) || self.recent.contains(record.uid);
            let flags = flags::to_wire(record.flags) | if recent { Flags::RECENT } else { Flags::NONE };
            Message { uid: record.uid, flags, keywords: keywords(record.keywords), modseq: record.modseq.max(1) }
        };
        self.messages = self.mailbox.messages().iter().map(message).collect();
    }

    fn uid(&self, index: usize) -> u32 {
        self.messages[index].uid
    }

    fn open(&mut self, uid: u32) -> Result<Text<F>, Error> {
        let content = self.mailbox.content(uid);
        content.map(|content| Text::new(self.fs.clone(), content)).map_err(|error| self.refuse(&error))
    }

    fn unreadable(&self, uid: u32, error: &std::io::Error) -> Error {
        internal(&self.log, format!("Mailbox {}: UID={uid}: read() failed: {error}", self.mailbox.name().join('/')))
    }

    fn header(&mut self, uid: u32) -> Result<Vec<u8>, Error> {
        self.open(uid)?.header().map_err(|error| self.unreadable(uid, &error))
    }

    fn structure(&mut self, uid: u32, text: &Text<F>) -> Result<Arc<Structure>, Error> {
        if let Some((_, structure)) = self.structure.as_ref().filter(|(of, _)| *of == uid) {
            return Ok(structure.clone());
        }
        let structure = Arc::new(text.structure().map_err(|error| self.unreadable(uid, &error))?);
        self.structure = Some((uid, structure.clone()));
        Ok(structure)
    }

    fn facts(&mut self, index: usize) -> Result<store_mailbox::mailbox::Facts, Error> {
        let uid = self.uid(index);
        let complete =
            |record: &Record| record.virtual_.is_some() && record.physical.is_some() && record.date.is_some();
        self.unwritten |= !self.mailbox.message(uid).is_some_and(complete);
        self.mailbox.facts(uid).map_err(|error| self.refuse(&error))
    }

    /// Appends what the cache has. False if it has nothing.
    fn cached(&mut self, uid: u32, kind: CacheKind, out: &mut Vec<u8>) -> bool {
        let Some(bytes) = self.mailbox.cached(uid, kind) else { return false };
        out.extend_from_slice(bytes);
        true
    }

    fn keep(&mut self, uid: u32, kind: CacheKind, bytes: &[u8]) {
        self.mailbox.put_cached(uid, kind, bytes);
        self.unwritten = true;
    }

    fn write_down(&mut self) {
        if std::mem::take(&mut self.unwritten)
            && let Err(error) = self.mailbox.flush()
        {
            // The next session finds it out again.
            slog::warn!(self.log, "{error}");
        }
    }
}

/// The place of a keyword, a new one at the end.
fn place(known: &mut Vec<String>, name: &str) -> Option<usize> {
    if name.is_empty() {
        return None;
    }
    let found = known.iter().position(|other| other.eq_ignore_ascii_case(name));
    found.or_else(|| {
        let room = known.len() < proto_imap::limits::KEYWORDS;
        room.then(|| known.push(name.to_owned()));
        room.then(|| known.len() - 1)
    })
}

impl<F: Fs> Selected for Open<F> {
    type Content = Sending<F>;
    type Needle = Needle;

    fn uid_validity(&self) -> u32 {
        self.mailbox.uid_validity()
    }

    fn uid_next(&self) -> u32 {
        self.mailbox.uid_next()
    }

    fn highest_modseq(&self) -> u64 {
        self.mailbox.highest_modseq()
    }

    fn keywords(&self) -> &[String] {
        &self.keywords
    }

    fn can_create_keywords(&self) -> bool {
        self.mailbox.can_add_keyword()
    }

    fn messages(&self) -> &[Message] {
        &self.messages
    }

    fn sync(&mut self) -> Result<bool, Error> {
        self.write_down();
        let events = self.mailbox.sync().map_err(|error| self.refuse(&error))?;
        let changed = std::mem::take(&mut self.changed) || !events.is_empty();
        if changed {
            self.renumber();
        }
        Ok(changed)
    }

    fn store(&mut self, uids: &[u32], change: &FlagChange<'_>) -> Result<Stored, Error> {
        let mode = match change.mode {
            StoreMode::Replace => UpdateMode::Replace,
            StoreMode::Add => UpdateMode::Add,
            StoreMode::Remove => UpdateMode::Remove,
        };
        let keywords = change.keywords.iter().map(|keyword| keyword.as_str().to_owned()).collect();
        let (flags, unchanged_since) = (flags::to_store(change.flags), change.unchanged_since);
        self.changed = true;
        let stored = self.mailbox.store(uids, &FlagUpdate { mode, flags, keywords, unchanged_since });
        let stored = stored.map_err(|error| self.refuse(&error))?;
        let modseq =
            stored.changed.first().and_then(|uid| self.mailbox.message(*uid)).map_or(0, |record| record.modseq);
        Ok(Stored { modseq, conflicts: stored.modified })
    }

    fn expunge(&mut self, only: Option<&UidSet>) -> Result<(), Error> {
        self.changed = true;
        let chosen: Option<Vec<u32>> = only.map(|only| {
            self.mailbox.messages().iter().map(|record| record.uid).filter(|uid| only.contains(*uid)).collect()
        });
        self.mailbox.expunge(chosen.as_deref()).map(drop).map_err(|error| self.refuse(&error))
    }

    fn internal_date(&mut self, index: usize) -> Result<i64, Error> {
        Ok(self.facts(index)?.date)
    }

    fn size(&mut self, index: usize) -> Result<u64, Error> {
        Ok(self.facts(index)?.virtual_)
    }

    fn envelope(&mut self, index: usize, out: &mut Vec<u8>) -> Result<(), Error> {
        let uid = self.uid(index);
        if self.cached(uid, ENVELOPE, out) {
            return Ok(());
        }
        let header = self.header(uid)?;
        let start = out.len();
        out.push(b'(');
        Envelope::parse(&header).write(out);
        out.push(b')');
        self.keep(uid, ENVELOPE, &out[start..]);
        Ok(())
    }

    fn body_structure(&mut self, index: usize, extended: bool, out: &mut Vec<u8>) -> Result<(), Error> {
        let uid = self.uid(index);
        let wanted = if extended { BODYSTRUCTURE } else { BODY };
        if self.cached(uid, wanted, out) {
            return Ok(());
        }
        let text = self.open(uid)?;
        let structure = self.structure(uid, &text)?;
        for (kind, extended) in [(BODY, false), (BODYSTRUCTURE, true)] {
            let mut bytes = Vec::new();
            bodystructure::write(&structure, extended, &mut bytes);
            self.keep(uid, kind, &bytes);
            if kind == wanted {
                out.extend_from_slice(&bytes);
            }
        }
        Ok(())
    }

    fn content(&mut self, index: usize, section: &Section) -> Result<Sending<F>, Error> {
        let uid = self.uid(index);
        let text = self.open(uid)?;
        let part = match (&section.part[..], &section.text) {
            ([], SectionText::Whole) => {
                let facts = self.facts(index)?;
                if facts.physical == text.length() {
                    Ok(text.stream(0, facts.physical, facts.virtual_))
                } else {
                    // The recorded sizes are not those of this file.
                    let structure = self.structure(uid, &text)?;
                    text.section(section, &structure)
                }
            }
            ([], header) => match text.header_section(header) {
                Ok(Some(part)) => Ok(part),
                Ok(None) => {
                    let structure = self.structure(uid, &text)?;
                    text.section(section, &structure)
                }
                Err(error) => Err(error),
            },
            _ => {
                let structure = self.structure(uid, &text)?;
                text.section(section, &structure)
            }
        };
        match part {
            Ok(part) => Ok(Sending { part, log: self.log.clone() }),
            Err(error) => Err(self.unreadable(uid, &error)),
        }
    }

    fn sent_day(&mut self, index: usize) -> Result<Option<Day>, Error> {
        let uid = self.uid(index);
        if let Some(bytes) = self.mailbox.cached(uid, SENT) {
            return Ok(<[u8; 4]>::try_from(bytes).ok().map(|bytes| Day(i32::from_le_bytes(bytes))));
        }
        let header = self.header(uid)?;
        let date = fields(&header).find(|field| field.is("Date")).and_then(|field| Date::parse(field.value));
        let day = date.map(|date| Day::of(date.local_time(), 0));
        self.keep(uid, SENT, day.map(|day| day.0.to_le_bytes()).as_ref().map_or(&[], |bytes| &bytes[..]));
        Ok(day)
    }

    fn needle(&self, text: &str) -> Needle {
        Needle { empty: text.is_empty(), key: Key::new(text) }
    }

    fn search(&mut self, index: usize, field: &TextField, needle: &Needle) -> Result<bool, Error> {
        let uid = self.uid(index);
        let scope = match field {
            TextField::Header(name) => {
                let header = self.header(uid)?;
                let scratch = &mut self.scratch;
                return Ok(fields(&header).filter(|field| field.is(name)).any(|field| {
                    needle.empty || needle.key.as_ref().is_some_and(|key| key.in_field(name, field.value, scratch))
                }));
            }
            TextField::Body => Scope::Body,
            TextField::Text => Scope::Text,
        };
        if needle.empty {
            return Ok(true);
        }
        let Some(key) = &needle.key else { return Ok(false) };
        let text = self.open(uid)?;
        match text.whole(&mut self.buffer) {
            Ok(message) => Ok(key.may_match(message, &mut self.scratch)
                && key.matches(message, &Structure::scan(message), scope, &mut self.scratch)),
            Err(error) => Err(self.unreadable(uid, &error)),
        }
    }
}

impl<F: Fs> Drop for Open<F> {
    fn drop(&mut self) {
        self.write_down();
        self.notes.watched.borrow_mut().clear();
    }
}

impl<F: Fs> mailbox::Content for Sending<F> {
    fn len(&self) -> u64 {
        self.part.length()
    }

    fn read(&mut self, offset: u64, limit: usize, out: &mut Vec<u8>) -> Result<(), Error> {
        self.part.read(offset, limit, out).map_err(|error| internal(&self.log, format!("read() failed: {error}")))
    }
}
