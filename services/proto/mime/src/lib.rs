//! MIME structure of a message.
