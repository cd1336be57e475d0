//! A certificate chain and its private key.

use std::fmt;
use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SigningKey};

/// Schemes that may be asked for, the best first (RFC 8446, section 4.2.3).
const SCHEMES: [SignatureScheme; 10] = [
    SignatureScheme::ED25519,
    SignatureScheme::ECDSA_NISTP256_SHA256,
    SignatureScheme::ECDSA_NISTP384_SHA384,
    SignatureScheme::ECDSA_NISTP521_SHA512,
    SignatureScheme::RSA_PSS_SHA256,
    SignatureScheme::RSA_PSS_SHA384,
    SignatureScheme::RSA_PSS_SHA512,
    SignatureScheme::RSA_PKCS1_SHA256,
    SignatureScheme::RSA_PKCS1_SHA384,
    SignatureScheme::RSA_PKCS1_SHA512,
];

/// A chain and a key that fit together.
pub struct Pair {
    chain: Vec<CertificateDer<'static>>,
    key: Arc<dyn SigningKey>,
}

impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pair({} certificates)", self.chain.len())
    }
}

impl Pair {
    /// Reads both from PEM (RFC 7468). The first certificate must be the key's.
    ///
    /// # Errors
    /// Text that says what is wrong, without a byte of the key.
    pub fn new(certificates: &[u8], key: &[u8]) -> Result<Pair, String> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(certificates)
            .collect::<Result<_, _>>()
            .map_err(|error| format!("the certificate file is not PEM: {error}"))?;
        if chain.is_empty() {
            return Err("the certificate file holds no certificate".into());
        }
        let key =
            PrivateKeyDer::from_pem_slice(key).map_err(|_| "the key file holds no private key in PEM".to_string())?;
        let key =
            any_supported_type(&key).map_err(|_| "the private key is of a kind that is not supported".to_string())?;
        let certified = CertifiedKey::new(chain, key);
        certified.keys_match().map_err(|_| "the private key is not that of the first certificate".to_string())?;
        Ok(Pair { chain: certified.cert, key: certified.key })
    }

    /// The chain as DER, leaf first.
    pub fn chain(&self) -> Vec<Vec<u8>> {
        self.chain.iter().map(|certificate| certificate.to_vec()).collect()
    }

    /// What the key can sign with, as TLS numbers.
    pub fn schemes(&self) -> Vec<u16> {
        SCHEMES
            .iter()
            .filter(|&&scheme| self.key.choose_scheme(&[scheme]).is_some())
            .map(|&scheme| scheme.into())
            .collect()
    }

    /// Signs `message`.
    ///
    /// # Errors
    /// Text, when the key has no such scheme.
    pub fn sign(&self, scheme: SignatureScheme, message: &[u8]) -> Result<Vec<u8>, String> {
        let signer = self.key.choose_scheme(&[scheme]).ok_or("the key has no such scheme")?;
        signer.sign(message).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(["mail.example.org".to_string()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn a_pair_signs_with_what_it_says() {
        let (certificate, key) = made();
        let pair = Pair::new(certificate.as_bytes(), key.as_bytes()).unwrap();
        assert_eq!(pair.chain().len(), 1);
        assert_eq!(pair.schemes(), [u16::from(SignatureScheme::ECDSA_NISTP256_SHA256)]);
        assert!(!pair.sign(SignatureScheme::ECDSA_NISTP256_SHA256, b"message").unwrap().is_empty());
        assert!(pair.sign(SignatureScheme::RSA_PSS_SHA256, b"message").is_err());
    }

    #[test]
    fn files_that_do_not_fit_are_told_without_the_key() {
        let ((certificate, _), (_, other)) = (made(), made());
        let error = Pair::new(certificate.as_bytes(), other.as_bytes()).unwrap_err();
        assert!(error.contains("not that of the first certificate"), "{error}");
        assert!(Pair::new(b"", other.as_bytes()).unwrap_err().contains("no certificate"));
        assert!(Pair::new(certificate.as_bytes(), b"secret").unwrap_err().contains("no private key"));
    }
}
