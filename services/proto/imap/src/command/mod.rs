//! Typed commands of an authenticated session.
//!
//! [`parse`] turns a whole framed command into a [`Command`] that cannot hold an invalid value, or into the reply
//! that refuses it, in Dovecot's words. The grammar stands above each parser; arguments that a command does not have are
//! ignored where Dovecot ignores them.

mod append;
mod fetch;
mod list;
mod search;
mod store;

use std::borrow::Cow;

pub use append::{AppendMessage, AppendPart, parse_append};
pub use fetch::{BodyFetch, Fetch, FetchItem, Label, Section, SectionText};
pub use list::{ListCommand, ListReturn, ListSelect, SpecialUse};
pub use search::{DateField, ReturnOptions, Search, SearchKey, TextField, TextKey};
pub use store::{Store, StoreMode};

use crate::name::{MailboxName, NameError, Pattern};
use crate::sequence::SequenceSet;
use crate::token::{self, Arg, Args, Line};

/// A command after login.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    /// CAPABILITY
    Capability,
    /// NOOP
    Noop,
    /// CHECK
    Check,
    /// LOGOUT
    Logout,
    /// ID
    Id,
    /// ENABLE, of which CONDSTORE alone is known.
    Enable {
        /// Whether CONDSTORE is among the names.
        condstore: bool,
    },
    /// NAMESPACE
    Namespace,
    /// IDLE
    Idle,
    /// SELECT or EXAMINE
    Select {
        /// Which.
        mailbox: MailboxName,
        /// EXAMINE
        read_only: bool,
        /// `(CONDSTORE)`
        condstore: bool,
    },
    /// CLOSE
    Close,
    /// UNSELECT
    Unselect,
    /// CREATE
    Create {
        /// Which.
        mailbox: MailboxName,
        /// `(USE (…))`
        special_use: Vec<SpecialUse>,
    },
    /// DELETE
    Delete(MailboxName),
    /// RENAME
    Rename {
        /// The name that is.
        from: MailboxName,
        /// The name that shall be.
        to: MailboxName,
    },
    /// SUBSCRIBE
    Subscribe(MailboxName),
    /// UNSUBSCRIBE
    Unsubscribe(MailboxName),
    /// LIST
    List(ListCommand),
    /// LSUB
    Lsub(Pattern),
    /// STATUS
    Status {
        /// The name as it was written, which is how it is answered.
        written: Vec<u8>,
        /// Which.
        mailbox: MailboxName,
        /// What.
        items: StatusItems,
    },
    /// EXPUNGE, or UID EXPUNGE with its set.
    Expunge(Option<MessageSet>),
    /// SEARCH or UID SEARCH
    Search(Search),
    /// FETCH or UID FETCH
    Fetch(Fetch),
    /// STORE or UID STORE
    Store(Store),
    /// COPY, MOVE and their UID forms
    Copy {
        /// What.
        set: MessageSet,
        /// Numbers are UIDs.
        uid: bool,
        /// Where to.
        mailbox: MailboxName,
        /// MOVE
        remove: bool,
    },
}

/// Messages that a command names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MessageSet {
    /// Sequence numbers or UIDs, as the command says.
    Numbers(SequenceSet),
    /// `$`: the saved search result (RFC 5182).
    Saved,
}

impl MessageSet {
    /// ```text
    /// sequence-set =/ seq-last-command
    /// seq-last-command = "$"
    /// ```
    ///
    /// RFC 5182 section 5.
    fn parse(text: &[u8]) -> Option<MessageSet> {
        if text == b"$" {
            return Some(MessageSet::Saved);
        }
        SequenceSet::parse(text).map(MessageSet::Numbers)
    }
}

/// What STATUS asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StatusItems {
    /// MESSAGES
    pub messages: bool,
    /// RECENT
    pub recent: bool,
    /// UIDNEXT
    pub uid_next: bool,
    /// UIDVALIDITY
    pub uid_validity: bool,
    /// UNSEEN
    pub unseen: bool,
    /// HIGHESTMODSEQ
    pub highest_modseq: bool,
    /// SIZE (RFC 8438)
    pub size: bool,
}

/// Why a command is not carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// `BAD Error in IMAP command NAME: …`
    Bad(Cow<'static, str>),
    /// `NO …`, a response code included.
    No(Cow<'static, str>),
}

impl Refusal {
    /// `BAD` with a fixed text.
    pub const fn bad(text: &'static str) -> Refusal {
        Refusal::Bad(Cow::Borrowed(text))
    }

    /// `NO` with a fixed text.
    pub const fn no(text: &'static str) -> Refusal {
        Refusal::No(Cow::Borrowed(text))
    }
}

impl From<NameError> for Refusal {
    fn from(error: NameError) -> Refusal {
        match error {
            NameError::Encoding => Refusal::no("Mailbox name is not valid mUTF-7"),
            NameError::Length => Refusal::no("[CANNOT] Mailbox name too long"),
        }
    }
}

impl From<token::TokenError> for Refusal {
    fn from(error: token::TokenError) -> Refusal {
        Refusal::bad(error.0)
    }
}

const INVALID_ARGUMENTS: Refusal = Refusal::bad("Invalid arguments");
const MISSING_ARGUMENTS: Refusal = Refusal::bad("Missing arguments");
const INVALID_MESSAGESET: Refusal = Refusal::bad("Invalid messageset");
const NON_ATOMS: Refusal = Refusal::bad("Flags list contains non-atoms");

/// The name under which replies mention a command: capitals, `UID` and the next word together.
pub fn display_name(line: &Line<'_>) -> Option<String> {
    let name = token::upper(line.name?);
    if name != "UID" {
        return Some(name);
    }
    let (next, _) = token::word(line.rest);
    let valid = !next.is_empty() && next.iter().all(|byte| token::is_astring_char(*byte));
    valid.then(|| format!("UID {}", token::upper(next)))
}

/// Parses a command, not APPEND, which comes in [parts](parse_append). `name` is its [`display_name`].
///
/// ```text
/// command-auth   = append / create / delete / examine / list / lsub / rename / select / status / subscribe / unsubscribe
/// command-select = "CHECK" / "CLOSE" / "EXPUNGE" / copy / fetch / store / uid / search
/// command-any    = "CAPABILITY" / "LOGOUT" / "NOOP"
/// ```
///
/// RFC 3501 section 9.
pub fn parse(name: &str, rest: &[u8]) -> Result<Command, Refusal> {
    let (name, rest, uid) = match name.strip_prefix("UID ") {
        Some(name) => (name, token::word(rest).1, true),
        None => (name, rest, false),
    };
    let with_uid = matches!(name, "FETCH" | "STORE" | "SEARCH" | "COPY" | "MOVE" | "EXPUNGE");
    if uid && !with_uid {
        return Err(Refusal::bad("Unknown command"));
    }
    let arguments = token::arguments(rest);
    let simple = match name {
        "CAPABILITY" => Some(Command::Capability),
        "NOOP" => Some(Command::Noop),
        "CHECK" => Some(Command::Check),
        "LOGOUT" => Some(Command::Logout),
        "NAMESPACE" => Some(Command::Namespace),
        "IDLE" => Some(Command::Idle),
        "CLOSE" => Some(Command::Close),
        "UNSELECT" => Some(Command::Unselect),
        "ID" => Some(Command::Id),
        "EXPUNGE" if !uid => Some(Command::Expunge(None)),
        _ => None,
    };
    let arguments = arguments?;
    if let Some(command) = simple {
        return Ok(command);
    }
    let mut args = Args::new(&arguments);
    match name {
        "ENABLE" => enable(&mut args),
        "SELECT" => select(&mut args, false),
        "EXAMINE" => select(&mut args, true),
        "CREATE" => list::create(&mut args),
        "DELETE" => Ok(Command::Delete(mailbox(&mut args)?)),
        "RENAME" => Ok(Command::Rename { from: mailbox(&mut args)?, to: mailbox(&mut args)? }),
        "SUBSCRIBE" => Ok(Command::Subscribe(mailbox(&mut args)?)),
        "UNSUBSCRIBE" => Ok(Command::Unsubscribe(mailbox(&mut args)?)),
        "LIST" => list::list(&mut args),
        "LSUB" => list::lsub(&mut args),
        "STATUS" => status(&mut args),
        "EXPUNGE" => Ok(Command::Expunge(Some(message_set(&mut args, &MISSING_ARGUMENTS)?))),
        "COPY" | "MOVE" => copy(&mut args, uid, name == "MOVE"),
        "FETCH" => fetch::fetch(&mut args, uid),
        "STORE" => store::store(&mut args, uid),
        "SEARCH" => search::search(&mut args, uid),
        _ => Err(Refusal::bad("Unknown command")),
    }
}

/// A mailbox name; one that is missing is not the same as one that is wrong.
fn mailbox(args: &mut Args<'_, '_>) -> Result<MailboxName, Refusal> {
    match args.peek() {
        None => Err(MISSING_ARGUMENTS),
        Some(_) => Ok(MailboxName::parse(args.astring().ok_or(INVALID_ARGUMENTS)?)?),
    }
}

/// A message set that has to be an atom; `missing` is said when there is none.
fn message_set(args: &mut Args<'_, '_>, missing: &Refusal) -> Result<MessageSet, Refusal> {
    match args.peek() {
        None => Err(missing.clone()),
        Some(Arg::Atom(text)) => {
            args.atom();
            MessageSet::parse(text).ok_or(INVALID_MESSAGESET)
        }
        Some(_) => Err(INVALID_ARGUMENTS),
    }
}

/// ```text
/// enable = "ENABLE" 1*(SP capability)
/// ```
///
/// RFC 5161 section 4: unknown names are ignored.
fn enable(args: &mut Args<'_, '_>) -> Result<Command, Refusal> {
    let mut condstore = false;
    while !args.is_empty() {
        let name = args.atom().ok_or(INVALID_ARGUMENTS)?;
        condstore |= name.eq_ignore_ascii_case(b"CONDSTORE");
    }
    Ok(Command::Enable { condstore })
}

/// ```text
/// select       = ("SELECT" / "EXAMINE") SP mailbox [select-params]
/// select-params = SP "(" select-param *(SP select-param) ")"
/// condstore-param = "CONDSTORE"
/// ```
///
/// RFC 4466 section 3, RFC 7162 section 7.
fn select(args: &mut Args<'_, '_>, read_only: bool) -> Result<Command, Refusal> {
    if args.is_empty() {
        return Err(INVALID_ARGUMENTS);
    }
    let mailbox = mailbox(args)?;
    let mut condstore = false;
    if let Some(mut params) = args.list() {
        while !params.is_empty() {
            if !params.keyword("CONDSTORE") {
                return Err(Refusal::bad("Unknown FETCH modifier"));
            }
            condstore = true;
        }
    }
    Ok(Command::Select { mailbox, read_only, condstore })
}

/// ```text
/// status = "STATUS" SP mailbox SP "(" status-att *(SP status-att) ")"
/// ```
fn status(args: &mut Args<'_, '_>) -> Result<Command, Refusal> {
    let Some(Arg::Atom(_) | Arg::String(_)) = args.peek() else {
        return Err(MISSING_ARGUMENTS);
    };
    let written = args.astring().ok_or(INVALID_ARGUMENTS)?.to_vec();
    let mailbox = MailboxName::parse(&written)?;
    let mut list = args.list().ok_or(INVALID_ARGUMENTS)?;
    Ok(Command::Status { written, mailbox, items: status_items(&mut list)? })
}

/// ```text
/// status-att = "MESSAGES" / "RECENT" / "UIDNEXT" / "UIDVALIDITY" / "UNSEEN" / "HIGHESTMODSEQ" / "SIZE"
/// ```
///
/// RFC 3501, RFC 7162, RFC 8438.
fn status_items(list: &mut Args<'_, '_>) -> Result<StatusItems, Refusal> {
    if list.is_empty() {
        return Err(Refusal::bad("Empty status list"));
    }
    let mut items = StatusItems::default();
    while !list.is_empty() {
        let name = token::upper(list.atom().ok_or(Refusal::bad("Status list contains non-atoms"))?);
        let item = match name.as_str() {
            "MESSAGES" => &mut items.messages,
            "RECENT" => &mut items.recent,
            "UIDNEXT" => &mut items.uid_next,
            "UIDVALIDITY" => &mut items.uid_validity,
            "UNSEEN" => &mut items.unseen,
            "HIGHESTMODSEQ" => &mut items.highest_modseq,
            "SIZE" => &mut items.size,
            _ => return Err(Refusal::Bad(format!("Invalid status item {name}").into())),
        };
        *item = true;
    }
    Ok(items)
}

/// ```text
/// copy = "COPY" SP sequence-set SP mailbox
/// move = "MOVE" SP sequence-set SP mailbox
/// ```
///
/// RFC 3501, RFC 6851.
fn copy(args: &mut Args<'_, '_>, uid: bool, remove: bool) -> Result<Command, Refusal> {
    let set = match args.peek() {
        None => return Err(MISSING_ARGUMENTS),
        // The name is looked for first: without it nothing else matters.
        Some(_) => args.astring(),
    };
    let mailbox = mailbox(args)?;
    let set = MessageSet::parse(set.ok_or(INVALID_ARGUMENTS)?).ok_or(INVALID_MESSAGESET)?;
    Ok(Command::Copy { set, uid, mailbox, remove })
}
