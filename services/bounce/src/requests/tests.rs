use super::*;
use crate::testing::{MESSAGE, original, report, settings};

const NOW: u64 = 1_700_000_009_000_000;

/// `cleanup` and `qmgr` around the service.
struct World {
    requests: Requests<u8, Vec<u8>>,
    intake: Vec<ToCleanup>,
    answers: Vec<(u8, FromBounce)>,
    log: Vec<String>,
}

impl World {
    fn new(settings: Settings) -> World {
        World { requests: Requests::new(settings), intake: Vec::new(), answers: Vec::new(), log: Vec::new() }
    }

    fn ready(settings: Settings) -> World {
        let mut world = World::new(settings);
        world.requests.cleanup_up();
        world.cleanup(FromCleanup::Ids { ids: Ids { from: 1, to: 100 }, long: false });
        world
    }

    fn obey(&mut self) {
        while let Some(order) = self.requests.poll() {
            match order {
                Order::Intake(message) => self.intake.push(message),
                Order::Answer(peer, answer) => self.answers.push((peer, answer)),
                Order::Info(line) | Order::Warning(line) => self.log.push(line),
            }
        }
    }

    fn ask(&mut self, id: u32, original: Original, content: Vec<u8>) {
        self.requests.begin(7, id, Kind::Failure, original, content);
        self.requests.asked(7, ToBounce::Recipients { id, reports: vec![report("nobody@example.jp")] }, NOW);
        self.requests.asked(7, ToBounce::Commit { id }, NOW);
        self.obey();
    }

    fn cleanup(&mut self, message: FromCleanup) {
        self.requests.cleanup_said(message, NOW);
        self.obey();
    }

    /// The body of a message so far, and whether it was committed.
    fn body(&self, number: u32) -> (Vec<u8>, bool) {
        let (mut body, mut committed) = (Vec::new(), false);
        for message in &self.intake {
            match message {
                ToCleanup::Body { id, bytes } if *id == number => {
                    assert!(bytes.len() <= MAX_PIECE && !committed);
                    body.extend(bytes);
                }
                ToCleanup::Commit { id } if *id == number => committed = true,
                _ => {}
            }
        }
        (body, committed)
    }
}

#[test]
fn a_notification_is_told_once_it_is_queued() {
    let mut world = World::ready(settings());
    world.ask(3, original(), MESSAGE.to_vec());
    let name = QueueId::short(0, 1);
    assert_eq!(world.log, [format!("{}: sender non-delivery notification: {name}", original().queue_id)]);
    let ToCleanup::Begin { id: 1, envelope } = &world.intake[0] else { panic!("{:?}", world.intake[0]) };
    assert_eq!((envelope.queue_id, envelope.sender.as_str(), envelope.origin), (name, "", Origin::Bounce));
    let ToCleanup::Recipient { id: 1, recipient } = &world.intake[1] else { panic!("{:?}", world.intake[1]) };
    assert_eq!(recipient.address, "x@example.com");
    let (body, committed) = world.body(1);
    let body = String::from_utf8(body).unwrap();
    assert!(committed && body.starts_with("Received: by mail.example.jp (Postfix)\n\tid "));
    let returned = String::from_utf8(MESSAGE.to_vec()).unwrap();
    let boundary = format!("{}.1700000009/mail.example.jp", original().queue_id);
    assert!(body.ends_with(&format!("\n\nReturn-Path: <x@example.com>\n{returned}\n--{boundary}--\n")), "{body}");
    assert!(world.answers.is_empty());
    world.cleanup(FromCleanup::Queued { id: 1 });
    assert_eq!(world.answers, [(7, FromBounce::Told { id: 3, notification: Some(name) })]);
    assert_eq!(world.requests.len(), 0);
}

#[test]
fn nothing_is_due_to_the_null_sender_and_a_double_bounce_is_dropped() {
    let mut world = World::ready(settings());
    world.ask(1, Original { sender: String::new(), ..original() }, MESSAGE.to_vec());
    world.ask(2, Original { sender: "double-bounce@mail.example.jp".into(), ..original() }, MESSAGE.to_vec());
    let told = |id| (7, FromBounce::Told { id, notification: None });
    assert_eq!(world.answers, [told(1), told(2)]);
    assert_eq!(world.log, [format!("{}: undeliverable postmaster notification discarded", original().queue_id)]);
    assert!(world.intake.is_empty());
}

#[test]
fn large_messages_are_paced_by_credit_and_cut_by_the_limit() {
    let content = [b"A: b\n\n".to_vec(), vec![b'x'; 600_000]].concat();
    let large = Original { size: content.len() as u64, ..original() };
    let mut world = World::ready(Settings { size_limit: 1_000_000, ..settings() });
    world.ask(1, large.clone(), content.clone());
    assert_eq!((world.body(1).0.len() as u64, world.body(1).1), (INITIAL_CREDIT, false));
    world.cleanup(FromCleanup::Credit { id: 1, bytes: 1000 });
    assert_eq!(world.body(1).0.len() as u64, INITIAL_CREDIT + 1000);
    world.cleanup(FromCleanup::Credit { id: 1, bytes: 1_000_000 });
    let (body, committed) = world.body(1);
    let text = String::from_utf8(body).unwrap();
    assert!(committed && text.contains(&String::from_utf8(content.clone()).unwrap()) && text.contains("xx\n\n--"));

    let mut world = World::ready(settings());
    world.ask(1, large, content);
    let text = String::from_utf8(world.body(1).0).unwrap();
    assert!(text.contains("Content-Type: text/rfc822-headers\n"));
    assert!(text.contains("\n\nReturn-Path: <x@example.com>\nA: b\n\n--"), "{text}");
}

#[test]
fn a_request_waits_for_cleanup_and_begins_anew_when_it_is_replaced() {
    let mut world = World::new(settings());
    world.ask(1, original(), MESSAGE.to_vec());
    assert!(world.intake.is_empty());
    world.requests.cleanup_up();
    world.cleanup(FromCleanup::Ids { ids: Ids { from: 1, to: 2 }, long: true });
    assert!(world.body(1).1);
    world.requests.cleanup_down();
    world.intake.clear();
    world.cleanup(FromCleanup::Queued { id: 1 });
    assert!(world.answers.is_empty(), "that was the old one's");
    world.requests.cleanup_up();
    world.cleanup(FromCleanup::Ids { ids: Ids { from: 5, to: 6 }, long: true });
    assert!(world.body(2).1);
    world.cleanup(FromCleanup::Queued { id: 2 });
    let name = QueueId::long(NOW / 1_000_000, 0, 5);
    assert_eq!(world.answers, [(7, FromBounce::Told { id: 1, notification: Some(name) })]);
    // The block is used up: more numbers are asked for, once.
    world.intake.clear();
    world.ask(2, original(), MESSAGE.to_vec());
    world.ask(3, original(), MESSAGE.to_vec());
    assert_eq!(world.intake, [ToCleanup::MoreIds]);
    world.cleanup(FromCleanup::Ids { ids: Ids { from: 6, to: 16 }, long: true });
    assert!(world.body(3).1 && world.body(4).1);
}

#[test]
fn a_refusal_is_told_but_the_copy_may_be_lost() {
    let mut loud = settings();
    loud.classes.bounce = true;
    let mut world = World::ready(loud);
    world.ask(1, original(), MESSAGE.to_vec());
    world.cleanup(FromCleanup::Refused { id: 1, reply: "452 4.3.1 Insufficient system storage".into() });
    let reason = "452 4.3.1 Insufficient system storage".to_string();
    assert_eq!(world.answers, [(7, FromBounce::Failed { id: 1, reason })]);
    world.answers.clear();
    world.ask(2, original(), MESSAGE.to_vec());
    world.cleanup(FromCleanup::Queued { id: 2 });
    assert!(world.log.iter().any(|line| line.contains(": postmaster non-delivery notification: ")));
    assert!(world.answers.is_empty());
    world.cleanup(FromCleanup::Refused { id: 3, reply: "451 no".into() });
    assert_eq!(world.answers, [(7, FromBounce::Told { id: 2, notification: Some(QueueId::short(0, 2)) })]);
}

#[test]
fn a_message_that_cannot_be_read_is_reported_without_it() {
    let mut world = World::ready(settings());
    world.ask(1, original(), Vec::new());
    let text = String::from_utf8(world.body(1).0).unwrap();
    assert!(text.contains("\nReturn-Path: <x@example.com>\n\t--- Undelivered message unavailable ---\n\n--"), "{text}");
}

#[test]
fn an_asker_that_is_lost_leaves_nothing_behind() {
    let mut world = World::ready(Settings { size_limit: 1_000_000, ..settings() });
    let content = vec![b'x'; 600_000];
    world.ask(1, Original { size: 600_000, ..original() }, content);
    world.requests.asker_lost(7);
    world.obey();
    assert_eq!(world.intake.last(), Some(&ToCleanup::Abort { id: 1 }));
    assert_eq!(world.requests.len(), 0);
    world.cleanup(FromCleanup::Credit { id: 1, bytes: 1000 });
    assert!(world.answers.is_empty());
}

#[test]
fn requests_and_recipients_are_limited() {
    let mut world = World::new(settings());
    for id in 0..=MAX_REQUESTS as u32 {
        world.requests.begin(7, id, Kind::Failure, original(), Vec::new());
    }
    world.obey();
    let [(7, FromBounce::Failed { id, .. })] = &world.answers[..] else { panic!("{:?}", world.answers) };
    assert_eq!(*id, MAX_REQUESTS as u32);
    let reports = vec![report("a@example.jp"); MAX_REPORTS + 1];
    world.requests.asked(7, ToBounce::Recipients { id: 0, reports }, NOW);
    world.obey();
    assert!(matches!(world.answers[1], (7, FromBounce::Failed { id: 0, .. })));
    assert_eq!(world.requests.len(), MAX_REQUESTS - 1);
}
