//! Mail plugins: which of them are built, and which names in `plugin { }` are theirs.

use super::Status;

/// A mail plugin.
#[derive(Debug)]
pub struct Plugin {
    /// Its name in `mail_plugins`.
    pub name: &'static str,
    /// What becomes of it.
    pub status: Status,
    /// What it does, in one line.
    pub doc: &'static str,
}

const fn later(name: &'static str, doc: &'static str) -> Plugin {
    Plugin { name, status: Status::NotYet { refuse: false }, doc }
}

const fn refused(name: &'static str, doc: &'static str) -> Plugin {
    Plugin { name, status: Status::NotYet { refuse: true }, doc }
}

/// The plugins of Dovecot 2.3 and Pigeonhole.
static PLUGINS: &[Plugin] = &[
    refused("acl", "Access rights of mailboxes."),
    refused("imap_acl", "Access rights over IMAP."),
    refused("sieve", "Filters at delivery decide where mail goes."),
    refused("imap_sieve", "Filters on what clients do."),
    refused("mail_crypt", "Mail is encrypted at rest."),
    refused("mail_crypt_acl", "Encrypted mail of shared mailboxes."),
    refused("virtual", "Mailboxes made of others."),
    refused("welcome", "A command for new users."),
    refused("lazy_expunge", "Removed mail is kept elsewhere."),
    refused("mail_filter", "Mail passes through a program."),
    later("quota", "Limits of storage."),
    later("imap_quota", "Limits of storage over IMAP."),
    later("quota_clone", "Usage is copied to a dict."),
    later("count", "Usage is counted."),
    later("mail_log", "What happens to mail is logged."),
    later("notify", "Events for other plugins."),
    later("notify_status", "Status is sent to a dict."),
    later("push_notification", "New mail is announced to other services."),
    later("zlib", "Mail is compressed."),
    later("imap_zlib", "Connections are compressed."),
    later("fts", "Full text search."),
    later("fts_solr", "Full text search by Solr."),
    later("fts_lucene", "Full text search by Lucene."),
    later("fts_squat", "Full text search by Squat."),
    later("fts_xapian", "Full text search by Xapian."),
    later("trash", "Trash is emptied when quota is full."),
    later("expire", "Old mail is removed."),
    later("listescape", "Separators in mailbox names."),
    later("last_login", "The last login is kept."),
    later("mail_lua", "Lua scripts."),
    later("mailbox_alias", "Mailboxes under two names."),
    later("replication", "Two servers hold the same mail."),
    later("charset_alias", "Names of character sets."),
    later("pop3_migration", "UIDLs of another server."),
    later("old_stats", "Old statistics."),
    later("imap_old_stats", "Old statistics over IMAP."),
    later("imap_filter_sieve", "FILTER=SIEVE."),
    later("apparmor", "AppArmor hats."),
];

/// Names in `plugin { }` by what they begin with, and the plugin that reads them.
static PREFIXES: &[(&str, &str)] = &[
    ("acl", "acl"),
    ("sieve", "sieve"),
    ("recipient_delimiter", "sieve"),
    ("imapsieve", "imap_sieve"),
    ("mail_crypt", "mail_crypt"),
    ("crypt", "mail_crypt"),
    ("quota", "quota"),
    ("mail_log", "mail_log"),
    ("push_notification", "push_notification"),
    ("zlib", "zlib"),
    ("fts", "fts"),
    ("trash", "trash"),
    ("expire", "expire"),
    ("lazy_expunge", "lazy_expunge"),
    ("last_login", "last_login"),
    ("mailbox_alias", "mailbox_alias"),
    ("mail_replica", "replication"),
    ("welcome", "welcome"),
    ("pop3_migration", "pop3_migration"),
    ("old_stats", "old_stats"),
    ("mail_filter", "mail_filter"),
    ("virtual", "virtual"),
    ("notify_status", "notify_status"),
    ("apparmor", "apparmor"),
];

/// The plugin of that name.
pub fn plugin(name: &str) -> Option<&'static Plugin> {
    PLUGINS.iter().find(|plugin| plugin.name == name)
}

/// The plugin that reads a setting in `plugin { }`, by the longest beginning that is known.
pub fn plugin_of_setting(name: &str) -> Option<&'static str> {
    PREFIXES
        .iter()
        .filter(|(prefix, _)| name.starts_with(prefix))
        .max_by_key(|(prefix, _)| prefix.len())
        .map(|(_, plugin)| *plugin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_prefix_belongs_to_a_known_plugin() {
        for (prefix, name) in PREFIXES {
            assert!(plugin(name).is_some(), "{prefix}");
        }
    }

    #[test]
    fn the_longest_prefix_decides() {
        assert_eq!(plugin_of_setting("sieve_dir"), Some("sieve"));
        assert_eq!(plugin_of_setting("imapsieve_url"), Some("imap_sieve"));
        assert_eq!(plugin_of_setting("mail_log_events"), Some("mail_log"));
        assert_eq!(plugin_of_setting("own_thing"), None);
    }
}
