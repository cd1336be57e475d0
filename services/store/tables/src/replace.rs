//! Replaces a file in one step.

use crate::berkeley::is_berkeley_db;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

/// What [`replace`] found in the place of the new file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Replaced {
    /// No file, or one of ours.
    Plain,
    /// A Berkeley DB file, which now has this name.
    BerkeleyDb(PathBuf),
}

/// Writes a new file and puts it in the place of `path`.
///
/// A file that was there keeps its owner and mode, as it does when Postfix rewrites it in place; a new one gets `mode`.
/// A Berkeley DB file is kept beside the new one as `path.bdb`.
///
/// # Errors
///
/// Any step failed; `path` is then what it was before.
pub(crate) fn replace(
    path: &Path,
    mode: u32,
    write: impl FnOnce(&mut BufWriter<&File>) -> io::Result<()>,
) -> io::Result<Replaced> {
    let present = match File::open(path) {
        Ok(file) => Some(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let replaced = match &present {
        Some(file) if is_berkeley_db(file)? => {
            let kept = with_suffix(path, ".bdb");
            let mut file = file;
            // A crash after this leaves the Berkeley DB file under both names.
            exchange(&kept, Some(file), mode, |output| io::copy(&mut file, output).map(drop))?;
            Replaced::BerkeleyDb(kept)
        }
        _ => Replaced::Plain,
    };
    exchange(path, present.as_ref(), mode, write)?;
    Ok(replaced)
}

fn exchange(
    path: &Path,
    like: Option<&File>,
    mode: u32,
    write: impl FnOnce(&mut BufWriter<&File>) -> io::Result<()>,
) -> io::Result<()> {
    let temporary = with_suffix(path, &format!(".{}.tmp", std::process::id()));
    let result = write_new(&temporary, like, mode, write).and_then(|()| {
        // A crash before this leaves the old file and a temporary one, which the next build by the same process number
        // removes; a crash after it leaves the old or the new file, each whole.
        fs::rename(&temporary, path)?;
        File::open(directory(path))?.sync_all()
    });
    if result.is_err() {
        // Already gone when the rename was what succeeded; nothing depends on it.
        fs::remove_file(&temporary).ok();
    }
    result
}

fn write_new(
    temporary: &Path,
    like: Option<&File>,
    mode: u32,
    write: impl FnOnce(&mut BufWriter<&File>) -> io::Result<()>,
) -> io::Result<()> {
    match fs::remove_file(temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(temporary)?;
    if let Some(like) = like {
        let (meta, new) = (like.metadata()?, file.metadata()?);
        if (meta.uid(), meta.gid()) != (new.uid(), new.gid()) {
            fchown(&file, Some(meta.uid()), Some(meta.gid()))?;
        }
        file.set_permissions(fs::Permissions::from_mode(meta.mode() & 0o7777))?;
    }
    let mut output = BufWriter::new(&file);
    write(&mut output)?;
    output.flush()?;
    drop(output);
    file.sync_all()
}

fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// `path` with `suffix` added to its last component.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode_of(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn keeps_the_mode_of_a_file_that_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        replace(&path, 0o600, |output| output.write_all(b"one")).unwrap();
        assert_eq!(mode_of(&path), 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        replace(&path, 0o644, |output| output.write_all(b"two")).unwrap();
        assert_eq!((mode_of(&path), fs::read(&path).unwrap()), (0o640, b"two".to_vec()));
    }

    #[test]
    fn failure_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        fs::write(&path, "old").unwrap();
        let result = replace(&path, 0o644, |output| {
            output.write_all(b"half")?;
            Err(io::Error::other("disk full"))
        });
        assert!(result.is_err());
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn keeps_a_berkeley_db_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        let mut old = vec![0; 512];
        old[12..16].copy_from_slice(&0x0006_1561u32.to_le_bytes());
        fs::write(&path, &old).unwrap();
        let replaced = replace(&path, 0o644, |output| output.write_all(b"new")).unwrap();
        let kept = folder.path().join("x.db.bdb");
        assert_eq!(replaced, Replaced::BerkeleyDb(kept.clone()));
        assert_eq!((fs::read(&kept).unwrap(), fs::read(&path).unwrap()), (old, b"new".to_vec()));
    }
}
