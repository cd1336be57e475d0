//! seccomp: which system calls a worker may make. Everything else answers `EPERM`, so that a library that tries
//! something optional lives on; nothing that gives a foothold (exec, ptrace, mount, new namespaces, keyrings, bpf,
//! io_uring, …) is in any list.

use std::collections::BTreeMap;
use std::io;

use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, sock_filter,
};

/// Groups of system calls that a service may ask for beside [`BASE`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Calls {
    /// Accepts connections and asks who is at the other end.
    pub accept: bool,
    /// Makes Internet sockets and connects or binds them.
    pub connect: bool,
    /// Opens, creates, renames and syncs files beneath the folders that Landlock grants.
    pub files: bool,
    /// Starts threads of its own.
    pub threads: bool,
    /// Forks (without exec) and reaps children, as a template does.
    pub fork: bool,
    /// Makes sealed memory files.
    pub memfd: bool,
    /// Watches files.
    pub notify: bool,
    /// Adds a narrower jail later (the child of a template).
    pub narrow: bool,
}

/// What every worker does: its loop, its memory, its clock, its sockets as they are.
const BASE: &[c_long] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_fstat,
    libc::SYS_lseek,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_ppoll,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_shutdown,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_fcntl,
    libc::SYS_dup,
    libc::SYS_eventfd2,
    libc::SYS_pipe2,
    libc::SYS_socketpair,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getrandom,
    libc::SYS_futex,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_restart_syscall,
    libc::SYS_getrusage,
    libc::SYS_setitimer,
    libc::SYS_tgkill,
    libc::SYS_rseq,
    libc::SYS_set_robust_list,
    libc::SYS_membarrier,
    libc::SYS_uname,
];

/// Names that x86-64 keeps beside the ones above.
#[cfg(target_arch = "x86_64")]
const LEGACY: &[c_long] = &[libc::SYS_poll, libc::SYS_epoll_wait, libc::SYS_pipe, libc::SYS_alarm, libc::SYS_time];
#[cfg(not(target_arch = "x86_64"))]
const LEGACY: &[c_long] = &[];

const ACCEPT: &[c_long] = &[libc::SYS_accept4, libc::SYS_getsockname, libc::SYS_getpeername];
const CONNECT: &[c_long] = &[libc::SYS_connect, libc::SYS_bind, libc::SYS_getsockname, libc::SYS_getpeername];
const FILES: &[c_long] = &[
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_getdents64,
    libc::SYS_mkdirat,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_linkat,
    libc::SYS_unlinkat,
    libc::SYS_symlinkat,
    libc::SYS_readlinkat,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_syncfs,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_flock,
    libc::SYS_utimensat,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchown,
    libc::SYS_umask,
    libc::SYS_copy_file_range,
    libc::SYS_sendfile,
    libc::SYS_fstatfs,
    libc::SYS_statfs,
    libc::SYS_sync_file_range,
    libc::SYS_kill,
];
#[cfg(target_arch = "x86_64")]
const FILES_LEGACY: &[c_long] = &[libc::SYS_rename, libc::SYS_unlink, libc::SYS_stat, libc::SYS_lstat];
#[cfg(not(target_arch = "x86_64"))]
const FILES_LEGACY: &[c_long] = &[];
const MEMFD: &[c_long] = &[libc::SYS_memfd_create, libc::SYS_ftruncate];
/// A watch takes a path: with `fchdir` that is "." for a folder that is held.
const NOTIFY: &[c_long] =
    &[libc::SYS_inotify_init1, libc::SYS_inotify_add_watch, libc::SYS_inotify_rm_watch, libc::SYS_fchdir];
const FORK: &[c_long] = &[libc::SYS_wait4, libc::SYS_waitid, libc::SYS_kill];
/// What a fork must not ask for: a share of its memory, files or namespaces of its own.
const NO_FORK: u64 = (libc::CLONE_VM
    | libc::CLONE_FS
    | libc::CLONE_FILES
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET) as u64;
const NARROW: &[c_long] = &[
    libc::SYS_landlock_create_ruleset,
    libc::SYS_landlock_add_rule,
    libc::SYS_landlock_restrict_self,
    libc::SYS_seccomp,
];

/// Installs the filter for `calls` on this process and all its later threads.
///
/// # Errors
/// What the kernel says; `Unsupported` on an architecture that seccompiler does not know.
pub fn install(calls: Calls) -> io::Result<()> {
    install_with(calls, false)
}

/// [`install`], with unix sockets besides if `local_sockets`.
pub(crate) fn install_with(calls: Calls, local_sockets: bool) -> io::Result<()> {
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(io::Error::other)?;
    let rules = rules(calls, local_sockets).map_err(io::Error::other)?;
    let filter = SeccompFilter::new(rules, denied(), SeccompAction::Allow, arch);
    let program: BpfProgram = filter.and_then(BpfProgram::try_from).map_err(io::Error::other)?;
    let program: BpfProgram = no_clone3().into_iter().chain(program).collect();
    seccompiler::apply_filter(&program).map_err(io::Error::other)
}

/// `clone3` is not there (`ENOSYS`), which makes libc start a thread with `clone`; `EPERM` would make it give up. The filter
/// cannot see the flags of `clone3`, so it is never allowed.
fn no_clone3() -> [sock_filter; 3] {
    let instruction = |code: u32, skip: u8, k: u32| sock_filter { code: code as u16, jt: 0, jf: skip, k };
    [
        // The number of the system call stands first in what a filter sees.
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, libc::SYS_clone3 as u32),
        instruction(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32),
    ]
}

fn denied() -> SeccompAction {
    SeccompAction::Errno(libc::EPERM as u32)
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

fn rules(calls: Calls, local_sockets: bool) -> Result<Rules, seccompiler::BackendError> {
    let mut rules = Rules::new();
    let mut allow = |list: &[c_long], wanted: bool| {
        for &call in list.iter().filter(|_| wanted) {
            rules.insert(call, Vec::new());
        }
    };
    allow(BASE, true);
    allow(LEGACY, true);
    allow(ACCEPT, calls.accept);
    allow(CONNECT, calls.connect || local_sockets);
    allow(FILES, calls.files);
    allow(FILES_LEGACY, calls.files);
    allow(MEMFD, calls.memfd);
    allow(NOTIFY, calls.notify);
    allow(FORK, calls.fork);
    allow(NARROW, calls.narrow);
    // Memory is never both new and executable.
    let exec = libc::PROT_EXEC as u64;
    rules.insert(libc::SYS_mmap, vec![masked(2, exec, 0)?]);
    rules.insert(libc::SYS_mprotect, vec![masked(2, exec, 0)?]);
    // ioctl: only what std and libc ask a socket or a terminal for.
    let ioctl = [libc::FIONBIO, libc::FIONREAD, libc::TCGETS]
        .into_iter()
        .map(|request| equal(1, request))
        .collect::<Result<_, _>>()?;
    rules.insert(libc::SYS_ioctl, ioctl);
    // prctl: its name, and (for a child that narrows its jail) the same bits once more.
    let mut prctl = vec![equal(0, libc::PR_SET_NAME as u64)?];
    if calls.narrow {
        for option in [libc::PR_SET_NO_NEW_PRIVS, libc::PR_SET_DUMPABLE, libc::PR_SET_SECCOMP] {
            prctl.push(equal(0, option as u64)?);
        }
    }
    rules.insert(libc::SYS_prctl, prctl);
    let families = [(libc::AF_INET, calls.connect), (libc::AF_INET6, calls.connect), (libc::AF_UNIX, local_sockets)];
    let families: Vec<SeccompRule> = families
        .into_iter()
        .filter(|(_, wanted)| *wanted)
        .map(|(family, _)| equal(0, family as u64))
        .collect::<Result<_, _>>()?;
    if !families.is_empty() {
        rules.insert(libc::SYS_socket, families);
    }
    let mut clone = Vec::new();
    if calls.threads {
        let thread = (libc::CLONE_THREAD | libc::CLONE_VM) as u64;
        clone.push(masked(0, thread, thread)?);
    }
    if calls.fork {
        clone.push(masked(0, NO_FORK, 0)?);
    }
    if !clone.is_empty() {
        rules.insert(libc::SYS_clone, clone);
    }
    Ok(rules)
}

fn masked(argument: u8, mask: u64, value: u64) -> Result<SeccompRule, seccompiler::BackendError> {
    let operator = SeccompCmpOp::MaskedEq(mask);
    SeccompRule::new(vec![SeccompCondition::new(argument, SeccompCmpArgLen::Qword, operator, value)?])
}

fn equal(argument: u8, value: u64) -> Result<SeccompRule, seccompiler::BackendError> {
    SeccompRule::new(vec![SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_gives_a_foothold_is_in_any_list() {
        let every = Calls {
            accept: true,
            connect: true,
            files: true,
            threads: true,
            fork: true,
            memfd: true,
            notify: true,
            narrow: true,
        };
        let rules = rules(every, true).unwrap();
        for call in [
            libc::SYS_execve,
            libc::SYS_execveat,
            libc::SYS_ptrace,
            libc::SYS_mount,
            libc::SYS_unshare,
            libc::SYS_setns,
            libc::SYS_setuid,
            libc::SYS_setresuid,
            libc::SYS_setgroups,
            libc::SYS_chroot,
            libc::SYS_bpf,
            libc::SYS_keyctl,
            libc::SYS_io_uring_setup,
            libc::SYS_process_vm_readv,
            libc::SYS_clone3,
            libc::SYS_listen,
            libc::SYS_mknodat,
        ] {
            assert!(!rules.contains_key(&call), "system call {call}");
        }
    }

    #[test]
    fn a_worker_without_files_cannot_open() {
        let rules = rules(Calls { accept: true, ..Calls::default() }, false).unwrap();
        assert!(!rules.contains_key(&libc::SYS_openat) && !rules.contains_key(&libc::SYS_connect));
        assert!(!rules.contains_key(&libc::SYS_socket) && !rules.contains_key(&libc::SYS_clone));
    }

    #[test]
    fn what_a_narrowed_process_has_left_cannot_fork_or_narrow() {
        let rules = rules(Calls { files: true, notify: true, ..Calls::default() }, false).unwrap();
        for call in [libc::SYS_clone, libc::SYS_wait4, libc::SYS_landlock_restrict_self, libc::SYS_seccomp] {
            assert!(!rules.contains_key(&call), "system call {call}");
        }
    }
}
