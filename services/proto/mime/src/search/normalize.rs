//! Normal forms of text for comparing without regard to case.

use unicode_normalization::char::decompose_compatible;

/// Appends the text in upper case and decomposed (RFC 5051). Letters whose upper case is several letters stay as they
/// are, as in a simple case mapping.
pub(super) fn normalize(text: &str, out: &mut Vec<u8>) {
    for letter in text.chars() {
        if letter.is_ascii() {
            out.push(letter.to_ascii_uppercase() as u8);
            continue;
        }
        let mut upper = letter.to_uppercase();
        let upper = if upper.len() == 1 { upper.next().unwrap_or(letter) } else { letter };
        decompose_compatible(upper, |part| out.extend_from_slice(part.encode_utf8(&mut [0; 4]).as_bytes()));
    }
}

/// Puts the text into `out` with its ASCII letters in upper case.
pub(super) fn fold_ascii(text: &[u8], out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(text);
    out.make_ascii_uppercase();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_forms() {
        for (text, normal) in [
            ("aß", "Aß"),
            ("é", "E\u{301}"),
            ("ﬁ", "fi"),
            ("Ǆ", "DZ\u{30c}"),
            ("ǆ", "DZ\u{30c}"),
            ("한", "\u{1112}\u{1161}\u{11ab}"),
        ] {
            let mut out = Vec::new();
            normalize(text, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), normal, "{text}");
        }
    }
}
