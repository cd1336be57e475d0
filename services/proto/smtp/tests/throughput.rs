//! How fast content goes through a session: `cargo test --release -p proto-smtp --test throughput -- --ignored --nocapture`.

use std::{sync::Arc, time::Instant};

use proto_smtp::server::{Action, Answer, Config, Dialect, Peer, Question, Session, Smtp};

#[test]
#[ignore = "measures; meaningful in a release build only"]
fn messages_of_4_kb() {
    const COUNT: usize = 100_000;
    let message = format!("{}\r\n", "x".repeat(70)).repeat(57);
    let dialogue = format!("MAIL FROM:<a@example.net> SIZE=4104\r\nRCPT TO:<b@example.org>\r\nDATA\r\n{message}.\r\n")
        .into_bytes();
    let config = Config { hostname: "mailhost".into(), dialect: Dialect::Smtp(Smtp::default()) };
    let mut session = Session::new(Arc::new(config), Peer::new("x[1.2.3.4]"));
    let (mut received, mut queued) = (0, 0);
    let start = Instant::now();
    for number in 0..=COUNT {
        let input: &[u8] = if number == 0 { b"EHLO x\r\n" } else { &dialogue };
        assert_eq!(session.input(input), input.len());
        while let Some(action) = session.poll() {
            match action {
                Action::Ask(Question::EndOfMessage { .. }) => {
                    queued += 1;
                    session.answer(Answer::Queued("4Zr0Vx2wHDz1".into()));
                }
                Action::Ask(_) => session.answer(Answer::Accept),
                Action::Body(text) => received += text.len(),
                _ => {}
            }
        }
    }
    assert_eq!(queued, COUNT);
    let rate = received as f64 / 1e6 / start.elapsed().as_secs_f64();
    println!("{rate:.0} MB/s, {:.2} us a message", start.elapsed().as_secs_f64() * 1e6 / COUNT as f64);
    assert!(rate > 500.0, "{rate:.0} MB/s");
}
