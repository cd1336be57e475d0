//! The smallest worker that does something: clients get their bytes back, peers their text, but for two: `nonsense` breaks the
//! channel, `flood` brings more than a channel holds.

use std::process::ExitCode;

use worker::{Calls, ConnId, Cx, Frame, Hub, Outbox, Peer, PeerId, Service, Setup, StartError};

/// Messages of a flood: more bytes than a channel may have waiting.
const FLOOD: u32 = 100;

fn main() -> ExitCode {
    worker::run::<Echo>()
}

#[derive(Default)]
struct Echo {
    /// What is on its way to a peer that said `flood`.
    flood: Outbox<String>,
    to: Option<PeerId>,
}

impl Service for Echo {
    const NAME: &'static str = "echo";
    const CALLS: Calls = Calls {
        accept: true,
        connect: false,
        files: false,
        threads: false,
        fork: false,
        memfd: false,
        notify: false,
        narrow: false,
    };
    type Section = ();
    type Opened = ();
    type Done = ();

    fn pre_jail((): &(), _: &mut Setup) -> Result<(), StartError> {
        Ok(())
    }

    fn start((): (), (): (), _: Setup, _: &mut Cx<()>) -> Result<Echo, StartError> {
        Ok(Echo::default())
    }

    fn input(&mut self, cx: &mut Cx<()>, conn: ConnId) {
        let bytes = cx.take_input(conn);
        cx.write(conn, &bytes);
    }

    fn peer_down(&mut self, cx: &mut Cx<()>, _: PeerId, peer: &Peer) {
        slog::info!(cx.log(), "{peer} is gone");
    }

    fn peer_up(&mut self, cx: &mut Cx<()>, id: PeerId, peer: &Peer) {
        slog::info!(cx.log(), "{peer} is there");
        if *peer == Peer::Hub(Hub::Qmgr) && cx.send(id, &"hello", Vec::new()).is_err() {
            cx.drop_peer(id);
        }
    }

    fn frame(&mut self, cx: &mut Cx<()>, id: PeerId, frame: Frame) {
        match frame.decode::<String>() {
            Ok((text, _)) if text == "nonsense" => cx.drop_peer(id),
            Ok((text, _)) if text == "flood" => {
                (0..FLOOD).for_each(|number| self.flood.push(format!("{number:060000}"), Vec::new()));
                self.to = Some(id);
            }
            Ok((text, _)) => {
                if cx.send(id, &text, Vec::new()).is_err() {
                    cx.drop_peer(id);
                }
            }
            Err(error) => cx.broken(id, error),
        }
    }

    fn end_of_turn(&mut self, cx: &mut Cx<()>) {
        self.flood.pump(cx, self.to);
    }

    fn reload(&mut self, _: &mut Cx<()>, (): ()) {}
}
