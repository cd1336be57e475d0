//! The privileged process: `master -c DIR -d` becomes a daemon, `master -c DIR -f` stays in the foreground.

use std::path::PathBuf;
use std::process::ExitCode;

use master::run::{self, Mode, Options};

/// sysexits(3): the command was used incorrectly.
const EX_USAGE: u8 = 64;

const USAGE: &str = "usage: master [-c DIR] (-d | -f)

Runs the services that DIR/main.cf, DIR/master.cf and DIR/dovecot.conf describe.

  -c DIR  configuration folder (default /etc/posthorn, else /etc/postfix with /etc/dovecot/dovecot.conf)
  -d      become a daemon; the exit status says whether everything listens
  -f      stay in the foreground

Use mailctl(8) to start and control it.";

fn main() -> ExitCode {
    let (mut folder, mut mode) = (None, None);
    let mut arguments = std::env::args_os().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.to_str() {
            Some("-c") => folder = arguments.next().map(PathBuf::from),
            Some("-d") => mode = Some(Mode::Daemon),
            Some("-f") => mode = Some(Mode::Foreground),
            Some("-h" | "--help") => {
                println!("{USAGE}");
                return ExitCode::SUCCESS;
            }
            _ => mode = None,
        }
    }
    // A daemon leaves the folder it was started in.
    let folder = folder.map(|folder| folder.canonicalize().unwrap_or(folder));
    let Some(mode) = mode else {
        eprintln!("{USAGE}");
        return ExitCode::from(EX_USAGE);
    };
    run::run(&Options { folder, mode })
}
