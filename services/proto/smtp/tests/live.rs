//! Replays dialogues against a live server: `SMTP_TARGET=127.0.0.1:25 cargo test -p proto-smtp --test live -- --ignored`.
//!
//! Only those that need no decision and no setting are replayed. The server must call itself `mailhost.example.org`, take
//! mail for any address, have no TLS and no SASL, and allow 100 errors at once; `LMTP_TARGET` is for `transcripts/lmtp`.

mod transcript;

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpStream,
    time::Duration,
};

use transcript::{Step, Transcript};

/// Compares a line, except where the transcript says `QUEUEID` or `SESSION`.
fn fits(expected: &str, line: &str) -> bool {
    let marker = ["QUEUEID", "SESSION"].into_iter().find(|marker| expected.contains(marker));
    let Some((head, tail)) = marker.and_then(|marker| expected.split_once(marker)) else { return expected == line };
    line.starts_with(head) && line.ends_with(tail)
}

fn replay(transcript: &Transcript, target: &str) -> Result<(), String> {
    let mut stream = TcpStream::connect(target).map_err(|error| format!("{target}: {error}"))?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).map_err(|error| error.to_string())?;
    let mut lines = BufReader::new(stream.try_clone().map_err(|error| error.to_string())?).lines();
    for step in &transcript.steps {
        match step {
            Step::Client(bytes) => stream.write_all(bytes).map_err(|error| error.to_string())?,
            Step::Server(bytes) => {
                let expected = String::from_utf8_lossy(bytes).trim_end_matches("\r\n").to_owned();
                let line = lines.next().ok_or("closed")?.map_err(|error| format!("{error} before {expected:?}"))?;
                if !fits(&expected, &line) {
                    return Err(format!("{line:?} instead of {expected:?}"));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn replay_all(folder: &str, variable: &str) {
    let target = std::env::var(variable).unwrap_or_else(|_| panic!("{variable} names no server"));
    let suits = |transcript: &&Transcript| {
        let settings = transcript.settings.iter().all(|(name, value)| {
            name == "lmtp" || name == "unsplit" || (name.ends_with("error_limit") && value == "100")
        });
        settings && !transcript.steps.iter().any(|step| matches!(step, Step::Answer(..) | Step::Event(_) | Step::Tls))
    };
    let mut failures = Vec::new();
    for transcript in Transcript::all(folder).iter().filter(suits) {
        match replay(transcript, &target) {
            Ok(()) => println!("{}: as expected", transcript.name),
            Err(error) => failures.push(format!("{}: {error}", transcript.name)),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
#[ignore = "needs a live SMTP server"]
fn smtp() {
    replay_all("server", "SMTP_TARGET");
}

#[test]
#[ignore = "needs a live LMTP server"]
fn lmtp() {
    replay_all("lmtp", "LMTP_TARGET");
}
