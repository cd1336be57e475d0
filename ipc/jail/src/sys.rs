//! System calls that need `unsafe`, each wrapped once.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::unistd::{ForkResult, Pid};

/// The number of the first descriptor that [`spawn`] hands to a program; the others follow it.
pub const FIRST_FD: RawFd = 3;

/// Starts `program` (an open executable) with `arguments`, an empty environment but for `environment`, and `fds` as its
/// descriptors 3, 4, 5, …; descriptors 0 to 2 stay as they are, all others are closed. Signals are back at their
/// defaults. Returns the process id.
///
/// # Errors
/// What `fork` says. A failure to exec shows as exit status 127.
#[expect(unsafe_code, reason = "fork; see the comment inside")]
pub fn spawn(
    program: BorrowedFd<'_>,
    arguments: &[CString],
    environment: &[CString],
    fds: &[BorrowedFd<'_>],
) -> io::Result<Pid> {
    // All memory that the child needs is there before the fork: between fork and exec it only makes system calls.
    let numbers: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let mut moved = Vec::with_capacity(numbers.len());
    // SAFETY: the caller (the master) has one thread, so the child's memory is consistent; the child makes only
    // async-signal-safe calls (fcntl, dup2, close_range, sigaction, sigprocmask, fexecve, _exit).
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            run_child(program, arguments, environment, &numbers, &mut moved);
            // SAFETY: _exit ends the child without running destructors of the master's state.
            unsafe { libc::_exit(127) }
        }
    }
}

/// The child's half of [`spawn`]: returns only when something failed.
#[expect(unsafe_code, reason = "descriptor numbers and signal dispositions; see the comments inside")]
fn run_child(
    program: BorrowedFd<'_>,
    arguments: &[CString],
    environment: &[CString],
    numbers: &[RawFd],
    moved: &mut Vec<RawFd>,
) {
    let above = FIRST_FD + numbers.len() as RawFd + 1;
    // First out of the way of the target numbers, then down to them; dup2 leaves the close-on-exec flag off.
    // SAFETY: fcntl and dup2 on numbers that the parent holds open; failures end the child.
    unsafe {
        let program = libc::fcntl(program.as_raw_fd(), libc::F_DUPFD_CLOEXEC, above);
        for &number in numbers {
            moved.push(libc::fcntl(number, libc::F_DUPFD_CLOEXEC, above));
        }
        if program < 0 || moved.iter().any(|&fd| fd < 0) {
            return;
        }
        for (target, &fd) in (FIRST_FD..).zip(moved.iter()) {
            if libc::dup2(fd, target) < 0 {
                return;
            }
        }
        // Everything else is marked to vanish at exec, the executable's own descriptor included.
        libc::close_range(above as u32 - 1, u32::MAX, libc::CLOSE_RANGE_CLOEXEC as i32);
        for signal in
            [libc::SIGPIPE, libc::SIGHUP, libc::SIGTERM, libc::SIGINT, libc::SIGUSR1, libc::SIGUSR2, libc::SIGCHLD]
        {
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
        let _ = nix::unistd::fexecve(BorrowedFd::borrow_raw(program), arguments, environment);
    }
}

/// Forks a copy of this process, which must have one thread. Returns `None` in the child.
///
/// # Errors
/// What `fork` says.
#[expect(unsafe_code, reason = "fork; see the comment inside")]
pub fn fork() -> io::Result<Option<Pid>> {
    // SAFETY: the callers (the master's relays, a mailbox template) have one thread, so every lock and every allocator
    // structure is consistent in the child.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { child } => Ok(Some(child)),
        ForkResult::Child => Ok(None),
    }
}

/// Closes every descriptor but 0 to 2 and those of `keep`. For the child of a fork, which takes nothing of its parent with
/// it: it never returns to code that owns one of the closed descriptors, and ends with [`exit`].
#[expect(unsafe_code, reason = "closes numbers that objects of the parent own; see the comment inside")]
pub fn close_all_but(keep: &[RawFd]) {
    let mut keep: Vec<u32> = keep.iter().filter_map(|&fd| u32::try_from(fd).ok()).filter(|&fd| fd > 2).collect();
    keep.sort_unstable();
    let mut first = 3;
    for fd in keep.into_iter().chain([u32::MAX]) {
        if fd > first {
            // SAFETY: the objects that own these numbers are never used or dropped in this process; see above.
            unsafe {
                libc::close_range(first, fd - 1, 0);
            }
        }
        first = fd.saturating_add(1);
    }
}

/// Ends the process at once: nothing is dropped, no exit handler runs. For the child of a fork.
#[expect(unsafe_code, reason = "_exit; see the comment inside")]
pub fn exit(status: i32) -> ! {
    // SAFETY: _exit has no memory effects and does not return.
    unsafe { libc::_exit(status) }
}

/// Takes descriptor `number`, which the master put there ([`spawn`]), as this process's own.
///
/// # Errors
/// `EBADF` when it is not open.
#[expect(unsafe_code, reason = "an inherited descriptor is a bare number; see the comment inside")]
pub fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: fcntl on any number is sound; it tells whether the number is open.
    if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the number is open, and a worker takes each inherited number once, at its start.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Whether this process could take uid 0 back. It must not, after the jail's step `Ids`.
#[expect(unsafe_code, reason = "setuid(0) as a probe; see the comment inside")]
pub(crate) fn can_become_root() -> bool {
    // SAFETY: setuid has no memory effects; where it succeeds the caller ends the process.
    unsafe { libc::setuid(0) == 0 }
}

/// Ends the process by the default action of `SIGALRM` unless it is called again within `seconds`: the watchdog.
#[expect(unsafe_code, reason = "alarm; see the comment inside")]
pub fn watchdog(seconds: u32) {
    // SAFETY: alarm has no memory effects.
    unsafe {
        libc::alarm(seconds);
    }
}

/// Makes descriptor `number` another name for `file`, whatever it was before.
#[expect(unsafe_code, reason = "dup2 onto a standard descriptor; see the comment inside")]
pub fn replace(file: &std::fs::File, number: RawFd) {
    // SAFETY: dup2 has no memory effects; the callers name descriptors 0 to 2, which no Rust object owns.
    unsafe {
        libc::dup2(file.as_raw_fd(), number);
    }
}

/// The address of an account: uid, gid and home, through the system's name service.
///
/// # Errors
/// What the name service says; `Ok(None)` is "no such account".
pub fn account(name: &str) -> io::Result<Option<(u32, u32)>> {
    Ok(nix::unistd::User::from_name(name)?.map(|user| (user.uid.as_raw(), user.gid.as_raw())))
}

/// A memory file, empty and not sealed.
///
/// # Errors
/// What the system says.
pub fn memory_file(name: &CStr) -> io::Result<OwnedFd> {
    use nix::sys::memfd::{MFdFlags, memfd_create};
    Ok(memfd_create(name, MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?)
}

/// A sealed memory file that holds `bytes`, at position 0.
///
/// # Errors
/// What the system says.
pub fn sealed_memory(name: &CStr, bytes: &[u8]) -> io::Result<OwnedFd> {
    use nix::fcntl::{FcntlArg, SealFlag, fcntl};
    use std::io::{Seek, Write};
    let mut file = std::fs::File::from(memory_file(name)?);
    file.write_all(bytes)?;
    file.rewind()?;
    let seals = SealFlag::F_SEAL_SEAL | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_WRITE;
    fcntl(file.as_fd(), FcntlArg::F_ADD_SEALS(seals))?;
    Ok(file.into())
}

/// A time of day where this machine is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalTime {
    /// Of the common era.
    pub year: i32,
    /// 0 to 11.
    pub month: usize,
    /// 1 to 31.
    pub day: u32,
    /// 0 is Sunday.
    pub weekday: usize,
    /// 0 to 23.
    pub hour: u32,
    /// 0 to 59.
    pub minute: u32,
    /// 0 to 60.
    pub second: u32,
    /// Seconds east of Greenwich.
    pub offset: i64,
    /// The zone's abbreviation, `UTC` or `CEST`.
    pub zone: String,
}

/// The local time of `seconds` since 1970. The first call reads the time zone; make it before the jail.
#[expect(unsafe_code, reason = "localtime_r; see the comment inside")]
pub fn local_time(seconds: i64) -> LocalTime {
    let time: libc::time_t = seconds;
    // SAFETY: tm is plain data for which zero is a value; localtime_r writes to it and reads `time`, both of which live
    // through the call.
    // tm_zone points to libc's own table of zones, which is never freed; it is copied at once.
    let (tm, zone) = unsafe {
        let mut tm: libc::tm = std::mem::zeroed();
        libc::localtime_r(&raw const time, &raw mut tm);
        let zone = if tm.tm_zone.is_null() {
            String::new()
        } else {
            CStr::from_ptr(tm.tm_zone).to_string_lossy().into_owned()
        };
        (tm, zone)
    };
    LocalTime {
        year: tm.tm_year + 1900,
        month: tm.tm_mon as usize % 12,
        day: tm.tm_mday as u32,
        weekday: tm.tm_wday as usize % 7,
        hour: tm.tm_hour as u32,
        minute: tm.tm_min as u32,
        second: tm.tm_sec as u32,
        offset: tm.tm_gmtoff,
        zone,
    }
}

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];

impl LocalTime {
    /// `Mar 29 13:52:39`, as the system log has it (RFC 3164, section 4.1.2).
    pub fn log_stamp(&self) -> String {
        format!("{} {:2} {:02}:{:02}:{:02}", MONTHS[self.month], self.day, self.hour, self.minute, self.second)
    }

    /// `2026-03-29 13:52:39`.
    pub fn iso_stamp(&self) -> String {
        let (month, day) = (self.month + 1, self.day);
        format!("{}-{month:02}-{day:02} {:02}:{:02}:{:02}", self.year, self.hour, self.minute, self.second)
    }

    /// `Sun, 29 Mar 2026 13:52:39 +0200`, as headers have it (RFC 5322, section 3.3).
    pub fn header_date(&self) -> String {
        let (sign, offset) = if self.offset < 0 { ('-', -self.offset) } else { ('+', self.offset) };
        format!(
            "{}, {} {} {} {:02}:{:02}:{:02} {sign}{:02}{:02}",
            DAYS[self.weekday],
            self.day,
            MONTHS[self.month],
            self.year,
            self.hour,
            self.minute,
            self.second,
            offset / 3600,
            offset / 60 % 60
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_as_logs_and_headers_have_them() {
        let time = LocalTime {
            year: 2026,
            month: 2,
            day: 9,
            weekday: 1,
            hour: 3,
            minute: 5,
            second: 7,
            offset: -12_600,
            zone: "NST".into(),
        };
        assert_eq!(time.log_stamp(), "Mar  9 03:05:07");
        assert_eq!(time.header_date(), "Mon, 9 Mar 2026 03:05:07 -0330");
        let now = local_time(1_774_785_159);
        assert_eq!((now.year, now.month), (2026, 2));
    }
}
