//! What passes between a session and its caller: actions out, questions out, answers in.

use std::time::Duration;

use crate::{
    address::Address,
    params::{MailParameters, RcptParameters},
    reply::Reply,
};

/// What the caller has to do, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send these bytes to the client.
    Send(Vec<u8>),
    /// Decide, and call [`Session::answer`](super::Session::answer); the session waits.
    Ask(Question),
    /// A piece of the message of the open transaction: lines that end in LF.
    Body(Vec<u8>),
    /// The open transaction is over without a message: forget its recipients and its content.
    Abandon,
    /// Wait before the next action, then call [`Session::resume`](super::Session::resume): the client makes errors.
    Delay(Duration),
    /// Start TLS on the connection, then call [`Session::tls_started`](super::Session::tls_started). Bytes that came
    /// before are forgotten.
    StartTls,
    /// Write this line to the log.
    Log(Level, String),
    /// Close the connection; nothing follows.
    Close,
}

/// How a log line is marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Info,
    Warning,
}

/// A decision that the session needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// May this client talk to us at all?
    Connect,
    /// HELO, EHLO or LHLO with this name.
    Helo { name: String, extended: bool },
    /// MAIL: `None` is the null sender.
    Mail { sender: Option<Address>, parameters: MailParameters },
    /// RCPT. `written` is the address as the client wrote it, without brackets, for ORCPT and the log.
    Rcpt { recipient: Address, written: String, parameters: RcptParameters },
    /// DATA or the first BDAT: open the message.
    Data,
    /// The content is complete: make it durable. `size` is in bytes, with CRLF.
    EndOfMessage { size: u64 },
    /// VRFY of this address.
    Vrfy(Address),
    /// ETRN for this domain.
    Etrn(String),
    /// AUTH with a mechanism we offer; the initial response is decoded.
    AuthStart { mechanism: String, initial: Option<Vec<u8>> },
    /// The client's next response, decoded.
    AuthContinue(Vec<u8>),
    /// The client gave up or sent nonsense: drop the exchange. Any answer will do.
    AuthAbort,
    /// STARTTLS: is TLS to be had?
    StartTls,
    /// XCLIENT of a trusted LMTP client: `(name, value)` pairs.
    Xclient(Vec<(String, String)>),
}

/// A decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Yes, with the standard reply.
    Accept,
    /// This reply: a positive one accepts, any other refuses, 421 and 521 end the session.
    Reply(Reply),
    /// To [`Question::EndOfMessage`] of SMTP: the message is safe under this queue ID.
    Queued(String),
    /// To [`Question::EndOfMessage`] of LMTP: one reply for each recipient, in the order of the RCPT commands.
    Delivered(Vec<Reply>),
    /// To the AUTH questions: send this challenge.
    Challenge(Vec<u8>),
    /// To the AUTH questions: the client is this user.
    Authenticated(String),
    /// To the AUTH questions: no.
    AuthFailed { reason: String, user: Option<String> },
    /// To the AUTH questions: cannot say now.
    AuthUnavailable { reason: String, user: Option<String> },
}
