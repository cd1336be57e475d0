//! The server side of IMAP, without sockets, clocks or threads: bytes and the time in, bytes and actions out.
//!
//! - [`frame`] turns bytes into commands, [`token`] a command into arguments, [`command`] arguments into types.
//! - [`login`] is what happens before login, up to the handoff; it knows no mailbox.
//! - [`session`] is what happens after it, over the traits of [`mailbox`]; it can be parked and resumed.
//! - [`response`] writes what is answered, in the words and the order of Dovecot 2.3.
//!
//! The protocol is RFC 3501 with the extensions that [`response::capability`] announces. The peer's input never
//! panics and never holds more memory than [`limits`] says.

pub mod command;
pub mod date;
pub mod flag;
pub mod frame;
pub mod limits;
pub mod login;

pub mod mailbox;
pub mod mutf7;
pub mod name;
pub mod response;
pub mod sequence;
pub mod session;
pub mod token;
