//! AUTH (RFC 4954) of the SMTP server: lines and base64. The mechanisms themselves are the caller's.

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{Answer, Level, Mode, Pending, Question, Session, Smtp, Verb, command::Word};
use crate::reply::{Reply, printable};

impl Session {
    /// The mechanisms on offer; none if AUTH is off.
    pub(super) fn mechanisms<'a>(&self, config: &'a Smtp) -> &'a [String] {
        match (self.peer.discard.contains("AUTH"), self.tls) {
            (true, _) => &[],
            (false, true) => &config.mechanisms_under_tls,
            (false, false) => &config.mechanisms_in_clear,
        }
    }

    /// ```text
    /// auth-command = "AUTH" SP sasl-mech [SP initial-response]
    /// initial-response = base64 / "="    ; RFC 4954 section 8
    /// ```
    pub(super) fn auth_command(&mut self, config: &Smtp, words: &[Word]) {
        if self.mechanisms(config).is_empty() {
            return self.fail(503, "5.5.1 Error: authentication not enabled");
        }
        if self.transaction.is_some() {
            return self.fail(503, "5.5.1 Error: MAIL transaction in progress");
        }
        if self.user.is_some() {
            return self.fail(503, "5.5.1 Error: already authenticated");
        }
        let (mechanism, initial) = match words {
            [mechanism] => (mechanism, None),
            [mechanism, initial] => (mechanism, Some(initial)),
            _ => return self.fail(501, "5.5.4 Syntax: AUTH mechanism"),
        };
        let offered = self.mechanisms(config).iter().find(|offered| offered.eq_ignore_ascii_case(&mechanism.text));
        let Some(offered) = offered.cloned() else {
            return self.auth_failed(&printable(mechanism.text.as_bytes()), "Invalid authentication mechanism", None);
        };
        let initial = match initial.map(|word| decode(&word.text)) {
            Some(None) => return self.auth_failed(&offered, "Invalid base64 data in initial response", None),
            Some(Some(response)) => Some(response),
            None => None,
        };
        self.ask(Question::AuthStart { mechanism: offered.clone(), initial }, Pending::Auth { mechanism: offered });
    }

    /// A line in answer to a challenge.
    pub(super) fn auth_response(&mut self, config: &Smtp) -> bool {
        let Some(line) = self.input.line(config.sasl_response_limit) else { return false };
        let Mode::AuthResponse { mechanism } = std::mem::replace(&mut self.mode, Mode::Command) else {
            unreachable!("called in this mode alone")
        };
        let text = String::from_utf8_lossy(&line.bytes);
        if line.cut {
            let reply = Reply::new(500, "5.5.6 SASL response limit exceeded");
            self.ask(Question::AuthAbort, Pending::AuthAborted(reply));
        } else if text == "*" {
            let warning = format!("{}: SASL {mechanism} authentication aborted", self.peer.name);
            self.log(Level::Warning, warning);
            self.ask(Question::AuthAbort, Pending::AuthAborted(Reply::new(501, "5.7.0 Authentication aborted")));
        } else if let Some(response) = decode(&text) {
            self.ask(Question::AuthContinue(response), Pending::Auth { mechanism });
        } else {
            let reason = "Invalid base64 data in continued response";
            self.log_auth_failure(&mechanism, reason, None);
            let reply = Reply::new(535, &format!("5.7.8 Error: authentication failed: {reason}"));
            self.ask(Question::AuthAbort, Pending::AuthAborted(reply));
        }
        true
    }

    pub(super) fn auth_answer(&mut self, mechanism: String, answer: Answer) {
        match answer {
            Answer::Challenge(challenge) => {
                self.reply(&Reply::new(334, &STANDARD.encode(challenge)));
                self.mode = Mode::AuthResponse { mechanism };
            }
            Answer::Authenticated(user) => {
                self.user = Some(user);
                self.succeed(235, "2.7.0 Authentication successful");
            }
            Answer::AuthFailed { reason, user } => self.auth_failed(&mechanism, &reason, user.as_deref()),
            Answer::AuthUnavailable { reason, user } => {
                self.log_auth_failure(&mechanism, &reason, user.as_deref());
                self.fail(454, &format!("4.7.0 Temporary authentication failure: {reason}"));
            }
            Answer::Reply(reply) if !reply.is_positive() => {
                self.reply(&reply);
                self.finish(false);
            }
            _ => panic!("no answer to {}: {answer:?}", Verb::Auth.name()),
        }
    }

    fn auth_failed(&mut self, mechanism: &str, reason: &str, user: Option<&str>) {
        self.log_auth_failure(mechanism, reason, user);
        self.fail(535, &format!("5.7.8 Error: authentication failed: {reason}"));
    }

    fn log_auth_failure(&mut self, mechanism: &str, reason: &str, user: Option<&str>) {
        let user = printable(user.unwrap_or("(unavailable)").as_bytes());
        let client = &self.peer.name;
        let line =
            format!("{client}: SASL {mechanism:.100} authentication failed: {reason}, sasl_username={user:.100}");
        self.log(Level::Warning, line);
    }
}

/// A response; `=` stands for an empty one.
fn decode(text: &str) -> Option<Vec<u8>> {
    if text == "=" { Some(Vec::new()) } else { STANDARD.decode(text).ok() }
}
