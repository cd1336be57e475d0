//! `postfix` (postfix(1)): the transport half alone. What it says goes to the log, and to standard error as well when that
//! is a terminal.
//!
//! What differs: `start` begins with the same check that `mailctl check` makes; `stop` and `abort` are one, because a stop
//! never waits for a delivery that is stuck; `set-permissions` and `upgrade-configuration` are not built.

use std::io;
use std::path::{Path, PathBuf};

use ipc_config::diagnostic::Severity as Finding;
use ipc_messages::admin::{HalfName, Request};
use ipc_messages::log::Severity;

use crate::console::{self, reason};
use crate::control::{self, Reply};
use crate::files::{Transport, given_folder};
use crate::instance::{Instance, Mode, pid};
use crate::log::{Log, Reporter};
use crate::logrotate::Rotation;
use crate::queue;
use crate::status::Status;
use crate::{check, options};

pub const USAGE: &str = "[-c config_dir] [-v] command";

const COMMANDS: &str =
    "start (or stop, reload, abort, flush, check, status, set-permissions, upgrade-configuration, logrotate)";
const NOT_RUNNING: &str = "the Postfix mail system is not running";
const RUNNING: &str = "the Postfix mail system is already running";

/// The log of what is done to the transport half, as Postfix's `postfix-script` keeps it.
pub fn script_log(folder: Option<&str>) -> Log {
    Log::new("postfix-script", Transport::open(folder).ok().as_ref())
}

/// Runs it.
pub fn run(words: &[String]) -> Status {
    let reporter = Reporter::new("postfix");
    let parsed = match options::parse("c:Dv", words) {
        Ok(parsed) => parsed,
        Err(mistake) => return reporter.usage(Status::FAILURE, Some(&mistake), &format!("postfix {USAGE}")),
    };
    let folder = given_folder(parsed.value('c'));
    let transport = match Transport::read(folder.as_deref(), &reporter) {
        Ok(transport) => transport,
        Err(problem) => return reporter.fatal(Status::FAILURE, &problem),
    };
    let postfix = Postfix {
        instance: Instance::new(folder.as_deref()),
        log: Log::new("postfix-script", Some(&transport)),
        pid_file: Path::new(&transport.value("queue_directory"))
            .join(transport.value("process_id_directory"))
            .join("master.pid"),
    };
    let command = parsed.rest.first().map_or("", String::as_str);
    let status = match command {
        "start" => postfix.start(Mode::Daemon),
        "start-fg" => postfix.start(Mode::Foreground),
        "stop" => postfix.stop("stopping the Postfix mail system"),
        "abort" => postfix.stop("aborting the Postfix mail system"),
        "reload" => postfix.reload(),
        "status" => postfix.status(),
        "check" => Ok(postfix.check()),
        "flush" => Ok(queue::flush(folder.as_deref())),
        "logrotate" if parsed.rest.len() > 1 => Ok(postfix.fatal("usage postfix logrotate (no arguments)")),
        "logrotate" => Ok(postfix.logrotate(&transport)),
        "set-permissions" | "upgrade-configuration" => {
            Ok(postfix.fatal(&format!("the command '{command}' is not built yet")))
        }
        _ => Ok(postfix.fatal(&format!("unknown command: '{command}'. Usage: postfix {COMMANDS}"))),
    };
    status.unwrap_or_else(|error| {
        reporter.fatal(Status::FAILURE, &format!("the running mail system cannot be asked: {}", reason(&error)))
    })
}

struct Postfix {
    instance: Instance,
    log: Log,
    /// Postfix's own, which names a process that stands for this half.
    pid_file: PathBuf,
}

impl Postfix {
    fn fatal(&self, text: &str) -> Status {
        self.log.line(Severity::Fatal, text);
        Status::FAILURE
    }

    fn runs(&self) -> io::Result<bool> {
        Ok(self.instance.running()?.contains(&HalfName::Transport))
    }

    fn start(&self, mode: Mode) -> io::Result<Status> {
        if self.runs()? {
            return Ok(self.fatal(RUNNING));
        }
        self.log.line(Severity::Info, "starting the Postfix mail system");
        Ok(match self.instance.start_half(HalfName::Transport, mode)? {
            Status::OK => Status::OK,
            _ => self.fatal("mail system startup failed"),
        })
    }

    fn stop(&self, line: &str) -> io::Result<Status> {
        self.act(line, || self.instance.stop(Some(HalfName::Transport)))
    }

    fn reload(&self) -> io::Result<Status> {
        let request = Request::Reload(Some(HalfName::Transport));
        self.act("refreshing the Postfix mail system", || self.instance.ask(&request))
    }

    fn act(&self, line: &str, act: impl FnOnce() -> io::Result<Reply>) -> io::Result<Status> {
        if !self.runs()? {
            return Ok(self.fatal(NOT_RUNNING));
        }
        self.log.line(Severity::Info, line);
        let reply = act()?;
        Ok(reply.result.map_or(Status::OK, |reason| self.fatal(&reason)))
    }

    fn status(&self) -> io::Result<Status> {
        if !self.runs()? {
            self.log.line(Severity::Info, NOT_RUNNING);
            return Ok(Status::FAILURE);
        }
        let pid = pid(&self.pid_file).or(self.instance.pid()).map(|pid| pid.to_string()).unwrap_or_default();
        self.log.line(Severity::Info, &format!("the Postfix mail system is running: PID: {pid}"));
        Ok(Status::OK)
    }

    fn logrotate(&self, transport: &Transport) -> Status {
        let rotation = Rotation {
            file: transport.value("maillog_file"),
            suffix: transport.value("maillog_file_rotate_suffix"),
            compressor: transport.value("maillog_file_compressor"),
        };
        let reopen = || match self.instance.ask(&Request::Reopen) {
            Err(error) if !control::is_down(&error) => Err(reason(&error)),
            _ => Ok(()),
        };
        rotation.run(reopen).map_or_else(|problem| self.fatal(&problem), |()| Status::OK)
    }

    fn check(&self) -> Status {
        let (found, _) = check::find(&self.instance.files);
        for finding in &found {
            let (severity, word) = match finding.severity {
                Finding::Note => continue,
                Finding::Warning => (Severity::Warning, "warning"),
                Finding::Error => (Severity::Fatal, "fatal"),
            };
            console::complain(&format!("postfix: {word}: {finding}"));
            self.log.quiet(severity, &finding.to_string());
        }
        if found.is_fatal() { Status::FAILURE } else { Status::OK }
    }
}
