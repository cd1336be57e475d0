//! The configuration of `auth`, as the compiled snapshot hands it over, and the readers of the `args` strings in it.
//!
//! Source: doveconf(1), `auth_*`, `passdb { … }` and `userdb { … }` of Dovecot 2.3; the defaults are Dovecot's.

use serde::{Deserialize, Serialize};

/// Everything that `auth` is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Password databases, in order; those with [`Passdb::master`] are asked for master users alone.
    pub passdbs: Vec<Passdb>,
    /// User databases, in order. None at all means one `static` database without fields.
    pub userdbs: Vec<Userdb>,
    /// `auth_default_realm`: appended to a name without `@`.
    pub default_realm: String,
    /// `auth_username_chars`: characters that a name may have; empty for all.
    pub username_chars: String,
    /// `auth_username_translation`: pairs of characters, the first replaced by the second.
    pub username_translation: String,
    /// `auth_username_format`: what becomes of a name before anything is looked up; empty for nothing.
    pub username_format: String,
    /// `auth_master_user_separator`: between the user to log in as and the master user.
    pub master_user_separator: Option<char>,
    /// `auth_verbose`: log failures.
    pub verbose: bool,
    /// `auth_debug`: log everything but passwords.
    pub debug: bool,
    /// `auth_debug_passwords`: log passwords.
    pub debug_passwords: bool,
    /// `auth_verbose_passwords`: log what was given where it did not match.
    pub verbose_passwords: VerbosePasswords,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            passdbs: Vec::new(),
            userdbs: Vec::new(),
            default_realm: String::new(),
            username_chars: "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ01234567890.-_@".into(),
            username_translation: String::new(),
            username_format: "%Lu".into(),
            master_user_separator: None,
            verbose: false,
            debug: false,
            debug_passwords: false,
            verbose_passwords: VerbosePasswords::No,
        }
    }
}

impl Settings {
    /// The switches as they work: each debug switch includes the milder ones.
    pub fn with_implied_switches(mut self) -> Self {
        self.debug |= self.debug_passwords;
        self.verbose |= self.debug;
        self
    }
}

/// `auth_verbose_passwords`; the number is how many characters are logged at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum VerbosePasswords {
    /// Not at all.
    #[default]
    No,
    /// As given.
    Plain(usize),
    /// The SHA1 of what was given.
    Sha1(usize),
}

impl VerbosePasswords {
    /// Reads `no`, `plain`, `yes` or `sha1`, each with `:LENGTH` behind it or not.
    ///
    /// # Errors
    /// Dovecot's words.
    pub fn parse(text: &str) -> Result<Self, String> {
        const DEFAULT_LENGTH: usize = 1024;
        let (kind, length) = match text.split_once(':') {
            None => (text, DEFAULT_LENGTH),
            Some((kind, length)) => match length.parse() {
                Ok(length) if length > 0 => (kind, length),
                _ => return Err(format!("auth_verbose_passwords: Invalid truncation number: '{length}'")),
            },
        };
        match kind {
            "no" => Ok(Self::No),
            "plain" | "yes" => Ok(Self::Plain(length)),
            "sha1" => Ok(Self::Sha1(length)),
            _ => Err("auth_verbose_passwords: Invalid value".into()),
        }
    }
}

/// One `passdb`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Passdb {
    /// The name in log lines; the driver's if empty.
    pub name: String,
    /// What is asked, and how.
    pub driver: PassdbDriver,
    /// Fields that are set before the lookup.
    pub default_fields: Template,
    /// Fields that are set after it.
    pub override_fields: Template,
    /// Mechanisms that this database is for; `none` for lookups without one; empty for all.
    pub mechanisms: Vec<String>,
    /// Patterns of user names, those with `!` before them excluded; empty for all.
    pub username_filter: Vec<String>,
    /// When it is passed over.
    pub skip: PassdbSkip,
    /// After a right password.
    pub result_success: Rule,
    /// After a wrong one, or an unknown user.
    pub result_failure: Rule,
    /// After a failure of the database.
    pub result_internalfail: Rule,
    /// Users found here are refused.
    pub deny: bool,
    /// After a master user's right password, the other databases are asked for the user to log in as.
    pub pass: bool,
    /// For master users.
    pub master: bool,
    /// Overrides `auth_verbose` for this database.
    pub verbose: Option<bool>,
}

impl Passdb {
    /// A database with Dovecot's defaults.
    pub fn new(driver: PassdbDriver) -> Self {
        Self {
            name: String::new(),
            driver,
            default_fields: Template::default(),
            override_fields: Template::default(),
            mechanisms: Vec::new(),
            username_filter: Vec::new(),
            skip: PassdbSkip::Never,
            result_success: Rule::ReturnOk,
            result_failure: Rule::Continue,
            result_internalfail: Rule::Continue,
            deny: false,
            pass: false,
            master: false,
            verbose: None,
        }
    }
}

/// What a `passdb` asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PassdbDriver {
    /// `passwd-file`.
    PasswdFile {
        /// The path, with variables.
        path: String,
        /// The scheme of passwords without a prefix.
        scheme: String,
        /// What is looked up in the file.
        username_format: String,
    },
    /// `static`.
    Static {
        /// The password of everybody, with variables; PLAIN if it names no scheme.
        password: Option<String>,
        /// Other fields.
        fields: Template,
    },
}

impl PassdbDriver {
    /// Reads `driver` and `args`.
    ///
    /// # Errors
    /// Dovecot's words for what it refuses to start with.
    pub fn parse(driver: &str, args: &str) -> Result<Self, String> {
        match driver {
            "passwd-file" => {
                let (mut scheme, mut username_format) = ("CRYPT".to_owned(), "%u".to_owned());
                let mut rest = args;
                while !rest.is_empty() && !rest.starts_with('/') {
                    let (word, after) = rest.split_once(' ').unwrap_or((rest, ""));
                    match word.split_once('=').unwrap_or((word, "")) {
                        ("scheme", value) => scheme = value.to_owned(),
                        ("username_format", value) => username_format = value.to_owned(),
                        (key, _) => return Err(format!("passdb passwd-file: Unknown setting: {key}")),
                    }
                    rest = after;
                }
                match rest {
                    "" => Err("passdb passwd-file: Missing args".into()),
                    path => Ok(Self::PasswdFile { path: path.to_owned(), scheme, username_format }),
                }
            }
            "static" => {
                let mut fields = Template::parse(args).map_err(|EmptyName| invalid_template("passdb", args))?;
                let password = fields.take("password").flatten();
                Ok(Self::Static { password, fields })
            }
            other => Err(format!("Unknown passdb driver '{other}'")),
        }
    }

    /// The driver's name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::PasswdFile { .. } => "passwd-file",
            Self::Static { .. } => "static",
        }
    }
}

/// One `userdb`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Userdb {
    /// The name in log lines; the driver's if empty.
    pub name: String,
    /// What is asked, and how.
    pub driver: UserdbDriver,
    /// Fields that are set before the lookup.
    pub default_fields: Template,
    /// Fields that are set after it.
    pub override_fields: Template,
    /// When it is passed over.
    pub skip: UserdbSkip,
    /// After the user was found.
    pub result_success: Rule,
    /// After it was not.
    pub result_failure: Rule,
    /// After a failure of the database.
    pub result_internalfail: Rule,
    /// Overrides `auth_verbose` for this database.
    pub verbose: Option<bool>,
}

impl Userdb {
    /// A database with Dovecot's defaults.
    pub fn new(driver: UserdbDriver) -> Self {
        Self {
            name: String::new(),
            driver,
            default_fields: Template::default(),
            override_fields: Template::default(),
            skip: UserdbSkip::Never,
            result_success: Rule::ReturnOk,
            result_failure: Rule::Continue,
            result_internalfail: Rule::Continue,
            verbose: None,
        }
    }
}

/// What a `userdb` asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UserdbDriver {
    /// `passwd-file`.
    PasswdFile {
        /// The path, with variables.
        path: String,
        /// What is looked up in the file.
        username_format: String,
    },
    /// `static`: the same fields for everybody whom the passdbs know.
    Static {
        /// The fields.
        fields: Template,
        /// Whether the passdbs are not asked.
        allow_all_users: bool,
    },
    /// `prefetch`: what the passdb returned with `userdb_` before it.
    Prefetch,
}

impl UserdbDriver {
    /// Reads `driver` and `args`.
    ///
    /// # Errors
    /// Dovecot's words for what it refuses to start with.
    pub fn parse(driver: &str, args: &str) -> Result<Self, String> {
        match driver {
            "passwd-file" => {
                let (username_format, path) = match args.strip_prefix("username_format=") {
                    None => ("%u", args),
                    Some(rest) => rest.split_once(' ').unwrap_or((rest, "")),
                };
                match path {
                    "" => Err("userdb passwd-file: Missing args".into()),
                    path => Ok(Self::PasswdFile { path: path.to_owned(), username_format: username_format.to_owned() }),
                }
            }
            "static" => {
                let mut fields = Template::parse(args).map_err(|EmptyName| invalid_template("userdb", args))?;
                let all = fields.take("allow_all_users");
                let allow_all_users =
                    all.is_some_and(|value| value.is_none_or(|value| value.eq_ignore_ascii_case("yes")));
                Ok(Self::Static { fields, allow_all_users })
            }
            "prefetch" if args.is_empty() => Ok(Self::Prefetch),
            "prefetch" => Err(format!("userdb prefetch: No args are supported: {args}")),
            other => Err(format!("Unknown userdb driver '{other}'")),
        }
    }

    /// The driver's name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::PasswdFile { .. } => "passwd-file",
            Self::Static { .. } => "static",
            Self::Prefetch => "prefetch",
        }
    }
}

fn invalid_template(kind: &str, args: &str) -> String {
    format!("Invalid {kind} template {args} - key must not be empty")
}

/// A field of a template has a value but no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EmptyName;

/// Fields in order, with variables in their values: `default_fields`, `override_fields`, the args of `static`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Template(Vec<(String, Option<String>)>);

impl Template {
    /// Reads fields separated by spaces, each `name=value` or `name`.
    ///
    /// # Errors
    /// [`EmptyName`].
    pub fn parse(text: &str) -> Result<Self, EmptyName> {
        let fields = text.split(' ').filter(|field| !field.is_empty()).map(|field| match field.split_once('=') {
            Some(("", _)) => Err(EmptyName),
            Some((name, value)) => Ok((name.to_owned(), Some(value.to_owned()))),
            None => Ok((field.to_owned(), None)),
        });
        fields.collect::<Result<_, _>>().map(Self)
    }

    /// In order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_deref()))
    }

    /// Takes a field out.
    fn take(&mut self, name: &str) -> Option<Option<String>> {
        let index = self.0.iter().position(|field| field.0 == name)?;
        Some(self.0.remove(index).1)
    }
}

impl FromIterator<(String, Option<String>)> for Template {
    /// From fields that are split already, in order.
    fn from_iter<I: IntoIterator<Item = (String, Option<String>)>>(fields: I) -> Self {
        Self(fields.into_iter().collect())
    }
}

/// `skip` of a passdb.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PassdbSkip {
    /// Always ask.
    Never,
    /// Not if the password was verified before.
    Authenticated,
    /// Only if the password was verified before.
    Unauthenticated,
}

/// `skip` of a userdb.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UserdbSkip {
    /// Always ask.
    Never,
    /// Not if the user was found before.
    Found,
    /// Only if the user was found before.
    Notfound,
}

/// What follows a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// End with what was known before.
    Return,
    /// End with success.
    ReturnOk,
    /// End with failure.
    ReturnFail,
    /// Ask the next.
    Continue,
    /// Ask the next, having succeeded.
    ContinueOk,
    /// Ask the next, having failed.
    ContinueFail,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn args_of_passwd_file() {
        let driver = PassdbDriver::parse("passwd-file", "scheme=PLAIN username_format=%n /etc/dovecot/a b").unwrap();
        let expected = PassdbDriver::PasswdFile {
            path: "/etc/dovecot/a b".into(),
            scheme: "PLAIN".into(),
            username_format: "%n".into(),
        };
        assert_eq!(driver, expected);
        for (args, expected) in [
            ("", "passdb passwd-file: Missing args"),
            ("scheme=PLAIN", "passdb passwd-file: Missing args"),
            ("shceme=PLAIN /x", "passdb passwd-file: Unknown setting: shceme"),
            ("users", "passdb passwd-file: Unknown setting: users"),
        ] {
            assert_eq!(PassdbDriver::parse("passwd-file", args), Err(expected.into()));
        }
        let driver = UserdbDriver::parse("passwd-file", "username_format=%u /x").unwrap();
        assert_eq!(driver, UserdbDriver::PasswdFile { path: "/x".into(), username_format: "%u".into() });
        assert_eq!(UserdbDriver::parse("passwd-file", ""), Err("userdb passwd-file: Missing args".into()));
        assert_eq!(UserdbDriver::parse("magic", ""), Err("Unknown userdb driver 'magic'".into()));
    }

    #[test]
    fn args_of_static() {
        let driver = UserdbDriver::parse("static", "uid=5 allow_all_users=yes  home=/h/%d").unwrap();
        let fields = Template::parse("uid=5 home=/h/%d").unwrap();
        assert_eq!(driver, UserdbDriver::Static { fields, allow_all_users: true });
        assert!(matches!(
            UserdbDriver::parse("static", "allow_all_users=no"),
            Ok(UserdbDriver::Static { allow_all_users: false, .. })
        ));
        let driver = PassdbDriver::parse("static", "nopassword password={PLAIN}x").unwrap();
        let fields = Template::parse("nopassword").unwrap();
        assert_eq!(driver, PassdbDriver::Static { password: Some("{PLAIN}x".into()), fields });
        let error = PassdbDriver::parse("static", "=x").unwrap_err();
        assert_eq!(error, "Invalid passdb template =x - key must not be empty");
    }

    #[test]
    fn verbose_passwords() {
        for (text, expected) in [
            ("no", Ok(VerbosePasswords::No)),
            ("yes", Ok(VerbosePasswords::Plain(1024))),
            ("sha1:6", Ok(VerbosePasswords::Sha1(6))),
            ("plain:0", Err("auth_verbose_passwords: Invalid truncation number: '0'".into())),
            ("maybe", Err("auth_verbose_passwords: Invalid value".into())),
        ] {
            assert_eq!(VerbosePasswords::parse(text), expected);
        }
    }

    #[test]
    fn a_debug_switch_includes_the_milder_ones() {
        let settings = Settings { debug_passwords: true, ..Settings::default() }.with_implied_switches();
        assert!(settings.debug && settings.verbose);
    }
}
