//! Every bound on what a peer can make the server hold or compute, in one place.
//!
//! A test crosses each of them. None of them may be raised by a peer.

/// Bytes of one command after login, literals included, message literals of APPEND not included
/// (they are streamed). Dovecot's `imap_max_line_length` default.
pub const COMMAND: usize = 64 * 1024;

/// Bytes of one command, or one line of a SASL exchange, before login (Dovecot's `LOGIN_MAX_AUTH_BUF_SIZE`).
pub const LOGIN_COMMAND: usize = 8 * 1024;

/// Bytes of a tag.
pub const TAG: usize = 1024;

/// Nested parentheses in one command, and nested search keys (`NOT`, `OR`).
pub const DEPTH: usize = 32;

/// Arguments of one command, counted over all its lists.
pub const ARGUMENTS: usize = 16 * 1024;

/// Part numbers in one section (`1.2.3`); deeper parts cannot exist, because the message parser stops earlier.
pub const SECTION_DEPTH: usize = 100;

/// Consecutive bad commands after which the connection is ended, after login.
pub const BAD_COMMANDS: u32 = 20;

/// Bad commands after which the connection is ended, before login.
pub const LOGIN_BAD_COMMANDS: u32 = 3;

/// Bytes of a mailbox name as it stands on the wire.
pub const MAILBOX_NAME: usize = 1000;

/// Bytes of one level of a mailbox name (a file name).
pub const MAILBOX_LEVEL: usize = 255;

/// Bytes of a keyword (Dovecot's `mail_max_keyword_length` default).
pub const KEYWORD: usize = 50;

/// Keywords in one mailbox: a bit each in [`Message::keywords`](crate::mailbox::Message::keywords).
pub const KEYWORDS: usize = 64;

/// Key-value pairs of an ID command (RFC 2971 section 3.3).
pub const ID_FIELDS: usize = 30;

/// Waiting output bytes above which a command in progress yields.
pub const OUTPUT_HIGH_WATER: usize = 64 * 1024;

/// Bytes of message content taken from the store in one step.
pub const CONTENT_STEP: usize = 32 * 1024;

/// UID ranges that a parked session may carry; a more fragmented one is not parked.
pub const PARKED_RANGES: usize = 4096;

/// Messages that a parked session may claim to know. A store with more keeps its sessions.
pub const MAILBOX_MESSAGES: u64 = 16 * 1024 * 1024;

/// Seconds without a command before a session is ended (RFC 3501 section 5.4 demands 30 minutes at least).
pub const SESSION_IDLE_SECONDS: u64 = 30 * 60;

/// Seconds that a client has to log in.
pub const LOGIN_SECONDS: u64 = 3 * 60;
