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
        max_command: usize::try_from(section.mailbox.number("imap_max_line_length")).unwrap_or(usize::MAX),
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
    use std::sync::Arc;

    use proto_imap::session::{Now, Session};
    use store_mailbox::fs::model::ModelFs;
    use store_mailbox::location::Format;

    use super::*;
    use crate::dialogue::{files, say};

    const START: Now = Now { unix: 1_795_200_000, monotonic_ms: 0 };

    /// What a session with this value of a parameter answers to `input`, and what it says by itself so many seconds later.
    fn answer(name: &str, value: &str, input: &str, seconds: u64) -> String {
        let mut section = Section::default();
        for (name, value) in [
            ("imap_idle_notify_interval", "120"),
            ("imap_id_send", "name *"),
            ("imap_capability", ""),
            ("imap_max_line_length", "65536"),
        ] {
            section.mailbox.insert(name, value);
        }
        section.mailbox.insert(name, value);
        let fs = ModelFs::new();
        let files = files(Arc::new(fs.clone()), fs.root(), Format::Maildir);
        let mut session = Session::new(super::session(&section), files, b"a", START);
        let mut said = say(&mut session, input.as_bytes());
        session.tick(Now { monotonic_ms: seconds * 1000, ..START });
        said.extend_from_slice(session.output());
        String::from_utf8(said).unwrap()
    }

    #[test]
    fn reminders_of_idling_clients() {
        let idle = |interval: &str, seconds| answer("imap_idle_notify_interval", interval, "b IDLE\r\n", seconds);
        for (interval, seconds, expected) in
            [("120", 121, true), ("120", 119, false), ("30", 31, true), ("0", 5000, false)]
        {
            assert_eq!(idle(interval, seconds).ends_with("* OK Still here\r\n"), expected, "{interval} {seconds}");
        }
    }

    #[test]
    fn fields_of_id() {
        assert!(answer("imap_id_send", "name *", "b ID NIL\r\n", 0).contains("* ID (\"name\" \"Dovecot\")\r\n"));
        assert!(
            answer("imap_id_send", "name X os Y", "b ID NIL\r\n", 0).contains("* ID (\"name\" \"X\" \"os\" \"Y\")")
        );
    }

    #[test]
    fn announced_capabilities() {
        let announced = |value: &str| answer("imap_capability", value, "b CAPABILITY\r\n", 0);
        assert!(announced("+XMORE").contains("* CAPABILITY IMAP4rev1 SASL-IR "));
        assert!(announced("+XMORE").contains(" XMORE\r\n"));
        assert!(announced("IMAP4rev1 XONLY").contains("* CAPABILITY IMAP4rev1 XONLY\r\n"));
    }

    #[test]
    fn the_longest_command() {
        let long = format!("b LIST \"\" {}\r\n", "x".repeat(100));
        assert!(answer("imap_max_line_length", "65536", &long, 0).contains("b OK List completed"));
        assert!(
            answer("imap_max_line_length", "80", &long, 0)
                .contains("b BAD Error in IMAP command LIST: Too long argument")
        );
    }

    #[test]
    fn when_quiet_sessions_are_parked() {
        let mut section = Section::default();
        section.mailbox.insert("imap_hibernate_timeout", "0");
        assert_eq!(park_after(&section), PARK_AFTER);
        section.mailbox.insert("imap_hibernate_timeout", "30");
        assert_eq!(park_after(&section), Duration::from_secs(30));
    }

    #[test]
    fn id_fields() {
        let own = |name: &str| (name == "name").then(|| "X".to_owned());
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(id("name *", own), [pair("name", "X")]);
        assert_eq!(id("name Y vendor * odd", own), [pair("name", "Y")]);
        assert_eq!(id("", own), []);
    }
}
