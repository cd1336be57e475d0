//! One client and its transaction.

use std::net::SocketAddr;
use std::time::Instant;

use proto_smtp::reply::Reply;
use proto_smtp::server::{Answer, Session};

use crate::content::Content;
use crate::recipient::{Candidate, Recipient};

/// A client.
pub struct Client {
    /// Its dialogue.
    pub session: Session,
    /// Its address, for the log.
    pub label: String,
    /// Where it is, if it came over the network.
    pub remote: Option<SocketAddr>,
    /// Our own delivery agent is at the other end, whose queue holds the mail until it is answered.
    pub queued: bool,
    /// The transaction's name in the log and in `Received`.
    pub id: String,
    /// `MAIL FROM`.
    pub sender: String,
    /// When it came.
    pub began: Instant,
    /// Recipients that were named, accepted or not.
    pub named: usize,
    /// Those that were accepted.
    pub recipients: Vec<Recipient>,
    /// What the session waits for.
    pub asked: Option<Asked>,
    /// The message.
    pub content: Option<Content>,
}

/// What a session waits for.
pub enum Asked {
    /// `auth`, about this recipient.
    Rcpt(Candidate),
    /// The processes that file; `open` of the recipients have no reply yet.
    Filing {
        /// By position among the recipients.
        replies: Vec<Option<Reply>>,
        /// Recipients without a reply.
        open: usize,
    },
}

impl Client {
    /// Forgets the transaction.
    pub fn reset(&mut self) {
        self.sender.clear();
        self.named = 0;
        self.recipients.clear();
        self.content = None;
    }

    /// One recipient's reply has come. Returns whether that was the last one, and tells the session if so.
    pub fn replied(&mut self, position: usize, reply: Reply) -> bool {
        if let Some(Asked::Filing { replies, open }) = &mut self.asked
            && let Some(place) = replies.get_mut(position)
            && place.replace(reply).is_none()
        {
            *open -= 1;
        }
        self.finish()
    }

    /// Answers the session when every recipient has its reply; returns whether it did.
    pub fn finish(&mut self) -> bool {
        let Some(Asked::Filing { replies, open: 0 }) = &mut self.asked else { return false };
        let replies = std::mem::take(replies).into_iter().flatten().collect();
        self.asked = None;
        self.session.answer(Answer::Delivered(replies));
        true
    }
}
