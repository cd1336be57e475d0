//! Mail on its way into the queue: from `smtpd`, `bounce` or `pickup` to `cleanup`. Several messages share a channel; `id`
//! names one of them, chosen by the sender and free again after [`FromCleanup::Queued`], [`FromCleanup::Refused`] or
//! [`ToCleanup::Abort`].
//!
//! The queue ID is chosen by the sender from the block of numbers that `cleanup` gave it, so that it can be logged before the
//! message is complete. Bodies are paced by credit: a sender has sent no more body bytes than it was given credit for
//! ([`INITIAL_CREDIT`] to begin with, for each message).

use serde::{Deserialize, Serialize};

use crate::envelope::{Envelope, Recipient};
use crate::queue_id::Ids;

/// Body bytes that may be sent before the first [`FromCleanup::Credit`].
pub const INITIAL_CREDIT: u64 = 256 * 1024;
/// The most body bytes in one frame.
pub const MAX_PIECE: usize = 60 * 1024;

/// To `cleanup`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToCleanup {
    /// More numbers for queue IDs are needed. Answered by [`FromCleanup::Ids`]; the first block comes unasked.
    MoreIds,
    /// A message begins. `recipients` and `size` of the envelope are empty.
    Begin {
        /// Names the message on this channel.
        id: u32,
        /// All that is known but the recipients.
        envelope: Box<Envelope>,
    },
    /// One more recipient.
    Recipient {
        /// The message.
        id: u32,
        /// As the client gave it; `address` is what it is rewritten from.
        recipient: Recipient,
    },
    /// The next piece of the content: header and body with LF line ends, dot-stuffing undone.
    Body {
        /// The message.
        id: u32,
        /// At most [`MAX_PIECE`] bytes.
        #[serde(with = "serde_bytes")]
        bytes: Vec<u8>,
    },
    /// The content is complete. Answered by `Queued` or `Refused`.
    Commit {
        /// The message.
        id: u32,
    },
    /// The message is not to be.
    Abort {
        /// The message.
        id: u32,
    },
}

/// From `cleanup`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromCleanup {
    /// Numbers for queue IDs, and their style (`enable_long_queue_ids`).
    Ids {
        /// The block.
        ids: Ids,
        /// Long style.
        long: bool,
    },
    /// So many more body bytes may be sent.
    Credit {
        /// The message.
        id: u32,
        /// Bytes.
        bytes: u64,
    },
    /// The message is on stable storage: only now may a client hear `250`.
    Queued {
        /// The message.
        id: u32,
    },
    /// The message was not taken. May come before `Commit`; what is sent after it is dropped.
    Refused {
        /// The message.
        id: u32,
        /// The reply for the client without the final text's queue ID, e.g. `452 4.3.1 Insufficient system storage` or
        /// `451 4.3.0 Error: queue file write error`.
        reply: String,
    },
}
