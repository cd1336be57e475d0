//! SMTP and LMTP, server and client side, without sockets, clocks or threads: bytes in, actions out.
//!
//! - [`server`]: one session of Postfix's smtpd or of Dovecot's LMTP server; policy is asked for, never decided here.
//! - [`client`]: one session of Postfix's smtp(8) and lmtp(8), connection reuse included.
//! - [`address`], [`params`], [`xtext`]: what stands in MAIL and RCPT commands.
//! - [`reply`]: replies, typed, written and parsed.
//! - [`body`]: message content on the wire: dots and line ends, both ways.
//!
//! Everything a peer sends is bounded by [`limits`] or by the configuration of the session. No input panics; an answer
//! from our own caller that does not fit the question does.
//!
//! Command lines are UTF-8 everywhere: Postfix accepts other 8-bit bytes with `smtputf8_enable = no`; here such a line
//! gets the reply that it gets with `smtputf8_enable = yes`.

pub mod address;
pub mod body;
pub mod client;
pub mod limits;
mod line;
pub mod params;
pub mod reply;
pub mod server;
pub mod xtext;
