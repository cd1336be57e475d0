//! What tests of this crate share.

use std::io;
use std::time::Duration;

use ipc_messages::bounce::{Original, Report};
use ipc_messages::delivery::{Outcome, Verdict};
use ipc_messages::queue_id::QueueId;

use crate::returned::Content;
use crate::settings::{Classes, Settings};

impl Content for Vec<u8> {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = self.get(offset as usize..).unwrap_or_default();
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }
}

pub const MESSAGE: &[u8] = b"From: x@example.com\nSubject: hello\n\nbody\n";

pub fn settings() -> Settings {
    Settings {
        my_hostname: "mail.example.jp".into(),
        my_origin: "example.jp".into(),
        mail_name: "Postfix".into(),
        size_limit: 50_000,
        double_bounce: "double-bounce".into(),
        classes: Classes::default(),
        bounce_postmaster: "root@example.com".into(),
        double_bounce_postmaster: "postmaster".into(),
        delay_postmaster: "postmaster".into(),
        delay_warning: Duration::from_secs(4 * 3600),
        lifetime: Duration::from_secs(5 * 86_400),
        utf8: true,
    }
}

pub fn original() -> Original {
    Original {
        queue_id: QueueId::short(0xAB, 0xCD),
        sender: "x@example.com".into(),
        arrived: 1_700_000_000_000_000,
        offset: 0,
        size: MESSAGE.len() as u64,
        eight_bit: false,
        smtputf8: false,
        dsn_envid: None,
        dsn_ret: 0,
    }
}

pub fn report(address: &str) -> Report {
    let reply = format!("550 5.1.1 <{address}> User doesn't exist: {address}");
    Report {
        address: address.into(),
        original: None,
        dsn_orcpt: None,
        dsn_notify: 0,
        outcome: Outcome {
            index: 0,
            verdict: Verdict::Bounced,
            dsn: "5.1.1".into(),
            relay: "mail.example.jp[private/dovecot-lmtp]".into(),
            text: format!("host mail.example.jp[private/dovecot-lmtp] said: {reply} (in reply to RCPT TO command)"),
            remote_reply: Some(reply),
            remote_mta: Some("mail.example.jp".into()),
        },
    }
}
