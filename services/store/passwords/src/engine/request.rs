//! One request on its way through the databases: who it is about, and the values of the variables.

use proto_sasl::dovecot::{Parameters, Secured};
use proto_sasl::mechanism::Mechanism;
use zeroize::Zeroizing;

use super::fields::Extra;
use super::{Engine, Environment};
use crate::config::Settings;
use crate::log::Subject;

/// A request.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub parameters: Parameters,
    pub mechanism: Option<Mechanism>,
    /// What the client sent.
    pub password: Option<Zeroizing<Vec<u8>>>,
    /// The name that is looked up; empty while `has_user` is not set.
    pub user: String,
    pub has_user: bool,
    /// Whether the client gave any name.
    pub named: bool,
    /// The name as the client gave it.
    pub original_user: String,
    /// Whom a master user wants to log in as, until the master password is verified.
    pub login_user: Option<String>,
    /// The master user, after that.
    pub master_user: Option<String>,
    /// Fields of the passdbs.
    pub extra: Extra,
    /// Fields of the userdbs; passdbs add to them with `userdb_`.
    pub userdb: Option<proto_sasl::dovecot::Fields>,
    pub prefetched: bool,
    /// A userdb is being asked, not a passdb.
    pub for_userdb: bool,
    /// A userdb field made the lookup fail for now.
    pub temporary_failure: bool,
    /// A passdb field refused the user.
    pub refused: bool,
    /// Some passdb verified the password; the others need not.
    pub password_verified: bool,
    /// The password was verified and the login succeeded.
    pub successful: bool,
    /// What the rules of the passdbs have made of it.
    pub passdb_success: bool,
    pub passdb_failed: bool,
    /// The next passdb to ask.
    pub next: usize,
    /// `auth_verbose` of the database that is asked.
    pub verbose: Option<bool>,
}

impl Request {
    pub fn new(parameters: Parameters, mechanism: Option<Mechanism>) -> Self {
        Self {
            parameters,
            mechanism,
            password: None,
            user: String::new(),
            has_user: false,
            named: false,
            original_user: String::new(),
            login_user: None,
            master_user: None,
            extra: Extra::default(),
            userdb: None,
            prefetched: false,
            for_userdb: false,
            temporary_failure: false,
            refused: false,
            password_verified: false,
            successful: false,
            passdb_success: false,
            passdb_failed: false,
            next: 0,
            verbose: None,
        }
    }

    pub fn subject(&self) -> Subject<'_> {
        Subject {
            user: Some(self.user.as_str()).filter(|_| self.has_user),
            remote_ip: self.parameters.remote_ip,
            master: self.login_user.is_some(),
            session: self.parameters.session.as_deref(),
        }
    }

    /// The value of a variable, by its long name (Dovecot 2.3: "Config Variables", authentication).
    pub fn variable(&self, name: &str, user: &str) -> Option<String> {
        let local = |user: &str| user.split('@').next().unwrap_or_default().to_owned();
        let domain = |user: &str| user.split_once('@').map(|(_, domain)| domain.to_owned());
        let text = |value: Option<&str>| value.map(str::to_owned);
        let number = |value: Option<u16>| Some(value.unwrap_or(0).to_string());
        let address = |value: Option<std::net::IpAddr>| value.map(|address| address.to_string());
        let login = self.login_user.as_deref();
        let authenticated = self.master_user.as_deref().unwrap_or(&self.original_user);
        let parameters = &self.parameters;
        if let Some((kind @ ("passdb" | "userdb"), field)) = name.split_once(':') {
            let (field, default) = field.split_once(':').unwrap_or((field, ""));
            let value = match kind {
                "passdb" => self.extra.get(field),
                _ => self.userdb.as_ref().and_then(|fields| fields.get(field)),
            };
            return Some(value.unwrap_or(default).to_owned());
        }
        match name {
            "user" => Some(user.to_owned()),
            "username" => Some(local(user)),
            "domain" => domain(user),
            "domain_first" => domain(user).map(|domain| local(&domain)),
            "domain_last" => user.rsplit_once('@').map(|(_, domain)| domain.to_owned()),
            "service" => Some(parameters.service.clone()),
            "lip" | "local_ip" => address(parameters.local_ip),
            "rip" | "remote_ip" => address(parameters.remote_ip),
            "lport" | "local_port" => number(parameters.local_port),
            "rport" | "remote_port" => number(parameters.remote_port),
            "real_lip" | "real_local_ip" => address(parameters.real_local_ip.or(parameters.local_ip)),
            "real_rip" | "real_remote_ip" => address(parameters.real_remote_ip.or(parameters.remote_ip)),
            "real_lport" | "real_local_port" => number(parameters.real_local_port.or(parameters.local_port)),
            "real_rport" | "real_remote_port" => number(parameters.real_remote_port.or(parameters.remote_port)),
            "password" => self.password.as_ref().map(|password| String::from_utf8_lossy(password).into_owned()),
            "mech" | "mechanism" => Some(self.mechanism.map_or("", Mechanism::name).to_owned()),
            "secured" => Some(match parameters.secured {
                Secured::No => String::new(),
                Secured::Trusted => "secured".into(),
                Secured::Tls => "TLS".into(),
            }),
            "cert" => Some(if parameters.valid_certificate { "valid" } else { "" }.to_owned()),
            "login_user" => text(login),
            "login_username" => login.map(local),
            "login_domain" => login.and_then(domain),
            "session" => parameters.session.clone(),
            "master_user" => self.master_user.clone(),
            "orig_user" | "original_user" => Some(self.original_user.clone()),
            "orig_username" | "original_username" => Some(local(&self.original_user)),
            "orig_domain" | "original_domain" => domain(&self.original_user),
            "auth_user" => text(Some(authenticated)),
            "auth_username" => Some(local(authenticated)),
            "auth_domain" => domain(authenticated),
            "local_name" => parameters.local_name.clone(),
            "client_id" => parameters.client_id.clone(),
            _ => None,
        }
    }

    /// Expands a template for this request.
    pub fn expand(&self, template: &str, environment: &dyn Environment) -> Result<String, String> {
        environment.expand(template, &|name| self.variable(name, &self.user))
    }

    /// Expands a path: a value ends at its first slash, and `None` if one of them makes a step upwards (`user@..`), so that
    /// no name leads out of the folder that the administrator named.
    pub fn expand_path(&self, template: &str, environment: &dyn Environment) -> Result<Option<String>, String> {
        let path = environment.expand(template, &|name| {
            let value = self.variable(name, &self.user)?;
            Some(value.split('/').next().unwrap_or_default().to_owned())
        })?;
        let steps = |path: &str| path.split('/').filter(|part| matches!(*part, "." | "..")).count();
        Ok((steps(&path) == steps(template)).then_some(path))
    }
}

impl Engine {
    /// Takes the name that a client gave: master user, realm, translation, characters, format.
    pub(super) fn set_user(
        &self,
        request: &mut Request,
        name: &str,
        environment: &dyn Environment,
    ) -> Result<(), String> {
        let separator = self.settings.master_user_separator.filter(|_| !request.for_userdb);
        let (login, name) = match separator.and_then(|separator| name.split_once(separator)) {
            Some((login, master)) => (Some(login), master),
            None => (None, name),
        };
        request.named = true;
        request.original_user = name.to_owned();
        request.user = fix_name(&self.settings, request, name, environment)?;
        request.has_user = true;
        match login {
            Some(login) => self.set_login_user(request, login, environment),
            None => Ok(()),
        }
    }

    /// Takes the name that a master user wants to log in as.
    pub(super) fn set_login_user(
        &self,
        request: &mut Request,
        name: &str,
        environment: &dyn Environment,
    ) -> Result<(), String> {
        if name.is_empty() {
            return Err("Master user login attempted to use empty login username".into());
        }
        if name == request.user {
            return Ok(());
        }
        if !self.settings.passdbs.iter().any(|passdb| passdb.master) {
            return Err("Master user login attempted without master passdbs".into());
        }
        request.login_user = Some(fix_name(&self.settings, request, name, environment)?);
        Ok(())
    }
}

/// What becomes of a name before it is looked up.
fn fix_name(
    settings: &Settings,
    request: &Request,
    name: &str,
    environment: &dyn Environment,
) -> Result<String, String> {
    let mut user = name.to_owned();
    if !settings.default_realm.is_empty() && !user.contains('@') {
        user = format!("{user}@{}", settings.default_realm);
    }
    let pairs: Vec<char> = settings.username_translation.chars().collect();
    let translate =
        |character| pairs.chunks_exact(2).rev().find(|pair| pair[0] == character).map_or(character, |pair| pair[1]);
    user = user.chars().map(translate).collect();
    if !settings.username_chars.is_empty()
        && let Some(bad) = user.chars().find(|character| !settings.username_chars.contains(*character))
    {
        let byte = bad.to_string().as_bytes()[0];
        let shown = proto_sasl::dovecot::sanitize(name, 128);
        return Err(format!("Username character disallowed by auth_username_chars: 0x{byte:02x} (username: {shown})"));
    }
    // A NUL is never part of a name, whatever the characters that are allowed.
    if user.contains('\0') {
        return Err("Username contains NUL".into());
    }
    if !settings.username_format.is_empty() {
        let expanded = environment.expand(&settings.username_format, &|variable| request.variable(variable, &user));
        user = expanded
            .map_err(|error| format!("Failed to expand username_format={}: {error}", settings.username_format))?;
    }
    if user.is_empty() { Err("Empty username".into()) } else { Ok(user) }
}
