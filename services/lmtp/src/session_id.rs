//! Names of sessions for the log, unique for as long as anybody looks: base64 of the time, the process and a number, as
//! Dovecot makes them.

use std::time::{SystemTime, UNIX_EPOCH};

/// Makes the names of one process.
#[derive(Debug, Default)]
pub struct SessionIds(u32);

impl SessionIds {
    /// The next name: 22 letters, digits, `+` and `/`.
    pub fn next(&mut self) -> String {
        self.0 = self.0.wrapping_add(1);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&now.subsec_micros().to_le_bytes());
        bytes[4..8].copy_from_slice(&(now.as_secs() as u32).to_le_bytes());
        bytes[8..12].copy_from_slice(&std::process::id().to_le_bytes());
        bytes[12..].copy_from_slice(&self.0.to_le_bytes());
        encode(&bytes)
    }
}

fn encode(bytes: &[u8; 16]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let number = u128::from_be_bytes(*bytes);
    (0..22).map(|n| LETTERS[(number >> (126u32.saturating_sub(6 * n)) & 63) as usize] as char).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_differ_and_have_their_length() {
        let mut ids = SessionIds::default();
        let made: std::collections::BTreeSet<String> = (0..1000).map(|_| ids.next()).collect();
        assert_eq!(made.len(), 1000);
        assert!(made.iter().all(|id| id.len() == 22 && !id.contains(['<', '>', ' '])));
    }
}
