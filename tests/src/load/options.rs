//! The `name=value` words of a case.

use std::collections::BTreeMap;
use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;

/// What can go wrong here: everything ends the run.
pub type Problem = Box<dyn std::error::Error + Send + Sync>;

/// The words of one case.
pub struct Options {
    values: BTreeMap<String, String>,
}

impl Options {
    /// Takes words of the shape `name=value`.
    pub fn parse(words: impl Iterator<Item = String>) -> Result<Options, Problem> {
        let mut values = BTreeMap::new();
        for word in words {
            let (name, value) = word.split_once('=').ok_or_else(|| format!("{word} is not name=value"))?;
            values.insert(name.to_owned(), value.to_owned());
        }
        Ok(Options { values })
    }

    /// A value that must be there.
    pub fn text(&self, name: &str) -> Result<&str, Problem> {
        self.optional(name).ok_or_else(|| format!("{name}=… is missing").into())
    }

    /// A value that may be there.
    pub fn optional(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// A number that must be there.
    pub fn number<T: FromStr>(&self, name: &str) -> Result<T, Problem> {
        self.text(name)?.parse().map_err(|_| format!("{name} is not a number").into())
    }

    /// A host and port that must be there.
    pub fn address(&self, name: &str) -> Result<SocketAddr, Problem> {
        self.text(name)?.to_socket_addrs()?.next().ok_or_else(|| format!("{name} is no address").into())
    }

    /// The address of the recipient with this number.
    pub fn recipient(&self, number: usize) -> Result<String, Problem> {
        let count: usize = self.number("recipients")?;
        Ok(format!("user{}@{}", number % count.max(1), self.domain()))
    }

    /// The domain of all recipients.
    pub fn domain(&self) -> &str {
        self.optional("domain").unwrap_or("maildomain.test")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(words: &[&str]) -> Result<Options, Problem> {
        Options::parse(words.iter().map(|&word| word.to_owned()))
    }

    #[test]
    fn words_are_names_and_values() {
        let some = options(&["to=127.0.0.1:25", "recipients=3", "password=a=b"]).unwrap();
        assert_eq!(some.address("to").unwrap(), "127.0.0.1:25".parse().unwrap());
        assert_eq!(some.text("password").unwrap(), "a=b");
        assert_eq!(some.recipient(7).unwrap(), "user1@maildomain.test");
        assert!(some.number::<usize>("to").is_err());
        assert!(some.text("user").is_err());
        assert!(options(&["sessions"]).is_err());
    }
}
