//! The pieces of a frame, for the one asker that reads and writes with waiting.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::frame::{self, Broken, Frame, HEADER_LEN};

/// A whole frame without descriptors; `None` when the message is larger than a frame.
pub fn encode<T: Serialize>(message: &T) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    frame::encode(message, 0, &mut bytes).then_some(bytes)
}

/// The length of the body that follows this header.
///
/// # Errors
/// [`Broken`]; descriptors are not expected here.
pub fn body_len(header: &[u8; HEADER_LEN]) -> Result<usize, Broken> {
    match frame::header(header)? {
        Some(header) if header.fds == 0 => Ok(header.body),
        _ => Err(Broken::Descriptors),
    }
}

/// The message in a body.
///
/// # Errors
/// As for [`Frame::decode`].
pub fn decode<T: DeserializeOwned>(body: Vec<u8>) -> Result<T, Broken> {
    Frame::new(body, Vec::new()).decode().map(|(message, _)| message)
}
