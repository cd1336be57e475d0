//! Jobs into a real folder: where the mail is afterwards, and what the log and the client are told.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use super::*;
use crate::settings::tests::settings;

const MESSAGE: &str = "Subject: x\nMessage-ID: <1@x>\n\nhello\n";

/// A user's Maildir and a desk over it.
struct Office {
    root: tempfile::TempDir,
    fs: Arc<RealFs>,
    desk: Desk,
}

impl Office {
    fn new(changes: &[(&str, &str)]) -> Office {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().to_str().unwrap().as_bytes().to_vec();
        let fs = RealFs::new(vec![(path, File::open(root.path()).unwrap().into())], b"host").unwrap();
        let fs = Arc::new(fs);
        let desk = Desk::new(fs.clone(), settings(changes));
        Office { root, fs, desk }
    }

    fn job(&self, mailbox: Option<&str>) -> Job {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(MESSAGE.as_bytes()).unwrap();
        let (location, path) = self.fs.locate(self.root.path().to_str().unwrap().as_bytes()).unwrap();
        let message = Message {
            file,
            size: MESSAGE.len() as u64,
            sender: "a@b".into(),
            prefix: b"Return-Path: <a@b>\n".to_vec(),
            queued: false,
            arrived: Instant::now(),
            session: Duration::ZERO,
        };
        Job {
            peer: PeerId::for_tests(1),
            corr: 1,
            position: 0,
            tag: "lmtp(u)".into(),
            address: "u@x.org".into(),
            location: Location { format: store_mailbox::location::Format::Maildir, root: location, path },
            root: self.root.path().to_str().unwrap().into(),
            mailbox: mailbox.map(str::to_owned),
            separator: '.',
            message: Arc::new(message),
            place: Place::default(),
        }
    }

    /// Files mail for this mailbox; the answer and the log.
    fn file(&self, mailbox: Option<&str>) -> (Filed, Vec<Line>) {
        let written = self.desk.write(vec![self.job(mailbox)]).pop().unwrap();
        (written.result, written.lines)
    }

    /// The messages in a folder of the Maildir.
    fn mails(&self, folder: &str) -> Vec<String> {
        let read = |path: &Path| fs::read_to_string(path).unwrap();
        let new = fs::read_dir(self.root.path().join(folder).join("new"));
        new.map_or(Vec::new(), |new| new.map(|entry| read(&entry.unwrap().path())).collect())
    }

    fn subscriptions(&self) -> String {
        fs::read_to_string(self.root.path().join("subscriptions")).unwrap_or_default()
    }
}

fn report(text: &str) -> Line {
    Line::Report(format!("msgid=<1@x>: {text}"))
}

#[test]
fn mail_is_in_the_inbox_with_its_prefix() {
    let office = Office::new(&[]);
    assert_eq!(office.file(None), (Filed::Saved, vec![report("saved mail to INBOX")]));
    assert_eq!(office.mails(""), [format!("Return-Path: <a@b>\n{MESSAGE}")]);
}

#[test]
fn a_named_mailbox_is_made_only_where_that_is_wanted() {
    let office = Office::new(&[]);
    let missing = report("save failed to open mailbox work: Mailbox doesn't exist: work");
    assert_eq!(office.file(Some("work")), (Filed::Saved, vec![missing, report("saved mail to INBOX")]));
    assert_eq!((office.mails("").len(), office.mails(".work").len()), (1, 0));

    let office = Office::new(&[("lda_mailbox_autocreate", "yes")]);
    for _ in 0..2 {
        assert_eq!(office.file(Some("work")), (Filed::Saved, vec![report("saved mail to work")]));
    }
    assert_eq!((office.mails("").len(), office.mails(".work").len()), (0, 2));
    assert_eq!(office.subscriptions(), "");
}

#[test]
fn a_mailbox_made_by_a_delivery_is_subscribed_to_once_and_where_that_is_wanted() {
    let office = Office::new(&[("lda_mailbox_autocreate", "yes"), ("lda_mailbox_autosubscribe", "yes")]);
    office.file(Some("a.b"));
    assert_eq!(office.subscriptions(), "V\t2\n\na\tb\n");
    fs::remove_file(office.root.path().join("subscriptions")).unwrap();
    office.file(Some("a.b"));
    assert_eq!((office.subscriptions().as_str(), office.mails(".a.b").len()), ("", 2));
}

#[test]
fn an_impossible_name_ends_in_the_inbox() {
    let office = Office::new(&[("lda_mailbox_autocreate", "yes")]);
    for name in ["a/b", "..", "a..b", "x\ny", &"n".repeat(300)] {
        let (result, lines) = office.file(Some(name));
        assert_eq!((result, lines.last()), (Filed::Saved, Some(&report("saved mail to INBOX"))), "{name:?}");
        assert!(matches!(&lines[0], Line::Report(text) if text.contains("save failed to open mailbox")), "{lines:?}");
    }
    assert_eq!(office.mails("").len(), 5);
}

#[test]
fn what_fails_for_the_moment_is_told_and_leaves_nothing() {
    let office = Office::new(&[]);
    fs::write(office.root.path().join("new"), "in the way").unwrap();
    let (result, lines) = office.file(None);
    assert!(
        matches!(result, Filed::Temporary(text) if text.starts_with("4.2.0 Internal error occurred. Refer to server log"))
    );
    assert!(
        matches!(&lines[..], [Line::Error(error), Line::Report(report)]
        if error.starts_with("Mailbox INBOX: ") && report.starts_with("msgid=<1@x>: save failed to INBOX: ")),
        "{lines:?}"
    );
}

#[test]
fn a_format_that_cannot_be_expanded_is_told_and_the_outcome_with_it() {
    let office = Office::new(&[("deliver_log_format", "%{nothing}")]);
    let problem = "Failed to expand deliver_log_format=%{nothing}: Unknown variable '%nothing'";
    let lines = vec![Line::Error(problem.into()), Line::Report("saved mail to INBOX".into())];
    assert_eq!(office.file(None), (Filed::Saved, lines));
}

#[test]
fn a_new_desk_has_its_own_settings_on_threads_that_served_another() {
    let office = Office::new(&[]);
    office.file(None);
    let before = DELIVERERS.with_borrow(|(number, _)| *number);
    let desk = Desk::new(office.fs.clone(), settings(&[("mail_fsync", "never")]));
    desk.write(vec![office.job(None)]);
    assert_ne!(DELIVERERS.with_borrow(|(number, _)| *number), before);
}

#[test]
fn a_full_disk_is_a_matter_of_time() {
    let full = || std::io::Error::from(std::io::ErrorKind::StorageFull);
    let error = Error::Io { step: "write", object: "x".into(), source: Arc::new(full()) };
    assert_eq!(refusal(&error), Filed::Temporary("4.2.2 Not enough disk space".into()));
}
