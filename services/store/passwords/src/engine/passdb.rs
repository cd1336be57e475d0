//! The chain of password databases.

use super::request::Request;
use super::{Attempt, Decision, Engine, Environment, Job, Step, has_variables, push_file_report};
use crate::config::{Passdb, PassdbDriver, PassdbSkip, Rule};
use crate::log::{self, Level};
use crate::passwd_file::FileError;
use crate::scheme::{HashError, Stored};

/// What one database says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Ok,
    Mismatch,
    Unknown,
    Failed,
    /// The database adds fields only (`noauthenticate`).
    Next,
    Disabled,
}

/// A database has been asked; the fields from before the question are kept until it is known what they are worth.
enum Found {
    Answer(Answer),
    Password(Stored),
}

impl Engine {
    /// Asks for the password, beginning with the next database.
    pub(super) fn ask_passdbs(&mut self, mut request: Request, environment: &dyn Environment) -> Step {
        loop {
            let answer = match self.next_passdb(&mut request) {
                Err(answer) => return self.decide(request, answer),
                Ok(index) => match self.query(&mut request, index, environment) {
                    Found::Answer(answer) => answer,
                    Found::Password(_) if request.password_verified => Answer::Ok,
                    Found::Password(_) if self.settings.passdbs[index].deny => Answer::Mismatch,
                    Found::Password(_) if request.extra.contains("nopassword") => {
                        let name = self.passdb_name(index);
                        self.note(&request, Level::Debug, &name, "Allowing any password");
                        Answer::Ok
                    }
                    Found::Password(stored) => {
                        let password = request.password.clone().unwrap_or_default();
                        let job = Job { stored: stored.clone(), password };
                        return Step::Verify(Box::new(Attempt { request, stored }), job);
                    }
                },
            };
            if let Some(answer) = self.finish(&mut request, answer, environment) {
                return self.decide(request, answer);
            }
        }
    }

    /// Goes on after a comparison.
    pub(super) fn verified(
        &mut self,
        mut request: Request,
        stored: &Stored,
        verdict: Result<bool, HashError>,
        environment: &dyn Environment,
    ) -> Step {
        let name = self.passdb_name(request.next);
        let answer = match &verdict {
            Ok(true) => Answer::Ok,
            Ok(false) => {
                self.note_failure(&request, &name, "Password mismatch");
                Answer::Mismatch
            }
            Err(error) => {
                let text = error.message(self.settings.debug_passwords);
                self.note(&request, Level::Error, &name, &text);
                Answer::Mismatch
            }
        };
        let compared = matches!(verdict, Ok(false) | Err(HashError::Invalid { .. }));
        if compared && self.settings.debug_passwords {
            let given = request.password.clone().unwrap_or_default();
            let text = log::mismatch_detail(stored.scheme(), &given, stored.hash());
            self.note(&request, Level::Debug, &name, &text);
        }
        match self.finish(&mut request, answer, environment) {
            Some(answer) => self.decide(request, answer),
            None => self.ask_passdbs(request, environment),
        }
    }

    /// Asks whether there is such a user, without a password.
    pub(super) fn credentials(&mut self, request: &mut Request, environment: &dyn Environment) -> Answer {
        let for_userdb = std::mem::replace(&mut request.for_userdb, false);
        let answer = loop {
            let answer = match self.next_passdb(request) {
                Err(answer) => break answer,
                Ok(index) => match self.query(request, index, environment) {
                    Found::Answer(answer) => answer,
                    Found::Password(_) => Answer::Ok,
                },
            };
            if let Some(answer) = self.finish(request, answer, environment) {
                break answer;
            }
        };
        request.for_userdb = for_userdb;
        request.verbose = None;
        answer
    }

    /// Moves to the next database that is for this request.
    fn next_passdb(&mut self, request: &mut Request) -> Result<usize, Answer> {
        while let Some(passdb) = self.settings.passdbs.get(request.next) {
            let master = request.login_user.is_some();
            if passdb.master == master && !self.skips(request, request.next) {
                request.verbose = self.settings.passdbs[request.next].verbose;
                let name = self.passdb_name(request.next);
                self.note(request, Level::Debug, &name, "Performing passdb lookup");
                return Ok(request.next);
            }
            request.next += 1;
        }
        let subsystem = request.mechanism.map_or("none".into(), |mechanism| mechanism.name().to_ascii_lowercase());
        self.note(request, Level::Error, &subsystem, "All password databases were skipped");
        Err(Answer::Failed)
    }

    fn skips(&mut self, request: &Request, index: usize) -> bool {
        let passdb = &self.settings.passdbs[index];
        let mechanism = request.mechanism.map_or("none", |mechanism| mechanism.name());
        let accepted = passdb.mechanisms.is_empty()
            || passdb.mechanisms.iter().any(|accepted| accepted.eq_ignore_ascii_case(mechanism));
        let filtered = if !accepted {
            Some("skipping passdb: mechanism filtered")
        } else if !filter_accepts(&passdb.username_filter, &request.user) {
            Some("skipping passdb: username filtered")
        } else {
            None
        };
        let skip = passdb.skip;
        if let Some(text) = filtered {
            self.note(request, Level::Debug, &mechanism.to_ascii_lowercase(), text);
            return true;
        }
        match skip {
            PassdbSkip::Never => false,
            PassdbSkip::Authenticated => request.password_verified,
            PassdbSkip::Unauthenticated => !request.password_verified,
        }
    }

    /// Asks one database.
    fn query(&mut self, request: &mut Request, index: usize, environment: &dyn Environment) -> Found {
        request.extra.snapshot(request.userdb.as_ref(), request.prefetched);
        let (passdb, name) = (self.settings.passdbs[index].clone(), self.passdb_name(index));
        if let Err(error) = self.export_to_passdb(request, &passdb.default_fields, &name, environment) {
            self.note(request, Level::Error, &name, &format!("Failed to expand default_fields: {error}"));
            return Found::Answer(Answer::Failed);
        }
        match &passdb.driver {
            PassdbDriver::PasswdFile { path, scheme, username_format } => {
                self.query_file(request, (path, scheme, username_format), &name, environment)
            }
            PassdbDriver::Static { password, fields } => {
                self.note(request, Level::Debug, &name, "lookup");
                if let Err(error) = self.export_to_passdb(request, fields, &name, environment) {
                    self.note(request, Level::Error, &name, &format!("Failed to expand template: {error}"));
                    return Found::Answer(Answer::Failed);
                }
                match password {
                    Some(password) => match request.expand(password, environment) {
                        Ok(password) => Found::Password(Stored::parse(&password, "PLAIN")),
                        Err(error) => {
                            let text = format!("Failed to expand password={password}: {error}");
                            self.note(request, Level::Error, &name, &text);
                            Found::Answer(Answer::Failed)
                        }
                    },
                    None if request.extra.contains("nopassword") || request.password_verified => {
                        Found::Password(Stored::new("PLAIN", ""))
                    }
                    None => {
                        self.note(request, Level::Info, &name, "No password returned (and no nopassword)");
                        Found::Answer(Answer::Mismatch)
                    }
                }
            }
        }
    }

    fn query_file(
        &mut self,
        request: &mut Request,
        (path, scheme, username_format): (&str, &str, &str),
        name: &str,
        environment: &dyn Environment,
    ) -> Found {
        let purpose = self.purpose_of_passdb(path);
        let user = match self.find_in_file(request, path, username_format, purpose, name, environment) {
            Ok(Some(user)) => user,
            Ok(None) => return Found::Answer(Answer::Unknown),
            Err(()) => return Found::Answer(Answer::Failed),
        };
        let stored = Stored::parse(&user.password, scheme);
        for field in &user.extra {
            let (key, value) = field.split_once('=').unwrap_or((field, ""));
            let value = match request.expand(value, environment) {
                Ok(value) => value,
                Err(error) => {
                    self.note(request, Level::Error, name, &format!("Failed to expand extra field {field}: {error}"));
                    return Found::Answer(Answer::Failed);
                }
            };
            if key == "nopassword" && !stored.hash().is_empty() {
                self.note(request, Level::Error, name, "nopassword set but password is non-empty");
                continue;
            }
            self.set_passdb_field(request, key, &value, name, environment);
        }
        Found::Password(stored)
    }

    /// Finds the request's user in a passwd-file; `Err` if it cannot be told, which is logged.
    pub(super) fn find_in_file(
        &mut self,
        request: &Request,
        path: &str,
        username_format: &str,
        purpose: crate::passwd_file::Purpose,
        name: &str,
        environment: &dyn Environment,
    ) -> Result<Option<crate::passwd_file::User>, ()> {
        let varies = has_variables(path);
        let expanded = request.expand_path(path, environment).map_err(|error| {
            self.note(request, Level::Error, name, &format!("Failed to expand passwd-file path {path}: {error}"));
        })?;
        let Some(expanded) = expanded else {
            self.note_failure(request, name, "unknown user");
            return Ok(None);
        };
        let wanted = request.expand(username_format, environment).map_err(|error| {
            self.note(
                request,
                Level::Error,
                name,
                &format!("Failed to expand username_format={username_format}: {error}"),
            );
        })?;
        let debug = self.settings.debug;
        let mut report = |error, text| push_file_report(&mut self.log, debug, error, text);
        let found = self.files.load(&expanded, purpose, environment, environment, &mut report);
        let found = found.map(|file| file.get(&wanted).cloned());
        match found {
            Ok(user) => {
                self.note(request, Level::Debug, name, &format!("lookup: user={wanted} file={expanded}"));
                if user.is_none() {
                    self.note_failure(request, name, "unknown user");
                }
                Ok(user)
            }
            Err(FileError::Missing) if varies => {
                if self.settings.verbose {
                    self.push(Level::Info, format!("missing passwd file: {expanded}"));
                }
                Ok(None)
            }
            Err(FileError::Missing) => {
                self.note(request, Level::Error, name, &format!("missing passwd file: {expanded}"));
                Err(())
            }
            Err(FileError::Failed(text)) => {
                self.note(request, Level::Error, name, &text);
                Err(())
            }
        }
    }

    /// Logs that a database did not have the user or the password.
    pub(super) fn note_failure(&mut self, request: &Request, name: &str, message: &str) {
        let (count, kind) = match request.for_userdb {
            true => (self.settings.userdbs.len(), "userdb"),
            false => (self.settings.passdbs.len(), "passdb"),
        };
        let more = request.next + 1 < count;
        let given = request.password.as_ref().map(|password| password.as_slice());
        let show = self.settings.verbose_passwords;
        let text = log::login_failure(message, given, show, Some(kind).filter(|_| more));
        // With auth_verbose_passwords the line is wanted, whatever auth_verbose says.
        if show == crate::config::VerbosePasswords::No {
            self.note(request, Level::Info, name, &text);
        } else {
            let text = format!("{}{text}", request.subject().prefix(name));
            self.push(Level::Info, text);
        }
    }

    /// Applies the rules to an answer; `None` if the next database is to be asked.
    fn finish(&mut self, request: &mut Request, answer: Answer, environment: &dyn Environment) -> Option<Answer> {
        let (passdb, name) = (self.settings.passdbs[request.next].clone(), self.passdb_name(request.next));
        let mut answer = answer;
        if answer == Answer::Ok && request.extra.contains("noauthenticate") {
            answer = Answer::Next;
        }
        if let Err(error) = self.export_to_passdb(request, &passdb.override_fields, &name, environment) {
            self.note(request, Level::Error, &name, &format!("Failed to expand override_fields: {error}"));
            answer = Answer::Failed;
        }
        self.note(request, Level::Debug, &name, "Finished passdb lookup");
        if passdb.deny && answer != Answer::Unknown {
            if answer == Answer::Failed {
                return Some(answer);
            }
            self.note(request, Level::Info, &name, "User found from deny passdb");
            return Some(Answer::Disabled);
        }
        if std::mem::take(&mut request.refused) && answer == Answer::Ok {
            answer = Answer::Unknown;
        }
        let goes_on = apply_rule(request, &passdb, answer);
        request.extra.remove("nopassword");
        request.extra.remove("noauthenticate");
        if answer == Answer::Ok && request.login_user.is_some() {
            self.become_login_user(request, &name);
            request.next = 0;
        } else {
            request.next += 1;
        }
        if !matches!(answer, Answer::Ok | Answer::Next) {
            (request.userdb, request.prefetched) = request.extra.roll_back();
        }
        let more = (request.next..self.settings.passdbs.len()).any(|index| {
            self.settings.passdbs[index].master == request.login_user.is_some() && !self.skips(request, index)
        });
        if goes_on && more {
            request.passdb_failed |= answer == Answer::Failed;
            return None;
        }
        Some(if answer == Answer::Next {
            self.note(request, Level::Error, &name, "Last passdb had noauthenticate field, cannot authenticate user");
            Answer::Failed
        } else if request.passdb_success {
            Answer::Ok
        } else if request.passdb_failed || answer == Answer::Failed {
            Answer::Failed
        } else {
            answer
        })
    }

    fn become_login_user(&mut self, request: &mut Request, name: &str) {
        let Some(login) = request.login_user.clone() else { return };
        self.note(request, Level::Info, name, &format!("Master user logging in as {login}"));
        request.master_user = Some(std::mem::replace(&mut request.user, login));
        request.login_user = None;
    }

    fn decide(&mut self, mut request: Request, answer: Answer) -> Step {
        let decision = match answer {
            // The password was right, but the rules did not make it a success.
            Answer::Ok if !request.passdb_success => Decision::Failure,
            Answer::Ok => Decision::Success,
            Answer::Failed | Answer::Next => Decision::TemporaryFailure,
            _ if request.master_user.is_some() => Decision::NotAuthorized,
            Answer::Disabled => Decision::Disabled,
            Answer::Mismatch | Answer::Unknown => Decision::Failure,
        };
        request.successful = decision == Decision::Success;
        request.verbose = None;
        self.done(request, decision)
    }
}

/// What the rule of a result makes of the request; whether the next database is to be asked.
fn apply_rule(request: &mut Request, passdb: &Passdb, answer: Answer) -> bool {
    let rule = match answer {
        Answer::Ok if passdb.pass => Rule::Continue,
        Answer::Ok => passdb.result_success,
        Answer::Failed => passdb.result_internalfail,
        Answer::Next => Rule::Continue,
        Answer::Mismatch | Answer::Unknown | Answer::Disabled => passdb.result_failure,
    };
    match rule {
        Rule::Return => return false,
        Rule::ReturnOk => request.passdb_success = true,
        Rule::ReturnFail => request.passdb_success = false,
        Rule::Continue => request.password_verified |= answer == Answer::Ok,
        Rule::ContinueOk => {
            request.passdb_success = true;
            request.password_verified = true;
        }
        Rule::ContinueFail => request.passdb_success = false,
    }
    matches!(rule, Rule::Continue | Rule::ContinueOk | Rule::ContinueFail)
}

/// `username_filter`: no excluding pattern (`!` before it) matches, and an including one does, if there is any.
fn filter_accepts(patterns: &[String], user: &str) -> bool {
    let (excluding, including): (Vec<_>, Vec<_>) = patterns.iter().partition(|pattern| pattern.starts_with('!'));
    !excluding.iter().any(|pattern| wildcard(&pattern.as_bytes()[1..], user.as_bytes()))
        && (including.is_empty() || including.iter().any(|pattern| wildcard(pattern.as_bytes(), user.as_bytes())))
}

/// Whether a pattern with `*` and `?` matches a text as a whole. Linear, because only the last star needs to be reconsidered.
pub fn wildcard(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(byte) if *byte == b'?' || *byte == text[t] => (p, t) = (p + 1, t + 1),
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    (p, t) = (at + 1, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}
