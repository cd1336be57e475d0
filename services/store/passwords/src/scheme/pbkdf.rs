//! Dovecot's PBKDF2 scheme: HMAC-SHA1, `$1$salt$rounds$hex` (RFC 8018 §5.2 for the function).

use sha1::Sha1;

use super::{equal, from_hex, limits, to_hex};

const KEY: usize = 20;
const DEFAULT_ROUNDS: u32 = 5_000;

/// Compares; the error is Dovecot's reason.
pub(super) fn verify(password: &[u8], raw: &[u8]) -> Result<bool, String> {
    let text = String::from_utf8_lossy(raw);
    let rest = text.strip_prefix("$1$").ok_or("Invalid PBKDF2 passdb entry prefix")?;
    let fields: Vec<&str> = rest.split('$').collect();
    let [salt, rounds, digest] = fields[..] else {
        return Err("Invalid PBKDF2 passdb entry format".into());
    };
    let rounds: u32 = rounds.parse().map_err(|_| "Invalid PBKDF2 passdb entry format")?;
    let digest = from_hex(digest).filter(|digest| digest.len() == KEY).ok_or("PBKDF2 hash not 160bit hex-encoded")?;
    Ok(equal(&derive(password, salt, rounds)?, &digest))
}

/// A new hash; `rounds` 0 is 5000.
pub(super) fn generate(password: &[u8], salt: &str, rounds: u32) -> Result<String, String> {
    let rounds = if rounds == 0 { DEFAULT_ROUNDS } else { rounds };
    Ok(format!("$1${salt}${rounds}${}", to_hex(&derive(password, salt, rounds)?)))
}

fn derive(password: &[u8], salt: &str, rounds: u32) -> Result<[u8; KEY], String> {
    if !(1..=limits::PBKDF2_ROUNDS).contains(&rounds) {
        return Err(format!("{rounds} rounds are outside of 1 to {}", limits::PBKDF2_ROUNDS));
    }
    let mut key = [0; KEY];
    pbkdf2::pbkdf2_hmac::<Sha1>(password, salt.as_bytes(), rounds, &mut key);
    Ok(key)
}
