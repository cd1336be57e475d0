//! Each parameter changes the notifications of a message.

use std::sync::Arc;

use ipc_config::diagnostic::Diagnostics;
use ipc_config::postfix::main_cf::MainCf;
use ipc_config::postfix::system::ThisHost;
use ipc_messages::bounce::{Kind, Original};
use ipc_messages::intake::{FromCleanup, ToCleanup};
use ipc_messages::queue_id::Ids;

use super::*;
use crate::requests::{Order, Requests};
use crate::testing::{MESSAGE, original, report};

const DELAY: Kind = Kind::Delay { retry_until: 1_700_432_000_000_000 };

fn settings(main_cf: &str) -> Settings {
    let mut found = Diagnostics::new();
    let text = format!("myhostname = mail.example.jp\nmyorigin = example.jp\n{main_cf}\n");
    let main = MainCf::parse(&text, "main.cf", Arc::new(ThisHost), &mut found);
    Settings::new(&Section::of_main_cf(&main, "bounce", &mut found))
}

/// The notifications that `cleanup` gets for a message of this sender: sender, recipient, text.
fn notifications(main_cf: &str, kind: Kind, sender: &str) -> Vec<(String, String, String)> {
    let mut requests = Requests::new(settings(main_cf));
    requests.cleanup_up();
    requests.cleanup_said(FromCleanup::Ids { ids: Ids { from: 1, to: 100 }, long: false }, 0);
    let original = Original { sender: sender.into(), ..original() };
    requests.begin((), 1, kind, original, MESSAGE.to_vec());
    let reports = vec![report("nobody@example.jp")];
    requests.asked((), ipc_messages::bounce::ToBounce::Recipients { id: 1, reports }, 0);
    requests.asked((), ipc_messages::bounce::ToBounce::Commit { id: 1 }, 0);
    let mut letters: Vec<(String, String, String)> = Vec::new();
    while let Some(order) = requests.poll() {
        match order {
            Order::Intake(ToCleanup::Begin { envelope, .. }) => {
                letters.push((envelope.sender, String::new(), String::new()));
            }
            Order::Intake(ToCleanup::Recipient { recipient, .. }) => {
                letters.last_mut().unwrap().1 = recipient.address;
            }
            Order::Intake(ToCleanup::Body { bytes, .. }) => {
                letters.last_mut().unwrap().2.push_str(std::str::from_utf8(&bytes).unwrap());
            }
            Order::Intake(ToCleanup::Commit { id }) => requests.cleanup_said(FromCleanup::Queued { id }, 0),
            _ => {}
        }
    }
    letters
}

fn recipients(main_cf: &str, kind: Kind, sender: &str) -> Vec<String> {
    notifications(main_cf, kind, sender).into_iter().map(|(_, recipient, _)| recipient).collect()
}

fn text(main_cf: &str, kind: Kind) -> String {
    notifications(main_cf, kind, "x@example.com").remove(0).2
}

/// Who hears of what, and which parameter says where.
#[test]
fn notice_recipients() {
    let all = "notify_classes = bounce, 2bounce, delay";
    for (kind, sender, to_sender, class, parameter) in [
        (Kind::Failure, "x@example.com", true, "bounce", "bounce_notice_recipient"),
        (Kind::Failure, "", false, "2bounce", "2bounce_notice_recipient"),
        (DELAY, "x@example.com", true, "delay", "delay_notice_recipient"),
    ] {
        let expected = |postmaster: Option<&str>| {
            to_sender.then_some(sender).into_iter().chain(postmaster).map(String::from).collect::<Vec<_>>()
        };
        let told = |main_cf: &str| recipients(main_cf, kind, sender);
        assert_eq!(told(""), expected(None), "{class}");
        assert_eq!(told(all), expected(Some("postmaster@example.jp")), "{class}");
        assert_eq!(told(&format!("notify_classes = {class}")), told(all));
        assert_eq!(told(&format!("{all}\n{parameter} = root@example.net")), expected(Some("root@example.net")));
        assert_eq!(told(&format!("{all}\n{parameter} = root")), expected(Some("root@example.jp")));
    }
}

#[test]
fn double_bounce_sender() {
    let copy = |main_cf: &str| notifications(&format!("notify_classes = 2bounce\n{main_cf}"), Kind::Failure, "");
    assert_eq!(copy("")[0].0, "double-bounce@mail.example.jp");
    assert_eq!(copy("double_bounce_sender = nobody")[0].0, "nobody@mail.example.jp");
    let back = |main_cf: &str| recipients(main_cf, Kind::Failure, "nobody@mail.example.jp");
    assert_eq!((back("").len(), back("double_bounce_sender = nobody").len()), (1, 0));
}

#[test]
fn bounce_size_limit() {
    let whole = |main_cf: &str| text(main_cf, Kind::Failure).contains("\nbody\n");
    let size = MESSAGE.len();
    assert!(whole("") && whole(&format!("bounce_size_limit = {size}")));
    assert!(!whole(&format!("bounce_size_limit = {}", size - 1)));
}

#[test]
fn times_in_the_text_of_a_warning() {
    let said = |main_cf: &str, expected: &str| text(main_cf, DELAY).contains(expected);
    assert!(said("delay_warning_time = 2h", "could not be delivered for more than 2 hour(s)."));
    assert!(said("", "until it is 5 day(s) old.") && said("maximal_queue_lifetime = 3d", "until it is 3 day(s) old."));
}

#[test]
fn names_in_the_text() {
    assert!(text("", Kind::Failure).contains("Received: by mail.example.jp (Postfix)\n"));
    assert!(text("mail_name = Mailer", Kind::Failure).contains("Received: by mail.example.jp (Mailer)\n"));
    assert!(text("", Kind::Failure).contains("Reporting-MTA: dns; mail.example.jp\n"));
    assert!(text("myhostname = b.example", Kind::Failure).contains("Reporting-MTA: dns; b.example\n"));
    assert!(
        text("myorigin = o.example", Kind::Failure).contains("From: Mail Delivery System <MAILER-DAEMON@o.example>\n")
    );
    assert!(text("smtputf8_enable = yes", Kind::Failure).contains("charset=utf-8\n"));
    assert!(text("smtputf8_enable = no", Kind::Failure).contains("charset=us-ascii\n"));
}
