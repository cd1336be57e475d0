//! To `tlsmgr`, the only holder of private keys. A TLS server asks for a signature in the middle of a handshake and waits
//! for it, with a time limit; these channels carry nothing else.

use serde::{Deserialize, Serialize};

/// TLS as a server offers it, as a part of its configuration section.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// Positions of its key pairs in `tlsmgr`'s list for this program; the first that fits the client is used.
    pub keys: Vec<u16>,
    /// Whether TLS 1.2 is spoken.
    pub tls12: bool,
    /// Whether TLS 1.3 is spoken.
    pub tls13: bool,
}

/// A question. `key` is the position of a key in the asker's configuration section.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToTlsmgr {
    /// The certificate chain in use now. Answered by [`FromTlsmgr::Chain`], and again by itself whenever the files change.
    Chain {
        /// Which key pair.
        key: u16,
    },
    /// Sign `message`. Answered by [`FromTlsmgr::Signature`].
    Sign {
        /// Which key pair.
        key: u16,
        /// The TLS `SignatureScheme` number.
        scheme: u16,
        /// What to sign, at most 64 KiB less the frame.
        message: Vec<u8>,
    },
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromTlsmgr {
    /// The chain, leaf first, as DER, and the schemes that the key can sign with.
    Chain {
        /// Which key pair.
        key: u16,
        /// Certificates and schemes, or why there are none.
        chain: Result<(Vec<Vec<u8>>, Vec<u16>), String>,
    },
    /// A signature.
    Signature {
        /// The bytes, or why there are none.
        signature: Result<Vec<u8>, String>,
    },
}
