//! CREATE, DELETE, RENAME and SUBSCRIBE, and what a crash leaves of them.

mod common;

use common::{addition, contents, environment, location, name, open, update};
use store_mailbox::{
    Kind, Result,
    fs::{
        Fs,
        model::{Keep, ModelFs},
    },
    list::Mailboxes,
    location::Format,
    mailbox::{Access, UpdateMode},
    message::Flags,
};

const FORMATS: [Format; 2] = [Format::Maildir, Format::Sdbox];

fn mailboxes(fs: &ModelFs, format: Format) -> Mailboxes<ModelFs> {
    Mailboxes::new(environment(fs), location(fs, format))
}

/// The names in brackets cannot be selected.
fn tree(mailboxes: &Mailboxes<ModelFs>) -> String {
    let shown = mailboxes.tree().unwrap().into_iter().map(|(name, node)| match node.exists {
        true => name.join('/'),
        false => format!("({})", name.join('/')),
    });
    shown.collect::<Vec<_>>().join(" ")
}

/// Puts one message into a mailbox; its UID and UIDVALIDITY.
fn fill(fs: &ModelFs, format: Format, mailbox: &str) -> (u32, u32) {
    let mut opened = open(fs, format, mailbox, Access::Select).unwrap();
    let placed = opened.append(&addition(mailbox.as_bytes(), Flags::SEEN, &["kept"])).unwrap();
    opened.sync().unwrap();
    placed
}

#[test]
fn mailboxes_are_made_moved_and_removed() {
    for format in FORMATS {
        let fs = ModelFs::new();
        let all = mailboxes(&fs, format);
        assert_eq!(tree(&all), "INBOX");
        for made in ["A", "A/B/C", "Entwürfe"] {
            all.create(&name(made)).unwrap();
        }
        assert_eq!(tree(&all), "A (A/B) A/B/C Entwürfe INBOX");
        let filled = fill(&fs, format, "A/B/C");
        all.rename(&name("A"), &name("Z/Y")).unwrap();
        assert_eq!(tree(&all), "Entwürfe INBOX (Z) Z/Y (Z/Y/B) Z/Y/B/C");
        let mut moved = open(&fs, format, "Z/Y/B/C", Access::Select).unwrap();
        assert_eq!((moved.status().uid_validity, moved.messages()[0].uid), filled);
        moved.store(&[1], &update(UpdateMode::Add, Flags::DRAFT, &["more"])).unwrap();
        assert_eq!(contents(&fs, &mut moved).unwrap()[&1].keywords.len(), 2);
        all.delete(&name("Z/Y")).unwrap();
        assert_eq!(tree(&all), "Entwürfe INBOX (Z) (Z/Y) (Z/Y/B) Z/Y/B/C");
        all.delete(&name("Z/Y/B/C")).unwrap();
        assert_eq!(tree(&all), "Entwürfe INBOX");
        // The same name again is another mailbox.
        all.create(&name("Z/Y/B/C")).unwrap();
        let again = open(&fs, format, "Z/Y/B/C", Access::Select).unwrap().status();
        assert!(again.uid_validity > filled.0 && again.messages == 0);
    }
}

#[test]
fn what_is_refused() {
    for format in FORMATS {
        let fs = ModelFs::new();
        let all = mailboxes(&fs, format);
        all.create(&name("A/B")).unwrap();
        all.create(&name("C")).unwrap();
        let kind = |result: Result<()>| result.unwrap_err().kind();
        assert_eq!(kind(all.create(&name("inbox"))), Kind::AlreadyExists);
        assert_eq!(kind(all.create(&name("C"))), Kind::AlreadyExists);
        assert_eq!(kind(all.delete(&name("INBOX"))), Kind::Cannot);
        assert_eq!(kind(all.delete(&name("A"))), Kind::NotFound);
        assert_eq!(kind(all.rename(&name("INBOX"), &name("X"))), Kind::Cannot);
        assert_eq!(kind(all.rename(&name("A"), &name("A/B/D"))), Kind::Cannot);
        assert_eq!(kind(all.rename(&name("C"), &name("A/B"))), Kind::AlreadyExists);
        assert_eq!(kind(all.rename(&name("X"), &name("Y"))), Kind::NotFound);
        let missing = open(&fs, format, "X", Access::Examine).map(drop);
        assert_eq!(kind(missing), Kind::NotFound);
    }
}

/// After every operation of each command: what was acknowledged is so, and no message is lost by a RENAME.
#[test]
fn commands_keep_their_word_through_a_crash() {
    for format in FORMATS {
        for stop in 0.. {
            let fs = ModelFs::new();
            let all = mailboxes(&fs, format);
            all.create(&name("Old/One")).unwrap();
            fill(&fs, format, "Old/One");
            fs.stop_after(stop);
            let steps: [&dyn Fn() -> Result<()>; 4] = [
                &|| all.subscribe(&name("Old/One"), true).map(drop),
                &|| all.create(&name("New")),
                &|| all.rename(&name("Old"), &name("Moved")),
                &|| all.delete(&name("New")),
            ];
            let done = steps.iter().take_while(|step| step().is_ok()).count();
            for keep in [Keep::All, Keep::Nothing, Keep::Some(stop), Keep::Some(!stop)] {
                let after = fs.crash(keep);
                let all = mailboxes(&after, format);
                let shown = tree(&all);
                let what = format!("{format:?} {stop} {keep:?}: {done} done, {shown}");
                assert!(done < 1 || all.subscriptions().unwrap() == [name("Old/One")], "{what}");
                assert!(!(2..3).contains(&done) || shown.contains("New"), "{what}");
                assert!(done < 3 || !shown.contains("Old"), "{what}");
                assert!(done < 4 || !shown.contains("New"), "{what}");
                let place = if shown.contains("Moved/One") { "Moved/One" } else { "Old/One" };
                let mut opened = open(&after, format, place, Access::Select).expect(&what);
                assert_eq!(contents(&after, &mut opened).unwrap()[&1].content, b"Old/One", "{what}");
                // A lock that was left behind does not delay anybody.
                let before = after.now();
                all.subscribe(&name("X"), true).unwrap();
                assert!(after.now().secs - before.secs < 2, "{what}");
            }
            if done == steps.len() {
                break;
            }
            assert!(stop < 1000, "the commands never end");
        }
    }
}
