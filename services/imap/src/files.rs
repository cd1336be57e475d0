//! The mailboxes of one user, as the session sees them: names of the wire become names of the store and back.
//!
//! A name on the wire is modified UTF-7 with the namespace's prefix and separator; the store has levels in Unicode. A
//! `mailbox` of the configuration with `auto` is there for a client whether or not it was made yet; it is made when it is
//! first used.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use proto_imap::command::{SpecialUse, StatusItems};
use proto_imap::mailbox::{self, Access, Copied, Error, ErrorKind, Listed, Mailboxes, NamespaceClass, Status};
use proto_imap::name::MailboxName;
use proto_imap::sequence::UidSet;
use slog::Logger;
use store_mailbox::fs::Fs;
use store_mailbox::list::mutf7;
use store_mailbox::list::namespace::{Namespace, NamespaceKind, Namespaces};
use store_mailbox::location::MailboxName as Path;
use store_mailbox::mailbox::{self as store, Mailbox};

use crate::appending::Draft;
use crate::refusal::refusal;
use crate::selected::Open;

/// What the conversation learns of its session's mailboxes beside the session.
pub struct Notes<D> {
    /// The folders in which news of the selected mailbox show; empty when none is selected.
    pub watched: RefCell<Vec<D>>,
    /// Messages that were copied or moved to a mailbox for `\Trash`.
    pub trashed: Cell<u64>,
}

impl<D> Default for Notes<D> {
    fn default() -> Notes<D> {
        Notes { watched: RefCell::default(), trashed: Cell::default() }
    }
}

/// A mailbox that is made when it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Automatic {
    /// Its name as clients see it.
    pub name: String,
    /// It is subscribed to, too.
    pub subscribed: bool,
}

/// The mailboxes of one user.
pub struct Files<F: Fs> {
    fs: std::sync::Arc<F>,
    namespaces: Namespaces<F>,
    automatic: Vec<Automatic>,
    announced: Vec<mailbox::Namespace>,
    separator: char,
    notes: Rc<Notes<F::Dir>>,
    log: Logger,
}

impl<F: Fs> Files<F> {
    /// The mailboxes in `namespaces`, which reach their files through `fs`.
    pub fn new(fs: std::sync::Arc<F>, namespaces: Namespaces<F>, automatic: Vec<Automatic>, log: Logger) -> Files<F> {
        let class = |kind| match kind {
            NamespaceKind::Personal => NamespaceClass::Personal,
            NamespaceKind::Others => NamespaceClass::Other,
            NamespaceKind::Shared => NamespaceClass::Shared,
        };
        let announced = (namespaces.all().iter().filter(|namespace| !namespace.hidden))
            .map(|namespace| mailbox::Namespace { class: class(namespace.kind), prefix: to_wire(&namespace.prefix) })
            .collect();
        let separator =
            namespaces.all().iter().find(|namespace| namespace.inbox).map_or('/', |namespace| namespace.separator);
        Files { fs, namespaces, automatic, announced, separator, notes: Rc::default(), log }
    }

    /// What else is known of them.
    pub fn notes(&self) -> Rc<Notes<F::Dir>> {
        self.notes.clone()
    }

    fn refuse(&self, error: &store_mailbox::Error) -> Error {
        refusal(&self.log, error)
    }

    fn find(&self, name: &MailboxName) -> Result<(&Namespace<F>, Path), Error> {
        self.namespaces.find(&name.to_display()).map_err(|error| self.refuse(&error))
    }

    fn is_automatic(&self, name: &MailboxName) -> Option<&Automatic> {
        let shown = name.to_display();
        self.automatic.iter().find(|automatic| automatic.name == shown)
    }

    /// Opens a mailbox, making it first if it is one of those that are made when they are used.
    fn open(&self, name: &MailboxName, access: store::Access) -> Result<Mailbox<F>, Error> {
        let (namespace, path) = self.find(name)?;
        let opened = namespace.mailboxes.open(&path, access);
        let (Err(store_mailbox::Error::NoMailbox { .. }), Some(automatic)) = (&opened, self.is_automatic(name)) else {
            return opened.map_err(|error| missing(name, self.refuse(&error)));
        };
        let made = match namespace.mailboxes.create(&path) {
            // Another session was faster.
            Err(store_mailbox::Error::Exists { .. }) => Ok(()),
            other => other,
        };
        let subscribed = made.and_then(|()| {
            if automatic.subscribed { namespace.mailboxes.subscribe(&path, true).map(drop) } else { Ok(()) }
        });
        let opened = subscribed.and_then(|()| namespace.mailboxes.open(&path, access));
        opened.map_err(|error| self.refuse(&error))
    }

    /// The namespace that keeps the subscription of a name, and the name within it.
    fn keeper(&self, name: &MailboxName) -> Result<(&Namespace<F>, Path), Error> {
        let (namespace, path) = self.find(name)?;
        if namespace.subscriptions {
            return Ok((namespace, path));
        }
        let shown = namespace.visible(&path);
        let keepers = self.namespaces.all().iter().filter(|keeper| keeper.subscriptions);
        let above = keepers.filter(|keeper| shown.starts_with(&keeper.prefix)).max_by_key(|keeper| keeper.prefix.len());
        let keeper = above.ok_or_else(|| Error::new(ErrorKind::Cannot, "No subscriptions in this namespace"))?;
        let within = Path::new(&shown[keeper.prefix.len()..], keeper.separator);
        Ok((keeper, within.map_err(|error| self.refuse(&error))?))
    }
}

impl<F: Fs> Mailboxes for Files<F> {
    type Selected = Open<F>;
    type Appending = Draft<F>;

    fn separator(&self) -> char {
        self.separator
    }

    fn namespaces(&self) -> &[mailbox::Namespace] {
        &self.announced
    }

    fn list(&mut self) -> Result<Vec<Listed>, Error> {
        let mut all: Vec<Listed> = Vec::new();
        for namespace in self.namespaces.all().iter().filter(|namespace| namespace.list) {
            let tree = namespace.tree().map_err(|error| self.refuse(&error))?;
            for (shown, node, special_use) in tree {
                let automatic = self.automatic.iter().any(|automatic| automatic.name == shown);
                // The session sees for itself which names are only above others.
                if let Some(name) = wire_name(&shown).filter(|_| node.exists || automatic) {
                    all.push(Listed { name, selectable: true, special_use: special_uses(special_use) });
                }
            }
        }
        for automatic in &self.automatic {
            let Some(name) = wire_name(&automatic.name) else { continue };
            if all.iter().all(|listed| listed.name != name) {
                let (namespace, path) = self.find(&name)?;
                let special_use = special_uses(namespace.special_use.get(&path).map(String::as_str));
                all.push(Listed { name, selectable: true, special_use });
            }
        }
        Ok(all)
    }

    fn subscriptions(&mut self) -> Result<Vec<MailboxName>, Error> {
        let mut names = Vec::new();
        for namespace in self.namespaces.all().iter().filter(|namespace| namespace.subscriptions) {
            let paths = namespace.mailboxes.subscriptions().map_err(|error| self.refuse(&error))?;
            names.extend(paths.iter().filter_map(|path| wire_name(&namespace.visible(path))));
        }
        for automatic in self.automatic.iter().filter(|automatic| automatic.subscribed) {
            names.extend(wire_name(&automatic.name).filter(|name| !names.contains(name)));
        }
        Ok(names)
    }

    fn subscribe(&mut self, name: &MailboxName, subscribed: bool) -> Result<(), Error> {
        let (namespace, path) = self.keeper(name)?;
        namespace.mailboxes.subscribe(&path, subscribed).map(drop).map_err(|error| self.refuse(&error))
    }

    fn exists(&mut self, name: &MailboxName) -> Result<bool, Error> {
        let (namespace, path) = self.find(name)?;
        let tree = namespace.mailboxes.tree().map_err(|error| self.refuse(&error))?;
        Ok(tree.get(&path).is_some_and(|node| node.exists) || self.is_automatic(name).is_some())
    }

    fn create(&mut self, name: &MailboxName, special_use: &[SpecialUse]) -> Result<(), Error> {
        if !special_use.is_empty() {
            return Err(Error::new(ErrorKind::Cannot, "Special uses are given in the configuration"));
        }
        let (namespace, path) = self.find(name)?;
        namespace.mailboxes.create(&path).map_err(|error| self.refuse(&error))
    }

    fn delete(&mut self, name: &MailboxName) -> Result<(), Error> {
        let (namespace, path) = self.find(name)?;
        namespace.mailboxes.delete(&path).map_err(|error| missing(name, self.refuse(&error)))
    }

    fn rename(&mut self, from: &MailboxName, to: &MailboxName) -> Result<(), Error> {
        let ((namespace, old), (other, new)) = (self.find(from)?, self.find(to)?);
        if namespace.prefix != other.prefix {
            return Err(Error::new(ErrorKind::Cannot, "Can't rename mailboxes across specified storages."));
        }
        namespace.mailboxes.rename(&old, &new).map_err(|error| missing(from, self.refuse(&error)))
    }

    fn status(&mut self, name: &MailboxName, items: StatusItems) -> Result<Status, Error> {
        let mut mailbox = self.open(name, store::Access::Examine)?;
        let counters = mailbox.status();
        let mut size = 0;
        if items.size {
            let uids: Vec<u32> = mailbox.messages().iter().map(|record| record.uid).collect();
            for uid in uids {
                match mailbox.facts(uid) {
                    Ok(facts) => size += facts.virtual_,
                    Err(store_mailbox::Error::Expunged { .. }) => {}
                    Err(error) => return Err(self.refuse(&error)),
                }
            }
            // What was found out is worth keeping; without it the next one finds it out again.
            if let Err(error) = mailbox.flush() {
                slog::warn!(self.log, "{error}");
            }
        }
        Ok(Status {
            messages: counters.messages,
            recent: counters.recent,
            uid_next: counters.uid_next,
            uid_validity: counters.uid_validity,
            unseen: counters.unseen,
            highest_modseq: counters.highest_modseq,
            size,
        })
    }

    fn select(&mut self, name: &MailboxName, access: &Access) -> Result<Open<F>, Error> {
        let mode = if access.read_only { store::Access::Examine } else { store::Access::Select };
        let mailbox = self.open(name, mode)?;
        *self.notes.watched.borrow_mut() = mailbox.watched();
        Ok(Open::new(self.fs.clone(), mailbox, access.recent.clone(), self.notes.clone(), self.log.clone()))
    }

    fn append(&mut self, name: &MailboxName) -> Result<Draft<F>, Error> {
        Ok(Draft::new(self.open(name, store::Access::Add)?, self.log.clone()))
    }

    fn copy(&mut self, from: &mut Open<F>, uids: &[u32], to: &MailboxName, remove: bool) -> Result<Copied, Error> {
        let mut target = self.open(to, store::Access::Add)?;
        let copied = from.copy(uids, &mut target, remove)?;
        let (namespace, path) = self.find(to)?;
        if special_uses(namespace.special_use.get(&path).map(String::as_str)).contains(&SpecialUse::Trash) {
            self.notes.trashed.set(self.notes.trashed.get() + copied.uids.len() as u64);
        }
        Ok(Copied {
            uid_validity: copied.uid_validity,
            from: UidSet::from_ascending(copied.uids.iter().map(|(old, _)| *old)),
            to: UidSet::from_ascending(copied.uids.iter().map(|(_, new)| *new)),
        })
    }
}

/// A mailbox that is missing is named as the client named it.
fn missing(name: &MailboxName, error: Error) -> Error {
    if error.kind == ErrorKind::NotFound { Error::not_found(name) } else { error }
}

fn to_wire(shown: &str) -> String {
    String::from_utf8_lossy(&mutf7::encode(shown)).into_owned()
}

/// A name that no client could send is not shown.
fn wire_name(shown: &str) -> Option<MailboxName> {
    MailboxName::parse(to_wire(shown).as_bytes()).ok()
}

fn special_uses(names: Option<&str>) -> Vec<SpecialUse> {
    names.unwrap_or_default().split(' ').filter_map(|name| SpecialUse::parse(name.as_bytes())).collect()
}
