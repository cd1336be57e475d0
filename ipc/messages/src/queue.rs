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

/// To `qmgr`, from `mailctl` (`mailq`, `postqueue`, `postsuper`, `postcat`) and, for users who are not root, from `showq`, which
/// may list and attempt and nothing else.
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

impl QueueRequest {
    /// Whether it leaves every message where it is: all that users who are not root may ask for.
    pub fn is_harmless(&self) -> bool {
        matches!(self, QueueRequest::List | QueueRequest::Flush | QueueRequest::FlushOne(_))
    }
}

/// From `qmgr` to `mailctl` and `showq`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum QueueAnswer {
    /// One message, with its first recipients.
    Message(Listed),
    /// More recipients of that message, when one frame does not hold them all.
    Recipients(Vec<Waiting>),
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
    /// Recipients that are not finished.
    pub recipients: Vec<Waiting>,
    /// Where the content begins in the descriptor (only for `Open`).
    pub offset: u64,
}

/// A recipient that is not finished, with the reason of its last deferral.
pub type Waiting = (String, Option<String>);

impl Listed {
    /// The answers that carry a message: none is larger than a frame, however many recipients there are.
    pub fn into_answers(mut self) -> Vec<QueueAnswer> {
        let mut rest = std::mem::take(&mut self.recipients).into_iter().peekable();
        let mut piece = || -> Vec<Waiting> {
            let mut room = MAX_PIECE - PIECE_SPARE;
            std::iter::from_fn(|| {
                let mut next = rest.next_if(|next| room == MAX_PIECE - PIECE_SPARE || size(next) <= room)?;
                if let Some(reason) = &mut next.1 {
                    reason.truncate(reason.floor_char_boundary(MAX_REASON));
                }
                room = room.saturating_sub(size(&next));
                Some(next)
            })
            .collect()
        };
        self.recipients = piece();
        let more = std::iter::from_fn(|| Some(piece()).filter(|more| !more.is_empty()));
        let more: Vec<QueueAnswer> = more.map(QueueAnswer::Recipients).collect();
        std::iter::once(QueueAnswer::Message(self)).chain(more).collect()
    }
}

/// The most bytes of a reason in a list.
const MAX_REASON: usize = 8 * 1024;
/// Room in a piece for what stands beside the recipients: a sender of the greatest length, numbers.
const PIECE_SPARE: usize = 8 * 1024;

/// Bytes of a recipient in a frame, at most: the texts and their lengths.
fn size((address, reason): &Waiting) -> usize {
    address.len() + reason.as_ref().map_or(0, String::len) + 16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_with_many_recipients_takes_several_frames() {
        let recipient = |n: usize| (format!("user{n}@example.org"), Some("x".repeat(n * 7)));
        let recipients: Vec<Waiting> = (0..3_000).map(recipient).collect();
        let listed = Listed {
            queue: "deferred".into(),
            queue_id: "6835060".parse().unwrap(),
            arrival: 1,
            size: 1,
            sender: "s".repeat(1_000),
            recipients: recipients.clone(),
            offset: 0,
        };
        let mut seen = Vec::new();
        for answer in listed.into_answers() {
            assert!(postcard::to_stdvec(&answer).unwrap().len() <= MAX_PIECE);
            match answer {
                QueueAnswer::Message(message) => seen.extend(message.recipients),
                QueueAnswer::Recipients(more) => seen.extend(more),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(seen.len(), recipients.len());
        for (seen, sent) in seen.into_iter().zip(recipients) {
            let reason = sent.1.unwrap();
            assert_eq!(seen, (sent.0, Some(reason[..reason.len().min(MAX_REASON)].to_owned())));
        }
    }
}
