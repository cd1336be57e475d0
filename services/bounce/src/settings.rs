//! What the service takes from its section of the configuration.

use std::time::Duration;

use ipc_config::section::Section;

/// `notify_classes`, as far as notifications of deliveries go: who else hears of what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Classes {
    /// `bounce`: the postmaster gets a copy of every failure notification.
    pub bounce: bool,
    /// `2bounce`: the postmaster hears of notifications that could not be delivered.
    pub double_bounce: bool,
    /// `delay`: the postmaster gets a copy of every delay notification.
    pub delay: bool,
}

/// The settings.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `myhostname`.
    pub my_hostname: String,
    /// `myorigin`: the domain of addresses that have none.
    pub my_origin: String,
    /// `mail_name`.
    pub mail_name: String,
    /// `bounce_size_limit`: of a larger message only the header is returned.
    pub size_limit: u64,
    /// `double_bounce_sender`, a local part.
    pub double_bounce: String,
    /// `notify_classes`.
    pub classes: Classes,
    /// `bounce_notice_recipient`.
    pub bounce_postmaster: String,
    /// `2bounce_notice_recipient`.
    pub double_bounce_postmaster: String,
    /// `delay_notice_recipient`.
    pub delay_postmaster: String,
    /// `delay_warning_time`.
    pub delay_warning: Duration,
    /// `maximal_queue_lifetime`.
    pub lifetime: Duration,
    /// `smtputf8_enable`: notifications may hold UTF-8.
    pub utf8: bool,
}

impl Settings {
    /// Reads the section; the master has validated it.
    pub fn new(section: &Section) -> Settings {
        let values = &section.transport;
        let classes = values.list("notify_classes");
        let has = |name: &str| classes.iter().any(|class| class.eq_ignore_ascii_case(name));
        Settings {
            my_hostname: values.text("myhostname").into(),
            my_origin: values.text("myorigin").into(),
            mail_name: values.text("mail_name").into(),
            size_limit: values.number("bounce_size_limit"),
            double_bounce: values.text("double_bounce_sender").into(),
            classes: Classes { bounce: has("bounce"), double_bounce: has("2bounce"), delay: has("delay") },
            bounce_postmaster: values.text("bounce_notice_recipient").into(),
            double_bounce_postmaster: values.text("2bounce_notice_recipient").into(),
            delay_postmaster: values.text("delay_notice_recipient").into(),
            delay_warning: values.time("delay_warning_time"),
            lifetime: values.time("maximal_queue_lifetime"),
            utf8: values.boolean("smtputf8_enable"),
        }
    }

    /// The sender of notifications to the postmaster: what comes back to it goes no further.
    pub fn double_bounce_address(&self) -> String {
        format!("{}@{}", self.double_bounce, self.my_hostname)
    }
}

#[cfg(test)]
mod tests;
