//! Replays the dialogues of `transcripts/server` and `transcripts/lmtp`: whole, split at every byte, and byte by byte.

mod cut;
mod transcript;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use cut::Cut;
use proto_smtp::{
    body::Newlines,
    reply::Reply,
    server::{Action, Answer, Config, Dialect, Keywords, Lmtp, Peer, Question, Session, Smtp, TlsLevel},
};
use transcript::{Step, Transcript};

/// A session with everything it did.
struct Run {
    session: Session,
    answers: VecDeque<(String, String)>,
    recipients: usize,
    sent: Vec<u8>,
    body: Vec<u8>,
    log: Vec<String>,
    tls: usize,
    closed: bool,
}

impl Run {
    fn new(transcript: &Transcript) -> Self {
        let (config, peer) = config(&transcript.settings);
        let answers = transcript.steps.iter().filter_map(|step| match step {
            Step::Answer(question, answer) => Some((question.clone(), answer.clone())),
            _ => None,
        });
        Self {
            session: Session::new(Arc::new(config), peer),
            answers: answers.collect(),
            recipients: 0,
            sent: Vec::new(),
            body: Vec::new(),
            log: Vec::new(),
            tls: 0,
            closed: false,
        }
    }

    fn pump(&mut self) {
        while let Some(action) = self.session.poll() {
            match action {
                Action::Send(bytes) => self.sent.extend_from_slice(&bytes),
                Action::Ask(question) => {
                    let answer = self.answer(&question);
                    self.session.answer(answer);
                }
                Action::Body(text) => self.body.extend_from_slice(&text),
                Action::Abandon => self.recipients = 0,
                Action::Delay(_) => self.session.resume(),
                Action::StartTls => {
                    self.tls += 1;
                    self.session.tls_started();
                }
                Action::Log(_, line) => self.log.push(line),
                Action::Close => self.closed = true,
            }
        }
    }

    /// The decision that the transcript has for a question, or the friendly one.
    fn answer(&mut self, question: &Question) -> Answer {
        let name = render(question);
        let given = self.answers.front().filter(|(wanted, _)| *wanted == name).cloned();
        if given.is_some() {
            self.answers.pop_front();
        }
        let answer = match given {
            Some((_, text)) => parse_answer(&text),
            None if matches!(question, Question::EndOfMessage { .. }) && self.session.protocol() == "LMTP" => {
                Answer::Delivered(vec![Reply::new(250, "2.0.0 SESSION Saved"); self.recipients])
            }
            None if matches!(question, Question::EndOfMessage { .. }) => Answer::Queued("QUEUEID".into()),
            None => Answer::Accept,
        };
        match question {
            Question::Mail { .. } => self.recipients = 0,
            Question::Rcpt { .. } if answer == Answer::Accept => self.recipients += 1,
            _ => {}
        }
        answer
    }
}

fn render(question: &Question) -> String {
    match question {
        Question::Connect => "connect".into(),
        Question::Helo { name, .. } => format!("helo {name}"),
        Question::Mail { sender, parameters } => {
            format!("mail <{}>{parameters}", sender.as_ref().map_or(String::new(), ToString::to_string))
        }
        Question::Rcpt { recipient, parameters, .. } => format!("rcpt <{recipient}>{parameters}"),
        Question::Data => "data".into(),
        Question::EndOfMessage { size } => format!("end {size}"),
        Question::Vrfy(address) => format!("vrfy <{address}>"),
        Question::Etrn(domain) => format!("etrn {domain}"),
        Question::AuthStart { mechanism, initial } => {
            format!("auth {mechanism} {:?}", initial.as_ref().map(|text| String::from_utf8_lossy(text)))
        }
        Question::AuthContinue(text) => format!("auth-continue {:?}", String::from_utf8_lossy(text)),
        Question::AuthAbort => "auth-abort".into(),
        Question::StartTls => "starttls".into(),
        Question::Xclient(attributes) => format!("xclient {attributes:?}"),
    }
}

fn parse_answer(text: &str) -> Answer {
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    let failed = || (rest.to_owned(), None);
    match word {
        "accept" => Answer::Accept,
        "queued" => Answer::Queued(rest.into()),
        "challenge" => Answer::Challenge(rest.into()),
        "user" => Answer::Authenticated(rest.into()),
        "auth-failed" => {
            let (reason, user) = failed();
            Answer::AuthFailed { reason, user }
        }
        "auth-unavailable" => {
            let (reason, user) = failed();
            Answer::AuthUnavailable { reason, user }
        }
        "delivered" => Answer::Delivered(rest.split(" | ").map(|reply| Reply::parse(reply).unwrap()).collect()),
        _ => Answer::Reply(Reply::parse(text).unwrap_or_else(|| panic!("no answer: {text}"))),
    }
}

fn config(settings: &[(String, String)]) -> (Config, Peer) {
    let mut smtp = Smtp { banner: "mailhost.example.org ESMTP Postfix".into(), ..Smtp::default() };
    let mut lmtp = Lmtp::default();
    let mut peer = Peer::new("client.example.net[192.0.2.1]");
    let mut is_lmtp = false;
    for (name, value) in settings {
        let number = || value.parse::<usize>().unwrap();
        let list = || value.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect::<Vec<_>>();
        match name.as_str() {
            "lmtp" => is_lmtp = true,
            "message_size_limit" => smtp.message_size_limit = Some(number() as u64).filter(|&limit| limit > 0),
            "recipient_limit" => (smtp.recipient_limit, lmtp.recipient_limit) = (number(), number()),
            "recipient_overshoot_limit" => smtp.recipient_overshoot_limit = number(),
            "line_length_limit" => smtp.line_length_limit = number(),
            "sasl_response_limit" => smtp.sasl_response_limit = number(),
            "soft_error_limit" => smtp.soft_error_limit = number() as u64,
            "hard_error_limit" => smtp.hard_error_limit = number() as u64,
            "error_sleep_time" => smtp.error_sleep_time = Duration::from_secs(number() as u64),
            "junk_command_limit" => smtp.junk_command_limit = number() as u64,
            "helo_required" => smtp.helo_required = true,
            "disable_vrfy" => smtp.disable_vrfy = true,
            "strict_envelopes" => smtp.strict_envelopes = true,
            "strict_smtputf8" => smtp.strict_smtputf8 = true,
            "smtputf8" => (smtp.smtputf8, lmtp.smtputf8) = (value == "yes", value == "yes"),
            "broken_auth_clients" => smtp.broken_auth_clients = true,
            "forbid_unauth_pipelining" => smtp.forbid_unauth_pipelining = true,
            "soft_bounce" => smtp.soft_bounce = true,
            "tls" => {
                smtp.tls = if value == "encrypt" { TlsLevel::Encrypt } else { TlsLevel::May };
                lmtp.tls = true;
            }
            "mechanisms" => (smtp.mechanisms_in_clear, smtp.mechanisms_under_tls) = (list(), list()),
            "mechanisms_under_tls" => smtp.mechanisms_under_tls = list(),
            "discard" => peer.discard = Keywords::parse(value).unwrap(),
            "newlines" => {
                peer.newlines = match value.as_str() {
                    "no" => Newlines::Accept,
                    "reject" => Newlines::Reject,
                    _ => Newlines::Normalize,
                }
            }
            "trusted" => peer.trusted = true,
            // A dialogue that depends on what arrives together is not split.
            "unsplit" => {}
            _ => panic!("no setting {name}"),
        }
    }
    let dialect = if is_lmtp { Dialect::Lmtp(lmtp) } else { Dialect::Smtp(smtp) };
    (Config { hostname: "mailhost.example.org".into(), dialect }, peer)
}

/// Replays one dialogue and checks all that it expects.
fn replay(transcript: &Transcript, cut: Cut) {
    let mut run = Run::new(transcript);
    let (mut offset, mut expected, mut body, mut tls, mut closed) = (0, Vec::new(), Vec::new(), 0, false);
    run.pump();
    for (number, step) in transcript.steps.iter().enumerate() {
        match step {
            Step::Client(bytes) => {
                let together =
                    transcript.steps[number + 1..].first().is_some_and(|next| matches!(next, Step::Client(_)));
                for piece in cut.pieces(bytes, offset) {
                    let mut rest = piece;
                    while !rest.is_empty() {
                        let taken = run.session.input(rest);
                        rest = &rest[taken..];
                        // Client lines in a row arrive together, as far as they fit.
                        if !matches!(cut, Cut::Whole) || !together || taken == 0 {
                            run.pump();
                        }
                    }
                }
                offset += bytes.len();
            }
            Step::Server(bytes) => expected.extend_from_slice(bytes),
            Step::Body(line) => body.extend_from_slice(format!("{line}\n").as_bytes()),
            Step::Event(event) if event == "eof" => {
                run.session.disconnected();
                run.pump();
            }
            Step::Event(_) => {
                run.session.timed_out();
                run.pump();
            }
            Step::Tls => tls += 1,
            Step::Close => closed = true,
            Step::Answer(..) | Step::Log(_) | Step::Outcome(_) => {}
        }
    }
    let name = format!("{} {cut:?}", transcript.name);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert_eq!(text(&run.sent), text(&expected), "{name}");
    assert_eq!(run.answers, [], "{name}: questions that were not asked");
    if !body.is_empty() {
        assert_eq!(text(&run.body), text(&body), "{name}");
    }
    let mut log = run.log.iter();
    for step in &transcript.steps {
        if let Step::Log(line) = step {
            if let Some(statistics) = line.strip_prefix("statistics: ") {
                assert_eq!(run.session.statistics().to_string(), statistics, "{name}");
            } else {
                assert!(log.any(|logged| logged == line), "{name}: {line:?} is not in {:?}", run.log);
            }
        }
    }
    assert_eq!((run.tls, run.closed), (tls, closed), "{name}");
}

fn replay_all(folder: &str) {
    for transcript in Transcript::all(folder) {
        replay(&transcript, Cut::Whole);
        if transcript.settings.iter().any(|(name, _)| name == "unsplit") {
            continue;
        }
        replay(&transcript, Cut::Bytes);
        let client = |step: &Step| if let Step::Client(bytes) = step { bytes.len() } else { 0 };
        for at in 1..transcript.steps.iter().map(client).sum() {
            replay(&transcript, Cut::At(at));
        }
    }
}

#[test]
fn smtp_dialogues() {
    replay_all("server");
}

#[test]
fn lmtp_dialogues() {
    replay_all("lmtp");
}

/// A client that talks before it is greeted, while the caller still finds out who it is.
#[test]
fn early_talk_is_noticed_and_may_be_forbidden() {
    for (forbidden, reply) in [
        (false, "220 localhost ESMTP Postfix\r\n250 2.0.0 Ok\r\n"),
        (true, "554 5.5.0 Error: SMTP protocol synchronization\r\n"),
    ] {
        let smtp = Smtp { forbid_unauth_pipelining: forbidden, ..Smtp::default() };
        let config = Config { hostname: "localhost".into(), dialect: Dialect::Smtp(smtp) };
        let mut session = Session::new(Arc::new(config), Peer::new("client.example.net[192.0.2.1]"));
        assert_eq!(session.poll(), Some(Action::Ask(Question::Connect)));
        assert_eq!(session.input(b"NOOP\r\n"), 6);
        session.answer(Answer::Accept);
        let (mut sent, mut log) = (Vec::new(), Vec::new());
        while let Some(action) = session.poll() {
            match action {
                Action::Send(bytes) => sent.extend(bytes),
                Action::Log(_, line) => log.push(line),
                _ => {}
            }
        }
        assert_eq!(String::from_utf8(sent).unwrap(), reply);
        let line = "improper command pipelining after CONNECT from client.example.net[192.0.2.1]: NOOP\\r\\n";
        assert_eq!((log, session.is_unauthorized_pipelining()), (vec![line.to_string()], true));
    }
}
