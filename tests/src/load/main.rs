//! The load client of the benchmarks: `bench-load CASE name=value…` does one thing and prints one line of JSON about it.
//!
//! It must never be the bottleneck, so it says how much of a core it took. It counts replies strictly: an answer that is
//! not the expected one ends the run with a message and status 1, for a figure with errors in it is worth nothing.

mod connection;
mod disk;
mod imap;
mod options;
mod report;
mod smtp;
mod syslog;

use std::process::ExitCode;

use options::Options;

const USAGE: &str = "usage: bench-load CASE [name=value]...

  smtp     to=HOST:PORT sessions=N messages=N recipients=N size=BYTES [keep=yes] [user=U password=P]
  latency  to=HOST:PORT messages=N size=BYTES maildir=DIR
  logins   to=HOST:PORT sessions=N count=N recipients=N password=P tls=no|starttls|yes
  fetch    to=HOST:PORT user=U password=P expect=MESSAGES
  append   to=HOST:PORT sessions=N count=N recipients=N password=P size=BYTES
  notify   to=HOST:PORT smtp=HOST:PORT user=U password=P count=N
  hold     imap=HOST:PORT smtp=HOST:PORT sessions=N recipients=N password=P [kind=imap|smtp]
  disk     in=DIR threads=N count=N
  syslog   at=SOCKET into=FILE

Recipients are user0@DOMAIN and so on; domain=DOMAIN (maildomain.test).";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let Some(case) = arguments.next() else {
        eprintln!("{USAGE}");
        return ExitCode::FAILURE;
    };
    let done = Options::parse(arguments).and_then(|options| match case.as_str() {
        "smtp" => smtp::load(&options),
        "latency" => smtp::latency(&options),
        "logins" => imap::logins(&options),
        "fetch" => imap::fetch(&options),
        "append" => imap::append(&options),
        "notify" => imap::notify(&options),
        "hold" => imap::hold(&options),
        "disk" => disk::limits(&options),
        "syslog" => syslog::drain(&options),
        other => Err(format!("no case {other}").into()),
    });
    match done {
        Ok(report) => {
            println!("{}", report.line());
            ExitCode::SUCCESS
        }
        Err(problem) => {
            eprintln!("bench-load: {case}: {problem}");
            ExitCode::FAILURE
        }
    }
}
