//! The section of `auth`, in the types of the engine.

use std::path::PathBuf;

use ipc_config::dovecot::sections::{Args, Database, Passdb};
use ipc_config::section::Section;
use proto_sasl::mechanism::Mechanism;
use store_passwords::config::{
    self, PassdbDriver, PassdbSkip, Rule, Template, UserdbDriver, UserdbSkip, VerbosePasswords,
};
use store_passwords::policy::Limits;

use crate::names::Name;

/// Everything that `auth` is told.
#[derive(Debug, Clone)]
pub struct Configuration {
    /// The databases, or in Dovecot's words why they cannot be used.
    pub databases: Result<config::Settings, String>,
    /// `auth_mechanisms`, in order.
    pub mechanisms: Vec<Mechanism>,
    /// `auth_failure_delay` in seconds.
    pub failure_delay: u64,
    /// `auth_cache_size` and `auth_cache_ttl`.
    pub cache: Limits,
    /// `auth_worker_max_count`: threads that compare passwords, at most.
    pub threads: usize,
    /// Who acts for users, and where their mail lies.
    pub mail: Mail,
}

/// What holds for the mail of all users whose database says nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// `mail_uid`: a name, a number, or empty.
    pub uid: String,
    /// `mail_gid`: likewise.
    pub gid: String,
    /// `mail_home`, with variables.
    pub home: String,
    /// `mail_location` and the locations of namespaces, with variables; the first is the user's own, which a userdb may
    /// replace.
    pub locations: Vec<String>,
    /// Folders that all users' mail lies beneath: the parts of homes and locations before their first variables.
    pub roots: Vec<PathBuf>,
}

impl Configuration {
    /// Reads the section.
    pub fn read(section: &Section) -> Configuration {
        let text = |name| section.mailbox.text(name).to_owned();
        let number = |name| section.mailbox.number(name);
        let mut locations = vec![text("mail_location")];
        locations.extend(section.namespaces.iter().map(|namespace| namespace.location.clone()));
        Configuration {
            databases: databases(section),
            mechanisms: section.mailbox.list("auth_mechanisms").into_iter().filter_map(Mechanism::from_name).collect(),
            failure_delay: number("auth_failure_delay"),
            cache: Limits {
                size: usize::try_from(number("auth_cache_size")).unwrap_or(usize::MAX),
                ttl: number("auth_cache_ttl"),
            },
            threads: usize::try_from(number("auth_worker_max_count")).unwrap_or(usize::MAX).max(1),
            mail: Mail {
                uid: text("mail_uid"),
                gid: text("mail_gid"),
                home: text("mail_home"),
                locations,
                roots: text("mail roots").lines().map(PathBuf::from).collect(),
            },
        }
    }

    /// Names of accounts and groups that the configuration mentions and that will be needed.
    pub fn names(&self) -> Vec<Name> {
        let mut names = vec![Name::User(self.mail.uid.clone()), Name::Group(self.mail.gid.clone())];
        let userdbs = self.databases.iter().flat_map(|settings| &settings.userdbs);
        let templates = userdbs.flat_map(|userdb| {
            let fields = match &userdb.driver {
                UserdbDriver::Static { fields, .. } => Some(fields),
                UserdbDriver::PasswdFile { .. } | UserdbDriver::Prefetch => None,
            };
            [&userdb.default_fields, &userdb.override_fields].into_iter().chain(fields)
        });
        names.extend(templates.flat_map(Template::iter).filter_map(|(name, value)| match name {
            "uid" => Some(Name::User(value?.to_owned())),
            "gid" => Some(Name::Group(value?.to_owned())),
            _ => None,
        }));
        let fixed = |text: &str| !text.is_empty() && !text.contains('%') && text.parse::<u32>().is_err();
        names.retain(|name| match name {
            Name::User(text) | Name::Group(text) => fixed(text),
        });
        names.sort();
        names.dedup();
        names
    }
}

fn databases(section: &Section) -> Result<config::Settings, String> {
    let text = |name| section.mailbox.text(name);
    let flag = |name| section.mailbox.boolean(name);
    let settings = config::Settings {
        passdbs: section.passdbs.iter().map(passdb).collect::<Result<_, _>>()?,
        userdbs: section.userdbs.iter().map(userdb).collect::<Result<_, _>>()?,
        default_realm: text("auth_default_realm").to_owned(),
        username_chars: text("auth_username_chars").to_owned(),
        username_translation: text("auth_username_translation").to_owned(),
        username_format: text("auth_username_format").to_owned(),
        verbose: flag("auth_verbose"),
        debug: flag("auth_debug"),
        debug_passwords: flag("auth_debug_passwords"),
        verbose_passwords: VerbosePasswords::parse(text("auth_verbose_passwords"))?,
        ..config::Settings::default()
    };
    Ok(settings.with_implied_switches())
}

fn passdb(passdb: &Passdb) -> Result<config::Passdb, String> {
    let database = &passdb.database;
    Ok(config::Passdb {
        name: database.name.clone(),
        default_fields: template(&database.default_fields),
        override_fields: template(&database.override_fields),
        mechanisms: passdb.mechanisms.clone(),
        username_filter: passdb.username_filter.clone(),
        skip: match database.skip.as_str() {
            "authenticated" => PassdbSkip::Authenticated,
            "unauthenticated" => PassdbSkip::Unauthenticated,
            _ => PassdbSkip::Never,
        },
        result_success: rule(&database.result_success, Rule::ReturnOk),
        result_failure: rule(&database.result_failure, Rule::Continue),
        result_internalfail: rule(&database.result_internalfail, Rule::Continue),
        deny: passdb.deny,
        pass: passdb.pass,
        master: passdb.master,
        verbose: database.auth_verbose,
        ..config::Passdb::new(PassdbDriver::parse(&database.driver, &joined(&database.args))?)
    })
}

fn userdb(database: &Database) -> Result<config::Userdb, String> {
    Ok(config::Userdb {
        name: database.name.clone(),
        default_fields: template(&database.default_fields),
        override_fields: template(&database.override_fields),
        skip: match database.skip.as_str() {
            "found" => UserdbSkip::Found,
            "notfound" => UserdbSkip::Notfound,
            _ => UserdbSkip::Never,
        },
        result_success: rule(&database.result_success, Rule::ReturnOk),
        result_failure: rule(&database.result_failure, Rule::Continue),
        result_internalfail: rule(&database.result_internalfail, Rule::Continue),
        verbose: database.auth_verbose,
        ..config::Userdb::new(UserdbDriver::parse(&database.driver, &joined(&database.args))?)
    })
}

/// The arguments as one text, which is what a driver reads.
fn joined(args: &Args) -> String {
    let options = args.options.iter().map(|(name, value)| match value.as_str() {
        "" => name.clone(),
        value => format!("{name}={value}"),
    });
    let path = Some(args.path.clone()).filter(|path| !path.is_empty());
    options.chain(path).collect::<Vec<_>>().join(" ")
}

fn template(fields: &[(String, String)]) -> Template {
    fields.iter().map(|(name, value)| (name.clone(), Some(value.clone()).filter(|value| !value.is_empty()))).collect()
}

fn rule(text: &str, default: Rule) -> Rule {
    match text {
        "return" => Rule::Return,
        "return-ok" => Rule::ReturnOk,
        "return-fail" => Rule::ReturnFail,
        "continue" => Rule::Continue,
        "continue-ok" => Rule::ContinueOk,
        "continue-fail" => Rule::ContinueFail,
        _ => default,
    }
}

#[cfg(test)]
pub mod tests {
    use ipc_config::dovecot::sections::fields;

    use super::*;

    /// A section with Dovecot's defaults.
    pub fn section() -> Section {
        let mut section = Section::default();
        for (name, value) in [
            ("auth_mechanisms", "plain login"),
            ("auth_failure_delay", "2"),
            ("auth_cache_size", "0"),
            ("auth_cache_ttl", "3600"),
            ("auth_worker_max_count", "30"),
            ("auth_default_realm", ""),
            ("auth_username_chars", "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ01234567890.-_@"),
            ("auth_username_translation", ""),
            ("auth_username_format", "%Lu"),
            ("auth_verbose", "no"),
            ("auth_debug", "no"),
            ("auth_debug_passwords", "no"),
            ("auth_verbose_passwords", "no"),
            ("mail_uid", ""),
            ("mail_gid", ""),
            ("mail_home", ""),
            ("mail_location", ""),
            ("mail roots", ""),
        ] {
            section.mailbox.insert(name, value);
        }
        section
    }

    /// A database with Dovecot's defaults.
    pub fn database(driver: &str, args: &str) -> Database {
        Database {
            name: String::new(),
            driver: driver.into(),
            args: Args::parse(args),
            default_fields: Vec::new(),
            override_fields: Vec::new(),
            skip: "never".into(),
            result_success: "return-ok".into(),
            result_failure: "continue".into(),
            result_internalfail: "continue".into(),
            auth_verbose: None,
            at: ipc_config::diagnostic::Location::default(),
        }
    }

    /// A passdb with Dovecot's defaults.
    pub fn passdb(driver: &str, args: &str) -> Passdb {
        Passdb {
            database: database(driver, args),
            deny: false,
            master: false,
            pass: false,
            mechanisms: Vec::new(),
            username_filter: Vec::new(),
        }
    }

    #[test]
    fn databases_keep_their_arguments_and_fields() {
        let mut section = section();
        section.passdbs.push(passdb("passwd-file", "scheme=CRYPT username_format=%n /etc/a b/%d"));
        let mut userdb = database("passwd-file", "username_format=%u /etc/users");
        userdb.default_fields = fields("uid=vmail gid=vmail home=/home/%u flag");
        userdb.result_failure = "return-fail".into();
        section.userdbs = vec![userdb, database("static", "uid=5 gid=mail")];
        section.mailbox.insert("mail_uid", "vmail");
        section.mailbox.insert("mail_gid", "8");
        let configuration = Configuration::read(&section);
        let settings = configuration.databases.as_ref().unwrap();
        let expected = PassdbDriver::PasswdFile {
            path: "/etc/a b/%d".into(),
            scheme: "CRYPT".into(),
            username_format: "%n".into(),
        };
        assert_eq!(settings.passdbs[0].driver, expected);
        assert_eq!(settings.passdbs[0].result_success, Rule::ReturnOk);
        assert_eq!(settings.userdbs[0].result_failure, Rule::ReturnFail);
        assert_eq!(settings.userdbs[0].default_fields.iter().last(), Some(("flag", None)));
        assert_eq!(configuration.mechanisms, [Mechanism::Plain, Mechanism::Login]);
        assert_eq!(
            configuration.names(),
            [Name::User("vmail".into()), Name::Group("mail".into()), Name::Group("vmail".into())]
        );
    }

    #[test]
    fn what_dovecot_refuses_is_told_in_its_words() {
        let mut section = section();
        section.passdbs.push(passdb("passwd-file", "scheme=PLAIN"));
        assert_eq!(Configuration::read(&section).databases, Err("passdb passwd-file: Missing args".into()));
    }
}
