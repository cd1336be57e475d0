//! Replays the dialogues of `transcripts/client`: the S lines reach the client whole, split at every byte, and byte by
//! byte; the C lines are what it has to send.
//!
//! What the caller does stands in the A lines: `ready`, `content`, `authenticate …`, `challenge …`, `done true` or `done
//! false` => `deliver <sender> parameters | <recipient> parameters | …`, `text …`, `start MECHANISM response`, `respond …`,
//! `cancel`, `skip`, `quit`.

mod cut;
mod transcript;

use std::collections::VecDeque;

use cut::Cut;
use proto_smtp::{
    address::{self, Address, Syntax},
    client::{Action, Client, Config, Envelope, Hello, Recipient, Tls},
    params::{MailParameters, RcptParameters, Supported},
};
use transcript::{Step, Transcript, unescape};

struct Run {
    name: String,
    client: Client,
    answers: VecDeque<(String, String)>,
    sent: Vec<u8>,
    outcomes: Vec<String>,
    tls: usize,
    closed: bool,
}

impl Run {
    fn new(transcript: &Transcript) -> Self {
        let answers = transcript.steps.iter().filter_map(|step| match step {
            Step::Answer(question, answer) => Some((question.clone(), answer.clone())),
            _ => None,
        });
        let client = Client::new(config(&transcript.settings));
        Self {
            name: transcript.name.clone(),
            client,
            answers: answers.collect(),
            sent: Vec::new(),
            outcomes: Vec::new(),
            tls: 0,
            closed: false,
        }
    }

    fn pump(&mut self) {
        while let Some(action) = self.client.poll() {
            match action {
                Action::Send(bytes) => self.sent.extend_from_slice(&bytes),
                Action::StartTls => {
                    self.tls += 1;
                    self.client.tls_started();
                }
                Action::Authenticate(mechanisms) => self.react(&format!("authenticate {}", mechanisms.join(" "))),
                Action::Challenge(text) => self.react(&format!("challenge {:?}", String::from_utf8_lossy(&text))),
                Action::Ready => self.react("ready"),
                Action::NeedContent => self.react("content"),
                Action::Outcome(outcome) => {
                    let result = match outcome.result {
                        Ok(reply) => format!("sent {} ({})", reply.status, reply.text),
                        Err(failure) => format!("{} ({})", failure.status, failure.reason),
                    };
                    self.outcomes.push(format!("{} {result}", outcome.recipient));
                }
                Action::Done { reusable } => self.react(&format!("done {reusable}")),
                Action::Failed(failure) => self.outcomes.push(format!("all {} ({})", failure.status, failure.reason)),
                Action::Stale => self.outcomes.push("stale".into()),
                Action::Close => self.closed = true,
            }
        }
    }

    fn react(&mut self, event: &str) {
        let Some((wanted, reaction)) = self.answers.pop_front() else {
            panic!("{}: nothing to do at {event}", self.name)
        };
        assert_eq!(wanted, event, "{}", self.name);
        let (word, rest) = reaction.split_once(' ').unwrap_or((&reaction, ""));
        match word {
            "deliver" => self.client.deliver(envelope(rest)),
            "text" => {
                for piece in unescape(rest).chunks(3) {
                    self.client.content(piece);
                }
                self.client.end_of_content();
            }
            "start" => {
                let (mechanism, initial) = rest.split_once(' ').map_or((rest, None), |(name, text)| (name, Some(text)));
                self.client.auth_start(mechanism, initial.map(unescape).as_deref());
            }
            "respond" => self.client.auth_respond(&unescape(rest)),
            "cancel" => self.client.auth_cancel(),
            "skip" => self.client.auth_skip(),
            "quit" => self.client.quit(),
            _ => panic!("what is {reaction}?"),
        }
    }
}

fn envelope(text: &str) -> Envelope {
    let supported = Supported { dsn: true, smtputf8: true, auth: true };
    let path = |text: &str| -> (Option<Address>, Vec<String>) {
        let (address, words) = text.trim().split_at(text.trim().rfind('>').unwrap() + 1);
        let address = address::parse(address, Syntax { strict: true, smtputf8: true }).unwrap();
        (address, words.split_whitespace().map(str::to_owned).collect())
    };
    let mut parts = text.split(" | ");
    let (sender, words) = path(parts.next().unwrap());
    let parameters = MailParameters::parse(&words, supported).unwrap();
    let recipients = parts.map(|part| {
        let (address, words) = path(part);
        Recipient { address: address.unwrap(), parameters: RcptParameters::parse(&words, supported).unwrap() }
    });
    Envelope { sender, requires_smtputf8: parameters.smtputf8, parameters, recipients: recipients.collect() }
}

fn config(settings: &[(String, String)]) -> Config {
    let mut config = Config::new(false, "client.example.net", "mail.example.org[192.0.2.25]");
    for (name, value) in settings {
        match name.as_str() {
            "lmtp" => {
                config.lmtp = true;
                config.server = "mailhost.example.org[private/dovecot-lmtp]".into();
            }
            "tls" => config.tls = if value == "required" { Tls::Required } else { Tls::May },
            "authenticate" => config.authenticate = true,
            "discard" => config.discard = value.split(' ').map(str::to_owned).collect(),
            "trust_5xx_greeting" => config.skip_5xx_greeting = false,
            "hello" => config.hello = if value == "helo" { Hello::Helo } else { Hello::AsGreeted },
            _ => panic!("no setting {name}"),
        }
    }
    config
}

fn replay(transcript: &Transcript, cut: Cut) {
    let mut run = Run::new(transcript);
    let (mut offset, mut expected, mut outcomes, mut tls, mut closed) = (0, Vec::new(), Vec::new(), 0, false);
    run.pump();
    for step in &transcript.steps {
        match step {
            Step::Server(bytes) => {
                for piece in cut.pieces(bytes, offset) {
                    assert_eq!(run.client.input(piece), piece.len());
                    run.pump();
                }
                offset += bytes.len();
            }
            Step::Client(bytes) => expected.extend_from_slice(bytes),
            Step::Outcome(text) => outcomes.push(text.clone()),
            Step::Event(event) => {
                if event == "eof" {
                    run.client.disconnected();
                } else {
                    run.client.timed_out();
                }
                run.pump();
            }
            Step::Tls => tls += 1,
            Step::Close => closed = true,
            Step::Answer(..) => {}
            Step::Log(_) | Step::Body(_) => panic!("{}: a client has neither", transcript.name),
        }
    }
    let name = format!("{} {cut:?}", transcript.name);
    assert_eq!(String::from_utf8_lossy(&run.sent), String::from_utf8_lossy(&expected), "{name}");
    assert_eq!(run.outcomes, outcomes, "{name}");
    assert_eq!(run.answers, [], "{name}: events that did not come");
    assert_eq!((run.tls, run.closed), (tls, closed), "{name}");
}

#[test]
fn dialogues() {
    for transcript in Transcript::all("client") {
        replay(&transcript, Cut::Whole);
        replay(&transcript, Cut::Bytes);
        let server = |step: &Step| if let Step::Server(bytes) = step { bytes.len() } else { 0 };
        for at in 1..transcript.steps.iter().map(server).sum() {
            replay(&transcript, Cut::At(at));
        }
    }
}
