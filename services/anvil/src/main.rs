//! anvil: what clients do, counted for the limits of others and for the log. It has no network and opens nothing; those who
//! ask hold to the limits themselves. See [`counts`].

mod counts;

use std::collections::HashMap;
use std::net::IpAddr;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use counts::{Client, Counts, Sessions};
use ipc_config::section::Section;
use ipc_messages::anvil::{FromAnvil, ToAnvil};
use worker::{Calls, Cx, Frame, Peer, PeerId, Service, Setup, StartError};

/// The key of the timer for statistics.
const STATUS: u64 = 0;

fn main() -> ExitCode {
    worker::run::<Anvil>()
}

struct Anvil {
    counts: Counts,
    sessions: Sessions,
    /// What each process has reported and not taken back: it ends with the process.
    reported: HashMap<PeerId, HashMap<Held, u32>>,
    status: Duration,
}

/// A connection, or a session of a user.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Held {
    client: Client,
    user: Option<String>,
}

impl Service for Anvil {
    const NAME: &'static str = "anvil";
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
    type Opened = ();
    type Done = ();

    fn pre_jail(_: &Section, _: &mut Setup) -> Result<(), StartError> {
        Ok(())
    }

    fn start(section: Section, (): (), _: Setup, cx: &mut Cx<()>) -> Result<Anvil, StartError> {
        let status = section.transport.time("anvil_status_update_time");
        cx.timer(status, STATUS);
        let counts = Counts::new(section.transport.time("anvil_rate_time_unit"));
        Ok(Anvil { counts, sessions: Sessions::default(), reported: HashMap::new(), status })
    }

    fn peer_down(&mut self, cx: &mut Cx<()>, id: PeerId, _: &Peer) {
        for (held, times) in self.reported.remove(&id).unwrap_or_default() {
            for _ in 0..times {
                self.release(cx, &held);
            }
        }
    }

    fn frame(&mut self, cx: &mut Cx<()>, id: PeerId, frame: Frame) {
        match frame.decode() {
            Ok((message, _)) => {
                if let Some(answer) = self.take(cx, id, message)
                    && cx.send(id, &answer, Vec::new()).is_err()
                {
                    // It does not read what it asked for.
                    cx.drop_peer(id);
                }
            }
            Err(error) => cx.broken(id, error),
        }
    }

    fn timer(&mut self, cx: &mut Cx<()>, _: u64) {
        self.report(cx);
        cx.timer(self.status, STATUS);
    }

    fn drain(&mut self, cx: &mut Cx<()>) {
        self.report(cx);
    }

    fn reload(&mut self, _: &mut Cx<()>, section: Section) {
        self.status = section.transport.time("anvil_status_update_time");
        self.counts.set_unit(section.transport.time("anvil_rate_time_unit"));
    }

    fn idle(&self) -> bool {
        self.counts.is_empty() && self.sessions.is_empty()
    }
}

impl Anvil {
    fn take(&mut self, cx: &Cx<()>, id: PeerId, message: ToAnvil) -> Option<FromAnvil> {
        let (now, clock) = (cx.now(), SystemTime::now());
        Some(match message {
            ToAnvil::Connect { corr, service, address } => {
                let client = client(service, address);
                let (count, rate) = self.counts.connect(&client, now, clock);
                self.hold(id, Held { client, user: None });
                FromAnvil::Connected { corr, count, rate }
            }
            ToAnvil::Count { corr, service, address, event } => {
                FromAnvil::Rate { corr, rate: self.counts.count(&client(service, address), event, now, clock) }
            }
            ToAnvil::Rate { corr, service, address, event } => {
                FromAnvil::Rate { corr, rate: self.counts.rate(&client(service, address), event, now) }
            }
            ToAnvil::Sessions { corr, service, user, address } => {
                FromAnvil::Sessions { corr, count: self.sessions.count(&client(service, address), &user) }
            }
            ToAnvil::Login { service, user, address } => {
                let client = client(service, address);
                self.sessions.begin(&client, &user);
                self.hold(id, Held { client, user: Some(user) });
                return None;
            }
            ToAnvil::Disconnect { service, address } => {
                self.let_go(cx, id, Held { client: client(service, address), user: None });
                return None;
            }
            ToAnvil::Logout { service, user, address } => {
                self.let_go(cx, id, Held { client: client(service, address), user: Some(user) });
                return None;
            }
        })
    }

    fn hold(&mut self, id: PeerId, held: Held) {
        *self.reported.entry(id).or_default().entry(held).or_default() += 1;
    }

    /// Ends what this process has reported. What it has not, since an earlier anvil was told, is passed over.
    fn let_go(&mut self, cx: &Cx<()>, id: PeerId, held: Held) {
        let Some(reported) = self.reported.get_mut(&id) else { return };
        let Some(times) = reported.get_mut(&held) else { return };
        *times -= 1;
        if *times == 0 {
            reported.remove(&held);
        }
        self.release(cx, &held);
    }

    fn release(&mut self, cx: &Cx<()>, held: &Held) {
        match &held.user {
            None => self.counts.disconnect(&held.client, cx.now()),
            Some(user) => self.sessions.end(&held.client, user),
        }
    }

    fn report(&mut self, cx: &Cx<()>) {
        for line in self.counts.report() {
            slog::info!(cx.log(), "{line}");
        }
    }
}

fn client(service: String, address: IpAddr) -> Client {
    Client { service, address: address.to_canonical() }
}
