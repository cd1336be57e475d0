//! Password schemes: what stands in a passdb, compared with what a client sent.
//!
//! Behaves as Dovecot 2.3 (`doveadm-pw(1)`, "Password Schemes"): `{SCHEME}hash`, `{SCHEME.b64}`, `{SCHEME.hex}`, and a
//! default scheme for what has no prefix. A hash that does not fit its scheme matches no password; the error says why, in
//! Dovecot's words. Comparison is constant-time, secrets are wiped, and a hash cannot make one login cost more than
//! [`limits`] allow. Nothing here does input or output.

mod argon;
mod crypt;
mod crypt64;
mod des;
mod generate;
pub mod limits;
mod pbkdf;

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use md5::Md5;
use sha1::{Digest, Sha1};
use sha2::{Sha256, Sha512};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

pub use generate::generate;

/// The schemes, in the order in which `doveadm pw -l` lists them.
pub const SCHEMES: [Scheme; 24] = [
    Scheme::Crypt,
    Scheme::BlfCrypt,
    Scheme::Sha512Crypt,
    Scheme::Sha256Crypt,
    Scheme::Md5Crypt,
    Scheme::DesCrypt,
    Scheme::Argon2i,
    Scheme::Argon2id,
    Scheme::Pbkdf2,
    Scheme::Ssha512,
    Scheme::Ssha256,
    Scheme::Ssha,
    Scheme::Smd5,
    Scheme::Sha512,
    Scheme::Sha256,
    Scheme::Sha1,
    Scheme::Sha,
    Scheme::LdapMd5,
    Scheme::PlainMd5,
    Scheme::Md5,
    Scheme::Plain,
    Scheme::Clear,
    Scheme::Cleartext,
    Scheme::PlainTrunc,
];

/// What Dovecot knows and this crate does not: they belong to mechanisms that are not offered.
const FOREIGN: [&str; 7] = ["CRAM-MD5", "HMAC-MD5", "DIGEST-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256", "OTP", "PLAIN-MD4"];

/// A way of storing a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the documentation: each is Dovecot's")]
pub enum Scheme {
    Crypt,
    BlfCrypt,
    Sha512Crypt,
    Sha256Crypt,
    Md5Crypt,
    DesCrypt,
    Argon2i,
    Argon2id,
    Pbkdf2,
    Ssha512,
    Ssha256,
    Ssha,
    Smd5,
    Sha512,
    Sha256,
    Sha1,
    Sha,
    LdapMd5,
    PlainMd5,
    Md5,
    Plain,
    Clear,
    Cleartext,
    PlainTrunc,
}

/// How the bytes of a hash are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    None,
    Base64,
    Hex,
}

/// Why a stored password can match nothing. `Display` is what Dovecot logs after the user, as an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashError {
    /// The scheme, as written, is none of ours.
    UnknownScheme(String),
    /// The text is not in the scheme's encoding, or has not its length.
    Undecodable {
        /// The scheme as written.
        scheme: String,
        /// What is wrong.
        reason: String,
    },
    /// Decoded, but not a hash of this scheme.
    Invalid {
        /// The stored text, wiped when dropped; logged only with `auth_debug_passwords`.
        hash: Zeroizing<String>,
        /// What is wrong.
        reason: String,
    },
}

impl HashError {
    /// The line for the log; `show` (`auth_debug_passwords`) includes the stored hash.
    pub fn message(&self, show: bool) -> String {
        match self {
            Self::UnknownScheme(scheme) => format!("Unknown scheme {scheme}"),
            Self::Undecodable { scheme, reason } => format!("Password data is not valid for scheme {scheme}: {reason}"),
            Self::Invalid { hash, reason } if show => {
                format!("Invalid password '{}' in passdb: {reason}", hash.as_str())
            }
            Self::Invalid { reason, .. } => format!("Invalid password in passdb: {reason}"),
        }
    }

    /// The reason alone, as `doveadm pw -t` prints it.
    pub fn reason(&self) -> &str {
        match self {
            Self::UnknownScheme(_) => "Unknown scheme",
            Self::Undecodable { reason, .. } | Self::Invalid { reason, .. } => reason,
        }
    }
}

impl fmt::Display for HashError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.message(false))
    }
}

impl std::error::Error for HashError {}

/// A password as a passdb holds it. Wiped when dropped, and never shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Stored {
    scheme: String,
    hash: Zeroizing<String>,
}

impl fmt::Debug for Stored {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Stored").field("scheme", &self.scheme).finish_non_exhaustive()
    }
}

impl Stored {
    /// Takes `{SCHEME}hash` apart; `default_scheme` is for a text without a prefix. `$1$…` is MD5-CRYPT by itself.
    ///
    /// An unknown scheme is found by [`Stored::verify`], so that it is reported for the user whose login meets it.
    pub fn parse(text: &str, default_scheme: &str) -> Self {
        let stored = |scheme: &str, hash: &str| Self { scheme: scheme.into(), hash: Zeroizing::new(hash.into()) };
        if let Some(rest) = text.strip_prefix("$1$")
            && let Some(salt) = rest.find('$')
        {
            // What follows a further `$` is not part of the hash.
            let end = rest[salt + 1..].find('$').map_or(text.len(), |end| "$1$".len() + salt + 1 + end);
            return stored("MD5-CRYPT", &text[..end]);
        }
        match text.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
            Some((scheme, hash)) => stored(scheme, hash),
            None => stored(default_scheme, text),
        }
    }

    /// A text that is known to belong to `scheme`, whatever it looks like.
    pub fn new(scheme: &str, hash: &str) -> Self {
        Self { scheme: scheme.into(), hash: Zeroizing::new(hash.into()) }
    }

    /// The scheme as written, encoding suffix included.
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// The text behind the scheme. A secret: for the log only with `auth_debug_passwords`.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// Whether `password` is the stored one. Takes as long as the scheme is meant to take: call it on a thread of its own.
    ///
    /// # Errors
    /// The stored hash is broken, and so matches nothing.
    pub fn verify(&self, password: &[u8]) -> Result<bool, HashError> {
        let (scheme, raw) = self.decode()?;
        scheme.verify_raw(password, &raw).map_err(|reason| HashError::Invalid { hash: self.hash.clone(), reason })
    }

    /// The scheme, and the hash in the bytes that it compares.
    fn decode(&self) -> Result<(Scheme, Zeroizing<Vec<u8>>), HashError> {
        let (scheme, encoding, stated) =
            Scheme::lookup(&self.scheme).ok_or_else(|| HashError::UnknownScheme(self.scheme.clone()))?;
        let undecodable = |reason: String| HashError::Undecodable { scheme: self.scheme.clone(), reason };
        let (length, text) = (scheme.digest_length(), self.hash.as_str());
        // A digest's length tells hexadecimal digits from base64, if the suffix does not.
        let guess = !stated && encoding != Encoding::None && length != 0;
        let encoding = match encoding {
            _ if guess && text.len() == 2 * length => Encoding::Hex,
            _ if guess => Encoding::Base64,
            encoding => encoding,
        };
        let raw = match encoding {
            Encoding::None => text.as_bytes().to_vec(),
            Encoding::Base64 => from_base64(text).map_err(undecodable)?,
            Encoding::Hex => match from_hex(text) {
                Some(raw) => raw,
                None if guess => from_base64(text).map_err(undecodable)?,
                None => return Err(undecodable("Input isn't valid HEX encoded data".into())),
            },
        };
        if length != 0 && raw.len() != length {
            return Err(undecodable(format!("Input length isn't valid ({} instead of {length})", raw.len())));
        }
        Ok((scheme, Zeroizing::new(raw)))
    }
}

/// Whether `hash` (with or without `{SCHEME}`) can be a hash of `scheme` at all, without knowing a password.
///
/// This is what `check` asks for each line of a passwd-file.
///
/// # Errors
/// Why no password will ever match, and what to write instead.
pub fn plausible(scheme: &str, hash: &str) -> Result<(), String> {
    let stored = Stored::parse(hash, scheme);
    let (scheme, raw) = stored.decode().map_err(|error| match &error {
        HashError::UnknownScheme(name) if FOREIGN.iter().any(|foreign| foreign.eq_ignore_ascii_case(name)) => {
            format!("scheme {name} belongs to a mechanism that is not offered here: store a {{SHA512-CRYPT}} hash")
        }
        error => error.to_string(),
    })?;
    let text = String::from_utf8_lossy(&raw);
    let wanted = match crypt::method(&text).filter(|_| text.starts_with('$')) {
        Some(crypt::Method::Md5) => "MD5-CRYPT",
        Some(crypt::Method::Blowfish) => "BLF-CRYPT",
        Some(crypt::Method::Sha256) => "SHA256-CRYPT",
        Some(crypt::Method::Sha512) => "SHA512-CRYPT",
        Some(crypt::Method::Yescrypt) => "CRYPT",
        _ if text.starts_with("$argon2id$") => "ARGON2ID",
        _ if text.starts_with("$argon2i$") => "ARGON2I",
        _ => "",
    };
    if scheme.is_clear() && !wanted.is_empty() {
        return Err(format!(
            "the password is compared as {}, but it looks like a hash of {wanted}: write {{{wanted}}} before it, or \
             scheme={wanted}",
            stored.scheme
        ));
    }
    if raw.is_empty() && !scheme.is_clear() {
        return Err(format!("an empty {} hash matches no password", stored.scheme));
    }
    // Any password shows whether the hash itself is usable; it must also come out in the form in which it is stored.
    let shape = match scheme.verify_raw(b"x", &raw) {
        Err(reason) => Err(reason),
        Ok(_) if scheme.is_crypt() => crypt::crypt(b"x", &text).map_or(Err("not a crypt(3) hash".to_owned()), |hash| {
            if hash.len() == text.len() { Ok(()) } else { Err("not a whole crypt(3) hash".to_owned()) }
        }),
        Ok(_) => Ok(()),
    };
    shape.map_err(|reason| format!("no password matches this {} hash: {reason}", stored.scheme))
}

impl Scheme {
    /// Dovecot's name of the scheme.
    pub fn name(self) -> &'static str {
        match self {
            Self::Crypt => "CRYPT",
            Self::BlfCrypt => "BLF-CRYPT",
            Self::Sha512Crypt => "SHA512-CRYPT",
            Self::Sha256Crypt => "SHA256-CRYPT",
            Self::Md5Crypt => "MD5-CRYPT",
            Self::DesCrypt => "DES-CRYPT",
            Self::Argon2i => "ARGON2I",
            Self::Argon2id => "ARGON2ID",
            Self::Pbkdf2 => "PBKDF2",
            Self::Ssha512 => "SSHA512",
            Self::Ssha256 => "SSHA256",
            Self::Ssha => "SSHA",
            Self::Smd5 => "SMD5",
            Self::Sha512 => "SHA512",
            Self::Sha256 => "SHA256",
            Self::Sha1 => "SHA1",
            Self::Sha => "SHA",
            Self::LdapMd5 => "LDAP-MD5",
            Self::PlainMd5 => "PLAIN-MD5",
            Self::Md5 => "MD5",
            Self::Plain => "PLAIN",
            Self::Clear => "CLEAR",
            Self::Cleartext => "CLEARTEXT",
            Self::PlainTrunc => "PLAIN-TRUNC",
        }
    }

    /// `NAME` or `NAME.ENCODING`, in any case; the flag says whether the encoding was named.
    fn lookup(text: &str) -> Option<(Self, Encoding, bool)> {
        let (name, suffix) = text.split_once('.').map_or((text, None), |(name, suffix)| (name, Some(suffix)));
        let scheme = SCHEMES.into_iter().find(|scheme| scheme.name().eq_ignore_ascii_case(name))?;
        let encoding = match suffix.map(str::to_ascii_lowercase).as_deref() {
            None => return Some((scheme, scheme.encoding(), false)),
            Some("b64" | "base64") => Encoding::Base64,
            Some("hex") => Encoding::Hex,
            Some(_) => return None,
        };
        Some((scheme, encoding, true))
    }

    fn encoding(self) -> Encoding {
        match self {
            Self::Ssha512 | Self::Ssha256 | Self::Ssha | Self::Smd5 => Encoding::Base64,
            Self::Sha512 | Self::Sha256 | Self::Sha1 | Self::Sha | Self::LdapMd5 => Encoding::Base64,
            Self::PlainMd5 => Encoding::Hex,
            _ => Encoding::None,
        }
    }

    /// Bytes of a bare digest; 0 where the length varies.
    fn digest_length(self) -> usize {
        match self {
            Self::Sha | Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha512 => 64,
            Self::LdapMd5 | Self::PlainMd5 => 16,
            _ => 0,
        }
    }

    fn is_clear(self) -> bool {
        matches!(self, Self::Plain | Self::Clear | Self::Cleartext)
    }

    fn is_crypt(self) -> bool {
        matches!(self, Self::Crypt | Self::BlfCrypt | Self::Sha512Crypt | Self::Sha256Crypt | Self::DesCrypt)
    }

    /// Compares; the error is Dovecot's reason.
    fn verify_raw(self, password: &[u8], raw: &[u8]) -> Result<bool, String> {
        match self {
            Self::Plain | Self::Clear | Self::Cleartext => Ok(equal(password, raw)),
            Self::PlainTrunc => verify_truncated(password, raw),
            Self::Sha | Self::Sha1 => Ok(equal(&Sha1::digest(password), raw)),
            Self::Sha256 => Ok(equal(&Sha256::digest(password), raw)),
            Self::Sha512 => Ok(equal(&Sha512::digest(password), raw)),
            Self::LdapMd5 | Self::PlainMd5 => Ok(equal(&Md5::digest(password), raw)),
            Self::Smd5 => verify_salted::<Md5>("SMD5", password, raw),
            Self::Ssha => verify_salted::<Sha1>("SSHA", password, raw),
            Self::Ssha256 => verify_salted::<Sha256>("SSHA256", password, raw),
            Self::Ssha512 => verify_salted::<Sha512>("SSHA512", password, raw),
            Self::Pbkdf2 => pbkdf::verify(password, raw),
            Self::Argon2i | Self::Argon2id => argon::verify(password, raw),
            Self::Md5Crypt => {
                let text = String::from_utf8_lossy(raw);
                Ok(equal(crypt::md5_crypt(password, &text).as_bytes(), raw))
            }
            Self::Md5 => verify_md5(password, raw),
            Self::BlfCrypt => verify_blowfish(password, raw),
            Self::Crypt | Self::Sha512Crypt | Self::Sha256Crypt | Self::DesCrypt => {
                if raw.len() > 4 && raw.starts_with(b"$2") && raw[3] == b'$' {
                    return verify_blowfish(password, raw);
                }
                verify_crypt(password, raw)
            }
        }
    }
}

fn equal(left: &[u8], right: &[u8]) -> bool {
    left.ct_eq(right).into()
}

fn verify_crypt(password: &[u8], raw: &[u8]) -> Result<bool, String> {
    let text = String::from_utf8_lossy(raw);
    match crypt::crypt(password, &text) {
        Ok(hash) => Ok(equal(hash.as_bytes(), raw)),
        Err(crypt::Refusal::Mismatch) => Ok(false),
        Err(crypt::Refusal::TooCostly(reason)) => Err(format!("crypt() failed: {reason}")),
    }
}

fn verify_blowfish(password: &[u8], raw: &[u8]) -> Result<bool, String> {
    if raw.is_empty() {
        return Ok(false);
    }
    if raw.len() < 30 || !raw.starts_with(b"$2") || !raw[2].is_ascii_lowercase() || raw[3] != b'$' {
        return Err("Password is not blowfish password".into());
    }
    match crypt::bcrypt(password, &String::from_utf8_lossy(raw)) {
        Ok(hash) => Ok(equal(hash.as_bytes(), raw)),
        Err(crypt::Refusal::Mismatch) => Err("crypt_blowfish_rn failed: Invalid argument".into()),
        Err(crypt::Refusal::TooCostly(reason)) => Err(format!("crypt_blowfish_rn failed: {reason}")),
    }
}

/// `MD5` is either MD5-crypt or a bare digest in hexadecimal.
fn verify_md5(password: &[u8], raw: &[u8]) -> Result<bool, String> {
    let text = String::from_utf8_lossy(raw);
    if text.starts_with("$1$") {
        return Ok(equal(crypt::md5_crypt(password, &text).as_bytes(), raw));
    }
    let digest = Stored::new("PLAIN-MD5", &text);
    digest.verify(password).map_err(|_| "Not a valid MD5-CRYPT or PLAIN-MD5 password".to_owned())
}

/// Digest, then salt.
fn verify_salted<D: Digest>(name: &str, password: &[u8], raw: &[u8]) -> Result<bool, String> {
    let length = <D as Digest>::output_size();
    if raw.len() <= length {
        return Err(format!("{name} password is too short"));
    }
    let (digest, salt) = raw.split_at(length);
    Ok(equal(&D::new().chain_update(password).chain_update(salt).finalize(), digest))
}

/// `LENGTH-PASSWORD`: the store may have cut the password at LENGTH bytes.
fn verify_truncated(password: &[u8], raw: &[u8]) -> Result<bool, String> {
    let missing = || "PLAIN-TRUNC missing length: prefix".to_owned();
    let dash = raw.iter().position(|byte| !byte.is_ascii_digit()).filter(|at| raw[*at] == b'-').ok_or_else(missing)?;
    let length =
        raw[..dash].iter().fold(0usize, |sum, digit| sum.saturating_mul(10).saturating_add((digit - b'0').into()));
    let stored = &raw[dash + 1..];
    if stored.len() == length && password.len() >= length {
        return Ok(equal(stored, &password[..length]));
    }
    Ok(equal(stored, password))
}

fn from_base64(text: &str) -> Result<Vec<u8>, String> {
    STANDARD.decode(text).map_err(|_| "Input isn't valid base64 encoded data".to_owned())
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let nibble = |byte: u8| char::from(byte).to_digit(16).map(|value| value as u8);
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|pair| Some(nibble(pair[0])? << 4 | nibble(pair[1])?)).collect()
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
