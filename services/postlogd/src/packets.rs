//! Packets of log records, with the process that sent them as the kernel tells it.

use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, BorrowedFd};

use ipc_messages::log::{MAX_PACKET, Record};
use nix::cmsg_space;
use nix::errno::Errno;
use nix::libc::ucred;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

/// Under which key the loop watches the socket.
pub const KEY: u64 = 1;
/// Packets read in one turn; the rest waits for the next one, which the caller's loop comes to by itself.
const PACKETS: usize = 100_000;

/// Reads what is there, until nothing is. `take` gets each record, or `None` for a packet that cannot be read.
pub fn read(socket: BorrowedFd<'_>, mut take: impl FnMut(u32, Option<Record>)) {
    let mut buffer = vec![0; MAX_PACKET];
    let mut control = cmsg_space!(ucred);
    for _ in 0..PACKETS {
        let mut slice = [IoSliceMut::new(&mut buffer)];
        let (length, pid) =
            match recvmsg::<()>(socket.as_raw_fd(), &mut slice, Some(&mut control), MsgFlags::MSG_DONTWAIT) {
                Ok(message) => {
                    let pid = message.cmsgs().ok().and_then(|mut parts| {
                        parts.find_map(|part| match part {
                            ControlMessageOwned::ScmCredentials(sender) => Some(sender.pid()),
                            _ => None,
                        })
                    });
                    (message.bytes, pid.unwrap_or(0) as u32)
                }
                Err(Errno::EINTR) => continue,
                Err(_) => return,
            };
        if length == 0 {
            return;
        }
        let mut rest = &buffer[..length];
        while !rest.is_empty() {
            match postcard::take_from_bytes::<Record>(rest) {
                Ok((record, after)) => {
                    take(pid, Some(record));
                    rest = after;
                }
                Err(_) => {
                    take(pid, None);
                    break;
                }
            }
        }
    }
}
