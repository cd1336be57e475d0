//! Single messages over `SOCK_SEQPACKET` pairs: the kernel keeps their borders, so several processes may read from one end.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, sendmsg, socketpair};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, recvmsg};

use crate::{Broken, MAX_FRAME_FDS};

/// A pair of connected packet sockets, both non-blocking and closed on exec.
///
/// # Errors
/// What `socketpair` says.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    Ok(socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?)
}

/// Sends one packet, whole or not at all.
///
/// # Errors
/// `WouldBlock` when the reader has not kept up; otherwise what `sendmsg` says.
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let numbers: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&numbers)];
    let control: &[ControlMessage] = if numbers.is_empty() { &[] } else { &rights };
    let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
    loop {
        match sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(bytes)], control, flags, None) {
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// One received packet.
#[derive(Debug)]
pub struct Packet {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// The descriptors that came with them.
    pub fds: Vec<OwnedFd>,
}

/// Receives one packet of at most `max` bytes. `None` at the end of the stream.
///
/// # Errors
/// `WouldBlock` when none is there, `InvalidData` for one that was larger or lost descriptors; otherwise what `recvmsg`
/// says.
pub fn receive(socket: BorrowedFd<'_>, max: usize) -> io::Result<Option<Packet>> {
    let mut bytes = vec![0; max];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FRAME_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let message = loop {
        match recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, flags) {
            Ok(message) => break message,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    };
    let mut fds = Vec::new();
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = part {
            fds.extend(received);
        }
    }
    let (length, cut) = (message.bytes, message.flags.intersects(ReturnFlags::CTRUNC | ReturnFlags::TRUNC));
    if cut {
        return Err(io::Error::new(io::ErrorKind::InvalidData, Broken::Truncated));
    }
    if length == 0 && fds.is_empty() {
        return Ok(None);
    }
    bytes.truncate(length);
    Ok(Some(Packet { bytes, fds }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn packets_keep_their_borders_and_descriptors() {
        let (a, b) = pair().unwrap();
        let null = std::fs::File::open("/dev/null").unwrap();
        send(a.as_fd(), b"one", &[]).unwrap();
        send(a.as_fd(), b"two", &[null.as_fd()]).unwrap();
        let first = receive(b.as_fd(), 10).unwrap().unwrap();
        assert_eq!((first.bytes.as_slice(), first.fds.len()), (&b"one"[..], 0));
        let second = receive(b.as_fd(), 10).unwrap().unwrap();
        assert_eq!((second.bytes.as_slice(), second.fds.len()), (&b"two"[..], 1));
        assert_eq!(receive(b.as_fd(), 10).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        send(a.as_fd(), b"larger than ten", &[]).unwrap();
        assert_eq!(receive(b.as_fd(), 10).unwrap_err().kind(), io::ErrorKind::InvalidData);
        drop(a);
        assert!(receive(b.as_fd(), 10).unwrap().is_none());
    }

    #[test]
    fn a_full_socket_refuses_whole_packets() {
        let (a, b) = pair().unwrap();
        let packet = [7; 2000];
        let mut sent = 0;
        let refused = loop {
            match send(a.as_fd(), &packet, &[]) {
                Ok(()) => sent += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
        for _ in 0..sent {
            assert_eq!(receive(b.as_fd(), 4096).unwrap().unwrap().bytes, packet);
        }
    }
}
