//! From `qmgr` to `bounce`: what is to be told to the sender of a message. `bounce` answers once its notification is on
//! stable storage, and only then may `qmgr` call the recipients finished.
//!
//! A request is [`ToBounce::Begin`] with the descriptor of the message, as many [`ToBounce::Recipients`] as it takes, and
//! [`ToBounce::Commit`]; several may be under way. A request whose channel is lost before it was answered is made again:
//! a notification may then be sent twice, it is never lost.

use serde::{Deserialize, Serialize};

use crate::delivery::Outcome;
use crate::queue_id::QueueId;

/// The most bytes of text (addresses, replies) in the recipients of one [`ToBounce::Recipients`]: a frame takes 64 KiB.
pub const MAX_PIECE: usize = 48 * 1024;

/// What a notification is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// Recipients that will never get the message.
    Failure,
    /// Recipients that have not got it for `delay_warning_time`. Microseconds since 1970 until which it is tried.
    Delay {
        /// `Will-Retry-Until`.
        retry_until: u64,
    },
    /// Recipients that were delivered to and asked to hear of it (`NOTIFY=SUCCESS`).
    Success,
}

/// The message that the notification is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Original {
    /// Its name.
    pub queue_id: QueueId,
    /// Its envelope sender; empty for the null sender.
    pub sender: String,
    /// Microseconds since 1970 at which it arrived.
    pub arrived: u64,
    /// Where its content begins in the descriptor.
    pub offset: u64,
    /// Bytes of its content.
    pub size: u64,
    /// `BODY=8BITMIME`.
    pub eight_bit: bool,
    /// `SMTPUTF8`.
    pub smtputf8: bool,
    /// `ENVID`, in xtext as it was received.
    pub dsn_envid: Option<String>,
    /// `RET`: 0 not given, 1 full, 2 headers.
    pub dsn_ret: u8,
}

/// What became of one of its recipients.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The address that was delivered to.
    pub address: String,
    /// The address that the client gave, when it differs.
    pub original: Option<String>,
    /// `ORCPT`, as given.
    pub dsn_orcpt: Option<String>,
    /// `NOTIFY` as in [`crate::delivery::Target`].
    pub dsn_notify: u8,
    /// As the delivery agent told it.
    pub outcome: Outcome,
}

/// To `bounce`. `id` is chosen by the sender and free again with the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToBounce {
    /// A notification begins. The descriptor of the message comes with this frame.
    Begin {
        /// Names the request on this channel.
        id: u32,
        /// What it is about.
        kind: Kind,
        /// The message.
        original: Box<Original>,
    },
    /// More recipients to tell of.
    Recipients {
        /// The request.
        id: u32,
        /// At most [`MAX_PIECE`] bytes of text.
        reports: Vec<Report>,
    },
    /// All recipients are told. Answered by [`FromBounce`].
    Commit {
        /// The request.
        id: u32,
    },
}

/// From `bounce`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromBounce {
    /// The recipients need no more telling: the notification is on stable storage under this name, or none is due (the
    /// null sender gets none, `NOTIFY` may forbid it).
    Told {
        /// The request.
        id: u32,
        /// The notification.
        notification: Option<QueueId>,
    },
    /// It could not be queued; to be asked again later, the recipients stay deferred.
    Failed {
        /// The request.
        id: u32,
        /// Why, for the log.
        reason: String,
    },
}
