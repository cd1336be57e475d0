//! A blocking connection, in clear or in TLS, read by lines and by counts.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};

use crate::options::Problem;

/// A server that says nothing for so long has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// The longest line that any of the protocols here answers with.
const LINE_LIMIT: usize = 1 << 16;

enum Stream {
    Clear(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// One connection.
pub struct Connection {
    stream: Stream,
    buffer: Vec<u8>,
    /// What of `buffer` was consumed.
    start: usize,
}

impl Connection {
    /// Connects in clear.
    pub fn open(to: SocketAddr) -> Result<Connection, Problem> {
        let stream = TcpStream::connect(to)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Connection { stream: Stream::Clear(stream), buffer: Vec::new(), start: 0 })
    }

    /// Goes over to TLS. Nothing may have been read ahead.
    pub fn start_tls(self) -> Result<Connection, Problem> {
        let Stream::Clear(socket) = self.stream else { return Err("TLS within TLS".into()) };
        if self.start != self.buffer.len() {
            return Err("the server spoke before TLS".into());
        }
        let name = ServerName::try_from("mailhost.maildomain.test")?;
        let client = ClientConnection::new(tls_config()?, name)?;
        let stream = Stream::Tls(Box::new(StreamOwned::new(client, socket)));
        Ok(Connection { stream, buffer: Vec::new(), start: 0 })
    }

    /// Sends all of it.
    pub fn send(&mut self, data: &[u8]) -> Result<(), Problem> {
        match &mut self.stream {
            Stream::Clear(socket) => socket.write_all(data)?,
            Stream::Tls(tls) => {
                tls.write_all(data)?;
                tls.flush()?;
            }
        }
        Ok(())
    }

    /// The next line, without its end.
    pub fn line(&mut self) -> Result<String, Problem> {
        let mut searched = self.start;
        loop {
            if let Some(at) = self.buffer[searched..].iter().position(|&byte| byte == b'\n') {
                let end = searched + at;
                let line = String::from_utf8_lossy(&self.buffer[self.start..end]).trim_end_matches('\r').to_owned();
                self.start = end + 1;
                return Ok(line);
            }
            if self.buffer.len() - self.start > LINE_LIMIT {
                return Err("an endless line".into());
            }
            let pending = self.buffer.len() - self.start;
            self.fill()?;
            searched = self.start + pending;
        }
    }

    /// Skips so many bytes.
    pub fn skip(&mut self, mut count: usize) -> Result<(), Problem> {
        loop {
            let here = count.min(self.buffer.len() - self.start);
            self.start += here;
            count -= here;
            if count == 0 {
                return Ok(());
            }
            self.fill()?;
        }
    }

    fn fill(&mut self) -> Result<(), Problem> {
        self.buffer.drain(..self.start);
        self.start = 0;
        let mut chunk = [0; 1 << 16];
        let count = match &mut self.stream {
            Stream::Clear(socket) => socket.read(&mut chunk)?,
            Stream::Tls(tls) => tls.read(&mut chunk)?,
        };
        if count == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        self.buffer.extend_from_slice(&chunk[..count]);
        Ok(())
    }
}

/// One configuration for all: a new session each time, as strangers have it, any certificate accepted.
fn tls_config() -> Result<Arc<ClientConfig>, Problem> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    if let Some(config) = CONFIG.get() {
        return Ok(config.clone());
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        .with_no_client_auth();
    config.resumption = rustls::client::Resumption::disabled();
    Ok(CONFIG.get_or_init(|| Arc::new(config)).clone())
}

/// The servers under test have self-signed certificates; their signatures are checked all the same, for that is the work
/// a client does.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
