//! The directories of one Maildir, and the file operations on them that need no knowledge of UIDs.

use std::io;

use super::name;
use crate::{
    error::{At, Error, Maybe, Result},
    fs::{EntryKind, Fs, open_or_make, open_path},
    location::{Format, Location, MailboxName, Modes},
    message::{Draft, LEFTOVER_SECONDS, Sizes},
};

/// Marks a directory as a Maildir++ folder, not a Maildir root.
const MARKER: &[u8] = b"maildirfolder";

/// An open Maildir.
pub struct Folder<F: Fs> {
    /// Where `dovecot-uidlist` and the index are.
    pub base: F::Dir,
    pub cur: F::Dir,
    pub new: F::Dir,
    pub tmp: F::Dir,
    pub modes: Modes,
    /// The directories whose entries lead to this one, outermost first; a new mailbox is durable when they and `base`
    /// are synced.
    pub parents: Vec<F::Dir>,
}

/// A message written to `tmp`, not yet durable.
pub struct Staged<F: Fs> {
    pub file: F::File,
    pub tmp: Vec<u8>,
    /// The base of its later name.
    pub base: Vec<u8>,
    pub sizes: Sizes,
}

impl<F: Fs> Folder<F> {
    /// Opens a mailbox. The inbox and its directories are made when they are missing, another mailbox with `create`
    /// alone; `cur`, `new` or `tmp` that a crash or another program left out are made in any case.
    pub fn open(fs: &F, location: &Location<F>, name: &MailboxName, create: bool) -> Result<Self> {
        let folder = Format::Maildir.folder(name)?;
        let no_mailbox = || Error::NoMailbox { name: name.join('.') };
        let (root, mut parents) = if create || name.is_inbox() {
            location.make(fs)?
        } else {
            (location.open(fs).maybe().at("open", b"mail root")?.ok_or_else(no_mailbox)?, Vec::new())
        };
        let modes = Modes::of(fs, &root)?;
        let base = match folder.first() {
            None => root,
            Some(folder) if create => {
                let base = open_or_make(fs, &root, folder, modes.directory).at("mkdir", folder)?;
                parents.push(root);
                base
            }
            Some(_) => {
                parents.push(root.clone());
                open_path(fs, &root, &folder).maybe().at("open", b"mailbox")?.ok_or_else(no_mailbox)?
            }
        };
        let part = |name: &[u8]| open_or_make(fs, &base, name, modes.directory).at("mkdir", name);
        let (cur, new, tmp) = (part(b"cur")?, part(b"new")?, part(b"tmp")?);
        Ok(Self { cur, new, tmp, modes, parents, base })
    }

    /// Marks a new folder.
    pub fn mark(&self, fs: &F) -> Result<()> {
        match fs.create(&self.base, MARKER, self.modes.file) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error).at("open", MARKER),
            _ => Ok(()),
        }
    }

    /// Makes the mailbox's own existence durable.
    pub fn sync_existence(&self, fs: &F) -> Result<()> {
        fs.sync_dir(&self.base).at("fsync", b"mailbox")?;
        self.parents.iter().rev().try_for_each(|parent| fs.sync_dir(parent)).at("fsync", b"mail root")
    }

    /// Removes from `tmp` what crashes left behind long ago, whichever program's they were.
    pub fn sweep(&self, fs: &F) -> Result<()> {
        for entry in fs.list(&self.tmp).at("readdir", b"tmp")? {
            if fs
                .stat_at(&self.tmp, &entry.name)
                .is_ok_and(|file| file.kind == EntryKind::File && file.changed.plus(LEFTOVER_SECONDS) < fs.now())
            {
                fs.unlink(&self.tmp, &entry.name).maybe().at("unlink", &entry.name)?;
            }
        }
        Ok(())
    }

    /// Writes a message to `tmp`; nothing is left there on failure. `unique` is a fresh name.
    pub(crate) fn stage<R: Fn(&mut [u8], u64) -> io::Result<usize>>(
        &self,
        fs: &F,
        unique: Vec<u8>,
        draft: &Draft<'_, R>,
    ) -> Result<Staged<F>> {
        let file = fs.create(&self.tmp, &unique, self.modes.file).at("open", &unique)?;
        // A crash from here on leaves a file in tmp, which a later [`Self::sweep`] removes.
        match crate::message::write(fs, &file, draft, |_| Vec::new()) {
            Ok(sizes) => Ok(Staged { base: name::with_sizes(&unique, sizes), file, tmp: unique, sizes }),
            Err(error) => {
                let _ = fs.unlink(&self.tmp, &unique);
                Err(error).at("write", &unique)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::model::ModelFs;

    #[test]
    fn what_a_crash_left_in_tmp_is_removed_when_it_is_old() {
        let fs = ModelFs::new();
        let location = Location { format: Format::Maildir, root: fs.root(), path: Vec::new() };
        let folder = Folder::open(&fs, &location, &MailboxName::inbox(), true).unwrap();
        let names = || fs.list(&folder.tmp).unwrap().into_iter().map(|entry| entry.name).collect::<Vec<_>>();
        fs.create(&folder.tmp, b"old", 0o600).unwrap();
        fs.make_dir(&folder.tmp, b"folder", 0o700).unwrap();
        fs.advance(LEFTOVER_SECONDS - 60);
        fs.create(&folder.tmp, b"fresh", 0o600).unwrap();
        folder.sweep(&fs).unwrap();
        assert_eq!(names().len(), 3);
        fs.advance(120);
        folder.sweep(&fs).unwrap();
        let mut left = names();
        left.sort();
        assert_eq!(left, [b"folder".to_vec(), b"fresh".to_vec()], "a folder is no message of anybody's");
    }
}
