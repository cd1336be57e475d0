//! Namespaces: which mail root a name belongs to that a client sends, and the name a client sees.

use std::collections::BTreeMap;

use super::{Mailboxes, Node};
use crate::{
    error::{Error, Result},
    fs::Fs,
    location::MailboxName,
};

/// What a namespace is for (RFC 2342).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamespaceKind {
    Personal,
    Others,
    Shared,
}

/// A `namespace` block of the configuration and the mailboxes in it.
pub struct Namespace<F: Fs> {
    pub kind: NamespaceKind,
    /// Ends with the separator where it is not empty.
    pub prefix: String,
    pub separator: char,
    /// The user's INBOX is in it, under that name whatever the prefix is.
    pub inbox: bool,
    /// `LIST` shows it.
    pub list: bool,
    /// `NAMESPACE` does not show it.
    pub hidden: bool,
    /// Subscriptions are kept in it; otherwise in the namespace above.
    pub subscriptions: bool,
    /// `special_use` of its `mailbox` blocks, by name without the prefix: `Sent` → `\Sent`.
    pub special_use: BTreeMap<MailboxName, String>,
    pub mailboxes: Mailboxes<F>,
}

/// All namespaces of a user.
pub struct Namespaces<F: Fs>(Vec<Namespace<F>>);

impl<F: Fs> Namespace<F> {
    /// The name as a client sees it.
    pub fn visible(&self, name: &MailboxName) -> String {
        if self.inbox && name.is_inbox() {
            return "INBOX".into();
        }
        format!("{}{}", self.prefix, name.join(self.separator))
    }

    /// The tree as clients see it, with special uses.
    pub fn tree(&self) -> Result<Vec<(String, Node, Option<&str>)>> {
        let tree = self.mailboxes.tree()?;
        let shown = tree.into_iter().filter(|(name, _)| self.inbox || !name.is_inbox());
        Ok(shown
            .map(|(name, node)| {
                let special_use = self.special_use.get(&name).map(String::as_str);
                (self.visible(&name), node, special_use)
            })
            .collect())
    }
}

impl<F: Fs> Namespaces<F> {
    /// Refuses what no client could use: not exactly one inbox, two equal prefixes, a prefix without its separator.
    pub fn new(namespaces: Vec<Namespace<F>>) -> Result<Self> {
        if namespaces.iter().filter(|ns| ns.inbox).count() != 1 {
            return Err(Error::Refused { reason: "exactly one namespace must have inbox=yes" });
        }
        for (n, ns) in namespaces.iter().enumerate() {
            if namespaces[..n].iter().any(|other| other.prefix == ns.prefix) {
                return Err(Error::Refused { reason: "two namespaces have the same prefix" });
            }
            if !ns.prefix.is_empty() && !ns.prefix.ends_with(ns.separator) {
                return Err(Error::Refused { reason: "a namespace's prefix must end with its separator" });
            }
        }
        Ok(Self(namespaces))
    }

    pub fn all(&self) -> &[Namespace<F>] {
        &self.0
    }

    /// The namespace of a name that a client sent, the one with the longest prefix, and the name within it.
    pub fn find(&self, name: &str) -> Result<(&Namespace<F>, MailboxName)> {
        if name.eq_ignore_ascii_case("INBOX")
            && let Some(ns) = self.0.iter().find(|ns| ns.inbox)
        {
            return Ok((ns, MailboxName::inbox()));
        }
        let matching = self.0.iter().filter(|ns| Self::below(ns, name).is_some());
        let ns = matching
            .max_by_key(|ns| ns.prefix.len())
            .ok_or_else(|| Error::BadName { name: name.to_owned(), reason: "No such namespace" })?;
        let rest = Self::below(ns, name).unwrap_or_default();
        let found = MailboxName::new(rest, ns.separator)?;
        if found.is_inbox() && !ns.inbox {
            return Err(Error::BadName { name: name.to_owned(), reason: "INBOX is in another namespace" });
        }
        Ok((ns, found))
    }

    /// The name without the prefix. In the prefix `INBOX` is known in any case.
    fn below<'a>(ns: &Namespace<F>, name: &'a str) -> Option<&'a str> {
        if let Some(rest) = name.strip_prefix(&ns.prefix) {
            return Some(rest);
        }
        let (start, rest) = (name.get(..5)?, name.get(5..)?);
        let prefix = ns.prefix.strip_prefix("INBOX")?;
        if start.eq_ignore_ascii_case("INBOX") { rest.strip_prefix(prefix) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        fs::model::ModelFs,
        location::{Format, Fsync, Location},
        mailbox::Environment,
    };

    fn namespace(prefix: &str, separator: char, inbox: bool) -> Namespace<ModelFs> {
        let fs = ModelFs::new();
        let location = Location { format: Format::Maildir, root: fs.root(), path: Vec::new() };
        let environment = Environment { fs: Arc::new(fs), names: Arc::default(), fsync: Fsync::Optimized };
        Namespace {
            kind: NamespaceKind::Personal,
            prefix: prefix.into(),
            separator,
            inbox,
            list: true,
            hidden: false,
            subscriptions: true,
            special_use: BTreeMap::from([(MailboxName::new("Sent", '/').unwrap(), "\\Sent".into())]),
            mailboxes: Mailboxes::new(environment, location),
        }
    }

    #[test]
    fn names_find_their_namespace() {
        let personal = namespace("INBOX.", '.', true);
        let all = Namespaces::new(vec![personal, namespace("Public/", '/', false), namespace("", '/', false)]).unwrap();
        // (name, number of the namespace, name within)
        let table = [
            ("inbox", Some((0, "INBOX"))),
            ("INBOX.Sent", Some((0, "Sent"))),
            ("inbox.Sent.2024", Some((0, "Sent/2024"))),
            ("Public/x", Some((1, "x"))),
            ("Public", Some((2, "Public"))),
            ("a/b", Some((2, "a/b"))),
            ("Public/", None),
            ("Public/inbox", None),
            ("", None),
        ];
        for (name, expected) in table {
            let found = all.find(name).ok().map(|(ns, found)| (ns.prefix.clone(), found.join('/')));
            let expected = expected.map(|(n, name): (usize, &str)| (all.all()[n].prefix.clone(), name.to_owned()));
            assert_eq!(found, expected, "{name}");
        }
    }

    #[test]
    fn what_is_no_set_of_namespaces() {
        assert!(Namespaces::new(vec![namespace("", '.', false)]).is_err());
        assert!(Namespaces::new(vec![namespace("", '.', true), namespace("a.", '.', true)]).is_err());
        assert!(Namespaces::new(vec![namespace("", '.', true), namespace("", '/', false)]).is_err());
        assert!(Namespaces::new(vec![namespace("INBOX", '.', true)]).is_err());
    }

    #[test]
    fn the_tree_shows_prefix_and_special_use() {
        let ns = namespace("INBOX.", '.', true);
        for name in ["Sent", "a/b/c"] {
            ns.mailboxes.create(&MailboxName::new(name, '/').unwrap()).unwrap();
        }
        let tree = ns.tree().unwrap();
        let shown: Vec<_> = tree.iter().map(|(n, node, s)| (n.as_str(), node.exists, node.has_children, *s)).collect();
        let expected = [
            ("INBOX", true, false, None),
            ("INBOX.Sent", true, false, Some("\\Sent")),
            ("INBOX.a", false, true, None),
            ("INBOX.a.b", false, true, None),
            ("INBOX.a.b.c", true, false, None),
        ];
        assert_eq!(shown, expected);
    }
}
