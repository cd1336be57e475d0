//! The Dovecot authentication protocol, version 1.2 (client) and 1.1 (master), as Dovecot 2.3 and Postfix speak it.
//!
//! Lines of tab-separated fields. [`server`] and [`client`] are the two ends of an authentication socket (`private/auth`,
//! `login/login`), [`userdb`] has both ends of `auth-userdb` and `auth-master`. Each end is a state machine: bytes in with
//! `receive`, events out with `poll`, replies queued with `reply` and the like and taken with `take_output`. An end that has met a
//! broken peer gives one last event with Dovecot's words and then ignores everything: the caller logs it and closes.
//!
//! Source: Dovecot's "Authentication Protocol" (design/auth_protocol) and the behaviour of 2.3.19.

pub mod client;
mod fields;
mod lines;
mod parameters;
pub mod server;
pub mod userdb;

pub use fields::{Fields, escape};
pub use parameters::{Parameters, Secured};

/// Longest line of a client connection, in bytes without its newline: Dovecot's `AUTH_CLIENT_MAX_LINE_LENGTH`.
pub const MAX_CLIENT_LINE: usize = 16 * 1024;
/// Longest line that a master or userdb socket accepts: Dovecot's `MAX_INBUF_SIZE` there.
pub const MAX_MASTER_LINE: usize = 1024;
/// Most requests in progress on one connection. Dovecot has no limit; a login process keeps one for each client.
pub const MAX_REQUESTS: usize = 4096;

/// The version that both ends of a client connection announce.
const CLIENT_VERSION: (u32, u32) = (1, 2);
/// The version that a master socket announces.
const MASTER_VERSION: (u32, u32) = (1, 1);

/// A secret that ties a login process's connection to the requests that it may hand on.
pub type Cookie = [u8; 16];

/// A request's number: chosen by the client, unique among its requests in progress, never 0.
pub type Id = u32;

/// The peer broke the protocol: log this and close the connection. `Display` is the line that Dovecot logs as an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken(pub String);

impl std::fmt::Display for Broken {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for Broken {}

/// A peer's text for a log line: control characters become `?`, and what is longer than `limit` is cut with `...`.
pub fn sanitize(text: &str, limit: usize) -> String {
    let clean = |character: char| if character.is_control() { '?' } else { character };
    if text.chars().count() <= limit {
        return text.chars().map(clean).collect();
    }
    let mut out: String = text.chars().take(limit.saturating_sub(3)).map(clean).collect();
    out.push_str("...");
    out
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn parse_cookie(text: &str) -> Option<Cookie> {
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    let mut cookie = Cookie::default();
    if pairs.len() != cookie.len() {
        return None;
    }
    for (byte, pair) in cookie.iter_mut().zip(pairs) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(cookie)
}

/// Digits alone: `parse` would take a sign.
fn parse_number(text: &str) -> Option<u32> {
    Some(text).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit())).and_then(|text| text.parse().ok())
}

#[cfg(test)]
mod tests;
