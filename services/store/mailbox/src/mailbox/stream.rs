//! A message that comes piece by piece, as APPEND's literal does: it is written as it comes, so that its size costs no
//! memory.

use super::{
    Folder, Mailbox,
    add::{Staged, Written},
};
use crate::{
    error::{At, Result},
    fs::{Fs, Timestamp},
    maildir::{self, name},
    message::{Flags, Lines},
    sdbox::{self, format},
};

/// A message of which more may come. Dropped, it leaves a file that is swept later; [`Mailbox::give_up`] removes it at once.
pub struct Incoming<F: Fs> {
    file: F::File,
    unique: Vec<u8>,
    tmp: Vec<u8>,
    lines: Lines,
    /// Where sdbox has the size.
    size_at: u64,
    flags: Flags,
    keywords: Vec<String>,
    date: Option<i64>,
}

impl<F: Fs> Mailbox<F> {
    /// Begins a message; `date` is its `INTERNALDATE`, now if it is not given.
    pub fn begin(&self, flags: Flags, keywords: Vec<String>, date: Option<i64>) -> Result<Incoming<F>> {
        let fs = &*self.environment.fs;
        let unique = self.environment.names.next(fs);
        let (dir, tmp, mode, (head, size_at)) = match &self.folder {
            Folder::Maildir(folder) => (&folder.tmp, unique.clone(), folder.modes.file, (Vec::new(), 0)),
            Folder::Sdbox(folder) => {
                let tmp = [sdbox::folder::TEMPORARY, &unique].concat();
                (&folder.mails, tmp, folder.modes.file, format::head(fs.now().secs))
            }
        };
        // A crash from here on leaves a file that is swept after 36 hours.
        let file = fs.create(dir, &tmp, mode).at("open", &tmp)?;
        Ok(Incoming { file, unique, tmp, lines: Lines::after(&head), size_at, flags, keywords, date })
    }

    /// Takes in octets of the message.
    pub fn take(&self, incoming: &mut Incoming<F>, octets: &[u8]) -> Result<()> {
        incoming.lines.push(octets);
        incoming.lines.flush_pieces(&*self.environment.fs, &incoming.file).at("write", &incoming.tmp)
    }

    /// The message is complete; nothing is durable yet. On failure it is removed.
    pub fn end(&self, incoming: Incoming<F>) -> Result<Staged<F>> {
        let tmp = incoming.tmp.clone();
        self.complete(incoming).inspect_err(|_| self.remove_staged(&tmp))
    }

    fn complete(&self, incoming: Incoming<F>) -> Result<Staged<F>> {
        let Incoming { file, unique, tmp, lines, size_at, flags, keywords, date } = incoming;
        let fs = &*self.environment.fs;
        let written = match &self.folder {
            Folder::Maildir(_) => {
                let sizes = lines.write_end(fs, &file, |_| Vec::new()).at("write", &tmp)?;
                if let Some(secs) = date {
                    fs.set_modified(&file, Timestamp { secs, nanos: 0 }).at("utimensat", &tmp)?;
                }
                let base = name::with_sizes(&unique, sizes);
                Written::Maildir(maildir::folder::Staged { file, tmp, base, sizes })
            }
            Folder::Sdbox(_) => {
                let (received, guid) = (date.unwrap_or(fs.now().secs), self.fresh_guid()?);
                let tail = |sizes| format::tail(sizes, received, guid);
                let sizes = lines.write_end(fs, &file, tail).at("write", &tmp)?;
                fs.write_at(&file, &format::size_field(sizes.physical), size_at).at("write", &tmp)?;
                Written::Sdbox(sdbox::folder::Staged { file, tmp, sizes, received })
            }
        };
        Ok(Staged { written, flags, keywords, date })
    }

    /// Removes a message of which no more will come.
    pub fn give_up(&self, incoming: &Incoming<F>) {
        self.remove_staged(&incoming.tmp);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        fs::model::ModelFs,
        location::{Format, Fsync, Location, MailboxName},
        mailbox::{Access, Environment},
    };

    #[test]
    fn pieces_become_the_message_that_a_whole_one_is() {
        for format in [Format::Maildir, Format::Sdbox] {
            let fs = ModelFs::new();
            let environment = Environment { fs: Arc::new(fs.clone()), names: Arc::default(), fsync: Fsync::Optimized };
            let location = Location { format, root: fs.root(), path: Vec::new() };
            let mut mailbox = Mailbox::open(&environment, &location, &MailboxName::inbox(), Access::Select).unwrap();
            for cut in 0..14 {
                let mut incoming = mailbox.begin(Flags::SEEN, Vec::new(), Some(1_700_000_000)).unwrap();
                mailbox.take(&mut incoming, &b"a: b\r\n\r\nx\r\ry\n"[..cut]).unwrap();
                mailbox.take(&mut incoming, &b"a: b\r\n\r\nx\r\ry\n"[cut..]).unwrap();
                let mut staged = mailbox.end(incoming).unwrap();
                mailbox.sync_staged(&mut staged).unwrap();
                let uid = mailbox.place(vec![staged]).unwrap()[0];
                let content = mailbox.content(uid).unwrap();
                assert_eq!(content.read(&fs, 0, 100).unwrap(), b"a: b\n\nx\r\ry\n", "{format:?} {cut}");
                let facts = mailbox.facts(uid).unwrap();
                assert_eq!((facts.physical, facts.virtual_, facts.date), (11, 14, 1_700_000_000));
            }
        }
    }

    #[test]
    fn what_is_given_up_leaves_nothing() {
        for format in [Format::Maildir, Format::Sdbox] {
            let fs = ModelFs::new();
            let environment = Environment { fs: Arc::new(fs.clone()), names: Arc::default(), fsync: Fsync::Optimized };
            let location = Location { format, root: fs.root(), path: Vec::new() };
            let mailbox = Mailbox::open(&environment, &location, &MailboxName::inbox(), Access::Add).unwrap();
            let mut incoming = mailbox.begin(Flags::empty(), Vec::new(), None).unwrap();
            mailbox.take(&mut incoming, b"half").unwrap();
            mailbox.give_up(&incoming);
            let left = fs.list(mailbox.staging()).unwrap();
            assert!(left.iter().all(|entry| !entry.name.contains(&b'P')), "{left:?}");
        }
    }
}
