//! A visit to the queue manager.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use ipc_messages::control::Hub;
use ipc_messages::queue::{Listed, QueueAnswer, QueueRequest};
use ipc_messages::queue_id::QueueId;

use crate::control::{self, Waiting};

/// Why something was not done.
#[derive(Debug)]
pub enum Failure {
    /// The system cannot be asked.
    System(io::Error),
    /// The queue manager says why.
    Refused(String),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::System(error)
    }
}

/// A channel to the queue manager.
#[derive(Debug)]
pub struct Queue(Waiting);

impl Queue {
    /// Asks the master of the instance whose state is in `spool` for a channel.
    ///
    /// # Errors
    /// No master runs there, or it runs no queue manager.
    pub fn visit(spool: &Path) -> Result<Queue, Failure> {
        Ok(Queue(control::visit(spool, Hub::Qmgr)?))
    }

    /// Every message, in the order of Postfix's queues: active, incoming, deferred, hold, corrupt.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn list(&mut self) -> Result<Vec<Listed>, Failure> {
        self.0.send(&QueueRequest::List)?;
        let mut messages = Vec::new();
        loop {
            match self.0.receive::<QueueAnswer>()?.0 {
                QueueAnswer::Message(message) => messages.push(message),
                QueueAnswer::Recipients(more) => {
                    if let Some(message) = messages.last_mut() {
                        message.recipients.extend(more);
                    }
                }
                QueueAnswer::End { .. } => break,
                QueueAnswer::Failed(reason) => return Err(Failure::Refused(reason)),
            }
        }
        Ok(in_order(messages))
    }

    /// Has something done; returns to how many messages it was.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn act(&mut self, request: &QueueRequest) -> Result<u32, Failure> {
        self.0.send(request)?;
        loop {
            match self.0.receive::<QueueAnswer>()?.0 {
                QueueAnswer::Message(_) | QueueAnswer::Recipients(_) => {}
                QueueAnswer::End { count } => return Ok(count),
                QueueAnswer::Failed(reason) => return Err(Failure::Refused(reason)),
            }
        }
    }

    /// One message and its content.
    ///
    /// # Errors
    /// [`Failure`]; `NotFound` when there is no such message.
    pub fn content(&mut self, id: QueueId) -> Result<(Listed, Vec<u8>), Failure> {
        self.0.send(&QueueRequest::Open(id))?;
        let mut opened = None;
        loop {
            let (answer, fds) = self.0.receive::<QueueAnswer>()?;
            match answer {
                QueueAnswer::Message(message) => opened = Some((message, fds)),
                QueueAnswer::Recipients(more) => {
                    if let Some((message, _)) = &mut opened {
                        message.recipients.extend(more);
                    }
                }
                QueueAnswer::End { .. } => break,
                QueueAnswer::Failed(reason) => return Err(Failure::Refused(reason)),
            }
        }
        let Some((message, fds)) = opened else { return Err(io::Error::from(io::ErrorKind::NotFound).into()) };
        let Some(fd) = fds.into_iter().next() else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "no content came with the message").into());
        };
        let content = read(&File::from(fd), message.offset, message.size)?;
        Ok((message, content))
    }
}

/// Messages in the order of Postfix's queues.
pub fn in_order(mut messages: Vec<Listed>) -> Vec<Listed> {
    const ORDER: [&str; 5] = ["active", "incoming", "deferred", "hold", "corrupt"];
    messages.sort_by_key(|message| ORDER.iter().position(|queue| *queue == message.queue));
    messages
}

/// Reads `size` bytes at `offset`: the descriptor is the queue manager's own, so its position is left alone.
fn read(file: &File, offset: u64, size: u64) -> io::Result<Vec<u8>> {
    const PIECE: usize = 64 * 1024;
    let mut content = Vec::new();
    while (content.len() as u64) < size {
        let mut piece = vec![0; PIECE.min((size - content.len() as u64) as usize)];
        let n = file.read_at(&mut piece, offset + content.len() as u64)?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        content.extend_from_slice(&piece[..n]);
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn content_is_read_in_place() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"envelope").unwrap();
        file.write_all(&vec![b'x'; 100_000]).unwrap();
        assert_eq!(read(&file, 8, 100_000).unwrap(), vec![b'x'; 100_000]);
        assert_eq!(read(&file, 8, 100_001).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
