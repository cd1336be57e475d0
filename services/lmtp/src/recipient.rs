//! Whom an address names, and how the log calls a delivery.

use proto_smtp::address::Address;
use proto_smtp::params::OriginalRecipient;

use crate::settings::Settings;

/// A recipient that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// The address, quoted where it must be.
    pub address: String,
    /// The address of `ORCPT`.
    pub original: Option<String>,
    /// The name that `auth` knows.
    pub user: String,
    /// The mailbox that the address names, if such a one is to be used.
    pub mailbox: Option<String>,
    /// The name of this delivery in the log and in the reply.
    pub session: String,
    /// The process that files for the user's account.
    pub template: u32,
}

/// A recipient that is being looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The address as it was given.
    pub address: Address,
    /// The address of `ORCPT`.
    pub original: Option<String>,
    /// Which RCPT of the transaction this is, from 1 on.
    pub number: usize,
}

impl Candidate {
    /// The recipient of the `number`th RCPT. An `ORCPT` that is no mail address says nothing to us.
    pub fn new(address: Address, original: Option<OriginalRecipient>, number: usize) -> Candidate {
        let original = original.filter(|original| original.kind.eq_ignore_ascii_case("rfc822"));
        Candidate { address, original: original.map(|original| original.address), number }
    }

    /// The name of the user and the detail behind the first delimiter; a delimiter in front is a part of the name.
    pub fn user(&self, delimiters: &str) -> (String, Option<String>) {
        let local = self.address.local();
        let (name, detail) = match local.find(|c| delimiters.contains(c)).filter(|&at| at > 0) {
            Some(at) => (&local[..at], local[at..].chars().next().map(|c| local[at + c.len_utf8()..].to_owned())),
            None => (local, None),
        };
        let user = self.address.domain().map_or_else(|| name.to_owned(), |domain| format!("{name}@{domain}"));
        (user, detail.filter(|detail| !detail.is_empty()))
    }

    /// The recipient, now that its account is known. `session` is the client's.
    pub fn accept(self, settings: &Settings, session: &str, template: u32) -> Recipient {
        let (user, detail) = self.user(&settings.delimiters);
        let mailbox = detail.filter(|_| settings.detail_mailbox);
        let session = name_of(session, self.number);
        Recipient { address: self.address.quoted(), original: self.original, user, mailbox, session, template }
    }
}

/// The session's own name for its first recipient; `:R2` and so on behind it for the others, as Dovecot counts them.
fn name_of(session: &str, number: usize) -> String {
    if number < 2 { session.to_owned() } else { format!("{session}:R{number}") }
}

#[cfg(test)]
mod tests {
    use proto_smtp::address::parse_path;

    use super::*;
    use crate::settings::tests::settings;

    fn candidate(address: &str) -> Candidate {
        let (address, _) = parse_path(&format!("<{address}>"), true).unwrap();
        Candidate::new(address.unwrap(), None, 1)
    }

    #[test]
    fn delimiters_separate_the_detail() {
        for (delimiters, address, user, detail) in [
            ("+", "ann@x.org", "ann@x.org", None),
            ("+", "ann+work@x.org", "ann@x.org", Some("work")),
            ("+", "ann+a+b@x.org", "ann@x.org", Some("a+b")),
            ("+", "ann+@x.org", "ann@x.org", None),
            ("+", "+ann@x.org", "+ann@x.org", None),
            ("+", "ann-work@x.org", "ann-work@x.org", None),
            ("-+", "ann-work@x.org", "ann@x.org", Some("work")),
            ("", "ann+work@x.org", "ann+work@x.org", None),
            ("é", "anné1@x.org", "ann@x.org", Some("1")),
            ("+", "ann+work", "ann", Some("work")),
        ] {
            let found = candidate(address).user(&settings(&[("recipient_delimiter", delimiters)]).delimiters);
            assert_eq!(found, (user.to_owned(), detail.map(str::to_owned)), "{delimiters} {address}");
        }
    }

    #[test]
    fn only_where_it_is_wanted_the_detail_is_a_mailbox() {
        for (wanted, expected) in [("no", None), ("yes", Some("work"))] {
            let settings = settings(&[("lmtp_save_to_detail_mailbox", wanted)]);
            let recipient = candidate("ann+work@x.org").accept(&settings, "S", 7);
            assert_eq!((recipient.user.as_str(), recipient.mailbox.as_deref()), ("ann@x.org", expected));
            assert_eq!(recipient.address, "ann+work@x.org");
        }
    }

    #[test]
    fn deliveries_are_numbered_by_their_rcpt() {
        let names: Vec<String> = [1, 2, 10].map(|number| name_of("S", number)).to_vec();
        assert_eq!(names, ["S", "S:R2", "S:R10"]);
    }

    #[test]
    fn an_original_recipient_of_another_kind_is_none() {
        let original = |kind: &str| OriginalRecipient { kind: kind.into(), address: "o@x.org".into() };
        let of = |kind| Candidate::new(candidate("a@b").address, Some(original(kind)), 1).original;
        assert_eq!((of("RFC822").as_deref(), of("x400")), (Some("o@x.org"), None));
    }
}
