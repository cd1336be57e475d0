//! The service as a worker: channels and the clock for [`Requests`].

use std::fs::File;
use std::time::{SystemTime, UNIX_EPOCH};

use ipc_config::section::Section;
use ipc_messages::bounce::ToBounce;
use worker::{Calls, Cx, Frame, Hub, Peer, PeerId, Service, Setup, StartError};

use crate::requests::{Order, Requests};
use crate::settings::Settings;

/// The service.
pub struct Bounce {
    requests: Requests<PeerId, File>,
    cleanup: Option<PeerId>,
}

impl Service for Bounce {
    const NAME: &'static str = "bounce";
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

    fn start(section: Section, (): (), _: Setup, _: &mut Cx<()>) -> Result<Bounce, StartError> {
        Ok(Bounce { requests: Requests::new(Settings::new(&section)), cleanup: None })
    }

    fn peer_up(&mut self, _: &mut Cx<()>, id: PeerId, peer: &Peer) {
        if *peer == Peer::Hub(Hub::Cleanup) {
            self.cleanup = Some(id);
            self.requests.cleanup_up();
        }
    }

    fn peer_down(&mut self, _: &mut Cx<()>, id: PeerId, _: &Peer) {
        if self.cleanup == Some(id) {
            self.cleanup = None;
            self.requests.cleanup_down();
        } else {
            self.requests.asker_lost(id);
        }
    }

    fn frame(&mut self, cx: &mut Cx<()>, id: PeerId, frame: Frame) {
        if self.cleanup == Some(id) {
            return match frame.decode() {
                Ok((message, _)) => self.requests.cleanup_said(message, now()),
                Err(error) => cx.broken(id, error),
            };
        }
        match frame.decode() {
            Ok((ToBounce::Begin { id: request, kind, original }, fds)) => match fds.into_iter().next() {
                Some(fd) => self.requests.begin(id, request, kind, *original, File::from(fd)),
                None => {
                    slog::error!(cx.log(), "{}: asked for a notification without the message", original.queue_id);
                    cx.drop_peer(id);
                }
            },
            Ok((message, _)) => self.requests.asked(id, message, now()),
            Err(error) => cx.broken(id, error),
        }
    }

    fn end_of_turn(&mut self, cx: &mut Cx<()>) {
        while let Some(order) = self.requests.poll() {
            let sent = match order {
                Order::Intake(message) => {
                    let Some(cleanup) = self.cleanup else { continue };
                    cx.send(cleanup, &message, Vec::new()).map_err(|error| (cleanup, error))
                }
                Order::Answer(peer, answer) => cx.send(peer, &answer, Vec::new()).map_err(|error| (peer, error)),
                Order::Info(line) => {
                    slog::info!(cx.log(), "{line}");
                    Ok(())
                }
                Order::Warning(line) => {
                    slog::warn!(cx.log(), "{line}");
                    Ok(())
                }
            };
            // A peer that does not keep up: everything is asked again on a new channel.
            if let Err((peer, error)) = sent {
                slog::warn!(cx.log(), "channel: {error:?}; the channel is closed");
                cx.drop_peer(peer);
            }
        }
    }

    fn reload(&mut self, _: &mut Cx<()>, section: Section) {
        self.requests.reload(Settings::new(&section));
    }

    fn idle(&self) -> bool {
        self.requests.len() == 0
    }
}

/// Microseconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}
