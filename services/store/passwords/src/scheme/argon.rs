//! Argon2i and Argon2id as libsodium writes them: `$argon2id$v=19$m=65536,t=3,p=1$salt$hash` (RFC 9106, PHC string format).

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use super::{equal, limits};

/// Compares. What is not an Argon2 hash matches nothing, silently, as in Dovecot.
///
/// # Errors
/// The hash asks for more memory, passes or lanes than [`limits`] allow.
pub(super) fn verify(password: &[u8], raw: &[u8]) -> Result<bool, String> {
    let text = String::from_utf8_lossy(raw);
    let Some(parsed) = Parsed::new(&text) else { return Ok(false) };
    let mut digest = vec![0; parsed.digest.len()];
    derive(&parsed, password, &mut digest)?;
    Ok(equal(&digest, &parsed.digest))
}

/// A new hash. `rounds` 0 takes libsodium's interactive limits; more rounds take more memory, as Dovecot does it.
pub(super) fn generate(password: &[u8], salt: &[u8; 16], id: bool, rounds: u32) -> Result<String, String> {
    // crypto_pwhash_argon2{i,id}_{OPS,MEM}LIMIT_{INTERACTIVE,MODERATE,SENSITIVE}, memory in KiB.
    let levels: [(u32, u32); 3] = if id {
        [(2, 64 * 1024), (3, 256 * 1024), (4, 1024 * 1024)]
    } else {
        [(4, 32 * 1024), (6, 128 * 1024), (8, 512 * 1024)]
    };
    let rounds = if rounds == 0 { levels[0].0 } else { rounds };
    let memory = levels.iter().rev().find(|level| rounds >= level.0).unwrap_or(&levels[0]).1;
    let parsed = Parsed {
        algorithm: if id { Algorithm::Argon2id } else { Algorithm::Argon2i },
        memory,
        passes: rounds.max(3),
        lanes: 1,
        salt: salt.to_vec(),
        digest: vec![0; 32],
    };
    let mut digest = [0; 32];
    derive(&parsed, password, &mut digest)?;
    Ok(format!(
        "${}$v=19$m={memory},t={},p=1${}${}",
        parsed.algorithm.as_str(),
        parsed.passes,
        STANDARD_NO_PAD.encode(salt),
        STANDARD_NO_PAD.encode(digest)
    ))
}

struct Parsed {
    algorithm: Algorithm,
    /// KiB.
    memory: u32,
    passes: u32,
    lanes: u32,
    salt: Vec<u8>,
    digest: Vec<u8>,
}

impl Parsed {
    fn new(text: &str) -> Option<Self> {
        let fields: Vec<&str> = text.split('$').collect();
        let ["", name, "v=19", costs, salt, digest] = fields[..] else { return None };
        let algorithm = match name {
            "argon2i" => Algorithm::Argon2i,
            "argon2id" => Algorithm::Argon2id,
            _ => return None,
        };
        let costs: Vec<&str> = costs.split(',').collect();
        let [memory, passes, lanes] = costs[..] else { return None };
        let digest = STANDARD_NO_PAD.decode(digest).ok()?;
        if !(16..=128).contains(&digest.len()) {
            return None;
        }
        Some(Self {
            algorithm,
            memory: memory.strip_prefix("m=")?.parse().ok()?,
            passes: passes.strip_prefix("t=")?.parse().ok()?,
            lanes: lanes.strip_prefix("p=")?.parse().ok()?,
            salt: STANDARD_NO_PAD.decode(salt).ok()?,
            digest,
        })
    }
}

fn derive(parsed: &Parsed, password: &[u8], out: &mut [u8]) -> Result<(), String> {
    let over = u64::from(parsed.memory) * 1024 > limits::HASH_MEMORY
        || parsed.passes > limits::ARGON2_PASSES
        || parsed.lanes > limits::ARGON2_LANES;
    if over {
        return Err(format!(
            "m={},t={},p={} exceeds the limit of m={},t={},p={}",
            parsed.memory,
            parsed.passes,
            parsed.lanes,
            limits::HASH_MEMORY / 1024,
            limits::ARGON2_PASSES,
            limits::ARGON2_LANES
        ));
    }
    let params =
        Params::new(parsed.memory, parsed.passes, parsed.lanes, Some(out.len())).map_err(|error| error.to_string())?;
    let context = Argon2::new(parsed.algorithm, Version::V0x13, params);
    context.hash_password_into(password, &parsed.salt, out).map_err(|error| error.to_string())
}
