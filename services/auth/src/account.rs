//! From what a userdb says to the account that acts: ids, home, folders.

use std::path::PathBuf;

use ipc_messages::auth::User;
use store_passwords::UserRecord;
use store_passwords::passwd_file::{Accounts, parse_gid, parse_uid};

use crate::environment::expand_with;
use crate::roots::roots;
use crate::settings::Mail;

/// The process that acts for an account is one for all users with equal values here.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Account {
    /// uid.
    pub uid: u32,
    /// gid.
    pub gid: u32,
    /// Folders that it may reach.
    pub roots: Vec<PathBuf>,
}

/// The user in the words of the hop, with `mail_uid`, `mail_gid` and `mail_home` where the userdb has nothing.
///
/// # Errors
/// A text for the log: an id that cannot be looked up, a template that cannot be expanded, a field that is not supported.
pub fn user(record: UserRecord, mail: &Mail, names: &dyn Accounts) -> Result<User, String> {
    if record.uid == Some(0) {
        return Err("Invalid settings in userdb: userdb returned 0 as uid".into());
    }
    if record.chroot.is_some() || record.system_groups_user.is_some() {
        return Err("Invalid settings in userdb: chroot and system_groups_user are not supported".into());
    }
    let of_text = |text: &str, parse: &dyn Fn(&str) -> Result<u32, String>| match text {
        "" => Ok(None),
        text => parse(text).map(Some),
    };
    let uid = record.uid.map_or_else(|| of_text(&mail.uid, &|text| parse_uid(text, names)), |uid| Ok(Some(uid)))?;
    let gid = record.gid.map_or_else(|| of_text(&mail.gid, &|text| parse_gid(text, names)), |gid| Ok(Some(gid)))?;
    let home = match record.home {
        Some(home) => Some(home),
        None if mail.home.is_empty() => None,
        None => Some(expand_with(&mail.home, &|name| (name == "user").then(|| record.user.clone()))?),
    };
    Ok(User { name: record.user, uid, gid, groups: Vec::new(), home, mail: record.mail, extra: record.extra })
}

/// The account that acts for a user.
///
/// # Errors
/// Dovecot's words, when an id is missing; or what is wrong with a location.
pub fn account(user: &User, mail: &Mail) -> Result<Account, String> {
    let record = UserRecord { uid: user.uid, gid: user.gid, ..UserRecord::default() };
    let (uid, gid) = record.ids(None, None)?;
    let mut locations = mail.locations.clone();
    if let (Some(own), Some(location)) = (&user.mail, locations.first_mut()) {
        location.clone_from(own);
    }
    let value = |name: &str| match name {
        "user" => Some(user.name.clone()),
        "home" => Some(user.home.clone().unwrap_or_default()),
        _ => None,
    };
    let locations = locations.iter().map(|location| expand_with(location, &value)).collect::<Result<Vec<_>, _>>();
    let locations = locations.map_err(|error| format!("Failed to expand mail_location: {error}"))?;
    Ok(Account { uid, gid, roots: roots(&mail.roots, user.home.as_deref(), &locations) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::Names;

    fn mail() -> Mail {
        Mail {
            uid: "5".into(),
            gid: "6".into(),
            home: "/home/vmail/%d/%n".into(),
            locations: vec!["maildir:~/Maildir".into(), "maildir:/public/%d".into()],
            roots: vec!["/home/vmail".into(), "/public".into()],
        }
    }

    fn record() -> UserRecord {
        UserRecord { user: "u@d".into(), ..UserRecord::default() }
    }

    #[test]
    fn settings_fill_in_what_the_userdb_leaves_out() {
        let names = Names::default();
        let found = user(record(), &mail(), &names).unwrap();
        assert_eq!((found.uid, found.gid, found.home.as_deref()), (Some(5), Some(6), Some("/home/vmail/d/u")));
        let expected = Account { uid: 5, gid: 6, roots: vec!["/home/vmail".into(), "/public".into()] };
        assert_eq!(account(&found, &mail()), Ok(expected));
        let own = UserRecord { uid: Some(7), home: Some("/srv/u".into()), mail: Some("sdbox:~/d".into()), ..record() };
        let found = user(own, &mail(), &names).unwrap();
        let expected = Account { uid: 7, gid: 6, roots: vec!["/public".into(), "/srv/u".into()] };
        assert_eq!(account(&found, &mail()), Ok(expected));
    }

    #[test]
    fn a_user_without_ids_has_no_account() {
        let nothing = Mail { uid: String::new(), gid: String::new(), ..mail() };
        let found = user(record(), &nothing, &Names::default()).unwrap();
        let error = "Couldn't drop privileges: User is missing UID (see mail_uid setting)";
        assert_eq!(account(&found, &nothing), Err(error.into()));
        let root = UserRecord { uid: Some(0), ..record() };
        assert!(user(root, &nothing, &Names::default()).unwrap_err().contains("0 as uid"));
    }

    #[test]
    fn a_name_that_is_not_known_yet_is_wanted() {
        let mut names = Names::default();
        let named = Mail { uid: "vmail".into(), ..mail() };
        assert!(user(record(), &named, &names).is_err());
        assert_eq!(names.take_wanted().len(), 1);
    }
}
