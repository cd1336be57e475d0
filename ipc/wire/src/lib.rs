//! Length-prefixed frames over a stream socket pair, with file descriptors beside them.
//!
//! A frame is a header of eight bytes (`length: u32 LE`, `descriptors: u8`, three zero bytes) and a postcard body of
//! `length` bytes, at most [`MAX_BODY`]. A body must decode to exactly one message: what is over the cap, does not decode,
//! or leaves bytes behind is [`Broken`], which ends the channel and never the process. Descriptors arrive in order and are
//! claimed by the frames whose headers announce them.
//!
//! A [`Channel`] never blocks. What is sent waits in a bounded queue until [`Channel::flush`], which a worker calls once
//! for each turn of its loop, so that all frames of a turn leave in one `sendmsg`.

pub mod blocking;
mod channel;
mod frame;
pub mod packet;

pub use channel::{Channel, Filled, SendError};
pub use frame::{Broken, Frame, HEADER_LEN, MAX_BODY, MAX_FRAME_FDS};

/// Bytes that may wait in a channel's queue before [`Channel::send`] answers [`SendError::Full`]. A peer's credit, not this
/// limit, is what paces bodies; this one keeps a peer that has stopped reading from taking our memory.
pub const QUEUE_LIMIT: usize = 4 * 1024 * 1024;

/// Descriptors that one `sendmsg` may carry: the kernel's `SCM_MAX_FD`.
pub const SENDMSG_FDS: usize = 253;
