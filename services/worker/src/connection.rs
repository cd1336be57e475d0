//! One connection: its socket, its TLS state, and the bytes that wait on either side.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::Instant;

use rustls::{ClientConfig, ServerConfig};

use crate::socket::{Socket, Why};

/// Names a connection. A number is not used again while the process lives; a later connection has a greater one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId(pub(crate) u64);

impl ConnId {
    pub(crate) fn slot(self) -> usize {
        (self.0 & 0xffff_ffff) as usize
    }

    /// Any number as a connection, for tests of what a service keeps by connection.
    pub fn for_tests(number: u64) -> ConnId {
        ConnId(number)
    }

    /// A number for keys of the service's own.
    pub fn number(self) -> u64 {
        self.0
    }
}

/// What a finished TLS handshake agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secured {
    /// `TLSv1.3`.
    pub protocol: String,
    /// OpenSSL's name of the suite, as the logs have it: `TLS_AES_256_GCM_SHA384`.
    pub cipher: String,
    /// Bits of the cipher's key.
    pub bits: u16,
    /// Whether an earlier session was taken up again.
    pub resumed: bool,
    /// The host name that the client asked for.
    pub server_name: Option<String>,
}

/// Input that may wait before the socket is read no further.
pub(crate) const INPUT_HIGH: usize = 128 * 1024;
/// Bytes of one read.
pub(crate) const READ_SIZE: usize = 64 * 1024;
/// What rustls may keep for us in either direction.
const TLS_BUFFER: usize = 32 * 1024;

pub(crate) struct Connection {
    pub(crate) id: ConnId,
    pub(crate) socket: Socket,
    /// Whether it was accepted here.
    pub(crate) client: bool,
    tls: Option<Box<rustls::Connection>>,
    handshaking: bool,
    pub(crate) input: Vec<u8>,
    /// Clear text to be sent; with TLS it goes through the records first.
    pub(crate) output: Vec<u8>,
    /// TLS records to be sent.
    records: Vec<u8>,
    /// How much of what is to be sent has left.
    sent: usize,
    /// The socket may have more than was read.
    pub(crate) readable: bool,
    /// The peer sends no more: what waits ends with the end, of which no further event tells.
    hung_up: bool,
    pub(crate) paused: bool,
    /// A handshake waits until `tlsmgr` is there: nothing is read.
    pub(crate) keyless: bool,
    pub(crate) eof: bool,
    /// Close when all output has left.
    pub(crate) closing: bool,
    /// TLS's own end is still to be said.
    goodbye: bool,
    pub(crate) deadline: Option<Instant>,
    /// The earliest time for which the timers know of this connection.
    pub(crate) armed: Option<Instant>,
    /// Input goes to this connection's output.
    pub(crate) joined: Option<ConnId>,
    /// It was joined at some time.
    pub(crate) passed_on: bool,
    pub(crate) in_dirty_list: bool,
    /// The connection was asked for and is not made yet: nothing is read or written.
    pub(crate) connecting: bool,
}

/// What reading brought.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    pub(crate) input: bool,
    pub(crate) secured: Option<Secured>,
    pub(crate) over: Option<Why>,
}

impl Connection {
    pub(crate) fn new(id: ConnId, socket: Socket) -> Connection {
        Connection {
            id,
            socket,
            client: false,
            tls: None,
            handshaking: false,
            input: Vec::new(),
            output: Vec::new(),
            records: Vec::new(),
            sent: 0,
            readable: true,
            hung_up: false,
            paused: false,
            keyless: false,
            eof: false,
            closing: false,
            goodbye: false,
            deadline: None,
            armed: None,
            joined: None,
            passed_on: false,
            in_dirty_list: false,
            connecting: false,
        }
    }

    /// An event came: there is something to read, and `read_closed` says that the end stands behind it.
    pub(crate) fn ready(&mut self, read_closed: bool) {
        self.readable = true;
        self.hung_up |= read_closed;
    }

    /// Whether a connection that was asked for is made by now, or what the system says.
    pub(crate) fn connect_done(&mut self) -> Result<bool, Why> {
        let done = self.socket.connect_done().map_err(|error| Why::Error(error.to_string()))?;
        self.connecting = !done;
        Ok(done)
    }

    /// Turns the connection into the server side of TLS. What was read in clear and not yet taken is dropped: it may have
    /// been put there by somebody between the client and us (CVE-2011-0411).
    pub(crate) fn start_server(&mut self, config: Arc<ServerConfig>) -> Result<(), Why> {
        let tls = rustls::ServerConnection::new(config).map_err(|error| Why::Tls(error.to_string()))?;
        self.start(rustls::Connection::Server(tls));
        Ok(())
    }

    /// The client side of TLS, towards `name`.
    pub(crate) fn start_client(&mut self, config: Arc<ClientConfig>, name: &str) -> Result<(), Why> {
        let name =
            rustls::pki_types::ServerName::try_from(name.to_string()).map_err(|error| Why::Tls(error.to_string()))?;
        let tls = rustls::ClientConnection::new(config, name).map_err(|error| Why::Tls(error.to_string()))?;
        self.start(rustls::Connection::Client(tls));
        Ok(())
    }

    fn start(&mut self, mut tls: rustls::Connection) {
        tls.set_buffer_limit(Some(TLS_BUFFER));
        self.input = Vec::new();
        self.tls = Some(Box::new(tls));
        self.handshaking = true;
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Bytes that have not left, of either kind.
    pub(crate) fn pending(&self) -> usize {
        self.output.len() + self.records.len() - self.sent
    }

    /// Reads until the socket is empty or enough input waits.
    pub(crate) fn read(&mut self, scratch: &mut [u8]) -> Progress {
        let mut progress = Progress::default();
        let wanted = !self.paused && !self.keyless;
        while wanted && self.readable && !self.eof && self.input.len() < INPUT_HIGH && progress.over.is_none() {
            match self.socket.read(scratch) {
                Ok(0) => {
                    self.eof = true;
                    progress.over = Some(Why::Eof);
                }
                Ok(n) => {
                    // A short read has emptied the socket; the next event tells of more, unless it has told of the end.
                    self.readable = self.hung_up || n == scratch.len();
                    self.take_in(&scratch[..n], &mut progress);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.readable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => progress.over = Some(Why::Error(error.to_string())),
            }
        }
        progress
    }

    fn take_in(&mut self, bytes: &[u8], progress: &mut Progress) {
        let Some(tls) = &mut self.tls else {
            self.input.extend_from_slice(bytes);
            progress.input = true;
            return;
        };
        let mut rest = bytes;
        while !rest.is_empty() {
            // Reading from memory fails only when rustls will take no more, which is a broken peer.
            let state = match tls.read_tls(&mut rest) {
                Ok(_) => tls.process_new_packets(),
                Err(error) => {
                    progress.over = Some(Why::Tls(error.to_string()));
                    return;
                }
            };
            let state = match state {
                Ok(state) => state,
                Err(error) => {
                    progress.over = Some(Why::Tls(error.to_string()));
                    return;
                }
            };
            let clear = state.plaintext_bytes_to_read();
            if clear > 0 {
                let start = self.input.len();
                self.input.resize(start + clear, 0);
                // That many bytes are there, so this read is whole.
                let read = tls.reader().read(&mut self.input[start..]).unwrap_or(0);
                self.input.truncate(start + read);
                progress.input = true;
            }
            if state.peer_has_closed() {
                self.eof = true;
                progress.over = Some(Why::Eof);
                return;
            }
        }
        if self.handshaking && !tls.is_handshaking() {
            self.handshaking = false;
            progress.secured = Some(secured(tls));
        }
    }

    /// Sends what the socket takes. Returns whether all has left.
    pub(crate) fn write(&mut self) -> Result<bool, Why> {
        if self.connecting {
            return Ok(false);
        }
        loop {
            let sending = if self.tls.is_some() {
                self.seal()?;
                &self.records
            } else {
                &self.output
            };
            if self.sent == sending.len() {
                self.release_output();
                return Ok(self.pending() == 0);
            }
            match self.socket.write(&sending[self.sent..]) {
                Ok(n) => self.sent += n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Why::Error(error.to_string())),
            }
        }
    }

    /// Clear text through TLS into `records`, as much as rustls takes.
    fn seal(&mut self) -> Result<(), Why> {
        let Some(tls) = &mut self.tls else { return Ok(()) };
        if self.sent == self.records.len() {
            self.records.clear();
            self.sent = 0;
        }
        let failed = |error: io::Error| Why::Tls(error.to_string());
        loop {
            let taken = if self.handshaking { 0 } else { tls.writer().write(&self.output).map_err(failed)? };
            self.output.drain(..taken);
            if self.goodbye && self.output.is_empty() {
                // rustls takes no clear text after this.
                tls.send_close_notify();
                self.goodbye = false;
            }
            while tls.wants_write() {
                tls.write_tls(&mut self.records).map_err(failed)?;
            }
            if taken == 0 || self.output.is_empty() || self.records.len() > 4 * TLS_BUFFER {
                return Ok(());
            }
        }
    }

    /// Everything has left: idle connections keep no buffer.
    fn release_output(&mut self) {
        self.sent = 0;
        if self.tls.is_some() {
            self.records = Vec::new();
        } else {
            self.output = Vec::new();
        }
    }

    /// Tells a TLS peer, behind all output that waits, that this is the end and not an attacker's cut.
    pub(crate) fn say_goodbye(&mut self) {
        self.goodbye = self.tls.is_some();
    }
}

fn secured(tls: &rustls::Connection) -> Secured {
    let protocol = match tls.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_3) => "TLSv1.3",
        _ => "TLSv1.2",
    };
    let suite = tls.negotiated_cipher_suite().map(|suite| format!("{:?}", suite.suite())).unwrap_or_default();
    let bits = if suite.contains("AES_128") { 128 } else { 256 };
    let resumed = tls.handshake_kind() == Some(rustls::HandshakeKind::Resumed);
    let server_name = match tls {
        rustls::Connection::Server(server) => server.server_name().map(str::to_string),
        rustls::Connection::Client(_) => None,
    };
    Secured { protocol: protocol.into(), cipher: openssl_name(&suite), bits, resumed, server_name }
}

/// `TLS13_AES_256_GCM_SHA384` is `TLS_AES_256_GCM_SHA384` to OpenSSL, and
/// `TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256` is `ECDHE-RSA-AES128-GCM-SHA256`.
fn openssl_name(suite: &str) -> String {
    if let Some(rest) = suite.strip_prefix("TLS13_") {
        return format!("TLS_{rest}");
    }
    let name = suite.strip_prefix("TLS_").unwrap_or(suite).replace("_WITH_", "-");
    let name = name.replace("AES_128", "AES128").replace("AES_256", "AES256").replace('_', "-");
    match name.strip_suffix("-POLY1305-SHA256") {
        Some(start) => format!("{start}-POLY1305"),
        None => name,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener};
    use std::time::Duration;

    use mio::{Events, Interest, Poll, Token};

    use super::*;

    /// Connects to `address` as the event loop does it.
    fn connect(address: SocketAddr) -> Result<Connection, Why> {
        let mut connection = Connection::new(ConnId(0), Socket::connect(address).unwrap());
        connection.connecting = true;
        let mut poll = Poll::new().unwrap();
        let interest = Interest::READABLE | Interest::WRITABLE;
        poll.registry().register(connection.socket.source(), Token(0), interest).unwrap();
        let mut events = Events::with_capacity(4);
        while !connection.connect_done()? {
            poll.poll(&mut events, Some(Duration::from_secs(5))).unwrap();
            assert!(!events.is_empty(), "no event for the connection");
        }
        Ok(connection)
    }

    #[test]
    fn a_connection_that_was_asked_for_writes_once_it_is_made() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut waiting = Connection::new(ConnId(0), Socket::connect(address).unwrap());
        waiting.connecting = true;
        waiting.output.extend_from_slice(b"early");
        assert_eq!(waiting.write(), Ok(false), "nothing leaves before the connection is made");

        let mut connection = connect(address).unwrap_or_else(|why| panic!("{why:?}"));
        connection.output.extend_from_slice(b"hello");
        assert_eq!(connection.write(), Ok(true));
        drop(waiting);
        let said = listener.incoming().take(2).map(|stream| {
            let mut said = Vec::new();
            let mut stream = stream.unwrap();
            stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
            let _ = stream.read_to_end(&mut said);
            said
        });
        assert_eq!(said.collect::<Vec<_>>().concat(), b"hello");
    }

    #[test]
    fn last_words_and_the_end_behind_them_are_read_on_one_event() {
        let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let mut connection = Connection::new(ConnId(0), Socket::from_fd(ours.into()).unwrap());
        let (mut poll, mut events) = (Poll::new().unwrap(), Events::with_capacity(4));
        poll.registry().register(connection.socket.source(), Token(0), Interest::READABLE).unwrap();
        theirs.write_all(b"bye").unwrap();
        drop(theirs);
        poll.poll(&mut events, Some(Duration::from_secs(5))).unwrap();
        for event in &events {
            connection.ready(event.is_read_closed());
        }
        let progress = connection.read(&mut [0; 64]);
        assert!(progress.input && connection.input == b"bye");
        assert_eq!(progress.over, Some(Why::Eof), "no further event will tell of the end");
    }

    #[test]
    fn a_connection_that_is_refused_says_so() {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let Err(Why::Error(text)) = connect(address) else { panic!("connected to a closed port") };
        assert!(text.starts_with("Connection refused"), "{text}");
    }

    #[test]
    fn suites_have_the_names_that_logs_have() {
        assert_eq!(openssl_name("TLS13_AES_256_GCM_SHA384"), "TLS_AES_256_GCM_SHA384");
        assert_eq!(openssl_name("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"), "ECDHE-RSA-AES128-GCM-SHA256");
        assert_eq!(openssl_name("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"), "ECDHE-ECDSA-CHACHA20-POLY1305");
    }
}
