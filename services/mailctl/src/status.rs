//! Exit statuses: those of sysexits(3), and the two programs' own.

/// What a command ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status(pub u8);

impl Status {
    /// It was done.
    pub const OK: Status = Status(0);
    /// Postfix's commands end with this after `fatal:`.
    pub const FAILURE: Status = Status(1);
    /// `EX_USAGE`: the command line is wrong.
    pub const USAGE: Status = Status(64);
    /// `EX_NOINPUT`: what is named is not there.
    pub const NO_INPUT: Status = Status(66);
    /// `EX_NOUSER`: an account does not exist.
    pub const NO_USER: Status = Status(67);
    /// `EX_UNAVAILABLE`: the mail system is down, or the command is not built.
    pub const UNAVAILABLE: Status = Status(69);
    /// `EX_SOFTWARE`: the mail system answered what it should not.
    pub const SOFTWARE: Status = Status(70);
    /// `EX_OSERR`: the operating system refused.
    pub const OS_ERROR: Status = Status(71);
    /// `EX_CANTCREAT`: a file cannot be made.
    pub const CANNOT_CREATE: Status = Status(73);
    /// `EX_IOERR`: output cannot be written.
    pub const IO_ERROR: Status = Status(74);
    /// `EX_TEMPFAIL`: not now; Dovecot's `doveadm` when the server does not run.
    pub const TEMPORARY: Status = Status(75);
    /// `EX_NOPERM`: not permitted.
    pub const NO_PERMISSION: Status = Status(77);
    /// `EX_CONFIG`: the configuration is refused.
    pub const CONFIG: Status = Status(78);
    /// Dovecot's `FATAL_DEFAULT`.
    pub const DOVECOT_FATAL: Status = Status(89);
}
