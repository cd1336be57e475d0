//! Where the configuration is.
//!
//! A folder holds `main.cf`, `master.cf` and `dovecot.conf`; each may be a link. The default is `/etc/posthorn`, else
//! Postfix's and Dovecot's own places. The system runs what its folder holds and no more; the classic commands, which also
//! work beside a half that does not run, look for a file that `/etc/posthorn` lacks where the real program has it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ipc_config::diagnostic::{Diagnostics, Location, Severity};
use ipc_config::postfix::main_cf::{MainCf, Setting};
use ipc_config::postfix::master_cf::MasterCf;
use ipc_config::postfix::system::ThisHost;

use crate::console::reason;
use crate::log::Reporter;

/// The folder of an instance unless one is named.
const FOLDER: &str = "/etc/posthorn";
/// Postfix's folder.
const POSTFIX: &str = "/etc/postfix";
/// Dovecot's file.
const DOVECOT: &str = "/etc/dovecot/dovecot.conf";
/// Postfix's environment variable for another folder.
const MAIL_CONFIG: &str = "MAIL_CONFIG";

/// What the classic names of Postfix work with.
pub struct Transport {
    /// The folder.
    pub folder: PathBuf,
    /// `main.cf`.
    pub main: MainCf,
    /// What reading it found.
    pub found: Diagnostics,
}

impl Transport {
    /// Reads `main.cf` in the folder that `-c`, the environment or the default names.
    ///
    /// # Errors
    /// What Postfix's commands say after `fatal:` when there is no such file or it cannot be understood.
    pub fn read(given: Option<&str>, reporter: &Reporter) -> Result<Transport, String> {
        let transport = Transport::open(given)?;
        tell(&transport.found, reporter)?;
        Ok(transport)
    }

    /// The same without a word about what is wrong in the file.
    ///
    /// # Errors
    /// There is no such file.
    pub fn open(given: Option<&str>) -> Result<Transport, String> {
        let folder = transport_folder(given);
        let path = folder.join("main.cf");
        std::fs::File::open(&path).map_err(|error| format!("open {}: {}", path.display(), reason(&error)))?;
        let mut found = Diagnostics::new();
        let main = MainCf::read(&path.to_string_lossy(), Arc::new(ThisHost), &mut found);
        let value = folder.to_string_lossy().into_owned();
        let main = match value == POSTFIX {
            true => main,
            false => main.with_overrides(&[setting("config_directory", &value)]),
        };
        Ok(Transport { folder, main, found })
    }

    /// Reads `master.cf` beside it.
    ///
    /// # Errors
    /// `open PATH: REASON`.
    pub fn master(&self, found: &mut Diagnostics) -> Result<MasterCf, String> {
        let path = self.folder.join("master.cf");
        std::fs::File::open(&path).map_err(|error| format!("open {}: {}", path.display(), reason(&error)))?;
        Ok(MasterCf::read(&path.to_string_lossy(), &self.main, found))
    }

    /// The expanded value of a parameter; empty where it cannot be expanded, which `check` reports.
    pub fn value(&self, name: &str) -> String {
        self.main.expanded(name).unwrap_or_default().text
    }
}

/// Says what reading a file found, in Postfix's words.
///
/// # Errors
/// The first finding that ends a command.
pub fn tell(found: &Diagnostics, reporter: &Reporter) -> Result<(), String> {
    for finding in found {
        let text = match finding.line {
            0 => format!("{}: {}", finding.file, finding.problem),
            line => format!("{}, line {line}: {}", finding.file, finding.problem),
        };
        match finding.severity {
            Severity::Error => return Err(text),
            Severity::Warning => reporter.warning(&text),
            Severity::Note => {}
        }
    }
    Ok(())
}

/// A setting of the command line.
pub fn setting(name: &str, value: &str) -> Setting {
    Setting { name: name.to_owned(), value: value.to_owned(), at: Location::file("command line") }
}

/// The folder that a classic command is given: by `-c`, else by the environment.
pub fn given_folder(option: Option<&str>) -> Option<String> {
    let from_environment = || std::env::var(MAIL_CONFIG).ok().filter(|folder| !folder.is_empty());
    option.map(str::to_owned).or_else(from_environment)
}

/// The folder of `main.cf`: the one that is given, else where the default place's `main.cf` really is.
fn transport_folder(given: Option<&str>) -> PathBuf {
    if let Some(folder) = given_folder(given) {
        return folder.into();
    }
    real_place(&Path::new(FOLDER).join("main.cf"))
        .and_then(|path| path.parent().map(Path::to_owned))
        .unwrap_or_else(|| POSTFIX.into())
}

/// The `dovecot.conf` that the classic names of Dovecot work with.
pub fn dovecot_conf(given: Option<&str>) -> PathBuf {
    match given {
        Some(path) => path.into(),
        None => real_place(&Path::new(FOLDER).join("dovecot.conf")).unwrap_or_else(|| DOVECOT.into()),
    }
}

/// The file behind links; `None` when it is not there.
fn real_place(path: &Path) -> Option<PathBuf> {
    path.canonicalize().ok()
}

/// Replaces a file as a whole: written beside it, with its mode and owner, synced, renamed. A link keeps its place, and
/// what it leads to is replaced.
///
/// # Errors
/// What the system says.
pub fn replace(path: &Path, text: &str) -> io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
    let path = path.canonicalize()?;
    let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
    let before = std::fs::metadata(&path)?;
    let write = || {
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(text.as_bytes())?;
        let after = file.metadata()?;
        if (before.uid(), before.gid()) != (after.uid(), after.gid()) {
            std::os::unix::fs::fchown(&file, Some(before.uid()), Some(before.gid()))?;
        }
        file.set_permissions(before.permissions())?;
        // A crash before the rename leaves the old file and a stray temporary one; after it, one of the two whole files.
        file.sync_all()?;
        std::fs::rename(&temporary, &path)?;
        path.parent().map_or(Ok(()), |folder| std::fs::File::open(folder)?.sync_all())
    };
    write().inspect_err(|_| {
        // It may not have been made at all.
        let _ = std::fs::remove_file(&temporary);
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn main_cf_knows_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let name = folder.path().to_string_lossy().into_owned();
        let missing = Transport::open(Some(&name)).err();
        assert_eq!(missing, Some(format!("open {name}/main.cf: No such file or directory")));
        std::fs::write(folder.path().join("main.cf"), "myhostname = a.example\n").unwrap();
        let transport = Transport::open(Some(&name)).unwrap();
        assert_eq!((transport.value("config_directory"), transport.value("myhostname")), (name, "a.example".into()));
        assert!(
            transport.master(&mut Diagnostics::new()).unwrap_err().ends_with("master.cf: No such file or directory")
        );
    }

    #[test]
    fn a_replaced_file_keeps_its_mode_and_its_links() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        std::fs::write(&file, "old").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
        symlink(&file, &link).unwrap();
        replace(&link, "new").unwrap();
        assert!(link.symlink_metadata().unwrap().is_symlink());
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "new");
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
