//! Each parameter changes what becomes of a message.

use std::sync::Arc;

use ipc_config::diagnostic::Diagnostics;
use ipc_config::postfix::main_cf::MainCf;
use ipc_config::postfix::system::ThisHost;
use ipc_messages::envelope::{BodyType, Envelope, Recipient, RewriteContext};
use ipc_messages::intake::{FromCleanup, ToCleanup};
use ipc_messages::lookup::{FromLookup, ToLookup};
use ipc_messages::queue::ToQmgr;
use store_queue::testing::envelope;

use super::*;
use crate::core::testing::{Bench, id};

/// The section that the master makes of this text.
pub fn section(main_cf: &str) -> Section {
    let mut found = Diagnostics::new();
    let text = format!("compatibility_level = 3.6\nmyhostname = mail.example.org\n{main_cf}\n");
    let main = MainCf::parse(&text, "main.cf", Arc::new(ThisHost), &mut found);
    Section::of_main_cf(&main, "cleanup", &mut found)
}

fn bench(main_cf: &str) -> Bench {
    let mut bench = Bench::new();
    bench.core.reload(Settings::of(&section(main_cf)));
    bench.core.qmgr_up();
    bench.settle();
    bench
}

/// What `qmgr` gets of a message with this content; or the refusal.
fn pass(main_cf: &str, content: &str) -> Result<(Envelope, String), String> {
    pass_from(RewriteContext::Remote, main_cf, content)
}

fn pass_from(rewrite: RewriteContext, main_cf: &str, content: &str) -> Result<(Envelope, String), String> {
    let mut bench = bench(main_cf);
    bench.begin_with(1, Envelope { rewrite, ..envelope(id(70_001), 0) });
    bench.say(ToCleanup::Body { id: 1, bytes: content.as_bytes().to_vec() });
    bench.end(1);
    let envelope = told(&bench).ok_or_else(|| bench.refused().concat())?;
    Ok((envelope, bench.contents.concat()))
}

/// The message that `qmgr` has been told of.
fn told(bench: &Bench) -> Option<Envelope> {
    bench.qmgr.iter().find_map(|message| match message {
        ToQmgr::New { envelope, .. } => Envelope::decode(envelope).ok(),
        _ => None,
    })
}

fn content(main_cf: &str, content: &str) -> String {
    pass(main_cf, content).unwrap().1
}

/// The recipients that `qmgr` gets, when `a@example.net` stands for `aliases`; each with its original.
fn recipients(main_cf: &str, aliases: &[&str]) -> Vec<(String, Option<String>)> {
    let mut bench = bench(main_cf);
    bench.begin(1);
    bench.settle();
    let ToLookup::Expand { corr, .. } = bench.asked.remove(0) else { panic!("no question") };
    let recipients = Ok(aliases.iter().map(|address| address.to_string()).collect());
    bench.core.answer(FromLookup::Expanded { corr, recipients, more: false });
    bench.end(1);
    let all = told(&bench).unwrap().recipients.into_iter();
    all.map(|Recipient { address, original, .. }| (address, original)).collect()
}

#[test]
fn always_add_missing_headers() {
    assert_eq!(content("", "Subject: x\n\nbody\n"), "Subject: x\n\nbody\n");
    let added = content("always_add_missing_headers = yes", "Subject: x\n\nbody\n");
    assert_eq!(
        added,
        "Subject: x\nMessage-Id: <stamp.0000111171@mail.example.org>\nDate: date\nFrom: sender@example.org\n\nbody\n"
    );
}

#[test]
fn enable_long_queue_ids() {
    for (value, expected, prefix) in [("no", false, "stamp."), ("yes", true, "")] {
        let main_cf = format!("enable_long_queue_ids = {value}\nalways_add_missing_headers = yes");
        let added = content(&main_cf, "\n");
        assert!(added.starts_with(&format!("Message-Id: <{prefix}0000111171@")), "{added}");
        let told = bench(&main_cf).told;
        assert!(matches!(told[..], [(_, FromCleanup::Ids { long, .. })] if long == expected), "{told:?}");
    }
}

#[test]
fn undisclosed_recipients_header() {
    let main_cf = "undisclosed_recipients_header = To: undisclosed-recipients:;";
    let local = |main_cf| pass_from(RewriteContext::Local, main_cf, "Subject: x\n\n").unwrap().1;
    assert!(!local("").contains("To:"));
    assert!(local(main_cf).contains("\nTo: undisclosed-recipients:;\n\n"));
}

#[test]
fn message_drop_headers() {
    let message = "Bcc: x\nX-Secret: y\n\n";
    assert_eq!(content("", message), "X-Secret: y\n\n");
    assert_eq!(content("message_drop_headers = x-SECRET, x-other", message), "Bcc: x\n\n");
}

#[test]
fn header_size_limit() {
    let message = format!("Subject: {}\n\n", "x".repeat(100));
    assert_eq!(content("", &message), message);
    assert_eq!(content("header_size_limit = 20", &message), "Subject: xxxxxxxxxxx\n\n");
}

#[test]
fn hopcount_limit() {
    let message = "Received: a\n".repeat(4);
    assert!(pass("hopcount_limit = 5", &message).is_ok());
    assert_eq!(pass("hopcount_limit = 4", &message).unwrap_err(), "554 5.4.0 Error: too many hops");
    assert!(pass("", &"Received: a\n".repeat(49)).is_ok());
    assert!(pass("", &"Received: a\n".repeat(50)).is_err());
}

#[test]
fn message_size_limit() {
    let message = format!("\n{}\n", "x".repeat(98));
    assert!(pass("message_size_limit = 100", &message).is_ok());
    assert_eq!(pass("message_size_limit = 99", &message).unwrap_err(), "552 5.3.4 Message file too big");
}

#[test]
fn detect_8bit_encoding_header() {
    let body = |main_cf| pass(main_cf, "Content-Transfer-Encoding: 8bit\n\n").unwrap().0.body;
    assert_eq!(body(""), BodyType::EightBitMime);
    assert_eq!(body("detect_8bit_encoding_header = no"), BodyType::SevenBit);
}

#[test]
fn cleanup_replace_stray_cr_lf() {
    let message = "Subject: a\rb\n\n.\r\r\nx\ry\n";
    assert_eq!(content("", message), "Subject: a b\n\n.  \nx y\n");
    assert_eq!(content("cleanup_replace_stray_cr_lf = no", message), message);
}

#[test]
fn message_strip_characters() {
    let message = "Subject: a\0b\n\n\\c\u{7}d\n";
    assert_eq!(content("", message), message);
    assert_eq!(content("message_strip_characters = \\0", message), "Subject: ab\n\n\\c\u{7}d\n");
    assert_eq!(content("message_strip_characters = \\007\\\\\\n", message), "Subject: a\0b\n\ncd\n");
    assert_eq!(unescape(r"\a\b\f\n\r\t\v\\\x\1011\8\"), *b"\x07\x08\x0c\n\r\t\x0b\\xA18\\");
}

#[test]
fn duplicate_filter_limit() {
    let twice = ["b@example.net", "c@example.net", "c@example.net"];
    let count = |main_cf| recipients(main_cf, &twice).len();
    assert_eq!((count(""), count("duplicate_filter_limit = 1")), (2, 3));
}

#[test]
fn enable_original_recipient() {
    let (b, a) = ("b@example.net".to_string(), Some("a@example.net".to_string()));
    assert_eq!(recipients("", &["b@example.net"]), [(b.clone(), a)]);
    assert_eq!(recipients("enable_original_recipient = no", &["b@example.net"]), [(b, None)]);
}

#[test]
fn queue_minfree() {
    let free = 40_000_000;
    let refused = |main_cf| {
        let mut bench = bench(main_cf);
        bench.fs.leave_free(free);
        bench.message(1, 10);
        bench.refused().concat()
    };
    assert_eq!(refused(""), "");
    assert_eq!(refused("queue_minfree = 50000000"), "452 4.3.1 Insufficient system storage");
}
