//! Whether a message can be searched as it stands.

use memchr::memmem;
use std::sync::LazyLock;

/// Values of `Content-Transfer-Encoding` that leave the text as it is.
const IDENTITY: [&[u8]; 3] = [b"7BIT", b"8BIT", b"BINARY"];
/// Starts of the names of character sets in which ASCII text is what it seems to be.
const ASCII_COMPATIBLE: [&[u8]; 6] = [b"US-ASCII", b"UTF-8", b"ISO-8859-", b"WINDOWS-", b"KOI8-", b"GB"];

static ENCODED_WORD: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new("=?"));
static ENCODING: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new("-ENCODING"));
static CHARSET: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new("CHARSET"));

/// Whether nothing in the ASCII message, given in upper case, stands for other text: no encoded word, no transfer encoding
/// but the identity, no character set but those of which ASCII is a part. It may say no where a body only mentions one.
pub(super) fn is_plain(message: &[u8]) -> bool {
    let after = |finder: &memmem::Finder<'_>, blanks: &[u8], allowed: &[&[u8]]| {
        finder.find_iter(message).all(|at| {
            let rest = &message[at + finder.needle().len()..];
            let start = rest.iter().take_while(|byte| blanks.contains(byte)).count();
            allowed.iter().any(|value| rest[start..].starts_with(value))
        })
    };
    ENCODED_WORD.find(message).is_none()
        && after(&ENCODING, b": \t", &IDENTITY)
        && after(&CHARSET, b"=\" \t", &ASCII_COMPATIBLE)
}

#[cfg(test)]
mod tests {
    use super::is_plain;

    #[test]
    fn table() {
        for (message, plain) in [
            ("SUBJECT: X\n\nBODY", true),
            ("CONTENT-TRANSFER-ENCODING: 7BIT\nCONTENT-TYPE: TEXT/PLAIN; CHARSET=\"UTF-8\"\n\nX", true),
            ("CONTENT-TRANSFER-ENCODING: BASE64\n\nX", false),
            ("CONTENT-TRANSFER-ENCODING :BASE64\n\nX", false),
            ("CONTENT-TRANSFER-ENCODING:\n BASE64\n\nX", false),
            ("CONTENT-TYPE: TEXT/PLAIN; CHARSET=UTF-7\n\nX", false),
            ("CONTENT-TYPE: TEXT/PLAIN; CHARSET*0=UTF-7\n\nX", false),
            ("CONTENT-TYPE: TEXT/PLAIN; CHARSET=ISO-2022-JP\n\nX", false),
            ("SUBJECT: =?UTF-8?Q?X?=\n\n", false),
        ] {
            assert_eq!(is_plain(message.as_bytes()), plain, "{message:?}");
        }
    }
}
