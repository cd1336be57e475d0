//! What can go wrong, by step and object. A caller asks [`Error::kind`] what to tell its peer; the text is for the log.

use std::{fmt, io, sync::Arc};

/// What a caller does about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// No space or quota left on the file system (`452 4.2.2`, `NO [OVERQUOTA]`): try again later.
    NoSpace,
    /// Another environment failure, read-only file systems included (`451 4.2.0`, `NO [SERVERBUG]`): try again later.
    Temporary,
    /// Another program holds a lock (`NO [INUSE]`).
    InUse,
    /// No such mailbox (`NO [NONEXISTENT]`, `550 5.1.1` where it was named by a recipient).
    NotFound,
    /// It exists already (`NO [ALREADYEXISTS]`).
    AlreadyExists,
    /// The name or the request is not possible here (`NO [CANNOT]`).
    Cannot,
    /// A bound of the format was reached (`NO [LIMIT]`).
    Limit,
    /// The message is gone (`NO [EXPUNGEISSUED]`).
    Expunged,
}

/// An error with the step that failed and the object it failed on. A failed batch gives it to each of its parts.
#[derive(Debug, Clone)]
pub enum Error {
    /// A system call failed.
    Io { step: &'static str, object: String, source: Arc<io::Error> },
    /// A lock was held by another program for longer than [`crate::maildir::dotlock::TIMEOUT`].
    Locked { object: String },
    /// No such mailbox.
    NoMailbox { name: String },
    /// The mailbox exists already.
    Exists { name: String },
    /// The name is not possible in this format.
    BadName { name: String, reason: &'static str },
    /// The request is not possible, whatever the name.
    Refused { reason: &'static str },
    /// The mailbox has no letter left for another keyword.
    TooManyKeywords,
    /// The message was expunged by somebody else.
    Expunged { uid: u32 },
    /// A file has content that cannot be used, and nothing else holds what it held.
    Corrupt { object: String, reason: &'static str },
}

/// The crate's result.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// What the caller does about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Kind::NoSpace,
                _ => Kind::Temporary,
            },
            Self::Corrupt { .. } => Kind::Temporary,
            Self::Locked { .. } => Kind::InUse,
            Self::NoMailbox { .. } => Kind::NotFound,
            Self::Exists { .. } => Kind::AlreadyExists,
            Self::BadName { .. } | Self::Refused { .. } => Kind::Cannot,
            Self::TooManyKeywords => Kind::Limit,
            Self::Expunged { .. } => Kind::Expunged,
        }
    }

    /// Whether the same request may succeed later without anybody changing it.
    pub fn is_temporary(&self) -> bool {
        matches!(self.kind(), Kind::NoSpace | Kind::Temporary | Kind::InUse)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { step, object, source } => write!(f, "{step}({object}) failed: {source}"),
            Self::Locked { object } => write!(f, "{object}: timeout while waiting for the lock"),
            Self::NoMailbox { name } => write!(f, "Mailbox doesn't exist: {name}"),
            Self::Exists { name } => write!(f, "Mailbox already exists: {name}"),
            Self::BadName { name, reason } => write!(f, "Invalid mailbox name {name:?}: {reason}"),
            Self::Refused { reason } => f.write_str(reason),
            Self::TooManyKeywords => f.write_str("Too many keywords in this mailbox"),
            Self::Expunged { uid } => write!(f, "Message with UID {uid} no longer exists"),
            Self::Corrupt { object, reason } => write!(f, "{object}: {reason}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(&**source),
            _ => None,
        }
    }
}

/// Names the step and the object of an [`io::Error`].
pub(crate) trait At<T> {
    fn at(self, step: &'static str, object: &[u8]) -> Result<T>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, step: &'static str, object: &[u8]) -> Result<T> {
        self.map_err(|source| {
            let object = String::from_utf8_lossy(object).into_owned();
            Error::Io { step, object, source: Arc::new(source) }
        })
    }
}

/// `None` where the object does not exist.
pub(crate) trait Maybe<T> {
    fn maybe(self) -> io::Result<Option<T>>;
}

impl<T> Maybe<T> for io::Result<T> {
    fn maybe(self) -> io::Result<Option<T>> {
        match self {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}
