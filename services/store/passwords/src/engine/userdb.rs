//! The chain of user databases.

use super::passdb::Answer;
use super::request::Request;
use super::{Engine, Environment, Lookup};
use crate::config::{Rule, UserdbDriver, UserdbSkip};
use crate::log::Level;

/// What one database says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Yes,
    No,
    Failed,
}

impl Engine {
    /// Asks who the request's user is.
    pub(super) fn ask_userdbs(&mut self, request: &mut Request, environment: &dyn Environment) -> Lookup {
        let (mut success, mut failed) = (false, false);
        let mut index = 0;
        let last = loop {
            request.next = index;
            request.verbose = self.settings.userdbs[index].verbose;
            let before = request.userdb.clone();
            let found = self.ask_userdb(request, index, environment);
            let userdb = &self.settings.userdbs[index];
            let rule = match found {
                Found::Yes => userdb.result_success,
                Found::No => userdb.result_failure,
                Found::Failed => userdb.result_internalfail,
            };
            match rule {
                Rule::Return | Rule::Continue => {}
                Rule::ReturnOk | Rule::ContinueOk => success = true,
                Rule::ReturnFail | Rule::ContinueFail => success = false,
            }
            let name = self.userdb_name(index);
            self.note(request, Level::Debug, &name, "Finished userdb lookup");
            let goes_on = matches!(rule, Rule::Continue | Rule::ContinueOk | Rule::ContinueFail);
            let next = (index + 1..self.settings.userdbs.len()).find(|next| !self.skips_userdb(*next, success));
            if found == Found::Yes || success {
                let template = self.settings.userdbs[index].override_fields.clone();
                if let Err(error) = self.export_to_userdb(request, &template, &name, environment) {
                    self.note(request, Level::Error, &name, &format!("Failed to expand override_fields: {error}"));
                    return Lookup::Failed(None);
                }
            }
            match next.filter(|_| goes_on) {
                None => break found,
                Some(next) => {
                    if found != Found::Yes {
                        request.userdb = before;
                    }
                    failed |= found == Found::Failed;
                    index = next;
                }
            }
        };
        request.verbose = None;
        self.conclude(request, success, failed || last == Found::Failed)
    }

    fn conclude(&mut self, request: &mut Request, success: bool, failed: bool) -> Lookup {
        let fields = request.userdb.take().unwrap_or_default();
        if request.temporary_failure {
            return Lookup::Failed(fields.get("reason").map(str::to_owned));
        }
        if success {
            return Lookup::Found(request.user.clone(), fields);
        }
        if failed {
            return Lookup::Failed(None);
        }
        // Somebody who has just logged in should be known.
        if request.successful {
            match self.settings.userdbs.len() {
                1 => {
                    let name = self.userdb_name(0);
                    self.note(request, Level::Error, &name, "user not found from userdb");
                }
                _ => {
                    let mechanism = request.mechanism.map_or("none".into(), |one| one.name().to_ascii_lowercase());
                    self.note(request, Level::Error, &mechanism, "user not found from any userdbs");
                }
            }
        }
        Lookup::NotFound
    }

    fn skips_userdb(&self, index: usize, success: bool) -> bool {
        match self.settings.userdbs[index].skip {
            UserdbSkip::Never => false,
            UserdbSkip::Found => success,
            UserdbSkip::Notfound => !success,
        }
    }

    fn ask_userdb(&mut self, request: &mut Request, index: usize, environment: &dyn Environment) -> Found {
        let (userdb, name) = (self.settings.userdbs[index].clone(), self.userdb_name(index));
        if let Err(error) = self.export_to_userdb(request, &userdb.default_fields, &name, environment) {
            self.note(request, Level::Error, &name, &format!("Failed to expand default_fields: {error}"));
            return Found::Failed;
        }
        self.note(request, Level::Debug, &name, "Performing userdb lookup");
        match &userdb.driver {
            UserdbDriver::PasswdFile { path, username_format } => {
                let purpose = self.purpose_of_userdb();
                match self.find_in_file(request, path, username_format, purpose, &name, environment) {
                    Err(()) => Found::Failed,
                    Ok(Some(user)) if user.in_userdb => self.take_file_fields(request, &user, &name, environment),
                    Ok(_) => Found::No,
                }
            }
            UserdbDriver::Prefetch if request.prefetched => {
                self.note(request, Level::Debug, &name, "success");
                Found::Yes
            }
            UserdbDriver::Prefetch if self.settings.userdbs.len() == 1 => {
                self.note(request, Level::Error, &name, "userdb lookup not possible with only userdb prefetch");
                Found::Failed
            }
            UserdbDriver::Prefetch => {
                let text = "passdb didn't return userdb entries, trying the next userdb";
                self.note(request, Level::Debug, &name, text);
                Found::No
            }
            UserdbDriver::Static { fields, allow_all_users } => {
                if !request.successful && !allow_all_users {
                    let found = self.user_exists(request, index, &name, environment);
                    if found != Found::Yes {
                        return found;
                    }
                }
                match self.export_to_userdb(request, fields, &name, environment) {
                    Ok(()) => Found::Yes,
                    Err(error) => {
                        self.note(request, Level::Error, &name, &format!("Failed to expand template: {error}"));
                        Found::Failed
                    }
                }
            }
        }
    }

    /// A static userdb knows nobody by itself: the passdbs do.
    fn user_exists(&mut self, request: &mut Request, index: usize, name: &str, environment: &dyn Environment) -> Found {
        if self.settings.passdbs.iter().all(|passdb| passdb.master) {
            let text = "passdb doesn't support lookups, can't verify user's existence";
            self.note(request, Level::Error, name, text);
            return Found::Failed;
        }
        request.next = 0;
        let answer = self.credentials(request, environment);
        request.next = index;
        request.verbose = self.settings.userdbs[index].verbose;
        match answer {
            Answer::Ok => Found::Yes,
            Answer::Unknown | Answer::Disabled => Found::No,
            Answer::Mismatch | Answer::Failed | Answer::Next => Found::Failed,
        }
    }

    fn take_file_fields(
        &mut self,
        request: &mut Request,
        user: &crate::passwd_file::User,
        name: &str,
        environment: &dyn Environment,
    ) -> Found {
        let numbers = [("uid", user.uid), ("gid", user.gid)];
        for (key, value) in numbers.into_iter().filter_map(|(key, value)| Some((key, value?))) {
            self.set_userdb_field(request, key, &value.to_string(), name, environment);
        }
        if let Some(home) = &user.home {
            self.set_userdb_field(request, "home", home, name, environment);
        }
        for field in &user.extra {
            let Some(field) = field.strip_prefix("userdb_") else { continue };
            let (key, value) = field.split_once('=').unwrap_or((field, ""));
            match request.expand(value, environment) {
                Ok(value) => self.set_userdb_field(request, key, &value, name, environment),
                Err(error) => {
                    let text = format!("Failed to expand extra field {field}: {error}");
                    self.note(request, Level::Error, name, &text);
                    return Found::Failed;
                }
            }
        }
        Found::Yes
    }
}
