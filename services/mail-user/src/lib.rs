//! Where the mail of one user is: what the user database says, else `mail_home` and `mail_location`, with variables in
//! place. Every program that opens mailboxes asks here, so that all of them find the same place; the words of failures are
//! Dovecot's.

use std::fmt;
use std::os::fd::OwnedFd;
use std::time::Duration;

use ipc_config::dovecot::location::{Driver, MailLocation};
use ipc_config::dovecot::sections::Namespace;
use ipc_config::dovecot::variables::{Vars, expand};
use ipc_config::section::Section;
use ipc_messages::auth::User;
use slog::Logger;
use store_mailbox::fs::real::RealFs;
use store_mailbox::location::{Format, Fsync, Location};

/// Why a user's mail cannot be reached. The text is for the log; a client hears that there is an internal error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreachable(pub String);

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unreachable {}

/// What the log says first where neither the user nor the configuration says where mail is.
pub const NOT_SET: &str = "mail_location not set and autodetection failed: ";

/// A user's places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// The home folder.
    pub home: Option<String>,
    /// The format.
    pub format: Format,
    /// The absolute path of the mail root.
    pub root: String,
}

/// What `%`-variables and a missing home are taken from, beside the user.
#[derive(Debug, Clone, Copy, Default)]
pub struct Context<'a> {
    /// `%s`
    pub service: &'a str,
    /// `%{session}`
    pub session: &'a str,
}

impl Places {
    /// Finds the places of `user`. `exists` tells whether a folder is there, for locations that name no format.
    ///
    /// # Errors
    /// [`Unreachable`].
    pub fn find(
        user: &User,
        section: &Section,
        context: Context<'_>,
        exists: impl Fn(&str) -> bool,
    ) -> Result<Places, Unreachable> {
        let fail = |text: String| Err(Unreachable(text));
        let home = match (&user.home, section.mailbox.get("mail_home").unwrap_or_default()) {
            (Some(home), _) => Some(home.clone()),
            (None, "") => None,
            (None, template) => Some(expanded(template, user, None, context)?),
        };
        let template = user.mail.as_deref().or(section.mailbox.get("mail_location")).unwrap_or_default();
        let text = expanded(template, user, home.as_deref(), context)?;
        let location = match MailLocation::parse(&text) {
            Ok(location) => location,
            Err(error) => return fail(format!("mail_location {text}: {error}")),
        };
        if let Some(key) = location.unbuilt_part() {
            return fail(format!("mail_location {text}: {key} is not built yet"));
        }
        let (format, path) = match &location.driver {
            Driver::Maildir => (Format::Maildir, or(&location.path, "~/Maildir")),
            Driver::Sdbox => (Format::Sdbox, or(&location.path, "~/sdbox")),
            Driver::Auto if location.path.is_empty() => {
                let shown = home.as_deref().unwrap_or("(not set)");
                match home.as_deref().map(|home| format!("{home}/Maildir")).filter(|path| exists(path)) {
                    Some(path) => (Format::Maildir, path),
                    None => {
                        return fail(format!("{NOT_SET}Mail storage autodetection failed with home={shown}"));
                    }
                }
            }
            Driver::Auto => match exists(&format!("{}/cur", location.path)) {
                true => (Format::Maildir, location.path.clone()),
                false => {
                    return fail(format!("Ambiguous mail location setting, don't know what to do with it: {text}"));
                }
            },
            other => return fail(format!("mail_location {text}: the format {} is not built yet", other.name())),
        };
        let root = match path.strip_prefix('~').filter(|rest| rest.is_empty() || rest.starts_with('/')) {
            Some(rest) => match &home {
                Some(home) => format!("{home}{rest}"),
                None => {
                    return fail(format!(
                        "Home directory not set for user. Can't expand ~/ for mail root dir in: {path}"
                    ));
                }
            },
            None => path,
        };
        if !root.starts_with('/') {
            return fail(format!("mail_location {text}: the path is not absolute"));
        }
        Ok(Places { home, format, root })
    }

    /// As [`Places::find`], for the mail of one namespace: its own location goes before that of the user.
    ///
    /// # Errors
    /// [`Unreachable`].
    pub fn of_namespace(
        namespace: &Namespace,
        user: &User,
        section: &Section,
        context: Context<'_>,
        exists: impl Fn(&str) -> bool,
    ) -> Result<Places, Unreachable> {
        if namespace.location.is_empty() {
            return Places::find(user, section, context, exists);
        }
        let user = User { mail: Some(namespace.location.clone()), ..user.clone() };
        Places::find(&user, section, context, exists)
    }

    /// The same as the store names it.
    ///
    /// # Errors
    /// [`Unreachable`] when the path is beneath no folder that this process holds.
    pub fn location(&self, fs: &RealFs) -> Result<Location<RealFs>, Unreachable> {
        let found = fs.locate(self.root.as_bytes());
        let (root, path) = found.ok_or_else(|| {
            Unreachable(format!("{} is outside of the folders that this process may reach", self.root))
        })?;
        Ok(Location { format: self.format, root, path })
    }
}

/// The files beneath `roots`, which are absolute paths and open descriptors; `mail_max_lock_timeout` bounds every wait for a
/// lock there. Called in the process that uses them.
///
/// # Errors
/// Of the system, when it does not tell the time since its start.
pub fn files(section: &Section, roots: Vec<(Vec<u8>, OwnedFd)>) -> std::io::Result<RealFs> {
    let fs = RealFs::new(roots, host().as_bytes())?;
    Ok(match section.mailbox.time("mail_max_lock_timeout") {
        Duration::ZERO => fs,
        longest => fs.waiting_at_most(longest),
    })
}

/// Whether a folder is there, for [`Places::find`].
pub fn exists(fs: &RealFs, path: &str) -> bool {
    let Some((root, components)) = fs.locate(path.as_bytes()) else { return false };
    store_mailbox::fs::open_path(fs, &root, &components).is_ok()
}

/// `mail_fsync`.
pub fn fsync(section: &Section) -> Fsync {
    match section.mailbox.get("mail_fsync") {
        Some("never") => Fsync::Never,
        Some("always") => Fsync::Always,
        _ => Fsync::Optimized,
    }
}

/// What signs the log lines of a process that acts for `user`: `mail_log_prefix`, without the `: ` that stands behind every
/// signature. One that cannot be expanded is told to `log`, and Dovecot's own stands in.
pub fn log_tag(section: &Section, user: &User, context: Context<'_>, log: &Logger) -> String {
    const DEFAULT: &str = "%s(%u)<%{pid}><%{session}>";
    let template = section.mailbox.text("mail_log_prefix");
    let tag = expanded(template, user, None, context).unwrap_or_else(|error| {
        slog::error!(log, "mail_log_prefix: {error}");
        expanded(DEFAULT, user, None, context).unwrap_or_else(|_| unreachable!("all of it is known"))
    });
    tag.strip_suffix(": ").unwrap_or(&tag).to_owned()
}

/// Logs as whom this process acts, where `mail_debug` wants that known.
pub fn log_identity(section: &Section, user: &User, log: &Logger) {
    if section.mailbox.boolean("mail_debug") {
        let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
        slog::debug!(log, "Effective uid={uid}, gid={gid}, home={}", user.home.as_deref().unwrap_or_default());
    }
}

/// The host's name as file names have it.
pub fn host() -> String {
    // It fails only for a name that is no UTF-8, which no host has.
    nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_else(|| "localhost".into())
}

fn or(path: &str, default: &str) -> String {
    if path.is_empty() { default.into() } else { path.into() }
}

fn expanded(template: &str, user: &User, home: Option<&str>, context: Context<'_>) -> Result<String, Unreachable> {
    let value = |name: &str| {
        let text = match name {
            "user" => &user.name,
            "home" => home?,
            "hostname" => return Some(host()),
            "service" => context.service,
            "session" => context.session,
            "uid" => return user.uid.map(|uid| uid.to_string()),
            "gid" => return user.gid.map(|gid| gid.to_string()),
            "pid" => return Some(std::process::id().to_string()),
            _ => {
                return user
                    .extra
                    .iter()
                    .find(|(known, _)| name == format!("userdb:{known}"))
                    .map(|(_, value)| value.clone());
            }
        };
        Some(text.to_string())
    };
    let md5 = |bytes: &[u8]| {
        use md5::Digest;
        let mut digest = [0; 16];
        digest.copy_from_slice(&md5::Md5::digest(bytes));
        digest
    };
    let vars = Vars { value: &value, environment: &|_| None, md5: Some(md5) };
    expand(template, &vars).map_err(|error| Unreachable(format!("Failed to expand {template}: {error}")))
}

#[cfg(test)]
mod tests;
