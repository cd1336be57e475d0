//! What the tests share: a mail store on the model file system, and what a client was told about it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use store_mailbox::{
    Result,
    fs::model::ModelFs,
    location::{Format, Fsync, Location, MailboxName},
    mailbox::{Access, Addition, Environment, FlagUpdate, Mailbox, UpdateMode},
    message::{Flags, Source},
};

/// What a client knows of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    pub content: Vec<u8>,
    pub flags: Flags,
    pub keywords: BTreeSet<String>,
}

pub type Messages = BTreeMap<u32, Known>;

pub fn environment(fs: &ModelFs) -> Environment<ModelFs> {
    Environment { fs: Arc::new(fs.clone()), names: Arc::default(), fsync: Fsync::Optimized }
}

pub fn location(fs: &ModelFs, format: Format) -> Location<ModelFs> {
    Location { format, root: fs.root(), path: vec![b"user".to_vec(), b"mail".to_vec()] }
}

pub fn name(name: &str) -> MailboxName {
    MailboxName::new(name, '/').unwrap()
}

pub fn open(fs: &ModelFs, format: Format, mailbox: &str, access: Access) -> Result<Mailbox<ModelFs>> {
    Mailbox::open(&environment(fs), &location(fs, format), &name(mailbox), access)
}

pub fn addition<'a>(content: &'a [u8], flags: Flags, keywords: &[&str]) -> Addition<'a> {
    let keywords = keywords.iter().map(|k| (*k).to_owned()).collect();
    Addition { prefix: b"", source: Source::Bytes(content), flags, keywords, date: Some(1_700_000_000) }
}

pub fn update(mode: UpdateMode, flags: Flags, keywords: &[&str]) -> FlagUpdate {
    let keywords = keywords.iter().map(|k| (*k).to_owned()).collect();
    FlagUpdate { mode, flags, keywords, unchanged_since: None }
}

/// Everything in a mailbox, as a client would fetch it.
pub fn contents(fs: &ModelFs, mailbox: &mut Mailbox<ModelFs>) -> Result<Messages> {
    let uids: Vec<u32> = mailbox.messages().iter().map(|m| m.uid).collect();
    let mut messages = Messages::new();
    for uid in uids {
        let content = mailbox.content(uid)?;
        let content = content.read(fs, 0, content.length).unwrap();
        messages.insert(uid, Known { content, ..flags_of(mailbox, uid) });
    }
    Ok(messages)
}

/// The flags of one message, without its content.
pub fn flags_of(mailbox: &Mailbox<ModelFs>, uid: u32) -> Known {
    let record = mailbox.message(uid).unwrap();
    let names = mailbox.keywords().iter().enumerate().filter(|(n, _)| record.keywords & (1 << n) != 0);
    Known { content: Vec::new(), flags: record.flags, keywords: names.map(|(_, name)| name.clone()).collect() }
}
