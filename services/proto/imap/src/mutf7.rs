//! Modified UTF-7, the encoding of mailbox names (RFC 3501 section 5.1.3).
//!
//! There is one valid form of each name, and no other is accepted: two forms of one name would be two mailboxes for
//! the store and one for the person.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,";

/// Encodes a name.
pub fn encode(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut shifted = String::new();
    for character in name.chars() {
        if !(' '..='~').contains(&character) {
            shifted.push(character);
            continue;
        }
        write_shifted(&mut out, &mut shifted);
        out.push(character);
        if character == '&' {
            out.push('-');
        }
    }
    write_shifted(&mut out, &mut shifted);
    out
}

/// Decodes a name; `None` if it is not the form that [`encode`] gives.
///
/// Printable ASCII stands for itself, `&-` for `&`, and `&` *base64* `-` for UTF-16 in big-endian order.
pub fn decode(name: &[u8]) -> Option<String> {
    let mut out = String::with_capacity(name.len());
    let mut rest = name;
    while let Some((first, tail)) = rest.split_first() {
        match first {
            b'&' => {
                let end = tail.iter().position(|byte| *byte == b'-')?;
                if end == 0 {
                    out.push('&');
                } else {
                    out.push_str(&read_shifted(&tail[..end])?);
                }
                rest = &tail[end + 1..];
            }
            b' '..=b'~' => {
                out.push(char::from(*first));
                rest = tail;
            }
            _ => return None,
        }
    }
    // Whatever else reads as the same name (ASCII in base64, two shifts in a row, stray bits) is not it.
    (encode(&out).as_bytes() == name).then_some(out)
}

fn write_shifted(out: &mut String, shifted: &mut String) {
    if shifted.is_empty() {
        return;
    }
    out.push('&');
    let mut bits = 0u32;
    let mut count = 0;
    for unit in shifted.encode_utf16() {
        bits = bits << 16 | u32::from(unit);
        count += 16;
        while count >= 6 {
            count -= 6;
            out.push(char::from(ALPHABET[(bits >> count & 63) as usize]));
        }
        bits &= (1 << count) - 1;
    }
    if count > 0 {
        out.push(char::from(ALPHABET[(bits << (6 - count) & 63) as usize]));
    }
    out.push('-');
    shifted.clear();
}

fn read_shifted(text: &[u8]) -> Option<String> {
    let mut units = Vec::with_capacity(text.len() / 2);
    let mut bits = 0u32;
    let mut count = 0;
    for byte in text {
        bits = bits << 6 | ALPHABET.iter().position(|known| known == byte)? as u32;
        count += 6;
        if count >= 16 {
            count -= 16;
            units.push((bits >> count) as u16);
            bits &= (1 << count) - 1;
        }
    }
    String::from_utf16(&units).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_names() {
        for (plain, encoded) in [
            ("INBOX", "INBOX"),
            ("Entwürfe", "Entw&APw-rfe"),
            ("A&B", "A&-B"),
            ("日本語", "&ZeVnLIqe-"),
            ("~peter/mail/台北/日本語", "~peter/mail/&U,BTFw-/&ZeVnLIqe-"),
            ("😀", "&2D3eAA-"),
            ("a\tb", "a&AAk-b"),
            ("", ""),
        ] {
            assert_eq!(encode(plain), encoded);
            assert_eq!(decode(encoded.as_bytes()).as_deref(), Some(plain));
        }
    }

    #[test]
    fn other_forms_are_refused() {
        for bad in
            [&b"&"[..], b"&AGE-", b"&ZeU", b"&ZeU-&ZeU-", b"&ZeV-", b"\xc3\xa4", b"a\tb", b"&Jj!-", b"&2D0-", b"&A-"]
        {
            assert_eq!(decode(bad), None, "{}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn every_character_round_trips() {
        for character in (0..0x11_0000).step_by(7).filter_map(char::from_u32) {
            let name = format!("x{character}y{character}{character}&");
            assert_eq!(decode(encode(&name).as_bytes()).as_deref(), Some(name.as_str()));
        }
    }
}
