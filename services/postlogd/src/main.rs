//! postlogd: writes the log. It reads the packets of all workers from one socket, in the order in which they were sent, and
//! writes each line to syslog, to a file, or to standard output, as its half is configured.
//!
//! What it writes to is opened by the master's connector, again after each loss. While the system log is away or stuck, lines
//! wait up to [`BACKLOG`] and the oldest are dropped and counted: nobody waits for the log.

mod destination;
mod packets;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::time::Duration;

use destination::Destination;
use ipc_config::section::{Section, Values};
use ipc_messages::log::{Half, Record, Severity};
use worker::{Calls, Cx, Service, Setup, StartError};

/// Lines that wait for one destination.
const BACKLOG: usize = 10_000;
/// How soon a lost destination is asked for again.
const RETRY: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    worker::run::<Postlogd>()
}

struct Postlogd {
    section: Section,
    routes: Routes,
    destinations: BTreeMap<u16, Destination>,
    retry_set: bool,
}

/// Which destination takes what: indexes of the connector.
#[derive(Debug, PartialEq, Eq)]
struct Routes {
    transport: u16,
    /// Warnings and worse, information, debugging.
    mailbox: [u16; 3],
    /// As JSON lines instead of text.
    json: bool,
}

impl Routes {
    fn of(section: &Section) -> Routes {
        let index = |name: &str| section.foreign(name).unwrap_or_else(|| panic!("no destination {name}"));
        let json = section.transport.get("posthorn_log_format") == Some("json");
        Routes { transport: index("transport"), mailbox: [index("error"), index("info"), index("debug")], json }
    }

    fn of_record(&self, record: &Record) -> u16 {
        match (record.half, record.severity) {
            (Half::Transport, _) => self.transport,
            (Half::Mailbox, Severity::Debug) => self.mailbox[2],
            (Half::Mailbox, Severity::Info) => self.mailbox[1],
            (Half::Mailbox, _) => self.mailbox[0],
        }
    }
}

/// syslog's number of a facility, by the name that both programs use; `mail` for one that is not known.
fn facility(values: &Values) -> u8 {
    const NAMES: [&str; 12] =
        ["kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp"];
    let name = values.get("syslog_facility").unwrap_or("mail");
    let local = name.strip_prefix("local").and_then(|n| n.parse::<u8>().ok()).filter(|&n| n < 8).map(|n| 16 + n);
    local.or_else(|| NAMES.iter().position(|known| *known == name).map(|at| at as u8)).unwrap_or(2)
}

impl Service for Postlogd {
    const NAME: &'static str = "postlogd";
    const CALLS: Calls = Calls {
        accept: false,
        connect: false,
        files: false,
        threads: false,
        fork: false,
        memfd: false,
        notify: false,
        narrow: false,
    };
    type Section = Section;
    type Opened = OwnedFd;
    type Done = ();

    fn pre_jail(_: &Section, setup: &mut Setup) -> Result<OwnedFd, StartError> {
        setup.take_inbox().ok_or(StartError("the log's socket is missing".into()))
    }

    fn start(section: Section, packets: OwnedFd, _: Setup, cx: &mut Cx<()>) -> Result<Postlogd, StartError> {
        cx.watch(packets::KEY, packets).map_err(|error| StartError::new("log socket", error))?;
        let mut service =
            Postlogd { routes: Routes::of(&section), section, destinations: BTreeMap::new(), retry_set: false };
        service.open_all(cx);
        Ok(service)
    }

    fn readable(&mut self, cx: &mut Cx<()>, _: u64) {
        let mut bad = 0u32;
        if let Some(socket) = cx.watched(packets::KEY) {
            packets::read(socket, |pid, record| match record {
                Some(record) => self.write(pid, &record),
                None => bad += 1,
            });
        }
        if bad > 0 {
            slog::warn!(cx.log(), "{bad} log packets could not be read");
        }
    }

    fn end_of_turn(&mut self, cx: &mut Cx<()>) {
        let lost: Vec<u16> =
            self.destinations.iter_mut().filter_map(|(&index, to)| to.flush().is_err().then_some(index)).collect();
        let waits = self.destinations.values().any(Destination::waits);
        for index in lost {
            self.destinations.entry(index).and_modify(Destination::lose);
        }
        if waits && !self.retry_set {
            self.retry_set = true;
            cx.timer(RETRY, 0);
        }
    }

    fn timer(&mut self, cx: &mut Cx<()>, _: u64) {
        self.retry_set = false;
        for (&index, to) in &self.destinations {
            if !to.is_open() {
                cx.connect_foreign(index);
            }
        }
    }

    fn foreign(&mut self, _: &mut Cx<()>, index: u16, result: Result<OwnedFd, i32>) {
        if let (Ok(fd), Some(to)) = (result, self.destinations.get_mut(&index)) {
            to.open(fd);
        }
    }

    fn reopen(&mut self, cx: &mut Cx<()>) {
        for &index in self.destinations.keys() {
            cx.connect_foreign(index);
        }
    }

    fn reload(&mut self, cx: &mut Cx<()>, section: Section) {
        self.routes = Routes::of(&section);
        self.section = section;
        self.open_all(cx);
    }
}

impl Postlogd {
    /// Asks for every destination. Lines that come before the answer wait.
    fn open_all(&mut self, cx: &mut Cx<()>) {
        let transport = facility(&self.section.transport);
        let mailbox = facility(&self.section.mailbox);
        for (index, name) in (0u16..).zip(&self.section.foreign) {
            let facility = if name == "transport" { transport } else { mailbox };
            let syslog = self.section.transport.get(&format!("{name} is syslog")) == Some("yes");
            let kind = if syslog { destination::Kind::Syslog(facility) } else { destination::Kind::File };
            self.destinations.entry(index).or_insert_with(|| Destination::new(BACKLOG)).set_kind(kind);
            cx.connect_foreign(index);
        }
    }

    fn write(&mut self, pid: u32, record: &Record) {
        let index = self.routes.of_record(record);
        let json = self.routes.json;
        if let Some(to) = self.destinations.get_mut(&index) {
            to.line(record, pid, json);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facilities_have_syslogs_numbers() {
        let of = |name: &str| {
            let mut values = Values::new();
            values.insert("syslog_facility", name);
            facility(&values)
        };
        assert_eq!((of("mail"), of("daemon"), of("local0"), of("local7"), of("local8")), (2, 3, 16, 23, 2));
        assert_eq!(facility(&Values::new()), 2);
    }

    #[test]
    fn lines_go_where_their_half_and_severity_say() {
        let foreign = ["transport", "error", "info", "debug"].map(String::from).to_vec();
        let routes = Routes::of(&Section { foreign, ..Section::default() });
        let to = |half, severity| {
            routes.of_record(&Record { half, tag: String::new(), severity, time: 0, text: String::new() })
        };
        assert_eq!(to(Half::Transport, Severity::Debug), 0);
        assert_eq!(to(Half::Mailbox, Severity::Error), 1);
        assert_eq!(to(Half::Mailbox, Severity::Info), 2);
        assert_eq!(to(Half::Mailbox, Severity::Debug), 3);
    }
}
