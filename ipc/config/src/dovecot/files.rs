//! What the reader of `dovecot.conf` needs of the machine: files, names in a folder, and accounts.
//!
//! Everything else in [`crate::dovecot`] is pure; a test hands in files that exist only in memory.

use std::io;
use std::path::Path;

/// Largest file that a configuration may consist of or name, in bytes.
pub const MAX_FILE: u64 = 1 << 20;

/// Files, as the process that compiles the configuration sees them.
pub trait Files {
    /// The whole content of a file of at most [`MAX_FILE`] bytes.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// Whether a file can be opened for reading. Its content is not looked at: this is how private keys are checked.
    fn readable(&self, path: &Path) -> io::Result<()>;

    /// The names in a folder, without `.` and `..`, in no order. A name that is not UTF-8 is left out.
    fn names(&self, folder: &Path) -> io::Result<Vec<String>>;
}

/// Accounts of the machine.
pub trait Accounts {
    /// Whether there is a user of that name.
    fn has_user(&self, name: &str) -> bool;

    /// Whether there is a group of that name.
    fn has_group(&self, name: &str) -> bool;
}

/// The machine itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Machine;

impl Files for Machine {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        use io::Read;
        let mut content = Vec::new();
        std::fs::File::open(path)?.take(MAX_FILE + 1).read_to_end(&mut content)?;
        if content.len() as u64 > MAX_FILE {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("File is larger than {MAX_FILE} bytes")));
        }
        Ok(content)
    }

    fn readable(&self, path: &Path) -> io::Result<()> {
        std::fs::File::open(path).map(drop)
    }

    fn names(&self, folder: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }
}

impl Accounts for Machine {
    fn has_user(&self, name: &str) -> bool {
        matches!(nix::unistd::User::from_name(name), Ok(Some(_)))
    }

    fn has_group(&self, name: &str) -> bool {
        matches!(nix::unistd::Group::from_name(name), Ok(Some(_)))
    }
}

/// The text of an error of the system, without the number that Rust adds: `No such file or directory`.
pub fn error_text(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

#[cfg(test)]
pub mod memory {
    //! Files and accounts that exist only in memory.

    use super::{Accounts, Files};
    use std::collections::BTreeMap;
    use std::io;
    use std::path::{Path, PathBuf};

    /// Files by their absolute path, and names of accounts.
    #[derive(Clone, Debug, Default)]
    pub struct Memory {
        pub files: BTreeMap<PathBuf, Vec<u8>>,
        pub accounts: Vec<String>,
    }

    impl Memory {
        /// Files from pairs of path and text, with the accounts that Dovecot needs.
        pub fn new<const N: usize>(files: [(&str, &str); N]) -> Memory {
            Memory {
                files: files.into_iter().map(|(path, text)| (path.into(), text.as_bytes().to_vec())).collect(),
                accounts: ["root", "dovecot", "dovenull", "postfix", "vmail"].map(str::to_owned).to_vec(),
            }
        }
    }

    impl Files for Memory {
        fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
            self.files.get(path).cloned().ok_or_else(|| io::Error::from_raw_os_error(nix::libc::ENOENT))
        }

        fn readable(&self, path: &Path) -> io::Result<()> {
            self.read(path).map(drop)
        }

        fn names(&self, folder: &Path) -> io::Result<Vec<String>> {
            let below = self.files.keys().filter_map(|path| path.strip_prefix(folder).ok());
            let mut names: Vec<String> =
                below.filter_map(|rest| Some(rest.iter().next()?.to_str()?.to_owned())).collect();
            names.dedup();
            if names.is_empty() { Err(io::Error::from_raw_os_error(nix::libc::ENOENT)) } else { Ok(names) }
        }
    }

    impl Accounts for Memory {
        fn has_user(&self, name: &str) -> bool {
            self.accounts.iter().any(|known| known == name)
        }

        fn has_group(&self, name: &str) -> bool {
            self.has_user(name)
        }
    }
}
