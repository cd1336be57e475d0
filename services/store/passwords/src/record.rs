//! What a userdb says of a user, in types: what it takes to act for that user.

use proto_sasl::dovecot::Fields;
use serde::{Deserialize, Serialize};

/// A user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserRecord {
    /// The name after all changes.
    pub user: String,
    /// The uid to act as.
    pub uid: Option<u32>,
    /// The gid to act as.
    pub gid: Option<u32>,
    /// The home directory; a relative one is not one.
    pub home: Option<String>,
    /// The mail location (`mail`).
    pub mail: Option<String>,
    /// The directory to enter before anything else (`chroot`).
    pub chroot: Option<String>,
    /// The account whose groups to take (`system_groups_user`).
    pub system_groups_user: Option<String>,
    /// All other fields, in order: settings of the mail process (`quota_rule`, …), each with its value.
    pub extra: Vec<(String, String)>,
}

impl UserRecord {
    /// Reads the reply of a userdb. Ids are numbers by then.
    ///
    /// # Errors
    /// An id that is none, in the words of Dovecot's clients.
    pub fn new(user: &str, fields: &Fields) -> Result<Self, String> {
        let mut record = Self { user: user.to_owned(), ..Self::default() };
        for (name, value) in fields.iter() {
            let value = value.unwrap_or_default();
            let text = || Some(value.to_owned()).filter(|value| !value.is_empty());
            match name {
                "uid" => record.uid = Some(value.parse().map_err(|_| "Invalid uid in reply".to_owned())?),
                // A list of gids has the primary one first.
                "gid" => {
                    let first = value.split(',').next().unwrap_or_default();
                    record.gid = Some(first.parse().map_err(|_| "Invalid gid in reply".to_owned())?);
                }
                "home" => record.home = text(),
                "mail" => record.mail = text(),
                "chroot" => record.chroot = text(),
                "system_groups_user" => record.system_groups_user = text(),
                _ => record.extra.push((name.to_owned(), value.to_owned())),
            }
        }
        Ok(record)
    }

    /// The ids to act with: the record's own, else `mail_uid` and `mail_gid`.
    ///
    /// # Errors
    /// Dovecot's words for the log of the mail process.
    pub fn ids(&self, mail_uid: Option<u32>, mail_gid: Option<u32>) -> Result<(u32, u32), String> {
        let missing = |kind: &str, setting: &str| {
            format!("Couldn't drop privileges: User is missing {kind} (see {setting} setting)")
        };
        let uid = self.uid.or(mail_uid).ok_or_else(|| missing("UID", "mail_uid"))?;
        let gid = self.gid.or(mail_gid).ok_or_else(|| missing("GID", "mail_gid"))?;
        Ok((uid, gid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(list: &[(&str, &str)]) -> Fields {
        list.iter().map(|(name, value)| (*name, Some(*value))).collect()
    }

    #[test]
    fn reads_a_reply() {
        let record = UserRecord::new(
            "u@d",
            &fields(&[
                ("uid", "5"),
                ("gid", "6,7"),
                ("home", "/h"),
                ("mail", "maildir:~"),
                ("chroot", ""),
                ("quota_rule", "*:storage=1G"),
            ]),
        );
        let expected = UserRecord {
            user: "u@d".into(),
            uid: Some(5),
            gid: Some(6),
            home: Some("/h".into()),
            mail: Some("maildir:~".into()),
            extra: vec![("quota_rule".into(), "*:storage=1G".into())],
            ..UserRecord::default()
        };
        assert_eq!(record, Ok(expected));
        assert_eq!(UserRecord::new("u", &fields(&[("uid", "vmail")])), Err("Invalid uid in reply".into()));
        assert_eq!(UserRecord::new("u", &fields(&[("gid", "-1")])), Err("Invalid gid in reply".into()));
    }

    /// Tutorial 003, before `mail_uid` is set.
    #[test]
    fn ids_come_from_the_settings_if_the_userdb_has_none() {
        let record = UserRecord::new("u", &Fields::default()).unwrap();
        let error = record.ids(None, Some(6)).unwrap_err();
        assert_eq!(error, "Couldn't drop privileges: User is missing UID (see mail_uid setting)");
        assert!(record.ids(Some(5), None).unwrap_err().contains("GID (see mail_gid"));
        assert_eq!(record.ids(Some(5), Some(6)), Ok((5, 6)));
        let own = UserRecord { uid: Some(7), gid: Some(8), ..record };
        assert_eq!(own.ids(Some(5), Some(6)), Ok((7, 8)));
    }
}
