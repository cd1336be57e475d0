//! The frame: its header, its body, and what makes it broken.

use std::fmt;
use std::os::fd::OwnedFd;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Bytes of the header that stands before each body.
pub const HEADER_LEN: usize = 8;
/// The most bytes a body may have. Larger things travel in pieces or as a descriptor.
pub const MAX_BODY: usize = 64 * 1024;
/// The most descriptors one frame may carry.
pub const MAX_FRAME_FDS: usize = 4;

/// Why a channel can no longer be trusted. The channel ends; the process carries on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// A header announced a body over [`MAX_BODY`].
    TooLong(usize),
    /// A header announced more than [`MAX_FRAME_FDS`] descriptors.
    TooManyDescriptors(usize),
    /// The three reserved bytes of a header were not zero.
    Reserved,
    /// A frame announced descriptors that did not arrive, or descriptors arrived that no frame announced.
    Descriptors,
    /// The kernel dropped descriptors (`MSG_CTRUNC`): the process has as many as it may have.
    Truncated,
    /// The body is not one of the messages of this hop.
    Kind,
    /// The body decodes, and bytes are left.
    Trailing,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Broken::TooLong(n) => write!(f, "a frame of {n} bytes is over the limit of {MAX_BODY}"),
            Broken::TooManyDescriptors(n) => {
                write!(f, "a frame with {n} descriptors is over the limit of {MAX_FRAME_FDS}")
            }
            Broken::Reserved => f.write_str("a frame header with reserved bytes set"),
            Broken::Descriptors => f.write_str("announced and received descriptors differ"),
            Broken::Truncated => {
                f.write_str("descriptors were lost on the way: this process has no room for more (RLIMIT_NOFILE)")
            }
            Broken::Kind => f.write_str("a message that this hop does not know"),
            Broken::Trailing => f.write_str("bytes after the end of a message"),
        }
    }
}

impl std::error::Error for Broken {}

/// One received frame: a body, not yet decoded, and its descriptors.
#[derive(Debug)]
pub struct Frame {
    body: Vec<u8>,
    fds: Vec<OwnedFd>,
}

impl Frame {
    pub(crate) fn new(body: Vec<u8>, fds: Vec<OwnedFd>) -> Frame {
        Frame { body, fds }
    }

    /// The message in this frame and the descriptors that came with it.
    ///
    /// # Errors
    /// [`Broken::Kind`] when the body is not a `T`, [`Broken::Trailing`] when bytes follow it.
    pub fn decode<T: DeserializeOwned>(self) -> Result<(T, Vec<OwnedFd>), Broken> {
        match postcard::take_from_bytes::<T>(&self.body) {
            Ok((message, [])) => Ok((message, self.fds)),
            Ok(_) => Err(Broken::Trailing),
            Err(_) => Err(Broken::Kind),
        }
    }
}

/// Appends a whole frame to `queue`. Returns false, with `queue` as it was, when the body is over [`MAX_BODY`].
pub(crate) fn encode<T: Serialize>(message: &T, fds: usize, queue: &mut Vec<u8>) -> bool {
    let start = queue.len();
    queue.extend_from_slice(&[0; HEADER_LEN]);
    // Writing to a Vec cannot fail, and the messages have no type that postcard refuses.
    let Ok(filled) = postcard::to_extend(message, Appender(queue)) else {
        unreachable!("a message that cannot be encoded")
    };
    let queue = filled.0;
    let body = queue.len() - start - HEADER_LEN;
    if body > MAX_BODY {
        queue.truncate(start);
        return false;
    }
    queue[start..start + 4].copy_from_slice(&(body as u32).to_le_bytes());
    queue[start + 4] = fds as u8;
    true
}

/// Lets postcard append to a queue that the caller owns.
struct Appender<'a>(&'a mut Vec<u8>);

impl Extend<u8> for Appender<'_> {
    fn extend<I: IntoIterator<Item = u8>>(&mut self, bytes: I) {
        self.0.extend(bytes);
    }
}

/// What a header says, once it is whole.
pub(crate) struct Header {
    pub(crate) body: usize,
    pub(crate) fds: usize,
}

/// Reads the header at the start of `bytes`; `None` when it is not there yet.
pub(crate) fn header(bytes: &[u8]) -> Result<Option<Header>, Broken> {
    let Some((length, rest)) = bytes.split_first_chunk::<4>() else { return Ok(None) };
    let Some((&[fds, a, b, c], _)) = rest.split_first_chunk::<4>() else { return Ok(None) };
    let body = u32::from_le_bytes(*length) as usize;
    if body > MAX_BODY {
        return Err(Broken::TooLong(body));
    }
    if fds as usize > MAX_FRAME_FDS {
        return Err(Broken::TooManyDescriptors(fds as usize));
    }
    if [a, b, c] != [0; 3] {
        return Err(Broken::Reserved);
    }
    Ok(Some(Header { body, fds: fds as usize }))
}
