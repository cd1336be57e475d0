//! What holds for any input: no panic, bounded memory, no content without a recipient.

use std::sync::Arc;

use proptest::{collection::vec, prelude::*};
use proto_smtp::{
    address::Address,
    client::{self, Client, Envelope, Recipient},
    limits,
    params::{MailParameters, RcptParameters},
    reply::Reply,
    server::{Action, Answer, Config, Dialect, Lmtp, Peer, Question, Session, Smtp, TlsLevel},
};

/// Pieces of dialogues, so that random input gets far into the protocol.
const FRAGMENTS: [&str; 32] = [
    "EHLO x\r\n",
    "LHLO x\r\n",
    "HELO x\r\n",
    "MAIL FROM:<a@b.c>\r\n",
    "MAIL FROM:<> SIZE=5 BODY=8BITMIME\r\n",
    "RCPT TO:<d@e.f>\r\n",
    "RCPT TO:root NOTIFY=NEVER\r\n",
    "DATA\r\n",
    "BDAT 3\r\n",
    "BDAT 4 LAST\r\n",
    "BDAT 0 LAST\r\n",
    "BDAT 99999999999\r\n",
    "RSET\r\n",
    "NOOP\r\n",
    "VRFY x\r\n",
    "ETRN x\r\n",
    "STARTTLS\r\n",
    "AUTH PLAIN\r\n",
    "AUTH PLAIN AHUAcA==\r\n",
    "AHUAcA==\r\n",
    "*\r\n",
    "QUIT\r\n",
    ".\r\n",
    "..x\r\n",
    "\n.\r\n",
    "\r\n.\r\n",
    "abc",
    "\r",
    "\n",
    "\0",
    "\u{e9}<\"\\",
    "XCLIENT ADDR=1.2.3.4\r\n",
];

fn bytes() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let fragment = prop_oneof![
        12 => (0..FRAGMENTS.len()).prop_map(|index| FRAGMENTS[index].as_bytes().to_vec()),
        1 => vec(any::<u8>(), 0..20),
        1 => Just(vec![b'x'; 5000]),
    ];
    vec(fragment, 0..60)
}

fn answer(question: &Question, lmtp: bool, recipients: usize, refuse: bool) -> Answer {
    match question {
        _ if refuse => Answer::Reply(Reply::new(450, "4.7.1 not now")),
        Question::EndOfMessage { .. } if lmtp => Answer::Delivered(vec![Reply::new(250, "2.0.0 ok"); recipients]),
        Question::EndOfMessage { .. } => Answer::Queued("ID".into()),
        Question::AuthStart { initial: None, .. } => Answer::Challenge(Vec::new()),
        Question::AuthStart { .. } | Question::AuthContinue(_) => Answer::Authenticated("u".into()),
        _ => Answer::Accept,
    }
}

/// Runs a session and checks it at each step. `refusals` decides the questions in turn.
fn session(lmtp: bool, pieces: &[Vec<u8>], refusals: &[bool]) -> Result<(), TestCaseError> {
    let smtp = Smtp {
        tls: TlsLevel::May,
        mechanisms_in_clear: vec!["PLAIN".into()],
        hard_error_limit: 1000,
        recipient_limit: 3,
        message_size_limit: Some(8000),
        ..Smtp::default()
    };
    let lmtp_config = Lmtp { tls: true, recipient_limit: 3, bad_command_limit: 1000, ..Lmtp::default() };
    let dialect = if lmtp { Dialect::Lmtp(lmtp_config) } else { Dialect::Smtp(smtp) };
    let peer = Peer { trusted: true, ..Peer::new("x[1.2.3.4]") };
    let mut session = Session::new(Arc::new(Config { hostname: "h".into(), dialect }), peer);
    let mut refusals = refusals.iter().copied().cycle();
    let (mut recipients, mut open, mut body) = (0, false, 0);
    for piece in pieces {
        let mut rest = piece.as_slice();
        loop {
            rest = &rest[session.input(rest)..];
            while let Some(action) = session.poll() {
                match action {
                    Action::Ask(question) => {
                        let refuse = refusals.next().unwrap_or(false) && question != Question::Connect;
                        match question {
                            Question::Mail { .. } => recipients = 0,
                            Question::Rcpt { .. } => recipients += usize::from(!refuse),
                            Question::Data => {
                                prop_assert!(recipients > 0, "content without a recipient");
                                open = !refuse;
                                body = 0;
                            }
                            Question::EndOfMessage { .. } => prop_assert!(std::mem::take(&mut open)),
                            _ => {}
                        }
                        session.answer(answer(&question, lmtp, recipients, refuse));
                        prop_assert!(recipients <= 3);
                    }
                    Action::Body(text) => {
                        prop_assert!(open && text.len() <= limits::INPUT_BUFFER + 8);
                        body += text.len();
                        prop_assert!(lmtp || body <= 8000);
                    }
                    Action::Abandon => (open, recipients) = (false, 0),
                    Action::Send(bytes) => {
                        prop_assert!(bytes.len() <= 2 * limits::OUTPUT_BUFFER && bytes.ends_with(b"\r\n"));
                    }
                    Action::Delay(_) => session.resume(),
                    Action::StartTls => session.tls_started(),
                    Action::Log(_, line) => prop_assert!(line.len() < 5000 && !line.contains('\n')),
                    Action::Close => return Ok(()),
                }
            }
            if rest.is_empty() {
                break;
            }
        }
    }
    session.disconnected();
    while session.poll().is_some() {}
    Ok(())
}

fn envelope(recipients: usize) -> Envelope {
    let address = || Address::from_internal("a@b.c", false).unwrap();
    let recipient = || Recipient { address: address(), parameters: RcptParameters::default() };
    Envelope {
        sender: Some(address()),
        parameters: MailParameters::default(),
        recipients: std::iter::repeat_with(recipient).take(recipients).collect(),
        requires_smtputf8: false,
    }
}

/// Runs a client against any server; every recipient of a delivery ends once.
fn client(lmtp: bool, replies: &[(u16, bool)], recipients: usize) -> Result<(), TestCaseError> {
    let mut client =
        Client::new(client::Config { tls: client::Tls::May, ..client::Config::new(lmtp, "me", "you[1.2.3.4]") });
    let mut ended = vec![0; recipients];
    let mut delivered = false;
    let mut replies = replies.iter();
    loop {
        while let Some(action) = client.poll() {
            match action {
                client::Action::Ready if !delivered => client.deliver(envelope(recipients)),
                client::Action::Ready => {}
                client::Action::NeedContent => {
                    client.content(b"x\n.\n");
                    client.end_of_content();
                }
                client::Action::Outcome(outcome) => ended[outcome.recipient] += 1,
                client::Action::Failed(failure) => {
                    prop_assert!(matches!(failure.status.class(), 4 | 5));
                    ended.iter_mut().filter(|count| **count == 0).for_each(|count| *count += 1);
                }
                client::Action::Done { .. } => {
                    delivered = true;
                    prop_assert!(ended.iter().all(|&count| count == 1), "{ended:?}");
                    client.quit();
                }
                client::Action::StartTls => client.tls_started(),
                client::Action::Close => {
                    prop_assert!(ended.iter().all(|&count| count == 1), "{ended:?}");
                    return Ok(());
                }
                client::Action::Send(_) | client::Action::Authenticate(_) => {}
                client::Action::Challenge(_) | client::Action::Stale => prop_assert!(false, "not asked for"),
            }
        }
        match replies.next() {
            Some((code, true)) => drop(client.input(format!("{code}-x\r\n{code} PIPELINING\r\n").as_bytes())),
            Some((code, false)) => drop(client.input(format!("{code} 4.1.1 x\r\n").as_bytes())),
            None => client.disconnected(),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_smtp_client(pieces in bytes(), refusals in vec(prop::bool::weighted(0.1), 1..20)) {
        session(false, &pieces, &refusals)?;
    }

    #[test]
    fn any_lmtp_client(pieces in bytes(), refusals in vec(prop::bool::weighted(0.1), 1..20)) {
        session(true, &pieces, &refusals)?;
    }

    #[test]
    fn any_server(
        lmtp: bool,
        replies in vec((prop_oneof![5 => Just(250u16), 2 => Just(354), 1 => 0u16..1000], any::<bool>()), 0..20),
        recipients in 1usize..4,
    ) {
        client(lmtp, &replies, recipients)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300_000))]

    #[test]
    #[ignore = "long"]
    fn any_client_for_long(lmtp: bool, pieces in bytes(), refusals in vec(prop::bool::weighted(0.1), 1..20)) {
        session(lmtp, &pieces, &refusals)?;
    }
}

#[test]
fn a_server_that_never_ends_its_reply_is_cut_off() {
    let mut client = Client::new(client::Config::new(false, "me", "you[1.2.3.4]"));
    let mut failed = false;
    for _ in 0..=limits::REPLY_LINES {
        client.input(b"220-x\r\n");
        while let Some(action) = client.poll() {
            failed |= matches!(action, client::Action::Failed(_));
        }
    }
    assert!(failed);
}

#[test]
fn a_client_pipelines_no_more_than_the_server_can_take() {
    let mut client = Client::new(client::Config::new(false, "me", "you[1.2.3.4]"));
    client.input(b"220 x\r\n250-x\r\n250 PIPELINING\r\n");
    let (mut under_way, mut most) = (0, 0);
    let mut outcomes = 0;
    loop {
        match client.poll() {
            Some(client::Action::Ready) => client.deliver(envelope(1000)),
            Some(client::Action::Send(bytes)) if bytes.starts_with(b"EHLO") => {}
            Some(client::Action::Send(bytes)) => {
                under_way += bytes.iter().filter(|&&byte| byte == b'\n').count();
                most = most.max(bytes.len());
            }
            Some(client::Action::Outcome(_)) => outcomes += 1,
            Some(client::Action::Done { .. }) => break,
            Some(_) => {}
            None if under_way > 0 => {
                under_way -= 1;
                client.input(b"550 5.1.1 no\r\n");
            }
            None => panic!("stuck after {outcomes}"),
        }
    }
    assert_eq!(outcomes, 1000);
    assert!(most <= limits::PIPELINE, "{most}");
}
