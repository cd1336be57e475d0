//! crypt(3) as libxcrypt has it: the method is told by the prefix of the stored hash.
//!
//! A `setting` is a stored hash, or only its beginning (prefix, cost, salt). What libxcrypt answers with a failure token
//! (`*0`) is [`Refusal::Mismatch`] here: such a hash matches no password. Work is bounded: see [`super::limits`].

use base64::Engine;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD};
use md5::{Digest, Md5};
use sha_crypt::Params as ShaParams;

use super::{crypt64, des, limits};

/// Why a setting cannot be hashed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Not a hash of any method; crypt(3) answers `*0`, which equals no hash.
    Mismatch,
    /// Well formed, but it would cost more than we spend on one login.
    TooCostly(String),
}

/// The whole hash of `password` under `setting`.
pub(super) fn crypt(password: &[u8], setting: &str) -> Result<String, Refusal> {
    if password.len() > limits::CRYPT_PASSWORD || !setting.bytes().all(is_setting_character) {
        return Err(Refusal::Mismatch);
    }
    match method(setting) {
        Some(Method::Md5) => Ok(md5_crypt(password, setting)),
        Some(Method::Blowfish) => bcrypt(password, setting),
        Some(Method::Sha256) => sha_crypt(password, setting, false),
        Some(Method::Sha512) => sha_crypt(password, setting, true),
        Some(Method::Yescrypt) => yescrypt(password, setting),
        Some(Method::Des) => des::hash(password, setting).ok_or(Refusal::Mismatch),
        None => Err(Refusal::Mismatch),
    }
}

/// The base64 of bcrypt: RFC 4648's order of bits, its own alphabet.
pub(super) const BCRYPT_BASE64: GeneralPurpose = GeneralPurpose::new(&alphabet::BCRYPT, NO_PAD);

/// A method of crypt(3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Md5,
    Blowfish,
    Sha256,
    Sha512,
    Yescrypt,
    Des,
}

/// The method whose prefix `setting` bears.
pub(super) fn method(setting: &str) -> Option<Method> {
    if setting.starts_with("$1$") {
        Some(Method::Md5)
    } else if setting.starts_with("$2") {
        Some(Method::Blowfish)
    } else if setting.starts_with("$5$") {
        Some(Method::Sha256)
    } else if setting.starts_with("$6$") {
        Some(Method::Sha512)
    } else if setting.starts_with("$y$") {
        Some(Method::Yescrypt)
    } else if setting.bytes().take(2).filter(|byte| crypt64::value(*byte).is_some()).count() == 2 {
        Some(Method::Des)
    } else {
        None
    }
}

/// libxcrypt refuses settings with characters that separate fields in files of passwords.
fn is_setting_character(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b':' | b';' | b'*' | b'!' | b'\\')
}

/// MD5-crypt: `$1$salt$hash`, at most eight characters of salt; a setting without the prefix is all salt, as in Dovecot.
pub(super) fn md5_crypt(password: &[u8], setting: &str) -> String {
    let rest = setting.strip_prefix("$1$").unwrap_or(setting).as_bytes();
    let salt = &rest[..rest.iter().take(8).take_while(|byte| **byte != b'$').count()];

    let inner = Md5::new().chain_update(password).chain_update(salt).chain_update(password).finalize();
    let mut outer = Md5::new().chain_update(password).chain_update(b"$1$").chain_update(salt);
    for start in (0..password.len()).step_by(16) {
        outer.update(&inner[..(password.len() - start).min(16)]);
    }
    let mut bits = password.len();
    while bits != 0 {
        outer.update([if bits & 1 == 1 { 0 } else { password[0] }]);
        bits >>= 1;
    }
    let mut digest = outer.finalize();
    for turn in 0..1000 {
        let mut next = Md5::new();
        if turn % 2 == 1 {
            next.update(password)
        } else {
            next.update(digest)
        };
        if turn % 3 != 0 {
            next.update(salt);
        }
        if turn % 7 != 0 {
            next.update(password);
        }
        if turn % 2 == 1 {
            next.update(digest)
        } else {
            next.update(password)
        };
        digest = next.finalize();
    }

    // Salt is a prefix of a `str` cut at an arbitrary byte: what is cut inside a character cannot match anyway.
    let mut out = format!("$1${}$", String::from_utf8_lossy(salt));
    for [a, b, c] in [[0, 6, 12], [1, 7, 13], [2, 8, 14], [3, 9, 15], [4, 10, 5]] {
        crypt64::push(&mut out, u32::from_be_bytes([0, digest[a], digest[b], digest[c]]), 4);
    }
    crypt64::push(&mut out, u32::from(digest[11]), 2);
    out
}

/// SHA-crypt: `$5$` or `$6$`, `rounds=N$` if not 5000, at most 16 characters of salt.
fn sha_crypt(password: &[u8], setting: &str, wide: bool) -> Result<String, Refusal> {
    let (prefix, mut rest) = setting.split_at(3);
    let mut head = prefix.to_owned();
    let mut rounds = limits::SHA_CRYPT_DEFAULT_ROUNDS;
    if let Some(counted) = rest.strip_prefix("rounds=") {
        let (number, after) = counted.split_once('$').ok_or(Refusal::Mismatch)?;
        let canonical = number.bytes().all(|byte| byte.is_ascii_digit()) && !number.starts_with('0');
        let value = number.parse().ok().filter(|_| canonical).ok_or(Refusal::Mismatch)?;
        if !(ShaParams::ROUNDS_MIN..=ShaParams::ROUNDS_MAX).contains(&value) {
            return Err(Refusal::Mismatch);
        }
        if value > limits::SHA_CRYPT_ROUNDS {
            return Err(Refusal::TooCostly(format!(
                "rounds={value} exceeds the limit of {}",
                limits::SHA_CRYPT_ROUNDS
            )));
        }
        rounds = value;
        head.push_str(&format!("rounds={number}$"));
        rest = after;
    }
    let salt = rest.split('$').next().unwrap_or_default();
    let salt = &salt[..salt.len().min(16)];
    let params = ShaParams::new(rounds).map_err(|_| Refusal::Mismatch)?;
    let mut out = format!("{head}{salt}$");
    if wide {
        let digest = sha_crypt::sha512_crypt(password, salt.as_bytes(), params);
        let (mut a, mut b, mut c) = (0, 21, 42);
        for _ in 0..21 {
            crypt64::push(&mut out, u32::from_be_bytes([0, digest[a], digest[b], digest[c]]), 4);
            (a, b, c) = (b + 1, c + 1, a + 1);
        }
        crypt64::push(&mut out, u32::from(digest[63]), 2);
    } else {
        let digest = sha_crypt::sha256_crypt(password, salt.as_bytes(), params);
        let (mut a, mut b, mut c) = (0, 10, 20);
        for _ in 0..10 {
            crypt64::push(&mut out, u32::from_be_bytes([0, digest[a], digest[b], digest[c]]), 4);
            (a, b, c) = (c + 1, a + 1, b + 1);
        }
        crypt64::push(&mut out, u32::from_be_bytes([0, 0, digest[31], digest[30]]), 3);
    }
    Ok(out)
}

/// bcrypt: `$2a$`, `$2b$`, `$2x$` or `$2y$`, two digits of cost, 22 characters of salt.
///
/// `2x` repeats the sign-extension bug of old crypt_blowfish. `2a` is computed like `2b` and `2y`; crypt_blowfish changes
/// it for the few passwords that the bug made collide, none of which is UTF-8.
pub(super) fn bcrypt(password: &[u8], setting: &str) -> Result<String, Refusal> {
    const HEAD: usize = 7 + 22;
    let (head, bytes) = (setting.get(..HEAD).ok_or(Refusal::Mismatch)?, setting.as_bytes());
    if !matches!(bytes[2], b'a' | b'b' | b'x' | b'y') || bytes[3] != b'$' || bytes[6] != b'$' {
        return Err(Refusal::Mismatch);
    }
    let cost = Some(&head[4..6]).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_digit()));
    let cost: u32 = cost.and_then(|digits| digits.parse().ok()).ok_or(Refusal::Mismatch)?;
    if !(4..=31).contains(&cost) {
        return Err(Refusal::Mismatch);
    }
    if cost > limits::BCRYPT_COST {
        return Err(Refusal::TooCostly(format!("cost {cost} exceeds the limit of {}", limits::BCRYPT_COST)));
    }
    // 22 characters hold 132 bits, of which 128 count: the last character is brought to the one that stands for its two
    // bits, as crypt_blowfish writes it.
    let last = bytes[HEAD - 1];
    let top = bcrypt_value(last).ok_or(Refusal::Mismatch)? & 0x30;
    let canonical = BCRYPT_ALPHABET[usize::from(top)];
    let text = format!("{}{}", &head[7..HEAD - 1], char::from(canonical));
    let salt: [u8; 16] =
        BCRYPT_BASE64.decode(text).ok().and_then(|salt| salt.try_into().ok()).ok_or(Refusal::Mismatch)?;

    let mut key = zeroize::Zeroizing::new(Vec::with_capacity(73));
    key.extend_from_slice(&password[..password.len().min(72)]);
    key.push(0);
    if bytes[2] == b'x' {
        key = sign_extended(&key);
    }
    let digest = bcrypt::bcrypt(cost, salt, &key[..key.len().min(72)]);
    Ok(format!("{}{}{}", &head[..HEAD - 1], char::from(canonical), BCRYPT_BASE64.encode(&digest[..23])))
}

const BCRYPT_ALPHABET: &[u8; 64] = b"./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

fn bcrypt_value(character: u8) -> Option<u8> {
    BCRYPT_ALPHABET.iter().position(|other| *other == character).map(|index| index as u8)
}

/// The 18 key words as crypt_blowfish before 1.1 made them: each byte was sign-extended before it was merged.
fn sign_extended(key: &[u8]) -> zeroize::Zeroizing<Vec<u8>> {
    let mut characters = key.iter().cycle();
    let mut words = zeroize::Zeroizing::new(Vec::with_capacity(72));
    for _ in 0..18 {
        let word = characters.by_ref().take(4).fold(0u32, |word, byte| (word << 8) | i32::from(*byte as i8) as u32);
        words.extend_from_slice(&word.to_be_bytes());
    }
    words
}

/// yescrypt: `$y$params$salt$hash`; only the three parameters that crypt_gensalt(3) writes (flavour, N, r).
fn yescrypt(password: &[u8], setting: &str) -> Result<String, Refusal> {
    let mut fields = setting["$y$".len()..].split('$');
    let (parameters, salt) = (fields.next().unwrap_or_default(), fields.next().ok_or(Refusal::Mismatch)?);
    let params: yescrypt::Params = parameters.parse().map_err(|_| Refusal::Mismatch)?;
    if params.to_string() != parameters || params.p() != 1 || params.n() < 2 || params.r() == 0 {
        return Err(Refusal::Mismatch);
    }
    let memory = params.n().saturating_mul(u64::from(params.r())).saturating_mul(128);
    if memory > limits::HASH_MEMORY {
        let limit = limits::HASH_MEMORY;
        return Err(Refusal::TooCostly(format!("{memory} bytes of memory exceed the limit of {limit}")));
    }
    let salt_bytes = crypt64::decode(salt).ok_or(Refusal::Mismatch)?;
    if parameters.len() > limits::YESCRYPT_PARAMETERS || salt_bytes.len() > 64 {
        return Err(Refusal::Mismatch);
    }
    let mut digest = [0u8; 32];
    yescrypt::yescrypt(password, &salt_bytes, &params, &mut digest).map_err(|_| Refusal::Mismatch)?;
    Ok(format!("$y${parameters}${salt}${}", crypt64::encode(&digest)))
}
