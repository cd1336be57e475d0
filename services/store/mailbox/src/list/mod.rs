//! The mailboxes of a user: which there are, and creating, deleting, renaming and subscribing them.
//!
//! Everything here is beneath one mail root; [`namespace`] says which root a name that a client sends belongs to.

use std::collections::BTreeMap;

use crate::{
    error::{At, Error, Maybe, Result},
    fs::{EntryKind, Fs, open_path},
    location::{Format, Fsync, Location, MAX_DEPTH, MailboxName, Modes},
    mailbox::{Access, Environment, Mailbox},
};

pub mod mutf7;
pub mod namespace;
pub mod subscriptions;

/// What a mailbox is renamed to before its files go; a crash leaves it, and the next deletion removes it.
const TRASHED: &[u8] = b"..DOVECOT-TRASHED";

/// One name in the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Node {
    /// It can be selected. Otherwise it is only there because of the names below it (`\NoSelect`).
    pub exists: bool,
    /// Names below it exist (`\HasChildren`, otherwise `\HasNoChildren`).
    pub has_children: bool,
}

/// The mailboxes beneath one mail root.
pub struct Mailboxes<F: Fs> {
    environment: Environment<F>,
    location: Location<F>,
}

impl<F: Fs> Mailboxes<F> {
    pub fn new(environment: Environment<F>, location: Location<F>) -> Self {
        Self { environment, location }
    }

    /// Where they are.
    pub fn location(&self) -> &Location<F> {
        &self.location
    }

    /// Opens one.
    pub fn open(&self, name: &MailboxName, access: Access) -> Result<Mailbox<F>> {
        Mailbox::open(&self.environment, &self.location, name, access)
    }

    /// All names, sorted. The inbox is always there.
    pub fn tree(&self) -> Result<BTreeMap<MailboxName, Node>> {
        let mut names = BTreeMap::from([(MailboxName::inbox(), Node { exists: true, has_children: false })]);
        let fs = &*self.environment.fs;
        let Some(root) = self.location.open(fs).maybe().at("open", b"mail root")? else { return Ok(names) };
        match self.location.format {
            Format::Maildir => self.maildir_names(&root, &mut names)?,
            Format::Sdbox => {
                if let Some(top) = fs.open_dir(&root, Format::MAILBOXES).maybe().at("open", Format::MAILBOXES)? {
                    self.sdbox_names(&top, &mut Vec::new(), &mut names)?;
                }
            }
        }
        // An empty directory that a crash or another program left is no mailbox.
        names.retain(|_, node| node.exists);
        let all: Vec<MailboxName> = names.keys().cloned().collect();
        for name in all {
            for parent in name.ancestors() {
                names.entry(parent).or_default().has_children = true;
            }
        }
        Ok(names)
    }

    fn maildir_names(&self, root: &F::Dir, names: &mut BTreeMap<MailboxName, Node>) -> Result<()> {
        let fs = &*self.environment.fs;
        for entry in fs.list(root).at("readdir", b"mail root")? {
            let Some(folder) = entry.name.strip_prefix(b".").filter(|rest| !rest.starts_with(b".")) else { continue };
            let levels: Option<Vec<String>> = folder.split(|b| *b == b'.').map(mutf7::decode).collect();
            let name = levels.and_then(|levels| MailboxName::from_levels(levels).ok());
            let is_dir = match entry.kind {
                EntryKind::Directory => true,
                EntryKind::Link => fs.open_dir(root, &entry.name).is_ok(),
                EntryKind::File | EntryKind::Other => false,
            };
            if let Some(name) = name.filter(|name| is_dir && !name.is_inbox()) {
                names.insert(name, Node { exists: true, has_children: false });
            }
        }
        Ok(())
    }

    fn sdbox_names(
        &self,
        dir: &F::Dir,
        levels: &mut Vec<String>,
        names: &mut BTreeMap<MailboxName, Node>,
    ) -> Result<()> {
        let fs = &*self.environment.fs;
        if levels.len() == MAX_DEPTH {
            return Ok(());
        }
        for entry in fs.list(dir).at("readdir", b"mailboxes")? {
            if !matches!(entry.kind, EntryKind::Directory | EntryKind::Link) || entry.name == Format::MESSAGES {
                continue;
            }
            let (Some(level), Ok(below)) = (mutf7::decode(&entry.name), fs.open_dir(dir, &entry.name)) else {
                continue;
            };
            levels.push(level);
            let exists = fs.open_dir(&below, Format::MESSAGES).is_ok();
            if let Ok(name) = MailboxName::from_levels(levels.clone()) {
                names.entry(name).or_default().exists |= exists;
                self.sdbox_names(&below, levels, names)?;
            }
            levels.pop();
        }
        Ok(())
    }

    /// Makes a mailbox, with its UIDVALIDITY. Durable when it returns.
    pub fn create(&self, name: &MailboxName) -> Result<()> {
        let fs = &*self.environment.fs;
        if name.is_inbox() || self.folder(name)?.is_some() {
            return Err(Error::Exists { name: name.join('/') });
        }
        // A crash from here on leaves a mailbox that nobody was told of, which opens as an empty one.
        let mut mailbox = Mailbox::open_or_create(&self.environment, &self.location, name)?;
        mailbox.sync()?;
        if self.environment.fsync != Fsync::Never { mailbox.sync_creation(fs) } else { Ok(()) }
    }

    /// Whether the mailbox exists: its directory.
    fn folder(&self, name: &MailboxName) -> Result<Option<F::Dir>> {
        let fs = &*self.environment.fs;
        let mut path = self.location.format.folder(name)?;
        if self.location.format == Format::Sdbox {
            path.push(Format::MESSAGES.to_vec());
        }
        let root = self.location.open(fs).maybe().at("open", b"mail root")?;
        let Some(root) = root else { return Ok(None) };
        open_path(fs, &root, &path).maybe().at("open", b"mailbox")
    }

    /// Deletes a mailbox with its messages; mailboxes below it stay. Durable when it returns.
    pub fn delete(&self, name: &MailboxName) -> Result<()> {
        let fs = &*self.environment.fs;
        if name.is_inbox() {
            return Err(Error::Refused { reason: "INBOX can't be deleted." });
        }
        if self.folder(name)?.is_none() {
            return Err(Error::NoMailbox { name: name.join('/') });
        }
        let root = self.location.open(fs).at("open", b"mail root")?;
        let mut path = self.location.format.folder(name)?;
        let last = if self.location.format == Format::Sdbox {
            Format::MESSAGES.to_vec()
        } else {
            path.pop().unwrap_or_default()
        };
        let parent = open_path(fs, &root, &path).at("open", b"mailbox")?;
        self.remove_tree(&root, TRASHED)?;
        // A crash before this line leaves the mailbox; one after it, at most files that belong to no mailbox.
        fs.rename(&parent, &last, &root, TRASHED).at("rename", &last)?;
        if self.environment.fsync != Fsync::Never {
            fs.sync_dir(&parent).at("fsync", b"mailbox")?;
            fs.sync_dir(&root).at("fsync", b"mail root")?;
        }
        self.remove_tree(&root, TRASHED)?;
        if self.location.format == Format::Sdbox {
            self.remove_empty(&root, path)?;
        }
        Ok(())
    }

    /// Removes the directories of a deleted sdbox mailbox and above it, as long as nothing is in them.
    fn remove_empty(&self, root: &F::Dir, mut path: Vec<Vec<u8>>) -> Result<()> {
        let fs = &*self.environment.fs;
        while path.len() > 1
            && let Some(last) = path.pop()
        {
            let parent = open_path(fs, root, &path).at("open", b"mailbox")?;
            if fs.remove_dir(&parent, &last).is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Removes a directory and everything in it. Links are removed, not followed.
    fn remove_tree(&self, at: &F::Dir, name: &[u8]) -> Result<()> {
        let fs = &*self.environment.fs;
        let Some(dir) = fs.open_dir(at, name).maybe().at("open", name)? else { return Ok(()) };
        for entry in fs.list(&dir).at("readdir", name)? {
            if entry.kind == EntryKind::Directory {
                self.remove_tree(&dir, &entry.name)?;
            } else {
                fs.unlink(&dir, &entry.name).maybe().at("unlink", &entry.name)?;
            }
        }
        fs.remove_dir(at, name).maybe().at("rmdir", name).map(drop)
    }

    /// Renames a mailbox and all below it; UIDs and UIDVALIDITY stay. Durable when it returns.
    pub fn rename(&self, from: &MailboxName, to: &MailboxName) -> Result<()> {
        if from.is_inbox() {
            return Err(Error::Refused { reason: "Renaming INBOX isn't supported." });
        }
        if to.is_below(from) {
            return Err(Error::Refused { reason: "Can't rename mailbox under its own child." });
        }
        let tree = self.tree()?;
        if !tree.contains_key(from) {
            return Err(Error::NoMailbox { name: from.join('/') });
        }
        if to.is_inbox() || tree.contains_key(to) {
            return Err(Error::Exists { name: to.join('/') });
        }
        let fs = &*self.environment.fs;
        let root = self.location.open(fs).at("open", b"mail root")?;
        match self.location.format {
            Format::Maildir => self.rename_maildirs(&root, &tree, from, to),
            Format::Sdbox => self.rename_sdbox(&root, from, to),
        }
    }

    fn rename_maildirs(
        &self,
        root: &F::Dir,
        tree: &BTreeMap<MailboxName, Node>,
        from: &MailboxName,
        to: &MailboxName,
    ) -> Result<()> {
        let fs = &*self.environment.fs;
        let moves = tree.iter().filter(|(name, node)| node.exists && (*name == from || name.is_below(from)));
        let names: Vec<_> = moves.map(|(old, _)| (old, old.moved(from, to))).collect();
        // All new names are possible before the first is taken.
        for (_, new) in &names {
            Format::Maildir.folder(new)?;
        }
        for (old, new) in &names {
            let (old, new) = (Format::Maildir.folder(old)?.concat(), Format::Maildir.folder(new)?.concat());
            // A crash between two of these leaves some mailboxes under their old names.
            fs.rename(root, &old, root, &new).at("rename", &old)?;
        }
        if self.environment.fsync != Fsync::Never {
            fs.sync_dir(root).at("fsync", b"mail root")?;
        }
        Ok(())
    }

    fn rename_sdbox(&self, root: &F::Dir, from: &MailboxName, to: &MailboxName) -> Result<()> {
        let fs = &*self.environment.fs;
        let (mut old, mut new) = (Format::Sdbox.folder(from)?, Format::Sdbox.folder(to)?);
        let (Some(old_last), Some(new_last)) = (old.pop(), new.pop()) else {
            return Err(Error::NoMailbox { name: from.join('/') });
        };
        let mode = Modes::of(fs, root)?.directory;
        let old_parent = open_path(fs, root, &old).at("open", b"mailbox")?;
        let (new_parent, parents) = crate::fs::make_path(fs, root, &new, mode).at("mkdir", &new.join(&b'/'))?;
        fs.rename(&old_parent, &old_last, &new_parent, &new_last).at("rename", &old_last)?;
        if self.environment.fsync != Fsync::Never {
            // The new place first: a crash here finds the mailbox in both, never in none.
            fs.sync_dir(&new_parent).at("fsync", b"mailbox")?;
            parents.iter().rev().try_for_each(|parent| fs.sync_dir(parent)).at("fsync", b"mailbox")?;
            fs.sync_dir(&old_parent).at("fsync", b"mailbox")?;
        }
        if old.len() > 1 {
            self.remove_empty(root, old)?;
        }
        Ok(())
    }

    /// The subscribed names.
    pub fn subscriptions(&self) -> Result<Vec<MailboxName>> {
        let fs = &*self.environment.fs;
        match self.location.open(fs).maybe().at("open", b"mail root")? {
            Some(root) => subscriptions::read(fs, &root, self.location.format),
            None => Ok(Vec::new()),
        }
    }

    /// Subscribes or unsubscribes a name, which need not exist. Returns whether that changed anything. Durable when it
    /// returns.
    pub fn subscribe(&self, name: &MailboxName, subscribed: bool) -> Result<bool> {
        let fs = &*self.environment.fs;
        let sync = self.environment.fsync != Fsync::Never;
        let (root, parents) = self.location.make(fs)?;
        let changed = subscriptions::set(fs, &root, self.location.format, name, subscribed, sync)?;
        if changed && sync {
            parents.iter().rev().try_for_each(|parent| fs.sync_dir(parent)).at("fsync", b"mail root")?;
        }
        Ok(changed)
    }
}
