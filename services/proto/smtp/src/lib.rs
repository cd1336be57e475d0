//! SMTP and LMTP without sockets.
