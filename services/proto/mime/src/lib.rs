//! MIME: the structure of a message, its header fields, and searching in it. Pure: bytes in, values out.
//!
//! What IMAP clients see of a message is written here exactly as Dovecot 2.3 writes it: `ENVELOPE`
//! ([`envelope::Envelope`]), `BODY` and `BODYSTRUCTURE` ([`bodystructure`]), sections and partial ranges ([`section`]).
//! Clients keep these answers for years, and a mailbox that changes servers must not change them.
//!
//! Invariants:
//! - Everything is linear in the size of the message, and what is kept of it is bounded by [`limits`]. A message is the
//!   work of an enemy: no input panics, nests without end, or makes a small message into a large answer.
//! - Sizes are those of the message with CRLF line ends, whatever is on the disk ([`part::Position`]).
//! - Nothing here knows a file, a socket, a clock or the IMAP grammar of requests.

pub mod address;
pub mod bodystructure;
pub mod charset;
mod content;
pub mod date;
pub mod downgrade;
pub mod encoded_word;
pub mod envelope;
pub mod field;
pub mod imap_string;
mod lexer;
pub mod limits;
mod parameters;
pub mod part;
mod scan;
pub mod search;
pub mod section;
pub mod transfer;

pub use content::{Content, Parameter};
pub use part::{Kind, Part, PartId, Position, Structure};
pub use scan::Scanner;
