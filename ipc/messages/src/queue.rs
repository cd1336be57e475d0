//! Between `cleanup`, which commits messages, and `qmgr`, which knows what becomes of them.
//!
//! `cleanup` tells of a message once it is on stable storage; `qmgr` tells when its record is not needed any more, or when it
//! needs a queue file of its own. After either process was replaced, `cleanup` tells again of everything that the journal
//! still holds; `qmgr` knows a message by its queue ID and takes it once. While there is no `qmgr`, `cleanup` gives queue
//! files to what grows old; while there is one, only on its order, so that none appears behind its back.

use serde::{Deserialize, Serialize};

use crate::queue_id::QueueId;

/// The most bytes of an encoded envelope in one frame.
pub const MAX_PIECE: usize = 60 * 1024;
/// Messages in the journal above which no more are committed: each may be a memory file of `qmgr`.
pub const MAX_LIVE: usize = 4096;

/// Queue folders: where a queue file lies says what is to become of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Place {
    /// Just arrived, or to be tried at once.
    Incoming,
    /// Waits for its next attempt.
    Deferred,
    /// Waits for an administrator.
    Hold,
    /// Cannot be read.
    Corrupt,
}

/// From `cleanup`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToQmgr {
    /// A message is on stable storage, in the journal. Its content comes with this frame as a sealed memory file; mail that
    /// has a queue file (which `qmgr` opens by itself) comes without a descriptor, and without an envelope.
    New {
        /// Its name.
        queue_id: QueueId,
        /// The sequence number of its journal record: when the message is removed, the outcome log says which one it was.
        sequence: u64,
        /// Whether the record stands for a queue file in `incoming/`, or wherever `qmgr` has moved it since.
        in_file: bool,
        /// The first piece of the encoded envelope.
        #[serde(with = "serde_bytes")]
        envelope: Vec<u8>,
        /// Whether [`ToQmgr::More`] follows.
        more: bool,
    },
    /// The next piece of the envelope of the message that was begun last.
    More {
        /// At most [`MAX_PIECE`] bytes.
        #[serde(with = "serde_bytes")]
        envelope: Vec<u8>,
        /// Whether another one follows.
        more: bool,
    },
    /// The message has a queue file now, synced; or why it has none yet (it stays in the journal).
    Spilled {
        /// The message.
        queue_id: QueueId,
        /// The folder, or what the system said.
        result: Result<Place, String>,
    },
    /// All that the journal held when this channel came up has been told.
    Replayed,
    /// No record below this sequence number can be replayed after a crash any more: the outcome log may forget them.
    Freed {
        /// The journal's freed point.
        sequence: u64,
    },
}

/// To `cleanup`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromQmgr {
    /// The message needs a queue file of its own, in this folder.
    Spill {
        /// The message.
        queue_id: QueueId,
        /// Where.
        place: Place,
    },
    /// The journal record is not needed any more: every recipient is finished and the outcome log says so on stable storage, or
    /// recovery found the message in its queue file.
    Done {
        /// The message.
        queue_id: QueueId,
    },
}

/// To `qmgr`, from `mailctl` (`mailq`, `postqueue`, `postsuper`, `postcat`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum QueueRequest {
    /// Every message. Answered by [`QueueAnswer::Message`]s.
    List,
    /// Attempt everything that is deferred now (`postqueue -f`).
    Flush,
    /// Attempt this message now (`postqueue -i`).
    FlushOne(QueueId),
    /// Delete (`postsuper -d`); all with `None`.
    Delete(Option<QueueId>),
    /// Hold (`postsuper -h`).
    Hold(Option<QueueId>),
    /// Release from hold (`postsuper -H`).
    Release(Option<QueueId>),
    /// Put back as if it had just arrived (`postsuper -r`).
    Requeue(Option<QueueId>),
    /// The content of one message; its descriptor comes with [`QueueAnswer::Message`] (`postcat -q`).
    Open(QueueId),
}

/// From `qmgr` to `mailctl`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum QueueAnswer {
    /// One message.
    Message(Listed),
    /// So many messages were changed; no more comes.
    End {
        /// How many.
        count: u32,
    },
    /// It could not be done.
    Failed(String),
}

/// A message as `mailq` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// `incoming`, `active`, `deferred`, `hold`, `corrupt`: Postfix's queue names.
    pub queue: String,
    /// Its name.
    pub queue_id: QueueId,
    /// Seconds since 1970 of its arrival.
    pub arrival: u64,
    /// Bytes of its content.
    pub size: u64,
    /// The sender; empty for the null sender.
    pub sender: String,
    /// Recipients that are not finished, each with the reason of its last deferral.
    pub recipients: Vec<(String, Option<String>)>,
    /// Where the content begins in the descriptor (only for `Open`).
    pub offset: u64,
}
