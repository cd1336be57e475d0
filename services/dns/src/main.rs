//! dns: the resolver of all services, with one cache for all of them.
//!
//! Here is what touches the world: the two files of the system's resolver, and a socket for each question that is on its
//! way. Each question leaves from a new socket, which is connected to the server: the kernel picks an unpredictable port
//! and drops what comes from anybody else. What is asked, believed and remembered is [`resolve`]'s business.

mod files;
mod hosts;
mod resolv_conf;
mod resolve;

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::process::ExitCode;
use std::time::Instant;

use files::Files;
use hosts::Hosts;
use ipc_config::section::Section;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};
use resolv_conf::ResolvConf;
use resolve::{Output, Packet, Resolver};
use worker::{Calls, ConnId, Cx, Frame, PeerId, Service, Setup, StartError, Why};

/// The largest answer by UDP that is read; more than is offered to servers.
const MAX_DATAGRAM: usize = 4096;
/// The key of the only timer.
const ALARM: u64 = 0;

fn main() -> ExitCode {
    worker::run::<Dns>()
}

struct Dns {
    resolver: Resolver<PeerId>,
    files: Files,
    /// TCP connections, both ways; a datagram socket is watched under the number of its flight.
    streams: HashMap<ConnId, u64>,
    flights: HashMap<u64, ConnId>,
    /// The time for which the timer is set.
    alarm: Option<Instant>,
}

impl Service for Dns {
    const NAME: &'static str = "dns";
    const CALLS: Calls = Calls {
        accept: false,
        connect: true,
        files: true,
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

    fn start(_: Section, (): (), mut setup: Setup, cx: &mut Cx<()>) -> Result<Dns, StartError> {
        getrandom::u32().map_err(|error| StartError::new("random numbers", error))?;
        // The system's source does not fail once it has worked.
        let random = || getrandom::u32().expect("random numbers") as u16;
        let files = Files::new(std::mem::take(&mut setup.folders));
        let resolver = Resolver::new(ResolvConf::default(), Hosts::default(), Box::new(random));
        let mut dns = Dns { resolver, files, streams: HashMap::new(), flights: HashMap::new(), alarm: None };
        dns.look(cx.now());
        Ok(dns)
    }

    fn frame(&mut self, cx: &mut Cx<()>, id: PeerId, frame: Frame) {
        match frame.decode() {
            Ok((question, _)) => {
                self.look(cx.now());
                self.resolver.ask(id, question, cx.now());
            }
            Err(error) => cx.broken(id, error),
        }
    }

    fn readable(&mut self, cx: &mut Cx<()>, flight: u64) {
        let mut buffer = [0; MAX_DATAGRAM];
        let now = cx.now();
        while let Some(socket) = cx.watched(flight) {
            match recv(socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(n) => self.resolver.received(flight, &buffer[..n], now),
                Err(Errno::EAGAIN) => return,
                Err(Errno::EINTR) => continue,
                Err(error) => self.resolver.failed(flight, error.desc().into(), now),
            }
            // A flight that is over, or that goes on elsewhere, has this socket no more.
            self.carry_out(cx);
        }
    }

    fn input(&mut self, cx: &mut Cx<()>, conn: ConnId) {
        let Some(&flight) = self.streams.get(&conn) else { return };
        while let Some(message) = message(cx.input(conn)) {
            cx.consume(conn, 2 + message.len());
            self.resolver.received(flight, &message, cx.now());
        }
    }

    fn closed(&mut self, cx: &mut Cx<()>, conn: ConnId, why: Why) {
        let Some(flight) = self.streams.remove(&conn) else { return };
        self.flights.remove(&flight);
        let why = if let Why::Error(error) = why { error } else { "the connection was closed".into() };
        self.resolver.failed(flight, why, cx.now());
    }

    fn timer(&mut self, cx: &mut Cx<()>, _: u64) {
        self.alarm = None;
        self.resolver.expire(cx.now());
    }

    fn end_of_turn(&mut self, cx: &mut Cx<()>) {
        self.carry_out(cx);
        if let Some(at) = self.resolver.deadline().filter(|at| self.alarm.is_none_or(|alarm| *at < alarm)) {
            self.alarm = Some(at);
            cx.timer(at.saturating_duration_since(cx.now()), ALARM);
        }
    }

    fn reload(&mut self, _: &mut Cx<()>, _: Section) {}

    fn idle(&self) -> bool {
        self.resolver.is_idle()
    }
}

impl Dns {
    /// Takes over what has changed in the system's files.
    fn look(&mut self, now: Instant) {
        let changed = self.files.look(now);
        if let Some(text) = changed.resolv_conf {
            self.resolver.set_servers(ResolvConf::parse(&text));
        }
        if let Some(text) = changed.hosts {
            self.resolver.set_hosts(Hosts::parse(&text));
        }
    }

    fn carry_out(&mut self, cx: &mut Cx<()>) {
        while let Some(output) = self.resolver.poll() {
            match output {
                Output::Send { flight, packet } => {
                    self.close(cx, flight);
                    if let Err(error) = self.send(cx, flight, &packet) {
                        self.resolver.failed(flight, error.to_string(), cx.now());
                    }
                }
                Output::Close { flight } => self.close(cx, flight),
                Output::Answer { asker, answer } => {
                    if cx.send(asker, &answer, Vec::new()).is_err() {
                        // It does not read what it asked for.
                        cx.drop_peer(asker);
                    }
                }
            }
        }
    }

    fn send(&mut self, cx: &mut Cx<()>, flight: u64, packet: &Packet) -> io::Result<()> {
        if packet.tcp {
            let conn = cx.connect(packet.server)?;
            // A question is far smaller than the 64 KiB that a message may have.
            cx.write(conn, &(packet.bytes.len() as u16).to_be_bytes());
            cx.write(conn, &packet.bytes);
            self.streams.insert(conn, flight);
            self.flights.insert(flight, conn);
            return Ok(());
        }
        let any: SocketAddr = match packet.server {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(any)?;
        socket.set_nonblocking(true)?;
        socket.connect(packet.server)?;
        match socket.send(&packet.bytes) {
            // A datagram that finds no room is lost like any other.
            Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
            _ => {}
        }
        cx.watch(flight, socket.into()).map(drop)
    }

    fn close(&mut self, cx: &mut Cx<()>, flight: u64) {
        cx.unwatch(flight);
        if let Some(conn) = self.flights.remove(&flight) {
            self.streams.remove(&conn);
            cx.abort(conn);
        }
    }
}

/// The first whole message of a stream (RFC 1035 section 4.2.2).
fn message(input: &[u8]) -> Option<Vec<u8>> {
    let (length, rest) = input.split_first_chunk()?;
    rest.get(..usize::from(u16::from_be_bytes(*length))).map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_on_a_stream() {
        assert_eq!(message(b""), None);
        assert_eq!(message(b"\0"), None);
        assert_eq!(message(b"\0\x03ab"), None);
        assert_eq!(message(b"\0\x03abcd"), Some(b"abc".to_vec()));
        assert_eq!(message(b"\0\0"), Some(Vec::new()));
    }
}
