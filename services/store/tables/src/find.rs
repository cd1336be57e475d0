//! The orders in which Postfix tries the keys of an address, a domain or a network address.
//!
//! Addresses here are in internal form: the local part without quotes, the last `@` before the domain. Tables hold them
//! in external form, so each key is tried quoted first and then, if that differs, as it is.

use crate::{Maps, Part, TableError};
use std::net::IpAddr;

/// The settings that the splitting of addresses depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delimiters<'a> {
    /// `recipient_delimiter`: each character of it separates a user from an extension.
    pub recipient_delimiter: &'a str,
    /// `owner_request_special`: with a `-` among the delimiters, `owner-list` and `list-request` are whole names.
    pub owner_request_special: bool,
    /// `double_bounce_sender`, never split.
    pub double_bounce_sender: &'a str,
}

impl Default for Delimiters<'_> {
    /// Postfix's defaults: no delimiter.
    fn default() -> Self {
        Self { recipient_delimiter: "", owner_request_special: true, double_bounce_sender: "double-bounce" }
    }
}

impl Delimiters<'_> {
    /// Splits a local part at the first delimiter: the user, and the extension without the delimiter.
    ///
    /// `postmaster`, `mailer-daemon` and the double-bounce address are whole whatever the delimiter is, and no split leaves
    /// an empty user.
    #[must_use]
    pub fn split<'l>(&self, local: &'l str) -> Option<(&'l str, &'l str)> {
        let whole = ["postmaster", "mailer-daemon", self.double_bounce_sender];
        if whole.iter().any(|name| local.eq_ignore_ascii_case(name)) {
            return None;
        }
        if self.owner_request_special && self.recipient_delimiter.contains('-') {
            let owner = local.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("owner-"));
            let request =
                local.len() > 8 && local.get(local.len() - 8..).is_some_and(|end| end.eq_ignore_ascii_case("-request"));
            if owner || request {
                return None;
            }
        }
        let (at, delimiter) = local.char_indices().find(|(_, letter)| self.recipient_delimiter.contains(*letter))?;
        (at > 0).then(|| (&local[..at], &local[at + delimiter.len_utf8()..]))
    }

    /// Takes the extension out of an address: the address without it, and the extension with its delimiter.
    #[must_use]
    pub fn strip(&self, address: &str) -> Option<(String, String)> {
        let (local, domain) = split_domain(address);
        let (user, _) = self.split(local)?;
        Some((format!("{user}{}", &address[address.len() - domain.len()..]), local[user.len()..].to_owned()))
    }
}

/// The local part, and the `@` with the domain, which is empty in an address without one.
#[must_use]
pub fn split_domain(address: &str) -> (&str, &str) {
    address.split_at(address.rfind('@').unwrap_or(address.len()))
}

/// The local part in external form if it needs quotes, otherwise as it is; the domain unchanged.
#[must_use]
pub fn quote_address(address: &str) -> String {
    let (local, domain) = split_domain(address);
    let plain = !local.is_empty()
        && !local.starts_with('.')
        && !local.ends_with('.')
        && !local.contains("..")
        && !local.contains(|letter: char| letter.is_ascii_control() || " ()<>@,;:\\\"[]".contains(letter));
    if plain {
        return address.to_owned();
    }
    let mut quoted = String::from('"');
    for letter in local.chars() {
        if matches!(letter, '"' | '\\' | '\r') {
            quoted.push('\\');
        }
        quoted.push(letter);
    }
    quoted.push('"');
    quoted + domain
}

/// How a parent domain is looked up (`parent_domain_matches_subdomains`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parents {
    /// The parameter is listed there: `example.com` matches its subdomains.
    Plain,
    /// It is not: `.example.com` matches the subdomains.
    Dotted,
}

/// The keys that an address lookup tries, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Strategy {
    /// `user` (and `user+ext`) if the domain is local.
    pub local_part_if_local: bool,
    /// `@domain`.
    pub at_domain: bool,
    /// `domain` and its parents.
    pub domain: Option<Parents>,
    /// `user@` (and `user+ext@`).
    pub local_part_at: bool,
}

impl Strategy {
    /// virtual(5), canonical(5), and most other tables: `user+ext@domain`, `user@domain`, `user+ext`, `user`, `@domain`.
    pub const DEFAULT: Self = Self { local_part_if_local: true, at_domain: true, domain: None, local_part_at: false };

    /// access(5): `user+ext@domain`, `user@domain`, `domain` and its parents, `user+ext@`, `user@`.
    #[must_use]
    pub const fn access(parents: Parents) -> Self {
        Self { local_part_if_local: false, at_domain: false, domain: Some(parents), local_part_at: true }
    }
}

/// What is local, and how addresses are split.
pub struct AddressRules<'a> {
    /// How addresses are split.
    pub delimiters: Delimiters<'a>,
    /// Whether mail for a domain is delivered here: `$myorigin`, `$mydestination`, or an own address in brackets. An error
    /// (a table in `mydestination` that cannot be read) ends the search.
    pub is_local: &'a dyn Fn(&str) -> Result<bool, TableError>,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The value in the table.
    pub value: String,
    /// The extension, delimiter included, if the key that matched was without it.
    pub unmatched_extension: Option<String>,
}

/// Looks an address up.
///
/// # Errors
///
/// A table could not be read before an answer was found.
pub fn find_address(
    maps: &Maps,
    address: &str,
    rules: &AddressRules<'_>,
    strategy: Strategy,
) -> Result<Option<Found>, TableError> {
    let stripped = rules.delimiters.strip(address);
    let search = |part: Part, form: &dyn Fn(&str) -> String| -> Result<Option<Found>, TableError> {
        if let Some(value) = find_quoted(maps, &form(address), part)? {
            return Ok(Some(Found { value, unmatched_extension: None }));
        }
        let Some((bare, extension)) = &stripped else { return Ok(None) };
        let value = find_quoted(maps, &form(bare), Part::Partial)?;
        Ok(value.map(|value| Found { value, unmatched_extension: Some(extension.clone()) }))
    };

    if let Some(found) = search(Part::Full, &str::to_owned)? {
        return Ok(Some(found));
    }
    let (_, at_domain) = split_domain(address);
    if let Some(domain) = at_domain.strip_prefix('@') {
        if strategy.local_part_if_local
            && (rules.is_local)(domain)?
            && let Some(found) = search(Part::Partial, &|key| split_domain(key).0.to_owned())?
        {
            return Ok(Some(found));
        }
        let plain = |value: Option<String>| value.map(|value| Found { value, unmatched_extension: None });
        if strategy.at_domain
            && let Some(found) = plain(maps.find(at_domain, Part::Partial)?)
        {
            return Ok(Some(found));
        }
        if let Some(parents) = strategy.domain
            && let Some(found) = plain(find_domain(maps, domain, Part::Partial, parents)?)
        {
            return Ok(Some(found));
        }
    }
    if strategy.local_part_at {
        return search(Part::Partial, &|key| format!("{}@", split_domain(key).0));
    }
    Ok(None)
}

/// Tries a key in external form, then in internal form if that differs.
fn find_quoted(maps: &Maps, key: &str, part: Part) -> Result<Option<String>, TableError> {
    let external = if key.contains('@') { quote_address(key) } else { quote_bare(key) };
    match maps.find(&external, part)? {
        None if external != key => maps.find(key, part),
        answer => Ok(answer),
    }
}

/// A local part without a domain in external form; an empty one stays empty and finds nothing.
fn quote_bare(local: &str) -> String {
    if local.is_empty() { String::new() } else { quote_address(local) }
}

/// Looks up a domain and its parents, top-level domains included. A numerical host name has no parents.
///
/// # Errors
///
/// A table could not be read before an answer was found.
pub fn find_domain(maps: &Maps, domain: &str, part: Part, parents: Parents) -> Result<Option<String>, TableError> {
    let numerical = domain.parse::<IpAddr>().is_ok();
    let mut part = part;
    let mut name = domain;
    while !name.is_empty() {
        if let Some(value) = maps.find(name, part)? {
            return Ok(Some(value));
        }
        // The next dot after the first character, which is a dot itself where parents are dotted.
        let dot = name.char_indices().skip(1).find(|(_, letter)| *letter == '.').map(|(at, _)| at);
        let Some(dot) = dot.filter(|_| !numerical) else { return Ok(None) };
        name = &name[if parents == Parents::Plain { dot + 1 } else { dot }..];
        part = Part::Partial;
    }
    Ok(None)
}

/// Looks up a network address and the networks above it: `192.0.2.1`, `192.0.2`, `192.0`, `192`; IPv6 at each colon.
///
/// # Errors
///
/// A table could not be read before an answer was found.
pub fn find_network_address(maps: &Maps, address: &str, part: Part) -> Result<Option<String>, TableError> {
    let delimiter = if address.contains(':') { ':' } else { '.' };
    let mut part = part;
    let mut key = address;
    loop {
        if let Some(value) = maps.find(key, part)? {
            return Ok(Some(value));
        }
        let Some(at) = key.rfind(delimiter) else { return Ok(None) };
        key = &key[..at];
        part = Part::Partial;
    }
}

/// Looks up a client as `check_client_access` does: its name and parent domains, then its address and networks.
///
/// # Errors
///
/// A table could not be read before an answer was found.
pub fn find_client(maps: &Maps, name: &str, address: &str, parents: Parents) -> Result<Option<String>, TableError> {
    match find_domain(maps, name, Part::Full, parents)? {
        None => find_network_address(maps, address, Part::Full),
        answer => Ok(answer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Context, TableFlags};

    fn maps(value: &str) -> Maps {
        Maps::parse("test_maps", value, TableFlags::default(), &Context::system()).unwrap()
    }

    fn delimiters(recipient_delimiter: &str) -> Delimiters<'_> {
        Delimiters { recipient_delimiter, ..Delimiters::default() }
    }

    #[test]
    fn splitting_table() {
        for (set, local, split) in [
            ("+", "user+ext", Some(("user", "ext"))),
            ("+", "user+a+b", Some(("user", "a+b"))),
            ("+-", "user-ext+x", Some(("user", "ext+x"))),
            ("+", "+ext", None),
            ("+", "user+", Some(("user", ""))),
            ("+", "user", None),
            ("", "user+ext", None),
            ("-", "owner-list", None),
            ("-", "OWNER-list", None),
            ("-", "list-request", None),
            ("-", "-request", None),
            ("+", "list+x-request", Some(("list", "x-request"))),
            ("-", "double-bounce", None),
            ("-", "Mailer-Daemon", None),
        ] {
            assert_eq!(delimiters(set).split(local), split, "{set} {local}");
        }
        let open = Delimiters { owner_request_special: false, ..delimiters("-") };
        assert_eq!(open.split("owner-list"), Some(("owner", "list")));
    }

    #[test]
    fn strip_keeps_the_domain() {
        let strip = |address| delimiters("+-").strip(address);
        assert_eq!(strip("foo-ext@bar"), Some(("foo@bar".into(), "-ext".into())));
        assert_eq!(strip("foo bar+ext"), Some(("foo bar".into(), "+ext".into())));
        assert_eq!(strip("foo@b-ar"), None);
    }

    #[test]
    fn quoting() {
        for (address, external) in [
            ("user@example.com", "user@example.com"),
            ("a b@example.com", "\"a b\"@example.com"),
            ("a@b@example.com", "\"a@b\"@example.com"),
            ("a\"b", "\"a\\\"b\""),
            (".a@x", "\".a\"@x"),
            ("jörg@x", "jörg@x"),
            ("", "\"\""),
        ] {
            assert_eq!(quote_address(address), external);
        }
    }

    fn find(table: &str, address: &str, strategy: Strategy) -> Option<(String, Option<String>)> {
        let rules = AddressRules { delimiters: delimiters("+"), is_local: &|domain| Ok(domain == "local.example") };
        let found = find_address(&maps(table), address, &rules, strategy).unwrap();
        found.map(|found| (found.value, found.unmatched_extension))
    }

    /// Each record alone, in the order of the search: the first is found before all that follow.
    fn order(records: &[(&str, Option<&str>)], address: &str, strategy: Strategy) {
        for (first, (key, extension)) in records.iter().enumerate() {
            let rest: Vec<_> = records[first..]
                .iter()
                .enumerate()
                .map(|(at, (key, _))| format!("{{{key}=v{}}}", first + at))
                .collect();
            let expected = (format!("v{first}"), extension.map(str::to_owned));
            assert_eq!(find(&format!("inline:{{{}}}", rest.join(",")), address, strategy), Some(expected), "{key}");
        }
    }

    #[test]
    fn virtual_order() {
        let records = [
            ("user+ext@local.example", None),
            ("user@local.example", Some("+ext")),
            ("user+ext", None),
            ("user", Some("+ext")),
            ("@local.example", None),
        ];
        order(&records, "user+ext@local.example", Strategy::DEFAULT);
        assert_eq!(find("inline:{user=x}", "user@other.example", Strategy::DEFAULT), None);
    }

    #[test]
    fn access_order() {
        let plain = [
            ("user+ext@a.b.example", None),
            ("user@a.b.example", Some("+ext")),
            ("a.b.example", None),
            ("b.example", None),
            ("example", None),
            ("user+ext@", None),
            ("user@", Some("+ext")),
        ];
        order(&plain, "user+ext@a.b.example", Strategy::access(Parents::Plain));
        let dotted = [("a.b.example", None), (".b.example", None), (".example", None), ("user@", None)];
        order(&dotted, "user@a.b.example", Strategy::access(Parents::Dotted));
        assert_eq!(find("inline:{b.example=x}", "user@a.b.example", Strategy::access(Parents::Dotted)), None);
    }

    #[test]
    fn quoted_form_first() {
        let table = "inline:{{\"a b\"@x=external},{a\\ b@x=internal}}";
        assert_eq!(find(table, "a b@x", Strategy::DEFAULT), Some(("external".into(), None)));
    }

    #[test]
    fn networks_and_clients() {
        let client = |table, name, address| find_client(&maps(table), name, address, Parents::Plain).unwrap();
        assert_eq!(client("inline:{192.0=net}", "unknown", "192.0.2.1").as_deref(), Some("net"));
        assert_eq!(client("inline:{2001:db8=net}", "unknown", "2001:db8:0::1").as_deref(), Some("net"));
        assert_eq!(client("inline:{example=name,192=net}", "a.example", "192.0.2.1").as_deref(), Some("name"));
        assert_eq!(find_domain(&maps("inline:{2.1=x}"), "192.0.2.1", Part::Full, Parents::Plain).unwrap(), None);
        assert_eq!(find_domain(&maps("inline:{x=y}"), "a..x.", Part::Full, Parents::Plain).unwrap(), None);
    }

    #[test]
    fn patterns_see_full_keys_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("patterns");
        std::fs::write(&path, "/^user$|^@|^example$/ x\n/^user@example$/ full\n").unwrap();
        let table = format!("regexp:{}", path.display());
        assert_eq!(find(&table, "user@local.example", Strategy::DEFAULT), None);
        assert_eq!(find(&table, "user@example", Strategy::DEFAULT), Some(("full".into(), None)));
        assert!(find(&table, "other@example", Strategy::access(Parents::Plain)).is_none());
    }

    #[test]
    fn failure_is_never_not_found() {
        let rules = AddressRules { delimiters: Delimiters::default(), is_local: &|_| Ok(false) };
        let missing = maps("inline:{a@x=b} hash:/nonexistent/table inline:{c@x=d}");
        let find = |address| find_address(&missing, address, &rules, Strategy::DEFAULT);
        assert_eq!(find("a@x").unwrap().unwrap().value, "b");
        let error = find("c@x").unwrap_err();
        let text =
            "hash:/nonexistent/table is unavailable. open database /nonexistent/table.db: No such file or directory";
        assert_eq!(error.to_string(), text);
        let broken = AddressRules { delimiters: Delimiters::default(), is_local: &|_| Err(TableError::new("t", "r")) };
        assert!(find_address(&maps("inline:{a@x=b}"), "q@x", &broken, Strategy::DEFAULT).is_err());
    }
}
