//! The section of `lmtp`, in types.

use std::sync::Arc;

use ipc_config::section::Section;
use proto_smtp::server::{Config, Dialect, Lmtp as Protocol};

/// Everything that this service is told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The settings of new sessions.
    pub session: Arc<Config>,
    /// `recipient_delimiter`: each of its characters separates a user's name from the detail.
    pub delimiters: String,
    /// `lmtp_save_to_detail_mailbox`
    pub detail_mailbox: bool,
    /// `lmtp_add_received_header`
    pub received_header: bool,
    /// `lmtp_hdr_delivery_address`
    pub delivered_to: DeliveredTo,
    /// `lmtp_verbose_replies`
    pub verbose_replies: bool,
}

/// What `Delivered-To` says, in a message for one recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveredTo {
    /// The recipient's address.
    Final,
    /// Nothing.
    Nobody,
    /// The address of `ORCPT`, if the client gave one.
    Original,
}

impl Settings {
    /// Reads the section; `tls` tells whether STARTTLS can be offered.
    pub fn read(section: &Section, tls: bool) -> Settings {
        let text = |name| section.mailbox.text(name).to_owned();
        let flag = |name| section.mailbox.boolean(name);
        let workarounds = text("lmtp_client_workarounds").to_ascii_lowercase();
        let workaround = |name| workarounds.split([' ', ',']).any(|word| word == name);
        let protocol = Protocol {
            greeting: text("login_greeting"),
            tls,
            smtputf8: true,
            whitespace_before_path: workaround("whitespace-before-path"),
            mailbox_for_path: workaround("mailbox-for-path"),
            ..Protocol::default()
        };
        Settings {
            session: Arc::new(Config { hostname: hostname(&text("hostname")), dialect: Dialect::Lmtp(protocol) }),
            delimiters: text("recipient_delimiter"),
            detail_mailbox: flag("lmtp_save_to_detail_mailbox"),
            received_header: flag("lmtp_add_received_header"),
            delivered_to: match section.mailbox.text("lmtp_hdr_delivery_address") {
                "none" => DeliveredTo::Nobody,
                "original" => DeliveredTo::Original,
                _ => DeliveredTo::Final,
            },
            verbose_replies: flag("lmtp_verbose_replies"),
        }
    }

    /// `hostname`, or the system's.
    pub fn hostname(&self) -> &str {
        &self.session.hostname
    }
}

fn hostname(configured: &str) -> String {
    let system = || nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    match configured {
        "" => system().unwrap_or_else(|| "localhost".into()),
        name => name.to_owned(),
    }
}

#[cfg(test)]
pub mod tests {
    use proto_smtp::server::{Action, Answer, Peer, Session};

    use super::*;

    /// Dovecot's defaults, with these changes.
    pub fn settings(changes: &[(&str, &str)]) -> Settings {
        let mut section = Section::default();
        for (name, value) in [
            ("hostname", "mx.example.org"),
            ("login_greeting", "Dovecot ready."),
            ("recipient_delimiter", "+"),
            ("lmtp_client_workarounds", ""),
            ("lmtp_save_to_detail_mailbox", "no"),
            ("lmtp_add_received_header", "yes"),
            ("lmtp_hdr_delivery_address", "final"),
            ("lmtp_verbose_replies", "no"),
        ]
        .iter()
        .chain(changes)
        {
            section.mailbox.insert(*name, *value);
        }
        Settings::read(&section, false)
    }

    /// What a session answers to `input`, everything being accepted.
    fn answers(changes: &[(&str, &str)], input: &str) -> String {
        let peer = Peer::new("local");
        let mut session = Session::new(settings(changes).session, peer);
        let (mut input, mut sent) = (input.as_bytes(), Vec::new());
        loop {
            input = &input[session.input(input)..];
            match session.poll() {
                Some(Action::Send(bytes)) => sent.extend(bytes),
                Some(Action::Ask(_)) => session.answer(Answer::Accept),
                Some(_) => {}
                None if input.is_empty() => return String::from_utf8(sent).unwrap(),
                None => {}
            }
        }
    }

    #[test]
    fn host_and_greeting_are_those_that_are_set() {
        assert!(answers(&[], "").starts_with("220 mx.example.org Dovecot ready.\r\n"));
        let other = answers(&[("hostname", "b.example"), ("login_greeting", "Hi.")], "LHLO x\r\n");
        assert!(other.starts_with("220 b.example Hi.\r\n250-b.example\r\n"), "{other}");
        let system = nix::unistd::gethostname().unwrap().into_string().unwrap();
        assert_eq!(settings(&[("hostname", "")]).hostname(), system);
    }

    #[test]
    fn workarounds_let_broken_paths_pass() {
        let dialogue =
            "LHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO: <c@d>\r\nRCPT TO:c@d\r\nRCPT TO: c@d ORCPT=rfc822;e@f\r\n";
        for (workarounds, expected) in [
            ("", ["501", "501", "501"]),
            ("whitespace-before-path", ["250", "501", "501"]),
            ("mailbox-for-path", ["501", "250", "501"]),
            ("Mailbox-For-Path, whitespace-before-path", ["250", "250", "250"]),
        ] {
            let answers = answers(&[("lmtp_client_workarounds", workarounds)], dialogue);
            let codes: Vec<&str> = answers.lines().map(|line| &line[..3]).collect();
            assert_eq!(codes[codes.len() - 3..], expected, "{workarounds}: {answers}");
        }
    }
}
