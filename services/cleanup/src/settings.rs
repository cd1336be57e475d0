//! What the configuration says, as cleanup uses it.

use ipc_config::section::Section;

/// See postconf(5) for each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    pub myhostname: String,
    pub long_queue_ids: bool,
    /// 0 for none.
    pub message_size_limit: u64,
    pub queue_minfree: u64,
    pub header_size_limit: usize,
    pub hopcount_limit: u64,
    pub always_add_missing_headers: bool,
    /// A whole header field; empty for none.
    pub undisclosed_recipients_header: String,
    pub detect_8bit_encoding_header: bool,
    pub message_drop_headers: Vec<String>,
    pub message_strip_characters: Vec<u8>,
    pub cleanup_replace_stray_cr_lf: bool,
    pub enable_original_recipient: bool,
    pub duplicate_filter_limit: usize,
}

impl Settings {
    /// Takes them from what the master compiled.
    pub fn of(section: &Section) -> Settings {
        let values = &section.transport;
        Settings {
            myhostname: values.text("myhostname").into(),
            long_queue_ids: values.boolean("enable_long_queue_ids"),
            message_size_limit: values.number("message_size_limit"),
            queue_minfree: values.number("queue_minfree"),
            header_size_limit: values.number("header_size_limit") as usize,
            hopcount_limit: values.number("hopcount_limit"),
            always_add_missing_headers: values.boolean("always_add_missing_headers"),
            undisclosed_recipients_header: values.text("undisclosed_recipients_header").into(),
            detect_8bit_encoding_header: values.boolean("detect_8bit_encoding_header"),
            message_drop_headers: values.list("message_drop_headers").into_iter().map(String::from).collect(),
            message_strip_characters: unescape(values.text("message_strip_characters")),
            cleanup_replace_stray_cr_lf: values.boolean("cleanup_replace_stray_cr_lf"),
            enable_original_recipient: values.boolean("enable_original_recipient"),
            duplicate_filter_limit: values.number("duplicate_filter_limit") as usize,
        }
    }
}

/// The bytes of a text with the escapes of C: a letter, or up to three octal digits; of any other character, that character.
fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'\\' {
            bytes.push(*first);
            continue;
        }
        let digits = rest.iter().take(3).take_while(|byte| matches!(byte, b'0'..=b'7')).count();
        let letter = rest.first().map(|letter| match letter {
            b'a' => 7,
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'v' => 11,
            other => *other,
        });
        match (digits, letter) {
            (0, None) => bytes.push(b'\\'),
            (0, Some(byte)) => bytes.push(byte),
            _ => {
                bytes.push(rest[..digits].iter().fold(0u8, |sum, digit| sum.wrapping_mul(8).wrapping_add(digit - b'0')))
            }
        }
        rest = &rest[digits.max(1).min(rest.len())..];
    }
    bytes
}

#[cfg(test)]
impl Default for Settings {
    /// Postfix's defaults, for tests.
    fn default() -> Settings {
        Settings::of(&tests::section(""))
    }
}

#[cfg(test)]
pub mod tests;
