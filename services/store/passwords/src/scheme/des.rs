//! Traditional crypt(3): 25 rounds of DES over a zero block, the salt swapping bits of the expansion.
//!
//! Only the first eight characters of a password count, seven bits each: it is kept because old files hold such hashes.
//! The tables are those of FIPS 46-3, numbered from 1 with bit 1 as the most significant.

use super::crypt64;

const INITIAL: [u8; 64] = [
    58, 50, 42, 34, 26, 18, 10, 2, 60, 52, 44, 36, 28, 20, 12, 4, 62, 54, 46, 38, 30, 22, 14, 6, 64, 56, 48, 40, 32,
    24, 16, 8, 57, 49, 41, 33, 25, 17, 9, 1, 59, 51, 43, 35, 27, 19, 11, 3, 61, 53, 45, 37, 29, 21, 13, 5, 63, 55, 47,
    39, 31, 23, 15, 7,
];
const FINAL: [u8; 64] = [
    40, 8, 48, 16, 56, 24, 64, 32, 39, 7, 47, 15, 55, 23, 63, 31, 38, 6, 46, 14, 54, 22, 62, 30, 37, 5, 45, 13, 53, 21,
    61, 29, 36, 4, 44, 12, 52, 20, 60, 28, 35, 3, 43, 11, 51, 19, 59, 27, 34, 2, 42, 10, 50, 18, 58, 26, 33, 1, 41, 9,
    49, 17, 57, 25,
];
const EXPANSION: [u8; 48] = [
    32, 1, 2, 3, 4, 5, 4, 5, 6, 7, 8, 9, 8, 9, 10, 11, 12, 13, 12, 13, 14, 15, 16, 17, 16, 17, 18, 19, 20, 21, 20, 21,
    22, 23, 24, 25, 24, 25, 26, 27, 28, 29, 28, 29, 30, 31, 32, 1,
];
const PERMUTATION: [u8; 32] = [
    16, 7, 20, 21, 29, 12, 28, 17, 1, 15, 23, 26, 5, 18, 31, 10, 2, 8, 24, 14, 32, 27, 3, 9, 19, 13, 30, 6, 22, 11, 4,
    25,
];
const CHOICE_1: [u8; 56] = [
    57, 49, 41, 33, 25, 17, 9, 1, 58, 50, 42, 34, 26, 18, 10, 2, 59, 51, 43, 35, 27, 19, 11, 3, 60, 52, 44, 36, 63, 55,
    47, 39, 31, 23, 15, 7, 62, 54, 46, 38, 30, 22, 14, 6, 61, 53, 45, 37, 29, 21, 13, 5, 28, 20, 12, 4,
];
const CHOICE_2: [u8; 48] = [
    14, 17, 11, 24, 1, 5, 3, 28, 15, 6, 21, 10, 23, 19, 12, 4, 26, 8, 16, 7, 27, 20, 13, 2, 41, 52, 31, 37, 47, 55, 30,
    40, 51, 45, 33, 48, 44, 49, 39, 56, 34, 53, 46, 42, 50, 36, 29, 32,
];
const SHIFTS: [u32; 16] = [1, 1, 2, 2, 2, 2, 2, 2, 1, 2, 2, 2, 2, 2, 2, 1];
const BOXES: [[u8; 64]; 8] = [
    [
        14, 4, 13, 1, 2, 15, 11, 8, 3, 10, 6, 12, 5, 9, 0, 7, 0, 15, 7, 4, 14, 2, 13, 1, 10, 6, 12, 11, 9, 5, 3, 8, 4,
        1, 14, 8, 13, 6, 2, 11, 15, 12, 9, 7, 3, 10, 5, 0, 15, 12, 8, 2, 4, 9, 1, 7, 5, 11, 3, 14, 10, 0, 6, 13,
    ],
    [
        15, 1, 8, 14, 6, 11, 3, 4, 9, 7, 2, 13, 12, 0, 5, 10, 3, 13, 4, 7, 15, 2, 8, 14, 12, 0, 1, 10, 6, 9, 11, 5, 0,
        14, 7, 11, 10, 4, 13, 1, 5, 8, 12, 6, 9, 3, 2, 15, 13, 8, 10, 1, 3, 15, 4, 2, 11, 6, 7, 12, 0, 5, 14, 9,
    ],
    [
        10, 0, 9, 14, 6, 3, 15, 5, 1, 13, 12, 7, 11, 4, 2, 8, 13, 7, 0, 9, 3, 4, 6, 10, 2, 8, 5, 14, 12, 11, 15, 1, 13,
        6, 4, 9, 8, 15, 3, 0, 11, 1, 2, 12, 5, 10, 14, 7, 1, 10, 13, 0, 6, 9, 8, 7, 4, 15, 14, 3, 11, 5, 2, 12,
    ],
    [
        7, 13, 14, 3, 0, 6, 9, 10, 1, 2, 8, 5, 11, 12, 4, 15, 13, 8, 11, 5, 6, 15, 0, 3, 4, 7, 2, 12, 1, 10, 14, 9, 10,
        6, 9, 0, 12, 11, 7, 13, 15, 1, 3, 14, 5, 2, 8, 4, 3, 15, 0, 6, 10, 1, 13, 8, 9, 4, 5, 11, 12, 7, 2, 14,
    ],
    [
        2, 12, 4, 1, 7, 10, 11, 6, 8, 5, 3, 15, 13, 0, 14, 9, 14, 11, 2, 12, 4, 7, 13, 1, 5, 0, 15, 10, 3, 9, 8, 6, 4,
        2, 1, 11, 10, 13, 7, 8, 15, 9, 12, 5, 6, 3, 0, 14, 11, 8, 12, 7, 1, 14, 2, 13, 6, 15, 0, 9, 10, 4, 5, 3,
    ],
    [
        12, 1, 10, 15, 9, 2, 6, 8, 0, 13, 3, 4, 14, 7, 5, 11, 10, 15, 4, 2, 7, 12, 9, 5, 6, 1, 13, 14, 0, 11, 3, 8, 9,
        14, 15, 5, 2, 8, 12, 3, 7, 0, 4, 10, 1, 13, 11, 6, 4, 3, 2, 12, 9, 5, 15, 10, 11, 14, 1, 7, 6, 0, 8, 13,
    ],
    [
        4, 11, 2, 14, 15, 0, 8, 13, 3, 12, 9, 7, 5, 10, 6, 1, 13, 0, 11, 7, 4, 9, 1, 10, 14, 3, 5, 12, 2, 15, 8, 6, 1,
        4, 11, 13, 12, 3, 7, 14, 10, 15, 6, 8, 0, 5, 9, 2, 6, 11, 13, 8, 1, 4, 10, 7, 9, 5, 0, 15, 14, 2, 3, 12,
    ],
    [
        13, 2, 8, 4, 6, 15, 11, 1, 10, 9, 3, 14, 5, 0, 12, 7, 1, 15, 13, 8, 10, 3, 7, 4, 12, 5, 6, 11, 0, 14, 9, 2, 7,
        11, 4, 1, 9, 12, 14, 2, 0, 6, 10, 13, 15, 3, 5, 8, 2, 1, 14, 7, 4, 10, 8, 13, 15, 12, 9, 0, 3, 5, 6, 11,
    ],
];

/// The hash of `password` under the two salt characters that `setting` begins with: 13 characters, salt included.
///
/// `None` if `setting` is not salt, or salt and eleven characters more, of crypt's alphabet: libxcrypt fails there too.
pub(super) fn hash(password: &[u8], setting: &str) -> Option<String> {
    let characters = setting.as_bytes();
    if characters.len() < 2 {
        return None;
    }
    let salt = crypt64::value(characters[0])? | crypt64::value(characters[1])? << 6;

    // Seven bits of each of the first eight characters, with DES' parity bit below them.
    let key = (0..8).fold(0u64, |key, index| (key << 8) | u64::from(password.get(index).copied().unwrap_or(0) << 1));
    let keys = schedule(key);
    let block = (0..25).fold(0u64, |block, _| encrypt(block, &keys, salt));

    // Most significant bits first, unlike the rest of crypt's encodings, and two zero bits to fill the last character.
    let mut out = setting[..2].to_owned();
    for index in 0..11 {
        let bits = if index < 10 { block >> (58 - 6 * index) } else { block << 2 };
        crypt64::push(&mut out, (bits & 0x3f) as u32, 1);
    }
    Some(out)
}

/// Picks bits of the `width` bits wide `input`, as a FIPS 46 table lists them.
fn permute(input: u64, width: u32, table: &[u8]) -> u64 {
    table.iter().fold(0, |out, position| (out << 1) | (input >> (width - u32::from(*position))) & 1)
}

fn schedule(key: u64) -> [u64; 16] {
    const HALF: u64 = (1 << 28) - 1;
    let chosen = permute(key, 64, &CHOICE_1);
    let (mut left, mut right) = (chosen >> 28, chosen & HALF);
    SHIFTS.map(|shift| {
        left = (left << shift | left >> (28 - shift)) & HALF;
        right = (right << shift | right >> (28 - shift)) & HALF;
        permute(left << 28 | right, 56, &CHOICE_2)
    })
}

fn encrypt(block: u64, keys: &[u64; 16], salt: u32) -> u64 {
    let start = permute(block, 64, &INITIAL);
    let (mut left, mut right) = ((start >> 32) as u32, start as u32);
    for key in keys {
        let mixed = left ^ round(right, *key, salt);
        left = right;
        right = mixed;
    }
    permute(u64::from(right) << 32 | u64::from(left), 64, &FINAL)
}

fn round(half: u32, key: u64, salt: u32) -> u32 {
    let mut expanded = permute(u64::from(half), 32, &EXPANSION);
    // Salt bit n swaps bits n and n + 24 of the expansion, counted from its first bit.
    let salt = u64::from(salt.reverse_bits() >> 8);
    let swap = (expanded >> 24 ^ expanded) & salt;
    expanded ^= swap | swap << 24;
    let input = expanded ^ key;
    let substituted = BOXES.iter().enumerate().fold(0u32, |out, (index, table)| {
        let six = (input >> (42 - 6 * index)) & 0x3f;
        let row = (six >> 4 & 2) | (six & 1);
        let column = six >> 1 & 0xf;
        out << 4 | u32::from(table[(row * 16 + column) as usize])
    });
    permute(u64::from(substituted), 32, &PERMUTATION) as u32
}

#[cfg(test)]
mod tests {
    use super::hash;

    /// What libxcrypt 4.4 answers.
    #[test]
    fn vectors() {
        let long = [b'a'; 73];
        for (password, setting, expected) in [
            ("secr\u{e9}t".as_bytes(), "ab", "ab.x/6DjInQk6"),
            ("secr\u{e9}t".as_bytes(), "..", "..yMgmLDtu5wA"),
            (b"".as_slice(), "ab", "abmF1QH4PEr.E"),
            (&long, "ab", "abBUNZY4cR2mg"),
            ("\u{ff}\u{ff}\u{a3}345".as_bytes(), "ab", "abZxi4eurF44g"),
            (b"08/15!test~4711", "JB", "JBOZ0DgmtucwE"),
            (b"secret", "RISM1mxvrW6tw", "RISM1mxvrW6tw"),
        ] {
            assert_eq!(hash(password, setting).as_deref(), Some(expected));
        }
        for bad in ["", "x", "a!", "!a"] {
            assert_eq!(hash(b"x", bad), None);
        }
    }
}
