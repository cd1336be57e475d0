//! What happened on a connection before login, in the words in which Dovecot logs it at the end.

use ipc_messages::auth::Failure;
use proto_imap::login::Refused;

/// How the last attempt to log in ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    /// Nothing is known beside that it failed.
    Failed,
    /// Auth said why.
    Told(Failure),
    /// It was refused here.
    Cleartext,
    /// The mechanism is not offered.
    Mechanism,
}

/// Where an exchange stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exchange {
    None,
    /// Auth is being asked.
    Auth,
    /// Auth waits for the client.
    Client,
}

/// The attempts of one connection. Times are in whole seconds of one clock.
#[derive(Debug)]
pub struct History {
    created: u64,
    auth_ready: bool,
    /// The user of the last attempt, as auth told it.
    pub user: String,
    /// The mechanism of the last attempt.
    pub mechanism: String,
    attempts: u32,
    successes: u32,
    first: Option<u64>,
    exchange: Exchange,
    aborted: bool,
    last: Last,
}

impl History {
    /// Of a connection that has just come.
    pub fn new(now: u64) -> History {
        History {
            created: now,
            auth_ready: false,
            user: String::new(),
            mechanism: String::new(),
            attempts: 0,
            successes: 0,
            first: None,
            exchange: Exchange::None,
            aborted: false,
            last: Last::Failed,
        }
    }

    /// Auth offers mechanisms: what happens from now on is not for want of it.
    pub fn auth_is_ready(&mut self) {
        self.auth_ready = true;
    }

    /// Auth is asked.
    pub fn asked(&mut self, mechanism: &str, now: u64) {
        self.attempt(now);
        mechanism.clone_into(&mut self.mechanism);
        self.exchange = Exchange::Auth;
        self.last = Last::Failed;
    }

    /// An attempt was refused before auth was asked.
    pub fn refused(&mut self, refused: &Refused, now: u64) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        // Dovecot does not begin to count the time here.
        let first = self.first;
        self.attempt(now);
        self.first = first;
        match refused {
            Refused::Cleartext(user) => self.user = text(user),
            Refused::CleartextMechanism(name) => {
                self.mechanism.clone_from(name);
                self.last = Last::Cleartext;
            }
            Refused::Mechanism(name) => {
                self.mechanism = text(name).to_ascii_uppercase();
                self.last = Last::Mechanism;
            }
        }
    }

    fn attempt(&mut self, now: u64) {
        self.attempts += 1;
        self.first.get_or_insert(now);
    }

    /// Auth waits for the client, or (`false`) has heard it.
    pub fn challenged(&mut self, waits: bool) {
        self.exchange = if waits { Exchange::Client } else { Exchange::Auth };
    }

    /// The client gave an exchange up.
    pub fn cancelled(&mut self) {
        self.exchange = Exchange::None;
        self.aborted = true;
    }

    /// Auth has refused.
    pub fn failed(&mut self, failure: Failure, user: Option<&str>) {
        self.exchange = Exchange::None;
        self.last = Last::Told(failure);
        self.successes += u32::from(failure == Failure::Barred);
        if let Some(user) = user {
            user.clone_into(&mut self.user);
        }
    }

    /// The user is logged in.
    pub fn succeeded(&mut self, user: &str) {
        self.exchange = Exchange::None;
        self.successes += 1;
        user.clone_into(&mut self.user);
    }

    /// What stands in parentheses behind the reason of the end.
    pub fn summary(&self, now: u64) -> String {
        let since = |then: u64| now.saturating_sub(then);
        let waited = self.first.map_or(0, since);
        if !self.auth_ready {
            return format!("(disconnected before auth was ready, waited {} secs)", since(self.created));
        }
        match (self.attempts, self.exchange) {
            (0, _) => return format!("(no auth attempts in {} secs)", since(self.created)),
            (1, Exchange::Client) => return format!("(client didn't finish SASL auth, waited {waited} secs)"),
            (1, Exchange::Auth) => return format!("(disconnected while authenticating, waited {waited} secs)"),
            (1, Exchange::None) if self.aborted => return "(aborted authentication)".into(),
            _ => {}
        }
        if self.successes > 0 {
            return format!("(internal failure, {} successful auths)", self.successes);
        }
        let attempts = self.attempts;
        match self.last {
            Last::Told(Failure::Authorization) => {
                format!("(authorization failed, {attempts} attempts in {waited} secs)")
            }
            Last::Told(Failure::Temporary | Failure::Broken) => "(auth service reported temporary failure)".into(),
            Last::Told(Failure::Disabled) => "(user disabled)".into(),
            Last::Told(Failure::Expired) => "(password expired)".into(),
            Last::Told(Failure::Mechanism) | Last::Mechanism => "(tried to use unsupported auth mechanism)".into(),
            Last::Cleartext => "(tried to use disallowed plaintext auth)".into(),
            Last::Told(Failure::Credentials | Failure::Barred | Failure::Malformed) | Last::Failed => {
                format!("(auth failed, {attempts} attempts in {waited} secs)")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready() -> History {
        let mut history = History::new(100);
        history.auth_is_ready();
        history
    }

    /// Recorded from Dovecot 2.3.19.
    #[test]
    fn summaries() {
        assert_eq!(History::new(100).summary(101), "(disconnected before auth was ready, waited 1 secs)");
        let mut history = ready();
        assert_eq!(history.summary(102), "(no auth attempts in 2 secs)");
        history.asked("PLAIN", 103);
        assert_eq!(history.summary(105), "(disconnected while authenticating, waited 2 secs)");
        history.challenged(true);
        assert_eq!(history.summary(107), "(client didn't finish SASL auth, waited 4 secs)");
        history.failed(Failure::Credentials, Some("u@d.test"));
        assert_eq!(history.summary(105), "(auth failed, 1 attempts in 2 secs)");
        history.asked("PLAIN", 110);
        history.failed(Failure::Credentials, Some("u@d.test"));
        assert_eq!(
            (history.summary(120).as_str(), history.user.as_str()),
            ("(auth failed, 2 attempts in 17 secs)", "u@d.test")
        );
    }

    #[test]
    fn summaries_of_failures() {
        for (failure, expected) in [
            (Failure::Disabled, "(user disabled)"),
            (Failure::Temporary, "(auth service reported temporary failure)"),
            (Failure::Barred, "(internal failure, 1 successful auths)"),
            (Failure::Authorization, "(authorization failed, 1 attempts in 0 secs)"),
        ] {
            let mut history = ready();
            history.asked("PLAIN", 100);
            history.failed(failure, None);
            assert_eq!(history.summary(100), expected);
        }
        let mut history = ready();
        history.asked("PLAIN", 100);
        history.cancelled();
        assert_eq!(history.summary(100), "(aborted authentication)");
    }

    #[test]
    fn attempts_that_are_refused_here() {
        let mut history = ready();
        history.refused(&Refused::Cleartext(b"u@d.test".to_vec()), 100);
        assert_eq!(history.summary(109), "(auth failed, 1 attempts in 0 secs)");
        assert_eq!((history.user.as_str(), history.mechanism.as_str()), ("u@d.test", ""));
        history.refused(&Refused::CleartextMechanism("PLAIN".into()), 100);
        assert_eq!(history.summary(109), "(tried to use disallowed plaintext auth)");
        history.refused(&Refused::Mechanism(b"cram-md5".to_vec()), 100);
        assert_eq!(history.summary(109), "(tried to use unsupported auth mechanism)");
        assert_eq!(history.mechanism, "CRAM-MD5");
    }
}
