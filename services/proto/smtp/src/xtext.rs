//! xtext (RFC 3461 section 4) and utf-8-addr-xtext (RFC 6533 section 3): how a DSN parameter carries any text.

/// Encodes `text` as xtext.
///
/// ```text
/// xtext = *( xchar / hexchar )
/// xchar = any ASCII CHAR between "!" (33) and "~" (126) inclusive, except for "+" and "="
/// hexchar = ASCII "+" immediately followed by two upper case hexadecimal digits
/// ```
pub fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'!'..=b'~' if byte != b'+' && byte != b'=' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("+{byte:02X}")),
        }
    }
    encoded
}

/// Decodes xtext, lower-case digits and characters that should have been encoded included (Postfix: `xtext_unquote`).
/// `None` if a `+` is not followed by two digits, or if the result is not UTF-8 or contains a NUL.
pub fn decode(text: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(if byte == b'+' { hex(bytes.next()?)? << 4 | hex(bytes.next()?)? } else { byte });
    }
    String::from_utf8(decoded).ok().filter(|text| !text.contains('\0'))
}

/// Decodes an address of type `utf-8`: `\x{HEX}` stands for one character, everything else for itself.
/// `None` if an escape is broken or names no character, or the NUL.
///
/// ```text
/// EmbeddedUnicodeChar = %x5C.78 "{" HEXPOINT "}"    ; RFC 6533 section 3, 2 to 6 digits
/// ```
pub fn decode_utf8(text: &str) -> Option<String> {
    let mut decoded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        decoded.push_str(&rest[..at]);
        let (digits, tail) = rest[at..].strip_prefix("\\x{")?.split_once('}')?;
        if digits.is_empty() || digits.len() > 6 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        decoded.push(u32::from_str_radix(digits, 16).ok().and_then(char::from_u32).filter(|&point| point != '\0')?);
        rest = tail;
    }
    decoded.push_str(rest);
    Some(decoded).filter(|text| !text.contains('\0'))
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn table() {
        assert_eq!(encode("a+b=c d"), "a+2Bb+3Dc+20d");
        assert_eq!(decode("a+2bb+3Dc").as_deref(), Some("a+b=c"));
        for broken in ["+", "+2", "++1", "+2+", "+FF", "+00", "+é"] {
            assert_eq!(decode(broken), None, "{broken}");
        }
        assert_eq!(decode_utf8("\\x{E9}a\\x{1F600}").as_deref(), Some("éa😀"));
        for broken in ["\\", "\\x", "\\x{}", "\\x{E9", "\\x{1234567}", "\\x{D800}", "\\x{0}", "\\x{+9}"] {
            assert_eq!(decode_utf8(broken), None, "{broken}");
        }
    }

    proptest! {
        #[test]
        fn round_trip(text in "[^\0]*") {
            prop_assert_eq!(decode(&encode(&text)), Some(text));
        }

        #[test]
        fn any_input(text in ".*") {
            let _ = (decode(&text), decode_utf8(&text));
        }
    }
}
