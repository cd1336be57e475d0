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
            enable_original_recipient: values.boolean("enable_original_recipient"),
            duplicate_filter_limit: values.number("duplicate_filter_limit") as usize,
        }
    }
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
