//! IMAP without sockets.
