//! Expansion of `virtual_alias_maps`: one address into many, again and again until nothing changes.

use crate::alias::addresses;
use crate::find::{AddressRules, Strategy, find_address, split_domain};
use crate::{Maps, TableError, fold};
use std::collections::HashSet;
use std::fmt;

/// Settings of the expansion.
pub struct Settings<'a> {
    /// What is local, and how addresses are split.
    pub rules: AddressRules<'a>,
    /// Whether an extension that the key did not match is added to each result (`propagate_unmatched_extensions` names
    /// `virtual`).
    pub propagate_extension: bool,
    /// Completes an address from a table: `append_at_myorigin`, `append_dot_mydomain`, and so on.
    pub complete: &'a dyn Fn(&str) -> String,
    /// The bounds.
    pub limits: Limits,
}

/// Bounds of one expansion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `virtual_alias_expansion_limit`: results of one original recipient.
    pub expansion: usize,
    /// `virtual_alias_recursion_limit`: lookups one after the other for one result.
    pub recursion: usize,
    /// `virtual_alias_address_length_limit`: bytes of one result.
    pub address_length: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { expansion: 1000, recursion: 1000, address_length: 1000 }
    }
}

/// A recipient after expansion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    /// Where the message goes.
    pub address: String,
    /// The address that was expanded into it, `orig_to=` in the log.
    pub original: String,
}

/// Why an address was not expanded. The message is deferred (451 4.6.0, `Alias expansion error`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExpansionError {
    /// A table could not be read.
    Lookup { title: String, address: String, error: TableError },
    /// More results than [`Limits::expansion`].
    Size { title: String, address: String },
    /// Deeper than [`Limits::recursion`].
    Nesting { title: String, address: String },
    /// A result longer than [`Limits::address_length`].
    Length { title: String, result: String },
    /// A value that holds no address.
    NoAddress { title: String, address: String, value: String },
}

impl fmt::Display for ExpansionError {
    /// Postfix's warning.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let later = "message not accepted, try again later";
        match self {
            Self::Lookup { title, address, .. } => write!(f, "{title} map lookup problem for {address} -- {later}"),
            Self::Size { title, address } => {
                write!(f, "unreasonable {title} map expansion size for {address} -- {later}")
            }
            Self::Nesting { title, address } => write!(f, "unreasonable {title} map nesting for {address} -- {later}"),
            Self::Length { title, result } => {
                let shown: String = result.chars().take(300).collect();
                write!(f, "unreasonable {title} result {shown}... -- {later}")
            }
            Self::NoAddress { title, address, value } => {
                write!(f, "{title} lookup of {address} returns non-address result \"{value}\"")
            }
        }
    }
}

impl std::error::Error for ExpansionError {}

/// Expands `address`. Without an entry the result is the address itself.
///
/// An address whose own expansion contains it is kept and not expanded again. An address that comes out twice is a
/// recipient once.
///
/// # Errors
///
/// A table could not be read, or a limit was reached; then the message must be deferred as a whole.
pub fn expand(maps: &Maps, address: &str, settings: &Settings<'_>) -> Result<Vec<Recipient>, ExpansionError> {
    let title = maps.title();
    let mut results = vec![address.to_owned()];
    let mut settled: HashSet<String> = HashSet::new();
    let mut at = 0;
    while at < results.len() {
        for depth in 0.. {
            if results.len() > settings.limits.expansion {
                return Err(ExpansionError::Size { title: title.to_owned(), address: address.to_owned() });
            }
            let key = fold(&results[at]);
            if settled.contains(&key) {
                break;
            }
            if depth >= settings.limits.recursion {
                return Err(ExpansionError::Nesting { title: title.to_owned(), address: address.to_owned() });
            }
            let Some(values) = lookup(maps, &results[at], settings)? else { break };
            if let Some(result) = values.iter().find(|value| value.len() > settings.limits.address_length) {
                return Err(ExpansionError::Length { title: title.to_owned(), result: result.clone() });
            }
            if values.iter().any(|value| fold(value) == key) {
                settled.insert(key);
            }
            let mut values = values.into_iter();
            results[at] = values.next().unwrap_or_default();
            results.extend(values);
        }
        at += 1;
    }
    let mut seen = HashSet::new();
    results.retain(|result| seen.insert(fold(result)));
    Ok(results.into_iter().map(|result| Recipient { address: result, original: address.to_owned() }).collect())
}

/// The addresses that one entry stands for; never an empty list.
fn lookup(maps: &Maps, address: &str, settings: &Settings<'_>) -> Result<Option<Vec<String>>, ExpansionError> {
    let title = || maps.title().to_owned();
    let found = find_address(maps, address, &settings.rules, Strategy::DEFAULT)
        .map_err(|error| ExpansionError::Lookup { title: title(), address: address.to_owned(), error })?;
    let Some(found) = found else { return Ok(None) };
    let extension = found.unmatched_extension.as_deref();
    let targets = match found.value.strip_prefix('@') {
        // The user of this address at another domain, without the extension.
        Some(domain) => {
            let (local, _) = split_domain(address);
            vec![format!("{}@{domain}", local.strip_suffix(extension.unwrap_or_default()).unwrap_or(local))]
        }
        None => addresses(&found.value),
    };
    if targets.is_empty() {
        return Err(ExpansionError::NoAddress { title: title(), address: address.to_owned(), value: found.value });
    }
    let extension = extension.filter(|_| settings.propagate_extension).unwrap_or_default();
    let propagate = |target: String| {
        let complete = (settings.complete)(&target);
        let (local, domain) = split_domain(&complete);
        format!("{local}{extension}{domain}")
    };
    Ok(Some(targets.into_iter().map(propagate).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::find::Delimiters;
    use crate::{Context, TableFlags};

    fn run(table: &str, address: &str, limits: Limits) -> Result<Vec<String>, ExpansionError> {
        let maps = Maps::parse("virtual_alias_maps", table, TableFlags::default(), &Context::system()).unwrap();
        let settings = Settings {
            rules: AddressRules {
                delimiters: Delimiters { recipient_delimiter: "+", ..Delimiters::default() },
                is_local: &|domain| Ok(domain == "here"),
            },
            propagate_extension: true,
            complete: &|target| if target.contains('@') { target.to_owned() } else { format!("{target}@here") },
            limits,
        };
        let recipients = expand(&maps, address, &settings)?;
        assert!(recipients.iter().all(|recipient| recipient.original == address));
        Ok(recipients.into_iter().map(|recipient| recipient.address).collect())
    }

    fn expands(table: &str, address: &str, expected: &[&str]) {
        assert_eq!(run(table, address, Limits::default()).unwrap(), expected, "{address} in {table}");
    }

    #[test]
    fn expansion_table() {
        expands("inline:{a@x=b@x}", "c@x", &["c@x"]);
        expands("inline:{{a@x=b@x, c@y d}}", "a@x", &["b@x", "c@y", "d@here"]);
        expands("inline:{a@x=b@x,b@x=c@x}", "a@x", &["c@x"]);
        expands("inline:{{a@x=a@x, b@x}}", "a@x", &["a@x", "b@x"]);
        expands("inline:{{a@x=b@x, A@x},{b@x=a@x}}", "a@x", &["a@x"]);
        expands("inline:{@x=@y}", "a+e@x", &["a+e@y"]);
        expands("inline:{@x=catch@y}", "any@x", &["catch@y"]);
        expands("inline:{a@x=b@y}", "a+ext@x", &["b+ext@y"]);
        expands("inline:{{a@x=\"b c\"@y, Joe <joe@z>}}", "a@x", &["b c@y", "joe@z"]);
        expands("inline:{root=joe}", "root@here", &["joe@here"]);
        expands("inline:{{a@x=b@y, b@y, B@y}}", "a@x", &["b@y"]);
    }

    #[test]
    fn a_loop_of_two_ends_at_a_limit() {
        let error = run("inline:{a@x=b@x,b@x=a@x}", "a@x", Limits { recursion: 20, ..Limits::default() }).unwrap_err();
        let text = "unreasonable virtual_alias_maps map nesting for a@x -- message not accepted, try again later";
        assert_eq!(error.to_string(), text);
    }

    #[test]
    fn limits_are_crossed_by_one() {
        let limits = Limits { expansion: 3, recursion: 3, address_length: 6 };
        assert_eq!(run("inline:{{a@x=b@x,c@x,d@x}}", "a@x", limits).unwrap().len(), 3);
        assert!(matches!(run("inline:{{a@x=b@x,c@x,d@x,e@x}}", "a@x", limits), Err(ExpansionError::Size { .. })));
        assert_eq!(run("inline:{a@x=b@x,b@x=c@x}", "a@x", limits).unwrap(), ["c@x"]);
        let deep = "inline:{a@x=b@x,b@x=c@x,c@x=d@x}";
        assert!(matches!(run(deep, "a@x", limits), Err(ExpansionError::Nesting { .. })));
        assert!(run("inline:{a@x=1234@x}", "a@x", limits).is_ok());
        assert!(matches!(run("inline:{a@x=12345@x}", "a@x", limits), Err(ExpansionError::Length { .. })));
    }

    #[test]
    fn fan_out_is_bounded_before_it_grows() {
        let table = "inline:{{a@x=b@x,c@x},{b@x=a@x,c@x},{c@x=a@x,b@x}}";
        assert!(run(table, "a@x", Limits::default()).is_err());
    }

    #[test]
    fn failures_defer() {
        let missing = run("hash:/nonexistent/x", "a@x", Limits::default()).unwrap_err();
        let text = "virtual_alias_maps map lookup problem for a@x -- message not accepted, try again later";
        assert_eq!(missing.to_string(), text);
        assert!(matches!(
            run("inline:{{a@x=(comment)}}", "a@x", Limits::default()),
            Err(ExpansionError::NoAddress { .. })
        ));
    }
}
