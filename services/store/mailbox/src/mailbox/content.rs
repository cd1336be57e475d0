//! The bytes of a message, and what is known about it beyond the list.

use std::io;

use super::{Folder, Mailbox};
use crate::{
    error::{At, Error, Maybe, Result},
    fs::{Fs, read_range},
    index::{Change, Record},
    message::virtual_size,
    sdbox::format,
};

/// An open message: `length` bytes of `file` from `offset`, lines ending in LF (or as another program wrote them).
pub struct Content<F: Fs> {
    pub file: F::File,
    pub offset: u64,
    pub length: u64,
}

impl<F: Fs> Content<F> {
    /// Reads up to `length` bytes of the message from `offset`. The caller bounds `length`.
    pub fn read(&self, fs: &F, offset: u64, length: u64) -> io::Result<Vec<u8>> {
        let length = length.min(self.length.saturating_sub(offset));
        read_range(fs, &self.file, self.offset + offset, length)
    }
}

/// Sizes and date of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// Bytes on disk.
    pub physical: u64,
    /// `RFC822.SIZE`: bytes with CRLF line ends.
    pub virtual_: u64,
    /// `INTERNALDATE`, seconds since 1970.
    pub date: i64,
}

impl<F: Fs> Mailbox<F> {
    /// Opens a message. [`Error::Expunged`] when it is gone.
    pub fn content(&mut self, uid: u32) -> Result<Content<F>> {
        if let Some(content) = self.open_content(uid)? {
            return Ok(content);
        }
        // Another program renamed it, or removed it.
        self.scan_if_changed(true)?;
        self.open_content(uid)?.ok_or(Error::Expunged { uid })
    }

    fn open_content(&self, uid: u32) -> Result<Option<Content<F>>> {
        let fs = &*self.environment.fs;
        let Some(record) = self.state.find(uid) else { return Ok(None) };
        match &self.folder {
            Folder::Maildir(folder) => {
                let dir = if record.in_new { &folder.new } else { &folder.cur };
                let file = fs.open(dir, &record.name).maybe().at("open", &record.name)?;
                let Some(file) = file else { return Ok(None) };
                let length = fs.stat(&file).at("fstat", &record.name)?.size;
                Ok(Some(Content { file, offset: 0, length }))
            }
            Folder::Sdbox(folder) => {
                let name = format::file_name(uid);
                let Some(file) = fs.open(&folder.mails, &name).maybe().at("open", &name)? else { return Ok(None) };
                let layout = format::parse(fs, &file).at("read", &name)?;
                Ok(Some(Content { file, offset: layout.offset, length: layout.length }))
            }
        }
    }

    /// Sizes and date of a message; what is not known yet is found out and remembered.
    pub fn facts(&mut self, uid: u32) -> Result<Facts> {
        let record = self.state.find(uid).ok_or(Error::Expunged { uid })?;
        if let Record { physical: Some(physical), virtual_: Some(virtual_), date: Some(date), .. } = *record {
            return Ok(Facts { physical, virtual_, date });
        }
        if let (Some(physical), Some(virtual_), Folder::Maildir(folder)) =
            (record.physical, record.virtual_, &self.folder)
        {
            // The sizes are in the name: the date is a stat away.
            let dir = if record.in_new { &folder.new } else { &folder.cur };
            let meta = self.environment.fs.stat_at(dir, &record.name).maybe().at("stat", &record.name)?;
            if let Some(meta) = meta {
                return Ok(self.remember(uid, Facts { physical, virtual_, date: meta.modified.secs }));
            }
        }
        let content = self.content(uid)?;
        let fs = self.fs();
        let record = self.state.find(uid).ok_or(Error::Expunged { uid })?;
        let virtual_ = match record.virtual_ {
            Some(known) => known,
            None => virtual_size(&*fs, &content.file, content.offset, content.length).at("read", &record.name)?,
        };
        let date = match record.date {
            Some(known) => known,
            None => fs.stat(&content.file).at("fstat", &record.name)?.modified.secs,
        };
        let physical = record.physical.unwrap_or(content.length);
        Ok(self.remember(uid, Facts { physical, virtual_, date }))
    }

    fn remember(&mut self, uid: u32, facts: Facts) -> Facts {
        let change = Change::Facts {
            uid,
            physical: Some(facts.physical),
            virtual_: Some(facts.virtual_),
            date: Some(facts.date),
        };
        self.state.apply(&change);
        self.facts.push(change);
        facts
    }
}
