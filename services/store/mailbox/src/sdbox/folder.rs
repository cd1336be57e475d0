//! The directory of one sdbox mailbox.

use std::io;

use super::format;
use crate::{
    error::{At, Error, Maybe, Result},
    fs::{Fs, open_path},
    location::{Format, Location, MailboxName, Modes},
    message::{Draft, LEFTOVER_SECONDS, Sizes},
};

/// Messages that have no UID yet; what a crash leaves of them is removed by [`Folder::sweep`].
pub(crate) const TEMPORARY: &[u8] = b".temp.";

/// An open sdbox mailbox.
pub struct Folder<F: Fs> {
    pub mails: F::Dir,
    pub modes: Modes,
    /// The directories whose entries lead to `mails`, outermost first.
    pub parents: Vec<F::Dir>,
}

/// A message written under a temporary name, not yet durable.
pub struct Staged<F: Fs> {
    pub file: F::File,
    pub tmp: Vec<u8>,
    pub sizes: Sizes,
    pub received: i64,
}

impl<F: Fs> Folder<F> {
    /// Opens a mailbox. The inbox is made when it is missing, another mailbox with `create` alone.
    pub fn open(fs: &F, location: &Location<F>, name: &MailboxName, create: bool) -> Result<Self> {
        let mut path = Format::Sdbox.folder(name)?;
        path.push(Format::MESSAGES.to_vec());
        let no_mailbox = || Error::NoMailbox { name: name.join('/') };
        let (mails, parents) = if create || name.is_inbox() {
            let (root, mut parents) = location.make(fs)?;
            let modes = Modes::of(fs, &root)?;
            let (mails, below) =
                crate::fs::make_path(fs, &root, &path, modes.directory).at("mkdir", &path.join(&b'/'))?;
            parents.extend(below);
            (mails, parents)
        } else {
            let root = location.open(fs).maybe().at("open", b"mail root")?.ok_or_else(no_mailbox)?;
            (open_path(fs, &root, &path).maybe().at("open", b"mailbox")?.ok_or_else(no_mailbox)?, Vec::new())
        };
        Ok(Self { modes: Modes::of(fs, &mails)?, mails, parents })
    }

    /// Makes the mailbox's own existence durable.
    pub fn sync_existence(&self, fs: &F) -> Result<()> {
        fs.sync_dir(&self.mails).at("fsync", b"mailbox")?;
        self.parents.iter().rev().try_for_each(|parent| fs.sync_dir(parent)).at("fsync", b"mail root")
    }

    /// Writes a message under a temporary name; nothing is left there on failure. `unique` is a fresh name, `draft` has
    /// no `before` of its own.
    pub(crate) fn stage<R: Fn(&mut [u8], u64) -> io::Result<usize>>(
        &self,
        fs: &F,
        unique: &[u8],
        draft: Draft<'_, R>,
        received: i64,
        guid: [u8; 16],
    ) -> Result<Staged<F>> {
        let tmp = [TEMPORARY, unique].concat();
        let file = fs.create(&self.mails, &tmp, self.modes.file).at("open", &tmp)?;
        let (head, size_at) = format::head(fs.now().secs);
        let draft = Draft { before: &head, ..draft };
        let written = crate::message::write(fs, &file, &draft, |sizes| format::tail(sizes, received, guid))
            .and_then(|sizes| fs.write_at(&file, &format::size_field(sizes.physical), size_at).map(|()| sizes));
        match written {
            Ok(sizes) => Ok(Staged { file, tmp, sizes, received }),
            Err(error) => {
                let _ = fs.unlink(&self.mails, &tmp);
                Err(error).at("write", &tmp)
            }
        }
    }

    /// The UIDs that have a file, ascending. Removes what crashes left behind long ago.
    pub fn sweep(&self, fs: &F) -> Result<Vec<u32>> {
        let mut uids = Vec::new();
        for entry in fs.list(&self.mails).at("readdir", b"mailbox")? {
            if let Some(uid) = format::uid(&entry.name) {
                uids.push(uid);
            } else if entry.name.starts_with(TEMPORARY)
                && fs.stat_at(&self.mails, &entry.name).is_ok_and(|m| m.changed.plus(LEFTOVER_SECONDS) < fs.now())
            {
                fs.unlink(&self.mails, &entry.name).maybe().at("unlink", &entry.name)?;
            }
        }
        uids.sort_unstable();
        Ok(uids)
    }
}
