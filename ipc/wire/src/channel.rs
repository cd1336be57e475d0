//! One end of a channel: the queue out, the bytes in, and the descriptors of both.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, recvmsg};
use serde::Serialize;

use crate::frame::{self, Broken, Frame, HEADER_LEN, MAX_FRAME_FDS};
use crate::{QUEUE_LIMIT, SENDMSG_FDS};

/// How much one `recvmsg` may bring.
const READ_SIZE: usize = 128 * 1024;

/// Why a message was not queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendError {
    /// [`QUEUE_LIMIT`] bytes wait already: the peer does not keep up.
    Full,
    /// The message is larger than a frame, or has more descriptors than one.
    TooLarge,
}

/// How [`Channel::fill`] left the socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filled {
    /// Empty. An event tells of what comes next, but not of an end that the event before this reading told of already.
    Emptied,
    /// Perhaps not empty: take the frames and fill again, for no further event tells of what is there.
    Full,
    /// The peer has closed its end. Frames that came before are still to be taken.
    Ended,
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SendError::Full => write!(f, "it does not read: more than {QUEUE_LIMIT} bytes wait"),
            SendError::TooLarge => f.write_str("a message larger than a frame"),
        }
    }
}

/// One end of a stream socket pair that carries frames. Not blocking.
#[derive(Debug)]
pub struct Channel {
    socket: UnixStream,
    incoming: Vec<u8>,
    /// Where the first byte that is not yet a taken frame stands in `incoming`.
    consumed: usize,
    incoming_fds: VecDeque<OwnedFd>,
    outgoing: Vec<u8>,
    sent: usize,
    /// Descriptors to send, each with the position in `outgoing` of the frame that announces it.
    outgoing_fds: VecDeque<(usize, OwnedFd)>,
    eof: bool,
}

impl Channel {
    /// Takes one end of a socket pair and makes it non-blocking.
    ///
    /// # Errors
    /// What `fcntl` says.
    pub fn new(socket: UnixStream) -> io::Result<Channel> {
        socket.set_nonblocking(true)?;
        Ok(Channel {
            socket,
            incoming: Vec::new(),
            consumed: 0,
            incoming_fds: VecDeque::new(),
            outgoing: Vec::new(),
            sent: 0,
            outgoing_fds: VecDeque::new(),
            eof: false,
        })
    }

    /// Queues a message with its descriptors; [`Channel::flush`] sends it.
    ///
    /// # Errors
    /// [`SendError`]; nothing is queued then, and the descriptors are closed.
    pub fn send<T: Serialize>(&mut self, message: &T, fds: Vec<OwnedFd>) -> Result<(), SendError> {
        if self.queued() > QUEUE_LIMIT {
            return Err(SendError::Full);
        }
        if fds.len() > MAX_FRAME_FDS {
            return Err(SendError::TooLarge);
        }
        let at = self.outgoing.len();
        if !frame::encode(message, fds.len(), &mut self.outgoing) {
            return Err(SendError::TooLarge);
        }
        self.outgoing_fds.extend(fds.into_iter().map(|fd| (at, fd)));
        Ok(())
    }

    /// Bytes that wait to be sent.
    pub fn queued(&self) -> usize {
        self.outgoing.len() - self.sent
    }

    /// Sends what is queued, as far as the socket takes it. Returns whether all of it has left.
    ///
    /// # Errors
    /// What `sendmsg` says, `EPIPE` when the peer has gone.
    pub fn flush(&mut self) -> io::Result<bool> {
        while self.sent < self.outgoing.len() {
            let (fds, end) = self.burst();
            let slice = [IoSlice::new(&self.outgoing[self.sent..end])];
            let rights = [ControlMessage::ScmRights(&fds)];
            let control: &[ControlMessage] = if fds.is_empty() { &[] } else { &rights };
            let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
            match sendmsg::<()>(self.socket.as_raw_fd(), &slice, control, flags, None) {
                // Descriptors leave with the first byte of the burst, whole or not at all.
                Ok(written) => {
                    self.outgoing_fds.drain(..fds.len());
                    self.sent += written;
                }
                Err(nix::errno::Errno::EINTR) => {}
                // The kernel also bounds the descriptors that one user has on the way (unix(7), `ETOOMANYREFS`): that passes
                // as soon as they are read.
                Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::ETOOMANYREFS) => {
                    self.compact_outgoing();
                    return Ok(false);
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.outgoing.clear();
        self.sent = 0;
        Ok(true)
    }

    /// The descriptors that the next `sendmsg` carries and where its bytes end: never past the first frame whose
    /// descriptors did not fit, so that a frame's descriptors never arrive after the frame.
    fn burst(&self) -> (Vec<RawFd>, usize) {
        let mut fds: Vec<RawFd> = Vec::new();
        let mut end = self.outgoing.len();
        let mut rest = self.outgoing_fds.iter().peekable();
        while let Some((at, _)) = rest.peek() {
            let at = *at;
            let of_frame: Vec<RawFd> = std::iter::from_fn(|| rest.next_if(|(position, _)| *position == at))
                .map(|(_, fd)| fd.as_raw_fd())
                .collect();
            if fds.len() + of_frame.len() > SENDMSG_FDS {
                end = at;
                break;
            }
            fds.extend(of_frame);
        }
        (fds, end)
    }

    /// Reads what the socket has, as far as [`QUEUE_LIMIT`] bytes of frames that were not taken allow.
    ///
    /// # Errors
    /// [`Broken`] as an `InvalidData` error when descriptors were lost; otherwise what `recvmsg` says.
    pub fn fill(&mut self) -> io::Result<Filled> {
        loop {
            self.compact();
            let start = self.incoming.len();
            self.incoming.resize(start + READ_SIZE, 0);
            let result = self.receive(start);
            // Whatever happened, only bytes that came may stay: the rest is zeros, which would read as frames.
            let came = result.as_ref().ok().and_then(|(received, _)| *received).unwrap_or(0);
            self.incoming.truncate(start + came);
            let (received, truncated) = result?;
            if truncated {
                return Err(io::Error::new(io::ErrorKind::InvalidData, Broken::Truncated));
            }
            match received {
                None => return Ok(Filled::Emptied),
                Some(0) => {
                    self.eof = true;
                    return Ok(Filled::Ended);
                }
                // A read that stops early and is not cut by a descriptor boundary has emptied the socket; the next
                // readiness event tells of more. A boundary is told by the descriptors, so read on then.
                Some(n) if n < READ_SIZE && self.incoming_fds.is_empty() => return Ok(Filled::Emptied),
                Some(_) => {
                    if self.incoming.len() - self.consumed > QUEUE_LIMIT {
                        return Ok(Filled::Full);
                    }
                }
            }
        }
    }

    /// One `recvmsg` into `incoming[start..]`: the bytes (`None` for nothing there yet) and whether descriptors were lost.
    fn receive(&mut self, start: usize) -> io::Result<(Option<usize>, bool)> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SENDMSG_FDS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        loop {
            let mut slice = [IoSliceMut::new(&mut self.incoming[start..])];
            let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
            let message = match recvmsg(&self.socket, &mut slice, &mut control, flags) {
                Ok(message) => message,
                Err(rustix::io::Errno::INTR) => continue,
                Err(rustix::io::Errno::AGAIN) => return Ok((None, false)),
                Err(error) => return Err(error.into()),
            };
            for part in control.drain() {
                if let RecvAncillaryMessage::ScmRights(fds) = part {
                    self.incoming_fds.extend(fds);
                }
            }
            return Ok((Some(message.bytes), message.flags.contains(ReturnFlags::CTRUNC)));
        }
    }

    /// Drops the bytes that were sent, when they have become the larger part: a queue that never runs empty must not grow.
    fn compact_outgoing(&mut self) {
        if self.sent > self.outgoing.len() / 2 {
            self.outgoing.drain(..self.sent);
            // A frame whose first bytes have left has taken its descriptors along.
            self.outgoing_fds.iter_mut().for_each(|(at, _)| *at -= self.sent);
            self.sent = 0;
        }
    }

    /// Drops the bytes of frames that were taken, when they have become the larger part.
    fn compact(&mut self) {
        if self.consumed == self.incoming.len() {
            self.incoming.clear();
            self.consumed = 0;
            if self.incoming.capacity() > 4 * READ_SIZE {
                self.incoming.shrink_to(READ_SIZE);
            }
        } else if self.consumed > self.incoming.len() / 2 {
            self.incoming.drain(..self.consumed);
            self.consumed = 0;
        }
    }

    /// The next whole frame that has arrived, if any.
    ///
    /// # Errors
    /// [`Broken`]: the channel is to be dropped.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, Broken> {
        let waiting = &self.incoming[self.consumed..];
        let Some(header) = frame::header(waiting)? else {
            // At the end of the stream nothing may be left over.
            let stray = self.eof && !(waiting.is_empty() && self.incoming_fds.is_empty());
            return if stray { Err(Broken::Descriptors) } else { Ok(None) };
        };
        let Some(body) = waiting.get(HEADER_LEN..HEADER_LEN + header.body) else { return Ok(None) };
        if self.incoming_fds.len() < header.fds {
            return Err(Broken::Descriptors);
        }
        let body = body.to_vec();
        let fds = self.incoming_fds.drain(..header.fds).collect();
        self.consumed += HEADER_LEN + header.body;
        Ok(Some(Frame::new(body, fds)))
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for Channel {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::fd::AsFd;

    fn pair() -> (Channel, Channel) {
        let (a, b) = UnixStream::pair().unwrap();
        (Channel::new(a).unwrap(), Channel::new(b).unwrap())
    }

    fn raw() -> (UnixStream, Channel) {
        let (a, b) = UnixStream::pair().unwrap();
        (a, Channel::new(b).unwrap())
    }

    #[test]
    fn messages_and_descriptors_arrive_in_order() {
        let (mut a, mut b) = pair();
        let (mut reader, writer) = std::io::pipe().unwrap();
        a.send(&(1u32, "one".to_string()), vec![]).unwrap();
        a.send(&(2u32, "two".to_string()), vec![writer.into()]).unwrap();
        assert!(a.flush().unwrap());
        b.fill().unwrap();
        let (first, fds) = b.next_frame().unwrap().unwrap().decode::<(u32, String)>().unwrap();
        assert_eq!((first, fds.len()), ((1, "one".into()), 0));
        let (second, mut fds) = b.next_frame().unwrap().unwrap().decode::<(u32, String)>().unwrap();
        assert_eq!((second.0, fds.len()), (2, 1));
        std::fs::File::from(fds.remove(0)).write_all(b"through").unwrap();
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "through");
        assert!(b.next_frame().unwrap().is_none());
    }

    #[test]
    fn more_descriptors_than_one_sendmsg_takes() {
        let (mut a, mut b) = pair();
        let null = std::fs::File::open("/dev/null").unwrap();
        for n in 0..400u32 {
            a.send(&n, vec![null.as_fd().try_clone_to_owned().unwrap()]).unwrap();
        }
        let mut next = 0u32;
        while next < 400 {
            a.flush().unwrap();
            b.fill().unwrap();
            while let Some(frame) = b.next_frame().unwrap() {
                let (n, fds) = frame.decode::<u32>().unwrap();
                assert_eq!((n, fds.len()), (next, 1));
                next += 1;
            }
        }
    }

    #[test]
    fn a_stream_cut_at_every_byte_gives_the_same_frames() {
        let mut bytes = Vec::new();
        assert!(frame::encode(&"hello".to_string(), 0, &mut bytes));
        assert!(frame::encode(&"world".to_string(), 0, &mut bytes));
        for cut in 0..=bytes.len() {
            let (mut a, mut b) = raw();
            let mut seen = Vec::new();
            for part in [&bytes[..cut], &bytes[cut..]] {
                a.write_all(part).unwrap();
                b.fill().unwrap();
                while let Some(frame) = b.next_frame().unwrap() {
                    seen.push(frame.decode::<String>().unwrap().0);
                }
            }
            assert_eq!(seen, ["hello", "world"], "cut at {cut}");
        }
    }

    #[test]
    fn broken_frames_are_named() {
        for (bytes, expected) in [
            (vec![0, 0, 2, 0, 0, 0, 0, 0], Broken::TooLong(0x20000)),
            (vec![0, 0, 0, 0, 5, 0, 0, 0], Broken::TooManyDescriptors(5)),
            (vec![0, 0, 0, 0, 0, 1, 0, 0], Broken::Reserved),
            (vec![0, 0, 0, 0, 1, 0, 0, 0], Broken::Descriptors),
        ] {
            let (mut a, mut b) = raw();
            a.write_all(&bytes).unwrap();
            b.fill().unwrap();
            assert_eq!(b.next_frame().unwrap_err(), expected);
        }
    }

    #[test]
    fn a_full_channel_says_that_more_may_wait() {
        let (a, mut b) = UnixStream::pair().map(|(a, b)| (a, Channel::new(b).unwrap())).unwrap();
        let frame = {
            let mut frame = Channel::new(UnixStream::pair().unwrap().0).unwrap();
            frame.send(&vec![7u8; 60_000], vec![]).unwrap();
            frame.outgoing
        };
        let count = 3 * QUEUE_LIMIT / frame.len();
        let writer = std::thread::spawn(move || (0..count).for_each(|_| (&a).write_all(&frame).unwrap()));
        let (mut taken, mut full) = (0, 0);
        while taken < count {
            // Nothing is taken until the channel says that it is full or the writer has ended.
            match b.fill().unwrap() {
                Filled::Emptied => continue,
                Filled::Full => full += 1,
                Filled::Ended => {}
            }
            while b.next_frame().unwrap().is_some() {
                taken += 1;
            }
        }
        writer.join().unwrap();
        assert!(full > 0);
    }

    #[test]
    fn a_wrong_kind_and_trailing_bytes_are_broken() {
        let (mut a, mut b) = pair();
        a.send(&(7u8, 8u8), vec![]).unwrap();
        a.send(&200u8, vec![]).unwrap();
        a.flush().unwrap();
        b.fill().unwrap();
        assert_eq!(b.next_frame().unwrap().unwrap().decode::<u8>().unwrap_err(), Broken::Trailing);
        assert_eq!(b.next_frame().unwrap().unwrap().decode::<String>().unwrap_err(), Broken::Kind);
    }

    #[test]
    fn limits_are_crossed() {
        let (mut a, mut b) = pair();
        assert_eq!(a.send(&vec![0u8; MAX_FRAME_FDS * frame::MAX_BODY], vec![]), Err(SendError::TooLarge));
        let null = std::fs::File::open("/dev/null").unwrap();
        let many = (0..=MAX_FRAME_FDS).map(|_| null.as_fd().try_clone_to_owned().unwrap()).collect();
        assert_eq!(a.send(&0u8, many), Err(SendError::TooLarge));
        let body = vec![1u8; 60_000];
        let mut queued = 0;
        while a.send(&body, vec![]).is_ok() {
            queued += 1;
        }
        assert!(queued * 60_000 > QUEUE_LIMIT && a.queued() < QUEUE_LIMIT + 2 * frame::MAX_BODY);
        let mut received = 0;
        while received < queued {
            a.flush().unwrap();
            b.fill().unwrap();
            while let Some(frame) = b.next_frame().unwrap() {
                assert_eq!(frame.decode::<Vec<u8>>().unwrap().0, body);
                received += 1;
            }
        }
    }

    #[test]
    fn a_queue_that_never_runs_empty_does_not_grow() {
        let (mut a, mut b) = pair();
        let body = vec![1u8; 10_000];
        let (mut sent, mut received) = (0, 0);
        while received < 400 {
            // The sender is always ahead of what the socket takes.
            while a.queued() < 40 * body.len() {
                a.send(&body, vec![]).unwrap();
                sent += 1;
            }
            assert!(!a.flush().unwrap());
            b.fill().unwrap();
            while let Some(frame) = b.next_frame().unwrap() {
                assert_eq!(frame.decode::<Vec<u8>>().unwrap().0, body);
                received += 1;
            }
        }
        assert!(sent > 400 && a.outgoing.len() < 80 * body.len(), "{} bytes are kept", a.outgoing.len());
    }

    #[test]
    fn a_reset_leaves_nothing_behind_that_could_be_a_frame() {
        let (mut a, mut b) = pair();
        a.send(&1u8, vec![]).unwrap();
        a.flush().unwrap();
        b.send(&2u8, vec![]).unwrap();
        b.flush().unwrap();
        // With bytes that it did not read, the peer's end is a reset for us.
        drop(b);
        while matches!(a.fill(), Ok(Filled::Emptied)) {}
        while let Some(frame) = a.next_frame().unwrap() {
            assert_eq!(frame.decode::<u8>().unwrap().0, 2);
        }
    }

    #[test]
    fn the_end_of_a_peer_is_seen_after_its_frames() {
        let (mut a, mut b) = pair();
        a.send(&1u8, vec![]).unwrap();
        a.flush().unwrap();
        drop(a);
        while b.fill().unwrap() == Filled::Emptied {}
        assert_eq!(b.next_frame().unwrap().unwrap().decode::<u8>().unwrap().0, 1);
        assert!(b.next_frame().unwrap().is_none());
        assert!(b.send(&1u8, vec![]).is_ok());
        assert_eq!(b.flush().unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
