//! postlogd: writes the log. It reads the packets of all workers from one socket, in the order in which they were sent, and
//! writes each line to syslog, to a file, or to standard output, as its half is configured.
//!
//! What it writes to is opened by the master's connector, again after each loss. While the system log is away or stuck, lines
//! wait up to [`BACKLOG`] and the oldest are dropped and counted: nobody waits for the log.

mod destination;
mod packets;
mod timestamp;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::time::Duration;

use destination::{Destination, Form, Kind};
use ipc_config::section::Section;
use ipc_log::{MAIL, syslog_facility};
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
    form: Form,
}

impl Routes {
    /// What the master calls the destinations.
    const NAMES: [&str; 4] = ["transport", "error", "info", "debug"];

    fn of(section: &Section) -> Routes {
        let index = |name: &str| section.foreign(name).unwrap_or_else(|| panic!("no destination {name}"));
        let [transport, mailbox @ ..] = Routes::NAMES.map(index);
        let form = Form {
            json: section.transport.get("posthorn_log_format") == Some("json"),
            timestamp: section.mailbox.get("log_timestamp").unwrap_or("%b %d %H:%M:%S ").to_owned(),
        };
        Routes { transport, mailbox, form }
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

/// What a destination of the section is. A facility is one of syslog's: the configuration was checked.
fn kind(section: &Section, name: &str) -> Kind {
    if section.transport.get(&format!("{name} is syslog")) != Some("yes") {
        return Kind::File;
    }
    let values = if name == "transport" { &section.transport } else { &section.mailbox };
    Kind::Syslog(values.get("syslog_facility").and_then(syslog_facility).unwrap_or(MAIL))
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
        for (index, name) in (0u16..).zip(&self.section.foreign) {
            let kind = kind(&self.section, name);
            self.destinations.entry(index).or_insert_with(|| Destination::new(BACKLOG)).set_kind(kind);
            cx.connect_foreign(index);
        }
    }

    fn write(&mut self, pid: u32, record: &Record) {
        let index = self.routes.of_record(record);
        if let Some(to) = self.destinations.get_mut(&index) {
            to.line(record, pid, &self.routes.form);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_half_has_a_facility_of_its_own() {
        let mut section = Section::default();
        for name in ["transport is syslog", "error is syslog"] {
            section.transport.insert(name, "yes");
        }
        assert_eq!((kind(&section, "transport"), kind(&section, "error")), (Kind::Syslog(MAIL), Kind::Syslog(MAIL)));
        section.transport.insert("syslog_facility", "local0");
        section.mailbox.insert("syslog_facility", "daemon");
        assert_eq!((kind(&section, "transport"), kind(&section, "error")), (Kind::Syslog(16), Kind::Syslog(3)));
        assert_eq!(kind(&section, "info"), Kind::File);
    }

    #[test]
    fn the_form_of_lines_is_configured() {
        let mut section = Section { foreign: Routes::NAMES.map(String::from).to_vec(), ..Section::default() };
        assert_eq!(Routes::of(&section).form, Form { json: false, timestamp: "%b %d %H:%M:%S ".into() });
        section.transport.insert("posthorn_log_format", "json");
        section.mailbox.insert("log_timestamp", "%s ");
        assert_eq!(Routes::of(&section).form, Form { json: true, timestamp: "%s ".into() });
    }

    #[test]
    fn lines_go_where_their_half_and_severity_say() {
        let foreign = Routes::NAMES.map(String::from).to_vec();
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
