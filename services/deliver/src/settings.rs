//! The section of `deliver`, in types.

use ipc_config::section::Section;
use store_mailbox::location::Fsync;

/// How mail is filed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// `mail_fsync`
    pub fsync: Fsync,
    /// `lda_mailbox_autocreate`
    pub autocreate: bool,
    /// `lda_mailbox_autosubscribe`
    pub autosubscribe: bool,
    /// `deliver_log_format`
    pub log_format: String,
    /// `lmtp_user_concurrency_limit`
    pub concurrency: Option<usize>,
}

impl Settings {
    /// Reads the section.
    pub fn read(section: &Section) -> Settings {
        let limit = section.mailbox.number("lmtp_user_concurrency_limit");
        Settings {
            fsync: mail_user::fsync(section),
            autocreate: section.mailbox.boolean("lda_mailbox_autocreate"),
            autosubscribe: section.mailbox.boolean("lda_mailbox_autosubscribe"),
            log_format: section.mailbox.text("deliver_log_format").to_owned(),
            concurrency: usize::try_from(limit).ok().filter(|&limit| limit > 0),
        }
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Dovecot's defaults, with these changes.
    pub fn settings(changes: &[(&str, &str)]) -> Settings {
        let mut section = Section::default();
        for (name, value) in [
            ("mail_fsync", "optimized"),
            ("lda_mailbox_autocreate", "no"),
            ("lda_mailbox_autosubscribe", "no"),
            ("deliver_log_format", "msgid=%m: %$"),
            ("lmtp_user_concurrency_limit", "0"),
        ]
        .iter()
        .chain(changes)
        {
            section.mailbox.insert(*name, *value);
        }
        Settings::read(&section)
    }
}
