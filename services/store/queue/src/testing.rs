//! Messages for tests.

use ipc_messages::envelope::{BodyType, Client, Envelope, Notify, Origin, QueueId, Recipient, RewriteContext, Trace};

/// An envelope with this many recipients.
pub fn envelope(queue_id: QueueId, recipients: usize) -> Envelope {
    let recipient = |number| Recipient {
        address: format!("user{number}@example.net"),
        original: None,
        dsn_orcpt: None,
        notify: Notify::default(),
    };
    Envelope {
        queue_id,
        arrival: 1_700_000_000_000_000,
        sender: "sender@example.org".into(),
        recipients: (0..recipients).map(recipient).collect(),
        size: 100,
        origin: Origin::Network,
        client: Some(Client {
            name: "mail.example.org".into(),
            reverse_name: "mail.example.org".into(),
            address: None,
            port: None,
            helo: None,
            protocol: "ESMTP".into(),
        }),
        sasl: None,
        body: BodyType::SevenBit,
        smtputf8: false,
        dsn_envid: None,
        dsn_ret: None,
        trace: Trace::None,
        message_id: None,
        rewrite: RewriteContext::Remote,
        filter: None,
    }
}
