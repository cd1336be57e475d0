//! The header fields that stand before a message from now on: where it came from, for whom, by whose hands. They are
//! Dovecot's, to the letter.

use std::net::SocketAddr;

use crate::recipient::Recipient;
use crate::settings::{DeliveredTo, Settings};

/// What is said of one message.
#[derive(Debug, Clone, Copy)]
pub struct Trace<'a> {
    /// `MAIL FROM`.
    pub sender: &'a str,
    /// What the client called itself.
    pub helo: &'a str,
    /// Where it is, if it came over the network.
    pub remote: Option<SocketAddr>,
    /// `LMTP`, `LMTPS`, `UTF8LMTP`, …
    pub protocol: &'a str,
    /// The session's name.
    pub session: &'a str,
    /// All recipients of the message.
    pub recipients: &'a [Recipient],
    /// Today, as RFC 5322 writes it.
    pub date: &'a str,
}

impl Trace<'_> {
    /// The fields, with LF line ends. A message for several recipients names none of them: they all get these.
    pub fn fields(&self, settings: &Settings) -> String {
        let mut fields = format!("Return-Path: <{}>\n", self.sender);
        let recipient = match (settings.delivered_to, self.recipients) {
            (DeliveredTo::Final, [only]) => Some(&only.address),
            (DeliveredTo::Original, [only]) => only.original.as_ref(),
            _ => None,
        };
        if let Some(recipient) = recipient {
            fields += &format!("Delivered-To: {recipient}\n");
        }
        if settings.received_header {
            fields += &self.received(settings.hostname(), recipient);
        }
        fields
    }

    fn received(&self, hostname: &str, recipient: Option<&String>) -> String {
        let Trace { sender, helo, protocol, session, date, .. } = self;
        let address = self.remote.map_or_else(String::new, |remote| format!(" ([{}])", remote.ip()));
        let recipient = recipient.map_or_else(String::new, |recipient| format!("\n\tfor <{recipient}>"));
        format!(
            "Received: from {helo}{address}\n\tby {hostname} with {protocol}\n\tid {session}\n\
             \t(envelope-from <{sender}>){recipient}; {date}\n"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::tests::settings;

    fn recipient(address: &str, original: Option<&str>) -> Recipient {
        Recipient {
            address: address.into(),
            original: original.map(str::to_owned),
            user: address.into(),
            mailbox: None,
            session: "S".into(),
            template: 1,
        }
    }

    fn fields(changes: &[(&str, &str)], recipients: &[Recipient]) -> String {
        let trace = Trace {
            sender: "ann@x.org",
            helo: "client",
            remote: Some(([192, 0, 2, 1], 1024).into()),
            protocol: "LMTP",
            session: "S",
            recipients,
            date: "Sat, 21 Nov 2026 02:22:16 +0000",
        };
        trace.fields(&settings(changes))
    }

    /// `Return-Path` and `Received` for nobody in particular, as Dovecot 2.3.19 wrote them.
    const FOR_ALL: &str = "Return-Path: <ann@x.org>\nReceived: from client ([192.0.2.1])\n\tby mx.example.org with LMTP\n\
        \tid S\n\t(envelope-from <ann@x.org>); Sat, 21 Nov 2026 02:22:16 +0000\n";

    #[test]
    fn one_recipient_is_named_and_several_are_not() {
        let named = "Return-Path: <ann@x.org>\nDelivered-To: bob@x.org\nReceived: from client ([192.0.2.1])\n\
            \tby mx.example.org with LMTP\n\tid S\n\t(envelope-from <ann@x.org>)\n\tfor <bob@x.org>; \
            Sat, 21 Nov 2026 02:22:16 +0000\n";
        assert_eq!(fields(&[], &[recipient("bob@x.org", None)]), named);
        assert_eq!(fields(&[], &[recipient("bob@x.org", None), recipient("eve@x.org", None)]), FOR_ALL);
    }

    #[test]
    fn the_setting_says_which_address_is_named() {
        let name = "lmtp_hdr_delivery_address";
        let original = [recipient("bob@x.org", Some("old@x.org"))];
        assert_eq!(fields(&[(name, "none")], &original), FOR_ALL);
        let with_original = fields(&[(name, "original")], &original);
        assert!(with_original.contains("\nDelivered-To: old@x.org\n"), "{with_original}");
        assert!(with_original.contains("\n\tfor <old@x.org>; "), "{with_original}");
        assert_eq!(fields(&[(name, "original")], &[recipient("bob@x.org", None)]), FOR_ALL);
        assert!(fields(&[(name, "final")], &original).contains("\nDelivered-To: bob@x.org\n"));
    }

    #[test]
    fn received_is_left_out_where_it_is_not_wanted() {
        let without = fields(&[("lmtp_add_received_header", "no")], &[recipient("bob@x.org", None)]);
        assert_eq!(without, "Return-Path: <ann@x.org>\nDelivered-To: bob@x.org\n");
    }
}
