//! How many deliveries to one user are in progress (`lmtp_user_concurrency_limit`).
//!
//! All deliveries to a user go through the one process of his account, so that the count is that of the whole system.
//! Dovecot counts from RCPT on, where several processes must agree; here a delivery counts from the end of its message on.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

/// The deliveries in progress, by user.
#[derive(Debug, Default)]
pub struct Crowd {
    users: HashMap<String, Weak<()>>,
}

/// A delivery's place in the [`Crowd`]; it is free when this is dropped. Empty where nothing is counted.
#[derive(Debug, Default)]
pub struct Place(#[expect(dead_code, reason = "its existence is what is counted")] Option<Arc<()>>);

impl Crowd {
    /// A place for one more delivery to `user`; `None` if there are `limit` already.
    pub fn enter(&mut self, user: &str, limit: Option<usize>) -> Option<Place> {
        let Some(limit) = limit else { return Some(Place::default()) };
        self.users.retain(|_, deliveries| deliveries.strong_count() > 0);
        let deliveries = self.users.get(user).and_then(Weak::upgrade).unwrap_or_default();
        // The one that has just been made counts, too.
        if Arc::strong_count(&deliveries) > limit {
            return None;
        }
        self.users.insert(user.to_owned(), Arc::downgrade(&deliveries));
        Some(Place(Some(deliveries)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::tests::settings;

    #[test]
    fn a_user_has_no_more_deliveries_than_the_limit_says() {
        for (limit, expected) in [("0", 5), ("1", 1), ("3", 3)] {
            let limit = settings(&[("lmtp_user_concurrency_limit", limit)]).concurrency;
            let mut crowd = Crowd::default();
            let mut places: Vec<Place> = (0..5).filter_map(|_| crowd.enter("ann", limit)).collect();
            assert_eq!(places.len(), expected, "{limit:?}");
            assert!(crowd.enter("bob", limit).is_some(), "others have their own");
            places.pop();
            let again = crowd.enter("ann", limit);
            assert!(again.is_some() && (limit.is_none() || crowd.enter("ann", limit).is_none()));
        }
    }

    #[test]
    fn users_without_a_delivery_are_forgotten() {
        let mut crowd = Crowd::default();
        for n in 0..100 {
            drop(crowd.enter(&n.to_string(), Some(1)));
        }
        assert_eq!(crowd.users.len(), 1);
    }
}
