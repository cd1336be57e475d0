//! Maildir++ as Dovecot keeps it: names, lists and locks, compatible in both directions while both run.

pub mod dotlock;
pub mod folder;
pub mod keywords;
pub mod name;
pub mod uidlist;
pub mod uidvalidity;
