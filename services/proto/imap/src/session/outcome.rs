//! How commands end.

use std::borrow::Cow;

use crate::command::Refusal;
use crate::mailbox::{self, ErrorKind};

/// A command that needs a selected mailbox, without one.
pub(super) const NO_MAILBOX: Failure = Failure::Bad("No mailbox selected");

/// Why a command failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// `BAD Error in IMAP command NAME: …`
    Syntax(Cow<'static, str>),
    /// `BAD …`
    Bad(&'static str),
    /// `NO …`
    No(Cow<'static, str>),
    /// The session ends with `* BYE …`.
    Bye(&'static str),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Failure {
        match refusal {
            Refusal::Bad(text) => Failure::Syntax(text),
            Refusal::No(text) => Failure::No(text),
        }
    }
}

impl From<mailbox::Error> for Failure {
    fn from(error: mailbox::Error) -> Failure {
        let code = match error.kind {
            ErrorKind::Lost => return Failure::Bye("Selected mailbox was deleted, have to disconnect."),
            ErrorKind::NotFound => return Failure::No(error.text.into()),
            ErrorKind::AlreadyExists => "ALREADYEXISTS",
            ErrorKind::Cannot => "CANNOT",
            ErrorKind::NoPermission => "NOPERM",
            ErrorKind::OverQuota => "OVERQUOTA",
            ErrorKind::Limit => "LIMIT",
            ErrorKind::InUse => "INUSE",
            ErrorKind::Expunged => "EXPUNGEISSUED",
            ErrorKind::Internal => "SERVERBUG",
        };
        Failure::No(format!("[{code}] {}", error.text).into())
    }
}

impl Failure {
    /// A failure in which a missing mailbox has a response code of its own.
    pub fn with_missing(error: mailbox::Error, code: &str) -> Failure {
        match error.kind {
            ErrorKind::NotFound => Failure::No(format!("[{code}] {}", error.text).into()),
            _ => error.into(),
        }
    }
}

/// What is left to do when a command has been carried out.
pub(super) enum Done {
    /// Tell the news, then say this. A status and a text, `OK Store completed`.
    Sync { text: Cow<'static, str>, expunges: bool, uid: bool },
    /// Say this.
    Plain(Cow<'static, str>),
    /// Say the first, then `* BYE` and the second.
    Bye(&'static str, &'static str),
    /// It goes on, or has said all.
    Later,
}

impl Done {
    /// News of every kind, then `text`.
    pub fn news(text: impl Into<Cow<'static, str>>) -> Done {
        Done::Sync { text: text.into(), expunges: true, uid: false }
    }
}
