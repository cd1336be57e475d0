//! What a session needs from the mailboxes of one user.
//!
//! Calls may block: a session has its process to itself. Sequence numbers are the session's own business; here a message
//! is known by its UID, or by its index into [`Selected::messages`], which is valid until the next call of
//! [`Selected::sync`]. What a store reports as done is durable.

use crate::command::{AppendMessage, Section, SpecialUse, StatusItems, StoreMode, TextField};
use crate::date::Day;
use crate::flag::{Flags, Keyword};
use crate::name::MailboxName;
use crate::sequence::UidSet;

/// Why a store did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// What kind of failure, which decides the response code.
    pub kind: ErrorKind,
    /// What the client is told, without the full stop.
    pub text: String,
}

/// Kinds of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// No such mailbox.
    NotFound,
    /// There is one already.
    AlreadyExists,
    /// This store cannot do that, ever.
    Cannot,
    /// The user may not.
    NoPermission,
    /// No room left to the user.
    OverQuota,
    /// Too many or too long of something.
    Limit,
    /// Locked by somebody.
    InUse,
    /// A message does not exist any more.
    Expunged,
    /// The selected mailbox was deleted, or is another one under the same name: the session has to end.
    Lost,
    /// An error that is the server's; the log has the details.
    Internal,
}

impl Error {
    /// An error with its text.
    pub fn new(kind: ErrorKind, text: impl Into<String>) -> Error {
        Error { kind, text: text.into() }
    }

    /// `Mailbox doesn't exist: NAME`
    pub fn not_found(name: &MailboxName) -> Error {
        Error::new(ErrorKind::NotFound, format!("Mailbox doesn't exist: {}", name.to_display()))
    }

    /// `Mailbox already exists`
    pub fn already_exists() -> Error {
        Error::new(ErrorKind::AlreadyExists, "Mailbox already exists")
    }

    /// Some message is gone.
    pub fn expunged() -> Error {
        Error::new(ErrorKind::Expunged, "Some of the requested messages no longer exist")
    }
}

/// A namespace (RFC 2342).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace {
    /// Whose.
    pub class: NamespaceClass,
    /// What names in it begin with, the separator included.
    pub prefix: String,
}

/// Classes of namespaces, in the order of the NAMESPACE reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamespaceClass {
    /// The user's own.
    Personal,
    /// Other users'.
    Other,
    /// Shared.
    Shared,
}

/// A mailbox that LIST may show. Names between it and the root that are no mailboxes need not be listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: MailboxName,
    /// False: it only holds others (`\Noselect`).
    pub selectable: bool,
    /// What it is for.
    pub special_use: Vec<SpecialUse>,
}

/// Answers to STATUS; what was not asked for may be 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Status {
    /// Messages.
    pub messages: u32,
    /// Of them `\Recent`.
    pub recent: u32,
    /// The UID that comes next.
    pub uid_next: u32,
    /// UIDVALIDITY
    pub uid_validity: u32,
    /// Without `\Seen`.
    pub unseen: u32,
    /// The highest mod-sequence.
    pub highest_modseq: u64,
    /// Octets of all messages.
    pub size: u64,
}

/// A message as its mailbox's index knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message {
    /// UID
    pub uid: u32,
    /// Flags; `\Recent` if this session is the first to see the message.
    pub flags: Flags,
    /// Keywords: bit `n` is the keyword [`Selected::keywords`]`[n]`.
    pub keywords: u64,
    /// Mod-sequence; 1 at least.
    pub modseq: u64,
}

/// Where appended messages ended up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// UIDVALIDITY of the mailbox.
    pub uid_validity: u32,
    /// UIDs in the order of the messages.
    pub uids: UidSet,
}

/// Where copied messages ended up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    /// UIDVALIDITY of the destination.
    pub uid_validity: u32,
    /// UIDs in the source.
    pub from: UidSet,
    /// UIDs in the destination, in the same order.
    pub to: UidSet,
}

/// A change of flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlagChange<'a> {
    /// How.
    pub mode: StoreMode,
    /// Which flags.
    pub flags: Flags,
    /// Which keywords; one that the mailbox does not know yet is made.
    pub keywords: &'a [Keyword],
    /// A message whose mod-sequence is above this is left as it is.
    pub unchanged_since: Option<u64>,
}

/// What became of a change of flags.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stored {
    /// The mod-sequence that every changed message has now; 0 if none changed.
    pub modseq: u64,
    /// Messages left alone because of [`FlagChange::unchanged_since`].
    pub conflicts: Vec<u32>,
}

/// How a mailbox is opened.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Access {
    /// EXAMINE: nothing changes, not even who has seen new messages.
    pub read_only: bool,
    /// Messages that are `\Recent` for this session already, because it goes on after it was parked.
    pub recent: UidSet,
}

/// The mailboxes of one user.
pub trait Mailboxes {
    /// A selected mailbox.
    type Selected: Selected;
    /// Messages on their way into a mailbox.
    type Appending: Appending;

    /// The hierarchy separator.
    fn separator(&self) -> char;

    /// The namespaces, the user's own first.
    fn namespaces(&self) -> &[Namespace];

    /// All mailboxes, in the order in which they are to be listed.
    fn list(&mut self) -> Result<Vec<Listed>, Error>;

    /// Subscribed names, of mailboxes that exist or not.
    fn subscriptions(&mut self) -> Result<Vec<MailboxName>, Error>;

    /// Subscribes, or unsubscribes. To be as asked already is no error.
    fn subscribe(&mut self, name: &MailboxName, subscribed: bool) -> Result<(), Error>;

    /// Whether there is a mailbox of this name that can be selected.
    fn exists(&mut self, name: &MailboxName) -> Result<bool, Error>;

    /// Makes a mailbox.
    fn create(&mut self, name: &MailboxName, special_use: &[SpecialUse]) -> Result<(), Error>;

    /// Deletes a mailbox with its messages. Mailboxes below it stay.
    fn delete(&mut self, name: &MailboxName) -> Result<(), Error>;

    /// Renames a mailbox and all below it.
    fn rename(&mut self, from: &MailboxName, to: &MailboxName) -> Result<(), Error>;

    /// Facts about a mailbox without selecting it.
    fn status(&mut self, name: &MailboxName, items: StatusItems) -> Result<Status, Error>;

    /// Opens a mailbox.
    fn select(&mut self, name: &MailboxName, access: &Access) -> Result<Self::Selected, Error>;

    /// Begins to append to a mailbox.
    fn append(&mut self, name: &MailboxName) -> Result<Self::Appending, Error>;

    /// Copies messages, all or none; with `remove` they are expunged from where they were. UIDs ascend; one
    /// that does not exist any more makes a copy fail with [`ErrorKind::Expunged`].
    fn copy(
        &mut self,
        from: &mut Self::Selected,
        uids: &[u32],
        to: &MailboxName,
        remove: bool,
    ) -> Result<Copied, Error>;
}

/// Messages that are being appended; all or none of them come into being. Dropping it gives up.
pub trait Appending {
    /// A message of that many octets begins.
    fn begin(&mut self, message: &AppendMessage, size: u64) -> Result<(), Error>;

    /// Octets of it, with CRLF line ends as they came.
    fn write(&mut self, octets: &[u8]) -> Result<(), Error>;

    /// Makes all of them durable.
    fn commit(self) -> Result<Appended, Error>;
}

/// A selected mailbox. When it is dropped, it is closed; nothing is expunged.
pub trait Selected {
    /// Text of a message.
    type Content: Content;
    /// A string prepared for searching.
    type Needle;

    /// UIDVALIDITY
    fn uid_validity(&self) -> u32;

    /// The UID that comes next.
    fn uid_next(&self) -> u32;

    /// The highest mod-sequence of the mailbox.
    fn highest_modseq(&self) -> u64;

    /// Keywords in use, 64 at most. One that is here keeps its place while the mailbox is selected.
    fn keywords(&self) -> &[String];

    /// Whether a client can make keywords.
    fn can_create_keywords(&self) -> bool;

    /// All messages, by UID.
    fn messages(&self) -> &[Message];

    /// Brings [`messages`](Self::messages) and [`keywords`](Self::keywords) up to date with what everybody did, this
    /// session included. False if nothing changed since the last call.
    fn sync(&mut self) -> Result<bool, Error>;

    /// Changes flags of messages; UIDs ascend, and those that do not exist any more are passed over.
    fn store(&mut self, uids: &[u32], change: &FlagChange<'_>) -> Result<Stored, Error>;

    /// Removes messages with `\Deleted`: all, or those of the set.
    fn expunge(&mut self, only: Option<&UidSet>) -> Result<(), Error>;

    /// When the message arrived: seconds since 1970 in UTC.
    fn internal_date(&mut self, index: usize) -> Result<i64, Error>;

    /// Its size in octets, lines ending in CRLF.
    fn size(&mut self, index: usize) -> Result<u64, Error>;

    /// Appends the value of ENVELOPE, parentheses included.
    fn envelope(&mut self, index: usize, out: &mut Vec<u8>) -> Result<(), Error>;

    /// Appends the value of BODYSTRUCTURE (`extended`) or BODY.
    fn body_structure(&mut self, index: usize, extended: bool, out: &mut Vec<u8>) -> Result<(), Error>;

    /// A section. One that the message does not have is empty.
    fn content(&mut self, index: usize, section: &Section) -> Result<Self::Content, Error>;

    /// The day of the Date header, time zone disregarded (RFC 3501 section 6.4.4); `None` without a valid one.
    fn sent_day(&mut self, index: usize) -> Result<Option<Day>, Error>;

    /// Prepares a string, once for each command.
    fn needle(&self, text: &str) -> Self::Needle;

    /// Whether the field holds the string: case-insensitively, encodings decoded (RFC 3501 section 6.4.4).
    fn search(&mut self, index: usize, field: &TextField, needle: &Self::Needle) -> Result<bool, Error>;
}

/// Text of a message in its network form: lines end in CRLF.
pub trait Content {
    /// Octets.
    fn len(&self) -> u64;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends octets from `offset` on: one at least, `limit` at most. The caller asks for no more than there are, and
    /// goes on where it stopped.
    fn read(&mut self, offset: u64, limit: usize, out: &mut Vec<u8>) -> Result<(), Error>;
}
