//! What the configuration says, as cleanup uses it.

use ipc_config::section::Section;

/// See postconf(5) for each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    pub myhostname: String,
    pub long_queue_ids: bool,
    /// 0 for none.
    pub message_size_limit: u64,
    pub header_size_limit: usize,
    pub hopcount_limit: u64,
    pub always_add_missing_headers: bool,
    /// In lower case.
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
            header_size_limit: values.number("header_size_limit") as usize,
            hopcount_limit: values.number("hopcount_limit"),
            always_add_missing_headers: values.boolean("always_add_missing_headers"),
            message_drop_headers: values.list("message_drop_headers").iter().map(|name| name.to_lowercase()).collect(),
            enable_original_recipient: values.boolean("enable_original_recipient"),
            duplicate_filter_limit: values.number("duplicate_filter_limit") as usize,
        }
    }
}

#[cfg(test)]
impl Default for Settings {
    /// Postfix's defaults, for tests.
    fn default() -> Settings {
        Settings {
            myhostname: "mail.example.org".into(),
            long_queue_ids: false,
            message_size_limit: 10_240_000,
            header_size_limit: 102_400,
            hopcount_limit: 50,
            always_add_missing_headers: false,
            message_drop_headers: ["bcc", "content-length", "resent-bcc", "return-path"].map(String::from).to_vec(),
            enable_original_recipient: true,
            duplicate_filter_limit: 1000,
        }
    }
}
