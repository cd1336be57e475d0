//! Every length and count that a peer controls, where the configuration does not set it.

/// Bytes of input a session buffers while it waits for an answer; the caller stops reading when the buffer is full.
pub const INPUT_BUFFER: usize = 64 * 1024;

/// Bytes of replies or commands a machine collects before it asks for them to be sent, even if more input is at hand.
pub const OUTPUT_BUFFER: usize = 16 * 1024;

/// Octets of a domain name (RFC 5321 section 4.5.3.1.2).
pub const DOMAIN: usize = 255;

/// Octets of a label of a domain name (RFC 1035 section 2.3.4).
pub const LABEL: usize = 63;

/// Octets of a local part (RFC 5321 section 4.5.3.1.1). Postfix has no such limit, and rewritten senders (SRS, BATV)
/// exceed it, so only [`strict paths`](crate::address::parse_path) hold it; otherwise the command line is the limit.
pub const LOCAL_PART: usize = 64;

/// Words of one command line. Each is an ESMTP parameter or a part of an address; a command with more is bad syntax.
pub const COMMAND_WORDS: usize = 128;

/// Octets of one line of a server's reply; the rest of a longer line is dropped (Postfix: `line_length_limit`).
pub const REPLY_LINE: usize = 2048;

/// Octets of text kept of one multi-line reply; later lines are parsed and dropped (Postfix: `line_length_limit`).
pub const REPLY_TEXT: usize = 2048;

/// Lines of one multi-line reply; a server that sends more is cut off.
pub const REPLY_LINES: usize = 1000;

/// Bytes of a client's command group before the client waits for replies, so that neither side blocks on a full
/// socket buffer (Postfix sizes this by the socket's send buffer).
pub const PIPELINE: usize = 4096;
