//! TLS without a key byte in this process: the certificate chain and each signature come from `tlsmgr`.
//!
//! A signature is asked for in the middle of a handshake, and the process waits for it, at most [`TIME_LIMIT`]. A chain
//! is asked for again when it is older than [`CHAIN_AGE`], so that a renewed certificate is taken over without a reload.

mod opportunistic;

use std::fmt;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ipc_messages::tls::{FromTlsmgr, Offer, ToTlsmgr};
use rustls::pki_types::CertificateDer;
use rustls::server::{ClientHello, ResolvesServerCert, ServerSessionMemoryCache};
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::{ServerConfig, SignatureAlgorithm, SignatureScheme};

pub use opportunistic::opportunistic;

/// How long a handshake waits for `tlsmgr`.
pub const TIME_LIMIT: Duration = Duration::from_secs(5);
/// How old a chain may be before it is asked for again.
pub const CHAIN_AGE: Duration = Duration::from_secs(30);
/// Sessions that one process remembers for resumption.
const SESSIONS: usize = 512;

/// The way to `tlsmgr`. Clones share it.
#[derive(Clone, Default, Debug)]
pub struct Signatures(Arc<Mutex<Way>>);

#[derive(Default, Debug)]
struct Way {
    /// The channel, and the master's name for it.
    channel: Option<(UnixStream, u32)>,
    /// The name of a channel that was closed, of which the master has not heard, and why.
    lost: Option<(u32, String)>,
}

impl Signatures {
    /// Takes a new channel; an old one is closed.
    pub(crate) fn connect(&self, fd: OwnedFd, link: u32) {
        let stream = UnixStream::from(fd);
        // All three are settings of a socket that is ours; without them the time limit would not hold.
        let ready = (stream.set_nonblocking(false))
            .and_then(|()| stream.set_read_timeout(Some(TIME_LIMIT)))
            .and_then(|()| stream.set_write_timeout(Some(TIME_LIMIT)));
        let channel = ready.is_ok().then_some((stream, link));
        *self.way() = Way { channel, lost: None };
    }

    /// The name of a channel that was closed since the last call, and why.
    pub(crate) fn take_lost(&self) -> Option<(u32, String)> {
        self.way().lost.take()
    }

    fn way(&self) -> MutexGuard<'_, Way> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether `tlsmgr` is there, as far as is known.
    pub(crate) fn connected(&self) -> bool {
        self.way().channel.is_some()
    }

    /// One question and its answer. After an error the channel is closed: its next answer would be to another question.
    fn ask(&self, question: &ToTlsmgr) -> Result<FromTlsmgr, String> {
        let mut way = self.way();
        let (channel, link) = way.channel.as_mut().ok_or("tlsmgr is not there")?;
        let (answer, link) = (exchange(channel, question), *link);
        if let Err(why) = &answer {
            *way = Way { channel: None, lost: Some((link, why.clone())) };
        }
        answer
    }
}

/// The frames of `ipc_wire`, read and written with waiting.
fn exchange(channel: &mut UnixStream, question: &ToTlsmgr) -> Result<FromTlsmgr, String> {
    let text = |error: std::io::Error| format!("tlsmgr: {error}");
    let frame = ipc_wire::blocking::encode(question).ok_or("a question to tlsmgr is too long")?;
    channel.write_all(&frame).map_err(text)?;
    let mut header = [0; ipc_wire::HEADER_LEN];
    channel.read_exact(&mut header).map_err(text)?;
    let length = ipc_wire::blocking::body_len(&header).map_err(|error| format!("tlsmgr: {error}"))?;
    let mut body = vec![0; length];
    channel.read_exact(&mut body).map_err(text)?;
    ipc_wire::blocking::decode(body).map_err(|error| format!("tlsmgr: {error}"))
}

/// A server configuration for what the section offers.
///
/// # Errors
/// Text that says what cannot be offered.
pub fn server(offer: &Offer, signatures: Signatures) -> Result<Arc<ServerConfig>, String> {
    let versions: Vec<_> = [(offer.tls13, &rustls::version::TLS13), (offer.tls12, &rustls::version::TLS12)]
        .into_iter()
        .filter_map(|(wanted, version)| wanted.then_some(version))
        .collect();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let resolver = Resolver { keys: offer.keys.iter().map(|&key| Pair::new(key, signatures.clone())).collect() };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions)
        .map_err(|error| error.to_string())?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(resolver));
    config.session_storage = ServerSessionMemoryCache::new(SESSIONS);
    config.send_tls13_tickets = 1;
    Ok(Arc::new(config))
}

/// Whether a chain can be had for the first key of `offer`; for what is logged at the start.
///
/// # Errors
/// What `tlsmgr` says.
pub fn probe(offer: &Offer, signatures: &Signatures) -> Result<(), String> {
    let key = *offer.keys.first().ok_or("no certificate is configured")?;
    Pair::new(key, signatures.clone()).fetch().map(|_| ())
}

struct Resolver {
    keys: Vec<Pair>,
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Resolver({} keys)", self.keys.len())
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let mut chains = self.keys.iter().filter_map(Pair::certified).peekable();
        let first = chains.peek().cloned();
        chains.find(|chain| chain.key.choose_scheme(hello.signature_schemes()).is_some()).or(first)
    }
}

/// One key pair, its chain kept for a while.
struct Pair {
    key: u16,
    signatures: Signatures,
    kept: Mutex<Option<(Instant, Arc<CertifiedKey>)>>,
}

impl Pair {
    fn new(key: u16, signatures: Signatures) -> Pair {
        Pair { key, signatures, kept: Mutex::new(None) }
    }

    /// The chain; an old one rather than none when `tlsmgr` does not answer.
    fn certified(&self) -> Option<Arc<CertifiedKey>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, chain)) = kept.as_ref().filter(|(since, _)| since.elapsed() < CHAIN_AGE) {
            return Some(chain.clone());
        }
        match self.fetch() {
            Ok(chain) => *kept = Some((Instant::now(), Arc::new(chain))),
            Err(_) if kept.is_some() => {}
            Err(_) => return None,
        }
        kept.as_ref().map(|(_, chain)| chain.clone())
    }

    fn fetch(&self) -> Result<CertifiedKey, String> {
        match self.signatures.ask(&ToTlsmgr::Chain { key: self.key })? {
            FromTlsmgr::Chain { chain, .. } => {
                let (certificates, schemes) = chain?;
                let schemes = schemes.into_iter().map(SignatureScheme::from).collect();
                let key = RemoteKey { key: self.key, schemes, signatures: self.signatures.clone() };
                Ok(CertifiedKey::new(certificates.into_iter().map(CertificateDer::from).collect(), Arc::new(key)))
            }
            FromTlsmgr::Signature { .. } => Err("tlsmgr answered another question".into()),
        }
    }
}

/// A key that is somewhere else.
#[derive(Debug, Clone)]
struct RemoteKey {
    key: u16,
    schemes: Vec<SignatureScheme>,
    signatures: Signatures,
}

impl SigningKey for RemoteKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let scheme = *self.schemes.iter().find(|scheme| offered.contains(scheme))?;
        Some(Box::new(RemoteSigner { key: self.clone(), scheme }))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        match self.schemes.first() {
            Some(SignatureScheme::ED25519) => SignatureAlgorithm::ED25519,
            Some(
                SignatureScheme::ECDSA_NISTP256_SHA256
                | SignatureScheme::ECDSA_NISTP384_SHA384
                | SignatureScheme::ECDSA_NISTP521_SHA512,
            ) => SignatureAlgorithm::ECDSA,
            _ => SignatureAlgorithm::RSA,
        }
    }
}

#[derive(Debug)]
struct RemoteSigner {
    key: RemoteKey,
    scheme: SignatureScheme,
}

impl Signer for RemoteSigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        let question = ToTlsmgr::Sign { key: self.key.key, scheme: self.scheme.into(), message: message.to_vec() };
        match self.key.signatures.ask(&question).map_err(rustls::Error::General)? {
            FromTlsmgr::Signature { signature } => signature.map_err(rustls::Error::General),
            FromTlsmgr::Chain { .. } => Err(rustls::Error::General("tlsmgr answered another question".into())),
        }
    }

    fn scheme(&self) -> SignatureScheme {
        self.scheme
    }
}
