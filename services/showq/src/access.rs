//! Who may ask: `authorized_mailq_users`, `authorized_flush_users`.
//!
//! A list of names, decided by its first match, as `check_user_acl_byuid` of Postfix does; root and `mail_owner` always
//! may. A uid without an account is called `unknown`. What cannot be found out is a no.

use std::collections::BTreeMap;

use ipc_config::postfix::match_list::{Failure, MatchList, Pattern, Style};

/// The list of a service.
#[derive(Debug)]
pub struct Access {
    list: MatchList,
    owner: String,
}

/// What must be known to decide: whether this table has the user's name.
#[derive(Debug, PartialEq, Eq)]
pub struct Missing(pub String);

impl Access {
    /// `owner` is the name of `mail_owner`.
    pub fn new(list: MatchList, owner: &str) -> Access {
        Access { list: MatchList { style: Style::Strings, ..list }, owner: owner.to_owned() }
    }

    /// Whether everybody may, so that no name is needed: the usual case.
    pub fn is_open(&self) -> bool {
        let first = self.list.items.first();
        first.is_some_and(|item| !item.negated && matches!(&item.pattern, Pattern::Table(table) if is_static(table)))
    }

    /// Whether `name` may. `tables` holds what is known of tables that have the name or not.
    ///
    /// # Errors
    /// A table that has to be asked first; or why the list cannot be evaluated.
    pub fn allows(&self, name: &str, tables: &BTreeMap<String, bool>) -> Result<bool, Failure<Missing>> {
        if name == self.owner {
            return Ok(true);
        }
        self.list.matches(name, |query| match tables.get(query.table) {
            Some(has) => Ok(*has),
            None if is_static(query.table) => Ok(true),
            None => Err(Missing(query.table.to_owned())),
        })
    }
}

fn is_static(table: &str) -> bool {
    table.starts_with("static:")
}

#[cfg(test)]
mod tests {
    use super::*;
    use ipc_config::postfix::match_list::Item;
    use showq::UNKNOWN;

    fn access(items: &[&str]) -> Access {
        let item = |word: &&str| {
            let (negated, text) = word.strip_prefix('!').map_or((false, *word), |text| (true, text));
            let pattern = if text.contains(':') { Pattern::Table(text.into()) } else { Pattern::Text(text.into()) };
            Item { negated, pattern }
        };
        Access::new(MatchList { style: Style::Strings, items: items.iter().map(item).collect() }, "postfix")
    }

    #[test]
    fn the_first_match_decides() {
        let none = BTreeMap::new();
        for (items, name, expected) in [
            (&["static:anyone"][..], "me", true),
            (&["root", "nobody"], "nobody", true),
            (&["root", "nobody"], "games", false),
            (&["!nobody", "static:anyone"], "nobody", false),
            (&["!nobody", "static:anyone"], "games", true),
            (&["!unknown", "static:anyone"], UNKNOWN, false),
            (&[], "me", false),
            (&[], "postfix", true),
        ] {
            assert_eq!(access(items).allows(name, &none), Ok(expected), "{items:?} {name}");
        }
        assert!(access(&["static:anyone"]).is_open());
        assert!(!access(&["!nobody", "static:anyone"]).is_open() && !access(&["!static:anyone"]).is_open());
    }

    #[test]
    fn tables_are_asked_when_they_are_reached() {
        let access = access(&["first", "hash:/a"]);
        let mut tables = BTreeMap::new();
        assert_eq!(access.allows("first", &tables), Ok(true));
        assert_eq!(access.allows("me", &tables), Err(Failure::Lookup(Missing("hash:/a".into()))));
        for has in [true, false] {
            tables.insert("hash:/a".into(), has);
            assert_eq!(access.allows("me", &tables), Ok(has));
        }
    }
}
