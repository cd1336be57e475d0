//! Lines over TCP, in clear or over TLS, for the two small clients of `quickstart`.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

/// How long the server may take for a line.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes of the longest line that is read.
const MAX_LINE: u64 = 64 * 1024;

/// What bytes go over.
trait Connection: Read + Write + std::fmt::Debug {}
impl<T: Read + Write + std::fmt::Debug> Connection for T {}

/// A connection that is read by lines.
#[derive(Debug)]
pub struct Lines(BufReader<Box<dyn Connection>>);

/// A socket that is not yet read from, so that TLS may begin on it.
#[derive(Debug)]
pub struct Clear(TcpStream);

impl Clear {
    /// Connects.
    ///
    /// # Errors
    /// What the system says.
    pub fn connect(address: &str, port: u16) -> io::Result<Clear> {
        let socket = TcpStream::connect((address, port))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        Ok(Clear(socket))
    }

    /// Goes on in clear. The clone is what TLS may begin on later, when no answer is outstanding.
    ///
    /// # Errors
    /// What the system says.
    pub fn lines(&self) -> io::Result<Lines> {
        Ok(Lines(BufReader::new(Box::new(self.0.try_clone()?))))
    }

    /// Begins TLS. Handshake errors come with the first line.
    ///
    /// # Errors
    /// The name is no name.
    pub fn encrypt(self, name: &'static str, config: &Arc<ClientConfig>) -> io::Result<Lines> {
        let name = ServerName::try_from(name).map_err(io::Error::other)?;
        let connection = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        Ok(Lines(BufReader::new(Box::new(StreamOwned::new(connection, self.0)))))
    }
}

impl Lines {
    /// Sends a line; its end is added.
    ///
    /// # Errors
    /// What the system says.
    pub fn send(&mut self, line: &str) -> io::Result<()> {
        self.0.get_mut().write_all(format!("{line}\r\n").as_bytes())?;
        self.0.get_mut().flush()
    }

    /// Receives a line without its end.
    ///
    /// # Errors
    /// What the system says; `UnexpectedEof` when the server closes, `InvalidData` for a line without end.
    pub fn receive(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        (&mut self.0).take(MAX_LINE).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let text = String::from_utf8_lossy(&line);
        let line = text.strip_suffix("\r\n").ok_or(io::Error::new(io::ErrorKind::InvalidData, "a line without end"))?;
        Ok(line.to_owned())
    }

    /// Receives bytes of a known number, at most [`MAX_LINE`].
    ///
    /// # Errors
    /// What the system says.
    pub fn receive_bytes(&mut self, number: u64) -> io::Result<Vec<u8>> {
        if number > MAX_LINE {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a literal that is too long"));
        }
        let mut bytes = vec![0; number as usize];
        self.0.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}

/// TLS that trusts one self-signed certificate and no other.
///
/// # Errors
/// The certificate cannot be used.
pub fn trust(certificate: rustls::pki_types::CertificateDer<'static>) -> io::Result<Arc<ClientConfig>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).map_err(io::Error::other)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = builder.map_err(io::Error::other)?.with_root_certificates(roots).with_no_client_auth();
    Ok(Arc::new(config))
}

#[cfg(test)]
pub mod script {
    //! A server that plays a dialogue: it sends the `S:` lines and expects the `C:` lines.

    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;
    use std::thread::JoinHandle;

    /// Serves one connection; the port, and the thread that panics when the client says something else.
    pub fn server(dialogue: &'static str) -> (u16, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let thread = std::thread::spawn(move || {
            let mut socket = BufReader::new(listener.accept().unwrap().0);
            for step in dialogue.lines() {
                match step.split_once(": ").unwrap_or((step.trim_end_matches(':'), "")) {
                    ("S", line) => socket.get_mut().write_all(format!("{line}\r\n").as_bytes()).unwrap(),
                    (_, expected) => {
                        let mut line = String::new();
                        socket.read_line(&mut line).unwrap();
                        assert_eq!(line, format!("{expected}\r\n"));
                    }
                }
            }
        });
        (port, thread)
    }
}
