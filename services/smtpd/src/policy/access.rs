//! Access tables (access(5)): which keys are looked up for a client, a name or an address, and what the results do.

use std::net::IpAddr;

use ipc_config::postfix::restrictions::{Party, Rule, from_table};
use ipc_messages::lookup::{Class, Route};
use proto_smtp::address::Address;
use proto_smtp::reply::Status;
use store_tables::find::Delimiters;

use super::{Decision, Evaluation, MAX_DEPTH, Note, Query, Subject, compose, lookup_failed, reject, server_error};

/// A key, and whether it is a part of what is looked for: tables of patterns are not asked for those.
type Key = (String, bool);

/// Evaluates a `check_*_access` restriction.
pub(super) fn check(
    evaluation: &mut Evaluation<'_>,
    rule: &Rule,
    party: Party,
    table: &str,
) -> Result<Decision, Query> {
    let (facts, policy) = (evaluation.facts, evaluation.policy);
    let mut suspicious = false;
    let (about, keys) = match party {
        Party::Client => (Subject::Client, client_keys(facts.name.verified(), facts.client, policy.parents)),
        Party::ReverseClient => {
            (Subject::ReverseClient, client_keys(facts.name.reverse(), facts.client, policy.parents))
        }
        Party::Helo => (Subject::Helo, facts.helo.map(|name| domain_keys(name, policy.parents)).unwrap_or_default()),
        Party::Etrn => (Subject::Etrn, facts.etrn.map(|name| domain_keys(name, policy.parents)).unwrap_or_default()),
        Party::Login => (Subject::Login, facts.user.map(|user| vec![(user.into(), false)]).unwrap_or_default()),
        Party::Sender if facts.sender == Some(None) => (Subject::Sender, vec![(policy.null_key.clone(), false)]),
        Party::Sender | Party::Recipient => {
            let (about, address) = match party {
                Party::Sender => (Subject::Sender, facts.sender.flatten()),
                _ => (Subject::Recipient, facts.recipient),
            };
            let Some(address) = address else { return Ok(Decision::Next) };
            let Ok((route, _)) = facts.answers.address(address)? else {
                return Ok(lookup_failed(&address.quoted()));
            };
            // A recipient that names a further destination is never permitted by a table.
            suspicious = route.routed && party == Party::Recipient && !policy.allow_routing;
            (about, address_keys(&route.recipient, &policy.delimiter, policy.parents))
        }
    };
    let decision = match find(evaluation, table, &keys)? {
        Ok(None) => return Ok(Decision::Next),
        Ok(Some(value)) => act(evaluation, rule, table, &value, about)?,
        Err(()) => refuse(evaluation, 451, "4.3.5", "Server configuration error", about),
    };
    Ok(if suspicious && matches!(decision, Decision::Permit) { Decision::Next } else { decision })
}

/// Who may use a sender address, as the first of `smtpd_sender_login_maps` says that knows it. The inner error is the
/// refusal when that cannot be said.
pub(super) fn owners(evaluation: &Evaluation<'_>, sender: &Address) -> Result<Result<Option<String>, Decision>, Query> {
    let policy = evaluation.policy;
    let Ok((route, _)) = evaluation.facts.answers.address(sender)? else {
        return Ok(Err(lookup_failed(&sender.quoted())));
    };
    let keys = owner_keys(route, &policy.delimiter, &policy.origin);
    for table in &policy.sender_login_maps {
        match find(evaluation, table, &keys)? {
            Ok(None) => {}
            Ok(found) => return Ok(Ok(found)),
            Err(()) => return Ok(Err(lookup_failed(&sender.quoted()))),
        }
    }
    Ok(Ok(None))
}

/// The value of the first key that the table has.
fn find(evaluation: &Evaluation<'_>, table: &str, keys: &[Key]) -> Result<Result<Option<String>, ()>, Query> {
    for (key, _) in keys.iter().filter(|(_, partial)| !partial || !is_pattern(table)) {
        match evaluation.facts.answers.value(table, key)? {
            Ok(None) => {}
            Ok(Some(value)) => return Ok(Ok(Some(value.clone()))),
            Err(_) => return Ok(Err(())),
        }
    }
    Ok(Ok(None))
}

/// Whether a table holds patterns, which are compared with whole keys alone.
pub(super) fn is_pattern(table: &str) -> bool {
    let table = table.strip_prefix("proxy:").unwrap_or(table);
    ["regexp:", "pcre:", "cidr:"].iter().any(|kind| table.starts_with(kind))
}

/// A name and its parent domains, with their dots unless `parents` is set.
fn domain_keys(name: &str, parents: bool) -> Vec<Key> {
    let mut keys = Vec::new();
    let mut rest = name;
    while !rest.is_empty() {
        keys.push((rest.to_owned(), rest.len() < name.len()));
        let dot = rest.char_indices().skip(1).find(|(_, c)| *c == '.');
        let Some((dot, _)) = dot.filter(|_| name.parse::<IpAddr>().is_err()) else { break };
        rest = &rest[if parents { dot + 1 } else { dot }..];
    }
    keys
}

/// A client's name and its parent domains, then its address and the networks that it is in.
fn client_keys(name: &str, address: Option<IpAddr>, parents: bool) -> Vec<Key> {
    let mut keys = domain_keys(name, parents);
    if let Some(address) = address {
        let text = address.to_string();
        let separator = if address.is_ipv4() { '.' } else { ':' };
        keys.push((text.clone(), false));
        keys.extend(text.rmatch_indices(separator).map(|(at, _)| (text[..at].to_owned(), true)));
    }
    keys
}

/// `user+detail@domain`, `user@domain`, the domain and its parents, `user+detail@`, `user@`.
fn address_keys(address: &str, delimiter: &str, parents: bool) -> Vec<Key> {
    let Some((local, domain)) = address.rsplit_once('@') else { return Vec::new() };
    let base = base(local, delimiter);
    let mut keys = vec![(address.to_owned(), false)];
    keys.extend(base.map(|base| (format!("{base}@{domain}"), true)));
    keys.extend(domain_keys(domain, parents).into_iter().map(|(key, _)| (key, true)));
    keys.push((format!("{local}@"), true));
    keys.extend(base.map(|base| (format!("{base}@"), true)));
    keys
}

/// `user+detail@domain`, `user@domain`, for our own domain `user+detail` and `user`, `@domain`.
fn owner_keys(route: &Route, delimiter: &str, origin: &str) -> Vec<Key> {
    let Some((local, domain)) = route.recipient.rsplit_once('@') else { return Vec::new() };
    let base = base(local, delimiter);
    let mut keys = vec![(route.recipient.clone(), false)];
    keys.extend(base.map(|base| (format!("{base}@{domain}"), true)));
    if route.class == Class::Local || domain.eq_ignore_ascii_case(origin) {
        keys.push((local.to_owned(), true));
        keys.extend(base.map(|base| (base.to_owned(), true)));
    }
    keys.push((format!("@{domain}"), true));
    keys
}

/// The local part without its extension, if it has one.
fn base<'a>(local: &'a str, delimiter: &str) -> Option<&'a str> {
    let delimiters = Delimiters { recipient_delimiter: delimiter, ..Delimiters::default() };
    delimiters.split(local).map(|(base, _)| base)
}

/// Does what the value of an access table says.
fn act(
    evaluation: &mut Evaluation<'_>,
    rule: &Rule,
    table: &str,
    value: &str,
    about: Subject,
) -> Result<Decision, Query> {
    let codes = &evaluation.policy.codes;
    let (command, text) = value.split_once([' ', '\t']).map_or((value, ""), |(word, text)| (word, text.trim_start()));
    let is_code = command.len() == 3 && command.starts_with(['4', '5']) && command.bytes().all(|b| b.is_ascii_digit());
    let keyword = command.to_ascii_uppercase();
    Ok(match keyword.as_str() {
        "OK" | "RELAY" => Decision::Permit,
        "DUNNO" => Decision::Next,
        "REJECT" => refuse(evaluation, codes.access_reject, "5.7.1", text, about),
        "DEFER" => refuse(evaluation, codes.access_defer, "4.7.1", text, about),
        "DEFER_IF_PERMIT" | "DEFER_IF_REJECT" => {
            let (status, text) = split(text, "4.7.1", "Service unavailable");
            let text = format!("{}: {text}", about.rejected(evaluation.facts));
            let (code, detail) = (codes.access_defer, fix_status(&status, about).to_owned());
            if keyword == "DEFER_IF_REJECT" {
                evaluation.if_reject.get_or_insert_with(|| compose(code, &detail, &text));
            } else if rule.warn {
                return Ok(reject(code, &detail, &text));
            } else {
                evaluation.if_permit.get_or_insert_with(|| compose(code, &detail, &text));
            }
            Decision::Next
        }
        "INFO" | "WARN" => {
            let kind = if keyword == "INFO" { "info" } else { "warn" };
            evaluation.notes.push(Note::Event(kind, text.to_owned()));
            Decision::Next
        }
        "PREPEND" => {
            let is_header = text.split_once(':').is_some_and(|(name, _)| is_header_name(name));
            evaluation.notes.push(match is_header {
                _ if matches!(about, Subject::Etrn) || evaluation.facts.sender.is_none() => Note::Warning(format!(
                    "access table {table}: with smtpd_delay_reject = no, action PREPEND must be used after MAIL"
                )),
                true => Note::Header(text.to_owned()),
                false => Note::Warning(format!("access table {table} entry requires header: text")),
            });
            Decision::Next
        }
        "FILTER" | "HOLD" | "DISCARD" | "REDIRECT" | "BCC" | "HANGUP" => {
            evaluation.notes.push(Note::Warning(format!("access table {table}: action {keyword} is not built yet")));
            server_error()
        }
        _ if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) => Decision::Permit,
        _ if is_code && !text.is_empty() => {
            let code = command.parse().unwrap_or(codes.access_reject);
            refuse(evaluation, code, &format!("{}.7.1", code / 100), text, about)
        }
        "" => {
            evaluation.notes.push(Note::Warning(format!("access table {table} has an entry with empty value")));
            Decision::Permit
        }
        _ => return restrictions(evaluation, rule, table, value, about),
    })
}

/// ```text
/// field-name = 1*ftext    ; printable US-ASCII but ":", RFC 5322 section 3.6.8
/// ```
fn is_header_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':')
}

/// A value that names restrictions: they are about what the table was asked for.
fn restrictions(
    evaluation: &mut Evaluation<'_>,
    rule: &Rule,
    table: &str,
    value: &str,
    about: Subject,
) -> Result<Decision, Query> {
    let problem = match from_table(value, &evaluation.policy.classes) {
        Ok(_) if evaluation.depth > MAX_DEPTH => {
            format!("access table {table} entry {value} causes unreasonable recursion")
        }
        Ok(mut rules) => {
            rules.iter_mut().for_each(|named| named.warn |= rule.warn);
            return evaluation.list(&rules, about);
        }
        Err(word) => format!("access table {table}: unknown smtpd restriction: \"{word}\""),
    };
    evaluation.notes.push(Note::Warning(problem));
    Ok(server_error())
}

/// Refuses with the text of a table, which may begin with an enhanced status.
fn refuse(evaluation: &Evaluation<'_>, code: u16, status: &str, text: &str, about: Subject) -> Decision {
    let (status, text) = split(text, status, "Access denied");
    reject(code, fix_status(&status, about), &format!("{}: {text}", about.rejected(evaluation.facts)))
}

/// Status and text of a table's result, with defaults for both.
fn split<'a>(text: &'a str, status: &str, default: &'a str) -> (String, &'a str) {
    let (status, rest) = match Status::split(text) {
        Some((found, rest)) => (found.to_string(), rest.trim_start()),
        None => (status.to_owned(), text),
    };
    (status, if rest.is_empty() { default } else { rest })
}

/// The detail of a status (all but its class) that fits what is refused: one about a recipient's address is turned into the
/// sender's, and the reverse (smtpd_dsn_fix of Postfix).
pub(super) fn fix_status(status: &str, about: Subject) -> &str {
    let detail = status.split_once('.').map_or("7.1", |(_, detail)| detail);
    if !detail.starts_with("1.") {
        return detail;
    }
    match (about, detail) {
        (Subject::Sender, "1.2" | "1.8") => "1.8",
        (Subject::Sender, "1.3" | "1.7") => "1.7",
        (Subject::Sender, _) => "1.0",
        (Subject::Recipient, "1.1" | "1.2" | "1.3" | "1.4" | "1.5" | "1.6") => detail,
        (Subject::Recipient, "1.7") => "1.3",
        (Subject::Recipient, "1.8") => "1.2",
        (Subject::Recipient, _) => "1.0",
        _ => "0.0",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(keys: Vec<Key>) -> String {
        let shown = |(key, partial): Key| if partial { format!("{key}*") } else { key };
        keys.into_iter().map(shown).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn keys_of_names_and_addresses() {
        assert_eq!(joined(domain_keys("a.b.org", true)), "a.b.org b.org* org*");
        assert_eq!(joined(domain_keys("a.b.org", false)), "a.b.org .b.org* .org*");
        assert_eq!(joined(domain_keys("192.0.2.1", true)), "192.0.2.1", "a number has no parents");
        let address = Some("192.0.2.1".parse().unwrap());
        assert_eq!(joined(client_keys("c.org", address, true)), "c.org org* 192.0.2.1 192.0.2* 192.0* 192*");
        let address = Some("2001:db8::1".parse().unwrap());
        assert_eq!(joined(client_keys("unknown", address, true)), "unknown 2001:db8::1 2001:db8:* 2001:db8* 2001*");
        assert_eq!(joined(address_keys("u+x@b.org", "+", true)), "u+x@b.org u@b.org* b.org* org* u+x@* u@*");
        assert_eq!(joined(address_keys("u+x@b.org", "", false)), "u+x@b.org b.org* .org* u+x@*");
    }

    #[test]
    fn a_status_fits_what_is_refused() {
        for (status, about, fixed) in [
            ("5.7.1", Subject::Sender, "7.1"),
            ("5.1.1", Subject::Recipient, "1.1"),
            ("5.1.1", Subject::Sender, "1.0"),
            ("5.1.2", Subject::Sender, "1.8"),
            ("5.1.8", Subject::Recipient, "1.2"),
            ("5.1.1", Subject::Client, "0.0"),
        ] {
            assert_eq!(fix_status(status, about), fixed, "{status}");
        }
    }
}
