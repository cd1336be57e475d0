//! What can go wrong with the disk: the step, the file and the system's reason.

use std::fmt;
use std::io;

use nix::errno::Errno;

/// A step that the disk refused. Nothing that was acknowledged is lost by it; what was being done is not done, and the
/// client is told to come again: 452 4.3.1 if [`DiskError::is_full`], else 451 4.3.0.
#[derive(Debug)]
pub struct DiskError {
    pub step: &'static str,
    /// Relative to the queue directory.
    pub path: String,
    pub source: io::Error,
}

impl DiskError {
    /// No space, no quota or no inode left.
    pub fn is_full(&self) -> bool {
        [Errno::ENOSPC, Errno::EDQUOT].map(|errno| Some(errno as i32)).contains(&self.source.raw_os_error())
    }

    pub fn is_missing(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.step, self.path, self.source)
    }
}

impl std::error::Error for DiskError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Says of an `io::Result` what was being done, and to which file.
pub(crate) trait During<T> {
    fn during(self, step: &'static str, path: &str) -> Result<T, DiskError>;
}

impl<T> During<T> for io::Result<T> {
    fn during(self, step: &'static str, path: &str) -> Result<T, DiskError> {
        self.map_err(|source| DiskError { step, path: path.into(), source })
    }
}
