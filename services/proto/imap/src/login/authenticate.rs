//! LOGIN and AUTHENTICATE.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

use super::{Action, Login, Refused, Rejection, State, Tls};
use crate::frame::Step;
use crate::token::{Arg, Args};

/// RFC 4648 section 4; padding must be right.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::RequireCanonical),
);

impl Login {
    /// ```text
    /// login    = "LOGIN" SP userid SP password
    /// userid   = astring
    /// password = astring
    /// ```
    ///
    /// RFC 3501 section 9. It is the mechanism PLAIN with other words.
    pub(super) fn login(&mut self, tag: &[u8], arguments: &[Arg<'_>]) -> Option<Action> {
        let mut args = Args::new(arguments);
        let (Some(user), Some(password), true) = (args.astring(), args.astring(), args.is_empty()) else {
            return self.bad_command(Some(tag));
        };
        if !self.allows_plaintext() {
            self.out.extend_from_slice(
                b"* BAD [ALERT] Plaintext authentication not allowed without SSL/TLS, but your client did it anyway. \
                  If anyone was listening, the password was exposed.\r\n",
            );
            self.refused = Some(Refused::Cleartext(user.to_vec()));
            let text = "NO [PRIVACYREQUIRED] Plaintext authentication disallowed on non-secure (SSL/TLS) connections.";
            return self.good(tag, text);
        }
        let mut initial = Zeroizing::new(Vec::with_capacity(user.len() + password.len() + 2));
        initial.push(0);
        initial.extend_from_slice(user);
        initial.push(0);
        initial.extend_from_slice(password);
        self.ask(tag, "PLAIN".to_owned(), Some(initial))
    }

    /// ```text
    /// authenticate = "AUTHENTICATE" SP auth-type [SP (base64 / "=")] *(CRLF base64)
    /// ```
    ///
    /// RFC 3501 section 9, RFC 4959 section 7.
    pub(super) fn authenticate(&mut self, tag: &[u8], arguments: &[Arg<'_>]) -> Option<Action> {
        let mut args = Args::new(arguments);
        let Some(name) = args.astring() else { return self.bad_command(Some(tag)) };
        let initial = args.astring();
        if !args.is_empty() {
            return self.bad_command(Some(tag));
        }
        if self.settings.tls == Tls::Required && !self.secured {
            return self.good(tag, "NO [PRIVACYREQUIRED] Authentication not allowed until SSL/TLS is enabled.");
        }
        let known = self.settings.mechanisms.iter().find(|known| name.eq_ignore_ascii_case(known.name.as_bytes()));
        let Some(mechanism) = known.cloned() else {
            self.refused = Some(Refused::Mechanism(name.to_vec()));
            return self.good(tag, "NO [ALERT] Unsupported authentication mechanism.");
        };
        if mechanism.plaintext && !self.allows_plaintext() {
            self.refused = Some(Refused::CleartextMechanism(mechanism.name));
            return self.good(tag, "NO [PRIVACYREQUIRED] Plaintext authentication disabled.");
        }
        let initial = match initial {
            None => None,
            Some(b"=") => Some(Zeroizing::default()),
            Some(text) => match BASE64.decode(text) {
                Ok(decoded) => Some(Zeroizing::new(decoded)),
                Err(_) => {
                    self.tagged(tag, "BAD Invalid base64 data in initial response");
                    return self.count_bad_command();
                }
            },
        };
        self.ask(tag, mechanism.name, initial)
    }

    fn ask(&mut self, tag: &[u8], mechanism: String, initial: Option<Zeroizing<Vec<u8>>>) -> Option<Action> {
        self.bad_commands = 0;
        self.state = State::Asking(tag.to_vec());
        Some(Action::Authenticate { mechanism, initial })
    }

    /// A line of the client in an exchange: base64, or `*` to end it.
    pub(super) fn response(&mut self, step: Step<'_>) -> Option<Action> {
        let State::Response(tag) = std::mem::replace(&mut self.state, State::Command) else { return None };
        let line = match step {
            Step::Command => Zeroizing::new(self.framer.command().to_vec()),
            Step::TooLong => return Some(self.bye("Authentication response too large")),
            // A literal is no base64.
            Step::Continue => {
                self.framer.cancel();
                Zeroizing::new(vec![b'{'])
            }
            _ => {
                self.framer.discard();
                Zeroizing::new(vec![b'{'])
            }
        };
        if *line == b"*" {
            self.tagged(&tag, "BAD Authentication aborted by client.");
            return Some(Action::Cancel);
        }
        match BASE64.decode(&*line) {
            Ok(response) => {
                self.state = State::Asking(tag);
                Some(Action::Respond(Zeroizing::new(response)))
            }
            Err(_) => {
                self.tagged(&tag, "NO [ALERT] Invalid base64 in response");
                Some(Action::Cancel)
            }
        }
    }

    fn take_tag(&mut self) -> Vec<u8> {
        match std::mem::replace(&mut self.state, State::Command) {
            State::Asking(tag) => tag,
            state => panic!("auth answered in state {state:?}"),
        }
    }

    /// Auth wants to hear more.
    pub fn challenge(&mut self, challenge: &[u8]) {
        let tag = self.take_tag();
        self.write_challenge(challenge);
        self.state = State::Response(tag);
    }

    /// Auth refuses, be it that it was asked or that the exchange waits for the client.
    pub fn rejected(&mut self, rejection: &Rejection) {
        let tag = match std::mem::replace(&mut self.state, State::Command) {
            State::Asking(tag) | State::Response(tag) => tag,
            state => panic!("auth answered in state {state:?}"),
        };
        let text = match rejection {
            Rejection::Failed => "NO [AUTHENTICATIONFAILED] Authentication failed.".to_owned(),
            Rejection::Reason(reason) if reason.starts_with('[') => format!("NO {reason}"),
            Rejection::Reason(reason) => format!("NO [ALERT] {reason}"),
            Rejection::Temporary { host, time } => {
                format!("NO [UNAVAILABLE] Temporary authentication failure. [{host}:{time}]")
            }
        };
        self.tagged(&tag, &text);
    }

    /// The user is logged in. The session answers the command with this tag; what was not read of the input is the
    /// session's to read.
    pub fn authenticated(&mut self) -> Vec<u8> {
        let tag = self.take_tag();
        self.state = State::Authenticated;
        tag
    }
}
