//! Before login: greeting, TLS, authentication, up to the handoff.
//!
//! The machine knows neither sockets nor TLS nor passwords' truth: [`Login::process`] reads commands up to one that needs
//! somebody else and returns that as an [`Action`]; the caller answers with one of the methods named there.
//!
//! Invariants: while auth is being asked, nothing is read, so that what the client sends early reaches its session
//! unread. After STARTTLS nothing that came before TLS is read: the caller throws its unread input away. At
//! most [`limits::LOGIN_COMMAND`] bytes of a client are held, and passwords are wiped.

mod authenticate;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::frame::{Framer, Step};
use crate::session::{Now, write_id};
use crate::token::{self, Arg, Line};
use crate::{limits, response};

/// What the configuration says about logging in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// `login_greeting`, its variables expanded.
    pub greeting: String,
    /// Mechanisms that auth offers.
    pub mechanisms: Vec<Mechanism>,
    /// `disable_plaintext_auth`
    pub disable_plaintext: bool,
    /// `ssl`
    pub tls: Tls,
    /// `imap_id_send`: names and values of the reply to ID.
    pub id: Vec<(String, String)>,
}

/// A SASL mechanism.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mechanism {
    /// Its name in capitals.
    pub name: String,
    /// It shows the password to whoever listens.
    pub plaintext: bool,
}

/// The setting `ssl`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tls {
    /// `no`
    No,
    /// `yes`
    Yes,
    /// `required`
    Required,
}

/// What the caller has to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Begin an exchange with auth; answered by [`Login::challenge`], [`Login::rejected`], [`Login::authenticated`] or
    /// [`Login::internal_error`].
    Authenticate {
        /// One of [`Settings::mechanisms`].
        mechanism: String,
        /// The initial response, if there is one.
        initial: Option<Zeroizing<Vec<u8>>>,
    },
    /// Go on with the exchange; answered likewise.
    Respond(Zeroizing<Vec<u8>>),
    /// Forget the exchange.
    Cancel,
    /// Send the output, throw unread input away, and begin TLS as its server; then [`Login::tls_started`].
    StartTls,
    /// Send the output and close.
    Close,
}

/// Why auth refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rejection {
    /// User or password are wrong, or may not.
    Failed,
    /// A reason that auth wants the user to read; one that begins with `[` brings its own response code.
    Reason(String),
    /// Auth cannot tell just now: the name of this host and the time, `2026-11-20 23:26:52`, for whoever reads the log.
    Temporary {
        /// Host name.
        host: String,
        /// Local time.
        time: String,
    },
}

/// An attempt to log in that was refused before auth was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// LOGIN without TLS, with this user's password.
    Cleartext(Vec<u8>),
    /// AUTHENTICATE with a mechanism that shows the password, without TLS.
    CleartextMechanism(String),
    /// AUTHENTICATE with a mechanism that is not offered.
    Mechanism(Vec<u8>),
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    /// Reading commands.
    Command,
    /// Auth is being asked for the command with this tag.
    Asking(Vec<u8>),
    /// Auth waits for a line of the client.
    Response(Vec<u8>),
    /// Said OK to STARTTLS.
    StartingTls,
    /// Logged in: what follows is the session's.
    Authenticated,
    /// Closed.
    Over,
}

/// A connection that is not logged in.
#[derive(Debug)]
pub struct Login {
    settings: Settings,
    framer: Framer,
    out: Vec<u8>,
    state: State,
    /// TLS is on.
    tls: bool,
    /// Nobody can listen: TLS, or a client on this host.
    secured: bool,
    bad_commands: u32,
    /// When the last command was complete.
    heard_ms: u64,
    refused: Option<Refused>,
    farewell: Option<&'static str>,
}

impl Login {
    /// A new connection, which is greeted. `tls`: it began with TLS; `local`: it does not leave this host.
    pub fn new(settings: Settings, tls: bool, local: bool, now: Now) -> Login {
        let mut login = Login {
            settings,
            framer: Framer::new(limits::LOGIN_COMMAND),
            out: Vec::new(),
            state: State::Command,
            tls,
            secured: tls || local,
            bad_commands: 0,
            heard_ms: now.monotonic_ms,
            refused: None,
            farewell: None,
        };
        let greeting = format!("OK [CAPABILITY {}] {}", login.capability(), login.settings.greeting);
        response::untagged(&mut login.out, &greeting);
        login
    }

    /// Reads commands until one needs the caller. Returns how much of the input it has read: the rest is to be kept, for
    /// the next call or for the session.
    pub fn process(&mut self, input: &[u8], now: Now) -> (usize, Option<Action>) {
        let mut rest = input;
        loop {
            match &self.state {
                State::Command | State::Response(_) => {}
                State::Asking(_) | State::StartingTls | State::Authenticated => {
                    return (input.len() - rest.len(), None);
                }
                State::Over => return (input.len() - rest.len(), Some(Action::Close)),
            }
            let step = self.framer.next(&mut rest);
            if step == Step::NeedInput {
                return (input.len(), None);
            }
            if step != Step::Continue {
                self.heard_ms = now.monotonic_ms;
            }
            let finished = step == Step::Command;
            let action = self.step(step);
            if finished {
                self.framer.wipe();
            }
            if action.is_some() {
                return (input.len() - rest.len(), action);
            }
        }
    }

    /// What is to be sent.
    pub fn output(&self) -> &[u8] {
        &self.out
    }

    /// The first `count` bytes of the output are sent.
    pub fn sent(&mut self, count: usize) {
        self.out.drain(..count);
    }

    /// The last attempt that was refused here, once, for the log.
    pub fn take_refused(&mut self) -> Option<Refused> {
        self.refused.take()
    }

    /// What the client was told at the end (`Logging out`), for the log.
    pub fn farewell(&self) -> Option<&'static str> {
        self.farewell
    }

    /// When [`Login::tick`] has to be called, in [`Now::monotonic_ms`]. Auth has its own time limit.
    pub fn deadline(&self) -> u64 {
        match self.state {
            State::Asking(_) | State::Authenticated | State::Over => u64::MAX,
            _ => self.heard_ms + limits::LOGIN_SECONDS * 1000,
        }
    }

    /// Ends a connection that did not log in, in time.
    pub fn tick(&mut self, now: Now) -> Option<Action> {
        if now.monotonic_ms < self.deadline() {
            return None;
        }
        Some(self.bye("Disconnected for inactivity."))
    }

    /// TLS is on.
    pub fn tls_started(&mut self) {
        self.tls = true;
        self.secured = true;
        self.framer = Framer::new(limits::LOGIN_COMMAND);
        self.state = State::Command;
    }

    /// There is no auth, or it does not answer.
    pub fn auth_broken(&mut self) -> Action {
        self.bye("Auth process broken")
    }

    /// The user is known, but there can be no session; the log says why.
    pub fn internal_error(&mut self) -> Action {
        self.bye("Internal error occurred. Refer to server log for more information.")
    }

    /// The server is being stopped.
    pub fn shut_down(&mut self) -> Action {
        self.bye("Server shutting down.")
    }

    fn bye(&mut self, text: &'static str) -> Action {
        if self.state != State::Over {
            response::untagged(&mut self.out, &format!("BYE {text}"));
        }
        self.end(text)
    }

    fn end(&mut self, farewell: &'static str) -> Action {
        self.state = State::Over;
        self.farewell.get_or_insert(farewell);
        Action::Close
    }

    /// ```text
    /// capability-data = "CAPABILITY" *(SP capability) SP "IMAP4rev1" *(SP capability)
    /// ```
    ///
    /// In Dovecot's order: STARTTLS as long as it can be had, LOGINDISABLED and mechanisms as they can be used.
    fn capability(&self) -> String {
        let mut text = response::PRE_LOGIN_CAPABILITY.to_owned();
        if self.settings.tls != Tls::No && !self.tls {
            text.push_str(" STARTTLS");
        }
        if !self.allows_plaintext() {
            text.push_str(" LOGINDISABLED");
        }
        for mechanism in &self.settings.mechanisms {
            if self.allows_plaintext() || !mechanism.plaintext {
                text.push_str(" AUTH=");
                text.push_str(&mechanism.name);
            }
        }
        text
    }

    /// Whether a password may be sent as things stand.
    fn allows_plaintext(&self) -> bool {
        self.secured || (!self.settings.disable_plaintext && self.settings.tls != Tls::Required)
    }

    fn step(&mut self, step: Step<'_>) -> Option<Action> {
        if let State::Response(_) = self.state {
            return self.response(step);
        }
        match step {
            Step::Continue => {
                self.out.extend_from_slice(b"+ OK\r\n");
                None
            }
            Step::Command => self.command(),
            Step::LiteralTooLarge => Some(self.bye("Literal size too large")),
            Step::TooLong => Some(self.bye("Input buffer full, aborting")),
            // APPEND is no command here, and its message is skipped if it comes.
            Step::Message(_) => {
                self.framer.discard();
                self.bad_command(None)
            }
            Step::NeedInput | Step::Data(_) | Step::MessageEnd => None,
        }
    }

    /// ```text
    /// command-any    = "CAPABILITY" / "LOGOUT" / "NOOP" / id / enable
    /// command-nonauth = login / authenticate / "STARTTLS"
    /// ```
    ///
    /// RFC 3501 section 9.
    fn command(&mut self) -> Option<Action> {
        let command = Zeroizing::new(self.framer.command().to_vec());
        let Some(Line { tag, name, rest }) = token::split(&command) else {
            return self.bad_command(None);
        };
        let Some(name) = name else { return self.bad_command(Some(tag)) };
        let arguments = match token::arguments(rest) {
            Ok(arguments) => arguments,
            Err(error) => {
                self.tagged(tag, &format!("BAD {}", error.0));
                return self.count_bad_command();
            }
        };
        match token::upper(name).as_str() {
            "CAPABILITY" => {
                let capability = self.capability();
                response::untagged(&mut self.out, &format!("CAPABILITY {capability}"));
                self.good(tag, "OK Pre-login capabilities listed, post-login capabilities have more.")
            }
            "NOOP" => self.good(tag, "OK NOOP completed."),
            "LOGOUT" => {
                response::untagged(&mut self.out, "BYE Logging out");
                self.tagged(tag, "OK Logout completed.");
                Some(self.end("Logging out"))
            }
            "ID" if is_id(&arguments) => {
                write_id(&mut self.out, &self.settings.id);
                self.good(tag, "OK ID completed.")
            }
            "ID" => {
                self.tagged(tag, "BAD Invalid ID parameters");
                self.count_bad_command()
            }
            "ENABLE" => {
                response::untagged(&mut self.out, "ENABLED");
                self.good(tag, "OK ENABLE ignored in non-authenticated state.")
            }
            "STARTTLS" => self.start_tls(tag),
            "LOGIN" => self.login(tag, &arguments),
            "AUTHENTICATE" => self.authenticate(tag, &arguments),
            _ => self.bad_command(Some(tag)),
        }
    }

    fn start_tls(&mut self, tag: &[u8]) -> Option<Action> {
        if self.tls {
            self.tagged(tag, "BAD TLS is already active.");
            return self.count_bad_command();
        }
        if self.settings.tls == Tls::No {
            self.tagged(tag, "BAD TLS support isn't enabled.");
            return self.count_bad_command();
        }
        self.tagged(tag, "OK Begin TLS negotiation now.");
        self.state = State::StartingTls;
        Some(Action::StartTls)
    }

    fn tagged(&mut self, tag: &[u8], text: &str) {
        response::tagged(&mut self.out, tag, text);
    }

    /// Answers a command that makes sense.
    fn good(&mut self, tag: &[u8], text: &str) -> Option<Action> {
        self.bad_commands = 0;
        self.tagged(tag, text);
        None
    }

    /// Answers what is no command, as long as there is patience.
    fn bad_command(&mut self, tag: Option<&[u8]>) -> Option<Action> {
        let action = self.count_bad_command();
        if action.is_none() {
            self.tagged(tag.unwrap_or(b"*"), "BAD Error in IMAP command received by server.");
        }
        action
    }

    fn count_bad_command(&mut self) -> Option<Action> {
        self.bad_commands += 1;
        (self.bad_commands >= limits::LOGIN_BAD_COMMANDS).then(|| self.bye("Too many invalid IMAP commands."))
    }

    fn write_challenge(&mut self, challenge: &[u8]) {
        self.out.extend_from_slice(b"+ ");
        self.out.extend_from_slice(STANDARD.encode(challenge).as_bytes());
        self.out.extend_from_slice(b"\r\n");
    }
}

/// ```text
/// id              = "ID" SP id-params-list
/// id-params-list  = "(" [string SP nstring *(SP string SP nstring)] ")" / nil
/// ```
///
/// RFC 2971 section 4.
fn is_id(arguments: &[Arg<'_>]) -> bool {
    let is_nil = |arg: &Arg<'_>| matches!(arg, Arg::Atom(atom) if atom.eq_ignore_ascii_case(b"NIL"));
    match arguments {
        [] => true,
        [Arg::List(fields)] => {
            fields.len() <= 2 * limits::ID_FIELDS
                && fields.iter().enumerate().all(|(index, field)| match field {
                    Arg::String(_) => true,
                    value => index % 2 == 1 && is_nil(value),
                })
        }
        [arg] => is_nil(arg),
        _ => false,
    }
}
