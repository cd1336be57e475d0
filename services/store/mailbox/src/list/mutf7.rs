//! Modified UTF-7, the form of mailbox names on disk (RFC 3501 §5.1.3).
//!
//! ```text
//! name    = *(direct / "&-" / "&" 1*base64 "-")      ; base64 of UTF-16BE, "," for "/", no padding
//! direct  = %x20-25 / %x27-7E
//! ```
//! Decoding accepts the canonical form alone, so that one name has one spelling.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,";

/// The form on disk.
pub fn encode(name: &str) -> Vec<u8> {
    let (mut out, mut run) = (Vec::with_capacity(name.len()), Vec::new());
    for c in name.chars() {
        if matches!(c, ' '..='~') {
            flush(&mut out, &mut run);
            out.push(c as u8);
            if c == '&' {
                out.push(b'-');
            }
        } else {
            run.extend(c.encode_utf16(&mut [0; 2]).iter().flat_map(|unit| unit.to_be_bytes()));
        }
    }
    flush(&mut out, &mut run);
    out
}

fn flush(out: &mut Vec<u8>, run: &mut Vec<u8>) {
    if run.is_empty() {
        return;
    }
    out.push(b'&');
    for group in run.chunks(3) {
        let bits = group.iter().enumerate().fold(0u32, |bits, (n, b)| bits | u32::from(*b) << (16 - 8 * n));
        for n in 0..=group.len() {
            out.push(ALPHABET[(bits >> (18 - 6 * n) & 63) as usize]);
        }
    }
    out.push(b'-');
    run.clear();
}

/// The name that a form on disk stands for, or `None` if it is not canonical modified UTF-7.
pub fn decode(form: &[u8]) -> Option<String> {
    let (mut name, mut rest) = (String::new(), form);
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'&' => {
                let end = memchr::memchr(b'-', rest)?;
                let (encoded, after) = (&rest[..end], &rest[end + 1..]);
                rest = after;
                if encoded.is_empty() {
                    name.push('&');
                } else {
                    name.push_str(&decode_run(encoded)?);
                }
            }
            b' '..=b'~' => name.push(char::from(byte)),
            _ => return None,
        }
    }
    (encode(&name) == form).then_some(name)
}

fn decode_run(encoded: &[u8]) -> Option<String> {
    let (mut bits, mut count, mut units, mut high) = (0u32, 0, Vec::new(), None);
    for byte in encoded {
        bits = bits << 6 | ALPHABET.iter().position(|a| a == byte)? as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            let byte = (bits >> count) as u8;
            match high.take() {
                None => high = Some(byte),
                Some(high) => units.push(u16::from_be_bytes([high, byte])),
            }
        }
    }
    String::from_utf16(&units).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_names() {
        let table = [
            ("INBOX", "INBOX"),
            ("Bé", "B&AOk-"),
            ("~peter/mail/台北/日本語", "~peter/mail/&U,BTFw-/&ZeVnLIqe-"),
            ("a&b", "a&-b"),
            ("Entwürfe", "Entw&APw-rfe"),
            ("😀", "&2D3eAA-"),
            ("", ""),
        ];
        for (name, form) in table {
            assert_eq!(String::from_utf8_lossy(&encode(name)), form);
            assert_eq!(decode(form.as_bytes()).as_deref(), Some(name));
        }
    }

    #[test]
    fn other_spellings_are_refused() {
        for form in ["&", "a&b", "&AGE-", "&AOk", "B\u{e9}", "&2D0-", "&AOk-&AOk-", "&AOk=-", "&A-", "\u{1}"] {
            assert_eq!(decode(form.as_bytes()), None, "{form}");
        }
    }

    #[test]
    fn random_names_round_trip() {
        let mut seed = 1u32;
        for _ in 0..2000 {
            let name: String = (0..seed % 9)
                .filter_map(|_| {
                    seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    char::from_u32((seed >> 8) % if seed & 64 == 0 { 0x80 } else { 0x11_0000 })
                })
                .collect();
            seed = seed.wrapping_add(7);
            assert_eq!(decode(&encode(&name)), Some(name));
        }
    }
}
