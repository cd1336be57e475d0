//! What a worker that has been taken over would try, for the test that shows that none of it succeeds. The feature
//! `misbehave`, which no build that serves has, compiles it.
//!
//! Nothing here does harm where the jail fails: a call gets arguments that the kernel refuses, with another error than the
//! jail's, and what can be opened is closed again.

use std::ffi::CString;
use std::io;

use libc::c_long;

/// What was tried, and how it failed; no error where it did not.
pub type Attempt = (String, Option<io::Error>);

/// Descriptors that are tried as the folder that a path begins in.
const DESCRIPTORS: i32 = 64;

/// System calls that no worker may make, with arguments that are never good.
const CALLS: [(&str, c_long, [c_long; 4]); 20] = [
    ("ptrace", libc::SYS_ptrace, [libc::PTRACE_PEEKDATA as c_long, 0, 0, 0]),
    ("process_vm_readv", libc::SYS_process_vm_readv, [1, 0, 0, 0]),
    ("mount", libc::SYS_mount, [0, 0, 0, 0]),
    ("umount2", libc::SYS_umount2, [0, 0, 0, 0]),
    ("pivot_root", libc::SYS_pivot_root, [0, 0, 0, 0]),
    ("chroot", libc::SYS_chroot, [0, 0, 0, 0]),
    ("unshare", libc::SYS_unshare, [1, 0, 0, 0]),
    ("setns", libc::SYS_setns, [-1, 0, 0, 0]),
    ("execve", libc::SYS_execve, [0, 0, 0, 0]),
    ("execveat", libc::SYS_execveat, [-1, 0, 0, 0]),
    ("bpf", libc::SYS_bpf, [0, 0, 0, 0]),
    ("userfaultfd", libc::SYS_userfaultfd, [0xffff, 0, 0, 0]),
    ("keyctl", libc::SYS_keyctl, [9999, 0, 0, 0]),
    ("io_uring_setup", libc::SYS_io_uring_setup, [0, 0, 0, 0]),
    ("perf_event_open", libc::SYS_perf_event_open, [0, 0, 0, 0]),
    ("pidfd_open", libc::SYS_pidfd_open, [-1, 0, 0, 0]),
    ("open_by_handle_at", libc::SYS_open_by_handle_at, [-1, 0, 0, 0]),
    ("init_module", libc::SYS_init_module, [0, 0, 0, 0]),
    ("setuid", libc::SYS_setuid, [0, 0, 0, 0]),
    ("clone3", libc::SYS_clone3, [0, 0, 0, 0]),
];

/// Sockets that a worker would reach others with, or listen to the network itself.
const SOCKETS: [(&str, c_long, c_long); 4] = [
    ("socket(AF_INET)", libc::AF_INET as c_long, libc::SOCK_STREAM as c_long),
    ("socket(AF_UNIX)", libc::AF_UNIX as c_long, libc::SOCK_STREAM as c_long),
    ("socket(AF_NETLINK)", libc::AF_NETLINK as c_long, libc::SOCK_RAW as c_long),
    ("socket(AF_PACKET)", libc::AF_PACKET as c_long, libc::SOCK_RAW as c_long),
];

/// Tries every call.
pub fn calls() -> Vec<Attempt> {
    let forbidden = CALLS.iter().map(|(name, number, arguments)| ((*name).to_owned(), call(*number, *arguments).err()));
    let sockets = SOCKETS.iter().map(|(name, family, kind)| {
        let opened = call(libc::SYS_socket, [*family, *kind, 0, 0]);
        ((*name).to_owned(), opened.map(|number| close(number)).err())
    });
    forbidden.chain(sockets).collect()
}

/// Tries to open the absolute `path` for reading: as it is, and upwards from whatever each descriptor of this process leads
/// to. The best of these outcomes counts.
pub fn open(path: &str) -> Attempt {
    let name = format!("open {path}");
    let climbing = format!("../../../../../../../../../../../..{path}");
    let mut failure = None;
    for (folder, path) in (-1..DESCRIPTORS).flat_map(|folder| [(folder, path), (folder, climbing.as_str())]) {
        let Ok(path) = CString::new(path) else { continue };
        let folder = if folder < 0 { libc::AT_FDCWD } else { folder };
        let flags = libc::O_RDONLY | libc::O_CLOEXEC | libc::O_NONBLOCK;
        match call(libc::SYS_openat, [c_long::from(folder), path.as_ptr() as c_long, c_long::from(flags), 0]) {
            Ok(number) => {
                close(number);
                return (name, None);
            }
            Err(error) if failure.is_none() => failure = Some(error),
            Err(_) => {}
        }
    }
    (name, failure)
}

fn close(number: c_long) {
    // It was opened by the call before and belongs to nobody.
    let _ = call(libc::SYS_close, [number, 0, 0, 0]);
}

#[expect(unsafe_code, reason = "system calls by number; see the comment inside")]
fn call(number: c_long, arguments: [c_long; 4]) -> io::Result<c_long> {
    let [a, b, c, d] = arguments;
    // SAFETY: the arguments are numbers, null, or a path that lives through the call; none of the calls writes to memory of
    // this process with them, and those that would replace or share it (execve, clone3) get null, which they refuse.
    let result = unsafe { libc::syscall(number, a, b, c, d) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outside_of_a_jail_files_open_and_calls_fail_for_other_reasons() {
        let (name, failure) = open("/etc/passwd");
        assert_eq!((name.as_str(), failure.map(|error| error.to_string())), ("open /etc/passwd", None));
        assert!(open("/etc/nonesuch").1.is_some());
        let calls = calls();
        let failure = |name: &str| calls.iter().find(|(known, _)| known == name).and_then(|(_, error)| error.as_ref());
        assert_eq!(failure("execve").and_then(io::Error::raw_os_error), Some(libc::EFAULT));
        assert!(failure("socket(AF_UNIX)").is_none());
    }
}
