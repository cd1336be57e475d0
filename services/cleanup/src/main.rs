//! cleanup: takes messages in. What it has said `Queued` to is on stable storage, and stays there until it is delivered or has a
//! queue file of its own.
//!
//! Senders (`smtpd`, `bounce`) stream messages to it over their channels; it completes headers, has recipients expanded by the
//! lookup service, commits to the intake journal, and hands each message to `qmgr`: the envelope, and the content as a sealed
//! memory file. [`core`] decides; [`disk`] does what blocks, on the pool; this module connects them. It opens nothing but the
//! queue folder, and hears nobody but these peers.

mod core;
mod disk;
mod header;
mod message;
mod recipients;
mod settings;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ipc_config::section::Section;
use ipc_messages::lookup::ToLookup;
use ipc_messages::queue::ToQmgr;
use store_queue::fs::Directory;
use store_queue::journal::Geometry;
use worker::{Calls, Cx, Frame, Hub, Outbox, Peer, PeerId, Service, Setup, StartError};

use crate::core::{Action, Core};
use crate::disk::{Disk, Done, LANES, Opened};
use crate::settings::Settings;

/// How often time is looked at while there is something to do.
const TICK: Duration = Duration::from_secs(1);
/// Messages for `qmgr` above which no more are read back for it.
const REPLAY_ROOM: usize = 256;

const TICK_TIMER: u64 = 0;

fn main() -> ExitCode {
    worker::run::<Cleanup>()
}

struct Cleanup {
    core: Core,
    disk: Arc<Disk<Directory>>,
    to_qmgr: Outbox<ToQmgr>,
    to_lookup: Outbox<ToLookup>,
    ticking: bool,
}

impl Service for Cleanup {
    const NAME: &'static str = "cleanup";
    const CALLS: Calls = Calls {
        accept: false,
        connect: false,
        files: true,
        threads: true,
        fork: false,
        memfd: true,
        notify: false,
        narrow: false,
    };
    type Section = Section;
    type Opened = Directory;
    type Done = Done;

    fn pre_jail(_: &Section, setup: &mut Setup) -> Result<Directory, StartError> {
        setup.only_folder().map(Directory::from)
    }

    fn start(section: Section, queue: Directory, _: Setup, cx: &mut Cx<Done>) -> Result<Cleanup, StartError> {
        cx.set_threads(LANES);
        let now = now();
        let opened = Disk::open(queue, Geometry::default(), now.as_micros() as u64);
        let Opened { disk, live, damage } = opened.map_err(|error| StartError::new("queue", error))?;
        for damage in damage {
            slog::warn!(cx.log(), "{damage}");
        }
        Ok(Cleanup {
            core: Core::new(Settings::of(&section), &live, now.as_secs()),
            disk: Arc::new(disk),
            to_qmgr: Outbox::default(),
            to_lookup: Outbox::default(),
            ticking: false,
        })
    }

    fn peer_up(&mut self, _: &mut Cx<Done>, id: PeerId, peer: &Peer) {
        match peer {
            Peer::Hub(Hub::Qmgr) => {
                self.to_qmgr.clear();
                self.core.qmgr_up();
            }
            Peer::Hub(Hub::Lookup) => {
                self.to_lookup.clear();
                self.core.lookup_up();
            }
            Peer::Hub(_) => {}
            Peer::Client { .. } => self.core.client_up(id),
        }
    }

    fn peer_down(&mut self, cx: &mut Cx<Done>, id: PeerId, peer: &Peer) {
        match peer {
            // The successor may have come before the end of the old one was noticed.
            Peer::Hub(Hub::Qmgr) if cx.hub(Hub::Qmgr).is_none() => {
                self.to_qmgr.clear();
                self.core.qmgr_down();
            }
            Peer::Hub(Hub::Lookup) if cx.hub(Hub::Lookup).is_none() => self.core.lookup_down(),
            Peer::Hub(_) => {}
            Peer::Client { .. } => self.core.client_down(id),
        }
    }

    fn frame(&mut self, cx: &mut Cx<Done>, id: PeerId, frame: Frame) {
        if cx.hub(Hub::Qmgr) == Some(id) {
            match frame.decode() {
                Ok((order, _)) => self.core.order(order),
                Err(error) => cx.broken(id, error),
            }
        } else if cx.hub(Hub::Lookup) == Some(id) {
            match frame.decode() {
                Ok((answer, _)) => self.core.answer(answer),
                Err(error) => cx.broken(id, error),
            }
        } else {
            match frame.decode() {
                Ok((message, _)) => {
                    if self.core.intake(id, message, dates).is_err() {
                        slog::error!(cx.log(), "a sender begins a message that it has begun; its channel is closed");
                        cx.drop_peer(id);
                    }
                }
                Err(error) => cx.broken(id, error),
            }
        }
    }

    fn done(&mut self, _: &mut Cx<Done>, done: Done) {
        self.core.done(done);
    }

    fn timer(&mut self, cx: &mut Cx<Done>, _: u64) {
        self.ticking = false;
        self.core.tick(now().as_secs(), cx.draining());
    }

    fn end_of_turn(&mut self, cx: &mut Cx<Done>) {
        for action in self.core.end_of_turn(self.to_qmgr.len() < REPLAY_ROOM) {
            self.act(cx, action);
        }
        self.to_qmgr.pump_to_hub(cx, Hub::Qmgr);
        self.to_lookup.pump_to_hub(cx, Hub::Lookup);
        if !self.ticking && !self.core.is_idle() {
            self.ticking = true;
            cx.timer(TICK, TICK_TIMER);
        }
    }

    fn reload(&mut self, _: &mut Cx<Done>, section: Section) {
        self.core.reload(Settings::of(&section));
    }

    fn idle(&self) -> bool {
        self.core.is_idle()
    }
}

impl Cleanup {
    fn act(&mut self, cx: &mut Cx<Done>, action: Action) {
        match action {
            // A sender that does not read its answers gets none; its end aborts its messages.
            Action::Tell(peer, message) => {
                if cx.send(peer, &message, Vec::new()).is_err() {
                    cx.drop_peer(peer);
                }
            }
            Action::Ask(question) => self.to_lookup.push(question, Vec::new()),
            Action::Qmgr(message, fds) => self.to_qmgr.push(message, fds),
            Action::Log(line, false) => slog::info!(cx.log(), "{line}"),
            Action::Log(line, true) => slog::warn!(cx.log(), "{line}"),
            Action::Work(work) => {
                let disk = self.disk.clone();
                let taken = cx.run(Box::new(move || disk.perform(work)));
                assert!(taken.is_ok(), "no more than one piece of work is in each lane");
            }
        }
    }
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// A time of arrival, in seconds since 1970, as `Date` has it, and as a `Message-Id` does.
fn dates(seconds: u64) -> (String, String) {
    let local = ipc_jail::sys::local_time(seconds as i64);
    let days = (seconds / 86_400) as i64;
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let stamp = format!("{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}");
    (format!("{} ({})", local.header_date(), local.zone), stamp)
}

/// Year, month and day of a number of days since 1970, in the Gregorian calendar.
fn civil(days: i64) -> (i64, i64, i64) {
    // Years are counted from March, so that a leap day is the last of its year.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stamp_of_a_message_id_is_in_utc() {
        let table = [(0, "19700101000000"), (951_782_399, "20000228235959"), (951_782_400, "20000229000000")];
        for (seconds, expected) in table {
            assert_eq!(dates(seconds).1, expected);
        }
        assert_eq!(dates(1_795_220_402).1, "20261121002002");
    }
}
