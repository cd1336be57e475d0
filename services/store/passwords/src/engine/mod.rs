//! The decisions of `auth`: is this password right, and who is this user.
//!
//! The engine does no input or output of its own and never hashes: a password that has to be compared leaves as a [`Job`],
//! which the caller runs on a thread and brings back with [`Attempt::resume`]. The chain of databases, its rules and its
//! log lines are those of Dovecot 2.3. One difference: a passwd-file at a fixed path that is missing is a temporary
//! failure here, where Dovecot calls the user unknown and mail would bounce; with variables in its path (a domain that
//! does not exist) the user is unknown in both.

mod fields;
mod passdb;
mod request;
mod userdb;

use proto_sasl::dovecot::server::{FailCode, Reply};
use proto_sasl::dovecot::{Fields, Parameters, userdb as master};
use proto_sasl::mechanism::{Credentials, Mechanism};
use zeroize::Zeroizing;

use crate::UserRecord;
use crate::config::{PassdbDriver, Settings, UserdbDriver};
use crate::log::{Level, Line};
use crate::passwd_file::{Accounts, Files, Opener, Purpose};
use crate::policy::CacheKey;
use crate::scheme::{HashError, Stored};
pub use passdb::wildcard;
use request::Request;

/// Most names that a LIST returns.
pub const MAX_LISTED: usize = 1_000_000;

/// What the engine reaches for.
pub trait Environment: Opener + Accounts {
    /// Replaces the variables of a template. `value` knows them by their long names, and fields as `passdb:NAME` and
    /// `userdb:NAME`; short names and modifiers are the expander's.
    ///
    /// # Errors
    /// What is wrong with the template.
    fn expand(&self, template: &str, value: &dyn Fn(&str) -> Option<String>) -> Result<String, String>;
}

/// A password to be compared. Run it where time does not matter.
#[derive(Clone, Debug)]
pub struct Job {
    stored: Stored,
    password: Zeroizing<Vec<u8>>,
}

impl Job {
    /// Compares. Takes as long as the scheme is meant to take.
    pub fn run(&self) -> Verdict {
        Verdict(self.stored.verify(&self.password))
    }

    /// What the client sent.
    pub fn password(&self) -> &[u8] {
        &self.password
    }
}

/// What a [`Job`] found.
#[derive(Clone, Debug)]
pub struct Verdict(Result<bool, HashError>);

impl Verdict {
    /// That the password is right, because the cache knows so.
    pub fn cached() -> Verdict {
        Verdict(Ok(true))
    }

    /// Whether the password is right.
    pub fn is_right(&self) -> bool {
        matches!(self.0, Ok(true))
    }
}

/// What follows.
#[derive(Debug)]
pub enum Step {
    /// Run the job, then [`Attempt::resume`].
    Verify(Box<Attempt>, Job),
    /// It is decided.
    Done(Box<Outcome>),
}

/// A login that waits for its job.
#[derive(Clone, Debug)]
pub struct Attempt {
    request: Request,
    stored: Stored,
}

/// How a login ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The user is who he says.
    Success,
    /// Wrong user or password.
    Failure,
    /// A database failed.
    TemporaryFailure,
    /// A master user's password was right, but he may not log in as that user.
    NotAuthorized,
    /// The user was found in a `deny` database.
    Disabled,
}

/// A login that is decided.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// How.
    pub decision: Decision,
    /// The failure is answered at once (`nodelay`).
    pub no_delay: bool,
    request: Request,
}

/// How a lookup ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// The user, and the fields as they are.
    Found(String, Fields),
    /// There is no such user.
    NotFound,
    /// It cannot be told now; a text for the one who asked.
    Failed(Option<String>),
}

/// The databases and what is read of them.
pub struct Engine {
    settings: Settings,
    files: Files,
    log: Vec<Line>,
}

impl Engine {
    /// An engine over these settings.
    ///
    /// # Errors
    /// Dovecot's words, where there is nothing to ask for passwords.
    pub fn new(settings: Settings, mechanisms: &[Mechanism]) -> Result<Self, String> {
        let mut settings = settings.with_implied_switches();
        if settings.passdbs.iter().all(|passdb| passdb.master)
            && let Some(mechanism) = mechanisms.first()
        {
            let name = mechanism.name();
            return Err(format!("No passdbs specified in configuration file. {name} mechanism needs one"));
        }
        if settings.userdbs.is_empty() {
            let driver = UserdbDriver::Static { fields: crate::config::Template::default(), allow_all_users: false };
            settings.userdbs.push(crate::config::Userdb::new(driver));
        }
        Ok(Self { settings, files: Files::default(), log: Vec::new() })
    }

    /// Decides a login.
    pub fn authenticate(
        &mut self,
        credentials: &Credentials,
        mechanism: Mechanism,
        parameters: &Parameters,
        environment: &dyn Environment,
    ) -> Step {
        let mut request = Request::new(parameters.clone(), Some(mechanism));
        request.password = Some(credentials.password.clone());
        if let Err(reason) = self.set_user(&mut request, &credentials.user, environment) {
            self.note(&request, Level::Info, &mechanism.name().to_ascii_lowercase(), &reason);
            return self.done(request, Decision::Failure);
        }
        if let Some(authorization) = &credentials.authorization
            && let Err(reason) = self.set_login_user(&mut request, authorization, environment)
        {
            self.note(&request, Level::Info, &mechanism.name().to_ascii_lowercase(), &format!("login user: {reason}"));
            return self.done(request, Decision::Failure);
        }
        if credentials.password.iter().any(|byte| matches!(byte, 1 | b'\t' | b'\r' | b'\n')) {
            if self.settings.verbose {
                self.push(Level::Info, "Attempted login with password having illegal chars".into());
            }
            return self.done(request, Decision::Failure);
        }
        self.ask_passdbs(request, environment)
    }

    /// Decides whether there is such a user, and what the passdbs say of him (PASS).
    pub fn lookup_passdb(&mut self, name: &str, parameters: &Parameters, environment: &dyn Environment) -> Lookup {
        let mut request = Request::new(parameters.clone(), None);
        if let Err(reason) = self.set_user(&mut request, name, environment) {
            self.note(&request, Level::Info, "passdb", &reason);
            return Lookup::NotFound;
        }
        match self.credentials(&mut request, environment) {
            passdb::Answer::Ok if !request.passdb_success => Lookup::Failed(None),
            passdb::Answer::Ok => Lookup::Found(request.user, request.extra.visible),
            passdb::Answer::Unknown | passdb::Answer::Disabled => Lookup::NotFound,
            passdb::Answer::Mismatch | passdb::Answer::Failed | passdb::Answer::Next => Lookup::Failed(None),
        }
    }

    /// Decides who a user is (USER).
    pub fn lookup_user(&mut self, name: &str, parameters: &Parameters, environment: &dyn Environment) -> Lookup {
        let mut request = Request::new(parameters.clone(), None);
        request.for_userdb = true;
        match self.set_user(&mut request, name, environment) {
            Ok(()) => self.ask_userdbs(&mut request, environment),
            Err(reason) => {
                self.note(&request, Level::Info, "userdb", &reason);
                Lookup::NotFound
            }
        }
    }

    /// Decides who the user of a successful login is (REQUEST, or the redeeming of a ticket).
    pub fn lookup_login(&mut self, outcome: Outcome, environment: &dyn Environment) -> Lookup {
        let mut request = outcome.request;
        if outcome.decision != Decision::Success {
            return Lookup::Failed(None);
        }
        request.for_userdb = true;
        let found = self.ask_userdbs(&mut request, environment);
        let Lookup::Found(user, mut fields) = found else { return found };
        if let Some(master) = &request.master_user {
            if !fields.contains("master_user") {
                fields.set("master_user", Some(master));
            }
            fields.set("auth_user", Some(master));
        } else if request.original_user != user {
            fields.set("auth_user", Some(&request.original_user));
        }
        if let Some(mechanism) = request.mechanism {
            fields.set("auth_mech", Some(mechanism.name()));
        }
        Lookup::Found(user, fields)
    }

    /// The names of all users whose userdb can tell (LIST); the flag says whether all could.
    pub fn list_users(&mut self, environment: &dyn Environment) -> (Vec<String>, bool) {
        let (mut names, mut complete, mut able) = (Vec::new(), true, false);
        let purpose = self.purpose_of_userdb();
        for index in 0..self.settings.userdbs.len() {
            let UserdbDriver::PasswdFile { path, .. } = self.settings.userdbs[index].driver.clone() else { continue };
            able = true;
            if has_variables(&path) {
                let text = "passwd-file: User iteration isn't currently supported with %variable paths";
                self.push(Level::Error, text.into());
                complete = false;
                continue;
            }
            let (files, log, debug) = (&mut self.files, &mut self.log, self.settings.debug);
            let mut report = |error, text| push_file_report(log, debug, error, text);
            match files.load(&path, purpose, environment, environment, &mut report) {
                Ok(file) => {
                    names.extend(file.names(!purpose.warn_missing).map(str::to_owned).take(MAX_LISTED - names.len()))
                }
                Err(_) => {
                    self.push(Level::Error, format!("open({path}) failed"));
                    complete = false;
                }
            }
        }
        if !able {
            self.push(Level::Error, "Trying to iterate users, but userdbs don't support it".into());
        }
        (names, complete && able)
    }

    /// Forgets the files that were read, so that they are read again: names in them could not be looked up yet.
    pub fn forget_files(&mut self) {
        self.files = Files::default();
    }

    /// What is to be logged since the last call.
    pub fn take_log(&mut self) -> Vec<Line> {
        std::mem::take(&mut self.log)
    }

    /// The settings in effect.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    fn done(&mut self, request: Request, decision: Decision) -> Step {
        self.note(&request, Level::Debug, "auth", "Auth request finished");
        let no_delay = request.extra.visible.contains("nodelay");
        Step::Done(Box::new(Outcome { decision, no_delay, request }))
    }

    fn push(&mut self, level: Level, text: String) {
        self.log.push(Line { level, text });
    }

    /// Logs a line about a request, if its level is wanted.
    fn note(&mut self, request: &Request, level: Level, subsystem: &str, text: &str) {
        let verbose = request.verbose.unwrap_or(self.settings.verbose);
        let wanted = match level {
            Level::Debug => self.settings.debug,
            Level::Info => verbose,
            Level::Warning | Level::Error => true,
        };
        if wanted {
            let text = format!("{}{text}", request.subject().prefix(subsystem));
            self.push(level, text);
        }
    }

    fn purpose_of_userdb(&self) -> Purpose {
        Purpose { userdb: true, warn_missing: self.settings.userdbs.len() == 1 }
    }

    /// What the file of a passdb is read for: a userdb may use the same.
    fn purpose_of_passdb(&self, path: &str) -> Purpose {
        let same =
            |driver: &UserdbDriver| matches!(driver, UserdbDriver::PasswdFile { path: other, .. } if other == path);
        match self.settings.userdbs.iter().any(|userdb| same(&userdb.driver)) {
            true => self.purpose_of_userdb(),
            false => Purpose { userdb: false, warn_missing: false },
        }
    }

    fn passdb_name(&self, index: usize) -> String {
        let passdb = &self.settings.passdbs[index];
        if passdb.name.is_empty() { PassdbDriver::name(&passdb.driver).to_owned() } else { passdb.name.clone() }
    }

    fn userdb_name(&self, index: usize) -> String {
        let userdb = &self.settings.userdbs[index];
        if userdb.name.is_empty() { userdb.driver.name().to_owned() } else { userdb.name.clone() }
    }
}

impl Attempt {
    /// Under what the cache keeps the outcome of this comparison: the stored hash is a part of it, so that a changed
    /// password is never served from the cache.
    pub fn cache_key(&self) -> CacheKey {
        let inputs = vec![self.stored.scheme().to_owned(), self.stored.hash().to_owned()];
        CacheKey { database: self.request.next, user: self.request.user.clone(), inputs }
    }

    /// Goes on with what the job found.
    pub fn resume(self, engine: &mut Engine, verdict: Verdict, environment: &dyn Environment) -> Step {
        engine.verified(self.request, &self.stored, verdict.0, environment)
    }
}

impl Outcome {
    /// The user's name, as far as there is one.
    pub fn user(&self) -> Option<&str> {
        Some(self.request.user.as_str()).filter(|_| self.request.has_user)
    }

    /// What the client is told.
    pub fn reply(&self) -> Reply {
        let request = &self.request;
        let mut fields = request.extra.visible.clone();
        let named = if request.has_user { &request.user } else { &request.original_user };
        if !request.original_user.is_empty() && (!request.has_user || request.original_user != request.user) {
            fields.set("original_user", Some(&request.original_user));
        }
        if let Some(master) = &request.master_user {
            fields.set("auth_user", Some(master));
        }
        let code = match self.decision {
            Decision::Success => return Reply::Ok { user: request.user.clone(), fields },
            Decision::Failure => None,
            Decision::TemporaryFailure => Some(FailCode::TemporaryFailure),
            Decision::NotAuthorized => Some(FailCode::AuthorizationFailed),
            Decision::Disabled => Some(FailCode::UserDisabled),
        };
        fields.remove("nologin");
        let reason = fields.get("reason").map(str::to_owned);
        fields.remove("reason");
        Reply::Fail { user: Some(named.clone()).filter(|_| request.named), code, reason, fields }
    }
}

impl Lookup {
    /// The reply to USER and REQUEST.
    pub fn user_reply(self) -> master::Reply {
        match self {
            Self::Found(user, fields) => master::Reply::User(user, fields),
            Self::NotFound => master::Reply::NotFound,
            Self::Failed(reason) => master::Reply::Fail { reason },
        }
    }

    /// The reply to PASS.
    pub fn pass_reply(self) -> master::Reply {
        match self {
            Self::Found(user, fields) => master::Reply::Pass(user, fields),
            other => other.user_reply(),
        }
    }

    /// The user in types; `Ok(None)` if there is none.
    ///
    /// # Errors
    /// A temporary failure: why, for the log.
    pub fn record(&self) -> Result<Option<UserRecord>, String> {
        match self {
            Self::Found(user, fields) => UserRecord::new(user, fields).map(Some),
            Self::NotFound => Ok(None),
            Self::Failed(reason) => Err(reason.clone().unwrap_or_else(|| "Internal auth failure".into())),
        }
    }
}

/// Whether a path depends on the user: it has a `%` that is not doubled.
fn has_variables(path: &str) -> bool {
    path.replace("%%", "").contains('%')
}

/// What reading a file has to tell.
fn push_file_report(log: &mut Vec<Line>, debug: bool, error: bool, text: String) {
    if error || debug {
        log.push(Line { level: if error { Level::Error } else { Level::Debug }, text });
    }
}

#[cfg(test)]
mod tests;
