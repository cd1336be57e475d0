//! The recipients of a message: as the client gave them, what tables make of each, and without the repeated ones.

use std::collections::HashSet;

use ipc_messages::envelope::Recipient;

/// The most recipients of one message, after expansion: what an envelope has room for.
pub const MAX_RECIPIENTS: usize = 50_000;

/// One recipient as it was given.
#[derive(Debug)]
pub struct Given {
    /// The recipient.
    pub recipient: Recipient,
    /// What it stands for, once that is known.
    pub expanded: Option<Vec<String>>,
}

/// The recipients to deliver to, in order. `keep_original` is `enable_original_recipient`, `limit` is
/// `duplicate_filter_limit` (0 for none): that many are remembered, the rest is not looked at twice.
///
/// Two recipients are the same when everything that a delivery shows of them is: the address in any case, the address that was
/// given, and what RFC 3461 says of them. `None` when there are more than [`MAX_RECIPIENTS`].
pub fn expand(given: Vec<Given>, keep_original: bool, limit: usize) -> Option<Vec<Recipient>> {
    let mut seen = HashSet::new();
    let mut all = Vec::new();
    for Given { recipient, expanded } in given {
        // An alias that stands for nobody is not one.
        let addresses = expanded.filter(|addresses| !addresses.is_empty());
        for address in addresses.unwrap_or_else(|| vec![recipient.address.clone()]) {
            let original = if address == recipient.address { None } else { Some(recipient.address.clone()) };
            let original = recipient.original.clone().or(original).filter(|_| keep_original);
            let key = (address.to_lowercase(), original.clone(), recipient.dsn_orcpt.clone(), recipient.notify);
            let full = limit > 0 && seen.len() >= limit;
            let repeated = if full { seen.contains(&key) } else { !seen.insert(key) };
            if !repeated {
                all.push(Recipient { address, original, ..recipient.clone() });
            }
            if all.len() > MAX_RECIPIENTS {
                return None;
            }
        }
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(address: &str, expanded: &[&str]) -> Given {
        let recipient =
            Recipient { address: address.into(), original: None, dsn_orcpt: None, notify: Default::default() };
        Given { recipient, expanded: Some(expanded.iter().map(|address| address.to_string()).collect()) }
    }

    fn names(recipients: Option<Vec<Recipient>>) -> Vec<(String, Option<String>)> {
        recipients.unwrap().into_iter().map(|recipient| (recipient.address, recipient.original)).collect()
    }

    #[test]
    fn an_alias_is_remembered_as_the_original() {
        let all = || vec![given("a@x", &["a@x"]), given("all@x", &["a@x", "b@x"]), given("none@x", &[])];
        let some = |text: &str| Some(text.to_string());
        let expected = [("a@x", None), ("a@x", some("all@x")), ("b@x", some("all@x")), ("none@x", None)];
        assert_eq!(
            names(expand(all(), true, 1000)),
            expected.map(|(address, original)| (address.to_string(), original))
        );
        let expected = ["a@x", "b@x", "none@x"].map(|address| (address.to_string(), None));
        assert_eq!(names(expand(all(), false, 1000)), expected);
    }

    #[test]
    fn repeated_ones_go_as_far_as_the_filter_remembers() {
        let all =
            || vec![given("a@x", &["a@x"]), given("A@X", &["A@X"]), given("b@x", &["b@x"]), given("b@x", &["b@x"])];
        assert_eq!(expand(all(), true, 0).unwrap().len(), 2);
        assert_eq!(expand(all(), true, 1).unwrap().len(), 3);
    }

    #[test]
    fn an_envelope_has_room_for_so_many() {
        let many: Vec<String> = (0..=MAX_RECIPIENTS).map(|number| format!("{number}@x")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(expand(vec![given("all@x", &many[1..])], true, 1).is_some());
        assert!(expand(vec![given("all@x", &many)], true, 1).is_none());
    }
}
