//! The base64 of crypt(3): alphabet `./0-9A-Za-z`, least significant bits first.
//!
//! Not RFC 4648: each group of up to three bytes is one little-endian number, written six bits at a time from the bottom.

const ALPHABET: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Appends the lowest `count` groups of six bits of `word`.
pub(super) fn push(out: &mut String, mut word: u32, count: usize) {
    for _ in 0..count {
        out.push(char::from(ALPHABET[(word & 0x3f) as usize]));
        word >>= 6;
    }
}

/// Encodes whole bytes, three to four characters.
pub(super) fn encode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let word = group.iter().rev().fold(0u32, |word, byte| (word << 8) | u32::from(*byte));
        push(&mut out, word, group.len() + 1);
    }
    out
}

/// The inverse of [`encode`]; `None` for a foreign character, a lone one at the end, or bits that no byte accounts for.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() * 3 / 4);
    for group in text.as_bytes().chunks(4) {
        let mut word = 0u32;
        for character in group.iter().rev() {
            word = (word << 6) | value(*character)?;
        }
        let bytes = group.len().checked_sub(1).filter(|bytes| *bytes > 0)?;
        if bytes < 3 && word >> (8 * bytes) != 0 {
            return None;
        }
        out.extend_from_slice(&word.to_le_bytes()[..bytes]);
    }
    Some(out)
}

/// The value of one character, 0 to 63.
pub(super) fn value(character: u8) -> Option<u32> {
    Some(u32::from(match character {
        b'.' => 0,
        b'/' => 1,
        b'0'..=b'9' => character - b'0' + 2,
        b'A'..=b'Z' => character - b'A' + 12,
        b'a'..=b'z' => character - b'a' + 38,
        _ => return None,
    }))
}

/// Random characters of the alphabet, as salt.
///
/// # Errors
/// The system's random generator failed.
pub(super) fn salt(length: usize) -> Result<String, getrandom::Error> {
    let mut random = vec![0u8; length];
    getrandom::fill(&mut random)?;
    // 256 is a multiple of 64: every character is equally likely.
    Ok(random.iter().map(|byte| char::from(ALPHABET[usize::from(byte & 0x3f)])).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alphabet_and_values_agree() {
        for (index, character) in ALPHABET.iter().enumerate() {
            assert_eq!(value(*character), Some(index as u32));
        }
        assert_eq!(value(b'!'), None);
    }

    #[test]
    fn round_trip_and_refusals() {
        for length in 0..40u8 {
            let bytes: Vec<u8> = (0..length).map(|n| n.wrapping_mul(37)).collect();
            assert_eq!(decode(&encode(&bytes)).as_deref(), Some(bytes.as_slice()));
        }
        for bad in ["a", "abcde", "ab!d", "zz"] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }
}
