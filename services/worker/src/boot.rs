//! What a worker finds at its start, and what can go wrong there.

use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use ipc_jail::{Access, Grant};
use ipc_messages::control::{Boot, FIRST_LISTED_FD, FolderAccess, ListenAddress};

/// Why a worker did not start.
#[derive(Debug)]
pub struct StartError(pub String);

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StartError {}

impl StartError {
    /// An error that names the step and what the system said.
    pub fn new(step: impl fmt::Display, error: impl fmt::Display) -> StartError {
        StartError(format!("{step}: {error}"))
    }
}

/// A folder that the master opened for this worker.
#[derive(Debug)]
pub struct Folder {
    /// The absolute path by which the configuration names it.
    pub path: PathBuf,
    /// The folder.
    pub fd: OwnedFd,
}

/// What the master prepared for this process, beside its configuration section.
#[derive(Debug)]
pub struct Setup {
    /// What the master said.
    pub boot: Boot,
    /// Folders, by their paths.
    pub folders: Vec<Folder>,
    pub(crate) listeners: Vec<OwnedFd>,
    pub(crate) inbox: Option<OwnedFd>,
}

impl Setup {
    pub(crate) fn new(boot: Boot) -> Result<Setup, StartError> {
        let mut next = FIRST_LISTED_FD;
        let mut take = |what: &str| {
            let fd =
                ipc_jail::sys::inherited(next).map_err(|error| StartError::new(format!("descriptor of {what}"), error));
            next += 1;
            fd
        };
        let listeners = boot.listeners.iter().map(|listener| take(&listener.name)).collect::<Result<_, _>>()?;
        let inbox = if boot.inbox { Some(take("inbox")?) } else { None };
        let folders = (boot.folders.iter())
            .map(|folder| Ok(Folder { path: folder.path.clone(), fd: take("folder")? }))
            .collect::<Result<_, StartError>>()?;
        Ok(Setup { boot, folders, listeners, inbox })
    }

    /// The hand-off inbox, for a service that reads it itself.
    pub fn take_inbox(&mut self) -> Option<OwnedFd> {
        self.inbox.take()
    }

    /// A copy of the only folder, for a service that works in one. The folder itself stays: the jail grants what is there.
    ///
    /// # Errors
    /// That there is none, or what the system says.
    pub fn only_folder(&self) -> Result<OwnedFd, StartError> {
        let folder = self.folders.first().ok_or_else(|| StartError("its folder is missing".into()))?;
        folder.fd.try_clone().map_err(|error| StartError::new(folder.path.display(), error))
    }

    /// The folder that the configuration names `path`, or one above it, with the rest of the path below it.
    pub fn folder_of<'a>(&self, path: &'a Path) -> Option<(&Folder, &'a Path)> {
        let candidates = self.folders.iter().filter_map(|folder| Some((folder, path.strip_prefix(&folder.path).ok()?)));
        candidates.max_by_key(|(folder, _)| folder.path.as_os_str().len())
    }

    /// Landlock rules for the folders.
    pub(crate) fn grants(&self) -> Result<Vec<Grant>, StartError> {
        let mut grants = Vec::new();
        for (folder, told) in self.folders.iter().zip(&self.boot.folders) {
            let access = match told.access {
                FolderAccess::Read => Access::Read,
                FolderAccess::Write => Access::Write,
            };
            let fd = folder.fd.as_fd().try_clone_to_owned();
            let folder = fd.map_err(|error| StartError::new(folder.path.display(), error))?;
            grants.push(Grant { folder, access });
        }
        Ok(grants)
    }

    /// Whether listener `index` is a unix socket.
    pub(crate) fn is_unix(&self, index: usize) -> bool {
        matches!(self.boot.listeners[index].at, ListenAddress::Unix(_))
    }
}
