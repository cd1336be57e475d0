//! The restriction lists, evaluated as Postfix does (SMTPD_ACCESS_README, postconf(5)), without waiting: what a restriction
//! needs to know stands in [`Facts`]; where an answer of another service is missing the verdict is [`Verdict::Need`], and
//! the caller evaluates again when it has it. A list ends at the first restriction that decides; a permit ends its own list
//! only.
//!
//! Not to be asked what cannot be known is never taken for "not found": the client hears 4xx.

mod access;
mod block_list;
mod facts;
mod rule;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use ipc_config::postfix::match_list::NetworkList;
use ipc_config::postfix::restrictions::{Restriction, Rule};
use proto_smtp::address::Address;
use proto_smtp::reply::Reply;

pub use facts::{Answers, Facts, Found, Query};
use rule::one;

/// Bytes of a refusal at most (RFC 5321 section 4.5.3.1.5), without its line end.
const MAX_REPLY: usize = 510;
/// How deep access tables and classes may name restrictions, as in Postfix.
const MAX_DEPTH: usize = 100;

/// Parameters that decisions depend on.
#[derive(Debug, Clone)]
pub struct Policy {
    /// `mynetworks`
    pub networks: NetworkList,
    /// The lists of `smtpd_restriction_classes`.
    pub classes: BTreeMap<String, Vec<Rule>>,
    /// `smtpd_sender_login_maps`
    pub sender_login_maps: Vec<String>,
    /// `smtpd_null_access_lookup_key`
    pub null_key: String,
    /// `recipient_delimiter`
    pub delimiter: String,
    /// `myorigin`
    pub origin: String,
    /// `parent_domain_matches_subdomains` has `smtpd_access_maps`: `example.org` in a table stands for all below it.
    pub parents: bool,
    /// `show_user_unknown_table_name`
    pub show_table: bool,
    /// `allow_untrusted_routing`: a recipient that names a further destination counts as ours for strangers as well.
    pub allow_routing: bool,
    /// `unknown_address_tempfail_action = defer`
    pub defer_unknown_address: bool,
    /// `unknown_helo_hostname_tempfail_action = defer`
    pub defer_unknown_helo: bool,
    /// Reply codes.
    pub codes: Codes,
}

/// Parameters that are reply codes.
#[derive(Debug, Clone)]
pub struct Codes {
    /// `reject_code`
    pub reject: u16,
    /// `defer_code`
    pub defer: u16,
    /// `relay_domains_reject_code`
    pub relay: u16,
    /// `access_map_reject_code`
    pub access_reject: u16,
    /// `access_map_defer_code`
    pub access_defer: u16,
    /// `maps_rbl_reject_code`
    pub block_list: u16,
    /// `invalid_hostname_reject_code`
    pub invalid_hostname: u16,
    /// `non_fqdn_reject_code`
    pub non_fqdn: u16,
    /// `unknown_hostname_reject_code`
    pub unknown_hostname: u16,
    /// `unknown_client_reject_code`
    pub unknown_client: u16,
    /// `unknown_address_reject_code`
    pub unknown_address: u16,
    /// `plaintext_reject_code`
    pub plaintext: u16,
    /// `multi_recipient_bounce_reject_code`
    pub multi_recipient_bounce: u16,
    /// `unknown_local_recipient_reject_code`
    pub unknown_local: u16,
    /// `unknown_virtual_alias_reject_code`
    pub unknown_virtual_alias: u16,
    /// `unknown_virtual_mailbox_reject_code`
    pub unknown_virtual_mailbox: u16,
    /// `unknown_relay_recipient_reject_code`
    pub unknown_relay: u16,
}

/// What a list, or one restriction, is about; replies name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// The client.
    Client,
    /// The client's unverified name.
    ReverseClient,
    /// The HELO name.
    Helo,
    /// The sender.
    Sender,
    /// The recipient.
    Recipient,
    /// DATA.
    Data,
    /// The domain of ETRN.
    Etrn,
    /// The user that has logged in.
    Login,
}

impl Subject {
    /// What replies call it.
    fn title(self) -> &'static str {
        match self {
            Subject::Client => "Client host",
            Subject::ReverseClient => "Unverified Client host",
            Subject::Helo => "Helo command",
            Subject::Sender => "Sender address",
            Subject::Recipient => "Recipient address",
            Subject::Data => "Data command",
            Subject::Etrn => "Etrn command",
            Subject::Login => "SASL login name",
        }
    }

    /// The value that replies name.
    fn value(self, facts: &Facts<'_>) -> String {
        let quoted = |address: Option<&Address>| address.map(Address::quoted).unwrap_or_default();
        match self {
            Subject::Client => facts.label.into(),
            Subject::ReverseClient => facts.name.reverse().into(),
            Subject::Helo => facts.helo.unwrap_or_default().into(),
            Subject::Sender => quoted(facts.sender.flatten()),
            Subject::Recipient => quoted(facts.recipient),
            Subject::Data => "DATA".into(),
            Subject::Etrn => facts.etrn.unwrap_or_default().into(),
            Subject::Login => facts.user.unwrap_or_default().into(),
        }
    }

    /// `<value>: Title rejected`, as most replies begin.
    fn rejected(self, facts: &Facts<'_>) -> String {
        format!("<{}>: {} rejected", self.value(facts), self.title())
    }
}

/// A list to be evaluated.
#[derive(Debug, Clone, Copy)]
pub struct List<'a> {
    /// What it is about.
    pub subject: Subject,
    /// Its restrictions.
    pub rules: &'a [Rule],
}

/// What lists decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing against it.
    Pass,
    /// Refused with this reply.
    Refuse(Reply),
    /// This has to be asked first.
    Need(Query),
}

/// Something for the log, or for the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// An event of the session, with its kind: `reject_warning`, `info`, `warn`.
    Event(&'static str, String),
    /// A mistake of the administrator's.
    Warning(String),
    /// A header that goes before the message.
    Header(String),
}

/// The outcome of an evaluation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The decision.
    pub verdict: Verdict,
    /// What was found on the way; empty if something has to be asked first.
    pub notes: Vec<Note>,
    /// The refusal that waits in case the mail would be permitted (`defer_if_permit`).
    pub deferred: Option<Reply>,
}

/// What one restriction decides.
enum Decision {
    Next,
    Permit,
    Refuse(Refusal),
}

/// A refusal. Trouble of our own is not softened by `warn_if_reject`.
struct Refusal {
    reply: Reply,
    trouble: bool,
}

/// State that spans the restrictions of one evaluation.
struct Evaluation<'a> {
    policy: &'a Policy,
    facts: &'a Facts<'a>,
    notes: Vec<Note>,
    /// `defer_if_permit`: the first reason stays.
    if_permit: Option<Reply>,
    /// `defer_if_reject`, within one list.
    if_reject: Option<Reply>,
    /// The recipient was looked up by a restriction, so that `smtpd_reject_unlisted_recipient` is done.
    recipient_checked: bool,
    /// Likewise the sender, for `smtpd_reject_unlisted_sender`.
    sender_checked: bool,
    depth: usize,
}

/// Which lists end with a look at the recipient tables.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unlisted {
    /// `smtpd_reject_unlisted_sender`
    pub sender: bool,
    /// `smtpd_reject_unlisted_recipient`
    pub recipient: bool,
}

/// Evaluates lists in their order, e.g. client, helo, sender, relay and recipient restrictions at RCPT. `deferred` is what
/// an earlier stage of the session left in [`Outcome::deferred`].
pub fn evaluate(
    lists: &[List<'_>],
    unlisted: Unlisted,
    deferred: Option<Reply>,
    policy: &Policy,
    facts: &Facts<'_>,
) -> Outcome {
    let mut evaluation = Evaluation {
        policy,
        facts,
        notes: Vec::new(),
        if_permit: deferred,
        if_reject: None,
        recipient_checked: !unlisted.recipient,
        sender_checked: !unlisted.sender,
        depth: 0,
    };
    match evaluation.all(lists) {
        Ok(verdict) => Outcome { verdict, notes: evaluation.notes, deferred: evaluation.if_permit },
        Err(query) => Outcome { verdict: Verdict::Need(query), notes: Vec::new(), deferred: None },
    }
}

impl Evaluation<'_> {
    fn all(&mut self, lists: &[List<'_>]) -> Result<Verdict, Query> {
        let mut last = None;
        for list in lists {
            if last != Some(list.subject) {
                self.if_reject = None;
            }
            last = Some(list.subject);
            if let Decision::Refuse(refusal) = self.list(list.rules, list.subject)? {
                return Ok(Verdict::Refuse(refusal.reply));
            }
            if list.subject == Subject::Sender
                && !self.sender_checked
                && let Some(reply) = self.implied(Restriction::RejectUnlistedSender, Subject::Sender)?
            {
                return Ok(Verdict::Refuse(reply));
            }
        }
        if matches!(last, Some(Subject::Recipient | Subject::Data | Subject::Etrn))
            && let Some(reply) = self.if_permit.take()
        {
            return Ok(Verdict::Refuse(reply));
        }
        if last == Some(Subject::Recipient)
            && !self.recipient_checked
            && let Some(reply) = self.implied(Restriction::RejectUnlistedRecipient, Subject::Recipient)?
        {
            return Ok(Verdict::Refuse(reply));
        }
        Ok(Verdict::Pass)
    }

    fn implied(&mut self, restriction: Restriction, subject: Subject) -> Result<Option<Reply>, Query> {
        let decision = self.list(&[Rule { restriction, warn: false }], subject)?;
        Ok(if let Decision::Refuse(refusal) = decision { Some(refusal.reply) } else { None })
    }

    fn list(&mut self, rules: &[Rule], subject: Subject) -> Result<Decision, Query> {
        self.depth += 1;
        let mut decided = Decision::Next;
        for rule in rules {
            match one(self, rule, subject)? {
                Decision::Next => {}
                Decision::Permit => decided = Decision::Permit,
                Decision::Refuse(refusal) if rule.warn && !refusal.trouble => {
                    self.notes.push(Note::Event("reject_warning", refusal.reply.one_line()));
                }
                Decision::Refuse(refusal) => decided = Decision::Refuse(self.put_off(refusal)),
            }
            let undecidable = self.if_permit.is_some() && self.if_reject.is_some();
            if undecidable || !matches!(decided, Decision::Next) {
                break;
            }
        }
        self.depth -= 1;
        Ok(decided)
    }

    /// A refusal for good, after trouble that may have kept us from permitting, is one for now.
    fn put_off(&mut self, refusal: Refusal) -> Refusal {
        if refusal.reply.code() < 500 {
            return refusal;
        }
        match self.if_reject.take() {
            Some(reply) => Refusal { reply, ..refusal },
            None => refusal,
        }
    }

    /// `defer_if_permit`, or an immediate refusal where the parameter or `warn_if_reject` wants that.
    fn tempfail(&mut self, rule: &Rule, at_once: bool, detail: &str, text: &str) -> Decision {
        if rule.warn || at_once {
            return reject(450, detail, text);
        }
        self.if_permit.get_or_insert_with(|| compose(450, detail, text));
        Decision::Next
    }
}

/// A refusal with an enhanced status: `detail` is all but its class, which is the code's own.
fn reject(code: u16, detail: &str, text: &str) -> Decision {
    Decision::Refuse(Refusal { reply: compose(code, detail, text), trouble: false })
}

/// A code that is none of a refusal is the administrator's mistake; the client is asked to come again.
fn compose(code: u16, detail: &str, text: &str) -> Reply {
    if !(400..600).contains(&code) {
        return Reply::new(450, "4.7.1 Service unavailable");
    }
    let mut text = format!("{}.{detail} {text}", code / 100);
    let end = (0..=(MAX_REPLY - "550 ".len()).min(text.len())).rev().find(|&end| text.is_char_boundary(end));
    text.truncate(end.unwrap_or(0));
    Reply::new(code, &text)
}

/// A table cannot be asked.
fn lookup_failed(what: &str) -> Decision {
    let reply = Reply::new(451, &format!("4.3.0 <{what}>: Temporary lookup failure"));
    Decision::Refuse(Refusal { reply, trouble: true })
}

/// The configuration, or a table, says what cannot be done.
fn server_error() -> Decision {
    let reply = Reply::new(451, "4.3.5 Server configuration error");
    Decision::Refuse(Refusal { reply, trouble: true })
}
