//! What a table reaches the system through: files, names, warnings.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

/// Identity and age of a file. Two equal stamps mean that the file was not replaced or rewritten in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Device and inode.
    pub file: (u64, u64),
    /// Length in bytes.
    pub size: u64,
    /// Modification time: seconds and nanoseconds since 1970.
    pub modified: (i64, i64),
}

impl From<&fs::Metadata> for Stamp {
    fn from(meta: &fs::Metadata) -> Self {
        Self { file: (meta.dev(), meta.ino()), size: meta.size(), modified: (meta.mtime(), meta.mtime_nsec()) }
    }
}

/// Opens the files of tables by the path that the configuration names.
pub trait Files: Send + Sync {
    /// Opens `path` for reading.
    ///
    /// # Errors
    ///
    /// As `open(2)`; a path that this process has no directory descriptor for is `PermissionDenied`.
    fn open(&self, path: &str) -> io::Result<File>;

    /// The stamp of the file that [`Files::open`] would open. It is asked for at every lookup, so an implementation may
    /// answer from memory for as long as it likes changes to stay unseen.
    ///
    /// # Errors
    ///
    /// As [`Files::open`].
    fn stamp(&self, path: &str) -> io::Result<Stamp> {
        Ok(Stamp::from(&self.open(path)?.metadata()?))
    }
}

/// The whole file system, for commands that run outside a jail.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemFiles;

impl Files for SystemFiles {
    fn open(&self, path: &str) -> io::Result<File> {
        File::open(path)
    }

    fn stamp(&self, path: &str) -> io::Result<Stamp> {
        Ok(Stamp::from(&fs::metadata(path)?))
    }
}

/// Answers `unix:passwd.byname` and `unix:group.byname`.
pub trait NameService: Send + Sync {
    /// The line of `passwd(5)` for a user, or `None` if there is no such user.
    ///
    /// # Errors
    ///
    /// The name service did not answer.
    fn passwd_by_name(&self, user: &str) -> io::Result<Option<String>>;

    /// The line of `group(5)` for a group, or `None` if there is no such group.
    ///
    /// # Errors
    ///
    /// The name service did not answer.
    fn group_by_name(&self, group: &str) -> io::Result<Option<String>>;
}

/// For processes without a name service: every question is a temporary failure.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoNameService;

impl NameService for NoNameService {
    fn passwd_by_name(&self, _user: &str) -> io::Result<Option<String>> {
        Err(io::Error::other("no name service"))
    }

    fn group_by_name(&self, _group: &str) -> io::Result<Option<String>> {
        Err(io::Error::other("no name service"))
    }
}

/// What tables are opened with. Cloning shares it.
#[derive(Clone)]
pub struct Context {
    /// Opens files.
    pub files: Arc<dyn Files>,
    /// Answers for the system's users and groups.
    pub names: Arc<dyn NameService>,
    /// Takes one warning, without `warning: ` before it and without a line end.
    pub warn: Arc<dyn Fn(&str) + Send + Sync>,
}

impl Context {
    /// The whole file system, no name service, warnings dropped.
    #[must_use]
    pub fn system() -> Self {
        Self { files: Arc::new(SystemFiles), names: Arc::new(NoNameService), warn: Arc::new(|_| {}) }
    }
}
