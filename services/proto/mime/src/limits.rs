//! The bounds of what is kept of a message. What is beyond them is still counted, but not looked into.

/// Levels of parts within parts, the message itself included.
pub const DEPTH: usize = 100;
/// Parts of one message, the message itself included.
pub const PARTS: usize = 10_000;
/// Bytes of a boundary that are compared.
pub const BOUNDARY: usize = 80;
/// Bytes of one header field that are parsed. What follows is left out of the field.
pub const FIELD: usize = 1 << 20;
/// Bytes of all header fields of a message that are parsed. Fields after that are not looked at.
pub const HEADERS: usize = 16 << 20;
/// Bytes of the name of a header field; a longer one is no name.
pub const FIELD_NAME: usize = 1000;
/// Parameters of one header field.
pub const PARAMETERS: usize = 1000;
/// Addresses of one header field.
pub const ADDRESSES: usize = 50_000;
/// Languages of one header field.
pub const LANGUAGES: usize = 1000;
