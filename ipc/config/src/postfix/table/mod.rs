//! The one table of `main.cf` parameters: what Postfix 3.7 knows, and what becomes of it here.
//!
//! Reading, `postconf`, the manual and the check derive from it. One file holds the rows of one program; a row says name,
//! kind, default, support and what the parameter is for, in that order. Defaults are Postfix's own and may hold `$name`
//! expressions; those that depend on the host (`myhostname`, `mydomain`, `mynetworks`) are empty here and computed by
//! [`MainCf`](crate::postfix::main_cf::MainCf).
//!
//! Names that exist once for each delivery agent of `master.cf` are in [`transport`].

mod access;
mod cleanup;
mod lmtp;
mod local;
mod milter;
mod postscreen;
mod qmgr;
mod rewrite;
mod row;
mod smtp;
mod smtp_tls;
mod smtpd;
mod smtpd_tls;
mod system;
mod tls;
mod tlsproxy;
pub mod transport;

use std::sync::OnceLock;

/// What form a value has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `yes` or `no`, in any case.
    Boolean,
    /// A decimal number; a limit of 0 is no limit.
    Integer {
        /// Least value, or 0 (Postfix checks no minimum then).
        min: i64,
        /// Greatest value, or 0.
        max: i64,
    },
    /// A number of bytes, in 64 bits.
    Size {
        /// Least value, or 0.
        min: i64,
        /// Greatest value, or 0.
        max: i64,
    },
    /// A number with a unit `s`, `m`, `h`, `d` or `w`; without one, the unit of the default applies.
    Time {
        /// Least value in seconds, or 0.
        min: i64,
        /// Greatest value in seconds, or 0.
        max: i64,
    },
    /// Text.
    Text,
    /// Text in which `$name` is left for the user of the value to expand.
    Raw,
    /// Words separated by commas and white space; a word in braces may hold them.
    List,
    /// Lookup tables, each `type:name`.
    Maps,
    /// A list of addresses and networks.
    Networks,
    /// A list of domains.
    Domains,
    /// A list of words to be matched, for a program that opens no file: tables in it hold their entries themselves.
    Strings,
    /// Restrictions in the order in which they are evaluated.
    Restrictions,
    /// One of these words; the empty value is legal where it is the default.
    Choice(&'static [&'static str]),
}

impl Kind {
    /// Whether `$name` in the value is expanded when it is read.
    pub fn is_expanded(self) -> bool {
        self != Kind::Raw
    }
}

/// What becomes of a parameter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// Its value is honoured.
    Supported {
        /// The test that fails when the value is ignored; empty while it has yet to be named.
        test: &'static str,
    },
    /// Accepted without effect.
    Accepted {
        /// Why there is nothing that it could change.
        why: &'static str,
    },
    /// Not built yet: `check` says so when it is set to something else than its default.
    NotYet {
        /// Ignoring it would weaken security, so that the start is refused.
        refuse: bool,
    },
}

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// The name in `main.cf`.
    pub name: &'static str,
    /// The form of its value.
    pub kind: Kind,
    /// The value when it is not set, unexpanded.
    pub default: &'static str,
    /// Whether an empty value is an error.
    pub filled: bool,
    /// What becomes of it here.
    pub support: Support,
    /// What it is for, in one line.
    pub about: &'static str,
}

/// The programs that the parameters belong to, with their rows.
pub const SECTIONS: &[(&str, &[Parameter])] = &[
    ("system", system::PARAMETERS),
    ("smtpd", smtpd::PARAMETERS),
    ("smtpd access", access::PARAMETERS),
    ("smtpd tls", smtpd_tls::PARAMETERS),
    ("cleanup", cleanup::PARAMETERS),
    ("trivial-rewrite", rewrite::PARAMETERS),
    ("qmgr", qmgr::PARAMETERS),
    ("smtp", smtp::PARAMETERS),
    ("smtp tls", smtp_tls::PARAMETERS),
    ("lmtp", lmtp::PARAMETERS),
    ("local", local::PARAMETERS),
    ("milter", milter::PARAMETERS),
    ("postscreen", postscreen::PARAMETERS),
    ("tlsproxy", tlsproxy::PARAMETERS),
    ("tls", tls::PARAMETERS),
];

/// Parameters that main.cf cannot set: each process has its own.
pub const READ_ONLY: &[&str] = &["process_id", "process_name", "service_name"];

/// All parameters in the order of their names.
pub fn all() -> &'static [&'static Parameter] {
    static SORTED: OnceLock<Vec<&'static Parameter>> = OnceLock::new();
    SORTED.get_or_init(|| {
        let mut rows: Vec<&'static Parameter> = SECTIONS.iter().flat_map(|(_, rows)| *rows).collect();
        rows.sort_unstable_by_key(|row| row.name);
        rows
    })
}

/// The parameter of that name, if Postfix has one; names are case-sensitive.
pub fn find(name: &str) -> Option<&'static Parameter> {
    let rows = all();
    rows.binary_search_by_key(&name, |row| row.name).ok().map(|index| rows[index])
}

/// The program that a parameter belongs to.
pub fn section(name: &str) -> Option<&'static str> {
    SECTIONS.iter().find(|(_, rows)| rows.iter().any(|row| row.name == name)).map(|(section, _)| *section)
}

/// Each supported parameter with the test that fails when its value is ignored (empty while none is named). Those that exist
/// once for each delivery agent begin with `TRANSPORT`.
pub fn proofs() -> Vec<(String, &'static str)> {
    let rows = all().iter().map(|row| (row.name.to_string(), row.support));
    let agents = transport::PARAMETERS.iter().map(|row| (format!("TRANSPORT{}", row.suffix), row.support));
    rows.chain(agents)
        .filter_map(|(name, support)| match support {
            Support::Supported { test } => Some((name, test)),
            _ => None,
        })
        .collect()
}

/// The names among `candidates` that `name` is probably a misspelling of: the nearest one within a third of its length.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (name.len() / 3).clamp(1, 4);
    candidates
        .into_iter()
        .filter(|candidate| candidate.len().abs_diff(name.len()) <= limit)
        .map(|candidate| (distance(name, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, candidate)| candidate)
}

/// The number of characters to insert, delete, replace or swap with their neighbour to make `a` into `b`
/// (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut older = vec![0; b.len() + 1];
    let mut old: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut new = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replaced = old[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            new[j] = replaced.min(old[j] + 1).min(new[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                new[j] = new[j].min(older[j - 2] + 1);
            }
        }
        older = std::mem::replace(&mut old, new);
    }
    old[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Postfix 3.7.11 has 829 built-in parameters on Debian, `postconf -d -C builtin | wc -l`; three are Posthorn's own.
    #[test]
    fn each_parameter_is_declared_once() {
        assert_eq!(all().len(), 832);
        assert!(all().windows(2).all(|pair| pair[0].name < pair[1].name));
    }

    #[test]
    fn each_row_says_what_it_is_for() {
        for row in all() {
            assert!(row.about.ends_with('.') && row.about.len() > 10, "{}", row.name);
            if let Support::Accepted { why } = row.support {
                assert!(!why.is_empty(), "{}", row.name);
            }
        }
    }

    #[test]
    fn rows_are_found_by_exact_name() {
        assert_eq!(find("smtpd_timeout").unwrap().kind, Kind::Time { min: 1, max: 0 });
        assert_eq!(find("message_size_limit").unwrap().default, "10240000");
        assert_eq!(find("2bounce_notice_recipient").unwrap().default, "postmaster");
        assert!(find("SMTPD_TIMEOUT").is_none() && find("").is_none());
        assert_eq!(section("virtual_alias_maps"), Some("cleanup"));
    }

    #[test]
    fn proofs_are_asked_of_supported_rows_alone() {
        let proofs = proofs();
        let has = |wanted: &str| proofs.iter().any(|(name, _)| name == wanted);
        assert!(has("smtpd_timeout") && has("TRANSPORT_destination_recipient_limit"));
        assert!(!has("readme_directory") && !has("smtpd_milters") && !has("TRANSPORT_time_limit"));
    }

    #[test]
    fn a_misspelling_is_recognised() {
        let near = |name| nearest(name, all().iter().map(|row| row.name));
        assert_eq!(near("mydestinaton"), Some("mydestination"));
        assert_eq!(near("mynetwroks"), Some("mynetworks"));
        assert_eq!(near("smtpd_recipient_restriction"), Some("smtpd_recipient_restrictions"));
        assert_eq!(near("unrelated_setting_of_mine"), None);
        assert_eq!(distance("ab", "ba"), 1);
        assert_eq!(distance("", "abc"), 3);
    }
}
