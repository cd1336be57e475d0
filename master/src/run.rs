//! The life of the master: start, the event loop, the end.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use ipc_config::diagnostic::Severity;
use ipc_messages::admin::{Answer, HalfName, Request, ServiceRow};
use ipc_messages::log::{Half as LogHalf, Identity, Severity as LogSeverity};
use mio::{Events, Poll, Token};
use nix::fcntl::Flock;
use nix::libc::{SIGCHLD, SIGHUP, SIGUSR1};
use nix::sys::signal::Signal;
use slog::Logger;

use crate::admin::{Admin, Asked};
use crate::compile::{Configuration, Files};
use crate::daemon::{Daemon, daemonise, quiet};
use crate::halves::{self, Standin};
use crate::place::{binaries, check_free, lock, make_queue, make_spool};
use crate::privileges;
use crate::process::Base;
use crate::signals::Signals;
use crate::supervisor::Supervisor;
use crate::table::{Half, Table};
use crate::waiting::{Order, PATIENCE, Step, Waiting};

/// sysexits(3): the configuration, something already there, the system.
const EX_CONFIG: u8 = 78;
pub(crate) const EX_CANTCREAT: u8 = 73;
pub(crate) const EX_OSERR: u8 = 71;
pub(crate) const EX_TEMPFAIL: u8 = 75;

const SIGNALS: Token = Token(0);
const ADMIN: usize = 1 << 40;

/// How the master is started.
#[derive(Debug)]
pub struct Options {
    /// The configuration folder; `None` for the default place.
    pub folder: Option<PathBuf>,
    /// Whether it becomes a daemon.
    pub mode: Mode,
}

/// Whether the master becomes a daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It does; the command ends when everything listens.
    Daemon,
    /// It stays where it is.
    Foreground,
}

impl Options {
    fn files(&self) -> Files {
        self.folder.as_deref().map_or_else(Files::default_place, Files::in_folder)
    }
}

/// Runs the master; the whole of its `main`.
pub fn run(options: &Options) -> ExitCode {
    let mut ready = None;
    if options.mode == Mode::Daemon {
        match daemonise() {
            Ok(Daemon::Child(pipe)) => ready = Some(pipe),
            Ok(Daemon::Parent(code)) => return code,
            Err(error) => {
                eprintln!("master: cannot become a daemon: {error}");
                return ExitCode::from(EX_OSERR);
            }
        }
    }
    // Where a failed start is explained. A daemon's own standard descriptors lead nowhere from now on, before any worker
    // could inherit them: whoever reads our output must not wait for the workers' ends.
    let complaints = io::stderr().as_fd().try_clone_to_owned().map(File::from);
    if options.mode == Mode::Daemon {
        quiet();
    }
    let mut tell = |code: u8| {
        if let Some(mut pipe) = ready.take() {
            // The parent reads one byte, its exit status; if it has gone, nobody waits for it.
            let _ = pipe.write_all(&[code]);
        }
    };
    match Master::start(options) {
        Ok(mut master) => {
            drop(complaints);
            tell(0);
            master.turns();
            ExitCode::SUCCESS
        }
        Err((code, errors)) => {
            if let Ok(mut complaints) = complaints {
                // Nobody is left to be told that nobody can be told.
                let _ = writeln!(complaints, "{}", errors.join("\n"));
            }
            tell(code);
            ExitCode::from(code)
        }
    }
}

struct Master {
    options: Files,
    spool: PathBuf,
    poll: Poll,
    log: Logger,
    sender: ipc_log::Sender,
    supervisor: Supervisor,
    admin: Admin,
    signals: Signals,
    standins: Vec<Standin>,
    /// Which halves the administrator has stopped.
    stopped: Vec<HalfName>,
    waiting: Waiting,
    ending: Option<Instant>,
    _lock: Flock<File>,
}

/// The exit status of a start that failed, and why.
pub(crate) type StartError = (u8, Vec<String>);

impl Master {
    fn start(options: &Options) -> Result<Master, StartError> {
        let fail = |code: u8, what: &str| {
            let what = what.to_string();
            move |error: io::Error| (code, vec![format!("master: {what}: {error}")])
        };
        let files = options.files();
        let mut configuration = Configuration::read(&files);
        let table = configuration.table();
        let fatal: Vec<String> = configuration
            .all_found()
            .filter(|found| found.severity == Severity::Error)
            .map(ToString::to_string)
            .collect();
        if table.services.is_empty() {
            let nothing =
                "master: nothing to run: neither main.cf with master.cf nor dovecot.conf can be used".to_string();
            return Err((EX_CONFIG, fatal.into_iter().chain([nothing]).collect()));
        }
        // An error in one half stops the start of that half; at the start it is an error of the whole.
        if !fatal.is_empty() {
            return Err((EX_CONFIG, fatal));
        }
        let spool = configuration.spool();
        make_spool(&spool).map_err(fail(EX_CANTCREAT, &spool.to_string_lossy()))?;
        let lock = lock(&spool)?;
        let poll = Poll::new().map_err(fail(EX_OSERR, "event loop"))?;
        let signals = Signals::new(&poll, SIGNALS).map_err(fail(EX_OSERR, "signals"))?;
        let (log, log_inbox) = ipc_wire::packet::pair().map_err(fail(EX_OSERR, "log"))?;
        let tag = format!("{}/master", configuration.parameter("syslog_name").unwrap_or_else(|| "postfix".into()));
        let half = LogHalf::Transport;
        let own = log.try_clone().map_err(fail(EX_OSERR, "log"))?;
        let sender = ipc_log::Sender::new(own, Identity { half, tag });
        let logger = sender.logger();
        let base = Base {
            spool: spool.clone(),
            log,
            without_landlock: configuration.parameter("posthorn_without_landlock").as_deref() == Some("yes"),
        };
        let registry = poll.registry().try_clone().map_err(fail(EX_OSERR, "event loop"))?;
        let mut supervisor = Supervisor::new(registry, sender.clone(), base, log_inbox, binaries());
        // Before the first process is started.
        privileges::keep_needed().map_err(fail(EX_OSERR, "capabilities"))?;
        check_free(&table)?;
        make_queue(&spool, &table).map_err(fail(EX_CANTCREAT, "queue folder"))?;
        supervisor
            .apply(table)
            .map_err(|errors| (EX_TEMPFAIL, errors.into_iter().map(|e| format!("master: {e}")).collect()))?;
        let admin = Admin::new(&spool, poll.registry(), ADMIN).map_err(fail(EX_CANTCREAT, "control socket"))?;
        let mut master = Master {
            options: files,
            spool,
            poll,
            log: logger,
            sender,
            supervisor,
            admin,
            signals,
            standins: Vec::new(),
            stopped: Vec::new(),
            waiting: Waiting::default(),
            ending: None,
            _lock: lock,
        };
        master.announce(&configuration);
        master.stand_in(&configuration);
        Ok(master)
    }

    /// The lines that both programs log at their start.
    fn announce(&self, configuration: &Configuration) {
        let version = env!("CARGO_PKG_VERSION");
        if configuration.transport.is_some() {
            let folder = self.options.main_cf.as_deref().and_then(Path::parent).unwrap_or(Path::new("/etc/postfix"));
            slog::info!(self.log, "daemon started -- version {version}, configuration {}", folder.display());
        }
        if let Some(conf) = &configuration.mailbox {
            let protocols = match conf.protocols().join(", ") {
                none if none.is_empty() => "without any protocols".to_string(),
                some => format!("for {some}"),
            };
            let text = format!("Posthorn v{version} starting up {protocols}");
            self.sender.line_as(LogHalf::Mailbox, "master", LogSeverity::Info, text);
        }
        for found in configuration.all_found().filter(|found| found.severity >= Severity::Warning) {
            slog::warn!(self.log, "{found}");
        }
    }

    /// Starts or ends the processes that stand for the halves, as the halves run.
    fn stand_in(&mut self, configuration: &Configuration) {
        for (half, name, folder) in [
            (Half::Transport, HalfName::Transport, configuration.pid_folder().to_string_lossy().into_owned()),
            (Half::Mailbox, HalfName::Mailbox, configuration.base_dir()),
        ] {
            let runs = self.supervisor.runs(half);
            let stands = self.standins.iter().position(|standin| standin.half() == name);
            match (runs, stands) {
                (true, None) if !folder.is_empty() => {
                    let file = halves::pid_file(Path::new(&folder));
                    match Standin::start(name, file.clone(), &self.signals.outbox) {
                        Ok(standin) => self.standins.push(standin),
                        Err(error) => slog::warn!(self.log, "pid file {}: {error}", file.display()),
                    }
                }
                (false, Some(at)) => self.standins.remove(at).end(),
                _ => {}
            }
        }
    }

    fn turns(&mut self) {
        let mut events = Events::with_capacity(256);
        while !self.over() {
            self.sender.flush();
            let now = Instant::now();
            let tick = self.supervisor.next_tick().map(|at| at.saturating_duration_since(now));
            let mut wait = tick.into_iter().chain(self.waiting.next()).min();
            if self.ending.is_some() || self.sender.waits() {
                wait = Some(Duration::from_millis(50));
            }
            match self.poll.poll(&mut events, wait) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => panic!("the event loop failed: {error}"),
                Ok(()) => {}
            }
            for event in &events {
                match event.token() {
                    SIGNALS => self.signalled(),
                    token if Supervisor::owns(token) => self.supervisor.ready(token),
                    token => {
                        for asked in self.admin.ready(self.poll.registry(), token) {
                            self.carry_out(asked);
                        }
                    }
                }
            }
            self.supervisor.tick(Instant::now());
            self.see_to_waiting();
        }
        self.finish();
    }

    /// Whether everything has ended, or was given time enough to.
    fn over(&mut self) -> bool {
        let Some(since) = self.ending else { return false };
        if !self.supervisor.ended() && since.elapsed() < PATIENCE {
            return false;
        }
        true
    }

    fn finish(&mut self) {
        slog::info!(self.log, "terminating on signal 15");
        self.sender.flush();
        self.supervisor.kill_all_but_log(Signal::SIGTERM);
        self.supervisor.end_log();
        let steps = self.waiting.end();
        self.carry_on(steps);
        self.standins.drain(..).for_each(Standin::end);
        // The socket's name goes with us; a second start would replace it anyway.
        let _ = fs::remove_file(self.spool.join(ipc_messages::admin::SOCKET));
    }

    fn signalled(&mut self) {
        let (own, halves) = self.signals.take();
        for signal in own {
            match signal {
                SIGCHLD => self.supervisor.reap(),
                SIGHUP => drop(self.reload(None)),
                SIGUSR1 => self.supervisor.reopen_logs(),
                _ => self.end(),
            }
        }
        for signalled in halves::decode(&halves) {
            match signalled.signal {
                Signal::SIGHUP => drop(self.reload(Some(signalled.half))),
                Signal::SIGUSR1 => self.supervisor.reopen_logs(),
                _ => self.stop(None, Some(signalled.half)),
            }
        }
    }

    fn carry_out(&mut self, asked: Asked) {
        let mut fds = Vec::new();
        let end = match asked.request {
            Request::Stop(half) => return self.stop(Some(asked.client), half),
            Request::Reload(half) => {
                let order = Order::Reload(self.reload(half));
                return self.waiting.add(Some(asked.client), order, Instant::now());
            }
            Request::Reopen => {
                self.supervisor.reopen_logs();
                Ok(())
            }
            Request::Services => {
                let rows: Vec<ServiceRow> = self.rows();
                for row in rows {
                    self.admin.answer(self.poll.registry(), asked.client, &Answer::Service(row), Vec::new());
                }
                Ok(())
            }
            Request::Visit(hub) => self.supervisor.visit(hub, asked.pid).map(|fd| fds.push(fd)),
        };
        self.admin.answer(self.poll.registry(), asked.client, &Answer::End(end), fds);
    }

    fn rows(&self) -> Vec<ServiceRow> {
        let row = |(spec, pids, throttled): (&crate::table::Spec, Vec<i32>, bool)| ServiceRow {
            half: format!("{:?}", spec.half).to_lowercase(),
            name: spec.name.clone(),
            program: spec.program.name.into(),
            listeners: spec.listeners.iter().map(|listener| listener.at.to_string()).collect(),
            pids,
            limit: spec.rules.limit,
            client_limit: spec.client_limit,
            uid: spec.account.uid,
            root: self.spool.join("jail").join(spec.program.name).to_string_lossy().into_owned(),
            throttled,
        };
        self.supervisor.rows().map(row).collect()
    }

    /// Tells or answers those whose orders are being carried out.
    fn see_to_waiting(&mut self) {
        let supervisor = &self.supervisor;
        let left = |order: &Order| match order {
            Order::Stop(Some(half)) => supervisor.names_leaving(half_of(*half)),
            // That end is the master's own.
            Order::Stop(None) => supervisor.names_left(),
            Order::Reload(_) => supervisor.names_starting(),
        };
        let steps = self.waiting.step(Instant::now(), left);
        self.carry_on(steps);
    }

    fn carry_on(&mut self, steps: Vec<Step>) {
        for step in steps {
            let (client, answer) = match step {
                Step::Tell(client, text) => (client, Answer::Line(text)),
                Step::Answer(client, result) => (client, Answer::End(result)),
                Step::Kill(half) => {
                    self.supervisor.kill_leaving(half_of(half));
                    continue;
                }
            };
            self.admin.answer(self.poll.registry(), client, &answer, Vec::new());
        }
    }

    /// Stops a half, or everything; `client` waits for it.
    fn stop(&mut self, client: Option<usize>, half: Option<HalfName>) {
        self.waiting.add(client, Order::Stop(half), Instant::now());
        let Some(half) = half else { return self.end() };
        if !self.stopped.contains(&half) {
            self.stopped.push(half);
        }
        let mut configuration = Configuration::read(&self.options);
        let table = self.without_stopped(configuration.table());
        if table.services.iter().all(|spec| spec.half == Half::Common) {
            return self.end();
        }
        if let Err(errors) = self.supervisor.apply(table) {
            errors.iter().for_each(|error| slog::error!(self.log, "{error}"));
        }
        self.stand_in(&configuration);
    }

    fn without_stopped(&self, mut table: Table) -> Table {
        let name = |half| match half {
            Half::Common => None,
            Half::Transport => Some(HalfName::Transport),
            Half::Mailbox => Some(HalfName::Mailbox),
        };
        table.services.retain(|spec| name(spec.half).is_none_or(|half| !self.stopped.contains(&half)));
        if self.stopped.contains(&HalfName::Mailbox) {
            table.acting.clear();
        }
        table
    }

    /// Reads the configuration anew. A half with errors stays as it is.
    fn reload(&mut self, half: Option<HalfName>) -> Result<(), String> {
        let mut configuration = Configuration::read(&self.options);
        let table = configuration.table();
        let errors: Vec<String> = configuration
            .all_found()
            .filter(|found| found.severity == Severity::Error)
            .map(ToString::to_string)
            .collect();
        for error in &errors {
            slog::error!(self.log, "{error}");
        }
        match half {
            Some(half) => self.stopped.retain(|stopped| *stopped != half),
            None => self.stopped.clear(),
        }
        let bad = [
            (Half::Transport, configuration.transport_found.is_fatal()),
            (Half::Mailbox, configuration.mailbox_found.is_fatal()),
        ];
        let table = self.supervisor.keep(self.without_stopped(table), &bad);
        let applied = self.supervisor.apply(table).map_err(|errors| errors.join("\n"));
        if let Err(error) = &applied {
            slog::error!(self.log, "reload: {error}");
        }
        if half != Some(HalfName::Mailbox) && configuration.transport.is_some() {
            let folder = self.options.main_cf.as_deref().and_then(Path::parent).unwrap_or(Path::new("/etc/postfix"));
            slog::info!(
                self.log,
                "reload -- version {}, configuration {}",
                env!("CARGO_PKG_VERSION"),
                folder.display()
            );
        }
        if half != Some(HalfName::Transport) && configuration.mailbox.is_some() {
            self.sender.line_as(
                LogHalf::Mailbox,
                "master",
                LogSeverity::Warning,
                "SIGHUP received - reloading configuration".into(),
            );
        }
        self.stand_in(&configuration);
        if errors.is_empty() { applied } else { Err(errors.join("\n")) }
    }

    /// Everything finishes its work and ends.
    fn end(&mut self) {
        if self.ending.is_none() {
            self.ending = Some(Instant::now());
            self.supervisor.end();
        }
    }
}

fn half_of(half: HalfName) -> Half {
    match half {
        HalfName::Transport => Half::Transport,
        HalfName::Mailbox => Half::Mailbox,
    }
}
