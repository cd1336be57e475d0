//! SASL on the server's side, and the Dovecot auth protocol on both sides.
//!
//! Bytes in, actions out: no socket, no clock, no file. [`mechanism`] takes the exchange of a mechanism to the credentials
//! that it yields; [`dovecot`] speaks the line protocol in which `auth` serves Postfix, Dovecot's login processes and
//! LMTP. Whether credentials are right is not decided here.
//!
//! What a peer sends is bounded before it is kept: a line by [`dovecot::MAX_CLIENT_LINE`], a SASL response by
//! [`mechanism::MAX_RESPONSE`], requests in progress by [`dovecot::MAX_REQUESTS`]. Passwords are wiped when dropped.

pub mod dovecot;
pub mod mechanism;
