//! Who is to hear of what: the notifications that one request makes.
//!
//! A failed message is reported to its sender. A failed notification (null sender) is reported to the postmaster if
//! `notify_classes` asks for it, from the double-bounce address; what comes back to that address is dropped, so that no
//! mail goes round for ever.

use ipc_messages::bounce::{Kind, Original, Report};

use crate::settings::Settings;

/// NOTIFY of RFC 3461, as bits.
const SUCCESS: u8 = 2;
const FAILURE: u8 = 4;
const DELAY: u8 = 8;

/// One notification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// Envelope sender.
    pub sender: String,
    /// Its only recipient.
    pub recipient: String,
    /// To the postmaster, of somebody else's mail: other subject, no polite words.
    pub is_copy: bool,
    /// Return the header alone, whatever the size.
    pub headers_only: bool,
    /// Which recipients it reports: those that did not say, and those whose NOTIFY has one of these bits; `None` for all.
    pub notify: Option<u8>,
}

impl Letter {
    /// Whether it tells of this recipient.
    pub fn reports(&self, report: &Report) -> bool {
        self.notify.is_none_or(|bits| report.dsn_notify == 0 || report.dsn_notify & bits != 0)
    }

    /// As it is called in the log: `sender non-delivery notification`.
    pub fn name(&self, kind: Kind) -> String {
        let whom = if self.is_copy { "postmaster" } else { "sender" };
        let what = match kind {
            Kind::Failure => "non-delivery",
            Kind::Delay { .. } => "delay",
            Kind::Success => "delivery status",
        };
        format!("{whom} {what} notification")
    }
}

/// The notifications of a request; the first is the one that counts. None when nobody is to hear of it.
pub fn letters(settings: &Settings, kind: Kind, original: &Original, reports: &[Report]) -> Vec<Letter> {
    if original.sender.eq_ignore_ascii_case(&settings.double_bounce_address()) {
        return Vec::new();
    }
    let classes = settings.classes;
    let copy = |to: &str, headers_only| Letter {
        sender: settings.double_bounce_address(),
        recipient: if to.contains('@') { to.into() } else { format!("{to}@{}", settings.my_origin) },
        is_copy: true,
        headers_only,
        notify: None,
    };
    let mut letters = Vec::new();
    if original.sender.is_empty() {
        match kind {
            Kind::Failure if classes.double_bounce || classes.bounce => {
                letters.push(copy(&settings.double_bounce_postmaster, false));
            }
            Kind::Delay { .. } if classes.delay => letters.push(copy(&settings.delay_postmaster, false)),
            _ => {}
        }
    } else {
        let bits = match kind {
            Kind::Failure => FAILURE,
            Kind::Delay { .. } => DELAY,
            Kind::Success => SUCCESS,
        };
        letters.push(Letter {
            sender: String::new(),
            recipient: original.sender.clone(),
            is_copy: false,
            // RET is about failures (RFC 3461 section 4.3).
            headers_only: original.dsn_ret == 2 || kind != Kind::Failure,
            notify: Some(bits),
        });
        match kind {
            Kind::Failure if classes.bounce => letters.push(copy(&settings.bounce_postmaster, true)),
            Kind::Delay { .. } if classes.delay => letters.push(copy(&settings.delay_postmaster, true)),
            _ => {}
        }
    }
    letters.retain(|letter| reports.iter().any(|report| letter.reports(report)));
    letters
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Classes;
    use crate::testing::{original, report, settings};

    fn recipients(settings: &Settings, kind: Kind, sender: &str, notify: u8) -> Vec<String> {
        let original = Original { sender: sender.into(), ..original() };
        let report = Report { dsn_notify: notify, ..report("nobody@example.jp") };
        letters(settings, kind, &original, &[report]).into_iter().map(|letter| letter.recipient).collect()
    }

    #[test]
    fn who_hears_of_it() {
        let delay = Kind::Delay { retry_until: 0 };
        let quiet = settings();
        let all = Settings { classes: Classes { bounce: true, double_bounce: true, delay: true }, ..settings() };
        let table: [(&Settings, Kind, &str, u8, &[&str]); 13] = [
            (&quiet, Kind::Failure, "x@example.com", 0, &["x@example.com"]),
            (&quiet, Kind::Failure, "x@example.com", 4, &["x@example.com"]),
            (&quiet, Kind::Failure, "x@example.com", 1, &[]),
            (&quiet, Kind::Failure, "x@example.com", 2, &[]),
            (&quiet, delay, "x@example.com", 4, &[]),
            (&quiet, Kind::Success, "x@example.com", 2, &["x@example.com"]),
            (&quiet, Kind::Failure, "", 0, &[]),
            (&quiet, Kind::Failure, "double-bounce@mail.example.jp", 0, &[]),
            (&all, delay, "", 0, &["postmaster@example.jp"]),
            (&all, Kind::Failure, "", 1, &["postmaster@example.jp"]),
            (&all, Kind::Failure, "Double-Bounce@mail.example.jp", 0, &[]),
            (&all, Kind::Failure, "x@example.com", 0, &["x@example.com", "root@example.com"]),
            (&all, delay, "x@example.com", 0, &["x@example.com", "postmaster@example.jp"]),
        ];
        for (number, (settings, kind, sender, notify, expected)) in table.into_iter().enumerate() {
            assert_eq!(recipients(settings, kind, sender, notify), expected, "row {number}");
        }
    }

    #[test]
    fn what_is_returned() {
        let headers_only = |kind, ret| {
            letters(&settings(), kind, &Original { dsn_ret: ret, ..original() }, &[report("a@example.jp")])[0]
                .headers_only
        };
        assert_eq!([0, 1, 2].map(|ret| headers_only(Kind::Failure, ret)), [false, false, true]);
        assert_eq!([0, 1, 2].map(|ret| headers_only(Kind::Success, ret)), [true; 3]);
    }
}
