//! What the configuration says about sessions.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ipc_config::section::Section;
use proto_imap::session::Settings;

/// How long a session has been quiet when it is parked, unless `imap_hibernate_timeout` names a time: longer than the pause
/// between two commands of a client that is at work.
const PARK_AFTER: Duration = Duration::from_secs(2);

/// How long a session has to be quiet before it is parked.
pub fn park_after(section: &Section) -> Duration {
    match section.mailbox.number("imap_hibernate_timeout") {
        0 => PARK_AFTER,
        seconds => Duration::from_secs(seconds),
    }
}

/// The settings of a session that begins now.
pub fn session(section: &Section) -> Settings {
    let mailboxes = section.namespaces.iter().flat_map(|namespace| &namespace.mailboxes);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs() as i64);
    let system = nix::sys::utsname::uname().ok();
    let own = |name: &str| match name {
        "name" => Some("Dovecot".to_owned()),
        "version" => Some(env!("CARGO_PKG_VERSION").to_owned()),
        "os" => system.as_ref().map(|system| system.sysname().to_string_lossy().into_owned()),
        "os-version" => system.as_ref().map(|system| system.release().to_string_lossy().into_owned()),
        _ => None,
    };
    Settings {
        idle_notify_seconds: section.mailbox.number("imap_idle_notify_interval"),
        special_use: mailboxes.into_iter().any(|mailbox| !mailbox.special_use.is_empty()),
        utc_offset: ipc_jail::sys::local_time(now).offset as i32,
        id: id(section.mailbox.text("imap_id_send"), own),
        announced: section.mailbox.text("imap_capability").to_owned(),
    }
}

/// `imap_id_send`: names and values in turn, where `*` is our own value.
fn id(text: &str, own: impl Fn(&str) -> Option<String>) -> Vec<(String, String)> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let pairs = words.chunks_exact(2).filter_map(|pair| match pair[1] {
        "*" => Some((pair[0].to_owned(), own(pair[0])?)),
        value => Some((pair[0].to_owned(), value.to_owned())),
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_fields() {
        let own = |name: &str| (name == "name").then(|| "X".to_owned());
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(id("name *", own), [pair("name", "X")]);
        assert_eq!(id("name Y vendor * odd", own), [pair("name", "Y")]);
        assert_eq!(id("", own), []);
    }
}
