//! Where one user's mail is, opened: the namespaces of the configuration over folders that this process holds from now on,
//! and the leave to touch these folders alone.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use ipc_config::dovecot::sections::{Auto, Listing, Namespace as Configured, Ownership};
use ipc_config::section::Section;
use ipc_jail::{Access, Grant};
use ipc_messages::auth::User;
use mail_user::{Context, Places, Unreachable};
use store_mailbox::fs::make_path;
use store_mailbox::fs::real::RealFs;
use store_mailbox::list::Mailboxes;
use store_mailbox::list::namespace::{Namespace, NamespaceKind, Namespaces};
use store_mailbox::location::{Format, Location, MailboxName};
use store_mailbox::mailbox::Environment;

use crate::files::Automatic;

/// The mode of folders that are made because they are missing.
const MODE: u32 = 0o700;

/// A user's mail, found and held.
pub struct Held {
    /// The files, beneath this user's folders and no others.
    pub fs: Arc<RealFs>,
    /// The namespaces over them.
    pub namespaces: Namespaces<RealFs>,
    /// Mailboxes that are made when they are used.
    pub automatic: Vec<Automatic>,
    /// What Landlock is to allow.
    pub grants: Vec<Grant>,
}

/// Finds `user`'s mail beneath the folders of `all`; with `make`, what is missing of its roots is made.
///
/// # Errors
/// Why it cannot be reached, in the words of the log.
pub fn hold(
    user: &User,
    section: &Section,
    context: Context<'_>,
    all: &RealFs,
    make: bool,
) -> Result<Held, Unreachable> {
    let mut roots: Vec<(String, OwnedFd)> = Vec::new();
    let mut found = Vec::new();
    let mut configured: Vec<&Configured> = section.namespaces.iter().collect();
    configured.sort_by_key(|namespace| namespace.order);
    for namespace in configured {
        match root_of(namespace, user, section, context, (all, make), &mut roots) {
            Ok(places) => found.push((namespace, places)),
            Err(_) if namespace.ignore_on_failure => {}
            Err(error) if namespace.name.is_empty() => return Err(error),
            Err(Unreachable(text)) => {
                // One that the administrator wrote is named in the place of the setting.
                let text = text.strip_prefix(mail_user::NOT_SET).unwrap_or(&text);
                return Err(Unreachable(format!("Namespace '{}': {text}", namespace.prefix)));
            }
        }
    }
    // Beside its mail a user's home has settings and scripts; it need not be there.
    let home = found.iter().find_map(|(_, places)| places.home.as_ref());
    if let Some(home) = home.filter(|home| roots.iter().all(|(root, _)| root != *home)) {
        hold_folder(home, all, Missing::Ignore, &mut roots)?;
    }
    let mut grants = Vec::new();
    for (root, folder) in &roots {
        let folder = folder.try_clone().map_err(|error| Unreachable(format!("{root}: {error}")))?;
        grants.push(Grant { folder, access: Access::Write });
    }
    let roots = roots.into_iter().map(|(path, folder)| (path.into_bytes(), folder)).collect();
    let fs = mail_user::files(section, roots);
    let fs = Arc::new(fs.map_err(|error| Unreachable(error.to_string()))?);
    let environment = Environment { fs: fs.clone(), names: Arc::default(), fsync: mail_user::fsync(section) };
    let mut namespaces = Vec::new();
    let mut automatic = Vec::new();
    for (configured, places) in &found {
        let location = places.location(&fs)?;
        namespaces.push(build(configured, &environment, location, &mut automatic)?);
    }
    let namespaces =
        Namespaces::new(namespaces).map_err(|error| Unreachable(format!("namespace configuration error: {error}")))?;
    check_separators(&namespaces)?;
    Ok(Held { fs, namespaces, automatic, grants })
}

/// Finds the root of one namespace and adds it to `roots`.
fn root_of(
    namespace: &Configured,
    user: &User,
    section: &Section,
    context: Context<'_>,
    (all, make): (&RealFs, bool),
    roots: &mut Vec<(String, OwnedFd)>,
) -> Result<Places, Unreachable> {
    let places = Places::of_namespace(namespace, user, section, context, |path| mail_user::exists(all, path))?;
    hold_folder(&places.root, all, if make { Missing::Make } else { Missing::Refuse }, roots)?;
    Ok(places)
}

/// What to do with a folder that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Missing {
    Make,
    Refuse,
    Ignore,
}

/// Opens a folder by its absolute path and adds it to `roots`.
fn hold_folder(
    path: &str,
    all: &RealFs,
    missing: Missing,
    roots: &mut Vec<(String, OwnedFd)>,
) -> Result<(), Unreachable> {
    if roots.iter().any(|(known, _)| known == path) {
        return Ok(());
    }
    let failed = |call: &str, error: std::io::Error| {
        let euid = nix::unistd::geteuid();
        Unreachable(format!("{call}({path}) failed: {error} (euid={euid})"))
    };
    let (root, components) = match all.locate(path.as_bytes()) {
        Some(place) => place,
        None if missing == Missing::Ignore => return Ok(()),
        None => return Err(Unreachable(format!("{path} is outside of the folders that this process may reach"))),
    };
    let opened = match missing {
        Missing::Make => make_path(all, &root, &components, MODE).map(|(folder, _)| folder),
        Missing::Refuse | Missing::Ignore => store_mailbox::fs::open_path(all, &root, &components),
    };
    let folder = match opened.and_then(|folder| all.descriptor(&folder)) {
        Ok(folder) => folder,
        Err(_) if missing == Missing::Ignore => return Ok(()),
        Err(error) => return Err(failed(if missing == Missing::Make { "mkdir" } else { "open" }, error)),
    };
    roots.push((path.to_owned(), folder));
    Ok(())
}

fn build(
    configured: &Configured,
    environment: &Environment<RealFs>,
    location: Location<RealFs>,
    automatic: &mut Vec<Automatic>,
) -> Result<Namespace<RealFs>, Unreachable> {
    let separator = configured.separator.unwrap_or(match location.format {
        Format::Maildir => '.',
        Format::Sdbox => '/',
    });
    let mut namespace = Namespace {
        kind: match configured.ownership {
            Ownership::Private => NamespaceKind::Personal,
            Ownership::Shared => NamespaceKind::Others,
            Ownership::Public => NamespaceKind::Shared,
        },
        prefix: configured.prefix.clone(),
        separator,
        inbox: configured.inbox,
        list: configured.list != Listing::No,
        hidden: configured.hidden,
        subscriptions: configured.subscriptions,
        special_use: Default::default(),
        mailboxes: Mailboxes::new(environment.clone(), location),
    };
    // A name with a wildcard gives its attributes to mailboxes that a client makes; none is made by us.
    for mailbox in configured.mailboxes.iter().filter(|mailbox| !mailbox.name.contains(['*', '?'])) {
        let path = MailboxName::new(&mailbox.name, separator)
            .map_err(|error| Unreachable(format!("mailbox {}: {error}", mailbox.name)))?;
        if mailbox.auto != Auto::No {
            let name = namespace.visible(&path);
            automatic.push(Automatic { name, subscribed: mailbox.auto == Auto::Subscribe });
        }
        if !mailbox.special_use.is_empty() {
            namespace.special_use.insert(path, mailbox.special_use.join(" "));
        }
    }
    Ok(namespace)
}

/// A client is told one separator for all that is listed (RFC 3501 has one in each reply, and Dovecot demands the same).
fn check_separators(namespaces: &Namespaces<RealFs>) -> Result<(), Unreachable> {
    let mut listed = namespaces.all().iter().filter(|namespace| namespace.list || namespace.inbox);
    let first = listed.next().map(|namespace| namespace.separator);
    match listed.find(|namespace| Some(namespace.separator) != first) {
        None => Ok(()),
        Some(other) => Err(Unreachable(format!(
            "namespace configuration error: All list=yes namespaces must use the same separator (prefix {})",
            other.prefix
        ))),
    }
}

#[cfg(test)]
mod tests;
