//! New hashes, as `doveadm pw` makes them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use md5::Md5;
use sha1::{Digest, Sha1};
use sha2::{Sha256, Sha512};
use zeroize::Zeroizing;

use super::{Encoding, Scheme, Stored, argon, crypt, crypt64, limits, pbkdf, to_hex};

/// Hashes `password` for storage; `rounds` 0 takes the scheme's default. The scheme may bear an encoding suffix.
///
/// # Errors
/// `Unknown scheme: NAME`, a cost that our own limits refuse, or a failure of the system's random generator.
pub fn generate(scheme: &str, password: &[u8], rounds: u32) -> Result<Stored, String> {
    let (method, encoding, _) = Scheme::lookup(scheme).ok_or_else(|| format!("Unknown scheme: {scheme}"))?;
    let raw = Zeroizing::new(generate_raw(method, password, rounds)?);
    let hash = Zeroizing::new(match encoding {
        Encoding::None => String::from_utf8_lossy(&raw).into_owned(),
        Encoding::Base64 => STANDARD.encode(&*raw),
        Encoding::Hex => to_hex(&raw),
    });
    Ok(Stored::new(scheme, &hash))
}

fn generate_raw(scheme: Scheme, password: &[u8], rounds: u32) -> Result<Vec<u8>, String> {
    let salt = |length| crypt64::salt(length).map_err(|error| format!("random generator: {error}"));
    let crypted = |setting: String| match crypt::crypt(password, &setting) {
        Ok(hash) => Ok(hash.into_bytes()),
        Err(crypt::Refusal::TooCostly(reason)) => Err(reason),
        Err(crypt::Refusal::Mismatch) => Err("the password is too long for this scheme".to_owned()),
    };
    match scheme {
        Scheme::Plain | Scheme::Clear | Scheme::Cleartext | Scheme::PlainTrunc => Ok(password.to_vec()),
        Scheme::Sha | Scheme::Sha1 => Ok(Sha1::digest(password).to_vec()),
        Scheme::Sha256 => Ok(Sha256::digest(password).to_vec()),
        Scheme::Sha512 => Ok(Sha512::digest(password).to_vec()),
        Scheme::LdapMd5 | Scheme::PlainMd5 => Ok(Md5::digest(password).to_vec()),
        Scheme::Smd5 => salted::<Md5>(password),
        Scheme::Ssha => salted::<Sha1>(password),
        Scheme::Ssha256 => salted::<Sha256>(password),
        Scheme::Ssha512 => salted::<Sha512>(password),
        Scheme::Md5 | Scheme::Md5Crypt => crypted(format!("$1${}", salt(8)?)),
        Scheme::DesCrypt => crypted(salt(2)?),
        Scheme::Sha256Crypt => crypted(sha_setting("$5$", rounds, &salt(16)?)),
        Scheme::Sha512Crypt => crypted(sha_setting("$6$", rounds, &salt(16)?)),
        Scheme::Crypt | Scheme::BlfCrypt => {
            let cost = if rounds == 0 { 5 } else { rounds.clamp(4, 31) };
            crypted(format!("$2y${cost:02}${}", crypt::BCRYPT_BASE64.encode(random::<16>()?)))
        }
        Scheme::Pbkdf2 => pbkdf::generate(password, &salt(16)?, rounds).map(String::into_bytes),
        Scheme::Argon2i => argon::generate(password, &random::<16>()?, false, rounds).map(String::into_bytes),
        Scheme::Argon2id => argon::generate(password, &random::<16>()?, true, rounds).map(String::into_bytes),
    }
}

fn sha_setting(prefix: &str, rounds: u32, salt: &str) -> String {
    match rounds {
        0 | limits::SHA_CRYPT_DEFAULT_ROUNDS => format!("{prefix}{salt}"),
        _ => format!("{prefix}rounds={}${salt}", rounds.clamp(1_000, 999_999_999)),
    }
}

fn random<const N: usize>() -> Result<[u8; N], String> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| format!("random generator: {error}"))?;
    Ok(bytes)
}

fn salted<D: Digest>(password: &[u8]) -> Result<Vec<u8>, String> {
    let salt = random::<4>()?;
    let mut out = D::new().chain_update(password).chain_update(salt).finalize().to_vec();
    out.extend_from_slice(&salt);
    Ok(out)
}
