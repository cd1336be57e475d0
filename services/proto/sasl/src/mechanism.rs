//! SASL mechanisms, server side: PLAIN (RFC 4616) and LOGIN (draft-murchison-sasl-login).
//!
//! An [`Exchange`] is consumed by each response and gives the next [`Step`]. It holds no more than the user name; the
//! password leaves with the credentials and is wiped there. It must not decide whether a user may log in.

use zeroize::Zeroizing;

/// Longest response, in bytes, after base64: more than any credentials need, less than a line of any protocol carries.
pub const MAX_RESPONSE: usize = 12 * 1024;

/// A mechanism that can be offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mechanism {
    /// One message: authorization identity, authentication identity, password.
    Plain,
    /// Two prompts: user name, password.
    Login,
}

impl Mechanism {
    /// All that are implemented.
    pub const ALL: [Self; 2] = [Self::Plain, Self::Login];

    /// The name as SASL registers it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
        }
    }

    /// The mechanism of that name, in any case.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mechanism| mechanism.name().eq_ignore_ascii_case(name))
    }

    /// The security properties that Dovecot's `MECH` line lists: both send the password itself.
    pub fn properties(self) -> &'static [&'static str] {
        &["plaintext"]
    }
}

/// Who wants to be whom, and the proof.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The identity to act as, if it differs from the user's own (a master user logs in as somebody).
    pub authorization: Option<String>,
    /// The user whose password it is.
    pub user: String,
    /// The password: any bytes but NUL.
    pub password: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { authorization, user, password: _ } = self;
        out.debug_struct("Credentials")
            .field("authorization", authorization)
            .field("user", user)
            .finish_non_exhaustive()
    }
}

/// Why an exchange cannot go on. `Display` is Dovecot's log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// Not the mechanism's syntax.
    Input,
    /// A NUL where the mechanism has none.
    Nul,
    /// A user name that is not UTF-8.
    Encoding,
    /// Longer than [`MAX_RESPONSE`].
    TooLong,
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Self::Input => "invalid input",
            Self::Nul => "Unexpected NUL in auth data",
            Self::Encoding => "Username is not valid UTF-8",
            Self::TooLong => "response is too long",
        })
    }
}

impl std::error::Error for Malformed {}

/// What follows a response.
#[derive(Debug)]
pub enum Step {
    /// Send this to the client (in base64) and give its answer to the exchange.
    Challenge(Exchange, &'static [u8]),
    /// The exchange is over: verify these.
    Verify(Credentials),
    /// The exchange is over: fail it.
    Fail(Malformed),
}

/// An exchange between two messages of the client.
#[derive(Debug)]
pub struct Exchange(State);

#[derive(Debug)]
enum State {
    PlainMessage,
    LoginUser,
    LoginPassword { user: String },
}

impl Exchange {
    /// Begins an exchange with the client's initial response, if it sent one. An empty one counts for PLAIN, which has
    /// nothing to prompt for; LOGIN prompts all the same, as Dovecot does.
    pub fn begin(mechanism: Mechanism, initial: Option<&[u8]>) -> Step {
        match (mechanism, initial) {
            (Mechanism::Plain, None) => Step::Challenge(Self(State::PlainMessage), b""),
            (Mechanism::Plain, Some(response)) => Self(State::PlainMessage).respond(response),
            (Mechanism::Login, None | Some([])) => Step::Challenge(Self(State::LoginUser), b"Username:"),
            (Mechanism::Login, Some(response)) => Self(State::LoginUser).respond(response),
        }
    }

    /// Takes the client's answer to the last challenge.
    pub fn respond(self, response: &[u8]) -> Step {
        if response.len() > MAX_RESPONSE {
            return Step::Fail(Malformed::TooLong);
        }
        match self.0 {
            State::PlainMessage => plain(response).map_or_else(Step::Fail, Step::Verify),
            State::LoginUser | State::LoginPassword { .. } if response.contains(&0) => Step::Fail(Malformed::Nul),
            State::LoginUser => match String::from_utf8(response.to_vec()) {
                Ok(user) => Step::Challenge(Self(State::LoginPassword { user }), b"Password:"),
                Err(_) => Step::Fail(Malformed::Encoding),
            },
            State::LoginPassword { user } => {
                Step::Verify(Credentials { authorization: None, user, password: Zeroizing::new(response.to_vec()) })
            }
        }
    }
}

/// ```abnf
/// message = [authzid] UTF8NUL authcid UTF8NUL passwd       ; RFC 4616 §2
/// ```
/// Empty parts are accepted here: an empty user is for the user database to refuse, with Dovecot's words.
fn plain(message: &[u8]) -> Result<Credentials, Malformed> {
    let mut parts = message.split(|byte| *byte == 0);
    let (Some(authorization), Some(user), Some(password), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Malformed::Input);
    };
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(|_| Malformed::Encoding);
    Ok(Credentials {
        // Naming oneself is not acting for another.
        authorization: Some(text(authorization)?).filter(|_| !authorization.is_empty() && authorization != user),
        user: text(user)?,
        password: Zeroizing::new(password.to_vec()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verified(step: Step) -> (Option<String>, String, Vec<u8>) {
        match step {
            Step::Verify(credentials) => {
                (credentials.authorization, credentials.user, credentials.password.as_slice().to_vec())
            }
            other => panic!("{other:?}"),
        }
    }

    fn failed(step: Step) -> Malformed {
        match step {
            Step::Fail(malformed) => malformed,
            other => panic!("{other:?}"),
        }
    }

    fn challenged(step: Step) -> (Exchange, &'static [u8]) {
        match step {
            Step::Challenge(exchange, text) => (exchange, text),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn plain_messages() {
        let begin = |message: &[u8]| Exchange::begin(Mechanism::Plain, Some(message));
        assert_eq!(verified(begin(b"\0tim\0tanstaaf")), (None, "tim".into(), b"tanstaaf".to_vec()));
        assert_eq!(verified(begin(b"tim\0tim\0x")), (None, "tim".into(), b"x".to_vec()));
        assert_eq!(verified(begin(b"Ursel\0Kurt\0xipj")), (Some("Ursel".into()), "Kurt".into(), b"xipj".to_vec()));
        assert_eq!(verified(begin(b"\0\0")), (None, String::new(), Vec::new()));
        assert_eq!(verified(begin(b"\0u\0\xff\xfe")), (None, "u".into(), b"\xff\xfe".to_vec()));
        for message in [b"".as_slice(), b"only", b"\0u", b"\0u\0p\0", b"a\0b\0c\0d"] {
            assert_eq!(failed(begin(message)), Malformed::Input, "{message:?}");
        }
        assert_eq!(failed(begin(b"\0\xff\0x")), Malformed::Encoding);
        assert_eq!(failed(begin(b"\xff\0u\0x")), Malformed::Encoding);

        let (exchange, text) = challenged(Exchange::begin(Mechanism::Plain, None));
        assert_eq!(text, b"");
        assert_eq!(verified(exchange.respond(b"\0tim\0x")).1, "tim");
    }

    #[test]
    fn login_prompts() {
        for initial in [None, Some(b"".as_slice())] {
            let (exchange, text) = challenged(Exchange::begin(Mechanism::Login, initial));
            assert_eq!(text, b"Username:");
            let (exchange, text) = challenged(exchange.respond(b"tim"));
            assert_eq!(text, b"Password:");
            assert_eq!(verified(exchange.respond(b"x")), (None, "tim".into(), b"x".to_vec()));
        }
        let (exchange, _) = challenged(Exchange::begin(Mechanism::Login, Some(b"tim")));
        assert_eq!(failed(exchange.respond(b"a\0b")), Malformed::Nul);
        assert_eq!(failed(Exchange::begin(Mechanism::Login, Some(b"t\0m"))), Malformed::Nul);
        assert_eq!(failed(Exchange::begin(Mechanism::Login, Some(b"\xff"))), Malformed::Encoding);
    }

    #[test]
    fn responses_are_bounded() {
        let mut message = b"\0u\0".to_vec();
        message.resize(MAX_RESPONSE, b'x');
        assert_eq!(verified(Exchange::begin(Mechanism::Plain, Some(&message))).1, "u");
        message.push(b'x');
        assert_eq!(failed(Exchange::begin(Mechanism::Plain, Some(&message))), Malformed::TooLong);
    }

    #[test]
    fn names_in_any_case_and_no_password_in_debug_output() {
        assert_eq!(Mechanism::from_name("plain"), Some(Mechanism::Plain));
        assert_eq!(Mechanism::from_name("CRAM-MD5"), None);
        let step = Exchange::begin(Mechanism::Plain, Some(b"\0tim\0hunter2"));
        assert!(!format!("{step:?}").contains("hunter2"));
    }
}
