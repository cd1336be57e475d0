//! Dovecot's single-dbox: a file for each message, named by its UID. Flags and UIDs are kept in Posthorn's index, which is
//! their truth; the files alone are enough to get the mail back, as they are for Dovecot (`doveadm force-resync`).

pub mod folder;
pub mod format;
