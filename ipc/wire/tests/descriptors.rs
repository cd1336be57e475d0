//! A process that runs out of descriptors loses the channel, and none of the descriptors it has. In a process of its own, for
//! the limit holds for all of it.

use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use ipc_wire::Channel;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn descriptors_that_find_no_room_break_the_channel_and_none_stays_open() {
    let (a, b) = UnixStream::pair().unwrap();
    let (mut a, mut b) = (Channel::new(a).unwrap(), Channel::new(b).unwrap());
    let null = std::fs::File::open("/dev/null").unwrap();
    for number in 0..50u32 {
        a.send(&number, vec![null.as_fd().try_clone_to_owned().unwrap()]).unwrap();
    }
    a.flush().unwrap();
    let before = open_descriptors();
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, before as u64 + 20, hard).unwrap();
    let error = b.fill().unwrap_err();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    assert_eq!(error.kind(), ErrorKind::InvalidData);
    assert!(error.to_string().contains("RLIMIT_NOFILE"), "{error}");
    drop(b);
    assert_eq!(open_descriptors(), before - 1, "all but the dropped end are as before");
}
