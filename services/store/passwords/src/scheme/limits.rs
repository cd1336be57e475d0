//! What one login may cost. A hash that asks for more is an error for the log, never a stuck worker.

/// Longest password that crypt(3) hashes; libxcrypt refuses 512 bytes and more (`CRYPT_MAX_PASSPHRASE_SIZE`).
pub const CRYPT_PASSWORD: usize = 511;
/// Rounds of `$5$` and `$6$` where the hash names none.
pub const SHA_CRYPT_DEFAULT_ROUNDS: u32 = 5_000;
/// Most rounds of `$5$` and `$6$`: about a second of one core. libxcrypt would allow 999,999,999.
pub const SHA_CRYPT_ROUNDS: u32 = 1_000_000;
/// Highest bcrypt cost, the logarithm of its rounds: a few seconds. crypt_blowfish would allow 31, which is a day.
pub const BCRYPT_COST: u32 = 16;
/// Most rounds of PBKDF2: about two seconds.
pub const PBKDF2_ROUNDS: u32 = 5_000_000;
/// Most memory of Argon2 and yescrypt, in bytes: what Dovecot's default `vsz_limit` would allow.
pub const HASH_MEMORY: u64 = 256 * 1024 * 1024;
/// Most passes of Argon2.
pub const ARGON2_PASSES: u32 = 16;
/// Most lanes of Argon2.
pub const ARGON2_LANES: u32 = 16;
/// Longest parameter field of yescrypt: flavour, N and r.
pub const YESCRYPT_PARAMETERS: usize = 4;
